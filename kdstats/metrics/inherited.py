"""All that can be said on arrays of what students of swapped teachers inherit, without a protocol."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from kdstats.metrics._arrays import UndefinedMetric, Values
from kdstats.metrics.swaps import Balanced, Swap, balanced, checked, repeated_errors, swap
from kdstats.metrics.thirds import Firmness, ThirdAnswers, confidence, firmness, third_answers


@dataclass(frozen=True, eq=False)
class Inheritance:
    """What students inherit; a part that does not exist is None, and ``notes`` says why, by the part's name.

    Attributes
    ----------
    errors, knowledge : W and K, pairs × examples (`Balanced`): the two that bear verdicts
    errors_by_class, knowledge_by_class : the same within each true class
    halves : W among students that began with the wrong teacher's initial weights, with the right teacher's; then K
    third : θ and the shares ĉ_r, ĉ_w (`ThirdAnswers`); describes
    firmness : θ₀ (`Firmness`), where teachers are given as logits
    errors_made, repeated_own, repeated_other : (Q, N), whose means are a teacher's errors, those that its students
        repeat, those that students of the other teacher repeat (`repeated_errors`)
    split : (Q, N) bool, where exactly one teacher of the pair is right
    n_usable : distinct examples that are split in a pair with both halves
    notes : part -> why it does not exist
    """

    errors: Balanced
    knowledge: Balanced
    errors_by_class: Balanced | None
    knowledge_by_class: Balanced | None
    halves: tuple[float, float, float, float] | None
    third: ThirdAnswers
    firmness: Firmness | None
    errors_made: Values
    repeated_own: Values
    repeated_other: Values
    split: np.ndarray
    n_usable: int
    notes: dict[str, str]


def answers(logits_or_labels: ArrayLike, name: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Predicted classes (K, N), the first of tied ones, and the logits (K, N, C) where they are what was given."""
    given = np.asarray(logits_or_labels)
    if given.ndim == 3 and given.dtype.kind in "fiu":
        if not np.isfinite(given).all():
            raise ValueError(f"{name} holds logits that are not finite")
        return given.argmax(axis=2), given
    return given, None


def inheritance(
    teachers: ArrayLike,
    students: ArrayLike,
    labels: ArrayLike,
    taught_by: ArrayLike,
    pairs: ArrayLike,
    *,
    started_from: ArrayLike | None = None,
) -> Inheritance:
    """What students inherit of the teachers that taught them, where teachers are swapped in disjoint pairs.

    Parameters
    ----------
    teachers : (T, N) int, the classes that teachers say; or (T, N, C), their logits, which θ₀ needs
    students : (M, N) int, or (M, N, C)
    labels : (N,) int, the true classes
    taught_by : (M,) int, the row of ``teachers`` that taught each student
    pairs : (Q, 2) int, rows of ``teachers``
    started_from : (M,) int, the teacher whose initial weights each student began with, where they share any

    Returns
    -------
    Inheritance
        Intervals over new teachers and new examples: ``kdstats.stats.two_way(found.errors.values)``. Verdicts, which
        ask for more than p ≤ level: ``kdstats.answers.judge_answers``.

    Raises
    ------
    ValueError
        Shapes or indices that do not fit, pairs that share a teacher, a teacher of a pair that taught nobody.
    UndefinedMetric
        No pair has examples where the one teacher alone is right and others where the other is.

    Examples
    --------
    >>> y = np.zeros(6, int)
    >>> teachers = np.array([[0, 0, 1, 0, 1, 2], [0, 1, 0, 2, 1, 0]])
    >>> found = inheritance(teachers, [[0, 0, 3, 2, 1, 0], [0, 1, 0, 2, 1, 0]], y, [0, 1], [[0, 1]])
    >>> found.errors.estimate, found.knowledge.estimate  # by hand: halves (½, 0) and (½, ½)
    (0.25, 0.5)
    >>> found.notes["firmness"]
    'θ₀ compares answers at equal confidence of the teachers, so it needs their logits'
    """
    t, logits = answers(teachers, "teachers")
    s, _ = answers(students, "students")
    t, s, y, by, pair = checked(t, s, labels, taught_by, pairs)
    of = swap(t, s, y, by, pair)
    notes: dict[str, str] = {}
    by_class: dict[str, Balanced | None] = {"errors_by_class": None, "knowledge_by_class": None}
    for name, g in zip(by_class, (of.errors, of.knowledge), strict=True):
        try:
            by_class[name] = balanced(g, of.halves, y)
        except UndefinedMetric as reason:
            notes[name] = str(reason)
    halves, firm = None, None
    if started_from is None:
        notes["halves"] = "the initial weights that students began with are not given"
    else:
        try:
            halves = _by_start(t, s, y, by, pair, started_from)
        except (UndefinedMetric, ValueError) as reason:
            notes["halves"] = str(reason)
    if logits is None:
        notes["firmness"] = "θ₀ compares answers at equal confidence of the teachers, so it needs their logits"
    else:
        firm, notes["firmness"] = _firmness(of, logits, pair)
        if firm is not None:
            del notes["firmness"]
    made, own, other = repeated_errors(t, s, y, by, pair, started_from=started_from)
    return Inheritance(
        errors=balanced(of.errors, of.halves), knowledge=balanced(of.knowledge, of.halves), **by_class, halves=halves,
        third=third_answers(of), firmness=firm, errors_made=made, repeated_own=own, repeated_other=other,
        split=of.split, n_usable=of.n_usable, notes=notes,
    )  # fmt: skip


def _firmness(of: Swap, logits: np.ndarray, pair: np.ndarray) -> tuple[Firmness | None, str]:
    try:
        return firmness(of, *confidence(logits, of.labels, pair)), ""
    except UndefinedMetric as reason:
        return None, str(reason)


def _by_start(
    t: np.ndarray, s: np.ndarray, y: np.ndarray, by: np.ndarray, pair: np.ndarray, started_from: ArrayLike
) -> tuple[float, float, float, float]:
    """W among students that began with the wrong teacher's weights, with the right one's; K the same."""
    found = [swap(t, s, y, by, pair, started_from=started_from, start=start) for start in ("wrong", "right")]
    wrong, right = ([balanced(g, of.halves).estimate for g in (of.errors, of.knowledge)] for of in found)
    return wrong[0], right[0], wrong[1], right[1]
