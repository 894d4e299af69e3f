"""Lists of occluded and of separated objects: what they are, and their json.

Two lists, after Zhan, Xie and Zisserman, "A Tri-Layer Plugin to Improve Occluded Detection"
(BMVC 2022, https://arxiv.org/abs/2210.10046). An object is in one of them if something hides a
part of it: in "separated" if what remains visible falls into several regions, in "occluded" if it
is connected. To make theirs, on COCO val2017, hidden shapes had to be completed by a network. Those
derived here need none:

    hidden     `occlusion_ratio` > 0. Annotations that have this field (the synthetic shapes, where
               it is exact) keep it; for others `estimate_occlusion` guesses it from the masks.
    separated  hidden, and at least two of the mask's 8-connected parts are large: each has
               `LARGE_PART` of its pixels or more.
    occluded   hidden, and not separated.

Crowd regions hide nothing and are in no list; nor are objects whose mask has no pixels.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from imted.atomic import read_json
from imted.data.coco_json import index_coco
from imted.errors import UserError
from imted.outputs import write_json

LISTS = ("occluded", "separated")
LARGE_PART = 0.05
"""Share of the visible mask from which on a part of it is large."""
LEAST_ESTIMATE = 0.05
"""Estimated ratios below it become 0: masks drawn by hand overlap a little at their borders."""


@dataclass(frozen=True)
class OccludedObject:
    """An object that a detector should find although a part of it is hidden.

    Attributes:
        file_name: Its image, as the COCO json of the data set calls it.
        category: Name of its class.
        annotation_id: Its id in that json.
        segmentation: Visible mask, COCO's RLE with "counts" as text.
        occlusion_ratio: Hidden part of it, 0 to 1; None where the list's authors give none.
    """

    file_name: str
    category: str
    annotation_id: int
    segmentation: dict[str, Any]
    occlusion_ratio: float | None


def estimate_occlusion(masks: Sequence[np.ndarray]) -> list[float]:
    """Estimate which part of each object its neighbours hide, from visible masks alone.

    The object is taken to fill the convex hull of its visible mask, and to be hidden wherever
    others' masks are inside this hull: ratio = hidden / (hidden + visible pixels). That is wrong
    in both directions. Something in front of the end of an object is not noticed, since the hull
    stops there, nor is anything that has no annotation; and a concave object counts as hidden
    where something merely lies in its bay, in front of it or not.

    Args:
        masks: Masks of the objects of one image, uint8 (H, W), 1 where visible.

    Returns:
        Ratios, 0 to 1; those below `LEAST_ESTIMATE` are 0.
    """
    ratios, covered = [], np.bitwise_or.reduce(masks)
    for mask in masks:
        hidden, visible = 0, np.count_nonzero(mask)
        if visible:
            hull = np.zeros_like(mask)
            cv2.fillConvexPoly(hull, cv2.convexHull(cv2.findNonZero(mask)), 1)
            hidden = int(np.count_nonzero(hull & covered & (1 - mask)))
        ratio = hidden / max(hidden + visible, 1)
        ratios.append(ratio if ratio >= LEAST_ESTIMATE else 0.0)
    return ratios


def count_large_parts(mask: np.ndarray) -> int:
    """Count the 8-connected parts of a mask, uint8 (H, W), with `LARGE_PART` of its pixels."""
    _, _, statistics, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    areas = statistics[1:, cv2.CC_STAT_AREA]  # the first is the background
    return int(np.count_nonzero(areas >= LARGE_PART * areas.sum()))


def add_ratios(content: dict[str, Any], name: str) -> tuple[dict[str, Any], int]:
    """Give every object of a COCO json an `occlusion_ratio`, estimated where it has none.

    Returns:
        The json with the ratios (crowds have none), and how many of them are estimates.

    Raises:
        UserError: An object without a ratio has no mask, or a ratio is no number from 0 to 1.
    """
    coco = index_coco(content)
    estimates = {}
    for annotations in coco.imgToAnns.values():
        annotations = [annotation for annotation in annotations if not annotation.get("iscrowd")]
        if all(_known_ratio(annotation, name) is not None for annotation in annotations):
            continue
        masks = [_decode(coco, annotation, name) for annotation in annotations]
        for annotation, ratio in zip(annotations, estimate_occlusion(masks), strict=True):
            if annotation.get("occlusion_ratio") is None:
                # By object, as ids may repeat.
                estimates[id(annotation)] = {"occlusion_ratio": round(ratio, 6)}
    annotations = [{**a, **estimates.get(id(a), {})} for a in content["annotations"]]
    return {**content, "annotations": annotations}, len(estimates)


def derive_lists(content: dict[str, Any], name: str) -> dict[str, list[OccludedObject]]:
    """Choose the occluded and the separated objects of a COCO json by the rule of this module.

    Missing ratios are estimated, see `add_ratios`; `name` is the json's.
    """
    content, _ = add_ratios(content, name)
    coco = index_coco(content)
    lists: dict[str, list[OccludedObject]] = {key: [] for key in LISTS}
    for annotation in content["annotations"]:
        if annotation.get("iscrowd") or not annotation["occlusion_ratio"] > 0:
            continue
        mask = _decode(coco, annotation, name)
        if not mask.any():
            continue
        rle = coco_mask.encode(np.asfortranarray(mask))
        lists["separated" if count_large_parts(mask) > 1 else "occluded"].append(
            OccludedObject(
                file_name=coco.imgs[annotation["image_id"]]["file_name"],
                category=coco.cats[annotation["category_id"]]["name"],
                annotation_id=annotation["id"],
                segmentation={**rle, "counts": rle["counts"].decode("ascii")},
                occlusion_ratio=annotation["occlusion_ratio"],
            )
        )
    return lists


def write_list(path: Path, objects: Sequence[OccludedObject], source: str) -> None:
    """Write a list, and which file it was made from; see `imted.outputs` for what it replaces."""
    content = {"source": source, "objects": [asdict(item) for item in objects]}
    write_json(content, path, inputs=[source])


def read_list(path: str) -> list[OccludedObject]:
    """Read what `write_list` wrote.

    Raises:
        UserError: The file is missing or holds something else.
    """
    try:
        return [OccludedObject(**item) for item in read_json(path)["objects"]]
    except (UserError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is no list of occluded objects ({error}); make it with "
            "datasets/prepare_occlusion.py."
        ) from error


def _known_ratio(annotation: dict[str, Any], name: str) -> float | None:
    ratio = annotation.get("occlusion_ratio")
    if ratio is not None and not (isinstance(ratio, int | float) and 0 <= ratio <= 1):
        raise UserError(
            f"{name}: annotation {annotation['id']} has occlusion_ratio {ratio!r}; "
            "give a number from 0 to 1, or leave the field out."
        )
    return ratio


def _decode(coco: COCO, annotation: dict[str, Any], name: str) -> np.ndarray:
    """Return the mask of an annotation, uint8 (H, W)."""
    what = f"annotation {annotation['id']}"
    if not annotation.get("segmentation"):
        raise UserError(f"{name}: {what} has no segmentation; occlusion is told from masks only.")
    image = coco.imgs[annotation["image_id"]]
    for side in ("height", "width"):
        if not isinstance(image.get(side), int):
            raise UserError(f"{name}: image {image['id']} has no {side}, an integer; add it.")
    fix = "correct or remove the annotation"
    try:
        mask = coco.annToMask(annotation)
    except Exception as error:  # pycocotools raises many kinds
        raise UserError(
            f"{name}: the segmentation of {what} can't be read ({error}); {fix}."
        ) from error
    if mask.shape != (image["height"], image["width"]):
        raise UserError(
            f"{name}: the segmentation of {what} is of another size than its image; {fix}."
        )
    return np.ascontiguousarray(mask)  # OpenCV's order
