"""Precision and recall of each class, and the score threshold that balances them best."""

from dataclasses import dataclass

import numpy as np
from pycocotools.cocoeval import COCOeval

from .evaluation import class_matches, mean_of_known

IOU_INDEX = {0.5: 0, 0.75: 5}


def precision_curves(evaluation: COCOeval, iou: float) -> np.ndarray:
    """Return the precision at 101 recalls from 0 to 1, at an IoU of 0.5 or 0.75.

    Returns:
        A curve for each class and then their mean, (K + 1, 101); NaN without objects.
    """
    precision = evaluation.eval["precision"][IOU_INDEX[iou], :, :, 0, -1].T
    curves = np.where(precision > -1, precision, np.nan)
    return np.concatenate([curves, mean_of_known(curves.T)[None]])


@dataclass(frozen=True)
class F1Curve:
    """Precision and recall of all detections from each score on, descending, at IoU 0.5."""

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
        rows = {"score": self.thresholds, "f1": self.f1}
        rows |= {"precision": self.precision, "recall": self.recall}
        return {name: float(values[i]) for name, values in rows.items()}


def f1_curves(evaluation: COCOeval) -> list[F1Curve]:
    """Return a curve for each class, and then one for a threshold that all classes share."""
    classes = [class_matches(evaluation, k) for k in range(len(evaluation.params.catIds))]
    objects = [int(matches.objects.sum()) for matches in classes]
    # What has no objects counts in no average precision either.
    counted = [~m.ignored[0] if n else slice(0) for m, n in zip(classes, objects, strict=True)]
    scores = [m.scores[c] for m, c in zip(classes, counted, strict=True)]
    correct = [m.correct[0, c] for m, c in zip(classes, counted, strict=True)]
    curves = [_f1_curve(*values) for values in zip(scores, correct, objects, strict=True)]
    none = np.zeros(0)
    together = np.concatenate([none, *scores]), np.concatenate([none, *correct]), sum(objects)
    return [*curves, _f1_curve(*together)]


def _f1_curve(scores: np.ndarray, correct: np.ndarray, num_objects: int) -> F1Curve:
    order = np.argsort(-scores, kind="stable")
    scores, right = scores[order], correct[order].cumsum()
    # A threshold takes all detections of its score or none.
    last = np.flatnonzero(np.diff(scores, append=-np.inf))
    return F1Curve(scores[last], right[last] / (last + 1), right[last] / max(num_objects, 1))
