"""The page of a study: its trends, curves over its values, what teachers are at each, and the way to each run."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import seaborn as sns
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

import kdstats
from kdstats.catalog import CORRECTIONS
from kdstats.reporting import write_files
from kdstats.reporting.figures import GREY, MARKERS, PAGE, Drawing, _wrapped
from kdstats.reporting.files import tables_and_figures
from kdstats.reporting.page import rendered
from kdstats.reporting.results import Row, listed, metric_label, plural, records
from kdstats.reporting.tables import NONE, Table, correction_name, decimals, interval_text, number, p_text
from kdstats.study import MATCHED, Study


@dataclass(frozen=True, eq=False)
class StudyResults:
    """All that a study's page says.

    Attributes
    ----------
    trends, levels, units, capacities : tables of ``kdstats.trends``
    made_on : devices and versions of all networks
    """

    study: Study
    trends: pd.DataFrame
    levels: pd.DataFrame
    units: pd.DataFrame
    capacities: pd.DataFrame
    made_on: Sequence[str]


def write_study(results: StudyResults, directory: Path) -> Path:
    """Write index.html, tables/ and figures/ beside the reports of the runs."""
    return write_files(files(results), directory)


def files(results: StudyResults) -> dict[str, bytes]:
    """Every file of the page by its path, index.html first."""
    absent = () if len(results.capacities) else ("capacities",)
    tables = {name: make for name, make in TABLES.items() if name not in absent}
    figures = {name: draw for name, draw in FIGURES.items() if name not in absent}
    made, drawings, written = tables_and_figures(results, tables, figures, results.study.name, signature(results))
    page = rendered(
        "study.html",
        name=results.study.name,
        signature=signature(results),
        asked=list(_asked(results)),
        warnings=list(_warnings(results)),
        trends=records(results.trends),
        drawings=[(name, drawing, Markup(svg)) for name, (drawing, svg) in drawings.items()],  # ours, and escaped XML
        tables=made,
        over=results.study.over,
        values=results.study.values,
    )
    return {"index.html": page.encode(), **written}


def signature(results: StudyResults, *parts: str) -> str:
    """How the numbers were made, in one line."""
    return " · ".join([f"study {results.study.hash[:12]}", *filter(None, parts), f"kdstats {kdstats.__version__}"])


def _asked(results: StudyResults) -> Iterator[tuple[str, str]]:
    study = results.study
    one = study.protocols[0]
    yield "Over", f"{study.over}: {', '.join(study.values)}"
    yield "Dataset", f"{one.dataset.name}, {one.dataset.split} split"
    for role in ("teacher", "student"):
        models = dict.fromkeys(getattr(protocol, role).model for protocol in study.protocols)
        each = "" if role == "teacher" else " for each teacher and setting"
        yield role.capitalize(), f"{', '.join(models)}; {plural(len(getattr(one, role).seeds), 'seed')}{each}"
    yield "Arms", ", ".join(dict.fromkeys(str(point) for protocol in study.protocols for point in protocol.points))
    corrected = f"{correction_name(study.correction)} ({CORRECTIONS[study.correction]})"
    yield "Level", f"{study.level:g} for {plural(len(study.trends), 'trend')} together, {corrected}"
    yield "Made on", "; ".join(results.made_on)


def _warnings(results: StudyResults) -> Iterator[str]:
    if any(protocol.hypotheses for protocol in results.study.protocols):
        yield (
            f"The level is shared: {results.study.level:g} for the trends and as much for the hypotheses of each run,"
            " so that all claims of the study together keep its level."
        )
    if len(results.made_on) > 1:
        yield "The networks were made on different devices or versions: pairs may mix them."


# Tables ----------------------------------------------------------------------------------------------------------


def trends(results: StudyResults) -> Table:
    """A row a trend, with its verdict and why."""
    found = records(results.trends)
    shown = {
        "Trend": [row["trend"] for row in found],
        "Last minus first [interval]": list(map(_interval, found)),
        "Slope a step [interval]": [
            _interval({"estimate": r["slope"], "ci_low": r["slope_low"], "ci_high": r["slope_high"]}) for r in found
        ],
        "p": [p_text(row["p_value"]) for row in found],
        "Adjusted p": [p_text(row["p_adjusted"]) for row in found],
        "Verdict": [row["verdict"] for row in found],
        "Why": [row["sentence"] for row in found],
    }
    return Table(
        "Trends",
        "Teachers (means of their students) are the units. p is of the order of all values, and does not say that each"
        " step goes that way; intervals are of the last value minus the first, and of the least-squares slope over the"
        " order of the values.",
        results.trends, shown, signature(results, f"{correction_name(results.study.correction)} over all trends"),
        numeric=("p", "Adjusted p"), prose=("Why",), empty="The study declares no trends.",
    )  # fmt: skip


def _interval(row: Row) -> str:
    return NONE if pd.isna(row["estimate"]) else interval_text(row)


def levels(results: StudyResults) -> Table:
    """What each trend was at each value."""
    rows = records(results.levels)
    shown: dict[str, list[str]] = {"Trend": list(dict.fromkeys(row["trend"] for row in rows))}
    by_cell = {(row["trend"], row["value"]): row for row in rows}
    for value in results.study.values:
        shown[value] = [_interval(by_cell[trend, value]) for trend in shown["Trend"]]
    return Table(
        "Levels",
        "Mean over teachers at each value; intervals hold for all values of a row together (t, Bonferroni).",
        results.levels, shown, signature(results, f"over {results.study.over}"), numeric=results.study.values,
    )  # fmt: skip


SAID = {
    "n_teachers": "Teachers", "accuracy": "Accuracy", "target_confidence": "Confidence in the true class",
    "entropy": "Entropy", "da": "DA", "dv": "DV", "iv": "IV", "temperature_matched": "T of equal confidence",
    "dv_matched": "DV at equal confidence", "iv_matched": "IV at equal confidence",
    "rank_within": "Order of wrong classes (τ), same value", "rank_across": "… other values",
    "top_within": "Shared top wrong classes, same value", "top_across": "… other values", "top_chance": "… by chance",
    "affinity_within": "Similarity of class relations, same value", "affinity_across": "… other values",
    "mantel_p": "Mantel p (floor)",
}  # fmt: skip


def capacities(results: StudyResults) -> Table:
    """How sure teachers are at each value, how distinct among wrong classes, how alike."""
    rows = records(results.capacities)
    there = [name for name in SAID if any(not pd.isna(row[name]) for row in rows)]
    note = "; ".join(dict.fromkeys(row["note"] for row in rows if row["note"]))
    shown: dict[str, list[str]] = {"": [SAID[name] for name in there]}
    for row in rows:
        shown[row["value"]] = [_cell(name, row[name]) for name in there]
    return Table(
        "Teachers",
        "Means over the teachers of each value, on the test set, at T = 1. DA, DV: mean and standard deviation of the"
        " wrong classes' probabilities; IV: variance of the softmax over wrong classes alone. At equal confidence: at"
        " the temperature at which the mean confidence in the true class is the smallest of all teachers'. Similarities"
        " are means over pairs of teachers. Mantel's p is the largest over pairs with other values; it rejects no more"
        f" than that class relations have nothing in common.{f' Not compared: {note}.' if note else ''}",
        results.capacities, shown, signature(results), numeric=results.study.values,
        empty="All values have the same teachers.",
    )  # fmt: skip


def _cell(name: str, value: float) -> str:
    if pd.isna(value):
        return NONE
    if name == "n_teachers":
        return str(int(value))
    return p_text(value) if name == "mantel_p" else number(value, decimals(abs(value) / 50))


TABLES: dict[str, Callable[[StudyResults], Table]] = {"trends": trends, "levels": levels, "capacities": capacities}

# Figures ---------------------------------------------------------------------------------------------------------


def curves(results: StudyResults) -> Drawing:
    """Every trend over the values, with simultaneous intervals."""
    names = list(dict.fromkeys(results.levels["trend"]))
    if not names:
        return Drawing("Curves", "No curves: no trend has values one by one.")
    columns = min(3, len(names))
    lines = math.ceil(len(names) / columns)
    figure = Figure(figsize=(PAGE, 0.35 + 1.9 * lines), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False)
    by_name = {row["trend"]: row for row in records(results.trends)}
    single = results.units
    for ax, name in zip(grid.flat, names, strict=False):
        rows = [row for row in records(results.levels) if row["trend"] == name]
        x = range(len(rows))
        mean = [row["estimate"] for row in rows]
        ax.fill_between(
            x,
            [row["ci_low"] for row in rows],
            [row["ci_high"] for row in rows],
            color="#0173b2",
            alpha=0.2,
            linewidth=0,
        )
        dots = single[single["trend"] == name]
        ax.plot(dots["order"], dots["estimate"], marker="o", markersize=2, color="#0173b2", linewidth=0, alpha=0.4)
        ax.plot(x, mean, marker="o", markersize=4, color="#0173b2", linewidth=1.2)
        trend = by_name[name]
        if trend["control"]:
            ax.axhline(0, color=GREY, linewidth=0.8, zorder=0)
        of = {"teacher": "teachers"}.get(trend["arm"], trend["arm"])
        of += f" − {trend['control']}" if trend["control"] else ""
        ax.set_title(f"{_wrapped(name, 30)}: {trend['verdict']}", fontsize="small")
        label = MATCHED.get(trend["metric"]) or metric_label(trend["metric"])
        ax.set_ylabel(_wrapped(f"{label}, {of}", 28))
        _ticks(ax, [row["value"] for row in rows])
        ax.set_xlim(-0.3, len(rows) - 0.7)
        ax.yaxis.set_major_locator(MaxNLocator(5))
    for ax in list(grid.flat)[len(names) :]:
        ax.remove()
    return Drawing(
        "Curves",
        f"Mean over teachers at each value of {results.study.over}, in the study's order; small dots are single"
        " teachers (means of their students; pairs where an arm is taught by the other one); the band holds for all"
        f" values of a curve together ({100 * (1 - results.study.level):g} %). Above each the trend's verdict.",
        figure,
    )


def _ticks(ax: Axes, values: Sequence[str]) -> None:
    """The values below a panel, aslant where they would touch."""
    labels = [_wrapped(value, 10) for value in values]
    if sum(map(len, values)) > 24:
        ax.set_xticks(range(len(values)), labels, rotation=30, ha="right", rotation_mode="anchor")
    else:
        ax.set_xticks(range(len(values)), labels)


def teachers(results: StudyResults) -> Drawing:
    """DA, DV and IV over the values, as they are and at equal confidence."""
    rows = [row for row in records(results.capacities) if not pd.isna(row["dv"])]
    if not rows:
        return Drawing("Distinctness", "No distinctness: two classes have a single wrong one.")
    figure = Figure(figsize=(PAGE, 2.2), layout="constrained")
    blue, orange = sns.color_palette("colorblind", 2).as_hex()
    axes = figure.subplots(1, 3, squeeze=False)[0]
    panels = {"da": "DA, mean of wrong classes", "dv": "DV, their standard deviation", "iv": "IV, variance among them"}
    for ax, (name, title) in zip(axes, panels.items(), strict=True):
        x = range(len(rows))
        ax.plot(x, [row[name] for row in rows], marker=MARKERS[0], markersize=4, color=blue, label="T = 1")
        if name != "da":
            matched = [row[f"{name}_matched"] for row in rows]
            ax.plot(x, matched, marker=MARKERS[1], markersize=4, color=orange, linestyle="--", label="equal confidence")
        ax.set_title(title, fontsize="small")
        _ticks(ax, [row["value"] for row in rows])
        ax.set_ylim(0, 1.08 * max(line.get_ydata().max() for line in ax.get_lines()))
        ax.yaxis.set_major_locator(MaxNLocator(4))
    axes[0].set_ylabel("Mean over teachers")
    axes[1].legend(loc="best")
    return Drawing(
        "Distinctness",
        "What the teachers' outputs tell of wrong classes, means over the teachers of each value on the test set."
        " Sharper outputs alone lower DV and raise IV; at equal confidence both tell whether wrong classes are less"
        f" distinct among themselves. Values: {listed([row['value'] for row in rows])}.",
        figure,
    )


FIGURES: dict[str, Callable[[StudyResults], Drawing]] = {"curves": curves, "capacities": teachers}
