"""Tests that may be looked at after every unit: e-processes of symmetric paired differences.

Units are fed in a fixed order, that of their seeds. If each difference is symmetric about 0 given those before it, then
given its size as well its sign is a fair coin, so for any λᵢ ≥ 0 known before unit i

    E[exp(λᵢ dᵢ) / cosh(λᵢ dᵢ) | d₁ … dᵢ₋₁, |dᵢ|] = E[1 + tanh(λᵢ dᵢ) | …] = 1,

whatever the tails and however the spread changes from unit to unit. The product over units, E_n, is a martingale of
mean 1, and P(E_n ≥ 1/a for any n) ≤ a (Ville): one may look after each unit and stop for any reason. If the differences
are symmetric about a centre below 0 the factors have mean 1 or less, so "greater" also tests θ ≤ 0.

**λ.** A mean of such processes is one too. Here it is the mean over c = ½, 1, 2 and over first units k of those with

    λᵢ = c / (mean of |d₁| … |dᵢ₋₁|) from unit k on, 0 before;  weights ¾ · ¼ᵏ⁻² of k = 2, 3, …

so units of measurement do not matter, the first unit only sets the scale (E₁ = 1), and one that happens to be small
does not put all on the second: a quarter of what is left waits at each unit. Chosen by simulation among bets that know
the past alone. For differences of mean δ and standard deviation 1, one-sided at .05, mean number of units (40 at most)
and share of 20,000 normal samples that reach the level by then:

    =====================================  ==========  ==========  ==========
    λᵢ                                     δ = ½       δ = 1       δ = 2
    =====================================  ==========  ==========  ==========
    this mean                              26.1   .67  11.4  1.00   7.5  1.00
    all from unit 2 on                     26.4   .65  11.6   .99   7.3  1.00
    c = ½ alone                            25.4   .76  13.1  1.00  10.1  1.00
    c = 2 alone                            29.1   .40  12.2   .97   6.7  1.00
    shrunken mean / variance of the past   28.9   .56  12.6   .99   6.7  1.00
    δ, as if it were known                 24.5   .81   9.7  1.00   5.4  1.00
    =====================================  ==========  ==========  ==========

With t₃ and Laplace differences too, no row but the last is better in all columns. Estimates learn δ too slowly; a
single c is good for one δ only.

**Several controls.** The null of a claim against all of them is that some control is not beaten. The least of their
e-values at each n is an e-process for it, since that control's own is no smaller. For p take the largest of their
anytime p-values, as with any other test: it is valid by the same argument, and never larger than 1 over the running
maximum of the least e-value. Several hypotheses: ``e_holm``.

References
----------
Ville (1939), Étude critique de la notion de collectif. de la Peña (1999), Ann. Probab. 27:537, for exponential
inequalities under conditional symmetry. Ramdas, Ruf, Larsson & Koolen (2020), arXiv:2009.03167, for martingales that
test symmetry and dominate them. Waudby-Smith & Ramdas (2024), J. R. Stat. Soc. B 86:1, for predictable bets and the
sequences that invert them. Vovk & Wang (2021), Ann. Stat. 49:1736, for merging e-values.
"""

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import special

from kdstats.stats.frames import paired, selected, takes_tables
from kdstats.stats.paired import _shifted, differences
from kdstats.stats.results import (
    Alternative,
    Array,
    Interval,
    TestResult,
    check_alternative,
    check_level,
    check_margin,
    plain,
)

MULTIPLIERS = (0.5, 1.0, 2.0)
RESERVE = 0.25  # of what has not been bet, at each unit

_MOST = 1000  # e-values to 2⁹⁹⁹ are floats
_NEAR, _FAR = 32, 40  # cells of a confidence sequence: equal ones across the data, doubling ones beyond
_WIDTH = 1e-6  # of the cell that an end lies in, relative to the data's range, or to the distance from them


def _in_order_of_seeds(
    x: pd.DataFrame, y: pd.DataFrame | None, arm: str | None, control: str | None, metric: str | None, scope: str
) -> tuple[Any, ...]:
    """As ``paired``, but students of several teachers by seed, then teacher: a seed that is added comes last."""
    sides = paired(x, y, arm, control, metric, scope)
    if scope != "these" or "teacher" not in x:
        return sides
    teachers = max(1, selected(x, arm=arm, metric=metric)["teacher"].nunique())
    return tuple(side.reshape(teachers, -1).T.ravel() for side in sides)


# The e-process ---------------------------------------------------------------------------------------------------


@takes_tables(_in_order_of_seeds)
def e_process(x: ArrayLike, y: ArrayLike | None = None, *, alternative: Alternative = "two-sided") -> Array:
    """The e-value after each unit: E_n = mean of Π exp(λᵢ dᵢ) / cosh(λᵢ dᵢ) over ways to choose λ, as the module says.

    ``less`` is ``greater`` of -d, and ``two-sided`` the mean of the two. A pair without difference has factor 1.

    Parameters
    ----------
    x, y : array_like, float, shape (..., n)
        Scores of arm and control in the order of their seeds, or differences alone. Or tidy tables, with ``arm``,
        ``control``, ``metric``, ``scope``: units are then in the order of teachers (scope recipe), of seeds (each), or
        of seeds and within them teachers (these), whatever the order of the rows.
    alternative : {"two-sided", "greater", "less"}
        Of the centre of symmetry of x - y.

    Returns
    -------
    ndarray, float64, shape (..., n)
        Evidence against symmetry about 0: at any stopping time of mean at most 1 under it. Below 2ⁿ⁻¹ after n units.

    Raises
    ------
    ValueError
        As ``differences``; an unknown alternative.

    References
    ----------
    Ramdas, Ruf, Larsson & Koolen (2020), arXiv:2009.03167; Waudby-Smith & Ramdas (2024), J. R. Stat. Soc. B 86:1.

    Examples
    --------
    >>> e_process([0.03, 0.04, 0.01, 0.05, 0.02], alternative="greater").round(3).tolist()
    [1.0, 1.611, 2.113, 4.033, 6.518]
    """
    check_alternative(alternative)
    d = _few(differences(x, y))
    z = _over(d, _scales(np.abs(d)))
    if alternative == "two-sided":
        return (_wealth(z) + _wealth(-z)) / 2
    return _wealth(z if alternative == "greater" else -z)


def _few(d: Array) -> Array:
    if d.shape[-1] > _MOST:
        raise ValueError(
            f"{d.shape[-1]:,} replicates, more than the {_MOST:,} of an anytime-valid test: are these examples of one "
            "replicate? A claim about replicates takes one score from each"
        )
    return d


def _scales(sizes: Array) -> Array:
    """The mean of the sizes before each unit; 0 for the first."""
    scales = np.zeros_like(sizes)
    scales[..., 1:] = np.cumsum(sizes, axis=-1)[..., :-1] / np.arange(1, sizes.shape[-1])
    return scales


def _over(d: Array, scales: Array) -> Array:
    """d / scales, and 0 where a scale is 0."""
    with np.errstate(over="ignore"):  # an infinite λ bets all
        return np.divide(d, scales, out=np.zeros_like(d), where=scales > 0)


def _wealth(z: Array) -> Array:
    """E after each unit, given dᵢ over its scale: increasing in every zᵢ. 1 + tanh(x) is 2 expit(2x)."""
    factors = 2 * special.expit(2 * np.multiply.outer(MULTIPLIERS, z))
    wealth = np.ones_like(factors)
    bet, waiting = np.zeros(factors.shape[:-1]), 1.0
    for i in range(1, z.shape[-1]):
        bet = (bet + (1 - RESERVE) * waiting) * factors[..., i]
        waiting *= RESERVE
        wealth[..., i] = bet + waiting
    return wealth.mean(axis=0)


def anytime_p_values(e_values: ArrayLike) -> Array:
    """p_n = 1 / max over m ≤ n of e_m, at most 1: P(p_n ≤ a for any n) ≤ a under the null hypothesis.

    Parameters
    ----------
    e_values : array_like, float, shape (..., n)
        An e-process, after each unit.

    Returns
    -------
    ndarray, float64, shape (..., n)
        Never increasing: what was reached once is kept.

    Raises
    ------
    ValueError
        An e-value that is NaN or negative.

    References
    ----------
    Ville (1939), Étude critique de la notion de collectif.

    Examples
    --------
    >>> anytime_p_values([1.0, 0.5, 4.0, 2.0]).tolist()
    [1.0, 1.0, 0.25, 0.25]
    """
    return 1 / np.maximum(np.maximum.accumulate(_e_values(e_values), axis=-1), 1.0)


def _e_values(values: ArrayLike) -> Array:
    e = np.asarray(values, dtype=np.float64)
    outside = ~(e >= 0)  # NaN compares false
    if outside.any():
        where = tuple(int(i) for i in np.argwhere(outside)[0])
        raise ValueError(
            f"e_values{list(where)} is {e[where]}: an e-value is 0 or more; one that is not there yet is 1"
        )
    return e


@takes_tables(_in_order_of_seeds)
def anytime(x: ArrayLike, y: ArrayLike | None = None, *, alternative: Alternative = "two-sided") -> TestResult:
    """Anytime-valid test of paired differences: the e-process after the last unit, and all that it has reached.

    The null hypothesis is that each difference, given those before, is symmetric about 0 (greater: about θ ≤ 0; less:
    about θ ≥ 0). No moments are needed. It holds whenever and for whatever reason one stops, if units come in the order
    that was planned and none is left out for its value.

    Parameters
    ----------
    x, y : array_like, float, shape (..., n)
        Scores of arm and control in the order of their seeds, or differences alone. Or tables, as of ``e_process``.
    alternative : {"two-sided", "greater", "less"}
        Of the centre of symmetry of x - y.

    Returns
    -------
    TestResult
        ``statistic`` is the e-value now, ``p_value`` 1 over the largest so far. ``estimate`` is the mean difference;
        the interval is where the confidence sequence of the centre of symmetry is now. It is two-sided, and excludes 0
        at 1 - a only where the two-sided p ≤ a. With skew or outliers the mean may lie outside it.

    Raises
    ------
    ValueError
        As ``differences``; an unknown alternative.

    References
    ----------
    Ramdas, Ruf, Larsson & Koolen (2020), arXiv:2009.03167; Waudby-Smith & Ramdas (2024), J. R. Stat. Soc. B 86:1.

    Examples
    --------
    >>> result = anytime([0.03, 0.04, 0.01, 0.05, 0.02, 0.03, 0.04, 0.03], alternative="greater")
    >>> round(result.statistic, 2), round(result.p_value, 4)
    (40.58, 0.0246)
    """
    check_alternative(alternative)
    d = differences(x, y)
    e = e_process(d, alternative=alternative)
    return TestResult(
        "anytime, e-process", plain(e[..., -1]), plain(anytime_p_values(e)[..., -1]), plain(d.mean(axis=-1)),
        d.shape[-1], alternative, partial(_interval_now, d),
    )  # fmt: skip


# Claims of no difference -----------------------------------------------------------------------------------------


@takes_tables(_in_order_of_seeds)
def e_equivalence(x: ArrayLike, y: ArrayLike | None = None, *, margin: float) -> Array:
    """E-process of equivalence: the lesser of those of d + margin > 0 and of d - margin < 0, after each unit.

    H₀: the centre of symmetry is ≤ -margin or ≥ margin. Whichever is true, the lesser is at most its e-process.
    ``tost(x, y, margin=margin, test=anytime)`` gives the p-value: the larger of both sides' own, which never exceeds
    that of this process, as its two sides need not be large at one and the same unit.

    Parameters
    ----------
    x, y : array_like, float, shape (..., n)
        As of ``e_process``.
    margin : float
        In the unit of the scores, positive; declared before the data are seen.

    Returns
    -------
    ndarray, float64, shape (..., n)

    Raises
    ------
    ValueError
        A margin that is not positive and finite; and as ``differences``.

    References
    ----------
    Berger & Hsu (1996), Stat. Sci. 11:283, for the intersection of both sides; Vovk & Wang (2021), Ann. Stat. 49:1736.

    Examples
    --------
    >>> e_equivalence([0.01, -0.02, 0.00, 0.01, -0.01, 0.02], margin=0.1).round(2).tolist()
    [1.0, 1.47, 2.55, 4.6, 8.11, 14.93]
    """
    d = differences(x, y)
    return np.minimum(_above(d, margin), _above(-d, margin))


@takes_tables(_in_order_of_seeds)
def e_non_inferiority(x: ArrayLike, y: ArrayLike | None = None, *, margin: float) -> Array:
    """E-process of x being worse than y by less than a margin: that of d + margin > 0, after each unit.

    Parameters
    ----------
    x, y : array_like, float, shape (..., n)
        As of ``e_process``, higher scores being better. Where lower is better, swap them.
    margin : float
        In the unit of the scores, positive; declared before the data are seen.

    Returns
    -------
    ndarray, float64, shape (..., n)

    Raises
    ------
    ValueError
        As ``e_equivalence``.

    Examples
    --------
    >>> e_non_inferiority([0.01, -0.02, 0.00, 0.01, -0.01, 0.02], margin=0.1).round(2).tolist()
    [1.0, 1.47, 2.55, 4.6, 8.11, 15.14]
    """
    return _above(differences(x, y), margin)


def _above(d: Array, margin: float) -> Array:
    check_margin(margin)
    return e_process(_shifted(d, -margin), alternative="greater")


# Confidence sequences --------------------------------------------------------------------------------------------


@takes_tables(_in_order_of_seeds)
def confidence_sequence(x: ArrayLike, y: ArrayLike | None = None, *, level: float = 0.95) -> tuple[Array, Array]:
    """Ends, after each unit, of intervals that all hold the centre of symmetry at once with this probability.

    The interval at n is the convex hull of the centres θ that no unit so far has refuted,

        {θ : max over m ≤ n of E_m(d - θ) < 1 / (1 - level)},  E two-sided,

    with all of E, its scale too, computed from d - θ: P(θ in all of them) ≥ level. The set need not be an interval; its
    hull is larger, so the level is kept. Hulls are found from outside: a stretch of θ counts as refuted only where a
    lower bound of E over the whole stretch says so, and is halved otherwise, down to 1e-6 of the data's range (of the
    distance from the data, for an end far from them). So the ends err outwards.

    Ends are infinite until so many units are there that equal differences would refute 0: 8 at .95. Should every θ be
    refuted, there is no common centre (as when differences drift), and the last interval that was not empty remains.

    Parameters
    ----------
    x, y : array_like, float, shape (..., n)
        As of ``e_process``.
    level : float
        Of all intervals together.

    Returns
    -------
    low, high : ndarray, float64, shape (..., n)
        Nested: low never falls, high never rises.

    Raises
    ------
    ValueError
        A level outside (0, 1); and as ``differences``.

    References
    ----------
    Darling & Robbins (1967), Proc. Natl. Acad. Sci. 58:66. Waudby-Smith & Ramdas (2024), J. R. Stat. Soc. B 86:1.

    Examples
    --------
    >>> low, high = confidence_sequence([0.03, 0.04, 0.01, 0.05, 0.02, 0.03, 0.04, 0.03, 0.02])
    >>> low.round(3).tolist()[-3:], high.round(3).tolist()[-3:]
    ([-inf, 0.001, 0.011], [inf, 0.061, 0.048])
    """
    check_level(level)
    return _sequences(_few(differences(x, y)), level)


def _interval_now(d: Array, level: float) -> Interval:
    low, high = _sequences(d, level)
    return plain(low[..., -1]), plain(high[..., -1])


def _sequences(d: Array, level: float) -> tuple[Array, Array]:
    threshold = 1 / (1 - level)
    low, high = np.empty(d.shape), np.empty(d.shape)
    for row in np.ndindex(d.shape[:-1]):
        low[row], high[row] = _lower_ends(d[row], threshold), -_lower_ends(-d[row], threshold)
    # The last interval that is not empty: n = 1 is unbounded, so there is one.
    last = np.maximum.accumulate(np.where(low <= high, np.arange(d.shape[-1]), 0), axis=-1)
    return np.take_along_axis(low, last, axis=-1), np.take_along_axis(high, last, axis=-1)


def _lower_ends(d: Array, threshold: float) -> Array:
    """After each unit, where from the left the first cell begins that is not refuted; inf where all of them are."""
    n, first, unit = d.size, d.min(), np.ptp(d) or abs(d[0]) or 1.0
    far = first - unit * 2.0 ** np.arange(_FAR, -1, -1)
    edges = np.unique(np.concatenate([far, np.linspace(first, d.max(), _NEAR + 1), d[:1]]))
    refuted = _refuted_at(d, edges[:-1], edges[1:], threshold)
    bounded = _far_left_refuted_at(d, edges[0], threshold)
    times = np.arange(bounded, n)
    while True:
        open_cells = np.searchsorted(np.maximum.accumulate(refuted), times, side="right")
        cells = np.unique(open_cells[open_cells < refuted.size])
        width, distance = edges[cells + 1] - edges[cells], first - edges[cells]
        cells = cells[width > _WIDTH * np.maximum(unit, distance)]
        if not cells.size:
            break
        edges = np.insert(edges, cells + 1, (edges[cells] + edges[cells + 1]) / 2)
        refuted = np.insert(refuted, cells, 0)
        halves = np.ravel(np.add.outer((0, 1), cells + np.arange(cells.size)))
        refuted[halves] = _refuted_at(d, edges[halves], edges[halves + 1], threshold)
    ends = np.where(open_cells < refuted.size, edges[open_cells], np.inf)
    ends = np.where(times < _first(e_process(d - d[0]) >= threshold), np.minimum(ends, d[0]), ends)
    return np.concatenate([np.full(bounded, -np.inf), ends])


def _refuted_at(d: Array, left: Array, right: Array, threshold: float) -> NDArray[np.int64]:
    """The index of the unit after which every θ in [left, right] but d₁ is refuted, for each cell; n if none proves it.

    Over a cell dᵢ - θ and the sizes |dₖ - θ| lie between bounds, so does dᵢ - θ over its scale, in which E increases
    ("greater") or decreases ("less"). The scale is 0 at d₁ at most, which is inside no cell; as long as units equal the
    first, the ratio is 1 left of it and -1 right of it.
    """
    most, least = d - left[:, None], d - right[:, None]
    smallest = _scales(np.maximum(np.maximum(least, -most), 0.0))
    largest = _scales(np.maximum(np.abs(least), np.abs(most)))
    v = np.stack([least, -most])
    z = np.where(v >= 0, _over(v, largest), np.where(smallest > 0, _over(v, smallest), -np.inf))
    side = np.where(right <= d[0], 1.0, -1.0)[:, None]
    z = np.where(np.logical_and.accumulate(d == d[0]), np.stack([side, -side]), z)
    return _first(_wealth(z).mean(axis=0) >= threshold)


def _far_left_refuted_at(d: Array, edge: float, threshold: float) -> int:
    """As ``_refuted_at``, for all θ ≤ edge, which lies left of all data.

    There (dᵢ - θ) / (mean of dₖ - θ) runs monotonely from 1, far away, to its value at the edge.
    """
    least = np.minimum(_over(d - edge, _scales(d - edge)), 1.0)
    return int(_first(_wealth(least) / 2 >= threshold))


def _first(hits: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Index of the first hit on the last axis, its length if there is none."""
    return np.where(hits.any(axis=-1), hits.argmax(axis=-1), hits.shape[-1])


# Families --------------------------------------------------------------------------------------------------------


def e_holm(e_values: ArrayLike) -> Array:
    """Adjusted e-values of a family, Holm's procedure on 1 / e: to be compared with 1 / level itself.

    With e₍₁₎ ≥ … ≥ e₍ₖ₎, the adjusted e₍ᵢ₎ is min over j ≤ i of e₍ⱼ₎ / (k - j + 1): the closed test that refutes the
    intersection over a set S where the largest e in S is at least |S| / level. Adjusted p-values are 1 / e, at most 1.

    What is valid, under any dependence between the hypotheses' data:

    - of e-processes at one stopping time, P(some true null has adjusted e ≥ 1 / level) ≤ level;
    - of the running maxima of e-processes, the same at all times at once, however and by whichever of the hypotheses
      one stops: 1 over a running maximum falls to a p-value, and what Holm rejects at any look he rejects of those
      limits too. So a rejection stands. But a running maximum is no e-value, its mean may exceed 1: it is not to be
      averaged or multiplied. The closed test by means of e-values (Vovk & Wang), which refutes no less than this one
      where both apply, applies to e-values at one time only.

    Parameters
    ----------
    e_values : array_like, float, shape (..., k)
        The whole family; for a claim against several controls, 1 over the largest of their p-values, or the least of
        their e-values.

    Returns
    -------
    ndarray, float64, shape (..., k)
        In the order given.

    Raises
    ------
    ValueError
        An e-value that is NaN or negative.

    References
    ----------
    Holm (1979), Scand. J. Stat. 6:65. Vovk & Wang (2021), Ann. Stat. 49:1736, §§3-4.

    Examples
    --------
    >>> e_holm([50.0, 900.0, 30.0]).tolist()
    [25.0, 300.0, 25.0]
    """
    e = np.atleast_1d(_e_values(e_values))
    order = np.argsort(-e, axis=-1, kind="stable")
    descending = np.take_along_axis(e, order, axis=-1)
    steps = np.minimum.accumulate(descending / np.arange(e.shape[-1], 0, -1), axis=-1)
    adjusted = np.empty_like(e)
    np.put_along_axis(adjusted, order, steps, axis=-1)
    return adjusted
