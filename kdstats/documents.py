"""YAML text to plain data with positions: YAML 1.2 core scalars, and refusals that name file, line and key.

PyYAML's events are read without recursion and counted as they come, so a hostile file is refused early. PyYAML's own
constructors follow YAML 1.1, where ``no`` is false, ``1e-3`` is text and ``1:30`` is 90; they are not used.
"""

import contextlib
import difflib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, core_schema

from kdstats.errors import UserError

KeyPath = tuple[str | int, ...]
Mistake = tuple[KeyPath, str]
Placed = tuple[int, str, str]  # line, path as text, sentence
B = TypeVar("B", bound=BaseModel)

LARGEST = 1_000_000  # bytes
MOST_NODES = 10_000  # with aliases expanded
DEEPEST = 20
MOST_MISTAKES = 50  # that are printed

# YAML 1.2.2, section 10.3.2, without its 0o and 0x
CORE: tuple[tuple[str, re.Pattern[str], str, Callable[[str], Any]], ...] = (
    ("null", re.compile(r"(?:~|null|Null|NULL|)\Z"), "~nN", lambda text: None),
    ("bool", re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z"), "tTfF", lambda text: text.lower() == "true"),
    ("int", re.compile(r"[-+]?[0-9]{1,100}\Z"), "-+0123456789", int),
    ("float", re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z"), "-+.0123456789", float),
    ("float", re.compile(r"(?:[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))\Z"), "-+.", lambda t: float(t.replace(".", ""))),
)


def core_scalar(text: str) -> bool | int | float | str | None:
    """What a plain scalar means.

    Examples
    --------
    >>> [core_scalar(text) for text in ("1e-3", "5.", "010", "no", "1:30", "2024-01-01", "True", "~")]
    [0.001, 5.0, 10, 'no', '1:30', '2024-01-01', True, None]
    """
    return next((read(text) for _, pattern, _, read in CORE if pattern.match(text)), text)


@dataclass(frozen=True)
class Node:
    """A value of a file.

    Attributes
    ----------
    content : scalar, list of nodes, or nodes by key
    line : from 1; for a list or mapping under a key, the key's
    size, depth : nodes, and levels of nodes, with aliases expanded
    """

    content: Any
    line: int
    size: int = 1
    depth: int = 1

    def plain(self) -> Any:
        """Lists, dictionaries and scalars."""
        if isinstance(self.content, dict):
            return {key: node.plain() for key, node in self.content.items()}
        if isinstance(self.content, list):
            return [node.plain() for node in self.content]
        return self.content


@dataclass(frozen=True)
class Document:
    """A file, read.

    Attributes
    ----------
    mistakes : what can be named without knowing the schema: duplicate keys, tags, merge keys
    """

    file: str
    root: Node
    mistakes: tuple[Placed, ...] = ()

    def refusal(self, mistakes: Iterable[Mistake]) -> UserError:
        """One line a mistake, ``FILE:LINE: KEY.PATH: sentence``, in the order of lines."""
        known = {(line, where) for line, where, _ in self.mistakes}
        placed = [self._placed(path, sentence) for path, sentence in mistakes]
        placed = sorted(
            [*self.mistakes, *(mistake for mistake in placed if mistake[:2] not in known)], key=lambda m: m[0]
        )
        lines = [f"{line}: {where}{': ' if where else ''}{sentence}" for line, where, sentence in dict.fromkeys(placed)]
        more = [f"{self.file}: and {len(lines) - MOST_MISTAKES} more"] if len(lines) > MOST_MISTAKES else []
        return UserError("\n".join([f"{self.file}:{line}" for line in lines[:MOST_MISTAKES]] + more))

    def _placed(self, path: KeyPath, sentence: str) -> Placed:
        """The deepest part of the path that the file has; the schema's own path may go further, or skip an index."""
        node, there = self.root, ()  # type: tuple[Node, KeyPath]
        for step in path:
            found = _child(node, step)
            if found is None:
                break
            steps, node = found
            there += steps
        return node.line, path_text(there), sentence


def _child(node: Node, step: str | int) -> tuple[KeyPath, Node] | None:
    """The node under a key; under an index; or of a name in a list of names and of mappings with one key."""
    content = node.content
    if isinstance(content, dict):
        key = "control" if step == "controls" and step not in content else step
        return ((key,), content[key]) if key in content else None
    if not isinstance(content, list):
        return None
    if isinstance(step, int):
        return ((step,), content[step]) if step < len(content) else None
    for i, item in enumerate(content):
        if isinstance(item.content, dict) and step in item.content:
            return (i, step), item.content[step]
        if item.content == step:
            return (i,), item
    return None


# Sentences -------------------------------------------------------------------------------------------------------


def path_text(path: KeyPath) -> str:
    """A path as errors print it; a key of more than word characters and hyphens is quoted.

    Examples
    --------
    >>> path_text(("hypotheses", 0, "scope")), path_text(("arms", "kd 0.5"))
    ('hypotheses[0].scope', "arms.'kd 0.5'")
    """

    def text(step: str | int) -> str:
        if isinstance(step, int):
            return f"[{step}]"
        return f".{step if re.fullmatch('[A-Za-z0-9_-]{1,64}', step) else shown(step)}"

    return "".join(map(text, path)).removeprefix(".")


def printable(text: str, longest: int = 60) -> str:
    """Text of a stranger on one line: what a terminal could obey is escaped, what is long is cut."""
    if len(text) > longest:
        text = text[: longest - 1] + "…"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def shown(value: Any) -> str:
    """A value as errors print it.

    Examples
    --------
    >>> [shown(value) for value in ("kd", True, None, 1.5, [1, 2])]
    ["'kd'", 'true', 'null', '1.5', 'a list']
    """
    if isinstance(value, str):
        return f"'{printable(value)}'"
    if isinstance(value, dict | list | tuple):
        return f"{'a' if value else 'an empty'} {'mapping' if isinstance(value, dict) else 'list'}"
    return printable(json.dumps(value) if isinstance(value, bool | int | None) else str(value))


def nearest(value: Any, names: Iterable[str]) -> str:
    """``; did you mean NAME?`` where one is near, else nothing.

    Examples
    --------
    >>> nearest("Agreemnt", ["accuracy", "agreement"])
    '; did you mean agreement?'
    """
    by_lower = {name.lower(): name for name in names}
    text = value[:100].lower() if isinstance(value, str) else ""
    close = difflib.get_close_matches(text, by_lower, n=1)
    return f"; did you mean {by_lower[close[0]]}?" if close else ""


def not_allowed(value: Any, names: Iterable[str]) -> str:
    """That a value is none of these names."""
    return f"{shown(value)} is not allowed: {', '.join(names)}{nearest(value, names)}"


# Reading ---------------------------------------------------------------------------------------------------------


def read_document(path: Path | str) -> Document:
    """Read a YAML file.

    Raises
    ------
    UserError
        Where it cannot be read, is empty, malformed, larger or deeper than a protocol can be, or has two documents,
        with file, line and column. Duplicate keys, tags and merge keys are collected in ``mistakes``.
    """
    file = printable(str(path), 1000)
    text = _text(Path(path), file)
    mistakes: list[Placed] = []
    try:
        root = _compose(text, file, mistakes)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise UserError(f"{file}:{line}: the character {chr(int(error.character))!a} is not allowed") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        problem = printable(error.problem or "it cannot be read", 200)
        if "'\\t'" in problem or (mark and text[mark.index : mark.index + 1] == "\t"):
            problem = "a tab cannot stand here; indent with spaces"
        raise UserError(f"{file}{place}: malformed YAML: {problem}") from None
    except (ValueError, OverflowError):  # PyYAML's chr() and int()
        raise UserError(f"{file}: malformed YAML: an escape or a version number beyond what there is") from None
    if root is None:
        raise UserError(f"{file}: is empty")
    return Document(file, root, tuple(mistakes))


@contextlib.contextmanager
def at(path: Path | str, *keys: str | int) -> Iterator[None]:
    """A ``UserError`` raised within is a mistake at these keys of a file: ``FILE:LINE: KEYS: sentence``."""
    try:
        yield
    except UserError as error:
        raise read_document(path).refusal([(keys, str(error))]) from None


def _text(path: Path, file: str) -> str:
    try:
        with path.open("rb") as handle:
            content = handle.read(LARGEST + 1)
    except FileNotFoundError:
        raise UserError(f"{file}: there is no such file") from None
    except IsADirectoryError:
        raise UserError(f"{file}: is a directory; a YAML file is needed") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
    if len(content) > LARGEST:
        raise UserError(f"{file}: is larger than {LARGEST:,} bytes, the most that is read")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(f"{file}:{line}: is not UTF-8; save it in that encoding") from None


@dataclass
class _Open:
    """A list or mapping whose end has not been read."""

    children: dict[str, Node] | list[Node]
    line: int
    anchor: str | None
    key: str | None = None
    key_line: int = 0
    size: int = 1
    depth: int = 1

    @property
    def wants_key(self) -> bool:
        return isinstance(self.children, dict) and self.key is None

    def put(self, node: Node) -> bool:
        """Place a child; False where its key is taken."""
        self.size += node.size
        self.depth = max(self.depth, 1 + node.depth)
        if isinstance(self.children, list):
            self.children.append(node)
            return True
        key, self.key = self.key, None
        assert key is not None
        if key in self.children:
            return False
        within = isinstance(node.content, dict | list)
        self.children[key] = replace(node, line=self.key_line) if within else node
        return True


def _compose(text: str, file: str, mistakes: list[Placed]) -> Node | None:
    """The tree of the only document, None where there is none."""
    opened: list[_Open] = []
    anchors: dict[str | None, Node] = {}
    root: Node | None = None
    documents = nodes = line = 0

    def here(*key: str) -> str:
        steps = [o.key if isinstance(o.children, dict) else len(o.children) for o in opened]
        return path_text((*(step for step in steps if step is not None), *key))

    def refuse(sentence: str, where: str = "") -> UserError:
        return UserError(f"{file}:{line}: {where}{': ' if where else ''}{sentence}")

    events: Iterator[Any] = yaml.parse(text, Loader=yaml.SafeLoader)
    for event in events:
        line = event.start_mark.line + 1
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise refuse("a second document begins here; one file holds one")
        if isinstance(event, yaml.CollectionEndEvent):
            done = opened.pop()
            node, anchor = Node(done.children, done.line, done.size, done.depth), done.anchor
        elif isinstance(event, yaml.NodeEvent):
            if isinstance(event, yaml.AliasEvent) and event.anchor not in anchors:
                raise refuse(f"the alias *{printable(str(event.anchor))} stands for nothing that is complete before it")
            node, anchor = _begun(event, anchors, line), event.anchor
            nodes += node.size
            if nodes > MOST_NODES:
                raise refuse(f"more than {MOST_NODES:,} values, counted with aliases written out")
            if len(opened) + node.depth > DEEPEST:
                raise refuse(f"nested more than {DEEPEST} levels deep")
            key = event.value if isinstance(event, yaml.ScalarEvent) else None
            if key is not None and not key.isascii() and any("\ud800" <= c <= "\udfff" for c in key):
                raise refuse("half of a surrogate pair is no character", here())
            is_key = bool(opened) and opened[-1].wants_key
            tag = getattr(event, "tag", None)
            if tag is not None:
                where = here(key) if is_key and key else here()
                mistakes.append((line, where, f"tags (here {printable(tag)}) are not read"))
            if is_key:
                if key is None:
                    raise refuse("a key must be plain text", here())
                if key == "<<":
                    mistakes.append((line, here(key), "merge keys are not read; write the keys out"))
                opened[-1].key, opened[-1].key_line = key, line
                continue
            if isinstance(event, yaml.CollectionStartEvent):
                opened.append(_Open(node.content, line, anchor))
                continue
        else:
            continue
        if anchor is not None:
            anchors[anchor] = node
        if not opened:
            root = node
            continue
        where, key_line = here(), opened[-1].key_line
        if not opened[-1].put(node):
            mistakes.append((key_line, where, "this key is here twice; keep one"))
    return root


def _begun(event: Any, anchors: dict[str | None, Node], line: int) -> Node:
    """What an event begins, or stands for."""
    if isinstance(event, yaml.AliasEvent):
        return replace(anchors[event.anchor], line=line)
    if isinstance(event, yaml.ScalarEvent):
        return Node(core_scalar(event.value) if event.implicit[0] else event.value, line)
    return Node({} if isinstance(event, yaml.MappingStartEvent) else [], line)


# A schema's mistakes ---------------------------------------------------------------------------------------------


class Mistakes(ValueError):
    """What is wrong within a block: paths from it, and sentences. For validators to raise."""

    def __init__(self, *found: Mistake) -> None:
        self.found = found
        super().__init__("; ".join(sentence for _, sentence in found))


def raise_mistakes(found: Iterable[Mistake]) -> None:
    """Raise them, if there are any."""
    if found := tuple(found):
        raise Mistakes(*found)


@dataclass(frozen=True)
class OneOf:
    """Annotation of a name in a registry."""

    names: Iterable[str]

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        return core_schema.literal_schema(list(self.names))


def validated(model: type[B], document: Document) -> B:
    """The document as a block of the schema.

    Raises
    ------
    UserError
        With every mistake that was found, one a line.
    """
    if not isinstance(document.root.content, dict):
        wanted = f"a mapping with the keys {', '.join(model.model_fields)} is needed at the top"
        raise document.refusal([((), f"{wanted}, not {shown(document.root.content)}")])
    try:
        block = model.model_validate(document.root.plain())
    except ValidationError as error:
        raise document.refusal(mistakes_of(error, model)) from None
    if document.mistakes:
        raise document.refusal([])
    return block


def mistakes_of(error: ValidationError, model: type[BaseModel], also: Sequence[str] = ()) -> Iterator[Mistake]:
    """pydantic's errors in plain words.

    Parameters
    ----------
    also : keys that the block has besides its fields
    """
    for one in error.errors(include_url=False):
        path, value = one["loc"], one["input"]
        block, annotation, metadata, description = _expected(model, path)
        if one["type"] == "value_error":
            reason = one["ctx"]["error"]
            found = reason.found if isinstance(reason, Mistakes) else [((), str(reason))]
            yield from (((*path, *steps), sentence) for steps, sentence in found)
        elif one["type"] == "missing":
            yield path[:-1], f"`{path[-1]}` is required: {description or _words(annotation, metadata)}"
        elif one["type"] == "extra_forbidden":
            keys, hints = [*block.model_fields, *also], getattr(block, "HINTS", {})
            yield path, hints.get(path[-1]) or f"unknown key, allowed are {', '.join(keys)}{nearest(path[-1], keys)}"
        else:
            words = description or _words(annotation, metadata)
            yield path, f"{shown(value)} is not allowed: {words}{nearest(value, _names(annotation, metadata))}"


def _expected(model: type[BaseModel], path: KeyPath) -> tuple[type[BaseModel], Any, Sequence[Any], str | None]:
    """What the schema has at a path: innermost block, annotation, metadata, description."""
    block, annotation, metadata, description = model, model, [], None  # type: type[BaseModel], Any, Sequence[Any], str | None
    for step in path:
        if get_origin(annotation) in (Union, UnionType):  # a block that may be left out
            blocks = [part for part in get_args(annotation) if isinstance(part, type) and issubclass(part, BaseModel)]
            annotation = blocks[0] if len(blocks) == 1 else annotation
        if isinstance(step, int) and get_origin(annotation) is tuple:
            annotation, metadata, description = get_args(annotation)[0], [], None
        elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
            block = annotation
            if step not in block.model_fields:
                break
            field = block.model_fields[str(step)]
            annotation, metadata, description = field.annotation, field.metadata, field.description
    return block, annotation, metadata, description


def _unwrapped(annotation: Any, metadata: Sequence[Any]) -> tuple[Any, list[Any]]:
    """An annotation without ``Annotated``, and all its metadata."""
    flat = [part for m in metadata for part in (m.metadata if isinstance(m, FieldInfo) else [m])]
    if get_origin(annotation) is not Annotated:
        return annotation, flat
    inner, *more = get_args(annotation)
    return _unwrapped(inner, [*more, *flat])


def _names(annotation: Any, metadata: Sequence[Any]) -> list[str]:
    """The names that an annotation allows."""
    annotation, metadata = _unwrapped(annotation, metadata)
    names = [str(name) for m in metadata if isinstance(m, OneOf) for name in m.names]
    if get_origin(annotation) is Literal:
        return [*names, *map(str, get_args(annotation))]
    if get_origin(annotation) in (Union, UnionType):
        return [*names, *(name for part in get_args(annotation) for name in _names(part, []))]
    return names


def _words(annotation: Any, metadata: Sequence[Any]) -> str:
    """What an annotation allows, in words."""
    annotation, metadata = _unwrapped(annotation, metadata)
    if get_origin(annotation) in (Union, UnionType):
        return " or ".join(_words(part, []) for part in get_args(annotation) if part is not NoneType)
    if names := _names(annotation, metadata):
        return ", ".join(names)
    if annotation in (int, float):
        return f"a {'whole ' if annotation is int else ''}number{_bounds(metadata)}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"a mapping with the keys {', '.join(annotation.model_fields)}"
    return {bool: "true or false", str: "text"}.get(annotation, "another value")


def _bounds(metadata: Sequence[Any]) -> str:
    words = {"ge": "of at least", "gt": "above", "le": "of at most", "lt": "below"}
    limits = {limit: getattr(m, limit) for m in metadata for limit in words if getattr(m, limit, None) is not None}
    if limits.keys() == {"ge", "le"}:
        return f" from {limits['ge']:g} to {limits['le']:g}"
    return "".join(f"{' and' if i else ''} {words[limit]} {limits[limit]:g}" for i, limit in enumerate(limits))


# Writing ---------------------------------------------------------------------------------------------------------


class _Dumper(yaml.SafeDumper):
    """Quotes what YAML 1.1 or 1.2 would read as anything but text; writes no aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


for _tag, _pattern, _first, _ in CORE:
    _Dumper.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", _pattern, list(_first))


def write_document(data: Any) -> str:
    """Plain data as YAML that reads back equal.

    Examples
    --------
    >>> print(write_document({"name": "1e3", "seeds": [0, 1], "weight_decay": 1e-5}), end="")
    name: '1e3'
    seeds: [0, 1]
    weight_decay: 1.0e-05
    """
    return str(yaml.dump(data, Dumper=_Dumper, sort_keys=False, default_flow_style=None, width=118))
