"""COCO's average precision of many weightings of one matching at once.

`COCOeval.accumulate` counts every image once. A bootstrap counts each as often as it was drawn;
the matching within an image stays what it is, so that only the counting has to be done again.
"""

import numpy as np

RECALLS = np.linspace(0, 1, 101)
"""Where COCO reads the precision."""
MAX_CELLS = 20_000_000
"""Of an array of weights by detections; more weightings are taken one part after another."""


def average_precision(
    correct: np.ndarray, images: np.ndarray, counts: np.ndarray, num_objects: np.ndarray
) -> np.ndarray:
    """Average the precision over COCO's 101 recalls.

    Args:
        correct: Whether each detection is correct, (D,), by descending score; those that are
            ignored are left out.
        images: The number of each detection's image, (D,).
        counts: How often each image counts, (B, I), integers.
        num_objects: How many objects there are in each weighting, (B,).

    Returns:
        (B,), NaN where there are no objects.
    """
    hits = np.flatnonzero(correct)
    if not len(hits):
        return np.where(num_objects > 0, 0.0, np.nan)
    images = images[: hits[-1] + 1]  # what follows the last hit lowers no precision that is read
    parts = max(1, len(counts) * len(images) // MAX_CELLS)
    of_parts = zip(np.array_split(counts, parts), np.array_split(num_objects, parts), strict=True)
    return np.concatenate([_average_precision(hits, c[:, images], n) for c, n in of_parts])


def _average_precision(
    hits: np.ndarray, weights: np.ndarray, num_objects: np.ndarray
) -> np.ndarray:
    """Do it for weights of each detection up to the last hit, (B, D)."""
    # Precision is highest, at any recall, right at a hit: nothing else has to be looked at.
    starts = np.concatenate([[0], hits[:-1] + 1])
    found = np.add.reduceat(weights, starts, axis=1, dtype=int).cumsum(axis=1)
    right = weights[:, hits].cumsum(axis=1, dtype=int)
    precision = right / (found + np.spacing(1))
    precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    precision = np.pad(precision, ((0, 0), (0, 1)))  # 0 at recalls that are not reached
    needed = np.maximum(1, _hits_needed(num_objects))  # recall 0 is read at the first hit
    # A search in all rows at once: each has a range of numbers of its own.
    stride = right[:, -1].max() + 2
    rows = stride * np.arange(len(right))[:, None]
    wanted = np.minimum(needed, stride - 1) + rows
    place = np.searchsorted((right + rows).ravel(), wanted.ravel()).reshape(wanted.shape)
    place -= right.shape[1] * np.arange(len(right))[:, None]
    ap = np.take_along_axis(precision, place, axis=1).mean(axis=1)
    return np.where(num_objects > 0, ap, np.nan)


def _hits_needed(num_objects: np.ndarray) -> np.ndarray:
    """Return the least number of hits that reaches each recall, (B, R).

    COCO compares quotients of floats; the same quotients decide here, of integers next to each
    other.
    """
    objects = np.maximum(num_objects, 1)[:, None]
    needed = np.maximum(np.floor(RECALLS * objects) - 1, 0)
    for _ in range(3):
        needed += needed / objects < RECALLS
    return needed.astype(int)
