"""Two groups of networks on the same examples, no network of one belonging to any of the other."""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq

from kdstats.stats.pivots import TwoWay
from kdstats.stats.results import Array, extreme_scale


def two_groups(x: ArrayLike, y: ArrayLike, *, x_scale: float = 1.0, y_scale: float = 1.0) -> TwoWay:
    """Difference of the means of two groups of networks, over new networks and new examples, with p and interval.

    For values x (k networks × N examples) and y (m × N), w = 1/k + 1/m, and d_i the difference of the groups' means on
    example i,

        Var(mean x − mean y) = S² w + Var(d) / N − R w / N, at least either of the first two

    S² is the variance of the networks' means, pooled over both groups (df k + m − 2), Var(d) the variance over examples
    (df N − 1), R that of the residuals from networks and examples within a group. Pooling supposes that networks of
    both groups vary alike; it lets a single student be held against several controls, with the spread that theirs
    shows. One network against one has no such spread: then the variance is that over examples alone, and the claim is
    about these two networks.

    Parameters
    ----------
    x, y : array_like, float, shapes (k, N) and (m, N)
        Per-example values whose means are the networks' scores.
    x_scale, y_scale : float
        Factors of the two means: the variance is that of x_scale · mean x − y_scale · mean y.

    Returns
    -------
    TwoWay
        ``.estimate`` is x_scale · mean x − y_scale · mean y.

    Raises
    ------
    ValueError
        Different examples, fewer than two, values that are not finite.

    Examples
    --------
    >>> of = two_groups([[4.0, 4.0]], [[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]])  # networks vary, examples do not
    >>> of.estimate, round(of.standard_error**2, 6)  # S² = 1, w = 1 + 1/3
    (2.0, 1.333333)
    >>> low, high = of.confidence_interval()  # t on 2 degrees of freedom: 2 ∓ 4.302653 √(4/3)
    >>> round(low, 5), round(high, 5)
    (-2.96828, 6.96828)
    """
    groups = [np.asarray(values, dtype=np.float64) for values in (x, y)]
    a, b = groups
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or a.shape[1] < 2 or not (len(a) and len(b)):
        raise ValueError(
            f"x has shape {a.shape} and y {b.shape}: networks × examples are needed, the same two or more examples"
        )
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("x or y holds values that are not finite: leave that network out")
    scale = float(extreme_scale(np.concatenate([groups[0].ravel(), groups[1].ravel()]))[0])
    groups = [group / scale for group in groups]
    a, b = groups
    n = a.shape[1]
    by_example = x_scale * a.mean(0) - y_scale * b.mean(0)
    weight = x_scale**2 / len(a) + y_scale**2 / len(b)
    df = len(a) + len(b) - 2
    estimate = float(by_example.mean()) * scale
    examples = float(by_example.var(ddof=1)) / n
    if not df:
        return TwoWay(estimate, 0.0, examples, 0.0, np.inf, n - 1.0, 1.0, scale)
    networks = sum(float(np.square(z.mean(1) - z.mean()).sum()) for z in groups) / df
    residual = sum(_residual(z) for z in groups) / (df * (n - 1))
    return TwoWay(estimate, networks * weight, examples, residual * weight / n, float(df), n - 1.0, 1.0, scale)


def share_of_room(x: ArrayLike, y: ArrayLike, *, level: float = 0.95) -> tuple[float, float, float]:
    """(mean x − mean y) / (1 − mean y): the share of what y left to gain that x gained, with its interval.

    The interval holds every share θ at which mean x − (1 − θ) mean y does not differ from θ at 1 − level, with the
    variance of ``two_groups``: Fieller's construction, so that no ratio is averaged.

    Parameters
    ----------
    x, y : array_like, float, shapes (k, N) and (m, N)
        Values whose means are shares, 1 being all that there is.
    level : float

    Returns
    -------
    estimate, low, high
        An end that these data do not bound is infinite.

    Raises
    ------
    ValueError
        As ``two_groups``; a mean of y of 1 or more, which leaves nothing to gain.

    References
    ----------
    Fieller (1954), J. R. Stat. Soc. B 16:175.

    Examples
    --------
    >>> estimate, low, high = share_of_room([[0.8, 0.8]], [[0.5, 0.5], [0.6, 0.6], [0.7, 0.7]])
    >>> round(estimate, 6), low < 0.5 < high
    (0.5, True)
    """
    mine, theirs = float(np.asarray(x, np.float64).mean()), float(np.asarray(y, np.float64).mean())
    room = 1 - theirs
    if room <= 0:
        raise ValueError(f"the mean of y is {theirs:.6g}: nothing is left to gain")
    estimate = (mine - theirs) / room
    tail = 1 - level

    def apart(share: float) -> float:
        return float(two_groups(x, y, y_scale=1 - share).p_value("two-sided", share)) - tail

    return estimate, _end(apart, estimate, room, -1), _end(apart, estimate, room, 1)


def _end(apart: Callable[[float], float], estimate: float, room: float, side: int) -> float:
    """Where ``apart`` falls below 0 on one side of the estimate; infinite where it does not within a hundred rooms."""
    inside, step = estimate, 0.01 / max(room, 0.01)
    while apart(estimate + side * step) > 0:
        inside, step = estimate + side * step, 2 * step
        if step > 100:
            return side * np.inf
    return float(brentq(apart, inside, estimate + side * step, xtol=1e-9))


def _residual(z: Array) -> float:
    """Sum of squares about network and example means."""
    return float(np.square(z - z.mean(1, keepdims=True) - z.mean(0) + z.mean()).sum())
