"""What a student is taught: a function of a batch, (epoch, index, views) -> (b, C) logits or log-probabilities."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.random import SeedSequence
from torch import Tensor, nn

from kdstats.training.data import Images, generator, normalise

Target = Callable[[int, Tensor, Tensor], Tensor]


@torch.no_grad()
def logits_of(model: nn.Module, images: Images, x: Tensor, batch: int = 1024) -> Tensor:
    """The model's logits on plain images, (n, C) float32, in evaluation mode."""
    model.eval()
    return torch.cat([model(normalise(images, part)).float() for part in x.split(batch)])


class Teacher:
    """A trained network that answers each question once, however many students ask it.

    Attributes
    ----------
    model : in evaluation mode
    table : (n_train, C) float32, its logits on the plain training images
    forward : how a batch is asked; the model itself, or its captured pass
    """

    def __init__(self, model: nn.Module, images: Images, forward: Callable[[Tensor], Tensor] | None = None) -> None:
        self.model, self.images = model.eval(), images
        self.forward = forward or model
        self._asked: Tensor | None = None
        self._said: Tensor | None = None

    @cached_property
    def table(self) -> Tensor:
        return logits_of(self.model, self.images, self.images.x_train)

    @torch.no_grad()
    def __call__(self, views: Tensor) -> Tensor:
        """Logits (b, C) of a batch's views; the same tensor again is not computed again."""
        if views is not self._asked or self._said is None:
            self._asked, self._said = views, self.forward(views).float()
        return self._said


@dataclass(frozen=True)
class Lesson:
    """What a target may draw on: the data, the student's own and another teacher, a stream for noise.

    ``same_views``: every epoch shows the plain training images.
    """

    images: Images
    same_views: bool
    parameters: dict[str, Any]
    noise: SeedSequence
    teacher: Teacher
    other: Teacher | None


def own_teacher(lesson: Lesson) -> Target:
    """Logits of the teacher that the student is scored against, on the student's own views."""
    return _logits(lesson, lesson.teacher)


def other_teacher(lesson: Lesson) -> Target:
    """Logits of another teacher of the recipe: Stanton et al.'s control, scored against the student's own teacher."""
    assert lesson.other is not None  # the plan gives every kd-other student one
    return _logits(lesson, lesson.other)


def _logits(lesson: Lesson, teacher: Teacher) -> Target:
    if lesson.same_views:  # one forward pass is enough for all epochs
        return lambda epoch, index, views: teacher.table[index]
    return lambda epoch, index, views: teacher(views)


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
        mean, std = float(lesson.teacher.table.mean()), float(lesson.teacher.table.std())

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
