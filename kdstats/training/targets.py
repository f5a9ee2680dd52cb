"""What a student is taught: a function of a batch, (epoch, index, views) -> (b, C) logits or log-probabilities.

Targets that are distributions by class, not by image, are made at the arm's temperature T and returned as T·log p, so
that the loss, which divides by T, meets p itself.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.random import SeedSequence
from torch import Tensor, nn

from kdstats.protocol import Recipe
from kdstats.training.architectures import build_model
from kdstats.training.data import Images, generator, normalise, viewer
from kdstats.training.features import maps_of

Target = Callable[[int, Tensor, Tensor], Tensor]
LEAST = math.log(np.finfo(np.float32).tiny)


@torch.no_grad()
def logits_of(model: nn.Module, images: Images, x: Tensor, batch: int = 1024) -> Tensor:
    """The model's logits on plain images, (n, C) float32, in evaluation mode."""
    model.eval()
    return torch.cat([model(normalise(images, part)).float() for part in x.split(batch)])


class Teacher:
    """A trained network that answers each question once, however many students ask it.

    Attributes
    ----------
    name : its architecture's
    model : in evaluation mode
    table : (n_train, C) float32, its logits on the plain training images
    forward : how a batch is asked; the model itself, or its captured pass
    """

    def __init__(
        self, name: str, model: nn.Module, images: Images, forward: Callable[[Tensor], Tensor] | None = None
    ) -> None:
        self.name, self.model, self.images = name, model.eval(), images
        self.forward = forward or model
        self._asked: Tensor | None = None
        self._said: Tensor | None = None
        self._shown: dict[tuple[str, ...], tuple[Tensor, list[Tensor]]] = {}

    @cached_property
    def table(self) -> Tensor:
        return logits_of(self.model, self.images, self.images.x_train)

    @torch.no_grad()
    def __call__(self, views: Tensor) -> Tensor:
        """Logits (b, C) of a batch's views; the same tensor again is not computed again."""
        if views is not self._asked or self._said is None:
            self._asked, self._said = views, self.forward(views).float()
        return self._said

    @torch.no_grad()
    def maps(self, views: Tensor, layers: tuple[str, ...]) -> list[Tensor]:
        """Feature maps of a batch's views at these layers; the same tensor again is not computed again."""
        if layers not in self._shown or self._shown[layers][0] is not views:
            self._shown[layers] = (views, maps_of(self.model, views, layers)[1])
        return self._shown[layers][1]


@dataclass(frozen=True)
class Lesson:
    """What a target may draw on: the data, the recipe, the arm's parameters, named streams, networks.

    Attributes
    ----------
    named : from a purpose to the stream that all arms of the student's seed share
    student : the network itself
    teacher : the one that the student is scored against; None where the arm asks none
    other : the network whose targets it gets instead
    """

    images: Images
    recipe: Recipe
    parameters: dict[str, Any]
    named: Callable[[str], SeedSequence]
    student: nn.Module
    teacher: Teacher | None = None
    other: Teacher | None = None

    @property
    def own(self) -> Teacher:
        assert self.teacher is not None  # the plan gives one to every arm that learns from networks
        return self.teacher


# Of networks -----------------------------------------------------------------------------------------------------


def own_teacher(lesson: Lesson) -> Target:
    """Logits of the teacher that the student is scored against, on the student's own views."""
    return _logits(lesson, lesson.own)


def other_network(lesson: Lesson) -> Target:
    """Logits of another network: another teacher of the recipe (Stanton et al.'s control), or the student's twin."""
    assert lesson.other is not None  # the plan gives one to every such student
    return _logits(lesson, lesson.other)


def generation(lesson: Lesson) -> Target:
    """Logits of the generation before; of the teacher for the first (Furlanello et al. 2018, arXiv 1805.04770)."""
    return _logits(lesson, lesson.other or lesson.own)


def untrained(lesson: Lesson) -> Target:
    """Logits of a network of the teacher's architecture that was never trained, one a student seed."""
    own, images = lesson.own, lesson.images
    model = build_model(own.name, images.shape, images.classes, lesson.named("untrained")).to(images.x_train.device)
    return _logits(lesson, Teacher(own.name, model.requires_grad_(False), images))


def _logits(lesson: Lesson, teacher: Teacher) -> Target:
    if lesson.recipe.same_views:  # one forward pass is enough for all epochs
        return lambda epoch, index, views: teacher.table[index]
    return lambda epoch, index, views: teacher(views)


# Of noise --------------------------------------------------------------------------------------------------------


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
        mean, std = float(lesson.own.table.mean()), float(lesson.own.table.std())

    def draw(epoch: int) -> Tensor:
        draws = generator(lesson.named("noise"), epoch)
        if parameters["space"] == "probabilities":
            z = draws.random((n, classes)) if uniform else np.abs(draws.standard_normal((n, classes)))
            z = np.log(np.maximum(z, np.finfo(np.float32).tiny))
            z -= np.log(np.exp(z).sum(1, keepdims=True))
        else:
            z = draws.uniform(-(3**0.5), 3**0.5, (n, classes)) if uniform else draws.standard_normal((n, classes))
            z = mean + std * z
        return torch.from_numpy(z).float().to(lesson.images.y_train.device)

    table = _by_epoch(draw, parameters["redraw"])
    return lambda epoch, index, views: table(epoch)[index]


def permuted(lesson: Lesson) -> Target:
    """The teacher's logits, its largest in place, the others shuffled, image by image (DKPP).

    The teacher's confidence in each image stays, what it says of relations between classes goes. The shuffle belongs
    to the image, or with ``redraw`` to image and epoch. Furlanello et al. 2018, arXiv 1805.04770.
    """
    n, classes, device = len(lesson.images.y_train), lesson.images.classes, lesson.images.y_train.device

    def draw(epoch: int) -> Tensor:
        draws = generator(lesson.named("noise"), epoch)
        orders = draws.permuted(np.tile(np.arange(classes - 1, dtype=np.int16), (n, 1)), axis=1)
        return torch.from_numpy(orders).to(device)

    orders, teacher = _by_epoch(draw, lesson.parameters["redraw"]), own_teacher(lesson)
    ranks = torch.arange(classes - 1, device=device)

    def target(epoch: int, index: Tensor, views: Tensor) -> Tensor:
        logits = teacher(epoch, index, views)
        others = ranks + (ranks >= logits.argmax(1, keepdim=True))  # (b, C - 1), the classes but the largest
        return logits.scatter(1, others, logits.gather(1, others.gather(1, orders(epoch)[index].long())))

    return target


def _by_epoch(draw: Callable[[int], Tensor], redraw: bool) -> Callable[[int], Tensor]:
    """What is drawn once, or anew each epoch."""
    drawn: dict[int, Tensor] = {}

    def of(epoch: int) -> Tensor:
        key = epoch if redraw else 0
        if key not in drawn:
            drawn.clear()
            drawn[key] = draw(key)
        return drawn[key]

    return of


# Of classes ------------------------------------------------------------------------------------------------------


def class_mean(lesson: Lesson) -> Target:
    """The mean of the teacher's tempered softmax over the training images of the label's class: no instances."""
    images, temperature = lesson.images, lesson.parameters["temperature"]
    p = F.softmax(lesson.own.table / temperature, dim=1)
    return _of_label(lesson, _means_by_class(p, images.y_train, images.classes))


def smoothed(lesson: Lesson) -> Target:
    """(1 − ε)·onehot + ε/C; with ``epsilon: teacher`` as spread as the teacher: its mean tempered entropy."""
    images, epsilon = lesson.images, lesson.parameters["epsilon"]
    if epsilon == "teacher":
        log_p = F.log_softmax(lesson.own.table.double() / lesson.parameters["temperature"], dim=1)
        epsilon = epsilon_of(float(-(log_p.exp() * log_p).sum(1).mean()), images.classes)
    return _of_label(lesson, _blended(torch.eye(images.classes, device=images.y_train.device), epsilon))


def epsilon_of(entropy: float, classes: int) -> float:
    """The ε whose smoothed label (1 − ε)·onehot + ε/C has this entropy, in nats; by bisection, for it grows with ε.

    Examples
    --------
    >>> round(epsilon_of(math.log(10), 10), 6), round(epsilon_of(0.500288, 10), 6)  # the entropy of .91 and nine .01
    (1.0, 0.1)
    """

    def entropy_at(epsilon: float) -> float:
        rest = epsilon / classes
        true = 1 - epsilon + rest
        return -true * math.log(true) - (classes - 1) * rest * math.log(rest)

    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if entropy_at(middle) < entropy else (low, middle)
    return high


def confusion(lesson: Lesson) -> Target:
    """The label's row of the teacher's confusion on the training images, mixed with the uniform: (1 − s)·Q_y + s/C.

    ``permuted``: the wrong classes of each row are shuffled, which leaves the row's confidence and takes its relations.
    """
    images = lesson.images
    said = F.one_hot(lesson.own.table.argmax(1), images.classes).float()
    rows = _means_by_class(said, images.y_train, images.classes)
    if lesson.parameters["permuted"]:
        draws = generator(lesson.named("noise"))
        for label in range(images.classes):
            others = np.delete(np.arange(images.classes), label)
            rows[label, others] = rows[label, draws.permutation(others)]
    return _of_label(lesson, _blended(rows, lesson.parameters["smoothing"]))


def _blended(rows: Tensor, share: float) -> Tensor:
    return (1 - share) * rows + share / rows.shape[1]


def _means_by_class(rows: Tensor, y: Tensor, classes: int) -> Tensor:
    """(C, C): the mean row of each class; a class without images has its own label."""
    of_class = F.one_hot(y, classes).to(rows.dtype)
    counts = of_class.sum(0)[:, None]
    return torch.where(counts > 0, of_class.T @ rows / counts.clamp_min(1), torch.eye(classes, device=rows.device))


def _of_label(lesson: Lesson, p: Tensor) -> Target:
    """Each image is taught the row of its class, (C, C): T·log p, whose tempered softmax is p."""
    logits = lesson.parameters["temperature"] * p.float().log().clamp_min(LEAST)
    rows = logits[lesson.images.y_train]
    return lambda epoch, index, views: rows[index]


# Of the student itself -------------------------------------------------------------------------------------------


def same_class(lesson: Lesson) -> Target:
    """The network's own logits, not followed, on another image of the class, as it is seen in this epoch.

    Each image is the partner of one other an epoch: the next in a shuffled circle of its class.
    """
    images = lesson.images

    def draw(epoch: int) -> Tensor:
        y = images.y_train.cpu().numpy()
        order = generator(lesson.named("partners"), epoch).permutation(len(y))
        partner = np.empty(len(y), np.int64)
        for label in np.unique(y):
            circle = order[y[order] == label]
            partner[circle] = np.roll(circle, -1)
        return torch.from_numpy(partner).to(images.y_train.device)

    partners = _by_epoch(draw, redraw=True)
    seen: dict[int, Callable[[Tensor], Tensor]] = {}

    @torch.no_grad()
    def target(epoch: int, index: Tensor, views: Tensor) -> Tensor:
        if epoch not in seen:
            seen.clear()
            seen[epoch] = viewer(images, lesson.recipe, lesson.named, epoch)
        said: Tensor = lesson.student(seen[epoch](partners(epoch)[index]))
        return said.float()

    return target


class PreviousEpoch:
    """The log-probabilities that the network gave each image an epoch before; its label in the first.

    Attributes
    ----------
    table : (n_train, C) float32, overwritten as an epoch goes
    """

    def __init__(self, lesson: Lesson) -> None:
        self.table = F.one_hot(lesson.images.y_train, lesson.images.classes).float().log().clamp_min(LEAST)

    def __call__(self, epoch: int, index: Tensor, views: Tensor) -> Tensor:
        return self.table[index]

    def remember(self, index: Tensor, logits: Tensor) -> None:
        """What the network says now, for the next epoch."""
        self.table[index] = F.log_softmax(logits.detach().float(), dim=1)


PHASES = (0.1, 0.2, 0.4, 0.5, 1.0)  # of the epochs: hard, soft, hard, soft, hard


def soft_phase(epoch: int, epochs: int) -> bool:
    """Whether confusion distillation teaches its matrix in an epoch, from 0: 30 of 300 hard, 30 soft, 60, 30, 150."""
    return sum(epoch >= round(share * epochs) for share in PHASES) % 2 == 1


class OwnConfusion:
    """The label's row of the student's own confusion Q, smoothed at first, then averaged over epochs.

        Q̃ = (1 − s) I + s/C at first;  Q̃ ← m Q̃ + (1 − m) Q  after each epoch from the end of the first hard phase on

    Attributes
    ----------
    table : (C, C) float32, rows Q̃_y, overwritten as epochs go

    Notes
    -----
    Kang & Kim, arXiv 2606.03052, whose released code takes Q from the test set with its labels: ``matrix: test-leak``.
    """

    def __init__(self, lesson: Lesson) -> None:
        self.images, self.parameters, self.epochs = lesson.images, lesson.parameters, lesson.recipe.epochs
        leaks = self.parameters["matrix"] == "test-leak"
        x, y = lesson.images.x_held, lesson.images.y_held
        if leaks:  # from as many images as the honest arm has, where there is one
            n = len(lesson.images.y_test) if y is None else min(len(y), len(lesson.images.y_test))
            chosen = torch.from_numpy(generator(lesson.named("leak")).permutation(len(lesson.images.y_test))[:n])
            chosen = chosen.to(lesson.images.y_test.device)
            x, y = lesson.images.x_test[chosen], lesson.images.y_test[chosen]
        assert x is not None and y is not None  # the protocol holds images out
        self.x, self.y = x, y
        classes = lesson.images.classes
        self.table = _blended(torch.eye(classes, device=y.device), self.parameters["smoothing"])
        self.order = torch.arange(classes, device=y.device).repeat(classes, 1)
        if self.parameters["permuted"]:
            draws = generator(lesson.named("noise"))
            for label in range(classes):  # along a random circle, so that no class keeps its place
                circle = draws.permutation(np.delete(np.arange(classes), label))
                self.order[label, circle] = torch.from_numpy(np.roll(circle, 1)).to(y.device)

    def __call__(self, epoch: int, index: Tensor, views: Tensor) -> Tensor:
        p = self.table.gather(1, self.order)
        rows = self.parameters["temperature"] * p.log().clamp_min(LEAST)
        return rows[self.images.y_train[index]]

    def learn(self, epoch: int, model: nn.Module) -> None:
        """What the network confuses after an epoch, from 0."""
        if epoch + 1 < round(PHASES[0] * self.epochs):
            return
        said = F.one_hot(logits_of(model, self.images, self.x).argmax(1), self.images.classes).float()
        momentum = self.parameters["momentum"]
        self.table.mul_(momentum).add_((1 - momentum) * _means_by_class(said, self.y, self.images.classes))


TARGETS: dict[str, Callable[[Lesson], Target]] = {
    "own_teacher": own_teacher,
    "other_teacher": other_network,
    "other_network": other_network,
    "generation": generation,
    "untrained": untrained,
    "noise": noise,
    "permuted": permuted,
    "class_mean": class_mean,
    "smoothed": smoothed,
    "confusion": confusion,
    "same_class": same_class,
    "previous_epoch": PreviousEpoch,
    "own_confusion": OwnConfusion,
}
