"""Tidy tables of scores as what the tests take: pairs, two samples, blocks.

A table has a row a replicate and metric: ``arm``, ``seed``, ``value``, and where they are ``teacher``, ``cluster``,
``metric``, ``dataset``, ``split`` and parameters of arms. What would make a test wrong is refused here: pooled examples
posing as replicates, a seed that is there twice, replicates without their partner, students posing as teachers, several
metrics, datasets or settings of an arm at once.
"""

import functools
import inspect
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from kdstats.stats.results import Array, refuse_single

EXAMPLES = ("example", "example_id", "image", "image_id", "sample", "sample_id", "item", "item_id", "index", "id")
ONE_OF = ("metric", "dataset", "split", "protocol")
KEY = ("dataset", "teacher", "seed")
NO_SETTING = ("arm", "cluster", "value", "n", "note", "protocol_hash", *ONE_OF, *KEY)  # other columns may be parameters


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
    rows = plain_keys(scores)
    for column, value in wanted.items():
        if value is None:
            continue
        there = rows[column].unique().tolist()
        rows = rows[rows[column] == value]
        if rows.empty:
            raise ValueError(f"no row has {column} {value!r}; there are {', '.join(map(repr, there[:20]))}")
    for column in ONE_OF:
        if column in rows and rows[column].nunique(dropna=False) > 1:
            several = ", ".join(map(repr, rows[column].unique()[:20]))
            raise ValueError(f"the rows have several values of {column} ({several}): a test is about one; name it")
    if rows["value"].dtype == object:
        for each in rows["value"]:
            refuse_single(getattr(each, "dtype", np.dtype(float)), "value")
    refuse_single(getattr(rows["value"].dtype, "numpy_dtype", rows["value"].dtype), "value")
    values = pd.to_numeric(rows["value"], errors="coerce").to_numpy(np.float64)
    if not np.isfinite(values).all():
        first = rows.index[~np.isfinite(values)][0]
        raise ValueError(
            f"row {first}: value {rows.loc[first, 'value']!r} is no finite number: leave a failed replicate out on both"
            " sides and report it, since a test cannot"
        )
    return rows.assign(value=values)


def plain_keys(scores: pd.DataFrame) -> pd.DataFrame:
    """The table without categories that no row has: such a one is no teacher, and no seed. A declared order stays."""
    keys = [c for c in ("arm", "cluster", *ONE_OF, *KEY) if c in scores]
    coded = [c for c in keys if isinstance(scores[c].dtype, pd.CategoricalDtype)]
    ordered = {c: scores[c].cat.remove_unused_categories() for c in coded if scores[c].cat.ordered}
    plain = {c: scores[c].cat.categories.dtype for c in coded if c not in ordered}
    return scores.astype(plain).assign(**ordered) if coded else scores


def by_replicate(rows: pd.DataFrame, of: str) -> pd.Series:
    """The values by (teacher, seed), each there once.

    Raises
    ------
    ValueError
        Neither a seed nor a teacher; a row without its seed or teacher; a replicate that is there twice.
    """
    keys = [column for column in KEY if column in rows and not rows[column].isna().all()]
    if not {"seed", "teacher"} & set(keys):
        raise ValueError(f"{of}: the table has neither seed nor teacher, so nothing says which replicates are paired")
    for column in keys:
        if rows[column].isna().any():
            raise ValueError(f"{of}: row {rows.index[rows[column].isna()][0]} has no {column}, and others have one")
    series = rows.set_index(keys)["value"]
    twice = series.index.duplicated()
    if twice.any():
        raise ValueError(
            f"{of}: {int(twice.sum())} replicate(s) are there twice, the first {_named(keys, series.index[twice][0])}:"
            " a copied row is no new evidence; if arms have several settings, select one"
        )
    return series


def _named(keys: list[str], key: Any) -> str:
    values = key if isinstance(key, tuple) else (key,)
    return ", ".join(f"{name} {value}" for name, value in zip(keys, values, strict=True))


def _sides(
    x: pd.DataFrame, y: pd.DataFrame | None, arm: str | None, control: str | None, metric: str | None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows of arm and of control, each of one arm at one setting."""
    if y is None:
        if arm is None or control is None:
            there = ", ".join(map(repr, x["arm"].unique()[:20])) if "arm" in x else "no column arm"
            raise ValueError(f"a table needs arm=... and control=..., the two to compare; there are {there}")
        y = x
    sides = selected(x, arm=arm, metric=metric), selected(y, arm=control, metric=metric)
    for rows, of in zip(sides, (arm or "x", control or "y"), strict=True):
        _refuse_settings(rows, of)
    if "metric" in sides[0] and "metric" in sides[1] and sides[0]["metric"].iloc[0] != sides[1]["metric"].iloc[0]:
        names = [repr(rows["metric"].iloc[0]) for rows in sides]
        raise ValueError(f"x has metric {names[0]} and y {names[1]}: a test compares one metric")
    return sides


def _refuse_settings(rows: pd.DataFrame, of: str) -> None:
    """One arm, and no column that splits its rows into groups of two or more, as a swept parameter does."""
    if "arm" in rows and rows["arm"].nunique() > 1:
        there = ", ".join(map(repr, rows["arm"].unique()[:20]))
        raise ValueError(f"{of}: the rows have several arms ({there}): name one with arm=... or control=...")
    for column in (name for name in rows.columns if name not in NO_SETTING):
        counts = rows[column].value_counts(dropna=False)
        if len(counts) > 1 and counts.min() > 1:
            there = ", ".join(map(repr, counts.index.tolist()[:20]))
            raise ValueError(
                f"{of}: the rows have several values of {column} ({there}): an arm at another setting is another arm,"
                f" and a test is about one. Select one, or leave {column} out of the table if it is no setting"
            )


def paired(
    x: pd.DataFrame, y: pd.DataFrame | None, arm: str | None, control: str | None, metric: str | None, scope: str
) -> tuple[Array, Array]:
    """Arm and control on the same replicates, in the same order.

    With ``teacher`` in the table the units are teachers (means over their seeds; scope "recipe"), or students of the
    one teacher or of these (scopes "each", "these": the rows as they are). Flipping a teacher's mean flips all of its
    students. Where ``cluster`` says that teachers depend on each other, as those that taught each other's control do,
    the units are clusters (means over their teachers); leave the column out where neither side is such a control.

    Raises
    ------
    ValueError
        As ``selected`` and ``by_replicate``; a replicate on one side alone; arms that are not named; several arms or
        settings on a side; one unit alone.
    """
    first, second = _sides(x, y, arm, control, metric)
    left, right = by_replicate(first, arm or "x"), by_replicate(second, control or "y")
    keys, others = ([str(name) for name in side.index.names] for side in (left, right))
    if keys != others:
        raise ValueError(f"x is by {', '.join(keys)} and y by {', '.join(others)}: pairs need one key on both sides")
    alone = left.index.symmetric_difference(right.index)
    if len(alone):
        raise ValueError(
            f"{len(alone)} replicate(s) are on one side alone, the first {_named(keys, alone[0])}: the table is not"
            " paired. Leave them out on both sides, or test unpaired samples with mann_whitney"
        )
    left = left.iloc[_in_order(left.index)]
    right = right.reindex(left.index)
    if scope not in ("recipe", "these", "each"):
        raise ValueError(f"scope is {scope!r}: it is one of recipe, these, each")
    if "teacher" not in keys:
        return left.to_numpy(), right.to_numpy()
    if scope == "recipe":
        means = [side.groupby(level="teacher", sort=False, observed=True).mean() for side in (left, right)]
        means = [side.iloc[_in_order(side.index)] for side in means]
        cluster = _clusters(first, second)
        if cluster is not None:
            means = [
                side.groupby(cluster.reindex(side.index).to_numpy(), sort=False, observed=True).mean() for side in means
            ]
        if len(means[0]) == 1:
            raise ValueError(
                "all replicates share one teacher (or cluster of teachers), so nothing is known of other teachers:"
                " students of one teacher are no evidence about the recipe. Give scope='each' for a claim about this"
                " teacher"
            )
        return means[0].to_numpy(), means[1].to_numpy()
    sizes = left.groupby(level="teacher", observed=True).size()
    if scope == "each" and len(sizes) > 1:
        raise ValueError(f"scope each is a claim about one teacher, the table has {len(sizes)}: select one")
    if sizes.nunique() > 1:
        raise ValueError("scope these: teachers have unequal numbers of students; `infer` with strata weighs them")
    return left.to_numpy(), right.to_numpy()


def _in_order(index: pd.Index) -> NDArray[np.intp]:
    """Positions by the levels of an index; numbers within names count as numbers, so that s2 comes before s10."""
    ranks = []
    for level in range(index.nlevels):
        values = index.get_level_values(level)
        there = list(values.unique())
        if isinstance(values.dtype, pd.CategoricalDtype):
            there = [name for name in values.dtype.categories if name in set(there)]
        elif not pd.api.types.is_numeric_dtype(values.dtype):
            there.sort(key=lambda name: [int(p) if i % 2 else p for i, p in enumerate(re.split(r"(\d+)", str(name)))])
        else:
            there.sort()
        rank = {name: i for i, name in enumerate(there)}
        ranks.append([rank[name] for name in values])
    return np.lexsort(ranks[::-1])


def _clusters(first: pd.DataFrame, second: pd.DataFrame) -> pd.Series | None:
    """teacher -> cluster, or None where no side has clusters."""
    known = [rows for rows in (first, second) if "cluster" in rows and rows["cluster"].notna().any()]
    if not known:
        return None
    pairs = pd.concat([rows[["teacher", "cluster"]] for rows in known]).drop_duplicates()
    if pairs["cluster"].isna().any() or pairs["teacher"].duplicated().any():
        raise ValueError("each teacher belongs to one cluster: some have none, or two")
    return pairs.set_index("teacher")["cluster"]


def unpaired(
    x: pd.DataFrame, y: pd.DataFrame | None, arm: str | None, control: str | None, metric: str | None, scope: str
) -> tuple[Array, Array]:
    """Arm and control as two samples, of teacher means where there are teachers, of clusters where there are.

    Raises
    ------
    ValueError
        As ``paired``; a teacher that both sides share, which makes them paired; a replicate that the table knows by
        other metrics alone, as one whose value is not finite is refused.
    """
    if scope != "recipe":
        raise ValueError(f"scope is {scope!r}: unpaired samples are of teachers or of lone replicates, scope recipe")
    first, second = _sides(x, y, arm, control, metric)
    left, right = by_replicate(first, arm or "x"), by_replicate(second, control or "y")
    for scores, name, there in ((x, arm, left), (x if y is None else y, control, right)):
        _refuse_other_metrics_alone(scores, name, metric, there.index)
    if "teacher" not in left.index.names and "teacher" not in right.index.names:
        return left.to_numpy(), right.to_numpy()
    if not ("teacher" in left.index.names and "teacher" in right.index.names):
        raise ValueError("one side has teachers and the other none: a teacher (the mean of its students) is one unit")
    teachers = [side.groupby(level="teacher", observed=True).mean() for side in (left, right)]
    if len(teachers[0].index.intersection(teachers[1].index)):
        raise ValueError("arm and control share teachers, so their replicates are paired: take a paired test")
    cluster = _clusters(first, second)
    if cluster is not None:
        teachers = [side.groupby(cluster.reindex(side.index).to_numpy(), observed=True).mean() for side in teachers]
        if len(teachers[0].index.intersection(teachers[1].index)):
            raise ValueError("arm and control share clusters of teachers, so they are no two independent samples")
    return teachers[0].to_numpy(), teachers[1].to_numpy()


def _refuse_other_metrics_alone(scores: pd.DataFrame, arm: str | None, metric: str | None, there: pd.Index) -> None:
    """Refuse a sample that lacks a replicate which the table has by another metric: pairs would show the gap."""
    if metric is None or arm is None or "arm" not in scores or "metric" not in scores:
        return
    names = list(map(str, there.names))
    known = scores.loc[(scores["arm"] == arm) & scores[names].notna().all(axis=1), names].drop_duplicates()
    lacking = pd.MultiIndex.from_frame(known).difference(pd.MultiIndex.from_frame(there.to_frame(index=False)))
    if len(lacking):
        raise ValueError(
            f"{arm}: {len(lacking)} replicate(s) have other metrics and no {metric}, the first"
            f" {_named(names, lacking[0])}: a failed replicate cannot be tested; leave out its other rows, report it"
        )


def refuse_examples(x: ArrayLike, y: ArrayLike) -> None:
    """Refuse arrays that hold right and wrong answers to examples: 20 or more on the last axis, each 0 or 1.

    Raises
    ------
    ValueError
        With where they belong.
    """
    n = np.shape(x)[-1] if np.ndim(x) else 1
    both = np.concatenate([np.ravel(x), np.ravel(y)])
    if n >= 20 and ((both == 0) | (both == 1)).all() and both.any() and not both.all():
        raise ValueError(
            f"the scores are {n:,} values that are all 0 or 1, as right and wrong answers are: examples of one network"
            " are not replicates, and a test that counts them as such finds differences where there are none. Give one"
            " score a replicate; for two single networks take mcnemar"
        )


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
                if scope == "recipe" and "teacher" not in x:
                    raise ValueError(
                        "scope is 'recipe' and the table has no column teacher: without one nothing can be said about"
                        " other teachers. Leave scope out for a claim about these replicates"
                    )
                x, y = read(x, y, arm, control, metric, scope or "recipe")
            elif isinstance(y, pd.DataFrame):
                raise ValueError("y is a table and x is not: give two tables, or one with arm=... and control=...")
            elif any(name is not None for name in (arm, control, metric, scope)):
                raise ValueError("arm, control, metric and scope belong to a table of scores; x is none")
            return test(x, y, **options)

        own = inspect.signature(test)
        added = [
            p for p in inspect.signature(call, follow_wrapped=False).parameters.values() if p.kind is p.KEYWORD_ONLY
        ]
        call.__signature__ = own.replace(parameters=[*own.parameters.values(), *added])  # type: ignore[attr-defined]
        return call

    return decorate
