"""What the networks of a run compute: activations joined to features, counted arm by arm.

All networks are joined at once, in an order that knows nothing of arms, so that what an arm is counted to use does not
depend on its label; then labels can be exchanged without joining anew.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata, spearmanr

import kdstats
from kdstats import metrics, stats
from kdstats.errors import UserError
from kdstats.plan import stream
from kdstats.scoring import Key, Networks, point_key

Members = NDArray[np.intp]
BOOTSTRAPS = 499
THRESHOLDS = tuple(round(0.1 * i, 1) for i in range(1, 10))

COLUMNS: dict[str, tuple[str, ...]] = {
    "interactions": (
        "layer", "components", "mode", "threshold", "floor", "arm", "arm_params", "n_networks", "size", "n_features",
        "mean_frequency", "features_per_datum", "shared_features", "unmatched_components", "n_features_alone",
        "same_teacher", "other_teachers", "p_same_teacher", "error", "disagreement", "calibration_error",
        "confidence_rho", "rho_low", "rho_high", "rho_p", "note",
    ),
    "frequencies": ("feature", "arm", "arm_params", "n_networks", "frequency"),
    "sensitivity": (
        "threshold", "arm", "arm_params", "size", "n_features", "mean_frequency", "features_per_datum",
    ),
    "shared": ("arm", "arm_params", "other", "other_params", "shared"),
    "per_image": ("arm", "arm_params", "features", "images"),
    "by_confidence": ("arm", "arm_params", "tenth", "confidence", "features"),
}  # fmt: skip


@dataclass(frozen=True)
class Interactions:
    """The networks of a run that trained, joined.

    Attributes
    ----------
    networks : of the run
    tensor : of all that trained
    place : each network's number in it
    present : of each number the features that the network has, and where, packed by eight images
    anywhere : (M, T), whether the network has the feature on any image
    """

    networks: Networks
    tensor: metrics.InteractionTensor
    place: Mapping[Key, int]
    present: Sequence[tuple[NDArray[np.intp], NDArray[np.uint8]]]
    anywhere: NDArray[np.bool_]

    def of(self, arm: tuple[str, str]) -> list[Key]:
        """Networks of an arm, ("teacher", "") for the teachers."""
        return [key for key in self.place if key[:2] == arm]

    def numbers(self, keys: Sequence[Key]) -> Members:
        return np.array([self.place[key] for key in keys], np.intp)


def join(networks: Networks) -> Interactions:
    """Join the networks of a protocol that keeps activations.

    Raises
    ------
    UserError
        A network in which too few components vary; fewer than two that trained.
    """
    protocol = networks.plan.protocol
    settings = protocol.features
    assert settings is not None
    trained = sorted((key for key in networks.by_key if networks.logits(key) is not None), key=repr)
    if len(trained) < 2:
        raise UserError("features: fewer than two networks trained: features are what networks share")
    order = np.random.default_rng(stream(protocol.seed, "networks")).permutation(len(trained))
    keys = [trained[i] for i in order]
    scores = []
    for key in keys:
        try:
            scores.append(metrics.principal_components(networks.activations(key), settings.components))
        except ValueError as error:
            raise UserError(f"features of {networks.by_key[key]}: {error}") from None
    tensor = metrics.interaction_tensor(scores, k=None, mode=settings.mode, threshold=settings.threshold)  # type: ignore[arg-type]
    present, anywhere = [], np.zeros((len(keys), tensor.n_features), bool)
    for number in range(len(keys)):
        features, where = tensor.presence(number)
        present.append((features, np.packbits(where, axis=1)))
        anywhere[number, features] = where.any(1)
    return Interactions(networks, tensor, {key: i for i, key in enumerate(keys)}, present, anywhere)


# Numbers of a group ----------------------------------------------------------------------------------------------


def counted(joined: Interactions, name: str) -> Callable[[Members], float]:
    """From networks' numbers to one of ``kdstats.catalog.GROUP_METRICS`` of them together."""
    n = len(joined.networks.labels)
    teachers = joined.numbers(joined.of(("teacher", "")))
    of_teachers = joined.anywhere[teachers].any(0)

    def count(members: Members) -> float:
        if name == "unmatched_components":
            return float(joined.tensor.n_unmatched[members].sum())
        if name in ("n_features", "shared_features"):
            used = joined.anywhere[members].any(0)
            return float(np.sum(used & of_teachers if name == "shared_features" else used))
        together = _together(joined, members)
        total = int(np.bitwise_count(together).sum(dtype=np.int64))
        if name == "features_per_datum":
            return total / n
        used = together.any(1).sum()
        if not used:
            raise metrics.UndefinedMetric("an arm uses no feature: there is no mean frequency")
        return total / float(used)

    return count


def _together(joined: Interactions, members: Members) -> NDArray[np.uint8]:
    """(T, images / 8): where any of the networks has each feature."""
    width = joined.present[0][1].shape[1]
    found = np.zeros((joined.tensor.n_features, width), np.uint8)
    for number in members:
        features, bits = joined.present[number]
        found[features] |= bits
    return found


@dataclass(frozen=True)
class Exchanged:
    """What exchanging labels says of an arm against a control: the difference, and p in every direction."""

    estimate: float
    p: Mapping[str, float]
    test: str


def exchange(
    joined: Interactions, name: str, arm: Sequence[Key], control: Sequence[Key], units: Sequence[int]
) -> Exchanged:
    """Whether an arm's networks together have more or less than the control's that are paired with them.

    Parameters
    ----------
    name : of ``kdstats.catalog.GROUP_METRICS``
    arm, control : networks, paired
    units : of each pair, the unit that is exchanged as one
    """
    count = counted(joined, name)

    def apart(first: Members, second: Members) -> list[float]:
        d = count(first) - count(second)
        return [d, -d, abs(d)]

    found = stats.swap_labels(
        apart, joined.numbers(arm), joined.numbers(control), clusters=units, alternative="greater"
    )  # fmt: skip
    return Exchanged(
        float(found.estimate[0]), dict(zip(("greater", "less", "two-sided"), found.p_value, strict=True)), found.test
    )


# Description -----------------------------------------------------------------------------------------------------


def describe(joined: Interactions, identity: Mapping[str, str]) -> dict[str, pd.DataFrame]:
    """Tables of every arm's networks together, teachers first.

    Counts are over as many networks as the smallest group has, in expectation over its subsets (robust mode), so that
    they compare.

    Returns
    -------
    interactions : a row an arm. ``n_features_alone``: where its networks are joined among themselves.
        ``same_teacher``: features of s students of one teacher, mean over teachers; ``other_teachers``: of s students
        of as many teachers, p by exchanging students of a seed between teachers. ``confidence_rho``: Spearman's
        correlation over images of the features present on an image and the group's mean confidence, with an interval
        over resampled images and p two-sided. Both speak of these networks.
    frequencies : arm × feature: networks that have it, images that it is present on
    sensitivity : arm × threshold, those below the floor included
    shared : arm × arm, features that both use
    per_image : arm × number of features present, rounded: images that have so many
    by_confidence : arm × tenth of the images by confidence: mean confidence, mean features
    """
    networks, tensor = joined.networks, joined.tensor
    settings = networks.plan.protocol.features
    assert settings is not None
    groups = {arm: joined.of(arm) for arm in [("teacher", ""), *map(point_key, networks.plan.protocol.points)]}
    groups = {arm: keys for arm, keys in groups.items() if keys}
    size = min(len(keys) for keys in groups.values()) if settings.mode == "robust" else None
    uses = {arm: tensor.group(joined.numbers(keys), size) for arm, keys in groups.items()}
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in COLUMNS}
    for arm, keys in groups.items():
        at, numbers, use = {"arm": arm[0], "arm_params": arm[1]}, joined.numbers(keys), uses[arm]
        confidence = np.mean([_confidence(_logits(networks, key)) for key in keys], axis=0)
        rows["interactions"].append(
            at | _counts(joined, numbers, use) | _alone(joined, keys, size) | _by_teacher(joined, keys)
            | _against_confidence(use.per_datum, confidence, networks.plan.protocol.seed)
            | {"shared_features": use.shared(uses["teacher", ""]) if ("teacher", "") in uses and arm[0] != "teacher"
               else math.nan}
        )  # fmt: skip
        have = np.zeros(tensor.n_features, np.intp)
        for number in numbers:
            have[joined.present[number][0]] += 1
        rows["frequencies"] += [
            at | {"feature": t, "n_networks": int(n), "frequency": float(frequency)}
            for t, (n, frequency) in enumerate(zip(have, use.frequency, strict=True))
        ]
        rows["shared"] += [
            at | {"other": other, "other_params": params, "shared": use.shared(theirs)}
            for (other, params), theirs in uses.items()
        ]
        values, images = np.unique(np.rint(use.per_datum).astype(int), return_counts=True)
        rows["per_image"] += [
            at | {"features": int(value), "images": int(n)} for value, n in zip(values, images, strict=True)
        ]
        rows["by_confidence"] += [
            at
            | {
                "tenth": i,
                "confidence": float(confidence[part].mean()),
                "features": float(use.per_datum[part].mean()),
            }
            for i, part in enumerate(np.array_split(np.argsort(confidence, kind="stable"), 10), 1)
        ]
    rows["sensitivity"] = _over_thresholds(joined, groups, size)
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


def _counts(joined: Interactions, numbers: Members, use: metrics.FeatureUse) -> dict[str, Any]:
    return {
        "n_networks": len(numbers), "size": use.networks, "n_features": use.n_features,
        "features_per_datum": use.features_per_datum,
        "mean_frequency": use.mean_frequency if use.n_features else math.nan,
        "unmatched_components": float(joined.tensor.n_unmatched[numbers].mean()),
        "note": "" if use.n_features else "no feature is used: there is no mean frequency",
    }  # fmt: skip


def _alone(joined: Interactions, keys: Sequence[Key], size: int | None) -> dict[str, float]:
    """What there is among the arm's networks alone: features, and whether they disagree as often as they err."""
    if len(keys) < 2:
        return {}
    tensor = joined.tensor.recluster(joined.numbers(keys))
    said = np.stack([_logits(joined.networks, key).argmax(1) for key in keys])
    found = metrics.disagreement_equality(said, joined.networks.labels)
    return {
        "n_features_alone": tensor.group(range(len(keys)), size).n_features,
        "error": found.error,
        "disagreement": found.disagreement,
        "calibration_error": found.calibration_error,
    }


def _logits(networks: Networks, key: Key) -> NDArray[np.float32]:
    logits = networks.logits(key)
    assert logits is not None  # what failed was not joined
    return logits


def _by_teacher(joined: Interactions, keys: Sequence[Key]) -> dict[str, float]:
    """Whether students of one teacher share more features than students of several: fewer together."""
    by_seed: dict[int, list[Key]] = {}
    for key in keys:
        if key[3] is not None:
            by_seed.setdefault(key[3], []).append(key)
    complete = {tuple(sorted(key[2] for key in row)) for row in by_seed.values()}
    if len(by_seed) < 2 or len(complete) != 1 or len(next(iter(complete))) < 2:
        return {}
    matrix = np.stack([joined.numbers(sorted(row, key=lambda key: key[2])) for row in by_seed.values()])
    count = counted(joined, "n_features")
    found = stats.shuffle_within(
        lambda members: float(np.mean([count(group) for group in members.T])),
        matrix, alternative="less", permutations=999,
    )  # fmt: skip
    other = found.statistic - found.estimate
    return {"same_teacher": found.statistic, "other_teachers": other, "p_same_teacher": found.p_value}


def _against_confidence(per_datum: NDArray[np.float64], confidence: NDArray[np.float64], seed: int) -> dict[str, float]:
    if np.ptp(per_datum) == 0 or np.ptp(confidence) == 0:
        return {}
    found = spearmanr(per_datum, confidence)
    generator = np.random.default_rng(stream(seed, "images"))
    n = len(confidence)
    drawn = []
    for _ in range(BOOTSTRAPS):
        images = generator.integers(0, n, n)
        drawn.append(np.corrcoef(rankdata(per_datum[images]), rankdata(confidence[images]))[0, 1])
    low, high = np.quantile(drawn, [0.025, 0.975])
    return {
        "confidence_rho": float(found.statistic), "rho_low": float(low), "rho_high": float(high),
        "rho_p": float(found.pvalue),
    }  # fmt: skip


def _confidence(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """The largest probability of each image, (n,)."""
    z = logits.astype(np.float64)
    return np.asarray(1 / np.exp(z - z.max(1, keepdims=True)).sum(1))


def _over_thresholds(
    joined: Interactions, groups: Mapping[tuple[str, str], Sequence[Key]], size: int | None
) -> list[dict[str, Any]]:
    rows = []
    for threshold in sorted({*THRESHOLDS, joined.tensor.threshold}):
        tensor = joined.tensor.recluster(threshold=threshold)
        for (arm, params), keys in groups.items():
            use = tensor.group(joined.numbers(keys), size)
            rows.append(
                {
                    "threshold": threshold, "arm": arm, "arm_params": params, "size": use.networks,
                    "n_features": use.n_features, "features_per_datum": use.features_per_datum,
                    "mean_frequency": use.mean_frequency if use.n_features else math.nan,
                }
            )  # fmt: skip
    return rows
