"""How often W, K and θ₀ are claimed where they are false, and found where they are true: rates in simulated worlds."""

import hashlib
import math
from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from kdstats import metrics, stats
from kdstats.catalog import ASYMMETRY, INHERITANCE
from kdstats.comparisons import or_one
from kdstats.inheritance import Swapped, evenly_begun
from kdstats.metrics.swaps import FEWEST_PAIRS, FEWEST_SPLIT
from kdstats.metrics.thirds import FEWEST_EXAMPLES, FEWEST_THIRD
from kdstats.world_list import WORLDS
from kdstats.worlds import World, draw

CLAIMS = {"W": "inherits_errors", "K": "inherits_knowledge", "θ₀": ASYMMETRY}
PROPOSED = "W, which error"  # W with one more gate that `which_error` explains: not in the verdicts of protocols
CLAIMED = (*CLAIMS, PROPOSED)
LEVEL = 0.05
RUNS = 300  # simulated protocols a world: a quarter of an hour on one core in all
ERRORS = 4  # Monte-Carlo standard errors


def generator(name: str, run: int) -> Generator:
    """The random numbers of one run of one world: they depend on nothing else that runs."""
    return np.random.default_rng([run, *np.frombuffer(hashlib.sha256(name.encode()).digest()[:16], np.uint32).tolist()])


# Verdicts --------------------------------------------------------------------------------------------------------


def found(of: Swapped, level: float = LEVEL) -> dict[str, str]:
    """The verdicts of ``kdstats.verdicts.judge`` on W, K and θ₀, each its own family, without intervals and sentences.

    Each is claimed to be above 0, of the recipe and new examples. Tests hold this equal to ``judge``; it takes a tenth
    of its time. `PROPOSED` is W, and `which_error` significant in W's direction, which ``judge`` does not ask.
    """
    split = metrics.swap(*of.arrays)
    enough = len(split.halves) >= FEWEST_PAIRS and split.n_usable >= FEWEST_SPLIT and evenly_begun(of)
    verdicts = {}
    for claim, metric in CLAIMS.items():
        if metric in INHERITANCE:
            g = split.errors if metric == "inherits_errors" else split.knowledge
            whole = _decided(_values(g, split, None), level) if enough else "inconclusive"
            decided = whole != "inconclusive" and _decided(_values(g, split, of.labels), level) == whole
            verdicts[claim] = whole if decided else "inconclusive"
        else:
            shown = enough and _firmer(of, split, level)
            verdicts[claim] = "supported" if shown else "not shown"
    specific = verdicts["W"] != "inconclusive" and _decided(which_error(split), level) == verdicts["W"]
    verdicts[PROPOSED] = verdicts["W"] if specific else "inconclusive"
    return verdicts


def _decided(values: NDArray[np.float64] | None, level: float) -> str:
    """By the p of the side on which the mean lies: that of the other is above a half."""
    if values is None:
        return "inconclusive"
    mean = stats.two_way(values)
    above = float(mean.estimate) > 0
    significant = or_one(float(mean.p_value("greater" if above else "less"))) <= level
    return "inconclusive" if not significant else "supported" if above else "refuted"


def which_error(split: metrics.Swap) -> NDArray[np.float64] | None:
    """(Q, N) values with mean D: whether ℓ gains on third answers where it was taught. None where no pair has halves.

        D = log (w^ℓ / w^u) − log (r^ℓ / r^u), of totals weighted as θ's are, + ½ each

    A student that is merely worse there gives all wrong answers more often, which leaves D where it was; one that took
    over an error gives that one. So where quality is passed on by kinds of examples that nobody knows, W is above 0 and
    D is not. Linearised by the delta method, over pairs × examples.
    """
    try:
        omega = metrics.third_weights(split) * split.students[:, None]
    except metrics.UndefinedMetric:
        return None
    counts = [omega * part for part in (split.wrong_other, split.wrong_third, split.right_other, split.right_third)]
    totals = [float(part.sum()) + 0.5 for part in counts]
    d = math.log(totals[0] / totals[1]) - math.log(totals[2] / totals[3])
    shares = [part / total for part, total in zip(counts, totals, strict=True)]
    v = shares[0] - shares[1] - shares[2] + shares[3]
    return np.asarray(d + v.size * (v - v.mean()))


def _values(
    g: NDArray[np.float64], split: metrics.Swap, classes: NDArray[np.intp] | None
) -> NDArray[np.float64] | None:
    """Those of W or K; None where it does not exist."""
    try:
        return metrics.balanced(g, split.halves, classes).values
    except metrics.UndefinedMetric:
        return None


def _firmer(of: Swapped, split: metrics.Swap, level: float) -> bool:
    """Whether θ₀ is above 0 and passes its gates."""
    if of.confidence is None:
        return False
    try:
        third = metrics.third_answers(split)
    except metrics.UndefinedMetric:
        return False
    if third.n_third < FEWEST_THIRD or third.n_examples < FEWEST_EXAMPLES:
        return False
    if not (third.theta > 0 and third.favours_truth):
        return False
    firm = metrics.firmness(split, *of.confidence)
    if firm.where_less_sure is None or firm.where_less_sure <= 0:
        return False
    return or_one(float(stats.two_way(firm.values).p_value("greater"))) <= level


# Rates -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rate:
    """What verdicts one claim gets in one world: a row of the table.

    Attributes
    ----------
    world, words, claim : the claim is "W", "K" or "θ₀", that it is above 0; or `PROPOSED`
    true : whether it is, in this world
    runs : simulated protocols
    supported, refuted : shares of them; θ₀ is never refuted (NaN)
    error : Monte-Carlo standard error of the larger share that is false
    limit : .05 and 4 Monte-Carlo standard errors of it
    held : "yes", "no", or "known exception" where false verdicts exceed the limit as they are known to
    """

    world: str
    words: str
    claim: str
    true: bool
    runs: int
    supported: float
    refuted: float
    error: float
    limit: float
    held: str


def rates(world: World, runs: int = RUNS) -> list[Rate]:
    """Simulate a world and count the verdicts, a row a claim. Each run has random numbers of its own."""
    verdicts = [found(draw(world, generator(world.name, run))) for run in range(runs)]
    rows = []
    for claim in CLAIMED:
        said = Counter(each[claim] for each in verdicts)
        supported = said["supported"] / runs
        refuted = math.nan if claim == "θ₀" else said["refuted"] / runs
        true = claim.partition(",")[0] in world.true
        wrong = max(0.0 if true else supported, 0.0 if math.isnan(refuted) else refuted)
        limit = LEVEL + ERRORS * math.sqrt(LEVEL * (1 - LEVEL) / runs)
        held = "yes" if wrong <= limit else "known exception" if claim in world.known else "no"
        error = math.sqrt(wrong * (1 - wrong) / runs)
        rows.append(Rate(world.name, world.words, claim, true, runs, supported, refuted, error, limit, held))
    return rows


def rates_of(name: str, runs: int | None = None) -> list[Rate]:
    """`rates` of a world by its name; with 100 classes a tenth of the runs, each of which takes ten times as long.

    Raises
    ------
    KeyError
        An unknown world.
    """
    world = WORLDS[name]
    return rates(world, max((runs or RUNS) // (10 if world.classes >= 100 else 1), 1))
