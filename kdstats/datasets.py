"""Arrays of a named dataset: read, checked, split and fingerprinted. numpy only."""

import gzip
import hashlib
import importlib.metadata
import io
import os
import pickle
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kdstats.errors import UserError

ARRAYS = ("x_train", "y_train", "x_test", "y_test")


@dataclass(frozen=True)
class Dataset:
    """Images and labels of one dataset.

    Attributes
    ----------
    name : str
    x_train, x_test : (n, height, width, channels), uint8 (0 to 255) or float32 (as the file has them)
    y_train, y_test : (n,) int64, labels 0 to classes - 1
    classes : int
    fingerprint : str, sha256 over the arrays, their names, shapes and dtypes
    x_held, y_held : training images that nobody trains on, where a protocol holds some out
    note : str, what its users should know: that files of a known name hold another number of images than published
    """

    name: str
    x_train: NDArray[Any]
    y_train: NDArray[np.int64]
    x_test: NDArray[Any]
    y_test: NDArray[np.int64]
    classes: int
    fingerprint: str = ""
    note: str = ""
    x_held: NDArray[Any] | None = None
    y_held: NDArray[np.int64] | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width, channels."""
        height, width, channels = self.x_train.shape[1:]
        return height, width, channels


def load_dataset(
    name: str,
    *,
    path: Path | None = None,
    data_dir: Path | None = None,
    train: int | None = None,
    test: int | None = None,
    split: Literal["test", "validation"] = "test",
    held_out: int | None = None,
) -> Dataset:
    """A dataset by name, cut to the sizes asked for.

    Parameters
    ----------
    name : str
        One of ``kdstats.catalog.DATASETS``.
    path : Path, optional
        The file of dataset ``npz``.
    data_dir : Path, optional
        Where NAME.npz or torchvision's files lie. Default: KDSTATS_DATA, else the user's cache folder.
    train, test : int, optional
        Images to keep. The same ones whatever the protocol's seed: training images are balanced over the classes.
    split : {"test", "validation"}
        "validation" evaluates on a fifth of the training images, held out, and never touches the test images:
        for tuning a recipe.
    held_out : int, optional
        Training images that no network trains on and none is evaluated on, balanced over the classes: for arms that
        learn from their own mistakes.

    Raises
    ------
    UserError
        Where files are missing or malformed, or labels and images do not fit; names the file, the array and the row.
    """
    if name == "digits":
        dataset = _digits(300 if train is None else train)
    else:
        source, arrays = _npz(path) if name == "npz" and path else _named(name, data_dir)
        dataset = _checked(name, source, arrays)
        if train is not None:
            keep = _balanced_order(dataset.y_train, name)[: _at_most(train, len(dataset.y_train), name, "training")]
            dataset = replace(dataset, x_train=dataset.x_train[keep], y_train=dataset.y_train[keep])
    if split == "validation":
        evaluated = max(1, len(dataset.y_train) // 5)
        rest = _balanced_order(dataset.y_train, name + " validation")
        dataset = replace(
            dataset,
            x_train=dataset.x_train[rest[evaluated:]],
            y_train=dataset.y_train[rest[evaluated:]],
            x_test=dataset.x_train[rest[:evaluated]],
            y_test=dataset.y_train[rest[:evaluated]],
        )
    if test is not None:
        keep = _order(len(dataset.y_test), name)[: _at_most(test, len(dataset.y_test), name, "evaluation")]
        dataset = replace(dataset, x_test=dataset.x_test[keep], y_test=dataset.y_test[keep])
    if held_out is not None:
        if held_out >= len(dataset.y_train):
            raise UserError(
                f"{name}: held_out: {held_out} of {len(dataset.y_train)} training images leaves none to train on"
            )
        order = _balanced_order(dataset.y_train, name + " held out")
        held, rest = order[:held_out], order[held_out:]
        if len(np.unique(dataset.y_train[held])) < dataset.classes:
            raise UserError(
                f"{name}: held_out: {held_out} images do not hold each of {dataset.classes} classes; take more"
            )
        dataset = replace(
            dataset,
            x_train=dataset.x_train[rest],
            y_train=dataset.y_train[rest],
            x_held=dataset.x_train[held],
            y_held=dataset.y_train[held],
        )
    return replace(dataset, fingerprint=_fingerprint(dataset))


def _fingerprint(dataset: Dataset) -> str:
    digest = hashlib.sha256()
    for key in (*ARRAYS, *(("x_held", "y_held") if dataset.x_held is not None else ())):
        array = np.ascontiguousarray(getattr(dataset, key))
        digest.update(f"{key} {array.shape} {array.dtype.str}\n".encode())
        digest.update(array.data)
    return digest.hexdigest()


def _at_most(wanted: int, there: int, name: str, what: str) -> int:
    if wanted > there:
        raise UserError(f"{name}: {wanted} {what} images are asked for, there are {there}")
    return wanted


def _order(n: int, key: str) -> NDArray[np.intp]:
    """A fixed random order that depends on the dataset's name alone, so that all protocols see the same split."""
    entropy = int.from_bytes(hashlib.sha256(f"kdstats split {key}".encode()).digest()[:16], "big")
    return np.random.Generator(np.random.PCG64(entropy)).permutation(n)


def _balanced_order(labels: NDArray[np.int64], key: str) -> NDArray[np.intp]:
    """A fixed random order in which every prefix holds the classes as evenly as they go."""
    order = _order(len(labels), key)
    rank = np.empty(len(labels), np.int64)
    for label in np.unique(labels):
        mine = labels[order] == label
        rank[mine] = np.arange(mine.sum())
    return order[np.argsort(rank, kind="stable")]


# Sources ---------------------------------------------------------------------------------------------------------


def _digits(train: int) -> Dataset:
    """scikit-learn's digits, from its data file: importing scikit-learn takes a second and needs scipy."""
    try:
        file = Path(
            str(importlib.metadata.distribution("scikit-learn").locate_file("sklearn/datasets/data/digits.csv.gz"))
        )
    except importlib.metadata.PackageNotFoundError:
        raise UserError("digits: comes with scikit-learn, which is not installed: pip install scikit-learn") from None
    if not file.is_file():
        raise UserError("digits: this installation of scikit-learn has no digits.csv.gz; reinstall scikit-learn")
    with gzip.open(file, "rt") as lines:
        table = np.loadtxt(lines, delimiter=",", dtype=np.uint8)
    # 16 grey levels, stretched to bytes as every other dataset has them
    images, labels = (table[:, :64].reshape(-1, 8, 8, 1) * np.uint8(15)), table[:, 64].astype(np.int64)
    if train >= len(labels):
        raise UserError(f"digits: train: {train} leaves no test images; there are {len(labels)} images in all")
    order = _balanced_order(labels, "digits")
    first, rest = order[:train], np.sort(order[train:])
    return Dataset("digits", images[first], labels[first], images[rest], labels[rest], 10)


def _npz(path: Path) -> tuple[str, dict[str, NDArray[Any]]]:
    """The four arrays of an .npz file, pickled members refused."""
    if not path.is_file():
        raise UserError(f"{path}: there is no such file; dataset npz needs a file with the arrays {', '.join(ARRAYS)}")
    if not zipfile.is_zipfile(path):
        raise UserError(
            f"{path}: is no .npz file, or only the first part of one: copy it again, or make one with"
            f" numpy.savez(file, {', '.join(f'{k}=…' for k in ARRAYS)})"
        )
    try:
        with path.open("rb") as handle, np.load(handle, allow_pickle=False) as archive:
            missing = [key for key in ARRAYS if key not in archive.files]
            if missing:
                found = ", ".join(sorted(archive.files)) or "nothing"
                raise UserError(f"{path}: lacks the array(s) {', '.join(missing)}; it holds {found}")
            return str(path), {key: archive[key] for key in ARRAYS}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        reason = "holds Python objects, which are not loaded" if "pickle" in str(error) else f"cannot be read ({error})"
        raise UserError(f"{path}: {reason}; save plain numeric arrays with numpy.savez") from None


def data_folder(data_dir: Path | None) -> Path:
    """The folder given, or KDSTATS_DATA, or the user's cache."""
    if data_dir is not None or "KDSTATS_DATA" in os.environ:
        folder = Path(data_dir or os.environ["KDSTATS_DATA"]).expanduser()
        if not folder.is_dir():
            raise UserError(f"{folder}: there is no such data folder (--data-dir, KDSTATS_DATA)")
        return folder
    return cache_folder()


def cache_folder() -> Path:
    """The user's cache, for what can be made again."""
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "kdstats"


def _named(name: str, data_dir: Path | None) -> tuple[str, dict[str, NDArray[Any]]]:
    """A dataset of the torchvision family: NAME.npz, else torchvision's files, else torchvision's downloader."""
    folder = data_folder(data_dir)
    if (folder / f"{name}.npz").is_file():
        return _npz(folder / f"{name}.npz")
    read = READERS[name]
    try:
        return str(folder), read(folder)
    except FileNotFoundError as missing:
        _download(name, folder, str(missing))
    try:
        return str(folder), read(folder)
    except FileNotFoundError as missing:
        raise UserError(f"{folder}: {missing}") from None


def _download(name: str, folder: Path, missing: str) -> None:
    """torchvision's own downloader, which knows addresses and checksums."""
    import socket

    advice = (
        f"put {name}.npz (arrays {', '.join(ARRAYS)}) or torchvision's files into a folder and name it with --data-dir"
    )
    before = socket.getdefaulttimeout()
    try:
        import torchvision.datasets as there

        socket.setdefaulttimeout(20)
        folder.mkdir(parents=True, exist_ok=True)
        if name == "svhn":
            for part in ("train", "test"):
                there.SVHN(folder, split=part, download=True)
        else:
            family = {"cifar10": there.CIFAR10, "cifar100": there.CIFAR100, "mnist": there.MNIST}
            family.get(name, there.FashionMNIST)(folder, download=True)
    except ImportError:
        raise UserError(f"{folder}: {missing}, and torchvision is not installed to download it; {advice}") from None
    except (OSError, RuntimeError) as error:
        raise UserError(f"{folder}: {missing}, and the download failed ({error}); {advice}") from None
    finally:
        socket.setdefaulttimeout(before)


def read_idx_folder(folder: Path, subfolder: str) -> dict[str, NDArray[Any]]:
    """MNIST's four idx files (LeCun's format), gzipped or not, in FOLDER/SUBFOLDER/raw or in FOLDER itself."""
    stems = dict(
        zip(ARRAYS, ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"), strict=True)
    )
    roots = (folder / subfolder / "raw", folder / subfolder, folder)
    arrays = {}
    for key, stem in stems.items():
        names = (f"{stem}-ubyte", f"{stem}-ubyte.gz")
        file = next((root / name for root in roots for name in names if (root / name).is_file()), None)
        if file is None:
            raise FileNotFoundError(f"{subfolder}/raw/{stem}-ubyte[.gz] is not there")
        arrays[key] = read_idx(file)
    return arrays


def read_idx(file: Path) -> NDArray[np.uint8]:
    """One idx file of bytes: magic 0, 0, 8, number of dimensions; big-endian sizes; the bytes."""
    try:
        raw = file.read_bytes()
        raw = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    except (OSError, EOFError) as error:
        raise UserError(f"{file}: cannot be read ({error})") from None
    if len(raw) < 4 or raw[:3] != b"\0\0\x08":
        raise UserError(f"{file}: is no idx file of bytes")
    start = 4 + 4 * raw[3]
    shape = tuple(int(size) for size in np.frombuffer(raw[4:start], ">i4"))
    if len(raw) - start != int(np.prod(shape)):
        raise UserError(f"{file}: is incomplete: {len(raw) - start} of {int(np.prod(shape))} bytes")
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape)


# md5 as published on https://www.cs.toronto.edu/~kriz/cifar.html's archives and used by torchvision
CIFAR10 = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}
CIFAR100 = {"train": "16019d7e3df5f24257cddd939b257f8d", "test": "f0ef6b0ae62326f3e7ffdfab6717acfc"}


def read_cifar(folder: Path, subfolder: str, batches: dict[str, str], label: bytes) -> dict[str, NDArray[Any]]:
    """CIFAR's python batches: the one pickle that is read, after its md5 matched, admitting arrays and builtins only.

    Parameters
    ----------
    folder : Path
        Holds SUBFOLDER, or the batches themselves.
    batches : dict
        File name to published md5. The last one is the test set.
    label : bytes
        Key of the labels, ``b"labels"`` or ``b"fine_labels"``.
    """
    root = folder / subfolder if (folder / subfolder).is_dir() else folder
    images, labels = [], []
    for name, md5 in batches.items():
        file = root / name
        if not file.is_file():
            raise FileNotFoundError(f"{subfolder}/{name} is not there")
        raw = file.read_bytes()
        if hashlib.md5(raw, usedforsecurity=False).hexdigest() != md5:
            raise UserError(
                f"{file}: its md5 is not the published one; the file is damaged or not CIFAR, and is not opened"
            )
        batch = _ArraysOnly(io.BytesIO(raw), encoding="bytes").load()
        images.append(np.asarray(batch[b"data"], np.uint8).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
        labels.append(np.asarray(batch[label], np.int64))
    return {
        "x_train": np.concatenate(images[:-1]),
        "y_train": np.concatenate(labels[:-1]),
        "x_test": images[-1],
        "y_test": labels[-1],
    }


class _ArraysOnly(pickle.Unpickler):
    """Admits what a numpy array is made of, and nothing else."""

    admitted = frozenset(
        {
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "_reconstruct"),
            ("_codecs", "encode"),
        }
    )

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.admitted:
            raise pickle.UnpicklingError(f"{module}.{name} is not admitted")
        return super().find_class(module, name)


def read_svhn(folder: Path) -> dict[str, NDArray[Any]]:
    """SVHN's cropped digits, MATLAB files of X (32, 32, 3, n) and y (n, 1), where 10 stands for the digit 0."""
    from scipy.io import loadmat

    arrays = {}
    for split in ("train", "test"):
        file = folder / f"{split}_32x32.mat"
        if not file.is_file():
            raise FileNotFoundError(f"{split}_32x32.mat is not there")
        try:
            content = loadmat(file)
            arrays[f"x_{split}"] = np.ascontiguousarray(content["X"].transpose(3, 0, 1, 2))
            arrays[f"y_{split}"] = content["y"].ravel().astype(np.int64) % 10
        except (KeyError, ValueError, OSError, TypeError, NotImplementedError) as error:
            raise UserError(f"{file}: is no SVHN file of cropped digits ({error})") from None
    return arrays


READERS = {
    "cifar10": lambda folder: read_cifar(folder, "cifar-10-batches-py", CIFAR10, b"labels"),
    "cifar100": lambda folder: read_cifar(folder, "cifar-100-python", CIFAR100, b"fine_labels"),
    "mnist": lambda folder: read_idx_folder(folder, "MNIST"),
    "fashion-mnist": lambda folder: read_idx_folder(folder, "FashionMNIST"),
    "svhn": read_svhn,
}

CLASSES = {"cifar10": 10, "cifar100": 100, "mnist": 10, "fashion-mnist": 10, "svhn": 10}
# training and test images as published
SIZES = {
    "cifar10": (50_000, 10_000), "cifar100": (50_000, 10_000), "mnist": (60_000, 10_000),
    "fashion-mnist": (60_000, 10_000), "svhn": (73_257, 26_032),
}  # fmt: skip


# Checks ----------------------------------------------------------------------------------------------------------


def _checked(name: str, source: str, arrays: dict[str, NDArray[Any]]) -> Dataset:
    """Images as (n, height, width, channels), labels as int64, everything else refused with its array and row."""
    images = {part: _images(source, f"x_{part}", arrays[f"x_{part}"]) for part in ("train", "test")}
    labels = {part: _labels(source, f"y_{part}", arrays[f"y_{part}"]) for part in ("train", "test")}
    for part in ("train", "test"):
        if len(images[part]) != len(labels[part]):
            raise UserError(f"{source}: x_{part} has {len(images[part])} images, y_{part} {len(labels[part])} labels")
    if images["train"].shape[1:] != images["test"].shape[1:] or images["train"].dtype != images["test"].dtype:
        shapes = " and ".join(f"{images[part].shape[1:]} {images[part].dtype}" for part in ("train", "test"))
        raise UserError(f"{source}: x_train and x_test differ in shape or type: {shapes}")
    classes = CLASSES.get(name, int(labels["train"].max()) + 1)
    if classes < 2 and labels["train"].min() >= 0:
        raise UserError(f"{source}: y_train has one class only; there is nothing to classify")
    for part in ("train", "test"):
        outside = np.flatnonzero((labels[part] < 0) | (labels[part] >= classes))
        if len(outside):
            row = int(outside[0])
            raise UserError(
                f"{source}: y_{part} row {row}: label {labels[part][row]} is outside the classes"
                f" 0 to {max(classes - 1, 1)} ({len(outside)} such labels)"
            )
    found = (len(images["train"]), len(images["test"]))
    note = ""
    if found != SIZES.get(name, found):
        note = f"{source}: holds {found[0]} training and {found[1]} test images; {name} has {SIZES[name][0]} and"
        note += f" {SIZES[name][1]}: is it all there?"
    return Dataset(name, images["train"], labels["train"], images["test"], labels["test"], classes, note=note)


def _images(source: str, key: str, array: NDArray[Any]) -> NDArray[Any]:
    if array.ndim == 3:
        array = array[..., None]
    if not len(array):
        raise UserError(f"{source}: {key} has no images")
    if array.ndim != 4 or 0 in array.shape:
        raise UserError(
            f"{source}: {key} has shape {array.shape}; images are (n, height, width) or (n, height, width, channels)"
        )
    if array.shape[-1] > 4 and array.shape[1] <= 4:
        raise UserError(f"{source}: {key} has shape {array.shape}: channels come last, (n, height, width, channels)")
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind not in "fiu":
        raise UserError(f"{source}: {key} has type {array.dtype}; images are uint8 (0 to 255) or floats")
    largest = np.finfo(np.float32).max
    with np.errstate(invalid="ignore"):
        bad = np.flatnonzero(~(np.abs(array) <= largest).reshape(len(array), -1).all(1))
    if len(bad):
        raise UserError(
            f"{source}: {key} row {bad[0]} holds NaN, infinity or a number beyond float32 ({len(bad)} such images)"
        )
    return array.astype(np.float32)


def _labels(source: str, key: str, array: NDArray[Any]) -> NDArray[np.int64]:
    if array.ndim != 1 or not len(array):
        raise UserError(f"{source}: {key} has shape {array.shape}; labels are one integer an image, shape (n,)")
    if array.dtype.kind not in "iu":
        raise UserError(f"{source}: {key} has type {array.dtype}; labels are integers from 0")
    return array.astype(np.int64)
