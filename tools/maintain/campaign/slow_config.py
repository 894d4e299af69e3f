"""The toy of tests/training, slowed down so that a signal meets each part of its run."""

import io
import os
import time
from pathlib import Path

import torch
from detectron2.config import LazyCall as L
from toy_config import dataloader, lr_multiplier, model, optimizer, train  # noqa: F401
from toy_training import RandomMapper, ToyEvaluator

SLOW = float(os.environ.get("CAMPAIGN_SECONDS", "0.3"))
FOLDER = Path(os.environ["CAMPAIGN_FOLDER"])
STARTED, EVALUATING = FOLDER / "started", FOLDER / "evaluating"
"""Files that are there from the time that the config is read, and during an evaluation."""


class SlowMapper(RandomMapper):
    """Take a while for each image."""

    def __call__(self, sample):
        time.sleep(SLOW / 30)
        return super().__call__(sample)


class SlowEvaluator(ToyEvaluator):
    """Take a while, and let it be seen."""

    def evaluate(self):
        EVALUATING.touch()
        time.sleep(SLOW)
        results = super().evaluate()
        EVALUATING.unlink(missing_ok=True)
        return results


def slow_save(data, target, **kwargs):
    """Write a file in two halves."""
    buffer = io.BytesIO()
    save(data, buffer, **kwargs)
    content = buffer.getvalue()
    target.write(content[: len(content) // 2])
    if not isinstance(target, io.BytesIO):
        target.flush()
        time.sleep(SLOW)
    target.write(content[len(content) // 2 :])


STARTED.touch()
save, torch.save = torch.save, slow_save
dataloader["train"].mapper = L(SlowMapper)()
dataloader["evaluator"] = L(SlowEvaluator)()
train.update(max_iter=60, log_period=7, eval_period=20, checkpointer=dict(period=10, max_to_keep=2))
