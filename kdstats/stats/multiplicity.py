"""Adjusted p-values of a family of tests, from the p-values alone; ``resampling.max_t`` takes the differences."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

METHODS = ("holm", "bh", "by")


def adjust(p_values: Sequence[float] | NDArray[np.float64], method: str) -> NDArray[np.float64]:
    """Adjusted p-values, to be compared with the level itself.

    With p₍₁₎ ≤ … ≤ p₍ₖ₎: Holm, max over j ≤ i of (k - j + 1) p₍ⱼ₎; Benjamini–Hochberg, min over j ≥ i of k p₍ⱼ₎ / j;
    Benjamini–Yekutieli, that times 1 + ½ + … + 1/k; all at most 1.

    Parameters
    ----------
    p_values : sequence of float, shape (k,)
        The whole family, each in [0, 1].
    method : {"holm", "bh", "by"}
        Family-wise error; false discovery rate under positive dependence; under any dependence.

    Returns
    -------
    ndarray, float64, shape (k,)
        In the order given.

    Raises
    ------
    ValueError
        A p-value that is NaN or outside [0, 1]; an unknown method.

    References
    ----------
    Holm (1979), Scand. J. Stat. 6:65. Benjamini & Hochberg (1995), J. R. Stat. Soc. B 57:289. Benjamini & Yekutieli
    (2001), Ann. Stat. 29:1165.

    Examples
    --------
    >>> adjust([0.01, 0.04, 0.03], "holm").tolist()
    [0.03, 0.06, 0.06]
    """
    if method not in METHODS:
        raise ValueError(f"method is {method!r}: it is one of {', '.join(METHODS)}")
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1:
        raise ValueError(f"p_values has shape {p.shape}: a family is one list of p-values")
    outside = ~((p >= 0) & (p <= 1))  # NaN compares false
    if outside.any():
        i = int(np.argmax(outside))
        raise ValueError(
            f"p_values[{i}] is {p[i]}: a p-value lies in [0, 1]. A test that could not be computed remains in its "
            "family, with p = 1"
        )
    # Written out: statsmodels' Holm collects garbage at each call, tens of milliseconds; the tests hold the two equal.
    order, rank = np.argsort(p), np.arange(1, len(p) + 1)
    ascending = p[order]
    if method == "holm":
        stepped = np.maximum.accumulate((len(p) - rank + 1) * ascending)
    else:
        factor = len(p) * np.sum(1 / rank) if method == "by" else len(p)
        stepped = np.minimum.accumulate((factor * ascending / rank)[::-1])[::-1]
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted
