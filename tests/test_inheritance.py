"""Claims on what students inherit, from planted networks to verdicts: shown, barred, withdrawn."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from kdstats import inheritance, inheritance_table, metrics
from kdstats.answers import judge_answers
from kdstats.contrasts import Evidence
from kdstats.protocol import HypothesisPoint, Point
from kdstats.verdicts import judge

KD, OTHER, SIDDO, RCD = (Point(arm, arm, (), "teacher") for arm in ("kd", "kd-other", "siddo", "rcd"))
CLASSES = 6


class World:
    """Teachers in pairs, two students an arm and teacher, that copy with a probability or are otherwise themselves."""

    def __init__(self, copied=(0.0, 0.0), teachers=8, n=800, seed=0, accuracy=None, classes=CLASSES):
        self.rng = np.random.default_rng(seed)
        self.y = self.rng.integers(0, classes, n)
        self.classes = classes
        accuracy = np.full(teachers, 0.75) if accuracy is None else accuracy
        self.teachers = np.array([self.answers(a) for a in accuracy])
        margins = np.where(self.teachers == self.y, 2.0, 1.0) + self.rng.exponential(1.0, self.teachers.shape)
        self.logits = np.eye(classes)[self.teachers] * margins[..., None]
        self.said = {
            (arm, t, s): self.student(self.teachers[t if arm == "kd" else t ^ 1], copied, accuracy[t])
            for arm in ("kd", "kd-other")
            for t in range(teachers)
            for s in range(2)
        }

    def answers(self, accuracy):
        """Half of the mistakes are an example's own attractive wrong class."""
        n = len(self.y)
        wrong = (self.y + self.rng.integers(1, self.classes, n)) % self.classes
        wrong = np.where(self.rng.random(n) < 0.5, (self.y + 1) % self.classes, wrong)
        return np.where(self.rng.random(n) < accuracy, self.y, wrong)

    def student(self, teacher, copied, accuracy):
        right, wrong = copied
        share = np.where(teacher == self.y, right, wrong)
        return np.where(self.rng.random(len(self.y)) < share, teacher, self.answers(accuracy))

    @property
    def pairs(self):
        return tuple((t, s) for t in range(len(self.teachers)) for s in range(2))

    def swapped(self, arm, control, pairs):
        rows = [
            ((side.arm, *pair), pair[0] ^ (side.arm == "kd-other"), pair[0])
            for side in (arm, control)
            for pair in pairs
        ]
        teachers = sorted({t for t, _ in pairs})
        place = {t: i for i, t in enumerate(teachers)}
        return inheritance.swapped(
            self.logits[teachers], [self.said[key] for key, _, _ in rows], self.y, [place[by] for _, by, _ in rows],
            [(place[t], place[t + 1]) for t in teachers if t % 2 == 0], started_from=[place[t] for _, _, t in rows],
        )  # fmt: skip

    def evidence(self, more=(), **settings):
        rows = [("teacher", t, np.nan, "accuracy", (said == self.y).mean()) for t, said in enumerate(self.teachers)]
        rows += [(arm, t, s, "accuracy", (said == self.y).mean()) for (arm, t, s), said in self.said.items()]
        rows += [(arm, t, s, "agreement", (said == self.teachers[t]).mean()) for (arm, t, s), said in self.said.items()]
        for side, where in (("positive", self.teachers == self.y), ("negative", self.teachers != self.y)):
            rows += [
                (arm, t, s, f"{side}_transfer", (said == self.teachers[t])[where[t]].mean())
                for (arm, t, s), said in self.said.items()
            ]
        scores = pd.DataFrame([*rows, *more], columns=["arm", "teacher", "seed", "metric", "value"])
        scores = scores.assign(arm_params="", n=float(len(self.y)))
        groups = {t: t - t % 2 for t in range(len(self.teachers))}
        return Evidence(scores, self.pairs, groups, swapped=self.swapped, classes=self.classes, **settings)


def claim(
    metric, direction="greater", *, scope="recipe", examples="new", test="two-way-t", margin=None, controls=(OTHER,)
):
    return HypothesisPoint(metric, metric, metric, KD, controls, direction, scope, examples, test, margin, "f")


ALL = [claim(metric) for metric in ("inherits_errors", "inherits_knowledge", "asymmetry")]


def verdicts_of(world, claims=ALL, **settings):
    return judge(world.evidence(**settings), claims, 0.05, "holm")


def test_copying_is_inherited_and_not_held_more_firmly():
    contrasts, found = verdicts_of(World((0.4, 0.4)))
    assert found["verdict"].tolist() == ["supported", "supported", "not shown"]
    assert found["estimate"].tolist()[:2] == pytest.approx([0.4, 0.4], abs=0.06)
    assert set(contrasts["estimator"]) == {"balanced", "by class", "firmness"}
    assert (found["n_units"] == 4).all() and (found["scope_examples"] == "new").all()
    first, second, third = found["sentence"]
    assert (
        "students (kd) of the wrong one give its wrong answer on" in first and "points more of these examples" in first
    )
    assert "a leaning to a class" in first and "of the right one give its right answer on" in second
    assert "cannot show the opposite" in third and "4 pairs of teachers" in third


def test_nothing_copied_is_nothing_inherited():
    _, found = verdicts_of(World((0.0, 0.0), seed=5))
    assert found["verdict"].tolist() == ["inconclusive", "inconclusive", "not shown"]
    within = [
        claim("inherits_errors", "equivalent", margin=0.1),
        claim("inherits_knowledge", "not-greater", margin=0.1),
    ]
    _, found = verdicts_of(World((0.0, 0.0), seed=5), within)
    assert found["verdict"].tolist() == ["supported", "supported"]


def test_errors_copied_more_are_held_more_firmly():
    _, found = verdicts_of(World((0.1, 0.8), teachers=12, n=1500, seed=3))
    assert found["verdict"].tolist() == ["supported"] * 3
    assert "break away from both teachers' answers less often" in found.loc[2, "sentence"]


def test_knowledge_copied_more_is_never_refuted():
    _, found = verdicts_of(World((0.8, 0.1), teachers=12, n=1500, seed=3))
    assert found["verdict"].tolist() == ["supported", "supported", "not shown"]
    assert np.isnan(found.loc[2, "p_refuted"]) or found.loc[2, "p_refuted"] == 1


@pytest.mark.parametrize(
    ("scope", "examples", "test"),
    [
        ("recipe", "this test set", "paired-t"),
        ("these", "this test set", "paired-t"),
        ("these", "new", "two-way-t"),
        ("recipe", "new", "two-way-t"),
    ],
)
def test_every_scope_has_the_estimate_of_the_arrays(scope, examples, test):
    world = World((0.3, 0.3))
    asked = [claim(m, scope=scope, examples=examples, test=test) for m in ("inherits_errors", "inherits_knowledge")]
    _, found = verdicts_of(world, asked)
    of = world.swapped(KD, OTHER, world.pairs)
    arrays = metrics.inheritance(*of.arrays)
    assert found["estimate"].tolist() == pytest.approx([arrays.errors.estimate, arrays.knowledge.estimate], abs=1e-12)
    assert found["verdict"].tolist() == ["supported"] * 2
    assert (found["n_units"] == (4 if scope == "recipe" else 32)).all()


def test_signs_of_pairs_flip_with_their_weights():
    """Eight pairs that all inherit: one-sided 2⁻⁸, whatever their weights; Holm and the classes' own rows beside."""
    asked = claim("inherits_errors", examples="this test set", test="sign-flip")
    contrasts, found = verdicts_of(World((0.5, 0.5), teachers=16), [asked])
    assert found.loc[0, "p_value"] == 2**-8 and found.loc[0, "verdict"] == "supported"
    assert contrasts["p_value"].tolist() == [2**-8, 2**-8] and contrasts["smallest_p"].tolist() == [2**-8] * 2
    at_a_margin = claim("inherits_errors", "not-less", examples="this test set", test="sign-flip", margin=0.1)
    _, found = verdicts_of(World((0.0, 0.0), teachers=16), [at_a_margin])
    assert found.loc[0, "p_value"] == 2**-8


def test_pairs_may_be_looked_at_one_after_the_other():
    asked = claim("inherits_errors", examples="this test set", test="anytime")
    _, found = verdicts_of(World((0.5, 0.5), teachers=24), [asked])
    assert found.loc[0, "verdict"] == "supported" and found.loc[0, "test"].startswith("anytime")


def test_quality_by_class_does_not_count_as_inherited():
    """Students follow no answer; of a teacher they have how good it is on each class. W > 0, but not within classes."""
    world = World(teachers=16, n=3000, seed=1)
    good = world.rng.random((16, CLASSES)) * 0.8 + 0.2  # a teacher's accuracy on each class
    world.teachers = np.array([world.answers(good[t][world.y]) for t in range(16)])
    world.logits = np.eye(CLASSES)[world.teachers] * 2.0
    for arm, t, s in world.said:
        world.said[arm, t, s] = world.answers(good[t if arm == "kd" else t ^ 1][world.y])
    contrasts, found = verdicts_of(world, ALL[:2], rules=2)
    assert (contrasts["p_value"][contrasts["estimator"] == "balanced"] < 0.01).all()
    assert found["verdict"].tolist() == ["inconclusive", "inconclusive"]
    assert "passed on class by class" in found.loc[0, "sentence"]


def test_too_little_is_said_with_what_would_do():
    for world, sentence in (
        (World((0.5, 0.5), teachers=4), "a claim about the recipe needs 3, so 6 teachers"),
        (World((0.5, 0.5), n=16), "a claim needs 20; more test examples"),
    ):
        _, found = verdicts_of(world, ALL[:1])
        assert found.loc[0, "verdict"] == "inconclusive" and sentence in found.loc[0, "sentence"]
    _, found = verdicts_of(World((0.5, 0.5), classes=2), ALL)
    assert found["verdict"].tolist() == ["supported", "supported", "not shown"]
    assert "with two classes" in found.loc[2, "sentence"]
    _, found = verdicts_of(World((1.0, 1.0)), ALL)
    assert "20 are needed" in found.loc[2, "sentence"] and found.loc[2, "verdict"] == "not shown"


def test_a_teacher_whose_partner_has_no_students_is_left_out():
    world = World((0.5, 0.5), teachers=10)
    evidence = world.evidence()
    lost = (evidence.scores["teacher"] == 9) & (evidence.scores["arm"] == "kd")
    contrasts, found = judge(replace(evidence, scores=evidence.scores[~lost]), ALL[:1], 0.05, "holm")
    assert contrasts.loc[0, "n_units"] == 4 and "their partner has no students" in contrasts.loc[0, "note"]
    assert found.loc[0, "verdict"] == "inconclusive"  # its own students failed more often than the other arm's


def test_h_of_a_run_made_before_is_withdrawn():
    """It is read, described and decides nothing, for whatever the scores say."""
    world = World((0.3, 0.3))
    h = claim("asymmetry", "two-sided", examples="this test set", test="paired-t", margin=0.1)
    contrasts, found = verdicts_of(world, [h], rules=1)
    assert found.loc[0, "verdict"] == "withdrawn" and "docs/errors-and-knowledge.md" in found.loc[0, "sentence"]
    assert contrasts.loc[0, "estimator"] == "headroom" and np.isfinite(contrasts.loc[0, "estimate"])
    columns = ["p_value", "p_adjusted", "p_equivalence"]
    assert found[columns].isna().all(axis=None) and contrasts[columns].isna().all(axis=None)


# Controls that decide nothing ------------------------------------------------------------------------------------


def rows_of(arm, accuracy, agreement, teachers=8):
    return [
        (arm, t, s, metric, value + 1e-3 * ((t * 2 + s) % 3))
        for t in range(teachers)
        for s in range(2)
        for metric, value in (("accuracy", accuracy), ("agreement", agreement))
    ]


def agreement(controls):
    return claim("agreement", examples="this test set", test="sign-flip", controls=controls)


def test_a_control_that_trained_badly_is_named_and_decides_nothing():
    world = World((0.5, 0.5))
    more = [*rows_of("siddo", 0.75, 0.5), *rows_of("rcd", 0.2, 0.1)]
    e = world.evidence(more, plain=SIDDO)
    contrasts, found = judge(e, [agreement((SIDDO, RCD))], 0.05, "holm")
    assert found.loc[0, "verdict"] == "supported" and "rcd trained badly" in found.loc[0, "sentence"]  # siddo is closer
    assert "rcd trained badly" in contrasts.loc[1, "note"] and contrasts.loc[0, "note"] == ""
    _, found = judge(e, [agreement((RCD,))], 0.05, "holm")
    assert found.loc[0, "verdict"] == "inconclusive"
    assert "rcd, the control that decides, trained badly (accuracy 55 points below" in found.loc[0, "sentence"]
    _, found = judge(replace(e, control_floor=0.6), [agreement((RCD,))], 0.05, "holm")
    assert found.loc[0, "verdict"] == "supported"
    _, found = judge(replace(e, rules=1), [agreement((RCD,))], 0.05, "holm")
    assert found.loc[0, "verdict"] == "supported"  # a protocol keeps the rules that it was frozen under


def test_agreement_with_an_unequal_teacher_decides_nothing():
    world = World((0.5, 0.5))
    apart = world.evidence()
    of_teachers = (apart.scores["arm"] == "teacher") & (apart.scores["metric"] == "accuracy")
    alike = replace(apart, scores=apart.scores.assign(value=apart.scores["value"].mask(of_teachers, 0.75)))
    wide = np.linspace(0.6, 0.9, 8)
    apart = replace(apart, scores=apart.scores.copy())
    apart.scores.loc[of_teachers, "value"] = wide
    for e, verdict in ((alike, "supported"), (apart, "inconclusive")):
        _, found = judge(e, [agreement((OTHER,))], 0.15, "holm")
        assert found.loc[0, "verdict"] == verdict
        assert "teachers' accuracies have a standard deviation of" in found.loc[0, "sentence"]
    _, found = judge(replace(apart, rules=1), [agreement((OTHER,))], 0.15, "holm")
    assert found.loc[0, "verdict"] == "supported"


# The table -------------------------------------------------------------------------------------------------------


def test_the_table_begins_with_what_a_person_understands():
    world = World((0.4, 0.4))
    found = inheritance_table.describe(world.evidence(plain=SIDDO), [SIDDO, KD, OTHER], 0.95)
    assert found["part"].tolist()[:4] == ["errors_made", "repeated_own", "repeated_other", "repeated_more"]
    rows = found.set_index("part")
    assert rows.loc["errors_made", "estimate"] == pytest.approx((world.teachers != world.y).sum(1).mean())
    own, other = rows.loc["repeated_own", "estimate"], rows.loc["repeated_other", "estimate"]
    assert rows.loc["repeated_more", "estimate"] == pytest.approx(own - other) and own > other
    assert rows.loc["repeated_more", "ci_low"] < own - other < rows.loc["repeated_more", "ci_high"]
    assert (
        rows.loc["repeated_more", "sentence"].startswith("Of a teacher's 1")
        and " repeats " in rows.loc["repeated_more", "sentence"]
    )
    _, verdict = verdicts_of(world)
    for metric in ("inherits_errors", "inherits_knowledge"):
        assert rows.loc[metric, "estimate"] == verdict.set_index("metric").loc[metric, "estimate"]
        assert rows.loc[metric, "ci_low"] == pytest.approx(verdict.set_index("metric").loc[metric, "ci_low"])
    assert rows.loc["copied_wrong", "estimate"] == pytest.approx(0.4, abs=0.08)
    assert rows.loc["h_of_copying", "note"] == "siddo has no A⁺ and A⁻"


def test_h_of_one_copied_share_is_what_pure_copying_gives():
    """200,000 answers of students that copy half, six points weaker than their teachers: h is as predicted, not 0."""
    rng = np.random.default_rng(4)
    n = 200_000

    def answers(accuracy):
        return np.where(rng.random(n) < accuracy, 0, rng.integers(1, 10, n))

    teacher, partner, untaught = answers(0.86), answers(0.86), answers(0.8)
    copies = rng.random(n) < 0.5
    kd, other = np.where(copies, teacher, answers(0.8)), np.where(copies, partner, answers(0.8))
    right = teacher == 0
    it = metrics.transfer(*(np.eye(10)[said] for said in (teacher, kd, other)), np.zeros(n, int))
    differs = [
        {"right": (o != teacher)[right].mean(), "wrong": (o != teacher)[~right].mean()} for o in (partner, untaught)
    ]
    assert inheritance_table.copied_h(0.5, *differs) == pytest.approx(it.headroom, abs=0.02)
    assert it.headroom > 0.1


def test_arrays_are_judged_as_a_protocol_is():
    world = World((0.4, 0.4))
    of = world.swapped(KD, OTHER, world.pairs)
    found = judge_answers(world.logits, of.students, world.y, of.taught_by, of.pairs, started_from=of.started_from)
    _, protocol = verdicts_of(world)
    for column in ("metric", "estimate", "ci_low", "ci_high", "p_value", "p_adjusted", "verdict", "n_units"):
        assert found[column].tolist() == protocol[column].tolist()
    these = judge_answers(
        world.teachers, of.students, world.y, of.taught_by, of.pairs, scope="these", metrics=["inherits_errors"]
    )
    assert these.loc[0, "n_units"] == 32 and these.loc[0, "verdict"] == "supported"
    labels = judge_answers(world.teachers, of.students, world.y, of.taught_by, of.pairs)
    assert "needs their logits" in labels.loc[2, "sentence"] and labels.loc[2, "verdict"] == "not shown"
    with pytest.raises(ValueError, match="taught no student"):
        judge_answers(world.teachers, of.students, world.y, np.zeros(32, int), of.pairs)
    with pytest.raises(ValueError, match="they are inherits_errors"):
        judge_answers(world.teachers, of.students, world.y, of.taught_by, of.pairs, metrics=["h"])
