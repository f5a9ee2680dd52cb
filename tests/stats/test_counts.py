"""Values from R 4.2.2 come from tests/stats/reference_counts.R; exact p-values from rational enumeration."""

from fractions import Fraction
from itertools import product
from math import comb

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from kdstats.stats.counts import (
    mantel_haenszel,
    mcnemar,
    non_inferiority_proportions,
    odds_ratio,
    risk_difference,
    tost_proportions,
    tost_ratio_proportions,
)

SIDES = ("two-sided", "greater", "less")
sides = st.sampled_from(SIDES)
methods = st.sampled_from(("exact", "mid-p"))
cells = st.integers(0, 12)
tables = st.tuples(cells, cells, cells, cells).filter(any).map(lambda t: [[t[0], t[1]], [t[2], t[3]]])
levels = st.sampled_from((0.8, 0.95, 0.99))

SMALL = [[[12, 5], [8, 9]], [[7, 11], [4, 15]], [[3, 0], [1, 6]]]
ADMISSIONS = [  # R's UCBAdmissions: departments × admitted, rejected × male, female
    [[512, 89], [313, 19]], [[353, 17], [207, 8]], [[120, 202], [205, 391]],
    [[138, 131], [279, 244]], [[53, 94], [138, 299]], [[22, 24], [351, 317]],
]  # fmt: skip


def swapped(table):
    (a, b), (c, d) = table
    return [[a, c], [b, d]]


def outcomes(table) -> tuple[np.ndarray, np.ndarray]:
    """Examples that have this table, shuffled."""
    (a, b), (c, d) = table
    pairs = np.repeat([[1, 1], [1, 0], [0, 1], [0, 0]], [a, b, c, d], axis=0)
    np.random.default_rng(a + b).shuffle(pairs)
    return pairs[:, 0], pairs[:, 1]


# McNemar ---------------------------------------------------------------------------------------------------------

MCNEMAR_IN_R = {  # b, c: binom.test two-sided, greater, less; mid-p greater, less; intervals of the odds ratio
    (9, 3): (0.14599609375, 0.072998046875, 0.980712890625, 0.046142578125, 0.953857421875,
             0.748684450197064, 17.2280031269, 0.847626419998027, 13.7374355527242),
    (25, 40): (0.0816815339415403, 0.976823262833544, 0.0408407669707702, 0.967991247931387, 0.0320087520686133,
               0.363393317016806, 1.05579538547224, 0.37468804071902, 1.02734832921672),
    (0, 7): (0.015625, 1, 0.0078125, 0.99609375, 0.00390625, 0, 0.693813980096453, 0, 0.534127404634391),
    (6, 6): (1, 0.61279296875, 0.61279296875, 0.5, 0.5,
             0.267338197624807, 3.74058031693413, 0.30513135487401, 3.27727709403349),
}  # fmt: skip


@pytest.mark.parametrize("counts", MCNEMAR_IN_R)
def test_mcnemar_and_the_odds_ratio_are_those_of_r(counts):
    b, c = counts
    table = [[30, b], [c, 12]]
    *exact, mid_greater, mid_less, low, high, mid_low, mid_high = MCNEMAR_IN_R[counts]
    for side, p in zip(SIDES, exact, strict=True):
        assert mcnemar(table, alternative=side).p_value == pytest.approx(p, rel=1e-10)
        assert odds_ratio(table, alternative=side).p_value == pytest.approx(p, rel=1e-10)
    mid = (min(1, 2 * min(mid_greater, mid_less)), mid_greater, mid_less)
    for side, p in zip(SIDES, mid, strict=True):
        assert mcnemar(table, alternative=side, method="mid-p").p_value == pytest.approx(p, rel=1e-10)
    assert odds_ratio(table).confidence_interval() == pytest.approx((low, high), rel=1e-10)
    assert odds_ratio(table, method="mid-p").confidence_interval() == pytest.approx((mid_low, mid_high), rel=1e-10)


@given(tables, sides, methods)
def test_mcnemar_is_the_enumeration(table, side, method):
    (_, b), (c, _) = table
    count = [comb(b + c, i) for i in range(b + c + 1)]
    tie = Fraction(count[b], 2) if method == "mid-p" else 0
    greater, less = (Fraction(sum(part) - tie, 2 ** (b + c)) for part in (count[b:], count[: b + 1]))
    expected = {"greater": greater, "less": less, "two-sided": min(1, 2 * min(greater, less))}[side]
    result = mcnemar(table, alternative=side, method=method)
    assert result.p_value == pytest.approx(float(expected), rel=1e-12)
    assert 0 < result.p_value <= 1


@given(tables, sides, methods)
def test_networks_and_their_table_say_the_same_and_swapping_them_reverses_it(table, side, method):
    x, y = outcomes(table)
    opposite = {"two-sided": "two-sided", "greater": "less", "less": "greater"}[side]
    result, reverse = mcnemar(x, y, alternative=side, method=method), mcnemar(y, x, alternative=opposite, method=method)
    assert result == mcnemar(table, alternative=side, method=method)
    assert result == mcnemar(x.astype(bool), y.astype(float), alternative=side, method=method)
    assert (result.estimate, result.p_value, result.b) == (-reverse.estimate, reverse.p_value, reverse.c)
    low, high = result.confidence_interval()
    assert reverse.confidence_interval() == (-high, -low)
    assert -1 <= low <= result.estimate <= high <= 1 and low < high
    if x.tolist() != y.tolist():
        ratio, inverse = odds_ratio(x, y, method=method), odds_ratio(y, x, method=method)
        low, high = ratio.confidence_interval()
        inverse_low, inverse_high = inverse.confidence_interval()
        assert low <= ratio.estimate <= high
        assert low * inverse_high == pytest.approx(1) if low else inverse_high == np.inf
        assert high * inverse_low == pytest.approx(1) if inverse_low else high == np.inf


def test_what_mcnemar_says_is_labelled():
    assert mcnemar([[5, 1], [2, 3]]).test == "McNemar, exact (these two networks only)"
    assert mcnemar([[5, 1], [2, 3]], method="mid-p").test == "McNemar, mid-p (these two networks only)"
    assert list(mcnemar([[5, 1], [2, 3]]).to_frame().columns) == [
        "test", "statistic", "p_value", "estimate", "n", "alternative", "b", "c", "ci_low", "ci_high", "ci_level",
    ]  # fmt: skip


def test_a_network_against_itself():
    x = [1, 0, 1, 1, 0]
    for side in SIDES:
        assert mcnemar(x, x, alternative=side).p_value == 1
    assert mcnemar(x, x, method="mid-p").p_value == risk_difference(x, x).p_value == 1
    low, high = risk_difference(x, x).confidence_interval()
    assert low == -high
    with pytest.raises(ValueError, match="0 / 0"):
        odds_ratio(x, x)


def test_a_p_too_small_for_a_double_is_not_0():
    assert mcnemar([[0, 5000], [0, 0]]).p_value > 0
    assert risk_difference([[0, 5000], [0, 0]]).p_value > 0


# Differences and ratios ------------------------------------------------------------------------------------------

TANGO_IN_R = {  # a, b, c, d: z(-0.1), z(0.1), 95 % interval
    (80, 9, 3, 8): (3.75720865137688, -1.08755926694755, -0.00911560144611698, 0.137693009366631),
    (80, 3, 4, 13): (2.56331693720875, -3.03118208879138, -0.0732796183715278, 0.0508348186924297),
    (43, 0, 1, 0): (1.70856428594066, -2.44948974278318, -0.118077096982133, 0.0593932311166279),
    (20, 0, 0, 5): (1.66666666666667, -1.66666666666667, -0.133192250939048, 0.133192250939048),
    (5, 12, 1, 30): (3.98539393189282, 1.93450903692092, 0.0980546292653378, 0.372691391083495),
}
RATIO_IN_R = {  # a, b, c, d: z(0.9), z(1 / 0.9), 95 % interval
    (80, 9, 3, 8): (3.51699970955226, -0.822213127691847, 0.989336534453174, 1.18033532155829),
    (80, 3, 4, 13): (2.24307032145561, -2.72695033713935, 0.914002429062044, 1.06409748684346),
    (5, 12, 1, 30): (3.3356136183804, 2.76703772580562, 1.48339491582525, 5.97993449760626),
    (40, 2, 20, 10): (-2.90364485082153, -4.63180122041284, 0.567648962427451, 0.826523694850249),
}


@pytest.mark.parametrize("counts", TANGO_IN_R)
def test_the_score_of_a_difference_is_that_of_the_largest_likelihood(counts):
    table = np.reshape(counts, (2, 2))
    z_low, z_high, *ends = TANGO_IN_R[counts]
    normal = scipy_stats.norm
    assert risk_difference(table).confidence_interval() == pytest.approx(ends, rel=1e-10)
    result = tost_proportions(table, margin=0.1)
    assert result.p_value == pytest.approx(max(normal.sf(z_low), normal.cdf(z_high)), rel=1e-10)
    assert result.statistic == pytest.approx(z_low if -z_high >= z_low else z_high, rel=1e-10)
    assert non_inferiority_proportions(table, margin=0.1).p_value == pytest.approx(normal.sf(z_low), rel=1e-10)


@pytest.mark.parametrize("counts", RATIO_IN_R)
def test_the_score_of_a_ratio_is_that_of_the_largest_likelihood(counts):
    table = np.reshape(counts, (2, 2))
    z_low, z_high, *ends = RATIO_IN_R[counts]
    result = tost_ratio_proportions(table, margin=0.9)
    assert result.confidence_interval() == pytest.approx(ends, rel=1e-10)
    assert result.p_value == pytest.approx(max(scipy_stats.norm.sf(z_low), scipy_stats.norm.cdf(z_high)), rel=1e-10)
    assert result.estimate == pytest.approx((counts[0] + counts[1]) / (counts[0] + counts[2]))


def test_tango_where_it_is_known_in_closed_form():
    z2 = scipy_stats.norm.ppf(0.975) ** 2
    low, high = risk_difference([[0, 10], [0, 0]]).confidence_interval()  # one sided: a score interval of 10 in 10
    assert (low, high) == pytest.approx(((10 - z2) / (10 + z2), 1))
    low, high = risk_difference([[20, 0], [0, 5]]).confidence_interval()  # n δ² = z² δ (1 - δ)
    assert high == pytest.approx(z2 / (25 + z2))
    result = risk_difference([[80, 9], [3, 8]])
    assert result.statistic == pytest.approx(6 / np.sqrt(12))
    assert result.p_value == pytest.approx(scipy_stats.chi2.sf(3, 1))  # McNemar's chi-square, 36 / 12


@given(tables, st.floats(0.01, 0.9), levels)
def test_equivalence_is_the_interval_within_the_margin(table, margin, level):
    low, high = risk_difference(table).confidence_interval(2 * level - 1)
    assume(min(abs(high - margin), abs(low + margin)) > 1e-6)
    result = tost_proportions(table, margin=margin)
    assert (result.p_value < 1 - level) == (-margin < low and high < margin)
    assert (non_inferiority_proportions(table, margin=margin).p_value < 1 - level) == (low > -margin)
    assert result.p_value == pytest.approx(tost_proportions(swapped(table), margin=margin).p_value)
    (a, b), (c, _) = table
    if a + b + c:
        low, high = tost_ratio_proportions(table, margin=margin).confidence_interval(2 * level - 1)
        assume(abs(high * margin - 1) > 1e-6 and abs(low - margin) > 1e-6)
        result = tost_ratio_proportions(table, margin=margin)
        assert (result.p_value < 1 - level) == (margin < low and high < 1 / margin)
        back_low, _ = tost_ratio_proportions(swapped(table), margin=margin).confidence_interval(2 * level - 1)
        assert (1 / back_low if back_low else np.inf) == pytest.approx(high)
        assert low <= result.estimate <= high or result.estimate == pytest.approx(low)


def test_the_score_interval_covers():
    probabilities = np.array([0.75, 0.06, 0.04, 0.15])
    drawn, times = np.unique(np.random.default_rng(3).multinomial(60, probabilities, 4000), axis=0, return_counts=True)
    covered = 0
    for counts, count in zip(drawn, times, strict=True):
        low, high = risk_difference(counts.reshape(2, 2)).confidence_interval()
        covered += count * (low <= 0.02 <= high)
    assert 0.935 < covered / 4000 < 0.97


# Mantel–Haenszel -------------------------------------------------------------------------------------------------

MANTEL_HAENSZEL_IN_R = {  # mantelhaen.test, correct = FALSE
    "small": (SMALL, 6.36274831097397, (0.0116540890387033, 0.00582704451935168, 0.994172955480648), 3.30322580645161,
              (1.27985643227528, 8.52540992352571), (1.49061025459804, 7.32002258454224)),
    "admissions": (ADMISSIONS, 1.52460666044344, (0.216923697055518, 0.891538151472241, 0.108461848527759),
                   0.904696828258623, (0.77190736175935, 1.06032976443666), (0.791860301598543, 1.03361205178355)),
}  # fmt: skip
EXACT_IN_R = {  # mantelhaen.test, exact = TRUE; estimate and interval by our own solver there, R's stops at four digits
    "small": (SMALL, 22, (0.0190766762716256, 0.0103232470421436, 0.997370430968141),
              3.33262396596516, (1.17746381024346, 10.0591278809968)),
    "admissions": (ADMISSIONS, 1198, (0.227762526798206, 0.899007838762791, 0.115993668960254),
                   0.905069961340971, (0.76973035852583, 1.06342922808982)),
}  # fmt: skip


@pytest.mark.parametrize("case", MANTEL_HAENSZEL_IN_R)
def test_mantel_haenszel_is_that_of_r(case):
    strata, chi2, p_values, estimate, ends, ends_90 = MANTEL_HAENSZEL_IN_R[case]
    for side, p in zip(SIDES, p_values, strict=True):
        result = mantel_haenszel(strata, alternative=side, method="asymptotic")
        assert (result.statistic, result.p_value, result.estimate) == pytest.approx((chi2, p, estimate), rel=1e-10)
    assert result.confidence_interval() == pytest.approx(ends, rel=1e-10)
    assert result.confidence_interval(0.9) == pytest.approx(ends_90, rel=1e-10)


@pytest.mark.parametrize("case", EXACT_IN_R)
def test_the_exact_conditional_test_is_that_of_r(case):
    strata, total, p_values, estimate, ends = EXACT_IN_R[case]
    for side, p in zip(SIDES, p_values, strict=True):
        result = mantel_haenszel(strata, alternative=side)
        assert (result.statistic, result.p_value) == pytest.approx((total, p), rel=1e-10)
    assert result.estimate == pytest.approx(estimate, rel=1e-10)
    assert result.confidence_interval() == pytest.approx(ends, rel=1e-10)


def first_cells(table) -> dict[int, int]:
    """How many arrangements of a table's observations have each first cell, its margins given."""
    (a, b), (c, d) = table
    return {k: comb(a + b, k) * comb(c + d, a + c - k) for k in range(a + c + 1) if k <= a + b and a + c - k <= c + d}


stratified = st.lists(
    st.tuples(*[st.integers(0, 4)] * 4).map(lambda t: [[t[0], t[1]], [t[2], t[3]]]), min_size=1, max_size=3
)


def tells(table) -> bool:
    (a, b), (c, d) = table
    return min(a + b, c + d, a + c, b + d) > 0


@given(stratified, sides)
def test_the_exact_test_is_the_enumeration(strata, side):
    assume(any(map(tells, strata)))
    counts: dict[int, int] = {}
    for chosen in product(*(first_cells(table).items() for table in strata)):
        total, ways = sum(k for k, _ in chosen), np.prod([w for _, w in chosen], dtype=object)
        counts[total] = counts.get(total, 0) + ways
    observed = sum(table[0][0] for table in strata)
    as_extreme = {
        "greater": lambda s: s >= observed,
        "less": lambda s: s <= observed,
        "two-sided": lambda s: counts[s] <= counts[observed],
    }[side]
    expected = Fraction(sum(w for s, w in counts.items() if as_extreme(s)), sum(counts.values()))
    result = mantel_haenszel(strata, alternative=side)
    assert result.p_value == pytest.approx(float(expected), rel=1e-12)
    assert result.strata == sum(map(tells, strata))
    shuffled = mantel_haenszel([*strata[::-1], [[3, 5], [0, 0]], [[0, 0], [0, 0]]], alternative=side)
    assert (shuffled.p_value, shuffled.estimate) == pytest.approx((result.p_value, result.estimate))


@given(stratified, st.sampled_from(("exact", "asymptotic")))
def test_swapping_the_groups_inverts_the_odds_ratio(strata, method):
    assume(any(map(tells, strata)))
    result, inverse = (mantel_haenszel(tables, method=method) for tables in (strata, [table[::-1] for table in strata]))
    assert result.p_value == pytest.approx(inverse.p_value)
    assert 0 < result.p_value <= 1
    if result.estimate in (0, np.inf):
        assert {result.estimate, inverse.estimate} == {0, np.inf}
        if method == "asymptotic":
            with pytest.raises(ValueError, match="no interval"):
                result.confidence_interval()
        return
    assert result.estimate * inverse.estimate == pytest.approx(1)
    (low, high), (inverse_low, inverse_high) = result.confidence_interval(), inverse.confidence_interval()
    assert low < result.estimate < high
    assert (low * inverse_high, high * inverse_low) == pytest.approx((1, 1))


def test_an_end_of_the_exact_interval_has_its_level():
    """Tables whose arm odds are e^δ higher: the noncentral hypergeometric distribution of one table, by scipy."""
    low, high = mantel_haenszel([[7, 3], [2, 9]]).confidence_interval(0.9)
    distribution = scipy_stats.nchypergeom_fisher
    assert distribution.sf(6, 21, 9, 10, low) == pytest.approx(0.05)
    assert distribution.cdf(7, 21, 9, 10, high) == pytest.approx(0.05)


@given(tables)
def test_pairs_as_strata_are_mcnemars_test(table):
    x, y = outcomes(table)
    assume(x.tolist() != y.tolist())
    right = np.concatenate([x, y])
    arm, example = np.repeat([1, 0], len(x)), np.tile(np.arange(len(x)), 2)
    result = mantel_haenszel(arm, right, strata=example)
    assert result.p_value == pytest.approx(mcnemar(x, y).p_value)
    assert result.estimate == pytest.approx(odds_ratio(x, y).estimate)
    assert result.confidence_interval() == pytest.approx(odds_ratio(x, y).confidence_interval())
    b, c = mcnemar(x, y).b, mcnemar(x, y).c
    assert mantel_haenszel(arm, right, strata=example, method="asymptotic").statistic == pytest.approx(
        (b - c) ** 2 / (b + c)
    )


def test_observations_and_tables_say_the_same():
    strata, arm, outcome = [], [], []
    for name, ((a, b), (c, d)) in zip("pqr", SMALL, strict=True):
        strata += [name] * (a + b + c + d)
        arm += [1] * (a + b) + [0] * (c + d)
        outcome += [1] * a + [0] * b + [1] * c + [0] * d
    assert mantel_haenszel(arm, outcome, strata=strata) == mantel_haenszel(SMALL)


def test_thousands_of_examples_keep_their_digits():
    p = mantel_haenszel([[[900, 400], [700, 600]], [[800, 500], [650, 650]]], alternative="greater").p_value
    first, second = (scipy_stats.hypergeom(2600, right, 1300) for right in (1600, 1450))
    cell = np.arange(1301)
    expected = (first.pmf(cell) * second.sf(1700 - cell - 1)).sum()
    assert p == pytest.approx(expected, rel=1e-9)
    assert mantel_haenszel([[2000, 0], [0, 2000]]).p_value > 0


# Errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: mcnemar([1, 0, 1], [1, 0]), "same examples"),
        (lambda: mcnemar([1, 0, 2], [1, 0, 0]), r"x\[2\] is 2"),
        (lambda: mcnemar([1, 0], [1, np.nan]), r"y\[1\] is nan"),
        (lambda: mcnemar(["a"], ["b"]), "list of 0 and 1"),
        (lambda: mcnemar([], []), "list of 0 and 1|one or more"),
        (lambda: mcnemar([1, 0, 1]), "2 × 2 table"),
        (lambda: mcnemar([[1, -1], [2, 3]]), "whole numbers"),
        (lambda: mcnemar([[1, 0.5], [2, 3]]), "whole numbers"),
        (lambda: mcnemar([[1, np.inf], [2, 3]]), "whole numbers"),
        (lambda: mcnemar([[0, 0], [0, 0]]), "no example"),
        (lambda: mcnemar([[1, 2], [3, 4]], method="midp"), "method is 'midp'"),
        (lambda: mcnemar([[1, 2], [3, 4]], alternative="larger"), "alternative is 'larger'"),
        (lambda: tost_proportions([[1, 2], [3, 4]], margin=1.5), "margin is 1.5"),
        (lambda: tost_proportions([[1, 2], [3, 4]], margin=float("nan")), "margin is nan"),
        (lambda: tost_ratio_proportions([[0, 0], [0, 4]], margin=0.9), "wrong on all examples"),
        (lambda: mantel_haenszel([[[3, 0], [2, 0]], [[0, 0], [2, 5]]]), "empty row or column"),
        (lambda: mantel_haenszel(SMALL, method="fisher"), "method is 'fisher'"),
        (lambda: mantel_haenszel(SMALL, strata=[1, 2, 3]), "strata go with x and y"),
        (lambda: mantel_haenszel([1, 0, 1], [1, 0, 0], strata=[1, 2]), "a stratum"),
        (lambda: mcnemar([[1, 2], [3, 4]]).confidence_interval(95), "level is 95"),
    ],
)
def test_errors_say_what_was_wrong(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
