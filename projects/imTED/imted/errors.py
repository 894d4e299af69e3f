"""A user's errors: the exception that stands for one, and how a command line ends with it."""

import codecs
import functools
import io
import locale
import os
import re
import signal
import sys
from collections.abc import Callable
from typing import ParamSpec

import torch
from omegaconf.errors import OmegaConfBaseException

P = ParamSpec("P")


class UserError(Exception):
    """Say in one sentence what is wrong, in which file and field, and how to fix it.

    Command lines print the sentence and exit with status 1; they show no stack trace.
    """


def sentence_of(error: BaseException) -> str | None:
    """Say in one sentence what went wrong; None for a fault of the program, which needs its trace.

    Beside a `UserError` these are what the machine refuses: a disk that is full, memory that is,
    a process of the run that somebody has ended.
    """
    text = str(error)
    if isinstance(error, UserError):
        # A loader's process hands on its whole trace; the sentence is at the end of it.
        return text.rpartition("UserError: ")[2].strip()
    if isinstance(error, OSError):
        where = f"{os.fsdecode(error.filename)}: " if error.filename else ""
        # A loader's process hands on its whole trace here, too.
        return f"{where}{error.strerror or text.strip().rpartition(chr(10))[2]}."
    if isinstance(error, OmegaConfBaseException):
        return f"The config's {error.full_key} can't be resolved: {first_line(error)}."
    if isinstance(error, torch.OutOfMemoryError):
        return (
            "The GPU's memory is full; lower dataloader.train.total_batch_size, or save memory as "
            "docs/training.md has it."
        )
    if isinstance(error, MemoryError) or "DefaultCPUAllocator" in text:
        return "The memory is full; lower the batch size or num_workers."
    if isinstance(error, RuntimeError) and text.startswith("DataLoader worker"):
        return (
            f"A process that loads images was ended from outside ({text.split(' exited')[0]}): "
            "mostly for want of memory; lower dataloader.train.num_workers, and go on with "
            "--resume."
        )
    if isinstance(error, RuntimeError) and _OF_SHARED_MEMORY.search(text):
        return (
            "The shared memory (/dev/shm) is full, by which processes hand over images: enlarge it "
            "(docker run --shm-size=8g), or set dataloader.train.num_workers=0 and "
            "dataloader.test.num_workers=0."
        )
    if isinstance(error, NotImplementedError) and (missing := _OF_DEVICES.search(text)):
        operator, device = missing.groups()
        return (
            f"torch has no {operator} for {device.lower()} yet: set "
            f"PYTORCH_ENABLE_{device}_FALLBACK=1 "
            "in the environment, by which it runs on the CPU, or train.device=cpu."
        )
    if isinstance(error, RuntimeError) and any(words in text for words in _OF_PEERS):
        return PEER_ENDED
    return None


PEER_ENDED = "Another process of the run has ended; its own message says why."
_OF_PEERS = ("Connection closed by peer", "Connection reset by peer", "Broken pipe")
"""What gloo says on the other processes."""


_OF_SHARED_MEMORY = re.compile(
    r"unable to \w+.*(shared memory|/torch_)|out of shared memory", re.DOTALL
)
"""What torch says where a block doesn't fit into it."""
_OF_DEVICES = re.compile(r"(?:operator|run) '([\w:.]+)'.*?\b(MPS|XPU)\b", re.DOTALL)
"""What torch says of an operator that a device of these lacks."""


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says; its kind where it says nothing."""
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)


def print_any_text() -> None:
    """Let no name of a file or class end the program because the terminal cannot show it."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def discard_stdout() -> None:
    """Let all that is printed from here on go nowhere, as its reader has gone."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _require_utf8() -> None:
    encoding = locale.getpreferredencoding(do_setlocale=False)
    if codecs.lookup(encoding).name != "utf-8":  # pycocotools and Detectron2 read jsons by it
        raise UserError(
            f"Texts are read as {encoding} here, by the locale, and data and configs are UTF-8: "
            "set PYTHONUTF8=1 in the environment."
        )


def exit_status(main: Callable[P, int | None]) -> Callable[P, int]:
    """Make a command line's `main` return its exit status, 0 unless it says otherwise.

    What `sentence_of` has a sentence for is printed as one line: status 1. Where nobody reads on
    what it prints, as in `| head -1`, it ends without a word: status 1. Ctrl-C: status 130.
    """

    @functools.wraps(main)
    def run(*args: P.args, **kwargs: P.kwargs) -> int:
        print_any_text()
        try:
            _require_utf8()
            status = main(*args, **kwargs) or 0
            sys.stdout.flush()
            return status
        except BrokenPipeError:
            discard_stdout()
            return 1
        except KeyboardInterrupt:
            print("Stopped by Ctrl-C.", file=sys.stderr)
            return 128 + signal.SIGINT
        except Exception as error:
            message = sentence_of(error)
            if message is None:
                raise
        print(f"error: {message}", file=sys.stderr)
        return 1

    return run
