"""A dataset as tensors on the device; order and augmentation by named seed streams, never by a global generator."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.random import PCG64, Generator, SeedSequence
from torch import Tensor

from kdstats.datasets import Dataset
from kdstats.protocol import Recipe

CHUNK = 4096  # images that are gathered, augmented and normalised at a time


@dataclass(frozen=True)
class Images:
    """A dataset on a device.

    Attributes
    ----------
    x_train, x_test : (n, height, width, channels), uint8 or float32
    y_train, y_test : (n,) int64
    x_held, y_held : training images that nobody trains on; none where the protocol holds none out
    mean, std : (channels,) float32, over the training images, on the scale of [0, 1] for uint8
    """

    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor
    mean: Tensor
    std: Tensor
    classes: int
    x_held: Tensor | None = None
    y_held: Tensor | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width, channels."""
        height, width, channels = self.x_train.shape[1:]
        return height, width, channels


@dataclass(frozen=True)
class Batch:
    """What a step sees.

    Attributes
    ----------
    index : (b,) int64, the images' numbers in the training set
    views : (b, channels, height, width) float32, augmented and normalised
    labels : (b,) int64; with label smoothing, mixup or cutmix probabilities, (b, C) float32
    """

    index: Tensor
    views: Tensor
    labels: Tensor


def to_device(dataset: Dataset, device: torch.device) -> Images:
    """The dataset's arrays as tensors, with the training images' mean and standard deviation by channel."""
    flat = dataset.x_train.reshape(-1, dataset.shape[2])
    scale = 255.0 if dataset.x_train.dtype == np.uint8 else 1.0
    mean = np.array([channel.mean(dtype=np.float64) for channel in flat.T]) / scale
    std = np.array([channel.std(dtype=np.float64) for channel in flat.T]) / scale
    std[std == 0] = 1.0  # a constant channel carries nothing, and is left at zero

    def tensor(array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(device)

    return Images(
        tensor(dataset.x_train), tensor(dataset.y_train), tensor(dataset.x_test), tensor(dataset.y_test),
        tensor(mean.astype(np.float32)), tensor(std.astype(np.float32)), dataset.classes,
        *(None if held is None else tensor(held) for held in (dataset.x_held, dataset.y_held)),
    )  # fmt: skip


def normalise(images: Images, x: Tensor) -> Tensor:
    """(x / 255 if uint8 − mean) / std, as float32 (n, channels, height, width) laid out channels last."""
    x = x.float() / 255.0 if x.dtype == torch.uint8 else x
    return ((x - images.mean) / images.std).permute(0, 3, 1, 2)


def generator(seed: SeedSequence, *key: int) -> Generator:
    """A numpy generator of a stream, or of one of its keyed children (an epoch, say)."""
    return Generator(PCG64(SeedSequence(seed.entropy, spawn_key=key)))


def torch_seed(seed: SeedSequence) -> int:
    """A stream as a seed for torch, 63 bits."""
    return int(seed.generate_state(1, np.uint64)[0] >> np.uint64(1))


def epoch_order(seed: SeedSequence, epoch: int, n: int, batch_size: int) -> np.ndarray:
    """The images of one epoch in their order, (batches, batch_size) int64.

    A permutation by (stream, epoch). What does not fill a batch is left out this epoch: every step has one shape.
    """
    order = generator(seed, epoch).permutation(n)
    return order[: n // batch_size * batch_size].reshape(-1, batch_size)


@dataclass(frozen=True)
class Draws:
    """How each training image is seen in one epoch.

    Attributes
    ----------
    shift : (n, 2) int64, rows and columns by which the window moves, from 0 to twice the padding
    flip : (n,) bool, whether it is mirrored
    pad : pixels of zeros around
    """

    shift: Tensor
    flip: Tensor
    pad: int


def augmentation(
    name: str, seed: SeedSequence, epoch: int, n: int, shape: tuple[int, int, int], device: torch.device
) -> Draws | None:
    """What is drawn for the n images of one epoch: crops out of a padding of an eighth of the height, 4 of 32.

    Draws belong to (stream, epoch, image), not to the batch, so every arm of a seed sees the same view. ``name``:
    "crop", "crop-flip", or "none", which draws nothing.
    """
    if name == "none":
        return None
    draws = generator(seed, epoch)
    pad = max(1, shape[0] // 8)
    shift = torch.from_numpy(draws.integers(0, 2 * pad + 1, (n, 2)))
    flip = torch.from_numpy(draws.integers(0, 2, n)) == 1
    return Draws(shift.to(device), (flip if name == "crop-flip" else torch.zeros_like(flip)).to(device), pad)


def augmented(x: Tensor, index: Tensor, draws: Draws) -> Tensor:
    """Images (b, height, width, channels) of numbers ``index`` (b,): padded with zeros, cropped, mirrored."""
    height, width = x.shape[1:3]
    shift, flip = draws.shift[index], draws.flip[index]
    rows = torch.arange(height, device=x.device) + shift[:, :1]
    columns = torch.arange(width, device=x.device)
    columns = torch.where(flip[:, None], columns.flip(0), columns) + shift[:, 1:]
    padded = F.pad(x, (0, 0, draws.pad, draws.pad, draws.pad, draws.pad))
    return padded[torch.arange(len(x), device=x.device)[:, None, None], rows[:, :, None], columns[:, None, :]]


def viewer(
    images: Images, recipe: Recipe, named: Callable[[str], SeedSequence], epoch: int
) -> Callable[[Tensor], Tensor]:
    """From training images' numbers (b,) to their views in one epoch, (b, channels, height, width) float32."""
    n, device = len(images.y_train), images.y_train.device
    draws = augmentation(recipe.augmentation, named("augmentation"), epoch, n, images.shape, device)

    def views(index: Tensor) -> Tensor:
        chosen = images.x_train[index]
        return normalise(images, augmented(chosen, index, draws) if draws else chosen)

    return views


def batches(
    images: Images, order: np.ndarray, recipe: Recipe, named: Callable[[str], SeedSequence], epoch: int
) -> Iterator[Batch]:
    """The batches of one epoch. ``named`` gives the streams "augmentation" and "mixing" of the students' seed.

    All that is drawn goes to the device at once: within the epoch it need not wait for the host.
    """
    size = max(1, CHUNK // order.shape[1])
    mixings = _mixings(recipe, generator(named("mixing"), epoch), len(order), images.shape)
    seen = viewer(images, recipe, named, epoch)
    for index in torch.from_numpy(order).to(images.y_train.device).split(size):
        flat = index.reshape(-1)
        views, labels = seen(flat), images.y_train[flat]
        if recipe.label_smoothing or recipe.mixes:
            smoothing = recipe.label_smoothing or 0.0
            labels = F.one_hot(labels, images.classes).float() * (1 - smoothing) + smoothing / images.classes
        for part in map(Batch, index, views.split(index.shape[1]), labels.split(index.shape[1])):
            yield mixed(part, next(mixings)) if recipe.mixes else part


@dataclass(frozen=True)
class Mixing:
    """How a batch is mixed with its own reverse.

    ``share`` of each image stays: of every pixel (mixup; ``box`` is None), or all but the box rows, columns (cutmix).
    """

    share: float
    box: tuple[slice, slice] | None = None


def _mixings(recipe: Recipe, draws: Generator, steps: int, shape: tuple[int, int, int]) -> Iterator[Mixing]:
    """A mixing for each batch of an epoch; with both mixup and cutmix, one or the other at even odds."""
    kinds = [kind for kind in ("mixup", "cutmix") if getattr(recipe, kind)]
    for _ in range(steps if kinds else 0):
        kind = kinds[int(draws.integers(len(kinds)))]
        share = float(draws.beta(getattr(recipe, kind), getattr(recipe, kind)))
        if kind == "mixup":
            yield Mixing(share)
            continue
        height, width = shape[:2]
        row, column = int(draws.integers(height)), int(draws.integers(width))  # the box's middle
        half = (1 - share) ** 0.5 / 2
        rows = slice(max(0, round(row - half * height)), min(height, round(row + half * height)))
        columns = slice(max(0, round(column - half * width)), min(width, round(column + half * width)))
        inside = max(0, rows.stop - rows.start) * max(0, columns.stop - columns.start)
        yield Mixing(1 - inside / (height * width), (rows, columns))


def mixed(batch: Batch, mixing: Mixing) -> Batch:
    """A batch and its reverse, mixed: x = λ x_i + (1 - λ) x_j, y likewise; or a box of x_i replaced by x_j's.

    Zhang et al. 2018, equation 1 (mixup); Yun et al. 2019, equations 1 and 2 (cutmix, λ the share of pixels that stay).
    """
    views, other = batch.views, batch.views.flip(0)
    if mixing.box is None:
        views = torch.lerp(other, views, mixing.share)
    else:
        rows, columns = mixing.box
        views = views.clone()
        views[:, :, rows, columns] = other[:, :, rows, columns]
    return Batch(batch.index, views, torch.lerp(batch.labels.flip(0), batch.labels, mixing.share))
