"""Exchange of labels against enumeration and the sign-flip test; level where nothing differs, power where it does."""

import itertools

import numpy as np
import pytest

from kdstats.stats import shuffle_within, sign_flip, swap_labels


def mean_apart(values):
    return lambda first, second: values[first].mean() - values[second].mean()


@pytest.mark.parametrize("alternative", ["greater", "less", "two-sided"])
def test_of_means_it_is_the_sign_flip_test(alternative):
    values = np.random.default_rng(0).standard_normal(16) + np.repeat([0.6, 0], 8)
    found = swap_labels(mean_apart(values), range(8), range(8, 16), alternative=alternative)
    expected = sign_flip(values[:8], values[8:], alternative=alternative)
    assert found.p_value == pytest.approx(expected.p_value)
    assert found.estimate == pytest.approx(expected.estimate)
    assert found.test == "label exchange, exact"


def test_pairs_of_a_cluster_are_exchanged_together():
    values = np.random.default_rng(1).standard_normal(12) + np.repeat([0.8, 0], 6)
    teachers = [3, 3, 5, 5, 9, 9]
    found = swap_labels(mean_apart(values), range(6), range(6, 12), clusters=teachers, alternative="greater")
    by_teacher = (values[:6] - values[6:]).reshape(3, 2).mean(1)
    assert found.n == 3
    assert found.p_value == pytest.approx(sign_flip(by_teacher, alternative="greater").p_value)


def test_a_number_of_the_group_is_tested_by_enumeration():
    rng = np.random.default_rng(2)
    sets = [set(rng.choice(30, size=k)) for k in (9, 8, 9, 7, 12, 13, 12, 14)]

    def used(members):
        return len(set.union(*(sets[i] for i in members)))

    found = swap_labels(lambda a, b: used(b) - used(a), [0, 1, 2, 3], [4, 5, 6, 7], alternative="greater")
    every = []
    for swapped in itertools.product([False, True], repeat=4):
        a = [i + 4 if s else i for i, s in enumerate(swapped)]
        b = [i if s else i + 4 for i, s in enumerate(swapped)]
        every.append(used(b) - used(a))
    assert found.estimate == every[0]
    assert found.p_value == np.mean([t >= every[0] for t in every])


def test_several_numbers_are_exchanged_at_once():
    values = np.random.default_rng(3).standard_normal((2, 10))

    def both(first, second):
        return values[:, first].mean(1) - values[:, second].mean(1)

    found = swap_labels(both, range(5), range(5, 10))
    for i in range(2):
        alone = swap_labels(mean_apart(values[i]), range(5), range(5, 10))
        assert found.p_value[i] == alone.p_value
        assert found.estimate[i] == alone.estimate


def test_sampled_exchanges_are_near_the_exact_ones_and_never_zero():
    values = np.random.default_rng(4).standard_normal(24) + np.repeat([0.5, 0], 12)
    exact = swap_labels(mean_apart(values), range(12), range(12, 24))
    sampled = swap_labels(mean_apart(values), range(12), range(12, 24), permutations=2000, seed=5)
    assert sampled.test == "label exchange, 2,000 draws"
    assert abs(sampled.p_value - exact.p_value) < 4 * np.sqrt(exact.p_value / 2000)
    far = swap_labels(mean_apart(np.repeat([1.0, 0.0], 30)), range(30), range(30, 60), permutations=99)
    assert far.p_value == 0.01


def test_ties_count():
    found = swap_labels(mean_apart(np.zeros(8)), range(4), range(4, 8), alternative="greater")
    assert found.p_value == 1


@pytest.mark.parametrize(
    ("first", "second", "options", "said"),
    [
        ([0, 1], [2], {}, "one or more pairs"),
        ([], [], {}, "one or more pairs"),
        ([0, 1], [1, 2], {}, "a member is there twice"),
        ([0, 1], [2, 3], {"clusters": [1]}, "one for each of the 2 pairs"),
        ([0, 1], [2, 3], {"permutations": 0}, "one or more"),
        ([0, 1], [2, 3], {"alternative": "more"}, "alternative"),
    ],
)
def test_mistakes_are_named(first, second, options, said):
    with pytest.raises(ValueError, match=said):
        swap_labels(mean_apart(np.arange(4.0)), first, second, **options)


def test_a_statistic_must_be_finite():
    with pytest.raises(ValueError, match="must be finite"):
        swap_labels(lambda a, b: np.nan, [0], [1])


# Members of rows -------------------------------------------------------------------------------------------------


def within_groups(values):
    return lambda members: float(np.var(values[members], axis=0).sum())


def test_groups_that_resemble_are_found():
    rng = np.random.default_rng(0)
    values = (rng.standard_normal(8) + 0.2 * rng.standard_normal((3, 8))).ravel()  # three seeds of eight teachers
    members = np.arange(24).reshape(3, 8)
    found = shuffle_within(within_groups(values), members, alternative="less", permutations=499)
    assert found.p_value == 1 / 500
    assert found.estimate < 0
    assert shuffle_within(within_groups(values), members, alternative="greater", permutations=499).p_value == 1
    assert shuffle_within(within_groups(values), members, permutations=499).p_value == 2 / 500


def test_it_holds_its_level_where_groups_mean_nothing():
    rng = np.random.default_rng(1)
    p = [
        shuffle_within(within_groups(rng.standard_normal(10)), np.arange(10).reshape(2, 5), alternative="less",
                       permutations=79, seed=i).p_value
        for i in range(300)
    ]  # fmt: skip
    assert 5 <= np.sum(np.array(p) <= 0.05) <= 27  # 15 expected


def test_the_p_value_is_that_of_all_orders():
    values = np.array([1.0, 2.0, 4.0, 1.5, 2.1, 3.0])
    statistic = within_groups(values)
    members = np.arange(6).reshape(2, 3)
    every = [
        statistic(np.array([a, b]))
        for a in itertools.permutations(range(3))
        for b in itertools.permutations(range(3, 6))
    ]
    exact = np.mean([t <= statistic(members) + 1e-12 for t in every])
    found = shuffle_within(statistic, members, alternative="less", permutations=4000)
    assert abs(found.p_value - exact) < 4 * np.sqrt(exact * (1 - exact) / 4000) + 1e-3


def test_rows_and_groups_are_needed():
    with pytest.raises(ValueError, match="two rows or more"):
        shuffle_within(within_groups(np.arange(3.0)), [[0, 1, 2]])
    with pytest.raises(ValueError, match="permutations is 0"):
        shuffle_within(within_groups(np.arange(4.0)), [[0, 1], [2, 3]], permutations=0)
