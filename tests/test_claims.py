import pytest
from typer.testing import CliRunner

from kdstats.catalog import DIRECTIONS
from kdstats.claims import of_swaps
from kdstats.cli import app

WRONG, RIGHT = "Students of the wrong one of two teachers give its wrong answer", "students of the right one"


@pytest.mark.parametrize(
    ("direction", "said"),
    [
        ("greater", f"{WRONG} more often than {RIGHT} (W > 0)"),
        ("less", f"{WRONG} less often than {RIGHT} (W < 0)"),
        ("two-sided", f"{WRONG} more or less often than {RIGHT} (W ≠ 0)"),
        ("not-less", f"{WRONG} not less often, by 5 points or more, than {RIGHT} (W > −0.05)"),
        ("not-greater", f"{WRONG} not more often, by 5 points or more, than {RIGHT} (W < 0.05)"),
        ("equivalent", f"{WRONG} as often as {RIGHT}, to within 5 points (W within ±0.05)"),
    ],
)
def test_claims_on_inherited_errors_have_words_in_every_direction(direction, said):
    assert of_swaps("inherits_errors", direction, 0.05) == said
    mirrored = said.replace("wrong", "\0").replace("right", "wrong").replace("\0", "right").replace("W", "K")
    assert of_swaps("inherits_knowledge", direction, 0.05) == mirrored


def test_every_direction_is_there():
    assert all(of_swaps("inherits_errors", direction, 0.01) for direction in DIRECTIONS)
    assert "by 1 point or more" in of_swaps("inherits_errors", "not-less", 0.01)


def test_the_asymmetry_claims_firmness_and_before_rules_2_nothing():
    assert of_swaps("asymmetry", "greater", None).startswith(
        "Errors are held to more firmly than right answers (θ₀ > 0)"
    )
    assert of_swaps("asymmetry", "less", 0.1, rules=1).startswith("Withdrawn")


def test_other_metrics_have_no_words_here():
    with pytest.raises(ValueError, match="inherits_errors, inherits_knowledge, asymmetry are"):
        of_swaps("agreement", "greater", None)


def test_a_plan_says_what_is_claimed_once_a_hypothesis():
    said = CliRunner().invoke(app, ["plan", "protocols/digits.yaml"]).output
    assert said.count("Errors are held to more firmly than right answers (θ₀ > 0)") == 1
    assert said.count("(W > 0)") == said.count("(K > 0)") == 1
