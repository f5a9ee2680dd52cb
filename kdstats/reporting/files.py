"""Tables and figures as files: what every report has beside its page."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

from kdstats.reporting.figures import Drawing, render, style
from kdstats.reporting.tables import Table
from kdstats.reporting.writers import csv_text, latex, markdown, markdown_text

Found = TypeVar("Found")
Drawn = tuple[Drawing, str]  # with its SVG, empty where there is no figure


def tables_and_figures(
    found: Found,
    tables: Mapping[str, Callable[[Found], Table]],
    figures: Mapping[str, Callable[[Found], Drawing]],
    prefix: str,
    signed: str,
) -> tuple[dict[str, Table], dict[str, Drawn], dict[str, bytes]]:
    """Every table and figure of what was found, and their files by path.

    Parameters
    ----------
    found : results of a run, or an audit
    tables, figures : the registries
    prefix : of the labels in LaTeX
    signed : the line below every caption

    Returns
    -------
    tables and drawings by name, for the page; bytes by path: tables/*.csv, .md, .tex, figures/*.svg, .pdf, captions.md
    """
    made = {name: make(found) for name, make in tables.items()}
    files: dict[str, bytes] = {}
    for name, table in made.items():
        files[f"tables/{name}.csv"] = csv_text(table).encode()
        files[f"tables/{name}.md"] = markdown(table).encode()
        files[f"tables/{name}.tex"] = latex(table, f"{prefix}-{name}").encode()
    drawings: dict[str, Drawn] = {}
    with interrupts_later():
        for name, draw in figures.items():
            with style():
                drawing = draw(found)
            svg = ""
            if drawing.figure is not None:
                svg, files[f"figures/{name}.pdf"] = render(name, drawing)
                files[f"figures/{name}.svg"] = svg.encode()
            drawings[name] = drawing, svg
    captions = [
        f"## {markdown_text(drawing.title)} ({name})\n\n{markdown_text(drawing.caption)}\n\n*{markdown_text(signed)}*\n"
        for name, (drawing, _) in drawings.items()
    ]
    files["figures/captions.md"] = "\n".join(captions).encode()
    return made, drawings, files


@contextlib.contextmanager
def interrupts_later() -> Iterator[None]:
    """Ctrl-C within counts at the end: inside matplotlib's callbacks Python would print and forget it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
