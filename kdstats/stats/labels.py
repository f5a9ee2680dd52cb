"""Tests of what belongs to a whole group, a count of features say: its members have no values of their own to pair."""

from collections.abc import Callable, Iterable
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kdstats.stats.results import Alternative, Array, TestResult, check_alternative, plain
from kdstats.stats.ties import TIE

Members = NDArray[np.intp]


def swap_labels(
    statistic: Callable[[Members, Members], ArrayLike],
    first: ArrayLike,
    second: ArrayLike,
    *,
    clusters: ArrayLike | None = None,
    alternative: Alternative = "two-sided",
    permutations: int = 9_999,
    seed: int = 0,
) -> TestResult:
    """Do two groups of paired members differ in a number of the whole group?

    Of n pairs (fᵢ, sᵢ), with fᵢ in one group and sᵢ in the other, the labels are exchanged by unit, a pair or all pairs
    of a cluster. With T the statistic of the two groups and ε what is exchanged,

        p = P(T(ε) ≥ T observed)

    over all 2ᵘ exchanges of u units where these are no more than ``permutations`` + 1, else over sampled ones by
    (b + 1) / (m + 1). T within rounding of the observed is a tie, and ties count; two-sided compares \\|T\\|.

    The null hypothesis is that exchanging the labels of any units changes the distribution of nothing: members of a
    pair are alike in all but their label. Groups that differ in other ways than T, using other features but equally
    many say, are not under it, and T may then be found to differ more often than the level: how much more, its user
    has to find out. The smallest p is 2⁻ᵘ (two-sided 2¹⁻ᵘ, if T changes sign with the labels).

    Parameters
    ----------
    statistic : callable
        From the members of the first and of the second group to a number, or several, shape (S,): a difference,
        positive where the first group has more. It may look at nothing but the members.
    first, second : array_like, int, shape (n,)
        Members, each here once.
    clusters : array_like, shape (n,), optional
        Pairs that are exchanged together: students of one teacher.
    alternative : {"two-sided", "greater", "less"}
    permutations, seed : int
        Of the sampled test.

    Returns
    -------
    TestResult
        ``statistic`` and ``estimate`` are T, ``n`` is u. Arrays of shape (S,) where the statistic has several. There is
        no interval: a group has one value, and no variance without a model.

    Raises
    ------
    ValueError
        Unequal numbers of members, a member twice, no pair; a statistic that is not finite; ``permutations`` below 1.

    References
    ----------
    Phipson & Smyth (2010), Stat. Appl. Genet. Mol. Biol. 9:39, for (b + 1) / (m + 1).

    Examples
    --------
    How many different letters do two groups use?

    >>> letters = ["ab", "ac", "bc", "adef", "bghi", "cjkl"]
    >>> def more(first, second):
    ...     used = [len(set("".join(letters[i] for i in group))) for group in (first, second)]
    ...     return used[1] - used[0]
    >>> result = swap_labels(more, [0, 1, 2], [3, 4, 5], alternative="greater")
    >>> result.estimate, result.p_value  # 12 letters against 3; of 2³ exchanges only the observed has so many more
    (9.0, 0.125)
    """
    check_alternative(alternative)
    if not isinstance(permutations, Integral) or permutations < 1:
        raise ValueError(f"permutations is {permutations!r}: a sampled test needs a whole number, one or more")
    a, b = np.asarray(first), np.asarray(second)
    if any(side.size and side.dtype.kind not in "iu" for side in (a, b)):
        raise ValueError(f"first and second hold numbers of members, whole ones, not {a.dtype} and {b.dtype}")
    if a.ndim != 1 or a.shape != b.shape or not len(a):
        raise ValueError(f"first has shape {a.shape}, second {b.shape}: they are one or more pairs, (n,) both")
    if len(np.unique(np.concatenate([a, b]))) < 2 * len(a):
        raise ValueError("a member is there twice: each belongs to one pair, on one side")
    unit = _units(clusters, len(a))
    units = int(unit.max()) + 1
    exact = 2**units <= permutations + 1

    def found(exchanged: NDArray[np.bool_]) -> Array:
        swapped = exchanged[unit]
        t = np.atleast_1d(np.asarray(statistic(np.where(swapped, b, a), np.where(swapped, a, b)), np.float64))
        if not np.isfinite(t).all():
            raise ValueError(f"the statistic is {t.tolist()}: it must be finite, whatever labels are exchanged")
        return {"two-sided": np.abs(t), "less": -t}.get(alternative, t)

    t = np.asarray(statistic(a, b), np.float64)
    observed = found(np.zeros(units, bool))
    drawn = np.array([found(exchanged) for exchanged in _exchanges(units, None if exact else permutations, seed)])
    reached, tried = (drawn >= observed - _near(observed, drawn)).sum(axis=0), len(drawn)
    p = (reached / tried if exact else (reached + 1) / (tried + 1)).reshape(t.shape)
    name = f"label exchange, {'exact' if exact else f'{permutations:,} draws'}"
    return TestResult(name, plain(t), plain(p), plain(t), units, alternative)


def _near(observed: Any, drawn: Array) -> Any:
    """What rounding may leave between equal statistics: a share of the observed one's size, or of the middle one's.

    Not of the largest one's, which may have diverged; nor of 1, since the statistic may be in any unit.
    """
    return TIE * np.maximum(np.abs(observed), np.median(np.abs(drawn), axis=0))


def _units(clusters: Any, n: int) -> Members:
    if clusters is None:
        return np.arange(n)
    names = np.asarray(clusters)
    if names.shape != (n,):
        raise ValueError(f"clusters has shape {names.shape}: one for each of the {n} pairs")
    return np.unique(names, return_inverse=True)[1]


def _exchanges(units: int, sampled: int | None, seed: int) -> Iterable[NDArray[np.bool_]]:
    """All exchanges of units, or some of them."""
    if sampled is None:
        return ((number >> np.arange(units)) % 2 == 1 for number in range(2**units))
    generator = np.random.default_rng(seed)
    return (generator.random(units) < 0.5 for _ in range(sampled))


def shuffle_within(
    statistic: Callable[[Members], float],
    members: ArrayLike,
    *,
    alternative: Alternative = "two-sided",
    permutations: int = 9_999,
    seed: int = 0,
) -> TestResult:
    """Does it matter which members stand together?

    The members of each row are put into random orders, independently of other rows; a column is a group. With T the
    statistic of the matrix,

        p = (b + 1) / (m + 1),  b of m orders having T as large as the observed

    The null hypothesis is that members of a row are exchangeable. Two-sided p is twice the smaller of the one-sided
    ones, at most 1. T within rounding of the observed is a tie.

    Parameters
    ----------
    statistic : callable
        From a matrix of members to a number.
    members : array_like, int, shape (rows, groups)
        Rows are blocks, in which members may change places: seeds; columns are groups: teachers.
    alternative : {"two-sided", "greater", "less"}
    permutations, seed : int

    Returns
    -------
    TestResult
        ``statistic`` is T, ``estimate`` T minus its mean over the orders, ``n`` the number of groups.

    Raises
    ------
    ValueError
        Fewer than two rows or groups; ``permutations`` below 1.

    Examples
    --------
    >>> heights = np.array([1.0, 1.1, 5.0, 5.2, 9.0, 9.1])
    >>> def spread(members):
    ...     return float(np.ptp(heights[members], axis=0).sum())
    >>> result = shuffle_within(spread, [[0, 2, 4], [1, 3, 5]], alternative="less", permutations=999)
    >>> round(result.statistic, 1), 0.1 < result.p_value < 0.25  # one order of six keeps neighbours together
    (0.4, True)
    """
    check_alternative(alternative)
    matrix = np.asarray(members, np.intp)
    if matrix.ndim != 2 or min(matrix.shape) < 2:
        raise ValueError(f"members has shape {matrix.shape}: two rows or more, of two groups or more")
    if not isinstance(permutations, Integral) or permutations < 1:
        raise ValueError(f"permutations is {permutations!r}: a sampled test needs a whole number, one or more")
    observed = statistic(matrix)
    generator = np.random.default_rng(seed)
    drawn = np.array([statistic(generator.permuted(matrix, axis=1)) for _ in range(permutations)])
    near = _near(observed, drawn)
    above, below = ((np.sum(side * drawn >= side * observed - near) + 1) / (permutations + 1) for side in (1, -1))
    p = {"greater": above, "less": below}.get(alternative, min(1.0, 2 * min(above, below)))
    estimate = observed - float(drawn.mean())
    name = f"permutation within rows, {permutations:,} draws"
    return TestResult(name, observed, float(p), estimate, matrix.shape[1], alternative)
