"""One table as CSV, Markdown or LaTeX. Whatever a name holds stays text in each of them."""

import csv
import io
import math
import re
import textwrap
from collections.abc import Iterator, Sequence

import pandas as pd

from kdstats.reporting.tables import Table

# CSV -------------------------------------------------------------------------------------------------------------


def csv_text(table: Table) -> str:
    """The typed rows, ten significant digits; text that a spreadsheet would take for a formula gets an apostrophe."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([_no_formula(str(column)) for column in table.data])
    for row in table.data.itertuples(index=False):
        writer.writerow([_csv_cell(value) for value in row])
    return stream.getvalue()


def _csv_cell(value: object) -> str:
    if isinstance(value, str):
        return _no_formula(value)
    if pd.isna(value):  # type: ignore[call-overload]
        return ""
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def _no_formula(text: str) -> str:
    return f"'{text}" if text.lstrip().startswith(("=", "+", "-", "@")) else text


# Markdown --------------------------------------------------------------------------------------------------------

ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
MARKDOWN = str.maketrans(ENTITIES | {char: f"\\{char}" for char in "\\`*_[]|$~#"})


def markdown(table: Table) -> str:
    """A pipe table under its title, with caption and signature."""
    head = [markdown_text(column) for column in table.shown]
    rule = ["---:" if column in table.numeric else "---" for column in table.shown]
    body = [
        [_md_cell(value, table.marks.get((i, column), ())) for column, value in zip(table.shown, row, strict=True)]
        for i, row in enumerate(table.rows)
    ]
    rows = ["| " + " | ".join(cells) + " |" for cells in (head, rule, *body)] if body else [markdown_text(table.empty)]
    return "\n".join(
        [
            f"## {markdown_text(table.title)}",
            "",
            markdown_text(table.caption),
            "",
            *rows,
            "",
            f"*{markdown_text(table.signature)}*",
            "",
        ]
    )


def markdown_text(text: str) -> str:
    """Text in which nothing is markup."""
    return text.translate(MARKDOWN)


def _md_cell(value: str, marks: Sequence[str]) -> str:
    text = f"**{markdown_text(value)}**" if "best" in marks else markdown_text(value)
    return text + "".join(mark for mark in marks if mark != "best")


# LaTeX -----------------------------------------------------------------------------------------------------------

LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "%": r"\%", "#": r"\#", "_": r"\_",
        "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
        "|": r"\textbar{}", '"': r"\char34{}", "`": r"\textasciigrave{}", "\0": "{}",
        "[": "{[}", "]": "{]}", "*": "{*}",  # after \\ a bracket or a star would be its argument
        "±": r"$\pm$", "−": "$-$", "–": "--", "·": r"$\cdot$", "×": r"$\times$", "≤": r"$\le$", "≥": r"$\ge$",
        "≠": r"$\ne$", "∞": r"$\infty$", "α": r"$\alpha$", "κ": r"$\kappa$", "Δ": r"$\Delta$", "⁺": "$^+$", "⁻": "$^-$",
        "²": "$^2$", "†": r"$^\dagger$", "‡": r"$^\ddagger$", "₁": "$_1$", "₀": "$_0$",
    }
)  # fmt: skip
WIDTH = 108  # characters of a line at \footnotesize on a page 6.9 in wide
SENTENCE = 46  # characters that a column of sentences is given
LONG = 45  # lines from which a table breaks over pages


def latex(table: Table, name: str) -> str:
    """A booktabs table: columns that do not fit a page's width follow in further panels, rows over further pages."""
    parts = panels(table)
    caption = rf"\caption{{{_tex(table.title)}. {_tex(table.caption)} {{\scriptsize {_tex(table.signature)}}}}}"
    caption += rf"\label{{tab:{re.sub('[^a-z0-9]+', '-', name.lower())}}}"
    if not table.rows:
        return _float(caption, _tex(table.empty))
    if sum(_lines(table, part) for part in parts) <= LONG:
        return _float(caption, "\n\\par\\medskip\n".join(_tabular(table, part) for part in parts))
    captions = [caption + r" \\", *[""] * len(parts)]
    pages = [_longtable(table, part, head) for part, head in zip(parts, captions, strict=False)]
    return "\n".join([r"% needs \usepackage{booktabs} and \usepackage{longtable}", r"{\footnotesize", *pages, "}", ""])


def _float(caption: str, body: str) -> str:
    head = [r"% needs \usepackage{booktabs}", r"\begin{table}[tb]", r"\centering\footnotesize", caption]
    return "\n".join([*head, body, r"\end{table}", ""])


def panels(table: Table) -> list[list[str]]:
    """The columns of each panel: the stub that names the rows, and as many others as fit."""
    width = {c: max(map(len, [*_heading(table, c), *table.shown[c]])) + 2 for c in table.shown}
    width |= {column: min(width[column], SENTENCE) for column in table.prose if column in width}
    stub, rest = list(table.shown)[: table.stub], list(table.shown)[table.stub :]
    parts: list[list[str]] = [[]]
    for column in rest:
        if parts[-1] and sum(width[c] for c in (*stub, *parts[-1], column)) > WIDTH:
            parts.append([])
        parts[-1].append(column)
    return [[*stub, *part] for part in parts]


def _heading(table: Table, column: str) -> list[str]:
    """The lines of a heading: one, or as many as keep it about as narrow as its cells."""
    room = max([12, *map(len, table.shown[column])])
    return textwrap.wrap(column, room, break_long_words=False, break_on_hyphens=False) or [""]


def _lines(table: Table, columns: Sequence[str]) -> int:
    """How many lines a panel takes, sentences wrapped."""
    wrapped = [column for column in columns if column in table.prose]
    return 4 + sum(
        max([1, *(math.ceil(len(table.shown[column][i]) / SENTENCE) for column in wrapped)])
        for i in range(len(table.rows))
    )


def _tabular(table: Table, columns: Sequence[str]) -> str:
    rows = [r"\toprule", _tex_head(table, columns), r"\midrule", *_tex_rows(table, columns), r"\bottomrule"]
    return "\n".join([rf"\begin{{tabular}}{_tex_kinds(table, columns)}", *rows, r"\end{tabular}"])


def _longtable(table: Table, columns: Sequence[str], caption: str) -> str:
    head = [r"\toprule", _tex_head(table, columns), r"\midrule"]
    first = [caption, *head, r"\endfirsthead"] if caption else []  # else the caption would be on every page
    rows = [*first, *head, r"\endhead", *_tex_rows(table, columns), r"\bottomrule"]
    return "\n".join([rf"\begin{{longtable}}{_tex_kinds(table, columns)}", *rows, r"\end{longtable}"])


def _tex_kinds(table: Table, columns: Sequence[str]) -> str:
    kinds = ("r" if c in table.numeric else r"p{.45\linewidth}" if c in table.prose else "l" for c in columns)
    return f"{{@{{}}{''.join(kinds)}@{{}}}}"


def _tex_head(table: Table, columns: Sequence[str]) -> str:
    cells = []
    for column in columns:
        lines = [_tex(line) for line in _heading(table, column)]
        kind = "@{}r@{}" if column in table.numeric else "@{}l@{}"
        stack = [rf"\begin{{tabular}}[b]{{{kind}}}", r" \\ ".join(lines), r"\end{tabular}"]
        cells.append(lines[0] if len(lines) == 1 else "".join(stack))
    return " & ".join(cells) + r" \\"


def _tex_rows(table: Table, columns: Sequence[str]) -> Iterator[str]:
    for i in range(len(table.rows)):
        cells = (_tex_cell(table.shown[column][i], table.marks.get((i, column), ())) for column in columns)
        yield " & ".join(cells) + r" \\"


def _tex(text: str) -> str:
    return re.sub("-(?=-)", "-\0", text).translate(LATEX)  # no ligature of two hyphens


def _tex_cell(value: str, marks: Sequence[str]) -> str:
    text = rf"\textbf{{{_tex(value)}}}" if "best" in marks else _tex(value)
    return text + "".join(_tex(mark) for mark in marks if mark != "best")
