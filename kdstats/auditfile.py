"""What an audit is asked: the options of the command or an audit.yaml, which hold the same."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from kdstats.catalog import DATASETS, Block
from kdstats.datasets import cache_folder
from kdstats.documents import not_allowed, read_document, validated
from kdstats.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from kdstats.auditing import Audit
    from kdstats.gate import Outcome
    from kdstats.predictions import Predictions
    from kdstats.training.checkpoints import Pictures

Channels = Annotated[tuple[float, ...], Field(strict=False, description="a list of numbers, one a channel")]
WIDEST = 0.2  # margin of accuracy; one beyond it was meant in points
Texts = Annotated[tuple[str, ...], Field(strict=False, description="a list of texts")]
Points = Annotated[float, Field(gt=0, le=WIDEST, allow_inf_nan=False)]


class PairOfTeachers(Block):
    """Two teachers of one recipe, and the students of each."""

    teacher: str
    students: Texts
    control_teacher: str
    controls: Texts

    @field_validator("students", "controls")
    @classmethod
    def _somebody(cls, networks: tuple[str, ...]) -> tuple[str, ...]:
        if not networks:
            raise ValueError("the list is empty; a pair needs students of both its teachers")
        return networks


PAIRS = "a list of swapped pairs, each with teacher, students, control_teacher, controls"


class AuditFile(Block):
    """teacher, student and controls are files of predictions, replicate folders, or CHECKPOINT:ARCHITECTURE."""

    teacher: str = ""
    student: str | None = None
    students: Texts = ()
    controls: Texts = ()
    control_teacher: str | None = None
    pairs: Annotated[tuple[PairOfTeachers, ...], Field(strict=False, description=PAIRS)] = ()
    labels: str | None = None
    data: str | None = None
    image_size: Annotated[int, Field(ge=1)] | None = None
    mean: Channels | None = None
    std: Channels | None = None
    groups: Texts = ()
    margin: Points | str | None = None
    control_kind: Literal["plain", "neutral", "kd-other"] = "plain"
    controls_exchangeable: bool = False
    primary: str = "negative_transfer"
    paired: bool = False
    level: Annotated[float, Field(gt=0, lt=0.5, allow_inf_nan=False)] = 0.05
    seed: Annotated[int, Field(ge=0)] = 0
    require: Texts = ()
    fail_if: Texts = ()

    @field_validator("margin")
    @classmethod
    def _share(cls, margin: float | str | None) -> float | None:
        return parse_share(margin) if isinstance(margin, str) else margin

    @model_validator(mode="after")
    def _controls_are_there(self) -> "AuditFile":
        given = [name for name in ("control_kind", "controls_exchangeable", "paired") if name in self.model_fields_set]
        said = [name for name in given if getattr(self, name) != AuditFile.model_fields[name].default]
        if said and not self.controls and not self.pairs:
            raise ValueError(f"{said[0].replace('_', '-')} speaks of controls, and none are given")
        return self

    @property
    def all_students(self) -> tuple[str, ...]:
        return (*([self.student] if self.student else []), *self.students)

    def first_pair(self) -> "AuditFile":
        """The audit with the networks of its first pair in the places of teacher, students, controls."""
        if not self.pairs:
            return self
        return self.model_copy(update=dict(self.pairs[0]) | {"student": None, "control_kind": "kd-other"})


def swap_mistakes(asked: AuditFile, kind_is_said: bool) -> list[tuple[tuple[str | int, ...], str]]:
    """What does not go together in an audit of swapped teachers: keys and sentences.

    Parameters
    ----------
    kind_is_said : somebody wrote control_kind; it is not the default
    """
    found: list[tuple[tuple[str | int, ...], str]] = []
    if asked.pairs:
        found += [
            ((name,), "pairs name every network, so leave this out; the first pair is what the whole audit is about")
            for name in ("teacher", "student", "students", "controls", "control_teacher")
            if getattr(asked, name)
        ]
        names: dict[str, str] = {}
        for i, pair in enumerate(asked.pairs):
            for key in ("teacher", "control_teacher"):
                name, where = getattr(pair, key), f"pairs[{i}].{key}"
                if name in names:
                    said = (
                        f"{name} is {names[name]}, too: a teacher is in one pair; name another, or leave the pair out"
                    )
                    found.append((("pairs", i, key), said))
                names.setdefault(name, where)
    elif asked.control_teacher and not asked.controls:
        said = "the teacher of the controls, and there are none: name its students as controls"
        found.append((("control_teacher",), said))
    elif asked.control_teacher and asked.control_teacher == asked.teacher:
        said = f"{asked.teacher} is the teacher itself: name the other teacher, which taught the controls"
        found.append((("control_teacher",), said))
    if (asked.control_teacher or asked.pairs) and kind_is_said and asked.control_kind != "kd-other":
        said = f"{asked.control_kind}, and the controls have a teacher: leave it out, or write kd-other"
        found.append((("control_kind",), said))
    return found


def parse_share(text: str) -> float:
    """A share of the examples: ``0.5pp`` and ``0.5%`` are .005, as ``0.005`` is.

    Examples
    --------
    >>> parse_share("0.5pp"), parse_share("1%"), parse_share("0.02")
    (0.005, 0.01, 0.02)
    """
    match = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*(pp|%|)\s*", text)
    if match and 0 < (share := float(match[1] + ("e-2" if match[2] else ""))) <= WIDEST:
        return share
    why = f" ({100 * share:g} points; {100 * WIDEST:g}pp is the widest)" if match and share > WIDEST else ""
    raise ValueError(f"{text!r} is no margin{why}: write points such as 0.5pp, or a share such as 0.005")


def read_audit(path: Path) -> AuditFile:
    """Read an audit.yaml; the files that it names are relative to it.

    Raises
    ------
    UserError
        One line a mistake: file, line, key, what would be right.
    """
    document = read_document(path)
    asked = validated(AuditFile, document)
    if mistakes := swap_mistakes(asked, "control_kind" in asked.model_fields_set):
        raise document.refusal(mistakes)
    if not asked.pairs:
        if not asked.teacher:
            raise UserError(f"{document.file}: names no teacher; teacher: FILE, or pairs: with a teacher in each")
        if not asked.all_students:
            raise UserError(f"{document.file}: names no student; student: FILE, or students: [FILE, …]")
    here = path.parent

    def placed(source: str) -> str:
        return source if Path(source).is_absolute() else str(here / source)

    data = asked.data if asked.data is None or asked.data in DATASETS else placed(asked.data)
    return asked.model_copy(
        update={
            "teacher": placed(asked.teacher) if asked.teacher else "",
            "student": placed(asked.student) if asked.student else None,
            "students": tuple(map(placed, asked.students)),
            "controls": tuple(map(placed, asked.controls)),
            "control_teacher": placed(asked.control_teacher) if asked.control_teacher else None,
            "pairs": tuple(
                pair.model_copy(
                    update={
                        "teacher": placed(pair.teacher),
                        "control_teacher": placed(pair.control_teacher),
                        "students": tuple(map(placed, pair.students)),
                        "controls": tuple(map(placed, pair.controls)),
                    }
                )
                for pair in asked.pairs
            ),
            "labels": placed(asked.labels) if asked.labels else None,
            "groups": tuple(map(placed, asked.groups)),
            "data": data,
        }
    )


def asked(file: Path | None, options: Mapping[str, Any]) -> AuditFile:
    """What the command line asks: a file, or options.

    Raises
    ------
    UserError
        Both, neither, or an option that is wrong.
    """
    given = {name: value for name, value in options.items() if value is not None}
    chosen = [name for name, value in given.items() if value != AuditFile.model_fields[name].default]
    if file is not None:
        if chosen:
            raise UserError(f"{file}: says what is asked; leave out --{chosen[0].replace('_', '-')}, or write it there")
        return read_audit(file)
    if not (options.get("teacher") and options.get("students")):
        raise UserError("an audit needs --teacher FILE and --student FILE, or a file: kdstats audit audit.yaml")
    given |= {name: tuple(value) for name, value in given.items() if isinstance(value, list)}
    try:
        asked = AuditFile(**given)
    except ValidationError as error:
        lines = [
            "".join(f"--{str(key).replace('_', '-')}: " for key in mistake["loc"][:1])
            + mistake["msg"].removeprefix("Value error, ")
            for mistake in error.errors()
        ]
        raise UserError("\n".join(lines)) from None
    if mistakes := swap_mistakes(asked, asked.control_kind != "plain"):
        raise UserError("\n".join(f"--{str(path[0]).replace('_', '-')}: {said}" for path, said in mistakes))
    return asked


# Doing it --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Done:
    """An audit with what its conditions came to."""

    audit: "Audit"
    outcomes: "tuple[Outcome, ...]"

    @property
    def failed(self) -> "list[Outcome]":
        return [outcome for outcome in self.outcomes if not outcome.passed]


def perform(asked: AuditFile, data_dir: Path | None = None, device: str = "auto") -> Done:
    """Read everything, audit, and check every condition.

    Raises
    ------
    UserError
        Whatever has to change in files or options; nothing is written then.
    """
    from kdstats import predictions
    from kdstats.auditing import MEASURES, audit
    from kdstats.gate import check, check_syntax

    if asked.primary not in MEASURES:
        raise UserError(f"primary: {not_allowed(asked.primary, MEASURES)}")
    if asked.primary != AuditFile.model_fields["primary"].default and not asked.controls_exchangeable:
        raise UserError("primary names the measure of the rank test, which needs controls-exchangeable")
    for text in (*asked.require, *asked.fail_if):
        check_syntax(text)
    pairs, asked = asked.pairs, asked.first_pair()
    named = {"teacher": [asked.teacher], "students": [*asked.all_students], "controls": [*asked.controls]}
    named["control_teacher"] = [asked.control_teacher] if asked.control_teacher else []
    slots = [("pairs[0]." if pairs else "", named)]
    slots += [
        (f"pairs[{i}].", {"teacher": [p.teacher], "students": [*p.students], "control_teacher": [p.control_teacher],
                          "controls": [*p.controls]})
        for i, p in enumerate(pairs[1:], 1)
    ]  # fmt: skip
    chosen: list[dict[str, list[str]]] = []
    for where, of in slots:
        chosen.append({key: [one for source in sources for one in selected(source)] for key, sources in of.items()})
        for key in ("teacher", "control_teacher"):
            if len(chosen[-1][key]) > 1:
                raise UserError(
                    f"{where}{key}: {of[key][0]} are {len(chosen[-1][key])} networks; "
                    + ("an audit has one teacher" if key == "teacher" else "the controls have one teacher")
                )
    order = ("teacher", "students", "controls", "control_teacher")
    everyone = [one for of in chosen for key in order for one in of[key]]
    pictures = _pictures(asked, data_dir, everyone)
    read, made = [], {}
    for source in everyone:
        if _checkpoint(source)[1] and pictures is not None:
            network, made[network.source] = _predicted(source, pictures, device)
        else:
            network = predictions.read_predictions(source)
        read.append(network)
    if asked.labels:
        labels, ids = predictions.read_labels(asked.labels)
    elif pictures is not None:
        labels, ids = pictures.labels, pictures.ids
    else:
        labels, ids = _beside(read)
    labels, read = predictions.aligned(labels, ids, read, asked.labels or "the labels")
    groups = {
        name: values
        for source in asked.groups
        for name, values in predictions.read_groups(source, ids, len(labels)).items()
    }
    rest = iter(read)
    networks = [{key: [next(rest) for _ in of[key]] for key in order} for of in chosen]
    first, *more = networks
    found = audit(
        first["teacher"][0],
        first["students"],
        {"labels": labels} if ids is None else {"labels": labels, "ids": ids},
        first["controls"],
        control_teacher=first["control_teacher"][0] if first["control_teacher"] else None,
        more_pairs=[
            {key: of[key][0] if key in ("teacher", "control_teacher") else of[key] for key in order} for of in more
        ],
        groups=groups,
        margin=asked.margin if isinstance(asked.margin, float) else None,
        control_kind=asked.control_kind,
        controls_exchangeable=asked.controls_exchangeable,
        primary=asked.primary,
        paired=asked.paired,
        level=asked.level,
        seed=asked.seed,
        images=_shown(pictures, ids),
        class_names=pictures.class_names if pictures is not None else None,
    )
    files = [_checkpoint(source)[0] for source in [*everyone, *([asked.labels] if asked.labels else [])]]
    sums = {file: _sha256(Path(file)) for file in files}
    of_data = {} if pictures is None else {"data": _described(asked, pictures)}
    found = replace(found, provenance={**found.provenance, **of_data, "checkpoint": made, "sha256": sums})
    outcomes = [check(text, found.measures) for text in asked.require]
    outcomes += [check(text, found.measures, fail_if=True) for text in asked.fail_if]
    return Done(found, tuple(outcomes))


CHECKPOINTS = (".safetensors", ".pth", ".pt", ".pt2", ".ckpt", ".bin", ".tar")
LAYERS = (".weight", ".bias", ".running_mean")  # how a network's tensors end, and no prediction's


def _checkpoint(source: str) -> tuple[str, str]:
    """File and architecture of CHECKPOINT:ARCHITECTURE; of another source the architecture is empty."""
    file, _, rest = source.partition(":")
    while rest and not (file.lower().endswith(CHECKPOINTS) or Path(file).is_file()):
        more, _, rest = rest.partition(":")
        file += f":{more}"
    if rest and not Path(source).exists():
        return file, rest
    if source.lower().endswith(".pt2"):
        raise UserError(
            f"{source}: is an exported program, which is code, and is not opened; save its predictions,"
            " numpy.savez(FILE, logits=…), or its weights with safetensors.torch.save_model(model, FILE)"
        )
    if _holds_weights(Path(source)):
        raise UserError(
            f"{source}: is a checkpoint: write its architecture after it, such as {source}:resnet18, and name the"
            " images that it is to predict with --data"
        )
    return source, ""


def _holds_weights(file: Path) -> bool:
    if file.suffix.lower() in (".pth", ".pt", ".ckpt"):
        return file.is_file()
    if file.suffix.lower() != ".safetensors":
        return False
    import safetensors

    try:
        with safetensors.safe_open(file, "np") as content:
            return any(key.endswith(LAYERS) for key in content.keys())  # noqa: SIM118 - it is no mapping
    except (OSError, safetensors.SafetensorError):
        return False  # the reader of predictions says what is wrong


def _pictures(asked: AuditFile, data_dir: Path | None, everyone: list[str]) -> "Pictures | None":
    """The images that checkpoints are to predict; also those of predictions in files, to be shown."""
    if asked.data is None:
        checkpoint = next((source for source in everyone if _checkpoint(source)[1]), None)
        if checkpoint is not None:
            raise UserError(
                f"{checkpoint}: is a checkpoint, which needs images to predict: --data NAME, FILE.npz or DIR"
            )
        for name in ("image_size", "mean", "std"):
            if getattr(asked, name) is not None:
                raise UserError(f"{name}: belongs to --data, the images that checkpoints are to predict")
        return None
    import numpy as np

    from kdstats.training.checkpoints import read_pictures

    found = read_pictures(asked.data, data_dir=data_dir, size=asked.image_size)
    if asked.mean is None and asked.std is None:
        return found
    mean, std = (found.mean if asked.mean is None else asked.mean), (found.std if asked.std is None else asked.std)
    if len(mean) != found.shape[2] or len(std) != found.shape[2] or not all(value > 0 for value in std):
        raise UserError(f"mean, std: each needs {found.shape[2]} numbers, one a channel, those of std above 0")
    said = " and ".join(f"{name} {', '.join(f'{x:g}' for x in of)}" for name, of in (("mean", mean), ("std", std)))
    return replace(found, mean=np.asarray(mean, np.float32), std=np.asarray(std, np.float32), normalisation=said)


def _shown(pictures: "Pictures | None", ids: "NDArray[Any] | None") -> "NDArray[np.uint8] | None":
    """Images in the order of the labels' ids; none where they are no pictures, or others than the labels are of."""
    import numpy as np

    if pictures is None or pictures.pixels.dtype != "uint8":
        return None
    if ids is None or pictures.ids is None or np.array_equal(ids, pictures.ids):
        return pictures.pixels
    place = {str(name): i for i, name in enumerate(pictures.ids)}
    rows = [place.get(str(name), -1) for name in ids]
    return pictures.pixels[rows] if min(rows) >= 0 else None


def _predicted(source: str, pictures: "Pictures", device: str) -> "tuple[Predictions, str]":
    """What a checkpoint predicts, from a cache where it did before; and how that was made."""
    import numpy as np
    import safetensors.numpy
    import torch

    from kdstats.predictions import read_predictions
    from kdstats.training import checkpoints
    from kdstats.training.engine import choose_device
    from kdstats.training.workers import device_name

    file, architecture = _checkpoint(source)
    checkpoint = checkpoints.read_checkpoint(file, architecture, pictures.shape, pictures.classes)
    on = choose_device(device)
    kept = checkpoints.cached_predictions(cache_folder() / "predictions", checkpoint, pictures, device=on)
    logits = safetensors.numpy.load_file(kept)["logits"]
    named = {"logits": logits} if pictures.ids is None else {"logits": logits, "ids": np.asarray(pictures.ids)}
    read = read_predictions(named, f"{Path(file).stem} ({architecture})")
    how = f"{checkpoint.architecture}, predicted by torch {torch.__version__} on {device_name(on)}"
    return replace(read, source=file), how


def _described(asked: AuditFile, pictures: "Pictures") -> str:
    """The images that checkpoints predicted: whose, how many, their fingerprint, how they were normalised."""
    height, width, channels = pictures.shape
    return (
        f"{asked.data}: {len(pictures.labels):,} images of {height}×{width}×{channels}, fingerprint"
        f" {pictures.fingerprint[:16]}, normalised by {pictures.normalisation}"
    )


def _sha256(path: Path) -> str:
    """Of a file; of a replicate's folder that of its checksums."""
    with (path / "SHA256SUMS" if path.is_dir() else path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def selected(source: str) -> list[str]:
    """The replicates of ``RUN:KIND,NAME=VALUE,…``; any other source as it is.

    KIND is that of an arm, or teacher; NAME a parameter, ``teacher`` or ``seed``; != leaves out.

    Raises
    ------
    UserError
        No replicate is like that, with those that there are; a selection that is not understood.
    """
    run, _, text = source.rpartition(":")
    if not run or not (Path(run) / "replicates").is_dir():
        return [source]
    kind, *settings = [part.strip() for part in text.split(",")]
    wanted = []
    for setting in settings:
        match = re.fullmatch(r"(\w+)\s*(!?=)\s*(\S+)", setting)
        if match is None:
            raise UserError(f"{source}: {setting!r} is not understood; write such as kd,alpha=0.9,teacher=0,seed!=1")
        wanted.append(match.groups())
    there, found = [], []
    for file in sorted((Path(run) / "replicates").glob("*/meta.json")):
        meta = _meta(file)
        has = meta["parameters"] | {"teacher": meta["teacher"], "seed": meta["seed"]}
        there.append((meta["kind"], *(f"{name}={value}" for name, value in meta["parameters"].items())))
        if meta["kind"] == kind and all(
            name in has and (_same(has[name], value) == (sign == "=")) for name, sign, value in wanted
        ):
            order = (-1 if meta["teacher"] is None else meta["teacher"], -1 if meta["seed"] is None else meta["seed"])
            found.append((order, str(file.parent)))
    if not found:
        kinds = sorted({" ".join(one) for one in there})
        raise UserError(f"{source}: no replicate of {run} is like that; there are {'; '.join(kinds)}")
    return [folder for _, folder in sorted(found)]


def _meta(file: Path) -> dict[str, Any]:
    try:
        meta = json.loads(file.read_text("utf-8"))
        return {name: meta[name] for name in ("kind", "parameters", "teacher", "seed")}
    except (OSError, ValueError, KeyError):
        raise UserError(f"{file}: is damaged; `kdstats run PROTOCOL` trains what is damaged again") from None


def _same(value: Any, text: str) -> bool:
    try:
        return float(value) == float(text)
    except (TypeError, ValueError):
        return str(value) == text


def _beside(networks: "list[Predictions]") -> "tuple[NDArray[np.int64], NDArray[Any] | None]":
    """Labels that lie beside the predictions of one of the networks."""
    for one in networks:
        if one.truth is not None:
            return one.truth, one.ids
    raise UserError(
        "no labels: give --labels FILE, or --data NAME, or predictions that hold the true labels beside them"
    )


def printed(done: Done, form: Literal["text", "json", "github"]) -> Iterator[str]:
    """The lines that the command prints: sentences, the whole result, or a summary in Markdown."""
    if form == "json":
        gate = [vars(outcome) for outcome in done.outcomes]
        yield json.dumps(done.audit.to_json() | {"gate": gate}, indent=1, ensure_ascii=False, allow_nan=False)
        return
    if form == "github":
        from kdstats.reporting.audits import github

        yield github(done.audit, done.outcomes)
        return
    yield from done.audit.verdicts["sentence"]
    for outcome in done.outcomes:
        yield f"{'passed' if outcome.passed else 'failed'}: {outcome.expression}: {outcome.reason}"
