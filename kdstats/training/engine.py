"""The step and the loop: replicates from their seeds to their predictions."""

import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from kdstats.catalog import ARMS, Arm
from kdstats.errors import UserError
from kdstats.plan import Replicate, stream
from kdstats.protocol import Recipe
from kdstats.training.architectures import build_model, draws
from kdstats.training.data import Batch, Images, batches, epoch_order, normalise, torch_seed
from kdstats.training.features import Match, activations_of, layers_of, maps_of, named_layers
from kdstats.training.objectives import FEATURE_OBJECTIVES, OBJECTIVES
from kdstats.training.targets import (
    TARGETS,
    Lesson,
    OwnConfusion,
    PreviousEpoch,
    Target,
    Teacher,
    logits_of,
    soft_phase,
)


@dataclass(frozen=True)
class Trained:
    """What training gave.

    Attributes
    ----------
    model : the network after its last epoch (not its best: choosing an epoch by test scores would be a leak)
    logits : (n_test, classes) float32, or None where training failed
    losses : mean training loss of each epoch
    failed_at : the first step, from 1, whose loss was not finite; None where all were
    features : (n_test, D) activations of a layer, where they are asked for
    """

    model: nn.Module
    logits: np.ndarray | None
    losses: tuple[float, ...]
    failed_at: int | None = None
    features: np.ndarray | None = None


def choose_device(name: str) -> torch.device:
    """auto takes CUDA where there is one, then MPS, then the CPU; a device that is asked for must be there."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(device for device, available in there.items() if available)
    if not there[name]:
        others = ", ".join(device for device, available in there.items() if available)
        raise UserError(f"--device {name}: torch {torch.__version__} finds no such device here; available: {others}")
    return torch.device(name)


def check_precision(name: str, device: torch.device) -> str:
    """Whether the device has the arithmetic that a recipe asks for; what to expect where it has it only slowly.

    Raises
    ------
    UserError
        Where it lacks it.
    """
    if name == "float32":
        return ""
    if device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        card = torch.cuda.get_device_name(device)
        raise UserError(f"recipe.precision: {card} has no bfloat16; write precision: float32, or take another --device")
    if device.type == "cpu" and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return "this CPU has no bfloat16 instructions: precision bfloat16 is slower here than float32"
    return ""


def set_up(device: torch.device, fast: bool = False) -> None:
    """One thread on the CPU; deterministic kernels, float32 products in full: the same protocol, the same bits.

    ``fast``, on CUDA: cuDNN times its kernels and takes the quickest, float32 products are TF32's.
    """
    fast = fast and device.type == "cuda"
    torch.use_deterministic_algorithms(not fast)
    # else an eighth of a step fills memory that is overwritten anyway
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = fast
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = fast
    if device.type == "cpu":
        torch.set_num_threads(1)


def learning_rate(recipe: Recipe, step: int, steps_per_epoch: int) -> float:
    """The rate at a step, from 0.

    Linear warm-up over ``warmup_epochs``, then constant; or cosine, ½(1 + cos πt) with t from 0 to 1 over the rest; or
    a tenth at each milestone (epochs). One-cycle: along half a cosine from 1/25 of the rate up to it over 30 % of the
    steps, and down to 1/250,000 over the others (Smith & Topin 2018, with PyTorch's defaults; momentum stays).

    Examples
    --------
    >>> recipe = Recipe(learning_rate=1.0, schedule="cosine", epochs=4)
    >>> [round(learning_rate(recipe, step, 1), 3) for step in range(4)]
    [1.0, 0.854, 0.5, 0.146]
    """
    if recipe.schedule == "one-cycle":
        last = recipe.epochs * steps_per_epoch - 1
        top = 0.3 * (last + 1) - 1
        start, end, t = (1 / 25, 1.0, step / top) if step <= top else (1.0, 4e-6, (step - top) / (last - top))
        return recipe.learning_rate * (end + (start - end) * 0.5 * (1 + math.cos(math.pi * t)))
    warmup = recipe.warmup_epochs * steps_per_epoch
    if step < warmup:
        return recipe.learning_rate * (step + 1) / warmup
    if recipe.schedule == "cosine":
        t = (step - warmup) / max(1, recipe.epochs * steps_per_epoch - warmup)
        return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * t))
    passed = sum(step >= milestone * steps_per_epoch for milestone in recipe.milestones)
    return recipe.learning_rate * 0.1**passed


def make_optimiser(
    recipe: Recipe, parameters: Sequence[nn.Parameter], rate: Tensor | None = None
) -> torch.optim.Optimizer:
    """The recipe's optimiser, fused where torch has it.

    ``rate``: a tensor from which each step reads its learning rate, as a captured step must.
    """
    decay = recipe.weight_decay
    lr = recipe.learning_rate if rate is None else rate
    captured = rate is not None and rate.is_cuda
    if recipe.optimiser == "sgd":
        return torch.optim.SGD(
            parameters, lr, recipe.momentum, weight_decay=decay, nesterov=recipe.nesterov, fused=True
        )  # fmt: skip
    if recipe.optimiser == "adamw":
        return torch.optim.AdamW(parameters, lr, weight_decay=decay, fused=True, capturable=captured)
    return torch.optim.Adamax(parameters, lr, weight_decay=decay, foreach=True, capturable=captured)


def autocast(recipe: Recipe, device: torch.device) -> torch.autocast:
    """The arithmetic of a recipe's forward passes."""
    return torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bfloat16")


@dataclass(frozen=True)
class Hint:
    """A teacher's feature maps.

    Attributes
    ----------
    layers, teacher_layers : modules whose maps are compared
    match : brings the maps to one shape, and learns where it regresses them
    objective, weight : the difference of maps, and its weight beside CE
    """

    teacher: Teacher
    layers: tuple[str, ...]
    teacher_layers: tuple[str, ...]
    match: Match
    objective: Callable[..., Tensor]
    weight: float

    def __call__(self, maps: Sequence[Tensor], views: Tensor) -> Tensor:
        return self.weight * self.objective(*self.match(maps, self.teacher.maps(views, self.teacher_layers)))


@dataclass
class Student:
    """A network in training, teachers included: all that its next step needs.

    Attributes
    ----------
    name : the architecture's
    averaged : the moving average of its weights, which is what is evaluated, where the recipe asks for one
    goal : the arm's target
    objective, weights : its loss, and alpha, temperature and the like in an epoch
    hint : what its feature maps are compared with, beside the loss
    draws : stream of the numbers that its steps draw, where there may be such, as for dropout
    losses : mean training loss of each epoch that is done
    failed_at : the first step, from 1, whose loss was not finite
    """

    id: str
    name: str
    model: nn.Module
    averaged: AveragedModel | None
    optimiser: torch.optim.Optimizer
    goal: Target | None
    objective: Callable[..., Tensor]
    weights: Callable[[int], dict[str, Any]]
    hint: Hint | None = None
    draws: np.random.SeedSequence | None = None
    losses: list[float] = field(default_factory=list)
    failed_at: int | None = None

    @property
    def parameters(self) -> list[nn.Parameter]:
        """All that it learns."""
        return [*self.model.parameters(), *(self.hint.match.parameters() if self.hint else ())]

    @property
    def memory(self) -> Tensor | None:
        """What it said before, where it is taught that; overwritten in place."""
        return self.goal.table if isinstance(self.goal, PreviousEpoch | OwnConfusion) else None

    @property
    def network(self) -> nn.Module:
        return self.model if self.averaged is None else self.averaged.module


# One step of each student: (students, epoch, step, learning rate, batch) -> their losses, which stay on the device.
Advance = Callable[[Sequence[Student], int, int, float, Batch], list[Tensor]]


def eagerly(students: Sequence[Student], recipe: Recipe, batch: Batch) -> Advance:
    """Steps that are launched operation by operation; nothing is prepared."""

    def advance(students: Sequence[Student], epoch: int, step: int, rate: float, batch: Batch) -> list[Tensor]:
        return [_advanced(student, recipe, epoch, step, rate, batch) for student in students]

    return advance


def _advanced(student: Student, recipe: Recipe, epoch: int, step: int, rate: float, batch: Batch) -> Tensor:
    views, hint, penalty = batch.views, student.hint, None
    with _drawing(student, views.device, step), autocast(recipe, views.device):
        goal = student.goal(epoch, batch.index, views) if student.goal else None
        if hint is None:
            logits = student.model(views)
        else:
            logits, maps = maps_of(student.model, views, hint.layers)
            penalty = hint(maps, views)
    loss = student.objective(logits.float(), goal, batch.labels, **student.weights(epoch))
    if penalty is not None:
        loss = loss + penalty.float()
    if isinstance(student.goal, PreviousEpoch):
        student.goal.remember(batch.index, logits)
    for group in student.optimiser.param_groups:
        group["lr"] = rate
    update(student.parameters, student.optimiser, loss, recipe)
    if student.averaged is not None:
        student.averaged.update_parameters(student.model)
    return loss.detach()


@contextmanager
def _drawing(student: Student, device: torch.device, step: int) -> Iterator[None]:
    """Numbers that the networks of a step draw, for dropout, come from the student's stream."""
    if student.draws is None:
        yield
        return
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(torch_seed(np.random.SeedSequence(student.draws.entropy, spawn_key=(step,))))
        yield


def update(parameters: Sequence[nn.Parameter], optimiser: torch.optim.Optimizer, loss: Tensor, recipe: Recipe) -> None:
    """Move the weights by the loss's gradient, clipped where the recipe says so."""
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    if recipe.clip_norm:
        nn.utils.clip_grad_norm_(parameters, recipe.clip_norm)
    optimiser.step()


def train_replicates(
    replicates: Sequence[Replicate],
    recipe: Recipe,
    seed: int,
    images: Images,
    teacher: Callable[[str], Teacher],
    after_epoch: Callable[[Sequence[Student]], None] = lambda students: None,
    states: Mapping[str, Mapping[str, np.ndarray]] | None = None,
    stepping: Callable[[Sequence[Student], Recipe, Batch], Advance] = eagerly,
    layer: str | None = None,
) -> list[Trained]:
    """Train replicates of one teacher and seed side by side for all their epochs, and predict the evaluation set.

    Each gets what it would get alone, bit for bit on the CPU: they share the batch, its views and what teachers say of
    them, and nothing that is changed.

    Parameters
    ----------
    replicates : of one role, teacher and seed
    recipe : how
    seed : the protocol's seed, root of all streams
    images : the dataset on the device
    teacher : from a teacher's ID to it, on the device
    after_epoch : called with the networks still in training, each epoch
    states : by ID, ``state_of`` a network after some epochs, from which it goes on
    stepping : ``eagerly``, or ``kdstats.training.graphs.Seats.seat``; called with a batch like those to come
    layer : whose activations on the evaluation set are kept

    Notes
    -----
    Under initialisation "teacher" a student starts from its teacher's *initial* weights, under "fresh" from its own
    stream's. Order, augmentation and noise belong to (teacher, student seed), never to the arm: that is the pairing.
    """
    role, *number = (one := replicates[0]).role, one.teacher, one.seed

    def named(purpose: str) -> np.random.SeedSequence:
        return stream(seed, role, *number, purpose)

    students = [begin(replicate, recipe, seed, images, teacher, named) for replicate in replicates]

    def order_of(epoch: int) -> np.ndarray:
        return epoch_order(named("order"), epoch, len(images.y_train), recipe.batch_size)

    advance = stepping(students, recipe, next(batches(images, order_of(0)[:1], recipe, named, 0)))
    for student in students:
        if states and student.id in states:
            restore(student, states[student.id])
    for epoch in range(min(len(student.losses) for student in students), recipe.epochs):
        now = [student for student in students if len(student.losses) == epoch and student.failed_at is None]
        if not now:
            continue
        order = order_of(epoch)
        values = _epoch(now, recipe, epoch, len(order), batches(images, order, recipe, named, epoch), advance)
        for student, losses in zip(now, values, strict=True):
            finite = np.isfinite(losses)
            if finite.all():
                student.losses.append(float(losses.mean()))
                if isinstance(student.goal, OwnConfusion):
                    student.goal.learn(epoch, student.network)
            else:
                student.failed_at = epoch * len(order) + int(finite.argmin()) + 1
        after_epoch([student for student in now if student.failed_at is None])
    return [_finished(student, recipe, images, layer) for student in students]


def begin(
    replicate: Replicate,
    recipe: Recipe,
    seed: int,
    images: Images,
    teacher: Callable[[str], Teacher],
    named: Callable[[str], np.random.SeedSequence],
) -> Student:
    """A replicate before its first step. ``named`` gives the streams that all arms of its seed share."""
    point = replicate.point
    inherits = point is not None and point.initialisation == "teacher"
    origin = ("teacher", replicate.teacher, None) if inherits else (replicate.role, replicate.teacher, replicate.seed)
    model = build_model(replicate.model, images.shape, images.classes, stream(seed, *origin, "init"))
    model = model.to(images.x_train.device)
    averaged = None
    if recipe.ema:
        averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(recipe.ema), use_buffers=True)
    arm = ARMS[point.kind] if point else ARMS["ce"]
    parameters = dict(point.parameters) if point else {}
    own = teacher(replicate.own) if arm.learns_from and replicate.own else None
    other = teacher(replicate.other) if replicate.other else None
    goal = TARGETS[arm.target](Lesson(images, recipe, parameters, named, model, own, other)) if arm.target else None
    hint = None
    if arm.objective in FEATURE_OBJECTIVES and own is not None:
        hint = make_hint(arm.objective, parameters, model, own, images, named)
    objective = OBJECTIVES["ce" if hint else arm.objective]
    optimiser = make_optimiser(recipe, [*model.parameters(), *(hint.match.parameters() if hint else ())])
    dropout = named("dropout") if draws(replicate.model) else None
    return Student(
        replicate.id, replicate.model, model, averaged, optimiser, goal, objective,
        weights_in(arm, parameters, recipe), hint, dropout,
    )  # fmt: skip


def weights_in(arm: Arm, parameters: Mapping[str, Any], recipe: Recipe) -> Callable[[int], dict[str, Any]]:
    """From an epoch, from 0, to the parameters of an arm's loss; those of few arms change on the way."""
    if arm.objective == "dkd":
        fixed = {key: value for key, value in parameters.items() if key != "warmup_epochs"}
        return lambda epoch: fixed | {"warmup": min(1.0, (epoch + 1) / parameters["warmup_epochs"])}
    if arm.target == "previous_epoch":
        return lambda epoch: {"alpha": parameters["alpha"] * (epoch + 1) / recipe.epochs, "temperature": 1.0}
    if arm.target == "own_confusion":
        alpha, temperature = parameters["alpha"], parameters["temperature"]
        return lambda epoch: {"alpha": alpha * soft_phase(epoch, recipe.epochs), "temperature": temperature}
    objective = OBJECTIVES.get(arm.objective, OBJECTIVES["ce"])
    fixed = {key: value for key, value in parameters.items() if key in inspect.signature(objective).parameters}
    return lambda epoch: fixed


def make_hint(
    objective: str,
    parameters: Mapping[str, Any],
    model: nn.Module,
    teacher: Teacher,
    images: Images,
    named: Callable[[str], np.random.SeedSequence],
) -> Hint:
    """What an arm on feature maps compares. ``layer`` all pairs the last stages of both, then those before.

    Raises
    ------
    UserError
        Where a network has no such layer; lists those that it has.
    """
    views = normalise(images, images.x_train[:2])
    found, theirs = layers_of(model, views), layers_of(teacher.model, views)
    layer, teacher_layer = parameters["layer"], parameters["teacher_layer"]
    mine = named_layers(layer, found, "the student")
    its = named_layers(layer if teacher_layer == "same" else teacher_layer, theirs, f"the teacher ({teacher.name})")
    pairs = list(zip(reversed(mine), reversed(its), strict=False))[::-1]
    layers, teacher_layers = (tuple(side) for side in zip(*pairs, strict=True))
    shapes = [found[name] for name in layers], [theirs[name] for name in teacher_layers]
    match = Match(*shapes, regress=objective == "fitnet", seed=named("regression")).to(images.x_train.device)
    return Hint(teacher, layers, teacher_layers, match, FEATURE_OBJECTIVES[objective], parameters["weight"])


def _epoch(
    students: Sequence[Student], recipe: Recipe, epoch: int, steps: int, parts: Iterable[Batch], advance: Advance
) -> NDArray[np.float64]:
    """One epoch of every network; the losses, (networks, steps)."""
    for student in students:
        student.model.train()
    losses: list[Tensor] = []
    for step, batch in enumerate(parts, epoch * steps):
        losses += advance(students, epoch, step, learning_rate(recipe, step, steps), batch)
    values = torch.stack(losses).double().cpu().numpy()  # the one synchronisation of the epoch
    return values.reshape(steps, len(students)).T


def _finished(student: Student, recipe: Recipe, images: Images, layer: str | None) -> Trained:
    losses = tuple(student.losses)
    if student.failed_at is not None:
        return Trained(student.network, None, losses, student.failed_at)
    logits = logits_of(student.network, images, images.x_test).cpu().numpy()
    if not np.isfinite(logits).all():
        return Trained(student.network, None, losses, recipe.epochs * (len(images.y_train) // recipe.batch_size))
    features = activations_of(student.network, images, images.x_test, layer) if layer else None
    return Trained(student.network, logits, losses, features=features)


def state_of(student: Student) -> dict[str, np.ndarray]:
    """All that changes in training, by name.

    ``model.*``, ``averaged.*``, ``match.*``, ``memory``, ``optimiser.PARAMETER.*`` and ``losses``, as there are.
    """
    found = {f"model.{key}": value for key, value in student.model.state_dict().items()}
    if student.averaged is not None:
        found |= {f"averaged.{key}": value for key, value in student.averaged.state_dict().items()}
    if student.hint is not None:
        found |= {f"match.{key}": value for key, value in student.hint.match.state_dict().items()}
    if student.memory is not None:
        found["memory"] = student.memory
    for i, parameter in enumerate(student.parameters):
        found |= {f"optimiser.{i}.{key}": value for key, value in student.optimiser.state[parameter].items()}
    arrays = {key: np.array(value.detach().cpu().numpy(), order="C") for key, value in found.items()}  # copies
    return arrays | {"losses": np.array(student.losses)}


def restore(student: Student, state: Mapping[str, np.ndarray]) -> None:
    """Put a network back to where ``state_of`` was taken; tensors that a captured step reads stay where they are."""

    def under(prefix: str) -> dict[str, Tensor]:
        return {key.removeprefix(prefix): torch.tensor(v) for key, v in state.items() if key.startswith(prefix)}

    student.model.load_state_dict(under("model."))
    if student.averaged is not None:
        student.averaged.load_state_dict(under("averaged."))
    if student.hint is not None:
        student.hint.match.load_state_dict(under("match."))
    if student.memory is not None:
        student.memory.copy_(torch.tensor(state["memory"]))
    (group,) = student.optimiser.param_groups
    counted_there = group.get("fused") or group.get("capturable")  # where such optimisers keep the number of steps
    for i, parameter in enumerate(student.parameters):
        now = student.optimiser.state[parameter]
        for key, value in under(f"optimiser.{i}.").items():
            if key not in now:  # in the parameter's own layout, which the fused step takes for granted
                scalar = torch.empty_like(value, device=parameter.device if counted_there else "cpu")
                now[key] = torch.empty_like(parameter) if value.shape == parameter.shape else scalar
            now[key].copy_(value)
    student.losses = state["losses"].tolist()
