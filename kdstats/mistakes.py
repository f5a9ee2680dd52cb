"""Is what a teacher says of wrong classes what networks that had no teacher take for each other?"""

import contextlib
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

import kdstats
from kdstats import metrics, stats
from kdstats.catalog import ARMS
from kdstats.plan import stream
from kdstats.scoring import Networks, point_key

BOOTSTRAPS = 499
MEASURES = metrics.Likeness._fields
COLUMNS = (
    "compared", "networks", "arm", "arm_params", "n_networks", *MEASURES,
    *(f"{name}_{end}" for name in MEASURES for end in ("low", "high")), "mantel_p", "note",
)  # fmt: skip
Matrices = NDArray[np.float64]  # (resamples, C, C), the first of the images as they are


def describe(networks: Networks, identity: Mapping[str, str]) -> pd.DataFrame:
    """Likeness of dark knowledge and confusion, off the diagonal, with intervals over resampled images.

    M is a teacher's mean softmax by class, Q the confusion of a student of a plain control. A row for each plain
    control and question:

    dark knowledge : M of a teacher against Q of a control's student; ``networks`` one each, averaged over teachers, or
        all together, of the mean matrices, with Mantel's p
    two controls : Q of two control students of different teachers, which differ by chance alone. No ceiling: two noisy
        matrices may be less alike than a noisy one and a smooth one

    Intervals are 1.96 standard deviations over images that are resampled within their classes: how far another test set
    of this size would move the number. Few mistakes make matrices noisy and less alike, which more images would mend;
    percentiles would count that noise twice. Networks are these.
    """
    protocol = networks.plan.protocol
    controls = [point for point in protocol.points if ARMS[point.kind].plain]
    labels = networks.labels
    classes = next(len(one.logits[0]) for one in networks.stored.values() if one.logits is not None)
    rows: list[dict[str, Any]] = []
    if classes < 3 or len(np.unique(labels)) < classes:
        note = "two classes have no relations" if classes < 3 else "not every class is among the evaluated images"
        rows = [
            {"compared": "dark knowledge", "arm": c.arm, "arm_params": point_key(c)[1], "note": note} for c in controls
        ]
    else:
        weights = _resampled(labels, classes, np.random.default_rng(stream(protocol.seed, "images")))
        for control in controls:
            rows += _against(networks, point_key(control), weights)
    frame = pd.DataFrame([{**identity, "networks": "", **row, "version": kdstats.__version__} for row in rows])
    return frame.reindex(columns=[*identity, *COLUMNS, "version"])


def _against(networks: Networks, control: tuple[str, str], weights: Sequence[NDArray[Any]]) -> list[dict[str, Any]]:
    dark: dict[int, Matrices] = {}
    confused: dict[int, Matrices] = {}  # one student a teacher
    for key in networks.by_key:
        logits = networks.logits(key)
        if logits is None:
            continue
        if key[0] == "teacher":
            dark[key[2]] = _means(metrics.softmax(logits), networks.labels, weights)
        elif key[:2] == control and key[2] not in confused:
            said = np.eye(logits.shape[1])[logits.argmax(1)]
            confused[key[2]] = _means(said, networks.labels, weights)
    both = [teacher for teacher in dark if teacher in confused]
    if not both:
        return []
    at = {"arm": control[0], "arm_params": control[1]}
    together = [np.mean([side[t] for t in both], axis=0) for side in (dark, confused)]
    rows = [
        _row([(dark[t], confused[t]) for t in both], at | {"compared": "dark knowledge", "networks": "one each"}),
        _row([(together[0], together[1])], at | {"compared": "dark knowledge", "networks": "all together"}),
    ]
    with contextlib.suppress(ValueError):  # of matrices without a mistake, which the row's note says
        rows[1]["mantel_p"] = float(stats.mantel(together[0][0], together[1][0]).p_value)
    if len(both) > 1:
        others = [(confused[a], confused[b]) for a, b in itertools.combinations(both, 2)]
        rows.append(_row(others, at | {"compared": "two controls", "networks": "one each"}))
    return [row | {"n_networks": len(both)} for row in rows]


def _row(pairs: Sequence[tuple[Matrices, Matrices]], row: dict[str, Any]) -> dict[str, Any]:
    """Means over pairs of the four likenesses, and their intervals."""
    found = np.array([[_likeness(a, b) for a, b in zip(*pair, strict=True)] for pair in pairs])  # (pairs, resamples, 4)
    there = ~np.isnan(found[:, 0, 0])
    if not there.any():
        return row | {"note": "no network makes mistakes enough to compare"}
    note = (
        "" if there.all() else f"{int(np.sum(~there))} of {len(pairs)} pairs are left out: a network makes no mistakes"
    )
    values = found[there]
    row |= {name: float(values[:, 0, i].mean()) for i, name in enumerate(MEASURES)}
    if np.isnan(values).any():
        why = "no intervals: in some resamples a network makes no mistakes"
        return row | {"note": "; ".join(filter(None, (note, why)))}
    spread = values.mean(0)[1:].std(axis=0, ddof=1)
    for i, name in enumerate(MEASURES):
        row[f"{name}_low"] = max(-1.0, float(row[name] - 1.96 * spread[i]))
        row[f"{name}_high"] = min(1.0, float(row[name] + 1.96 * spread[i]))
    return row | {"note": note}


def _likeness(a: NDArray[np.float64], b: NDArray[np.float64]) -> Sequence[float]:
    try:
        return metrics.likeness(a, b)
    except metrics.UndefinedMetric:
        return [math.nan] * len(MEASURES)


def _resampled(labels: NDArray[np.int64], classes: int, generator: np.random.Generator) -> list[NDArray[np.float64]]:
    """Of each class the weights of its images, (1 + resamples, images); the first are all alike."""
    found = []
    for label in range(classes):
        n = int(np.sum(labels == label))
        found.append(np.vstack([np.ones(n), generator.multinomial(n, np.full(n, 1 / n), BOOTSTRAPS)]) / n)
    return found


def _means(rows: NDArray[np.float64], labels: NDArray[np.int64], weights: Sequence[NDArray[np.float64]]) -> Matrices:
    """Mean rows of each class, in every resample."""
    return np.stack([weight @ rows[labels == label] for label, weight in enumerate(weights)], axis=1)
