"""What a student is taught: a function of a batch, (epoch, index, views) -> (b, C) logits or log-probabilities."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.random import SeedSequence
from torch import Tensor, nn

from kdstats.training.data import Images, generator, normalise

Target = Callable[[int, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Lesson:
    """What a target may draw on: the data, the student's own and another teacher, a stream for noise."""

    images: Images
    augmentation: str
    parameters: dict[str, Any]
    noise: SeedSequence
    teacher: nn.Module
    other: nn.Module | None


@torch.no_grad()
def logits_of(model: nn.Module, images: Images, x: Tensor, batch: int = 1024) -> Tensor:
    """The model's logits on plain images, (n, C) float32, in evaluation mode."""
    model.eval()
    return torch.cat([model(normalise(images, part)).float() for part in x.split(batch)])


def own_teacher(lesson: Lesson) -> Target:
    """Logits of the teacher that the student is scored against, on the student's own views."""
    return _logits(lesson, lesson.teacher)


def other_teacher(lesson: Lesson) -> Target:
    """Logits of another teacher of the recipe: Stanton et al.'s control, scored against the student's own teacher."""
    assert lesson.other is not None  # the plan gives every kd-other student one
    return _logits(lesson, lesson.other)


def _logits(lesson: Lesson, model: nn.Module) -> Target:
    if lesson.augmentation == "none":  # every epoch shows the same views: one forward pass is enough
        table = logits_of(model, lesson.images, lesson.images.x_train)
        return lambda epoch, index, views: table[index]
    model.eval()

    @torch.no_grad()
    def forward(epoch: int, index: Tensor, views: Tensor) -> Tensor:
        return model(views).float()

    return forward


def noise(lesson: Lesson) -> Target:
    """Noise in place of the teacher's output, one row an example, fixed or (``redraw``) new each epoch.

    space "logits": z ~ N(μ, σ²) or U(μ − √3 σ, μ + √3 σ), independent over classes; with ``scale: teacher`` μ and σ are
    the mean and standard deviation of the teacher's logits on the training images, with a number μ = 0, σ = scale.
    space "probabilities": |N(0, 1)| or U(0, 1) draws, divided by their row's sum.
    """
    parameters = lesson.parameters
    n, classes = len(lesson.images.y_train), lesson.images.classes
    uniform = parameters["noise"] == "uniform"
    mean, std = 0.0, parameters["scale"]
    if std == "teacher":
        logits = logits_of(lesson.teacher, lesson.images, lesson.images.x_train)
        mean, std = float(logits.mean()), float(logits.std())

    def draw(epoch: int) -> Tensor:
        draws = generator(lesson.noise, epoch)
        if parameters["space"] == "probabilities":
            z = draws.random((n, classes)) if uniform else np.abs(draws.standard_normal((n, classes)))
            z = np.log(np.maximum(z, np.finfo(np.float32).tiny))
            z -= np.log(np.exp(z).sum(1, keepdims=True))
        else:
            z = draws.uniform(-(3**0.5), 3**0.5, (n, classes)) if uniform else draws.standard_normal((n, classes))
            z = mean + std * z
        return torch.from_numpy(z).float().to(lesson.images.y_train.device)

    tables: dict[int, Tensor] = {}

    def target(epoch: int, index: Tensor, views: Tensor) -> Tensor:
        key = epoch if parameters["redraw"] else 0
        if key not in tables:
            tables.clear()
            tables[key] = draw(key)
        return tables[key][index]

    return target


TARGETS: dict[str, Callable[[Lesson], Target]] = {
    "own_teacher": own_teacher,
    "other_teacher": other_teacher,
    "noise": noise,
}
