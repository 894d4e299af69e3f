"""The largest number of images that a training step has memory for, found by trying."""

import gc
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, repeat
from statistics import median
from typing import Any

from imted.config.load import build
from imted.config.resolve import Run
from imted.training.ema import EMAHook
from imted.training.freezing import FrozenEvalHook, freeze
from imted.training.train import build_loader, build_trainer
from imted.training.trainer import peak_memory

import torch

from .clock import timed

STEPS = 4
"""Of a trial; the first is not timed, and from the second on the optimizer has its state."""


@dataclass(frozen=True)
class Trial:
    """Steps of so many images on one GPU.

    Attributes:
        images: Images in a step.
        memory: Most bytes in use; None where the memory was not enough.
        speed: Images a second; None likewise.
    """

    images: int
    memory: int | None = None
    speed: float | None = None


def largest_sample(run: Run, number: int) -> dict[str, Any]:
    """Return the largest of what the training loader yields first; of equals, the fullest.

    Args:
        run: With a `dataloader.train` of Detectron2's kind: samples have "image".
        number: How many samples to look at.
    """
    one = run.changed({"dataloader.train.total_batch_size": 1})
    samples = (sample for (sample,) in islice(build_loader(one.cfg), number))
    return max(samples, key=lambda s: (s["image"].numel(), len(s.get("instances", ()))))


def try_batches(run: Run, sample: dict[str, Any], images: int) -> Iterator[Trial]:
    """Try numbers of images that an iteration can be cut into, up to the first that is too many.

    Args:
        run: What is to be trained.
        sample: Stands for every image.
        images: Images in an iteration on this GPU; the divisors of this number are tried.
    """
    for number in (n for n in range(1, images + 1) if images % n == 0):
        trial = _try(run, sample, number)
        yield trial
        if trial.memory is None:
            return


def _try(run: Run, sample: dict[str, Any], images: int) -> Trial:
    if run.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(run.device)
    try:
        return _steps(run, sample, images)
    except torch.OutOfMemoryError:
        pass  # with the error go the frames that hold tensors
    finally:
        gc.collect()
        torch.cuda.empty_cache()
    return Trial(images)


def _steps(run: Run, sample: dict[str, Any], images: int) -> Trial:
    trial = run.changed({"train.accumulation_steps": 1})
    cfg = trial.cfg
    model = build(cfg.model, "model").to(run.device)
    freeze(model, cfg.train.frozen)
    trainer = build_trainer(trial, model, repeat([sample] * images))
    if cfg.train.frozen_eval:
        trainer.register_hooks([FrozenEvalHook(model, cfg.train.frozen)])
    if cfg.train.ema.enabled:
        trainer.register_hooks([EMAHook(model, cfg.train.ema.decay)])
    seconds = [timed(lambda: trainer.train(0, 1), run.device) for _ in range(STEPS)]
    return Trial(images, peak_memory(run.device), images / median(seconds[1:]))
