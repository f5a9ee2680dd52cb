"""All files of a report: the page that holds everything, and each table and figure on its own."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from kdstats.catalog import ARMS, CORRECTIONS, FAMILY_WISE, SWAPPED
from kdstats.claims import WORDS
from kdstats.documents import write_document
from kdstats.reporting import figures, inheritance, interactions, tables
from kdstats.reporting.figures import Drawing
from kdstats.reporting.files import tables_and_figures
from kdstats.reporting.results import (
    LATE,
    Point,
    Results,
    Row,
    clean,
    listed,
    parameters,
    plural,
    records,
    setting,
)
from kdstats.reporting.tables import Table, claim, correction_name, signature

SYMBOLS = {
    "supported": "✓",
    "negligible": "≈",
    "equivalent": "=",
    "refuted": "✗",
    "inconclusive": "?",
    "not shown": "?",
    "withdrawn": "∅",
}
HERE = Path(__file__).parent
# All of a run's tables and figures, in the order of the page.
TABLES = {"verdicts": tables.TABLES["verdicts"], **inheritance.TABLES, **tables.TABLES}
FIGURES = {
    **{name: figures.FIGURES[name] for name in ("slopes", "estimates")},
    **inheritance.FIGURES,
    **figures.FIGURES,
}


def files(results: Results) -> dict[str, bytes]:
    """Every file of the report by its path, index.html first.

    Parameters
    ----------
    results : tidy
    """
    prefix = results.protocol.get("name", "")
    absent = () if len(results.ladder) else ("ladder",)
    there = {name: make for name, make in TABLES.items() if name not in absent}
    drawn = {name: draw for name, draw in FIGURES.items() if name not in absent}
    if "interactions" in results.features:
        there |= interactions.TABLES
        drawn |= interactions.FIGURES
    if "mistakes" in results.features:
        there["mistakes"] = interactions.mistakes
    made, drawings, written = tables_and_figures(results, there, drawn, prefix, signature(results))
    return {"index.html": html(results, made, drawings).encode(), **written}


def html(results: Results, made: Mapping[str, Table], drawings: Mapping[str, tuple[Drawing, str]]) -> str:
    """The page: what was asked, verdicts, figures, tables, what failed, what was added, how it was made."""
    return rendered(
        "page.html",
        name=clean(results.protocol.get("name", "unnamed")),
        hash=clean(results.protocol_hash),
        signature=signature(results),
        asked=list(_asked(results)),
        warnings=list(_warnings(results)),
        verdicts=[_verdict(results, row) for row in records(results.verdicts)],
        tally=_tally(results),
        words=WORDS if len(results.inheritance) or results.verdicts["metric"].isin(SWAPPED).any() else {},
        repeated=[row["sentence"] for row in records(results.inheritance) if row["sentence"]],
        ladder=[row["sentence"] for row in records(results.ladder) if row["part"] == "whole"],
        drawings=[(name, drawing, Markup(svg)) for name, (drawing, svg) in drawings.items()],  # ours, and escaped XML
        tables=made,
        failures=_failures(results),
        amendments=[_amendment(amendment) for amendment in results.amendments],
        made=list(_made(results.environment)),
        protocol=write_document(_plain(results.protocol)),
        late=LATE,
    )


def rendered(template: str, **words: Any) -> str:
    """A page from its template in this folder; all words are text, whatever they hold."""
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    css = Markup((HERE / "page.css").read_text("utf-8"))
    return environment.get_template(template).render(css=css, symbols=SYMBOLS, cells=zip, **words)


# What was asked and found ----------------------------------------------------------------------------------------


def _asked(results: Results) -> Iterator[tuple[str, str]]:
    """Terms and their descriptions; a term is empty where the one before goes on."""
    protocol = results.protocol
    dataset = protocol.get("dataset", "")
    if isinstance(dataset, Mapping):
        rest = [f"{name} {value}" for name, value in dataset.items() if name != "name" and value is not None]
        dataset = f"{dataset.get('name', '')} ({', '.join(rest)})"
    yield "Dataset", clean(dataset)
    for role in ("teacher", "student"):
        network = protocol.get(role)
        if isinstance(network, Mapping) and "seeds" in network:
            seeds = network["seeds"] if isinstance(network["seeds"], int) else len(network["seeds"])
            each = "" if role == "teacher" else " for each teacher and setting"
            yield role.capitalize(), clean(f"{network.get('model', '')}, {plural(seeds, 'seed')}{each}")
    arms: dict[str, list[Point]] = {}
    for point in results.points.values():
        if point.arm != "teacher":
            arms.setdefault(point.arm, []).append(point)
    for i, (arm, points) in enumerate(arms.items()):
        yield "" if i else "Arms", _arm_words(arm, points)
    correction = str(protocol.get("correction", "holm"))
    in_families = list(results.verdicts["family"])
    sizes = [
        f"{plural(in_families.count(family), 'hypothesis', 'hypotheses')} in family {family}"
        for family in dict.fromkeys(in_families)
    ]
    controls = f"{correction_name(correction)} ({CORRECTIONS.get(correction, 'as named')})"
    yield "Level", f"{results.level:g}, {controls}, {listed(sizes) or 'no hypotheses'}"
    if stop := protocol.get("stop"):
        yield (
            "Stop",
            f"as soon as all verdicts are reached, at most at {stop['max_seeds']} seeds. p-values and intervals hold at"
            " whatever seed one stops: e-processes and confidence sequences",
        )


def _arm_words(arm: str, points: list[Point]) -> str:
    kind = points[0].kind
    values: dict[str, dict[str, None]] = {}
    for point in points:
        for name, value in parameters(point.params).items():
            values.setdefault(name, {})[value] = None
    settings = "; ".join(setting({name: ", ".join(swept)}) for name, swept in values.items())
    return ". ".join(filter(None, (f"{arm}: {ARMS[kind].summary}" if kind in ARMS else arm, settings)))


def _warnings(results: Results) -> Iterator[str]:
    """What a reader must know before quoting a verdict."""
    correction = str(results.protocol.get("correction", "holm"))
    families = list(dict.fromkeys(results.verdicts["family"]))
    if correction not in FAMILY_WISE and families:
        yield (
            f"Whole-protocol error not controlled: {correction_name(correction)} controls the false discovery rate, not"
            " the chance of any false claim in this protocol."
        )
    if len(families) > 1:
        yield (
            f"Whole-protocol error not controlled: the hypotheses are corrected in {len(families)} separate families"
            f" ({', '.join(families)})."
        )
    if any(_after_training(amendment) for amendment in results.amendments):
        yield f"The protocol was amended after training had begun; what was added is marked “{LATE}”."
    made_on = results.environment.get("made_on")
    if isinstance(made_on, list | tuple) and len(made_on) > 1:
        machines = "; ".join(map(clean, made_on))
        yield f"The networks were made on different devices or versions ({machines}): pairs may mix them."
    leaking = [point.label for point in results.points.values() if "matrix=test-leak" in point.params.split()]
    if leaking:
        yield (
            f"{listed(leaking)} was taught from the test images and their labels, one of the leaks of the code"
            " released with the method: its scores are no test of anything, they show what that leak is worth."
        )
    if len(results.failures):
        yield f"{plural(len(results.failures), 'network')} failed to train; see Failures."


def _verdict(results: Results, row: Row) -> dict[str, Any]:
    late = row["declared"].startswith("after training")
    return {**row, "claim": claim(results, row), "symbol": SYMBOLS.get(row["verdict"], ""), "late": late}


def _tally(results: Results) -> str:
    found = list(results.verdicts["verdict"])
    kinds = [verdict for verdict in dict.fromkeys([*SYMBOLS, *found]) if verdict in found]
    return listed([f"{found.count(verdict)} {verdict}" for verdict in kinds])


# What failed, what was added, how it was made --------------------------------------------------------------------


def _failures(results: Results) -> list[dict[str, Any]]:
    by_point: dict[tuple[str, str], list[Row]] = {}
    for row in records(results.failures):
        by_point.setdefault((row["arm"], row["arm_params"]), []).append(row)
    return [
        {"label": results.points[key].label, "count": len(rows), "where": list(map(_failure, rows))}
        for key, rows in by_point.items()
    ]


def _failure(row: Row) -> str:
    named = {"teacher": row["teacher"], "seed": row["seed"], "step": row["step"]}
    return f"{', '.join(f'{name} {value}' for name, value in named.items() if pd.notna(value))}: {row['reason']}"


def _after_training(amendment: Mapping[str, Any]) -> bool:
    return bool(amendment.get("replicates_existed") or amendment.get("scores_existed"))


def _amendment(amendment: Mapping[str, Any]) -> dict[str, Any]:
    """An amendment without its date, which amendments.json has: a page has no dates."""
    added = amendment.get("added") or {}
    existed = [name for name in ("replicates", "scores") if amendment.get(f"{name}_existed")]
    return {
        "late": _after_training(amendment),
        "hash": clean(amendment.get("hash", ""))[:12],
        "added": [clean(f"{kind.replace('_', ' ')} {_words(items)}") for kind, items in added.items() if items],
        "state": f"when {listed(existed)} existed" if existed else "before anything was trained",
    }


def _words(items: Any) -> str:
    """Names, seeds, or points as [arm, parameters]."""
    if not isinstance(items, list | tuple):
        return str(items)
    return ", ".join(
        " ".join(filter(None, map(str, item))) if isinstance(item, list | tuple) else str(item) for item in items
    )


def _made(environment: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key, value in environment.items():
        if isinstance(value, Mapping):
            text = ", ".join(f"{name} {version}" for name, version in value.items())
        elif isinstance(value, list | tuple):
            text = "; ".join(map(str, value))
        else:
            text = {True: "yes", False: "no"}[value] if isinstance(value, bool) else value
        if text not in (None, ""):
            yield clean(key.replace("_", " ")), clean(text)


def _plain(value: Any) -> Any:
    """Nothing but what YAML has words for."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if isinstance(value, str | int | float) or value is None else str(value)
