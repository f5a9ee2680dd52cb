"""File formats to named arrays: .npz, .npy, .safetensors, CSV, Parquet, a replicate of a run, arrays in memory.

What comes out is a `File`, whose arrays are read when they are asked for. What they mean is `kdstats.predictions`'
business; of it this room knows the names alone, which say what columns of a table belong together.
"""

import contextlib
import csv
import json
import os
import re
import stat
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sized
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from tokenize import TokenError
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from kdstats.errors import UserError

try:  # a Python may have been built without it, and zipfile then reads no such member
    from lzma import LZMAError
except ImportError:  # pragma: no cover
    LZMAError = zlib.error  # type: ignore[misc,assignment]

Read = Callable[[], NDArray[Any]]
Kind = Literal["float", "integer", "text", "boolean", "mixed", "list", "other"]

# Names of keys and columns, in lower case. The first one found counts; an index that pandas wrote without a name comes
# last, since it often counts rows where another column names the examples.
IDS = (
    "id", "ids", "example_id", "example_ids", "image_id", "image_ids", "sample_id", "sample_ids", "uid", "uuid", "key",
    "filename", "file_name", "filepath", "file_path", "file", "path", "image_name", "image", "idx", "index",
    "__index_level_0__", "unnamed: 0",
)  # fmt: skip
OUTPUTS = ("logits", "probabilities", "outputs")
PREDICTED = ("predicted", "predictions", "prediction", "preds", "pred")
LABELS = ("labels", "label", "targets", "target")
KNOWN = frozenset((*IDS, *OUTPUTS, *PREDICTED, *LABELS))
CLASSES = "columns of classes"  # the key of columns that are classes by their place alone

ENDINGS = ".npz, .npy, .safetensors, .csv or .parquet"
MAGIC = {".npz": b"PK\x03\x04", ".npy": b"\x93NUMPY", ".parquet": b"PAR1"}
PICKLES = (".pkl", ".pickle", ".joblib", ".pt", ".pth", ".ckpt", ".bin")
EXPORT = "save numbers instead: numpy.savez(file, logits=…, ids=…)"


@dataclass(frozen=True)
class File:
    """Named arrays of one source.

    Attributes
    ----------
    where : the file, for messages; of arrays what they are called
    stem : its name without folder and ending
    arrays : by key or column, how to read each; columns of classes are one array
    kinds : of each, and of all columns of a table: one value an example, of type float, integer, text, boolean or mixed
        (numbers with something else among them, or of a type that is not read); list (two dimensions); other
    columns : the names behind the key `CLASSES`, in the order of the classes
    unknown : keys and columns of integers or text that no name explains: whether no value is there twice
    """

    where: str
    stem: str
    arrays: Mapping[str, Read]
    kinds: Mapping[str, Kind]
    columns: tuple[str, ...] = ()
    unknown: Mapping[str, Callable[[], bool]] = field(default_factory=dict)


def opened(source: Any, what: str, tabled: bool = True) -> File:
    """The arrays of a file, of a replicate's folder, of a mapping, or one array.

    Parameters
    ----------
    what : what is looked for, for messages
    tabled : join the columns of classes of a table to one array (N, C); else all columns come one by one

    Raises
    ------
    UserError
        No such file, one that may not be read, is damaged, is of another format, or could hold code.

    Examples
    --------
    >>> file = opened({"logits": [[1.0, 2.0]], "ids": ["a"]}, "student")
    >>> file.kinds, file.arrays["logits"]().shape
    ({'logits': 'list', 'ids': 'text'}, (1, 2))
    """
    if isinstance(source, Mapping):
        return _file(what, what, {str(key): _array(f"{what}: {key}", value) for key, value in source.items()})
    if not isinstance(source, str | Path):
        return _file(what, what, {"": _array(what, source)})
    if not str(source):
        raise UserError(f"{what}: an empty name; {what} come as {ENDINGS}, or in a replicate's folder")
    path = Path(source)
    with _readable(path):
        mode = _mode(path)
        if stat.S_ISDIR(mode):
            stem, stored = _replicate(path)
            return _file(str(path), stem, stored)
        if not stat.S_ISREG(mode):
            raise UserError(f"{path}: there is no such file; {what} come as {ENDINGS}, or in a replicate's folder")
        ending = path.suffix.lower()
        if ending in PICKLES:
            raise UserError(f"{path}: a {ending} file can hold code, and is not opened for {what}; {EXPORT}")
        if ending not in (*MAGIC, ".safetensors", ".csv"):
            raise UserError(f"{path}: {ending or 'a file without ending'} is not read; {what} come as {ENDINGS}")
        with path.open("rb") as handle:
            start = handle.read(8)
        if not start:
            raise UserError(f"{path}: is empty")
        if not start.startswith(MAGIC.get(ending, b"")):
            looks = next((other for other, magic in MAGIC.items() if start.startswith(magic)), None)
            raise UserError(
                f"{path}: is no {ending} file" + (f"; it looks like {looks}, so rename it" if looks else "")
            )
        if ending in (".csv", ".parquet"):
            file = _tabled(path, (_csv if ending == ".csv" else _parquet)(path), tabled)
        else:
            file = {".npz": _npz, ".npy": _npy, ".safetensors": _safetensors}[ending](path)
    return replace(
        file,
        arrays={key: _readable(path)(read) for key, read in file.arrays.items()},
        unknown={key: _readable(path)(differs) for key, differs in file.unknown.items()},
    )


def _file(where: str, stem: str, arrays: Mapping[str, NDArray[Any]]) -> File:
    """Of arrays that are at hand."""
    return _lazy(
        where, stem,
        {key: (array.shape, array.dtype, partial(np.asanyarray, array)) for key, array in arrays.items()},
    )  # fmt: skip


def _lazy(where: str, stem: str, arrays: Mapping[str, tuple[tuple[int, ...], np.dtype[Any], Read]]) -> File:
    """Of arrays with their shape and type, which are read later."""
    kinds = {key: _kind(shape, dtype) for key, (shape, dtype, _) in arrays.items()}
    reads = {key: read for key, (_, _, read) in arrays.items()}
    return File(where, stem, reads, kinds, (), {key: partial(_differs, reads[key]) for key in _unknown(kinds)})


def _kind(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Kind:
    if len(shape) != 1:
        return "list" if len(shape) == 2 else "other"
    kinds: dict[str, Kind] = {"f": "float", "i": "integer", "u": "integer", "b": "boolean"}
    return kinds.get(dtype.kind, "text" if dtype.kind in "UST" else "other")


def _unknown(kinds: Mapping[str, Kind]) -> list[str]:
    return [key for key, kind in kinds.items() if kind in ("integer", "text") and key.lower() not in KNOWN]


def _differs(read: Read) -> bool:
    values = read()
    return len(np.unique(values)) == len(values)


def _mode(path: Path) -> int:
    """What it is; 0 where nothing is."""
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a name with a null character
        return 0


DAMAGE = (
    ValueError, OSError, EOFError, RuntimeError, OverflowError, SafetensorError, zipfile.BadZipFile, zlib.error,
    LZMAError, TokenError,
)  # fmt: skip


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn what a damaged, foreign or too large file raises into a sentence."""
    try:
        yield
    except MemoryError:
        raise UserError(
            f"{path}: does not fit into memory; .npy and .safetensors files need not, they are read in place"
        ) from None
    except PermissionError:
        raise UserError(f"{path}: cannot be read: permission denied") from None
    except DAMAGE as error:
        if isinstance(error, OSError) and error.strerror:
            raise UserError(f"{path}: cannot be read: {error.strerror}") from None
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


# Words -------------------------------------------------------------------------------------------------------------


def place_of(where: str, key: str) -> str:
    """File and key; of a CSV file, whose lines are counted, and of columns that are classes together, the file."""
    return where if not key or key == CLASSES or where.endswith(".csv") else f"{where}: {key}"


def row_of(place: str, row: Any) -> str:
    """A row for people: the line of a CSV file, else the row of the array, counted from 0."""
    return f"{place}:{row + 2}" if place.endswith(".csv") else f"{place}: row {row}"


def counted(these: Sized, noun: str) -> str:
    """How many there are: ``1 row``, ``2 rows``."""
    return f"{len(these)} {noun}{'s' if len(these) > 1 else ''}"


def described(values: NDArray[Any]) -> str:
    """Type and shape."""
    return f"{values.dtype} of shape {values.shape}"


def listed(names: Mapping[str, Any]) -> str:
    """The names of arrays, of very many the first."""
    names_ = [name or "an array" for name in names]
    return ", ".join(names_[:8]) + (f" and {len(names_) - 8} more" if len(names_) > 8 else "") or "nothing"


# Arrays ------------------------------------------------------------------------------------------------------------


def _npz(path: Path) -> File:
    def read(member: str) -> NDArray[Any]:
        with zipfile.ZipFile(path) as archive, archive.open(member) as handle:
            _must_fit(archive.getinfo(member).file_size)
            array = np.lib.format.read_array(handle, allow_pickle=False)
            if handle.read(1):  # its checksum is compared at its end alone
                raise ValueError(f"{member} is longer than its header says")
            return array

    arrays = {}
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.endswith(".npy")]
        if doubled := [name for name in names if names.count(name) > 1]:
            raise UserError(
                f"{path}: holds {doubled[0].removesuffix('.npy')} several times; which one counts is unknown"
            )
        for name in names:
            with archive.open(name) as handle:
                version = np.lib.format.read_magic(handle)
                header = (
                    np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                )
                shape, _, dtype = header(handle)
            arrays[name.removesuffix(".npy")] = (shape, dtype, partial(read, name))
    return _lazy(str(path), path.stem, arrays)


def _npy(path: Path) -> File:
    return _file(str(path), path.stem, {"": np.load(path, mmap_mode="r", allow_pickle=False)})


TENSORS = {"F16": "<f2", "F32": "<f4", "F64": "<f8", "BF16": "<f4", "I8": "i1", "I16": "<i2", "I32": "<i4",
           "I64": "<i8", "U8": "u1", "U16": "<u2", "U32": "<u4", "U64": "<u8"}  # fmt: skip


def _safetensors(path: Path) -> File:
    """Mapped in place: the library would copy each tensor."""

    def read(name: str, shape: tuple[int, ...], offset: int) -> NDArray[Any]:
        if name not in TENSORS:
            raise UserError(f"{path}: a tensor has type {name}, which is not read; save float16 or float32")
        if 0 in shape:
            return np.empty(shape)
        if name == "BF16":  # numpy has no bfloat16, which is the upper half of a float32
            upper = np.memmap(path, "<u2", "r", offset, shape)
            return (upper.astype(np.uint32) << 16).view(np.float32)
        return np.memmap(path, TENSORS[name], "r", offset, shape)

    with safe_open(path, framework="numpy"):  # checks the header, and that all tensors are there
        pass
    with path.open("rb") as handle:
        length = int.from_bytes(handle.read(8), "little")
        header = json.loads(handle.read(length))
    arrays = {}
    for key, entry in header.items():
        if key != "__metadata__":
            shape, offset = tuple(entry["shape"]), 8 + length + entry["data_offsets"][0]
            dtype = np.dtype(TENSORS.get(entry["dtype"], "V1"))
            arrays[key] = (shape, dtype, partial(read, entry["dtype"], shape, offset))
    return _lazy(str(path), path.stem, arrays)


def _replicate(folder: Path) -> tuple[str, dict[str, NDArray[Any]]]:
    """Name and arrays of a replicate of a kdstats run, its checksums compared."""
    from kdstats.store import Damaged, read_replicate

    if not (folder / "predictions.safetensors").is_file():
        inside = "; name one of its replicates/ID" if (folder / "replicates").is_dir() else ""
        raise UserError(f"{folder}: is a folder without predictions.safetensors, so no replicate of a run{inside}")
    try:
        stored = read_replicate(folder.parent, folder.name)
    except Damaged as damage:
        raise UserError(str(damage)) from None
    if stored.logits is None:
        raise UserError(f"{folder}: its training failed ({stored.meta.get('reason', 'no reason given')})")
    meta = stored.meta
    name = [] if meta.get("role") == "teacher" else [str(meta.get("kind", "replicate"))]
    name += [f"{key} {meta[key]}" for key in ("teacher", "seed") if meta.get(key) is not None]
    return " ".join(name), {"logits": stored.logits, "labels": stored.labels}


# Tables ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Table:
    """Columns of a file by kind; to read: several as (N, C), or one; whether all values of one differ."""

    kinds: dict[str, Kind]
    matrix: Callable[[list[str]], NDArray[Any]]
    column: Callable[[str], NDArray[Any]]
    differs: Callable[[str], bool]


ROWS = 4096  # of a Parquet file, read together
MARKS = {";": "semicolons", "\t": "tabs", "|": "bars"}  # that separate where commas should
CLASS_COLUMN = re.compile(r"(?:(logits?|probs?|probabilit(?:y|ies)|p)[_ .]?)?(\d+)", re.IGNORECASE)


def _tabled(path: Path, table: _Table, tabled: bool) -> File:
    """The columns of a table, those of the classes as one array."""
    single: dict[str, Read] = {name: partial(table.column, name) for name in table.kinds}
    unknown = _unknown(table.kinds)
    if tabled:
        arrays, columns = _classes_joined(path, table, single)
        unknown = [name for name in unknown if not CLASS_COLUMN.fullmatch(name)]
    else:
        arrays = {name: read for name, read in single.items() if table.kinds[name] not in ("list", "other")}
        columns = ()
    kinds: dict[str, Kind] = dict.fromkeys(arrays, "list")
    return File(
        str(path),
        path.stem,
        arrays,
        kinds | table.kinds,
        columns,
        {name: partial(table.differs, name) for name in unknown},
    )


def _classes_joined(path: Path, table: _Table, single: dict[str, Read]) -> tuple[dict[str, Read], tuple[str, ...]]:
    """Numbered columns, a column of lists, or all columns of numbers; beside them those of a known name."""
    by_kind: dict[str, dict[int, str]] = {}
    for name in table.kinds:
        if match := CLASS_COLUMN.fullmatch(name):
            kind = {"l": "logits", "p": "probabilities", "": "outputs"}[(match[1] or "")[:1].lower()]
            if (number := int(match[2])) in by_kind.setdefault(kind, {}):
                raise UserError(f"{path}: columns {by_kind[kind][number]} and {name} are both class {number}")
            by_kind[kind][number] = name
    arrays: dict[str, Read] = {}
    for kind, columns in by_kind.items():
        if len(columns) == 1 or (absent := set(range(len(columns))) - columns.keys()):
            raise UserError(
                f"{path}: has {counted(columns, 'column')} of classes ({columns[min(columns)]} …)"
                + (f" and none of class {min(absent)}" if len(columns) > 1 else "")
                + "; classes are numbered from 0 without gaps, and the first line has the names of the columns"
            )
        arrays[kind] = partial(table.matrix, [columns[number] for number in sorted(columns)])
    known = {name: read for name, read in single.items() if name.lower() in KNOWN}
    if arrays:
        return arrays | known, ()
    lists = [name for name, kind in table.kinds.items() if kind == "list"]
    if len(lists) == 1 and lists[0].lower() not in OUTPUTS:
        return {"outputs": single[lists[0]]} | known, ()
    if lists:
        return {name: single[name] for name in lists} | known, ()
    numbers = [
        name for name, kind in table.kinds.items() if kind in ("float", "integer", "mixed") and name not in known
    ]
    if len([name for name in numbers if table.kinds[name] != "integer"]) > 1:
        return {CLASSES: partial(table.matrix, numbers)} | known, tuple(numbers)
    return (known if any(name.lower() in (*PREDICTED, *LABELS) for name in known) else single), ()


def _csv(path: Path) -> _Table:
    import pandas as pd

    _must_fit(path.stat().st_size)
    try:
        with path.open(encoding="utf-8-sig", newline="") as handle:
            header = next(csv.reader(handle), [])
            second = next(handle, "")
        _separated(path, header, second)
        if numeric := [name for name in header if _is_number(name) and not name.isdecimal()]:
            raise UserError(f"{path}: its first line holds {numeric[0]}; it needs the names of the columns, 0, 1 … say")
        if doubled := [name for name in header if header.count(name) > 1]:
            raise UserError(f"{path}: has several columns {doubled[0]!r}")
        texts = {name: str for name in ("Unnamed: 0", *header) if name.lower() in IDS}

        def read(rows: int | None = None) -> Any:
            return pd.read_csv(
                path, dtype=texts, keep_default_na=False, na_values=[""], encoding="utf-8-sig", index_col=False,
                low_memory=False, skip_blank_lines=False, nrows=rows,
            )  # fmt: skip

        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame = read()
            filled = ~frame.isna().all(axis=1).to_numpy()
            n = int(np.flatnonzero(filled).max(initial=-1)) + 1
            if 0 < n < len(frame):  # lines at the end that are empty are no examples
                frame = read(n)
    except (csv.Error, pd.errors.ParserWarning) as error:
        raise UserError(f"{path}: is no CSV table ({' '.join(str(error).split())})") from None
    if not n:
        raise UserError(f"{path}: has no rows below its header line")
    if (empty := np.flatnonzero(~filled[:n])).size:
        raise UserError(
            f"{row_of(str(path), empty[0])}: the line is empty ({counted(empty, 'such line')}); every line below the"
            " names of the columns is an example"
        )
    types = pd.api.types

    def kind(column: Any) -> Kind:
        if types.is_bool_dtype(column):
            return "boolean"
        if types.is_numeric_dtype(column):
            return "integer" if types.is_integer_dtype(column) else "float"
        # a column of numbers with a fault in some row is one of numbers: without it the classes would shift
        return "mixed" if pd.to_numeric(column, errors="coerce").notna().mean() > 0.5 else "text"

    def matrix(names: list[str]) -> NDArray[Any]:
        values = np.empty((len(frame), len(names)))
        for j, name in enumerate(names):
            values[:, j] = pd.to_numeric(frame[name], errors="coerce")
            if (odd := np.flatnonzero(np.isnan(values[:, j]))).size:
                found = frame[name].iloc[odd[0]]
                said = "empty" if pd.isna(found) else f"{str(found)!r}, which is no number"
                raise UserError(f"{row_of(str(path), odd[0])}: column {name} is {said}")
        return values

    def column(name: str) -> NDArray[Any]:
        if (empty := np.flatnonzero(frame[name].isna())).size:
            raise UserError(f"{row_of(str(path), empty[0])}: column {name} is empty ({counted(empty, 'such row')})")
        if kinds[name] not in ("text", "mixed"):
            return frame[name].to_numpy()
        texts = frame[name].to_numpy(dtype=str)
        whole = name.lower() in IDS and all(re.fullmatch(r"0|-?[1-9]\d{0,17}", text) for text in texts)
        return texts.astype(np.int64) if whole else texts

    kinds: dict[str, Kind] = {str(name): kind(frame[name]) for name in frame}
    return _Table(kinds, matrix, column, lambda name: bool(frame[name].is_unique))


def _separated(path: Path, header: list[str], second: str) -> None:
    """Refuse a table whose columns are separated by something else than commas."""
    if not header:
        raise UserError(f"{path}: its first line is empty; it needs the names of the columns")
    mark = next((mark for mark in MARKS if mark in header[0]), None) if len(header) == 1 else None
    if mark is not None:
        decimals = re.search(r"\d,\d", second)
        raise UserError(
            f"{path}: is separated by {MARKS[mark]}{', with decimals by commas' if decimals else ''}; save it"
            f" separated by commas{', with decimals by points' if decimals else ''}"
        )


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

    def kind(type: Any) -> Kind:
        if pa.types.is_dictionary(type):
            return "text" if kind(type.value_type) == "text" else "other"
        tests: dict[Kind, Callable[[Any], bool]] = {
            "float": pa.types.is_floating,
            "integer": pa.types.is_integer,
            "boolean": pa.types.is_boolean,
            "text": lambda type: pa.types.is_string(type) or pa.types.is_large_string(type),
            "mixed": lambda type: pa.types.is_decimal(type) or pa.types.is_null(type),
            "list": lambda type: is_list(type) and kind(type.value_type) in ("float", "integer"),
        }
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
            raise UserError(f"{path}: row {empty[0]}: {name} is empty ({counted(empty, 'such row')})")
        return np.array(found.to_pylist(), str) if kinds[name] == "text" else found.to_numpy()

    def differs(name: str) -> bool:
        return len(file.read(columns=[name]).column(0).unique()) == n

    kinds: dict[str, Kind] = {field.name: kind(field.type) for field in schema}
    return _Table(kinds, matrix, column, differs)
