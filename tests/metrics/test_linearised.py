"""Linearised metrics: their mean is the metric, their spread the metric's over new examples."""

import numpy as np
import pytest

from kdstats import metrics

N, C = 1500, 6


@pytest.fixture(scope="module")
def world() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    y = rng.integers(0, C, N)
    shared = rng.normal(size=(N, C))
    shared[np.arange(N), y] += 1.5
    teacher, student = (shared + rng.normal(size=(N, C)) for _ in range(2))
    return {"y": y, "teacher": teacher, "student": student * 1.7}


def observed(world: dict[str, np.ndarray], rows: np.ndarray | None = None) -> tuple[metrics.Observed, metrics.Observed]:
    t, s, y = (world[key] if rows is None else world[key][rows] for key in ("teacher", "student", "y"))
    sources = [metrics.Source("logits", z.argmax(1), z.__getitem__) for z in (t, s)]
    of_teacher, (of_student,) = metrics.observe(y, sources[0], sources[1:], C)
    return of_teacher, of_student


def values(world: dict[str, np.ndarray], rows: np.ndarray | None = None) -> dict[str, np.ndarray]:
    t, s = observed(world, rows)
    y = world["y"] if rows is None else world["y"][rows]
    assert s.overlap is not None and t.p_label is not None and s.p_label is not None and s.confidence is not None
    return {
        "error_consistency": metrics.error_consistency_examples(t.right, s.right),
        "copy_probability": metrics.copy_probability_examples(t.right, s.right),
        "capa": metrics.capa_examples(s.overlap, t.p_label, s.p_label, C),
        "negative_flip_rate": metrics.relative_flip_examples(t.right, s.right),
        "expected_calibration_error": metrics.calibration_error_examples(s.confidence, s.right),
        "given_class": metrics.agreement_given_class_examples(t.classes, s.classes, y, C),
    }


def test_means_are_the_metrics_as_their_own_functions_give_them(world: dict[str, np.ndarray]) -> None:
    found = {name: each.mean() for name, each in values(world).items()}
    t, s, y = world["teacher"], world["student"], world["y"]
    assert found["error_consistency"] == pytest.approx(metrics.error_consistency(t, s, y), abs=1e-12)
    assert found["copy_probability"] == pytest.approx(metrics.copy_probability(t, s, y), abs=1e-12)
    assert found["capa"] == pytest.approx(metrics.capa(t, s, y), abs=1e-12)
    assert found["negative_flip_rate"] == pytest.approx(metrics.negative_flip_rate(t, s, y, relative=True), abs=1e-12)
    assert found["expected_calibration_error"] == pytest.approx(metrics.expected_calibration_error(s, y), abs=1e-12)


def test_spread_is_that_of_resampled_examples(world: dict[str, np.ndarray]) -> None:
    rng = np.random.default_rng(4)
    drawn = [{k: v.mean() for k, v in values(world, rng.integers(0, N, N)).items()} for _ in range(300)]
    for name, each in values(world).items():
        resampled = np.std([one[name] for one in drawn], ddof=1)
        assert each.std(ddof=1) / N**0.5 == pytest.approx(resampled, rel=0.2), name  # 300 draws: error 4 %


def test_agreement_given_class_by_hand() -> None:
    # class 0: teacher 0011, student 0101; class 1: both say 1. o = 4/6; e = (4 · ½ + 2 · 1) / 6 = 4/6
    y = np.array([0, 0, 0, 0, 1, 1])
    t, s = np.array([0, 0, 1, 1, 1, 1]), np.array([0, 1, 0, 1, 1, 1])
    assert metrics.agreement_given_class_examples(t, s, y, 2).mean() == pytest.approx(0.0, abs=1e-15)
    with pytest.raises(metrics.UndefinedMetric, match="depend on the class alone"):
        metrics.agreement_given_class_examples(y, y, y, 2)


def test_one_pass_gives_what_the_metrics_give(world: dict[str, np.ndarray]) -> None:
    t, s, y = world["teacher"], world["student"], world["y"]
    of_teacher, it = observed(world)
    assert it.kl == pytest.approx(metrics.fidelity_kl(t, s, per_example=True), abs=1e-12)
    assert it.js == pytest.approx(metrics.js_divergence(t, s, per_example=True), abs=1e-12)
    assert it.distance == pytest.approx(metrics.activation_distance(t, s, per_example=True), abs=1e-12)
    assert it.cross_entropy == pytest.approx(metrics.cross_entropy(s, y, per_example=True), abs=1e-12)
    assert it.brier == pytest.approx(metrics.brier_score(s, y, per_example=True), abs=1e-12)
    assert it.class_wise_error == pytest.approx(metrics.class_wise_calibration_error(s, y), abs=1e-12)
    assert of_teacher.class_wise_error == pytest.approx(metrics.class_wise_calibration_error(t, y), abs=1e-12)


def test_probabilities_of_half_precision_are_read_as_what_they_mean(world: dict[str, np.ndarray]) -> None:
    s, y = world["student"], world["y"]
    p = np.exp(s - s.max(1, keepdims=True))
    p = (p / p.sum(1, keepdims=True)).astype(np.float16)
    source = metrics.Source("probabilities", s.argmax(1), p.__getitem__)
    _, (it,) = metrics.observe(y, metrics.Source("logits", s.argmax(1), s.__getitem__), [source], C)
    assert it.brier == pytest.approx(metrics.brier_score(s, y, per_example=True), abs=4e-3)
    assert it.js is not None and it.js.max() < 1e-3


def test_a_probability_of_0_makes_kl_infinite_and_nothing_else() -> None:
    y = np.array([0, 1])
    t, s = np.array([[0.5, 0.5], [0.5, 0.5]]), np.array([[1.0, 0.0], [0.5, 0.5]])
    sources = [metrics.Source("probabilities", p.argmax(1), p.__getitem__) for p in (t, s)]
    _, (it,) = metrics.observe(y, sources[0], sources[1:], 2)
    assert it.kl is not None and it.js is not None
    assert it.kl.tolist() == [np.inf, 0.0]
    # m = (¾, ¼): half of ½ log ⅔ + ½ log 2, and half of log 4/3
    assert it.js == pytest.approx([(np.log(2 / 3) + np.log(2)) / 4 + np.log(4 / 3) / 2, 0.0], abs=1e-15)
