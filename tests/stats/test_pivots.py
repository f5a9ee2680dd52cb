"""The pivot of a two-way mean: Student's t of one mean square, and its size where Satterthwaite's t has too much."""

import numpy as np
import pytest
from scipy import stats

from kdstats.stats.pivots import TwoWay, below, interval


@pytest.mark.parametrize("df", [1, 2, 4, 9, 30])
@pytest.mark.parametrize("t", [-3.0, 0.0, 0.7, 2.5, 8.0])
def test_one_mean_square_is_students_t(df, t):
    of_replicates = TwoWay(t, 7.0, 0.0, 0.0, df, 1e6, 7.0)
    of_examples = TwoWay(t, 0.0, 7.0, 0.0, 1e6, df, 7.0)
    for pivot in (of_replicates, of_examples):
        assert below(pivot, 0.0) == pytest.approx(stats.t.sf(t, df), rel=1e-7, abs=1e-12)
        assert pivot.df == pytest.approx(df) and pivot.standard_error == 1.0


def test_two_mean_squares_against_a_simulated_pivot():
    of = TwoWay(2.0, 3.0, 2.0, 0.5, 4, 30, 8.0)
    rng = np.random.default_rng(0)
    r, e = 3.0 * 4 / rng.chisquare(4, 10**6), 2.0 * 30 / rng.chisquare(30, 10**6)
    v = np.maximum(np.maximum(r + e - 0.5, r), e) / 8
    simulated = stats.norm.sf(2.0 / np.sqrt(v))
    assert below(of, 0.0) == pytest.approx(simulated.mean(), abs=4 * simulated.std() / 1000)


def test_an_interval_ends_where_its_tail_is_half_of_what_is_left():
    for level in (0.5, 0.95, 0.999):
        of = TwoWay(np.array([1.0, -2.0]), np.array([3.0, 0.1]), np.array([2.0, 5.0]), 0.5, 3, 99, 40.0)
        low, high = interval(of, level)
        assert below(of, low) == pytest.approx((1 - level) / 2, rel=1e-6)
        assert below(of, high) == pytest.approx((1 + level) / 2, rel=1e-6)
        assert low + high == pytest.approx(2 * of.estimate)


def test_shape_scale_and_shift():
    of = TwoWay(1.0, 3.0, 2.0, 0.5, 3, 99, 40.0)
    scaled = TwoWay(5.0 - 10.0, 75.0, 50.0, 12.5, 3, 99, 40.0)  # 5 x - 10
    assert below(scaled, -10.0) == pytest.approx(below(of, 0.0), rel=1e-12)
    many = TwoWay(np.full((2, 3), 1.0), np.full((2, 3), 3.0), np.full((2, 3), 2.0), np.full((2, 3), 0.5), 3, 99, 40.0)
    assert below(many, 0.0) == pytest.approx(np.full((2, 3), below(of, 0.0)))


def test_nothing_that_varies_has_no_p():
    none = TwoWay(1.0, 0.0, 0.0, 0.0, 4, 99, 5.0)
    assert np.isnan(below(none, 1.0)) and np.isnan(none.p_value()) and none.p_value(null=1.0) == 1.0
    assert np.isnan(interval(none, 0.95)).all() and np.isnan(none.df)


@pytest.mark.parametrize(("replicates", "spread", "level"), [(2, 0.1, 0.05), (3, 0.1, 0.0125), (5, 0.2, 0.0042)])
def test_size_where_satterthwaites_t_has_too_much(replicates, spread, level):
    """Replicates have sd 1, the mean over examples sd ``spread``; N is large, so that it counts as known."""
    rng = np.random.default_rng(replicates)
    n, df = 100_000, replicates - 1
    of = TwoWay(
        rng.normal(0, np.sqrt(1 / replicates + spread**2), n), rng.chisquare(df, n) / df / replicates,
        np.full(n, spread**2), 0.0, df, 1e6, 1.0,
    )  # fmt: skip
    one_sided = np.asarray(below(of, 0.0))
    rejected = (2 * np.minimum(one_sided, 1 - one_sided) <= level).mean()
    satterthwaite = (2 * stats.t.sf(np.abs(of.estimate) / of.standard_error, of.df) <= level).mean()
    assert rejected <= level + 4 * np.sqrt(level / n) and rejected >= 0.6 * level
    assert satterthwaite >= 1.8 * level
