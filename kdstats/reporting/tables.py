"""The tables of a report: each a function of the results, and one line in ``TABLES``."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

import kdstats
from kdstats import claims
from kdstats.catalog import AT_A_MARGIN, CORRECTION_NAMES, CORRECTIONS, INHERITANCE, METRICS, SMALLEST_SHOWN, SWAPPED
from kdstats.reporting.results import (
    LATE,
    Point,
    Results,
    Row,
    listed,
    metric_label,
    parameters,
    plural,
    records,
    scope_words,
    setting,
    unit_words,
)

NONE = "–"


@dataclass(frozen=True, eq=False)
class Table:
    """One table, in two forms of the same rows or cells.

    Attributes
    ----------
    title, caption : what it shows, how it is read
    data : typed and tidy, what the CSV file holds
    shown : text, a column under each heading; Markdown, LaTeX and HTML
    signature : protocol hash, n, test, sidedness, correction, version
    marks : (row, column) of ``shown`` -> marks: "best" (bold), "†", "‡"
    numeric, prose : columns that are aligned right, that are sentences
    stub : how many first columns name the row
    empty : why there are no rows
    """

    title: str
    caption: str
    data: pd.DataFrame
    shown: Mapping[str, Sequence[str]]
    signature: str
    marks: Mapping[tuple[int, str], tuple[str, ...]] = field(default_factory=dict)
    numeric: tuple[str, ...] = ()
    prose: tuple[str, ...] = ()
    stub: int = 1
    empty: str = "No rows."

    @property
    def rows(self) -> list[tuple[str, ...]]:
        """The rows of ``shown``."""
        return list(zip(*self.shown.values(), strict=True))


# Numbers as text -------------------------------------------------------------------------------------------------


def decimals(spread: float) -> int:
    """Decimals that show two significant digits of a spread.

    Examples
    --------
    >>> decimals(0.0123), decimals(1.5), decimals(float("nan"))
    (3, 1, 3)
    """
    if not math.isfinite(spread) or spread <= 0:
        return 3
    return min(max(1 - math.floor(math.log10(spread)), 0), 6)


def number(value: float, places: int) -> str:
    """A number with a true minus sign; a dash where there is none.

    Examples
    --------
    >>> number(-0.5, 2), number(float("inf"), 2), number(float("nan"), 2)
    ('−0.50', '∞', '–')
    """
    if pd.isna(value):
        return NONE
    text = f"{value:.{places}f}" if math.isfinite(value) else f"{value:.0f}".replace("inf", "∞")
    return "−" + text[1:] if text.startswith("-") and text.strip("-0.") else text.removeprefix("-")


def p_text(p: float) -> str:
    """A p-value: three decimals, two significant digits below .01, powers of ten below .0001, none below 1e-99.

    Examples
    --------
    >>> p_text(0.25), p_text(0.0009765625), p_text(2**-20), p_text(0.0), p_text(float("nan"))
    ('0.250', '0.00098', '9.5e-7', '<1e-99', '–')
    """
    if pd.isna(p):
        return NONE
    if p < SMALLEST_SHOWN:
        return f"<{SMALLEST_SHOWN:g}"
    if p >= 0.01:
        return f"{p:.3f}"
    if p >= 0.0001:
        return f"{p:.{1 - math.floor(math.log10(p))}f}"
    mantissa, exponent = f"{p:.1e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def factor_text(factor: float) -> str:
    """A Bayes factor, which spans orders of magnitude, in two significant digits.

    Examples
    --------
    >>> factor_text(0.312), factor_text(8103.0), factor_text(2.5e7)
    ('0.31', '8100', '2.5e7')
    """
    if pd.isna(factor) or not math.isfinite(factor) or factor <= 0:
        return number(factor, 1)
    if not 0.001 <= factor < 100_000:
        mantissa, exponent = f"{factor:.1e}".split("e")
        return f"{mantissa}e{int(exponent)}"
    return f"{float(f'{factor:.2g}'):.{max(1 - math.floor(math.log10(factor)), 0)}f}"


def interval_text(row: Row) -> str:
    """Estimate and interval, with two digits of the interval's half width."""
    half = (row["ci_high"] - row["ci_low"]) / 2
    places = decimals(half if math.isfinite(half) and half > 0 else abs(row["estimate"]) / 10)
    if pd.isna(row["ci_low"]):
        return number(row["estimate"], places)
    return f"{number(row['estimate'], places)} [{number(row['ci_low'], places)}, {number(row['ci_high'], places)}]"


# Signatures ------------------------------------------------------------------------------------------------------


def signature(results: Results, *parts: str) -> str:
    """How the numbers of a table were made, in one line."""
    return " · ".join(
        [f"protocol {results.protocol_hash[:12]}", *filter(None, parts), f"kdstats {kdstats.__version__}"]
    )


def _unique(words: Iterable[Any], otherwise: str) -> str:
    there = dict.fromkeys(str(word) for word in words if not pd.isna(word) and word != "")
    return listed(list(there), " or ") or otherwise


def _tested(results: Results, rows: pd.DataFrame) -> str:
    """The signature of rows that were tested: n, test, sidedness, correction."""
    found = records(rows)
    units = f"n = {_unique(map(unit_words, found), 'none')}"
    return signature(results, units, _unique(rows["test"], "no test"), _sides(rows), _correction(rows))


def _sides(rows: pd.DataFrame) -> str:
    two = rows["direction"] == "two-sided"
    one = [f"one-sided ({_unique(rows['direction'][~two], '')})"] if (~two).any() else []
    return listed(one + ["two-sided"] * bool(two.any()), " or ")


def _correction(rows: pd.DataFrame) -> str:
    adjusted = rows[(rows["correction"] != "") & (rows["family"] != "")]
    kinds = [f"{correction_name(name)} ({CORRECTIONS.get(name, 'as named')})" for name in adjusted["correction"]]
    families = [f"family {family}" for family in adjusted["family"]]
    return f"{_unique(kinds, '')} in {_unique(families, '')}" if kinds else "uncorrected"


def correction_name(correction: str) -> str:
    return CORRECTION_NAMES.get(correction, correction)


def _stamped(results: Results, frame: pd.DataFrame) -> pd.DataFrame:
    """A table's data with protocol_hash and version, once each and last."""
    rest = [column for column in frame if column not in ("protocol_hash", "version")]
    return frame[rest].assign(protocol_hash=results.protocol_hash, version=kdstats.__version__)


def _late(text: str, late: bool) -> str:
    return f"{text} ({LATE})" if late else text


# Verdicts --------------------------------------------------------------------------------------------------------


def claim(results: Results, row: Row) -> str:
    """A hypothesis in words, from its row of the verdicts and the controls of its contrasts."""
    if row["verdict"] == "withdrawn":
        return f"{claims.WITHDRAWN_H}."
    rows = results.contrasts
    rows = rows[(rows["hypothesis"] == row["hypothesis"]) & (rows["kind"] == "confirmatory")]
    points = results.points
    keys = dict.fromkeys(zip(rows["control"], rows["control_params"], strict=True))
    controls = [points[key].label for key in keys] or [str(row.get("controls", ""))]
    arm = points[row["arm"], row["arm_params"]].label
    if row["metric"] in SWAPPED:
        said = claims.of_swaps(row["metric"], row["direction"], row["margin"])
        words = {row["direction"]: f"{said}, with {arm} against {listed(controls)}"}
    else:
        label = metric_label(row["metric"])
        than = listed([f"with {control}" for control in controls])
        words = {
            "greater": f"{label} is higher with {arm} than {than}",
            "less": f"{label} is lower with {arm} than {than}",
            "two-sided": f"{label} differs between {arm} and {listed(controls, ' and between it and ')}",
            "not-less": f"{label} with {arm} is not lower, by {row['margin']:g} or more, than {than}",
            "not-greater": f"{label} with {arm} is not higher, by {row['margin']:g} or more, than {than}",
            "equivalent": f"{label} with {arm} is within ±{row['margin']:g} of that {than}",
        }
    if row["direction"] in AT_A_MARGIN:
        return f"{words[row['direction']]}. About {scope_words(row)}."
    within = claims.in_points(row["margin"]) if row["metric"] in INHERITANCE else f"{row['margin']:g}"
    margin = f"; within ±{within} it counts as no difference" if row["margin"] == row["margin"] else ""
    return f"{words[row['direction']]}{margin}. About {scope_words(row)}."


def verdicts(results: Results) -> Table:
    """One row a hypothesis: what was claimed, what was found, the verdict and why."""
    rows = results.verdicts
    found = records(rows)
    tested = results.contrasts[results.contrasts["kind"] == "confirmatory"]
    shown = {
        "Hypothesis": [_late(row["hypothesis"], _is_late(row)) for row in found],
        "Claim": [claim(results, row) for row in found],
        "Estimate [interval]": list(map(interval_text, found)),
        "p": [p_text(row["p_value"]) for row in found],
        "Adjusted p": [p_text(row["p_adjusted"]) for row in found],
        "Verdict": [row["verdict"] for row in found],
        "Why": [row["sentence"] for row in found],
    }
    return Table(
        "Verdicts",
        f"One row a hypothesis, at level {results.level:g}. Estimate, {_levels(tested)} interval and p are those"
        " against the control with the largest p (where refuted, the one that refutes)."
        + (" W and K are shares here: 0.1 is 10 points." if rows["metric"].isin(INHERITANCE).any() else ""),
        _stamped(results, rows),
        shown,
        _tested(results, tested),
        numeric=("p", "Adjusted p"),
        prose=("Claim", "Why"),
        empty="The protocol declares no hypotheses.",
    )


def _is_late(row: Row) -> bool:
    return str(row["declared"]).startswith("after training")


def _levels(rows: pd.DataFrame) -> str:
    return _unique([f"{100 * level:g} %" for level in rows["ci_level"].dropna()], "no")


# Arms ------------------------------------------------------------------------------------------------------------


def arms(results: Results) -> Table:
    """The paper's table: arms by metrics, mean ± SEM over teachers, best and significant cells marked."""
    unit = "teacher" if results.scores["teacher"].nunique() > 1 else "student"
    cells = pd.DataFrame(
        [_summary(results, point, metric, unit) for point in results.points.values() for metric in results.metrics()],
        columns=["arm", "arm_params", "metric", "mean", "sem", "n_units", "n", "unit"],
    )
    cells = cells[cells["n"] > 0].reset_index(drop=True)
    cells["best"] = _best(cells)
    marked = _significant(results)
    keys = zip(cells["arm"], cells["arm_params"], cells["metric"], strict=True)
    cells["mark"] = [marked.get(key, "") for key in keys]
    by_key = {(cell["arm"], cell["arm_params"], cell["metric"]): cell for cell in records(cells)}
    points = {key: point for key, point in results.points.items() if any(key == cell[:2] for cell in by_key)}
    metrics = [metric for metric in results.metrics() if any(metric == cell[2] for cell in by_key)]
    shown = {"Arm": [_late(point.label, point.late) for point in points.values()]}
    marks: dict[tuple[int, str], tuple[str, ...]] = {}
    for metric in metrics:
        heading = metric_label(metric)
        places = decimals(_middle(cells[cells["metric"] == metric]["sem"]))
        column = [by_key.get((*key, metric)) for key in points]
        shown[heading] = [_cell(cell, places) for cell in column]
        for i, cell in enumerate(column):
            mark = (*["best"] * bool(cell and cell["best"]), *filter(None, [cell["mark"] if cell else ""]))
            marks |= {(i, heading): mark} if mark else {}
    spread = {
        "teacher": "mean over teachers of the mean over their students, ± SEM over teachers (over pairs of teachers"
        " where these taught each other's students)",
        "student": "mean ± SEM over the students of the one teacher",
    }[unit]
    return Table(
        "Arms",
        f"Each cell: {spread}, on this test set. Bold: the best student arm by this metric."
        f" {_mark_words(results, marks)}{_fixed_words(results)}",
        _stamped(results, cells),
        shown,
        signature(
            results,
            f"n = {_unique([_units(cell) for cell in records(cells)], 'none')}",
            *_marked(results, marks),
        ),
        marks,
        numeric=tuple(shown)[1:],
        empty="Nothing was scored.",
    )


def _summary(results: Results, point: Point, metric: str, unit: str) -> tuple[Any, ...]:
    values = results.values(metric, point)
    units = values
    if unit == "teacher":
        units = values.groupby(level="teacher").mean()
        units = units.groupby(units.index.map(results.unit_of(point))).mean()
    sem = float(units.std(ddof=1) / math.sqrt(len(units))) if len(units) > 1 else math.nan
    mean = float(units.mean()) if len(units) else math.nan
    return point.arm, point.params, metric, mean, sem, len(units), len(values), unit


def _units(cell: Row) -> str:
    if cell["arm"] == "teacher":
        return plural(cell["n"], "teacher")
    if cell["unit"] == "student":
        return plural(cell["n"], "student")
    return f"{plural(cell['n_units'], 'unit')} of {plural(cell['n'], 'student')}"


def _middle(sems: pd.Series) -> float:
    return float(sems.median()) if sems.notna().any() else math.nan


def _cell(cell: Row | None, places: int) -> str:
    if cell is None:
        return NONE
    mean = number(cell["mean"], places)
    return mean if pd.isna(cell["sem"]) else f"{mean} ± {number(cell['sem'], places)}"


def _best(cells: pd.DataFrame) -> pd.Series:
    """Whether a cell is the best of its metric among the students; never where more is neither better nor worse."""
    students = cells[cells["arm"] != "teacher"]
    best = pd.Series(False, index=cells.index)
    for metric, column in students.groupby("metric")["mean"]:
        better = METRICS[str(metric)].better if metric in METRICS else "neither"
        if better != "neither" and len(column) > 1:
            best[column.index] = column == (column.max() if better == "higher" else column.min())
    return best


def _plain_contrasts(results: Results) -> pd.DataFrame:
    """The contrasts of arms with their plain control, about several teachers; where a row was declared, it alone."""
    rows = results.contrasts
    control = {point.arm: results.control_of(point.arm) for point in results.points.values()}
    plain = [
        (p := control[arm]) is not None and (name, params) == (p.arm, p.params)
        for arm, name, params in zip(rows["arm"], rows["control"], rows["control_params"], strict=True)
    ]
    tested = rows["kind"].isin(["confirmatory", "exploratory"]) & ~rows["metric"].isin(SWAPPED)
    rows = rows[np.array(plain, bool) & tested & (rows["scope_teachers"] != "each")]
    declared = rows.groupby(["arm", "arm_params", "metric"])["kind"].transform(
        lambda kinds: (kinds == "confirmatory").any()
    )
    return rows[(rows["kind"] == "confirmatory") | ~declared.astype(bool)]


def _significant(results: Results) -> dict[tuple[str, str, str], str]:
    """(arm, parameters, metric) -> † or ‡ where the arm differs from its plain control, declared or not."""
    rows = _plain_contrasts(results)
    undecided = (rows["kind"] == "confirmatory") & ~rows["verdict"].isin(["supported", "negligible"])
    rows = rows[(rows["p_adjusted"] <= results.level) & ~undecided]
    marks = rows["kind"].map({"confirmatory": "†", "exploratory": "‡"})
    return dict(zip(zip(rows["arm"], rows["arm_params"], rows["metric"], strict=True), marks, strict=True))


def _marked(results: Results, marks: Mapping[Any, tuple[str, ...]]) -> list[str]:
    tested = _plain_contrasts(results)
    kinds = {"†": "confirmatory", "‡": "exploratory"}
    used = [mark for mark in kinds if any(mark in found for found in marks.values())]
    words = []
    for mark in used:
        of_kind = tested[tested["kind"] == kinds[mark]]
        words.append(f"{mark} {_unique(of_kind['test'], 'no test')}, {_sides(of_kind)}, {_correction(of_kind)}")
    return words or ["no test"]


def _mark_words(results: Results, marks: Mapping[Any, tuple[str, ...]]) -> str:
    controls = (
        results.control_of(arm)
        for arm in {point.arm: None for point in results.points.values() if point.arm != "teacher"}
    )
    control = _unique([point.label for point in controls if point], "the control")
    words = {
        "†": f"†: a declared hypothesis about this arm against {control} has adjusted p ≤ {results.level:g}. ",
        "‡": f"‡: not declared, but differs from {control} with p ≤ {results.level:g} after correction among the"
        " exploratory rows. ",
    }
    used = {mark for found in marks.values() for mark in found}
    return "".join(text for mark, text in words.items() if mark in used)


def _fixed_words(results: Results) -> str:
    """The parameters that do not vary within an arm, said once instead of in every row."""
    words = {}
    for point in results.points.values():
        fixed = {
            name: value for name, value in parameters(point.params).items() if not _varies(results, point.arm, name)
        }
        if fixed:
            words[point.arm] = f"{point.arm}: {setting(fixed)}"
    return f"Throughout {'; '.join(words.values())}." if words else ""


def _varies(results: Results, arm: str, name: str) -> bool:
    return len({parameters(params).get(name) for other, params in results.points if other == arm}) > 1


# Contrasts -------------------------------------------------------------------------------------------------------


def _contrast_columns(results: Results, rows: pd.DataFrame) -> dict[str, list[str]]:
    found = records(rows)
    points = results.points
    notes = [_note(row) for row in found]
    return {
        "Hypothesis": [_late(row["hypothesis"], _is_late(row)) for row in found],
        "Arm − control": [_late(_difference(points, row), _is_late(row) and not row["hypothesis"]) for row in found],
        "Metric": [metric_label(row["metric"], row["estimator"]) for row in found],
        "About": [f"{scope_words(row)} ({unit_words(row)})" for row in found],
        "Estimate [interval]": list(map(interval_text, found)),
        "Test": [row["test"] for row in found],
        "p": [p_text(row["p_value"]) for row in found],
        "Adjusted p": [p_text(row["p_adjusted"]) for row in found],
        "dz": [number(row["dz"], 2) for row in found],
        "BF₁₀": [factor_text(row["bayes_factor"]) for row in found],
        "Verdict": [row["verdict"] for row in found],
    } | ({"Note": notes} if any(notes) else {})


def _swapped_words(rows: pd.DataFrame) -> str:
    if not rows["metric"].isin(SWAPPED).any():
        return ""
    return (
        " W, K and θ₀ are no differences of two scores: they compare, image by image, students of the two teachers of a"
        " pair (table Inheritance; W and K are shares here, 0.1 is 10 points)."
    )


def _difference(points: Mapping[tuple[str, str], Point], row: Row) -> str:
    arm, control = points[row["arm"], row["arm_params"]], points[row["control"], row["control_params"]]
    if arm.setting == control.setting and arm.setting:
        return f"{arm.arm} − {control.arm}, {arm.setting}"
    return f"{arm.label} − {control.label}"


def _note(row: Row) -> str:
    return "; ".join(filter(None, (row["note"], _failed(row))))


def _failed(row: Row) -> str:
    arm, control = row["n_failed_arm"], row["n_failed_control"]
    return f"{arm} of the arm's and {control} of the control's replicates failed" if arm + control else ""


def contrasts(results: Results) -> Table:
    """The rows that bear verdicts: each hypothesis against each of its controls."""
    rows = results.contrasts[results.contrasts["kind"] == "confirmatory"]
    return Table(
        "Confirmatory contrasts",
        f"Arm minus control, paired by seed within teacher, with {_levels(rows)} intervals. Each row speaks of what its"
        " column About names, and so do its p, interval, dz (mean difference over its standard deviation) and Bayes"
        " factor. Adjusted p is the hypothesis's: the largest p over its controls, corrected in its family."
        + _swapped_words(rows),
        _stamped(results, rows),
        _contrast_columns(results, rows),
        _tested(results, rows),
        numeric=("p", "Adjusted p", "dz", "BF₁₀"),
        prose=("Note",),
        stub=2,
        empty="The protocol declares no hypotheses.",
    )


def exploratory(results: Results) -> Table:
    """Contrasts that nobody declared."""
    rows = results.contrasts[results.contrasts["kind"] == "exploratory"]
    columns = _contrast_columns(results, rows)
    return Table(
        "Exploratory contrasts",
        "Not declared in the protocol: no verdicts. Arm minus control, paired by seed within teacher, with"
        f" {_levels(rows)} intervals; p corrected among these rows alone. Each row speaks of what its column About"
        f" names.{_swapped_words(rows)}",
        _stamped(results, rows),
        {name: cells for name, cells in columns.items() if name not in ("Hypothesis", "Verdict")},
        _tested(results, rows),
        numeric=("p", "Adjusted p", "dz", "BF₁₀"),
        prose=("Note",),
        stub=2,
        empty="There are no exploratory rows.",
    )


# Transfers -------------------------------------------------------------------------------------------------------

COUNTS = {
    "n_correct": "Teacher right",
    "repaired": "Repaired",
    "broken": "Broken",
    "net_repaired": "Net repaired",
    "n_wrong": "Teacher wrong",
    "infected": "Infected",
    "cured": "Cured",
    "net_infected": "Net infected",
}


def transfers(results: Results) -> Table:
    """The four counts of each arm against each control, averaged over teachers."""
    key = ["arm", "arm_params", "control", "control_params"]
    frame = results.transfers.astype(dict.fromkeys(COUNTS, float))
    by_teacher = frame.groupby([*key, "teacher"], sort=False)[list(COUNTS)].mean()
    data = by_teacher.groupby(level=key, sort=False).mean().reset_index()
    pairs = frame.groupby(key, sort=False).size().reset_index(name="n_pairs")
    data = data.merge(pairs, on=key, how="left")
    points = results.points
    found = records(data)
    labels = [
        (points[row["arm"], row["arm_params"]], points.get((row["control"], row["control_params"]))) for row in found
    ]
    shown = {
        "Arm": [_late(arm.label, arm.late) for arm, _ in labels],
        "Control": [
            control.label if control else row["control"] for (_, control), row in zip(labels, found, strict=True)
        ],
        **{heading: [number(row[name], 1) for row in found] for name, heading in COUNTS.items()},
    }
    n = f"n = {_unique([plural(n, 'pair') for n in data['n_pairs']], 'no pairs')}"
    return Table(
        "Transfer counts",
        "Test images, mean over teachers of the mean over their pairs. Where the teacher is right: repaired (control"
        " wrong, arm right) and broken (control right, arm wrong). Where it is wrong: infected (arm gives the teacher's"
        " label, control does not) and cured (the reverse). A control held out in the arm's place shows what the counts"
        " are with no effect.",
        _stamped(results, data),
        shown,
        signature(results, n, "no test"),
        numeric=tuple(COUNTS.values()),
        stub=2,
        empty="There are no pairs of an arm and a control to count.",
    )


# Ladder ----------------------------------------------------------------------------------------------------------


def ladder(results: Results) -> Table:
    """What each rung adds to the one below, and what is reached with it."""
    rows = results.ladder
    parts = records(rows)
    reached = {(p["metric"], p["setting"], p["rung"]): p for p in parts if p["part"] in ("reached", "whole")}
    found = [part for part in parts if part["part"] in ("step", "whole")]
    whole = "whole, against {}".format
    several = rows["setting"].nunique() > 1
    shown = {
        "Metric": [metric_label(part["metric"]) for part in found],
        **({"At": [setting(parameters(part["setting"])) for part in found]} if several else {}),
        "Rung": [whole(part["control"]) if part["part"] == "whole" else part["arm"] for part in found],
        "Adds [interval]": list(map(interval_text, found)),
        "Adjusted p": [p_text(part["p_adjusted"]) for part in found],
        "Share of the whole": [
            interval_text({"estimate": p["share"], "ci_low": p["share_low"], "ci_high": p["share_high"]}) for p in found
        ],
        "Reached [interval]": [
            NONE if part["part"] == "whole" else interval_text(reached[part["metric"], part["setting"], part["rung"]])
            for part in found
        ],
        "About": [f"{unit_words(part)}, {part['scope_examples']}" for part in found],
    }
    return Table(
        "Ladder",
        "What each rung adds to the one below it, paired by seed; all rungs have one loss and differ in their target."
        " The additions sum to the whole. They depend on the order of the rungs, which are not nested, and may be"
        f" negative. {_levels(rows)} intervals of t tests; p corrected by Holm within a metric, and in no family of the"
        " protocol. Shares only where the whole's interval excludes 0, with Fieller's intervals.",
        _stamped(results, rows),
        shown,
        signature(
            results, f"n = {_unique(map(unit_words, found), 'none')}", _unique(rows["test"], "no test"), "two-sided"
        ),
        numeric=("Adjusted p",),
        stub=2,
        empty="The protocol declares no ladder.",
    )


TABLES: dict[str, Callable[[Results], Table]] = {
    "verdicts": verdicts,
    "arms": arms,
    "ladder": ladder,
    "contrasts": contrasts,
    "exploratory": exploratory,
    "transfers": transfers,
}
