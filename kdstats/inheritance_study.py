"""How often claims on what students inherit are wrong, in worlds where they are false for every reason that we know."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from kdstats import inheritance, metrics, stats
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
