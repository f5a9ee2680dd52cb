"""Ratios of two means of the same units, with intervals that stay honest where the denominator may be 0."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from kdstats.stats.designs import _strata
from kdstats.stats.paired import differences
from kdstats.stats.results import Array, binary_scale, check_level
from kdstats.stats.ties import TIE, about_strata

NAN = float("nan")


@dataclass(frozen=True)
class Ratio:
    """A ratio of means and its interval.

    Attributes
    ----------
    estimate, low, high : float
        An end that the data cannot bound is -inf or inf; NaN where there is no ratio or no interval.
    level : float
    note : str
        Why an end is not finite; empty when both are.
    """

    estimate: float
    low: float
    high: float
    level: float
    note: str


def fieller(
    numerator: ArrayLike, denominator: ArrayLike, *, level: float = 0.95, strata: ArrayLike | None = None
) -> Ratio:
    """Ratio of the means of paired units, mean(x) / mean(y), with Fieller's interval.

    The interval holds every ratio θ that the paired t test of x against θ y does not reject at 1 - level. It is exact
    for normal units, is not a ratio of the units' ratios, which would be biased, and is unbounded where the
    denominator's mean may be 0.

    Parameters
    ----------
    numerator, denominator : array_like, float, shape (n,)
        x and y, such as a unit's gain Δ and what there was to gain, 1 - A of its control.
    level : float
    strata : array_like, shape (n,), optional
        The teacher of each unit, where teachers are fixed, as in ``infer``: means are means of teacher means, and the
        covariance is pooled within teachers.

    Returns
    -------
    Ratio
        As ``fieller_of_moments``.

    Raises
    ------
    ValueError
        As ``differences``; no stratum with two units; a level outside (0, 1).

    References
    ----------
    Fieller (1954), J. R. Stat. Soc. B 16:175.

    Examples
    --------
    >>> ratio = fieller([0.10, 0.14, 0.09, 0.13], [0.50, 0.61, 0.52, 0.57])
    >>> round(ratio.estimate, 4), round(ratio.low, 4), round(ratio.high, 4)
    (0.2091, 0.161, 0.2472)
    """
    x, y = differences(numerator), differences(denominator)
    if x.ndim != 1 or x.shape != y.shape:
        raise ValueError(f"numerator has shape {x.shape} and denominator {y.shape}: one number a unit, on both sides")
    index, weights, df = _strata(strata, len(x))
    if not df:
        raise ValueError("every teacher has one student: nothing estimates the spread within teachers")
    both = np.stack([x, y])
    scale = binary_scale(both)
    within = about_strata(both / scale, index)
    covariance = within @ within.T / df * np.sum(weights**2)
    a, b = (both / scale @ weights).tolist()
    check_level(level)
    return _of_moments(a, b, covariance, df, level, float(scale[0, 0]) / float(scale[1, 0]))


def fieller_of_moments(
    numerator: float, denominator: float, covariance: ArrayLike, df: float, *, level: float = 0.95
) -> Ratio:
    """Fieller's interval from two estimates and the covariance matrix of their errors.

    With estimates a and b, variances V_aa, V_bb, covariance V_ab and t the two-sided quantile on df degrees of freedom,
    the interval is the θ at which

        (a - θ b)² ≤ t² (V_aa - 2 θ V_ab + θ² V_bb)

    Parameters
    ----------
    numerator, denominator : float
    covariance : array_like, float, shape (2, 2)
        Of the two estimates, not of the units.
    df : float
        Degrees of freedom; inf for the normal distribution.
    level : float

    Returns
    -------
    Ratio
        Bounded where b differs from 0 at 1 - level, b² > t² V_bb. Otherwise (-inf, inf), and ``note`` says which gap,
        if any, the data leave out. Without variance, or with a denominator that is 0 throughout, NaN.

    Raises
    ------
    ValueError
        Values that are not finite, a matrix that is no covariance, df that is not positive, a level outside (0, 1).

    References
    ----------
    Fieller (1954), J. R. Stat. Soc. B 16:175.

    Examples
    --------
    >>> fieller_of_moments(1.0, 2.0, [[0.04, 0.0], [0.0, 4.0]], 20).note
    'the denominator may be 0 at this level: every ratio outside (-0.439, 0.14) fits the data'
    """
    check_level(level)
    v = np.asarray(covariance, dtype=np.float64)
    if v.shape != (2, 2) or not np.isfinite([numerator, denominator, *v.ravel()]).all():
        raise ValueError(
            f"{numerator}, {denominator} and a covariance of shape {v.shape}: two numbers, four, all finite"
        )
    (v_aa, v_ab), (v_ba, v_bb) = v
    product = np.sqrt(max(v_aa, 0.0)) * np.sqrt(max(v_bb, 0.0))
    if min(v_aa, v_bb) < 0 or abs(v_ab - v_ba) > TIE * product or abs(v_ab) > (1 + TIE) * product:
        raise ValueError(f"{v.tolist()} is no covariance matrix: symmetric, and |V_ab| ≤ √(V_aa V_bb)")
    if not df > 0:
        raise ValueError(f"df is {df}: an interval needs degrees of freedom above 0")
    # powers of two, which round nothing: products of four neither overflow nor vanish
    scales = np.array([float(binary_scale(np.array([m, np.sqrt(s)]))[0])
                       for m, s in ((numerator, v_aa), (denominator, v_bb))])  # fmt: skip
    v = v / scales[:, None] / scales
    factor = float(scales[0] / scales[1])
    return _of_moments(float(numerator / scales[0]), float(denominator / scales[1]), v, df, level, factor)


def _of_moments(a: float, b: float, v: Array, df: float, level: float, factor: float) -> Ratio:
    """The ratio of moments that were divided by two scales, times the ratio of these."""
    (v_aa, v_ab), (_, v_bb) = v
    if b == 0 and v_bb == 0:
        return Ratio(NAN, NAN, NAN, level, "the denominator is 0 throughout: there is no ratio")
    estimate = a / b * factor if b else NAN
    if v_aa == v_bb == 0:
        return Ratio(estimate, NAN, NAN, level, "numerator and denominator do not vary: there is no interval")
    t = float(stats.t.ppf(0.5 + level / 2, df))
    # A θ² - 2 B θ + C ≤ 0: A and B
    square, mixed = b**2 - t**2 * v_bb, a * b - t**2 * v_ab
    # its discriminant over 4, B² - A C, with the products of means cancelled by hand
    spread = b**2 * v_aa - 2 * a * b * v_ab + a**2 * v_bb - t**2 * (v_aa * v_bb - v_ab**2)
    root = float(t * np.sqrt(max(spread, 0.0)))
    if square > 0:
        low, high = (float((mixed + side * root) / square * factor) for side in (-1, 1))
        return Ratio(estimate, low, high, level, "")
    note = "the denominator may be 0 at this level: "
    if square < 0 and root > 0:
        gap = f"({(mixed + root) / square * factor:.3g}, {(mixed - root) / square * factor:.3g})"
        return Ratio(estimate, -np.inf, np.inf, level, f"{note}every ratio outside {gap} fits the data")
    return Ratio(estimate, -np.inf, np.inf, level, f"{note}every ratio fits the data")
