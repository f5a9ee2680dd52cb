"""Ties that rounding hides, and values that one diverged run must not make ties.

Expected p-values are enumerated in rational arithmetic or counted by hand; values of R 4.2.2 have the call beside them.
"""

from fractions import Fraction
from itertools import combinations, permutations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdstats import stats as s
from kdstats.stats.paired import differences
from kdstats.stats.ties import TIE, merged, tie_groups

SIDES = ("two-sided", "greater", "less")
HUGE = 1e12

sizes = st.floats(1e-6, 1e3).map(lambda v: float(f"{v:.4g}"))
signed = st.builds(lambda v, sign: sign * v, sizes, st.sampled_from([-1.0, 1.0]))
samples = st.lists(signed, min_size=2, max_size=8)
sides = st.sampled_from(SIDES)


def extreme(flipped, observed, alternative: str) -> bool:
    return {
        "two-sided": abs(flipped) >= abs(observed),
        "greater": flipped >= observed,
        "less": flipped <= observed,
    }[alternative]


def share_of_flips(values, alternative: str) -> float:
    """Of all sign vectors, those whose sum is as extreme as the observed: rational numbers, no rounding."""
    exact = [Fraction(v) for v in values]
    sums = [sum(a * v for a, v in zip(signs, exact, strict=True)) for signs in product((1, -1), repeat=len(exact))]
    return float(Fraction(sum(extreme(found, sum(exact), alternative) for found in sums), len(sums)))


def wins(x, y) -> Fraction:
    return sum(Fraction((a > b) + (a >= b), 2) for a in x for b in y)


# One value far from the others ------------------------------------------------------------------------------------


@given(samples, sides)
def test_one_huge_difference_leaves_the_flips_of_the_others(values, alternative):
    for d in ([*values, HUGE], [*values, -HUGE]):
        assert s.sign_flip(d, alternative=alternative).p_value == share_of_flips(map(str, d), alternative)


def test_sign_flips_beside_a_huge_one_at_every_size():
    small = [-1, -0.9, -1.3, -1, -0.9]
    assert s.sign_flip([*small, -HUGE]).p_value == 2 / 2**6  # all of one sign: the smallest there is
    # a huge one that stays where it is: as extreme are the flips of the small ones whose sum is no less
    rng = np.random.default_rng(0)
    for n in (14, 21, 24):  # halves
        whole = rng.integers(-9, 12, n)
        found = s.sign_flip([*(0.1 * whole), HUGE], alternative="greater").p_value
        assert found == s.sign_flip(0.1 * whole, alternative="greater").p_value / 2
    whole = rng.integers(-9, 12, 45)  # drawn
    exact = s.sign_flip(0.1 * whole, alternative="greater").p_value / 2
    found = s.sign_flip([*(0.1 * whole), HUGE], alternative="greater")
    assert "draws" in found.test and found.p_value == pytest.approx(exact, abs=4 * (exact / 99_999) ** 0.5)
    assert s.sign_flip([*(0.1 * whole), HUGE]).p_value == pytest.approx(2 * exact, abs=6 * (exact / 99_999) ** 0.5)


def test_the_interval_of_flips_beside_a_huge_one():
    d = [*(0.1 * np.array([3, 5, -1, 4, 2, 7, 6, 1, 9, 8, -2, 3, 4, 5, 6, 2, 1, 8, 7, 3, 4])), HUGE]
    low, _ = s.sign_flip(d).confidence_interval(0.95)
    assert 0 < low < 0.4  # the Kth smallest subset mean has no huge one in it
    assert s.sign_flip(np.array(d) - low).p_value > 0.05 >= s.sign_flip(np.array(d) - low + 1e-3).p_value


@given(samples, sides)
def test_one_huge_difference_leaves_the_ranks_of_the_others(values, alternative):
    ranks = np.argsort(np.argsort(np.abs(values))) + 1.0
    for end in (-HUGE, HUGE):
        d = [*values, end]
        by_rank = tie_groups(np.abs(d)) + 1  # groups of others as without it
        assert by_rank[:-1].tolist() == (tie_groups(np.abs(values)) + 1).tolist()
        if len(set(np.abs(values))) == len(values):
            signed_ranks = [*(ranks * np.sign(values)), np.copysign(len(values) + 1, end)]
            result = s.wilcoxon(d, alternative=alternative)
            assert result.p_value == share_of_flips(signed_ranks, alternative)
            assert s.rank_biserial(d) == pytest.approx(sum(signed_ranks) / np.abs(signed_ranks).sum())
        assert s.paired_cles(d) == pytest.approx(np.mean(np.array(d) > 0))


@given(st.lists(signed, min_size=2, max_size=4), st.lists(signed, min_size=2, max_size=4))
def test_one_huge_score_leaves_the_order_of_two_samples(x, y):
    for first, second in (([*x, HUGE], y), (x, [*y, -HUGE]), ([*x, HUGE], [*y, 2 * HUGE])):
        u = wins(first, second)
        assert s.mann_whitney(first, second).statistic == u
        pairs = len(first) * len(second)
        assert s.cliffs_delta(first, second).estimate == pytest.approx(float(2 * u / pairs - 1))
        every = [wins(some, rest) for some, rest in splits([*first, *second], len(first))]
        expected = Fraction(sum(other >= u for other in every), len(every))
        assert s.mann_whitney(first, second, alternative="greater").p_value == pytest.approx(float(expected))


def splits(values, n):
    for chosen in combinations(range(len(values)), n):
        yield [values[i] for i in chosen], [v for i, v in enumerate(values) if i not in chosen]


def test_samples_with_diverged_values_keep_their_values():
    x, y = [1, 2, 3, 4, 5, 1e12, 1.1e12, 1.2e12, 1.3e12, 1.4e12], [6, 7, 8, 9, 10, 11, 12, 13, 14, 15]
    result = s.mann_whitney(x, y, alternative="greater")
    assert result.statistic == 50  # five above all, five below all
    # R: wilcox.test(c(1:5, 16:20), 6:15, alternative = "greater", exact = TRUE)
    assert result.p_value == pytest.approx(0.5147437701617269, rel=1e-12)
    assert s.cliffs_delta(x, y).estimate == 0
    low, high = s.mann_whitney([1, 2, 3, 4, 1e12], [1.5, 2.5, 3.5, 4.5, 5.5]).confidence_interval(0.8)
    assert -4.5 <= low < high < 10  # pairwise differences of the small ones
    d = [-1, -2, -3, -4, -5, -6, -7, -8, -9, -10, 1e12, 1.1e12, 1.2e12, 1.3e12, 1.4e12, 1.5e12]
    # R: wilcox.test(c(-(1:10), 11:16), alternative = "greater", exact = TRUE)
    assert s.wilcoxon(d, alternative="greater").p_value == pytest.approx(0.2640838623046875, rel=1e-12)
    e = [3.0, 4, 5, 2, 6, 1, 7, 8, 9, -1e12]
    assert s.rank_biserial(e) == pytest.approx((45 - 10) / 55) and s.paired_cles(e) == 0.9
    assert s.wilcoxon(e).confidence_interval(0.8) == s.wilcoxon([*e[:-1], -1e9]).confidence_interval(0.8)


def test_groups_and_blocks_with_a_diverged_value():
    trend = [[2.1, 2.3, 2.2], [3.1, 3.3, 3.2], [4.1, 4.3, 1e12]]
    assert s.jonckheere(trend).statistic == 27  # all pairs in order
    assert s.jonckheere(trend).p_value == pytest.approx(1 / 1680)  # 9! / 3!³ assignments
    blocks = [[2.1, 2.5, 2.9, 1e12], [2.0, 2.4, 2.8, 3.1], [2.2, 2.6, 3.0, 3.3]]
    assert s.page_l(blocks).statistic == 90  # 3 (1 + 4 + 9 + 16)
    assert s.page_l(blocks).p_value == pytest.approx(1 / 24**3)
    assert s.friedman(blocks).p_value == pytest.approx(24 / 24**3) and s.friedman(blocks).estimate == 1


def test_joint_flips_beside_a_huge_one():
    d = [-1, -0.9, -1.3, -1, -0.9, -HUGE]
    assert s.max_t([d]).p_value.tolist() == [2 / 2**6]
    assert s.max_t([d, d]).p_value.tolist() == [2 / 2**6] * 2  # one contrast, twice
    rows = [[0.3, 0.1, -0.2, 0.4, 0.6, 0.2, HUGE], [0.1, 0.5, 0.2, -0.1, 0.3, 0.4, 0.2]]
    exact = [[Fraction(str(v)) for v in row] for row in rows]
    total = [sum(v * v for v in row) for row in exact]
    flips = [
        [sum(a * v for a, v in zip(signs, row, strict=True)) for row in exact] for signs in product((1, -1), repeat=7)
    ]
    for j, p in enumerate(s.max_t(rows, alternatives="greater").p_value):
        seen = sum(exact[j])
        # r_i ≥ r_j by squares, with their signs: Σ² / Σd², no root
        as_large = [any(f * abs(f) / q >= seen * abs(seen) / total[j] for f, q in zip(flip, total, strict=True))
                    for flip in flips]  # fmt: skip
        assert p == sum(as_large) / 2**7
    drawn = np.concatenate([0.1 * np.random.default_rng(1).integers(-5, 9, 24), [HUGE]])
    one = s.max_t([drawn], alternatives="greater")
    assert "draws" in one.test
    assert one.p_value[0] == s.sign_flip(drawn, alternative="greater", method="sampled").p_value


def test_a_stratum_of_large_values_does_not_hide_how_others_vary():
    d, strata = np.array([1e12, 1e12, 1.0, 2.0]), [0, 0, 1, 1]
    result = s.infer(d, strata=strata, test="paired-t")
    assert result.sem == pytest.approx((0.5 / 2) ** 0.5 * 0.5)  # s² = (0 + .5) / 2; s √(1/2 + 1/2) / 2
    assert s.fieller(d, np.array([3.0, 3.1, 2.9, 3.2]), strata=strata).low > -np.inf
    matrix = d[:, None] + np.array([0.0, 0.0, 0.0])
    assert s.two_way(matrix, strata).ms_rep == pytest.approx(3 * 0.5 / 2)
    tables = np.array([[[1e12, 1e12], [1e12, 1e12]], [[1.0, 2.0], [3.0, 5.0]]])
    found = s.anova(tables).table.set_index("source")["mean_square"]
    # of 0, 0 and of 1.5, 4: 2 students (2 · 1.25²) / 2; of ± .5 and ± 1: (2 · .25 + 2 · 1) / 4
    assert found["teacher"] == pytest.approx(3.125, rel=1e-3) and found["seed"] == pytest.approx(0.625, rel=1e-3)


def test_labels_in_any_unit():
    heights = np.array([1.0, 1.1, 5.0, 5.2, 9.0, 9.1])

    def spread(unit):
        return lambda members: unit * float(np.ptp(heights[members], axis=0).sum())

    found = [s.shuffle_within(spread(unit), [[0, 2, 4], [1, 3, 5]], alternative="less", permutations=499).p_value
             for unit in (1.0, 2.0**-60, 2.0**60)]  # fmt: skip
    assert found[0] == found[1] == found[2]


# Ties that rounding hides -----------------------------------------------------------------------------------------


def test_three_equal_sizes_stay_equal():
    d = [0.9 - 0.8, 0.8 - 0.7, -(0.7 - 0.6)]
    assert s.sign_flip(d).p_value == 1  # |S| is .1 or .3, and .1 is seen
    assert s.wilcoxon(d).p_value == 1 and s.rank_biserial(d) == pytest.approx(1 / 3)


@given(st.lists(st.integers(-6, 6), min_size=3, max_size=8).filter(any), st.sampled_from([0.0, 1e2, 1e4, 1e6]), sides)
def test_ties_survive_offsets(values, offset, alternative):
    y = offset + 0.01 * np.arange(len(values))
    x = y + 0.1 * np.array(values)
    for test in (s.sign_flip, s.wilcoxon):
        assert test(x, y, alternative=alternative).p_value == test(values, alternative=alternative).p_value
        assert test(x, y).note == ""
    assert s.rank_biserial(x, y) == s.rank_biserial(values) and s.paired_cles(x, y) == s.paired_cles(values)


@given(st.lists(st.integers(-6, 6), min_size=3, max_size=7).filter(any), sides)
def test_ties_survive_beside_a_diverged_pair(values, alternative):
    y = 1e6 + np.zeros(len(values) + 1)
    x = y + 0.1 * np.array([*values, 0])
    x[-1], y[-1] = 3e12, 2e12
    for test in (s.sign_flip, s.wilcoxon):
        assert test(x, y, alternative=alternative).p_value == test([*values, 1e13], alternative=alternative).p_value


def test_thirds_are_ties_under_an_offset_too():
    """No decimals: 1e6 + k/3 - 1e6 differs from k/3 by up to 1e-10, and in the last digits from pair to pair."""
    y = np.array([1e6, 1.1e6, 2e5, 1e6, 3e5, 1.2e6])
    x = y + np.array([1, 1, -1, 2, -2, 4]) / 3
    assert len(set(np.abs(x - y)[:3])) > 1
    assert s.wilcoxon(x, y).p_value == s.wilcoxon([1, 1, -1, 2, -2, 4]).p_value


def test_what_cannot_be_told_is_said():
    y = 1e10 + np.arange(6) / 7
    x = y + np.array([1, 1, -1, 2, -2, 4]) / 3e3
    result = s.wilcoxon(x, y)
    assert "rounding" in result.note and result.to_frame()["note"].str.contains("offset").all()
    residue = s.wilcoxon([0.1, 0.2, -0.3, 0.1 + 0.2 - 0.3, 0.5, 0.6])
    assert "5.6e-17" in residue.note and "both scores" in residue.note
    with_scores = s.wilcoxon([0.1, 0.2, 0.0, 0.1 + 0.2, 0.5, 0.6], [0, 0, 0.3, 0.3, 0, 0])
    assert with_scores.note == "" and with_scores.p_value == s.wilcoxon([1, 2, -3, 0, 5, 6]).p_value


def test_a_mean_of_students_that_cancel_is_no_sign():
    values = [0.1, 0.2, -0.3, 0.5, 0.7, 0.6]
    assert s.to_units(values, [0, 0, 0, 1, 1, 1]).values[0] == 0


def test_chains_do_not_grow():
    """Neighbours are within the tolerance, the ends a hundred tolerances apart."""
    chain = 1 + 0.6 * TIE * np.arange(200)
    groups = tie_groups(chain)
    assert groups.max() > 60
    for group in range(groups.max() + 1):
        assert np.ptp(chain[groups == group]) <= 2.001 * TIE
    assert s.sign_flip(chain[:10] - 1 + TIE).p_value == 2 / 2**10


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=9), st.integers(-500, 500))
def test_groups_do_not_depend_on_the_unit(values, power):
    kept = [v for v in values if v == 0 or abs(v) > 1e-100]
    if len(kept) > 1:
        groups = tie_groups(kept)
        assert tie_groups(np.ldexp(kept, power)).tolist() == groups.tolist()
        assert (np.diff(groups[np.argsort(kept, kind="stable")]) >= 0).all()  # groups are intervals


@given(
    st.lists(st.tuples(st.integers(0, 30), st.sampled_from([0.0, 1.0, 2.5, 9.0])), min_size=1, max_size=12),
    st.integers(0, 30),
)
def test_a_less_precise_value_never_regroups_the_others(pairs, value):
    values, tolerance = np.array(pairs, float).T
    alone = tie_groups(values, tolerance)
    beside = tie_groups([*values, value], [*tolerance, 9.5])[:-1]
    assert (alone[:, None] == alone).tolist() == (beside[:, None] == beside).tolist()
    stands = merged(values, tolerance)
    assert (np.abs(stands - values) <= tolerance).all()


@pytest.mark.parametrize("power", [-300, -40, 40, 300])
def test_tests_do_not_depend_on_the_unit(power):
    d = np.array([0.3, -0.1, 0.4, 0.1 + 0.2, -0.2, 0.7, 0.1])
    for test in (s.sign_flip, s.wilcoxon, s.paired_t):
        for side in SIDES:
            assert test(np.ldexp(d, power), alternative=side).p_value == test(d, alternative=side).p_value


def test_orders_of_one_block_are_all_alike():
    """A block that one rounding splits: .1 + .2 and .3 are one value, whatever diverged beside them."""
    for order in permutations([0.1 + 0.2, 0.3, 1e12]):
        ranks = s.friedman([order, [1.0, 2.0, 3.0]])
        exact = s.friedman([[3 if v < 1 else 9 for v in order], [1, 2, 3]])
        assert (ranks.statistic, ranks.p_value) == (exact.statistic, exact.p_value)


def test_differences_that_agree_but_for_rounding_are_zero():
    assert differences([0.1 + 0.2, 3e12], [0.3, 1.0]).tolist() == [0.0, 3e12 - 1.0]
