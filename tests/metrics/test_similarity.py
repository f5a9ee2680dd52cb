"""Similarities worked by hand, against scipy and scikit-learn, their ranges and identities."""

from fractions import Fraction as F
from math import log, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.distance import jensenshannon
from scipy.special import softmax
from scipy.stats import kendalltau
from sklearn.metrics import cohen_kappa_score

from kdstats.metrics import (
    UndefinedMetric,
    activation_distance,
    agreement,
    capa,
    copy_probability,
    error_consistency,
    fidelity_kl,
    js_divergence,
    negative_flip_rate,
    rank_disagreement,
)

# Two examples of two classes: softmax gives (¾, ¼), (½, ½) and (½, ½), (¼, ¾).
TEACHER = np.array([[log(3), 0], [0, 0]])
STUDENT = np.array([[0, 0], [0, log(3)]])
RIGHT, WRONG = [1.0, 0.0], [0.0, 1.0]  # under label 0


def answers(*counts):
    """Logits of teacher and student, label 0, from numbers of (both right, teacher only, student only, neither)."""
    pairs = [(RIGHT, RIGHT), (RIGHT, WRONG), (WRONG, RIGHT), (WRONG, WRONG)]
    rows = [pair for pair, count in zip(pairs, counts, strict=True) for _ in range(count)]
    teacher, student = np.array(rows).transpose(1, 0, 2)
    return teacher, student, np.zeros(len(rows), int)


@st.composite
def two_networks(draw, values=None):
    values = st.floats(-40, 40, width=32) if values is None else values
    shape = draw(st.tuples(st.integers(1, 6), st.integers(2, 6)))
    return [draw(arrays(np.float32, shape, elements=values)) for _ in range(2)]


# Distances of the outputs ----------------------------------------------------------------------------------------


def test_agreement_by_hand():
    # classes 0, 0 (tie) against 0 (tie), 1
    assert agreement(TEACHER, STUDENT, per_example=True).tolist() == [1, 0]


def test_activation_distance_by_hand():
    # (¼, −¼) in both examples
    assert activation_distance(TEACHER, STUDENT, per_example=True) == pytest.approx([sqrt(1 / 8)] * 2, abs=1e-15)


def test_js_divergence_by_hand():
    # both examples mix to (5/8, 3/8) in some order
    expected = (3 / 4 * log(6 / 5) + 1 / 4 * log(2 / 3) + 1 / 2 * log(4 / 5) + 1 / 2 * log(4 / 3)) / 2
    assert js_divergence(TEACHER, STUDENT, per_example=True) == pytest.approx([expected] * 2, abs=1e-15)


def test_fidelity_kl_by_hand_has_the_teacher_first():
    first = 3 / 4 * log(3 / 2) + 1 / 4 * log(1 / 2)
    second = 1 / 2 * log(2) + 1 / 2 * log(2 / 3)
    assert fidelity_kl(TEACHER, STUDENT, per_example=True) == pytest.approx([first, second], abs=1e-15)
    assert fidelity_kl(STUDENT, TEACHER, per_example=True) == pytest.approx([second, first], abs=1e-15)


@given(two_networks())
def test_js_divergence_is_the_square_of_scipys_distance(logits):
    p, q = (softmax(z.astype(float), axis=1) for z in logits)
    with np.errstate(invalid="ignore"):
        expected = np.nan_to_num(jensenshannon(p, q, axis=1) ** 2)  # scipy's root of a 0 rounded below 0 is nan
    np.testing.assert_allclose(js_divergence(*logits, per_example=True), expected, atol=1e-12, rtol=1e-9)


@given(two_networks())
def test_ranges_symmetry_and_self(logits):
    teacher, student = logits
    for metric, largest in ((agreement, 1), (activation_distance, sqrt(2)), (js_divergence, log(2)),
                            (rank_disagreement, 1)):  # fmt: skip
        each = metric(teacher, student, per_example=True)
        assert (each >= 0).all() and (each <= largest + 1e-12).all()
        np.testing.assert_allclose(metric(student, teacher, per_example=True), each, rtol=1e-12, atol=1e-15)
        assert metric(teacher, teacher) == pytest.approx(1 if metric is agreement else 0, abs=1e-12)
    assert (fidelity_kl(teacher, student, per_example=True) >= 0).all()
    assert fidelity_kl(teacher, teacher) == pytest.approx(0, abs=1e-12)


@given(two_networks())
def test_pinsker_and_the_bound_of_js_by_kl(logits):
    # ‖P − Q‖₂ ≤ ‖P − Q‖₁ ≤ √(2 KL); JS ≤ ¼ (KL(P‖Q) + KL(Q‖P)) (Lin 1991, theorem 1)
    teacher, student = logits
    forth, back = fidelity_kl(teacher, student, per_example=True), fidelity_kl(student, teacher, per_example=True)
    assert (activation_distance(teacher, student, per_example=True) <= np.sqrt(2 * forth) + 1e-7).all()
    assert (js_divergence(teacher, student, per_example=True) <= (forth + back) / 4 + 1e-12).all()


# Ranks -----------------------------------------------------------------------------------------------------------


def test_rank_disagreement_by_hand():
    # one of six pairs discordant: τ = 4/6
    assert rank_disagreement([[4, 3, 2, 1]], [[4, 3, 1, 2]]) == pytest.approx(1 / 6, abs=1e-15)
    assert rank_disagreement([[4, 3, 2, 1]], [[1, 2, 3, 4]]) == 1
    # the teacher ties one of six pairs, the rest is concordant: τ_b = 5 / √(5 · 6)
    assert rank_disagreement([[3, 2, 2, 1]], [[4, 3, 2, 1]]) == pytest.approx((1 - 5 / sqrt(30)) / 2, abs=1e-15)


def test_a_network_without_an_order_counts_as_no_association():
    flat, ordered = [[1.0, 1.0, 1.0]], [[3.0, 2.0, 1.0]]
    assert rank_disagreement(flat, ordered) == rank_disagreement(ordered, flat) == 0.5
    assert rank_disagreement(flat, [[7.0, 7.0, 7.0]]) == 0


@given(two_networks(values=st.integers(0, 4).map(float)))
def test_kendall_is_scipys_tau_b_with_ties(logits):
    for teacher, student, got in zip(*logits, rank_disagreement(*logits, per_example=True), strict=True):
        if len(set(teacher)) > 1 and len(set(student)) > 1:
            assert got == pytest.approx((1 - kendalltau(teacher, student).statistic) / 2, abs=1e-12)


def test_kendall_of_a_hundred_classes_is_scipys():
    teacher, student = np.random.default_rng(3).normal(size=(2, 700, 100)).astype(np.float16)  # with ties, two blocks
    got = rank_disagreement(teacher, student, per_example=True)
    for i in (0, 654, 655, 656, 699):  # a block holds 655 examples
        assert got[i] == pytest.approx((1 - kendalltau(teacher[i], student[i]).statistic) / 2, abs=1e-12)


def test_kendall_depends_on_the_order_alone():
    teacher, student = np.random.default_rng(4).normal(size=(2, 50, 7))
    assert rank_disagreement(np.exp(teacher), student**3) == rank_disagreement(teacher, student)
    assert rank_disagreement(teacher, -student) == pytest.approx(1 - rank_disagreement(teacher, student), abs=1e-15)


def test_positions_by_hand():
    # orders (0, 1, 2, 3) and (0, 1, 3, 2): ranks 3 and 4 differ
    assert rank_disagreement([[4, 3, 2, 1]], [[4, 3, 1, 2]], method="positions") == 0.5
    # a tie is broken by class index: (0, 1, 2) and (1, 0, 2)
    assert rank_disagreement([[1, 1, 0]], [[1, 2, 0]], method="positions") == pytest.approx(2 / 3)
    assert rank_disagreement([[1, 1, 1]], [[1, 1, 1]], method="positions") == 0


def test_positions_of_many_tied_classes_keep_the_classes_order():
    teacher, student = np.random.default_rng(8).integers(0, 3, (2, 20, 100)).astype(np.float32)
    orders = [[sorted(range(100), key=lambda k, z=z: (-z[k], k)) for z in network] for network in (teacher, student)]
    expected = [sum(a != b for a, b in zip(*pair, strict=True)) / 100 for pair in zip(*orders, strict=True)]
    assert rank_disagreement(teacher, student, per_example=True, method="positions") == pytest.approx(expected)


def test_unknown_rank_method_is_refused():
    with pytest.raises(ValueError, match='method is \'spearman\'; it is "kendall" or "positions"'):
        rank_disagreement(TEACHER, STUDENT, method="spearman")


# Errors ----------------------------------------------------------------------------------------------------------


def test_error_consistency_and_copying_by_hand():
    # a₁ = .8, a₂ = .5: c_exp = .4 + .1; c_obs = .7; κ = .2 / .5; corrected 10 · .4 / 9.4
    trials = answers(5, 3, 0, 2)
    assert error_consistency(*trials) == pytest.approx(0.4, abs=1e-15)
    assert error_consistency(*trials, corrected=True) == pytest.approx(float(F(20, 47)), abs=1e-15)
    # κ (1 − .5) / (1 − .64 − .04); also 5/8 right where the teacher is right, less 0/2 where it is wrong
    assert copy_probability(*trials) == pytest.approx(0.625, abs=1e-15)
    assert copy_probability(*trials, corrected=True) == pytest.approx(0.625 * float(F(20, 47)) / 0.4, abs=1e-15)


def test_the_teacher_is_the_one_who_is_copied():
    # copied with probability .6, else right half the time: .8 of 80, .2 of 20
    teacher, student, labels = answers(64, 16, 4, 16)
    assert copy_probability(teacher, student, labels) == pytest.approx(0.6, abs=1e-15)
    # backwards the slope is cov / var = .096 / (.68 · .32)
    assert copy_probability(student, teacher, labels) == pytest.approx(0.096 / 0.2176, abs=1e-12)


@given(st.tuples(*[st.integers(1, 30)] * 4))
def test_error_consistency_is_cohens_kappa_of_being_right(counts):
    teacher, student, labels = answers(*counts)
    kappa = cohen_kappa_score(teacher[:, 0] > teacher[:, 1], student[:, 0] > student[:, 1])
    assert error_consistency(teacher, student, labels) == pytest.approx(kappa, abs=1e-12)
    assert error_consistency(student, teacher, labels) == error_consistency(teacher, student, labels)
    assert error_consistency(teacher, teacher, labels) == copy_probability(teacher, teacher, labels) == 1


@given(st.integers(1, 9), st.integers(1, 9))
def test_independent_errors_are_exactly_zero(a, b):
    trials = answers(a * b, a * (10 - b), (10 - a) * b, (10 - a) * (10 - b))
    assert error_consistency(*trials) == copy_probability(*trials) == error_consistency(*trials, corrected=True) == 0
    assert negative_flip_rate(*trials, relative=True) == pytest.approx(1, abs=1e-12)


def test_undefined_is_told_from_a_number():
    with pytest.raises(UndefinedMetric, match="both right on all 5 examples"):
        error_consistency(*answers(5, 0, 0, 0))
    with pytest.raises(UndefinedMetric, match="both wrong on all 5 examples"):
        error_consistency(*answers(0, 0, 0, 5))
    assert error_consistency(*answers(5, 2, 0, 0)) == 0  # one of them perfect: as often alike as by chance
    with pytest.raises(UndefinedMetric, match="the teacher is right on all 7 examples: copying"):
        copy_probability(*answers(5, 2, 0, 0))
    with pytest.raises(UndefinedMetric, match="the teacher is wrong on all 7 examples: copying"):
        copy_probability(*answers(0, 0, 5, 2))
    assert error_consistency(*answers(0, 1, 1, 0)) == -1
    for trials in (answers(0, 1, 0, 0), answers(0, 1, 1, 0)):
        with pytest.raises(UndefinedMetric, match="more examples are needed"):
            error_consistency(*trials, corrected=True)
    with pytest.raises(UndefinedMetric, match="the student is wrong on none of the 5"):
        negative_flip_rate(*answers(3, 0, 2, 0), relative=True)
    with pytest.raises(UndefinedMetric, match="the teacher is right on none of the 5"):
        negative_flip_rate(*answers(0, 0, 2, 3), relative=True)
    with pytest.raises(ValueError, match="relative negative_flip_rate has no per-example values"):
        negative_flip_rate(*answers(1, 1, 1, 1), relative=True, per_example=True)


def test_negative_flips_by_hand():
    trials = answers(4, 3, 2, 1)
    assert negative_flip_rate(*trials) == pytest.approx(0.3)
    assert negative_flip_rate(*trials, per_example=True).tolist() == [0] * 4 + [1] * 3 + [0] * 3
    assert negative_flip_rate(*trials, relative=True) == pytest.approx(0.3 / (0.7 * 0.4))


# CAPA ------------------------------------------------------------------------------------------------------------


def test_capa_by_hand():
    # (½, ¼, ¼) and (¼, ½, ¼) in turn, label 0: o = 5/16, p̄ = 3/8 each, e = 9/64 + 25/64 · ½ = 43/128
    a, b = [log(2), 0, 0], [0, log(2), 0]
    assert capa([a, b], [b, a], [0, 0]) == pytest.approx(-3 / 85, abs=1e-14)


@given(st.tuples(*[st.integers(1, 30)] * 4))
def test_capa_of_certain_networks_with_two_classes_is_error_consistency(counts):
    teacher, student, labels = answers(*counts)
    assert capa(teacher * 1e4, student * 1e4, labels) == pytest.approx(
        error_consistency(teacher, student, labels), abs=1e-12
    )


def test_capa_of_evenly_spread_independent_errors_is_zero():
    # all 4 × 4 pairs of certain answers, weighted .7, .1, .1, .1 on either side
    times = np.array([7, 1, 1, 1])
    pairs = [(i, j) for i in range(4) for j in range(4) for _ in range(times[i] * times[j])]
    teacher, student = (np.eye(4)[[pair[k] for pair in pairs]] * 1e4 for k in range(2))
    assert capa(teacher, student, np.zeros(100, int)) == pytest.approx(0, abs=1e-12)


def test_capa_of_two_perfect_networks_is_undefined():
    teacher, student, labels = answers(5, 0, 0, 0)
    with pytest.raises(UndefinedMetric, match="κ_p is 0/0"):
        capa(teacher * 1e3, student * 1e3, labels)
    capa(teacher, student, labels)  # right, but not certain
