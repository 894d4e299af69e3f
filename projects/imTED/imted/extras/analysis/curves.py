"""Precision and recall of each class, and the score threshold that balances them best."""

from dataclasses import dataclass

import numpy as np
from pycocotools.cocoeval import COCOeval

from .evaluation import IOU_INDEX, class_matches, mean_of_known


def precision_curves(evaluation: COCOeval, iou: float) -> np.ndarray:
    """Return the precision at 101 recalls from 0 to 1, as COCO interpolates it.

    Args:
        evaluation: After `evaluate`.
        iou: 0.5 or 0.75.

    Returns:
        A curve for each class and then their mean, (K + 1, 101); NaN without objects.
    """
    precision = evaluation.eval["precision"][IOU_INDEX[iou], :, :, 0, -1].T
    curves = np.where(precision > -1, precision, np.nan)
    return np.concatenate([curves, mean_of_known(curves.T)[None]])


@dataclass(frozen=True)
class F1Curve:
    """Precision and recall of all detections from a score on, at IoU 0.5.

    Attributes:
        thresholds: The scores that occur, descending.
        precision: At each of them.
        recall: At each of them.
    """

    thresholds: np.ndarray
    precision: np.ndarray
    recall: np.ndarray

    @property
    def f1(self) -> np.ndarray:
        """The harmonic mean of precision and recall; 0 where both are."""
        total = self.precision + self.recall
        return 2 * self.precision * self.recall / np.where(total > 0, total, 1)

    @property
    def best(self) -> dict[str, float] | None:
        """The threshold of the best F1 with what it gives; None if there is nothing to choose."""
        if not len(self.thresholds):
            return None
        i = int(self.f1.argmax())
        names = ("score", "f1", "precision", "recall")
        values = (self.thresholds[i], self.f1[i], self.precision[i], self.recall[i])
        return {name: float(value) for name, value in zip(names, values, strict=True)}


def f1_curves(evaluation: COCOeval) -> list[F1Curve]:
    """Return a curve for each class, and then one for a threshold that all classes share."""
    scores, correct, objects = [], [], []
    for k in range(len(evaluation.params.catIds)):
        matches = class_matches(evaluation, k)
        counted = ~matches.ignored[0]
        scores.append(matches.scores[counted])
        correct.append(matches.correct[0, counted])
        objects.append(int(matches.objects.sum()))
    curves = [_f1_curve(*values) for values in zip(scores, correct, objects, strict=True)]
    # What has no objects counts in no average precision either.
    known = [k for k, number in enumerate(objects) if number]
    none = np.zeros(0)
    together = _f1_curve(
        np.concatenate([none, *(scores[k] for k in known)]),
        np.concatenate([none.astype(bool), *(correct[k] for k in known)]),
        sum(objects),
    )
    return [*curves, together]


def _f1_curve(scores: np.ndarray, correct: np.ndarray, num_objects: int) -> F1Curve:
    if not num_objects:
        scores, correct = scores[:0], correct[:0]
    order = np.argsort(-scores, kind="stable")
    scores, right = scores[order], correct[order].cumsum()
    # A threshold takes all detections of its score or none.
    last = np.flatnonzero(np.diff(scores, append=-np.inf))
    return F1Curve(scores[last], right[last] / (last + 1), right[last] / max(num_objects, 1))
