"""Networks that exist: their weights are numbers and nothing else, and give the logits that they gave before."""

import argparse
import pickle
import sys
import types
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from kdstats.datasets import load_dataset
from kdstats.errors import UserError
from kdstats.plan import stream
from kdstats.predictions import read_predictions
from kdstats.training.architectures import build_model
from kdstats.training.checkpoints import IMAGENET, cached_predictions, predict, read_checkpoint, read_pictures
from kdstats.training.data import to_device
from kdstats.training.targets import logits_of

SHAPE = (8, 8, 1)
CPU = torch.device("cpu")


def network(name="cnn", shape=SHAPE, classes=10, seed=3):
    """A network whose batch norm has seen something, so that evaluation differs from training."""
    model = build_model(name, shape, classes, stream(seed))
    x = torch.randn(32, shape[2], *shape[:2], generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        model(2 * x + 1)
    return model


def plain(weights):
    return {key: value.contiguous() for key, value in weights.items()}


def refusal(call, *arguments, **named):
    with pytest.raises(UserError) as error:
        call(*arguments, **named)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # networks this small are slower on several
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def digits():
    return read_pictures("digits")


# Checkpoints -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mlp", "cnn", "resnet8"])
def test_a_network_says_what_it_said_before_it_was_saved(name, digits, tmp_path):
    model = network(name)
    safetensors.torch.save_file(plain(model.state_dict()), tmp_path / "it.safetensors")
    found = read_checkpoint(tmp_path / "it.safetensors", name, SHAPE, 10)
    assert (found.architecture, found.classes) == (f"kdstats:{name}", 10)
    logits = predict(found.model, digits.pixels[:60], mean=digits.mean, std=digits.std)
    images = to_device(load_dataset("digits"), CPU)
    with torch.no_grad():
        expected = logits_of(model, images, images.x_test[:60]).numpy()
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5)
    assert logits.dtype == np.float32 and logits.shape == (60, 10)


FORMS = {
    "bare.pth": lambda weights: weights,
    "parallel.pt": lambda weights: {f"module.{key}": value for key, value in weights.items()},
    "compiled.pth": lambda weights: {
        "model": {f"_orig_mod.{key}": value for key, value in weights.items()},
        "epoch": 3,
    },
    "both.ckpt": lambda weights: {"state_dict": {f"module._orig_mod.{k}": v for k, v in weights.items()}},
    "named.pth.tar": lambda weights: {"model_state_dict": weights, "optimizer": {"state": [1.0, "sgd"]}},
    "arch.pth": lambda weights: {"model": "cnn", "state_dict": weights},
    "uncounted.pth": lambda weights: {k: v for k, v in weights.items() if "num_batches_tracked" not in k},
}


@pytest.mark.parametrize("file", FORMS)
@pytest.mark.parametrize("archive", [True, False], ids=["zip", "old"])
def test_state_dicts_in_their_usual_wrappings(file, archive, tmp_path):
    model = network()
    torch.save(FORMS[file](model.state_dict()), tmp_path / file, _use_new_zipfile_serialization=archive)
    found = read_checkpoint(tmp_path / file, "cnn", SHAPE)
    assert found.classes == 10
    for key, value in found.model.state_dict().items():
        assert "num_batches_tracked" in key or torch.equal(value, model.state_dict()[key])
    assert not found.model.training and not any(p.requires_grad for p in found.model.parameters())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_become_float32(dtype, tmp_path):
    weights = {key: value.to(dtype) for key, value in network("mlp").state_dict().items()}
    safetensors.torch.save_file(weights, tmp_path / "it.safetensors")
    own = read_checkpoint(tmp_path / "it.safetensors", "mlp", SHAPE).model.state_dict()
    assert all(torch.equal(own[key], weights[key].float()) and own[key].dtype == torch.float32 for key in own)


def test_reading_draws_nothing_from_the_global_generator(tmp_path):
    torch.save(network("mlp").state_dict(), tmp_path / "it.pth")
    before = torch.random.get_rng_state()
    read_checkpoint(tmp_path / "it.pth", "mlp", SHAPE)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("name", ["squeezenet1_1", "mnasnet0_5"])
def test_torchvisions_networks_by_name(name, tmp_path):
    theirs = pytest.importorskip("torchvision.models")
    torch.manual_seed(0)
    model = theirs.get_model(name, weights=None, num_classes=7).eval()
    safetensors.torch.save_file(model.state_dict(), tmp_path / "it.safetensors")  # without torch's version numbers
    found = read_checkpoint(tmp_path / "it.safetensors", name, (64, 64, 3))
    assert (found.architecture, found.classes) == (f"torchvision:{name}", 7)
    images = np.random.default_rng(0).integers(0, 256, (3, 3, 64, 64), np.uint8)
    from torchvision.transforms.v2.functional import normalize

    with torch.no_grad():
        expected = model(normalize(torch.tensor(images) / 255, *(list(values) for values in IMAGENET)))
    logits = predict(found.model, images, mean=IMAGENET[0], std=IMAGENET[1])
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)


def test_of_two_architectures_of_one_name_the_keys_tell(tmp_path):
    theirs = pytest.importorskip("torchvision.models")
    torch.save(theirs.resnet18(num_classes=4).state_dict(), tmp_path / "theirs.pth")
    torch.save(network("resnet18", (8, 8, 3), 4).state_dict(), tmp_path / "ours.pth")
    for room, file in (("torchvision", "theirs.pth"), ("kdstats", "ours.pth")):
        assert read_checkpoint(tmp_path / file, "resnet18", (8, 8, 3), 4).architecture == f"{room}:resnet18"
    said = refusal(read_checkpoint, tmp_path / "theirs.pth", "kdstats:resnet18", (8, 8, 3), 4)
    assert "does not fit kdstats:resnet18: it lacks 0.weight, 1.weight, 1.bias and" in said
    assert "it has conv1.weight, bn1.weight, bn1.bias and" in said


def test_what_does_not_fit_is_named(tmp_path):
    file = tmp_path / "it.pth"
    weights = network().state_dict()

    def said(changed, classes=10, name="cnn", shape=SHAPE):
        torch.save(changed, file)
        return refusal(read_checkpoint, file, name, shape, classes).removeprefix(f"{file}: ")

    other = "; name the architecture that the weights were trained in"
    assert said({k: v for k, v in weights.items() if k != "3.weight"}) == (
        f"does not fit kdstats:cnn: it lacks 3.weight{other}"
    )
    assert said(weights | {"9.bias": torch.ones(1)}) == (
        f"does not fit kdstats:cnn: it has 9.bias, which the architecture has not{other}"
    )
    assert said(weights, 12) == (
        "does not fit kdstats:cnn: 7.weight is 10×512, not 12×512, 7.bias is 10, not 12;"
        " it was made for 10 classes, not 12"
    )
    assert said(weights, shape=(8, 8, 3)) == (
        f"does not fit kdstats:cnn: 0.weight is 16×1×3×3, not 16×3×3×3{other}, and images of its size and channels"
    )
    assert said(weights | {"7.bias": torch.tensor(1.0)}).startswith(
        "does not fit kdstats:cnn: 7.bias is a single number, not 10"
    )
    broken = weights["3.weight"].clone()
    broken[0, 0, 0, 0] = torch.nan
    assert said(weights | {"3.weight": broken}) == (
        "does not fit kdstats:cnn: 3.weight holds NaN or infinity; the network was not trained to an end"
    )
    assert "7.bias is of type int64, not plain float32" in said(weights | {"7.bias": torch.arange(10)})
    assert "7.bias is of type complex64, not plain" in said(weights | {"7.bias": torch.zeros(10) * 1j})
    assert "7.bias is of type meta" in said(weights | {"7.bias": torch.empty(10, device="meta")})
    assert "has no last layer of kdstats:cnn (7.bias)" in said({"0.weight": weights["0.weight"]}, None)
    assert said({"model": 3, "epoch": 1}) == (
        "is no state dict, and has none under state_dict, model, model_state_dict: model is int, not a tensor"
    )
    assert "holds no state dict" in said([1, 2])
    assert "holds no state dict" in said({})


@pytest.mark.parametrize(
    ("architecture", "shape", "says"),
    [
        ("resnet21", (32, 32, 3), "there is no such architecture; did you mean resnet"),
        ("resnet21", (32, 32, 3), "torchvision's (by name) and timm:NAME"),
        ("alexnet", (32, 32, 1), "take images of 3 channels; these have 1"),
        ("resnet20", (4, 4, 3), "kdstats:resnet20: needs images of 8×8 pixels; these are 4×4"),
        ("keras:resnet20", (32, 32, 3), "there is no keras: write kdstats:NAME, torchvision:NAME or timm:NAME"),
        ("fasterrcnn_resnet50_fpn", (32, 32, 3), "there is no such architecture"),
        ("../resnet20", (32, 32, 3), "there is no such architecture"),
    ],
)
def test_unknown_architectures(architecture, shape, says, tmp_path):
    assert says in refusal(read_checkpoint, tmp_path / "it.pth", architecture, shape, 10)


def test_without_torchvision_or_timm_there_are_ours(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    monkeypatch.setitem(sys.modules, "timm", None)
    torch.save(network().state_dict(), tmp_path / "it.pth")
    assert read_checkpoint(tmp_path / "it.pth", "cnn", SHAPE, 10).architecture == "kdstats:cnn"
    assert "torchvision's (not installed)" in refusal(read_checkpoint, tmp_path / "it.pth", "alexnet", (32, 32, 3))
    assert refusal(read_checkpoint, tmp_path / "it.pth", "timm:vit", SHAPE) == (
        "timm: is not installed: pip install timm"
    )


def test_timm_is_asked_for_what_it_knows_and_nothing_else(tmp_path, monkeypatch):
    asked = []

    def create_model(name, **options):
        asked.append((name, options))
        return nn.Sequential(nn.Flatten(), nn.Linear(64 * options["in_chans"], options["num_classes"]))

    timm = types.SimpleNamespace(
        is_model=lambda name: name == "tiny", list_models=lambda: ["tiny", "small"], create_model=create_model
    )
    monkeypatch.setitem(sys.modules, "timm", timm)
    torch.save({"1.weight": torch.ones(5, 64), "1.bias": torch.zeros(5)}, tmp_path / "it.pth")
    found = read_checkpoint(tmp_path / "it.pth", "timm:tiny", SHAPE)
    assert (found.architecture, found.classes) == ("timm:tiny", 5)
    assert asked[-1] == ("tiny", {"pretrained": False, "num_classes": 5, "in_chans": 1})
    said = refusal(read_checkpoint, tmp_path / "it.pth", "timm:tinny", SHAPE)
    assert "timm has no such architecture; did you mean tiny?" in said
    count = len(asked)
    assert "timm has no such architecture" in refusal(read_checkpoint, tmp_path / "it.pth", "timm:hf-hub:a/b", SHAPE)
    assert len(asked) == count


# Files that are refused ------------------------------------------------------------------------------------------


class Hostile:
    """Makes a file when it is unpickled."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return (Path.touch, (self.file,))


def crafted(file, *members):
    with zipfile.ZipFile(file, "w") as archive:
        for member in members:
            archive.writestr(f"it/{member}", b"")


def scripted(file):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(nn.Linear(2, 3)), file)


def half(file):
    torch.save(network().state_dict(), file)
    file.write_bytes(file.read_bytes()[:4000])


CODE = {
    "module.pth": (lambda file: torch.save(nn.Linear(2, 3), file), "Python objects (torch.nn.modules.linear.Linear)"),
    "namespace.pth": (
        lambda file: torch.save({"model": network().state_dict(), "opt": argparse.Namespace(lr=1)}, file),
        "Python objects (argparse.Namespace) besides tensors",
    ),
    "plain.pth": (lambda file: file.write_bytes(pickle.dumps({"a": Hostile(file)})), "Python objects"),
    "script.pt": (scripted, "is a TorchScript archive, which is code"),
    "crafted.pth": (lambda file: crafted(file, "data.pkl", "constants.pkl"), "is a TorchScript archive"),
    "exported.pt": (lambda file: crafted(file, "archive_format", "models/model.json"), "is an exported program"),
    "exported.pt2": (lambda file: crafted(file, "archive_format", "models/model.json"), "a checkpoint is .safetensors"),
    "it.pkl": (lambda file: file.write_bytes(pickle.dumps({})), "others can run code"),
}
DAMAGED = {
    "text.pth": lambda file: file.write_text("hello"),
    "empty.pth": lambda file: file.write_bytes(b""),
    "half.pth": half,
    "text.safetensors": lambda file: file.write_text("hello"),
    "empty.safetensors": lambda file: file.write_bytes(b""),
    "zip.pth": lambda file: crafted(file, "nothing"),
}


@pytest.mark.parametrize("name", CODE)
def test_what_could_run_code_is_refused_and_says_how_to_export(name, tmp_path):
    make, says = CODE[name]
    make(tmp_path / name)
    said = refusal(read_checkpoint, tmp_path / name, "cnn", SHAPE)
    assert said.startswith(f"{tmp_path / name}: ") and says in said
    assert "safetensors.torch.save_model(model, FILE)" in said and "numpy.savez(FILE, logits=…)" in said


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("place", ["model", "epoch"])
def test_a_hostile_pickle_does_not_run(place, zipped, tmp_path):
    content = {"model": network().state_dict(), "epoch": 1} | {place: Hostile(tmp_path / "ran")}
    torch.save(content, tmp_path / "it.pth", _use_new_zipfile_serialization=zipped)
    assert "would run code" in refusal(read_checkpoint, tmp_path / "it.pth", "cnn", SHAPE)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_files(name, tmp_path):
    DAMAGED[name](tmp_path / name)
    said = refusal(read_checkpoint, tmp_path / name, "cnn", SHAPE)
    assert said.startswith(f"{tmp_path / name}: ") and ("is damaged" in said or "cannot be read" in said)


def test_no_file(tmp_path):
    assert refusal(read_checkpoint, tmp_path / "it.pth", "cnn", SHAPE) == (
        f"{tmp_path / 'it.pth'}: there is no such checkpoint"
    )


# Predictions -----------------------------------------------------------------------------------------------------


def test_logits_worked_by_hand():
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 1, bias=False))
    model[1].weight.data = torch.tensor([[1.0, 10.0]])
    images = np.array([0, 51, 102, 255], np.uint8).reshape(2, 2, 1, 1)
    # (0 - .5) / .5 + 10 (.2 - .2) / .1 = -1; (.4 - .5) / .5 + 10 (1 - .2) / .1 = 79.8
    np.testing.assert_allclose(predict(model, images, mean=[0.5, 0.2], std=[0.5, 0.1]), [[-1], [79.8]], rtol=1e-5)
    floats = np.array([[0.0, 0.2], [0.4, 1.0]], np.float32).reshape(2, 2, 1, 1)  # taken as they are
    np.testing.assert_allclose(predict(model, floats, mean=[0.5, 0.2], std=[0.5, 0.1]), [[-1], [79.8]], rtol=1e-5)


def test_evaluation_does_not_depend_on_the_batch_and_changes_nothing(digits):
    model = nn.Sequential(network(), nn.Dropout(0.5)).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    one, other = (
        predict(model, digits.pixels[:50], mean=digits.mean, std=digits.std, batch_size=size) for size in (7, 50)
    )
    np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


class Small(nn.Module):
    """Has memory for ``most`` images, and fails as CUDA, the CPU or Python do."""

    def __init__(self, most, error):
        super().__init__()
        self.most, self.error, self.sizes = most, error, []

    def forward(self, x):
        self.sizes.append(len(x))
        if len(x) > self.most:
            raise self.error
        return x.flatten(1)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        MemoryError(),
    ],
)
def test_out_of_memory_halves_the_batch(error):
    images = np.arange(22, dtype=np.uint8).reshape(22, 1, 1, 1)
    model = Small(5, error)
    logits = predict(model, images, mean=[0], std=[1], batch_size=100)
    np.testing.assert_allclose(logits, images.reshape(22, 1) / 255, rtol=1e-6)
    assert model.sizes == [22, 11, 5, 5, 5, 5, 2]
    assert "memory does not suffice for a single image" in refusal(
        predict, Small(0, error), images, mean=[0], std=[1], batch_size=8
    )


class Bright(nn.Module):
    """Fails on white pixels."""

    def forward(self, x):
        return torch.where(x.flatten(1) == 1, torch.nan, 0.0)


def test_what_cannot_be_predicted():
    images = np.zeros((5, 3, 8, 8), np.uint8)
    said = refusal(predict, network(), images, mean=[0] * 3, std=[1] * 3)
    assert said.startswith("the network cannot take images of 3×8×8 (")
    images[4] = 255
    model = nn.Sequential(nn.Flatten(), nn.LogSoftmax(1), nn.Hardtanh(0, 1), nn.Threshold(0.5, float("inf")))
    assert refusal(predict, model, images, mean=[0] * 3, std=[1] * 3).startswith(
        "image 0: the network's logits are NaN"
    )
    assert refusal(predict, Bright(), images, mean=[0] * 3, std=[1] * 3, batch_size=2) == (
        "image 4: the network's logits are NaN or infinite"
    )
    for mean, std, says in (
        ([0], [1] * 3, "mean is [0.]: it needs 3 finite numbers, one a channel"),
        ([0] * 3, [1, 0, 1], "std is [1. 0. 1.]: it needs 3 finite numbers, above 0, one a channel"),
        ([0, 0, np.nan], [1] * 3, "mean is [ 0.  0. nan]"),
    ):
        assert says in refusal(predict, network(), images, mean=mean, std=std)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_predicts_what_the_cpu_does(digits):
    options = {"mean": digits.mean, "std": digits.std}
    there = predict(network("resnet8"), digits.pixels, device=torch.device("cuda"), **options)
    np.testing.assert_allclose(there, predict(network("resnet8"), digits.pixels, **options), rtol=1e-4, atol=1e-4)


# Images ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    """Two classes of plain colours, written in another order than that of their names."""
    image = pytest.importorskip("PIL.Image")
    for name, colour in (("zebra/b.png", (9, 8, 7)), ("ant/c.PNG", (1, 2, 3)), ("zebra/a.png", (255, 0, 5))):
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        image.new("RGB", (6, 4), colour).save(tmp_path / "images" / name)
    (tmp_path / "images" / "ant" / ".hidden.png").write_bytes(b"")
    (tmp_path / "images" / ".git").mkdir()
    (tmp_path / "images" / "readme.txt").write_text("")
    return tmp_path / "images"


def test_a_folder_of_images(folder):
    found = read_pictures(folder)
    assert found.class_names == ("ant", "zebra") and found.labels.tolist() == [0, 1, 1] and found.classes == 2
    assert found.ids.tolist() == ["ant/c.PNG", "zebra/a.png", "zebra/b.png"]
    assert found.pixels.shape == (3, 3, 4, 6) and found.pixels.dtype == np.uint8 and found.shape == (4, 6, 3)
    assert found.pixels[:, :, 3, 5].tolist() == [[1, 2, 3], [255, 0, 5], [9, 8, 7]]
    assert found.normalisation == "ImageNet's training images" and found.mean.tolist() == IMAGENET[0].tolist()


@pytest.mark.parametrize("size", [(40, 30), (31, 47), (64, 64)])
@pytest.mark.parametrize(("kept", "resize"), [(16, None), (21, None), (20, 24)])
def test_images_are_resized_and_cropped_as_torchvision_does(size, kept, resize, tmp_path):
    image = pytest.importorskip("PIL.Image")
    transforms = pytest.importorskip("torchvision.transforms")
    for i, name in enumerate("ab"):
        (tmp_path / name).mkdir()
        pixels = np.random.default_rng(i).integers(0, 256, (size[1], size[0], 3), np.uint8)
        image.fromarray(pixels).save(tmp_path / name / "it.png")
    found = read_pictures(tmp_path, size=kept, resize=resize)
    steps = [transforms.Resize(resize or {16: 18, 21: 24}[kept]), transforms.CenterCrop(kept)]  # 8/7 of it
    expected = transforms.Compose([*steps, transforms.PILToTensor()])(image.open(tmp_path / "b" / "it.png"))
    assert np.array_equal(found.pixels[1], expected.numpy())


def test_grey_and_transparent_images_become_rgb(folder):
    from PIL import Image

    Image.new("L", (6, 4), 77).save(folder / "ant" / "c.PNG")
    Image.new("RGBA", (6, 4), (4, 5, 6, 0)).save(folder / "zebra" / "a.png")
    assert read_pictures(folder).pixels[:2, :, 0, 0].tolist() == [[77, 77, 77], [4, 5, 6]]


def test_bad_folders(folder, tmp_path):
    from PIL import Image

    def broken(name, says, make, **options):
        file = folder / name
        before = file.read_bytes() if file.exists() else None
        make(file)
        said = refusal(read_pictures, folder, **options)
        assert said.startswith(f"{file}: ") and says in said
        file.unlink() if before is None else file.write_bytes(before)

    broken("zebra/b.png", "has 5×6 pixels, c.PNG 4×6; give an image size", Image.new("RGB", (6, 5)).save)
    broken("zebra/b.png", "cannot be read as an image", lambda file: file.write_bytes(b"hello"))
    broken("ant/c.PNG", "cannot be read as an image", lambda file: file.write_bytes(file.read_bytes()[:45]), size=3)
    deep = Image.fromarray(np.full((4, 6), 40_000, np.uint16))
    broken("zebra/b.png", "more than 8 bits a channel", deep.save)
    (folder / "mouse").mkdir()
    assert refusal(read_pictures, folder).startswith(f"{folder / 'mouse'}: has no images (.png, ")
    (tmp_path / "one" / "class").mkdir(parents=True)
    assert "has 1 class folders; images lie in" in refusal(read_pictures, tmp_path / "one")
    assert "8×8 pixels do not fit into it" in refusal(read_pictures, folder, size=8, resize=7)
    assert "also the size to keep of it is needed" in refusal(read_pictures, folder, resize=7)


def test_pillow_is_needed_for_folders_only(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    assert "pip install pillow" in refusal(read_pictures, folder)
    read_pictures("digits")


def test_datasets_are_normalised_as_in_training(digits, tmp_path):
    dataset = load_dataset("digits")
    assert np.array_equal(digits.pixels.transpose(0, 2, 3, 1), dataset.x_test)
    assert np.array_equal(digits.labels, dataset.y_test)
    assert digits.mean.item() == pytest.approx(dataset.x_train.mean() / 255, rel=1e-6)
    assert digits.std.item() == pytest.approx(dataset.x_train.std() / 255, rel=1e-6)
    assert digits.fingerprint == dataset.fingerprint
    arrays = {key: getattr(dataset, key) for key in ("x_train", "y_train", "x_test", "y_test")}
    np.savez(tmp_path / "mine.npz", **arrays)
    mine = read_pictures(tmp_path / "mine.npz")
    assert np.array_equal(mine.pixels, digits.pixels) and mine.normalisation == "mine's training images"


def test_what_is_no_source_of_images(tmp_path):
    assert "did you mean cifar10?" in refusal(read_pictures, "cifar-10")
    assert "is neither a folder of images, nor an .npz file, nor a dataset (digits," in refusal(read_pictures, "npz")
    assert "there is no such file" in refusal(read_pictures, tmp_path / "none.npz")
    assert "an image size belongs to a folder" in refusal(read_pictures, "digits", size=8)


# The cache -------------------------------------------------------------------------------------------------------


def test_a_second_audit_reads_what_the_first_predicted(folder, tmp_path, monkeypatch):
    torch.save(network("mlp", (4, 6, 3), 2).state_dict(), tmp_path / "it.pth")
    checkpoint = read_checkpoint(tmp_path / "it.pth", "mlp", (4, 6, 3))
    pictures = read_pictures(folder)
    first = cached_predictions(tmp_path / "cache" / "inner", checkpoint, pictures)
    read = read_predictions(first, "student")
    expected = predict(checkpoint.model, pictures.pixels, mean=pictures.mean, std=pictures.std)
    assert read.kind == "logits" and np.array_equal(read.values, expected)

    def never(*args, **named):
        raise AssertionError("predicted again")

    with monkeypatch.context() as patch:
        patch.setattr("kdstats.training.checkpoints.predict", never)
        again = read_checkpoint(tmp_path / "it.pth", "mlp", (4, 6, 3))
        assert cached_predictions(tmp_path / "cache" / "inner", again, read_pictures(folder)) == first

    from PIL import Image

    files = {first}
    files.add(cached_predictions(first.parent, checkpoint, pictures, mean=[0.5] * 3))
    files.add(cached_predictions(first.parent, checkpoint, pictures, std=[0.5] * 3))
    Image.new("RGB", (6, 4), (9, 8, 6)).save(folder / "zebra" / "b.png")
    files.add(cached_predictions(first.parent, checkpoint, read_pictures(folder)))
    torch.save(network("mlp", (4, 6, 3), 2, seed=4).state_dict(), tmp_path / "it.pth")
    files.add(cached_predictions(first.parent, read_checkpoint(tmp_path / "it.pth", "mlp", (4, 6, 3)), pictures))
    assert len(files) == 5 and set(first.parent.iterdir()) == files


def test_nothing_is_kept_of_predictions_that_failed(digits, tmp_path):
    torch.save(network("mlp").state_dict(), tmp_path / "it.pth")
    checkpoint = read_checkpoint(tmp_path / "it.pth", "mlp", SHAPE)
    checkpoint.model[5].bias[0] = torch.nan
    assert "image 0: " in refusal(cached_predictions, tmp_path / "cache", checkpoint, digits)
    assert not (tmp_path / "cache").exists()
    checkpoint.model[5].bias[0] = 0
    (tmp_path / "file").write_text("")
    assert "the predictions cannot be written" in refusal(cached_predictions, tmp_path / "file", checkpoint, digits)
