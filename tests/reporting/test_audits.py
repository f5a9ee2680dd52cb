import base64
import csv
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from PIL import Image

from kdstats.auditing import Audit, audit
from kdstats.reporting.audits import (
    ANSWERS,
    BELOW,
    FIGURES,
    TABLES,
    files,
    github,
    position,
    reliability,
    tidy,
    where_figure,
)
from kdstats.reporting.figures import COLUMN, PAGE, Drawing, style

THIS, LIKE = "this network, new examples", "networks like these, new examples"
NAN = float("nan")

# A small audit by hand: a teacher with 60 errors in 200 examples, a student, three controls --------------------------

SCORES = {  # measure -> teacher, student, controls
    "accuracy": (0.70, 0.72, (0.65, 0.66, 0.69)),
    "agreement": (NAN, 0.80, (0.60, 0.62, 0.63)),
    "copy_probability": (NAN, 0.50, (0.30, 0.32, 0.34)),
    "positive_transfer": (NAN, 0.90, (0.80, 0.82, 0.84)),
    "negative_transfer": (NAN, 0.40, (0.15, 0.16, 0.20)),
    "relative_negative_flip_rate": (NAN, 0.5, (0.6, 0.7, 0.8)),
    "expected_calibration_error": (0.02, 0.03, (0.04, 0.05, 0.06)),
}
QUESTIONS = ("accuracy", "fidelity", "fidelity", "transfer", "transfer", "flips", "calibration")
MEASURE = (
    "measure", "estimator", "label", "question", "scope", "estimate", "ci_low", "ci_high", "ci_level", "p_value", "n",
    "position", "controls_low", "controls_high", "note",
)  # fmt: skip


def measure(name, estimator, estimate, half, **more):
    given = {
        "measure": name, "estimator": estimator, "label": f"{name}, {estimator}", "question": "transfer", "scope": LIKE,
        "estimate": estimate, "ci_low": estimate - half, "ci_high": estimate + half, "ci_level": 0.95, "p_value": NAN,
        "n": 200, "position": "", "controls_low": NAN, "controls_high": NAN, "note": "", **more,
    }  # fmt: skip
    return {column: given[column] for column in MEASURE}


def hand_made(names=("net",), controls=("c1", "c2", "c3"), **changes):
    roles = [("big", "teacher"), *((name, "student") for name in names), *((name, "control") for name in controls)]
    measures, scores = [], []
    for question, (name, (teacher, student, others)) in zip(QUESTIONS, SCORES.items(), strict=True):
        about = {"question": question, "scope": THIS}
        measures.append(measure(name, "value", student, 0.02, **about))
        others = others[: len(controls)]
        low, high = (min(others), max(others)) if others else (NAN, NAN)
        note = "" if controls else "there are no controls"
        excess = student - np.mean(others) if others else NAN
        place = {"position": "1 of 4" if controls else "", "controls_low": low, "controls_high": high, "note": note}
        measures.append(measure(name, "excess", excess, 0.05, **about | {"scope": LIKE} | place))
        for (network, role), value in zip(roles, [teacher, *[student] * len(names), *others], strict=True):
            if not np.isnan(value):
                scores.append({"network": network, "role": role, "measure": name, "value": value, "note": ""})
    measures.append(measure("accuracy", "difference", 0.02, 0.05, question="accuracy", p_value=0.25, note="McNemar"))
    if controls:
        measures.append(measure("copy_probability", "share", 0.25, 0.1, question="fidelity"))
        measures.append(measure("asymmetry", "raw", 0.2, 0.15, note="a label"))
    for estimator, value in (("made", 60), ("own", 24), ("other", 10.2), ("more", 13.8)):
        there = value if controls or estimator in ("made", "own") else NAN
        measures.append(measure("repeated_errors", estimator, there, 3, question="inheritance"))
    counts = {"n_correct": 140, "n_wrong": 60}
    pairs = [(name, control) for name in names for control in [*controls, "mean of controls"]] if controls else []
    transfers = [
        {"student": name, "control": control, **counts, "repaired": 20.0, "broken": 6.5, "infected": 18.0, "cured": 3.0,
         "net_repaired": 13.5, "net_infected": 15.0}
        for name, control in pairs
    ]  # fmt: skip
    if controls:
        own = {
            "repaired": 10.0,
            "broken": 10.0,
            "infected": 5.0,
            "cured": 5.0,
            "net_repaired": 0.0,
            "net_infected": 0.0,
        }
        transfers.append({"student": "a control in its place", "control": "mean of controls", **counts, **own})
    where = [
        {"by": by, "level": level, "measure": of, "estimator": "difference" if of == "accuracy" else "excess",
         "n": 50, "estimate": value, "ci_low": low, "ci_high": high, "ci_level": 0.99, "p_value": p, "p_adjusted": p,
         "note": "" if low == low else "too few"}
        for by, level, of, value, low, high, p in [
            ("class", "0", "accuracy", 0.10, 0.02, 0.20, 0.04),
            ("class", "1", "accuracy", 0.05, -0.10, 0.20, 0.60),
            ("class", "0", "negative_transfer", 0.30, 0.10, 0.50, NAN),
            ("class", "1", "negative_transfer", 0.20, NAN, NAN, NAN),
            ("group site", "north", "accuracy", -0.20, -0.30, -0.10, 0.01),
        ]
        if controls or of == "accuracy"
    ]  # fmt: skip
    inherited = [
        {"rank": i + 1, "student": names[0], "row": 10 + i, "id": f"img{i}", "label": 1, "predicted": 2,
         "controls_same": same if controls else NAN, "n_controls": len(controls),
         "n_comparable": 1.5 if controls else NAN, "n_expected": 0.5 if controls else NAN,
         "all_agree": bool(controls) and same == 3, "note": ""}
        for i, same in enumerate((0, 1, 3))
    ]  # fmt: skip
    calibration = [
        {"network": network, "role": role, "bin": b, "low": b / 15 - 1 / 15, "high": b / 15, "n": n, "confidence": x,
         "accuracy": x - 0.1}
        for network, role in roles
        for b, n, x in ((9, 9, 0.57), (12, 40, 0.77), (15, 151, 0.98))
    ]  # fmt: skip
    given = {
        "networks": pd.DataFrame(
            {"name": [n for n, _ in roles], "role": [r for _, r in roles], "source": "/home/me/runs/made.npz:logits",
             "kind": "logits", "detected": "read as logits", "n": 200, "accuracy": 0.7}
        ),
        "scores": pd.DataFrame(scores),
        "measures": pd.DataFrame(measures, columns=list(MEASURE)),
        "verdicts": pd.DataFrame(
            [("Accuracy against the teacher", "equivalent", "It lies within 5 points.", 0.01, 0.02),
             ("The teacher's errors", "more than controls", "It makes more of them: +23 points.", 0.001, 0.002)],
            columns=["question", "verdict", "sentence", "p_value", "p_adjusted"],
        ),
        "transfers": pd.DataFrame(transfers),
        "flips": pd.DataFrame(
            [{"student": n, "harmful": 14, "beneficial": 18, "neutral": 18, "same": 150, "n": 200,
              "mcnemar_exact": 0.25, "mcnemar_mid_p": 0.2} for n in names]
        ),
        "where": pd.DataFrame(where),
        "confusions": pd.DataFrame(
            [{"label": 1, "predicted": 2, "teacher_errors": 12, "student_same": 9.0,
              "controls_same": 2.5 if controls else NAN, "excess": 0.5, "ci_low": 0.1, "ci_high": 0.9,
              "ci_level": 0.95, "note": ""}]
        ),
        "inherited": pd.DataFrame(inherited),
        "calibration": pd.DataFrame(calibration),
        "settings": {
            "margin": 0.05, "control_kind": "plain", "controls_exchangeable": False, "primary": "negative_transfer",
            "paired": False, "level": 0.05, "seed": 0, "n": 200, "classes": 3, "students": len(names),
            "controls": len(controls), "pairs": 0, "control_teacher": None,
        },
        "provenance": {"kdstats": "0.1.0", "sha256": {"/home/me/runs/made.npz": "ab" * 32}},
    }  # fmt: skip
    settings = given["settings"] | changes.pop("settings", {})
    return Audit(**given | {"settings": settings} | changes)


GATES = [
    SimpleNamespace(expression="inherits_errors.ci_high < 0.1", passed=False, reason="ci_high is 0.45"),
    SimpleNamespace(expression="negative_flip_rate <= 10pp", passed=True, reason="it is 0.07"),
]


class Page(HTMLParser):
    """Tags with their attributes, and the text under each."""

    VOID = ("meta", "br", "link", "img", "input", "hr")

    def __init__(self, source):
        super().__init__(convert_charrefs=True)
        self.tags, self.text, self.stack = [], [], []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag, tag

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text.append((tuple(self.stack), data))

    def words(self):
        return " ".join("".join(data for stack, data in self.text if "style" not in stack).split())


def page_of(written):
    return Page(written["index.html"].decode())


def draw(name, found):
    with style():
        return FIGURES[name](tidy(found))


def said(name, found):
    """The sentences of an answer, and how they are read."""
    answer = next(answer for answer in ANSWERS if answer.key == name)
    found = tidy(found)
    return " ".join([*answer.says(found), answer.reading(found)])


@pytest.fixture
def undrawn(monkeypatch):
    """Reports without figures, which take most of the time."""
    for name in FIGURES:
        monkeypatch.setitem(FIGURES, name, lambda found: Drawing("undrawn", ""))


@pytest.fixture(scope="module")
def written():
    return files(hand_made(), GATES)


# Files -----------------------------------------------------------------------------------------------------------


def test_every_table_and_figure_is_written(written):
    assert next(iter(written)) == "index.html"
    tables = {f"tables/{name}.{kind}" for name in TABLES for kind in ("csv", "md", "tex")}
    figures = {f"figures/{name}.{kind}" for name in FIGURES for kind in ("svg", "pdf")}
    assert set(written) == {"index.html", "figures/captions.md"} | tables | figures
    frames = ("measures", "verdicts", "transfers", "flips", "where", "confusions", "inherited", "calibration")
    assert {*frames, "networks", "scores"} <= set(TABLES)


def test_same_audit_same_bytes_no_dates_no_paths(written):
    assert files(hand_made(), GATES) == written
    for name, data in written.items():
        if not name.endswith(".pdf"):
            assert not re.search(r"20\d\d-\d\d-\d\d|/home|runs/", data.decode()), name


def test_csv_holds_the_typed_rows(written):
    rows = {
        (row["measure"], row["estimator"]): row
        for row in csv.DictReader(io.StringIO(written["tables/measures.csv"].decode()))
    }
    assert float(rows["negative_transfer", "value"]["ci_low"]) == pytest.approx(0.38)
    assert rows["asymmetry", "raw"]["p_value"] == ""
    assert rows["accuracy", "difference"]["note"] == "McNemar"
    (network, *_) = csv.DictReader(io.StringIO(written["tables/networks.csv"].decode()))
    assert network["source"] == "made.npz:logits"


# The page --------------------------------------------------------------------------------------------------------


def test_page_is_well_formed_accessible_and_self_contained(written):
    page = page_of(written)
    assert page.stack == []
    assert not {tag for tag, _ in page.tags} & {"script", "link", "img", "iframe", "object"}
    policy = next(attrs["content"] for tag, attrs in page.tags if tag == "meta" and "http-equiv" in attrs)
    assert policy == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    assert b'<meta name="generator" content="kdstats">' in written["index.html"]  # so that it may be replaced
    tags = [tag for tag, _ in page.tags]
    assert tags.count("h1") == tags.count("main") == 1
    assert tags.count("caption") == tags.count("table") == len(TABLES) - 1  # the verdicts are a list
    assert tags.count("figcaption") == tags.count("svg") == len(FIGURES)
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    for _, attrs in page.tags:
        for name in ("href", "xlink:href"):
            target = attrs.get(name, "#verdicts")
            assert target[1:] in ids if target.startswith("#") else target in written, target


def test_every_table_and_figure_has_a_place():
    placed = [name for answer in ANSWERS for name in answer.tables] + [*BELOW, "verdicts", "networks"]
    assert sorted(placed) == sorted(TABLES)
    assert sorted(name for answer in ANSWERS for name in answer.figures) == sorted(FIGURES)


def test_page_reads_from_verdicts_to_provenance(written):
    page = page_of(written)
    sections = [attrs["id"] for tag, attrs in page.tags if tag == "section" and not attrs["id"].startswith("table-")]
    answers = ["fidelity", "inheritance", "transfer", "flips", "where", "inherited", "calibration"]
    assert sections == ["verdicts", "scope", "gate", *answers, "tables", "missing", "made"]
    words = page.words()
    for sentence in (
        "= equivalent Accuracy against the teacher",
        "It lies within 5 points.",
        "! more than controls The teacher's errors",
        "It makes more of them: +23 points.",
        "nothing here says what was inherited",
        "Numbers against controls speak of networks like these",
        "Nothing here speaks of the method",
        "all verdicts together, which are one family (Holm)",
        "Gate: 1 of 2 conditions failed ✗ failed inherits_errors.ci_high < 0.1",
        "ci_high is 0.45",
        "✓ passed negative_flip_rate <= 10pp",
        "--fail-if '… ci_low > 0' passes small samples",
        "What could not be measured fails either form",
        f"sha256 {'ab' * 32}",
    ):
        assert sentence in words


def test_answers_have_the_numbers():
    found = hand_made()
    for key, sentence in {
        "fidelity": "teacher's answer on 80.0 [78.0, 82.0] % of the examples; its controls do so on 60.0 to 63.0 %.",
        "transfer": "the teacher is wrong (60 examples) the student gives its wrong answer on 40.0 [38.0, 42.0] %,"
        " its controls on 15.0 to 20.0 %: a difference of 23.0 [18.0, 28.0] points.",
        "flips": "Of 200 examples the student loses 14 that its teacher has right (harmful), gains 18 that it has wrong"
        " (beneficial), and gives another wrong answer on 18 (neutral).",
        "inherited": "2 errors of the teacher are repeated by the student and by fewer than half of the controls."
        " Against 2 controls it has 1.5 on average, a control in its place 0.5. On 1 example all networks",
        "calibration": "(ECE) is 0.030 [0.010, 0.050]; its teacher's 0.020 and that of its controls 0.040 to 0.060.",
    }.items():
        assert sentence in said(key, found)
    assert "Set against its controls, it has 20.0 repaired, 6.5 broken, 18.0 infected and 3.0 cured." in said(
        "transfer", found
    )
    assert "has 10 repaired, 10 broken, 5 infected and 5 cured" in said("transfer", found)
    where = said("where", found)
    assert "in 2 of 3 parts of the test set, corrected: group site north (" in where  # .04 and .01; .60 is not
    assert "controls in 1 of 2 parts of the test set, corrected: class 0 (30 [10, 50] points)" in where
    assert "1 taken for 2 (9 of 12, a control 2.5)" in where


def test_each_kind_of_control_says_what_it_may():
    for kind, words in (
        ("plain", "nothing here says what was inherited"),
        ("neutral", "beyond this regularisation"),
        ("kd-other", "no more than its teacher's quality"),
    ):
        found = hand_made(settings={"control_kind": kind})
        assert words in said("transfer", found)
        assert ("labels alone, as far as is said" in github(found)) == (kind == "plain")


@pytest.mark.parametrize(
    ("kind", "who"),
    [
        ("plain", "a control trained on labels alone"),
        ("neutral", "a control of the same regularisation without a teacher"),
        ("kd-other", "a student of another teacher"),
    ],
)
def test_repeated_errors_come_first_of_what_is_inherited(kind, who):
    found = said("inheritance", hand_made(settings={"control_kind": kind}))
    expected = f"Of the teacher's 60 errors a student repeats 24.0; {who} 10.2, difference 13.8 [10.8, 16.8]."
    assert found.startswith(expected), found
    assert said("inheritance", hand_made(controls=())).startswith("Of the teacher's 60 errors a student repeats 24.0.")


def test_a_declaration_is_named_with_its_floor():
    words = github(hand_made(settings={"controls_exchangeable": True}))
    assert "rests on a declaration" in words
    assert "a rank among 4 networks and cannot be smaller than 0.25" in words


def test_without_controls_it_is_said_what_cannot_be():
    found = hand_made(controls=())
    written = files(found)
    assert {name for name in written if name.endswith(".svg")} == {"figures/where.svg", "figures/reliability.svg"}
    words = page_of(written).words()
    for sentence in (
        "it cannot be said what the student took over from it",
        "is 0.500 [0.480, 0.520]: an upper bound",
        "Not measurable. Two networks trained apart",
        "3 of the teacher's errors are the student's too. Which of them it would make without this teacher cannot be",
        "No condition was set.",
        "agreement.excess, copy_probability.excess",
        "there are no controls",
    ):
        assert sentence in words
    assert "Student − controls" not in written["tables/answer_fidelity.md"].decode()
    assert not re.search(r"\bnan\b", words, flags=re.I)


def test_one_control_is_called_too_few():
    found = hand_made(controls=("c1",))
    transfers = found.transfers[found.transfers["control"] == "c1"]
    found = replace(found, transfers=transfers)
    assert "One control does not show how controls differ" in github(found)
    assert "it has 20.0 repaired" in said("transfer", found)
    assert "Set against its control, it" in said("transfer", found)
    assert len(draw("transfer", found).figure.axes[0].containers) == 1


def test_labels_alone_have_no_calibration(undrawn):
    found = hand_made()
    lacking = found.measures["measure"] == "expected_calibration_error"
    gone = {"estimate": NAN, "ci_low": NAN, "ci_high": NAN, "note": "needs probabilities"}
    found = replace(
        found, measures=found.measures.assign(**{k: found.measures[k].mask(lacking, v) for k, v in gone.items()}),
        calibration=found.calibration.iloc[:0],
    )  # fmt: skip
    assert "Not measurable: the student's predictions hold labels alone" in said("calibration", found)
    assert reliability(tidy(found)).figure is None
    words = page_of(files(found)).words()
    names = "expected_calibration_error.value and expected_calibration_error.excess"
    assert f"{names}: needs probabilities" in words
    assert "Interval in 1 part of the test set: too few" in words


def test_several_students_are_averaged():
    found = hand_made(names=("s1", "s2"))
    found.transfers.loc[found.transfers["student"] == "s2", "repaired"] = 30.0
    assert "it has 25.0 repaired, 6.5 broken" in said("transfer", found)
    assert "as means over students" in said("flips", found)
    assert "McNemar" not in said("flips", found)
    assert "networks like these 2 on new examples" in github(found)
    assert "Audit of s1 and s2" in github(found)


def test_long_tables_are_cut_on_the_page_alone():
    found = hand_made()
    inherited = pd.concat([found.inherited] * 50, ignore_index=True)
    classes = pd.concat([found.where[:1].assign(level=str(i), estimate=i / 100, ci_low=i / 100 - 0.1,
                                                ci_high=i / 100 + 0.1) for i in range(30)])  # fmt: skip
    found = tidy(replace(found, inherited=inherited, where=classes))
    table = TABLES["inherited"](found)
    assert (len(table.rows), len(table.data)) == (100, 150)
    assert table.caption.endswith("100 of 150 lines; the CSV file has all.")
    table = TABLES["where"](found)
    assert table.shown["Part"] == [str(i) for i in range(10, 30)]  # the clearest: the largest for equal intervals
    assert "20 of 30 lines" in table.caption
    drawing = draw("where", found)
    assert [text.get_text() for text in drawing.figure.axes[0].get_yticklabels()] == [str(i) for i in range(18, 30)]
    assert "Of more than 12 parts the 12 that are clearest" in drawing.caption


def test_numbers_have_a_line_a_measure():
    table = TABLES["answer_accuracy"](tidy(hand_made()))
    assert table.shown["Measure"] == ["accuracy, value", "relative_negative_flip_rate, value"]
    assert table.shown["Estimate"][0] == "0.720 [0.700, 0.740]"
    assert table.shown["Student − teacher"] == ["0.020 [−0.030, 0.070]", "–"]
    assert table.shown["Controls"][0] == "0.650 to 0.690"
    assert table.shown["Position"][0] == "1 of 4"
    assert table.shown["p"] == ["0.250", "–"]


# Figures ---------------------------------------------------------------------------------------------------------


def test_position_has_every_control_and_the_student_with_its_interval():
    figure = draw("position", hand_made()).figure
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    ax = figure.axes[titles.index("accuracy, value")]
    by_marker = {line.get_marker(): list(line.get_xdata()) for line in ax.lines}
    assert by_marker["o"] == [0.65, 0.66, 0.69]
    assert by_marker["|"] == [0.70]
    assert by_marker["D"] == [0.72]
    assert by_marker["None"] == pytest.approx([0.70, 0.74])
    assert ax.get_title(loc="right") == "1 of 4"


def test_transfer_has_the_counts_of_student_and_control():
    upper, lower = draw("transfer", hand_made()).figure.axes
    widths = [[bar.get_width() for bar in ax.patches if isinstance(bar, Rectangle)] for ax in (upper, lower)]
    assert widths == [[20.0, 6.5, 10.0, 10.0], [18.0, 3.0, 5.0, 5.0]]


def test_where_is_filled_where_significant():
    figure = draw("where", hand_made()).figure
    accuracy = {}
    for ax in figure.axes:
        for line in ax.lines:
            if line.get_marker() == "o":
                name = ax.yaxis.get_major_formatter()(line.get_ydata()[0])
                measure = "accuracy" if ax.get_title(loc="left") else "errors"
                accuracy[name, measure] = line.get_xdata()[0], to_hex(line.get_markerfacecolor()) != "#ffffff"
    assert accuracy == {
        ("0", "accuracy"): (10.0, True),
        ("1", "accuracy"): (5.0, False),
        ("0", "errors"): (30.0, True),  # its interval is above 0
        ("1", "errors"): (20.0, False),  # it has none
        ("north", "accuracy"): (-20.0, True),
    }


def test_reliability_leaves_out_bins_of_few():
    ax = draw("reliability", hand_made()).figure.axes[0]
    curves = [(to_hex(line.get_color()), list(line.get_xdata())) for line in ax.lines[1:]]
    assert [x for _, x in curves] == [[0.77, 0.98]] * 5  # 9 examples at .57
    assert [colour for colour, _ in curves] == ["#bdbdbd"] * 3 + ["#000000", "#0173b2"]


def test_endless_intervals_reach_the_end_of_their_axis():
    found = hand_made()
    agreement = (found.measures["measure"] == "agreement") & (found.measures["estimator"] == "value")
    found.measures["ci_high"] = found.measures["ci_high"].where(~agreement, np.inf)
    ax = draw("position", found).figure.axes[1]  # accuracy, agreement, …
    (interval,) = [line for line in ax.lines if line.get_color() == "#0173b2" and line.get_marker() == "None"]
    assert list(interval.get_xdata()) == pytest.approx([0.78, ax.get_xlim()[1]])


LONG = "a network with a very long name that goes on and on, and on"


@pytest.mark.parametrize("name", list(FIGURES))
def test_figures_fit_a_paper(name):
    found = hand_made(names=(LONG,), controls=(f"{LONG} 1", f"{LONG} 2", f"{LONG} 3"))
    found = replace(found, where=found.where.replace({"0": LONG, "group site": f"group {LONG}"}))
    figure = draw(name, found).figure
    assert figure.get_figwidth() in (COLUMN, PAGE)
    assert figure.get_figheight() < 9
    figure.canvas = FigureCanvasAgg(figure)
    figure.canvas.draw()
    drawn, whole = figure.get_tightbbox(), figure.bbox_inches
    assert min(drawn.x0 - whole.x0, drawn.y0 - whole.y0, whole.x1 - drawn.x1, whole.y1 - drawn.y1) > -0.01
    assert all(text.get_fontsize() >= 6 for text in figure.findobj(Text))
    for ax in figure.axes:  # nothing above an axis runs into what stands beside it
        left, right = (title.get_window_extent() for title in (ax._left_title, ax._right_title))
        assert not ax.get_title(loc="right") or left.x1 < right.x0


# Pictures --------------------------------------------------------------------------------------------------------


def pictures(found):
    tags = [attrs for tag, attrs in page_of(files(found)).tags if tag == "img"]
    decoded = [base64.b64decode(attrs["src"].removeprefix("data:image/png;base64,")) for attrs in tags]
    return [np.asarray(Image.open(io.BytesIO(data))) for data in decoded], [attrs["alt"] for attrs in tags]


def test_pictures_of_inherited_errors_are_in_the_page(undrawn):
    images = np.zeros((3, 3, 2, 4), np.uint8)
    images[:, :, 0, 3] = [[10, 20, 30], [40, 50, 60], [70, 80, 90]]
    shown, names = pictures(hand_made(images=images))
    assert names == ["example img0", "example img1", "example img2"]  # the last: all networks agree
    assert [picture.shape for picture in shown] == [(2, 4, 3)] * 3
    assert [picture[0, 3].tolist() for picture in shown] == images[:, :, 0, 3].tolist()


def test_large_pictures_shrink_and_grey_ones_stay(undrawn):
    images = np.full((3, 300, 150), 77, np.uint8)
    shown, _ = pictures(hand_made(images=images))
    assert shown[0].shape == (96, 48)
    assert np.unique(shown[0]).tolist() == [77]


# What a name may hold --------------------------------------------------------------------------------------------

HOSTILE = [
    "<script>alert(1)</script>",
    "$x_1$",
    "=1+1",
    "</pre><img src=x onerror=alert(1)>",
    "_a|b`{{ 7*7 }}\x00\ud800",
]


def test_hostile_names_stay_text_in_every_file(undrawn, monkeypatch, python_strings):
    monkeypatch.setitem(FIGURES, "where", where_figure)
    found = hand_made(names=(HOSTILE[0],), controls=(HOSTILE[1], HOSTILE[2], HOSTILE[4]))
    where = found.where.replace({"0": HOSTILE[0], "north": HOSTILE[1], "group site": f"group {HOSTILE[3]}"})
    inherited = found.inherited.assign(id=HOSTILE[:3])
    gates = [SimpleNamespace(expression=HOSTILE[3] + "|", passed=False, reason=HOSTILE[4])]
    found = replace(found, where=where, inherited=inherited, provenance={HOSTILE[0]: HOSTILE[3]})
    written = files(found, gates)
    page = page_of(written)
    assert page.stack == []
    assert not {tag for tag, _ in page.tags} & {"script", "img"}
    assert not any(name.startswith("on") for _, attrs in page.tags for name in attrs)
    assert all(name in page.words() for name in HOSTILE[:4])
    for name, data in written.items():
        text = data.decode() if not name.endswith(".pdf") else ""
        if name.endswith(".csv"):
            assert not any(cell[:1] in "=+@" and cell for row in csv.reader(io.StringIO(text)) for cell in row)
        elif name.endswith((".md", ".svg")):
            assert not re.search(r"<script|<img", text), name
        elif name.endswith(".tex"):
            assert not re.search(r"(?<!\\)\$x|<script", text), name
    svg = written["figures/where.svg"].decode()
    texts = [element.text for element in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]
    assert "$x_1$" in texts
    assert "<script>alert(1)</scrip…" in texts or "<script>alert(1)</scri…" in texts
    summary = github(found, gates)
    assert not re.search(r"<script|<img", summary)
    (line,) = [line for line in summary.splitlines() if "**failed**" in line]
    assert len(re.findall(r"(?<!\\)\|", line)) == 4  # three cells


def test_empty_tables_are_said_to_be_empty():
    found = hand_made()
    nothing = {
        name: getattr(found, name).iloc[:0]
        for name in ("scores", "measures", "verdicts", "transfers", "flips", "where", "confusions", "inherited",
                     "calibration")
    }  # fmt: skip
    written = files(replace(found, **nothing))
    assert page_of(written).stack == []
    assert not [name for name in written if name.endswith(".svg")]
    assert "Everything was measured" in page_of(written).words()
    assert github(replace(found, **nothing)).startswith("# Audit of net\n")


# The summary -----------------------------------------------------------------------------------------------------


def test_summary_has_verdicts_gate_and_numbers():
    text = github(hand_made(), GATES)
    lines = text.splitlines()
    assert lines[0] == "# Audit of net"
    assert "- **equivalent**: It lies within 5 points." in lines
    assert "## Gate: 1 of 2 conditions failed" in lines
    assert "| **failed** | <code>inherits\\_errors.ci\\_high &lt; 0.1</code> | ci\\_high is 0.45 |" in lines
    (row,) = [line for line in lines if line.startswith("| negative\\_transfer, value |")]
    assert "0.400 \\[0.380, 0.420\\]" in row
    assert "## Gate" not in github(hand_made())


def test_a_real_audit_has_what_the_report_needs(undrawn, monkeypatch):
    monkeypatch.setitem(FIGURES, "position", position)
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 3, 150)
    teacher, student, *controls = (np.where(rng.random(150) < 0.7, labels, rng.integers(0, 3, 150)) for _ in range(5))
    found = audit(teacher, student, labels, controls, groups={"half": np.arange(150) % 2}, margin=0.1)
    written = files(found)
    words = page_of(written).words()
    assert all(sentence in words for sentence in found.verdicts["sentence"])
    assert "figures/position.svg" in written
    assert "needs probabilities" in words
