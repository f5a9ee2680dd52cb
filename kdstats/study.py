"""A study: one protocol at several values of one of its keys, in an order, and the trends that are claimed over them.

A file with `over` and `values` is a study. All else in it is the protocol; each value gives a protocol of its own, with
its own run directory and report.
"""

import hashlib
import itertools
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError

from kdstats.catalog import CORRECTIONS, METRICS, Block
from kdstats.documents import Document, Mistake, Node, OneOf, mistakes_of, nearest, read_document, shown, validated
from kdstats.plan import clusters, smallest_adjusted, swaps_teachers
from kdstats.protocol import (
    Finite,
    Level,
    Name,
    Point,
    Protocol,
    Text,
    _not_empty,
    needs_activations,
    parameters_text,
    protocol_hash,
)

AFFINITY = "class_affinity"  # of pairs of teachers: how alike their relations between classes are
# of teachers, each at the temperature that gives it the smallest confidence in the true class of them all
MATCHED = {
    "derived_spread_matched": "Spread of wrong-class probabilities at equal confidence, DV",
    "inherent_variance_matched": "Variance among wrong classes at equal confidence, IV",
}
TEACHER = "teacher"
OF_TEST = ("dataset", "dataset.name", "dataset.path", "dataset.split", "dataset.test")  # keys that change the images
OWN = ("over", "values", "trends", "correction")


class Trend(Block):
    """A claim over the values of a study, in their order.

    arm minus control, or arm alone; "teacher" is the teachers themselves. stable: within the margin at all values.
    """

    name: Name
    metric: Annotated[str, OneOf((*METRICS, AFFINITY, *MATCHED))]
    arm: Text = TEACHER
    control: Text | None = None
    at: dict[str, Any] = Field(default={})
    direction: Literal["increasing", "decreasing", "two-sided", "stable"]
    margin: Annotated[Finite, Field(gt=0)] | None = None


class Head(Block):
    """What a study says beside its protocol."""

    over: Text
    values: Annotated[tuple[Any, ...], BeforeValidator(_not_empty)] = Field(
        strict=False, description="a list of the key's values, in their order"
    )
    trends: Annotated[tuple[Trend, ...], BeforeValidator(_not_empty)] = Field(
        strict=False, description="a list of mappings with the keys name, metric and direction"
    )
    correction: Annotated[str, OneOf([name for name in CORRECTIONS if name != "max-t"])] = "holm"
    level: Level = 0.05


@dataclass(frozen=True)
class Study:
    """A study, checked.

    Attributes
    ----------
    values : as text, in the study's order
    protocols : one a value; their level is the study's, shared evenly between them and the trends where they declare
        hypotheses
    level : of the trends
    shared : whether all values have the same teachers
    """

    name: str
    over: str
    values: tuple[str, ...]
    protocols: tuple[Protocol, ...]
    trends: tuple[Trend, ...]
    correction: str
    level: float

    @property
    def shared(self) -> bool:
        return len(set(map(_teachers, self.protocols))) == 1

    @property
    def hash(self) -> str:
        """sha256 of all that the study declares."""
        plain = {
            "name": self.name, "over": self.over, "values": self.values, "correction": self.correction,
            "level": self.level, "protocols": [protocol_hash(protocol) for protocol in self.protocols],
            "trends": sorted((trend.model_dump(mode="json") for trend in self.trends), key=lambda t: t["name"]),
        }  # fmt: skip
        return hashlib.sha256(json.dumps(plain, sort_keys=True, allow_nan=False).encode()).hexdigest()


def study_of(file: Path | str) -> Study | None:
    """The study in a file; None where the file is a protocol.

    Raises
    ------
    UserError
        As ``read_study``.
    """
    content = read_document(file).root.content
    return read_study(file) if isinstance(content, dict) and "over" in content else None


def read_study(file: Path | str) -> Study:
    """Read and check a study.

    Raises
    ------
    UserError
        With every mistake that was found, one a line, as ``read_protocol``.
    """
    document = read_document(file)
    content = document.root.content
    head = validated(
        Head, Document(document.file, Node({k: v for k, v in content.items() if k in Head.model_fields}, 1))
    )
    mistakes = list(_head_mistakes(head))
    if mistakes:
        raise document.refusal(mistakes)
    values = tuple(map(value_text, head.values))
    declares = "hypotheses" in content
    level = head.level / (len(values) + 1) if declares else head.level
    protocols = []
    for value, text in zip(content["values"].content, values, strict=True):
        template = {key: node for key, node in content.items() if key not in OWN}
        name = template.get("name")
        if name is not None and isinstance(name.content, str):
            template["name"] = Node(f"{name.content}-{text}", name.line)
        template["level"] = Node(level, content["over"].line)
        template.setdefault("hypotheses", Node([], content["over"].line))
        root = _with(Node(template, 1), head.over.split("."), value)
        try:
            protocol = Protocol.model_validate(root.plain())
        except ValidationError as error:
            raise document.refusal(mistakes_of(error, Protocol)) from None
        asked = {trend.metric for trend in head.trends} | set(protocol.metrics)
        protocols.append(protocol.model_copy(update={"metrics": tuple(name for name in METRICS if name in asked)}))
    name = str(content["name"].content)
    study = Study(name, head.over, values, tuple(protocols), head.trends, head.correction, level)
    mistakes = list(_study_mistakes(study, content))
    mistakes += [mistake for i, trend in enumerate(head.trends) for mistake in _trend_mistakes(i, trend, study)]
    if mistakes or document.mistakes:
        raise document.refusal(mistakes)
    if mistakes := list(_out_of_reach(study)):
        raise document.refusal(mistakes)
    return study


def value_text(value: Any) -> str:
    """A value as file names and tables print it.

    Examples
    --------
    >>> value_text("wrn-10-1"), value_text(0.1), value_text(300), value_text("torchvision:resnet18")
    ('wrn-10-1', '0.1', '300', 'torchvision-resnet18')
    """
    return re.sub("[^A-Za-z0-9._-]+", "-", value if isinstance(value, str) else parameters_text({"": value})[1:])


def _with(node: Node, path: Sequence[str], value: Node) -> Node:
    """The document with a value at a path."""
    content = dict(node.content) if isinstance(node.content, dict) else {}
    key, *rest = path
    content[key] = _with(content.get(key, Node({}, value.line)), rest, value) if rest else value
    return Node(content, node.line)


def _head_mistakes(head: Head) -> Iterator[Mistake]:
    if len(head.values) < 2:
        yield ("values",), "a ladder of one rung: a trend needs two values or more, in their order"
    texts = list(map(value_text, head.values))  # the names of their folders
    for i, text in enumerate(texts):
        if text in texts[:i]:
            yield ("values", i), f"{shown(head.values[i])} is here twice, as {text}"
    first = head.over.split(".")[0]
    if first not in Protocol.model_fields or first in ("name", "hypotheses", "level") or head.over == "arms":
        there = "teacher.model, student.model, recipe.epochs, dataset.train, arms.kd.temperature"
        yield ("over",), f"{shown(head.over)} is no key of a protocol that can vary; such as {there}"
    names = [trend.name for trend in head.trends]
    for i, name in enumerate(names):
        if name in names[:i]:
            yield ("trends", i, "name"), f"a second trend {shown(name)}; names are unique"


def _teachers(protocol: Protocol) -> frozenset[tuple[Any, ...]]:
    """What tells a protocol's teachers from those of another."""
    trained = (protocol.recipe.model_dump_json(), protocol.dataset.model_dump_json(), protocol.seed, protocol.features)
    return frozenset((protocol.teacher.model, seed, *trained) for seed in protocol.teacher.seeds)


def _study_mistakes(study: Study, content: Mapping[str, Node]) -> Iterator[Mistake]:
    node: Node | None = Node(content, 1)
    for key in study.over.split("."):
        node = node.content.get(key) if node is not None and isinstance(node.content, dict) else None
    if node is not None:
        yield tuple(study.over.split(".")), "is what the study varies: `values` has it, take it out here"
    if any(protocol.stop for protocol in study.protocols):
        yield ("stop",), "a study is looked at once, when all its values are trained: take `stop` out"
    sets = list(map(_teachers, study.protocols))
    if not study.shared and any(a & b for a, b in itertools.combinations(sets, 2)):
        yield ("values",), "some values share some of their teachers: let them share all, or none"


def _trend_mistakes(i: int, trend: Trend, study: Study) -> Iterator[Mistake]:
    protocols = study.protocols
    arms = [TEACHER, *(arm.name for arm in protocols[0].arms)]
    if any(needs_activations(trend.metric) and protocol.features is None for protocol in protocols):
        yield ("trends", i, "metric"), f"{trend.metric} is made of activations: add `features: penultimate`"
    for key in ("arm", "control"):
        name = getattr(trend, key)
        if name is not None and name not in arms:
            yield ("trends", i, key), f"{shown(name)} is no arm here: {', '.join(arms)}{nearest(name, arms)}"
        elif name not in (None, TEACHER):
            counts = {len(points_at(protocol, name, trend.at)) for protocol in protocols}
            if counts != {1}:
                many = f"{name} has {max(counts)} points here; a trend is of one: add `at`, such as {{alpha: 0.9}}"
                none = f"{name} has no point with {parameters_text(trend.at)}"
                yield ("trends", i, key if max(counts) else "at"), many if max(counts) else none
    sides = {trend.arm, trend.control}
    known = {name for protocol in protocols for p in protocol.points if p.arm in sides for name, _ in p.parameters}
    for name in trend.at:
        if name not in known:
            there = ", ".join(sorted(known)) or "none"
            yield ("trends", i, "at", name), f"is no parameter of its arms; there are {there}{nearest(name, known)}"
    if trend.direction == "stable" and trend.margin is None:
        yield ("trends", i, "direction"), "stable is a claim about a margin: add `margin`, in the metric's own unit"
    if trend.direction != "stable" and trend.margin is not None:
        yield ("trends", i, "margin"), f"belongs to `direction: stable`; {trend.direction} has none"
    if trend.control is not None and trend.control in (trend.arm, TEACHER):
        yield ("trends", i, "control"), "a control is another arm of students than the trend's own"
    elif trend.arm == TEACHER and trend.control is not None:
        yield ("trends", i, "control"), "belongs to a student's arm; teachers have none"
    yield from _teacher_mistakes(i, trend, study)


def _teacher_mistakes(i: int, trend: Trend, study: Study) -> Iterator[Mistake]:
    """What is said of teachers is said where they differ."""
    of_teachers = trend.metric in (AFFINITY, *MATCHED)
    if of_teachers and trend.arm != TEACHER:
        yield ("trends", i, "metric"), f"{trend.metric} is of teachers: leave `arm` out"
    elif trend.arm == TEACHER and study.shared:
        said = f"all values of {study.over} have the same teachers, of whom nothing changes: name a student's arm"
        yield ("trends", i, "arm" if "arm" in trend.model_fields_set else "metric"), said
    elif trend.arm == TEACHER and not of_teachers and METRICS[trend.metric].against == "teacher":
        yield ("trends", i, "metric"), f"{trend.metric} compares a student with its teacher; name a student's arm"
    if trend.metric == AFFINITY:
        if trend.direction != "stable":
            yield ("trends", i, "direction"), f"{AFFINITY} is claimed to be stable"
        few = min(len(protocol.teacher.seeds) for protocol in study.protocols)
        if few < 3:
            needs = "needs three teachers of each capacity, to tell what one adds to its similarities"
            yield ("trends", i, "metric"), f"{AFFINITY} {needs}; here are {few}"
        if study.over in OF_TEST:
            yield ("trends", i, "metric"), f"{AFFINITY} compares teachers on the same images; {study.over} changes them"


def in_blocks(study: Study, trend: Trend) -> bool:
    """Whether a value has something in common with the same one of other values, so that they are a block.

    The teacher, where all values have the same; the seeds of students of one number (its initial weights, its images'
    order, all of a CE student), where all values have the same numbers of teachers.
    """
    numbers = {protocol.teacher.seeds for protocol in study.protocols}
    return study.shared or (trend.arm != TEACHER and len(numbers) == 1)


def trend_units(trend: Trend, protocol: Protocol) -> dict[int, int]:
    """The unit of each teacher: itself, or the first of its pair where an arm is taught by the other one."""
    names = [name for name in (trend.arm, trend.control) if name not in (None, TEACHER)]
    kinds = [points_at(protocol, str(name), trend.at)[0].kind for name in names]
    return clusters(protocol) if any(map(swaps_teachers, kinds)) else {seed: seed for seed in protocol.teacher.seeds}


def floor(study: Study, trend: Trend) -> float:
    """The smallest p-value that a trend's test can give, before correction."""
    sizes = [len(set(trend_units(trend, protocol).values())) for protocol in study.protocols]
    if min(sizes) < 2:
        return 1.0
    if trend.direction == "stable":
        return 0.0
    if in_blocks(study, trend):
        orders = math.factorial(len(sizes)) ** sizes[0]
    else:
        orders = math.factorial(sum(sizes)) // math.prod(map(math.factorial, sizes))
    return min(1.0, (2 if trend.direction == "two-sided" else 1) / orders)


def floors(study: Study) -> list[tuple[Trend, float, float]]:
    """Each trend, the smallest p that it can reach, and that after the correction over all trends."""
    lowest = [floor(study, trend) for trend in study.trends]
    return list(zip(study.trends, lowest, smallest_adjusted(lowest, study.correction), strict=True))


def _out_of_reach(study: Study) -> Iterator[Mistake]:
    for i, (_, lowest, adjusted) in enumerate(floors(study)):
        if adjusted > study.level:
            yield (
                ("trends", i),
                f"cannot get below p = {lowest:.3g} with these numbers of teachers, {adjusted:.3g} after"
                f" {study.correction} over {len(study.trends)} trends, so level {study.level:g} is out of reach:"
                " more teachers or values",
            )


def points_at(protocol: Protocol, arm: str, at: Mapping[str, Any]) -> list[Point]:
    """The points of an arm at a setting."""
    points = [point for point in protocol.points if point.arm == arm]
    return [p for p in points if all(dict(p.parameters).get(k, v) == v for k, v in at.items())]
