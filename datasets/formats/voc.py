"""PASCAL VOC's folders: an XML file for each image, corners in pixels counted from 1."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from imted.errors import UserError

from .coco import CocoBuilder
from .text import read_text


def read_voc(folder: str, first_pixel: int = 1) -> dict[str, CocoBuilder]:
    """Read a folder of `Annotations/`, `JPEGImages/` and, where there are lists, `ImageSets/Main/`.

    What tools write in VOC's format beside other images is read, too: `annotations/`, `images/`,
    or both in the folder itself. The classes are those of all XML files, by name, so that every
    split has the same.

    Args:
        folder: Its path.
        first_pixel: What the corner of the first pixel is called. 1 as in VOC: then the last
            corner belongs to the box. 0 as in the XML of some tools: then the box ends there.

    Returns:
        The data sets by list (train, val, trainval, test), or one "all" where there are no lists.

    Raises:
        UserError: Something is missing or isn't of VOC's format.
    """
    root = Path(folder)
    annotations = _first_folder(root, "Annotations", "annotations")
    images = _first_folder(root, "JPEGImages", "images")
    files = sorted(annotations.rglob("*.xml"))
    if not files:
        raise UserError(
            f"{annotations} holds no .xml; give the folder that has Annotations/ and JPEGImages/, "
            "or that has both .xml and images."
        )
    trees = {file.stem: (file, _read_xml(file)) for file in files}
    classes = sorted(
        {_text(item, "name", file) for file, tree in trees.values() for item in tree.iter("object")}
    )
    found = {}
    for split, names in _lists(root, list(trees)):
        builder = CocoBuilder(images, classes)
        for name in names:
            if name not in trees:
                raise UserError(f"{root}: the list {split!r} names {name!r}, which has no .xml.")
            _add_image(builder, *trees[name], first_pixel)
        found[split] = builder
    return found


def _first_folder(root: Path, *names: str) -> Path:
    """Return the first of these folders that is there, the one that they are in without any."""
    return next((root / name for name in names if (root / name).is_dir()), root)


def _lists(root: Path, everything: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield each list of images; those of single classes, which have a second column, are none."""
    split = False
    for file in sorted((root / "ImageSets" / "Main").glob("*.txt")):
        rows = [line.split() for line in read_text(file).splitlines()]
        names = [row[0] for row in rows if row]
        if names and all(len(row) <= 1 for row in rows):
            split = True
            yield file.stem, names
    if not split:
        yield "all", everything


def _read_xml(path: Path) -> ElementTree.Element:
    if not path.is_file():
        raise UserError(f"{path} is no regular file; remove it.")
    try:
        return ElementTree.parse(path).getroot()
    except (ElementTree.ParseError, OSError, ValueError) as error:
        raise UserError(f"{path} can't be read as XML ({error}); correct it.") from None


def _text(node: ElementTree.Element, tag: str, path: Path) -> str:
    text = (node.findtext(tag) or "").strip()
    if not text:
        raise UserError(f"{path}: <{node.tag}> has no <{tag}>; add it.")
    return text


def _whole(tree: ElementTree.Element, tag: str) -> int | None:
    text = (tree.findtext(tag) or "").strip()
    return int(text) if text.isdecimal() else None


def _add_image(
    builder: CocoBuilder, path: Path, tree: ElementTree.Element, first_pixel: int
) -> None:
    name = (tree.findtext("filename") or "").strip()
    # Renamed images keep the old name in their XML: then the file of the XML's own name is meant.
    image = builder.root / Path(name.replace("\\", "/")).name
    if not name or not image.is_file():
        image = next(iter(sorted(builder.root.glob(f"{path.stem}.*"))), image)
    builder.add_image(image)
    builder.require_size((_whole(tree, "size/width"), _whole(tree, "size/height")), path)
    for item in tree.iter("object"):
        box = item.find("bndbox")
        if box is None:
            raise UserError(f"{path}: an <object> has no <bndbox>; add it.")
        try:
            left, top, right, bottom = (
                float(_text(box, tag, path)) for tag in ("xmin", "ymin", "xmax", "ymax")
            )
        except ValueError as error:
            raise UserError(f"{path}: a corner is no number ({error}); correct it.") from None
        if not all(map(math.isfinite, (left, top, right, bottom))):
            raise UserError(f"{path}: a corner is not finite; correct it.")
        left, right = sorted((left, right))
        top, bottom = sorted((top, bottom))
        if min(left, top) < first_pixel:
            raise UserError(
                f"{path}: a corner is {min(left, top):g}, and VOC counts pixels from 1; with "
                "--first-pixel 0, corners count from 0 and boxes end at the last one."
            )
        size = (right - left + first_pixel, bottom - top + first_pixel)
        corner = (left - first_pixel, top - first_pixel)
        marks: dict[str, Any] = {"difficult": 1} if item.findtext("difficult") == "1" else {}
        builder.add_object(_text(item, "name", path), (*corner, *size), **marks)
