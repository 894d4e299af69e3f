"""Hooks and writers beyond Detectron2's own."""

import json
import logging
import os
import random
import resource
import sys
from typing import Any

import numpy as np
import torch
from detectron2.engine import HookBase
from detectron2.engine.hooks import BestCheckpointer as D2BestCheckpointer
from detectron2.utils import comm
from detectron2.utils.events import CommonMetricPrinter, get_event_storage

from imted.errors import UserError


class ReseedHook(HookBase):
    """Seed torch, numpy and random before each step from the seed, the rank and the iteration.

    What an iteration draws then doesn't depend on what ran before it, and training that was
    stopped and resumed equals training that never stopped.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def before_step(self) -> None:
        """Seed the three generators."""
        entropy = [self._seed, comm.get_rank(), self.trainer.iter]
        seed = int(np.random.SeedSequence(entropy).generate_state(1)[0])
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)


class BestCheckpointer(D2BestCheckpointer):
    """Keep the best weights, and remember across `--resume` how good they were.

    Writes `model_best.json` ({"metric", "value", "iteration"}) beside `model_best.pth`.
    """

    @property
    def _record(self) -> str:
        return os.path.join(self._checkpointer.save_dir, f"{self._file_prefix}.json")

    def before_train(self) -> None:
        """Read the record of the run that is resumed."""
        if self.trainer.start_iter > 0 and os.path.isfile(self._record):
            try:
                with open(self._record) as f:
                    record = json.load(f)
            except ValueError as error:
                raise UserError(
                    f"{self._record} isn't readable ({error}); remove it to start looking for the "
                    "best weights anew."
                ) from error
            if record["metric"] == self._val_metric:
                self.best_metric, self.best_iter = record["value"], record["iteration"]

    def _update_best(self, val: float, iteration: int) -> bool:
        updated = super()._update_best(val, iteration)
        if updated:
            with open(self._record, "w") as f:
                record = {"metric": self._val_metric, "value": float(val), "iteration": iteration}
                json.dump(record, f)
        return updated


class ConsolePrinter(CommonMetricPrinter):
    """Add images/s, and on a CPU the process's peak memory, to Detectron2's line of progress."""

    def __init__(self, max_iter: int) -> None:
        super().__init__(max_iter)
        self.logger = _ThroughputLogger(logging.getLogger("detectron2.utils.events"), {})


class _ThroughputLogger(logging.LoggerAdapter):
    def process(self, msg: str, kwargs: Any) -> tuple[str, Any]:
        msg = msg.rstrip()
        if not torch.cuda.is_available():
            msg += f"  max_mem: {peak_memory() >> 20}M"
        speed = get_event_storage().histories().get("images_per_second")
        if speed is not None:  # no iteration is complete when the first one fails
            msg += f"  images/s: {speed.median(20):.4g}"
        return msg, kwargs


def peak_memory() -> int:
    """Return the process's peak resident memory in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
