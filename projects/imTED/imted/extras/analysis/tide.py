"""Errors by kind, and what each kind costs: TIDE (Bolya et al., ECCV 2020), on COCO's matching.

At IoU 0.5, a detection is wrong in one of five ways, and an object can be missed. To fix a kind
is to do, for all errors of the kind, what an oracle would; the AP50 that this adds is its dAP.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .accumulate import average_precision
from .evaluation import mean_of_known
from .matching import ImageMatches

FOREGROUND, BACKGROUND = 0.5, 0.1
"""The IoU from which a detection is at an object, and below which it is at none."""
KINDS = {
    "classification": "at an object of another class",
    "localisation": "of the right class, but IoU below 0.5",
    "both": "at an object of another class, and IoU below 0.5",
    "duplicate": "at an object that a higher score has found",
    "background": "at no object (IoU below 0.1)",
    "missed": "an object that no detection is at, not even a wrong one",
}
FIXABLE = ("classification", "localisation")
"""An oracle makes the best of them correct; of the other kinds, it takes the detections away."""


@dataclass(frozen=True)
class ImageErrors:
    """What is wrong in an image.

    Attributes:
        kinds: The error of each detection, by place; none if it is right, ignored or below the
            threshold.
        targets: The place of the object that a fixable error is at.
        found: Whether a detection is right about each object, (G,).
        missed: Which objects are missed altogether, (G,).
    """

    kinds: dict[int, str]
    targets: dict[int, int]
    found: np.ndarray
    missed: np.ndarray

    @property
    def count(self) -> Counter[str]:
        """How many errors there are of each kind."""
        return Counter([*self.kinds.values(), *["missed"] * int(self.missed.sum())])


def find_errors(image: ImageMatches, threshold: float = 0.0) -> ImageErrors:
    """Name the errors of an image; detections of a score below the threshold don't exist."""
    shown = image.scores >= threshold
    found = np.isin(np.arange(len(image.objects)), image.match[shown])
    ious = np.where(image.crowd, 0, image.ious)
    same = image.classes[:, None] == image.object_classes
    kinds, targets = {}, {}
    for d in np.flatnonzero(shown & (image.match < 0)).tolist():
        kinds[d], target = _explain(np.where(same[d], ious[d], 0), np.where(same[d], 0, ious[d]))
        if kinds[d] in FIXABLE:
            targets[d] = target
    covered = np.isin(np.arange(len(image.objects)), list(targets.values()))
    return ImageErrors(kinds, targets, found, ~found & ~covered & ~image.crowd)


def _explain(own: np.ndarray, other: np.ndarray) -> tuple[str, int]:
    """Name the kind of a wrong detection and the object that it is at.

    Its IoUs, (G,), are given with objects of its own class and of others, 0 elsewhere.
    """
    if not len(own):
        return "background", -1
    g, h = int(own.argmax()), int(other.argmax())
    if BACKGROUND <= own[g] < FOREGROUND:
        return "localisation", g
    if other[h] >= FOREGROUND:
        return "classification", h
    if own[g] >= FOREGROUND:
        return "duplicate", g
    if other[h] >= BACKGROUND:
        return "both", h
    return "background", -1


def gains(images: Sequence[ImageMatches], num_classes: int) -> dict[str, float]:
    """Return the dAP of each kind: what AP50, from 0 to 1, gains if all of its errors are fixed.

    It is NaN where nothing is left to evaluate.
    """
    errors = [find_errors(image) for image in images]
    before = _mean_ap50(images, errors, num_classes, kind=None)
    return {kind: _mean_ap50(images, errors, num_classes, kind) - before for kind in KINDS}


def _mean_ap50(
    images: Sequence[ImageMatches],
    errors: Sequence[ImageErrors],
    num_classes: int,
    kind: str | None,
) -> float:
    """Return AP50 with all errors of a kind fixed, or with none."""
    rows: list[list[tuple[float, bool]]] = [[] for _ in range(num_classes)]
    objects = np.zeros(num_classes, dtype=int)
    for image, found in zip(images, errors, strict=True):
        np.add.at(objects, image.object_classes[~image.crowd], 1)
        if kind == "missed":
            np.subtract.at(objects, image.object_classes[found.missed], 1)
        taken = found.found.copy()
        for d, score in enumerate(image.scores.tolist()):
            g = int(image.match[d])
            if found.kinds.get(d) == kind and kind in FIXABLE:
                target = found.targets[d]
                g = -1 if taken[target] else target  # by descending score, so the best comes first
                taken[target] = True
            if g >= 0 and not image.crowd[g]:
                rows[image.object_classes[g]].append((score, True))
            elif g < 0 and found.kinds[d] != kind:
                rows[image.classes[d]].append((score, False))
            # What is left is in a crowd, or taken away.
    return float(mean_of_known(np.array([_ap(*pair) for pair in zip(rows, objects, strict=True)])))


def _ap(rows: list[tuple[float, bool]], num_objects: int) -> float:
    correct = np.array([right for _, right in sorted(rows, key=lambda row: -row[0])], dtype=bool)
    once = np.ones((1, 1), dtype=int)
    images = np.zeros(len(correct), dtype=int)  # all count once, whatever image they are of
    return float(average_precision(correct, images, once, np.array([num_objects]))[0])
