"""COCO's evaluation by pycocotools, and what is read from it.

Shapes: T IoU thresholds (.5 to .95), R recalls (0 to 1), K classes by ascending category id, A
ranges of areas (all, small, medium, large), I images by ascending id, D detections, at most 100
of a class and image.
"""

from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from imted.data.coco_json import index_coco

METRICS = {
    "AP": (slice(0, 10), 0),
    "AP50": (slice(0, 1), 0),
    "AP75": (slice(5, 6), 0),
    "APs": (slice(0, 10), 1),
    "APm": (slice(0, 10), 2),
    "APl": (slice(0, 10), 3),
}
"""COCO's numbers by their names in results.json: of which IoU thresholds and of which areas."""


def evaluate(truth: COCO, predictions: list[dict[str, Any]], task: str) -> COCOeval:
    """Match detections to objects and accumulate, as Detectron2's COCOEvaluator does.

    Args:
        truth: The annotations; their masks become RLE.
        predictions: COCO results of these images and categories; they are not changed.
        task: "bbox" or "segm".
    """
    # A mask's area decides whether it is small; with a box, pycocotools would take the box's.
    unwanted = {"bbox"} if task == "segm" else {"segmentation"}
    results = [{k: v for k, v in p.items() if k not in unwanted} for p in predictions]
    with redirect_stdout(None):
        empty = {**truth.dataset, "annotations": []}
        found = truth.loadRes(results) if results else index_coco(empty)
        evaluation = COCOeval(truth, found, task)
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation


def average_precisions(evaluation: COCOeval) -> np.ndarray:
    """Return the average precision, (T, K, A), at 100 detections; NaN without objects."""
    precision = evaluation.eval["precision"][..., -1]
    return np.where(precision > -1, precision, np.nan).mean(axis=1)


def by_class(ap: np.ndarray, metric: str) -> np.ndarray:
    """Choose a metric, (…, K), from average precisions (…, T, K, A)."""
    ious, area = METRICS[metric]
    return ap[..., ious, :, area].mean(axis=-2)


def mean_of_known(values: np.ndarray) -> np.ndarray:
    """Average over the last axis without its NaN, as COCO does over classes."""
    return np.ma.filled(np.ma.masked_invalid(values).mean(axis=-1), np.nan)


@dataclass(frozen=True)
class ClassMatches:
    """The detections of a class that count, by descending score as COCO's evaluation has them.

    Attributes:
        scores: (D,)
        images: The place of the image, (D,).
        correct: Whether it is matched to an object that counts, (T, D).
        ignored: Whether it is neither right nor wrong, of a crowd or of another area, (T, D).
        objects: How many objects that count each image has, (I,).
    """

    scores: np.ndarray
    images: np.ndarray
    correct: np.ndarray
    ignored: np.ndarray
    objects: np.ndarray


def class_matches(evaluation: COCOeval, class_index: int, area: int = 0) -> ClassMatches:
    """Collect what COCO's evaluation has found of a class, among objects of a range of areas."""
    num_images, num_areas = len(evaluation.params.imgIds), len(evaluation.params.areaRng)
    start = (class_index * num_areas + area) * num_images
    cells = evaluation.evalImgs[start : start + num_images]
    none = {"dtScores": [], "gtIgnore": np.ones(0)}
    none |= dict.fromkeys(("dtMatches", "dtIgnore"), np.zeros((len(evaluation.params.iouThrs), 0)))
    cells = [none, *(none if cell is None else cell for cell in cells)]
    scores = np.concatenate([cell["dtScores"] for cell in cells])
    order = np.argsort(-scores, kind="stable")  # of equal scores, in the order of the images
    matched = np.concatenate([cell["dtMatches"] for cell in cells], axis=1)[:, order] > 0
    ignored = np.concatenate([cell["dtIgnore"] for cell in cells], axis=1)[:, order] > 0
    images = np.repeat(np.arange(num_images), [len(cell["dtScores"]) for cell in cells[1:]])
    return ClassMatches(
        scores=scores[order],
        images=images[order],
        correct=matched & ~ignored,
        ignored=ignored,
        objects=np.array([np.count_nonzero(cell["gtIgnore"] == 0) for cell in cells[1:]]),
    )
