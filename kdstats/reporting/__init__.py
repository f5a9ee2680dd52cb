"""The tidy tables of a run, as tables for a paper, figures and one HTML page."""

import errno
import shutil
from collections.abc import Mapping
from pathlib import Path

from kdstats.errors import UserError
from kdstats.reporting.results import Results

__all__ = ["Results", "write_files", "write_report"]

FULL = (errno.ENOSPC, errno.EDQUOT)
MARK = '<meta name="generator" content="kdstats">'
PAGE, FOLDERS = "index.html", ("tables", "figures")


def write_report(results: Results, directory: Path) -> Path:
    """Write a run's index.html, tables/ and figures/; the same results give the same bytes. As ``write_files``."""
    from kdstats.reporting.page import files

    refuse_foreign(directory)
    return write_files(files(results.tidy()), directory)


def write_files(content: Mapping[str, bytes], directory: Path, option: str = "--report-dir") -> Path:
    """Write the files of a report: index.html, tables/ and figures/.

    The report is built beside its place and then moved there, the page last: where there is one, the tables and figures
    beside it are its own, even after a kill. Files of other names in the directory stay as they are.

    Parameters
    ----------
    content : bytes by path, as ``page.files`` and ``audits.files`` make them
    directory : the report's own; made where it does not exist
    option : how it was named

    Returns
    -------
    The path of index.html.

    Raises
    ------
    UserError
        Where the directory has tables, figures or an index.html that are not a report of ours, or cannot be written.
    """
    directory, beside = _places(directory, option)
    refuse_foreign(directory, option)
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
        free = "free space, or " if error.errno in FULL else ""
        said = f"the report cannot be written ({error.strerror or error}); {free}choose another {option}"
        raise UserError(f"{directory}: {said}") from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return directory / PAGE


def refuse_foreign(directory: Path, option: str = "--report-dir") -> None:
    """Refuse a place for a report that holds something else, before the work is done.

    Raises
    ------
    UserError
        A file, the root, a name that no disk takes, or tables, figures or an index.html that are not ours.
    """
    directory, beside = _places(directory, option)
    try:
        page = directory / PAGE
        ours = page.is_file() and MARK in page.read_text("utf-8", errors="replace")[:2000]
        ours = ours or (beside / "old").is_dir()  # a report was being replaced when it was killed
        foreign = [part for part in (PAGE, *FOLDERS) if (directory / part).exists() and not ours]
        if foreign or directory.is_file():
            raise UserError(
                f"{directory / foreign[0] if foreign else directory}: is there and is no report of kdstats, so it is"
                f" not replaced; choose another {option}"
            )
    except OSError as error:
        raise UserError(
            f"{directory}: cannot hold a report ({error.strerror or error}); choose another {option}"
        ) from None


def _places(directory: Path, option: str) -> tuple[Path, Path]:
    """Where a report lies, and where it is made."""
    directory = directory.resolve()
    if not directory.name:
        raise UserError(f"{directory}: is the root of the disk; choose another {option}")
    return directory, directory.with_name(f".{directory.name}.part")


def _exchange(new: Path, directory: Path, old: Path) -> None:
    """Take the old page away, exchange the folders, put the new page; back again where that fails."""
    old.mkdir()
    moved = []
    try:
        for part in (PAGE, *FOLDERS):
            if (directory / part).exists():
                (directory / part).rename(old / part)
                moved.append(part)
        for part in (*FOLDERS, PAGE):
            (new / part).replace(directory / part)
    except OSError:
        for part in reversed(moved):
            if (directory / part).is_dir():
                shutil.rmtree(directory / part)
            (old / part).rename(directory / part)
        raise
