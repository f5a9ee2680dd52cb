"""What the networks of a run compute: activations joined to features, and counted.

A component counts as a feature where another network has it too. So how many features an arm has depends on those that
it is joined with: were all networks of a run joined at once, an arm with many relatives among the others would seem to
have more. Each number is therefore of networks joined among themselves: for a claim the arm and its control, for a
description the students of one seed, one of each teacher. Who is joined, in which order, never depends on labels.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata, spearmanr

import kdstats
from kdstats import metrics, stats
from kdstats.plan import EXCHANGES, stream
from kdstats.scoring import Key, Networks, point_key

Members = NDArray[np.intp]
Arm = tuple[str, str]  # with its parameters; ("teacher", "") for the teachers
TEACHERS: Arm = ("teacher", "")
BOOTSTRAPS = 499
THRESHOLDS = tuple(round(0.1 * i, 1) for i in range(1, 10))
FEWER_EXCHANGES = 999  # at other thresholds than the protocol's
ORDERS = 20  # of the modes that depend on it
SUBSETS = 20  # of groups that are larger than the smallest
EXTREME = 1e300  # an exchange in which the number does not exist counts as one as large as any

COLUMNS: dict[str, tuple[str, ...]] = {
    "interactions": (
        "layer", "components", "mode", "threshold", "floor", "arm", "arm_params", "n_networks", "size", "n_features",
        "mean_frequency", "features_per_datum", "shared_features", "unmatched_components", "presence", "same_teacher",
        "any_teachers", "p_same_teacher", "error", "disagreement", "calibration_error", "confidence_rho", "rho_low",
        "rho_high", "rho_p", "note",
    ),
    "frequencies": ("rank", "arm", "arm_params", "frequency"),
    "sensitivity": (
        "threshold", "arm", "arm_params", "n_features", "mean_frequency", "features_per_datum", "confidence_rho",
    ),
    "shared": ("arm", "arm_params", "other", "other_params", "shared", "own"),
    "per_image": ("arm", "arm_params", "features", "images"),
    "by_confidence": ("arm", "arm_params", "tenth", "confidence", "features"),
}  # fmt: skip


@dataclass(frozen=True)
class Interactions:
    """The networks of a run whose activations can be joined.

    Attributes
    ----------
    networks : of the run
    tensor : of all that trained
    place : each network's number in it, in an order that knows nothing of arms
    left_out : networks that trained and cannot be joined, and why
    """

    networks: Networks
    tensor: metrics.InteractionTensor
    place: Mapping[Key, int]
    left_out: Mapping[Key, str]

    def of(self, arm: Arm) -> list[Key]:
        """Networks of an arm."""
        return [key for key in self.place if key[:2] == arm]


@dataclass(frozen=True)
class Together:
    """Some networks, joined among themselves, ready to be counted many times.

    Attributes
    ----------
    tensor : of these networks
    place : each network's number in it
    """

    tensor: metrics.InteractionTensor
    place: Mapping[Key, int]

    def numbers(self, keys: Iterable[Key]) -> Members:
        return np.array([self.place[key] for key in keys], np.intp)

    @cached_property
    def present(self) -> list[tuple[NDArray[np.intp], NDArray[np.uint8]]]:
        """Of each network its features, and where they are present, packed by eight images."""
        found = [self.tensor.presence(number) for number in range(self.tensor.n_networks)]
        return [(features, np.packbits(where, axis=1)) for features, where in found]

    @cached_property
    def anywhere(self) -> NDArray[np.bool_]:
        """(M, T), whether the network has the feature present on any image."""
        found = np.zeros((len(self.present), self.tensor.n_features), bool)
        for number, (features, bits) in enumerate(self.present):
            found[number, features] = bits.any(1)
        return found

    def counter(self, name: str, teachers: Members) -> Callable[[Members], float]:
        """From networks' numbers to one of ``kdstats.catalog.GROUP_METRICS`` of them; NaN where it does not exist."""
        n = self.tensor.extremes.shape[2]
        of_teachers = self.anywhere[teachers].any(0)

        def count(members: Members) -> float:
            if name == "unmatched_components":
                return float(self.tensor.n_unmatched[members].sum())
            if name in ("n_features", "shared_features"):
                there = self.anywhere[members].any(0)
                return float(np.sum(there & of_teachers if name == "shared_features" else there))
            found = np.zeros((self.tensor.n_features, math.ceil(n / 8)), np.uint8)
            for number in members:
                features, bits = self.present[number]
                found[features] |= bits
            total, used = int(np.bitwise_count(found).sum(dtype=np.int64)), int(found.any(1).sum())
            if name == "features_per_datum":
                return total / n
            return total / used if used else math.nan

        return count


def join(networks: Networks) -> Interactions | None:
    """Join the networks of a protocol that keeps activations; None where fewer than two can be.

    A network in which fewer components vary than are asked for, a collapsed one say, is left out.
    """
    protocol = networks.plan.protocol
    settings = protocol.features
    assert settings is not None
    trained = sorted((key for key in networks.by_key if networks.logits(key) is not None), key=repr)
    order = np.random.default_rng(stream(protocol.seed, "networks")).permutation(len(trained))
    scores = []
    place: dict[Key, int] = {}
    left_out: dict[Key, str] = {}
    for key in (trained[i] for i in order):
        try:
            scores.append(metrics.principal_components(networks.activations(key), settings.components))
            place[key] = len(place)
        except ValueError as error:
            left_out[key] = str(error)
    if len(place) < 2:
        return None
    tensor = metrics.interaction_tensor(scores, k=None, mode=settings.mode, threshold=settings.threshold)  # type: ignore[arg-type]
    return Interactions(networks, tensor, place, left_out)


def together(
    joined: Interactions, keys: Iterable[Key], threshold: float | None = None, order: int | None = None
) -> Together:
    """These networks joined among themselves, two or more; in the run's order, or in another one of a number."""
    ordered = sorted(keys, key=lambda key: joined.place[key])
    if order is not None:
        generator = np.random.default_rng(stream(joined.networks.plan.protocol.seed, "networks", order))
        ordered = [ordered[i] for i in generator.permutation(len(ordered))]
    tensor = joined.tensor.recluster([joined.place[key] for key in ordered], threshold=threshold)
    return Together(tensor, {key: i for i, key in enumerate(ordered)})


# Claims ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Exchanged:
    """What exchanging labels says of an arm against a control.

    Attributes
    ----------
    estimate : arm minus control
    levels : of the arm, of the control
    networks : of each
    features : that there are where all are joined with each other; None where each side was joined alone
    p : by direction: greater, less, two-sided
    units : that were exchanged
    lost_arm, lost_control : networks that trained and could not be joined
    note : why they could not
    """

    estimate: float
    levels: tuple[float, float]
    networks: int
    features: int | None
    p: Mapping[str, float]
    test: str
    units: int
    lost_arm: int
    lost_control: int
    note: str


def exchange(
    joined: Interactions | None,
    name: str,
    arm: Sequence[Key],
    control: Sequence[Key],
    units: Sequence[int],
    threshold: float | None = None,
    alone: bool = False,
) -> Exchanged:
    """Whether an arm's networks together have more or less than the control's that are paired with them.

    Arm and control are joined with each other (for ``shared_features`` with the teachers too), which no exchange of
    their labels changes; or each side alone, anew for every exchange.

    Parameters
    ----------
    name : of ``kdstats.catalog.GROUP_METRICS``
    arm, control : networks, paired
    units : of each pair, the unit that is exchanged as one
    threshold, alone : another γ than the protocol's, sides joined alone; with fewer exchanges: how much depends on it

    Raises
    ------
    UndefinedMetric
        Fewer than two units that can be joined; an arm or control for which the number does not exist.
    """
    place = joined.place if joined else {}
    lost = [[key for key in side if key not in place] for side in (arm, control)]
    left_out = joined.left_out if joined else {}
    reason = next((left_out.get(key, "it failed to train") for side in lost for key in side), "")
    note = f"{sum(map(len, lost))} network(s) could not be joined ({reason})" if any(lost) else ""
    kept = [i for i, pair in enumerate(zip(arm, control, strict=True)) if all(key in place for key in pair)]
    if joined is None or len({units[i] for i in kept}) < 2:
        raise metrics.UndefinedMetric("; ".join(filter(None, ("fewer than two units", note))))
    sides = [[side[i] for i in kept] for side in (arm, control)]
    teachers = joined.of(TEACHERS) if name == "shared_features" else []
    everyone = [*sides[0], *sides[1]]
    both = None if alone else together(joined, [*everyone, *teachers], threshold)
    if both and both.tensor.quantile is not None and both.tensor.threshold > 1 - 1e-6:
        raise metrics.UndefinedMetric(
            f"{both.tensor.mode} takes γ as a quantile of all correlations, which those of components with themselves"
            " fill here, so that nothing can be joined: it takes more networks or components"
        )
    if both:
        first, second = map(both.numbers, sides)
        count = both.counter(name, both.numbers(teachers))
    else:
        first, second = np.split(np.arange(len(everyone)), 2)

        def count(members: Members) -> float:
            keys = [everyone[i] for i in members]
            side = together(joined, [*keys, *teachers], threshold)
            return side.counter(name, side.numbers(teachers))(side.numbers(keys))

    def apart(first: Members, second: Members) -> list[float]:
        d = count(first) - count(second)
        return [EXTREME] * 3 if math.isnan(d) else [d, -d, abs(d)]

    if apart(first, second)[0] == EXTREME:
        raise metrics.UndefinedMetric("an arm or its control uses no feature: there is no mean frequency")
    found = stats.swap_labels(
        apart, first, second, clusters=[units[i] for i in kept], alternative="greater",
        permutations=EXCHANGES if threshold is None and not alone else FEWER_EXCHANGES,
    )  # fmt: skip
    p = dict(zip(("greater", "less", "two-sided"), map(float, found.p_value), strict=True))
    if threshold is None and not alone and joined.tensor.mode != "robust":
        note = "; ".join(filter(None, (note, _over_orders(joined, name, sides, teachers))))
    return Exchanged(
        float(found.estimate[0]), (count(first), count(second)), len(kept), both.tensor.n_features if both else None, p,
        found.test, found.n, len(lost[0]), len(lost[1]), note,
    )  # fmt: skip


def _over_orders(joined: Interactions, name: str, sides: Sequence[Sequence[Key]], teachers: Sequence[Key]) -> str:
    """How far the difference depends on the order in which networks are joined, which no label decides."""
    found = []
    for order in range(ORDERS):
        both = together(joined, [*sides[0], *sides[1], *teachers], order=order)
        count = both.counter(name, both.numbers(teachers))
        found.append(count(both.numbers(sides[0])) - count(both.numbers(sides[1])))
    mean, spread = np.mean(found), np.std(found, ddof=1)
    return f"over {ORDERS} other orders of the networks the difference is {mean:.3g} on average, SD {spread:.2g}"


def thresholds(joined: Interactions | None) -> tuple[float, ...]:
    """At which other γ claims are looked at again: those above what networks have in common by chance."""
    if joined is None:
        return ()
    floor = joined.tensor.floor or 0.0
    return tuple(t for t in THRESHOLDS if t > floor and abs(t - joined.tensor.threshold) > 1e-9)


# Description -----------------------------------------------------------------------------------------------------


def describe(joined: Interactions, identity: Mapping[str, str]) -> dict[str, pd.DataFrame]:
    """Tables of what each arm's networks have together, teachers first.

    Numbers of an arm are means over its student seeds, of the students of a seed joined among themselves: one student
    of each teacher, so that as many are counted as there are teachers. Where some are missing all counts are of as
    many as the smallest group has: means over random subsets, each joined among itself.

    Returns
    -------
    interactions : a row an arm. ``shared_features``: that the students of a seed, joined with the teachers, share with
        them. ``presence``: share of images that a component is present on. ``same_teacher``: features of the students
        of one teacher, mean over teachers, all students of the arm joined; ``any_teachers``: the same of students that
        are dealt anew to teachers, seed by seed, and two-sided p by such deals. ``confidence_rho``: Spearman's
        correlation over images of the features present on an image and the arm's mean confidence, with an interval
        over resampled images, and p two-sided; it depends on γ, see ``sensitivity``. These speak of these networks.
    frequencies : arm × rank: images that the feature of this rank is present on, to the last rank of all seeds
    sensitivity : arm × threshold, those below the floor included
    shared : arm × arm, joined with each other: features that both use, and that the first uses
    per_image : arm × number of features present, rounded: images that have so many
    by_confidence : arm × tenth of the images by confidence: mean confidence, mean features
    """
    networks, tensor = joined.networks, joined.tensor
    settings = networks.plan.protocol.features
    assert settings is not None
    arms: dict[Arm, list[list[Key]]] = {}
    for arm in [TEACHERS, *map(point_key, networks.plan.protocol.points)]:
        by_seed: dict[int | None, list[Key]] = {}
        for key in joined.of(arm):
            by_seed.setdefault(key[3], []).append(key)
        if sets := [by_seed[seed] for seed in sorted(by_seed, key=repr) if len(by_seed[seed]) > 1]:
            arms[arm] = sets
    size = min((len(keys) for sets in arms.values() for keys in sets), default=0)
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in COLUMNS}
    for arm, sets in arms.items():
        at = {"arm": arm[0], "arm_params": arm[1]}
        subsets = list(_subsets(joined, sets, size))
        groups = [together(joined, keys) for keys in subsets]
        uses = [_use(group) for group in groups]
        per_datum = np.mean([use.per_datum for use in uses], axis=0)
        keys = joined.of(arm)
        logits = [_logits(networks, key) for key in keys]
        confidence = np.mean([_confidence(z) for z in logits], axis=0)
        shared = list(_shared(joined, sets, arms))
        rows["shared"] += [at | row for row in shared]
        with_teachers = {row["other"]: row["shared"] for row in shared}.get("teacher", math.nan)
        rows["interactions"].append(
            at
            | _counts(uses)
            | _by_teacher(joined, keys)
            | _disagreement(logits, networks.labels)
            | _against_confidence(per_datum, confidence, networks.plan.protocol.seed)
            | {
                "n_networks": len(keys),
                "shared_features": math.nan if arm == TEACHERS else with_teachers,
                "unmatched_components": _unmatched(groups),
                "presence": float(np.mean([_presence(tensor, joined.place[key]) for key in keys])),
                "note": _notes(joined, arm),
            }
        )
        ranked = [-np.sort(-use.frequency) for use in uses]
        for rank in range(min(map(len, ranked))):
            frequency = float(np.mean([own[rank] for own in ranked]))
            rows["frequencies"].append(at | {"rank": rank + 1, "frequency": frequency})
        each = np.rint(np.concatenate([use.per_datum for use in uses])).astype(int)
        for value, images in zip(*np.unique(each, return_counts=True), strict=True):
            rows["per_image"].append(at | {"features": int(value), "images": float(images / len(uses))})
        for i, part in enumerate(np.array_split(np.argsort(confidence, kind="stable"), 10), 1):
            means = {"confidence": float(confidence[part].mean()), "features": float(per_datum[part].mean())}
            rows["by_confidence"].append(at | {"tenth": i} | means)
        for threshold in sorted({*THRESHOLDS, tensor.threshold}):
            there = [_use(together(joined, each, threshold)) for each in subsets]
            rho = _correlation(np.mean([use.per_datum for use in there], axis=0), confidence)
            rows["sensitivity"].append(at | {"threshold": threshold, "confidence_rho": rho} | _counts(there))
    same = {
        "layer": settings.layer, "components": settings.components, "mode": settings.mode,
        "threshold": tensor.threshold, "floor": math.nan if tensor.floor is None else tensor.floor,
    }  # fmt: skip
    rows["interactions"] = [row | same for row in rows["interactions"]]
    return {
        name: pd.DataFrame([{**identity, **row, "version": kdstats.__version__} for row in found]).reindex(
            columns=[*identity, *COLUMNS[name], "version"]
        )
        for name, found in rows.items()
    }


def _subsets(joined: Interactions, sets: Sequence[Sequence[Key]], size: int) -> Iterator[Sequence[Key]]:
    """Each set, or random subsets of it where it is larger: a smaller group finds fewer relatives in itself."""
    for number, keys in enumerate(sets):
        if len(keys) == size:
            yield keys
            continue
        generator = np.random.default_rng(stream(joined.networks.plan.protocol.seed, "subsets", number))
        for _ in range(SUBSETS):
            yield [keys[i] for i in generator.permutation(len(keys))[:size]]


def _use(group: Together) -> metrics.FeatureUse:
    return group.tensor.group(range(group.tensor.n_networks))


def _unmatched(groups: Sequence[Together]) -> float:
    """Components of a network that no other one has; only robust leaves them out of the features."""
    if groups[0].tensor.mode != "robust":
        return math.nan
    return float(np.mean(np.concatenate([group.tensor.n_unmatched for group in groups])))


def _counts(uses: Sequence[metrics.FeatureUse]) -> dict[str, Any]:
    """Means over the seeds; a mean frequency over those that use a feature."""
    frequencies = [use.mean_frequency for use in uses if use.n_features]
    return {
        "size": uses[0].networks,
        "n_features": float(np.mean([use.n_features for use in uses])),
        "features_per_datum": float(np.mean([use.features_per_datum for use in uses])),
        "mean_frequency": float(np.mean(frequencies)) if frequencies else math.nan,
    }


def _notes(joined: Interactions, arm: Arm) -> str:
    lost = [why for key, why in joined.left_out.items() if key[:2] == arm]
    return f"{len(lost)} network(s) could not be joined ({lost[0]})" if lost else ""


def _shared(
    joined: Interactions, sets: Sequence[Sequence[Key]], arms: Mapping[Arm, Sequence[Sequence[Key]]]
) -> Iterator[dict[str, Any]]:
    """Of an arm with every arm, joined with each other seed by seed: features that both use, that the arm uses."""
    for other, theirs in arms.items():
        found = []
        for i in range(max(len(sets), len(theirs))):
            mine, others = sets[i % len(sets)], theirs[i % len(theirs)]
            both = together(joined, {*mine, *others})
            a, b = (both.anywhere[both.numbers(keys)].any(0) for keys in (mine, others))
            found.append((np.sum(a & b), a.sum()))
        shared, own = np.mean(found, axis=0)
        yield {"other": other[0], "other_params": other[1], "shared": float(shared), "own": float(own)}


def _presence(tensor: metrics.InteractionTensor, network: int) -> float:
    """The share of images on which a component is present, of a network's components that have features."""
    own = tensor.assignment[network] >= 0
    return float(np.mean(tensor.extremes[network, own] == tensor.signs[network, own, None])) if own.any() else math.nan


def _logits(networks: Networks, key: Key) -> NDArray[np.float32]:
    logits = networks.logits(key)
    assert logits is not None  # what failed was not joined
    return logits


def _disagreement(logits: Sequence[NDArray[np.float32]], labels: NDArray[np.int64]) -> dict[str, float]:
    found = metrics.disagreement_equality(np.stack([z.argmax(1) for z in logits]), labels)
    calibration = found.calibration_error
    return {"error": found.error, "disagreement": found.disagreement, "calibration_error": calibration}


def _by_teacher(joined: Interactions, keys: Sequence[Key]) -> dict[str, float]:
    """Whether students of one teacher have other numbers of features together than students dealt anew to teachers."""
    by_seed: dict[int, list[Key]] = {}
    for key in keys:
        if key[3] is not None:
            by_seed.setdefault(key[3], []).append(key)
    complete = {tuple(sorted(key[2] for key in row)) for row in by_seed.values()}
    if len(by_seed) < 2 or len(complete) != 1 or len(next(iter(complete))) < 2:
        return {}
    everyone = together(joined, keys)
    matrix = np.stack([everyone.numbers(sorted(row, key=lambda key: key[2])) for row in by_seed.values()])
    count = everyone.counter("n_features", np.array([], np.intp))
    found = stats.shuffle_within(
        lambda members: float(np.mean([count(group) for group in members.T])),
        matrix, permutations=999,
    )  # fmt: skip
    dealt = found.statistic - found.estimate
    return {"same_teacher": found.statistic, "any_teachers": dealt, "p_same_teacher": found.p_value}


def _correlation(per_datum: NDArray[np.float64], confidence: NDArray[np.float64]) -> float:
    """Spearman's; NaN where nothing varies."""
    if np.ptp(per_datum) == 0 or np.ptp(confidence) == 0:
        return math.nan
    return float(spearmanr(per_datum, confidence).statistic)


def _against_confidence(per_datum: NDArray[np.float64], confidence: NDArray[np.float64], seed: int) -> dict[str, float]:
    if np.ptp(per_datum) == 0 or np.ptp(confidence) == 0:
        return {}
    found = spearmanr(per_datum, confidence)
    generator = np.random.default_rng(stream(seed, "images"))
    n = len(confidence)
    drawn = []
    for _ in range(BOOTSTRAPS):
        images = generator.integers(0, n, n)
        x, y = rankdata(per_datum[images]), rankdata(confidence[images])
        if np.ptp(x) and np.ptp(y):
            drawn.append(np.corrcoef(x, y)[0, 1])
    row = {"confidence_rho": float(found.statistic), "rho_p": float(found.pvalue)}
    if len(drawn) < BOOTSTRAPS:  # features so rare that some resamples have none
        return row
    low, high = np.quantile(drawn, [0.025, 0.975])
    return row | {"rho_low": float(low), "rho_high": float(high)}


def _confidence(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """The largest probability of each image, (n,)."""
    z = logits.astype(np.float64)
    return np.asarray(1 / np.exp(z - z.max(1, keepdims=True)).sum(1))
