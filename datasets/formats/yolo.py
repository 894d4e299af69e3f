"""YOLO's folders: a data.yaml, `images/` and, beside it, `labels/` of the same structure.

A line of a label file is a class number from 0, then a box (centre x, centre y, width, height) or
a polygon (x, y, x, y, …), all as fractions of the image. Where the data.yaml has a `kpt_shape`, a
line is a box and key points, which COCO's detection has no place for.
"""

import math
import os
from pathlib import Path
from typing import Any

import yaml

from imted.data.images import IMAGE_SUFFIXES
from imted.errors import UserError, first_line

from .coco import CocoBuilder, common_folder
from .text import read_text

SPLITS = ("train", "val", "test")


def read_yolo(data_yaml: str) -> dict[str, CocoBuilder]:
    """Read every split that a data.yaml names.

    An image whose label file is empty or missing has no objects.

    Args:
        data_yaml: Its path. What it names is sought from its `path`, or else from its own folder.

    Returns:
        The data sets by split: train, val, test.

    Raises:
        UserError: Something is missing, or no YOLO label.
    """
    path = Path(data_yaml)
    if path.is_dir():
        path = path / "data.yaml"
    about = _read_yaml(path)
    names = about.get("names")
    if isinstance(names, dict) and sorted(names) == list(range(len(names))):
        names = [names[number] for number in range(len(names))]
    if not isinstance(names, list) or not names:
        raise UserError(f"{data_yaml} has no 'names', the list of classes; add it.")
    if not all(isinstance(name, str | int | float) for name in names):
        raise UserError(f"{data_yaml} has what is no text in 'names'; write a name for each class.")
    names = [str(name) for name in names]
    if len(set(names)) < len(names):
        raise UserError(f"{data_yaml} has a name twice in 'names'; give each class its own.")
    key_points = _count_key_points(about, path)
    splits = [split for split in SPLITS if about.get(split)]
    found = {split: _read_split(_images(about, split, path), names, key_points) for split in splits}
    if not found:
        raise UserError(f"{data_yaml} names none of {', '.join(SPLITS)}; add their folders.")
    return found


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        about = yaml.safe_load(read_text(path))
    except OSError as error:
        raise UserError(f"{path} can't be read ({error.strerror}); name a data.yaml.") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = first_line(error)
        raise UserError(f"{path} is no YAML ({reason}); correct it.") from None
    if not isinstance(about, dict):
        raise UserError(f"{path} is no data.yaml, which has 'train', 'val' and 'names'.")
    return about


def _count_key_points(about: dict[str, Any], path: Path) -> int:
    """Return how many numbers of a line are key points'; `kpt_shape` is their number and size."""
    shape = about.get("kpt_shape")
    if shape is None:
        return 0
    try:
        number, size = map(int, shape)
    except (TypeError, ValueError):
        raise UserError(f"{path}: 'kpt_shape' is {shape!r}, not two integers.") from None
    return number * size


def _images(about: dict[str, Any], split: str, data_yaml: Path) -> list[Path]:
    """List the images of a split: of a folder, of a text file of paths, or of several of them."""
    folder = data_yaml.parent
    base = folder / str(about.get("path") or "")
    entries = about[split] if isinstance(about[split], list) else [about[split]]
    images: list[Path] = []
    if not all(isinstance(entry, str) for entry in entries):
        raise UserError(f"{data_yaml}: {split!r} is no path or list of paths; correct it.")
    for entry in entries:
        # Some exports write ../train/images for what is beside the data.yaml.
        places = [base / entry, folder / entry, folder / entry.removeprefix("../")]
        place = next((place for place in places if place.exists()), None)
        if place is None:
            raise UserError(
                f"{data_yaml}: {split} is {entry!r}, and {places[0]} doesn't exist; correct "
                f"{split!r} or 'path'."
            )
        if place.is_dir():
            images += [p for p in place.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES]
        else:
            lines = read_text(place).splitlines()
            images += [place.parent / line.strip() for line in lines if line.strip()]
    if not images:
        raise UserError(f"{data_yaml}: {split} ({about[split]}) holds no images.")
    # Links stay as they are: the labels are beside the link.
    return sorted({Path(os.path.abspath(path)) for path in images})


def _read_split(images: list[Path], names: list[str], key_points: int) -> CocoBuilder:
    if not any(_labels_of(image).is_file() for image in images):
        raise UserError(
            f"None of {len(images)} images has a label file; that of {images[0]} would be "
            f"{_labels_of(images[0])}."
        )
    builder = CocoBuilder(common_folder(images), names)
    for image in images:
        width, height = builder.add_image(image)
        labels = _labels_of(image)
        if not labels.is_file():
            continue
        for number, line in enumerate(read_text(labels).splitlines(), start=1):
            if line.strip():
                kind, values = _parse(line, names, key_points, f"{labels}, line {number}")
                if key_points:
                    builder.leave_out("set of key points")
                _add(builder, names[kind], values, width, height)
    return builder


def _labels_of(image: Path) -> Path:
    """Return the label file: the last folder `images` in its path becomes `labels`."""
    parts = list(image.parts)
    if "images" in parts:
        parts[len(parts) - 1 - parts[::-1].index("images")] = "labels"
    return Path(*parts).with_suffix(".txt")


def _parse(line: str, names: list[str], key_points: int, place: str) -> tuple[int, list[float]]:
    words = line.split()
    try:
        number, values = float(words[0]), [float(word) for word in words[1:]]
    except ValueError:
        raise UserError(f"{place}: {line.strip()!r} has what is no number; correct it.") from None
    if number not in range(len(names)):
        raise UserError(
            f"{place}: class {words[0]} isn't one of the {len(names)} of 'names', which count "
            "from 0; correct the line or the data.yaml."
        )
    if key_points:
        if len(values) != 4 + key_points:
            raise UserError(
                f"{place} has {len(values)} numbers after the class; with this data.yaml's "
                f"'kpt_shape' it must be {4 + key_points}."
            )
        values = values[:4]
    if len(values) != 4 and (len(values) < 6 or len(values) % 2):
        raise UserError(
            f"{place} has {len(values)} numbers after the class; it must be 4 (a box), or 2 for "
            "each of 3 or more points (a polygon)."
        )
    # Rounding puts an edge a little outside.
    if not all(math.isfinite(value) and -0.01 <= value <= 1.01 for value in values):
        raise UserError(f"{place}: a value isn't from 0 to 1; YOLO's are fractions of the image.")
    return int(number), values


def _add(builder: CocoBuilder, name: str, values: list[float], width: int, height: int) -> None:
    if len(values) == 4:
        x, y, w, h = values
        box = ((x - w / 2) * width, (y - h / 2) * height, w * width, h * height)
        builder.add_object(name, box)
        return
    points = [(x * width, y * height) for x, y in zip(values[::2], values[1::2], strict=True)]
    builder.add_object(name, polygons=[points])
