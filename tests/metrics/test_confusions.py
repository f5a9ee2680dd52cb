"""Matrices over classes against scikit-learn and scipy; likeness by hand and by its limits."""

import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import spearmanr
from sklearn.metrics import confusion_matrix

from kdstats.metrics import UndefinedMetric, affinity_similarity
from kdstats.metrics.confusions import class_average, confusion_rates, likeness

RNG = np.random.default_rng(0)
LABELS = RNG.permutation(np.arange(200) % 5)
Z = RNG.standard_normal((200, 5)) + 2 * np.eye(5)[LABELS]


def test_rates_are_the_confusion_matrix_by_row():
    expected = confusion_matrix(LABELS, Z.argmax(1), normalize="true")
    np.testing.assert_allclose(confusion_rates(Z, LABELS), expected)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_averages_are_means_of_the_softmax(temperature):
    p = softmax(Z / temperature, axis=1)
    expected = [p[label == LABELS].mean(0) for label in range(5)]
    np.testing.assert_allclose(class_average(Z, LABELS, temperature), expected)


@pytest.mark.parametrize("matrix", [class_average, confusion_rates])
def test_a_weight_is_a_number_of_copies(matrix):
    counts = RNG.multinomial(200, np.full(200, 1 / 200)) + (np.arange(200) < 5)
    copies = np.repeat(np.arange(200), counts)
    np.testing.assert_allclose(matrix(Z, LABELS, weights=counts), matrix(Z[copies], LABELS[copies]))


@pytest.mark.parametrize("seed", range(5))
def test_likeness_is_what_libraries_find(seed):
    rng = np.random.default_rng(seed)
    one, other = rng.integers(0, 4, (2, 6, 6)) / 4
    one[0], other[1] = 0, 0  # rows without mistakes
    found = likeness(one, other)
    outside = ~np.eye(6, dtype=bool)
    a, b = one[outside], other[outside]
    assert found.pearson == pytest.approx(np.corrcoef(a, b)[0, 1])
    assert found.pearson == pytest.approx(affinity_similarity(one, other))
    assert found.spearman == pytest.approx(spearmanr(a, b).statistic)
    rows = [(a[5 * i : 5 * i + 5], b[5 * i : 5 * i + 5]) for i in range(2, 6)]
    cosines = [x @ y / np.linalg.norm(x) / np.linalg.norm(y) for x, y in rows if x.any() and y.any()]
    assert found.cosine == pytest.approx(np.mean(cosines))
    assert found.jaccard == pytest.approx(sum(map(min, a, b)) / sum(map(max, a, b)))


def test_a_matrix_is_like_itself_and_its_scale_counts_in_one_number_alone():
    one = class_average(Z, LABELS)
    assert likeness(one, one) == pytest.approx((1, 1, 1, 1))
    assert likeness(one, one / 3) == pytest.approx((1, 1, 1, 1 / 3))
    assert likeness(one, one + 7 * np.eye(5)) == pytest.approx((1, 1, 1, 1))


def test_what_has_no_value_says_why():
    with pytest.raises(UndefinedMetric, match="class 4 has none of the 200"):
        confusion_rates(Z, np.minimum(LABELS, 3))
    with pytest.raises(UndefinedMetric, match="no class has a cell"):
        likeness([[0, 1, 0], [0, 0, 0], [0, 0, 0]], [[0, 0, 0], [1, 0, 0], [0, 0, 0]])
    with pytest.raises(UndefinedMetric, match="equally alike"):
        likeness(np.eye(3), np.eye(3))
    with pytest.raises(UndefinedMetric, match="2 classes"):
        likeness(np.eye(2), np.eye(2))
    with pytest.raises(ValueError, match="not negative"):
        likeness([[0, 1, -1], [0, 0, 0], [0, 0, 0]], [[0, 0, 0], [1, 0, 0], [0, 0, 0]])
    with pytest.raises(ValueError, match="same classes"):
        likeness(class_average(Z, LABELS), [[0, 1, 2], [0, 0, 0], [0, 0, 0]])
    with pytest.raises(ValueError, match="weights"):
        class_average(Z, LABELS, weights=-np.ones(200))
