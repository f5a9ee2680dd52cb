"""Exact values come from enumeration in rational arithmetic, the rest from scipy, identities and planted truths."""

from collections.abc import Sequence
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from kdstats.stats import sign_flip, tost, two_way
from kdstats.stats.resampling import Strata, _drawn, _two_way_errors, bootstrap, max_t

SIDES = st.sampled_from(["two-sided", "greater", "less"])
METHODS = ["percentile", "bca", "t"]
TEACHERS = np.array([0, 0, 0, 1, 1, 2, 2, 2])


# Families --------------------------------------------------------------------------------------------------------


def studentised(row: Sequence[Fraction], side: str) -> Fraction:
    """n t² / (t² + n - 1) with the sign of the claim: in rationals, and increasing in t."""
    total, squares = sum(row, Fraction()), sum((v * v for v in row), Fraction())
    size = total * total / squares if squares else Fraction()
    sign = 1 if side == "two-sided" or (total > 0) == (side == "greater") else -1
    return sign * size


@st.composite
def families(draw):
    k, n = draw(st.integers(1, 3)), draw(st.integers(2, 6))
    rows = draw(st.lists(st.lists(st.integers(-4, 4), min_size=n, max_size=n), min_size=k, max_size=k))
    return (
        rows,
        draw(st.lists(SIDES, min_size=k, max_size=k)),
        draw(st.lists(st.integers(0, 1), min_size=n, max_size=n)),
    )


@settings(max_examples=60)
@given(families(), st.booleans())
def test_max_t_is_the_enumeration_of_the_largest_t(family, stratified):
    rows, sides, strata = family
    sizes = [strata.count(s) if stratified else 1 for s in strata]
    weighted = [[Fraction(v, size) for v, size in zip(row, sizes, strict=True)] for row in rows]
    observed = [studentised(row, side) for row, side in zip(weighted, sides, strict=True)]
    largest = [
        max(
            studentised([sign * v for sign, v in zip(signs, row, strict=True)], side)
            for row, side in zip(weighted, sides, strict=True)
        )
        for signs in product((1, -1), repeat=len(strata))
    ]
    scale = np.array([[0.1], [7.3], [1e-9]])[: len(rows)]  # of no importance to t
    result = max_t(scale * np.array(rows), alternatives=sides, strata=strata if stratified else None)
    expected = [float(Fraction(sum(t >= o for t in largest), len(largest))) for o in observed]
    assert result.p_value.tolist() == expected
    assert result.to_frame()["alternative"].tolist() == sides


@pytest.mark.parametrize("side", ["two-sided", "greater", "less"])
def test_one_contrast_is_the_sign_flip_test(side):
    rng = np.random.default_rng(1)
    for n in (2, 5, 11, 14):
        d = np.round(rng.normal(0.3, 1, n), 1)
        assert max_t(d[None], alternatives=side).p_value[0] == sign_flip(d, alternative=side).p_value
    d = rng.normal(0.3, 1, 24)
    sampled, exact = max_t(d[None], alternatives=side, draws=20_000), sign_flip(d, alternative=side).p_value
    assert sampled.test == "max-T, joint sign flips, 20,000 draws"
    assert abs(sampled.p_value[0] - exact) < 4 * np.sqrt(exact * (1 - exact) / 20_000) + 1e-4


def test_enumeration_in_halves_at_its_largest():
    d = np.random.default_rng(2).normal(0.4, 1, 20)
    assert max_t(d[None], alternatives="greater").p_value[0] == sign_flip(d, alternative="greater").p_value


def test_the_smallest_p_has_no_factor():
    d = np.abs(np.random.default_rng(3).normal(size=(50, 8))) + 0.1
    assert max_t(d, alternatives="greater").p_value.min() == 2.0**-8
    assert max_t(d).p_value.min() == 2.0**-7
    many = max_t(np.abs(np.random.default_rng(3).normal(5, 1, size=(3, 60))), alternatives="greater", draws=999)
    assert many.p_value.tolist() == [1 / 1000] * 3  # never 0


@pytest.mark.parametrize("side", ["two-sided", "greater", "less"])
def test_sampled_flips_are_those_of_the_sign_flip_test(side):
    d = np.random.default_rng(4).normal(0.2, 1, size=(150, 45))
    alone = max_t(d[:1], alternatives=side, draws=3000, seed=7).p_value[0]
    assert alone == sign_flip(d[0], alternative=side, draws=3000, seed=7).p_value
    largest = max_t(d, alternatives=side, draws=3000, seed=7)
    assert (largest.p_value >= sign_flip(d, alternative=side, draws=3000, seed=7).p_value).all()
    beside_zeros = max_t(np.concatenate([np.zeros((70, 45)), d[:1]]), alternatives=side, draws=3000, seed=7).p_value[-1]
    assert beside_zeros == alone or alone > 0.5
    assert (max_t(d[::-1], alternatives=side, draws=3000, seed=7).p_value[::-1] == largest.p_value).all()


@given(st.integers(0, 10**6), SIDES)
def test_adjusted_is_never_below_raw_and_keeps_its_order(seed, side):
    rng = np.random.default_rng(seed)
    d = np.round(rng.normal(0.2, 1, size=(6, 7)), 1)
    result = max_t(d, alternatives=side)
    assert (result.p_value >= sign_flip(d, alternative=side).p_value).all()
    t = {"two-sided": np.abs(result.statistic), "greater": result.statistic, "less": -result.statistic}[side]
    assert (np.diff(result.p_value[np.argsort(t)]) <= 0).all()
    order = rng.permutation(7)
    assert max_t(d[:, order], alternatives=side).p_value.tolist() == result.p_value.tolist()
    assert max_t(3 * d, alternatives=side).p_value.tolist() == result.p_value.tolist()
    opposite = {"greater": "less", "less": "greater"}.get(side, side)
    assert max_t(-d, alternatives=opposite).p_value.tolist() == result.p_value.tolist()
    again = max_t(np.concatenate([d, d]), alternatives=side).p_value
    assert again.tolist() == [*result.p_value, *result.p_value]


def test_nothing_differs_and_all_differences_are_equal():
    d = np.array([[0.0] * 5, [0.1] * 5, [0.3, -0.2, 0.1, 0.4, 0.2], [0.5] * 4 + [-0.5]])
    result = max_t(d, alternatives="greater")
    assert result.statistic[:2].tolist() == [0, np.inf] and result.p_value[0] == 1
    assert result.statistic[2:] == pytest.approx(stats.ttest_1samp(d[2:], 0, axis=1).statistic)
    # t is infinite after one flip of the second row and, where the last sign is turned, of the fourth
    assert result.p_value[1] == 2 / 32
    assert max_t(np.zeros((2, 4))).p_value.tolist() == [1, 1]


def test_both_bounds_of_equivalence_are_rows():
    d, margin = np.array([0.02, -0.01, 0.03, 0.01, 0.00, -0.02, 0.01]), 0.04
    bounds = max_t(np.stack([d + margin, d - margin]), alternatives=["greater", "less"])
    assert bounds.p_value.max() >= tost(d, margin=margin).p_value
    assert bounds.p_value.max() <= 2 * tost(d, margin=margin).p_value


def test_family_wise_error_is_that_of_one_test():
    """Three arms share a control: jointly symmetric, so the size is exactly the attainable one, 12 or 13 flips of 128.

    A fourth contrast that differs costs power and no error.
    """
    rng = np.random.default_rng(4)
    protocols, wrong, wrong_beside_an_effect = 1500, 0, 0
    for _ in range(protocols):
        arms, control = rng.normal(size=(4, 7)), rng.normal(size=7)
        d = arms - control
        wrong += max_t(d[:3], alternatives="greater").p_value.min() <= 0.1
        d[3] += 3.0
        wrong_beside_an_effect += max_t(d, alternatives="greater").p_value[:3].min() <= 0.1
    attainable = 12 / 128
    error = np.sqrt(attainable * (1 - attainable) / protocols)
    assert abs(wrong / protocols - attainable) < 4 * error
    assert wrong_beside_an_effect <= wrong


def test_max_t_refuses():
    d = np.ones((2, 5))
    for kwargs, sentence in (
        ({"alternatives": ["greater"]}, "1 alternatives for 2 contrasts"),
        ({"alternatives": ["greater", "up"]}, "alternative is 'up'"),
        ({"strata": [0, 1]}, "one stratum for each of the 5 units"),
    ):
        with pytest.raises(ValueError, match=sentence):
            max_t(d, **kwargs)
    with pytest.raises(ValueError, match="a family is contrasts × units"):
        max_t(d[0])
    with pytest.raises(ValueError, match="scores must be finite"):
        max_t([[1.0, np.nan]])
    with pytest.raises(ValueError, match="draws is 0"):
        max_t(np.ones((2, 30)), draws=0)
    with pytest.raises(ValueError, match="no interval"):
        max_t(d).confidence_interval()


# Two-way bootstrap -----------------------------------------------------------------------------------------------


def test_percentile_is_the_enumeration_of_both_axes():
    """All 27 × 4 resamples of 3 replicates and 2 examples, in rationals."""
    x = np.array([[0, 2], [1, 7], [3, 4]])
    means = sorted(
        sum(Fraction(int(x[u, n])) for u in rows for n in columns) / 6
        for rows in product(range(3), repeat=3)
        for columns in product(range(2), repeat=2)
    )
    for level in (0.5, 0.78, 0.9):
        tail = (1 - level) / 2 * len(means)
        low, high = bootstrap(x, level=level, draws=50_000)
        assert low == pytest.approx(float(means[int(np.floor(tail))]), abs=1e-6)
        assert high == pytest.approx(float(means[-1 - int(np.floor(tail))]), abs=1e-6)


@pytest.mark.parametrize(("method", "theirs"), [("percentile", "percentile"), ("bca", "BCa")])
def test_without_interaction_it_is_scipys_bootstrap_of_two_samples(method, theirs):
    rng = np.random.default_rng(5)
    replicate, example = rng.exponential(size=9), rng.exponential(size=40)
    scipys = stats.bootstrap(
        (replicate, example), lambda a, b, axis: a.mean(axis) + b.mean(axis), n_resamples=20_000, method=theirs,
        confidence_level=0.9, batch=2000, rng=rng,
    )  # fmt: skip
    found = bootstrap(replicate[:, None] + example, level=0.9, method=method, draws=20_000)
    # standard error of a 5 % quantile of 20,000 draws: √(.05 · .95 / 20,000) / density .103, times √2 for two of them
    assert found == pytest.approx(tuple(scipys.confidence_interval), abs=5 * 0.021 * scipys.standard_error)


def test_with_replicates_alike_it_is_scipys_bootstrap_of_the_examples():
    row = np.random.default_rng(6).normal(size=60)
    scipys = stats.bootstrap(
        (row,), np.mean, n_resamples=20_000, method="percentile", batch=2000, rng=np.random.default_rng(7)
    )
    found = bootstrap(np.tile(row, (4, 1)), draws=20_000)
    assert found == pytest.approx(tuple(scipys.confidence_interval), abs=5 * 0.027 * scipys.standard_error)


def test_t_agrees_with_the_interval_of_many_normal_units():
    rng = np.random.default_rng(8)
    x = rng.normal(size=(60, 1)) + rng.normal(size=300)
    estimate, error, df = two_way(x)
    low, high = bootstrap(x, method="t")
    assert (low, high) == pytest.approx(stats.t.interval(0.95, df, estimate, error), abs=0.15 * error)


@pytest.mark.parametrize("strata", [None, TEACHERS])
def test_standard_errors_of_draws_are_those_of_the_drawn_matrices(strata):
    rng = np.random.default_rng(9)
    x = (rng.normal(size=(8, 1)) + rng.normal(size=30) + rng.normal(size=(8, 30))).astype(np.float32)
    index = np.zeros(8, dtype=int) if strata is None else strata
    members = [np.flatnonzero(index == t) for t in np.unique(index)]
    weights = np.array([1 / (len(members) * np.sum(index == t)) for t in index])
    examples, replicates = _drawn(rng, 40, 30), np.empty((8, 40))
    for group in members:
        replicates[group] = _drawn(rng, 40, len(group)).T
    assert (examples.sum(axis=1) == 30).all() and (replicates.sum(axis=0) == 8).all()
    found = _two_way_errors(x, examples, replicates, Strata(members, weights))
    for j in range(40):
        rows, columns = (
            np.repeat(np.arange(8), replicates[:, j].astype(int)),
            np.repeat(np.arange(30), examples[j].astype(int)),
        )
        expected = two_way(x[np.ix_(rows, columns)], None if strata is None else strata[rows]).standard_error
        assert found[j] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("strata", [None, TEACHERS])
def test_bootstrap_moves_with_the_data_and_not_with_its_neighbours(method, strata):
    rng = np.random.default_rng(10)
    x = rng.normal(size=(2, 3, 8, 25)) + rng.normal(size=(8, 1)) ** 2
    low, high = bootstrap(x, method=method, strata=strata, draws=500)
    assert low.shape == high.shape == (2, 3) and (low < high).all()
    alone = bootstrap(x[1, 2], method=method, strata=strata, draws=500)
    assert [type(end) for end in alone] == [float, float]
    assert alone == pytest.approx((low[1, 2], high[1, 2]), abs=1e-6)
    moved = bootstrap(1000 - 3 * x, method=method, strata=strata, draws=500)
    assert moved[0] == pytest.approx(1000 - 3 * high, abs=1e-5)
    assert moved[1] == pytest.approx(1000 - 3 * low, abs=1e-5)
    wide = bootstrap(x, method=method, strata=strata, draws=500, level=0.99)
    assert (wide[0] <= low).all() and (wide[1] >= high).all()
    single = bootstrap(x.astype(np.float32), method=method, strata=strata, draws=500)
    assert single[0] == pytest.approx(low, abs=1e-5)


def test_blocks_change_nothing(monkeypatch):
    x = np.random.default_rng(11).normal(size=(5, 6, 40))
    whole = {method: bootstrap(x, method=method, draws=300) for method in METHODS}
    monkeypatch.setattr("kdstats.stats.resampling._CACHED", 100)
    for method in METHODS:
        assert np.array(bootstrap(x, method=method, draws=300)) == pytest.approx(np.array(whole[method]), abs=1e-6)


def test_fixed_teachers_leave_their_spread_out_of_the_bootstrap():
    rng = np.random.default_rng(12)
    x = rng.normal(size=(8, 30)) + np.array([0.0, 50.0, -80.0])[TEACHERS][:, None]
    estimate, error, _ = two_way(x, TEACHERS)
    for method in METHODS:
        low, high = bootstrap(x, method=method, strata=TEACHERS, draws=1000)
        assert low < estimate < high and high - low < 10 * error < 10


def test_where_nothing_varies_there_is_no_interval():
    x = np.stack([np.full((3, 5), 0.1), np.arange(15.0).reshape(3, 5)])
    for method in METHODS:
        low, high = bootstrap(x, method=method, draws=200)
        assert np.isnan([low[0], high[0]]).all() and np.isfinite([low[1], high[1]]).all()


def test_draws_without_variance_leave_t_without_bounds():
    """With examples alike, 3 of the 27 draws of three replicates are of one replicate: more than 5 % on a side."""
    x = np.repeat([[0.0], [1.0], [3.0]], 20, axis=1)
    low, high = bootstrap(x, method="t", level=0.95)
    assert (low, high) == (-np.inf, np.inf)
    assert np.isfinite(bootstrap(x, method="t", level=0.7)).all()


def test_counts_the_interaction_three_times_and_t_does_not():
    """Two-sided 95 % of 400 matrices of pure interaction, and of replicates that differ and are few."""
    rng = np.random.default_rng(13)
    interaction, replicates = (
        rng.normal(size=(400, 6, 80)),
        rng.normal(size=(400, 5, 1)) + rng.normal(size=(400, 5, 80)),
    )

    def covered(x, method):
        low, high = bootstrap(x, method=method, draws=500)
        return np.mean((low <= 0) & (high >= 0))

    assert covered(interaction, "percentile") > 0.99
    assert covered(replicates, "percentile") < 0.9
    for x in (interaction, replicates):
        assert 0.92 < covered(x, "t") < 0.99


def test_bootstrap_refuses():
    x = np.arange(12.0).reshape(3, 4)
    for kwargs, sentence in (
        ({"method": "basic"}, "method is 'basic': it is one of percentile, bca, t"),
        ({"level": 1.5}, "level is 1.5"),
        ({"draws": 38}, "draws is 38: an interval at level 0.95 needs 39 or more"),
        ({"strata": [0, 1, 2]}, "every teacher has one replicate"),
    ):
        with pytest.raises(ValueError, match=sentence):
            bootstrap(x, **kwargs)
    assert np.isfinite(bootstrap(x, draws=39)).all()
    with pytest.raises(ValueError, match="not finite"):
        bootstrap([[1.0, np.nan], [0.0, 1.0]])
    with pytest.raises(ValueError, match="replicates × examples"):
        bootstrap([1.0, 2.0])
