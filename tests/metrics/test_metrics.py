"""What all metrics share: the catalogue's names, checks of input, per-example means, blocks, invariances."""

import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdstats import metrics
from kdstats.catalog import METRICS, USUAL

AGAINST_TEACHER = [name for name, metric in METRICS.items() if metric.against == "teacher"]
OF_LOGITS = [name for name, metric in METRICS.items() if metric.against != "activations"]
AGAINST_LABELS = [name for name, metric in METRICS.items() if metric.against == "labels"]
NEED_LABELS = ["error_consistency", "copy_probability", "capa", "negative_flip_rate", "positive_transfer",
               "negative_transfer"]  # fmt: skip


def networks(n=60, classes=5, seed=0, dtype=np.float32):
    """Teacher and student logits and labels: both often right, often alike, never tied."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    common = rng.normal(size=(n, classes)) + 1.5 * np.eye(classes)[labels]
    teacher, student = (common + 0.7 * rng.normal(size=(n, classes)) for _ in range(2))
    return teacher.astype(dtype), student.astype(dtype), labels


def score(name, teacher, student, labels, **options):
    metric = METRICS[name]
    function = getattr(metrics, metric.function or name)
    arguments = {"teacher": (teacher, student, labels), "labels": (student, labels), "itself": (student,)}
    found = function(*arguments[metric.against], **options)
    return getattr(found, metric.part) if metric.part else found


def test_the_room_needs_numpy_alone():
    code = (
        "import sys, kdstats.metrics.similarity, kdstats.metrics.confidence, kdstats.metrics.transfers;"
        "from kdstats import metrics; metrics.transfer([[1, 0]], [[1, 0]], [[0, 1]], [0]);"
        "print([m for m in ('scipy', 'torch', 'pandas', 'sklearn', 'pydantic') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


@pytest.mark.parametrize("name", OF_LOGITS)
def test_every_metric_of_the_catalogue_is_a_float_and_its_examples_average_to_it(name):
    value = score(name, *networks())
    assert type(value) is float
    if METRICS[name].per_example:
        each = score(name, *networks(), per_example=True)
        assert each.shape == (60,) and each.dtype == np.float64
        assert each.mean() == pytest.approx(value, abs=1e-14)


@pytest.mark.parametrize("name", ["error_consistency", "copy_probability", "capa"])
def test_where_there_are_no_per_example_values_the_error_says_why(name):
    with pytest.raises(ValueError, match=f"{name} has no per-example values: .* product"):
        score(name, *networks(), per_example=True)


@pytest.mark.parametrize("name", OF_LOGITS)
def test_copies_of_all_examples_change_nothing(name):
    teacher, student, labels = networks()
    thrice = [np.concatenate([a] * 3) for a in (teacher, student, labels)]
    assert score(name, *thrice) == pytest.approx(score(name, teacher, student, labels), rel=1e-12)


@pytest.mark.parametrize("name", OF_LOGITS)
@given(seed=st.integers(0, 2**32 - 1))
def test_order_of_examples_and_names_of_classes_change_nothing(name, seed):
    teacher, student, labels = networks(seed=seed)
    rng = np.random.default_rng(seed)
    rows, columns = rng.permutation(60), rng.permutation(5)
    try:
        before = score(name, teacher, student, labels)
    except metrics.UndefinedMetric:
        return
    moved = score(name, teacher[rows][:, columns], student[rows][:, columns], np.argsort(columns)[labels[rows]])
    assert moved == pytest.approx(before, rel=1e-12, abs=1e-14)


@pytest.mark.parametrize("name", OF_LOGITS)
def test_a_constant_added_to_an_examples_logits_changes_nothing(name):
    teacher, student, labels = networks(dtype=np.float64)
    shift = np.random.default_rng(1).normal(size=(2, 60, 1)) * 50
    value = score(name, teacher, student, labels)
    assert score(name, teacher + shift[0], student + shift[1], labels) == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize("name", OF_LOGITS)
def test_half_precision_is_read_exactly_and_summed_in_double(name):
    teacher, student, labels = networks(n=3001, dtype=np.float16)
    exact = score(name, teacher.astype(np.float64), student.astype(np.float64), labels)
    assert score(name, teacher, student, labels) == exact


@pytest.mark.parametrize("name", [name for name, metric in METRICS.items() if metric.per_example])
def test_blocks_are_seamless(name):
    if "transfer" in name:  # linearised values depend on the whole
        return
    teacher, student, labels = networks(n=20_011, classes=10)  # several blocks
    whole = score(name, teacher, student, labels, per_example=True)
    parts = [
        score(name, teacher[rows], student[rows], labels[rows], per_example=True)
        for rows in (slice(0, 7_001), slice(7_001, None))
    ]
    np.testing.assert_allclose(whole, np.concatenate(parts), rtol=1e-13)


@pytest.mark.parametrize("name", [*USUAL, "class_wise_calibration_error", "entropy"])
def test_memory_is_bounded_by_blocks(name):
    if name == "rank_disagreement":  # slow at 500 classes; its blocks are those of the others
        return
    rng = np.random.default_rng(0)
    teacher, student = rng.standard_normal((2, 4_000, 500), dtype=np.float32).astype(np.float16)  # float64: 16 MB each
    labels = rng.integers(0, 500, 4_000)
    function = getattr(metrics, name)
    arguments = {"entropy": (student,), "class_wise_calibration_error": (student, labels)}.get(
        name, (teacher, student, labels) if name in AGAINST_TEACHER else (student, labels)
    )
    tracemalloc.start()
    try:
        function(*arguments)
        assert tracemalloc.get_traced_memory()[1] < 6e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", OF_LOGITS)
def test_huge_logits_give_finite_numbers(name):
    teacher, student, labels = networks(dtype=np.float64)
    assert np.isfinite(score(name, teacher * 1e5, student * -1e5, labels))


@pytest.mark.parametrize("name", OF_LOGITS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_logits_that_are_not_finite_are_refused_by_row(name, bad, dtype):
    teacher, student, labels = networks(dtype=dtype)
    student[7, 2] = bad
    with pytest.raises(ValueError, match=rf"row 7, class 2 is {bad}; logits must be finite"):
        score(name, teacher, student, labels)


@pytest.mark.parametrize("name", [*AGAINST_TEACHER, *AGAINST_LABELS])
@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        (np.r_[np.zeros(9, int), 5, np.zeros(50, int)], "row 9 is 5; with 5 classes a label is 0 to 4"),
        (np.r_[-1, np.zeros(59, int)], "row 0 is -1"),
        (np.zeros(59, int), "59 labels for 60 rows of logits"),
        (np.zeros(60), r"labels are integers of shape \(N,\), not float64 of shape \(60,\)"),
        (np.zeros((60, 1), int), r"not int64 of shape \(60, 1\)"),
        (np.zeros(60, bool), "not bool"),
    ],
)
def test_labels_that_do_not_fit_are_refused(name, labels, sentence):
    teacher, student, _ = networks()
    with pytest.raises(ValueError, match=sentence):
        score(name, teacher, student, labels)


@pytest.mark.parametrize("name", OF_LOGITS)
@pytest.mark.parametrize(
    ("logits", "sentence"),
    [
        (np.empty((0, 5)), r"shape \(0, 5\); at least one example"),
        (np.zeros((60, 1)), r"shape \(60, 1\); at least one example and two classes"),
        (np.zeros(60), r"logits are real numbers of shape \(N, C\), not float64 of shape \(60,\)"),
        (np.zeros((60, 5), bool), "not bool"),
        (np.zeros((60, 5), complex), "not complex128"),
    ],
)
def test_arrays_that_are_no_logits_are_refused(name, logits, sentence):
    with pytest.raises(ValueError, match=sentence):
        score(name, logits, logits, np.zeros(60, int))


@pytest.mark.parametrize("name", AGAINST_TEACHER)
@pytest.mark.parametrize("shape", [(59, 5), (60, 4)])
def test_networks_on_other_examples_or_classes_are_refused(name, shape):
    teacher, _, labels = networks()
    with pytest.raises(ValueError, match=rf"teacher has shape \(60, 5\), student \({shape[0]}, {shape[1]}\)"):
        score(name, teacher, np.zeros(shape), labels)


@pytest.mark.parametrize("name", NEED_LABELS)
def test_absent_labels_are_refused_where_they_are_needed(name):
    teacher, student, _ = networks()
    with pytest.raises(ValueError, match=f"{name} needs labels"):
        score(name, teacher, student, None)


@pytest.mark.parametrize("name", [name for name in AGAINST_TEACHER if name not in NEED_LABELS])
def test_labels_may_be_absent_elsewhere(name):
    teacher, student, labels = networks()
    assert score(name, teacher, student, None) == score(name, teacher, student, labels)


@pytest.mark.parametrize("name", ["accuracy", "agreement", "negative_flip_rate", "positive_transfer"])
def test_the_first_of_tied_classes_is_predicted(name):
    tied = np.zeros((4, 3))
    assert score(name, tied, tied, np.zeros(4, int)) == (0.0 if name == "negative_flip_rate" else 1.0)
