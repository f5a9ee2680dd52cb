"""Architectures: published sizes, shapes, and initial weights that belong to their stream."""

import pytest
import torch

from kdstats import catalog
from kdstats.errors import UserError
from kdstats.plan import stream
from kdstats.training.architectures import build_model, check_model
from kdstats.training.models import MODELS, Attention, Halve, maker, mixer


def count(name, shape=(32, 32, 3), classes=10):
    with torch.device("meta"):
        return parameters(maker(name)(shape, classes))


def parameters(model):
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("name", "millions"),
    # He et al. 2016, table 6 (20, 32, 56, 110); their shortcuts are free, ours 1×1 convolutions add 2,752
    [("resnet20", 0.27), ("resnet32", 0.46), ("resnet56", 0.85), ("resnet110", 1.7)],
)
def test_cifar_resnets_have_the_published_size(name, millions):
    assert count(name) / 1e6 == pytest.approx(millions, rel=0.025)


def test_resnet18_has_torchvisions_size_but_for_the_stem():
    torchvision = pytest.importorskip("torchvision.models")
    with torch.device("meta"):
        theirs = torchvision.resnet18(num_classes=10)
    stem = theirs.conv1.weight.numel()
    assert count("resnet18") == sum(p.numel() for p in theirs.parameters()) - stem + 64 * 3 * 9


@pytest.mark.parametrize(
    ("name", "millions"),
    # Zagoruyko & Komodakis 2016, tables 4 and 5
    [("wrn-40-1", 0.6), ("wrn-40-2", 2.2), ("wrn-40-4", 8.9), ("wrn-16-8", 11.0), ("wrn-28-10", 36.5)],
)
def test_wide_resnets_have_the_published_size(name, millions):
    assert count(name) / 1e6 == pytest.approx(millions, abs=0.051)


@pytest.mark.parametrize(
    ("name", "millions"),
    [("resnext29-8x64", 34.4), ("resnext29-16x64", 68.1)],  # Xie et al. 2017, table 7
)
def test_resnexts_have_the_published_size(name, millions):
    assert count(name) / 1e6 == pytest.approx(millions, abs=0.06)  # theirs is cut off, not rounded


@pytest.mark.parametrize("name", ["resnet34", "resnet50", "resnet152"])
def test_wider_resnets_have_torchvisions_size_but_for_the_stem(name):
    with torch.device("meta"):
        theirs = getattr(pytest.importorskip("torchvision.models"), name)(num_classes=10)
    assert count(name) == parameters(theirs) - theirs.conv1.weight.numel() + 64 * 3 * 9


def test_vgg_mobilenet_and_vit_have_torchvisions_size():
    torchvision = pytest.importorskip("torchvision.models")
    for depth in (11, 16, 19):
        with torch.device("meta"):
            theirs = getattr(torchvision, f"vgg{depth}_bn")(num_classes=10).features
        biases = sum(p.numel() for name, p in theirs.named_parameters() if p.ndim == 1) // 3  # batch norm has two each
        assert count(f"vgg{depth}") == parameters(theirs) - biases + 512 * 10 + 10
    with torch.device("meta"):
        assert count("mobilenetv2") == parameters(torchvision.mobilenet_v2(num_classes=10))
        assert count("vit") == parameters(torchvision.VisionTransformer(32, 4, 12, 3, 192, 768, num_classes=10))


def test_the_mixer_has_the_published_size():
    with torch.device("meta"):
        small = mixer((224, 224, 3), 1000, width=512, over_patches=256, patch=16)
    assert parameters(small) / 1e6 == pytest.approx(18.5, rel=0.01)  # Tolstikhin et al. 2021, table 1: S/16 has 18 M


def test_halving_is_max_pooling():
    x = torch.randn(2, 3, 7, 6, generator=torch.Generator().manual_seed(0))
    assert torch.equal(Halve()(x), torch.nn.functional.max_pool2d(x, 2))


def test_attention_is_torchs():
    torch.manual_seed(0)
    ours, theirs = Attention(12, 3).eval(), torch.nn.TransformerEncoderLayer(
        12, 3, 48, dropout=0.0, activation="gelu", layer_norm_eps=1e-6, batch_first=True, norm_first=True
    ).eval()  # fmt: skip
    weights = ours.state_dict()
    names = {
        "qkv": "self_attn.in_proj_", "out": "self_attn.out_proj.", "mlp.0": "linear1.", "mlp.2": "linear2.",
        "norms.0": "norm1.", "norms.1": "norm2.",
    }  # fmt: skip
    theirs.load_state_dict(
        {f"{there}{kind}": weights[f"{here}.{kind}"] for here, there in names.items() for kind in ("weight", "bias")}
    )
    x = torch.randn(2, 5, 12)
    torch.testing.assert_close(ours(x), theirs(x))


def test_the_catalogue_lists_what_there_is():
    assert set(catalog.MODELS) == set(MODELS)


@pytest.mark.parametrize(
    "name", ["mlp", "cnn", "resnet8", "resnet50", "wrn-16-1", "vgg11", "mobilenetv2", "vit", "mixer"]
)
@pytest.mark.parametrize("shape", [None, (28, 28, 1), (32, 32, 3)])
def test_every_architecture_takes_every_image_from_its_smallest_on(name, shape):
    smallest = catalog.model(name).smallest
    shape = shape or (smallest, smallest, 1)
    if min(shape[:2]) < smallest:
        pytest.skip(f"{name} needs {smallest}×{smallest}")
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


def test_wide_resnets_of_every_depth_that_there_is():
    assert count("wrn-22-3") > count("wrn-16-3") > count("wrn-16-2")
    assert maker("wrn-17-2") is None and catalog.model("wrn-17-2") is None and maker("wrn-16-0") is None


def test_networks_of_libraries_by_name():
    pytest.importorskip("torchvision")
    one, other = (build_model("torchvision:mobilenet_v3_small", (32, 32, 3), 7, stream(i)) for i in (0, 0))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    check_model("torchvision:mobilenet_v3_small", (32, 32, 3), 7, 2)
    for name, shape, said in (
        ("torchvision:resnet81", (32, 32, 3), "there is no such architecture.*resnet18"),
        ("torchvision:resnet18", (32, 32, 1), "take images of 3 channels"),
        ("torchvision:alexnet", (32, 32, 3), "does not take batches of 2 images of 32×32"),
        ("torchvision:inception_v3", (299, 299, 3), "has further outputs in training"),
        ("tim:resnet18", (32, 32, 3), "there is no tim"),
    ):
        with pytest.raises(UserError, match=said):
            check_model(name, shape, 7, 2)
