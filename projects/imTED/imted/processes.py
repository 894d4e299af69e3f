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
    return _all_outcomes(work, comm.is_main_process())[0]


def on_first_of_machine(work: Callable[[], T]) -> T:
    """Let one process of each machine work, and give all of the machine what it returns.

    All processes must call this.

    Raises:
        UserError: The work raised it on any machine; on every process.
    """
    first = comm.get_rank() - comm.get_local_rank()
    return _all_outcomes(work, comm.get_local_rank() == 0)[first]


def _all_outcomes(work: Callable[[], T], mine: bool) -> list[T]:
    """Return what the processes that work return, by rank."""
    outcome: T | UserError | None = None
    if mine:
        try:
            outcome = work()
        except UserError as error:
            outcome = error
    outcomes = comm.all_gather(outcome)
    for outcome in outcomes:
        if isinstance(outcome, UserError):
            raise outcome
    return outcomes
