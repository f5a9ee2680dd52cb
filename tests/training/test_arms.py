"""Every arm of the catalogue in the engine: what its target is, what it shares with its control, that it goes on."""

import math

import numpy as np
import pytest
import torch

from kdstats.catalog import ARMS
from kdstats.datasets import Dataset, load_dataset
from kdstats.errors import UserError
from kdstats.plan import Replicate, stream
from kdstats.protocol import Point, Recipe
from kdstats.training.architectures import build_model
from kdstats.training.data import augmentation, augmented, normalise, to_device
from kdstats.training.engine import set_up, state_of, train_replicates
from kdstats.training.features import Match, as_map, check_layers, layers_of, maps_of, stages
from kdstats.training.targets import TARGETS, Lesson, OwnConfusion, PreviousEpoch, Teacher, soft_phase

CPU = torch.device("cpu")
RECIPE = Recipe(optimiser="adamw", learning_rate=0.01, epochs=2, batch_size=25, augmentation="crop")
INDEX = torch.arange(100)


@pytest.fixture(scope="module")
def images():
    set_up(CPU)
    return to_device(load_dataset("digits", train=150, test=50, held_out=50), CPU)


@pytest.fixture(scope="module")
def teachers(images):
    made = {}
    for seed in range(2):
        replicate = Replicate(f"t{seed}", "teacher", "cnn", None, seed)
        (done,) = train_replicates([replicate], RECIPE, 0, images, {}.__getitem__)
        made[f"t{seed}"] = Teacher("cnn", done.model, images)
    return made


def point(kind, **changes):
    parameters = ARMS[kind].parameters(**changes).model_dump()
    return Point(kind, kind, tuple(sorted(parameters.items())), ARMS[kind].initialisation or "teacher")


def replicate(kind, **changes):
    other = "t1" if ARMS[kind].learns_from in ("other", "twin") else None
    return Replicate(kind, "student", "cnn", point(kind, **changes), 0, 0, "t0", other)


def trained(replicates, images, teachers, recipe=RECIPE, **options):
    return train_replicates(replicates, recipe, 0, images, teachers.__getitem__, **options)


def lesson(images, teachers, kind, recipe=RECIPE, student=None, **changes):
    parameters = ARMS[kind].parameters(**changes).model_dump()
    return Lesson(images, recipe, parameters, stream, student, teachers["t0"], teachers["t1"])


def target(images, teachers, kind, **changes):
    made = lesson(images, teachers, kind, RECIPE.model_copy(update={"augmentation": "none"}), **changes)
    return TARGETS[ARMS[kind].target](made)


EVERYONE = {kind: {} for kind in ARMS} | {"dkd": {"warmup_epochs": 2}, "cs-kd": {}}
OFF = {  # an arm at weight 0 is its control
    "kd": {"alpha": 0.0}, "kd-other": {"alpha": 0.0}, "rcd": {"alpha": 0.0}, "random-init": {"alpha": 0.0},
    "label-smoothing": {"alpha": 0.0}, "class-mean": {"alpha": 0.0}, "confusion": {"alpha": 0.0},
    "neutral": {"alpha": 0.0}, "dkpp": {"alpha": 0.0},
    "dkd": {"tckd": 0.0, "nckd": 0.0, "warmup_epochs": 2}, "dist": {"beta": 0.0, "gamma": 0.0},
    "ats": {"weight": 0.0}, "logit-std": {"weight": 0.0}, "ttm": {"beta": 0.0}, "wttm": {"beta": 0.0},
    "tf-kd-self": {"alpha": 0.0}, "tf-kd-reg": {"alpha": 0.0}, "ps-kd": {"alpha": 0.0}, "born-again": {"alpha": 0.0},
    "confusion-distillation": {"alpha": 0.0},
    "fitnet": {"weight": 0.0}, "attention-transfer": {"weight": 0.0},
}  # fmt: skip


def test_confusion_is_taught_by_turns():
    assert "".join("S" if soft_phase(epoch, 10) else "H" for epoch in range(10)) == "HSHHSHHHHH"
    phases = [soft_phase(epoch, 300) for epoch in range(300)]
    changes = [0, *(i for i in range(1, 300) if phases[i] != phases[i - 1]), 300]
    assert np.diff(changes).tolist() == [30, 30, 60, 30, 150] and not phases[0]


def confused(images, **changes):
    recipe = RECIPE.model_copy(update={"epochs": 10})
    parameters = ARMS["confusion-distillation"].parameters(**changes).model_dump()
    return OwnConfusion(Lesson(images, recipe, parameters, stream, None))


class Says(torch.nn.Module):
    """A network that takes every image for the class after that of its label's row in a table."""

    def __init__(self, classes):
        super().__init__()
        self.said = iter(classes)

    def forward(self, x):
        return torch.nn.functional.one_hot(next(self.said)[: len(x)], 10).float()


def test_confusion_is_averaged_from_the_end_of_the_first_hard_phase(images):
    goal = confused(images, momentum=0.9)
    first = 0.9 * torch.eye(10) + 0.01
    torch.testing.assert_close(goal.table, first)
    next_class = (goal.y + 1) % 10
    goal.learn(0, Says([next_class]))  # the first of ten epochs is the last hard one
    shifted = torch.roll(torch.eye(10), 1, dims=1)
    torch.testing.assert_close(goal.table, 0.9 * first + 0.1 * shifted)
    goal.learn(1, Says([goal.y]))
    torch.testing.assert_close(goal.table, 0.9 * (0.9 * first + 0.1 * shifted) + 0.1 * torch.eye(10))
    p = torch.softmax(goal(1, INDEX, None) / 2.0, dim=1)
    torch.testing.assert_close(p, goal.table[images.y_train])


def test_nothing_is_learnt_in_the_first_hard_phase(images):
    recipe = RECIPE.model_copy(update={"epochs": 30})
    parameters = ARMS["confusion-distillation"].parameters().model_dump()
    goal = OwnConfusion(Lesson(images, recipe, parameters, stream, None))
    before = goal.table.clone()
    goal.learn(1, Says([]))
    assert torch.equal(goal.table, before)


def test_permuted_confusion_keeps_its_rows_but_no_place(images):
    goal = confused(images, permuted=True)
    goal.table.copy_(torch.rand(10, 10))
    rows = torch.exp(goal(0, INDEX, None) / 2.0)
    plain = goal.table[images.y_train]
    torch.testing.assert_close(rows.sort(1).values, plain.sort(1).values)
    moved = (goal.order != torch.arange(10)) | torch.eye(10, dtype=torch.bool)
    assert moved.all() and torch.equal(goal.order.diagonal(), torch.arange(10))


def test_the_leak_is_of_the_test_images_and_no_more_than_are_held_out(images):
    leaking, honest = confused(images, matrix="test-leak"), confused(images)
    assert torch.equal(honest.x, images.x_held) and len(leaking.y) == len(honest.y)
    there = {image.numpy().tobytes() for image in images.x_test}
    assert all(image.numpy().tobytes() in there for image in leaking.x)


def test_confusion_distillation_at_weight_0_is_its_control_over_all_phases(images, teachers):
    recipe = RECIPE.model_copy(update={"epochs": 10})
    arms = [replicate("ce"), replicate("confusion-distillation", alpha=0.0), replicate("confusion-distillation")]
    arms[0] = Replicate("siddo", "student", "cnn", point("siddo"), 0, 0, "t0")
    control, off, on = trained(arms, images, teachers, recipe)
    np.testing.assert_array_equal(off.logits, control.logits)
    assert not np.array_equal(on.logits, control.logits)


def test_every_arm_trains_learns_and_differs_from_its_control(images, teachers):
    recipe = RECIPE.model_copy(update={"epochs": 6})
    done = trained([replicate(kind, **changes) for kind, changes in EVERYONE.items()], images, teachers, recipe)
    logits = {kind: one.logits for kind, one in zip(EVERYONE, done, strict=True)}
    for kind, one in zip(EVERYONE, done, strict=True):
        assert one.failed_at is None and len(one.losses) == 6, kind
        if kind not in ("rcd", "random-init"):
            assert one.losses[-1] < one.losses[0], kind
        if not ARMS[kind].plain:
            assert not np.array_equal(one.logits, logits["siddo"]), kind


@pytest.mark.parametrize("changes", [{}, {"clip_norm": 0.5, "optimiser": "sgd", "momentum": 0.9}])
def test_at_weight_zero_every_arm_is_its_control_bit_for_bit(images, teachers, changes):
    recipe = RECIPE.model_copy(update=changes)
    control, *arms = trained(
        [replicate("siddo"), *(replicate(kind, **off) for kind, off in OFF.items())], images, teachers, recipe
    )
    for kind, arm in zip(OFF, arms, strict=True):
        assert np.array_equal(arm.logits, control.logits), kind
    assert OFF.keys() == {kind for kind, arm in ARMS.items() if not arm.plain} - {"cwtm", "cs-kd"}


def test_arms_side_by_side_are_what_they_are_alone_and_go_on_after_a_kill(images, teachers):
    group = [
        replicate(kind, **EVERYONE[kind])
        for kind in ("kd", "dkd", "cs-kd", "ps-kd", "fitnet", "dkpp", "confusion-distillation")
    ]
    kept = {}

    def keep(students):
        kept.update({s.id: state_of(s) for s in students if len(s.losses) == 1})

    together = trained(group, images, teachers, after_epoch=keep)
    resumed = trained(group, images, teachers, states=kept)
    for one, whole, rest in zip(group, together, resumed, strict=True):
        (alone,) = trained([one], images, teachers)
        assert np.array_equal(alone.logits, whole.logits), one.id
        assert np.array_equal(rest.logits, whole.logits) and rest.losses == whole.losses, one.id


# Targets ---------------------------------------------------------------------------------------------------------


def test_permuted_keeps_the_largest_and_the_set_of_the_others(images, teachers):
    plain, shuffled = (target(images, teachers, kind)(0, INDEX, INDEX) for kind in ("kd", "dkpp"))
    assert torch.equal(plain.argmax(1), shuffled.argmax(1)) and torch.equal(plain.amax(1), shuffled.amax(1))
    assert torch.equal(plain.sort(1).values, shuffled.sort(1).values)
    moved = (plain != shuffled).sum(1)
    assert moved.float().mean() == pytest.approx(8, abs=0.5)  # of 9 classes one stays by chance
    assert len({tuple(row) for row in plain.argsort(1)[:, :9].tolist()}) > 90


def test_a_shuffle_belongs_to_the_image_and_with_redraw_to_the_epoch(images, teachers):
    fixed, redrawn = (target(images, teachers, "dkpp", redraw=redraw) for redraw in (False, True))
    assert torch.equal(fixed(0, INDEX, INDEX), fixed(3, INDEX, INDEX))
    assert torch.equal(fixed(0, INDEX[7:9], INDEX), fixed(0, INDEX, INDEX)[7:9])
    assert not torch.equal(redrawn(0, INDEX, INDEX), redrawn(1, INDEX, INDEX))


def test_class_mean_is_the_mean_of_tempered_probabilities(images, teachers):
    said = target(images, teachers, "class-mean", temperature=3.0)(0, INDEX, INDEX)
    p = (teachers["t0"].table / 3).softmax(1)
    for image in (0, 17, 99):
        same = images.y_train == images.y_train[image]
        assert torch.allclose((said[image] / 3).softmax(0), p[same].mean(0), atol=1e-6)


def test_smoothed_labels_by_hand_and_with_the_teachers_entropy(images, teachers):
    y = images.y_train
    said = target(images, teachers, "label-smoothing", temperature=2.0, epsilon=0.2)(0, INDEX, INDEX)
    p = (said / 2).softmax(1)
    assert torch.allclose(p.gather(1, y[:, None]), torch.tensor(0.82)) and p.min() == pytest.approx(0.02)
    said = target(images, teachers, "label-smoothing", temperature=4.0, epsilon="teacher")(0, INDEX, INDEX)
    entropies = [torch.distributions.Categorical(logits=z / 4).entropy().mean() for z in (said, teachers["t0"].table)]
    assert entropies[0].item() == pytest.approx(entropies[1].item(), rel=1e-4)
    assert torch.equal(said.argmax(1), y)


def test_confusion_rows_are_shares_of_predictions(images, teachers):
    y, said = images.y_train, teachers["t0"].table.argmax(1)
    p = target(images, teachers, "confusion", temperature=1.0, smoothing=0.3)(0, INDEX, INDEX).softmax(1)
    of_three = y == 3
    share = torch.bincount(said[of_three], minlength=10) / of_three.sum()
    assert torch.allclose(p[of_three][0], 0.7 * share + 0.03, atol=1e-6)
    shuffled = target(images, teachers, "confusion", temperature=1.0, permuted=True)(0, INDEX, INDEX).softmax(1)
    plain = target(images, teachers, "confusion", temperature=1.0)(0, INDEX, INDEX).softmax(1)
    at = y[:, None]
    assert torch.allclose(plain.gather(1, at), shuffled.gather(1, at))
    assert torch.allclose(plain.sort(1).values, shuffled.sort(1).values) and not torch.allclose(plain, shuffled)


def test_an_untrained_teacher_is_its_architecture_and_nobodys_weights(images, teachers):
    said = target(images, teachers, "random-init")(0, INDEX, INDEX)
    accuracy = (said.argmax(1) == images.y_train).float().mean()
    assert accuracy < 0.4 and not torch.equal(said, teachers["t0"].table)
    assert torch.equal(said, target(images, teachers, "random-init")(0, INDEX, INDEX))


def test_same_class_asks_the_student_about_another_image_of_the_class_as_it_is_seen_now(images, teachers):
    model = build_model("cnn", images.shape, 10, stream(0)).train()
    made = lesson(images, teachers, "cs-kd", student=model)
    ask = TARGETS["same_class"](made)
    said = ask(1, INDEX, INDEX)
    assert not said.requires_grad
    draws = augmentation("crop", stream("augmentation"), 1, 100, images.shape, CPU)
    everyone = model(normalise(images, augmented(images.x_train, INDEX, draws)))
    partner = torch.cdist(said, everyone).argmin(1)
    assert torch.equal(images.y_train[partner], images.y_train)
    assert torch.equal(partner.sort().values, INDEX) and not (partner == INDEX).any()
    again = torch.cdist(ask(2, INDEX, INDEX), everyone).argmin(1)
    assert not torch.equal(partner, again)


def test_ps_kd_starts_from_labels_and_weighs_its_past_more_and_more(images, teachers):
    asked = []

    class Watched(PreviousEpoch):
        def __call__(self, epoch, index, views):
            asked.append((epoch, index.clone(), super().__call__(epoch, index, views).exp()))
            return self.table[index]

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(TARGETS, "previous_epoch", Watched)
        patch.setattr("kdstats.training.engine.PreviousEpoch", Watched)
        trained([replicate("ps-kd")], images, teachers)
    for epoch, index, p in asked:
        onehot = torch.nn.functional.one_hot(images.y_train[index], 10).float()
        assert torch.allclose(p, onehot, atol=1e-6) == (epoch == 0)
        assert torch.allclose(p.sum(1), torch.ones(len(p)), atol=1e-5)
    # the last epoch's weight is alpha, so alpha = 1 in one epoch of labels alone is cross-entropy with labels
    once = RECIPE.model_copy(update={"epochs": 1, "optimiser": "sgd"})
    past, control = trained([replicate("ps-kd", alpha=1.0), replicate("siddo")], images, teachers, once)
    assert np.allclose(past.logits, control.logits, atol=1e-4)


# Feature maps ----------------------------------------------------------------------------------------------------


def test_stages_are_the_last_maps_of_each_size():
    views = torch.zeros(2, 3, 32, 32)
    model = build_model("resnet8", (32, 32, 3), 10, stream(0))
    layers = layers_of(model, views)
    assert [layers[name] for name in stages(layers)] == [(16, 32, 32), (32, 16, 16), (64, 8, 8)]
    assert model.training and not any(module._forward_hooks for module in model.modules())
    vit = layers_of(build_model("vit", (32, 32, 3), 10, stream(0)), views)
    assert [vit[name] for name in stages(vit)] == [(192, 8, 8)]


def test_tokens_are_a_map_without_their_class_token():
    tokens = torch.arange(10.0).reshape(1, 5, 2)
    assert torch.equal(as_map(tokens), torch.tensor([[[[2.0, 4.0], [6.0, 8.0]], [[3.0, 5.0], [7.0, 9.0]]]]))
    assert as_map(torch.zeros(1, 7, 2)) is None and as_map(torch.zeros(1, 7)) is None


@pytest.mark.parametrize(("student", "teacher"), [("resnet8", "vgg11"), ("vit", "resnet20"), ("wrn-10-1", "mixer")])
@pytest.mark.parametrize("kind", ["fitnet", "attention-transfer"])
def test_any_two_architectures_are_matched(student, teacher, kind):
    numbers = np.random.default_rng(0)
    x, y = numbers.integers(0, 256, (8, 32, 32, 3), np.uint8), np.arange(8) % 2
    images = to_device(Dataset("noise", x, y, x, y, 2), CPU)
    model = build_model(teacher, images.shape, 2, stream(1)).requires_grad_(False)
    one = Replicate("s", "student", student, Point(kind, kind, point(kind).parameters, "fresh"), 0, 0, "t")
    recipe = RECIPE.model_copy(update={"batch_size": 4, "epochs": 1})
    (done,) = train_replicates([one], recipe, 0, images, {"t": Teacher(teacher, model, images)}.__getitem__)
    assert done.failed_at is None and all(math.isfinite(loss) for loss in done.losses)


def test_a_regression_learns_and_maps_are_averaged_down_to_the_smaller():
    match = Match([(3, 8, 8)], [(5, 4, 4)], True, stream(0))
    s, t = torch.rand(2, 3, 8, 8), torch.rand(2, 5, 4, 4)
    (mine,), (its,) = match([s], [t])
    assert mine.shape == its.shape == (2, 5, 4, 4) and torch.equal(its, t)
    plain = Match([(3, 8, 8)], [(5, 4, 4)], False, stream(0))
    (mine,), _ = plain([s], [t])
    assert torch.allclose(mine[0, 1, 0, 0], s[0, 1, :2, :2].mean())
    (mine,), _ = plain([torch.ones(1, 3, 5, 7)], [torch.ones(1, 3, 3, 9)])
    assert mine.shape[2:] == (3, 7)


def test_maps_are_those_of_the_very_pass_that_gives_the_logits(images, teachers):
    model = teachers["t0"].model
    views = normalise(images, images.x_train[:4])
    logits, (maps,) = maps_of(model, views, ["2"])
    assert torch.equal(logits, model(views)) and torch.equal(maps, model[:3](views))


def test_a_layer_that_is_not_there_lists_those_that_are():
    with pytest.raises(UserError, match=r"here has no layer 'stage9'.*stage1 \(16×32×32\), stage2.*modules 0, 1"):
        check_layers("resnet8", (32, 32, 3), "stage9", "here")
    with pytest.raises(UserError, match="here has no feature maps, only vectors"):
        check_layers("mlp", (8, 8, 1), "middle", "here")
