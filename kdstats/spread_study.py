"""How often students that inherit only their teacher's accuracy seem to know their teacher: agreement against kd-other.

The better of two swapped teachers has better students, and a better student agrees more with any good teacher, the more
so the better that teacher is. So agreement is higher with one's own teacher although nothing was taught but quality,
and the rate of that false claim grows with the spread of the teachers' accuracies. `kdstats.verdicts.SPREAD_LIMIT` is
where it reaches LARGEST: earlier for KL than for agreement, since a better student is surer as well, and earlier on
this test set than about new examples, whose chance counts there.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from kdstats import stats
from kdstats.inheritance_study import LEVEL, generator
from kdstats.worlds import World, examples, skill, teachers

Floats = NDArray[np.float64]
SPREADS = (0.0, 0.005, 0.01, 0.015, 0.02, 0.025, 0.03, 0.04)
RUNS = 500
SCOPES = ("new", "this test set")
LARGEST = 0.065  # size up to which a test at .05 is let decide
SEEDS = 2
HIGHER = {"agreement": 1, "negative_transfer": 1, "fidelity_kl": -1}  # metric -> the sign with which more is closer


@dataclass(frozen=True)
class Size:
    """How often a metric is falsely closer to the own teacher: a row of the table.

    Attributes
    ----------
    metric, scope : "new": two-way t over pairs and new examples; "this test set": t of the pairs' means
    spread, observed : ``observed`` is the mean SD (ddof 1) of accuracies on the test set, with chance in it
    runs, size, error : protocols, share that reject at .05, its Monte-Carlo standard error
    estimate : mean difference of kd and kd-other
    """

    metric: str
    scope: str
    spread: float
    observed: float
    runs: int
    size: float
    error: float
    estimate: float


def differences(world: World, rng: Generator) -> tuple[dict[str, Floats], float]:
    """Per-example differences kd − kd-other, (pairs, N) for each metric, and the SD of the teachers' accuracies."""
    of = examples(world, world.n, rng)
    by = teachers(world, of, rng)
    said = by.logits.argmax(axis=2)
    wrong = said != of.labels
    p = np.exp(by.logits - by.logits.max(axis=2, keepdims=True))
    p /= p.sum(axis=2, keepdims=True)
    found = {metric: np.zeros((world.pairs, world.n)) for metric in HIGHER}
    at, shared = np.arange(world.n), of.shared.astype(np.float32)
    for teacher in range(2 * world.pairs):
        for taught, sign in ((teacher, 1), (teacher ^ 1, -1)):
            z = rng.standard_normal((SEEDS, *shared.shape), np.float32)
            z += shared
            z[:, at, of.labels] += float(skill(world, by.accuracies[taught]))
            agrees = (z.argmax(axis=2) == said[teacher]).mean(axis=0)
            share = agrees[wrong[teacher]].mean()
            errors = share + wrong[teacher] / wrong[teacher].mean() * (agrees - share)
            # KL without the teacher's own entropy, which is the same for kd and kd-other
            cross = np.log(np.exp(z).sum(axis=2)).mean(axis=0) - (p[teacher] * z.mean(axis=0)).sum(axis=1)
            for metric, values in zip(HIGHER, (agrees, errors, cross), strict=True):
                found[metric][teacher // 2] += sign / 2 * values
    return found, float((~wrong).mean(axis=1).std(ddof=1))


def sizes_at(spread: float, runs: int = RUNS) -> list[Size]:
    """A row a metric and scope: 10 teachers × 2 students, 1,500 examples, students that inherit accuracy alone.

    All spreads have the same random numbers, so that their sizes differ by less than their errors.
    """
    world = World(f"spread {spread:g}", "", spread=spread, inherited=1.0)
    rejected = {(metric, scope): np.zeros(runs, bool) for metric in HIGHER for scope in SCOPES}
    estimates = {metric: np.zeros(runs) for metric in HIGHER}
    observed = np.zeros(runs)
    for run in range(runs):
        found, observed[run] = differences(world, generator("spread of teachers", run))
        for metric, sign in HIGHER.items():
            closer = sign * found[metric]
            rejected[metric, "new"][run] = stats.two_way(closer).p_value("greater") <= LEVEL
            of_pairs = stats.paired_t(closer.mean(axis=1), alternative="greater")
            rejected[metric, "this test set"][run] = of_pairs.p_value <= LEVEL
            estimates[metric][run] = sign * float(closer.mean())
    rows = []
    for metric, scope in rejected:
        size = float(rejected[metric, scope].mean())
        error = float(np.sqrt(size * (1 - size) / runs))
        estimate = float(estimates[metric].mean())
        rows.append(Size(metric, scope, spread, float(observed.mean()), runs, size, error, estimate))
    return rows


def limit(spreads: Sequence[float], found: Sequence[float]) -> float | None:
    """The spread at which the size reaches `LARGEST`, between the last that is below and the next; None where none is.

    Examples
    --------
    >>> round(limit([0.0, 0.01, 0.02], [0.045, 0.055, 0.075]), 6)
    0.015
    """
    for low, high, below, above in zip(spreads, spreads[1:], found, found[1:], strict=False):
        if below <= LARGEST < above:
            return low + (high - low) * (LARGEST - below) / (above - below)
    return None
