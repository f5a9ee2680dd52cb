"""From scores and predictions to contrasts: arm minus control on the units of a scope, one row each."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kdstats import inheritance, metrics, stats
from kdstats.catalog import ASYMMETRY, AT_A_MARGIN, METRICS, RULES
from kdstats.comparisons import Comparison, apart, claimed, or_one
from kdstats.inheritance import Swapped
from kdstats.plan import smallest_p
from kdstats.protocol import CONTROL_FLOOR, Direction, Point
from kdstats.scoring import Key, point_key
from kdstats.sentences import p_words

Pair = tuple[int, int]  # teacher, student seed


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
    swapped : (arm, control, pairs of teacher and seed) -> teachers that were swapped and the students of both; None
        where only scores are at hand
    plain : accuracy is held against that of this point, the arm of labels alone; None where there is none
    late : hypothesis names and points (arm, parameters) declared after training; ("seeds",) if any were;
        ("networks",) if students of this protocol existed before it was frozen (in a shared store, say)
    identity : columns that every row begins with: protocol, protocol_hash, dataset, split
    recorded : whether it is known when things were declared; of scores that others made it is not
    exchange : (group metric, keys, keys, unit of each pair, γ, whether each is joined alone) -> difference of the
        groups and its p-values
    thresholds : other γ at which a claim on a group metric must not be contradicted
    classes : how many the data have, where it is known
    rules : the edition of the rules for verdicts (kdstats.catalog.RULES)
    control_floor : how far below the plain control's accuracy a control may lie and still decide
    missing : what it means that a network has no score. "failed": of a run, where a network without any score failed to
        train, which counts at its worst where the arm fails more often. Of a table of others, however the gap is
        written (no row, an empty value, rows of other metrics alone): "drop", it was never logged, and its pair is left
        out; "worst", it might have scored anything, and p is the largest that it could be
    """

    scores: pd.DataFrame
    pairs: tuple[Pair, ...]
    clusters: Mapping[int, int] = field(default_factory=dict)
    per_example: Callable[[str, Sequence[Key]], NDArray[np.float64]] | None = None
    agreements: Callable[[Sequence[Key]], tuple[NDArray[np.bool_], NDArray[np.bool_]]] | None = None
    swapped: Callable[[Point, Point, Sequence[Pair]], Swapped] | None = None
    plain: Point | None = None
    late: frozenset[Any] = frozenset()
    identity: Mapping[str, str] = field(default_factory=dict)
    recorded: bool = True
    exchange: Callable[[str, Sequence[Key], Sequence[Key], Sequence[int], float | None, bool], Any] | None = None
    thresholds: Sequence[float] = ()
    classes: int = 0
    rules: int = RULES
    control_floor: float = CONTROL_FLOOR
    missing: Literal["failed", "drop", "worst"] = "failed"


@dataclass(frozen=True)
class Table:
    """Scores by what a contrast asks for.

    Attributes
    ----------
    values : (arm, parameters, metric) -> {(teacher, seed): (value, n)}, of what is defined
    trained : (arm, parameters) -> {(teacher, seed)} of what has a value of any metric; a network without one failed
    undefined : (arm, parameters, metric) -> {(teacher, seed): why a value does not exist}
    known : (arm, parameters) -> {(teacher, seed)} of what has a row, of any metric, with or without a value
    """

    values: dict[tuple[str, str, str], dict[Pair, tuple[float, float]]]
    trained: dict[tuple[str, str], set[Pair]]
    undefined: dict[tuple[str, str, str], dict[Pair, str]]
    known: dict[tuple[str, str], set[Pair]]


def tabulate(scores: pd.DataFrame) -> Table:
    """A tidy table of scores, ready for lookups."""
    students = scores[scores["seed"].notna()]
    table = Table({}, {}, {}, {})
    notes = students["note"] if "note" in students else [""] * len(students)
    columns = ("arm", "arm_params", "metric", "teacher", "seed", "value", "n")
    rows = zip(*(students[column] for column in columns), notes, strict=True)
    for arm, params, metric, teacher, seed, value, n, note in rows:
        pair = int(teacher), int(seed)
        table.known.setdefault((arm, params), set()).add(pair)
        if np.isnan(value):
            table.undefined.setdefault((arm, params, metric), {})[pair] = note if isinstance(note, str) else ""
        else:
            table.trained.setdefault((arm, params), set()).add(pair)
            table.values.setdefault((arm, params, metric), {})[pair] = (float(value), float(n))
    return table


def without_score(
    table: Table, metric: str, arm: Point, control: Point, unpaired: bool = False
) -> list[tuple[Point, Pair]]:
    """The networks of a contrast that have no score though one is due, arm's first, however the gap is written.

    Paired, a score is due where the other side has one: a pair that neither side has says nothing. Of unpaired samples
    it is due where the table knows the network, by an empty value or by another metric; one without a row is unknown.
    """
    sides = [set(table.values.get((*point_key(point), metric), ())) for point in (arm, control)]
    due = sides[::-1]
    if unpaired:
        due = [table.known.get(point_key(point), set()) for point in (arm, control)]
    return [
        (point, pair)
        for point, expected, there in zip((arm, control), due, sides, strict=True)
        for pair in sorted(expected - there)
    ]


def network_names(missing: Sequence[tuple[Point, Pair]], teachers: bool, most: int = 3) -> str:
    """Networks in words: kd (alpha=0.5, teacher 3, seed 0), ce (seed 1) and 7 more.

    Parameters
    ----------
    teachers : whether the table tells teachers apart
    most : how many are named
    """
    names = []
    for point, (teacher, seed) in missing:
        arm, params = point_key(point)
        of_teacher = [f"teacher {teacher}"] if teachers else []
        names.append(f"{arm} ({', '.join([*params.split(), *of_teacher, f'seed {seed}'])})")
    if len(names) > most + 1:
        names[most:] = [f"{len(names) - most} more"]
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def contrast(evidence: Evidence, table: Table, comparison: Comparison, ci_level: float) -> dict[str, Any]:
    """One row of the contrasts: arm minus control, paired by seed within teacher, on the units of the scope.

    With scope "recipe" a unit is a teacher (the mean of its students), or a pair of teachers where they taught each
    other's kd-other students; with "these" and "each" it is a student. The descriptive h and raw asymmetry are computed
    from the mean counts of each unit; W, K and θ₀ in ``kdstats.inheritance``.
    """
    c = comparison
    if c.test == "mann-whitney":
        return _unpaired(evidence, table, c, ci_level)
    of_groups, of_swaps = c.test == "label-exchange", c.estimator in inheritance.ESTIMATORS
    needed: tuple[str, ...] = (c.metric,) if c.metric != ASYMMETRY else ("positive_transfer", "negative_transfer")
    needed = () if of_groups or of_swaps else needed
    keys = [[(*point_key(point), name) for name in needed] for point in (c.arm, c.control)]
    sides = [[table.values.get(key, {}) for key in side] for side in keys]
    planned = [pair for pair in evidence.pairs if c.teacher is None or pair[0] == c.teacher]
    if c.test == "anytime":  # in the order in which seeds are added
        planned.sort(key=lambda pair: (pair[1], pair[0]))
    trained = [table.trained.get(point_key(point), set()) for point in (c.arm, c.control)]
    of_table, neither = evidence.missing != "failed", 0
    if of_table:  # whatever else is known of a network changes nothing
        trained = [{pair for pair in planned if all(pair in v for v in side)} for side in sides]
        known = [table.known.get(point_key(point), set()) for point in (c.arm, c.control)]
        neither = sum(pair in known[0] & known[1] and pair not in trained[0] | trained[1] for pair in planned)
        planned = [pair for pair in planned if pair in trained[0] | trained[1]]
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
    if of_table:
        left_out = _missing_words(evidence, c, table, [p for p in planned if p in failed], len(planned), neither, notes)
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
        "missing": evidence.missing,
    }
    if of_swaps:
        return row | _of_swaps(evidence, c, pairs, ci_level, left_out)
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
    if c.metric == ASYMMETRY:
        differences = apart(*(_asymmetry(in_units(_counts(side)), c.estimator) for side in values))
    else:
        differences = apart(*(in_units(side[:, 0, 0]) for side in values))
    if c.scope_examples == "new":
        matrix = np.subtract(*(_by_example(evidence, c, point, pairs, in_units) for point in (c.arm, c.control)))
    strata = None if c.scope_teachers == "recipe" else teachers
    found = claimed(differences, matrix, c, strata, ci_level)
    bounds = _bounds(c.metric, [value for side in sides for value, _ in side[0].values()])
    imputed = failed if evidence.missing == "worst" else row["n_failed_arm"] > row["n_failed_control"]
    if imputed and evidence.missing != "drop" and bounds and matrix is None:
        worst = _worst_case(evidence, c, [side[0] for side in sides], trained, planned, bounds, ci_level)
        if of_table:
            worst["left_out"] = _worst_words(bounds, found["p_value"])
        left_out = worst["left_out"] = f"{left_out}; {worst['left_out']}"
        found |= worst
    floor = smallest_p(c.test, c.direction, n_units)
    return row | found | {"smallest_p": floor, "note": "; ".join(filter(None, (left_out, found["note"])))}


def _of_swaps(
    evidence: Evidence, c: Comparison, pairs: Sequence[Pair], ci_level: float, left_out: str
) -> dict[str, Any]:
    """W, K or θ₀: of the students of both arms together, by who taught them."""
    if evidence.swapped is None:
        why = "students of swapped teachers are compared answer by answer, which scores do not hold"
        return {"n_units": 0, "test": c.test, "smallest_p": 1.0, "note": why}
    both = [evidence.clusters.get(teacher, teacher) for teacher in {teacher for teacher, _ in pairs}]
    whole = [pair for pair in pairs if both.count(evidence.clusters.get(pair[0], pair[0])) == 2]
    if dropped := len({teacher for teacher, _ in pairs}) - len({teacher for teacher, _ in whole}):
        left_out = "; ".join(
            filter(None, (left_out, f"{dropped} teachers are left out: their partner has no students"))
        )
    units = sorted({evidence.clusters[teacher] for teacher, _ in whole})
    n_units = len(units) if c.scope_teachers == "recipe" else 2 * len(whole)
    found: dict[str, Any] = {
        "n_units": n_units, "n_teachers": len({teacher for teacher, _ in whole}), "n_pairs": len(whole),
        "left_out": left_out, "unit_of": {pair: units.index(evidence.clusters[pair[0]]) for pair in whole},
        "smallest_p": smallest_p(c.test, c.direction, n_units),
    }  # fmt: skip
    if not whole:
        note = "; ".join(filter(None, ("no pair of teachers has students of both", left_out)))
        return found | {"estimate": math.nan, "test": c.test, "smallest_p": 1.0, "note": note}
    try:
        of = evidence.swapped(c.arm, c.control, whole)
        if c.scope_teachers == "these":
            found["n_units"] = len(of.students)
        result = inheritance.tested(of, c, ci_level)
    except metrics.UndefinedMetric as reason:
        note = "; ".join(filter(None, (str(reason), left_out)))
        return found | {"estimate": math.nan, "test": c.test, "smallest_p": 1.0, "note": note}
    return found | result | {"note": "; ".join(filter(None, (left_out, result["note"])))}


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


def _missing_words(
    evidence: Evidence,
    c: Comparison,
    table: Table,
    failed: Sequence[Pair],
    n_planned: int,
    neither: int,
    notes: Mapping[Pair, str],
) -> str:
    """What is missing of a table of others, by name, and as what it is taken."""
    at = set(failed)
    missing = [one for one in without_score(table, c.metric, c.arm, c.control) if one[1] in at]
    said = []
    if missing:
        have = "has" if len(missing) == 1 else "have"
        who = network_names(missing, len({teacher for teacher, _ in evidence.pairs}) > 1)
        why = _first_note(notes, failed, " ({})")
        taken = f"no {c.metric}{why}"
        if evidence.missing == "drop":
            pairs = f"{len(failed)} of {n_planned} pairs {'is' if len(failed) == 1 else 'are'} left out"
            said.append(f"{pairs}: {who} {have} {taken}, taken as unlogged at random (--missing drop)")
        else:
            said.append(f"{who} {have} {taken}")
    if neither:
        said.append(f"{neither} pair{'s have' if neither > 1 else ' has'} no {c.metric} on either side")
    return "; ".join(said)


def _worst_words(bounds: tuple[float, float], without: float | None) -> str:
    """That p is the worst, and what it would be without the pairs that lack a score."""
    low, high = bounds
    left = "" if without is None or np.isnan(without) else f", and p {p_words(without)} with what is there alone"
    return f"p is the worst over what is missing, {low:g} to {high:g} (--missing worst){left}"


def _first_note(notes: Mapping[Pair, str], pairs: Sequence[Pair], within: str) -> str:
    return next((within.format(notes[pair]) for pair in pairs if notes.get(pair)), "")


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
    strata = None if c.scope_teachers == "recipe" else teachers

    def at(ends: tuple[float, float]) -> Callable[[Direction], Mapping[str, Any]]:
        d = [arm.get(pair, (ends[0],))[0] - control.get(pair, (ends[1],))[0] for pair in pairs]
        units = stats.to_units(d, teachers, cluster, c.scope_teachers).values
        return lambda direction: claimed(units, None, replace(c, direction=direction), strata, ci_level)

    p = _worst_of([at(bounds), at(bounds[::-1])], c.direction)
    if not c.margin or c.direction in AT_A_MARGIN:
        del p["p_equivalence"]
    failed = sum(pair not in arm or pair not in control for pair in pairs)
    low, high = bounds
    left_out = f"p is the worst over what {failed} failed network(s) might have scored, {low:g} to {high:g}"
    return p | {"left_out": left_out, "imputed": True, "tested": None}


def _unpaired(evidence: Evidence, table: Table, c: Comparison, ci_level: float) -> dict[str, Any]:
    """Mann–Whitney between two samples of networks that share neither teachers nor seeds: for scores of others.

    A unit is a teacher (the mean of its students), or a seed where the table has no teachers.
    """
    sides = [
        {pair: value for pair, (value, _) in table.values.get((*point_key(point), c.metric), {}).items()}
        for point in (c.arm, c.control)
    ]
    recipe = c.scope_teachers == "recipe"
    missing = without_score(table, c.metric, c.arm, c.control, unpaired=True) if evidence.missing != "failed" else []
    lost = [[pair for point, pair in missing if point is side] for side in (c.arm, c.control)]

    def units(side: Mapping[Pair, float]) -> list[float]:
        groups: dict[Any, list[float]] = {}
        for (teacher, seed), value in side.items():
            groups.setdefault(teacher if recipe else (teacher, seed), []).append(value)
        return [float(np.mean(values)) for values in groups.values()]

    x, y = map(units, sides)
    row: dict[str, Any] = {
        **evidence.identity, "metric": c.metric, "estimator": "shift", "arm": c.arm.arm,
        "arm_params": point_key(c.arm)[1], "control": c.control.arm, "control_params": point_key(c.control)[1],
        "initialisation": c.arm.initialisation, "scope_teachers": c.scope_teachers,
        "scope_examples": c.scope_examples, "n_units": len(x) + len(y), "n_pairs": 0,
        "n_teachers": len({teacher for side in sides for teacher, _ in side}), "n_failed_arm": len(lost[0]),
        "n_failed_control": len(lost[1]), "direction": c.direction, "margin": c.margin, "ci_level": ci_level,
        "left_out": "", "missing": evidence.missing, "test": c.test,
        "smallest_p": min(1.0, (2 if c.direction == "two-sided" else 1) / math.comb(len(x) + len(y), len(x))),
    }  # fmt: skip
    if min(len(x), len(y)) < 2:
        return row | {"n_units": 1, "note": f"samples of {len(x)} and {len(y)}: both need two units or more"}
    found, margin = stats.mann_whitney(x, y), c.margin or 0.0
    p_values = _unpaired_p_values(x, y, c.direction, margin)
    bounds = _bounds(c.metric, [value for side in sides for value in side.values()])
    if missing:
        who = network_names(missing, len({teacher for teacher, _ in evidence.pairs}) > 1)
        row["left_out"] = f"{who} {'has' if len(missing) == 1 else 'have'} no {c.metric}"
        if evidence.missing == "drop":
            row["left_out"] += ", left out, taken as unlogged at random (--missing drop)"
        elif bounds:
            row["left_out"] += f"; {_worst_words(bounds, p_values['p_value'])}"
            row["imputed"] = True

            def at(ends: tuple[float, float]) -> Callable[[Direction], Mapping[str, Any]]:
                filled = zip(sides, lost, ends, strict=True)
                x, y = (units(side | dict.fromkeys(pairs, end)) for side, pairs, end in filled)
                return lambda direction: _unpaired_p_values(x, y, direction, margin)

            p_values = _worst_of([at(bounds), at(bounds[::-1])], c.direction)
    low, high = found.confidence_interval(ci_level)
    equivalence = p_values["p_equivalence"] if c.margin and c.direction not in AT_A_MARGIN else None
    note = "unpaired: no dz, CLES of pairs or Bayes factor"
    return row | p_values | {
        "estimate": found.estimate, "ci_low": low, "ci_high": high, "test": found.test, "statistic": found.statistic,
        "p_equivalence": equivalence, "rank_biserial": stats.cliffs_delta(x, y).estimate,
        "note": "; ".join(filter(None, (row["left_out"], note))),
    }  # fmt: skip


def _unpaired_p_values(
    x: Sequence[float], y: Sequence[float], direction: Direction, margin: float
) -> dict[str, float | None]:
    """p of what is claimed of two samples, of its reverse, and of equivalence."""

    def p(alternative: Any, null: float = 0.0) -> float:
        return float(stats.mann_whitney(np.array(x) - null, y, alternative=alternative).p_value)

    opposite = {"greater": "less", "less": "greater"}
    above, below = p("greater", -margin), p("less", margin)
    values: dict[str, tuple[float, float | None]] = {
        "not-less": (above, p("less", -margin)),
        "not-greater": (below, p("greater", margin)),
        "equivalent": (max(above, below), min(1.0, 2 * min(p("less", -margin), p("greater", margin)))),
        "two-sided": (p("two-sided"), None),
    }
    p_value, p_reverse = values.get(direction) or (p(direction), p(opposite[direction]))
    return {"p_value": p_value, "p_reverse": p_reverse, "p_equivalence": max(above, below)}


def _bounds(metric: str, values: Sequence[float]) -> tuple[float, float] | None:
    """Between what a metric lies; None where it has no bounds, or a table is in another unit, such as percent."""
    bounds = METRICS[metric].bounds if metric in METRICS else None
    return bounds if bounds and all(bounds[0] <= value <= bounds[1] for value in values) else None


def _worst_of(
    at_ends: Sequence[Callable[[Direction], Mapping[str, Any]]], direction: Direction
) -> dict[str, float | None]:
    """The largest p-values between two ends of what is missing: all of the arm's lowest, or all of them highest.

    A one-sided p of a mean difference, or of a shift, is largest at one of the ends. That of two sides, which may be
    largest between them, is twice the smaller of the two largest one-sided ones.
    """
    found = [at(direction) for at in at_ends]
    p: dict[str, float | None] = {
        kind: max(or_one(of.get(kind)) for of in found) for kind in ("p_value", "p_reverse", "p_equivalence")
    }
    if direction == "two-sided":
        sides: tuple[Direction, Direction] = ("greater", "less")
        p["p_value"] = min(1.0, 2 * min(max(or_one(at(side)["p_value"]) for at in at_ends) for side in sides))
        p["p_reverse"] = None
    return p


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
