"""What the processes of a distributed run do together."""

from collections.abc import Callable
from typing import TypeVar

from detectron2.utils import comm

from imted.errors import UserError

T = TypeVar("T")


def on_main_process(work: Callable[[], T]) -> T:
    """Let the main process work, and give all processes what it returns.

    All processes must call this. Detectron2's `comm` has no broadcast of objects; what all but
    one of them gather is None.

    Raises:
        UserError: The work raised it; on every process.
    """
    outcome: T | UserError | None = None
    if comm.is_main_process():
        try:
            outcome = work()
        except UserError as error:
            outcome = error
    outcome = comm.all_gather(outcome)[0]
    if isinstance(outcome, UserError):
        raise outcome
    return outcome
