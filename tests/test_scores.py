"""`kdstats test scores.csv`: tables that others made, flags or a hypotheses file, and mistakes in them."""

import pandas as pd
import pytest
from scipy.stats import mannwhitneyu

from kdstats.errors import UserError
from kdstats.pipeline import judge_scores
from kdstats.protocol import one_hypothesis
from tests.conftest import kdstats

ROWS = [
    {"arm": arm, "seed": seed, "metric": metric, "value": base + step * seed}
    for metric, shift in (("accuracy", 0.0), ("made-up score", 1.0))
    for arm, base, step in (("mine", 0.8 + shift, 0.01), ("plain", 0.79 + shift, 0.005))
    for seed in range(6)
]


def write(folder, rows=ROWS, **columns):
    pd.DataFrame(rows).assign(**columns).to_csv(folder / "scores.csv", index=False)
    return folder / "scores.csv"


def flags(metric="accuracy"):
    return ("--arm", "mine", "--control", "plain", "--metric", metric, "--alternative", "greater")


def test_flags_on_a_table_without_teachers(tmp_path):
    write(tmp_path)
    done = kdstats("test", "scores.csv", *flags(), "--out", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    row = pd.read_csv(tmp_path / "out" / "contrasts.csv").iloc[0]
    assert row["p_value"] == 2**-6 and row["n_units"] == 6  # six positive differences
    assert row["estimate"] == pytest.approx(0.01 + 0.005 * 2.5) and row["scope_teachers"] == "these"
    assert "supported" in done.stdout and "p = 0.0156" in done.stdout


def test_metrics_are_anybodys(tmp_path):
    write(tmp_path)
    done = kdstats("test", "scores.csv", *flags("made-up score"), "--test", "wilcoxon", cwd=tmp_path)
    assert done.returncode == 0 and "made-up score of mine minus plain" in done.stdout


def test_a_hypotheses_file_with_a_sweep_and_a_family(tmp_path):
    rows = [
        {"arm": arm, "alpha": alpha, "seed": seed, "teacher": teacher, "metric": "accuracy", "value": value}
        for teacher in range(8)
        for seed in range(2)
        for arm, alpha, value in (
            ("kd", 0.1, 0.9 + 0.001 * teacher), ("kd", 0.9, 0.8 + 0.001 * teacher),
            ("rcd", 0.1, 0.85), ("rcd", 0.9, 0.85), ("ce", None, 0.8),
        )
    ]  # fmt: skip
    write(tmp_path, rows)
    (tmp_path / "h.yaml").write_text(
        "- {name: better, metric: accuracy, arm: kd, controls: [ce, rcd], direction: greater}\n"
    )
    done = kdstats("test", "scores.csv", "--hypotheses", "h.yaml", "--out", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    verdicts = pd.read_csv(tmp_path / "out" / "verdicts.csv")
    assert verdicts["hypothesis"].tolist() == ["better[alpha=0.1]", "better[alpha=0.9]"]
    assert verdicts["verdict"].tolist() == ["supported", "refuted"]  # .8 < .85 at alpha .9
    assert verdicts["n_units"].tolist() == [8, 8] and verdicts["p_value"].tolist()[0] == 2**-8
    assert verdicts["p_refuted"].tolist()[1] == 2 * 2 * 2**-8  # two controls, two hypotheses


def test_scores_of_a_run_give_the_runs_p_values(tmp_path):
    rows = []
    for teacher in range(6):
        for arm, agree in (("kd", 0.95 + 0.001 * teacher), ("kd-other", 0.94)):
            rows.append({"arm": arm, "teacher": teacher, "seed": 0, "metric": "agreement", "value": agree})
    write(tmp_path, rows)
    refused = kdstats(
        "test", "scores.csv", "--arm", "kd", "--control", "kd-other", "--metric", "agreement", cwd=tmp_path
    )
    assert refused.returncode == 2 and "add a column cluster" in refused.stderr
    write(tmp_path, [row | {"cluster": row["teacher"] // 2} for row in rows])
    asked = ("--arm", "kd", "--control", "kd-other", "--metric", "agreement", "--alternative", "greater")
    done = kdstats("test", "scores.csv", *asked, cwd=tmp_path)
    assert done.returncode == 0 and "p = 0.125" in done.stdout and "3 pairs of teachers" in done.stdout


def test_a_whole_protocol_serves_as_hypotheses_file(tmp_path):
    write(tmp_path)
    (tmp_path / "p.yaml").write_text(
        "name: p\ndataset: digits\narms: {kd: , ce: }\nlevel: 0.01\n"
        "hypotheses: [{metric: accuracy, arm: mine, control: plain, direction: greater}]\n"
    )
    done = kdstats("test", "scores.csv", "--hypotheses", "p.yaml", cwd=tmp_path)
    assert done.returncode == 0 and "inconclusive" in done.stdout  # 2⁻⁶ > .01
    assert "no outcome of this test is below p = 0.0156" in done.stdout


@pytest.mark.parametrize(
    ("rows", "columns", "said"),
    [
        ([{"arm": "a", "seed": 0, "value": 1}], {}, "lacks the column(s) metric"),
        ([*ROWS, ROWS[3]], {}, "scores.csv:26: column seed: '3' is here twice"),
        (ROWS, {"value": [0.5, "high", *[0.5] * 22]}, "scores.csv:3: column value: 'high' is not a finite number"),
        (ROWS, {"value": [0.5, None, *[0.5] * 22]}, "scores.csv: mine (seed 1) has no accuracy, and nothing says why"),
        (ROWS, {"value": [0.5, "nan", *[0.5] * 22]}, "leave the cell empty where there is no score"),
        (ROWS, {"value": [float("inf"), *[0.5] * 23]}, "scores.csv:2: column value: 'inf' is not a finite number"),
        (ROWS, {"seed": [1.5, *range(23)]}, "scores.csv:2: column seed: '1.5' is not a whole number"),
        (ROWS, {"dataset": ["a", *["b"] * 23]}, "scores.csv: a: hypothesis accuracy-mine-vs-plain: 'plain' is no arm"),
        (ROWS, {"example_id": range(24)}, "has a row an example (column example_id)"),
        ([row for row in ROWS if row["arm"] == "mine"], {}, "is no arm here"),
        ([row for row in ROWS if row["metric"] != "accuracy"], {}, "has no scores of accuracy"),
        ([{"arm": "teacher", "seed": 0, "metric": "accuracy", "value": 1}], {}, "no rows of students"),
    ],
)
def test_a_mistake_in_the_table_is_a_sentence_with_its_row(tmp_path, rows, columns, said):
    write(tmp_path, rows, **columns)
    refused = kdstats("test", "scores.csv", *flags(), cwd=tmp_path)
    assert refused.returncode == 2 and said in refused.stderr and "Traceback" not in refused.stderr, refused.stderr


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "no CSV table"),
        ("a,b\n1,2\n\n1,2,3,4\n", "scores.csv:4: has more cells than the first line has columns (a,b)"),
        ("arm;seed;metric;value\nkd;0;m;0,5\n", "scores.csv:1: its cells are separated by semicolons"),
        ("arm\tseed\tmetric\tvalue\nkd\t0\tm\t.5\n", "scores.csv:1: its cells are separated by tabulators"),
        ("arm,alpha,seed,metric,value\nkd,nan,0,m,.5\n", "scores.csv:2: column alpha: 'nan' is no setting"),
        ("arm,seed,metric,value\nkd,0,m,1e300\n", "scores.csv:2: column value: '1e300' is no score"),
        ("\x00\xff", "no CSV table"),
    ],
)
def test_a_file_that_is_no_table(tmp_path, content, said):
    (tmp_path / "scores.csv").write_bytes(content.encode("latin-1"))
    refused = kdstats("test", "scores.csv", *flags(), cwd=tmp_path)
    assert refused.returncode == 2 and said in refused.stderr and "Traceback" not in refused.stderr, refused.stderr


def test_options_that_do_not_go_together(tmp_path):
    write(tmp_path)
    (tmp_path / "h.yaml").write_text("- {metric: accuracy, arm: mine, control: plain, direction: greater}\n")
    for arguments, said in [
        (("--arm", "mine"), "needs --arm, --control and --metric, or --hypotheses FILE"),
        ((*flags(), "--hypotheses", "h.yaml"), "leave out --arm"),
        (("--arm", "mine", "--control", "mine", "--metric", "accuracy"), "control is another arm"),
    ]:
        refused = kdstats("test", "scores.csv", *arguments, cwd=tmp_path)
        assert refused.returncode == 2 and said in refused.stderr, refused.stderr


# Designs ---------------------------------------------------------------------------------------------------------


def test_an_unpaired_table_is_refused_as_paired_and_tested_by_mann_whitney(tmp_path):
    rows = [row | {"seed": row["seed"] + 10 * (row["arm"] == "plain")} for row in ROWS]
    write(tmp_path, rows)
    refused = kdstats("test", "scores.csv", *flags(), cwd=tmp_path)
    assert (
        refused.returncode == 2
        and "no teacher and seed in common" in refused.stderr
        and "mann-whitney" in refused.stderr
    )
    done = kdstats("test", "scores.csv", *flags(), "--test", "mann-whitney", "--out", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    row = pd.read_csv(tmp_path / "out" / "contrasts.csv").iloc[0]
    # .80 … .85 against .79, .795 … .815: 6 + 6 + 6 + 6 + 5 + 4 - ties .5 and .5 of 36 pairs are above
    wins = sum((a > b) + 0.5 * (a == b) for a in (80, 81, 82, 83, 84, 85) for b in (79, 79.5, 80, 80.5, 81, 81.5))
    assert row["statistic"] == wins and row["n_units"] == 12 and row["smallest_p"] == pytest.approx(1 / 924)


def test_paired_students_are_refused_as_unpaired(tmp_path):
    write(tmp_path, teacher=0)
    refused = kdstats("test", "scores.csv", *flags(), "--test", "mann-whitney", cwd=tmp_path)
    assert refused.returncode == 2 and "share teacher 0" in refused.stderr


def test_several_datasets_are_one_claim_each_in_one_family(tmp_path):
    rows = [row | {"dataset": name} for name in ("a", "b") for row in ROWS]
    write(tmp_path, rows)
    done = kdstats("test", "scores.csv", *flags(), "--out", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    verdicts = pd.read_csv(tmp_path / "out" / "verdicts.csv")
    assert verdicts["hypothesis"].tolist() == [f"accuracy-mine-vs-plain[dataset={name}]" for name in ("a", "b")]
    assert verdicts["p_adjusted"].tolist() == [2 * 2**-6] * 2


def test_a_claim_of_no_loss_needs_a_margin(tmp_path):
    write(tmp_path)
    asked = (*flags()[:-1], "not-less")
    refused = kdstats("test", "scores.csv", *asked, cwd=tmp_path)
    assert refused.returncode == 2 and "add `margin`" in refused.stderr
    done = kdstats("test", "scores.csv", *asked, "--margin", "0.005", cwd=tmp_path)
    assert done.returncode == 0 and "supported" in done.stdout and "margin 0.005" in done.stdout


def test_scores_in_percent_have_no_known_worst_case(tmp_path):
    rows = [("kd", seed, "accuracy", 0.84) for seed in range(1, 8)]  # seed 0 failed
    rows += [("ce", seed, "accuracy", 0.86 + 0.001 * seed) for seed in range(8)]
    table = pd.DataFrame(rows, columns=["arm", "seed", "metric", "value"])
    for factor in (1, 100):  # between 0 and 1 a failed network is imputed at 1; of percent nothing is known
        file = tmp_path / "scores.csv"
        table.assign(value=table["value"] * factor).to_csv(file, index=False)
        asked = ("--arm", "kd", "--control", "ce", "--metric", "accuracy", "--alternative", "less")
        done = kdstats("test", file, *asked, "--missing", "worst", cwd=tmp_path)
        assert done.returncode == 0 and "inconclusive" in done.stdout, done.stdout
        assert ("nothing bounds this metric" in done.stdout) == (factor == 100)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("arm,seed,metric,value\nkd,1,a,.5,7\nce,1,a,.4\n", "has more cells than the first line has columns"),
        ("arm,seed,metric,value,value\nkd,1,a,.5,7\n", "scores.csv:1: has the column value twice"),
    ],
)
def test_a_ragged_table_and_a_column_twice_are_refused(tmp_path, text, said):
    file = tmp_path / "scores.csv"
    file.write_text(text)
    done = kdstats("test", file, "--arm", "kd", "--control", "ce", "--metric", "a", cwd=tmp_path)
    assert done.returncode == 2 and said in done.stderr


def test_an_arm_called_null_is_an_arm(tmp_path):
    file = tmp_path / "scores.csv"
    rows = [f"{arm},{seed},a,{seed + (arm == 'kd')}" for seed in range(4) for arm in ("kd", "null")]
    file.write_text("\n".join(["arm,seed,metric,value", *rows]))
    assert "kd − null (a): paired by seed" in kdstats("test", file, "--designs", cwd=tmp_path).stdout


def test_students_of_one_teacher_are_not_unpaired_replicates(tmp_path):
    file = tmp_path / "scores.csv"
    rows = [
        f"{arm},{teacher},{seed},a,{teacher + seed / 9}"
        for arm, of in (("kd", (1, 2)), ("ce", (3, 4)))
        for teacher in of
        for seed in range(3)
    ]
    file.write_text("\n".join(["arm,teacher,seed,metric,value", *rows]))
    asked = ("--arm", "kd", "--control", "ce", "--metric", "a", "--test", "mann-whitney")
    for scope in ("these", "each"):
        done = kdstats("test", file, *asked, "--scope", scope, cwd=tmp_path)
        assert done.returncode == 2 and "students of one teacher are not independent" in done.stderr, done.stderr
    assert kdstats("test", file, *asked, cwd=tmp_path).returncode == 0


def test_seeds_beyond_double_precision_and_blank_lines(tmp_path):
    file = tmp_path / "scores.csv"
    rows = [f"{arm},{2**55 + seed},a,{seed + (arm == 'kd')}" for seed in range(4) for arm in ("kd", "ce")]
    file.write_text("\n".join(["arm,seed,metric,value", "", *rows[:3], "", *rows[3:]]))
    asked = ("--arm", "kd", "--control", "ce", "--metric", "a")
    done = kdstats("test", file, *asked, cwd=tmp_path)
    assert done.returncode == 0 and "Speaks of these 4 students" in done.stdout, done.stdout + done.stderr
    file.write_text("\n".join(["arm,seed,metric,value", "", *rows[:3], "", "kd,x,a,1"]))
    assert "scores.csv:7: column seed: 'x' is not a whole number" in kdstats("test", file, *asked, cwd=tmp_path).stderr


def three_arms(lacking=()):
    """kd above ce and rcd on eight teachers with two seeds each; lacking: (arm, teacher) without scores."""
    return [
        {"arm": arm, "teacher": teacher, "seed": seed, "metric": "accuracy", "value": value + 0.001 * teacher * seed}
        for teacher in range(8)
        for seed in range(2)
        for arm, value in (("kd", 0.9 + 0.002 * teacher), ("ce", 0.8), ("rcd", 0.7))
        if (arm, teacher) not in lacking
    ]


@pytest.mark.parametrize(
    ("lacking", "used"),
    [
        ((), "max-t"),
        ((("ce", 3), ("rcd", 3)), "max-t"),  # the same seven teachers
        ((("ce", 3), ("rcd", 5)), "holm"),  # seven each, but others: their signs cannot be flipped together
    ],
)
def test_max_t_needs_the_same_teachers_not_as_many(tmp_path, lacking, used):
    write(tmp_path, three_arms(lacking))
    (tmp_path / "h.yaml").write_text(
        "correction: max-t\nhypotheses:\n"
        "- {metric: accuracy, arm: kd, control: ce, direction: greater}\n"
        "- {metric: accuracy, arm: kd, control: rcd, direction: greater}\n"
    )
    asked = ("--hypotheses", "h.yaml", "--missing", "drop", "--out", "out")
    done = kdstats("test", "scores.csv", *asked, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    contrasts = pd.read_csv(tmp_path / "out" / "contrasts.csv")
    assert set(contrasts["correction"]) == {used} and set(contrasts["declared"]) == {"not recorded"}


@pytest.mark.parametrize("test", ["sign-flip", "mann-whitney"])
def test_a_table_without_teachers_speaks_of_its_students_at_every_scope(tmp_path, test):
    write(tmp_path)
    done = kdstats("test", "scores.csv", *flags(), "--scope", "each", "--test", test, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert " students, on this test set" in done.stdout and "teacher" not in done.stdout, done.stdout


# Scores that are missing -----------------------------------------------------------------------------------------

KD_AGAINST_CE = ("--arm", "kd", "--control", "ce", "--metric", "accuracy", "--alternative", "greater")


def eleven(missing="absent", arm="kd", apart=0.05):
    """kd above ce on eleven seeds, with another metric beside it; one score is missing in one of four ways."""
    rows = [
        {"arm": name, "seed": seed, "metric": metric, "value": value + step * seed, "note": ""}
        for seed in range(11)
        for name, value, step in (("kd", 0.85 + apart, 0.001), ("ce", 0.85, 0.0011))
        for metric in ("accuracy", "loss")
    ]
    of = [row for row in rows if (row["arm"], row["seed"]) == (arm, 4)]
    gone = next(row for row in of if row["metric"] == "accuracy")
    if missing in ("empty", "explained"):
        rows.remove(of[1])
        gone |= {"value": None, "note": "diverged" if missing == "explained" else ""}
    elif missing in ("absent", "other metric"):
        rows.remove(gone)
        if missing == "absent":
            rows.remove(of[1])
    return rows


WAYS = ("absent", "empty", "explained", "other metric")


def judged(folder, rows, missing, test="sign-flip", direction="greater", margin=None):
    asked = one_hypothesis("accuracy", "kd", ["ce"], direction, test, "recipe", margin)
    return [table.iloc[0] for table in judge_scores(write(folder, rows), asked, missing)]


@pytest.mark.parametrize("arm", ["kd", "ce"])
@pytest.mark.parametrize("missing", ["drop", "worst"])
def test_a_missing_score_gives_one_verdict_however_it_is_missing(tmp_path, missing, arm):
    whole = judged(tmp_path, eleven("nothing"), missing)[1]
    assert whole["p_value"] == 2**-11 and "--missing" not in whole["sentence"]
    found = [judged(tmp_path, eleven(way, arm), missing) for way in WAYS]
    for contrast, verdict in found:
        assert contrast[["n_pairs", "n_failed_arm", "n_failed_control"]].tolist() == [10, arm == "kd", arm == "ce"]
        assert f"{arm} (seed 4) has no accuracy" in verdict["sentence"]
        assert f"--missing {missing}" in verdict["sentence"] and "p = 9.8e-04" in verdict["sentence"]
        if missing == "drop":
            assert verdict["verdict"] == "supported" and verdict["p_value"] == 2**-10
            assert "1 of 11 pairs is left out" in verdict["sentence"] and "unlogged at random" in verdict["sentence"]
        else:
            assert verdict["verdict"] == ("inconclusive" if arm == "kd" else "supported")
            assert "p is the worst over what is missing, 0 to 1" in verdict["sentence"]
    columns = ["p_value", "p_adjusted", "p_refuted", "verdict", "estimate"]
    assert all((verdict[columns] == found[0][1][columns]).all() for _, verdict in found)
    assert "(diverged)" in found[2][1]["sentence"]


def test_the_worst_is_that_of_the_signs_by_hand(tmp_path):
    # kd at 0 lies .85 below, more than the ten others are above together: half of all signs, those that turn it round
    assert judged(tmp_path, eleven("absent", "kd"), "worst")[1]["p_value"] == pytest.approx(0.5, abs=0.001)
    # ten differences of about .05 and .904 - 1 = -.096. Sums as large: none flipped, the last alone, it and one other
    assert judged(tmp_path, eleven("absent", "ce"), "worst")[1]["p_value"] == 12 / 2**11


def test_a_small_gap_survives_the_worst(tmp_path):
    rows = [row for row in eleven("nothing") if row["metric"] == "accuracy"]
    for row in rows:
        if row["arm"] == "ce" and row["seed"] == 4:
            row["value"] = 0.0  # the control scored nothing: kd at worst as much
    rows = [row for row in rows if (row["arm"], row["seed"]) != ("kd", 4)]
    contrast, verdict = judged(tmp_path, rows, "worst")
    assert verdict["verdict"] == "supported" and verdict["p_value"] == 2 / 2**11 and contrast["n_failed_arm"] == 1


@pytest.mark.parametrize("way", WAYS)
def test_a_claim_of_equivalence_meets_the_worst_too(tmp_path, way):
    for missing, verdict in (("drop", "supported"), ("worst", "inconclusive")):
        found = judged(tmp_path, eleven(way, apart=0.0), missing, "paired-t", "equivalent", 0.02)
        assert found[1]["verdict"] == verdict, found[1]["sentence"]


def test_pairs_that_neither_side_has_change_nothing_and_are_told(tmp_path):
    rows = [row for row in eleven("nothing") if row["seed"] != 4 or row["metric"] != "accuracy"]
    sentences = [judged(tmp_path, rows, missing)[1] for missing in ("refuse", "drop", "worst")]
    assert {verdict["p_value"] for verdict in sentences} == {2**-10}
    assert all("1 pair has no accuracy on either side" in verdict["sentence"] for verdict in sentences)


@pytest.mark.parametrize("way", WAYS[1:])
def test_unpaired_samples_count_what_they_are_known_to_lack(tmp_path, way):
    rows = [row | {"seed": row["seed"] + 100 * (row["arm"] == "ce")} for row in eleven(way)]
    contrast, verdict = judged(tmp_path, rows, "drop", "mann-whitney")
    assert verdict["verdict"] == "supported" and contrast["n_failed_arm"] == 1 and contrast["n_units"] == 21
    assert "kd (seed 4) has no accuracy, left out, taken as unlogged at random" in verdict["sentence"]
    _, worst = judged(tmp_path, rows, "worst", "mann-whitney")
    x = [row["value"] for row in rows if row["arm"] == "kd" and row["metric"] == "accuracy" and row["value"]]
    y = [row["value"] for row in rows if row["arm"] == "ce" and row["metric"] == "accuracy"]
    assert worst["p_value"] == pytest.approx(mannwhitneyu([*x, 0.0], y, alternative="greater", method="exact").pvalue)
    with pytest.raises(UserError, match=r"kd \(seed 4\) has no accuracy, and nothing says why"):
        judged(tmp_path, rows, "refuse", "mann-whitney")


@pytest.mark.parametrize("way", WAYS)
def test_the_command_asks_what_a_missing_score_means(tmp_path, way):
    write(tmp_path, eleven(way))
    refused = kdstats("test", "scores.csv", *KD_AGAINST_CE, cwd=tmp_path)
    assert refused.returncode == 2 and "scores.csv: kd (seed 4) has no accuracy, and nothing says why" in refused.stderr
    assert "--missing drop" in refused.stderr and "--missing worst" in refused.stderr
    for missing, said in (("drop", "supported"), ("worst", "inconclusive")):
        done = kdstats("test", "scores.csv", *KD_AGAINST_CE, "--missing", missing, cwd=tmp_path)
        assert done.returncode == 0 and f"accuracy-kd-vs-ce: {said}" in done.stdout, done.stdout + done.stderr
        assert f"--missing {missing}" in done.stdout


def test_mistakes_in_what_missing_means(tmp_path):
    file = write(tmp_path, eleven())
    (tmp_path / "run").mkdir()
    for arguments, said in [
        ((file, *KD_AGAINST_CE, "--missing", "ignore"), "'ignore' is not one of"),
        (("run", "--missing", "drop"), "a run knows which of its networks failed"),
        ((file, "--designs", "--missing", "drop"), "leave out --missing"),
    ]:
        refused = kdstats("test", *arguments, cwd=tmp_path)
        assert refused.returncode == 2 and said in refused.stderr, refused.stderr


def test_a_hypotheses_file_takes_the_option_and_many_networks_are_counted(tmp_path):
    rows = three_arms((("kd", 2), ("ce", 5), ("ce", 6)))
    write(tmp_path, rows)
    (tmp_path / "h.yaml").write_text("- {metric: accuracy, arm: kd, controls: [ce, rcd], direction: greater}\n")
    asked = ("test", "scores.csv", "--hypotheses", "h.yaml")
    refused = kdstats(*asked, cwd=tmp_path)
    first = "kd (teacher 2, seed 0), kd (teacher 2, seed 1), ce (teacher 5, seed 0) and 3 more have no accuracy"
    assert refused.returncode == 2 and first in refused.stderr, refused.stderr
    done = kdstats(*asked, "--missing", "drop", "--out", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    contrasts = pd.read_csv(tmp_path / "out" / "contrasts.csv")
    assert contrasts["n_units"].tolist() == [5, 7] and contrasts["n_failed_control"].tolist() == [4, 0]
