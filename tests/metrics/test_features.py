"""Interaction tensors against loops written from their definition; alignment and disagreement against theirs."""

import itertools

import numpy as np
import pytest

from kdstats.metrics import UndefinedMetric, features
from kdstats.metrics.features import (
    chance_floor,
    disagreement_equality,
    interaction_tensor,
    linear_cka,
    principal_components,
)

# Components ------------------------------------------------------------------------------------------------------


def by_svd(x, k):
    centred = np.asarray(x, np.float64) - np.mean(x, 0, dtype=np.float64)
    return np.linalg.svd(centred, full_matrices=False)[0][:, :k] * np.sqrt(len(x))


@pytest.mark.parametrize("shape", [(200, 12), (30, 90)], ids=["covariance", "gram"])
def test_components_are_those_of_the_singular_value_decomposition(shape):
    x = np.random.default_rng(0).standard_normal(shape) * np.arange(1, shape[1] + 1) + 100
    found, expected = principal_components(x, 6), by_svd(x, 6)
    np.testing.assert_allclose(np.abs(found), np.abs(expected), atol=2e-5)
    largest = found[np.abs(found).argmax(0), np.arange(6)]
    assert (largest > 0).all()


def test_random_components_are_those_of_the_singular_value_decomposition(monkeypatch):
    monkeypatch.setattr(features, "_LARGE", 20)
    rng = np.random.default_rng(1)
    x = rng.standard_normal((300, 8)) * [40, 30, 22, 16, 12, 9, 7, 5] @ rng.standard_normal((8, 80))
    x += rng.standard_normal(x.shape)
    found = principal_components(x, 8)
    np.testing.assert_allclose(np.abs(found), np.abs(by_svd(x, 8)), atol=1e-4)
    assert np.array_equal(found, principal_components(x, 8))


def test_files_of_half_precision_are_read_in_blocks(tmp_path, monkeypatch):
    x = np.random.default_rng(2).standard_normal((500, 10)).astype(np.float16)
    np.save(tmp_path / "x.npy", x)
    whole = principal_components(x, 4)
    monkeypatch.setattr(features, "_READ", 170)
    np.testing.assert_allclose(principal_components(np.load(tmp_path / "x.npy", mmap_mode="r"), 4), whole, atol=1e-5)


def test_scores_do_not_overflow_half_precision():
    x = np.random.default_rng(3).uniform(3e4, 6e4, (400, 5)).astype(np.float16)
    np.testing.assert_allclose(principal_components(x, 3).std(0), 1, atol=1e-5)


# The tensor, by its definition -----------------------------------------------------------------------------------


def defined(scores, gamma, kept_as):
    """Methods' steps 4 to 7, one entry after the other: assignment, and Ω as a dense array."""
    m, n, k = scores.shape
    similarity = {
        (a, i, b, j): abs(np.mean(scores[a, :, i].astype(float) * scores[b, :, j]))
        for a, i, b, j in itertools.product(range(m), range(k), range(m), range(k))
    }
    cluster = {(a, i): None for a in range(m) for i in range(k)}
    best = {key: kept_as(0) for key in cluster}
    t = 0
    for a, i in cluster:
        if cluster[a, i] is None:
            for b, j in cluster:
                c = similarity[a, i, b, j]
                if c > gamma and c > best[b, j]:
                    cluster[b, j], best[b, j] = t, kept_as(c)
            t += 1
    omega = np.zeros((m, n, t), bool)
    for a in range(m):
        scaled = scores[a] / np.abs(scores[a]).max(0)
        for i in range(k):
            omega[a, :, cluster[a, i]] |= scaled[:, i] > np.quantile(scaled, 0.9)
    return np.array([[cluster[a, i] for i in range(k)] for a in range(m)]), omega


def seen_by_networks(rng, m=4, n=150, world=7, k=5, noise=0.4):
    """Networks that each see some features of one world, and noise."""
    truth = rng.exponential(size=(n, world))
    return [
        truth[:, rng.permutation(world)[:k]] * np.linspace(3, 1, k) + noise * rng.standard_normal((n, k))
        for _ in range(m)
    ]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("mode", "kept_as"), [("released", int), ("jiang", float)])
def test_the_tensor_is_what_the_definition_gives_entry_by_entry(mode, kept_as, seed):
    networks = seen_by_networks(np.random.default_rng(seed))
    tensor = interaction_tensor(networks, mode=mode, k=4, quantile=0.8)
    scores = np.stack([principal_components(x, 4) for x in networks])
    assignment, omega = defined(scores, tensor.threshold, kept_as)
    assert np.array_equal(tensor.assignment, assignment)
    assert np.array_equal(tensor.dense(), omega)
    assert tensor.n_features == omega.shape[2]
    np.testing.assert_array_equal(tensor.frequency, omega.any(0).sum(0))
    np.testing.assert_array_equal(tensor.features_per_datum, omega.any(0).sum(1))


def test_released_takes_the_last_cluster_where_jiang_takes_the_most_similar():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 5000))
    networks = [a[:, None], b[:, None], (2 * a + b)[:, None]]  # the third is nearer to the first
    given = {"k": 1, "threshold": 0.3}
    assert interaction_tensor(networks, mode="jiang", **given).assignment.ravel().tolist() == [0, 1, 0]
    assert interaction_tensor(networks, mode="released", **given).assignment.ravel().tolist() == [0, 1, 1]


@pytest.mark.parametrize("mode", ["released", "jiang"])
def test_thresholds_are_quantiles_of_all_similarities(mode):
    networks = seen_by_networks(np.random.default_rng(7))
    scores = np.concatenate([principal_components(x, 4) for x in networks], axis=1)
    sizes = np.abs(np.corrcoef(scores.T))
    level = {"released": 0.99, "jiang": 0.9}[mode]
    assert interaction_tensor(networks, mode=mode, k=4).threshold == pytest.approx(np.quantile(sizes, level), abs=1e-5)


# The robust mode -------------------------------------------------------------------------------------------------


def partition(assignment):
    return {frozenset(map(tuple, np.argwhere(assignment == t))) for t in range(assignment.max() + 1)}


@pytest.mark.parametrize("seed", range(5))
def test_neither_the_order_of_networks_nor_signs_matter(seed):
    rng = np.random.default_rng(seed)
    networks = seen_by_networks(rng, m=5)
    order = rng.permutation(5)
    signs = [rng.choice([-1, 1], 5) for _ in networks]
    plain = interaction_tensor(networks, k=None, quantile=0.7)
    other = interaction_tensor([networks[i] * signs[i] for i in order], k=None, quantile=0.7)
    assert partition(other.assignment) == {
        frozenset((int(np.flatnonzero(order == a)[0]), i) for a, i in cluster)
        for cluster in partition(plain.assignment)
    }
    np.testing.assert_allclose(other.features_per_datum, plain.features_per_datum)
    assert sorted(other.frequency) == sorted(plain.frequency)


def test_released_depends_on_signs():
    networks = seen_by_networks(np.random.default_rng(0), m=5)
    flipped = [x * np.where(np.arange(5) % 2, -1, 1) for x in networks]
    found = [interaction_tensor(x, mode="released", k=None, quantile=0.8).frequency.sum() for x in (networks, flipped)]
    assert found[0] != found[1]


def test_nothing_is_found_in_noise():
    found = []
    for seed in range(20):
        rng = np.random.default_rng(100 + seed)
        networks = [rng.standard_normal((300, 12)) for _ in range(6)]
        found.append(interaction_tensor(networks, k=8, seed=seed, threshold=0.0).n_features)  # the floor alone
        assert interaction_tensor(networks, k=8, mode="released").n_features > 0  # what a share of all must give
    assert sum(n > 0 for n in found) <= 4  # each with probability 1/20: P(5 or more) = .003


def test_the_floor_is_exceeded_by_chance_as_often_as_it_says():
    rng = np.random.default_rng(5)
    exceeded = 0
    for trial in range(200):
        z = rng.standard_t(4, size=(3, 4, 80))  # heavier tails than those of any formula
        z = ((z - z.mean(2, keepdims=True)) / z.std(2, keepdims=True)).astype(np.float32)
        between = max(np.abs(z[a] @ z[b].T).max() / 80 for a, b in itertools.combinations(range(3), 2))
        exceeded += between > chance_floor(z, draws=9, seed=trial)
    assert 8 <= exceeded <= 34  # 20 expected: a binomial of 200 at 1/10 leaves this once in 500


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_planted_features_are_recovered(noise):
    rng = np.random.default_rng(11)
    truth = rng.exponential(size=(2000, 9)) - 1
    seen = [[0, 1, 2, 3, 4], [0, 1, 2, 3, 5], [0, 1, 2, 6, 7], [0, 1, 2, 3, 8]]  # 0 to 2 by all, 3 by three of four
    strength = np.array([9, 7, 5.5, 4, 3])
    networks = [
        (truth[:, own] * strength + noise * rng.standard_normal((2000, 5)))
        @ np.linalg.qr(rng.standard_normal((5, 5)))[0]
        for own in seen
    ]
    tensor = interaction_tensor(networks, k=5, threshold=0.5)
    assert tensor.n_features == 4
    assert partition(tensor.assignment) == {
        frozenset((m, own.index(t)) for m, own in enumerate(seen) if t in own) for t in range(4)
    }
    assert tensor.n_unmatched.tolist() == [1, 1, 2, 1]
    _, present = tensor.presence(0)
    tails = truth[:, :4] > np.quantile(truth[:, :4], 0.97, axis=0)  # far out means there
    feature = tensor.assignment[0, :4]
    assert all(present[tensor.presence(0)[0] == feature[t]][0][tails[:, t]].all() for t in range(4))


def test_one_image_far_out_is_no_feature_and_no_floor():
    rng = np.random.default_rng(12)
    truth = rng.exponential(size=(1000, 4)) * [5, 4, 3, 2.5]
    networks = []
    for _ in range(12):
        x = np.concatenate([truth, rng.standard_normal((1000, 2))], axis=1)
        x[rng.integers(3), 4] = 60  # one of three images, in a component of its own
        networks.append(x)
    tensor = interaction_tensor(networks, k=5)
    assert tensor.floor < 0.3 and tensor.threshold == 0.5
    assert tensor.n_features == 4


def test_ties_make_nothing_alike():
    rng = np.random.default_rng(13)
    networks = [np.maximum(rng.standard_normal((400, 5)), 0.5) for _ in range(4)]  # two thirds of each column are equal
    assert np.abs(interaction_tensor(networks, k=None).correlation - np.eye(20)).max() < 0.3


# Groups ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_rarefied_counts_are_means_over_all_subsets(size):
    tensor = interaction_tensor(seen_by_networks(np.random.default_rng(3), m=6), k=4, quantile=0.8)
    omega = tensor.dense()[:5]
    subsets = [omega[list(chosen)].any(0) for chosen in itertools.combinations(range(5), size)]
    use = tensor.group(range(5), size)
    np.testing.assert_allclose(use.frequency, np.mean([s.sum(0) for s in subsets], axis=0), atol=1e-9)
    np.testing.assert_allclose(use.per_datum, np.mean([s.sum(1) for s in subsets], axis=0), atol=1e-9)
    assert use.n_features == pytest.approx(np.mean([s.any(0).sum() for s in subsets]))
    assert use.mean_frequency == pytest.approx(use.frequency.sum() / use.n_features)
    assert use.features_per_datum == pytest.approx(np.mean(use.per_datum))


def test_groups_are_counted_at_the_size_of_the_smallest():
    tensor = interaction_tensor(seen_by_networks(np.random.default_rng(4), m=5), k=4, quantile=0.8)
    by_arm = tensor.by_group(["ce", "kd", "ce", "kd", "ce"])
    assert {name: use.networks for name, use in by_arm.items()} == {"ce": 2, "kd": 2}
    np.testing.assert_allclose(by_arm["ce"].frequency, tensor.group([0, 2, 4], 2).frequency)
    whole = tensor.group([1, 3])
    np.testing.assert_allclose(by_arm["kd"].per_datum, whole.per_datum)
    assert by_arm["ce"].shared(by_arm["kd"]) == pytest.approx(by_arm["ce"].used @ by_arm["kd"].used)


def test_released_groups_must_have_one_size():
    tensor = interaction_tensor(seen_by_networks(np.random.default_rng(4), m=5), k=4, mode="released")
    with pytest.raises(ValueError, match=r"ce 3, kd 2 networks.*\"robust\""):
        tensor.by_group(["ce", "kd", "ce", "kd", "ce"])


def test_copies_of_a_network_add_nothing():
    x = seen_by_networks(np.random.default_rng(6), m=2)
    tensor = interaction_tensor([x[0], x[1], x[0], x[1]], k=4, threshold=0.5)
    one, both = tensor.group([0, 1]), tensor.group([0, 1, 2, 3])
    np.testing.assert_allclose(one.per_datum, both.per_datum)
    np.testing.assert_allclose(one.frequency, both.frequency)


@pytest.mark.parametrize("mode", ["robust", "released", "jiang"])
def test_some_networks_are_clustered_as_if_alone(mode):
    networks = seen_by_networks(np.random.default_rng(8), m=5)
    tensor = interaction_tensor(networks, k=4, mode=mode, threshold=0.4)
    alone = interaction_tensor([networks[i] for i in (3, 0, 4)], k=4, mode=mode, threshold=0.4)
    some = tensor.recluster([3, 0, 4])
    assert np.array_equal(some.assignment, alone.assignment)
    np.testing.assert_array_equal(some.dense(), alone.dense())
    closer = tensor.recluster(threshold=0.8)
    assert np.array_equal(closer.assignment, interaction_tensor(networks, k=4, mode=mode, threshold=0.8).assignment)


@pytest.mark.parametrize("mode", ["released", "jiang"])
def test_a_quantile_is_one_of_the_networks_that_are_joined(mode):
    networks = seen_by_networks(np.random.default_rng(9), m=6)
    tensor = interaction_tensor(networks, k=4, mode=mode)
    some, alone = tensor.recluster([5, 1, 2]), interaction_tensor([networks[i] for i in (5, 1, 2)], k=4, mode=mode)
    assert some.threshold == pytest.approx(alone.threshold) and np.array_equal(some.assignment, alone.assignment)


def test_features_are_shared_within_one_tensor():
    tensor = interaction_tensor(seen_by_networks(np.random.default_rng(4), m=4), k=4, threshold=0.4)
    other = tensor.recluster([0, 1]).group([0])
    with pytest.raises(ValueError, match="features are shared within one tensor"):
        tensor.group([0]).shared(other)


def test_the_frame_has_a_row_a_feature_and_group():
    tensor = interaction_tensor(seen_by_networks(np.random.default_rng(4), m=4), k=4, threshold=0.4)
    frame = tensor.to_frame(["ce", "ce", "kd", "kd"])
    assert list(frame.columns) == ["feature", "group", "n_networks", "frequency"]
    assert len(frame) == 2 * tensor.n_features
    of_kd = frame[frame["group"] == "kd"]
    np.testing.assert_allclose(of_kd["frequency"], tensor.group([2, 3]).frequency)
    np.testing.assert_array_equal(of_kd["n_networks"], tensor.dense()[2:].any(1).sum(0))
    assert tensor.to_frame()["group"].unique().tolist() == ["all"]


# Mistakes --------------------------------------------------------------------------------------------------------

X = np.random.default_rng(0).standard_normal((40, 6))
HOLE = X.copy()
HOLE[7, 2] = np.nan


@pytest.mark.parametrize(
    ("networks", "options", "said"),
    [
        ([X], {}, "1 network"),
        ([X, X[:30]], {}, "network 0 has 40 examples, network 1 has 30"),
        ([X, X], {"k": 7}, "network 0: k is 7, but 40 examples of 6 dimensions have at most 6"),
        ([X, np.ones((40, 6))], {"k": 2}, "network 1: the activations are constant"),
        ([X, HOLE], {"k": 2}, "network 1: activations: row 7, dimension 2 is nan"),
        ([X, X[:, :1] @ np.ones((1, 6))], {"k": 2}, "network 1: k is 2, but only 1 components? vary"),
        ([X, X], {"k": 0}, "k is 0: a whole number"),
        ([X, X], {"k": 2.5}, "k is 2.5: a whole number"),
        ([X, X], {"k": "3"}, "k is '3': a whole number"),
        ({"a": X, "b": X}, {"k": 2}, "a list of arrays, one a network, not dict"),
        ([1.0, 2.0], {"k": 2}, "network 0: activations are real numbers of shape"),
        ([X, X], {"k": 2, "quantile": 0.9, "threshold": 0.5}, "threshold 0.5 and quantile 0.9 both say what γ is"),
        ([X, X], {"k": 2, "mode": "best"}, "mode is 'best': it is one of robust, released, jiang"),
        ([X, X], {"k": 2, "quantile": 1.0}, "quantile is 1.0"),
        ([X, X], {"k": 2, "threshold": -0.1}, "threshold is -0.1"),
        ([X, X], {"k": 2, "null_draws": 0}, "null_draws is 0"),
        ([X, X[:, :3]], {"k": None}, "network 0 has 6 columns, network 1 has 3"),
        ([X, np.where(np.arange(6) == 4, 1.0, X)], {"k": None}, "network 1: column 4 is constant"),
        ([X.ravel(), X.ravel()], {"k": 2}, r"of shape \(N, D\)"),
        ([X.astype(str), X], {"k": 2}, "real numbers"),
    ],
)
def test_mistakes_are_named(networks, options, said):
    with pytest.raises(ValueError, match=said):
        interaction_tensor(networks, **options)


def test_groups_of_nothing_are_refused():
    tensor = interaction_tensor([X, X, X], k=2)
    for networks, size in (
        ([], None),
        ([0, 0], None),
        ([0, 3], None),
        ([-1], None),
        ([0.5, 1.2], None),
        ([0, 1], 3),
        ([0, 1], 0),
    ):
        with pytest.raises(ValueError):
            tensor.group(networks, size)
    with pytest.raises(ValueError, match="one label for each of 3"):
        tensor.by_group(["a", "b"])
    with pytest.raises(ValueError, match="two or more different"):
        tensor.recluster([1])


def test_no_feature_has_no_mean_frequency():
    rng = np.random.default_rng(0)
    tensor = interaction_tensor([rng.standard_normal((300, 4)) for _ in range(3)], k=3, threshold=0.9)
    assert tensor.n_features == 0
    use = tensor.group([0, 1])
    assert (use.n_features, use.features_per_datum) == (0, 0)
    with pytest.raises(UndefinedMetric, match="uses no feature"):
        _ = use.mean_frequency


# Alignment -------------------------------------------------------------------------------------------------------


def hsic_by_tuples(k, m):
    """The unbiased estimator from its definition: the mean of a kernel over all ordered quadruples."""
    quadruples = list(itertools.permutations(range(len(k)), 4))
    return sum(k[i, j] * m[i, j] + k[i, j] * m[q, r] - 2 * k[i, j] * m[i, q] for i, j, q, r in quadruples) / len(
        quadruples
    )


def test_alignment_is_the_quotient_of_unbiased_estimates():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((7, 3)) + 2, rng.standard_normal((7, 4))
    k, m = x @ x.T, y @ y.T
    expected = hsic_by_tuples(k, m) / np.sqrt(hsic_by_tuples(k, k) * hsic_by_tuples(m, m))
    assert linear_cka(x, y, batch=None) == pytest.approx(expected)


def test_alignment_over_batches_sums_them():
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((13, 3)), rng.standard_normal((13, 2))
    parts = [slice(0, 6), slice(6, 13)]  # what is left over joins the last
    sums = [
        sum(hsic_by_tuples(a[part] @ a[part].T, b[part] @ b[part].T) for part in parts)
        for a, b in ((x, y), (x, x), (y, y))
    ]
    assert linear_cka(x, y, batch=6, seed=None) == pytest.approx(sums[0] / np.sqrt(sums[1] * sums[2]))


def test_alignment_does_not_depend_on_a_file_sorted_by_class():
    rng = np.random.default_rng(4)
    classes = np.repeat(np.arange(8), 64)
    x = rng.standard_normal((8, 6))[classes] + rng.standard_normal((512, 6))
    y = rng.standard_normal((8, 6))[classes] + rng.standard_normal((512, 6))
    order = rng.permutation(512)
    assert linear_cka(x, y, batch=64) == pytest.approx(linear_cka(x[order], y[order], batch=64), abs=0.03)


def test_alignment_ignores_rotation_scale_and_shift_and_is_symmetric():
    rng = np.random.default_rng(2)
    x, y = rng.standard_normal((300, 6)), rng.standard_normal((300, 9))
    y[:, :6] += x
    rotation = np.linalg.qr(rng.standard_normal((6, 6)))[0]
    value = linear_cka(x, y)
    assert 0 < value < 1
    assert linear_cka(5 * x @ rotation - 3, y) == pytest.approx(value)
    assert linear_cka(y, x) == pytest.approx(value)


def test_unrelated_representations_align_by_nothing_however_wide():
    rng = np.random.default_rng(3)
    found = [linear_cka(rng.standard_normal((64, 500)), rng.standard_normal((64, 500)), batch=32) for _ in range(40)]
    assert abs(np.mean(found)) < 4 * np.std(found) / np.sqrt(40)  # the biased one would give about .9


def test_alignment_with_a_constant_does_not_exist():
    with pytest.raises(UndefinedMetric, match="y does not vary"):
        linear_cka(X, np.ones((40, 3)))
    with pytest.raises(ValueError, match="x has 40 examples, y has 30"):
        linear_cka(X, X[:30])
    with pytest.raises(ValueError, match="four or more"):
        linear_cka(X, X, batch=3)


# Disagreement ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(10))
def test_the_gap_is_bounded_by_the_calibration_error(seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, 60)
    predictions = np.where(rng.random((5, 60)) < rng.random(60), labels, rng.integers(0, 4, (5, 60)))
    found = disagreement_equality(predictions, labels)
    pairs = [np.mean(a != b) for a, b in itertools.combinations(predictions, 2)]
    every = [np.mean(a != b) for a, b in itertools.product(predictions, predictions)]
    assert found.error == pytest.approx(np.mean(predictions != labels))
    assert found.disagreement_of_pairs == pytest.approx(np.mean(pairs))
    assert found.disagreement == pytest.approx(np.mean(every))
    assert abs(found.gap) <= found.calibration_error + 1e-12


def test_votes_that_are_calibrated_disagree_as_often_as_they_err():
    predictions = np.array([[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1]])
    found = disagreement_equality(predictions, [0, 0, 0, 1])  # three votes in four, right three times in four
    assert (found.calibration_error, found.gap) == (0, 0)
    assert found.error == 6 / 16
    of_one = disagreement_equality(predictions, [0, 0, 0, 0])
    assert of_one.calibration_error == pytest.approx(0.5)  # |1 - 3/4| + |0 - 1/4|
    assert of_one.gap == pytest.approx(3 / 8 - 1 / 4)


def test_disagreement_needs_networks_and_classes():
    with pytest.raises(ValueError, match="two networks or more"):
        disagreement_equality([[0, 1]], [0, 1])
    with pytest.raises(ValueError, match=r"\(M, N\)"):
        disagreement_equality([[0.5, 1.0], [0.0, 1.0]], [0, 1])
    with pytest.raises(ValueError, match="below 0"):
        disagreement_equality([[0, -1], [0, 1]], [0, 1])
