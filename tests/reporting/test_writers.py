import csv
import io
import re
from html.parser import HTMLParser

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from kdstats.reporting.results import clean
from kdstats.reporting.tables import Table
from kdstats.reporting.writers import csv_text, latex, markdown, panels

HOSTILE = [
    "<script>alert(1)</script>", "$x_1$", "a|b", "=1+1", "+1", "-1", "@sum(a1)", " =1", "[red]x[/red]", r"\input{x}",
    "100%", "a & b", "a_b", "`code`", "**bold**", "~~x~~", "#1", "a--b", "^", "&lt;", "{}", "* x", "\\", "a\nb\r\tc",
]  # fmt: skip


def table(cells, **rest):
    cells = [clean(cell) for cell in cells]
    shown = {"Name": cells, "Score": ["1"] * len(cells)}
    data = pd.DataFrame({"name": cells, "score": [-0.5] * len(cells)})
    return Table("Title", "Caption.", data, shown, "protocol 0123 · n = 2", numeric=("Score",), **rest)


SMALL = Table(
    "Arms_1",
    "Mean ± SEM; 5 % level.",
    pd.DataFrame({"arm": ["kd_1", "=1+1"], "mean": [0.95125, -1 / 3], "n": pd.array([2, None], "Int64")}),
    {"Arm": ["kd_1", "a|b"], "Accuracy": ["0.951 ± 0.001", "−0.333"], "Note": ["a & b", "[x]"]},
    "protocol 3f8a · n = 10 teachers",
    {(0, "Accuracy"): ("best", "†"), (1, "Accuracy"): ("‡",)},
    numeric=("Accuracy",),
    prose=("Note",),
)


def test_csv_golden():
    assert csv_text(SMALL) == "arm,mean,n\nkd_1,0.95125,2\n'=1+1,-0.3333333333,\n"


def test_markdown_golden():
    assert markdown(SMALL) == (
        "## Arms\\_1\n\n"
        "Mean ± SEM; 5 % level.\n\n"
        "| Arm | Accuracy | Note |\n"
        "| --- | ---: | --- |\n"
        "| kd\\_1 | **0.951 ± 0.001**† | a &amp; b |\n"
        "| a\\|b | −0.333‡ | \\[x\\] |\n\n"
        "*protocol 3f8a · n = 10 teachers*\n"
    )


def test_latex_golden():
    assert latex(SMALL, "digits-arms_1") == (
        "% needs \\usepackage{booktabs}\n"
        "\\begin{table}[tb]\n"
        "\\centering\\footnotesize\n"
        "\\caption{Arms\\_1. Mean $\\pm$ SEM; 5 \\% level."
        " {\\scriptsize protocol 3f8a $\\cdot$ n = 10 teachers}}"
        "\\label{tab:digits-arms-1}\n"
        "\\begin{tabular}{@{}lrp{.45\\linewidth}@{}}\n"
        "\\toprule\n"
        "Arm & Accuracy & Note \\\\\n"
        "\\midrule\n"
        "kd\\_1 & \\textbf{0.951 $\\pm$ 0.001}$^\\dagger$ & a \\& b \\\\\n"
        "a\\textbar{}b & $-$0.333$^\\ddagger$ & {[}x{]} \\\\\n"
        "\\bottomrule\n"
        "\\end{tabular}\n"
        "\\end{table}\n"
    )


@pytest.mark.parametrize("write", [csv_text, markdown, lambda table: latex(table, "x")])
def test_a_table_without_rows_says_why(write):
    empty = Table("Title", "Caption.", pd.DataFrame({"name": []}), {"Name": []}, "s", empty="Nothing was scored.")
    assert write(empty) == "name\n" if write is csv_text else "Nothing was scored." in write(empty)


def test_long_and_wide_latex_breaks_into_pages_and_panels():
    shown = {"Arm": ["kd"] * 50} | {f"Metric {i}": ["0.12345 ± 0.00012"] * 50 for i in range(9)}
    wide = Table("T", "C.", pd.DataFrame(), shown, "s")
    parts = panels(wide)
    assert len(parts) > 1
    assert all(part[0] == "Arm" for part in parts)
    assert [column for part in parts for column in part[1:]] == list(shown)[1:]
    text = latex(wide, "x")
    assert text.count("\\begin{longtable}") == text.count("\\endhead") == len(parts)
    assert text.count("\\caption{") == text.count("\\label{") == text.count("\\endfirsthead") == 1
    assert "\\begin{table}" not in text


# Text stays text -------------------------------------------------------------------------------------------------

NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=20) | st.sampled_from(HOSTILE)


@given(st.lists(NAMES, min_size=1, max_size=3))
def test_csv_cells_are_never_formulas_and_lose_nothing(names):
    rows = list(csv.reader(io.StringIO(csv_text(table(names)))))[1:]
    for name, (cell, score) in zip(names, rows, strict=True):
        assert score == "-0.5"
        assert not cell.lstrip().startswith(("=", "+", "-", "@"))
        assert cell.removeprefix("'") == clean(name).removeprefix("'")


class Cells(HTMLParser):
    """The text of each cell, and every tag."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.cells, self.tags, self.open = [], set(), False

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag in ("td", "th"):
            self.cells.append("")
            self.open = True

    def handle_endtag(self, tag):
        self.open = self.open and tag not in ("td", "th")

    def handle_data(self, data):
        if self.open:
            self.cells[-1] += data


@given(st.lists(NAMES, min_size=1, max_size=3))
def test_markdown_renders_to_the_same_text(names):
    renderer = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    parser = Cells()
    parser.feed(renderer.render(markdown(table(names))))
    assert parser.cells[:2] == ["Name", "Score"]
    assert [cell.split() for cell in parser.cells[2::2]] == [clean(name).split() for name in names]
    assert parser.tags <= {"h2", "p", "em", "table", "thead", "tbody", "tr", "th", "td"}


ESCAPES = re.compile(
    r"\\(?:textbackslash|textasciitilde|textasciicircum|textless|textgreater|textbar|textasciigrave|char34)\{\}"
    r"|\\[{}$&%#_]|\{[\[\]*]\}|\{\}|\$[-^_]?\^?(?:\\[a-z]+|[-+012])?\$"
)


@given(NAMES)
def test_latex_leaves_no_active_character(name):
    cell = latex(table([name]), "x").split("\\midrule\n", 1)[1].split(" & 1 \\\\", 1)[0]
    rest = ESCAPES.sub("", cell)
    assert not set(rest) & set("\\{}$&%#_^~[]*")


def test_latex_has_no_ligature_of_hyphens():
    assert "a-{}-b & 1" in latex(table(["a--b"]), "x")
    assert "a--b & 1" in latex(table(["a–b"]), "x")
