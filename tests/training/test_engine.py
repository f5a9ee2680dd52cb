"""The engine: pairing, bits, schedules, failures. Planted equalities, not timings."""

import numpy as np
import pytest
import torch

from kdstats.datasets import load_dataset
from kdstats.errors import UserError
from kdstats.plan import Replicate, stream
from kdstats.protocol import Point, Recipe
from kdstats.training.data import to_device
from kdstats.training.engine import be_deterministic, choose_device, learning_rate, train_replicate
from kdstats.training.targets import Lesson, logits_of, noise

CPU = torch.device("cpu")
RECIPE = Recipe(optimiser="adamw", learning_rate=0.01, epochs=2, batch_size=50, augmentation="crop")
KD = {"alpha": 0.5, "temperature": 4.0}
RCD = KD | {"noise": "gaussian", "space": "logits", "redraw": False, "scale": "teacher"}


@pytest.fixture(scope="module")
def images():
    be_deterministic(CPU)
    return to_device(load_dataset("digits", train=100, test=50), CPU)


@pytest.fixture(scope="module")
def teachers(images):
    trained = {}
    for seed in range(2):
        replicate = Replicate(f"t{seed}", "teacher", "mlp", None, seed)
        trained[f"t{seed}"] = train_replicate(replicate, RECIPE, 0, images, trained.__getitem__).model.eval()
    return trained


def student(arm, parameters=None, *, images, teachers, seed=0, initialisation="teacher", recipe=RECIPE, kind=None):
    kind = kind or arm
    point = Point(arm, kind, tuple(sorted((parameters or {}).items())), initialisation)
    other = "t1" if kind == "kd-other" else None
    replicate = Replicate("s", "student", "mlp", point, 0, seed, "t0", other)
    return train_replicate(replicate, recipe, 0, images, teachers.__getitem__)


def test_the_same_replicate_has_the_same_bits_whatever_ran_before(images, teachers):
    first = student("kd", KD, images=images, teachers=teachers).logits
    torch.manual_seed(123)
    np.random.seed(5)  # noqa: NPY002 - global state must not matter
    student("rcd", RCD, images=images, teachers=teachers)
    assert np.array_equal(first, student("kd", KD, images=images, teachers=teachers).logits)


def test_kd_of_weight_zero_is_its_control_bit_for_bit(images, teachers):
    control = student("siddo", images=images, teachers=teachers).logits
    assert np.array_equal(student("kd", KD | {"alpha": 0.0}, images=images, teachers=teachers).logits, control)
    assert np.array_equal(student("rcd", RCD | {"alpha": 0.0}, images=images, teachers=teachers).logits, control)


def test_arms_differ_and_an_arms_name_does_not_matter(images, teachers):
    kd = student("kd", KD, images=images, teachers=teachers).logits
    assert np.array_equal(kd, student("mine", KD, images=images, teachers=teachers, kind="kd").logits)
    others = [
        student(arm, parameters, images=images, teachers=teachers).logits
        for arm, parameters in (("siddo", {}), ("kd-other", KD), ("rcd", RCD), ("kd", KD | {"temperature": 1.0}))
    ]
    assert not any(np.array_equal(kd, other) for other in others)


def test_initialisation_teacher_starts_where_the_teacher_started(images, teachers):
    still = Recipe(optimiser="sgd", learning_rate=1e-30, weight_decay=0.0, momentum=0.0, epochs=1, batch_size=100)
    teacher = train_replicate(Replicate("t", "teacher", "mlp", None, 0), still, 0, images, teachers.__getitem__)
    kd = student("kd", KD, images=images, teachers=teachers, recipe=still)
    assert np.array_equal(teacher.logits, kd.logits)
    fresh = student("ce", images=images, teachers=teachers, recipe=still, initialisation="fresh")
    again = student("kd", KD, images=images, teachers=teachers, recipe=still, initialisation="fresh")
    other_seed = student("ce", images=images, teachers=teachers, recipe=still, initialisation="fresh", seed=1)
    assert np.array_equal(fresh.logits, again.logits)
    assert not np.array_equal(fresh.logits, other_seed.logits) and not np.array_equal(fresh.logits, kd.logits)


def test_training_lowers_the_loss_and_keeps_the_curve(images, teachers):
    trained = student("siddo", images=images, teachers=teachers, recipe=RECIPE.model_copy(update={"epochs": 20}))
    assert len(trained.losses) == 20 and trained.losses[-1] < 0.5 * trained.losses[0]
    assert trained.logits.shape == (50, 10) and trained.logits.dtype == np.float32


def test_a_loss_that_becomes_infinite_is_a_failure_with_its_step(images, teachers):
    wild = Recipe(optimiser="sgd", learning_rate=1e30, momentum=0.0, weight_decay=0.0, epochs=3, batch_size=50)
    trained = student("siddo", images=images, teachers=teachers, recipe=wild)
    assert trained.logits is None and trained.failed_at == 2  # the first step's loss is that of the initial weights


def test_learning_rates_by_hand():
    recipe = Recipe(learning_rate=1.0, schedule="multi-step", milestones=(2, 3), epochs=4)
    assert [learning_rate(recipe, step, 2) for step in (0, 3, 4, 6)] == pytest.approx([1, 1, 0.1, 0.01])
    warm = Recipe(learning_rate=1.0, schedule="cosine", warmup_epochs=1, epochs=5)
    assert [learning_rate(warm, step, 2) for step in (0, 1, 2, 6)] == pytest.approx([0.5, 1, 1, 0.5])
    assert learning_rate(Recipe(learning_rate=0.3, schedule="constant"), 99, 2) == 0.3


def test_noise_is_fixed_per_example_matched_to_the_teacher_and_redrawn_when_asked(images, teachers):
    def target(**changes):
        lesson = Lesson(images, "none", RCD | changes, stream(7), teachers["t0"], None)
        return noise(lesson)

    index = torch.arange(100)
    fixed = target()
    assert torch.equal(fixed(0, index, index), fixed(5, index, index))
    assert torch.equal(fixed(0, index[10:20], index), fixed(0, index, index)[10:20])
    again = target(redraw=True)
    assert not torch.equal(again(0, index, index), again(1, index, index))
    teacher = logits_of(teachers["t0"], images, images.x_train)
    for kind in ("gaussian", "uniform"):  # 1,000 draws: mean and spread within 4 standard errors
        drawn = target(noise=kind)(0, index, index)
        assert abs(drawn.mean() - teacher.mean()) < 4 * teacher.std() / 1000**0.5
        assert drawn.std() / teacher.std() == pytest.approx(1, abs=0.1)
        p = target(noise=kind, space="probabilities")(0, index, index).exp()
        assert torch.allclose(p.sum(1), torch.ones(100), atol=1e-5)
    assert target(scale=2.0)(0, index, index).std() == pytest.approx(2, abs=0.2)


def test_a_device_that_is_not_there():
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(UserError, match=r"--device cuda: .*available: cpu"):
        choose_device("cuda")
    assert choose_device("auto").type in ("cpu", "mps")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_agrees_with_the_cpu(images, teachers):
    card = torch.device("cuda")
    there = to_device(load_dataset("digits", train=100, test=50), card)
    moved = {key: model.to(card) for key, model in teachers.items()}
    on_card = student("kd", KD, images=there, teachers=moved).logits
    assert np.allclose(on_card, student("kd", KD, images=images, teachers=teachers).logits, atol=0.05)


def test_bfloat16_and_every_optimiser_train(images, teachers):
    for changes in (
        {"precision": "bfloat16"},
        {"optimiser": "sgd", "nesterov": True, "momentum": 0.9},
        {"optimiser": "adamax"},
    ):
        trained = student(
            "kd", KD, images=images, teachers=teachers, recipe=RECIPE.model_copy(update=changes | {"epochs": 10})
        )
        assert trained.logits is not None and trained.losses[-1] < trained.losses[0]
