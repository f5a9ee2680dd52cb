"""What a student took over from its teacher, where the teacher is right and where it is wrong: A⁺, A⁻ and counts.

t, s, c: classes that teacher, student and control predict (the first of tied ones), y the label. A⁺ = P(s = t | t = y),
A⁻ = P(s = t | t ≠ y). Gains over the control: Δ⁺, Δ⁻. All of this describes. None of it says whether errors are handed
over more than knowledge: h and the raw Δ⁻ − Δ⁺ bear no verdict, against no control (docs/errors-and-knowledge.md).

- Raw: a student that copies its teacher with probability p on every input, and is the control otherwise, gains
  Δ = p (1 − A_control). A⁻ of the control is nearly always below its A⁺, so Δ⁻ > Δ⁺ without any preference for errors.
- h cancels that, and is still positive under pure copying wherever untaught students are less accurate than their
  teachers; against a control of labels alone any change of accuracy moves it.

What students inherit is in `kdstats.metrics.inherited`.

Input as in `kdstats.metrics.similarity`, with the same errors.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kdstats.metrics._arrays import UndefinedMetric, Values, check_labels, check_logits

Score = Literal["headroom", "raw"]
Mask = NDArray[np.bool_]

# What has to be said beside each number that describes an asymmetry.
ESTIMATORS = {
    "headroom": "h is above 0 under pure copying where untaught students are less accurate than their teachers",
    "raw": "as in Mason-Williams et al.; positive under pure copying",
}


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
    headroom : h = log((1 − A⁻_control) / (1 − A⁻_student)) − log((1 − A⁺_control) / (1 − A⁺_student)), counts + ½;
        describes
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
    Transfer. Swapping student and control negates gains, net counts and asymmetries, which only describe.

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
    asymmetry: dict[Score, float | None] = dict.fromkeys(("headroom", "raw"))
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
    cancels;
    "raw": A⁻ − A⁺ = agree⁻ / n⁻ − agree⁺ / n⁺, as they are.

    Only differences of two networks under one teacher mean anything: n does not cancel between teachers. They describe.

    Parameters
    ----------
    agree_correct, n_correct : agreements with the teacher where it is right, and how often it is; counts, or mean
        counts over seeds or teachers; any shapes that broadcast
    agree_wrong, n_wrong : the same where the teacher is wrong
    estimator : "headroom" | "raw"

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
    if estimator == "raw":
        return agree_minus / (agree_minus + d_minus) - agree_plus / (agree_plus + d_plus)
    raise ValueError(f'estimator is {estimator!r}; it is "headroom" or "raw"')


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
    g the score's derivative by their sums: ±1 / (disagreements + ½) for headroom, by the quotient rule for raw.

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
        g = 0.0, 1 / (b_plus + 0.5), 0.0, -1 / (b_minus + 0.5)
    influence = sum(slope * part for slope, part in zip(g, x, strict=True))
    return score + n * (influence - np.mean(influence, axis=-1, keepdims=True))


def _predictions(name: str, labels: ArrayLike | None, **networks: ArrayLike) -> list[NDArray[np.intp]]:
    """Classes that each network predicts, then the labels."""
    logits = check_logits(**networks)
    y = check_labels(labels, logits[0], name)
    return [*(z.argmax(1) for z in logits), y]
