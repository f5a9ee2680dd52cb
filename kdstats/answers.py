"""Verdicts on what students inherit, from arrays of answers and without a protocol: same rules, same sentences."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from kdstats import inheritance
from kdstats.catalog import ASYMMETRY, INHERITANCE, SWAPPED
from kdstats.contrasts import Evidence
from kdstats.metrics import swap as split
from kdstats.protocol import HypothesisPoint, Point
from kdstats.verdicts import judge


def judge_answers(
    teachers: ArrayLike,
    students: ArrayLike,
    labels: ArrayLike,
    taught_by: ArrayLike,
    pairs: ArrayLike,
    *,
    started_from: ArrayLike | None = None,
    metrics: Sequence[str] = SWAPPED,
    scope: Literal["recipe", "these"] = "recipe",
    level: float = 0.05,
) -> pd.DataFrame:
    """Are W, K and θ₀ above 0? On new examples, one family, Holm.

    Parameters
    ----------
    teachers : (T, N, C) logits, or (T, N) int, the classes that teachers say (then θ₀ is not measurable)
    students : (M, N) int, or (M, N, C)
    labels : (N,) int
    taught_by : (M,) int, the row of ``teachers`` that taught each student
    pairs : (Q, 2) int, rows of ``teachers``: disjoint pairs, each teacher's students made as the other's were
    started_from : (M,) int, the teacher whose initial weights each student began with, where they share any
    metrics : of inherits_errors, inherits_knowledge, asymmetry: those claimed, before the answers were seen
    scope : "recipe", new teachers (three pairs or more); or "these" teachers, which asymmetry does not have
    level : of the family

    Returns
    -------
    A row a claim, with the columns of the verdicts table (docs/architecture.md): estimate, interval, p-values, verdict
    and sentence

    Raises
    ------
    ValueError
        Arrays that do not fit each other (as `kdstats.metrics.swap`), an unknown metric or scope.

    Examples
    --------
    Six teachers that err at random, four students each that copy a fifth of their teacher's answers:

    >>> rng = np.random.default_rng(0)
    >>> y = rng.integers(0, 5, 600)
    >>> def answers(n):
    ...     return np.where(rng.random((n, 600)) < 0.7, y, rng.integers(0, 5, (n, 600)))
    >>> teachers, taught = answers(6), np.repeat(np.arange(6), 4)
    >>> students = np.where(rng.random((24, 600)) < 0.2, teachers[taught], answers(24))
    >>> found = judge_answers(teachers, students, y, taught, [[0, 1], [2, 3], [4, 5]])
    >>> found["verdict"].tolist()
    ['supported', 'supported', 'not shown']
    """
    if unknown := [name for name in metrics if name not in SWAPPED]:
        raise ValueError(f"metrics has {unknown[0]!r}: they are {', '.join(SWAPPED)}")
    if scope not in ("recipe", "these"):
        raise ValueError(f'scope is {scope!r}: it is "recipe" or "these"')
    of = inheritance.swapped(teachers, students, labels, taught_by, pairs, started_from=started_from)
    return judge_swapped(of, metrics=metrics, scope=scope, level=level)[1]


def judge_swapped(
    of: inheritance.Swapped,
    *,
    metrics: Sequence[str] = SWAPPED,
    scope: Literal["recipe", "these"] = "recipe",
    level: float = 0.05,
    beside: Sequence[Mapping[str, Any]] = (),
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """`judge_answers` of what `kdstats.inheritance.swapped` made; ``beside`` as in `kdstats.verdicts.judge`.

    Returns
    -------
    contrasts, verdicts : with those within the true classes among the contrasts, as rows of kind "sensitivity"
    """
    split(*of.arrays)  # says which teacher taught nobody
    start = "fresh" if of.started_from is None else "teacher"
    own, other = Point("", "kd", (), start), Point("other", "kd-other", (), start)  # no arm to name in a sentence
    both = of.pairs.ravel()
    rows = [("teacher", t, np.nan, float((of.teachers[t] == of.labels).mean())) for t in both]
    for arm in ("", "other"):
        rows += [(arm, t, 0, float((of.students[of.taught_by == t] == of.labels).mean())) for t in both]
    scores = pd.DataFrame(rows, columns=["arm", "teacher", "seed", "value"])
    scores = scores.assign(arm_params="", metric="accuracy", n=float(len(of.labels)))
    evidence = Evidence(
        scores, tuple((int(t), 0) for t in both), {int(t): int(pair[0]) for pair in of.pairs for t in pair},
        swapped=lambda *_: of, classes=of.classes, recorded=False,
    )  # fmt: skip
    asked = [
        HypothesisPoint(
            name, name, name, own, (other,), "greater", "recipe" if name == ASYMMETRY else scope, "new", "two-way-t",
            None, "claims",
        )
        for name in (*INHERITANCE, ASYMMETRY)
        if name in metrics
    ]  # fmt: skip
    return judge(evidence, asked, level, "holm", beside)
