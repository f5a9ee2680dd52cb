"""From a protocol to replicates with their seeds, and to the smallest p that each hypothesis can reach.

Plain arithmetic: nothing is trained, and neither torch nor a statistics package is imported.
"""

import hashlib
import itertools
import json
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from numpy.random import SeedSequence

from kdstats.catalog import ARMS, INHERITANCE, SWAPPED
from kdstats.errors import UserError
from kdstats.protocol import (
    FEWEST_PAIRS,
    HypothesisPoint,
    Point,
    Protocol,
    grown,
    grows,
    hypothesis_points,
    protocol_hash,
    taught_by,
)

# Part of every ID: raise it whenever a model, objective, target, augmentation or the engine changes numbers.
TRAINING_SEMANTICS = 1

# Hypotheses declared when networks existed are corrected among themselves: they change no verdict declared before.
LATE_FAMILY = "declared after training"
SIGN_FLIP_EXACT, SIGN_FLIP_DRAWS = 40, 99_999  # as in kdstats.stats.sign_flip; a test holds them equal
EXCHANGES = 9_999  # as in kdstats.stats.swap_labels; a test holds them equal


def stream(*names: str | int | None) -> SeedSequence:
    """The seed of one named purpose: sha256 of the names, as a SeedSequence.

    Nothing is drawn in sequence, so a stream depends on its names alone: adding an arm changes no other replicate.

    Parameters
    ----------
    names : protocol seed, role, teacher, student seed (None for a teacher), purpose

    Examples
    --------
    >>> stream(0, "student", 3, 1, "order").entropy == stream(0, "student", 3, 1, "order").entropy
    True
    >>> stream(0, "student", 3, 1, "order").entropy == stream(0, "student", 1, 3, "order").entropy
    False
    """
    digest = hashlib.sha256(json.dumps(names).encode()).digest()
    return SeedSequence(int.from_bytes(digest[:16], "big"))


@dataclass(frozen=True)
class Replicate:
    """One network to train.

    Attributes
    ----------
    id : hash of all that determines its numbers
    teacher : seed of the teacher (its own, for a teacher)
    seed : student seed, None for a teacher
    own, other : IDs of the teacher that it is scored against, and of the network whose targets it gets instead: another
        teacher (kd-other), its twin (tf-kd-self), the generation before (born-again)
    """

    id: str
    role: str
    model: str
    point: Point | None
    teacher: int
    seed: int | None = None
    own: str | None = None
    other: str | None = None

    @property
    def arm(self) -> str:
        return self.point.arm if self.point else "teacher"

    @property
    def kind(self) -> str:
        return self.point.kind if self.point else "teacher"

    @property
    def needs(self) -> tuple[str, ...]:
        """IDs of the networks that must be trained before: of those that teach; a CE student needs none."""
        return (
            tuple(id for id in (self.own, self.other) if id)
            if self.kind in ARMS and ARMS[self.kind].learns_from
            else ()
        )

    def __str__(self) -> str:
        seed = "" if self.seed is None else f", seed {self.seed}"
        return f"{self.point or 'teacher'} (teacher {self.teacher}{seed})" if self.point else f"teacher {self.teacher}"


@dataclass(frozen=True)
class Plan:
    """What a protocol asks for: replicates, teachers first, and hypotheses with their floors."""

    protocol: Protocol
    hash: str
    replicates: tuple[Replicate, ...]
    floors: tuple["Floor", ...]


@dataclass(frozen=True)
class Floor:
    """The smallest p that a hypothesis can reach, before and after its family's correction."""

    hypothesis: HypothesisPoint
    units: int
    smallest_p: float
    smallest_adjusted: float


def make_plan(protocol: Protocol, fingerprint: str, late: Collection[str] = (), size: int | None = None) -> Plan:
    """Replicates and floors of a protocol on data with this fingerprint.

    Parameters
    ----------
    late : names of hypothesis points declared after training, which are a family of their own
    size : teachers, or student seeds, to which the protocol's `stop` has grown it; its hash stays
    """
    now = grown(protocol, size) if size else protocol
    return Plan(now, protocol_hash(protocol), replicates(now, fingerprint), attainable(now, late=late))


def sizes(protocol: Protocol) -> range:
    """The numbers of teachers, or student seeds, at which a protocol looks: one, unless it may stop."""
    now = len(getattr(protocol, role := grows(protocol.hypotheses)).seeds)
    swapped = role == "teacher" and any(swaps_teachers(point.kind) for point in protocol.points)
    return range(now, (protocol.stop.max_seeds if protocol.stop else now) + 1, 2 if swapped else 1)


def replicates(protocol: Protocol, fingerprint: str) -> tuple[Replicate, ...]:
    """Every network of the protocol, teachers first, then students by teacher, seed and arm."""
    shared = {
        "semantics": TRAINING_SEMANTICS,
        "data": fingerprint,
        "recipe": protocol.recipe.plain(),
        "seed": protocol.seed,
    }
    if protocol.features:
        shared["features"] = protocol.features.layer  # what is kept of a network, beside its logits
    teachers = {
        teacher: Replicate(
            _id(shared | {"role": "teacher", "model": protocol.teacher.model, "teacher": teacher}),
            "teacher",
            protocol.teacher.model,
            None,
            teacher,
        )
        for teacher in protocol.teacher.seeds
    }
    partner = partners(protocol)
    students: dict[tuple[int, int, Point], Replicate] = {}

    def student(point: Point, teacher: int, seed: int) -> Replicate:
        if (teacher, seed, point) in students:
            return students[teacher, seed, point]
        own, other = teachers[teacher].id, None
        learns_from = ARMS[point.kind].learns_from
        if learns_from == "other":
            other = teachers[partner[teacher]].id
        elif before := taught_by(point, protocol.points):
            other = student(before, teacher, seed).id
        identity = shared | {
            "role": "student",
            "model": protocol.student.model,
            "kind": point.kind,
            "parameters": dict(point.parameters),
            "initialisation": point.initialisation,
            "own": own,
            "other": other,
            "teacher": teacher,
            "student": seed,
        }
        made = Replicate(_id(identity), "student", protocol.student.model, point, teacher, seed, own, other)
        return students.setdefault((teacher, seed, point), made)

    everyone = itertools.product(protocol.teacher.seeds, protocol.student.seeds, protocol.points)
    return (*teachers.values(), *(student(point, teacher, seed) for teacher, seed, point in everyone))


def teaching(plan: Plan) -> frozenset[str]:
    """IDs of the networks whose weights others ask for: all teachers, and students that teach students."""
    return frozenset(r.id for r in plan.replicates if r.role == "teacher") | {
        r.other for r in plan.replicates if r.other is not None
    }


def _id(identity: dict[str, Any]) -> str:
    text = json.dumps(identity, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def partners(protocol: Protocol) -> dict[int, int]:
    """Disjoint pairs of teachers, in the order listed, that teach each other's kd-other students."""
    seeds = protocol.teacher.seeds
    return {seed: seeds[i ^ 1] for i, seed in enumerate(seeds) if i ^ 1 < len(seeds)}


def clusters(protocol: Protocol) -> dict[int, int]:
    """The unit of a claim about teachers, when teachers are swapped in pairs: the first teacher of each pair."""
    seeds = protocol.teacher.seeds
    return {seed: seeds[i - i % 2] for i, seed in enumerate(seeds)}


# Attainable p ----------------------------------------------------------------------------------------------------


def in_pairs(point: HypothesisPoint) -> bool:
    """Whether a claim about teachers has pairs of teachers as its units: one side is taught by the other teacher."""
    return any(swaps_teachers(side.kind) for side in (point.arm, *point.controls))


def swaps_teachers(kind: str) -> bool:
    """Whether students of this kind are taught by another teacher's pair; of an arm that we do not know, it may be."""
    return kind not in ARMS or ARMS[kind].learns_from == "other"


def units(point: HypothesisPoint, teachers: int, students: int) -> int:
    """The number of independent differences that a hypothesis has, by its scope on teachers.

    W and K are of the students of both arms: at scope these, two a teacher and seed.
    """
    if point.scope_teachers == "recipe":
        return teachers // 2 if in_pairs(point) else teachers
    return students if point.scope_teachers == "each" else teachers * students * taught_alike(point)


def taught_alike(point: HypothesisPoint) -> int:
    """Students that each teacher taught, by one recipe, a seed: W and K count those of its partner's slot with its own.

    Its own students are the arm's; those that it taught in its partner's place are the control's.
    """
    return 2 if point.metric in INHERITANCE else 1


def enough_units(point: HypothesisPoint, teachers: int, students: int) -> bool:
    """Whether a hypothesis can be tested at all on so many teachers and students, whatever its test's floor."""
    if point.scope_teachers == "recipe":
        return point.metric not in SWAPPED or units(point, teachers, students) >= FEWEST_PAIRS
    by_students = point.scope_teachers == "these" and point.test.endswith("-t")
    return not by_students or students * taught_alike(point) >= 2


def smallest_p(test: str, direction: str, n: int) -> float:
    """The smallest p-value that a test of n paired differences can give: 2⁻ⁿ one-sided for exact permutation tests.

    Tests with a t distribution reach any level from two differences on; with fewer, nothing is reached.

    Examples
    --------
    >>> smallest_p("sign-flip", "greater", 5), smallest_p("wilcoxon", "two-sided", 5), smallest_p("paired-t", "less", 2)
    (0.03125, 0.0625, 0.0)
    """
    if n < 2:
        return 1.0
    if test in ("paired-t", "two-way-t"):
        return 0.0
    if test == "anytime":  # each unit less than doubles the e-value, and the first only sets the scale
        n -= 1
    if test == "sign-flip" and n > SIGN_FLIP_EXACT:
        return 1 / (SIGN_FLIP_DRAWS + 1)
    if test == "label-exchange" and 2**n > EXCHANGES + 1:
        return 1 / (EXCHANGES + 1)
    return min(1.0, math.ldexp(2.0 if direction == "two-sided" else 1.0, -n))


def smallest_adjusted(floors: Sequence[float], correction: str) -> list[float]:
    """Adjusted p-values of a family in which every p is at its floor: Holm, Benjamini–Hochberg, Benjamini–Yekutieli.

    Examples
    --------
    >>> smallest_adjusted([2**-5] * 3, "holm")
    [0.09375, 0.09375, 0.09375]
    """
    if correction == "max-t":  # the joint distribution has as many flips as each test
        return list(floors)
    k = len(floors)
    order = sorted(range(k), key=lambda i: floors[i])
    adjusted = [0.0] * k
    if correction == "holm":
        worst = 0.0
        for rank, i in enumerate(order):
            worst = max(worst, (k - rank) * floors[i])
            adjusted[i] = min(1.0, worst)
        return adjusted
    factor = sum(1 / i for i in range(1, k + 1)) if correction == "by" else 1.0
    best = 1.0
    for rank, i in reversed(list(enumerate(order))):
        best = min(best, factor * k * floors[i] / (rank + 1))
        adjusted[i] = best
    return adjusted


def attainable(
    protocol: Protocol, teachers: int | None = None, students: int | None = None, late: Collection[str] = ()
) -> tuple[Floor, ...]:
    """Each hypothesis's floor, with the protocol's numbers of teachers and students or with others.

    Scope "each" is one claim a teacher, and its family grows by them.
    """
    teachers = len(protocol.teacher.seeds) if teachers is None else teachers
    students = len(protocol.student.seeds) if students is None else students
    points = [
        replace(point, family=LATE_FAMILY) if point.name in late else point
        for point in hypothesis_points(protocol)
        for _ in range(teachers if point.scope_teachers == "each" else 1)
    ]  # fmt: skip
    floors: list[Floor] = []
    for family in dict.fromkeys(point.family for point in points):
        members = [point for point in points if point.family == family]
        counts = [units(point, teachers, students) for point in members]
        lowest = [
            smallest_p(point.test, point.direction, n) if enough_units(point, teachers, students) else 1.0
            for point, n in zip(members, counts, strict=True)
        ]
        adjusted = smallest_adjusted(lowest, protocol.correction)
        floors += [Floor(*row) for row in zip(members, counts, lowest, adjusted, strict=True)]
    return tuple({floor.hypothesis.name: floor for floor in floors}.values())


def refuse_unattainable(plan: Plan, late: Collection[str] = ()) -> None:
    """Refuse, before anything trains, a hypothesis whose best possible outcome is not significant.

    Raises
    ------
    UserError
        With the seeds or teachers that would do.
    """
    protocol = grown(plan.protocol, sizes(plan.protocol)[-1])
    floors = attainable(protocol, late=late)
    hopeless = [floor for floor in floors if floor.smallest_adjusted > protocol.level]
    if not hopeless:
        return
    worst = max(hopeless, key=lambda floor: (floor.smallest_adjusted, floor.hypothesis.name))
    point = worst.hypothesis
    teachers, students = len(protocol.teacher.seeds), len(protocol.student.seeds)

    def reached(t: int, s: int) -> bool:
        return all(floor.smallest_adjusted <= protocol.level for floor in attainable(protocol, t, s, late))

    step = 2 if any(ARMS[p.kind].learns_from == "other" for p in protocol.points) else 1
    more_teachers = next((t for t in range(teachers, 201, step) if reached(t, students)), None)
    more_students = next((s for s in range(students, 201) if reached(teachers, s)), None)
    ways = [
        f"{more_teachers} teachers" if more_teachers else "",
        f"{more_students} student seeds" if more_students else "",
    ]
    remedy = " or ".join(way for way in ways if way) or "fewer hypotheses in its family, or another test or scope"
    unit = "pairs of teachers" if point.scope_teachers == "recipe" and in_pairs(point) else {
        "recipe": "teachers", "these": "students", "each": "students a teacher"}[point.scope_teachers]  # fmt: skip
    others = f" (and {len(hopeless) - 1} more)" if len(hopeless) > 1 else ""
    raise UserError(
        f"hypothesis {point.name}{others}: a {point.test} test of {worst.units} {unit} cannot get below"
        f" p = {worst.smallest_p:.3g}, {worst.smallest_adjusted:.3g} after {protocol.correction} in family"
        f" {point.family!r}, so level {protocol.level:g} is out of reach; what would do: {remedy}"
    )
