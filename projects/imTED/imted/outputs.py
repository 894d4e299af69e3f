"""What commands write into a user's folders; no file is replaced that the project didn't write.

A run's folder has rules of its own, see `imted.run_folder`.
"""

import functools
import json
import os
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from imted.atomic import replacing
from imted.errors import UserError

LIST = ".imted_outputs"
"""A file in each folder: sizes in bytes and names of what was written into it."""

AnyPath = str | os.PathLike


@contextmanager
def output_file(path: AnyPath, inputs: Iterable[AnyPath] = ()) -> Iterator[str]:
    """Give the path of a new file that takes the place of `path` once it is whole.

    Args:
        path: Where it will be; its folder is made if need be.
        inputs: Files that the command reads.

    Raises:
        UserError: It is one of the inputs, or a file that the project didn't write as it is there
            now, or it can't be written.
    """
    refuse_others([path], inputs)
    folder = os.path.dirname(path) or "."
    os.makedirs(folder, exist_ok=True)
    with replacing(path) as partial:
        yield partial
        with open(os.path.join(folder, LIST), "a", encoding="utf-8") as file:
            file.write(_line(partial, os.path.basename(path)))


def write_text(text: str, path: AnyPath, inputs: Iterable[AnyPath] = ()) -> None:
    """Write a text file, see `output_file`."""
    with output_file(path, inputs) as partial:
        Path(partial).write_text(text, encoding="utf-8")


def write_json(
    content: Any, path: AnyPath, inputs: Iterable[AnyPath] = (), indent: int | None = None
) -> None:
    """Write a json file, see `output_file`."""
    write_text(json.dumps(content, indent=indent), path, inputs)


def write_picture(pixels: np.ndarray, path: AnyPath, **options: Any) -> None:
    """Write RGB pixels, uint8 (H, W, 3), in the format of the path's suffix, see `output_file`.

    Args:
        pixels: The picture.
        path: Where it goes.
        options: Of Pillow's writer.
    """
    kind = Image.registered_extensions()[Path(path).suffix.lower()]
    with output_file(path) as partial:
        Image.fromarray(pixels).save(partial, kind, **options)


def refuse_others(paths: Collection[AnyPath], inputs: Iterable[AnyPath] = ()) -> None:
    """Raise what `output_file` would for any of the files; before hours of work, all at once."""
    read = {os.path.realpath(path) for path in inputs}
    listed = functools.cache(_listed)  # once a folder, not once a file
    for path in paths:
        if os.path.realpath(path) in read:
            raise UserError(
                f"{path} is what the command reads, and would be replaced by what it writes; name "
                "another folder for that."
            )
        if os.path.lexists(path) and not _is_among(path, listed(os.path.dirname(path) or ".")):
            raise UserError(
                f"{path} is there already, and isn't as a command of this project has written it; "
                "move it away, or name another folder for what is to be written."
            )


def is_written(path: AnyPath) -> bool:
    """Tell whether a file is there as a command of the project has written it."""
    return _is_among(path, _listed(os.path.dirname(path) or "."))


def _is_among(path: AnyPath, lines: frozenset[str]) -> bool:
    return os.path.isfile(path) and _line(path, os.path.basename(path)) in lines


def _listed(folder: str) -> frozenset[str]:
    path = Path(folder, LIST)
    if not path.is_file():
        return frozenset()
    return frozenset(path.read_text(encoding="utf-8").splitlines(keepends=True))


def _line(path: AnyPath, name: str) -> str:
    return f"{os.path.getsize(path)} {json.dumps(name)}\n"
