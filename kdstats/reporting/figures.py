"""The figures of a report: each a function of the results, and one line in ``FIGURES``.

Vector figures in the widths of a paper's column and page. Colours are those that colour-blind people tell apart;
marker and line style tell the same, for print without colour. No text is mathtext.
"""

import contextlib
import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray

from kdstats.catalog import INHERITANCE, SWAPPED
from kdstats.reporting.results import LATE, Point, Results, Row, listed, metric_label, plural, records, scope_words

COLUMN, PAGE = 3.3, 6.9  # inches
PANELS = 18  # slopes shown
MARKERS = "osD^vPX<>p"
DASHES: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (1, 1.2)), (0, (5, 1.2, 1, 1.2)), (0, (7, 2)))
GREY, LIGHT = "#444444", "#d9d9d9"


@dataclass(frozen=True, eq=False)
class Drawing:
    """A figure with its words; without a figure, the caption says why there is none."""

    title: str
    caption: str
    figure: Figure | None = None


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Seaborn's ticks at a paper's size, the same on every machine; nothing is read from a matplotlibrc."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(sns.axes_style("ticks"))
        mpl.rcParams.update(sns.plotting_context("paper", font_scale=0.82))
        mpl.rcParams.update(
            {
                "font.family": "sans-serif",
                "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib: the layout is the same everywhere
                "text.parse_math": False,
                "axes.formatter.use_mathtext": False,
                "axes.spines.top": False,
                "axes.spines.right": False,
                "axes.linewidth": 0.7,
                "xtick.major.width": 0.7,
                "ytick.major.width": 0.7,
                "xtick.major.size": 3,
                "ytick.major.size": 3,
                "axes.titlesize": "medium",
                "legend.frameon": False,
                "legend.handlelength": 1.6,
                "pdf.fonttype": 42,
                "svg.fonttype": "none",
                "svg.hashsalt": "kdstats",
                "figure.constrained_layout.h_pad": 0.03,
                "figure.constrained_layout.w_pad": 0.03,
            }
        )
        yield


def colours(results: Results) -> dict[str, Any]:
    """A colour for each arm; the plain controls are grey, the teacher black."""
    palette = iter(
        sns.color_palette("colorblind", 10).as_hex()[i % 10] for i in (0, 1, 2, 4, 3, 9, 5, 6, 8, 0, 1, 2) * 9
    )
    fixed = {"teacher": "black", "siddo": "#6b6b6b", "ce": "#9a9a9a"}
    kinds = {point.arm: point.kind for point in results.points.values()}
    return {arm: fixed[kind] if kind in fixed else next(palette) for arm, kind in kinds.items()}


def markers(results: Results) -> dict[str, str]:
    arms = dict.fromkeys(point.arm for point in results.points.values())
    return {arm: MARKERS[i % len(MARKERS)] for i, arm in enumerate(arms)}


def students(results: Results) -> list[Point]:
    return [point for point in results.points.values() if point.arm != "teacher"]


def _legend(target: Figure | Axes, handles: Sequence[Any], labels: Sequence[str], **where: Any) -> None:
    """A legend whose labels are text whatever they begin with (matplotlib hides those with an underscore)."""
    legend = target.legend(handles, [str(i) for i in range(len(handles))], **where)
    for text, label in zip(legend.get_texts(), labels, strict=True):
        text.set_text(label)


# Slopes ----------------------------------------------------------------------------------------------------------


def slopes(results: Results) -> Drawing:
    """Control and arm of each confirmatory contrast, joined by seed."""
    title = "Paired slopes by seed"
    rows = results.contrasts[results.contrasts["kind"] == "confirmatory"]
    rows = rows[~rows["metric"].isin(SWAPPED)]
    named = ["metric", "arm", "arm_params", "control", "control_params"]
    keys = rows[named].drop_duplicates().itertuples(index=False, name=None)
    rank = {key: i for i, key in enumerate(results.points)}
    arm_rank = {arm: i for i, arm in reversed(list(enumerate(arm for arm, _ in results.points)))}
    first_of = {metric: i for i, metric in reversed(list(enumerate(rows["metric"])))}
    ordered = sorted(
        keys, key=lambda k: (first_of[k[0]], arm_rank[k[1]], arm_rank[k[3]], rank[k[1], k[2]], rank[k[3], k[4]])
    )
    found = [(key, _pairs(results, *key)) for key in ordered]
    panels = [(key, pairs) for key, pairs in found if len(pairs)]
    if not panels:
        return Drawing(title, "No slopes: no hypothesis compares two arms on a metric that was scored.")
    drawn = panels[:PANELS]
    columns = min(6, len(drawn))
    lines = math.ceil(len(drawn) / columns)
    figure = Figure(figsize=(COLUMN if columns < 4 else PAGE, 0.25 + 1.8 * lines), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False)
    first: dict[tuple[str, str], Axes] = {}
    for i, (ax, ((metric, *key), pairs)) in enumerate(zip(grid.flat, drawn, strict=False)):
        _slope(ax, pairs, results.points[key[2], key[3]], results.points[key[0], key[1]])
        alike = (metric, key[2])  # panels against one control share their axis
        if i % columns == 0 or alike not in first:
            ax.set_ylabel(_wrapped(metric_label(metric), 24))
        else:
            ax.tick_params(labelleft=False)
        if alike in first:
            ax.sharey(first[alike])
        first.setdefault(alike, ax)
    for ax in first.values():
        ax.autoscale(axis="y")
        ax.yaxis.set_major_locator(MaxNLocator(4))
    for ax in list(grid.flat)[len(drawn) :]:
        ax.remove()
    n = listed(list(dict.fromkeys(plural(len(pairs), "pair") for _, pairs in drawn)), " or ")
    more = f" The first {PANELS} of {len(panels)} contrasts; the tables have all." if len(panels) > PANELS else ""
    return Drawing(
        title,
        f"Each thin line is one pair of students of the same teacher and seed ({n}), from control (left) to arm"
        " (right), blue and solid where the value rises, orange and dashed where it falls. Dark lines: means of each"
        f" teacher's students; black: the mean of all. On this test set.{more}",
        figure,
    )


def _pairs(results: Results, metric: str, arm: str, arm_params: str, control: str, control_params: str) -> pd.DataFrame:
    """Columns control and arm, by (teacher, seed)."""
    sides = {"control": (control, control_params), "arm": (arm, arm_params)}
    values = {name: results.values(metric, results.points[key]) for name, key in sides.items()}
    return pd.concat(values, axis=1, join="inner").sort_index()


def _slope(ax: Axes, pairs: pd.DataFrame, control: Point, arm: Point) -> None:
    blue, orange = sns.color_palette("colorblind", 2).as_hex()
    values = pairs.to_numpy(float)
    rises = values[:, 1] >= values[:, 0]
    for chosen, colour, dash in ((rises, blue, "-"), (~rises, orange, (0, (3, 1.5)))):
        lines = [[(0, a), (1, b)] for a, b in values[chosen]]
        ax.add_collection(LineCollection(lines, colors=colour, linewidths=0.7, linestyles=[dash], alpha=0.45))
    means = pairs.groupby(level="teacher").mean().to_numpy(float)
    if 1 < len(means) < len(values):
        segments = [[(0, a), (1, b)] for a, b in means]
        ax.add_collection(LineCollection(segments, colors=GREY, linewidths=0.9, alpha=0.7))
    ax.plot([0, 1], means.mean(axis=0), color="black", marker="o", markersize=4, linewidth=1.8)
    ax.set_xlim(-0.25, 1.25)
    ax.set_xticks([0, 1], [_wrapped(name, 7) for name in (control.arm, arm.arm)])
    ax.set_title(_wrapped(arm.setting, 18), pad=4)


def _wrapped(text: str, width: int) -> str:
    """Text on lines of at most about this width, broken at spaces and hyphens; cut where no space helps."""
    lines = [""]
    for word in text.replace("-", "-\0").replace(" ", " \0").split("\0"):
        if lines[-1] and len(lines[-1] + word.rstrip()) > width:
            lines.append("")
        lines[-1] += word
    return "\n".join(
        line.rstrip() if len(line.rstrip()) <= 2 * width else line[: 2 * width - 1] + "…" for line in lines
    )


# Estimates -------------------------------------------------------------------------------------------------------


IN_POINTS = ("estimate", "ci_low", "ci_high", "margin")  # of W and K: percentage points
FACET = ("metric", "estimator", "control", "scope_teachers", "scope_examples")


def estimates(results: Results) -> Drawing:
    """Estimates with intervals by the swept parameter, one panel a metric, control and scope that is declared."""
    title = "Estimates with intervals"
    rows = results.contrasts[results.contrasts["estimate"].notna()]
    declared = rows[rows["kind"] == "confirmatory"]
    facets = list(dict.fromkeys(declared[list(FACET)].itertuples(index=False, name=None)))
    if not facets:
        return Drawing(title, "No estimates: the protocol declares no hypothesis, or none could be estimated.")
    found = [_shown(results, records(rows), facet) for facet in facets]
    panels = [_near(panel) for panel in found]
    beyond = sum(map(len, found)) - sum(map(len, panels))
    series = list(dict.fromkeys(row["series"] for panel in panels for row in panel))
    columns = 2 if len(facets) in (2, 4) else min(3, len(facets))
    lines = math.ceil(len(facets) / columns)
    figure = Figure(figsize=(COLUMN if columns == 1 else PAGE, 0.5 + 2.1 * lines), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False)
    colour = colours(results)
    shapes = {name: MARKERS[i % len(MARKERS)] for i, name in enumerate(series)}
    handles: dict[tuple[str, str, bool], Any] = {}
    for ax, facet, panel in zip(grid.flat, facets, panels, strict=False):
        handles = _forest(ax, results, panel, shapes, colour) | handles
        metric, estimator, control, teachers, examples = facet
        label = metric_label(metric, estimator)
        if metric in INHERITANCE:
            label += " (points)"
        elif metric not in SWAPPED:
            label = f"Difference in {label[0].lower() if label[1].islower() else label[0]}{label[1:]}"
        ax.set_ylabel(_wrapped(label, 30))
        about = scope_words({"scope_teachers": teachers, "scope_examples": examples})
        ax.set_title(f"against {_wrapped(control, 20)}\n{_wrapped(about, 34)}", fontsize="small", color=GREY)
    for ax in list(grid.flat)[len(facets) :]:
        ax.remove()
    ordered = [name for name in series if name in handles]
    labels = [f"{arm} − {control}{'' if filled else ' (exploratory)'}" for arm, control, filled in ordered]
    columns = min(len(labels), 2 if columns == 1 else 3)
    _legend(figure, [handles[name] for name in ordered], labels, loc="outside lower center", ncols=columns)
    return Drawing(title, _estimate_caption([row for panel in panels for row in panel], beyond), figure)


def _shown(results: Results, rows: Sequence[dict[str, Any]], facet: tuple[str, ...]) -> list[dict[str, Any]]:
    """The declared rows of a panel, and the exploratory ones against the plain control beside them."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    of_facet = [row for row in rows if tuple(row[name] for name in FACET) == facet]
    for row in sorted(of_facet, key=lambda row: row["kind"]):  # confirmatory rows come first
        arm, control = (results.points[row[side], row[f"{side}_params"]] for side in ("arm", "control"))
        declared = row["kind"] == "confirmatory"
        if declared or (row["kind"] == "exploratory" and control == results.control_of(arm.arm)):
            key = (arm, control, None if pd.isna(row["teacher"]) else row["teacher"])
            row = row | {name: 100 * row[name] for name in IN_POINTS if row["metric"] in INHERITANCE}
            found.setdefault(key, {**row, "series": (arm.series, control.series, declared), "slot": arm.sweep})
    return list(found.values())


def _near(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without the exploratory rows so far off that the declared ones could not be read beside them."""
    low, high = _limits([row for row in rows if row["kind"] == "confirmatory"])
    room = high - low
    return [row for row in rows if row["kind"] == "confirmatory" or low - room <= row["estimate"] <= high + room]


def _forest(
    ax: Axes, results: Results, rows: Sequence[Row], shapes: Mapping[Any, str], colour: Mapping[str, Any]
) -> dict[Any, Any]:
    """Point and interval of each row at its slot on the x axis, series side by side; returns a handle a series."""
    slots = sorted({row["slot"] for row in rows}, key=lambda slot: (slot is None, slot))
    own = [name for name in shapes if any(row["series"] == name for row in rows)]
    low, high = _limits(rows)
    for margin in sorted({row["margin"] for row in rows if not math.isnan(row["margin"])}):
        ax.axhspan(-margin, margin, color=LIGHT, alpha=0.6, linewidth=0, zorder=0)
    ax.axhline(0, color=GREY, linewidth=0.8, zorder=1)
    handles: dict[Any, Any] = {}
    for i, name in enumerate(own):
        for j, slot in enumerate(slots):
            here = [row for row in rows if row["series"] == name and row["slot"] == slot]
            for k, row in enumerate(here):
                x = j + (i + (k + 1) / (len(here) + 1) - len(own) / 2) * 0.8 / len(own)
                ends = [row["estimate"] if math.isnan(row[end]) else row[end] for end in ("ci_low", "ci_high")]
                own_colour = colour[row["arm"]]
                ax.plot([x, x], np.clip(ends, low, high), color=own_colour, linewidth=1.1, zorder=2)
                (handles[name],) = ax.plot(
                    [x], [row["estimate"]], linestyle="none", marker=shapes[name], markersize=4, color=own_colour,
                    markerfacecolor=own_colour if row["kind"] == "confirmatory" else "white", zorder=3,
                )  # fmt: skip
    if any(map(_endless, rows)):
        ax.set_ylim(low, high)
    ax.yaxis.set_major_locator(MaxNLocator(5))
    ax.set_xlim(-0.5, len(slots) - 0.5)
    ax.set_xticks(range(len(slots)), ["none" if slot is None else f"{slot:g}" for slot in slots])
    if slots == [None]:
        ax.set_xticks([])
    else:
        ax.set_xlabel(_sweep_words(results))
    return handles


def _limits(rows: Sequence[Row]) -> tuple[float, float]:
    """Where an unbounded interval is cut: the room of the finite ends and margins, and a tenth."""
    ends = np.array([[row["estimate"], row["ci_low"], row["ci_high"], row["margin"], -row["margin"]] for row in rows])
    ends = np.append(ends[np.isfinite(ends)], 0.0)
    room = float(np.ptp(ends)) or 1.0
    return float(ends.min()) - 0.1 * room, float(ends.max()) + 0.1 * room


def _endless(row: Row) -> bool:
    return math.isinf(row["ci_low"]) or math.isinf(row["ci_high"])


def _estimate_caption(rows: Sequence[Row], beyond: int) -> str:
    levels = listed([f"{100 * level:g} %" for level in sorted({row["ci_level"] for row in rows})], " or ")
    hollow = ", hollow where not" if any(row["kind"] == "exploratory" for row in rows) else ""
    sentences = [
        f"Arm minus control, paired by seed, with {levels} intervals; filled where a hypothesis was declared{hollow}.",
        "Each panel speaks of what its title names.",
    ]
    if any(row["metric"] in SWAPPED for row in rows):
        sentences.append(
            "W, K and θ₀ are no differences of two scores: they compare, image by image, students of swapped teachers."
        )
    if not all(math.isnan(row["margin"]) for row in rows):
        sentences.append("The grey band is the margin within which the protocol calls a difference negligible.")
    if any(map(_endless, rows)):
        sentences.append("Intervals that reach the frame have no end.")
    if beyond:
        sentences.append(f"{plural(beyond, 'exploratory row')} far off the declared ones: in the tables alone.")
    if any(row["declared"].startswith("after training") for row in rows):
        sentences.append(f"Some rows were {LATE}; the tables mark them.")
    return " ".join(sentences)


# Clouds ----------------------------------------------------------------------------------------------------------


BESIDE = ((-6, 3, "right"), (6, -8, "left"), (0, -13, "center"), (6, 3, "left"))  # where an arm's points are named


def _clouds(ax: Axes, results: Results, values: Mapping[Point, NDArray[np.float64]]) -> dict[str, Any]:
    """Each pair faint, each point's mean large and named by its setting; returns the legend's handles by label."""
    colour, marker = colours(results), markers(results)
    swept = list(dict.fromkeys(point.arm for point in values if point.setting))
    handles: dict[str, Any] = {}
    low, high, beyond = _focus(values)
    named: list[NDArray[Any]] = []
    for point in beyond:
        mean = values[point].mean(axis=0)
        at = np.clip(mean, low + 0.05 * (high - low), high - 0.05 * (high - low))
        while any((np.abs(at - other) < 0.07 * (high - low)).all() for other in named):
            at[1] += 0.08 * (high - low)[1]  # its neighbour's words are there
        named.append(at)
        sign = 1 if at[0] < (low[0] + high[0]) / 2 else -1
        (dot,) = ax.plot(
            *at[:, None], linestyle="none", marker=marker[point.arm], color=colour[point.arm], markersize=5,
            markerfacecolor="white", zorder=4,
        )  # fmt: skip
        handles.setdefault(f"{point.arm} (placebo)" if point.kind == "rcd" else point.arm, dot)
        ax.annotate(
            f"{point.label} at ({mean[0]:.2f}, {mean[1]:.2f})", at, xytext=(7 * sign, 0), textcoords="offset points",
            ha="left" if sign > 0 else "right", va="center", fontsize="small", color=GREY, zorder=7,
        )  # fmt: skip
    ax.set_xlim(low[0], high[0])
    ax.set_ylim(low[1], high[1])
    for point, pairs in values.items():
        if point in beyond:
            continue
        own, placebo = colour[point.arm], point.kind == "rcd"
        common: dict[str, Any] = {"linestyle": "none", "marker": marker[point.arm], "color": own}
        ax.plot(*pairs.T, markersize=2.5, markeredgewidth=0, alpha=0.3, zorder=2, **common)
        face, edge, width = ("white", own, 1.2) if placebo else (own, "white", 0.7)
        (dot,) = ax.plot(
            *pairs.mean(axis=0)[:, None], markersize=7, markerfacecolor=face, markeredgecolor=edge,
            markeredgewidth=width, zorder=4, **common,
        )  # fmt: skip
        handles.setdefault(f"{point.arm} (placebo)" if placebo else point.arm, dot)
        if point.setting:
            text = f"{point.sweep:g}" if point.sweep is not None and not point.rest else point.setting
            across, up, side = BESIDE[swept.index(point.arm) % len(BESIDE)]
            ax.annotate(
                text, pairs.mean(axis=0), xytext=(across, up), textcoords="offset points", ha=side, fontsize="small",
                zorder=7,
            )  # fmt: skip
    return handles


def _focus(values: Mapping[Point, NDArray[np.float64]]) -> tuple[NDArray[Any], NDArray[Any], list[Point]]:
    """Limits that show every arm but a placebo far off: noise may ruin a student, and would flatten the rest."""
    taught = [pairs for point, pairs in values.items() if point.kind != "rcd"]
    core = np.concatenate(taught or list(values.values()))
    low, high = core.min(axis=0), core.max(axis=0)
    span = np.maximum(high - low, 1e-3)
    beyond = []
    for point, pairs in values.items():
        mean = pairs.mean(axis=0)
        if (mean < low - span / 2).any() or (mean > high + span / 2).any():
            beyond.append(point)
    shown = np.concatenate([pairs for point, pairs in values.items() if point not in beyond])
    low, high = np.minimum(low, shown.min(axis=0)), np.maximum(high, shown.max(axis=0))
    margin = 0.08 * np.maximum(high - low, 1e-3)
    return low - margin, high + margin, beyond


def _cloud_words(results: Results, values: Mapping[Point, NDArray[np.float64]]) -> str:
    points = list(values)
    words = [" Faint: each pair of teacher and seed; large: means."]
    if any(point.sweep is not None and point.setting and not point.rest for point in points):
        words.append(f" Numbers are {_sweep_words(results)}.")
    if any(point.kind == "rcd" for point in points):
        words.append(" Hollow: the placebo, taught by noise.")
    if _focus(values)[2]:
        words.append(" Beyond the axes: at their edge, with its values.")
    return "".join(words)


def _sweep_words(results: Results) -> str:
    return "the teacher's weight α" if results.sweep == "alpha" else str(results.sweep)


# Accuracy and agreement ------------------------------------------------------------------------------------------


def accuracy_agreement(results: Results) -> Drawing:
    """Accuracy against agreement with the teacher, of every student."""
    title = "Accuracy against agreement"
    values = {
        point: pd.concat(
            {name: results.values(name, point) for name in ("accuracy", "agreement")}, axis=1, join="inner"
        ).sort_index()
        for point in students(results)
    }
    values = {point: frame for point, frame in values.items() if len(frame)}
    if not values:
        return Drawing(title, "No figure: it needs the metrics accuracy and agreement.")
    figure = Figure(figsize=(COLUMN, 3.3), layout="constrained")
    ax = figure.subplots()
    teachers = [results.values("accuracy", point) for point in results.points.values() if point.arm == "teacher"]
    accuracies = pd.concat(teachers) if teachers else pd.Series(dtype=float)
    clouds = {point: frame.to_numpy(float) for point, frame in values.items()}
    handles = _clouds(ax, results, clouds)
    caption = "Each student's accuracy and agreement with its own teacher on this test set."
    caption += _cloud_words(results, clouds)
    if len(accuracies):
        ax.axvspan(float(accuracies.min()), float(accuracies.max()), color=LIGHT, alpha=0.6, linewidth=0, zorder=0)
        ax.axvline(float(accuracies.mean()), color=GREY, linewidth=0.8, zorder=1)
        handles["teachers"] = Patch(facecolor=LIGHT, alpha=0.6)
        caption += f" The grey band is the range of {plural(len(accuracies), 'teacher')}, its line their mean."
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.set_xlabel("Accuracy")
    ax.set_ylabel("Agreement with the teacher")
    _legend(figure, list(handles.values()), list(handles), loc="outside lower center", ncols=3, columnspacing=1.2)
    return Drawing(title, caption, figure)


# Training curves -------------------------------------------------------------------------------------------------


def training_curves(results: Results) -> Drawing:
    """Loss by epoch of every arm: median and range."""
    title = "Training curves"
    curves = results.curves[np.isfinite(results.curves["loss"])]
    if curves.empty:
        return Drawing(title, "No training curves were kept.")
    bands = curves.groupby(["arm", "arm_params", "epoch"])["loss"].agg(["median", "min", "max"])
    there = set(bands.index.droplevel("epoch"))
    by_arm: dict[str, list[Point]] = {}
    for key, point in results.points.items():
        if key in there:
            by_arm.setdefault(point.arm, []).append(point)
    columns = min(5, len(by_arm))
    lines = math.ceil(len(by_arm) / columns)
    figure = Figure(figsize=(PAGE if columns > 2 else COLUMN, 0.5 + 1.7 * lines), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
    colour = colours(results)
    low, high = float(bands["min"].min()), float(bands["max"].max())
    settings = list(dict.fromkeys(point.setting for points in by_arm.values() for point in points if point.setting))
    for ax, (arm, points) in zip(grid.flat, by_arm.items(), strict=False):
        shades = sns.blend_palette([colour[arm], "black"], max(len(settings) + 2, 3)).as_hex()
        for point in points:
            i = settings.index(point.setting) if point.setting else 0
            band = bands.loc[point.arm, point.params]
            epochs = band.index.to_numpy(float)
            ax.fill_between(epochs, band["min"], band["max"], color=shades[i], alpha=0.2, linewidth=0)
            ax.plot(epochs, band["median"], color=shades[i], linewidth=1.2, linestyle=DASHES[i % len(DASHES)])
        ax.set_title(_wrapped(arm, 18))
    if settings:
        greys = [
            Line2D([], [], color=GREY, linewidth=1.2, linestyle=DASHES[i % len(DASHES)]) for i in range(len(settings))
        ]
        _legend(figure, greys, settings, loc="outside lower center", ncols=min(len(settings), 6), handlelength=2.6)
    if low > 0 and high / low >= 10:
        ax = grid[0][0]
        ax.set_yscale("log")
        for axis in (a.yaxis for a in grid.flat):
            axis.set_major_locator(LogLocator(subs=(1.0, 3.0) if high / low < 1000 else (1.0,)))
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axis.set_minor_locator(NullLocator())
    for ax in list(grid.flat)[len(by_arm) :]:
        ax.remove()
    for ax in grid[-1]:
        ax.set_xlabel("Epoch")
    for line in grid:
        line[0].set_ylabel("Training loss" + (" (log scale)" if low > 0 and high / low >= 10 else ""))
    return Drawing(
        title,
        "Mean training loss by epoch: median over the networks of an arm, and their range (band). Each arm's loss is"
        " its own objective, so levels compare within an arm; what to look for is that every curve has levelled off.",
        figure,
    )


# Ladder ----------------------------------------------------------------------------------------------------------

SHOWN = ("accuracy", "cross_entropy", "agreement", "fidelity_kl", "positive_transfer", "negative_transfer")


def ladder(results: Results) -> Drawing:
    """A waterfall a metric: from the plain control up, what each rung adds."""
    title = "Ladder"
    there = results.ladder[results.ladder["estimate"].notna()]
    metrics = [metric for metric in SHOWN if metric in set(there["metric"])]
    settings = list(dict.fromkeys(there["setting"]))
    if not metrics:
        return Drawing(title, "No ladder: the protocol declares none, or no rung could be compared.")
    columns = min(3, len(metrics))
    lines = math.ceil(len(metrics) / columns)
    figure = Figure(figsize=(PAGE, 0.3 + 2.0 * lines), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False, sharex=True)
    blue, orange = sns.color_palette("colorblind", 2).as_hex()
    for ax, metric in zip(grid.flat, metrics, strict=False):
        for i, at in enumerate(settings):
            rows = records(there[(there["metric"] == metric) & (there["setting"] == at)])
            _waterfall(ax, [row for row in rows if row["part"] == "step"], (i, len(settings)), (blue, orange))
        ax.axhline(0, color=GREY, linewidth=0.8, zorder=1)
        ax.set_title(_wrapped(metric_label(metric), 26), fontsize="small")
        ax.yaxis.set_major_locator(MaxNLocator(5))
    steps = [row for row in records(there) if row["part"] == "step" and row["metric"] == metrics[0]]
    names = list(dict.fromkeys(row["arm"] for row in steps))
    for ax in list(grid.flat)[: len(metrics)]:
        ax.set_xticks(range(1, len(names) + 1), [_wrapped(name, 12) for name in names], rotation=35, ha="right")
        ax.tick_params(axis="x", labelbottom=True)
    for ax in grid[:, 0]:
        ax.set_ylabel(f"Difference from {_wrapped(steps[0]['control'], 20)}")
    for ax in list(grid.flat)[len(metrics) :]:
        ax.remove()
    levels = listed([f"{100 * level:g} %" for level in sorted(set(there["ci_level"]))], " or ")
    several = f" Bars side by side: {listed([at.replace('=', ' = ') for at in settings])}." if len(settings) > 1 else ""
    return Drawing(
        title,
        "Each bar goes from what the rung before has reached, against the plain control, to what this one reaches: blue"
        f" up, orange down. Black: the {levels} interval of what the rung adds, about its end. The order of the rungs"
        f" is the protocol's, and another would divide the whole otherwise.{several}",
        figure,
    )


def _waterfall(ax: Axes, steps: Sequence[Row], place: tuple[int, int], colours: tuple[str, str]) -> None:
    (i, n), level = place, 0.0
    width = 0.8 / n
    ordered = sorted(steps, key=lambda row: row["rung"])
    last = ordered[-1]
    for row in ordered:
        x = row["rung"] + (i - (n - 1) / 2) * width
        end = level + row["estimate"]
        ax.bar(x, row["estimate"], 0.9 * width, level, color=colours[row["estimate"] < 0], linewidth=0, zorder=2)
        ends = [level + row[side] for side in ("ci_low", "ci_high")]
        if all(map(math.isfinite, ends)):
            ax.plot([x, x], ends, color="black", linewidth=0.9, zorder=3)
        if n == 1 and row is not last:
            ax.plot([x, x + 1], [end, end], color=GREY, linewidth=0.6, linestyle=DASHES[2], zorder=1)
        level = end


FIGURES: dict[str, Callable[[Results], Drawing]] = {
    "slopes": slopes,
    "estimates": estimates,
    "ladder": ladder,
    "accuracy_agreement": accuracy_agreement,
    "training_curves": training_curves,
}

# Files -----------------------------------------------------------------------------------------------------------

SVG = "http://www.w3.org/2000/svg"
XLINK = "http://www.w3.org/1999/xlink"


def render(name: str, drawing: Drawing) -> tuple[str, bytes]:
    """A drawing as SVG text and PDF; the same drawing gives the same bytes."""
    assert drawing.figure is not None
    figure = drawing.figure
    with style():
        engine = figure.get_layout_engine()
        if engine is not None:  # the layout is worked out once, for both formats
            engine.execute(figure)
            figure.set_layout_engine("none")
        svg, pdf = io.BytesIO(), io.BytesIO()
        FigureCanvasSVG(figure).print_svg(svg, metadata={"Date": None})  # savefig would draw each of them twice
        FigureCanvasPdf(figure).print_pdf(pdf, metadata={"CreationDate": None, "Title": drawing.title})
    return _self_contained(name, svg.getvalue(), drawing), pdf.getvalue()


def _self_contained(name: str, content: bytes, drawing: Drawing) -> str:
    """SVG that can stand beside others in a page: its ids carry the figure's name, it has a title, no style sheet."""
    ElementTree.register_namespace("", SVG)
    ElementTree.register_namespace("xlink", XLINK)
    root = ElementTree.fromstring(content)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.endswith("}metadata") or child.tag.endswith("}style"):
                parent.remove(child)
    for element in root.iter():
        for key, value in element.attrib.items():
            if key == "id":
                element.set(key, f"{name}-{value}")
            elif key.endswith("href") and value.startswith("#"):
                element.set(key, f"#{name}-{value[1:]}")
            elif "url(#" in value:
                element.set(key, value.replace("url(#", f"url(#{name}-"))
    root.set("style", "stroke-linejoin: round; stroke-linecap: butt")  # what matplotlib's style sheet says, inherited
    root.set("role", "img")
    root.set("aria-labelledby", f"{name}-title {name}-desc")
    for tag, text in (("desc", drawing.caption), ("title", drawing.title)):
        element = ElementTree.Element(f"{{{SVG}}}{tag}", {"id": f"{name}-{tag}"})
        element.text = text
        root.insert(0, element)
    return ElementTree.tostring(root, encoding="unicode") + "\n"
