"""The study's own parts: attainable sizes against brute force, what is simulated, what a cell is held against."""

import itertools
import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from kdstats.stats import friedman, jonckheere, mann_whitney, mcnemar, page_l, sign_flip, validity, wilcoxon
from kdstats.stats.validity import CELLS, Cell, Outcome, run_cell

BY_ID = {cell.id: cell for cell in CELLS}


def signs(n):
    return np.array(list(itertools.product((1, -1), repeat=n)))


def by_fractions(statistics, two_sided=False):
    """P(p ≤ 1/20) over equally likely values of a statistic, p its upper tail or twice the smaller one."""
    values = [Fraction(value) for value in statistics]
    count = 0
    for value in values:
        upper = Fraction(sum(other >= value for other in values), len(values))
        lower = Fraction(sum(other <= value for other in values), len(values))
        count += (2 * min(upper, lower) if two_sided else upper) <= Fraction(1, 20)
    return count / len(values)


ROWS = [
    [1, 2, 3, 4, 5, 6, 7],
    [1, 1, 1, 1, 1, 1, 1],
    [0, 0, 3, -3, 2, 2, 5],
    [0, 0, 0, 0, 0, 0, 0],
    [9, -1, 4, 4, 0, 2, 1],
]


# Attainable sizes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alternative", ["greater", "two-sided"])
@pytest.mark.parametrize("row", ROWS)
def test_the_size_over_flips_is_that_of_every_flip_by_hand_and_through_the_test(row, alternative):
    flipped = signs(7) * np.array(row)
    size = validity.flip_sizes([row], alternative)[0]
    assert size == by_fractions(map(int, flipped.sum(axis=1)), alternative == "two-sided")
    assert size == np.mean(sign_flip(flipped / 1000, alternative=alternative).p_value <= 0.05)


@pytest.mark.parametrize("zeros", ["pratt", "wilcox"])
@pytest.mark.parametrize("alternative", ["greater", "two-sided"])
@pytest.mark.parametrize("row", ROWS)
def test_the_size_over_signed_ranks_is_that_of_every_flip_through_the_test(row, alternative, zeros):
    p = wilcoxon(signs(7) * np.array(row) / 1000, alternative=alternative, zeros=zeros).p_value
    assert validity.rank_sizes([row], alternative, zeros)[0] == np.mean(p <= 0.05)


@pytest.mark.parametrize("values", [[1, 2, 3, 4, 5, 6, 7, 8], [1, 1, 2, 2, 2, 3, 9, 9], [4] * 8])
@pytest.mark.parametrize("alternative", ["greater", "two-sided"])
def test_the_size_over_choices_is_that_of_every_choice_through_the_test(values, alternative):
    values = np.array(values)
    chosen = [list(c) for c in itertools.combinations(range(8), 4)]
    x = values[chosen]
    y = np.array([np.delete(values, c) for c in chosen])
    p = mann_whitney(x, y, alternative=alternative).p_value
    assert validity.choice_sizes([values], 4, alternative)[0] == np.mean(p <= 0.05)


def test_three_against_three_reach_five_per_cent_exactly():
    assert validity.choice_sizes([[1, 2, 3, 4, 5, 6]], 3)[0] == 0.05


@pytest.mark.parametrize("values", [[1, 2, 3, 4, 5, 6], [1, 1, 2, 2, 3, 3], [1, 2, 2, 2, 2, 3]])
def test_the_size_over_ladders_is_that_of_every_assignment_through_the_test(values):
    assignments = set(itertools.permutations([0, 0, 1, 1, 2, 2]))
    p = [jonckheere(values, list(groups)).p_value for groups in assignments]
    assert validity.trend_sizes([values], (2, 2, 2))[0] == np.mean(np.array(p) <= 0.05)


@pytest.mark.parametrize("method", ["exact", "mid-p"])
@pytest.mark.parametrize("alternative", ["greater", "two-sided"])
@pytest.mark.parametrize("n", [0, 4, 5, 9, 24])
def test_the_size_over_discordant_examples_is_that_of_the_binomial(n, alternative, method):
    rejected = [
        mcnemar([[5, b], [n - b, 5]], alternative=alternative, method=method).p_value <= 0.05 for b in range(n + 1)
    ]
    expected = sum(math.comb(n, b) for b in range(n + 1) if rejected[b]) / 2**n
    assert validity.binomial_sizes(np.array([n]), alternative, method == "mid-p")[0] == expected


def test_the_size_over_tables_is_a_sum_of_hypergeometric_probabilities():
    # margins 3 of 6 twice: a is 0..3 with 1, 9, 9, 1 of 20; P(S = 6) = 1/400, P(S ≥ 5) = 19/400, P(S ≥ 4) > .05
    assert validity.table_sizes(np.array([[[3, 3, 6], [3, 3, 6]]]))[0] == 19 / 400


def test_page_and_friedman_without_ties():
    orders = np.array(list(itertools.permutations(range(3))), dtype=float)
    rows = np.array(list(itertools.product(orders, repeat=3)))
    assert validity.page_size(3, 3) == pytest.approx(np.mean([page_l(x).p_value <= 0.05 for x in rows]), abs=1e-15)
    assert validity.friedman_size(3, 3) == pytest.approx(np.mean([friedman(x).p_value <= 0.05 for x in rows]))
    # Friedman's χ² of 5 × 3 has P(χ² ≥ 6.4) = .039 (Siegel & Castellan 1988, table M)
    assert validity.friedman_size(5, 3) == pytest.approx(0.039, abs=5e-4)


def test_sizes_without_ties_are_multiples_of_two_to_the_minus_n():
    sample = validity.continuous(10)(np.random.default_rng(0), 3)
    assert validity.flips_of(sample) == 50 / 1024 and validity.flips_of(sample, "greater") == 51 / 1024
    assert validity.flip_sizes([2 ** np.arange(10)], "greater")[0] == 51 / 1024


# What is simulated -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("points", [0.0, 0.2, 0.4])
def test_seeds_spread_as_many_points_as_they_say(points):
    d = validity.counted(10, points)(np.random.default_rng(1), 20_000).d
    # the difference of two: binomial .8 · .2 / 10,000 and the seeds' own variance, twice
    assert d.std() == pytest.approx(math.sqrt(2 * (0.16 / 10_000 + (points / 100) ** 2)), rel=0.01)


def test_near_the_ceiling_there_are_ties_and_zeros():
    steps = validity.near_ceiling(10)(np.random.default_rng(2), 2000).steps
    assert 0.05 < np.mean(steps == 0) < 0.3
    assert np.mean([len(set(np.abs(row))) < 10 for row in steps]) > 0.99


@pytest.mark.parametrize(
    "draw", [validity.counted(6, 0.4), validity.near_ceiling(6), validity.taught(10, 2, pairs=True)]
)
def test_steps_are_the_differences_in_whole_numbers(draw):
    sample = draw(np.random.default_rng(3), 50)
    size = np.abs(sample.d).max() / np.abs(sample.steps).max()
    assert sample.d == pytest.approx(sample.steps * size, abs=1e-12)


def test_students_of_a_teacher_share_its_level_and_its_effect():
    d = validity.taught(6, 100)(np.random.default_rng(4), 500).d
    # an effect of .1 points on either side, and what is left of the students
    assert d.std() == pytest.approx(math.sqrt(0.002**2 + 2 * (0.003**2 + 0.16 / 10_000) / 100), rel=0.05)


def test_per_example_differences_have_the_spreads_they_say():
    x = validity.Crossed(40, 0.3, 0.5)(np.random.default_rng(5), 50)
    assert x.mean(axis=2).std(axis=1).mean() == pytest.approx(math.sqrt(0.09 + 1 / 1000), rel=0.05)
    assert x.mean(axis=1).std(axis=1).mean() == pytest.approx(math.sqrt(0.25 + 1 / 40), rel=0.02)
    binary = validity.Crossed(5, 0.2, 0.2, "binary")(np.random.default_rng(6), 200)
    assert set(np.unique(binary)) == {-1.0, 0.0, 1.0} and abs(binary.mean()) < 0.01


def test_the_first_contrasts_of_a_family_are_false_and_not_counted():
    family = validity.family(validity.Family(3, 10), lambda d: [[0.0, 1.0, 1.0]] * len(d), effects=1)
    assert not family(np.random.default_rng(0), 5).wrong.any()


def test_an_interval_misses_on_the_side_it_lies():
    found = validity._missed(([1.0, -3.0, -1.0, np.nan, 0.0], [2.0, -1.0, 1.0, np.nan, 1.0]))
    assert found.wrong.tolist() == [True, True, False, True, False]
    assert (found.below, found.above) == (1, 1)


# Cells -----------------------------------------------------------------------------------------------------------


def planted(rate, bound="continuous", measure="size", **more):
    """A cell that is wrong with this probability."""
    return Cell(
        f"planted {rate} {bound}", "none", 1, "", bound, lambda rng, m: Outcome(rng.random(m) < rate, **more), measure
    )


def test_names_are_unique_and_so_are_the_random_numbers():
    assert len(BY_ID) == len(CELLS)
    first, again = run_cell(planted(0.05)), run_cell(planted(0.05))
    assert first == again and first.rejections != run_cell(replace(planted(0.05), id="another")).rejections


@pytest.mark.parametrize(
    ("bound", "rate", "verdict"),
    [
        ("continuous", 0.05, "ok"),
        ("continuous", 0.07, "failed"),
        ("continuous", 0.03, "failed"),
        ("at most", 0.01, "ok"),
        ("at most", 0.08, "failed"),
        ("coverage", 0.06, "ok"),
        ("coverage", 0.09, "failed"),
        ("published", 0.5, "published"),
        ("negative control", 0.125, "fails as it must"),
        ("negative control", 0.05, "failed"),
    ],
)
def test_what_a_rate_is_held_against(bound, rate, verdict):
    row = run_cell(planted(rate, bound))
    assert row.verdict == verdict and row.reruns == (verdict == "failed")
    assert row.protocols == (100_000 if row.reruns else 10_000) and row.rate == row.rejections / row.protocols


def test_a_discrete_test_is_held_against_its_own_size():
    assert run_cell(planted(0.031, "exact", size=1 / 32)).verdict == "ok"
    failed = run_cell(planted(0.05, "exact", size=1 / 32))
    assert failed.verdict == "failed" and failed.expected == 1 / 32
    assert failed.high - failed.expected == pytest.approx(4 * math.sqrt(1 / 32 * 31 / 32 / 100_000))
    nothing = run_cell(planted(0.0, "exact", size=0.0))
    assert nothing.verdict == "ok" and nothing.high == pytest.approx(0, abs=1e-9)


def test_a_cell_that_failed_by_chance_is_rerun_once():
    rates = itertools.chain([0.2] * 4, itertools.repeat(0.05))  # of each 2,500 protocols

    def simulate(rng, m):
        return Outcome(rng.random(m) < next(rates))

    row = run_cell(Cell("by chance", "none", 1, "", "continuous", simulate))
    assert (row.verdict, row.reruns, row.protocols) == ("ok", 1, 100_000)


def test_fewer_protocols_widen_a_fixed_bound():
    assert run_cell(planted(0.05), 2500).high == pytest.approx(0.05 + 2 * 0.0065)
    assert run_cell(planted(0.05, "coverage"), 40_000).high == pytest.approx(0.07)


def test_both_negative_controls_are_there():
    found = {cell.id for cell in CELLS if cell.bound == "negative control"}
    assert found == {"pooled-examples-0.4", "pooled-students"}
    # 20 students of 5 teachers as units: variance 2 times what the test sees
    assert run_cell(BY_ID["pooled-students"]).rate == pytest.approx(0.125, abs=0.01)


def test_ten_teachers_of_two_have_more_power_than_five_of_four():
    few, many = (run_cell(BY_ID[f"power-t-{design}"]) for design in ("5x4", "10x2"))
    assert few.rate == pytest.approx(0.53, abs=0.02) and many.rate == pytest.approx(0.76, abs=0.02)
    assert few.rate == pytest.approx(few.expected, abs=0.02)
