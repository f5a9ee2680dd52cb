"""Trends over the values of a study: units are teachers, tests are of order, sentences come from the same rows."""

import contextlib
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
from kdstats.catalog import CORRECTION_NAMES, metric_label
from kdstats.protocol import Protocol, parameters_text
from kdstats.scoring import Networks
from kdstats.sentences import number, p_words
from kdstats.study import AFFINITY, MATCHED, OF_TEST, TEACHER, Study, Trend, in_blocks, points_at, trend_units

TRENDS = (
    "study", "study_hash", "trend", "declared", "metric", "arm", "control", "direction", "margin", "over", "first",
    "last", "n_values", "n_units", "n_lost", "blocks", "estimate", "ci_low", "ci_high", "ci_level", "slope",
    "slope_low", "slope_high", "slope_p", "n_against", "test", "statistic", "p_value", "p_reverse", "p_adjusted",
    "p_refuted", "correction", "level", "verdict", "note", "sentence", "version",
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
Teacher = tuple[int, int, NDArray[np.float32]]  # place of its value, its number, its logits


def judge(
    study: Study, scores: Sequence[pd.DataFrame], networks: Sequence[Networks], late: frozenset[str] = frozenset()
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Every trend's row with its verdict, what it was at each value, and what each teacher gave there.

    Teachers (means of their students; pairs of teachers where an arm is taught by the other one) are the units. Where
    values have their units in common (the same teachers; students of teachers of the same numbers, which share seeds)
    these are blocks, and trends are tested by Page's test (of two values, by sign flips), else by Jonckheere–Terpstra.
    Both reject that all values are alike in favour of a tendency; neither says that every step goes that way, so
    ``n_against`` counts those of the means that do not. The estimate is the last value minus the first, by the paired
    or Welch's t; the slope, change a step, that of the least-squares line over the order of the values, by t over
    units' slopes, or of the values' means with Welch–Satterthwaite degrees of freedom. "stable" holds where every two
    values are equivalent within the margin (TOST, the largest p). All p of the trends that were declared before
    training are corrected together, and so are those declared after it; of those that may be refuted, the reverse p
    too. A trend that cannot be tested says why in ``note``.
    """
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
        if trend.metric in MATCHED:
            units, lost = _matched(trend.metric, networks)
        else:
            sides = list(zip(study.protocols, scores, strict=True))
            units = [_units(trend, protocol, table) for protocol, table in sides]
            lost = sum(_lost(trend, protocol, table) for protocol, table in sides)
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
        rows.append(identity | _trend(trend, units, in_blocks(study, trend), 1 - study.level) | {"n_lost": lost})
    for family in ("before training", "after training"):
        of_family = [row for row in rows if row["declared"] == family]
        for key, out in (("p_value", "p_adjusted"), ("p_reverse", "p_refuted")):
            there = [row for row in of_family if not math.isnan(row.get(key, math.nan))]
            adjusted = stats.adjust([row[key] for row in there], study.correction) if there else ()
            for row, p in zip(there, adjusted, strict=True):
                row[out] = float(p)
        for row in of_family:
            row |= {"correction": study.correction, "level": study.level, "verdict": _verdict(row, study.level)}
            row |= {"sentence": sentence(row, len(of_family)), "version": kdstats.__version__}
    return _table(rows, TRENDS), _table(levels, LEVELS), _table(single, UNITS)


def _table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> pd.DataFrame:
    return pd.DataFrame(rows).reindex(columns=list(columns))


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
    unit = trend_units(trend, protocol)
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


def _matched(metric: str, networks: Sequence[Networks]) -> tuple[list[Units], int]:
    """DV or IV of each teacher at the smallest confidence of all; and how many teachers have none."""
    part = {"derived_spread_matched": "dv_matched", "inherent_variance_matched": "iv_matched"}[metric]
    there = _teachers(networks)
    lowest = _lowest(there, networks)
    units: list[Units] = [{} for _ in networks]
    for place, teacher, logits in there:
        value = _of_teacher(logits, networks[place].labels, lowest)[part]
        if not math.isnan(value):
            units[place][teacher] = value
    return units, sum(len(of.plan.protocol.teacher.seeds) for of in networks) - sum(map(len, units))


def _lowest(there: Sequence[Teacher], networks: Sequence[Networks]) -> float:
    """The smallest mean confidence in the true class of all teachers."""
    return min((float(metrics.target_confidence(x, networks[place].labels)) for place, _, x in there), default=math.nan)


def _trend(trend: Trend, units: Sequence[Units], blocks: bool, ci_level: float) -> dict[str, Any]:
    if not any(units):
        return {"n_units": 0, "blocks": blocks, "note": "no network has a value"}
    if blocks:
        common = [unit for unit in units[0] if all(unit in of for of in units)]
        table = np.array([[of[unit] for of in units] for unit in common])
        if len(common) < 2:
            return {"n_units": len(common), "blocks": True, "note": "fewer than two units have every value"}
        groups = list(table.T)
    else:
        groups = [np.array(list(of.values())) for of in units]
        if min(map(len, groups)) < 2:
            return {"n_units": sum(map(len, groups)), "blocks": False, "note": "a value has fewer than two teachers"}
    row: dict[str, Any] = {"n_units": len(groups[0]) if blocks else sum(map(len, groups)), "blocks": blocks}
    row |= _ends(groups[0], groups[-1], blocks, ci_level) | _slope(groups, blocks, ci_level)
    if trend.direction == "stable":
        assert trend.margin is not None
        p = max(_equivalent(a, b, blocks, trend.margin) for a, b in itertools.combinations(groups, 2))
        return row | {"test": "equivalence of every two values (TOST)", "p_value": p}

    def tested(alternative: Any) -> Any:
        if not blocks:
            return stats.jonckheere(groups, alternative=alternative)
        if len(groups) == 2:
            return stats.sign_flip(groups[1], groups[0], alternative=alternative)
        return stats.page_l(table, alternative=alternative)

    sides = {"increasing": ("greater", "less"), "decreasing": ("less", "greater"), "two-sided": ("two-sided", None)}
    side, reverse = sides[trend.direction]
    found = tested(side)
    row |= {"test": found.test, "statistic": float(found.statistic), "p_value": float(found.p_value)}
    up = {"increasing": 1.0, "decreasing": -1.0}.get(trend.direction, float(np.sign(row["slope"])))
    row["n_against"] = int(np.sum(up * np.diff([group.mean() for group in groups]) < 0))
    return row | ({"p_reverse": float(tested(reverse).p_value)} if reverse else {})


def _ends(first: NDArray[Any], last: NDArray[Any], blocks: bool, ci_level: float) -> dict[str, Any]:
    found = distributions.ttest_rel(last, first) if blocks else distributions.ttest_ind(last, first, equal_var=False)
    low, high = found.confidence_interval(ci_level)
    return {"estimate": float(np.mean(last) - np.mean(first)), "ci_low": float(low), "ci_high": float(high)}


def _slope(groups: Sequence[NDArray[Any]], blocks: bool, ci_level: float) -> dict[str, Any]:
    """Change a step, Σ cᵢ x̄ᵢ with cᵢ = (i - ī) / Σ (i - ī)², its interval and two-sided p."""
    c = np.arange(len(groups)) - (len(groups) - 1) / 2
    c /= c @ c
    if blocks:
        each = c @ np.array(groups)  # a slope each block
        slope, df = float(each.mean()), float(len(each) - 1)
        error = float(each.std(ddof=1) / math.sqrt(len(each)))
    else:
        slope = float(c @ [group.mean() for group in groups])
        parts = c**2 * [group.var(ddof=1) / len(group) for group in groups]
        error = math.sqrt(parts.sum())
        df = float(parts.sum() ** 2 / np.sum(parts**2 / [len(group) - 1 for group in groups])) if error else math.nan
    if not error:
        return {"slope": slope}
    half = float(distributions.t.ppf((1 + ci_level) / 2, df)) * error
    p = float(2 * distributions.t.sf(abs(slope) / error, df))
    return {"slope": slope, "slope_low": slope - half, "slope_high": slope + half, "slope_p": p}


def _equivalent(a: NDArray[Any], b: NDArray[Any], blocks: bool, margin: float) -> float:
    """TOST of two values: the larger of the two one-sided p-values."""

    def p(shift: float, alternative: str) -> float:
        if blocks:
            return float(distributions.ttest_rel(b + shift, a, alternative=alternative).pvalue)
        return float(distributions.ttest_ind(b + shift, a, equal_var=False, alternative=alternative).pvalue)

    return max(p(margin, "greater"), p(-margin, "less"))


# Relations between classes ---------------------------------------------------------------------------------------


def _teachers(networks: Sequence[Networks]) -> list[Teacher]:
    """Every teacher that was trained."""
    return [
        (i, teacher, logits)
        for i, of in enumerate(networks)
        for teacher in of.plan.protocol.teacher.seeds
        if (logits := of.teacher_logits(teacher)) is not None
    ]


def _affinity(trend: Trend, study: Study, networks: Sequence[Networks]) -> dict[str, Any]:
    """Non-inferiority of the similarity across capacities to that within one."""
    assert trend.margin is not None
    there = _teachers(networks)
    k = len(there)
    row = {"n_units": k, "blocks": False, "n_lost": sum(len(p.teacher.seeds) for p in study.protocols) - k}
    try:
        affinities = [metrics.class_affinity(logits, networks[place].labels) for place, _, logits in there]
        alike = np.eye(k)
        for i, j in itertools.combinations(range(k), 2):
            alike[i, j] = alike[j, i] = metrics.affinity_similarity(affinities[i], affinities[j])
        found = stats.stability(alike, [place for place, *_ in there], margin=trend.margin)
    except ValueError as reason:  # two classes, a class without images, teachers that failed
        return row | {"note": str(reason)}
    low, high = found.confidence_interval(1 - study.level)
    return row | {
        "estimate": float(found.estimate), "ci_low": float(low), "ci_high": float(high),
        "test": found.test, "statistic": float(found.statistic), "p_value": float(found.p_value),
    }  # fmt: skip


# Words -----------------------------------------------------------------------------------------------------------


def _verdict(row: Mapping[str, Any], level: float) -> str:
    if row.get("n_lost") or row.get("note"):  # what failed is not known to be like the rest
        return "inconclusive"
    if row.get("p_adjusted", 1.0) <= level:
        return "supported"
    return "refuted" if row.get("p_refuted", 1.0) <= level else "inconclusive"


CLAIMS = {
    "increasing": "tends to rise",
    "decreasing": "tends to fall",
    "two-sided": "tends to rise or to fall",
    "stable": "stays",
}


def sentence(row: Mapping[str, Any], family: int) -> str:
    """Why the verdict is what it is, from the record that the table prints."""
    if "p_value" not in row:
        return f"{subject(row)}: not testable ({row['note']})."
    of_affinity = row["metric"] == AFFINITY
    within = "" if row["margin"] is None else f" within {row['margin']:g}"
    does = f"is not lower by {row['margin']:g} or more" if of_affinity else f"{CLAIMS[row['direction']]}{within}"
    claim = f"{subject(row)} {does} over {row['over']} from {row['first']} to {row['last']}"
    said = {"supported": "is supported", "refuted": "is refuted: it goes the other way", "inconclusive": "is not shown"}
    change = "across capacities minus within one" if of_affinity else f"{row['last']} minus {row['first']}"
    ends = f"{100 * row['ci_level']:g} % interval [{number(row['ci_low'])}, {number(row['ci_high'])}]"
    if against := row.get("n_against", 0):
        ends += (
            f"; {against} of {row['n_values'] - 1} steps between means {'goes' if against == 1 else 'go'} the other way"
        )
    after = f"after {CORRECTION_NAMES[row['correction']]} over {family} trends"
    adjusted = f"{p_words(row['p_adjusted']).removeprefix('= ')} {after}"
    units = f"{row['n_units']} {'units' if row['blocks'] else 'teachers'}{' at every value' if row['blocks'] else ''}"
    n = row.get("n_lost", 0)
    lost = f"; {n} network{' has' if n == 1 else 's have'} no score, and what is left cannot decide" if n else ""
    return (
        f"That {claim} {said[row['verdict']]}: {change} is {number(row['estimate'])}, {ends}{lost};"
        f" p {p_words(row['p_value'])}, {adjusted}. Speaks of teachers of this recipe ({units}), on this test set."
    )


def subject(row: Mapping[str, Any]) -> str:
    """What a trend is about, in words."""
    if row["metric"] == AFFINITY:
        return "the similarity of teachers' class relations across capacities, against that within one,"
    label = MATCHED.get(row["metric"]) or metric_label(row["metric"])
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
    if study.shared:
        return pd.DataFrame(columns=list(CAPACITIES))
    there = _teachers(networks)
    lowest = _lowest(there, networks)
    pairs = list(itertools.combinations(there, 2))
    one_test = all(np.array_equal(of.labels, networks[0].labels) for of in networks) and study.over not in OF_TEST
    alike, note = _alike(there, networks, one_test)
    rows = []
    for i, value in enumerate(study.values):
        mine = [_of_teacher(logits, networks[place].labels, lowest) for place, _, logits in there if place == i]
        within = np.array([a[0] == b[0] == i for a, b in pairs], bool)
        across = np.array([(a[0] == i) != (b[0] == i) for a, b in pairs], bool)
        classes = next((logits.shape[1] for place, _, logits in there if place == i), 0)
        chance = metrics.top_overlap_by_chance(min(TOP, classes - 2), classes) if classes > 2 else math.nan
        rows.append(
            {
                "over": study.over, "value": value, "order": i, "n_teachers": len(mine),
                **{name: float(np.mean([one[name] for one in mine])) for name in (mine[0] if mine else ())},
                **{f"{name}_within": _mean(values, within) for name, values in alike.items()},
                **{f"{name}_across": _mean(values, across) for name, values in alike.items()},
                "top_chance": chance,
                "mantel_p": float(np.max(alike["mantel"][across], initial=-math.inf)) if across.any() else math.nan,
                "note": note if one_test or note else f"{study.over} changes the images: no teachers are compared",
            }
        )  # fmt: skip
    return _table(rows, CAPACITIES).assign(version=kdstats.__version__)


def _alike(
    there: Sequence[Teacher], networks: Sequence[Networks], one_test: bool
) -> tuple[dict[str, NDArray[Any]], str]:
    """How alike every two teachers are that see the same images, NaN for others; why, where no two are compared.

    Mantel's p is of all of them at once, where all see the same images.
    """
    pairs = list(itertools.combinations(range(len(there)), 2))
    alike = {name: np.full(len(pairs), math.nan) for name in ("rank", "top", "affinity", "mantel")}
    try:
        affinities = [metrics.class_affinity(logits, networks[place].labels) for place, _, logits in there]
        for n, (i, j) in enumerate(pairs):
            (place, _, a), (other, _, b) = there[i], there[j]
            if place != other and not one_test:
                continue
            labels, top = networks[place].labels, min(TOP, a.shape[1] - 2)
            alike["rank"][n] = metrics.rank_consistency(a, b, labels)
            alike["top"][n] = metrics.top_overlap(a, b, labels, top)
            alike["affinity"][n] = metrics.affinity_similarity(affinities[i], affinities[j])
        if one_test and pairs:
            alike["mantel"][:] = np.asarray(stats.mantel(np.stack(affinities)).p_value)
    except ValueError as reason:  # two classes, a class without images
        return {name: np.full(len(pairs), math.nan) for name in alike}, str(reason)
    return alike, ""


def _of_teacher(logits: NDArray[np.float32], labels: NDArray[np.int64], confidence: float) -> dict[str, float]:
    distinct: dict[str, float] = {"da": math.nan, "dv": math.nan, "iv": math.nan}
    temperature = dv = iv = math.nan
    with contextlib.suppress(metrics.UndefinedMetric):  # two classes; a confidence that no temperature gives
        distinct = {name: float(value) for name, value in metrics.distinctness(logits, labels)._asdict().items()}
        temperature = float(metrics.matched_temperature(logits, labels, confidence))
        _, dv, iv = map(float, metrics.distinctness(logits, labels, temperature))
    return {
        "accuracy": float(metrics.accuracy(logits, labels)),
        "target_confidence": float(metrics.target_confidence(logits, labels)),
        "entropy": float(metrics.entropy(logits)),
        **distinct,
        "dv_matched": dv, "iv_matched": iv, "temperature_matched": temperature,
    }  # fmt: skip


def _mean(values: NDArray[Any], chosen: NDArray[np.bool_]) -> float:
    return float(np.mean(values[chosen])) if chosen.any() else math.nan
