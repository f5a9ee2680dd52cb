"""Feature maps of any network: where they are, what they are, how two networks' are matched."""

import math
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import torch
import torch.nn.functional as F
from numpy.random import SeedSequence
from torch import Tensor, nn

from kdstats.documents import nearest
from kdstats.errors import UserError
from kdstats.training.architectures import build_model
from kdstats.training.data import torch_seed

MapShape = tuple[int, ...]  # channels, height, width


def as_map(output: object) -> Tensor | None:
    """A module's output as (b, channels, height, width): itself, or a square of tokens, its class token left out."""
    if not isinstance(output, Tensor) or output.ndim not in (3, 4):
        return None
    if output.ndim == 4:
        return output
    tokens = output.shape[1]
    side = math.isqrt(tokens)
    if side < 2 or tokens not in (side**2, side**2 + 1):
        return None
    return output[:, tokens - side**2 :].transpose(1, 2).unflatten(2, (side, side))


def maps_of(model: nn.Module, views: Tensor, layers: Sequence[str]) -> tuple[Tensor, list[Tensor]]:
    """Logits of a batch, and the maps that these modules give, float32."""
    found: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        def hook(module: nn.Module, inputs: object, output: object) -> None:
            if (there := as_map(output)) is not None:
                found[name] = there.float()

        return model.get_submodule(name).register_forward_hook(hook)

    handles = [keep(name) for name in dict.fromkeys(layers)]
    try:
        logits = model(views)
    finally:
        for handle in handles:
            handle.remove()
    return logits, [found[name] for name in layers]


@torch.no_grad()
def layers_of(model: nn.Module, views: Tensor) -> dict[str, MapShape]:
    """Every module that gives a map, in the order in which they run, and the shape; the model is left as it was."""
    found: dict[str, MapShape] = {}

    def keep(name: str, module: nn.Module) -> Any:
        def hook(module: nn.Module, inputs: object, output: object) -> None:
            if (there := as_map(output)) is not None:
                found.setdefault(name, tuple(there.shape[1:]))

        return module.register_forward_hook(hook)

    handles = [keep(name, module) for name, module in model.named_modules() if name]
    training = model.training
    try:
        model.eval()(views)
    finally:
        model.train(training)
        for handle in handles:
            handle.remove()
    return found


def check_layers(name: str, shape: tuple[int, int, int], layer: str, where: str) -> None:
    """Whether an architecture has such a layer, on images of height, width, channels; nothing is computed.

    Raises
    ------
    UserError
        Lists those that there are.
    """
    height, width, channels = shape
    with torch.device("meta"):
        model = build_model(name, shape, 2, SeedSequence(0))
        named_layers(layer, layers_of(model, torch.empty(2, channels, height, width)), where)


def stages(layers: dict[str, MapShape]) -> list[str]:
    """The last map of each size among the modules at the top, in order: stage1, stage2, …; one pixel is no map."""
    top = [name for name, (_, *size) in layers.items() if "." not in name and math.prod(size) > 1]
    return [list(group)[-1] for _, group in groupby(top, key=lambda name: layers[name][1:])]


def named_layers(layer: str, layers: dict[str, MapShape], where: str) -> list[str]:
    """The modules that an arm's ``layer`` names: stage1, stage2, …, middle, all, or a module's own name.

    Raises
    ------
    UserError
        Lists those that there are.
    """
    sizes = stages(layers)
    if not sizes:
        raise UserError(f"{where} has no feature maps, only vectors: take a convolutional network or a transformer")
    names = {f"stage{i}": [name] for i, name in enumerate(sizes, 1)}
    names |= {"middle": [sizes[len(sizes) // 2]], "all": sizes} | {name: [name] for name in layers}
    if layer not in names:
        there = ", ".join(f"stage{i} ({'×'.join(map(str, layers[name]))})" for i, name in enumerate(sizes, 1))
        modules = ", ".join(list(layers)[:40]) + (", …" if len(layers) > 40 else "")
        raise UserError(
            f"{where} has no layer {layer!r}{nearest(layer, names)}; it has {there}; middle; all; and the modules"
            f" {modules}"
        )
    return names[layer]


class Match(nn.Module):
    """Two networks' maps brought to one shape.

    Parameters
    ----------
    student, teacher : shapes of their maps, layer by layer
    regress : a 1×1 convolution from the student's channels to the teacher's, which learns with the student
    seed : stream of its initial weights

    Notes
    -----
    The map with more pixels is averaged down to the other's.
    """

    def __init__(
        self, student: Sequence[MapShape], teacher: Sequence[MapShape], regress: bool, seed: SeedSequence
    ) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList()
        if regress:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(torch_seed(seed))
                for (mine, *_), (theirs, *_) in zip(student, teacher, strict=True):
                    self.convolutions.append(nn.Conv2d(mine, theirs, 1, bias=False))

    def forward(self, student: Sequence[Tensor], teacher: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        if len(self.convolutions):
            student = [convolve(maps) for convolve, maps in zip(self.convolutions, student, strict=True)]
        pairs = [(s, t, torch.Size(map(min, s.shape[2:], t.shape[2:]))) for s, t in zip(student, teacher, strict=True)]
        return [_down(s, size) for s, _, size in pairs], [_down(t, size) for _, t, size in pairs]


def _down(maps: Tensor, size: torch.Size) -> Tensor:
    if maps.shape[2:] == size:
        return maps
    if any(old % new for old, new in zip(maps.shape[2:], size, strict=True)):
        return F.adaptive_avg_pool2d(maps, (size[0], size[1]))
    return F.avg_pool2d(maps, [old // new for old, new in zip(maps.shape[2:], size, strict=True)])
