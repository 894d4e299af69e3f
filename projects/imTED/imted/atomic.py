"""Files that are written whole or not at all, whatever ends the process; and JSON read back."""

import errno
import hashlib
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
    partial = _partial(os.fspath(path))
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


def _partial(path: str) -> str:
    """Return the path of what isn't whole yet; of a name too long for a suffix, one by its hash."""
    folder, name = os.path.split(path)
    if len(os.fsencode(name + PARTIAL)) > 255:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()
    return os.path.join(folder, name + PARTIAL)


def write_text(text: str, path: str | os.PathLike) -> None:
    """Write a text file, see `replacing`; its folder is made if need be."""
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with replacing(path) as partial:
        Path(partial).write_text(text, encoding="utf-8")


def write_json(content: Any, path: str | os.PathLike, indent: int | None = None) -> None:
    """Write a json file as `write_text` does."""
    write_text(json.dumps(content, indent=indent), path)


def read_json(path: str | os.PathLike, what: str = "file") -> Any:
    """Read a json file.

    Args:
        path: A path or any URL that iopath reads.
        what: What it is, in the sentence that says it isn't there, and how to make it.

    Raises:
        UserError: It isn't there, or is no JSON.
    """
    path = os.fspath(path)
    if not PathManager.isfile(path):
        raise UserError(f"{path}: there is no such {what}.")
    try:
        with PathManager.open(path, "rb") as file:
            return json.loads(file.read())  # of bytes, which may be UTF-16 or begin with a mark
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not readable as JSON: {error}.") from None


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
