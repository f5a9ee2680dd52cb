"""Tests of paired differences: one call form, replicates on the last axis, any number of leading axes.

``f(x, y=None, *, alternative="two-sided")``: x and y are the scores of two arms on the same replicates in the same
order; with y omitted, x holds their differences. A result's numbers are floats for one sample and arrays of the leading
shape for many.

Scores are floats, and ties must survive that: 0.9 - 0.8 and 0.8 - 0.7 are one number. So numbers that differ by less
than ``TIE`` of their row's scale count as equal, wherever a test ranks, counts signs or compares sums.
"""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import integrate, stats

from kdstats.stats.results import (
    Alternative,
    Array,
    Number,
    TestResult,
    check_alternative,
    check_margin,
    plain,
    t_interval,
    t_p_value,
)

Zeros = Literal["pratt", "wilcox"]

TIE = 1e-10
ALL_EQUAL = "all differences are equal: a t test has no variance to work with"

_ENUMERATED = 12  # up to here all 2ⁿ flips of many rows at once
_EXACT = 40  # up to here 2^(n/2) half sums, sorted
_RANKED = 1000  # the signed-rank distribution costs n³


# Differences -----------------------------------------------------------------------------------------------------


def differences(x: ArrayLike, y: ArrayLike | None = None) -> Array:
    """Paired differences x - y (or x, when y is omitted), checked: finite, two or more on the last axis.

    What x - y leaves when x and y agree to the last few bits is rounding, and becomes 0.

    Raises
    ------
    ValueError
        Fewer than two replicates, different shapes, or a value that is not finite.

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
        apart = first - second
        rounding = 16 * np.finfo(np.float64).eps * np.maximum(np.abs(first), np.abs(second))
        first = np.where(np.abs(apart) <= rounding, 0.0, apart)
    if first.ndim == 0 or first.shape[-1] < 2:
        n = first.shape[-1] if first.ndim else 1
        raise ValueError(
            f"a paired test needs two or more replicates on the last axis, got {n}: one replicate says nothing about "
            "the spread between replicates"
        )
    return first


def _finite(values: ArrayLike, name: str) -> Array:
    array = np.asarray(values, dtype=np.float64)
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


def rounded(d: Array) -> Array:
    """Differences with ties made exact: sizes within ``TIE`` of the row's largest become equal, near zero 0."""
    size = np.abs(d)
    scale = size.max(axis=-1, keepdims=True)
    order = np.argsort(size, axis=-1)
    ascending = np.take_along_axis(size, order, axis=-1)
    steps = np.diff(ascending, axis=-1, prepend=np.zeros_like(scale))
    first_of_tie = np.where(steps > TIE * scale, ascending, 0.0)
    tied = np.empty_like(size)
    np.put_along_axis(tied, order, np.maximum.accumulate(first_of_tie, axis=-1), axis=-1)
    return np.copysign(tied, d) + 0.0  # + 0.0 turns -0.0 into 0.0


def _result(
    test: str, d: Array, statistic: Number, p_value: Number, alternative: str, standard_error: Array | None = None
) -> TestResult:
    error = _standard_error(d) if standard_error is None else standard_error
    statistic, p_value, estimate, error = (plain(a) for a in (statistic, p_value, d.mean(axis=-1), error))
    n = d.shape[-1]
    interval = partial(t_interval, estimate, error, n - 1)
    details = {"standard_error": error, "df": float(n - 1)}
    return TestResult(test, statistic, p_value, estimate, n, alternative, interval, details)


def _standard_error(d: Array) -> Array:
    return np.where(without_variance(d), 0.0, d.std(axis=-1, ddof=1) / np.sqrt(d.shape[-1]))


# Sign flips ------------------------------------------------------------------------------------------------------


def sign_flip(
    x: ArrayLike,
    y: ArrayLike | None = None,
    *,
    alternative: Alternative = "two-sided",
    draws: int = 99_999,
    seed: int = 0,
) -> TestResult:
    """Randomisation test of the mean paired difference by flipping signs.

    Under the null hypothesis that arm and control are exchangeable within each pair (or that differences are symmetric
    about 0), all 2ⁿ sign vectors ε are equally likely. With s = Σ dᵢ and S = Σ εᵢ|dᵢ|,

        p = P(|S| ≥ |s|),  P(S ≥ s)  or  P(S ≤ s)

    for two-sided, greater and less. Exact to n = 40 (half sums enumerated, sorted and searched); beyond, p = (b + 1) /
    (m + 1) with b of m sampled vectors at least as extreme, so never 0. Sums within 1e-10 · Σ|d| are ties, and ties
    count. Zero differences flip into themselves.

    Parameters
    ----------
    x, y : array_like, float, shape (..., n)
        Scores of arm and control, or differences alone.
    alternative : {"two-sided", "greater", "less"}
        Of the mean of x - y.
    draws, seed : int
        Of the sampled test; the same sign vectors serve every row. Unused to n = 40.

    Returns
    -------
    TestResult
        ``statistic`` is the mean difference.

    Raises
    ------
    ValueError
        As ``differences``; ``draws`` below 1; an unknown alternative.

    References
    ----------
    Fisher (1935), The Design of Experiments, §21. Phipson & Smyth (2010), Stat. Appl. Genet. Mol. Biol. 9:39, for
    (b + 1) / (m + 1). Horowitz & Sahni (1974), J. ACM 21:277, for the half sums.

    Examples
    --------
    >>> sign_flip([0.81, 0.84, 0.80, 0.86, 0.83], [0.78, 0.80, 0.79, 0.81, 0.81], alternative="greater").p_value
    0.03125
    """
    check_alternative(alternative)
    d = differences(x, y)
    n = d.shape[-1]
    rows = d.reshape(-1, n)
    oriented = -rows if alternative == "less" else rows
    two_sided = alternative == "two-sided"
    if n <= _EXACT:
        test = "sign-flip, exact"
        p = _enumerated(oriented, two_sided) if n <= _ENUMERATED else _halved(oriented, two_sided)
    else:
        if draws < 1:
            raise ValueError(f"draws is {draws}: above {_EXACT} replicates the flips are sampled, at least one of them")
        test = f"sign-flip, {draws:,} draws"
        p = _sampled(oriented, two_sided, draws, np.random.default_rng(seed))
    return _result(test, d, d.mean(axis=-1), p.reshape(d.shape[:-1]), alternative)


def _threshold(rows: Array, two_sided: bool) -> Array:
    total = rows.sum(axis=-1)
    return (np.abs(total) if two_sided else total) - TIE * np.abs(rows).sum(axis=-1)


def _from_tail(tail: Array, two_sided: bool) -> Array:
    """S is symmetric about 0, so a two-sided p is twice the upper tail; s = 0 gives 1."""
    return np.minimum(2 * tail, 1.0) if two_sided else tail


@lru_cache(maxsize=_ENUMERATED)
def _signs(n: int) -> Array:
    """All sign vectors, (n, 2ⁿ)."""
    negative = np.arange(2**n) >> np.arange(n)[:, None] & 1
    return np.where(negative == 1, -1.0, 1.0)


def _enumerated(rows: Array, two_sided: bool) -> Array:
    signs, thresholds, tail = _signs(rows.shape[-1]), _threshold(rows, two_sided), np.empty(len(rows))
    block = max(1, 2**22 // signs.shape[1])
    for i in range(0, len(rows), block):
        tail[i : i + block] = (rows[i : i + block] @ signs >= thresholds[i : i + block, None]).mean(axis=1)
    return _from_tail(tail, two_sided)


def _halved(rows: Array, two_sided: bool) -> Array:
    n = rows.shape[-1]
    tail = np.empty(len(rows))
    for i, (row, threshold) in enumerate(zip(rows, _threshold(rows, two_sided), strict=True)):
        left, right = _sorted_sums(row[: n // 2]), _sorted_sums(row[n // 2 :])
        below = np.searchsorted(right, threshold - left)
        tail[i] = (left.size * right.size - int(below.sum())) / 2**n
    return _from_tail(tail, two_sided)


def _sorted_sums(values: Array) -> Array:
    sums = np.zeros(1)
    for value in values:  # two sorted runs: a stable sort merges them in linear time
        sums = np.sort(np.concatenate([sums - value, sums + value]), kind="stable")
    return sums


def _sampled(rows: Array, two_sided: bool, draws: int, generator: np.random.Generator) -> Array:
    n, thresholds = rows.shape[-1], _threshold(rows, two_sided)
    extreme = np.zeros(len(rows), dtype=np.int64)
    block = max(1, 2**22 // max(n, len(rows)))
    for start in range(0, draws, block):
        signs = 1.0 - 2.0 * generator.integers(0, 2, size=(min(block, draws - start), n), dtype=np.int8)
        sums = signs @ rows.T
        extreme += ((np.abs(sums) if two_sided else sums) >= thresholds).sum(axis=0)
    return (extreme + 1) / (draws + 1)


# Signed ranks ----------------------------------------------------------------------------------------------------


def wilcoxon(
    x: ArrayLike, y: ArrayLike | None = None, *, alternative: Alternative = "two-sided", zeros: Zeros = "pratt"
) -> TestResult:
    """Wilcoxon signed-rank test, exact with ties and zeros.

    W⁺ is the sum of the midranks of |d| over positive differences. Its null distribution, each nonzero difference's
    sign being a fair coin, is built by dynamic programming on doubled midranks, which are integers. Two-sided,
    p = P(|W⁺ - E| ≥ |w⁺ - E|), with E half the sum of the midranks of the nonzero differences.

    Parameters
    ----------
    x, y : array_like, float, shape (..., n)
        Scores of arm and control, or differences alone. |d| within 1e-10 of the row's largest are tied.
    alternative : {"two-sided", "greater", "less"}
        Of the pseudomedian of x - y.
    zeros : {"pratt", "wilcox"}
        Zero differences are ranked and then dropped (Pratt), or dropped before ranking (Wilcoxon).

    Returns
    -------
    TestResult
        ``statistic`` is W⁺ (R's V). ``estimate`` remains the mean difference, as its interval does.

    Raises
    ------
    ValueError
        As ``differences``; more than 1,000 replicates; an unknown alternative or ``zeros``.

    Notes
    -----
    ``scipy.stats.wilcoxon(method="exact")`` uses the distribution without ties also where there are some.

    References
    ----------
    Wilcoxon (1945), Biometrics Bulletin 1:80. Pratt (1959), J. Am. Stat. Assoc. 54:655.

    Examples
    --------
    >>> wilcoxon([2, 1, -1, 4, 5, 4, 5, 4, 4, -3]).p_value
    0.01953125
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
    rows = rounded(d.reshape(-1, n))
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
    shape = d.shape[:-1]
    name = f"Wilcoxon signed-rank, exact{', zeros dropped' if zeros == 'wilcox' else ''}"
    return _result(name, d, statistic.reshape(shape), p.reshape(shape), alternative)


def _doubled_ranks(rows: Array, zeros: Zeros) -> NDArray[np.int64]:
    """Twice the midranks of |d|, integers; zero differences share the lowest ranks (pratt) or have none (wilcox)."""
    ranks = np.rint(2 * stats.rankdata(np.abs(rows), axis=-1)).astype(np.int64)
    if zeros == "wilcox":
        none = rows == 0
        ranks = np.where(none, 0, ranks - 2 * none.sum(axis=-1, keepdims=True))
    return ranks


@lru_cache(maxsize=32)
def _signed_rank_tail(ranks: tuple[int, ...]) -> Array:
    """P(W ≥ w) for w = 0 … Σ ranks, W the sum over fair coins of the ranks whose coin shows heads."""
    mass = np.zeros(sum(ranks) + 1)
    mass[0] = 1.0
    reached = 0
    for rank in ranks:  # counts divided by 2ⁿ: exact to n = 53, then to n roundings
        reached += rank
        mass[rank : reached + 1] = mass[rank : reached + 1] + mass[: reached + 1 - rank]
        mass[: reached + 1] /= 2
    tail = np.minimum(np.cumsum(mass[::-1])[::-1], 1.0)
    tail.flags.writeable = False
    return tail


# t ---------------------------------------------------------------------------------------------------------------


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
        ``statistic`` is t. All differences zero: t = 0 and p = 1. All differences equal and not zero: statistic and
        p-value are NaN in a row of many.

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
    p = np.where(zero, 1.0, t_p_value(t, d.shape[-1] - 1, alternative))
    return _result("paired t", d, t, p, alternative, error)


def _ratio(a: Any, b: Any) -> Array:
    """a / b, and NaN where b is 0."""
    return np.divide(a, b, out=np.full(np.shape(a), np.nan), where=np.asarray(b) != 0)


# Equivalence -----------------------------------------------------------------------------------------------------


def tost(
    x: ArrayLike, y: ArrayLike | None = None, *, margin: float, test: Callable[..., TestResult] = sign_flip
) -> TestResult:
    """Equivalence within a margin, by two one-sided tests.

    H₀: |mean difference| ≥ margin. p = max(p of d + margin > 0, p of d - margin < 0): both bounds must be excluded.
    With ``paired_t``, p ≤ a exactly where the (1 - 2a) t interval lies within [-margin, margin].

    Parameters
    ----------
    x, y : array_like, float, shape (..., n)
        Scores of arm and control, or differences alone.
    margin : float
        In the unit of the scores, positive; declared before the data are seen.
    test : callable
        ``sign_flip``, ``wilcoxon`` or ``paired_t`` (or a partial of one), called as test(d, alternative=...).

    Returns
    -------
    TestResult
        ``statistic`` and ``p_value`` are those of the bound that is excluded less clearly.

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
    low_decides = np.asarray(low.p_value) >= high.p_value
    statistic = np.where(low_decides, low.statistic, high.statistic)
    p = np.maximum(low.p_value, high.p_value)
    return _result(f"TOST at ±{margin:g}, {low.test}", d, statistic, p, "equivalence")


def _shifted(d: Array, by: float) -> Array:
    """d - by, where a difference that equals ``by`` up to rounding becomes 0 rather than a sign."""
    apart = d - by
    return np.where(np.abs(apart) <= TIE * abs(by), 0.0, apart)


# Bayes factor ----------------------------------------------------------------------------------------------------

_CAUCHY = np.sqrt(2) / 2


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


def _jzs(t: float, n: int) -> float:
    if abs(t) <= 30 and n <= 100:
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
