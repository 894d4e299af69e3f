"""A user's errors: the exception that stands for one, and how a command line ends with it."""

import functools
import sys
from collections.abc import Callable
from typing import ParamSpec

P = ParamSpec("P")


class UserError(Exception):
    """Say in one sentence what is wrong, in which file and field, and how to fix it.

    Command lines print the sentence and exit with status 1; they show no stack trace.
    """


def exit_status(main: Callable[P, int | None]) -> Callable[P, int]:
    """Make a command line's `main` return its exit status, 0 unless it says otherwise.

    A `UserError`, or a file that can't be read or written, is printed as one line: status 1.
    """

    @functools.wraps(main)
    def run(*args: P.args, **kwargs: P.kwargs) -> int:
        try:
            return main(*args, **kwargs) or 0
        except UserError as error:
            message = str(error)
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            message = f"{where}{error.strerror or error}."
        print(f"error: {message}", file=sys.stderr)
        return 1

    return run
