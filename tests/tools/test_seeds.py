import math

import pytest


@pytest.fixture
def mean_interval(load_script):
    return load_script("tools/summarize_seeds.py").mean_interval


@pytest.mark.parametrize(
    ("runs", "quantile"), [(2, 12.706), (3, 4.303), (5, 2.776), (10, 2.262), (31, 2.042)]
)
def test_quantiles_are_those_of_the_printed_tables(mean_interval, runs, quantile):
    values = [10.0, *[11.0] * (runs - 1)]
    # One of n values is 1 below the others: variance 1 / n, standard error 1 / n.
    mean, half = mean_interval(values)
    assert mean == pytest.approx(11 - 1 / runs)
    assert half == pytest.approx(quantile / runs, abs=6e-4)


def test_confidence_can_be_chosen(mean_interval):
    _, half = mean_interval([10.0, *[11.0] * 9], confidence=0.99)
    assert half == pytest.approx(0.32498, abs=1e-5)


def test_interval_by_hand(mean_interval):
    # Mean 20, deviations -2, 0, 2: variance 8 / 2 = 4, standard error 2 / sqrt(3).
    mean, half = mean_interval([18, 20, 22])
    assert mean == 20
    assert half == pytest.approx(4.302653 * 2 / math.sqrt(3), rel=1e-6)


def test_one_run_has_no_interval(mean_interval):
    mean, half = mean_interval([31.5])
    assert mean == 31.5 and math.isnan(half)
    assert mean_interval([7.0, 7.0]) == (7.0, 0.0)
