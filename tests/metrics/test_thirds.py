"""θ and θ₀ against R, by hand, by their limits, and by the derivatives that their linearisation claims to be."""

from dataclasses import replace

import numpy as np
import pytest

from kdstats.metrics import UndefinedMetric, confidence, firmness, inheritance, swap, third_answers
from kdstats.metrics.swaps import Swap

R = np.array([[2, 0, 1, 0, 3, 1, 0, 2]], float)  # third answers of right-taught students, as in reference_firmness.R
W = np.array([[1, 2, 0, 1, 0, 2, 3, 1]], float)
APART = np.array([1.5, -0.5, 0.25, -1, 2, 0, -1.25, 0.75])
LEADS = np.array([0.5, 1.5, -1, 0, 0.25, -0.75, 2, -0.5])


def counted(r=R, w=W, halves=(4, 4), students=4.0):
    """Split examples with these third answers; all other students say what they were taught."""
    n = r.shape[1]
    half = np.zeros((1, 2, n), bool)
    half[0, 0, : halves[0]] = half[0, 1, halves[0] : sum(halves)] = True
    zero = np.zeros_like(r)
    return Swap(half, 1 - r / students, zero, zero, 1 - w / students, np.zeros(n, int), np.array([students]))


def margins(of, apart=APART):
    """Margins of the two teachers whose difference, the right one's minus the wrong one's, is ``apart``."""
    right, wrong = 3 + apart, np.full_like(apart, 3.0)
    first = of.halves[0, 0]
    return np.stack([np.where(first, right, wrong), np.where(first, wrong, right)])[None]


def sure(of, apart=APART, leads=LEADS):
    """What `firmness` takes."""
    return margins(of, apart), margins(of, leads)


def test_regression_is_that_of_r():
    """R 4.2.2, reference_firmness.R."""
    found = firmness(counted(), *sure(counted()))
    assert found.estimate == pytest.approx(-1.70308152, abs=1e-5)
    assert found.slopes == pytest.approx((-2.56123307, 1.80738252), abs=1e-5)


def test_counts_by_hand_with_unequal_halves():
    """Three examples in one half, one in the other: ω ⅔ and 2; R = ⅔ (2 + 0 + 1) + 2 · 0, U = ⅔ (1 + 2 + 0) + 2 · 1."""
    found = third_answers(counted(R[:, :4], W[:, :4], halves=(3, 1)))
    assert (found.right, found.wrong) == pytest.approx((2, 4), abs=1e-12)
    assert found.theta == pytest.approx(np.log(2.5 / 4.5), abs=1e-12)
    assert (found.n_third, found.n_examples) == (7, 4)
    assert found.values.mean() == pytest.approx(found.theta, abs=1e-12)


@pytest.mark.parametrize("of", [counted(), counted(halves=(6, 2))])
def test_values_are_derivatives_by_an_examples_third_answers(of):
    """The third answers of example i times 1 + ε move θ by ε v_i, so differences of values are N (v_i − v_j)."""
    eps, n = 1e-6, 8

    def moved(i, estimate):
        right, wrong = of.right_y.copy(), of.wrong_other.copy()
        right[0, i] -= eps * of.right_third[0, i]
        wrong[0, i] -= eps * of.wrong_third[0, i]
        return estimate(replace(of, right_y=right, wrong_other=wrong))

    how_sure = sure(of)
    for estimate, values in (
        (lambda s: third_answers(s).theta, third_answers(of).values[0]),
        (lambda s: firmness(s, *how_sure).estimate, firmness(of, *how_sure).values[0]),
    ):
        slopes = [(moved(i, estimate) - estimate(of)) / eps for i in range(n)]
        np.testing.assert_allclose(np.diff(values) / n, np.diff(slopes), atol=1e-4)
        assert values.mean() == pytest.approx(estimate(of), abs=1e-9)


def test_one_share_copied_is_zero_and_unequal_shares_are_their_ratio():
    """400,000 answers: θ is log((1 − c_r) / (1 − c_w)) whatever untaught students say, also where that depends on y."""
    rng = np.random.default_rng(2)
    n, classes = 50_000, 5
    y = rng.integers(0, classes, n)
    hard = rng.random(n) < 0.5
    teachers = np.where(rng.random((2, n)) < np.where(hard, 0.5, 0.9), y, rng.integers(0, classes, (2, n)))
    by = np.repeat([0, 1], 4)
    own = np.where(rng.random((8, n)) < np.where(hard, 0.3, 0.8), y, rng.integers(0, classes, (8, n)))
    for c_right, c_wrong in ((0.4, 0.4), (0.3, 0.6)):
        c = np.where(teachers[by] == y, c_right, c_wrong)
        students = np.where(rng.random((8, n)) < c, teachers[by], own)
        found = third_answers(swap(teachers, students, y, by, [[0, 1]]))
        assert found.theta == pytest.approx(np.log((1 - c_right) / (1 - c_wrong)), abs=0.05)
        assert (found.copied_right, found.copied_wrong) == pytest.approx((c_right, c_wrong), abs=0.03)
        assert found.favours_truth


def test_untaught_students_that_lean_to_the_wrong_answer_do_not_favour_the_truth():
    of = counted()
    assert not third_answers(replace(of, right_other=0.4 * (R > 0), right_y=1 - R / 4 - 0.4 * (R > 0))).favours_truth


def test_the_less_sure_are_counted_apart():
    """Where the wrong teacher is at least as confident (examples 1, 3, 5, 6): R = 1, U = 8."""
    assert firmness(counted(), *sure(counted())).where_less_sure == pytest.approx(np.log(1.5 / 8.5), abs=1e-12)
    assert firmness(counted(), *sure(counted(), np.abs(APART) + 0.1)).where_less_sure is None


def test_no_third_answer_on_one_side_is_finite():
    found = firmness(counted(w=W * 0), *sure(counted()))
    assert found.estimate > 1 and np.isfinite(found.values).all()


def test_two_classes_and_labels_alone_have_no_firmness():
    y = np.array([0, 0, 0, 0, 1, 1])
    logits = np.eye(2)[[[0, 1, 0, 1, 1, 1], [1, 0, 0, 1, 0, 1]]]
    labels = logits.argmax(2)
    assert "no third answer" in inheritance(logits, labels, y, [0, 1], [[0, 1]]).notes["firmness"]
    assert "needs their logits" in inheritance(labels, labels, y, [0, 1], [[0, 1]]).notes["firmness"]
    with pytest.raises(UndefinedMetric):
        third_answers(replace(counted(), halves=np.zeros((1, 2, 8), bool)))


def test_how_sure_teachers_are_by_hand():
    """The first is right (0), the second says 1; the others weigh e + e⁰ in the first, 2 e⁰ in the second."""
    logits = [[[4.0, 2.0, 1.0, 0.0]], [[1.0, 3.0, 0.0, 0.0]]]
    mu, lead = confidence(logits, [0], [[0, 1]])
    assert mu[0, :, 0].tolist() == [2.0, 2.0]
    by_hand = [np.log(np.exp(4) + np.exp(2)) - np.log(np.e + 1), np.log(np.e + np.exp(3)) - np.log(2)]
    assert lead[0, :, 0] == pytest.approx(by_hand, abs=1e-12)
    assert not confidence([logits[0], logits[0]], [0], [[0, 1]])[1].any()  # not split
    shifted = np.array(logits) + np.array([[[100.0]], [[-50.0]]])
    assert confidence(shifted, [0], [[0, 1]])[1] == pytest.approx(lead, abs=1e-12)


def test_what_is_no_confidence_is_refused():
    of = counted()
    for wrong, sentence in (
        ((-margins(of), margins(of)), "not negative"),
        ((margins(of), margins(of) * np.inf), "leads are differences"),
        ((margins(of)[:, 0], margins(of)), "margins has shape"),
    ):
        with pytest.raises(ValueError, match=sentence):
            firmness(of, *wrong)
