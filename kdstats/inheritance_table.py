"""What students inherit, described: the rows of ``inheritance.csv``, the one that a person understands first."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

import kdstats
from kdstats import metrics, stats
from kdstats.catalog import ARMS, ASYMMETRY
from kdstats.comparisons import Comparison
from kdstats.contrasts import Evidence, Table, contrast, tabulate
from kdstats.inheritance import Swapped, differences
from kdstats.protocol import Point, same_point
from kdstats.scoring import point_key
from kdstats.sentences import number, points

COLUMNS = (
    "protocol", "protocol_hash", "dataset", "split", "arm", "arm_params", "control", "control_params", "part", "label",
    "unit", "n_teachers", "n_units", "n_examples", "estimate", "ci_low", "ci_high", "ci_level",
    "note", "sentence", "version",
)  # fmt: skip
LABELS = {
    "errors_made": "Errors of a teacher",
    "repeated_own": "of them, repeated by a student of its own",
    "repeated_other": "of them, repeated by a student of the other teacher",
    "repeated_more": "repeated more by its own student",
    "inherits_errors": "Inherited errors, W",
    "inherits_knowledge": "Inherited right answers, K",
    "inherits_errors_by_class": "W within the true classes",
    "inherits_knowledge_by_class": "K within the true classes",
    "errors_from_wrong": "W, students that began with the wrong teacher's weights",
    "errors_from_right": "W, students that began with the right teacher's weights",
    "knowledge_from_wrong": "K, students that began with the wrong teacher's weights",
    "knowledge_from_right": "K, students that began with the right teacher's weights",
    "third": "θ, third answers of rightly over wrongly taught students",
    "firmness": "θ₀, the same where both teachers are equally sure",
    "copied_wrong": "ĉ_w, share of wrong answers copied, if copying were all or nothing",
    "copied_right": "ĉ_r, share of right answers copied, if copying were all or nothing",
    "h": "h, which bears no verdict",
    "h_of_copying": "h that one copied share predicts (an approximation)",
}


def describe(evidence: Evidence, arms: Sequence[Point], ci_level: float) -> pd.DataFrame:
    """A row a part and setting, of every arm taught by its own teacher that has students of the other at its point.

    Parameters
    ----------
    evidence : with ``swapped``
    arms : the protocol's points

    Returns
    -------
    Rows in the order of ``LABELS``; intervals are over pairs of teachers and new examples. What does not exist is
    empty, and ``note`` says why.
    """
    table = tabulate(evidence.scores)
    rows = [
        {**evidence.identity, "ci_level": ci_level, "version": kdstats.__version__, **row}
        for arm in arms
        for control in arms
        if is_swapped(arm, control)
        for row in _of_point(evidence, table, arm, control, arms, ci_level)
    ]
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    for name in ("n_teachers", "n_units", "n_examples"):
        frame[name] = frame[name].astype("Int64")
    return frame


def is_swapped(arm: Point, control: Point) -> bool:
    """Whether the students of two points are of one recipe, taught by their own teacher and by its partner."""
    own, other = ARMS[arm.kind], ARMS[control.kind]
    return (
        own.target == "own_teacher" and other.learns_from == "other" and own.objective == other.objective
        and same_point(arm, control) and arm.initialisation == control.initialisation
    )  # fmt: skip


def _of_point(
    evidence: Evidence, table: Table, arm: Point, control: Point, arms: Sequence[Point], ci_level: float
) -> list[dict[str, Any]]:
    assert evidence.swapped is not None
    trained = [table.trained.get(point_key(point), set()) for point in (arm, control)]
    there = [pair for pair in evidence.pairs if pair in trained[0] & trained[1]]
    teachers = {teacher for teacher, _ in there}
    both = [evidence.clusters.get(teacher) for teacher in teachers]
    whole = [pair for pair in there if both.count(evidence.clusters.get(pair[0])) == 2]
    common = {
        "arm": arm.arm, "arm_params": point_key(arm)[1], "control": control.arm,
        "control_params": point_key(control)[1],
        "n_teachers": len({teacher for teacher, _ in whole}), "n_units": len({teacher for teacher, _ in whole}) // 2,
    }  # fmt: skip
    if not whole:
        return []
    of = evidence.swapped(arm, control, whole)
    common["n_examples"] = len(of.labels)
    parts: list[dict[str, Any]] = _repeated(of, arm, ci_level)
    split = metrics.swap(*of.arrays)

    def row(part: str, made: Any) -> None:
        """``made()`` gives the linearised values, or a number without an interval."""
        try:
            found = made()
        except (metrics.UndefinedMetric, ValueError) as reason:
            parts.append({"part": part, "estimate": math.nan, "note": str(reason)})
        else:
            parts.append({"part": part, **(_estimated(found, ci_level) if np.ndim(found) else {"estimate": found})})

    for name in ("inherits_errors", "inherits_knowledge"):
        g = differences(of, name)[1]
        row(name, lambda g=g: metrics.balanced(g, split.halves).values)
        row(f"{name}_by_class", lambda g=g: metrics.balanced(g, split.halves, of.labels).values)
    if of.started_from is not None:
        for start in ("wrong", "right"):
            for name in ("errors", "knowledge"):
                row(f"{name}_from_{start}", lambda name=name, start=start: _by_start(of, name, start))
    try:
        third = metrics.third_answers(split)
    except metrics.UndefinedMetric as reason:
        parts.append({"part": "third", "estimate": math.nan, "note": str(reason)})
    else:
        row("third", lambda: third.values)
        row("copied_wrong", lambda: third.copied_wrong)
        row("copied_right", lambda: third.copied_right)
        parts += _h(evidence, table, arm, control, arms, of, third, ci_level)
    if (sure := of.confidence) is not None:
        row("firmness", lambda: metrics.firmness(split, *sure).values)
    order = list(LABELS)
    return [
        common | {"label": LABELS[part["part"]], "unit": _unit(part["part"])} | part
        for part in sorted(parts, key=lambda part: order.index(part["part"]))
    ]


def _unit(part: str) -> str:
    if part in ("errors_made", "repeated_own", "repeated_other", "repeated_more"):
        return "errors"
    return "log ratio" if part in ("third", "firmness", "h", "h_of_copying") else "share"


def _estimated(values: NDArray[np.float64], ci_level: float) -> dict[str, Any]:
    """The mean of values (pairs, examples), with its interval over both where there are two pairs or more."""
    estimate = float(values.mean())
    if len(values) < 2:
        return {"estimate": estimate, "note": "one pair of teachers: no interval over teachers"}
    low, high = stats.two_way(values).confidence_interval(ci_level)
    if math.isnan(float(low)):
        return {"estimate": estimate, "note": "nothing varies, so there is no interval"}
    return {"estimate": estimate, "ci_low": float(low), "ci_high": float(high)}


def _repeated(of: Swapped, arm: Point, ci_level: float) -> list[dict[str, Any]]:
    """A teacher's errors, those its students repeat, those that students of the other teacher repeat."""
    made, own, other = metrics.repeated_errors(*of.arrays, started_from=of.started_from)
    shown = {"errors_made": made, "repeated_own": own, "repeated_other": other, "repeated_more": own - other}
    rows = [{"part": part, **_estimated(values, ci_level)} for part, values in shown.items()]
    more = rows[-1]
    between = f" [{number(more['ci_low'])}, {number(more['ci_high'])}]" if "ci_low" in more else ""
    inside = ", ".join(filter(None, (arm.arm, *point_key(arm)[1].split())))
    began = ", which began with this teacher's own initial weights," if of.started_from is not None else ""
    rows[-1]["sentence"] = (
        f"Of a teacher's {number(rows[0]['estimate'])} errors a student of its own ({inside}) repeats"
        f" {number(rows[1]['estimate'])}; a student of the other teacher{began} {number(rows[2]['estimate'])}:"
        f" {number(more['estimate'])}{between} more."
    )
    return rows


def _by_start(of: Swapped, name: str, start: str) -> NDArray[np.float64]:
    split = metrics.swap(*of.arrays, started_from=of.started_from, start=start)
    return metrics.balanced(getattr(split, name), split.halves).values


# h, and what it would be -----------------------------------------------------------------------------------------


def copied_h(share: float, other_differs: Mapping[str, float], untaught_differs: Mapping[str, float]) -> float:
    """h against kd-other under pure copying with one probability c, whatever the students would say untaught.

        h = log(1 + k r⁻) − log(1 + k r⁺),  k = c / (1 − c),  r± = P(t′ ≠ t | t right, wrong) / P(o ≠ t | the same)

    Parameters
    ----------
    share : c, in [0, 1)
    other_differs : P(t′ ≠ t) where t is "right" and "wrong", t′ the other teacher's answer
    untaught_differs : P(o ≠ t), o an untaught student's

    Examples
    --------
    Untaught students as often right as their teachers, errors independent among nine classes: h is 0. Five points
    less accurate: it is not, though all that happens is copying.

    >>> other = {"right": 0.145, "wrong": 1 - 0.145 / 9}
    >>> copied_h(0.5, other, other)
    0.0
    >>> round(copied_h(0.5, other, {"right": 0.195, "wrong": 1 - 0.195 / 9}), 2)
    0.14
    """
    k = share / (1 - share)
    ratio = {where: other_differs[where] / untaught_differs[where] for where in ("right", "wrong")}
    return math.log(1 + k * ratio["wrong"]) - math.log(1 + k * ratio["right"])


def _h(
    evidence: Evidence, table: Table, arm: Point, control: Point, arms: Sequence[Point], of: Swapped, third: Any,
    ci_level: float,
) -> list[dict[str, Any]]:  # fmt: skip
    """h as it was estimated, and the h that copying one share (ĉ_r + ĉ_w) / 2 everywhere predicts."""
    c = Comparison(
        ASYMMETRY, arm, control, "recipe", "new" if evidence.agreements else "this test set",
        "two-way-t" if evidence.agreements else "paired-t", estimator="headroom", paired_teachers=True,
    )  # fmt: skip
    found = contrast(evidence, table, c, ci_level)
    h = {name: found.get(name, math.nan) for name in ("estimate", "ci_low", "ci_high")}
    rows: list[dict[str, Any]] = [{"part": "h", **h, "note": metrics.ESTIMATORS["headroom"]}]
    neutral = [point for point in arms if point.kind == "neutral" and same_point(arm, point)]
    untaught = next(iter(neutral), evidence.plain)
    share = (third.copied_right + third.copied_wrong) / 2
    if untaught is None or not 0 <= share < 1:
        why = "no arm shows what students would say untaught" if untaught is None else f"ĉ = {share:.2g} is no share"
        return [*rows, {"part": "h_of_copying", "estimate": math.nan, "note": why}]
    first, second = of.pairs.T
    pairs = np.concatenate([[first, second], [second, first]], axis=1)  # each teacher with its partner
    right = of.teachers[pairs[0]] == of.labels
    differs = of.teachers[pairs[0]] != of.teachers[pairs[1]]
    other = {"right": float(differs[right].mean()), "wrong": float(differs[~right].mean())}
    agreed = [table.values.get((*point_key(untaught), f"{side}_transfer"), {}) for side in ("positive", "negative")]
    if not all(agreed):
        return [*rows, {"part": "h_of_copying", "estimate": math.nan, "note": f"{untaught.arm} has no A⁺ and A⁻"}]
    means = [1 - float(np.mean([value for value, _ in side.values()])) for side in agreed]
    if min(means) <= 0:
        return [*rows, {"part": "h_of_copying", "estimate": math.nan, "note": f"{untaught.arm} never disagrees"}]
    predicted = copied_h(share, other, {"right": means[0], "wrong": means[1]})
    note = (
        f"an approximation: what students would say untaught is that of {untaught.arm}; copied share"
        f" {points(share)} % everywhere"
    )
    return [*rows, {"part": "h_of_copying", "estimate": predicted, "note": note}]
