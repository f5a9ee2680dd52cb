"""Predictions of a network that exists: its checkpoint read without running code, its images, its logits, kept."""

import hashlib
import pickle
import re
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from kdstats import catalog
from kdstats.datasets import load_dataset
from kdstats.documents import nearest
from kdstats.errors import UserError
from kdstats.store import write_whole
from kdstats.training.architectures import makers_of, torchvision_names
from kdstats.training.data import to_device

PICKLES = (".pth", ".pt", ".ckpt", ".bin", ".tar")  # torch.save's; only their tensors are read
NESTED = ("state_dict", "model", "model_state_dict")
WRAPPERS = ("module.", "_orig_mod.", "model.", "net.")  # of DataParallel, torch.compile and Lightning
EXPORT = (
    "in Python, and only if you trust it, save its tensors with safetensors.torch.save_model(model, FILE),"
    " or its predictions with numpy.savez(FILE, logits=…)"
)
PROBE = 1009  # classes of a trial network: no other layer has this width

IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm")
IMAGENET = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32)  # torchvision's
MARGIN = 8 / 7  # 256 pixels, of which 224 are kept
NO_MEMORY = ("out of memory", "allocate memory", "ALLOC_FAILED")


# Checkpoints -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A trained network.

    Attributes
    ----------
    architecture : ``kdstats:NAME``, ``torchvision:NAME`` or ``timm:NAME``
    model : float32, on the CPU, in evaluation mode
    sha256 : of the file
    """

    file: str
    architecture: str
    model: nn.Module
    classes: int
    sha256: str


def read_checkpoint(
    file: str | Path, architecture: str, image_shape: tuple[int, int, int], classes: int | None = None
) -> Checkpoint:
    """A network from its weights, which are read as numbers; nothing in the file is run.

    Parameters
    ----------
    file
        ``.safetensors``; or ``.pth``, ``.pt``, ``.ckpt``, ``.bin``, ``.tar`` of ``torch.save``: a state dict, or a dict
        with one under state_dict, model or model_state_dict. Prefixes ``module.``, ``_orig_mod.``, ``model.`` and
        ``net.`` are taken off.
    architecture
        One of ``kdstats.catalog.MODELS``, of torchvision's classifiers, or ``timm:NAME``. Where kdstats and torchvision
        both have the name (resnet18, vgg16 …), the keys of the file tell which is meant;
        ``kdstats:NAME`` and ``torchvision:NAME`` say it.
    image_shape
        Height, width, channels.
    classes
        Logits that it must have. Default: as many as its last layer has.

    Returns
    -------
    Checkpoint. Half precision becomes float32.

    Raises
    ------
    UserError
        Where the file is missing, damaged, or holds anything but tensors; where the architecture is unknown or not
        installed; where the two do not fit, with the first keys that are missing, unexpected or of another shape.

    Examples
    --------
    >>> from kdstats.training.models import cnn
    >>> model = cnn((8, 8, 1), 10)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     safetensors.torch.save_model(model, f"{folder}/cnn.safetensors")
    ...     found = read_checkpoint(f"{folder}/cnn.safetensors", "cnn", (8, 8, 1))
    >>> found.architecture, found.classes
    ('kdstats:cnn', 10)
    """
    path = Path(file)
    makers = makers_of(architecture, image_shape)
    weights, sha256 = _weights(path)
    # where two architectures have the name, the one whose keys are the file's
    name, model = min(
        ((name, _empty(make, classes or PROBE)) for name, make in makers.items()),
        key=lambda made: len(made[1].state_dict().keys() ^ weights.keys()),
    )
    if classes is None:
        last = next((key for key, value in reversed(model.state_dict().items()) if value.shape[:1] == (PROBE,)), "")
        head = weights.get(last, torch.tensor(0))
        if not head.ndim or not len(head):
            raise UserError(f"{path}: has no last layer of {name} ({last}), so it is not of this architecture")
        classes = len(head)
        model = _empty(makers[name], classes)
    ours = name.removeprefix("kdstats:")
    if image_shape[2] != 3 and ours in torchvision_names() and model.state_dict().keys() - weights.keys():
        raise UserError(
            f"{path}: does not fit {name}, and torchvision's {ours} takes images of 3 channels; these have"
            f" {image_shape[2]}"
        )
    _fill(model, weights, f"{path}: does not fit {name}", classes)
    return Checkpoint(str(path), name, model.eval().requires_grad_(False), classes, sha256)


def _empty(make: Callable[[int], nn.Module], classes: int) -> nn.Module:
    """A network whose weights are to be overwritten; the global generator stays as it is."""
    with torch.random.fork_rng(devices=[]):
        return make(classes).to(memory_format=torch.channels_last)


def _weights(path: Path) -> tuple[dict[str, Tensor], str]:
    """The tensors of a file by the names that the bare network has for them, and the file's sha256."""
    if not path.is_file():
        raise UserError(f"{path}: there is no such checkpoint")
    if path.suffix.lower() not in (".safetensors", *PICKLES):
        raise UserError(
            f"{path}: a checkpoint is .safetensors, or a state dict in .pth or .pt; others can run code when they are"
            f" loaded, and are not opened; {EXPORT}"
        )
    try:
        with path.open("rb") as handle:
            sha256 = hashlib.file_digest(handle, "sha256").hexdigest()
        content = safetensors.torch.load_file(path) if path.suffix.lower() == ".safetensors" else _unpickled(path)
    except (OSError, MemoryError, safetensors.SafetensorError) as error:
        raise UserError(f"{path}: cannot be read ({error or 'it is larger than memory'})") from None
    if isinstance(content, Mapping):
        content = next((content[key] for key in NESTED if isinstance(content.get(key), Mapping)), content)
    if not isinstance(content, Mapping) or not content:
        raise UserError(f"{path}: holds no state dict; save one with torch.save(model.state_dict(), FILE)")
    odd = [key for key, value in content.items() if not (isinstance(key, str) and isinstance(value, Tensor))]
    if odd:
        raise UserError(
            f"{path}: is no state dict, and has none under {', '.join(NESTED)}: {odd[0]} is"
            f" {type(content[odd[0]]).__name__}, not a tensor"
        )
    weights = dict(content)
    while prefix := next((prefix for prefix in WRAPPERS if all(key.startswith(prefix) for key in weights)), ""):
        weights = {key.removeprefix(prefix): value for key, value in weights.items()}
    return weights, sha256


def _unpickled(path: Path) -> Any:
    """What torch.save wrote, read by the loader that admits tensors and plain containers only."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                members = {name.partition("/")[2] for name in archive.namelist()}
            if {"constants.pkl", "archive_format"} & members:
                kind = "a TorchScript archive" if "constants.pkl" in members else "an exported program"
                raise UserError(f"{path}: is {kind}, which is code, and is not opened; {EXPORT}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about old formats
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f"({found[1]}) " if found else ""
        raise UserError(
            f"{path}: holds Python objects {what}besides tensors; loading them would run code, and they are not"
            f" opened; {EXPORT}"
        ) from None
    except (UserError, OSError, MemoryError):
        raise
    except Exception as error:  # on damaged files the loader fails in any way that a parser can
        reason = str(error).split(".")[0] or type(error).__name__
        raise UserError(f"{path}: is damaged, or nothing that torch.save wrote ({reason})") from None


def _fill(model: nn.Module, weights: Mapping[str, Tensor], where: str, classes: int) -> None:
    """Put the weights into the network, after every name, shape and number was looked at."""
    own = model.state_dict()
    # a count that evaluation never reads, and that old checkpoints lack
    missing = [key for key in own if key not in weights and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in weights if key not in own]
    if missing or unexpected:
        parts = [f"it lacks {_first(missing)}"] * bool(missing) + [f"it has {_first(unexpected)}"] * bool(unexpected)
        also = ", which the architecture has not" if unexpected else ""
        raise UserError(f"{where}: {' and '.join(parts)}{also}; name the architecture that the weights were trained in")
    misshapen = [key for key in weights if weights[key].shape != own[key].shape]
    if misshapen:
        shapes = [f"{key} is {_size(weights[key].shape)}, not {_size(own[key].shape)}" for key in misshapen]
        heads = {weights[key].shape[:1] for key in misshapen if own[key].shape[:1] == (classes,)}
        why = "; name the architecture that the weights were trained in, and images of its size and channels"
        if len(heads) == 1 and all(own[key].shape[:1] == (classes,) for key in misshapen):
            why = f"; it was made for {_size(heads.pop())} classes, not {classes}"
        raise UserError(f"{where}: {_first(shapes)}{why}")
    with torch.no_grad():
        for key, value in weights.items():
            plain = value.layout == torch.strided and not value.is_meta and not value.is_complex()
            if not plain or value.is_floating_point() != own[key].is_floating_point():
                raise UserError(f"{where}: {key} is of type {_type(value)}, not plain {_type(own[key])}")
            own[key].copy_(value)
            if not torch.isfinite(own[key]).all():
                raise UserError(f"{where}: {key} holds NaN or infinity; the network was not trained to an end")


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _size(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape)) or "a single number"


def _type(value: Tensor) -> str:
    return "meta (without numbers)" if value.is_meta else f"{value.dtype}".removeprefix("torch.")


# Images ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Pictures:
    """Images to predict, with their labels.

    Attributes
    ----------
    pixels : (N, C, H, W) uint8, or float32 where an .npz has it; of a folder a memory map
    labels : (N,) int64
    class_names : the folders' names in their order, else the numbers
    mean, std : (C,) float32, of each channel, on the scale of [0, 1] for uint8
    normalisation : whose mean and standard deviation they are
    fingerprint : sha256 of images and labels
    ids : (N,) str, CLASS/FILE of a folder; None of a dataset
    """

    pixels: NDArray[Any]
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    mean: NDArray[np.float32]
    std: NDArray[np.float32]
    normalisation: str
    fingerprint: str
    ids: NDArray[np.str_] | None = None

    @property
    def classes(self) -> int:
        return len(self.class_names)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width, channels."""
        channels, height, width = self.pixels.shape[1:]
        return height, width, channels


def read_pictures(
    source: str | Path, *, data_dir: Path | None = None, size: int | None = None, resize: int | None = None
) -> Pictures:
    """The test images of a dataset, or all images of a folder.

    Parameters
    ----------
    source
        A name of ``kdstats.catalog.DATASETS``; an ``.npz`` as dataset npz has it; or a folder with one folder a class,
        DIR/CLASS/IMAGE, whose sorted names are the classes 0, 1, ….
    data_dir
        Where named datasets lie; as for `kdstats.datasets.load_dataset`.
    size, resize
        Of a folder: the shorter side becomes ``resize`` pixels (default 8/7 of ``size``: 256 for 224), then the
        ``size``×``size`` pixels in the centre are kept. Without ``size`` images are taken as they are.

    Returns
    -------
    Pictures. They are normalised by what networks of such images were most likely trained with: of a dataset and
    ``.npz`` by the mean and standard deviation of its training images, as kdstats trains, of a folder by ImageNet's, as
    torchvision's and most of timm's networks are. `cached_predictions` takes others: torchvision's own weights of
    googlenet and inception_v3, for one, need mean and std of 0.5.

    Raises
    ------
    UserError
        Names the file that is missing, damaged, of 16 bits or of another size, and the class without images.

    Examples
    --------
    >>> digits = read_pictures("digits")
    >>> digits.pixels.shape, digits.shape, digits.classes, digits.normalisation
    ((1497, 1, 8, 8), (8, 8, 1), 10, "digits' training images")
    """
    path = Path(source)
    if str(source) not in catalog.DATASETS and path.is_dir():
        return _folder(path, size, resize)
    if size is not None or resize is not None:
        raise UserError(f"{source}: an image size belongs to a folder of images; a dataset has its own")
    if str(source) in catalog.DATASETS and str(source) != "npz":
        dataset = load_dataset(str(source), data_dir=data_dir)
    elif path.suffix.lower() == ".npz":
        dataset = load_dataset("npz", path=path)
    else:
        names = [name for name in catalog.DATASETS if name != "npz"]
        raise UserError(
            f"{source}: is neither a folder of images, nor an .npz file, nor a dataset ({', '.join(names)})"
            f"{nearest(str(source), names)}"
        )
    statistics = to_device(dataset, torch.device("cpu"))
    return Pictures(
        dataset.x_test.transpose(0, 3, 1, 2),
        dataset.y_test,
        tuple(map(str, range(dataset.classes))),
        statistics.mean.numpy(),
        statistics.std.numpy(),
        f"{path.stem}'{'' if path.stem.endswith('s') else 's'} training images",
        dataset.fingerprint,
    )


def _folder(folder: Path, size: int | None, resize: int | None) -> Pictures:
    """Images are decoded once, for all networks, into an unnamed file on disk: they may be more than memory holds."""
    names = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if resize is not None and resize < (size or np.inf):
        kept = f"{size}×{size} pixels do not fit into it" if size else "also the size to keep of it is needed"
        raise UserError(f"{folder}: the shorter side is to be {resize} pixels; {kept}")
    if len(names) < 2:
        raise UserError(
            f"{folder}: has {len(names)} class folders; images lie in {folder}/CLASS/IMAGE, with two or more"
        )
    files, labels = [], []
    for label, name in enumerate(names):
        inside = [file for file in (folder / name).iterdir() if file.suffix.lower() in IMAGES and file.name[0] != "."]
        if not inside:
            raise UserError(f"{folder / name}: has no images ({', '.join(IMAGES)}); each class needs some")
        files += sorted(inside)
        labels += [label] * len(inside)
    digest = hashlib.sha256()
    shape: tuple[int, ...] = ()
    try:
        with tempfile.TemporaryFile() as pixels:
            for file, image in zip(files, _decoded(files, size, resize), strict=True):
                shape = shape or image.shape
                if image.shape != shape:
                    sizes = [f"{one[0]}×{one[1]}" for one in (image.shape, shape)]
                    raise UserError(f"{file}: has {sizes[0]} pixels, {files[0].name} {sizes[1]}; give an image size")
                digest.update(image.data)
                pixels.write(image.data)
            pixels.flush()
            mapped = np.memmap(pixels, np.uint8, "r", shape=(len(files), *shape))
    except OSError as error:
        raise UserError(
            f"{tempfile.gettempdir()}: the decoded images cannot be written there ({error.strerror or error}); name"
            " another folder in TMPDIR"
        ) from None
    digest.update(f"{mapped.shape} {labels}".encode())
    ids = np.array([file.relative_to(folder).as_posix() for file in files])
    return Pictures(
        mapped.transpose(0, 3, 1, 2), np.array(labels, np.int64), tuple(names), *IMAGENET, "ImageNet's training images",
        digest.hexdigest(), ids,
    )  # fmt: skip


def _decoded(files: Sequence[Path], size: int | None, resize: int | None) -> Iterator[NDArray[np.uint8]]:
    """The images in their order, (H, W, 3) each, resized and cropped as torchvision does it."""
    try:
        from PIL import Image
    except ImportError:
        raise UserError("images are read with pillow, which is not installed: pip install pillow") from None

    def decode(file: Path) -> NDArray[np.uint8]:
        try:
            with Image.open(file) as opened:
                if opened.mode.startswith(("I", "F")):
                    raise UserError(f"{file}: has more than 8 bits a channel; convert it to 8 bits")
                image: Image.Image = opened.convert("RGB")
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise UserError(f"{file}: cannot be read as an image ({error})") from None
        if size is None:
            return np.asarray(image)
        width, height = image.size
        short = resize or round(size * MARGIN)
        wide, high = (short * width // min(image.size), short * height // min(image.size))
        left, top = round((wide - size) / 2), round((high - size) / 2)
        image = image.resize((wide, high), Image.Resampling.BILINEAR)
        return np.asarray(image.crop((left, top, left + size, top + size)))

    with ThreadPoolExecutor() as threads:
        yield from threads.map(decode, files)


# Predictions -----------------------------------------------------------------------------------------------------


def predict(
    model: nn.Module,
    images: NDArray[Any],
    *,
    mean: Sequence[float] | NDArray[np.float32],
    std: Sequence[float] | NDArray[np.float32],
    batch_size: int = 256,
    device: torch.device | None = None,
) -> NDArray[np.float32]:
    """A network's logits, in evaluation mode and full float32.

    Parameters
    ----------
    images : (N, C, H, W) uint8, taken as 0 to 1, or float32 as they are; read a batch at a time
    mean, std : (C,), what is taken off each channel, and by what it is divided then
    batch_size : images at a time; halved as often as memory does not suffice
    device : default the CPU; the network is left there

    Returns
    -------
    logits : (N, classes) float32

    Raises
    ------
    UserError
        Where the network cannot take such images, not even one fits into memory, or logits are not finite (first row).

    Examples
    --------
    >>> images = np.full((3, 1, 2, 2), 255, np.uint8)
    >>> predict(nn.Flatten(), images, mean=[0.5], std=[0.25], batch_size=2).tolist()[0]
    [2.0, 2.0, 2.0, 2.0]
    """
    device = device or torch.device("cpu")
    centre, spread = (_by_channel(values, name, images.shape[1]) for values, name in ((mean, "mean"), (std, "std")))
    model = model.to(device).eval()
    parts: list[NDArray[np.float32]] = []
    start = 0
    precise = torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)
    with torch.inference_mode(), precise:
        while start < len(images):
            # a copy, for memory maps are read-only, in the layout that they have
            batch = np.array(images[start : start + batch_size], order="K")
            try:
                x = torch.from_numpy(batch).to(device)
                x = x.float() / 255.0 if x.dtype == torch.uint8 else x
                logits = model((x - centre.to(device)) / spread.to(device)).float().cpu().numpy()
            except (RuntimeError, AssertionError, ValueError, MemoryError) as error:
                if not isinstance(error, MemoryError) and not any(words in str(error) for words in NO_MEMORY):
                    shape = "×".join(map(str, batch.shape[1:]))
                    raise UserError(
                        f"the network cannot take images of {shape} ({' '.join(str(error).split())})"
                    ) from None
                if len(batch) == 1:
                    raise UserError(
                        f"{device}: memory does not suffice for a single image; choose another device"
                    ) from None
                batch_size = len(batch) // 2
                continue
            bad = np.flatnonzero(~np.isfinite(logits.reshape(len(batch), -1)).all(1))
            if len(bad):
                raise UserError(f"image {start + bad[0]}: the network's logits are NaN or infinite")
            parts.append(logits)
            start += len(batch)
    return np.concatenate(parts)


def _by_channel(values: Sequence[float] | NDArray[np.float32], name: str, channels: int) -> Tensor:
    array = np.asarray(values, np.float32)
    if array.shape != (channels,) or not np.isfinite(array).all() or (name == "std" and (array <= 0).any()):
        more = ", above 0" if name == "std" else ""
        raise UserError(f"{name} is {np.array2string(array)}: it needs {channels} finite numbers{more}, one a channel")
    return torch.tensor(array).reshape(1, -1, 1, 1)


def cached_predictions(
    folder: Path,
    checkpoint: Checkpoint,
    pictures: Pictures,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    batch_size: int = 256,
    device: torch.device | None = None,
) -> Path:
    """The file of a network's predictions, made where it is not there yet.

    Parameters
    ----------
    folder : made where it is missing
    mean, std : (C,), default the pictures' own
    batch_size, device : as for `predict`; they are no part of the file's name

    Returns
    -------
    Path of a ``.safetensors`` with ``logits`` (N, classes) float32, for `kdstats.predictions.read_predictions`. Its
    name is the sha256 of the checkpoint's bytes, the architecture, the images and the normalisation.

    Raises
    ------
    UserError
        As `predict`, or where the folder cannot be written.
    """
    centre, spread = (
        pictures.mean if mean is None else np.asarray(mean, np.float32),
        pictures.std if std is None else np.asarray(std, np.float32),
    )
    described = {
        "checkpoint": checkpoint.sha256,
        "architecture": checkpoint.architecture,
        "images": pictures.fingerprint,
        "mean": " ".join(map(str, centre.tolist())),
        "std": " ".join(map(str, spread.tolist())),
    }
    name = hashlib.sha256("\n".join(f"{key} {value}" for key, value in described.items()).encode()).hexdigest()
    file = folder / f"{name}.safetensors"
    if _is_kept(file):
        return file
    logits = predict(
        checkpoint.model, pictures.pixels, mean=centre, std=spread, batch_size=batch_size, device=device
    )  # fmt: skip
    try:
        folder.mkdir(parents=True, exist_ok=True)
        described |= {"torch": torch.__version__, "sha256": hashlib.sha256(logits.tobytes()).hexdigest()}
        write_whole(file, safetensors.numpy.save({"logits": logits}, described))
    except OSError as error:
        raise UserError(f"{file}: the predictions cannot be written ({error.strerror or error})") from None
    return file


def _is_kept(file: Path) -> bool:
    """Whether predictions are there as they were written; damaged ones are made again."""
    try:
        with safetensors.safe_open(file, "np") as content:
            said = (content.metadata() or {}).get("sha256")
            return said == hashlib.sha256(content.get_tensor("logits").tobytes()).hexdigest()
    except (OSError, safetensors.SafetensorError):
        return False
