"""A study: one protocol at several values of one of its keys, in an order, and the trends that are claimed over them.

A file with `over` and `values` is a study. All else in it is the protocol; each value gives a protocol of its own, with
its own run directory and report.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError

from kdstats.catalog import CORRECTIONS, METRICS, Block
from kdstats.documents import Document, Mistake, Node, OneOf, mistakes_of, nearest, read_document, shown, validated
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
TEACHER = "teacher"
OWN = ("over", "values", "trends", "correction")


class Trend(Block):
    """A claim over the values of a study, in their order.

    arm minus control, or arm alone; "teacher" is the teachers themselves. stable: within the margin at all values.
    """

    name: Name
    metric: Annotated[str, OneOf((*METRICS, AFFINITY))]
    arm: Text = TEACHER
    control: Text | None = None
    at: dict[str, Any] = Field(default={})
    direction: Literal["increasing", "decreasing", "two-sided", "stable"]
    margin: Annotated[Finite, Field(gt=0)] | None = None


class Head(Block):
    """What a study says beside its protocol."""

    over: Text
    values: Annotated[tuple[Any, ...], Field(strict=False), BeforeValidator(_not_empty)]
    trends: Annotated[tuple[Trend, ...], Field(strict=False), BeforeValidator(_not_empty)]
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
    """

    name: str
    over: str
    values: tuple[str, ...]
    protocols: tuple[Protocol, ...]
    trends: tuple[Trend, ...]
    correction: str
    level: float

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
    mistakes = [mistake for i, trend in enumerate(head.trends) for mistake in _trend_mistakes(i, trend, protocols)]
    if mistakes or document.mistakes:
        raise document.refusal(mistakes)
    name = str(content["name"].content)
    return Study(name, head.over, values, tuple(protocols), head.trends, head.correction, level)


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
    if head.over.split(".")[0] not in Protocol.model_fields or head.over in ("name", "hypotheses", "arms", "level"):
        there = "teacher.model, student.model, recipe.epochs, dataset.train, arms.kd.temperature"
        yield ("over",), f"{shown(head.over)} is no key of a protocol that can vary; such as {there}"
    names = [trend.name for trend in head.trends]
    for i, name in enumerate(names):
        if name in names[:i]:
            yield ("trends", i, "name"), f"a second trend {shown(name)}; names are unique"


def _trend_mistakes(i: int, trend: Trend, protocols: Sequence[Protocol]) -> Iterator[Mistake]:
    arms = [TEACHER, *(arm.name for arm in protocols[0].arms)]
    if any(needs_activations(trend.metric) and protocol.features is None for protocol in protocols):
        yield ("trends", i, "metric"), f"{trend.metric} is made of activations: add `features: penultimate`"
    of_teachers = trend.metric == AFFINITY or trend.arm == TEACHER
    for key in ("arm", "control"):
        name = getattr(trend, key)
        if name is not None and name not in arms:
            yield ("trends", i, key), f"{shown(name)} is no arm here: {', '.join(arms)}{nearest(name, arms)}"
        elif name not in (None, TEACHER):
            counts = {len(points_at(protocol, name, trend.at)) for protocol in protocols}
            if counts != {1}:
                yield (
                    ("trends", i, key),
                    f"{name} has {max(counts)} points here; a trend is of one: add `at`, such as {{alpha: 0.9}}",
                )
    if trend.direction == "stable" and trend.margin is None:
        yield ("trends", i, "direction"), "stable is a claim about a margin: add `margin`, in the metric's own unit"
    if trend.metric == AFFINITY:
        if trend.arm != TEACHER or trend.direction != "stable":
            yield ("trends", i, "metric"), f"{AFFINITY} is of teachers, and claimed to be stable: arm: teacher"
        few = min(len(protocol.teacher.seeds) for protocol in protocols)
        if few < 3:
            needs = "needs three teachers of each capacity, to tell what one adds to its similarities"
            yield ("trends", i, "metric"), f"{AFFINITY} {needs}; here are {few}"
    elif of_teachers and METRICS[trend.metric].against == "teacher":
        yield ("trends", i, "metric"), f"{trend.metric} compares a student with its teacher; name a student's arm"
    if of_teachers and trend.control is not None:
        yield ("trends", i, "control"), "belongs to a student's arm; teachers have none"


def points_at(protocol: Protocol, arm: str, at: Mapping[str, Any]) -> list[Point]:
    """The points of an arm at a setting."""
    points = [point for point in protocol.points if point.arm == arm]
    return [p for p in points if all(dict(p.parameters).get(k, v) == v for k, v in at.items())]
