"""Metrics that are no mean over examples, as values of which they are one: their delta method's linearisation.

Each function takes what happened on each of N examples and returns N values whose mean is the metric, and whose spread
over examples is the metric's over new examples. `positive_transfer(..., per_example=True)` does the same. The metric of
a product or ratio of means m_j, f(m), has values f(m) + Σ_j ∂f/∂m_j (x_ij − m_j).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdstats.metrics._arrays import UndefinedMetric, Values
from kdstats.metrics.confidence import _bin

Mask = NDArray[np.bool_]


def _moved(value: float, *terms: tuple[float, NDArray[Any]]) -> Values:
    """value + Σ slope · (x − mean x)."""
    return value + sum(slope * (x - np.mean(x)) for slope, x in terms)


def error_consistency_examples(teacher_right: Mask, student_right: Mask) -> Values:
    """Linearised `kdstats.metrics.error_consistency`, κ = (c − e) / (1 − e).

    Raises
    ------
    UndefinedMetric
        both are always right, or both always wrong

    Examples
    --------
    >>> t, s = np.array([True, True, True, False]), np.array([True, True, False, False])
    >>> float(error_consistency_examples(t, s).mean())
    0.5
    """
    same = teacher_right == student_right
    a, b, c = teacher_right.mean(), student_right.mean(), same.mean()
    e = a * b + (1 - a) * (1 - b)
    if teacher_right.all() == student_right.all() and teacher_right.any() == student_right.any() and e == 1:
        always = "right" if a else "wrong"
        raise UndefinedMetric(f"teacher and student are both {always} on all {len(same)} examples: κ is 0/0")
    by_e = (c - 1) / (1 - e) ** 2
    return _moved(
        (c - e) / (1 - e),
        (1 / (1 - e), same),
        (by_e * (2 * b - 1), teacher_right),
        (by_e * (2 * a - 1), student_right),
    )


def copy_probability_examples(teacher_right: Mask, student_right: Mask) -> Values:
    """Linearised `kdstats.metrics.copy_probability`, which is P(s right | t right) − P(s right | t wrong).

    Raises
    ------
    UndefinedMetric
        the teacher is always right or always wrong

    Examples
    --------
    >>> t, s = np.array([True, True, True, False]), np.array([True, True, False, False])
    >>> round(float(copy_probability_examples(t, s).mean()), 6)
    0.666667
    """
    a = teacher_right.mean()
    if a in (0, 1):
        always = "right" if a else "wrong"
        raise UndefinedMetric(
            f"the teacher is {always} on all {len(teacher_right)} examples: copying cannot be told from independence"
        )
    high, low = student_right[teacher_right].mean(), student_right[~teacher_right].mean()
    return (
        high - low
        + np.where(teacher_right, (student_right - high) / a, -(student_right - low) / (1 - a))
    )  # fmt: skip


def capa_examples(overlap: Values, p_teacher: Values, p_student: Values, n_classes: int) -> Values:
    """Linearised `kdstats.metrics.capa`, (o − e) / (1 − e), from Σ_k P_k Q_k and the probabilities of the label.

    Raises
    ------
    UndefinedMetric
        both put all probability on the true classes

    Examples
    --------
    >>> p = np.array([0.75, 0.75])
    >>> abs(float(capa_examples(np.array([0.625, 0.625]), p, p, 2).mean())) < 1e-12
    True
    """
    o, a, b = overlap.mean(), p_teacher.mean(), p_student.mean()
    wrong = 1 / (n_classes - 1)
    e = a * b + (1 - a) * (1 - b) * wrong
    if 1 - e < 1e-9:
        raise UndefinedMetric(f"by chance alone teacher and student agree on all {len(overlap)} examples: κ_p is 0/0")
    by_e = (o - 1) / (1 - e) ** 2
    return _moved(
        (o - e) / (1 - e),
        (1 / (1 - e), overlap),
        (by_e * (b - (1 - b) * wrong), p_teacher),
        (by_e * (a - (1 - a) * wrong), p_student),
    )


def relative_flip_examples(teacher_right: Mask, student_right: Mask) -> Values:
    """Linearised relative `kdstats.metrics.negative_flip_rate`: flips / ((1 − error of teacher) · error of student).

    Raises
    ------
    UndefinedMetric
        the teacher is never right, or the student never wrong

    Examples
    --------
    >>> t, s = np.array([True, True, False, False]), np.array([True, False, True, False])
    >>> float(relative_flip_examples(t, s).mean())
    1.0
    """
    wrong = ~student_right
    if not (teacher_right.any() and wrong.any()):
        why = "the student is wrong on none" if teacher_right.any() else "the teacher is right on none"
        raise UndefinedMetric(f"{why} of the {len(wrong)} examples: there is nothing to flip")
    flips = teacher_right & wrong
    f, a, b = flips.mean(), teacher_right.mean(), wrong.mean()
    value = f / (a * b)
    return _moved(value, (1 / (a * b), flips), (-value / a, teacher_right), (-value / b, wrong))


def calibration_error_examples(confidence: Values, right: Mask, bins: int = 15) -> Values:
    """Linearised `kdstats.metrics.expected_calibration_error`: ± (right − confidence), by the sign of the bin's sum.

    The signs are taken as known, which they are but for bins whose gap is about 0.

    Examples
    --------
    >>> calibration_error_examples(np.array([0.5, 0.5]), np.array([True, True])).tolist()
    [0.5, 0.5]
    """
    gap = right - confidence
    where = _bin(confidence, bins)
    sign = np.sign(np.bincount(where, gap, minlength=bins))
    return sign[where] * gap


def agreement_given_class_examples(
    teacher: NDArray[np.integer[Any]], student: NDArray[np.integer[Any]], labels: NDArray[np.integer[Any]],
    n_classes: int,
) -> Values:  # fmt: skip
    """Linearised agreement above what independent answers given the class would have: (o − e) / (1 − e).

    e = Σ_y (n_y / N) Σ_k P(t = k | y) P(s = k | y): both know the class's usual errors, and nothing of the example.

    Parameters
    ----------
    teacher, student, labels : (N,) classes in [0, n_classes)

    Raises
    ------
    UndefinedMetric
        answers depend on the class alone, so that independent ones agree as well

    Examples
    --------
    >>> t, s = np.array([0, 0, 1, 1]), np.array([0, 0, 1, 1])
    >>> float(agreement_given_class_examples(t, s, np.zeros(4, int), 2).mean())  # o = 1, e = ½
    1.0
    """
    n = len(labels)
    by_class = np.bincount(labels, minlength=n_classes)
    keys = [labels.astype(np.int64) * n_classes + said for said in (teacher, student)]
    # counts of (label, answer) that occur: C² cells would be a million of ImageNet
    pairs, where = np.unique(np.concatenate(keys), return_inverse=True)
    t_of, s_of = where[:n], where[n:]
    t_count, s_count = (np.bincount(w, minlength=len(pairs)).astype(np.float64) for w in (t_of, s_of))
    size = by_class[pairs // n_classes].astype(np.float64)
    each = t_count * s_count / size
    e = each.sum() / n
    if 1 - e < 1e-12:
        raise UndefinedMetric("the answers depend on the class alone: agreement given the class is 0/0")
    of_class = np.bincount(pairs // n_classes, t_count * s_count / size**2, minlength=n_classes)
    # e = Σ t s / (n_y N): an example adds to t_k, s_k and n_y of its class
    moves = s_count[t_of] / size[t_of] + t_count[s_of] / size[s_of] - of_class[labels]
    same = teacher == student
    o = same.mean()
    return _moved((o - e) / (1 - e), (1 / (1 - e), same), ((o - 1) / (1 - e) ** 2, moves))
