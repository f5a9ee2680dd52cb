"""Worlds of teachers and students whose truth is known: what W, K, θ₀ and agreement must, and must not, find in them.

Every network gives logits. Of network m, example i and class k they are

    z = 1[k = y] (skill_m + group_mg) + shared_ik + own_mik

shared: how hard an example is and which classes it is taken for, alike for all networks; own: the network's. The most
likely class is the answer, so networks err on the same examples, in the same ways, and are surer where they are right.
A student answers by itself (o), or as its teacher does, or blends both; it may inherit its teacher's quality, or begin
with the weights of a teacher and so resemble it. Networks are simulated here, not trained.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from kdstats.inheritance import Swapped
from kdstats.metrics import confidence

Floats = NDArray[np.float64]
Follows = Literal["", "hard", "easy", "sure", "unsure", "entropy"]
Groups = Literal["all", "class", "kind"]
CALIBRATION = 20_000  # examples from which a skill's accuracy is known
KINDS = 10  # hidden kinds of examples, each in all classes


@dataclass(frozen=True)
class World:
    """One truth, and the design that is held against it. Accuracies and points are shares: .02 is two points.

    Attributes
    ----------
    name, words : what is the case
    true : claims that are true there, of "W", "K" and "θ₀"
    known : claims that are known to fail there, of the same
    pairs, students, n, classes : swapped pairs of teachers; students a teacher and arm; examples; classes
    accuracy : of teachers, on average
    spread : SD of the teachers' accuracies
    gap : how much less accurate o is than teachers are on average
    inherited : how much of its teacher's difference from the mean of all a student has; −1, its opposite
    groups, of_group : teachers differ on all examples, or on those of each true class, or of each hidden kind; the SD,
        of accuracy, of the latter two, which is inherited as well
    copied : probability of the teacher's answer in place of o, where it is right, where it is wrong
    follows : copied more (twice as often as on the other half) where an example is hard or easy for all networks, or
        where the teacher is sure or unsure; "entropy": in proportion to the teacher's confidence in its answer
    sampled : probability of an answer drawn from the teacher's softmax at temperature 2, second choices included
    surer : probability of the teacher's answer where it is surer of it than the student
    blend, noise : share of the teacher's logits in a student's; SD of what is added to them
    start : share of a teacher's own variance that students have which begin with its weights
    alike, alike_one : share of own variance that all students of one teacher have in common, that those of the first
        teacher of each pair have
    own, confusable : SD of what is a network's own; of what all networks take an example for
    sure : factor on the first teacher's logits in each pair
    twins, twinned : pairs whose two teachers are nearly identical, and the share of variance they have in common
    lean : SD, in logits, of a leaning to each class that a teacher has and students that begin with its weights have
    leans : the same, passed on to those it teaches
    duplicates : how often each example occurs
    mislabelled : share of hidden kinds in which the label is another class than the one that networks are taught
    imbalance : each class is this many times as frequent as the next
    sides : students of the first and second teacher of a pair, where they are unequal
    """

    name: str
    words: str
    true: str = ""
    known: str = ""
    pairs: int = 5
    students: int = 2
    n: int = 1_500
    classes: int = 10
    accuracy: float = 0.855
    spread: float = 0.0
    gap: float = 0.0
    inherited: float = 0.0
    groups: Groups = "all"
    of_group: float = 0.0
    copied: tuple[float, float] = (0.0, 0.0)
    follows: Follows = ""
    sampled: float = 0.0
    surer: float = 0.0
    blend: float = 0.0
    noise: float = 0.0
    start: float = 0.0
    alike: float = 0.0
    alike_one: float = 0.0
    own: float = 1.0
    confusable: float = 1.0
    sure: float = 1.0
    twins: int = 0
    twinned: float = 0.995
    lean: float = 0.0
    leans: float = 0.0
    duplicates: int = 1
    mislabelled: float = 0.0
    imbalance: float = 1.0
    sides: tuple[int, int] | None = None


@dataclass(frozen=True, eq=False)
class Examples:
    """What networks of a world have in common: (N,) labels and hidden kinds, (N, C) shared logits, (N,) difficulty."""

    labels: NDArray[np.intp]
    kinds: NDArray[np.intp]
    shared: Floats
    difficulty: Floats


def examples(world: World, n: int, rng: Generator) -> Examples:
    """New examples of a world."""
    weights = world.imbalance ** -np.arange(world.classes, dtype=float)
    labels = rng.choice(world.classes, n, p=weights / weights.sum())
    difficulty = rng.standard_normal(n)
    confused = _confusions(world.classes)
    shared = world.confusable * (confused[labels] + rng.standard_normal((n, world.classes)))
    shared[np.arange(n), labels] = -1.5 * difficulty
    return Examples(labels, rng.integers(0, KINDS, n), shared, difficulty)


@lru_cache(maxsize=8)
def _confusions(classes: int) -> Floats:
    """(C, C): which classes are taken for which, the same in all worlds."""
    return np.random.default_rng(classes).standard_normal((classes, classes))


@lru_cache(maxsize=64)
def _thresholds(world: World) -> Floats:
    """The skill at which each of many examples would be answered rightly, sorted: accuracy is a share of them."""
    rng = np.random.default_rng(0)
    found = examples(world, CALIBRATION, rng)
    z = found.shared + world.own * rng.standard_normal(found.shared.shape)
    rows = np.arange(len(z))
    true = z[rows, found.labels].copy()
    z[rows, found.labels] = -np.inf
    return np.sort(z.max(axis=1) - true)


def skill(world: World, accuracy: Floats | float) -> Floats:
    """The skill with which a network of this world has an accuracy."""
    plain = World("", "", classes=world.classes, own=world.own, confusable=world.confusable, imbalance=world.imbalance)
    shares = (np.arange(CALIBRATION) + 0.5) / CALIBRATION
    return np.asarray(np.interp(np.clip(accuracy, 0.02, 0.99), shares, _thresholds(plain)))


@dataclass(frozen=True, eq=False)
class Teachers:
    """Those of one simulated protocol, in pairs (0, 1), (2, 3), …

    Attributes
    ----------
    accuracies : (T,) what each is made to have; ``of_groups``: (T, C or kinds) the same in groups, as a difference
    leaning : (T, 2, C), to classes: that of its weights at the start, that it passes on
    own : (T, N, C), what is its own alone; logits : (T, N, C)
    """

    accuracies: Floats
    of_groups: Floats
    leaning: Floats
    own: Floats
    logits: Floats


def teachers(world: World, of: Examples, rng: Generator) -> Teachers:
    """New teachers on examples."""
    t, (n, classes) = 2 * world.pairs, of.shared.shape
    accuracies = world.accuracy + world.spread * rng.standard_normal(t)
    of_groups = world.of_group * rng.standard_normal((t, max(KINDS, classes) if world.of_group else 1))
    leaning = rng.standard_normal((2, t, classes)) * np.array([world.lean, world.leans])[:, None, None]
    own = rng.standard_normal((t, n, classes))
    for a in range(0, 2 * world.twins, 2):
        own[a + 1] = np.sqrt(world.twinned) * own[a] + np.sqrt(1 - world.twinned) * own[a + 1]
        accuracies[a + 1], of_groups[a + 1] = accuracies[a], of_groups[a]
    logits = _answering(world, of, np.arange(n), accuracies, of_groups, world.own * own)
    logits += leaning.sum(axis=0)[:, None]
    logits[::2] *= world.sure
    return Teachers(accuracies, of_groups, leaning, own, logits)


def _answering(
    world: World, of: Examples, at: NDArray[np.intp], accuracies: Floats, of_groups: Floats, own: Floats
) -> Floats:
    """Logits (M, N, C) of networks of these accuracies (M,) at some examples; ``own`` becomes them."""
    own += of.shared[at]
    wanted = accuracies[:, None]
    if world.of_group:
        wanted = wanted + of_groups[:, (of.labels if world.groups == "class" else of.kinds)[at]]
    own[:, np.arange(len(at)), of.labels[at]] += skill(world, wanted)
    return own


def students(
    world: World, of: Examples, by: Teachers, at: NDArray[np.intp], taught: int, began: NDArray[np.intp], rng: Generator
) -> Floats:
    """Logits of the students of one teacher at some examples, (M, len(at), C); of a copied answer, their teacher's.

    Parameters
    ----------
    at : the examples
    taught : their teacher
    began : (M,) the teachers whose weights they began with
    """
    accuracy = world.accuracy - world.gap + world.inherited * (by.accuracies[taught] - world.accuracy)
    alike = world.alike_one if world.alike_one and taught % 2 == 0 else world.alike
    shape = len(began), len(at), of.shared.shape[1]
    own = np.sqrt(max(1 - world.start - alike, 0.0)) * world.own * rng.standard_normal(shape)
    if alike:
        own += np.sqrt(alike) * world.own * rng.standard_normal(shape[1:])
    if world.start:
        own += np.sqrt(world.start) * world.own * by.own[began][:, at]
    groups = np.broadcast_to(world.inherited * by.of_groups[taught], (len(began), by.of_groups.shape[1]))
    z = _answering(world, of, at, np.full(len(began), accuracy), groups, own)
    z += (by.leaning[0, began] + by.leaning[1, taught])[:, None]
    theirs = by.logits[taught, at]
    if world.blend:
        z = (1 - world.blend) * z + world.blend * theirs
    if world.noise:
        z += world.noise * rng.standard_normal(shape)
    if world.sampled:
        drawn = theirs / 2 + rng.gumbel(size=shape)  # whose largest is a draw from the softmax
        z = np.where((rng.random(shape[:2]) < world.sampled)[..., None], drawn, z)
    if world.surer:
        follows = (_margins(theirs) > _margins(z)) & (rng.random(shape[:2]) < world.surer)
        z = np.where(follows[..., None], theirs, z)
    if not any(world.copied):
        return z
    right = theirs.argmax(axis=1) == of.labels[at]
    copies = rng.random(shape[:2]) < np.where(right, *world.copied) * _followed(world, of, theirs, at)
    return np.where(copies[..., None], theirs, z)


def _margins(z: Floats) -> Floats:
    two = np.partition(z, -2, axis=-1)[..., -2:]
    return np.asarray(two[..., 1] - two[..., 0])


def _followed(world: World, of: Examples, theirs: Floats, at: NDArray[np.intp]) -> Floats | float:
    """How much more, or less, often an answer is copied than on average."""
    if not world.follows:
        return 1.0
    if world.follows in ("hard", "easy"):
        more = (of.difficulty[at] > 0.8) == (world.follows == "hard")  # about the median of split examples
    elif world.follows in ("sure", "unsure"):
        margins = _margins(theirs)
        more = (margins > np.median(margins)) == (world.follows == "sure")
    else:
        p = np.exp(theirs - theirs.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        entropy = -(p * np.log(np.maximum(p, 1e-30))).sum(axis=1)
        return np.asarray(1 - entropy / np.log(p.shape[1]))
    return np.where(more, 4 / 3, 2 / 3)


def draw(world: World, rng: Generator) -> Swapped:
    """One protocol of a world: teachers, and students of both arms.

    Students are simulated on split examples alone, since W, K and θ₀ are of those; elsewhere they say the true class.
    """
    of = examples(world, world.n // world.duplicates, rng)
    by = teachers(world, of, rng)
    noisy = of.kinds < round(KINDS * world.mislabelled)
    labels = np.where(noisy, (of.labels + 1 + of.kinds) % world.classes, of.labels)
    said, taught_by, started_from = by.logits.argmax(axis=2), [], []
    rows = []
    for q in range(world.pairs):
        both = (2 * q, 2 * q + 1)
        right = said[list(both)] == labels
        at = np.flatnonzero(right[0] != right[1])
        for taught in both:
            began = np.resize(both, world.sides[taught % 2] if world.sides else 2 * world.students)
            answers = np.tile(labels, (len(began), 1))
            answers[:, at] = students(world, of, by, at, taught, began, rng).argmax(axis=2)
            rows.append(answers)
            taught_by += [taught] * len(began)
            started_from += began.tolist()
    again = np.tile(np.arange(len(labels)), world.duplicates)
    again_logits = by.logits[:, again]
    pairs = np.arange(2 * world.pairs).reshape(-1, 2)
    sure = confidence(again_logits, labels[again], pairs) if world.classes > 2 else None
    began_with = np.array(started_from) if world.start or world.lean else None
    return Swapped(
        said[:, again], sure, np.concatenate(rows)[:, again], labels[again], np.array(taught_by), began_with, pairs,
        world.classes,
    )  # fmt: skip
