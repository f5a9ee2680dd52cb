"""Tests of paired differences: one call form, replicates on the last axis, any number of leading axes.

``f(x, y=None, *, alternative="two-sided")``: x and y are the scores of two arms on the same replicates in the same
order; with y omitted, x holds their differences. A result's numbers are floats for one sample and arrays of the leading
shape for many.

The same on a tidy table: ``f(scores, arm="kd", control="siddo", metric="accuracy")``, or two tables
``f(kd_scores, siddo_scores)``; rows are paired by teacher and seed. ``scope`` says what the units are: teachers, the
means of their students ("recipe", the default where there is a column ``teacher``), or the students of this teacher or
of these ("each", "these"). ``kdstats.stats.frames.paired`` has the details.

Scores are floats, and ties must survive that: 0.9 - 0.8 and 0.8 - 0.7 are one number. So numbers that differ by less
than their own rounding count as equal, wherever a test ranks, counts signs or compares sums (``kdstats.stats.ties``).
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import integrate, optimize, stats

from kdstats.stats.frames import paired, refuse_examples, takes_tables
from kdstats.stats.results import (
    Alternative,
    Array,
    Interval,
    Number,
    TestResult,
    check_alternative,
    check_margin,
    numbers,
    plain,
    standard_deviation,
    t_interval,
    t_p_value,
)
from kdstats.stats.ties import TIE, merged, merged_sizes, rounding, undecided, without_residue
from kdstats.surroundings import any_backend

Zeros = Literal["pratt", "wilcox"]
Method = Literal["auto", "exact", "sampled"]
Integers = NDArray[np.int64]

ALL_EQUAL = "all differences are equal: a t test has no variance to work with"

_ENUMERATED = 12  # up to here all 2ⁿ flips of many rows at once
_HALVED = 20  # up to here half sums are as quick as a lattice, and all subset means are listed
_EXACT = 40  # up to here 2^(n/2) half sums, sorted
_RANKED = 1000  # a signed-rank distribution costs n³, and its counts, to 2ⁿ, are floats
_STEPS = 3e7  # n times the steps of a lattice
_COLUMNS = 10  # of signs, drawn together
_DRAWN = 4096  # sign vectors at a time


# Differences -----------------------------------------------------------------------------------------------------


def differences(x: ArrayLike, y: ArrayLike | None = None) -> Array:
    """Paired differences x - y (or x, when y is omitted), checked: finite, two or more on the last axis.

    What x - y leaves when x and y agree to the last few bits is rounding, and becomes 0. Where scores are so large
    beside their differences that these are no longer told to ``TIE``, differences are decimals where they can be, and
    otherwise equal where they are within the rounding of their own two scores.

    Raises
    ------
    ValueError
        Fewer than two replicates, different shapes, a value that is not finite, float32 and float16 (their rounding
        hides ties), Series with different indices, 20 and more values that are all 0 or 1 on both sides, or 100 and
        more differences that are all -1, 0 or 1: examples posing as replicates.

    Examples
    --------
    >>> differences([0.3, 0.5, 0.1 + 0.2], [0.1, 0.5, 0.3]).round(3).tolist()
    [0.2, 0.0, 0.0]
    """
    first = _finite(x, "x")
    if y is not None:
        second = _finite(y, "y")
        if first.shape != second.shape:
            raise ValueError(
                f"x has shape {first.shape} and y {second.shape}: a paired test needs the same replicates, in the same "
                "order, on both sides"
            )
        if isinstance(x, pd.Series) and isinstance(y, pd.Series) and not x.index.equals(y.index):
            raise ValueError(
                "x and y are Series with different indices: pairs are taken by place, so align them first, such as"
                " y.reindex(x.index), or give arrays"
            )
        refuse_examples(first, second)
        errors = rounding(first, second)
        first = _told_apart(without_residue(first - second, errors), errors)
    if first.ndim == 0 or first.shape[-1] < 2:
        n = first.shape[-1] if first.ndim else 1
        raise ValueError(
            f"a paired test needs two or more replicates on the last axis, got {n}: one replicate says nothing about "
            "the spread between replicates"
        )
    if y is None and first.shape[-1] >= 100 and first.any() and np.isin(first, (-1, 0, 1)).all():
        raise ValueError(
            f"the differences are {first.shape[-1]:,} values that are all -1, 0 or 1, as those of right and wrong"
            " answers are: examples of one network are not replicates. For two single networks take mcnemar"
        )
    return first


def _told_apart(d: Array, errors: Array) -> Array:
    """Differences of scores that are large beside them, with their ties made exact.

    A tie is told to ``TIE`` of the difference, but the rounding of x - y is that of x: of 1000000.07 - 1000000.06 ten
    digits are lost, and of scores with two decimals no tie would be left.
    """
    lost = (d != 0) & (errors > TIE * np.abs(d))
    if not lost.any():
        return d
    n = d.shape[-1]
    rows, widths = d.reshape(-1, n).copy(), np.maximum(errors, TIE * np.abs(d)).reshape(-1, n)
    for i in np.flatnonzero(lost.reshape(-1, n).any(axis=-1)):
        rows[i] = merged_sizes(_decimal(rows[i], errors.reshape(-1, n)[i]), widths[i])
    return rows.reshape(d.shape)


def _decimal(row: Array, errors: Array) -> Array:
    """The row as decimals of 10ᵏ, where it is, and otherwise as it is.

    It is where each difference lies within its rounding of one, and 10ᵏ is a thousand times that rounding, so not by
    chance. A difference whose rounding is larger, of scores that diverged, says nothing of the others and stays.
    """
    differ = row != 0
    largest, finest = np.abs(row).max(), 1000 * errors[differ].min(initial=np.inf)
    if not 0 < finest <= largest:
        return row
    for k in range(int(np.floor(np.log10(largest))), int(np.ceil(np.log10(finest))) - 1, -1):
        scale = 10.0 ** abs(k)  # a whole number, so that dividing by it rounds once
        whole = np.rint(row * scale if k < 0 else row / scale)
        decimal = whole / scale if k < 0 else whole * scale
        told = 1000 * errors <= 10.0**k
        if (told & differ).any() and (np.abs(row - decimal) <= errors)[told].all():
            return np.where(told, decimal, row)
    return row


def _finite(values: ArrayLike, name: str) -> Array:
    array = numbers(values, name)
    if not np.isfinite(array).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise ValueError(
            f"{name}{list(where)} is {array[where]}: scores must be finite; leave a failed replicate out on both sides "
            "and report it, since a test cannot"
        )
    return array


def without_variance(d: Array) -> NDArray[np.bool_]:
    """Whether all differences of a row are equal (to ``TIE`` of the largest), so that no t test exists."""
    return np.ptp(d, axis=-1) <= TIE * np.abs(d).max(axis=-1)


def _result(
    test: str,
    d: Array,
    statistic: Array,
    p_value: Array,
    alternative: str,
    estimate: Array,
    interval: Callable[[float], Interval],
    details: dict[str, Any] | None = None,
    note: str = "",
) -> TestResult:
    """Numbers of all rows in the shape of d without its replicates."""
    shape = d.shape[:-1]
    statistic, p_value, estimate = (plain(np.reshape(a, shape)) for a in (statistic, p_value, estimate))
    named = {name: plain(np.broadcast_to(value, shape)) for name, value in (details or {}).items()}
    return TestResult(test, statistic, p_value, estimate, d.shape[-1], alternative, interval, named, note)


def _doubt(x: ArrayLike, y: ArrayLike | None, d: Array) -> str:
    """Whether rounding leaves open what is a tie."""
    return undecided(d, None if y is None else rounding(np.asarray(x, np.float64), np.asarray(y, np.float64)))


def _standard_error(d: Array) -> Array:
    return np.where(without_variance(d), 0.0, standard_deviation(d) / np.sqrt(d.shape[-1]))


# Sign flips ------------------------------------------------------------------------------------------------------


@takes_tables(paired)
def sign_flip(
    x: ArrayLike,
    y: ArrayLike | None = None,
    *,
    alternative: Alternative = "two-sided",
    method: Method = "auto",
    draws: int = 99_999,
    seed: int = 0,
) -> TestResult:
    """Randomisation test of the mean paired difference by flipping signs.

    Under the null hypothesis that arm and control are exchangeable within each pair (or that differences are symmetric
    about 0), all 2ⁿ sign vectors ε are equally likely. With s = Σ dᵢ and S = Σ εᵢ|dᵢ|,

        p = P(|S| ≥ |s|),  P(S ≥ s)  or  P(S ≤ s)

    for two-sided, greater and less. s and S differ by twice the sum of the differences that ε flips; where that is
    within the sum of these differences' own rounding, 1e-10 of each, they are ties, and ties count. So a difference
    that is far larger than the others blurs no comparison in which it keeps its sign. Zero differences flip into
    themselves. A row's p-value is

    - exact to n = 40: all flips to n = 12, then half sums, sorted and searched;
    - exact to n = 1,000 where all |d| are multiples of one step (counts over a number of examples, ranks, rounded
      scores), found from the floats: subsets are counted by their sum in steps, in integers. Taken above n = 20
      where quicker than half sums, and while n Σ|d| is 3e7 steps or fewer;
    - sampled otherwise: p = (b + 1) / (m + 1) with b of m sign vectors at least as extreme, so never 0.

    Flipping students within their teachers is flipping each sign: differences of students need no strata. Flipping
    whole teachers is flipping teacher means: pass those (``scope="recipe"`` does it for a table).

    Parameters
    ----------
    x, y : array_like, float, shape (..., n)
        Scores of arm and control, or differences alone. Or tidy tables, with ``arm``, ``control``, ``metric``,
        ``scope``.
    alternative : {"two-sided", "greater", "less"}
        Of the mean of x - y.
    method : {"auto", "exact", "sampled"}
        auto: as above. exact: never sampled, but refused. sampled: always.
    draws, seed : int
        Of sampled rows; the same sign vectors serve every row.

    Returns
    -------
    TestResult
        ``statistic`` and ``estimate`` are the mean difference. ``test`` says how p was made: "sign-flip, exact",
        "sign-flip, exact (lattice)", "sign-flip, 99,999 draws"; for many rows of several kinds "exact or 99,999 draws",
        and ``draws`` is 0 where a row is exact. ``standard_error`` is that of the mean. ``note`` says where rounding
        leaves open what is a tie.

        The interval holds the shifts θ that the two-sided test of d - θ does not reject at 1 - level: from the Kth
        smallest to the Kth largest mean of a nonempty subset of the differences, K = ⌊(1 - level) 2ⁿ⁻¹⌋ (Hartigan
        1969). p > 1 - level at its ends, and not beyond. It is (-inf, inf) where level > 1 - 2¹⁻ⁿ. Listed to
        n = 20, counted on a lattice, to n = 40 found by root search, and else from the draws.

    Raises
    ------
    ValueError
        As ``differences``; ``draws`` below 1; an unknown alternative or method; method "exact" where it cannot be.

    References
    ----------
    Fisher (1935), The Design of Experiments, §21. Pagano & Tritchler (1983), J. Am. Stat. Assoc. 78:435, for the
    lattice. Horowitz & Sahni (1974), J. ACM 21:277, for the half sums. Phipson & Smyth (2010), Stat. Appl. Genet. Mol.
    Biol. 9:39, for (b + 1) / (m + 1). Hartigan (1969), J. Am. Stat. Assoc. 64:1303, for the interval.

    Examples
    --------
    >>> result = sign_flip([0.81, 0.84, 0.80, 0.86, 0.83], [0.78, 0.80, 0.79, 0.81, 0.81], alternative="greater")
    >>> result.p_value
    0.03125
    >>> low, high = result.confidence_interval(0.9)
    >>> round(low, 6), round(high, 6)
    (0.01, 0.05)
    >>> result.confidence_interval(0.95)  # 1 - 2⁻⁴ is the largest level with an end
    (-inf, inf)
    """
    check_alternative(alternative)
    if method not in get_args(Method):
        raise ValueError(f"method is {method!r}: it is one of {', '.join(get_args(Method))}")
    if draws < 1:
        raise ValueError(f"draws is {draws}: sampled flips need at least one")
    d = differences(x, y)
    n = d.shape[-1]
    rows = d.reshape(-1, n)
    oriented = -rows if alternative == "less" else rows
    two_sided = alternative == "two-sided"
    lattice, sampled = np.zeros((2, len(rows)), dtype=bool)
    p = np.empty(len(rows))
    if method == "sampled":
        sampled[:] = True
    elif n > _HALVED:
        most = 2.0 ** (n / 2 + 2) if n <= _EXACT else _STEPS / n if n <= _RANKED else 0.0
        steps, _, lattice = _on_lattice(oriented, most)
        p[lattice] = [_counted(row, two_sided) for row in steps[lattice]]
        sampled = ~lattice & (n > _EXACT)
    if method == "exact" and sampled.any():
        raise ValueError(
            f"row {int(np.argmax(sampled))} of differences has {n} pairs and no lattice of few steps: above {_EXACT}"
            " pairs its flips cannot be counted; leave method at 'auto', which samples them"
        )
    rest = ~lattice & ~sampled
    if rest.any():
        p[rest] = (_enumerated if n <= _ENUMERATED else _halved)(oriented[rest], two_sided)
    if sampled.any():
        p[sampled] = _sampled(oriented[sampled], two_sided, draws, seed)

    kinds = ["exact (lattice)" if lattice.all() else "exact"] * bool((~sampled).any())
    test = f"sign-flip, {' or '.join([*kinds, *[f'{draws:,} draws'] * bool(sampled.any())])}"
    details = {"standard_error": _standard_error(d), "draws": np.where(sampled, draws, 0).reshape(d.shape[:-1])}
    interval = partial(_flip_interval, d, sampled, draws, seed)
    mean = d.mean(axis=-1)
    return _result(test, d, mean, p, alternative, mean, interval, details, _doubt(x, y, d))


def _lenient(rows: Array, two_sided: bool) -> Array:
    """Differences less their rounding: a flip of the set A has S ≥ s, or a tie, where they sum to 0 or less on A.

    For s - S is twice the sum of d over A. Two-sided, rows with a negative sum are turned: then the lower tail of S is
    the upper one's mirror image, and does not meet it. The sum's sign is taken without rounding.
    """
    if two_sided:
        rows = np.where(np.array([math.fsum(row) < 0 for row in rows])[:, None], -rows, rows)
    return rows - TIE * np.abs(rows)


def _from_tail(tail: Array, two_sided: bool) -> Array:
    """S is symmetric about 0, so a two-sided p is twice the upper tail; s = 0 gives 1."""
    return np.minimum(2 * tail, 1.0) if two_sided else tail


def _enumerated(rows: Array, two_sided: bool) -> Array:
    """All sums, each of one half sum and another."""
    n = rows.shape[-1]
    rows, tail = _lenient(rows, two_sided), np.empty(len(rows))
    block = 2 ** (18 - n)
    for i in range(0, len(rows), block):
        left, right = _sorted_sums(rows[i : i + block, : n // 2]), _sorted_sums(rows[i : i + block, n // 2 :])
        extreme = left[:, :, None] + right[:, None, :] <= 0
        tail[i : i + block] = np.count_nonzero(extreme, axis=(1, 2)) / 2**n
    return _from_tail(tail, two_sided)


def _halved(rows: Array, two_sided: bool) -> Array:
    """P(L + R ≤ 0) over the sums L of subsets of the left half and R of the right."""
    n = rows.shape[-1]
    rows, tail = _lenient(rows, two_sided), np.empty(len(rows))
    block = max(1, 2 ** (18 - n // 2))
    for i in range(0, len(rows), block):
        left, right = _sorted_sums(rows[i : i + block, : n // 2]), _sorted_sums(rows[i : i + block, n // 2 :])
        for j in range(len(left)):
            tail[i + j] = int(np.searchsorted(right[j], -left[j], side="right").sum()) / 2**n
    return _from_tail(tail, two_sided)


def _sorted_sums(rows: Array) -> Array:
    """Of all subsets of each row: what is not in a subset cannot round its sum."""
    sums = np.zeros((len(rows), 1))
    for values in rows.T[:, :, None]:  # two sorted runs: a stable sort merges them in linear time
        sums = np.sort(np.concatenate([sums, sums + values], axis=1), axis=1, kind="stable")
    return sums


def _sampled(rows: Array, two_sided: bool, draws: int, seed: int) -> Array:
    rows, extreme = _lenient(rows, two_sided), np.zeros(len(rows), dtype=np.int64)
    flipped = _drawn_sums(rows, draws, seed, _FLIPPED)
    if two_sided:
        for (part, sums), (_, rest) in zip(flipped, _drawn_sums(rows, draws, seed, _KEPT), strict=True):
            extreme[part] += np.count_nonzero(np.minimum(sums, rest) <= 0, axis=0)
    else:
        for part, sums in flipped:
            extreme[part] += np.count_nonzero(sums <= 0, axis=0)
    return (extreme + 1) / (draws + 1)


_SIGNED, _FLIPPED, _KEPT = (1.0, -1.0), (0.0, 1.0), (1.0, 0.0)  # what a difference counts that keeps its sign, or not


@lru_cache(maxsize=3)
def _signs(n: int, counts: tuple[float, float]) -> Array:
    """All sign vectors, (2ⁿ, n)."""
    negative = np.arange(2**n)[:, None] >> np.arange(n) & 1
    return np.where(negative == 1, counts[1], counts[0])


def _drawn_sums(
    rows: Array, draws: int, seed: int, counts: tuple[float, float] = _SIGNED
) -> Iterator[tuple[slice, Array]]:
    """Σ ε d for sampled sign vectors ε, in blocks (draws, rows): the same vectors for every row.

    Or the sum of the differences that ε flips, or of those that it keeps.

    Signs are drawn by ten: each ten columns' 2¹⁰ sums are tabled, and a draw picks one of each table.
    """
    padded = np.pad(rows, ((0, 0), (0, -rows.shape[1] % _COLUMNS)))  # a zero flips into itself
    groups = padded.reshape(len(rows), -1, _COLUMNS).transpose(1, 2, 0)
    for first in range(0, len(rows), 2**6):
        part = slice(first, first + 2**6)
        tables = [_signs(_COLUMNS, counts) @ group[:, part] for group in groups]
        generator = np.random.default_rng(seed)
        for start in range(0, draws, _DRAWN):
            size = (len(tables), min(_DRAWN, draws - start))
            picked = generator.integers(0, 2**_COLUMNS, size=size, dtype=np.int16)
            sums = tables[0].take(picked[0], axis=0, mode="clip")
            for table, choice in zip(tables[1:], picked[1:], strict=True):
                sums += table.take(choice, axis=0, mode="clip")
            yield part, sums


# Lattices: differences in steps


def _on_lattice(rows: Array, most: float) -> tuple[Integers, Array, NDArray[np.bool_]]:
    """Differences in whole steps, (R, n), each row's step, and whether Σ|d| is ``most`` steps or fewer.

    The step is the greatest common divisor of |d|, by Euclid's algorithm with the remainder nearest to 0. What is less
    than half the smallest step that would do counts as 0; then every difference must lie within ``TIE`` of itself from
    its multiple, so that a step that was wrongly found is none.
    """
    size = np.abs(rows)
    total = size.sum(axis=-1)
    nothing = total[:, None] / (2 * most) if most else np.inf
    divisors = size
    while divisors.shape[1] > 1:  # of two columns each, until one is left
        half = divisors.shape[1] // 2
        first, second, odd = divisors[:, :half], divisors[:, half : 2 * half], divisors[:, 2 * half :]
        while (left := second > nothing).any():
            remainder = np.abs(first - np.rint(first / np.where(left, second, 1.0)) * second)
            first, second = np.where(left, second, first), np.where(left, remainder, 0.0)
        divisors = np.concatenate([first, odd], axis=1)
    step = np.where(divisors[:, 0] > 0, divisors[:, 0], 1.0)
    multiples = np.rint(size / step[:, None])
    squares = (multiples**2).sum(axis=-1)
    step = np.where(squares > 0, (size * multiples).sum(axis=-1) / np.maximum(squares, 1.0), 1.0)
    near = (np.abs(size - multiples * step[:, None]) <= TIE * size).all(axis=-1)
    lattice = near & (multiples.sum(axis=-1) <= most)
    return np.copysign(np.where(lattice[:, None], multiples, 0), rows).astype(np.int64), step, lattice


def _counted(steps: Integers, two_sided: bool) -> float:
    """The tail for differences in steps, by the sum of the positive ones."""
    plus, total = int(steps[steps > 0].sum()), int(np.abs(steps).sum())
    sizes = sorted(np.abs(steps[steps != 0]).tolist())
    flips = 2 ** len(sizes)
    if two_sided:
        return min(1.0, 2 * _subsets(sizes, min(plus, total - plus)) / flips)
    if 2 * plus >= total:
        return _subsets(sizes, total - plus) / flips
    return (flips - _subsets(sizes, plus - 1)) / flips


def _subsets(sizes: list[int], most: int) -> int:
    """How many subsets of the ascending sizes sum to ``most`` or less.

    They are the coefficients of Π (1 + z^size) to z^most. With z = 2ⁿ⁺², which no sum of them reaches, the polynomial
    is one integer, a factor a shift and a sum, and the coefficients' sum the remainder of division by z - 1.
    """
    if most < 0:
        return 0
    bits = len(sizes) + 2
    kept = (1 << bits * (most + 1)) - 1
    polynomial = 1
    for size in sizes:
        if size > most:
            break
        polynomial = (polynomial + (polynomial << bits * size)) & kept
    return polynomial % ((1 << bits) - 1)


# The inverted test


def _flip_interval(d: Array, sampled: NDArray[np.bool_], draws: int, seed: int, level: float) -> Interval:
    rows = d.reshape(-1, d.shape[-1])
    return _by_row([_mean_ends(row, drawn, draws, seed, level) for row, drawn in zip(rows, sampled, strict=True)], d)


def _by_row(ends: list[tuple[float, float]], d: Array) -> Interval:
    low, high = np.array(ends).T
    return plain(low.reshape(d.shape[:-1])), plain(high.reshape(d.shape[:-1]))


def _mean_ends(row: Array, drawn: bool, draws: int, seed: int, level: float) -> tuple[float, float]:
    """The Kth smallest and the Kth largest mean of a nonempty subset of the row.

    Flipping the subset A of d - θ leaves a sum at least as large exactly where mean(A) ≤ θ. So below the row's mean
    p(θ) = 2 (1 + #{A: mean(A) ≤ θ}) / 2ⁿ, which exceeds 1 - level from the Kth subset mean on; above, by symmetry.
    """
    n = len(row)
    if not drawn:
        k = math.floor((1 - level) * 2.0 ** (n - 1))
        if k < 1:
            return -math.inf, math.inf
        if n <= _HALVED:
            ordered = np.partition(_subset_means(row), [k - 1, 2**n - 1 - k])
            return float(ordered[k - 1]), float(ordered[-k])
        steps, step, lattice = _on_lattice(row[None], 10 * _STEPS / n**2)
        if lattice[0]:
            return _counted_ends(steps[0], k, float(step[0]))
        if n <= _EXACT:
            return _searched_end(row, k), -_searched_end(-row, k)
    return _sampled_ends(row, draws, seed, level)


def _subset_means(row: Array) -> Array:
    """Of all 2ⁿ - 1 nonempty subsets."""
    sums, sizes = np.zeros(1), np.zeros(1)
    for value in row:
        sums, sizes = np.concatenate([sums, sums + value]), np.concatenate([sizes, sizes + 1])
    return sums[1:] / sizes[1:]


def _counted_ends(steps: Integers, k: int, step: float) -> tuple[float, float]:
    """From the number of subsets of each size and sum."""
    n, lowest, total = len(steps), int(steps[steps < 0].sum()), int(np.abs(steps).sum())
    subsets = np.zeros((n + 1, total + 1))
    subsets[0, -lowest] = 1.0
    for value in steps.tolist():
        if value >= 0:
            subsets[1:, value:] += subsets[:-1, : total + 1 - value]
        else:
            subsets[1:, :value] += subsets[:-1, -value:]
    sizes, sums = np.nonzero(subsets[1:])
    means = (sums + lowest) / (sizes + 1)
    order = np.argsort(means)
    counts = subsets[1:][sizes, sums][order]
    low, high = (np.searchsorted(np.cumsum(c), k) for c in (counts, counts[::-1]))
    return step * float(means[order[low]]), step * float(means[order[-1 - high]])


def _searched_end(row: Array, k: int) -> float:
    """The kth smallest subset mean of a row, by a root search on the number of subset means below."""

    def passed(shift: float) -> float:
        return math.log(_halved((row - shift)[None], two_sided=False)[0]) - math.log(k + 0.5) + n * math.log(2)

    n, apart = len(row), np.abs(row - np.median(row))
    width = TIE * float(np.median(apart) or apart.max())  # of the middle: not of one that diverged
    if width == 0:
        return float(row[0])
    found = optimize.brentq(passed, row.min() - width, row.mean(), xtol=width, maxiter=1000)
    return float(found) + width + 4 * float(np.spacing(abs(found)))  # within, where p > 1 - level


def _sampled_ends(row: Array, draws: int, seed: int, level: float) -> tuple[float, float]:
    """As exactly, with the sampled sign vectors in place of all, each with its opposite: |S| ≥ |s| counts both."""
    k = math.floor((1 - level) * (draws + 1) + 1e-9)
    if k < 1:
        return -math.inf, math.inf
    n, low, high = len(row), [], []
    both = np.stack([row, np.ones(n)])
    for (_, flipped), (_, kept) in zip(*(_drawn_sums(both, draws, seed, of) for of in (_FLIPPED, _KEPT)), strict=True):
        size = flipped[:, 1]
        whole = (size == 0) | (size == n)
        first, second = flipped[:, 0] / np.where(whole, 1, size), kept[:, 0] / np.where(whole, 1, n - size)
        low.append(np.where(whole, -math.inf, np.minimum(first, second)))
        high.append(np.where(whole, math.inf, np.maximum(first, second)))
    lowest, highest = np.concatenate(low), np.concatenate(high)
    return float(np.partition(lowest, k - 1)[k - 1]), float(np.partition(highest, draws - k)[draws - k])


# Signed ranks ----------------------------------------------------------------------------------------------------


@takes_tables(paired)
def wilcoxon(
    x: ArrayLike, y: ArrayLike | None = None, *, alternative: Alternative = "two-sided", zeros: Zeros = "pratt"
) -> TestResult:
    """Wilcoxon signed-rank test, exact with ties and zeros.

    W⁺ is the sum of the midranks of |d| over positive differences. Its null distribution, each nonzero difference's
    sign being a fair coin, is counted in doubled midranks, which are integers: the sign flips of signed ranks.
    Two-sided, p = P(|W⁺ - E| ≥ |w⁺ - E|), with E half the sum of the midranks of the nonzero differences.

    Parameters
    ----------
    x, y : array_like, float, shape (..., n)
        Scores of arm and control, or differences alone. |d| within 1e-10 of themselves, or within the rounding of
        their own two scores, are tied (``kdstats.stats.ties``). Or tidy tables, with ``arm``, ``control``, ``metric``,
        ``scope``.
    alternative : {"two-sided", "greater", "less"}
        Of the pseudomedian of x - y.
    zeros : {"pratt", "wilcox"}
        Zero differences are ranked and then dropped (Pratt), or dropped before ranking (Wilcoxon).

    Returns
    -------
    TestResult
        ``statistic`` is W⁺ (R's V). ``estimate`` is the Hodges–Lehmann pseudomedian, the median of all averages
        (dᵢ + dⱼ)/2, i ≤ j (Walsh averages), zeros among them.

        The interval holds the shifts θ that the two-sided test of d - θ does not reject at 1 - level; its ends are
        Walsh averages, the ones that R gives where nothing is tied. With ties the test's own distribution at θ is
        inverted: p > 1 - level just within the ends, and at no open set of θ beyond. (At a single Walsh average the
        shift itself makes ties.) It is (-inf, inf) where level > 1 - 2¹⁻ⁿ. ``note`` says where rounding leaves open
        what is a tie.

    Raises
    ------
    ValueError
        As ``differences``; more than 1,000 replicates; an unknown alternative or ``zeros``.

    Notes
    -----
    ``scipy.stats.wilcoxon(method="exact")`` uses the distribution without ties also where there are some.

    References
    ----------
    Wilcoxon (1945), Biometrics Bulletin 1:80. Pratt (1959), J. Am. Stat. Assoc. 54:655. Hodges & Lehmann (1963), Ann.
    Math. Stat. 34:598. Tukey (1949), for the Walsh averages' interval; see Hollander, Wolfe & Chicken (2014),
    Nonparametric Statistical Methods, §3.3.

    Examples
    --------
    >>> result = wilcoxon([2, 1, -1, 4, 5, 4, 5, 4, 4, -3])
    >>> result.p_value, result.estimate
    (0.01953125, 3.0)
    """
    check_alternative(alternative)
    if zeros not in get_args(Zeros):
        raise ValueError(f"zeros is {zeros!r}: it is one of {', '.join(get_args(Zeros))}")
    d = differences(x, y)
    n = d.shape[-1]
    if n > _RANKED:
        raise ValueError(
            f"{n:,} replicates, more than the {_RANKED:,} of an exact signed-rank test: are these examples of one "
            "replicate? A claim about replicates takes one score from each"
        )
    raw = d.reshape(-1, n)
    rows = merged_sizes(raw)
    statistic, p = np.empty(len(rows)), np.empty(len(rows))
    for i, (row, ranks) in enumerate(zip(rows, _doubled_ranks(rows, zeros), strict=True)):
        moving = np.sort(ranks[row != 0])
        plus, total = int(ranks[row > 0].sum()), int(moving.sum())
        upper = _signed_rank_tail(tuple(moving.tolist()))
        if alternative == "two-sided":
            p[i] = min(1.0, 2 * upper[max(plus, total - plus)])
        else:
            p[i] = upper[plus if alternative == "greater" else total - plus]
        statistic[i] = plus / 2
    name = f"Wilcoxon signed-rank, exact{', zeros dropped' if zeros == 'wilcox' else ''}"
    interval = partial(_rank_interval, d)
    return _result(name, d, statistic, p, alternative, _pseudomedian(raw), interval, note=_doubt(x, y, d))


def _doubled_ranks(rows: Array, zeros: Zeros) -> Integers:
    """Twice the midranks of |d|, integers; zero differences share the lowest ranks (pratt) or have none (wilcox)."""
    ranks = np.rint(2 * stats.rankdata(np.abs(rows), axis=-1)).astype(np.int64)
    if zeros == "wilcox":
        none = rows == 0
        ranks = np.where(none, 0, ranks - 2 * none.sum(axis=-1, keepdims=True))
    return ranks


@lru_cache(maxsize=32)
def _signed_rank_tail(ranks: tuple[int, ...]) -> Array:
    """P(W ≥ w) for w = 0 … Σ ranks, W the sum over fair coins of the ascending ranks whose coin shows heads."""
    counts = np.zeros(sum(ranks) + 1)
    counts[0] = 1.0
    reached = 0
    for rank in ranks:  # to 2ⁿ: integers to n = 53, then with at most n roundings
        reached += rank
        counts[rank : reached + 1] += counts[: reached + 1 - rank]
    tail = np.minimum(np.ldexp(np.cumsum(counts[::-1])[::-1], -len(ranks)), 1.0)
    tail.flags.writeable = False
    return tail


def _walsh_averages(rows: Array) -> Array:
    first, second = np.triu_indices(rows.shape[-1])
    return (rows[..., first] + rows[..., second]) / 2


def _merged_averages(row: Array) -> Array:
    """Walsh averages with ties made exact, each told to the rounding of its own two differences."""
    averages, errors = _walsh_averages(row), TIE * _walsh_averages(np.abs(row))
    return merged(without_residue(averages, errors), errors)


def _pseudomedian(rows: Array) -> Array:
    block = max(1, 2**22 // rows.shape[-1] ** 2)
    parts = [np.median(_walsh_averages(rows[i : i + block]), axis=-1) for i in range(0, len(rows), block)]
    return np.concatenate(parts)


def _rank_interval(d: Array, level: float) -> Interval:
    rows = d.reshape(-1, d.shape[-1])
    return _by_row([(_rank_end(row, level), -_rank_end(-row, level)) for row in rows], d)


def _rank_end(row: Array, level: float) -> float:
    """Where, from below, the two-sided test of row - θ first does not reject.

    Between two Walsh averages the ranks below 0 sum to U, the number of Walsh averages below θ. Without ties
    p = 2 P(W ≤ U), and the end is the first with p > 1 - level. Equal differences are tied at every θ: midranks move
    a sum over g tied ranks by at most g²/8, so the search starts as much earlier and asks the tied distribution.
    """
    n = len(row)
    untied = _signed_rank_tail(tuple(range(2, 2 * n + 2, 2)))[::2][::-1]  # P(W ≤ U)
    row = merged(row)  # what is tied stays tied when it is shifted
    sizes = np.unique(row, return_counts=True)[1]
    tied = sizes[sizes > 1]
    averages, counts = np.unique(_merged_averages(row), return_counts=True)
    below = np.concatenate([[0], np.cumsum(counts)])
    gap = int(np.searchsorted(below, np.searchsorted(untied, (1 - level) / 2, side="right") - (tied**2).sum() // 8))
    while len(tied) and 2 * below[gap] < below[-1] and _gap_p_value(row, averages, gap) <= 1 - level:
        gap += 1
    return float(averages[gap - 1]) if gap else -math.inf


def _gap_p_value(row: Array, averages: Array, gap: int) -> float:
    """Two-sided p of row - θ, with θ midway between two Walsh averages, or below all."""
    low = averages[gap - 1] if gap else 2 * averages[0] - max(averages[-1], averages[0] + 1)
    return float(wilcoxon(row - (low + averages[gap]) / 2).p_value)


# t ---------------------------------------------------------------------------------------------------------------


@takes_tables(paired)
def paired_t(x: ArrayLike, y: ArrayLike | None = None, *, alternative: Alternative = "two-sided") -> TestResult:
    """Paired t test: t = mean(d) / (sd(d) / √n), ddof 1, on n - 1 degrees of freedom.

    Parameters
    ----------
    x, y : array_like, float, shape (..., n)
        Scores of arm and control, or differences alone.
    alternative : {"two-sided", "greater", "less"}
        Of the mean of x - y.

    Returns
    -------
    TestResult
        ``statistic`` is t, ``estimate`` the mean difference, with ``standard_error``, ``df`` and the t interval. All
        differences zero: t = 0 and p = 1. All differences equal and not zero: statistic and p-value are NaN in a row of
        many. All differences equal: the interval is NaN.

    Raises
    ------
    ValueError
        As ``differences``; one sample whose differences are all equal and not zero; an unknown alternative.

    References
    ----------
    Student (1908), Biometrika 6:1.

    Examples
    --------
    >>> result = paired_t([0.81, 0.84, 0.80, 0.86, 0.83], [0.78, 0.80, 0.79, 0.81, 0.81])
    >>> round(result.statistic, 4), round(result.p_value, 4)
    (4.2426, 0.0132)
    """
    check_alternative(alternative)
    d = differences(x, y)
    error = _standard_error(d)
    constant, zero = error == 0, (d == 0).all(axis=-1)
    if d.ndim == 1 and constant and not zero:
        raise ValueError(ALL_EQUAL)
    t = np.where(zero, 0.0, _ratio(d.mean(axis=-1), error))
    df = d.shape[-1] - 1
    p = np.where(zero, 1.0, t_p_value(t, df, alternative))
    mean = d.mean(axis=-1)
    details = {"standard_error": error, "df": df}
    return _result("paired t", d, t, p, alternative, mean, partial(t_interval, mean, error, df), details)


def _ratio(a: Any, b: Any) -> Array:
    """a / b, and NaN where b is 0."""
    return np.divide(a, b, out=np.full(np.shape(a), np.nan), where=np.asarray(b) != 0)


# Equivalence -----------------------------------------------------------------------------------------------------


@takes_tables(paired)
def tost(
    x: ArrayLike, y: ArrayLike | None = None, *, margin: float, test: Callable[..., TestResult] = sign_flip
) -> TestResult:
    """Equivalence within a margin, by two one-sided tests.

    H₀: |difference| ≥ margin. p = max(p of d + margin > 0, p of d - margin < 0): both bounds must be excluded. p ≤ a
    exactly where the test's (1 - 2a) interval lies within the margins: with ``paired_t`` they may be its ends, with
    exact sign flips, which hold their ends, they may not.

    Parameters
    ----------
    x, y : array_like, float, shape (..., n)
        Scores of arm and control, or differences alone. Or tidy tables, with ``arm``, ``control``, ``metric``,
        ``scope``.
    margin : float
        In the unit of the scores, positive; declared before the data are seen.
    test : callable
        ``sign_flip``, ``wilcoxon`` or ``paired_t`` (or a partial of one), called as test(d, alternative=...).

    Returns
    -------
    TestResult
        ``statistic`` and ``p_value`` are those of the bound that is excluded less clearly; estimate, interval and
        details those of ``test``.

    Raises
    ------
    ValueError
        A margin that is not positive and finite; and what ``test`` raises.

    References
    ----------
    Schuirmann (1987), J. Pharmacokinet. Biopharm. 15:657.

    Examples
    --------
    >>> tost([0.01, -0.02, 0.00, 0.01, -0.01, 0.02], margin=0.05).p_value
    0.015625
    """
    check_margin(margin)
    d = differences(x, y)
    low = test(_shifted(d, -margin), alternative="greater")
    high = test(_shifted(d, margin), alternative="less")
    return replace(_less_clear(low, high, f"TOST at ±{margin:g}"), **_of_differences(test(d)))


@takes_tables(paired)
def tost_ratio(
    x: ArrayLike, y: ArrayLike, *, ratio: tuple[float, float], test: Callable[..., TestResult] = sign_flip
) -> TestResult:
    """Equivalence of the ratio of means, mean(x) / mean(y), within (low, high), by two one-sided tests.

    p = max(p of x - low · y > 0, p of x - high · y < 0), paired differences both: no logarithm, no ratio of single
    replicates, whose mean is another number. With a rank test the same holds for pseudomedians of these differences.

    Parameters
    ----------
    x, y : array_like, float, shape (..., n)
        Scores of arm and control on a ratio scale, with positive means. Or tidy tables, with ``arm``, ``control``,
        ``metric``, ``scope``.
    ratio : (float, float)
        Bounds, 0 < low < 1 < high, such as (0.8, 1.25); declared before the data are seen.
    test : callable
        As of ``tost``.

    Returns
    -------
    TestResult
        ``estimate`` is mean(x) / mean(y); ``statistic`` and ``p_value`` those of the bound that is excluded less
        clearly. With ``paired_t``, p ≤ a exactly where Fieller's (1 - 2a) interval lies within the bounds; no interval
        is given here.

    Raises
    ------
    ValueError
        Bounds that are not on both sides of 1; a mean that is not positive; no y; and what ``test`` raises.

    References
    ----------
    Sasabuchi (1988), Commun. Stat. Theory Methods 17:1181; Berger & Hsu (1996), Stat. Sci. 11:283, §4.

    Examples
    --------
    >>> tost_ratio([0.81, 0.84, 0.80, 0.86, 0.83], [0.78, 0.80, 0.79, 0.81, 0.81], ratio=(0.9, 1.1)).p_value
    0.03125
    """
    low, high = ratio
    if not 0 < low < 1 < high < math.inf:
        raise ValueError(f"ratio is {ratio}: bounds of equivalence lie on both sides of 1, such as (0.8, 1.25)")
    if y is None:
        raise ValueError("a ratio of means needs x and y, the scores themselves: differences have no ratio")
    d = differences(x, y)
    numerator, denominator = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    means = numerator.mean(axis=-1), denominator.mean(axis=-1)
    if (np.minimum(*means) <= 0).any():
        raise ValueError("a mean of x or y is not positive: its ratio says nothing; give a margin of the difference")
    first = test(differences(numerator, low * denominator), alternative="greater")
    second = test(differences(numerator, high * denominator), alternative="less")
    result = _less_clear(first, second, f"TOST of the ratio of means in ({low:g}, {high:g})")
    return replace(result, estimate=plain(means[0] / means[1]), n=d.shape[-1], interval=None, details={})


@takes_tables(paired)
def non_inferiority(
    x: ArrayLike, y: ArrayLike | None = None, *, margin: float, test: Callable[..., TestResult] = sign_flip
) -> TestResult:
    """Whether x is worse than y by less than a margin: H₀ mean difference ≤ -margin, p that of d + margin > 0.

    Parameters
    ----------
    x, y : array_like, float, shape (..., n)
        Scores of arm and control, higher being better, or differences alone. Or tidy tables, with ``arm``,
        ``control``, ``metric``, ``scope``. Where lower is better, swap them.
    margin : float
        In the unit of the scores, positive; declared before the data are seen.
    test : callable
        As of ``tost``.

    Returns
    -------
    TestResult
        ``estimate``, interval and details are those of ``test``.

    Raises
    ------
    ValueError
        As ``tost``.

    References
    ----------
    Blackwelder (1982), Control. Clin. Trials 3:345.

    Examples
    --------
    >>> non_inferiority([0.01, -0.02, 0.00, 0.01, -0.01, 0.02], margin=0.05).p_value
    0.015625
    """
    check_margin(margin)
    d = differences(x, y)
    result = test(_shifted(d, -margin), alternative="greater")
    name = f"non-inferiority at -{margin:g}, {result.test}"
    return replace(result, test=name, alternative="non-inferiority", **_of_differences(test(d)))


def _less_clear(low: TestResult, high: TestResult, name: str) -> TestResult:
    low_decides = np.asarray(low.p_value) >= high.p_value
    tests = low.test if low.test == high.test else f"{low.test} and {high.test}"
    statistic = plain(np.where(low_decides, low.statistic, high.statistic))
    p_value = plain(np.maximum(low.p_value, high.p_value))
    return replace(low, test=f"{name}, {tests}", statistic=statistic, p_value=p_value, alternative="equivalence")


def _of_differences(result: TestResult) -> dict[str, Any]:
    """What a test of shifted differences takes from the test of the differences themselves."""
    return {"estimate": result.estimate, "interval": result.interval, "details": result.details}


def _shifted(d: Array, by: float) -> Array:
    """d - by, where a difference that equals ``by`` up to rounding becomes 0 rather than a sign."""
    apart = d - by
    return np.where(np.abs(apart) <= TIE * abs(by), 0.0, apart)


# Bayes -----------------------------------------------------------------------------------------------------------

_CAUCHY = np.sqrt(2) / 2


@takes_tables(paired)
def bayes_factor(x: ArrayLike, y: ArrayLike | None = None) -> Number:
    """Two-sided JZS Bayes factor BF₁₀ of the paired t test.

    Evidence for a standardised effect with a Cauchy(0, √2/2) prior over no effect, from t and n alone. Computed by
    pingouin; beyond |t| = 30 or n = 100, where its quadrature loses digits and then all of them (at t = 1,000 and
    n = 10 it gives 6e13 for 3e19), from the same integral on a log scale.

    Parameters
    ----------
    x, y : array_like, float, shape (..., n)
        Scores of arm and control, or differences alone.

    Returns
    -------
    float, or array of shape (...)
        Above 1 for an effect, below 1 for none; inf above 1.8e308; NaN in a row of many whose differences are equal.

    Raises
    ------
    ValueError
        As ``differences``; one sample whose differences are all equal.

    References
    ----------
    Rouder et al. (2009), Psychon. Bull. Rev. 16:225, equation 1.

    Examples
    --------
    >>> round(bayes_factor([0.03, 0.04, 0.01, 0.05, 0.02]), 3)
    5.757
    """
    d = differences(x, y)
    error = _standard_error(d)
    if d.ndim == 1 and error == 0:
        raise ValueError(ALL_EQUAL.replace("t test", "Bayes factor"))
    t = _ratio(d.mean(axis=-1), error)
    factors = [np.nan if np.isnan(value) else _jzs(float(value), d.shape[-1]) for value in np.ravel(t)]
    return plain(np.reshape(factors, t.shape))


@dataclass(frozen=True)
class Rope:
    """Posterior probabilities that the mean difference lies below, within and above [-margin, margin]."""

    below: Number
    within: Number
    above: Number
    margin: float


@takes_tables(paired)
def rope(x: ArrayLike, y: ArrayLike | None = None, *, margin: float) -> Rope:
    """Posterior probability of a region of practical equivalence.

    Differences are taken as normal, with the reference prior 1/σ. Then the mean difference is, given the data,
    Student's t on n - 1 degrees of freedom, located at the mean and scaled by its standard error, and

        within = P(-margin ≤ μ ≤ margin),  below = P(μ < -margin),  above = P(μ > margin)

    So below is the p-value of the t test for non-inferiority at -margin, and above that of its mirror image.

    Parameters
    ----------
    x, y : array_like, float, shape (..., n)
        Scores of arm and control, or differences alone. Or tidy tables, with ``arm``, ``control``, ``metric``,
        ``scope``.
    margin : float
        In the unit of the scores, positive; declared before the data are seen.

    Returns
    -------
    Rope
        NaN in a row of many whose differences are all equal.

    Raises
    ------
    ValueError
        As ``differences``; a margin that is not positive and finite; one sample whose differences are all equal.

    Notes
    -----
    Benavoli et al. widen the scale by the correlation of cross-validation folds that share training data. Replicates
    here share none of their randomness, so there is no such term.

    References
    ----------
    Kruschke (2013), J. Exp. Psychol. Gen. 142:573; (2018), Adv. Methods Pract. Psychol. Sci. 1:270. Benavoli, Corani,
    Demšar & Zaffalon (2017), J. Mach. Learn. Res. 18(77), §4.1.

    Examples
    --------
    >>> result = rope([0.03, 0.04, 0.01, 0.05, 0.02], margin=0.02)
    >>> round(result.below, 4), round(result.within, 4), round(result.above, 4)
    (0.0011, 0.114, 0.8849)
    """
    check_margin(margin)
    d = differences(x, y)
    error = _standard_error(d)
    if d.ndim == 1 and error == 0:
        raise ValueError(ALL_EQUAL.replace("t test", "posterior"))
    below, above = (
        t_p_value(_ratio(sign * d.mean(axis=-1) + margin, error), d.shape[-1] - 1, "greater") for sign in (1, -1)
    )
    return Rope(plain(below), plain(np.maximum(1 - below - above, 0)), plain(above), margin)


def _jzs(t: float, n: int) -> float:
    if abs(t) <= 30 and n <= 100:
        with any_backend():  # it imports matplotlib, which is not needed here
            from pingouin import bayesfactor_ttest  # half a second to import, and needed here alone

        return float(bayesfactor_ttest(t, n, paired=True, r=_CAUCHY))
    return _jzs_by_log(t, n)


def _jzs_by_log(t: float, n: int) -> float:
    """Equation 1 with g = exp(u), numerator over denominator, scaled by the integrand's peak."""
    df = n - 1

    def log_integrand(u: Number) -> Number:
        spread = np.log1p(n * np.exp(u) * _CAUCHY**2)
        log_ratio = np.log1p(t**2 / df) - np.log1p(t**2 / df * np.exp(-spread))
        return n / 2 * log_ratio - spread / 2 - 0.5 * (np.log(2 * np.pi) + u + np.exp(-u))

    grid = np.linspace(-7, 80, 2001)  # below, the prior leaves less than e⁻⁵⁰⁰; t = 1e15 peaks below 80
    peak = float(grid[np.argmax(log_integrand(grid))])
    top = float(log_integrand(peak))
    area = sum(
        integrate.quad(lambda u: np.exp(log_integrand(u) - top), low, high, limit=200, epsrel=1e-11)[0]
        for low, high in ((peak - 20, peak), (peak, peak + 20), (peak + 20, peak + 80))
    )
    log_factor = top + float(np.log(area))
    return float(np.exp(log_factor)) if log_factor < np.log(np.finfo(np.float64).max) else float("inf")
