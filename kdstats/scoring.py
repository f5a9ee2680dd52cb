"""From predictions to numbers: the scores table, per-example values, transfer counts, training curves."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

import kdstats
from kdstats import inheritance, metrics
from kdstats.catalog import METRICS
from kdstats.errors import UserError
from kdstats.inheritance import Swapped
from kdstats.plan import Plan, Replicate, clusters, partners, swaps_teachers
from kdstats.protocol import Point, parameters_text
from kdstats.stats.frames import EXAMPLES
from kdstats.stats.results import LARGEST
from kdstats.store import Damaged, Stored, complete, read_features, read_replicate

Key = tuple[str, str, int, int | None]  # arm, parameters as text, teacher, student seed


def point_key(point: Point | None) -> tuple[str, str]:
    """Arm and parameters of a point; the teacher has no point."""
    return (point.arm, parameters_text(point.parameters)) if point else ("teacher", "")


@dataclass(frozen=True)
class Networks:
    """The trained networks of a run, verified.

    Attributes
    ----------
    stored : by replicate ID
    by_key : replicate by (arm, parameters, teacher, seed)
    labels : (n,) of the evaluation set
    root : the folder of replicates
    """

    plan: Plan
    stored: dict[str, Stored]
    by_key: dict[Key, Replicate]
    labels: NDArray[np.int64]
    root: Path

    def logits(self, key: Key) -> NDArray[np.float32] | None:
        """Logits (n, C) of one network, None where it failed."""
        return self.stored[self.by_key[key].id].logits

    def activations(self, key: Key) -> NDArray[Any]:
        """Activations (n, D) of one network that trained, of a protocol that keeps them."""
        return read_features(self.root, self.by_key[key].id)

    def teacher_logits(self, teacher: int) -> NDArray[np.float32] | None:
        return self.logits(("teacher", "", teacher, None))


def read_networks(run: Path, plan: Plan) -> Networks:
    """Read and verify every replicate of a plan.

    Raises
    ------
    UserError
        Names what is missing or damaged; the run command trains it again.
    """
    root = run / "replicates"
    absent = [replicate for replicate in plan.replicates if not complete(root, replicate.id)]
    if absent:
        raise UserError(
            f"{run}: {len(absent)} of {len(plan.replicates)} replicates are not trained yet, the first {absent[0]};"
            " `kdstats run PROTOCOL` trains what is missing"
        )
    stored, damaged = {}, []
    for replicate in plan.replicates:
        try:
            stored[replicate.id] = read_replicate(root, replicate.id)
        except Damaged as damage:
            damaged.append(str(damage))
    if damaged:
        raise UserError("\n".join([*damaged, "`kdstats run PROTOCOL` trains what is damaged again"]))
    labels = next(iter(stored.values())).labels
    for id, one in stored.items():
        if not np.array_equal(one.labels, labels):
            raise UserError(f"{root / id}: was evaluated on other labels than the rest of the run")
    by_key = {(*point_key(r.point), r.teacher, r.seed): r for r in plan.replicates}
    return Networks(plan, stored, by_key, labels, root)


def scores(networks: Networks) -> pd.DataFrame:
    """The tidy scores: a row a network and metric. A value that does not exist is empty, and ``note`` says why."""
    protocol = networks.plan.protocol
    wanted = [name for name in METRICS if name in protocol.metrics]
    parameters = sorted({name for point in protocol.points for name, _ in point.parameters})
    swapped = any(swaps_teachers(point.kind) for point in protocol.points)
    cluster = clusters(protocol) if swapped else {teacher: teacher for teacher in protocol.teacher.seeds}
    rows = []
    for key, replicate in networks.by_key.items():
        logits = networks.logits(key)
        teacher = networks.teacher_logits(replicate.teacher)
        if logits is None:
            continue
        settings = dict(replicate.point.parameters) if replicate.point else {}
        for name in wanted:
            of_pair = METRICS[name].against in ("teacher", "activations")
            if of_pair and (replicate.role == "teacher" or teacher is None):
                continue
            note = ""
            try:
                if METRICS[name].against == "activations":
                    sides = networks.activations(("teacher", "", replicate.teacher, None)), networks.activations(key)
                    value = getattr(metrics, METRICS[name].function)(*sides)
                else:
                    value = float(_measure(name, teacher, logits, networks.labels))
            except metrics.UndefinedMetric as reason:
                value, note = float("nan"), str(reason)
            rows.append(
                {
                    "protocol": protocol.name,
                    "protocol_hash": networks.plan.hash,
                    "dataset": protocol.dataset.name,
                    "split": protocol.dataset.split,
                    "arm": replicate.arm,
                    "arm_params": key[1],
                    **{parameter: settings.get(parameter) for parameter in parameters},
                    "teacher": replicate.teacher,
                    "cluster": cluster[replicate.teacher],
                    "seed": replicate.seed,
                    "metric": name,
                    "value": value,
                    "n": _size(name, teacher, networks.labels),
                    "note": note,
                }
            )
    columns = (
        "protocol", "protocol_hash", "dataset", "split", "arm", "arm_params", *parameters, "teacher", "cluster", "seed",
        "metric", "value", "n", "note",
    )  # fmt: skip
    return pd.DataFrame(rows, columns=list(columns)).astype({"seed": "Int64", "value": float})


def _measure(
    name: str, teacher: NDArray[Any] | None, logits: NDArray[Any], labels: NDArray[Any], per_example: bool = False
) -> Any:
    metric = METRICS[name]
    function = getattr(metrics, metric.function or name)
    arguments = {"teacher": (teacher, logits, labels), "labels": (logits, labels), "itself": (logits,)}[metric.against]
    found = function(*arguments, per_example=True) if per_example else function(*arguments)
    return getattr(found, metric.part) if metric.part else found


def _size(name: str, teacher: NDArray[Any] | None, labels: NDArray[Any]) -> int:
    """Examples behind a value: those where the teacher is right or wrong for A⁺ and A⁻, else all."""
    if name not in ("positive_transfer", "negative_transfer") or teacher is None:
        return len(labels)
    right = int((teacher.argmax(1) == labels).sum())
    return right if name == "positive_transfer" else len(labels) - right


def per_example(networks: Networks, metric: str, keys: Sequence[Key]) -> NDArray[np.float64]:
    """Per-example values (len(keys), n) whose row means are the metric, for claims about new examples."""
    rows = [
        _measure(metric, networks.teacher_logits(key[2]), networks.logits(key), networks.labels, per_example=True)  # type: ignore[arg-type]
        for key in keys
    ]
    return np.asarray(rows, np.float64)


def agreements(networks: Networks, keys: Sequence[Key]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Where the teacher is right, and where the student agrees with it, (len(keys), n) each, for the asymmetry."""
    right, agrees = [], []
    for key in keys:
        teacher, logits = networks.teacher_logits(key[2]), networks.logits(key)
        assert teacher is not None and logits is not None
        said = teacher.argmax(1)
        right.append(said == networks.labels)
        agrees.append(logits.argmax(1) == said)
    return np.asarray(right), np.asarray(agrees)


def swapped(networks: Networks, arm: Point, control: Point, pairs: Sequence[tuple[int, int]]) -> Swapped:
    """Teachers that were swapped, and their students of two arms: of the one taught by their own, of the other by its
    partner.

    Parameters
    ----------
    arm, control : points of kd and of kd-other
    pairs : (teacher, seed) of the students; both teachers of each swapped pair are among them
    """
    numbers = sorted({teacher for teacher, _ in pairs}, key=networks.plan.protocol.teacher.seeds.index)
    row = {teacher: i for i, teacher in enumerate(numbers)}
    partner = partners(networks.plan.protocol)
    logits = np.stack([networks.logits(("teacher", "", teacher, None)) for teacher in numbers])  # type: ignore[misc]
    keys: list[tuple[Key, int, int]] = []  # network, who taught it, whose weights it began with
    for point, other in ((arm, False), (control, True)):
        keys += [((*point_key(point), *pair), partner[pair[0]] if other else pair[0], pair[0]) for pair in pairs]
    students = np.stack([networks.logits(key).argmax(1) for key, _, _ in keys])  # type: ignore[union-attr]
    began = np.array([row[start] for _, _, start in keys]) if arm.initialisation == "teacher" else None
    both = [(row[teacher], row[partner[teacher]]) for teacher in numbers if row[teacher] < row[partner[teacher]]]
    return inheritance.swapped(
        logits, students, networks.labels, [row[by] for _, by, _ in keys], both, started_from=began
    )  # fmt: skip


def transfers(networks: Networks, pairs: Sequence[tuple[Point, Point]]) -> pd.DataFrame:
    """The four counts of each arm against its controls, pair by pair; and of a held-out control in the arm's place.

    A held-out row has a control's next seed as the control of this one: what the counts are with no effect at all.
    """
    protocol = networks.plan.protocol
    seeds = protocol.student.seeds
    following = dict(zip(seeds, (*seeds[1:], seeds[0]), strict=True))
    comparisons = [(arm, control, False) for arm, control in pairs]
    if len(seeds) > 1:
        comparisons += [(control, control, True) for control in dict.fromkeys(control for _, control in pairs)]
    rows = []
    for arm, control, held_out in comparisons:
        for teacher in protocol.teacher.seeds:
            said = networks.teacher_logits(teacher)
            for seed in seeds:
                mine = networks.logits((*point_key(arm), teacher, seed))
                other = networks.logits((*point_key(control), teacher, following[seed] if held_out else seed))
                if said is None or mine is None or other is None:
                    continue
                counts = metrics.transfer(said, mine, other, networks.labels)
                rows.append(
                    {
                        "protocol": protocol.name,
                        "protocol_hash": networks.plan.hash,
                        "dataset": protocol.dataset.name,
                        "split": protocol.dataset.split,
                        "arm": arm.arm,
                        "arm_params": parameters_text(arm.parameters),
                        "control": f"{control.arm}, held out" if held_out else control.arm,
                        "control_params": parameters_text(control.parameters),
                        "teacher": teacher,
                        "seed": seed,
                        **{
                            name: getattr(counts, name)
                            for name in (
                                "n_correct", "n_wrong", "repaired", "broken", "infected", "cured",
                                "net_repaired", "net_infected",
                            )
                        },
                        "version": kdstats.__version__,
                    }
                )  # fmt: skip
    return pd.DataFrame(rows)


def curves(networks: Networks) -> pd.DataFrame:
    """Mean training loss by epoch of every network."""
    rows = [
        (*key, epoch + 1, loss)
        for key, replicate in networks.by_key.items()
        for epoch, loss in enumerate(networks.stored[replicate.id].meta["losses"])
    ]
    table = pd.DataFrame(rows, columns=["arm", "arm_params", "teacher", "seed", "epoch", "loss"])
    return table.astype({"seed": "Int64"})


def failures(networks: Networks) -> pd.DataFrame:
    """Networks whose training failed, with the step and the reason."""
    rows = [
        (*key, networks.stored[replicate.id].meta["step"], networks.stored[replicate.id].meta["reason"])
        for key, replicate in networks.by_key.items()
        if networks.stored[replicate.id].logits is None
    ]
    table = pd.DataFrame(rows, columns=["arm", "arm_params", "teacher", "seed", "step", "reason"])
    return table.astype({"seed": "Int64"})


# Scores of others ------------------------------------------------------------------------------------------------

REQUIRED = ("arm", "seed", "metric", "value")
KNOWN = (
    *REQUIRED,
    "protocol",
    "protocol_hash",
    "dataset",
    "split",
    "arm_params",
    "teacher",
    "cluster",
    "n",
    "note",
    "version",
)


@dataclass(frozen=True)
class ScoreTable:
    """A tidy table of scores that came from elsewhere.

    Attributes
    ----------
    scores : with the columns arm_params and teacher (0 where the file has none)
    points : every arm at every setting of the columns that are not kdstats' own: its parameters
    clusters : teacher -> unit of a claim about teachers, of the column ``cluster``
    has_teachers : whether the file has the column ``teacher``
    identity : the one dataset and split
    """

    scores: pd.DataFrame
    points: tuple[Point, ...]
    clusters: dict[int, int]
    has_teachers: bool
    identity: dict[str, str]


def read_scores(file: Path) -> dict[str, ScoreTable]:
    """Read a scores CSV: arm, seed, metric, value; teacher, cluster, dataset, split and parameters as they come.

    An empty value says that a network has no score, as a row that is absent does.

    Returns
    -------
    A table of each dataset and split, by name (``cifar10``; empty where there is one).

    Raises
    ------
    UserError
        Names the file, the row (as a line of the file) and what would be right.
    """
    try:
        text = file.read_text("utf-8-sig")
        header = next(csv.reader(text.splitlines()[:1]), [])
        other = next((mark for mark in ";\t" if len(header) == 1 and mark in header[0]), None)
        if other:
            mark = "tabulators" if other == "\t" else "semicolons"
            raise UserError(f"{file}:1: its cells are separated by {mark}: kdstats reads commas, and decimal points")
        cells = csv.reader(io.StringIO(text))
        if long := next((cells.line_num for row in cells if len(row) > len(header)), None):
            columns = ",".join(header)[:200]
            raise UserError(f"{file}:{long}: has more cells than the first line has columns ({columns})")
        raw = pd.read_csv(
            io.StringIO(text), dtype=str, keep_default_na=False, na_values=[""], index_col=False, skip_blank_lines=False
        )
        raw = raw[raw.notna().any(axis=1)]  # the index still counts blank lines
    except FileNotFoundError:
        raise UserError(f"{file}: there is no such file or run directory") from None
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"{file}: is no CSV table ({' '.join(str(error).split())})") from None
    if twice := [column for column in dict.fromkeys(header) if header.count(column) > 1]:
        raise UserError(f"{file}:1: has the column {twice[0]} twice")
    missing = [column for column in REQUIRED if column not in raw.columns]
    if missing:
        raise UserError(
            f"{file}: lacks the column(s) {', '.join(missing)}; it has {', '.join(map(str, raw.columns))}."
            f" A table of scores has {', '.join(REQUIRED)}, and teacher, dataset and parameters as they come"
        )
    pooled = [column for column in EXAMPLES if column in raw and raw[column].nunique() > 1]
    if pooled:
        raise UserError(
            f"{file}: has a row an example (column {pooled[0]}): examples of one network are not replicates. Average"
            " over the examples first, one row a network; a column that numbers the rows is left out"
        )
    table = raw[raw["arm"] != "teacher"].copy()
    if table.empty:
        raise UserError(f"{file}: has no rows of students")
    has_teachers = "teacher" in table.columns
    table["teacher"] = table["teacher"] if has_teachers else "0"
    for column in ("arm", "metric"):
        _refuse_rows(file, table, table[column].isna(), column, "is empty")
    for column in ("seed", "teacher", *(["cluster"] if "cluster" in table else [])):
        whole = table[column].str.fullmatch(r"\s*[+-]?\d{1,18}(\.0+)?\s*", na=False)
        _refuse_rows(file, table, ~whole, column, "is not a whole number")
        table[column] = table[column].str.strip().str.replace(r"\.0+$", "", regex=True).map(int).astype("int64")
    numbers = pd.to_numeric(table["value"], errors="coerce").astype(float)
    none = "is not a finite number: leave the cell empty where there is no score"
    _refuse_rows(file, table, ~numbers.map(np.isfinite) & table["value"].notna(), "value", none)
    _refuse_rows(file, table, numbers.abs() > LARGEST, "value", f"is no score: beyond ±{LARGEST:g} squares overflow")
    table["value"] = numbers
    table["n"] = pd.to_numeric(table["n"], errors="coerce").astype(float) if "n" in table else np.nan
    parameters = [str(column) for column in table.columns if column not in KNOWN]
    for column in parameters:
        unset = "is no setting: leave the cell empty where an arm has none"
        _refuse_rows(file, table, table[column].str.lower().eq("nan"), column, unset)
    settings = [
        {name: _setting(text) for name, text in zip(parameters, row, strict=True) if isinstance(text, str)}
        for row in table[parameters].itertuples(index=False)
    ]
    table["arm_params"] = [parameters_text(setting) for setting in settings]
    for column in ("dataset", "split"):
        table[column] = table[column].fillna("") if column in table else ""
    key = ["dataset", "split", "arm", "arm_params", "teacher", "seed", "metric"]
    _refuse_rows(file, table, table.duplicated(key), "seed", "is here twice for the same arm, parameters and metric")
    several = [column for column in ("dataset", "split") if table[column].nunique() > 1]
    tables = {}
    of_row = dict(zip(table.index, settings, strict=True))
    for (dataset, split), rows in table.groupby(["dataset", "split"], sort=False):
        points = dict.fromkeys(
            Point(arm, arm, tuple(sorted(of_row[i].items())), "fresh") for i, arm in rows["arm"].items()
        )
        groups = dict(zip(rows["teacher"], rows["cluster"], strict=True)) if "cluster" in rows else {}
        identity = {"protocol": "", "protocol_hash": "", "dataset": str(dataset), "split": str(split)}
        name = " ".join(identity[column] for column in several)
        tables[name] = ScoreTable(rows, tuple(points), groups, has_teachers, identity)
    return tables


def _setting(text: str) -> Any:
    if text in ("True", "False"):  # as pandas writes them
        return text == "True"
    try:
        return float(text)
    except ValueError:
        return text


def _refuse_rows(file: Path, table: pd.DataFrame, bad: pd.Series, column: str, what: str) -> None:
    if bad.any():
        row = table.index[bad][0]
        value = table.loc[row, column]
        raise UserError(
            f"{file}:{row + 2}: column {column}: {'' if pd.isna(value) else repr(str(value)) + ' '}{what}"
            f" ({int(bad.sum())} such row{'s' if bad.sum() > 1 else ''})"
        )
