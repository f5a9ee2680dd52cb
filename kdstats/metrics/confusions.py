"""What a network says of each class, and what another takes it for: two matrices over classes, and how alike they are.

logits are (N, C) of any real dtype, labels and predictions (N,) integers in [0, C); sums are in float64. ValueError for
what is not that, UndefinedMetric where sound input has no value: a class without examples, rows without mistakes.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from kdstats.metrics._arrays import UndefinedMetric, Values, check_labels, check_logits
from kdstats.metrics.relations import _checked_temperature, _off_diagonal, _tempered_softmax


def class_average(
    logits: ArrayLike, labels: ArrayLike, temperature: float = 1.0, *, weights: ArrayLike | None = None
) -> Values:
    """What a network says of each class: row y is the mean over examples of class y of softmax(z / T).

    Parameters
    ----------
    logits : (N, C), C ≥ 3
    labels : (N,), with every class
    temperature : T > 0
    weights : (N,), not negative, of the examples: how often a bootstrap drew each

    Returns
    -------
    (C, C) float64; rows sum to 1

    References
    ----------
    Kang & Kim, arXiv 2606.03052: the teacher's dark knowledge.

    Examples
    --------
    >>> from math import log
    >>> z = [[log(8), 0.0, 0.0], [0.0, log(8), 0.0], [0.0, 0.0, log(8)], [log(8), 0.0, 0.0]]
    >>> class_average(z, [0, 1, 2, 2]).round(3).tolist()
    [[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.45, 0.1, 0.45]]
    """
    (z,) = check_logits(logits=logits)
    y = check_labels(labels, z)
    return _by_class(_tempered_softmax(z, _checked_temperature(temperature)), y, weights)


def confusion_rates(logits: ArrayLike, labels: ArrayLike, *, weights: ArrayLike | None = None) -> Values:
    """What a network takes each class for: row y is the share of examples of class y that it predicts as each class.

    Parameters
    ----------
    logits : (N, C), C ≥ 3; the prediction is the first largest
    labels : (N,), with every class
    weights : (N,), not negative, of the examples

    Returns
    -------
    (C, C) float64; rows sum to 1

    Examples
    --------
    >>> confusion_rates([[2, 1, 0], [1, 2, 0], [0, 2, 1], [0, 1, 2]], [0, 0, 1, 2]).tolist()
    [[0.5, 0.5, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    (z,) = check_logits(logits=logits)
    y = check_labels(labels, z)
    return _by_class(np.eye(z.shape[1])[z.argmax(1)], y, weights)


def _by_class(rows: Values, y: np.ndarray, weights: ArrayLike | None) -> Values:
    n, classes = rows.shape
    w = np.ones(n) if weights is None else np.asarray(weights, np.float64)
    if w.shape != (n,) or not (np.isfinite(w).all() and (w >= 0).all()):
        raise ValueError(f"weights are {n} finite numbers that are not negative, one an example")
    totals = np.bincount(y, w, classes)
    if not totals.all():
        raise UndefinedMetric(f"class {int(np.argmin(totals))} has none of the {n} examples: its row does not exist")
    of_class = np.zeros((classes, n))
    of_class[y, np.arange(n)] = w / totals[y]
    return of_class @ rows


class Likeness(NamedTuple):
    """How alike two matrices are, off the diagonal: 1 is equal, but for scale in the first three.

    Attributes
    ----------
    pearson : correlation of the cells
    spearman : correlation of their ranks, ties sharing the mean
    cosine : of rows, averaged over those that have a cell that is not 0 in both
    jaccard : Σ min / Σ max of the cells, which are not negative
    """

    pearson: float
    spearman: float
    cosine: float
    jaccard: float


def likeness(one: ArrayLike, other: ArrayLike) -> Likeness:
    """How alike are two matrices over the same classes, off their diagonals?

    Dark knowledge against confusion, say: `class_average` of a teacher, `confusion_rates` of a network that had none.

    Parameters
    ----------
    one, other : (C, C), C ≥ 3, not negative; the diagonal is not used

    Returns
    -------
    Likeness
        The cells depend on each other: p comes from `kdstats.stats.mantel`, intervals from resampled images.

    Raises
    ------
    ValueError
        Matrices that are not square, of one shape, finite and not negative.
    UndefinedMetric
        All cells of one equal, or no row with a cell in both.

    References
    ----------
    Kang & Kim, arXiv 2606.03052 (Pearson, cosine, weighted Jaccard).

    Examples
    --------
    >>> dark = [[0.8, 0.15, 0.05], [0.1, 0.8, 0.1], [0.05, 0.15, 0.8]]
    >>> confused = [[0.7, 0.2, 0.1], [0.1, 0.9, 0.0], [0.0, 0.2, 0.8]]
    >>> [round(value, 3) for value in likeness(dark, confused)]
    [0.75, 0.75, 0.882, 0.6]
    """
    for name, matrix in (("one", one), ("other", other)):
        if np.min(np.asarray(matrix, np.float64), initial=0.0) < 0:
            raise ValueError(f"{name} holds {np.min(matrix)}: rates and probabilities are not negative")
    a, b = _off_diagonal(one, "one"), _off_diagonal(other, "other")
    if len(a) != len(b):
        raise ValueError(f"one has shape {np.shape(one)}, other {np.shape(other)}: both need the same classes")
    x, y = (_cells(matrix) for matrix in (one, other))
    ranks = np.stack([_ranks(cells.ravel()) for cells in (x, y)])
    lengths = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
    if not lengths.any():
        raise UndefinedMetric("no class has a cell that is not 0 in both matrices: there is no row to compare")
    cosines = np.sum(x * y, axis=1)[lengths > 0] / lengths[lengths > 0]
    return Likeness(
        float(np.clip(a @ b, -1, 1)),
        float(np.asarray(np.corrcoef(ranks))[0, 1]),
        float(cosines.mean()),
        float(np.minimum(x, y).sum() / np.maximum(x, y).sum()),
    )


def _cells(matrix: ArrayLike) -> Values:
    """Off-diagonal cells, (C, C − 1)."""
    cells = np.asarray(matrix, np.float64)
    return cells[~np.eye(len(cells), dtype=bool)].reshape(len(cells), -1)


def _ranks(values: Values) -> Values:
    """Ranks from 1; ties share the mean of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[place]
