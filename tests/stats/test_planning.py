"""Power against R and statsmodels, against the tests themselves on simulated rows, and planted variances."""

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats
from statsmodels.regression.mixed_linear_model import MixedLM
from statsmodels.stats.power import TTestPower

from kdstats.stats import paired_t, planning, sign_flip, tost, two_way, wilcoxon
from kdstats.stats.planning import (
    Examples,
    assumed_components,
    power,
    smallest,
    smallest_n,
    student_sd_bound,
    unit_sd,
    variance_components,
)

TESTS = {"sign-flip": sign_flip, "wilcoxon": wilcoxon, "paired-t": paired_t}
SM = {"two-sided": "two-sided", "greater": "larger", "less": "smaller"}


def agrees(found, rejected):
    """A power and the share of simulated rows that a test rejected, within four standard errors of both."""
    share = np.mean(rejected)
    error = np.hypot(found.mc_error, np.sqrt(max(share * (1 - share), 1e-4) / len(rejected)))
    assert abs(found.power - share) <= 4 * error, (found, share)
    assert found.mc_error < 0.01


# t ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alternative", SM)
@pytest.mark.parametrize("n", [2, 3, 5, 10, 30, 100])
def test_paired_t_is_that_of_statsmodels(n, alternative):
    for effect in (0.0, 0.1, 0.5, -0.3, 5 / np.sqrt(n)):  # statsmodels has no number much further out
        expected = TTestPower().power(effect, n, 0.05, alternative=SM[alternative])
        assert power("paired-t", n, effect, alternative=alternative).power == pytest.approx(expected, abs=1e-8)


def test_paired_t_is_that_of_r():
    # R 4.2.2, power.t.test(n, delta, sd = 1, type = "one.sample"): one-sided at .05, two-sided (strict) at .0125
    r = {
        (5, 1.2): (0.711910610063464, 0.226029865687875),
        (10, 1.0): (0.897516994339802, 0.547331880449357),
        (30, 0.4): (0.68951276629701, 0.335855526483738),
    }
    for (n, effect), (one, two) in r.items():
        assert power("paired-t", n, effect, alternative="greater").power == pytest.approx(one, rel=1e-6)
        assert power("paired-t", n, effect, level=0.0125).power == pytest.approx(two, rel=1e-6)


@pytest.mark.parametrize(("n", "margin", "effect"), [(2, 3.0, 0.0), (8, 1.0, 0.1), (60, 0.4, -0.05)])
def test_equivalence_by_t_is_the_integral_over_the_spread(n, margin, effect):
    """Against quadrature over s itself, given which the mean lies between both critical values."""
    critical, root = stats.t.isf(0.05, n - 1), np.sqrt(n)

    def both(s):
        low, high = -margin * root + critical * s, margin * root - critical * s
        inside = stats.norm.cdf(high - effect * root) - stats.norm.cdf(low - effect * root)
        return max(inside, 0) * stats.chi.pdf(s * np.sqrt(n - 1), n - 1) * np.sqrt(n - 1)

    ends = np.linspace(0, margin * root / critical, 40)
    expected = sum(integrate.quad(both, a, b)[0] for a, b in itertools.pairwise(ends))
    found = power("paired-t", n, effect, alternative="equivalence", margin=margin).power
    assert found == pytest.approx(expected, abs=1e-6)


def test_strata_cost_degrees_of_freedom_and_their_spread_costs_t_nothing():
    rng = np.random.default_rng(0)
    teachers = rng.standard_normal((20_000, 4, 1))
    d = 0.7 + 2 * (teachers - teachers.mean(axis=1, keepdims=True)) + rng.standard_normal((20_000, 4, 3))
    pooled = np.sqrt(d.var(axis=2, ddof=1).mean(axis=1))
    rejected = d.mean(axis=(1, 2)) / (pooled / np.sqrt(12)) >= stats.t.isf(0.05, 8)
    options = {"alternative": "greater", "strata": 4}
    agrees(power("paired-t", 12, 0.7, spread=2.0, **options), rejected)
    assert power("paired-t", 12, 0.7, **options).power < power("paired-t", 12, 0.7, alternative="greater").power
    assert power("paired-t", 4, 9.0, strata=4).power == 0  # nothing estimates the spread


# Exact tests -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("test", ["sign-flip", "wilcoxon"])
@pytest.mark.parametrize("effect", [0.0, 0.5, 1.5])
def test_one_atom_has_a_closed_form(test, effect):
    """At level 2⁻ⁿ all n differences must be positive: Φ(effect)ⁿ."""
    found = power(test, 5, effect, alternative="greater", level=2**-5)
    assert abs(found.power - stats.norm.cdf(effect) ** 5) <= 4 * found.mc_error


@pytest.mark.parametrize("test", TESTS)
@pytest.mark.parametrize(
    ("n", "effect", "level", "alternative", "margin"),
    [
        (7, 1.2, 0.05, "two-sided", None),
        (9, -0.8, 0.05, "less", None),
        (11, 0.1, 0.03, "equivalence", 1.1),
        (14, 0.9, 0.05 / 12, "greater", None),  # above 12: the saddlepoint
        (14, -0.2, 0.05, "non-inferiority", 0.8),
    ],
)
def test_power_is_how_often_the_test_rejects(test, n, effect, level, alternative, margin):
    d = effect + np.random.default_rng(n).standard_normal((1500, n))
    if alternative == "equivalence":
        p = tost(d, margin=margin, test=TESTS[test]).p_value
    elif alternative == "non-inferiority":
        p = TESTS[test](d + margin, alternative="greater").p_value
    else:
        p = TESTS[test](d, alternative=alternative).p_value
    agrees(power(test, n, effect, alternative=alternative, level=level, margin=margin), p <= level)


@pytest.mark.parametrize("test", ["sign-flip", "wilcoxon"])
def test_spread_between_strata_costs_the_exact_tests_power(test):
    rng = np.random.default_rng(1)
    teachers = rng.standard_normal((3000, 4))
    d = 0.8 + 1.5 * np.repeat(teachers - teachers.mean(axis=1, keepdims=True), 3, axis=1)
    p = TESTS[test](d + rng.standard_normal(d.shape), alternative="greater").p_value
    found = power(test, 12, 0.8, alternative="greater", strata=4, spread=1.5)
    agrees(found, p <= 0.05)
    assert found.power < power(test, 12, 0.8, alternative="greater").power - 0.1


@pytest.mark.parametrize("n", [4, 9])
@pytest.mark.parametrize("level", [0.0700001, 0.2])
def test_the_critical_shift_is_where_the_exact_test_turns(n, level):
    z = np.random.default_rng(2).standard_normal((200, n))
    for test, shifts in (("sign-flip", planning._flip_shifts), ("wilcoxon", planning._wilcoxon_shifts)):
        turn = shifts(z, level)[:, None]
        assert (TESTS[test](z + turn + 1e-6, alternative="greater").p_value <= level).all()
        assert (TESTS[test](z + turn - 1e-6, alternative="greater").p_value > level).all()


@pytest.mark.parametrize(("n", "level"), [(13, 0.05), (13, 0.002), (13, 0.0005), (16, 0.01), (22, 0.001)])
def test_above_twelve_units_sign_flips_decide_as_the_exact_test(n, level):
    """Level .0005 is 4 of 2¹³ flips, where the lowest four values decide exactly; the others are the saddlepoint's."""
    z = np.random.default_rng(3).standard_normal((1200, n))
    at = np.quantile(turn := planning._flip_shifts(z, level), 0.6)
    exact = sign_flip(z + at, alternative="greater").p_value <= level
    assert abs((turn < at).mean() - exact.mean()) < 0.006
    assert ((turn < at) != exact).mean() <= (0 if level == 0.0005 else 0.025)


def test_what_cannot_reach_the_level_has_no_power():
    nothing = planning.Power(0.0, 0.0)
    for test in ("sign-flip", "wilcoxon"):
        assert power(test, 4, 50.0, alternative="greater") == nothing
        assert power(test, 5, 50.0) == nothing  # two-sided: 2⁻⁴
        assert power(test, 5, 50.0, alternative="greater").power > 0.99
        assert power(test, 4, 0.0, alternative="equivalence", margin=50.0) == nothing
    assert power("sign-flip", 50, 5.0, level=1e-6) == nothing  # of 99,999 draws
    assert power("wilcoxon", 50, 5.0, level=1e-6).power > 0.99
    assert power("wilcoxon", 1001, 5.0) == nothing  # which it refuses
    assert power("paired-t", 1, 5.0) == power("paired-t", 0, 5.0) == nothing


def test_the_same_seed_gives_the_same_power_and_another_one_nearly():
    first, again = (power("wilcoxon", 11, 0.8, seed=4) for _ in range(2))
    other = power("wilcoxon", 11, 0.8, seed=5)
    assert first == again
    assert 0 < abs(first.power - other.power) <= 4 * np.hypot(first.mc_error, other.mc_error)
    assert power("wilcoxon", 11, 0.8, seed=4, draws=500).mc_error > first.mc_error


@settings(max_examples=25)
@given(
    st.sampled_from(["sign-flip", "wilcoxon", "paired-t"]),
    st.sampled_from(["two-sided", "greater", "equivalence"]),
    st.integers(2, 10),
    st.floats(0, 2),
)
def test_more_is_never_worse(test, alternative, n, effect):
    """More effect (a wider margin), a laxer level: never less power, but for the simulation's error."""

    def at(n, effect, level=0.05):
        margin = effect + 0.01 if alternative == "equivalence" else None
        effect = 0.0 if margin else effect
        return power(test, n, effect, alternative=alternative, level=level, margin=margin, draws=2000)

    now = at(n, effect)
    for better in (at(n, effect + 0.3), at(n, effect, 0.1)):
        assert better.power >= now.power - 4 * np.hypot(now.mc_error, better.mc_error) - 1e-9
    # (one pair more may cost an equivalence at a hopeless margin what a small sd by chance gave it)
    if test == "paired-t" and alternative != "equivalence":
        assert at(n + 1, effect).power >= now.power - 1e-9
    assert 0 <= now.power <= 1


# Two-way t -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("units", "n", "sd", "residual", "effect", "strata"),
    [(6, 40, 3.0, 4.0, 1.2, 1), (10, 100, 5.0, 10.0, 0.8, 1), (12, 60, 2.0, 2.0, 0.9, 4), (3, 50, 5.0, 0.0, 1.0, 1)],
)
def test_two_way_power_is_how_often_the_test_rejects(units, n, sd, residual, effect, strata):
    rng = np.random.default_rng(units)
    x = effect + rng.standard_normal((3000, units, 1)) + sd * rng.standard_normal((3000, 1, n))
    x += residual * rng.standard_normal(x.shape)
    teacher = np.repeat(np.arange(strata), units // strata)
    rejected = two_way(x, teacher if strata > 1 else None).p_value("greater") <= 0.03
    options = {"alternative": "greater", "level": 0.03, "strata": strata}
    agrees(power("two-way-t", units, effect, examples=Examples(n, sd, residual), **options), rejected)


def test_without_variance_over_examples_the_two_way_t_is_the_paired_one():
    for alternative, margin in (("two-sided", None), ("greater", None), ("equivalence", 1.0)):
        options = {"alternative": alternative, "margin": margin}
        found = power("two-way-t", 9, 0.3, examples=Examples(10_000, 0.0), **options)
        assert found.power == pytest.approx(power("paired-t", 9, 0.3, **options).power, abs=0.003)
        assert found.mc_error < 0.002


# How many --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("effect", [0.3, 0.7, 1.5])
def test_smallest_n_of_paired_t_is_that_of_statsmodels(effect):
    exact = TTestPower().solve_power(effect, power=0.8, alpha=0.05, alternative="larger")
    assert smallest_n("paired-t", effect, alternative="greater") == np.ceil(exact)


@pytest.mark.parametrize(("test", "effect"), [("sign-flip", 1.0), ("wilcoxon", 0.9)])
def test_smallest_n_reaches_its_target_and_one_less_does_not(test, effect):
    n = smallest_n(test, effect, target=0.8, level=0.02, alternative="greater")
    z = effect + np.random.default_rng(6).standard_normal((4000, n))
    shares = [np.mean(TESTS[test](z[:, :m], alternative="greater").p_value <= 0.02) for m in (n - 1, n)]
    assert shares[0] < 0.8 + 0.02 and shares[1] > 0.8 - 0.02
    assert power(test, n, effect, level=0.02, alternative="greater").power >= 0.8
    assert power(test, n - 1, effect, level=0.02, alternative="greater").power < 0.8


def test_smallest_n_where_the_floor_decides_and_where_none_would_do():
    assert smallest_n("sign-flip", 20.0, level=0.05 / 12, alternative="greater") == 8  # 2⁻⁸ < .0042 < 2⁻⁷
    assert smallest_n("sign-flip", 0.05) is None
    assert smallest_n("paired-t", 0.2, most=100) is None and smallest_n("paired-t", 0.2) == 199
    needed = smallest_n("paired-t", 0.0, alternative="equivalence", margin=0.5)
    assert [power("paired-t", needed - i, 0.0, alternative="equivalence", margin=0.5).power >= 0.8 for i in (0, 1)] == [
        True,
        False,
    ]


@given(st.integers(1, 60), st.integers(0, 70), st.booleans())
def test_smallest_finds_the_first(length, first, bounded):
    candidates = range(5, 5 + 3 * length, 3)
    found = smallest(
        lambda n: float(n >= first), candidates, 0.5, (lambda n: float(n >= first - 10)) if bounded else None
    )
    assert found == next((n for n in candidates if n >= first), None)


# Variance components ---------------------------------------------------------------------------------------------


def test_balanced_components_are_those_of_restricted_likelihood():
    rng = np.random.default_rng(7)
    teacher = np.repeat(np.arange(12), 4)
    values = rng.normal(0, 2, 12)[teacher] + rng.standard_normal(48)
    found = variance_components(values, teacher)
    fit = MixedLM.from_formula("y ~ 1", groups="g", data=pd.DataFrame({"y": values, "g": teacher})).fit(reml=True)
    assert found.student_sd**2 == pytest.approx(fit.scale, rel=1e-4)
    assert found.teacher_sd**2 == pytest.approx(fit.cov_re.iloc[0, 0], rel=1e-3)
    assert (found.df_teacher, found.df_student, found.students) == (11, 36, 4)


def test_unbalanced_components_are_found_where_they_were_planted():
    rng = np.random.default_rng(8)
    teacher = np.repeat(np.arange(4000), np.tile([1, 2, 3, 6], 1000))
    values = rng.normal(0, 0.5, 4000)[teacher] + rng.normal(0, 1.5, len(teacher))
    found = variance_components(values, teacher)
    assert found.teacher_sd == pytest.approx(0.5, abs=0.04)
    assert found.student_sd == pytest.approx(1.5, rel=0.02)
    assert not found.truncated


def test_components_that_the_data_do_not_hold():
    truncated = variance_components([-1.0, 1.0, -1.1, 1.1], [0, 0, 1, 1])
    assert truncated.truncated and truncated.teacher_sd == 0
    assert unit_sd(truncated, 4) == truncated.student_sd / 2
    alone = variance_components([1.0, 2.0, 4.0], [0, 1, 2])
    assert alone.student_sd is None
    assert unit_sd(alone, 1) == unit_sd(alone, 8) == pytest.approx(np.std([1, 2, 4], ddof=1))
    one = variance_components([1.0, 2.0, 4.0], [0, 0, 0])
    assert one.teacher_sd is None and one.student_sd == pytest.approx(np.std([1, 2, 4], ddof=1))
    with pytest.raises(ValueError, match="single teacher"):
        unit_sd(one, 2)


def test_the_upper_bound_at_the_pilots_own_size_is_the_chi_square_bound():
    means = np.array([0.1, 0.5, 0.2, 0.9, 0.4])
    values = (means[:, None] + [[-0.1, 0.1]]).ravel()
    found = variance_components(values, np.repeat(np.arange(5), 2))
    exact = np.sqrt(means.var(ddof=1) * 4 / stats.chi2.ppf(0.2, 4))
    assert unit_sd(found, 2, confidence=0.8) == pytest.approx(exact, rel=1e-12)
    assert student_sd_bound(found, 0.8) == pytest.approx(np.sqrt(0.02 * 5 / stats.chi2.ppf(0.2, 5)), rel=1e-12)


@pytest.mark.parametrize(("teacher_sd", "student_sd"), [(1.0, 1.0), (1.0, 0.3), (0.2, 1.0)])
def test_the_upper_bound_covers(teacher_sd, student_sd):
    rng = np.random.default_rng(9)
    teacher = np.repeat(np.arange(6), 2)
    sizes, covered = (1, 2, 8), np.zeros(3)
    for _ in range(400):
        values = rng.normal(0, teacher_sd, 6)[teacher] + rng.normal(0, student_sd, 12)
        found = variance_components(values, teacher)
        covered += [unit_sd(found, s, 0.8) ** 2 >= teacher_sd**2 + student_sd**2 / s for s in sizes]
    assert (covered / 400 >= 0.8 - 4 * np.sqrt(0.16 / 400)).all()


def test_assumptions_have_no_error():
    assumed = assumed_components(0.3, 0.4)
    assert unit_sd(assumed, 1) == unit_sd(assumed, 1, confidence=0.99) == pytest.approx(0.5)
    assert unit_sd(assumed, 4, confidence=0.8) == pytest.approx(np.sqrt(0.13))
    assert student_sd_bound(assumed, 0.8) == pytest.approx(0.4)


# Refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: power("t-test", 5, 1.0), "test is 't-test': it is one of sign-flip"),
        (lambda: power("paired-t", 5, 1.0, alternative="larger"), "alternative is 'larger'"),
        (lambda: power("paired-t", 5, np.nan), "effect is nan"),
        (lambda: power("paired-t", 5, 1.0, level=0.5), "level is 0.5"),
        (lambda: power("paired-t", 5, 0.0, alternative="equivalence"), "equivalence and non-inferiority need one"),
        (lambda: power("paired-t", 5, 0.0, margin=1.0), "equivalence and non-inferiority need one"),
        (lambda: power("paired-t", 5, 0.0, alternative="equivalence", margin=-1.0), "margin is -1"),
        (lambda: power("paired-t", 5, 1.0, strata=2), "5 units do not spread evenly over 2 strata"),
        (lambda: power("paired-t", 4, 1.0, strata=2, spread=-1.0), "spread is -1"),
        (lambda: power("two-way-t", 5, 1.0), "two-way-t needs them"),
        (lambda: power("sign-flip", 5, 1.0, examples=Examples(9, 1.0)), "the other tests take none"),
        (lambda: power("two-way-t", 5, 1.0, examples=Examples(1, 1.0)), "two or more examples"),
        (lambda: smallest_n("paired-t", 1.0, target=1.0), "target is 1.0"),
        (lambda: variance_components([1.0], [0]), "two or more students"),
        (lambda: variance_components([1.0, 2.0], [0]), "each with its teacher"),
        (lambda: variance_components([1.0, np.inf], [0, 1]), "finite"),
        (lambda: assumed_components(-1.0, 1.0), "teacher_sd is -1.0"),
        (lambda: unit_sd(variance_components([1.0, 2.0, 3.0, 5.0], [0, 0, 1, 1]), 2, 1.0), "confidence is 1.0"),
    ],
)
def test_refusals(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


def test_the_smallest_n_of_strata_is_a_multiple_of_them() -> None:
    n = planning.smallest_n("paired-t", 1.0, alternative="greater", strata=3)
    assert n == 9  # 8 without strata; with three means estimated, 9 units have 6 degrees of freedom
    assert planning.power("paired-t", 9, 1.0, alternative="greater", strata=3).power >= 0.8
    with pytest.raises(ValueError, match="draws is 0"):
        planning.power("sign-flip", 9, 1.0, draws=0)


# Far out ---------------------------------------------------------------------------------------------------------

OPTIONS = [("paired-t", None), ("two-way-t", Examples(100, 0.5, 0.5)), ("sign-flip", None), ("wilcoxon", None)]


@pytest.mark.parametrize(("test", "examples"), OPTIONS)
@pytest.mark.parametrize("effect", [1e3, 1e9, 1e155, 1e200, 1.7e308])
def test_a_huge_effect_is_found_for_certain_and_its_opposite_never(test, examples, effect):
    def of(effect, **options):
        return power(test, 10, effect, examples=examples, draws=200, **options).power

    assert of(effect) == of(-effect) == of(effect, alternative="greater") == of(-effect, alternative="less") == 1
    assert of(effect, alternative="less") == of(-effect, alternative="greater") == 0
    for margin in (1e-9, 1.0, effect / 2):
        assert of(effect, alternative="equivalence", margin=margin) == 0
        assert of(effect, alternative="non-inferiority", margin=margin) == 1
    for other in (0.0, 1e-300, 1.0):
        assert of(other, alternative="equivalence", margin=effect) == 1
        assert of(other, alternative="non-inferiority", margin=effect) == 1
    assert smallest_n(test, effect, examples=examples, alternative="greater", target=0.99, draws=200) is not None


@pytest.mark.parametrize("effect", [1e-300, 1e-9])
def test_a_tiny_effect_is_no_effect(effect):
    assert power("paired-t", 10, effect).power == pytest.approx(0.05, abs=1e-8)
    assert power("paired-t", 10, effect, alternative="equivalence", margin=effect).power < 1e-50


def test_noncentral_tails_beyond_thirty_are_r_s():
    """R: pt(c, df, ncp = δ, lower.tail = FALSE), which holds to δ = 37.62."""
    for c, df, noncentrality, tail in ((50, 3, 35, 0.310936011711), (30, 9, 31, 0.615673157852),
                                       (300, 4, 36, 0.000408672929735)):  # fmt: skip
        assert planning._noncentral_tail(c, df, noncentrality) == pytest.approx(tail, rel=1e-9)
    for level in (1e-9, 0.05):  # one degree of freedom: a t so large that 1e9 may not reach it
        found = [power("paired-t", 2, effect, level=level).power for effect in (20, 22, 1e3, 1e6, 1e9, 1e12)]
        assert found == sorted(found) and found[-1] == pytest.approx(1, abs=1e-3)
