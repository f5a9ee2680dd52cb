"""Values from R 4.2.2: tests/stats/reference_ratios.R."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import ttest_1samp

from kdstats.stats.ratios import fieller, fieller_of_moments

X = np.array([0.021, 0.034, 0.012, 0.041, 0.027, 0.019, 0.038])
Y = np.array([0.21, 0.29, 0.18, 0.33, 0.22, 0.24, 0.27])
AROUND_0 = np.array([0.3, -0.2, 0.4, 0.1, -0.1, 0.25, -0.05])
TEACHER = np.array([1, 1, 1, 2, 2, 3, 3])
STRATIFIED = (0.112114537444934, 0.0792783591914953, 0.136901423438803)
numbers = st.integers(-50, 50).map(float)
units = st.integers(3, 8).flatmap(lambda n: st.tuples(*[st.lists(numbers, min_size=n, max_size=n)] * 2))


@pytest.mark.parametrize(
    ("level", "low", "high"),
    [(0.95, 0.0841055537373222, 0.130637949357785), (0.8, 0.0958911911985778, 0.122789803537695)],
)
def test_fieller_inverts_rs_paired_t_test(level, low, high):
    ratio = fieller(X, Y, level=level)  # R: uniroot of t.test(x - theta * y)$p.value
    assert ratio.estimate == pytest.approx(0.110344827586207, rel=1e-12)
    assert (ratio.low, ratio.high) == pytest.approx((low, high), rel=1e-9)
    assert ratio.level == level and ratio.note == ""


def test_a_denominator_that_may_be_0_leaves_no_bound():
    ratio = fieller(X, AROUND_0)  # R: p of the denominator .285
    assert (ratio.low, ratio.high) == (-np.inf, np.inf)
    assert ratio.estimate == pytest.approx(0.274285714285714)
    # R: the gap's ends, -0.316304685678174 and 0.0617578025530834
    assert ratio.note == "the denominator may be 0 at this level: every ratio outside (-0.316, 0.0618) fits the data"
    nothing = fieller([0.5, -0.4, 0.1, 0.6, -0.3, 0.2, -0.6], AROUND_0)  # R: no theta has a p below .17
    assert (nothing.low, nothing.high) == (-np.inf, np.inf)
    assert nothing.note == "the denominator may be 0 at this level: every ratio fits the data"


def test_fixed_teachers_against_rs_linear_model():
    ratio = fieller(X, Y, strata=TEACHER)  # R: uniroot of the p of lm(x - theta * y ~ 0 + teacher)'s mean coefficient
    assert ratio.estimate == pytest.approx(STRATIFIED[0], rel=1e-12)
    assert (ratio.low, ratio.high) == pytest.approx(STRATIFIED[1:], rel=1e-9)
    assert fieller(X, Y, strata=np.zeros(7)) == fieller(X, Y)


@given(units, st.sampled_from([0.5, 0.9, 0.95]), st.floats(-3, 3))
def test_a_ratio_is_inside_exactly_where_the_t_test_keeps_it(pair, level, theta):
    x, y = map(np.array, pair)
    kept = x - theta * y
    assume(np.ptp(y) > 0 and np.ptp(kept) > 1e-6)
    p = ttest_1samp(kept, 0).pvalue
    assume(abs(p - (1 - level)) > 1e-6)
    ratio = fieller(x, y, level=level)
    if np.isfinite(ratio.low):
        assert (ratio.low < theta < ratio.high) == (p > 1 - level)
        assert ratio.low <= ratio.estimate <= ratio.high
        assert ttest_1samp(y, 0).pvalue <= 1 - level
    else:
        assert ttest_1samp(y, 0).pvalue >= 1 - level - 1e-9
        if p < 1 - level:
            assert "every ratio outside" in ratio.note


@given(units, st.integers(1, 5))
def test_fieller_scales_and_turns_over(pair, factor):
    x, y = np.array(pair[0]), np.array(pair[1]) + 200
    assume(np.ptp(y) > 0)
    ratio = fieller(x, y)
    assert np.isfinite([ratio.low, ratio.high]).all() or ttest_1samp(y, 0).pvalue > 0.05
    assume(np.isfinite(ratio.low))
    for scaled, sign in ((fieller(factor * x, y), 1), (fieller(-factor * x, y), -1)):
        ends = sorted([sign * factor * ratio.low, sign * factor * ratio.high])
        assert [scaled.low, scaled.high] == pytest.approx(ends, rel=1e-7, abs=1e-7)
    back = fieller(y, x)
    if np.isfinite(back.low) and ratio.low * ratio.high > 1e-12:
        assert [1 / back.high, 1 / back.low] == pytest.approx([ratio.low, ratio.high], rel=1e-6)


def test_a_denominator_without_spread_is_the_t_interval():
    ratio = fieller(X, np.full(7, 0.2))
    low, high = ttest_1samp(X, 0).confidence_interval(0.95)
    assert (ratio.low, ratio.high) == pytest.approx((low / 0.2, high / 0.2), rel=1e-12)


def test_a_share_that_is_the_same_in_every_unit_is_known():
    ratio = fieller(0.3 * Y, Y)
    assert (ratio.estimate, ratio.low, ratio.high) == pytest.approx((0.3, 0.3, 0.3), rel=1e-7)


def test_where_there_is_no_ratio():
    none = fieller(X, np.zeros(7))
    assert np.isnan([none.estimate, none.low, none.high]).all() and "the denominator is 0 throughout" in none.note
    constant = fieller(np.full(4, 0.1), np.full(4, 0.1) + 0.2)
    assert constant.estimate == pytest.approx(1 / 3) and np.isnan([constant.low, constant.high]).all()
    assert constant.note == "numerator and denominator do not vary: there is no interval"
    balanced = fieller([1.0, 2.0, 3.0, 4.0], [-1.0, 1.0, -2.0, 2.0])
    assert np.isnan(balanced.estimate) and (balanced.low, balanced.high) == (-np.inf, np.inf) and balanced.note


def test_moments_of_any_design():
    covariance = np.cov(X, Y) / 7
    found, expected = fieller_of_moments(X.mean(), Y.mean(), covariance, 6), fieller(X, Y)
    assert (found.estimate, found.low, found.high) == pytest.approx((expected.estimate, expected.low, expected.high))
    normal = fieller_of_moments(1.0, 2.0, [[0.01, 0.0], [0.0, 0.0]], np.inf)
    assert (normal.low, normal.high) == pytest.approx((0.5 - 0.0979981992270027, 0.5 + 0.0979981992270027), rel=1e-12)


def test_fieller_covers_also_where_the_denominator_is_weak():
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(1000):
        y = rng.normal(0.5, 0.6, 6)
        x = 0.4 * y + rng.normal(0, 0.3, 6)
        ratio = fieller(x, y)
        gap = ratio.note.partition("outside (")[2].partition(")")[0]
        low, high = map(float, gap.split(", ")) if gap else (np.inf, np.inf)
        held += ratio.low <= 0.4 <= ratio.high and not low < 0.4 < high
    assert abs(held / 1000 - 0.95) < 4 * np.sqrt(0.95 * 0.05 / 1000)


def test_refusals():
    with pytest.raises(ValueError, match=r"numerator has shape \(3,\) and denominator \(4,\)"):
        fieller([1.0, 2.0, 3.0], [1.0, 2.0, 3.0, 4.0])
    with pytest.raises(ValueError, match="every teacher has one student"):
        fieller(X, Y, strata=np.arange(7))
    with pytest.raises(ValueError, match="level is 1"):
        fieller(X, Y, level=1)
    with pytest.raises(ValueError, match="scores must be finite"):
        fieller([1.0, np.nan], [1.0, 2.0])
    for covariance in ([[1.0, 2.0], [2.0, 1.0]], [[1.0, 0.1], [0.2, 1.0]], [[-1.0, 0.0], [0.0, 1.0]]):
        with pytest.raises(ValueError, match="is no covariance matrix"):
            fieller_of_moments(1.0, 2.0, covariance, 5)
    with pytest.raises(ValueError, match="two numbers, four, all finite"):
        fieller_of_moments(np.nan, 2.0, np.eye(2), 5)
    with pytest.raises(ValueError, match="df is 0"):
        fieller_of_moments(1.0, 2.0, np.eye(2), 0)
