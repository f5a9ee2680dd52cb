"""Losses worked by hand, their identities, and their traps: T², batch mean, which side is tempered."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kdstats.training.objectives import ce, kd

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
