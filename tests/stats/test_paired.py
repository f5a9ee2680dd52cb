"""Values from R 4.2.2 come from tests/stats/reference.R; exact p-values from enumeration in rational arithmetic."""

from collections import Counter
from fractions import Fraction
from functools import partial
from itertools import combinations, product

import numpy as np
import pingouin
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from kdstats.stats.paired import (
    _counted,
    _halved,
    _jzs_by_log,
    _on_lattice,
    bayes_factor,
    differences,
    non_inferiority,
    paired_t,
    rope,
    sign_flip,
    tost,
    tost_ratio,
    wilcoxon,
)

SIDES = ("two-sided", "greater", "less")
X = np.array([0.912, 0.931, 0.874, 0.957, 0.903, 0.942, 0.889, 0.968])
Y = np.array([0.894, 0.935, 0.851, 0.921, 0.892, 0.913, 0.882, 0.927])

integers = st.lists(st.integers(-6, 6), min_size=2, max_size=8)
reals = st.lists(st.floats(-1, 1).map(lambda v: round(v, 3)), min_size=3, max_size=9).filter(lambda v: len(set(v)) > 1)
sides = st.sampled_from(SIDES)


def share(sums: Counter, observed, alternative: str) -> Fraction:
    """P of sums at least as extreme as the observed one, from exact counts."""
    at_least = {
        "two-sided": lambda s: abs(s) >= abs(observed),
        "greater": lambda s: s >= observed,
        "less": lambda s: s <= observed,
    }[alternative]
    return Fraction(sum(c for s, c in sums.items() if at_least(s)), sum(sums.values()))


def flips(values) -> Counter:
    """How many sign vectors give each sum: exact, whatever type the values have."""
    sums = Counter({0 * values[0]: 1})
    for value in values:
        larger: Counter = Counter()
        for s, count in sums.items():
            larger[s + value] += count
            larger[s - value] += count
        sums = larger
    return sums


def signed_ranks(values: list[int], zeros: str) -> list[Fraction]:
    """Midranks with the sign of the value, 0 for zeros, by counting smaller and equal sizes."""
    ranked = [v for v in values if v or zeros == "pratt"]
    signed = []
    for v in values:
        smaller, equal = (sum(compare(abs(w)) for w in ranked) for compare in (abs(v).__gt__, abs(v).__eq__))
        signed.append(Fraction(2 * smaller + equal + 1, 2) * ((v > 0) - (v < 0)))
    return signed


# Sign flips ------------------------------------------------------------------------------------------------------


@given(integers, sides)
def test_sign_flip_is_the_enumeration_also_of_floats_with_ties(values, alternative):
    expected = share(flips([Fraction(v) for v in values]), sum(values), alternative)
    baseline = np.linspace(0.3, 0.9, len(values))
    floats = baseline + 0.1 * np.array(values)  # 0.1 is no binary fraction: ties survive in the sums only by tolerance
    for result in (
        sign_flip(floats, baseline, alternative=alternative),
        sign_flip(0.1 * np.array(values), alternative=alternative),
    ):
        assert result.p_value == float(expected)


def test_flips_counts_every_sign_vector():
    values = [Fraction(v, 7) for v in (3, -1, 4, 1, -5)]
    assert flips(values) == Counter(
        sum(s * v for s, v in zip(signs, values, strict=True)) for signs in product((1, -1), repeat=5)
    )


@pytest.mark.parametrize("n", [12, 13, 14, 21, 30, 39, 40])
@pytest.mark.parametrize("alternative", SIDES)
def test_exact_to_40_pairs_without_losing_ties(n, alternative):
    values = np.random.default_rng(n).integers(-9, 13, n)
    expected = float(share(flips(values.tolist()), int(values.sum()), alternative))
    result = sign_flip(0.1 * values, alternative=alternative)
    assert result.p_value == pytest.approx(expected, rel=1e-14)
    assert result.test == ("sign-flip, exact (lattice)" if n > 20 else "sign-flip, exact") and result.draws == 0
    oriented = -0.1 * values if alternative == "less" else 0.1 * values
    halves = _halved(oriented[None], two_sided=alternative == "two-sided")
    assert halves == pytest.approx([expected], rel=1e-14)


@pytest.mark.parametrize(("n", "most"), [(21, 60), (40, 300), (41, 40), (60, 300), (120, 60)])
@pytest.mark.parametrize("alternative", SIDES)
def test_counts_over_a_test_set_are_flipped_in_integers(n, most, alternative):
    rng = np.random.default_rng(n)
    control, gain = rng.integers(8_900, 9_100, n), rng.integers(-most, most + most // 4, n)
    expected = float(share(flips(gain.tolist()), int(gain.sum()), alternative))
    result = sign_flip((control + gain) / 9_973, control / 9_973, alternative=alternative)  # a prime: no neat floats
    assert result.test == "sign-flip, exact (lattice)"
    assert result.p_value == expected  # the nearest float, for every n


@given(
    st.lists(st.integers(-40, 40), min_size=2, max_size=30),
    st.integers(1, 5),
    st.floats(1e-5, 1e3),
    st.floats(0, 100),
)
def test_a_lattice_is_found_whatever_its_step(values, multiple, step, offset):
    whole = multiple * np.array(values)
    d = (offset * step + step * whole) - offset * step if offset < 10 else step * whole
    steps, found, lattice = _on_lattice(d[None], 1e5)
    assert lattice[0]
    coarse = np.gcd.reduce(whole) or 1
    assert steps[0].tolist() == (whole // coarse).tolist()
    if np.any(whole):
        assert found[0] == pytest.approx(coarse * step, rel=1e-9)


def test_no_lattice_is_seen_where_none_is():
    rng = np.random.default_rng(4)
    rows = np.vstack([rng.normal(size=(200, 25)), np.sqrt(np.arange(1, 26)), 1 / np.arange(1.0, 26) ** np.pi])
    assert not _on_lattice(rows, 1e6)[2].any()
    nearly = np.arange(1, 26) + np.where(np.arange(25) == 7, 1e-7, 0)
    assert not _on_lattice(nearly[None], 1e6)[2].any()
    assert (
        _on_lattice(np.arange(1.0, 26)[None], 325)[2].all() and not _on_lattice(np.arange(1.0, 26)[None], 324)[2].any()
    )


@given(st.lists(st.integers(-30, 30), min_size=2, max_size=24), st.booleans())
def test_the_three_ways_to_an_exact_p_agree(values, two_sided):
    row = np.array([values], dtype=float)
    expected = float(share(flips(values), sum(values), "two-sided" if two_sided else "greater"))
    steps, _, _ = _on_lattice(row, 1e6)
    assert _counted(steps[0], two_sided) == expected
    assert _halved(row, two_sided)[0] == expected
    assert sign_flip(row, alternative="two-sided" if two_sided else "greater").p_value[0] == expected


def test_the_smallest_p_is_reached_and_not_passed():
    for n in (5, 12, 13, 40, 41, 300):
        for d in [np.full(n, 1 / 7), *[np.sqrt(np.arange(2, n + 2))] * (n <= 40)]:
            assert sign_flip(d, alternative="greater").p_value == 2.0**-n
            assert sign_flip(d, alternative="less").p_value == 1.0
            assert sign_flip(d).p_value == 2.0 ** (1 - n)


@pytest.mark.parametrize("alternative", SIDES)
@pytest.mark.parametrize("n", [7, 60])
def test_a_sampled_p_is_near_the_exact_one_and_says_so(alternative, n):
    values = np.random.default_rng(5).integers(-9, 11, n)
    exact = float(share(flips(values.tolist()), int(values.sum()), alternative))
    run = partial(sign_flip, 0.1 * values, alternative=alternative, method="sampled", draws=40_000)
    result = run(seed=1)
    assert result.test == "sign-flip, 40,000 draws" and result.draws == 40_000
    assert abs(result.p_value - exact) < 5 * np.sqrt(exact * (1 - exact) / 40_000)
    assert result.p_value == run(seed=1).p_value != run(seed=2).p_value


def test_a_sampled_p_is_never_zero():
    d = np.sqrt(np.arange(2, 43))
    result = sign_flip(d, draws=999)
    assert result.p_value == 1 / 1000 and result.test == "sign-flip, 999 draws"
    assert sign_flip(np.zeros(50), draws=99, method="sampled").p_value == 1
    with pytest.raises(ValueError, match="row 0 of differences has 41 pairs and no lattice of few steps"):
        sign_flip(d, method="exact")
    assert sign_flip(d[:40], method="exact").p_value == 2.0**-39


def test_a_row_has_its_p_whatever_stands_beside_it():
    rng = np.random.default_rng(8)
    floats, counts = rng.normal(size=(2, 45)), rng.integers(-9, 9, (2, 45)) / 1000
    together = sign_flip([floats[0], counts[0], floats[1], counts[1]], draws=999)
    assert together.test == "sign-flip, exact or 999 draws"
    assert together.draws.tolist() == [999, 0, 999, 0]
    alone = [sign_flip(row, draws=999).p_value for row in (floats[0], counts[0], floats[1], counts[1])]
    assert together.p_value.tolist() == alone


@pytest.mark.parametrize("n", [8, 25, 45])
@pytest.mark.parametrize("k", [3, 7])
def test_copying_every_example_changes_no_p(n, k):
    rng = np.random.default_rng(n)
    arm, control = rng.random((2, n, 97)) < np.array([0.85, 0.8])[:, None, None]
    once = arm.mean(axis=1), control.mean(axis=1)
    copied = np.repeat(arm, k, axis=1).mean(axis=1), np.repeat(control, k, axis=1).mean(axis=1)
    for test in (sign_flip, wilcoxon):
        assert test(*copied).p_value == test(*once).p_value
    assert paired_t(*copied).p_value == pytest.approx(paired_t(*once).p_value, rel=1e-9)


def test_zero_differences_flip_into_themselves():
    d = [0.2, 0.5, -0.1, 0.4]
    for alternative in SIDES:
        assert sign_flip([*d, 0, 0], alternative=alternative).p_value == sign_flip(d, alternative=alternative).p_value


# The interval of sign flips --------------------------------------------------------------------------------------


def subset_means(values) -> list[Fraction]:
    sizes = range(1, len(values) + 1)
    return sorted(Fraction(sum(some), k) for k in sizes for some in combinations(values, k))


@given(st.lists(st.integers(-9, 9), min_size=2, max_size=9), st.sampled_from([0.5, 0.8, 0.9, 0.95, 0.9375]))
def test_the_interval_is_of_subset_means(values, level):
    means, n = subset_means(values), len(values)
    k = int((1 - Fraction(str(level))) * 2 ** (n - 1))
    expected = (float(means[k - 1]), float(means[-k])) if k else (-np.inf, np.inf)
    result = sign_flip(0.1 * np.array(values))
    assert result.confidence_interval(level) == pytest.approx((0.1 * expected[0], 0.1 * expected[1]), abs=1e-12)
    assert np.isinf(expected[0]) == (level > 1 - 2.0 ** (1 - n))


COUNTS = np.random.default_rng(1).integers(-30, 60, 64) / 1000
FLOATS = np.random.default_rng(2).normal(0.4, 1, 50)


@pytest.mark.parametrize(
    ("d", "options"),
    [
        (FLOATS[:6], {}),
        (COUNTS[:12], {}),
        (FLOATS[:20], {}),
        (FLOATS[:21], {}),
        (5 + FLOATS[:28], {}),
        (COUNTS[:33], {}),
        (COUNTS, {}),
        (FLOATS, {"draws": 1999}),
        (FLOATS[:15], {"draws": 1999, "method": "sampled"}),
    ],
)
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_p_at_an_end_exceeds_the_level_and_just_outside_does_not(d, options, level):
    low, high = sign_flip(d, **options).confidence_interval(level)
    grid = 1e-5 if d is COUNTS else 1e-7  # a shift off the lattice would be sampled there
    below, above = (np.round(low / grid) - 1) * grid, (np.round(high / grid) + 1) * grid
    for end, outside in ((low, below), (high, above)):
        assert sign_flip(d - end, **options).p_value > 1 - level + 1e-12
        assert sign_flip(d - outside, **options).p_value <= 1 - level + 1e-12
    assert low < d.mean() < high


def test_the_ways_to_an_interval_agree():
    whole = np.random.default_rng(6).integers(-20, 40, 24)
    counted = sign_flip(whole).confidence_interval()  # on a lattice
    searched = sign_flip(whole + 1e-8 * np.random.default_rng(7).normal(size=24)).confidence_interval()
    assert searched == pytest.approx(counted, abs=1e-6)
    sampled = sign_flip(whole, method="sampled").confidence_interval()
    assert sampled == pytest.approx(counted, abs=0.3)
    assert paired_t(whole).confidence_interval() == pytest.approx(counted, abs=1)


def test_an_interval_that_few_pairs_cannot_bound():
    for n, infinite in ((5, True), (6, False)):
        for test in (sign_flip, wilcoxon):
            result = test(FLOATS[:n])
            assert np.isinf(result.confidence_interval(0.95)).tolist() == [infinite] * 2
            assert ("note" in result.to_frame()) == infinite
    note = sign_flip(FLOATS[:4]).to_frame().loc[0, "note"]
    assert note == "an end of the interval is infinite: these data (n = 4) do not bound it at level 0.95"
    assert np.isinf(sign_flip(FLOATS, draws=9).confidence_interval()).all()


def test_the_interval_covers_a_shift_as_often_as_it_says():
    d = np.random.default_rng(9).standard_t(3, (4000, 7)) + 0.3
    low, high = sign_flip(d).confidence_interval(0.9)  # K = 6: the coverage is 1 - 6/64
    covered = np.mean((low <= 0.3) & (high >= 0.3))
    assert abs(covered - (1 - 6 / 64)) < 4 * np.sqrt(6 / 64 * 58 / 64 / 4000)


# Wilcoxon --------------------------------------------------------------------------------------------------------


@given(integers, sides, st.sampled_from(["pratt", "wilcox"]))
def test_wilcoxon_is_the_enumeration_with_ties_and_zeros(values, alternative, zeros):
    ranks = signed_ranks(values, zeros)
    expected = share(flips(ranks), sum(ranks), alternative)
    result = wilcoxon(0.1 * np.array(values), alternative=alternative, zeros=zeros)
    assert result.p_value == float(expected)
    assert result.statistic == float(sum(rank for rank in ranks if rank > 0))


def test_ties_of_differences_survive_floats():
    x, y = np.array([0.9, 0.8, 0.5, 0.3, 0.7]), np.array([0.8, 0.7, 0.6, 0.1, 0.4])  # 1, 1, -1, 2, 3 tenths
    for alternative in SIDES:
        p = wilcoxon(x, y, alternative=alternative).p_value
        assert p == wilcoxon([1, 1, -1, 2, 3], alternative=alternative).p_value


def test_scipys_exact_wilcoxon_is_wrong_under_ties():
    d = [2, 1, -1, 4, 5, 4, 5, 4, 4, -3]
    ranks = signed_ranks(d, "pratt")
    assert share(flips(ranks), sum(ranks), "two-sided") == Fraction(20, 1024)
    assert wilcoxon(d).p_value == 20 / 1024
    assert scipy_stats.wilcoxon(np.array(d, float), method="exact").pvalue == pytest.approx(28 / 1024)


def test_wilcoxon_agrees_with_r_and_pingouin_without_ties():
    for alternative, p in zip(SIDES, (0.015625, 0.0078125, 0.99609375), strict=True):  # R: wilcox.test(exact = TRUE)
        result = wilcoxon(X, Y, alternative=alternative)
        assert (result.statistic, result.p_value) == (35.0, p)
        assert pingouin.wilcoxon(X, Y, alternative=alternative, method="exact")["p_val"].item() == p
    z = [*range(1, 13), *range(-13, -16, -1), *range(16, 29), -29, 30]
    result = wilcoxon(z)
    assert result.statistic == 394  # R: V
    assert result.p_value == pytest.approx(0.000505488365888596, rel=1e-12)


@given(st.permutations(range(1, 10)), st.lists(st.sampled_from([-1, 1]), min_size=9, max_size=9), sides)
def test_sign_flip_on_ranks_is_wilcoxon_without_ties(order, signs, alternative):
    ranks = np.array(order) * signs
    cubes = ranks.astype(float) ** 3  # the same ranks, other sizes
    assert sign_flip(ranks, alternative=alternative).p_value == wilcoxon(cubes, alternative=alternative).p_value


def test_the_pseudomedian_and_its_interval_agree_with_r():
    result = wilcoxon(X, Y)  # R: wilcox.test(x, y, paired = TRUE, exact = TRUE, conf.int = TRUE)
    assert result.estimate == pytest.approx(0.02025, rel=1e-10)
    assert result.confidence_interval(0.9) == pytest.approx((0.009, 0.032), rel=1e-10)
    assert result.confidence_interval(0.95) == pytest.approx((0.007, 0.035), rel=1e-10)
    v = [0.31, -0.12, 0.45, 0.07, 0.52, 0.33, 0.11, 0.61, 0.3, -0.05, 0.14, 0.42, 0.28, -0.1, 0.4, 0.093]
    assert wilcoxon(v).estimate == pytest.approx(0.235, rel=1e-10)
    assert wilcoxon(v).confidence_interval() == pytest.approx((0.105, 0.365), rel=1e-10)


@given(st.lists(st.integers(-7, 9), min_size=4, max_size=12), st.sampled_from([0.7, 0.9, 0.95]))
def test_a_rank_interval_with_ties_inverts_the_test(values, level):
    low, high = wilcoxon(0.1 * np.array(values)).confidence_interval(level)
    averages = np.array(sorted({Fraction(a + b, 2) for a in values for b in values}), dtype=float)
    between = np.concatenate([[averages[0] - 1], (averages[1:] + averages[:-1]) / 2, [averages[-1] + 1]])
    p = np.array([wilcoxon(np.array(values) - shift).p_value for shift in between])
    kept = between[p > 1 - level] / 10
    if len(kept):
        assert low < kept.min() and kept.max() < high
        for end, inside in ((low, kept.min()), (high, kept.max())):  # the average next to the outermost shift kept
            assert np.isinf(end) or not ((averages / 10 - end) * (averages / 10 - inside) < -1e-9).any()
    else:
        assert low == pytest.approx(high)


def test_long_wilcoxon_approaches_the_normal():
    d = np.random.default_rng(3).normal(0.05, 1, 300)
    normal = scipy_stats.wilcoxon(d, method="asymptotic", correction=True).pvalue
    assert wilcoxon(d).p_value == pytest.approx(normal, rel=0.01)
    with pytest.raises(ValueError, match="are these examples of one replicate"):
        wilcoxon(np.arange(1, 1002))


# t ---------------------------------------------------------------------------------------------------------------


def test_paired_t_agrees_with_r_and_pingouin():
    expected = (0.00721203962714906, 0.00360601981357453, 0.996393980186425)  # R: t.test(x, y, paired = TRUE)
    for alternative, p in zip(SIDES, expected, strict=True):
        result = paired_t(X, Y, alternative=alternative)
        assert result.statistic == pytest.approx(3.74534371401909, rel=1e-12)
        assert result.p_value == pytest.approx(p, rel=1e-10)
        row = pingouin.ttest(X, Y, paired=True, alternative=alternative)
        assert row["p_val"].item() == pytest.approx(p, rel=1e-6)
    result = paired_t(X, Y)
    assert result.df == 7 and result.n == 8
    assert result.confidence_interval() == pytest.approx((0.00741907320209909, 0.0328309267979009), rel=1e-10)
    assert result.confidence_interval(0.9) == pytest.approx((0.00994478762463932, 0.0303052123753606), rel=1e-10)


@given(reals, st.floats(0.5, 0.99))
def test_an_intervals_end_inverted_gives_its_level(values, level):
    low, high = paired_t(values).confidence_interval(level)
    for end in (low, high):
        assert paired_t(np.array(values) - end).p_value == pytest.approx(1 - level, rel=1e-6)


def test_all_differences_equal():
    one = np.full(6, 0.3) - np.full(6, 0.1)
    rough = np.array([0.9, 0.8, 0.7, 0.4]) - np.array([0.8, 0.7, 0.6, 0.3])  # tenths, up to rounding
    for d in (one, rough):
        with pytest.raises(ValueError, match="all differences are equal: a t test has no variance to work with"):
            paired_t(d)
        with pytest.raises(ValueError, match="all differences are equal: a Bayes factor has no variance"):
            bayes_factor(d)
        result = sign_flip(d, alternative="greater")
        assert result.p_value == 2.0 ** -len(d) and result.standard_error == 0
        assert result.confidence_interval(0.8) == pytest.approx((d[0], d[0]))  # any other shift leaves one sign
        assert wilcoxon(d).confidence_interval(0.8) == pytest.approx((d[0], d[0]))
    rows = paired_t([[0.1, 0.1, 0.1], [0.1, 0.2, 0.3], [0, 0, 0]])
    assert np.isnan(rows.p_value).tolist() == [True, False, False]
    assert np.isnan(rows.statistic).tolist() == [True, False, False]
    assert rows.p_value[2] == 1 and rows.statistic[2] == 0
    assert np.isnan(bayes_factor([[0.1, 0.1, 0.1], [0.1, 0.2, 0.3]])).tolist() == [True, False]


# What holds for all ----------------------------------------------------------------------------------------------

TESTS = [sign_flip, wilcoxon, partial(wilcoxon, zeros="wilcox"), paired_t]


@pytest.mark.parametrize("test", TESTS)
@given(x=reals)
def test_swapping_arms_mirrors(test, x):
    y = np.linspace(0, 1, len(x)) ** 2
    if np.ptp(x - y) < 1e-6:
        return
    ahead, back = test(x, y, alternative="greater"), test(y, x, alternative="less")
    assert ahead.p_value == pytest.approx(back.p_value, rel=1e-12)
    assert ahead.estimate == -back.estimate
    assert test(x, y).p_value == pytest.approx(test(y, x).p_value, rel=1e-12)
    assert test(x, y).p_value == pytest.approx(
        min(1, 2 * min(ahead.p_value, test(x, y, alternative="less").p_value)), rel=1e-12
    )


@pytest.mark.parametrize("test", TESTS)
@pytest.mark.parametrize("alternative", SIDES)
def test_an_arm_against_itself(test, alternative):
    for x in (X, np.linspace(0, 1, 30)):
        assert test(x, x, alternative=alternative).p_value == 1
        result = test(x, x + 0.1 - 0.1, alternative=alternative)  # rounding is no difference
        assert result.p_value == 1 and result.estimate == 0


@pytest.mark.parametrize("test", TESTS)
@given(values=reals, seed=st.integers(0, 99), scale=st.sampled_from([1e-6, 0.37, 3e5]))
def test_order_and_unit_do_not_matter(test, values, seed, scale):
    shuffled = scale * np.random.default_rng(seed).permutation(values)
    assert test(shuffled).p_value == pytest.approx(test(values).p_value, rel=1e-9)


@pytest.mark.parametrize("test", [*TESTS, partial(tost, margin=0.4), partial(tost, margin=0.4, test=paired_t)])
@pytest.mark.parametrize("n", [5, 14, 45])
def test_leading_axes_are_rows(test, n):
    rng = np.random.default_rng(n)
    x, y = rng.normal(size=(2, 3, n)), rng.normal(size=(2, 3, n))
    together = test(x, y)
    assert together.p_value.shape == (2, 3)
    for i, j in np.ndindex(2, 3):
        alone = test(x[i, j], y[i, j])
        assert isinstance(alone.p_value, float)
        for field in ("statistic", "p_value", "estimate", *together.details):
            assert getattr(together, field)[i, j] == pytest.approx(getattr(alone, field), rel=1e-12)
        low, high = together.confidence_interval(0.8)
        assert (low[i, j], high[i, j]) == pytest.approx(alone.confidence_interval(0.8))
    frame = together.to_frame()
    assert len(frame) == 6 and frame["p_value"].tolist() == together.p_value.ravel().tolist()


def test_to_frame_is_one_row():
    frame = wilcoxon(X, Y).to_frame(0.9)
    assert list(frame.columns) == [
        "test", "statistic", "p_value", "estimate", "n", "alternative", "ci_low", "ci_high", "ci_level",
    ]  # fmt: skip
    more = [column for test in (sign_flip, paired_t) for column in test(X, Y).details]
    assert more == ["standard_error", "draws", "standard_error", "df"]
    assert frame.loc[0, ["test", "n", "ci_level"]].tolist() == ["Wilcoxon signed-rank, exact", 8, 0.9]


@pytest.mark.parametrize("test", [*TESTS, bayes_factor, partial(tost, margin=1.0), partial(rope, margin=1.0)])
def test_what_is_refused(test):
    for wrong, sentence in (
        (([1.0],), "needs two or more replicates on the last axis, got 1"),
        ((3.0,), "got 1"),
        (([[1.0], [2.0]],), "got 1"),
        (([1.0, np.nan],), r"x\[1\] is nan: scores must be finite"),
        (([1.0, 2.0], [1.0, np.inf]), r"y\[1\] is inf"),
        (([1.0, 2.0, 3.0], [1.0, 2.0]), "the same replicates, in the same order"),
        (([1.0, 2.0, 3.0], [1.0]), "the same replicates"),
    ):
        with pytest.raises(ValueError, match=sentence):
            test(*wrong)


def test_unknown_words_are_refused():
    for test in TESTS:
        with pytest.raises(ValueError, match="alternative is 'larger': it is one of two-sided, greater, less"):
            test([1.0, 2.0, 4.0], alternative="larger")
    with pytest.raises(ValueError, match="zeros is 'zsplit'"):
        wilcoxon([1.0, 2.0], zeros="zsplit")
    with pytest.raises(ValueError, match="level is 95"):
        paired_t([1.0, 2.0, 4.0]).confidence_interval(95)
    with pytest.raises(ValueError, match="draws is 0"):
        sign_flip(np.arange(41), draws=0)
    with pytest.raises(ValueError, match="method is 'fast': it is one of auto, exact, sampled"):
        sign_flip(np.arange(41), method="fast")


def test_rounding_is_not_a_difference():
    assert differences([0.1 + 0.2, 0.5], [0.3, 0.4])[0] == 0
    assert differences([1e-12, 1.0], [0.0, 0.0])[0] == 1e-12


# Equivalence -----------------------------------------------------------------------------------------------------


def test_tost_agrees_with_r():
    result = tost(X, Y, margin=0.03, test=paired_t)
    assert result.p_value == pytest.approx(0.0543493586323211, rel=1e-10)  # R: the larger of two t.test(mu = ∓0.03)
    assert result.test == "TOST at ±0.03, paired t" and result.alternative == "equivalence"


@given(reals, st.floats(0.01, 2), st.floats(0.005, 0.4))
def test_tost_is_the_interval_within_the_margin(values, margin, level):
    result = tost(values, margin=margin, test=paired_t)
    low, high = result.confidence_interval(1 - 2 * level)
    if abs(result.p_value - level) > 1e-9:
        assert (result.p_value <= level) == (-margin <= low and high <= margin)


@given(integers, st.integers(1, 8))
def test_tost_by_flips_is_two_enumerations(values, margin):
    low = [Fraction(v + margin) for v in values]
    high = [Fraction(v - margin) for v in values]
    expected = max(share(flips(low), sum(low), "greater"), share(flips(high), sum(high), "less"))
    assert tost(0.1 * np.array(values), margin=0.1 * margin).p_value == float(expected)


@given(st.lists(st.integers(-6, 6), min_size=5, max_size=8), st.integers(1, 8), st.sampled_from([0.05, 0.1, 0.2]))
def test_tost_by_flips_is_the_interval_strictly_within_the_margin(values, margin, level):
    result = tost(values, margin=margin)
    low, high = result.confidence_interval(1 - 2 * level)
    assert (result.p_value <= level) == (-margin < low - 1e-12 and high + 1e-12 < margin)


def test_non_inferiority_and_a_ratio_agree_with_r():
    result = non_inferiority(X, Y, margin=0.005, test=paired_t)
    assert result.p_value == pytest.approx(0.00113590741238648, rel=1e-10)  # R: t.test(mu = -0.005)
    assert (result.test, result.alternative) == ("non-inferiority at -0.005, paired t", "non-inferiority")
    assert result.estimate == paired_t(X, Y).estimate
    assert result.confidence_interval() == paired_t(X, Y).confidence_interval()
    ratio = tost_ratio(X, Y, ratio=(0.98, 1.05), test=paired_t)
    assert ratio.p_value == pytest.approx(0.00113305778282712, rel=1e-10)  # R: the larger of two t.test
    assert ratio.estimate == pytest.approx(1.02231462231462, rel=1e-12)
    assert ratio.test == "TOST of the ratio of means in (0.98, 1.05), paired t" and ratio.n == 8
    with pytest.raises(ValueError, match="no interval"):
        ratio.confidence_interval()


@given(integers, st.integers(1, 8))
def test_non_inferiority_is_half_of_tost(values, margin):
    x = non_inferiority(values, margin=margin).p_value
    y = non_inferiority(-np.array(values), margin=margin).p_value
    assert tost(values, margin=margin).p_value == max(x, y)


def test_a_ratio_has_no_unit_and_turns_round():
    for test in (sign_flip, wilcoxon, paired_t):
        p = tost_ratio(X, Y, ratio=(0.97, 1.02), test=test).p_value
        assert tost_ratio(7 * X, 7 * Y, ratio=(0.97, 1.02), test=test).p_value == pytest.approx(p, rel=1e-9)
        assert tost_ratio(Y, X, ratio=(1 / 1.02, 1 / 0.97), test=test).p_value == pytest.approx(p, rel=1e-9)
    for wrong in ((1.02, 0.97), (0, 2), (1.1, 1.2)):
        with pytest.raises(ValueError, match="lie on both sides of 1"):
            tost_ratio(X, Y, ratio=wrong)
    with pytest.raises(ValueError, match="not positive"):
        tost_ratio(X - 5, Y, ratio=(0.9, 1.1))
    with pytest.raises(ValueError, match="needs x and y"):
        tost_ratio(X, ratio=(0.9, 1.1))


def test_tost_keeps_what_its_test_found():
    for test in (sign_flip, wilcoxon, paired_t):
        result, alone = tost(X, Y, margin=0.03, test=test), test(X, Y)
        assert result.estimate == alone.estimate and result.details == alone.details
        assert result.confidence_interval(0.9) == alone.confidence_interval(0.9)


def test_differences_at_the_margin_are_not_within_it():
    d = np.array([0.3, 0.9, 0.5, 0.2]) - np.array([0.2, 0.8, 0.4, 0.1])  # each 0.1, some a little less in floats
    for test in (sign_flip, wilcoxon):
        assert tost(d, margin=0.1, test=test).p_value == 1
    with pytest.raises(ValueError, match="margin is 0"):
        tost(d, margin=0.0)


# Bayes -----------------------------------------------------------------------------------------------------------


def test_rope_agrees_with_r_and_with_the_tests_at_the_margins():
    result = rope(X, Y, margin=0.01)  # R: pt
    found = result.below, result.within, result.above
    assert found == pytest.approx((0.00040526015402367, 0.0503556634499546, 0.949239076396022), rel=1e-10)
    assert result.below == pytest.approx(non_inferiority(X, Y, margin=0.01, test=paired_t).p_value, rel=1e-10)
    rows = rope([[0.1, 0.1, 0.1], [0.1, 0.2, 0.3]], margin=1e9)
    assert np.isnan(rows.within[0]) and rows.within[1] == pytest.approx(1) and rows.below[1] >= 0
    with pytest.raises(ValueError, match="a posterior has no variance"):
        rope([0.1, 0.1, 0.1], margin=0.1)
    with pytest.raises(ValueError, match="margin is -1"):
        rope(X, Y, margin=-1)


def test_the_posterior_is_that_of_draws_from_it():
    d, rng = X - Y, np.random.default_rng(3)
    spread = np.sqrt((d - d.mean()) @ (d - d.mean()) / rng.chisquare(7, 400_000))  # σ given the data
    mean = rng.normal(d.mean(), spread / np.sqrt(8))  # μ given σ and the data
    result = rope(X, Y, margin=0.015)
    for share, drawn in ((result.within, np.abs(mean) <= 0.015), (result.above, mean > 0.015)):
        assert abs(share - drawn.mean()) < 4 * np.sqrt(share * (1 - share) / 400_000)


def sample(t: float, n: int) -> np.ndarray:
    """n differences whose t statistic is t."""
    z = np.random.default_rng(n).normal(size=n)
    z = (z - z.mean()) / z.std(ddof=1)
    return z + t / np.sqrt(n)


@pytest.mark.parametrize(
    ("t", "n", "expected"),  # R: integrate() of Rouder et al.'s equation 1
    [
        (3 * np.sqrt(2), 5, 5.75702225635943),
        (0, 10, 0.308793556708284),
        (2.5, 20, 2.70214516467737),
        (50, 10, 1350219933.91605),
        (1000, 10, 33992513536612622336.0),
        (300, 4, 16928.339671953),
        (4, 500, 126.304390725447),
    ],
)
def test_bayes_factor_agrees_with_r(t, n, expected):
    assert bayes_factor(sample(t, n)) == pytest.approx(expected, rel=1e-7)
    assert _jzs_by_log(t, n) == pytest.approx(expected, rel=1e-9)


def test_bayes_factor_agrees_with_pingouins_row():
    printed = pingouin.ttest(X, Y, paired=True, r=np.sqrt(2) / 2)["BF10"].item()
    assert bayes_factor(X, Y) == pytest.approx(float(printed), rel=1e-3)
    assert bayes_factor(X, Y) == pytest.approx(bayes_factor(Y, X), rel=1e-9)


@pytest.mark.parametrize("n", [2, 3, 4, 6, 10, 30, 100])
def test_the_two_ways_to_a_bayes_factor_meet(n):
    for t in (0.0, 0.7, 3.0, 12.0, 29.9):
        assert bayes_factor(sample(t, n)) == pytest.approx(_jzs_by_log(t, n), rel=1e-7)


def test_a_bayes_factor_beyond_floats_is_infinite():
    assert bayes_factor(sample(1e4, 300)) == np.inf
