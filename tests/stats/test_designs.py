"""Values from R 4.2.2: tests/stats/reference.R, reference_ratios.R; exact p-values from enumeration in rationals."""

from dataclasses import fields
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t

from kdstats.stats import (
    bayes_factor,
    dz,
    hedges_correction,
    hedges_g,
    infer,
    paired_cles,
    paired_t,
    rank_biserial,
    sign_flip,
    to_units,
    tost,
    two_way,
    wilcoxon,
)

D = np.array([0.018, -0.004, 0.023, 0.036, 0.011, 0.029, 0.007, 0.041])
M = np.array([
    [0.31, 0.12, -0.20, 0.45, 0.07],
    [0.52, 0.33, 0.11, 0.61, 0.30],
    [0.05, -0.14, -0.42, 0.28, -0.10],
    [0.40, 0.09, 0.02, 0.39, 0.26],
])  # fmt: skip
STUDENTS = np.array([0.03, 0.05, 0.01, -0.02, 0.04, 0.06, 0.02, 0.03, 0.07])
TEACHERS = np.array([1, 1, 1, 2, 2, 3, 3, 3, 3])
TESTS = {"sign-flip": sign_flip, "wilcoxon": wilcoxon, "paired-t": paired_t}


# Units -----------------------------------------------------------------------------------------------------------


def test_a_teacher_weighs_once_and_a_cluster_once():
    values = np.array([1.0, 3.0, 4.0, 10.0, 20.0])
    teacher = np.array([7, 7, 2, 5, 5])
    assert to_units(values, teacher).values.tolist() == [4.0, 15.0, 2.0]  # teachers 2, 5, 7
    pairs = to_units(values, teacher, cluster=np.array([0, 0, 0, 1, 1]))
    assert pairs.values.tolist() == [(2.0 + 4.0) / 2, 15.0] and pairs.strata is None


def test_units_keep_further_axes():
    values = np.arange(24.0).reshape(4, 3, 2)
    units = to_units(values, [0, 0, 1, 1], scope="recipe")
    assert units.values.shape == (2, 3, 2)
    assert units.values[1].tolist() == values[2:].mean(axis=0).tolist()


def test_units_of_fixed_teachers_are_the_rows():
    units = to_units([1.0, 2.0, 3.0], ["b", "a", "b"], scope="these")
    assert units.values.tolist() == [1, 2, 3] and units.strata is not None and units.strata.tolist() == ["b", "a", "b"]
    assert to_units([1.0, 2.0], [4, 4], scope="each").values.tolist() == [1, 2]


def test_units_refuse():
    with pytest.raises(ValueError, match="scope each is a claim about one teacher, got 2"):
        to_units([1.0, 2.0], [0, 1], scope="each")
    with pytest.raises(ValueError, match="teacher 3 is in two clusters"):
        to_units([1.0, 2.0, 3.0], [3, 3, 4], [0, 1, 0])
    with pytest.raises(ValueError, match="each replicate, a row of values, has one teacher"):
        to_units([1.0, 2.0], [0, 1, 2])
    with pytest.raises(ValueError, match="scope is 'all': it is one of each, these, recipe"):
        to_units([1.0], [0], scope="all")


# One sample of units ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("test", TESTS)
@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
def test_infer_gathers_the_single_functions(test, alternative):
    run = TESTS[test]
    result = infer(D, test=test, alternative=alternative, level=0.9, margin=0.05)
    alone = run(D, alternative=alternative)
    assert result.test == alone.test
    assert result.statistic == pytest.approx(alone.statistic, rel=1e-12)
    assert result.p_value == pytest.approx(alone.p_value, rel=1e-12)
    assert (result.ci_low, result.ci_high) == pytest.approx(paired_t(D).confidence_interval(0.9), rel=1e-12)
    assert result.p_equivalence == pytest.approx(tost(D, margin=0.05, test=run).p_value, rel=1e-12)
    opposite = {"greater": "less", "less": "greater"}.get(alternative)
    assert (result.p_reverse is None) == (opposite is None)
    if opposite:
        assert result.p_reverse == pytest.approx(run(D, alternative=opposite).p_value, rel=1e-12)
    effects = [dz(D), hedges_g(D), rank_biserial(D), paired_cles(D), bayes_factor(D)]
    found = [result.dz, result.hedges_g, result.rank_biserial, result.cles, result.bayes_factor]
    assert found == pytest.approx(effects, rel=1e-12)
    assert result.note == "" and result.df == 7 and result.ci_level == 0.9
    assert result.p_noninferior == pytest.approx(run(D + 0.05, alternative="greater").p_value, rel=1e-12)
    assert result.p_nonsuperior == pytest.approx(run(D - 0.05, alternative="less").p_value, rel=1e-12)
    assert result.p_equivalence == max(result.p_noninferior, result.p_nonsuperior)
    plain = infer(D, test=test)
    assert plain.p_noninferior is plain.p_nonsuperior is plain.p_equivalence is plain.rope is None


def test_infer_against_r():
    result = infer(D, test="paired-t", margin=0.03)  # R: t.test
    assert result.p_value == pytest.approx(0.00721203962714906, rel=1e-9)
    assert result.p_equivalence == pytest.approx(0.0543493586323211, rel=1e-9)
    assert (result.ci_low, result.ci_high) == pytest.approx((0.00741907320209909, 0.0328309267979009), rel=1e-9)


def test_margins_against_r():
    result = infer(D, test="paired-t", margin=0.03)
    assert result.p_noninferior == pytest.approx(1.68832083531091e-05, rel=1e-10)  # R: t.test, mu = -0.03, greater
    assert result.p_nonsuperior == pytest.approx(0.0543493586323211, rel=1e-10)  # R: mu = 0.03, less
    assert result.rope == pytest.approx(0.945633758159325, rel=1e-10)  # R: diff(pt(...))


@given(
    st.lists(st.floats(-1, 1), min_size=4, max_size=9),
    st.floats(0.01, 2),
    st.sampled_from([*TESTS, "two-way-t"]),
    st.booleans(),
)
def test_margins_of_every_design(values, margin, test, stratified):
    """The posterior under the reference prior is what the two one-sided t tests leave."""
    d, strata = np.array(values), np.arange(len(values)) % 2 if stratified else None
    examples = d[:, None] + np.repeat([-0.3, 0.0, 0.1, 0.2], 150) if test == "two-way-t" else None
    result = infer(d, strata=strata, test=test, margin=margin, examples=examples)
    if not result.sem > 0:
        assert np.isnan(result.rope)
        return
    t_test = result
    if test in ("sign-flip", "wilcoxon"):
        t_test = infer(d, strata=strata, test="paired-t", margin=margin)
        for p, shift, side in ((result.p_noninferior, margin, "greater"), (result.p_nonsuperior, -margin, "less")):
            assert p == infer(d + shift, strata=strata, test=test, alternative=side).p_value
    assert result.rope == pytest.approx(1 - t_test.p_noninferior - t_test.p_nonsuperior, abs=1e-12)
    assert result.p_equivalence == max(result.p_noninferior, result.p_nonsuperior)
    turned = infer(-d, strata=strata, test=test, margin=margin, examples=None if examples is None else -examples)
    assert turned.p_noninferior == pytest.approx(result.p_nonsuperior, rel=1e-9)
    assert turned.rope == pytest.approx(result.rope, abs=1e-12)


def test_without_variance_there_is_no_posterior():
    result = infer(np.full(6, 0.3) - 0.1, test="paired-t", margin=0.3)
    assert np.isnan([result.rope, result.p_noninferior, result.p_nonsuperior, result.p_equivalence]).all()
    assert infer(np.full(6, 0.3) - 0.1, margin=0.3).p_noninferior == 2.0**-6
    alone = infer(D, strata=np.arange(8), margin=0.1)
    assert np.isnan(alone.rope) and alone.p_noninferior == 2.0**-8


def test_one_stratum_is_one_sample():
    for test in TESTS:
        assert infer(D, test=test, strata=np.full(8, 3)) == infer(D, test=test)


@pytest.mark.parametrize("test", TESTS)
def test_an_arm_against_itself(test):
    result = infer(np.zeros(6), test=test, alternative="greater", margin=0.1)
    assert result.p_value == result.p_reverse == 1 and result.estimate == 0
    assert result.note.startswith("all differences are equal")
    for name in ("ci_low", "ci_high", "dz", "hedges_g", "bayes_factor"):
        assert np.isnan(getattr(result, name))
    assert np.isnan(result.p_equivalence) if test == "paired-t" else result.p_equivalence == 2.0**-6


def test_equal_differences_have_flips_but_no_t():
    d = np.full(6, 0.3) - 0.1
    assert infer(d, test="sign-flip", alternative="greater").p_value == 2.0**-6
    result = infer(d, test="paired-t")
    assert np.isnan(result.p_value) and np.isnan(result.statistic) and np.isnan(result.ci_low) and result.sem == 0
    assert result.note == "all differences are equal: a t test has no variance to work with"


def test_two_units_have_no_hedges_g():
    result = infer([0.1, 0.3], test="paired-t")
    assert np.isnan(result.hedges_g) and "no Hedges g" in result.note
    assert result.dz == pytest.approx(np.sqrt(2))


def test_floats_are_plain():
    for kwargs in ({"test": "paired-t"}, {"strata": [0, 0, 0, 1, 1, 1, 2, 2]}, {"test": "wilcoxon"}):
        result = infer(D, alternative="less", margin=0.1, **kwargs)
        for field in fields(result):
            assert type(getattr(result, field.name)) in (float, str), field.name


# Students of fixed teachers --------------------------------------------------------------------------------------


def test_stratified_t_agrees_with_r():
    result = infer(STUDENTS, strata=TEACHERS, test="paired-t")  # R: lm(d ~ 0 + teacher), the mean of its coefficients
    assert result.estimate == pytest.approx(0.0283333333333333, rel=1e-12)
    assert result.sem == pytest.approx(0.00928791860961138, rel=1e-12)
    assert result.df == 6
    assert result.p_value == pytest.approx(0.02249581140264, rel=1e-10)
    assert result.dz == pytest.approx(0.0283333333333333 / 0.0267706306736817, rel=1e-12)
    assert result.hedges_g == pytest.approx(result.dz * hedges_correction(6))
    assert np.isnan(result.bayes_factor) and result.note == "no Bayes factor: units are stratified by teacher"
    assert result.test == "paired t, stratified by teacher"


def mean_of_means(values, strata) -> Fraction:
    groups = [[v for v, s in zip(values, strata, strict=True) if s == g] for g in sorted(set(strata))]
    return sum((sum(group, Fraction()) / len(group) for group in groups), Fraction()) / len(groups)


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(-5, 5), st.integers(0, 2)), min_size=2, max_size=7))
def test_stratified_flips_are_the_enumeration_of_the_mean_of_means(rows):
    values, strata = [Fraction(v) for v, _ in rows], [s for _, s in rows]
    observed = mean_of_means(values, strata)
    null = [
        mean_of_means([s * v for s, v in zip(signs, values, strict=True)], strata)
        for signs in product((1, -1), repeat=len(values))
    ]
    d = 0.1 * np.array([float(v) for v in values])
    result = infer(d, strata=strata, test="sign-flip", alternative="greater")
    assert result.p_value == float(Fraction(sum(s >= observed for s in null), len(null)))
    assert result.p_reverse == float(Fraction(sum(s <= observed for s in null), len(null)))
    assert infer(d, strata=strata).p_value == float(Fraction(sum(abs(s) >= abs(observed) for s in null), len(null)))
    assert result.estimate == pytest.approx(0.1 * float(observed), abs=1e-15)
    assert result.statistic == pytest.approx(result.estimate, abs=1e-15)


def test_one_student_a_teacher_has_flips_and_no_interval():
    result = infer(D, strata=np.arange(8), test="sign-flip", alternative="greater", margin=0.1)
    assert result.p_value == sign_flip(D, alternative="greater").p_value
    assert result.p_equivalence == 2.0**-8
    assert np.isnan(result.sem) and np.isnan(result.ci_low) and np.isnan(result.dz)
    assert "every teacher has one student" in result.note
    assert np.isnan(infer(D, strata=np.arange(8), test="paired-t").p_value)
    new = infer(M.mean(axis=1), strata=np.arange(4), test="two-way-t", examples=M)
    assert np.isnan(new.p_value) and "every teacher has one student" in new.note


def test_fixed_teachers_leave_their_spread_out():
    shifted = STUDENTS + np.array([0.0, 1.0, 5.0])[TEACHERS - 1] - 2.0  # the mean of teacher means is unmoved
    before, after = (infer(d, strata=TEACHERS, test="paired-t") for d in (STUDENTS, shifted))
    assert after.sem == pytest.approx(before.sem) and after.estimate == pytest.approx(before.estimate)


# New examples ----------------------------------------------------------------------------------------------------


def test_two_way_from_rs_mean_squares():
    estimate, error, df = two_way(M)
    rep, ex, res = 0.16921833333333336, 0.18323750000000014, 0.00423083333333333  # R: anova(lm(replicate + example))
    assert estimate == pytest.approx(M.mean())
    assert error**2 == pytest.approx((rep + ex - res) / 20, rel=1e-12)
    assert df == pytest.approx((rep + ex - res) ** 2 / (rep**2 / 3 + ex**2 / 4 + res**2 / 12), rel=1e-12)


def test_two_way_of_nested_replicates_from_rs_mean_squares():
    estimate, error, df = two_way(M, strata=[1, 1, 2, 2])
    rep, ex, res = 0.17372500000000005, 0.18323750000000000, 0.00491249999999999  # R: teacher:replicate, example, rest
    assert estimate == pytest.approx(M.mean())
    assert error**2 == pytest.approx((rep + ex - res) / 20, rel=1e-12)
    assert df == pytest.approx((rep + ex - res) ** 2 / (rep**2 / 2 + ex**2 / 4 + res**2 / 8), rel=1e-12)


def test_two_way_has_a_floor():
    x = np.array([[1.0, -1.0], [-1.0, 1.0], [1.5, -1.0]])  # almost pure interaction
    estimate, error, _ = two_way(x)
    rows, columns = x.mean(axis=1), x.mean(axis=0)
    floor = max(2 * rows.var(ddof=1), 3 * columns.var(ddof=1)) / 6
    assert estimate == pytest.approx(1 / 12) and error**2 == pytest.approx(floor)


def test_two_way_with_examples_alike_is_the_t_test():
    """No spread over examples: the standard error is that of the replicates, and so are the degrees of freedom."""
    estimate, error, df = two_way(np.repeat(D[:, None], 50, axis=1))
    alone = paired_t(D)
    assert (estimate, error, df) == pytest.approx((alone.estimate, alone.standard_error, 7.0))
    flat = infer(STUDENTS, strata=TEACHERS, test="two-way-t", examples=np.repeat(STUDENTS[:, None], 30, axis=1))
    pooled = infer(STUDENTS, strata=TEACHERS, test="paired-t")
    assert (flat.sem, flat.df, flat.p_value) == pytest.approx((pooled.sem, pooled.df, pooled.p_value))


def test_two_way_with_replicates_alike_is_the_t_test_over_examples():
    values = np.random.default_rng(1).normal(size=40)
    alone = paired_t(values)
    for strata in (None, [0, 0, 1, 1, 1]):
        estimate, error, df = two_way(np.tile(values, (5, 1)), strata)
        assert (estimate, error, df) == pytest.approx((alone.estimate, alone.standard_error, 39.0))


def test_two_way_rows():
    rng = np.random.default_rng(2)
    x = rng.normal(size=(3, 2, 9, 20)) + rng.normal(size=(9, 1))
    for strata in (None, TEACHERS):
        together = two_way(x, strata)
        for i, j in np.ndindex(3, 2):
            assert [part[i, j] for part in together] == pytest.approx([*two_way(x[i, j], strata)])


def test_two_way_variance_is_unbiased_also_with_unequal_teachers():
    rng = np.random.default_rng(3)
    n, u, draws = 25, 9, 4000
    teacher_by_example = rng.normal(0, 0.5, (draws, 3, n))[:, TEACHERS - 1]
    x = (
        np.array([0.3, -0.1, 0.4])[TEACHERS - 1][:, None]
        + rng.normal(0, 1.0, (draws, 1, n))
        + teacher_by_example
        + rng.normal(0, 0.4, (draws, u, 1))
        + rng.normal(0, 1.0, (draws, u, n))
    )
    estimate, error, _ = two_way(x, TEACHERS)
    assert abs(estimate.mean() - 0.2) < 4 * estimate.std() / np.sqrt(draws)
    assert (error**2).mean() == pytest.approx(estimate.var(), rel=0.1)


def test_infer_on_new_examples():
    result = infer(M.mean(axis=1), test="two-way-t", examples=M, alternative="greater", margin=0.9)
    estimate, error, df = two_way(M)
    assert (result.estimate, result.sem, result.df) == (estimate, error, df)
    assert result.statistic == pytest.approx(estimate / error)
    assert result.dz == pytest.approx(result.statistic / 2)  # √4 replicates
    assert result.hedges_g == pytest.approx(result.dz * hedges_correction(df))
    assert result.p_value + result.p_reverse == pytest.approx(1)
    assert result.p_value < 0.5 and result.p_equivalence is not None and result.p_equivalence < 0.05
    assert all(np.isnan([result.rank_biserial, result.cles, result.bayes_factor]))
    assert result.note == "no rank-biserial, CLES or Bayes factor: they have no version for new examples"
    assert result.test == "two-way t, generalised (seeds and examples)"


def test_equivalence_on_new_examples_is_the_interval_within_the_margin():
    for margin in np.linspace(0.05, 1.2, 6):
        result = infer(M.mean(axis=1), test="two-way-t", examples=M, margin=margin, level=0.9)
        assert (result.p_equivalence <= 0.05) == (-margin <= result.ci_low and result.ci_high <= margin)


def test_nothing_differs_on_new_examples():
    result = infer(np.zeros(4), test="two-way-t", examples=np.zeros((4, 6)), alternative="greater")
    assert result.p_value == result.p_reverse == 1 and "all differences are equal" in result.note
    assert np.isnan(infer(np.full(4, 0.1), test="two-way-t", examples=np.full((4, 6), 0.1)).p_value)


def test_infer_refuses():
    for wrong, sentence in (
        ({"test": "two-way-t"}, "two-way-t is the test about new examples and needs their matrix"),
        ({"test": "paired-t", "examples": np.zeros((8, 5))}, "about this test set and take none"),
        ({"test": "two-way-t", "examples": np.zeros((7, 5))}, r"examples has shape \(7, 5\) for 8 units"),
        ({"test": "two-way-t", "examples": np.zeros((8, 5))}, r"row \d of examples has mean 0 and difference\[\d\] is"),
        ({"test": "two-way-t", "examples": D[:, None]}, "two or more examples"),
        ({"test": "t"}, "test is 't': it is one of sign-flip, wilcoxon, anytime, paired-t, two-way-t"),
        ({"alternative": "up"}, "alternative is 'up'"),
        ({"margin": -1.0}, "margin is -1.0"),
        ({"level": 1.0}, "level is 1.0"),
        ({"strata": [0, 1]}, r"strata has shape \(2,\): one stratum for each of the 8 units"),
    ):
        with pytest.raises(ValueError, match=sentence):
            infer(D, **wrong)
    with pytest.raises(ValueError, match="one number a unit"):
        infer(np.ones((2, 3)))
    with pytest.raises(ValueError, match="two or more replicates"):
        infer([0.1])
    with pytest.raises(ValueError, match="not finite"):
        two_way([[1.0, np.nan], [0.0, 1.0]])
    with pytest.raises(ValueError, match="every teacher has one replicate"):
        two_way(M, strata=[0, 1, 2, 3])


# Calibration -----------------------------------------------------------------------------------------------------


def crossed(rng: np.random.Generator, draws: int, units: int, n: int, seeds: float, examples: float) -> np.ndarray:
    """Differences of mean 0: replicate spread, example spread, and an interaction of standard deviation 1."""
    replicate, example = rng.normal(0, seeds, (draws, units, 1)), rng.normal(0, examples, (draws, 1, n))
    return replicate + example + rng.normal(size=(draws, units, n))


@pytest.mark.parametrize(("seeds", "examples"), [(0.1, 0.5), (0.3, 0.3), (0.05, 1.0), (0.5, 0.1)])
def test_two_way_t_covers_new_examples_and_seeds(seeds, examples):
    x = crossed(np.random.default_rng(11), 3000, 10, 60, seeds, examples)
    estimate, error, df = two_way(x)
    covered = np.abs(estimate) <= t.ppf(0.975, df) * error
    standard_error = np.sqrt(0.05 * 0.95 / len(x))
    assert 0.93 <= covered.mean() <= 0.975
    assert covered.mean() > 0.95 - 0.01 - 4 * standard_error


def test_a_seed_only_t_does_not_cover_new_examples():
    """The negative control: its t is too large by the root of 1 + (examples' variance / N) over the seeds'."""
    x = crossed(np.random.default_rng(12), 3000, 10, 60, 0.1, 0.5)
    inflation = 1 + (0.25 / 60) / (0.01 / 10 + 1 / 600)
    size = 2 * t.sf(t.ppf(0.975, 9) / np.sqrt(inflation), 9)
    assert size > 0.19
    rejected = (paired_t(x.mean(axis=-1)).p_value <= 0.05).mean()
    assert abs(rejected - size) < 4 * np.sqrt(size * (1 - size) / 3000)


def test_students_pooled_over_teachers_are_no_units():
    """At recipe scope 20 students of 5 teachers reject too often; the means of the 5 teachers do not."""
    rng = np.random.default_rng(13)
    draws = 10_000
    students = rng.normal(0, 0.6, (draws, 5, 1)) + rng.normal(0, 1, (draws, 5, 4))
    standard_error = np.sqrt(0.05 * 0.95 / draws)
    pooled = paired_t(students.reshape(draws, 20)).p_value <= 0.05
    assert pooled.mean() > 0.1
    units = to_units(students.reshape(draws, 20).T, np.repeat(np.arange(5), 4), scope="recipe").values.T
    assert abs((paired_t(units).p_value <= 0.05).mean() - 0.05) < 4 * standard_error
    attainable = 2 / 2**5  # the exact size of the flips of 5 units at level 2/32
    flips = sign_flip(units).p_value <= attainable
    assert abs(flips.mean() - attainable) < 4 * np.sqrt(attainable * (1 - attainable) / draws)


def test_stratified_interval_covers_the_mean_of_these_teachers():
    rng = np.random.default_rng(14)
    effects = np.array([0.5, -1.0, 2.0])
    covered = []
    for _ in range(1000):
        d = effects[TEACHERS - 1] + rng.normal(size=9)
        result = infer(d, strata=TEACHERS, test="paired-t")
        covered.append(result.ci_low <= effects.mean() <= result.ci_high)
    assert abs(np.mean(covered) - 0.95) < 4 * np.sqrt(0.05 * 0.95 / 1000)


@pytest.mark.parametrize("strata", [None, TEACHERS])
def test_exact_tests_keep_their_attainable_size(strata):
    """Skewed marginals, exchangeable arms: flips and ranks hold every attainable level."""
    rng = np.random.default_rng(15)
    draws = 2000
    d = rng.exponential(size=(draws, 9)) - rng.exponential(size=(draws, 9))
    weights = np.ones(9) if strata is None else 9 / (3 * np.bincount(TEACHERS)[TEACHERS])
    for p in (sign_flip(d * weights).p_value, wilcoxon(d).p_value):
        for level in (2 / 512, 20 / 512, 100 / 512):
            assert (p <= level).mean() <= level + 4 * np.sqrt(level * (1 - level) / draws)
