"""How many units a test needs: its power where differences are normal, and the variance components of a pilot.

Effects, margins and spreads are in units of the standard deviation between units. Paired t is computed; the exact
tests are simulated, row by row, by the effect from which on they reject:

    c(z) = inf {c : the upper-sided test of z₁ + c, …, zₙ + c has p ≤ level}

which is minus the lower end of the inverted test's one-sided interval. One set of c serves all effects, both sides
(c(z), c(-z)) and equivalence (both at once). The paired t test on the same rows, whose power is known, is the control
variate: what is simulated is how often the two tests differ.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from kdstats.stats.paired import _EXACT, _RANKED, _signed_rank_tail
from kdstats.stats.pivots import TwoWay
from kdstats.stats.results import Array, check_margin

Test = Literal["sign-flip", "wilcoxon", "paired-t", "two-way-t"]
Claim = Literal["two-sided", "greater", "less", "equivalence", "non-inferiority"]

DRAWS = 10_000
MOST = 200  # units, teachers or students that are tried

_SUBSETS = 12  # values whose 2ⁿ - 1 subset means decide a sign flip; where more do, a saddlepoint
_SURE = 1e100  # standard deviations: a power does not change beyond, and its square does not overflow
_FLIPS = 99_999  # draws of ``sign_flip`` above its exact n
_LARGEST = 2**23  # numbers that a simulation goes through


# Power -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Power:
    """A power, and the standard error of its simulation: 0 where it was computed."""

    power: float
    mc_error: float


@dataclass(frozen=True)
class Examples:
    """Examples as the second source of variation of the two-way t test.

    Attributes
    ----------
    n : int
        Examples of the test set.
    sd, residual_sd : float
        Between examples, and of what is left of one unit on one example; in units of the sd between units.
    """

    n: int
    sd: float
    residual_sd: float = 0.0


def power(
    test: Test,
    n: int,
    effect: float,
    *,
    alternative: Claim = "two-sided",
    margin: float | None = None,
    level: float = 0.05,
    strata: int = 1,
    spread: float = 0.0,
    examples: Examples | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> Power:
    """Probability that a test of n normal differences with mean ``effect`` and standard deviation 1 has p ≤ level.

    Paired t, with F the noncentral t distribution on n - strata degrees of freedom and t the central one's quantile:
    1 - F(t(1 - level); effect √n), for two-sided the sum of both tails at level/2. Equivalence integrates both tests
    over the distribution of the estimated sd. Two-way t: the mean is independent of its mean squares, so that the
    power is E Φ((effect - t(level; df) SE) / sd) over them, by randomised quasi-Monte Carlo. Sign-flip and Wilcoxon are
    simulated (see the module).

    Parameters
    ----------
    test : {"sign-flip", "wilcoxon", "paired-t", "two-way-t"}
    n : int
        Units. Where there is no test (below 2, above 1,000 for Wilcoxon) the power is 0.
    effect : float
        True mean difference, in units of the standard deviation between units (within strata).
    alternative : {"two-sided", "greater", "less", "equivalence", "non-inferiority"}
        equivalence: TOST, both one-sided tests at ``level``. non-inferiority: the difference is above -margin.
    margin : float, optional
        Of the last two, in the unit of ``effect``.
    level : float
        Of this test, after whatever correction it is subject to.
    strata, spread : int, float
        Fixed teachers, among whom the n units are spread evenly, and the standard deviation between them; ``effect``
        is the mean of these teachers' effects. t tests pool within strata; sign flips and ranks do not, so that a
        spread costs them power.
    examples : Examples, optional
        For two-way-t, and only for it.
    draws, seed : int
        Of the simulation; fewer draws are made where n is large.

    Returns
    -------
    Power
        Exactly 0 where n units cannot reach the level: a one-sided p is at least 2⁻ⁿ.

    Raises
    ------
    ValueError
        An unknown test or alternative; a level, margin, spread or effect out of range; n that is no multiple of
        ``strata``; ``examples`` that do not go with the test.

    References
    ----------
    Owen (1965), Biometrika 52:437, for t and its equivalence test. Hartigan (1969), J. Am. Stat. Assoc. 64:1303, for
    sign flips as subset means; Walsh (1949), Ann. Math. Stat. 20:64, for signed ranks as averages of pairs; Robinson
    (1982), J. R. Stat. Soc. B 44:91, and Barndorff-Nielsen (1986), Biometrika 73:307, for the saddlepoint above n = 12
    (its power is within .005 of the exact one). Cranley & Patterson (1976), SIAM J. Numer. Anal. 13:904, for the
    randomly shifted points of two-way-t.

    Examples
    --------
    >>> power("paired-t", 10, 1.0, alternative="greater").power.__round__(4)
    0.8975
    >>> power("sign-flip", 4, 3.0, alternative="greater")  # 1/16 is the smallest p
    Power(power=0.0, mc_error=0.0)
    """
    _check(test, n, effect, alternative, margin, level, strata, spread, examples)
    if draws < 1:
        raise ValueError(f"draws is {draws}: a simulation needs one or more")
    shifts, at, joint = _sides(effect, alternative, margin, level)
    if n < 2 or (test.endswith("-t") and n - strata < 1) or (test == "wilcoxon" and n > _RANKED):
        return Power(0.0, 0.0)
    if test == "paired-t":
        return Power(_t_power(n, n - strata, shifts, at, joint), 0.0)
    if test == "two-way-t":
        assert examples is not None
        return _two_way_power(n, n - strata, shifts, at, joint, examples, seed)
    attained = _attained(test, n, at, level)
    if attained == 0:
        return Power(0.0, 0.0)
    draws = _affordable(test, n, at, draws)
    rejects = _rejections(test, n, shifts, at, joint, strata, spread, draws, seed)
    as_t = _rejections("paired-t", n, shifts, attained, joint, 1, 0.0, draws, seed)
    apart = rejects - as_t
    found = _t_power(n, n - 1, shifts, attained, joint) + float(apart.mean())
    one = 1 / len(apart)  # no difference among so many draws is not an error of 0
    return Power(min(max(found, 0.0), 1.0), max(float(apart.std()) * one**0.5, one))


def smallest_n(
    test: Test,
    effect: float,
    *,
    target: float = 0.8,
    most: int = MOST,
    alternative: Claim = "two-sided",
    **options: Any,
) -> int | None:
    """The smallest n whose power reaches the target, a multiple of ``strata``; None where none up to ``most`` does.

    Parameters
    ----------
    test, effect, alternative, options : as in ``power``
    target : float
    most : int

    Raises
    ------
    ValueError
        As ``power``; a target outside (0, 1).

    Examples
    --------
    >>> smallest_n("paired-t", 1.0, alternative="greater"), smallest_n("sign-flip", 0.1, alternative="greater", most=50)
    (8, None)
    """
    strata = options.get("strata", 1)
    candidates = range(max(2, strata) if strata > 0 else 2, most + 1, max(1, strata))

    def reached(test: Test, options: dict[str, Any]) -> Callable[[int], float]:
        return lambda n: power(test, n, effect, alternative=alternative, **options).power

    bound = reached("paired-t", {name: options[name] for name in ("level", "margin") if name in options})
    return smallest(reached(test, options), candidates, target, bound)


def smallest(
    power_of: Callable[[int], float],
    candidates: Sequence[int],
    target: float,
    bound: Callable[[int], float] | None = None,
) -> int | None:
    """The first of ascending candidates whose power, nearly monotone, reaches the target; None where none does.

    ``bound`` is never below ``power_of`` and cheap: no test is more powerful for normal differences than t.

    Examples
    --------
    >>> smallest(lambda n: n / 100, range(2, 90), 0.3), smallest(lambda n: n / 100, range(2, 90), 0.95)
    (30, None)
    """
    if not 0 < target < 1:
        raise ValueError(f"target is {target}: a power lies between 0 and 1, such as 0.8")
    start = 0
    if bound is not None:
        start = bisect_left(candidates, target, key=bound)
    low, high, step = start - 1, start, 1
    while high < len(candidates) and power_of(candidates[high]) < target:
        low, high, step = high, min(high + step, max(len(candidates) - 1, high + 1)), 2 * step
    if high >= len(candidates):
        return None
    found = bisect_left(candidates, target, lo=low + 1, hi=high, key=power_of)
    # the attained size of an exact test jumps, and its power with it: a smaller candidate near by may reach the target
    near = range(max(start, found - 4), found)
    return next((candidates[i] for i in near if power_of(candidates[i]) >= target), candidates[found])


def _check(
    test: str,
    n: int,
    effect: float,
    alternative: str,
    margin: float | None,
    level: float,
    strata: int,
    spread: float,
    examples: Examples | None,
) -> None:
    for name, value, known in (("test", test, get_args(Test)), ("alternative", alternative, get_args(Claim))):
        if value not in known:
            raise ValueError(f"{name} is {value!r}: it is one of {', '.join(known)}")
    if not np.isfinite(effect):
        raise ValueError(f"effect is {effect}: a finite number, in units of the standard deviation between units")
    if not 0 < level < 0.5:
        raise ValueError(f"level is {level}: a test's level lies between 0 and 0.5, such as 0.05")
    if (margin is not None) != (alternative in ("equivalence", "non-inferiority")):
        raise ValueError(f"margin is {margin} and alternative {alternative}: equivalence and non-inferiority need one")
    if margin is not None:
        check_margin(margin)
    if strata < 1 or n % strata:
        raise ValueError(f"{n} units do not spread evenly over {strata} strata: power is for equal numbers")
    if not (np.isfinite(spread) and spread >= 0):
        raise ValueError(f"spread is {spread}: the standard deviation between strata, 0 or more")
    if (examples is not None) != (test == "two-way-t"):
        raise ValueError(f"test is {test} and examples are {examples}: two-way-t needs them, the other tests take none")
    if examples is not None and not (examples.n > 1 and examples.sd >= 0 and examples.residual_sd >= 0):
        raise ValueError(f"{examples}: it needs two or more examples and standard deviations of 0 or more")


Shifts = tuple[float, ...]  # of z for an upper-sided test; the second, if any, of -z


def _sides(effect: float, alternative: str, margin: float | None, level: float) -> tuple[Shifts, float, bool]:
    """What an alternative is made of: upper-sided tests of z + first and -z + second, their level, and whether both
    must reject.
    """
    effect, margin = float(effect), float(margin or 0.0)
    shifts: Shifts
    if alternative == "two-sided":
        shifts, at, joint = (effect, -effect), level / 2, False
    elif alternative == "equivalence":
        shifts, at, joint = (margin + effect, margin - effect), level, True
    else:
        shifts, at, joint = ((-effect if alternative == "less" else effect) + margin,), level, False
    return tuple(min(max(shift, -_SURE), _SURE) for shift in shifts), at, joint


def _attained(test: str, n: int, at: float, level: float) -> float:
    """The size of the one-sided exact test: the largest multiple of 2⁻ⁿ within its level, 0 where there is none."""
    if n > _EXACT:
        return 0.0 if test == "sign-flip" and level < 1 / (_FLIPS + 1) else at
    return float(np.ldexp(_order(n, at), -n))


# t ---------------------------------------------------------------------------------------------------------------


def _t_power(n: int, df: int, shifts: Shifts, level: float, joint: bool) -> float:
    critical = stats.t.isf(level, df)
    if not joint:
        return float(min(sum(_noncentral_tail(critical, df, shift * np.sqrt(n)) for shift in shifts), 1.0))

    if sum(shifts) <= 0:
        return 0.0
    # over the quantiles u of the estimated sd, to the one at which both can just reject
    nodes, weights = np.polynomial.legendre.leggauss(128)
    top = stats.chi2.cdf(df * n * (sum(shifts) / 2 / critical) ** 2, df)
    spread = np.sqrt(stats.chi2.ppf(top * (nodes + 1) / 2, df) / df)
    return float(top / 2 * (weights @ _decided(np.sqrt(n) * np.array(shifts), critical * spread, True)))


def _noncentral_tail(critical: float, df: int, noncentrality: float) -> float:
    """P(T ≥ critical) of noncentral t, for critical > 0. scipy's is NaN, or short of 1, far out.

    There T = (noncentrality + Z) / U reaches it where df U², a χ², is at most df ((noncentrality + Z) / critical)²,
    which is smooth in Z. Below -30 a normal deviate would have to exceed 30.
    """
    if abs(noncentrality) <= 30:
        return float(stats.nct.sf(critical, df, noncentrality))
    if noncentrality < 0:
        return 0.0
    z, weights = np.polynomial.hermite_e.hermegauss(64)
    reach = np.maximum(noncentrality + z, 0.0) / critical
    return float(stats.chi2.cdf(df * reach**2, df) @ weights / weights.sum())


def _decided(means: Array, critical: Any, joint: bool) -> Any:
    """P(Z + mean ≥ critical) for one side; for two sides, with means of Z and -Z, of either or of both."""
    upper = [stats.norm.cdf(mean - critical) for mean in means]
    return np.maximum(sum(upper) - 1, 0) if joint else sum(upper)


def _two_way_power(n: int, df: int, shifts: Shifts, level: float, joint: bool, examples: Examples, seed: int) -> Power:
    size, between, rest = examples.n, examples.sd**2, examples.residual_sd**2
    dfs = np.array([df, size - 1, df * (size - 1)])
    expected = np.array([size + rest, n * between + rest, rest])  # mean squares of units, examples and residual
    ms = expected * _scaled_chi_squares(tuple(dfs.tolist()), seed)
    # the examples' mean square is drawn, but counts as known where the test sees it: hundredths of a percent of power
    at_null = TwoWay(np.zeros(ms.shape[:-1]), ms[..., 0], ms[..., 1], ms[..., 2], dfs[0], np.inf, 1.0)
    _, critical = at_null.confidence_interval(1 - 2 * level)
    v_true = expected @ (1, 1, -1)
    means = np.sqrt(n * size / v_true) * np.array(shifts)
    powers = _decided(means, critical / np.sqrt(v_true), joint).mean(axis=-1)
    return Power(float(min(powers.mean(), 1.0)), float(powers.std(ddof=1) / np.sqrt(len(powers))))


@lru_cache(maxsize=256)
def _scaled_chi_squares(dfs: tuple[float, ...], seed: int) -> Array:
    """χ² / df of each, (shifts, points, len(dfs)): a Kronecker sequence, shifted at random eight times."""
    irrational = 1.2207440846057596 ** -np.arange(1.0, len(dfs) + 1)  # powers of the root of x⁴ = x + 1
    shift = np.random.default_rng(seed).random((8, 1, len(dfs)))
    return stats.chi2.ppf((np.arange(128)[:, None] * irrational + shift) % 1, dfs) / dfs


# Simulated tests -------------------------------------------------------------------------------------------------


def _rejections(
    test: str, n: int, shifts: Shifts, level: float, joint: bool, strata: int, spread: float, draws: int, seed: int
) -> Array:
    """Whether each draw is rejected: the mean of z and -z, which are drawn alike."""
    either = _critical_shifts(test, n, level, strata, spread, draws, seed)
    reached = np.stack([side[: len(shifts)] < np.array(shifts)[:, None] for side in (either, either[::-1])])
    return (reached.all(axis=1) if joint else reached.any(axis=1)).mean(axis=0)


def _affordable(test: str, n: int, level: float, draws: int) -> int:
    """As many draws as asked for, or as take a fraction of a second; but not so few that an error is unknown."""
    few = min(n, _order(n, level))
    width = n**2 // 2 if test == "wilcoxon" else 2**few if few <= _SUBSETS else 40 * n
    return min(draws, max(_LARGEST // width, 500))


def _order(n: int, level: float) -> int:
    """How many of the 2ⁿ flips may be as extreme as the one observed."""
    return int(np.floor(np.ldexp(level, min(n, 60))))


@lru_cache(maxsize=128)
def _critical_shifts(test: str, n: int, level: float, strata: int, spread: float, draws: int, seed: int) -> Array:
    """c(z) and c(-z) of every draw, (2, draws): the same normal numbers for every test, level, effect and, by columns,
    every n.
    """
    noise, between = np.random.default_rng(seed).spawn(2)
    z = noise.standard_normal((n, draws)).T
    if test != "paired-t" and strata > 1 and spread > 0:
        teachers = between.standard_normal((strata, draws)).T
        z = z + spread * np.repeat(teachers - teachers.mean(axis=1, keepdims=True), n // strata, axis=1)
    shifts = {"sign-flip": _flip_shifts, "wilcoxon": _wilcoxon_shifts, "paired-t": _t_shifts}[test]
    found = np.stack([shifts(z, level), shifts(-z, level)])
    found.flags.writeable = False
    return found


def _t_shifts(z: Array, level: float) -> Array:
    n = z.shape[1]
    return stats.t.isf(level, n - 1) * z.std(axis=1, ddof=1) / np.sqrt(n) - z.mean(axis=1)


def _flip_shifts(z: Array, level: float) -> Array:
    """Of sign flips: p = (1 + subsets whose mean is not above 0) / 2ⁿ, so the k-th smallest subset mean decides.

    A subset has as many smaller means as its largest value has, by taking it out or another in its place: the k lowest
    values are enough.
    """
    n = z.shape[1]
    few, k = min(n, _order(n, level)), _order(n, level)
    if few > _SUBSETS:
        return _saddlepoint_shifts(z, level)
    members = (np.arange(1, 2**few) >> np.arange(few)[:, None] & 1).astype(np.float64)
    weights = members / members.sum(axis=0)
    lowest = np.partition(z, few - 1, axis=1)[:, :few]
    return -_order_statistic(lowest, lambda rows: rows @ weights, k - 1, 2**few)


def _wilcoxon_shifts(z: Array, level: float) -> Array:
    """Of signed ranks: W⁺ is the number of positive Walsh averages, so the w-th largest decides."""
    n = z.shape[1]
    w = int(np.argmax(_signed_rank_tail(tuple(range(2, 2 * n + 1, 2)))[::2] <= level))  # by doubled ranks
    i, j = np.triu_indices(n)
    return -_order_statistic(z, lambda rows: (rows[:, i] + rows[:, j]) / 2, len(i) - w, len(i))


def _order_statistic(z: Array, values: Callable[[Array], Array], k: int, width: int) -> Array:
    """The k-th smallest (from 0) of each row's values, in blocks."""
    block = max(1, 2**22 // width)
    return np.concatenate([np.partition(values(z[i : i + block]), k)[:, k] for i in range(0, len(z), block)])


def _saddlepoint_shifts(z: Array, level: float) -> Array:
    """Of sign flips: the shift at which the saddlepoint p is the level.

    The normal deviate of p is nearly linear in the shift, so secants from the t test's shift converge at once.
    """
    n = z.shape[1]
    goal = stats.norm.isf(np.ldexp(_order(n, level), -n) if n <= _EXACT else level)
    step = 0.1 * z.std(axis=1) / np.sqrt(n)
    before = _t_shifts(z, level)
    shift, deviate = before + step, _flip_deviate(z + before[:, None])
    for _ in range(4):
        now = _flip_deviate(z + shift[:, None])
        slope = np.maximum((now - deviate) / np.where(shift == before, 1.0, shift - before), 0.1 / step / n)
        before, deviate, shift = shift, now, shift + np.clip((goal - now) / slope, -5 * step, 5 * step)
    return shift


def _flip_deviate(d: Array) -> Array:
    """r* = r + log(u / r) / r, whose normal tail is P(Σ ±|d| ≥ Σ d), for rows with a positive sum."""
    size, total = np.abs(d), d.sum(axis=1)
    total = np.minimum(total, size.sum(axis=1) * (1 - 1e-9))  # all positive: the tail's last atom
    t = total / (size**2).sum(axis=1)
    for _ in range(30):  # Newton from below: Σ |d| tanh(t |d|) is concave
        tanh = np.tanh(t[:, None] * size)
        move = (total - (size * tanh).sum(axis=1)) / (size**2 * (1 - tanh**2)).sum(axis=1)
        t = t + move
        if (np.abs(move) <= 1e-9 * t).all():
            break
    scaled = t[:, None] * size
    cumulant = (np.logaddexp(scaled, -scaled) - np.log(2)).sum(axis=1)
    r = np.sqrt(2 * (t * total - cumulant))
    u = t * np.sqrt((size**2 * (1 - np.tanh(scaled) ** 2)).sum(axis=1))
    return r + np.log(u / r) / r


# Variance components ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Components:
    """Variance of paired differences between teachers and between the students of one.

    Attributes
    ----------
    teacher_sd, student_sd : float or None
        None where the data say nothing: one teacher; no teacher with two students, when the students' variance is
        within the teachers'.
    ms_teacher, ms_student, df_teacher, df_student, students : float
        Mean squares, their degrees of freedom (infinite where the variances are assumed), and the students a teacher
        that E MS_teacher = σ²_student + students σ²_teacher holds for.
    truncated : bool
        The estimate of σ²_teacher was negative, and is 0.
    """

    teacher_sd: float | None
    student_sd: float | None
    ms_teacher: float
    ms_student: float
    df_teacher: float
    df_student: float
    students: float
    truncated: bool


def variance_components(values: ArrayLike, teacher: ArrayLike) -> Components:
    """ANOVA estimates of the variance between teachers and between their students.

    With S_t students of each of T teachers, MS_teacher = Σ S_t (mean_t - mean)² / (T - 1) and MS_student pooled within,

        σ²_student = MS_student,  σ²_teacher = max(0, (MS_teacher - MS_student) / S₀),
        S₀ = (Σ S_t - Σ S_t² / Σ S_t) / (T - 1)

    Parameters
    ----------
    values : array_like, float, shape (n,)
        Arm minus control, a number a student.
    teacher : array_like, shape (n,)

    Returns
    -------
    Components

    Raises
    ------
    ValueError
        Shapes that differ, fewer than two students, values that are not finite.

    References
    ----------
    Searle, Casella & McCulloch (1992), Variance Components, section 3.6.

    Examples
    --------
    >>> found = variance_components([0.01, 0.03, 0.05, 0.07, 0.02, 0.06], [0, 0, 1, 1, 2, 2])
    >>> round(found.teacher_sd, 4), round(found.student_sd, 4)
    (0.0141, 0.02)
    """
    x, labels = np.asarray(values, dtype=np.float64), np.asarray(teacher)
    if x.ndim != 1 or labels.shape != x.shape or len(x) < 2:
        raise ValueError(
            f"values has shape {x.shape} and teacher {labels.shape}: two or more students, each with its teacher"
        )
    if not np.isfinite(x).all():
        raise ValueError("values must be finite: leave a failed student out on both sides")
    _, index, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    means = np.bincount(index, x) / sizes
    n, df_teacher, df_student = len(x), len(sizes) - 1, len(x) - len(sizes)
    ms_teacher = float(sizes @ (means - x.mean()) ** 2 / df_teacher) if df_teacher else 0.0
    ms_student = float(((x - means[index]) ** 2).sum() / df_student) if df_student else 0.0
    students = float((n - sizes @ sizes / n) / df_teacher) if df_teacher else float(n)
    variance = (ms_teacher - ms_student) / students
    return Components(
        max(variance, 0.0) ** 0.5 if df_teacher else None, ms_student**0.5 if df_student else None,
        ms_teacher, ms_student, float(df_teacher), float(df_student), students, bool(df_teacher) and variance < 0,
    )  # fmt: skip


def assumed_components(teacher_sd: float, student_sd: float) -> Components:
    """The components that somebody assumes, without error."""
    for name, sd in (("teacher_sd", teacher_sd), ("student_sd", student_sd)):
        if not (np.isfinite(sd) and sd >= 0):
            raise ValueError(f"{name} is {sd}: a standard deviation, 0 or more, in the unit of the metric")
    ms_student = student_sd**2
    return Components(teacher_sd, student_sd, ms_student + teacher_sd**2, ms_student, np.inf, np.inf, 1.0, False)


def unit_sd(components: Components, students: float, confidence: float | None = None) -> float:
    """Standard deviation of a teacher's mean difference over so many students, √(σ²_teacher + σ²_student / S).

    With ``confidence``, its upper confidence bound: the variance is a linear combination of two independent mean
    squares, v = MS_teacher / S₀ + MS_student (1/S - 1/S₀), whose modified large-sample bound is
    v + √(Σ (h c MS)²), h = df / χ²(1 - confidence; df) - 1 (where c is negative 1 - df / χ²(confidence; df)). At the
    pilot's own S it is the chi-square bound of one variance.

    Parameters
    ----------
    components : Components
        Where nothing separates students from teachers, all of the variance is taken as the teachers'.
    students : float
        Of each teacher; infinite leaves the teachers alone.
    confidence : float, optional

    Raises
    ------
    ValueError
        No two teachers; a confidence outside (0, 1).

    References
    ----------
    Burdick & Graybill (1992), Confidence Intervals on Variance Components, sections 3.2 and 3.3.

    Examples
    --------
    >>> assumed = assumed_components(teacher_sd=0.03, student_sd=0.04)
    >>> unit_sd(assumed, 1), unit_sd(assumed, 4, confidence=0.8).__round__(4)
    (0.05, 0.0361)
    """
    c = components
    if c.teacher_sd is None:
        raise ValueError("a single teacher says nothing of the spread between teachers")
    if c.student_sd is None:
        terms = [(1.0, c.ms_teacher, c.df_teacher)]
        estimate = c.ms_teacher
    else:
        terms = [
            (1 / c.students, c.ms_teacher, c.df_teacher),
            (1 / students - 1 / c.students, c.ms_student, c.df_student),
        ]
        estimate = c.teacher_sd**2 + c.student_sd**2 / students
    if confidence is None:
        return float(estimate**0.5)
    spread = sum((_excess(df, confidence, share < 0) * share * ms) ** 2 for share, ms, df in terms) ** 0.5
    bound = sum(share * ms for share, ms, _ in terms) + spread
    least = 0.0 if c.student_sd is None else student_sd_bound(c, confidence) ** 2 / students
    return float(max(bound, least, estimate) ** 0.5)


def student_sd_bound(components: Components, confidence: float) -> float:
    """Upper confidence bound of the standard deviation between students of one teacher, by chi-square."""
    return float((components.ms_student * (1 + _excess(components.df_student, confidence, False))) ** 0.5)


def _excess(df: float, confidence: float, below: bool) -> float:
    """How far a variance may lie above its estimate, or the estimate above the variance, as a share of the estimate."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}: it lies between 0 and 1, such as 0.8")
    if np.isinf(df):
        return 0.0
    if below:
        return float(1 - df / stats.chi2.ppf(confidence, df))
    return float(df / stats.chi2.ppf(1 - confidence, df) - 1)
