"""Validity by enumerating every sign vector, by simulation, and against tests that may not be looked at twice."""

import math
from itertools import combinations, product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdstats.stats.multiplicity import adjust
from kdstats.stats.paired import non_inferiority, paired_t, sign_flip, tost
from kdstats.stats.sequential import (
    anytime,
    anytime_p_values,
    confidence_sequence,
    e_equivalence,
    e_holm,
    e_non_inferiority,
    e_process,
)

SIDES = ("two-sided", "greater", "less")
sides = st.sampled_from(SIDES)
numbers = st.one_of(st.integers(-3, 3).map(float), st.floats(-10, 10).map(lambda v: round(v, 3)))
samples = st.lists(numbers, min_size=2, max_size=9)


def all_signs(n):
    return np.array(list(product((1.0, -1.0), repeat=n)))


def crossing(d, alternative="two-sided", level=0.05):
    """The share of rows whose e-value ever reaches 1 / level."""
    return (e_process(d, alternative=alternative).max(axis=-1) >= 1 / level).mean()


def noise(name, rng, shape):
    """Differences that are symmetric about 0 given those before."""
    if name == "normal":
        return rng.standard_normal(shape)
    if name == "cauchy":
        return rng.standard_cauchy(shape)
    if name == "counts":
        return rng.integers(-2, 3, shape).astype(float)
    if name == "two sizes":
        return rng.choice([-1.0, 1.0], shape) * rng.choice([0.001, 1.0, 50.0], shape, p=[0.3, 0.6, 0.1])
    d = rng.standard_normal(shape)  # the spread follows the sum so far, and grows
    for i in range(1, shape[-1]):
        d[..., i] *= (1.0 + i) * np.where(d[..., :i].sum(axis=-1) > 0, 5.0, 0.2)
    return d


# The e-process ---------------------------------------------------------------------------------------------------


@given(samples, sides)
@settings(max_examples=60)
def test_mean_over_all_sign_vectors_is_one_after_every_unit(values, alternative):
    e = e_process(np.abs(values) * all_signs(len(values)), alternative=alternative)
    assert np.allclose(e.mean(axis=0), 1.0, rtol=1e-12, atol=0)


@given(samples, numbers, sides)
@settings(max_examples=60)
def test_the_next_sign_changes_nothing_on_average(values, size, alternative):
    both = e_process([[*values, size], [*values, -size]], alternative=alternative)
    assert np.allclose(both[:, -1].mean(), both[0, -2], rtol=1e-12, atol=0)
    assert np.allclose(both[:, :-1], e_process(values, alternative=alternative), rtol=1e-14, atol=0)


@given(st.lists(st.floats(-2, 2).map(lambda v: round(v, 2)), min_size=2, max_size=7))
def test_it_is_the_declared_mean_of_products(values):
    """Every c and every first unit written out, with exp and cosh; what has not begun by n is 1."""
    n, expected = len(values), 0.0
    for c, start in product((0.5, 1.0, 2.0), range(2, n + 2)):
        weight = 0.25 ** (n - 1) if start > n else 0.75 * 0.25 ** (start - 2)
        value = 1.0
        for i in range(start, n + 1):
            scale = sum(map(abs, values[: i - 1])) / (i - 1)
            x = c / scale * values[i - 1] if scale else 0.0
            value *= math.exp(x) / math.cosh(x) if abs(x) < 300 else 2.0 * (x > 0)
        expected += weight * value / 3
    assert e_process(values, alternative="greater")[-1] == pytest.approx(expected, rel=1e-12)


@given(samples, sides, st.floats(1e-3, 1e3))
def test_swapping_arms_swaps_sides_and_units_of_measurement_do_not_matter(values, alternative, unit):
    d = np.array(values)
    swapped = {"two-sided": "two-sided", "greater": "less", "less": "greater"}[alternative]
    e = e_process(d, alternative=alternative)
    assert np.allclose(e_process(-d, alternative=swapped), e, rtol=1e-12, atol=0)
    assert np.allclose(e_process(unit * d, alternative=alternative), e, rtol=1e-8, atol=1e-300)


@pytest.mark.parametrize("shift", [0.1, 1.0, 30.0])
def test_greater_also_tests_centres_below_zero(shift):
    sizes = np.random.default_rng(3).exponential(size=9)
    e = e_process(sizes * all_signs(9) - shift, alternative="greater")
    assert (e.mean(axis=0)[1:] < 1).all()


@pytest.mark.parametrize("alternative", ["two-sided", "greater"])
@pytest.mark.parametrize("name", ["normal", "cauchy", "counts", "two sizes", "follows the sum"])
def test_looking_after_each_of_200_units_keeps_the_level(name, alternative):
    rows = 2000
    d = noise(name, np.random.default_rng(11), (rows, 200))
    assert crossing(d, alternative) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / rows)


def test_looking_again_and_again_at_a_fixed_test_does_not():
    d = np.random.default_rng(5).standard_normal((2000, 40))
    flips = [sign_flip(d[:, :n]).p_value for n in range(6, 13)]
    ts = [paired_t(d[:, :n]).p_value for n in range(3, 41)]
    assert (np.min(flips, axis=0) <= 0.05).mean() > 0.09
    assert (np.min(ts, axis=0) <= 0.05).mean() > 0.2
    assert crossing(d) <= 0.065


def test_mean_number_of_units_is_as_documented():
    d = np.random.default_rng(17).standard_normal((4000, 40)) + np.array([[[0.5]], [[1.0]], [[2.0]]])
    reached = e_process(d, alternative="greater") >= 20
    units = np.where(reached.any(axis=-1), reached.argmax(axis=-1) + 1, 40).mean(axis=-1)
    assert units == pytest.approx([26.1, 11.4, 7.5], abs=0.6)
    assert reached.any(axis=-1).mean(axis=-1) == pytest.approx([0.67, 1.0, 1.0], abs=0.03)


def test_a_small_first_difference_does_not_lose_everything():
    d = np.concatenate([[1e-9, -1.0], np.full(20, 1.0)])
    assert e_process(d, alternative="greater")[-1] > 1000
    assert e_process([0.0, 0.0, 0.0, 1.0, 1.0], alternative="greater").round(12).tolist()[:4] == [1.0] * 4
    assert (e_process(np.zeros(30)) == 1).all()


def test_sides_and_leading_axes():
    d = np.random.default_rng(1).standard_normal((2, 3, 12)) + 0.5
    two, greater, less = (e_process(d, alternative=side) for side in SIDES)
    assert two.shape == (2, 3, 12) and np.allclose(two, (greater + less) / 2)
    assert np.array_equal(greater[1, 2], e_process(d[1, 2], alternative="greater"))
    assert (two[..., 0] == 1).all() and (greater < 2.0 ** np.arange(12) + 1e-9).all()
    assert np.array_equal(e_process(d + 0.25, np.full_like(d, 0.25)), e_process((d + 0.25) - 0.25))


def test_a_thousand_units_are_numbers():
    result = anytime(np.full(1000, 0.5), alternative="greater")
    assert np.isfinite(result.statistic) and 2.0**-999 < result.p_value < 1e-200


# The test --------------------------------------------------------------------------------------------------------


def test_p_values_never_rise():
    assert anytime_p_values([[1.0, 0.2, 8.0, 3.0], [0.5, 0.0, 0.5, 2.0]]).tolist() == [
        [1.0, 1.0, 0.125, 0.125],
        [1.0, 1.0, 1.0, 0.5],
    ]
    for wrong in (-1.0, math.nan):
        with pytest.raises(ValueError, match=r"e_values\[1\] is .*: an e-value is 0 or more"):
            anytime_p_values([1.0, wrong])


def test_result():
    x = np.array([0.91, 0.93, 0.90, 0.95, 0.92, 0.94, 0.90, 0.96, 0.93, 0.70])
    y = np.array([0.89, 0.90, 0.88, 0.92, 0.89, 0.90, 0.88, 0.92, 0.91, 0.90])
    result, e = anytime(x, y), e_process(x, y)
    assert result.statistic == e[-1] < e.max() == pytest.approx(1 / result.p_value)
    assert result.estimate == pytest.approx(np.mean(x - y)) and result.n == 10
    low, high = confidence_sequence(x, y, level=0.9)
    assert result.confidence_interval(0.9) == (low[-1], high[-1])
    assert np.isfinite([low[-1], high[-1]]).all()
    assert result.test.startswith("anytime")
    many = anytime(np.stack([x - y, y - x]), alternative="greater")
    assert many.to_frame()["statistic"].tolist() == many.statistic.tolist()
    assert many.confidence_interval()[0][1] == pytest.approx(-many.confidence_interval()[1][0])


def students():
    """Two teachers, four seeds, rows shuffled; the value tells which replicate it is."""
    rows = [
        {"arm": arm, "teacher": t, "seed": s, "metric": "agreement", "value": (arm == "kd") * (1 + 10 * t + s**2 % 5)}
        for arm in ("kd", "ce")
        for t in (0, 1)
        for s in (0, 1, 2, 3)
    ]
    return pd.DataFrame(rows).sample(frac=1, random_state=0)


def test_tables_are_fed_in_the_order_of_seeds():
    scores = students()
    by_seed = [1, 11, 2, 12, 5, 15, 5, 15]
    for function in (e_process, lambda *a, **k: confidence_sequence(*a, **k)[0]):
        assert np.array_equal(function(scores, arm="kd", control="ce", scope="these"), function(by_seed))
    fewer = scores[scores["seed"] < 3]  # a seed that is added continues what was there
    assert np.array_equal(
        e_process(fewer, arm="kd", control="ce", scope="these"),
        e_process(scores, arm="kd", control="ce", scope="these")[:6],
    )
    assert np.array_equal(e_process(scores, arm="kd", control="ce"), e_process([3.25, 13.25]))
    one = scores[scores["teacher"] == 1]
    assert anytime(one, arm="kd", control="ce", scope="each").statistic == anytime([11, 12, 15, 15]).statistic
    without = one.drop(columns="teacher")
    assert anytime(without, arm="kd", control="ce", scope="these").statistic == anytime([11, 12, 15, 15]).statistic


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: e_process([0.1]), "two or more replicates"),
        (lambda: e_process([0.1, math.inf]), "scores must be finite"),
        (lambda: anytime([0.1, 0.2], alternative="more"), "alternative is 'more'"),
        (lambda: anytime(np.linspace(-1, 1, 1001)), "1,001 replicates, more than the 1,000"),
        (lambda: confidence_sequence(np.linspace(-1, 1, 1001)), "1,001 replicates"),
        (lambda: confidence_sequence([0.1, 0.2], level=95), "level is 95"),
        (lambda: e_equivalence([0.1, 0.2], margin=0), "margin is 0"),
        (lambda: e_holm([1.0, -2.0]), r"e_values\[1\] is -2.0"),
    ],
)
def test_mistakes_end_in_a_sentence(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


# Claims of no difference -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("centre", [0.3, -0.3, 0.5, -2.0])
def test_equivalence_is_an_e_process_outside_the_margin(centre):
    sizes = np.random.default_rng(8).exponential(0.2, size=9)
    e = e_equivalence(centre + sizes * all_signs(9), margin=0.3)
    assert (e.mean(axis=0) <= 1 + 1e-12).all()


def test_non_inferiority_is_an_e_process_at_the_margin():
    sizes = np.random.default_rng(9).exponential(0.2, size=9)
    e = e_non_inferiority(-0.3 + sizes * all_signs(9), margin=0.3)
    assert np.allclose(e.mean(axis=0), 1.0, rtol=1e-12)


def test_claims_of_no_difference_by_tost():
    d = np.random.default_rng(10).normal(0.02, 0.1, (50, 30))
    e, result = e_equivalence(d, margin=0.2), tost(d, margin=0.2, test=anytime)
    assert (result.p_value <= anytime_p_values(e)[:, -1] + 1e-15).all() and (result.p_value <= 0.05).mean() > 0.9
    assert np.array_equal(e, e_equivalence(-d, margin=0.2))
    assert (e <= e_non_inferiority(d, margin=0.2)).all()
    other = non_inferiority(d, margin=0.2, test=anytime)
    assert np.array_equal(other.p_value, anytime_p_values(e_non_inferiority(d, margin=0.2))[:, -1])


def test_least_over_controls_is_an_e_process_if_one_is_not_beaten():
    sizes = np.random.default_rng(12).exponential(size=8)
    null = sizes * all_signs(8)
    beaten = np.abs(null) + 1  # by the same arm, so as dependent as can be
    e = [e_process(d, alternative="greater") for d in (null, beaten)]
    assert (np.min(e, axis=0).mean(axis=0) <= 1 + 1e-12).all()
    largest = np.max([anytime_p_values(v) for v in e], axis=0)
    assert (largest <= anytime_p_values(np.min(e, axis=0)) + 1e-15).all()
    for a in (0.05, 0.1, 0.25, 0.5):
        assert (largest[:, -1] <= a).mean() <= a


# Confidence sequences --------------------------------------------------------------------------------------------


def never_refuted(d, centres, level):
    """For each centre and unit, whether no unit so far has refuted it."""
    return anytime_p_values(e_process(d - centres[:, None])) > 1 - level


@pytest.mark.parametrize("level", [0.5, 0.9])
@pytest.mark.parametrize("name", ["normal", "cauchy", "counts", "ties first", "clusters"])
def test_sequence_is_the_hull_of_what_is_not_refuted(name, level):
    rng = np.random.default_rng(21)
    for n in (9, 16):
        d = rng.integers(0, 2, n) + 3.0 * (np.arange(n) > n / 2) if name == "clusters" else None
        if d is None:
            d = noise(name if name != "ties first" else "counts", rng, (n,))
        if name == "ties first":
            d = np.concatenate([np.full(3, 1.0), d])
        low, high = confidence_sequence(d, level=level)
        width = np.ptp(d)
        near = [d + s * width * 10.0**-k for k in (4, 7) for s in (-1, 0, 1)]
        centres = np.unique(np.concatenate([np.linspace(d.min() - width, d.max() + width, 6001), *near]))
        for i, there in enumerate(never_refuted(d, centres, level).T):
            inside = centres[there]
            assert low[i] <= inside[0] and inside[-1] <= high[i]
            if np.isfinite(low[i]) and low[i] > centres[0]:
                assert inside[0] - low[i] < 2 * 3 * width / 6000 + 2e-6 * width
            if np.isfinite(high[i]) and high[i] < centres[-1]:
                assert high[i] - inside[-1] < 2 * 3 * width / 6000 + 2e-6 * width


@pytest.mark.parametrize(("name", "centre"), [("normal", 0.4), ("cauchy", -3.0), ("follows the sum", 0.0)])
def test_all_intervals_hold_the_centre_at_once(name, centre):
    rows, level = 40, 0.6
    d = noise(name, np.random.default_rng(31), (rows, 12)) + centre
    low, high = confidence_sequence(d, level=level)
    covered = ((low <= centre) & (centre <= high)).all(axis=-1).mean()
    assert covered >= level - 3 * math.sqrt(level * (1 - level) / rows)
    assert covered >= 1 - crossing(d - centre, level=1 - level)


@given(st.lists(st.floats(-1, 1).map(lambda v: round(v, 2)), min_size=9, max_size=14), st.integers(-50, 50))
@settings(max_examples=12)
def test_sequence_moves_with_the_data(values, steps):
    d, shift, unit = np.array(values), 0.25 * steps, 8.0
    low, high = confidence_sequence(d, level=0.8)
    atol = 1e-5 * np.ptp(d) + 1e-7
    finite = np.isfinite(low) & np.isfinite(high)
    assert np.array_equal(np.isinf(low), np.isinf(high))
    assert (np.diff(low[finite]) >= 0).all() and (np.diff(high[finite]) <= 0).all() and (low <= high).all()
    for other, expected in (
        (confidence_sequence(unit * d, level=0.8), (unit * low, unit * high)),
        (confidence_sequence(-d, level=0.8), (-high, -low)),
    ):
        assert np.allclose(other, expected, rtol=1e-9, atol=unit * atol)
    if len(set(values)) == len(values):  # sums of ties round differently after a shift
        assert np.allclose(confidence_sequence(d + shift, level=0.8), (low + shift, high + shift), atol=50 * atol)


@pytest.mark.parametrize(("level", "first"), [(0.5, 4), (0.8, 6), (0.95, 8), (0.99, 11)])
def test_ends_are_infinite_until_so_many_equal_differences_would_refute_zero(level, first):
    equal = e_process(np.ones(20)) >= 1 / (1 - level)
    assert equal.argmax() + 1 == first
    d = np.random.default_rng(41).standard_normal(14)
    for data in (d, np.full(14, 0.3), d * 1e-6 + 5):
        low, high = confidence_sequence(data, level=level)
        assert np.isinf(low[: first - 1]).all() and np.isinf(high[: first - 1]).all()
        assert np.isfinite(low[first - 1 :]).all() and np.isfinite(high[first - 1 :]).all()


def test_equal_differences_leave_one_centre():
    low, high = confidence_sequence(np.full(12, 0.3))
    assert low[-1] == pytest.approx(0.3, abs=1e-6) and high[-1] == pytest.approx(0.3, abs=1e-6)


def test_where_nothing_is_left_the_last_interval_remains():
    rng = np.random.default_rng(51)
    d = np.concatenate([rng.normal(0, 0.01, 20), rng.normal(5, 0.01, 40)])
    assert not never_refuted(d, np.linspace(-10, 15, 5001), 0.8)[:, -1].any()
    low, high = confidence_sequence(d, level=0.8)
    assert (low <= high).all() and np.isfinite([low[-1], high[-1]]).all()
    assert (np.diff(low[10:]) >= 0).all() and (np.diff(high[10:]) <= 0).all()


def test_an_interval_without_zero_has_p_at_most_its_level():
    d = np.random.default_rng(61).normal(0.7, 1, (12, 20))
    result = anytime(d)
    low, high = result.confidence_interval(0.9)
    outside = (low > 0) | (high < 0)
    assert outside.any() and (result.p_value[outside] <= 0.1).all()


# Families --------------------------------------------------------------------------------------------------------


@given(st.lists(st.one_of(st.floats(0, 200), st.sampled_from([0.0, 1.0, 20.0, 40.0])), min_size=1, max_size=5))
def test_holm_is_the_closed_test(values):
    """An adjusted e-value is the least, over the sets that hold its hypothesis, of the largest e by the set's size."""
    k = len(values)
    sets = [s for size in range(1, k + 1) for s in combinations(range(k), size)]
    closed = [min(max(values[j] for j in s) / len(s) for s in sets if i in s) for i in range(k)]
    means = [min(np.mean([values[j] for j in s]) for s in sets if i in s) for i in range(k)]
    assert e_holm(values).tolist() == pytest.approx(closed, rel=1e-12)
    assert (e_holm(values) <= np.array(means) * (1 + 1e-12)).all()  # the closed test of means refutes no less


@given(st.lists(st.floats(1, 1e4), min_size=1, max_size=6))
def test_holm_is_holm_of_the_inverse(values):
    p = np.minimum(1 / e_holm(values), 1)
    assert np.allclose(p, adjust(1 / np.array(values), "holm"), rtol=1e-12)


def test_holm_of_running_maxima_keeps_the_family_at_every_look():
    rng = np.random.default_rng(71)
    shared = rng.standard_normal((3000, 1, 40))
    d = 0.7 * shared + rng.standard_normal((3000, 4, 40)) + np.array([0, 0, 0, 1.0])[:, None]
    maxima = np.maximum.accumulate(e_process(d, alternative="greater"), axis=-1)
    adjusted = e_holm(np.moveaxis(maxima, 1, -1))
    assert adjusted.shape == (3000, 40, 4)
    assert np.array_equal(adjusted[7, 20], e_holm(maxima[7, :, 20]))
    assert (np.diff(adjusted, axis=1) >= 0).all()  # a rejection stands
    ever = adjusted[:, -1] >= 20
    assert ever[:, :3].any(axis=-1).mean() <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 3000)
    assert ever[:, 3].mean() > 0.7
