#!/usr/bin/env python
"""Time a detector against others, interleaved in one run: seconds, ratios, stages, memory, FLOPs.

Neither data nor weights are needed but for --task data: weights are random, images are noise.
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from statistics import median
from typing import Any

from benchmarking.clock import matmul_peak
from benchmarking.evaluation import time_evaluation
from benchmarking.steps import time_steps
from benchmarking.systems import System, build_systems, make_batch
from imted import allowed
from imted.atomic import make_folder
from imted.config.load import build, load_config
from imted.config.resolve import Run
from imted.errors import UserError, exit_status
from imted.outputs import write_json
from imted.visualization.plots import save_figure

import numpy as np
import torch
from matplotlib.figure import Figure
from omegaconf import DictConfig
from tabulate import tabulate

EPILOG = """\
what is compared
  ours       the config as it is, in its precision (train.amp)
  released   the same weights, computed as the authors' code does: plain softmax attention, the
             modulator's convolution on whole maps and RoIAlign of all its channels by torchvision's
             kernel, every block recomputed in the backward pass; float16 on a GPU, float32 on a
             CPU
  FILE       another config, such as configs/baselines/mask_rcnn_vitdet_base_3x.py, in the
             precision of ours

examples
  python tools/benchmark.py --config-file configs/coco/imted_mask_rcnn_vit_base_3x.py \\
      --task eval train --against released configs/baselines/mask_rcnn_vitdet_base_3x.py
  python tools/benchmark.py --config-file configs/quickstart.py --task train --batch 2 \\
      --image-size 192 192 --repeats 20 --against released
  python tools/benchmark.py --config-file configs/quickstart.py --task data
"""


@exit_status
def main(argv: list[str] | None = None) -> None:
    """Do the tasks in their order."""
    args = _parser().parse_intermixed_args(argv)
    if min(args.repeats, args.batch, *args.image_size) < 1 or args.warm_up < 0:
        raise UserError("--repeats, --batch and --image-size must be at least 1.")
    for name in args.against:
        if "=" in name:
            raise UserError(f"--against {name} is no system; put another option after --against.")
    if args.output:
        make_folder(args.output, "--output")
    cfg = load_config(args.config_file, args.opts, args.allow)
    run = Run.of(cfg)
    found = {}
    for task in args.task:
        if task in ("data", "evaluation"):
            found[task] = time_data(cfg, args) if task == "data" else time_evaluation(args.repeats)
            continue
        train = task == "train"
        systems = build_systems(run, args.against, train)
        batch = make_batch(args.batch, tuple(args.image_size), cfg.train.seed, train)
        time_steps(systems, batch, args.repeats, args.warm_up, run.device)
        found[task] = describe(task, systems, args, run.device)
    if args.output:
        write_json(found, os.path.join(args.output, "benchmark.json"), indent=1)
        plot(found, os.path.join(args.output, "benchmark.png"))


def describe(
    task: str, systems: Sequence[System], args: argparse.Namespace, device: torch.device
) -> dict[str, Any]:
    """Print the tables of a task and return what they say."""
    ours = systems[0]
    peak = {system.dtype: matmul_peak(device, system.dtype) for system in systems}
    height, width = args.image_size
    print(
        f"\n## {task}: {args.batch} x {height} x {width}, {device}, "
        f"{torch.get_num_threads()} threads, {args.repeats} repeats in turn\n"
    )
    rows = []
    content: dict[str, dict[str, Any]] = {}
    for system in systems:
        seconds = median(system.seconds)
        ratios = np.divide(system.seconds, ours.seconds)
        speed = system.flops / seconds
        rows.append(
            [
                system.name,
                str(system.dtype or torch.float32).removeprefix("torch."),
                f"{seconds:.3f}",
                f"{args.batch / seconds:.3f}",
                f"{np.median(ratios):.2f} ({ratios.min():.2f} to {ratios.max():.2f})",
                f"{system.memory / 2**20:.0f}" if system.memory else "",
                f"{system.flops / 1e9:.1f}",
                f"{speed / peak[system.dtype]:.0%}",
            ]
        )
        content[system.name] = {
            "seconds": system.seconds,
            "memory": system.memory,
            "flops": system.flops,
            "fraction_of_peak": speed / peak[system.dtype],
            "stages": {stage: median(values) for stage, values in system.stages.items()},
        }
    headers = ["", "dtype", "s", "images/s", "time, of ours", "peak MB", "GFLOP", "of peak"]
    print(tabulate(rows, headers, tablefmt="github", disable_numparse=True))
    print("\nSeconds by stage (medians; the device is waited for at each end):\n")
    stages = dict.fromkeys(stage for system in systems for stage in system.stages)
    table = []
    for stage in stages:
        values = [content[system.name]["stages"].get(stage) for system in systems]
        table.append([stage, *("" if v is None else f"{v:.4f}" for v in values)])
    names = [system.name for system in systems]
    print(tabulate(table, ["", *names], tablefmt="github", disable_numparse=True))
    return content


def time_data(cfg: DictConfig, args: argparse.Namespace) -> dict[str, Any]:
    """Time the config's loader of the data to train on."""
    loader = iter(build(cfg.dataloader.train, "dataloader.train"))
    for _ in range(args.warm_up):
        next(loader)
    start, images = time.perf_counter(), 0
    for _ in range(args.repeats):
        images += len(next(loader))
    speed = images / (time.perf_counter() - start)
    print(f"\n## data: {speed:.1f} images/s, {cfg.dataloader.train.num_workers} workers")
    return {"images_per_second": speed}


def plot(found: dict[str, Any], path: str) -> None:
    """Draw the stages of each task as stacked bars."""
    tasks: dict[str, Any] = {task: of for task, of in found.items() if task in ("train", "eval")}
    if not tasks:
        return
    figure = Figure((6.4 * len(tasks), 4.2), dpi=110, layout="constrained")
    for axes, (task, systems) in zip(
        figure.subplots(1, len(tasks), squeeze=False)[0], tasks.items(), strict=True
    ):
        bottoms = np.zeros(len(systems))
        for stage in dict.fromkeys(s for system in systems.values() for s in system["stages"]):
            values = np.array([system["stages"].get(stage, 0.0) for system in systems.values()])
            axes.bar(list(systems), values, bottom=bottoms, label=stage, width=0.6)
            bottoms += values
        axes.set(ylabel="seconds", title=task)
        axes.legend(fontsize=7)
    save_figure(figure, path)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--config-file", default="", metavar="FILE", help="a LazyConfig, or a run's config.yaml")
    add("--task", choices=("train", "eval", "data", "evaluation"), nargs="+", required=True,
        help="training steps; inference; the loader of the data to train on; COCO's metrics of "
        "random boxes, by pycocotools and as here")  # fmt: skip
    add("--against", nargs="+", default=[], metavar="SYSTEM", help="see below")
    add("--image-size", type=int, nargs=2, default=(800, 1067), metavar=("H", "W"),
        help="as the model sees the images (800 1067)")  # fmt: skip
    add("--batch", type=int, default=1, metavar="N", help="images of a step (%(default)s)")
    add("--repeats", type=int, default=5, metavar="N", help="timed steps (%(default)s)")
    add("--warm-up", type=int, default=1, metavar="N", help="steps before (%(default)s)")
    add("--output", metavar="FOLDER", help="write benchmark.json and benchmark.png")
    allowed.add_option(parser)
    add("opts", nargs="*", metavar="key=value", help="changes of the config")
    return parser


if __name__ == "__main__":
    sys.exit(main())
