"""Architectures by name. Each is a function of (image shape, classes) that returns a fresh module."""

import math
from collections.abc import Callable
from functools import partial

import torch
from numpy.random import SeedSequence
from torch import Tensor, nn

from kdstats.training.data import torch_seed

Shape = tuple[int, int, int]  # height, width, channels


def build_model(name: str, shape: tuple[int, int, int], classes: int, seed: SeedSequence) -> nn.Module:
    """A model with initial weights drawn from a stream.

    Parameters
    ----------
    name : one of ``kdstats.catalog.MODELS``
    shape : height, width, channels of the images
    classes : number of logits
    seed : stream of the initial weights; torch's own defaults are drawn with it, in a forked generator, on the CPU,
        so that they do not depend on the device or on what ran before.

    Examples
    --------
    >>> model = build_model("resnet20", (32, 32, 3), 10, SeedSequence(0))
    >>> sum(p.numel() for p in model.parameters())  # 0.27 M in He et al. 2016, table 6, plus batch norm
    272474
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch_seed(seed))
        return MODELS[name](shape, classes).to(memory_format=torch.channels_last)


def mlp(shape: Shape, classes: int, hidden: int = 128) -> nn.Module:
    """Two hidden layers with ReLU on the flattened image."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(math.prod(shape), hidden),
        nn.ReLU(inplace=True),
        nn.Linear(hidden, hidden),
        nn.ReLU(inplace=True),
        nn.Linear(hidden, classes),
    )


def cnn(shape: Shape, classes: int, filters: int = 16) -> nn.Module:
    """Two 3×3 convolutions (filters, 2·filters; the second of stride 2) with batch norm and ReLU; a linear layer.

    Stride and not max pooling, whose gradient is not deterministic on CUDA.
    """
    height, width, channels = shape
    return nn.Sequential(
        *_convolution(channels, filters),
        *_convolution(filters, 2 * filters, stride=2),
        nn.Flatten(),
        nn.Linear(2 * filters * -(-height // 2) * -(-width // 2), classes),
    )


def _convolution(inputs: int, outputs: int, stride: int = 1) -> tuple[nn.Module, ...]:
    return (
        nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class BasicBlock(nn.Module):
    """Two 3×3 convolutions and a shortcut, 1×1 where the shape changes (He et al. 2016, their option B)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(*_convolution(inputs, outputs, stride), *_convolution(outputs, outputs)[:-1])
        self.shortcut = (
            nn.Identity()
            if stride == 1 and inputs == outputs
            else nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.shortcut(x))


def resnet(shape: Shape, classes: int, *, blocks: tuple[int, ...], widths: tuple[int, ...]) -> nn.Module:
    """A 3×3 stem, stages of basic blocks that halve the image from the second on, global average pooling, linear."""
    layers: list[nn.Module] = [*_convolution(shape[2], widths[0])]
    inputs = widths[0]
    for stage, (count, width) in enumerate(zip(blocks, widths, strict=True)):
        for block in range(count):
            layers.append(BasicBlock(inputs, width, 2 if stage and not block else 1))
            inputs = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, classes))


def _cifar_resnet(depth: int) -> Callable[[Shape, int], nn.Module]:
    return partial(resnet, blocks=((depth - 2) // 6,) * 3, widths=(16, 32, 64))


MODELS: dict[str, Callable[[Shape, int], nn.Module]] = {
    "mlp": mlp,
    "cnn": cnn,
    **{f"resnet{depth}": _cifar_resnet(depth) for depth in (8, 14, 20, 32, 56, 110)},
    "resnet18": partial(resnet, blocks=(2, 2, 2, 2), widths=(64, 128, 256, 512)),
}
