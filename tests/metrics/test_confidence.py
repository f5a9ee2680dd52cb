"""Confidence worked by hand, against scikit-learn and scipy; calibration at the bins' edges."""

from math import log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import softmax
from scipy.stats import entropy as scipy_entropy
from sklearn.metrics import brier_score_loss, log_loss

from kdstats.metrics import (
    accuracy,
    brier_score,
    class_wise_calibration_error,
    cross_entropy,
    entropy,
    expected_calibration_error,
)

# (½, ¼, ¼), (⅓, ⅓, ⅓), (¼, ½, ¼)
LOGITS = np.array([[log(2), 0, 0], [0, 0, 0], [0, log(2), 0]])
LABELS = np.array([0, 1, 0])


@st.composite
def network(draw):
    n, classes = draw(st.integers(1, 8)), draw(st.integers(2, 6))
    logits = draw(arrays(np.float32, (n, classes), elements=st.floats(-30, 30, width=32)))
    return logits, draw(arrays(np.int64, n, elements=st.integers(0, classes - 1)))


def test_by_hand():
    assert accuracy(LOGITS, LABELS, per_example=True).tolist() == [1, 0, 0]
    assert cross_entropy(LOGITS, LABELS, per_example=True) == pytest.approx([log(2), log(3), log(4)], abs=1e-15)
    # ¼ + 2/16; 4/9 + 2/9; 9/16 + 1/4 + 1/16
    assert brier_score(LOGITS, LABELS, per_example=True) == pytest.approx([3 / 8, 2 / 3, 7 / 8], abs=1e-15)
    assert entropy(LOGITS, per_example=True) == pytest.approx([1.5 * log(2), log(3), 1.5 * log(2)], abs=1e-15)


@given(network())
def test_against_scikit_learn_and_scipy(drawn):
    logits, labels = drawn
    p, classes = softmax(logits.astype(float), axis=1), range(logits.shape[1])
    if p.min() > 1e-15:  # scikit-learn clips
        assert cross_entropy(logits, labels) == pytest.approx(log_loss(labels, p, labels=classes), abs=1e-9)
    if len(classes) > 2:
        expected = brier_score_loss(labels, p, labels=classes, scale_by_half=False)
    else:
        expected = 2 * np.mean((p[:, 1] - labels) ** 2)  # one class counted twice
    assert brier_score(logits, labels) == pytest.approx(expected, abs=1e-12)
    np.testing.assert_allclose(entropy(logits, per_example=True), scipy_entropy(p, axis=1), atol=1e-12)


@given(network())
def test_ranges(drawn):
    logits, labels = drawn
    assert 0 <= accuracy(logits, labels) <= 1
    assert cross_entropy(logits, labels) >= 0
    assert 0 <= brier_score(logits, labels) <= 2
    assert -1e-15 <= entropy(logits) <= log(logits.shape[1]) + 1e-12
    assert 0 <= class_wise_calibration_error(logits, labels) <= 1
    # by the triangle inequality: one bin gives |accuracy − confidence|, more can only find more
    confidence = softmax(logits.astype(float), axis=1).max(1).mean()
    one, two, four = (expected_calibration_error(logits, labels, bins=bins) for bins in (1, 2, 4))
    assert one == pytest.approx(abs(accuracy(logits, labels) - confidence), abs=1e-12)
    assert one <= two + 1e-12 and two <= four + 1e-12 and four <= 1 + 1e-12


def test_cross_entropy_does_not_overflow():
    assert cross_entropy([[1e5, 0.0]], [1]) == 1e5
    assert cross_entropy(np.array([[6e4, -6e4]], np.float16), [1]) == 120_000  # the difference is beyond float16


def test_a_calibrated_network_has_no_calibration_error():
    logits = np.tile([log(3), 0], (4, 1))  # ¾, right three times of four
    assert expected_calibration_error(logits, [0, 0, 0, 1]) == pytest.approx(0, abs=1e-15)
    assert class_wise_calibration_error(logits, [0, 0, 0, 1]) == pytest.approx(0, abs=1e-15)


def test_calibration_error_by_hand():
    # confidence ¾ in (11/15, 12/15]: two examples, one right; ½ in (7/15, 8/15]: one, right
    logits = [[log(3), 0], [0, log(3)], [0, 0]]
    assert expected_calibration_error(logits, [0, 0, 0]) == pytest.approx((abs(1 - 1.5) + 0.5) / 3, abs=1e-15)
    # class 0: ¾, ¼, ½ in three bins with 1 right each; class 1: ¼, ¾, ½ with none right
    assert class_wise_calibration_error(logits, [0, 0, 0]) == pytest.approx((0.25 + 0.75 + 0.5) / 3, abs=1e-15)


def test_class_wise_calibration_error_by_hand():
    # (½, ¼, ¼) twice, labels 0 and 1: gaps 0, ¼, ¼ of the mean probabilities
    assert class_wise_calibration_error([[log(2), 0, 0]] * 2, [0, 1]) == pytest.approx(1 / 6, abs=1e-15)


def test_a_bin_holds_its_upper_edge_and_not_its_lower():
    # ⅕ = 3/15 is apart from .22: gaps .8 and .22, not |1 − .42|
    fifth, above = [0.0] * 5, [log(0.22 / 0.195), 0, 0, 0, 0]
    assert expected_calibration_error([fifth, above], [0, 1]) == pytest.approx((0.8 + 0.22) / 2, abs=1e-15)
    # ½ shares (0, ½] with .4, of two bins: |1 − .9|
    half, below = [0.0, 0.0, -800.0, -800.0], [log(2), 0.0, 0.0, 0.0]
    assert expected_calibration_error([half, below], [0, 1], bins=2) == pytest.approx(0.05, abs=1e-15)


@pytest.mark.parametrize("classes", [2, 3, 5, 15, 30])
def test_equal_logits_fall_into_the_bin_that_ends_at_their_confidence(classes):
    # the next bin up holds an example of slightly higher confidence, wrong while this one is right
    n = 15 if classes != 2 else 2
    equal = np.zeros(classes)
    higher = np.zeros(classes)
    higher[0] = 1e-6
    gap = expected_calibration_error([equal, higher], [0, 1], bins=30 if classes == 30 else n)
    assert gap == pytest.approx((1 - 1 / classes + 1 / classes) / 2, abs=1e-5)


def test_no_bins_are_refused():
    for metric in (expected_calibration_error, class_wise_calibration_error):
        with pytest.raises(ValueError, match="bins is 0"):
            metric(LOGITS, LABELS, bins=0)
