"""The tidy tables of a run, as tables for a paper, figures and one HTML page."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from kdstats.errors import UserError
from kdstats.reporting.results import Results

__all__ = ["Results", "write_files", "write_report"]

MARK = '<meta name="generator" content="kdstats">'
PARTS = ("index.html", "tables", "figures")  # the page first: it tells the next report that the rest is ours


def write_report(results: Results, directory: Path) -> Path:
    """Write a run's index.html, tables/ and figures/; the same results give the same bytes. As ``write_files``."""
    from kdstats.reporting.page import files

    _refuse_foreign(directory.absolute())
    return write_files(files(results.tidy()), directory)


def write_files(content: Mapping[str, bytes], directory: Path) -> Path:
    """Write the files of a report: index.html, tables/ and figures/.

    The report is built beside its place and then moved there, so that no half of one is left. Files of other names in
    the directory stay as they are.

    Parameters
    ----------
    content : bytes by path, as ``page.files`` and ``audits.files`` make them
    directory : the report's own; made where it does not exist

    Returns
    -------
    The path of index.html.

    Raises
    ------
    UserError
        Where the directory has tables, figures or an index.html that are not a report of ours, or cannot be written.
    """
    directory = directory.absolute()
    beside = directory.with_name(f".{directory.name}.part")
    _refuse_foreign(directory)
    try:
        shutil.rmtree(beside, ignore_errors=True)
        for name, data in content.items():
            file = beside / "new" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        if directory.is_dir() and any(directory.iterdir()):
            _exchange(beside / "new", directory, beside / "old")
        else:
            (beside / "new").rename(directory)
    except OSError as error:
        raise UserError(
            f"{error.filename or directory}: the report cannot be written ({error.strerror or error});"
            " free space or choose another place with --report-dir"
        ) from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return directory / "index.html"


def _refuse_foreign(directory: Path) -> None:
    page = directory / "index.html"
    ours = page.is_file() and MARK in page.read_text("utf-8", errors="replace")[:2000]
    foreign = [part for part in PARTS if (directory / part).exists() and not ours]
    if foreign or directory.is_file():
        raise UserError(
            f"{directory / foreign[0] if foreign else directory}: is there and is no report of kdstats, so it is not"
            " replaced; choose another --report-dir"
        )


def _exchange(new: Path, directory: Path, old: Path) -> None:
    """Move each part to its place, and what was there away; back again where that fails."""
    old.mkdir()
    moved = []
    try:
        for part in PARTS:
            if (directory / part).is_dir():
                (directory / part).rename(old / part)
                moved.append(part)
            (new / part).replace(directory / part)
    except OSError:
        for part in moved:
            if not (directory / part).exists():
                (old / part).rename(directory / part)
        raise
