"""Conditions over an audit's numbers."""

import contextlib

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdstats.errors import UserError
from kdstats.gate import check

ROWS = [
    ("asymmetry", "headroom", 0.05, -0.1, 0.2, np.nan, ""),
    ("asymmetry", "raw", 0.3, 0.2, 0.4, np.nan, ""),
    ("negative_flip_rate", "value", 0.015, 0.01, 0.02, np.nan, ""),
    ("negative_flip_rate", "excess", np.nan, np.nan, np.nan, np.nan, "there are no controls"),
    ("accuracy", "value", 0.9, 0.88, np.inf, np.nan, ""),
    ("accuracy", "difference", -0.004, -0.012, 0.004, 0.3, ""),
]
MEASURES = pd.DataFrame(
    ROWS, columns=["measure", "estimator", "estimate", "ci_low", "ci_high", "p_value", "note"]
)  # fmt: skip


@pytest.mark.parametrize(
    ("expression", "holds"),
    [
        ("negative_flip_rate <= 0.02", True),
        ("negative_flip_rate <= 2%", True),
        ("negative_flip_rate <= 1pp", False),
        ("negative_flip_rate.value.ci_high < 0.02", False),
        ("asymmetry.headroom.ci_high < 0.1", False),
        ("asymmetry.headroom < 0.1", True),
        ("accuracy.difference.p_value > .05 and accuracy.difference.ci_low > -1.5pp", True),
        ("not (accuracy < .5 or negative_flip_rate > 1)", True),
        ("accuracy - 2 * negative_flip_rate >= (0.87)", True),
        ("(accuracy + 1) / 2 == 0.95", True),
        ("-accuracy.difference<--0.005", True),
        ("accuracy.ci_high > 1e9", True),
        ("accuracy != .9", False),
    ],
)
def test_conditions(expression: str, holds: bool) -> None:
    assert check(expression, MEASURES).passed is holds
    assert check(expression, MEASURES, fail_if=True).passed is not holds


@pytest.mark.parametrize(
    "expression",
    [
        "negative_flip_rate.excess < 1",
        "negative_flip_rate.excess != 1",
        "not negative_flip_rate.excess > 1",
        "accuracy > 0 or negative_flip_rate.excess > 0",
        "accuracy < 0 and negative_flip_rate.excess > 0",
        "asymmetry.headroom.p_value < 2",
        "accuracy / (negative_flip_rate - 0.015) > 0",
    ],
)
def test_what_is_missing_never_passes(expression: str) -> None:
    for fail_if in (False, True):
        outcome = check(expression, MEASURES, fail_if=fail_if)
        assert not outcome.passed and outcome.reason.startswith("not measurable")


@pytest.mark.parametrize(
    ("expression", "sentence"),
    [
        ("acuracy > 1", r"there is no acuracy; did you mean accuracy\?.*negative_flip_rate"),
        ("asymmetry > 1", r"several estimators; name one of asymmetry.headroom, asymmetry.raw"),
        ("asymmetry.headrom > 1", r"asymmetry has no headrom; it has headroom, raw, each with estimate, ci_low"),
        ("accuracy.value.mean > 1", r"accuracy has no value.mean"),
        ("accuracy", r"a comparison is needed here"),
        ("0 < accuracy < 1", r"one comparison at a time"),
        ("(accuracy > 1", r"a \) is missing"),
        ("accuracy > 1)", r"something is left over"),
        ("accuracy > ", r"a number or a name is needed"),
        ("__import__('os').system('x') > 1", r"is not understood|there is no __import__"),
        ("accuracy = 1", r"is not understood"),
        ("", r"an empty condition"),
        ("(" * 60 + "1" + ")" * 60 + " > 0", r"more than 50 parentheses"),
    ],
)
def test_mistakes_show_their_place(expression: str, sentence: str) -> None:
    with pytest.raises(UserError, match=f"(?s){sentence}") as raised:
        check(expression, MEASURES)
    if expression:
        assert str(raised.value).rstrip().endswith("^")


number = st.floats(-1e6, 1e6, allow_nan=False).map(lambda x: round(x, 3))


@given(number, number, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), st.booleans())
def test_comparisons_are_pythons(x: float, y: float, sign: str, fail_if: bool) -> None:
    measures = MEASURES.assign(estimate=x)
    expected = eval(f"x {sign} y", {"x": x, "y": y}) != fail_if  # the oracle: two numbers, our own text
    assert check(f"accuracy {sign} {y!r}", measures, fail_if=fail_if).passed is expected


@given(st.text(max_size=40))
def test_any_text_is_answered(text: str) -> None:
    with contextlib.suppress(UserError):
        check(text, MEASURES)
