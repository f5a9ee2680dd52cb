"""What the units of a claim are, and the inference on them.

A replicate is one trained network; students of one teacher share it; test examples are crossed with replicates. A claim
is about *the recipe* (new teachers: a teacher, or a cluster of teachers, is the unit), about *these* teachers or about
*each* of them (students are units, within strata), on this test set or on new examples. Every number of an
``Inference`` refers to that one scope.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr

from kdstats.stats import effects
from kdstats.stats.paired import ALL_EQUAL, _shifted, bayes_factor, differences, sign_flip, wilcoxon
from kdstats.stats.pivots import TwoWay, of_mean_squares
from kdstats.stats.results import (
    Alternative,
    Array,
    TestResult,
    binary_scale,
    check_alternative,
    check_margin,
    extreme_scale,
    numbers,
    plain,
    t_interval,
    t_p_value,
)
from kdstats.stats.sequential import anytime
from kdstats.stats.ties import TIE, about_strata, rounding, without_residue

Scope = Literal["each", "these", "recipe"]

NAN = float("nan")

# Units -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Units:
    """The rows that an inference takes as its units, and the stratum of each (None: they are one sample)."""

    values: Array
    strata: NDArray[Any] | None


def to_units(values: ArrayLike, teacher: ArrayLike, cluster: ArrayLike | None = None, scope: str = "recipe") -> Units:
    """Rows of replicates to rows of units.

    Parameters
    ----------
    values : array_like, float, shape (n, ...)
        One row a replicate (teacher, seed).
    teacher : array_like, shape (n,)
        Its teacher.
    cluster : array_like, shape (n,), optional
        What makes teachers dependent, such as the pair that swapped roles in ``kd-other``; default the teacher.
    scope : {"recipe", "these", "each"}
        recipe: the mean over seeds within a teacher, then over the teachers of a cluster, so that a teacher weighs the
        same however many seeds it has; clusters in ascending order, shape (U, ...). these: the rows as they are, with
        the teacher as stratum. each: the same for one teacher.

    Returns
    -------
    Units

    Raises
    ------
    ValueError
        Lengths that differ, a teacher in two clusters, several teachers at scope "each", an unknown scope.

    Examples
    --------
    >>> to_units([1.0, 3.0, 4.0], [0, 0, 1]).values.tolist()
    [2.0, 4.0]
    """
    rows, teachers = numbers(values, "values"), np.asarray(teacher)
    clusters = teachers if cluster is None else np.asarray(cluster)
    if rows.ndim == 0 or teachers.shape != (len(rows),) or clusters.shape != teachers.shape:
        raise ValueError(
            f"values has shape {rows.shape}, teacher {teachers.shape} and cluster {clusters.shape}: each replicate, a "
            "row of values, has one teacher and one cluster"
        )
    if scope not in get_args(Scope):
        raise ValueError(f"scope is {scope!r}: it is one of {', '.join(get_args(Scope))}")
    names, first, index = np.unique(teachers, return_index=True, return_inverse=True)
    if scope != "recipe":
        if scope == "each" and len(names) > 1:
            raise ValueError(f"scope each is a claim about one teacher, got {len(names)}: call once a teacher")
        return Units(rows, teachers)
    of_teacher = clusters[first]
    for t, name in enumerate(names):
        if (clusters[index == t] != of_teacher[t]).any():
            raise ValueError(f"teacher {name} is in two clusters: dependent teachers belong to one cluster")
    means = np.array([_mean(rows[index == t]) for t in range(len(names))])
    return Units(np.array([_mean(means[of_teacher == c]) for c in np.unique(of_teacher)]), None)


def _mean(rows: Array) -> Array:
    """The mean over rows, 0 where it is what rounding leaves of it: as a unit it must not count as a sign."""
    return without_residue(rows.mean(axis=0), rounding(np.abs(rows).mean(axis=0), 0.0))


def _strata(strata: ArrayLike | None, n: int) -> tuple[NDArray[np.intp], Array, float]:
    """Stratum index and weight of each row, and the degrees of freedom within; Σ weights · rows = mean of means."""
    labels = np.zeros(n) if strata is None else np.asarray(strata)
    if labels.shape != (n,):
        raise ValueError(f"strata has shape {labels.shape}: one stratum for each of the {n} units")
    _, index, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    return index, 1 / (len(sizes) * sizes[index]), float(n - len(sizes))


# New examples ----------------------------------------------------------------------------------------------------


def two_way(matrix: ArrayLike, strata: ArrayLike | None = None) -> TwoWay:
    """The mean over new replicates and new examples, both random and crossed, with its variance, p and interval.

    For differences x (U replicates × N examples) with mean squares of replicates, examples and residual,

        Var(mean) = V / (U N),  V = MS_rep + MS_ex - MS_res, at least max(MS_rep, MS_ex)
        df = V² / (MS_rep² / df_rep + MS_ex² / df_ex + MS_res² / (df_rep df_ex)),  df_rep = U - 1, df_ex = N - 1

    The difference MS_rep + MS_ex - MS_res estimates N σ²_rep + U σ²_ex + σ²_res without bias; the floor keeps an
    estimated component from being negative. p-values and intervals come from the generalised pivot of these mean
    squares (``kdstats.stats.pivots``), not from t on df: with few replicates that rejects too often.

    With strata, replicates are nested in fixed teachers: the estimate is the mean over teachers of their means, MS_rep
    and MS_res are pooled within teachers (df_rep = U - T), and MS_ex is that of the examples' estimates. Where
    teachers have unequal numbers of replicates, U in the formula is 1 / Σ w², with w the replicates' weights. For
    teachers as the random top level (scope recipe), pass teacher means as rows, without strata.

    Parameters
    ----------
    matrix : array_like, float, shape (..., U, N)
        Per-example differences of each replicate.
    strata : array_like, shape (U,), optional
        The teacher of each replicate.

    Returns
    -------
    TwoWay
        ``.estimate``, ``.standard_error``, ``.df``, ``.p_value(alternative, null)``, ``.confidence_interval(level)``,
        of shape (...); unpacks as the first three. Standard error 0 and df NaN where the matrix does not vary.

    Raises
    ------
    ValueError
        Fewer than two examples, no teacher with two replicates, a value that is not finite.

    References
    ----------
    Satterthwaite (1946), Biometrics Bulletin 2:110. Searle, Casella & McCulloch (1992), Variance Components, ch. 4.

    Examples
    --------
    >>> estimate, error, df = two_way([[1.0, 2.0, 3.0], [2.0, 4.0, 3.0]])  # mean squares 1.5, 1.5 and 0.5
    >>> estimate, round(error**2, 6), round(df, 6)
    (2.5, 0.416667, 1.785714)
    """
    if np.ma.is_masked(matrix):
        raise ValueError("the matrix has masked values: leave out the replicate's row, or the example's column")
    x = np.asarray(matrix, dtype=np.float64)
    if x.ndim < 2 or x.shape[-1] < 2:
        raise ValueError(f"the matrix has shape {x.shape}: it needs replicates × examples, two or more examples")
    if not np.isfinite(x).all():
        raise ValueError("the matrix holds values that are not finite: leave a failed replicate's row out")
    n_replicates, n_examples = x.shape[-2:]
    index, weights, df_rep = _strata(strata, n_replicates)
    if df_rep < 1:
        raise ValueError("every teacher has one replicate: nothing estimates the spread between replicates")
    df_ex = n_examples - 1
    scale = extreme_scale(x, (-2, -1))
    x = x / scale
    by_example = np.einsum("u,...un->...n", weights, x)
    estimate = by_example.mean(axis=-1) * scale[..., 0, 0]
    units = 1 / np.sum(weights**2)
    differ = np.abs(by_example - by_example.mean(axis=-1, keepdims=True)) > TIE * (weights @ np.abs(x))
    ms_ex = np.where(differ.any(axis=-1), units * by_example.var(axis=-1, ddof=1), 0.0)
    between = np.zeros(x.shape[:-2])
    residual = np.zeros(x.shape[:-2])
    for t in range(index.max() + 1):
        own = x[..., index == t, :] if strata is not None else x
        block = own - own.mean(axis=-2, keepdims=True)
        # rounding is not variance: each value is held against itself, so that no stratum hides how another varies
        block *= (np.abs(block) > TIE * np.abs(own)).any(axis=(-2, -1), keepdims=True)
        row_means = block.mean(axis=-1, keepdims=True)
        block -= row_means
        between += n_examples * (row_means**2).sum(axis=(-2, -1))
        residual += np.einsum("...un,...un->...", block, block)
    squares = between / df_rep, ms_ex, residual / (df_rep * df_ex)
    # and that of means is of their largest value
    varies = np.sqrt(of_mean_squares(*squares)) > rounding(np.abs(x).max(axis=(-2, -1)), 0.0) * np.sqrt(n_examples)
    ms_rep, ms_ex, ms_res = (plain(np.where(varies, square, 0.0)) for square in squares)
    return TwoWay(plain(estimate), ms_rep, ms_ex, ms_res, df_rep, float(df_ex), float(units * n_examples),
                  plain(scale[..., 0, 0]))  # fmt: skip


# Inference -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Inference:
    """Everything that is said about one difference at one scope.

    Attributes
    ----------
    estimate, sem : float
        Mean over units (over the teachers' means, where there are strata) and its standard error.
    df : float
        Degrees of freedom of ``sem``.
    ci_low, ci_high, ci_level : float
        Two-sided t interval.
    test : str
        The test's exact name.
    statistic, p_value : float
        Of the test in the declared direction.
    p_reverse : float or None
        One-sided p in the opposite direction; None for a two-sided test.
    p_noninferior, p_nonsuperior : float or None
        One-sided p of mean ≤ -margin and of mean ≥ +margin, by the same test; None without margin.
    p_equivalence : float or None
        TOST: the larger of these two.
    dz, hedges_g, rank_biserial, cles : float
        Effect sizes of the units (``kdstats.stats.effects``). With strata, dz divides by the pooled standard deviation
        within teachers, and the two others count every pair once. On new examples dz is t / √U.
    bayes_factor : float
        Of the paired t test; for one sample of units only.
    rope : float or None
        Posterior probability that the mean difference lies within ±margin, under the reference prior 1/σ: that of
        Student's t on ``df``, located at ``estimate`` and scaled by ``sem`` (Box & Tiao 1973, §2.4; Kruschke 2018, Adv.
        Methods Pract. Psychol. Sci. 1:270, for the region). None without margin.
    note : str
        Why a number above is NaN; empty when none is.
    """

    estimate: float
    sem: float
    df: float
    ci_low: float
    ci_high: float
    ci_level: float
    test: str
    statistic: float
    p_value: float
    p_reverse: float | None
    p_noninferior: float | None
    p_nonsuperior: float | None
    p_equivalence: float | None
    dz: float
    hedges_g: float
    rank_biserial: float
    cles: float
    bayes_factor: float
    rope: float | None
    note: str


def infer(
    difference: ArrayLike,
    *,
    strata: ArrayLike | None = None,
    test: str = "sign-flip",
    alternative: Alternative = "two-sided",
    level: float = 0.95,
    margin: float | None = None,
    examples: ArrayLike | None = None,
    seed: int = 0,
) -> Inference:
    """Test, interval, equivalence and effect sizes of the units' differences.

    One sample of units: the tests of ``kdstats.stats.paired``. Strata (students of T fixed teachers, S_t each):

        estimate = mean of teacher means,  SEM = s √(Σ 1/S_t) / T,  df = Σ (S_t - 1)

    with s the pooled standard deviation within teachers; every student's sign flips on its own, the statistic being the
    mean of teacher means (students weigh 1 / (T S_t)); Wilcoxon ranks all students. New examples (``examples`` given):
    ``two_way``, replicates nested in teachers where there are strata.

    Parameters
    ----------
    difference : array_like, float, shape (U,)
        Arm minus control, one number a unit (``to_units``).
    strata : array_like, shape (U,), optional
        The teacher of each unit, at scopes "these" and "each".
    test : {"sign-flip", "wilcoxon", "paired-t", "two-way-t"}
        two-way-t goes with ``examples``, the others without.
    alternative : {"two-sided", "greater", "less"}
    level : float
        Of the interval.
    margin : float, optional
        Of equivalence, in the unit of the differences.
    examples : array_like, float, shape (U, N), optional
        The differences of single examples, whose row means are ``difference``; the claim is then about new examples.
    seed : int
        Of the sign flips above 40 units.

    Returns
    -------
    Inference
        Where a number does not exist (no variance, no two students of one teacher) it is NaN and ``note`` says why.

    Raises
    ------
    ValueError
        Fewer than two units, values that are not finite, shapes or means that do not match, a test that does not go
        with the scope, a level or margin out of range.

    Examples
    --------
    >>> result = infer([0.03, 0.04, 0.01, 0.05, 0.02], alternative="greater", margin=0.1)
    >>> result.test, result.p_value, result.p_reverse, result.p_equivalence
    ('sign-flip, exact', 0.03125, 1.0, 0.03125)
    >>> infer([0.03, 0.04, 0.05, 0.05], strata=[0, 0, 1, 1], test="paired-t").df
    2.0
    """
    d = differences(difference)
    if d.ndim != 1:
        raise ValueError(f"difference has shape {d.shape}: one number a unit")
    check_alternative(alternative)
    if test not in (*TESTS, *T_TESTS):
        raise ValueError(f"test is {test!r}: it is one of {', '.join((*TESTS, *T_TESTS))}")
    if (test == "two-way-t") != (examples is not None):
        raise ValueError(
            f"test is {test} and examples are {'absent' if examples is None else 'given'}: two-way-t is the test about "
            "new examples and needs their matrix; the other tests are about this test set and take none"
        )
    if margin is not None:
        check_margin(margin)
    if examples is None:
        return _on_this_test_set(d, strata, test, alternative, level, margin, seed)
    return _on_new_examples(d, strata, np.asarray(examples, dtype=np.float64), alternative, level, margin)


def _on_this_test_set(
    d: Array,
    strata: ArrayLike | None,
    test: str,
    alternative: Alternative,
    level: float,
    margin: float | None,
    seed: int,
) -> Inference:
    index, weights, df = _strata(strata, len(d))
    stratified = index.max() > 0
    estimate = float(weights @ d)
    centred = about_strata(d, index)
    scale = float(binary_scale(centred)[0])
    pooled = float(np.sqrt((centred / scale) @ (centred / scale) / df)) * scale if df else NAN
    sem = pooled * float(np.sqrt(np.sum(weights**2)))
    notes = [] if pooled > 0 else [_why_no_variance(pooled, stratified)]

    if test == "paired-t":
        name = "paired t, stratified by teacher" if stratified else "paired t"
        statistic, p_value = _t(estimate, sem, df, alternative)
        p = partial(_t_p_value, estimate, sem, df)
    else:
        result = TESTS[test](d, alternative=alternative, weights=weights, seed=seed)
        name, statistic, p_value = result.test, result.statistic, result.p_value
        p = partial(_flips_p_value, TESTS[test], d, weights, seed)

    factor = NAN
    if stratified:
        notes.append("no Bayes factor: units are stratified by teacher")
    elif pooled > 0:
        factor = bayes_factor(d)
    low, high = result.confidence_interval(level) if test == "anytime" else t_interval(estimate, sem, df, level)
    size, corrected, lacking = _standardised(estimate / pooled if pooled > 0 else NAN, df)
    return Inference(
        estimate, sem, df, low, high, level, name, statistic, p_value, *_other_p_values(p, alternative, margin), size,
        corrected, effects.rank_biserial(d), effects.paired_cles(d), factor, _rope(estimate, sem, df, margin),
        "; ".join([*notes, *lacking]),
    )  # fmt: skip


def _on_new_examples(
    d: Array, strata: ArrayLike | None, matrix: Array, alternative: Alternative, level: float, margin: float | None
) -> Inference:
    if matrix.ndim != 2 or len(matrix) != len(d):
        raise ValueError(f"examples has shape {matrix.shape} for {len(d)} units: it needs one row a unit")
    gap = np.abs(matrix.mean(axis=1) - d)
    if not (gap <= 1e-8 * np.maximum(np.abs(matrix).mean(axis=1), np.abs(d))).all():
        u = int(np.nanargmax(gap))
        raise ValueError(
            f"row {u} of examples has mean {matrix[u].mean():g} and difference[{u}] is {d[u]:g}: rows hold the "
            "examples' own differences, whose mean is the unit's"
        )
    index, weights, df_rep = _strata(strata, len(d))
    stratified = index.max() > 0
    name = "two-way t, generalised (seeds and examples)" + (", stratified by teacher" if stratified else "")
    if not df_rep:
        estimate = float(weights @ d)
        return Inference(
            estimate, NAN, NAN, NAN, NAN, level, name, NAN, NAN, *_other_p_values(lambda *_: NAN, alternative, margin),
            NAN, NAN, NAN, NAN, NAN, None if margin is None else NAN, _why_no_variance(NAN, stratified),
        )  # fmt: skip
    mean = two_way(matrix, strata)
    estimate, sem, df = mean
    low, high = mean.confidence_interval(level)
    size, corrected, lacking = _standardised(estimate / sem / np.sqrt(len(d)) if sem > 0 else NAN, df)
    notes = [*([] if sem > 0 else [_why_no_variance(sem, stratified)]), *lacking]
    notes.append("no rank-biserial, CLES or Bayes factor: they have no version for new examples")
    statistic = estimate / sem if sem > 0 else 0.0 if estimate == 0 else NAN
    rope = None if margin is None else mean.p_value("less", -margin) - mean.p_value("less", margin) if sem > 0 else NAN
    return Inference(
        estimate, sem, df, low, high, level, name, statistic, mean.p_value(alternative),
        *_other_p_values(mean.p_value, alternative, margin), size, corrected, NAN, NAN, NAN, rope, "; ".join(notes),
    )  # fmt: skip


def _weighted_sign_flip(d: ArrayLike, *, alternative: Alternative, weights: Array, seed: int) -> TestResult:
    """Sign flips of Σ w d: flipping w d is flipping d. Times U, so that equal weights are 1 and the mean stays."""
    return sign_flip(np.asarray(d) * weights * len(weights), alternative=alternative, seed=seed)


def _signed_ranks(d: ArrayLike, *, alternative: Alternative, weights: Array, seed: int) -> TestResult:
    """Ranks of all students, each once: they have neither weights nor draws."""
    return wilcoxon(d, alternative=alternative)


def _at_every_look(d: ArrayLike, *, alternative: Alternative, weights: Array, seed: int) -> TestResult:
    """The e-process of the units in their order, each once."""
    return anytime(d, alternative=alternative)


# Tests of the units' differences: f(d, *, alternative, weights, seed), weights being each unit's in the mean.
TESTS: dict[str, Callable[..., TestResult]] = {
    "sign-flip": _weighted_sign_flip,
    "wilcoxon": _signed_ranks,
    "anytime": _at_every_look,
}
T_TESTS = ("paired-t", "two-way-t")  # of the estimate and its standard error


def _t(estimate: float, sem: float, df: float, alternative: str, null: float = 0.0) -> tuple[float, float]:
    """t and p of one estimate against a null. Without variance: p = 1 where nothing differs, else NaN."""
    if not sem > 0:
        return (0.0, 1.0) if sem == 0 and estimate == null == 0 else (NAN, NAN)
    t = (estimate - null) / sem
    return t, float(t_p_value(t, df, alternative))


def _t_p_value(estimate: float, sem: float, df: float, alternative: Alternative, null: float = 0.0) -> float:
    return _t(estimate, sem, df, alternative, null)[1]


def _flips_p_value(
    test: Callable[..., TestResult], d: Array, weights: Array, seed: int, alternative: Alternative, null: float = 0.0
) -> float:
    return float(test(_shifted(d, null), alternative=alternative, weights=weights, seed=seed).p_value)


def _other_p_values(
    p: Callable[..., float], alternative: Alternative, margin: float | None
) -> tuple[float | None, float | None, float | None, float | None]:
    """p_reverse, p_noninferior, p_nonsuperior and p_equivalence, from p(alternative, null)."""
    p_reverse = None if alternative == "two-sided" else p(_opposite(alternative))
    if margin is None:
        return p_reverse, None, None, None
    above, below = p("greater", -margin), p("less", margin)
    return p_reverse, above, below, max(above, below)  # a t test has both or neither


def _rope(estimate: float, sem: float, df: float, margin: float | None) -> float | None:
    if margin is None:
        return None
    if not sem > 0:
        return NAN
    return float(stdtr(df, (margin - estimate) / sem) - stdtr(df, (-margin - estimate) / sem))


def _opposite(alternative: Alternative) -> Alternative:
    return "less" if alternative == "greater" else "greater"


def _standardised(size: float, df: float) -> tuple[float, float, list[str]]:
    """dz, Hedges' g and what to note."""
    if np.isnan(size):
        return NAN, NAN, []
    if not df > 1:
        return size, NAN, ["no Hedges g: its correction needs more than one degree of freedom"]
    return size, size * effects.hedges_correction(df), []


def _why_no_variance(spread: float, stratified: bool) -> str:
    if spread == 0:
        return f"{ALL_EQUAL}{' within teachers' if stratified else ''}"
    return "every teacher has one student: nothing estimates the spread within teachers, so no SEM, interval or dz"
