"""Means over seeds, differences between paired runs, and how sure one can be of them."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

CONFIDENCE = 0.95


class Difference(NamedTuple):
    """What runs gain over a baseline of the same seeds.

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


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean and half the width of its 95 % confidence interval, by Student's t.

    The half-width of a single value is NaN.
    """
    mean = float(np.mean(values))
    if len(values) == 1:
        return mean, math.nan
    return mean, float(stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1) * stats.sem(values))


def paired_difference(values: Sequence[float], baseline: Sequence[float]) -> Difference:
    """Compare runs with a baseline, seed by seed in the same order, by Student's paired t-test."""
    differences = np.subtract(values, baseline)
    mean, half = mean_interval(list(differences))
    if len(differences) == 1:
        p = math.nan
    elif np.ptp(differences) == 0:  # no spread at all: the statistic is 0 / 0 or infinite
        p = float(mean == 0)
    else:
        p = float(stats.ttest_rel(values, baseline).pvalue)
    return Difference(len(differences), mean, half, p)


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values for their number by Holm's step-down procedure (1979), which scipy lacks.

    The smallest is multiplied by their number, the next by one less, and so on; none gets smaller
    than the one before. NaN is no test and stays.
    """
    p = np.array(p_values, dtype=float)
    order = np.argsort(p)  # NaN come last
    factors = np.count_nonzero(~np.isnan(p)) - np.arange(len(p))
    p[order] = np.maximum.accumulate(np.minimum(1.0, factors * p[order]))
    return p.tolist()
