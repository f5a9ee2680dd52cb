"""W and K by hand, by identity, and by the derivatives that their linearisation claims to be."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdstats.metrics import UndefinedMetric, balanced, inheritance, of_students, repeated_errors, swap

Y = np.zeros(6, int)
TEACHERS = np.array([[0, 0, 1, 0, 1, 2], [0, 1, 0, 2, 1, 0]])  # split: 1 and 3 (first right), 2 and 5 (second right)
PAIR = [[0, 1]]


def made(first, second, *, teachers=TEACHERS, labels=Y, pairs=PAIR):
    """W and K of students of the first and of the second teacher."""
    students = np.array([*first, *second])
    by = [0] * len(first) + [1] * len(second)
    found = inheritance(teachers, students, labels, by, pairs)
    return found.errors.estimate, found.knowledge.estimate


def test_students_that_are_their_teachers_inherit_all():
    assert made([TEACHERS[0]], [TEACHERS[1]]) == (1, 1)


def test_students_that_are_one_network_inherit_nothing():
    assert made([[0, 0, 1, 3, 1, 0]], [[0, 0, 1, 3, 1, 0]]) == (0, 0)


def test_by_hand():
    """1: right-taught y, wrong-taught ℓ. 2: y, neither. 3: ℓ, ℓ. 5: y, y. So g is (1, 0 | 0, 0) and (1, 0 | 1, 0)."""
    assert made([[0, 0, 3, 2, 1, 0]], [[0, 1, 0, 2, 1, 0]]) == (0.25, 0.5)


def test_sides_of_unequal_size_are_shares():
    """The first teacher has two students, of which one errs on example 1: g there is 1 − ½ and K's ½ − 0."""
    assert made([[0, 0, 3, 2, 1, 0], [0, 1, 3, 2, 1, 0]], [[0, 1, 0, 2, 1, 0]]) == (0.125, 0.375)


G = np.array([[1, 0, 0.5, 1, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 1, 0]])
HALVES = np.zeros((2, 2, 8), bool)
HALVES[0, 0, :3] = HALVES[0, 1, 3] = True  # the first pair: three against one
HALVES[1, 0, 4:6] = HALVES[1, 1, 6:] = True  # the second: two against two
CLASSES = np.array([0, 0, 1, 0, 0, 1, 0, 1])


def test_pairs_weigh_by_the_harmonic_mean_of_their_halves():
    """W₁ = (½ + 1) / 2 with h = 3 · 1 / 4, W₂ = (0 + ½) / 2 with h = 2 · 2 / 4: (.75 · .75 + 1 · .25) / 1.75."""
    found = balanced(G, HALVES)
    assert found.by_pair.tolist() == [0.75, 0.25] and found.weights.tolist() == [0.75, 1.0]
    assert found.estimate == pytest.approx(0.8125 / 1.75, abs=1e-15)
    assert found.values.mean() == pytest.approx(found.estimate, abs=1e-15)


def test_within_classes_only_classes_with_both_halves_count():
    """Class 0: (½ + 1) / 2 with h ⅔, (0 + 1) / 2 with h ½; class 1: none, and 0 with h ½."""
    found = balanced(G, HALVES, CLASSES)
    assert found.estimate == pytest.approx((2 / 3 * 0.75 + 0.5 * 0.5) / (5 / 3), abs=1e-15)
    assert found.by_pair.tolist() == pytest.approx([0.75, 0.25], abs=1e-15)
    assert found.values.mean() == pytest.approx(found.estimate, abs=1e-15)


def test_a_pair_with_an_empty_half_has_no_weight():
    halves = HALVES.copy()
    halves[0, 1] = False
    found = balanced(G, halves)
    assert found.estimate == 0.25 and found.weights[0] == 0 and np.isnan(found.by_pair[0])
    with pytest.raises(UndefinedMetric, match="how good the teachers are"):
        balanced(G[:1], halves[:1])


def test_a_better_teacher_alone_is_no_inheritance():
    """Students follow no answer, but those of the better teacher are better: pooled W would be far above 0."""
    rng = np.random.default_rng(0)
    n, right = 40_000, (0.9, 0.7)
    y = np.zeros(n, int)

    def answers(accuracy):
        return np.where(rng.random(n) < accuracy, 0, rng.integers(1, 5, n))

    teachers = np.array([answers(a) for a in right])
    found = swap(teachers, [answers(a) for a in right], y, [0, 1], PAIR)
    pooled = found.errors[found.split].mean()
    assert pooled > 0.02 and abs(balanced(found.errors, found.halves).estimate) < 0.01


@st.composite
def worlds(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, classes, q = draw(st.integers(30, 60)), draw(st.integers(2, 4)), draw(st.integers(1, 3))
    y = rng.integers(0, classes, n)
    teachers = np.where(rng.random((2 * q, n)) < 0.6, y, rng.integers(0, classes, (2 * q, n)))
    by = np.concatenate([np.arange(2 * q), rng.integers(0, 2 * q, draw(st.integers(0, 4)))])
    students = np.where(rng.random((len(by), n)) < 0.4, teachers[by], rng.integers(0, classes, (len(by), n)))
    return teachers, students, y, by, np.arange(2 * q).reshape(q, 2)


@settings(max_examples=60)
@given(worlds())
def test_what_is_inherited_differs_by_third_answers_alone(world):
    """W − K = u_r − u_w on every split example, so also of the balanced means; with two classes W = K."""
    found = swap(*world)
    np.testing.assert_allclose(
        found.errors - found.knowledge, np.where(found.split, found.right_third - found.wrong_third, 0), atol=1e-12
    )
    if world[2].max() == 1:
        np.testing.assert_allclose(found.errors, found.knowledge, atol=1e-12)


@settings(max_examples=60)
@given(worlds(), st.randoms(use_true_random=False))
def test_names_and_orders_do_not_matter(world, random):
    """Classes renamed, examples, students and pairs shuffled, teachers of a pair swapped: the same W and K."""
    teachers, students, y, by, pairs = world
    before = swap(*world)
    if not before.n_usable:
        return
    names = list(range(4))
    random.shuffle(names)
    examples, rows = list(range(len(y))), list(range(len(by)))
    random.shuffle(examples), random.shuffle(rows)
    name = np.array(names)
    after = swap(
        name[teachers][:, examples], name[students][rows][:, examples], name[y][examples], by[rows], pairs[:, ::-1]
    )
    for g, h in ((before.errors, after.errors), (before.knowledge, after.knowledge)):
        assert balanced(g, before.halves).estimate == pytest.approx(balanced(h, after.halves).estimate, abs=1e-12)
    by_class = balanced(before.errors, before.halves, y) if _within(before) else None
    if by_class:
        again = balanced(after.errors, after.halves, name[y][examples])
        assert again.estimate == pytest.approx(by_class.estimate, abs=1e-12)


def _within(found):
    counts = [[np.bincount(found.labels[h], minlength=4) for h in pair] for pair in found.halves]
    return any((a * b).any() for a, b in counts)


@settings(max_examples=60)
@given(worlds(), st.booleans(), st.booleans())
def test_students_add_up_to_the_pairs(world, knowledge, within):
    """The mean over teachers of their students' means is W (K), and so is that of every example's values."""
    teachers, students, y, by, pairs = world
    found = swap(*world)
    if not found.n_usable or (within and not _within(found)):
        return
    classes = y if within else None
    of_pairs = balanced(found.knowledge if knowledge else found.errors, found.halves, classes)
    rows, owners = of_students(teachers, students, y, by, pairs, knowledge=knowledge, classes=classes)
    means = np.array([rows[owners == t].mean(axis=0) for t in np.unique(owners)])
    assert means.mean() == pytest.approx(of_pairs.estimate, abs=1e-12)
    np.testing.assert_allclose(means.mean(axis=0), of_pairs.values.mean(axis=0), atol=1e-10)


def test_values_are_derivatives_by_the_weight_of_an_example():
    """One pair, 4,000 examples: one example twice moves W by its linearised value over N, up to 1 / N²."""
    rng = np.random.default_rng(1)
    n = 4000
    y = rng.integers(0, 3, n)
    teachers = np.where(rng.random((2, n)) < 0.7, y, rng.integers(0, 3, (2, n)))
    students = np.where(rng.random((4, n)) < 0.5, teachers[[0, 0, 1, 1]], rng.integers(0, 3, (4, n)))
    of = swap(teachers, students, y, [0, 0, 1, 1], PAIR)
    found = balanced(of.errors, of.halves)
    for i in np.flatnonzero(of.split[0])[:5]:
        twice = [*range(n), i]
        more = swap(teachers[:, twice], students[:, twice], y[twice], [0, 0, 1, 1], PAIR)
        moved = balanced(more.errors, more.halves).estimate - found.estimate
        assert moved == pytest.approx((found.values[0, i] - found.estimate) / n, rel=0.01, abs=1e-7)


def test_starts_are_told_apart():
    """Students that keep what they began with and learn nothing show no W, from either start."""
    found = inheritance(
        TEACHERS, [TEACHERS[0], TEACHERS[1], TEACHERS[1], TEACHERS[0]], Y, [0, 0, 1, 1], PAIR, started_from=[0, 1, 1, 0]
    )
    assert found.errors.estimate == 0 and found.halves == (0, 0, 0, 0)
    # labels that merely destroy the resemblance from the start show in one half alone: those that began as the wrong
    # teacher keep its answers when it teaches them, and are nobody when the right one does
    nobody = [3] * 6
    found = inheritance(
        TEACHERS, [TEACHERS[0], nobody, TEACHERS[1], nobody], Y, [0, 0, 1, 1], PAIR, started_from=[0, 1, 1, 0]
    )
    assert found.halves == (1, 0, 0, 1)  # W from the wrong's, the right's; K from the wrong's, the right's


def test_repeated_errors_count_whole_errors():
    errors, own, other = repeated_errors(TEACHERS, [TEACHERS[0], TEACHERS[1]], Y, [0, 1], PAIR)
    # three errors each; the other's student repeats that on example 4, which both teachers make
    assert (errors.mean(), own.mean(), other.mean()) == (3, 3, 1)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"pairs": [[0, 0]]}, "pairs share a teacher"),
        ({"pairs": [[0, 2]]}, "pairs names teacher 2; there are 2"),
        ({"pairs": [[0, 1, 1]]}, "two teachers a row"),
        ({"taught_by": [0, 0]}, "teacher 1 taught no student"),
        ({"taught_by": [0]}, "1 teachers for 2 students"),
        ({"labels": Y[:5]}, "all need the same examples"),
        ({"students": np.zeros((2, 6))}, "students has shape (2, 6) and type float64: whole numbers (M, N)"),
    ],
)
def test_what_does_not_fit_is_named(change, sentence):
    arguments = {"teachers": TEACHERS, "students": TEACHERS, "labels": Y, "taught_by": [0, 1], "pairs": PAIR} | change
    with pytest.raises(ValueError, match=sentence.replace("(", r"\(").replace(")", r"\)")):
        swap(**arguments)


def test_no_split_example_is_no_zero():
    with pytest.raises(UndefinedMetric, match="alone is right"):
        made([Y], [Y], teachers=np.zeros((2, 6), int))


def test_replaced_fields_are_seen():
    """Third answers follow from the other two shares."""
    of = swap(TEACHERS, [[0, 0, 3, 2, 1, 0], [0, 1, 0, 2, 1, 0]], Y, [0, 1], PAIR)
    assert replace(of, wrong_other=of.wrong_other * 0).wrong_third.sum() > of.wrong_third.sum()
