"""Verdicts on planted scores: intersection–union, families, direction, equivalence, failures, what came late."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from kdstats import verdicts
from kdstats.protocol import HypothesisPoint, Point
from kdstats.verdicts import Evidence, decide, explore, judge

KD, OTHER, CE, RCD = (
    Point(arm, arm, (), "fresh") for arm in ("kd", "kd-other", "ce", "rcd")
)  # fmt: skip


def table(values, metric="agreement", seeds=1):
    """values: arm -> one number a teacher (or an array teachers × seeds)."""
    rows = [
        {"arm": arm, "arm_params": "", "teacher": t, "seed": s, "metric": metric, "value": v, "n": 100.0}
        for arm, column in values.items()
        for t, per_teacher in enumerate(column)
        for s, v in enumerate(np.atleast_1d(per_teacher))
    ]
    return pd.DataFrame(rows)


def evidence(values, **more):
    scores = pd.concat([table(v, m) for m, v in values.items()]) if "agreement" in values else table(values)
    pairs = tuple(dict.fromkeys(zip(scores["teacher"], scores["seed"], strict=True)))
    return Evidence(scores, more.pop("pairs", pairs), **more)


def claim(name="h", arm=KD, controls=(CE,), direction="greater", **more):
    settings = {
        "metric": "agreement", "scope_teachers": "recipe", "scope_examples": "this test set", "test": "sign-flip",
        "margin": None, "family": "confirmatory",
    } | more  # fmt: skip
    return HypothesisPoint(name=name, hypothesis=name, arm=arm, controls=controls, direction=direction, **settings)


UP = [0.91, 0.92, 0.93, 0.94, 0.95, 0.96]
LOW = [0.90] * 6  # all six differences are positive: one-sided 2⁻⁶ = .015625


def test_one_control_by_hand():
    contrasts, found = judge(evidence({"kd": UP, "ce": LOW}), [claim()], 0.05, "holm")
    (row,) = found.to_dict("records")
    assert (row["verdict"], row["p_value"], row["p_adjusted"]) == ("supported", 1 / 64, 1 / 64)
    assert row["estimate"] == pytest.approx(0.035) and row["n_units"] == 6
    assert contrasts.loc[0, "p_reverse"] == 1.0 and contrasts.loc[0, "sem"] == pytest.approx(
        np.std(UP, ddof=1) / 6**0.5
    )


def test_the_largest_p_over_the_controls_decides():
    values = {"kd": UP, "ce": LOW, "rcd": [0.905, 0.925, 0.90, 0.90, 0.90, 0.90]}  # one pair goes the other way
    _, found = judge(evidence(values), [claim(controls=(CE, RCD))], 0.05, "holm")
    # differences .005, -.005, .03, .04, .05, .06: sums ≥ .18 have the last four up and .005s at 0 or more: 3 of 64
    assert found.loc[0, "p_value"] == 3 / 64
    assert found.loc[0, "verdict"] == "supported" and "minus rcd, the closest control" in found.loc[0, "sentence"]


def test_the_family_is_corrected_over_hypotheses_not_over_controls():
    values = {"kd": UP, "ce": LOW, "rcd": LOW}
    three = [claim("a"), claim("b", controls=(CE, RCD)), claim("c", controls=(RCD,))]
    _, found = judge(evidence(values), three, 0.05, "holm")
    assert found["p_adjusted"].tolist() == [3 / 64] * 3 and set(found["verdict"]) == {"supported"}
    _, four = judge(evidence(values), [*three, claim("d", controls=(RCD,), test="wilcoxon")], 0.05, "holm")
    assert four["p_adjusted"].tolist() == [4 / 64] * 4 and set(four["verdict"]) == {"inconclusive"}
    _, split = judge(evidence(values), [*three, claim("d", family="other")], 0.05, "holm")
    assert split["p_adjusted"].tolist() == [3 / 64] * 3 + [1 / 64]


def test_the_other_way_against_some_control_is_refuted_after_holm_over_controls():
    values = {"kd": LOW, "ce": UP, "rcd": LOW}
    _, found = judge(evidence(values), [claim(controls=(CE, RCD))], 0.05, "holm")
    assert found.loc[0, "verdict"] == "refuted" and found.loc[0, "p_refuted"] == 2 / 64
    assert "minus ce" in found.loc[0, "sentence"] and "opposite" in found.loc[0, "sentence"]


def test_equivalent_negligible_and_a_margin_too_narrow():
    same = {"kd": [0.901, 0.899, 0.902, 0.898, 0.901, 0.899], "ce": LOW}
    _, found = judge(evidence(same), [claim(margin=0.01)], 0.05, "holm")
    assert found.loc[0, "verdict"] == "equivalent" and found.loc[0, "p_equivalence"] == 1 / 64
    tiny = {"kd": [0.9001, 0.9002, 0.9003, 0.9001, 0.9002, 0.9003], "ce": LOW}
    _, found = judge(evidence(tiny), [claim(margin=0.01)], 0.05, "holm")
    assert found.loc[0, "verdict"] == "negligible"
    _, found = judge(evidence({"kd": UP, "ce": LOW}), [claim(margin=0.01)], 0.05, "holm")
    assert found.loc[0, "verdict"] == "supported"


@pytest.mark.parametrize(
    ("p", "refuted", "equivalent", "verdict"),
    [
        (0.05, 1, None, "supported"), (0.0501, 1, None, "inconclusive"), (1, 0.05, None, "refuted"),
        (0.05, 1, 0.05, "negligible"), (1, 0.05, 0.05, "negligible"), (0.5, 0.5, 0.05, "equivalent"),
        (0.5, 0.5, 0.06, "inconclusive"), (0.01, 1, 0.06, "supported"),
    ],
)  # fmt: skip
def test_decisions(p, refuted, equivalent, verdict):
    assert decide(p, refuted, equivalent, 0.05) == verdict
    assert decide(p, refuted, equivalent, 0.05, more_failures=True) == "inconclusive"


def test_swapping_arm_and_control_mirrors_everything():
    rng = np.random.default_rng(3)
    values = {"kd": rng.normal(0.9, 0.01, 8), "ce": rng.normal(0.89, 0.01, 8)}
    one, _ = judge(evidence(values), [claim()], 0.05, "holm")
    two, _ = judge(evidence(values), [claim(arm=CE, controls=(KD,), direction="less")], 0.05, "holm")
    for name in ("estimate", "dz", "hedges_g", "rank_biserial", "ci_low"):
        other = "ci_high" if name == "ci_low" else name
        assert one.loc[0, name] == pytest.approx(-two.loc[0, other])
    assert one.loc[0, "p_value"] == two.loc[0, "p_value"] and one.loc[0, "p_reverse"] == two.loc[0, "p_reverse"]
    assert one.loc[0, "cles"] == pytest.approx(1 - two.loc[0, "cles"])


def test_an_arm_against_itself_under_another_name_has_p_one():
    values = {"kd": UP, "ce": UP}
    contrasts, found = judge(evidence(values), [claim(direction="two-sided")], 0.05, "holm")
    assert contrasts.loc[0, "p_value"] == 1.0 and found.loc[0, "verdict"] == "inconclusive"
    assert "all differences are equal" in contrasts.loc[0, "note"]


def test_scopes_have_their_own_units():
    rng = np.random.default_rng(4)
    values = {"kd": 0.9 + rng.normal(0.01, 0.01, (6, 4)), "ce": np.full((6, 4), 0.9)}
    recipe, _ = judge(evidence(values), [claim()], 0.05, "holm")
    these, _ = judge(evidence(values), [claim(scope_teachers="these")], 0.05, "holm")
    each, verdict = judge(evidence(values), [claim(scope_teachers="each")], 0.05, "holm")
    assert (recipe.loc[0, "n_units"], these.loc[0, "n_units"], len(each), each.loc[0, "n_units"]) == (6, 24, 6, 4)
    assert recipe.loc[0, "df"] == 5 and these.loc[0, "df"] == 18 and each.loc[0, "df"] == 3
    assert (
        recipe.loc[0, "estimate"] == pytest.approx(these.loc[0, "estimate"]) == pytest.approx(each["estimate"].mean())
    )
    means = (values["kd"] - 0.9).mean(1)
    assert recipe.loc[0, "sem"] == pytest.approx(means.std(ddof=1) / 6**0.5)
    assert [verdict.loc[t, "hypothesis"] for t in (0, 5)] == ["h[teacher=0]", "h[teacher=5]"]
    assert "teacher 5 alone (4 students)" in verdict.loc[5, "sentence"]
    assert (
        "these 6 teachers (24 students), on this test set"
        in judge(evidence(values), [claim(scope_teachers="these")], 0.05, "holm")[1].loc[0, "sentence"]
    )


def test_pairs_of_teachers_are_the_units_against_kd_other():
    groups = {0: 0, 1: 0, 2: 2, 3: 2, 4: 4, 5: 4}
    values = {"kd": UP, "kd-other": LOW}
    contrasts, found = judge(evidence(values, clusters=groups), [claim(controls=(OTHER,))], 0.05, "holm")
    assert contrasts.loc[0, "n_units"] == 3 and found.loc[0, "p_value"] == 1 / 8
    assert "3 pairs of teachers" in found.loc[0, "sentence"]
    assert contrasts.loc[0, "sem"] == pytest.approx(np.std([0.015, 0.035, 0.055], ddof=1) / 3**0.5)


def test_an_arm_that_fails_more_often_is_not_supported_by_what_is_left():
    values = {"kd": UP[:5], "ce": LOW}
    pairs = tuple((t, 0) for t in range(6))
    contrasts, found = judge(evidence(values, pairs=pairs), [claim()], 0.05, "holm")
    assert contrasts.loc[0, ["n_failed_arm", "n_failed_control", "n_pairs"]].tolist() == [1, 0, 5]
    # at worst it scored 0, .9 below its control: the flips of that one, and one more, have sums as large
    assert found.loc[0, "p_value"] == 33 / 64 and found.loc[0, "verdict"] == "inconclusive"
    assert "p is the worst over what 1 failed network(s) might have scored, 0 to 1" in found.loc[0, "sentence"]
    _, other = judge(evidence({"kd": UP, "ce": LOW[:5]}, pairs=pairs), [claim()], 0.05, "holm")
    assert other.loc[0, "verdict"] == "supported"


def test_a_hypothesis_without_data_stays_in_its_family():
    values = {"kd": UP, "ce": LOW}
    pairs = tuple((t, 0) for t in range(6))
    _, found = judge(evidence(values, pairs=pairs), [claim("a"), claim("b", controls=(RCD,))], 0.05, "holm")
    assert found["verdict"].tolist() == ["supported", "inconclusive"]
    assert found.loc[0, "p_adjusted"] == 2 / 64 and np.isnan(found.loc[1, "p_value"])
    assert "not measurable" in found.loc[1, "sentence"]


def test_what_came_late_is_a_family_of_its_own_and_says_so():
    values = {"kd": UP, "ce": LOW, "rcd": LOW}
    both = [claim("a"), claim("b", controls=(RCD,))]
    _, found = judge(evidence(values, late=frozenset({"b", ("rcd", "")})), both, 0.05, "holm")
    assert found["p_adjusted"].tolist() == [1 / 64, 1 / 64]
    assert found["declared"].tolist() == ["before training", "after training: hypothesis, arm"]
    _, seeds = judge(evidence(values, late=frozenset({("seeds",)})), both, 0.05, "holm")
    assert set(seeds["declared"]) == {"after training: seeds"} and set(seeds["family"]) == {"confirmatory"}
    _, named = judge(evidence(values, late=frozenset({("seeds",)})), [claim("seeds")], 0.05, "holm")
    assert set(named["family"]) == {"confirmatory"}  # a hypothesis may bear that name


def test_the_asymmetry_is_h_of_mean_counts_on_pairs_of_teachers():
    # A⁺, A⁻ per teacher of 90 and 10 examples; h by hand from disagreements + ½, averaged over the pair's teachers
    plus = {"kd": [80 / 90, 84 / 90, 80 / 90, 84 / 90], "kd-other": [78 / 90, 80 / 90, 76 / 90, 80 / 90]}
    minus = {"kd": [0.6, 0.8, 0.5, 0.7], "kd-other": [0.5, 0.5, 0.5, 0.5]}
    scores = pd.concat(
        [table(plus, "positive_transfer").assign(n=90.0), table(minus, "negative_transfer").assign(n=10.0)]
    )
    found = Evidence(scores, tuple((t, 0) for t in range(4)), {0: 0, 1: 0, 2: 2, 3: 2})
    h = claim(controls=(OTHER,), metric="asymmetry", test="paired-t")
    contrasts, verdict = judge(replace(found, rules=1), [h], 0.05, "holm")
    first = np.log((8 + 0.5) / (3 + 0.5)) - np.log((11 + 0.5) / (5 + 0.5))
    second = np.log((8 + 0.5) / (4 + 0.5)) - np.log((12 + 0.5) / (5 + 0.5))
    assert contrasts.loc[0, "estimate"] == pytest.approx((first + second) / 2, abs=1e-12)
    assert contrasts.loc[0, "estimator"] == "headroom" and contrasts.loc[0, "n_units"] == 2
    assert verdict.loc[0, "verdict"] == "withdrawn" and "docs/errors-and-knowledge.md" in verdict.loc[0, "sentence"]
    assert np.isnan(verdict.loc[0, "p_value"]) and np.isnan(contrasts.loc[0, "p_value"])
    assert np.isfinite(contrasts.loc[0, "ci_low"]) and contrasts.loc[0, "kind"] == "descriptive"


def test_new_examples_widen_the_interval_of_a_difference_that_some_examples_make():
    # every network differs from its control on the same 3 of 100 examples: certain on this test set, not on new ones
    rng = np.random.default_rng(0)
    hit = np.zeros(100)
    hit[:3] = 1.0
    rows = {
        (arm, t): (hit if arm == "kd" else np.zeros(100)) + rng.normal(0, 1e-3, 100)
        for arm in ("kd", "ce")
        for t in range(6)
    }
    values = {arm: [rows[arm, t].mean() for t in range(6)] for arm in ("kd", "ce")}

    def per_example(metric, keys):
        return np.array([rows[arm, teacher] for arm, _, teacher, _ in keys])

    e = evidence(values, per_example=per_example)
    here, _ = judge(e, [claim(test="paired-t")], 0.05, "holm")
    new, found = judge(e, [claim(test="two-way-t", scope_examples="new")], 0.05, "holm")
    assert here.loc[0, "p_value"] < 1e-6 < 0.03 < new.loc[0, "p_value"]
    assert new.loc[0, "sem"] == pytest.approx(hit.std(ddof=1) / 10, rel=0.01)  # the examples' own standard error
    assert found.loc[0, "sentence"].endswith("on new examples.")


def test_exploratory_rows_bear_no_verdict_and_descriptive_ones_no_p():
    scores = pd.concat([
        table({"kd": UP, "ce": LOW}),
        table({"kd": UP, "ce": LOW}, "positive_transfer"),
        table({"kd": [0.5] * 6, "ce": [0.4] * 6}, "negative_transfer"),
    ])  # fmt: skip
    e = Evidence(scores, tuple((t, 0) for t in range(6)))
    asked = [verdicts.Comparison("agreement", KD, CE)]
    asked += [verdicts.Comparison("asymmetry", KD, CE, test="paired-t", estimator=x) for x in ("headroom", "raw")]
    rows = explore(e, asked, 0.05, "holm")
    assert rows["kind"].tolist() == ["exploratory"] + ["descriptive"] * 2 and set(rows["verdict"]) == {""}
    assert rows.loc[0, "p_adjusted"] == 2 / 64 and rows.loc[1:, "p_value"].isna().all()
    assert "positive under pure copying" in rows.loc[2, "note"] and "less accurate" in rows.loc[1, "note"]


def test_null_protocols_are_supported_at_most_at_the_level():
    """Whole-protocol error of 3 hypotheses that share an arm on exchangeable data: within 4 standard errors of .05."""
    rng = np.random.default_rng(11)
    wrong, protocols = 0, 200
    claims = [claim(name, controls=(control,)) for name, control in (("a", CE), ("b", RCD), ("c", OTHER))]
    for _ in range(protocols):
        values = {arm: rng.normal(0.9, 0.01, 8) for arm in ("kd", "ce", "rcd", "kd-other")}
        _, found = judge(evidence(values), claims, 0.05, "holm")
        wrong += (found["verdict"] == "supported").any()
    assert wrong / protocols <= 0.05 + 4 * (0.05 * 0.95 / protocols) ** 0.5


def test_a_teacher_without_errors_is_left_out_and_is_no_failure():
    wrong = table({"kd": [0.6, 0.7, np.nan], "ce": [0.5, 0.4, np.nan]}, "negative_transfer")
    wrong = wrong.assign(n=10.0, note=np.where(wrong["value"].isna(), "the teacher is wrong on none", ""))
    right = table({"kd": [0.9, 0.9, 0.9], "ce": [0.8, 0.8, 0.85]}, "positive_transfer").assign(n=90.0, note="")
    e = Evidence(pd.concat([right, wrong]), tuple((t, 0) for t in range(3)))
    asked = claim(controls=(CE,), metric="negative_transfer", test="paired-t")
    contrasts, found = judge(e, [asked], 0.05, "holm")
    assert contrasts.loc[0, ["n_pairs", "n_failed_arm", "n_failed_control"]].tolist() == [2, 0, 0]
    assert contrasts.loc[0, "note"].startswith("1 of 3 pairs is left out: the teacher is wrong on none")
    nobody = Evidence(pd.concat([right, wrong[wrong["teacher"] == 2]]), tuple((t, 0) for t in range(3)))
    _, found = judge(nobody, [asked], 0.05, "holm")
    assert found.loc[0, "verdict"] == "inconclusive" and "the teacher is wrong on none" in found.loc[0, "sentence"]


def test_means_that_differ_by_rounding_are_equal():
    # .1 + .2 + .3 and .3 + .2 + .1 have other last bits than their sum has the other way round
    values = {"kd": np.array([[0.1, 0.2, 0.3]] * 6), "ce": np.array([[0.3, 0.2, 0.1]] * 6)}
    for test in ("sign-flip", "wilcoxon", "paired-t"):
        contrasts, found = judge(evidence(values), [claim(test=test)], 0.05, "holm")
        assert contrasts.loc[0, "estimate"] == 0 and contrasts.loc[0, "p_value"] == 1
        assert found.loc[0, "verdict"] == "inconclusive" and "nan" not in found.loc[0, "sentence"]


# Claims at a margin ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("direction", "arm", "verdict", "p"),
    [
        ("not-less", [0.899] * 3 + [0.901] * 3, "supported", 1 / 64),
        ("not-less", [0.87, 0.86, 0.85, 0.87, 0.86, 0.85], "refuted", 1.0),
        ("not-greater", [0.899] * 3 + [0.901] * 3, "supported", 1 / 64),
        ("not-greater", [0.93, 0.94, 0.95, 0.93, 0.94, 0.95], "refuted", 1.0),
        ("equivalent", [0.899] * 3 + [0.901] * 3, "supported", 1 / 64),
        ("equivalent", [0.93, 0.94, 0.95, 0.93, 0.94, 0.95], "refuted", 1.0),
        ("equivalent", [0.85, 0.95] * 3, "inconclusive", None),
    ],
)
def test_claims_at_a_margin(direction, arm, verdict, p):
    values = {"kd": arm, "ce": LOW}
    contrasts, found = judge(evidence(values), [claim(direction=direction, margin=0.01)], 0.05, "holm")
    assert found.loc[0, "verdict"] == verdict and "margin" in contrasts.loc[0, "test"]
    assert p is None or found.loc[0, "p_value"] == p
    if verdict == "refuted":  # all six beyond the margin: 2⁻⁶, times the two sides of an equivalence
        assert found.loc[0, "p_refuted"] == (2 if direction == "equivalent" else 1) / 64
        assert "beyond the margin of 0.01" in found.loc[0, "sentence"]


def test_mirrored_claims_at_a_margin_have_the_same_p():
    rng = np.random.default_rng(5)
    values = {"kd": rng.normal(0.9, 0.01, 8), "ce": rng.normal(0.9, 0.01, 8)}
    for one, two in (("not-less", "not-greater"), ("equivalent", "equivalent")):
        _, a = judge(evidence(values), [claim(direction=one, margin=0.01)], 0.05, "holm")
        _, b = judge(evidence(values), [claim(arm=CE, controls=(KD,), direction=two, margin=0.01)], 0.05, "holm")
        assert a.loc[0, "p_value"] == b.loc[0, "p_value"] and a.loc[0, "p_refuted"] == b.loc[0, "p_refuted"]


def test_rope_is_a_share_of_the_posterior():
    contrasts, _ = judge(evidence({"kd": UP, "ce": LOW}), [claim(margin=0.035)], 0.05, "holm")
    # the mean is .035, the margin's end, and 70 / 7.6 standard errors lie below: half of the posterior
    assert contrasts.loc[0, "rope"] == pytest.approx(0.5, abs=1e-3)


# Joint correction ------------------------------------------------------------------------------------------------


def test_max_t_costs_less_than_holm_and_has_no_factor():
    values = {"kd": UP, "ce": LOW, "rcd": LOW}
    three = [claim("a"), claim("b", controls=(CE, RCD)), claim("c", controls=(RCD,))]
    _, found = judge(evidence(values), three, 0.05, "max-t")
    assert found["p_adjusted"].tolist() == [1 / 64] * 3 and set(found["correction"]) == {"max-t"}
    rng = np.random.default_rng(2)
    noisy = {"kd": rng.normal(0.905, 0.01, 8), "ce": rng.normal(0.9, 0.01, 8), "rcd": rng.normal(0.9, 0.01, 8)}
    _, joint = judge(evidence(noisy), three, 0.05, "max-t")
    assert (joint["p_adjusted"] >= joint["p_value"]).all()


def test_max_t_gives_way_to_holm_where_failed_networks_left_other_units():
    scores = table({"kd": UP, "ce": LOW, "rcd": LOW[:5]})
    found = judge(
        Evidence(scores, tuple((t, 0) for t in range(6))), [claim("a"), claim("b", controls=(RCD,))], 0.05, "max-t"
    )[1]
    assert set(found["correction"]) == {"holm"}


# Failed networks -------------------------------------------------------------------------------------------------


def test_a_failed_arm_must_survive_the_worst_that_it_might_have_scored():
    pairs = tuple((t, 0) for t in range(12))
    there = {"kd": [0.95, 0.96] * 5 + [0.95], "ce": [0.90] * 12}  # one of twelve kd students failed
    contrasts, found = judge(evidence(there, pairs=pairs), [claim()], 0.05, "holm")
    # a score of 0 is .9 below the control, more than all the others are above theirs
    assert contrasts.loc[0, "n_failed_arm"] == 1 and contrasts.loc[0, "p_value"] > 0.05
    assert found.loc[0, "verdict"] == "inconclusive" and "might have scored" in contrasts.loc[0, "note"]
    low = {"kd": [0.95, 0.96] * 5 + [0.95], "ce": [0.90] * 11 + [0.001]}  # even a score of 0 would cost .001
    contrasts, found = judge(evidence(low, pairs=pairs), [claim()], 0.05, "holm")
    assert found.loc[0, "verdict"] == "supported" and contrasts.loc[0, "p_value"] == 2 / 2**12


def test_a_metric_without_bounds_has_no_worst_case():
    pairs = tuple((t, 0) for t in range(7))
    there = {"kd": UP, "ce": [0.1] * 7}
    scores = table(there, "cross_entropy")
    found = judge(Evidence(scores, pairs), [claim(metric="cross_entropy")], 0.05, "holm")[1]
    assert found.loc[0, "verdict"] == "inconclusive" and "failed to train" in found.loc[0, "sentence"]


# Several datasets ------------------------------------------------------------------------------------------------


def test_a_hypothesis_is_one_claim_a_dataset():
    one, other = evidence({"kd": UP, "ce": LOW}), evidence({"kd": LOW, "ce": UP})
    contrasts, found = verdicts.judge_datasets(
        {"digits": (one, [claim()]), "cifar10": (other, [claim()])}, 0.05, "holm"
    )
    assert found["hypothesis"].tolist() == ["h[dataset=digits]", "h[dataset=cifar10]"]
    assert found["p_adjusted"].tolist() == [2 / 64, 1.0] and found["verdict"].tolist() == ["supported", "refuted"]
    assert len(contrasts) == 2
