"""Resampling of many contrasts at once: joint sign flips of a family, and the two-way bootstrap.

The flips and the weights are drawn once and serve every row, so that what is left is matrix products.
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri

from kdstats.stats.designs import _strata, two_way
from kdstats.stats.paired import _FLIPPED, _KEPT, _drawn_sums, differences, without_variance
from kdstats.stats.pivots import of_mean_squares
from kdstats.stats.results import Alternative, Array, Interval, TestResult, check_alternative, check_level, plain
from kdstats.stats.ties import TIE

Method = Literal["percentile", "bca", "t"]
Single = NDArray[np.float32]

_EXACT = 20  # up to here all 2ⁿ joint flips
_FLIPS = 2**14  # that are looked at at once
_BLOCK = 2**23  # numbers that are held at once
_CACHED = 2**19  # numbers that stay near a core

# Families --------------------------------------------------------------------------------------------------------


def max_t(
    difference: ArrayLike,
    *,
    alternatives: Alternative | Sequence[Alternative] = "two-sided",
    strata: ArrayLike | None = None,
    draws: int = 99_999,
    seed: int = 0,
) -> TestResult:
    """Single-step max-T: p-values of k contrasts on the same n units, adjusted by joint sign flips.

    A unit's k differences change sign together, which keeps the dependence between contrasts. With t*ⱼ(ε) contrast j's
    t after the flip ε, taken in its direction (|t| two-sided, -t for less),

        adjusted pⱼ = P(maxᵢ t*ᵢ(ε) ≥ t*ⱼ(1))

    over all 2ⁿ sign vectors to n = 20, else over sampled ones by (b + 1) / (m + 1). Σ d² does not change under flips,
    so t is an increasing function, the same for all contrasts, of

        r = Σ d / √(n Σ d²),  t = √(n - 1) r / √(1 - r²)

    and r is what is compared: it exists where all flipped differences are equal and t is infinite. Values of r within
    1e-10 are ties, and ties count; where a contrast's largest difference is so large that this would hide the others,
    its own flips are compared as in ``sign_flip``, by what they flip. A contrast whose differences are all 0 has r = 0
    and p = 1.

    The family-wise error is controlled, strongly, where the contrasts whose null hypothesis is true are jointly
    centrally symmetric: (d₁, …, dₖ) and (-d₁, …, -dₖ) have one distribution, as under exchange of all arms and
    controls. The smallest adjusted p is 2⁻ⁿ (two-sided 2¹⁻ⁿ), whatever k is; with k = 1 the p is ``sign_flip``'s.

    Shifted null hypotheses are rows of their own. TOST within ±margin is the two rows d + margin, "greater", and
    d - margin, "less"; the contrast's adjusted p is the larger of theirs.

    Parameters
    ----------
    difference : array_like, float, shape (k, n)
        Arm minus control, a row a contrast, its units in one order.
    alternatives : {"two-sided", "greater", "less"}, or one for each contrast
    strata : array_like, shape (n,), optional
        The teacher of each unit, as in ``infer``: d is then weighted so that its mean is the mean of teacher means.
    draws, seed : int
        Of the sampled flips, ``sign_flip``'s of the same draws and seed; unused to n = 20.

    Returns
    -------
    TestResult
        ``p_value`` is adjusted, shape (k,). ``statistic`` is t, infinite where all differences are equal. ``to_frame``
        has each contrast's alternative.

    Raises
    ------
    ValueError
        As ``differences``; not a table of contrasts × units; alternatives that are unknown or not one a contrast.

    References
    ----------
    Westfall & Young (1993), Resampling-Based Multiple Testing, §2.3. Phipson & Smyth (2010), Stat. Appl. Genet. Mol.
    Biol. 9:39, for (b + 1) / (m + 1).

    Examples
    --------
    >>> max_t([[0.3, 0.4, 0.1, 0.5], [0.2, -0.1, 0.3, 0.1]], alternatives="greater").p_value.tolist()
    [0.0625, 0.25]
    """
    d = differences(difference)
    if d.ndim != 2:
        raise ValueError(f"difference has shape {d.shape}: a family is contrasts × units")
    k, n = d.shape
    given = [alternatives] * k if isinstance(alternatives, str) else list(alternatives)
    if len(given) != k:
        raise ValueError(f"{len(given)} alternatives for {k} contrasts: give one for all, or one for each")
    for side in given:
        check_alternative(side)
    sides = np.array(given)
    d = d * _strata(strata, n)[1] * n
    two_sided = sides == "two-sided"
    rows = _shares(np.where(sides[:, None] == "less", -d, d))
    observed = rows.sum(axis=1)
    observed[two_sided] = np.abs(observed[two_sided])
    exact = n <= _EXACT
    if not exact and draws < 1:
        raise ValueError(f"draws is {draws}: above {_EXACT} units the flips are sampled, at least one of them")
    test = f"max-T, joint sign flips, {'exact' if exact else f'{draws:,} draws'}"
    if _uneven(rows):
        reached = _reached(rows, two_sided, None if exact else draws, seed)
    else:
        if exact:
            largest = _all_flips(rows[two_sided], rows[~two_sided])
        else:
            largest = _sampled_flips(rows, two_sided, draws, seed)
        largest.sort()
        reached = largest.size - np.searchsorted(largest, observed - TIE)
    p = reached / 2**n if exact else (reached + 1) / (draws + 1)
    details = {} if isinstance(alternatives, str) else {"alternative": sides}
    name = alternatives if isinstance(alternatives, str) else "one for each contrast"
    return TestResult(test, _t(d), p, d.mean(axis=1), n, name, details=details)


def _shares(d: Array) -> Array:
    """d / √(n Σ d²), whose sum over a row is r."""
    largest = np.abs(d).max(axis=1, keepdims=True)
    unit = np.divide(d, largest, out=np.zeros_like(d), where=largest > 0)  # squares neither overflow nor vanish
    scale = np.sqrt(d.shape[1] * np.sum(unit**2, axis=1, keepdims=True))
    return np.divide(unit, scale, out=np.zeros_like(d), where=scale > 0)


def _t(d: Array) -> Array:
    mean, constant = d.mean(axis=1), without_variance(d)
    error = np.where(constant, 1.0, d.std(axis=1, ddof=1) / np.sqrt(d.shape[1]))
    return np.where(constant & (mean != 0), np.copysign(np.inf, mean), mean / error)


def _uneven(rows: Array) -> bool:
    """Whether a row holds a value so small beside its largest that a tolerance of that one would hide it."""
    size = np.abs(rows)
    least = np.where(size > 0, size, np.inf).min(axis=1, initial=np.inf)
    return bool((size.max(axis=1, initial=0.0) * TIE * rows.shape[1] > 1e-3 * least).any())


def _reached(rows: Array, two_sided: NDArray[np.bool_], draws: int | None, seed: int) -> NDArray[np.int64]:
    """For each row, how many flips leave some row's sum (its size, two-sided) no smaller than this row's own is.

    A flip takes twice the flipped values from a row's sum, so it is the flipped values alone, less their rounding, that
    are held against what the row has more than the other: what keeps its sign cannot blur the comparison.
    """
    turned = np.where((two_sided & (np.array([math.fsum(row) for row in rows]) < 0))[:, None], -rows, rows)
    lenient = turned - TIE * np.abs(turned)
    total = np.array([math.fsum(row) for row in turned])
    more = (total[:, None] - total) / 2  # of row i than row j
    more[np.abs(more) <= 1e-14] = 0.0
    reached = np.zeros(len(rows), dtype=np.int64)
    for flipped, kept in _flips(lenient, draws, seed):
        for j in range(len(rows)):
            as_large = flipped <= more[:, j]
            # the sum's size also where the rest is flipped instead
            as_large |= two_sided & (kept <= more[:, j])
            reached[j] += int(np.count_nonzero(as_large.any(axis=1)))
    return reached


def _flips(rows: Array, draws: int | None, seed: int) -> Iterator[tuple[Array, Array]]:
    """Sums of what a flip turns and of what it keeps, (flips, rows), some flips at a time: all, or sampled ones."""
    n = rows.shape[1]
    if draws is not None:
        parts = (
            [[sums for part, sums in _drawn_sums(rows[i : i + 1], draws, seed, of)] for i in range(len(rows))]
            for of in (_FLIPPED, _KEPT)
        )
        flipped, kept = (np.column_stack([np.concatenate(sums) for sums in part]) for part in parts)
        yield flipped, kept
        return
    for start in range(0, 2**n, _FLIPS):
        chosen = (np.arange(start, min(start + _FLIPS, 2**n))[:, None] >> np.arange(n) & 1).astype(np.float64)
        yield chosen @ rows.T, (1 - chosen) @ rows.T


def _all_flips(two_sided: Array, one_sided: Array) -> Array:
    """The largest row sum after each of the 2ⁿ flips.

    A flip and its opposite have opposite sums: the first unit keeps its sign, and both are read from one set of sums,
    which are those over the left half of the units plus those over the right.
    """
    k, rows = len(two_sided), np.concatenate([two_sided, one_sided])
    half = (rows.shape[1] + 1) // 2
    left, right = rows[:, :1] + _half_sums(rows[:, 1:half]), _half_sums(rows[:, half:])
    largest = []
    for column in left.T:
        sums = right + column[:, None]
        sizes = np.abs(sums[:k]).max(axis=0, initial=-np.inf)
        largest += [np.maximum(sizes, sums[k:].max(axis=0, initial=-np.inf))]
        largest += [np.maximum(sizes, -sums[k:].min(axis=0, initial=np.inf))]
    return np.concatenate(largest)


def _half_sums(rows: Array) -> Array:
    sums = np.zeros((len(rows), 1))
    for column in rows.T:
        sums = np.concatenate([sums + column[:, None], sums - column[:, None]], axis=1)
    return sums


def _sampled_flips(rows: Array, two_sided: NDArray[np.bool_], draws: int, seed: int) -> Array:
    """The largest row sum after each of ``sign_flip``'s sampled flips."""
    largest, done = np.full(draws, -np.inf), Counter[int]()
    for part, sums in _drawn_sums(rows, draws, seed):  # of some rows and the next draws
        np.abs(sums, out=sums, where=two_sided[part])
        start = done[part.start]
        now = largest[start : start + len(sums)]
        np.maximum(now, sums.max(axis=1), out=now)
        done[part.start] += len(sums)
    return largest


# Two-way bootstrap -----------------------------------------------------------------------------------------------


def bootstrap(
    matrix: ArrayLike,
    *,
    level: float = 0.95,
    method: Method = "percentile",
    strata: ArrayLike | None = None,
    draws: int = 10_000,
    seed: int = 0,
) -> Interval:
    """Two-way bootstrap interval of the mean over new replicates and new examples, beside ``two_way``'s.

    Each draw takes U replicates and N examples with replacement, and averages the cells in which they meet:

        mean* = Σ_u Σ_n k_u m_n x_un / (U N),  k and m multinomial counts, drawn once for all matrices

    This is the naive crossed bootstrap. It counts the interaction of replicates and examples three times, Var* ≈
    σ²_rep / U + σ²_ex / N + 3 σ²_res / (U N), and narrows σ²_rep by (U - 1) / U, as every bootstrap does.

    - percentile: the quantiles of mean*.
    - bca: quantiles moved by the bias of the median and by the acceleration Σ l³ / (6 (Σ l²)^1.5), over the influences
      of both axes, l_u = (row mean - mean) / U and l_n = (column mean - mean) / N.
    - t: mean - q se, with q the quantiles of (mean* - mean) / se* and se ``two_way``'s standard error. se* counts the
      interaction three times as mean* does, so their ratio does not.

    Parameters
    ----------
    matrix : array_like, float, shape (..., U, N)
        Per-example differences of each replicate. For claims about new teachers rows are teachers' means: students are
        not drawn again within a teacher that was.
    level : float
    method : {"percentile", "bca", "t"}
    strata : array_like, shape (U,), optional
        The teacher of each replicate, where teachers are fixed, as in ``two_way``: replicates are drawn within them.
    draws, seed : int
        The weights depend on the shape (U, N), strata, draws and seed alone.

    Returns
    -------
    low, high : float, or arrays of shape (...)
        Quantiles are values that were drawn, the outer ones. NaN where the matrix does not vary; an end of t is
        infinite where too many draws have no variance.

    Raises
    ------
    ValueError
        As ``two_way``; an unknown method, a level outside (0, 1), fewer draws than the level needs.

    Notes
    -----
    Measured at level .95 (normal or exponential components, residual standard deviation 1, 1,000 examples, 2,000 draws;
    2,000 matrices a cell): coverage, and the misses in which the interval lay above and below the truth, in per cent.

    ===================  ==  ================  ================  ================  ================
    σ_rep, σ_ex           U  percentile        bca               t                 Satterthwaite's t
    ===================  ==  ================  ================  ================  ================
    .1, .3                5  91.5 (4.1, 4.3)   91.4 (3.9, 4.7)   93.4 (3.1, 3.5)   95.7 (2.0, 2.3)
                         10  93.6 (2.9, 3.5)   93.4 (3.0, 3.5)   93.8 (2.8, 3.4)   95.0 (2.2, 2.8)
                         30  95.0 (2.3, 2.7)   95.2 (2.1, 2.7)   94.3 (2.5, 3.1)   94.2 (2.5, 3.2)
    .3, .1                5  85.5 (7.0, 7.5)   85.2 (7.1, 7.6)   94.6 (2.8, 2.6)   95.8 (1.9, 2.3)
                         10  89.4 (5.2, 5.4)   88.8 (5.8, 5.5)   92.8 (3.5, 3.6)   93.7 (3.0, 3.4)
                         30  92.5 (3.5, 4.0)   92.8 (3.1, 4.0)   93.8 (2.6, 3.5)   93.5 (2.9, 3.6)
    .02, .5               5  98.6 (0.7, 0.8)   98.6 (0.6, 0.9)   95.2 (2.4, 2.4)   96.3 (1.8, 1.8)
                         10  98.6 (0.3, 1.1)   98.5 (0.4, 1.1)   95.0 (2.1, 2.9)   95.5 (1.9, 2.5)
                         30  96.5 (1.7, 1.8)   96.5 (1.6, 1.8)   94.9 (2.5, 2.5)   94.8 (2.6, 2.6)
    0, 0                  5  99.9 (0.0, 0.1)   99.9 (0.0, 0.1)   96.3 (1.9, 1.8)   98.5 (0.8, 0.8)
                         10  99.95 (0, 0.05)  99.95 (0, 0.05)  97.0 (1.5, 1.5)   98.3 (0.8, 0.9)
                         30  99.95 (0, 0.05)  99.9 (0.0, 0.1)   96.6 (1.7, 1.8)   97.0 (1.5, 1.6)
    .3, .1 exponential    5  79.8 (2.7, 17.5)  81.2 (3.2, 15.6)  89.6 (0.7, 9.8)   89.1 (0.3, 10.5)
                         10  87.9 (1.8, 10.2)  89.1 (2.9, 8.1)   93.3 (1.2, 5.5)   91.2 (0.4, 8.4)
                         30  92.0 (1.4, 6.6)   92.4 (2.9, 4.8)   94.8 (1.8, 3.5)   92.2 (0.8, 7.0)
    ===================  ==  ================  ================  ================  ================

    With few replicates that differ, percentile and bca are too narrow; where the interaction dominates they are far too
    wide. t holds on both, but takes the longest. With skewed replicates none holds, and the misses are on one side.

    Sums are taken in single precision of centred values (errors near 1e-6 of the interval).

    References
    ----------
    Owen (2007), Ann. Appl. Stat. 1:386, for the crossed bootstrap and what it counts three times. Owen & Eckles (2012),
    Ann. Appl. Stat. 6:895. Efron (1987), J. Am. Stat. Assoc. 82:171, for BCa. Efron & Tibshirani (1993), An
    Introduction to the Bootstrap, §12.5 (t) and equation 15.36 (the acceleration of several samples).

    Examples
    --------
    >>> low, high = bootstrap([[1.0, 2.0, 3.0, 5.0], [2.0, 4.0, 3.0, 4.0], [0.0, 3.0, 2.0, 5.0]])
    >>> low < 34 / 12 < high
    True
    """
    check_level(level)
    if method not in get_args(Method):
        raise ValueError(f"method is {method!r}: it is one of {', '.join(get_args(Method))}")
    x = np.ma.asarray(matrix, dtype=np.float64).filled(np.nan) if np.ma.is_masked(matrix) else np.asarray(matrix, float)
    estimate, error, _ = (np.asarray(part) for part in two_way(x, strata))
    tail = (1 - level) / 2
    if (draws + 1) * tail < 1:
        raise ValueError(f"draws is {draws}: an interval at level {level} needs {int(np.ceil(1 / tail)) - 1:,} or more")
    centred = x - estimate[..., None, None]
    scale = np.abs(centred).max(axis=(-2, -1))
    centred /= np.where(scale > 0, scale, 1.0)[..., None, None]
    rows = centred.reshape(-1, *x.shape[-2:]).astype(np.float32)  # rounds by less than 1e-7 of the largest value
    del centred
    index, weights, _ = _strata(strata, x.shape[-2])
    nested = Strata([np.flatnonzero(index == t) for t in range(index.max() + 1)], weights)
    drawn, errors = _bootstrapped(rows, nested, draws, np.random.default_rng(seed), method == "t")
    p_low, p_high = np.full(len(rows), tail), np.full(len(rows), 1 - tail)
    if method == "bca":
        p_low, p_high = _bca_levels(drawn, rows, nested, tail)
    elif method == "t":  # mirrored: what the lower end subtracts is t's upper tail
        drawn, scale = -_studentised(drawn, errors), error
    drawn.sort(axis=1)
    ends = []
    for position in (np.floor((draws + 1) * p_low), np.ceil((draws + 1) * p_high)):  # outward, to draws
        at = np.clip(position.astype(np.intp), 1, draws)[:, None] - 1
        end = np.take_along_axis(drawn, at, axis=1)[:, 0].reshape(estimate.shape)
        ends.append(plain(estimate + np.where(error > 0, scale, np.nan) * end))
    return ends[0], ends[1]


@dataclass(frozen=True)
class Strata:
    """The replicates of each stratum, and each replicate's weight in the mean of the strata's means."""

    members: list[NDArray[np.intp]]
    weights: Array


def _drawn(generator: np.random.Generator, draws: int, n: int) -> Single:
    """How often each of n is drawn in n draws with replacement, (draws, n)."""
    drawn = generator.integers(0, n, size=(draws, n), dtype=np.int32)
    return np.array([np.bincount(row, minlength=n) for row in drawn], dtype=np.float32)


def _bootstrapped(
    rows: Single, strata: Strata, draws: int, generator: np.random.Generator, studentised: bool
) -> tuple[Array, Array]:
    """Means of the draws and their two-way standard errors, (matrices, draws)."""
    k, u, n = rows.shape
    means, errors = np.empty((k, draws)), np.empty((k, draws if studentised else 0))
    block = max(1, _BLOCK // n)
    for start in range(0, draws, block):
        size = min(block, draws - start)
        examples, replicates = _drawn(generator, size, n), np.empty((u, size))
        for members in strata.members:
            replicates[members] = _drawn(generator, size, len(members)).T
        now = slice(start, start + size)
        at_once = max(1, _BLOCK // (u * size))
        for i in range(0, k, at_once):
            part = rows[i : i + at_once]
            by_row = (part.reshape(-1, n) @ examples.T).reshape(-1, u, size) / np.float32(n)
            means[i : i + at_once, now] = np.einsum("kub,ub->kb", by_row, strata.weights[:, None] * replicates)
        for i in range(k) if studentised else ():
            errors[i, now] = _two_way_errors(rows[i], examples, replicates, strata)
    return means, errors


def _two_way_errors(x: Single, examples: Single, replicates: Array, strata: Strata) -> Array:
    """``two_way``'s standard error in each draw, from sums of squares that are weighted by how often each was drawn."""
    n, df_rep = x.shape[1], len(x) - len(strata.members)
    by_row, squares = x @ examples.T / np.float32(n), x**2 @ examples.T
    between, residual = np.zeros(len(examples)), np.zeros(len(examples))
    for members in strata.members:
        times, means, s = replicates[members], by_row[members], len(members)
        mean = np.sum(times * means, axis=0) / s
        rows = n * np.sum(times * means**2, axis=0)
        columns = s * _column_squares(times / s, x[members], examples)
        between += rows - n * s * mean**2
        residual += np.sum(times * squares[members], axis=0) - rows - columns + n * s * mean**2
    times = strata.weights[:, None] * replicates
    mean = np.sum(times * by_row, axis=0)
    ms_ex = (_column_squares(times, x, examples) - n * mean**2) / ((n - 1) * np.sum(strata.weights**2))
    v = of_mean_squares(between / df_rep, ms_ex, residual / (df_rep * (n - 1)))
    return np.sqrt(np.maximum(v, 0.0) * np.sum(strata.weights**2) / n)


def _studentised(means: Array, errors: Array) -> Array:
    """t of each draw; infinite from 1,000 on, since single precision makes a standard error of 0 a small one."""
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(means == 0, 0.0, means / errors)
    return np.where(np.abs(t) >= 1000, np.copysign(np.inf, t), t)


def _column_squares(times: Array, x: Single, examples: Single) -> Array:
    """Σ over examples of how often each was drawn · (Σ over replicates of times · x)², for each draw."""
    total, block = np.empty(len(examples)), max(1, _CACHED // x.shape[1])
    for i in range(0, len(examples), block):
        sums = times[:, i : i + block].T.astype(np.float32) @ x
        sums *= sums
        total[i : i + block] = np.vecdot(sums, examples[i : i + block])
    return total


def _bca_levels(means: Array, rows: Single, strata: Strata, tail: float) -> tuple[Array, Array]:
    """The levels at which BCa reads the distribution of the draws, for each matrix."""
    spread = means.std(axis=1, keepdims=True)
    tied = np.abs(means) <= 1e-4 * spread  # single precision
    below = np.mean(np.where(tied, 0.5, means < 0), axis=1)
    bias = ndtri(np.clip(below, 0.5 / means.shape[1], 1 - 0.5 / means.shape[1]))
    by_row = rows.mean(axis=2, dtype=np.float64)
    for members in strata.members:
        by_row[:, members] -= by_row[:, members].mean(axis=1, keepdims=True)
    by_example = np.einsum("u,kun->kn", strata.weights, rows)
    influence = np.concatenate([strata.weights * by_row, by_example / rows.shape[2]], axis=1)
    cubes, squares = np.sum(influence**3, axis=1), np.sum(influence**2, axis=1)
    acceleration = cubes / (6 * np.where(squares > 0, squares, 1.0) ** 1.5)

    def moved(z: float) -> Array:
        return ndtr(bias + (bias + z) / (1 - acceleration * (bias + z)))

    return moved(ndtri(tail)), moved(-ndtri(tail))
