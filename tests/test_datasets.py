"""Datasets: real digits, files in the formats of their makers, and mistakes."""

import gzip
import hashlib
import pickle

import numpy as np
import pytest
import scipy.io
import sklearn.datasets

from kdstats.datasets import CIFAR10, CIFAR100, load_dataset, read_cifar, read_idx
from kdstats.errors import UserError


def arrays(n_train=20, n_test=10, shape=(6, 6, 3), classes=4):
    rng = np.random.default_rng(0)
    return {
        "x_train": rng.integers(0, 256, (n_train, *shape), dtype=np.uint8),
        "y_train": np.arange(n_train) % classes,
        "x_test": rng.integers(0, 256, (n_test, *shape), dtype=np.uint8),
        "y_test": np.arange(n_test) % classes,
    }


def write(path, **changes):
    np.savez(path, **{key: value for key, value in {**arrays(), **changes}.items() if value is not None})
    return path


def test_digits_are_scikit_learns_split_evenly_over_classes():
    ours = load_dataset("digits")
    assert ours.x_train.shape == (300, 8, 8, 1) and ours.x_test.shape == (1497, 8, 8, 1)
    assert np.bincount(ours.y_train).tolist() == [30] * 10
    theirs = sklearn.datasets.load_digits()
    mine = np.concatenate([ours.x_train, ours.x_test]).reshape(-1, 64) // 15

    def rows(x, y):
        return sorted(map(tuple, np.column_stack([x, y]).astype(int)))

    assert rows(mine, np.concatenate([ours.y_train, ours.y_test])) == rows(theirs.data, theirs.target)


def test_splits_are_fixed_and_nested():
    small, large = load_dataset("digits", train=100), load_dataset("digits", train=300)
    assert np.array_equal(small.x_train, large.x_train[:100])
    assert load_dataset("digits").fingerprint == large.fingerprint != small.fingerprint


def test_validation_never_touches_the_test_images():
    whole, held = load_dataset("digits"), load_dataset("digits", split="validation")
    assert len(held.y_train) == 240 and len(held.y_test) == 60
    train = {image.tobytes() for image in whole.x_train}
    assert all(image.tobytes() in train for image in np.concatenate([held.x_train, held.x_test]))
    assert not {i.tobytes() for i in held.x_train} & {i.tobytes() for i in held.x_test}


def test_npz_is_read_and_cut(tmp_path):
    path = write(tmp_path / "mine.npz")
    whole = load_dataset("npz", path=path)
    assert whole.shape == (6, 6, 3) and whole.classes == 4 and whole.x_train.dtype == np.uint8
    cut = load_dataset("npz", path=path, train=8, test=5)
    assert np.bincount(cut.y_train).tolist() == [2, 2, 2, 2] and len(cut.y_test) == 5
    grey = load_dataset("npz", path=write(tmp_path / "g.npz", **arrays(shape=(5, 5))))
    assert grey.shape == (5, 5, 1)


def test_fingerprint_sees_every_array(tmp_path):
    base = load_dataset("npz", path=write(tmp_path / "a.npz")).fingerprint
    flipped = arrays()["y_test"].copy()
    flipped[0] = 3
    assert load_dataset("npz", path=write(tmp_path / "b.npz", y_test=flipped)).fingerprint != base
    assert load_dataset("npz", path=write(tmp_path / "c.npz")).fingerprint == base


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"x_test": None}, "lacks the array(s) x_test"),
        ({"y_train": np.arange(19) % 4}, "20 images, y_train 19 labels"),
        ({"y_test": np.full(10, 4)}, "y_test row 0: label 4 is outside the classes 0 to 3"),
        ({"y_train": np.r_[np.arange(19) % 4, -1]}, "y_train row 19: label -1"),
        ({"y_train": np.zeros(20, int)}, "one class only"),
        ({"y_train": np.arange(20) / 4}, "labels are integers"),
        ({"y_train": np.zeros((20, 4), int)}, "shape (20, 4)"),
        ({"x_train": np.zeros((20, 108))}, "shape (20, 108)"),
        ({"x_train": np.zeros((20, 3, 32, 32))}, "channels come last"),
        ({"x_test": np.zeros((10, 5, 5, 3), np.uint8)}, "differ in shape"),
        ({"x_train": np.array([["a"]] * 20).reshape(20, 1, 1)}, "uint8 (0 to 255) or floats"),
        ({"x_train": np.array([None] * 20, object)}, "Python objects"),
        ({"y_train": np.full(20, -1)}, "y_train row 0: label -1"),
        ({"x_test": np.zeros((0, 6, 6, 3), np.uint8), "y_test": np.zeros(0, int)}, "x_test has no images"),
        ({"x_train": np.full((20, 6, 6, 3), 1e39)}, "beyond float32"),
    ],
)
def test_a_malformed_npz_is_named(tmp_path, changes, said):
    with pytest.raises(UserError) as error:
        load_dataset("npz", path=write(tmp_path / "bad.npz", **changes))
    assert said in str(error.value) and "bad.npz" in str(error.value)


def test_nan_names_its_row(tmp_path):
    x = arrays()["x_train"].astype(np.float32)
    x[7, 2, 2, 1] = np.nan
    with pytest.raises(UserError, match="x_train row 7 holds NaN"):
        load_dataset("npz", path=write(tmp_path / "nan.npz", x_train=x, x_test=arrays()["x_test"].astype(np.float32)))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 truncated", b"not an archive"])
def test_a_file_that_is_no_npz(tmp_path, content):
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(UserError, match=r"x\.npz: is no \.npz file"):
        load_dataset("npz", path=tmp_path / "x.npz")
    np.save(tmp_path / "y.npy", np.zeros(3))
    with pytest.raises(UserError, match=r"y\.npy: is no \.npz file"):
        load_dataset("npz", path=tmp_path / "y.npy")


def test_too_many_images_asked_for(tmp_path):
    with pytest.raises(UserError, match="21 training images are asked for, there are 20"):
        load_dataset("npz", path=write(tmp_path / "a.npz"), train=21)
    with pytest.raises(UserError, match="leaves no test images"):
        load_dataset("digits", train=1797)


def test_a_folder_that_is_not_there(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="no such data folder"):
        load_dataset("cifar10", data_dir=tmp_path / "nowhere")
    monkeypatch.setenv("KDSTATS_DATA", str(tmp_path / "neither"))
    with pytest.raises(UserError, match="neither"):
        load_dataset("mnist")


def test_named_dataset_from_npz_in_the_data_folder(tmp_path):
    write(tmp_path / "cifar10.npz", **arrays(shape=(32, 32, 3)))
    dataset = load_dataset("cifar10", data_dir=tmp_path, train=8)
    assert "test images; cifar10 has 50000 and 10000: is it all there?" in dataset.note
    assert dataset.classes == 10 and len(dataset.y_train) == 8


def idx(array):
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes() + array.tobytes()


@pytest.mark.parametrize(("name", "folder"), [("mnist", "MNIST"), ("fashion-mnist", "FashionMNIST")])
@pytest.mark.parametrize("zipped", [False, True])
def test_mnist_files_as_torchvision_lays_them(tmp_path, name, folder, zipped):
    made = arrays(shape=(28, 28))
    raw = tmp_path / folder / "raw"
    raw.mkdir(parents=True)
    for key, stem in zip(
        made, ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"), strict=True
    ):
        content = idx(made[key].astype(np.uint8))
        file = raw / f"{stem}-ubyte{'.gz' if zipped else ''}"
        file.write_bytes(gzip.compress(content) if zipped else content)
    read = load_dataset(name, data_dir=tmp_path)
    assert np.array_equal(read.x_train[..., 0], made["x_train"]) and np.array_equal(read.y_test, made["y_test"])


def test_an_incomplete_idx_file(tmp_path):
    (tmp_path / "x").write_bytes(idx(np.zeros((3, 4), np.uint8))[:-1])
    with pytest.raises(UserError, match="incomplete: 11 of 12 bytes"):
        read_idx(tmp_path / "x")
    (tmp_path / "y").write_bytes(b"<html>")
    with pytest.raises(UserError, match="no idx file"):
        read_idx(tmp_path / "y")


def cifar_batches(folder, payload=None):
    rng = np.random.default_rng(1)
    folder.mkdir()
    sums = {}
    for name in ("data_batch_1", "test_batch"):
        content = payload or {b"data": rng.integers(0, 256, (4, 3072), dtype=np.uint8), b"labels": [0, 1, 2, 9]}
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))
        sums[name] = hashlib.md5((folder / name).read_bytes()).hexdigest()
    return sums


def test_cifar_batches_after_their_md5(tmp_path):
    sums = cifar_batches(tmp_path / "cifar-10-batches-py")
    read = read_cifar(tmp_path, "cifar-10-batches-py", sums, b"labels")
    raw = pickle.loads((tmp_path / "cifar-10-batches-py" / "data_batch_1").read_bytes())[b"data"]
    assert read["x_train"].shape == (4, 32, 32, 3) and read["y_test"].tolist() == [0, 1, 2, 9]
    assert read["x_train"][2, 5, 7, 1] == raw[2, 1024 + 5 * 32 + 7]
    with pytest.raises(UserError, match="md5 is not the published one"):
        load_dataset("cifar10", data_dir=tmp_path)


def test_a_pickle_with_code_is_not_run_even_if_its_md5_matched(tmp_path):
    class Harm:
        def __reduce__(self):
            return (exec, (f"open({str(tmp_path / 'harm')!r}, 'w')",))

    sums = cifar_batches(tmp_path / "c", payload={b"data": Harm(), b"labels": []})
    with pytest.raises(pickle.UnpicklingError, match="not admitted"):
        read_cifar(tmp_path, "c", sums, b"labels")
    assert not (tmp_path / "harm").exists()


def test_cifar_checksums_are_torchvisions():
    torchvision = pytest.importorskip("torchvision.datasets")
    assert dict(torchvision.CIFAR10.train_list + torchvision.CIFAR10.test_list) == CIFAR10
    assert dict(torchvision.CIFAR100.train_list + torchvision.CIFAR100.test_list) == CIFAR100


def test_svhn_files(tmp_path):
    made = arrays(shape=(32, 32, 3))
    for part in ("train", "test"):
        labels = made[f"y_{part}"].copy()
        labels[labels == 0] = 10
        x = made[f"x_{part}"].transpose(1, 2, 3, 0)
        scipy.io.savemat(tmp_path / f"{part}_32x32.mat", {"X": x, "y": labels[:, None]})
    read = load_dataset("svhn", data_dir=tmp_path)
    assert np.array_equal(read.x_test, made["x_test"]) and np.array_equal(read.y_train, made["y_train"])


def test_half_a_dataset_offline(tmp_path, monkeypatch):
    import torchvision.datasets

    def no_network(*args, **kwargs):
        raise RuntimeError("no network")

    monkeypatch.setattr(torchvision.datasets, "CIFAR10", no_network)
    with pytest.raises(UserError, match=r"cifar-10-batches-py/data_batch_1 is not there.*no network.*--data-dir"):
        load_dataset("cifar10", data_dir=tmp_path)
