"""Tidy tables: what they give the tests is checked against arrays, and each refusal by its sentence."""

import inspect
from functools import partial

import numpy as np
import pandas as pd
import pytest

from kdstats.stats import effects, frames, paired
from kdstats.stats.ranks import mann_whitney

RNG = np.random.default_rng(0)
KD, SIDDO = RNG.normal(0.9, 0.01, 12), RNG.normal(0.89, 0.01, 12)

TESTS = [
    paired.sign_flip,
    paired.wilcoxon,
    paired.paired_t,
    partial(paired.tost, margin=0.02),
    partial(paired.tost_ratio, ratio=(0.9, 1.1)),
    partial(paired.non_inferiority, margin=0.02),
    paired.bayes_factor,
    partial(paired.rope, margin=0.02),
    effects.dz,
    effects.hedges_g,
    effects.rank_biserial,
    effects.paired_cles,
    effects.dz_interval,
    effects.hedges_g_interval,
    effects.rank_biserial_interval,
    effects.paired_cles_interval,
]


def rows(arm, values, teachers=None, seeds=None, **more) -> pd.DataFrame:
    """A table's rows of one arm; teachers 0, 0, …, 1, 1, … with that many students each."""
    n = len(values)
    table = pd.DataFrame({"arm": arm, "seed": np.arange(n) if seeds is None else seeds, "value": values})
    if teachers:
        table["teacher"], table["seed"] = np.arange(n) // teachers, np.arange(n) % teachers
    return table.assign(metric="accuracy", **more)


def table(teachers=None, **more) -> pd.DataFrame:
    return pd.concat([rows("kd", KD, teachers, **more), rows("siddo", SIDDO, teachers, **more)], ignore_index=True)


def shuffled(scores: pd.DataFrame) -> pd.DataFrame:
    return scores.sample(frac=1, random_state=1)


def same(a, b) -> None:
    """The same numbers, whether results, floats or pairs."""
    if hasattr(a, "to_frame"):
        a, b = a.to_frame(0.9), b.to_frame(0.9)
        pd.testing.assert_frame_equal(a, b)
    elif isinstance(a, paired.Rope):
        assert a == b
    else:
        assert a == pytest.approx(b, rel=1e-12)


# What a table gives ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("test", TESTS)
def test_a_table_is_its_arrays(test):
    expected = test(KD, SIDDO)
    same(test(shuffled(table()), arm="kd", control="siddo", metric="accuracy"), expected)
    same(test(shuffled(rows("kd", KD)), shuffled(rows("siddo", SIDDO))), expected)
    more = pd.concat([table(), table().assign(metric="nll", value=0.5), rows("ce", KD)])
    same(test(more, arm="kd", control="siddo", metric="accuracy"), expected)


def test_teachers_are_the_units_of_a_claim_about_the_recipe():
    scores = shuffled(table(teachers=2))
    means = [side.reshape(6, 2).mean(axis=1) for side in (KD, SIDDO)]
    for test in TESTS:
        same(test(scores, arm="kd", control="siddo"), test(*means))
        same(test(scores, arm="kd", control="siddo", scope="recipe"), test(*means))
        same(test(scores, arm="kd", control="siddo", scope="these"), test(KD, SIDDO))


def test_unequal_teachers_weigh_the_same():
    scores = table(teachers=2).drop(index=[0, 12])
    kd, siddo = KD.copy(), SIDDO.copy()
    kd[0], siddo[0] = kd[1], siddo[1]  # the mean of the one student left
    expected = paired.paired_t(kd.reshape(6, 2).mean(axis=1), siddo.reshape(6, 2).mean(axis=1))
    same(paired.paired_t(scores, arm="kd", control="siddo"), expected)


def test_one_teacher_has_students_as_units():
    scores = table(teachers=12)
    same(paired.sign_flip(scores, arm="kd", control="siddo", scope="each"), paired.sign_flip(KD, SIDDO))


def test_teachers_that_depend_on_each_other_are_one_unit():
    scores = table(teachers=2)
    scores["cluster"] = scores["teacher"] // 2
    expected = paired.paired_t(KD.reshape(3, 4).mean(axis=1), SIDDO.reshape(3, 4).mean(axis=1))
    same(paired.paired_t(shuffled(scores), arm="kd", control="siddo"), expected)


def test_teachers_alone_are_units():
    scores = pd.concat([rows("kd", KD), rows("siddo", SIDDO)]).rename(columns={"seed": "teacher"})
    same(paired.paired_t(scores, arm="kd", control="siddo"), paired.paired_t(KD, SIDDO))


def test_a_setting_that_is_selected_and_measures_do_no_harm():
    scores = table(alpha=0.5, note="", n=1000, seconds=np.arange(12) + 0.5)
    scores.loc[scores["arm"] == "siddo", "alpha"] = np.nan
    same(paired.sign_flip(scores, arm="kd", control="siddo"), paired.sign_flip(KD, SIDDO))


def test_unpaired_tables_are_two_samples():
    scores = pd.concat([rows("kd", KD), rows("ce", SIDDO[:9] + 0.001, seeds=np.arange(100, 109))])
    same(mann_whitney(scores, arm="kd", control="ce"), mann_whitney(KD, SIDDO[:9] + 0.001))
    other = rows("ce", SIDDO, teachers=3)
    other["teacher"] += 10
    means = KD.reshape(4, 3).mean(axis=1), SIDDO.reshape(4, 3).mean(axis=1)
    same(mann_whitney(rows("kd", KD, teachers=3), other), mann_whitney(*means))


def test_help_shows_the_tests_own_signature_and_the_tables():
    parameters = inspect.signature(paired.sign_flip).parameters
    assert list(parameters) == ["x", "y", "alternative", "method", "draws", "seed", "arm", "control", "metric", "scope"]
    assert parameters["draws"].default == 99_999
    assert paired.sign_flip.__doc__.startswith("Randomisation test")


# What is refused -------------------------------------------------------------------------------------------------


def refused(sentence: str, x, y=None, test=paired.sign_flip, **names) -> None:
    if isinstance(x, pd.DataFrame) and y is None and not names:
        names = {"arm": "kd", "control": "siddo"}
    with pytest.raises(ValueError, match=sentence):
        test(x, y, **names)


def test_pooled_examples_are_refused():
    for column in ("example", "image_id", "item"):
        refused(
            f"a row an example .column {column}.: examples of one network are not replicates.*mcnemar",
            table(**{column: np.arange(12)}),
        )
    rng = np.random.default_rng(1)
    x, y = rng.random((2, 500)) < 0.8
    sentence = "500 values that are all 0 or 1.*examples of one network are not replicates.*mcnemar"
    for test in TESTS:
        refused(sentence, x, y, test)
    refused(sentence, x.astype(float), y.astype(int))
    refused(sentence, rows("kd", x * 1.0), rows("siddo", y * 1.0))  # each example with a seed of its own
    refused("40 values", np.stack([x[:40]] * 3), np.stack([y[:40]] * 3))
    paired.sign_flip(x[:19] * 1.0, y[:19] * 1.0)  # a score of 0 or 1 may be one
    paired.sign_flip(np.ones(30), np.ones(30))


def test_copied_replicates_are_refused():
    refused("kd: 12 replicate.s. are there twice, the first seed 0: a copied row", pd.concat([table(), rows("kd", KD)]))
    again = table(teachers=2)
    again.loc[1, "seed"] = 0
    refused("kd: 1 replicate.s. are there twice, the first teacher 0, seed 0", again)


def test_unpaired_tables_are_refused():
    refused("1 replicate.s. are on one side alone, the first seed 5: .*mann_whitney", table().drop(index=5))
    refused("24 replicate.s. are on one side alone", rows("kd", KD), rows("siddo", SIDDO, seeds=np.arange(50, 62)))
    refused("x is by teacher, seed and y by seed", rows("kd", KD, teachers=3), rows("siddo", SIDDO))
    refused("neither seed nor teacher", table().drop(columns="seed"))
    holes = table()
    holes["seed"] = holes["seed"].astype(float).where(holes.index != 4)
    refused("kd: row 4 has no seed", holes)


def test_paired_tables_are_refused_as_unpaired():
    refused("share teachers, so their replicates are paired", table(teachers=3), test=mann_whitney)
    refused("one side has teachers", rows("kd", KD, teachers=3), rows("siddo", SIDDO), mann_whitney)


def test_few_replicates_are_refused():
    refused("two or more replicates on the last axis, got 1", table()[lambda t: t["seed"] == 0])
    refused("no row has arm 'rcd'; there are 'kd', 'siddo'", table(), arm="rcd", control="siddo")
    refused("no row has metric 'f1'; there are 'accuracy'", table(), arm="kd", control="siddo", metric="f1")


def test_scores_that_are_no_numbers_are_refused():
    for wrong in (np.nan, np.inf, None):
        scores = table()
        scores.loc[3, "value"] = wrong
        refused("row 3: value .* is no finite number: leave a failed replicate out on both sides", scores)
    text = table().astype({"value": object})
    text.loc[20, "value"] = "n/a"
    refused("row 20: value 'n/a' is no finite number", text)


def test_mixed_settings_are_refused():
    swept = pd.concat([rows("kd", KD[:6], alpha=0.5), rows("kd", KD[6:], seeds=np.arange(6, 12), alpha=0.9)])
    scores = pd.concat([swept, rows("siddo", SIDDO)])
    refused("kd: the rows have several values of alpha .0.5, 0.9.: an arm at another setting is another arm", scores)
    refused("several values of arm_params", scores.rename(columns={"alpha": "arm_params"}))
    several = pd.concat([table(), rows("kd", KD, seeds=np.arange(20, 32), arm2=1)])
    refused("x: the rows have several arms .'kd', 'siddo'.", several, table())
    for column in ("metric", "dataset", "split", "protocol"):
        two = pd.concat([table().assign(**{column: "a"}), table().assign(**{column: "b"})])
        refused(f"several values of {column} .'a', 'b'.: a test is about one", two)
    refused("x has metric 'accuracy' and y 'nll'", rows("kd", KD), rows("siddo", SIDDO).assign(metric="nll"))


def test_students_are_no_teachers():
    refused("share one teacher.*students of one teacher are no evidence about the recipe.*scope='each'", table(12))
    clusters = table(teachers=2, cluster=0)
    refused("share one teacher .or cluster of teachers.", clusters)
    names = {"arm": "kd", "control": "siddo"}
    refused("scope each is a claim about one teacher, the table has 6", table(2), scope="each", **names)
    refused("teachers have unequal numbers of students", table(2).drop(index=[0, 12]), scope="these", **names)
    refused("scope is 'all': it is one of recipe, these, each", table(2), scope="all", **names)
    twice = table(teachers=2)
    twice["cluster"] = np.where(twice["arm"] == "kd", 0, twice["teacher"])
    refused("each teacher belongs to one cluster", twice)


def test_how_tables_are_given():
    refused("a table needs arm=... and control=..., .* there are 'kd', 'siddo'", table(), arm="kd")
    refused("there are no column arm", table().drop(columns="arm"), metric="accuracy")
    refused("the table lacks the column.s. value; it has", table().rename(columns={"value": "score"}))
    refused("x is a table and y is not", table(), KD)
    refused("y is a table and x is not", KD, table())
    refused("belong to a table of scores; x is none", KD, SIDDO, arm="kd")


def test_refusing_examples_needs_both_values():
    frames.refuse_examples(np.zeros(30), np.zeros(30))
    frames.refuse_examples(np.linspace(0, 1, 30), np.zeros(30))
    with pytest.raises(ValueError, match="30 values"):
        frames.refuse_examples(np.zeros(30), np.ones(30))


def test_seeds_with_names_come_in_the_order_of_their_numbers() -> None:
    # s10 was added last; between s1 and s2 it would change what was seen before it
    seeds = [f"s{i}" for i in (1, 2, 3, 10)]
    rows = [(arm, seed, value) for arm, column in (("kd", [1.0, 2.0, 4.0, 8.0]), ("ce", [0.0] * 4))
            for seed, value in zip(seeds, column, strict=True)]  # fmt: skip
    table = pd.DataFrame(rows, columns=["arm", "seed", "value"]).sample(frac=1, random_state=0)
    x, y = frames.paired(table, None, "kd", "ce", None, "recipe")
    assert (x - y).tolist() == [1.0, 2.0, 4.0, 8.0]
    named = table.rename(columns={"seed": "teacher"}).assign(seed=1)
    x, y = frames.paired(named, None, "kd", "ce", None, "recipe")
    assert (x - y).tolist() == [1.0, 2.0, 4.0, 8.0]


def test_categories_without_rows_are_no_teachers() -> None:
    rows = [
        (arm, teacher, 0, float(teacher + (arm == "kd") * (1 + teacher % 2)))
        for arm in ("kd", "ce")
        for teacher in range(4)
    ]
    table = pd.DataFrame(rows, columns=["arm", "teacher", "seed", "value"])
    coded = table.assign(
        teacher=pd.Categorical(table["teacher"], categories=range(9)), arm=pd.Categorical(table["arm"])
    )
    for one, other in zip(*(frames.paired(t, None, "kd", "ce", None, "recipe") for t in (table, coded)), strict=True):
        assert one.tolist() == other.tolist()


def test_a_sample_without_a_replicate_that_another_metric_has_is_refused() -> None:
    """In whatever way its score is missing: an empty value, or a row of another metric alone."""
    scores = pd.concat([rows("kd", KD), rows("ce", SIDDO, seeds=np.arange(100, 112))], ignore_index=True)
    scores = pd.concat([scores, scores.assign(metric="loss")], ignore_index=True)
    empty = scores.assign(value=scores["value"].mask(scores.index == 3))
    with pytest.raises(ValueError, match="is no finite number"):
        mann_whitney(empty, arm="kd", control="ce", metric="accuracy")
    with pytest.raises(ValueError, match=r"kd: 1 replicate\(s\) have other metrics and no accuracy, the first seed 3"):
        mann_whitney(scores.drop(index=3), arm="kd", control="ce", metric="accuracy")
    same(mann_whitney(scores, arm="kd", control="ce", metric="accuracy"), mann_whitney(KD, SIDDO))
