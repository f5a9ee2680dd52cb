"""How many teachers and seeds: from assumptions, against statsmodels, and from pilots with planted variances."""

import itertools
import shutil
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.power import TTestPower

from kdstats import metrics, scoring, sizing, store, verdicts
from kdstats.catalog import AT_A_MARGIN
from kdstats.errors import UserError
from kdstats.plan import clusters, make_plan
from kdstats.protocol import hypothesis_points, read_protocol
from kdstats.sizing import power_figure, power_table, sentences, write_power
from kdstats.stats import paired_t, tost, two_way
from tests.conftest import kdstats

HEAD = """
name: sized
dataset: {{name: digits, train: 100, test: 200}}
teacher: {{model: mlp, seeds: {teachers}}}
student: {{model: mlp, seeds: {students}}}
arms:
  siddo:
  kd:
  kd-other:
correction: {correction}
hypotheses:
"""
RECIPE = "{name: recipe, metric: accuracy, arm: kd, control: siddo, direction: greater, test: paired-t}"
PAIRS = "{name: pairs, metric: accuracy, arm: kd, control: kd-other, direction: greater, test: paired-t}"
THESE = "{name: these, metric: brier_score, arm: kd, control: siddo, direction: less, scope: these, test: paired-t}"
EACH = "{name: each, metric: cross_entropy, arm: kd, control: siddo, direction: less, scope: each, test: paired-t}"
FLIPS = "{name: flips, metric: accuracy, arm: kd, control: siddo, direction: greater}"
NEW = "{name: new, metric: agreement, arm: kd, control: siddo, direction: greater, scope: {examples: new}}"
SDS = {"effect": 0.02, "teacher_sd": 0.02, "student_sd": 0.03}


def protocol(folder, *hypotheses, teachers=10, students=2, correction="holm"):
    head = HEAD.format(teachers=teachers, students=students, correction=correction)
    file = folder / "protocol.yaml"
    file.write_text(head + "".join(f"  - {hypothesis}\n" for hypothesis in hypotheses))
    return read_protocol(file)


def cell(table, hypothesis, teachers, students):
    rows = table[table["hypothesis"] == hypothesis]
    return rows[(rows["teachers"] == teachers) & (rows["students"] == students)].iloc[0]


# From assumptions ------------------------------------------------------------------------------------------------


def test_each_scope_has_its_units_its_spread_and_its_level(tmp_path):
    table = power_table(protocol(tmp_path, RECIPE, PAIRS, THESE, EACH), **SDS)
    mean = np.sqrt(0.02**2 + 0.03**2 / 2)
    # units, sd of a unit, degrees of freedom that the pooled spread of fixed teachers costs
    expected = {
        "recipe": (10, mean, 0),
        "pairs": (5, mean / np.sqrt(2), 0),
        "these": (20, 0.03, 9),
        "each": (2, 0.03, 0),
    }
    for name, (units, sd, lost) in expected.items():
        row = cell(table, name, 10, 2)
        assert row["declared"] and row["units"] == units
        assert row["sd_unit"] == pytest.approx(sd)
        level = row["level_after_correction"]
        assert level == pytest.approx(0.05 / 13)  # scope each is a claim a teacher
        if not lost:
            exact = TTestPower().power(0.02 / sd, units, level, alternative="larger")
            assert row["power"] == pytest.approx(exact, abs=1e-6)
        else:  # t on fewer degrees of freedom: between those of all and of so many units
            bounds = [TTestPower().power(0.02 / sd, n, level, alternative="larger") for n in (units - lost, units)]
            assert bounds[0] < row["power"] < bounds[1]
    assert set(table["source"]) == {"assumed"} and table["power_at_upper_sd"].isna().all()
    assert "more teachers add claims, not units" in cell(table, "each", 10, 2)["note"]
    assert cell(table, "each", 12, 2)["level_after_correction"] == pytest.approx(0.05 / 15)


def test_sign_flips_are_near_statsmodels_paired_t(tmp_path):
    """At the size that 2⁻ⁿ lets them have, within a hundredth from ten units on."""
    table = power_table(protocol(tmp_path, FLIPS), **SDS)
    for teachers, students in ((10, 2), (12, 2), (20, 8)):
        row = cell(table, "flips", teachers, students)
        size = np.floor(0.05 * 2**teachers) / 2**teachers
        exact = TTestPower().power(0.02 / row["sd_unit"], teachers, size, alternative="larger")
        assert row["power"] == pytest.approx(exact, abs=0.01)
        assert 0 < row["mc_error"] < 0.004


def test_more_teachers_and_more_students_never_hurt(tmp_path):
    table = power_table(protocol(tmp_path, RECIPE, PAIRS, THESE), **SDS)
    for _, rows in table.groupby("hypothesis"):
        grid = rows.pivot(index="teachers", columns="students", values="power").to_numpy()
        assert (np.diff(grid, axis=0) >= -1e-9).all() and (np.diff(grid, axis=1) >= -1e-9).all()


@pytest.mark.parametrize(("correction", "level"), [("bh", 0.025), ("by", 0.05 / 3), ("holm", 0.025)])
def test_the_level_is_that_of_the_first_step(tmp_path, correction, level):
    table = power_table(protocol(tmp_path, RECIPE, PAIRS, correction=correction), **SDS)
    assert set(table["level_after_correction"].round(12)) == {round(level, 12)}


def test_what_would_do_is_the_smallest_number_that_statsmodels_finds(tmp_path):
    table = power_table(protocol(tmp_path, RECIPE), target=0.7, **SDS)
    row = table.iloc[0]
    sd = np.sqrt(0.02**2 + 0.03**2 / 2)
    teachers = TTestPower().solve_power(0.02 / sd, power=0.7, alpha=0.05, alternative="larger")
    assert row["teachers_needed"] == 2 * np.ceil(teachers / 2)  # kd-other needs them in pairs
    needed = int(row["students_needed"])
    for students, enough in ((needed, True), (needed - 1, False)):
        sd = np.sqrt(0.02**2 + 0.03**2 / students)
        assert (TTestPower().power(0.02 / sd, 10, 0.05, alternative="larger") >= 0.7) == enough
    assert f"0.7 from {row['teachers_needed']} teachers or {needed} students each on" in sentences(table)[0]


def test_students_cannot_help_where_teachers_vary_too_much(tmp_path):
    table = power_table(protocol(tmp_path, RECIPE), effect=0.02, teacher_sd=0.03, student_sd=0.03)
    row = table[table["declared"]].iloc[0]
    assert pd.isna(row["students_needed"]) and row["teachers_needed"] > 10
    assert "no number of students would do: with 10 teachers, teachers alone vary too much" in row["note"]
    alone = TTestPower().power(0.02 / 0.03, 10, 0.05, alternative="larger")
    assert table["power"].max() < 0.8 or alone < 0.8


def test_a_test_that_cannot_reach_its_level_has_no_power_at_all(tmp_path):
    table = power_table(
        protocol(tmp_path, FLIPS, FLIPS.replace("flips", "more").replace("accuracy", "agreement"), teachers=4), **SDS
    )
    below = table[table["teachers"] < 6]  # 2⁻⁵ > .025
    assert (below["power"] == 0).all() and (below["mc_error"] == 0).all()
    assert (table[table["teachers"] == 6]["power"] > 0).all()
    assert (table["teachers_needed"] >= 6).all()
    assert table["note"].str.contains("no number of students would do: 4 units cannot reach level 0.025").all()


def test_a_margin_is_the_default_effect_and_its_equivalence_has_a_power(tmp_path):
    with_margin = RECIPE.replace("direction", "margin: 0.03, direction")
    table = power_table(protocol(tmp_path, with_margin), teacher_sd=0.01, student_sd=0.02)
    assert set(table["effect"]) == {0.03} and "the effect is the margin" in table["note"].iloc[0]
    row = cell(table, "recipe", 10, 2)
    differences = np.random.default_rng(0).normal(0, row["sd_unit"], (3000, 10))
    share = np.mean(tost(differences, margin=0.03, test=paired_t).p_value <= 0.05)
    assert row["power_equivalence"] == pytest.approx(share, abs=0.03)
    assert set(power_table(protocol(tmp_path, with_margin), **SDS)["effect"]) == {0.02}


@pytest.mark.parametrize("direction", AT_A_MARGIN)
def test_claims_at_a_margin_have_their_power_where_nothing_differs(tmp_path, direction):
    claim = RECIPE.replace("greater", f"{direction}, margin: 0.03")
    table = power_table(protocol(tmp_path, claim), **SDS)
    row = cell(table, "recipe", 10, 2)
    assert row["effect"] == 0 and pd.isna(row["power_equivalence"])
    one_sided = TTestPower().power(0.03 / row["sd_unit"], 10, 0.05, alternative="larger")
    if direction == "equivalent":  # both bounds at once: at least 1 - 2 (1 - one), at most one
        assert 2 * one_sided - 1 <= row["power"] < one_sided
    else:
        assert row["power"] == pytest.approx(one_sided, abs=1e-8)
    assert "for a margin of 0.03" in sentences(table)[0]


def test_new_examples_without_a_pilot_are_an_upper_bound(tmp_path):
    row = power_table(protocol(tmp_path, NEW), **SDS).iloc[0]
    assert "an upper bound" in row["note"] and pd.isna(row["sd_examples"])


# From a pilot ----------------------------------------------------------------------------------------------------


def pilot(folder, made, values, per_example=None):
    """A run directory of these scores, {(arm, metric): (T, S)}, tested as the pipeline does it."""
    run = folder / "pilot"
    frozen = store.freeze(run, made, "f" * 64, {})
    params = {point.arm: "alpha=0.5 temperature=4" if point.parameters else "" for point in made.points}
    pairs = list(itertools.product(made.teacher.seeds, made.student.seeds))
    of = clusters(made)
    rows = [
        {
            "arm": arm, "arm_params": params[arm], "teacher": teacher, "cluster": of[teacher], "seed": seed,
            "metric": metric, "value": array[teacher, seed], "n": 100, "note": "",
        }
        for (arm, metric), array in values.items()
        for teacher, seed in pairs
    ]  # fmt: skip
    scores = pd.DataFrame(rows).astype({"seed": "Int64"})
    evidence = verdicts.Evidence(scores, tuple(pairs), of, per_example)
    contrasts, _ = verdicts.judge(evidence, hypothesis_points(made), made.level, made.correction)
    scores.to_csv(run / "scores.csv", index=False)
    contrasts.to_csv(run / "contrasts.csv", index=False)
    return run, frozen.hash


def test_a_pilot_gives_its_variances_and_its_effect(tmp_path):
    rng = np.random.default_rng(1)
    shape = (60, 4)
    gain = 0.04 + rng.normal(0, 0.03, (60, 1)) + rng.normal(0, 0.02, shape)
    values = {(arm, metric): np.full(shape, 0.5) for arm in ("siddo", "kd") for metric in ("accuracy", "brier_score")}
    values["kd", "accuracy"], values["kd", "brier_score"] = 0.5 + gain, 0.5 - gain
    made = protocol(tmp_path, RECIPE, THESE, teachers=60, students=4)
    run, digest = pilot(tmp_path, made, values)
    table = power_table(protocol(tmp_path, RECIPE, THESE, teachers=6), pilot=run)
    row = cell(table, "recipe", 6, 2)
    assert row["source"] == f"pilot sized {digest[:12]}"
    assert row["effect"] == pytest.approx(gain.mean(), rel=1e-9)
    assert row["sd_teacher"] == pytest.approx(0.03, rel=0.2) and row["sd_student"] == pytest.approx(0.02, rel=0.1)
    assert row["sd_unit"] == pytest.approx(np.hypot(row["sd_teacher"], row["sd_student"] / np.sqrt(2)))
    assert 1 < row["sd_unit_upper"] / row["sd_unit"] < 1.2
    assert row["power_at_upper_sd"] < row["power"]
    assert row["teachers_needed_at_upper_sd"] >= row["teachers_needed"]
    assert "the effect is the pilot's estimate" in row["note"]
    lower = cell(table, "these", 6, 2)  # claimed to be less, and it is
    assert lower["effect"] == pytest.approx(gain.mean(), rel=1e-9) and lower["sd_unit"] == lower["sd_student"]
    assert set(power_table(made, pilot=run, effect=0.01)["effect"]) == {0.01}


def test_pairs_of_teachers_vary_as_the_pilots_pairs_do(tmp_path):
    """What teachers that taught each other's students share is not halved away."""
    rng = np.random.default_rng(2)
    gain = np.repeat(rng.normal(0, 0.03, (100, 1)), 2, axis=0) + rng.normal(0, 0.02, (200, 2))
    values = {("kd", "accuracy"): 0.5 + 0.01 + gain, ("kd-other", "accuracy"): np.full((200, 2), 0.5)}
    run, _ = pilot(tmp_path, protocol(tmp_path, PAIRS, teachers=200), values)
    row = cell(power_table(protocol(tmp_path, PAIRS), pilot=run), "pairs", 10, 2)
    units = gain.reshape(100, 2, 2).mean(axis=(1, 2))
    assert row["units"] == 5 and row["sd_unit"] == pytest.approx(units.std(ddof=1), rel=1e-9)
    assert row["sd_unit"] == pytest.approx(np.hypot(0.03, 0.02 / 2), rel=0.15)


def test_what_new_examples_add_comes_from_the_pilots_contrasts(tmp_path):
    rng = np.random.default_rng(3)
    shape = (30, 2, 400)
    x = (
        0.3
        + rng.normal(0, 0.1, (30, 1, 1))
        + rng.normal(0, 0.1, (30, 2, 1))
        + rng.normal(0, 1.0, (1, 1, 400))
        + rng.normal(0, 0.5, shape)
    )

    def per_example(metric, keys):
        return np.array([x[teacher, seed] if arm == "kd" else np.zeros(400) for arm, _, teacher, seed in keys])

    values = {("kd", "agreement"): x.mean(axis=2), ("siddo", "agreement"): np.zeros((30, 2))}
    made = protocol(tmp_path, NEW, teachers=30)
    run, _ = pilot(tmp_path, made, values, per_example)
    row = cell(power_table(made, pilot=run, effect=0.12), "new", 30, 2)
    assert row["sd_examples"] == pytest.approx(1.0 / np.sqrt(400), rel=0.1)
    sem = pd.read_csv(run / "contrasts.csv")["sem"].iloc[0]
    assert row["sd_unit"] ** 2 / 30 + row["sd_examples"] ** 2 == pytest.approx(sem**2)
    assert "test sets of 100 examples" in row["note"]
    normal = 0.12 / sem  # with 29 and more degrees of freedom nearly a z test
    assert row["power"] == pytest.approx(
        TTestPower().power(normal / np.sqrt(60), 60, 0.05, alternative="larger"), abs=0.02
    )
    few = power_table(protocol(tmp_path, NEW, teachers=4), pilot=run, effect=0.06)
    assert few["teachers_needed"].isna().all()
    assert "teachers and examples alone vary too much" in few["note"].iloc[0]


def test_a_pilot_of_one_student_or_without_an_arm(tmp_path):
    rng = np.random.default_rng(5)
    values = {("kd", "accuracy"): rng.normal(0.6, 0.01, (8, 1)), ("siddo", "accuracy"): rng.normal(0.5, 0.01, (8, 1))}
    run, _ = pilot(tmp_path, protocol(tmp_path, FLIPS, teachers=8, students=1), values)
    made = protocol(tmp_path, FLIPS, PAIRS, THESE.replace("brier_score", "accuracy"), teachers=8)
    table = power_table(made, pilot=run)
    row = cell(table, "flips", 8, 2)
    assert "one student a teacher: all variance is taken as that of teachers" in row["note"]
    assert pd.isna(row["sd_student"]) and row["power"] > 0
    assert len(set(table[table["hypothesis"] == "flips"]["sd_unit"])) == 1  # students do not help
    assert pd.isna(cell(table, "pairs", 8, 2)["power"]) and "0 pairs of kd" in cell(table, "pairs", 8, 2)["note"]
    assert "nothing of the spread between students" in cell(table, "these", 8, 2)["note"]
    assert sum(line.endswith("no power.") for line in sentences(table)) == 2
    with pytest.raises(UserError, match="is no pilot for this protocol: pairs: the pilot has 0 pairs of kd"):
        power_table(protocol(tmp_path, PAIRS), pilot=run)


# Students of swapped teachers --------------------------------------------------------------------------------------

CLASSES = 10
W = "{name: w, metric: inherits_errors, arm: kd, control: kd-other, direction: greater}"
K = "{name: k, metric: inherits_knowledge, arm: kd, control: kd-other, direction: greater}"
ON_THESE = W.replace("name: w", "name: w-these").replace("greater}", "greater, scope: these}")
FIRMER = "{name: firmer, metric: asymmetry, arm: kd, control: kd-other, direction: greater}"
SWAPPED_SDS = {"effect": 0.1, "teacher_sd": 0.08, "student_sd": 0.06}


def planted(rng, teachers, seeds, n=150, copied=0.06, spread=0.02):
    """Labels, teachers' classes, and by arm students' (teacher, seed): each says what its teacher says with probability
    c, drawn anew for every teacher, and else an answer of its own.
    """
    labels = rng.integers(0, CLASSES, n)

    def answering(accuracy, *shape):
        wrong = (labels + rng.integers(1, CLASSES, (*shape, n))) % CLASSES
        return np.where(rng.random((*shape, n)) < accuracy, labels, wrong)

    taught = answering(0.8, teachers)
    share = rng.normal(copied, spread, teachers).clip(0, 1)
    students = {}
    for arm, of in (("kd", np.arange(teachers)), ("kd-other", np.arange(teachers) ^ 1)):
        copies = rng.random((teachers, seeds, n)) < share[of][:, None, None]
        students[arm] = np.where(copies, taught[of][:, None], answering(0.7, teachers, seeds))
    return labels, taught, students


def of_planted(world):
    """The arguments of kdstats.metrics.swap."""
    labels, taught, students = world
    teachers, seeds = students["kd"].shape[:2]
    by = np.repeat(np.arange(teachers), seeds)
    pairs = np.arange(teachers).reshape(-1, 2)
    both = np.concatenate([students["kd"].reshape(-1, len(labels)), students["kd-other"].reshape(-1, len(labels))])
    return taught, both, labels, np.concatenate([by, by ^ 1]), pairs


def networks_of(made, world):
    """The planted networks as those of a run."""
    labels, taught, students = world
    plan = make_plan(made, "f" * 64)
    stored, by_key = {}, {}
    for replicate in plan.replicates:
        said = taught[replicate.teacher]
        if replicate.seed is not None:
            said = students.get(replicate.arm, students["kd-other"])[replicate.teacher, replicate.seed]
        logits = 4 * np.eye(CLASSES, dtype=np.float32)[said]
        stored[replicate.id] = store.Stored({}, logits, labels, "")
        by_key[*scoring.point_key(replicate.point), replicate.teacher, replicate.seed] = replicate
    return scoring.Networks(plan, stored, by_key, labels, Path())


def swapped_pilot(folder, world, *hypotheses):
    """A run directory with the planted networks on disk, scored and tested."""
    seeds = world[2]["kd"].shape[:2]
    made = protocol(folder, *hypotheses, teachers=seeds[0], students=seeds[1])
    run = folder / "pilot"
    frozen = store.freeze(run, made, "f" * 64, {})
    networks = networks_of(made, world)
    (run / "replicates").mkdir()
    for id, one in networks.stored.items():
        store.write_replicate(run / "replicates", id, {"status": "trained"}, one.labels, one.logits)
    scores = scoring.scores(networks)
    pairs = tuple(itertools.product(made.teacher.seeds, made.student.seeds))
    swapped = partial(scoring.swapped, networks)
    evidence = verdicts.Evidence(scores, pairs, clusters(made), partial(scoring.per_example, networks), swapped=swapped)
    contrasts, _ = verdicts.judge(evidence, hypothesis_points(made), made.level, made.correction)
    scores.to_csv(run / "scores.csv", index=False)
    contrasts.to_csv(run / "contrasts.csv", index=False)
    return run, contrasts, frozen.hash


@pytest.mark.parametrize(("claim", "teachers"), [(W, 6), (K, 12), (ON_THESE, 2)], ids=["W", "K", "W these"])
def test_the_power_of_inheritance_is_the_rate_of_planted_worlds(tmp_path, monkeypatch, claim, teachers):
    """A pilot of many pairs lends its spreads; worlds of few find what is there as often as its plan for them says.

    W and K are c on average, since own answers do not depend on the teacher.
    """
    rng = np.random.default_rng(6)
    large = protocol(tmp_path, claim, teachers=140)
    of_pilot = sizing.Pilot("pilot planted", None, {}, pd.DataFrame(), 150, tmp_path)
    of_pilot.__dict__["networks"] = networks_of(large, planted(rng, 140, 2))
    monkeypatch.setattr(sizing, "read_pilot", lambda run: of_pilot)
    table = power_table(protocol(tmp_path, claim, teachers=teachers), pilot=tmp_path, effect=0.06)
    row = table[table["declared"]].iloc[0]
    found = 0
    for _ in range(200):
        of = of_planted(planted(rng, teachers, 2))
        if "these" in claim:
            rows, owners = metrics.of_students(*of)
            p = two_way(rows, owners).p_value("greater")
        else:
            split = metrics.swap(*of)
            g = split.knowledge if claim is K else split.errors
            p = two_way(metrics.balanced(g, split.halves).values).p_value("greater")
        found += p <= row["level_after_correction"]
    assert row["power"] == pytest.approx(found / 200, abs=0.1) and 0.4 < row["power"] < 0.9


def test_a_pilots_networks_give_the_spread_of_its_own_contrast(tmp_path):
    """What the plan takes as error, with the pilot's own numbers, is the standard error that its test had."""
    world = planted(np.random.default_rng(7), 12, 3, copied=0.4, spread=0.2)  # no component is truncated
    run, contrasts, digest = swapped_pilot(tmp_path, world, W, K, ON_THESE)
    made = protocol(tmp_path, W, K, ON_THESE, FIRMER, teachers=12, students=3)
    table = power_table(made, pilot=run)
    for name, row in contrasts[contrasts["kind"] == "confirmatory"].set_index("hypothesis").iterrows():
        mine = cell(table, name, 12, 3)
        assert mine["source"] == f"pilot sized {digest[:12]}" and mine["units"] == row["n_units"]
        assert mine["effect"] == pytest.approx(row["estimate"], rel=1e-9)
        assert mine["sd_unit"] ** 2 / mine["units"] + mine["sd_examples"] ** 2 == pytest.approx(row["sem"] ** 2)
    more = [cell(table, "w", 12, students)["sd_unit"] for students in (3, 6, 12)]
    assert more[0] > more[1] > more[2] > cell(table, "w", 12, 3)["sd_teacher"] / np.sqrt(2)
    firmer = cell(table, "firmer", 12, 3)
    assert pd.isna(firmer["power"]) and firmer["note"].startswith("no power is computed for θ₀")
    assert ".32 / .67 / .97 / 1 with 4 / 6 / 10 / 20 teachers" in firmer["note"]


def test_a_pilot_of_tables_alone_gives_its_contrasts_row(tmp_path):
    run, contrasts, _ = swapped_pilot(tmp_path, planted(np.random.default_rng(8), 8, 2), W, ON_THESE)
    shutil.rmtree(run / "replicates")
    table = power_table(protocol(tmp_path, W, K, ON_THESE, teachers=8), pilot=run)
    for name in ("w", "w-these"):
        row = contrasts[(contrasts["hypothesis"] == name) & (contrasts["kind"] == "confirmatory")].iloc[0]
        mine = cell(table, name, 8, 2)
        assert mine["effect"] == pytest.approx(row["estimate"])
        assert mine["sd_unit"] / np.sqrt(mine["units"]) == pytest.approx(row["sem"])
        assert "only its tables: all variance is taken as that of" in mine["note"] and mine["power"] > 0
    assert len(set(table[table["hypothesis"] == "w"]["sd_unit"])) == 1  # nothing says what students add
    assert "neither its networks nor a contrast of inherits_knowledge" in cell(table, "k", 8, 2)["note"]


def test_pilots_of_few_students_pairs_and_split_examples(tmp_path):
    run, _, _ = swapped_pilot(tmp_path, planted(np.random.default_rng(9), 6, 1, n=30), W)
    row = cell(power_table(protocol(tmp_path, W, teachers=6), pilot=run, effect=0.1), "w", 6, 2)
    assert "one student a teacher: all variance is taken as that of teachers" in row["note"] and row["power"] > 0
    one = tmp_path / "one"
    one.mkdir()
    run, _, _ = swapped_pilot(one, planted(np.random.default_rng(9), 2, 2), ON_THESE)
    with pytest.raises(UserError, match="the pilot has one pair of teachers"):
        power_table(protocol(tmp_path, W, teachers=6), pilot=run, effect=0.1)
    labels, taught, students = planted(np.random.default_rng(10), 6, 1)
    taught[::2] = labels  # one teacher of each pair is never wrong: no half for the other
    of = tmp_path / "perfect"
    of.mkdir()
    run, _, _ = swapped_pilot(of, (labels, taught, students), W)
    with pytest.raises(UserError, match="the pilot says nothing of inherits_errors: no pair of teachers has examples"):
        power_table(protocol(tmp_path, W, teachers=6), pilot=run, effect=0.1)


def test_inheritance_from_assumed_spreads(tmp_path):
    """Three pairs at least; each teacher taught its own students and as many of its partner's."""
    table = power_table(protocol(tmp_path, W.replace("}", ", scope: {examples: this test set}, test: paired-t}"),
                                 ON_THESE, FIRMER, teachers=8, students=2), **SWAPPED_SDS)  # fmt: skip
    row = cell(table, "w", 8, 2)
    assert "within the true classes" in row["note"]
    sd = np.sqrt((0.08**2 + 0.06**2 / 4) / 2)
    assert row["units"] == 4 and row["sd_unit"] == pytest.approx(sd)
    exact = TTestPower().power(0.1 / sd, 4, 0.05 / 3, alternative="larger")
    assert row["power"] == pytest.approx(exact, abs=1e-6)
    few = table[(table["hypothesis"] == "w") & (table["teachers"] < 6)]
    assert len(few) and (few["power"] == 0).all() and row["teachers_needed"] >= 6
    these = cell(table, "w-these", 8, 1)
    assert these["units"] == 16 and these["sd_unit"] == 0.06 and these["power"] > 0
    assert sum("no power is computed for θ₀" in line for line in sentences(table)) == 1
    with pytest.raises(UserError, match="no hypothesis has a power to be computed: no power is computed for θ₀"):
        power_table(protocol(tmp_path, FIRMER, teachers=8), **SWAPPED_SDS)


def test_the_command_plans_inheritance_from_a_run(tmp_path):
    run, contrasts, digest = swapped_pilot(tmp_path, planted(np.random.default_rng(11), 8, 2), W, K)
    protocol(tmp_path, W, K, FIRMER, teachers=12)
    done = kdstats("power", "protocol.yaml", "--pilot", run, "--out", "power", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "w against kd-other: power " in done.stdout and "k against kd-other: power " in done.stdout
    assert "firmer against kd-other: no power." in done.stdout and "no power is computed for θ₀" in done.stdout
    table = pd.read_csv(tmp_path / "power" / "power.csv")
    own = table[table["declared"] & (table["hypothesis"] == "w")].iloc[0]
    assert own["units"] == 6 and own["source"] == f"pilot sized {digest[:12]}"
    assert own["effect"] == pytest.approx(contrasts["estimate"].iloc[0])
    again = kdstats("power", "protocol.yaml", "--pilot", tmp_path / "nowhere", cwd=tmp_path)
    assert again.returncode == 2 and "is no run directory" in again.stderr


# Figure and files ------------------------------------------------------------------------------------------------


def test_the_figure_has_a_panel_a_hypothesis_and_a_line_a_number_of_students(tmp_path):
    figure = power_figure(power_table(protocol(tmp_path, RECIPE, PAIRS, THESE), **SDS))
    assert [ax.get_title() for ax in figure.axes] == ["recipe", "pairs", "these"]
    assert all(len(ax.lines) == 2 + 4 for ax in figure.axes)  # target, the protocol's own teachers, 1 2 4 8 students
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["1 student a teacher", "2 students a teacher", "4 students a teacher", "8 students a teacher"]
    assert figure.get_size_inches()[0] == pytest.approx(6.9)  # a page of a paper
    curve = figure.axes[0].lines[3]
    assert 10 in curve.get_xdata() and (np.diff(curve.get_ydata()) >= 0).all()


def test_curves_that_are_the_same_share_a_panel(tmp_path):
    twin = RECIPE.replace("recipe", "twin").replace("accuracy", "agreement")
    assert [ax.get_title() for ax in power_figure(power_table(protocol(tmp_path, RECIPE, twin), **SDS)).axes] == [
        "recipe, twin"
    ]


def test_files_are_the_same_each_time_and_say_what_they_are(tmp_path):
    table = power_table(protocol(tmp_path, RECIPE, PAIRS), **SDS)
    for name in ("one", "two"):
        write_power(tmp_path / name, table)
    one, two = ({file.name: file.read_bytes() for file in (tmp_path / name).iterdir()} for name in ("one", "two"))
    assert one == two and sorted(one) == ["power.csv", "power.md", "power.svg"]
    read = pd.read_csv(tmp_path / "one" / "power.csv")
    assert list(read) == list(table) and len(read) == len(table)
    assert read["power"].to_numpy() == pytest.approx(table["power"].to_numpy(float), rel=1e-9)
    text = one["power.md"].decode()
    assert (
        "10 teachers × 2 students" in text and "| recipe | siddo |" in text and table["protocol_hash"][0][:12] in text
    )
    svg = ElementTree.fromstring(one["power.svg"])
    assert svg.tag.endswith("svg") and b"<dc:date" not in one["power.svg"]


# Refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hypothesis", "given", "sentence"),
    [
        (RECIPE, {}, "nothing says how much its differences vary: give --effect .* --teacher-sd and --student-sd"),
        (RECIPE, {"student_sd": 0.1, "effect": 0.1}, "nothing says how much its differences vary"),
        (RECIPE, {"student_sd": 0.1, "teacher_sd": 0.1}, "no margin, so nothing says which effect .* or --pilot RUN"),
        (RECIPE, {"student_sd": 0.0, "teacher_sd": 0.0, "effect": 0.1}, "give a --student-sd above 0"),
        (THESE, {"student_sd": 0.0, "teacher_sd": 0.1, "effect": 0.1}, "it speaks of students: give a --student-sd"),
        (RECIPE, SDS | {"effect": -0.1}, "--effect: -0.1 is no effect"),
        (RECIPE, SDS | {"effect": np.nan}, "--effect: nan is no effect"),
        (RECIPE, SDS | {"teacher_sd": -1.0}, "--teacher-sd: -1 is no standard deviation"),
        (RECIPE, SDS | {"student_sd": np.inf}, "--student-sd: inf is no standard deviation"),
        (RECIPE, SDS | {"target": 1.0}, "--target: 1 is no power"),
    ],
)
def test_refusals(tmp_path, hypothesis, given, sentence):
    with pytest.raises(UserError, match=sentence):
        power_table(protocol(tmp_path, hypothesis), **given)


def test_refusals_of_a_pilot(tmp_path):
    made = protocol(tmp_path, FLIPS, teachers=8)
    with pytest.raises(UserError, match="leave out --teacher-sd and --student-sd, or --pilot"):
        power_table(made, pilot=tmp_path, student_sd=0.1)
    with pytest.raises(UserError, match="is no run directory"):
        power_table(made, pilot=tmp_path / "nowhere")
    run, _ = pilot(tmp_path, made, {(arm, "accuracy"): np.full((8, 2), 0.5) for arm in ("kd", "siddo")})
    with pytest.raises(UserError, match="differences do not vary"):
        power_table(made, pilot=run)
    (run / "scores.csv").write_text("arm,metric\nkd,accuracy\n")
    with pytest.raises(UserError, match="is not what kdstats wrote"):
        power_table(made, pilot=run)
    (run / "scores.csv").unlink()
    with pytest.raises(UserError, match="has no scores yet"):
        power_table(made, pilot=run)


def test_an_anytime_protocol_has_no_number_to_plan(tmp_path):
    text = HEAD.format(teachers=4, students=2, correction="holm").replace(
        "hypotheses", "stop: {rule: anytime, max_seeds: 8}\nhypotheses"
    )
    (tmp_path / "any.yaml").write_text(f"{text}  - {FLIPS}\n")
    with pytest.raises(UserError, match="an anytime test stops when it has its verdict"):
        power_table(read_protocol(tmp_path / "any.yaml"), **SDS)
