"""Values from R 4.2.2 come from tests/stats/reference_ranks.R; exact p-values from rational enumeration."""

from fractions import Fraction
from itertools import combinations, pairwise, permutations, product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from kdstats.stats import wilcoxon
from kdstats.stats.ranks import cliffs_delta, friedman, friedman_pairs, jonckheere, mann_whitney, page_l

SIDES = ("two-sided", "greater", "less")
X = [0.912, 0.931, 0.874, 0.957, 0.903, 0.942, 0.889, 0.968]
Y = [0.894, 0.935, 0.851, 0.921, 0.892, 0.913, 0.882]

sides = st.sampled_from(SIDES)
samples = st.lists(st.integers(-3, 3), min_size=2, max_size=5)
groups = st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=3), min_size=2, max_size=4).filter(
    lambda g: sum(map(len, g)) <= 6
)
OPPOSITE = {"two-sided": "two-sided", "greater": "less", "less": "greater"}


def share(values: list, observed, side: str) -> float:
    """P of values at least as extreme as the observed one, equally likely all."""
    upper, lower = (Fraction(sum(c(v) for v in values), len(values)) for c in (observed.__le__, observed.__ge__))
    return float({"greater": upper, "less": lower, "two-sided": min(1, 2 * min(upper, lower))}[side])


def wins(a, b) -> Fraction:
    """How often a is above b, ties counting ½."""
    return sum((Fraction((v > w) - (v < w) + 1, 2) for v in a for w in b), Fraction(0))


def trend(parts) -> Fraction:
    return sum((wins(high, low) for low, high in combinations(parts, 2)), Fraction(0))


def split(values, sizes) -> list:
    ends = np.cumsum([0, *sizes])
    return [values[i:j] for i, j in pairwise(ends)]


def midranks(row) -> list[Fraction]:
    return [1 + wins([v], row) - Fraction(1, 2) for v in row]


# Mann–Whitney ----------------------------------------------------------------------------------------------------


def test_mann_whitney_is_that_of_r():
    for side, p in zip(SIDES, (0.280963480963481, 0.140481740481741, 0.884071484071484), strict=True):
        result = mann_whitney(X, Y, alternative=side)
        assert (result.statistic, result.p_value) == pytest.approx((38, p), rel=1e-10)
        assert result.test == "Mann-Whitney, exact"
    assert result.estimate == pytest.approx(0.0215, rel=1e-10)
    for level, ends in ((0.9, (-0.008, 0.052)), (0.95, (-0.018, 0.061)), (0.99, (-0.024, 0.075))):
        assert result.confidence_interval(level) == pytest.approx(ends, rel=1e-10)


def test_mann_whitney_with_ties_is_the_enumeration_in_r():
    for x, y, u, greater, less in (
        ([3, 5, 5, 6, 8, 9, 9], [1, 2, 3, 3, 5, 6], 35.5, 0.0221445221445221, 0.989510489510489),
        ([1, 1, 2, 2, 2], [1, 2, 3, 3, 3, 3, 4], 5.5, 0.992424242424242, 0.0227272727272727),
    ):
        assert mann_whitney(x, y).statistic == u
        assert mann_whitney(x, y, alternative="greater").p_value == pytest.approx(greater, rel=1e-10)
        assert mann_whitney(x, y, alternative="less").p_value == pytest.approx(less, rel=1e-10)


@given(samples, samples, sides)
def test_mann_whitney_is_the_enumeration_also_of_floats_with_ties(x, y, side):
    both = [*x, *y]
    chosen = combinations(range(len(both)), len(x))
    values = [wins([both[i] for i in c], [both[i] for i in range(len(both)) if i not in c]) for c in chosen]
    expected = share(values, wins(x, y), side)
    floats = [0.7 + 0.1 * np.array(v) for v in (x, y)]  # 0.1 is no binary fraction
    result = mann_whitney(*floats, alternative=side)
    assert result.p_value == pytest.approx(expected, rel=1e-13)
    assert result.statistic == wins(x, y)
    assert result.estimate == pytest.approx(0.1 * np.median(np.subtract.outer(x, y)))


@pytest.mark.parametrize(("n", "m"), [(4, 9), (20, 20), (60, 41), (150, 150)])
def test_mann_whitney_without_ties_is_that_of_scipy(n, m):
    generator = np.random.default_rng(n)
    x, y = generator.normal(size=n) + 0.2, generator.normal(size=m)
    for side in SIDES:
        expected = scipy_stats.mannwhitneyu(x, y, alternative=side, method="exact")
        result = mann_whitney(x, y, alternative=side)
        assert (result.statistic, result.p_value) == pytest.approx((expected.statistic, expected.pvalue), rel=1e-10)


def test_the_smallest_p():
    for n, floor in ((3, 1 / 20), (4, 1 / 70), (5, 1 / 252), (10, 1 / 184_756)):
        low, high = np.arange(n) / 7, 5 + np.arange(n) / 7
        assert mann_whitney(high, low, alternative="greater").p_value == pytest.approx(floor, rel=1e-13)
        assert mann_whitney(high, low, alternative="less").p_value == 1
        assert mann_whitney(high, low).p_value == pytest.approx(2 * floor, rel=1e-13)


@given(samples, samples, sides)
def test_swapping_samples_and_reordering_them(x, y, side):
    result, reverse = mann_whitney(x, y, alternative=side), mann_whitney(y[::-1], x, alternative=OPPOSITE[side])
    assert result.p_value == pytest.approx(reverse.p_value)
    assert 0 < result.p_value <= 1
    assert result.estimate == -reverse.estimate
    low, high = result.confidence_interval(0.8)
    assert reverse.confidence_interval(0.8) == (-high, -low)
    assert low <= result.estimate <= high
    assert mann_whitney(np.exp(x), np.exp(y), alternative=side).p_value == result.p_value  # ranks alone count
    assert mann_whitney(x, x).p_value == 1


@given(samples, samples, st.sampled_from((0.5, 0.8, 0.9)))
def test_the_interval_inverts_the_test(x, y, level):
    low, high = mann_whitney(x, y).confidence_interval(level)
    steps = np.unique(np.subtract.outer(x, y)).astype(float)
    between = [steps[0] - 0.5, *(steps[:-1] + np.diff(steps) / 2), steps[-1] + 0.5]
    for shift in between:  # a tie at a difference itself may only make the interval's end a closed one
        inside = all(
            mann_whitney(np.array(x) - shift, y, alternative=side).p_value > (1 - level) / 2 + 1e-12
            for side in ("greater", "less")
        )
        assert inside == (low < shift < high)


def test_an_interval_that_no_data_of_this_size_can_bound():
    result = mann_whitney([4.0, 5.0, 6.0], [1.0, 2.0, 3.0])
    assert result.confidence_interval(0.95) == (-np.inf, np.inf)  # 1/20 > .025
    assert result.confidence_interval(0.9) == (1.0, 5.0)
    assert result.confidence_interval(0.8) == (2.0, 4.0)  # 2/20 is no more than .1 either


def test_larger_samples_are_drawn_and_say_so():
    generator = np.random.default_rng(2)
    x, y = generator.normal(size=160) + 0.2, generator.normal(size=160)
    expected = scipy_stats.mannwhitneyu(x, y, alternative="greater", method="asymptotic").pvalue
    result = mann_whitney(x, y, alternative="greater", draws=4000, seed=1)
    assert result.test == "Mann-Whitney, 4,000 draws"
    assert abs(result.p_value - expected) < 5 * np.sqrt(expected / 4000) + 1e-3
    assert result == mann_whitney(x, y, alternative="greater", draws=4000, seed=1)
    assert mann_whitney(x + 9, y, draws=999).p_value == 2 / 1000  # never 0
    low, high = result.confidence_interval()
    shifts = np.sort(np.subtract.outer(x, y).ravel())
    half = 1.96 * np.sqrt(160 * 160 * 321 / 12)  # the normal approximation of the rank
    assert low == pytest.approx(shifts[round(12800 - half)], abs=0.03)
    assert high == pytest.approx(shifts[round(12800 + half)], abs=0.03)


def test_many_rows_are_each_their_own():
    x, y = (
        np.random.default_rng(0).integers(0, 9, (2, 3, 6)) / 7,
        np.random.default_rng(1).integers(0, 9, (2, 3, 4)) / 7,
    )
    for test in (mann_whitney, cliffs_delta):
        result = test(x, y)
        low, high = result.confidence_interval(0.9)
        assert result.p_value.shape == low.shape == high.shape == (2, 3)
        for i in np.ndindex(2, 3):
            one = test(x[i], y[i])
            assert (result.p_value[i], result.statistic[i], result.estimate[i]) == (
                pytest.approx(one.p_value), pytest.approx(one.statistic), pytest.approx(one.estimate),
            )  # fmt: skip
            assert (low[i], high[i]) == pytest.approx(one.confidence_interval(0.9))
        assert len(result.to_frame()) == 6


# Cliff's delta ---------------------------------------------------------------------------------------------------


def test_cliffs_delta_is_that_of_its_definition_in_r():
    for x, y, delta, error, low, high, p in (
        (X, Y, 0.357142857142857, 0.301004193613801, -0.253790082077982, 0.764382882025667, 0.267751987420974),
        ([3, 5, 5, 6, 8, 9, 9], [1, 2, 3, 3, 5, 6],
         0.69047619047619, 0.22197710809616, 0.0915445303110573, 0.922556163996247, 0.0244458012876019),
    ):  # fmt: skip
        result = cliffs_delta(x, y)
        assert (result.estimate, result.standard_error, result.p_value) == pytest.approx((delta, error, p), rel=1e-10)
        assert result.confidence_interval() == pytest.approx((low, high), rel=1e-10)


@given(samples, samples, st.floats(0.5, 0.999))
def test_cliffs_delta_stays_in_its_range_and_agrees_with_u(x, y, level):
    result, reverse = cliffs_delta(x, y), cliffs_delta(y, x)
    assert result.estimate == pytest.approx(2 * mann_whitney(x, y).statistic / (len(x) * len(y)) - 1)
    if len({*x, *y}) == 1:
        assert (result.estimate, result.p_value) == (0, 1)
        assert np.isnan(result.confidence_interval()).all()
        return
    low, high = result.confidence_interval(level)
    assert -1 <= low <= result.estimate + 1e-12 and result.estimate - 1e-12 <= high <= 1 and low < high
    assert reverse.confidence_interval(level) == pytest.approx((-high, -low))
    assert (result.estimate, result.p_value) == pytest.approx((-reverse.estimate, reverse.p_value))
    if abs(1 - level - result.p_value) > 1e-9:
        assert (result.p_value < 1 - level) == (not low <= 0 <= high)


def test_samples_that_do_not_overlap_have_an_interval():
    z2 = scipy_stats.norm.ppf(0.975) ** 2
    for x, y, k in (([4, 5, 6, 7], [1, 2, 3], 3), ([5, 6], [1, 2, 3, 3, 3], 2)):
        assert cliffs_delta(x, y).confidence_interval() == (pytest.approx((k - z2) / (k + z2)), 1)
        assert cliffs_delta(x, y).p_value == pytest.approx(2 * scipy_stats.norm.sf(np.sqrt(k)))


def test_cliffs_delta_covers():
    generator = np.random.default_rng(4)
    truth = 2 * scipy_stats.norm.cdf(1 / np.sqrt(2)) - 1
    low, high = cliffs_delta(
        generator.normal(1, 1, (4000, 10)), generator.normal(0, 1, (4000, 10))
    ).confidence_interval()
    assert 0.94 < ((low <= truth) & (truth <= high)).mean() < 0.98


# Jonckheere–Terpstra ---------------------------------------------------------------------------------------------


def test_jonckheere_is_the_enumeration_in_r():
    for parts, j, greater, less in (
        ([[3, 5, 4], [5, 6, 6], [6, 7, 9]], 25.5, 0.00357142857142857, 1),
        ([[2.1, 4.3], [3.2, 4.4, 5.6], [3.9, 5.1, 6.3]], 16, 0.0964285714285714, 0.942857142857143),
        ([[1, 1, 2], [2, 1], [2, 2], [3, 2]], 23.5, 0.0317460317460317, 0.992063492063492),
    ):
        assert jonckheere(parts).statistic == j
        assert jonckheere(parts).p_value == pytest.approx(greater, rel=1e-10)
        assert jonckheere(parts, alternative="less").p_value == pytest.approx(less, rel=1e-10)
        assert jonckheere(parts).test == "Jonckheere-Terpstra, exact"


@given(groups, sides)
def test_jonckheere_is_the_enumeration(parts, side):
    sizes, scores = [len(part) for part in parts], [v for part in parts for v in part]
    values = [trend(split(order, sizes)) for order in permutations(scores)]
    result = jonckheere([0.7 + 0.1 * np.array(part) for part in parts], alternative=side)
    assert result.p_value == pytest.approx(share(values, trend(parts), side), rel=1e-12)
    assert result.statistic == trend(parts)


@given(groups, sides)
def test_reversing_the_groups_reverses_the_trend(parts, side):
    result, reverse = jonckheere(parts, alternative=side), jonckheere(parts[::-1], alternative=OPPOSITE[side])
    assert (result.p_value, result.estimate) == pytest.approx((reverse.p_value, -reverse.estimate))
    assert 0 < result.p_value <= 1
    labels = np.repeat([0.5, 2, 7, 80][: len(parts)], [len(part) for part in parts])
    scores = np.concatenate(parts)
    order = np.random.default_rng(len(scores)).permutation(len(scores))
    assert jonckheere(scores[order], labels[order], alternative=side) == result


def test_jonckheere_of_two_groups_is_mann_whitney_and_of_single_scores_kendall():
    for side in SIDES:
        result, two = jonckheere([Y, X], alternative=side), mann_whitney(X, Y, alternative=side)
        assert (result.statistic, result.p_value) == (two.statistic, pytest.approx(two.p_value))
        assert result.estimate == pytest.approx(cliffs_delta(X, Y).estimate)
        expected = scipy_stats.kendalltau(np.arange(8), X, method="exact", alternative=side)
        single = jonckheere([[v] for v in X], alternative=side)
        assert (single.estimate, single.p_value) == pytest.approx((expected.statistic, expected.pvalue))


def test_large_ladders():
    generator = np.random.default_rng(7)
    parts = [generator.normal(0.05 * a, 1, 30) for a in range(5)]
    pairs, n = 10 * 30**2, 150
    deviation = np.sqrt((n**2 * (2 * n + 3) - 5 * 30**2 * 63) / 72)  # Jonckheere's variance without ties
    exact = jonckheere(parts)
    assert exact.test.endswith("exact")
    assert exact.p_value == pytest.approx(
        scipy_stats.norm.sf((exact.statistic - 0.5 - pairs / 2) / deviation), rel=0.02
    )
    tied = jonckheere([part.round(1) for part in parts], draws=2000, seed=3)
    assert tied.test.endswith("2,000 draws")
    assert tied.p_value == pytest.approx(exact.p_value, abs=0.05)
    assert tied == jonckheere([part.round(1) for part in parts], draws=2000, seed=3)
    rising = jonckheere([part.round(1) + 9 * a for a, part in enumerate(parts)], draws=99)
    assert (rising.p_value, rising.estimate) == (0.01, 1)


def ladder(per_group=3, students=2) -> pd.DataFrame:
    """Teachers of three capacities, with students: a teacher's own level counts for more than its capacity."""
    generator = np.random.default_rng(5)
    rows = [
        {"arm": "kd", "capacity": capacity, "teacher": f"{capacity}-{t}", "seed": seed, "metric": "accuracy",
         "value": 0.7 + 0.01 * a + 0.005 * t + 0.001 * generator.normal()}
        for a, capacity in enumerate((18, 50, 101)) for t in range(per_group) for seed in range(students)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_a_ladder_in_a_table_is_its_teacher_means():
    table = ladder()
    means = [part.groupby("teacher")["value"].mean().to_numpy() for _, part in table.groupby("capacity")]
    result = jonckheere(table.sample(frac=1, random_state=1), by="capacity", metric="accuracy")
    assert result == jonckheere(means)
    assert result.n == 9
    names = table.assign(
        capacity=pd.Categorical(table["capacity"].map("r{}".format), ["r18", "r50", "r101"], ordered=True)
    )
    assert jonckheere(names, by="capacity") == result


def test_a_ladder_that_is_none_is_refused():
    table = ladder()
    with pytest.raises(ValueError, match="teacher 0 is in 3 groups of capacity"):
        jonckheere(table.assign(teacher=0), by="capacity")
    with pytest.raises(ValueError, match="there twice"):
        jonckheere(pd.concat([table, table]), by="capacity")
    with pytest.raises(ValueError, match="nothing says in which order"):
        jonckheere(table.assign(capacity=table["capacity"].astype(str)), by="capacity")
    with pytest.raises(ValueError, match="teacher missing"):
        jonckheere(table.drop(columns="teacher"), by="capacity")
    with pytest.raises(ValueError, match="takes by="):
        jonckheere(table)
    with pytest.raises(ValueError, match="x is none"):
        jonckheere([X, Y], by="capacity")
    with pytest.raises(ValueError, match="several values of metric"):
        jonckheere(pd.concat([table, table.assign(metric="agreement")]), by="capacity")
    with pytest.raises(ValueError, match="several arms"):
        jonckheere(table.assign(arm=table["teacher"]), by="capacity")


# Page's L --------------------------------------------------------------------------------------------------------

blocks = st.tuples(st.integers(2, 3), st.integers(3, 4)).flatmap(
    lambda shape: st.lists(
        st.lists(st.integers(0, 3), min_size=shape[1], max_size=shape[1]), min_size=shape[0], max_size=shape[0]
    )
)


@pytest.mark.parametrize(("n", "k"), [(2, 3), (5, 4), (8, 6), (4, 8)])
def test_page_without_ties_is_that_of_scipy(n, k):
    x = np.random.default_rng(n).normal(0.2 * np.arange(k), 1, (n, k))
    expected = scipy_stats.page_trend_test(x, method="exact")
    result = page_l(x)
    assert (result.statistic, result.p_value) == pytest.approx((expected.statistic, expected.pvalue), rel=1e-10)
    rho = np.mean([scipy_stats.spearmanr(np.arange(k), row).statistic for row in x])
    assert result.estimate == pytest.approx(rho)


def test_page_with_ties_is_the_enumeration_in_r():
    x = [[1, 2, 2, 3], [2, 1, 3, 3], [1, 1, 2, 2]]
    assert page_l(x).statistic == 87
    assert page_l(x).p_value == pytest.approx(0.00231481481481481, rel=1e-10)
    assert page_l(x, alternative="less").p_value == pytest.approx(0.998842592592593, rel=1e-10)


@given(blocks, sides)
def test_page_is_the_enumeration(x, side):
    def weighted(row):
        return sum((j * r for j, r in enumerate(row, 1)), Fraction(0))

    orders = [[weighted(order) for order in set(permutations(midranks(row)))] for row in x]
    values = [sum(choice) for choice in product(*orders)]
    observed = sum(weighted(midranks(row)) for row in x)
    result = page_l(0.7 + 0.1 * np.array(x), alternative=side)
    assert result.p_value == pytest.approx(share(values, observed, side), rel=1e-12)
    assert result.statistic == observed
    reverse = page_l(np.array(x)[::-1, ::-1], alternative=OPPOSITE[side])
    assert (reverse.p_value, -reverse.estimate) == pytest.approx((result.p_value, result.estimate))


def test_a_large_page_is_drawn_and_says_so():
    x = np.random.default_rng(3).normal(0.05 * np.arange(12), 1, (6, 12))
    expected = scipy_stats.page_trend_test(x, method="asymptotic").pvalue
    result = page_l(x, draws=4000)
    assert result.test == "Page's L, 4,000 draws"
    assert result.p_value == pytest.approx(expected, abs=0.04)
    assert page_l(np.sort(x, axis=1), draws=99).p_value == 0.01


def cells(names) -> pd.DataFrame:
    """Three datasets × four capacities, the teacher of each cell named by a function."""
    generator = np.random.default_rng(6)
    rows = [
        {"dataset": dataset, "capacity": c, "teacher": names(d, c), "seed": seed, "value": generator.normal(c, 2)}
        for d, dataset in enumerate(("cifar", "svhn", "digits")) for c in (1, 2, 4, 8) for seed in range(2)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_page_of_a_table_averages_students_in_real_blocks():
    table = cells(lambda d, c: c)  # within a dataset each capacity has its teacher; other datasets, other networks
    matrix = table.groupby(["dataset", "capacity"])["value"].mean().unstack().to_numpy()
    assert page_l(table.sample(frac=1, random_state=0), by="capacity", block="dataset") == page_l(matrix)
    with pytest.raises(ValueError, match="lacks a treatment"):
        page_l(table[(table["dataset"] != "svhn") | (table["capacity"] != 4)], by="capacity", block="dataset")


def test_student_seeds_are_no_blocks():
    table = cells(lambda d, c: c).query("dataset == 'svhn'")
    with pytest.raises(ValueError, match=r"teacher 1 is in several cells of seed × capacity.*\.11 to \.25"):
        page_l(table, by="capacity", block="seed")
    with pytest.raises(ValueError, match="teacher 0 is in several cells of dataset × capacity"):
        page_l(cells(lambda d, c: 0), by="capacity", block="dataset")
    with pytest.raises(ValueError, match="takes by="):
        page_l(table, by="capacity")
    with pytest.raises(ValueError, match="lacks"):
        page_l(table, by="depth", block="dataset")


# Friedman --------------------------------------------------------------------------------------------------------


def test_friedman_is_that_of_r():
    no_ties = [[0.81, 0.84, 0.86], [0.78, 0.80, 0.83], [0.80, 0.79, 0.85], [0.82, 0.83, 0.84]]
    ties = [[1, 2, 2, 3], [2, 1, 3, 3], [1, 1, 2, 2], [1, 4, 2, 3]]
    for x, statistic, p in ((no_ties, 6.5, 0.0416666666666667), (ties, 6.58333333333333, 0.0821759259259259)):
        result = friedman(x)
        assert (result.statistic, result.p_value) == pytest.approx((statistic, p), rel=1e-10)
        assert result.test == "Friedman, exact"
    more = [[1, 2, 2, 3, 5], [2, 1, 3, 3, 4], [1, 1, 2, 2, 2], [1, 4, 2, 3, 5], [5, 4, 3, 2, 1], [1, 3, 2, 5, 4]]
    assert friedman(more).statistic == pytest.approx(6.76106194690265, rel=1e-10)


@given(blocks)
def test_friedman_is_the_enumeration(x):
    ranks = [midranks(row) for row in x]

    def spread(rows):
        return sum(sum(column) ** 2 for column in zip(*rows, strict=True))

    values = [spread(rows) for rows in product(*(set(permutations(row)) for row in ranks))]
    result = friedman(0.7 + 0.1 * np.array(x))
    assert result.p_value == pytest.approx(share(values, spread(ranks), "greater"), rel=1e-12)
    assert 0 <= result.estimate <= 1 + 1e-12
    again = friedman(np.roll(x, 1, axis=1)[::-1])
    assert (again.p_value, again.statistic) == pytest.approx((result.p_value, result.statistic))


def test_friedman_beyond_enumeration():
    x = np.random.default_rng(8).normal(0.2 * np.arange(7), 1, (12, 7))
    expected = scipy_stats.friedmanchisquare(*x.T)
    result = friedman(x, draws=4000)
    assert result.test == "Friedman, 4,000 draws"
    assert result.statistic == pytest.approx(expected.statistic)
    assert result.p_value == pytest.approx(expected.pvalue, abs=0.05)
    assert friedman(np.tile(np.arange(9.0), (9, 1)), draws=99).p_value == 0.01
    assert friedman(np.ones((4, 3))).p_value == 1
    assert friedman(np.ones((4, 3))).statistic == 0


def arms() -> pd.DataFrame:
    generator = np.random.default_rng(9)
    rows = [
        {"arm": arm, "teacher": t, "seed": s, "metric": "agreement",
         "value": 0.8 + 0.02 * a + 0.01 * generator.normal()}
        for a, arm in enumerate(("ce", "kd", "smooth")) for t in range(6) for s in range(2)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_friedman_of_a_table_takes_teachers_as_blocks():
    table = arms()
    matrix = table.groupby(["teacher", "arm"])["value"].mean().unstack()
    assert friedman(table, metric="agreement") == friedman(matrix.to_numpy())
    two = friedman(table, arms=["smooth", "ce"])
    assert two == friedman(matrix[["smooth", "ce"]].to_numpy())
    assert friedman(table.query("teacher == 2"), scope="each").n == 2
    with pytest.raises(ValueError, match="nothing to compare"):
        friedman(table, arms=["ce"])
    with pytest.raises(ValueError, match="one side alone"):
        friedman(table[(table["arm"] != "kd") | (table["teacher"] > 0)])


def test_pairs_after_friedman_are_wilcoxon_tests_with_holm():
    table = arms()
    matrix = table.groupby(["teacher", "arm"])["value"].mean().unstack()
    pairs = friedman_pairs(table)
    assert list(zip(pairs["arm"], pairs["control"], strict=True)) == [("ce", "kd"), ("ce", "smooth"), ("kd", "smooth")]
    for row in pairs.itertuples():
        alone = wilcoxon(matrix[row.arm], matrix[row.control])
        assert (row.p_value, row.statistic, row.estimate) == (alone.p_value, alone.statistic, alone.estimate)
    order = np.argsort(pairs["p_value"], kind="stable")
    holm = np.minimum(1, np.maximum.accumulate(pairs["p_value"].to_numpy()[order] * [3, 2, 1]))
    assert pairs["p_adjusted"].to_numpy()[order] == pytest.approx(holm)
    assert friedman_pairs(matrix.to_numpy(), arms=list(matrix)).equals(pairs)
    assert friedman_pairs(matrix.to_numpy())["control"].tolist() == [1, 2, 2]
    # what two arms show does not depend on a third
    assert friedman_pairs(table, arms=["ce", "kd"])["p_value"].item() == pairs["p_value"][0]


# Tables and errors -----------------------------------------------------------------------------------------------


def test_two_samples_from_a_table():
    table = pd.DataFrame({"arm": ["a"] * 8 + ["b"] * 7, "seed": [*range(8), *range(7)], "value": X + Y})
    assert mann_whitney(table, arm="a", control="b") == mann_whitney(X, Y)
    assert cliffs_delta(table, arm="a", control="b") == cliffs_delta(X, Y)
    with pytest.raises(ValueError, match="share teachers"):
        mann_whitney(table.assign(teacher=table["seed"]), arm="a", control="b")


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: mann_whitney(X), "there is no y"),
        (lambda: mann_whitney([1.0], [2.0, 3.0]), "two or more"),
        (lambda: mann_whitney([1.0, np.nan], [2.0, 3.0]), r"x\[1\] is nan"),
        (lambda: mann_whitney(np.zeros((2, 3)), np.zeros((3, 3))), "leading axes"),
        (lambda: mann_whitney(np.arange(1500), np.arange(600)), "2,100 scores"),
        (lambda: mann_whitney([0, 1] * 15, [1, 0, 1] * 10), "examples of one network"),
        (lambda: mann_whitney(X, Y, alternative="up"), "alternative is 'up'"),
        (lambda: mann_whitney(X, Y, draws=0), "draws is 0"),
        (lambda: mann_whitney(X, Y).confidence_interval(1), "level is 1"),
        (lambda: cliffs_delta(X, Y).confidence_interval(0), "level is 0"),
        (lambda: jonckheere(X), "there is no y"),
        (lambda: jonckheere([X]), "two or more groups"),
        (lambda: jonckheere([X, []]), "two or more groups"),
        (lambda: jonckheere([X, [np.inf]]), r"x\[1\]\[0\] is inf"),
        (lambda: jonckheere(X, [1, 2]), "the group of each score"),
        (lambda: jonckheere([1, 2, 3], [1, 2, np.nan]), "group of score 2 is missing"),
        (lambda: jonckheere([1, 2, 3], ["a", "b", "c"]), "nothing says in which order"),
        (lambda: jonckheere([X, Y]).confidence_interval(), "no interval"),
        (lambda: page_l([[1, 2, 3]]), "two or more blocks"),
        (lambda: page_l([[1, 2], [2, 1]]), "3 or more treatments"),
        (lambda: page_l([[1, 2, 3], [3, 1, 2]], by="x"), "x is none"),
        (lambda: friedman([1, 2, 3]), r"shape \(3,\)"),
        (lambda: friedman([[1, 2, 3], [3, 1, 2]], metric="agreement"), "x is none"),
        (lambda: friedman_pairs([[1, 2], [2, 1]], arms=["a"]), "one name a column"),
    ],
)
def test_errors_say_what_was_wrong(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


def test_answers_to_examples_are_no_replicates_of_a_rank_test() -> None:
    right = np.random.default_rng(0).integers(0, 2, (100, 3))
    for refused in (lambda: friedman(right), lambda: page_l(right), lambda: jonckheere(right.T)):
        with pytest.raises(ValueError, match=r"all 0 or 1.*examples of one network are not replicates"):
            refused()
    with pytest.raises(ValueError, match="a mapping, which has no order"):
        jonckheere({"small": [1.0, 2.0], "large": [2.0, 3.0]})


def test_unpaired_samples_count_clusters_once() -> None:
    rows = [
        ("kd", 1, 3.0, 1),
        ("kd", 2, 5.0, 1),
        ("kd", 3, 6.0, 3),
        ("ce", 4, 1.0, 4),
        ("ce", 5, 2.0, 4),
        ("ce", 6, 0.0, 6),
    ]
    table = pd.DataFrame(rows, columns=["arm", "teacher", "value", "cluster"]).assign(seed=0)
    result = mann_whitney(table, arm="kd", control="ce", alternative="greater")
    assert (result.n, result.p_value) == (4, pytest.approx(1 / 6))  # two clusters a side: 1 / C(4, 2)
    with pytest.raises(ValueError, match="share clusters"):
        mann_whitney(table.assign(cluster=1), arm="kd", control="ce")
    with pytest.raises(ValueError, match="scope is 'these'"):
        mann_whitney(table, arm="kd", control="ce", scope="these")
