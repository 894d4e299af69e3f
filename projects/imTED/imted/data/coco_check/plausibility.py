"""Whether boxes are what COCO means by one: pixels, and width and height rather than a corner."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pycocotools.mask as mask_util

from imted.data.coco_check.geometry import are_finite, is_box
from imted.data.coco_check.report import CheckedDataset

FEW = 4
"""Boxes up to which nothing can be told from all of them together."""
MANY = 0.2
"""The share of boxes outside their image from which it is no matter of single ones."""
OUTSIDE = 1.0
"""Pixels by which a box must leave its image to be counted here."""
NO_OVERLAP = 0.1
"""IoU of a box with its mask's own box below which they have nothing to do with each other."""


def check_box_form(data: CheckedDataset) -> None:
    """Look at all boxes of a json together, before any of them is clipped.

    Args:
        data: With images whose sizes are those of the files; findings are added to it.
    """
    entries = list(_boxes(data))
    if not entries:
        return
    names = [name for name, *_ in entries]
    x, y, w, h = np.array([entry["bbox"] for _, entry, _ in entries], dtype=float).T
    width, height = np.array([size for *_, size in entries], dtype=float).T
    within_one = (x >= 0) & (y >= 0) & (x + w <= 1) & (y + h <= 1)
    if 2 * within_one.sum() >= len(entries):
        _add(data, "boxes_normalised", names, within_one)
        return
    outside = (x + w > width + OUTSIDE) | (y + h > height + OUTSIDE) | (np.minimum(x, y) < -OUTSIDE)
    if len(entries) > FEW and outside.mean() >= MANY:
        corners = (w > x) & (h > y) & (w <= width + OUTSIDE) & (h <= height + OUTSIDE)
        kind = "boxes_xyxy" if corners.all() else "boxes_many_outside"
        _add(data, kind, names, outside)


def check_masks_of_boxes(data: CheckedDataset) -> None:
    """Look whether boxes are where their masks are.

    Args:
        data: With usable masks and boxes in their images; findings are added to it.
    """
    known = [(name, entry) for name, entry, _ in _boxes(data) if entry.get("segmentation")]
    boxes = [(entry["bbox"], _mask_box(entry["segmentation"])) for _, entry in known]
    apart = np.array([_iou(*pair) < NO_OVERLAP for pair in boxes], dtype=bool)
    if apart.sum() > 1:  # a single one is a slip, not a mistake of the whole
        kind = "box_not_mask" if 2 * apart.sum() >= len(known) else "some_box_not_mask"
        _add(data, kind, [name for name, _ in known], apart)


def _boxes(data: CheckedDataset) -> Iterator[tuple[str, dict, tuple[int, int]]]:
    """Yield the name of each annotation with a box, itself, and its image's width and height."""
    images = {image["id"]: image for image in data.content["images"]}
    for entry in data.content["annotations"]:
        image_id = entry.get("image_id")
        image = images.get(image_id) if isinstance(image_id, int | float) else None
        # The sizes of files that can't be read are not known.
        if image is None or not is_box(entry.get("bbox")) or entry.get("iscrowd"):
            continue
        size = (image.get("width"), image.get("height"))
        if are_finite(size) and min(entry["bbox"][2:]) > 0:
            yield f"annotation {entry.get('id')} ({image['file_name']})", entry, size


def _mask_box(mask: Any) -> list[float]:
    """Return [x, y, width, height] of a mask."""
    if isinstance(mask, list):
        xs = [value for points in mask for value in points[0::2]]
        ys = [value for points in mask for value in points[1::2]]
        return [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]
    if isinstance(mask["counts"], list):
        mask = mask_util.frPyObjects(mask, *mask["size"])
    return mask_util.toBbox(mask).tolist()


def _iou(one: list, two: list) -> float:
    """Return the IoU of two boxes [x, y, width, height]."""
    left, top = max(one[0], two[0]), max(one[1], two[1])
    right, bottom = min(one[0] + one[2], two[0] + two[2]), min(one[1] + one[3], two[1] + two[3])
    common = max(0.0, right - left) * max(0.0, bottom - top)
    total = one[2] * one[3] + two[2] * two[3] - common
    return common / total if total > 0 else 1.0


def _add(data: CheckedDataset, kind: str, names: list[str], affected: np.ndarray) -> None:
    for i in np.flatnonzero(affected):
        data.add(kind, names[i])
