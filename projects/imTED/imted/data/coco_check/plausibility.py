"""Whether boxes are what COCO means by one: pixels, and width and height rather than a corner."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from detectron2.structures import Boxes, BoxMode
from detectron2.structures.boxes import matched_pairwise_iou

from imted.data.coco_check.findings import CheckedJson, name_annotation
from imted.data.coco_check.geometry import Size, box_of_mask, is_box

FEW = 4
"""Boxes up to which nothing can be told from all of them together."""
MANY = 0.2
"""The share of boxes outside their image from which it is no matter of single ones."""
OUTSIDE = 1.0
"""Pixels by which a box must leave its image to be counted here."""
NEARER = 0.3
"""By how much an IoU must be larger with x and y as the centre, so that they are taken for it."""
NO_OVERLAP = 0.1
"""IoU of a box with its mask's own box below which they have nothing to do with each other."""


def check_box_form(data: CheckedJson, sizes: Mapping[int, Size]) -> None:
    """Look at all boxes of a json together, before any of them is clipped.

    Args:
        data: The json; findings are added to it.
        sizes: Width and height of each image whose file can be read, by id.
    """
    entries = list(_boxes(data))
    if not entries:
        return
    x, y, w, h = np.array([entry["bbox"] for entry, _ in entries], dtype=float).T
    # Nothing is outside of what is not known.
    known = [sizes.get(image["id"], (np.inf, np.inf)) for _, image in entries]
    width, height = np.array(known, dtype=float).T
    within_one = (x >= 0) & (y >= 0) & (x + w <= 1) & (y + h <= 1)
    outside = (x + w > width + OUTSIDE) | (y + h > height + OUTSIDE) | (np.minimum(x, y) < -OUTSIDE)
    if 2 * within_one.sum() >= len(entries):
        _add(data, "boxes_normalised", entries, within_one)
    elif len(entries) > FEW and outside.mean() >= MANY:
        corners = (w > x) & (h > y) & (w <= width + OUTSIDE) & (h <= height + OUTSIDE)
        _add(data, "boxes_xyxy" if corners.all() else "boxes_many_outside", entries, outside)


def check_masks_of_boxes(data: CheckedJson) -> None:
    """Look whether boxes are where their masks are.

    Args:
        data: With usable masks and boxes in their images; findings are added to it.
    """
    entries = [(entry, image) for entry, image in _boxes(data) if entry.get("segmentation")]
    if not entries:
        return
    boxes = torch.tensor([entry["bbox"] for entry, _ in entries], dtype=torch.float64)
    of_masks = torch.tensor([box_of_mask(entry["segmentation"]) for entry, _ in entries])
    as_centres = torch.cat([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, 2:]], dim=1)
    ious = _ious(boxes, of_masks)
    centred = (_ious(as_centres, of_masks) > ious + NEARER).numpy()
    if centred.sum() > 1 and 2 * centred.sum() >= len(entries):
        _add(data, "boxes_centred", entries, centred)
        return
    apart = (ious < NO_OVERLAP).numpy()
    if apart.sum() > 1:  # a single one is a slip, not a mistake of the whole
        many = 2 * apart.sum() >= len(entries)
        _add(data, "box_not_mask" if many else "some_box_not_mask", entries, apart)


def _ious(boxes: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Return the IoU of each box with the other of the same index; both (N, 4), as COCO's."""
    pairs = (
        BoxMode.convert(x.float(), BoxMode.XYWH_ABS, BoxMode.XYXY_ABS) for x in (boxes, others)
    )
    return matched_pairwise_iou(*map(Boxes, pairs))


def _boxes(data: CheckedJson) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield each object with a box of an area, and its image."""
    for entry, image in data.annotated():
        box: Any = entry.get("bbox")
        if image is not None and is_box(box) and min(box[2:]) > 0 and not entry.get("iscrowd"):
            yield entry, image


def _add(data: CheckedJson, kind: str, entries: list[tuple[dict, dict]], which: np.ndarray) -> None:
    for i in np.flatnonzero(which):
        data.add(kind, name_annotation(*entries[i]))
