"""One line of progress over a whole sweep."""

import os
import sys
import time
from collections.abc import Sequence
from datetime import timedelta

from imted.extras.sweep.runs import PlannedRun

PERIOD = 5.0
"""Seconds between two looks at how far the runs are."""
PERIOD_OF_LOG = 300.0
"""Seconds between two lines where the output is no terminal."""


class Progress:
    """Counts iterations over all runs.

    Attributes:
        failed: What went wrong, by the name of the run's folder.
    """

    def __init__(self, runs: Sequence[PlannedRun]) -> None:
        """Look at what is there already of all runs of a sweep."""
        self.failed: dict[str, str] = {}
        self._runs = runs
        self._start = time.monotonic()
        self._before = self._done()
        self._shown = -1e9
        self._terminal = sys.stdout.isatty()
        print(f"{len(runs)} runs, of which {self._finished()} are finished")

    def show(self) -> None:
        """Show the line, if the last one is old enough."""
        now = time.monotonic()
        if now - self._shown < (PERIOD if self._terminal else PERIOD_OF_LOG):
            return
        self._shown = now
        self.close()
        print(self.line(), flush=True, end="" if self._terminal else "\n")

    def line(self) -> str:
        """Return how many runs are finished and have failed, how far all are, and the ETA."""
        total, done = sum(run.max_iter for run in self._runs), self._done()
        elapsed = time.monotonic() - self._start
        rate = (done - self._before) / elapsed if elapsed else 0
        eta = str(timedelta(seconds=round((total - done) / rate))) if rate else "unknown"
        failed = f", {len(self.failed)} failed" if self.failed else ""
        share = done / total if total else 1
        return (
            f"sweep  {self._finished()} of {len(self._runs)} runs finished{failed}  "
            f"{done} of {total} iterations ({share:.0%})  eta: {eta}"
        )

    def end(self, run: PlannedRun, error: str | None) -> None:
        """Say that a run has ended."""
        name = os.path.basename(run.folder)
        self.close()
        if error is None:
            print(f"finished  {name}", flush=True)
        else:
            self.failed[name] = error
            print(f"failed    {name}: {error}", flush=True)

    def close(self) -> None:
        """Leave the line on a terminal as it is."""
        if self._terminal:
            print("\r\x1b[K", end="")

    def _done(self) -> int:
        return sum(run.done_iterations for run in self._runs)

    def _finished(self) -> int:
        return sum(run.finished for run in self._runs)
