"""Which numbers are one number: ties that rounding hides, told by each value's own rounding.

A tolerance that is a share of the largest value of a sample makes ties of all the others as soon as one of them
diverges. Here every value has a tolerance of its own, and none of another value's:

- scores, and differences that come alone: ``TIE`` of their own size;
- differences x - y: besides, the rounding of their own x and y, ``rounding(x, y)``.
"""

from bisect import bisect_left, insort
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Integers = NDArray[np.int64]

TIE = 1e-10
_ROUNDING = 16 * float(np.finfo(np.float64).eps)  # of a score that a few operations made
_VAGUE = 1e-5  # of the middle difference: where the rounding of scores is more, ties cannot be told
_NOTHING = 2.0**-50  # of the middle value: what is less may be what rounding left of 0


def rounding(x: ArrayLike, y: ArrayLike) -> Array:
    """What rounding may leave of x - y where both are one number: 16 units in the last place of the larger.

    Examples
    --------
    >>> bool(abs(0.1 + 0.2 - 0.3) <= rounding(0.1 + 0.2, 0.3) < 2e-15)
    True
    """
    return np.asarray(_ROUNDING * np.maximum(np.abs(x), np.abs(y)))


def tie_groups(values: ArrayLike, tolerance: ArrayLike | None = None) -> Integers:
    """0, 1, … by value on the last axis, one number for the values of a tie.

    Values open groups or join them, the most precise (least tolerance) first and of equally precise ones the least: a
    value joins the group whose opener is nearest, if it is within the value's own tolerance, and opens one otherwise.
    So a group is no wider than twice the tolerance of its least precise member, however many near values form a chain,
    and a value never changes how more precise ones are grouped: one that diverged leaves the others as they were.

    Parameters
    ----------
    values : array_like, float, shape (..., n)
    tolerance : array_like, float, shape (..., n), optional
        Of each value, not negative; ``TIE`` of its size by default.

    Returns
    -------
    array, int, shape (..., n)

    Examples
    --------
    >>> tie_groups([0.9 - 0.8, 3.0, 0.8 - 0.7, 1e12]).tolist()
    [0, 1, 0, 2]
    >>> tie_groups([0.0, 0.6, 1.2, 1.8], [1.0, 1.0, 1.0, 1.0]).tolist()  # a chain: the third is too far from the first
    [0, 0, 1, 1]
    """
    found = np.asarray(values, dtype=np.float64)
    width = TIE * np.abs(found) if tolerance is None else np.broadcast_to(tolerance, found.shape)
    n = found.shape[-1]
    order = np.argsort(found, axis=-1, kind="stable")
    ascending = np.take_along_axis(found, order, axis=-1).reshape(-1, n)
    widths = np.take_along_axis(width, order, axis=-1).reshape(-1, n)
    new = np.zeros(ascending.shape, dtype=np.int64)
    new[:, 1:] = np.diff(ascending, axis=-1) > np.maximum(widths[:, 1:], widths[:, :-1])
    if ascending.size:
        first = new.copy()
        first[:, 0] = 1
        start = np.flatnonzero(first)
        ends = np.append(start[1:], first.size) - 1
        flat = ascending.ravel()
        chained = flat[ends] - flat[start] > np.minimum.reduceat(widths.ravel(), start)
        for i in np.unique(start[chained] // n):  # wider than its members' tolerance: who opened which group?
            new[i] = _opened(ascending[i], widths[i])
    groups = np.empty(found.shape, dtype=np.int64)
    np.put_along_axis(groups, order, np.cumsum(new, axis=-1).reshape(found.shape), axis=-1)
    return groups


def _opened(ascending: Array, widths: Array) -> Integers:
    """1 where a value is of another group than the one before it."""
    openers: list[float] = []
    joined = np.empty(len(ascending))
    for i in np.lexsort((ascending, widths)):
        value = float(ascending[i])
        at = bisect_left(openers, value)
        nearest = min(openers[max(0, at - 1) : at + 1], key=lambda opener: abs(opener - value), default=None)
        if nearest is None or abs(value - nearest) > widths[i]:
            insort(openers, value)
            nearest = value
        joined[i] = nearest
    return np.diff(joined, prepend=joined[:1]).astype(bool).astype(np.int64)


def merged(values: ArrayLike, tolerance: ArrayLike | None = None) -> Array:
    """The values, ties made exact: each counts as the most precise of its group, of equally precise ones the least.

    Examples
    --------
    >>> merged([0.9 - 0.8, 3.0, 0.8 - 0.7]).tolist() == [0.9 - 0.8, 3.0, 0.9 - 0.8]
    True
    """
    found = np.asarray(values, dtype=np.float64)
    width = TIE * np.abs(found) if tolerance is None else np.broadcast_to(tolerance, found.shape)
    n = found.shape[-1]
    groups = tie_groups(found, width).reshape(-1, n)
    groups = (groups + n * np.arange(len(groups))[:, None]).ravel()
    order = np.lexsort((found.ravel(), width.ravel(), groups))
    names, first = np.unique(groups[order], return_index=True)
    stands_for = found.ravel()[order[first]]
    return stands_for[np.searchsorted(names, groups)].reshape(found.shape)


def merged_sizes(d: Array, tolerance: ArrayLike | None = None) -> Array:
    """Signed values whose sizes are merged: 0.9 - 0.8 and 0.7 - 0.8 become opposite.

    Examples
    --------
    >>> merged_sizes(np.array([0.9 - 0.8, 0.7 - 0.8])).sum().item()
    0.0
    """
    return np.asarray(np.copysign(merged(np.abs(d), tolerance), d) + 0.0)  # + 0.0 turns -0.0 into 0.0


def without_residue(values: Array, tolerance: Array) -> Array:
    """The values, 0 where they are within their tolerance of it.

    Examples
    --------
    >>> without_residue(np.array([0.1 + 0.2 - 0.3, 0.1]), rounding([0.3, 0.2], [0.3, 0.1])).tolist()
    [0.0, 0.1]
    """
    return np.where(np.abs(values) <= tolerance, 0.0, values)


def about_strata(values: Array, index: Integers) -> Array:
    """Deviations from the means of strata, 0 throughout a stratum whose values are one number.

    What rounding leaves is not variance. Each value is held against its own rounding, so that a stratum of large values
    does not hide how others vary.

    Parameters
    ----------
    values : array, float, shape (..., n)
    index : array, int, shape (n,)
        The stratum of each value, from 0.

    Examples
    --------
    >>> about_strata(np.array([1e12, 1e12, 1.0, 2.0]), np.array([0, 0, 1, 1])).tolist()
    [0.0, 0.0, -0.5, 0.5]
    """
    found = np.asarray(values, dtype=np.float64)
    rows = found.reshape(-1, len(index))
    apart = rows - np.array([np.bincount(index, row) / np.bincount(index) for row in rows])[:, index]
    differ = np.abs(apart) > TIE * np.abs(rows)
    varies = np.array([np.bincount(index, row) > 0 for row in differ])[:, index]
    return np.where(varies, apart, 0.0).reshape(found.shape)


def undecided(values: Array, tolerance: Any = None) -> str:
    """Why ties cannot be told for certain, in a sentence for the note of a result; empty where they can.

    Parameters
    ----------
    values : array, float, shape (..., n)
        Differences, or scores.
    tolerance : array, float, optional
        The rounding of each difference's two scores, where they are known.

    Examples
    --------
    >>> undecided(np.array([0.1, 0.2, 0.3])), undecided(np.array([0.1, 0.2, 0.1 + 0.2 - 0.3]))[:17]
    ('', 'a value of 5.6e-1')
    """
    size = np.abs(values)
    nonzero = np.where(size > 0, size, np.inf)
    count = np.isfinite(nonzero).sum(axis=-1, keepdims=True)
    middle = np.take_along_axis(np.sort(nonzero, axis=-1), np.maximum(count - 1, 0) // 2, axis=-1)
    if not np.isfinite(middle).any():
        return ""
    if tolerance is not None:
        vague = np.where(np.isfinite(middle), np.median(tolerance, axis=-1, keepdims=True) / middle, 0.0)
        if vague.max() > _VAGUE:
            worst = float(np.median(tolerance, axis=-1).ravel()[vague.argmax()])
            return (
                f"the scores are large beside their differences: rounding (to {worst:.1e}) may hide ties or make them;"
                " take an offset off both"
            )
        return ""
    small = nonzero < _NOTHING * middle
    if small.any():
        least = float(size[small].min())
        beside = float(np.broadcast_to(middle, size.shape)[small].max())
        return (
            f"a value of {least:.1e} beside others of {beside:.1e} may be what rounding left of 0: it counts as a value"
            " of its own; give both scores, not their differences, to have it told"
        )
    return ""
