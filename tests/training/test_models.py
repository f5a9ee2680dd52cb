"""Architectures: published sizes, shapes, and initial weights that belong to their stream."""

import pytest
import torch

from kdstats import catalog
from kdstats.plan import stream
from kdstats.training.models import MODELS, build_model


def count(name, shape=(32, 32, 3), classes=10):
    return sum(p.numel() for p in build_model(name, shape, classes, stream(0)).parameters())


@pytest.mark.parametrize(
    ("name", "millions"),
    # He et al. 2016, table 6 (20, 32, 56, 110); their shortcuts are free, ours 1×1 convolutions add 2,752
    [("resnet20", 0.27), ("resnet32", 0.46), ("resnet56", 0.85), ("resnet110", 1.7)],
)
def test_cifar_resnets_have_the_published_size(name, millions):
    assert count(name) / 1e6 == pytest.approx(millions, rel=0.025)


def test_resnet18_has_torchvisions_size_but_for_the_stem():
    torchvision = pytest.importorskip("torchvision.models")
    theirs = torchvision.resnet18(num_classes=10)
    stem = theirs.conv1.weight.numel()
    assert count("resnet18") == sum(p.numel() for p in theirs.parameters()) - stem + 64 * 3 * 9


def test_the_catalogue_lists_what_there_is():
    assert set(catalog.MODELS) == set(MODELS)


@pytest.mark.parametrize("name", ["mlp", "cnn", "resnet8", "resnet18"])
@pytest.mark.parametrize("shape", [None, (28, 28, 1), (32, 32, 3)])
def test_every_architecture_takes_every_image_from_its_smallest_on(name, shape):
    shape = shape or (catalog.MODELS[name].smallest,) * 2 + (1,)
    model = build_model(name, shape, 7, stream(0)).eval()
    assert model(torch.zeros(2, shape[2], *shape[:2])).shape == (2, 7)


def test_initial_weights_belong_to_the_stream_and_leave_the_global_generator_alone():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    one = build_model("cnn", (8, 8, 1), 10, stream(0, "teacher", 1, None, "init")).state_dict()
    torch.rand(3)
    two = build_model("cnn", (8, 8, 1), 10, stream(0, "teacher", 1, None, "init")).state_dict()
    other = build_model("cnn", (8, 8, 1), 10, stream(0, "teacher", 2, None, "init")).state_dict()
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert not torch.equal(one["0.weight"], other["0.weight"])
    torch.random.set_rng_state(before)
    build_model("cnn", (8, 8, 1), 10, stream(0))
    assert torch.equal(torch.random.get_rng_state(), before)
