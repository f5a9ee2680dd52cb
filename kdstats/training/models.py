"""Our networks by name. Each is a function of (image shape, classes) that returns a fresh module."""

import math
import re
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from kdstats.catalog import SPLIT, WIDE

Shape = tuple[int, int, int]  # height, width, channels


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


def _convolution(
    inputs: int, outputs: int, stride: int = 1, *, size: int = 3, groups: int = 1, relu: type[nn.Module] = nn.ReLU
) -> tuple[nn.Module, ...]:
    return (
        nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        relu(inplace=True),
    )


class BasicBlock(nn.Module):
    """Two 3×3 convolutions and a shortcut, 1×1 where the shape changes (He et al. 2016, their option B)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(*_convolution(inputs, outputs, stride), *_convolution(outputs, outputs)[:-1])
        self.shortcut = _shortcut(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.shortcut(x))


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Module:
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))


class Bottleneck(nn.Module):
    """1×1, 3×3 and 1×1 convolutions, the last four times as wide, and a shortcut (He et al. 2016, figure 5).

    With ``groups`` the 3×3 convolution is of so many paths side by side (Xie et al. 2017, figure 3c), together
    ``inner`` times as wide as the output.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, groups: int = 1, inner: float = 0.25) -> None:
        super().__init__()
        width = int(outputs * inner)
        self.body = nn.Sequential(
            *_convolution(inputs, width, size=1), *_convolution(width, width, stride, groups=groups),
            *_convolution(width, outputs, size=1)[:-1],
        )  # fmt: skip
        self.shortcut = _shortcut(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.shortcut(x))


def resnet(
    shape: Shape,
    classes: int,
    *,
    blocks: tuple[int, ...],
    widths: tuple[int, ...],
    block: Callable[[int, int, int], nn.Module] = BasicBlock,
    stem: int | None = None,
) -> nn.Module:
    """A 3×3 stem, stages of blocks that halve the image from the second on, global average pooling, linear."""
    inputs = stem or widths[0]
    layers: list[nn.Module] = [*_convolution(shape[2], inputs)]
    for stage, (count, width) in enumerate(zip(blocks, widths, strict=True)):
        for i in range(count):
            layers.append(block(inputs, width, 2 if stage and not i else 1))
            inputs = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, classes))


def resnext(shape: Shape, classes: int, *, paths: int, width: int) -> nn.Module:
    """ResNeXt-29 of so many paths, each so wide in the first stage (Xie et al. 2017, section 5.2)."""
    block = partial(Bottleneck, groups=paths, inner=paths * width / 256)
    return resnet(shape, classes, blocks=(3, 3, 3), widths=(256, 512, 1024), block=block, stem=64)


class WideBlock(nn.Module):
    """Batch norm, ReLU and a 3×3 convolution, twice, and a shortcut (Zagoruyko & Komodakis 2016, figure 1c).

    Where the shape changes, the first batch norm and ReLU serve the shortcut too. No dropout.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.before = nn.Sequential(nn.BatchNorm2d(inputs), nn.ReLU(inplace=True))
        self.body = nn.Sequential(
            *_convolution(inputs, outputs, stride), nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        )
        same = stride == 1 and inputs == outputs
        self.shortcut = None if same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.before(x)
        return self.body(inner) + (x if self.shortcut is None else self.shortcut(inner))


def wide_resnet(shape: Shape, classes: int, *, depth: int, factor: int) -> nn.Module:
    """WRN-depth-factor: three stages of (depth - 4) / 6 pre-activated blocks of 16, 32, 64 times factor channels."""
    layers: list[nn.Module] = [nn.Conv2d(shape[2], 16, 3, padding=1, bias=False)]
    inputs = 16
    for stage in range(3):
        width = 16 * factor * 2**stage
        for i in range((depth - 4) // 6):
            layers.append(WideBlock(inputs, width, 2 if stage and not i else 1))
            inputs = width
    layers += [nn.BatchNorm2d(inputs), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, classes))


class Halve(nn.Module):
    """The largest of each 2×2 pixels; by reshaping, since max pooling has no deterministic gradient on CUDA."""

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2] // 2, x.shape[-1] // 2
        pixels = x[..., : 2 * height, : 2 * width].unflatten(-2, (height, 2)).unflatten(-1, (width, 2))
        return pixels.amax((-3, -1))


def vgg(shape: Shape, classes: int, *, blocks: tuple[int, ...]) -> nn.Module:
    """VGG with batch norm for small images: five stages of 3×3 convolutions and pooling, one linear layer.

    Simonyan & Zisserman 2015, table 1, whose two hidden linear layers are left out as is usual on 32×32 pixels.
    """
    layers: list[nn.Module] = []
    inputs = shape[2]
    for count, width in zip(blocks, (64, 128, 256, 512, 512), strict=True):
        for _ in range(count):
            layers += _convolution(inputs, width)
            inputs = width
        layers.append(Halve())
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, classes))


class InvertedResidual(nn.Module):
    """1×1 to ``expansion`` times the width, 3×3 by channel, 1×1 back (Sandler et al. 2018, figure 3)."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = inputs * expansion
        self.adds = stride == 1 and inputs == outputs
        self.body = nn.Sequential(
            *(_convolution(inputs, width, size=1, relu=nn.ReLU6) if expansion > 1 else ()),
            *_convolution(width, width, stride, groups=width, relu=nn.ReLU6),
            *_convolution(width, outputs, size=1)[:-1],
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.adds else self.body(x)


def mobilenetv2(shape: Shape, classes: int) -> nn.Module:
    """MobileNetV2 at width 1 (Sandler et al. 2018, table 2); its first two halvings are left out on small images."""
    layers: list[nn.Module] = [*_convolution(shape[2], 32, relu=nn.ReLU6)]
    inputs = 32
    for expansion, width, count, stride in (
        (1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
    ):  # fmt: skip
        for i in range(count):
            layers.append(InvertedResidual(inputs, width, 1 if i else stride, expansion))
            inputs = width
    layers += _convolution(inputs, 1280, size=1, relu=nn.ReLU6)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1280, classes))


class Patches(nn.Module):
    """Square patches as tokens: (N, C, H, W) -> (N, patches, width)."""

    def __init__(self, channels: int, width: int, patch: int) -> None:
        super().__init__()
        self.embed = nn.Conv2d(channels, width, patch, patch)

    def forward(self, x: Tensor) -> Tensor:
        return self.embed(x).flatten(2).transpose(1, 2)


class Attention(nn.Module):
    """A pre-normalised transformer block (Dosovitskiy et al. 2021, equations 2 and 3)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList([nn.LayerNorm(width, eps=1e-6) for _ in range(2)])
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norms[0](x)).unflatten(-1, (3, self.heads, -1)).movedim(-3, 0).transpose(-3, -2)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v).transpose(-3, -2).flatten(-2)
        x = x + self.out(mixed)
        return x + self.mlp(self.norms[1](x))


class Class(nn.Module):
    """A learned class token before the patches, and learned positions for all."""

    def __init__(self, patches: int, width: int) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.empty(1, patches + 1, width).normal_(std=0.02))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.token.expand(len(x), -1, -1), x], dim=1) + self.positions


class First(nn.Module):
    """The first token."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, 0]


def vit(shape: Shape, classes: int, *, width: int = 192, depth: int = 12, heads: int = 3, patch: int = 4) -> nn.Module:
    """Vision transformer; the defaults are ViT-Tiny's (Touvron et al. 2021, table 1) with patches of 4×4 pixels."""
    patches = (shape[0] // patch) * (shape[1] // patch)
    return nn.Sequential(
        Patches(shape[2], width, patch), Class(patches, width), *(Attention(width, heads) for _ in range(depth)),
        nn.LayerNorm(width, eps=1e-6), First(), nn.Linear(width, classes),
    )  # fmt: skip


class Mixing(nn.Module):
    """An MLP over patches and one over channels, each after a layer norm (Tolstikhin et al. 2021, equation 1)."""

    def __init__(self, patches: int, width: int, over_patches: int, over_channels: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(width, eps=1e-6) for _ in range(2)])
        self.patches = nn.Sequential(nn.Linear(patches, over_patches), nn.GELU(), nn.Linear(over_patches, patches))
        self.channels = nn.Sequential(nn.Linear(width, over_channels), nn.GELU(), nn.Linear(over_channels, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.patches(self.norms[0](x).transpose(1, 2)).transpose(1, 2)
        return x + self.channels(self.norms[1](x))


class Mean(nn.Module):
    """The mean over tokens."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(1)


def mixer(
    shape: Shape, classes: int, *, width: int = 256, depth: int = 8, over_patches: int = 128, patch: int = 4
) -> nn.Module:
    """MLP-Mixer; the defaults halve the S model's widths (Tolstikhin et al. 2021, table 1), with patches of 4×4."""
    patches = (shape[0] // patch) * (shape[1] // patch)
    return nn.Sequential(
        Patches(shape[2], width, patch), *(Mixing(patches, width, over_patches, 4 * width) for _ in range(depth)),
        nn.LayerNorm(width, eps=1e-6), Mean(), nn.Linear(width, classes),
    )  # fmt: skip


def _cifar_resnet(depth: int) -> Callable[[Shape, int], nn.Module]:
    return partial(resnet, blocks=((depth - 2) // 6,) * 3, widths=(16, 32, 64))


MODELS: dict[str, Callable[[Shape, int], nn.Module]] = {
    "mlp": mlp,
    "cnn": cnn,
    **{f"resnet{depth}": _cifar_resnet(depth) for depth in (8, 14, 20, 32, 56, 110)},
    "resnet18": partial(resnet, blocks=(2, 2, 2, 2), widths=(64, 128, 256, 512)),
    "resnet34": partial(resnet, blocks=(3, 4, 6, 3), widths=(64, 128, 256, 512)),
    "resnet152": partial(resnet, blocks=(3, 8, 36, 3), widths=(256, 512, 1024, 2048), block=Bottleneck, stem=64),
    "resnet50": partial(resnet, blocks=(3, 4, 6, 3), widths=(256, 512, 1024, 2048), block=Bottleneck, stem=64),
    "vgg11": partial(vgg, blocks=(1, 1, 2, 2, 2)),
    "vgg16": partial(vgg, blocks=(2, 2, 3, 3, 3)),
    "vgg19": partial(vgg, blocks=(2, 2, 4, 4, 4)),
    "mobilenetv2": mobilenetv2,
    "vit": vit,
    "mixer": mixer,
}


def maker(name: str) -> Callable[[Shape, int], nn.Module] | None:
    """Who makes a network of this name; None where nobody does."""
    if wide := re.fullmatch(WIDE, name):
        return partial(wide_resnet, depth=int(wide[1]), factor=int(wide[2]))
    if split := re.fullmatch(SPLIT, name):
        return partial(resnext, paths=int(split[1]), width=int(split[2]))
    return MODELS.get(name)
