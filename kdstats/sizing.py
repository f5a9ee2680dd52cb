"""How many teachers and seeds a protocol's hypotheses need, before they are trained: a table, a curve, and the words.

The variance of a difference comes from assumptions or from a pilot run; ``kdstats.stats.planning`` does the arithmetic.
"""

import math
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

import kdstats
from kdstats import inheritance, metrics, scoring, stats, store
from kdstats.catalog import ARMS, ASYMMETRY, AT_A_MARGIN, CORRECTION_NAMES, INHERITANCE
from kdstats.contrasts import Table, tabulate
from kdstats.errors import UserError
from kdstats.plan import clusters, enough_units, in_pairs, make_plan, partners, smallest_p, taught_alike, units
from kdstats.protocol import HypothesisPoint, Point, Protocol, hypothesis_points, protocol_hash
from kdstats.reporting.results import listed, plural, records
from kdstats.reporting.tables import NONE, p_text
from kdstats.reporting.tables import Table as Report
from kdstats.sentences import named, number
from kdstats.stats import planning
from kdstats.stats.planning import MOST, Components, Examples, Power

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PANELS = 12  # of the figure
NOTES = "; "
ENDLESS = 10**6  # students: more than would matter
# A direction as a claim of ``planning.power``, whose effects are positive where they are what is claimed.
CLAIMS = {
    "greater": "greater", "less": "greater", "two-sided": "two-sided", "not-less": "non-inferiority",
    "not-greater": "non-inferiority", "equivalent": "equivalence",
}  # fmt: skip
UPPER = 0.8  # confidence of the upper bound of a pilot's standard deviations
# What simulations gave for θ₀ (methods, section 3): whole worlds, since no spread of units says how its gates fall.
OF_FIRMNESS = (
    "no power is computed for θ₀, whose claim has four conditions. Simulated (its unweighted form, level .05, two"
    " students a teacher in either arm, 10 classes, 100 errors a teacher, errors copied with .7 and right answers with"
    " .5) it is about .32 / .67 / .97 / 1 with 4 / 6 / 10 / 20 teachers, and with 10 teachers of 25 errors each .48. A"
    " correction over several hypotheses lowers these"
)
OF_H = "the asymmetry h, of rules 1, bears no verdict, so it has no power"
OF_GROUPS = "numbers of whole groups have no spread between units, so no power is given: see kdstats plan"
ASK = "--effect (what is worth detecting, in the metric's unit), --teacher-sd and --student-sd, or --pilot RUN"
COLUMNS = (
    "protocol", "protocol_hash", "hypothesis", "metric", "arm", "arm_params", "control", "control_params", "test",
    "direction", "scope_teachers", "scope_examples", "units", "teachers", "students", "declared", "effect", "margin",
    "sd_teacher", "sd_student", "sd_unit", "sd_unit_upper", "sd_examples", "level", "level_after_correction",
    "correction", "power", "mc_error", "power_at_upper_sd", "power_equivalence", "target", "teachers_needed",
    "students_needed", "teachers_needed_at_upper_sd", "students_needed_at_upper_sd", "source", "note", "version",
)  # fmt: skip
WHOLE = (
    "units", "teachers", "students", "teachers_needed", "students_needed", "teachers_needed_at_upper_sd",
    "students_needed_at_upper_sd",
)  # fmt: skip


# What is known of a contrast -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A hypothesis against one of its controls, with what is assumed or known of their difference.

    Attributes
    ----------
    effect : true difference, positive where it is what is claimed; None where nothing says
    components : between teachers, and between a teacher's students; None where nothing says
    sd_examples : of the mean over the examples of a test set; None where it is not known
    sd_residual : of what is left of one unit on one example, which the spread of a unit includes; 0 where unknown
    n_examples : of that test set
    source : assumed, or the pilot
    notes : what a reader must know
    """

    point: HypothesisPoint
    control: Point
    effect: float | None
    components: Components | None
    sd_examples: float | None = None
    sd_residual: float = 0.0
    n_examples: int = 0
    source: str = "assumed"
    notes: tuple[str, ...] = ()

    @property
    def per_unit(self) -> int:
        """Teachers of a unit at scope recipe."""
        return 2 if in_pairs(self.point) else 1


@dataclass(frozen=True)
class Pilot:
    """A run that lends its variances."""

    name: str
    table: Table
    clusters: dict[int, int]
    contrasts: pd.DataFrame
    n_examples: int
    run: Path

    @cached_property
    def networks(self) -> scoring.Networks | None:
        """The pilot's networks, None where only its tables are there."""
        frozen = store.read_frozen(self.run)
        plan = make_plan(frozen.protocol, frozen.fingerprint, frozen.late, store.read_size(self.run))
        root = self.run / "replicates"
        if not any(store.complete(root, replicate.id) for replicate in plan.replicates):
            return None
        return scoring.read_networks(self.run, plan)


def read_pilot(run: Path) -> Pilot:
    """The scores of a run directory, and its contrasts.

    Raises
    ------
    UserError
        Where it is no run directory, or has not been tested.
    """
    frozen = store.read_frozen(run)
    if not (run / "scores.csv").exists() or not (run / "contrasts.csv").exists():
        raise UserError(f"{run}: has no scores yet; `kdstats report {run}` makes them from its networks")
    empty = {"value": [""], "n": [""], "seed": [""], "sem": [""]}
    try:
        scores, contrasts = (
            pd.read_csv(run / name, encoding="utf-8", keep_default_na=False, na_values=empty)
            for name in ("scores.csv", "contrasts.csv")
        )
        return Pilot(
            f"pilot {frozen.protocol.name} {frozen.hash[:12]}",
            tabulate(scores),
            dict(zip(scores["teacher"], scores["cluster"], strict=True)),
            contrasts.astype({"sem": float}),
            int(scores["n"].max()),
            run,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{run}: its scores.csv or contrasts.csv is not what kdstats wrote ({' '.join(str(error).split())});"
            f" `kdstats report {run}` makes them anew"
        ) from None


def cases(
    protocol: Protocol, effect: float | None, teacher_sd: float | None, student_sd: float | None, pilot: Pilot | None
) -> list[Case]:
    """Every hypothesis point against each of its controls."""
    found = []
    for point in hypothesis_points(protocol):
        for control in point.controls:
            if why := _no_power(protocol, point):
                found.append(_noted(Case(point, control, None, None), why))
                continue
            if pilot is not None:
                case = _from_pilot(pilot, point, control)
            else:
                needs_teachers = point.scope_teachers == "recipe"
                if student_sd is None or (needs_teachers and teacher_sd is None):
                    raise UserError(f"hypothesis {point.name}: nothing says how much its differences vary: give {ASK}")
                if student_sd == 0 and not (needs_teachers and teacher_sd):
                    what = "differences that do not vary need no power" if needs_teachers else "it speaks of students"
                    raise UserError(f"hypothesis {point.name}: {what}: give a --student-sd above 0")
                case = Case(point, control, None, planning.assumed_components(teacher_sd or 0.0, student_sd))
                if point.metric in INHERITANCE and needs_teachers:
                    case = _noted(
                        case,
                        "a pair of teachers is taken to vary as the mean of two that vary on their own, each with the"
                        " students that it taught in both arms",
                    )
            if point.metric in INHERITANCE and point.direction != "equivalent":
                case = _noted(case, "supported asks for the same within the true classes, so it may be rarer than this")
            found.append(_with_effect(case, effect))
    return found


def _no_power(protocol: Protocol, point: HypothesisPoint) -> str:
    """Why power is no question of spreads for a hypothesis; empty where it is."""
    if point.metric == ASYMMETRY:
        return OF_FIRMNESS if protocol.rules > 1 else OF_H
    return OF_GROUPS if point.test == "label-exchange" else ""


def _with_effect(case: Case, effect: float | None) -> Case:
    """The true difference that power is computed at: the one given, else the margin, else the pilot's estimate."""
    point = case.point
    if point.direction in AT_A_MARGIN:
        return _noted(replace(case, effect=0.0), "power at a true difference of 0")
    if effect is not None:
        return replace(case, effect=effect)
    if point.margin is not None:
        return _noted(
            replace(case, effect=point.margin),
            "the effect is the margin, the smallest that the protocol does not neglect",
        )
    if case.source == "assumed":
        raise UserError(
            f"hypothesis {point.name} has no margin, so nothing says which effect it is to find: give {ASK}"
        )
    if case.effect is None:
        return case
    return _noted(case, "the effect is the pilot's estimate, uncertain itself: one that matters is better")


def _noted(case: Case, *notes: str) -> Case:
    return replace(case, notes=(*case.notes, *notes))


def _from_pilot(pilot: Pilot, point: HypothesisPoint, control: Point) -> Case:
    """Effect and variance components of a contrast, estimated on the pilot's pairs of students."""
    if point.metric in INHERITANCE:
        return _of_swaps(pilot, point, control)
    pairs = _pairs(pilot, point, control)
    empty = Case(point, control, None, None, source=pilot.name)
    recipe, paired = point.scope_teachers == "recipe", point.scope_teachers == "recipe" and in_pairs(point)
    unit = pairs["teacher"].map(lambda teacher: pilot.clusters.get(teacher, teacher)) if paired else pairs["teacher"]
    if paired:  # a seed's value is the mean of both teachers, or there is none
        pairs = pairs[pairs.groupby([unit, "seed"])["teacher"].transform("size") == 2]
        unit = unit[pairs.index]
    if len(pairs) < 2:
        both = f"{named(*scoring.point_key(point.arm))} and {named(*scoring.point_key(control))}"
        return _noted(empty, f"the pilot has {len(pairs)} pairs of {both}, too few for a variance")
    students = pairs.groupby([unit.rename("unit"), "seed"]).mean()
    by_unit = pairs.groupby(unit.rename("unit")).mean() if recipe else students
    values, of_units = ((means["arm"] - means["control"]).to_numpy(np.float64) for means in (students, by_unit))
    labels = students.index.get_level_values("unit")
    # as if each teacher of a pair varied on its own: the mean of two has half the variance
    components = planning.variance_components(values * math.sqrt(2 if paired else 1), labels)
    sign = -1 if point.direction == "less" else 1
    effect = sign * float(of_units.mean())
    case = Case(
        point, control, abs(effect) if point.direction == "two-sided" else effect, components,
        n_examples=pilot.n_examples, source=pilot.name,
    )  # fmt: skip
    if components.truncated:
        case = _noted(case, "the pilot's variance between teachers was estimated below 0 and is taken as 0")
    if recipe and components.student_sd is None:
        case = _noted(case, "the pilot has one student a teacher: all variance is taken as that of teachers")
    if recipe and components.teacher_sd is None:
        what = "pair of teachers" if paired else "teacher"
        return _noted(empty, f"the pilot has one {what}, which says nothing of the spread between them")
    if not recipe and components.student_sd is None:
        return _noted(empty, "the pilot has one student a teacher, which says nothing of the spread between students")
    if (of_units.std() if recipe else components.ms_student**0.5) <= 1e-12 * np.abs(of_units).max():
        return _noted(empty, "the pilot's differences do not vary, so there is nothing to plan with")
    if point.scope_examples != "new":
        return case
    own = float(of_units.var(ddof=1)) if recipe else components.ms_student
    return _with_examples(case, pilot, own, len(of_units) / (len(set(labels)) if point.scope_teachers == "each" else 1))


def _with_examples(case: Case, pilot: Pilot, variance: float, n_units: float) -> Case:
    """With the share of the pilot's squared standard error that its units do not account for."""
    rows = _rows_of(pilot, case.point, case.control, "new")
    rows = rows[(rows["estimator"] == "mean_difference") & rows["sem"].notna()]
    if rows.empty:
        return case
    rows = rows[rows["kind"] == rows["kind"].min()]  # confirmatory before exploratory
    return _examples_added(case, float((rows["sem"] ** 2).mean()) ** 0.5, variance / n_units)


def _rows_of(pilot: Pilot, point: HypothesisPoint, control: Point, examples: str) -> pd.DataFrame:
    """The pilot's contrasts of a hypothesis with one of its controls, on this test set or on new examples."""
    rows = pilot.contrasts
    keys = (*scoring.point_key(point.arm), *scoring.point_key(control), point.scope_teachers, examples, point.metric)
    columns = ("arm", "arm_params", "control", "control_params", "scope_teachers", "scope_examples", "metric")
    for column, key in zip(columns, keys, strict=True):
        rows = rows[rows[column] == key]
    return rows


def _pairs(pilot: Pilot, point: HypothesisPoint, control: Point) -> pd.DataFrame:
    """A row a pair of students: teacher, seed, and the scores of arm and control."""
    sides = [
        {pair: value for pair, (value, _) in pilot.table.values.get((*scoring.point_key(of), point.metric), {}).items()}
        for of in (point.arm, control)
    ]
    pairs = sorted(sides[0].keys() & sides[1].keys())
    columns = {name: [side[pair] for pair in pairs] for name, side in zip(("arm", "control"), sides, strict=True)}
    frame = pd.DataFrame(columns, dtype=np.float64)
    return frame.assign(teacher=[teacher for teacher, _ in pairs], seed=[seed for _, seed in pairs])


# Students of swapped teachers: W and K


def _of_swaps(pilot: Pilot, point: HypothesisPoint, control: Point) -> Case:
    """Effect and variance components of W or K, from the pilot's networks, or from its contrasts where it has none."""
    networks = pilot.networks
    if networks is None:
        return _of_contrasts(pilot, point, control)
    empty = Case(point, control, None, None, source=pilot.name)
    pairs = _swapped_seeds(networks, point.arm, control)
    recipe = point.scope_teachers == "recipe"
    labels: Any
    try:
        if not pairs:
            raise metrics.UndefinedMetric("no pair of teachers has students of both, of one seed in both arms")
        of = scoring.swapped(networks, point.arm, control, pairs)
        split, g = inheritance.differences(of, point.metric)
        whole = metrics.balanced(g, split.halves)
        if recipe:
            rows, of_teachers = whole.values, None
            values, labels = _by_seed(networks, point, control, pairs, whole)
        else:
            rows, of_teachers = metrics.of_students(*of.arrays, knowledge=point.metric == "inherits_knowledge")
            values, labels = rows.mean(axis=1), of_teachers
    except metrics.UndefinedMetric as reason:
        return _noted(empty, f"the pilot says nothing of {point.metric}: {reason}")
    if recipe and len(whole.weights) < 2:
        return _noted(empty, "the pilot has one pair of teachers, which says nothing of the spread between them")
    components = planning.variance_components(values, labels)
    sign = -1 if point.direction == "less" else 1
    effect = abs(whole.estimate) if point.direction == "two-sided" else sign * whole.estimate
    case = Case(point, control, effect, components, n_examples=len(of.labels), source=pilot.name)
    if split.n_usable < inheritance.FEWEST_SPLIT:
        few = f"the pilot has {split.n_usable} split examples: a claim needs {inheritance.FEWEST_SPLIT}"
        case = _noted(case, few)
    if recipe and components.truncated:
        case = _noted(case, "the pilot's variance between pairs of teachers was estimated below 0 and is taken as 0")
    if recipe and components.student_sd is None:
        case = _noted(case, "the pilot has one student a teacher: all variance is taken as that of teachers")
    elif recipe:
        case = replace(case, components=_of_single_students(components))
    variance = whole.values.mean(axis=1).var(ddof=1) if recipe else components.ms_student
    if variance <= 1e-24:
        return _noted(empty, "the pilot's students of both teachers do not vary, so there is nothing to plan with")
    if point.scope_examples != "new":
        return case
    mean = stats.two_way(rows, of_teachers)
    case = replace(case, sd_residual=float(mean.ms_res) ** 0.5)
    return _examples_added(case, float(mean.standard_error), float(variance) / len(rows))


def _swapped_seeds(networks: scoring.Networks, arm: Point, control: Point) -> list[tuple[int, int]]:
    """(teacher, seed) at which both teachers of a pair, and all four of their students, were trained."""
    protocol = networks.plan.protocol
    partner = partners(protocol)

    def trained(of: Point | None, teacher: int, seed: int | None) -> bool:
        key = (*scoring.point_key(of), teacher, seed)
        return key in networks.by_key and networks.logits(key) is not None

    def there(teacher: int, seed: int) -> bool:
        return trained(None, teacher, None) and trained(arm, teacher, seed) and trained(control, teacher, seed)

    everyone = [(teacher, seed) for teacher in partner for seed in protocol.student.seeds]  # in the protocol's order
    return [(t, seed) for t, seed in everyone if there(t, seed) and there(partner[t], seed)]


def _by_seed(
    networks: scoring.Networks,
    point: HypothesisPoint,
    control: Point,
    pairs: Sequence[tuple[int, int]],
    whole: metrics.Balanced,
) -> tuple[np.ndarray[Any, np.dtype[np.float64]], list[int]]:
    """What each seed of each pair of teachers adds to W or K, as if each teacher varied on its own; and its pair.

    W is linear in the students, so a pair's W is the mean of those of its seeds, W_qs. As the weights h_q differ, what
    varies is W + Q (h_q / Σh) (W_qs − W), the same linearisation that the test takes.
    """
    order = list(dict.fromkeys(clusters(networks.plan.protocol)[teacher] for teacher, _ in pairs))
    weight = dict(zip(order, len(order) * whole.weights / whole.weights.sum(), strict=True))
    values, labels = [], []
    for seed in dict.fromkeys(seed for _, seed in pairs):
        of = scoring.swapped(networks, point.arm, control, [pair for pair in pairs if pair[1] == seed])
        split, g = inheritance.differences(of, point.metric)
        there = [pair for pair in order if (pair, seed) in set(pairs)]
        for pair, found in zip(there, metrics.balanced(g, split.halves).by_pair, strict=True):
            apart = weight[pair] * (found - whole.estimate) if weight[pair] else 0.0
            values.append(math.sqrt(2) * (whole.estimate + apart))
            labels.append(pair)
    return np.array(values), labels


def _of_single_students(c: Components) -> Components:
    """Components of single students, from those of a seed, in which each teacher taught two: one in either arm."""
    assert c.student_sd is not None
    return replace(
        c, student_sd=c.student_sd * math.sqrt(2), ms_student=2 * c.ms_student, ms_teacher=2 * c.ms_teacher,
        students=2 * c.students,
    )  # fmt: skip


def _examples_added(case: Case, sem: float, of_units: float) -> Case:
    """With what new examples add to the squared standard error of the units."""
    rest = sem**2 - of_units
    rest = rest if rest > 1e-9 * sem**2 else 0.0  # what rounding leaves
    added = f"on test sets of {case.n_examples} examples, as the pilot's: what they add no seed reduces"
    return _noted(replace(case, sd_examples=math.sqrt(rest)), added)


def _of_contrasts(pilot: Pilot, point: HypothesisPoint, control: Point) -> Case:
    """Effect and spread of W or K from the pilot's row: its estimate, and its standard error times √units."""
    empty = Case(point, control, None, None, source=pilot.name)
    rows = _rows_of(pilot, point, control, point.scope_examples)
    rows = rows[(rows["estimator"] == inheritance.BALANCED) & rows["sem"].notna() & (rows["n_units"] > 1)]
    if rows.empty:
        return _noted(empty, f"the pilot has neither its networks nor a contrast of {point.metric} at this scope")
    row = rows.sort_values("kind").iloc[0]  # confirmatory before exploratory
    n, variance = int(row["n_units"]), float(row["sem"]) ** 2 * int(row["n_units"])
    sign = -1 if point.direction == "less" else 1
    effect = abs(row["estimate"]) if point.direction == "two-sided" else sign * row["estimate"]
    if point.scope_teachers == "recipe":
        df = float(n - 1)
        components = Components((2 * variance) ** 0.5, None, 2 * variance, 0.0, df, 0.0, 1.0, False)
        what = "all variance is taken as that of pairs of teachers"
    else:
        df = float(n - int(row["n_teachers"]))
        components = Components(None, variance**0.5, variance, variance, 0.0, df, 1.0, False)
        what = "all variance is taken as that of students"
    case = Case(point, control, float(effect), components, n_examples=pilot.n_examples, source=pilot.name)
    if point.scope_examples == "new":
        case, what = replace(case, sd_examples=0.0), f"{what}, that over examples too, which no further unit reduces"
    return _noted(case, f"the pilot's networks are not there, only its tables: {what}")


# Power -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Design:
    """Power of one case by numbers of teachers and students."""

    protocol: Protocol
    case: Case
    seed: int
    confidence: float | None = None
    equivalence: bool = False

    def level(self, teachers: int) -> float:
        """The level of Holm's first step, the hardest: of every claim of the family, or of those with a margin."""
        own = self.case.point
        family = [point for point in hypothesis_points(self.protocol) if point.family == own.family]
        if self.equivalence:
            family = [point for point in family if point.margin is not None]
        claims = sum(teachers if point.scope_teachers == "each" else 1 for point in family)
        dependence = sum(1 / i for i in range(1, claims + 1)) if self.protocol.correction == "by" else 1.0
        return self.protocol.level / (claims * dependence)

    def unit_sd(self, students: int) -> float:
        """Standard deviation between units."""
        c, point = self.case.components, self.case.point
        assert c is not None
        if point.scope_teachers == "recipe":
            taught = students * taught_alike(point)
            return planning.unit_sd(c, taught, self.confidence) / math.sqrt(self.case.per_unit)
        assert c.student_sd is not None
        return c.student_sd if self.confidence is None else planning.student_sd_bound(c, self.confidence)

    def power(self, teachers: int, students: int, as_t: bool = False) -> Power:
        """Power with so many teachers, each with so many students."""
        case, point, c = self.case, self.case.point, self.case.components
        assert case.effect is not None and c is not None
        if not enough_units(point, teachers, students):
            return Power(0.0, 0.0)
        n, sd = units(point, teachers, students), self.unit_sd(students)
        alternative: Any = "equivalence" if self.equivalence else CLAIMS[point.direction]
        margin = None if alternative in ("greater", "two-sided") or point.margin is None else point.margin / sd
        effect = 0.0 if self.equivalence else case.effect / sd
        options: dict[str, Any] = {
            "alternative": alternative, "margin": margin, "level": self.level(teachers), "seed": self.seed,
        }  # fmt: skip
        test: Any = point.test
        if as_t or (test == "two-way-t" and case.sd_examples is None):
            test = "paired-t"
        if not as_t and point.scope_teachers == "these":
            options |= {"strata": teachers, "spread": (c.teacher_sd or 0.0) / sd}
        if test == "two-way-t":
            assert case.sd_examples is not None
            # the test splits what is left of units on examples from the units' own spread, of which some must remain
            own = max(sd**2 - case.sd_residual**2 / case.n_examples, 1e-6 * sd**2) ** 0.5
            left = min(case.sd_residual, sd * math.sqrt(case.n_examples))
            between = case.sd_examples * math.sqrt(case.n_examples)
            options["examples"] = Examples(case.n_examples, between / own, left / own)
            effect *= sd / own
            options["margin"] = None if margin is None else margin * sd / own
        return planning.power(test, n, effect, **options)

    def teachers_needed(self, students: int, target: float) -> int | None:
        """The smallest number of teachers that would do. At scope each they add claims, not units: none."""
        if self.case.point.scope_teachers == "each":
            return None
        swapped = any(ARMS[point.kind].learns_from == "other" for point in self.protocol.points)
        candidates = range(2, MOST + 1, 2) if swapped else range(1, MOST + 1)
        return self._smallest(lambda t: (t, students), candidates, target)

    def students_needed(self, teachers: int, target: float) -> int | None:
        """The smallest number of students of each teacher that would do."""
        return self._smallest(lambda s: (teachers, s), range(1, MOST + 1), target)

    def _smallest(
        self, numbers: Callable[[int], tuple[int, int]], candidates: Sequence[int], target: float
    ) -> int | None:
        def reached(as_t: bool, i: int) -> float:
            return self.power(*numbers(i), as_t=as_t).power

        return planning.smallest(partial(reached, False), candidates, target, partial(reached, True))

    def why_none(self, teachers: int, students: int, target: float) -> Iterator[str]:
        """Why no number of students, or of teachers, would do; nothing where some would."""
        point, level, correction = self.case.point, self.level(teachers), self.protocol.correction
        n = units(point, teachers, students)
        what = "teachers and examples" if point.scope_examples == "new" else "teachers"
        if self.students_needed(teachers, target) is None:
            if point.scope_teachers == "recipe" and smallest_p(point.test, point.direction, n) > level:
                later = f"; where its family's other p-values are small too, {CORRECTION_NAMES[correction]} asks less"
                yield (
                    f"no number of students would do: {n} units cannot reach level {level:.3g}, the hardest step"
                    f"{later if correction in ('bh', 'by') else ''}"
                )
            elif point.scope_teachers == "recipe" and self.power(teachers, ENDLESS).power < target:
                yield f"no number of students would do: with {teachers} teachers, {what} alone vary too much"
            else:
                yield f"no number of students up to {MOST} would do"
        if point.scope_teachers == "each":
            yield "more teachers add claims, not units"
        elif self.teachers_needed(students, target) is None:
            yield f"no number of teachers up to {MOST} would do"


def power_table(
    protocol: Protocol,
    *,
    effect: float | None = None,
    teacher_sd: float | None = None,
    student_sd: float | None = None,
    pilot: Path | None = None,
    target: float = 0.8,
    seed: int = 0,
) -> pd.DataFrame:
    """Power of every hypothesis against each of its controls, over numbers of teachers and students.

    Parameters
    ----------
    effect : float, optional
        True difference between arm and control that is to be found, in the metric's unit; its sign is the claim's.
        Default: the hypothesis's margin, else the pilot's estimate. Claims at a margin have their power at 0.
    teacher_sd, student_sd : float, optional
        Assumed standard deviations of the difference between teachers, and between students of one teacher.
    pilot : Path, optional
        A run directory that they are estimated from instead.
    target : float
        The power that ``teachers_needed`` and ``students_needed`` are for, with the protocol's own number of students
        and of teachers.
    seed : int
        Of the simulations.

    Returns
    -------
    DataFrame
        A row a hypothesis, control, number of teachers and of students. ``units``: what the claim counts. ``effect``,
        ``margin``, ``sd_teacher``, ``sd_student``, ``sd_unit`` (of a unit's difference), ``sd_unit_upper`` (its upper
        80 % bound, of a pilot) and ``sd_examples`` (of the mean over new examples) in the metric's unit.
        ``level_after_correction``: of Holm's first step, level / k, which is conservative (Benjamini–Yekutieli: its
        own). ``power``, ``mc_error`` (its simulation's standard error), ``power_at_upper_sd`` (the
        spread over examples stays as it was estimated), ``power_equivalence`` (TOST at the margin where the true
        difference is 0). ``declared``: the protocol's own numbers. ``source``: assumed, or the pilot's name and hash.
        What cannot be said is empty, and ``note`` says why.

    Raises
    ------
    UserError
        Where neither assumptions nor a pilot say what is needed, or both do; a number out of range; a pilot that
        cannot be read or has none of the contrasts.
    """
    _check(effect, teacher_sd, student_sd, pilot, target)
    found = cases(protocol, effect, teacher_sd, student_sd, read_pilot(pilot) if pilot else None)
    if all(_no_power(protocol, case.point) for case in found):
        why = dict.fromkeys(_no_power(protocol, case.point) for case in found)
        raise UserError(f"no hypothesis has a power to be computed: {NOTES.join(why)}")
    if all(case.effect is None or case.components is None for case in found):
        first = next(case for case in found if not _no_power(protocol, case.point))
        raise UserError(f"{pilot}: is no pilot for this protocol: {first.point.name}: {NOTES.join(first.notes)}")
    if all(case.point.test == "anytime" for case in found):
        raise UserError("an anytime test stops when it has its verdict: there is no number of units to plan")
    rows = [row for case in found for row in _rows(protocol, case, target, seed)]
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    for column in COLUMNS:
        if column in WHOLE:
            frame[column] = frame[column].astype("Int64")
        elif column != "declared" and column not in TEXT:
            frame[column] = frame[column].astype(float)
    return frame


TEXT = {
    "protocol", "protocol_hash", "hypothesis", "metric", "arm", "arm_params", "control", "control_params", "test",
    "direction", "scope_teachers", "scope_examples", "correction", "source", "note", "version",
}  # fmt: skip


def _check(
    effect: float | None, teacher_sd: float | None, student_sd: float | None, pilot: Path | None, target: float
) -> None:
    if pilot is not None and not (teacher_sd is None and student_sd is None):
        raise UserError(
            "--pilot estimates the standard deviations: leave out --teacher-sd and --student-sd, or --pilot"
        )
    if effect is not None and not (math.isfinite(effect) and effect > 0):
        raise UserError(
            f"--effect: {effect:g} is no effect: a size above 0 in the metric's unit; its sign is the claim's"
        )
    for option, sd in (("--teacher-sd", teacher_sd), ("--student-sd", student_sd)):
        if sd is not None and not (math.isfinite(sd) and sd >= 0):
            raise UserError(f"{option}: {sd:g} is no standard deviation: 0 or more, in the metric's unit")
    if not 0 < target < 1:
        raise UserError(f"--target: {target:g} is no power: between 0 and 1, such as 0.8")


def _rows(protocol: Protocol, case: Case, target: float, seed: int) -> Iterator[dict[str, Any]]:
    point, components = case.point, case.components
    (arm, arm_params), (control, control_params) = (scoring.point_key(side) for side in (point.arm, case.control))
    own_teachers, own_students = len(protocol.teacher.seeds), len(protocol.student.seeds)
    design = Design(protocol, case, seed)
    known = case.effect is not None and components is not None and point.test != "anytime"
    upper = Design(protocol, case, seed, UPPER) if known and case.source != "assumed" else None
    both = Design(protocol, case, seed, equivalence=True)
    has_margin = known and point.margin is not None and point.direction not in AT_A_MARGIN
    common: dict[str, Any] = {
        "protocol": protocol.name, "protocol_hash": protocol_hash(protocol), "hypothesis": point.name,
        "metric": point.metric, "arm": arm, "arm_params": arm_params, "control": control,
        "control_params": control_params, "test": point.test, "direction": point.direction,
        "scope_teachers": point.scope_teachers, "scope_examples": point.scope_examples, "effect": case.effect,
        "margin": point.margin, "sd_examples": case.sd_examples, "level": protocol.level,
        "correction": protocol.correction, "target": target, "source": case.source, "version": kdstats.__version__,
    }  # fmt: skip
    notes = list(case.notes)
    if components is not None:
        common |= {"sd_teacher": components.teacher_sd, "sd_student": components.student_sd}
    if point.test == "anytime":
        notes.append("the anytime test has no fixed number of units, so no power is given")
    if known:
        common |= {
            "teachers_needed": design.teachers_needed(own_students, target),
            "students_needed": design.students_needed(own_teachers, target),
        }
        if upper:
            common |= {
                "teachers_needed_at_upper_sd": upper.teachers_needed(own_students, target),
                "students_needed_at_upper_sd": upper.students_needed(own_teachers, target),
            }
        notes += design.why_none(own_teachers, own_students, target)
        if point.scope_examples == "new" and case.sd_examples is None:
            notes.append("an upper bound: it counts seeds alone, and what new examples add no seed reduces")
        if len(point.controls) > 1:
            notes.append("the hypothesis needs every control, so its power is at most the smallest of them")
    common["note"] = NOTES.join(notes)
    for students in _students(own_students):
        for teachers in _teachers(protocol):
            row = common | {
                "units": units(point, teachers, students), "teachers": teachers, "students": students,
                "declared": (teachers, students) == (own_teachers, own_students),
                "level_after_correction": design.level(teachers),
            }  # fmt: skip
            if known:
                now = design.power(teachers, students)
                row |= {"sd_unit": design.unit_sd(students), "power": now.power, "mc_error": now.mc_error}
            if upper:
                row["sd_unit_upper"] = upper.unit_sd(students)
                row["power_at_upper_sd"] = upper.power(teachers, students).power
            if has_margin:
                row["power_equivalence"] = both.power(teachers, students).power
            yield row


def _teachers(protocol: Protocol) -> range:
    """Numbers of teachers around the protocol's own, which is one of them."""
    own = len(protocol.teacher.seeds)
    swapped = any(ARMS[point.kind].learns_from == "other" for point in protocol.points)
    most = min(max(2 * own, 12), max(own, MOST))
    step = math.ceil(most / 16)
    step += step % 2 if swapped else 0
    first = own - (own - 2) // step * step if own > 2 else own
    return range(first, most + 1, step)


def _students(own: int) -> list[int]:
    return sorted({1, own, 2 * own, 4 * own})


# Words, figure and files -----------------------------------------------------------------------------------------


def sentences(table: pd.DataFrame) -> list[str]:
    """What the protocol's own numbers give and what would do, a sentence a hypothesis and control; then the notes."""
    rows = records(table[table["declared"]])
    remarks: dict[str, list[str]] = {}
    for row in rows:
        for note in filter(None, row["note"].split(NOTES)):
            remarks.setdefault(note, []).append(row["hypothesis"])
    return [*map(_sentence, rows), *(f"{note} ({', '.join(dict.fromkeys(of))})" for note, of in remarks.items())]


def _subject(row: Mapping[str, Any]) -> str:
    return f"{row['hypothesis']} against {row['control']}"


def _sentence(row: Mapping[str, Any]) -> str:
    if pd.isna(row["power"]):
        return f"{_subject(row)}: no power."
    bound = ""
    if not pd.isna(row["power_at_upper_sd"]):
        bound = f" ({_power_text(row['power_at_upper_sd'])} at the upper {100 * UPPER:g} % bound of the spread)"
    found = f"power {_power_text(row['power'])}{bound} with {_design(row)}, for {_aim(row)}"
    if not pd.isna(row["power_equivalence"]):
        found += f"; {_power_text(row['power_equivalence'])} to show equivalence where nothing differs"
    ways = [
        plural(row[f"{what}s_needed"], what) + (" each" if what == "student" else "")
        for what in ("teacher", "student")
        if not pd.isna(row[f"{what}s_needed"])
    ]
    return (
        f"{_subject(row)}: {found}; {row['target']:g} from {listed(ways, ' or ')} on."
        if ways
        else f"{_subject(row)}: {found}."
    )


def _design(row: Mapping[str, Any]) -> str:
    return f"{plural(row['teachers'], 'teacher')} × {plural(row['students'], 'student')}"


def _aim(row: Mapping[str, Any]) -> str:
    if row["direction"] in AT_A_MARGIN:
        return f"a margin of {number(row['margin'])}"
    return f"an effect of {number(row['effect'])}"


def power_figure(table: pd.DataFrame) -> "Figure":
    """Power by the number of teachers: a panel a hypothesis, a line a number of students, the target dashed.

    Of several controls the hardest counts. Around the line of the protocol's own number of students reaches a band to
    the power at the upper bound of a pilot's spread; a grey line marks its own number of teachers.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.ticker import MaxNLocator

    from kdstats.reporting.figures import COLUMN, DASHES, GREY, LIGHT, MARKERS, PAGE, style

    panels = _panels(table)
    columns = min(len(panels), 3 if len(panels) != 4 else 2)
    lines = math.ceil(len(panels) / columns)
    own = table[table["declared"]].iloc[0]
    students = sorted(set(table["students"]))
    with style():
        import seaborn as sns

        colours = sns.color_palette("colorblind", 10).as_hex()
        size = (COLUMN if columns == 1 else PAGE, 0.55 + (2.3 if columns == 1 else 1.9) * lines)
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
        for ax, (title, panel) in zip(grid.flat, panels, strict=False):
            ax.axhline(own["target"], color=GREY, linewidth=0.8, linestyle=(0, (4, 2)), zorder=1)
            ax.axvline(own["teachers"], color=LIGHT, linewidth=1.6, zorder=0)
            for i, number_of_students in enumerate(students):
                line = panel[panel["students"] == number_of_students]
                x, y, low = (line[name].to_numpy(float) for name in ("teachers", "power", "power_at_upper_sd"))
                if number_of_students == own["students"] and not np.isnan(low).any():
                    ax.fill_between(x, low, y, color=colours[i], alpha=0.18, linewidth=0, zorder=1)
                ax.plot(
                    x, y, color=colours[i], linestyle=DASHES[i % len(DASHES)], marker=MARKERS[i], markersize=2.6,
                    linewidth=1.1, zorder=3,
                )  # fmt: skip
            ax.set_title("\n".join(textwrap.wrap(title, 34 if columns > 1 else 50)), fontsize="small")
        for ax in list(grid.flat)[len(panels) :]:
            ax.remove()
        for i, ax in enumerate(list(grid.flat)[: len(panels)]):
            if i + columns >= len(panels):
                ax.set_xlabel("Teachers")
                ax.tick_params(labelbottom=True)
        for line in grid:
            line[0].set_ylabel("Power")
        grid[0][0].set_ylim(-0.02, 1.02)
        grid[0][0].set_yticks(np.linspace(0, 1, 6))
        grid[0][0].xaxis.set_major_locator(MaxNLocator(6, integer=True))
        handles = [
            Line2D([], [], color=colours[i], linestyle=DASHES[i % len(DASHES)], marker=MARKERS[i], markersize=2.6)
            for i in range(len(students))
        ]
        labels = [f"{plural(n, 'student')} a teacher" for n in students]
        figure.legend(handles, labels, loc="outside lower center", ncols=2 if columns == 1 else len(students))
    return figure


def _panels(table: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Title and curves of each panel: a hypothesis whose points are all there needs no points in the title."""
    declared: dict[str, set[str]] = {}
    for name in table["hypothesis"]:
        declared.setdefault(name.partition("[")[0], set()).add(name)

    def short(name: str, names: Sequence[str]) -> str:
        base = name.partition("[")[0]
        return base if declared[base] <= set(names) else name

    return [
        (", ".join(dict.fromkeys(short(name, names) for name in names)), curves)
        for names, curves in _curves(table)[:PANELS]
    ]


def _curves(table: pd.DataFrame) -> list[tuple[list[str], pd.DataFrame]]:
    """The lowest power over the controls of each hypothesis; those whose curves are the same go together."""
    found: dict[tuple[float, ...], tuple[list[str], pd.DataFrame]] = {}
    for name, rows in table.dropna(subset=["power"]).groupby("hypothesis", sort=False):
        lowest = rows.groupby(["students", "teachers"])[["power", "power_at_upper_sd"]].min().reset_index()
        key = tuple(lowest[["power", "power_at_upper_sd"]].fillna(-1.0).to_numpy().ravel().tolist())
        found.setdefault(key, ([], lowest))[0].append(str(name))
    return list(found.values())


def write_power(folder: Path, table: pd.DataFrame) -> None:
    """power.csv (all rows), power.md (what the protocol's numbers give, what would do, the grid) and power.svg.

    The same table gives the same bytes.

    Raises
    ------
    UserError
        Where the folder cannot be written.
    """
    from kdstats.reporting.figures import Drawing, render
    from kdstats.reporting.writers import csv_text, markdown

    summary, grid = _summary(table), _grid(table)
    svg, _ = render("power", Drawing(grid.title, _figure_caption(table), power_figure(table)))
    files = {"power.csv": csv_text(summary), "power.md": f"{markdown(summary)}\n{markdown(grid)}", "power.svg": svg}
    with store.disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            store.write_whole(folder / name, text.encode())


def _figure_caption(table: pd.DataFrame) -> str:
    row = table[table["declared"]].iloc[0]
    shown, there = len(_panels(table)), len(_curves(table))
    band = (
        f" Band: to the power at the upper {100 * UPPER:g} % bound of the pilot's spread." if _has_bound(table) else ""
    )
    more = f" The first {shown} of {there} different curves; power.csv has all." if shown < there else ""
    return (
        "Power of each hypothesis at its level after correction, against its hardest control, by the number of teachers"
        f" and of students of each. Dashed: the target, {row['target']:g}. Grey: the protocol's"
        f" {plural(row['teachers'], 'teacher')}, with {plural(row['students'], 'student')} each.{band}{more}"
    )


def _has_bound(table: pd.DataFrame) -> bool:
    return bool(table["power_at_upper_sd"].notna().any())


def _summary(table: pd.DataFrame) -> Report:
    """The protocol's own numbers, and those that would do."""
    rows = records(table[table["declared"]])
    own, bound, equivalence = rows[0], _has_bound(table), table["power_equivalence"].notna().any()

    def needed(row: Mapping[str, Any], what: str) -> str:
        texts = [
            f"over {MOST}" if pd.isna(row[name]) else str(row[name])
            for name in (f"{what}_needed", *([f"{what}_needed_at_upper_sd"] if bound else []))
        ]
        if pd.isna(row["power"]) or (what == "teachers" and row["scope_teachers"] == "each"):
            return NONE
        return f"{texts[0]} ({texts[1]})" if bound else texts[0]

    def spread(row: Mapping[str, Any]) -> str:
        if pd.isna(row["sd_unit"]):
            return NONE
        upper = f" ({number(row['sd_unit_upper'])})" if bound else ""
        examples = f"; {number(row['sd_examples'])} over examples" if not pd.isna(row["sd_examples"]) else ""
        return f"{number(row['sd_unit'])}{upper}{examples}"

    shown = {
        "Hypothesis": [row["hypothesis"] for row in rows],
        "Control": [named(row["control"], row["control_params"]) for row in rows],
        "Test": [row["test"] for row in rows],
        "Units": [str(row["units"]) for row in rows],
        "Effect": [NONE if pd.isna(row["effect"]) else number(row["effect"]) for row in rows],
        "Spread of a unit": list(map(spread, rows)),
        "Level": [p_text(row["level_after_correction"]) for row in rows],
        "Power": [_power_text(row["power"], row["power_at_upper_sd"]) for row in rows],
        **({"Equivalence": [_power_text(row["power_equivalence"]) for row in rows]} if equivalence else {}),
        "Teachers": [needed(row, "teachers") for row in rows],
        "Students": [needed(row, "students") for row in rows],
        "Note": [row["note"] for row in rows],
    }
    caption = (
        f"With {_design(own)}, as the protocol has it, and normal differences. Level: that of the correction's hardest"
        f" step, level / k{' / Σ 1/i' if own['correction'] == 'by' else ''}, so that power is no overstatement."
        f" Teachers, students: the smallest number that reaches {own['target']:g}, while the other stays."
    )
    if bound:
        caption += f" In brackets: at the upper {100 * UPPER:g} % bound of the pilot's spread."
    if equivalence:
        caption += " Equivalence: power to show it where the true difference is 0."
    numeric = ("Units", "Effect", "Level", "Power", "Equivalence", "Teachers", "Students")
    return Report("Power", caption, table, shown, _signature(table), numeric=numeric, prose=("Note",), stub=2)


def _grid(table: pd.DataFrame) -> Report:
    """Power by teachers (columns) and students (rows)."""
    keys = ["hypothesis", "control", "control_params", "students"]
    groups = list(table.dropna(subset=["power"]).groupby(keys, sort=False))
    shown = {
        "Hypothesis": [str(key[0]) for key, _ in groups],
        "Control": [named(str(key[1]), str(key[2])) for key, _ in groups],
        "Students": [str(key[3]) for key, _ in groups],
    }
    for teachers in sorted(set(table["teachers"])):
        cells = [rows[rows["teachers"] == teachers].iloc[0] for _, rows in groups]
        shown[plural(teachers, "teacher")] = [_power_text(cell["power"]) for cell in cells]
    caption = "Power by the number of teachers and of students of each, at the spread as it was estimated or assumed."
    title, numeric = "Power by teachers and students", tuple(shown)[2:]
    return Report(title, caption, table, shown, _signature(table), numeric=numeric, stub=3)


def _power_text(power: float, at_bound: float = math.nan) -> str:
    """Two decimals; 0 and 1 only where they are exact to that."""
    if pd.isna(power):
        return NONE
    text = "> .99" if 0.995 <= power < 1 else "< .01" if 0 < power < 0.005 else f"{power:.2f}"
    return text if pd.isna(at_bound) else f"{text} ({_power_text(at_bound)})"


def _signature(table: pd.DataFrame) -> str:
    own = table.iloc[0]
    return f"protocol {own['protocol_hash'][:12]} · {own['source']} · kdstats {own['version']}"
