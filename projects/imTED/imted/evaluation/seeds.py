"""Mean and confidence interval of a metric over repeated runs."""

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """Return the mean and half the width of its confidence interval, by Student's t.

    Args:
        values: of independent runs; the half-width of one alone is NaN.
        confidence: the probability that the interval holds the true mean, if the values are
            normal.
    """
    mean = float(np.mean(values))
    if len(values) == 1:
        return mean, math.nan
    quantile = stats.t.ppf((1 + confidence) / 2, len(values) - 1)
    return mean, float(quantile * stats.sem(values))
