"""One pass over the outputs of many networks, block by block: what every later question about them needs.

50,000 × 1,000 outputs of a dozen networks do not fit in memory as float64, and eight metrics would compute the same
softmax eight times. Here each block is read once, and what remains of it has one number an example.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kdstats.metrics._arrays import Values, blocks

Kind = Literal["logits", "probabilities", "labels"]
BINS = 15


@dataclass(frozen=True, eq=False)
class Source:
    """Outputs of one network: ``read(rows)`` gives those of a slice, (n, C); ``classes`` the predicted ones, (N,)."""

    kind: Kind
    classes: NDArray[np.int64]
    read: Callable[[slice], NDArray[Any]] | None = None


@dataclass(frozen=True, eq=False)
class Observed:
    """What one network says of each of N examples. All but ``classes`` and ``right`` is None of predicted labels alone.

    Attributes
    ----------
    classes : (N,) int64, predicted
    right : (N,) bool
    confidence : (N,) float64, probability of the predicted class
    p_label, cross_entropy, brier : (N,) float64, of the label: its probability, −log of it, Σ_k (p_k − 1[k = y])²
    class_wise_error : float, as `kdstats.metrics.class_wise_calibration_error`
    overlap : (N,) Σ_k p_k t_k with the teacher's probabilities t; None of the teacher itself, as all that follow
    kl, js, distance : (N,) as `fidelity_kl`, `js_divergence`, `activation_distance`; kl is inf where the network gives
        probability 0 to what the teacher holds possible
    """

    classes: NDArray[np.int64]
    right: NDArray[np.bool_]
    confidence: Values | None = None
    p_label: Values | None = None
    cross_entropy: Values | None = None
    brier: Values | None = None
    class_wise_error: float | None = None
    overlap: Values | None = None
    kl: Values | None = None
    js: Values | None = None
    distance: Values | None = None


OF_LABEL = ("confidence", "p_label", "cross_entropy", "brier")
OF_TEACHER = ("overlap", "kl", "js", "distance")


def observe(
    labels: NDArray[np.integer[Any]], teacher: Source, networks: Sequence[Source], n_classes: int
) -> tuple[Observed, list[Observed]]:
    """Read teacher and networks once, in blocks, on as many threads as there are cores.

    Parameters
    ----------
    labels : (N,) in [0, n_classes)
    teacher, networks : checked before: finite, N rows, n_classes columns

    Returns
    -------
    The teacher's Observed and those of the networks

    Examples
    --------
    >>> z = np.array([[2.0, 0.0], [0.0, 1.0]])
    >>> source = Source("logits", z.argmax(1), lambda rows: z[rows])
    >>> of_teacher, (student,) = observe(np.array([0, 0]), source, [source], 2)
    >>> student.right.tolist(), student.kl.tolist(), student.p_label.round(3).tolist()
    ([True, False], [0.0, 0.0], [0.881, 0.269])
    """
    everyone = [teacher, *networks]
    n = len(labels)
    found: list[dict[str, Values]] = []
    for i, source in enumerate(everyone):
        with_teacher = OF_TEACHER if i and teacher.kind != "labels" else ()
        names = () if source.kind == "labels" else (*OF_LABEL, *with_teacher)
        found.append({name: np.empty(n) for name in names})

    def read(rows: slice, gaps: list[Values]) -> None:
        y = labels[rows]
        t = _log_and_p(teacher, rows)
        for i, source in enumerate(everyone):
            if source.kind == "labels":
                continue
            log_q, q = t if i == 0 else _log_and_p(source, rows)  # type: ignore[misc]
            each = np.arange(len(y))
            of_label = q[each, y]
            out = found[i]
            out["confidence"][rows] = q[each, source.classes[rows]]
            out["p_label"][rows] = of_label
            out["cross_entropy"][rows] = -log_q[each, y]
            out["brier"][rows] = np.einsum("nk,nk->n", q, q) - 2 * of_label + 1
            if "kl" in out:
                assert t is not None
                out["overlap"][rows], out["kl"][rows], out["js"][rows], out["distance"][rows] = _apart(*t, log_q, q)
            gaps[i] += _class_gaps(q, y)

    def read_all(share: list[slice]) -> list[Values]:
        gaps = [np.zeros((n_classes, BINS)) for _ in everyone]
        for rows in share:
            read(rows, gaps)
        return gaps

    every = list(blocks(n, n_classes))
    threads = os.cpu_count() or 1
    with ThreadPoolExecutor(threads) as pool:
        shares = list(pool.map(read_all, [every[i::threads] for i in range(threads)]))
    observed = []
    for i, source in enumerate(everyone):
        error = None
        if source.kind != "labels":
            error = float(np.abs(sum(gaps[i] for gaps in shares)).sum() / n / n_classes)
        observed.append(Observed(source.classes, source.classes == labels, class_wise_error=error, **found[i]))
    return observed[0], observed[1:]


def _log_and_p(source: Source, rows: slice) -> tuple[Values, Values] | None:
    """log p and p of a block, in float64; probabilities are divided by their sum, which float16 leaves near 1."""
    if source.kind == "labels":
        return None
    assert source.read is not None
    z = source.read(rows).astype(np.float64)
    if source.kind == "probabilities":
        p = z / z.sum(1, keepdims=True)
        with np.errstate(divide="ignore"):
            return np.log(p), p
    z -= z.max(1, keepdims=True)
    p = np.exp(z)
    total = p.sum(1, keepdims=True)
    p /= total
    z -= np.log(total)
    return z, p


def _apart(log_p: Values, p: Values, log_q: Values, q: Values) -> tuple[Values, Values, Values, Values]:
    """Overlap, KL(p‖q), JS and Euclidean distance, a number an example; 0 log 0 is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        log_m = np.log((p + q) / 2)
        kl = np.where(p > 0, p * (log_p - log_q), 0.0).sum(1)
        js = (np.where(p > 0, p * (log_p - log_m), 0.0) + np.where(q > 0, q * (log_q - log_m), 0.0)).sum(1) / 2
    difference = p - q
    distance = np.sqrt(np.einsum("nk,nk->n", difference, difference))
    return np.einsum("nk,nk->n", p, q), np.maximum(kl, 0), np.maximum(js, 0), distance


def _class_gaps(q: Values, y: NDArray[np.integer[Any]]) -> Values:
    """Σ (p_k − 1[k = y]) by class and bin (lo, hi] of p_k, (C, BINS); few p_k of many classes leave the first bin."""
    classes = q.shape[1]
    row, column = np.nonzero(q > 1 / BINS)
    above = q[row, column]
    cell = column * BINS + np.searchsorted(np.arange(BINS + 1) / BINS, above, side="left") - 1
    gaps = np.bincount(cell, above - (y[row] == column), minlength=classes * BINS).astype(np.float64)
    gaps = gaps.reshape(classes, BINS)
    gaps[:, 0] += q.sum(0) - np.bincount(column, above, minlength=classes)
    low = q[np.arange(len(y)), y] <= 1 / BINS
    gaps[:, 0] -= np.bincount(y[low], minlength=classes)
    return gaps
