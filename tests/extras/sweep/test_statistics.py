import math

import numpy as np
import pytest
from scipy import stats

from imted.extras.sweep.statistics import holm, mean_interval, paired_difference


@pytest.mark.parametrize(
    ("runs", "quantile"), [(2, 12.706), (3, 4.303), (5, 2.776), (10, 2.262), (31, 2.042)]
)
def test_quantiles_are_those_of_the_printed_tables(runs, quantile):
    values = [10.0, *[11.0] * (runs - 1)]
    # One of n values is 1 below the others: variance 1 / n, standard error 1 / n.
    mean, half = mean_interval(values)
    assert mean == pytest.approx(11 - 1 / runs)
    assert half == pytest.approx(quantile / runs, abs=6e-4)


def test_interval_by_hand():
    # Mean 20, deviations -2, 0, 2: variance 8 / 2 = 4, standard error 2 / sqrt(3).
    mean, half = mean_interval([18, 20, 22])
    assert mean == 20
    assert half == pytest.approx(4.302653 * 2 / math.sqrt(3), rel=1e-6)


def test_one_run_has_no_interval():
    mean, half = mean_interval([31.5])
    assert mean == 31.5 and math.isnan(half)
    assert mean_interval([7.0, 7.0]) == (7.0, 0.0)


def test_a_paired_difference_is_the_interval_of_the_differences():
    ours, theirs = [31.0, 30.0, 33.0, 29.0], [30.0, 28.5, 32.5, 28.0]
    found = paired_difference(ours, theirs)
    # Differences 1, 1.5, 0.5, 1: mean 1, variance 1/6, standard error sqrt(1/24).
    assert found.pairs == 4 and found.mean == 1
    assert found.half_width == pytest.approx(3.182446 * math.sqrt(1 / 24), rel=1e-6)
    assert found.p == pytest.approx(2 * stats.t.sf(math.sqrt(24), 3), rel=1e-9)


def test_the_p_value_is_right_as_often_as_it_says():
    generator = np.random.default_rng(0)
    pairs = [generator.normal(size=(2, 5)) for _ in range(2000)]  # no true difference
    share = np.mean([paired_difference(a, b).p < 0.05 for a, b in pairs])
    assert share == pytest.approx(0.05, abs=0.015)  # 3 standard errors of 2000 draws


def test_differences_without_spread():
    assert paired_difference([2.0, 3.0], [1.0, 2.0])[:4] == (2, 1.0, 0.0, 0.0)
    assert paired_difference([1.0, 2.0], [1.0, 2.0]).p == 1.0
    alone = paired_difference([2.0], [1.0])
    assert alone.mean == 1.0 and math.isnan(alone.half_width) and math.isnan(alone.p)


def test_holms_correction_by_hand():
    # 0.01 * 4, 0.015 * 3, 0.04 * 2, and 0.03 * 2 which mustn't be below 0.045; NaN is no test.
    corrected = holm([0.04, 0.01, math.nan, 0.03, 0.015])
    np.testing.assert_allclose(corrected, [0.06, 0.04, math.nan, 0.06, 0.045])
    assert holm([0.9, 0.8]) == [1.0, 1.0] and holm([]) == []
