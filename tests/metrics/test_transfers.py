"""Transfer worked by hand; what h and the raw asymmetry cannot tell; linearised values against the jackknife."""

from dataclasses import asdict, fields
from math import log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdstats.metrics import (
    UndefinedMetric,
    asymmetry_examples,
    asymmetry_influence,
    asymmetry_score,
    negative_flip_rate,
    negative_transfer,
    positive_transfer,
    transfer,
    transfer_masks,
)

ESTIMATORS = ("headroom", "raw")

# The teacher is right on the first six and says 1 on the other five.
LABELS = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
TEACHER = [0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1]
STUDENT = [0, 0, 0, 1, 0, 2, 1, 1, 1, 2, 0]
CONTROL = [0, 0, 1, 0, 2, 1, 0, 2, 1, 1, 2]
# repaired 2, 4; broken 3; infected 6, 7; cured 9. A⁺ 4/6 and 3/6, A⁻ 3/5 and 2/5.


def logits(classes, n_classes=3):
    return np.eye(n_classes)[np.asarray(classes)]


def by_hand():
    return transfer(logits(TEACHER), logits(STUDENT), logits(CONTROL), LABELS)


def drawn(n, seed=0):
    """Teacher right, student agrees, control agrees: dependent, as in trained networks."""
    rng = np.random.default_rng(seed)
    difficulty = rng.random(n)
    right = rng.random(n) > 0.4 * difficulty
    agrees, control = (rng.random(n) < np.where(right, 0.98, 0.6) - 0.3 * difficulty for _ in range(2))
    return right, agrees, control


def counts(right, agrees):
    """Agreements where right, right, agreements where wrong, wrong; by comparison, weights allowed."""
    right, agrees = np.asarray(right, float), np.asarray(agrees, float)
    return (right * agrees).sum(), right.sum(), ((1 - right) * agrees).sum(), (1 - right).sum()


# A⁺ and A⁻ -------------------------------------------------------------------------------------------------------


def test_transfers_by_hand():
    t, s, c = logits(TEACHER), logits(STUDENT), logits(CONTROL)
    assert positive_transfer(t, s, LABELS) == pytest.approx(4 / 6)
    assert positive_transfer(t, c, LABELS) == pytest.approx(3 / 6)
    assert negative_transfer(t, s, LABELS) == pytest.approx(3 / 5)
    assert negative_transfer(t, c, LABELS) == pytest.approx(2 / 5)


def test_linearised_values_by_hand():
    t, s = logits(TEACHER), logits(STUDENT)
    # 3/5 ± 11/5 · (1 − 3/5 or −3/5) where the teacher is wrong
    expected = [0.6] * 6 + [0.6 + 2.2 * 0.4] * 3 + [0.6 - 2.2 * 0.6] * 2
    assert negative_transfer(t, s, LABELS, per_example=True) == pytest.approx(expected, abs=1e-14)


@pytest.mark.parametrize(("metric", "where"), [(positive_transfer, True), (negative_transfer, False)])
def test_their_spread_is_the_jackknifes(metric, where):
    right, agrees, _ = drawn(3_000)
    teacher = np.where(right, 0, 1)
    student = np.where(agrees, teacher, 2)
    each = metric(logits(teacher), logits(student), np.zeros(3_000, int), per_example=True)
    there = right == where
    total, n = (agrees & there).sum(), there.sum()
    left_out = (total - (agrees & there)) / (n - there)  # without example i
    jackknife = (3_000 - 1) / 3_000 * ((left_out - left_out.mean()) ** 2).sum()
    assert each.var(ddof=1) / 3_000 == pytest.approx(jackknife, rel=5e-3)


def test_a_teacher_without_errors_or_without_right_answers():
    t = logits([0, 0, 0])
    with pytest.raises(UndefinedMetric, match="wrong on none of the 3 examples"):
        negative_transfer(t, t, [0, 0, 0])
    with pytest.raises(UndefinedMetric, match="right on none of the 3 examples"):
        positive_transfer(t, t, [1, 1, 1], per_example=True)


# Counts and gains ------------------------------------------------------------------------------------------------


def test_transfer_by_hand():
    it = by_hand()
    assert (it.n_correct, it.n_wrong, it.note) == (6, 5, "")
    assert (it.repaired, it.broken, it.infected, it.cured) == (2, 1, 2, 1)
    assert (it.net_repaired, it.net_infected) == (1, 1)
    assert (it.positive_student, it.positive_control) == pytest.approx((4 / 6, 3 / 6))
    assert (it.negative_student, it.negative_control) == pytest.approx((3 / 5, 2 / 5))
    assert (it.positive_gain, it.negative_gain) == pytest.approx((1 / 6, 1 / 5))
    assert it.raw == pytest.approx(1 / 30)
    # disagreements 3, 2 of the control where the teacher is right or wrong: 3, 3; of the student: 2, 2; each + ½
    assert it.headroom == pytest.approx(log(3.5 / 2.5) - log(3.5 / 2.5), abs=1e-15)


def test_masks_by_hand():
    masks = transfer_masks(logits(TEACHER), logits(STUDENT), logits(CONTROL), LABELS)
    assert {name: np.flatnonzero(mask).tolist() for name, mask in asdict(masks).items()} == {
        "repaired": [2, 4], "broken": [3], "infected": [6, 7], "cured": [9],
    }  # fmt: skip


three_networks = st.integers(1, 40).flatmap(
    lambda n: st.tuples(*[st.lists(st.integers(0, 3), min_size=n, max_size=n) for _ in range(4)])
)


@given(three_networks)
def test_identities(classes):
    *said, labels = classes
    t, s, c = (logits(each, 4) for each in said)
    it = transfer(t, s, c, labels)
    assert it.n_correct + it.n_wrong == len(labels)
    if it.n_correct:
        assert it.net_repaired == it.repaired - it.broken
        assert it.net_repaired / it.n_correct == pytest.approx(it.positive_gain, abs=1e-12)
        assert it.positive_student == positive_transfer(t, s, labels)
        assert it.positive_control == positive_transfer(t, c, labels)
        flips = negative_flip_rate(t, s, labels)  # wrong where the teacher is right, over all examples
        assert flips == pytest.approx((1 - it.positive_student) * it.n_correct / len(labels), abs=1e-12)
    else:
        assert it.positive_student is it.repaired is it.net_repaired is it.positive_gain is None
    if it.n_wrong:
        assert it.net_infected == it.infected - it.cured
        assert it.net_infected / it.n_wrong == pytest.approx(it.negative_gain, abs=1e-12)
        assert it.negative_student == negative_transfer(t, s, labels)
        assert it.negative_control == negative_transfer(t, c, labels)
    if it.n_correct and it.n_wrong:
        assert it.raw == pytest.approx(it.negative_gain - it.positive_gain, abs=1e-12)


@given(three_networks)
def test_swapping_arm_and_control_negates(classes):
    *said, labels = classes
    t, s, c = (logits(each, 4) for each in said)
    forth, back = transfer(t, s, c, labels), transfer(t, c, s, labels)
    for name in ("positive_gain", "negative_gain", "net_repaired", "net_infected", *ESTIMATORS):
        value = getattr(forth, name)
        assert getattr(back, name) == (None if value is None else pytest.approx(-value, abs=1e-14))
    assert (forth.repaired, forth.infected) == (back.broken, back.cured)


def test_order_of_examples_and_names_of_classes_change_nothing():
    rng = np.random.default_rng(5)
    rows, columns = rng.permutation(11), np.array([2, 0, 1])
    moved = [logits(np.argsort(columns)[np.array(each)[rows]]) for each in (TEACHER, STUDENT, CONTROL)]
    assert transfer(*moved, np.argsort(columns)[np.array(LABELS)[rows]]) == by_hand()


def test_copies_of_all_examples_change_no_share_and_multiply_counts():
    thrice = transfer(*(np.tile(logits(each), (3, 1)) for each in (TEACHER, STUDENT, CONTROL)), LABELS * 3)
    once = by_hand()
    for name in ("positive_student", "negative_control", "positive_gain", "negative_gain", "raw"):
        assert getattr(thrice, name) == pytest.approx(getattr(once, name), abs=1e-15)
    for name in ("n_correct", "n_wrong", "repaired", "broken", "infected", "cured", "net_repaired", "net_infected"):
        assert getattr(thrice, name) == 3 * getattr(once, name)


@pytest.mark.parametrize(
    ("labels", "reason", "absent"),
    [
        ([0, 0], "wrong on none of the 2 examples", ("negative_student", "negative_control", "negative_gain",
                                                     "infected", "cured", "net_infected", *ESTIMATORS)),
        ([1, 1], "right on none of the 2 examples", ("positive_student", "positive_control", "positive_gain",
                                                     "repaired", "broken", "net_repaired", *ESTIMATORS)),
    ],
)  # fmt: skip
def test_what_does_not_exist_is_none_and_never_zero(labels, reason, absent):
    it = transfer(logits([0, 0]), logits([0, 1]), logits([0, 0]), labels)
    assert reason in it.note
    assert {field.name for field in fields(it) if getattr(it, field.name) is None} == set(absent)


def test_inputs_are_checked():
    t = logits([0, 1])
    with pytest.raises(ValueError, match=r"teacher has shape \(2, 3\), control \(1, 3\)"):
        transfer(t, t, t[:1], [0, 1])
    with pytest.raises(ValueError, match="row 1 is 3; with 3 classes"):
        transfer_masks(t, t, t, [0, 3])
    with pytest.raises(ValueError, match="control: row 0, class 0 is nan"):
        transfer(t, t, t * np.nan, [0, 1])


# What they are not ----------------------------------------------------------------------------------------------


def gains(arm, control, n=1e9):
    """Asymmetry of (A⁺, A⁻) of arm and control by each estimator, so many examples that the ½ does not count."""
    return [
        float(np.subtract(*(asymmetry_score(p * n, n, q * n, n, estimator) for p, q in (arm, control))))
        for estimator in ESTIMATORS
    ]


def test_a_pure_copier_has_no_h_against_what_it_would_be_untaught_but_a_raw_asymmetry():
    # .97 + .3 · .03 and .4 + .3 · .6
    headroom, raw = gains((0.979, 0.58), (0.97, 0.4))
    assert headroom == pytest.approx(0, abs=1e-7)
    assert raw == pytest.approx(0.18 - 0.009, abs=1e-9)


@given(st.floats(0.05, 0.95), st.floats(0.05, 0.95), st.floats(0.01, 0.99))
def test_headroom_is_zero_for_every_copier(a_plus, a_minus, copied):
    arm = tuple(a + copied * (1 - a) for a in (a_plus, a_minus))
    assert gains(arm, (a_plus, a_minus), n=1e12)[0] == pytest.approx(0, abs=1e-8)


def test_a_selective_taker_of_errors_is_seen_by_all_and_of_knowledge_too():
    for estimate in gains((0.97, 0.58), (0.97, 0.4)):  # copies only where the teacher is wrong
        assert estimate > 0.1
    for estimate in gains((0.99, 0.4), (0.97, 0.4)):  # only where it is right
        assert estimate < -0.01
    assert gains((0.99, 0.4), (0.97, 0.4))[0] == pytest.approx(-log(3), abs=1e-6)


def test_accuracy_without_a_teacher_moves_both():
    # half of the control's errors put right: it agrees more on A⁺ and less on A⁻, no teacher involved
    better, control = (0.95, 0.2), (0.9, 0.4)
    assert gains(better, control) == pytest.approx(
        [log(0.6 / 0.8) - log(0.1 / 0.05), -0.2 - 0.05], abs=1e-6
    )
    # on a ninth of all inputs one of the nine other classes instead: lost where it agreed, by chance gained elsewhere
    worse = (0.9 * 8 / 9 + 0.1 / 81, 0.4 * 8 / 9 + 0.6 / 81)
    assert all(estimate > 0.05 for estimate in gains(worse, control))


def test_the_difference_of_scores_is_the_headroom_of_the_definition():
    rng = np.random.default_rng(6)
    n_plus, n_minus = 400, 37
    (a_plus, c_plus), (a_minus, c_minus) = rng.integers(0, n_plus + 1, (2, 9)), rng.integers(0, n_minus + 1, (2, 9))

    def miss(agree, n):  # 1 − A from counts + ½
        return (n - agree + 0.5) / (n + 1)

    h = np.log(miss(c_minus, n_minus) / miss(a_minus, n_minus)) - np.log(miss(c_plus, n_plus) / miss(a_plus, n_plus))
    arm, control = asymmetry_score(a_plus, n_plus, a_minus, n_minus), asymmetry_score(c_plus, n_plus, c_minus, n_minus)
    np.testing.assert_allclose(arm - control, h, atol=1e-13)


# Scores and their per-example values -----------------------------------------------------------------------------


def test_scores_by_hand_and_broadcast():
    # d⁺ = 4, d⁻ = 49; A⁻ − A⁺ = 50/99 − 95/99
    assert asymmetry_score(95, 99, 50, 99) == pytest.approx(log(4.5 / 49.5))
    assert asymmetry_score(95, 99, 50, 99, "raw") == pytest.approx(-45 / 99)
    assert asymmetry_score([[1.5], [2.0]], 4, [0, 1, 2], 3).shape == (2, 3)
    assert np.isfinite([asymmetry_score(a, 4, b, 3, e) for a in (0, 4) for b in (0, 3) for e in ESTIMATORS]).all()


def test_scores_refuse_what_is_not_counts():
    with pytest.raises(UndefinedMetric, match="the teacher is wrong on no example"):
        asymmetry_score([3, 3], [4, 4], [1, 0], [2, 0])
    with pytest.raises(UndefinedMetric, match="the teacher is right on no example"):
        asymmetry_score(0, 0, 1, 2)
    for counted in ((5, 4, 1, 2), (3, 4, -1, 2), (np.nan, 4, 1, 2)):
        with pytest.raises(ValueError, match="between 0 and the number of examples"):
            asymmetry_score(*counted)
    for counted in ((3, np.nan, 1, 2), (3, 4, 1, np.inf), (3, 4, 0, -1)):
        with pytest.raises(ValueError, match="must be finite and not negative"):
            asymmetry_score(*counted)
    with pytest.raises(ValueError, match="estimator is 'ratio'"):
        asymmetry_score(3, 4, 1, 2, "ratio")
    assert asymmetry_score(4 + 1e-12, 4, 2 / 3 * 3, 3 * (1 - 1e-16)) == pytest.approx(log(0.5 / 1.5))  # rounding


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_values_average_to_the_score_and_differ_by_its_derivative(estimator):
    right, agrees, _ = drawn(200, seed=1)
    each = asymmetry_examples(right, agrees, estimator)
    before = asymmetry_score(*counts(right, agrees), estimator)
    assert each.shape == (200,)
    assert each.mean() == pytest.approx(before, abs=1e-12)
    # how the score moves when an example weighs 1 ± ε, by central differences
    epsilon, slopes = 1e-4, []
    for i in range(200):
        moved = []
        for weight in (1 + epsilon, 1 - epsilon):
            w = np.where(np.arange(200) == i, weight, 1)
            moved.append(asymmetry_score(*(((w * part).sum()) for part in (
                right & agrees, right, ~right & agrees, ~right)), estimator))  # fmt: skip
        slopes.append((moved[0] - moved[1]) / (2 * epsilon))
    slopes = np.array(slopes)
    np.testing.assert_allclose(each - before, 200 * (slopes - slopes.mean()), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_spread_of_arm_minus_control_is_the_jackknifes(estimator):
    right, agrees, control = drawn(4_000, seed=2)
    values = asymmetry_examples(right, agrees, estimator) - asymmetry_examples(right, control, estimator)
    n = len(right)
    left_out = np.subtract(*(
        asymmetry_score(*(part.sum() - part for part in (
            (right & a).astype(float), right.astype(float), (~right & a).astype(float), (~right).astype(float),
        )), estimator)
        for a in (agrees, control)
    ))  # fmt: skip
    jackknife = (n - 1) / n * ((left_out - left_out.mean()) ** 2).sum()
    assert values.var(ddof=1) / n == pytest.approx(jackknife, rel=0.02)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_several_networks_give_the_values_of_their_mean_counts(estimator):
    right, *agrees = drawn(300, seed=3)
    agrees = np.array(agrees)
    each = asymmetry_examples(right, agrees, estimator)
    mean_counts = np.mean([counts(right, one) for one in agrees], axis=0)
    assert each.mean() == pytest.approx(asymmetry_score(*mean_counts, estimator), abs=1e-12)
    np.testing.assert_allclose(each, asymmetry_examples(right, agrees.mean(0), estimator), atol=1e-12)
    # networks with teachers of their own, and many units at once
    rights = np.array([right, drawn(300, seed=4)[0]])
    own = asymmetry_examples(rights, agrees, estimator)
    mean_counts = np.mean([counts(r, a) for r, a in zip(rights, agrees, strict=True)], axis=0)
    assert own.mean() == pytest.approx(asymmetry_score(*mean_counts, estimator), abs=1e-12)
    units = asymmetry_influence(rights, rights & agrees, ~rights & agrees, estimator)
    for r, a, values in zip(rights, agrees, units, strict=True):
        np.testing.assert_allclose(values, asymmetry_examples(r, a, estimator), atol=1e-12)


def test_values_refuse_what_does_not_fit():
    right, agrees, _ = drawn(20)
    for bad in (agrees * 2.0, agrees * np.nan, np.array([agrees * 2.0, agrees * 0.0])):
        with pytest.raises(ValueError, match="a share between 0 and 1, of every example"):
            asymmetry_examples(right, bad)
    with pytest.raises(ValueError, match="both need the same examples"):
        asymmetry_examples(right, agrees[:-1])
    with pytest.raises(ValueError, match="both need the same examples"):
        asymmetry_examples(np.array([right, right]), agrees)
    with pytest.raises(ValueError, match="teacher_right is bool"):
        asymmetry_examples(right.astype(int), agrees)
    with pytest.raises(UndefinedMetric, match="wrong on no example"):
        asymmetry_examples(np.ones(20, bool), agrees)
    with pytest.raises(UndefinedMetric, match="wrong on no example"):  # 1 − right is rounding, not an example
        asymmetry_influence(np.full(20, 1 - 1e-16), agrees * (1 - 1e-16), np.zeros(20))
    with pytest.raises(ValueError, match=r"shapes \(20,\), \(19,\)"):
        asymmetry_influence(right, agrees[:-1], agrees)
    for bad in (np.full(20, np.nan), np.full(20, -0.1), np.full(20, 1.0)):
        with pytest.raises(ValueError, match="agreements must be shares"):
            asymmetry_influence(right, right & agrees, bad)
