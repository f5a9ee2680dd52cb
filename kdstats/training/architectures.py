"""Networks by name: ours, torchvision's as ``torchvision:NAME``, timm's as ``timm:NAME``."""

from collections.abc import Callable
from typing import Any

import torch
from numpy.random import SeedSequence
from torch import Tensor, nn

from kdstats import catalog
from kdstats.documents import nearest
from kdstats.errors import UserError
from kdstats.training.data import torch_seed
from kdstats.training.models import Shape, maker

Makers = dict[str, Callable[[int], nn.Module]]  # architecture -> from the number of classes to a network

# else they draw their initial weights for seconds, and warn
MORE = {"googlenet": {"init_weights": False}, "inception_v3": {"init_weights": False}}


def build_model(name: str, shape: Shape, classes: int, seed: SeedSequence) -> nn.Module:
    """A network with initial weights drawn from a stream.

    Parameters
    ----------
    name : one of ours (``kdstats.catalog.model``), ``torchvision:NAME`` or ``timm:NAME``
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
    (make,) = makers_of(name if ":" in name else f"kdstats:{name}", shape).values()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch_seed(seed))
        return make(classes).to(memory_format=torch.channels_last)


def draws(name: str) -> bool:
    """Whether its steps may draw numbers, as those with dropout do; ours never do."""
    return ":" in name


def check_model(name: str, shape: Shape, classes: int, batch_size: int) -> None:
    """Whether the architecture is there and makes logits of a batch of these images; nothing is computed.

    Raises
    ------
    UserError
        What there is instead, or what it says to these images.
    """
    (make,) = makers_of(name, shape).values()
    height, width, channels = shape
    try:
        with torch.device("meta"):
            logits = make(classes).train()(torch.empty(batch_size, channels, height, width))
    except (RuntimeError, ValueError, AssertionError) as error:
        said = " ".join(str(error).split())[:200]
        raise UserError(f"{name} does not take batches of {batch_size} images of {height}×{width}: {said}") from None
    if not isinstance(logits, Tensor) or logits.shape != (batch_size, classes):
        raise UserError(f"{name} has further outputs in training, which no arm of a protocol uses: take another")


def makers_of(architecture: str, shape: Shape) -> Makers:
    """Who can make an architecture of this name; two where kdstats and torchvision both have it."""
    room, name = architecture.split(":", 1) if ":" in architecture else ("", architecture)
    rooms: dict[str, Callable[[str, Shape], Makers]] = {"kdstats": _ours, "torchvision": _torchvisions, "timm": _timms}
    if room and room not in rooms:
        raise UserError(f"{architecture}: there is no {room}: write kdstats:NAME, torchvision:NAME or timm:NAME")
    makers = rooms[room](name, shape) if room else _ours(name, shape) | _torchvisions(name, shape)
    if makers:
        return makers
    if room == "timm":
        names = _timm().list_models()
        raise UserError(
            f"{architecture}: timm has no such architecture{nearest(name, names)}; timm.list_models() has all"
        )
    theirs = torchvision_names()
    if name in theirs and room != "kdstats":
        raise UserError(f"{architecture}: torchvision's networks take images of 3 channels; these have {shape[2]}")
    raise UserError(
        f"{architecture}: there is no such architecture{nearest(name, [*catalog.MODELS, *theirs])}; there are those of"
        f" kdstats ({', '.join(catalog.OURS)}), torchvision's ({'by name' if theirs else 'not installed'})"
        " and timm:NAME"
    )


def _ours(name: str, shape: Shape) -> Makers:
    ours, make = catalog.model(name), maker(name)
    if not ours or not make:
        return {}
    if min(shape[:2]) < ours.smallest:
        raise UserError(
            f"kdstats:{name}: needs images of {ours.smallest}×{ours.smallest} pixels; these are {shape[0]}×{shape[1]}"
        )
    return {f"kdstats:{name}": lambda classes: make(shape, classes)}


def _torchvisions(name: str, shape: Shape) -> Makers:
    if name not in torchvision_names() or shape[2] != 3:
        return {}
    import torchvision

    def make(classes: int) -> nn.Module:
        made: nn.Module = torchvision.models.get_model(name, weights=None, num_classes=classes, **MORE.get(name, {}))
        return made

    return {f"torchvision:{name}": make}


def torchvision_names() -> list[str]:
    try:
        import torchvision
    except ImportError:
        return []
    return list(torchvision.models.list_models(module=torchvision.models))


def _timms(name: str, shape: Shape) -> Makers:
    timm = _timm()
    if not timm.is_model(name):  # also what timm would fetch from elsewhere
        return {}

    def make(classes: int) -> nn.Module:
        made: nn.Module = timm.create_model(name, pretrained=False, num_classes=classes, in_chans=shape[2])
        return made

    return {f"timm:{name}": make}


def _timm() -> Any:
    try:
        import timm
    except ImportError:
        raise UserError("timm: is not installed: pip install timm") from None
    return timm
