"""What every metric shares: checks of its input, blocks of examples, a stable softmax in float64."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Logits = NDArray[Any]
Labels = NDArray[np.intp]
Values = NDArray[np.float64]

BLOCK = 2**16  # elements: half a megabyte of float64, which stays in a core's cache
LARGEST = 1e300  # differences and sums of logits beyond it would overflow to infinity


class UndefinedMetric(ValueError):
    """The input is sound, but the metric has no value on it (0/0): an empty cell, with this sentence as the reason.

    Examples
    --------
    >>> from kdstats.metrics import negative_transfer
    >>> try:
    ...     negative_transfer([[2.0, 1.0]], [[2.0, 1.0]], [0])
    ... except UndefinedMetric as reason:
    ...     print(reason)
    the teacher is wrong on none of the 1 examples: agreement where it is wrong does not exist
    """


def check_logits(**networks: ArrayLike) -> list[Logits]:
    """Logits of one or more networks on the same examples, as arrays (N, C) of their own dtype."""
    arrays = {name: np.asarray(logits) for name, logits in networks.items()}
    for name, z in arrays.items():
        if z.ndim != 2 or z.dtype.kind not in "fiu":
            raise ValueError(f"{name}: logits are real numbers of shape (N, C), not {z.dtype} of shape {z.shape}")
        if z.shape[0] < 1 or z.shape[1] < 2:
            raise ValueError(f"{name}: shape {z.shape}; at least one example and two classes are needed")
        if not (float(z.min()) >= -LARGEST and float(z.max()) <= LARGEST):  # NaN fails both
            low, high = z.min(1).astype(np.float64), z.max(1).astype(np.float64)
            row = np.argmin((low >= -LARGEST) & (high <= LARGEST))
            column = np.argmin(np.abs(z[row].astype(np.float64)) <= LARGEST)
            raise ValueError(f"{name}: row {row}, class {column} is {z[row, column]}; logits must be finite")
    (first, a), *others = arrays.items()
    for name, b in others:
        if a.shape != b.shape:
            raise ValueError(
                f"{first} has shape {a.shape}, {name} {b.shape}: both need the same examples and classes, in one order"
            )
    return list(arrays.values())


def check_labels(labels: ArrayLike | None, logits: Logits, needed_by: str = "") -> Labels:
    """Labels (N,) in [0, C) of the examples of checked logits."""
    if labels is None:
        raise ValueError(f"{needed_by} needs labels: it asks which answers are right")
    y = np.asarray(labels)
    n, classes = logits.shape
    if y.ndim != 1 or y.dtype.kind not in "iu":
        raise ValueError(f"labels are integers of shape (N,), not {y.dtype} of shape {y.shape}")
    if len(y) != n:
        raise ValueError(f"there are {len(y)} labels for {n} rows of logits: one label an example is needed")
    if y.min() < 0 or y.max() >= classes:
        row = np.flatnonzero((y < 0) | (y >= classes))[0]
        raise ValueError(f"labels: row {row} is {y[row]}; with {classes} classes a label is 0 to {classes - 1}")
    return y.astype(np.intp, copy=False)


def blocks(n: int, classes: int) -> Iterator[slice]:
    """Slices over n examples, of about BLOCK logits each."""
    step = max(1, BLOCK // classes)
    return (slice(start, start + step) for start in range(0, n, step))


def by_example(function: Callable[..., Values], *arrays: NDArray[Any]) -> Values:
    """function over blocks of examples (the arrays' first axis), joined along its result's last axis."""
    rows = blocks(*arrays[0].shape)
    return np.concatenate([function(*(a[block] for a in arrays)) for block in rows], axis=-1)


def log_softmax(z: Logits) -> Values:
    """log softmax over the last axis, in float64."""
    z = z.astype(np.float64)
    z -= z.max(-1, keepdims=True)
    z -= np.log(np.exp(z).sum(-1, keepdims=True))
    return z


def softmax(z: Logits) -> Values:
    """Softmax over the last axis, in float64."""
    z = z.astype(np.float64)
    z -= z.max(-1, keepdims=True)
    np.exp(z, out=z)
    z /= z.sum(-1, keepdims=True)
    return z


def mean_or_each(values: NDArray[Any], per_example: bool) -> float | Values:
    return values.astype(np.float64, copy=False) if per_example else float(values.mean())


def refuse_per_example(per_example: bool, name: str, why: str) -> None:
    if per_example:
        raise ValueError(f"{name} has no per-example values: {why}")
