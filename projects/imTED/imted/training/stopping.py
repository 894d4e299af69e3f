"""Signals that ask a run to stop: it ends after the current iteration, when that is saved.

SIGINT (Ctrl-C), SIGTERM (`kill`, a cluster that ends a job) and SIGUSR1 (a cluster's warning
before it does). A process ends with 128 plus the signal's number, as shells know it.
"""

import itertools
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from detectron2.utils import comm

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
SAME = 1.0
"""Seconds within which a second signal is the first one, come by another way."""
BATCHES = 10
"""Of an evaluation, between two looks at whether it is to stop."""


class Stopped(BaseException):
    """A signal has ended the run; like KeyboardInterrupt, no error that code may catch.

    Attributes:
        signum: The signal; None where another process had it.
        status: The exit status of the process.
    """

    def __init__(self, signum: int | None, message: str) -> None:
        super().__init__(signum, message)  # so that it can be handed to another process
        self.signum = signum
        self.status = 128 + (signal.SIGTERM if signum is None else signum)

    def __str__(self) -> str:
        return self.args[1]


class StopRequest:
    """The signal that this process has got.

    Until a training runs, it ends the process at once: there is nothing to save. Then it only
    becomes known here, and the training asks.
    """

    def __init__(self) -> None:
        self.signum: int | None = None
        self._when = 0.0
        self._pid = 0
        self._deferred = False
        self._forwards = False

    @contextmanager
    def handled(self) -> Iterator[None]:
        """Take the signals of this process, where they can be had: in its main thread."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        self.signum, self._pid = None, os.getpid()
        former = {signum: signal.signal(signum, self._handle) for signum in SIGNALS}
        try:
            yield
        finally:
            for signum, handler in former.items():
                signal.signal(signum, handler)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Only note a signal."""
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False

    @contextmanager
    def forwarded(self) -> Iterator[None]:
        """Hand a signal to the processes that this one has started, and go on waiting for them."""
        self._deferred = self._forwards = True
        try:
            yield
        finally:
            self._deferred = self._forwards = False

    @property
    def requested(self) -> bool:
        """Whether there was a signal."""
        return self.signum is not None

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if os.getpid() != self._pid:
            return  # a process that loads images inherits the handler; its trainer ends it
        children = multiprocessing.active_children() if self._forwards else []
        if self.signum is None:
            self.signum, self._when = signum, time.monotonic()
            for child in children:
                _send(child.pid, signum)
        elif time.monotonic() - self._when > SAME:
            for child in children:
                _send(child.pid, signal.SIGKILL)
            os._exit(128 + signum)
        if not self._deferred:
            raise Stopped(signum, f"Stopped by {name_of(signum)} while no training ran.")


STOP = StopRequest()
"""Of this process; signals know no other scope."""


def name_of(signum: int | None) -> str:
    """Return a signal's name."""
    return "a signal" if signum is None else signal.Signals(signum).name


def stop_between_batches(number: int) -> Callable[[], None]:
    """Return what an evaluation calls before each batch: it ends at a signal, on all processes.

    Args:
        number: How many batches this process has; others may have more or fewer.
    """
    common = min(comm.all_gather(number))
    batches = itertools.count()

    def check() -> None:
        batch = next(batches)
        if batch % BATCHES == 0 and batch < common and any(comm.all_gather(STOP.requested)):
            raise Stopped(
                STOP.signum,
                f"Stopped by {name_of(STOP.signum)} in an evaluation; --resume does it again.",
            )

    return check


def _send(pid: int | None, signum: int) -> None:
    """Signal a process that may have ended just now."""
    if pid is not None:
        with suppress(ProcessLookupError):
            os.kill(pid, signum)
