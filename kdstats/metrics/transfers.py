"""What a student took over from its teacher, where the teacher is right and where it is wrong.

t, s, c: classes that teacher, student and control predict (the first of tied ones), y the label. A⁺ = P(s = t | t = y),
A⁻ = P(s = t | t ≠ y). Gains over the control: Δ⁺, Δ⁻. Whether errors transfer more than knowledge is a question about
both, and four traps lie on the way to it (tests/metrics/test_traps.py walks into each).

1. The ceiling. A student that copies its teacher with probability p on every input, and is the control otherwise, gains
   Δ = p (1 − A_control). A⁻ of the control is nearly always below its A⁺, so Δ⁻ > Δ⁺ without any preference for
   errors. Log-odds do not cure it: they give +.36 at A⁺ .97, A⁻ .4, p .3. The headroom estimator is 0 there.
2. Accuracy. A student that became more accurate for whatever reason, without a teacher, agrees more where the teacher
   is right and less where it is wrong; one that became worse looks as if it had taken over errors. No estimator removes
   this against a control that was trained on labels alone. The control has to share the accuracy: a student of another
   teacher, same recipe (kd-other).
3. Double use of controls. Hard examples may be copied more, and a teacher errs on hard ones; so examples are matched by
   how many controls agree with the teacher. Where the same controls are also the comparison, regression to the mean
   makes an asymmetry out of nothing (log odds ratio about −1.2, −.7, −.3 at 4, 8, 20 controls). `matched_asymmetry`
   takes the strata from controls that are held out of the contrast.
4. Ratios. The mean over seeds of Δ / (1 − A_control) is biased downwards, most where disagreements are few, so most for
   A⁺: a one-sided test at .05 has size .09 to .13. `headroom_gains` gives the two parts of a ratio of means.

Input as in `kdstats.metrics.similarity`, with the same errors.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kdstats.metrics._arrays import UndefinedMetric, Values, check_labels, check_logits

Score = Literal["headroom", "log_odds", "raw"]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Estimator:
    """An estimator of the asymmetry, and what has to be said beside its number.

    Attributes
    ----------
    name : as in `asymmetry_score`; "matched" is `matched_asymmetry`
    label : what it is under pure copying (trap 1), and what it is good for
    bears_verdict : against a student of another teacher. No estimator does against other controls (trap 2)
    """

    name: str
    label: str
    bears_verdict: bool


ESTIMATORS = {
    estimator.name: estimator
    for estimator in (
        Estimator("headroom", "zero under pure copying", bears_verdict=True),
        Estimator("raw", "positive under pure copying", bears_verdict=False),
        Estimator("log_odds", "positive under pure copying", bears_verdict=False),
        Estimator(
            "matched",
            "sensitivity, examples matched for difficulty: can turn supported into inconclusive, not the reverse",
            bears_verdict=False,
        ),
        Estimator("gain_right", "share of what was left to gain, with Fieller's interval", bears_verdict=False),
        Estimator("gain_wrong", "share of what was left to gain, with Fieller's interval", bears_verdict=False),
    )
}
ACCURACY = "against this control a change of accuracy alone can produce it"


def caution(estimator: str, another_teacher: bool) -> str:
    """What has to be said beside an estimate: the estimator's label, and what the control cannot tell apart.

    Parameters
    ----------
    another_teacher : whether the control was taught by another teacher, and so shares the accuracy (trap 2)

    Examples
    --------
    >>> caution("raw", another_teacher=False)
    'positive under pure copying; against this control a change of accuracy alone can produce it'
    """
    return ESTIMATORS[estimator].label + ("" if another_teacher else f"; {ACCURACY}")


def positive_transfer(
    teacher: ArrayLike, student: ArrayLike, labels: ArrayLike | None = None, *, per_example: bool = False
) -> float | Values:
    """A⁺ = P(s = t | t = y): share of the examples that the teacher has right on which the student agrees with it.

    Parameters
    ----------
    teacher, student : logits (N, C)
    labels : (N,), needed
    per_example : return linearised values (N,), A⁺ + N / n⁺ · 1[t = y] · (1[s = t] − A⁺), n⁺ the number with t = y.
        Their mean is A⁺, and their spread the spread of this ratio over new examples, by the delta method.

    Returns
    -------
    float in [0, 1], or (N,) float64

    Raises
    ------
    UndefinedMetric
        the teacher is never right

    Examples
    --------
    >>> right, wrong = [1.0, 0.0], [0.0, 1.0]
    >>> teacher, student = [right, right, wrong], [right, wrong, wrong]
    >>> positive_transfer(teacher, student, [0, 0, 0])
    0.5
    >>> positive_transfer(teacher, student, [0, 0, 0], per_example=True)
    array([ 1.25, -0.25,  0.5 ])
    """
    t, s, y = _predictions("positive_transfer", labels, teacher=teacher, student=student)
    return _conditional_agreement(t == y, s == t, "right", per_example)


def negative_transfer(
    teacher: ArrayLike, student: ArrayLike, labels: ArrayLike | None = None, *, per_example: bool = False
) -> float | Values:
    """A⁻ = P(s = t | t ≠ y): share of the teacher's errors that the student makes too, with the same wrong class.

    Parameters
    ----------
    teacher, student : logits (N, C)
    labels : (N,), needed
    per_example : return linearised values (N,), A⁻ + N / n⁻ · 1[t ≠ y] · (1[s = t] − A⁻), n⁻ the number with t ≠ y.
        Their mean is A⁻, and their spread the spread of this ratio over new examples, by the delta method.

    Returns
    -------
    float in [0, 1], or (N,) float64

    Raises
    ------
    UndefinedMetric
        the teacher makes no error

    Examples
    --------
    >>> right, wrong = [1.0, 0.0], [0.0, 1.0]
    >>> negative_transfer([right, right, wrong], [right, wrong, wrong], [0, 0, 0])
    1.0
    """
    t, s, y = _predictions("negative_transfer", labels, teacher=teacher, student=student)
    return _conditional_agreement(t != y, s == t, "wrong", per_example)


def _conditional_agreement(
    where: Mask, agrees: Mask, teacher_is: Literal["right", "wrong"], per_example: bool
) -> float | Values:
    n, there = len(where), np.count_nonzero(where)
    if not there:
        raise UndefinedMetric(_nowhere(teacher_is, n))
    share = float(np.count_nonzero(where & agrees) / there)
    return share + n / there * where * (agrees - share) if per_example else share


def _nowhere(teacher_is: str, n: int) -> str:
    return f"the teacher is {teacher_is} on none of the {n} examples: agreement where it is {teacher_is} does not exist"


# An arm against its control --------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class TransferMasks:
    """Where a student parts from its control, relative to the teacher: four masks (N,) bool.

    Attributes
    ----------
    repaired : control wrong, teacher right, student right
    broken : control right, teacher right, student wrong
    infected : control ≠ t, teacher wrong, student = t
    cured : control = t, teacher wrong, student ≠ t
    """

    repaired: Mask
    broken: Mask
    infected: Mask
    cured: Mask


def transfer_masks(teacher: ArrayLike, student: ArrayLike, control: ArrayLike, labels: ArrayLike) -> TransferMasks:
    """The examples behind the four counts of `transfer`.

    Parameters
    ----------
    teacher, student, control : logits (N, C)
    labels : (N,)

    Examples
    --------
    >>> right, wrong = [1.0, 0.0], [0.0, 1.0]
    >>> masks = transfer_masks([right, wrong], [right, wrong], [wrong, right], [0, 0])
    >>> masks.repaired, masks.infected
    (array([ True, False]), array([False,  True]))
    """
    t, s, c, y = _predictions("transfer_masks", labels, teacher=teacher, student=student, control=control)
    return _masks(t == y, s == t, c == t)


def _masks(right: Mask, agrees: Mask, control_agrees: Mask) -> TransferMasks:
    gained, lost = agrees & ~control_agrees, ~agrees & control_agrees
    return TransferMasks(gained & right, lost & right, gained & ~right, lost & ~right)


@dataclass(frozen=True)
class Transfer:
    """What a student has of its teacher beyond what its control has, on one set of examples.

    A value that does not exist is None, and ``note`` says why: a teacher without errors has no A⁻.

    Attributes
    ----------
    n_correct, n_wrong : examples that the teacher has right, wrong
    positive_student, positive_control : A⁺ of either
    negative_student, negative_control : A⁻ of either
    positive_gain, negative_gain : Δ⁺, Δ⁻: student minus control
    repaired, broken, infected, cured : counts (see `TransferMasks`). Each alone is positive between any two networks:
        with a held-out control in the student's place they are what no influence of the teacher gives
    net_repaired, net_infected : repaired − broken = n_correct · Δ⁺, infected − cured = n_wrong · Δ⁻
    headroom : log((1 − A⁻_control) / (1 − A⁻_student)) − log((1 − A⁺_control) / (1 − A⁺_student)), counts + ½;
        0 where a student copies its teacher alike on all inputs
    log_odds : the same difference in logit A, counts + ½; positive under pure copying
    raw : Δ⁻ − Δ⁺; positive under pure copying
    note : empty, or why some values are None
    """

    n_correct: int
    n_wrong: int
    positive_student: float | None
    positive_control: float | None
    negative_student: float | None
    negative_control: float | None
    positive_gain: float | None
    negative_gain: float | None
    repaired: int | None
    broken: int | None
    infected: int | None
    cured: int | None
    net_repaired: int | None
    net_infected: int | None
    headroom: float | None
    log_odds: float | None
    raw: float | None
    note: str = ""


def transfer(teacher: ArrayLike, student: ArrayLike, control: ArrayLike, labels: ArrayLike) -> Transfer:
    """A⁺ and A⁻ of a student and its control, the four counts between them, and the asymmetry of the gains.

    Parameters
    ----------
    teacher, student, control : logits (N, C)
    labels : (N,)

    Returns
    -------
    Transfer. Swapping student and control negates gains, net counts and asymmetries. Read the module's traps first.

    Examples
    --------
    >>> right, wrong, other = [2.0, 1.0, 0.0], [1.0, 2.0, 0.0], [0.0, 1.0, 2.0]
    >>> teacher = [right, right, wrong, wrong]
    >>> student = [right, right, wrong, other]
    >>> control = [right, wrong, right, other]
    >>> it = transfer(teacher, student, control, [0, 0, 0, 0])
    >>> it.repaired, it.broken, it.infected, it.cured
    (1, 0, 1, 0)
    >>> it.positive_gain, it.negative_gain, it.raw
    (0.5, 0.5, 0.0)
    >>> transfer([right], [right], [wrong], [0]).note
    'the teacher is wrong on none of the 1 examples: agreement where it is wrong does not exist'
    """
    t, s, c, y = _predictions("transfer", labels, teacher=teacher, student=student, control=control)
    return transfer_of_agreements(t == y, s == t, c == t)


def transfer_of_agreements(teacher_right: Mask, student_agrees: Mask, control_agrees: Mask) -> Transfer:
    """`transfer` from where the teacher is right and where student and control agree with it, (N,) bool each.

    Examples
    --------
    >>> right, student, control = np.array([[True, True, False], [True, False, True], [False, False, False]])
    >>> it = transfer_of_agreements(right, student, control)
    >>> it.repaired, it.broken, it.infected, it.cured
    (1, 0, 1, 0)
    """
    right, agrees = teacher_right, student_agrees
    n, n_correct = len(right), int(right.sum())
    n_wrong = n - n_correct
    masks = _masks(right, agrees, control_agrees)

    def side(where: Mask, count: int, gained: Mask, lost: Mask) -> tuple[Any, ...]:
        """A of the student, of the control, their difference; gained, lost, net."""
        if not count:
            return (None,) * 6
        a, b = int((where & agrees).sum()), int((where & control_agrees).sum())
        up, down = int(gained.sum()), int(lost.sum())
        return a / count, b / count, (a - b) / count, up, down, up - down

    positive = side(right, n_correct, masks.repaired, masks.broken)
    negative = side(~right, n_wrong, masks.infected, masks.cured)
    asymmetry: dict[Score, float | None] = dict.fromkeys(("headroom", "log_odds", "raw"))
    note = _nowhere("right" if n_wrong else "wrong", n)
    if n_correct and n_wrong:
        note = ""
        counts = [((right & a).sum(), n_correct, (~right & a).sum(), n_wrong) for a in (agrees, control_agrees)]
        for estimator in asymmetry:
            arm, against = (asymmetry_score(*of, estimator=estimator) for of in counts)
            asymmetry[estimator] = float(arm - against)
    return Transfer(
        n_correct=n_correct,
        n_wrong=n_wrong,
        positive_student=positive[0],
        positive_control=positive[1],
        negative_student=negative[0],
        negative_control=negative[1],
        positive_gain=positive[2],
        negative_gain=negative[2],
        repaired=positive[3],
        broken=positive[4],
        infected=negative[3],
        cured=negative[4],
        net_repaired=positive[5],
        net_infected=negative[5],
        **asymmetry,
        note=note,
    )


# The asymmetry as a score of one network ---------------------------------------------------------------------------


def asymmetry_score(
    agree_correct: ArrayLike,
    n_correct: ArrayLike,
    agree_wrong: ArrayLike,
    n_wrong: ArrayLike,
    estimator: Score = "headroom",
) -> np.float64 | Values:
    """Asymmetry of one network, such that arm minus control is the asymmetry of the gains.

    With d = n − agree, the disagreements:
    "headroom": log(d⁺ + ½) − log(d⁻ + ½), so that arm − control = h (see `Transfer`), since n is the teacher's and
    cancels; "log_odds": logit A⁻ − logit A⁺ = log((agree⁻ + ½) / (d⁻ + ½)) − log((agree⁺ + ½) / (d⁺ + ½));
    "raw": A⁻ − A⁺ = agree⁻ / n⁻ − agree⁺ / n⁺, as they are.

    Only differences of two networks under one teacher mean anything: n does not cancel between teachers. Log-odds and
    raw are positive under pure copying (trap 1 of the module), headroom is 0; none is free of trap 2.

    Parameters
    ----------
    agree_correct, n_correct : agreements with the teacher where it is right, and how often it is; counts, or mean
        counts over seeds or teachers; any shapes that broadcast
    agree_wrong, n_wrong : the same where the teacher is wrong
    estimator : "headroom" | "log_odds" | "raw"

    Returns
    -------
    float64, of the broadcast shape

    Raises
    ------
    ValueError
        agreements below 0 or above their n, or not finite
    UndefinedMetric
        a teacher that is never right, or never wrong

    References
    ----------
    Haldane 1956, Annals of Human Genetics 20 (the ½).

    Examples
    --------
    >>> arm, control = asymmetry_score([95, 90], 99, [50, 39], 99)  # log(4½ / 49½), log(9½ / 60½)
    >>> print(f"{arm - control:.6f}")
    -0.546544
    """
    agree_plus, n_plus, agree_minus, n_minus = (
        np.asarray(a, np.float64) for a in (agree_correct, n_correct, agree_wrong, n_wrong)
    )
    _check_counts("right", n_plus, agree_plus)
    _check_counts("wrong", n_minus, agree_minus)
    return _score(agree_plus, n_plus - agree_plus, agree_minus, n_minus - agree_minus, estimator)


_SLACK = 1e-9  # mean counts and shares are rounded


def _check_counts(where: str, n: Values, *agreements: Values) -> None:
    if not (np.isfinite(n).all() and (n >= 0).all()):
        raise ValueError(f"the numbers of examples that the teacher has {where} must be finite and not negative")
    if (n < 1e-6).any():  # 0, but for rounding: a mean count is at least one over the number of networks
        raise UndefinedMetric(f"the teacher is {where} on no example: agreement where it is {where} does not exist")
    if not all(((agree >= -_SLACK * n) & (agree <= (1 + _SLACK) * n)).all() for agree in agreements):  # NaN fails too
        raise ValueError(f"agreements where the teacher is {where} must be between 0 and the number of examples")


def _score(agree_plus: Values, d_plus: Values, agree_minus: Values, d_minus: Values, estimator: Score) -> Any:
    if estimator == "headroom":
        return np.log(d_plus + 0.5) - np.log(d_minus + 0.5)
    if estimator == "log_odds":
        return np.log((agree_minus + 0.5) / (d_minus + 0.5)) - np.log((agree_plus + 0.5) / (d_plus + 0.5))
    if estimator == "raw":
        return agree_minus / (agree_minus + d_minus) - agree_plus / (agree_plus + d_plus)
    raise ValueError(f'estimator is {estimator!r}; it is "headroom", "log_odds" or "raw"')


def asymmetry_examples(teacher_right: ArrayLike, agrees: ArrayLike, estimator: Score = "headroom") -> Values:
    """Per-example values whose mean is `asymmetry_score` of a network, or of the mean counts of several.

    They are score + influence, the delta method's linearisation: their spread over examples is the score's over new
    examples, and values of arm minus values of control serve the difference.

    Parameters
    ----------
    teacher_right : (N,) bool, where the teacher is right; (S, N) where S networks have teachers of their own
    agrees : (S, N) bool, where each network agrees with its teacher; or (N,), of one, or the mean over seeds of
        one teacher
    estimator : as in `asymmetry_score`

    Returns
    -------
    (N,) float64

    Raises
    ------
    ValueError
        shapes that do not fit, agreements outside [0, 1]
    UndefinedMetric
        a teacher that is never right, or never wrong

    Examples
    --------
    >>> values = asymmetry_examples([True, True, False, False], [True, False, True, False])
    >>> values.round(6)  # log(1½) − log(1½) = 0; a disagreement moves it by 4 / 1½ to its side
    array([ 0.      ,  2.666667,  0.      , -2.666667])
    """
    right, agree = np.asarray(teacher_right), np.asarray(agrees, np.float64)
    if right.dtype != np.bool_ or right.ndim not in (1, 2) or agree.ndim not in (1, 2):
        raise ValueError(
            f"teacher_right is bool of shape (N,) or (S, N), agrees (S, N) or (N,);"
            f" these are {right.dtype} {right.shape} and {agree.shape}"
        )
    if right.shape not in (agree.shape, agree.shape[1:]) or 0 in agree.shape:
        raise ValueError(f"teacher_right has shape {right.shape}, agrees {agree.shape}: both need the same examples")
    if not ((agree >= 0) & (agree <= 1)).all():  # NaN fails too
        raise ValueError("agrees must be true or false, or a share between 0 and 1, of every example")
    parts = (np.atleast_2d(part).mean(0) for part in (right.astype(np.float64), right * agree, ~right * agree))
    right_mean, agrees_right, agrees_wrong = parts
    return asymmetry_influence(right_mean, agrees_right, agrees_wrong, estimator)


def asymmetry_influence(
    right: ArrayLike, agrees_right: ArrayLike, agrees_wrong: ArrayLike, estimator: Score = "headroom"
) -> Values:
    """`asymmetry_examples` of many units at once, from how often each of three things happened to an example.

    Values are score + N Σ_j g_j (x_j − mean x_j), x the four indicators {teacher right or wrong} × {agrees, not} and
    g the score's derivative by their sums: ±1 / (sum + ½) for headroom and log_odds, by the quotient rule for raw.

    Parameters
    ----------
    right : (…, N) in [0, 1]: the teacher is right; a mean over the networks and teachers of a unit
    agrees_right : (…, N) in [0, right]: it is right and the network agrees
    agrees_wrong : (…, N) in [0, 1 − right]: it is wrong and the network agrees
    estimator : as in `asymmetry_score`

    Returns
    -------
    (…, N) float64; their mean over the last axis is the score of the mean counts

    Raises
    ------
    ValueError
        shapes that differ, values out of range
    UndefinedMetric
        a unit whose teachers are never right, or never wrong

    Examples
    --------
    >>> right, agrees = np.array([[1, 1, 0, 0]]), np.array([[1, 0, 1, 0]])
    >>> asymmetry_influence(right, right * agrees, (1 - right) * agrees, "raw")  # A⁻ − A⁺ = ½ − ½
    array([[-1.,  1.,  1., -1.]])
    """
    plus, agree_plus, agree_minus = (np.asarray(a, np.float64) for a in (right, agrees_right, agrees_wrong))
    if not plus.shape == agree_plus.shape == agree_minus.shape or plus.ndim == 0 or plus.size == 0:
        raise ValueError(f"shapes {plus.shape}, {agree_plus.shape}, {agree_minus.shape}: all must be one (…, N), N ≥ 1")
    d_plus, d_minus = plus - agree_plus, 1 - plus - agree_minus
    x = agree_plus, d_plus, agree_minus, d_minus
    if not all(part.min() >= -_SLACK for part in x):  # NaN fails too
        raise ValueError("agreements must be shares in [0, right] where the teacher is right, [0, 1 − right] elsewhere")
    n = plus.shape[-1]
    a_plus, b_plus, a_minus, b_minus = (part.sum(-1, keepdims=True) for part in x)
    score = asymmetry_score(a_plus, a_plus + b_plus, a_minus, a_minus + b_minus, estimator=estimator)
    if estimator == "raw":
        n_plus, n_minus = a_plus + b_plus, a_minus + b_minus
        g = -b_plus / n_plus**2, a_plus / n_plus**2, b_minus / n_minus**2, -a_minus / n_minus**2
    else:
        by_agreement = 1.0 if estimator == "log_odds" else 0.0
        g = (
            -by_agreement / (a_plus + 0.5), 1 / (b_plus + 0.5),
            by_agreement / (a_minus + 0.5), -1 / (b_minus + 0.5),
        )  # fmt: skip
    influence = sum(slope * part for slope, part in zip(g, x, strict=True))
    return score + n * (influence - np.mean(influence, axis=-1, keepdims=True))


# Gains as shares of the headroom ------------------------------------------------------------------------------------


def headroom_gains(
    arm_agrees: ArrayLike, control_agrees: ArrayLike, n: ArrayLike, teacher_is: Literal["right", "wrong"]
) -> tuple[Values, Values]:
    """Numerators and denominators of g = mean Δ / mean (1 − A_control), one pair a unit; g⁺ or g⁻ by the side counted.

    The share of what was left to gain. Under pure copying with probability p, g⁺ = g⁻ = p, and h = log((1 − g⁺) /
    (1 − g⁻)). The mean of the units' own ratios is biased (trap 4 of the module): take means, and Fieller's interval.

    Parameters
    ----------
    arm_agrees, control_agrees : agreements with the teacher on one side, a value a unit; counts, or mean counts
    n : how often the teacher is on that side
    teacher_is : "right" | "wrong", the side

    Returns
    -------
    Δ = (arm − control) / n and 1 − A_control = (n − control) / n, each (U,) float64

    Raises
    ------
    ValueError
        agreements below 0 or above n, or not finite
    UndefinedMetric
        n is 0; the mean Δ is negative, so that it is no share; the control leaves nothing to gain

    References
    ----------
    Fieller 1954, Journal of the Royal Statistical Society B 16:175, for the interval.

    Examples
    --------
    >>> gain, room = headroom_gains([55, 64], [40, 40], 100, "wrong")
    >>> gain.tolist(), room.tolist(), float(gain.mean() / room.mean())
    ([0.15, 0.24], [0.6, 0.6], 0.325)
    """
    if teacher_is not in ("right", "wrong"):
        raise ValueError(f'teacher_is is {teacher_is!r}; it is "right" or "wrong"')
    arm, control, count = np.broadcast_arrays(*(np.atleast_1d(np.asarray(a, np.float64)) for a in (
        arm_agrees, control_agrees, n,
    )))  # fmt: skip
    _check_counts(teacher_is, count, arm, control)
    gain, room = (arm - control) / count, (count - control) / count
    if room.mean() <= _SLACK:
        raise UndefinedMetric(f"the control always agrees where the teacher is {teacher_is}: nothing is left to gain")
    if gain.mean() < -_SLACK:
        raise UndefinedMetric(
            f"where the teacher is {teacher_is} the arm agrees less than its control (mean Δ {gain.mean():.3g}):"
            " a loss is no share of what was left to gain"
        )
    return gain, room


# Examples matched for difficulty ------------------------------------------------------------------------------------

HELD_OUT = 5  # controls that make the strata, at least: with fewer, too much difficulty is left within a stratum


def matched_asymmetry(
    teacher: ArrayLike, arm: ArrayLike, control: ArrayLike, held_out: ArrayLike, labels: ArrayLike
) -> float:
    """Asymmetry of one arm and control with examples matched for difficulty, by controls that are held out.

    Examples fall into strata by how many of the m held-out controls agree with the teacher. Let a_k and c_k be the
    disagreements with the teacher of control and arm in stratum k where the teacher is wrong, d_k and b_k those of
    control and arm where it is right, and n_k = a_k + b_k + c_k + d_k. The headroom asymmetry of the stratum is
    log(a_k / c_k) − log(d_k / b_k): the numbers of examples cancel, and it is the log odds ratio of the table (control,
    arm) × (wrong, right). Strata are combined as Mantel and Haenszel do:

        log (Σ_k a_k b_k / n_k) − log (Σ_k c_k d_k / n_k)

    An arm that copies with one probability p, wherever, has c_k about (1 − p) a_k and b_k about (1 − p) d_k: both sums
    are the same and the estimate is 0, as h is. Unlike h it nears 0 also where p depends on how likely a control is to
    agree, and the more so the larger m: in the simulation of tests/metrics/test_traps.py 5 controls leave a third of
    what h shows, 40 a twentieth. (Ratios of disagreement rates, combined by Mantel and Haenszel on each side alone,
    would be no matching: arm and control have the same examples, so their sums are the totals.)

    No ½ is added: the sums can do with empty cells. So copies of all examples change nothing. Swapping arm and control
    negates it.

    Parameters
    ----------
    teacher, arm, control : (N,) int, predicted classes
    held_out : (m, N) int, classes that controls predict which take no part in the contrast: networks made as the
        control was, neither the control itself nor any of the arm's own seed; m ≥ 5
    labels : (N,) int

    Returns
    -------
    float; above 0 where errors are taken over more than knowledge

    Raises
    ------
    ValueError
        shapes that differ, other than integers
    UndefinedMetric
        fewer than 5 held-out controls; a teacher that is never right, or never wrong; no stratum with disagreements
        of one network where the teacher is right and of the other where it is wrong

    See Also
    --------
    matched_counts, matched_score : the same from the pooled counts of a unit's students
    held_out_agreements : strata by cross-fitting

    References
    ----------
    Mantel & Haenszel 1959, Journal of the National Cancer Institute 22:719.

    Examples
    --------
    >>> teacher, labels = [0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 0, 0]
    >>> arm, control = [0, 0, 1, 1, 1, 0], [0, 1, 1, 1, 0, 0]
    >>> held_out = [[0, 0, 1, 1, 1, 0]] * 5
    >>> matched_asymmetry(teacher, arm, control, held_out, labels)  # in stratum 0 both disagree, in 5 the control alone
    0.0
    """
    t, a, c, held, y = (np.asarray(each) for each in (teacher, arm, control, held_out, labels))
    if t.ndim != 1 or held.ndim != 2 or not t.shape == a.shape == c.shape == held.shape[1:] == y.shape:
        raise ValueError(
            f"teacher, arm, control, held_out and labels have shapes {t.shape}, {a.shape}, {c.shape}, {held.shape},"
            f" {y.shape}: predicted classes of the same N examples are needed, those held out (m, N)"
        )
    if not all(each.dtype.kind in "iu" for each in (t, a, c, held, y)):
        raise ValueError("teacher, arm, control, held_out and labels are predicted classes, so integers")
    return float(matched_score(matched_counts(t == y, a == t, c == t, (held == t).sum(0), len(held))))


def held_out_agreements(controls_agree: ArrayLike) -> NDArray[np.int64]:
    """Strata by cross-fitting: for each student of one teacher, how many of the other students' controls agree with it.

    Parameters
    ----------
    controls_agree : (S, N) bool, where the control of each of S students agrees with the teacher that all S share

    Returns
    -------
    (S, N) int, 0 to S − 1; in row s control s takes no part

    Raises
    ------
    ValueError
        another type or shape
    UndefinedMetric
        fewer than 6 students, so fewer than 5 controls held out

    Examples
    --------
    >>> held_out_agreements([[True, False]] * 3 + [[False, False]] * 3).tolist()
    [[2, 0], [2, 0], [2, 0], [3, 0], [3, 0], [3, 0]]
    """
    agree = np.asarray(controls_agree)
    if agree.dtype != np.bool_ or agree.ndim != 2:
        raise ValueError(f"controls_agree is bool of shape (S, N); this is {agree.dtype} {agree.shape}")
    _check_held_out(len(agree) - 1)
    return agree.sum(0) - agree.astype(np.int64)


def matched_counts(
    teacher_right: ArrayLike, arm_agrees: ArrayLike, control_agrees: ArrayLike, held_out: ArrayLike, n_held_out: int
) -> Values:
    """Disagreements of arm and control with the teacher, by stratum and by whether the teacher is right.

    Parameters
    ----------
    teacher_right, arm_agrees, control_agrees : (…, N) bool, a row a student
    held_out : (…, N) int, how many of its held-out controls agree with its teacher
    n_held_out : how many there are, m

    Returns
    -------
    (…, m + 1, 2, 2) float64: stratum, teacher right or wrong, arm or control. Their means over students are what
    `matched_score` takes for a unit.

    Raises
    ------
    ValueError
        types or shapes that do not fit; agreements outside 0 to m
    UndefinedMetric
        m below 5; a teacher that is never right, or never wrong

    Examples
    --------
    >>> right, arm, control = [True, True, False], [True, False, False], [False, False, True]
    >>> counts = matched_counts(right, arm, control, [5, 0, 0], 5)
    >>> counts[0].tolist(), counts[5].tolist()
    ([[1.0, 1.0], [1.0, 0.0]], [[0.0, 1.0], [0.0, 0.0]])
    """
    right, arm, control, stratum = _matched_arrays(teacher_right, arm_agrees, control_agrees, held_out, n_held_out)
    n = right.shape[-1]
    for side, where in (("right", right), ("wrong", ~right)):
        if not where.any(-1).all():
            raise UndefinedMetric(_nowhere(side, n))
    rows, cells = right.size // n, 2 * (n_held_out + 1)
    cell = (2 * stratum + ~right).reshape(rows, n) + cells * np.arange(rows)[:, None]
    counts = [
        np.bincount(cell[~agrees.reshape(rows, n)], minlength=rows * cells).reshape(*right.shape[:-1], -1, 2)
        for agrees in (arm, control)
    ]
    return np.stack(counts, axis=-1).astype(np.float64)


def matched_score(counts: ArrayLike) -> np.float64 | Values:
    """The asymmetry of `matched_asymmetry` from the counts of `matched_counts`, or from their means over a unit.

    Parameters
    ----------
    counts : (…, strata, 2, 2), not negative

    Returns
    -------
    float64, of the leading shape

    Raises
    ------
    ValueError
        another shape, counts that are negative or not finite
    UndefinedMetric
        one of the two sums is 0

    Examples
    --------
    >>> score = matched_score([[[3, 6], [8, 10]], [[10, 12], [1, 2]]])  # 3·10/27 + 10·2/25 over 6·8/27 + 12·1/25
    >>> float(score.round(6))
    -0.166696
    """
    _, over, under = _mantel_haenszel(counts)
    return np.log(over.sum(-1)) - np.log(under.sum(-1))


def matched_influence(
    counts: ArrayLike,
    teacher_right: ArrayLike,
    arm_agrees: ArrayLike,
    control_agrees: ArrayLike,
    held_out: ArrayLike,
) -> Values:
    """Per-example values of students; averaged over a unit's students, their mean is `matched_score` of the unit.

    Values are score + N Σ_j g_j x_j, x the indicators of the counts' cells and g the score's derivative by them: the
    delta method's linearisation, the stratum being a property of the example. Averaged over a unit as its counts were,
    they have the spread that the score has over new examples.

    Parameters
    ----------
    counts : (…, m + 1, 2, 2), of each student the mean counts of its unit
    teacher_right, arm_agrees, control_agrees, held_out : (…, N), as in `matched_counts`

    Returns
    -------
    (…, N) float64

    Raises
    ------
    ValueError
        types or shapes that do not fit; counts or agreements out of range
    UndefinedMetric
        as `matched_score`

    Examples
    --------
    >>> right, arm, control = [True, True, False, False], [True, False, False, True], [False, True, True, False]
    >>> of = right, arm, control, [5, 5, 5, 5]
    >>> matched_influence(matched_counts(*of, 5), *of).tolist()  # log(1 · 1 / 4) − log(1 · 1 / 4)
    [-4.0, 4.0, -4.0, 4.0]
    """
    table, over, under = _mantel_haenszel(counts)
    right, arm, control, stratum = _matched_arrays(
        teacher_right, arm_agrees, control_agrees, held_out, table.shape[-3] - 1
    )
    if table.shape[:-3] != right.shape[:-1]:
        raise ValueError(f"counts have shape {table.shape}, students {right.shape}: each student has its unit's counts")
    above, below = (part.sum(-1, keepdims=True) for part in (over, under))
    # By the quotient rule ab / n moves by (b − ab / n) / n with a, by (a − ab / n) / n with b, by −ab / n² with c, d.
    by_n = (under / below - over / above)[..., None, None]
    by_cell = np.stack([1 / above, -1 / below, -1 / below, 1 / above], axis=-1).reshape(*above.shape, 2, 2)
    total = table.sum((-2, -1), keepdims=True)
    slopes = (by_n + by_cell * table[..., ::-1, ::-1]) / np.where(total > 0, total, 1)
    of_stratum = slopes.reshape(*right.shape[:-1], -1, 2)
    of_example = np.take_along_axis(of_stratum, (2 * stratum + ~right)[..., None], axis=-2)
    moved = of_example[..., 0] * ~arm + of_example[..., 1] * ~control
    return np.log(above) - np.log(below) + right.shape[-1] * moved


def _mantel_haenszel(counts: ArrayLike) -> tuple[Values, Values, Values]:
    """The counts, and by stratum the two products over its total whose sums are compared."""
    table = np.asarray(counts, np.float64)
    if table.ndim < 3 or table.shape[-2:] != (2, 2):
        raise ValueError(f"counts have shape {table.shape}: (…, strata, 2, 2) is needed, as of matched_counts")
    if not (np.isfinite(table).all() and (table >= 0).all()):
        raise ValueError("counts must be finite and not negative")
    total = table.sum((-2, -1))
    total = np.where(total > 0, total, 1)
    over = table[..., 0, 0] * table[..., 1, 1] / total
    under = table[..., 0, 1] * table[..., 1, 0] / total
    for part, where, other in ((over, "right", "wrong"), (under, "wrong", "right")):
        if not (part.sum(-1) > 0).all():
            raise UndefinedMetric(
                f"in no stratum the arm disagrees where the teacher is {where} and the control where it is {other}:"
                " the matched asymmetry does not exist; more examples, or the counts of several students, would give it"
            )
    return table, over, under


def _matched_arrays(
    teacher_right: ArrayLike, arm_agrees: ArrayLike, control_agrees: ArrayLike, held_out: ArrayLike, n_held_out: int
) -> tuple[Mask, Mask, Mask, NDArray[np.int64]]:
    _check_held_out(n_held_out)
    right, arm, control, stratum = (np.asarray(a) for a in (teacher_right, arm_agrees, control_agrees, held_out))
    kinds = [a.dtype.kind for a in (right, arm, control, stratum)]
    if kinds[:3] != ["b"] * 3 or kinds[3] not in "iu" or right.size == 0 or right.ndim == 0:
        raise ValueError(
            "teacher_right, arm_agrees and control_agrees are bool, held_out int, of one shape (…, N), N ≥ 1;"
            f" these are {right.dtype} {right.shape}, {arm.dtype} {arm.shape}, {control.dtype} {control.shape},"
            f" {stratum.dtype} {stratum.shape}"
        )
    if not right.shape == arm.shape == control.shape == stratum.shape:
        raise ValueError(
            f"shapes {right.shape}, {arm.shape}, {control.shape}, {stratum.shape} of teacher_right, arm_agrees,"
            " control_agrees and held_out: all need the same students and examples"
        )
    if stratum.min() < 0 or stratum.max() > n_held_out:
        raise ValueError(f"held_out is {stratum.min()} to {stratum.max()}: of {n_held_out} controls 0 to all agree")
    return right, arm, control, stratum.astype(np.int64, copy=False)


def _check_held_out(n_held_out: int) -> None:
    if n_held_out < HELD_OUT:
        raise UndefinedMetric(
            f"{n_held_out} held-out controls: at least {HELD_OUT} are needed to match examples for difficulty"
        )


def _predictions(name: str, labels: ArrayLike | None, **networks: ArrayLike) -> list[NDArray[np.intp]]:
    """Classes that each network predicts, then the labels."""
    logits = check_logits(**networks)
    y = check_labels(labels, logits[0], name)
    return [*(z.argmax(1) for z in logits), y]
