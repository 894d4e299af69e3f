"""Hooks and writers beyond Detectron2's own."""

import logging
import math
import os
import random
import re
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.checkpoint import Checkpointer
from detectron2.engine import HookBase
from detectron2.engine.hooks import BestCheckpointer as D2BestCheckpointer
from detectron2.engine.hooks import EvalHook
from detectron2.engine.hooks import PeriodicCheckpointer as D2PeriodicCheckpointer
from detectron2.utils import comm
from detectron2.utils.events import CommonMetricPrinter, get_event_storage

from imted.atomic import write_json
from imted.processes import on_main_process
from imted.run_folder import BEST_RECORD, FINAL, STOPPED, read_best
from imted.training.sharding import gather_state
from imted.training.stopping import STOP, Stopped, name_of

logger = logging.getLogger(__name__)

EVALUATED = "evaluation_time"
"""Seconds of an evaluation, in metrics.json: it was brought to its end."""


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


class PeriodicCheckpointer(D2PeriodicCheckpointer):
    """Save periodically, and keep no more files over `--resume` than without it."""

    def before_train(self) -> None:
        """Take over the files of the run that is resumed."""
        super().before_train()
        folder, done = Path(self.checkpointer.save_dir), self.trainer.start_iter
        numbers = [
            int(path.stem.rpartition("_")[2])
            for path in folder.glob(f"{self.file_prefix}_{'[0-9]' * 7}.pth")
        ]
        names = [f"{self.file_prefix}_{n:07d}.pth" for n in sorted(numbers) if n < done]
        self.recent_checkpoints = [str(folder / name) for name in names]
        if self.max_to_keep is not None:  # the run may have been killed before it removed one
            for path in self.recent_checkpoints[: -self.max_to_keep]:
                os.remove(path)
            self.recent_checkpoints = self.recent_checkpoints[-self.max_to_keep :]

    def after_step(self) -> None:
        """Save if it is time; what a stop had saved in between is not needed any more."""
        super().after_step()
        if self.saved:
            with suppress(FileNotFoundError):
                os.remove(os.path.join(self.checkpointer.save_dir, STOPPED))

    @property
    def saved(self) -> bool:
        """Whether the iteration that ends is saved."""
        number = self.trainer.iter + 1
        return number % self.period == 0 or number >= self.trainer.max_iter


class StopHook(HookBase):
    """End the run after an iteration in which a signal has asked for it; first, save."""

    def __init__(self, checkpointer: Checkpointer, periodic: PeriodicCheckpointer | None) -> None:
        """Keep what saves.

        Args:
            checkpointer: The run's checkpointer.
            periodic: The hook that may have saved already; None where this process saves nothing.
        """
        self._checkpointer = checkpointer
        self._periodic = periodic

    def after_step(self) -> None:
        """Save and raise `Stopped`, if any process has been asked to."""
        if not self.trainer.stopping:
            return
        if self._periodic is not None and not self._periodic.saved:
            self._checkpointer.save(Path(STOPPED).stem, iteration=self.trainer.iter)
        comm.synchronize()  # the first process to end ends the others
        raise Stopped(
            STOP.signum,
            f"Stopped by {name_of(STOP.signum)} after iteration {self.trainer.iter + 1} of "
            f"{self.trainer.max_iter}, which is saved in {self._checkpointer.save_dir}; --resume "
            "continues.",
        )


class EvaluationHook(EvalHook):
    """Evaluate periodically and at the end of a training that comes to it."""

    _evaluated: int | None = None  # iterations done at the last evaluation

    def _do_eval(self) -> None:
        self._evaluated = self.trainer.iter + 1
        start = time.perf_counter()
        super()._do_eval()
        seconds = time.perf_counter() - start
        self.trainer.storage.put_scalar(EVALUATED, seconds, smoothing_hint=False)

    def after_train(self) -> None:
        """Evaluate; Detectron2's does so after an error in the last iteration, too."""
        # Where an evaluation has ended the training, it was the last one.
        if self.trainer.finished and self._evaluated != self.trainer.iter:
            super().after_train()


FALLBACK = "bbox/AP"
"""The metric of the best weights where `train.best_metric` has no value."""


class CatchUpHook(HookBase):
    """Before the first iteration, do what hooks had to do after the last one before `--resume`."""

    def __init__(self, hooks: Sequence[HookBase]) -> None:
        """Keep the hooks, in their order; they are among the trainer's."""
        self._hooks = hooks

    def before_train(self) -> None:
        """Let them believe that the last iteration has just ended."""
        now = self.trainer.start_iter
        self.trainer.iter = self.trainer.storage.iter = now - 1
        for hook in self._hooks:
            hook.after_step()
        self.trainer.iter = self.trainer.storage.iter = now


class BestCheckpointer(D2BestCheckpointer):
    """Keep the best weights, and remember across `--resume` how good they were.

    Writes a record beside the weights, see `imted.run_folder.read_best`.
    """

    _val_metric: str

    def before_train(self) -> None:
        """Read the record of the run that is resumed."""
        record = read_best(self._checkpointer.save_dir) if self.trainer.start_iter > 0 else None
        if record and record["metric"] in (self._val_metric, FALLBACK):
            self._val_metric = record["metric"]
            self.best_metric, self.best_iter = record["value"], record["iteration"]

    def after_train(self) -> None:
        """Look at the last evaluation."""
        if self.trainer.finished:
            super().after_train()

    def _best_checking(self) -> None:
        before = self.best_iter
        self._fall_back()
        super()._best_checking()
        if self.best_iter != before:  # the weights are written: now what is said of them
            record = {
                "metric": self._val_metric,
                "value": float(self.best_metric),
                "iteration": self.best_iter,
            }
            write_json(record, os.path.join(self._checkpointer.save_dir, BEST_RECORD))

    def _fall_back(self) -> None:
        """Take another metric for one that the test set gives no value, which is NaN."""
        latest = self.trainer.storage.latest()
        known = {name for name, (value, _) in latest.items() if math.isfinite(value)}
        if self.best_iter is None and FALLBACK in known and self._val_metric not in known:
            logger.warning(
                'train.best_metric is "%s", which has no value on this test set (no such objects): '
                "the best weights are those of the best %s.",
                *(self._val_metric, FALLBACK),
            )
            self._val_metric = FALLBACK


class EarlyStopHook(HookBase):
    """End the training once several evaluations in a row were no better than the best one.

    How long ago the best was follows from what the best checkpointer remembers over `--resume`.
    """

    def __init__(
        self,
        patience: int,
        period: int,
        checkpointer: Checkpointer,
        best: BestCheckpointer | None,
    ) -> None:
        """Keep the settings.

        Args:
            patience: Evaluations without a better result.
            period: Iterations between two.
            checkpointer: Saves the final weights.
            best: Knows the best result; None in all but the main process.
        """
        self._patience = patience
        self._period = period
        self._checkpointer = checkpointer
        self._best = best

    def before_train(self) -> None:
        """Go on with no run that had come to its end; a longer patience goes on with it."""
        if on_main_process(lambda: self._has_waited(self.trainer.start_iter)):
            self.trainer.max_iter = self.trainer.start_iter

    def after_step(self) -> None:
        """Look at the evaluation that has just been, and end the training in all processes."""
        done = self.trainer.iter + 1
        if done % self._period or done >= self.trainer.max_iter:
            return
        if on_main_process(lambda: self._has_waited(done)):
            self.trainer.max_iter = done
            gather_state(self.trainer.optimizer)
            if self._best is not None:
                self._checkpointer.save(Path(FINAL).stem, iteration=self.trainer.iter)
                logger.info(
                    "No evaluation in %d iterations was better than the best: the training ends.",
                    self._patience * self._period,
                )

    def _has_waited(self, done: int) -> bool:
        if self._best is None or self._best.best_iter is None:
            return False
        return done - (self._best.best_iter + 1) >= self._patience * self._period


class ConsolePrinter(CommonMetricPrinter):
    """Add images/s, and on a CPU the process's peak memory, to Detectron2's line of progress."""

    def __init__(self, max_iter: int) -> None:
        super().__init__(max_iter)
        self.logger = _ThroughputLogger(logging.getLogger("detectron2.utils.events"), {})


class _ThroughputLogger(logging.LoggerAdapter):
    def process(self, msg: str, kwargs: Any) -> tuple[str, Any]:
        # Detectron2 prints whatever has "loss" in its name; the last evaluation's has been said.
        msg = re.sub(r"validation/\S+ \S+\s+", "", msg.rstrip())
        histories = get_event_storage().histories()
        if not torch.cuda.is_available() and "max_mem" in histories:
            msg += f"  max_mem: {histories['max_mem'].latest():.0f}M"
        speed = histories.get("images_per_second")
        if speed is not None:  # no iteration is complete when the first one fails
            msg += f"  images/s: {speed.median(20):.4g}"
        return msg, kwargs
