"""What a protocol that keeps activations, or distils confusion, reports beside the rest."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from kdstats.catalog import ALONE, GROUP_METRICS, metric_label
from kdstats.reporting.figures import DASHES, GREY, MARKERS, PAGE, Drawing, _legend, _wrapped, colours
from kdstats.reporting.results import Results, Row, records
from kdstats.reporting.tables import NONE, Table, decimals, interval_text, number, p_text, signature


def _signed(results: Results) -> str:
    row = records(results.features["interactions"])[0]
    floor = "" if math.isnan(row["floor"]) else f", chance {row['floor']:.3f}"
    gamma = f"γ {row['threshold']:.3f}" if row["mode"] == "robust" else "γ a quantile of the networks joined"
    return signature(results, f"{row['components']} components of {row['layer']}", f"{row['mode']}, {gamma}{floor}")


def _named(results: Results, row: Row) -> str:
    """The teachers or an arm, with its setting where it has several."""
    return "teachers" if row["arm"] == "teacher" else results.points[row["arm"], row["arm_params"]].label


def _text(value: float) -> str:
    return NONE if math.isnan(value) else number(value, decimals(abs(value) / 50))


# Tables ----------------------------------------------------------------------------------------------------------


def features(results: Results) -> Table:
    """What each arm's networks use together."""
    rows = records(results.features["interactions"])
    shared = results.features["shared"]
    own = {(row["arm"], row["arm_params"]): row["own"] for row in records(shared[shared["other"] == "teacher"])}
    shown: dict[str, list[str]] = {
        "Networks": [_named(results, row) for row in rows],
        "n": [f"{row['size']} of {row['n_networks']}" for row in rows],
        "Features": [_text(row["n_features"]) for row in rows],
        "Images a feature": [_text(row["mean_frequency"]) for row in rows],
        "Features an image": [_text(row["features_per_datum"]) for row in rows],
        "Shared with teachers": [
            NONE
            if math.isnan(value := row["shared_features"])
            else f"{_text(value)} of {_text(own[row['arm'], row['arm_params']])}"
            for row in rows
        ],
        "Unmatched components": [_text(row["unmatched_components"]) for row in rows],
        "Presence": [_text(row["presence"]) for row in rows],
        "Same teacher": [_text(row["same_teacher"]) for row in rows],
        "Any teachers": [_text(row["any_teachers"]) for row in rows],
        "p": [p_text(row["p_same_teacher"]) for row in rows],
    }
    notes = "; ".join(f"{_named(results, row)}: {row['note']}" for row in rows if row["note"])
    return Table(
        "Features by arm",
        "Of n networks of an arm, the students of a seed, joined among themselves; means over seeds. Features that any"
        " of them uses, images that a used feature is present on, features present on an image, of the"
        " features that they use where they are joined with the teachers, which are more, those that the teachers use"
        " too; components of a network that no other one has, share of images that a"
        " component is present on. Same teacher: features of the students of one teacher, all of the arm joined; any"
        " teachers: of students dealt anew to teachers, and two-sided p of such deals (it takes two student seeds);"
        " students that start from their teacher's initial weights resemble each other for that alone. Fewer features"
        f" may only mean networks that resemble each other: compare with the controls.{f' {notes}.' if notes else ''}",
        results.features["interactions"], shown, _signed(results),
        numeric=tuple(name for name in shown if name != "Networks"),
    )  # fmt: skip


def confidence(results: Results) -> Table:
    """Whether images on which more features are present are classified with more confidence; disagreement and error."""
    rows = records(results.features["interactions"])
    found = [{"estimate": r["confidence_rho"], "ci_low": r["rho_low"], "ci_high": r["rho_high"]} for r in rows]
    shown = {
        "Networks": [_named(results, row) for row in rows],
        "ρ of features and confidence [interval]": [
            NONE if math.isnan(row["estimate"]) else interval_text(row) for row in found
        ],
        "p": [p_text(row["rho_p"]) for row in rows],
        "Error": [_text(row["error"]) for row in rows],
        "Disagreement": [_text(row["disagreement"]) for row in rows],
        "Gap": [_text(row["disagreement"] - row["error"]) for row in rows],
        "Bound on the gap (CACE)": [_text(row["calibration_error"]) for row in rows],
    }
    return Table(
        "Confidence and disagreement",
        "Spearman's ρ over images between the features that the arm's networks have present on an image and their mean"
        " confidence; 95 % intervals over resampled images, p two-sided, of these networks at this threshold: see the"
        " figure of other thresholds. Disagreement of two networks drawn from the arm with replacement, their mean"
        " error, and the class-aggregated calibration error that bounds the gap between them (Jiang et al. 2022). All"
        " of these networks.",
        results.features["interactions"], shown, _signed(results),
        numeric=("p", "Error", "Disagreement", "Gap", "Bound on the gap (CACE)"),
    )  # fmt: skip


def thresholds(results: Results) -> Table:
    """Group claims again where components are one feature from other correlations on."""
    of_groups = results.contrasts["metric"].isin(GROUP_METRICS) & (results.contrasts["hypothesis"] != "")
    rows = results.contrasts[of_groups]
    found = records(rows)
    first = records(results.features["interactions"])[0]
    used = f"{first['threshold']:g}" if first["mode"] == "robust" else "their quantile"
    joined = {"mean_difference": f"{used} (the claim)", ALONE: f"{used}, {ALONE}"}
    shown: dict[str, list[str]] = {
        "Claim": [row["hypothesis"] for row in found],
        "Metric": [metric_label(row["metric"]) for row in found],
        "Arm − control": [f"{row['arm']} − {row['control']}" for row in found],
        "Threshold": [joined.get(row["estimator"], row["estimator"].removeprefix("threshold ")) for row in found],
        "Difference": [_text(row["estimate"]) for row in found],
        "p": [p_text(row["p_value"]) for row in found],
        "p of the opposite": [p_text(row["p_reverse"]) for row in found],
    }
    return Table(
        "Claims joined otherwise",
        "The same claims where arm and control are each joined alone, not with each other, and where two components are"
        " one feature from another correlation on; p unadjusted, in the claim's direction, of all exchanges of labels"
        " or 999. A claim that goes the other way joined alone, or significantly (one-sided) at a threshold, is neither"
        " supported nor refuted, whatever its own p. Exchanges ask whether labels matter at all: groups that use other"
        " features differed in images a feature up to eight times as often as the level says, in simulations.",
        rows, shown, _signed(results), numeric=("Threshold", "Difference", "p", "p of the opposite"), stub=3,
        empty="The protocol claims nothing of groups.",
    )  # fmt: skip


def by_threshold(results: Results) -> Table:
    """What each arm's networks use together where components are one feature from other correlations on."""
    rows = records(results.features["sensitivity"])
    shown = {
        "Networks": [_named(results, row) for row in rows],
        "Threshold": [f"{row['threshold']:.3g}" for row in rows],
        "Features": [_text(row["n_features"]) for row in rows],
        "Images a feature": [_text(row["mean_frequency"]) for row in rows],
        "Features an image": [_text(row["features_per_datum"]) for row in rows],
        "ρ of features and confidence": [_text(row["confidence_rho"]) for row in rows],
    }
    return Table(
        "Features by threshold",
        "Networks of an arm, the students of a seed, joined among themselves where two components are one feature from"
        " another correlation on; means over seeds, the values of the figure of thresholds.",
        results.features["sensitivity"], shown, _signed(results),
        numeric=tuple(name for name in shown if name != "Networks"),
    )  # fmt: skip


def mistakes(results: Results) -> Table:
    """Dark knowledge against confusion."""
    rows = records(results.features["mistakes"])

    def cells(name: str) -> list[str]:
        parts = [{"estimate": r[name], "ci_low": r[f"{name}_low"], "ci_high": r[f"{name}_high"]} for r in rows]
        return [NONE if math.isnan(part["estimate"]) else interval_text(part) for part in parts]

    shown = {
        "Compared": [row["compared"] for row in rows],
        "Control": [results.points[row["arm"], row["arm_params"]].label for row in rows],
        "Networks": [row["networks"] for row in rows],
        "Pearson [interval]": cells("pearson"),
        "Spearman [interval]": cells("spearman"),
        "Cosine [interval]": cells("cosine"),
        "Jaccard [interval]": cells("jaccard"),
        "Mantel p": [p_text(row["mantel_p"]) for row in rows],
    }
    return Table(
        "Dark knowledge and confusion",
        "A teacher's mean softmax by class against the confusion of a plain control's student, off the diagonal, and"
        " beside it the confusions of two control students, which chance alone tells apart. One each: means over pairs"
        " of networks; all together: of the mean matrices. 95 % intervals over images resampled within their"
        " classes, of these networks. Both matrices are of the same images, so images that are hard for all make them"
        " alike. Mantel's p rejects no more than that the two have nothing in common.",
        results.features["mistakes"], shown, signature(results), numeric=("Mantel p",), stub=3,
        empty="No plain control was trained.",
    )  # fmt: skip


TABLES: dict[str, Callable[[Results], Table]] = {
    "features": features,
    "confidence": confidence,
    "thresholds": thresholds,
    "by_threshold": by_threshold,
}

# Figures ---------------------------------------------------------------------------------------------------------


def _lines(results: Results) -> Iterator[tuple[Row, dict[str, Any]]]:
    """The groups in their order, with how their lines are drawn: colour, dashes and marker all tell them apart."""
    colour = colours(results)
    for i, row in enumerate(records(results.features["interactions"])):
        own = GREY if row["arm"] == "teacher" else colour[row["arm"]]
        yield row, {"color": own, "linestyle": DASHES[i % len(DASHES)], "linewidth": 1.2}


def _of(results: Results, table: str, row: Row) -> Sequence[Row]:
    frame = results.features[table]
    return records(frame[(frame["arm"] == row["arm"]) & (frame["arm_params"] == row["arm_params"])])


def _figure(columns: int, height: float = 2.4) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(PAGE, height), layout="constrained")
    return figure, list(figure.subplots(1, columns, squeeze=False)[0])


def _signs(figure: Figure, handles: dict[str, Any]) -> None:
    _legend(figure, list(handles.values()), list(handles), loc="outside lower center", ncols=min(5, len(handles)))


def use(results: Results) -> Drawing:
    """How often each feature is present, and how many are present on an image."""
    figure, (curves, images) = _figure(2, 2.7)
    handles: dict[str, Any] = {}
    for row, line in _lines(results):
        frequencies = [ranked["frequency"] for ranked in _of(results, "frequencies", row) if ranked["frequency"]]
        (handles[_named(results, row)],) = curves.plot(range(1, len(frequencies) + 1), frequencies, **line)
        bars = _of(results, "per_image", row)
        total = sum(bar["images"] for bar in bars)
        images.plot([bar["features"] for bar in bars], [bar["images"] / total for bar in bars], **line)
    if any(row["n_features"] for row, _ in _lines(results)):
        curves.set_yscale("log")
        curves.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        curves.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        curves.yaxis.set_minor_locator(NullLocator())
    curves.set_xlabel("Features, from the most frequent")
    curves.set_ylabel("Images it is present on")
    images.set_xlabel("Features present on an image")
    images.set_ylabel("Share of images")
    _signs(figure, handles)
    size = records(results.features["interactions"])[0]["size"]
    return Drawing(
        "Feature frequency and features per image",
        f"Left: images on which each feature is present in any of {size} networks of an arm joined among themselves,"
        " features in order; a long low tail are features of few images. Right: how many features any of these networks"
        " has present on an image. Means over student seeds.",
        figure,
    )


def shared(results: Results) -> Drawing:
    """Features that two groups both use, as shares of the row's."""
    rows = records(results.features["interactions"])
    names = [_named(results, row) for row in rows]
    pairs = [_of(results, "shared", row) for row in rows]
    table, own = (np.array([[pair[name] for pair in line] for line in pairs]) for name in ("shared", "own"))
    if not own.all():
        return Drawing("Shared features", "No shared features: a group uses none.")
    figure, (ax,) = _figure(1, 0.9 + 0.33 * len(rows))
    ax.imshow(table / own, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for i in range(len(rows)):
        for j in range(len(rows)):
            share = table[i, j] / own[i, j]
            ax.text(j, i, f"{table[i, j]:.0f}  ({100 * share:.0f} %)", ha="center", va="center",
                    fontsize="x-small", color="white" if share > 0.6 else "black")  # fmt: skip
    ax.set_xticks(range(len(rows)), [_wrapped(name, 16) for name in names])
    ax.set_yticks(range(len(rows)), [_wrapped(name, 24) for name in names])
    ax.tick_params(length=0)
    for spine in ax.spines.values():
        spine.set_visible(False)
    return Drawing(
        "Shared features",
        "Features that the group of the row and that of the column both use, and what share that is of the row's"
        " features. Every two groups are joined with each other, the diagonal alone, the students of a seed at a time;"
        " the more networks are joined the more features there are. Means over seeds.",
        figure,
    )


def by_confidence(results: Results) -> Drawing:
    """Features present on an image, over tenths of the images by confidence."""
    figure, (ax,) = _figure(1, 2.8)
    handles: dict[str, Any] = {}
    for i, (row, line) in enumerate(_lines(results)):
        features = [tenth["features"] for tenth in _of(results, "by_confidence", row)]
        (handles[_named(results, row)],) = ax.plot(
            range(1, 11), features, marker=MARKERS[i % len(MARKERS)], markersize=3.5, **line
        )
    ax.set_xticks(range(1, 11))
    ax.set_xlabel("Tenth of the images, from least to most confidence")
    ax.set_ylabel("Features present on an image")
    ax.yaxis.set_major_locator(MaxNLocator(5))
    _signs(figure, handles)
    return Drawing(
        "Features against confidence",
        "Images in tenths by the mean confidence of an arm's networks: how many features any of them has present."
        " Whether more features go with more or less confidence is disputed in the literature, and depends on the"
        " threshold; the table has ρ with intervals, two-sided.",
        figure,
    )


def sensitivity(results: Results) -> Drawing:
    """What would be found at other thresholds."""
    figure, axes = _figure(4, 2.6)
    labels = {
        "n_features": "Features",
        "mean_frequency": "Images a feature",
        "features_per_datum": "Features an image",
        "confidence_rho": "ρ with confidence",
    }
    first = records(results.features["interactions"])[0]
    handles: dict[str, Any] = {}
    for ax, (name, label) in zip(axes, labels.items(), strict=True):
        for row, line in _lines(results):
            points = [p for p in _of(results, "sensitivity", row) if not math.isnan(p[name])]
            (handles[_named(results, row)],) = ax.plot(
                [p["threshold"] for p in points], [p[name] for p in points], **line
            )
        ax.axvline(first["threshold"], color=GREY, linewidth=0.8, zorder=0)
        if not math.isnan(first["floor"]):
            ax.axvspan(0, first["floor"], color="#d9d9d9", alpha=0.6, linewidth=0, zorder=0)
        ax.set_xlim(0, 1)
        ax.set_xlabel("Threshold γ")
        ax.set_ylabel(label)
    _signs(figure, handles)
    return Drawing(
        "Sensitivity to the threshold",
        "What is counted where components of two networks are one feature from other correlations on, each arm joined"
        " alone; right, Spearman's ρ over images of features and confidence. The line is the threshold that was"
        f" used{'' if math.isnan(first['floor']) else '; grey is what unrelated networks would reach by chance'}.",
        figure,
    )


FIGURES: dict[str, Callable[[Results], Drawing]] = {
    "features": use,
    "shared": shared,
    "by_confidence": by_confidence,
    "sensitivity": sensitivity,
}
