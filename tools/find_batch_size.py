#!/usr/bin/env python
"""Find how many images a training step has GPU memory for, with the overrides to set.

A few steps each are run with the largest of the config's training samples, at random weights.
An iteration keeps its images: what a step has less, accumulation makes up for.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarking.batch_size import largest_sample, try_batches
from imted import allowed
from imted.config.resolve import Run, resolve
from imted.errors import UserError, exit_status
from imted.training.memory import memory_sentence

import torch
from omegaconf import DictConfig

EPILOG = """\
examples
  python tools/find_batch_size.py --config-file configs/coco/imted_mask_rcnn_vit_base_3x.py
  python tools/find_batch_size.py --num-gpus 4 --config-file \\
      configs/custom/imted_mask_rcnn_vit_base.py dataset.train_json=train.json \\
      dataset.train_images=images dataset.val_json=val.json dataset.val_images=images
"""


def argument_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--config-file", default="", metavar="FILE", help="a LazyConfig, or a run's config.yaml")
    add("--num-gpus", type=int, default=1, metavar="N",
        help="GPUs that the training is to run on; one of them is tried (%(default)s)")  # fmt: skip
    add("--samples", type=int, default=64, metavar="N",
        help="training samples to take the largest of (%(default)s)")  # fmt: skip
    add("--keep-free", type=float, default=0.1, metavar="SHARE",
        help="of the GPU's memory, for samples that are larger still (%(default)s)")  # fmt: skip
    allowed.add_option(parser)
    add("opts", nargs="*", metavar="key=value", help="changes of the config")
    return parser


@exit_status
def main(argv: list[str] | None = None) -> None:
    """Try, and print what was found."""
    args = argument_parser().parse_args(argv)
    if args.num_gpus < 1 or args.samples < 1 or not 0 <= args.keep_free < 1:
        raise UserError("--num-gpus and --samples must be at least 1, --keep-free from 0 to 1.")
    with tempfile.TemporaryDirectory() as folder:  # where repaired annotations go
        opts = [*args.opts, f"train.output_dir={folder}"]
        run = resolve(args.config_file, opts, allow=args.allow, start=_require_gpu)
        torch.cuda.set_per_process_memory_fraction(1 - args.keep_free, run.device)
        loader, steps = run.cfg.dataloader.train, run.cfg.train.accumulation_steps
        images, rest = divmod(loader.total_batch_size * steps, args.num_gpus)
        if rest:
            raise UserError(
                f"An iteration has {images * args.num_gpus + rest} images, which {args.num_gpus} "
                "GPUs can't share evenly; change dataloader.train.total_batch_size."
            )
        _try(run, args, images)


@contextmanager
def _require_gpu(cfg: DictConfig, device: torch.device) -> Iterator[None]:
    if device.type != "cuda":
        raise UserError("The memory of a GPU is what is tried, and there is none (train.device).")
    yield


def _try(run: Run, args: argparse.Namespace, images: int) -> None:
    sample = largest_sample(run, args.samples)
    height, width = sample["image"].shape[-2:]
    objects = len(sample.get("instances", ()))
    print(f"largest of {args.samples} samples: {height} x {width} pixels, {objects} objects")
    print("images a step  peak memory  images/s")
    best = 0
    for trial in try_batches(run, sample, images, several=args.num_gpus > 1):
        if trial.memory is None:
            print(f"{trial.images:13d}  does not fit")
        else:
            best = trial.images
            print(f"{best:13d}  {trial.memory / 2**30:7.1f} GiB  {trial.speed:8.2f}")
    if not best:
        one = {"dataloader.train.total_batch_size": 1, "train.accumulation_steps": 1}
        raise UserError(memory_sentence(run.changed(one).cfg))
    print(f"An iteration keeps its {images * args.num_gpus} images with")
    print(
        f"dataloader.train.total_batch_size={best * args.num_gpus} "
        f"train.accumulation_steps={images // best}"
    )


if __name__ == "__main__":
    sys.exit(main())
