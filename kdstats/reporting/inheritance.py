"""What students of swapped teachers inherit: a table and a figure, from the rows of ``inheritance.csv``."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from kdstats.catalog import ASYMMETRY
from kdstats.reporting.figures import DASHES, GREY, LIGHT, MARKERS, PAGE, Drawing, _legend, _wrapped, colours
from kdstats.reporting.results import Results, Row, listed, plural, records, unit_words
from kdstats.reporting.tables import (
    NONE,
    Table,
    _difference,
    _late,
    _levels,
    _stamped,
    _unique,
    decimals,
    interval_text,
    number,
    signature,
)

MISSING = (
    "it needs students of one recipe that learn from their own teacher and from its partner: arms such as kd and"
    " kd-other at the same settings, and the metrics positive_transfer and negative_transfer"
)
UNITS = {"errors": "errors", "share": "points", "log ratio": "log ratio"}
Key = tuple[str, str]

# Table -----------------------------------------------------------------------------------------------------------

PARTS: dict[str, tuple[str, str]] = {  # in the order shown: what stands in the row, and what is always said beside it
    "errors_made": ("Errors of a teacher", ""),
    "repeated_own": ("of them, repeated by its own student", ""),
    "repeated_other": ("of them, repeated by the other teacher's student", ""),
    "repeated_more": ("repeated more by its own student", ""),
    "inherits_errors": ("W, inherited errors", ""),
    "inherits_knowledge": ("K, inherited right answers", ""),
    "inherits_errors_by_class": ("W within the true classes", "without quality that is passed on class by class"),
    "inherits_knowledge_by_class": ("K within the true classes", "without quality that is passed on class by class"),
    "errors_from_wrong": ("W, begun with the wrong teacher's weights", ""),
    "errors_from_right": ("W, begun with the right teacher's weights", ""),
    "knowledge_from_wrong": ("K, begun with the wrong teacher's weights", ""),
    "knowledge_from_right": ("K, begun with the right teacher's weights", ""),
    "firmness": ("θ₀, third answers where both teachers are equally sure", ""),
    "third": ("θ, third answers whatever the confidence", "describes, bears no verdict"),
    "copied_wrong": ("ĉ_w, share of wrong answers copied", "if copying were all or nothing"),
    "copied_right": ("ĉ_r, share of right answers copied", "if copying were all or nothing"),
    "h": ("h; then what one copied share predicts", "bears no verdict"),
    "raw": ("Raw asymmetry Δ⁻ − Δ⁺", "as in Mason-Williams et al.; positive under pure copying"),
}


def inheritance(results: Results) -> Table:
    """What students inherit, a block a setting: repeated errors, W and K, third answers, and what describes alone."""
    blocks = _blocks(results)
    columns = [name for name in results.inheritance if name not in ("protocol_hash", "version")]
    data = pd.DataFrame([row for rows in blocks.values() for row in rows.values()], columns=columns)
    lines = [(part, rows) for rows in blocks.values() for part in PARTS if part in rows]
    points = results.points
    shown: dict[str, list[str]] = {
        "Arm against control": [
            _late(_difference(points, rows[part]), points[_key(rows[part])].late) for part, rows in lines
        ],
        "What": [PARTS[part][0] for part, _ in lines],
        "Estimate [interval]": [_estimate(part, rows) for part, rows in lines],
        "In": ["%" if part.startswith("copied") else UNITS[rows[part]["unit"]] for part, rows in lines],
        "Read with care": [_care(part, rows) for part, rows in lines],
    }
    n = _unique([_units(row) for rows in blocks.values() for row in rows.values()], "none")
    halves = (
        " Halves by initial weights: labels that merely destroy a resemblance which the weights brought along would"
        " show in one half alone."
        if data["part"].astype(str).str.contains("_from_").any()
        else ""
    )
    missing = "" if len(results.inheritance) else f"What students inherit is not known: {MISSING}. "
    return Table(
        "Inheritance",
        missing
        + "Students of two teachers that were swapped: each learned from the one or from the other, all else equal."
        " Errors are test images; points are percentage points (the CSV file has shares); θ, θ₀ and h are"
        f" logarithms of ratios. {_levels(data)} intervals over teachers and new examples, uncorrected: verdicts are in"
        f" the table Verdicts alone.{halves}",
        _stamped(results, data),
        shown,
        signature(results, f"n = {n}", "no test"),
        prose=("Read with care",),
        stub=2,
        empty=f"What students inherit is not known: {MISSING}.",
    )


def _blocks(results: Results) -> dict[Key, dict[str, Row]]:
    """Rows by part, of each point of an arm; with its raw asymmetry, a row of the contrasts."""
    found: dict[Key, dict[str, Row]] = {}
    for row in records(results.inheritance):
        found.setdefault(_key(row), {})[row["part"]] = row
    rows = results.contrasts
    raw = rows[(rows["metric"] == ASYMMETRY) & (rows["estimator"] == "raw") & (rows["kind"] == "descriptive")]
    for row in records(raw):
        own = {"part": "raw", "label": PARTS["raw"][0], "unit": "share", "sentence": ""}
        found.setdefault(_key(row), {})["raw"] = row | own
    rank = {key: i for i, key in enumerate(results.points)}
    return {key: found[key] for key in sorted(found, key=lambda key: rank[key])}


def _key(row: Row, side: str = "arm") -> Key:
    return row[side], row[f"{side}_params"]


def _units(row: Row) -> str:
    if row["part"] == "raw":
        return unit_words(row)
    return plural(row["n_units"], "pair of teachers", "pairs of teachers")


def _scale(row: Row) -> float:
    return 100.0 if row["unit"] == "share" else 1.0


def _scaled(row: Row) -> dict[str, float]:
    return {name: row[name] * _scale(row) for name in ("estimate", "ci_low", "ci_high")}


def _estimate(part: str, rows: Mapping[str, Row]) -> str:
    row = rows[part]
    if row["unit"] == "errors" and row["estimate"] == row["estimate"]:
        ends = [number(row[name], 1) for name in ("ci_low", "ci_high")]
        text = number(row["estimate"], 1) + ("" if NONE in ends else f" [{ends[0]}, {ends[1]}]")
    elif pd.isna(row["ci_low"]):
        value = row["estimate"] * _scale(row)
        text = number(value, 1 if row["unit"] == "share" else decimals(abs(value) / 5))
    else:
        text = interval_text(_scaled(row))
    if part == "h" and "h_of_copying" in rows:
        return f"{text}; {number(rows['h_of_copying']['estimate'], 2)}"
    return text


def _care(part: str, rows: Mapping[str, Row]) -> str:
    row = rows[part]
    said = [row["sentence"], PARTS[part][1], row["note"]]
    if part == "raw":
        said = [PARTS[part][1], row["note"] if pd.isna(row["estimate"]) else ""]
    if part == "h" and "h_of_copying" in rows:
        said.append(f"the second number: {rows['h_of_copying']['note']}")
    return "; ".join(filter(None, said))


# Figure ----------------------------------------------------------------------------------------------------------


def inherited(results: Results) -> Drawing:
    """W against K, and how many of a teacher's errors students of both teachers repeat."""
    title = "Inherited errors and right answers"
    blocks = {key: rows for key, rows in _blocks(results).items() if {*SWAP, *REPEATED} <= set(rows)}
    if not blocks:
        return Drawing(title, f"No figure of what students inherit: {MISSING}.")
    figure = Figure(figsize=(PAGE, max(3.3, 1.3 + 0.3 * len(blocks))), layout="constrained")
    left, right = figure.subplots(1, 2)
    colour, arms = colours(results), list(dict.fromkeys(arm for arm, _ in blocks))
    shape = {arm: MARKERS[i % len(MARKERS)] for i, arm in enumerate(arms)}
    _plane(left, results, blocks, shape, colour)
    _repetitions(right, results, blocks, shape, colour)
    grey: dict[str, Any] = {"linestyle": "none", "markersize": 5, "color": GREY}
    handles = [
        Line2D([], [], **grey, marker="|", markeredgewidth=1.5),
        Line2D([], [], **grey, marker="o"),
        Line2D([], [], **grey, marker="o", markerfacecolor="white"),
        Line2D([], [], color=GREY, linewidth=1, linestyle=DASHES[1]),
    ]
    labels = ["errors of a teacher", "repeated by its own student", "by a student of the other teacher"]
    labels.append("no third answers gained (W = K)")
    if len(arms) > 1:
        handles += [Line2D([], [], **grey | {"color": colour[arm]}, marker=shape[arm]) for arm in arms]
        labels += arms
    _legend(figure, handles, labels, loc="outside lower center", ncols=2)
    rows = pd.DataFrame([row for rows in blocks.values() for row in rows.values()])
    controls = listed(list(dict.fromkeys(found[SWAP[0]]["control"] for found in blocks.values())))
    return Drawing(
        title,
        "Left, of 100 test images that exactly one of two swapped teachers gets right: W, on how many more the"
        " wrong teacher's answer is given by its own students than by those of the right teacher; K, on how many"
        " more the right answer is given by students of the right teacher than by those of the wrong one. At 0 it"
        " makes no difference who taught. On the dashed line both kinds of student give an answer of neither teacher"
        " equally often; off it they do not, which by itself is no sign that errors are preferred. Right: of a"
        " teacher's errors, how many a student of its own repeats (filled) and a student of the other teacher"
        f" (hollow, {controls}); the bar at the filled mark is the interval of their difference."
        f" {_levels(rows)} intervals over teachers and new examples.",
        figure,
    )


SWAP = ("inherits_knowledge", "inherits_errors")
REPEATED = ("errors_made", "repeated_own", "repeated_other", "repeated_more")


def _plane(
    ax: Axes,
    results: Results,
    blocks: Mapping[Key, Mapping[str, Row]],
    shape: Mapping[str, str],
    colour: Mapping[str, Any],
) -> None:
    ends = [0.0]
    for key, rows in blocks.items():
        k, w = (_scaled(rows[part]) for part in SWAP)
        own, at = colour[key[0]], (k["estimate"], w["estimate"])
        ends += [value for value in (*k.values(), *w.values()) if np.isfinite(value)]
        ax.plot([k["ci_low"], k["ci_high"]], [at[1]] * 2, color=own, linewidth=1.1, zorder=2)
        ax.plot([at[0]] * 2, [w["ci_low"], w["ci_high"]], color=own, linewidth=1.1, zorder=2)
        ax.plot(*at, linestyle="none", marker=shape[key[0]], markersize=6, color=own, markeredgecolor="white", zorder=4)
        if text := results.points[key].setting:
            ax.annotate(
                text, at, xytext=(5, -4), textcoords="offset points", ha="left", va="top", fontsize="small", zorder=3,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
            )  # fmt: skip
    room = 0.06 * (max(ends) - min(ends) or 1.0)
    low, high = min(ends) - room, max(ends) + room
    for line in (ax.axhline, ax.axvline):
        line(0, color=LIGHT, linewidth=0.8, zorder=0)
    ax.plot([low, high], [low, high], color=GREY, linewidth=1, linestyle=DASHES[1], zorder=1)
    ax.set(xlim=(low, high), ylim=(low, high), aspect="equal")
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.yaxis.set_major_locator(MaxNLocator(5))
    ax.set_xlabel("Inherited right answers, K (points)")
    ax.set_ylabel("Inherited errors, W (points)")


def _repetitions(
    ax: Axes,
    results: Results,
    blocks: Mapping[Key, Mapping[str, Row]],
    shape: Mapping[str, str],
    colour: Mapping[str, Any],
) -> None:
    for i, (key, rows) in enumerate(blocks.items()):
        made, own, other, more = (rows[part] for part in REPEATED)
        common: dict[str, Any] = {
            "linestyle": "none",
            "marker": shape[key[0]],
            "markersize": 5.5,
            "color": colour[key[0]],
        }
        ax.plot(
            [other["estimate"] + more[end] for end in ("ci_low", "ci_high")],
            [i, i],
            color=colour[key[0]],
            linewidth=1.1,
        )
        ax.plot([made["estimate"]], [i], linestyle="none", marker="|", markersize=8, markeredgewidth=1.5, color=GREY)
        ax.plot([other["estimate"]], [i], markerfacecolor="white", zorder=3, **common)
        ax.plot([own["estimate"]], [i], zorder=4, **common)
    ax.set_yticks(range(len(blocks)), [_wrapped(results.points[key].label, 18) for key in blocks])
    ax.set_ylim(len(blocks) - 0.4, -0.6)
    ax.set_xlim(0, None)
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.set_xlabel("Test images that a teacher gets wrong")


TABLES: dict[str, Callable[[Results], Table]] = {"inheritance": inheritance}
FIGURES: dict[str, Callable[[Results], Drawing]] = {"inherited": inherited}
