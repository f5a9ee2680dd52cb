"""What networks predicted: logits or probabilities told apart, ids, true labels and groups, everything in one order.

The formats of files are `kdstats.formats`' business; here it is named arrays and what they mean.
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kdstats.errors import UserError
from kdstats.formats import (
    CLASSES,
    IDS,
    LABELS,
    OUTPUTS,
    PREDICTED,
    File,
    counted,
    described,
    listed,
    opened,
    place_of,
    row_of,
)

Kind = Literal["logits", "probabilities", "labels"]
Ids = NDArray[Any]  # (N,) str or int64
Groups = dict[str, NDArray[Any]]

TOLERANCE = {2: 1e-2, 4: 1e-4, 8: 1e-6}  # of a row's sum, by bytes a number
ROUNDED = 1e-2  # the same for text and for wider numbers that were of half precision; further off, none meant 1
HALF = 0x1FFF  # the bits of a float32 that neither float16 nor bfloat16 has
LARGEST = 1e300  # differences of logits beyond it would overflow
BLOCK = 2**18  # numbers looked at together
PREFIX = re.compile(r"(?:logits?|probs?|probabilit(?:y|ies)|p)[_ .](?=.)", re.IGNORECASE)  # of a class's column


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
    truth : (N,) int64, true labels that lie beside the predictions, in aligned order; None where there are none
    class_names : (C,) names of the columns that are the classes; empty where they are known by number alone
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
    truth: NDArray[np.int64] | None = None
    class_names: tuple[str, ...] = ()
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
        ``logit_0`` …, ``prob_0`` … or all columns of numbers that are neither ids nor labels, in their order), a column
        of lists, or a column of predicted labels; an array; a mapping of arrays with the same keys. ``labels`` beside
        other predictions are the true ones, unless they are the predicted classes everywhere.
    name
        What to call it. Default: the file's stem.

    Returns
    -------
    Predictions. ``.npy`` and ``.safetensors`` are memory-mapped, and no array is ever copied whole into float64.
    Where every row has no negative number and sums to 1, they are probabilities whatever their key; ``detected`` says
    so. The sum may be off by 1e-2 in text and in half precision, 1e-4 in float32, 1e-6 in float64. What counts is the
    precision that the numbers have: bfloat16 and float16 in wider numbers are half precision still. Nothing is changed
    here; the measures divide each row by its sum in float64.

    Raises
    ------
    UserError
        Names the file and the row: no such file, damaged, a pickle, NaN or infinity, probabilities that do not sum to
        one, percentages, outputs between 0 and 1 that nobody named, less than two classes, ids that repeat, a column
        that may be ids under another name, or several arrays of which none is named as predictions.

    Examples
    --------
    >>> network = read_predictions(np.array([[2.0, -1.0], [0.5, 3.0]]))
    >>> network.kind, network.classes.tolist(), network.detected
    ('logits', [0, 1], 'rows do not sum to 1: read as logits')
    """
    if isinstance(source, Predictions):
        return source if name is None else replace(source, name=name)
    file = opened(source, name or "predictions")
    key = _prediction_key(file)
    place = place_of(file.where, key)
    values = file.arrays[key]()
    ids = _ids(file, len(values) if values.ndim else 0, {key})
    called, source = name or file.stem, place if isinstance(source, str | Path) else ""
    if values.ndim == 1:
        classes = _integers(place, values)
        truth = _truth(file, key, classes)
        return Predictions(called, source, "labels", None, classes, ids, "predicted labels alone", truth)
    values = _outputs(place, values)
    kind, classes, detected = _looked_at(place, values, key.lower())
    if file.columns:
        _check_columns(file, kind, values, classes)
        detected += f"; the classes are columns {file.columns[0]} … {file.columns[-1]}"
    return Predictions(called, source, kind, values, classes, ids, detected, _truth(file, key, classes), _bare(file))


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
    file = opened(source, "labels", tabled=False)
    others = [key for key in file.arrays if key.lower() not in IDS]
    named = [key for key in others if key.lower() in LABELS] or others
    if len(named) != 1:
        raise UserError(f"{file.where}: holds {listed(file.arrays)}; name the true labels `labels`")
    place = place_of(file.where, named[0])
    labels = _integers(place, file.arrays[named[0]](), n_classes)
    if (labels == labels[0]).all():
        raise UserError(f"{place}: every label is {labels[0]}; with one class only there is nothing to classify")
    return labels, _ids(file, len(labels), set(named))


# Groups ------------------------------------------------------------------------------------------------------------


def read_groups(source: str | Path | Mapping[str, ArrayLike], ids: Ids | None, n: int) -> dict[str, NDArray[np.str_]]:
    """Groups that the examples belong to: of ``FILE`` all columns, of ``FILE:COLUMN`` one; of ``.npy`` the array.

    Parameters
    ----------
    ids : (n,) of the examples, None where they have none
        With ids the file needs them too, a group is looked up by id, and the file may have more examples than these;
        without, the file has none and exactly n rows in the examples' order.

    Returns
    -------
    By name of the column, the group (n,) of each example as text

    Raises
    ------
    UserError
        Names the file and the row: an example without a group, ids on one side only, or a column that is different in
        every row.

    Examples
    --------
    >>> read_groups({"id": [7, 8, 9], "sex": ["f", "m", "f"]}, np.array([9, 8]), 2)
    {'sex': array(['f', 'm'], dtype='<U1')}
    """
    column = ""
    if not isinstance(source, Mapping) and ":" in str(source) and not os.path.lexists(source):
        source, _, column = str(source).rpartition(":")
    file = opened(source, "groups", tabled=False)
    where = file.where
    if column and column not in file.arrays:
        raise UserError(f"{where}: has no column {column}; it has {listed(file.arrays)}")
    names = [column] if column else [key for key in file.arrays if key.lower() not in IDS]
    if not names:
        raise UserError(f"{where}: has no column of groups; it has {listed(file.arrays)}")
    columns = {name: file.arrays[name]() for name in names}
    shape = columns[names[0]].shape
    for name, values in columns.items():
        if values.ndim != 1 or values.shape != shape:
            raise UserError(f"{where}: {name or 'the array'} is {described(values)}; groups are one name an example")
    own = _ids(file, shape[0], set(names if len(names) == 1 else ()))
    if (own is None) != (ids is None):
        raise _ids_on_one_side(where, "the networks", own is not None)
    if own is None and shape != (n,):
        raise UserError(f"{where}: has {shape[0]} rows for {n} examples; without ids both need the same order")
    rows = np.arange(n) if own is None or ids is None else _rows_of(ids, own, "the examples", where)
    return {name or file.stem: _group(where, name, values, rows).astype(str) for name, values in columns.items()}


def named_groups(groups: Mapping[str, ArrayLike], n: int) -> Groups:
    """Groups (n,) of n examples by name, in the examples' order.

    Raises
    ------
    UserError
        No mapping, another length, an example without a group, or as many groups as examples.

    Examples
    --------
    >>> named_groups({"sex": ["f", "m", "f"]}, 3)
    {'sex': array(['f', 'm', 'f'], dtype='<U1')}
    """
    if not isinstance(groups, Mapping):
        raise UserError(f"groups is of type {type(groups).__name__}: it maps names to values, {{'sex': […]}}")
    found = {}
    for name, values in opened(groups, "groups").arrays.items():
        array = values()
        if array.shape != (n,):
            raise UserError(f"groups: {name} is {described(array)}; groups are one name for each of {n} examples")
        found[name] = _group("groups", name, array, np.arange(n))
    return found


def _group(where: str, name: str, values: NDArray[Any], rows: NDArray[np.intp]) -> NDArray[Any]:
    """The groups of some rows of a file, none of them empty."""
    if values.dtype.kind not in "iufbUTO":
        raise UserError(f"{where}: {name or 'the array'} has type {values.dtype}; groups are text or numbers")
    group = values[rows]
    if group.dtype.kind == "f":
        missing = np.isnan(group)
    elif group.dtype.kind == "O":
        plain = [isinstance(one, str | int | float | np.generic) and one == one and str(one).strip() for one in group]
        missing, group = ~np.array(plain, bool), group.astype(str)
    else:
        missing = np.char.strip(group.astype(str)) == ""
    if (empty := np.flatnonzero(missing)).size:
        raise UserError(f"{row_of(where, rows[empty[0]])}: has no {name or 'group'} ({counted(empty, 'such row')})")
    if (levels := len(np.unique(group))) > max(20, len(group) // 2):
        raise UserError(
            f"{where}: {name or 'the array'} has {levels} groups for {len(group)} examples; name another column"
        )
    return group


# One order ---------------------------------------------------------------------------------------------------------


def aligned(
    labels: NDArray[np.int64], label_ids: Ids | None, networks: Sequence[Predictions], called: str = "the labels"
) -> tuple[NDArray[np.int64], list[Predictions]]:
    """Labels and networks in one order, that of the labels: by id, or by place where nothing has ids.

    Parameters
    ----------
    called : the file of the labels, for messages

    Returns
    -------
    The labels as they came, and the networks with ``order`` set and ``classes``, ``ids`` and ``truth`` in that order

    Raises
    ------
    UserError
        Where some have ids and some have none, ids are missing or too many (how many, which first), lengths, numbers
        or names of classes differ, a class lies outside, or the true labels beside a network are others.

    Examples
    --------
    >>> first = read_predictions({"labels": [0, 1, 1], "id": [5, 6, 7]}, "first")
    >>> labels, (first,) = aligned(np.array([1, 0, 1]), np.array([7, 5, 6]), [first])
    >>> first.order.tolist(), first.classes.tolist()
    ([2, 0, 1], [1, 0, 1])
    """
    everyone = list(networks)
    sides = [(called, label_ids), *((_file(one), one.ids) for one in everyone)]
    with_ids, without = ([who for who, ids in sides if (ids is None) == none] for none in (False, True))
    if with_ids and without:
        raise _ids_on_one_side(without[0], with_ids[0])
    _same_classes(called, labels, everyone)
    if label_ids is None:
        _same_length(called, labels, everyone)
    else:
        everyone = [_reordered(one, called, label_ids) for one in everyone]
    for one in everyone:
        _same_truth(called, labels, one)
    return labels, everyone


def _ids_on_one_side(where: str, other: str, has: bool = False) -> UserError:
    with_ids, without = (where, other) if has else (other, where)
    how = "give ids to every file of an audit, or to none"
    if "replicates" in Path(without).parts:
        how = "a replicate of a run has none, so save its logits with ids, numpy.savez(file, logits=…, ids=…)"
    return UserError(
        f"{without}: there are no ids, but there are in {with_ids}, so the order of its examples cannot be known; {how}"
    )


def _same_length(called: str, labels: NDArray[np.int64], networks: Sequence[Predictions]) -> None:
    """Without ids; what stands alone against all others is blamed."""
    sizes = {len(one.classes) for one in networks}
    odd = next((one for one in networks if len(one.classes) != len(labels)), None)
    if odd is None:
        return
    there, n = (_called(odd), len(odd.classes)) if len(sizes) > 1 else (called, len(labels))
    others, m = (called, len(labels)) if len(sizes) > 1 else (_called(odd), len(odd.classes))
    raise UserError(
        f"{there}: has {n} examples, {others} {m}; without ids all need the same examples in the same order"
    )


def _reordered(network: Predictions, called: str, ids: Ids) -> Predictions:
    """A network in the order of these ids, which have to be its own."""
    assert network.ids is not None
    order = _rows_of(ids, network.ids, called, _called(network))
    if len(network.ids) > len(ids):
        extra = network.ids[~np.isin(np.arange(len(network.ids)), order)]
        raise UserError(
            f"{_called(network)}: {counted(extra, 'id')} of its {len(network.ids)} {'are' if len(extra) > 1 else 'is'}"
            f" not in {called}, the first {_quoted(extra[0])}"
        )
    if (order == np.arange(len(order))).all():
        return network
    return replace(
        network,
        order=order if network.order is None else network.order[order],
        classes=network.classes[order],
        ids=network.ids[order],
        truth=None if network.truth is None else network.truth[order],
    )


def _same_classes(called: str, labels: NDArray[np.int64], networks: Sequence[Predictions]) -> None:
    named = [one for one in networks if one.class_names]
    for one in named[1:]:
        for number, (its, first) in enumerate(zip_longest(one.class_names, named[0].class_names)):
            if its != first:
                raise UserError(
                    f"{_called(one)}: class {number} is {its or 'missing'}, in {_called(named[0])} it is"
                    f" {first or 'missing'}; all need the same columns of classes in the same order, and no other"
                    " columns of numbers than ids and labels"
                )
    sized = [one for one in networks if one.values is not None]
    if not sized:
        return
    first, n_classes = sized[0], sized[0].n_classes
    assert n_classes is not None
    for one in sized[1:]:
        if one.n_classes != n_classes:
            raise UserError(
                f"{_called(one)}: has {one.n_classes} classes{_columns(one)}, {_called(first)} {n_classes}"
                f"{_columns(first)}; teacher, students and controls need the same classes"
            )
    for who, classes in [(called, labels), *((_called(one), one.classes) for one in networks)]:
        if (outside := np.flatnonzero(classes >= n_classes)).size:
            raise UserError(
                f"{row_of(who, outside[0])}: class {classes[outside[0]]} is outside 0 to {n_classes - 1}, the classes"
                f" of {_called(first)}{_columns(first)} ({counted(outside, 'such row')})"
            )


def _columns(network: Predictions) -> str:
    names = network.class_names
    shown = names if len(names) <= 20 else (*names[:10], "…", names[-1])
    return f" (columns {', '.join(shown)})" if names else ""


def _same_truth(called: str, labels: NDArray[np.int64], network: Predictions) -> None:
    if network.truth is None or not (other := np.flatnonzero(network.truth != labels)).size:
        return
    row = other[0]
    its = row if network.order is None else network.order[row]
    raise UserError(
        f"{row_of(_file(network), its)}: the true label beside it is {network.truth[row]}, and {labels[row]} in"
        f" {called} ({counted(other, 'such row')} of {len(labels)}); are these the same examples in the same order?"
    )


def _called(network: Predictions) -> str:
    return network.source or network.name


def _file(network: Predictions) -> str:
    """The source without its key."""
    if network.source.endswith((".npy", ".csv")):
        return network.source
    return network.source.rpartition(": ")[0] or _called(network)


def _rows_of(wanted: Ids, there: Ids, who: str, where: str) -> NDArray[np.intp]:
    """The rows of ``there`` that hold the wanted ids."""
    if wanted.dtype.kind != there.dtype.kind:
        wanted, there = wanted.astype(str), there.astype(str)
    sorter = np.argsort(there, kind="stable")
    rows = sorter[np.minimum(np.searchsorted(there, wanted, sorter=sorter), len(there) - 1)]
    if (missing := wanted[there[rows] != wanted]).size:
        raise UserError(
            f"{where}: lacks {counted(missing, 'id')} of the {len(wanted)} of {who}, the first {_quoted(missing[0])};"
            f" its own first is {_quoted(there[0])}"
        )
    return rows


# What an array is --------------------------------------------------------------------------------------------------


def _prediction_key(file: File) -> str:
    """The key of the predictions: by name, else the only array there is."""
    others = [key for key in file.arrays if key.lower() not in IDS]
    for names in (*((name,) for name in (*OUTPUTS, CLASSES)), PREDICTED):
        if found := [key for key in others if key.lower() in names]:
            break
    else:
        found = others
    if len(found) != 1:
        raise UserError(
            f"{file.where}: holds {listed(file.arrays)}; name the predictions `logits`, `probabilities` or `labels`"
            + (", or columns logit_0, logit_1 … or prob_0, prob_1 …" * file.where.endswith((".csv", ".parquet")))
        )
    return found[0]


def _outputs(place: str, values: NDArray[Any]) -> NDArray[Any]:
    """Values (N, C) of float16, float32 or float64; integers, which nobody has many of, become float64."""
    if values.ndim != 2:
        raise UserError(f"{place}: is {described(values)}; logits and probabilities have shape (examples, classes)")
    if not len(values):
        raise UserError(f"{place}: has no examples")
    if values.shape[1] < 2:
        raise UserError(f"{place}: has one class only ({described(values)}); both classes of two need a column")
    if values.dtype.kind in "iu":
        return values.astype(np.float64)
    if values.dtype.kind != "f" or values.dtype.itemsize not in TOLERANCE:
        raise UserError(f"{place}: is {described(values)}; logits and probabilities are float16, float32 or float64")
    return values


def _looked_at(place: str, values: NDArray[Any], key: str) -> tuple[Kind, NDArray[np.int64], str]:
    """Kind, predicted classes and how the kind was told, from one pass in blocks."""
    n, n_classes = values.shape
    classes, sums, lows, highs = np.empty(n, np.int64), np.empty(n), np.empty(n), np.empty(n)
    width = 2
    step = max(1, BLOCK // n_classes)
    for rows in (slice(start, start + step) for start in range(0, n, step)):
        with np.errstate(invalid="ignore", over="ignore"):
            z = values[rows].astype(np.float32 if values.dtype.itemsize < 8 else np.float64, copy=False)
            classes[rows] = top = z.argmax(1)
            high, low = z[np.arange(len(z)), top].astype(np.float64), z.min(1).astype(np.float64)
            highs[rows], lows[rows], sums[rows] = high, low, z.sum(1, dtype=np.float64)
            if (bad := np.flatnonzero(~((high <= LARGEST) & (low >= -LARGEST)))).size:
                column = np.flatnonzero(~(np.abs(z[bad[0]].astype(np.float64)) <= LARGEST))[0]
                raise UserError(
                    f"{row_of(place, rows.start + bad[0])}: class {column} is {z[bad[0], column]}; logits and"
                    " probabilities are finite numbers"
                )
            width = max(width, _width(z)) if width < z.itemsize else width
    tolerance = ROUNDED if place.endswith(".csv") else TOLERANCE[width]
    off = np.where(lows >= 0, np.abs(sums - 1), np.inf)
    wrong = np.flatnonzero(off > tolerance)
    if not wrong.size:
        said = "key logits, but " if key == "logits" else ""
        return "probabilities", classes, f"{said}rows sum to 1: read as probabilities"
    if key == "logits":
        return "logits", classes, "key logits"
    row = wrong[0]
    if lows.min() >= 0 and (np.abs(sums / 100 - 1) <= ROUNDED).all():
        raise UserError(f"{place}: rows sum to 100; divide percentages by 100, or name them logits if they are")
    if key == "probabilities" or (off <= ROUNDED).mean() > 0.5:
        z = values[row].astype(np.float64)
        fault = f"sums to {z.sum():.6g}" if z.min() >= 0 else f"class {z.argmin()} is {z.min():.6g}"
        raise UserError(
            f"{row_of(place, row)}: {fault}; probabilities are not negative and sum to 1 within {tolerance:g}"
            f" ({counted(wrong, 'such row')} of {n}). If they are logits, name them logits"
        )
    if lows.min() >= 0 and highs.max() <= 1:
        raise UserError(
            f"{row_of(place, row)}: sums to {sums[row]:.6g}, and all numbers lie between 0 and 1, so they may be"
            " either: name them logits, or divide each row by its sum and name them probabilities"
        )
    return "logits", classes, "rows do not sum to 1: read as logits"


def _width(z: NDArray[Any]) -> int:
    """Bytes of the narrowest floats that hold these numbers: 2 of float16 or bfloat16, 4, 8."""
    single = z.astype(np.float32, copy=False)
    if z.itemsize == 8 and not (single == z).all():
        return 8
    return 4 if (single.view(np.uint32) & HALF).any() else 2


def _check_columns(file: File, kind: Kind, values: NDArray[Any], classes: NDArray[np.int64]) -> None:
    """Refuse columns that were taken for classes, and speak against it."""
    integers = [name for name in file.columns if file.kinds[name] == "integer"]
    if integers and kind == "logits":
        raise UserError(
            f"{file.where}: column {integers[0]} holds integers, which are no logits; leave it out, or number the"
            " columns of the classes: logit_0, logit_1 …"
        )
    for key in (key for key in file.arrays if key.lower() in PREDICTED):
        predicted = _integers(place_of(file.where, key), file.arrays[key](), values.shape[1])
        rows = np.arange(len(values))
        if (other := np.flatnonzero(values[rows, predicted] < values[rows, classes])).size:
            raise UserError(
                f"{row_of(file.where, other[0])}: {key} is {predicted[other[0]]}, and of the columns {file.columns[0]}"
                f" … {file.columns[-1]} {file.columns[classes[other[0]]]} is largest; leave out what is no prediction"
            )


def _bare(file: File) -> tuple[str, ...]:
    """Names of classes, without prob_ or logit_ where all have it."""
    bare = [PREFIX.sub("", name) for name in file.columns]
    return tuple(bare) if all(map(PREFIX.match, file.columns)) else file.columns


def _truth(file: File, key: str, classes: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """True labels beside predictions; of text nothing is known, and what is predicted everywhere is a prediction."""
    found: dict[str, NDArray[np.int64]] = {}
    for other in file.arrays:
        if other != key and other.lower() in LABELS and file.kinds[other] in ("integer", "float", "mixed"):
            labels = _integers(place_of(file.where, other), file.arrays[other]())
            if len(labels) != len(classes):
                raise UserError(f"{file.where}: {other} is {described(labels)} for {len(classes)} examples")
            if not np.array_equal(labels, classes):
                found[other] = labels
    names = list(found)
    for other in names[1:]:
        if (row := np.flatnonzero(found[other] != found[names[0]])).size:
            raise UserError(f"{row_of(file.where, row[0])}: {names[0]} and {other} differ; which are the true labels?")
    return found[names[0]] if names else None


def _integers(place: str, labels: NDArray[Any], n_classes: int | None = None) -> NDArray[np.int64]:
    """Labels (N,) as int64, from 0."""
    if labels.ndim != 1:
        raise UserError(f"{place}: is {described(labels)}; labels are one integer an example, shape (examples,)")
    if not len(labels):
        raise UserError(f"{place}: has no examples")
    if labels.dtype.kind not in "iu":
        odd = [row for row, label in enumerate(labels) if not re.fullmatch(r"\d+(\.0)?", str(label))]
        if odd:
            raise UserError(
                f"{row_of(place, odd[0])}: label {labels[odd[0]]} is no integer; labels are integers from 0"
            )
        raise UserError(f"{place}: labels are integers, not {labels.dtype}; convert them with .astype(int)")
    outside = np.flatnonzero((labels < 0) | (labels >= (n_classes or np.iinfo(np.int64).max)))
    if outside.size:
        right = f"0 to {n_classes - 1}" if n_classes else "integers from 0"
        raise UserError(
            f"{row_of(place, outside[0])}: label {labels[outside[0]]} is outside; labels are {right}"
            f" ({counted(outside, 'such row')})"
        )
    return labels.astype(np.int64)


def _ids(file: File, n: int, used: set[str]) -> Ids | None:
    """The ids of n examples, as text or int64, none of them twice; without, nothing else may look like ids."""
    lower = {key.lower(): key for key in reversed(list(file.arrays))}
    found = [lower[name] for name in IDS if name in lower and lower[name] not in used]
    found = [key for key in found if key.lower() != "image" or file.kinds[key] not in ("list", "other")]  # pixels
    if not found:
        for key, differs in file.unknown.items():
            if n > 2 and key not in used and differs():  # of two rows, most columns differ
                raise UserError(
                    f"{file.where}: {key} is different in every row: name it `id` to put the examples in order by it,"
                    " or leave it out"
                )
        return None
    key = found[0]
    ids = file.arrays[key]()
    if ids.ndim != 1 or len(ids) != n:
        raise UserError(f"{file.where}: {key} is {described(ids)} for {n} examples; ids are one an example")
    if ids.dtype.kind == "S":
        ids = np.char.decode(ids, "utf-8", "replace")
    if ids.dtype.kind in "iu":
        ids = ids.astype(np.int64 if ids.dtype.kind == "i" or ids.max(initial=0) < 2**63 else str)
    elif ids.dtype.kind in "UT":
        ids = ids.astype(str)
    else:
        raise UserError(f"{file.where}: {key} has type {ids.dtype}; ids are integers or text")
    _, first, inverse = np.unique(ids, return_index=True, return_inverse=True)
    if (again := np.flatnonzero(first[inverse] != np.arange(n))).size:
        of = "" if key.lower() in ("id", "ids") else f" of {key}"
        raise UserError(
            f"{row_of(file.where, again[0])}: id {_quoted(ids[again[0]])}{of} was there before"
            f" ({counted(again, 'repeated id')}); every example needs an id of its own"
        )
    return ids


def _quoted(id: Any) -> str:
    return repr(id.item())
