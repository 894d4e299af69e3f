"""Whether two runs differ by more than the choice of the val images explains: a paired bootstrap.

Images are drawn with replacement, the same for both runs, and the difference is taken each time.
"""

from dataclasses import dataclass

import numpy as np
from pycocotools.cocoeval import COCOeval

from .accumulate import average_precision
from .evaluation import METRICS, average_precisions, by_class, class_matches, mean_of_known

NUM_RESAMPLES = 1000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Difference:
    """A metric of two runs, from 0 to 1, and the interval of the second minus the first.

    All are NaN without objects.
    """

    first: float
    second: float
    low: float
    high: float

    @property
    def value(self) -> float:
        """The second run's metric minus the first's."""
        return self.second - self.first

    @property
    def excludes_zero(self) -> bool:
        """Whether the whole interval is on one side of zero."""
        return self.low > 0 or self.high < 0


def compare(
    first: COCOeval, second: COCOeval, num_resamples: int = NUM_RESAMPLES, seed: int = 0
) -> tuple[dict[str, Difference], list[Difference]]:
    """Return how two runs on one val set differ: in COCO's metrics by name, and in AP by class."""
    counts = draw(len(first.params.imgIds), num_resamples, seed)
    values = [average_precisions(run) for run in (first, second)]
    drawn = [resampled_average_precisions(run, counts) for run in (first, second)]
    metrics = {}
    for name in METRICS:
        one, two = (float(mean_of_known(by_class(ap, name))) for ap in values)
        one_drawn, two_drawn = (mean_of_known(by_class(ap, name)) for ap in drawn)
        metrics[name] = _difference(one, two, two_drawn - one_drawn)
    of_class = [by_class(ap, "AP") for ap in values]
    changes = by_class(drawn[1], "AP") - by_class(drawn[0], "AP")
    return metrics, [_difference(*row) for row in zip(*of_class, changes.T, strict=True)]


def draw(num_images: int, num_resamples: int, seed: int) -> np.ndarray:
    """Draw as many images as there are, with replacement: how often each comes, (B, I)."""
    generator = np.random.default_rng(seed)
    chances = np.full(num_images, 1 / num_images)
    return generator.multinomial(num_images, chances, size=num_resamples)


def resampled_average_precisions(evaluation: COCOeval, counts: np.ndarray) -> np.ndarray:
    """Return the average precisions, (B, T, K, A), with each image counted so often, (B, I)."""
    params = evaluation.params
    shape = (len(params.iouThrs), len(params.catIds), len(params.areaRng))
    ap = np.empty((len(counts), *shape))
    for k, area in np.ndindex(*shape[1:]):
        matches = class_matches(evaluation, k, area)
        num_objects = counts @ matches.objects
        for t in range(shape[0]):
            counted = ~matches.ignored[t]
            correct, images = matches.correct[t, counted], matches.images[counted]
            ap[:, t, k, area] = average_precision(correct, images, counts, num_objects)
    return ap


def _difference(first: float, second: float, changes: np.ndarray) -> Difference:
    changes = changes[~np.isnan(changes)]  # a draw may lack all objects of a class
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(changes, [tail, 1 - tail]) if len(changes) else (np.nan, np.nan)
    return Difference(float(first), float(second), float(low), float(high))
