"""The simulation study: protocols whose truth is known, and how often a test or an interval is wrong about it.

A cell simulates many protocols at one truth: scores of trained networks as counts of agreeing examples, differences of
a continuous metric, or per-example differences. It counts the wrong claims: rejections of a true null hypothesis, or
intervals that miss the truth. What they are held against depends on what is known.

- exact: a discrete test has an attainable size, the probability of its rejection region. With ties that depends on the
  data: it is then the mean, over protocols, of each one's own size, counted here from all its flips, choices or orders
  in integers, without the test's code. The rate lies within 4 Monte-Carlo standard errors of it.
- continuous: .05 ∓ .0065 (3 standard errors at 10,000 protocols).
- at most: .05 and 4 Monte-Carlo standard errors; where only this is promised.
- coverage: misses up to .07, for the default intervals where scores are near normal.
- published: nothing is promised, or it is power.
- negative control: a design that this package refuses. Its rate must exceed .0565.

Each cell has its own random numbers, from its name: what else runs, and in which order, changes nothing. A cell that
fails is rerun once, with ten times the protocols and new random numbers, and that counts.
"""

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import combinations, permutations, product
from typing import Any, Literal, get_args

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray
from scipy import stats as scipy_stats

from kdstats.stats import effects
from kdstats.stats.counts import (
    mantel_haenszel,
    mcnemar,
    odds_ratio,
    risk_difference,
    tost_proportions,
    tost_ratio_proportions,
)
from kdstats.stats.crossed import anova
from kdstats.stats.designs import infer, to_units, two_way
from kdstats.stats.multiplicity import adjust
from kdstats.stats.paired import non_inferiority, paired_t, sign_flip, tost, wilcoxon
from kdstats.stats.planning import Examples, power
from kdstats.stats.ranks import cliffs_delta, friedman, friedman_pairs, jonckheere, mann_whitney, page_l
from kdstats.stats.ratios import fieller
from kdstats.stats.resampling import bootstrap, max_t
from kdstats.stats.results import Alternative, Array
from kdstats.stats.sequential import anytime_p_values, confidence_sequence, e_holm, e_process

Integers = NDArray[np.int64]
Bound = Literal["exact", "continuous", "at most", "coverage", "published", "negative control"]
Measure = Literal["size", "coverage", "power"]

LEVEL = 0.05
BAND = 0.0065  # of a continuous test, around LEVEL
MISSES = 0.07  # of a default interval at .95
ERRORS = 4  # Monte-Carlo standard errors
RERUN = 10  # times the protocols
MATRICES = 2_000  # protocols of a cell with per-example values
EXAMPLES = 1_000  # of such a protocol
FAST = 1_000  # protocols of a cell in the fast subset


# Cells -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """What happened in some protocols of a cell.

    Attributes
    ----------
    wrong : rejected, or missed; one for each protocol
    size : the probability of that, given each protocol's own ties, where it was counted; or of all
    below, above : intervals that lie below, above the truth; of an interval
    """

    wrong: NDArray[np.bool_]
    size: float | Array = math.nan
    below: int = 0
    above: int = 0


@dataclass(frozen=True)
class Cell:
    """One truth, one test.

    Attributes
    ----------
    id : its name, from which its random numbers come
    test : what is validated
    n : units
    null : the truth, in words
    bound : what the rate is held against
    simulate : (generator, number of protocols) -> Outcome
    measure : what the rate is
    protocols : how many, by default
    block : how many at once
    fast : whether it is in the subset that the tests run
    """

    id: str
    test: str
    n: int
    null: str
    bound: Bound
    simulate: Callable[[Generator, int], Outcome]
    measure: Measure = "size"
    protocols: int = 10_000
    block: int = 2_500
    fast: bool = False


@dataclass(frozen=True)
class Row:
    """What a cell found: a row of the study's table. Rates are of wrong claims, or power."""

    cell: str
    test: str
    n: int
    null: str
    protocols: int
    rejections: int
    expected: float
    low: float
    high: float
    rate: float
    error: float
    measure: str
    bound: str
    verdict: str
    reruns: int
    misses_below: int | None
    misses_above: int | None


def run_cell(cell: Cell, protocols: int | None = None) -> Row:
    """Simulate a cell, and again with ten times the protocols should it fail.

    Parameters
    ----------
    cell : Cell
    protocols : int, optional
        Default the cell's own. With fewer, a fixed bound is as much wider as their error is larger.

    Returns
    -------
    Row
        ``verdict`` is ok, failed or published; "fails as it must" for a negative control that does.
    """
    m = protocols or cell.protocols
    row = _run(cell, m, 0)
    return _run(cell, RERUN * m, 1) if row.verdict == "failed" else row


def _run(cell: Cell, m: int, attempt: int) -> Row:
    outcomes = [
        cell.simulate(_generator(f"{cell.id} {attempt} {start}"), min(cell.block, m - start))
        for start in range(0, m, cell.block)
    ]
    rejections = sum(int(outcome.wrong.sum()) for outcome in outcomes)
    rate = rejections / m
    sizes = np.concatenate([np.broadcast_to(outcome.size, outcome.wrong.shape) for outcome in outcomes])
    expected, low, high = _bounds(cell, m, sizes)
    within = low <= rate <= high
    if cell.bound == "published":
        verdict = "published"
    elif cell.bound == "negative control":
        verdict = "fails as it must" if rate > high else "failed"
    else:
        verdict = "ok" if within else "failed"
    sides = [sum(outcome.below for outcome in outcomes), sum(outcome.above for outcome in outcomes)]
    below, above = sides if cell.measure == "coverage" else (None, None)
    return Row(
        cell.id, cell.test, cell.n, cell.null, m, rejections, expected, low, high, rate,
        math.sqrt(rate * (1 - rate) / m), cell.measure, cell.bound, verdict, attempt, below, above,
    )  # fmt: skip


def _generator(name: str) -> Generator:
    return np.random.default_rng(int.from_bytes(hashlib.sha256(name.encode()).digest()[:16]))


def _bounds(cell: Cell, m: int, sizes: Array) -> tuple[float, float, float]:
    """expected, low, high."""
    wider = math.sqrt(max(1.0, cell.protocols / m))
    if cell.bound == "exact":
        expected = float(sizes.mean())
        slack = ERRORS * math.sqrt(float(np.sum(sizes * (1 - sizes)))) / m + 1e-12
        return expected, max(expected - slack, 0.0), expected + slack
    if cell.bound in ("continuous", "negative control"):
        return LEVEL, LEVEL - BAND * wider, LEVEL + BAND * wider
    if cell.bound == "at most":
        return LEVEL, 0.0, LEVEL + ERRORS * math.sqrt(LEVEL * (1 - LEVEL) / m)
    if cell.bound == "coverage":
        return LEVEL, 0.0, LEVEL + (MISSES - LEVEL) * wider
    known = float(sizes.mean())
    return (LEVEL if math.isnan(known) and cell.measure != "power" else known), math.nan, math.nan


# Attainable sizes, counted in integers ---------------------------------------------------------------------------


def flip_sizes(steps: ArrayLike, alternative: Alternative = "greater") -> Array:
    """P(p ≤ .05) of the sign-flip test of differences in whole steps, (m, n), over all 2ⁿ flips of each row.

    How often each sum of a subset occurs, element after element; the upper tail of these counts is p.

    Examples
    --------
    >>> flip_sizes([[1, 2, 4, 8, 16], [1, 1, 1, 1, 0]]).tolist()  # 1/32; 1/16 is too large
    [0.03125, 0.0]
    """
    rows = np.sort(np.abs(np.asarray(steps, dtype=np.int64)), axis=1)
    rows //= np.maximum(np.gcd.reduce(rows, axis=1, keepdims=True), 1)
    found, where = np.unique(rows, axis=0, return_inverse=True)
    return np.array([_flip_size(row.tolist(), alternative) for row in found])[where.reshape(-1)]


def _flip_size(sizes: Sequence[int], alternative: Alternative) -> float:
    counts = np.zeros(sum(sizes) + 1)
    counts[0] = 1.0
    for size in sizes:
        counts[size:] += counts[: len(counts) - size].copy()
    tails = np.cumsum(counts[::-1])
    return _symmetric(tails, 2.0 ** len(sizes), alternative)


def _symmetric(tails: Array, total: float, alternative: Alternative) -> float:
    """The largest tail within the level, twice that within half of it if two-sided."""
    sides = 2 if alternative == "two-sided" else 1
    return sides * float(tails[tails <= math.floor(total / (20 * sides))].max(initial=0.0)) / total


def rank_sizes(steps: ArrayLike, alternative: Alternative = "greater", zeros: str = "pratt") -> Array:
    """P(p ≤ .05) of the signed-rank test, given each row's ties and zeros: that of flips of its doubled midranks."""
    rows = np.abs(np.asarray(steps, dtype=np.int64))
    if zeros == "pratt":
        ranks = scipy_stats.rankdata(rows, axis=1)
    else:  # those of the others alone
        ranks = scipy_stats.rankdata(rows, axis=1) - (rows == 0).sum(axis=1, keepdims=True)
    return flip_sizes(np.rint(2 * np.where(rows == 0, 0.0, ranks)), alternative)


def choice_sizes(values: ArrayLike, n: int, alternative: Alternative = "greater") -> Array:
    """P(p ≤ .05) of Mann–Whitney's test, over all choices of n of each row's values."""
    ranks = np.rint(2 * scipy_stats.rankdata(np.asarray(values), axis=1)).astype(np.int64)
    found, where = np.unique(np.sort(ranks, axis=1), axis=0, return_inverse=True)
    choices = np.array(list(combinations(range(ranks.shape[1]), n)))
    return np.array([_outcome_size(row[choices].sum(axis=1), alternative) for row in found])[where.reshape(-1)]


def _outcome_size(outcomes: Integers, alternative: Alternative) -> float:
    """P(p ≤ .05) over equally likely values of a statistic; two-sided p is twice the smaller tail."""
    sides = 2 if alternative == "two-sided" else 1
    size = 0.0
    for values in (outcomes, -outcomes) if sides == 2 else (outcomes,):
        _, counts = np.unique(-values, return_counts=True)
        tails = np.cumsum(counts)
        size += float(tails[tails <= len(values) // (20 * sides)].max(initial=0)) / len(values)
    return size


def trend_sizes(values: ArrayLike, sizes: tuple[int, ...]) -> Array:
    """P(p ≤ .05) of Jonckheere's test, greater, over all assignments of each row's values to groups of these sizes."""
    ascending = np.sort(np.asarray(values), axis=1)
    patterns = np.concatenate(
        [np.zeros((len(ascending), 1), np.int64), np.cumsum(np.diff(ascending, axis=1) > 0, axis=1)], axis=1
    )
    found, where = np.unique(patterns, axis=0, return_inverse=True)
    return np.array([_trend_size(tuple(row.tolist()), sizes) for row in found])[where.reshape(-1)]


@lru_cache(maxsize=4096)
def _trend_size(pattern: tuple[int, ...], sizes: tuple[int, ...]) -> float:
    groups = _assignments(sizes)
    doubled = np.zeros(len(groups), dtype=np.int64)
    for i, j in combinations(range(len(pattern)), 2):  # ascending values
        if pattern[i] == pattern[j]:
            doubled += groups[:, i] != groups[:, j]
        else:
            doubled += 2 * (groups[:, i] < groups[:, j])
    return _outcome_size(doubled, "greater")


@lru_cache(maxsize=4)
def _assignments(sizes: tuple[int, ...]) -> Integers:
    """All ways to put Σ sizes things into groups of these sizes, a row each."""

    def assigned(left: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        if not any(left):
            yield ()
        for group, size in enumerate(left):
            if size:
                for rest in assigned((*left[:group], size - 1, *left[group + 1 :])):
                    yield (group, *rest)

    return np.array(list(assigned(sizes)), dtype=np.int64)


def binomial_sizes(discordant: Integers, alternative: Alternative = "two-sided", mid: bool = False) -> Array:
    """P(p ≤ .05) of McNemar's test given the discordant examples, b being binomial with ½."""
    found, where = np.unique(discordant, return_inverse=True)
    return np.array([_binomial_size(int(n), alternative, mid) for n in found])[where]


def _binomial_size(n: int, alternative: Alternative, mid: bool) -> float:
    """In whole numbers: twice the tail, less one outcome for mid-p, against a share of 2ⁿ."""
    sides = 2 if alternative == "two-sided" else 1
    outcomes = [math.comb(n, b) for b in range(n + 1)]
    above, size = 0, 0
    for count in outcomes:  # from b = n on, which is as likely as b = 0
        above += count
        if sides * (2 * above - count * mid) * 20 > 2 * 2**n:
            break
        size += count
    return sides * size / 2**n if n else 0.0


def table_sizes(margins: Integers) -> Array:
    """P(p ≤ .05) of the exact Mantel–Haenszel test, greater: margins (m, K, 3) are a + b, a + c and the total."""
    return np.array([_table_size([tuple(table) for table in tables]) for tables in margins.tolist()])


def _table_size(tables: list[tuple[int, ...]]) -> float:
    counts = [1]
    for row, column, total in tables:
        one = [math.comb(column, a) * math.comb(total - column, row - a) for a in range(min(row, column) + 1)]
        summed = [0] * (len(counts) + len(one) - 1)
        for i, x in enumerate(counts):
            for j, y in enumerate(one):
                summed[i + j] += x * y
        counts = summed
    total_count, tail, size = sum(counts), 0, 0
    for count in reversed(counts):
        tail += count
        if 20 * tail > total_count:
            break
        size = tail
    return size / total_count


def page_size(blocks: int, treatments: int) -> float:
    """P(p ≤ .05) of Page's test, greater, without ties: over all orders of every block."""
    one = np.bincount([int(np.dot(order, range(treatments))) for order in permutations(range(treatments))])
    counts = np.ones(1)
    for _ in range(blocks):
        counts = np.convolve(counts, one)
    return _symmetric(np.cumsum(counts[::-1]), float(counts.sum()), "greater")


def friedman_size(blocks: int, treatments: int) -> float:
    """P(p ≤ .05) of Friedman's test without ties: over all orders of every block but the first."""
    orders = np.array(list(permutations(range(treatments))))
    sums = orders[0] + np.array([sum(chosen) for chosen in product(orders, repeat=blocks - 1)])
    return _outcome_size((sums**2).sum(axis=1), "greater")


# Simulated scores ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Differences:
    """Arm minus control, (m, n): as floats, and in whole steps where scores are counts."""

    d: Array
    steps: Integers | None = None


Draw = Callable[[Generator, int], Differences]


def _agreeing(rng: Generator, shape: tuple[int, ...], spread: float, level: float = 0.8) -> Integers:
    """How many of 10,000 examples each network agrees on; networks differ by ``spread`` points."""
    return rng.binomial(10_000, np.clip(level + spread / 100 * rng.standard_normal(shape), 0, 1))


def counted(n: int, spread: float) -> Draw:
    """Seeds that differ by ``spread`` points, each arm's on their own; 10,000 examples."""

    def draw(rng: Generator, m: int) -> Differences:
        arm, control = _agreeing(rng, (2, m, n), spread)
        return Differences(arm / 10_000 - control / 10_000, arm - control)

    return draw


DIFFICULTIES = ((900, 3.9), (80, 2.0), (20, 0.5))  # examples, and the probit of agreeing on one


def near_ceiling(n: int) -> Draw:
    """1,000 examples, most of them easy: about six disagreements a network. Many ties, and zeros."""

    def draw(rng: Generator, m: int) -> Differences:
        seeds = 0.15 * rng.standard_normal((2, m, n))
        agree = [rng.binomial(examples, scipy_stats.norm.cdf(ease + seeds)) for examples, ease in DIFFICULTIES]
        arm, control = np.sum(agree, axis=0)
        return Differences(arm / 1000 - control / 1000, arm - control)

    return draw


def continuous(n: int, kind: str = "normal") -> Draw:
    """A continuous metric. normal; exchangeable: both arms exponential; skewed: exponential differences of mean 0."""

    def draw(rng: Generator, m: int) -> Differences:
        if kind == "normal":
            return Differences(rng.standard_normal((m, n)))
        if kind == "exchangeable":
            arm, control = rng.standard_exponential((2, m, n))
            return Differences(arm - control)
        return Differences(rng.standard_exponential((m, n)) - 1)

    return draw


def taught(teachers: int, students: int, pairs: bool = False) -> Draw:
    """Teacher means of counts: students share a teacher, which sets their level and, by .2 points, the arm's effect.

    In pairs, one side is taught by the other teacher: a pair's effect on both, and what one gains the other loses.
    """

    def draw(rng: Generator, m: int) -> Differences:
        shared = rng.standard_normal((m, teachers, 1))
        effect = rng.standard_normal((m, teachers, 1))
        if pairs:
            gained = effect - effect[:, np.arange(teachers) ^ 1]
            effect = 0.5 * gained + np.repeat(rng.standard_normal((m, teachers // 2, 1)), 2, axis=1)
        seeds = rng.standard_normal((2, m, teachers, students))
        points = 80 + shared + 0.3 * seeds + 0.1 * effect * np.array([1, -1])[:, None, None, None]
        arm, control = rng.binomial(10_000, points / 100)
        names = np.repeat(np.arange(teachers), students)
        clusters = names // 2 if pairs else None
        rows = (arm / 10_000 - control / 10_000).reshape(m, -1).T
        units = to_units(rows, names, clusters).values.T
        steps = (arm - control).sum(axis=2)
        return Differences(units, steps.reshape(m, -1, 2).sum(axis=2) if pairs else steps)

    return draw


# What is simulated -----------------------------------------------------------------------------------------------

Simulate = Callable[[Generator, int], Outcome]


def _rejected(p: ArrayLike) -> NDArray[np.bool_]:
    return np.asarray(p) <= LEVEL  # NaN, where a test does not exist, rejects nothing


def rejects(
    draw: Draw, test: Callable[..., Any], size: Callable[[Differences], float | Array] | None = None
) -> Simulate:
    """Whether a test of paired differences rejects, and each protocol's attainable size."""

    def simulate(rng: Generator, m: int) -> Outcome:
        sample = draw(rng, m)
        return Outcome(_rejected(test(sample.d).p_value), size(sample) if size else math.nan)

    return simulate


def covered(
    draw: Draw,
    interval: Callable[[Array], tuple[ArrayLike, ArrayLike]],
    size: Callable[[Differences], float | Array] | None = None,
    truth: float = 0.0,
) -> Simulate:
    """Whether an interval misses the truth, on either side."""

    def simulate(rng: Generator, m: int) -> Outcome:
        sample = draw(rng, m)
        return _missed(interval(sample.d), truth, size(sample) if size else math.nan)

    return simulate


def _missed(ends: tuple[ArrayLike, ArrayLike], truth: float = 0.0, size: float | Array = math.nan) -> Outcome:
    """An end that equals the truth but for rounding holds it; no interval at all (NaN) holds nothing."""
    low, high = np.asarray(ends[0]), np.asarray(ends[1])
    below, above = high < truth - 1e-12, low > truth + 1e-12
    return Outcome(below | above | np.isnan(low), size, int(below.sum()), int(above.sum()))


def flips_of(sample: Differences, alternative: Alternative = "two-sided") -> float | Array:
    """Size of a sign-flip test: of continuous differences the largest multiple of 2⁻ⁿ within the level."""
    if sample.steps is not None:
        return flip_sizes(sample.steps, alternative)
    sides, flips = (2 if alternative == "two-sided" else 1), 2 ** sample.d.shape[1]
    return sides * (flips // (20 * sides)) / flips


def ranks_of(sample: Differences, alternative: Alternative = "two-sided", zeros: str = "pratt") -> float | Array:
    if sample.steps is not None:
        return rank_sizes(sample.steps, alternative, zeros)
    return float(rank_sizes([np.arange(1, sample.d.shape[1] + 1)], alternative)[0])


def moved(draw: Draw, by: float) -> Draw:
    """Differences with another true mean; their steps are those from it."""

    def drawn(rng: Generator, m: int) -> Differences:
        sample = draw(rng, m)
        return Differences(sample.d + by, sample.steps)

    return drawn


def at_any_look(draw: Draw, alternative: Alternative = "two-sided") -> Simulate:
    """Whether the e-process ever reaches 1 / level."""

    def simulate(rng: Generator, m: int) -> Outcome:
        p = anytime_p_values(e_process(draw(rng, m).d, alternative=alternative))
        return Outcome(np.any(_rejected(p), axis=1))

    return simulate


# Unpaired samples, ladders and single networks


def unpaired(n: int, k: int, ties: bool, alternative: Alternative) -> Simulate:
    """Mann–Whitney of networks that share nothing; with ties, counts near the ceiling."""

    def simulate(rng: Generator, m: int) -> Outcome:
        values = _wrong(rng, (m, n + k)) if ties else rng.permuted(np.tile(np.arange(n + k), (m, 1)), axis=1)
        p = mann_whitney(values[:, :n], values[:, n:], alternative=alternative).p_value
        return Outcome(_rejected(p), choice_sizes(values if ties else values[:1], n, alternative))

    return simulate


def _wrong(rng: Generator, shape: tuple[int, ...]) -> Integers:
    """How many of 1,000 examples a network near the ceiling disagrees on."""
    return rng.binomial(1000, 0.004, shape)


def ladder(groups: int, teachers: int, students: int, ties: bool) -> Simulate:
    """Jonckheere's test of teacher means, ``teachers`` a capacity, each with students of its own."""
    sizes = (teachers,) * groups

    def simulate(rng: Generator, m: int) -> Outcome:
        shape = (m, groups * teachers, students)
        level = 0.004 * np.exp(0.3 * rng.standard_normal((*shape[:2], 1)))
        values = rng.binomial(1000, level, shape).sum(axis=2)
        if not ties:
            values = rng.permuted(np.tile(np.arange(shape[1]), (m, 1)), axis=1)
        labels = np.repeat(np.arange(groups), teachers)
        p = [jonckheere(row / (1000 * students), labels, alternative="greater").p_value for row in values]
        return Outcome(_rejected(p), trend_sizes(values if ties else values[:1], sizes))

    return simulate


def blocks(test: Callable[..., Any], n: int, treatments: int, size: float) -> Simulate:
    """Page's or Friedman's test of a continuous metric over blocks that differ."""

    def simulate(rng: Generator, m: int) -> Outcome:
        scores = rng.standard_normal((m, n, treatments)) + rng.standard_normal((m, n, 1))
        return Outcome(_rejected([test(x).p_value for x in scores]), size)

    return simulate


def _discordant(rng: Generator, examples: int, wrong: Array) -> Integers:
    """Examples on which only the first, only the second of two networks is wrong, and the rest: (3, ...) counts.

    Errors are independent given the networks' rates, (2, ...).
    """
    first, second = wrong[0] * (1 - wrong[1]), wrong[1] * (1 - wrong[0])
    return np.moveaxis(rng.multinomial(examples, np.stack([first, second, 1 - first - second], axis=-1)), -1, 0)


def two_networks(examples: int, wrong: float, mid: bool = False, spread: float = 0.0) -> Simulate:
    """McNemar's test of two networks; with a spread in points, those are seeds, and the null is about their recipe."""
    method: Any = "mid-p" if mid else "exact"

    def simulate(rng: Generator, m: int) -> Outcome:
        counts = _discordant(rng, examples, np.clip(wrong + spread / 100 * rng.standard_normal((2, m)), 0, 1))
        p = [mcnemar([[rest, x], [y, 0]], method=method).p_value for x, y, rest in counts.T.tolist()]
        return Outcome(_rejected(p), math.nan if spread else binomial_sizes(counts[:2].sum(axis=0), mid=mid))

    return simulate


def pooled_examples(n: int, spread: float, examples: int = 10_000) -> Simulate:
    """The t test of all examples of each of n seeds, taken for n times as many replicates."""

    def simulate(rng: Generator, m: int) -> Outcome:
        wrong = np.clip(0.1 + spread / 100 * rng.standard_normal((2, m, n)), 0, 1)
        lost, gained, _ = _discordant(rng, examples, wrong).sum(axis=2)[..., None]
        place = np.arange(n * examples)
        d = (place < gained).astype(np.float64) - (place >= n * examples - lost)
        return Outcome(_rejected(paired_t(d).p_value))

    return simulate


def by_difficulty(groups: int) -> Callable[[Generator, int], tuple[Integers, Integers]]:
    """Arm and control on 15 examples each of several difficulties: tables (m, groups, 2, 2), and their margins."""

    def draw(rng: Generator, m: int) -> tuple[Integers, Integers]:
        agree = rng.binomial(15, np.linspace(0.3, 0.8, groups)[:, None], (m, groups, 2))
        tables = np.stack([agree, 15 - agree], axis=-1)
        return tables, np.stack([np.full((m, groups), 15), agree.sum(axis=2), np.full((m, groups), 30)], axis=-1)

    return draw


def all_pairs(n: int, treatments: int) -> Simulate:
    """The smallest adjusted p of all pairs of treatments."""

    def simulate(rng: Generator, m: int) -> Outcome:
        scores = rng.standard_normal((m, n, treatments))
        return Outcome(_rejected([friedman_pairs(x)["p_adjusted"].min() for x in scores]))

    return simulate


def stratified_tables(groups: int) -> Simulate:
    def simulate(rng: Generator, m: int) -> Outcome:
        tables, margins = by_difficulty(groups)(rng, m)
        p = [mantel_haenszel(table, alternative="greater").p_value for table in tables]
        return Outcome(_rejected(p), table_sizes(margins))

    return simulate


def stratified_odds(groups: int, method: Any) -> Simulate:
    def simulate(rng: Generator, m: int) -> Outcome:
        tables, _ = by_difficulty(groups)(rng, m)
        ends = [mantel_haenszel(table, method=method).confidence_interval() for table in tables]
        low, high = np.array(ends).T
        return _missed((low, high), truth=1.0)

    return simulate


def table_interval(test: Callable[..., Any], truth: float) -> Simulate:
    """Of two networks on 500 examples: 30 are right in x alone, 20 in y alone, on average."""

    def simulate(rng: Generator, m: int) -> Outcome:
        counts = rng.multinomial(500, [0.06, 0.04, 0.9], m).tolist()
        ends = [test([[rest, x], [y, 0]]).confidence_interval() for x, y, rest in counts]
        low, high = np.array(ends).T
        return _missed((low, high), truth)

    return simulate


def equivalent_proportions(margin: float) -> Simulate:
    """Two networks whose accuracies differ by the margin."""

    def simulate(rng: Generator, m: int) -> Outcome:
        counts = rng.multinomial(1000, [0.03 + margin, 0.03, 0.94 - margin], m).tolist()
        return Outcome(
            _rejected([tost_proportions([[rest, x], [y, 0]], margin=margin).p_value for x, y, rest in counts])
        )

    return simulate


# New examples


@dataclass(frozen=True)
class Crossed:
    """Per-example differences of replicates, both new: x = replicate + example + rest, in units of the rest.

    kind: normal; exponential replicates and examples; binary, the difference of two networks being right or wrong.
    """

    units: int
    replicates: float
    examples: float
    kind: str = "normal"
    students: int = 1
    mean: float = 0.0

    def __call__(self, rng: Generator, m: int) -> Array:
        if self.kind == "binary":
            return self._binary(rng, m)
        noise = rng.standard_normal if self.kind == "normal" else lambda shape: rng.standard_exponential(shape) - 1
        rest = rng.standard_normal((m, self.units, EXAMPLES), dtype=np.float32) / np.sqrt(self.students)
        within = rng.standard_normal((m, self.units, 1)) * self.replicates / np.sqrt(self.students)
        between = noise((m, self.units, 1)) * self.replicates
        rows = between + within * (self.students > 1)
        return self.mean + rows + self.examples * noise((m, 1, EXAMPLES)) + rest

    def _binary(self, rng: Generator, m: int) -> Array:
        """Arm and control have a seed's ability, an example its difficulty, alike and for each of them."""
        difficulty = 1.0 + rng.standard_normal((m, 1, EXAMPLES), dtype=np.float32)
        right = [
            difficulty
            + self.examples * rng.standard_normal((m, 1, EXAMPLES), dtype=np.float32)
            + self.replicates * rng.standard_normal((m, self.units, 1), dtype=np.float32)
            + rng.standard_normal((m, self.units, EXAMPLES), dtype=np.float32)
            > 0
            for _ in range(2)
        ]
        return right[0].astype(np.float64) - right[1]


def new_examples(draw: Crossed, alternative: Alternative = "two-sided") -> Simulate:
    return lambda rng, m: Outcome(_rejected(two_way(draw(rng, m)).p_value(alternative)))


def new_examples_interval(draw: Crossed, strata: ArrayLike | None = None) -> Simulate:
    return lambda rng, m: _missed(two_way(draw(rng, m), strata).confidence_interval())


def new_examples_family(draw: Crossed, k: int) -> Simulate:
    """Whether Holm rejects any of k contrasts: the test far out in its tail."""

    def simulate(rng: Generator, m: int) -> Outcome:
        p = np.reshape(two_way(draw(rng, m * k)).p_value(), (m, k))
        return Outcome(_rejected([adjust(row, "holm").min() for row in p]))

    return simulate


def bootstrapped(draw: Crossed, method: Any) -> Simulate:
    """2,000 draws, whose weights are the same for all protocols."""
    return lambda rng, m: _missed(bootstrap(draw(rng, m), method=method, draws=2000))


# Families


@dataclass(frozen=True)
class Family:
    """k contrasts of n units. own: each has its own control; shared: one control for all arms."""

    k: int
    n: int
    control: str = "own"
    kind: str = "normal"

    def __call__(self, rng: Generator, m: int) -> Array:
        noise = rng.standard_normal if self.kind == "normal" else rng.standard_exponential
        arms = noise((m, self.k, self.n))
        return arms - noise((m, self.k if self.control == "own" else 1, self.n))


def family(draw: Family, rejected: Callable[[Array], Any], effects: int = 0, size: float = math.nan) -> Simulate:
    """Whether any true null hypothesis is rejected; the first ``effects`` are false, and clearly so."""

    def simulate(rng: Generator, m: int) -> Outcome:
        d = draw(rng, m)
        d[:, :effects] += 100
        return Outcome(_rejected([np.min(p[effects:]) for p in rejected(d)]), size)

    return simulate


def adjusted(test: Callable[..., Any], method: str) -> Callable[[Array], Any]:
    return lambda d: [adjust(p, method) for p in test(d).p_value]


def joint(alternatives: Any) -> Callable[[Array], Any]:
    return lambda d: [max_t(x, alternatives=alternatives).p_value for x in d]


def at_any_look_of_family(draw: Family) -> Simulate:
    """e-Holm of running maxima: whether any hypothesis is ever rejected."""

    def simulate(rng: Generator, m: int) -> Outcome:
        largest = np.maximum.accumulate(e_process(draw(rng, m), alternative="greater"), axis=-1)
        return Outcome(np.any(e_holm(np.swapaxes(largest, 1, 2)) >= 1 / LEVEL, axis=(1, 2)))

    return simulate


# Teachers


def of_these(sizes: Sequence[int], test: str, alternative: Alternative = "two-sided") -> Simulate:
    """Students within fixed teachers, as ``infer`` weighs them: each teacher the same, however many students."""
    names = np.repeat(np.arange(len(sizes)), sizes)
    weights = math.lcm(*sizes) // np.array(sizes)[names]

    def simulate(rng: Generator, m: int) -> Outcome:
        points = 80 + rng.standard_normal((m, len(sizes)))[:, names] + 0.2 * rng.standard_normal((2, m, len(names)))
        arm, control = rng.binomial(10_000, points / 100)
        d = arm / 10_000 - control / 10_000
        p = [infer(row, strata=names, test=test, alternative=alternative).p_value for row in d]
        return Outcome(_rejected(p), flip_sizes((arm - control) * weights, alternative))

    return simulate


def strata(n: int, crossed: bool = False, **options: Any) -> Simulate:
    """n datasets × 5 teachers × 2 students; crossed: the same teachers on all of the datasets, which are a sample."""

    def simulate(rng: Generator, m: int) -> Outcome:
        d = rng.standard_normal((m, n, 5, 2))
        if options.get("scope") != "these":
            d += 0.7 * rng.standard_normal((m, 1 if crossed else n, 5, 1))
        if crossed:
            d += 0.5 * rng.standard_normal((m, n, 1, 1)) + 0.3 * rng.standard_normal((m, n, 5, 1))
        return Outcome(_rejected([anova(x, **options).mean.p_value for x in d]))

    return simulate


STUDENT_SD, TEACHER_SD = 1.0, math.sqrt(0.5)
EFFECT = 0.81  # at which 5 teachers × 4 students have power .53


def students_of_teachers(teachers: int, students: int, effect: float = 0.0, pooled: bool = False) -> Simulate:
    """One-sided paired t of teacher means, or of all students as if they were units."""

    def simulate(rng: Generator, m: int) -> Outcome:
        between = TEACHER_SD * rng.standard_normal((m, teachers, 1))
        d = effect + between + STUDENT_SD * rng.standard_normal((m, teachers, students))
        units = d.reshape(m, -1) if pooled else d.mean(axis=2)
        return Outcome(_rejected(paired_t(units, alternative="greater").p_value))

    return simulate


# Intervals and power


def ratios(n: int, room: float) -> Simulate:
    """Fieller's interval of mean gain over mean room, units correlated."""

    def simulate(rng: Generator, m: int) -> Outcome:
        denominator = room + 0.1 * rng.standard_normal((m, n))
        numerator = 0.3 * denominator + 0.05 * rng.standard_normal((m, n))
        found = [fieller(x, y) for x, y in zip(numerator, denominator, strict=True)]
        return _missed(([one.low for one in found], [one.high for one in found]), truth=0.3)

    return simulate


def unpaired_interval(test: Callable[..., Any], n: int, size: float = math.nan) -> Simulate:
    def simulate(rng: Generator, m: int) -> Outcome:
        return _missed(test(*rng.standard_normal((2, m, n))).confidence_interval(), size=size)

    return simulate


def at_all_looks(draw: Draw) -> Simulate:
    """Whether any interval of the sequence misses."""

    def simulate(rng: Generator, m: int) -> Outcome:
        low, high = confidence_sequence(draw(rng, m).d)
        return _missed((low.max(axis=1), high.min(axis=1)))

    return simulate


def expecting(simulate: Simulate, *design: Any, **options: Any) -> Simulate:
    """With the power that ``planning.power`` gives."""

    def simulated(rng: Generator, m: int) -> Outcome:
        return replace(simulate(rng, m), size=_planned(*design, **options))

    return simulated


@lru_cache(maxsize=64)
def _planned(*design: Any, **options: Any) -> float:
    return power(*design, alternative="greater", **options).power


# The registry ----------------------------------------------------------------------------------------------------

GREATER: dict[str, Any] = {"alternative": "greater"}
NEAR = "near the ceiling: ties and zeros"
SKEWED = "skewed differences of mean 0"


def _spread(points: float) -> str:
    return f"counts of 10,000, seeds spread {points:g} points"


def flips(draw: Draw, **side: Any) -> Simulate:
    return rejects(draw, partial(sign_flip, **side), partial(flips_of, **side))


def ranks(draw: Draw, **options: Any) -> Simulate:
    return rejects(draw, partial(wilcoxon, **options), partial(ranks_of, **options))


def t(draw: Draw, **side: Any) -> Simulate:
    return rejects(draw, partial(paired_t, **side))


def of_counts() -> Iterator[Cell]:
    """Seeds that differ by 0, .2 and .4 points; near the ceiling, where many are tied."""
    for n, points in product((3, 5, 8, 10, 12, 20, 30), (0.0, 0.2, 0.4)):
        draw, name, fast = counted(n, points), f"{n}-spread-{points:g}", n <= 10 and points == 0.2
        null = f"{_spread(points)}, one-sided"
        yield Cell(f"sign-flip-{name}", "sign_flip", n, null, "exact", flips(draw, **GREATER), fast=fast)
        if n in (3, 5, 10, 30):
            yield Cell(f"t-{name}", "paired_t", n, _spread(points), "continuous", t(draw), fast=fast)
    for n in (8, 10, 20):
        draw, null = counted(n, 0.2), _spread(0.2)
        yield Cell(f"sign-flip-{n}-two-sided", "sign_flip", n, null, "exact", flips(draw))
        yield Cell(f"wilcoxon-{n}-spread-0.2", "wilcoxon", n, null, "exact", ranks(draw))
    for n in (5, 8, 12, 20):
        draw, side, null = near_ceiling(n), (GREATER if n == 5 else {}), NEAR + ", one-sided" * (n == 5)
        yield Cell(f"sign-flip-{n}-ceiling", "sign_flip", n, null, "exact", flips(draw, **side), fast=n == 8)
        for zeros in ("pratt", "wilcox"):
            name, simulate = f"wilcoxon-{n}-ceiling-{zeros}", ranks(draw, zeros=zeros, **side)
            yield Cell(name, "wilcoxon", n, f"{null} ({zeros})", "exact", simulate, fast=n == 8)
    for n in (3, 5, 8, 12, 20):
        yield Cell(f"t-{n}-ceiling", "paired_t", n, NEAR, "at most", t(near_ceiling(n)))


def of_floats() -> Iterator[Cell]:
    """A continuous metric: normal; skewed, but arms exchangeable; differences that are skewed themselves."""
    for n in (8, 20, 30):
        draw, null = continuous(n), "continuous metric, normal"
        yield Cell(f"sign-flip-{n}-normal", "sign_flip", n, null, "exact", flips(draw))
        yield Cell(f"wilcoxon-{n}-normal", "wilcoxon", n, null, "exact", ranks(draw))
    sampled = rejects(continuous(30), partial(sign_flip, method="sampled"))
    yield Cell("sign-flip-30-sampled", "sign_flip", 30, "continuous metric, 99,999 draws", "continuous", sampled)
    for n in (5, 10, 20):
        draw, side = continuous(n, "exchangeable"), (GREATER if n == 5 else {})
        null = "skewed marginals, arms exchangeable" + ", one-sided" * (n == 5)
        yield Cell(f"sign-flip-{n}-exchangeable", "sign_flip", n, null, "exact", flips(draw, **side))
        yield Cell(f"wilcoxon-{n}-exchangeable", "wilcoxon", n, null, "exact", ranks(draw, **side))
        yield Cell(f"t-{n}-exchangeable", "paired_t", n, null, "at most", t(draw, **side), fast=n == 10)
    for n, direction in product((5, 10, 20), ("greater", "less")):
        for name, test in (("sign-flip", sign_flip), ("wilcoxon", wilcoxon), ("t", paired_t)):
            simulate = rejects(continuous(n, "skewed"), partial(test, alternative=direction))
            yield Cell(
                f"{name}-{n}-skewed-{direction}", test.__name__, n, f"{SKEWED}, {direction}", "published", simulate
            )


def of_teachers() -> Iterator[Cell]:
    """Students that share teachers: whole teachers, pairs of teachers, and these teachers."""
    for teachers, students, pairs in ((5, 4, False), (10, 2, False), (10, 2, True), (20, 2, True)):
        n, draw = (teachers // 2 if pairs else teachers), taught(teachers, students, pairs)
        name = f"{'kd-other' if pairs else 'recipe'}-{teachers}x{students}"
        null = f"scope recipe, {teachers} teachers × {students} students{', in pairs' * pairs}"
        simulate, fast = flips(draw, **GREATER), name == "recipe-5x4"
        yield Cell(f"sign-flip-{name}", "sign_flip", n, f"{null}, one-sided", "exact", simulate, fast=fast)
        yield Cell(f"t-{name}", "paired_t", n, null, "continuous", t(draw))
    for sizes in ((4, 4, 4), (2, 3, 4)):
        name, n = f"these-{'+'.join(map(str, sizes))}", sum(sizes)
        null = f"scope these, 3 teachers of {', '.join(map(str, sizes))} students"
        simulate = of_these(sizes, "sign-flip", "greater")
        yield Cell(f"sign-flip-{name}", "sign_flip", n, f"{null}, one-sided", "exact", simulate)
        yield Cell(f"t-{name}", "paired_t", n, null, "continuous", of_these(sizes, "paired-t"))

    words = "3 datasets × 5 teachers × 2 students"
    simulate = strata(3)
    yield Cell("anova-recipe", "anova", 15, f"scope recipe, {words}", "continuous", simulate)
    simulate = strata(3, scope="these")
    yield Cell("anova-these", "anova", 30, f"scope these, {words}", "continuous", simulate)
    simulate = strata(5, crossed=True, datasets="like these", shared="teachers")
    null = "datasets like these, 5 × 5 shared teachers × 2 students"
    yield Cell("anova-crossed", "anova", 5, null, "at most", simulate)


def of_margins() -> Iterator[Cell]:
    """Equivalence where the true difference is the margin."""
    for n in (5, 10, 20):
        draw, null, fast = moved(counted(n, 0.2), 0.05), "true difference at the margin", n == 10
        simulate = rejects(draw, partial(tost, margin=0.05), partial(flips_of, **GREATER))
        yield Cell(f"tost-sign-flip-{n}", "tost(sign_flip)", n, null, "exact", simulate, fast=fast)
        simulate = rejects(draw, partial(tost, margin=0.05, test=wilcoxon), partial(ranks_of, **GREATER))
        yield Cell(f"tost-wilcoxon-{n}", "tost(wilcoxon)", n, null, "exact", simulate)
        simulate = rejects(draw, partial(tost, margin=0.05, test=paired_t))
        yield Cell(f"tost-t-{n}", "tost(paired_t)", n, null, "continuous", simulate)
    draw = moved(counted(10, 0.2), -0.05)
    simulate = rejects(draw, partial(non_inferiority, margin=0.05), partial(flips_of, **GREATER))
    yield Cell("non-inferiority-10", "non_inferiority", 10, null, "exact", simulate)
    simulate = equivalent_proportions(0.02)
    yield Cell("tost-proportions", "tost_proportions", 1000, f"two networks, {null}", "published", simulate)


def of_new_examples() -> Iterator[Cell]:
    """Where replicates hardly differ the pivot is conservative, and no more is promised than the level."""
    spreads = ((0.3, 0.0), (0.3, 0.1), (0.1, 0.3), (0.02, 0.5), (0.0, 0.0))
    for n, (replicates, examples) in product((3, 5, 10, 30), spreads):
        name = f"two-way-{n}-{replicates:g}-{examples:g}"
        null = f"spread of replicates {replicates:g}, of examples {examples:g}"
        bound: Bound = "continuous" if replicates >= 0.1 else "at most"
        simulate = new_examples(Crossed(n, replicates, examples))
        yield Cell(
            name, "two_way", n, null, bound, simulate, block=100, fast=(n, replicates, examples) == (5, 0.1, 0.3)
        )
    for n in (5, 10):
        simulate = new_examples(Crossed(n, 0.2, 0.2, students=2))
        null = "scope recipe, 2 students a teacher"
        yield Cell(f"two-way-{n}-recipe", "two_way", n, null, "continuous", simulate, block=100)
        simulate = new_examples(Crossed(n, 0.2, 0.2, "binary"))
        yield Cell(f"two-way-{n}-binary", "two_way", n, "right or wrong", "continuous", simulate, block=100)
        for side in get_args(Alternative)[1:]:
            simulate = new_examples(Crossed(n, 0.3, 0.1, "exponential"), side)
            null = f"exponential replicates and examples, {side}"
            yield Cell(f"two-way-{n}-skewed-{side}", "two_way", n, null, "published", simulate, block=100)


def of_others() -> Iterator[Cell]:
    """Unpaired samples, ladders, blocks, and two single networks."""
    samples: tuple[tuple[int, int, bool, Alternative], ...] = (
        (3, 3, False, "greater"), (4, 6, True, "greater"), (5, 5, False, "two-sided"), (5, 5, True, "two-sided"),
        (10, 10, False, "two-sided"),
    )  # fmt: skip
    for n, k, ties, side in samples:
        name, null = (
            f"mann-whitney-{n}-{k}{'-ties' * ties}",
            f"{n} and {k} networks{', near the ceiling' * ties}, {side}",
        )
        yield Cell(name, "mann_whitney", n + k, null, "exact", unpaired(n, k, ties, side), fast=n == 4)
    for groups, teachers, ties in ((3, 3, False), (3, 3, True), (4, 2, True)):
        name, n = f"jonckheere-{groups}x{teachers}{'-ties' * ties}", groups * teachers
        null = f"{groups} capacities × {teachers} teachers × 2 students{', near the ceiling' * ties}, one-sided"
        yield Cell(name, "jonckheere", n, null, "exact", ladder(groups, teachers, 2, ties), fast=groups == 4)
    simulate = blocks(page_l, 4, 4, page_size(4, 4))
    yield Cell("page-4x4", "page_l", 4, "4 blocks × 4 treatments", "exact", simulate)
    simulate = blocks(friedman, 5, 3, friedman_size(5, 3))
    yield Cell("friedman-5x3", "friedman", 5, "5 blocks × 3 treatments", "exact", simulate)
    null = "two networks alike in accuracy"
    yield Cell("mcnemar", "mcnemar", 500, null, "exact", two_networks(500, 0.05), fast=True)
    yield Cell("mcnemar-mid-p", "mcnemar (mid-p)", 500, null, "exact", two_networks(500, 0.05, mid=True))
    null = "arm and control at 3 difficulties, one-sided"
    yield Cell("mantel-haenszel", "mantel_haenszel", 90, null, "exact", stratified_tables(3))


def of_families() -> Iterator[Cell]:
    """Whether any true null is rejected: the family-wise error. Independent contrasts have 1 - Π (1 - size)."""
    k, n, joint_flips = 6, 10, 2**10
    own, shared, skewed = Family(k, n), Family(k, n, "shared"), Family(k, n, "shared", "exponential")
    null, half, arms = "6 contrasts, a control each", "6 contrasts, 3 of them false", "6 arms, one control"

    def any_of(size: float, m: int) -> float:
        return 1 - (1 - size) ** m

    def first_step(m: int) -> float:  # of Holm over m two-sided sign flips
        return 2 * (joint_flips // (40 * m)) / joint_flips

    holm, t_holm = adjusted(sign_flip, "holm"), adjusted(paired_t, "holm")
    simulate = family(own, holm, size=any_of(first_step(k), k))
    yield Cell("holm-sign-flip", "holm(sign_flip)", n, null, "exact", simulate, fast=True)
    simulate = family(own, holm, 3, any_of(first_step(3), 3))
    yield Cell("holm-sign-flip-strong", "holm(sign_flip)", n, half, "exact", simulate)
    simulate = family(own, t_holm, size=any_of(LEVEL / k, k))
    yield Cell("holm-t", "holm(paired_t)", n, null, "exact", simulate)
    yield Cell("bh-t", "bh(paired_t)", n, null, "continuous", family(own, adjusted(paired_t, "bh")))
    yield Cell("by-t", "by(paired_t)", n, null, "at most", family(own, adjusted(paired_t, "by")))
    yield Cell("holm-shared", "holm(sign_flip)", n, arms, "at most", family(shared, holm))
    yield Cell("holm-shared-skewed", "holm(sign_flip)", n, f"{arms}, exponential", "at most", family(skewed, holm))
    for units in (3, 5):
        simulate, words = new_examples_family(Crossed(units, 0.3, 0.1), 12), "12 contrasts, new examples"
        yield Cell(f"holm-two-way-{units}", "holm(two_way)", units, words, "at most", simulate, block=25)
    one_sided, two_sided = joint_flips // 20 / joint_flips, first_step(1)
    simulate = family(own, joint("greater"), size=one_sided)
    yield Cell("max-t-greater", "max_t", n, f"{null}, greater", "exact", simulate)
    simulate = family(own, joint("two-sided"), size=two_sided)
    yield Cell("max-t-two-sided", "max_t", n, f"{null}, two-sided", "exact", simulate)
    simulate = family(own, joint(["greater", "two-sided", "less"] * 2), size=one_sided)
    yield Cell("max-t-mixed", "max_t", n, f"{null}, all sides", "exact", simulate, fast=True)
    yield Cell("max-t-strong", "max_t", n, half, "at most", family(own, joint("greater"), 3))
    simulate = family(shared, joint("greater"), size=one_sided)
    yield Cell("max-t-shared", "max_t", n, f"{arms}, greater", "exact", simulate)
    for side in get_args(Alternative):  # less: one arm, six controls
        name, simulate = f"max-t-shared-skewed-{side}", family(skewed, joint(side))
        yield Cell(name, "max_t", n, f"{arms}, exponential, {side}", "at most", simulate)
    null = "8 blocks × 4 treatments, 6 pairs, Holm"
    yield Cell("friedman-pairs", "friedman_pairs", 8, null, "at most", all_pairs(8, 4))


def of_looks() -> Iterator[Cell]:
    """Whether an anytime test ever rejects, in 30 looks."""
    draws = {
        "normal": (continuous(30), "continuous metric, normal"),
        "spread-0.2": (counted(30, 0.2), _spread(0.2)),
        "ceiling": (near_ceiling(30), NEAR),
        "exchangeable": (continuous(30, "exchangeable"), "skewed marginals, arms exchangeable"),
    }
    for name, (draw, null) in draws.items():
        simulate, fast = at_any_look(draw), name == "ceiling"
        yield Cell(f"anytime-{name}", "anytime", 30, f"{null}, any look", "at most", simulate, fast=fast)
    for side in get_args(Alternative)[1:]:
        simulate = at_any_look(continuous(30, "skewed"), side)
        yield Cell(f"anytime-skewed-{side}", "anytime", 30, f"{SKEWED}, {side}, any look", "published", simulate)
    for control, words in (("own", "a control each"), ("shared", "one control")):
        null, simulate = f"4 hypotheses, {words}, any look", at_any_look_of_family(Family(4, 30, control))
        yield Cell(f"e-holm-{control}", "e_holm(e_process)", 30, null, "at most", simulate)


def of_wrong_units() -> Iterator[Cell]:
    """What is refused, and why."""
    bounds: tuple[tuple[float, Bound], ...] = ((0.0, "published"), (0.2, "published"), (0.4, "negative control"))
    for points, bound in bounds:
        null = f"5 seeds × 10,000 examples as 50,000 replicates, seeds spread {points:g} points"
        simulate = pooled_examples(5, points)
        yield Cell(f"pooled-examples-{points:g}", "pooled examples", 5, null, bound, simulate, block=100)
    null, simulate = "5 teachers × 4 students as 20 units of the recipe", students_of_teachers(5, 4, pooled=True)
    yield Cell("pooled-students", "pooled students", 20, null, "negative control", simulate, fast=True)
    null, simulate = "one seed an arm, spread 0.4 points, as a claim about seeds", two_networks(10_000, 0.1, spread=0.4)
    yield Cell("mcnemar-as-recipe", "mcnemar (of seeds)", 10_000, null, "published", simulate)


def of_intervals() -> Iterator[Cell]:
    covers = partial(Cell, measure="coverage")

    def ends(test: Callable[..., Any]) -> Callable[[Array], Any]:
        return lambda d: test(d).confidence_interval()

    for n in (3, 5, 10, 30):
        simulate = covered(counted(n, 0.2), ends(paired_t))
        yield covers(f"t-interval-{n}", "paired_t interval", n, _spread(0.2), "continuous", simulate)
    simulate = covered(near_ceiling(10), ends(paired_t))
    yield covers("t-interval-10-ceiling", "paired_t interval", 10, NEAR, "coverage", simulate)
    simulate = covered(continuous(10, "skewed"), ends(paired_t))
    yield covers("t-interval-10-skewed", "paired_t interval", 10, SKEWED, "published", simulate)

    for n, m in ((5, 10_000), (6, 10_000), (10, 10_000), (20, 2_000)):
        null = f"continuous metric, normal{': infinite' * (n == 5)}"
        simulate, name = covered(continuous(n), ends(sign_flip), flips_of), f"sign-flip-interval-{n}"
        yield covers(name, "sign_flip interval", n, null, "exact", simulate, protocols=m, fast=n == 6)
    for name, draw, null in (("spread-0.2", counted(10, 0.2), _spread(0.2)), ("ceiling", near_ceiling(10), NEAR)):
        simulate = covered(draw, ends(sign_flip), flips_of)
        yield covers(f"sign-flip-interval-10-{name}", "sign_flip interval", 10, null, "exact", simulate)
    simulate = covered(continuous(10, "skewed"), ends(sign_flip))
    yield covers("sign-flip-interval-10-skewed", "sign_flip interval", 10, SKEWED, "published", simulate)

    simulate = covered(continuous(10), ends(wilcoxon), ranks_of)
    yield covers("wilcoxon-interval-10", "wilcoxon interval", 10, "continuous metric, normal", "exact", simulate)
    simulate = covered(near_ceiling(10), ends(wilcoxon))
    yield covers("wilcoxon-interval-10-ceiling", "wilcoxon interval", 10, NEAR, "at most", simulate, protocols=2_000)

    of_matrices = partial(covers, protocols=MATRICES, block=100)
    for n, (replicates, examples) in product((3, 5, 10, 30), ((0.3, 0.1), (0.1, 0.3), (0.02, 0.5))):
        name = f"two-way-interval-{n}-{replicates:g}-{examples:g}"
        null = f"spread of replicates {replicates:g}, of examples {examples:g}"
        simulate = new_examples_interval(Crossed(n, replicates, examples))
        yield of_matrices(name, "two_way interval", n, null, "coverage", simulate, fast=n == 5)
    simulate = new_examples_interval(Crossed(5, 0.2, 0.2, students=2))
    null = "scope recipe, 2 students a teacher"
    yield of_matrices("two-way-interval-5-recipe", "two_way interval", 5, null, "coverage", simulate)
    simulate = new_examples_interval(Crossed(12, 0.2, 0.2), np.repeat(np.arange(3), 4))
    null = "scope these, 3 teachers × 4 students"
    yield of_matrices("two-way-interval-12-these", "two_way interval", 12, null, "coverage", simulate)
    simulate = new_examples_interval(Crossed(10, 0.2, 0.2, "binary"))
    yield of_matrices("two-way-interval-10-binary", "two_way interval", 10, "right or wrong", "coverage", simulate)
    for n in (5, 10):
        simulate = new_examples_interval(Crossed(n, 0.3, 0.1, "exponential"))
        name, null = f"two-way-interval-{n}-skewed", "exponential replicates and examples"
        yield of_matrices(name, "two_way interval", n, null, "published", simulate)
    for method, n in product(("percentile", "bca", "t"), (5, 10, 30)):
        simulate, null = bootstrapped(Crossed(n, 0.3, 0.1), method), "spread of replicates 0.3, of examples 0.1"
        yield of_matrices(f"bootstrap-{method}-{n}", f"bootstrap {method}", n, null, "published", simulate)

    null = "denominator 10 standard deviations from 0"
    yield covers("fieller-5", "fieller", 5, null, "continuous", ratios(5, 1.0))
    yield covers("fieller-10", "fieller", 10, null, "continuous", ratios(10, 1.0))
    null = "denominator 1 standard deviation from 0"
    yield covers("fieller-5-near-0", "fieller", 5, null, "at most", ratios(5, 0.1))

    size = float(choice_sizes([np.arange(10)], 5, "two-sided")[0])
    simulate = unpaired_interval(mann_whitney, 5, size)
    yield covers("mann-whitney-interval-5-5", "mann_whitney interval", 10, "5 and 5 networks", "exact", simulate)
    null, simulate = "10 and 10 networks", unpaired_interval(cliffs_delta, 10)
    yield covers("cliffs-delta-interval-10-10", "cliffs_delta interval", 20, null, "published", simulate)
    simulate = covered(moved(continuous(5), 1.0), effects.dz_interval, truth=1.0)
    yield covers("dz-interval-5", "dz_interval", 5, "normal, δ = 1", "continuous", simulate)
    simulate = covered(moved(continuous(5), 1.0), effects.hedges_g_interval, truth=1.0)
    yield covers("hedges-g-interval-5", "hedges_g_interval", 5, "normal, δ = 1", "published", simulate)
    simulate, null = covered(continuous(10), effects.rank_biserial_interval), "normal, no effect"
    yield covers("rank-biserial-interval-10", "rank_biserial_interval", 10, null, "published", simulate)
    simulate = covered(continuous(10), effects.paired_cles_interval, truth=0.5)
    yield covers("paired-cles-interval-10", "paired_cles_interval", 10, null, "at most", simulate)

    of_tables = partial(covers, protocols=2_000)
    null = "two networks: .06 right in one alone, .04 in the other"
    simulate = table_interval(risk_difference, 0.02)
    yield of_tables("risk-difference-interval", "risk_difference interval", 500, null, "coverage", simulate)
    simulate = table_interval(odds_ratio, 1.5)
    yield of_tables("odds-ratio-interval", "odds_ratio interval", 500, null, "at most", simulate)
    simulate = table_interval(partial(tost_ratio_proportions, margin=0.9), 0.96 / 0.94)
    yield of_tables("risk-ratio-interval", "risk ratio interval", 500, null, "coverage", simulate)
    methods: tuple[tuple[str, Bound], ...] = (("exact", "at most"), ("asymptotic", "published"))
    for method, bound in methods:
        name, test, null = f"mantel-haenszel-interval-{method}", "mantel_haenszel interval", f"3 difficulties, {method}"
        yield of_tables(name, test, 90, null, bound, stratified_odds(3, method))
    name, null, simulate = "confidence-sequence-16", "normal, any look", at_all_looks(continuous(16))
    yield of_tables(name, "confidence_sequence", 16, null, "at most", simulate, block=250)


def of_powers() -> Iterator[Cell]:
    """What is found where there is something; the expected power is ``planning.power``'s."""
    shows = partial(Cell, measure="power", bound="published")
    for teachers, students in ((5, 4), (10, 2), (20, 1)):
        effect = EFFECT / math.sqrt(TEACHER_SD**2 + STUDENT_SD**2 / students)
        simulate = expecting(students_of_teachers(teachers, students, EFFECT), "paired-t", teachers, effect)
        name, null = f"power-t-{teachers}x{students}", f"{teachers} teachers × {students} students, one effect"
        yield shows(name, "paired_t", teachers, null, simulate=simulate)
    for n in (5, 10, 20):
        draw, null = moved(continuous(n), 0.8), "normal, dz = 0.8"
        for name, test in (("sign-flip", sign_flip), ("wilcoxon", wilcoxon), ("paired-t", paired_t)):
            simulate = expecting(rejects(draw, partial(test, **GREATER)), name, n, 0.8)
            yield shows(f"power-{name}-{n}", test.__name__, n, null, simulate=simulate)
        yield shows(f"power-anytime-{n}", "anytime", n, null, simulate=at_any_look(draw, "greater"))
    examples = Examples(EXAMPLES, sd=3.0, residual_sd=10.0)
    simulate = new_examples(Crossed(10, 0.1, 0.3, mean=0.1), "greater")
    simulate = expecting(simulate, "two-way-t", 10, 1.0, examples=examples)
    null = "spread of replicates 0.1, of examples 0.3; effect 0.1"
    yield shows("power-two-way-10", "two_way", 10, null, simulate=simulate, block=100)


SECTIONS = (
    of_counts, of_floats, of_teachers, of_margins, of_new_examples, of_others, of_families, of_looks, of_wrong_units,
    of_intervals, of_powers,
)  # fmt: skip
CELLS: tuple[Cell, ...] = tuple(cell for section in SECTIONS for cell in section())
