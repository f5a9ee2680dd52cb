"""A student against its teacher on one set of examples: how alike are their answers?

teacher and student are logits (N, C) of any real dtype, labels (N,) integers in [0, C); P and Q are their softmax
outputs at temperature 1. Sums are in float64, and classes tied for the largest logit give the first of them.
per_example returns (N,) float64 values whose mean is the metric. Every function raises ValueError, naming the row, for
logits that are not finite, shapes that differ, labels outside the classes, labels that are needed and absent, and no
examples; UndefinedMetric (a ValueError) where sound input gives 0/0.
"""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kdstats.metrics._arrays import (
    Labels,
    Logits,
    UndefinedMetric,
    Values,
    by_example,
    check_labels,
    check_logits,
    log_softmax,
    mean_or_each,
    refuse_per_example,
    softmax,
)


def agreement(
    teacher: ArrayLike, student: ArrayLike, labels: ArrayLike | None = None, *, per_example: bool = False
) -> float | Values:
    """Share of examples on which both predict the same class: mean_i 1[argmax P_i = argmax Q_i].

    Parameters
    ----------
    teacher, student : (N, C)
    labels : not used
    per_example : return the (N,) zeros and ones instead of their mean

    Returns
    -------
    float in [0, 1], or (N,) float64

    References
    ----------
    Stanton et al. 2021, arXiv 2106.05945 (top-1 agreement).

    Examples
    --------
    >>> agreement([[2.0, 1.0], [0.0, 3.0]], [[1.0, 0.0], [1.0, 0.0]])
    0.5
    """
    t, s = _checked(teacher, student, labels)
    return mean_or_each(t.argmax(1) == s.argmax(1), per_example)


def activation_distance(
    teacher: ArrayLike, student: ArrayLike, labels: ArrayLike | None = None, *, per_example: bool = False
) -> float | Values:
    """Mean over examples of the Euclidean distance of the softmax outputs, ‖P_i − Q_i‖₂.

    Parameters
    ----------
    teacher, student : (N, C)
    labels : not used
    per_example : return the (N,) values instead of their mean

    Returns
    -------
    float in [0, √2], or (N,) float64

    References
    ----------
    Mason-Williams et al. 2025, arXiv 2510.12615.

    Examples
    --------
    >>> round(activation_distance([[0.0, 800.0]], [[800.0, 0.0]]), 6)  # √2
    1.414214
    """

    def distances(t: Logits, s: Logits) -> Values:
        gap = softmax(t)
        gap -= softmax(s)
        return np.sqrt(np.einsum("nk,nk->n", gap, gap))

    return mean_or_each(by_example(distances, *_checked(teacher, student, labels)), per_example)


def js_divergence(
    teacher: ArrayLike, student: ArrayLike, labels: ArrayLike | None = None, *, per_example: bool = False
) -> float | Values:
    """Mean over examples of ½ KL(P_i ‖ M_i) + ½ KL(Q_i ‖ M_i), M = (P + Q) / 2: in nats, without a root.

    Parameters
    ----------
    teacher, student : (N, C)
    labels : not used
    per_example : return the (N,) values instead of their mean

    Returns
    -------
    float in [0, log 2], or (N,) float64; rounding below 0 is cut. Its root is the Jensen-Shannon distance of scipy.

    References
    ----------
    Lin 1991, IEEE Transactions on Information Theory 37(1); Mason-Williams et al. 2025, arXiv 2510.12615.

    Examples
    --------
    >>> round(js_divergence([[0.0, 800.0]], [[800.0, 0.0]]), 6)  # log 2
    0.693147
    """

    def divergences(t: Logits, s: Logits) -> Values:
        log_p, log_q = log_softmax(t), log_softmax(s)
        p, q = np.exp(log_p), np.exp(log_q)
        log_m = np.log(np.maximum((p + q) / 2, np.finfo(np.float64).tiny))  # where it is 0, so are p and q
        each = np.einsum("nk,nk->n", p, log_p - log_m) + np.einsum("nk,nk->n", q, log_q - log_m)
        return np.maximum(each / 2, 0)

    return mean_or_each(by_example(divergences, *_checked(teacher, student, labels)), per_example)


def fidelity_kl(
    teacher: ArrayLike, student: ArrayLike, labels: ArrayLike | None = None, *, per_example: bool = False
) -> float | Values:
    """Mean over examples of KL(P_i ‖ Q_i) = Σ_k P_ik (log P_ik − log Q_ik), teacher first, in nats, temperature 1.

    Parameters
    ----------
    teacher, student : (N, C)
    labels : not used
    per_example : return the (N,) values instead of their mean

    Returns
    -------
    float ≥ 0, or (N,) float64; rounding below 0 is cut. Finite, because the logarithms come from the logits.

    References
    ----------
    Stanton et al. 2021, arXiv 2106.05945 (predictive KL).

    Examples
    --------
    >>> import math
    >>> round(fidelity_kl([[0.0, 0.0]], [[math.log(3), 0.0]]), 6)  # ½ log(½ / ¾) + ½ log(½ / ¼)
    0.143841
    """

    def divergences(t: Logits, s: Logits) -> Values:
        log_p, log_q = log_softmax(t), log_softmax(s)
        return np.maximum(np.einsum("nk,nk->n", np.exp(log_p), log_p - log_q), 0)

    return mean_or_each(by_example(divergences, *_checked(teacher, student, labels)), per_example)


def rank_disagreement(
    teacher: ArrayLike,
    student: ArrayLike,
    labels: ArrayLike | None = None,
    *,
    per_example: bool = False,
    method: Literal["kendall", "positions"] = "kendall",
) -> float | Values:
    """How differently the two rank the classes of an example, averaged over examples.

    "kendall": (1 − τ_b) / 2, with τ_b = (concordant − discordant pairs of classes) / √(pairs that the teacher does not
    tie · pairs that the student does not tie). "positions": share of the ranks 1 … C that hold different classes.

    Parameters
    ----------
    teacher, student : (N, C)
    labels : not used
    per_example : return the (N,) values instead of their mean
    method : the papers name the metric without a formula that could be read, so the choice is a parameter

    Returns
    -------
    float in [0, 1], or (N,) float64. Under "kendall" 0 is the same order, 1 the reverse, ½ no association. A network
    that gives all classes one logit has no order and τ_b is 0/0: it counts as no association, ½, or as the same order,
    0, where both do so. "positions" breaks ties by class index, so only without ties is it free of the classes' order.

    Notes
    -----
    "kendall" compares C(C − 1)/2 pairs of classes an example: 10,000 examples take 2 ms with 10 classes, .2 s with 100.

    References
    ----------
    Kendall 1945, Biometrika 33(3) (τ_b); Mason-Williams et al. 2025, arXiv 2510.12615 (rank disagreement).

    Examples
    --------
    >>> teacher, student = [[3.0, 2.0, 1.0]], [[3.0, 1.0, 2.0]]  # one of three pairs is reversed: τ = 1/3
    >>> round(rank_disagreement(teacher, student), 6)
    0.333333
    >>> round(rank_disagreement(teacher, student, method="positions"), 6)
    0.666667
    """
    t, s = _checked(teacher, student, labels)
    if method == "kendall":
        return mean_or_each(by_example(_kendall, t, s), per_example)
    if method == "positions":
        return mean_or_each(by_example(_moved_positions, t, s), per_example)
    raise ValueError(f'method is {method!r}; it is "kendall" or "positions"')


def _kendall(t: Logits, s: Logits) -> Values:
    """Pairs of classes are counted by merging (Knight 1966): C log C steps an example, all examples at once."""
    classes = t.shape[1]
    first, second = _dense_ranks(t), _dense_ranks(s)
    pairs = classes * (classes - 1) // 2
    untied_t, untied_s = (pairs - _tied_pairs(rank) for rank in (first, second))
    both = np.sort(first * classes + second, axis=1)  # by t, then by s: pairs that t ties are no inversions
    tied_both = _tied_pairs(both)
    discordant = _inversions(both % classes)
    balance = untied_t + untied_s - pairs + tied_both - 2 * discordant
    tau = balance / np.sqrt(np.maximum(untied_t * untied_s, 1))
    return np.where((untied_t == 0) & (untied_s == 0), 0, (1 - tau) / 2)


def _dense_ranks(z: Logits) -> NDArray[np.int64]:
    """0, 1, … by size within each row, the same for equal values."""
    order = np.argsort(z, axis=1, kind="stable")
    steps = np.diff(np.take_along_axis(z, order, axis=1), axis=1, prepend=z.min(1, keepdims=True)) != 0
    ranks = np.empty(z.shape, np.int64)
    np.put_along_axis(ranks, order, np.cumsum(steps, axis=1), axis=1)
    return ranks


def _tied_pairs(ranks: NDArray[np.int64]) -> NDArray[np.int64]:
    """Pairs of equal values in each row."""
    ascending = np.sort(ranks, axis=1)
    place = np.arange(ranks.shape[1])
    begins = np.where(np.diff(ascending, axis=1, prepend=-1) != 0, place, 0)
    return (place - np.maximum.accumulate(begins, axis=1)).sum(1)  # each with those equal to it before it


def _inversions(ranks: NDArray[np.int64]) -> NDArray[np.int64]:
    """Pairs of each row whose first is larger than their second: counted where sorted halves are merged."""
    n, length = ranks.shape
    padded = np.full((n, 1 << (length - 1).bit_length()), length, np.uint16 if length < 2**16 else np.int64)
    padded[:, :length] = ranks  # what is added is largest and last, so in no inversion
    found = np.zeros(n, np.int64)
    half = 1
    while half < padded.shape[1]:
        blocks = padded.reshape(n, -1, 2 * half)
        order = np.argsort(blocks, axis=2, kind="stable")  # of equal values the first half's come first
        place = np.where(order >= half, np.arange(2 * half), 0).sum((1, 2))
        # an element of the second half at place p, the jth of its half, has p - j of the first half before it
        found += blocks.shape[1] * (half * half + half * (half - 1) // 2) - place
        padded = np.take_along_axis(blocks, order, axis=2).reshape(n, -1)
        half *= 2
    return found


def _moved_positions(t: Logits, s: Logits) -> Values:
    orders = [np.argsort(-z.astype(np.float64), axis=1, kind="stable") for z in (t, s)]
    return (orders[0] != orders[1]).mean(1)


def error_consistency(
    teacher: ArrayLike,
    student: ArrayLike,
    labels: ArrayLike | None = None,
    *,
    per_example: bool = False,
    corrected: bool = False,
) -> float:
    """Cohen's κ of being right: (c_obs − c_exp) / (1 − c_exp), c_exp = a₁a₂ + (1 − a₁)(1 − a₂).

    c_obs is the share of examples on which both are right or both are wrong, a₁ and a₂ the accuracies.

    Parameters
    ----------
    teacher, student : (N, C)
    labels : (N,), needed
    per_example : not defined, since c_exp is a product of two means
    corrected : N κ / (N − 1 + κ), for small N, instead of κ

    Returns
    -------
    float in [−1, 1] (κ): 0 for independent errors, 1 for the same

    Raises
    ------
    UndefinedMetric
        both are always right, or both always wrong; corrected: N − 1 + κ = 0 (N of 1 or 2)

    References
    ----------
    Geirhos et al. 2020, arXiv 2006.16736 (κ); Klein et al. 2025, arXiv 2507.06645 (correction).

    Examples
    --------
    >>> right, wrong = [1.0, 0.0], [0.0, 1.0]
    >>> teacher = [right, right, right, wrong]
    >>> student = [right, right, wrong, wrong]  # c_obs = 3/4, c_exp = 3/4 · 1/2 + 1/4 · 1/2 = 1/2
    >>> error_consistency(teacher, student, [0, 0, 0, 0])
    0.5
    >>> round(error_consistency(teacher, student, [0, 0, 0, 0], corrected=True), 6)  # 4 · ½ / 3½
    0.571429
    """
    refuse_per_example(per_example, "error_consistency", "the agreement expected by chance is a product of two means")
    n, right_t, right_s, same = _rights(teacher, student, labels, "error_consistency")
    return _kappa(n, right_t, right_s, same, corrected)


def copy_probability(
    teacher: ArrayLike,
    student: ArrayLike,
    labels: ArrayLike | None = None,
    *,
    per_example: bool = False,
    corrected: bool = False,
) -> float:
    """With what probability a student copies its teacher, if otherwise its errors are independent of the teacher's.

    κ · [1 − (a₁a₂ + (1 − a₁)(1 − a₂))] / [1 − (a₁² + (1 − a₁)²)], a₁ the accuracy of the teacher (who is copied), a₂ of
    the student, κ the error consistency. Not symmetric: it is the regression slope of "student right" on "teacher
    right".

    Parameters
    ----------
    teacher, student : (N, C)
    labels : (N,), needed
    per_example : not defined, since it is a ratio of products of means
    corrected : with the small-sample κ of `error_consistency`

    Returns
    -------
    float; an estimate of a probability that can leave [0, 1], and is negative where errors avoid each other

    Raises
    ------
    UndefinedMetric
        the teacher is always right or always wrong, so that copying cannot be told

    References
    ----------
    Klein et al. 2025, arXiv 2507.06645 (copy model).

    Examples
    --------
    >>> right, wrong = [1.0, 0.0], [0.0, 1.0]
    >>> teacher = [right, right, right, wrong]
    >>> student = [right, right, wrong, wrong]  # right on 2/3 of what the teacher has right, on 0 of the rest
    >>> round(copy_probability(teacher, student, [0, 0, 0, 0]), 6)
    0.666667
    """
    refuse_per_example(per_example, "copy_probability", "it is a ratio of products of means")
    n, right_t, right_s, same = _rights(teacher, student, labels, "copy_probability")
    if right_t in (0, n):
        always = "right" if right_t else "wrong"
        raise UndefinedMetric(f"the teacher is {always} on all {n} examples: copying cannot be told from independence")
    chance = n**2 - (right_t * right_s + (n - right_t) * (n - right_s))
    return _kappa(n, right_t, right_s, same, corrected) * chance / (2 * right_t * (n - right_t))


def _rights(teacher: ArrayLike, student: ArrayLike, labels: ArrayLike | None, name: str) -> tuple[int, int, int, int]:
    """Numbers of examples: all, teacher right, student right, both right or both wrong."""
    t, s = check_logits(teacher=teacher, student=student)
    y = check_labels(labels, t, name)
    right_t, right_s = t.argmax(1) == y, s.argmax(1) == y
    return len(y), int(right_t.sum()), int(right_s.sum()), int((right_t == right_s).sum())


def _kappa(n: int, right_t: int, right_s: int, same: int, corrected: bool) -> float:
    # in integers, so that independence gives 0 and 0/0 is seen
    expected = right_t * right_s + (n - right_t) * (n - right_s)
    if expected == n**2:
        always = "right" if right_t else "wrong"
        raise UndefinedMetric(f"teacher and student are both {always} on all {n} examples: κ is 0/0")
    kappa = (n * same - expected) / (n**2 - expected)
    if not corrected:
        return kappa
    if n - 1 + kappa == 0:
        raise UndefinedMetric(f"the corrected κ of {n} examples is {n * kappa:g}/0; more examples are needed")
    return n * kappa / (n - 1 + kappa)


def capa(
    teacher: ArrayLike, student: ArrayLike, labels: ArrayLike | None = None, *, per_example: bool = False
) -> float:
    """Chance-adjusted probabilistic agreement κ_p = (o − e) / (1 − e).

    o = mean_i Σ_k P_ik Q_ik; e = p̄₁p̄₂ + (1 − p̄₁)(1 − p̄₂) / (C − 1), p̄ a network's mean probability of the true
    class: what two networks of these accuracies would agree if their errors were independent and spread evenly.

    Parameters
    ----------
    teacher, student : (N, C)
    labels : (N,), needed
    per_example : not defined, since e is a product of two means

    Returns
    -------
    float ≤ 1; it is 1 only for equal and certain predictions, so capa(z, z) < 1 for most z

    Raises
    ------
    UndefinedMetric
        both put all probability on the true classes (1 − e below 1e-9)

    References
    ----------
    Goel et al. 2025, arXiv 2502.04313.

    Examples
    --------
    >>> import math
    >>> sure = [[math.log(3), 0.0], [0.0, math.log(3)]]  # p = ¾ on the label: o = ¾² + ¼² = 5/8, e = 5/8
    >>> round(capa(sure, sure, [0, 1]), 6) + 0.0
    0.0
    >>> right_and_wrong = [[9e9, 0.0], [9e9, 0.0]]  # o = 1, e = ½·½ + ½·½
    >>> capa(right_and_wrong, right_and_wrong, [0, 1])
    1.0
    """
    refuse_per_example(per_example, "capa", "the agreement expected by chance is a product of two means")

    def parts(t: Logits, s: Logits, y: Labels) -> Values:
        p, q = softmax(t), softmax(s)
        each = np.arange(len(y))
        return np.stack([np.einsum("nk,nk->n", p, q), p[each, y], q[each, y]])

    t, s = check_logits(teacher=teacher, student=student)
    y = check_labels(labels, t, "capa")
    observed, p1, p2 = by_example(parts, t, s, y).mean(1)
    expected = p1 * p2 + (1 - p1) * (1 - p2) / (t.shape[1] - 1)
    if 1 - expected < 1e-9:
        raise UndefinedMetric(f"by chance alone teacher and student agree on all {len(y)} examples: κ_p is 0/0")
    return float((observed - expected) / (1 - expected))


def negative_flip_rate(
    teacher: ArrayLike,
    student: ArrayLike,
    labels: ArrayLike | None = None,
    *,
    per_example: bool = False,
    relative: bool = False,
) -> float | Values:
    """Share of examples that the teacher has right and the student wrong: mean_i 1[t_i = y_i, s_i ≠ y_i].

    Parameters
    ----------
    teacher, student : (N, C); the teacher is the old network, the student the new one
    labels : (N,), needed
    per_example : return the (N,) zeros and ones instead of their mean
    relative : divide by (1 − error of the teacher) · (error of the student), the rate of independent networks

    Returns
    -------
    float in [0, 1], or (N,) float64; relative: float ≥ 0, 1 under independence

    Raises
    ------
    UndefinedMetric
        relative, and the teacher is never right or the student never wrong

    References
    ----------
    Yan et al. 2021, arXiv 2011.09161.

    Examples
    --------
    >>> teacher, student = [[1.0, 0.0], [1.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]]
    >>> negative_flip_rate(teacher, student, [0, 0]), negative_flip_rate(teacher, student, [0, 0], relative=True)
    (0.5, 1.0)
    """
    t, s = check_logits(teacher=teacher, student=student)
    y = check_labels(labels, t, "negative_flip_rate")
    right, wrong = t.argmax(1) == y, s.argmax(1) != y
    if not relative:
        return mean_or_each(right & wrong, per_example)
    refuse_per_example(per_example, "the relative negative_flip_rate", "it is divided by a product of two means")
    if not (right.any() and wrong.any()):
        why = "the student is wrong on none" if right.any() else "the teacher is right on none"
        raise UndefinedMetric(f"{why} of the {len(y)} examples: there is nothing to flip, and the relative rate is 0/0")
    return float((right & wrong).mean() / (right.mean() * wrong.mean()))


def _checked(teacher: ArrayLike, student: ArrayLike, labels: ArrayLike | None) -> tuple[Logits, Logits]:
    t, s = check_logits(teacher=teacher, student=student)
    if labels is not None:  # not used, but labels of other examples are a mistake here too
        check_labels(labels, t)
    return t, s
