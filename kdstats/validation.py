"""The simulation study and its report: the cells of ``kdstats.stats.validity``, and whole protocols and their verdicts.

kdstats validate                                        # all of it, to reports/validity
kdstats validate --cell sign-flip-10-spread-0.2 --protocols 2000
kdstats validate --only inheritance                     # its two tables alone (kdstats.inheritance_study, spread_study)
"""

import difflib
import math
import multiprocessing
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
import scipy
from numpy.random import Generator

import kdstats
from kdstats import store
from kdstats.contrasts import Evidence
from kdstats.errors import UserError
from kdstats.inheritance_report import inheritance_tables, readme_part
from kdstats.protocol import HypothesisPoint, Point
from kdstats.stats import validity
from kdstats.stats.validity import FAST, Bound, Cell, Outcome, Row, run_cell
from kdstats.verdicts import judge

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FOLDER = Path("reports/validity")
Part = Literal["cells", "inheritance"]


# Whole protocols -------------------------------------------------------------------------------------------------

TEACHERS, STUDENTS = 10, 2
ARMS = ("kd", "dkd", "ats")
MARGIN = 0.05  # of agreement; seeds and binomial counts spread by about .006


def whole_protocol(
    wrong: Sequence[str],
    correction: str = "holm",
    controls: Sequence[str] = ("ce",),
    effects: dict[str, float] | None = None,
    truly: Sequence[str] = (),
    margin: float | None = None,
) -> Callable[[Generator, int], Outcome]:
    """Whether ``judge`` finds a wrong verdict on any of the hypotheses that each arm agrees more than the controls.

    Parameters
    ----------
    wrong : verdicts that are wrong
    correction, controls, margin : of the protocol
    effects : arm or control -> its true mean agreement above .8
    truly : arms whose hypotheses are true, and are not counted
    """
    arms = [*ARMS, *controls]
    index = pd.MultiIndex.from_product([arms, range(TEACHERS), range(STUDENTS)], names=["arm", "teacher", "seed"])
    scores = index.to_frame(index=False).assign(arm_params="", metric="agreement", n=10_000.0)
    pairs = tuple((t, s) for t in range(TEACHERS) for s in range(STUDENTS))
    against = tuple(Point(name, name, (), "fresh") for name in controls)
    hypotheses = [
        HypothesisPoint(
            name=arm, hypothesis=arm, arm=Point(arm, arm, (), "fresh"), controls=against, direction="greater",
            metric="agreement", scope_teachers="recipe", scope_examples="this test set", test="sign-flip",
            margin=margin, family="confirmatory",
        )
        for arm in ARMS
    ]  # fmt: skip
    means = 0.8 + np.array([(effects or {}).get(arm, 0.0) for arm in arms])

    def one(rng: Generator) -> bool:
        shared = 0.01 * rng.standard_normal((TEACHERS, 1))
        effect = 0.002 * rng.standard_normal((len(arms), TEACHERS, 1))
        seeds = 0.002 * rng.standard_normal((len(arms), TEACHERS, STUDENTS))
        agree = rng.binomial(10_000, means[:, None, None] + shared + effect + seeds) / 10_000
        _, found = judge(Evidence(scores.assign(value=agree.ravel()), pairs), hypotheses, validity.LEVEL, correction)
        return bool(found["verdict"][~found["arm"].isin(truly)].isin(wrong).any())

    return lambda rng, m: Outcome(np.array([one(rng) for _ in range(m)]))


def of_protocols() -> Iterator[Cell]:
    design = f"{len(ARMS)} hypotheses, {TEACHERS} teachers × {STUDENTS} students"
    bound: Bound = "at most"
    make = partial(Cell, n=TEACHERS, bound=bound, protocols=2_500, block=500)
    supported, refuted, equal = ("supported", "negligible"), ("refuted",), ("equivalent", "negligible")
    for correction in ("holm", "max-t"):
        test, name = f"judge ({correction})", f"protocol-{correction}"
        simulate = whole_protocol(supported, correction)
        yield make(f"{name}-supported", test, null=f"{design}: any supported", simulate=simulate)
        simulate = whole_protocol(refuted, correction)
        yield make(f"{name}-refuted", test, null=f"{design}: any refuted", simulate=simulate)
        at_margin = dict.fromkeys(ARMS, MARGIN)
        simulate = whole_protocol(equal, correction, effects=at_margin, margin=MARGIN)
        yield make(f"{name}-equivalent", test, null=f"{design}, at the margin: any equivalent", simulate=simulate)
        simulate = whole_protocol(supported, correction, effects={"kd": 0.1}, truly=("kd",))
        yield make(f"{name}-strong", test, null=f"{design}, one true: any other supported", simulate=simulate)
        simulate = whole_protocol(supported, correction, ("ce", "rcd"), {"rcd": -0.1})
        null = f"{design}, two controls, one beaten: any supported"
        yield make(f"{name}-controls", test, null=null, simulate=simulate)


CELLS: dict[str, Cell] = {cell.id: cell for cell in (*validity.CELLS, *of_protocols())}


# Running ---------------------------------------------------------------------------------------------------------


def validate(
    folder: Path | None = None,
    *,
    cells: Sequence[str] | None = None,
    protocols: int | None = None,
    fast: bool = False,
    workers: int | None = None,
    say: Callable[[str], None] = print,
    only: Part | None = None,
) -> list[str]:
    """Run the study, or some cells of it, and write its report.

    Parameters
    ----------
    folder : Path, optional
        Where tables/cells.csv, tables/cells.md, figures/ and README.md go. Default ``reports/validity`` for the whole
        study; a part of it is then printed alone.
    cells : sequence of str, optional
        Names of cells; default all.
    protocols : int, optional
        Of each cell; default its own.
    fast : bool
        The subset that the tests run, with 1,000 protocols a cell.
    workers : int, optional
        Processes; default one a core. The results do not depend on it.
    say : callable
        Takes a line for each cell.
    only : {"cells", "inheritance"}, optional
        That part alone: the cells of tests and intervals; or W, K and θ₀ in simulated worlds, and what agreement takes
        for knowledge of a teacher. Default both, of the whole study; named cells and the fast subset are cells.

    Returns
    -------
    list of str
        The cells that failed: a bound was broken, or a negative control kept to it; and the worlds with false verdicts
        beyond their limit that are no known exceptions.

    Raises
    ------
    UserError
        An unknown cell; a folder that cannot be written.
    """
    if only == "inheritance":
        if cells or fast:
            raise UserError("--only inheritance has no cells: leave out --cell and --fast")
        return inheritance_tables(folder or FOLDER, protocols, workers or _cores(), say)
    chosen = _chosen(cells, fast)
    whole = not cells and not fast and only is None
    if fast and protocols is None:
        protocols = FAST
    if folder is None and len(chosen) == len(CELLS) and protocols is None:
        folder = FOLDER
    rows = []
    for row in _run(chosen, protocols, workers or _cores()):
        say(_line(row))
        rows.append(row)
    table = pd.DataFrame(map(asdict, rows))
    if folder is not None:
        write(folder, table)
        say(f"report: {folder / 'README.md'}")
    failed = [row.cell for row in rows if row.verdict == "failed"]
    return failed + (inheritance_tables(folder, protocols, workers or _cores(), say) if whole and folder else [])


def _chosen(cells: Sequence[str] | None, fast: bool) -> list[str]:
    for name in cells or ():
        if name not in CELLS:
            near = difflib.get_close_matches(name, CELLS, n=3, cutoff=0.4)
            raise UserError(f"--cell {name}: there is no such cell{'; near it are ' * bool(near)}{', '.join(near)}")
    if cells:
        return list(dict.fromkeys(cells))
    return [name for name, cell in CELLS.items() if cell.fast or not fast]


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _run(cells: Sequence[str], protocols: int | None, workers: int) -> Iterator[Row]:
    """Rows in the order of the cells."""
    if min(workers, len(cells)) == 1:
        yield from (_run_named(name, protocols) for name in cells)
        return
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(partial(_run_named, protocols=protocols), cells)


def _run_named(name: str, protocols: int | None) -> Row:
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):  # numpy's threads of several processes would fight for the cores
        return run_cell(CELLS[name], protocols)


def _line(row: Row) -> str:
    held = "" if math.isnan(row.low) else f", [{row.low:.4f}, {row.high:.4f}] is its place"
    expected = "" if math.isnan(row.expected) else f", expected {row.expected:.4f}"
    again = f" (rerun with {row.protocols:,})" * bool(row.reruns)
    return f"{row.cell}: {row.measure} {_rate_name(row)}{row.rate:.4f}{expected}{held}: {row.verdict}{again}"


def _rate_name(row: Row) -> str:
    return "misses " if row.measure == "coverage" else ""


# The report ------------------------------------------------------------------------------------------------------


def write(folder: Path, table: pd.DataFrame) -> None:
    """tables/cells.csv and .md, figures/sizes and coverage, README.md; the same table gives the same bytes."""
    from kdstats.reporting.figures import Drawing, render
    from kdstats.reporting.writers import csv_text, markdown

    report = _table(table)
    files: dict[str, bytes] = {
        "tables/cells.csv": csv_text(report).encode(),
        "tables/cells.md": markdown(report).encode(),
    }
    shown = []
    for name, (title, caption, draw) in FIGURES.items():
        figure = draw(table)
        if figure is not None:
            shown.append(f"![{title}](figures/{name}.svg)\n\n{caption}\n")
            svg, pdf = render(name, Drawing(title, caption, figure))
            files |= {f"figures/{name}.svg": svg.encode(), f"figures/{name}.pdf": pdf}
    files["README.md"] = f"{_readme(table, shown)}{readme_part(folder)}".encode()
    with store.disk_errors(folder):
        for file, content in files.items():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            store.write_whole(folder / file, content)


def _signature() -> str:
    return f"kdstats {kdstats.__version__} · numpy {np.__version__} · scipy {scipy.__version__}"


def _table(table: pd.DataFrame) -> Any:
    from kdstats.reporting.tables import NONE, Table

    def number(value: float) -> str:
        return NONE if math.isnan(value) else f"{value:.4f}"

    shown = {
        "Cell": list(table["cell"]),
        "Test": list(table["test"]),
        "n": [str(n) for n in table["n"]],
        "Truth": list(table["null"]),
        "Protocols": [f"{m:,}" for m in table["protocols"]],
        "Rate": [number(rate) for rate in table["rate"]],
        "Expected": [number(rate) for rate in table["expected"]],
        "Low": [number(rate) for rate in table["low"]],
        "High": [number(rate) for rate in table["high"]],
        "Bound": list(table["bound"]),
        "Verdict": list(table["verdict"]),
    }
    caption = (
        "Rate: how often a true null hypothesis was rejected at .05, a 95 % interval missed the truth, or (power) an"
        " effect was found. Low, high: where the rate must lie; a negative control must lie above."
    )
    numeric = ("n", "Protocols", "Rate", "Expected", "Low", "High")
    return Table("Cells of the simulation study", caption, table, shown, _signature(), numeric=numeric)


def _readme(table: pd.DataFrame, figures: Sequence[str]) -> str:
    bounds = {
        "exact": "a discrete test's own attainable size, counted from its flips, choices or orders, ∓ 4 Monte-Carlo"
        " standard errors",
        "continuous": ".05 ∓ .0065",
        "at most": ".05 + 4 Monte-Carlo standard errors",
        "coverage": "misses of a default 95 % interval at most .07",
        "negative control": "must exceed .0565: designs that kdstats refuses",
        "published": "nothing is promised; or power",
    }
    verdicts = {bound: Counter(table["verdict"][table["bound"] == bound]) for bound in bounds}
    lines = [
        f"| {bound} | {words} | {verdicts[bound].total()} |"
        f" {', '.join(f'{n} {verdict}' for verdict, n in verdicts[bound].items())} |"
        for bound, words in bounds.items()
    ]
    above = table[(table["bound"] == "published") & (table["measure"] != "power")]
    above = above[above["rate"] > validity.LEVEL + validity.BAND]
    unpromised = [f"| {row.cell} | {row.test} | {row.n} | {row.null} | {row.rate:.3f} |" for row in above.itertuples()]
    return "\n".join(
        [
            "# How often the tests and intervals are wrong",
            "",
            "Simulated protocols whose truth is known: what the tests reject, what the intervals miss. Made by",
            "",
            "    kdstats validate",
            "",
            "(under half an hour on two cores). One cell again, with fewer protocols:",
            "",
            "    kdstats validate --cell sign-flip-10-spread-0.2 --protocols 2000",
            "",
            "| held against | which is | cells | found |",
            "|---|---|---:|---|",
            *lines,
            "",
            "A cell that fails is rerun once, with ten times the protocols and new random numbers, and that counts. All"
            " cells: [tables/cells.csv](tables/cells.csv), [tables/cells.md](tables/cells.md). How they are simulated:"
            " `kdstats/stats/validity.py`, and whole protocols `kdstats/validation.py`.",
            "",
            *figures,
            "## Beyond the level, where nothing is promised",
            "",
            "Published cells whose rate is above .0565: what to expect of these tests and intervals there.",
            "",
            "| cell | test | n | truth | rate |",
            "|---|---|---:|---|---:|",
            *unpromised,
            "",
            f"*{_signature()}*",
            "",
        ]
    )


# Figures ---------------------------------------------------------------------------------------------------------

WIDEST = 0.12  # rate that there is room for
INCHES, GAP = 0.11, 0.5  # of a line, and lines between two tests


def _sizes(table: pd.DataFrame) -> "Figure | None":
    """Where each rate must lie, what was expected, what was found."""
    rows, ticks = table[table["measure"] == "size"], {"0": 0.0, "0.05": 0.05, "0.10": 0.1}
    return _lines(rows, 3, _size, "Rate of wrong rejections", (0, WIDEST), ticks, [validity.LEVEL])


def _coverage(table: pd.DataFrame) -> "Figure | None":
    """Misses on either side as bars from the middle."""
    rows, half = table[table["measure"] == "coverage"], validity.LEVEL / 2
    ticks = {"0.10": -0.1, "0.05": -0.05, "0": 0.0, "0.05 ": 0.05, "0.10 ": 0.1}
    return _lines(rows, 2, _misses, "Misses: interval below | above the truth", (-WIDEST, WIDEST), ticks, [-half, half])


def _power(table: pd.DataFrame) -> "Figure | None":
    rows, ticks = table[table["measure"] == "power"], {"0": 0.0, "0.5": 0.5, "1": 1.0}
    return _lines(rows, 1, _found, "Power", (0, 1), ticks, [])


def _lines(
    rows: pd.DataFrame,
    columns: int,
    draw: Callable[..., None],
    label: str,
    limits: tuple[float, float],
    ticks: Mapping[str, float],
    guides: Sequence[float],
) -> "Figure | None":
    """A line a cell, in columns; cells of one test together, with a gap after them."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    from kdstats.reporting.figures import COLUMN, GREY, PAGE, style

    if rows.empty:
        return None
    first = {test: i for i, test in reversed(list(enumerate(rows["test"])))}
    rows = rows.sort_values("test", key=lambda tests: tests.map(first), kind="stable")
    y = np.arange(len(rows)) + GAP * rows["test"].ne(rows["test"].shift()).cumsum().to_numpy()
    height = (y[-1] - y[0]) / columns + 1
    column = np.minimum((y - y[0]) // height, columns - 1)
    with style():
        size = (PAGE if columns > 1 else COLUMN, 0.5 + INCHES * height)
        figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(h_pad=0.03, w_pad=0.08))
        for i, ax in enumerate(figure.subplots(1, columns, squeeze=False)[0]):
            shown, places = rows[column == i], y[column == i]
            places = places - places.min(initial=np.inf)
            for x in guides:
                ax.axvline(x, color=GREY, linewidth=0.4, linestyle=(0, (4, 3)), zorder=0)
            for place, row in zip(places, shown.itertuples(), strict=True):
                draw(ax, place, row, _colour(row))
            ax.set_yticks(places, list(shown["cell"]), fontsize=4.6)
            ax.set_xticks(list(ticks.values()), list(ticks), fontsize=5.5)
            ax.set(xlim=limits, ylim=(height + 0.2, -0.6))
            ax.set_xlabel(label, fontsize=6)
            ax.tick_params(axis="y", length=0, pad=3)
            ax.spines["left"].set_visible(False)
    return figure


def _colour(row: Any) -> str:
    import seaborn as sns

    palette = sns.color_palette("colorblind").as_hex()
    return str(palette[3] if row.verdict == "failed" else palette[1] if row.bound == "negative control" else palette[0])


def _size(ax: "Axes", y: float, row: Any, colour: str) -> None:
    from kdstats.reporting.figures import LIGHT

    allowed = (row.high, WIDEST) if row.bound == "negative control" else (row.low, row.high)
    ax.plot(allowed, [y, y], color=LIGHT, linewidth=4, solid_capstyle="butt", zorder=1)
    if row.bound == "exact":
        _tick(ax, y, row.expected)
    if row.rate <= WIDEST:
        _point(ax, y, row, colour)
    else:
        ax.text(WIDEST, y, f"{row.rate:.3f} ▸", fontsize=4.6, color=colour, ha="right", va="center", zorder=3)


def _misses(ax: "Axes", y: float, row: Any, colour: str) -> None:
    rates = np.array([-row.misses_below, row.misses_above]) / row.protocols
    fill = "white" if row.bound == "published" else colour
    ax.barh([y, y], rates, height=0.6, color=fill, edgecolor=colour, linewidth=0.6, zorder=2)
    for rate in rates[np.abs(rates) > WIDEST]:
        align = "right" if rate > 0 else "left"
        ax.text(np.copysign(WIDEST, rate), y, f"{abs(rate):.3f}", fontsize=4.6, ha=align, va="center", zorder=3)


def _found(ax: "Axes", y: float, row: Any, colour: str) -> None:
    _tick(ax, y, row.expected)
    _point(ax, y, row, colour)


def _tick(ax: "Axes", y: float, x: float) -> None:
    from kdstats.reporting.figures import GREY

    ax.plot([x, x], [y - 0.4, y + 0.4], color=GREY, linewidth=0.7, zorder=2)


def _point(ax: "Axes", y: float, row: Any, colour: str) -> None:
    """Filled where something is promised."""
    fill = "white" if row.bound == "published" else colour
    ax.plot(
        [row.rate], [y], "o", color=colour, markerfacecolor=fill, markersize=2.2, markeredgewidth=0.6, zorder=3,
        clip_on=False,
    )  # fmt: skip


FIGURES: dict[str, tuple[str, str, Callable[[pd.DataFrame], Any]]] = {
    "sizes": (
        "Rejections of true null hypotheses",
        "Rejections of true null hypotheses at .05 (dashed), a line a cell. Grey bar: where the rate must lie; a"
        " negative control, above its limit. Tick: the exact attainable size. Open: published, nothing is promised.",
        _sizes,
    ),
    "coverage": (
        "Misses of 95 % intervals",
        "Misses of 95 % intervals: the interval lies below the truth (left) or above it (right). Dashed: .025. Open:"
        " published, nothing is promised.",
        _coverage,
    ),
    "power": (
        "Power",
        "How often an effect is found, one-sided at .05 (points), and what kdstats.stats.planning.power gives (ticks).",
        _power,
    ),
}
