"""Tidy tables of scores as what the tests take: pairs, two samples, blocks.

A table has a row a replicate and metric: ``arm``, ``seed``, ``value``, and where they are ``teacher``, ``metric``,
``dataset``, ``split`` and parameters of arms. What would make a test wrong is refused here: pooled examples posing as
replicates, a seed that is there twice, replicates without their partner, several metrics or datasets at once.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from kdstats.stats.results import Array

EXAMPLES = ("example", "example_id", "image", "image_id", "sample", "sample_id", "item", "item_id", "index", "id")
ONE_OF = ("metric", "dataset", "split", "protocol")
KEY = ("dataset", "teacher", "seed")


def selected(scores: pd.DataFrame, **wanted: Any) -> pd.DataFrame:
    """Rows with these values (None: any), of one metric, dataset and split, with finite values.

    Raises
    ------
    ValueError
        A column that is missing, a value that no row has, rows of examples, several metrics or datasets, a value that
        is not finite; each with what the table has.
    """
    lacking = [column for column in ("value", *(k for k, v in wanted.items() if v is not None)) if column not in scores]
    if lacking:
        raise ValueError(
            f"the table lacks the column(s) {', '.join(lacking)}; it has {', '.join(map(str, scores.columns))}. A table"
            " of scores has arm, seed, metric and value, and teacher and dataset as they come"
        )
    pooled = [column for column in EXAMPLES if column in scores]
    if pooled:
        raise ValueError(
            f"the table has a row an example (column {pooled[0]}): examples of one network are not replicates, and a"
            " test that counts them as such finds differences where there are none. Average over examples first, one"
            " value a network; for two single networks take mcnemar"
        )
    rows = scores
    for column, value in wanted.items():
        if value is None:
            continue
        there = rows[column].unique().tolist()
        rows = rows[rows[column] == value]
        if rows.empty:
            raise ValueError(f"no row has {column} {value!r}; there are {', '.join(map(repr, there[:20]))}")
    for column in ONE_OF:
        if column in rows and rows[column].nunique(dropna=False) > 1:
            there = ", ".join(map(repr, rows[column].unique()[:20]))
            raise ValueError(f"the rows have several values of {column} ({there}): a test is about one; name it")
    values = pd.to_numeric(rows["value"], errors="coerce").to_numpy(np.float64)
    if not np.isfinite(values).all():
        first = rows.index[~np.isfinite(values)][0]
        raise ValueError(
            f"row {first}: value {rows.loc[first, 'value']!r} is no finite number: leave a failed replicate out on both"
            " sides and report it, since a test cannot"
        )
    return rows.assign(value=values)


def by_replicate(rows: pd.DataFrame, of: str) -> pd.Series:
    """The values by (teacher, seed), each there once.

    Raises
    ------
    ValueError
        Neither a seed nor a teacher; a replicate that is there twice.
    """
    keys = [column for column in KEY if column in rows and not rows[column].isna().all()]
    if not {"seed", "teacher"} & set(keys):
        raise ValueError(f"{of}: the table has neither seed nor teacher, so nothing says which replicates are paired")
    series = rows.set_index(keys)["value"]
    twice = series.index.duplicated()
    if twice.any():
        raise ValueError(
            f"{of}: {int(twice.sum())} replicate(s) are there twice, the first {_named(keys, series.index[twice][0])}: a"
            " copied row is no new evidence; if arms have several settings, select one"
        )
    return series


def _named(keys: list[str], key: Any) -> str:
    values = key if isinstance(key, tuple) else (key,)
    return ", ".join(f"{name} {value}" for name, value in zip(keys, values, strict=True))


def paired(
    x: pd.DataFrame, y: pd.DataFrame | None, arm: str | None, control: str | None, metric: str | None, scope: str
) -> tuple[Array, Array]:
    """Arm and control on the same replicates, in the same order.

    With ``teacher`` in the table the units are teachers (means over their seeds; scope "recipe"), or students of the
    one teacher or of these (scopes "each", "these": the rows as they are).

    Raises
    ------
    ValueError
        As ``selected`` and ``by_replicate``; a replicate on one side alone; arms that are not named.
    """
    if y is None:
        if arm is None or control is None:
            there = ", ".join(map(repr, x["arm"].unique()[:20])) if "arm" in x else "no column arm"
            raise ValueError(f"a table needs arm=... and control=..., the two to compare; there are {there}")
        first = selected(x, arm=arm, metric=metric)
        second = selected(x, arm=control, metric=metric)
    else:
        first, second = selected(x, arm=arm, metric=metric), selected(y, arm=control, metric=metric)
    left, right = by_replicate(first, arm or "x"), by_replicate(second, control or "y")
    if list(left.index.names) != list(right.index.names):
        raise ValueError(f"x is by {', '.join(left.index.names)} and y by {', '.join(right.index.names)}")
    alone = left.index.symmetric_difference(right.index)
    if len(alone):
        raise ValueError(
            f"{len(alone)} replicate(s) are on one side alone, the first {_named(list(left.index.names), alone[0])}: the"
            " table is not paired. Leave them out on both sides, or test unpaired samples with mann_whitney"
        )
    left, right = left.sort_index(), right.reindex(left.sort_index().index)
    if "teacher" not in left.index.names or "seed" not in left.index.names:
        return left.to_numpy(), right.to_numpy()
    teachers = left.index.get_level_values("teacher")
    if scope == "recipe":
        if teachers.nunique() == 1:
            raise ValueError(
                "all replicates share one teacher, so nothing is known of other teachers: give scope='each' for a claim"
                " about this teacher"
            )
        return tuple(side.groupby(level="teacher").mean().to_numpy() for side in (left, right))  # type: ignore[return-value]
    if scope not in ("these", "each"):
        raise ValueError(f"scope is {scope!r}: it is one of recipe, these, each")
    if scope == "each" and teachers.nunique() > 1:
        raise ValueError(f"scope each is a claim about one teacher, the table has {teachers.nunique()}: select one")
    sizes = pd.Series(teachers).value_counts()
    if sizes.nunique() > 1:
        raise ValueError("scope these: teachers have unequal numbers of students; `infer` with strata weighs them")
    return left.to_numpy(), right.to_numpy()


def unpaired(
    x: pd.DataFrame, y: pd.DataFrame | None, arm: str | None, control: str | None, metric: str | None, scope: str
) -> tuple[Array, Array]:
    """Arm and control as two samples; a teacher that both sides share makes them paired, and is refused."""
    if y is None:
        if arm is None or control is None:
            there = ", ".join(map(repr, x["arm"].unique()[:20])) if "arm" in x else "no column arm"
            raise ValueError(f"a table needs arm=... and control=..., the two to compare; there are {there}")
        y = x
    left = by_replicate(selected(x, arm=arm, metric=metric), arm or "x")
    right = by_replicate(selected(y, arm=control, metric=metric), control or "y")
    if "teacher" in left.index.names and "teacher" in right.index.names:
        if left.index.get_level_values("teacher").intersection(right.index.get_level_values("teacher")).size:
            raise ValueError("arm and control share teachers, so their replicates are paired: take a paired test")
        return left.groupby(level="teacher").mean().to_numpy(), right.groupby(level="teacher").mean().to_numpy()
    return left.to_numpy(), right.to_numpy()


def takes_tables(read: Callable[..., tuple[Any, Any]]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Let a test f(x, y=None, *, ...) take a tidy table as well: f(scores, arm=, control=, metric=, scope=, ...).

    ``read`` is ``paired`` or ``unpaired``. Two tables, f(arm_scores, control_scores), will do too.
    """

    def decorate(test: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(test)
        def call(
            x: Any,
            y: Any = None,
            *,
            arm: str | None = None,
            control: str | None = None,
            metric: str | None = None,
            scope: str | None = None,
            **options: Any,
        ) -> Any:
            if isinstance(x, pd.DataFrame):
                if y is not None and not isinstance(y, pd.DataFrame):
                    raise ValueError("x is a table and y is not: give two tables, or one with arm=... and control=...")
                x, y = read(x, y, arm, control, metric, scope or "recipe")
            elif any(name is not None for name in (arm, control, metric, scope)):
                raise ValueError("arm, control, metric and scope belong to a table of scores; x is none")
            return test(x, y, **options)

        return call

    return decorate
