"""Files that are written whole or not at all, whatever ends the process; and JSON read back."""

import errno
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from detectron2.utils.file_io import PathManager

from imted.errors import UserError

PARTIAL = ".partial"
"""Suffix of a file that isn't whole yet; a process that was killed may leave one."""


@contextmanager
def replacing(path: str | os.PathLike) -> Iterator[str]:
    """Give the path of a new file that takes the place of `path` once it is whole.

    Where anything is raised meanwhile, what was at `path` stays.

    Raises:
        UserError: It can't be written: the disk is full, or the folder isn't there any more.
    """
    partial = f"{os.fspath(path)}{PARTIAL}"
    try:
        yield partial
        with open(partial, "rb") as file:
            os.fsync(file.fileno())  # else a power cut may keep the name and lose the content
        os.replace(partial, path)
    except BaseException as error:
        with suppress(OSError):
            os.remove(partial)
        cause = _os_error(error, os.path.dirname(partial) or ".")
        if cause is None:
            raise
        raise UserError(
            f"{path} can't be written ({cause.strerror or cause}); what was there before is as it "
            "was."
        ) from error


def write_text(text: str, path: str | os.PathLike) -> None:
    """Write a text file, see :func:`replacing`; its folder is made if need be."""
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with replacing(path) as partial:
        Path(partial).write_text(text, encoding="utf-8")


def write_json(content: Any, path: str | os.PathLike, indent: int | None = None) -> None:
    """Write a json file as :func:`write_text` does."""
    write_text(json.dumps(content, indent=indent), path)


def read_json(path: str | os.PathLike) -> Any:
    """Read a json file.

    Args:
        path: A path or any URL that iopath reads.

    Raises:
        OSError: It isn't there, or can't be read.
        ValueError: It is no JSON, no text, or nested more deeply than Python reads.
    """
    with PathManager.open(os.fspath(path), encoding="utf-8") as file:
        try:
            return json.load(file)
        except RecursionError as error:
            raise ValueError(str(error)) from None


def _os_error(error: BaseException | None, folder: str) -> OSError | None:
    """Return what the system has refused, which torch's writer may hide behind another error."""
    if isinstance(error, RuntimeError) and not os.path.isdir(folder):
        return FileNotFoundError(errno.ENOENT, "its folder isn't there any more")
    while error is not None and not isinstance(error, OSError):
        error = error.__context__
    return error


def make_folder(path: str, field: str) -> None:
    """Make a folder to write into.

    Args:
        path: Its path.
        field: What names it, for the error.

    Raises:
        UserError: It can't be made, or nothing can be written into it.
    """
    try:
        os.makedirs(path, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise UserError(
            f"{path!r} ({field}) can't be written to ({error.strerror}); name a folder that can."
        ) from None
