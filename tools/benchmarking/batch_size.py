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


def try_batches(
    run: Run, sample: dict[str, Any], images: int, several: bool = False
) -> Iterator[Trial]:
    """Try numbers of images that an iteration can be cut into, up to the first that is too many.

    Args:
        run: What is to be trained.
        sample: Stands for every image.
        images: Images in an iteration on this GPU; the divisors of this number are tried.
        several: Whether this GPU is one of several, which exchange their gradients.
    """
    for number in (n for n in range(1, images + 1) if images % n == 0):
        # A second step of an iteration finds the gradients of the first in memory.
        one = run.changed({"train.accumulation_steps": min(2, images // number)})
        trial = _try(one, sample, number, several)
        yield trial
        if trial.memory is None:
            return


def _try(run: Run, sample: dict[str, Any], images: int, several: bool) -> Trial:
    if run.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(run.device)
    try:
        return _steps(run, sample, images, several)
    except torch.OutOfMemoryError:
        pass  # with the error go the frames that hold tensors
    finally:
        gc.collect()
        torch.cuda.empty_cache()
    return Trial(images)


def _steps(run: Run, sample: dict[str, Any], images: int, several: bool) -> Trial:
    cfg = run.cfg
    model = build(cfg.model, "model").to(run.device)
    freeze(model, cfg.train.frozen)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    buckets = torch.empty(trained if several else 0, device=run.device)  # as DDP has them
    trainer = build_trainer(run, model, repeat([sample] * images))
    # A first scale that is too large would skip the updates, and their state with them.
    trainer.grad_scaler.load_state_dict({**trainer.grad_scaler.state_dict(), "scale": 1.0})
    if cfg.train.frozen_eval:
        trainer.register_hooks([FrozenEvalHook(model, cfg.train.frozen)])
    if cfg.train.ema.enabled:
        trainer.register_hooks([EMAHook(model, cfg.train.ema.decay)])
    seconds = [timed(lambda: trainer.train(0, 1), run.device) for _ in range(STEPS)]
    del buckets
    images_an_iteration = images * cfg.train.accumulation_steps
    return Trial(images, peak_memory(run.device), images_an_iteration / median(seconds[1:]))
