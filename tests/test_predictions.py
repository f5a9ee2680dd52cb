"""What arrays mean: logits or probabilities, ids that decide the order, labels, groups; a mistake is one sentence."""

import json

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

from kdstats.auditing import audit
from kdstats.predictions import aligned, named_groups, read_groups, read_labels, read_predictions
from kdstats.store import write_replicate
from tests.conftest import kdstats
from tests.test_formats import IDS, LABELS, P, Z, refused, table_of_names, write_csv, write_parquet

# Labels and classes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("column", ["label", "labels", "prediction", "predicted", "pred"])
def test_predicted_labels_alone(tmp_path, column):
    network = read_predictions(write_csv(tmp_path / "s.csv", {"id": [3, 1, 2, 10], column: LABELS, "n": LABELS + 5}))
    assert (network.kind, network.values, network.n_classes) == ("labels", None, None)
    assert network.classes.tolist() == LABELS.tolist() and network.ids.tolist() == [3, 1, 2, 10]


def test_labels_beside_predictions_are_the_true_ones(tmp_path):
    both = write_csv(tmp_path / "s.csv", {"label": LABELS, "pred": [1, 1, 2, 0]})
    network = read_predictions(both)
    assert network.classes.tolist() == [1, 1, 2, 0] and network.truth.tolist() == LABELS.tolist()
    assert read_labels(both)[0].tolist() == LABELS.tolist()
    assert read_predictions({"labels": [0, 1]}).truth is None and read_predictions({"logits": Z}).truth is None
    assert read_predictions({"logits": Z, "labels": Z.argmax(1)}).truth is None  # these were predicted
    assert read_predictions({"logits": Z, "labels": Z.argmax(1), "targets": LABELS}).truth.tolist() == LABELS.tolist()
    assert read_predictions({"logits": Z, "label": ["cat", "dog", "emu", "dog"], "targets": Z}).truth is None
    refused(lambda: read_predictions({"logits": Z, "label": LABELS, "target": LABELS[::-1]}), "row 0: label and target")
    refused(lambda: read_predictions({"logits": Z, "labels": LABELS[:3]}), "labels is int64 of shape (3,) for 4")
    refused(lambda: read_predictions({"logits": Z, "labels": LABELS * 0.5}), "labels: row 1: label 0.5 is no integer")


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


def test_columns_without_numbers_are_named(tmp_path):
    network = read_predictions(table_of_names(tmp_path, Z))
    assert network.detected == "rows do not sum to 1: read as logits; the classes are columns cat … emu"


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


@pytest.mark.parametrize("classes", [2, 10, 1000])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_known_in_wider_numbers(tmp_path, dtype, classes):
    z = np.random.default_rng(classes).normal(size=(600, classes)) * 3
    p = (np.exp(z) / np.exp(z).sum(1, keepdims=True)).astype(np.float32)
    if dtype == "float16":
        half = p.astype(np.float16).astype(np.float32)
    else:
        half = ((p.view(np.uint32) + 0x8000) >> 16 << 16).view(np.float32)
    assert classes == 2 or np.abs(half.sum(1, dtype=float) - 1).max() > 1e-4  # more than float32 may be off
    for wider in (half, half.astype(np.float64)):
        assert read_predictions(wider).kind == "probabilities"
    upper = (half.view(np.uint32) >> 16).astype("<u2").tobytes()
    if dtype == "bfloat16":
        header = json.dumps({"x": {"dtype": "BF16", "shape": p.shape, "data_offsets": [0, len(upper)]}}).encode()
        (tmp_path / "p.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + upper)
        assert read_predictions(tmp_path / "p.safetensors").kind == "probabilities"
    p[7] *= 1.003  # in float32 that is a mistake
    refused(lambda: read_predictions(p), "row 7: sums to 1.003", "within 0.0001")


def test_percentages_are_refused(tmp_path):
    refused(lambda: read_predictions(P * 100, "student"), "student: rows sum to 100; divide percentages by 100")
    refused(lambda: read_predictions({"probabilities": P * 100}), "rows sum to 100")
    rounded = write_csv(tmp_path / "s.csv", {"cat": [33.3, 20.1], "dog": [33.3, 30], "emu": [33.3, 49.8]})
    refused(lambda: read_predictions(rounded), "s.csv: rows sum to 100")
    assert read_predictions({"logits": P * 100}).kind == "logits"


def test_outputs_between_0_and_1_are_named(tmp_path):
    np.savez(tmp_path / "s.npz", out=1 / (1 + np.exp(-Z)))
    refused(lambda: read_predictions(tmp_path / "s.npz"), "s.npz: out: row 0: sums to 1.77", "name them logits")
    assert read_predictions({"logits": 1 / (1 + np.exp(-Z))}).kind == "logits"
    assert read_predictions(Z).kind == read_predictions(Z + 2.5).kind == "logits"  # beyond 1, and nothing below 0


def test_a_signalling_nan_warns_of_nothing():
    z = np.tile(Z, (2, 1))
    z.view(np.uint32)[5, 1] = 0x7FA00000
    refused(lambda: read_predictions(z), "row 5: class 1 is nan")


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
    labels, (first, second) = aligned(LABELS, None, [read_predictions(Z), read_predictions(LABELS)])
    assert first.order is None and second.order is None and labels is LABELS
    student, teacher = read_predictions(Z, "student"), read_predictions(Z[:3], "teacher")
    refused(lambda: aligned(LABELS[:3], None, [student]), "the labels: has 3 examples, student 4")  # it stands alone
    refused(lambda: aligned(LABELS[:3], None, [student, student], "y.npy"), "y.npy: has 3 examples, student 4")
    refused(lambda: aligned(LABELS, None, [student, teacher]), "teacher: has 3 examples, the labels 4")


def test_ids_are_everywhere_or_nowhere(tmp_path):
    """Even in one order: that of what has none cannot be known."""
    np.savez(tmp_path / "one.npz", logits=Z, ids=IDS)
    one, bare = read_predictions(tmp_path / "one.npz"), read_predictions(Z, "bare")
    file = str(tmp_path / "one.npz")
    refused(lambda: aligned(LABELS, None, [one], "y.npy"), "y.npy: there are no ids, but there are in " + file, "give")
    refused(lambda: aligned(LABELS, np.array(IDS), [bare, one], "y.npz"), "bare: there are no ids", "in y.npz")
    refused(lambda: aligned(LABELS, None, [bare, one]), "the labels: there are no ids", file)
    (tmp_path / "replicates").mkdir()
    write_replicate(tmp_path / "replicates", "a1", {"kind": "kd", "teacher": 0, "seed": 3, "losses": []}, LABELS, Z)
    of_run = read_predictions(tmp_path / "replicates" / "a1")
    refused(
        lambda: aligned(LABELS, np.array(IDS), [one, of_run]), "replicates/a1: there are no ids", "numpy.savez(file"
    )
    groups = write_csv(tmp_path / "g.csv", {"id": IDS, "sex": list("fmfm")})
    refused(lambda: read_groups(groups, None, 4), "the networks: there are no ids", "g.csv")
    refused(lambda: read_groups({"sex": list("fmfm")}, np.array(IDS), 4), "groups: there are no ids", "give ids")


def test_the_command_refuses_ids_on_one_side(tmp_path):
    np.save(tmp_path / "y.npy", LABELS)
    np.savez(tmp_path / "t.npz", logits=Z)
    np.savez(tmp_path / "s.npz", logits=Z[::-1], ids=IDS)
    done = kdstats("audit", "--teacher", "t.npz", "--student", "s.npz", "--labels", "y.npy", cwd=tmp_path)
    assert done.returncode == 2 and not done.stdout
    assert done.stderr.startswith("error: y.npy: there are no ids, but there are in s.npz")


@pytest.mark.parametrize(
    "name", ["ID", "idx", "index", "image", "image_name", "filename", "path", "uid", "key", "", "__index_level_0__"]
)
def test_ids_of_common_names(tmp_path, name):
    columns = {name: IDS, "0": Z[:, 0], "1": Z[:, 1], "2": Z[:, 2]}
    assert read_predictions(write_csv(tmp_path / "s.csv", columns)).ids.tolist() == IDS
    assert read_labels(write_csv(tmp_path / "y.csv", {name: [3, 1, 2, 0], "y": LABELS}))[1].tolist() == [3, 1, 2, 0]
    if name:
        assert read_predictions({name: IDS, "logits": Z}).ids.tolist() == IDS
        assert read_predictions(write_parquet(tmp_path / "s.parquet", **columns)).ids.tolist() == IDS


def test_a_name_goes_before_a_number_that_pandas_wrote(tmp_path):
    file = write_csv(tmp_path / "s.csv", {"": [0, 1, 2, 3], "image": IDS, "pred": LABELS})
    assert read_predictions(file).ids.tolist() == IDS
    pixels = {"image": np.zeros((4, 2, 2)), "logits": Z}
    assert read_predictions(pixels).ids is None


@pytest.mark.parametrize("ids", [IDS, [3, 1, 2, 0]])
def test_what_may_be_ids_needs_the_name(tmp_path, ids):
    """A column that no name explains, and that is different in every row."""
    sentence = "nr is different in every row: name it `id`"
    numbered = {"nr": ids, "p0": P[:, 0], "p1": P[:, 1], "p2": P[:, 2]}
    named = {"nr": ids, "cat": P[:, 0], "dog": P[:, 1], "emu": P[:, 2]}
    for columns in (numbered, named, {"nr": ids, "pred": LABELS}):
        refused(lambda columns=columns: read_predictions(write_csv(tmp_path / "s.csv", columns)), "s.csv", sentence)
        file = write_parquet(tmp_path / "s.parquet", **columns)
        refused(lambda file=file: read_predictions(file), "s.parquet", sentence)
        assert read_predictions(write_csv(tmp_path / "s.csv", {"id": IDS} | numbered)).ids.tolist() == IDS
    refused(lambda: read_predictions({"logits": Z, "nr": np.array(ids)}), sentence)
    refused(lambda: read_labels({"labels": LABELS, "nr": np.array(ids)}), sentence)
    refused(lambda: read_groups(f"{write_csv(tmp_path / 'g.csv', {'nr': ids, 'g': LABELS})}:g", None, 4), sentence)
    assert read_predictions({"logits": Z, "fold": [1, 2, 3, 3]}).ids is None


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


def test_true_labels_beside_networks_are_those_of_the_audit():
    first = read_predictions({"logits": Z, "labels": LABELS}, "first")
    moved = read_predictions({"logits": Z[::-1], "labels": [1, 2, 1, 0]}, "moved")
    refused(
        lambda: aligned(LABELS, None, [first, moved], "y.npy"),
        "moved: row 0: the true label beside it is 1, and 0 in y.npy (4 such rows of 4)",
    )
    with_ids = read_predictions({"logits": Z[::-1], "labels": [1, 2, 1, 0], "ids": IDS[::-1]}, "moved")
    (found,) = aligned(LABELS, np.array(IDS), [with_ids])[1]
    assert found.truth.tolist() == LABELS.tolist()
    odd = read_predictions({"logits": Z[::-1], "labels": [1, 2, 0, 0], "ids": IDS[::-1]}, "odd")
    refused(lambda: aligned(LABELS, np.array(IDS), [odd]), "odd: row 2: the true label beside it is 0, and 1 in the")


def test_classes_have_one_order_by_name(tmp_path):
    def named(file, *names, prefix=""):
        columns = {prefix + name: P[:, k % 3] for k, name in enumerate(names)}
        return read_predictions(write_csv(tmp_path / file, columns))

    teacher = named("t.csv", "cat", "dog", "emu")
    assert teacher.class_names == ("cat", "dog", "emu")
    assert len(aligned(LABELS, None, [teacher, named("s.csv", "cat", "dog", "emu", prefix="prob_")])[1]) == 2
    for names, said in (
        (("cat", "emu", "dog"), "class 1 is emu, in "),
        (("cat", "dog", "emu", "loss"), "class 3 is loss, in "),
        (("cat", "dog"), "class 2 is missing, in "),
    ):
        values = np.column_stack([Z, Z[:, 1]])[:, : len(names)]
        student = read_predictions(write_csv(tmp_path / "s.csv", dict(zip(names, values.T, strict=True))))
        refused(lambda student=student: aligned(LABELS, None, [teacher, student]), "s.csv: " + said, "t.csv it is")
    numbered = read_predictions(Z[:, :2], "numbered")
    refused(lambda: aligned(LABELS, None, [numbered, teacher]), "t.csv: has 3 classes (columns cat, dog, emu)", "2;")
    refused(lambda: aligned(LABELS + 1, None, [teacher]), "class 3 is outside 0 to 2", "t.csv (columns cat, dog, emu)")


def test_a_class_of_integers_is_a_class(tmp_path):
    p = np.array([[0.75, 0, 0.25], [0.25, 0, 0.75], [0.5, 0, 0.5], [0.125, 0, 0.875]])
    columns = {"cat": p[:, 0], "dog": [0, 0, 0, 0], "emu": p[:, 2]}
    for file in (write_csv(tmp_path / "s.csv", columns), write_parquet(tmp_path / "s.parquet", **columns)):
        network = read_predictions(file)
        assert network.n_classes == 3 and network.classes.tolist() == p.argmax(1).tolist()
    size = {"cat": Z[:, 0], "width": [224, 224, 192, 224], "dog": Z[:, 1]}
    refused(lambda: read_predictions(write_csv(tmp_path / "s.csv", size)), "s.csv: column width holds integers")
    other = {"confidence": [0.5, 0.75, 0.25, 0.5], "loss": [0.5, 0.25, 0.75, 0.5], "pred": [0, 1, 1, 0]}
    refused(
        lambda: read_predictions(write_csv(tmp_path / "s.csv", other)), "s.csv:3: pred is 1", "confidence is largest"
    )
    other["pred"] = [1, 0, 1, 0]  # of tied classes either is right
    assert read_predictions(write_csv(tmp_path / "s.csv", other)).classes.tolist() == [0, 0, 1, 0]


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
    folders = write_csv(tmp_path / "f.csv", {"path": ["a", "b", "a"]})  # asked for by name, it is a group
    assert read_groups(f"{folders}:path", None, 3)["path"].tolist() == ["a", "b", "a"]
    np.save(tmp_path / "site.npy", [0, 1, 1])
    assert read_groups(str(tmp_path / "site.npy"), None, 3)["site"].tolist() == ["0", "1", "1"]
    refused(lambda: read_groups({"sex": list("fmf")}, None, 4), "3 rows for 4 examples")
    refused(lambda: read_groups(f"{file}:hue", np.array(IDS), 4), "no column hue", "id, sex, age")
    unequal = {"id": IDS, "sex": list("fmfm"), "hue": ["x"]}
    refused(lambda: read_groups(unequal, np.array(IDS), 4), "hue is <U1 of shape (1,)")
    refused(lambda: read_groups(file, np.array(["a", "z"]), 2), "g.csv", "lacks 1 id", "'z'")


def test_a_group_is_never_empty(tmp_path):
    def written(**columns):
        return write_csv(tmp_path / "g.csv", columns)

    refused(lambda: read_groups(written(sex=["f", "", "m"], n=[1, 1, 2]), None, 3), "g.csv:3: column sex is empty")
    refused(lambda: read_groups(written(sex=["f", "m", "m"], n=[1, "", 2]), None, 3), "g.csv:3: column n is empty")
    refused(lambda: read_groups({"sex": ["f", "m", " "]}, None, 3), "row 2", "no sex")
    refused(lambda: read_groups({"x": np.arange(30.0)}, None, 30), "30 groups for 30 examples")
    np.savez(tmp_path / "g.npz", site=[1.0, np.nan, 1.0])
    refused(lambda: read_groups(tmp_path / "g.npz", None, 3), "g.npz: row 1: has no site (1 such row)")
    refused(lambda: read_groups({"id": [7, 8], "x": [1.0, np.nan]}, np.array([8, 7]), 2), "row 1: has no x")


@pytest.mark.parametrize(
    ("groups", "said"),
    [
        (np.array([0, 1, 0]), "groups is of type ndarray: it maps names to values"),
        ({"sex": ["f", "m"]}, "sex is <U1 of shape (2,); groups are one name for each of 3 examples"),
        ({"sex": ["f", None, "m"]}, "groups: row 1: has no sex"),
        ({"sex": np.array(["f", np.nan, "m"], object)}, "groups: row 1: has no sex"),
        ({"site": [1.0, 2.0, np.nan]}, "groups: row 2: has no site"),
        ({"site": [1j, 2j, 2j]}, "groups: site has type complex128"),
        ({"site": np.ones((3, 2))}, "site is float64 of shape (3, 2)"),
    ],
)
def test_groups_that_are_none(groups, said):
    refused(lambda: named_groups(groups, 3), said)
    refused(lambda: audit([0, 1, 1], [0, 1, 0], [0, 1, 0], groups=groups), said)


def test_numbers_stay_groups_of_numbers():
    found = named_groups({"site": [10, 9, 10], "sex": np.array(["f", "m", "f"], object)}, 3)
    assert found["site"].tolist() == [10, 9, 10] and found["sex"].dtype.kind == "U"


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
