import math

import pytest

from imted.evaluation.seeds import mean_interval, t_quantile


@pytest.mark.parametrize(
    ("degrees", "expected"),
    [(1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (5, 2.571), (9, 2.262), (30, 2.042)],
)
def test_quantiles_are_those_of_the_printed_tables(degrees, expected):
    assert t_quantile(degrees, 0.95) == pytest.approx(expected, abs=6e-4)


def test_many_degrees_are_the_normal_distribution():
    assert t_quantile(10**5, 0.95) == pytest.approx(1.959964, abs=1e-4)
    assert t_quantile(9, 0.99) == pytest.approx(3.2498, abs=1e-4)


def test_interval_by_hand():
    # Mean 20, deviations -2, 0, 2: variance 8 / 2 = 4, standard error 2 / sqrt(3).
    mean, half = mean_interval([18, 20, 22])
    assert mean == 20
    assert half == pytest.approx(4.302653 * 2 / math.sqrt(3), rel=1e-6)


def test_one_run_has_no_interval():
    mean, half = mean_interval([31.5])
    assert mean == 31.5 and math.isnan(half)
    assert mean_interval([7.0, 7.0]) == (7.0, 0.0)
