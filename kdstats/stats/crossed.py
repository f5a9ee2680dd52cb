"""Designs of several factors: teachers with students inside, sweeps over a parameter, several datasets.

All of it works on paired differences, arm minus control on the same replicate (dataset, teacher, seed). ``designs_of``
says what a table can be asked; ``anova`` splits the differences of a balanced table into exact strata; ``slopes`` makes
a sweep one number a unit, which any paired test takes; ``over_datasets`` tests each dataset and all of them; and
``mixed_model`` is left for tables that are not balanced. Claims are on this test set: scores hold no examples.
"""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from math import comb, ldexp, sqrt
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from kdstats.stats.frames import (
    EXAMPLES,
    NO_SETTING,
    _clusters,
    _named,
    _refuse_settings,
    _sides,
    by_replicate,
    plain_keys,
    selected,
)
from kdstats.stats.paired import ALL_EQUAL, differences, sign_flip, wilcoxon, without_variance
from kdstats.stats.pivots import TwoWay
from kdstats.stats.results import (
    Alternative,
    Array,
    TestResult,
    check_alternative,
    check_level,
    t_interval,
    t_p_value,
)
from kdstats.stats.ties import TIE, about_strata, rounding, without_residue

Scope = Literal["recipe", "these"]
Datasets = Literal["these", "like these"]
Shared = Literal["nothing", "teachers", "networks"]

NAN = float("nan")
ENOUGH_TEACHERS = 20  # Wald z of a mixed model rejects at .09 to .12 with 5 teachers, for a nominal .05

_EXACT = 40  # pairs up to which sign flips of any floats are counted
_DRAWS = 99_999  # beyond


# Pairs and units -------------------------------------------------------------------------------------------------


def _each_dataset(scores: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """The rows of each dataset, by name; all of them where the table has no such column."""
    if "dataset" not in scores or scores["dataset"].isna().all():
        yield "", scores.drop(columns="dataset", errors="ignore")
        return
    if scores["dataset"].isna().any():
        row = scores.index[scores["dataset"].isna()][0]
        raise ValueError(f"row {row} has no dataset, and others have one")
    for name in sorted(scores["dataset"].unique(), key=str):
        yield str(name), scores[scores["dataset"] == name].drop(columns="dataset")


def _differences(scores: pd.DataFrame, arm: str | None, control: str | None, metric: str | None) -> pd.DataFrame:
    """Arm minus control on every replicate: dataset, teacher and seed (where the table has them), cluster, d.

    Raises
    ------
    ValueError
        As ``frames.paired``; datasets that differ in what names a replicate.
    """
    parts = []
    for dataset, rows in _each_dataset(scores):
        try:
            parts.append(_pairs(rows, arm, control, metric).assign(dataset=dataset))
        except ValueError as error:
            raise ValueError(f"dataset {dataset}: {error}" if dataset else str(error)) from None
    keys = [set(part.columns) & {"teacher", "seed"} for part in parts]
    if any(key != keys[0] for key in keys):
        raise ValueError("some datasets name replicates by teacher and seed and others by one of them: give both")
    table = pd.concat(parts, ignore_index=True)
    return table.assign(d=differences(table["x"].to_numpy(), table["y"].to_numpy()))


def _pairs(scores: pd.DataFrame, arm: str | None, control: str | None, metric: str | None) -> pd.DataFrame:
    """x and y of the replicates of one dataset, in order."""
    first, second = _sides(scores, None, arm, control, metric)
    left, right = by_replicate(first, str(arm)), by_replicate(second, str(control))
    names, others = ([str(name) for name in side.index.names] for side in (left, right))
    if names != others:
        raise ValueError(f"{arm} is by {', '.join(names)} and {control} by {', '.join(others)}: pairs need one key")
    alone = left.index.symmetric_difference(right.index)
    if len(alone):
        raise ValueError(
            f"{len(alone)} replicate(s) are on one side alone, the first {_named(names, alone[0])}: the table is not"
            " paired. Leave them out on both sides, and report them"
        )
    pairs = pd.DataFrame({"x": left, "y": right}).sort_index().reset_index()
    clusters = _clusters(first, second)
    return pairs if clusters is None else pairs.assign(cluster=pairs["teacher"].map(clusters))


class _Units(NamedTuple):
    """Differences of units, their strata, and the weights with which they make the mean of the strata's means."""

    values: Array
    strata: NDArray[Any]
    weights: Array
    name: str


def _units(pairs: pd.DataFrame, scope: str) -> _Units:
    """The units of one dataset: teachers, or clusters of them; students within teachers; seeds without teachers."""
    if "teacher" not in pairs:
        return _sample(pairs["d"], "seeds")
    if scope == "these":
        index, sizes = np.unique(pairs["teacher"], return_inverse=True, return_counts=True)[1:]
        weights = 1 / (len(sizes) * sizes[index])
        return _Units(pairs["d"].to_numpy(), index, weights, "students within teachers")
    teachers = pairs.groupby("teacher", observed=True)["d"].mean()
    if "cluster" not in pairs:
        return _sample(teachers, "teachers")
    of_teacher = pairs.groupby("teacher", observed=True)["cluster"].first()
    return _sample(teachers.groupby(of_teacher, observed=True).mean(), "clusters of teachers")


def _sample(values: pd.Series, name: str) -> _Units:
    n = len(values)
    return _Units(values.to_numpy(), np.zeros(n), np.full(n, 1 / n), name)


def _check_scope(scope: str) -> None:
    if scope not in get_args(Scope):
        raise ValueError(f"scope is {scope!r}: it is one of {', '.join(get_args(Scope))}")


# What a table can be asked ---------------------------------------------------------------------------------------

PAIRED_TESTS = "sign-flip, wilcoxon, paired-t"
_CLAIM = (
    "design", "arm", "arm_params", "control", "control_params", "dataset", "metric", "scope_teachers",
    "scope_datasets", "units", "n_units", "tests", "smallest_p", "note",
)  # fmt: skip


def designs_of(
    scores: pd.DataFrame, *, arm: str | None = None, control: str | None = None, metric: str | None = None
) -> pd.DataFrame:
    """Every claim that a table of scores could carry: its units, the valid tests, the smallest p they can give.

    Parameters
    ----------
    scores : DataFrame
        ``arm``, ``value`` and ``seed`` or ``teacher``; ``cluster``, ``metric``, ``dataset`` and parameters of arms as
        they come. Rows of arm ``teacher``, and rows without a value, are no replicates and left out. A column that
        splits the rows of an arm into groups of two or more is a parameter, such as alpha.
    arm, control, metric : str, optional
        Only these. By default every pair of arms, whose common parameters are equal, in the order of the table.

    Returns
    -------
    DataFrame
        One row a claim about arm minus control, those with the same design in several metrics in one row.

        design : "paired by seed", "teachers with students", "unpaired", "several datasets", "sweep over alpha" (a slope
            over its settings: of the arm where ``control`` is empty, else of the differences; see ``slopes``)
        arm, arm_params, control, control_params, dataset, metric : which rows; several in a cell by commas
        scope_teachers : each (this teacher, whichever it is), these (all that are here), recipe (new teachers); a table
            without teachers can only be about these
        scope_datasets : this, these, like these (datasets are the units)
        units, n_units : what the test counts. For scope each those of the teacher with the fewest.
        tests : valid ones, by name; empty where the claim cannot be made
        smallest_p : the smallest one-sided p of the rank and sign-flip tests: 2⁻ⁿ, with more than 40 units that of
            99,999 sampled flips; 1 / C(n + m, n) for Mann–Whitney. A t test has no such floor.
        note : what makes the claim impossible, or what to mind

    Raises
    ------
    ValueError
        Rows of examples, copied replicates, several splits or protocols, a column, arm or metric that is missing.

    Examples
    --------
    >>> table = pd.DataFrame({"arm": ["kd", "ce"] * 4, "teacher": [0, 0, 0, 0, 1, 1, 1, 1],
    ...                       "seed": [0, 0, 1, 1] * 2, "value": np.arange(8.0)})
    >>> designs_of(table, arm="kd", control="ce")[["scope_teachers", "units", "n_units", "smallest_p"]]
      scope_teachers                     units  n_units  smallest_p
    0           each   students of one teacher        2      0.2500
    1          these  students within teachers        4      0.0625
    2         recipe                  teachers        2      0.2500
    """
    rows = _replicates(plain_keys(scores), arm, control, metric)
    claims: list[dict[str, Any]] = []
    for name, part in rows.groupby("metric", sort=False, observed=True) if "metric" in rows else [("", rows)]:
        others = [c for c in part.columns if c not in NO_SETTING and part[c].nunique(dropna=False) > 1]
        datasets = {dataset: _points(of_dataset, others) for dataset, of_dataset in _each_dataset(part)}
        found = [*_pair_claims(datasets, arm, control), *_sweep_claims(datasets, arm, control)]
        claims += [{"metric": str(name), **claim} for claim in found]
    if not claims:
        raise ValueError("the table has no two arms (at equal settings) and no sweep: there is nothing to compare")
    table = pd.DataFrame(claims, columns=list(_CLAIM))
    same = [column for column in _CLAIM if column != "metric"]
    joined = table.groupby(same, sort=False, dropna=False, observed=True)["metric"].agg(", ".join).reset_index()
    return joined[list(_CLAIM)]


def _replicates(scores: pd.DataFrame, arm: str | None, control: str | None, metric: str | None) -> pd.DataFrame:
    lacking = [column for column in ("arm", "value") if column not in scores]
    if lacking:
        raise ValueError(
            f"the table lacks the column(s) {', '.join(lacking)}; it has {', '.join(map(str, scores.columns))}"
        )
    pooled = [column for column in EXAMPLES if column in scores]
    if pooled:
        raise ValueError(
            f"the table has a row an example (column {pooled[0]}): examples of one network are not replicates. Average"
            " over examples first, one value a network"
        )
    rows = scores[scores["arm"] != "teacher"]
    rows = rows[np.isfinite(pd.to_numeric(rows["value"], errors="coerce").to_numpy(np.float64))]
    for column, wanted in (("metric", {metric}), ("arm", {arm, control})):
        for value in wanted - {None}:
            if column not in rows or value not in set(rows[column]):
                there = ", ".join(map(repr, rows[column].unique()[:20])) if column in rows else f"no column {column}"
                raise ValueError(f"no row with a value has {column} {value!r}; there are {there}")
    for column in ("split", "protocol"):
        if column in rows and rows[column].nunique(dropna=False) > 1:
            raise ValueError(
                f"the rows have several values of {column} ({', '.join(map(repr, rows[column].unique()[:20]))}): select"
                " one"
            )
    return rows if metric is None else rows[rows["metric"] == metric]


class _Point(NamedTuple):
    """An arm at one setting, its replicates and their clusters' rows."""

    arm: str
    setting: dict[str, Any]
    rows: pd.DataFrame
    replicates: pd.MultiIndex | pd.Index

    @property
    def text(self) -> str:
        return " ".join(f"{name}={_plain(value)}" for name, value in sorted(self.setting.items()))


def _plain(value: Any) -> str:
    if isinstance(value, (bool, np.bool_)):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, (int, float)) else str(value)


def _points(rows: pd.DataFrame, others: Sequence[str]) -> list[_Point]:
    """Arms at their settings, which are among the other columns, in the order of the table."""
    points = []
    for arm, part in rows.groupby("arm", sort=False, observed=True):
        counts = {c: part[c].value_counts(dropna=False) for c in others if part[c].notna().any()}
        parameters = [c for c, count in counts.items() if count.min() > 1 or len(count) == 1]
        if set(parameters) - {"arm_params"}:
            parameters = [c for c in parameters if c != "arm_params"]  # the same in one text
        groups = part.groupby(parameters, sort=False, dropna=False, observed=True) if parameters else [((), part)]
        for values, group in groups:
            setting = {k: v for k, v in zip(parameters, values, strict=True) if v == v}  # NaN is not
            of = " ".join([str(arm), *(f"{k}={_plain(v)}" for k, v in setting.items())])
            points.append(_Point(str(arm), setting, group, by_replicate(group, of).index))
    return points


def _comparable(first: _Point, second: _Point) -> bool:
    common = first.setting.keys() & second.setting.keys()
    return all(first.setting[name] == second.setting[name] for name in common)


def _pair_claims(datasets: dict[str, list[_Point]], arm: str | None, control: str | None) -> Iterator[dict[str, Any]]:
    found: dict[tuple[str, str, str, str], dict[str, tuple[_Point, _Point]]] = {}
    for dataset, points in datasets.items():
        pairs = [(b, a) for a in points for b in points] if arm or control else list(combinations(points, 2))
        for first, second in pairs:
            wanted = arm in (None, first.arm) and control in (None, second.arm) and first.arm != second.arm
            if wanted and _comparable(first, second):
                key = (first.arm, first.text, second.arm, second.text)
                found.setdefault(key, {})[dataset] = first, second
    for (a, a_text, c, c_text), by_dataset in found.items():
        names = {"arm": a, "arm_params": a_text, "control": c, "control_params": c_text}
        for dataset, (first, second) in by_dataset.items():
            for claim in _scopes(first, second):
                yield {**names, "dataset": dataset, "scope_datasets": "this", **claim}
        if len(datasets) > 1:
            lacking = ", ".join(sorted(set(datasets) - set(by_dataset)))
            note = f"dataset(s) without this pair: {lacking}" * bool(lacking)
            for claim in _over_datasets_claims(by_dataset, note):
                yield {**names, "dataset": ", ".join(by_dataset), **claim}


def _scopes(first: _Point, second: _Point) -> Iterator[dict[str, Any]]:
    """Claims about one pair of points on one dataset."""
    if list(first.replicates.names) != list(second.replicates.names):
        names = [", ".join(map(str, point.replicates.names)) for point in (first, second)]
        note = f"{first.arm} is by {names[0]} and {second.arm} by {names[1]}: nothing says what is paired"
        yield _impossible("unpaired", "these", "", 0, note)
        return
    both = first.replicates.intersection(second.replicates)
    if not len(both):
        yield _unpaired_claim(first.replicates, second.replicates)
        return
    alone = len(first.replicates.symmetric_difference(second.replicates))
    note = (
        f"{alone} replicate(s) on one side alone: tests refuse the table until they are left out on both, and reported"
        * bool(alone)
    )
    yield from _scopes_of(both, _clusters(first.rows, second.rows), None, note)


def _scopes_of(
    replicates: pd.MultiIndex | pd.Index, clusters: pd.Series | None, design: str | None, note: str
) -> Iterator[dict[str, Any]]:
    """Claims about replicates that have all that is compared."""
    if "teacher" not in replicates.names:
        yield _claim(design or "paired by seed", "these", "seeds", len(replicates), note)
        return
    design = design or "teachers with students"
    teachers = replicates.get_level_values("teacher")
    sizes = teachers.value_counts()
    fewest, most = int(sizes.min()), int(sizes.max())
    if "seed" in replicates.names:
        unequal = f"teachers have {fewest} to {most} students" * (fewest < most)
        yield _claim(design, "each", "students of one teacher", fewest, _and(note, unequal))
        if len(sizes) > 1:
            weighed = f"{unequal}: weigh them (infer with strata)" * bool(unequal)
            claim = _claim(design, "these", "students within teachers", len(replicates), _and(note, weighed))
            yield claim if most > 1 else claim | {"tests": "sign-flip, wilcoxon"}
    if clusters is None:
        yield _claim(design, "recipe", "teachers", len(sizes), note)
    else:
        n = clusters.reindex(sizes.index).nunique()
        linked = f"{len(sizes)} teachers, where neither side links those of a cluster: leave the column out"
        yield _claim(design, "recipe", "clusters of teachers", n, _and(linked, note) if n < len(sizes) else note)


_ONE = {
    "seeds": "one replicate says nothing about the spread between replicates",
    "students of one teacher": "a teacher has one student: nothing is known of its other students",
    "teachers": "one teacher: its students are no evidence about other teachers",
    "clusters of teachers": "one cluster of teachers: its students are no evidence about other teachers",
    "datasets": "one dataset is no evidence about other datasets",
}


def _claim(design: str, scope: str, units: str, n: int, note: str, tests: str = PAIRED_TESTS) -> dict[str, Any]:
    if n < 2:
        return _impossible(design, scope, units, n, _and(_ONE[units], note))
    named = {"design": design, "scope_teachers": scope, "units": units, "n_units": n}
    return named | {"tests": tests, "smallest_p": _smallest_p(n), "note": note}


def _impossible(design: str, scope: str, units: str, n: int, note: str) -> dict[str, Any]:
    named = {"design": design, "scope_teachers": scope, "units": units, "n_units": n}
    return named | {"tests": "", "smallest_p": NAN, "note": note}


def _and(*notes: str) -> str:
    return "; ".join(filter(None, notes))


def _smallest_p(n: int) -> float:
    return ldexp(1.0, -n) if n <= _EXACT else 1 / (_DRAWS + 1)


def _unpaired_claim(first: pd.Index, second: pd.Index) -> dict[str, Any]:
    scope, units = "these", "seeds"
    if "teacher" in first.names:
        scope, units = "recipe", "teachers"
        first, second = (side.get_level_values("teacher").unique() for side in (first, second))
        if len(first.intersection(second)):
            note = "arm and control share teachers and no replicate: their students are neither paired nor independent"
            return _impossible("unpaired", scope, units, len(first.union(second)), note)
    n, m = len(first), len(second)
    if min(n, m) < 2:
        return _impossible("unpaired", scope, units, n + m, f"{n} against {m}: each side needs two or more {units}")
    claim = _claim("unpaired", scope, units, n + m, "", "mann-whitney")
    return claim | {"smallest_p": 1 / comb(n + m, n)}


def _over_datasets_claims(by_dataset: dict[str, tuple[_Point, _Point]], note: str) -> Iterator[dict[str, Any]]:
    """Claims about all datasets that have the pair, of the widest scope that each of them allows."""
    of = {dataset: list(_scopes(*pair))[-1] for dataset, pair in by_dataset.items()}
    units = ", ".join(dict.fromkeys(claim["units"] for claim in of.values()))
    scope = "recipe" if all(claim["scope_teachers"] == "recipe" for claim in of.values()) else "these"
    unpaired = [dataset for dataset, claim in of.items() if claim["design"] == "unpaired"]
    if unpaired:
        why = f"arm and control are not paired in {', '.join(unpaired)}"
        yield _impossible("several datasets", scope, units, 0, _and(why, note)) | {"scope_datasets": "these"}
        return
    notes = [f"{dataset}: {claim['note']}" for dataset, claim in of.items() if claim["tests"] and claim["note"]]
    few = [dataset for dataset, claim in of.items() if claim["n_units"] < 2]
    alone = f"no standard error: {', '.join(few)} has one of the {units}" * bool(few)
    if len(of) > 1:
        n = sum(claim["n_units"] for claim in of.values())
        claim = _claim("several datasets", scope, units, n, _and(alone, *notes, note), "sign-flip")
        yield claim | {"units": f"{units} within datasets", "scope_datasets": "these"}
    claim = _claim("several datasets", scope, "datasets", len(of), _and(*notes, note))
    yield claim | {"scope_datasets": "like these"}


def _sweep_claims(datasets: dict[str, list[_Point]], arm: str | None, control: str | None) -> Iterator[dict[str, Any]]:
    """Slopes over the settings of one parameter, the others being equal."""
    for dataset, points in datasets.items():
        for over in dict.fromkeys(name for point in points for name in point.setting):
            sweeps: dict[tuple[str, str], dict[Any, _Point]] = {}
            for point in points:
                if over in point.setting:
                    rest = _Point(point.arm, {k: v for k, v in point.setting.items() if k != over}, *point[2:])
                    sweeps.setdefault((point.arm, rest.text), {})[point.setting[over]] = point
            numeric = {key: sweep for key, sweep in sweeps.items() if len(sweep) > 1 and all(map(_is_number, sweep))}
            for (a, a_text), first in numeric.items():
                if arm not in (None, a):
                    continue
                named = {"arm": a, "arm_params": a_text, "dataset": dataset, "scope_datasets": "this"}
                if control is None:
                    for claim in _slope_claims(over, [first]):
                        yield named | {"control": "", "control_params": ""} | claim
                for (c, c_text), second in numeric.items():
                    after = list(numeric).index((c, c_text)) > list(numeric).index((a, a_text))
                    wanted = c != a and (control == c or (control is None and (arm is not None or after)))
                    if (
                        wanted
                        and first.keys() == second.keys()
                        and all(_comparable(first[v], second[v]) for v in first)
                    ):
                        for claim in _slope_claims(over, [first, second]):
                            yield named | {"control": c, "control_params": c_text} | claim


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool)


def _slope_claims(over: str, sweeps: Sequence[dict[Any, _Point]]) -> Iterator[dict[str, Any]]:
    points = [point for sweep in sweeps for point in sweep.values()]
    complete = every = points[0].replicates
    for point in points[1:]:
        if list(point.replicates.names) != list(complete.names):
            return
        complete, every = complete.intersection(point.replicates), every.union(point.replicates)
    design = f"sweep over {over}"
    if not len(complete):
        yield _impossible(design, "these", "", 0, f"no replicate has every setting of {over}")
        return
    lacking = len(every) - len(complete)
    note = f"{lacking} replicate(s) lack a setting: slopes refuses the table until they are left out" * bool(lacking)
    yield from _scopes_of(complete, _clusters(points[0].rows, points[-1].rows), design, note)


# Balanced tables -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Anova:
    """Strata of a balanced table of differences (``anova``).

    Attributes
    ----------
    table : DataFrame, a row a source; see ``anova``
    mean : TestResult of the mean difference
    """

    table: pd.DataFrame
    mean: TestResult


# What names which part of (dataset, teacher, seed); nested factors carry the axes of those around them.
_STRATA: dict[Shared, dict[str, frozenset[int]]] = {
    "nothing": {"mean": frozenset(), "dataset": frozenset({0}), "teacher": frozenset({0, 1}),
                "seed": frozenset({0, 1, 2})},
    "teachers": {"mean": frozenset(), "dataset": frozenset({0}), "teacher": frozenset({1}),
                 "dataset:teacher": frozenset({0, 1}), "seed": frozenset({0, 1, 2})},
    "networks": {"mean": frozenset(), "dataset": frozenset({0}), "teacher": frozenset({1}),
                 "dataset:teacher": frozenset({0, 1}), "seed": frozenset({1, 2}),
                 "dataset:seed": frozenset({0, 1, 2})},
}  # fmt: skip
_ONE_DATASET = {"mean": frozenset[int](), "teacher": frozenset({1}), "seed": frozenset({1, 2})}


def anova(
    x: ArrayLike | pd.DataFrame,
    y: ArrayLike | None = None,
    *,
    alternative: Alternative = "two-sided",
    scope: Scope = "recipe",
    datasets: Datasets = "these",
    shared: Shared = "nothing",
    arm: str | None = None,
    control: str | None = None,
    metric: str | None = None,
) -> Anova:
    """Analysis of variance of paired differences: datasets, teachers in them, students (seeds) in these; balanced.

    Each source's sum of squares is that of its effects e, the means over all axes that are not its own minus the
    effects that these contain, SS = (N / number of levels) Σ e². A source is tested against the mean square whose
    expectation is its own without its component; then F = MS / MS_against is exact for normal effects. Rows are of
    differences, so "dataset" is how arm and control differ between datasets: the interaction of arm and dataset.

    Which teachers are the same ones is ``shared``. A teacher trained on one dataset is another network than the teacher
    of the same number on another, with no luck in common. So "nothing" is the default: teachers are nested in datasets.
    Mean squares are pooled over datasets, as if these had one spread; ``over_datasets`` does not.

        nothing   mean · dataset · teacher (in dataset) · seed (in teacher)
        teachers  mean · dataset · teacher · dataset:teacher · seed (in both): one teacher, students trained on each
        networks  mean · dataset · teacher · dataset:teacher · seed (in teacher) · dataset:seed: the same networks on
                  several test sets

    The mean is tested against teachers (scope recipe) where datasets are these; against datasets where they are like
    these and share nothing; against seeds at scope these. Where datasets and teachers (or networks) are both random and
    crossed no mean square will do: V = MS_teacher + MS_dataset - MS_dataset:teacher, at least either of the first two.
    Its p and interval are the generalised pivot's (``kdstats.stats.pivots``), approximate, ``df`` Satterthwaite's: in
    simulations of 3 to 10 teachers and datasets F on that df rejects at up to .056 for a nominal .05 and .0135 for .01,
    without the floor up to .26; the pivot at no more than .050 and .011.

    Parameters
    ----------
    x, y : array_like, float, shape (teacher, seed) or (dataset, teacher, seed)
        Scores of arm and control, or differences alone. Or a tidy table with ``arm``, ``control`` and ``metric``; seeds
        are matched across datasets by their order within a teacher.
    alternative : {"two-sided", "greater", "less"}
        Of the mean.
    scope : {"recipe", "these"}
        Teachers as a sample of their recipe, or these teachers (fixed).
    datasets : {"these", "like these"}
        Fixed, or a sample.
    shared : {"nothing", "teachers", "networks"}
        By the datasets.

    Returns
    -------
    Anova
        ``mean``: estimate (mean difference), ``statistic`` t, p, interval; ``standard_error``, ``df``.

        ``table``, a row a source: source; df; sum_of_squares; mean_square; expected_mean_square (σ² of random sources,
        φ² = Σ e² / df of fixed ones, an interaction with a random factor being independent between levels); component
        (the estimate of its σ² or φ², unbiased and possibly negative; for mean that of μ²); component_truncated (at
        0); against; F; df_against; p_value (two-sided for mean); method (F | F, Satterthwaite (approximate) |
        generalised pivot (approximate)); note. A number that does not exist is NaN, and note says why.

    Raises
    ------
    ValueError
        A table that is not balanced or not paired, teachers in clusters, one teacher at scope recipe, one student a
        teacher at scope these, no variance to test the mean against, an unknown option.

    References
    ----------
    Searle, Casella & McCulloch (1992), Variance Components, ch. 4. Satterthwaite (1946), Biometrics Bulletin 2:110.

    Examples
    --------
    >>> found = anova([[0.01, 0.03], [0.05, 0.07], [0.02, 0.06]])
    >>> found.table[["source", "against", "df", "mean_square", "expected_mean_square"]].round(6)
        source  against  df  mean_square             expected_mean_square
    0     mean  teacher   1       0.0096  σ²(seed) + 2 σ²(teacher) + 6 μ²
    1  teacher     seed   2       0.0008         σ²(seed) + 2 σ²(teacher)
    2     seed            3       0.0004                         σ²(seed)
    >>> round(found.mean.statistic, 6), round(found.mean.p_value, 6)
    (3.464102, 0.07418)
    """
    check_alternative(alternative)
    for name, value, options in (("scope", scope, Scope), ("datasets", datasets, Datasets), ("shared", shared, Shared)):
        if value not in get_args(options):
            raise ValueError(f"{name} is {value!r}: it is one of {', '.join(get_args(options))}")
    if isinstance(x, pd.DataFrame):
        if y is not None or arm is None or control is None:
            raise ValueError("anova takes one table, with arm=... and control=..., the two to compare")
        d = _balanced(_differences(x, arm, control, metric), shared)
    elif any(name is not None for name in (arm, control, metric)):
        raise ValueError("arm, control and metric belong to a table of scores; x is none")
    else:
        d = _array(x, y)
    if datasets == "like these":
        if len(d) == 1:
            raise ValueError("there is one dataset: it is no evidence about datasets like it")
        if shared == "nothing" and scope == "these":
            raise ValueError(
                "scope these with datasets like these: other datasets have other teachers, unless shared says that"
                " teachers or networks are the same; take scope recipe"
            )
    return _strata_of(d, _STRATA[shared] if len(d) > 1 else _ONE_DATASET, scope, datasets, alternative)


def _array(x: ArrayLike, y: ArrayLike | None) -> Array:
    """Differences as (dataset, teacher, seed)."""
    shape = np.shape(x)
    if len(shape) not in (2, 3):
        raise ValueError(f"x has shape {shape}: anova takes (teacher, seed) or (dataset, teacher, seed)")
    if y is not None and np.shape(y) != shape:
        raise ValueError(f"x has shape {shape} and y {np.shape(y)}: pairs need the same replicates on both sides")
    d = differences(np.ravel(x), None if y is None else np.ravel(y))
    return d.reshape(shape if len(shape) == 3 else (1, *shape))


def _balanced(pairs: pd.DataFrame, shared: Shared) -> Array:
    """Differences as (dataset, teacher, seed)."""
    if not {"teacher", "seed"} <= set(pairs.columns):
        raise ValueError(
            "anova needs teacher and seed: without either there is one stratum, and paired_t is its analysis"
        )
    if "cluster" in pairs:
        raise ValueError(
            "teachers depend on each other in clusters, so their strata are not independent: take paired_t or"
            " sign_flip, whose units are the clusters"
        )
    students = pairs.groupby(["dataset", "teacher"] if pairs["dataset"].any() else ["teacher"], observed=True).size()
    teachers = pairs.groupby("dataset", observed=True)["teacher"].nunique()
    for sizes, what in ((teachers, "teachers"), (students, "students")):
        if sizes.nunique() > 1:
            few, many = (_named(list(map(str, sizes.index.names)), key) for key in (sizes.idxmin(), sizes.idxmax()))
            raise ValueError(
                f"the table is not balanced: {few} has {sizes.min()} {what} and {many} has {sizes.max()}. Exact strata"
                " need equal numbers: sign_flip and paired_t of teacher means stay valid, mixed_model is approximate"
            )
    labels = {"nothing": [], "teachers": ["teacher"], "networks": ["teacher", "seed"]}[shared]
    if labels:
        seen = [set(map(tuple, part[labels].to_numpy())) for _, part in pairs.groupby("dataset", observed=True)]
        if any(other != seen[0] for other in seen):
            raise ValueError(f"shared is {shared!r}, and datasets have different {' and '.join(labels)} numbers")
    shape = (len(teachers), int(teachers.iloc[0]), int(students.iloc[0]))
    return pairs.sort_values(["dataset", "teacher", "seed"])["d"].to_numpy().reshape(shape)


@dataclass(frozen=True)
class _Stratum:
    name: str
    axes: frozenset[int]
    random: bool
    df: int
    repeats: int  # numbers behind a level of it
    square: float  # mean square, NaN without degrees of freedom


def _strata_of(
    d: Array, axes_of: dict[str, frozenset[int]], scope: Scope, datasets: Datasets, alternative: Alternative
) -> Anova:
    random_axes = {2, *[1] * (scope == "recipe"), *[0] * (datasets == "like these")}
    strata = _mean_squares(d, axes_of, random_axes)
    against = {stratum.name: _against(stratum, strata) for stratum in strata}
    mean = _mean(against["mean"], float(d.mean()), d.size, alternative)
    two_sided = mean if alternative == "two-sided" else _mean(against["mean"], float(d.mean()), d.size, "two-sided")
    rows = [_row(stratum, strata, against[stratum.name], two_sided.p_value) for stratum in strata]
    return Anova(pd.DataFrame(rows), mean)


def _mean_squares(d: Array, axes_of: dict[str, frozenset[int]], random_axes: set[int]) -> list[_Stratum]:
    noise = float(rounding(np.abs(d).max(), 0.0))  # of means, which is of their largest value
    effects: dict[str, Array] = {}
    dfs: dict[str, int] = {}
    strata = []
    for name, axes in axes_of.items():  # each after those that it contains
        inner = [other for other in effects if axes_of[other] < axes]
        others = tuple(axis for axis in range(3) if axis not in axes)
        found = d.mean(axis=others, keepdims=True) - sum(effects[other] for other in inner)
        own = np.abs(d).mean(axis=others, keepdims=True)
        effects[name] = without_residue(found, noise + TIE * own)  # rounding is not variance
        levels = effects[name].size
        dfs[name] = levels - sum(dfs[other] for other in inner)
        repeats = d.size // levels
        square = repeats * float((effects[name] ** 2).sum()) / dfs[name] if dfs[name] else NAN
        strata.append(_Stratum(name, axes, bool(axes & random_axes), dfs[name], repeats, square))
    return strata


class _Against(NamedTuple):
    """A combination of mean squares whose expectation is a stratum's own without its component."""

    parts: list[tuple[_Stratum, int]]

    @property
    def name(self) -> str:
        signs = [f" {'+' if sign > 0 else '-'} {stratum.name}" for stratum, sign in self.parts]
        return "".join(signs).removeprefix(" + ")

    @property
    def square(self) -> float:
        added = [stratum.square for stratum, sign in self.parts if sign > 0]
        return max(sum(stratum.square * sign for stratum, sign in self.parts), *added)

    @property
    def df(self) -> float:
        if len(self.parts) == 1:
            return float(self.parts[0][0].df)
        if not self.square:
            return NAN
        return self.square**2 / sum(stratum.square**2 / stratum.df for stratum, _ in self.parts)


def _against(stratum: _Stratum, strata: list[_Stratum]) -> _Against | None:
    """None where no combination of what there is will do."""
    inside = [other for other in strata if other.random and stratum.axes < other.axes]
    usable = [other for other in inside if other.df]
    if not usable:
        return None
    holds = np.array([[row.axes <= part.axes for row in usable] for part in inside], dtype=float)
    signs = np.rint(np.linalg.lstsq(holds, np.ones(len(inside)), rcond=None)[0]).astype(int)
    if (holds @ signs != 1).any():
        return None
    parts = [(other, int(sign)) for other, sign in zip(usable, signs, strict=True) if sign]
    return _Against(sorted(parts, key=lambda part: -part[1]))


def _mean(against: _Against | None, estimate: float, size: int, alternative: Alternative) -> TestResult:
    if against is None:
        raise ValueError(
            "nothing tells how far the mean is from its truth: scope recipe needs two teachers (or datasets like these,"
            " two), scope these two students a teacher"
        )
    if not against.square:
        raise ValueError(
            f"the differences do not vary between levels of {against.name}: nothing to test their mean against"
        )
    error = sqrt(against.square / size)
    t, df = estimate / error, against.df
    details = {"standard_error": error, "df": df}
    if len(against.parts) == 1:
        p = float(t_p_value(t, df, alternative))
        name, interval = f"ANOVA, mean against {against.name}", partial(t_interval, estimate, error, df)
        return TestResult(name, t, p, estimate, size, alternative, interval, details)
    (first, _), (second, _), (third, _) = against.parts
    pivot = TwoWay(estimate, first.square, second.square, third.square, float(first.df), float(second.df), float(size))
    name = f"ANOVA, mean against {against.name}, generalised pivot (approximate)"
    return TestResult(
        name, t, float(pivot.p_value(alternative)), estimate, size, alternative, pivot.confidence_interval, details
    )


def _row(stratum: _Stratum, strata: list[_Stratum], against: _Against | None, p_of_mean: float) -> dict[str, Any]:
    row = {
        "source": stratum.name, "df": stratum.df, "sum_of_squares": stratum.square * stratum.df,
        "mean_square": stratum.square, "expected_mean_square": _expected(stratum, strata), "component": NAN,
        "component_truncated": NAN, "against": "", "F": NAN, "df_against": NAN, "p_value": NAN, "method": "",
        "note": "",
    }  # fmt: skip
    if not stratum.df:
        return row | {
            "sum_of_squares": NAN,
            "note": f"one {stratum.name.split(':')[-1]} a level: nothing tells its spread",
        }
    last = not any(stratum.axes < other.axes for other in strata)
    if against is None and not last:
        return row | {"note": "its component cannot be told from those inside it"}
    unbiased = 0.0 if against is None else sum(part.square * sign for part, sign in against.parts)
    component = (stratum.square - unbiased) / stratum.repeats
    row |= {"component": component, "component_truncated": max(component, 0.0)}
    if against is None:
        return row | {"note": "the innermost source: nothing to test it against"}
    row |= {"against": against.name, "df_against": against.df}
    if not against.square:
        return row | {"note": f"nothing varies between levels of {against.name}: no F"}
    f, exact = stratum.square / against.square, len(against.parts) == 1
    if stratum.name == "mean":
        return row | {"F": f, "p_value": p_of_mean, "method": "F" if exact else "generalised pivot (approximate)"}
    p = float(stats.f.sf(f, stratum.df, against.df))
    return row | {"F": f, "p_value": p, "method": "F" if exact else "F, Satterthwaite (approximate)"}


def _expected(stratum: _Stratum, strata: list[_Stratum]) -> str:
    """σ²(seed) + 2 σ²(teacher) + …"""

    def term(other: _Stratum) -> str:
        symbol = "μ²" if other.name == "mean" else f"{'σ²' if other.random else 'φ²'}({other.name})"
        return symbol if other.repeats == 1 else f"{other.repeats} {symbol}"

    inside = [other for other in strata if other is stratum or (other.random and stratum.axes < other.axes)]
    return " + ".join(map(term, reversed(inside)))


# Sweeps ----------------------------------------------------------------------------------------------------------


def slopes(
    scores: pd.DataFrame,
    over: str,
    *,
    arm: str,
    control: str | None = None,
    metric: str | None = None,
    scope: Scope = "recipe",
    log: bool = False,
) -> pd.DataFrame:
    """What a sweep does to the scores, one number a unit: its linear and quadratic contrast over the settings.

    With x the settings (or their log₂: per doubling), x̄ their mean and q what is left of x² after a regression on 1 and
    x, of scores y at the settings,

        linear = Σ (x - x̄) y / Σ (x - x̄)²,  quadratic = Σ q y / Σ q²

    the least-squares slope and curvature. Settings are repeated on each network's seed, so scores at several of them
    are no replicates; a slope is one number a unit, and any paired test of these numbers is exact as it is for
    differences: ``sign_flip(slopes(...)["linear"])``.

    Parameters
    ----------
    scores : DataFrame
        Tidy, with the column ``over``.
    over : str
        The swept parameter, of numbers.
    arm, metric : str
        Which rows.
    control : str, optional
        An arm with the same settings; the slopes are then of arm minus control at equal settings. A control without
        settings takes the same number off each of them, which changes no slope: leave it out.
    scope : {"recipe", "these"}
        Units: teachers, the means of their students (clusters of them where the table has these), or students. Seeds
        where there are no teachers.
    log : bool
        Settings on a log₂ scale.

    Returns
    -------
    DataFrame
        A row a unit, in order: teacher, seed or cluster; settings (their number); linear; quadratic, with three or more
        settings.

    Raises
    ------
    ValueError
        Fewer than two settings, or none above 0 for ``log``; a replicate without one of them, or on one side alone;
        several metrics, datasets or values of another parameter.

    References
    ----------
    Draper & Smith (1998), Applied Regression Analysis, ch. 22, for orthogonal polynomials at unequal steps. Rogosa &
    Willett (1985), Psychometrika 50:203, for slopes as data.

    Examples
    --------
    >>> table = pd.DataFrame({"arm": "kd", "temperature": [1.0, 2, 4] * 2, "seed": [0] * 3 + [1] * 3,
    ...                       "value": [0.70, 0.72, 0.74, 0.71, 0.74, 0.75]})
    >>> slopes(table, "temperature", arm="kd", log=True).round(4)
       seed  settings  linear  quadratic
    0     0         3    0.02       0.00
    1     1         3    0.02      -0.01
    """
    _check_scope(scope)
    y = _by_setting(scores, over, arm, metric)
    rows = [selected(scores, arm=arm, metric=metric)]
    if control is not None:
        other = _by_setting(scores, over, control, metric)
        if list(other.columns) != list(y.columns):
            there = [", ".join(map(_plain, side.columns)) for side in (y, other)]
            raise ValueError(
                f"{arm} has {over} {there[0]} and {control} {there[1]}: a contrast over settings needs the same on both"
            )
        alone = y.index.symmetric_difference(other.index)
        if len(alone) or list(y.index.names) != list(other.index.names):
            raise ValueError(
                f"{len(alone)} replicate(s) of {arm} or {control} are on one side alone: the table is not paired"
            )
        apart = differences(y.to_numpy().ravel(), other.reindex(y.index).to_numpy().ravel())
        y = pd.DataFrame(apart.reshape(y.shape), y.index, y.columns)
        rows.append(selected(scores, arm=control, metric=metric))
    if scope == "recipe" and "teacher" in y.index.names:
        y = y.groupby(level="teacher", observed=True).mean()
        clusters = _clusters(rows[0], rows[-1])
        if clusters is not None:
            y = y.groupby(clusters.reindex(y.index).rename("cluster"), observed=True).mean()
    x = y.columns.to_numpy(np.float64)
    if log and (x <= 0).any():
        raise ValueError(f"{over} has the value {_plain(x.min())}, which has no logarithm: leave log out")
    x = np.log2(x) if log else x
    linear = x - x.mean()
    columns = {"settings": len(x), "linear": y.to_numpy() @ linear / (linear @ linear)}
    if len(x) > 2:
        square = linear**2 - (linear**2).mean()
        quadratic = square - linear * (linear @ square) / (linear @ linear)
        columns["quadratic"] = y.to_numpy() @ quadratic / (quadratic @ quadratic)
    return pd.DataFrame(columns, y.index).reset_index()


def _by_setting(scores: pd.DataFrame, over: str, arm: str, metric: str | None) -> pd.DataFrame:
    """Replicates × settings of one arm."""
    rows = selected(scores, arm=arm, metric=metric)
    if over not in rows:
        raise ValueError(f"the table lacks the column {over!r}; it has {', '.join(map(str, rows.columns))}")
    settings = pd.to_numeric(rows[over], errors="coerce")
    if settings.isna().any():
        row = rows.index[settings.isna()][0]
        raise ValueError(f"row {row}: {over} of {arm} is {rows.loc[row, over]!r}: a sweep is over numbers")
    if settings.nunique() < 2:
        raise ValueError(f"{arm} has one {over}, {_plain(settings.iloc[0])}: a sweep needs two or more settings")
    columns = {}
    for setting, part in rows.groupby(settings, observed=True):
        of = f"{arm} at {over} {_plain(setting)}"
        _refuse_settings(part, of)
        columns[setting] = by_replicate(part, of)
    table = pd.DataFrame(columns).sort_index()
    if table.isna().to_numpy().any():
        key = table.index[table.isna().any(axis=1)][0]
        lacking = ", ".join(map(_plain, table.columns[table.loc[[key]].isna().iloc[0]]))
        raise ValueError(
            f"{arm}: {_named(list(map(str, table.index.names)), key)} lacks {over} {lacking}: a slope needs every"
            " setting of every replicate; leave it out at all of them, and report it"
        )
    return table


# Several datasets ------------------------------------------------------------------------------------------------


def over_datasets(
    scores: pd.DataFrame,
    *,
    arm: str,
    control: str,
    metric: str | None = None,
    scope: Scope = "recipe",
    alternative: Alternative = "two-sided",
    level: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Arm against control on each dataset, on all of these, and on datasets like these.

    Units are teachers within datasets (scope recipe), or students within teachers (these); seeds where there are no
    teachers. With θ_d the mean over teachers on dataset d,

    - *these* datasets: θ = mean of the θ_d; every unit's sign flips on its own within its dataset, so p is exact, and
      2⁻ⁿ at least with n units in all. SE² = Σ_h W_h² s²_h / n_h over strata h (datasets; teachers in them), with their
      own variances s², since datasets differ in spread, and Satterthwaite's df.
    - datasets *like these*: the θ_d are the units, 2⁻ᴰ at least, by sign flips and by Wilcoxon's test, in which a
      dataset with large differences counts no more than its rank (Demšar 2006). That they are a sample of some kind of
      dataset is the claimant's to argue.

    p-values are not corrected. The rows ask different questions; to claim something of single datasets, ``adjust``
    theirs.

    Parameters
    ----------
    scores : DataFrame
        Tidy, with a column ``dataset``.
    arm, control, metric : str
        The two to compare.
    scope : {"recipe", "these"}
        Which teachers the claim is about, on each dataset.
    alternative : {"two-sided", "greater", "less"}
    level : float
        Of the intervals.
    seed : int
        Of sampled sign flips, above 40 units.

    Returns
    -------
    DataFrame
        A row a dataset, then these, then like these (two): scope_datasets (this | these | like these), dataset,
        scope_teachers, units, n_units, estimate, standard_error, df, ci_low, ci_high, ci_level (t intervals;
        Wilcoxon's estimate is the pseudomedian, with its own), test, alternative, p_value, smallest_p (one-sided),
        note.

    Raises
    ------
    ValueError
        As ``paired`` of each dataset; no column dataset, or one dataset.

    References
    ----------
    Demšar (2006), J. Mach. Learn. Res. 7:1, §3.1.

    Examples
    --------
    >>> table = pd.DataFrame([{"dataset": d, "arm": a, "seed": s, "value": v + (a == "kd") * (s + 1) / 100}
    ...     for d, v in (("cifar", 0.7), ("svhn", 0.9)) for a in ("kd", "ce") for s in range(3)])
    >>> found = over_datasets(table, arm="kd", control="ce", alternative="greater")
    >>> found[["scope_datasets", "dataset", "n_units", "estimate", "p_value"]].round(4)
      scope_datasets      dataset  n_units  estimate  p_value
    0           this        cifar        3      0.02   0.1250
    1           this         svhn        3      0.02   0.1250
    2          these  cifar, svhn        6      0.02   0.0156
    3     like these  cifar, svhn        2      0.02   0.2500
    4     like these  cifar, svhn        2      0.02   0.2500
    """
    check_alternative(alternative)
    check_level(level)
    _check_scope(scope)
    _need_datasets(scores)
    pairs = _differences(scores, arm, control, metric)
    by_dataset = {str(dataset): _units(part, scope) for dataset, part in pairs.groupby("dataset", observed=True)}
    together = _together(list(by_dataset.values()))
    means = pd.Series([units.weights @ units.values for units in by_dataset.values()])
    every = ", ".join(by_dataset)
    claims = [*(("this", dataset, units) for dataset, units in by_dataset.items()), ("these", every, together),
              ("like these", every, _sample(means, "datasets"))]  # fmt: skip
    rows = [
        {"scope_datasets": of, "dataset": dataset, **_tested(units, alternative, level, seed)}
        for of, dataset, units in claims
    ]
    ranked = wilcoxon(means.to_numpy(), alternative=alternative)
    low, high = ranked.confidence_interval(level)
    note = "an end of the interval is infinite: these datasets do not bound it" * bool(np.isinf([low, high]).any())
    rows.append(
        rows[-1] | {"test": ranked.test, "estimate": ranked.estimate, "standard_error": NAN, "df": NAN, "ci_low": low,
                    "ci_high": high, "p_value": ranked.p_value, "note": note}
    )  # fmt: skip
    table = pd.DataFrame(rows)
    table.insert(2, "scope_teachers", scope if "teacher" in pairs else "these")
    return table


def _together(parts: Sequence[_Units]) -> _Units:
    """The units of all datasets, each dataset's mean weighing the same."""
    strata = np.concatenate([part.strata + 1j * i for i, part in enumerate(parts)])
    weights = np.concatenate([part.weights / len(parts) for part in parts])
    name = "students within teachers and datasets" if "within" in parts[0].name else f"{parts[0].name} within datasets"
    return _Units(np.concatenate([part.values for part in parts]), strata, weights, name)


def _need_datasets(scores: pd.DataFrame) -> None:
    n = scores["dataset"].nunique() if "dataset" in scores else 0
    if n < 2:
        raise ValueError(
            f"the table has {'one dataset' if n else 'no column dataset'}: claims over datasets need two or more; take"
            " a paired test"
        )


def _tested(units: _Units, alternative: Alternative, level: float, seed: int) -> dict[str, Any]:
    """Sign flips and the t interval of a stratified mean."""
    n = len(units.values)
    estimate = float(units.weights @ units.values)
    row = {
        "units": units.name, "n_units": n, "estimate": estimate, "standard_error": NAN, "df": NAN, "ci_low": NAN,
        "ci_high": NAN, "ci_level": level, "test": "", "alternative": alternative, "p_value": NAN, "smallest_p": NAN,
    }  # fmt: skip
    if n < 2:
        return row | {"note": f"one of the {units.name}: nothing is known of their spread"}
    flipped = sign_flip(units.values * units.weights * n, alternative=alternative, seed=seed)
    row |= {"test": flipped.test, "p_value": flipped.p_value}
    row["smallest_p"] = 2.0**-n if "exact" in flipped.test else _smallest_p(n)
    _, index, sizes = np.unique(units.strata, return_inverse=True, return_counts=True)
    if sizes.min() < 2:
        return row | {
            "note": "a stratum has one unit: nothing is known of its spread, so no standard error or interval"
        }
    centred = about_strata(units.values, index)
    if not centred.any():
        return row | {"standard_error": 0.0, "note": "all differences of a stratum are equal: no interval"}
    variances = np.bincount(index, units.weights) ** 2 * np.bincount(index, centred**2) / (sizes * (sizes - 1))
    error = sqrt(variances.sum())
    df = float(variances.sum() ** 2 / (variances**2 / (sizes - 1)).sum())
    low, high = t_interval(estimate, error, df, level)
    return row | {"standard_error": error, "df": df, "ci_low": low, "ci_high": high, "note": ""}


def dataset_means(scores: pd.DataFrame, *, arms: Sequence[str], metric: str | None = None) -> pd.DataFrame:
    """Datasets × arms, each the mean over teachers of their students' means: what Friedman's test ranks.

    ``friedman(means.to_numpy())`` and ``friedman_pairs(means.to_numpy(), arms=list(means))`` are the tests of several
    arms over datasets like these.

    Parameters
    ----------
    scores : DataFrame
        Tidy, with a column ``dataset``.
    arms : sequence of str
        Two or more, all on the same replicates of each dataset.
    metric : str, optional

    Returns
    -------
    DataFrame
        Index dataset, a column an arm.

    Raises
    ------
    ValueError
        As ``over_datasets``; fewer than two arms.

    References
    ----------
    Demšar (2006), J. Mach. Learn. Res. 7:1, §3.2.

    Examples
    --------
    >>> table = pd.DataFrame([{"dataset": d, "arm": a, "seed": s, "value": v + (a == "kd") * (s + 1) / 100}
    ...     for d, v in (("cifar", 0.7), ("svhn", 0.9)) for a in ("kd", "ce") for s in range(3)])
    >>> dataset_means(table, arms=["ce", "kd"]).round(4).to_dict("index")
    {'cifar': {'ce': 0.7, 'kd': 0.72}, 'svhn': {'ce': 0.9, 'kd': 0.92}}
    """
    if len(arms) < 2:
        raise ValueError(f"the arms are {list(arms)}: there is nothing to compare; name two or more")
    _need_datasets(scores)
    columns = {}
    for arm, other in zip(arms, [arms[1], *[arms[0]] * (len(arms) - 1)], strict=True):
        pairs = _differences(scores, arm, other, metric)
        levels = ["dataset", *(["teacher"] if "teacher" in pairs else [])]
        columns[arm] = pairs.groupby(levels, observed=True)["x"].mean().groupby(level="dataset", observed=True).mean()
    return pd.DataFrame(columns)


# Tables that are not balanced ------------------------------------------------------------------------------------


def mixed_model(
    scores: pd.DataFrame,
    *,
    arm: str,
    control: str,
    metric: str | None = None,
    alternative: Alternative = "two-sided",
    verdict: bool = False,
) -> TestResult:
    """Mean difference of an unbalanced table by a mixed model: teachers random, students in them, datasets fixed.

        d = μ_dataset + teacher + student,  teacher ~ N(0, τ²), student ~ N(0, σ²)

    τ² and σ² by restricted maximum likelihood (statsmodels' MixedLM). Given these, a teacher of S students weighs
    1 / (τ² + σ² / S) in its dataset's mean, and the estimate is the mean over datasets, with the standard error of
    these weights. That the variances are estimates is not in that error, so Wald's z rejects too often: at .07 to .12
    for a nominal .05 in 400 simulated tables of 5 teachers with 1 to 4 students each, .06 to .07 in 600 of 20. So t is
    taken, on teachers - datasets degrees of freedom (.02 to .04 and .045 to .047 there), and the result stays
    approximate. ``sign_flip`` of teacher means (scope recipe) needs no balance and is exact; what this adds is weight
    for teachers with more students.

    Parameters
    ----------
    scores : DataFrame
        Tidy, with teacher and seed.
    arm, control, metric : str
        The two to compare.
    alternative : {"two-sided", "greater", "less"}
    verdict : bool
        Whether a verdict will rest on it; then refused where it cannot bear one.

    Returns
    -------
    TestResult
        ``estimate``, ``statistic`` (t), interval; ``standard_error``, ``df``, ``teacher_variance``,
        ``seed_variance``, ``n_teachers``, ``bears_verdict`` and, where that is false, ``reason``: fewer than 20
        teachers, or τ² estimated at 0, so that students count as if they were independent. Then ``p_value`` is NaN.

    Raises
    ------
    ValueError
        A balanced table (``anova`` is exact); no teacher with two students; teachers in clusters; as many datasets as
        teachers; a fit that does not converge; ``verdict`` where it bears none.

    References
    ----------
    Laird & Ware (1982), Biometrics 38:963. Pinheiro & Bates (2000), Mixed-Effects Models in S and S-PLUS, §2.4.2.

    Examples
    --------
    >>> table = pd.DataFrame([{"arm": a, "teacher": t, "seed": s, "value": (a == "kd") * (2 + t % 3 + s % 2) / 100}
    ...     for a in ("kd", "ce") for t in range(6) for s in range(2 + t % 2)])
    >>> result = mixed_model(table, arm="kd", control="ce")
    >>> round(result.estimate, 4), result.bears_verdict, result.reason
    (0.0341, False, 'a mixed model of 6 teachers bears no verdict: from 20 on it does')
    """
    check_alternative(alternative)
    pairs = _differences(scores, arm, control, metric)
    index, datasets, sizes = _grouped(pairs)
    d = pairs["d"].to_numpy()
    if without_variance(d):
        raise ValueError(ALL_EQUAL.replace("t test", "mixed model"))
    between, within = _reml(d, index, pairs["dataset"].to_numpy())
    weights = 1 / (between + within / sizes)
    total = np.bincount(datasets, weights)
    means = np.bincount(datasets, weights * np.bincount(index, d) / sizes) / total
    estimate, error = float(means.mean()), sqrt((1 / total).sum()) / len(total)
    n_teachers, df = len(sizes), len(sizes) - len(total)
    reason = ""
    if n_teachers < ENOUGH_TEACHERS:
        reason = f"a mixed model of {n_teachers} teachers bears no verdict: from {ENOUGH_TEACHERS} on it does"
    elif between <= _NO_VARIANCE * within:
        reason = (
            "the variance between teachers is estimated at 0, so students count as if they were independent: no verdict"
        )
    if verdict and reason:
        raise ValueError(f"{reason}; take sign_flip or paired_t of teacher means")
    t = estimate / error
    details = {
        "standard_error": error, "df": df, "teacher_variance": between, "seed_variance": within,
        "n_teachers": n_teachers, "bears_verdict": not reason, "reason": reason,
    }  # fmt: skip
    p = NAN if reason else float(t_p_value(t, df, alternative))
    name = "mixed model (REML, t), approximate"
    return TestResult(name, t, p, estimate, len(d), alternative, partial(t_interval, estimate, error, df), details)


_NO_VARIANCE = 1e-6  # of the students': the optimiser's zero


def _grouped(pairs: pd.DataFrame) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """The teacher of each replicate, the dataset and the students of each teacher; unbalanced, or refused."""
    if not {"teacher", "seed"} <= set(pairs.columns):
        raise ValueError("a mixed model needs teacher and seed; without either take a paired test")
    if "cluster" in pairs:
        raise ValueError(
            "teachers depend on each other in clusters, which this model does not hold: take a paired test"
        )
    groups = pairs.groupby(["dataset", "teacher"], sort=True, observed=True)
    sizes = groups.size()
    datasets = np.unique(sizes.index.get_level_values("dataset"), return_inverse=True)[1]
    if sizes.nunique() == 1 and len(set(np.bincount(datasets).tolist())) == 1:
        raise ValueError("the table is balanced: anova is exact for it, a mixed model approximate; take anova")
    if sizes.max() < 2:
        raise ValueError("no teacher has two students, so teachers and students cannot be told apart: take paired_t")
    if len(sizes) == datasets.max() + 1:
        raise ValueError("every dataset has one teacher: nothing is known of other teachers")
    return groups.ngroup().to_numpy(), datasets, sizes.to_numpy()


def _reml(d: Array, teacher: NDArray[Any], dataset: NDArray[Any]) -> tuple[float, float]:
    """Variances between teachers and within them."""
    from statsmodels.regression.mixed_linear_model import MixedLM  # a second to import, and needed here alone

    scale = float(d.std())
    fixed = (dataset[:, None] == np.unique(dataset)).astype(np.float64)
    with warnings.catch_warnings(record=True) as raised:
        warnings.simplefilter("always")
        # Powell's search finds a variance of 0 where the default, by gradients, gives up
        fit = MixedLM(d / scale, fixed, groups=teacher).fit(reml=True, method="powell")
    between, within = float(fit.cov_re[0, 0]), float(fit.scale)
    known = ("boundary", "singular", "Hessian")  # what a variance of 0 brings about
    told = [str(w.message) for w in raised if not any(word in str(w.message) for word in known)]
    if not fit.converged or told or (raised and between > 0.05 * within):
        why = "; ".join(dict.fromkeys(told or [str(w.message) for w in raised])) or "no reason given"
        raise ValueError(f"the mixed model's fit did not converge ({why}): take sign_flip or paired_t of teacher means")
    return between * scale**2, within * scale**2
