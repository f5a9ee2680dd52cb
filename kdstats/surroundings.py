"""What a shell or a notebook leaves in the environment, and must not decide over a command or a number."""

import codecs
import contextlib
import os
import sys
import unicodedata
from collections.abc import Iterator

# What the sentences and tables use beyond ASCII
READABLE = {
    "−": "-", "–": "-", "—": "-", "×": "x", "·": "*", "±": "+/-", "∓": "-/+", "≥": ">=", "≤": "<=", "≠": "!=",
    "≈": "~", "…": "...", "→": "->", "←": "<-", "√": "sqrt", "∞": "inf", "∑": "sum", "⁄": "/",
    "“": '"', "”": '"', "„": '"', "‘": "'", "’": "'", "′": "'", "\N{NO-BREAK SPACE}": " ",
}  # fmt: skip


def ascii_of(character: str) -> str:
    """A character in ASCII that can be read, "?" where there is none.

    Examples
    --------
    >>> [ascii_of(c) for c in "−×±≥²ασé中"]
    ['-', 'x', '+/-', '>=', '2', 'alpha', 'sigma', 'e', '?']
    """
    if character in READABLE:
        return READABLE[character]
    name = unicodedata.name(character, "")
    if name.startswith("GREEK SMALL LETTER "):
        return name.split()[3].lower()
    if name.startswith("GREEK CAPITAL LETTER "):
        return name.split()[3].capitalize()
    parts = unicodedata.normalize("NFKD", character)
    plain = "".join(READABLE.get(part, part) for part in parts)
    return plain.encode("ascii", "ignore").decode() or "?"


def _readable(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(ascii_of, error.object[error.start : error.end])), error.end


def speak_plainly() -> None:
    """Let standard output and error show what their encoding lacks in ASCII, rather than fail at it."""
    codecs.register_error("kdstats-readable", _readable)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # not where something stands in for it
            stream.reconfigure(errors="kdstats-readable")


def draw_without_a_screen() -> None:
    """Let matplotlib draw into files, whatever ``MPLBACKEND`` a notebook has set for its kernel and its shells."""
    os.environ["MPLBACKEND"] = "agg"


@contextlib.contextmanager
def any_backend() -> Iterator[None]:
    """Import what imports matplotlib, also where ``MPLBACKEND`` names a backend that is not there.

    matplotlib refuses to be imported then. A backend that is there is the one that it has afterwards.
    """
    named = None if "matplotlib" in sys.modules else os.environ.pop("MPLBACKEND", None)
    try:
        yield
    finally:
        if named is not None:
            os.environ["MPLBACKEND"] = named
            if "matplotlib" in sys.modules:
                with contextlib.suppress(ValueError):
                    sys.modules["matplotlib"].rcParams["backend"] = named
