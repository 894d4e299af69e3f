"""Check a COCO json: name every problem, repair what can be."""

import filecmp
import itertools
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from detectron2.utils.file_io import PathManager
from PIL import UnidentifiedImageError

from imted.data.coco_check.findings import CheckedJson, name_annotation, name_image
from imted.data.coco_check.geometry import (
    Size,
    are_finite,
    box_of_mask,
    clip_box,
    is_box,
    usable_part,
)
from imted.data.coco_check.plausibility import check_box_form, check_masks_of_boxes
from imted.data.coco_json import SECTIONS, load_coco
from imted.data.pixels import BYTE_MODES, EXIF_TURNED, inspect_image
from imted.errors import UserError

LARGEST_ID = 2**53
"""Image ids up to which every reader of json and COCO's evaluation agree."""
MANY_CROWDS = 0.1
"""The share of crowds from which they are no matter of single regions; COCO's is 0.012."""
OVERHANG = 0.02
"""Pixels by which a box may leave its image: COCO rounds x and width to 1/100 pixel each."""
SCALED = 0.02
"""Part by which a size may differ from another and still be the same."""
EXIF_SAME_SIZE = (2, 3, 4)
"""EXIF orientations that mirror or turn by 180 degrees."""
_IDS = {
    "categories": ("id",),
    "images": ("id",),
    "annotations": ("id", "image_id", "category_id"),
}
_NAMED = {
    "categories": ("name", "category_invalid", "category_repeated", "category_repeated"),
    "images": ("file_name", "image_invalid", "image_repeated", "file_repeated"),
}
"""The field of a name, and the findings: no usable id or name, an id that repeats, such a name."""


def check_dataset(
    json_file: str,
    image_root: str | None,
    split: str = "train",
    masks: bool = False,
    sections: Sequence[str] = SECTIONS,
) -> CheckedJson:
    """Check a COCO json, and against its image files if their folder is given.

    Args:
        json_file: The annotations, a local path or any iopath URL.
        image_root: The folder that the json's file names start from. None opens no image, and
            lets a data set be empty; it is then no set to train on.
        split: "train" or "val"; names the repaired copy.
        masks: Whether the model learns masks; annotations without one are then left out,
            provided that others have one.
        sections: What is needed of "images", "annotations" and "categories".

    Raises:
        UserError: It is no COCO json at all, or the image root is missing. All other problems are
            findings.
    """
    data = CheckedJson(json_file, load_coco(json_file, sections), image_root or "", split, masks)
    if image_root is not None and not PathManager.isdir(image_root):
        raise UserError(f"image root {image_root} of {json_file} is not a folder.")
    for section in sections:
        for entry, key in itertools.product(data.content[section], _IDS[section]):
            if isinstance(entry.get(key), str):
                data.add("id_text", f"{key} {entry[key]!r} of {section!r}")
    if data.findings:  # all that refers to them would be a finding, too
        return data
    if "categories" in sections and "annotations" in sections:
        _drop_root(data)
    for section in [name for name in _NAMED if name in sections]:
        _check_names(data, section)
    sizes = {} if image_root is None else _check_files(data)
    if "annotations" in sections:
        check_box_form(data, sizes)
        _check_annotations(data, sizes)
        check_masks_of_boxes(data)
        _check_crowds(data)
    if masks and data.has_masks:
        _drop_maskless(data)
    for section in sections if image_root is not None else ():
        # Where there are only crowds, nothing is to be found, and Detectron2 takes no image.
        if all(entry.get("iscrowd") for entry in data.content[section]):
            data.add(f"no_{section}", f"{section!r} of {os.path.basename(json_file)}")
    return data


def check_pair(train: CheckedJson, val: CheckedJson) -> None:
    """Check that train and val belong together; findings are added to val.

    Detectron2 numbers classes by ascending category id, so both files must hold the same ids
    with the same names.
    """
    if "id_text" in {**train.findings, **val.findings}:
        return  # their categories are unchecked
    names = [{c["id"]: c["name"] for c in data.content["categories"]} for data in (train, val)]
    for key in sorted(names[0].keys() | names[1].keys()):
        in_train, in_val = (repr(found[key]) if key in found else "absent" for found in names)
        if in_train != in_val:
            val.add("category_mismatch", f"category {key} is {in_train} in train, {in_val} in val")
    if val.masks and train.has_masks and not val.has_masks:
        val.add("mask_mismatch", os.path.basename(val.json_file))
    learned, wanted = (
        {e["category_id"] for e in data.content["annotations"] if not e["iscrowd"]}
        for data in (train, val)
    )
    for key in sorted(wanted - learned):
        val.add("classes_unseen", f"{names[1].get(key)!r}")
    known: dict[int, list[str]] = {}
    for path in filter(os.path.isfile, _files_of(train)):
        known.setdefault(os.path.getsize(path), []).append(path)
    for image, path in zip(val.content["images"], _files_of(val), strict=True):
        same_size = known.get(os.path.getsize(path), []) if os.path.isfile(path) else []
        if any(filecmp.cmp(path, other, shallow=False) for other in same_size):
            val.add("file_shared", name_image(image))


def _files_of(data: CheckedJson) -> list[str]:
    return [os.path.join(data.image_root, image["file_name"]) for image in data.content["images"]]


def _drop_root(data: CheckedJson) -> None:
    """Leave out the root of a tree of categories: a name for them all, which has no object."""
    categories = data.content["categories"]
    ids = (entry.get("category_id") for entry in data.content["annotations"])
    used = {key for key in ids if isinstance(key, int)}
    for category in [c for c in categories if isinstance(c.get("id"), int) and c["id"] not in used]:
        others = [other for other in categories if other is not category]
        if others and all(other.get("supercategory") == category.get("name") for other in others):
            data.add("category_root", f"category {category.get('id')!r} ({category.get('name')!r})")
            data.content["categories"] = others
            return


def _check_names(data: CheckedJson, section: str) -> None:
    """Leave out categories or images that can't be referred to; find ids and names that repeat."""
    field, invalid, *repeated = _NAMED[section]
    kept, seen = [], set()
    for entry in data.content[section]:
        key, name = entry.get("id"), entry.get(field)
        if section == "categories" and type(name) is int:
            data.add("category_number", f"category {key!r} ({name})")
            name = entry["name"] = str(name)
        item = name_image(entry) if section == "images" else f"category {key!r} ({name!r})"
        of_image = section == "images" and type(key) is int
        if type(key) is not int or not _is_text(name) or (of_image and not 0 <= key <= LARGEST_ID):
            data.add(invalid, item)
            continue
        for kind in sorted({repeated[i] for i, v in enumerate((key, name)) if v in seen}):
            data.add(kind, item)
        seen |= {key, name}
        kept.append(entry)
    data.content[section] = kept


def _is_text(value: Any) -> bool:
    """Tell whether a value is text that a file can hold: no half of a character."""
    try:
        return isinstance(value, str) and bool(value.encode("utf-8"))
    except UnicodeEncodeError:
        return False


def _check_files(data: CheckedJson) -> dict[int, Size]:
    """Compare the images with their files, and return the sizes of these."""
    images = data.content["images"]
    paths = [os.path.join(data.image_root, image["file_name"]) for image in images]
    stated = [(image.get("width"), image.get("height")) for image in images]
    sizes: dict[int, Size] = {}
    with ThreadPoolExecutor(max_workers=8) as pool:  # the files may lie on a slow network disk
        inspected = pool.map(_inspect_file, paths, stated)
        for image, (size, found) in zip(images, inspected, strict=True):
            for finding in found:
                kind, colon, detail = finding.partition(":")
                data.add(kind, name_image(image) + colon + detail)
            if size is not None:
                image["width"], image["height"] = sizes[image["id"]] = size
    return sizes


def _inspect_file(path: str, stated: tuple) -> tuple[Size | None, list[str]]:
    """Return an image's size, None if it can't be used, and its findings, some with a detail.

    Args:
        path: The file.
        stated: Width and height in the json, or whatever stands there.
    """
    if not PathManager.isfile(path):
        return None, ["image_missing"]
    try:
        width, height, orientation, mode = inspect_image(path)
    except UnidentifiedImageError:
        return None, ["image_unreadable: not an image"]
    except Exception as error:  # PIL raises many kinds for damaged files
        return None, [f"image_unreadable: {error}"]
    if mode not in BYTE_MODES:
        return None, [f"image_depth: Pillow's mode {mode}"]
    size, found = (width, height), []
    turned = orientation in EXIF_TURNED
    if None in stated:
        found.append("image_size_absent")
    elif turned and stated == (height, width) and width != height:
        found.append("image_rotated")
    elif stated != size or not all(type(side) is int for side in stated):
        kind = "image_scaled" if is_scaled(stated, size) else "image_size_wrong"
        sizes = f"{stated[0]}x{stated[1]} in the json, {width}x{height} in the file"
        found.append(f"{kind}: {sizes}")
    if orientation in EXIF_SAME_SIZE or (turned and width == height):
        found.append("image_turned")
    return size, found


def is_scaled(stated: tuple, size: Size) -> bool:
    """Tell whether two sizes are of one form, but not the same."""
    if not all(type(side) is int and side > 0 for side in stated):
        return False
    x, y = (said / real for said, real in zip(stated, size, strict=True))
    return abs(x - y) <= SCALED * max(x, y) and abs(x - 1) > SCALED


def _check_annotations(data: CheckedJson, sizes: Mapping[int, Size]) -> None:
    categories = {category["id"] for category in data.content["categories"]}
    ids = [entry["id"] for entry in data.content["annotations"] if type(entry.get("id")) is int]
    free, used, kept = itertools.count(max([0, *ids]) + 1), set(), []
    objects: dict[tuple, list[Any]] = {}
    for entry, image in data.annotated():
        name = name_annotation(entry, image)
        size = sizes.get(image["id"]) if image else None
        stated = entry.pop("segmentation", None) or None
        mask = usable_part(stated, size)
        box: Any = entry.get("bbox")
        if mask and not (is_box(box) and min(box[2:]) > 0):
            data.add("box_absent", name)
            entry["bbox"] = box_of_mask(mask)
        fault, detail = _fault(entry, image, categories, size)
        if fault:
            data.add(fault, name + detail)
            continue
        kind = (entry["image_id"], entry["category_id"], bool(entry.get("iscrowd")))
        same = objects.setdefault((*kind, *entry["bbox"]), [])
        if mask in same:
            data.add("annotation_duplicate", name)
            continue
        same.append(mask)
        key = entry.get("id")
        valid = type(key) is int and key > 0
        if not valid or key in used:
            data.add("annotation_repeated" if valid else "annotation_id", name)
            entry["id"] = next(free)
        used.add(entry["id"])
        if mask:
            entry["segmentation"] = mask
        if mask != stated:
            data.add("polygon_odd" if mask else "mask_unusable", name)
        box, outside = clip_box(entry["bbox"], size)
        if outside > OVERHANG:
            data.add("box_outside", name)
            entry["bbox"] = box
            if not stated:
                entry["area"] = box[2] * box[3]
        _fill_fields(data, entry, name)
        kept.append(entry)
    data.content["annotations"] = kept


def _fault(
    entry: dict, image: dict | None, categories: set[int], size: Size | None
) -> tuple[str, str]:
    """Return the kind of finding for which an annotation is dropped, if any, and a detail."""
    box: Any = entry.get("bbox")
    category = entry.get("category_id")
    if image is None:
        return "image_unknown", ""
    if type(category) not in (int, float) or category not in categories:
        return "category_unknown", f": category {category}"
    if not is_box(box):
        return "box_invalid", f": {box}"
    if min(box[2:]) <= 0:
        return "box_empty", ""
    if min(clip_box(box, size)[0][2:]) <= 0:
        return "box_off_image", ""
    return "", ""


def _fill_fields(data: CheckedJson, entry: dict, name: str) -> None:
    """Give an annotation what COCO's evaluation reads of it: area and iscrowd."""
    if entry.pop("ignore", 0):  # Detectron2 refuses the field
        data.add("annotation_ignored", name)
        entry["iscrowd"] = 1
    if "iscrowd" not in entry:  # LVIS has none
        entry["iscrowd"] = 0
        data.completed = True
    has_area = are_finite([entry.get("area")]) and entry["area"] >= 0
    knows_crowd = are_finite([entry["iscrowd"]]) and entry["iscrowd"] in (0, 1)
    if not (has_area and knows_crowd):
        data.add("annotation_incomplete", name)
    if not has_area:
        entry["area"] = entry["bbox"][2] * entry["bbox"][3]
    if not knows_crowd:
        entry["iscrowd"] = 0


def _check_crowds(data: CheckedJson) -> None:
    """Find crowds that are too many to be what COCO means by one."""
    entries = list(data.annotated())
    crowds = [(entry, image) for entry, image in entries if entry["iscrowd"]]
    if len(crowds) > 1 and len(crowds) >= MANY_CROWDS * len(entries):
        for entry, image in crowds:
            data.add("crowd_many", name_annotation(entry, image))


def _drop_maskless(data: CheckedJson) -> None:
    """Leave out annotations without a mask, or the masks: Detectron2 cannot mix them."""
    with_mask = sum("segmentation" in entry for entry in data.content["annotations"])
    if 2 * with_mask < len(data.content["annotations"]):
        for entry, image in data.annotated():
            if entry.pop("segmentation", None):
                data.add("mask_rare", name_annotation(entry, image))
        return
    for entry, image in data.annotated():
        if "segmentation" not in entry:
            data.add("mask_absent", name_annotation(entry, image))
    kept = [entry for entry in data.content["annotations"] if "segmentation" in entry]
    data.content["annotations"] = kept
