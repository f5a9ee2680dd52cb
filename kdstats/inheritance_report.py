"""The study of W, K, θ₀ and of agreement in simulated worlds: its two tables, and its part of the README."""

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

import kdstats
from kdstats import store
from kdstats.inheritance_study import CLAIMS, Rate, rates_of
from kdstats.spread_study import LARGEST, RUNS, SPREADS, Size, limit, sizes_at
from kdstats.world_list import WORLDS

HEADING = "## What students inherit, in simulated worlds"


def inheritance_tables(folder: Path, runs: int | None, workers: int, say: Callable[[str], None]) -> list[str]:
    """Simulate the worlds and the spreads; write tables/inheritance and tables/spread, .csv and .md, and the README.

    Parameters
    ----------
    folder : of the study; its README, where there is one, gets this part anew and keeps the rest
    runs : simulated protocols a world and spread; default 300 and 500
    workers : processes; the results do not depend on it
    say : takes a line for each row

    Returns
    -------
    list of str
        Worlds and claims with false verdicts beyond their limit that are no known exceptions.
    """
    from kdstats.reporting.writers import csv_text, markdown

    found: list[Rate] = []
    for rows in _each(partial(rates_of, runs=runs), list(WORLDS), workers):
        for row in rows:
            say(f"{row.world}: {row.claim} supported {row.supported:.4f}, refuted {row.refuted:.4f}: {row.held}")
        found += rows
    sizes: list[Size] = []
    for curve in _each(partial(sizes_at, runs=runs or RUNS), list(SPREADS), workers):
        sizes += curve
    for size in sizes:
        say(f"{size.metric}, {size.scope}, teachers' SD {size.spread:g}: size {size.size:.4f}")
    tables = {"inheritance": _rates_table(found), "spread": _sizes_table(sizes)}
    files = {f"tables/{name}.csv": csv_text(table) for name, table in tables.items()}
    files |= {f"tables/{name}.md": markdown(table) for name, table in tables.items()}
    with store.disk_errors(folder):
        (folder / "tables").mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            store.write_whole(folder / name, text.encode())
        readme = folder / "README.md"
        rest = readme.read_text(encoding="utf-8").partition(HEADING)[0].rstrip("\n") if readme.exists() else ""
        store.write_whole(readme, f"{rest}\n{readme_part(folder)}".encode())
    return [f"{row.world} {row.claim}" for row in found if row.held == "no"]


def _each(do: Callable[[Any], Any], items: Sequence[Any], workers: int) -> Iterator[Any]:
    """In the order of the items."""
    if workers == 1:
        yield from map(do, items)
        return
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(do, items)


def _rates_table(found: Sequence[Rate]) -> Any:
    from kdstats.reporting.tables import NONE, Table

    def number(value: float) -> str:
        return NONE if value != value else f"{value:.3f}"

    shown = {
        "World": [row.words for row in found],
        "Claim": [row.claim for row in found],
        "True": ["yes" if row.true else "no" for row in found],
        "Protocols": [f"{row.runs:,}" for row in found],
        "Supported": [number(row.supported) for row in found],
        "Refuted": [number(row.refuted) for row in found],
        "Error": [number(row.error) for row in found],
        "Limit": [number(row.limit) for row in found],
        "Held": [row.held for row in found],
    }
    caption = (
        "How often a protocol with one hypothesis, that W, K or θ₀ is above 0, supports and refutes it at level .05 a"
        " side (5 pairs of teachers, 2 students a teacher and arm, 1,500 examples and 10 classes where the world says"
        " nothing else). Held: the larger rate of a false verdict is at most the limit, .05 and 4 Monte-Carlo standard"
        " errors; error is that of the rate. Where a claim is true its rate of support is power. W, which error: W,"
        " supported only where the wrong answer that was taught gains on other wrong answers as well; a proposal, no"
        " verdict of protocols."
    )
    numeric = ("Protocols", "Supported", "Refuted", "Error", "Limit")
    data = pd.DataFrame([asdict(row) for row in found])
    return Table("Verdicts on W, K and θ₀", caption, data, shown, _signature(), numeric=numeric)


def _sizes_table(found: Sequence[Size]) -> Any:
    from kdstats.reporting.tables import Table

    shown = {
        "Metric": [row.metric for row in found],
        "Examples": [row.scope for row in found],
        "SD of accuracies": [f"{100 * row.spread:.2g}" for row in found],
        "SD on the test set": [f"{100 * row.observed:.2f}" for row in found],
        "Protocols": [f"{row.runs:,}" for row in found],
        "Rejected": [f"{row.size:.3f}" for row in found],
        "Error": [f"{row.error:.3f}" for row in found],
        "Mean difference": [f"{row.estimate:+.4f}" for row in found],
    }
    caption = (
        "How often kd is falsely closer to its teacher than kd-other at .05, one-sided, where students inherit nothing"
        " but their teacher's accuracy (10 teachers × 2 students, 1,500 examples, t tests at scope recipe), by"
        " the SD of the teachers' accuracies in points; that on the test set has chance in it as well."
    )
    numeric = tuple(shown)[2:]
    data = pd.DataFrame([asdict(row) for row in found])
    return Table("Agreement and the teachers' spread", caption, data, shown, _signature(), numeric=numeric)


def _signature() -> str:
    return f"kdstats {kdstats.__version__}"


def readme_part(folder: Path) -> str:
    """The README's part on these tables, from them; empty where they are not there."""
    files = [folder / "tables" / f"{name}.csv" for name in ("inheritance", "spread")]
    if not all(file.exists() for file in files):
        return ""
    found, sizes = (pd.read_csv(file) for file in files)
    held = found["held"].value_counts()
    true = found[found["true"]]
    least = [f"{claim} {true.loc[true['claim'] == claim, 'supported'].min():.3f}" for claim in CLAIMS]
    beyond = found[found["held"] != "yes"]
    rows = []
    for row in beyond.to_dict("records"):
        refuted = "" if pd.isna(row["refuted"]) else f"{row['refuted']:.3f}"
        said = "not held" if row["held"] == "no" else row["held"]
        rows.append(f"| {row['words']} | {row['claim']} | {row['supported']:.3f} | {refuted} | {said} |")
    agreement = sizes[(sizes["metric"] == "agreement") & (sizes["scope"] == "new")]
    spreads, rejected = agreement["spread"].tolist(), agreement["size"].tolist()
    reached = limit(spreads, rejected)
    curve = ", ".join(f"{size:.3f} at {100 * spread:.2g}" for spread, size in zip(spreads, rejected, strict=True))
    return "\n".join(
        [
            "",
            HEADING,
            "",
            "W (inherits_errors), K (inherits_knowledge) and θ₀ (asymmetry) in worlds where each is false for every"
            " reason that we know, and where it is true. Made by",
            "",
            "    kdstats validate --only inheritance",
            "",
            f"{len(found)} claims in {found['world'].nunique()} worlds, of {found['runs'].min()} to"
            f" {found['runs'].max()} simulated protocols each: {held.get('yes', 0)} hold their level"
            f" (false verdicts at most .05 and 4 Monte-Carlo standard errors),"
            f" {held.get('known exception', 0)} are known"
            f" exceptions, {held.get('no', 0)} do not. Lowest power where a claim is true: {', '.join(least)}. All:"
            " [tables/inheritance.md](tables/inheritance.md), [csv](tables/inheritance.csv).",
            "",
            "| world | claim | supported | refuted | |",
            "|---|---|---:|---:|---|",
            *rows,
            "",
            "Agreement against kd-other is wrong the more often, the more the teachers' accuracies spread, where"
            f" students inherit accuracy and nothing else: {curve} points."
            + (
                f" It reaches {LARGEST:g} at {100 * reached:.2f} points, from which on it decides nothing"
                " (`verdicts.SPREAD_LIMIT`)."
                if reached is not None
                else ""
            )
            + " All: [tables/spread.md](tables/spread.md), [csv](tables/spread.csv).",
            "",
        ]
    )
