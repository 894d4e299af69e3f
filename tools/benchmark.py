#!/usr/bin/env python
"""Time a detector against others, interleaved in one run: seconds, ratios, stages, memory, FLOPs.

Neither data nor weights are needed but for --task data: weights are random, images are noise.
"""

import imted  # noqa: F401  # first, so that no library warns of another

# isort: split
import argparse
import contextlib
import copy
import io
import os
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from typing import Any
from unittest import mock

import numpy as np
import torch
from detectron2.structures import BitMasks, Boxes, Instances
from detectron2.utils.events import EventStorage
from faster_coco_eval import COCOeval_faster
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from omegaconf import DictConfig, OmegaConf
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from tabulate import tabulate
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from imted.atomic import replacing, write_json
from imted.engine.config import build, load_config
from imted.engine.settings import Run, make_folder
from imted.errors import UserError, exit_status
from imted.modeling import roi_pooler
from imted.modeling.transformer_blocks import TransformerBlocks

EPILOG = """\
what is compared
  ours       the config as it is
  released   the same weights, computed as the authors' code does: plain softmax attention, the
             modulator's convolution on whole maps and RoIAlign of all its channels by torchvision's
             kernel, every block recomputed in the backward pass, float16 on a GPU
  FILE       another config, such as configs/baselines/mask_rcnn_vitdet_base_3x.py

examples
  python tools/benchmark.py --config-file configs/coco/imted_mask_rcnn_vit_base_3x.py \\
      --task eval train --against released configs/baselines/mask_rcnn_vitdet_base_3x.py
  python tools/benchmark.py --config-file configs/quickstart.py --task train --batch 2 \\
      --image-size 192 192 --repeats 20 --against released
  python tools/benchmark.py --config-file configs/quickstart.py --task data
"""
CLASSES = 80
"""Where the config takes the number of classes from a data set."""
IMAGES = 1000
"""Of the evaluation."""
OBJECTS = 8
"""On an image to train on."""
STAGES = {
    "encoder": "backbone.net",
    "pyramid": "backbone",
    "RPN": "proposal_generator",
    "RoI pooling, modulator": "roi_heads.box_pooler",
    "box head": "roi_heads.box_head",
    "box predictor": "roi_heads.box_predictor",
    "mask pooling": "roi_heads.mask_pooler",
    "mask head": "roi_heads.mask_head",
    "RoI heads, the rest": "roi_heads",
}
REST, BACKWARD, OPTIMIZER = "the rest", "backward", "optimizer"
Batch = list[dict[str, Any]]


@dataclass
class System:
    """Something to be timed.

    Attributes:
        name: What it is.
        model: The model.
        optimizer: Of it, where it trains.
        dtype: Of autocast; None for full precision.
        around: Gives the context that a step runs in.
        seconds: Of each timed step.
        memory: Peak of a step in bytes; 0 on a CPU, where the process's can't be told apart.
        stages: Seconds of each stage of a step, by stage.
        flops: Floating-point operations of a step.
    """

    name: str
    model: nn.Module
    optimizer: torch.optim.Optimizer | None
    dtype: torch.dtype | None
    around: Callable[[], AbstractContextManager]
    seconds: list[float] = field(default_factory=list)
    memory: int = 0
    stages: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    flops: int = 0


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
    cfg = load_config(args.config_file, args.opts)
    device = Run.resolve(cfg).device
    found = {}
    for task in args.task:
        if task in ("data", "evaluation"):
            found[task] = time_data(cfg, args) if task == "data" else time_evaluation(args)
            continue
        train = task == "train"
        systems = build_systems(cfg, args, device, train)
        batch = make_batch(args, cfg.train.seed, train)
        time_steps(systems, batch, args, device)
        found[task] = describe(task, systems, args, device)
    if args.output:
        write_json(found, os.path.join(args.output, "benchmark.json"), indent=1)
        plot(found, os.path.join(args.output, "benchmark.png"))


def build_systems(
    cfg: DictConfig, args: argparse.Namespace, device: torch.device, train: bool
) -> list[System]:
    """Build ours and what it is compared with."""
    cuda = device.type == "cuda"
    ours = _system("ours", cfg, device, train, torch.bfloat16 if cuda else None)
    systems = [ours]
    for name in args.against:
        if name == "released":
            other = _system(name, _released(cfg), device, train, torch.float16 if cuda else None)
            other.model.load_state_dict(ours.model.state_dict())
            other.around = _released_kernels
        else:
            title = os.path.splitext(os.path.basename(name))[0]
            other = _system(title, load_config(name), device, train, ours.dtype)
        systems.append(other)
    return systems


def _system(
    name: str, cfg: DictConfig, device: torch.device, train: bool, dtype: torch.dtype | None
) -> System:
    heads = cfg.model.get("roi_heads")
    if heads is None:
        raise UserError(f"{name}: a detector of Detectron2's form is timed, with model.roi_heads.")
    if not isinstance(heads.get("num_classes"), int):
        heads.num_classes = CLASSES
    heads.box_predictor.test_score_thresh = 0.0  # no random score is above another
    torch.manual_seed(cfg.train.seed)
    model = build(cfg.model, "model").to(device).train(train)
    optimizer = None
    if train:
        cfg.optimizer.params.model = model
        optimizer = build(cfg.optimizer, "optimizer")
    return System(name, model, optimizer, dtype, nullcontext)


def _released(cfg: DictConfig) -> DictConfig:
    cfg = copy.deepcopy(cfg)
    if OmegaConf.select(cfg, "model.roi_heads.modulator") is None:
        raise UserError("released: the config's model isn't imTED's (model.roi_heads.modulator).")
    cfg.model.roi_heads.modulator.project_maps = True
    cfg.model.roi_heads.decoder.use_act_checkpoint = True
    cfg.model.backbone.net.use_act_checkpoint = True
    return cfg


@contextmanager
def _released_kernels() -> Iterator[None]:
    """Attend by plain softmax, pool by torchvision's kernel, average after the whole decoder."""

    def mean(blocks: TransformerBlocks, tokens: torch.Tensor) -> torch.Tensor:
        return blocks(tokens).mean(dim=1)

    with (
        sdpa_kernel(SDPBackend.MATH),
        mock.patch.object(roi_pooler, "MAX_CELLS", 0),
        mock.patch.object(TransformerBlocks, "mean", mean),
    ):
        yield


def make_batch(args: argparse.Namespace, seed: int, train: bool) -> Batch:
    """Make images of noise, with boxes and masks to train on."""
    generator = torch.Generator().manual_seed(seed)
    height, width = args.image_size
    batch = []
    for _ in range(args.batch):
        image = torch.randint(256, (3, height, width), dtype=torch.uint8, generator=generator)
        item: dict[str, Any] = {"image": image, "height": height, "width": width}
        if train:
            sides = torch.tensor([width, height] * 2)
            corners = torch.rand(OBJECTS, 2, 2, generator=generator).sort(dim=1).values
            boxes = corners.flatten(1) * 0.9 * sides
            boxes[:, 2:] += 8  # no box without area
            objects = Instances((height, width))
            objects.gt_boxes = Boxes(boxes)
            objects.gt_classes = torch.zeros(OBJECTS, dtype=torch.long)
            ys, xs = torch.arange(height)[:, None], torch.arange(width)
            inside = [(xs >= b[0]) & (xs < b[2]) & (ys >= b[1]) & (ys < b[3]) for b in boxes]
            objects.gt_masks = BitMasks(torch.stack(inside))
            item["instances"] = objects
        batch.append(item)
    return batch


def time_steps(
    systems: Sequence[System], batch: Batch, args: argparse.Namespace, device: torch.device
) -> None:
    """Time steps of all systems in turn; then once more by stage; and count FLOPs."""
    with EventStorage():  # Detectron2's losses write into it
        _time_steps(systems, batch, args, device)


def _time_steps(
    systems: Sequence[System], batch: Batch, args: argparse.Namespace, device: torch.device
) -> None:
    for repeat in range(-args.warm_up, args.repeats):
        # In another order each time: whoever comes after another finds its caches.
        for system in systems if repeat % 2 else reversed(systems):
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(device)
            seconds = _timed(partial(step, system, batch), device)
            if repeat >= 0:
                system.seconds.append(seconds)
            if device.type == "cuda":
                system.memory = max(system.memory, torch.cuda.max_memory_allocated(device))
    for _ in range(max(1, args.repeats // 2)):
        for system in systems:
            for stage, seconds in step_by_stage(system, batch, device).items():
                system.stages[stage].append(seconds)
    for system in systems:
        with FlopCounterMode(display=False) as counter:
            step(system, batch)
        system.flops = counter.get_total_flops()


def step(system: System, batch: Batch, mark: Callable[[str], None] = lambda stage: None) -> None:
    """Do one step: inference, or forward, backward and the optimizer's update.

    Args:
        system: Whose step.
        batch: What it is given.
        mark: Is called with the name of what has just ended.
    """
    device = next(system.model.parameters()).device.type
    with system.around(), torch.autocast(device, system.dtype, enabled=system.dtype is not None):
        if system.optimizer is None:
            with torch.no_grad():
                system.model(batch)
            mark(REST)
            return
        loss = sum(system.model(batch).values())
    mark(REST)
    with system.around():  # what is recomputed is computed in the same way
        loss.backward()
    mark(BACKWARD)
    system.optimizer.step()
    system.optimizer.zero_grad()
    mark(OPTIMIZER)


def step_by_stage(system: System, batch: Batch, device: torch.device) -> dict[str, float]:
    """Time the stages of a step; each excludes those within it."""
    spent: dict[str, float] = defaultdict(float)
    modules = dict(system.model.named_modules())
    opened: list[str] = []
    last = [0.0]

    def account(stage: str) -> None:
        _synchronize(device)
        now = time.perf_counter()
        spent[stage] += now - last[0]
        last[0] = now

    def enter(stage: str) -> Callable[..., None]:
        def hook(*_: Any) -> None:
            account(opened[-1] if opened else REST)
            opened.append(stage)

        return hook

    def leave(*_: Any) -> None:
        account(opened.pop())

    with ExitStack() as stack:
        for stage, name in STAGES.items():
            if name in modules:
                stack.callback(modules[name].register_forward_pre_hook(enter(stage)).remove)
                stack.callback(modules[name].register_forward_hook(leave).remove)
        _synchronize(device)
        last[0] = time.perf_counter()
        step(system, batch, account)
    return spent


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


def matmul_peak(device: torch.device, dtype: torch.dtype | None) -> float:
    """Return the FLOP/s of the fastest of a few products of large matrices."""
    side = 8192 if device.type == "cuda" else 2048
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    seconds = [_timed(lambda: a @ b, device) for _ in range(6)]
    return 2 * side**3 / min(seconds)


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


def time_evaluation(args: argparse.Namespace) -> dict[str, Any]:
    """Time the matching of random detections to random objects, by pycocotools and in C++."""
    generator = np.random.default_rng(0)
    side, objects, detections = 640, 8, 37

    def entries(number: int) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for image in range(1, IMAGES + 1):
            sizes = generator.uniform(8, 300, (number, 2))
            for x, y, w, h in np.hstack([generator.uniform(0, side - sizes), sizes]):
                found.append(
                    {
                        "id": len(found) + 1,
                        "image_id": image,
                        "category_id": int(generator.integers(1, CLASSES + 1)),
                        "bbox": [x, y, w, h],
                        "area": w * h,
                        "iscrowd": 0,
                        "score": generator.random(),
                    }
                )
        return found

    truth = COCO()
    truth.dataset = {
        "info": {},
        "images": [{"id": i, "width": side, "height": side} for i in range(1, IMAGES + 1)],
        "annotations": entries(objects),
        "categories": [{"id": i, "name": str(i)} for i in range(1, CLASSES + 1)],
    }
    results = entries(detections)
    kinds = {"pycocotools": COCOeval, "ours": COCOeval_faster}
    seconds: dict[str, list[float]] = {name: [] for name in kinds}
    stats = {}
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        for _ in range(args.repeats):
            for name, kind in kinds.items():
                start = time.perf_counter()
                evaluation = kind(truth, truth.loadRes(copy.deepcopy(results)), "bbox")
                evaluation.evaluate()
                evaluation.accumulate()
                evaluation.summarize()
                seconds[name].append(time.perf_counter() - start)
                stats[name] = evaluation.stats[:12]
    ratios = np.divide(seconds["pycocotools"], seconds["ours"])
    difference = float(np.abs(stats["ours"] - stats["pycocotools"]).max())
    print(
        f"\n## evaluation: {IMAGES} images of {objects} objects and {detections} boxes\n\n"
        f"pycocotools {median(seconds['pycocotools']):.2f} s, ours {median(seconds['ours']):.2f}"
        f" s: ratio {median(ratios):.2f} ({ratios.min():.2f} to {ratios.max():.2f})\n"
        f"the metrics differ by at most {difference:.1e}"
    )
    return {"seconds": seconds, "difference": difference}


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
    with replacing(path) as partial:
        FigureCanvasAgg(figure).print_png(partial)


def _timed(work: Callable[[], Any], device: torch.device) -> float:
    _synchronize(device)
    start = time.perf_counter()
    work()
    _synchronize(device)
    return time.perf_counter() - start


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


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
    add("opts", nargs="*", metavar="key=value", help="changes of the config")
    return parser


if __name__ == "__main__":
    sys.exit(main())
