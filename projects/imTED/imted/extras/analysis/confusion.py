"""Which class is taken for which."""

from collections.abc import Iterable

import numpy as np

from .matching import ImageMatches

MIN_IOU = 0.5


def confusion_matrix(
    images: Iterable[ImageMatches], num_classes: int, threshold: float
) -> np.ndarray:
    """Count which class the detections at objects of each class have.

    Detections and objects are matched without regard to class: by descending score, each
    detection takes the free object that it overlaps most, from IoU 0.5 on. One that takes none
    but lies in a crowd, of any class, is left out, as is one with a score below the threshold.

    Returns:
        (K + 1, K + 1), integers; rows are the classes of the objects, columns those of the
        detections. The last row has detections at no object, the last column objects without a
        detection.
    """
    matrix = np.zeros((num_classes + 1, num_classes + 1), dtype=int)
    for image in images:
        ious = np.where(image.ious >= MIN_IOU, image.ious, 0)
        in_crowd = np.logical_or.reduce(ious[:, image.crowd], axis=1)
        ious[:, image.crowd] = 0
        free = ~image.crowd
        for d in np.flatnonzero(image.scores >= threshold):
            overlaps = np.where(free, ious[d], 0)
            if overlaps.any():
                g = overlaps.argmax()
                free[g] = False
                matrix[image.object_classes[g], image.classes[d]] += 1
            elif not in_crowd[d]:
                matrix[num_classes, image.classes[d]] += 1
        matrix[:, num_classes] += np.bincount(image.object_classes[free], minlength=num_classes + 1)
    return matrix
