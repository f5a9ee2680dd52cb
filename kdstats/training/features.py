"""Feature maps of any network: where they are, what they are, how two networks' are matched; activations to keep."""

import math
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.random import SeedSequence
from numpy.typing import NDArray
from torch import Tensor, nn

from kdstats.documents import nearest
from kdstats.errors import UserError
from kdstats.training.architectures import build_model
from kdstats.training.data import Images, normalise, torch_seed

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


# Activations that are kept ---------------------------------------------------------------------------------------

PENULTIMATE = "penultimate"


@torch.no_grad()
def activations_of(model: nn.Module, images: Images, x: Tensor, layer: str, batch: int = 1024) -> NDArray[Any]:
    """What a layer gives for plain images, in evaluation mode.

    Parameters
    ----------
    layer : "penultimate", what goes into the last linear layer; or a module's name, of whose output maps are averaged
        over their pixels and tokens over their places

    Returns
    -------
    (n, D) float16; float32 where a value is beyond what float16 holds

    Raises
    ------
    UserError
        Lists the layers that there are.
    """
    model.eval()
    module = model.get_submodule(_module_of(model, normalise(images, x[:2]), layer))
    found: list[Tensor] = []

    def keep(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        found.append(_as_vectors(inputs[0] if layer == PENULTIMATE else output).float().cpu())

    handle = module.register_forward_hook(keep)
    try:
        for part in x.split(batch):
            model(normalise(images, part))
    finally:
        handle.remove()
    kept = torch.cat(found)
    small = kept.half()
    return (small if bool(small.isfinite().all()) else kept).numpy()


def check_activations(name: str, shape: tuple[int, int, int], classes: int, layer: str, where: str) -> int:
    """How many dimensions an architecture's layer has, on images of height, width, channels; nothing is computed.

    Raises
    ------
    UserError
        Lists the layers that there are.
    """
    height, width, channels = shape
    with torch.device("meta"):
        model = build_model(name, shape, classes, SeedSequence(0)).eval()
        views = torch.empty(2, channels, height, width)
        try:
            module = _module_of(model, views, layer)
        except UserError as error:
            raise UserError(f"{where}: {error}") from None
        return int(np.prod(_vectors_of(model, views)[module, layer == PENULTIMATE][1:]))


def _as_vectors(output: Tensor) -> Tensor:
    """(b, D): maps averaged over pixels, tokens over places."""
    if output.ndim == 4:
        return output.mean((2, 3))
    return output.mean(1) if output.ndim == 3 else output.flatten(1)


@torch.no_grad()
def _vectors_of(model: nn.Module, views: Tensor) -> dict[tuple[str, bool], torch.Size]:
    """The modules that give tensors of a batch, and linear ones for what goes in (True), in the order they run."""
    found: dict[tuple[str, bool], torch.Size] = {}

    def keep(name: str, module: nn.Module) -> Any:
        def hook(module: nn.Module, inputs: tuple[object, ...], output: object) -> None:
            if isinstance(output, Tensor) and output.ndim >= 2:
                found[name, False] = _as_vectors(output).shape
                if isinstance(module, nn.Linear) and isinstance(inputs[0], Tensor):
                    found.pop((name, True), None)
                    found[name, True] = _as_vectors(inputs[0]).shape

        return module.register_forward_hook(hook)

    handles = [keep(name, module) for name, module in model.named_modules() if name]
    try:
        model(views)
    finally:
        for handle in handles:
            handle.remove()
    return found


def _module_of(model: nn.Module, views: Tensor, layer: str) -> str:
    there = _vectors_of(model, views)
    if layer == PENULTIMATE:
        linear = [name for name, into in there if into]
        if linear:
            return linear[-1]
        raise UserError("it has no linear layer, so nothing is penultimate; name a module")
    names = [name for name, into in there if not into]
    if layer not in names:
        listed = ", ".join(names[:40]) + (", …" if len(names) > 40 else "")
        raise UserError(
            f"there is no layer {layer!r}{nearest(layer, [PENULTIMATE, *names])}; there are {PENULTIMATE}, {listed}"
        )
    return layer
