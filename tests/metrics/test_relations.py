"""Wrong classes worked by hand, against scipy and plain loops; identities, limits and what may not matter."""

from itertools import combinations, permutations, product
from math import exp, log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import logsumexp, softmax
from scipy.stats import kendalltau

from kdstats.metrics import UndefinedMetric, rank_disagreement
from kdstats.metrics.relations import (
    affinity_similarity,
    class_affinity,
    distinctness,
    matched_temperature,
    rank_consistency,
    target_confidence,
    top_overlap,
    top_overlap_by_chance,
)

# softmax (.6, .3, .1): under label 0 q = .3, .1 and r = ¾, ¼; under label 2 q = .6, .3 and r = ⅔, ⅓
Z = np.array([[log(6), log(3), log(1)]] * 2)
Y = [0, 2]


@st.composite
def networks(draw, count=1, values=None, least=3):
    """Logits of one or more networks, and labels."""
    values = st.floats(-30, 30, width=32) if values is None else values
    shape = draw(st.tuples(st.integers(1, 6), st.integers(least, 6)))
    labels = draw(arrays(np.int64, shape[0], elements=st.integers(0, shape[1] - 1)))
    return *[draw(arrays(np.float32, shape, elements=values)) for _ in range(count)], labels


temperatures = st.floats(0.1, 50)


def example(seed=0, n=40, classes=5, strength=2.0):
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % classes)
    z = rng.normal(size=(n, classes)) * 2
    z[np.arange(n), y] += strength
    return z, y


# Distinctness ----------------------------------------------------------------------------------------------------


def test_distinctness_by_hand():
    each = distinctness(Z, Y, per_example=True)
    assert each.da == pytest.approx([0.2, 0.45], abs=1e-15)
    assert each.dv == pytest.approx([0.1, 0.15], abs=1e-15)
    assert each.iv == pytest.approx([1 / 16, 1 / 36], abs=1e-15)
    assert distinctness(Z, Y) == pytest.approx([0.325, 0.125, 13 / 288], abs=1e-15)  # means of the above


def test_distinctness_at_temperature_2_is_that_of_halved_logits():
    assert distinctness(Z, Y, 2.0) == pytest.approx(distinctness(Z / 2, Y), rel=1e-14)


@given(networks(), temperatures)
def test_spread_is_confidence_times_spread_among_the_wrong(network, t):
    z, y = network
    da, dv, iv = distinctness(z, y, t, per_example=True)
    p = softmax(z.astype(float) / t, axis=1)
    wrong = [np.delete(row, label) for row, label in zip(p, y, strict=True)]
    p_y = p[np.arange(len(y)), y]
    assert da == pytest.approx([q.mean() for q in wrong], rel=1e-9, abs=1e-15)
    assert np.square(dv) == pytest.approx([q.var() for q in wrong], rel=1e-9, abs=1e-15)
    assert np.square(dv) == pytest.approx((1 - p_y) ** 2 * iv, rel=1e-6, abs=1e-14)
    assert np.square(dv) == pytest.approx(((p.shape[1] - 1) * da) ** 2 * iv, rel=1e-9, abs=1e-300)


@given(networks(), st.floats(-20, 20))
def test_confidence_alone_leaves_iv_as_it_is(network, by):
    z, y = network
    moved = z.astype(float)
    moved[np.arange(len(y)), y] += by
    assert distinctness(moved, y).iv == pytest.approx(distinctness(z, y).iv, rel=1e-12, abs=1e-300)


@given(networks(), st.permutations(range(6)))
def test_distinctness_knows_no_names_of_classes(network, order):
    z, y = network
    order = np.array([c for c in order if c < z.shape[1]])
    assert distinctness(z[:, order], np.argsort(order)[y]) == pytest.approx(distinctness(z, y), rel=1e-12)


def test_distinctness_keeps_its_digits_where_the_label_has_all_the_probability():
    z = np.array([[log(3), 0.0, 50.0]])  # 1 − p_y = 4 e⁻⁵⁰ / (1 + 4 e⁻⁵⁰), below the rounding of p_y
    share = 4 * exp(-50)
    assert distinctness(z, [2]) == pytest.approx([share / 2, share / 4, 1 / 16], rel=1e-13)
    assert distinctness(z + np.array([0, 0, 5000]), [2]) == pytest.approx([0, 0, 1 / 16], rel=1e-13)
    assert distinctness(z - np.array([0, 0, 5000]), [2]) == pytest.approx([1 / 2, 1 / 4, 1 / 16], rel=1e-13)


def test_limits_of_temperature():
    z, y = example()
    cold, hot = (distinctness(z, y, t, per_example=True) for t in (1e-307, 1e9))
    assert cold.iv == pytest.approx([3 / 16] * len(y))  # one of four wrong classes has all: ¼ (1 − ¼)
    assert cold.da == pytest.approx((z.argmax(1) != y) / 4)
    assert hot.da == pytest.approx([1 / 5] * len(y))
    assert max(hot.dv.max(), hot.iv.max()) < 1e-8


# Confidence ------------------------------------------------------------------------------------------------------


@given(networks(least=2), temperatures)
def test_target_confidence_is_the_softmax_of_the_label(network, t):
    z, y = network
    expected = softmax(z.astype(float) / t, axis=1)[np.arange(len(y)), y]
    assert target_confidence(z, y, t, per_example=True) == pytest.approx(expected, rel=1e-9, abs=1e-300)


def test_target_confidence_at_the_ends():
    z = np.array([[1e300, -1e300], [0.0, 0.0]])
    assert target_confidence(z, [0, 1], per_example=True).tolist() == [1, 0.5]
    assert target_confidence(z, [1, 1], 1e-300, per_example=True).tolist() == [0, 0.5]


@given(networks(least=2), st.floats(0.05, 20))
def test_matched_temperature_gives_the_confidence(network, t):
    z, y = network
    asked = target_confidence(z, y, t)
    if abs(asked - 1 / z.shape[1]) < 1e-6 or not 0 < asked < 1:
        return
    found = matched_temperature(z, y, asked)
    assert target_confidence(z, y, found) == pytest.approx(asked, abs=1e-10)
    side = np.sign(asked - 1 / z.shape[1])  # and no higher temperature does
    hotter = [target_confidence(z, y, t) for t in np.geomspace(found * 1.01, found * 100, 20)]
    assert max(side * (np.array(hotter) - asked)) < 0.01


def test_matched_temperature_of_known_ones():
    rng = np.random.default_rng(3)
    z = rng.normal(size=(50, 6))
    y = z.argmax(1)  # always right: confidence falls with temperature, so there is one root
    for t in (0.03, 0.5, 1.0, 4.0, 300.0):
        assert matched_temperature(z, y, target_confidence(z, y, t)) == pytest.approx(t, rel=1e-7)


def test_matched_temperature_is_the_largest_of_several():
    # right by 1, wrong by 1/10: with x = 1/T, (1 / (1 + e⁻ˣ) + 1 / (1 + e^(x/10))) / 2 rises and falls again to ½
    z, y = np.array([[1.0, 0.0], [0.0, 0.1]]), [0, 0]
    curve = [target_confidence(z, y, t) for t in np.geomspace(100, 0.01, 2000)]
    top = max(curve)
    for asked in (0.51, 0.6, 0.65, top - 1e-9):
        found = matched_temperature(z, y, asked)
        hotter = np.geomspace(found * 1.001, found * 1e4, 2000)
        assert target_confidence(z, y, found) == pytest.approx(asked, abs=1e-12)
        assert max(target_confidence(z, y, t) for t in hotter) < asked
    assert matched_temperature(z, y, 0.6) < matched_temperature(z, y, 0.51)
    with pytest.raises(UndefinedMetric, match=rf"of 0\.8: from 1/2, at an infinite one, it goes up to {top:.3g}"):
        matched_temperature(z, y, 0.8)


def test_matched_temperature_below_chance():
    z, y = np.array([[0.0, log(9)]]), [0]  # always wrong
    assert matched_temperature(z, y, 0.25) == pytest.approx(2)  # 1 / (1 + √9)
    with pytest.raises(UndefinedMetric, match="at an infinite one, it goes down to 0"):
        matched_temperature([[0.0, 1.0], [1.0, 0.0]], [0, 0], 0.3)  # the two add to 1 at every temperature


def test_no_temperature_changes_logits_that_are_all_equal():
    for asked in (0.5, 0.7):
        with pytest.raises(UndefinedMetric, match=r"it goes (up|down) to 0\.5"):
            matched_temperature([[1.0, 1.0]], [0], asked)


# Two networks ----------------------------------------------------------------------------------------------------


@given(networks(2, st.integers(-3, 3)))
def test_rank_consistency_is_scipys_tau_of_the_wrong_logits(three):
    a, b, y = three
    found = rank_consistency(a, b, y, per_example=True)
    for one, other, label, tau in zip(a, b, y, found, strict=True):
        expected = kendalltau(np.delete(one, label), np.delete(other, label)).statistic
        if np.isnan(expected):
            expected = float(all(len(set(np.delete(z, label))) == 1 for z in (one, other)))
        assert tau == pytest.approx(expected, abs=1e-12)
    assert rank_consistency(b, a, y) == pytest.approx(found.mean(), abs=1e-12)


@given(networks(2, st.integers(-9, 9)))
def test_rank_consistency_asks_nothing_of_the_label(three):
    a, b, y = three
    c = np.array(a)
    c[np.arange(len(y)), y] += 7
    assert rank_consistency(c, b, y) == rank_consistency(a, b, y)
    assert rank_consistency(a, np.exp(a), y) == pytest.approx(1)


def test_a_network_without_order_counts_as_in_rank_disagreement():
    flat, steep = [[5.0, 1.0, 1.0, 1.0]], [[0.0, 1.0, 2.0, 3.0]]
    for a, b in product((flat, steep), repeat=2):
        wrong = [[row[1:] for row in z] for z in (a, b)]
        assert rank_consistency(a, b, [0]) == 1 - 2 * rank_disagreement(*wrong)
    assert (rank_consistency(flat, steep, [0]), rank_consistency(flat, flat, [0])) == (0, 1)


def test_top_overlap_by_hand():
    one = [[9.0, 4.0, 3.0, 2.0, 1.0], [9.0, 4.0, 3.0, 3.0, 1.0]]
    other = [[0.0, 4.0, 1.0, 2.0, 3.0], [0.0, 1.0, 4.0, 2.0, 3.0]]
    # first: {1}, {1}; {1, 2}, {1, 4}; {1, 2, 3}, {1, 4, 3}. second: {1} + one of 2, 3; {2, 4}: half of one of two
    assert [top_overlap(one, other, [0, 0], k, per_example=True).tolist() for k in (1, 2, 3, 4)] == [
        [1, 0], [0.5, 0.25], [2 / 3, 2 / 3], [1, 1],
    ]  # fmt: skip


@given(networks(2, st.integers(-2, 2)), st.integers(1, 2))
def test_top_overlap_is_that_expected_over_all_ways_to_break_ties(three, k):
    a, b, y = three

    def choices(z):  # every set of k that no class left out exceeds
        classes = range(len(z))
        return [set(c) for c in combinations(classes, k) if min(z[list(c)]) >= max(np.delete(z, c), default=-9)]

    found = top_overlap(a, b, y, k, per_example=True)
    for one, other, label, share in zip(a, b, y, found, strict=True):
        pairs = list(product(choices(np.delete(one, label)), choices(np.delete(other, label))))
        assert share == pytest.approx(sum(len(c & d) for c, d in pairs) / len(pairs) / k, abs=1e-12)
    assert top_overlap(b, a, y, k) == pytest.approx(found.mean(), abs=1e-12)


def test_chance_is_the_mean_over_all_orders():
    one = np.tile([9.0, 4.0, 3.0, 2.0, 1.0], (24, 1))
    other = np.array([[0.0, *order] for order in permutations([1.0, 2.0, 3.0, 4.0])])
    for k in (1, 2, 3, 4):
        chance = top_overlap_by_chance(k, 5)
        assert top_overlap(one, other, [0] * 24, k) == pytest.approx(chance, abs=1e-15)
        assert top_overlap(one, np.zeros((24, 5)), [0] * 24, k) == pytest.approx(chance, abs=1e-15)


# Class relations -------------------------------------------------------------------------------------------------


@given(temperatures, st.integers(0, 9))
def test_class_affinity_is_that_of_a_loop(t, seed):
    z, y = example(seed)
    found = class_affinity(z, y, t)
    expected = np.zeros((5, 5))
    for row, label in zip(z / t, y, strict=True):
        row = np.where(np.arange(5) == label, -np.inf, row)
        expected[label] += np.exp(row - logsumexp(row)) / 8  # eight examples a class
    assert found == pytest.approx(expected, abs=1e-14)
    assert found.sum(1) == pytest.approx(np.ones(5))
    assert not found.diagonal().any()


def test_class_affinity_over_many_blocks():
    rng = np.random.default_rng(0)
    z, y = rng.normal(size=(500, 400)).astype(np.float16), np.arange(500) % 400
    z[400:] = z[:100]  # a second example that is the first again: more than a block of each class is not needed
    once = class_affinity(z[:400], y[:400])
    assert class_affinity(z, y) == pytest.approx(once, abs=1e-15)
    one_class = np.concatenate([np.tile(z[0], (700, 1)), z[1:400]])  # 700 × 400 logits are five blocks
    assert class_affinity(one_class, np.r_[[0] * 700, 1:400]) == pytest.approx(once, abs=1e-13)


def test_affinity_similarity_is_pearsons_and_no_row_needs_centring():
    z, y = example(1, 200, 8)
    w, _ = example(2, 200, 8)
    a, b = class_affinity(z, y), class_affinity(z + w, y)
    outside = ~np.eye(8, dtype=bool)
    expected = np.corrcoef(a[outside], b[outside])[0, 1]
    assert affinity_similarity(a, b) == pytest.approx(expected, abs=1e-14)
    assert affinity_similarity(a, b - b.mean(1, keepdims=True) + np.diag([9.0] * 8)) == pytest.approx(expected)
    order = np.random.default_rng(0).permutation(8)
    assert affinity_similarity(a[order][:, order], b[order][:, order]) == pytest.approx(expected)
    assert affinity_similarity(a, a.T) < 0.999  # a matrix and its transpose are not the same relation
    assert affinity_similarity(a, 1 - 2 * a) == -1


def test_equally_alike_classes_have_no_correlation():
    flat = class_affinity(np.zeros((30, 10)), np.arange(30) % 10)
    other = class_affinity(*example(classes=10))
    for pair in ((flat, other), (other, flat)):
        with pytest.raises(UndefinedMetric, match="equally alike"):
            affinity_similarity(*pair)


# Sentences -------------------------------------------------------------------------------------------------------

TWO = np.zeros((2, 2))


@pytest.mark.parametrize(
    "call",
    [
        lambda: distinctness(TWO, [0, 1]),
        lambda: rank_consistency(TWO, TWO, [0, 1]),
        lambda: top_overlap(TWO, TWO, [0, 1], 1),
        lambda: top_overlap_by_chance(1, 2),
        lambda: class_affinity(TWO, [0, 1]),
        lambda: affinity_similarity(TWO, TWO),
    ],
)
def test_two_classes_are_refused(call):
    with pytest.raises(ValueError, match="there are 2 classes: a single wrong class has no distinctness"):
        call()


def test_bad_input_is_named():
    for t in (0.0, -1.0, np.inf, np.nan):
        for function in (distinctness, target_confidence, class_affinity):
            with pytest.raises(ValueError, match=r"temperature is .*: it is a positive, finite number"):
                function(Z, Y, t)
    for confidence in (0.0, 1.0, np.nan):
        with pytest.raises(ValueError, match="confidence is"):
            matched_temperature(Z, Y, confidence)
    for k in (0, 3, 1.5):
        with pytest.raises(ValueError, match="with 3 classes there are 1 to 2 wrong ones"):
            top_overlap(Z, Z, Y, k)
    with pytest.raises(ValueError, match="row 1 is 3; with 3 classes"):
        distinctness(Z, [0, 3])
    with pytest.raises(ValueError, match=r"one has shape .* both need the same examples"):
        rank_consistency(Z, Z[:1], Y)
    with pytest.raises(UndefinedMetric, match="class 1 has none of the 2 examples"):
        class_affinity(Z, Y)
    with pytest.raises(ValueError, match=r"one has shape \(2, 3\)"):
        affinity_similarity(Z, Z)
    with pytest.raises(ValueError, match="both need the same classes"):
        affinity_similarity(np.diag([1.0] * 3) + np.eye(3)[::-1], np.eye(4)[::-1])
    with pytest.raises(ValueError, match="other holds values off its diagonal that are not finite"):
        affinity_similarity(np.arange(9.0).reshape(3, 3), np.full((3, 3), np.nan))


def test_per_example_values_have_the_metric_as_mean():
    z, y = example()
    w, _ = example(5)
    for metric in (
        lambda **how: distinctness(z, y, 3.0, **how).dv,
        lambda **how: target_confidence(z, y, 3.0, **how),
        lambda **how: rank_consistency(z, w, y, **how),
        lambda **how: top_overlap(z, w, y, 2, **how),
    ):
        each = metric(per_example=True)
        assert each.shape == (40,)
        assert each.dtype == np.float64
        assert isinstance(metric(), float)
        assert metric() == pytest.approx(each.mean(), abs=1e-15)
