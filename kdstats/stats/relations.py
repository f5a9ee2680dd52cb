"""Matrices of relations: is one like another, and is the relation the same over the rungs of a ladder?"""

import itertools
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import ndtr

from kdstats.stats.pivots import _inverse_chi_squares
from kdstats.stats.results import (
    Alternative,
    Array,
    Interval,
    TestResult,
    check_alternative,
    check_margin,
    numbers,
    plain,
)
from kdstats.stats.ties import TIE, rounding

_ENUMERATED = 7  # classes: up to here all C! permutations

# Two matrices ----------------------------------------------------------------------------------------------------


def mantel(
    matrices: ArrayLike,
    other: ArrayLike | None = None,
    *,
    permutations: int = 10_000,
    alternative: Alternative = "greater",
    seed: int = 0,
) -> TestResult:
    """Mantel's test: are two matrices over the same classes alike beyond what any naming of the classes would give?

    With r Pearson's correlation over the C (C - 1) off-diagonal cells and π a permutation of the classes, which moves
    rows and columns of one matrix together,

        p = P(r(A, B_π) ≥ r(A, B)),  (B_π)ᵢⱼ = B_π(i)π(j)

    over all C! permutations to C = 7, else over sampled ones by (b + 1) / (m + 1), the same for all pairs. Cells above
    and below the diagonal are different cells: the matrices need not be symmetric. Values of r within 1e-10 are ties,
    and ties count; two-sided compares \\|r\\|.

    A small p rejects "no relation at all", which is the least that can be asked. Whether the relation of teachers is
    the same is a question about teachers: ``stability``.

    Parameters
    ----------
    matrices : array_like, float, shape (C, C) with ``other``, or (K, C, C)
        One matrix of a pair, or K of which all pairs are tested. Diagonals are not used.
    other : array_like, float, shape (C, C), optional
    permutations, seed : int
        Of the sampled test; unused to 7 classes.
    alternative : {"greater", "less", "two-sided"}

    Returns
    -------
    TestResult
        ``statistic`` and ``estimate`` are r, ``n`` is C. Of K matrices the numbers are arrays over pairs in the order
        of ``itertools.combinations``, and the details ``first`` and ``second`` say which. There is no interval.

    Raises
    ------
    ValueError
        Not square, fewer than three classes or two matrices, different classes, cells that are not finite, a matrix
        whose cells are all equal; ``permutations`` below 1.

    Notes
    -----
    Measured on two cores: 10,000 permutations of 100 classes, all 15 pairs of 6 matrices, in 1 s
    (``benchmarks/relations.py``). p is not adjusted for the number of pairs.

    References
    ----------
    Mantel (1967), Cancer Res. 27:209. Phipson & Smyth (2010), Stat. Appl. Genet. Mol. Biol. 9:39, for
    (b + 1) / (m + 1).

    Examples
    --------
    >>> one = [[0.0, 0.6, 0.3, 0.1], [0.7, 0.0, 0.2, 0.1], [0.3, 0.2, 0.0, 0.5], [0.1, 0.1, 0.8, 0.0]]
    >>> other = [[0.0, 0.5, 0.3, 0.2], [0.6, 0.0, 0.3, 0.1], [0.2, 0.2, 0.0, 0.6], [0.2, 0.1, 0.7, 0.0]]
    >>> result = mantel(one, other)
    >>> result.test, round(result.estimate, 3), round(result.p_value, 6)  # none of 24 is larger, this one is as large
    ('Mantel, exact', 0.949, 0.041667)
    """
    check_alternative(alternative)
    if permutations < 1:
        raise ValueError(f"permutations is {permutations}: a sampled test needs one or more")
    cells = _standardised(_stack(matrices, other))
    k, classes, _ = cells.shape
    exact = classes <= _ENUMERATED
    first, second = np.triu_indices(k, 1)
    left = cells[:-1].reshape(k - 1, -1)

    def correlations(order: NDArray[np.intp]) -> Array:
        moved = cells[1:].take(order, axis=1).take(order, axis=2)
        return (left @ moved.reshape(k - 1, -1).T)[first, second - 1]

    def extremity(r: Array) -> Array:
        return {"two-sided": np.abs(r), "less": -r}.get(alternative, r)

    r = correlations(np.arange(classes))
    observed = extremity(r) - TIE
    reached, tried = np.zeros(len(first)), 0
    for order in _orders(classes, None if exact else permutations, seed):
        reached += extremity(correlations(order)) >= observed
        tried += 1
    p = reached / tried if exact else (reached + 1) / (tried + 1)
    name = f"Mantel, {'exact' if exact else f'{permutations:,} draws'}"
    if other is not None:
        return TestResult(name, plain(r[0]), plain(p[0]), plain(r[0]), classes, alternative)
    return TestResult(name, r, p, r, classes, alternative, details={"first": first, "second": second})


def _orders(classes: int, sampled: int | None, seed: int) -> Iterable[NDArray[np.intp]]:
    """All orders of the classes, or some of them."""
    if sampled is None:
        return (np.array(order) for order in itertools.permutations(range(classes)))
    generator = np.random.default_rng(seed)
    return (generator.permutation(classes) for _ in range(sampled))


def _stack(matrices: ArrayLike, other: ArrayLike | None) -> Array:
    """All matrices, (K, C, C), K ≥ 2."""
    found = numbers(matrices, "matrices")
    if other is not None:
        second = numbers(other, "other")
        if found.ndim != 2 or found.shape != second.shape:
            raise ValueError(
                f"matrices has shape {found.shape} and other {second.shape}: a pair are two matrices over the same"
                " classes; several go in as one array, without other"
            )
        found = np.stack([found, second])
    if found.ndim != 3 or found.shape[1] != found.shape[2]:
        raise ValueError(f"matrices has shape {found.shape}: it takes (K, C, C), or (C, C) with other")
    if len(found) < 2 or found.shape[1] < 3:
        raise ValueError(
            f"matrices has shape {found.shape}: two or more matrices, of three or more classes, are needed"
        )
    return found


def _standardised(matrices: Array) -> Array:
    """Off-diagonal cells with mean 0 and length 1, diagonals 0."""
    outside = ~np.eye(matrices.shape[1], dtype=bool)
    found = np.zeros_like(matrices)
    for k, matrix in enumerate(matrices):
        cells = matrix[outside]
        if not np.isfinite(cells).all():
            raise ValueError(f"matrix {k} holds values off its diagonal that are not finite")
        if np.ptp(cells) <= TIE * np.abs(cells).max():
            raise ValueError(f"the off-diagonal cells of matrix {k} are all equal: its correlation with any is 0/0")
        cells = cells - cells.mean()
        found[k, outside] = cells / np.linalg.norm(cells)
    return found


# A ladder of teachers --------------------------------------------------------------------------------------------


def stability(similarities: ArrayLike, groups: ArrayLike, *, margin: float) -> TestResult:
    """Are teachers of different groups as alike as teachers of one group, but for a margin? Teachers are the units.

    For similarities Sᵢⱼ of K teachers in G groups (capacities) of n_g,

        estimate = mean over pairs of groups of the mean Sᵢⱼ between them
                   - mean over groups of the mean Sᵢⱼ within

    every pair of groups, and every group, counting alike. H₀: difference ≤ -margin. Pairs that share a teacher depend
    on each other and are no units; what is left out in turn is a teacher. With θ₍ᵢ₎ the estimate without teacher i and
    σ² the residual mean square of Sᵢⱼ ~ pair of groups + what i and j each add to it,

        J = Σ_g (n_g - 1) / n_g Σ_{i in g} (θ₍ᵢ₎ - mean over g)²
        variance = max(J - c σ², v σ²)

    v σ² is what the residuals add to the variance of the estimate, v = Σ (weight of a pair)²; the jackknife J counts
    them twice (those within a group 2 (n_g - 1) / (n_g - 2) times), and c σ² is what it counts too much. p and interval
    replace J by J df / χ²(df), with Satterthwaite's df of the groups' parts of J, in the normal distribution of the
    estimate given its variance (a generalised pivot, as in ``two_way``).

    Parameters
    ----------
    similarities : array_like, float, shape (K, K)
        Symmetric; the diagonal is not used. Of affinities, mean rank correlations, overlaps.
    groups : array_like, shape (K,)
        Each teacher's capacity: numbers or names, three or more teachers each.
    margin : float
        In the unit of the similarities, positive; declared before they are seen.

    Returns
    -------
    TestResult
        ``n`` is K, ``statistic`` (estimate + margin) / standard error. Details: ``standard_error``, ``df``, and the
        means ``across`` and ``within`` groups.

    Raises
    ------
    ValueError
        A matrix that is not square, symmetric and finite; fewer than two groups, or than three teachers in one (two
        are a single pair, which does not tell what each adds); similarities without any variance; a margin that is not
        positive.

    Notes
    -----
    Groups are fixed, teachers random draws of their recipe: nothing is said of capacities that were not tried.

    Measured on 2,000 simulated ladders of each of six sizes (groups × teachers 3 × 3, 3 × 5, 3 × 6, 4 × 5, 5 × 3, and
    3, 4 and 6 teachers; ``benchmarks/relations.py --ladders 2000``): coverage of the 95 % interval, claims of stability
    at level .05 where the difference is just the margin, and coverage of t over pairs and over teachers' differences.

    ===================================  =========  =========  =========  ===========
    What Sᵢⱼ vary by                     coverage   size       t, pairs   t, teachers
    ===================================  =========  =========  =========  ===========
    pairs alone                          .98 – .99  .01 – .03  .94 – .95  .73 – .81
    teachers, alike to all               .99 – 1.0  .01 – .02  .99 – 1.0  .90 – .96
    teachers, a little by group          .95 – .99  .02 – .05  .91 – .98  .73 – .77
    teachers, much by group              .95 – .97  .04 – .06  .76 – .92  .60 – .65
    the same, exponential                .94 – .96  .06 – .07  .75 – .92  .60 – .64
    correlations of 90 cells, one truth  .98 – 1.0  .01 – .03  .97 – .99  .80 – .85
    groups that differ                   .95 – .98  .02 – .06  .84 – .99  .72 – .75
    and whose teachers vary unequally    .94 – .98  .03 – .06  .39 – 1.0  .74 – .82
    ===================================  =========  =========  =========  ===========

    So it is cautious where groups do not differ, and claims somewhat too often where effects are skewed. The jackknife
    alone, with t on K - G, is as safe; but where groups do not differ its standard error is 1.5 to 1.9 times too large.

    References
    ----------
    Efron & Stein (1981), Ann. Stat. 9:586, for what the jackknife counts twice. Hoeffding (1948), Ann. Math. Stat.
    19:293. Tsui & Weerahandi (1989), J. Am. Stat. Assoc. 84:602, for generalised p-values. Blackwelder (1982), Control.
    Clin. Trials 3:345.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> teachers = 1.0 + rng.normal(size=40) + 0.3 * rng.normal(size=(6, 40))  # one relation, seen by six
    >>> result = stability(np.corrcoef(teachers), [8, 8, 8, 20, 20, 20], margin=0.1)
    >>> low, high = result.confidence_interval()
    >>> result.n, result.p_value < 0.05, bool(-0.1 < low < 0 < high)
    (6, True, True)
    """
    check_margin(margin)
    s, members = _by_group(similarities, groups)
    across, within = _means(s, members)
    estimate = across - within
    parts = [_left_out(s, members, g) for g in range(len(members))]
    jackknife = sum(parts)
    residual, counted, excess = _residuals(s, members)
    least = counted * residual
    if not max(jackknife, least) > (TIE * np.abs(s).max()) ** 2:
        raise ValueError("the similarities do not vary from teacher to teacher: there is no variance to test against")
    spread = sum(part**2 / (len(g) - 1) for part, g in zip(parts, members, strict=True))
    df = jackknife**2 / spread if spread else float(len(s) - len(members))
    error = float(np.sqrt(max(jackknife - excess * residual, least)))
    scales, weights = _inverse_chi_squares(df)
    deviations = np.sqrt(np.maximum(jackknife * scales - excess * residual, least))

    def below(distance: float) -> float:
        """P(the truth lies further than this below the estimate); the bend at the floor costs 1e-4 of it."""
        return float(ndtr(-distance / deviations) @ weights)

    def interval(level: float) -> Interval:
        tail, outside = (1 - level) / 2, error
        while below(outside) > tail:
            outside *= 2
        half = brentq(lambda distance: below(distance) - tail, 0.0, outside, xtol=1e-12 * outside)
        return estimate - half, estimate + half

    details = {"standard_error": error, "df": df, "across": across, "within": within}
    name = f"non-inferiority at -{margin:g}, teachers left out in turn"
    p = below(estimate + margin)
    return TestResult(name, (estimate + margin) / error, p, estimate, len(s), "non-inferiority", interval, details)


def _by_group(similarities: ArrayLike, groups: ArrayLike) -> tuple[Array, list[NDArray[np.intp]]]:
    """The checked matrix, and the teachers of each group."""
    s = numbers(similarities, "similarities").copy()
    if s.ndim != 2 or s.shape[0] != s.shape[1]:
        raise ValueError(f"similarities has shape {s.shape}: it is a matrix with a row and a column for each teacher")
    np.fill_diagonal(s, 0.0)
    if not np.isfinite(s).all():
        i, j = np.argwhere(~np.isfinite(s))[0]
        raise ValueError(f"the similarity of teachers {i} and {j} is {s[i, j]}: it must be finite")
    apart = np.abs(s - s.T)
    excess = apart - np.maximum(TIE * np.abs(s), rounding(np.abs(s).max(), 0.0))
    if excess.max(initial=0.0) > 0:
        i, j = np.unravel_index(excess.argmax(), apart.shape)
        raise ValueError(f"similarities are symmetric, but those of teachers {i} and {j} are {s[i, j]} and {s[j, i]}")
    labels: NDArray[Any] = np.asarray(groups)
    if labels.shape != (len(s),) or pd.isna(labels).any():
        raise ValueError(f"groups has shape {labels.shape}: each of the {len(s)} teachers has one group")
    names = np.unique(labels)
    members = [np.flatnonzero(labels == name) for name in names]
    if len(members) < 2:
        raise ValueError(f"all teachers are in one group ({names[0]}): stability is over two or more capacities")
    for name, group in zip(names, members, strict=True):
        if len(group) < 3:
            raise ValueError(
                f"group {name} has {len(group)} teacher(s): three or more of each capacity are needed, of different"
                " seeds, to tell what a teacher adds to its similarities"
            )
    return s, members


def _means(s: Array, members: list[NDArray[np.intp]]) -> tuple[float, float]:
    """Mean similarity across groups and within, every pair of groups and every group counting alike."""
    across = [s[np.ix_(a, b)].mean() for a, b in itertools.combinations(members, 2)]
    within = [s[np.ix_(g, g)].sum() / (len(g) * (len(g) - 1)) for g in members]
    return float(np.mean(across)), float(np.mean(within))


def _left_out(s: Array, members: list[NDArray[np.intp]], g: int) -> float:
    """The group's part of the jackknife variance."""
    each = []
    for i in range(len(members[g])):
        across, within = _means(s, [*members[:g], np.delete(members[g], i), *members[g + 1 :]])
        each.append(across - within)
    return (len(each) - 1) * float(np.var(each))


def _residuals(s: Array, members: list[NDArray[np.intp]]) -> tuple[float, float, float]:
    """Residual mean square; what multiplies it in the estimate's variance, and in what the jackknife has too much."""
    squares, df, counted, excess = 0.0, 0.0, 0.0, 0.0
    groups = len(members)
    for a, b in itertools.combinations(members, 2):
        block = s[np.ix_(a, b)]
        block = block - block.mean(0) - block.mean(1)[:, None] + block.mean()
        squares += np.sum(block**2)
        df += (len(a) - 1) * (len(b) - 1)
        weight = (2 / (groups * (groups - 1))) ** 2 / (len(a) * len(b))
        counted, excess = counted + weight, excess + weight
    for g in members:
        n, block = len(g), s[np.ix_(g, g)]
        mean = block.sum() / (n * (n - 1))
        added = (block.sum(1) / (n - 1) - mean) * (n - 1) / (n - 2)
        block = (block - mean - added - added[:, None])[np.triu_indices(n, 1)]
        squares += np.sum(block**2)
        df += n * (n - 3) / 2
        weight = 2 / (groups**2 * n * (n - 1))
        counted, excess = counted + weight, excess + weight * n / (n - 2)
    return float(squares / df), counted, excess
