"""Studies: one protocol at several values; trends planted and found; mistakes named by line; the command line."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.multitest import multipletests

from kdstats.errors import UserError
from kdstats.plan import make_plan
from kdstats.scoring import Networks
from kdstats.store import Stored
from kdstats.study import read_study, study_of, value_text
from kdstats.trends import describe, judge
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
    text = STUDY.replace("over: teacher.model", "over: arms.kd.temperature").replace(
        "[mlp, cnn, resnet8]", "[1, 2.5, 16]"
    )
    text = text.replace("{seeds: 4}", "{model: mlp, seeds: 4}").replace(
        "kd: {alpha: 0.9, temperature: 4}", "kd: {alpha: 0.9}"
    )
    study = read_study(written(tmp_path, text))
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
        ("alpha: 0.9, temp", "alpha: 9, temp", "arms.kd.alpha: 9 is not allowed"),
    ],
)
def test_mistakes_are_named(tmp_path, old, new, said):
    with pytest.raises(UserError) as refused:
        read_study(written(tmp_path, STUDY.replace(old, new)))
    assert said in str(refused.value)


def test_names_of_values_are_names_of_folders():
    assert value_text("torchvision:resnet18") == "torchvision-resnet18" and value_text(1e-3) == "0.001"


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
    assert rows.loc["gains", "p_value"] == pytest.approx(2 / 34650)
    assert list(rows["p_adjusted"]) == multipletests(rows["p_value"], method="holm")[1].tolist()
    gains = levels[levels["trend"] == "gains"]
    assert np.allclose(gains["estimate"], [0.0, 0.02, 0.04], atol=0.004) and set(gains["n_units"]) == {4}
    assert "falls over teacher.model from mlp to resnet8 is supported" in rows.loc["spread-falls", "sentence"]


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
    gains = "  - {name: gains, metric: accuracy, arm: kd, direction: two-sided}\n"
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
