"""Check COCO-format train and val files before training: name every problem, repair what can be."""

import math
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from detectron2.utils.file_io import PathManager
from PIL import Image, UnidentifiedImageError

from imted.data.coco_check.geometry import are_finite, is_box, is_usable_rle, usable_polygons
from imted.data.coco_check.plausibility import check_box_form, check_masks_of_boxes
from imted.data.coco_check.report import CheckedDataset, Report, write_repaired
from imted.data.coco_json import SECTIONS, name_by_text, read_coco
from imted.data.pixels import BYTE_MODES
from imted.errors import UserError

__all__ = [
    "Report",
    "check_dataset",
    "check_pair",
    "read_image_size",
    "write_repaired",
]

OVERHANG = 0.02
"""Pixels by which a box may leave its image: COCO rounds x and width to 1/100 pixel each."""
EXIF_ORIENTATION = 0x0112
EXIF_TURNED = (5, 6, 7, 8)
"""EXIF orientations that exchange width and height."""
EXIF_SAME_SIZE = (2, 3, 4)
"""EXIF orientations that mirror or turn by 180 degrees."""


class DeepImage(Exception):
    """An image file has more than 8 bits a channel."""


def check_dataset(
    json_file: str, image_root: str, split: str = "train", masks: bool = False
) -> Report:
    """Check one data set in COCO format against its image files.

    Args:
        json_file: The annotations, a local path or any iopath URL.
        image_root: The folder that the json's file names start from.
        split: "train" or "val"; names the repaired copy.
        masks: Whether the model learns masks; annotations without one are then left out,
            provided that others have one.

    Raises:
        UserError: If the file is no COCO json at all or the image root is missing. All other
            problems are findings of the report.
    """
    content = read_coco(json_file)
    if not PathManager.isdir(image_root):
        raise UserError(f"image root {image_root} of {json_file} is not a folder.")
    data = CheckedDataset(split, json_file, image_root, content, masks)
    if _has_text_ids(data):  # all that refers to them would be a finding, too
        return Report([data])
    _check_categories(data)
    _check_images(data)
    check_box_form(data)
    _check_annotations(data)
    check_masks_of_boxes(data)
    if masks and data.has_masks:
        _drop_maskless(data)
    for section in SECTIONS:
        # Where there are only crowds, nothing is to be found, and Detectron2 takes no image.
        if all(entry.get("iscrowd") for entry in content[section]):
            data.add(f"no_{section}", f"{section!r} of {os.path.basename(json_file)}")
    return Report([data])


def check_pair(train: Report, val: Report) -> Report:
    """Join the reports of train and val and check that the two belong together.

    Detectron2 numbers classes by ascending category id, so both files must hold the same ids
    with the same names.
    """
    report = Report([*train.datasets, *val.datasets])
    first, second = report.datasets
    if any("id_text" in data.findings for data in report.datasets):
        return report  # their categories are unchecked
    names = [
        {category["id"]: category["name"] for category in data.content["categories"]}
        for data in report.datasets
    ]
    for key in sorted(names[0].keys() | names[1].keys()):
        in_train, in_val = (repr(found[key]) if key in found else "absent" for found in names)
        if in_train != in_val:
            second.add(
                "category_mismatch", f"category {key} is {in_train} in train, {in_val} in val"
            )
    if second.masks and first.has_masks and not second.has_masks:
        second.add("mask_mismatch", os.path.basename(second.json_file))
    return report


def read_image_size(path: str) -> tuple[int, int, int]:
    """Read an image file's header and verify that the file is whole.

    Pixels are decoded only where nothing cheaper tells: a PNG has check sums, and a JPEG ends
    with its end marker.

    Returns:
        Width and height as Detectron2 reads the image (its EXIF rotation applied), and the EXIF
        orientation, 1 for an upright image.

    Raises:
        DeepImage: It has more than 8 bits a channel.
    """
    with PathManager.open(path, "rb") as file:
        image = Image.open(file)
        width, height = image.size
        # PNG's own getexif() would decode all pixels first.
        orientation = Image.Image.getexif(image).get(EXIF_ORIENTATION, 1)
        image_format, mode = image.format, image.mode
        image.verify()
        ends = b""
        if image_format == "JPEG":
            file.seek(-2, os.SEEK_END)
            ends = file.read()
        if image_format != "PNG" and ends != b"\xff\xd9":  # verify() reads no pixels
            file.seek(0)
            Image.open(file).load()
    if mode not in BYTE_MODES:
        raise DeepImage(f": Pillow's mode {mode}")
    turned = orientation in EXIF_TURNED
    return (height, width, orientation) if turned else (width, height, orientation)


def _has_text_ids(data: CheckedDataset) -> bool:
    """Record ids that are text, in whatever section."""
    for section, keys in _IDS.items():
        for entry in data.content[section]:
            for key in keys:
                if isinstance(entry.get(key), str):
                    data.add("id_text", f"{key} {entry[key]!r} of {section!r}")
    return "id_text" in data.findings


_IDS = {
    "categories": ("id",),
    "images": ("id",),
    "annotations": ("id", "image_id", "category_id"),
}


def _is_name(value: Any) -> bool:
    """Tell whether a value is text that a file can hold: no half of a character."""
    try:
        return isinstance(value, str) and bool(value.encode("utf-8"))
    except UnicodeEncodeError:
        return False


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _image_name(image: dict) -> str:
    return f"image {image.get('id')} ({image.get('file_name')})"


def _check_categories(data: CheckedDataset) -> None:
    categories, seen = [], set()
    for category in name_by_text(data.content["categories"]):
        data.add("category_number", f"category {category.get('id')!r} ({category['name']})")
    for category in data.content["categories"]:
        key, name = category.get("id"), category.get("name")
        label = f"category {key!r} ({name!r})"
        if not _is_integer(key) or not _is_name(name):
            data.add("category_invalid", label)
            continue
        if key in seen or name in seen:
            data.add("category_repeated", label)
        seen |= {key, name}
        categories.append(category)
    data.content["categories"] = categories


def _check_images(data: CheckedDataset) -> None:
    images, ids, names = [], set(), set()
    for image in data.content["images"]:
        key, name = image.get("id"), image.get("file_name")
        if not _is_integer(key) or not _is_name(name):
            data.add("image_invalid", _image_name(image))
            continue
        if key in ids:
            data.add("image_repeated", _image_name(image))
        if name in names:
            data.add("file_repeated", _image_name(image))
        ids.add(key)
        names.add(name)
        images.append(image)
    data.content["images"] = images
    paths = [os.path.join(data.image_root, image["file_name"]) for image in images]
    with ThreadPoolExecutor(max_workers=8) as pool:  # the files may lie on a slow network disk
        for image, found in zip(images, pool.map(_inspect_file, paths), strict=True):
            _compare_size(data, image, found)


def _inspect_file(path: str) -> tuple[int, int, int] | tuple[str, str]:
    """Return what `read_image_size` says, or the kind of finding and its detail."""
    if not PathManager.isfile(path):
        return "image_missing", ""
    try:
        return read_image_size(path)
    except DeepImage as error:
        return "image_depth", str(error)
    except UnidentifiedImageError:
        return "image_unreadable", ": not an image"
    except Exception as error:  # PIL raises many kinds for damaged files
        return "image_unreadable", f": {error}"


def _compare_size(data: CheckedDataset, image: dict, found: tuple) -> None:
    if isinstance(found[0], str):
        kind, detail = found
        data.add(kind, _image_name(image) + detail)
        return
    width, height, orientation = found
    turned = orientation in EXIF_TURNED
    stated = (image.get("width"), image.get("height"))
    image["width"], image["height"] = width, height
    if None in stated:
        data.add("image_size_absent", _image_name(image))
    elif turned and stated == (height, width) and width != height:
        data.add("image_rotated", _image_name(image))
    elif _is_scaled(stated, (width, height)):
        sizes = f"{stated[0]}x{stated[1]} in the json, {width}x{height} in the file"
        data.add("image_scaled", f"{_image_name(image)}: {sizes}")
    elif stated != (width, height) or not all(map(_is_integer, stated)):
        sizes = f"{stated[0]}x{stated[1]} in the json, {width}x{height} in the file"
        data.add("image_size_wrong", f"{_image_name(image)}: {sizes}")

    if orientation in EXIF_SAME_SIZE or (turned and width == height):
        data.add("image_turned", _image_name(image))


def _is_scaled(stated: tuple, size: tuple[int, int]) -> bool:
    """Tell whether two sizes are of one form, but not the same."""
    if not all(map(_is_integer, stated)) or min(stated) < 1 or stated == size:
        return False
    x, y = (said / real for said, real in zip(stated, size, strict=True))
    return abs(x - y) <= 0.02 * max(x, y) and abs(x - 1) > 0.02


def _check_annotations(data: CheckedDataset) -> None:
    images = {image["id"]: image for image in data.content["images"]}
    categories = {category["id"] for category in data.content["categories"]}
    annotations = data.content["annotations"]
    numbers = [entry["id"] for entry in annotations if _is_integer(entry.get("id"))]
    free_id, used, kept = max([0, *numbers]) + 1, set(), []
    for entry in annotations:
        image_id, category_id = entry.get("image_id"), entry.get("category_id")
        image = images.get(image_id) if isinstance(image_id, int | float) else None
        if image is None:
            data.add("image_unknown", f"annotation {entry.get('id')} (image {image_id})")
            continue
        name = f"annotation {entry.get('id')} ({_image_name(image)})"
        if not isinstance(category_id, int | float) or category_id not in categories:
            data.add("category_unknown", f"{name}: category {category_id}")
            continue
        if not _repair_box(data, entry, image, name):
            continue
        kind = None
        if not _is_integer(entry.get("id")) or entry["id"] < 1:
            kind = "annotation_id"
        elif entry["id"] in used:
            kind = "annotation_repeated"
        if kind:
            data.add(kind, name)
            entry["id"], free_id = free_id, free_id + 1
        used.add(entry["id"])
        _repair_mask(data, entry, image, name)
        _fill_fields(data, entry, name)
        kept.append(entry)
    data.content["annotations"] = kept


def _repair_box(data: CheckedDataset, entry: dict, image: dict, name: str) -> bool:
    """Clip the box of an annotation to its image; False if no box is left."""
    box: Any = entry.get("bbox")
    if not is_box(box):
        data.add("box_invalid", f"{name}: {box}")
        return False
    x, y, width, height = box
    if width <= 0 or height <= 0:
        data.add("box_empty", name)
        return False
    left, top = max(x, 0), max(y, 0)
    # A file that is missing or damaged, a fatal finding, may leave its size unknown.
    right = min(x + width, image.get("width") or math.inf)
    bottom = min(y + height, image.get("height") or math.inf)
    if right <= left or bottom <= top:
        data.add("box_off_image", name)
        return False
    if max(left - x, top - y, x + width - right, y + height - bottom) > OVERHANG:
        data.add("box_outside", name)
        entry["bbox"] = [left, top, right - left, bottom - top]
        if not entry.get("segmentation"):
            entry["area"] = entry["bbox"][2] * entry["bbox"][3]
    return True


def _repair_mask(data: CheckedDataset, entry: dict, image: dict, name: str) -> None:
    """Keep the usable part of an annotation's segmentation, or take the segmentation away."""
    mask = entry.get("segmentation")
    if not mask:
        entry.pop("segmentation", None)
        return
    usable = False
    if isinstance(mask, dict):
        usable = is_usable_rle(mask, image)
    elif isinstance(mask, list):
        polygons = usable_polygons(mask, image)
        usable = bool(polygons)
        if usable and len(polygons) < len(mask):
            data.add("polygon_odd", name)
            entry["segmentation"] = polygons
    if not usable:
        data.add("mask_unusable", name)
        del entry["segmentation"]


def _fill_fields(data: CheckedDataset, entry: dict, name: str) -> None:
    if entry.pop("ignore", 0):  # Detectron2 refuses the field
        data.add("annotation_ignored", name)
        entry["iscrowd"] = 1
    # COCO's evaluation reads both.
    has_area = are_finite([entry.get("area")]) and entry["area"] >= 0
    if "iscrowd" not in entry:  # LVIS has none
        entry["iscrowd"] = 0
        data.completed = True
    knows_crowd = are_finite([entry.get("iscrowd")]) and entry["iscrowd"] in (0, 1)
    if not (has_area and knows_crowd):
        data.add("annotation_incomplete", name)
    if not has_area:
        entry["area"] = entry["bbox"][2] * entry["bbox"][3]
    if not knows_crowd:
        entry["iscrowd"] = 0


def _drop_maskless(data: CheckedDataset) -> None:
    """Leave out annotations without a mask: Detectron2 cannot mix them with others."""
    images = {image["id"]: image for image in data.content["images"]}
    kept = []
    for entry in data.content["annotations"]:
        if "segmentation" in entry:
            kept.append(entry)
        else:
            image = _image_name(images[entry["image_id"]])
            data.add("mask_absent", f"annotation {entry['id']} ({image})")
    data.content["annotations"] = kept
