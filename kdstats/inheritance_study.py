"""How often claims on what students inherit are wrong, in worlds where they are false for every reason that we know."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kdstats import inheritance, metrics, stats, store
from kdstats.catalog import ASYMMETRY, INHERITANCE
from kdstats.inheritance import BALANCED, BY_CLASS, FIRMNESS, Swapped
from kdstats.worlds import World, by_confidence, by_difficulty, by_entropy, by_teacher, coin, draw

ALL = (*INHERITANCE, ASYMMETRY)
COLUMNS = (
    "world", "claim", "true", "runs", "supported", "refuted", "undecided_by_class", "error", "bound", "holds", "note",
)  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """A world, which claims are true in it, and whether it is a known exception (and why)."""

    name: str
    world: World
    inherits: bool = False
    firmer: bool = False
    exception: str = ""


NONE, COIN = World(), World(follow=coin(0.4))
CELLS = (
    Cell("nothing copied", NONE),
    Cell("nothing copied, students 5 points below", replace(NONE, gap=-0.05)),
    Cell("nothing copied, 3 pairs", replace(NONE, pairs=3)),
    Cell("nothing copied, 300 examples", replace(NONE, n=300)),
    Cell("nothing copied, classes unequal", replace(NONE, imbalance=1.0)),
    Cell("nothing copied, sides of 3 and 1 students", replace(NONE, students=(3, 1))),
    Cell("nothing copied, students of a teacher alike", replace(NONE, alike=0.5)),
    Cell("nothing copied, two teachers all but one", replace(NONE, twins=True)),
    Cell("quality inherited, spread 1 point", World(quality="overall", spread=0.01)),
    Cell("quality inherited, spread 2 points", World(quality="overall", spread=0.02)),
    Cell("quality inherited, spread 4 points", World(quality="overall", spread=0.04)),
    Cell("quality inherited by class", World(quality="class")),
    Cell("quality inherited inversely, spread 4 points", World(quality="inverse", spread=0.04)),
    Cell("initial weights shared", World(start=0.3)),
    Cell("initial weights shared, leaning to classes from the start", World(start=0.3, leaning=1.0)),
    Cell(
        "initial weights shared, quality inherited, spread 2 points", World(start=0.3, quality="overall", spread=0.02)
    ),
    Cell(
        "initial weights shared, quality inherited, spread 4 points", World(start=0.6, quality="overall", spread=0.04),
        exception="teachers spread by 4 points, students nearly identical",
    ),
    Cell("coin, students equal", COIN, inherits=True),
    Cell("coin, 5 points below", replace(COIN, gap=-0.05), inherits=True),
    Cell("coin, 2 points below", replace(COIN, gap=-0.02), inherits=True),
    Cell("coin, 2 points above", replace(COIN, gap=0.02), inherits=True),
    Cell("coin, a tenth copied", World(follow=coin(0.1)), inherits=True),
    Cell("coin, initial weights shared", replace(COIN, start=0.3), inherits=True),
    Cell("coin, 3 pairs", replace(COIN, pairs=3), inherits=True),
    Cell("coin, few third answers", replace(COIN, attraction=4.0), inherits=True),
    Cell("coin, teachers over- and under-confident", replace(COIN, scale=0.5), inherits=True),
    Cell("coin, spread 4 points", replace(COIN, spread=0.04), inherits=True),
    Cell("hard examples copied more", World(follow=by_difficulty(1)), inherits=True),
    Cell("easy examples copied more", World(follow=by_difficulty(-1)), inherits=True),
    Cell("copied where the teacher is confident", World(follow=by_confidence(1)), inherits=True),
    Cell("copied where the teacher is unsure", World(follow=by_confidence(-1)), inherits=True),
    Cell("blending", World(blend=0.3), inherits=True),
    Cell("blending, noise on top", World(blend=0.3, noise=0.5), inherits=True),
    Cell("blending, 5 points below", World(blend=0.3, gap=-0.05), inherits=True),
    Cell("blending, teachers over- and under-confident", World(blend=0.3, scale=0.5), inherits=True),
    Cell("better teachers copied more, spread 4 points", World(follow=by_teacher(1), spread=0.04), inherits=True),
    Cell("better teachers copied less, spread 4 points", World(follow=by_teacher(-1), spread=0.04), inherits=True),
    Cell("the surer of teacher and student answers", World(surer=0.7), inherits=True),
    Cell("drawn from the teacher's softmax", World(sample=0.5), inherits=True),
    Cell(
        "copied by entropy, 100 classes", World(follow=by_entropy, classes=100), inherits=True,
        exception="copying by entropy among many classes",
    ),
    Cell("errors copied more, .3 and .7", World(follow=coin(0.3, 0.7)), inherits=True, firmer=True),
    Cell("errors copied more, .5 and .7", World(follow=coin(0.5, 0.7)), inherits=True, firmer=True),
    Cell("errors copied more, .5 and .7, 10 pairs", World(follow=coin(0.5, 0.7), pairs=10), inherits=True, firmer=True),
    Cell("right answers copied more, .7 and .3", World(follow=coin(0.7, 0.3)), inherits=True),
    Cell("quality inherited on kinds of examples that are no classes", World(quality="region"), inherits=True),
)  # fmt: skip


def verdict(of: Swapped, metric: str, level: float = 0.05) -> str:
    """The verdict that a protocol with this one hypothesis would give: recipe, new examples, greater."""
    alpha = level
    if metric == ASYMMETRY:
        try:
            found = inheritance.tested(of, inheritance.comparison(metric, FIRMNESS), 1 - level)
        except metrics.UndefinedMetric:
            return "not shown"
        return "supported" if found["p_value"] <= alpha and not found["barred"] else "not shown"
    try:
        plain, within = (_p_values(of, metric, estimator) for estimator in (BALANCED, BY_CLASS))
    except metrics.UndefinedMetric:
        return "inconclusive"
    for side, word in enumerate(("supported", "refuted")):
        if plain[side] <= alpha:
            return word if within[side] <= alpha else "by class"
    return "inconclusive"


def _p_values(of: Swapped, metric: str, estimator: str) -> tuple[float, float]:
    """One-sided p of W or K above 0, below 0."""
    split, g = inheritance.differences(of, metric)
    inheritance.enough(split, "recipe")
    found = metrics.balanced(g, split.halves, of.labels if estimator == BY_CLASS else None)
    mean = stats.two_way(found.values)
    return float(mean.p_value("greater")), float(mean.p_value("less"))


def study(runs: int, seed: int = 0, cells: Iterable[Cell] = CELLS, say: Any = None) -> pd.DataFrame:
    """Verdicts of each claim in each world.

    Returns
    -------
    A row a world and claim: how often it was supported and refuted, how often the row by class alone kept it from a
    verdict, the rate of wrong verdicts with its Monte-Carlo standard error, and the bound of .05 + 4 of those at .05.
    """
    rows = []
    for index, cell in enumerate(cells):
        counts: dict[str, dict[str, int]] = {metric: {} for metric in ALL}
        for run in range(runs):
            of = draw(cell.world, np.random.default_rng([seed, index, run]))
            for metric in ALL:
                word = verdict(of, metric)
                counts[metric][word] = counts[metric].get(word, 0) + 1
        rows += [_row(cell, metric, counts[metric], runs) for metric in ALL]
        if say:
            say(f"{cell.name}: " + ", ".join(f"{r['claim']} {r['supported']:.3f}" for r in rows[-3:]))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _row(cell: Cell, metric: str, counted: Mapping[str, int], runs: int) -> dict[str, Any]:
    true = cell.firmer if metric == ASYMMETRY else cell.inherits
    supported, refuted = (counted.get(word, 0) / runs for word in ("supported", "refuted"))
    error = refuted if true else supported + refuted
    bound = 0.05 + 4 * (0.05 * 0.95 / runs) ** 0.5
    return {
        "world": cell.name, "claim": metric, "true": true, "runs": runs, "supported": supported, "refuted": refuted,
        "undecided_by_class": counted.get("by class", 0) / runs, "error": error, "bound": bound,
        "holds": error <= bound, "note": cell.exception,
    }  # fmt: skip


# Likeness to the teacher -----------------------------------------------------------------------------------------

SPREADS = (0.0, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04)


def likeness(of: Swapped) -> dict[str, float]:
    """One-sided p of agreement and of A⁻, own students of each teacher minus students of the other one."""
    t, s = of.teachers, of.students
    assert of.started_from is not None
    found: dict[str, list[Any]] = {"agreement": [], "negative_transfer": []}
    for pair in of.pairs:
        values: dict[str, list[Any]] = {name: [] for name in found}
        for teacher in pair:
            began = of.started_from == teacher
            own, other = began & (of.taught_by == teacher), began & (of.taught_by != teacher)
            agrees = [(s[side] == t[teacher]).mean(axis=0) for side in (own, other)]
            values["agreement"].append(agrees[0] - agrees[1])
            wrong = t[teacher] != of.labels
            shares = [part[wrong].mean() for part in agrees]
            moved = [share + wrong * (part - share) / wrong.mean() for share, part in zip(shares, agrees, strict=True)]
            values["negative_transfer"].append(moved[0] - moved[1])
        for name, rows in values.items():
            found[name].append(np.mean(rows, axis=0))
    return {name: float(stats.two_way(np.array(rows)).p_value("greater")) for name, rows in found.items()}


def spreads(runs: int, seed: int = 1, n: int = 1500) -> pd.DataFrame:
    """How often likeness to the teacher against kd-other is "supported" where students inherit only its accuracy.

    Returns
    -------
    A row a spread: the standard deviation of the teachers' accuracies as it was set and as it was observed on the n
    examples (whose sampling adds to it), and the rejections of agreement and of A⁻ at level .05.
    """
    rows = []
    for index, spread in enumerate(SPREADS):
        p, observed = [], []
        for run in range(runs):
            world = World(quality="overall", spread=spread, n=n)
            of = draw(world, np.random.default_rng([seed, index, run]))
            p.append(likeness(of))
            observed.append((of.teachers == of.labels).mean(axis=1).std(ddof=1))
        rows.append(
            {"spread": spread, "observed": float(np.mean(observed)), "runs": runs}
            | {name: float(np.mean([one[name] <= 0.05 for one in p])) for name in p[0]}
        )
    return pd.DataFrame(rows)


# Its report ------------------------------------------------------------------------------------------------------

RUNS = 400


def validate(folder: Path, *, runs: int | None = None, seed: int = 0, say: Callable[[str], None] = print) -> list[str]:
    """Run the study and write ``inheritance.md``, ``tables/inheritance.csv`` and ``tables/spreads.csv`` into a folder.

    Returns
    -------
    Worlds and claims whose rate of wrong verdicts is above the bound, known exceptions left out.
    """
    table = study(runs or RUNS, seed, say=say)
    of_spread = spreads(runs or RUNS, seed + 1)
    files = {
        "tables/inheritance.csv": table.to_csv(index=False).encode(),
        "tables/spreads.csv": of_spread.to_csv(index=False).encode(),
        "inheritance.md": page(table, of_spread).encode(),
    }
    with store.disk_errors(folder):
        (folder / "tables").mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            store.write_whole(folder / name, content)
    say(f"report: {folder / 'inheritance.md'}")
    return [f"{row.world}, {row.claim}" for row in table.itertuples() if not row.holds and not row.note]


def page(table: pd.DataFrame, of_spread: pd.DataFrame) -> str:
    """The study as Markdown: false verdicts first, then power."""
    runs = int(table["runs"].iloc[0])
    bound = f"{table['bound'].iloc[0]:.3f}"
    names = {"inherits_errors": "W", "inherits_knowledge": "K", ASYMMETRY: "θ₀"}
    lines = [
        "# Claims on what students inherit, where it is known what they do",
        "",
        f"{runs} simulated experiments a world: 5 pairs of teachers (85.5 % right), 2 students an arm and teacher,"
        " 1,500 examples of 10 classes unless the world says otherwise; each claim alone, level .05, scope recipe, new"
        f" examples. What holds is a rate of wrong verdicts of at most {bound} (.05 and four Monte-Carlo errors)."
        " Made by",
        "",
        "    kdstats validate --only inheritance",
        "",
        "## Where a claim is false",
        "",
        "Verdicts given: *supported*, in brackets *refuted*; of θ₀ *supported* alone. Empty: the claim is true there.",
        "",
        "| world | W | K | θ₀ | |",
        "|---|---:|---:|---:|---|",
    ]
    for world, rows in table.groupby("world", sort=False):
        cells: dict[str, Any] = {str(row.claim): row for row in rows.itertuples()}
        if any(not row.true for row in cells.values()):
            shown = [_false(cells[claim]) for claim in names]
            lines.append(f"| {world} | {' | '.join(shown)} | {_said(cells.values())} |")
    lines += [
        "",
        "Quality that goes by kinds of examples which are no classes counts as inherited: students of a teacher that"
        " is good at one kind give its answers there more often, and no test can tell that from copying them.",
        "",
        "## Where it is true: how often it is supported",
        "",
        "| world | W | K | θ₀ |",
        "|---|---:|---:|---:|",
    ]
    for world, rows in table.groupby("world", sort=False):
        cells = {str(row.claim): row for row in rows.itertuples()}
        if any(row.true for row in cells.values()):
            shown = [_rate(cells[claim].supported) if cells[claim].true else "" for claim in names]
            lines.append(f"| {world} | {' | '.join(shown)} |")
    lines += [
        "",
        "## Agreement with one's own teacher, where students inherit nothing but its accuracy",
        "",
        "Rejections of agreement and of A⁻, `kd` against `kd-other`, by the standard deviation of the teachers'"
        " accuracies: as set, and as observed on the examples, whose sampling adds to it.",
        "",
        "| set | observed | agreement | A⁻ |",
        "|---:|---:|---:|---:|",
    ]
    for row in of_spread.to_dict("records"):
        rates = f"{_rate(row['agreement'])} | {_rate(row['negative_transfer'])}"
        lines.append(f"| {100 * row['spread']:g} points | {100 * row['observed']:.2g} | {rates} |")
    return "\n".join([*lines, ""])


def _rate(value: float) -> str:
    return f"{value:.3f}".removeprefix("0") if value < 1 else "1"


def _false(row: Any) -> str:
    if row.true:
        return ""
    refuted = f" ({_rate(row.refuted)})" if row.claim != ASYMMETRY else ""
    text = f"{_rate(row.supported)}{refuted}"
    return text if row.holds else f"**{text}**"


def _said(rows: Iterable[Any]) -> str:
    rows = list(rows)
    if rows[0].note:
        return f"known exception: {rows[0].note}"
    return "" if all(row.holds for row in rows) else "above the bound"
