"""Two groups of networks on shared examples."""

import numpy as np
import pytest
from scipy import stats as scipy_stats

from kdstats.stats import share_of_room, two_groups


def test_examples_that_all_agree_leave_the_pooled_t_test() -> None:
    x, y = np.array([3.0, 4.0, 6.0]), np.array([1.0, 2.5, 2.0, 4.0])
    of = two_groups(np.repeat(x[:, None], 600, axis=1), np.repeat(y[:, None], 600, axis=1))
    t = scipy_stats.ttest_ind(x, y)
    assert of.p_value() == pytest.approx(t.pvalue, rel=1e-6)
    assert of.confidence_interval() == pytest.approx(tuple(t.confidence_interval()), rel=1e-6)


def test_one_against_one_is_the_paired_t_test_over_examples() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 40))
    of, t = two_groups(x[None], y[None]), scipy_stats.ttest_rel(x, y)
    assert of.p_value() == pytest.approx(t.pvalue, rel=1e-6)
    assert of.confidence_interval() == pytest.approx(tuple(t.confidence_interval()), rel=1e-6)


def test_swapped_groups_negate_and_scales_scale() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(3, 50)), rng.normal(size=(4, 50))
    there, back = two_groups(x, y), two_groups(y, x)
    assert there.estimate == -back.estimate and there.variance == pytest.approx(back.variance, rel=1e-12)
    doubled = two_groups(x, y, x_scale=2.0, y_scale=2.0)
    assert doubled.variance == pytest.approx(4 * there.variance, rel=1e-12)


@pytest.mark.parametrize("k", [1, 3])
def test_intervals_cover_a_truth_of_0(k: int) -> None:
    """Networks, examples of each group and residuals vary; 1,000 worlds, .95 ∓ 4 Monte Carlo errors, or above."""
    rng, inside, m, n = np.random.default_rng(k), 0, 5, 40
    for _ in range(1000):
        item, mine = rng.normal(size=n), rng.normal(size=n) * 0.5
        x = rng.normal(size=(k, 1)) * 0.1 + item + mine + rng.normal(size=(k, n)) * 0.3
        y = rng.normal(size=(m, 1)) * 0.1 + item + rng.normal(size=(m, n)) * 0.3
        low, high = two_groups(x, y).confidence_interval()
        inside += low <= 0 <= high
    assert 0.92 <= inside / 1000 <= 0.99


def test_a_share_is_recovered_and_its_ends_are_where_it_is_rejected() -> None:
    rng = np.random.default_rng(5)
    y = (rng.random((6, 4000)) < 0.4 + rng.normal(size=(6, 1)) * 0.01).astype(float)
    copied = rng.random((1, 4000)) < 0.3
    x = np.where(copied, 1.0, (rng.random((1, 4000)) < 0.4).astype(float))
    estimate, low, high = share_of_room(x, y)
    assert low < 0.3 < high and estimate == pytest.approx(0.3, abs=0.05)
    for end in (low, high):
        assert two_groups(x, y, y_scale=1 - end).p_value("two-sided", end) == pytest.approx(0.05, abs=1e-5)
    with pytest.raises(ValueError, match="nothing is left to gain"):
        share_of_room(x, np.ones((2, 4000)))


def test_groups_of_different_examples_are_refused() -> None:
    with pytest.raises(ValueError, match="the same two or more examples"):
        two_groups(np.zeros((1, 3)), np.zeros((2, 4)))
