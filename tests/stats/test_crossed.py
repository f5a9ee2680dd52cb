"""Values from R 4.2.2 (nlme 3.1-162) come from tests/stats/reference_crossed.R, whose numbers are made as here."""

import re
from functools import partial
from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from kdstats.stats import frames, friedman, paired_t, sign_flip, wilcoxon
from kdstats.stats.crossed import _reml, anova, dataset_means, designs_of, mixed_model, over_datasets, slopes

exact = partial(pytest.approx, rel=1e-10)
SHARED = ("nothing", "teachers", "networks")


def numbers(n: int, start: int = 0) -> np.ndarray:
    i = np.arange(start, start + n)
    return ((7 * i * i + 3 * i) % 23) / 100 - 0.08


def table(d: np.ndarray, **more) -> pd.DataFrame:
    """Scores of kd and ce whose differences are d[dataset, teacher, seed]; NaN is left out."""
    rows = [
        {
            "dataset": f"d{i}",
            "teacher": t,
            "seed": s,
            "arm": arm,
            "value": 0.5 + (s + t) / 10 + (arm == "kd") * d[i, t, s],
        }
        for (i, t, s), arm in product(np.ndindex(d.shape), ("kd", "ce"))
    ]
    return pd.DataFrame(rows).dropna(subset="value").assign(metric="accuracy", **more)


def shuffled(scores: pd.DataFrame) -> pd.DataFrame:
    return scores.sample(frac=1, random_state=3)


ONE, THREE = numbers(12).reshape(4, 3), numbers(24).reshape(3, 4, 2)
AGAINST = {"arm": "kd", "control": "ce"}


def cell(found, source: str, *columns: str):
    row = found.table.set_index("source").loc[source]
    return tuple(row[list(columns)]) if len(columns) > 1 else row[columns[0]]


# Balanced tables -------------------------------------------------------------------------------------------------


def test_one_dataset_is_that_of_r():
    found = anova(ONE, alternative="greater")
    assert cell(found, "teacher", "df", "mean_square") == exact((3, 0.007475))
    assert cell(found, "seed", "df", "mean_square") == exact((8, 0.0027))
    assert cell(found, "teacher", "F", "p_value") == exact((2.76851851851852, 0.110915995473289))
    assert (found.mean.statistic, found.mean.p_value) == exact((1.10183792943539, 0.175498901099231))
    assert found.mean.confidence_interval() == exact((-0.0519284450165441, 0.106928445016544))


def test_teachers_in_datasets_are_those_of_r_also_of_both_arms_values():
    found = anova(THREE)
    assert cell(found, "dataset", "df", "mean_square") == exact((2, 0.00115416666666667))
    assert cell(found, "teacher", "df", "mean_square") == exact((9, 0.00705277777777778))
    assert cell(found, "seed", "df", "mean_square") == exact((12, 0.00336666666666667))
    assert cell(found, "dataset", "F", "p_value") == exact((0.163647105159512, 0.851511957319006))
    assert cell(found, "mean", "F", "p_value") == exact((0.853091768412764, 0.379775883373873))
    assert cell(found, "teacher", "F", "p_value") == exact((2.09488448844885, 0.115993638356137))
    control = 0.7 + numbers(24, 41).reshape(THREE.shape)
    assert anova(control + THREE, control).mean.p_value == exact(0.379775883373873)


def test_a_sample_of_datasets_is_a_t_test_of_their_means_in_r():
    mean = anova(THREE, datasets="like these").mean
    assert (mean.statistic, mean.p_value, mean.df) == exact((2.28319871887922, 0.149868996728902, 2))
    assert mean.confidence_interval() == exact((-0.0140043388431566, 0.0456710055098232))


def test_shared_teachers_and_networks_are_those_of_r():
    found = anova(THREE, shared="teachers")
    assert cell(found, "teacher", "df", "mean_square") == exact((3, 0.00143888888888889))
    assert cell(found, "dataset:teacher", "df", "mean_square") == exact((6, 0.00985972222222222))
    assert cell(found, "seed", "df", "mean_square") == exact((12, 0.00336666666666667))
    assert cell(found, "dataset", "F", "p_value") == exact((0.1170587406677, 0.891515307264696))
    found = anova(THREE, shared="networks")
    assert cell(found, "seed", "df", "mean_square") == exact((4, 0.00651666666666667))
    assert cell(found, "dataset:teacher", "df", "mean_square") == exact((6, 0.00985972222222222))
    assert cell(found, "dataset:seed", "df", "mean_square") == exact((8, 0.00179166666666667))
    assert cell(found, "dataset", "F", "p_value") == exact((0.1170587406677, 0.891515307264696))


def test_a_table_small_enough_for_the_hand():
    """Teacher means 2 and 6, grand mean 4; each student 1 from its teacher's mean."""
    found = anova([[1.0, 3.0], [5.0, 7.0]])
    assert found.table["sum_of_squares"].tolist() == exact([64, 16, 4])
    assert found.table["mean_square"].tolist() == exact([64, 16, 2])
    assert found.table["component"].tolist() == exact([(64 - 16) / 4, (16 - 2) / 2, 2])
    assert found.mean.statistic == exact(2)
    negative = anova([[1.0, 7.0], [2.0, 7.0]])  # means 4 and 4.5: MS .25; within (18 + 12.5) / 2
    assert cell(negative, "teacher", "component", "component_truncated") == exact(((0.25 - 15.25) / 2, 0))


balanced = st.tuples(st.integers(2, 3), st.integers(2, 3), st.integers(2, 3)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=st.integers(-50, 50).map(float))
)
FACTORS = {
    "nothing": {"mean": "", "dataset": "d", "teacher": "dt", "seed": "dts"},
    "teachers": {"mean": "", "dataset": "d", "teacher": "t", "dataset:teacher": "dt", "seed": "dts"},
    "networks": {"mean": "", "dataset": "d", "teacher": "t", "dataset:teacher": "dt", "seed": "ts",
                 "dataset:seed": "dts"},
}  # fmt: skip


def indicators(shape, factors: str) -> np.ndarray:
    """A column for each level of these crossed factors."""
    place = [np.indices(shape)["dts".index(factor)].ravel() for factor in factors]
    _, level = np.unique(np.column_stack([np.zeros(np.prod(shape)), *place]), axis=0, return_inverse=True)
    return (level.ravel()[:, None] == np.arange(level.max() + 1)).astype(float)


def residual(y, columns) -> float:
    return float(((y - columns @ np.linalg.lstsq(columns, y, rcond=None)[0]) ** 2).sum())


@given(balanced, st.sampled_from(SHARED))
def test_sums_of_squares_are_what_a_regression_loses_without_the_source(d, shared):
    try:
        rows = anova(d, shared=shared).table
    except ValueError:
        return  # no variance between teachers
    terms = FACTORS[shared]
    for source, found, df in rows[["source", "sum_of_squares", "df"]].itertuples(index=False):
        inside = [indicators(d.shape, f) for name, f in terms.items() if name != source and set(f) < set(terms[source])]
        smaller = np.hstack([np.zeros((d.size, 1)), *inside])
        larger = np.hstack([smaller, indicators(d.shape, terms[source])])
        lost = residual(d.ravel(), smaller) - residual(d.ravel(), larger)
        assert found == pytest.approx(lost, rel=1e-8, abs=1e-8)
        assert df == np.linalg.matrix_rank(larger) - np.linalg.matrix_rank(smaller)
    assert rows["sum_of_squares"].sum() == pytest.approx((d**2).sum())


@pytest.mark.parametrize("shared", SHARED)
@pytest.mark.parametrize("datasets", ["these", "like these"])
def test_expected_mean_squares_are_those_of_unit_variances(shared, datasets):
    """E MS of independent levels of unit variance is Σ MS(level), and MS(z) = (MS(n + z) + MS(n - z)) / 2 - MS(n)."""

    def squares(d):
        return anova(d, shared=shared, datasets=datasets).table.set_index("source")["mean_square"]

    noise = numbers(12).reshape(2, 3, 2)
    texts = anova(noise, shared=shared, datasets=datasets).table.set_index("source")["expected_mean_square"]
    of_noise = squares(noise)
    for name, factors in FACTORS[shared].items():
        if name == "mean" or (name == "dataset" and datasets == "these"):
            continue
        levels = [column.reshape(noise.shape) for column in indicators(noise.shape, factors).T]
        expected = sum((squares(noise + z) + squares(noise - z)) / 2 - of_noise for z in levels)
        for source, text in texts.items():
            found = re.search(rf"(?:(\d+) )?σ²\({name}\)", text)
            coefficient = int(found.group(1) or 1) if found else 0
            assert expected[source] == pytest.approx(coefficient, abs=1e-9), (source, name)


@given(balanced)
def test_the_teacher_stratum_is_the_t_test_of_teacher_means(d):
    if np.ptp(d[0].mean(axis=1)) == 0:
        return
    t = paired_t(d[0].mean(axis=1))
    found = anova(d[0])
    assert cell(found, "mean", "F") == pytest.approx(t.statistic**2)
    assert (found.mean.statistic, found.mean.p_value) == pytest.approx((t.statistic, t.p_value))
    assert found.mean.confidence_interval(0.9) == pytest.approx(t.confidence_interval(0.9))


def test_one_student_a_teacher_leaves_the_teacher_stratum():
    d = numbers(5)[:, None]
    found = anova(d)
    assert found.mean.p_value == exact(paired_t(d[:, 0]).p_value)
    assert found.table["note"].tolist() == [
        "", "its component cannot be told from those inside it", "one seed a level: nothing tells its spread",
    ]  # fmt: skip
    assert np.isnan(cell(found, "seed", "mean_square")) and np.isnan(cell(found, "teacher", "p_value"))
    one_each = anova(numbers(4).reshape(4, 1, 1), datasets="like these")  # a network a dataset
    assert one_each.mean.p_value == exact(paired_t(numbers(4)).p_value)


def test_these_teachers_are_tested_against_their_students():
    found = anova(ONE, scope="these")
    residuals = ONE - ONE.mean(axis=1, keepdims=True)
    error = np.sqrt((residuals**2).sum() / 8 / 12)
    assert (found.mean.statistic, found.mean.df) == exact((ONE.mean() / error, 8))


def test_two_random_factors_are_labelled_and_floored():
    found = anova(THREE, shared="teachers", datasets="like these")
    teacher, dataset, both = 0.00143888888888889, 0.00115416666666667, 0.00985972222222222
    assert found.mean.standard_error == exact(np.sqrt(max(teacher, dataset, teacher + dataset - both) / 24))
    assert cell(found, "mean", "against", "method") == (
        "dataset + teacher - dataset:teacher",
        "generalised pivot (approximate)",
    )
    assert found.mean.test.endswith("(approximate)")
    low, high = found.mean.confidence_interval(1 - found.mean.p_value)
    assert min(abs(low), abs(high)) < 1e-6  # p and interval are one
    network = anova(THREE, shared="networks")
    assert cell(network, "teacher", "against", "method") == (
        "dataset:teacher + seed - dataset:seed",
        "F, Satterthwaite (approximate)",
    )
    v, parts, dfs = (
        0.00985972222222222 + 0.00651666666666667 - 0.00179166666666667,
        (0.00985972222222222, 0.00651666666666667, 0.00179166666666667),
        (6, 4, 8),
    )
    assert cell(network, "teacher", "F", "df_against") == exact(
        (teacher / v, v**2 / sum(m**2 / k for m, k in zip(parts, dfs, strict=True)))
    )


@pytest.mark.parametrize("shared", SHARED)
def test_a_table_is_its_array_in_any_order(shared):
    expected = anova(THREE, shared=shared)
    found = anova(shuffled(table(THREE)), **AGAINST, metric="accuracy", shared=shared)
    pd.testing.assert_frame_equal(found.table, expected.table, rtol=1e-9)
    turned = anova(THREE[::-1, [2, 0, 3, 1]][..., ::-1], shared=shared)
    pd.testing.assert_frame_equal(turned.table, expected.table, rtol=1e-9)
    swapped = anova(table(THREE), arm="ce", control="kd", shared=shared)
    pd.testing.assert_frame_equal(swapped.table, expected.table, rtol=1e-9)
    assert swapped.mean.estimate == exact(-expected.mean.estimate)


def test_seeds_may_have_any_numbers_and_shared_teachers_one():
    scores = table(THREE)
    other = scores.assign(seed=scores["seed"] + 10 * scores["teacher"], teacher=scores["teacher"] + 5)
    assert anova(other, **AGAINST).mean.p_value == exact(anova(THREE).mean.p_value)
    moved = scores.assign(teacher=scores["teacher"] + 4 * (scores["dataset"] == "d1"))
    assert anova(moved, **AGAINST).mean.p_value == exact(anova(THREE).mean.p_value)
    with pytest.raises(ValueError, match="datasets have different teacher numbers"):
        anova(moved, **AGAINST, shared="teachers")


LACKING = THREE.copy()
LACKING[1, 2, 1] = np.nan
FEW = THREE.copy()
FEW[1, 2] = np.nan
ANOVA_REFUSALS = [
    (lambda: anova(table(LACKING), **AGAINST), "not balanced: dataset d1, teacher 2 has 1 students and dataset d0"),
    (lambda: anova(table(LACKING[1:2]).drop(columns="dataset"), **AGAINST), "not balanced: teacher 2 has 1 students"),
    (lambda: anova(table(FEW), **AGAINST), "not balanced: dataset d1 has 3 teachers and dataset d0 has 4. Exact"),
    (lambda: anova(table(THREE).iloc[1:], **AGAINST), "dataset d0: 1 replicate.* teacher 0, seed 0: the"),
    (lambda: anova(table(THREE, cluster=0), **AGAINST), "teachers depend on each other in clusters"),
    (lambda: anova(table(THREE).drop(columns="teacher"), **AGAINST), "are there twice"),
    (lambda: anova(table(ONE[None, :1]).drop(columns="teacher"), **AGAINST), "anova needs teacher and seed"),
    (lambda: anova(table(THREE)), "with arm=... and control=..."),
    (lambda: anova(THREE, arm="kd"), "belong to a table of scores"),
    (lambda: anova(THREE, shared="all"), "shared is 'all'"),
    (lambda: anova(THREE, scope="each"), "scope is 'each'"),
    (lambda: anova(THREE, datasets="all"), "datasets is 'all'"),
    (lambda: anova(THREE, alternative="more"), "alternative is 'more'"),
    (lambda: anova(ONE[0]), r"shape \(3,\)"),
    (lambda: anova(ONE, ONE[:2]), "the same replicates on both sides"),
    (lambda: anova(ONE, datasets="like these"), "there is one dataset"),
    (lambda: anova(THREE, datasets="like these", scope="these"), "other datasets have other teachers"),
    (lambda: anova(ONE[:1]), "nothing tells how far the mean"),
    (lambda: anova(ONE[:, :1], scope="these"), "nothing tells how far the mean"),
    (lambda: anova(np.ones((3, 2))), "do not vary between levels of teacher"),
    (lambda: anova([[0.1 + 0.2, 0.3], [0.3, 0.3]], [[0.0, 0.0], [0.0, 0.0]]), "do not vary"),
    (lambda: anova([[0.1, np.nan], [0.3, 0.3]]), "finite"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "sentence"), ANOVA_REFUSALS)
def test_anova_refuses(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


def test_the_mean_over_the_recipe_holds_its_size_and_students_as_units_do_not():
    """Planted: no mean, teachers as spread as students. Against seeds (the wrong stratum) the size is far above .05."""
    rng = np.random.default_rng(5)
    d = rng.normal(size=(1500, 5, 1)) + rng.normal(size=(1500, 5, 4))
    right, wrong = (np.mean([anova(x, scope=scope).mean.p_value <= 0.05 for x in d]) for scope in ("recipe", "these"))
    assert abs(right - 0.05) < 4 * np.sqrt(0.05 * 0.95 / 1500)
    assert wrong > 0.2


# Sweeps ----------------------------------------------------------------------------------------------------------


def sweep(arm: str = "kd") -> pd.DataFrame:
    keys = [(a, s, t) for a in (0, 1) for s in range(3) for t in (1, 2, 5, 8)]
    rows = pd.DataFrame(keys, columns=["teacher", "seed", "temperature"])
    return rows.assign(arm=arm, metric="accuracy", value=numbers(24))


def test_slopes_are_those_of_r():
    found = slopes(shuffled(sweep()), "temperature", arm="kd", log=True)
    assert found["linear"].tolist() == exact([0.0121023647133261, 0.00573039867803083])
    assert found["quadratic"].tolist() == exact([-0.0259292021057125, -0.0263734738092698])
    assert list(found) == ["teacher", "settings", "linear", "quadratic"]
    plain = slopes(sweep(), "temperature", arm="kd", metric="accuracy")
    assert plain["linear"].tolist() == pytest.approx([0.00266666666666667, 0], abs=1e-15)


def test_slopes_of_differences_are_differences_of_slopes():
    other = sweep("rcd").assign(value=numbers(24, 9))
    both = shuffled(pd.concat([sweep(), other], ignore_index=True))
    for scope in ("recipe", "these"):
        read = partial(slopes, both, "temperature", scope=scope, log=True)
        expected = read(arm="kd")[["linear", "quadratic"]] - read(arm="rcd")[["linear", "quadratic"]]
        pd.testing.assert_frame_equal(read(arm="kd", control="rcd")[["linear", "quadratic"]], expected)
    assert len(read(arm="kd")) == 6 and list(read(arm="kd"))[:2] == ["teacher", "seed"]


@given(st.integers(-9, 9), st.integers(-9, 9), st.integers(-9, 9))
def test_slopes_find_what_was_planted(level, linear, quadratic):
    x = np.array([1.0, 2.0, 4.0, 16.0])
    rows = [
        {"arm": "kd", "teacher": t, "seed": 0, "alpha": a, "value": level * t + linear * a + quadratic * a * a}
        for t in range(3)
        for a in x
    ]
    found = slopes(pd.DataFrame(rows), "alpha", arm="kd")
    assert found["quadratic"].to_numpy() == pytest.approx(quadratic, abs=1e-9)
    slope_of_square = np.polyfit(x, x * x, 1)[0]
    assert found["linear"].to_numpy() == pytest.approx(linear + quadratic * slope_of_square, abs=1e-9)


def test_slopes_take_clusters_and_seeds_alone():
    scores = pd.concat([sweep(), sweep().assign(teacher=sweep()["teacher"] + 2, value=numbers(24, 5))])
    linked = scores.assign(cluster=scores["teacher"] % 2)
    alone, found = (slopes(part, "temperature", arm="kd") for part in (scores, linked))
    assert found["linear"].tolist() == exact(alone["linear"].groupby(alone["teacher"] % 2).mean().tolist())
    assert next(iter(found)) == "cluster"
    one = scores[scores["teacher"] == 0].drop(columns="teacher")
    assert slopes(one, "temperature", arm="kd")["seed"].tolist() == [0, 1, 2]
    two = sweep()[sweep()["temperature"] < 3]
    assert "quadratic" not in slopes(two, "temperature", arm="kd")


BOTH = pd.concat([sweep(), sweep("rcd")])
SLOPE_REFUSALS = [
    (sweep().iloc[1:], {}, "kd: teacher 0, seed 0 lacks temperature 1: a slope needs every setting"),
    (sweep().query("temperature == 1"), {}, "one temperature, 1: a sweep needs"),
    (sweep().drop(columns="temperature"), {}, "lacks the column 'temperature'"),
    (sweep().assign(temperature="hot"), {}, "temperature of kd is 'hot': a sweep is over numbers"),
    (sweep().assign(temperature=sweep()["temperature"] - 1), {"log": True}, "value 0, which has no logarithm"),
    (sweep(), {"scope": "each"}, "scope is 'each'"),
    (sweep(), {"control": "siddo"}, "no row has arm 'siddo'"),
    (pd.concat([sweep().assign(alpha=0), sweep().assign(alpha=1)]), {}, "several values of alpha"),
    (pd.concat([sweep(), sweep()]), {}, "are there twice"),
    (BOTH.query("arm == 'kd' or temperature > 1"), {"control": "rcd"}, "temperature 1, 2, 5, 8 and rcd 2, 5, 8"),
    (BOTH.query("arm == 'kd' or seed > 0"), {"control": "rcd"}, "2 replicate.* on one side alone"),
]


@pytest.mark.parametrize(("scores", "options", "sentence"), SLOPE_REFUSALS)
def test_slopes_refuse(scores, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        slopes(scores, "temperature", arm="kd", **options)


# Several datasets ------------------------------------------------------------------------------------------------


def parts() -> pd.DataFrame:
    d = np.full((3, 5, 1), np.nan)
    for i, (first, last) in enumerate(((0, 4), (4, 7), (7, 12))):
        d[i, : last - first, 0] = numbers(12)[first:last]
    return table(d)


def test_each_dataset_and_all_of_them_are_those_of_r():
    found = over_datasets(shuffled(parts()), **AGAINST, alternative="greater")
    columns = ["estimate", "standard_error", "df", "ci_low", "ci_high"]
    expected = [
        (-0.02, 0.0267706306736817, 3, -0.105196094677573, 0.065196094677573),
        (0.0266666666666667, 0.032829526005987, 2, -0.114587383019374, 0.167920716352708),
        (0.066, 0.0250199920063936, 4, -0.00346663433823945, 0.135466634338239),
        (0.0242222222222222, 0.0163993375355512, 6.89261462669592, -0.0146788592427883, 0.0631233036872328),
    ]
    for row, values in zip(found[columns].itertuples(index=False), expected, strict=False):
        assert tuple(row) == pytest.approx(values, rel=1e-10)
    assert found["p_value"][3] == exact(0.096923828125)
    assert over_datasets(parts(), **AGAINST)["p_value"][3] == exact(0.19384765625)
    assert found["smallest_p"].tolist() == [2**-4, 2**-3, 2**-5, 2**-12, 2**-3, 2**-3]
    assert found["scope_datasets"].tolist() == ["this"] * 3 + ["these"] + ["like these"] * 2


def test_rows_of_datasets_are_the_paired_tests_of_their_units():
    scores = table(numbers(40).reshape(5, 4, 2))
    found = over_datasets(scores, **AGAINST, level=0.8)
    for name, row in found.iloc[:5].set_index("dataset").iterrows():
        one = scores[scores["dataset"] == name]
        t, flips = paired_t(one, **AGAINST), sign_flip(one, **AGAINST)
        assert (row["estimate"], row["p_value"], row["test"]) == (exact(t.estimate), exact(flips.p_value), flips.test)
        assert (row["ci_low"], row["ci_high"]) == exact(t.confidence_interval(0.8))
    means = found["estimate"][:5].to_numpy()
    flips, ranks = sign_flip(means), wilcoxon(means)
    assert found["p_value"][6:].tolist() == exact([flips.p_value, ranks.p_value])
    assert (found["ci_low"][6], found["ci_high"][6]) == exact(paired_t(means).confidence_interval(0.8))
    assert (found["ci_low"][7], found["ci_high"][7]) == exact(ranks.confidence_interval(0.8))
    nested = anova(numbers(40).reshape(5, 4, 2)).mean  # equal numbers: the same standard error, pooled or not
    assert found["standard_error"][5] == exact(nested.standard_error)
    assert found["df"][5] < nested.df


def test_students_weigh_by_their_teacher_at_scope_these():
    d = np.full((2, 2, 3), np.nan)
    d[0, 0], d[0, 1, 0:2], d[1, :, :2] = [0.01, 0.02, 0.06], [0.04, 0.08], [[0.01, 0.03], [0.02, 0.05]]
    found = over_datasets(table(d), **AGAINST, scope="these")
    assert found["estimate"][:3].tolist() == exact([0.045, 0.0275, 0.03625])
    assert found["n_units"].tolist() == [5, 4, 9, 2, 2]
    assert found["units"][2] == "students within teachers and datasets"
    variances = [np.var([0.01, 0.02, 0.06], ddof=1) / 3, 0.0008 / 2, 0.0002 / 2, 0.00045 / 2]
    assert found["standard_error"][2] == exact(np.sqrt(sum(variances)) / 4)


def test_datasets_without_teachers_and_with_one_network_each():
    scores = table(numbers(5).reshape(5, 1, 1))
    for one_each in (scores, scores.drop(columns="teacher")):
        found = over_datasets(one_each, **AGAINST)
        assert found["test"][:5].tolist() == [""] * 5 and found["note"][0].startswith("one of the ")
        assert found["note"][5].startswith("a stratum has one unit") and np.isnan(found["df"][5])
        assert found["p_value"][5] == found["p_value"][6] == exact(sign_flip(numbers(5)).p_value)
    assert set(found["scope_teachers"]) == {"these"}
    constant = over_datasets(table(np.full((2, 2, 1), 0.5)), **AGAINST)
    assert constant["note"][0].startswith("all differences") and np.isnan(constant["ci_low"][0])


def test_what_friedman_ranks():
    first, second = table(numbers(24).reshape(4, 3, 2)), table(numbers(24, 7).reshape(4, 3, 2))
    scores = pd.concat([first, second[second["arm"] == "kd"].assign(arm="rcd")])
    means = dataset_means(shuffled(scores), arms=["ce", "kd", "rcd"], metric="accuracy")
    expected = scores.groupby(["dataset", "arm"])["value"].mean().unstack()
    pd.testing.assert_frame_equal(means, expected, check_names=False)
    assert friedman(means.to_numpy()).n == 4
    alone = dataset_means(scores.query("teacher == 0").drop(columns="teacher"), arms=["ce", "kd"])
    assert alone.loc["d1", "kd"] == exact(
        scores.query("teacher == 0 and arm == 'kd' and dataset == 'd1'")["value"].mean()
    )


DATASET_REFUSALS = [
    (table(THREE[:1]), {}, "the table has one dataset"),
    (table(THREE).drop(columns="dataset"), {}, "no column dataset"),
    (table(THREE).iloc[1:], {}, "dataset d0: 1 replicate"),
    (table(THREE).query("dataset != 'd1' or arm == 'kd'"), {}, "dataset d1: no row has arm"),
    (table(THREE), {"scope": "each"}, "scope is 'each'"),
    (table(THREE), {"level": 95}, "level is 95"),
    (table(THREE).assign(example=1), {}, "examples of one network are not replicates"),
    (table(THREE).replace({"dataset": {"d1": np.nan}}), {}, "has no dataset"),
]


@pytest.mark.parametrize(("scores", "options", "sentence"), DATASET_REFUSALS)
def test_over_datasets_refuses(scores, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        over_datasets(scores, **AGAINST, **options)


def test_dataset_means_refuses():
    with pytest.raises(ValueError, match="there is nothing to compare"):
        dataset_means(table(THREE), arms=["kd"])
    with pytest.raises(ValueError, match="dataset d0: 1 replicate"):
        dataset_means(table(THREE).iloc[1:], arms=["kd", "ce"])


# Tables that are not balanced ------------------------------------------------------------------------------------

SIZES = [1, 4, 2, 3, 2, 1, 5, 3]


def unbalanced(sizes=SIZES, shifts=(0, 3, 1, 4, 1, 5, 2, 2), datasets=None) -> pd.DataFrame:
    d = numbers(sum(sizes)) + np.repeat(shifts, sizes) / 20
    rows = pd.DataFrame({"teacher": np.repeat(np.arange(len(sizes)), sizes), "metric": "accuracy", "value": d})
    rows["seed"] = rows.groupby("teacher").cumcount()
    if datasets is not None:
        rows["dataset"] = np.repeat(datasets, sizes)
    return pd.concat([rows.assign(arm="kd"), rows.assign(arm="ce", value=0.0)], ignore_index=True)


def test_the_mixed_model_is_that_of_nlme():
    """Both optimisers stop near the optimum, where the estimate is flat: closer than 1e-4."""
    found = mixed_model(shuffled(unbalanced()), **AGAINST, metric="accuracy")
    numbers_of = (found.estimate, found.standard_error, found.teacher_variance, found.seed_variance)
    assert numbers_of == pytest.approx(
        (0.128357957926114, 0.0382881807605292, 0.0101160632339968, 0.00327935632312833), rel=1e-4
    )
    assert (found.df, found.n, found.n_teachers) == (7, 21, 8)
    two = mixed_model(unbalanced(datasets=list("aaabbbbb")), **AGAINST)
    numbers_of = (two.estimate, two.standard_error, two.teacher_variance, two.seed_variance)
    assert numbers_of == pytest.approx(
        (0.114348741317811, 0.0380674974597562, 0.00921816270719036, 0.00319172631014994), rel=1e-4
    )
    assert two.df == 6


def test_its_variances_are_anovas_where_a_table_is_balanced():
    found = anova(ONE)
    expected = cell(found, "teacher", "component"), cell(found, "seed", "component")
    assert _reml(ONE.ravel(), np.repeat(np.arange(4), 3), np.repeat("", 12)) == pytest.approx(expected, rel=1e-4)


def test_below_twenty_teachers_it_bears_no_verdict():
    found = mixed_model(unbalanced(), **AGAINST)
    assert not found.bears_verdict and "8 teachers bears no verdict" in found.reason
    assert np.isnan(found.p_value) and "approximate" in found.test
    low, high = found.confidence_interval()
    assert low < found.estimate < high
    assert found.to_frame()["reason"][0] == found.reason
    with pytest.raises(ValueError, match=r"8 teachers bears no verdict.*take sign_flip or paired_t"):
        mixed_model(unbalanced(), **AGAINST, verdict=True)


def test_from_twenty_teachers_on_it_does():
    many = unbalanced([1, 2, 3, 2] * 5, np.arange(20) % 7 - 3)
    found = mixed_model(many, **AGAINST, verdict=True, alternative="greater")
    assert found.bears_verdict and found.reason == "" and 0 < found.p_value < 1
    assert found.df == 19
    both = mixed_model(many, **AGAINST).p_value
    assert both == pytest.approx(2 * min(found.p_value, 1 - found.p_value))


def test_a_variance_of_zero_is_said():
    flat = unbalanced([2, 3] * 11, np.zeros(22))
    d = np.tile([0.01, -0.02, 0.01, 0.03, -0.03], 11)  # every teacher's mean is 0 but for a little
    flat.loc[flat["arm"] == "kd", "value"] = d
    found = mixed_model(flat, **AGAINST)
    assert not found.bears_verdict and "estimated at 0" in found.reason and np.isnan(found.p_value)
    assert found.teacher_variance == pytest.approx(0, abs=1e-9)
    with pytest.raises(ValueError, match="as if they were independent"):
        mixed_model(flat, **AGAINST, verdict=True)


def test_a_fit_that_fails_is_an_error(monkeypatch):
    from statsmodels.regression.mixed_linear_model import MixedLM

    fit = MixedLM.fit
    monkeypatch.setattr(MixedLM, "fit", lambda self, **options: fit(self, **options | {"maxiter": 1}))
    with pytest.raises(ValueError, match=r"did not converge .*take sign_flip or paired_t of teacher means"):
        mixed_model(unbalanced(), **AGAINST)


MIXED_REFUSALS = [
    (table(THREE), "the table is balanced: anova is exact"),
    (unbalanced([1] * 7, [0] * 7, list("aaabbbb")), "no teacher has two students"),
    (unbalanced([2, 3], [0, 1], list("ab")), "every dataset has one teacher"),
    (unbalanced().assign(cluster=1), "in clusters"),
    (unbalanced().iloc[1:], "1 replicate"),
    (unbalanced().assign(value=lambda rows: 0.5 + (rows["arm"] == "kd") / 10), "all differences are equal"),
    (unbalanced([1] * 4, [0] * 4).drop(columns="seed"), "needs teacher and seed"),
]


@pytest.mark.parametrize(("scores", "sentence"), MIXED_REFUSALS)
def test_the_mixed_model_refuses(scores, sentence):
    with pytest.raises(ValueError, match=sentence):
        mixed_model(scores, **AGAINST)


# What a table can be asked ---------------------------------------------------------------------------------------


def claims(scores: pd.DataFrame, *columns: str, **options) -> list[tuple]:
    return list(designs_of(scores, **options)[list(columns)].itertuples(index=False, name=None))


def test_teachers_with_students():
    found = designs_of(table(THREE[:1]), **AGAINST)
    assert found["design"].unique().tolist() == ["teachers with students"]
    assert found[["scope_teachers", "n_units", "smallest_p"]].to_numpy().tolist() == [
        ["each", 2, 0.25],
        ["these", 8, 2**-8],
        ["recipe", 4, 2**-4],
    ]
    assert set(found["tests"]) == {"sign-flip, wilcoxon, paired-t"} and set(found["note"]) == {""}


def test_the_smallest_p_is_attained_by_units_that_paired_gives():
    scores = table(np.abs(THREE[:1]) + 0.01)
    for scope, n, smallest in claims(scores, "scope_teachers", "n_units", "smallest_p", **AGAINST):
        part = scores[scores["teacher"] == 0] if scope == "each" else scores
        for test in (sign_flip, wilcoxon):
            found = test(part, **AGAINST, scope=scope, alternative="greater")
            assert (found.n, found.p_value) == (n, smallest)


def test_seeds_clusters_and_one_of_each():
    alone = table(numbers(5).reshape(1, 1, 5)).drop(columns=["teacher", "dataset"])
    assert claims(alone, "design", "scope_teachers", "units", "n_units") == [("paired by seed", "these", "seeds", 5)]
    linked = table(THREE[:1]).assign(cluster=lambda t: t["teacher"] // 2)
    recipe = designs_of(linked).query("scope_teachers == 'recipe'").iloc[0]
    assert (recipe["units"], recipe["n_units"]) == ("clusters of teachers", 2)
    assert len(frames.paired(linked, None, "kd", "ce", None, "recipe")[0]) == 2
    one_teacher = designs_of(table(THREE[:1, :1]))
    assert one_teacher["tests"].tolist() == ["sign-flip, wilcoxon, paired-t", ""]
    assert "no evidence about other teachers" in one_teacher["note"][1] and np.isnan(one_teacher["smallest_p"][1])
    one_student = designs_of(table(THREE[:1, :, :1]))
    assert one_student["tests"].tolist() == ["", "sign-flip, wilcoxon", "sign-flip, wilcoxon, paired-t"]
    one_pair = designs_of(table(numbers(1).reshape(1, 1, 1)).drop(columns="teacher"))
    assert "one replicate says nothing" in one_pair["note"][0]


def test_many_pairs_are_sampled():
    scores = table(np.tile(numbers(23), 2).reshape(1, 1, 46)).drop(columns="teacher")
    assert claims(scores, "n_units", "smallest_p") == [(46, 1e-5)]


def test_unpaired_tables():
    scores = table(THREE[:1]).drop(columns="dataset")
    apart = scores.assign(teacher=scores["teacher"] + 10 * (scores["arm"] == "ce"))
    assert claims(apart, "design", "units", "n_units", "tests", "smallest_p") == [
        ("unpaired", "teachers", 8, "mann-whitney", 1 / 70)
    ]
    shared = scores.assign(seed=scores["seed"] + 10 * (scores["arm"] == "ce"))
    assert claims(shared, "design", "tests") == [("unpaired", "")]
    assert "neither paired nor independent" in designs_of(shared)["note"][0]
    seeds = shared[shared["teacher"] == 0].drop(columns="teacher")
    assert claims(seeds, "units", "n_units", "smallest_p") == [("seeds", 4, 1 / 6)]
    assert claims(seeds.iloc[1:], "tests", "note") == [("", "2 against 1: each side needs two or more seeds")]
    mixed = seeds.assign(teacher=np.where(seeds["arm"] == "kd", 1.0, np.nan))
    assert "nothing says what is paired" in designs_of(mixed)["note"][0]


def test_a_replicate_on_one_side_alone_and_values_that_are_missing_are_noted():
    scores = table(THREE[:1]).drop(columns="dataset")
    scores.loc[0, "value"] = np.nan
    found = designs_of(scores)
    assert found["n_units"].tolist() == [1, 7, 4]
    assert all("1 replicate(s) on one side alone" in note for note in found["note"])
    assert "1 to 2 students" in found["note"][1]


def test_several_datasets_as_over_datasets_has_them():
    scores = table(THREE)
    found = designs_of(scores, **AGAINST)
    several = found[found["design"] == "several datasets"]
    rows = over_datasets(scores, **AGAINST)
    assert several["n_units"].tolist() == rows["n_units"][3:5].tolist() == [12, 3]
    assert several["smallest_p"].tolist() == rows["smallest_p"][3:5].tolist()
    assert several["units"].tolist() == rows["units"][3:5].tolist()
    assert several["scope_datasets"].tolist() == ["these", "like these"]
    assert several["dataset"].tolist() == ["d0, d1, d2"] * 2
    lacking = designs_of(scores.query("dataset != 'd2' or arm == 'kd'"), **AGAINST)
    assert "dataset(s) without this pair: d2" in lacking["note"].iloc[-1]
    apart = scores.assign(seed=scores["seed"] + 9 * ((scores["arm"] == "ce") & (scores["dataset"] == "d1")))
    assert "not paired in d1" in designs_of(apart, **AGAINST)["note"].iloc[-1]
    single = designs_of(scores.query("dataset == 'd0' or arm == 'kd'"), **AGAINST)
    assert "one dataset is no evidence" in single["note"].iloc[-1]


def test_sweeps_and_settings():
    swept = pd.concat([sweep(), sweep("rcd")]).assign(alpha=0.5)
    plain = sweep().query("temperature == 1").assign(arm="ce", temperature=np.nan)
    scores = pd.concat([swept, plain], ignore_index=True)
    found = designs_of(scores)
    assert found.query("design == 'sweep over temperature'")[["arm", "control", "n_units"]].drop_duplicates(
        ["arm", "control"]
    ).to_numpy().tolist() == [["kd", "", 3], ["kd", "rcd", 3], ["rcd", "", 3]]
    pairs = found[found["design"] == "teachers with students"]
    assert len(pairs) == 3 * (4 + 4 + 4)  # equal temperatures of kd and rcd; each of them with ce
    both = pairs.query("arm == 'kd' and control == 'rcd'")
    assert (both["arm_params"] == both["control_params"]).all() and "alpha=0.5 temperature=5" in set(both["arm_params"])
    assert set(designs_of(scores, arm="rcd", control="ce")["arm"]) == {"rcd"}
    assert designs_of(scores, arm="rcd")["control"].unique().tolist() == ["kd", "ce", ""]
    recipe = found.query("design == 'sweep over temperature' and scope_teachers == 'recipe'").iloc[0]
    assert recipe["n_units"] == len(slopes(scores, "temperature", arm="kd"))
    lacking = designs_of(scores.iloc[1:]).query("design == 'sweep over temperature'")
    assert "1 replicate(s) lack a setting" in lacking["note"].iloc[0]


def test_settings_are_the_same_on_every_dataset():
    d0 = table(THREE[:1]).assign(alpha=0.5)
    d1 = pd.concat([d0.assign(alpha=0.1), d0]).assign(dataset="d1")
    found = designs_of(pd.concat([d0, d1]), **AGAINST)
    over = found[found["design"] == "several datasets"]
    assert over[["arm_params", "scope_datasets", "n_units"]].to_numpy().tolist() == [
        ["alpha=0.5", "these", 8],
        ["alpha=0.5", "like these", 2],
        ["alpha=0.1", "like these", 1],
    ]
    flags = designs_of(pd.concat([table(THREE).assign(redraw=True), table(THREE).assign(redraw=False)]), **AGAINST)
    assert flags["arm_params"].unique().tolist() == ["redraw=true", "redraw=false"]
    assert not flags["design"].str.startswith("sweep").any()


def test_metrics_of_one_design_share_a_row_and_order_does_not_matter():
    scores = pd.concat([table(THREE), table(THREE).assign(metric="agreement")])
    few = table(THREE).assign(metric="ece").query("teacher > 0")
    every = pd.concat([scores, few])
    found = designs_of(every)
    each = found[found["scope_teachers"] == "each"]  # two students a teacher in all three
    assert set(each["metric"]) == {"accuracy, agreement, ece"}
    assert set(found["metric"]) - set(each["metric"]) == {"accuracy, agreement", "ece"}
    key = ["scope_teachers", "scope_datasets", "dataset", "n_units"]
    one, other = (designs_of(t, **AGAINST)[key].sort_values(key, ignore_index=True) for t in (every, shuffled(every)))
    pd.testing.assert_frame_equal(one, other)
    assert designs_of(every, metric="ece")["metric"].unique().tolist() == ["ece"]


def test_rows_of_teachers_are_no_replicates():
    teachers = pd.DataFrame({"arm": "teacher", "teacher": [0, 1], "seed": np.nan, "value": 0.9, "metric": "accuracy"})
    scores = pd.concat([table(THREE[:1]).drop(columns="dataset"), teachers])
    assert len(designs_of(scores)) == 3


DESIGN_REFUSALS = [
    (lambda: designs_of(table(THREE).drop(columns="value")), r"lacks the column\(s\) value"),
    (lambda: designs_of(table(THREE).assign(image=1)), "a row an example"),
    (lambda: designs_of(pd.concat([table(THREE)] * 2)), "are there twice"),
    (lambda: designs_of(table(THREE), arm="dkd"), "no row with a value has arm 'dkd'; there are 'kd', 'ce'"),
    (lambda: designs_of(table(THREE), metric="ece"), "metric 'ece'; there are 'accuracy'"),
    (lambda: designs_of(table(THREE).assign(split=np.arange(48) % 2)), "several values of split"),
    (lambda: designs_of(table(THREE).query("arm == 'kd'")), "there is nothing to compare"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "sentence"), DESIGN_REFUSALS)
def test_designs_refuse(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
