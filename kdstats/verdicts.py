"""From contrasts to verdicts: families, corrections, what bars a verdict; and the rows that nobody declared."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

import kdstats
from kdstats import inheritance, metrics, stats
from kdstats.catalog import ALONE, ARMS, ASYMMETRY, AT_A_MARGIN, GROUP_METRICS, INHERITANCE, METRICS, SWAPPED
from kdstats.comparisons import Comparison, or_one
from kdstats.contrasts import Evidence, Table, contrast, tabulate
from kdstats.inheritance import BY_CLASS
from kdstats.plan import LATE_FAMILY, in_pairs
from kdstats.protocol import HypothesisPoint, Point
from kdstats.scoring import point_key
from kdstats.sentences import p_of_its_side, sentence

LATE = "after training"
NO_VERDICT = "descriptive, bears no verdict: "
# Standard deviation of teachers' accuracies above which a metric against kd-other decides nothing: a student that
# inherits nothing but its teacher's accuracy is closer to it than that of another teacher. Where false claims at .05
# reach .065, rounded down (`kdstats validate`, reports/validity/tables/spread.md), by the scope of examples: of
# agreement, and of KL, which sees confidence as well. A⁻ stayed below .03 up to 4 points.
SPREAD_LIMIT = {"new": 0.02, "this test set": 0.01}
OUTPUT_SPREAD_LIMIT = {"new": 0.007, "this test set": 0.001}  # of metrics of whole outputs
OF_OUTPUTS = ("fidelity_kl", "js_divergence", "activation_distance", "rank_disagreement", "capa")


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
    evidence: Evidence,
    hypotheses: Sequence[HypothesisPoint],
    level: float,
    correction: str,
    beside: Sequence[Mapping[str, Any]] = (),
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Contrasts and verdicts of declared hypotheses.

    A hypothesis's p is the largest over its controls (intersection–union); its refutation's is the smallest over the
    controls times their number (Holm); its equivalence's the largest. Each kind is then corrected over the family.
    A hypothesis of scope "each" is one claim a teacher. What was declared after training is a family of its own, so
    that it changes no verdict declared before.

    Parameters
    ----------
    beside : p-values (p_value, p_reverse) of claims that are decided elsewhere and belong to every family here

    Returns
    -------
    contrasts, verdicts : tidy tables (docs/architecture.md)
    """
    return judge_datasets({"": (evidence, hypotheses)}, level, correction, beside)


def judge_datasets(
    cases: Mapping[str, tuple[Evidence, Sequence[HypothesisPoint]]],
    level: float,
    correction: str,
    beside: Sequence[Mapping[str, Any]] = (),
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
        together = [*members, *([dict(claim)] for claim in beside)]
        supports = _adjusted(together, "p_value", used)
        refutes = _adjusted(together, "p_reverse", used)
        with_margin = [i for i, rows in enumerate(members) if rows[0]["margin"] and not _at_a_margin(rows)]
        of_margin = _adjusted([members[i] for i in with_margin], "p_equivalence", used)
        equivalences = dict(zip(with_margin, of_margin, strict=True))
        within = {kind: _within_classes(together, kind, used) for kind in ("p_value", "p_reverse")}
        for i, rows in enumerate(members):
            for row in rows:
                row["within_classes"] = {kind: p[i] for kind, p in within.items()}
            sizes = len(together), len(with_margin)
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
            point.direction, point.margin, _estimator(point.metric, evidence.rules), teacher, in_pairs(point),
        )  # fmt: skip
        common = {
            "hypothesis": f"{point.name}[{' '.join(at)}]" if at else point.name,
            "declared": _declared(evidence, [point.arm, *point.controls], point.name),
            "kind": "confirmatory",
            "family": LATE_FAMILY if point.name in evidence.late else point.family,
        }
        rows = [common | contrast(evidence, table, replace(comparison, control=c), ci_level) for c in point.controls]
        again: list[Comparison] = []
        if point.metric in INHERITANCE:
            again = [replace(comparison, estimator=BY_CLASS)]
        elif point.metric in GROUP_METRICS:
            again = [replace(comparison, estimator=f"threshold {t:g}", threshold=t) for t in evidence.thresholds]
            again.insert(0, replace(comparison, estimator=ALONE, alone=True))
        for row, control in zip(rows, point.controls, strict=True):
            row |= _doubts(evidence, table, comparison, control)
            row["note"] = "; ".join(filter(None, (row.get("note"), *row["remarks"])))
            row["sensitivity"] = [
                common | contrast(evidence, table, replace(other, control=control), ci_level) | {"kind": "sensitivity"}
                for other in again
            ]
        claims.append(rows)
    return claims


def _estimator(metric: str, rules: int) -> str:
    if metric == ASYMMETRY:
        return inheritance.FIRMNESS if rules > 1 else "headroom"
    return inheritance.BALANCED if metric in INHERITANCE else "mean_difference"


def _doubts(evidence: Evidence, table: Table, c: Comparison, control: Point) -> dict[str, Any]:
    """What has to be said beside a contrast, and what keeps it from deciding: ``remarks``, and ``barred`` reasons."""
    remarks: list[str] = []
    barred: list[str] = []
    if evidence.rules < 2:
        return {"remarks": remarks}
    below = _below_plain(evidence, table, control)
    if below is not None and below > evidence.control_floor:
        remarks.append(
            f"{control.arm} trained badly: its accuracy is {100 * below:.3g} points below {evidence.plain.arm}'s"  # type: ignore[union-attr]
        )
        barred.append(
            f"{control.arm}, the control that decides, trained badly (accuracy {100 * below:.3g} points below that of"
            f" {evidence.plain.arm}, where control_floor is {100 * evidence.control_floor:g})"  # type: ignore[union-attr]
        )
    spread = _teachers_spread(evidence)
    if ARMS.get(control.kind) and ARMS[control.kind].learns_from == "other" and spread is not None:
        if c.metric in METRICS and METRICS[c.metric].against in ("teacher", "activations"):
            remarks.append(f"The teachers' accuracies have a standard deviation of {100 * spread:.2g} points")
            largest = (OUTPUT_SPREAD_LIMIT if c.metric in OF_OUTPUTS else SPREAD_LIMIT)[c.scope_examples]
            if spread > largest:
                barred.append(
                    f"the teachers' accuracies have a standard deviation of {100 * spread:.2g} points, above the"
                    f" {100 * largest:.2g} up to which this test holds its level: a student that inherits its"
                    " teacher's accuracy alone resembles it more; inherits_errors and inherits_knowledge do not have"
                    " this fault"
                )
        if c.metric in SWAPPED:
            remarks += inheritance.exceptions(c.metric, spread, c.arm.initialisation, evidence.classes)
    return {"remarks": [f"{said}." for said in remarks], **({"barred": barred} if barred else {})}


def _below_plain(evidence: Evidence, table: Table, control: Point) -> float | None:
    """By how much a control's mean accuracy lies below that of the arm of labels alone."""
    if evidence.plain is None:
        return None
    means = [
        np.mean([value for value, _ in found.values()])
        for point in (evidence.plain, control)
        if (found := table.values.get((*point_key(point), "accuracy")))
    ]
    return float(means[0] - means[1]) if len(means) == 2 else None


def _teachers_spread(evidence: Evidence) -> float | None:
    """Standard deviation (ddof 1) of the teachers' accuracies; None where fewer than two are known."""
    scores = evidence.scores
    values = scores["value"][(scores["arm"] == "teacher") & (scores["metric"] == "accuracy")].dropna()
    return float(values.std(ddof=1)) if len(values) > 1 else None


def _within_classes(members: list[list[dict[str, Any]]], kind: str, correction: str) -> list[float]:
    """Adjusted p-values of a family in which W and K are tested within the true classes as well."""

    def stricter(row: dict[str, Any]) -> dict[str, Any]:
        other = next((o for o in row.get("sensitivity", ()) if o["estimator"] == BY_CLASS), None)
        return row if other is None else row | {kind: max(or_one(row.get(kind)), or_one(other.get(kind)))}

    rows = [[stricter(row) for row in claim] for claim in members]
    return _adjusted(rows, kind, "holm" if correction == "max-t" else correction)


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
        folded = [fold(or_one(row.get(kind)) for row in rows) for rows in members]
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


def _worst(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The row with the largest p; of equal ones one that may decide."""
    return max(rows, key=lambda row: (or_one(row.get("p_value")), not row.get("barred")))


def _verdict(
    rows: list[dict[str, Any]],
    p_adjusted: float,
    p_refuted: float,
    p_equivalence: float | None,
    family_sizes: tuple[int, int],
    level: float,
    correction: str,
) -> dict[str, Any]:
    more_failures = any(_fails_more(row) for row in rows)
    incomplete = any(row["n_units"] < 2 for row in rows)
    verdict = "inconclusive" if incomplete else decide(p_adjusted, p_refuted, p_equivalence, level, more_failures)
    if rows[0]["metric"] == ASYMMETRY:
        verdict = _of_asymmetry(rows[0], verdict)
    shown = _worst(rows)
    if verdict == "refuted":
        shown = min(rows, key=lambda row: (or_one(row.get("p_reverse")), bool(row.get("barred"))))
    elif verdict in ("negligible", "equivalent"):
        shown = max(rows, key=lambda row: (or_one(row.get("p_equivalence")), not row.get("barred")))
    elif more_failures:
        shown = max(rows, key=lambda row: (_fails_more(row), abs(row["n_failed_arm"] - row["n_failed_control"])))
    if verdict in DECIDED and shown.get("barred"):
        shown = shown | {"barred_by": shown["barred"][0]}
        verdict = "not shown" if rows[0]["metric"] == ASYMMETRY else "inconclusive"
    elif fragile := [row for row in rows if _contradicted(row, level, verdict)]:
        shown = fragile[0] | {"against": _contradicted(fragile[0], level, verdict)[0]}
        verdict = "inconclusive"
    shown = shown | {"remarks": tuple(dict.fromkeys(said for row in rows for said in row.get("remarks", ())))}
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
    if verdict == "withdrawn":
        record |= dict.fromkeys(("p_value", "p_adjusted", "p_refuted", "p_equivalence"))
        for row in rows:
            row |= dict.fromkeys(WITHDRAWN_COLUMNS) | {"kind": "descriptive"}
    return record | {"sentence": sentence(record, shown, family_sizes, more_failures)}


WITHDRAWN_COLUMNS = (
    "p_value", "p_reverse", "p_equivalence", "p_adjusted", "statistic", "rope", "bayes_factor", "smallest_p",
)  # fmt: skip
DECIDED = ("supported", "refuted", "negligible", "equivalent")


def _fails_more(row: Mapping[str, Any]) -> bool:
    """Whether failures can have made the difference; W, K and θ₀ count the students of both arms alike.

    Of a table of others: whether a score is missing that counts at its worst, where no bounds say what that would be.
    """
    if row.get("missing", "failed") != "failed":
        lost = row["n_failed_arm"] + row["n_failed_control"]
        return bool(row["missing"] == "worst" and lost and not row.get("imputed"))
    if row["metric"] in SWAPPED:
        return bool(row["n_failed_arm"] != row["n_failed_control"])
    return bool(row["n_failed_arm"] > row["n_failed_control"] and not row.get("imputed"))


def _of_asymmetry(row: Mapping[str, Any], verdict: str) -> str:
    """θ₀ is supported or not shown; h, of protocols that were frozen with it, is withdrawn."""
    if row["estimator"] == "headroom":
        return "withdrawn"
    return "supported" if verdict == "supported" else "not shown"


def _contradicted(row: Mapping[str, Any], level: float, verdict: str) -> list[dict[str, Any]]:
    """The sensitivity rows that speak against a verdict.

    W or K that is not there within the true classes, by the same correction; a number of features that goes the other
    way (significantly) where components are joined from another correlation on, or (at all) where each group is joined
    by itself.
    """
    found = []
    for other in row.get("sensitivity", ()) if verdict in ("supported", "refuted") else ():
        if other["estimator"] == BY_CLASS:
            kind = "p_value" if verdict == "supported" or row["direction"] == "two-sided" else "p_reverse"
            against = row["direction"] != "equivalent" and row["within_classes"][kind] > level
        else:
            against = other["estimate"] * row["estimate"] < 0
            against &= other["estimator"] == ALONE or p_of_its_side(other) <= level
        found += [other] if against else []
    return found


# Exploratory and descriptive rows --------------------------------------------------------------------------------


def explore(
    evidence: Evidence, comparisons: Sequence[Comparison], level: float, correction: str
) -> pd.DataFrame:  # fmt: skip
    """Rows that nobody declared: two-sided, corrected among themselves; h and the raw asymmetry without a p."""
    table = tabulate(evidence.scores)
    rows = []
    for comparison in comparisons:
        row = contrast(evidence, table, comparison, 1 - level)
        row |= {"declared": _declared(evidence, [comparison.arm, comparison.control]), "kind": "exploratory"}
        if comparison.metric == ASYMMETRY:
            note = NO_VERDICT + metrics.ESTIMATORS[comparison.estimator]
            empty = dict.fromkeys(("p_value", "p_reverse", "p_equivalence", "bayes_factor", "statistic"))
            row |= empty | {"kind": "descriptive", "note": "; ".join(filter(None, (note, row.get("note"))))}
        rows.append(row)
    tested = [row for row in rows if row["kind"] == "exploratory" and or_one(row.get("p_value")) == row.get("p_value")]
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
