"""How many teachers and seeds: from assumptions, against statsmodels, and from pilots with planted variances."""

import itertools
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.power import TTestPower

from kdstats import store, verdicts
from kdstats.catalog import AT_A_MARGIN
from kdstats.errors import UserError
from kdstats.plan import clusters
from kdstats.protocol import hypothesis_points, read_protocol
from kdstats.sizing import power_figure, power_table, sentences, write_power
from kdstats.stats import paired_t, tost

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


def test_the_asymmetry_varies_as_its_units_do(tmp_path):
    """A unit's asymmetry is made of the mean counts of its students, and varies as that of the pilot's own contrast."""
    rng = np.random.default_rng(4)
    of_pairs = np.repeat(rng.integers(-10, 10, (20, 1)), 2, axis=0)
    values = {
        (arm, metric): (mean + (of_pairs if arm == "kd" else 0) + rng.integers(-3, 3, (40, 2))) / 100
        for arm, metric in itertools.product(("kd", "kd-other"), ("positive_transfer", "negative_transfer"))
        for mean in (85 if metric == "positive_transfer" else 50,)
    }
    scope = "scope: {examples: this test set}, test: paired-t"
    claim = f"{{name: h, metric: asymmetry, arm: kd, control: kd-other, direction: greater, {scope}}}"
    made = protocol(tmp_path, claim, teachers=40)
    run, _ = pilot(tmp_path, made, values)
    row = cell(power_table(made, pilot=run), "h", 40, 2)
    contrasts = pd.read_csv(run / "contrasts.csv").iloc[0]
    assert row["effect"] == pytest.approx(contrasts["estimate"], rel=1e-9)
    assert row["sd_unit"] / np.sqrt(20) == pytest.approx(contrasts["sem"], rel=0.05)


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
