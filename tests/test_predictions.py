"""Predictions in files: every format says the same, ids decide the order, and every mistake is one sentence."""

import csv
import json
import pickle
import subprocess
import sys
import tracemalloc
import zipfile

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

from kdstats.errors import UserError
from kdstats.predictions import aligned, labels_beside, read_groups, read_labels, read_predictions
from kdstats.store import write_replicate
from tests.conftest import environment

Z = np.array([[2.0, -1.0, 0.5], [0.25, 3.0, -2.0], [-1.5, 0.0, 1.0], [1.0, 1.0, 0.0]], np.float32)
P = np.array([[0.5, 0.25, 0.25], [0.0, 1.0, 0.0], [0.125, 0.125, 0.75], [0.25, 0.5, 0.25]], np.float32)
IDS = ["d", "b", "a", "c"]
LABELS = np.array([0, 1, 2, 1])


def write_csv(file, columns):
    with file.open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return file


def write_parquet(file, **columns):
    pa = pytest.importorskip("pyarrow", reason="Parquet is read with pyarrow")
    pytest.importorskip("pyarrow.parquet").write_table(pa.table(columns), file, row_group_size=3)
    return file


def refused(read, *words):
    """The one sentence of a refusal, which names all these words."""
    with pytest.raises(UserError) as error:
        read()
    for word in words:
        assert word in str(error.value), str(error.value)
    assert "\n" not in str(error.value)


# Every format says the same ----------------------------------------------------------------------------------------


def npz(folder, z):
    np.savez(folder / "net.npz", logits=z, ids=IDS, labels=LABELS)
    return folder / "net.npz"


def compressed_any_name(folder, z):
    np.savez_compressed(folder / "net.npz", whatever=z, image_id=IDS)
    return folder / "net.npz"


def table(folder, z):
    return write_csv(folder / "net.csv", {"prob_2": z[:, 2], "example_id": IDS, "prob_0": z[:, 0], "prob_1": z[:, 1]})


def table_of_numbers(folder, z):
    return write_csv(folder / "net.csv", {"ID": IDS, **{str(k): z[:, k] for k in range(3)}, "split": list("xxyy")})


def table_of_names(folder, z):
    return write_csv(folder / "net.csv", {"id": IDS, "cat": z[:, 0], "dog": z[:, 1], "emu": z[:, 2], "label": LABELS})


def parquet(folder, z):
    return write_parquet(folder / "net.parquet", p1=z[:, 1], id=IDS, p0=z[:, 0], p2=z[:, 2], label=LABELS)


def parquet_of_lists(folder, z):
    return write_parquet(folder / "net.parquet", label=LABELS, scores=z.tolist(), id=IDS)


def mapping(folder, z):
    return {"logits": z.tolist(), "ids": IDS}


@pytest.mark.parametrize("values", [Z, P], ids=["logits", "probabilities"])
@pytest.mark.parametrize(
    "make",
    [npz, compressed_any_name, table, table_of_numbers, table_of_names, parquet, parquet_of_lists, mapping],
)
def test_every_format_with_ids_says_the_same(tmp_path, make, values):
    if make in (table, parquet) and values is Z:
        pytest.skip("its columns are named probabilities")
    network = read_predictions(make(tmp_path, values), None if make is not mapping else "net")
    assert network.kind == ("logits" if values is Z else "probabilities")
    assert network.name == "net" and network.ids.tolist() == IDS and network.n_classes == 3
    assert np.array_equal(network.values, values) and network.classes.tolist() == values.argmax(1).tolist()
    assert np.array_equal(network.block(slice(1, 3)), values[1:3])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_arrays_alone_keep_their_type_and_are_mapped(tmp_path, dtype):
    np.save(tmp_path / "a.npy", Z.astype(dtype))
    safetensors.numpy.save_file({"x": Z.astype(dtype)}, tmp_path / "b.safetensors")
    np.save(tmp_path / "f.npy", np.asfortranarray(Z.astype(dtype)))
    for name in ("a.npy", "b.safetensors", "f.npy"):
        network = read_predictions(tmp_path / name)
        assert isinstance(network.values, np.memmap) and network.values.dtype == dtype
        assert np.array_equal(network.values, Z.astype(dtype)) and network.ids is None
    assert read_predictions(Z.astype(dtype)).values.dtype == dtype


def test_tensors_lie_where_the_header_says(tmp_path):
    tensors = {"a": np.arange(3, dtype=np.int8), "ids": np.array([7, 9, 8, 5]), "logits": Z, "labels": LABELS}
    safetensors.numpy.save_file(tensors, tmp_path / "t.safetensors", metadata={"made": "here"})
    network = read_predictions(tmp_path / "t.safetensors")
    assert np.array_equal(network.values, Z) and network.ids.tolist() == [7, 9, 8, 5]
    assert labels_beside(tmp_path / "t.safetensors")[0].tolist() == LABELS.tolist()


def test_bfloat16_is_read(tmp_path):
    upper = (Z.view(np.uint32) >> 16).astype("<u2").tobytes()  # Z has few bits: exact in bfloat16
    header = json.dumps({"logits": {"dtype": "BF16", "shape": Z.shape, "data_offsets": [0, len(upper)]}}).encode()
    (tmp_path / "t.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + upper)
    network = read_predictions(tmp_path / "t.safetensors")
    assert network.values.dtype == np.float32 and np.array_equal(network.values, Z)


@pytest.mark.parametrize("column", ["label", "labels", "prediction", "predicted", "pred"])
def test_predicted_labels_alone(tmp_path, column):
    network = read_predictions(write_csv(tmp_path / "s.csv", {"id": [3, 1, 2, 10], column: LABELS, "n": LABELS + 5}))
    assert (network.kind, network.values, network.n_classes) == ("labels", None, None)
    assert network.classes.tolist() == LABELS.tolist() and network.ids.tolist() == [3, 1, 2, 10]


def test_labels_beside_predictions_are_the_true_ones(tmp_path):
    both = write_csv(tmp_path / "s.csv", {"label": LABELS, "pred": [1, 1, 2, 0]})
    assert read_predictions(both).classes.tolist() == [1, 1, 2, 0]
    assert labels_beside(both)[0].tolist() == LABELS.tolist() == read_labels(both)[0].tolist()
    assert labels_beside(npz(tmp_path, Z))[1].tolist() == IDS
    assert labels_beside({"labels": [0, 1]}) is None and labels_beside({"logits": Z}) is None


def test_labels_of_every_format(tmp_path):
    np.save(tmp_path / "y.npy", LABELS.astype(np.uint8))
    np.savez(tmp_path / "y.npz", anything=LABELS)
    safetensors.numpy.save_file({"label": LABELS}, tmp_path / "y.safetensors")
    write_csv(tmp_path / "y.csv", {"target": LABELS, "width": [1.5, 2.5, 3.0, 4.0]})
    for kind in ("npy", "npz", "safetensors", "csv"):
        labels, ids = read_labels(tmp_path / f"y.{kind}", 3)
        assert labels.dtype == np.int64 and labels.tolist() == LABELS.tolist() and ids is None
    assert read_labels(write_csv(tmp_path / "y.csv", {"id": IDS, "truth": LABELS}))[0].tolist() == LABELS.tolist()
    write_parquet(tmp_path / "y.parquet", label=LABELS, id=[4, 3, 2, 1])
    assert read_labels(tmp_path / "y.parquet", 3)[1].tolist() == [4, 3, 2, 1]


def test_a_replicate_of_a_run(tmp_path):
    meta = {"kind": "kd", "teacher": 0, "seed": 3, "losses": []}
    write_replicate(tmp_path, "one", meta, LABELS, Z)
    network = read_predictions(tmp_path / "one")
    assert network.name == "kd teacher 0 seed 3" and np.array_equal(network.values, Z)
    assert labels_beside(tmp_path / "one")[0].tolist() == LABELS.tolist()
    write_replicate(tmp_path, "two", {"kind": "teacher", "role": "teacher", "teacher": 6, "seed": None}, LABELS, Z)
    assert read_predictions(tmp_path / "two").name == "teacher 6"
    write_replicate(tmp_path, "failed", {"reason": "the loss is NaN at step 3"}, LABELS, None)
    refused(lambda: read_predictions(tmp_path / "failed"), "failed", "the loss is NaN at step 3")
    (tmp_path / "run" / "replicates").mkdir(parents=True)
    refused(lambda: read_predictions(tmp_path / "run"), "name one of its replicates/ID")
    refused(lambda: read_predictions(tmp_path), str(tmp_path), "no replicate")
    file = tmp_path / "one" / "predictions.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    refused(lambda: read_predictions(tmp_path / "one"), "predictions.safetensors", "altered")


def test_numbers_of_a_csv_are_exactly_those_written(tmp_path):
    z = np.random.default_rng(0).normal(size=(50, 3)) * 10.0 ** np.arange(-20, 30)[:, None]
    columns = {f"logit_{k}": [repr(float(x)) for x in z[:, k]] for k in range(3)}
    assert np.array_equal(read_predictions(write_csv(tmp_path / "a.csv", columns)).values, z)


# Logits or probabilities -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("classes", [2, 10, 1000])
def test_softmax_of_any_type_is_known(dtype, classes):
    z = np.random.default_rng(classes).normal(size=(600, classes)) * 4
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    network = read_predictions(p.astype(dtype))
    assert network.kind == "probabilities" and "sum to 1" in network.detected
    assert np.array_equal(network.classes, p.astype(dtype).argmax(1))
    assert read_predictions(z.astype(dtype)).kind == "logits"


def test_what_sums_to_one_is_read_as_probabilities_whatever_its_key():
    network = read_predictions({"logits": P})
    assert network.kind == "probabilities" and network.detected.startswith("key logits, but rows sum to 1")
    assert read_predictions({"logits": P * 2}).kind == "logits"
    negative = np.tile([0.75, -0.25, 0.5], (4, 1))  # sums to one, and is none
    assert read_predictions(negative).kind == "logits"


def test_rounded_text_counts_as_probabilities(tmp_path):
    rows = {"0": [0.333, 0.1], "1": [0.333, 0.2], "2": [0.333, 0.7]}
    assert read_predictions(write_csv(tmp_path / "a.csv", rows)).kind == "probabilities"
    refused(lambda: read_predictions(np.array(list(rows.values())).T), "row 0", "0.999")  # an array is not rounded


@pytest.mark.parametrize("row", [0, 1, 399])
def test_one_row_that_does_not_sum_to_one_is_found(tmp_path, row):
    p = np.tile(P, (100, 1))
    p[row, 0] += 0.01
    np.savez(tmp_path / "p.npz", probabilities=p)
    refused(lambda: read_predictions(tmp_path / "p.npz"), "p.npz: probabilities: row " + str(row), "1.01", "1 such row")
    refused(lambda: read_predictions(p), f"row {row}:")  # of an array without a key, too
    assert read_predictions({"logits": p}).kind == "logits"
    p[row] = [1.5, -0.25, -0.25]
    refused(lambda: read_predictions({"probabilities": p}), f"row {row}: class 1 is -0.25")


def test_logits_under_the_key_of_probabilities():
    refused(lambda: read_predictions({"probabilities": Z}), "row 0: class 1 is -1", "4 such rows of 4")


# One order ---------------------------------------------------------------------------------------------------------


@given(st.permutations(range(7)), st.permutations(range(7)), st.booleans())
def test_ids_decide_the_order(first, second, text):
    """Planted: example i has label i and the row (i, 2i, −i), whatever the order of the files."""

    def ids(order):
        return [f"image {i}" for i in order] if text else [i * 3 for i in order]

    z = np.column_stack([np.arange(7), 2 * np.arange(7), -np.arange(7)]).astype(float)
    networks = [read_predictions({"logits": z[list(o)], "ids": ids(o)}) for o in (first, second, range(7))]
    labels, found = aligned(np.array(first) % 3, np.array(ids(first)), networks)
    assert labels.tolist() == [i % 3 for i in first]
    for network in found:
        assert network.block(slice(2, 6)).tolist() == z[list(first)][2:6].tolist()
        assert network.ids.tolist() == ids(first) and network.classes.tolist() == z[list(first)].argmax(1).tolist()
    again = aligned(labels, np.array(ids(second)), found)[1]  # aligned ones can be aligned anew
    assert all(network.block(slice(0, 7)).tolist() == z[list(second)].tolist() for network in again)


def test_numbers_and_text_are_the_same_ids(tmp_path):
    file = write_csv(tmp_path / "s.csv", {"id": [10, 9, 8, 7], "pred": [0, 1, 2, 0]})
    _, (network,) = aligned(LABELS, np.array(["7", "8", "9", "10"]), [read_predictions(file)])
    assert network.classes.tolist() == [0, 2, 1, 0]
    zeros = write_csv(tmp_path / "z.csv", {"id": ["07", "08"], "pred": [0, 1]})
    assert read_predictions(zeros).ids.tolist() == ["07", "08"]  # leading zeros are part of a name


def test_without_ids_the_place_counts():
    labels, (first, second) = aligned(LABELS, None, [read_predictions(Z), read_predictions({"logits": Z, "ids": IDS})])
    assert first.order is None and second.order is None and labels is LABELS
    refused(lambda: aligned(LABELS[:3], None, [read_predictions(Z, "student")]), "student", "4 examples", "are 3")


def test_an_order_that_cannot_be_known_is_refused():
    one = read_predictions({"logits": Z, "ids": IDS}, "one")
    other = read_predictions({"logits": Z, "ids": IDS[::-1]}, "other")
    refused(lambda: aligned(LABELS, None, [one, other]), "the labels: has no ids", "one", "other", "add ids")
    bare = read_predictions(Z, "bare")
    refused(lambda: aligned(LABELS, np.array(IDS), [other, bare]), "bare: has no ids")
    assert aligned(LABELS, np.array(IDS), [one, bare])[1][1].order is None  # one order everywhere: the place will do


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        (["d", "b", "x", "y"], ("lacks 2 ids of the 4", "first 'a'", "its own first is 'd'")),
        (["d", "b", "a"], ("lacks 1 id of the 4", "first 'c'")),
        ([*IDS, "e", "f"], ("2 ids of its 6 are not in the labels", "first 'e'")),
    ],
)
def test_ids_that_do_not_match(ids, words):
    network = read_predictions({"labels": [0] * len(ids), "ids": ids}, "student")
    refused(lambda: aligned(LABELS, np.array(IDS), [network]), "student", *words)


def test_classes_that_differ():
    sized = read_predictions(Z, "teacher")
    refused(
        lambda: aligned(LABELS, None, [sized, read_predictions(Z[:, :2], "student")]), "student: has 2 classes", "3"
    )
    refused(lambda: aligned(LABELS + 1, None, [sized]), "the labels: row 2: class 3 is outside 0 to 2", "1 such row")
    alone = read_predictions(np.array([0, 7, 3, 1]), "student")
    refused(lambda: aligned(LABELS, None, [sized, alone]), "student: row 1: class 7", "2 such rows")
    assert len(aligned(LABELS + 1, None, [alone])[1]) == 1  # nobody says how many classes there are


# Groups ------------------------------------------------------------------------------------------------------------


def test_groups_by_id_and_by_place(tmp_path):
    file = write_csv(
        tmp_path / "g.csv", {"id": ["a", "b", "c", "d", "e"], "sex": list("fmfmm"), "age": [1, 2, 2, 1, 3]}
    )
    groups = read_groups(file, np.array(IDS), 4)
    assert {name: levels.tolist() for name, levels in groups.items()} == {"sex": list("mmff"), "age": list("1212")}
    assert list(read_groups(f"{file}:sex", np.array(IDS), 4)) == ["sex"]
    assert read_groups(f"{file}:sex", None, 5)["sex"].tolist() == list("fmfmm")
    np.save(tmp_path / "site.npy", [0, 1, 1])
    assert read_groups(str(tmp_path / "site.npy"), np.arange(3), 3)["site"].tolist() == ["0", "1", "1"]
    refused(lambda: read_groups(file, None, 4), "g.csv", "5 rows for 4 examples")
    refused(lambda: read_groups(f"{file}:hue", None, 5), "no column hue", "id, sex, age")
    unequal = {"id": IDS, "sex": list("fmfm"), "hue": ["x"]}
    refused(lambda: read_groups(unequal, np.array(IDS), 4), "hue is <U1 of shape (1,)")
    refused(lambda: read_groups(file, np.array(["a", "z"]), 2), "g.csv", "lacks 1 id", "'z'")


def test_a_group_is_never_empty(tmp_path):
    file = write_csv(tmp_path / "g.csv", {"sex": ["f", "", "m"]})
    refused(lambda: read_groups(file, None, 3), "g.csv:3", "sex", "empty")
    refused(lambda: read_groups({"sex": ["f", "m", " "]}, None, 3), "row 2", "no sex")
    refused(lambda: read_groups({"x": np.arange(30.0)}, None, 30), "30 groups for 30 examples")


def test_groups_of_a_parquet_file(tmp_path):
    pa = pytest.importorskip("pyarrow")
    site = pa.array(["x", "y", "x", "y"]).dictionary_encode()  # as pandas writes a categorical
    file = write_parquet(tmp_path / "g.parquet", id=IDS, site=site, image=[[1], [2], [3], [4]])
    assert {k: v.tolist() for k, v in read_groups(file, np.array(IDS[::-1]), 4).items()} == {"site": list("yxyx")}


# Bad input ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "said"), [(np.nan, "nan"), (np.inf, "inf"), (-np.inf, "-inf")], ids=["nan", "inf", "minus inf"]
)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_numbers_that_are_none_are_named_by_row_and_class(tmp_path, value, said, dtype):
    z = np.tile(Z, (30_000, 1)).astype(dtype)
    z[100_001, 2] = value
    np.save(tmp_path / "z.npy", z)
    refused(lambda: read_predictions(tmp_path / "z.npy"), "z.npy: row 100001: class 2 is " + said)


def test_numbers_beyond_what_can_be_subtracted():
    refused(lambda: read_predictions(np.array([[1.0, 2.0], [1e305, 0.0]])), "row 1: class 0 is 1e+305")


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros((0, 3)), "no examples"),
        (np.zeros(0, int), "no examples"),
        (np.zeros((4, 1)), "one class only"),
        (np.zeros((4, 2, 2)), "shape (4, 2, 2)"),
        (np.float64(3.0), "shape ()"),
        (np.zeros((4, 2), complex), "complex128"),
        (np.array([0.5, 0.7]), "row 0: label 0.5 is no integer"),
        (np.array([1.0, 0.0]), "astype(int)"),
        (np.array([1, -1]), "row 1: label -1 is outside"),
        (np.array(["cat", "dog"]), "row 0: label cat is no integer"),
        ([[1.0, 2.0], [1.0]], "no array of numbers"),
        ([{"a": 1}, None], "no integer"),
    ],
)
def test_arrays_that_are_no_predictions(array, said):
    refused(lambda: read_predictions(array, "student"), "student", said)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([0, 3, 1], "row 1: label 3 is outside; labels are 0 to 2 (1 such row)"),
        ([1, 1, 1], "every label is 1; with one class only"),
        ([[0, 1], [1, 0]], "one integer an example"),
        ([0.0, float("nan")], "row 1: label nan is no integer"),
        ([True, False], "row 0: label True is no integer"),
    ],
)
def test_labels_that_are_none(labels, said):
    refused(lambda: read_labels(labels, 3), said)


@pytest.mark.parametrize(
    ("ids", "said"),
    [
        (["a", "b", "a", "b"], "row 2: id 'a' was there before (2 repeated ids)"),
        ([1, 2, 3], "4 examples"),
        ([1.0, 2.0, 3.0, 4.0], "integers or text"),
    ],
)
def test_ids_that_are_none(ids, said):
    refused(lambda: read_predictions({"logits": Z, "ids": ids}), said)


def test_keys_that_leave_a_choice(tmp_path):
    np.savez(tmp_path / "a.npz", one=Z, two=Z)
    refused(lambda: read_predictions(tmp_path / "a.npz"), "a.npz: holds one, two", "`logits`")
    refused(lambda: read_labels(tmp_path / "a.npz"), "a.npz: holds one, two", "`labels`")
    refused(lambda: read_predictions({"labels": LABELS, "difficulty": LABELS}), "holds labels, difficulty")
    refused(lambda: read_predictions({"pred": LABELS, "predicted": LABELS}), "holds pred, predicted")
    refused(lambda: read_predictions({"ids": IDS}), "holds ids")
    many = {f"a{i}": Z for i in range(12)}
    refused(lambda: read_predictions(many), "a7 and 4 more")
    two = write_parquet(tmp_path / "two.parquet", a=Z.tolist(), b=Z.tolist())
    refused(lambda: read_predictions(two), "holds a, b")


class Harm:
    """Unpickled, it would leave a file."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return (open, (str(self.trace), "w"))


def test_no_pickle_is_opened(tmp_path):
    harm = Harm(tmp_path / "trace")
    for ending in (".pkl", ".pt", ".pth", ".bin", ".joblib", ".npy", ".npz", ".csv", ".safetensors", ".parquet"):
        (tmp_path / f"p{ending}").write_bytes(pickle.dumps(harm))
    objects = np.array([harm, harm], object)
    np.save(tmp_path / "o.npy", objects, allow_pickle=True)
    np.savez(tmp_path / "o.npz", logits=objects)
    for file in sorted(tmp_path.iterdir()):
        if file.suffix == ".parquet":
            pytest.importorskip("pyarrow")
        refused(lambda file=file: read_predictions(file), str(file))
    for name in ("o.npy", "o.npz"):
        refused(lambda name=name: read_predictions(tmp_path / name), "pickled Python objects", "numpy.savez")
    refused(lambda: read_predictions(tmp_path / "p.pth"), "can hold code", "numpy.savez")
    assert not (tmp_path / "trace").exists()


def write_all(folder):
    np.savez(folder / "a.npz", logits=Z)
    np.savez_compressed(folder / "b.npz", logits=np.tile(Z, (100, 1)))
    np.save(folder / "a.npy", Z)
    safetensors.numpy.save_file({"logits": Z}, folder / "a.safetensors")
    return sorted(folder.iterdir())


def test_files_that_are_cut_short_at_any_byte(tmp_path):
    for file in write_all(tmp_path):
        whole = file.read_bytes()
        for length in range(0, len(whole), max(1, len(whole) // 60)):
            file.write_bytes(whole[:length])
            refused(lambda file=file: read_predictions(file), str(file))


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_one_changed_byte_never_changes_a_number(tmp_path, save):
    file = tmp_path / "a.npz"
    save(file, logits=np.random.default_rng(0).normal(size=(500, 3)))
    whole = file.read_bytes()
    with zipfile.ZipFile(file) as archive:
        start = 30 + len("logits.npy") + 20  # local header, name, sizes
        end = start + archive.infolist()[0].compress_size
    before, unharmed = read_predictions(file).values, 0
    for place in [*range(start, start + 150), *range(start + 150, end, 300)]:
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        try:
            unharmed += np.array_equal(read_predictions(file).values, before)
        except UserError as error:
            assert "a.npz" in str(error)
        else:
            assert unharmed and save is np.savez_compressed  # a code that nothing uses
    assert unharmed < 5


def test_a_member_larger_than_memory_is_not_begun(tmp_path, monkeypatch):
    np.savez(tmp_path / "a.npz", logits=np.zeros((100, 100)))
    monkeypatch.setattr("os.sysconf", lambda name: 250)  # 250 pages of 250 bytes
    refused(lambda: read_predictions(tmp_path / "a.npz"), "does not fit into memory", ".npy and .safetensors")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("absent.npz", "there is no such file"),
        ("a.txt", ".txt is not read"),
        ("a", "without ending"),
        ("really_npy.npz", "looks like .npy"),
        ("really_npz.npy", "looks like .npz"),
        ("really_npz.parquet", "looks like .npz"),
        ("empty.csv", "is empty"),
        ("empty.safetensors", "is empty"),
        ("folder.npz", "is a folder"),
        ("text.safetensors", "damaged"),
    ],
)
def test_files_of_another_kind(tmp_path, name, said):
    np.save(tmp_path / "z.npy", Z)
    np.savez(tmp_path / "z.npz", Z)
    contents = {"empty": b"", "really_npy": (tmp_path / "z.npy").read_bytes(), "text": b"hello there, world\n"}
    contents |= {"really_npz": (tmp_path / "z.npz").read_bytes(), "a": b"0 1 2\n"}
    if name == "folder.npz":
        (tmp_path / name).mkdir()
    elif name != "absent.npz":
        (tmp_path / name).write_bytes(contents[name.partition(".")[0]])
    refused(lambda: read_predictions(tmp_path / name), name, said)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0,1\n0.5,0.5\n0.5,\n", "a.csv:3: class 1 is nan"),
        ("0,1\n0.5,0.5\n0.5,x\n", "a.csv:3: column 1 is 'x', which is no number"),
        ("0,1\n1,2\n1,NaN\n", "a.csv:3: column 1 is 'NaN'"),
        ("0,1\n0.5,0.5\n1.0,0.5\n0.5,0.5\n", "a.csv:3: sums to 1.5"),
        ("id,0,1\na,0,1\nb,1,0\na,1,0\n", "a.csv:4: id 'a' was there before"),
        ("id,0,1\na,0,1\n,1,0\n", "a.csv:3: column id is empty"),
        ("id,pred\na,0\nb,\n", "a.csv:3: label nan is no integer"),
        ("pred\n0\ncat\n", "a.csv:3: label cat is no integer"),
        ("0.5,0.5\n0.25,0.75\n", "first line holds 0.5"),
        ("3\n0\n1\n", "the first line has the names of the columns"),
        ("0,1\n", "no rows"),
        ("1,2,3\n1,2,3\n", "none of class 0"),
        ("p0,p1,p3\n1,2,3\n", "none of class 2"),
        ("p0,p1,p01\n1,0,0\n", "columns p1 and p01 are both class 1"),
        ("a,a\n1,2\n", "several columns 'a'"),
        ("0,1\n0.5,0.5,0.5\n", "no CSV table"),
        ("0,1\n0.5,0.5\n0.5,0.5,0.5\n", "a.csv"),
        ("id;0;1\n1;2;3\n", "a.csv:2: label 1;2;3"),
        ("0,1\n1,2\n99999999999999999999,x\n", "column 1 is 'x'"),
        ("x,y\na,b\n", "holds x, y"),
        ("id,n,pred\n1,2,a\n", "label a is no integer"),
        ("id,label,n\n1,,3\n", "label nan"),
        ("\xff\xfe0,1\n", "damaged"),
    ],
)
def test_mistakes_in_a_csv(tmp_path, text, said):
    (tmp_path / "a.csv").write_bytes(text.encode("latin-1"))
    refused(lambda: read_predictions(tmp_path / "a.csv"), "a.csv", said)


def test_columns_without_numbers_are_named(tmp_path):
    network = read_predictions(table_of_names(tmp_path, Z))
    assert network.detected == "rows do not sum to 1: read as logits; the classes are columns cat … emu"


def test_mistakes_in_parquet(tmp_path):
    def write(**columns):
        return write_parquet(tmp_path / "a.parquet", **columns)

    refused(lambda: read_predictions(write(logits=[[1.0, 2], [1], [0, 0], [1, 1]])), "row 1: logits has 1 numbers", "2")
    refused(
        lambda: read_predictions(write(probabilities=[[1.0, 2], [0, 1]])), "a.parquet: probabilities: row 0", "to 3"
    )
    refused(lambda: read_predictions(write(logits=[[1.0, 2], None])), "row 1: logits is empty")
    refused(lambda: read_predictions(write(logits=[[1.0, 2]] * 3 + [[None, 1.0]])), "row 3: class 0 is nan")
    refused(lambda: read_predictions(write(p0=[0.5, 1, 0.5, None], p1=[0.5, 0, 0.5, 1])), "row 3: class 0 is nan")
    refused(lambda: read_predictions(write(id=["a", None], pred=[1, 2])), "row 1: id is empty")
    refused(lambda: read_predictions(write(p0=["a"], p1=["b"])), "column p0 has type string")
    refused(lambda: read_predictions(write(pred=np.zeros(0, int))), "no rows")
    whole = write(logits=Z.tolist()).read_bytes()
    for length in range(4, len(whole), 40):
        (tmp_path / "a.parquet").write_bytes(whole[:length])
        refused(lambda: read_predictions(tmp_path / "a.parquet"), "a.parquet", "damaged")


def test_parquet_without_pyarrow_is_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "a.parquet").write_bytes(b"PAR1PAR1PAR1")
    refused(lambda: read_predictions(tmp_path / "a.parquet"), "a.parquet", "pip install pyarrow")


# Size --------------------------------------------------------------------------------------------------------------


def test_large_arrays_are_looked_at_in_blocks(tmp_path):
    z = np.random.default_rng(0).normal(size=(20_000, 400)).astype(np.float16)  # 16 MB, 64 MB as float64
    np.save(tmp_path / "z.npy", z)
    np.savez(tmp_path / "z.npz", features=np.zeros((4_000_000,)), logits=z)
    expected = z.argmax(1)
    for name, held in (("z.npy", 0), ("z.npz", z.nbytes)):
        tracemalloc.start()
        network = read_predictions(tmp_path / name)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < held + 8e6 and np.array_equal(network.classes, expected)


def test_reading_arrays_imports_no_pandas():
    code = """
import sys
from kdstats.predictions import aligned, read_labels, read_predictions
aligned(read_labels([0, 1])[0], None, [read_predictions([[1.0, 2.0], [2.0, 1.0]])])
print([name for name in ("pandas", "pyarrow", "torch", "scipy", "pydantic") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment())
    assert (done.stdout.strip(), done.stderr) == ("[]", "")
