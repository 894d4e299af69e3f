#!/usr/bin/env python
"""Count a model's parameters, multiply-adds and activations, print it, or time its inference.

Neither data nor weights are needed: the weights are random, and the images are noise.
"""

import argparse
import logging
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from statistics import median, quantiles
from typing import Any

from benchmarking.clock import timed
from benchmarking.steps import STAGES
from benchmarking.systems import CLASSES, look_at_all
from imted import allowed
from imted.config.load import load_config
from imted.config.resolve import Run
from imted.errors import UserError, exit_status

import detectron2.data.transforms as T
import numpy as np
import torch
from detectron2.config import instantiate
from detectron2.utils.analysis import (
    FlopCountAnalysis,
    activation_count_operators,
    parameter_count_table,
)
from fvcore.nn import flop_count_table
from omegaconf import DictConfig, OmegaConf
from tabulate import tabulate
from torch import nn

TASKS = ("flop", "activation", "parameter", "structure", "speed")
WARM_UP = 3
"""Inputs that are not timed."""
EPILOG = """\
examples
  python tools/analyze_model.py --tasks parameter flop --config-file \\
      configs/coco/imted_mask_rcnn_vit_base_3x.py
  python tools/analyze_model.py --tasks speed --image-size 192 192 --config-file \\
      configs/quickstart.py model.roi_heads.variant=integral
"""


def argument_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line: the flags of Detectron2's tool, and a size."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--config-file", default="", metavar="FILE", help="a LazyConfig, or a run's config.yaml")
    add("--tasks", choices=TASKS, nargs="+", required=True, metavar="TASK", help=", ".join(TASKS))
    add("-n", "--num-inputs", type=int, default=10, metavar="N",
        help="images to count or to time (default: 10)")  # fmt: skip
    add("--image-size", type=int, nargs=2, default=(480, 640), metavar=("H", "W"),
        help="of the images, before the config's resize (default: 480 640)")  # fmt: skip
    add("--use-fixed-input-size", action="store_true",
        help="give images of this size to the model as they are, without the resize")  # fmt: skip
    allowed.add_option(parser)
    add("opts", nargs="*", metavar="key=value", help="changes of the config")
    return parser


def build_model(cfg: DictConfig) -> nn.Module:
    """Build the model with random weights, for as many RoIs and detections as the config allows."""
    heads = cfg.model.get("roi_heads")
    if heads is not None and look_at_all(heads):
        print(f"model.roi_heads.num_classes follows from data; {CLASSES} are assumed.")
    torch.manual_seed(cfg.train.seed)
    return instantiate(cfg.model).to(Run.of(cfg).device).eval()


def make_inputs(cfg: DictConfig, args: argparse.Namespace) -> Iterator[list[dict[str, Any]]]:
    """Yield batches of one image of noise, resized as the config's test images are."""
    augmentations = OmegaConf.select(cfg, "dataloader.test.mapper.augmentations")
    fixed = args.use_fixed_input_size or augmentations is None
    resize = T.AugmentationList([] if fixed else instantiate(augmentations))
    generator = np.random.default_rng(cfg.train.seed)
    for _ in range(args.num_inputs):
        pixels = generator.integers(256, size=(*args.image_size, 3), dtype=np.uint8)
        augmented = T.AugInput(pixels)
        resize(augmented)
        image = torch.as_tensor(np.ascontiguousarray(augmented.image.transpose(2, 0, 1)))
        height, width = args.image_size
        yield [{"image": image, "height": height, "width": width}]


def count_attention(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
    """Count the multiply-adds of fused attention, which fvcore leaves out.

    Queries (..., L, C) times keys (..., S, C), and the weights times values (..., S, C).
    """
    queries, keys, values = (value.type().sizes() for value in inputs[:3])
    pairs = int(np.prod(queries[:-1])) * keys[-2]
    return pairs * (queries[-1] + values[-1])


def count_flops(model: nn.Module, batches: Iterator[list[dict]]) -> None:
    """Print multiply-adds by part and by operator; fvcore calls one a FLOP."""
    by_part: Counter[str] = Counter()
    by_operator: Counter[str] = Counter()
    totals, flops = [], None
    for batch in batches:
        flops = FlopCountAnalysis(model, batch)
        flops.set_op_handle("aten::scaled_dot_product_attention", count_attention)
        modules = flops.by_module()
        for part, name in STAGES.items():
            within = (other for other in STAGES.values() if other.startswith(f"{name}."))
            by_part[part] += modules.get(f"model.{name}", 0)
            by_part[part] -= sum(modules.get(f"model.{other}", 0) for other in within)
        by_operator.update(flops.by_operator())
        totals.append(flops.total())
    assert flops is not None
    print(flop_count_table(flops, max_depth=3))
    print("\nBillions of multiply-adds (FLOPs as fvcore and Detectron2 count them), a mean image.")
    print("Not counted: RoIAlign, NMS, element-wise operations.")
    rows = [[part, number / len(totals) / 1e9] for part, number in by_part.items() if number]
    rest = sum(totals) - sum(by_part.values())
    rows += [["the rest", rest / len(totals) / 1e9], ["in all", np.mean(totals) / 1e9]]
    print(tabulate(rows, headers=["part", "GFLOPs"], floatfmt=".2f"))
    operators = {k: v / len(totals) / 1e9 for k, v in by_operator.most_common() if v}
    print("By operator: " + ", ".join(f"{k} {v:.2f}" for k, v in operators.items()))
    print(f"Total GFlops: {np.mean(totals) / 1e9:.1f}±{np.std(totals) / 1e9:.1f}")


def count_activations(model: nn.Module, batches: Iterator[list[dict]]) -> None:
    """Print how many numbers the operators with weights put out."""
    counts: Counter[str] = Counter()
    totals = []
    for batch in batches:
        count = activation_count_operators(model, batch)
        counts.update(count)
        totals.append(sum(count.values()))
    means = {key: number / len(totals) for key, number in counts.most_common() if number}
    print("Million activations: " + ", ".join(f"{k} {v:.1f}" for k, v in means.items()))
    print(f"Total (Million) Activations: {np.mean(totals):.1f}±{np.std(totals):.1f}")


@torch.no_grad()
def measure_speed(model: nn.Module, batches: list[list[dict]]) -> None:
    """Print how long an image takes, after warming up."""
    device = next(model.parameters()).device
    seconds = []
    for i, batch in enumerate([*batches[:1] * WARM_UP, *batches]):
        spent = timed(partial(model, batch), device)
        if i >= WARM_UP:
            seconds.append(spent)
    quarter, _, three_quarters = quantiles(seconds, n=4) if len(seconds) > 1 else seconds * 3
    print(
        f"{1000 * median(seconds):.1f} ms an image (half of them {1000 * quarter:.1f} to "
        f"{1000 * three_quarters:.1f}), {1 / median(seconds):.2f} images/s on {device}, "
        f"{torch.get_num_threads()} threads"
    )


@exit_status
def main(argv: list[str] | None = None) -> None:
    """Do the tasks in their order."""
    args = argument_parser().parse_intermixed_args(argv)
    if args.num_inputs < 1 or min(args.image_size) < 1:
        raise UserError("--num-inputs and --image-size must be at least 1.")
    # What isn't counted is said below; fvcore would list it for each image.
    logging.getLogger("fvcore.nn.jit_analysis").setLevel(logging.ERROR)
    cfg = load_config(args.config_file, args.opts, args.allow)
    model = build_model(cfg)
    if {"flop", "activation", "speed"} & set(args.tasks):
        size = "x".join(str(side) for side in next(make_inputs(cfg, args))[0]["image"].shape[1:])
        print(f"Images of noise, {size} as the model sees them; random weights.")
    for task in args.tasks:
        if task == "parameter":
            print(parameter_count_table(model, max_depth=4))
        elif task == "structure":
            print(model)
        elif task == "flop":
            count_flops(model, make_inputs(cfg, args))
        elif task == "activation":
            count_activations(model, make_inputs(cfg, args))
        else:
            measure_speed(model, list(make_inputs(cfg, args)))


if __name__ == "__main__":
    sys.exit(main())
