"""Values by hand; the closed forms of J from Γ(½) = √π; R 4.2.2: tests/stats/reference.R."""

import numpy as np
import pingouin
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdstats.stats import dz, hedges_correction, hedges_g, paired_cles, rank_biserial

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
