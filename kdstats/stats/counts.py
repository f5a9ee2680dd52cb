"""Tests of counts: two networks on the same examples, and stratified 2×2 tables.

The examples are the units here, so a result speaks of the networks that were counted and of new examples; it says
nothing of a recipe that would train other networks.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats

from kdstats.stats.results import Alternative, Array, Interval, TestResult, check_alternative

Method = Literal["exact", "mid-p"]
Conditional = Literal["exact", "asymptotic"]
Counts = NDArray[np.int64]

THESE_TWO = "(these two networks only)"


# Two networks on the same examples -------------------------------------------------------------------------------


def mcnemar(
    x: ArrayLike, y: ArrayLike | None = None, *, alternative: Alternative = "two-sided", method: Method = "exact"
) -> TestResult:
    """McNemar's test: a claim about these two networks only.

    b examples are right in x and wrong in y, c the reverse. Given b + c, b is binomial(b + c, ½) under the null
    hypothesis that both networks are right with the same probability. One-sided p = P(B ≥ b) or P(B ≤ b), with half of
    P(B = b) for mid-p; two-sided, twice the smaller, at most 1. The exact test never exceeds its level; mid-p comes
    closer to it and may exceed it slightly.

    That network x is right more often than y does not mean that the recipe of x is better: another seed may reverse
    it. For the recipe compare replicates, with ``sign_flip``.

    Parameters
    ----------
    x, y : array_like, bool or 0 and 1, shape (n,)
        Whether each network has each example right. Or x alone, the table of counts [[both right, only x right],
        [only y right, both wrong]].
    alternative : {"two-sided", "greater", "less"}
        Of x against y.
    method : {"exact", "mid-p"}

    Returns
    -------
    TestResult
        ``statistic`` is b, ``estimate`` the risk difference (b - c) / n with Tango's score interval (as
        ``risk_difference``); details ``b`` and ``c``. Networks that never differ in correctness: p = 1.

    Raises
    ------
    ValueError
        Different lengths, values other than 0 and 1, a table that is not 2 × 2 or holds no counts, no example.

    References
    ----------
    McNemar (1947), Psychometrika 12:153. Fagerland, Lydersen & Laake (2013), BMC Med. Res. Methodol. 13:91, for mid-p.

    Examples
    --------
    >>> result = mcnemar([[80, 9], [3, 8]])
    >>> result.p_value, result.estimate, result.b, result.c
    (0.14599609375, 0.06, 9.0, 3.0)
    """
    check_alternative(alternative)
    both, b, c, neither = _pairs(x, y)
    p = _sign_p(b, c, alternative, method)
    n = both + b + c + neither
    test = f"McNemar, {method} {THESE_TWO}"
    return TestResult(test, float(b), p, (b - c) / n, n, alternative, partial(_tango_interval, b, c, n), _details(b, c))


def risk_difference(x: ArrayLike, y: ArrayLike | None = None, *, alternative: Alternative = "two-sided") -> TestResult:
    """Difference of two networks' accuracies on the same examples, with Tango's score test and interval.

    With b, c as in ``mcnemar``, z(δ) = (b - c - nδ) / √(n (2q + δ (1 - δ))), where q is the probability of "only y
    right" of largest likelihood among those with difference δ. The p-value is that of z(0) = (b - c) / √(b + c), the
    interval the δ with |z(δ)| ≤ z. Approximate, but well beyond where a Wald interval fails: b = c = 0 included.

    Parameters
    ----------
    x, y, alternative
        As ``mcnemar``.

    Returns
    -------
    TestResult
        ``estimate`` is (b - c) / n, ``statistic`` z(0), 0 where b = c = 0; details ``b`` and ``c``.

    Raises
    ------
    ValueError
        As ``mcnemar``.

    References
    ----------
    Tango (1998), Stat. Med. 17:891, equations 10 to 13.

    Examples
    --------
    >>> result = risk_difference([[80, 9], [3, 8]])
    >>> round(result.p_value, 6), [round(end, 6) for end in result.confidence_interval()]
    (0.083265, [-0.009116, 0.137693])
    """
    check_alternative(alternative)
    both, b, c, neither = _pairs(x, y)
    n = both + b + c + neither
    z = _tango(b, c, n, 0.0)
    return TestResult(
        f"risk difference, Tango's score test {THESE_TWO}", z, _normal_p(z, alternative), (b - c) / n, n, alternative,
        partial(_tango_interval, b, c, n), _details(b, c),
    )  # fmt: skip


def risk_difference_p(x: ArrayLike, y: ArrayLike | None = None, *, null: float, alternative: Alternative) -> float:
    """p of Tango's score test that the difference of `risk_difference` is ``alternative`` to ``null``: of a margin.

    Examples
    --------
    The end of the 90 % interval is the margin that is rejected at .05.

    >>> low, high = risk_difference([[80, 9], [3, 8]]).confidence_interval(0.90)
    >>> round(risk_difference_p([[80, 9], [3, 8]], null=float(low), alternative="greater"), 6)
    0.05
    """
    check_alternative(alternative)
    both, b, c, neither = _pairs(x, y)
    n = both + b + c + neither
    return float(_normal_p(_tango(b, c, n, null), alternative))


def odds_ratio(
    x: ArrayLike, y: ArrayLike | None = None, *, alternative: Alternative = "two-sided", method: Method = "exact"
) -> TestResult:
    """Conditional odds ratio of two networks on the same examples, b / c, with the test and interval of the binomial.

    Given b + c, b is binomial with π = ω / (1 + ω), ω the odds ratio that all examples share. The interval of π, whose
    ends become those of ω, is Clopper and Pearson's, or holds the π that neither mid-p test rejects at (1 - level) / 2.

    Parameters
    ----------
    x, y, alternative, method
        As ``mcnemar``.

    Returns
    -------
    TestResult
        ``estimate`` is b / c, infinite where c = 0; ``statistic`` and p-value are those of ``mcnemar``; details ``b``
        and ``c``.

    Raises
    ------
    ValueError
        As ``mcnemar``; networks that never differ in correctness, of whose odds ratio nothing is known.

    References
    ----------
    Clopper & Pearson (1934), Biometrika 26:404. Breslow & Day (1980), Statistical Methods in Cancer Research I, §5.2.

    Examples
    --------
    >>> result = odds_ratio([[80, 9], [3, 8]])
    >>> result.estimate, [round(end, 4) for end in result.confidence_interval()]
    (3.0, [0.7487, 17.228])
    """
    check_alternative(alternative)
    both, b, c, neither = _pairs(x, y)
    p = _sign_p(b, c, alternative, method)
    if b + c == 0:
        raise ValueError(
            "the two networks are right on the same examples: their odds ratio is 0 / 0. The risk"
            " difference has an interval there"
        )

    interval = partial(_odds_interval, b, c, method)
    return TestResult(
        f"paired odds ratio, {method} {THESE_TWO}", float(b), p, b / c if c else float("inf"),
        both + b + c + neither, alternative, interval, _details(b, c),
    )  # fmt: skip


def _odds_interval(b: int, c: int, method: str, level: float) -> Interval:
    low, high = (_lowest_share(*counts, level, method) for counts in ((b, c), (c, b)))  # of b, and of c
    return low / (1 - low), (1 - high) / high if high else float("inf")


def _pairs(x: ArrayLike, y: ArrayLike | None) -> tuple[int, int, int, int]:
    """Examples that both have right, x alone, y alone, neither."""
    if y is None:
        (table,) = _tables(x, "x", one=True)
        return int(table[0, 0]), int(table[0, 1]), int(table[1, 0]), int(table[1, 1])
    first, second = _binary(x, "x"), _binary(y, "y")
    if first.shape != second.shape or not first.size:
        raise ValueError(
            f"x has shape {first.shape} and y {second.shape}: both networks are right or wrong on the same examples,"
            " one or more, in the same order"
        )
    table = [int((first & second).sum()), int((first & ~second).sum()), int((~first & second).sum())]
    return table[0], table[1], table[2], first.size - sum(table)


def _binary(values: ArrayLike, name: str) -> NDArray[np.bool_]:
    if np.ma.is_masked(values):
        raise ValueError(f"{name} has masked values: leave these examples out for both networks")
    array = np.asarray(values)
    if array.ndim != 1 or array.dtype.kind not in "bifu":
        raise ValueError(
            f"{name} has shape {array.shape} and type {array.dtype}: it is a list of 0 and 1, one an example"
        )
    wrong = (array != 0) & (array != 1)
    if wrong.any():
        i = int(np.argmax(wrong))
        raise ValueError(f"{name}[{i}] is {array[i]}: an example is right, 1, or wrong, 0")
    return array == 1


def _tables(values: ArrayLike, name: str, one: bool = False) -> Counts:
    """Tables of counts, checked: shape (k, 2, 2)."""
    array = np.asarray(values)
    shape = array.shape
    if shape[-2:] != (2, 2) or array.ndim > (2 if one else 3) or array.dtype.kind not in "iuf":
        wanted = "a 2 × 2 table of counts" if one else "tables of counts, strata × 2 × 2,"
        raise ValueError(f"{name} has shape {shape} and type {array.dtype}: without y it is {wanted}; else give y too")
    if not (array >= 0).all() or not (array == np.floor(array)).all() or np.isinf(array).any():  # NaN is not ≥ 0
        raise ValueError(f"{name} holds {array.ravel().tolist()[:12]}: counts are whole numbers, 0 or more")
    if not array.any():
        raise ValueError(f"{name} counts no example: there is nothing to test")
    return array.reshape(-1, 2, 2).astype(np.int64)


def _details(b: int, c: int) -> dict[str, float]:
    return {"b": float(b), "c": float(c)}


def _sign_p(b: int, c: int, alternative: str, method: str) -> float:
    """p of b against c by the binomial with ½."""
    if method not in get_args(Method):
        raise ValueError(f"method is {method!r}: it is one of {', '.join(get_args(Method))}")
    greater, less = _binomial_p(b, c, 0.5, method), _binomial_p(c, b, 0.5, method)
    return _chosen(greater, less, alternative)


def _chosen(greater: float, less: float, alternative: str) -> float:
    """One of two one-sided p's, or twice the smaller; never 0, where a double cannot hold how small it is."""
    p = {"greater": greater, "less": less, "two-sided": 2 * min(greater, less)}[alternative]
    return min(1.0, max(p, float(np.finfo(np.float64).tiny)))


def _binomial_p(b: int, c: int, share: float, method: str) -> float:
    """P(B ≥ b) for B binomial (b + c, share), with half of P(B = b) for mid-p."""
    tail = float(stats.binom.sf(b - 1, b + c, share))
    return tail if method == "exact" else tail - float(stats.binom.pmf(b, b + c, share)) / 2


def _lowest_share(b: int, c: int, level: float, method: str) -> float:
    """The binomial share at which P(B ≥ b) is (1 - level) / 2."""
    half = (1 - level) / 2
    if b == 0:
        return 0.0
    if method == "exact":
        return float(stats.beta.ppf(half, b, c + 1))
    return float(optimize.brentq(lambda share: _binomial_p(b, c, share, method) - half, 0, 1, xtol=1e-300, rtol=1e-15))


# Differences and ratios of paired proportions: score tests ---------------------------------------------------------


def _tango(b: int, c: int, n: int, delta: float) -> float:
    """z of the hypothesis that x is right by ``delta`` more often than y."""
    if delta < 0:  # for δ ≥ 0 the smaller of the two discordant probabilities is that of c
        return -_tango(c, b, n, -delta)
    q = _larger_root(2 * n, (2 * n - b + c) * delta - (b + c), -c * delta * (1 - delta))
    return _z(b - c - n * delta, n * (2 * q + delta * (1 - delta)))


def _tang(both: int, b: int, c: int, n: int, ratio: float) -> float:
    """z of the hypothesis that x is right ``ratio`` times as often as y."""
    if ratio < 1:
        return -_tang(both, c, b, n, 1 / ratio)
    right = both + b + c
    q = _larger_root(n * (1 + ratio), (both + c) * ratio**2 - (right + c), c * (1 - ratio) * right / n)
    return _z(both + b - ratio * (both + c), n * (1 + ratio) * q + right * (ratio - 1))


def _larger_root(a: float, b: float, c: float) -> float:
    """The root ≥ 0 of a q² + b q + c, a > 0 ≥ c, without cancellation."""
    root = float(np.sqrt(b * b - 4 * a * c))
    return (root - b) / (2 * a) if b <= 0 else -2 * c / (b + root)


def _z(apart: float, variance: float) -> float:
    """apart / √variance; 0 / 0 is 0: nothing observed speaks against the hypothesis."""
    if variance > 0:
        return float(apart / np.sqrt(variance))
    return float(np.copysign(np.inf, apart)) if apart else 0.0


def _normal_p(z: float, alternative: str) -> float:
    return _chosen(float(stats.norm.sf(z)), float(stats.norm.cdf(z)), alternative)


def _tango_interval(b: int, c: int, n: int, level: float) -> Interval:
    return _lowest_difference(b, c, n, level), -_lowest_difference(c, b, n, level)


def _lowest_difference(b: int, c: int, n: int, level: float) -> float:
    """The δ at which z(δ), which falls, is the normal quantile."""
    return -1.0 if c == n else _falls_to(lambda delta: _tango(b, c, n, delta), level, -1.0, (b - c) / n)


def _falls_to(z: Callable[[float], float], level: float, low: float, high: float) -> float:
    """Where z, falling from large to 0 between low and high, is the normal quantile of the level."""
    wanted = float(stats.norm.ppf(0.5 + level / 2))
    return float(optimize.brentq(lambda at: min(z(at), 1e6) - wanted, low, high, xtol=1e-15, rtol=1e-15, maxiter=500))


def tost_proportions(x: ArrayLike, y: ArrayLike | None = None, *, margin: float) -> TestResult:
    """Equivalence of two networks' accuracies on the same examples: two one-sided score tests of the difference.

    H₀: |P(x right) - P(y right)| ≥ margin. With z(δ) of ``risk_difference``, p is the larger of P(Z ≥ z(-margin)) and
    P(Z ≤ z(margin)); p ≤ a where Tango's (1 - 2a) interval lies within the margin. Approximate.

    Parameters
    ----------
    x, y
        As ``mcnemar``.
    margin : float
        Of the difference, in (0, 1); declared before the data are seen.

    Returns
    -------
    TestResult
        ``statistic`` and ``p_value`` of the bound that is excluded less clearly, ``estimate`` (b - c) / n.

    Raises
    ------
    ValueError
        As ``mcnemar``; a margin out of range.

    References
    ----------
    Tango (1998), Stat. Med. 17:891. Liu et al. (2002), Stat. Med. 21:231.

    Examples
    --------
    >>> round(tost_proportions([[80, 3], [4, 13]], margin=0.1).p_value, 6)
    0.005184
    """
    both, b, c, neither = _pairs(x, y)
    n = both + b + c + neither
    _check_share(margin)
    low, high = _tango(b, c, n, -margin), _tango(b, c, n, margin)
    return _equivalence(f"TOST at ±{margin:g}, Tango's score test", low, high, (b - c) / n, n, b, c,
                        partial(_tango_interval, b, c, n))  # fmt: skip


def non_inferiority_proportions(x: ArrayLike, y: ArrayLike | None = None, *, margin: float) -> TestResult:
    """Whether x is right less often than y by no more than a margin, on the same examples.

    H₀: P(x right) - P(y right) ≤ -margin; p = P(Z ≥ z(-margin)), z of ``risk_difference``. Approximate.

    Parameters, raises and references as ``tost_proportions``.

    Returns
    -------
    TestResult
        ``statistic`` is z(-margin), ``estimate`` (b - c) / n.

    Examples
    --------
    >>> round(non_inferiority_proportions([[80, 3], [4, 13]], margin=0.1).p_value, 6)
    0.005184
    """
    both, b, c, neither = _pairs(x, y)
    n = both + b + c + neither
    _check_share(margin)
    z = _tango(b, c, n, -margin)
    return TestResult(
        f"non-inferiority at -{margin:g}, Tango's score test {THESE_TWO}", z, _normal_p(z, "greater"), (b - c) / n, n,
        "non-inferiority", partial(_tango_interval, b, c, n), _details(b, c),
    )  # fmt: skip


def tost_ratio_proportions(x: ArrayLike, y: ArrayLike | None = None, *, margin: float) -> TestResult:
    """Equivalence of two networks' accuracies on the same examples: two one-sided score tests of their ratio.

    H₀: the ratio θ of P(x right) to P(y right) is ≤ margin or ≥ 1 / margin. With a examples right in both, s = a + b +
    c and q the probability of "only y right" of largest likelihood among those with ratio θ,

        z(θ) = ((a + b) - θ (a + c)) / √(n (1 + θ) q + s (θ - 1))

    and p is the larger of P(Z ≥ z(margin)) and P(Z ≤ z(1 / margin)). Approximate.

    Parameters
    ----------
    x, y
        As ``mcnemar``.
    margin : float
        The smaller bound of the ratio, in (0, 1), such as 0.95; declared before the data are seen.

    Returns
    -------
    TestResult
        ``estimate`` is the ratio (a + b) / (a + c); its interval holds the θ with |z(θ)| ≤ z.

    Raises
    ------
    ValueError
        As ``mcnemar``; a margin out of range; networks that are always wrong, whose ratio is 0 / 0.

    References
    ----------
    Tang, Tang & Chan (2003), Stat. Med. 22:1217. Nam & Blackwelder (2002), Stat. Med. 21:689.

    Examples
    --------
    >>> result = tost_ratio_proportions([[80, 3], [4, 13]], margin=0.9)
    >>> round(result.p_value, 6), [round(end, 4) for end in result.confidence_interval()]
    (0.012446, [0.914, 1.0641])
    """
    both, b, c, neither = _pairs(x, y)
    n = both + b + c + neither
    _check_share(margin)
    if both + b + c == 0:
        raise ValueError("both networks are wrong on all examples: the ratio of their accuracies is 0 / 0")

    low, high = _tang(both, b, c, n, margin), _tang(both, b, c, n, 1 / margin)
    estimate = (both + b) / (both + c) if both + c else float("inf")
    name = f"TOST of the ratio within {margin:g} and 1/{margin:g}, score test"
    return _equivalence(name, low, high, estimate, n, b, c, partial(_ratio_interval, both, b, c, n))


def _ratio_interval(both: int, b: int, c: int, n: int, level: float) -> Interval:
    high = _lowest_ratio(both, c, b, n, level)
    return _lowest_ratio(both, b, c, n, level), 1 / high if high else float("inf")


def _lowest_ratio(both: int, b: int, c: int, n: int, level: float) -> float:
    if both + b == 0:
        return 0.0
    estimate = np.log((both + b) / (both + c)) if both + c else 50.0
    return float(np.exp(_falls_to(lambda log: _tang(both, b, c, n, float(np.exp(log))), level, -50.0, estimate)))


def _equivalence(
    name: str, low: float, high: float, estimate: float, n: int, b: int, c: int, interval: Callable[[float], Interval]
) -> TestResult:
    """From z at the lower bound, which must be large, and at the upper, which must be small."""
    p_low, p_high = _normal_p(low, "greater"), _normal_p(high, "less")
    statistic = low if p_low >= p_high else high
    p = max(p_low, p_high)
    return TestResult(f"{name} {THESE_TWO}", statistic, p, estimate, n, "equivalence", interval, _details(b, c))


def _check_share(margin: float) -> None:
    if not 0 < margin < 1:
        raise ValueError(f"margin is {margin}: of a difference or a ratio of proportions it lies between 0 and 1")


# Stratified 2×2 tables -------------------------------------------------------------------------------------------


def mantel_haenszel(
    x: ArrayLike,
    y: ArrayLike | None = None,
    *,
    strata: ArrayLike | None = None,
    alternative: Alternative = "two-sided",
    method: Conditional = "exact",
) -> TestResult:
    """Common odds ratio of stratified 2×2 tables [[a, b], [c, d]], such as arm and control by difficulty.

    Given all margins, a of each table is hypergeometric, and S = Σ a has their convolution as its null distribution.
    exact: p = P(S ≥ s), P(S ≤ s), or, two-sided, the probability of all sums no likelier than s (to 1e-7); the estimate
    is the conditional maximum likelihood one, E_ω(S) = s, and the interval holds the ω that neither one-sided test
    rejects at (1 - level) / 2. asymptotic: with N = a + b + c + d, R = Σ ad/N and Q = Σ bc/N,

        ω = R / Q,  χ² = (Σ (a - E a))² / Σ Var a

    without continuity correction, and the interval of log ω from the variance

        Σ PR / 2R² + Σ (PQ' + P'R') / 2RQ + Σ P'Q' / 2Q²

    of Robins, Breslow and Greenland, P = (a + d)/N, P' = (b + c)/N, and R', Q' the terms of R and Q.

    As with McNemar's test the units are examples: a claim about the networks that were counted.

    Parameters
    ----------
    x : array_like of int, shape (K, 2, 2) or (2, 2)
        Tables of counts, rows the groups (arm, control), columns the outcome (yes, no). Or, with y, bool or 0 and 1,
        shape (n,): whether each observation is of the arm.
    y : array_like, bool or 0 and 1, shape (n,), optional
        The outcome of each observation.
    strata : array_like, shape (n,), optional
        With y: the stratum of each observation; default one.
    alternative : {"two-sided", "greater", "less"}
        Of the odds ratio against 1.
    method : {"exact", "asymptotic"}

    Returns
    -------
    TestResult
        ``statistic`` is S, or χ²; ``estimate`` the common odds ratio; ``n`` the observations in all tables; detail
        ``strata``, the tables that can tell anything. An asymptotic odds ratio of 0 or infinity has no interval.

    Raises
    ------
    ValueError
        Shapes or values that are no counts; tables of which each has an empty row or column, so that none tells
        anything; an unknown method or alternative.

    References
    ----------
    Mantel & Haenszel (1959), J. Natl. Cancer Inst. 22:719. Robins, Breslow & Greenland (1986), Biometrics 42:311.
    Mehta, Patel & Gray (1985), J. Am. Stat. Assoc. 80:969.

    Examples
    --------
    >>> tables = [[[12, 5], [8, 9]], [[7, 11], [4, 15]]]
    >>> result = mantel_haenszel(tables, method="asymptotic")
    >>> round(result.estimate, 6), round(result.p_value, 6)
    (2.542339, 0.071758)
    """
    check_alternative(alternative)
    if method not in get_args(Conditional):
        raise ValueError(f"method is {method!r}: it is one of {', '.join(get_args(Conditional))}")
    tables = _tables(x, "x") if y is None else _stratified(x, y, strata)
    if y is None and strata is not None:
        raise ValueError("strata go with x and y; tables have theirs on the first axis")
    telling = tables[(tables.sum(axis=1) > 0).all(axis=1) & (tables.sum(axis=2) > 0).all(axis=1)]
    if not len(telling):
        raise ValueError(
            f"each of the {len(tables)} tables has an empty row or column: where all observations are of one group or"
            " have one outcome, nothing can be compared"
        )
    run = _conditional if method == "exact" else _mantel_haenszel
    statistic, p, estimate, interval = run(telling, alternative)
    details = {"strata": float(len(telling))}
    return TestResult(
        f"Mantel-Haenszel, {method}", statistic, p, estimate, int(tables.sum()), alternative, interval, details
    )


def _stratified(x: ArrayLike, y: ArrayLike, strata: ArrayLike | None) -> Counts:
    """Tables from observations, one a stratum."""
    first, second = _binary(x, "x"), _binary(y, "y")
    labels = np.zeros(first.shape) if strata is None else np.asarray(strata)
    if not first.shape == second.shape == labels.shape or not first.size:
        raise ValueError(
            f"x has shape {first.shape}, y {second.shape} and strata {labels.shape}: each observation has a group, an"
            " outcome and a stratum"
        )
    _, index = np.unique(labels, return_inverse=True)
    tables = np.zeros((index.max() + 1, 2, 2), dtype=np.int64)
    np.add.at(tables, (index, 1 - first.astype(int), 1 - second.astype(int)), 1)
    return tables


Found = tuple[float, float, float, Callable[[float], Interval] | None]


def _mantel_haenszel(tables: Counts, alternative: str) -> Found:
    (a, b), (c, d) = tables.transpose(1, 2, 0).astype(np.float64)
    n = a + b + c + d
    expected = (a + b) * (a + c) / n
    variance = (a + b) * (c + d) * (a + c) * (b + d) / (n**2 * (n - 1))
    z = float((a - expected).sum() / np.sqrt(variance.sum()))
    r, q, same, other = a * d / n, b * c / n, (a + d) / n, (b + c) / n
    total_r, total_q = float(r.sum()), float(q.sum())
    p = _normal_p(z, alternative)
    if not (total_r and total_q):
        return z**2, p, float("inf") if total_r else 0.0, None
    log_variance = (
        (same * r).sum() / (2 * total_r**2)
        + (same * q + other * r).sum() / (2 * total_r * total_q)
        + (other * q).sum() / (2 * total_q**2)
    )

    return z**2, p, total_r / total_q, partial(_log_interval, total_r / total_q, float(np.sqrt(log_variance)))


def _log_interval(estimate: float, log_error: float, level: float) -> Interval:
    factor = float(np.exp(stats.norm.ppf(0.5 + level / 2) * log_error))
    return estimate / factor, estimate * factor


def _conditional(tables: Counts, alternative: str) -> Found:
    weights = [_hypergeometric(table) for table in tables]
    least = sum(first for first, _ in weights)
    at = int(tables[:, 0, 0].sum()) - least  # the observed sum's place
    mass = _convolved(weights, 0.0)
    last = len(mass) - 1
    greater, less = float(mass[at:].sum()), float(mass[: at + 1].sum())
    if alternative == "two-sided":  # by likelihood, as R does
        p = _chosen(float(mass[mass <= mass[at] * (1 + 1e-7)].sum()), 1.0, "greater")
    else:
        p = _chosen(greater, less, alternative)

    if at in (0, last):
        estimate = float("inf") if at else 0.0
    else:
        estimate = _solved(weights, lambda mass: float(mass @ np.arange(len(mass))) - at)
    return float(at + least), p, estimate, partial(_conditional_interval, weights, at, last)


def _conditional_interval(weights: list[tuple[int, Array]], at: int, last: int, level: float) -> Interval:
    half = (1 - level) / 2
    low = _solved(weights, lambda mass: float(mass[at:].sum()) - half) if at else 0.0
    high = _solved(weights, lambda mass: half - float(mass[: at + 1].sum())) if at < last else float("inf")
    return low, high


def _solved(weights: list[tuple[int, Array]], gap: Callable[[Array], float]) -> float:
    """The odds ratio at which a function of the distribution, rising with the odds ratio, is 0."""
    return float(np.exp(optimize.brentq(lambda log: gap(_convolved(weights, log)), -60, 60, xtol=1e-14, rtol=1e-15)))


def _hypergeometric(table: Counts) -> tuple[int, Array]:
    """The least first cell that the margins allow, and the log probabilities, up to a constant, from there on."""
    row, other, column = int(table[0].sum()), int(table[1].sum()), int(table[:, 0].sum())
    least, most = max(0, column - other), min(row, column)
    a = np.arange(least, most, dtype=np.float64)
    ratios = (row - a) * (column - a) / ((a + 1) * (other - column + a + 1))
    return least, np.concatenate([[0.0], np.cumsum(np.log(ratios))])


def _convolved(weights: list[tuple[int, Array]], log_odds: float) -> Array:
    """Distribution of the sum of first cells, from its least value on, for a common odds ratio."""
    mass = np.ones(1)
    for _, logs in weights:
        tilted = logs + log_odds * np.arange(len(logs))
        one = np.exp(tilted - tilted.max())
        mass = np.convolve(mass, one / one.sum())
    return mass
