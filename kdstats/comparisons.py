"""What one row of the contrasts asks, and what ``stats.infer`` answers to it on the units' differences."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdstats import stats
from kdstats.catalog import AT_A_MARGIN
from kdstats.protocol import Direction, Point


@dataclass(frozen=True)
class Comparison:
    """What one row of the contrasts speaks of: a hypothesis against one of its controls, or an exploratory pair."""

    metric: str
    arm: Point
    control: Point
    scope_teachers: str = "recipe"
    scope_examples: str = "this test set"
    test: str = "sign-flip"
    direction: Direction = "two-sided"
    margin: float | None = None
    estimator: str = "mean_difference"
    teacher: int | None = None
    paired_teachers: bool = False
    threshold: float | None = None
    alone: bool = False


RESULT = (
    "estimate", "sem", "df", "ci_low", "ci_high", "test", "statistic", "p_value", "p_reverse", "p_equivalence", "rope",
    "dz", "hedges_g", "rank_biserial", "cles", "bayes_factor", "note",
)  # fmt: skip


def claimed(
    d: NDArray[Any],
    matrix: NDArray[Any] | None,
    c: Comparison,
    strata: NDArray[Any] | None,
    ci_level: float,
    scale: NDArray[Any] | float = 1.0,
) -> dict[str, Any]:
    """What ``stats.infer`` says of the units' differences, with the p-values of what is claimed.

    A claim at a margin is tested at its margin: not-less, that the mean is above -margin; not-greater, that it is below
    the margin; equivalent, both. Its reverse is a mean beyond the margin. scale: what a unit's difference would be if
    the truth were 1, where units weigh unequally.
    """

    def inferred(null: float, alternative: Any, margin: float | None = None) -> stats.Inference:
        shifted = None if matrix is None else matrix - null
        moved = apart(d, null * scale * np.ones_like(d)) if null else d
        return stats.infer(
            moved, strata=strata, test=c.test, alternative=alternative,
            level=ci_level, margin=margin, examples=shifted,
        )  # fmt: skip

    if c.direction not in AT_A_MARGIN:
        result = inferred(0.0, c.direction, c.margin)
        return {name: getattr(result, name) for name in RESULT} | {"tested": _tested(d, c, scale)}
    assert c.margin is not None  # of the protocol
    result = inferred(0.0, "two-sided", c.margin)
    bounds = [
        *([inferred(-c.margin, "greater")] if c.direction != "not-greater" else []),
        *([inferred(c.margin, "less")] if c.direction != "not-less" else []),
    ]
    decides = max(bounds, key=lambda bound: or_one(bound.p_value))
    p_reverse = min(1.0, len(bounds) * min(or_one(bound.p_reverse) for bound in bounds))
    return {name: getattr(result, name) for name in RESULT} | {
        "test": f"{decides.test}, at the margin",
        "statistic": decides.statistic,
        "p_value": decides.p_value,
        "p_reverse": p_reverse,
        "p_equivalence": None,
        "tested": _tested(d, c, scale),
    }


def _tested(d: NDArray[Any], c: Comparison, scale: NDArray[Any] | float) -> dict[str, list[tuple[NDArray[Any], str]]]:
    """The one-sided or two-sided tests behind each p-value, as differences and alternatives, for a joint correction."""
    low, high = (
        (apart(d, null * scale * np.ones_like(d)) if c.margin else d) for null in (-(c.margin or 0), c.margin or 0)
    )
    if c.direction == "not-less":
        return {"p_value": [(low, "greater")], "p_reverse": [(low, "less")]}
    if c.direction == "not-greater":
        return {"p_value": [(high, "less")], "p_reverse": [(high, "greater")]}
    both = [(low, "greater"), (high, "less")]
    if c.direction == "equivalent":
        return {"p_value": both, "p_reverse": [(low, "less"), (high, "greater")]}
    opposite = {"greater": "less", "less": "greater"}
    return {
        "p_value": [(d, c.direction)],
        "p_reverse": [(d, opposite[c.direction])] if c.direction in opposite else [],
        "p_equivalence": both if c.margin else [],
    }


def apart(arm: NDArray[Any], control: NDArray[Any]) -> NDArray[Any]:
    """arm − control, where what is left of equal means by rounding is 0: it must not count as a sign."""
    apart = arm - control
    return np.where(np.abs(apart) <= 1e-12 * np.maximum(np.abs(arm), np.abs(control)), 0.0, apart)


def or_one(p: float | None) -> float:
    """A p-value that could not be computed counts as 1."""
    return 1.0 if p is None or np.isnan(p) else p
