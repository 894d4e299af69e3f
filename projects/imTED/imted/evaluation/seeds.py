"""Mean and confidence interval of a metric over repeated runs."""

import math
from collections.abc import Sequence


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """Return the mean and half the width of its confidence interval, by Student's t.

    Args:
        values: of independent runs; the half-width of one alone is NaN.
        confidence: the probability that the interval holds the true mean, if the values are
            normal.
    """
    count = len(values)
    mean = math.fsum(values) / count
    if count == 1:
        return mean, math.nan
    variance = math.fsum((value - mean) ** 2 for value in values) / (count - 1)
    return mean, t_quantile(count - 1, confidence) * math.sqrt(variance / count)


def t_quantile(degrees: int, confidence: float) -> float:
    """Return the t with P(|T| < t) = `confidence` for Student's T of `degrees` of freedom."""
    low, high = 0.0, math.pi / 2
    while high - low > 1e-15:
        middle = (low + high) / 2
        if _probability(degrees, middle) < confidence:
            low = middle
        else:
            high = middle
    return math.tan((low + high) / 2) * math.sqrt(degrees)


def _probability(degrees: int, angle: float) -> float:
    """Return P(|T| < t) at t = tan(angle) * sqrt(degrees).

    Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4.
    """
    cosine, odd = math.cos(angle), degrees % 2
    term = math.sin(angle) * (cosine if odd else 1.0)
    total = 0.0
    for k in range(2 if odd else 1, degrees, 2):
        total += term
        term *= cosine**2 * k / (k + 1)
    return (angle + total) * 2 / math.pi if odd else total
