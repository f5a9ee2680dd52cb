from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from kdstats.reporting import Results
from kdstats.reporting.page import TABLES
from kdstats.reporting.tables import claim

EMPTY = pd.DataFrame()


def scored(rows, seeds=(0, 1, 2, 3), contrasts=EMPTY, transfers=EMPTY, **protocol):
    """Results with scores alone; rows are (arm, alpha, teacher, seed, metric, value)."""
    scores = pd.DataFrame(rows, columns=["arm", "alpha", "teacher", "seed", "metric", "value"])
    protocol = {"name": "x", "arms": {arm: {"kind": arm} for arm in scores["arm"]}} | protocol
    protocol |= {"teacher": {"model": "mlp", "seeds": list(seeds)}}
    return Results(protocol, "f" * 64, {}, [], scores, contrasts, EMPTY, transfers, EMPTY, EMPTY).tidy()


def column(table, heading):
    return dict(zip(table.shown["Arm"], table.shown[heading], strict=True))


# Arms ------------------------------------------------------------------------------------------------------------


def test_mean_and_sem_are_over_teacher_means():
    # teacher means .90 and .94: mean .92, SD .0283, SEM .0283/√2 = .02; over the four students SEM would be .0129
    values = [(0, 0, 0.88), (0, 1, 0.92), (1, 0, 0.93), (1, 1, 0.95)]
    table = TABLES["arms"](scored([("kd", 0.5, t, s, "accuracy", v) for t, s, v in values]))
    assert table.shown == {"Arm": ["kd"], "Accuracy": ["0.920 ± 0.020"]}
    assert table.data[["mean", "sem"]].iloc[0].tolist() == pytest.approx([0.92, 0.02])


def test_pairs_of_teachers_are_the_units_of_kd_other():
    # unit means (.90 + .92)/2 = .91 and (.95 + .95)/2 = .95: mean .93, SEM .02; over four teachers it would be .0122
    rows = [("kd-other", 0.5, t, 0, "accuracy", v) for t, v in enumerate((0.90, 0.92, 0.95, 0.95))]
    table = TABLES["arms"](scored(rows))
    assert table.shown["Accuracy"] == ["0.930 ± 0.020"]
    assert "n = 2 units of 4 students" in table.signature


def test_one_teacher_has_students_as_units():
    # .90, .92, .94: mean .92, SD .02, SEM .02/√3 = .0115
    table = TABLES["arms"](scored([("kd", 0.5, 7, s, "accuracy", v) for s, v in enumerate((0.90, 0.92, 0.94))]))
    assert table.shown["Accuracy"] == ["0.920 ± 0.012"]
    assert "students of the one teacher" in table.caption


def test_one_replicate_has_no_sem():
    table = TABLES["arms"](scored([("kd", 0.5, 0, 0, "accuracy", 0.9)]))
    assert table.shown["Accuracy"] == ["0.900"]


def test_best_follows_the_direction_of_the_metric():
    rows = [
        (arm, alpha, t, 0, metric, level + t / 1000)
        for arm, alpha, right, loss in [("teacher", None, 0.99, 0.1), ("siddo", None, 0.9, 0.5), ("kd", 0.5, 0.95, 0.3)]
        for metric, level in [("accuracy", right), ("cross_entropy", loss), ("negative_transfer", right)]
        for t in range(2)
    ]
    table = TABLES["arms"](scored(rows))
    assert table.shown["Arm"] == ["teacher", "siddo", "kd"]
    assert {key for key, marks in table.marks.items() if "best" in marks} == {(2, "Accuracy"), (2, "Cross-entropy")}


def test_marks_are_those_of_the_contrasts(digits):
    table = TABLES["arms"](digits.tidy())
    rows = digits.contrasts[digits.contrasts["control"] == "siddo"]
    for i, arm in enumerate(table.shown["Arm"]):
        if " α = " not in arm:
            assert not any(marks for (row, _), marks in table.marks.items() if row == i and "†" in marks)
            continue
        name, alpha = arm.split(" α = ")
        own = rows[(rows["arm"] == name) & rows["arm_params"].str.startswith(f"alpha={alpha} ")]
        for metric, heading in (("accuracy", "Accuracy"), ("js_divergence", "JS divergence")):
            of_metric = own[own["metric"] == metric].set_index("kind")["p_adjusted"]
            kind = "confirmatory" if "confirmatory" in of_metric else "exploratory"
            expected = {"confirmatory": "†", "exploratory": "‡"}[kind] if of_metric[kind] <= 0.05 else None
            found = set(table.marks.get((i, heading), ())) & {"†", "‡"}
            assert found == ({expected} if expected else set()), (arm, metric)


def test_a_row_that_bears_no_support_is_not_marked(digits):
    contrasts = digits.contrasts.assign(verdict="inconclusive")  # as where the arm failed more often than its control
    table = TABLES["arms"](replace(digits, contrasts=contrasts).tidy())
    assert not any("†" in marks for marks in table.marks.values())


def test_undefined_values_are_dashes_and_undefined_columns_are_not_there(digits):
    scores = digits.scores.copy()
    scores.loc[(scores["metric"] == "negative_transfer"), "value"] = np.nan
    scores.loc[(scores["metric"] == "agreement") & (scores["arm"] == "kd"), "value"] = np.nan
    table = TABLES["arms"](replace(digits, scores=scores).tidy())
    assert "Agreement where the teacher is wrong, A⁻" not in table.shown
    assert column(table, "Agreement")["kd α = 0.5"] == "–"
    assert "nan" not in str(table.shown)


# Signatures and scope --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TABLES)
def test_every_table_is_signed_and_stamped(digits, name):
    table = TABLES[name](digits.tidy())
    assert table.signature.startswith("protocol 3f8a92c41d07 · n = ")
    assert table.signature.endswith(" · kdstats 0.1.0")
    assert set(table.data["protocol_hash"]) == {digits.protocol_hash}
    assert set(table.data["version"]) == {"0.1.0"}
    assert len({len(cells) for cells in table.shown.values()}) == 1


def test_signature_names_n_test_sides_and_correction(digits):
    signature = TABLES["contrasts"](digits.tidy()).signature
    for words in ("10 teachers or 5 pairs of teachers", "sign-flip or two-way-t", "one-sided (greater) or two-sided"):
        assert words in signature
    assert "Holm (family-wise error) in family confirmatory" in signature


@pytest.mark.parametrize(
    ("scope", "examples", "expected"),
    [
        ("recipe", "new", "the recipe, on new examples (10 teachers)"),
        ("these", "this test set", "these teachers, on this test set (20 students)"),
        ("each", "this test set", "teacher 3 alone, on this test set (2 students)"),
    ],
)
def test_every_row_says_what_it_speaks_of(digits, scope, examples, expected):
    n = {"recipe": 10, "these": 20, "each": 2}[scope]
    first = digits.contrasts[:1].assign(scope_teachers=scope, scope_examples=examples, n_units=n, teacher=3.0)
    table = TABLES["contrasts"](replace(digits, contrasts=first, verdicts=digits.verdicts[:1]).tidy())
    assert table.shown["About"] == [expected]


# Hypotheses ------------------------------------------------------------------------------------------------------


def test_claims_in_words(digits):
    results = digits.tidy()
    words = {row["hypothesis"]: claim(results, row) for row in results.verdicts.to_dict("records")}
    assert words["agrees-more[alpha=0.5]"] == (
        "Agreement is higher with kd α = 0.5 than with siddo and with rcd α = 0.5. About the recipe, on this test set."
    )
    assert words["inherits-errors[alpha=0.9]"] == (
        "Students of the wrong one of two teachers give its wrong answer more often than students of the right one"
        " (W > 0), with kd α = 0.9 against kd-other α = 0.9. About the recipe, on new examples."
    )
    assert words["holds-errors-firmer[alpha=0.9]"] == (
        "Errors are held to more firmly than right answers (θ₀ > 0): taught wrongly, students break away from both"
        " teachers' answers less often than taught rightly, where both teachers are equally sure, with kd α = 0.9"
        " against kd-other α = 0.9. About the recipe, on new examples."
    )
    assert words["accuracy-unchanged[alpha=0.1]"] == (
        "Accuracy differs between kd α = 0.1 and siddo; within ±0.01 it counts as no difference."
        " About the recipe, on this test set."
    )


@pytest.mark.parametrize(
    ("metric", "margin", "said"),
    [("inherits_errors", 0.05, "±5 points"), ("inherits_knowledge", 0.01, "±1 point"), ("agreement", 0.01, "±0.01")],
)
def test_a_margin_of_w_and_k_is_in_points(digits, metric, margin, said):
    first = digits.verdicts.iloc[0].to_dict() | {"metric": metric, "margin": margin}
    assert f"; within {said} it counts as no difference. About" in claim(digits.tidy(), first)


def test_tables_say_that_w_and_k_are_shares(digits):
    for name in ("verdicts", "contrasts"):
        assert "0.1 is 10 points" in TABLES[name](digits.tidy()).caption
    others = digits.contrasts["metric"] != "inherits_errors", digits.verdicts["metric"] != "inherits_errors"
    without = replace(digits, contrasts=digits.contrasts[others[0]], verdicts=digits.verdicts[others[1]])
    assert "points" not in TABLES["verdicts"](without.tidy()).caption


def test_what_is_withdrawn_claims_nothing(digits):
    row = digits.verdicts[digits.verdicts["metric"] == "asymmetry"].iloc[0].to_dict() | {"verdict": "withdrawn"}
    said = claim(digits.tidy(), row)
    assert said.startswith("Withdrawn: a claim on the asymmetry h") and "docs/errors-and-knowledge.md" in said


def test_verdicts_and_sentences_are_those_given(digits):
    table = TABLES["verdicts"](digits.tidy())
    assert table.shown["Verdict"] == list(digits.verdicts["verdict"])
    assert table.shown["Why"] == list(digits.verdicts["sentence"])
    assert len(table.rows) == 15


def test_what_came_late_is_marked_everywhere(digits):
    late = digits.contrasts["arm_params"].str.startswith("alpha=0.9")
    declared = np.where(late, "after training: hypothesis, arm", "before training")
    added = {"points": [["kd", "alpha=0.9 temperature=4"]], "hypotheses": ["agrees-more[alpha=0.9]"]}
    amendment = {"when": "2026-01-01T00:00:00", "hash": "a" * 64, "added": added, "replicates_existed": True}
    results = replace(
        digits,
        contrasts=digits.contrasts.assign(declared=declared),
        verdicts=digits.verdicts.assign(declared=["after training: hypothesis"] + ["before training"] * 14),
        amendments=[amendment],
    ).tidy()
    first = {name: next(iter(table.shown.values())) for name in TABLES for table in [TABLES[name](results)]}
    assert first["verdicts"][0] == "agrees-more[alpha=0.1] (declared after training)"
    confirmatory = digits.contrasts["kind"] == "confirmatory"
    assert sum("declared after training" in cell for cell in first["contrasts"]) == (late & confirmatory).sum() > 0
    assert [cell for cell in first["arms"] if "after" in cell] == ["kd α = 0.9 (declared after training)"]
    assert [cell for cell in first["transfers"] if "after" in cell] == ["kd α = 0.9 (declared after training)"]
    assert any("declared after training" in cell for cell in first["exploratory"])
    assert [cell for cell in first["inheritance"] if "after" in cell][::15] == [
        "kd − kd-other, α = 0.9 (declared after training)",
        "kd α = 0.9 − siddo (declared after training)",
    ]


def test_failed_replicates_are_said(digits):
    contrasts = digits.contrasts[:1].assign(n_failed_arm=2, note="too few")
    table = TABLES["contrasts"](replace(digits, contrasts=contrasts).tidy())
    assert table.shown["Note"] == ["too few; 2 of the arm's and 0 of the control's replicates failed"]


def test_inheritance_has_a_block_a_setting_with_repeated_errors_first(digits):
    table = TABLES["inheritance"](digits.tidy())
    block = [row for row in table.rows if row[0].endswith("α = 0.5") or row[0] == "kd α = 0.5 − siddo"]
    assert len(table.rows) == 3 * len(block) == 48
    shown = {what: cells for _, what, *cells in block}
    assert list(shown)[:6] == [
        "Errors of a teacher", "of them, repeated by its own student",
        "of them, repeated by the other teacher's student", "repeated more by its own student",
        "W, inherited errors", "K, inherited right answers",
    ]  # fmt: skip
    assert shown["Errors of a teacher"] == ["47.0 [38.0, 56.0]", "errors", ""]
    assert shown["repeated more by its own student"] == ["18.0 [15.0, 21.0]", "errors", "Repeats 18 more of 47 at 0.5."]
    assert shown["W, inherited errors"][:2] == ["25.0 [17.0, 33.0]", "points"]
    assert shown["ĉ_w, share of wrong answers copied"] == ["25.0", "%", "if copying were all or nothing"]
    assert shown["θ₀, third answers where both teachers are equally sure"][:2] == ["0.03 [−0.37, 0.43]", "log ratio"]
    h, _, care = shown["h; then what one copied share predicts"]
    assert h == "0.10 [−0.10, 0.30]; −0.02"
    assert "bears no verdict" in care and "the second number: an approximation" in care
    assert "positive under pure copying" in shown["Raw asymmetry Δ⁻ − Δ⁺"][2]
    assert "in one half alone" in table.caption
    assert not {"p", "Adjusted p", "Verdict"} & set(table.shown)
    assert set(table.data["part"]) >= {"h_of_copying", "raw", "repeated_more"}
    assert "n = 5 pairs of teachers or 10 teachers" in table.signature


def test_inheritance_says_why_a_number_is_not_there(digits):
    rows = digits.inheritance
    third = rows["part"] == "third"
    rows = rows.assign(
        estimate=rows["estimate"].mask(third), ci_low=rows["ci_low"].mask(third), ci_high=rows["ci_high"].mask(third),
        note=rows["note"].mask(third, "no third answers"),
    )  # fmt: skip
    table = TABLES["inheritance"](replace(digits, inheritance=rows).tidy())
    found = [cells for _, what, *cells in table.rows if what == "θ, third answers whatever the confidence"]
    assert found == [["–", "log ratio", "describes, bears no verdict; no third answers"]] * 3


def test_the_raw_asymmetry_needs_no_other_teacher(digits):
    table = TABLES["inheritance"](replace(digits, inheritance=EMPTY).tidy())
    assert [row[:2] for row in table.rows] == [
        (f"kd α = {alpha} − siddo", "Raw asymmetry Δ⁻ − Δ⁺") for alpha in (0.1, 0.5, 0.9)
    ]
    assert "n = 10 teachers" in table.signature
    assert table.caption.startswith("What students inherit is not known: it needs students")


def test_transfer_counts_are_means_of_teacher_means():
    counts = {"n_correct": 90, "n_wrong": 10, "broken": 1, "infected": 3, "cured": 2, "net_infected": 1}
    # teacher 0: repaired 2 and 4, mean 3; teacher 1: 9: mean of teachers 6 (of students 5)
    rows = [
        {"arm": "kd", "arm_params": "", "control": "siddo", "control_params": "", "teacher": t, "seed": s,
         "repaired": repaired, "net_repaired": repaired - 1, **counts}
        for t, s, repaired in [(0, 0, 2), (0, 1, 4), (1, 0, 9)]
    ]  # fmt: skip
    table = TABLES["transfers"](scored([("siddo", None, 0, 0, "accuracy", 0.9)], transfers=pd.DataFrame(rows)))
    shown = {heading: cells[0] for heading, cells in table.shown.items()}
    assert (shown["Repaired"], shown["Net repaired"], shown["Broken"]) == ("6.0", "5.0", "1.0")
    assert "n = 3 pairs" in table.signature


# Edges -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TABLES)
def test_nothing_at_all_still_makes_tables(name):
    table = TABLES[name](Results({}, "0" * 64, {}, [], *[EMPTY] * 6).tidy())
    assert not table.rows
    assert len(table.empty) > 10


def test_a_table_that_lacks_a_column_is_named(digits):
    with pytest.raises(ValueError, match="contrasts lacks the column p_value"):
        replace(digits, contrasts=digits.contrasts.drop(columns="p_value")).tidy()


def test_tables_from_csv_are_the_same(digits, tmp_path):
    frames = {}
    for name in ("scores", "contrasts", "verdicts", "inheritance", "transfers", "curves", "failures"):
        getattr(digits, name).to_csv(tmp_path / name, index=False)
        frames[name] = pd.read_csv(tmp_path / name)
    again = replace(digits, **frames).tidy()
    for make in TABLES.values():
        assert make(again).shown == make(digits.tidy()).shown


def test_unbounded_intervals_are_shown_as_such(digits):
    endless = digits.contrasts[:1].assign(estimate=0.01, ci_low=-np.inf, ci_high=np.inf)
    table = TABLES["contrasts"](replace(digits, contrasts=endless).tidy())
    assert table.shown["Estimate [interval]"] == ["0.0100 [−∞, ∞]"]
