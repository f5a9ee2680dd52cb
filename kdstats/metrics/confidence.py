"""One network against the labels: accuracy, proper scores, calibration, entropy.

logits are (N, C) of any real dtype, labels (N,) integers in [0, C); sums are in float64, and classes tied for the
largest logit give the first of them. Every function raises ValueError, naming the row, for logits that are not finite,
labels outside the classes, numbers of rows that differ, and no examples.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kdstats.metrics._arrays import (
    Labels,
    Logits,
    Values,
    blocks,
    by_example,
    check_labels,
    check_logits,
    log_softmax,
    mean_or_each,
    softmax,
)


def accuracy(logits: ArrayLike, labels: ArrayLike, *, per_example: bool = False) -> float | Values:
    """Share of examples whose largest logit is the label's: mean_i 1[argmax z_i = y_i].

    Parameters
    ----------
    logits : (N, C)
    labels : (N,)
    per_example : return the (N,) zeros and ones instead of their mean

    Returns
    -------
    float in [0, 1], or (N,) float64

    Examples
    --------
    >>> accuracy([[2.0, 1.0], [0.0, 3.0], [1.0, 1.0]], [0, 0, 0])  # the tie goes to class 0
    0.6666666666666666
    """
    z, y = _checked(logits, labels)
    return mean_or_each(z.argmax(1) == y, per_example)


def cross_entropy(logits: ArrayLike, labels: ArrayLike, *, per_example: bool = False) -> float | Values:
    """Mean over examples of −log softmax(z_i)[y_i], in nats.

    Parameters
    ----------
    logits : (N, C)
    labels : (N,)
    per_example : return the (N,) values instead of their mean

    Returns
    -------
    float ≥ 0, or (N,) float64; finite also where softmax underflows.

    Examples
    --------
    >>> round(cross_entropy([[0.0, 0.0], [1000.0, 0.0]], [0, 1]), 6)  # (log 2 + 1000) / 2
    500.346574
    """
    z, y = _checked(logits, labels)
    return mean_or_each(by_example(lambda z, y: -_of_label(log_softmax(z), y), z, y), per_example)


def brier_score(logits: ArrayLike, labels: ArrayLike, *, per_example: bool = False) -> float | Values:
    """Mean over examples of Σ_k (p_ik − 1[k = y_i])², summed over classes (Brier 1950).

    Parameters
    ----------
    logits : (N, C)
    labels : (N,)
    per_example : return the (N,) values instead of their mean

    Returns
    -------
    float in [0, 2], or (N,) float64. With two classes it is twice the form that counts one class.

    Examples
    --------
    >>> brier_score([[0.0, 0.0]], [1])
    0.5
    """

    def scores(z: Logits, y: Labels) -> Values:
        p = softmax(z)
        p[np.arange(len(y)), y] -= 1
        return np.einsum("nk,nk->n", p, p)

    z, y = _checked(logits, labels)
    return mean_or_each(by_example(scores, z, y), per_example)


def entropy(logits: ArrayLike, *, per_example: bool = False) -> float | Values:
    """Mean over examples of −Σ_k p_ik log p_ik, in nats.

    Parameters
    ----------
    logits : (N, C)
    per_example : return the (N,) values instead of their mean

    Returns
    -------
    float in [0, log C], or (N,) float64

    Examples
    --------
    >>> round(entropy([[1.0, 1.0, 1.0, 1.0]]), 6)  # log 4
    1.386294
    """

    def entropies(z: Logits) -> Values:
        log_p = log_softmax(z)
        return -np.einsum("nk,nk->n", np.exp(log_p), log_p)

    (z,) = check_logits(logits=logits)
    return mean_or_each(by_example(entropies, z), per_example)


def expected_calibration_error(logits: ArrayLike, labels: ArrayLike, *, bins: int = 15) -> float:
    """ECE of the top label: Σ_b (n_b / N) · |accuracy_b − confidence_b|, L1, equal-width bins (lo, hi].

    Parameters
    ----------
    logits : (N, C)
    labels : (N,)
    bins : of equal width on [0, 1]

    Returns
    -------
    float in [0, 1]. Biased upwards, the more the fewer examples a bin holds; so it has no per-example values whose
    mean it is.

    References
    ----------
    Guo et al. 2017, arXiv 1706.04599 (bins and norm).

    Examples
    --------
    >>> expected_calibration_error([[0.0, 0.0], [0.0, 0.0]], [0, 0])  # says .5, is right always
    0.5
    """
    z, y = _checked(logits, labels)

    def confidences(z: Logits) -> Values:
        z = z.astype(np.float64)
        z -= z.max(1, keepdims=True)
        return 1 / np.exp(z).sum(1)  # so that k equal logits give 1/k to the last bit, and the bin that holds 1/k

    confidence = by_example(confidences, z)
    gaps = np.bincount(_bin(confidence, bins), (z.argmax(1) == y) - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(y))


def class_wise_calibration_error(logits: ArrayLike, labels: ArrayLike, *, bins: int = 15) -> float:
    """Mean over all C classes of the ECE of "is it class k?": Σ_b (n_kb / N) · |share of k in b − mean p_k in b|.

    Parameters
    ----------
    logits : (N, C)
    labels : (N,)
    bins : of equal width on [0, 1], (lo, hi]; a probability that underflows to 0 is in the first

    Returns
    -------
    float in [0, 1]; small by construction where C is large, since most p_k are near 0.

    References
    ----------
    Kull et al. 2019, arXiv 1910.12656; Nixon et al. 2019, arXiv 1904.01685 (as static calibration error).

    Examples
    --------
    >>> class_wise_calibration_error([[0.0, 0.0], [0.0, 0.0]], [0, 0])  # .5 too low for class 0, too high for class 1
    0.5
    """
    z, y = _checked(logits, labels)
    n, classes = z.shape
    gaps = np.zeros(classes * bins)
    for rows in blocks(n, classes):
        p = softmax(z[rows])
        cell = _bin(p, bins) + bins * np.arange(classes)
        p[np.arange(len(p)), y[rows]] -= 1
        gaps += np.bincount(cell.ravel(), p.ravel(), minlength=len(gaps))
    return float(np.abs(gaps).sum() / n / classes)


def _checked(logits: ArrayLike, labels: ArrayLike) -> tuple[Logits, Labels]:
    (z,) = check_logits(logits=logits)
    return z, check_labels(labels, z)


def _of_label(values: Values, y: Labels) -> Values:
    return values[np.arange(len(y)), y]


def _bin(p: Values, bins: int) -> NDArray[np.intp]:
    """Index of the bin (i/bins, (i+1)/bins] that holds p."""
    if bins < 1:
        raise ValueError(f"bins is {bins}; at least one is needed")
    return np.maximum(np.searchsorted(np.arange(bins + 1) / bins, p, side="left") - 1, 0)
