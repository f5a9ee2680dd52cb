"""From hypotheses and scores to contrasts, verdicts and the sentences that say why."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

import kdstats
from kdstats import metrics, stats
from kdstats.catalog import (
    ALONE,
    ASYMMETRY,
    AT_A_MARGIN,
    CORRECTION_NAMES,
    DIRECTIONS,
    GROUP_METRICS,
    METRICS,
    SMALLEST_SHOWN,
    metric_label,
)
from kdstats.plan import LATE_FAMILY, in_pairs, smallest_p, swaps_teachers
from kdstats.protocol import Direction, HypothesisPoint, Point
from kdstats.scoring import Key, point_key

Pair = tuple[int, int]  # teacher, student seed
LATE = "after training"
NO_VERDICT = "descriptive, bears no verdict: "
GAINS: dict[str, Literal["right", "wrong"]] = {"gain_right": "right", "gain_wrong": "wrong"}


@dataclass(frozen=True)
class Evidence:
    """All that contrasts are made of.

    Attributes
    ----------
    scores : tidy scores (docs/architecture.md), with the column arm_params
    pairs : every (teacher, student seed) that was planned, so that what failed is counted
    clusters : teacher -> unit of a claim about teachers where they are swapped in pairs
    per_example : (metric, keys) -> (len(keys), N), row means are the metric; None where only scores are at hand
    agreements : keys -> teacher right, student agrees, each (len(keys), N); for the asymmetry about new examples
    held_out : keys -> how many held-out controls agree with the teacher, (len(keys), N), and how many there are
    late : hypothesis names and points (arm, parameters) declared after training; ("seeds",) if any were;
        ("networks",) if students of this protocol existed before it was frozen (in a shared store, say)
    identity : columns that every row begins with: protocol, protocol_hash, dataset, split
    recorded : whether it is known when things were declared; of scores that others made it is not
    exchange : (group metric, keys, keys, unit of each pair, γ, whether each is joined alone) -> difference of the
        groups and its p-values
    thresholds : other γ at which a claim on a group metric must not be contradicted
    """

    scores: pd.DataFrame
    pairs: tuple[Pair, ...]
    clusters: Mapping[int, int] = field(default_factory=dict)
    per_example: Callable[[str, Sequence[Key]], NDArray[np.float64]] | None = None
    agreements: Callable[[Sequence[Key]], tuple[NDArray[np.bool_], NDArray[np.bool_]]] | None = None
    held_out: Callable[[Sequence[Key]], tuple[NDArray[np.int64], int]] | None = None
    late: frozenset[Any] = frozenset()
    identity: Mapping[str, str] = field(default_factory=dict)
    recorded: bool = True
    exchange: Callable[[str, Sequence[Key], Sequence[Key], Sequence[int], float | None, bool], Any] | None = None
    thresholds: Sequence[float] = ()


@dataclass(frozen=True)
class Comparison:
    """What one row of the contrasts speaks of: a hypothesis against one of its controls, or an exploratory pair."""

    metric: str
    arm: Point
    control: Point
    scope_teachers: str = "recipe"
    scope_examples: str = "this test set"
    test: str = "sign-flip"
    direction: Direction = "two-sided"
    margin: float | None = None
    estimator: str = "mean_difference"
    teacher: int | None = None
    paired_teachers: bool = False
    threshold: float | None = None
    alone: bool = False


# Contrasts -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Table:
    """Scores by what a contrast asks for.

    Attributes
    ----------
    values : (arm, parameters, metric) -> {(teacher, seed): (value, n)}, of what is defined
    trained : (arm, parameters) -> {(teacher, seed)} of what has a value of any metric; a network without one failed
    undefined : (arm, parameters, metric) -> {(teacher, seed): why a value does not exist}
    """

    values: dict[tuple[str, str, str], dict[Pair, tuple[float, float]]]
    trained: dict[tuple[str, str], set[Pair]]
    undefined: dict[tuple[str, str, str], dict[Pair, str]]


def tabulate(scores: pd.DataFrame) -> Table:
    """A tidy table of scores, ready for lookups."""
    students = scores[scores["seed"].notna()]
    table = Table({}, {}, {})
    notes = students["note"] if "note" in students else [""] * len(students)
    columns = ("arm", "arm_params", "metric", "teacher", "seed", "value", "n")
    rows = zip(*(students[column] for column in columns), notes, strict=True)
    for arm, params, metric, teacher, seed, value, n, note in rows:
        pair = int(teacher), int(seed)
        if np.isnan(value):
            table.undefined.setdefault((arm, params, metric), {})[pair] = str(note)
        else:
            table.trained.setdefault((arm, params), set()).add(pair)
            table.values.setdefault((arm, params, metric), {})[pair] = (float(value), float(n))
    return table


def contrast(evidence: Evidence, table: Table, comparison: Comparison, ci_level: float) -> dict[str, Any]:
    """One row of the contrasts: arm minus control, paired by seed within teacher, on the units of the scope.

    With scope "recipe" a unit is a teacher (the mean of its students), or a pair of teachers where they taught each
    other's kd-other students; with "these" and "each" it is a student. The asymmetry is computed from the mean counts
    of each unit.
    """
    c = comparison
    if c.test == "mann-whitney":
        return _unpaired(evidence, table, c, ci_level)
    of_groups = c.test == "label-exchange"
    needed = ("positive_transfer", "negative_transfer") if c.metric == ASYMMETRY else () if of_groups else (c.metric,)
    keys = [[(*point_key(point), name) for name in needed] for point in (c.arm, c.control)]
    sides = [[table.values.get(key, {}) for key in side] for side in keys]
    planned = [pair for pair in evidence.pairs if c.teacher is None or pair[0] == c.teacher]
    if c.test == "anytime":  # in the order in which seeds are added
        planned.sort(key=lambda pair: (pair[1], pair[0]))
    trained = [table.trained.get(point_key(point), set()) for point in (c.arm, c.control)]
    trained_both = trained[0] & trained[1]
    pairs = [pair for pair in planned if pair in trained_both and all(pair in v for side in sides for v in side)]
    failed = [pair for pair in planned if pair not in trained[0] or pair not in trained[1]]
    undefined = [pair for pair in planned if pair not in pairs and pair not in failed]
    notes = {pair: why for side in keys for key in side for pair, why in table.undefined.get(key, {}).items()}
    left_out = "; ".join(
        f"{len(missing)} of {len(planned)} pairs {'is' if len(missing) == 1 else 'are'} left out: {why}"
        for missing, why in (
            (failed, f"a network failed to train or has no scores{_first_note(notes, failed, ' ({})')}"),
            (undefined, _first_note(notes, undefined, "{}")),
        )
        if missing
    )
    row: dict[str, Any] = {
        **evidence.identity,
        "metric": c.metric,
        "estimator": c.estimator,
        "arm": c.arm.arm,
        "arm_params": point_key(c.arm)[1],
        "control": c.control.arm,
        "control_params": point_key(c.control)[1],
        "initialisation": c.arm.initialisation,
        "scope_teachers": c.scope_teachers,
        "scope_examples": c.scope_examples,
        "teacher": c.teacher,
        "n_teachers": len({teacher for teacher, _ in pairs}),
        "n_pairs": len(pairs),
        "n_failed_arm": sum(pair not in trained[0] for pair in planned),
        "n_failed_control": sum(pair not in trained[1] for pair in planned),
        "direction": c.direction,
        "margin": c.margin,
        "ci_level": ci_level,
        "left_out": left_out,
    }
    teachers = np.array([teacher for teacher, _ in pairs])
    cluster = np.array([evidence.clusters.get(t, t) if c.paired_teachers else t for t in teachers])
    n_units = len(set(cluster.tolist())) if c.scope_teachers == "recipe" else len(pairs)
    row["n_units"] = n_units
    units = np.unique(cluster, return_inverse=True)[1] if c.scope_teachers == "recipe" else range(len(pairs))
    row["unit_of"] = dict(zip(pairs, map(int, units), strict=True))
    if n_units < 2:
        why = "fewer than two units" if pairs or not left_out else ""
        if why and c.scope_teachers == "recipe" and len(pairs) > 1:
            why = "fewer than two units: all students have one teacher, of which scope each speaks"
        return row | {"test": c.test, "smallest_p": 1.0, "note": "; ".join(filter(None, (why, left_out)))}

    if of_groups:
        lost = row["n_failed_arm"], row["n_failed_control"]
        return row | _of_groups(evidence, c, pairs, [int(unit) for unit in units], lost, left_out)

    def in_units(values: NDArray[Any]) -> NDArray[Any]:
        return stats.to_units(values, teachers, cluster, c.scope_teachers).values

    values = [np.array([[values[pair] for values in side] for pair in pairs]) for side in sides]  # (pairs, metrics, 2)
    matrix = None
    if c.metric == ASYMMETRY and c.estimator in GAINS:
        strata = None if c.scope_teachers == "recipe" else teachers
        arm, control = (in_units(_counts(side)) for side in values)
        return row | _gain(GAINS[c.estimator], arm, control, strata, ci_level)
    if c.metric == ASYMMETRY and c.estimator == "matched":
        try:
            differences, matrix = _matched(evidence, c, pairs, in_units)
        except metrics.UndefinedMetric as reason:
            return row | {"test": c.test, "note": "; ".join(filter(None, (left_out, str(reason))))}
    elif c.metric == ASYMMETRY:
        differences = _apart(*(_asymmetry(in_units(_counts(side)), c.estimator) for side in values))
    else:
        differences = _apart(*(in_units(side[:, 0, 0]) for side in values))
    if c.scope_examples == "new" and matrix is None:
        matrix = np.subtract(*(_by_example(evidence, c, point, pairs, in_units) for point in (c.arm, c.control)))
    strata = None if c.scope_teachers == "recipe" else teachers
    found = _claimed(differences, matrix, c, strata, ci_level)
    bounds = METRICS[c.metric].bounds if c.metric in METRICS else None
    if bounds and not all(bounds[0] <= value <= bounds[1] for side in sides for value, _ in side[0].values()):
        bounds = None  # a table in another unit, such as accuracy in percent: what it is bounded by is not known
    if row["n_failed_arm"] > row["n_failed_control"] and bounds and matrix is None:
        worst = _worst_case(evidence, c, [side[0] for side in sides], trained, planned, bounds, ci_level)
        left_out = worst["left_out"] = f"{left_out}; {worst['left_out']}"
        found |= worst
    floor = smallest_p(c.test, c.direction, n_units)
    return row | found | {"smallest_p": floor, "note": "; ".join(filter(None, (left_out, found["note"])))}


def _of_groups(
    evidence: Evidence,
    c: Comparison,
    pairs: Sequence[Pair],
    units: Sequence[int],
    lost: tuple[int, int],
    left_out: str,
) -> dict[str, Any]:
    """What all students of an arm have together, minus what the control's have, by exchange of their labels."""
    assert evidence.exchange is not None  # of a protocol that keeps activations
    arm, control = ([(*point_key(point), *pair) for pair in pairs] for point in (c.arm, c.control))
    try:
        found = evidence.exchange(c.metric, arm, control, units, c.threshold, c.alone)
    except metrics.UndefinedMetric as reason:
        return {"estimate": math.nan, "test": c.test, "smallest_p": 1.0,
                "note": "; ".join(filter(None, (str(reason), left_out)))}  # fmt: skip
    opposite = {"greater": "less", "less": "greater"}.get(c.direction)
    left_out = "; ".join(filter(None, (left_out, found.note)))
    return {
        "estimate": found.estimate,
        "levels": found.levels,
        "n_networks": found.networks,
        "n_joined": found.features,
        "test": found.test,
        "p_value": found.p[c.direction],
        "p_reverse": found.p[opposite] if opposite else None,
        "n_units": found.units,
        "smallest_p": smallest_p(c.test, c.direction, found.units),
        "n_failed_arm": lost[0] + found.lost_arm,
        "n_failed_control": lost[1] + found.lost_control,
        "left_out": left_out,
        "note": left_out,
    }


def _first_note(notes: Mapping[Pair, str], pairs: Sequence[Pair], within: str) -> str:
    return next((within.format(notes[pair]) for pair in pairs if notes.get(pair)), "")


RESULT = (
    "estimate", "sem", "df", "ci_low", "ci_high", "test", "statistic", "p_value", "p_reverse", "p_equivalence", "rope",
    "dz", "hedges_g", "rank_biserial", "cles", "bayes_factor", "note",
)  # fmt: skip


def _claimed(
    d: NDArray[Any], matrix: NDArray[Any] | None, c: Comparison, strata: NDArray[Any] | None, ci_level: float
) -> dict[str, Any]:
    """What ``stats.infer`` says of the units' differences, with the p-values of what is claimed.

    A claim at a margin is tested at its margin: not-less, that the mean is above -margin; not-greater, that it is below
    the margin; equivalent, both. Its reverse is a mean beyond the margin.
    """

    def inferred(null: float, alternative: Any, margin: float | None = None) -> stats.Inference:
        shifted = None if matrix is None else matrix - null
        return stats.infer(
            _apart(d, np.full_like(d, null)) if null else d, strata=strata, test=c.test, alternative=alternative,
            level=ci_level, margin=margin, examples=shifted,
        )  # fmt: skip

    if c.direction not in AT_A_MARGIN:
        result = inferred(0.0, c.direction, c.margin)
        return {name: getattr(result, name) for name in RESULT} | {"tested": _tested(d, c)}
    assert c.margin is not None  # of the protocol
    result = inferred(0.0, "two-sided", c.margin)
    bounds = [
        *([inferred(-c.margin, "greater")] if c.direction != "not-greater" else []),
        *([inferred(c.margin, "less")] if c.direction != "not-less" else []),
    ]
    decides = max(bounds, key=lambda bound: _or_one(bound.p_value))
    p_reverse = min(1.0, len(bounds) * min(_or_one(bound.p_reverse) for bound in bounds))
    return {name: getattr(result, name) for name in RESULT} | {
        "test": f"{decides.test}, at the margin",
        "statistic": decides.statistic,
        "p_value": decides.p_value,
        "p_reverse": p_reverse,
        "p_equivalence": None,
        "tested": _tested(d, c),
    }


def _worst_case(
    evidence: Evidence,
    c: Comparison,
    values: Sequence[Mapping[Pair, tuple[float, float]]],
    trained: Sequence[set[Pair]],
    planned: Sequence[Pair],
    bounds: tuple[float, float],
    ci_level: float,
) -> dict[str, Any]:
    """The p-values at their worst over what the networks that failed might have scored, between the metric's bounds.

    A test of a mean difference has its largest one-sided p where all of them score the lowest, or the highest.
    """
    arm, control = values
    pairs = [pair for pair in planned if pair in arm or pair in control]
    pairs = [p for p in pairs if (p in arm or p not in trained[0]) and (p in control or p not in trained[1])]
    teachers = np.array([teacher for teacher, _ in pairs])
    cluster = np.array([evidence.clusters.get(t, t) if c.paired_teachers else t for t in teachers])
    worst: list[dict[str, Any]] = []
    sided: tuple[Direction, ...] = ("greater", "less") if c.direction == "two-sided" else (c.direction,)
    for of_arm, of_control in (bounds, bounds[::-1]):
        d = [arm.get(pair, (of_arm,))[0] - control.get(pair, (of_control,))[0] for pair in pairs]
        units = stats.to_units(d, teachers, cluster, c.scope_teachers).values
        strata = None if c.scope_teachers == "recipe" else teachers
        worst += [_claimed(units, None, replace(c, direction=side), strata, ci_level) for side in sided]
    p = {kind: max(_or_one(found[kind]) for found in worst) for kind in ("p_value", "p_reverse")}
    if c.direction == "two-sided":
        p = {"p_value": min(1.0, 2 * min(max(_or_one(found["p_value"]) for found in worst[i::2]) for i in (0, 1)))}
    if c.margin and c.direction not in AT_A_MARGIN:
        p["p_equivalence"] = max(_or_one(found["p_equivalence"]) for found in worst)
    failed = sum(pair not in arm or pair not in control for pair in pairs)
    low, high = bounds
    left_out = f"p is the worst over what {failed} failed network(s) might have scored, {low:g} to {high:g}"
    return p | {"left_out": left_out, "imputed": True, "tested": None}


def _tested(d: NDArray[Any], c: Comparison) -> dict[str, list[tuple[NDArray[Any], str]]]:
    """The one-sided or two-sided tests behind each p-value, as differences and alternatives, for a joint correction."""
    low, high = ((_apart(d, np.full_like(d, null)) if c.margin else d) for null in (-(c.margin or 0), c.margin or 0))
    if c.direction == "not-less":
        return {"p_value": [(low, "greater")], "p_reverse": [(low, "less")]}
    if c.direction == "not-greater":
        return {"p_value": [(high, "less")], "p_reverse": [(high, "greater")]}
    both = [(low, "greater"), (high, "less")]
    if c.direction == "equivalent":
        return {"p_value": both, "p_reverse": [(low, "less"), (high, "greater")]}
    opposite = {"greater": "less", "less": "greater"}
    return {
        "p_value": [(d, c.direction)],
        "p_reverse": [(d, opposite[c.direction])] if c.direction in opposite else [],
        "p_equivalence": both if c.margin else [],
    }


def _unpaired(evidence: Evidence, table: Table, c: Comparison, ci_level: float) -> dict[str, Any]:
    """Mann–Whitney between two samples of networks that share neither teachers nor seeds: for scores of others.

    A unit is a teacher (the mean of its students), or a seed where the table has no teachers.
    """
    sides = [table.values.get((*point_key(point), c.metric), {}) for point in (c.arm, c.control)]
    recipe = c.scope_teachers == "recipe"
    groups: list[dict[Any, list[float]]] = [{}, {}]
    for group, side in zip(groups, sides, strict=True):
        for (teacher, seed), (value, _) in side.items():
            group.setdefault(teacher if recipe else (teacher, seed), []).append(value)
    x, y = ([float(np.mean(values)) for values in group.values()] for group in groups)
    row: dict[str, Any] = {
        **evidence.identity, "metric": c.metric, "estimator": "shift", "arm": c.arm.arm,
        "arm_params": point_key(c.arm)[1], "control": c.control.arm, "control_params": point_key(c.control)[1],
        "initialisation": c.arm.initialisation, "scope_teachers": c.scope_teachers,
        "scope_examples": c.scope_examples, "n_units": len(x) + len(y), "n_pairs": 0,
        "n_teachers": len({teacher for side in sides for teacher, _ in side}), "n_failed_arm": 0, "n_failed_control": 0,
        "direction": c.direction, "margin": c.margin, "ci_level": ci_level, "left_out": "", "test": c.test,
        "smallest_p": min(1.0, (2 if c.direction == "two-sided" else 1) / math.comb(len(x) + len(y), len(x))),
    }  # fmt: skip
    if min(len(x), len(y)) < 2:
        return row | {"n_units": 1, "note": f"samples of {len(x)} and {len(y)}: both need two units or more"}

    def p(alternative: Any, null: float = 0.0) -> float:
        return float(stats.mann_whitney(np.array(x) - null, y, alternative=alternative).p_value)

    margin, found = c.margin or 0.0, stats.mann_whitney(x, y)
    (low, high), opposite = found.confidence_interval(ci_level), {"greater": "less", "less": "greater"}
    above, below = p("greater", -margin), p("less", margin)
    values = {
        "not-less": (above, p("less", -margin)),
        "not-greater": (below, p("greater", margin)),
        "equivalent": (max(above, below), min(1.0, 2 * min(p("less", -margin), p("greater", margin)))),
        "two-sided": (found.p_value, None),
    }
    p_value, p_reverse = values.get(c.direction) or (p(c.direction), p(opposite[c.direction]))
    equivalence = max(above, below) if c.margin and c.direction not in AT_A_MARGIN else None
    return row | {
        "estimate": found.estimate, "ci_low": low, "ci_high": high, "test": found.test, "statistic": found.statistic,
        "p_value": p_value, "p_reverse": p_reverse, "p_equivalence": equivalence,
        "rank_biserial": stats.cliffs_delta(x, y).estimate, "note": "unpaired: no dz, CLES of pairs or Bayes factor",
    }  # fmt: skip


def _apart(arm: NDArray[Any], control: NDArray[Any]) -> NDArray[Any]:
    """arm − control, where what is left of equal means by rounding is 0: it must not count as a sign."""
    apart = arm - control
    return np.where(np.abs(apart) <= 1e-12 * np.maximum(np.abs(arm), np.abs(control)), 0.0, apart)


def _counts(values: NDArray[Any]) -> NDArray[Any]:
    """(pairs, [A⁺, A⁻], [value, n]) -> (pairs, 4): agreeing where the teacher is right, right; the same where wrong."""
    (right, n_right), (wrong, n_wrong) = (values[:, i].T for i in range(2))
    return np.stack([right * n_right, n_right, wrong * n_wrong, n_wrong], axis=1)


def _asymmetry(counts: NDArray[Any], estimator: str) -> NDArray[Any]:
    right, n_right, wrong, n_wrong = counts.T
    return np.asarray(metrics.asymmetry_score(right, n_right, wrong, n_wrong, estimator=estimator))  # type: ignore[arg-type]


def _by_example(
    evidence: Evidence,
    c: Comparison,
    point: Point,
    pairs: Sequence[Pair],
    in_units: Callable[[NDArray[Any]], NDArray[Any]],
) -> NDArray[np.float64]:
    """Per-example values on the units, (units, N), whose row means are the units' scores."""
    keys: list[Key] = [(*point_key(point), *pair) for pair in pairs]
    if c.metric != ASYMMETRY:
        assert evidence.per_example is not None  # hypotheses about new examples are refused where there are none
        return in_units(evidence.per_example(c.metric, keys))
    assert evidence.agreements is not None
    right, agrees = evidence.agreements(keys)
    right_units, with_right, with_wrong = (
        in_units(part.astype(np.float64)) for part in (right, right & agrees, ~right & agrees)
    )
    return metrics.asymmetry_influence(right_units, with_right, with_wrong, estimator=c.estimator)  # type: ignore[arg-type]


def _matched(
    evidence: Evidence, c: Comparison, pairs: Sequence[Pair], in_units: Callable[[NDArray[Any]], NDArray[Any]]
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """The asymmetry with examples matched for difficulty: a number a unit, and per-example values for new examples."""
    if evidence.agreements is None or evidence.held_out is None:
        raise metrics.UndefinedMetric(
            "examples are matched for difficulty where predictions are at hand, not scores alone"
        )
    arm, control = ([(*point_key(point), *pair) for pair in pairs] for point in (c.arm, c.control))
    right, arm_agrees = evidence.agreements(arm)
    _, control_agrees = evidence.agreements(control)
    stratum, held_out = evidence.held_out(arm)
    by_student = metrics.matched_counts(right, arm_agrees, control_agrees, stratum, held_out)
    of_units = in_units(by_student)
    score = np.atleast_1d(metrics.matched_score(of_units))
    if c.scope_examples != "new":
        return score, None
    unit_of = in_units(np.eye(len(pairs))).T > 0  # (pairs, units)
    own = of_units[unit_of.argmax(1)]
    return score, in_units(metrics.matched_influence(own, right, arm_agrees, control_agrees, stratum))


def _gain(
    teacher_is: Literal["right", "wrong"],
    arm: NDArray[Any],
    control: NDArray[Any],
    strata: NDArray[Any] | None,
    ci_level: float,
) -> dict[str, Any]:
    """g⁺ or g⁻, the share of what the control left to gain, with Fieller's interval over the units of this test set."""
    at = 0 if teacher_is == "right" else 2
    try:
        gain, room = metrics.headroom_gains(arm[:, at], control[:, at], arm[:, at + 1], teacher_is)
    except metrics.UndefinedMetric as reason:
        return {"test": "none", "note": str(reason), "scope_examples": "this test set"}
    ratio = stats.fieller(gain, room, level=ci_level, strata=strata)
    found = {"estimate": ratio.estimate, "ci_low": ratio.low, "ci_high": ratio.high, "note": ratio.note}
    return found | {"test": "none", "scope_examples": "this test set"}


# Verdicts --------------------------------------------------------------------------------------------------------


def decide(
    p_adjusted: float, p_refuted: float, p_equivalence: float | None, level: float, more_failures: bool = False
) -> str:
    """The verdict from adjusted p-values: what the hypothesis says, its opposite, and equivalence at its margin.

    Examples
    --------
    >>> decide(0.01, 1.0, None, 0.05), decide(0.01, 1.0, 0.02, 0.05), decide(0.4, 1.0, 0.02, 0.05)
    ('supported', 'negligible', 'equivalent')
    >>> decide(1.0, 0.01, None, 0.05), decide(0.4, 0.6, None, 0.05), decide(0.01, 1.0, None, 0.05, more_failures=True)
    ('refuted', 'inconclusive', 'inconclusive')
    """
    if more_failures:
        return "inconclusive"
    significant, reversed_ = p_adjusted <= level, p_refuted <= level
    if p_equivalence is not None and p_equivalence <= level:
        return "negligible" if significant or reversed_ else "equivalent"
    return "supported" if significant else "refuted" if reversed_ else "inconclusive"


def judge(
    evidence: Evidence, hypotheses: Sequence[HypothesisPoint], level: float, correction: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Contrasts and verdicts of declared hypotheses.

    A hypothesis's p is the largest over its controls (intersection–union); its refutation's is the smallest over the
    controls times their number (Holm); its equivalence's the largest. Each kind is then corrected over the family.
    A hypothesis of scope "each" is one claim a teacher. What was declared after training is a family of its own, so
    that it changes no verdict declared before.

    Returns
    -------
    contrasts, verdicts : tidy tables (docs/architecture.md)
    """
    return judge_datasets({"": (evidence, hypotheses)}, level, correction)


def judge_datasets(
    cases: Mapping[str, tuple[Evidence, Sequence[HypothesisPoint]]], level: float, correction: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """``judge`` over several datasets, by name: each hypothesis is one claim a dataset, in a family with the others."""
    claims: list[list[dict[str, Any]]] = []  # of each claim a row for every control
    for dataset, (evidence, hypotheses) in cases.items():
        table = tabulate(evidence.scores)
        for point in hypotheses:
            claims += _claims(evidence, table, point, dataset, 1 - level)
    verdicts = []
    for family in dict.fromkeys(rows[0]["family"] for rows in claims):
        members = [rows for rows in claims if rows[0]["family"] == family]
        used = _correction_used(members, correction)
        supports = _adjusted(members, "p_value", used)
        refutes = _adjusted(members, "p_reverse", used)
        with_margin = [i for i, rows in enumerate(members) if rows[0]["margin"] and not _at_a_margin(rows)]
        of_margin = _adjusted([members[i] for i in with_margin], "p_equivalence", used)
        equivalences = dict(zip(with_margin, of_margin, strict=True))
        for i, rows in enumerate(members):
            sizes = len(members), len(with_margin)
            verdict = _verdict(rows, supports[i], refutes[i], equivalences.get(i), sizes, level, used)
            verdicts.append(verdict)
            for row in rows:
                row |= {"p_adjusted": verdict["p_adjusted"], "correction": used, "verdict": verdict["verdict"]}
    order = {name: i for i, name in enumerate(rows[0]["hypothesis"] for rows in claims)}
    verdicts.sort(key=lambda verdict: order[verdict["hypothesis"]])
    again = [other | {"family": ""} for rows in claims for row in rows for other in row.get("sensitivity", ())]
    return _frame([row for rows in claims for row in rows] + again, CONTRASTS), _frame(verdicts, VERDICTS)


def _claims(
    evidence: Evidence, table: Table, point: HypothesisPoint, dataset: str, ci_level: float
) -> list[list[dict[str, Any]]]:
    """A hypothesis's claims, one or one a teacher; of each a row for every control."""
    by_teacher = point.scope_teachers == "each"
    teachers = dict.fromkeys(teacher for teacher, _ in evidence.pairs) if by_teacher else (None,)
    claims = []
    for teacher in teachers:
        at = [f"dataset={dataset}"] * bool(dataset) + [f"teacher={teacher}"] * by_teacher
        comparison = Comparison(
            point.metric, point.arm, point.arm, point.scope_teachers, point.scope_examples, point.test,
            point.direction, point.margin, "headroom" if point.metric == ASYMMETRY else "mean_difference", teacher,
            in_pairs(point),
        )  # fmt: skip
        common = {
            "hypothesis": f"{point.name}[{' '.join(at)}]" if at else point.name,
            "declared": _declared(evidence, [point.arm, *point.controls], point.name),
            "kind": "confirmatory",
            "family": LATE_FAMILY if point.name in evidence.late else point.family,
        }
        rows = [common | contrast(evidence, table, replace(comparison, control=c), ci_level) for c in point.controls]
        again: list[Comparison] = []
        if point.metric == ASYMMETRY and evidence.agreements is not None:
            again = [replace(comparison, estimator="matched")]
        elif point.metric in GROUP_METRICS:
            again = [replace(comparison, estimator=f"threshold {t:g}", threshold=t) for t in evidence.thresholds]
            again.insert(0, replace(comparison, estimator=ALONE, alone=True))
        for row, control in zip(rows, point.controls, strict=True):
            row["sensitivity"] = [
                common | contrast(evidence, table, replace(other, control=control), ci_level) | {"kind": "sensitivity"}
                for other in again
            ]
        claims.append(rows)
    return claims


def _at_a_margin(rows: list[dict[str, Any]]) -> bool:
    return rows[0]["direction"] in AT_A_MARGIN


def _correction_used(members: list[list[dict[str, Any]]], correction: str) -> str:
    """max-T flips the same units throughout: where failed networks left other ones, Holm, and the rows say so."""
    if correction != "max-t":
        return correction
    rows = [row for claim in members for row in claim]
    if not all(row.get("tested") for row in rows):
        return "holm"
    place: dict[Any, int] = {}  # of each pair of networks, the one unit of every test that it counts in
    aligned = all(
        place.setdefault((row.get("dataset"), row.get("split"), pair), unit) == unit
        for row in rows
        for pair, unit in row["unit_of"].items()
    )
    return correction if aligned and len({row["n_units"] for row in rows}) == 1 else "holm"


def _adjusted(members: list[list[dict[str, Any]]], kind: str, correction: str) -> list[float]:
    """Adjusted p-values of the hypotheses of a family: of their support, refutation or equivalence.

    By max-T over every test of every control at once, of which a hypothesis takes the largest (refutation: the
    smallest, which needs no further correction).
    """
    fold = min if kind == "p_reverse" else max
    if correction != "max-t":
        folded = [fold(_or_one(row.get(kind)) for row in rows) for rows in members]
        times = [len(rows) if kind == "p_reverse" else 1 for rows in members]
        p = [min(1.0, k * value) for k, value in zip(times, folded, strict=True)]
        return [float(value) for value in stats.adjust(p, correction)] if p else []
    flat = [(i, d, side) for i, rows in enumerate(members) for row in rows for d, side in row["tested"].get(kind, [])]
    if not flat:
        return [1.0] * len(members)
    joint = stats.max_t(np.array([d for _, d, _ in flat]), alternatives=[side for _, _, side in flat])
    by_member: dict[int, list[float]] = {}
    for (i, _, _), p_adjusted in zip(flat, joint.p_value, strict=True):
        by_member.setdefault(i, []).append(float(p_adjusted))
    return [fold(by_member.get(i, [1.0])) for i in range(len(members))]


def _or_one(p: float | None) -> float:
    return 1.0 if p is None or np.isnan(p) else p


def _worst(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return max(rows, key=lambda row: _or_one(row.get("p_value")))


def _verdict(
    rows: list[dict[str, Any]],
    p_adjusted: float,
    p_refuted: float,
    p_equivalence: float | None,
    family_sizes: tuple[int, int],
    level: float,
    correction: str,
) -> dict[str, Any]:
    more_failures = any(row["n_failed_arm"] > row["n_failed_control"] and not row.get("imputed") for row in rows)
    incomplete = any(row["n_units"] < 2 for row in rows)
    verdict = "inconclusive" if incomplete else decide(p_adjusted, p_refuted, p_equivalence, level, more_failures)
    fragile = [row for row in rows if _contradicted(row, level, verdict)]
    shown = _worst(rows)
    if verdict == "refuted":
        shown = min(rows, key=lambda row: _or_one(row.get("p_reverse")))
    elif more_failures:
        shown = max(rows, key=lambda row: row["n_failed_arm"] - row["n_failed_control"])
    if fragile:
        shown = fragile[0] | {"against": _contradicted(fragile[0], level, verdict)[0]}
        verdict = "inconclusive"
    p_value = None if any(np.isnan(row.get("p_value", np.nan)) for row in rows) else _worst(rows)["p_value"]
    record = {
        **{name: shown.get(name) for name in VERDICTS if name in shown},
        "controls": ", ".join(dict.fromkeys(row["control"] for row in rows)),
        "p_value": p_value,
        "p_adjusted": None if p_value is None else p_adjusted,
        "p_refuted": None if incomplete or shown["direction"] == "two-sided" else p_refuted,
        "p_equivalence": None if incomplete else p_equivalence,
        "correction": correction,
        "level": level,
        "verdict": verdict,
    }
    return record | {"sentence": sentence(record, shown, family_sizes, more_failures)}


def _contradicted(row: Mapping[str, Any], level: float, verdict: str) -> list[dict[str, Any]]:
    """The sensitivity rows that speak against a verdict.

    The asymmetry that is not there between examples that are alike in difficulty; a number of features that goes the
    other way (significantly) where components are joined from another correlation on, or (at all) where each group is
    joined by itself.
    """
    found = []
    for other in row.get("sensitivity", ()) if verdict in ("supported", "refuted") else ():
        if other["estimator"] == "matched":
            p = other.get("p_value")
            against = verdict == "supported" and p is not None and p > level
        else:
            against = other["estimate"] * row["estimate"] < 0
            against &= other["estimator"] == ALONE or _p_of_its_side(other) <= level
        found += [other] if against else []
    return found


def _p_of_its_side(row: Mapping[str, Any]) -> float:
    """The one-sided p of the direction in which the estimate lies."""
    if row["direction"] == "two-sided":
        return _or_one(row.get("p_value")) / 2
    return min(_or_one(row.get("p_value")), _or_one(row.get("p_reverse")))


# Sentences -------------------------------------------------------------------------------------------------------


def number(value: float) -> str:
    """Three significant digits, never scientific above 0.001."""
    return f"{value:.3g}" if abs(value) >= 0.001 or value == 0 else f"{value:.1e}"


def p_words(p: float) -> str:
    """What follows "p".

    Examples
    --------
    >>> p_words(0.0625), p_words(0.0)
    ('= 0.0625', '< 1e-99')
    """
    return f"= {number(p)}" if p >= SMALLEST_SHOWN else f"< {SMALLEST_SHOWN:g}"


def named(arm: str, params: str) -> str:
    return f"{arm} ({params.replace(' ', ', ')})" if params else arm


def scope_words(row: Mapping[str, Any]) -> str:
    """The scope of a row in words: which teachers, which examples."""
    units = f"{row['n_units']} "
    if row["scope_teachers"] == "recipe":
        paired = row["n_units"] < row["n_teachers"]
        teachers = f"teachers of this recipe ({units}{'pairs of teachers' if paired else 'teachers'})"
    elif row["scope_teachers"] == "these":
        several = row["n_teachers"] > 1  # else of one teacher, or a table that names none
        teachers = f"these {row['n_teachers']} teachers ({units}students)" if several else f"these {units}students"
    else:
        teachers = f"teacher {row['teacher']} alone ({units}students)"
    return f"{teachers}, {'on new examples' if row['scope_examples'] == 'new' else 'on this test set'}"


def sentence(
    verdict: Mapping[str, Any], row: Mapping[str, Any], family_sizes: tuple[int, int], more_failures: bool
) -> str:
    """Why the verdict is what it is, from the record that the table prints.

    Parameters
    ----------
    verdict : the row of the verdicts table
    row : the contrast that decided: the control with the largest p, or the one that refuted
    family_sizes : hypotheses in the family, and those of them with a margin
    more_failures : the arm failed to train more often than a control
    """
    metric = row["metric"]
    label = "The asymmetry h" if metric == ASYMMETRY else metric_label(metric)
    arm, control = named(row["arm"], row["arm_params"]), named(row["control"], row["control_params"])
    if row["n_units"] < 2 or np.isnan(row["estimate"]):
        return f"{label} of {arm} minus {control}: not measurable ({row['note']})."
    several = ", " in verdict["controls"]
    closest = ", the closest control" if several and verdict["verdict"] != "refuted" else ""
    estimate = f"{label} of {arm} minus {control}{closest}: {number(row['estimate'])}, {interval(row)}"
    reason = _reason(verdict, row, several, family_sizes, more_failures)
    missing = f" ({row['left_out']})" if row["left_out"] else ""
    return f"{estimate}; {reason}. Speaks of {scope_words(row)}{missing}."


def _reason(
    verdict: Mapping[str, Any],
    row: Mapping[str, Any],
    several: bool,
    family_sizes: tuple[int, int],
    more_failures: bool,
) -> str:
    if more_failures:
        return (
            f"{row['n_failed_arm']} of its replicates failed to train against {row['n_failed_control']} of the"
            " control's, and what is left cannot decide"
        )
    if verdict["p_value"] is None and verdict["verdict"] == "inconclusive":
        return f"it could not be tested ({row['note']})"

    if other := row.get("against"):
        if other["estimator"] == "matched":
            return (
                f"but between examples of equal difficulty it is {number(other['estimate'])}, {interval(other)}"
                f" (p {p_words(other['p_value'])}): what is claimed may be difficulty alone"
            )
        depends, otherwise = "the correlation that makes a feature", f"with {other['estimator']}"
        if other["estimator"] == ALONE:
            depends, otherwise = "which networks are joined", ALONE
        return (
            f"one-sided p {p_words(_p_of_its_side(row))}, but {otherwise} it is"
            f" {number(other['estimate'])} (p {p_words(_p_of_its_side(other))}): which way it goes depends on {depends}"
        )

    def after(size: int) -> str:
        return f"after {CORRECTION_NAMES[verdict['correction']]} over {size} hypothes{'is' if size == 1 else 'es'}"

    control = f"{'every' if several else 'the'} control"
    claimed = f"{DIRECTIONS[row['direction']]} {control}"
    if row["direction"] in AT_A_MARGIN:
        claimed += f" (margin {row['margin']:g})"
    p = ""
    if verdict["p_value"] is not None:
        adjusted = p_words(verdict["p_adjusted"]).removeprefix("= ")
        p = f"p {p_words(verdict['p_value'])}, {adjusted} {after(family_sizes[0])}"
    within = ""
    if verdict["p_equivalence"] is not None:
        within = f"within ±{row['margin']:g} (p {p_words(verdict['p_equivalence'])} {after(family_sizes[1])})"
    doubt = ", which other features may do by themselves" if row["metric"] == "mean_frequency" else ""
    if verdict["verdict"] == "supported":
        return f"{claimed}, {p}{doubt}"
    if verdict["verdict"] == "negligible":
        return f"significant but {within}: a difference that the protocol calls negligible"
    if verdict["verdict"] == "equivalent":
        return f"{within} of {control}"
    if verdict["verdict"] == "refuted" and row["direction"] in AT_A_MARGIN:
        p = f"p {p_words(verdict['p_refuted'])} {after(family_sizes[0])}"
        return f"beyond the margin of {row['margin']:g} on the side that was claimed not to be, {p}"
    if verdict["verdict"] == "refuted":
        return f"the opposite of what was claimed, p {p_words(verdict['p_refuted'])} {after(family_sizes[0])}{doubt}"
    hopeless = row["smallest_p"] > verdict["level"]
    return (
        f"not shown to be {claimed}, {p}"
        + (f", nor to lie {within}" if within else "")
        + (f"; no outcome of this test is below p = {number(row['smallest_p'])}" if hopeless else "")
    )


def _from_to(row: Mapping[str, Any]) -> str:
    arm, control = map(number, row["levels"])
    return f"from {control} to {arm}"


def interval(row: Mapping[str, Any]) -> str:
    """An interval as text, or why there is none."""
    if str(row["test"]).startswith("label exchange"):
        teachers = " and the teachers" if row["metric"] == "shared_features" else ""
        found = f"{_from_to(row)}, {row['n_networks']} networks each, joined with each other{teachers}"
        alone = [other for other in row.get("sensitivity", ()) if other["estimator"] == ALONE and "levels" in other]
        apart = f"; {ALONE} {_from_to(alone[0])}" if alone else ""
        return f"{found} to {row['n_joined']} features{apart}; no interval"
    if np.isnan(row["ci_low"]):
        return "no interval, for want of spread between the units"
    kind = "confidence sequence" if str(row["test"]).startswith("anytime") else "interval"
    return f"{100 * row['ci_level']:g} % {kind} [{number(row['ci_low'])}, {number(row['ci_high'])}]"


# Exploratory and descriptive rows --------------------------------------------------------------------------------


def explore(
    evidence: Evidence, comparisons: Sequence[Comparison], level: float, correction: str
) -> pd.DataFrame:  # fmt: skip
    """Rows that nobody declared: two-sided, corrected among themselves; the asymmetry's estimators without a p."""
    table = tabulate(evidence.scores)
    rows = []
    for comparison in comparisons:
        row = contrast(evidence, table, comparison, 1 - level)
        row |= {"declared": _declared(evidence, [comparison.arm, comparison.control]), "kind": "exploratory"}
        primary = comparison.estimator == "headroom" and swaps_teachers(comparison.control.kind)
        if comparison.metric == ASYMMETRY and not primary:
            note = NO_VERDICT + metrics.caution(comparison.estimator, swaps_teachers(comparison.control.kind))
            empty = dict.fromkeys(("p_value", "p_reverse", "p_equivalence", "bayes_factor", "statistic"))
            row |= empty | {"kind": "descriptive", "note": "; ".join(filter(None, (note, row.get("note"))))}
        rows.append(row)
    tested = [row for row in rows if row["kind"] == "exploratory" and _or_one(row.get("p_value")) == row.get("p_value")]
    for row, p in zip(
        tested, stats.adjust([row["p_value"] for row in tested], correction) if tested else (), strict=True
    ):
        row |= {"p_adjusted": p, "family": "exploratory", "correction": correction}
    return _frame(rows, CONTRASTS)


def _declared(evidence: Evidence, points: Sequence[Point], hypothesis: str | None = None) -> str:
    """When a row was declared: before training, or what of it came after."""
    if not evidence.recorded:
        return "not recorded"
    after = [
        *(["hypothesis"] if hypothesis in evidence.late else []),
        *(["arm"] if any(point_key(point) in evidence.late for point in points) else []),
        *(["seeds"] if ("seeds",) in evidence.late else []),
        *(["networks existed"] if ("networks",) in evidence.late else []),
    ]
    return f"{LATE}: {', '.join(after)}" if after else "before training"


CONTRASTS = (
    "protocol", "protocol_hash", "hypothesis", "declared", "kind", "metric", "estimator", "dataset", "split", "arm",
    "arm_params", "control", "control_params", "initialisation", "scope_teachers", "scope_examples", "teacher",
    "n_teachers", "n_units", "n_pairs", "n_failed_arm", "n_failed_control", "direction", "estimate", "sem", "df",
    "ci_low", "ci_high", "ci_level", "test", "statistic", "p_value", "p_reverse", "p_equivalence", "margin",
    "smallest_p", "p_adjusted", "family", "correction", "rope", "dz", "hedges_g", "rank_biserial", "cles",
    "bayes_factor", "verdict", "note", "version",
)  # fmt: skip
VERDICTS = (
    "protocol", "protocol_hash", "hypothesis", "declared", "metric", "estimator", "arm", "arm_params", "controls",
    "direction", "scope_teachers", "scope_examples", "teacher", "n_units", "estimate", "ci_low", "ci_high", "ci_level",
    "test", "p_value", "p_adjusted", "p_refuted", "p_equivalence", "margin", "family", "correction", "level", "verdict",
    "sentence", "version",
)  # fmt: skip
TEXT = {
    "protocol", "protocol_hash", "hypothesis", "declared", "kind", "metric", "estimator", "dataset", "split", "arm",
    "arm_params", "control", "control_params", "controls", "initialisation", "scope_teachers", "scope_examples",
    "direction", "test", "family", "correction", "verdict", "note", "sentence", "version",
}  # fmt: skip


def _frame(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> pd.DataFrame:
    """Rows as a table with all columns, typed: text is text, whole numbers are whole, what is missing is empty."""
    frame = pd.DataFrame([{**row, "version": kdstats.__version__} for row in rows], columns=list(columns))
    for column in columns:
        if column in TEXT:
            frame[column] = frame[column].astype(object).where(frame[column].notna(), "").astype(str)
        elif column == "teacher" or column.startswith("n_"):
            frame[column] = frame[column].astype("Int64")
        else:
            frame[column] = frame[column].astype(float)
    return frame
