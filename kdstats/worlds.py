"""Planted worlds of swapped teachers and their students, in which it is known what is inherited.

Every network has logits: the true class gets b − 1.5 z, with z ~ N(0, 1) the example's difficulty, one wrong class
gets ``attraction``, all get independent Gumbel noise. So networks share what is hard and how it is mistaken, a network is
more confident where it is right, and b gives its accuracy. A student answers as its teacher with a probability that the
world chooses, and else as itself.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdstats.inheritance import Swapped, swapped

Array = NDArray[Any]
Follow = Callable[[Array, Array, Array, Array], Array]  # difficulty; teachers' margin, rightness, entropy → probability
HARDNESS = 1.5


@dataclass(frozen=True)
class World:
    """What determines a draw.

    Attributes
    ----------
    gap : accuracy of untaught students minus the teachers' mean
    spread : standard deviation of the teachers' accuracies
    follow : probability of giving the teacher's answer; None: never
    quality : what students have of their own teacher's accuracy: "" nothing, "overall", "inverse", "class", "region"
    blend : weight of the teacher's logits in the student's, instead of following; noise on top of them
    sample : probability of an answer drawn from the teacher's softmax at temperature 2, its second choices included
    surer : the teacher's answer where its margin is the larger one, with this probability
    start : probability of answering as the teacher whose initial weights a student began with, before all else
    alike : correlation of the noise of students that one teacher taught
    scale : teachers' logits are multiplied by exp(± scale): some over-confident
    """

    gap: float = 0.0
    spread: float = 0.0
    follow: Follow | None = None
    quality: str = ""
    blend: float = 0.0
    noise: float = 0.0
    sample: float = 0.0
    surer: float = 0.0
    start: float = 0.0
    alike: float = 0.0
    scale: float = 0.0
    attraction: float = 1.5
    accuracy: float = 0.855
    pairs: int = 5
    students: tuple[int, int] = (2, 2)
    n: int = 1500
    classes: int = 10
    imbalance: float = 0.0
    leaning: float = 0.0
    twins: bool = False


@lru_cache(maxsize=256)
def _accuracies(attraction: float, classes: int) -> tuple[Array, Array]:
    """b on a grid, and the accuracy it gives, from 40,000 fixed examples."""
    rng = np.random.default_rng(0)
    n = 40_000
    z, own = rng.normal(size=n), rng.gumbel(size=n)
    rival = np.maximum(attraction + rng.gumbel(size=n), np.log(classes - 2) + rng.gumbel(size=n))
    grid = np.linspace(-3, 12, 301)
    return grid, np.array([(b - HARDNESS * z + own > rival).mean() for b in grid])


def strength(accuracy: Array | float, attraction: float, classes: int) -> Array:
    """b of networks of these accuracies."""
    grid, shares = _accuracies(attraction, classes)
    return np.asarray(np.interp(accuracy, shares, grid))


def draw(world: World, rng: np.random.Generator) -> Swapped:
    """One experiment: teachers in pairs, students of both arms, answers on one test set."""
    w, n, classes, count = world, world.n, world.classes, 2 * world.pairs
    chances = np.arange(1, classes + 1.0) ** -w.imbalance
    y = rng.choice(classes, n, p=chances / chances.sum())
    z = rng.normal(size=n)
    rival = (y + rng.integers(1, classes, n)) % classes
    accuracy = np.clip(w.accuracy + w.spread * rng.normal(size=count), 0.3, 0.99)
    region = rng.integers(0, 8, n) if w.quality == "region" else y  # kinds of examples, each teacher good at some
    special = rng.normal(size=(count, classes if w.quality != "region" else 8)) * (w.quality in ("class", "region"))
    lean = w.leaning * rng.normal(size=(count, classes))
    rows = np.arange(n)

    def logits(b: Array, extra: Array, noise: Array) -> Array:
        found = noise
        found[:, rows, y] += b[:, None] - HARDNESS * z + extra
        found[:, rows, rival] += w.attraction
        return found

    def noise(networks: int) -> Array:
        return rng.gumbel(size=(networks, n, classes))

    b = strength(accuracy, w.attraction, classes)
    of_teachers = logits(b, special[:, region], noise(count)) + lean[:, None, :]
    if w.twins:  # the first pair are all but one network
        of_teachers[1] = of_teachers[0] + 0.3 * noise(1)[0]
    said = of_teachers.argmax(2)
    by, began = _students(w)
    quality = np.full(len(by), w.accuracy + w.gap)
    if w.quality in ("overall", "inverse"):
        quality += (accuracy[by] - accuracy.mean()) * (1 if w.quality == "overall" else -1)
    own_noise = noise(len(by))
    if w.alike:
        own_noise = w.alike * noise(count)[by] + (1 - w.alike) * own_noise
    own = logits(strength(quality, w.attraction, classes), special[by][:, region], own_noise)
    own += lean[began][:, None, :] if w.leaning else 0.0
    if w.blend:
        own = (1 - w.blend) * own + w.blend * of_teachers[by] + w.noise * noise(len(by))
    answers = own.argmax(2)
    if w.sample:
        drawn = (of_teachers[by] / 2 + noise(len(by))).argmax(2)  # a draw from the softmax
        answers = np.where(rng.random(answers.shape) < w.sample, drawn, answers)
    if w.surer:
        follows = (_margin(of_teachers)[by] > _margin(own)) & (rng.random(answers.shape) < w.surer)
        answers = np.where(follows, said[by], answers)
    if w.start:
        answers = np.where(rng.random(answers.shape) < w.start, said[began], answers)
    if w.follow is not None:
        p = w.follow(z, _margin(of_teachers), said == y, _entropy(of_teachers))
        answers = np.where(rng.random(answers.shape) < p[by], said[by], answers)
    given = of_teachers * np.exp(w.scale * np.where(np.arange(count) % 2, 1, -1))[:, None, None]
    pairs = np.arange(count).reshape(-1, 2)
    return swapped(given, answers, y, by, pairs, started_from=began)


def _students(w: World) -> tuple[Array, Array]:
    """Who taught each student, and whose initial weights it began with: kd of every teacher, then kd-other."""
    own = np.repeat(np.arange(2 * w.pairs), w.students[0])
    other = np.repeat(np.arange(2 * w.pairs), w.students[1])
    return np.concatenate([own, other ^ 1]), np.concatenate([own, other])


def _margin(logits: Array) -> Array:
    two = np.partition(logits, -2, axis=-1)[..., -2:]
    return np.asarray(two[..., 1] - two[..., 0])


def _entropy(logits: Array) -> Array:
    p = np.exp(logits - logits.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    return np.asarray(-(p * np.log(np.maximum(p, 1e-300))).sum(-1))


def coin(share: float, where_wrong: float | None = None) -> Follow:
    """Every answer with one probability; or right ones with ``share``, wrong ones with ``where_wrong``."""
    other = share if where_wrong is None else where_wrong
    return lambda z, margin, right, entropy: np.where(right, share, other)


def by_difficulty(sign: int) -> Follow:
    """Hard examples more (1), or easy ones (−1): between .1 and .7."""
    return lambda z, margin, right, entropy: np.broadcast_to(0.1 + 0.6 / (1 + np.exp(-2 * sign * z)), margin.shape)


def by_confidence(sign: int) -> Follow:
    """Where the teacher is confident (1), or unsure (−1): between .1 and .7."""
    return lambda z, margin, right, entropy: 0.1 + 0.6 / (1 + np.exp(-sign * (margin - np.median(margin))))


def by_teacher(sign: int) -> Follow:
    """Better teachers are followed more (1), or less (−1): .4 and ± 5 times their accuracy's distance from the mean."""

    def follow(z: Array, margin: Array, right: Array, entropy: Array) -> Array:
        apart = right.mean(axis=1, keepdims=True) - right.mean()
        return np.broadcast_to(np.clip(0.4 + 5 * sign * apart, 0.05, 0.95), margin.shape)

    return follow


def by_entropy(z: Array, margin: Array, right: Array, entropy: Array) -> Array:
    """Where the teacher's output is peaked: between .1 and .7."""
    return np.asarray(0.1 + 0.6 / (1 + np.exp(2 * (entropy - np.median(entropy)))))
