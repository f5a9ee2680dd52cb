"""What networks predicted, as files have it: read, checked, logits or probabilities told apart, put into one order.

A file is a dictionary of named arrays that are read when they are asked for; everything after that knows no formats.
"""

import contextlib
import csv
import json
import os
import re
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tokenize import TokenError
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from safetensors import SafetensorError, safe_open

from kdstats.errors import UserError

Kind = Literal["logits", "probabilities", "labels"]
Ids = NDArray[Any]  # (N,) str or int64
Members = dict[str, Callable[[], NDArray[Any]]]  # the arrays of a file: name -> read it

# Names of keys and columns, in lower case. The first one found counts.
IDS = ("id", "ids", "example_id", "example_ids", "image_id", "image_ids", "sample_id", "sample_ids", "uid", "index",
       "filename", "file_name", "path")  # fmt: skip
OUTPUTS = ("logits", "probabilities", "outputs")
PREDICTED = ("predicted", "predictions", "prediction", "preds", "pred")
LABELS = ("labels", "label", "targets", "target")
COLUMNS = "columns "  # begins the key of columns that are classes by their place alone

FORMATS = ".npz, .npy, .safetensors, .csv or .parquet"
MAGIC = {".npz": b"PK\x03\x04", ".npy": b"\x93NUMPY", ".parquet": b"PAR1"}
PICKLES = (".pkl", ".pickle", ".joblib", ".pt", ".pth", ".ckpt", ".bin")
EXPORT = "save numbers instead: numpy.savez(file, logits=…, ids=…)"
TOLERANCE = {2: 1e-2, 4: 1e-4, 8: 1e-6}  # of a row's sum, by bytes a number
ROUNDED = 1e-2  # the same for numbers printed with a few digits; further off, a row was not meant to sum to 1
LARGEST = 1e300  # differences of logits beyond it would overflow
BLOCK = 2**18  # numbers looked at together


@dataclass(frozen=True, eq=False)
class Predictions:
    """What one network says of N examples.

    Attributes
    ----------
    name : what people call it: the file's stem, or as given
    source : the file and key, for messages; empty for arrays
    kind : "logits", "probabilities" or "labels"
    values : (N, C) float16, float32 or float64 as the file has them, often a memory map; None for kind "labels"
    classes : (N,) int64, the predicted class, the first of tied ones; in aligned order
    ids : (N,) str or int64 in aligned order; None where the file has none
    detected : how the kind was told
    order : rows of ``values`` in aligned order; None as they lie

    Examples
    --------
    >>> network = read_predictions({"probabilities": [[0.9, 0.1], [0.3, 0.7]], "ids": ["a", "b"]}, "student")
    >>> network.kind, network.classes.tolist(), network.ids.tolist()
    ('probabilities', [0, 1], ['a', 'b'])
    >>> labels, (network,) = aligned(np.array([1, 0]), np.array(["b", "a"]), [network])
    >>> network.classes.tolist(), network.block(slice(0, 1)).tolist()
    ([1, 0], [[0.3, 0.7]])
    """

    name: str
    source: str
    kind: Kind
    values: NDArray[Any] | None
    classes: NDArray[np.int64]
    ids: Ids | None
    detected: str
    order: NDArray[np.intp] | None = None

    def block(self, rows: slice) -> NDArray[Any]:
        """Logits or probabilities of a slice of the aligned examples, (n, C); none of kind "labels"."""
        if self.values is None:
            raise ValueError(f"{self.name}: predicted labels have neither logits nor probabilities")
        return self.values[rows if self.order is None else self.order[rows]]

    @property
    def n_classes(self) -> int | None:
        """C; None where only labels were predicted."""
        return None if self.values is None else self.values.shape[1]


def read_predictions(
    source: str | Path | ArrayLike | Mapping[str, ArrayLike] | Predictions, name: str | None = None
) -> Predictions:
    """What a network predicted: of a file, a replicate's folder of a kdstats run, or arrays.

    Parameters
    ----------
    source
        ``.npz`` or ``.safetensors`` with a key logits, probabilities or labels (predicted), or one array of any name,
        and ids where there are some; ``.npy``; ``.csv`` or ``.parquet`` with a column a class (``0``, ``1`` …,
        ``logit_0`` …, ``prob_0`` … or all columns of floats, in their order), a column of lists, or a column of
        predicted labels; an array; a mapping of arrays with the same keys. ``labels`` beside other predictions are
        taken as the true ones (`labels_beside`).
    name
        What to call it. Default: the file's stem.

    Returns
    -------
    Predictions. ``.npy`` and ``.safetensors`` are memory-mapped, and no array is ever copied whole into float64.
    Where every row has no negative number and sums to 1 (within 1e-2 for float16 and text, 1e-4 for float32, 1e-6 for
    float64), they are probabilities whatever their key; ``detected`` says so.

    Raises
    ------
    UserError
        Names the file and the row: no such file, damaged, a pickle, NaN or infinity, probabilities that do not sum to
        one, less than two classes, ids that repeat, or several arrays of which none is named as predictions.

    Examples
    --------
    >>> network = read_predictions(np.array([[2.0, -1.0], [0.5, 3.0]]))
    >>> network.kind, network.classes.tolist(), network.detected
    ('logits', [0, 1], 'rows do not sum to 1: read as logits')
    """
    if isinstance(source, Predictions):
        return source if name is None else replace(source, name=name)
    where, stem, members = _opened(source, name or "predictions")
    key = _prediction_key(where, members)
    place = _place(where, key)
    values = members[key]()
    ids = _ids(where, members, len(values) if values.ndim else 0)
    called, source = name or stem, place if isinstance(source, str | Path) else ""
    if values.ndim == 1:
        return Predictions(called, source, "labels", None, _integers(place, values), ids, "predicted labels alone")
    values = _outputs(place, values)
    kind, classes, detected = _looked_at(place, values, key.lower())
    detected += f"; the classes are {key}" if key.startswith(COLUMNS) else ""
    return Predictions(called, source, kind, values, classes, ids, detected)


def read_labels(
    source: str | Path | ArrayLike | Mapping[str, ArrayLike], n_classes: int | None = None
) -> tuple[NDArray[np.int64], Ids | None]:
    """True labels (N,) and their ids, of any format of `read_predictions`: the key or column labels, or the only one.

    Raises
    ------
    UserError
        Names the file and the row: labels that are no integers, lie outside 0 to n_classes − 1, or are all the same.

    Examples
    --------
    >>> read_labels([0, 2, 1], n_classes=3)
    (array([0, 2, 1]), None)
    """
    where, _, members = _opened(source, "labels")
    others = [key for key in members if key.lower() not in IDS]
    named = [key for key in others if key.lower() in LABELS] or others
    if len(named) != 1:
        raise UserError(f"{where}: holds {_listed(members)}; name the true labels `labels`")
    return _true_labels(where, members, named[0], n_classes)


def labels_beside(
    source: str | Path | Mapping[str, ArrayLike], n_classes: int | None = None
) -> tuple[NDArray[np.int64], Ids | None] | None:
    """True labels that a file holds beside its predictions, as `read_labels`; None where it holds none.

    Examples
    --------
    >>> labels_beside({"logits": [[1.0, 2.0], [1.0, 0.0]], "labels": [1, 0]})
    (array([1, 0]), None)
    >>> labels_beside({"labels": [1, 0]}) is None  # these are predicted
    True
    """
    where, _, members = _opened(source, "predictions")
    named = [key for key in members if key.lower() in LABELS]
    if len(named) != 1 or _prediction_key(where, members) in named:
        return None
    return _true_labels(where, members, named[0], n_classes)


def _true_labels(where: str, members: Members, key: str, n_classes: int | None) -> tuple[NDArray[np.int64], Ids | None]:
    place = _place(where, key)
    labels = _integers(place, members[key](), n_classes)
    if (labels == labels[0]).all():
        raise UserError(f"{place}: every label is {labels[0]}; with one class only there is nothing to classify")
    return labels, _ids(where, members, len(labels))


def read_groups(source: str | Path | Mapping[str, ArrayLike], ids: Ids | None, n: int) -> dict[str, NDArray[np.str_]]:
    """Groups that the examples belong to: of ``FILE`` all columns, of ``FILE:COLUMN`` one; of ``.npy`` the array.

    Parameters
    ----------
    ids : (n,) of the examples, None where they have none
        With ids on both sides a group is looked up by id, and the file may have more examples than these; else the
        file has exactly n rows in the examples' order.

    Returns
    -------
    By name of the column, the group (n,) of each example as text

    Raises
    ------
    UserError
        Names the file and the row: an example without a group, or a column that is different in every row.

    Examples
    --------
    >>> read_groups({"id": [7, 8, 9], "sex": ["f", "m", "f"]}, np.array([9, 8]), 2)
    {'sex': array(['f', 'm'], dtype='<U1')}
    """
    column = ""
    if not isinstance(source, Mapping) and not Path(source).exists() and ":" in str(source):
        source, _, column = str(source).rpartition(":")
    where, stem, members = _opened(source, "groups", grouped=True)
    if column and column not in members:
        raise UserError(f"{where}: has no column {column}; it has {_listed(members)}")
    names = [column] if column else [key for key in members if key.lower() not in IDS]
    if not names:
        raise UserError(f"{where}: has no column of groups; it has {_listed(members)}")
    columns = {name: members[name]() for name in names}
    shape = columns[names[0]].shape
    for name, values in columns.items():
        if values.ndim != 1 or values.shape != shape or values.dtype.kind not in "iufbUT":
            raise UserError(f"{where}: {name or 'the array'} is {_described(values)}; groups are one name an example")
    own = _ids(where, members, shape[0])
    order = None if own is None or ids is None else _rows_of(ids, own, "the examples", where)
    if order is None and shape != (n,):
        raise UserError(f"{where}: has {shape[0]} rows for {n} examples; without ids both need the same order")
    rows = np.arange(n) if order is None else order
    groups = {}
    for name, values in columns.items():
        group = values.astype(str)[rows]
        if (empty := np.flatnonzero(np.char.strip(group) == "")).size:
            raise UserError(f"{_row(where, rows[empty[0]])}: has no {name or 'group'} ({_count(empty, 'such row')})")
        if (levels := len(np.unique(group))) > max(20, n // 2):
            raise UserError(f"{where}: {name or 'the array'} has {levels} groups for {n} examples; name another column")
        groups[name or stem] = group
    return groups


# One order ---------------------------------------------------------------------------------------------------------


def aligned(
    labels: NDArray[np.int64], label_ids: Ids | None, networks: Sequence[Predictions]
) -> tuple[NDArray[np.int64], list[Predictions]]:
    """Labels and networks in one order, that of the labels: by id where both sides have ids, else by place.

    Returns
    -------
    The labels as they came, and the networks with ``order`` set and ``classes`` and ``ids`` in that order

    Raises
    ------
    UserError
        Where ids are missing or too many (how many, which first), lengths or numbers of classes differ, a class lies
        outside, or something without ids meets files of different orders: its order cannot be known then.

    Examples
    --------
    >>> first = read_predictions({"labels": [0, 1, 1], "id": [5, 6, 7]}, "first")
    >>> labels, (first,) = aligned(np.array([1, 0, 1]), np.array([7, 5, 6]), [first])
    >>> first.order.tolist(), first.classes.tolist()
    ([2, 0, 1], [1, 0, 1])
    """
    _same_classes(labels, networks)
    sides = [("the labels", label_ids), *((_called(network), network.ids) for network in networks)]
    with_ids = [(who, ids) for who, ids in sides if ids is not None]
    everyone = []
    for network in networks:
        order = None
        if network.ids is not None:
            who, ids = with_ids[0]
            order = _rows_of(ids, network.ids, who, _called(network))
            if len(network.ids) > len(ids):
                extra = network.ids[~np.isin(np.arange(len(network.ids)), order)]
                raise UserError(
                    f"{_called(network)}: {_count(extra, 'id')} of its {len(network.ids)} {_are(extra)} not in {who},"
                    f" the first {_quoted(extra[0])}"
                )
            if (order == np.arange(len(order))).all():
                order = None
            elif placeless := [other for other, its in sides if its is None]:
                raise UserError(
                    f"{placeless[0]}: has no ids, and {who} and {_called(network)} have theirs in different orders, so"
                    " its order cannot be known; add ids to it"
                )
        everyone.append(network if order is None else _reordered(network, order))
        if len(network.classes) != len(labels):
            raise UserError(
                f"{_called(network)}: has {len(network.classes)} examples, the labels are {len(labels)}; without ids on"
                " both sides they need the same examples in the same order"
            )
    return labels, everyone


def _reordered(network: Predictions, order: NDArray[np.intp]) -> Predictions:
    assert network.ids is not None
    rows = order if network.order is None else network.order[order]
    return replace(network, order=rows, classes=network.classes[order], ids=network.ids[order])


def _same_classes(labels: NDArray[np.int64], networks: Sequence[Predictions]) -> None:
    sized = [network for network in networks if network.values is not None]
    if not sized:
        return
    first, n_classes = sized[0], sized[0].n_classes
    assert n_classes is not None
    for network in sized[1:]:
        if network.n_classes != n_classes:
            raise UserError(
                f"{_called(network)}: has {network.n_classes} classes, {_called(first)} {n_classes}; teacher, students"
                " and controls need the same classes"
            )
    for who, classes in [("the labels", labels), *((_called(network), network.classes) for network in networks)]:
        if (outside := np.flatnonzero(classes >= n_classes)).size:
            raise UserError(
                f"{_row(who, outside[0])}: class {classes[outside[0]]} is outside 0 to {n_classes - 1}, the classes of"
                f" {_called(first)} ({_count(outside, 'such row')})"
            )


def _called(network: Predictions) -> str:
    return network.source or network.name


def _rows_of(wanted: Ids, there: Ids, who: str, where: str) -> NDArray[np.intp]:
    """The rows of ``there`` that hold the wanted ids."""
    if wanted.dtype.kind != there.dtype.kind:
        wanted, there = wanted.astype(str), there.astype(str)
    sorter = np.argsort(there, kind="stable")
    rows = sorter[np.minimum(np.searchsorted(there, wanted, sorter=sorter), len(there) - 1)]
    if (missing := wanted[there[rows] != wanted]).size:
        raise UserError(
            f"{where}: lacks {_count(missing, 'id')} of the {len(wanted)} of {who}, the first {_quoted(missing[0])};"
            f" its own first is {_quoted(there[0])}"
        )
    return rows


# What an array is --------------------------------------------------------------------------------------------------


def _prediction_key(where: str, members: Members) -> str:
    """The key of the predictions: by name, else the only array there is."""
    others = [key for key in members if key.lower() not in IDS]
    for name in OUTPUTS:
        if found := [key for key in others if key.lower() == name or key.startswith(COLUMNS)]:
            return found[0]
    found = [key for key in others if key.lower() in PREDICTED] or others
    if len(found) != 1:
        raise UserError(
            f"{where}: holds {_listed(members)}; name the predictions `logits`, `probabilities` or `labels`"
            + (", or columns logit_0, logit_1 … or prob_0, prob_1 …" if where.endswith((".csv", ".parquet")) else "")
        )
    return found[0]


def _outputs(place: str, values: NDArray[Any]) -> NDArray[Any]:
    """Values (N, C) of float16, float32 or float64; integers, which nobody has many of, become float64."""
    if values.ndim != 2:
        raise UserError(f"{place}: is {_described(values)}; logits and probabilities have shape (examples, classes)")
    if not len(values):
        raise UserError(f"{place}: has no examples")
    if values.shape[1] < 2:
        raise UserError(f"{place}: has one class only ({_described(values)}); both classes of two need a column")
    if values.dtype.kind in "iu":
        return values.astype(np.float64)
    if values.dtype.kind != "f" or values.dtype.itemsize not in TOLERANCE:
        raise UserError(f"{place}: is {_described(values)}; logits and probabilities are float16, float32 or float64")
    return values


def _looked_at(place: str, values: NDArray[Any], key: str) -> tuple[Kind, NDArray[np.int64], str]:
    """Kind, predicted classes and how the kind was told, from one pass in blocks."""
    n, n_classes = values.shape
    tolerance = ROUNDED if place.endswith(".csv") else TOLERANCE[values.dtype.itemsize]
    classes, off = np.empty(n, np.int64), np.empty(n)
    step = max(1, BLOCK // n_classes)
    for rows in (slice(start, start + step) for start in range(0, n, step)):
        z = values[rows].astype(np.float32 if values.dtype.itemsize < 8 else np.float64, copy=False)
        classes[rows] = top = z.argmax(1)
        with np.errstate(invalid="ignore"):
            high, low = z[np.arange(len(z)), top].astype(np.float64), z.min(1).astype(np.float64)
        if (bad := np.flatnonzero(~((high <= LARGEST) & (low >= -LARGEST)))).size:
            column = np.flatnonzero(~(np.abs(z[bad[0]].astype(np.float64)) <= LARGEST))[0]
            raise UserError(
                f"{_row(place, rows.start + bad[0])}: class {column} is {z[bad[0], column]}; logits and probabilities"
                " are finite numbers"
            )
        inside = (low >= 0) & (high <= 1 + tolerance)
        off[rows] = np.where(inside, np.abs(z.sum(1, dtype=np.float64) - 1), np.inf)
    wrong = np.flatnonzero(off > tolerance)
    if not wrong.size:
        said = "key logits, but " if key == "logits" else ""
        return "probabilities", classes, f"{said}rows sum to 1: read as probabilities"
    if key == "logits":
        return "logits", classes, "key logits"
    if key == "probabilities" or (off <= max(tolerance, ROUNDED)).mean() > 0.5:
        row = wrong[0]
        z = values[row].astype(np.float64)
        fault = f"sums to {z.sum():.6g}" if z.min() >= 0 else f"class {z.argmin()} is {z.min():.6g}"
        raise UserError(
            f"{_row(place, row)}: {fault}; probabilities are not negative and sum to 1 within {tolerance:g}"
            f" ({_count(wrong, 'such row')} of {n}). If they are logits, name them logits"
        )
    return "logits", classes, "rows do not sum to 1: read as logits"


def _integers(place: str, labels: NDArray[Any], n_classes: int | None = None) -> NDArray[np.int64]:
    """Labels (N,) as int64, from 0."""
    if labels.ndim != 1:
        raise UserError(f"{place}: is {_described(labels)}; labels are one integer an example, shape (examples,)")
    if not len(labels):
        raise UserError(f"{place}: has no examples")
    if labels.dtype.kind not in "iu":
        odd = [row for row, label in enumerate(labels) if not re.fullmatch(r"\d+(\.0)?", str(label))]
        if odd:
            raise UserError(f"{_row(place, odd[0])}: label {labels[odd[0]]} is no integer; labels are integers from 0")
        raise UserError(f"{place}: labels are integers, not {labels.dtype}; convert them with .astype(int)")
    outside = np.flatnonzero((labels < 0) | (labels >= (n_classes or np.iinfo(np.int64).max)))
    if outside.size:
        right = f"0 to {n_classes - 1}" if n_classes else "integers from 0"
        raise UserError(
            f"{_row(place, outside[0])}: label {labels[outside[0]]} is outside; labels are {right}"
            f" ({_count(outside, 'such row')})"
        )
    return labels.astype(np.int64)


def _ids(where: str, members: Members, n: int) -> Ids | None:
    """The ids of n examples, as text or int64, none of them twice."""
    lower = {key.lower(): key for key in reversed(members)}
    key = next((lower[name] for name in IDS if name in lower), None)
    if key is None:
        return None
    ids = members[key]()
    if ids.ndim != 1 or len(ids) != n:
        raise UserError(f"{where}: {key} is {_described(ids)} for {n} examples; ids are one an example")
    if ids.dtype.kind == "S":
        ids = np.char.decode(ids, "utf-8", "replace")
    if ids.dtype.kind in "iu":
        ids = ids.astype(np.int64 if ids.dtype.kind == "i" or ids.max(initial=0) < 2**63 else str)
    elif ids.dtype.kind in "UT":
        ids = ids.astype(str)
    else:
        raise UserError(f"{where}: {key} has type {ids.dtype}; ids are integers or text")
    _, first, inverse = np.unique(ids, return_index=True, return_inverse=True)
    if (again := np.flatnonzero(first[inverse] != np.arange(n))).size:
        raise UserError(
            f"{_row(where, again[0])}: id {_quoted(ids[again[0]])} was there before ({_count(again, 'repeated id')});"
            " every example needs an id of its own"
        )
    return ids


# Words -------------------------------------------------------------------------------------------------------------


def _place(where: str, key: str) -> str:
    """File and key; of a CSV file, whose lines are counted, the file."""
    return f"{where}: {key}" if key and not where.endswith(".csv") else where


def _row(place: str, row: Any) -> str:
    """A row for people: the line of a CSV file, else the row of the array, counted from 0."""
    return f"{place}:{row + 2}" if place.endswith(".csv") else f"{place}: row {row}"


def _count(these: Sized, noun: str) -> str:
    return f"{len(these)} {noun}{'s' if len(these) > 1 else ''}"


def _are(these: NDArray[Any]) -> str:
    return "are" if len(these) > 1 else "is"


def _quoted(id: Any) -> str:
    return repr(id.item())


def _described(values: NDArray[Any]) -> str:
    return f"{values.dtype} of shape {values.shape}"


def _listed(members: Members) -> str:
    names = [key or "an array" for key in members]
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "") or "nothing"


# Formats -----------------------------------------------------------------------------------------------------------


def _opened(source: Any, what: str, grouped: bool = False) -> tuple[str, str, Members]:
    """Where it is from, for messages; its name; its arrays (of a table for groups: its columns, as they are)."""
    if isinstance(source, Mapping):
        return what, what, {str(key): partial(_array, f"{what}: {key}", value) for key, value in source.items()}
    if not isinstance(source, str | Path):
        return what, what, {"": partial(_array, what, source)}
    path = Path(source)
    if path.is_dir():
        stem, members = _replicate(path)
        return str(path), stem, members
    if not path.is_file():
        raise UserError(f"{path}: there is no such file; {what} come as {FORMATS}, or in a replicate's folder")
    kind = path.suffix.lower()
    if kind in PICKLES:
        raise UserError(f"{path}: a {kind} file can hold code, and is not opened for {what}; {EXPORT}")
    if kind not in (*MAGIC, ".safetensors", ".csv"):
        raise UserError(f"{path}: {kind or 'a file without ending'} is not read; {what} come as {FORMATS}")
    with _readable(path):
        with path.open("rb") as handle:
            start = handle.read(8)
        if not start:
            raise UserError(f"{path}: is empty")
        if not start.startswith(MAGIC.get(kind, b"")):
            looks = next((other for other, magic in MAGIC.items() if start.startswith(magic)), None)
            raise UserError(f"{path}: is no {kind} file" + (f"; it looks like {looks}, so rename it" if looks else ""))
        if kind in (".csv", ".parquet"):
            members = _columns(path, (_csv if kind == ".csv" else _parquet)(path), grouped)
        else:
            members = {".npz": _npz, ".npy": _npy, ".safetensors": _safetensors}[kind](path)
    return str(path), path.stem, {key: _readable(path)(read) for key, read in members.items()}


DAMAGE = (ValueError, OSError, EOFError, RuntimeError, SafetensorError, zipfile.BadZipFile, zlib.error, TokenError)


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn what a damaged, foreign or too large file raises into a sentence."""
    try:
        yield
    except MemoryError:
        raise UserError(
            f"{path}: does not fit into memory; .npy and .safetensors files need not, they are read in place"
        ) from None
    except DAMAGE as error:
        if "ython objects" in str(error) or "Object arrays" in str(error):
            raise UserError(f"{path}: holds pickled Python objects, which are not loaded; {EXPORT}") from None
        raise UserError(f"{path}: is damaged or cannot be read ({' '.join(str(error).split())})") from None


def _array(what: str, value: Any) -> NDArray[Any]:
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, RuntimeError) as error:
        raise UserError(f"{what}: is no array of numbers ({error})") from None
    if array.dtype.kind == "O" and all(isinstance(item, str) for item in array.flat):
        return array.astype(str)
    return array


def _must_fit(size: int) -> None:
    """Where it does not, the kernel would end the process without a word."""
    if size > os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"):
        raise MemoryError


def _npz(path: Path) -> Members:
    def read(member: str) -> NDArray[Any]:
        with zipfile.ZipFile(path) as archive, archive.open(member) as handle:
            _must_fit(archive.getinfo(member).file_size)
            array = np.lib.format.read_array(handle, allow_pickle=False)
            if handle.read(1):  # its checksum is compared at its end alone
                raise ValueError(f"{member} is longer than its header says")
            return array

    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    return {name.removesuffix(".npy"): partial(read, name) for name in names if name.endswith(".npy")}


def _npy(path: Path) -> Members:
    return {"": partial(np.load, path, mmap_mode="r", allow_pickle=False)}


TENSORS = {"F16": "<f2", "F32": "<f4", "F64": "<f8", "BF16": "<u2", "I8": "i1", "I16": "<i2", "I32": "<i4",
           "I64": "<i8", "U8": "u1", "U16": "<u2", "U32": "<u4", "U64": "<u8"}  # fmt: skip


def _safetensors(path: Path) -> Members:
    """Mapped in place: the library would copy each tensor."""

    def read(entry: dict[str, Any], start: int) -> NDArray[Any]:
        if entry["dtype"] not in TENSORS:
            raise UserError(f"{path}: a tensor has type {entry['dtype']}, which is not read; save float16 or float32")
        if 0 in entry["shape"]:
            return np.empty(entry["shape"])
        offset, shape = start + entry["data_offsets"][0], tuple(entry["shape"])
        tensor = np.memmap(path, TENSORS[entry["dtype"]], "r", offset, shape)
        if entry["dtype"] == "BF16":  # numpy has no bfloat16, which is the upper half of a float32
            return (tensor.astype(np.uint32) << 16).view(np.float32)
        return tensor

    with safe_open(path, framework="numpy"):  # checks the header, and that all tensors are there
        pass
    with path.open("rb") as handle:
        length = int.from_bytes(handle.read(8), "little")
        header = json.loads(handle.read(length))
    return {key: partial(read, entry, 8 + length) for key, entry in header.items() if key != "__metadata__"}


def _replicate(folder: Path) -> tuple[str, Members]:
    """A replicate of a kdstats run, its checksums compared."""
    from kdstats.store import Damaged, read_replicate

    if not (folder / "predictions.safetensors").is_file():
        inside = "; name one of its replicates/ID" if (folder / "replicates").is_dir() else ""
        raise UserError(f"{folder}: is a folder without predictions.safetensors, so no replicate of a run{inside}")
    try:
        with _readable(folder):
            stored = read_replicate(folder.parent, folder.name)
    except Damaged as damage:
        raise UserError(str(damage)) from None
    if stored.logits is None:
        raise UserError(f"{folder}: its training failed ({stored.meta.get('reason', 'no reason given')})")
    meta, arrays = stored.meta, {"logits": stored.logits, "labels": stored.labels}
    name = [] if meta.get("role") == "teacher" else [str(meta.get("kind", "replicate"))]
    name += [f"{key} {meta[key]}" for key in ("teacher", "seed") if meta.get(key) is not None]
    return " ".join(name), {key: partial(np.asarray, array) for key, array in arrays.items()}


# Tables ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Table:
    """Columns of a file by kind (float, integer, text, boolean, list, other); to read: several as (N, C), or one."""

    kinds: dict[str, str]
    matrix: Callable[[list[str]], NDArray[Any]]
    column: Callable[[str], NDArray[Any]]


ROWS = 4096  # of a Parquet file, read together
CLASS_COLUMN = re.compile(r"(?:(logits?|probs?|probabilit(?:y|ies)|p)[_ .]?)?(\d+)", re.IGNORECASE)


def _columns(path: Path, table: _Table, grouped: bool) -> Members:
    """The columns as members, those of the classes together."""
    single: Members = {name: partial(table.column, name) for name in table.kinds}
    if grouped:
        return {name: read for name, read in single.items() if table.kinds[name] not in ("list", "other")}
    known = (*IDS, *PREDICTED, *LABELS)
    by_kind: dict[str, dict[int, str]] = {}
    for name in table.kinds:
        if match := CLASS_COLUMN.fullmatch(name):
            kind = {"l": "logits", "p": "probabilities", "": "outputs"}[(match[1] or "")[:1].lower()]
            if (number := int(match[2])) in by_kind.setdefault(kind, {}):
                raise UserError(f"{path}: columns {by_kind[kind][number]} and {name} are both class {number}")
            by_kind[kind][number] = name
    members: Members = {}
    for kind, columns in by_kind.items():
        if len(columns) == 1 or (absent := set(range(len(columns))) - columns.keys()):
            raise UserError(
                f"{path}: has {_count(columns, 'column')} of classes ({columns[min(columns)]} …)"
                + (f" and none of class {min(absent)}" if len(columns) > 1 else "")
                + "; classes are numbered from 0 without gaps, and the first line has the names of the columns"
            )
        members[kind] = partial(table.matrix, [columns[number] for number in sorted(columns)])
    lists = [name for name, kind in table.kinds.items() if kind == "list"]
    floats = [name for name, kind in table.kinds.items() if kind == "float" and name.lower() not in known]
    if not members and len(lists) == 1 and lists[0].lower() not in OUTPUTS:
        members = {"outputs": single[lists[0]]}
    elif not members and lists:
        members = {name: single[name] for name in lists}
    elif not members and len(floats) > 1:
        members = {f"{COLUMNS}{floats[0]} … {floats[-1]}": partial(table.matrix, floats)}
    elif not members and not any(name.lower() in (*PREDICTED, *LABELS) for name in single):
        return single
    return members | {name: read for name, read in single.items() if name.lower() in known}


def _csv(path: Path) -> _Table:
    import pandas as pd

    _must_fit(path.stat().st_size)
    try:
        with path.open(encoding="utf-8-sig", newline="") as handle:
            header = next(csv.reader(handle), [])
        if numeric := [name for name in header if _is_number(name) and not name.isdecimal()]:
            raise UserError(f"{path}: its first line holds {numeric[0]}; it needs the names of the columns, 0, 1 … say")
        if doubled := [name for name in header if header.count(name) > 1]:
            raise UserError(f"{path}: has several columns {doubled[0]!r}")
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame = pd.read_csv(
                path, dtype={name: str for name in header if name.lower() in IDS}, keep_default_na=False,
                na_values=[""], encoding="utf-8-sig", index_col=False, low_memory=False,
            )  # fmt: skip
    except (csv.Error, pd.errors.ParserWarning) as error:
        raise UserError(f"{path}: is no CSV table ({' '.join(str(error).split())})") from None
    if not len(frame):
        raise UserError(f"{path}: has no rows below its header line")

    def kind(column: Any) -> str:
        types = pd.api.types
        if types.is_bool_dtype(column):
            return "boolean"
        return "integer" if types.is_integer_dtype(column) else "float" if types.is_float_dtype(column) else "text"

    def matrix(names: list[str]) -> NDArray[Any]:
        values = np.empty((len(frame), len(names)))
        for j, name in enumerate(names):
            values[:, j] = pd.to_numeric(frame[name], errors="coerce")
            if kinds[name] == "text" and (odd := np.flatnonzero(np.isnan(values[:, j]))).size:
                text = str(frame[name][odd[0]])
                raise UserError(f"{_row(str(path), odd[0])}: column {name} is {text!r}, which is no number")
        return values

    def column(name: str) -> NDArray[Any]:
        if kinds[name] == "text" and (empty := np.flatnonzero(frame[name].isna())).size:
            raise UserError(f"{_row(str(path), empty[0])}: column {name} is empty ({_count(empty, 'such row')})")
        if kinds[name] != "text":
            return frame[name].to_numpy()
        texts = frame[name].to_numpy(dtype=str)
        whole = name.lower() in IDS and all(re.fullmatch(r"0|-?[1-9]\d{0,17}", text) for text in texts)
        return texts.astype(np.int64) if whole else texts

    kinds = {str(name): kind(frame[name]) for name in frame}
    return _Table(kinds, matrix, column)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _parquet(path: Path) -> _Table:
    try:
        import pyarrow as pa
        import pyarrow.compute
        import pyarrow.parquet
    except ImportError:
        raise UserError(
            f"{path}: .parquet files need pyarrow, which is not installed: pip install pyarrow, or save .npz or .csv"
        ) from None
    file = pa.parquet.ParquetFile(path, memory_map=True)
    n, schema = file.metadata.num_rows, file.schema_arrow
    if not n:
        raise UserError(f"{path}: has no rows")

    def kind(type: Any) -> str:
        if pa.types.is_dictionary(type):
            return "text" if kind(type.value_type) == "text" else "other"
        tests = {"float": pa.types.is_floating, "integer": pa.types.is_integer, "boolean": pa.types.is_boolean}
        tests["text"] = lambda type: pa.types.is_string(type) or pa.types.is_large_string(type)
        tests["list"] = lambda type: is_list(type) and kind(type.value_type) in ("float", "integer")
        return next((name for name, test in tests.items() if test(type)), "other")

    def is_list(type: Any) -> bool:
        return pa.types.is_list(type) or pa.types.is_large_list(type) or pa.types.is_fixed_size_list(type)

    def floats(types: list[Any]) -> np.dtype[Any]:
        dtype = np.result_type(*(type.to_pandas_dtype() for type in types))
        return dtype if dtype.kind == "f" else np.dtype(np.float64)

    def matrix(names: list[str]) -> NDArray[Any]:
        if other := [name for name in names if kinds[name] not in ("float", "integer")]:
            raise UserError(f"{path}: column {other[0]} has type {schema.field(other[0]).type}; a class has numbers")
        values = np.empty((n, len(names)), floats([schema.field(name).type for name in names]))
        start = 0
        for batch in file.iter_batches(ROWS, columns=names):
            for j, name in enumerate(names):
                # an empty cell becomes NaN, which is refused with its row
                values[start : start + len(batch), j] = batch.column(name).to_numpy(zero_copy_only=False)
            start += len(batch)
        return values

    def lists(name: str) -> NDArray[Any]:
        values, start = np.empty((n, 0)), 0
        for batch in file.iter_batches(ROWS, columns=[name]):
            column = batch.column(0)
            sizes = pa.compute.list_value_length(column).to_numpy(zero_copy_only=False)
            if not start:
                values = np.empty((n, int(np.nan_to_num(sizes[0]))), floats([column.type.value_type]))
            if (odd := np.flatnonzero(sizes != values.shape[1])).size:
                found = "is empty" if np.isnan(sizes[odd[0]]) else f"has {int(sizes[odd[0]])} numbers"
                raise UserError(
                    f"{path}: row {start + odd[0]}: {name} {found}, the first row has {values.shape[1]}; all rows"
                    " need the same classes"
                )
            flat = column.flatten().to_numpy(zero_copy_only=False)
            values[start : start + len(batch)] = flat.reshape(len(batch), -1)
            start += len(batch)
        return values

    def column(name: str) -> NDArray[Any]:
        if kinds[name] == "list":
            return lists(name)
        found = file.read(columns=[name]).column(0)
        if found.null_count:
            empty = np.flatnonzero(found.is_null().to_numpy())
            raise UserError(f"{path}: row {empty[0]}: {name} is empty ({_count(empty, 'such row')})")
        return np.array(found.to_pylist(), str) if kinds[name] == "text" else found.to_numpy()

    kinds = {field.name: kind(field.type) for field in schema}
    return _Table(kinds, matrix, column)
