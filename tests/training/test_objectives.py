"""Losses worked by hand, their identities, and their traps: T², batch mean, which side is tempered."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kdstats.training.objectives import (
    OBJECTIVES,
    ats,
    attention_transfer,
    ce,
    cwtm,
    dist,
    dkd,
    fitnet,
    kd,
    logit_std,
    tf_kd_reg,
    tf_kd_self,
    ttm,
    wttm,
)  # fmt: skip

LABELS = torch.tensor([0, 1])
# Two samples of two classes, so that softmax is a logistic function and every number can be worked by hand.
STUDENT = torch.tensor([[math.log(3.0), 0.0], [0.0, 0.0]], dtype=torch.float64)  # p = (3/4, 1/4), (1/2, 1/2)
TEACHER = torch.tensor([[0.0, 0.0], [0.0, math.log(4.0)]], dtype=torch.float64)  # p = (1/2, 1/2), (1/5, 4/5)


def test_ce_by_hand():
    assert ce(STUDENT, None, LABELS).item() == pytest.approx((math.log(4 / 3) + math.log(2)) / 2, abs=1e-12)


def test_kd_by_hand_at_temperature_one():
    first = 0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)
    second = 0.2 * math.log(0.2 / 0.5) + 0.8 * math.log(0.8 / 0.5)
    cross = (math.log(4 / 3) + math.log(2)) / 2
    got = kd(STUDENT, TEACHER, LABELS, alpha=0.3, temperature=1.0).item()
    assert got == pytest.approx(0.7 * cross + 0.3 * (first + second) / 2, abs=1e-12)


def test_kd_by_hand_at_temperature_two_tempers_both_sides_and_multiplies_by_four():
    # at T = 2: student (√3, 1)/(√3 + 1) and a half each; teacher a half each and (1, 2)/3
    p = math.sqrt(3) / (math.sqrt(3) + 1)
    first = 0.5 * math.log(0.5 / p) + 0.5 * math.log(0.5 / (1 - p))
    second = (1 / 3) * math.log((1 / 3) / 0.5) + (2 / 3) * math.log((2 / 3) / 0.5)
    assert kd(STUDENT, TEACHER, LABELS, alpha=1.0, temperature=2.0).item() == pytest.approx(
        4 * (first + second) / 2, abs=1e-12
    )


def test_alpha_is_the_teachers_weight():
    assert kd(STUDENT, TEACHER, LABELS, alpha=0.0).item() == ce(STUDENT, None, LABELS).item()
    assert kd(TEACHER, TEACHER, LABELS, alpha=1.0).item() == pytest.approx(0, abs=1e-15)


def test_weight_zero_has_the_controls_gradient_bit_for_bit():
    torch.manual_seed(0)
    logits, target = torch.randn(8, 5), torch.randn(8, 5)
    labels = torch.arange(8) % 5
    gradients = []
    for loss in (lambda z: ce(z, None, labels), lambda z: kd(z, target, labels, alpha=0.0, temperature=4.0)):
        z = logits.clone().requires_grad_()
        loss(z).backward()
        gradients.append(z.grad)
    assert torch.equal(*gradients)


def test_at_high_temperature_the_gradient_is_the_one_of_matching_logits():
    # Hinton et al. 2015, section 2.1: T² KL has gradient (z_s − z_t − their means' difference) / C as T → ∞
    torch.manual_seed(1)
    z, target = torch.randn(1, 6, dtype=torch.float64, requires_grad=True), torch.randn(1, 6, dtype=torch.float64)
    kd(z, target, torch.tensor([0]), alpha=1.0, temperature=1e4).backward()
    expected = (z - z.mean() - target + target.mean()) / 6
    assert z.grad is not None and torch.allclose(z.grad, expected, atol=1e-4)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 7), st.integers(1, 9), st.floats(0.5, 20), st.floats(0, 1), st.integers(0, 10_000))
def test_kd_properties(classes, batch, temperature, alpha, seed):
    generator = torch.Generator().manual_seed(seed)
    z, target = (torch.randn(batch, classes, generator=generator, dtype=torch.float64) * 3 for _ in range(2))
    labels = torch.randint(0, classes, (batch,), generator=generator)

    def loss(a, b, y, **more):
        return kd(a, b, y, alpha=alpha, temperature=temperature, **more).item()

    base = loss(z, target, labels)
    assert base >= -1e-9
    order = torch.randperm(classes, generator=generator)  # relabelling the classes changes nothing
    assert loss(z[:, order], target[:, order], order.argsort()[labels]) == pytest.approx(base, rel=1e-9, abs=1e-12)
    twice = loss(torch.cat([z, z]), torch.cat([target, target]), torch.cat([labels, labels]))  # a mean, not a sum
    assert twice == pytest.approx(base, rel=1e-9, abs=1e-12)
    assert loss(z + 2, target - 3, labels) == pytest.approx(base, rel=1e-9, abs=1e-9)  # logits up to a constant
    probabilities = loss(z, target.softmax(1), labels, target_is="probabilities")
    assert probabilities == pytest.approx(base, rel=1e-7, abs=1e-9)


def test_a_hard_target_is_finite():
    certain = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert math.isfinite(kd(STUDENT.float(), certain, LABELS, target_is="probabilities").item())


# The field's other losses ----------------------------------------------------------------------------------------

Y = torch.tensor([0, 2, 1, 0])


def pair(seed=0, classes=5, batch=4, scale=3.0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(batch, classes, generator=generator, dtype=torch.float64) * scale for _ in range(2)]


def test_dkd_by_hand():
    # p_t = (1/2, 1/4, 1/4), p_s = (1/4, 1/4, 1/2), true class 0, T = 1
    s, t = torch.tensor([[1.0, 1.0, 2.0]]).log().double(), torch.tensor([[2.0, 1.0, 1.0]]).log().double()
    tckd = 0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)
    nckd = 0.5 * math.log((1 / 2) / (1 / 3)) + 0.5 * math.log((1 / 2) / (2 / 3))
    got = dkd(s, t, torch.tensor([0]), tckd=2.0, nckd=3.0, temperature=1.0, warmup=0.5).item()
    assert got == pytest.approx(math.log(4) + 0.5 * (2 * tckd + 3 * nckd), abs=1e-7)


@settings(max_examples=30, deadline=None)
@given(st.integers(3, 9), st.floats(0.5, 10), st.integers(0, 10_000))
def test_kl_is_tckd_and_the_rest_of_the_teacher_times_nckd(classes, temperature, seed):
    # Zhao et al. 2022: KL(p_t ‖ p_s) = TCKD + (1 − p_ty)·NCKD, sample by sample
    s, t = pair(seed, classes, 1)
    y = torch.tensor([seed % classes])
    hard = ce(s, None, y)
    parts = [dkd(s, t, y, tckd=a, nckd=b, temperature=temperature) - hard for a, b in ((1.0, 0.0), (0.0, 1.0))]
    rest = 1 - (t / temperature).softmax(1)[0, y]
    whole = kd(s, t, y, alpha=1.0, temperature=temperature)
    assert (parts[0] + rest * parts[1]).item() == pytest.approx(whole.item(), rel=1e-9, abs=1e-9)


def test_dkd_is_finite_where_the_teacher_is_certain():
    s = torch.zeros(1, 3, requires_grad=True)
    loss = dkd(s, torch.tensor([[200.0, 0.0, -50.0]]), torch.tensor([0]), temperature=1.0)
    loss.backward()
    assert math.isfinite(loss.item()) and torch.isfinite(s.grad).all()


def test_dist_by_hand():
    # rows (.8, .2) and (.4, .6) against (.6, .4) and (.3, .7): two classes correlate perfectly, columns as well
    s, t = torch.tensor([[4.0, 1.0], [2.0, 3.0]]).log().double(), torch.tensor([[6.0, 4.0], [3.0, 7.0]]).log().double()
    hard = ce(s, None, LABELS).item()
    assert dist(s, t, LABELS).item() == pytest.approx(hard, abs=1e-6)  # 1e-8 over ‖x‖ ‖y‖, .06 and less
    opposite = t.flip(0)  # rows (.3, .7), (.6, .4): every correlation is −1, so each term is 2
    assert dist(s, opposite, LABELS, beta=3.0, gamma=5.0).item() == pytest.approx(hard + 6 + 10, abs=5e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dist_is_finite_where_networks_are_sure(dtype):
    """Logits of ± 200: columns that are 0 or 1 throughout, and probabilities that vanish in single precision."""
    sure = torch.full((4, 3), -200.0, dtype=dtype)
    sure[:, 1] = 200.0  # every image is of class 1: columns are constant
    mixed = sure.clone()
    mixed[0] = torch.tensor([200.0, -200.0, -200.0])
    y = torch.tensor([1, 1, 0, 2])
    for student in (sure, mixed, -sure, torch.zeros_like(sure), torch.randn(4, 3, dtype=dtype)):
        for teacher in (sure, mixed, torch.zeros_like(sure)):
            z = student.clone().requires_grad_()
            loss = dist(z, teacher, y, beta=2.0, gamma=3.0)
            loss.backward()
            assert math.isfinite(loss.item()) and torch.isfinite(z.grad).all()
    # no column has spread: the rows agree, and the columns' term is its whole weight
    assert dist(sure, sure, y, beta=2.0, gamma=3.0).item() == pytest.approx(ce(sure, None, y).item() + 3, abs=1e-5)


def test_dist_is_numpys_correlation():
    s, t = pair()
    p, q = ((z / 2).softmax(1).numpy() for z in (s, t))
    rows = 1 - np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(p, q, strict=True)])
    columns = 1 - np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(p.T, q.T, strict=True)])
    got = dist(s, t, Y, beta=2.0, gamma=0.5, temperature=2.0) - ce(s, None, Y)
    assert got.item() == pytest.approx(2 * rows + 0.5 * columns, rel=1e-6)


def test_ats_by_hand():
    # z_t = (4, 2, 2), true class 0: exponents 4/4, 2/2, 2/2, so p is uniform; the student's p = (1/2, 1/4, 1/4)
    s, t = torch.tensor([[2.0, 1.0, 1.0]]).log().double(), torch.tensor([[4.0, 2.0, 2.0]]).double()
    soft = (math.log(2) + 2 * math.log(4)) / 3
    got = ats(s, t, torch.tensor([0]), weight=0.25).item()
    assert got == pytest.approx(0.75 * math.log(2) + 0.25 * soft, abs=1e-7)


def test_ats_of_equal_temperatures_is_temperature_scaling():
    s, t = pair(1)
    same = ats(s, t, Y, weight=1.0, tau_true=3.0, tau_wrong=3.0)
    teacher = (t / 3).softmax(1)
    assert same.item() == pytest.approx(-(teacher * s.log_softmax(1)).sum(1).mean().item(), rel=1e-12)


def test_ats_takes_the_true_class_also_where_the_teacher_is_wrong():
    t = torch.tensor([[0.0, 9.0, 0.0]])
    right, wrong = (ats(torch.zeros(1, 3), t, torch.tensor([y]), weight=1.0, temperature=0.5) for y in (1, 0))
    assert right.item() == pytest.approx(wrong.item())  # a uniform student has the same cross-entropy with any p …
    s = torch.tensor([[0.0, 5.0, 0.0]])
    right, wrong = (ats(s, t, torch.tensor([y]), weight=1.0) for y in (1, 0))
    assert right > wrong  # … class 1 is tempered by 4 where it is true, by 2 where the label is another


def test_logit_standardisation_by_hand():
    # (0, 2, 4) has mean 2 and, ddof 1, deviation 2: (−1, 0, 1); the student's (1, 2, 3) is the same
    s, t = torch.tensor([[1.0, 2.0, 3.0]]).double(), torch.tensor([[0.0, 2.0, 4.0]]).double()
    y = torch.tensor([2])
    assert logit_std(s, t, y).item() == pytest.approx(ce(s, None, y).item(), abs=1e-6)
    reverse = torch.tensor([[4.0, 2.0, 0.0]]).double()
    p = np.exp(np.array([-0.5, 0, 0.5]))
    p /= p.sum()
    divergence = float((p[::-1] * np.log(p[::-1] / p)).sum())
    got = logit_std(s, reverse, y, weight=3.0, temperature=2.0) - ce(s, None, y)
    assert got.item() == pytest.approx(3 * 4 * divergence, rel=1e-5)


def test_ttm_and_wttm_by_hand():
    # p_t = (4/5, 1/5), γ = 1/2: powers 2/√5 and 1/√5, U = 3/√5, the transformed teacher (2/3, 1/3); a uniform student
    s, t = torch.zeros(1, 2).double(), torch.tensor([[4.0, 1.0]]).log().double()
    divergence = (2 / 3) * math.log(4 / 3) + (1 / 3) * math.log(2 / 3)
    got = [f(s, t, torch.tensor([0]), beta=1.5, temperature=2.0).item() - math.log(2) for f in (ttm, wttm)]
    assert got == pytest.approx([1.5 * divergence, 1.5 * 3 / math.sqrt(5) * divergence], rel=1e-6)


def test_ttm_is_kd_without_the_students_temperature_at_one():
    s, t = pair(2)
    whole = ttm(s, t, Y, beta=1.0, temperature=1.0) - ce(s, None, Y)
    assert whole.item() == pytest.approx(kd(s, t, Y, alpha=1.0, temperature=1.0).item(), rel=1e-9)
    assert wttm(s, t, Y, beta=1.0, temperature=1.0).item() == pytest.approx(
        ttm(s, t, Y, beta=1.0, temperature=1.0).item()  # U = Σ p = 1
    )


def test_tf_kd_divides_by_classes_and_tempers_probabilities():
    s, t = pair(3)
    assert tf_kd_self(s, t, Y, alpha=1.0, temperature=3.0, multiplier=5.0).item() == pytest.approx(
        kd(s, t, Y, alpha=1.0, temperature=3.0).item()  # × 5 / 5 classes
    )
    # a uniform student of 2 classes; u = (.99, .01) at T = 1/2: odds exp(2·.98)
    p = 1 / (1 + math.exp(-1.96))
    divergence = p * math.log(2 * p) + (1 - p) * math.log(2 * (1 - p))
    got = tf_kd_reg(torch.zeros(1, 2).double(), None, torch.tensor([0]), alpha=0.4, temperature=0.5, multiplier=7.0)
    assert got.item() == pytest.approx(0.6 * math.log(2) + 0.4 * 7 * divergence / 2, rel=1e-9)


def test_cwtm_by_hand():
    # the teacher's largest .75 and .5: weights .6 and .4
    t = torch.tensor([[3.0, 1.0], [1.0, 1.0]]).log().double()
    each = (math.log(4 / 3), math.log(2))
    assert cwtm(STUDENT, t, LABELS).item() == pytest.approx(0.6 * each[0] + 0.4 * each[1], abs=1e-7)


def test_feature_objectives_by_hand():
    s, t = torch.tensor([[[[3.0, 0.0]], [[4.0, 0.0]]]]), torch.tensor([[[[0.0, 2.0]], [[0.0, 0.0]]]])
    assert fitnet([s], [t]).item() == pytest.approx((9 + 16 + 4) / 4)
    # channel means of squares (12.5, 0) and (0, 2), each divided by its norm: (1, 0) and (0, 1)
    assert attention_transfer([s, s], [t, s]).item() == pytest.approx(1.0)


WITHOUT = {  # the parameters under which only cross-entropy is left
    "kd": {"alpha": 0.0}, "dkd": {"tckd": 0.0, "nckd": 0.0}, "dist": {"beta": 0.0, "gamma": 0.0},
    "ats": {"weight": 0.0}, "logit_std": {"weight": 0.0}, "ttm": {"beta": 0.0}, "wttm": {"beta": 0.0},
    "tf_kd_self": {"alpha": 0.0}, "tf_kd_reg": {"alpha": 0.0}, "cs_kd": {"weight": 0.0},
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(OBJECTIVES.keys() - {"ce", "cwtm"}))
def test_weight_zero_is_the_control_bit_for_bit_gradient_included(name):
    s, t = (z.float() for z in pair(4))
    gradients = []
    for loss in (lambda z: ce(z, None, Y), lambda z: OBJECTIVES[name](z, t, Y, **WITHOUT[name])):
        z = s.clone().requires_grad_()
        loss(z).backward()
        gradients.append(z.grad)
    assert torch.equal(*gradients)


@pytest.mark.parametrize("name", sorted(OBJECTIVES.keys() - {"ce"}))
def test_of_every_loss(name):
    """A mean over samples; blind to the order of classes; soft labels count by their class; the target teaches."""
    loss, (s, t) = OBJECTIVES[name], pair(5)
    base = loss(s, t, Y).item()
    if name != "dist":  # whose columns run over the batch
        assert loss(torch.cat([s, s]), torch.cat([t, t]), torch.cat([Y, Y])).item() == pytest.approx(base)
    order = torch.tensor([3, 0, 4, 2, 1])
    assert loss(s[:, order], t[:, order], order.argsort()[Y]).item() == pytest.approx(base)
    onehot = torch.nn.functional.one_hot(Y, 5).double()
    assert loss(s, t, onehot).item() == pytest.approx(base)
    if name not in ("tf_kd_reg",):
        assert loss(s, t + torch.arange(5), Y).item() != pytest.approx(base)
    if name not in ("tf_kd_reg", "ats"):  # two temperatures see a constant
        assert loss(s, t + 2, Y).item() == pytest.approx(base)
        assert loss(s, t.softmax(1), Y, target_is="probabilities").item() == pytest.approx(base)
    if name == "ats":
        assert loss(s, t.softmax(1), Y, target_is="probabilities").item() == pytest.approx(
            loss(s, t.log_softmax(1), Y).item()
        )


# What is left where every temperature grows without bound --------------------------------------------------------

OF_LIMITS = np.random.default_rng(7)
OURS, THEIRS = (torch.from_numpy(OF_LIMITS.normal(0, 2, (6, 5))) for _ in range(2))
CLASSES = torch.tensor([0, 1, 2, 3, 4, 0])


def centred(z):
    return z - z.mean(1, keepdim=True)


def soft(loss):
    return (loss - ce(OURS, None, CLASSES)).item()


def test_hot_kd_is_the_squared_distance_of_centred_logits():
    """Hinton et al. 2015, section 2.1: the logits' distance over 2 C."""
    expected = ((centred(OURS) - centred(THEIRS)) ** 2).sum(1).mean().item() / 10
    assert kd(OURS, THEIRS, CLASSES, alpha=1.0, temperature=1e4).item() == pytest.approx(expected, rel=1e-3)


def test_hot_standardised_kd_forgets_scale_and_place():
    def standardised(z):
        return centred(z) / torch.from_numpy(z.numpy().std(1, ddof=1, keepdims=True))

    expected = ((standardised(OURS) - standardised(THEIRS)) ** 2).sum(1).mean().item() / 10
    assert soft(logit_std(OURS, 3 * THEIRS + 5, CLASSES, weight=1.0, temperature=1e3)) == pytest.approx(
        expected, rel=1e-3
    )


def test_hot_dkd_compares_wrong_logits_among_themselves():
    wrong = ~torch.eye(5, dtype=torch.bool)[CLASSES]
    z, t = (centred(x[wrong].reshape(6, 4)) for x in (OURS, THEIRS))
    expected = ((z - t) ** 2).sum(1).mean().item() / 8
    assert soft(dkd(OURS, THEIRS, CLASSES, tckd=0.0, nckd=1.0, temperature=1e4)) == pytest.approx(expected, rel=1e-3)


def test_hot_dist_correlates_logits():
    z, t = (centred(x).numpy() for x in (OURS, THEIRS))
    rows = np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(z, t, strict=True)])
    columns = np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(z.T, t.T, strict=True)])
    found = soft(dist(OURS, THEIRS, CLASSES, beta=2.0, gamma=3.0, temperature=1e2))  # hotter, the 1e-8 is seen
    assert found == pytest.approx(2 * (1 - rows) + 3 * (1 - columns), rel=1e-2)


def test_a_hot_teacher_of_ttm_and_ats_says_that_all_classes_are_alike():
    uniform = (-torch.log_softmax(OURS, 1).mean(1)).mean().item()  # the cross-entropy to it
    assert soft(ttm(OURS, THEIRS, CLASSES, beta=1.0, temperature=1e6)) == pytest.approx(uniform - math.log(5), rel=1e-4)
    assert soft(wttm(OURS, THEIRS, CLASSES, beta=1.0, temperature=1e6)) == pytest.approx(
        5 * (uniform - math.log(5)), rel=1e-4
    )
    half = (
        ats(OURS, THEIRS, CLASSES, weight=0.5, tau_true=1e6, tau_wrong=1e6).item()
        - 0.5 * ce(OURS, None, CLASSES).item()
    )
    assert half == pytest.approx(0.5 * uniform, rel=1e-4)
