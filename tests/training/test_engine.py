"""The engine: pairing, bits, schedules, failures. Planted equalities, not timings."""

import copy

import numpy as np
import pytest
import torch

from kdstats.datasets import Dataset, load_dataset
from kdstats.errors import UserError
from kdstats.plan import Replicate, stream
from kdstats.protocol import Point, Recipe
from kdstats.training.data import to_device
from kdstats.training.engine import (
    check_precision,
    choose_device,
    learning_rate,
    set_up,
    state_of,
    train_replicates,
)
from kdstats.training.targets import Lesson, Teacher, noise

CPU = torch.device("cpu")
RECIPE = Recipe(optimiser="adamw", learning_rate=0.01, epochs=2, batch_size=50, augmentation="crop")
KD = {"alpha": 0.5, "temperature": 4.0}
RCD = KD | {"noise": "gaussian", "space": "logits", "redraw": False, "scale": "teacher"}


@pytest.fixture(scope="module")
def images():
    set_up(CPU)
    return to_device(load_dataset("digits", train=100, test=50), CPU)


@pytest.fixture(scope="module")
def teachers(images):
    trained = {}
    for seed in range(2):
        replicate = Replicate(f"t{seed}", "teacher", "mlp", None, seed)
        trained[f"t{seed}"] = Teacher("mlp", alone(replicate, RECIPE, images).model, images)
    return trained


def alone(replicate, recipe, images, teachers=None, **options):
    (trained,) = train_replicates([replicate], recipe, 0, images, (teachers or {}).__getitem__, **options)
    return trained


def student(arm, parameters=None, *, images, teachers, seed=0, initialisation="teacher", recipe=RECIPE, kind=None):
    kind = kind or arm
    point = Point(arm, kind, tuple(sorted((parameters or {}).items())), initialisation)
    other = "t1" if kind == "kd-other" else None
    replicate = Replicate("s", "student", "mlp", point, 0, seed, "t0", other)
    return alone(replicate, recipe, images, teachers)


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
    teacher = alone(Replicate("t", "teacher", "mlp", None, 0), still, images)
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


def test_one_cycle_is_torchs():
    model = torch.nn.Linear(1, 1)
    optimiser = torch.optim.SGD(model.parameters(), 0.2)
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimiser, 0.2, total_steps=40, cycle_momentum=False)
    recipe = Recipe(learning_rate=0.2, schedule="one-cycle", epochs=8)
    for step in range(40):
        assert learning_rate(recipe, step, 5) == pytest.approx(theirs.get_last_lr()[0], rel=1e-9)
        optimiser.step()
        if step < 39:
            theirs.step()
    alone = Recipe(learning_rate=0.2, schedule="one-cycle", epochs=1)
    assert learning_rate(alone, 0, 1) == pytest.approx(0.2 / 250_000)  # a single step is the last one


GROUP = (("siddo", {}), ("kd", KD), ("kd-other", KD), ("rcd", RCD), ("kd", KD | {"alpha": 0.9}))
EVERYTHING = {"label_smoothing": 0.1, "clip_norm": 0.05, "ema": 0.9, "mixup": 0.4, "cutmix": 1.0}


def group(model="mlp", which=GROUP):
    return [
        Replicate(
            f"s{i}", "student", model, Point(kind, kind, tuple(sorted(parameters.items())), "fresh"), 0, 3, "t0",
            "t1" if kind == "kd-other" else None,
        )
        for i, (kind, parameters) in enumerate(which)
    ]  # fmt: skip


@pytest.mark.parametrize("changes", [{}, {"augmentation": "none"}, EVERYTHING], ids=["crop", "plain", "everything"])
@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_networks_side_by_side_are_bit_for_bit_what_they_are_alone(images, teachers, changes, model):
    recipe = RECIPE.model_copy(update=changes)
    together = train_replicates(group(model), recipe, 0, images, teachers.__getitem__)
    for replicate, one in zip(group(model), together, strict=True):
        by_itself = alone(replicate, recipe, images, teachers)
        assert np.array_equal(one.logits, by_itself.logits) and one.losses == by_itself.losses, str(replicate)


def test_one_that_fails_leaves_the_others_alone(images, teachers):
    wild = RECIPE.model_copy(update={"epochs": 3})
    huge = ("kd", KD | {"temperature": 1e30})  # T² is infinite
    fails, fine = train_replicates(group(which=(huge, ("siddo", {}))), wild, 0, images, teachers.__getitem__)
    assert fails.logits is None and fails.failed_at == 1 and len(fine.losses) == 3
    assert np.array_equal(fine.logits, alone(group(which=(huge, ("siddo", {})))[1], wild, images, teachers).logits)


@pytest.mark.parametrize(
    "changes",
    [
        {"optimiser": "sgd", "momentum": 0.9, "nesterov": True},
        {"optimiser": "sgd", "momentum": 0.0},
        {"optimiser": "adamw"},
        {"optimiser": "adamax"},
        EVERYTHING,
    ],
)
def test_a_training_that_was_cut_off_ends_with_the_same_bits(images, teachers, changes):
    recipe = RECIPE.model_copy(update={"epochs": 4} | changes)
    kept = {}

    def keep(students):
        for student in students:
            if len(student.losses) == 1 + (student.id == "s1"):  # one of them got an epoch further
                kept[student.id] = state_of(student)

    whole = train_replicates(group("cnn"), recipe, 0, images, teachers.__getitem__, keep)
    assert len(kept) == len(GROUP)
    again = train_replicates(group("cnn"), recipe, 0, images, teachers.__getitem__, states=kept)
    for one, other in zip(whole, again, strict=True):
        assert np.array_equal(one.logits, other.logits) and one.losses == other.losses


def test_dropout_belongs_to_the_seed_not_to_what_ran_before():
    pytest.importorskip("torchvision")
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (32, 32, 32, 3), dtype=np.uint8), rng.integers(0, 3, 32)
    pictures = to_device(Dataset("x", x, y, x[:8], y[:8], 3), CPU)
    recipe = RECIPE.model_copy(update={"epochs": 1, "batch_size": 16})
    which = group("torchvision:mobilenet_v3_small", (("ce", {}), ("ce", {})))
    one, other = train_replicates(which, recipe, 0, pictures, {}.__getitem__)
    torch.rand(7)
    again = alone(which[1], recipe, pictures)
    assert np.array_equal(one.logits, other.logits) and np.array_equal(one.logits, again.logits)


def test_every_option_of_a_recipe_changes_what_is_trained(images, teachers):
    (plain,) = train_replicates(group(which=GROUP[1:2]), RECIPE, 0, images, teachers.__getitem__)
    for name, value in EVERYTHING.items():
        recipe = RECIPE.model_copy(update={name: value})
        (changed,) = train_replicates(group(which=GROUP[1:2]), recipe, 0, images, teachers.__getitem__)
        assert not np.array_equal(changed.logits, plain.logits), name


def test_an_average_of_weights_by_hand(images, teachers):
    recipe = Recipe(optimiser="sgd", momentum=0.0, weight_decay=0.0, learning_rate=0.1, schedule="constant", epochs=2,
                    batch_size=100)  # fmt: skip
    weights = []

    def keep(students):
        weights.append(students[0].model[1].weight.detach().clone())

    (trained,) = train_replicates(
        group(which=GROUP[:1]), recipe.model_copy(update={"ema": 0.8}), 0, images, teachers.__getitem__, keep
    )
    # torch copies the first weights that it is shown, those after the first step
    expected = 0.8 * weights[0] + 0.2 * weights[1]
    assert torch.allclose(trained.model[1].weight, expected, atol=1e-7)


def test_noise_is_fixed_per_example_matched_to_the_teacher_and_redrawn_when_asked(images, teachers):
    def target(**changes):
        lesson = Lesson(images, RECIPE, RCD | changes, stream, None, teachers["t0"])
        return noise(lesson)

    index = torch.arange(100)
    fixed = target()
    assert torch.equal(fixed(0, index, index), fixed(5, index, index))
    assert torch.equal(fixed(0, index[10:20], index), fixed(0, index, index)[10:20])
    again = target(redraw=True)
    assert not torch.equal(again(0, index, index), again(1, index, index))
    teacher = teachers["t0"].table
    for kind in ("gaussian", "uniform"):  # 1,000 draws: mean and spread within 4 standard errors
        drawn = target(noise=kind)(0, index, index)
        assert abs(drawn.mean() - teacher.mean()) < 4 * teacher.std() / 1000**0.5
        assert drawn.std() / teacher.std() == pytest.approx(1, abs=0.1)
        p = target(noise=kind, space="probabilities")(0, index, index).exp()
        assert torch.allclose(p.sum(1), torch.ones(100), atol=1e-5)
    assert target(scale=2.0)(0, index, index).std() == pytest.approx(2, abs=0.2)


def test_a_precision_that_the_device_lacks(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Old Card")
    with pytest.raises(UserError, match="Old Card has no bfloat16; write precision: float32"):
        check_precision("bfloat16", torch.device("cuda"))
    assert check_precision("float32", torch.device("cuda")) == ""
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    assert "slower here than float32" in check_precision("bfloat16", CPU)


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
    moved = {key: Teacher("mlp", copy.deepcopy(teacher.model).to(card), there) for key, teacher in teachers.items()}
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
