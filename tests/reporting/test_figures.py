import re
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection
from matplotlib.text import Text

from kdstats.reporting import Results
from kdstats.reporting.figures import COLUMN, PAGE, colours, markers, render, style
from kdstats.reporting.page import FIGURES

EMPTY = pd.DataFrame()


def draw(name, results):
    with style():
        return FIGURES[name](results.tidy())


@pytest.fixture(scope="module")
def drawings(digits):
    return {name: draw(name, digits) for name in FIGURES}


@pytest.fixture(scope="module")
def rendered(report):
    folder = report / "figures"
    return {n: ((folder / f"{n}.svg").read_text("utf-8"), (folder / f"{n}.pdf").read_bytes()) for n in FIGURES}


def texts(svg):
    return [element.text for element in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


# What they show --------------------------------------------------------------------------------------------------


def marks(ax):
    """Positions of lines that are one point each."""
    return [tuple(line.get_xydata()[0]) for line in ax.lines if len(line.get_xdata()) == 1]


def test_inherited_errors_stand_against_inherited_right_answers(drawings):
    plane, _ = drawings["inherited"].figure.axes
    # W .5 and K .4 at alpha 1, so 25 and 20 points at alpha .5
    assert marks(plane) == [pytest.approx(at) for at in ((4, 5), (20, 25), (36, 45))]
    bars = [line.get_xydata().tolist() for line in plane.lines if len(line.get_xdata()) == 2]
    assert [[13, 25], [27, 25]] in [np.round(bar, 9).tolist() for bar in bars]  # K: 20 ± 7
    assert [[20, 17], [20, 33]] in [np.round(bar, 9).tolist() for bar in bars]  # W: 25 ± 8
    assert any(start[0] == start[1] and end[0] == end[1] and start[0] < 0 < end[0] for start, end in bars)
    assert {"α = 0.1", "α = 0.5", "α = 0.9"} <= {text.get_text() for text in plane.texts}


def test_repeated_errors_stand_beside_with_the_interval_of_their_difference(drawings, rendered):
    _, repeated = drawings["inherited"].figure.axes
    assert marks(repeated)[:3] == [(47, 0), (22, 0), (40, 0)]
    bars = [line.get_xdata().tolist() for line in repeated.lines if len(line.get_xdata()) == 2]
    assert bars == [[37, 43]] * 3  # 22 + (18 ± 3), at its own student's 40
    assert "no third answers gained (W = K)" in texts(rendered["inherited"][0])
    assert "the interval of their difference" in drawings["inherited"].caption


def test_without_students_of_another_teacher_the_figure_says_what_is_missing(digits):
    drawing = draw("inherited", replace(digits, inheritance=EMPTY))
    assert drawing.figure is None
    assert "such as kd and kd-other at the same settings" in drawing.caption


def test_inherited_errors_are_estimates_in_points(drawings, digits):
    rows = digits.contrasts[digits.contrasts["metric"] == "inherits_errors"]
    (ax,) = [a for a in drawings["estimates"].figure.axes if "(points)" in a.get_ylabel()]
    assert ax.get_ylabel().split() == ["Inherited", "errors,", "W", "(points)"]
    assert [y for _, y in marks(ax)] == pytest.approx([100 * value for value in rows["estimate"]])
    labels = {" ".join(a.get_ylabel().split()) for a in drawings["estimates"].figure.axes}
    assert "Firmness of errors, θ₀" in labels and "Difference in agreement" in labels


def test_slopes_have_one_line_a_pair(drawings):
    axes = drawings["slopes"].figure.axes
    assert len(axes) == 12  # 3 alphas × (agreement against siddo, rcd, kd-other; accuracy against siddo)
    for ax in axes:
        rises, falls, means = (item for item in ax.collections if isinstance(item, LineCollection))
        assert len(rises.get_segments()) + len(falls.get_segments()) == 20
        assert all(b >= a for (_, a), (_, b) in rises.get_segments())
        assert all(b < a for (_, a), (_, b) in falls.get_segments())
        assert len(means.get_segments()) == 10
    assert "(20 pairs)" in drawings["slopes"].caption


def test_estimates_show_the_declared_rows_and_their_intervals(drawings, digits):
    ax = drawings["estimates"].figure.axes[0]  # agreement against siddo, on this test set
    rows = digits.contrasts[(digits.contrasts["metric"] == "agreement") & (digits.contrasts["kind"] == "confirmatory")]
    rows = rows[(rows["scope_examples"] == "this test set") & (rows["control"] == "siddo")]
    assert len(rows) == 3
    drawn = {round(float(line.get_ydata()[0]), 12) for line in ax.lines if len(line.get_ydata()) == 1}
    assert {round(value, 12) for value in rows["estimate"]} <= drawn
    ends = {tuple(np.round(line.get_ydata(), 12)) for line in ax.lines if len(line.get_ydata()) == 2}
    assert {tuple(np.round(interval, 12)) for interval in rows[["ci_low", "ci_high"]].to_numpy()} <= ends
    assert "95 %" in drawings["estimates"].caption
    assert "negligible" in drawings["estimates"].caption


def test_far_off_exploratory_rows_leave_the_declared_ones_readable(digits):
    far = (digits.contrasts["kind"] == "exploratory") & (digits.contrasts["arm"] == "rcd")
    contrasts = digits.contrasts.assign(estimate=digits.contrasts["estimate"].where(~far, -0.9))
    drawing = draw("estimates", replace(digits, contrasts=contrasts))
    differences = [ax for ax in drawing.figure.axes if ax.get_ylabel().startswith("Difference")]
    assert min(ax.get_ylim()[0] for ax in differences) > -0.1
    assert "6 exploratory rows far off the declared ones: in the tables alone." in drawing.caption


def test_endless_intervals_reach_the_frame_and_the_caption_says_so(digits):
    contrasts = digits.contrasts.assign(ci_low=-np.inf, ci_high=np.inf)
    drawing = draw("estimates", replace(digits, contrasts=contrasts))
    assert "have no end" in drawing.caption
    assert all(np.isfinite(ax.get_ylim()).all() for ax in drawing.figure.axes)


def test_training_curves_show_every_arm(drawings):
    assert [ax.get_title() for ax in drawings["training_curves"].figure.axes] == ["siddo", "kd", "kd-other", "rcd"]


def test_accuracy_has_the_teachers_band(drawings, digits):
    accuracy = digits.scores[(digits.scores["arm"] == "teacher") & (digits.scores["metric"] == "accuracy")]["value"]
    (band,) = drawings["accuracy_agreement"].figure.axes[0].patches
    assert (band.get_x(), band.get_width()) == pytest.approx((accuracy.min(), accuracy.max() - accuracy.min()))
    assert "10 teachers" in drawings["accuracy_agreement"].caption


def test_placebo_is_named(drawings, rendered):
    assert "rcd (placebo)" in texts(rendered["accuracy_agreement"][0])
    assert "placebo" in drawings["accuracy_agreement"].caption


def test_arms_differ_without_colour(digits):
    results = digits.tidy()
    assert len(set(markers(results).values())) == len(markers(results)) == 5
    assert len(set(colours(results).values())) == 5


# How they are made -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FIGURES)
def test_figures_fit_a_paper(drawings, name):
    width, height = drawings[name].figure.get_size_inches()
    assert any(width == pytest.approx(fits) for fits in (COLUMN, PAGE))
    assert height < 9


@pytest.mark.parametrize("name", FIGURES)
def test_svg_stands_alone_and_beside_others(rendered, drawings, name):
    svg, _ = rendered[name]
    root = ElementTree.fromstring(svg)
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    assert all(one.startswith(f"{name}-") for one in ids)
    referenced = set(re.findall(r"url\(#([^)]*)\)", svg)) | set(re.findall(r'href="#([^"]*)"', svg))
    assert referenced <= set(ids)
    assert not re.search(r'href="[^#]', svg)
    assert not {element.tag.split("}")[1] for element in root.iter()} & {"style", "script", "metadata", "image"}
    assert root[0].text == drawings[name].title
    assert root[1].text == drawings[name].caption
    assert len(texts(svg)) > 5  # text is text, not outlines


@pytest.mark.parametrize("name", FIGURES)
def test_pdf_embeds_its_fonts_and_no_date(rendered, name):
    _, pdf = rendered[name]
    assert pdf.startswith(b"%PDF")
    assert b"/FontFile2" in pdf
    assert b"/Type3" not in pdf
    assert b"Date" not in pdf


def test_no_text_is_mathtext(make):
    names = {"siddo": "$x_1$", "kd": "_$\\frac{1}{2}$", "kd-other": "a_{b}$", "rcd": "<b>&amp;"}
    results = make(teachers=4, alphas=(0.5,), rename=names)
    for name in FIGURES:
        drawing = draw(name, results)
        svg, _ = render(name, drawing)
        assert not any(text.get_parse_math() for text in drawing.figure.findobj(Text))
        shown = " ".join(texts(svg))
        if name == "inherited":
            assert "_$\\frac{1}{2}$ − a_{b}$" not in shown and "_$\\frac{1}{2}$" in shown
        elif name == "accuracy_agreement":
            assert {"_$\\frac{1}{2}$", "a_{b}$", "<b>&amp; (placebo)"} <= set(texts(svg))
        elif name == "estimates":
            assert "_$\\frac{1}{2}$ − $x_1$" in shown
        else:
            assert "$x_1$" in shown


@pytest.mark.parametrize("name", FIGURES)
def test_nothing_to_draw_says_why(name):
    drawing = draw(name, Results({}, "0" * 64, {}, [], *[EMPTY] * 6))
    assert drawing.figure is None
    assert drawing.caption.startswith("No ")


@pytest.mark.parametrize(
    "options",
    [
        {"teachers": 1, "seeds": 4},
        {"teachers": 1, "seeds": 1, "hypotheses": False},
        {"alphas": (0.5,)},
        {"alphas": (0.5,), "arms": ("siddo", "kd"), "metrics": ("capa",), "hypotheses": False},
    ],
    ids=["one teacher", "one replicate", "no sweep", "one metric"],
)
def test_small_designs_are_drawn(make, options):
    results = make(**options)
    for name in FIGURES:
        drawing = draw(name, results)
        assert drawing.figure is None or drawing.figure.axes
