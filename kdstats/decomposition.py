"""A ladder of arms taken apart: what each rung adds to the one below, paired by seed, and what it adds up to.

The rungs are arms with one loss, which differ in their target alone; the first is the plain control. The differences
between neighbours add up to the whole by construction, but each depends on the order of the rungs, which are not nested
in each other, and may be negative.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

import kdstats
from kdstats import stats
from kdstats.catalog import ARMS, METRICS, metric_label
from kdstats.comparisons import Comparison
from kdstats.contrasts import Evidence, contrast, tabulate
from kdstats.plan import swaps_teachers
from kdstats.protocol import Point
from kdstats.scoring import point_key
from kdstats.sentences import interval, number

COLUMNS = (
    "protocol", "protocol_hash", "dataset", "split", "metric", "setting", "part", "rung", "arm", "arm_params",
    "control", "control_params", "scope_teachers", "scope_examples", "n_teachers", "n_units", "n_pairs", "estimate",
    "sem", "ci_low", "ci_high", "ci_level", "test", "p_value", "p_adjusted", "correction", "share", "share_low",
    "share_high", "note", "sentence", "version",
)  # fmt: skip


def decompose(
    evidence: Evidence, ladders: Sequence[tuple[str, Sequence[Point]]], names: Sequence[str], level: float
) -> pd.DataFrame:
    """Every metric of every ladder, rung by rung.

    Parameters
    ----------
    ladders : the setting in words, and its points from the plain control up
    names : metrics
    level : of the intervals, 1 − level, and of the sentences' tests

    Returns
    -------
    A row a part: "step" (a rung minus the one below), "reached" (a rung minus the control), "whole" (the last rung
    minus the control). All parts of a metric are of the same pairs of teacher and seed, those in which every rung was
    trained (without teachers whose partner lacks one, where teachers are swapped), so that steps add up to the whole.
    Tests are two-sided t tests over teachers (over pairs of teachers where a rung is taught by the other one; for
    metrics of few examples over examples too), corrected by Holm among the steps, and among what is reached, and in no
    family of a protocol: they describe. ``share`` is step / whole with Fieller's interval, where the whole's excludes
    0, over the units that all steps have.
    """
    table = tabulate(evidence.scores)
    rows = [
        row
        for setting, points in ladders
        for name in names
        for row in _parts(evidence, table, setting, points, name, level)
    ]
    frame = pd.DataFrame([{**evidence.identity, **row, "version": kdstats.__version__} for row in rows])
    return frame.reindex(columns=list(COLUMNS))


def _parts(
    evidence: Evidence, table: Any, setting: str, points: Sequence[Point], name: str, level: float
) -> list[dict[str, Any]]:
    values = [table.values.get((*point_key(point), name), {}) for point in points]
    pairs = tuple(pair for pair in evidence.pairs if all(pair in value for value in values))
    swapped = any(swaps_teachers(point.kind) for point in points)
    if swapped:  # a teacher alone would weigh more beside pairs of teachers than among teachers
        there = {teacher for teacher, _ in pairs}
        alone = {evidence.clusters[teacher] for teacher in evidence.clusters if teacher not in there}
        pairs = tuple(pair for pair in pairs if evidence.clusters[pair[0]] not in alone)
    left_out = len(evidence.pairs) - len(pairs)
    of_pairs = replace(evidence, pairs=pairs)
    new = METRICS[name].examples == "new" and evidence.per_example is not None

    def part(kind: str, rung: int, below: int) -> dict[str, Any]:
        arm, control = points[rung], points[below]
        comparison = Comparison(
            name, arm, control, "recipe", "new" if new else "this test set", "two-way-t" if new else "paired-t",
            paired_teachers=swaps_teachers(arm.kind) or swaps_teachers(control.kind),
        )  # fmt: skip
        row = contrast(of_pairs, table, comparison, 1 - level)
        note = f"{left_out} of {len(evidence.pairs)} pairs are left out: not every rung has a value" if left_out else ""
        row["note"] = "; ".join(filter(None, (note, row.get("note", ""))))
        return {**row, "setting": setting, "part": kind, "rung": rung}

    last = len(points) - 1
    steps = [part("step", rung, rung - 1) for rung in range(1, len(points))]
    reached = [part("reached", rung, 0) for rung in range(1, last)]
    whole = part("whole", last, 0)
    for members in (steps, [*reached, whole]):
        _adjust(members)
    if len(pairs) and not math.isnan(whole.get("ci_low", math.nan)) and whole["ci_low"] * whole["ci_high"] > 0:
        _shares(steps, values, pairs, evidence.clusters if swapped else {}, new, level)
    whole["sentence"] = _sentence(name, points, reached, whole, level)
    return [*steps, *reached, whole]


def _adjust(rows: Sequence[dict[str, Any]]) -> None:
    tested = [row for row in rows if not np.isnan(row.get("p_value", np.nan))]
    for row, p in zip(tested, stats.adjust([row["p_value"] for row in tested], "holm") if tested else (), strict=True):
        row |= {"p_adjusted": p, "correction": "holm"}


def _shares(
    steps: Sequence[dict[str, Any]],
    values: Sequence[Mapping[Any, tuple[float, float]]],
    pairs: Sequence[tuple[int, int]],
    clusters: Mapping[int, int],
    new: bool,
    level: float,
) -> None:
    """What part of the whole each step is, over the units that all steps have."""
    if new:
        for row in steps:
            row["note"] = "; ".join(filter(None, (row["note"], "shares speak of this test set, this row does not")))
        return
    teachers = np.array([teacher for teacher, _ in pairs])
    units = np.array([clusters.get(teacher, teacher) for teacher in teachers.tolist()])
    by_seed = [np.array([side[pair][0] for pair in pairs]) for side in values]
    by_unit = [stats.to_units(each, teachers, units, "recipe").values for each in by_seed]
    if len(by_unit[0]) < 2:
        return
    for row in steps:
        rung = row["rung"]
        share = stats.fieller(by_unit[rung] - by_unit[rung - 1], by_unit[-1] - by_unit[0], level=1 - level)
        if math.isfinite(share.low) and math.isfinite(share.high):
            row |= {"share": share.estimate, "share_low": share.low, "share_high": share.high}
        else:
            row["note"] = "; ".join(filter(None, (row["note"], "no share: over pairs of teachers the whole may be 0")))


# Words -----------------------------------------------------------------------------------------------------------


def _sentence(
    name: str, points: Sequence[Point], reached: Sequence[dict[str, Any]], whole: Mapping[str, Any], level: float
) -> str:
    """From which rung on the whole is there, and what is left to those above."""
    last, first = points[-1].arm, points[0].arm
    if whole["n_units"] < 2:
        return f"{metric_label(name)}: not measurable ({whole['note']})."
    difference = f"{metric_label(name)} of {last} minus {first}: {number(whole['estimate'])}, {interval(whole)}"
    if not whole.get("p_adjusted", 1.0) <= level:
        return f"{difference}: no difference is shown, so there is nothing to take apart."
    alike = [row["p_adjusted"] <= level and row["estimate"] * whole["estimate"] > 0 for row in reached]
    if not alike or not alike[-1]:
        return f"{difference}. No rung below {last} shows a part of it that stays."
    earliest = reached[len(alike) - [*reversed(alike), False].index(False)]  # from here on all show it
    point, rest = points[earliest["rung"]], number(whole["estimate"] - earliest["estimate"])
    there = f"{number(earliest['estimate'])}, {interval(earliest)}"
    return (
        f"{difference}. With {point.arm} ({ARMS[point.kind].summary}) it is {there}, already; the rungs above add"
        f" {rest} in sum."
    )
