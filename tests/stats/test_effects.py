"""Values by hand; the closed forms of J from Γ(½) = √π; R 4.2.2: tests/stats/reference.R."""

import numpy as np
import pingouin
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from kdstats.stats.effects import (
    dz,
    dz_interval,
    hedges_correction,
    hedges_g,
    hedges_g_interval,
    paired_cles,
    paired_cles_interval,
    rank_biserial,
    rank_biserial_interval,
)

lists = st.lists(st.integers(-6, 6), min_size=3, max_size=9)


def test_values_by_hand():
    d = [1.0, 2.0, 4.0, 5.0]  # mean 3, squares 4 + 1 + 1 + 4 over 3
    assert dz(d) == pytest.approx(3 / np.sqrt(10 / 3))
    assert dz([4.0, 6.0, 9.0, 11.0], [3.0, 4.0, 5.0, 6.0]) == pytest.approx(dz(d))
    assert hedges_g(d) == pytest.approx(3 / np.sqrt(10 / 3) * np.sqrt(np.pi / 6))
    assert rank_biserial([3, -1, 0, 2]) == (4 + 3 - 2) / 10  # ranks 4, 2, 1 (the zero), 3
    assert rank_biserial([1, 1, -1, 5]) == (2 + 2 + 4 - 2) / 10
    assert paired_cles([3, -1, 0, 2]) == (2 + 0.5) / 4


@pytest.mark.parametrize(
    ("df", "expected"),
    [
        (2, 1 / np.sqrt(np.pi)),
        (3, np.sqrt(np.pi / 6)),
        (4, np.sqrt(2 / np.pi)),
        (18, 0.957646427023718),  # R, by the recursion
    ],
)
def test_hedges_correction(df, expected):
    assert hedges_correction(df) == pytest.approx(expected, rel=1e-12)


def test_hedges_g_is_unbiased():
    d = np.random.default_rng(1).normal(0.8, 1, (200_000, 5))
    error = hedges_g(d).std() / np.sqrt(len(d))
    assert abs(hedges_g(d).mean() - 0.8) < 4 * error
    assert dz(d).mean() - 0.8 > 20 * error


def test_dz_is_not_pingouins_paired_d():
    rng = np.random.default_rng(2)
    y = rng.normal(size=10)
    x = y + rng.normal(0.5, 0.3, size=10)
    t = pingouin.ttest(x, y, paired=True)["T"].item()
    assert dz(x, y) == pytest.approx(t / np.sqrt(10))
    assert abs(dz(x, y) - pingouin.compute_effsize(x, y, paired=True, eftype="cohen")) > 0.5


@given(st.permutations(range(1, 9)), st.lists(st.sampled_from([-1, 1]), min_size=8, max_size=8))
def test_rank_biserial_agrees_with_pingouin_without_ties(order, signs):
    d = np.array(order, float) * signs
    assert rank_biserial(d) == pytest.approx(pingouin.wilcoxon(d)["RBC"].item())


@given(lists, st.sampled_from([1e-7, 0.1, 300.0]))
def test_swapping_arms_and_changing_the_unit(values, scale):
    d = scale * np.array(values, float)
    assert rank_biserial(-d) == pytest.approx(-rank_biserial(values))
    assert paired_cles(-d) == pytest.approx(1 - paired_cles(values))
    if np.ptp(d):
        assert dz(-d) == pytest.approx(-dz(values))
        assert hedges_g(-d) == pytest.approx(-hedges_g(values))


@given(lists)
def test_extremes_mean_that_every_pair_differs(values):
    assert (rank_biserial(values) == 1) == (min(values) > 0) == (paired_cles(values) == 1)


def test_ties_of_floats():
    x, y = np.array([0.9, 0.8, 0.5, 0.3]), np.array([0.8, 0.7, 0.6, 0.1])  # 1, 1, -1, 2 tenths
    assert rank_biserial(x, y) == rank_biserial([1, 1, -1, 2])


def test_rows_and_what_does_not_exist():
    rows = np.array([[0.1, 0.2, 0.3], [0.4, 0.4, 0.4], [0.0, 0.0, 0.0]])
    assert np.isnan(dz(rows)).tolist() == np.isnan(hedges_g(rows)).tolist() == [False, True, True]
    assert rank_biserial(rows).tolist() == [1, 1, 0]
    assert paired_cles(rows).tolist() == [1, 1, 0.5]
    for effect in (dz, hedges_g):
        with pytest.raises(ValueError, match="all differences are equal: a standardised effect has no variance"):
            effect([0.4, 0.4, 0.4])
    with pytest.raises(ValueError, match="more than one degree of freedom, got 1"):
        hedges_g([0.1, 0.2])
    for effect in (dz, hedges_g, rank_biserial, paired_cles):
        with pytest.raises(ValueError, match="scores must be finite"):
            effect([0.1, np.nan, 0.3])


# Intervals -------------------------------------------------------------------------------------------------------


def sample(t: float, n: int) -> np.ndarray:
    """n differences whose t statistic is t."""
    z = np.random.default_rng(n).normal(size=n)
    return (z - z.mean()) / z.std(ddof=1) + t / np.sqrt(n)


@pytest.mark.parametrize(
    ("t", "n", "level", "expected"),  # R: uniroot over the noncentrality of pt
    [
        (3 * np.sqrt(2), 5, 0.95, (0.332973566192588, 3.40706961241875)),
        (0, 10, 0.95, (-0.619795032304561, 0.619795032304561)),
        (-2.5, 20, 0.9, (-0.948830482275556, -0.15579560716725)),
        (3.74534371401909, 8, 0.95, (0.331088607263985, 2.27205127882274)),
    ],
)
def test_dz_interval_agrees_with_r(t, n, level, expected):
    assert dz_interval(sample(t, n), level=level) == pytest.approx(expected, rel=1e-9)
    corrected = hedges_correction(n - 1) * np.array(expected)
    assert hedges_g_interval(sample(t, n), level=level) == pytest.approx(corrected, rel=1e-9)


@pytest.mark.parametrize("n", [2, 3, 10, 200])
def test_dz_interval_in_its_limits(n):
    huge = dz_interval(sample(1e7 * np.sqrt(n), n))  # the standard deviation alone is unknown: χ
    assert huge == pytest.approx(1e7 * np.sqrt(stats.chi2.ppf([0.025, 0.975], n - 1) / (n - 1)), rel=1e-6)
    none = dz_interval(sample(0, n))  # T = 0 exactly where Z = 0
    assert none == pytest.approx(stats.norm.ppf([0.025, 0.975]) / np.sqrt(n), rel=1e-9)
    for t in (0.3, 4, 50):
        low, high = dz_interval(sample(t, n))
        assert low < t / np.sqrt(n) < high
        assert dz_interval(sample(-t, n)) == pytest.approx((-high, -low), rel=1e-9)


def test_dz_interval_excludes_0_where_the_t_test_rejects():
    for n in (3, 8, 30):
        for level in (0.9, 0.99):
            critical = stats.t.ppf(0.5 + level / 2, n - 1)
            assert dz_interval(sample(critical, n), level=level)[0] == pytest.approx(0, abs=1e-9)


def coverage(intervals, truth: float) -> float:
    low, high = intervals
    return float(np.mean((low <= truth) & (truth <= high)))


@pytest.mark.parametrize("effect", [0.0, 0.7, 2.0])
def test_coverage_of_planted_effects(effect):
    d = np.random.default_rng(11).normal(effect, 1, (400, 8))
    assert abs(coverage(dz_interval(d), effect) - 0.95) < 4 * np.sqrt(0.95 * 0.05 / 400)
    d = np.random.default_rng(12).standard_t(3, (10_000, 10)) + effect
    big = np.random.default_rng(13).standard_t(3, (400_000, 2)) + effect
    alone, both = np.sign(big[:, 0]).mean(), np.sign(big.sum(axis=1)).mean()  # E of r: 10 diagonal of 55 averages
    assert 0.92 < coverage(rank_biserial_interval(d), (10 * alone + 45 * both) / 55) < 0.985
    assert coverage(paired_cles_interval(d), (1 + alone) / 2) > 0.95


@pytest.mark.parametrize("ties", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("effect", [0.5, 0.6, 0.94])
def test_cles_interval_holds_its_level_with_ties(ties, effect):
    ties = min(ties, 2 * (1 - effect))
    better, worse = effect - ties / 2, max(1 - effect - ties / 2, 0)
    for n in (4, 11):
        missed = 0.0
        for b in range(n + 1):
            for w in range(n - b + 1):
                low, high = paired_cles_interval([1] * b + [-1] * w + [0] * (n - b - w), level=0.9)
                chance = stats.multinomial.pmf([b, w, n - b - w], n, [better, worse, 1 - better - worse])
                missed += chance * (low > effect or high < effect)
        assert missed <= 0.1


def test_cles_interval_is_clopper_and_pearsons_without_ties():
    d = np.array([1, 2, 3, 4, 5, 6, 7, -1, -2, -3.0])
    assert paired_cles_interval(d) == pytest.approx((0.347547149940003, 0.933260488822266), rel=1e-10)  # R: binom.test
    assert paired_cles_interval(np.abs(d)) == pytest.approx((0.691502892181239, 1), rel=1e-10)
    halved = paired_cles_interval([0, *d[1:]])  # 6.5 of 10: the lower end of 6, the upper of 7
    assert halved == pytest.approx((paired_cles_interval([-1, *d[1:]])[0], paired_cles_interval(d)[1]))
    assert paired_cles_interval(np.zeros(4)) == pytest.approx(
        (1 - paired_cles_interval(np.zeros(4))[1], 0.9324), abs=1e-4
    )


@given(st.permutations(range(1, 13)), st.lists(st.sampled_from([-1, 1]), min_size=12, max_size=12))
def test_rank_biserial_interval_excludes_0_where_the_normal_test_rejects(order, signs):
    d = np.array(order, float) * signs
    p = stats.wilcoxon(d, method="asymptotic", correction=False).pvalue
    for level in (0.8, 0.95):
        low, high = rank_biserial_interval(d, level=level)
        assert (low > 0 or high < 0) == (p < 1 - level)
        assert -1 <= low < high <= 1


@given(lists)
def test_intervals_hold_their_estimates_and_mirror(values):
    d = np.array(values, float)
    for effect, interval in ((rank_biserial, rank_biserial_interval), (paired_cles, paired_cles_interval)):
        low, high = interval(d)
        assert low <= effect(d) <= high
        middle = 1 if effect is paired_cles else 0
        assert interval(-d) == pytest.approx((middle - high, middle - low))


def test_intervals_of_rows_and_refusals():
    rows = np.array([[0.1, 0.2, 0.4], [0.4, 0.4, 0.4]])
    for interval in (dz_interval, hedges_g_interval, rank_biserial_interval, paired_cles_interval):
        low, high = interval(rows)
        assert (low[0], high[0]) == pytest.approx(interval(rows[0]))
        assert np.isnan(low[1]) == (interval in (dz_interval, hedges_g_interval))
        with pytest.raises(ValueError, match="level is 95"):
            interval(rows[0], level=95)
    for interval in (dz_interval, hedges_g_interval):
        with pytest.raises(ValueError, match="all differences are equal"):
            interval(rows[1])
