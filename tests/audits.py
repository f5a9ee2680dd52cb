"""Simulated networks with a truth that is known: items differ in difficulty, networks in skill, errors are shared."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Classes = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class World:
    """Labels, and a maker of networks. Half of all errors at an item are the item's usual one."""

    labels: Classes
    network: Callable[..., Classes]


def world(rng: np.random.Generator, n: int = 2000, classes: int = 10, spread: float = 0.15) -> World:
    y = rng.integers(0, classes, n)
    hard = rng.normal(size=n)
    usual = (y + rng.integers(1, classes, n)) % classes

    def network(
        skill: float = 2.0, copied: Classes | None = None, right: float = 0.0, wrong: float | None = None
    ) -> Classes:
        """A network that takes over ``copied`` with probability ``right`` where that is right, ``wrong`` elsewhere."""
        knows = rng.random(n) < 1 / (1 + np.exp(-(skill + spread * rng.normal() - 2 * hard)))
        other = (y + rng.integers(1, classes, n)) % classes
        said = np.where(knows, y, np.where(rng.random(n) < 0.5, usual, other))
        if copied is None:
            return said
        share = np.where(copied == y, right, right if wrong is None else wrong)
        return np.where(rng.random(n) < share, copied, said)

    return World(y, network)


@dataclass(frozen=True, eq=False)
class Case:
    """One simulated audit: teacher, student, controls, their kind."""

    labels: Classes
    teacher: Classes
    student: Classes
    controls: list[Classes]
    kind: str


def _copies(c: float, kind: str) -> Callable[[World, int], tuple[Classes, Classes, list[Classes], str]]:
    def make(w: World, m: int) -> tuple[Classes, Classes, list[Classes], str]:
        teacher = w.network()
        other = [w.network(copied=w.network(), right=c) if kind == "kd-other" else w.network() for _ in range(m)]
        return teacher, w.network(copied=teacher, right=c), other, kind

    return make


def _selective(right: float, wrong: float) -> Callable[[World, int], tuple[Classes, Classes, list[Classes], str]]:
    def make(w: World, m: int) -> tuple[Classes, Classes, list[Classes], str]:
        teacher = w.network()
        other = [w.network(copied=w.network(), right=right, wrong=wrong) for _ in range(m)]
        return teacher, w.network(copied=teacher, right=right, wrong=wrong), other, "kd-other"

    return make


def _better(w: World, m: int) -> tuple[Classes, Classes, list[Classes], str]:
    """Student and controls of another teacher became more accurate than the teacher; none copies."""
    return w.network(), w.network(skill=2.8), [w.network(skill=2.8) for _ in range(m)], "kd-other"


def _better_alone(w: World, m: int) -> tuple[Classes, Classes, list[Classes], str]:
    """A student that never met the teacher and is two points better than the controls, said to be of other teachers."""
    return w.network(), w.network(skill=2.2), [w.network() for _ in range(m)], "kd-other"


def _one_other_teacher(w: World, m: int) -> tuple[Classes, Classes, list[Classes], str]:
    """Controls that share their other teacher, which they must not."""
    teacher, other = w.network(), w.network()
    controls = [w.network(copied=other, right=0.7) for _ in range(m)]
    return teacher, w.network(copied=teacher, right=0.7), controls, "kd-other"


SCENARIOS = {
    "copies 0 of its teacher, plain controls": _copies(0.0, "plain"),
    "copies .1, plain controls": _copies(0.1, "plain"),
    "copies .3, plain controls": _copies(0.3, "plain"),
    "copies 0, controls of another teacher": _copies(0.0, "kd-other"),
    "copies .1, controls of another teacher": _copies(0.1, "kd-other"),
    "copies .3, controls of another teacher": _copies(0.3, "kd-other"),
    "is only more accurate, as its controls are": _better,
    "copies .95, controls of other teachers": _copies(0.95, "kd-other"),
    "is more accurate than its controls, without any teacher": _better_alone,
    "copies .7, controls share one other teacher": _one_other_teacher,
    "takes over errors: .4 of them, .05 of the rest": _selective(0.05, 0.4),
    "takes over what is right: .4, and .05 of errors": _selective(0.4, 0.05),
}


def cases(scenario: str, number: int, n: int, m: int, seed: int, spread: float = 0.15) -> Iterator[Case]:
    """Simulated audits of one scenario."""
    for i in range(number):
        w = world(np.random.default_rng([seed, i]), n, spread=spread)
        teacher, student, controls, kind = SCENARIOS[scenario](w, m)
        yield Case(w.labels, teacher, student, controls, kind)
