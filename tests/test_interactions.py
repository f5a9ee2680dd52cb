"""Features of a run: planted activations whose arms differ, or not; the whole way through the command line."""

import itertools
import shutil
from dataclasses import replace
from functools import partial

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
from kdstats.sizing import power_table
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


def judged(networks, exchange=None):
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
    exchange = exchange or (lambda *asked: interactions.exchange(joined, *asked))
    evidence = Evidence(scores, pairs, exchange=exchange, thresholds=interactions.thresholds(joined))
    return judge(evidence, hypothesis_points(plan.protocol), 0.05, "holm")


def test_an_arm_that_uses_fewer_features_is_found_to(tmp_path):
    networks = planted(tmp_path, {"ce": 2, "kd": 0})
    contrasts, verdicts = judged(networks)
    rows = contrasts[contrasts["kind"] == "confirmatory"].set_index("hypothesis")
    assert rows.loc["fewer", "estimate"] == -12  # two private features of each of six teachers
    assert rows.loc["fewer", "p_value"] == 1 / 64 and rows.loc["more", "p_value"] == 1
    assert rows.loc["fewer", "n_units"] == 6 and rows.loc["fewer", "n_pairs"] == 12
    assert verdicts.set_index("hypothesis")["verdict"].to_dict() == {"fewer": "supported", "more": "refuted"}
    found = "from 16 to 4, 12 networks each, joined with each other to 16 features; each joined alone from 16 to 4"
    assert found in verdicts["sentence"][0]
    tables = interactions.describe(interactions.join(networks), {"protocol": "planted"})
    table = tables["interactions"].set_index("arm")
    assert table["n_features"].to_dict() == {"teacher": 4, "ce": 4, "kd": 4}  # of one student a teacher, what all share
    assert table["unmatched_components"].to_dict() == {"teacher": 2, "ce": 2, "kd": 2}
    assert table["shared_features"].to_dict() == pytest.approx({"teacher": np.nan, "ce": 4, "kd": 4}, nan_ok=True)
    assert tables["frequencies"].groupby("arm")["rank"].max().to_dict() == {"teacher": 4, "ce": 4, "kd": 4}


def test_a_claim_that_goes_the_other_way_at_another_threshold_is_not_supported(tmp_path):
    networks = planted(tmp_path, {"ce": 2, "kd": 0})
    joined = interactions.join(networks)
    assert interactions.thresholds(joined) == tuple(
        t for t in (0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.8, 0.9) if t > joined.tensor.floor
    )
    contrasts, verdicts = judged(networks)
    again = contrasts[contrasts["kind"] == "sensitivity"]
    assert len(again) == 2 * (1 + len(interactions.thresholds(joined))) and set(again["family"]) == {""}
    assert verdicts["verdict"].tolist() == ["supported", "refuted"]

    def turned(name, arm, control, units, threshold, alone, where=(0.7, False)):
        found = interactions.exchange(joined, name, arm, control, units, threshold, alone)
        swapped = {"greater": found.p["less"], "less": found.p["greater"], "two-sided": found.p["two-sided"]}
        return replace(found, estimate=-found.estimate, p=swapped) if (threshold, alone) == where else found

    contrasts, verdicts = judged(networks, turned)
    assert verdicts["verdict"].tolist() == ["inconclusive", "inconclusive"]  # as little is the opposite refuted
    assert verdicts["p_adjusted"][0] == 2 / 64  # the p stays what it is
    for sentence in verdicts["sentence"]:
        assert "p = 0.0156, but with threshold 0.7 it is 12 (p = 0.0156): which way it goes depends on the" in sentence

    contrasts, verdicts = judged(networks, partial(turned, where=(None, True)))
    assert verdicts["verdict"].tolist() == ["inconclusive", "inconclusive"]
    assert "each joined alone it is 12 (p = 0.0156): which way it goes depends on which" in verdicts["sentence"][0]


def test_each_side_joined_alone_is_joined_anew_for_every_exchange(tmp_path):
    networks = planted(tmp_path, {"ce": 2, "kd": 0})
    joined = interactions.join(networks)
    arm, control = (
        sorted(joined.of(a), key=lambda key: key[2:]) for a in (("kd", "alpha=0.5 temperature=4"), ("ce", ""))
    )

    def per_image(keys):
        tensor = interactions.together(joined, keys).tensor
        return tensor.group(range(len(keys))).features_per_datum

    teachers = sorted({key[2] for key in arm})
    all_of_them = []
    for chosen in itertools.product((0, 1), repeat=len(teachers)):
        taken = dict(zip(teachers, chosen, strict=True))
        swapped = [pair[:: 1 - 2 * taken[pair[0][2]]] for pair in zip(arm, control, strict=True)]
        all_of_them.append(per_image([a for a, _ in swapped]) - per_image([b for _, b in swapped]))
    found = interactions.exchange(joined, "features_per_datum", arm, control, [key[2] for key in arm], alone=True)
    assert found.estimate == pytest.approx(all_of_them[0]) and found.features is None
    assert found.p["less"] == np.mean(np.array(all_of_them) <= all_of_them[0] + 1e-9)
    assert found.levels == pytest.approx((per_image(arm), per_image(control)))


def test_a_quantile_that_the_diagonal_fills_is_no_claim(tmp_path):
    networks = planted(tmp_path, {"ce": 2, "kd": 0}, features={"components": 2, "mode": "released"})
    contrasts, verdicts = judged(networks)
    assert set(verdicts["verdict"]) == {"inconclusive"}
    assert contrasts[contrasts["kind"] == "confirmatory"]["estimate"].isna().all()
    assert "which those of components with themselves fill" in verdicts["sentence"][0]


def test_a_mean_frequency_that_differs_may_be_that_of_other_features(tmp_path):
    claim = {"metric": "mean_frequency", "arm": "kd", "control": "ce"}
    both = [{"name": direction, "direction": direction, **claim} for direction in ("greater", "less")]
    networks = planted(tmp_path, {"ce": 2, "kd": 0}, hypotheses=both)
    joined = interactions.join(networks)

    def higher(*asked):
        return replace(interactions.exchange(joined, *asked), estimate=9.0, p={"greater": 1 / 64, "less": 1.0})

    verdicts = judged(networks, higher)[1]
    assert verdicts["verdict"].tolist() == ["supported", "refuted"]
    assert all(
        ", which other features may do by themselves. Speaks of" in sentence for sentence in verdicts["sentence"]
    )


def test_larger_groups_are_not_richer(tmp_path):
    """Teachers that number more than the students of a seed are counted over subsets that are joined alone."""
    networks = planted(tmp_path, {}, student={"seeds": 1})
    for replicate in list(networks.plan.replicates):
        if replicate.arm == "kd" and replicate.teacher > 2:
            del networks.by_key[(*point_key(replicate.point), replicate.teacher, replicate.seed)]
    joined = interactions.join(networks)
    table = interactions.describe(joined, {})["interactions"].set_index("arm")
    assert set(table["size"]) == {3}
    few = [interactions.together(joined, keys).tensor for keys in itertools.combinations(joined.of(("ce", "")), 3)]
    alone = [tensor.group(range(3)).n_features for tensor in few]
    assert min(alone) <= table.loc["ce", "n_features"] <= max(alone)


def test_modes_that_depend_on_the_order_say_how_far(tmp_path):
    networks = planted(tmp_path, {"ce": 2, "kd": 0}, features={"components": 6, "mode": "jiang"})
    joined = interactions.join(networks)
    arm, control = (
        sorted(joined.of(a), key=lambda key: key[2:]) for a in (("kd", "alpha=0.5 temperature=4"), ("ce", ""))
    )
    found = interactions.exchange(joined, "n_features", arm, control, [key[2] for key in arm])
    assert "over 20 other orders of the networks the difference is" in found.note
    both = interactions.together(joined, [*arm, *control]).tensor  # γ of the networks that are joined, and of no others
    assert both.threshold == pytest.approx(np.quantile(np.abs(both.correlation), 0.9)) != joined.tensor.threshold
    assert interactions.describe(joined, {})["interactions"]["unmatched_components"].isna().all()


def test_relatives_among_other_arms_make_no_arm_richer(tmp_path):
    """Two arms whose own features nobody shares; the teachers, and a third arm, are copies of one of them."""
    networks = planted(tmp_path, {}, arms={"ce": None, "kd": None, "kd-other": None})
    for replicate in networks.plan.replicates:
        if replicate.arm in ("teacher", "kd-other"):
            kd = next(r for r in networks.plan.replicates if r.arm == "kd" and r.teacher == replicate.teacher)
            write_over(tmp_path, replicate.id, kd.id)
    joined = interactions.join(networks)
    kd, ce = ([key for key in networks.by_key if key[0] == arm] for arm in ("kd", "ce"))
    pooled = joined.tensor.group([joined.place[key] for key in kd]).n_features
    assert pooled > joined.tensor.group([joined.place[key] for key in ce]).n_features + 10
    for name in ("n_features", "unmatched_components"):
        assert interactions.exchange(joined, name, kd, ce, [key[2] for key in kd]).estimate == 0


def write_over(root, id, by):
    for name in ("features.safetensors", "SHA256SUMS", "meta.json", "predictions.safetensors"):
        (root / id / name).write_bytes((root / by / name).read_bytes())


def test_students_of_one_teacher_are_seen_to_resemble_each_other(tmp_path):
    table = interactions.describe(interactions.join(planted(tmp_path, {"ce": 2, "kd": 0})), {})["interactions"]
    rows = table.set_index("arm")
    assert rows.loc["ce", "p_same_teacher"] <= 0.01  # private features belong to a teacher's students
    assert rows.loc["ce", "same_teacher"] == 6 and 6 < rows.loc["ce", "any_teachers"] <= 8
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
    both = interactions.together(joined, [*joined.of(("ce", "")), *joined.of(("teacher", ""))])
    members, others = both.numbers(joined.of(("ce", ""))), both.numbers(joined.of(("teacher", "")))
    omega = both.tensor.dense()
    any_of = omega[members].any(0)
    expected = {
        "n_features": any_of.any(0).sum(),
        "mean_frequency": any_of.sum() / any_of.any(0).sum(),
        "features_per_datum": any_of.sum(1).mean(),
        "shared_features": (any_of.any(0) & omega[others].any((0, 1))).sum(),
        "unmatched_components": both.tensor.n_unmatched[members].sum(),
    }
    assert both.counter(name, others)(members) == pytest.approx(expected[name])


def test_networks_that_failed_or_collapsed_are_left_out_and_counted(tmp_path):
    networks = planted(tmp_path, {"ce": 2, "kd": 0})
    failed, collapsed = [key for key in networks.by_key if key[0] == "kd"][:4:3]
    networks.stored[networks.by_key[failed].id] = Stored({}, None, networks.labels, "")
    shutil.rmtree(tmp_path / networks.by_key[collapsed].id)
    write_replicate(
        tmp_path, networks.by_key[collapsed].id, {}, networks.labels, None, None, np.ones((N, 6), np.float16)
    )
    joined = interactions.join(networks)
    assert failed not in joined.place and collapsed not in joined.place
    assert list(joined.left_out) == [collapsed] and "constant" in joined.left_out[collapsed]
    table = interactions.describe(joined, {})["interactions"].set_index("arm")
    assert "1 network(s) could not be joined" in table.loc["kd", "note"] and table.loc["ce", "note"] == ""
    assert (table["size"] == 5).all()
    contrasts, verdicts = judged(networks)
    assert set(contrasts["n_failed_arm"]) == {2} and set(verdicts["verdict"]) == {"inconclusive"}


def test_where_nothing_can_be_joined_nothing_is_claimed_and_the_rest_is_reported(tmp_path):
    networks = planted(tmp_path, {"ce": 2, "kd": 0}, features={"components": 7})
    assert interactions.join(networks) is None
    contrasts, verdicts = judged(networks)
    assert contrasts["estimate"].isna().all() and set(verdicts["verdict"]) == {"inconclusive"}
    assert "not measurable (fewer than two units" in verdicts["sentence"][0]


def test_a_mean_frequency_that_does_not_exist_is_not_claimed(tmp_path):
    claim = {"name": "more", "metric": "mean_frequency", "arm": "kd", "control": "ce", "direction": "greater"}
    networks = planted(tmp_path, {}, hypotheses=[claim])
    rng = np.random.default_rng(5)
    for replicate in networks.plan.replicates:
        shutil.rmtree(tmp_path / replicate.id)
        write_replicate(tmp_path, replicate.id, {}, networks.labels, None, None, rng.standard_normal((N, 6)))
    _, verdicts = judged(networks)
    assert verdicts["sentence"][0].endswith("(an arm or its control uses no feature: there is no mean frequency).")


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
    assert (rows["pearson_low"] <= rows["pearson"]).all() and (rows["pearson"] <= rows["pearson_high"]).all()
    assert rows.loc["dark knowledge", "one each"]["pearson"] < together["pearson"]
    assert rows.loc["two controls", "one each"]["n_networks"] == 6


def test_intervals_of_sparse_confusions_hold_their_estimates(tmp_path):
    """Percentiles would not: resampling adds noise."""
    networks = planted(tmp_path, {})
    rng = np.random.default_rng(4)
    for replicate in networks.plan.replicates:
        z = np.eye(10)[networks.labels] * 3.5 + rng.gumbel(size=(N, 10))
        networks.stored[replicate.id] = Stored({}, z.astype(np.float32), networks.labels, "")
    rows = mistakes.describe(networks, {})
    for name in mistakes.MEASURES:
        assert (rows[f"{name}_low"] <= rows[name]).all() and (rows[name] <= rows[f"{name}_high"]).all()


def test_networks_without_mistakes_are_said_to_have_none(tmp_path):
    networks = planted(tmp_path, {})
    for replicate in networks.plan.replicates:
        z = 9 * np.eye(10, dtype=np.float32)[networks.labels]
        networks.stored[replicate.id] = Stored({}, z, networks.labels, "")
    rows = mistakes.describe(networks, {})
    assert rows["pearson"].isna().all() and rows["mantel_p"].isna().all()
    assert set(rows["note"]) == {"no network makes mistakes enough to compare"}


def test_two_classes_have_no_relations(tmp_path):
    networks = planted(tmp_path, {})
    for replicate in networks.plan.replicates:
        networks.stored[replicate.id] = Stored({}, np.zeros((N, 2), np.float32), networks.labels % 2, "")
    rows = mistakes.describe(networks, {})
    assert rows["note"].tolist() == ["two classes have no relations"] and rows["pearson"].isna().all()
    assert rows["networks"].tolist() == [""]


# Protocols -------------------------------------------------------------------------------------------------------

SMALL = """
name: seen
dataset: {name: digits, train: 100, test: 150, held_out: 40}
teacher: {model: mlp, seeds: 6}
student: {seeds: 2}
initialisation: fresh
recipe: {optimiser: adamw, learning_rate: 0.01, epochs: 10, batch_size: 20}
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
        (
            "features: {components: 8}\nhypotheses:\n- {metric: n_features",
            "features: {mode: jiang}\nhypotheses:\n- {metric: unmatched_components",
            "robust alone leaves components out; in jiang every one is of a feature",
        ),
        ("direction: two-sided}", "direction: two-sided, test: sign-flip}", "its test is label-exchange"),
        ("direction: two-sided}", "direction: two-sided, margin: 3}", "has no interval"),
        ("direction: greater}", "direction: greater, test: label-exchange}", "tests what belongs to a group"),
        (", held_out: 40", "", "add `held_out: N` to the dataset"),
        ("held_out: 40", "held_out: 100", "leaves none to train on"),
        ("held_out: 40", "held_out: 9", "do not hold each of 10 classes"),
        ("hypotheses:", "stop: {rule: anytime, max_seeds: 8}\nhypotheses:", "no test holds at every look"),
        ("epochs: 10", "epochs: 9", "tenths of the epochs, of which the recipe has 9"),
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


def test_two_classes_and_a_threshold_of_one_are_reported(tmp_path):
    rng = np.random.default_rng(0)
    y = np.arange(160) % 2
    x = (rng.integers(0, 120, (160, 8, 8, 1)) + 100 * y[:, None, None, None]).astype(np.uint8)
    np.savez(tmp_path / "two.npz", x_train=x[:80], y_train=y[:80], x_test=x[80:], y_test=y[80:])
    dataset = "{name: digits, train: 100, test: 150, held_out: 40}"
    text = SMALL.replace(dataset, "{name: npz, path: two.npz, held_out: 20}")
    text = text.replace("seeds: 6", "seeds: 2").replace("{components: 8}", "{components: 4, mode: released}")
    text = text[: text.index("hypotheses:")] + "hypotheses: []\n"
    (tmp_path / "seen.yaml").write_text(text)
    done = kdstats("run", "seen.yaml", "--device", "cpu", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "two classes have no relations" in (tmp_path / "reports/seen/tables/mistakes.csv").read_text()
    (tmp_path / "seen.yaml").write_text(text.replace("matrix: test-leak", "permuted: true"))
    done = kdstats("plan", "seen.yaml", cwd=tmp_path)
    assert done.returncode == 2 and "arms.leaking.permuted: with two" in done.stderr


def test_who_distils_confusion_is_shown_it_without_activations(tmp_path):
    text = (
        SMALL[: SMALL.index("features:")].replace("seeds: 6", "seeds: 2").replace("seeds: 2}\ninit", "seeds: 1}\ninit")
    )
    (tmp_path / "seen.yaml").write_text(text + "hypotheses: []\n")
    done = kdstats("run", "seen.yaml", "--device", "cpu", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    tables = tmp_path / "reports/seen/tables"
    assert "all together" in (tables / "mistakes.md").read_text() and not (tables / "features.md").exists()


def test_no_power_is_given_for_numbers_of_groups():
    table = power_table(Protocol.model_validate(yaml.safe_load(SMALL)), effect=0.1, teacher_sd=0.1, student_sd=0.1)
    of_group = table[table["metric"] == "n_features"]
    assert of_group["power"].isna().all() and of_group["note"].str.contains("no power is given").all()
    assert table.loc[table["metric"] == "cka", "power"].notna().all()
    with pytest.raises(UserError, match="numbers of whole groups"):
        power_table(protocol(), effect=0.1, teacher_sd=0.1, student_sd=0.1)


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
