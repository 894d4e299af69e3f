"""Detections and objects of one image over all classes, as confusions and errors need them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pycocotools.mask as mask_util
from pycocotools.cocoeval import COCOeval


@dataclass(frozen=True)
class ImageMatches:
    """One image: D detections by descending score, G objects, and COCO's matching at IoU 0.5.

    Attributes:
        image_id: The json's.
        detections: Ids of the detections, (D,).
        scores: (D,)
        classes: Classes of the detections, (D,), from 0 by ascending category id.
        match: The place of the object that COCO matched each detection to, (D,); -1 for none.
        objects: Ids of the annotations, (G,).
        object_classes: (G,)
        crowd: Whether an object is a crowd, (G,), which makes its detections neither right nor
            wrong.
        ious: IoUs of all detections with all objects, (D, G); with a crowd, the part of the
            detection that lies in it.
    """

    image_id: int
    detections: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    match: np.ndarray
    objects: np.ndarray
    object_classes: np.ndarray
    crowd: np.ndarray
    ious: np.ndarray


def image_matches(evaluation: COCOeval) -> list[ImageMatches]:
    """Collect what COCO's evaluation has found, by image in the order of ascending ids."""
    return [_collect(evaluation, i) for i in range(len(evaluation.params.imgIds))]


def _collect(evaluation: COCOeval, i: int) -> ImageMatches:
    cells = list(_cells(evaluation, i))
    objects = [key for _, cell in cells for key in cell["gtIds"]]
    place = {key: g for g, key in enumerate(objects)}
    detections = [key for _, cell in cells for key in cell["dtIds"]]
    scores = np.array([score for _, cell in cells for score in cell["dtScores"]], dtype=float)
    matched = [place[key] if key else -1 for _, cell in cells for key in cell["dtMatches"][0]]
    order = np.argsort(-scores, kind="stable")
    crowd = np.array([c for _, cell in cells for c in cell["gtIgnore"]], dtype=bool)
    return ImageMatches(
        image_id=int(evaluation.params.imgIds[i]),
        detections=np.array(detections, dtype=int)[order],
        scores=scores[order],
        classes=np.array([k for k, cell in cells for _ in cell["dtIds"]], dtype=int)[order],
        match=np.array(matched, dtype=int)[order],
        objects=np.array(objects, dtype=int),
        object_classes=np.array([k for k, cell in cells for _ in cell["gtIds"]], dtype=int),
        crowd=crowd,
        ious=_ious(evaluation, detections, objects, crowd)[order],
    )


def _cells(evaluation: COCOeval, i: int) -> Iterator[tuple[int, dict]]:
    """Yield the matching of each class that the image has, for objects of any area."""
    params = evaluation.params
    for k in range(len(params.catIds)):
        cell = evaluation.evalImgs[k * len(params.areaRng) * len(params.imgIds) + i]
        if cell is not None:
            yield k, cell


def _ious(
    evaluation: COCOeval, detections: list[int], objects: list[int], crowd: np.ndarray
) -> np.ndarray:
    key = "segmentation" if evaluation.params.iouType == "segm" else "bbox"
    ious = mask_util.iou(
        [evaluation.cocoDt.anns[d][key] for d in detections],
        [evaluation.cocoGt.anns[g][key] for g in objects],
        crowd.astype(np.uint8).tolist(),
    )
    return np.asarray(ious, dtype=float).reshape(len(detections), len(objects))
