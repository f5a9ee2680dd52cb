"""The planted worlds are what they say, verdicts in them are those of a protocol, and false ones are rare."""

import numpy as np
import pytest

from kdstats import inheritance_study as study
from kdstats import metrics
from kdstats.answers import judge_answers
from kdstats.worlds import World, coin, draw


def of(world, seed=0):
    return draw(world, np.random.default_rng(seed))


@pytest.mark.parametrize("gap", [-0.05, 0.0, 0.02])
def test_networks_are_as_accurate_as_the_world_says(gap):
    made = of(World(gap=gap, n=20_000))
    assert (made.teachers == made.labels).mean() == pytest.approx(0.855, abs=0.01)
    assert (made.students == made.labels).mean() == pytest.approx(0.855 + gap, abs=0.01)


def test_students_are_swapped_and_copy_as_often_as_they_should():
    made = of(World(follow=coin(0.3, 0.6), n=20_000))
    assert np.bincount(made.taught_by).tolist() == [4] * 10 and np.bincount(made.started_from).tolist() == [4] * 10
    swapped = made.taught_by != made.started_from
    assert swapped.sum() == 20 and (made.taught_by[swapped] == (made.started_from[swapped] ^ 1)).all()
    third = metrics.third_answers(metrics.swap(*made.arrays))
    assert (third.copied_right, third.copied_wrong) == pytest.approx((0.3, 0.6), abs=0.05)


def test_the_same_seed_draws_the_same_world():
    one, two, other = of(World(), 3), of(World(), 3), of(World(), 4)
    assert (one.students == two.students).all() and (one.students != other.students).any()


def test_a_teachers_second_choices_are_no_firmness():
    """Students draw half of their answers from their teacher's softmax: θ is far above 0, θ₀ is not."""
    made = of(World(sample=0.5, n=8000))
    split = metrics.swap(*made.arrays)
    assert metrics.third_answers(split).theta > 0.06
    assert abs(metrics.firmness(split, *made.confidence).estimate) < 0.05


@pytest.mark.parametrize("world", [World(), World(follow=coin(0.2)), World(quality="class"), World(sample=0.5)])
def test_the_studys_verdicts_are_those_of_a_protocol(world):
    made = of(world, 1)
    logits_free = [metric for metric in study.ALL if metric != "asymmetry"]
    for metric in logits_free:
        found = judge_answers(
            made.teachers, made.students, made.labels, made.taught_by, made.pairs,
            started_from=made.started_from, metrics=[metric],
        )  # fmt: skip
        assert study.verdict(made, metric).replace("by class", "inconclusive") == found.loc[0, "verdict"]


def test_false_verdicts_are_rare_and_true_ones_common():
    """Forty draws a world: at most 7 wrong (P < 1e-3 at a rate of .05), the copied found nearly always."""
    wanted = (
        "nothing copied", "quality inherited, spread 4 points", "quality inherited by class", "initial weights shared",
        "coin, 5 points below", "drawn from the teacher's softmax", "errors copied more, .3 and .7",
    )  # fmt: skip
    rows = study.study(40, seed=7, cells=[cell for cell in study.CELLS if cell.name in wanted])
    assert (rows["error"] <= 7 / 40).all()
    true = rows[rows["true"]]
    assert len(true) == 7 and (true["supported"] > 0.9).all()
    assert set(rows["world"]) == set(wanted)
