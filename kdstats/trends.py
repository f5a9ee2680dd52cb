"""Trends over the values of a study: units are teachers, tests are of order, sentences come from the same rows."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats as distributions

import kdstats
from kdstats import metrics, stats
from kdstats.catalog import CORRECTION_NAMES, METRICS
from kdstats.errors import UserError
from kdstats.plan import clusters, swaps_teachers
from kdstats.protocol import Protocol, parameters_text
from kdstats.scoring import Networks
from kdstats.study import AFFINITY, TEACHER, Study, Trend, points_at
from kdstats.verdicts import number

TRENDS = (
    "study", "study_hash", "trend", "declared", "metric", "arm", "control", "direction", "margin", "over", "first",
    "last", "n_values", "n_units", "n_lost", "blocks", "estimate", "ci_low", "ci_high", "ci_level", "test", "statistic",
    "p_value", "p_reverse", "p_adjusted", "p_refuted", "correction", "level", "verdict", "sentence", "version",
)  # fmt: skip
LEVELS = (
    "trend",
    "metric",
    "arm",
    "control",
    "value",
    "order",
    "estimate",
    "ci_low",
    "ci_high",
    "ci_level",
    "n_units",
    "note",
)
UNITS = ("trend", "value", "order", "teacher", "estimate")

Units = dict[int, float]  # by teacher, or by the first of a pair of teachers


def judge(
    study: Study, scores: Sequence[pd.DataFrame], networks: Sequence[Networks], late: frozenset[str] = frozenset()
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Every trend's row with its verdict, what it was at each value, and what each teacher gave there.

    Teachers (means of their students; pairs of teachers where an arm is taught by the other one) are the units. Where
    every value has teachers of its own, trends are tested by Jonckheere–Terpstra; where all values share theirs, by
    Page's test with teachers as blocks (of two values, by sign flips). The estimate is the last value minus the first,
    by Welch's or the paired t. "stable" holds where every two values are equivalent within the margin (TOST, the
    largest p). All p of a study are corrected together; of those that may be refuted, the reverse p too.
    """
    shared = _shared(networks)
    rows: list[dict[str, Any]] = []
    levels: list[dict[str, Any]] = []
    single: list[dict[str, Any]] = []
    for trend in study.trends:
        identity = {
            "study": study.name, "study_hash": study.hash, "trend": trend.name, "metric": trend.metric,
            "arm": trend.arm, "control": trend.control or "", "direction": trend.direction, "margin": trend.margin,
            "over": study.over, "first": study.values[0], "last": study.values[-1], "n_values": len(study.values),
            "ci_level": 1 - study.level, "declared": "after training" if trend.name in late else "before training",
        }  # fmt: skip
        if trend.metric == AFFINITY:
            rows.append(identity | _affinity(trend, study, networks))
            continue
        units = [_units(trend, protocol, table) for protocol, table in zip(study.protocols, scores, strict=True)]
        levels += [
            {"trend": trend.name, "metric": trend.metric, "arm": trend.arm, "control": trend.control or "",
             "value": value, "order": i, **_level(list(of.values()), study.level / len(study.values))}
            for i, (value, of) in enumerate(zip(study.values, units, strict=True))
        ]  # fmt: skip
        single += [
            {"trend": trend.name, "value": value, "order": i, "teacher": teacher, "estimate": estimate}
            for i, (value, of) in enumerate(zip(study.values, units, strict=True))
            for teacher, estimate in of.items()
        ]
        lost = sum(_lost(trend, protocol, table) for protocol, table in zip(study.protocols, scores, strict=True))
        rows.append(identity | _trend(trend, units, shared, 1 - study.level) | {"n_lost": lost})
    for key, out in (("p_value", "p_adjusted"), ("p_reverse", "p_refuted")):
        there = [row for row in rows if not math.isnan(row.get(key, math.nan))]
        for row, p in zip(there, stats.adjust([r[key] for r in there], study.correction) if there else (), strict=True):
            row[out] = float(p)
    for row in rows:
        row |= {"correction": study.correction, "level": study.level, "verdict": _verdict(row, study.level)}
        row |= {"sentence": sentence(row, len(rows)), "version": kdstats.__version__}
    return _table(rows, TRENDS), _table(levels, LEVELS), _table(single, UNITS)


def _table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> pd.DataFrame:
    return pd.DataFrame(rows).reindex(columns=list(columns))


def _shared(networks: Sequence[Networks]) -> bool:
    """Whether all values have the same teachers."""
    teachers = {frozenset(r.id for r in of.plan.replicates if r.role == "teacher") for of in networks}
    return len(teachers) == 1


def _lost(trend: Trend, protocol: Protocol, scores: pd.DataFrame) -> int:
    """Networks of a trend's arms that have no score at one value: they failed, or the metric does not exist."""
    lost = 0
    for arm in filter(None, (trend.arm, trend.control)):
        planned = len(protocol.teacher.seeds) * (1 if arm == TEACHER else len(protocol.student.seeds))
        lost += planned - len(_values(trend, protocol, scores, arm))
    return lost


def _values(trend: Trend, protocol: Protocol, scores: pd.DataFrame, arm: str) -> pd.Series:
    """The metric's values of one arm, by (teacher, seed)."""
    params = "" if arm == TEACHER else parameters_text(points_at(protocol, arm, trend.at)[0].parameters)
    mine = scores[(scores["arm"] == arm) & (scores["arm_params"] == params) & (scores["metric"] == trend.metric)]
    return mine.dropna(subset=["value"]).set_index(["teacher", "seed"])["value"]


def _units(trend: Trend, protocol: Protocol, scores: pd.DataFrame) -> Units:
    """The value of each unit at one value of the study."""
    values = _values(trend, protocol, scores, trend.arm)
    if trend.control:
        values = values - _values(trend, protocol, scores, trend.control)
    by_teacher = values.dropna().groupby(level="teacher").mean()
    arms = [
        points_at(protocol, arm, trend.at)[0].kind for arm in (trend.arm, trend.control) if arm not in (None, TEACHER)
    ]
    unit = clusters(protocol) if any(map(swaps_teachers, arms)) else {t: t for t in protocol.teacher.seeds}
    members: dict[int, list[float]] = {}
    for teacher, value in zip(by_teacher.index, by_teacher, strict=True):
        members.setdefault(unit[int(teacher)], []).append(float(value))
    return {one: float(np.mean(values)) for one, values in members.items()}


def _level(values: Sequence[float], error: float) -> dict[str, Any]:
    """Mean and interval of one value; ``error`` is this interval's share of the curve's."""
    n = len(values)
    mean = float(np.mean(values)) if n else math.nan
    found = {"estimate": mean, "ci_low": math.nan, "ci_high": math.nan, "ci_level": 1 - error, "n_units": n, "note": ""}
    if n < 2:
        return found | {"note": "fewer than two teachers have a value"}
    half = float(distributions.t.ppf(1 - error / 2, n - 1) * np.std(values, ddof=1) / math.sqrt(n))
    return found | {"ci_low": mean - half, "ci_high": mean + half}


def _trend(trend: Trend, units: Sequence[Units], shared: bool, ci_level: float) -> dict[str, Any]:
    if shared:
        teachers = [unit for unit in units[0] if all(unit in of for of in units)]
        table = np.array([[of[unit] for of in units] for unit in teachers])
        if len(teachers) < 2:
            return {"n_units": len(teachers), "blocks": True, "note": "fewer than two teachers have every value"}
        groups = list(table.T)
    else:
        groups = [np.array(list(of.values())) for of in units]
        if min(map(len, groups)) < 2:
            return {"n_units": sum(map(len, groups)), "blocks": False, "note": "a value has fewer than two teachers"}
    row: dict[str, Any] = {"n_units": len(groups[0]) if shared else sum(map(len, groups)), "blocks": shared}
    row |= _ends(groups[0], groups[-1], shared, ci_level)
    if trend.direction == "stable":
        assert trend.margin is not None
        p = max(_equivalent(a, b, shared, trend.margin) for a, b in itertools.combinations(groups, 2))
        return row | {"test": "equivalence of every two values (TOST)", "p_value": p}

    def tested(alternative: Any) -> Any:
        if not shared:
            return stats.jonckheere(groups, alternative=alternative)
        if len(groups) == 2:
            return stats.sign_flip(groups[1], groups[0], alternative=alternative)
        return stats.page_l(table, alternative=alternative)

    sides = {"increasing": ("greater", "less"), "decreasing": ("less", "greater"), "two-sided": ("two-sided", None)}
    side, reverse = sides[trend.direction]
    found = tested(side)
    row |= {"test": found.test, "statistic": float(found.statistic), "p_value": float(found.p_value)}
    return row | ({"p_reverse": float(tested(reverse).p_value)} if reverse else {})


def _ends(first: NDArray[Any], last: NDArray[Any], shared: bool, ci_level: float) -> dict[str, Any]:
    found = distributions.ttest_rel(last, first) if shared else distributions.ttest_ind(last, first, equal_var=False)
    low, high = found.confidence_interval(ci_level)
    return {"estimate": float(np.mean(last) - np.mean(first)), "ci_low": float(low), "ci_high": float(high)}


def _equivalent(a: NDArray[Any], b: NDArray[Any], shared: bool, margin: float) -> float:
    """TOST of two values: the larger of the two one-sided p-values."""

    def p(shift: float, alternative: str) -> float:
        if shared:
            return float(distributions.ttest_rel(b + shift, a, alternative=alternative).pvalue)
        return float(distributions.ttest_ind(b + shift, a, equal_var=False, alternative=alternative).pvalue)

    return max(p(margin, "greater"), p(-margin, "less"))


# Relations between classes ---------------------------------------------------------------------------------------


def _teachers(networks: Sequence[Networks]) -> list[tuple[int, int, NDArray[np.float32]]]:
    """(place of the value, teacher, logits) of every teacher that was trained."""
    return [
        (i, teacher, logits)
        for i, of in enumerate(networks)
        for teacher in of.plan.protocol.teacher.seeds
        if (logits := of.teacher_logits(teacher)) is not None
    ]


def _affinity(trend: Trend, study: Study, networks: Sequence[Networks]) -> dict[str, Any]:
    """Non-inferiority of the similarity across capacities to that within one."""
    assert trend.margin is not None
    there, labels = _teachers(networks), networks[0].labels
    try:
        affinities = [metrics.class_affinity(logits, labels) for *_, logits in there]
        k = len(there)
        alike = np.eye(k)
        for i, j in itertools.combinations(range(k), 2):
            alike[i, j] = alike[j, i] = metrics.affinity_similarity(affinities[i], affinities[j])
        found = stats.stability(alike, [value for value, *_ in there], margin=trend.margin)
    except ValueError as reason:
        raise UserError(f"trend {trend.name}: {reason}") from None
    low, high = found.confidence_interval(1 - study.level)
    return {
        "n_units": k, "blocks": False, "estimate": float(found.estimate), "ci_low": float(low), "ci_high": float(high),
        "test": found.test, "statistic": float(found.statistic), "p_value": float(found.p_value),
    }  # fmt: skip


# Words -----------------------------------------------------------------------------------------------------------


def _verdict(row: Mapping[str, Any], level: float) -> str:
    if row.get("n_lost"):  # what failed is not known to be like the rest
        return "inconclusive"
    if row.get("p_adjusted", 1.0) <= level:
        return "supported"
    return "refuted" if row.get("p_refuted", 1.0) <= level else "inconclusive"


CLAIMS = {"increasing": "rises", "decreasing": "falls", "two-sided": "changes in one direction", "stable": "stays"}


def sentence(row: Mapping[str, Any], family: int) -> str:
    """Why the verdict is what it is, from the record that the table prints."""
    if "p_value" not in row:
        return f"{subject(row)}: not testable ({row['note']})."
    within = "" if row["margin"] is None else f" within {row['margin']:g}"
    claim = f"{subject(row)} {CLAIMS[row['direction']]}{within} over {row['over']} from {row['first']} to {row['last']}"
    said = {"supported": "is supported", "refuted": "is refuted: it goes the other way", "inconclusive": "is not shown"}
    of_affinity = row["metric"] == AFFINITY
    change = "across capacities minus within one" if of_affinity else f"{row['last']} minus {row['first']}"
    ends = f"{100 * row['ci_level']:g} % interval [{number(row['ci_low'])}, {number(row['ci_high'])}]"
    adjusted = f"{number(row['p_adjusted'])} after {CORRECTION_NAMES[row['correction']]} over {family} trends"
    units = f"{row['n_units']} teachers{' at every value' if row['blocks'] else ''}"
    n = row.get("n_lost", 0)
    lost = f"; {n} network{' has' if n == 1 else 's have'} no score, and what is left cannot decide" if n else ""
    return (
        f"That {claim} {said[row['verdict']]}: {change} is {number(row['estimate'])}, {ends}{lost};"
        f" p = {number(row['p_value'])}, {adjusted}. Speaks of teachers of this recipe ({units}), on this test set."
    )


def subject(row: Mapping[str, Any]) -> str:
    """What a trend is about, in words."""
    if row["metric"] == AFFINITY:
        return "the similarity of teachers' class relations"
    label = METRICS[row["metric"]].label
    if row["arm"] == TEACHER:
        return f"the teachers' {label[0].lower() + label[1:] if label[1:2].islower() else label}"
    return f"{label} of {row['arm']}{' minus ' + row['control'] if row['control'] else ''}"


# Description -----------------------------------------------------------------------------------------------------

CAPACITIES = (
    "over", "value", "order", "n_teachers", "accuracy", "target_confidence", "entropy", "da", "dv", "iv", "dv_matched",
    "iv_matched", "temperature_matched", "rank_within", "rank_across", "top_within", "top_across", "top_chance",
    "affinity_within", "affinity_across", "mantel_p", "note", "version",
)  # fmt: skip
TOP = 3


def describe(study: Study, networks: Sequence[Networks]) -> pd.DataFrame:
    """What teachers are at each value: how sure, how distinct among wrong classes, how alike to each other.

    Means over the value's teachers, on the test set, at T = 1 and at that temperature at which the mean confidence in
    the true class is the smallest of all values. within: means over pairs of teachers of one value; across: over pairs
    with other values' teachers. ``mantel_p``: the largest permutation p of those pairs, which rejects no more than that
    class relations have nothing in common. Without rows where all values share their teachers.
    """
    if _shared(networks):
        return pd.DataFrame(columns=list(CAPACITIES))
    labels = networks[0].labels
    rows: list[dict[str, Any]] = []
    there = _teachers(networks)
    if there and there[0][2].shape[1] < 3:
        note = "two classes: a single wrong class has no distinctness, order or relations"
        return pd.DataFrame(
            [{"over": study.over, "value": v, "order": i, "note": note} for i, v in enumerate(study.values)]
        ).reindex(columns=list(CAPACITIES))
    pairs = list(itertools.combinations(there, 2))
    affinities = np.stack([metrics.class_affinity(logits, labels) for *_, logits in there])
    mantel = stats.mantel(affinities)
    top = min(TOP, there[0][2].shape[1] - 2)
    alike: dict[str, Sequence[Any]] = {
        "rank": [metrics.rank_consistency(a, b, labels) for (*_, a), (*_, b) in pairs],
        "top": [metrics.top_overlap(a, b, labels, top) for (*_, a), (*_, b) in pairs],
        "affinity": [metrics.affinity_similarity(a, b) for a, b in itertools.combinations(affinities, 2)],
    }
    lowest = min(float(metrics.target_confidence(logits, labels)) for *_, logits in there)
    for i, value in enumerate(study.values):
        mine = [_of_teacher(logits, labels, lowest) for place, _, logits in there if place == i]
        within = np.array([a[0] == b[0] == i for a, b in pairs])
        across = np.array([(a[0] == i) != (b[0] == i) for a, b in pairs])
        rows.append(
            {
                "over": study.over, "value": value, "order": i, "n_teachers": len(mine),
                **{name: float(np.mean([one[name] for one in mine])) for name in (mine[0] if mine else ())},
                **{f"{name}_within": _mean(values, within) for name, values in alike.items()},
                **{f"{name}_across": _mean(values, across) for name, values in alike.items()},
                "top_chance": metrics.top_overlap_by_chance(top, affinities.shape[1]),
                "mantel_p": float(np.max(np.asarray(mantel.p_value)[across])) if across.any() else math.nan,
                "note": "",
            }
        )  # fmt: skip
    return pd.DataFrame(rows).assign(version=kdstats.__version__).reindex(columns=list(CAPACITIES))


def _of_teacher(logits: NDArray[np.float32], labels: NDArray[np.int64], confidence: float) -> dict[str, float]:
    try:
        temperature = float(metrics.matched_temperature(logits, labels, confidence))
        _, dv, iv = metrics.distinctness(logits, labels, temperature)
    except metrics.UndefinedMetric:
        temperature = dv = iv = math.nan
    return {
        "accuracy": float(metrics.accuracy(logits, labels)),
        "target_confidence": float(metrics.target_confidence(logits, labels)),
        "entropy": float(metrics.entropy(logits)),
        **metrics.distinctness(logits, labels)._asdict(),
        "dv_matched": float(dv), "iv_matched": float(iv), "temperature_matched": temperature,
    }  # fmt: skip


def _mean(values: Sequence[Any], chosen: NDArray[np.bool_]) -> float:
    return float(np.mean(np.asarray(values)[chosen])) if chosen.any() else math.nan
