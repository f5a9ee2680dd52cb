"""Rank tests of two samples, of ordered groups and of blocks, exact with ties.

Scores within 1e-10 of themselves are one value, wherever they are ranked (``kdstats.stats.ties``). Where a null
distribution is too large to be worked out it is sampled, p = (b + 1) / (m + 1), and the result's ``test`` says so.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from itertools import combinations, permutations
from math import comb, prod
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from kdstats.stats.frames import by_replicate, paired, refuse_examples, selected, takes_tables, unpaired
from kdstats.stats.multiplicity import adjust
from kdstats.stats.paired import wilcoxon
from kdstats.stats.results import (
    Alternative,
    Array,
    Interval,
    TestResult,
    check_alternative,
    check_level,
    numbers,
    plain,
    t_p_value,
)
from kdstats.stats.ties import TIE, merged, rounding, tie_groups, undecided

Integers = NDArray[np.int64]
Tails = tuple[Array, Array]  # P(S ≤ s) and P(S ≥ s) at s = 0, 1, …

_MANY = 2_000  # scores in one test of groups; beyond, they are hardly networks
_PAIRS = 22_500  # 150 against 150: up to here without ties
_STATES = 30_000  # with ties, 150 against 150 and five groups of six
_TREATMENTS = 10  # of Page's L: 2ᵏ states a block
_SPREAD = 40_000  # of the sum of Page's L over blocks
_SUMS = 3_000_000  # of rank-sum vectors times orders, in one block of Friedman's test


# Two samples -----------------------------------------------------------------------------------------------------


@takes_tables(unpaired)
def mann_whitney(
    x: ArrayLike,
    y: ArrayLike | None = None,
    *,
    alternative: Alternative = "two-sided",
    draws: int = 99_999,
    seed: int = 0,
) -> TestResult:
    """Mann–Whitney test of two unpaired samples, exact with ties.

    U = #{(i, j): xᵢ > yⱼ} + ½ #{xᵢ = yⱼ}. Under the null hypothesis that labels are exchangeable, every choice of n out
    of all n + m scores is equally likely to be x; the distribution of 2U, an integer, is counted over the values in
    ascending order, given the ties that are there. p = P(U ≥ u), P(U ≤ u), or twice the smaller, at most 1.

    The smallest one-sided p is 1 / C(n + m, n): three against three .05, four .0143, five .004.

    Parameters
    ----------
    x, y : array_like, float, shape (..., n) and (..., m)
        Scores of two arms on different replicates. Or one tidy table with ``arm=``, ``control=`` and ``metric=``:
        teacher means where there are teachers; arms that share teachers are paired, and refused.
    alternative : {"two-sided", "greater", "less"}
        Of x against y.
    draws, seed : int
        Of the sampled test, where n m exceeds 22,500.

    Returns
    -------
    TestResult
        ``statistic`` is U of x (R's W), ``estimate`` the Hodges–Lehmann shift, median of all xᵢ - yⱼ. The interval
        holds the shifts δ which neither one-sided test of x - δ against y rejects at (1 - level) / 2; an end is
        infinite where no data of these sizes could bound it.

    Raises
    ------
    ValueError
        Fewer than two scores in a sample, more than 2,000 in both, scores that are not finite, leading axes that
        differ; ``draws`` below 1; an unknown alternative.

    References
    ----------
    Mann & Whitney (1947), Ann. Math. Stat. 18:50. Hodges & Lehmann (1963), Ann. Math. Stat. 34:598. Mehta, Patel &
    Tsiatis (1984), Biometrics 40:819, for exact tails given ties.

    Examples
    --------
    >>> result = mann_whitney([0.81, 0.84, 0.83], [0.78, 0.80, 0.79], alternative="greater")
    >>> result.statistic, result.p_value, round(result.estimate, 3)
    (9.0, 0.05, 0.04)
    """
    check_alternative(alternative)
    _check_draws(draws)
    first, second = _two_samples(x, y)
    shape, n, m = first.shape[:-1], first.shape[-1], second.shape[-1]
    u, p, shift = (np.empty(prod(shape)) for _ in range(3))
    rows = list(zip(first.reshape(-1, n), second.reshape(-1, m), strict=True))
    for i, (a, b) in enumerate(rows):
        classes = tie_groups(np.concatenate([b, a]))
        doubled = int(_ordered_statistic(_counts(classes, (m, n))))
        p[i] = _p_value(_tails(_ties(classes), (m, n), draws, seed), doubled, alternative)
        u[i], shift[i] = doubled / 2, np.median(a[:, None] - b)

    name = f"Mann-Whitney, {'exact' if n * m <= _PAIRS else f'{draws:,} draws'}"
    statistic, p_value, estimate = (plain(array.reshape(shape)) for array in (u, p, shift))
    interval = partial(_shift_interval, rows, shape, draws, seed)
    note = undecided(np.concatenate([first, second], axis=-1))
    return TestResult(name, statistic, p_value, estimate, n + m, alternative, interval, note=note)


def _shift_interval(
    rows: list[tuple[Array, Array]], shape: tuple[int, ...], draws: int, seed: int, level: float
) -> Interval:
    ends = [(_lowest_shift(a, b, level, draws, seed), -_lowest_shift(-a, -b, level, draws, seed)) for a, b in rows]
    low, high = np.reshape(ends, (*shape, 2)).T
    return plain(low.T), plain(high.T)


def _lowest_shift(x: Array, y: Array, level: float, draws: int, seed: int) -> float:
    """The least δ above which "x - δ is greater than y" is no longer rejected at (1 - level) / 2.

    That p grows with δ: x - δ loses ranks, so the observed U falls at least as far as the U of any other choice of n
    scores. Between two neighbouring differences xᵢ - yⱼ it is constant, so a bisection over these finds the end.
    """
    check_level(level)
    half = (1 - level) / 2 * (1 + 1e-9)  # a p that is the level itself, up to rounding, rejects
    n, m = len(x), len(y)
    both = merged(np.concatenate([x, y]))
    (x_values, x_sizes), (y_values, y_sizes) = (np.unique(side, return_counts=True) for side in (both[:n], both[n:]))
    apart = x_values[:, None] - y_values
    errors = np.maximum(rounding(x_values[:, None], y_values), TIE * np.abs(apart))
    steps = tie_groups(apart.ravel(), errors.ravel()).reshape(apart.shape)

    def p_above(step: int) -> float:
        """p of "greater" for a shift just above the differences of this step; -1 is below them all."""
        wins = steps > step
        place = wins.sum(axis=1) - 0.5  # of a value of x among those of y
        order = np.argsort(np.concatenate([place, np.arange(len(y_values))]), kind="stable")
        ties = tuple(np.concatenate([x_sizes, y_sizes])[order].tolist())
        return float(_tails(ties, (m, n), draws, seed)[1][2 * int(x_sizes @ wins @ y_sizes)])

    if p_above(-1) > half:
        return -np.inf
    below, at = -1, int(steps.max())  # rejected; not rejected, since there p = 1
    while at - below > 1:
        middle = (below + at) // 2
        below, at = (below, middle) if p_above(middle) > half else (middle, at)
    return float(apart[steps == at].min())


@takes_tables(unpaired)
def cliffs_delta(x: ArrayLike, y: ArrayLike | None = None, *, alternative: Alternative = "two-sided") -> TestResult:
    """Cliff's delta of two unpaired samples, P(x > y) - P(x < y), with its asymmetric interval.

    With d the mean of dᵢⱼ = sign(xᵢ - yⱼ), s²ₓ and s²ᵧ the variances (ddof 1) of its n row and m column means and s²
    its variance over all n m pairs (ddof 0), the consistent estimate of Var(d) is

        v = ((m - 1) s²ₓ + (n - 1) s²ᵧ + s²) / (n m)

    The interval holds the δ with (d - δ)² ≤ z² v (1 - δ²) / (1 - d²), z being the normal quantile: Wilson's interval
    with (1 - d²) / v in place of the number of trials. Where the samples do not overlap (d = ±1, v = 0) that number is
    min(n, m). The p-value is the interval's, by z² = d² (1 - d²) / v. It is approximate; ``mann_whitney`` is exact, of
    the narrower null hypothesis that the two distributions are equal.

    Coverage of 95 % intervals over normal samples of 5 to 30, standard deviations equal or 1 to 3, delta 0 to .84:
    .94 to .98.

    Parameters
    ----------
    x, y : array_like, float, shape (..., n) and (..., m)
        Scores of two arms on different replicates, or a table as in ``mann_whitney``.
    alternative : {"two-sided", "greater", "less"}
        Of delta.

    Returns
    -------
    TestResult
        ``estimate`` is delta, ``statistic`` the z at which the interval reaches 0. All scores equal: delta 0, p = 1,
        and an interval of NaN, since nothing is known of the spread.

    Raises
    ------
    ValueError
        As ``mann_whitney``.

    References
    ----------
    Cliff (1996), Multivar. Behav. Res. 31:331. Feng & Cliff (2004), J. Mod. Appl. Stat. Methods 3:322.

    Examples
    --------
    >>> result = cliffs_delta([0.81, 0.84, 0.83, 0.79], [0.78, 0.80, 0.79, 0.82])
    >>> result.estimate, [round(end, 3) for end in result.confidence_interval()]
    (0.5625, [-0.283, 0.916])
    """
    check_alternative(alternative)
    first, second = _two_samples(x, y)
    n, m = first.shape[-1], second.shape[-1]
    both = tie_groups(np.concatenate([first, second], axis=-1))
    sign = np.sign(both[..., :n, None] - both[..., None, n:]).astype(np.float64)
    delta = sign.mean(axis=(-2, -1))
    rows, columns = (sign.mean(axis=axis).var(axis=-1, ddof=1) for axis in (-1, -2))
    variance = ((m - 1) * rows + (n - 1) * columns + sign.var(axis=(-2, -1))) / (n * m)
    apart, known = np.abs(delta) == 1, (variance > 0) | (np.abs(delta) == 1)
    trials = np.divide(1 - delta**2, variance, out=np.full(delta.shape, np.nan), where=variance > 0)
    trials = np.where(apart, min(n, m), trials)
    z = np.where(known, delta * np.sqrt(trials), 0.0)

    interval = partial(_delta_interval, delta, trials)
    p = t_p_value(z, np.inf, alternative)
    details = {"standard_error": plain(np.sqrt(variance))}
    return TestResult(
        "Cliff's delta, approximate", plain(z), plain(p), plain(delta), n + m, alternative, interval, details
    )


def _delta_interval(delta: Array, trials: Array, level: float) -> Interval:
    square = stats.norm.ppf(0.5 + level / 2) ** 2
    half = np.sqrt(square * (trials * (1 - delta**2) + square))
    low, high = ((trials * delta + side * half) / (trials + square) for side in (-1, 1))
    return plain(np.where(delta == -1, -1.0, low)), plain(np.where(delta == 1, 1.0, high))


def _two_samples(x: ArrayLike, y: ArrayLike | None) -> tuple[Array, Array]:
    if y is None:
        raise ValueError("there is no y: this is a test of two unpaired samples, f(x, y)")
    first, second = _finite(x, "x"), _finite(y, "y")
    if first.shape[:-1] != second.shape[:-1] or first.ndim == 0 or second.ndim == 0:
        raise ValueError(
            f"x has shape {first.shape} and y {second.shape}: two samples have replicates on the last axis and the same"
            " leading axes"
        )
    if min(first.shape[-1], second.shape[-1]) < 2:
        raise ValueError(
            f"x has {first.shape[-1]} and y {second.shape[-1]} replicates: each sample needs two or more, since one"
            " says nothing about the spread between replicates"
        )
    _check_few(first.shape[-1] + second.shape[-1])
    refuse_examples(first, second)
    return first, second


# Ordered groups --------------------------------------------------------------------------------------------------


def jonckheere(
    x: ArrayLike | Sequence[ArrayLike] | pd.DataFrame,
    y: ArrayLike | None = None,
    *,
    alternative: Alternative = "greater",
    by: str | None = None,
    arm: str | None = None,
    metric: str | None = None,
    draws: int = 99_999,
    seed: int = 0,
) -> TestResult:
    """Jonckheere–Terpstra test of a trend over ordered groups, exact with ties.

    J = Σ over groups a < b of U of b over a, ties counting ½. Under the null hypothesis that all scores come from one
    distribution, every assignment of them to groups of these sizes is equally likely; 2J, an integer, is counted over
    the values in ascending order given the ties that are there, and without ties as the convolution of Mann–Whitney
    distributions of each group against those below it.

    The units of a ladder of teachers are teachers: the mean of a teacher's students is one score. Students of one
    teacher are no units; counted as such, or as blocks under one teacher a capacity, they reject at .11 to .25 for a
    nominal .05.

    Parameters
    ----------
    x : sequence of array_like, float
        One sample of teacher means a group, in ascending order of the groups. Or all scores, with ``y``. Or a tidy
        table of scores, with ``by=``, the column that orders the teachers (``metric=`` and ``arm=`` select rows): the
        students of a teacher are averaged, and a teacher in two groups is refused.
    y : array_like, shape of x
        The group of each score: numbers, or an ordered categorical.
    alternative : {"greater", "less", "two-sided"}
        greater: scores rise with the groups.
    by, arm, metric : str, optional
        Of a table.
    draws, seed : int
        Of the sampled test, where groups are too large.

    Returns
    -------
    TestResult
        ``statistic`` is J. ``estimate`` is (2J - M) / M with M the pairs of scores in different groups: how much more
        often the higher group has the higher score than the lower, in [-1, 1]. There is no interval.

    Raises
    ------
    ValueError
        Fewer than two groups, an empty one, more than 2,000 scores; labels without an order; in a table, a column that
        is missing, teachers shared by groups.

    References
    ----------
    Jonckheere (1954), Biometrika 41:133. Terpstra (1952), Indag. Math. 14:327. Harding (1984), Appl. Stat. 33:1, for
    the convolution.

    Examples
    --------
    >>> result = jonckheere([[0.70, 0.71, 0.72], [0.71, 0.73, 0.74], [0.74, 0.75, 0.76]])
    >>> result.statistic, round(result.p_value, 6), round(result.estimate, 3)
    (25.0, 0.004762, 0.852)
    """
    check_alternative(alternative)
    _check_draws(draws)
    if isinstance(x, pd.DataFrame):
        if y is not None or by is None:
            raise ValueError("a table of scores takes by=..., the column that orders the teachers, and no y")
        x, y = _ladder(x, by, arm, metric)
    elif any(name is not None for name in (by, arm, metric)):
        raise ValueError("by, arm and metric belong to a table of scores; x is none")
    scores, sizes = _groups(x, y)
    classes = tie_groups(scores)
    ties = _ties(classes)
    statistic = int(_ordered_statistic(_counts(classes, sizes)))
    pairs = sum(a * b for a, b in combinations(sizes, 2))
    p = _p_value(_tails(ties, sizes, draws, seed), statistic, alternative)
    name = f"Jonckheere-Terpstra, {'exact' if _countable(ties, sizes) else f'{draws:,} draws'}"
    return TestResult(name, statistic / 2, p, (statistic - pairs) / pairs, len(scores), alternative)


def _groups(x: Any, y: Any) -> tuple[Array, tuple[int, ...]]:
    """All scores, group after group, and the groups' sizes."""
    if isinstance(x, Mapping):
        raise ValueError("x is a mapping, which has no order of groups: give a list of samples, lowest group first")
    if y is None:
        if np.ndim(x[0] if len(x) else 0) == 0:
            raise ValueError("x holds scores and there is no y: give one sample a group, or y with each score's group")
        samples = [_finite(sample, f"x[{a}]") for a, sample in enumerate(x)]
    else:
        values, labels = _finite(x, "x"), _ranked_labels(y)
        if values.shape != labels.shape or values.ndim != 1:
            raise ValueError(f"x has shape {values.shape} and y {labels.shape}: y is the group of each score")
        samples = [values[labels == label] for label in np.unique(labels)]
    if len(samples) < 2 or any(sample.ndim != 1 or not sample.size for sample in samples):
        shapes = ", ".join(str(sample.shape) for sample in samples)
        raise ValueError(f"the groups have shapes {shapes}: a trend needs two or more groups, each a list of scores")
    scores = np.concatenate(samples)
    refuse_examples(scores, scores)
    _check_few(len(scores))
    return scores, tuple(len(sample) for sample in samples)


def _ranked_labels(labels: Any) -> NDArray[Any]:
    """Labels as numbers in their order; words have one only as an ordered categorical."""
    series = pd.Series(labels)
    if isinstance(series.dtype, pd.CategoricalDtype) and series.cat.ordered:
        numbers = series.cat.codes.to_numpy()
        lacking = numbers < 0
    elif pd.api.types.is_numeric_dtype(series) and not pd.api.types.is_bool_dtype(series):
        numbers = series.to_numpy(np.float64)
        lacking = ~np.isfinite(numbers)
    else:
        raise ValueError(
            f"the groups are {', '.join(map(repr, series.unique()[:5]))}: nothing says in which order. Give numbers, or"
            " a pandas Categorical with ordered=True"
        )
    if lacking.any():
        raise ValueError(f"the group of score {int(np.argmax(lacking))} is missing: each score has one")
    return numbers


def _ladder(scores: pd.DataFrame, by: str, arm: str | None, metric: str | None) -> tuple[Array, pd.Series]:
    """Teacher means and their groups."""
    rows = _with_teachers(selected(scores, arm=arm, metric=metric), by)
    groups = rows.groupby("teacher", observed=True)[by].nunique()
    if (groups > 1).any():
        raise ValueError(
            f"teacher {groups.idxmax()} is in {groups.max()} groups of {by}: groups that share teachers"
            " are not independent samples. Each group needs teachers of its own, and different networks need different"
            " names"
        )
    by_replicate(rows, arm or "x")  # refuses copies
    teachers = rows.groupby("teacher", observed=True)
    return teachers["value"].mean().to_numpy(), teachers[by].first().reset_index(drop=True)


def _with_teachers(rows: pd.DataFrame, *columns: str) -> pd.DataFrame:
    lacking = [column for column in (*columns, "teacher") if column not in rows or rows[column].isna().any()]
    if lacking:
        raise ValueError(
            f"column(s) {', '.join(lacking)} missing or not filled: a ladder's units are teachers, the means of their"
            " students. Scores that are units themselves go in as arrays"
        )
    if "arm" in rows and "arm" not in columns and rows["arm"].nunique() > 1:
        there = ", ".join(map(repr, rows["arm"].unique()[:20]))
        raise ValueError(f"the rows have several arms ({there}): a ladder is of one; name it with arm=...")
    return rows


# Distributions over ordered groups: 2J from counts of tied values -------------------------------------------------


def _ties(classes: Integers) -> tuple[int, ...]:
    """How many scores have each value, in ascending order of the values."""
    return tuple(np.bincount(classes).tolist())


def _counts(classes: Integers, sizes: tuple[int, ...]) -> Integers:
    """How many scores of each value (row) are in each group (column), for scores listed group after group."""
    counts = np.zeros((classes.max() + 1, len(sizes)), dtype=np.int64)
    np.add.at(counts, (classes, np.repeat(np.arange(len(sizes)), sizes)), 1)
    return counts


def _ordered_statistic(counts: Integers) -> Integers:
    """2J of tables (..., values, groups): 2 for a lower score in a lower group, 1 for an equal one."""
    smaller = np.cumsum(counts, axis=-2) - counts
    in_lower_groups = np.cumsum(2 * smaller + counts, axis=-1) - (2 * smaller + counts)
    return (counts * in_lower_groups).sum(axis=(-2, -1))


def _countable(ties: tuple[int, ...], sizes: tuple[int, ...]) -> bool:
    if sum(a * b for a, b in combinations(sizes, 2)) > _PAIRS:
        return False
    return max(ties) == 1 or prod(size + 1 for size in sizes) <= _STATES


@lru_cache(maxsize=64)
def _tails(ties: tuple[int, ...], sizes: tuple[int, ...], draws: int, seed: int) -> Tails:
    """Tails of 2J over all assignments of tied values (ascending) to groups of these sizes."""
    if not _countable(ties, sizes):
        return _sampled_tails(ties, sizes, draws, np.random.default_rng(seed))
    return _from_mass(_mass_without_ties(sizes) if max(ties) == 1 else _mass_with_ties(ties, sizes))


def _from_mass(mass: Array) -> Tails:
    lower, upper = np.cumsum(mass), np.cumsum(mass[::-1])[::-1]
    return lower / lower[-1], upper / upper[0]


def _p_value(tails: Tails, statistic: int, alternative: str) -> float:
    lower, upper = (float(tail[statistic]) for tail in tails)
    if alternative == "two-sided":
        return min(1.0, 2 * min(lower, upper))
    return upper if alternative == "greater" else lower


def _mass_without_ties(sizes: tuple[int, ...]) -> Array:
    """J is the sum of independent U's, of each group against all below it."""
    mass, below = np.ones(1), sizes[0]
    for size in sizes[1:]:
        u = _u_counts(*sorted((below, size)))
        mass = np.convolve(mass, u / u.sum())
        below += size
    doubled = np.zeros(2 * len(mass) - 1)
    doubled[::2] = mass
    return doubled


def _u_counts(n: int, m: int) -> Array:
    """How many orders of n and m different values have U = 0, …, n m.

    Whose is the largest of k + l values? One of the n: it exceeds all l of the others. One of the m: it adds nothing.
    """
    counts = [np.ones(1)] * (n + 1)
    for others in range(1, m + 1):
        for own in range(1, n + 1):
            grown = np.zeros(own * others + 1)
            grown[: len(counts[own])] = counts[own]
            grown[others:] += counts[own - 1]
            counts[own] = grown
    return counts[n]


def _mass_with_ties(ties: tuple[int, ...], sizes: tuple[int, ...]) -> Array:
    """Counts of 2J, value after value, by how many scores each group has so far.

    Scores of one value are shared out from the last group to the first, so that the groups below still hold exactly
    what is smaller: ``here`` of the ``left`` scores gain 2 by each of those and 1 by each that is left for the groups
    below.
    """
    states = {(0,) * len(sizes): np.ones(1)}
    seen = 0
    for tied in ties:
        seen += tied
        for group in reversed(range(len(sizes))):
            shared: dict[tuple[int, ...], Array] = {}
            for held, mass in states.items():
                left, smaller = seen - sum(held), sum(held[:group])
                room = sum(sizes[:group]) - smaller
                for here in range(max(0, left - room), min(left, sizes[group] - held[group]) + 1):
                    key = (*held[:group], held[group] + here, *held[group + 1 :])
                    gain = here * (2 * smaller + left - here)
                    shared[key] = _added(shared.get(key), comb(left, here) * mass, gain)
            states = shared
    mass = states[sizes]
    pairs = sum(a * b for a, b in combinations(sizes, 2))
    return np.pad(mass, (0, 2 * pairs + 1 - len(mass)))


def _added(to: Array | None, mass: Array, gain: int) -> Array:
    """``to`` plus mass shifted by ``gain``, as long as that needs."""
    longer = np.zeros(max(gain + len(mass), 0 if to is None else len(to)))
    longer[gain : gain + len(mass)] = mass
    if to is not None:
        longer[: len(to)] += to
    return longer


def _sampled_tails(ties: tuple[int, ...], sizes: tuple[int, ...], draws: int, generator: np.random.Generator) -> Tails:
    groups = np.repeat(np.arange(len(sizes)), sizes)
    starts = np.cumsum((0, *ties[:-1]))
    pairs = sum(a * b for a, b in combinations(sizes, 2))
    seen = np.zeros(2 * pairs + 1, dtype=np.int64)
    block = max(1, 2**22 // (len(groups) * len(sizes)))
    for start in range(0, draws, block):
        shuffled = generator.permuted(np.tile(groups, (min(block, draws - start), 1)), axis=1)
        one_hot = (shuffled[..., None] == np.arange(len(sizes))).astype(np.int64)
        counts = np.add.reduceat(one_hot, starts, axis=1)
        seen += np.bincount(_ordered_statistic(counts), minlength=len(seen))
    return (np.cumsum(seen) + 1) / (draws + 1), (np.cumsum(seen[::-1])[::-1] + 1) / (draws + 1)


# Blocks ----------------------------------------------------------------------------------------------------------


def page_l(
    x: ArrayLike | pd.DataFrame,
    *,
    alternative: Alternative = "greater",
    by: str | None = None,
    block: str | None = None,
    arm: str | None = None,
    metric: str | None = None,
    draws: int = 99_999,
    seed: int = 0,
) -> TestResult:
    """Page's test of a trend over ordered treatments within blocks, exact with ties.

    L = Σⱼ j Rⱼ, with Rⱼ the sum over blocks of the midranks of treatment j. Under the null hypothesis all orders of the
    scores of a block are equally likely; the distribution of 2L, an integer, is counted block by block and convolved.

    It needs real blocks, such as datasets, and a network of its own in every cell. Student seeds under one teacher a
    capacity are no blocks: the teacher's luck returns in every one of them, and the test rejects at .11 to .25 for a
    nominal .05. There the teachers are the units, and the test is ``jonckheere``.

    Parameters
    ----------
    x : array_like, float, shape (n, k)
        Blocks × treatments, in their order. Or a tidy table with ``by=``, the column that orders the treatments, and
        ``block=`` (``metric=`` and ``arm=`` select rows): a cell is the mean of its teachers, each the mean of its
        students; a teacher in several cells is refused. With ``block="dataset"`` teachers of different datasets are
        different networks.
    alternative : {"greater", "less", "two-sided"}
        greater: scores rise with the treatments.
    by, block, arm, metric : str, optional
        Of a table.
    draws, seed : int
        Of the sampled test: above 10 treatments, or blocks by the hundred.

    Returns
    -------
    TestResult
        ``statistic`` is L, ``estimate`` the mean over blocks of Spearman's correlation of ranks and treatments, as
        Σ (j - j̄)(r - r̄) · 12 / (k³ - k), without correction for ties. There is no interval.

    Raises
    ------
    ValueError
        Fewer than two blocks or three treatments, scores that are not finite; in a table, a column or cell that is
        missing, a teacher in several cells.

    References
    ----------
    Page (1963), J. Am. Stat. Assoc. 58:216.

    Examples
    --------
    >>> result = page_l([[0.70, 0.72, 0.75], [0.61, 0.66, 0.64], [0.81, 0.82, 0.88]])
    >>> result.statistic, round(result.p_value, 6), round(result.estimate, 3)
    (41.0, 0.032407, 0.833)
    """
    check_alternative(alternative)
    _check_draws(draws)
    if isinstance(x, pd.DataFrame):
        if by is None or block is None:
            raise ValueError("a table of scores takes by=..., the column of the treatments, and block=...")
        x = _cells(x, by, block, arm, metric)
    elif any(name is not None for name in (by, block, arm, metric)):
        raise ValueError("by, block, arm and metric belong to a table of scores; x is none")
    ranks = _block_ranks(x)
    n, k = ranks.shape
    weights = np.arange(1, k + 1)
    statistic = int((ranks @ weights).sum())
    least = [int(np.sort(row)[::-1] @ weights) for row in ranks]
    most = [int(np.sort(row) @ weights) for row in ranks]
    if k <= _TREATMENTS and sum(most) - sum(least) <= _SPREAD:
        how, mass = "exact", np.ones(1)
        for row in ranks:
            mass = np.convolve(mass, _page_mass(tuple(sorted(row.tolist()))))
        tails = _from_mass(mass)
    else:
        how = f"{draws:,} draws"
        generator, seen = np.random.default_rng(seed), np.zeros(sum(most) - sum(least) + 1, dtype=np.int64)
        for shuffled in _shuffles(ranks, draws, generator):
            seen += np.bincount((shuffled @ weights).sum(axis=1) - sum(least), minlength=len(seen))
        tails = (np.cumsum(seen) + 1) / (draws + 1), (np.cumsum(seen[::-1])[::-1] + 1) / (draws + 1)
    p = _p_value(tails, statistic - sum(least), alternative)
    middle = n * k * (k + 1) ** 2 / 2  # the mean of 2L
    estimate = 6 * (statistic - middle) / (n * (k**3 - k))
    return TestResult(f"Page's L, {how}", statistic / 2, p, estimate, n, alternative)


@lru_cache(maxsize=256)
def _page_mass(ranks: tuple[int, ...]) -> Array:
    """P(Σ j rⱼ = least + s) over all orders of one block's ranks (ascending).

    Position after position, by how many of each rank are used: 2ᵏ states, fewer with ties.
    """
    values = sorted(set(ranks))
    available = tuple(ranks.count(value) for value in values)
    states = {(0,) * len(values): np.ones(1)}
    for position in range(1, len(ranks) + 1):
        following: dict[tuple[int, ...], Array] = {}
        for used, mass in states.items():
            for i, value in enumerate(values):
                if used[i] < available[i]:
                    key = (*used[:i], used[i] + 1, *used[i + 1 :])
                    following[key] = _added(following.get(key), mass, position * value)
        states = following
    mass = states[available]
    return np.trim_zeros(mass, "f") / mass.sum()


def _cells(scores: pd.DataFrame, by: str, block: str, arm: str | None, metric: str | None) -> Array:
    """Blocks × treatments from a tidy table, one mean of teachers a cell."""
    if block not in scores or by not in scores:
        raise ValueError(f"the table lacks {block!r} or {by!r}; it has {', '.join(map(str, scores.columns))}")
    parts = [selected(scores, arm=arm, metric=metric, **{block: name}) for name in scores[block].dropna().unique()]
    rows = _with_teachers(pd.concat(parts), by)
    network = [column for column in ("dataset", "teacher") if column in rows]
    cells = rows[[*dict.fromkeys([*network, block, by])]].drop_duplicates()
    again = cells.duplicated(network)
    if again.any():
        raise ValueError(
            f"teacher {cells.loc[again, 'teacher'].iloc[0]} is in several cells of {block} × {by}: what one teacher"
            " does by chance returns in each of them, and Page's L rejects at .11 to .25 for a nominal .05. Every cell"
            " needs a teacher of its own (different networks need different names); else average students by teacher"
            " and take jonckheere"
        )
    for name, part in rows.groupby(block, observed=True):
        by_replicate(part, f"{block} {name}")  # refuses copies
    rows = rows.assign(_order=_ranked_labels(rows[by].reset_index(drop=True)))
    teachers = rows.groupby([block, "_order", "teacher"], observed=True)["value"].mean()
    table = teachers.groupby(level=[0, 1], observed=True).mean().unstack()
    if table.isna().to_numpy().any():
        name = table.index[table.isna().any(axis=1)][0]
        raise ValueError(
            f"{block} {name} lacks a treatment that others have: leave the block out, or train what is missing"
        )
    return table.to_numpy()


def friedman(
    x: ArrayLike | pd.DataFrame,
    *,
    arms: Sequence[str] | None = None,
    metric: str | None = None,
    scope: str = "recipe",
    draws: int = 99_999,
    seed: int = 0,
) -> TestResult:
    """Friedman's test that no treatment differs, within blocks, exact with ties where that is feasible.

    With midranks r within blocks and Rⱼ their sums,

        χ² = (k - 1) Σⱼ (Rⱼ - n (k + 1) / 2)² / Σᵢⱼ (rᵢⱼ - (k + 1) / 2)²

    which holds the correction for ties. Under the null hypothesis all orders of the scores of a block are equally
    likely; p = P(χ² ≥ observed), counted over vectors of rank sums, block by block, in integers.

    Parameters
    ----------
    x : array_like, float, shape (n, k)
        Blocks × treatments: teacher means (or replicates of one teacher) × arms. Or a tidy table with ``metric=`` and
        ``arms=``, two or more (default all), the blocks being teachers, or students with scope "these" or "each".
    arms, metric, scope : optional
        Of a table.
    draws, seed : int
        Of the sampled test, where there are too many vectors of rank sums.

    Returns
    -------
    TestResult
        ``statistic`` is χ², ``estimate`` Kendall's W = χ² / (n (k - 1)), in [0, 1]. Where every block is one tie both
        are 0 and p is 1. There is no interval. ``friedman_pairs`` says which arms differ.

    Raises
    ------
    ValueError
        Fewer than two blocks or treatments, scores that are not finite; in a table, arms that are not on the same
        replicates.

    References
    ----------
    Friedman (1937), J. Am. Stat. Assoc. 32:675. Kendall & Babington Smith (1939), Ann. Math. Stat. 10:275.

    Examples
    --------
    >>> result = friedman([[0.81, 0.84, 0.86], [0.78, 0.80, 0.83], [0.80, 0.79, 0.85], [0.82, 0.83, 0.84]])
    >>> result.statistic, round(result.p_value, 6), result.estimate
    (6.5, 0.041667, 0.8125)
    """
    _check_draws(draws)
    if isinstance(x, pd.DataFrame):
        x, _ = _blocks(x, arms, metric, scope)
    elif arms is not None or metric is not None:
        raise ValueError("arms and metric belong to a table of scores; x is none")
    ranks = _block_ranks(x, treatments=2)
    n, k = ranks.shape
    centred = ranks - (k + 1)  # doubled ranks, so twice their mean
    spread, between = int((centred**2).sum()), int((centred.sum(axis=0) ** 2).sum())
    p = _friedman_exact(centred, between)
    how = "exact" if p is not None else f"{draws:,} draws"
    if p is None:
        generator = np.random.default_rng(seed)
        as_extreme = sum(
            int(((shuffled.sum(axis=1) ** 2).sum(axis=1) >= between).sum())
            for shuffled in _shuffles(centred, draws, generator)
        )
        p = (as_extreme + 1) / (draws + 1)
    statistic = (k - 1) * between / spread if spread else 0.0
    return TestResult(f"Friedman, {how}", statistic, p, statistic / (n * (k - 1)), n, "two-sided")


def _friedman_exact(centred: Integers, between: int) -> float | None:
    """P(Σ Rⱼ² ≥ between) over all orders within blocks, or None where there are too many rank-sum vectors.

    Every order of a block is as likely as any other, so vectors that are permutations of each other stay equally
    likely: one of them, sorted, stands for all, and the first block needs one order alone.
    """
    n, k = centred.shape
    sums: Integers = np.sort(centred[:1], axis=1)
    mass: NDArray[Any] = np.ones(1)
    base = 2 * n * (k - 1) + 1  # a centred, doubled rank sum lies within ± n (k - 1)
    if k > 8 or base ** (k - 1) > 2**62:
        return None
    digits = base ** np.arange(k - 1)
    for row in centred[1:]:
        orders = _orders(tuple(sorted(row.tolist())))
        if len(sums) * len(orders) > _SUMS:
            return None
        moved = np.sort((sums[:, None] + orders).reshape(-1, k), axis=1)
        # they add to 0, so all but the last tell them apart
        _, first, index = np.unique(moved[:, :-1] @ digits, return_index=True, return_inverse=True)
        mass = np.bincount(index, np.repeat(mass / len(orders), len(orders)))
        sums = moved[first]
    return float(min(1.0, mass[(sums**2).sum(axis=1) >= between].sum()))


@lru_cache(maxsize=64)
def _orders(ranks: tuple[int, ...]) -> Integers:
    """The different orders of one block's ranks, all equally likely."""
    return np.array(sorted(set(permutations(ranks))), dtype=np.int64)


def friedman_pairs(
    x: ArrayLike | pd.DataFrame,
    *,
    arms: Sequence[str] | None = None,
    metric: str | None = None,
    scope: str = "recipe",
    correction: str = "holm",
) -> pd.DataFrame:
    """Which treatments differ: all pairs by the exact Wilcoxon signed-rank test, corrected.

    Not by mean ranks (Nemenyi's test): whether two arms differ would then depend on which others were ranked with them.

    Parameters
    ----------
    x : array_like, float, shape (n, k)
        As in ``friedman``, or a tidy table.
    arms : sequence of str, optional
        Of a table: which. Of an array: the columns' names, by default 0, 1, ….
    metric, scope : optional
        Of a table.
    correction : {"holm", "bh", "by"}
        Over all pairs.

    Returns
    -------
    DataFrame
        A row a pair: ``arm``, ``control``, ``n`` (blocks), ``estimate`` (of arm - control), ``statistic`` and
        ``p_value`` (two-sided) as ``wilcoxon`` has them, ``p_adjusted``, ``correction``, ``test``.

    Raises
    ------
    ValueError
        As ``friedman``; names that are not one a column; an unknown correction.

    References
    ----------
    Benavoli, Corani & Mangili (2016), J. Mach. Learn. Res. 17(5):1, against mean ranks.

    Examples
    --------
    >>> x = [[0.81, 0.84, 0.86], [0.78, 0.80, 0.83], [0.80, 0.79, 0.85], [0.82, 0.83, 0.84], [0.80, 0.82, 0.83]]
    >>> friedman_pairs(x, arms=["ce", "smooth", "kd"])[["arm", "control", "p_value", "p_adjusted"]]
          arm control  p_value  p_adjusted
    0      ce  smooth   0.1875      0.1875
    1      ce      kd   0.0625      0.1875
    2  smooth      kd   0.0625      0.1875
    """
    if isinstance(x, pd.DataFrame):
        values, names = _blocks(x, arms, metric, scope)
    else:
        values = _finite(x, "x")
        names = list(range(values.shape[-1])) if arms is None else list(arms)
    _block_ranks(values, treatments=2)  # refuses what is no table of blocks
    if len(names) != values.shape[1]:
        raise ValueError(f"arms names {len(names)} and x has {values.shape[1]} columns: one name a column")
    rows = []
    for i, j in combinations(range(len(names)), 2):
        result = wilcoxon(values[:, i], values[:, j])
        rows.append((names[i], names[j], result.n, result.estimate, result.statistic, result.p_value))
    table = pd.DataFrame(rows, columns=["arm", "control", "n", "estimate", "statistic", "p_value"])
    adjusted = adjust(table["p_value"].to_numpy(), correction)
    return table.assign(p_adjusted=adjusted, correction=correction, test=result.test)


def _blocks(
    scores: pd.DataFrame, arms: Sequence[str] | None, metric: str | None, scope: str
) -> tuple[Array, list[Any]]:
    """Replicates × arms from a tidy table, all arms on the same replicates."""
    names = list(arms) if arms is not None else sorted(scores["arm"].unique()) if "arm" in scores else []
    if len(names) < 2:
        raise ValueError(f"the arms are {names}: there is nothing to compare; name two or more of the column arm")
    columns = [paired(scores, None, name, names[0], metric, scope)[0] for name in names]
    return np.column_stack(columns), names


def _block_ranks(x: ArrayLike, treatments: int = 3) -> Integers:
    """Twice the midranks within blocks."""
    values = _finite(x, "x")
    if values.ndim != 2 or values.shape[0] < 2 or values.shape[1] < treatments:
        raise ValueError(
            f"x has shape {values.shape}: this test takes blocks × treatments, two or more blocks and {treatments} or"
            " more treatments"
        )
    refuse_examples(values.T, values.T)
    return np.rint(2 * stats.rankdata(tie_groups(values), axis=1)).astype(np.int64)


def _shuffles(ranks: Integers, draws: int, generator: np.random.Generator) -> Any:
    """The ranks with the order within each block shuffled, ``draws`` times, some at a time."""
    size = max(1, 2**21 // ranks.size)
    for start in range(0, draws, size):
        yield generator.permuted(np.broadcast_to(ranks, (min(size, draws - start), *ranks.shape)), axis=2)


# Checks ----------------------------------------------------------------------------------------------------------


def _finite(values: ArrayLike, name: str) -> Array:
    array = numbers(values, name)
    if not np.isfinite(array).all():
        where = [int(i) for i in np.argwhere(~np.isfinite(array))[0]]
        raise ValueError(
            f"{name}{where} is {array[tuple(where)]}: scores must be finite; leave a failed replicate out and report"
            " it, since a test cannot"
        )
    return array


def _check_draws(draws: int) -> None:
    if draws < 1:
        raise ValueError(f"draws is {draws}: a sampled test needs one or more")


def _check_few(n: int) -> None:
    if n > _MANY:
        raise ValueError(
            f"{n:,} scores, more than the {_MANY:,} of a rank test of networks: are these examples of one network? A"
            " claim about replicates takes one score from each"
        )
