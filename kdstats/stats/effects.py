"""Effect sizes of paired differences, in the call form of ``kdstats.stats.paired``: replicates on the last axis.

All four refer to the differences of pairs. pingouin's paired Cohen's d and Hedges g do not (they divide by the average
of the two arms' standard deviations), nor does its paired CLES (all n² pairs).
"""

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import gammaln
from scipy.stats import rankdata

from kdstats.stats.paired import ALL_EQUAL, differences, rounded, without_variance
from kdstats.stats.results import Number


def dz(x: ArrayLike, y: ArrayLike | None = None) -> Number:
    """Standardised mean difference of pairs, mean(d) / sd(d), ddof 1.

    Parameters
    ----------
    x, y : array_like, float, shape (..., n)
        Scores of arm and control, or differences alone.

    Returns
    -------
    float, or array of shape (...)
        NaN in a row of many whose differences are all equal.

    Raises
    ------
    ValueError
        As ``differences``; one sample whose differences are all equal.

    References
    ----------
    Cohen (1988), Statistical Power Analysis, §2.3.5.

    Examples
    --------
    >>> round(dz([1.0, 2.0, 3.0]), 6)
    2.0
    """
    d = differences(x, y)
    constant = without_variance(d)
    if d.ndim == 1 and constant:
        raise ValueError(ALL_EQUAL.replace("a t test", "a standardised effect"))
    size = d.mean(axis=-1) / np.where(constant, np.nan, d.std(axis=-1, ddof=1))
    return float(size) if d.ndim == 1 else size


def hedges_g(x: ArrayLike, y: ArrayLike | None = None) -> Number:
    """``dz`` without its small-sample bias: dz · J(n - 1), exact J.

    Parameters, returns and raises as ``dz``; n = 2 is refused too, where no correction exists.

    References
    ----------
    Hedges (1981), J. Educ. Stat. 6:107.

    Examples
    --------
    >>> round(hedges_g([1.0, 2.0, 3.0]), 6)  # J(2) = 1 / √π
    1.128379
    """
    d = differences(x, y)
    return dz(d) * hedges_correction(d.shape[-1] - 1)


def hedges_correction(df: float) -> float:
    """J(m) = Γ(m/2) / (√(m/2) Γ((m - 1)/2)), for m > 1 degrees of freedom.

    Examples
    --------
    >>> round(hedges_correction(4), 6)  # √(2/π)
    0.797885
    """
    if not df > 1:
        raise ValueError(f"Hedges' correction needs more than one degree of freedom, got {df:g}: add replicates")
    return float(np.exp(gammaln(df / 2) - gammaln((df - 1) / 2)) / np.sqrt(df / 2))


def rank_biserial(x: ArrayLike, y: ArrayLike | None = None) -> Number:
    """Matched-pairs rank-biserial correlation, (W⁺ - W⁻) / (n (n + 1) / 2), in [-1, 1].

    W⁺ and W⁻ sum the midranks of |d| over positive and negative differences. Zeros are ranked as in ``wilcoxon``'s
    default (Pratt): their ranks go to neither side and stay in the denominator, so that ±1 means that every pair
    differs, in one direction. All zero: 0.

    Parameters
    ----------
    x, y : array_like, float, shape (..., n)
        Scores of arm and control, or differences alone.

    References
    ----------
    Kerby (2014), Compr. Psychol. 3:1.

    Examples
    --------
    >>> rank_biserial([1.0, -2.0, 3.0, 4.0])  # (1 + 3 + 4 - 2) / 10
    0.6
    """
    d = rounded(differences(x, y))
    n = d.shape[-1]
    correlation = np.sum(rankdata(np.abs(d), axis=-1) * np.sign(d), axis=-1) / (n * (n + 1) / 2)
    return float(correlation) if d.ndim == 1 else correlation


def paired_cles(x: ArrayLike, y: ArrayLike | None = None) -> Number:
    """Common-language effect size of pairs: the share with d > 0 plus half the share with d = 0, in [0, 1].

    Parameters
    ----------
    x, y : array_like, float, shape (..., n)
        Scores of arm and control, or differences alone.

    References
    ----------
    McGraw & Wong (1992), Psychol. Bull. 111:361.

    Examples
    --------
    >>> paired_cles([1.0, -2.0, 3.0, 0.0])
    0.625
    """
    d = rounded(differences(x, y))
    share = (1 + np.sign(d).mean(axis=-1)) / 2
    return float(share) if d.ndim == 1 else share
