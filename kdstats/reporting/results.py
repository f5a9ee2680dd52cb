"""What a report is made of: the tidy tables, typed, and the words for what their rows speak of."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import pandas as pd

from kdstats import catalog
from kdstats.catalog import ARMS, ASYMMETRY, METRICS

LATE = "declared after training"

# What the report reads of each table; a table without rows may come without columns.
COLUMNS = {
    "scores": "arm teacher seed metric value",
    "contrasts": "hypothesis declared kind metric estimator arm arm_params control control_params scope_teachers"
    " scope_examples teacher n_teachers n_units n_pairs n_failed_arm n_failed_control direction estimate ci_low ci_high"
    " ci_level test p_value margin p_adjusted family correction dz bayes_factor verdict note",
    "verdicts": "hypothesis declared metric arm arm_params direction scope_teachers scope_examples teacher n_units"
    " estimate ci_low ci_high p_value p_adjusted margin family correction level verdict sentence",
    "ladder": "metric setting part rung arm arm_params control control_params scope_teachers scope_examples n_teachers"
    " n_units estimate ci_low ci_high ci_level test p_value p_adjusted share share_low share_high note sentence",
    "inheritance": "arm arm_params control control_params part label unit n_teachers n_units n_examples estimate ci_low"
    " ci_high ci_level note sentence",
    "transfers": "arm arm_params control control_params teacher seed n_correct n_wrong repaired broken infected cured"
    " net_repaired net_infected",
    "curves": "arm arm_params teacher seed epoch loss",
    "failures": "arm arm_params teacher seed step reason",
}
WHOLE = {"teacher", "seed", "epoch", "step", "rung"}  # and whatever begins with n_
REAL = {
    "value", "estimate", "sem", "df", "ci_low", "ci_high", "ci_level", "statistic", "p_value", "p_reverse", "p_refuted",
    "p_equivalence", "margin", "smallest_p", "p_adjusted", "dz", "hedges_g", "rank_biserial", "cles", "bayes_factor",
    "level", "loss", "share", "share_low", "share_high", "repaired", "broken", "infected", "cured", "net_repaired",
    "net_infected",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Results:
    """All that a report says, and nothing that it does not say.

    Attributes
    ----------
    protocol : the frozen protocol, resolved
    protocol_hash : its hash, in every table and on the page
    environment : versions, device, precision, determinism
    amendments : what was added after the protocol was frozen, in order
    scores, contrasts, verdicts, ladder, transfers, curves : tidy tables, see docs/architecture.md
    failures : arm, arm_params, teacher, seed, step, reason; one row a replicate that failed
    features : tables of ``kdstats.interactions`` and ``kdstats.mistakes`` by name, where there are any
    """

    protocol: Mapping[str, Any]
    protocol_hash: str
    environment: Mapping[str, Any]
    amendments: Sequence[Mapping[str, Any]]
    scores: pd.DataFrame
    contrasts: pd.DataFrame
    verdicts: pd.DataFrame
    transfers: pd.DataFrame
    curves: pd.DataFrame
    failures: pd.DataFrame
    ladder: pd.DataFrame = field(default_factory=pd.DataFrame)
    inheritance: pd.DataFrame = field(default_factory=pd.DataFrame)
    features: Mapping[str, pd.DataFrame] = field(default_factory=dict)

    def tidy(self) -> "Results":
        """The same results with every column present and typed: text is text, counts are whole, numbers are real.

        Raises
        ------
        ValueError
            Where a table has rows and lacks a column that the report reads.
        """
        from kdstats.protocol import parameters_text

        scores = self.scores
        if "arm_params" not in scores:
            known = {"protocol", "protocol_hash", "dataset", "split", "n", "note", *COLUMNS["scores"].split()}
            parameters = [column for column in scores if column not in known]
            values = scores[parameters].itertuples(index=False)
            settings = ({str(k): v for k, v in zip(parameters, row, strict=True) if not pd.isna(v)} for row in values)
            scores = scores.assign(arm_params=[parameters_text(setting) for setting in settings])
        frames = {name: getattr(self, name) for name in COLUMNS} | {"scores": scores}
        typed: dict[str, Any] = {name: _typed(name, frame, COLUMNS[name].split()) for name, frame in frames.items()}
        return replace(self, **typed)

    @cached_property
    def sweep(self) -> str | None:
        """The parameter on the x axis: alpha where it varies within an arm, else the first other number that does."""
        numeric = sorted(
            name
            for arm in {arm for arm, _ in self._keys}
            for name, values in _variants(params for other, params in self._keys if other == arm).items()
            if len(values) > 1 and all(map(_is_number, values))
        )
        return "alpha" if "alpha" in numeric else next(iter(numeric), None)

    @cached_property
    def points(self) -> dict[tuple[str, str], "Point"]:
        """(arm, parameters) -> point: the teacher, then the arms in the protocol's order, each by its parameters."""
        rank = {arm: i for i, arm in enumerate(["teacher", *self.protocol.get("arms", {})])}
        ordered = sorted(
            self._keys, key=lambda key: (rank.get(key[0], len(rank)), key[0], _sortable(self._varying(*key)), key[1])
        )
        return {key: self._point(*key) for key in ordered}

    @cached_property
    def _keys(self) -> dict[tuple[str, str], None]:
        tables = (self.scores, self.contrasts, self.curves, self.failures, self.transfers)
        arms = [key for table in tables for key in zip(table["arm"], table["arm_params"], strict=True)]
        controls = zip(self.contrasts["control"], self.contrasts["control_params"], strict=True)
        return dict.fromkeys([*arms, *controls])

    def _varying(self, arm: str, params: str) -> dict[str, str]:
        variants = _variants(other for name, other in self._keys if name == arm)
        return {name: value for name, value in parameters(params).items() if len(variants[name]) > 1}

    def _point(self, arm: str, params: str) -> "Point":
        varying = self._varying(arm, params)
        rest = {name: value for name, value in varying.items() if name != self.sweep}
        value = parameters(params).get(self.sweep or "")
        declared = self.protocol.get("arms", {}).get(arm)
        kind = declared.get("kind") if isinstance(declared, Mapping) else None
        return Point(
            arm,
            params,
            str(kind or arm),
            setting(varying),
            setting(rest),
            float(value) if value is not None and _is_number(value) else None,
            (arm, params) in self.late_points,
        )

    @cached_property
    def late_points(self) -> frozenset[tuple[str, str]]:
        """Points that an amendment added when replicates or scores existed already."""
        late = [a["added"] for a in self.amendments if a.get("replicates_existed") or a.get("scores_existed")]
        return frozenset((point[0], point[1]) for added in late for point in added.get("points", ()))

    def unit_of(self, point: "Point") -> dict[int, int]:
        """Teacher -> unit of a claim about the recipe: pairs of teachers where they teach each other's students."""
        seeds = (self.protocol.get("teacher") or {}).get("seeds", sorted(set(self.scores["teacher"].dropna())))
        seeds = list(range(seeds)) if isinstance(seeds, int) else list(seeds)
        swapped = point.kind in ARMS and ARMS[point.kind].learns_from == "other"
        return {seed: seeds[i - i % 2] if swapped else seed for i, seed in enumerate(seeds)}

    @property
    def level(self) -> float:
        return float(self.protocol.get("level", 0.05))

    def control_of(self, arm: str) -> "Point | None":
        """The plain control (siddo or ce) that an arm is paired with."""
        return self._controls.get(arm)

    @cached_property
    def _controls(self) -> dict[str, "Point"]:
        plain = {key: point for key, point in self.points.items() if point.kind in ("siddo", "ce")}
        kind = "siddo" if self.protocol.get("initialisation", "teacher") == "teacher" else "ce"
        alike = [point for point in plain.values() if point.kind == kind][:1]
        found = {arm: point for arm, _ in self.points for point in alike if arm not in (point.arm, "teacher")}
        rows = self.contrasts
        paired = zip(rows["arm"], zip(rows["control"], rows["control_params"], strict=True), strict=True)
        return found | {arm: plain[key] for arm, key in reversed(list(paired)) if key in plain}

    def values(self, metric: str, point: "Point") -> pd.Series:
        """Values of one metric of one point, by (teacher, seed); what does not exist is left out."""
        return self._values.get((metric, point.arm, point.params), self._nothing)

    @cached_property
    def _values(self) -> dict[tuple[str, str, str], pd.Series]:
        there = self.scores.dropna(subset=["value"]).set_index(["teacher", "seed"])
        groups = there.groupby(["metric", "arm", "arm_params"], sort=False)["value"]
        return {(str(metric), str(arm), str(params)): values for (metric, arm, params), values in groups}

    @cached_property
    def _nothing(self) -> pd.Series:
        return self.scores.iloc[:0].set_index(["teacher", "seed"])["value"]

    def metrics(self) -> list[str]:
        """The metrics that were scored, in the catalogue's order."""
        there = dict.fromkeys(self.scores["metric"])
        return [name for name in METRICS if name in there] + [name for name in there if name not in METRICS]


@dataclass(frozen=True)
class Point:
    """An arm at one setting of its swept parameters.

    Attributes
    ----------
    kind : the catalogue's name of the arm
    setting : the parameters that vary within the arm, in words; empty where none does
    rest : the same without the parameter of the x axis
    sweep : the value on the x axis
    late : whether it was declared after training
    """

    arm: str
    params: str
    kind: str
    setting: str
    rest: str
    sweep: float | None
    late: bool

    @property
    def label(self) -> str:
        return " ".join(filter(None, (self.arm, self.setting)))

    @property
    def series(self) -> str:
        return " ".join(filter(None, (self.arm, self.rest)))


def parameters(params: str) -> dict[str, str]:
    """Parameters from the text of ``arm_params``.

    Examples
    --------
    >>> parameters("alpha=0.5 temperature=4")
    {'alpha': '0.5', 'temperature': '4'}
    """
    return {name: value for name, _, value in (part.partition("=") for part in params.split())}


SYMBOLS = {"alpha": "α", "temperature": "T"}


def setting(varying: Mapping[str, str]) -> str:
    """Parameters in words: ``α = 0.5, T = 4``."""
    return ", ".join(f"{SYMBOLS.get(name, name)} = {value}" for name, value in varying.items())


def _variants(texts: Any) -> dict[str, dict[str, None]]:
    found: dict[str, dict[str, None]] = {}
    for text in texts:
        for name, value in parameters(text).items():
            found.setdefault(name, {})[value] = None
    return found


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


def _sortable(varying: Mapping[str, str]) -> list[tuple[str, float, str]]:
    return [(name, float(value) if _is_number(value) else 0.0, value) for name, value in varying.items()]


def _typed(name: str, frame: pd.DataFrame, needed: Sequence[str]) -> pd.DataFrame:
    missing = [column for column in needed if column not in frame]
    if missing and len(frame):
        raise ValueError(f"the table {name} lacks the column {missing[0]}: a report cannot be made without it")
    frame = frame.reindex(columns=[*frame.columns, *missing]).reset_index(drop=True)
    for column in map(str, frame.columns):
        if column in WHOLE or column.startswith("n_"):
            frame[column] = pd.to_numeric(frame[column]).astype("Int64")
        elif column in REAL:
            frame[column] = pd.to_numeric(frame[column]).astype(float)
        elif column in needed or not pd.api.types.is_numeric_dtype(frame[column]):
            frame[column] = [clean(value) for value in frame[column]]
    return frame


Row = Mapping[str, Any]


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table, each by column name."""
    columns = [frame[name].tolist() for name in frame]
    return [dict(zip(map(str, frame.columns), values, strict=True)) for values in zip(*columns, strict=True)]


CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def clean(value: Any) -> str:
    """A cell as one line of text that all formats hold: control characters become spaces, nothing becomes empty."""
    return "" if value is None or (not isinstance(value, str) and pd.isna(value)) else CONTROL.sub(" ", str(value))


# Words -----------------------------------------------------------------------------------------------------------

ESTIMATORS = {
    "headroom": "h",
    "raw": "Raw asymmetry Δ⁻ − Δ⁺",
    "firmness": "Firmness of errors, θ₀",
}


def metric_label(metric: str, estimator: str = "headroom") -> str:
    """A metric as people read it."""
    if metric == ASYMMETRY:
        return ESTIMATORS.get(estimator, f"Asymmetry, {estimator}")
    return catalog.metric_label(metric)


def unit_words(row: Row) -> str:
    """The units that a row's p, interval and effect sizes count."""
    n, teachers = row["n_units"], row["n_teachers"]
    if pd.isna(n):
        return "no units"
    if row["scope_teachers"] == "recipe":
        return plural(n, "pair of teachers", "pairs of teachers") if n < teachers else plural(n, "teacher")
    return plural(n, "student")


def scope_words(row: Row) -> str:
    """Which teachers and which examples a row speaks of."""
    teacher = row.get("teacher")
    one = "each teacher" if pd.isna(teacher) else f"teacher {teacher} alone"
    teachers = {"recipe": "the recipe", "these": "these teachers", "each": one}
    examples = "on new examples" if row["scope_examples"] == "new" else f"on {row['scope_examples']}"
    return f"{teachers.get(row['scope_teachers'], row['scope_teachers'])}, {examples}"


def plural(n: int, one: str, many: str | None = None) -> str:
    return f"{n} {one if n == 1 else many or one + 's'}"


def listed(words: Sequence[str], last: str = " and ") -> str:
    """Words as a list in a sentence.

    Examples
    --------
    >>> listed(["siddo", "kd-other", "rcd"])
    'siddo, kd-other and rcd'
    """
    return last.join(filter(None, (", ".join(words[:-1]), words[-1]))) if words else ""
