"""Activations that are kept: what they are, by layer and architecture, and what a wrong layer is told."""

import numpy as np
import pytest
import torch
from numpy.random import SeedSequence

from kdstats.datasets import load_dataset
from kdstats.errors import UserError
from kdstats.plan import Replicate
from kdstats.protocol import Recipe
from kdstats.training.architectures import build_model
from kdstats.training.data import normalise, to_device
from kdstats.training.engine import set_up, train_replicates
from kdstats.training.features import activations_of, check_activations

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def images():
    set_up(CPU)
    return to_device(load_dataset("digits", train=50, test=40), CPU)


def last_linear(model):
    return [module for module in model.modules() if isinstance(module, torch.nn.Linear)][-1]


@pytest.mark.parametrize(
    ("name", "dimensions"),
    [
        ("mlp", 128),
        ("cnn", 512),
        ("resnet8", 64),
        ("wrn-10-2", 128),
        ("mobilenetv2", 1280),
        ("vit", 192),
        ("mixer", 256),
    ],
)
def test_what_goes_into_the_last_layer_gives_the_logits(images, name, dimensions):
    model = build_model(name, images.shape, 10, SeedSequence(1)).eval()
    kept = activations_of(model, images, images.x_test, "penultimate", batch=16)
    assert kept.shape == (40, dimensions) and kept.dtype == np.float16
    assert check_activations(name, images.shape, 10, "penultimate", "here") == dimensions
    with torch.no_grad():
        logits = model(normalise(images, images.x_test))
        again = last_linear(model)(torch.from_numpy(kept).float())
    torch.testing.assert_close(again, logits, atol=5e-3, rtol=5e-3)


def test_maps_are_averaged_over_their_pixels(images):
    model = build_model("resnet8", images.shape, 10, SeedSequence(1)).eval()
    name = next(name for name, module in model.named_modules() if isinstance(module, torch.nn.Conv2d))
    found = []
    model.get_submodule(name).register_forward_hook(lambda module, inputs, output: found.append(output))
    kept = activations_of(model, images, images.x_test, name)
    with torch.no_grad():
        model(normalise(images, images.x_test))
    np.testing.assert_allclose(kept, found[-1].mean((2, 3)).numpy(), atol=2e-3)


def test_what_half_precision_cannot_hold_is_kept_in_single(images):
    model = build_model("mlp", images.shape, 10, SeedSequence(1))
    with torch.no_grad():
        for parameter in list(model.parameters())[:2]:
            parameter.mul_(1e6)
    kept = activations_of(model, images, images.x_test, "penultimate")
    assert kept.dtype == np.float32 and np.isfinite(kept).all() and kept.max() > 65504


def test_a_wrong_layer_is_told_which_there_are(images):
    with pytest.raises(UserError, match=r"here: there is no layer 'penultimat'.*did you mean penultimate.*there are"):
        check_activations("resnet8", images.shape, 10, "penultimat", "here")


def test_training_keeps_them_and_changes_nothing_else(images):
    recipe = Recipe(optimiser="adamw", learning_rate=0.01, epochs=2, batch_size=25)
    replicate = Replicate("t", "teacher", "cnn", None, 0)
    (kept,) = train_replicates([replicate], recipe, 0, images, {}.__getitem__, layer="penultimate")
    (plain,) = train_replicates([replicate], recipe, 0, images, {}.__getitem__)
    assert plain.features is None and kept.features.shape == (40, 512)
    np.testing.assert_array_equal(kept.logits, plain.logits)
