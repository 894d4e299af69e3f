"""Which images a command line means, where their pictures go, and which ids they have."""

import glob
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from imted.data import read_coco
from imted.data.images import IMAGE_SUFFIXES
from imted.errors import UserError

MAX_NAME = 255
"""Bytes."""


def list_inputs(inputs: Sequence[str], output: str = "") -> list[Path]:
    """List image files.

    Args:
        inputs: Files, folders (with their subfolders) and globs (`**` for subfolders).
        output: The folder of the results: of a folder of images, what is in it is left out.

    Returns:
        Every file once, in the order of `inputs`; within one, by path.

    Raises:
        UserError: Something isn't there, or holds no images.
    """
    files: dict[Path, None] = {}
    written = Path(output).resolve() if output else None
    for item in inputs:
        path = Path(item)
        if path.is_dir():
            found = [p for p in sorted(path.rglob("*")) if p.suffix.lower() in IMAGE_SUFFIXES]
            found = [p for p in found if written is None or written not in p.resolve().parents]
            if not found:
                known = ", ".join(sorted(IMAGE_SUFFIXES))
                raise UserError(f"The folder {item} (--input) holds no images ({known}).")
        elif path.exists():
            found = [path]
        else:
            found = [p for p in map(Path, sorted(glob.glob(item, recursive=True))) if p.is_file()]
            if not found:
                raise UserError(f"{item} (--input) doesn't exist, and as a glob it finds no file.")
        files.update(dict.fromkeys(found))
    return list(files)


def picture_paths(files: Sequence[Path], output: str) -> dict[Path, Path]:
    """Give each image a picture in the output folder: its own name, as a JPEG.

    Images of several folders keep the folders below their common one; names that would meet
    (a.png and a.jpg) keep their suffix, and what is too long for a file system is cut.
    """
    parents = [file.resolve().parent for file in files]
    common = Path(os.path.commonpath(parents)) if parents else Path()
    names = {file: file.resolve().relative_to(common) for file in files}
    stems = [name.with_suffix("") for name in names.values()]
    counts = Counter(stems)
    return {
        file: _fitting(Path(output, f"{name if counts[stem] > 1 else stem}.jpg"), number)
        for number, ((file, name), stem) in enumerate(zip(names.items(), stems, strict=True))
    }


def _fitting(path: Path, number: int) -> Path:
    """Cut a file's name to the bytes that file systems take, and tell it by a number."""
    if len(os.fsencode(path.name)) <= MAX_NAME:
        return path
    end = f"~{number}{path.suffix}"
    return path.with_name(
        os.fsencode(path.stem)[: MAX_NAME - len(end)].decode(errors="ignore") + end
    )


def image_ids(files: Sequence[Path], json_file: str = "") -> dict[Path, int]:
    """Give each image the id that its results are written with.

    Args:
        files: The images.
        json_file: A COCO json whose images they are; by default they are numbered from 1.

    Raises:
        UserError: The json can't be read, or an image isn't in it.
    """
    if not json_file:
        return {file: number for number, file in enumerate(files, start=1)}
    images = read_coco(json_file, "images")["images"]
    by_name = {tuple(Path(image["file_name"]).parts): image["id"] for image in images}
    ids = {}
    for file in files:
        parts = file.resolve().parts
        # A file_name may start at any folder above the image.
        tails = (parts[i:] for i in range(len(parts)))
        known = next((by_name[tail] for tail in tails if tail in by_name), None)
        if known is None:
            raise UserError(
                f"{file} (--input) isn't among the images of {json_file} (--image-ids); leave the "
                "image or the option out."
            )
        ids[file] = known
    return ids
