"""Values from R 4.2.2 come from tests/stats/reference_relations.R; permutation p-values from enumerated integers."""

from fractions import Fraction
from itertools import combinations, permutations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from kdstats.stats.relations import mantel, stability

A = np.array([[0, 31, 12, 5, 9], [28, 0, 17, 4, 6], [14, 9, 0, 22, 3], [2, 8, 25, 0, 13], [11, 7, 1, 16, 0]])
B = np.array([[0, 19, 21, 8, 2], [24, 0, 10, 11, 5], [6, 15, 0, 18, 9], [7, 3, 27, 0, 14], [12, 1, 4, 20, 0]])
SIDES = ("greater", "less", "two-sided")

# Mantel ----------------------------------------------------------------------------------------------------------


def test_mantel_is_that_of_r():
    cases = [
        (A, B, 0.746438705414913, (0.0166666666666667, 0.991666666666667, 0.0166666666666667)),
        (A, B.T, 0.780310449117785, (0.00833333333333333, 1, 0.00833333333333333)),
        (B, B.T, 0.464733261725743, (0.05, 0.958333333333333, 0.0833333333333333)),
    ]
    for a, b, r, each in cases:
        for side, p in zip(SIDES, each, strict=True):
            result = mantel(a, b, alternative=side)
            assert (result.estimate, result.p_value) == pytest.approx((r, p), rel=1e-12)
            assert (result.test, result.n, result.alternative) == ("Mantel, exact", 5, side)


def share(a, b, side) -> float:
    """Over all namings of the classes, of centred integer cells: means and lengths are the same for all."""
    c = len(a)
    cells = [(i, j) for i in range(c) for j in range(c) if i != j]
    total = sum(int(b[cell]) for cell in cells)

    def product(order):  # C (C - 1) times the covariance
        both = sum(int(a[i, j]) * int(b[order[i], order[j]]) for i, j in cells)
        return len(cells) * both - sum(int(a[cell]) for cell in cells) * total

    sums = [product(order) for order in permutations(range(c))]
    as_extreme = {
        "greater": lambda s: s >= sums[0],
        "less": lambda s: s <= sums[0],
        "two-sided": lambda s: abs(s) >= abs(sums[0]),
    }[side]
    return float(Fraction(sum(map(as_extreme, sums)), len(sums)))


@settings(max_examples=40)
@given(st.integers(3, 4).flatmap(lambda c: arrays(np.int64, (2, c, c), elements=st.integers(0, 3))))
def test_mantel_counts_enumerated_permutations_with_ties(pair):
    outside = ~np.eye(pair.shape[1], dtype=bool)
    assume(all(len(set(m[outside])) > 1 for m in pair))
    for side in SIDES:
        assert mantel(*pair, alternative=side).p_value == pytest.approx(share(*pair, side), abs=1e-12)


def test_mantel_on_five_classes_against_the_loop():
    rng = np.random.default_rng(5)
    for a, b in rng.integers(0, 9, (4, 2, 5, 5)):
        assert mantel(a, b).p_value == pytest.approx(share(a, b, "greater"), abs=1e-12)


def test_mantel_is_valid_over_all_namings():
    for a, b in np.random.default_rng(0).integers(0, 3, (5, 2, 4, 4)):
        orders = [np.array(order) for order in permutations(range(4))]
        p = np.array([mantel(a, b[np.ix_(order, order)]).p_value for order in orders])
        for level in np.unique(p):
            assert np.mean(p <= level) == pytest.approx(level)  # each value of r at its own p: exact


def test_all_pairs_at_once_are_the_pairs_one_by_one():
    for classes in (5, 9):
        many = np.random.default_rng(1).random((4, classes, classes))
        many[1] += many[0]
        for side in SIDES:
            result = mantel(many, permutations=500, alternative=side, seed=3)
            pairs = list(combinations(range(4), 2))
            assert list(zip(result.first, result.second, strict=True)) == pairs
            for (i, j), r, p in zip(pairs, result.estimate, result.p_value, strict=True):
                alone = mantel(many[i], many[j], permutations=500, alternative=side, seed=3)
                assert (alone.estimate, alone.p_value) == pytest.approx((r, p), abs=1e-12)
    frame = result.to_frame()
    assert len(frame) == 6
    assert {"first", "second", "p_value", "estimate"} <= set(frame)


def test_sampled_mantel_nears_the_enumerated_one():
    rng = np.random.default_rng(2)
    a = rng.random((8, 8))
    b = rng.random((8, 8)) + 0.35 * a
    sampled = mantel(a, b, permutations=4000)
    assert sampled.test == "Mantel, 4,000 draws"
    outside = ~np.eye(8, dtype=bool)
    x = np.where(outside, a - a[outside].mean(), 0)
    orders = np.array(list(permutations(range(8))))
    sums = np.concatenate([
        np.einsum("ij,pij->p", x, b[part[:, :, None], part[:, None]]) for part in np.array_split(orders, 20)
    ])  # fmt: skip
    exact = np.mean(sums >= sums[0] - 1e-12)
    assert 0.01 < exact < 0.5
    assert sampled.p_value == pytest.approx(exact, abs=4 * np.sqrt(exact / 4000))


def test_mantel_of_a_matrix_with_itself_reaches_the_smallest_p():
    a = np.random.default_rng(0).random((10, 10))
    assert mantel(a, a, permutations=99).p_value == 1 / 100
    assert mantel(a, -a, permutations=99, alternative="less").p_value == 1 / 100
    assert mantel(a, a, permutations=99).estimate == pytest.approx(1)
    small = a[:5, :5]
    assert mantel(small, small).p_value == 1 / 120


def test_what_does_not_matter_to_mantel():
    rng = np.random.default_rng(4)
    a, b = rng.random((2, 6, 6))
    order = rng.permutation(6)
    expected = mantel(a, b)
    for one, other in (
        (b, a),
        (a.T, b.T),
        (a[np.ix_(order, order)], b[np.ix_(order, order)]),
        (3 * a + 1, b - 7),
        (a + np.diag([np.nan] * 6), b + 100 * np.eye(6)),
    ):
        found = mantel(one, other)
        assert (found.estimate, found.p_value) == pytest.approx((expected.estimate, expected.p_value), rel=1e-12)
    assert mantel(a, b.T).estimate != pytest.approx(expected.estimate, abs=0.01)


def test_mantel_refuses_in_sentences():
    flat = np.ones((5, 5)) - np.eye(5)
    for call, sentence in (
        (lambda: mantel(A), r"shape \(5, 5\): it takes \(K, C, C\)"),
        (lambda: mantel(A, B[:4, :4]), "a pair are two matrices over the same classes"),
        (lambda: mantel([A, B], B), "a pair are two matrices"),
        (lambda: mantel([A]), "two or more matrices, of three or more classes"),
        (lambda: mantel(A[:2, :2], B[:2, :2]), "two or more matrices, of three or more classes"),
        (lambda: mantel([A, B, flat]), "cells of matrix 2 are all equal"),
        (lambda: mantel(A, flat / 3), "cells of matrix 1 are all equal"),
        (lambda: mantel(A, np.where(A == 17, np.nan, A)), "matrix 1 holds values .* not finite"),
        (lambda: mantel(A, B, permutations=0), "permutations is 0"),
        (lambda: mantel(A, B, alternative="more"), "alternative is 'more'"),
    ):
        with pytest.raises(ValueError, match=sentence):
            call()


# Stability -------------------------------------------------------------------------------------------------------

S = np.zeros((7, 7))
S[np.tril_indices(7, -1)] = (
    0.91,
    0.88, 0.93,
    0.80, 0.86, 0.83,
    0.78, 0.85, 0.79, 0.90,
    0.81, 0.82, 0.84, 0.94, 0.89,
    0.75, 0.84, 0.80, 0.87, 0.92, 0.90,
)  # fmt: skip
S += S.T
GROUPS = [18, 18, 18, 50, 50, 50, 50]


def ladder(rng, sizes, own=1.0, by_group=0.0, pair=0.3, across=0.0):
    """Similarities of teachers, with what each adds to all, to those of one group, and to one pair."""
    g = np.repeat(np.arange(len(sizes)), sizes)
    k = len(g)
    adds = own * rng.normal(size=(k, 1)) + by_group * rng.normal(size=(k, len(sizes)))
    residual = np.triu(pair * rng.normal(size=(k, k)), 1)
    s = adds[:, g] + adds[:, g].T + residual + residual.T
    return s + across * (g[:, None] != g), g


def test_stability_is_that_of_r():
    result = stability(S, GROUPS, margin=0.12)
    assert result.estimate == pytest.approx(-0.0908333333333333, rel=1e-12)
    assert result.df == pytest.approx(4.45930307316445, rel=1e-10)
    assert result.standard_error == pytest.approx(0.0115432459809959, rel=1e-10)
    assert result.p_value == pytest.approx(0.00648860690915623, rel=2e-4)
    low, high = result.confidence_interval()
    assert (high - low) / 2 == pytest.approx(0.0228302033270204, rel=2e-4)
    assert (low + high) / 2 == pytest.approx(result.estimate)
    assert (result.n, result.alternative) == (7, "non-inferiority")
    assert result.test == "non-inferiority at -0.12, teachers left out in turn"
    assert result.statistic == pytest.approx((0.12 - 0.0908333333333333) / 0.0115432459809959)


def test_every_group_and_every_pair_of_groups_count_alike():
    s = np.zeros((12, 12))
    g = np.repeat([0, 1, 2], [3, 4, 5])
    for (a, b), mean in {(0, 0): 9, (1, 1): 6, (2, 2): 3, (0, 1): 5, (0, 2): 2, (1, 2): 2}.items():
        s[np.ix_(g == a, g == b)] = s[np.ix_(g == b, g == a)] = mean
    s[0, 1] = s[1, 0] = 9.3  # one of the three pairs within group 0
    result = stability(s, g, margin=1.0)
    assert (result.across, result.within) == pytest.approx((3, 6 + 0.1 / 3))
    assert result.estimate == pytest.approx(-3 - 0.1 / 3)


def test_interval_and_p_are_two_sides_of_one():
    for sizes in ((3, 3), (3, 4, 6), (4, 4, 4, 4)):
        s, g = ladder(np.random.default_rng(7), sizes, by_group=0.5, across=-3)
        low, high = stability(s, g, margin=1.0).confidence_interval(0.9)
        assert stability(s, g, margin=-low).p_value == pytest.approx(0.05, abs=1e-9)
        assert stability(s, g, margin=-high).p_value == pytest.approx(0.95, abs=1e-9)
        wider = stability(s, g, margin=1.0).confidence_interval(0.99)
        assert wider[0] < low < high < wider[1]


@given(st.integers(0, 99))
def test_a_teacher_that_is_less_like_all_others_changes_nothing(seed):
    rng = np.random.default_rng(seed)
    s, g = ladder(rng, (3, 5, 4))
    adds = 10 * rng.normal(size=12)
    one, other = (stability(each, g, margin=0.5) for each in (s, s + adds + adds[:, None]))
    assert (one.estimate, one.standard_error, one.df) == pytest.approx(
        (other.estimate, other.standard_error, other.df), rel=1e-8
    )


def test_what_does_not_matter_to_stability():
    rng = np.random.default_rng(1)
    s, g = ladder(rng, (3, 4, 3), by_group=0.4)
    expected = stability(s, g, margin=0.5)
    order = rng.permutation(10)
    names = np.array(["small", "middle", "large"])[g]
    for found in (
        stability(s[np.ix_(order, order)], g[order], margin=0.5),
        stability(s, names, margin=0.5),
        stability(s + np.diag(rng.normal(size=10)), g, margin=0.5),
        stability(s + np.diag([np.nan] * 10), g, margin=0.5),
        stability(1000 * s, g, margin=500),
    ):
        assert found.p_value == pytest.approx(expected.p_value, rel=1e-9)
        assert found.statistic == pytest.approx(expected.statistic, rel=1e-9)


@pytest.mark.parametrize("by_group", [0.0, 1.0])
def test_claims_at_the_margin_are_false_at_most_at_the_level(by_group):
    rng, n = np.random.default_rng(11), 400
    found = [stability(*ladder(rng, (4, 4, 4), by_group=by_group, across=-0.5), margin=0.5) for _ in range(n)]
    p, estimates = (np.array([getattr(result, name) for result in found]) for name in ("p_value", "estimate"))
    bound = 0.05 + 3 * np.sqrt(0.05 * 0.95 / n)
    assert np.mean(p <= 0.05) < bound
    assert np.mean((p < 0.025) | (p > 0.975)) < bound
    assert abs(estimates.mean() + 0.5) < 4 * estimates.std() / np.sqrt(n)


def test_a_stable_relation_is_found_and_an_unstable_one_is_not():
    rng = np.random.default_rng(12)
    held = [stability(*ladder(rng, (5, 5, 5)), margin=0.5).p_value for _ in range(50)]
    broken = [stability(*ladder(rng, (5, 5, 5), across=-1), margin=0.5).p_value for _ in range(50)]
    assert np.median(held) < 0.001
    assert min(broken) > 0.9


def test_stability_refuses_in_sentences():
    s, g = ladder(np.random.default_rng(0), (3, 3))
    askew, gap = s.copy(), s.copy()
    askew[0, 4] += 0.1
    gap[1, 2] = gap[2, 1] = np.nan
    for call, sentence in (
        (lambda: stability(s, g, margin=0), "margin is 0"),
        (lambda: stability(s[:5], g, margin=1), "a row and a column for each teacher"),
        (lambda: stability(askew, g, margin=1), "those of teachers 0 and 4 are"),
        (lambda: stability(gap, g, margin=1), "similarity of teachers 1 and 2 is nan"),
        (lambda: stability(s, g[:5], margin=1), "each of the 6 teachers has one group"),
        (lambda: stability(s, [np.nan, *g[1:]], margin=1), "each of the 6 teachers has one group"),
        (lambda: stability(s, [8] * 6, margin=1), r"all teachers are in one group \(8\)"),
        (lambda: stability(s, [8, 8, 8, 8, 20, 20], margin=1), r"group 20 has 2 teacher\(s\): three or more"),
        (lambda: stability(np.ones((6, 6)), g, margin=1), "do not vary"),
    ):
        with pytest.raises(ValueError, match=sentence):
            call()
