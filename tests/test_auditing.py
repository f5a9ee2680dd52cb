"""Audits of networks whose truth is known, and of small ones that can be counted by hand."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats

import kdstats
from kdstats import metrics
from kdstats.auditing import Audit, audit
from kdstats.errors import UserError
from tests.audits import cases, world


def of(found: Audit, measure: str, estimator: str) -> Any:
    rows = found.measures
    return rows[(rows["measure"] == measure) & (rows["estimator"] == estimator)].iloc[0]


# Planted truths --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("c", "scenario"), [(0.1, "copies .1, plain controls"), (0.3, "copies .3, plain controls")])
def test_a_copying_student_shows_its_share(c: float, scenario: str) -> None:
    shares = []
    for case in cases(scenario, 30, n=1500, m=8, seed=1):
        found = audit(case.teacher, case.student, case.labels, case.controls)
        shares.append(of(found, "copy_probability", "share")["estimate"])
        said = found.verdicts.set_index("question").loc["Inherited errors and right answers", "sentence"]
        assert "say nothing of inheritance" in said
    assert np.mean(shares) == pytest.approx(c, abs=4 * np.std(shares) / 30**0.5)


@pytest.mark.parametrize(("kind", "rows"), [("plain", ["raw"]), ("neutral", []), ("kd-other", ["headroom"])])
def test_each_kind_of_control_has_the_rows_that_it_can_bear(kind: Any, rows: list[str]) -> None:
    """h describes only against students of another teacher, the raw difference only against labels alone."""
    w = world(np.random.default_rng(44), 800)
    t = w.network()
    controls = [w.network() for _ in range(4)]
    found = audit(t, w.network(copied=t, right=0.6), w.labels, controls, control_kind=kind)
    described = found.measures.query("measure == 'asymmetry'")
    assert described["estimator"].tolist() == rows and described["p_value"].isna().all()
    assert described["note"].str.contains("under pure copying").all()
    said = found.verdict
    assert "more than knowledge" not in said and "asymmetry" not in said.lower()
    beyond = {"plain": "nothing of inheritance", "neutral": "beyond what this regularisation", "kd-other": "quality"}
    assert beyond[kind] in found.verdicts.set_index("question").loc["The teacher's errors", "sentence"]


def test_nothing_is_found_where_teachers_answers_are_shuffled() -> None:
    w = world(np.random.default_rng(5), 4000)
    shuffled = np.random.default_rng(6).permutation(w.network())
    found = audit(shuffled, w.network(copied=w.network(), right=0.3), w.labels, [w.network() for _ in range(6)])
    for measure in ("agreement_given_class", "error_consistency", "copy_probability", "negative_transfer"):
        row = of(found, measure, "excess")
        assert row["ci_low"] <= 0 <= row["ci_high"], measure
    assert abs(of(found, "agreement_given_class", "value")["estimate"]) < 0.03


def test_the_teacher_as_its_own_student() -> None:
    w = world(np.random.default_rng(7), 1000)
    teacher = w.network()
    found = audit(teacher, teacher.copy(), w.labels, [w.network() for _ in range(3)], margin=0.01)
    assert found.flips[["harmful", "beneficial", "neutral", "same"]].values.tolist() == [[0, 0, 0, 1000]]
    assert of(found, "agreement", "value")["estimate"] == 1
    assert of(found, "copy_probability", "share")["estimate"] == pytest.approx(1)
    assert found.verdicts["verdict"][0] == "equivalent"
    assert found.flips["mcnemar_exact"][0] == 1


def test_a_control_as_the_student_stands_among_the_controls() -> None:
    w = world(np.random.default_rng(8), 2000)
    controls = [w.network() for _ in range(9)]
    found = audit(w.network(), w.network(), w.labels, controls)
    assert set(found.verdicts["verdict"]) <= {"no margin", "not shown different", "not possible"}
    listed, expected = len(found.inherited.query("not all_agree")), found.inherited["n_expected"][0]
    assert listed == pytest.approx(expected, rel=0.3)


# By hand and by other ways ---------------------------------------------------------------------------------------


def test_counts_by_hand() -> None:
    #          label 0 0 0 0 0 1 1 1
    labels = np.array([0, 0, 0, 0, 0, 1, 1, 1])
    teacher = np.array([0, 0, 0, 1, 1, 1, 1, 0])  # right on five, wrong on rows 3, 4, 7
    student = np.array([0, 0, 1, 1, 0, 1, 1, 0])  # agrees with errors 3 and 7
    first = np.array([0, 1, 0, 0, 0, 1, 1, 1])
    second = np.array([0, 0, 0, 1, 0, 1, 0, 1])
    found = audit(teacher, student, labels, [first, second])
    assert found.flips[["harmful", "beneficial", "neutral", "same"]].values.tolist() == [[1, 1, 0, 6]]
    rows = found.transfers.set_index("control")
    assert rows.loc["control 1", ["repaired", "broken", "infected", "cured"]].tolist() == [1, 1, 2, 0]
    assert rows.loc["control 2", ["repaired", "broken", "infected", "cured"]].tolist() == [1, 1, 1, 0]
    # row 7: student alone has the error; row 3: one of two controls has it too, so not "most do not"
    assert found.inherited[["row", "controls_same"]].values.tolist() == [[7, 0]]
    assert of(found, "negative_transfer", "value")["estimate"] == pytest.approx(2 / 3)
    assert of(found, "negative_transfer", "excess")["estimate"] == pytest.approx(2 / 3 - 1 / 6)
    assert of(found, "negative_transfer", "excess")["position"] == "1 of 3"


def test_labels_that_all_networks_contradict_are_flagged() -> None:
    labels = np.array([0, 1, 0, 1, 0, 1])
    says = np.array([1, 1, 0, 1, 0, 1])
    found = audit(says, says.copy(), labels, [says.copy(), says.copy()])
    assert found.inherited[["row", "all_agree"]].values.tolist() == [[0, True]]
    assert "perhaps the label is wrong" in found.inherited["note"][0]


def test_one_student_against_its_teacher_has_mcnemars_p_and_tangos_interval() -> None:
    w = world(np.random.default_rng(9), 800)
    t, s = w.network(), w.network()
    row = of(audit(t, s, w.labels), "accuracy", "difference")
    b, c = int(((s == w.labels) & (t != w.labels)).sum()), int(((s != w.labels) & (t == w.labels)).sum())
    assert row["p_value"] == pytest.approx(scipy_stats.binomtest(b, b + c).pvalue, rel=1e-10)
    tango = kdstats.stats.risk_difference([[0, b], [c, 800 - b - c]]).confidence_interval()
    assert (row["ci_low"], row["ci_high"]) == pytest.approx(tango, rel=1e-12)


def test_several_students_have_the_p_of_the_two_groups() -> None:
    w = world(np.random.default_rng(10), 1500)
    t = w.network()
    students, controls = [w.network(copied=t, right=0.3) for _ in range(3)], [w.network() for _ in range(4)]
    found = audit(t, students, w.labels, controls)
    row = of(found, "agreement", "excess")
    values = [np.array([one == t for one in side], float) for side in (students, controls)]
    assert row["p_value"] == kdstats.stats.two_groups(*values).p_value()
    assert row["scope"] == "networks like these, new examples" and row["position"] == ""
    paired = of(audit(t, students, w.labels, controls[:3], paired=True), "agreement", "excess")
    assert paired["p_value"] == kdstats.stats.two_way(values[0] - values[1][:3]).p_value()


def test_a_rank_p_needs_the_declaration() -> None:
    w = world(np.random.default_rng(11), 3000)
    t = w.network()
    student, controls = w.network(copied=t, right=0.4), [w.network() for _ in range(19)]
    silent = audit(t, student, w.labels, controls)
    assert silent.measures.query("estimator == 'excess'")["p_value"].isna().all()
    declared = audit(t, student, w.labels, controls, controls_exchangeable=True)
    row = of(declared, "negative_transfer", "excess")
    assert row["p_value"] == pytest.approx(1 / 20)
    assert "at least 0.05" in row["note"] and row["position"] == "1 of 20"
    assert declared.measures.query("estimator == 'excess'")["p_value"].notna().sum() == 1


def test_probabilities_and_logits_say_the_same() -> None:
    rng = np.random.default_rng(12)
    y = rng.integers(0, 5, 300)
    z = [rng.normal(size=(300, 5)) + 2 * np.eye(5)[y] for _ in range(4)]
    p = [np.exp(each) / np.exp(each).sum(1, keepdims=True) for each in z]
    one, other = (audit(v[0], v[1], y, v[2:]) for v in (z, p))
    for column in ("estimate", "ci_low", "ci_high"):
        assert one.measures[column].to_numpy() == pytest.approx(
            other.measures[column].to_numpy(), abs=1e-7, nan_ok=True
        )
    assert of(one, "fidelity_kl", "value")["estimate"] == pytest.approx(metrics.fidelity_kl(z[0], z[1]), abs=1e-12)
    assert of(one, "capa", "value")["estimate"] == pytest.approx(metrics.capa(z[0], z[1], y), abs=1e-12)


def test_relabelled_classes_and_reordered_examples_change_nothing() -> None:
    w = world(np.random.default_rng(13), 600)
    networks = [w.network() for _ in range(5)]
    base = audit(networks[0], networks[1], w.labels, networks[2:]).measures
    names, order = np.random.default_rng(14).permutation(10), np.random.default_rng(15).permutation(600)
    again = audit(
        *(names[one[order]] for one in networks[:2]), names[w.labels[order]], [names[c[order]] for c in networks[2:]]
    )
    for column in ("estimate", "ci_low", "ci_high"):
        assert again.measures[column].to_numpy() == pytest.approx(base[column].to_numpy(), rel=1e-9, nan_ok=True)


# What cannot be said ---------------------------------------------------------------------------------------------


def test_without_controls_no_verdict_needs_one() -> None:
    w = world(np.random.default_rng(16), 500)
    found = audit(w.network(), w.network(), w.labels)
    verdicts = found.verdicts.set_index("question")["verdict"]
    assert (verdicts.drop("Accuracy against the teacher") == "not possible").all()
    rows = found.measures.query("n > 0 and estimator in ('excess', 'other', 'more', 'share')")
    assert rows["estimate"].isna().all() and rows["note"].str.contains("no controls").all()


def test_one_control_gives_numbers_and_no_verdict() -> None:
    w = world(np.random.default_rng(17), 500)
    found = audit(w.network(), w.network(), w.labels, [w.network()])
    assert found.verdicts.set_index("question")["verdict"]["The teacher's errors"] == "not possible"
    assert of(found, "agreement", "excess")["scope"] == "these networks, new examples"


def test_a_teacher_without_errors_has_no_a_minus() -> None:
    w = world(np.random.default_rng(18), 300)
    found = audit(w.labels.copy(), w.network(), w.labels, [w.network() for _ in range(3)])
    row = of(found, "negative_transfer", "value")
    assert np.isnan(row["estimate"]) and "wrong on none" in row["note"]
    assert found.verdicts.set_index("question")["verdict"]["The teacher's errors"] == "not measurable"
    assert found.inherited.empty and found.confusions.empty


def test_mistakes_are_named() -> None:
    w = world(np.random.default_rng(19), 100)
    t, s = w.network(), w.network()
    with pytest.raises(UserError, match="margin is 5: a share"):
        audit(t, s, w.labels, margin=5)
    with pytest.raises(UserError, match="primary is 'acuracy'"):
        audit(t, s, w.labels, primary="acuracy")
    with pytest.raises(UserError, match="2 students and 1 controls"):
        audit(t, [s, t.copy()], w.labels, [s.copy()], paired=True)
    with pytest.raises(UserError, match="group"):
        audit(t, s, w.labels, groups={"sex": ["f"] * 99})


def test_tables_are_complete_and_json_has_no_nan() -> None:
    import json

    w = world(np.random.default_rng(20), 400)
    found = audit(
        w.network(), w.network(), w.labels, [w.network() for _ in range(3)], groups={"half": np.arange(400) % 2}
    )
    text = json.dumps(found.to_json(), allow_nan=False)
    assert {row["by"] for row in json.loads(text)["where"]} == {"class", "group half", "difficulty"}
    of_class = found.where.query("by == 'class' and measure == 'accuracy' and estimator == 'difference'")
    assert of_class["n"].sum() == 400 and (of_class["p_adjusted"] >= of_class["p_value"]).all()
    assert not pd.isna(found.measures["scope"]).any()


def test_a_copy_is_no_second_network() -> None:
    w = world(np.random.default_rng(30), 300)
    t, s, c = w.network(), w.network(), w.network()
    for students, controls, said in (
        (s, [c, c], "control 1 and control 2 say the same of every example: a copy of a network is no other network"),
        ([s, s.copy()], [c], "student 1 and student 2 say the same"),
        (s, [c, t.copy()], "teacher and control 2 say the same of every example: a copy of a network is no control"),
    ):
        with pytest.raises(UserError, match=said):
            audit(t, students, w.labels, controls)
    audit(t, t.copy(), w.labels, [c])  # a student may say what its teacher says
    logits = np.random.default_rng(0).normal(size=(300, 10))
    better = logits + 5 * np.eye(10)[w.labels]
    audit(logits, -logits, w.labels, [better, better * 1.5])  # the same classes, other networks
    with pytest.raises(UserError, match="say the same"):
        audit(logits, -logits, w.labels, [better, better.copy()])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"margin": "0.5pp"}, "margin is '0.5pp': a share"),
        ({"margin": 0.5}, r"margin is 0.5: a share of the examples, above 0 and at most .2"),
        ({"level": "x"}, "level is 'x'"),
        ({"controls": None}, "controls is of type NoneType: it is a list"),
        ({"student": []}, "student: the list is empty"),
        ({"class_names": ["a"]}, "class_names: there are 1, and 3 classes"),
    ],
)
def test_arguments_that_are_nothing_are_sentences(options: dict[str, Any], said: str) -> None:
    y = np.arange(30) % 3
    given = {"teacher": y, "student": np.roll(y, 1), "labels": y} | options
    with pytest.raises(UserError, match=said):
        audit(**given)


def test_who_makes_the_parts_is_not_compared_in_them() -> None:
    """Networks that never met: by the teacher's confidence they differ from it, and not from each other."""
    rng = np.random.default_rng(31)
    n = 3000
    y = rng.integers(0, 5, n)
    shared = rng.normal(size=(n, 5)) + 1.2 * np.eye(5)[y]
    networks = [3 * (shared + rng.normal(size=(n, 5))) for _ in range(6)]
    found = audit(networks[0], networks[1], y, networks[2:]).where.query("by == 'teacher confidence'")
    assert set(found["estimator"]) == {"excess"} and set(found["measure"]) == {"accuracy", "negative_transfer"}
    known = found[found["ci_low"].notna()]
    assert len(known) >= 6 and ((known["ci_low"] <= 0) & (known["ci_high"] >= 0)).all()
    alone = audit(networks[0], networks[1], y).where.query("by == 'teacher confidence'")
    assert alone["estimate"].max() > 0.05 and alone["p_value"].isna().all() and alone["ci_low"].isna().all()
    assert alone["note"].str.contains("any other network differs").all()


def test_accuracy_against_controls_by_class_is_the_difference_of_means() -> None:
    w = world(np.random.default_rng(32), 600)
    t, s, *c = (w.network() for _ in range(6))
    found = audit(t, s, w.labels, c).where.query("by == 'class' and measure == 'accuracy' and estimator == 'excess'")
    for row in found.to_dict("records"):
        here = w.labels == int(row["level"])
        expected = (s == w.labels)[here].mean() - np.mean([(one == w.labels)[here].mean() for one in c])
        assert row["estimate"] == pytest.approx(expected, abs=1e-12) and row["n"] == here.sum()


# What a referee found --------------------------------------------------------------------------------------------


def test_parts_where_students_gain_nothing_have_p_one() -> None:
    rng = np.random.default_rng(11)
    y = rng.integers(0, 5, 200)
    t, *others = (np.where(rng.random(200) < 0.8, y, rng.integers(0, 5, 200)) for _ in range(5))
    found = audit(t, others[:2], y, others[2:]).where
    assert found["p_value"].max() <= 1 and found["p_adjusted"].max() <= 1


def test_a_log_of_hardly_any_disagreements_has_no_interval() -> None:
    w = world(np.random.default_rng(40), 3000)
    t = w.network()
    controls = [w.network(copied=w.network(), right=0.7) for _ in range(6)]
    found = audit(t, t.copy(), w.labels, controls, control_kind="kd-other")
    row = of(found, "asymmetry", "headroom")
    assert np.isnan(row["ci_low"]) and "on 0 of the examples on which it is right" in row["note"]


def test_controls_of_one_teacher_are_noticed() -> None:
    noticed = {True: 0, False: 0}
    for seed in range(10):
        for common in (True, False):
            w = world(np.random.default_rng(seed), 1500)
            t, other = w.network(), w.network()
            controls = [w.network(copied=other if common else w.network(), right=0.7) for _ in range(6)]
            found = audit(t, w.network(copied=t, right=0.7), w.labels, controls, control_kind="kd-other").verdicts
            noticed[common] += found["sentence"].str.contains("resemble each other more").sum() == 2
    assert noticed[True] == 10 and noticed[False] <= 1


@pytest.mark.parametrize(
    ("flips", "low", "high"),
    # Clopper and Pearson 1934; R: binom.test(x, 1000)$conf.int
    [(0, 0.0, 0.0036820839), (1, 2.5317487e-05, 5.5589243e-03), (5, 0.0016254195, 0.0116294706)],
)
def test_rates_of_one_network_have_exact_intervals(flips: int, low: float, high: float) -> None:
    y = np.arange(1000) % 10
    t = y.copy()
    t[-50:] = (t[-50:] + 1) % 10
    s = t.copy()
    s[:flips] = (s[:flips] + 1) % 10
    row = of(audit(t, s, y), "negative_flip_rate", "value")
    assert (row["ci_low"], row["ci_high"]) == pytest.approx((low, high), rel=1e-7)


def test_a_control_in_the_students_place_is_counted_against_as_many_as_the_student() -> None:
    """The student copies; a fresh control has as many entries against two controls as the table expects."""
    expected, fresh, own = [], [], []
    for seed in range(12):
        w = world(np.random.default_rng(seed), 2000)
        t = w.network()
        controls = [w.network() for _ in range(3)]
        row = audit(t, w.network(copied=t, right=0.5), w.labels, controls).inherited.iloc[0]
        expected.append(row["n_expected"])
        own.append(row["n_comparable"])
        for _ in range(10):
            one, wrong = w.network(), t != w.labels
            against = [np.sum([c == t for c in controls[:k] + controls[k + 1 :]], axis=0) for k in range(3)]
            fresh.append(np.mean([(wrong & (one == t) & (2 * same < 2)).sum() for same in against]))
    assert np.mean(expected) == pytest.approx(np.mean(fresh), rel=0.1) and np.mean(own) > 2 * np.mean(expected)


def test_a_constant_student_agrees_by_class_alone_exactly() -> None:
    rng = np.random.default_rng(5)
    y = rng.integers(0, 2, 300)
    t = np.where(rng.random(300) < 0.8, y, rng.integers(0, 2, 300))
    row = of(audit(t, np.zeros(300, int), y), "agreement_given_class", "value")
    assert row["estimate"] == 0 and np.isnan(row["ci_low"]) and "nothing varies" in row["note"]


def test_the_rank_test_is_on_the_side_of_the_teacher() -> None:
    rng = np.random.default_rng(6)
    y = rng.integers(0, 5, 400)
    made = [rng.normal(size=(400, 5)) + 2 * np.eye(5)[y] for _ in range(8)]
    near = 0.7 * made[0] + 0.3 * made[1]
    found = audit(made[0], near, y, made[2:], controls_exchangeable=True, primary="fidelity_kl")
    row = of(found, "fidelity_kl", "excess")
    assert row["position"] == "7 of 7" and row["p_value"] == pytest.approx(1 / 7) and "smaller" in row["note"]
    with pytest.raises(UserError, match="primary is 'accuracy'"):
        audit(made[0], near, y, made[2:], controls_exchangeable=True, primary="accuracy")


def test_one_control_makes_no_claim_in_any_part() -> None:
    w = world(np.random.default_rng(41), 600)
    found = audit(w.network(), w.network(), w.labels, [w.network()])
    against = found.where[found.where["estimator"] == "excess"]
    assert len(against) and against["ci_low"].isna().all()
    assert found.inherited["n_expected"].isna().all()


def test_intervals_stay_within_what_there_can_be() -> None:
    rng = np.random.default_rng(43)
    y = rng.integers(0, 2, 5)
    t, s, *c = (rng.normal(size=(5, 2)) for _ in range(5))
    for students in (s, [s, c.pop()]):
        found = audit(t, students, y, c[:2], level=0.01)
        rows = found.measures.set_index(["measure", "estimator"])
        for measure in ("fidelity_kl", "cross_entropy"):
            assert not rows.loc[(measure, "value"), "ci_low"] < 0
        for estimator in ("difference", "excess"):
            assert not rows.loc[("accuracy", estimator), "ci_low"] < -1
            assert not rows.loc[("accuracy", estimator), "ci_high"] > 1
        assert "(98% interval)" in found.verdict
