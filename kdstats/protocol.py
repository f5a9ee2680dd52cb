"""What a person declares before a run: YAML → ``Protocol``, and its hypotheses point by point.

pydantic checks shapes and ranges; what parts of a protocol demand of each other is checked by validators and functions
here. A mistake is a path and a sentence; ``documents`` finds its line.
"""

import hashlib
import itertools
import json
import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import BeforeValidator, Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from kdstats import catalog
from kdstats.catalog import (
    ARMS,
    ASYMMETRY,
    AT_A_MARGIN,
    GROUP_METRICS,
    INHERITANCE,
    METRICS,
    NEED_CLASSES,
    PACED,
    RULES,
    SWAPPED,
    USUAL,
    Block,
    Initialisation,
    Share,
)
from kdstats.documents import (
    Document,
    KeyPath,
    Mistake,
    Mistakes,
    Node,
    OneOf,
    mistakes_of,
    nearest,
    not_allowed,
    raise_mistakes,
    read_document,
    shown,
    validated,
    write_document,
)
from kdstats.errors import UserError

Direction = Literal["greater", "less", "two-sided", "not-less", "not-greater", "equivalent"]
ScopeTeachers = Literal["each", "these", "recipe"]
ScopeExamples = Literal["this test set", "new"]

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
NAME_WORDS = "letters, digits and ._-, at most 64, first a letter or digit; what looks like a number needs quotes"
MOST_POINTS = 1000
MOST_SEEDS = 10_000
SEED_ONLY = (
    "sign-flip",
    "wilcoxon",
    "paired-t",
    "mann-whitney",
    "label-exchange",
    "anytime",
)  # their variation is that over seeds, on one test set
PAIRED = ("sign-flip", "wilcoxon", "paired-t")
NEEDS_ONE_MODEL = "starts students from their teacher's initial weights, which needs one architecture for both"
ALPHA = "alpha is only the teacher's weight, in an arm; the significance level is `level`, at the top"
NEEDED = dict.fromkeys(SWAPPED, ("positive_transfer", "negative_transfer"))  # which tables print beside them
FEWEST_PAIRS = 3  # swapped pairs of teachers that a claim about the recipe needs; as kdstats.metrics.swaps has it
CONTROL_FLOOR = 0.1
OPTIMISER_DEFAULTS: dict[str, dict[str, float]] = {
    "sgd": {"learning_rate": 0.1, "momentum": 0.9, "weight_decay": 5e-4},
    "adamw": {"learning_rate": 1e-3, "weight_decay": 1e-2},
    "adamax": {"learning_rate": 2e-3},
}


# Blocks ----------------------------------------------------------------------------------------------------------


def _repeated(values: Iterable[Any]) -> dict[int, int]:
    """Where values stand that stood before, and where they first did."""
    first: dict[str, int] = {}
    places = {i: first.setdefault(repr(value), i) for i, value in enumerate(values)}
    return {i: before for i, before in places.items() if before < i}


def _seeds(value: Any) -> Any:
    """A number n stands for the seeds 0 to n - 1."""
    if isinstance(value, int) and not isinstance(value, bool) and value <= MOST_SEEDS:
        value = range(value)
    if not isinstance(value, range | list | tuple) or not 1 <= len(value) <= MOST_SEEDS:
        raise PydanticCustomError("seeds", "")
    raise_mistakes(((i,), f"seed {shown(value[i])} is here twice; seeds are distinct") for i in _repeated(value))
    return tuple(value)


def _not_empty(value: Any) -> Any:
    """pydantic's min_length would count the items that are valid, and complain twice."""
    if isinstance(value, list | tuple) and not value:
        raise PydanticCustomError("empty", "")
    return value


Name = Annotated[str, Field(pattern=NAME, description=NAME_WORDS)]
Text = Annotated[str, Field(min_length=1)]
Count = Annotated[int, Field(ge=1)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Level = Annotated[Finite, Field(gt=0, lt=0.5)]
Correction = Annotated[str, OneOf(catalog.CORRECTIONS)]
Seeds = Annotated[
    tuple[Annotated[int, Field(ge=0, lt=2**32)], ...],
    BeforeValidator(_seeds),
    Field(description=f"a number of seeds (1 to {MOST_SEEDS:,}), or a list of distinct whole numbers"),
]


class Dataset(Block):
    """Which data: a name, or a mapping.

    path is that of an npz file, relative to the protocol's file; train and test cut to so many images. held_out: of the
    training images, that no network trains on, for arms that learn from their own mistakes.
    """

    name: Annotated[str, OneOf(catalog.DATASETS)]
    path: str | None = None
    train: Count | None = None
    test: Count | None = None
    held_out: Count | None = None
    split: Literal["test", "validation"] = "test"

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = {"name": value}
        if isinstance(value, dict) and value.get("name") == "digits" and value.get("train") is None:
            value = value | {"train": 300}
        return value

    @model_validator(mode="after")
    def _npz_has_a_path(self) -> "Dataset":
        if self.name == "npz" and self.path is None:
            raise Mistakes(((), "`path` is required: the npz file, relative to the protocol's own folder"))
        if self.name != "npz" and self.path is not None:
            raise Mistakes((("path",), "belongs to dataset npz; other datasets are found in --data-dir"))
        if self.path is not None and not (self.path and self.path.isprintable()):
            raise Mistakes((("path",), f"{shown(self.path)} is not allowed: the path of an npz file"))
        return self


def _architecture(name: Any) -> Any:
    library, _, theirs = name.partition(":") if isinstance(name, str) else ("", "", "")
    if not isinstance(name, str) or not (catalog.model(name) or (theirs and library in catalog.LIBRARIES)):
        raise Mistakes(((), not_allowed(name, [*catalog.OURS, "torchvision:NAME", "timm:NAME"])))
    return name


Architecture = Annotated[str, BeforeValidator(_architecture)]


class Role(Block):
    """The networks of one role: an architecture and the seeds of its replicates."""

    model: Architecture
    seeds: Seeds


class Recipe(Block):
    """How every network is trained.

    learning_rate, momentum and weight_decay default to their optimiser's in ``OPTIMISER_DEFAULTS``. What stands at the
    end is off by default: label_smoothing is ε of (1 - ε) onehot + ε / C; clip_norm the largest norm of a gradient;
    ema the decay, a step, of the averaged weights that are then the network; mixup and cutmix the α of Beta(α, α).
    """

    optimiser: Annotated[str, OneOf(catalog.OPTIMISERS)] = "adamw"
    learning_rate: Annotated[Finite, Field(gt=0)] = 1e-3
    momentum: Annotated[Finite, Field(ge=0, lt=1)] = 0.0
    nesterov: bool = False
    weight_decay: Annotated[Finite, Field(ge=0)] = 0.0
    schedule: Annotated[str, OneOf(catalog.SCHEDULES)] = "cosine"
    warmup_epochs: Annotated[int, Field(ge=0)] = 0
    milestones: Annotated[tuple[Count, ...], Field(strict=False, description="a list of epochs")] = ()
    epochs: Count = 30
    batch_size: Count = 32
    augmentation: Annotated[str, OneOf(catalog.AUGMENTATIONS)] = "none"
    precision: Annotated[str, OneOf(catalog.PRECISIONS)] = "float32"
    label_smoothing: Annotated[Finite, Field(gt=0, lt=1)] | None = None
    clip_norm: Annotated[Finite, Field(gt=0)] | None = None
    ema: Annotated[Finite, Field(gt=0, lt=1)] | None = None
    mixup: Annotated[Finite, Field(gt=0)] | None = None
    cutmix: Annotated[Finite, Field(gt=0)] | None = None

    @property
    def mixes(self) -> bool:
        """Whether images of a batch are mixed with each other."""
        return self.mixup is not None or self.cutmix is not None

    @property
    def same_views(self) -> bool:
        """Whether every epoch shows the plain training images."""
        return self.augmentation == "none" and not self.mixes

    def plain(self) -> dict[str, Any]:
        """As plain data, without what is off: a recipe that could not name it yet has the same hash."""
        return self.model_dump(mode="json", exclude_none=True)

    @model_validator(mode="before")
    @classmethod
    def _optimiser_defaults(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return OPTIMISER_DEFAULTS.get(str(value.get("optimiser", "adamw")), {}) | value

    @model_validator(mode="after")
    def _fits_together(self) -> "Recipe":
        raise_mistakes(self._misfits())
        return self

    def _misfits(self) -> Iterator[Mistake]:
        for key in ("momentum", "nesterov"):
            if getattr(self, key) and self.optimiser != "sgd":
                yield (key,), f"belongs to optimiser sgd, not {self.optimiser}"
        if self.nesterov and self.optimiser == "sgd" and not self.momentum:
            yield ("nesterov",), "needs a momentum above 0"
        if self.milestones and self.schedule != "multi-step":
            yield ("milestones",), f"belong to schedule multi-step, not {self.schedule}"
        if self.schedule == "multi-step" and not self.milestones:
            yield ("schedule",), "multi-step needs `milestones`: epochs after which the learning rate falls to a tenth"
        if any(b <= a for a, b in itertools.pairwise(self.milestones)):
            yield ("milestones",), "must increase"
        if self.milestones and max(self.milestones) >= self.epochs:
            yield ("milestones",), f"must lie below epochs ({self.epochs})"
        if self.warmup_epochs and self.schedule == "one-cycle":
            yield ("warmup_epochs",), "belong to the other schedules: one-cycle has its own warm-up"
        if self.warmup_epochs >= self.epochs:
            yield ("warmup_epochs",), f"{self.warmup_epochs} must lie below epochs ({self.epochs})"


class Stop(Block):
    """When training ends before all seeds are there: as soon as every hypothesis has its verdict.

    max_seeds counts teachers where a hypothesis speaks of the recipe, else student seeds.
    """

    rule: Literal["anytime"]
    max_seeds: Annotated[int, Field(ge=2, le=MOST_SEEDS)]


# Arms ------------------------------------------------------------------------------------------------------------

Parameters = tuple[tuple[str, Any], ...]


def parameters_text(parameters: Mapping[str, Any] | Parameters) -> str:
    """Parameters as every table prints them: sorted by name, numbers to six digits.

    Examples
    --------
    >>> parameters_text({"temperature": 4.0, "alpha": 0.5, "redraw": False})
    'alpha=0.5 redraw=false temperature=4'
    """

    def text(value: Any) -> str:
        if isinstance(value, bool):
            return str(value).lower()
        return f"{value:g}" if isinstance(value, int | float) else str(value)

    return " ".join(f"{name}={text(value)}" for name, value in sorted(dict(parameters).items()))


@dataclass(frozen=True)
class Point:
    """An arm at one setting of its parameters.

    Attributes
    ----------
    arm : name in the protocol
    kind : one of ``kdstats.catalog.ARMS``
    parameters : (name, value), sorted by name, defaults included
    initialisation : teacher or fresh
    """

    arm: str
    kind: str
    parameters: Parameters
    initialisation: str

    def __str__(self) -> str:
        return f"{self.arm}[{parameters_text(self.parameters)}]" if self.parameters else self.arm


class Arm(Block):
    """A way to make a student: kind, initialisation, and the values that each parameter takes."""

    name: str
    kind: str
    initialisation: Initialisation
    parameters: tuple[tuple[str, tuple[Any, ...]], ...]

    @property
    def points(self) -> tuple[Point, ...]:
        """The product over all swept parameters."""
        names = [name for name, _ in self.parameters]
        settings = itertools.product(*(values for _, values in self.parameters))
        return tuple(
            Point(self.name, self.kind, tuple(zip(names, setting, strict=True)), self.initialisation)
            for setting in settings
        )


def _named_arms(value: Any) -> list[tuple[KeyPath, str, Any]]:
    """Arms as (path, name, settings), from a mapping or from a list of names and of mappings with one key."""
    if isinstance(value, dict) and value:
        return [((name,), name, settings) for name, settings in value.items()]
    if not isinstance(value, list | tuple) or not value:
        raise PydanticCustomError("arms", "")
    named: list[tuple[KeyPath, str, Any]] = []
    for i, item in enumerate(value):
        name, settings = next(iter(item.items())) if isinstance(item, dict) and len(item) == 1 else (item, None)
        if not isinstance(name, str):
            raise Mistakes(((i,), f"{shown(name)} is not allowed: the name of an arm, or a mapping with one arm"))
        named.append(((i,) if settings is None else (i, name), name, settings))
    raise_mistakes(
        ((i,), f"a second arm {shown(named[i][1])}; names are unique") for i in _repeated(name for _, name, _ in named)
    )
    return named


def _read_arm(name: str, settings: Any, default: Initialisation) -> Arm:
    """One arm from its settings; each list is a sweep."""
    if name == "teacher":
        raise Mistakes(((), "the name teacher is reserved: teachers are trained anyway"))
    if not re.fullmatch(NAME, name):
        raise Mistakes(((), f"{shown(name)} is no name for an arm: {NAME_WORDS}"))
    settings = {} if settings is None else settings
    if not isinstance(settings, dict):
        raise Mistakes(((), f"{shown(settings)} is not allowed: a mapping with the arm's parameters, or nothing"))
    kind = settings.get("kind", name)
    if not isinstance(kind, str) or kind not in ARMS:
        if "kind" in settings:
            raise Mistakes((("kind",), not_allowed(kind, ARMS)))
        raise Mistakes(((), f"is no kind of arm, so it needs `kind`: {', '.join(ARMS)}{nearest(kind, ARMS)}"))
    given, fixed = settings.get("initialisation"), ARMS[kind].initialisation
    found: list[Mistake] = []
    if given not in (None, *get_args(Initialisation)):
        found.append((("initialisation",), not_allowed(given, get_args(Initialisation))))
    elif fixed and given not in (None, fixed):
        found.append((("initialisation",), f"{kind} always has {fixed}; an arm with {given} needs another kind"))
    parameters: tuple[tuple[str, tuple[Any, ...]], ...] = ()
    try:
        parameters = _sweep(kind, {key: v for key, v in settings.items() if key not in ("kind", "initialisation")})
    except Mistakes as mistakes:
        found += mistakes.found
    raise_mistakes(found)
    return Arm(name=name, kind=kind, initialisation=fixed or given or default, parameters=parameters)


def _sweep(kind: str, settings: dict[str, Any]) -> tuple[tuple[str, tuple[Any, ...]], ...]:
    """The values of each parameter, checked at every point of the sweep."""
    block = ARMS[kind].parameters
    swept = {name: values for name, values in settings.items() if isinstance(values, list | tuple)}
    raise_mistakes(
        ((name,), "an empty list; a sweep has at least one value") for name, values in swept.items() if not values
    )
    if math.prod(map(len, swept.values())) > MOST_POINTS:
        raise Mistakes(((), f"a sweep of more than {MOST_POINTS:,} points"))
    found: list[Mistake] = []
    points = []
    for indices in itertools.product(*(range(len(values)) for values in swept.values())):
        at = dict(zip(swept, indices, strict=True))
        try:
            point = block.model_validate(settings | {name: swept[name][i] for name, i in at.items()})
        except ValidationError as error:
            for path, sentence in mistakes_of(error, block, also=("kind", "initialisation")):
                in_sweep = path and path[0] in at and path[0] in block.model_fields
                found.append(((path[0], at[str(path[0])]) if in_sweep else path, sentence))
        else:
            points.append({name: _unsigned(value) for name, value in point.model_dump().items()})
    raise_mistakes(dict.fromkeys(found))
    values = {name: tuple(dict.fromkeys(point[name] for point in points)) for name in sorted(block.model_fields)}
    raise_mistakes(
        ((name,), "a value is here twice (to the six digits that tables print)")
        for name in swept
        if len({parameters_text({name: value}) for value in values[name]}) < len(swept[name])
    )
    return tuple(values.items())


def _unsigned(value: Any) -> Any:
    return value + 0.0 if isinstance(value, float) else value


class Features(Block):
    """Which activations of every network are kept, and how they are joined to features.

    layer is `penultimate`, what goes into the last linear layer, or a module's name. threshold is the |correlation|
    from which on components of two networks are one feature, where it is not the mode's.
    """

    layer: Text = "penultimate"
    components: Annotated[int, Field(ge=2)] = 50
    mode: Annotated[str, OneOf(catalog.FEATURE_MODES)] = "robust"
    threshold: Share | None = None

    @model_validator(mode="before")
    @classmethod
    def _layer_alone(cls, value: Any) -> Any:
        return {"layer": value} if isinstance(value, str) else value


# Hypotheses ------------------------------------------------------------------------------------------------------


class Scope(Block):
    """What a hypothesis speaks of: which teachers, and which examples."""

    teachers: ScopeTeachers
    examples: ScopeExamples


class Hypothesis(Block):
    """A contrast of an arm with its controls, with all that is fixed before the run.

    The default of scope.examples is the metric's, and that of test follows from it.
    """

    HINTS: ClassVar[dict[str, str]] = {"alpha": ALPHA}
    OF_GROUPS: ClassVar[Collection[str]] = GROUP_METRICS  # metrics that no single network has

    name: Name
    metric: Annotated[str, OneOf((*METRICS, *SWAPPED, *GROUP_METRICS))]
    arm: Text
    controls: Annotated[
        tuple[Text, ...], Field(strict=False, description="an arm, or a list of arms"), BeforeValidator(_not_empty)
    ]
    direction: Direction
    scope: Annotated[Scope, Field(description="recipe, these, each; or a mapping with the keys teachers, examples")]
    test: Annotated[str, OneOf(catalog.TESTS)]
    margin: Annotated[Finite, Field(gt=0)] | None = None
    family: Name = "confirmatory"

    @model_validator(mode="before")
    @classmethod
    def _defaults(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        value = dict(value)
        if "control" in value:
            if "controls" in value:
                raise Mistakes((("control",), "`control` and `controls` are two spellings of one key; give one"))
            value["controls"] = value.pop("control")
        controls, metric, scope = value.get("controls"), value.get("metric"), value.get("scope", {})
        if isinstance(controls, str):
            controls = value["controls"] = [controls]
        if isinstance(scope, str):
            scope = {"teachers": scope}
        if isinstance(scope, dict):
            known = METRICS.get(metric) if isinstance(metric, str) else None
            examples = known.examples if known else "new" if metric in SWAPPED else "this test set"
            scope = {"teachers": "recipe", "examples": examples} | scope
            if isinstance(scope["examples"], str):
                scope["examples"] = re.sub("[-_]", " ", scope["examples"])
            value["scope"] = scope
            usual = "label-exchange" if isinstance(metric, str) and metric in cls.OF_GROUPS else "sign-flip"
            value.setdefault("test", "two-way-t" if scope["examples"] == "new" else usual)
        if value.get("name") is None:
            against = "-".join(map(str, controls)) if isinstance(controls, list | tuple) else "nothing"
            value["name"] = _default_name(f"{metric}-{value.get('arm')}-vs-{against}")
        return value

    def _group_misfits(self) -> Iterator[Mistake]:
        of_groups = f"{self.metric} belongs to all students of an arm together"
        if self.test == "anytime":
            yield ("metric",), f"{of_groups}, of which no test holds at every look: leave it out, or `stop`"
        elif self.scope.examples == "new":
            yield ("scope", "examples"), f"{of_groups}, on this test set: what it would be on new images is not known"
        elif self.test != "label-exchange":
            yield ("test",), f"{of_groups}, so its test is label-exchange: leave `test` out"
        if self.direction in AT_A_MARGIN or self.margin is not None:
            where = "margin" if self.margin is not None else "direction"
            yield (where,), f"{of_groups} and has no interval: it is greater, less or two-sided, without a margin"
        if self.family == "exploratory":
            yield ("family",), "exploratory is the family of what nobody declared; choose another name"

    @model_validator(mode="after")
    def _fits_together(self) -> "Hypothesis":
        raise_mistakes(self._misfits())
        return self

    def _misfits(self) -> Iterator[Mistake]:
        for i, control in enumerate(self.controls):
            if control == self.arm:
                yield ("controls", i), f"{shown(control)} is the arm itself; a control is another arm"
        for i in _repeated(self.controls):
            yield ("controls", i), f"{shown(self.controls[i])} is here twice"
        new = self.scope.examples == "new"
        if self.metric in self.OF_GROUPS:
            yield from self._group_misfits()
            return
        if self.test == "label-exchange":
            yield ("test",), f"label-exchange tests what belongs to a group: {', '.join(GROUP_METRICS)}"
        if new and self.test in SEED_ONLY:
            yield (
                ("test",),
                f"{self.test} counts the variation over seeds alone, so it speaks of this test set; for new examples"
                " take two-way-t, or set scope.examples to: this test set",
            )
        if not new and self.test == "two-way-t":
            yield (
                ("test",),
                "two-way-t counts the variation over examples too, so it speaks of new ones; for this test set take"
                f" {', '.join(SEED_ONLY)}, or set scope.examples to: new",
            )
        if new and self.metric in METRICS and not METRICS[self.metric].per_example:
            having = ", ".join(name for name, metric in METRICS.items() if metric.per_example)
            yield (
                ("scope", "examples"),
                f"{self.metric} has no values per example, so it says nothing of new ones; metrics that have: {having}",
            )
        if self.direction in AT_A_MARGIN and self.margin is None:
            yield ("direction",), f"{self.direction} is a claim about a margin: add `margin`, in the metric's own unit"
        if self.family == "exploratory":
            yield ("family",), "exploratory is the family of what nobody declared; choose another name"


def _default_name(text: str) -> str:
    """A valid name from METRIC-ARM-vs-CONTROLS; what is too long ends in a hash."""
    name = re.sub("[^A-Za-z0-9._-]+", "-", text).lstrip("._-")
    return name if len(name) <= 64 else f"{name[:55]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _duplicates(hypotheses: Sequence[Hypothesis]) -> Iterator[Mistake]:
    for i in _repeated(h.name for h in hypotheses):
        yield (i,), f"a second hypothesis {shown(hypotheses[i].name)}; give each a `name` of its own"
    claims = [(h.metric, h.arm, sorted(h.controls), h.direction, h.scope, h.test, h.margin) for h in hypotheses]
    for i, first in _repeated(claims).items():
        yield (i,), f"claims the same as {hypotheses[first].name}; a claim is counted once"


@dataclass(frozen=True)
class HypothesisPoint:
    """A hypothesis at one point of its arm.

    Attributes
    ----------
    name : the hypothesis's, with the swept parameters of the arm: ``kd-agrees[alpha=0.5]``
    hypothesis : the name as declared
    controls : every point of every control that stands at the same point
    """

    name: str
    hypothesis: str
    metric: str
    arm: Point
    controls: tuple[Point, ...]
    direction: Direction
    scope_teachers: str
    scope_examples: str
    test: str
    margin: float | None
    family: str


def same_point(one: Point, other: Point) -> bool:
    """Whether two arms with one loss, so with parameters of one meaning, stand where all that they share is equal."""
    mine, theirs = dict(one.parameters), dict(other.parameters)
    return _one_loss(one, other) and all(mine[name] == theirs[name] for name in mine.keys() & theirs.keys())


def _one_loss(one: Point, other: Point) -> bool:
    """Of arms that we do not know we suppose it."""
    kinds = [point.kind for point in (one, other)]
    return any(kind not in ARMS for kind in kinds) or len({ARMS[kind].objective for kind in kinds}) == 1


def taught_by(point: Point, points: Iterable[Point]) -> Point | None:
    """The point whose student teaches this one's, of the same teacher and seed: its twin, or the generation before."""
    learns_from, parameters = ARMS[point.kind].learns_from, dict(point.parameters)
    if learns_from == "twin":
        same = (p for p in points if ARMS[p.kind].plain and p.initialisation == point.initialisation)
        return next(same, None)
    if learns_from == "generation" and parameters["generation"] > 1:
        before = tuple(sorted((parameters | {"generation": parameters["generation"] - 1}).items()))
        return next((p for p in points if p.arm == point.arm and p.parameters == before), None)
    return None


def expand(hypothesis: Hypothesis, points: Sequence[Point]) -> tuple[HypothesisPoint, ...]:
    """A hypothesis point by point of its arm, with the controls at the same point.

    A control stands at the same point where all parameters are equal that both kinds have; of two arms of one kind,
    those that either sweeps (the others are what the arms differ in); of two with different losses, whose parameters
    mean different things, those that both sweep. A control without them stands everywhere; a control with several
    settings left counts as several.

    Raises
    ------
    ValueError
        An absent arm or control, unequal initialisation, or a point without a control.
    """
    there: dict[str, list[Point]] = {}
    for point in points:
        there.setdefault(point.arm, []).append(point)
    named: list[tuple[KeyPath, str]] = [(("arm",), hypothesis.arm)]
    named += [(("controls", i), control) for i, control in enumerate(hypothesis.controls)]
    raise_mistakes(
        (path, f"{shown(name)} is no arm here: {', '.join(there)}{nearest(name, there)}")
        for path, name in named
        if name not in there
    )
    mine = there[hypothesis.arm]
    pairable = [arm for arm, theirs in there.items() if theirs[0].initialisation == mine[0].initialisation]
    found: list[Mistake] = []
    controls: dict[Point, list[Point]] = {point: [] for point in mine}
    for path, name in named[1:]:
        theirs = there[name]
        if name not in pairable:
            others = ", ".join(arm for arm in pairable if arm != hypothesis.arm) or "none of the arms here"
            sentence = (
                f"{hypothesis.arm} has initialisation {mine[0].initialisation}, {name} has {theirs[0].initialisation}:"
                f" such arms are not paired; with {hypothesis.arm} pair: {others}"
            )
            found.append((path, sentence))
            continue
        shared = _parameters(mine) & _parameters(theirs)
        if theirs[0].kind == mine[0].kind:
            shared &= _swept(mine) | _swept(theirs)
        elif not _one_loss(mine[0], theirs[0]):
            shared &= _swept(mine) & _swept(theirs)
        by_setting: dict[Parameters, list[Point]] = {}
        for control in theirs:
            by_setting.setdefault(_setting(control, shared), []).append(control)
        for point in mine:
            controls[point] += by_setting.get(_setting(point, shared), [])
        alone = [at for at in dict.fromkeys(_setting(point, shared) for point in mine) if at not in by_setting]
        if alone:
            sentence = (
                f"{name} has no point at {_listed(alone)}, where {hypothesis.arm} has one; it has {_listed(by_setting)}"
            )
            found.append((path, sentence))
    raise_mistakes(found)
    swept, h = _swept(mine), hypothesis
    fixed = (h.direction, h.scope.teachers, h.scope.examples, h.test, h.margin, h.family)
    names = {point: f"{h.name}[{parameters_text(_setting(point, swept))}]" if swept else h.name for point in mine}
    return tuple(
        HypothesisPoint(names[point], h.name, h.metric, point, tuple(controls[point]), *fixed) for point in mine
    )


def _listed(settings: Collection[Parameters]) -> str:
    texts = [parameters_text(setting) for setting in itertools.islice(settings, 8)]
    return "; ".join([*texts, *(["…"] if len(settings) > 8 else [])])


def _parameters(points: Sequence[Point]) -> set[str]:
    return {name for point in points for name, _ in point.parameters}


def _swept(points: Sequence[Point]) -> set[str]:
    return {name for name in _parameters(points) if len({dict(point.parameters).get(name) for point in points}) > 1}


def _setting(point: Point, names: set[str]) -> Parameters:
    return tuple((name, value) for name, value in point.parameters if name in names)


# Protocol --------------------------------------------------------------------------------------------------------


class Protocol(Block):
    """Everything that is fixed before a run.

    Examples
    --------
    >>> protocol = Protocol.model_validate({
    ...     "name": "example", "dataset": "digits", "arms": {"siddo": None, "kd": {"alpha": [0.1, 0.9]}},
    ...     "hypotheses": [{"metric": "agreement", "arm": "kd", "control": "siddo", "direction": "greater"}]})
    >>> [str(point) for point in protocol.points]
    ['siddo', 'kd[alpha=0.1 temperature=4]', 'kd[alpha=0.9 temperature=4]']
    >>> [point.name for point in hypothesis_points(protocol)]
    ['agreement-kd-vs-siddo[alpha=0.1]', 'agreement-kd-vs-siddo[alpha=0.9]']
    """

    HINTS: ClassVar[dict[str, str]] = {"alpha": ALPHA}

    name: Name
    seed: Annotated[int, Field(ge=0)] = 0
    dataset: Annotated[
        Dataset, Field(description=f"{', '.join(catalog.DATASETS)}, or a mapping with name, path, train, test, split")
    ]
    teacher: Role = Field(default={}, validate_default=True)
    student: Role = Field(default={}, validate_default=True)
    initialisation: Initialisation = Field(default=None, validate_default=True)
    recipe: Recipe = Recipe()
    arms: Annotated[
        tuple[Arm, ...],
        Field(description=f"a mapping of arms ({', '.join(ARMS)}) to their parameters, or a list of them"),
    ]
    features: Annotated[
        Features | None, Field(description="the layer whose activations are kept; or layer, components, mode")
    ] = None
    stop: Stop | None = None
    rules: Annotated[int, Field(ge=1, le=RULES, description=f"the edition of the verdict rules, 1 to {RULES}")] = RULES
    hypotheses: Annotated[
        tuple[Hypothesis, ...],
        Field(strict=False, description="a list of hypotheses; [] where there are none and all is exploratory"),
    ]
    ladder: Annotated[
        tuple[Text, ...] | None,
        Field(strict=False, description="a list of two or more arms, from the plain control up"),
        BeforeValidator(_not_empty),
    ] = None
    metrics: Annotated[
        tuple[Annotated[str, OneOf(METRICS)], ...],
        Field(strict=False, description="a list of metrics", validate_default=True),
    ] = USUAL
    level: Level = 0.05
    correction: Correction = "holm"
    control_floor: Annotated[
        Share, Field(description="how far below the plain control's accuracy a control may lie and still decide")
    ] = CONTROL_FLOOR

    @field_validator("correction", mode="after")
    @classmethod
    def _correction_fits(cls, correction: str, info: ValidationInfo) -> str:
        raise_mistakes(_correction_misfits(correction, info.data.get("hypotheses", ()), info))
        return correction

    @property
    def points(self) -> tuple[Point, ...]:
        """Every arm at every setting, in the order of the file."""
        return tuple(point for arm in self.arms for point in arm.points)

    # Fields are validated in their order, so each may look at those above; one that failed is not in ``info.data``.

    @field_validator("teacher", mode="before")
    @classmethod
    def _teacher_defaults(cls, value: Any) -> Any:
        return {"model": "cnn", "seeds": 10} | value if isinstance(value, dict) else value

    @field_validator("student", mode="before")
    @classmethod
    def _student_defaults(cls, value: Any, info: ValidationInfo) -> Any:
        model = info.data["teacher"].model if "teacher" in info.data else "cnn"
        return {"model": model, "seeds": 2} | value if isinstance(value, dict) else value

    @field_validator("initialisation", mode="before")
    @classmethod
    def _initialisation_default(cls, value: Any, info: ValidationInfo) -> Any:
        return ("fresh" if _two_models(info) else "teacher") if value is None else value

    @field_validator("initialisation", mode="after")
    @classmethod
    def _initialisation_fits(cls, value: Initialisation, info: ValidationInfo) -> Initialisation:
        if value == "teacher" and (models := _two_models(info)):
            raise Mistakes(((), f"teacher {NEEDS_ONE_MODEL}, not {models}: use fresh, with ce as the control"))
        return value

    @field_validator("arms", mode="before")
    @classmethod
    def _read_arms(cls, value: Any, info: ValidationInfo) -> Any:
        arms: list[Arm] = []
        found: list[Mistake] = []
        for path, name, settings in _named_arms(value):
            try:
                arm = _read_arm(name, settings, info.data.get("initialisation", "teacher"))
            except Mistakes as mistakes:
                found += [((*path, *steps), sentence) for steps, sentence in mistakes.found]
                continue
            found += [((*path, *steps), sentence) for steps, sentence in _arm_misfits(arm, info)]
            arms.append(arm)
        raise_mistakes(found)
        points = [point for arm in arms for point in arm.points]
        if len(points) > MOST_POINTS:
            raise Mistakes(((), f"the arms have {len(points):,} points together, more than {MOST_POINTS:,}"))
        same = _repeated((point.kind, point.parameters, point.initialisation) for point in points)
        raise_mistakes(
            ((points[i].arm,), f"{points[i]} would be the same networks as {points[first]}")
            for i, first in same.items()
        )
        raise_mistakes(_without_teachers(points))
        return tuple(arms)

    @field_validator("hypotheses", mode="before")
    @classmethod
    def _anytime_by_default(cls, hypotheses: Any, info: ValidationInfo) -> Any:
        if info.data.get("stop") is None or not isinstance(hypotheses, list | tuple):
            return hypotheses
        return [{"test": "anytime"} | h if isinstance(h, dict) else h for h in hypotheses]

    @field_validator("hypotheses", mode="after")
    @classmethod
    def _hypotheses_fit(cls, hypotheses: tuple[Hypothesis, ...], info: ValidationInfo) -> tuple[Hypothesis, ...]:
        found = [*_duplicates(hypotheses), *_stop_misfits(hypotheses, info)]
        arms = {arm.name: arm for arm in info.data.get("arms", ())}
        points = [point for arm in arms.values() for point in arm.points]
        for i, hypothesis in enumerate(hypotheses if arms else ()):
            try:
                expand(hypothesis, points)
            except Mistakes as mistakes:
                found += [((i, *path), sentence) for path, sentence in mistakes.found]
            else:
                new = info.data.get("rules", RULES) > 1
                if hypothesis.metric in INHERITANCE or (hypothesis.metric == ASYMMETRY and new):
                    misfits = _inheritance_misfits(hypothesis, arms, _pairs_of(info))
                    found += [((i, *path), sentence) for path, sentence in misfits]
        if info.data.get("features", NO_FEATURES) is None:
            found += [
                ((i, "metric"), _activations_needed(h.metric))
                for i, h in enumerate(hypotheses)
                if needs_activations(h.metric)
            ]
        if (mode := getattr(info.data.get("features"), "mode", "robust")) != "robust":
            alone = f"robust alone leaves components out; in {mode} every one is of a feature: leave it out"
            found += [((i, "metric"), alone) for i, h in enumerate(hypotheses) if h.metric == "unmatched_components"]
        raise_mistakes(found)
        return hypotheses

    @field_validator("ladder", mode="after")
    @classmethod
    def _ladder_fits(cls, ladder: tuple[str, ...] | None, info: ValidationInfo) -> tuple[str, ...] | None:
        if ladder is not None and (arms := _arms(info)):
            raise_mistakes(_ladder_misfits(ladder, {arm.name: arm for arm in arms}))
        return ladder

    @field_validator("metrics", mode="after")
    @classmethod
    def _metrics_needed(cls, metrics: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        raise_mistakes(((i,), f"{shown(metrics[i])} is here twice") for i in _repeated(metrics))
        if info.data.get("features", NO_FEATURES) is None:
            raise_mistakes(
                ((i,), _activations_needed(name)) for i, name in enumerate(metrics) if needs_activations(name)
            )
        needed = {name for h in info.data.get("hypotheses", ()) for name in NEEDED.get(h.metric, (h.metric,))}
        if needed & GROUP_METRICS.keys():
            needed.add("accuracy")  # which says what trained
        return tuple(name for name in METRICS if name in needed or name in metrics)


NO_FEATURES = object()


def needs_activations(metric: str) -> bool:
    """Whether a metric is made of activations."""
    return metric in GROUP_METRICS or (metric in METRICS and METRICS[metric].against == "activations")


def _activations_needed(metric: str) -> str:
    return f"{metric} is made of activations, which are not kept: add `features: penultimate` to the protocol"


def _two_models(info: ValidationInfo) -> str:
    """The two architectures in words, where teacher and student differ."""
    roles = [info.data.get("teacher"), info.data.get("student")]
    models = [role.model for role in roles if role is not None]
    return f"{models[0]} (teacher) and {models[1]} (student)" if len(set(models)) == 2 else ""


def _arm_misfits(arm: Arm, info: ValidationInfo) -> Iterator[Mistake]:
    """What an arm asks of teacher and student."""
    if arm.initialisation == "teacher" and info.data.get("initialisation") == "fresh" and (models := _two_models(info)):
        yield (), f"{arm.name} {NEEDS_ONE_MODEL}, not {models}: use ce, and initialisation fresh"
    recipe = info.data.get("recipe")
    for point in arm.points:
        epochs = dict(point.parameters).get(PACED.get(arm.kind, ""), 0)
        if recipe and epochs > recipe.epochs:
            sentence = f"{epochs} epochs, and the recipe has {recipe.epochs}: the arm would never reach its full weight"
            yield (PACED[arm.kind],), f"{sentence}; choose at most {recipe.epochs}"
    if recipe and recipe.mixes and arm.kind in NEED_CLASSES:
        yield (), f"{arm.kind} needs the true class of each image, which mixup and cutmix blend: take them out"
    dataset = info.data.get("dataset")
    if arm.kind == "confusion-distillation" and recipe and recipe.epochs < 10:
        yield (), f"{arm.name} goes by tenths of the epochs, of which the recipe has {recipe.epochs}: take 10 or more"
    for point in arm.points:
        if arm.kind == "confusion-distillation" and dict(point.parameters)["matrix"] == "held-out":
            if dataset and dataset.held_out is None:
                yield (), f"{arm.name} learns from images that no arm trains on: add `held_out: N` to the dataset"
            break
    teachers = len(info.data["teacher"].seeds) if "teacher" in info.data else 2
    if ARMS[arm.kind].learns_from == "other" and teachers % 2:
        enough = f"{teachers - 1} or {teachers + 1}" if teachers > 1 else "2"
        yield (
            (),
            f"{arm.kind} swaps targets within disjoint pairs of teachers, so their number must be even: teacher.seeds"
            f" has {teachers}; {enough} would do",
        )


def _without_teachers(points: Sequence[Point]) -> Iterator[Mistake]:
    """Arms that are taught by other students, which must be there."""
    for point in points:
        learns_from = ARMS[point.kind].learns_from
        if learns_from == "twin" and taught_by(point, points) is None:
            twin = "siddo" if point.initialisation == "teacher" else "ce"
            yield (point.arm,), f"{point.kind} is taught by its twin, which {twin} trains: add the arm {twin}"
        first = dict(point.parameters).get("generation", 1) == 1
        if learns_from == "generation" and not first and taught_by(point, points) is None:
            generation = dict(point.parameters)["generation"]
            yield (
                (point.arm,),
                f"generation {generation} is taught by generation {generation - 1}, which is not here: list all"
                f" from 1, generation: {list(range(1, generation + 1))}",
            )


def _stop_misfits(hypotheses: Sequence[Hypothesis], info: ValidationInfo) -> Iterator[Mistake]:
    """Looking again and again is paid for by an anytime test, and by nothing else."""
    stop = info.data.get("stop")
    for i, hypothesis in enumerate(hypotheses):
        if hypothesis.test == "mann-whitney":
            yield (
                (i, "test"),
                f"mann-whitney is for unpaired scores; students of a protocol are paired: {', '.join(PAIRED)}",
            )
            continue
        if stop is None and hypothesis.test == "anytime":
            yield (i, "test"), "anytime belongs to a protocol with `stop: {rule: anytime, max_seeds: ...}`"
        if stop is not None and hypothesis.test != "anytime":
            yield (
                (i, "test"),
                f"{hypothesis.test} holds its level at one look, and `stop` looks after every seed: leave `test` out",
            )
    if stop is not None and "teacher" in info.data and "student" in info.data:
        role = grows(hypotheses)
        if stop.max_seeds < (now := len(info.data[role].seeds)):
            yield (
                (),
                f"stop.max_seeds is {stop.max_seeds}, less than the {now} seeds that {role}.seeds has to begin with",
            )
        if role == "teacher" and stop.max_seeds % 2 and any(ARMS[a.kind].learns_from == "other" for a in _arms(info)):
            yield (), f"stop.max_seeds is {stop.max_seeds}: kd-other swaps teachers in pairs, so it must be even"


def _arms(info: ValidationInfo) -> tuple[Arm, ...]:
    return info.data.get("arms", ())


def _correction_misfits(correction: str, hypotheses: Sequence[Hypothesis], info: ValidationInfo) -> Iterator[Mistake]:
    """What a joint correction asks of a family."""
    if info.data.get("stop") is not None and correction != "holm":
        yield (), f"{correction} is not valid at every look; `stop` needs holm"
    if correction != "max-t":
        return
    other = {arm.name for arm in _arms(info) if ARMS[arm.kind].learns_from == "other"}
    for family in dict.fromkeys(h.family for h in hypotheses):
        members = [h for h in hypotheses if h.family == family]
        if foreign := next((h for h in members if h.test != "sign-flip"), None):
            yield (
                (),
                f"max-t flips signs jointly, and {foreign.name} has the test {foreign.test}: take sign-flip, or holm",
            )
        units = {
            (h.scope.teachers, h.scope.teachers == "recipe" and bool(other & {h.arm, *h.controls})): h.name
            for h in members
        }
        if len(units) > 1:
            yield (
                (),
                f"max-t flips the same units in every hypothesis of a family; {' and '.join(units.values())} have"
                " others (students, teachers, or pairs of teachers swapped by kd-other): give them families of their"
                " own, or take holm",
            )
        elif next(iter(units))[0] == "each":
            yield (
                (),
                "max-t flips the same units in every hypothesis of a family; scope each has others for each teacher",
            )


def _ladder_misfits(ladder: Sequence[str], arms: Mapping[str, Arm]) -> Iterator[Mistake]:
    """Rungs are arms with one loss, from the plain control up, each with a point wherever the last has one."""
    for i, name in enumerate(ladder):
        if name not in arms:
            yield (i,), f"{shown(name)} is no arm here: {', '.join(arms)}{nearest(name, arms)}"
    for i in _repeated(ladder):
        yield (i,), f"{shown(ladder[i])} is here twice; an arm is one rung"
    if any(name not in arms for name in ladder):
        return
    if len(ladder) < 2:
        yield (), "a ladder of one rung: it needs the plain control and one arm or more above it"
        return
    if not ARMS[arms[ladder[0]].kind].plain:
        yield (0,), f"{ladder[0]} is no plain control: a ladder begins with siddo or ce"
    top = arms[ladder[-1]]
    for i, name in enumerate(ladder[1:], 1):
        arm = arms[name]
        if arm.initialisation != arms[ladder[0]].initialisation:
            yield (i,), f"{name} starts from other initial weights than {ladder[0]}: such arms are not paired"
        elif ARMS[arm.kind].objective != ARMS[top.kind].objective:
            yield (i,), f"{name} has another loss than {top.name}: rungs differ in their target alone"
        elif missing := [p for p in top.points if sum(same_point(p, other) for other in arm.points) != 1]:
            settings = parameters_text({k: v for k, v in missing[0].parameters if k in dict(arm.points[0].parameters)})
            yield (i,), f"{name} has no point at {settings}, where {top.name} has one, or has several"


def ladders(protocol: Protocol) -> list[tuple[str, tuple[Point, ...]]]:
    """The declared ladder at each point of its last arm: the swept parameters in words, the rungs from below."""
    if protocol.ladder is None:
        return []
    arms = {arm.name: arm for arm in protocol.arms}
    first, *rest = (arms[name] for name in protocol.ladder)
    swept = _swept(rest[-1].points)
    return [
        (
            parameters_text(_setting(top, swept)),
            (first.points[0], *(next(p for p in arm.points if same_point(top, p)) for arm in rest)),
        )
        for top in rest[-1].points
    ]


def grows(hypotheses: Sequence[Hypothesis]) -> Literal["teacher", "student"]:
    """Whose seeds a `stop` adds: a claim about the recipe needs teachers."""
    return "teacher" if any(h.scope.teachers == "recipe" for h in hypotheses) else "student"


def _pairs_of(info: ValidationInfo) -> int:
    """How many pairs of teachers there are, or may be with `stop`."""
    stop, teacher = info.data.get("stop"), info.data.get("teacher")
    seeds = len(teacher.seeds) if teacher is not None else 2 * FEWEST_PAIRS
    return (max(seeds, stop.max_seeds) if stop is not None else seeds) // 2


def _inheritance_misfits(hypothesis: Hypothesis, arms: Mapping[str, Arm], pairs: int) -> Iterator[Mistake]:
    """W, K and θ₀ need students of both teachers of a pair, made by one recipe."""
    metric, arm = hypothesis.metric, arms[hypothesis.arm]
    own = ARMS[arm.kind].target == "own_teacher"
    for i, name in enumerate(hypothesis.controls):
        if ARMS[arms[name].kind].learns_from != "other":
            yield (
                ("controls", i),
                f"{metric} compares students of swapped teachers, and {name} ({arms[name].kind}) is taught by no other"
                " teacher: write `control: kd-other`, and the arm `kd-other` with kd's own parameters"
                " (docs/errors-and-knowledge.md says why no other control can carry it)",
            )
        elif own and ARMS[arm.kind].objective != ARMS[arms[name].kind].objective:
            yield ("arm",), f"{hypothesis.arm} and {name} have different losses: students of one recipe are compared"
    if len(hypothesis.controls) > 1 and all(ARMS[arms[c].kind].learns_from == "other" for c in hypothesis.controls):
        yield ("controls",), f"{metric} has one control, the students of the other teacher"
    if not own:
        yield ("arm",), f"{metric} is of an arm taught by its own teacher; {hypothesis.arm} is not"
    if hypothesis.scope.teachers == "each":
        yield (
            ("scope", "teachers"),
            f"each: {metric} compares the students of two teachers, so it speaks of no teacher alone: recipe or these",
        )
    if hypothesis.scope.teachers == "recipe" and pairs < FEWEST_PAIRS:
        yield (
            ("scope",),
            f"{metric} of the recipe needs {FEWEST_PAIRS} swapped pairs of teachers, and there are {pairs}:"
            f" teacher: {{seeds: {2 * FEWEST_PAIRS}}} would do",
        )
    if metric == ASYMMETRY:
        yield from _firmness_misfits(hypothesis)
    elif hypothesis.scope.teachers == "these" and hypothesis.test not in ("paired-t", "two-way-t"):
        yield (
            ("test",),
            f"{hypothesis.test}: among these teachers the two sides of a pair balance only in sum, so their signs"
            " cannot be flipped: paired-t (this test set) or two-way-t (new examples)",
        )


def _firmness_misfits(hypothesis: Hypothesis) -> Iterator[Mistake]:
    one = "asymmetry is one claim, that errors are held to more firmly (θ₀)"
    if hypothesis.direction != "greater":
        yield (
            ("direction",),
            f"{hypothesis.direction}: {one}: greater. Its opposite looks like a student that blends its teacher's"
            " output with its own, so it cannot be claimed",
        )
    if hypothesis.margin is not None:
        yield ("margin",), f"{one}, and is never equivalent to anything: leave the margin out"
    if hypothesis.scope.teachers == "these" or hypothesis.scope.examples != "new":
        yield ("scope",), f"{one}, of the recipe and on new examples: scope: {{teachers: recipe, examples: new}}"


def grown(protocol: Protocol, size: int) -> Protocol:
    """The protocol with so many teachers, or student seeds: those declared, then the numbers after the largest."""
    role = grows(protocol.hypotheses)
    seeds = getattr(protocol, role).seeds
    more = range(max(seeds) + 1, max(seeds) + 1 + size - len(seeds))
    return protocol.model_copy(update={role: getattr(protocol, role).model_copy(update={"seeds": (*seeds, *more)})})


def hypothesis_points(protocol: Protocol) -> tuple[HypothesisPoint, ...]:
    """Every hypothesis at every point of its arm, in the order of the file."""
    return tuple(point for hypothesis in protocol.hypotheses for point in expand(hypothesis, protocol.points))


# Reading ---------------------------------------------------------------------------------------------------------


class TableHypothesis(Hypothesis):
    """A hypothesis on a table of scores, whose metrics may be anybody's."""

    OF_GROUPS: ClassVar[Collection[str]] = ()
    metric: Text


class Hypotheses(Block):
    """A file of hypotheses on a table of scores; its arms are names of the table."""

    hypotheses: Annotated[
        tuple[TableHypothesis, ...],
        Field(strict=False, description="a list of one or more hypotheses"),
        BeforeValidator(_not_empty),
    ]
    level: Level = 0.05
    correction: Correction = "holm"
    HINTS: ClassVar[dict[str, str]] = {"alpha": ALPHA}

    @field_validator("correction", mode="after")
    @classmethod
    def _correction_fits(cls, correction: str, info: ValidationInfo) -> str:
        raise_mistakes(_correction_misfits(correction, info.data.get("hypotheses", ()), info))
        return correction

    @field_validator("hypotheses", mode="after")
    @classmethod
    def _distinct(cls, hypotheses: tuple[TableHypothesis, ...]) -> tuple[TableHypothesis, ...]:
        raise_mistakes(_duplicates(hypotheses))
        return hypotheses


def read_protocol(path: Path | str, frozen: bool = False) -> Protocol:
    """Read and check a protocol.

    Parameters
    ----------
    frozen : of a run directory; one that names no rules was frozen under the first

    Raises
    ------
    UserError
        With every mistake that was found, one a line, ``FILE:LINE: KEY.PATH: what is wrong, what is allowed``.
    """
    document = read_document(path)
    if frozen and isinstance(document.root.content, dict):
        document.root.content.setdefault("rules", Node(1, document.root.line))
    return validated(Protocol, document)


def read_hypotheses(path: Path | str) -> Hypotheses:
    """Read hypotheses for a table of scores: the protocol's block, its list alone, or a whole protocol.

    Raises
    ------
    UserError
        As ``read_protocol``.
    """
    document = read_document(path)
    content = document.root.content
    looked_at = isinstance(content, dict) and "stop" in content and content["stop"].content is not None
    if isinstance(content, list):
        content = {"hypotheses": document.root}
    elif isinstance(content, dict):  # what else a protocol says is not about scores
        content = {k: v for k, v in content.items() if k in Hypotheses.model_fields or k not in Protocol.model_fields}
    found = validated(Hypotheses, Document(document.file, Node(content, document.root.line), document.mistakes))
    if not looked_at:
        return found
    # scores of a protocol that stopped when it saw its verdicts: no test of a fixed number is valid on them
    anytime = tuple(hypothesis.model_copy(update={"test": "anytime"}) for hypothesis in found.hypotheses)
    return found.model_copy(update={"hypotheses": anytime})


def one_hypothesis(
    metric: str,
    arm: str,
    controls: Sequence[str],
    direction: str = "two-sided",
    test: str = "sign-flip",
    teachers: str = "recipe",
    margin: float | None = None,
) -> Hypotheses:
    """A single hypothesis on a table of scores, about its own test set.

    Raises
    ------
    UserError
        One line a mistake, ``--OPTION: what is wrong``.

    Examples
    --------
    >>> one_hypothesis("accuracy", "kd", ["ce"]).hypotheses[0].name
    'accuracy-kd-vs-ce'
    """
    scope = {"teachers": teachers, "examples": "this test set"}
    hypothesis = {"metric": metric, "arm": arm, "controls": list(controls), "direction": direction, "test": test}
    try:
        return Hypotheses.model_validate({"hypotheses": [hypothesis | {"scope": scope, "margin": margin}]})
    except ValidationError as error:
        options = {"controls": "control", "direction": "alternative"}
        found = [(str(path[2]), sentence) for path, sentence in mistakes_of(error, Hypotheses)]
        raise UserError("\n".join(f"--{options.get(key, key)}: {sentence}" for key, sentence in found)) from None


# Writing and comparing -------------------------------------------------------------------------------------------


def resolved(protocol: Protocol) -> dict[str, Any]:
    """The protocol as plain data, every default written out; reads back to an equal protocol."""
    arms = {
        arm.name: {"kind": arm.kind, "initialisation": arm.initialisation}
        | {name: list(values) if len(values) > 1 else values[0] for name, values in arm.parameters}
        for arm in protocol.arms
    }
    plain = protocol.model_dump(mode="json") | {"arms": arms, "recipe": protocol.recipe.plain()}
    if plain["dataset"]["held_out"] is None:
        del plain["dataset"]["held_out"]
    for key in ("features", "stop", "ladder"):  # as protocols were before they could have them: their hashes stay
        if plain[key] is None:
            del plain[key]
    if plain["control_floor"] == CONTROL_FLOOR:
        del plain["control_floor"]
    return plain


def claims_asymmetry(protocol: Protocol) -> bool:
    """Whether a hypothesis is on the asymmetry, whose meaning changed with rules 2."""
    return any(h.metric == ASYMMETRY for h in protocol.hypotheses)


def dump(protocol: Protocol) -> str:
    """The resolved protocol as YAML."""
    return write_document(resolved(protocol))


def protocol_hash(protocol: Protocol) -> str:
    """sha256 of the resolved protocol as canonical JSON.

    Without the path of the data, whose own fingerprint stands for it elsewhere, and without the order of arms, sweeps,
    student seeds, controls and hypotheses. The order of teachers counts: kd-other pairs them in it.
    """
    plain = resolved(protocol)
    plain["dataset"].pop("path")
    if protocol.rules < 2 or not claims_asymmetry(protocol):  # a claim that means the same keeps its hash
        plain.pop("rules")
    plain["student"]["seeds"].sort()
    plain["hypotheses"] = {h.pop("name"): h | {"controls": sorted(h["controls"])} for h in plain["hypotheses"]}
    for settings in plain["arms"].values():
        settings |= {name: sorted(v, key=json.dumps) for name, v in settings.items() if isinstance(v, list)}
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Change:
    """What a protocol adds to another, or why it is none of its amendments.

    Attributes
    ----------
    points : (arm, parameters as text)
    hypotheses : names of hypothesis points
    metrics : added freely: they change no network and no verdict
    refusals : sentences; empty where all that differs was added
    """

    points: tuple[tuple[str, str], ...] = ()
    teacher_seeds: tuple[int, ...] = ()
    student_seeds: tuple[int, ...] = ()
    hypotheses: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    refusals: tuple[str, ...] = ()

    def added(self) -> dict[str, list[Any]]:
        """What was added, as plain data, without what is empty."""
        points = [list(point) for point in self.points]
        lists = {"points": points} | {
            name: list(getattr(self, name)) for name in ("teacher_seeds", "student_seeds", "hypotheses", "metrics")
        }
        return {name: values for name, values in lists.items() if values}


def compare(old: Protocol, new: Protocol) -> Change:
    """What was added to a protocol, and what cannot be an amendment of it.

    Arms, points of a sweep, seeds, hypotheses and metrics may be added; seeds at the end of their list. All else that
    differs, or is no longer there, makes another protocol. A hypothesis point that only changed its name, because its
    arm is swept now, is not new.
    """
    before, after = _fixed(old), _fixed(new)
    if old.rules != new.rules and (claims_asymmetry(old) or claims_asymmetry(new)):
        was = "its hypothesis `asymmetry` was the claim on h, which is withdrawn" if claims_asymmetry(old) else (
            "it was frozen under earlier rules, by which `asymmetry` was the claim on h"
        )  # fmt: skip
        now = "the word now claims that errors are held to more firmly (docs/errors-and-knowledge.md)"
        remedy = "a new --run-dir takes the new claim, --store OLD/replicates keeps the networks"
        return Change(refusals=(f"{was}; {now}: {remedy}, and `kdstats report` still reads the old run",))
    refusals = [
        f"{key} was {json.dumps(before[key])}, is {json.dumps(after[key])}"
        for key in before
        if before[key] != after[key]
    ]
    for role in ("teacher", "student"):
        there, now = getattr(old, role).seeds, getattr(new, role).seeds
        if now[: len(there)] != there:
            refusals.append(
                f"{role}.seeds must begin with the old ones in their order ({', '.join(map(str, there))});"
                " new ones are appended"
            )
    refusals += [f"the arm {point} is no longer there" for point in old.points if point not in new.points]
    claims_before, claims_after = ({_claim(p): p.name for p in hypothesis_points(side)} for side in (old, new))
    lost = [name for claim, name in claims_before.items() if claim not in claims_after]
    refusals += [f"the hypothesis {name} was changed or taken away" for name in lost]
    refusals += [f"the metric {name} is no longer there" for name in old.metrics if name not in new.metrics]
    return Change(
        tuple((p.arm, parameters_text(p.parameters)) for p in new.points if p not in old.points),
        new.teacher.seeds[len(old.teacher.seeds) :],
        new.student.seeds[len(old.student.seeds) :],
        tuple(name for claim, name in claims_after.items() if claim not in claims_before),
        tuple(name for name in new.metrics if name not in old.metrics),
        tuple(refusals),
    )


def _fixed(protocol: Protocol) -> dict[str, Any]:
    """All that no amendment changes, by path."""
    plain = resolved(protocol)
    fixed = {
        key: plain.get(key)
        for key in ("name", "seed", "initialisation", "level", "correction", "features", "stop", "control_floor")
    }
    fixed |= {f"{role}.model": plain[role]["model"] for role in ("teacher", "student")}
    fixed |= {f"dataset.{key}": value for key, value in plain["dataset"].items() if key != "path"}
    return fixed | {f"recipe.{key}": value for key, value in plain["recipe"].items()}


def _claim(point: HypothesisPoint) -> tuple[Any, ...]:
    return (
        point.hypothesis, point.metric, point.arm, frozenset(point.controls), point.direction, point.scope_teachers,
        point.scope_examples, point.test, point.margin, point.family,
    )  # fmt: skip
