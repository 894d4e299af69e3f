"""Means over seeds, differences between paired runs, and how sure one can be of them."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats


class Difference(NamedTuple):
    """What a run gains over a baseline of the same seed.

    Attributes:
        pairs: Number of seeds that both have.
        mean: Mean difference.
        half_width: Half the width of its 95 % confidence interval; NaN for one pair.
        p: The p-value of a two-sided paired t-test for no difference; NaN for one pair.
    """

    pairs: int
    mean: float
    half_width: float
    p: float


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """Return the mean and half the width of its confidence interval, by Student's t.

    Args:
        values: The results of independent runs; the half-width of one alone is NaN.
        confidence: The probability that the interval holds the true mean, if the values are
            normal.
    """
    mean = float(np.mean(values))
    if len(values) == 1:
        return mean, math.nan
    quantile = stats.t.ppf((1 + confidence) / 2, len(values) - 1)
    return mean, float(quantile * stats.sem(values))


def paired_difference(values: Sequence[float], baseline: Sequence[float]) -> Difference:
    """Compare runs with a baseline, seed by seed, by Student's paired t-test.

    Args:
        values: The result of each seed.
        baseline: Results of the same seeds, in the same order; at least one.
    """
    differences = np.subtract(values, baseline)
    mean, half = mean_interval(list(differences))
    if len(differences) == 1:
        return Difference(1, mean, half, math.nan)
    if np.ptp(differences) == 0:  # no spread at all: the statistic is 0 / 0 or infinite
        return Difference(len(differences), mean, half, 1.0 if mean == 0 else 0.0)
    p = float(stats.ttest_rel(values, baseline).pvalue)
    return Difference(len(differences), mean, half, p)


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values for their number by Holm's step-down procedure (1979).

    The smallest is multiplied by their number, the next by one less, and so on; none gets smaller
    than the one before. NaN is no test and stays.
    """
    order = [i for i in np.argsort(p_values) if not math.isnan(p_values[i])]
    corrected = [math.nan] * len(p_values)
    least = 0.0
    for rank, index in enumerate(order):
        least = max(least, min(1.0, (len(order) - rank) * p_values[index]))
        corrected[index] = least
    return corrected
