"""What an audit says of inheritance: W, K and θ₀ of students whose teachers are all there, by the rules of protocols.

A *swapped pair* is a teacher with its students and another teacher of the same recipe with its own, the controls. From
one or two pairs on, W and K speak of these teachers, and students are the units; from three pairs on of the recipe,
pairs are the units, and θ₀ can be asked where teachers are given as logits. Verdicts are those of
`kdstats.verdicts.judge`. Nothing is known of initial weights: students that began with their own teacher's are not told
apart (docs/audit.md).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kdstats import metrics, stats
from kdstats.catalog import ASYMMETRY, INHERITANCE
from kdstats.errors import UserError
from kdstats.inheritance import BALANCED, BY_CLASS, FIRMNESS, Swapped, differences
from kdstats.metrics import UndefinedMetric
from kdstats.metrics.swaps import FEWEST_PAIRS
from kdstats.predictions import Predictions

KEYS = ("teacher", "students", "control_teacher", "controls")  # of a pair
THESE = "these teachers, new students and examples"
THESE_NETWORKS = "these networks, new examples"
RECIPE = "teachers of this recipe, new examples"
ROWS = {
    ("inherits_errors", BALANCED): ("inherits_errors", "value", "Inherited errors, W"),
    ("inherits_errors", BY_CLASS): ("inherits_errors", "by_class", "W within the true classes"),
    ("inherits_knowledge", BALANCED): ("inherits_knowledge", "value", "Inherited right answers, K"),
    ("inherits_knowledge", BY_CLASS): ("inherits_knowledge", "by_class", "K within the true classes"),
    (ASYMMETRY, FIRMNESS): (ASYMMETRY, "firmness", "Firmness of errors, θ₀"),
}
QUESTIONS = {
    "inherits_errors": "Inherited errors, W",
    "inherits_knowledge": "Inherited right answers, K",
    ASYMMETRY: "Firmness of errors, θ₀",
}
REPEATED = {  # estimator of repeated_errors -> label
    "made": "Errors of the teacher",
    "own": "of them, repeated by a student of its own",
    "other": "of them, repeated by a control",
    "more": "repeated more by its own student",
}
NEEDED = {  # kind of control -> why there is neither W nor K
    "plain": "controls trained on labels alone say nothing of inheritance: it needs students of another teacher as"
    " controls, and that teacher (control_teacher)",
    "neutral": "controls without a teacher's labels show what lies beyond this regularisation, not inheritance: it"
    " needs students of another teacher as controls, and that teacher (control_teacher)",
    "kd-other": "inheritance needs the answers of the teacher that taught the controls, too (control_teacher)",
}
ONE_STUDENT = "with one student a side nothing shows how students differ: intervals are over new examples alone"


@dataclass(frozen=True, eq=False)
class Taught:
    """A swapped pair: two teachers of one recipe, and the students of each."""

    teacher: Predictions
    students: tuple[Predictions, ...]
    control_teacher: Predictions
    controls: tuple[Predictions, ...]


def checked_pairs(pairs: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Further pairs of an audit, each with all its keys.

    Raises
    ------
    UserError
        A pair without one of ``KEYS``, or with others, or without students of one of its teachers.
    """
    for i, pair in enumerate(pairs):
        where = f"more_pairs[{i}]"
        if not isinstance(pair, Mapping):
            raise UserError(f"{where} is of type {type(pair).__name__}: it is a dictionary with {', '.join(KEYS)}")
        if missing := [key for key in KEYS if key not in pair]:
            raise UserError(f"{where} has no {missing[0]}: a pair needs {', '.join(KEYS)}")
        if wrong := [str(key) for key in pair if key not in KEYS]:
            raise UserError(f"{where} has {wrong[0]}, which is none of {', '.join(KEYS)}")
        for key in ("students", "controls"):
            if not isinstance(pair[key], list | tuple) or not len(pair[key]):
                raise UserError(f"{where}.{key} is a list of networks, one or more")
    return list(pairs)


def swapped(pairs: Sequence[Taught], labels: NDArray[np.int64], classes: int) -> Swapped:
    """Arrays of aligned networks: teachers 2q and 2q + 1 are those of pair q."""
    teachers = [one for pair in pairs for one in (pair.teacher, pair.control_teacher)]
    sides = [side for pair in pairs for side in (pair.students, pair.controls)]
    sure, rows = None, np.arange(len(teachers)).reshape(-1, 2)
    if classes > 2 and all(one.kind == "logits" for one in teachers):
        logits = np.stack([one.block(slice(0, len(one.classes))) for one in teachers])
        sure = metrics.confidence(logits, labels, rows)
    return Swapped(
        np.stack([one.classes for one in teachers]), sure,
        np.stack([one.classes for side in sides for one in side]), labels,
        np.repeat(np.arange(len(sides)), [len(side) for side in sides]), None, rows, classes,
    )  # fmt: skip


def asked(of: Swapped) -> tuple[str, ...]:
    """The claims of an audit that can be decided by the networks given, whatever they say."""
    if scope(of) == "these" and len(of.students) == len(of.teachers):
        return ()
    firm = scope(of) == "recipe" and of.confidence is not None
    return (*INHERITANCE, *([ASYMMETRY] if firm else []))


def scope(of: Swapped) -> Any:
    """ "recipe" from three pairs on, else "these"."""
    return "recipe" if len(of.pairs) >= FEWEST_PAIRS else "these"


# Rows of the measures --------------------------------------------------------------------------------------------


def rows(of: Swapped | None, contrasts: pd.DataFrame | None, level: float, why: str) -> Iterator[dict[str, Any]]:
    """W and K, also within the true classes, and θ₀; what does not exist is empty, with its reason.

    Parameters
    ----------
    of, contrasts : the networks, and what `kdstats.answers.judge_swapped` made of them
    level : intervals hold at 1 − level
    why : there are no swapped teachers
    """
    known = {} if contrasts is None else {
        (row["metric"], row["estimator"]): row for row in contrasts.to_dict("records")
    }  # fmt: skip
    for key, (measure, estimator, label) in ROWS.items():
        row = {"measure": measure, "estimator": estimator, "label": label, "scope": THESE, "n": 0}
        if of is None:
            if key[0] != ASYMMETRY:
                yield row | {"estimate": np.nan, "note": why}
            continue
        row |= {"n": len(of.labels), "scope": RECIPE if scope(of) == "recipe" else THESE}
        if key in known:
            found = known[key]
            p = found["p_value"] if key[1] != BY_CLASS else np.nan
            said = "p: one-sided, above 0, by itself" if not pd.isna(p) else ""
            yield row | {
                "estimate": found["estimate"], "ci_low": found["ci_low"], "ci_high": found["ci_high"], "p_value": p,
                "note": "; ".join(filter(None, (_lacking(found["note"]), said))),
            }  # fmt: skip
        elif key[0] == ASYMMETRY:
            yield row | {"estimate": np.nan, "note": _no_firmness(of)}
        else:
            yield row | {"scope": THESE_NETWORKS} | _over_examples(of, *key, level)


def _lacking(note: str) -> str:
    """A note of a contrast without what it says of effect sizes, which an audit does not show."""
    return "; ".join(part for part in note.split("; ") if "rank-biserial" not in part)


def _no_firmness(of: Swapped) -> str:
    if of.classes < 3:
        return "with two classes there is no third answer, so nothing of which θ₀ could be made"
    if scope(of) != "recipe":
        return (
            f"θ₀ speaks of a recipe: it needs {FEWEST_PAIRS} swapped pairs of teachers (pairs:), here {len(of.pairs)}"
        )
    return "θ₀ compares answers at equal confidence of the teachers, so it needs logits of all of them"


def _over_examples(of: Swapped, metric: str, estimator: str, level: float) -> dict[str, Any]:
    """W or K of one student a side, with an interval over new examples alone."""
    split, g = differences(of, metric)
    try:
        found = metrics.balanced(g, split.halves, of.labels if estimator == BY_CLASS else None)
    except UndefinedMetric as reason:
        return {"estimate": np.nan, "note": str(reason)}
    values = found.values.mean(axis=0)
    n = len(values)
    over = stats.TwoWay(found.estimate, 0.0, float(values.var(ddof=1)) / n, 0.0, np.inf, n - 1.0, 1.0)
    if not over.variance > 0:
        return {"estimate": found.estimate, "note": "nothing varies, so there is no interval"}
    low, high = over.confidence_interval(1 - level)
    return {"estimate": found.estimate, "ci_low": float(low), "ci_high": float(high), "note": ONE_STUDENT}


def repeated(of: Swapped, level: float) -> Iterator[dict[str, Any]]:
    """`kdstats.metrics.repeated_errors` over several pairs: means over all their teachers."""
    made, own, other = metrics.repeated_errors(*of.arrays)
    for (estimator, label), values in zip(REPEATED.items(), (made, own, other, own - other), strict=True):
        row: dict[str, Any] = {
            "measure": "repeated_errors",
            "estimator": estimator,
            "label": label.replace("the teacher", "a teacher"),
        }
        several = scope(of) == "recipe"
        row |= {"scope": RECIPE if several else THESE_NETWORKS, "n": len(of.labels)}
        if not made.any():
            yield row | {
                "estimate": 0.0 if estimator == "made" else np.nan,
                "note": "no teacher is wrong on any example",
            }
            continue
        found = stats.two_way(values)
        low, high = found.confidence_interval(1 - level) if several and found.variance > 0 else (np.nan, np.nan)
        note = "" if np.isfinite(low) else "nothing varies, so there is no interval"
        note = note if several else f"fewer than {FEWEST_PAIRS} pairs: no interval over teachers"
        yield row | {"estimate": float(values.mean()), "ci_low": float(low), "ci_high": float(high), "note": note}
