"""Values from R 4.2.2 come from tests/stats/reference.R; exact p-values from enumeration in rational arithmetic."""

from collections import Counter
from fractions import Fraction
from functools import partial
from itertools import product

import numpy as np
import pingouin
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from kdstats.stats import bayes_factor, differences, paired_t, sign_flip, tost, wilcoxon
from kdstats.stats.paired import _jzs_by_log

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
def test_halves_meet_without_losing_ties(n, alternative):
    values = np.random.default_rng(n).integers(-9, 13, n)
    expected = share(flips(values.tolist()), int(values.sum()), alternative)
    result = sign_flip(0.1 * values, alternative=alternative)
    assert result.p_value == pytest.approx(float(expected), rel=1e-14)
    assert result.test == "sign-flip, exact"


def test_the_smallest_p_is_reached_and_not_passed():
    for n in (5, 12, 13, 40):
        d = np.linspace(1, 2, n) / 7
        assert sign_flip(d, alternative="greater").p_value == 2.0**-n
        assert sign_flip(d, alternative="less").p_value == 1.0
        assert sign_flip(d).p_value == 2.0 ** (1 - n)


@pytest.mark.parametrize("alternative", SIDES)
def test_beyond_40_it_is_sampled_and_says_so(alternative):
    values = np.random.default_rng(5).integers(-9, 11, 60)
    exact = float(share(flips(values.tolist()), int(values.sum()), alternative))
    result = sign_flip(0.1 * values, alternative=alternative, draws=40_000, seed=1)
    assert result.test == "sign-flip, 40,000 draws"
    assert abs(result.p_value - exact) < 5 * np.sqrt(exact * (1 - exact) / 40_000)
    assert result == sign_flip(0.1 * values, alternative=alternative, draws=40_000, seed=1)
    assert result.p_value != sign_flip(0.1 * values, alternative=alternative, draws=40_000, seed=2).p_value


def test_a_sampled_p_is_never_zero():
    result = sign_flip(np.linspace(1, 2, 41), draws=999)
    assert result.p_value == 1 / 1000
    assert sign_flip(np.zeros(50), draws=99).p_value == 1


def test_zero_differences_flip_into_themselves():
    d = [0.2, 0.5, -0.1, 0.4]
    for alternative in SIDES:
        assert sign_flip([*d, 0, 0], alternative=alternative).p_value == sign_flip(d, alternative=alternative).p_value


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
        assert np.isnan(result.confidence_interval()).all()
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
        for field in ("statistic", "p_value", "estimate", "standard_error"):
            assert getattr(together, field)[i, j] == pytest.approx(getattr(alone, field), rel=1e-12)
        low, high = together.confidence_interval(0.8)
        assert (low[i, j], high[i, j]) == pytest.approx(alone.confidence_interval(0.8))
    frame = together.to_frame()
    assert len(frame) == 6 and frame["p_value"].tolist() == together.p_value.ravel().tolist()


def test_to_frame_is_one_row():
    frame = wilcoxon(X, Y).to_frame(0.9)
    assert list(frame.columns) == [
        "test", "statistic", "p_value", "estimate", "n", "alternative", "standard_error", "df", "ci_low", "ci_high",
        "ci_level",
    ]  # fmt: skip
    assert frame.loc[0, ["test", "n", "ci_level"]].tolist() == ["Wilcoxon signed-rank, exact", 8, 0.9]


@pytest.mark.parametrize("test", [*TESTS, bayes_factor, partial(tost, margin=1.0)])
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


def test_differences_at_the_margin_are_not_within_it():
    d = np.array([0.3, 0.9, 0.5, 0.2]) - np.array([0.2, 0.8, 0.4, 0.1])  # each 0.1, some a little less in floats
    for test in (sign_flip, wilcoxon):
        assert tost(d, margin=0.1, test=test).p_value == 1
    with pytest.raises(ValueError, match="margin is 0"):
        tost(d, margin=0.0)


# Bayes factor ----------------------------------------------------------------------------------------------------


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
