"""From hypotheses and scores to contrasts, verdicts and the sentences that say why."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

import kdstats
from kdstats import metrics, stats
from kdstats.catalog import ASYMMETRY, METRICS
from kdstats.plan import LATE_FAMILY, in_pairs, smallest_p, swaps_teachers
from kdstats.protocol import HypothesisPoint, Point
from kdstats.scoring import Key, point_key

Pair = tuple[int, int]  # teacher, student seed
LATE = "after training"
CORRECTION_NAMES = {"holm": "Holm", "bh": "Benjamini–Hochberg", "by": "Benjamini–Yekutieli"}
NO_VERDICT = "descriptive, bears no verdict: "
COPYING = NO_VERDICT + "positive under pure copying"
ACCURACY = NO_VERDICT + "against this control a change of accuracy alone can produce it"


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
    late : hypothesis names and points (arm, parameters) declared after training; ("seeds",) if any were;
        ("networks",) if students of this protocol existed before it was frozen (in a shared store, say)
    identity : columns that every row begins with: protocol, protocol_hash, dataset, split
    """

    scores: pd.DataFrame
    pairs: tuple[Pair, ...]
    clusters: Mapping[int, int] = field(default_factory=dict)
    per_example: Callable[[str, Sequence[Key]], NDArray[np.float64]] | None = None
    agreements: Callable[[Sequence[Key]], tuple[NDArray[np.bool_], NDArray[np.bool_]]] | None = None
    late: frozenset[Any] = frozenset()
    identity: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Comparison:
    """What one row of the contrasts speaks of: a hypothesis against one of its controls, or an exploratory pair."""

    metric: str
    arm: Point
    control: Point
    scope_teachers: str = "recipe"
    scope_examples: str = "this test set"
    test: str = "sign-flip"
    direction: Literal["greater", "less", "two-sided"] = "two-sided"
    margin: float | None = None
    estimator: str = "mean_difference"
    teacher: int | None = None
    paired_teachers: bool = False


# Contrasts -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Table:
    """Scores by what a contrast asks for.

    Attributes
    ----------
    values : (arm, parameters, metric) -> {(teacher, seed): (value, n)}, of what is defined
    trained : (arm, parameters) -> {(teacher, seed)} of what has scores
    undefined : (arm, parameters, metric) -> why a value does not exist
    """

    values: dict[tuple[str, str, str], dict[Pair, tuple[float, float]]]
    trained: dict[tuple[str, str], set[Pair]]
    undefined: dict[tuple[str, str, str], str]


def tabulate(scores: pd.DataFrame) -> Table:
    """A tidy table of scores, ready for lookups."""
    students = scores[scores["seed"].notna()]
    table = Table({}, {}, {})
    notes = students["note"] if "note" in students else [""] * len(students)
    columns = ("arm", "arm_params", "metric", "teacher", "seed", "value", "n")
    rows = zip(*(students[column] for column in columns), notes, strict=True)
    for arm, params, metric, teacher, seed, value, n, note in rows:
        pair = int(teacher), int(seed)
        table.trained.setdefault((arm, params), set()).add(pair)
        if np.isnan(value):
            table.undefined.setdefault((arm, params, metric), str(note))
        else:
            table.values.setdefault((arm, params, metric), {})[pair] = (float(value), float(n))
    return table


def contrast(evidence: Evidence, table: Table, comparison: Comparison, ci_level: float) -> dict[str, Any]:
    """One row of the contrasts: arm minus control, paired by seed within teacher, on the units of the scope.

    With scope "recipe" a unit is a teacher (the mean of its students), or a pair of teachers where they taught each
    other's kd-other students; with "these" and "each" it is a student. The asymmetry is computed from the mean counts
    of each unit.
    """
    c = comparison
    needed = ("positive_transfer", "negative_transfer") if c.metric == ASYMMETRY else (c.metric,)
    keys = [[(*point_key(point), name) for name in needed] for point in (c.arm, c.control)]
    sides = [[table.values.get(key, {}) for key in side] for side in keys]
    planned = [pair for pair in evidence.pairs if c.teacher is None or pair[0] == c.teacher]
    trained = [table.trained.get(point_key(point), set()) for point in (c.arm, c.control)]
    pairs = [pair for pair in planned if all(pair in values for side in sides for values in side)]
    in_both = sum(pair in trained[0] and pair in trained[1] for pair in planned)
    undefined = next((table.undefined[key] for side in keys for key in side if key in table.undefined), "")
    left_out = "; ".join(
        f"{count} of {len(planned)} pairs {'is' if count == 1 else 'are'} left out: {why}"
        for count, why in (
            (len(planned) - in_both, "a network failed to train or has no scores"),
            (in_both - len(pairs), undefined),
        )
        if count
    )
    row = {
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
    if n_units < 2:
        why = "fewer than two units" if pairs or not left_out else ""
        return row | {"test": c.test, "smallest_p": 1.0, "note": "; ".join(filter(None, (why, left_out)))}

    def in_units(values: NDArray[Any]) -> NDArray[Any]:
        return stats.to_units(values, teachers, cluster, c.scope_teachers).values

    values = [np.array([[values[pair] for values in side] for pair in pairs]) for side in sides]  # (pairs, metrics, 2)
    if c.metric == ASYMMETRY:
        score = [_asymmetry(in_units(_counts(side)), c.estimator) for side in values]
    else:
        score = [in_units(side[:, 0, 0]) for side in values]
    matrix = None
    if c.scope_examples == "new":
        matrix = np.subtract(*(_by_example(evidence, c, point, pairs, in_units) for point in (c.arm, c.control)))
    strata = None if c.scope_teachers == "recipe" else teachers
    result = stats.infer(
        _apart(*score),
        strata=strata,
        test=c.test,
        alternative=c.direction,
        level=ci_level,
        margin=c.margin,
        examples=matrix,
    )
    floor = smallest_p(c.test, c.direction, n_units)
    found = {name: getattr(result, name) for name in RESULT}
    return row | found | {"smallest_p": floor, "note": "; ".join(filter(None, (left_out, result.note)))}


def _apart(arm: NDArray[Any], control: NDArray[Any]) -> NDArray[Any]:
    """arm − control, where what is left of equal means by rounding is 0: it must not count as a sign."""
    apart = arm - control
    return np.where(np.abs(apart) <= 1e-12 * np.maximum(np.abs(arm), np.abs(control)), 0.0, apart)


RESULT = (
    "estimate", "sem", "df", "ci_low", "ci_high", "test", "statistic", "p_value", "p_reverse", "p_equivalence",
    "dz", "hedges_g", "rank_biserial", "cles", "bayes_factor", "note",
)  # fmt: skip


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
    table = tabulate(evidence.scores)
    claims = []
    for point in hypotheses:
        teachers = (
            dict.fromkeys(teacher for teacher, _ in evidence.pairs) if point.scope_teachers == "each" else (None,)
        )
        for teacher in teachers:
            name = point.name if teacher is None else f"{point.name}[teacher={teacher}]"
            declared = _declared(evidence, [point.arm, *point.controls], point.name)
            family = LATE_FAMILY if point.name in evidence.late else point.family
            comparison = Comparison(
                point.metric, point.arm, point.arm, point.scope_teachers, point.scope_examples, point.test,
                point.direction, point.margin, "headroom" if point.metric == ASYMMETRY else "mean_difference", teacher,
                in_pairs(point),
            )  # fmt: skip
            rows = [
                contrast(evidence, table, replace(comparison, control=control), 1 - level) for control in point.controls
            ]
            common = {"hypothesis": name, "declared": declared, "kind": "confirmatory", "family": family}
            claims.append([common | row for row in rows])
    verdicts = []
    for family in dict.fromkeys(rows[0]["family"] for rows in claims):
        members = [rows for rows in claims if rows[0]["family"] == family]
        supports = stats.adjust([_worst(rows)["p_value"] for rows in map(_filled, members)], correction)
        refutes = stats.adjust([_refutation(rows) for rows in members], correction)
        with_margin = [i for i, rows in enumerate(members) if rows[0]["margin"] is not None]
        equivalences = dict(
            zip(
                with_margin,
                stats.adjust([_equivalence(members[i]) for i in with_margin], correction) if with_margin else (),
                strict=True,
            )
        )
        for i, rows in enumerate(members):
            sizes = len(members), len(with_margin)
            verdict = _verdict(rows, supports[i], refutes[i], equivalences.get(i), sizes, level, correction)
            verdicts.append(verdict)
            for row in rows:
                row |= {"p_adjusted": verdict["p_adjusted"], "correction": correction, "verdict": verdict["verdict"]}
    order = {name: i for i, name in enumerate(rows[0]["hypothesis"] for rows in claims)}
    verdicts.sort(key=lambda verdict: order[verdict["hypothesis"]])
    return _frame([row for rows in claims for row in rows], CONTRASTS), _frame(verdicts, VERDICTS)


def _filled(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A p that could not be computed counts as 1 in its family: it stays a hypothesis, and is not supported."""
    return [row | {"p_value": _or_one(row.get("p_value"))} for row in rows]


def _or_one(p: float | None) -> float:
    return 1.0 if p is None or np.isnan(p) else p


def _worst(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return max(rows, key=lambda row: _or_one(row.get("p_value")))


def _refutation(rows: list[dict[str, Any]]) -> float:
    return min(1.0, len(rows) * min(_or_one(row.get("p_reverse")) for row in rows))


def _equivalence(rows: list[dict[str, Any]]) -> float:
    return max(_or_one(row.get("p_equivalence")) for row in rows)


def _verdict(
    rows: list[dict[str, Any]],
    p_adjusted: float,
    p_refuted: float,
    p_equivalence: float | None,
    family_sizes: tuple[int, int],
    level: float,
    correction: str,
) -> dict[str, Any]:
    more_failures = any(row["n_failed_arm"] > row["n_failed_control"] for row in rows)
    incomplete = any(row["n_units"] < 2 for row in rows)
    verdict = "inconclusive" if incomplete else decide(p_adjusted, p_refuted, p_equivalence, level, more_failures)
    shown = _worst(rows)
    if verdict == "refuted":
        shown = min(rows, key=lambda row: _or_one(row.get("p_reverse")))
    elif more_failures:
        shown = max(rows, key=lambda row: row["n_failed_arm"] - row["n_failed_control"])
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


# Sentences -------------------------------------------------------------------------------------------------------


def number(value: float) -> str:
    """Three significant digits, never scientific above 0.001."""
    return f"{value:.3g}" if abs(value) >= 0.001 or value == 0 else f"{value:.1e}"


def named(arm: str, params: str) -> str:
    return f"{arm} ({params.replace(' ', ', ')})" if params else arm


def scope_words(row: Mapping[str, Any]) -> str:
    """The scope of a row in words: which teachers, which examples."""
    units = f"{row['n_units']} "
    if row["scope_teachers"] == "recipe":
        paired = row["n_units"] < row["n_teachers"]
        teachers = f"teachers of this recipe ({units}{'pairs of teachers' if paired else 'teachers'})"
    elif row["scope_teachers"] == "these":
        teachers = f"these {row['n_teachers']} teachers ({units}students)"
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
    label = "The asymmetry h" if metric == ASYMMETRY else METRICS[metric].label if metric in METRICS else metric
    arm, control = named(row["arm"], row["arm_params"]), named(row["control"], row["control_params"])
    if row["n_units"] < 2:
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

    def after(size: int) -> str:
        return f"after {CORRECTION_NAMES[verdict['correction']]} over {size} hypothes{'is' if size == 1 else 'es'}"

    control = f"{'every' if several else 'the'} control"
    claimed = {"greater": "above", "less": "below", "two-sided": "different from"}[row["direction"]] + " " + control
    p = ""
    if verdict["p_value"] is not None:
        p = f"p = {number(verdict['p_value'])}, {number(verdict['p_adjusted'])} {after(family_sizes[0])}"
    within = ""
    if row["margin"] is not None:
        within = f"within ±{row['margin']:g} (p = {number(verdict['p_equivalence'])} {after(family_sizes[1])})"
    if verdict["verdict"] == "supported":
        return f"{claimed}, {p}"
    if verdict["verdict"] == "negligible":
        return f"significant but {within}: a difference that the protocol calls negligible"
    if verdict["verdict"] == "equivalent":
        return f"{within} of {control}"
    if verdict["verdict"] == "refuted":
        return f"the opposite of what was claimed, p = {number(verdict['p_refuted'])} {after(family_sizes[0])}"
    hopeless = row["smallest_p"] > verdict["level"]
    return (
        f"not shown to be {claimed}, {p}"
        + (f", nor to lie {within}" if within else "")
        + (f"; no outcome of this test is below p = {number(row['smallest_p'])}" if hopeless else "")
    )


def interval(row: Mapping[str, Any]) -> str:
    """An interval as text, or why there is none."""
    if np.isnan(row["ci_low"]):
        return "no interval, for want of spread between the units"
    return f"{100 * row['ci_level']:g} % interval [{number(row['ci_low'])}, {number(row['ci_high'])}]"


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
            note = COPYING if comparison.estimator != "headroom" else ACCURACY
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
    "smallest_p", "p_adjusted", "family", "correction", "dz", "hedges_g", "rank_biserial", "cles", "bayes_factor",
    "verdict", "note", "version",
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
