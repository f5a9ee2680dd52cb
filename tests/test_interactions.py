"""Features of a run: planted activations whose arms differ, or not; the whole way through the command line."""

import numpy as np
import pandas as pd
import pytest
import yaml

from kdstats import interactions, mistakes
from kdstats.catalog import GROUP_METRICS
from kdstats.errors import UserError
from kdstats.plan import make_plan
from kdstats.protocol import Protocol, hypothesis_points, protocol_hash, read_protocol, resolved
from kdstats.scoring import Networks, point_key
from kdstats.store import Stored, write_replicate
from kdstats.verdicts import Evidence, judge
from tests.conftest import kdstats

N = 400


def protocol(**changes):
    plain = {
        "name": "planted", "dataset": {"name": "digits", "train": 300, "test": N},
        "teacher": {"model": "cnn", "seeds": 6}, "student": {"seeds": 2}, "initialisation": "fresh",
        "arms": {"ce": None, "kd": None}, "features": {"components": 6},
        "hypotheses": [
            {"name": "fewer", "metric": "n_features", "arm": "kd", "control": "ce", "direction": "less"},
            {"name": "more", "metric": "n_features", "arm": "kd", "control": "ce", "direction": "greater"},
        ],
    }  # fmt: skip
    return Protocol.model_validate(plain | changes)


def planted(tmp_path, private, seed=0, **changes):
    """Networks that see features of one world: four that all have, and ``private[arm]`` of their own kind.

    Private features are shared between the two students of a teacher's arm alone, so they count as features.
    """
    rng = np.random.default_rng(seed)
    plan = make_plan(protocol(**changes), "planted")
    labels = rng.integers(0, 10, N)
    common = rng.exponential(size=(N, 4))
    own = {}
    stored, by_key = {}, {}
    for replicate in plan.replicates:
        key = (*point_key(replicate.point), replicate.teacher, replicate.seed)
        alone = private.get(replicate.arm, 0)
        pool = own.setdefault((replicate.arm, replicate.teacher), rng.exponential(size=(N, 6)))
        rest = rng.exponential(size=(N, 6 - 4 - alone)) if alone < 2 else np.empty((N, 0))
        x = np.concatenate([common, pool[:, :alone], rest], axis=1) * [6, 5, 4, 3.3, 2.6, 2]
        x = x @ np.linalg.qr(rng.standard_normal((6, 6)))[0]
        logits = (np.eye(10)[labels] * 2 + rng.standard_normal((N, 10))).astype(np.float32)
        write_replicate(tmp_path, replicate.id, {}, labels, logits, None, x.astype(np.float16))
        stored[replicate.id] = Stored({}, logits, labels, "")
        by_key[key] = replicate
    return Networks(plan, stored, by_key, labels, tmp_path)


def judged(networks):
    joined = interactions.join(networks)
    plan = networks.plan
    scores = pd.DataFrame(
        [
            {"arm": key[0], "arm_params": key[1], "teacher": key[2], "seed": key[3], "metric": "accuracy", "value": 0.5,
             "n": N, "note": ""}
            for key in networks.by_key
        ]
    )  # fmt: skip
    pairs = tuple((t, s) for t in plan.protocol.teacher.seeds for s in plan.protocol.student.seeds)
    evidence = Evidence(scores, pairs, exchange=lambda *asked: interactions.exchange(joined, *asked))
    return judge(evidence, hypothesis_points(plan.protocol), 0.05, "holm")


def test_an_arm_that_uses_fewer_features_is_found_to(tmp_path):
    networks = planted(tmp_path, {"ce": 2, "kd": 0})
    contrasts, verdicts = judged(networks)
    rows = contrasts.set_index("hypothesis")
    assert rows.loc["fewer", "estimate"] == -12  # two private features of each of six teachers
    assert rows.loc["fewer", "p_value"] == 1 / 64 and rows.loc["more", "p_value"] == 1
    assert rows.loc["fewer", "n_units"] == 6 and rows.loc["fewer", "n_pairs"] == 12
    assert verdicts.set_index("hypothesis")["verdict"].to_dict() == {"fewer": "supported", "more": "refuted"}
    assert "a number of whole groups, which has no interval" in verdicts["sentence"][0]
    joined = interactions.join(networks)
    table = interactions.describe(joined, {"protocol": "planted"})["interactions"].set_index("arm")
    assert table.loc["kd", "n_features"] == 4 and table.loc["kd", "unmatched_components"] == 2
    assert table.loc["ce", "n_features_alone"] > table.loc["kd", "n_features_alone"] == 4


def test_students_of_one_teacher_are_seen_to_resemble_each_other(tmp_path):
    table = interactions.describe(interactions.join(planted(tmp_path, {"ce": 2, "kd": 0})), {})["interactions"]
    rows = table.set_index("arm")
    assert rows.loc["ce", "p_same_teacher"] <= 0.01  # private features belong to a teacher's students
    assert rows.loc["ce", "same_teacher"] == 6 and 6 < rows.loc["ce", "other_teachers"] <= 8
    assert rows.loc["kd", "p_same_teacher"] == 1


def test_arms_that_are_alike_are_called_different_as_often_as_the_level_says(tmp_path):
    p = []
    for seed in range(40):
        (tmp_path / str(seed)).mkdir()
        networks = planted(tmp_path / str(seed), {"ce": 1, "kd": 1}, seed)
        joined = interactions.join(networks)
        keys = [joined.of(arm) for arm in (("kd", "alpha=0.5 temperature=4"), ("ce", ""))]
        arm, control = (sorted(side, key=lambda key: key[2:]) for side in keys)
        found = interactions.exchange(joined, "features_per_datum", arm, control, [key[2] for key in arm])
        p.append(found.p["greater"])
        assert found.p["two-sided"] >= 2 / 64
    assert np.sum(np.array(p) <= 0.1) <= 10  # 4 expected; 11 or more once in 400


@pytest.mark.parametrize("name", GROUP_METRICS)
def test_every_number_of_a_group_is_that_of_the_tensor(tmp_path, name):
    joined = interactions.join(planted(tmp_path, {"ce": 2, "kd": 1}))
    members = joined.numbers(joined.of(("ce", "")))
    omega = joined.tensor.dense()
    any_of = omega[members].any(0)
    teachers = omega[joined.numbers(joined.of(("teacher", "")))].any((0, 1))
    expected = {
        "n_features": any_of.any(0).sum(),
        "mean_frequency": any_of.sum() / any_of.any(0).sum(),
        "features_per_datum": any_of.sum(1).mean(),
        "shared_features": (any_of.any(0) & teachers).sum(),
        "unmatched_components": joined.tensor.n_unmatched[members].sum(),
    }
    assert interactions.counted(joined, name)(members) == pytest.approx(expected[name])


def test_a_network_that_failed_is_left_out(tmp_path):
    networks = planted(tmp_path, {"ce": 2, "kd": 0})
    key = next(key for key in networks.by_key if key[0] == "kd")
    id = networks.by_key[key].id
    networks.stored[id] = Stored({}, None, networks.labels, "")
    joined = interactions.join(networks)
    assert key not in joined.place and len(joined.place) == len(networks.by_key) - 1
    interactions.describe(joined, {})


def test_networks_without_enough_components_are_named(tmp_path):
    networks = planted(tmp_path, {"ce": 2, "kd": 0}, features={"components": 7})
    with pytest.raises(UserError, match=r"features of .*: k is 7, but 400 examples of 6 dimensions"):
        interactions.join(networks)


# Dark knowledge and confusion ------------------------------------------------------------------------------------


def test_dark_knowledge_that_is_confusion_is_called_so(tmp_path):
    networks = planted(tmp_path, {})
    rng = np.random.default_rng(3)
    alike = rng.gumbel(size=(10, 10)) * 1.5
    for replicate in networks.plan.replicates:
        z = (np.eye(10) * 3 + alike)[networks.labels] + rng.gumbel(size=(N, 10))
        networks.stored[replicate.id] = Stored({}, z.astype(np.float32), networks.labels, "")
    rows = mistakes.describe(networks, {"protocol": "planted"}).set_index(["compared", "networks"])
    together = rows.loc["dark knowledge", "all together"]
    assert together["pearson"] > 0.9 and together["mantel_p"] < 0.001
    assert (rows["pearson_low"] <= rows["pearson"]).all() and (rows["pearson"] <= rows["pearson_high"] + 0.02).all()
    assert rows.loc["dark knowledge", "one each"]["pearson"] < together["pearson"]
    assert rows.loc["ceiling", "one each"]["n_networks"] == 6


def test_two_classes_have_no_relations(tmp_path):
    networks = planted(tmp_path, {})
    for replicate in networks.plan.replicates:
        networks.stored[replicate.id] = Stored({}, np.zeros((N, 2), np.float32), networks.labels % 2, "")
    rows = mistakes.describe(networks, {})
    assert rows["note"].tolist() == ["two classes have no relations"] and rows["pearson"].isna().all()


# Protocols -------------------------------------------------------------------------------------------------------

SMALL = """
name: seen
dataset: {name: digits, train: 100, test: 150, held_out: 40}
teacher: {model: mlp, seeds: 6}
student: {seeds: 2}
initialisation: fresh
recipe: {optimiser: adamw, learning_rate: 0.01, epochs: 4, batch_size: 20}
arms:
  ce:
  confusion-distillation:
  leaking: {kind: confusion-distillation, matrix: test-leak}
  kd: {alpha: 0.9}
features: {components: 8}
hypotheses:
- {metric: n_features, arm: kd, control: ce, direction: two-sided}
- {metric: cka, arm: kd, control: ce, direction: greater}
"""


def test_a_protocol_with_features_goes_all_the_way(tmp_path):
    (tmp_path / "seen.yaml").write_text(SMALL)
    done = kdstats("run", "seen.yaml", "--device", "cpu", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    run, report = tmp_path / "runs/seen", tmp_path / "reports/seen"
    assert len(list(run.glob("replicates/*/features.safetensors"))) == 54
    scores = pd.read_csv(run / "scores.csv")
    assert (scores["metric"] == "cka").sum() == 48 and scores.loc[scores["metric"] == "cka", "value"].between(
        0, 1
    ).all()
    for name in interactions.COLUMNS:
        assert len(pd.read_csv(run / f"{name}.csv"))
    page = (report / "index.html").read_text()
    assert "Features by arm" in page and "taught from the test images" in page
    for name in ("features", "shared", "by_confidence", "sensitivity"):
        assert (report / f"figures/{name}.svg").exists()
    assert (report / "tables/mistakes.md").read_text().count("dark knowledge") == 2
    again = kdstats("report", "runs/seen", "--report-dir", "again", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert {p.relative_to(report): p.read_bytes() for p in report.rglob("*.*")} == {
        p.relative_to(tmp_path / "again"): p.read_bytes() for p in (tmp_path / "again").rglob("*.*")
    }


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("features: {components: 8}", "", "n_features is made of activations.*add `features: penultimate`"),
        ("features: {components: 8}", "features: {components: 8, layer: penultimat}", "did you mean penultimate"),
        ("features: {components: 8}", "features: {components: 200}", "features.components: 200.*128 dimensions"),
        ("features: {components: 8}", "features: {mode: best}", "robust, released, jiang"),
        ("direction: two-sided}", "direction: two-sided, test: sign-flip}", "its test is label-exchange"),
        ("direction: two-sided}", "direction: two-sided, margin: 3}", "has no interval"),
        ("direction: greater}", "direction: greater, test: label-exchange}", "tests what belongs to a group"),
        (", held_out: 40", "", "add `held_out: N` to the dataset"),
        ("held_out: 40", "held_out: 100", "leaves none to train on"),
        ("teacher: {model: mlp, seeds: 6}", "teacher: {model: mlp, seeds: 3}", "label-exchange test of 3 teachers"),
    ],
)
def test_mistakes_are_told_before_anything_trains(tmp_path, old, new, said):
    import re

    assert old in SMALL
    (tmp_path / "seen.yaml").write_text(SMALL.replace(old, new))
    done = kdstats("plan", "seen.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert re.search(said, " ".join(done.stderr.split())), done.stderr
    assert not (tmp_path / "runs").exists()


def test_protocols_without_features_keep_their_hashes():
    plain = protocol(
        features=None, hypotheses=[{"metric": "agreement", "arm": "kd", "control": "ce", "direction": "greater"}]
    )
    assert "features" not in resolved(plain) and "held_out" not in resolved(plain)["dataset"]
    kept = protocol()
    again = Protocol.model_validate(yaml.safe_load(yaml.safe_dump(resolved(kept))))
    assert protocol_hash(again) == protocol_hash(kept) != protocol_hash(plain)
    assert {r.id for r in make_plan(plain, "x").replicates}.isdisjoint(r.id for r in make_plan(kept, "x").replicates)


def test_the_shipped_protocols_are_read():
    assert read_protocol("protocols/features_digits.yaml").features.components == 20
