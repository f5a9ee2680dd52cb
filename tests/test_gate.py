"""Conditions of a release: Python's comparisons, nothing that passes without a number, nothing that runs code."""

import ast
import json
import math
import re
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kdstats.errors import UserError
from kdstats.gate import FIELDS, LONGEST, check, check_syntax

NAN = math.nan


def table(rows):
    """(measure, estimator) or (measure, estimator, note) -> its four numbers."""
    return pd.DataFrame(
        [
            {"measure": key[0], "estimator": key[1], "note": "".join(key[2:]), **dict(zip(FIELDS, four, strict=True))}
            for key, four in rows.items()
        ]
    )


AUDIT = table(
    {
        ("accuracy", "value"): (0.9, 0.88, 0.92, NAN),
        ("accuracy", "difference"): (-0.004, -0.009, 0.001, 0.11),
        ("negative_flip_rate", "value"): (0.02, 0.015, 0.026, NAN),
        ("asymmetry", "headroom"): (0.05, -0.21, 0.31, NAN),
        ("inherits_errors", "by_class"): (0.05, -0.21, 0.31, 0.4),
        ("inherits_errors", "balanced"): (0.07, 0.01, 0.13, 0.02),
        ("copy_probability", "excess", "there are no controls"): (NAN, NAN, NAN, NAN),
        ("infinite", "value"): (math.inf, -math.inf, math.inf, 0.0),
    }
)

finite = st.floats(-1e9, 1e9)
WORDS = ("(", ")", "not", "and", "or", "-", "+", "*", "/", "<", "<=", "==", "accuracy", "1", "2%", ".", "e5")
comparisons = st.sampled_from(["<", "<=", ">", ">=", "==", "!="])


def two(a, b):
    return table({("a", "value"): (a, NAN, NAN, NAN), ("b", "value"): (b, NAN, NAN, NAN)})


def refusal(expression, measures=AUDIT):
    with pytest.raises(UserError) as error:
        check(expression, measures)
    return str(error.value)


# What holds ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "holds"),
    [
        ("accuracy >= 0.9", True),
        ("accuracy > 0.9", False),
        ("accuracy.value.estimate == 90%", True),
        ("accuracy.ci_low < 0.88", False),
        ("accuracy.difference > -0.5pp", True),
        ("accuracy.difference.ci_low > -.5 pp", False),
        ("negative_flip_rate <= 0.02", True),
        ("negative_flip_rate <= 2%", True),
        ("inherits_errors.by_class.ci_high < 0.1", False),
        ("inherits_errors.by_class.p_value > 5e-2 and inherits_errors.balanced.p_value < 0.05", True),
        ("not accuracy < 0.5", True),
        ("not not accuracy < 0.5", False),
        ("accuracy < 0.5 or accuracy > 0.8 and accuracy > 0.95", False),
        ("(accuracy > 0.8 or accuracy < 0.5) and accuracy < 0.95", True),
        ("accuracy > 0.8 or accuracy < 0.5 and accuracy > 0.95", True),  # and binds closer
        ("not accuracy < 0.5 and accuracy > 0.95", False),  # not binds closer still
        ("0.8 < accuracy < 0.95", True),
        ("0.8 < accuracy < 0.85", False),
        ("0.95 < accuracy < 2", False),
        ("accuracy.ci_high - accuracy.ci_low < 0.041", True),
        ("accuracy - accuracy.difference == 0.904", True),
        ("1 - 0.5 - 0.25 < 0.3 * accuracy", True),
        ("2 + 3 * accuracy > 4.69", True),
        ("8 ÷ 4 ÷ 2 × accuracy − 0 == 0.9", True),
        ("-accuracy < - -0.1", True),
        ("infinite.ci_high > 1e300 and infinite.ci_low < 0", True),
        ("\taccuracy\n>\t0.8 ", True),
    ],
)
def test_conditions_worked_by_hand(expression, holds):
    assert check(expression, AUDIT).passed is holds
    assert check(expression, AUDIT, fail_if=True).passed is not holds
    assert check(expression, AUDIT).expression == expression


def test_points_are_hundredths_exactly():
    for text, value in (("0.7pp", 0.007), ("2.9%", 0.029), ("57%", 0.57), (".3 pp", 0.003), ("1.%", 0.01)):
        assert check(f"a == {text}", two(value, 0)).passed


def test_the_numbers_that_were_read_are_the_reason():
    assert check("inherits_errors.by_class.ci_high < 0.1", AUDIT).reason == "inherits_errors.by_class.ci_high is 0.31"
    both = "accuracy is 0.9, accuracy.ci_low is 0.88"
    assert check("accuracy > 0 or accuracy.ci_low > 0 or accuracy > 1", AUDIT).reason == both
    assert check("accuracy > 0", AUDIT, fail_if=True).reason == "must not hold: accuracy is 0.9"


@given(finite, comparisons, finite)
def test_comparisons_are_pythons(a, sign, b):
    expected = {"<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b, "==": a == b, "!=": a != b}[sign]
    assert check(f"a {sign} b", two(a, b)).passed is expected
    assert check(f"a {sign} {b!r}", two(a, b)).passed is expected
    assert check(f"{a!r} {sign} b", two(a, b)).passed is expected
    assert check(f"not a {sign} b", two(a, b)).passed is not expected


def numbers():
    leaf = st.sampled_from(["a", "b"]) | st.floats(0, 9).map(repr)
    return st.recursive(
        leaf,
        lambda inner: (
            st.tuples(inner, st.sampled_from("+-*/"), inner).map(" ".join)
            | inner.map("({})".format)
            | inner.map("-{}".format)
        ),
        max_leaves=6,
    )


def conditions():
    leaf = st.tuples(numbers(), comparisons, numbers()).map(" ".join)
    chain = st.tuples(numbers(), comparisons, numbers(), comparisons, numbers()).map(" ".join)
    return st.recursive(
        leaf | chain,
        lambda inner: (
            st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(" ".join)
            | inner.map("({})".format)
            | inner.map("not {}".format)
        ),
        max_leaves=4,
    )


@given(conditions(), st.integers(-3, 3), st.integers(-3, 3))
def test_whole_conditions_are_pythons(text, a, b):
    assume(re.search(r"\b[ab]\b", text))
    try:
        # the reference computes every part, as the gate does: `1 / 0` after a true `or` counts
        expected = eval(text, {"a": float(a), "b": float(b)})
        everything = [eval(part, {"a": float(a), "b": float(b)}) for part in _parts(text)]
    except ZeroDivisionError:
        assert "not measurable" in check(text, two(a, b)).reason
        return
    if any(math.isnan(value) for value in everything):
        assert not check(text, two(a, b)).passed
        return
    assert check(text, two(a, b)).passed is expected


def _parts(text):
    """Every arithmetic expression of a condition, by Python's own reading."""
    return [ast.unparse(node) for node in ast.walk(ast.parse(text, mode="eval")) if isinstance(node, ast.BinOp)]


# What does not exist ---------------------------------------------------------------------------------------------


@given(conditions(), st.sampled_from(["{} and {}", "{} or {}", "({}) or not ({})", "not ({}) and {}"]), st.booleans())
def test_what_touches_a_missing_value_never_passes(text, joined, fail_if):
    missing = table({("a", "value"): (1,) * 4, ("b", "value"): (2,) * 4, ("c", "value", "too few"): (NAN,) * 4})
    for part in ("c < 1", "c != 1", "not c == 1", "c - c == 0", "c != c", "0 * c == 0", "c < 1 or a == a"):
        for expression in (joined.format(text, part), joined.format(part, text)):
            for outcome in (check(part, missing, fail_if=fail_if), check(expression, missing, fail_if=fail_if)):
                assert not outcome.passed
                assert outcome.reason.startswith("not measurable: ")
                assert "c has no value (too few)" in outcome.reason


@pytest.mark.parametrize("missing", [None, NAN, np.float64("nan"), pd.NA])
def test_every_way_to_be_missing(missing):
    measures = two(1.0, 2.0).astype(object)
    measures.loc[0, "p_value"] = missing
    for fail_if in (False, True):
        assert check("a.p_value < 0.05 or a == 1", measures, fail_if=fail_if).reason == (
            "not measurable: a.p_value has no value"
        )


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("1 / (a - 1) > 0", "1 / 0 has no value"),
        ("1 / (a - 1) > 0 or a == 1", "1 / 0 has no value"),
        ("infinite - infinite == 0", "inf - inf has no value"),
        ("0 * infinite < 1", "0 * inf has no value"),
        ("1 / infinite < 0.1", "1 / inf has no value"),
    ],
)
def test_arithmetic_without_a_value_is_not_measurable(expression, why):
    measures = pd.concat([AUDIT, two(1.0, 2.0)], ignore_index=True)
    for fail_if in (False, True):
        outcome = check(expression, measures, fail_if=fail_if)
        assert (outcome.passed, outcome.reason) == (False, f"not measurable: {why}")


# What is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "at", "says"),
    [
        ("", 0, "a number, a name or ( is needed, and the condition ends"),
        ("   ", 3, "the condition ends"),
        ("accuracy", 0, "needs a comparison"),
        ("accuracy >", 10, "and the condition ends"),
        ("accuracy > > 1", 11, "there is >"),
        ("accuracy = 1", 9, "write =="),
        ("accuracy > 1 && accuracy < 2", 13, "write and"),
        ("!accuracy > 1", 0, "write not"),
        ("accuracy ≤ 1", 9, "write <="),
        ("accuracy > 1 accuracy < 2", 13, "there is accuracy"),
        ("(accuracy > 1", 13, "a closing )"),
        ("accuracy > 1)", 12, "there is )"),
        ("accuracy > 0.5ppx", 14, "there is ppx"),
        ("accuracy and accuracy > 1", 0, "and needs a comparison"),
        ("accuracy > 1 or accuracy", 16, "or needs a comparison"),
        ("not accuracy", 4, "not needs a comparison"),
        ("(accuracy > 1) + 1 > 0", 0, "+ needs numbers"),
        ("1 < (accuracy > 1)", 4, "< needs numbers"),
        ("-(accuracy > 1) < 1", 1, "- needs numbers"),
        ("accuracy > 1e999", 11, "too large"),
        ("0.02 <= 0.5", 0, "names no number of the audit"),
        ("not 1 > 2", 0, "names no number of the audit"),
        ("accuracy > or", 11, "there is or"),
        ("accuracy > '1'", 11, "there is '"),
        ("accuracy.value. > 1", 14, "there is ."),
        ("accuracy > 1_000", 12, "there is _000"),
        ("accuracy[0] > 1", 8, "there is ["),
        ("accuracy ** 2 > 1", 10, "there is *"),
        ("accuracy // 2 > 1", 10, "there is /"),
        ("accuracy > 2 if 1 else 0", 13, "there is if"),
        ("lambda: accuracy > 1", 0, "there is no measure lambda"),
        ("(" * 21 + "accuracy > 1" + ")" * 21, 21, "nested at most 20 deep"),
        ("accuracy > " + "-" * 21 + "1", 32, "nested at most 20 deep"),
        ("not " * 21 + "accuracy > 1", 84, "nested at most 20 deep"),
    ],
)
def test_what_cannot_be_read_has_a_caret_at_its_place(expression, at, says):
    sentence, shown, caret = refusal(expression).split("\n")
    assert says in sentence
    assert (shown, caret) == (f"  {expression}", f"  {' ' * at}^")


def test_a_condition_too_long_is_not_read():
    assert "at most 1000 characters" in refusal("(" * (LONGEST + 1))


@pytest.mark.parametrize(
    ("expression", "sentence"),
    [
        (
            "accurcy > 0.9",
            "there is no measure accurcy; there are accuracy, copy_probability,"
            " negative_flip_rate, inherits_errors, infinite",
        ),
        (
            "accuracy.diference > 0",
            "accuracy.diference is wrong from .diference on: accuracy has the estimators difference, value,"
            " each with estimate, ci_low, ci_high, p_value",
        ),
        (
            "inherits_errors.balanced.ci_lo > 0",
            "inherits_errors.balanced.ci_lo is wrong from .ci_lo on: inherits_errors has the estimators by_class,"
            " balanced, each with ci_low, ci_high, p_value, estimate",
        ),
        (
            "accuracy.ci_low.value > 0",
            "accuracy.ci_low.value is wrong from .value on: accuracy has the estimators value, difference,"
            " each with p_value, estimate, ci_low, ci_high",
        ),
        (
            "inherits_errors < 0.1",
            "inherits_errors alone does not say which estimator: write one of"
            " inherits_errors.by_class, inherits_errors.balanced",
        ),
        (
            "inherits_errors.ci_low < 0.1",
            "inherits_errors alone does not say which estimator: write one of"
            " inherits_errors.by_class, inherits_errors.balanced",
        ),
    ],
)
def test_a_wrong_name_lists_the_right_ones(expression, sentence):
    assert refusal(expression).split("\n") == [sentence, f"  {expression}", "  ^"]


@pytest.mark.parametrize(
    "name", ["asymmetry", "asymmetry.headroom.ci_high", "asymmetry.log_odds", "asymmetry.firmness"]
)
def test_asymmetry_is_refused_with_what_to_write_instead(name):
    for refused in (refusal(f"accuracy > 0 and {name} < 0.1"), _unread(f"{name} < 0.1")):
        assert "asymmetry bears no gate" in refused and "errors-and-knowledge.md" in refused
        assert "inherits_errors.ci_high < 10pp" in refused and "--control-teacher" in refused and "^" in refused


def _unread(expression):
    with pytest.raises(UserError) as error:
        check_syntax(expression)
    return str(error.value)


@given(st.sampled_from(["accuracy", "negative_flip_rate", "copy_probability"]), st.data())
def test_the_nearest_name_comes_first(name, data):
    i = data.draw(st.integers(1, len(name) - 1))
    wrong = name[:i] + name[i + 1 :]
    listed = refusal(f"accuracy > 0 and {wrong} > 0").split("\n")[0].split("there are ")[1].split(", ")
    assert listed[0] == name
    assert set(listed) == set(AUDIT["measure"]) - {"asymmetry"}


def test_a_second_row_of_one_name_is_a_mistake_of_the_code():
    with pytest.raises(ValueError, match=r"two rows of a\.value"):
        check("a > 1", pd.concat([two(1, 2), two(3, 4)]))


# No code ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "expression",
    [
        "__import__('os').system('true') == 0",
        "accuracy.__class__ > 0",
        "open('x', 'w') or accuracy > 0",
        "(lambda: 1)() > accuracy",
        "[x for x in (1,)] > accuracy",
        "accuracy > 0 or exec('x')",
        "accuracy > f'{1}'",
        "accuracy > 0; import os",
        "(accuracy := 1) > 0",
        "accuracy > 0x10",
        "accuracy > 1j",
    ],
)
def test_python_that_is_no_condition_is_refused_unrun(expression):
    events = []
    watching = True
    sys.addaudithook(lambda event, _: events.append(event) if watching else None)
    try:
        check(expression, AUDIT)
    except UserError as error:
        refused = str(error)
    finally:
        watching = False
    assert refused.endswith("^")
    assert not {"compile", "exec", "import", "open", "os.system"} & set(events)


@given(st.text(max_size=60) | st.lists(st.sampled_from(WORDS)).map(" ".join))
def test_any_text_is_a_condition_or_a_sentence(text):
    try:
        outcome = check(text, AUDIT)
    except UserError as error:
        sentence, shown, caret = str(error).split("\n")
        assert sentence and shown.isprintable() and caret.strip() == "^" and len(caret) <= len(shown) + 1
    else:
        assert type(outcome.passed) is bool
        json.dumps(vars(outcome))


def test_what_overflows_is_not_measurable():
    found = check("a < 1e308 * 1e308", two(1.0, 2.0))
    assert not found.passed and "1e+308 * 1e+308 has no value" in found.reason
