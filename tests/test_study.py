"""Studies: one protocol at several values; trends planted and found; mistakes named by line; the command line."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats as distributions
from statsmodels.stats.multitest import multipletests

from kdstats.errors import UserError
from kdstats.metrics import distinctness
from kdstats.plan import make_plan
from kdstats.scoring import Networks
from kdstats.store import Stored
from kdstats.study import floors, read_study, study_of, value_text
from kdstats.trends import _slope, describe, judge
from tests.conftest import kdstats

STUDY = """
name: tiny
over: teacher.model
values: [mlp, cnn, resnet8]
dataset: {name: digits, train: 150, test: 300}
teacher: {seeds: 3}
student: {model: mlp, seeds: 1}
initialisation: fresh
recipe: {optimiser: adamw, learning_rate: 0.01, epochs: 2, batch_size: 25}
metrics: [accuracy, agreement, derived_spread]
arms:
  ce:
  kd: {alpha: 0.9, temperature: 4}
  kd-other: {alpha: [0.5, 0.9], temperature: 4}
trends:
  - {name: spread-falls, metric: derived_spread, direction: decreasing}
  - {name: gains, metric: accuracy, arm: kd, control: ce, direction: two-sided}
  - {name: affinity, metric: class_affinity, direction: stable, margin: 0.1}
""".replace("teacher: {seeds: 3}", "teacher: {seeds: 4}")


def written(tmp_path, text=STUDY):
    file = tmp_path / "s.yaml"
    file.write_text(text)
    return file


def test_each_value_is_a_protocol_of_its_own(tmp_path):
    study = read_study(written(tmp_path))
    assert [p.teacher.model for p in study.protocols] == ["mlp", "cnn", "resnet8"] == list(study.values)
    assert [p.name for p in study.protocols] == ["tiny-mlp", "tiny-cnn", "tiny-resnet8"]
    assert {p.hypotheses for p in study.protocols} == {()} and study.level == 0.05
    assert study_of(written(tmp_path)) is not None
    assert read_study(written(tmp_path, STUDY.replace("train: 150", "train: 160"))).hash != study.hash


def test_hypotheses_of_runs_share_the_level_with_the_trends(tmp_path):
    more = STUDY + "hypotheses:\n  - {metric: agreement, arm: kd, control: ce, direction: greater}\n"
    study = read_study(written(tmp_path, more))
    assert study.level == pytest.approx(0.0125) and {p.level for p in study.protocols} == {study.level}


def test_values_within_an_arm_and_numbers(tmp_path):
    text = over(
        "arms.kd.temperature", "[1, 2.5, 16]", "  - {name: gains, metric: accuracy, arm: kd, direction: two-sided}"
    )
    study = read_study(written(tmp_path, text.replace("kd: {alpha: 0.9, temperature: 4}", "kd: {alpha: 0.9}")))
    kd = [next(p for p in protocol.points if p.arm == "kd") for protocol in study.protocols]
    assert [dict(p.parameters)["temperature"] for p in kd] == [1.0, 2.5, 16.0] and study.values == ("1", "2.5", "16")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[mlp, cnn, resnet8]", "[mlp]", "s.yaml:4: values: a ladder of one rung"),
        ("[mlp, cnn, resnet8]", "[mlp, cnn, mlp]", "s.yaml:4: values[2]: 'mlp' is here twice"),
        ("[mlp, cnn, resnet8]", "[a:b, a-b]", "values[1]: 'a-b' is here twice, as a-b"),
        ("[mlp, cnn, resnet8]", "[mlp, resnet9]", "'resnet9' is not allowed"),
        (
            "over: teacher.model",
            "over: hypotheses",
            "s.yaml:3: over: 'hypotheses' is no key of a protocol",
        ),
        ("seeds: 4", "seeds: 2", "class_affinity needs three teachers of each capacity"),
        ("arm: kd,", "arm: kd-other,", "kd-other has 2 points here; a trend is of one: add `at`"),
        ("arm: kd,", "arm: kdd,", "'kdd' is no arm here"),
        ("metric: derived_spread", "metric: agreement", "agreement compares a student with its teacher"),
        ("direction: stable, margin: 0.1", "direction: stable", "stable is a claim about a margin"),
        ("name: gains", "name: affinity", "a second trend 'affinity'"),
        (
            "direction: two-sided",
            "direction: two-sided, margin: 0.1",
            "trends[1].margin: belongs to `direction: stable`",
        ),
        ("control: ce", "control: kd", "trends[1].control: a control is another arm"),
        ("control: ce", "control: teacher", "trends[1].control: a control is another arm"),
        (
            "control: ce",
            "control: ce, at: {alhpa: 0.9}",
            "trends[1].at.alhpa: is no parameter of its arms; there are alp",
        ),
        ("control: ce", "control: ce, at: {alpha: 0.5}", "trends[1].at: kd has no point with alpha=0.5"),
        (
            "metric: class_affinity,",
            "metric: class_affinity, arm: kd,",
            "class_affinity is of teachers: leave `arm` out",
        ),
        ("direction: stable", "direction: increasing", "class_affinity is claimed to be stable"),
        ("teacher: {", "teacher: {model: mlp, ", "s.yaml:6: teacher.model: is what the study varies"),
        (
            "values: [mlp, cnn, resnet8]",
            "values: mlp",
            "s.yaml:4: values: 'mlp' is not allowed: a list of the key's values",
        ),
        ("over: teacher.model", "over: hypotheses.x", "s.yaml:3: over: 'hypotheses.x' is no key"),
        ("dataset: {", "stop: {rule: anytime, max_seeds: 8}\ndataset: {", "stop: a study is looked at once"),
        ("alpha: 0.9, temp", "alpha: 9, temp", "arms.kd.alpha: 9 is not allowed"),
    ],
)
def test_mistakes_are_named(tmp_path, old, new, said):
    with pytest.raises(UserError) as refused:
        read_study(written(tmp_path, STUDY.replace(old, new)))
    assert said in str(refused.value)


def test_names_of_values_are_names_of_folders():
    assert value_text("torchvision:resnet18") == "torchvision-resnet18" and value_text(1e-3) == "0.001"


def over(key, values, trends, text=STUDY):
    """The study over another key."""
    text = text.replace("over: teacher.model", f"over: {key}").replace("[mlp, cnn, resnet8]", values)
    return text.replace("{seeds: 4}", "{model: mlp, seeds: 4}").partition("trends:")[0] + f"trends:\n{trends}\n"


@pytest.mark.parametrize(
    ("key", "values", "trend", "said"),
    [
        ("student.seeds", "[1, 2]", "metric: class_affinity, direction: stable, margin: 0.1", "have the same teachers"),
        (
            "student.seeds",
            "[1, 2]",
            "metric: accuracy, direction: increasing",
            "have the same teachers, of whom nothing",
        ),
        ("teacher.seeds", "[2, 4]", "metric: accuracy, arm: ce, direction: increasing", "share some of their teachers"),
        (
            "dataset.test",
            "[200, 300]",
            "metric: class_affinity, direction: stable, margin: 0.1",
            "compares teachers on the same images; dataset.test changes them",
        ),
    ],
)
def test_what_is_said_of_teachers_is_said_where_they_differ(tmp_path, key, values, trend, said):
    text = over(key, values, f"  - {{name: one, {trend}}}")
    for old in ("student: {model: mlp, seeds: 1}", "teacher: {model: mlp, seeds: 4}", "train: 150, test: 300"):
        role = old.partition(":")[0]
        text = text.replace(old, f"{role}: {{model: mlp}}") if key.startswith(role) else text
    text = text.replace(", test: 300", "") if key == "dataset.test" else text
    with pytest.raises(UserError, match=said):
        read_study(written(tmp_path, text))


def test_the_smallest_p_of_a_trend(tmp_path):
    study = read_study(written(tmp_path))
    # one of 12! / 4!³ arrangements; two of (3!)⁴ orders within blocks; t reaches any
    assert [p for _, p, _ in floors(study)] == [1 / 34650, 2 / 1296, 0.0]
    swapped = STUDY.replace(
        "arm: kd, control: ce", "arm: kd-other, at: {alpha: 0.5}, control: ce"
    )  # two pairs of teachers
    rises = swapped.replace("two-sided", "increasing")
    assert floors(read_study(written(tmp_path, rises)))[1][1] == 1 / 36
    with pytest.raises(
        UserError, match=r"s.yaml:17: trends\[1\]: cannot get below p = 0.0556 .*level 0.05 is out of reach"
    ):
        read_study(written(tmp_path, swapped))


# Trends ----------------------------------------------------------------------------------------------------------


def networks(protocol, sharpness, rng, n=200, own=True):
    """Teachers whose logits are one relation between classes, sharpened, with a little of their own."""
    labels = np.arange(n) % 4
    relation = np.array([[3.0, 1.5, 0.5, 0.0], [1.5, 3.0, 0.0, 0.5], [0.5, 0.0, 3.0, 1.5], [0.0, 0.5, 1.5, 3.0]])
    plan = make_plan(protocol, "data" if own else "shared")
    stored, by_key = {}, {}
    for replicate in plan.replicates:
        if replicate.role == "teacher":
            logits = sharpness * relation[labels] + rng.normal(0, 0.05, (n, 4)) + rng.normal(0, 0.02, 4)
            stored[replicate.id] = Stored({}, logits.astype(np.float32), labels, "")
            by_key["teacher", "", replicate.teacher, None] = replicate
    return Networks(plan, stored, by_key, labels, Path())


def scores_of(values, rng, spread):
    """Accuracy of ce, .8, and of kd, that much better; DV of the teachers."""
    rows = []
    for dv, gain in [values]:
        for t in range(4):
            rows.append(("teacher", "", t, pd.NA, "derived_spread", dv + rng.normal(0, spread)))
            base = 0.8 + rng.normal(0, 0.02)
            rows.append(("ce", "", t, 0, "accuracy", base))
            rows.append(("kd", "alpha=0.9 temperature=4", t, 0, "accuracy", base + gain + rng.normal(0, spread)))
    return pd.DataFrame(rows, columns=["arm", "arm_params", "teacher", "seed", "metric", "value"])


def judged(tmp_path, planted, spread=0.002, sharp=(1.0, 1.5, 2.0)):
    study = read_study(written(tmp_path))
    rng = np.random.default_rng(1)
    found = [networks(p, s, rng) for p, s in zip(study.protocols, sharp, strict=True)]
    rows, levels, units = judge(study, [scores_of(values, rng, spread) for values in planted], found)
    assert np.allclose(
        units.groupby(["trend", "order"])["estimate"].mean(), levels.groupby(["trend", "order"])["estimate"].first()
    )
    return rows.set_index("trend"), levels, describe(study, found)


def test_planted_trends_are_found_with_their_direction(tmp_path):
    rows, levels, _ = judged(tmp_path, [(0.09, 0.0), (0.06, 0.02), (0.03, 0.04)])
    assert list(rows["verdict"]) == ["supported", "supported", "supported"]
    assert rows.loc["spread-falls", "estimate"] == pytest.approx(-0.06, abs=0.005)
    # Jonckheere of 4, 4 and 4 in perfect order: one of 12! / 4!³ = 34,650 arrangements
    assert rows.loc["spread-falls", "p_value"] == pytest.approx(1 / 34650)
    # students of one teacher's number share their seeds: Page, each of four blocks in one of 3! orders, two-sided
    assert rows.loc["gains", "p_value"] == pytest.approx(2 / 6**4)
    assert list(rows["p_adjusted"]) == multipletests(rows["p_value"], method="holm")[1].tolist()
    gains = levels[levels["trend"] == "gains"]
    assert np.allclose(gains["estimate"], [0.0, 0.02, 0.04], atol=0.004) and set(gains["n_units"]) == {4}
    assert "tends to fall over teacher.model from mlp to resnet8 is supported" in rows.loc["spread-falls", "sentence"]
    assert rows.loc["gains", "slope"] == pytest.approx(0.02, abs=0.003) and rows.loc["gains", "n_against"] == 0
    assert rows.loc["gains", "slope_low"] < 0.02 < rows.loc["gains", "slope_high"]


def test_the_other_way_is_refuted_and_nothing_is_inconclusive(tmp_path):
    rows, _, _ = judged(tmp_path, [(0.03, 0.0), (0.06, 0.0), (0.09, 0.0)])
    assert rows.loc["spread-falls", "verdict"] == "refuted" and "the other way" in rows.loc["spread-falls", "sentence"]
    assert rows.loc["gains", "verdict"] == "inconclusive"


def test_a_network_without_a_score_leaves_no_verdict(tmp_path):
    study = read_study(written(tmp_path))
    rng = np.random.default_rng(1)
    found = [networks(p, s, rng) for p, s in zip(study.protocols, (1.0, 1.5, 2.0), strict=True)]
    tables = [scores_of(values, rng, 0.002) for values in ((0.09, 0.0), (0.06, 0.02), (0.03, 0.04))]
    tables[1] = tables[1][(tables[1]["arm"] != "kd") | (tables[1]["teacher"] != 2)]
    rows = judge(study, tables, found)[0].set_index("trend")
    assert rows.loc["gains", "verdict"] == "inconclusive" and rows.loc["gains", "n_lost"] == 1
    assert "1 network has no score" in rows.loc["gains", "sentence"]
    assert rows.loc["spread-falls", "verdict"] == "supported"  # whose networks are all there


def test_slopes_of_values_without_blocks():
    """Teachers of three values; R 4.2.2: summary(lm(y ~ x)) has the estimate, Welch's error is worked by hand."""
    groups = [np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0]), np.array([5.0, 6.0, 7.0, 6.0])]
    found = _slope(groups, False, 0.95)
    # (6 - 2) / 2; variances 1, 2 and 2/3 of means of 3, 2 and 4: error² = (1/3 + 1/6) / 4
    assert found["slope"] == pytest.approx(2.0)
    df = (1 / 3 + 1 / 6) ** 2 / ((1 / 3) ** 2 / 2 + (1 / 6) ** 2 / 3)
    half = distributions.t.ppf(0.975, df) * np.sqrt(0.125)
    assert (found["slope_low"], found["slope_high"]) == pytest.approx((2 - half, 2 + half))


def test_slopes_of_blocks_are_those_of_each():
    table = np.array([[0.0, 1.0, 2.0], [0.0, 2.0, 4.0], [5.0, 5.0, 8.0]])
    found = _slope(list(table.T), True, 0.95)
    each = [np.polyfit([0, 1, 2], row, 1)[0] for row in table]
    assert found["slope"] == pytest.approx(np.mean(each))
    assert found["slope_p"] == pytest.approx(distributions.ttest_1samp(each, 0).pvalue)


def test_each_value_is_held_against_its_own_labels(tmp_path):
    """Teachers of the second value see other images: nothing of theirs is read off the first one's labels."""
    study = read_study(written(tmp_path))
    rng = np.random.default_rng(1)
    found = [networks(p, 1.5, rng, n) for p, n in zip(study.protocols, (200, 120, 200), strict=True)]
    moved = found[2]
    shift = (moved.labels + 1) % 4
    stored = {k: Stored(s.meta, np.roll(s.logits, 1, 1), shift, "") for k, s in moved.stored.items()}
    found[2] = Networks(moved.plan, stored, moved.by_key, shift, Path())
    teachers = describe(study, found)
    assert (teachers["accuracy"] > 0.95).all() and np.isnan(teachers["rank_across"]).all()
    assert (teachers["rank_within"] > 0.3).all() and "no teachers are compared" in teachers["note"][0]


def test_what_sharpens_alone_does_not_move_what_is_matched(tmp_path):
    matched = "  - {name: matched, metric: inherent_variance_matched, direction: two-sided}\n"
    plain = "  - {name: plain, metric: inherent_variance, direction: two-sided}\n"
    study = read_study(written(tmp_path, STUDY + matched + plain))
    rng = np.random.default_rng(2)
    found = [networks(p, s, rng) for p, s in zip(study.protocols, (1.0, 1.5, 2.0), strict=True)]
    tables = [scores_of(values, rng, 0.002) for values in ((0.09, 0.0), (0.06, 0.02), (0.03, 0.04))]
    for of, table in zip(found, tables, strict=True):
        for teacher in range(4):
            iv = distinctness(of.teacher_logits(teacher), of.labels).iv
            table.loc[len(table)] = ("teacher", "", teacher, pd.NA, "inherent_variance", iv)
    rows = judge(study, tables, found)[0].set_index("trend")
    assert rows.loc["plain", "verdict"] == "supported" and rows.loc["plain", "estimate"] > 0
    assert rows.loc["matched", "verdict"] == "inconclusive"
    assert abs(rows.loc["matched", "slope"]) < 0.1 * rows.loc["plain", "slope"]


def test_late_trends_change_no_verdict_declared_before(tmp_path):
    more = "".join(f"  - {{name: more-{i}, metric: accuracy, arm: kd, direction: increasing}}\n" for i in range(6))
    early, both = read_study(written(tmp_path)), read_study(written(tmp_path, STUDY + more))
    rng = np.random.default_rng(1)
    found = [networks(p, s, rng) for p, s in zip(early.protocols, (1.0, 1.5, 2.0), strict=True)]
    tables = [scores_of(values, rng, 0.006) for values in ((0.09, 0.0), (0.06, 0.01), (0.03, 0.02))]
    before = judge(early, tables, found)[0]
    after = judge(both, tables, found, frozenset(f"more-{i}" for i in range(6)))[0]
    columns = ["trend", "p_adjusted", "verdict"]
    pd.testing.assert_frame_equal(after.head(3)[columns], before[columns])
    late = after.iloc[3:]
    assert late["p_adjusted"].to_numpy() == pytest.approx(multipletests(late["p_value"], method="holm")[1])


def test_what_cannot_be_tested_says_why(tmp_path):
    """A class without images, two classes, teachers that failed: an inconclusive row, and no end of the study."""
    study = read_study(written(tmp_path))
    rng = np.random.default_rng(1)
    tables = [scores_of(values, rng, 0.002) for values in ((0.09, 0.0), (0.06, 0.02), (0.03, 0.04))]
    whole = [networks(p, 1.0, rng) for p in study.protocols]

    def judged_with(change):
        found = [change(of) for of in whole]
        rows, table = judge(study, tables, found)[0].set_index("trend"), describe(study, found)
        assert rows.loc["affinity", "verdict"] == "inconclusive" and rows.loc["spread-falls", "verdict"] == "supported"
        return rows.loc["affinity"], table

    def without_a_class(of):
        labels = np.where(of.labels == 3, 0, of.labels)
        return Networks(of.plan, of.stored, of.by_key, labels, Path())

    row, table = judged_with(without_a_class)
    assert "not testable (class 3 has none" in row["sentence"] and table["rank_within"].isna().all()

    def of_two_classes(of):
        stored = {k: Stored(s.meta, s.logits[:, :2], s.labels, "") for k, s in of.stored.items()}
        return Networks(of.plan, stored, of.by_key, of.labels % 2, Path())

    row, table = judged_with(of_two_classes)
    assert "not testable" in row["sentence"] and table["dv"].isna().all() and table["accuracy"].notna().all()

    def two_left(of):
        gone = dict(list(of.stored.items())[:2])
        stored = {k: Stored(s.meta, None if k in gone else s.logits, s.labels, "") for k, s in of.stored.items()}
        return Networks(of.plan, stored, of.by_key, of.labels, Path())

    row, _ = judged_with(two_left)
    assert "has 2 teacher(s)" in row["sentence"] and row["n_lost"] == 6


def test_relations_that_only_sharpen_are_stable_and_less_spread(tmp_path):
    rows, _, teachers = judged(tmp_path, [(0.1, 0.0)] * 3)
    assert rows.loc["affinity", "verdict"] == "supported" and abs(rows.loc["affinity", "estimate"]) < 0.1
    assert list(teachers["target_confidence"]) == sorted(teachers["target_confidence"])
    assert np.allclose(teachers["dv_matched"], teachers["dv_matched"].mean(), rtol=0.05)  # at one confidence, alike
    assert np.ptp(teachers["dv"]) > 5 * np.ptp(teachers["dv_matched"])
    assert (teachers["affinity_across"] > 0.9).all() and (teachers["rank_within"] > 0.5).all()
    assert np.allclose(teachers["top_chance"], 2 / 3)  # two of three wrong classes


# The command line ------------------------------------------------------------------------------------------------


def test_a_study_runs_continues_and_reports(tmp_path):
    file = written(tmp_path)
    done = kdstats("run", file, "--workers", "2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "teacher.model = cnn" in done.stdout and "spread-falls: " in done.stdout
    report = tmp_path / "reports" / "tiny"
    assert {f.name for f in (report / "tables").glob("*.csv")} == {"trends.csv", "levels.csv", "capacities.csv"}
    page = (report / "index.html").read_text()
    assert 'href="cnn/index.html"' in page and (report / "cnn" / "index.html").exists()
    trends = pd.read_csv(tmp_path / "runs" / "tiny" / "trends.csv")
    assert set(trends["declared"]) == {"before training"} and len(trends) == 3
    before = {f: f.read_bytes() for f in (tmp_path / "runs" / "tiny" / "replicates").glob("*/meta.json")}
    late = "  - {name: late, metric: agreement, arm: kd, direction: decreasing}\n"
    file.write_text(STUDY + late)
    again = kdstats("run", file, cwd=tmp_path)
    assert again.returncode == 0 and "nothing to do" in again.stdout
    assert before == {f: f.read_bytes() for f in before}
    trends = pd.read_csv(tmp_path / "runs" / "tiny" / "trends.csv").set_index("trend")
    assert trends.loc["late", "declared"] == "after training"
    assert "declared after training" in (report / "index.html").read_text()
    file.write_text(STUDY.replace("direction: decreasing", "direction: increasing") + late)
    refused = kdstats("run", file, cwd=tmp_path)
    assert refused.returncode == 2 and "the trend spread-falls was changed or taken away" in refused.stderr
    assert kdstats("status", "runs/tiny", cwd=tmp_path).stdout.count("20 of 20 replicates trained") == 3
    assert kdstats("report", "runs/tiny", cwd=tmp_path).returncode == 0
    assert json.loads((tmp_path / "runs" / "tiny" / "study.json").read_text())["late"] == ["late"]


def test_what_values_share_is_trained_once_and_not_called_late(tmp_path):
    text = STUDY.replace("over: teacher.model", "over: arms.kd.temperature").replace("[mlp, cnn, resnet8]", "[1, 4]")
    text = text.replace("{seeds: 4}", "{model: mlp, seeds: 2}").replace("kd: {alpha: 0.9, temperature: 4}", "kd: {}")
    gains = "  - {name: gains, metric: accuracy, arm: kd, direction: increasing}\nlevel: 0.3\n"  # two teachers: p ≥ 1/4
    done = kdstats(
        "run", written(tmp_path, text.partition("  - {name: spread")[0] + gains), "--workers", "1", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    run = tmp_path / "runs" / "tiny"
    # 2 teachers, their ce and kd-other (two alphas) once, kd at two temperatures
    assert len(list((run / "replicates").glob("*/meta.json"))) == 2 + 2 + 4 + 4
    assert {json.loads((run / v / "environment.json").read_text())["students_existed"] for v in ("1", "4")} == {0}
    trends = pd.read_csv(run / "trends.csv")
    assert trends["blocks"].all() and trends["test"].str.contains("sign-flip").all()
    assert len(pd.read_csv(run / "capacities.csv")) == 0  # all values have the same teachers


def test_a_trend_brings_its_metric(tmp_path):
    (tmp_path / "study.yaml").write_text(STUDY)
    trend = "  - {name: sure, metric: entropy, direction: two-sided}\n"
    (tmp_path / "more.yaml").write_text(STUDY.replace("trends:\n", f"trends:\n{trend}", 1))
    assert all("entropy" in protocol.metrics for protocol in read_study(tmp_path / "more.yaml").protocols)
    (tmp_path / "needs.yaml").write_text(STUDY.replace("trends:\n", "trends:\n" + trend.replace("entropy", "cka"), 1))
    with pytest.raises(UserError, match="cka is made of activations"):
        read_study(tmp_path / "needs.yaml")
