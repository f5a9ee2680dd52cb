"""The step and the loop: one replicate from its seeds to its predictions."""

import inspect
import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from kdstats.catalog import ARMS
from kdstats.errors import UserError
from kdstats.plan import Replicate, stream
from kdstats.protocol import Recipe
from kdstats.training.data import Images, batches, epoch_order
from kdstats.training.models import build_model
from kdstats.training.objectives import OBJECTIVES
from kdstats.training.targets import TARGETS, Lesson, logits_of


@dataclass(frozen=True)
class Trained:
    """What training gave.

    Attributes
    ----------
    model : the network after its last epoch (not its best: choosing an epoch by test scores would be a leak)
    logits : (n_test, classes) float32, or None where training failed
    losses : mean training loss of each epoch
    failed_at : the first step, from 1, whose loss was not finite; None where all were
    """

    model: nn.Module
    logits: np.ndarray | None
    losses: tuple[float, ...]
    failed_at: int | None = None


def choose_device(name: str) -> torch.device:
    """auto takes CUDA where there is one, then MPS, then the CPU; a device that is asked for must be there."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(device for device, available in there.items() if available)
    if not there[name]:
        others = ", ".join(device for device, available in there.items() if available)
        raise UserError(f"--device {name}: torch {torch.__version__} finds no such device here; available: {others}")
    return torch.device(name)


def be_deterministic(device: torch.device) -> None:
    """One thread on the CPU, deterministic kernels everywhere: the same protocol gives the same bits on the CPU."""
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    if device.type == "cpu":
        torch.set_num_threads(1)


def learning_rate(recipe: Recipe, step: int, steps_per_epoch: int) -> float:
    """The rate at a step, from 0.

    Linear warm-up over ``warmup_epochs``, then constant; or cosine, ½(1 + cos πt) with t from 0 to 1 over the rest; or
    a tenth at each milestone (epochs).

    Examples
    --------
    >>> recipe = Recipe(learning_rate=1.0, schedule="cosine", epochs=4)
    >>> [round(learning_rate(recipe, step, 1), 3) for step in range(4)]
    [1.0, 0.854, 0.5, 0.146]
    """
    warmup = recipe.warmup_epochs * steps_per_epoch
    if step < warmup:
        return recipe.learning_rate * (step + 1) / warmup
    if recipe.schedule == "cosine":
        t = (step - warmup) / max(1, recipe.epochs * steps_per_epoch - warmup)
        return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * t))
    passed = sum(step >= milestone * steps_per_epoch for milestone in recipe.milestones)
    return recipe.learning_rate * 0.1**passed


def make_optimiser(recipe: Recipe, model: nn.Module) -> torch.optim.Optimizer:
    """The recipe's optimiser over all parameters, fused where torch has it."""
    parameters = list(model.parameters())
    decay = recipe.weight_decay
    if recipe.optimiser == "sgd":
        return torch.optim.SGD(
            parameters, recipe.learning_rate, recipe.momentum, weight_decay=decay, nesterov=recipe.nesterov, fused=True
        )
    if recipe.optimiser == "adamw":
        return torch.optim.AdamW(parameters, recipe.learning_rate, weight_decay=decay, fused=True)
    return torch.optim.Adamax(parameters, recipe.learning_rate, weight_decay=decay, foreach=True)


def train_replicate(
    replicate: Replicate,
    recipe: Recipe,
    seed: int,
    images: Images,
    teacher: Callable[[str], nn.Module],
    on_epoch: Callable[[int], None] = lambda epoch: None,
) -> Trained:
    """Train one replicate for all its epochs and predict the evaluation set.

    Parameters
    ----------
    replicate : what to train
    recipe : how
    seed : the protocol's seed, root of all streams
    images : the dataset on the device
    teacher : from a teacher's ID to its trained network, on the device
    on_epoch : called with the number of epochs that are done

    Notes
    -----
    Under initialisation "teacher" a student starts from its teacher's *initial* weights, under "fresh" from its own
    stream's. Order, augmentation and noise belong to (teacher, student seed), never to the arm: that is the pairing.
    """
    device = images.x_train.device
    point = replicate.point
    role, number = replicate.role, (replicate.teacher, replicate.seed)

    def named(purpose: str) -> np.random.SeedSequence:
        return stream(seed, role, *number, purpose)

    inherits = point is not None and point.initialisation == "teacher"
    initial = stream(seed, "teacher", replicate.teacher, None, "init") if inherits else named("init")
    model = build_model(replicate.model, images.shape, images.classes, initial).to(device)
    optimiser = make_optimiser(recipe, model)

    arm = ARMS[point.kind] if point else None
    parameters = dict(point.parameters) if point else {}
    objective = OBJECTIVES[arm.objective if arm else "ce"]
    target = None
    if arm and arm.target and replicate.own:
        lesson = Lesson(
            images, recipe.augmentation, parameters, named("noise"),
            teacher(replicate.own), teacher(replicate.other) if replicate.other else None,
        )  # fmt: skip
        target = TARGETS[arm.target](lesson)
    weights = {key: value for key, value in parameters.items() if key in inspect.signature(objective).parameters}

    half = recipe.precision == "bfloat16"
    precision = torch.autocast(device.type, torch.bfloat16) if half else nullcontext()
    losses: list[float] = []
    step = 0
    for epoch in range(recipe.epochs):
        order = epoch_order(named("order"), epoch, len(images.y_train), recipe.batch_size)
        model.train()
        epoch_losses: list[Tensor] = []
        for index, views, labels in batches(images, order, recipe.augmentation, named("augmentation"), epoch):
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(recipe, step, len(order))
            with precision:
                goal = target(epoch, index, views) if target else None
                logits = model(views)
            loss = objective(logits.float(), goal, labels, **weights)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            epoch_losses.append(loss.detach())
            step += 1
        values = torch.stack(epoch_losses).double().cpu().numpy()  # the one synchronisation of the epoch
        if not np.isfinite(values).all():
            first = int(np.flatnonzero(~np.isfinite(values))[0])
            return Trained(model, None, tuple(losses), step - len(values) + first + 1)
        losses.append(float(values.mean()))
        on_epoch(epoch + 1)
    predictions = logits_of(model, images, images.x_test).cpu().numpy()
    if not np.isfinite(predictions).all():
        return Trained(model, None, tuple(losses), step)
    return Trained(model, predictions, tuple(losses))
