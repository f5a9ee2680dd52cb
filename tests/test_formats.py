"""Every format says the same, and every file that is damaged, foreign or not understood is one sentence."""

import csv
import io
import json
import pickle
import subprocess
import sys
import tracemalloc
import warnings
import zipfile
from decimal import Decimal

import numpy as np
import pytest
import safetensors.numpy

from kdstats.errors import UserError
from kdstats.predictions import read_groups, read_labels, read_predictions
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
    assert network.truth.tolist() == LABELS.tolist()


def test_bfloat16_is_read(tmp_path):
    upper = (Z.view(np.uint32) >> 16).astype("<u2").tobytes()  # Z has few bits: exact in bfloat16
    header = json.dumps({"logits": {"dtype": "BF16", "shape": Z.shape, "data_offsets": [0, len(upper)]}}).encode()
    (tmp_path / "t.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + upper)
    network = read_predictions(tmp_path / "t.safetensors")
    assert network.values.dtype == np.float32 and np.array_equal(network.values, Z)


def test_a_replicate_of_a_run(tmp_path):
    meta = {"kind": "kd", "teacher": 0, "seed": 3, "losses": []}
    write_replicate(tmp_path, "one", meta, LABELS, Z)
    network = read_predictions(tmp_path / "one")
    assert network.name == "kd teacher 0 seed 3" and np.array_equal(network.values, Z)
    assert network.truth.tolist() == LABELS.tolist()
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


# Bad input -----------------------------------------------------------------------------------------------------------


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


def test_other_compressions_that_are_damaged(tmp_path):
    member = io.BytesIO()
    np.save(member, np.random.default_rng(0).normal(size=(300, 3)))
    for method in (zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2):
        with zipfile.ZipFile(tmp_path / "a.npz", "w", method) as archive:
            archive.writestr("logits.npy", member.getvalue())
        assert read_predictions(tmp_path / "a.npz").values.shape == (300, 3)
        whole = (tmp_path / "a.npz").read_bytes()
        for place in range(100, 2000, 100):
            (tmp_path / "a.npz").write_bytes(whole[:place] + bytes([whole[place] ^ 255]) + whole[place + 1 :])
            refused(lambda: read_predictions(tmp_path / "a.npz"), "a.npz: is damaged")


def test_a_shape_that_no_array_has(tmp_path):
    header = repr({"descr": "<f4", "fortran_order": False, "shape": (10**30, 10)}).encode().ljust(117) + b"\n"
    array = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(400)
    (tmp_path / "a.npy").write_bytes(array)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("logits.npy", array)
    for name in ("a.npy", "a.npz"):
        refused(lambda name=name: read_predictions(tmp_path / name), f"{name}: is damaged")


def test_an_archive_with_two_members_of_one_name(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile warns of what this is about
        for values in (Z, P):
            member = io.BytesIO()
            np.save(member, values)
            archive.writestr("logits.npy", member.getvalue())
    refused(lambda: read_predictions(tmp_path / "a.npz"), "a.npz: holds logits several times")
    refused(lambda: read_predictions({"logits": Z, "Logits": P}), "holds logits, Logits")


def test_names_that_no_file_can_have(tmp_path, monkeypatch):
    for read in (read_predictions, read_labels, lambda source: read_groups(source, None, 4)):
        refused(lambda read=read: read(""), "an empty name")
        for name in ("x" * 300 + ".npz", "x" * 300 + ".csv:sex"):
            refused(lambda read=read, name=name: read(name), "xxx", "cannot be read: File name too long")
        refused(lambda read=read: read("a\0b.npz"), "there is no such file")
    (tmp_path / "loop.npz").symlink_to("loop.npz")
    refused(lambda: read_predictions(tmp_path / "loop.npz"), "loop.npz: cannot be read: Too many levels")
    (tmp_path / "a.npy").write_bytes(b"secret")

    def denied(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.open", denied)  # the superuser may read everything
    refused(lambda: read_predictions(tmp_path / "a.npy"), "a.npy: cannot be read: permission denied")


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
        ("0,1\n0.5,0.5\n0.5,\n", "a.csv:3: column 1 is empty"),
        ("0,1\n0.5,0.5\n0.5,x\n", "a.csv:3: column 1 is 'x', which is no number"),
        ("0,1\n1,2\n1,NaN\n", "a.csv:3: column 1 is 'NaN'"),
        ("0,1\n0.5,0.5\n1.0,0.5\n0.5,0.5\n", "a.csv:3: sums to 1.5"),
        ("id,0,1\na,0,1\nb,1,0\na,1,0\n", "a.csv:4: id 'a' was there before"),
        ("id,0,1\na,0,1\n,1,0\n", "a.csv:3: column id is empty"),
        ("id,pred\na,0\nb,\n", "a.csv:3: column pred is empty"),
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
        ("id;0;1\n1;2;3\n", "is separated by semicolons; save it separated by commas"),
        ("0,1\n1,2\n99999999999999999999,x\n", "column 1 is 'x'"),
        ("x,y\na,b\n", "holds x, y"),
        ("id,n,pred\n1,2,a\n", "label a is no integer"),
        ("id,label,n\n1,,3\n", "a.csv:2: column label is empty"),
        ("id\t0\t1\n1\t2\t3\n", "is separated by tabs; save it separated by commas"),
        (
            "id;0;1\n1;0,5;0,5\n",
            "by semicolons, with decimals by commas; save it separated by",
        ),
        ("0,1\n1,2\n\n3,4\n", "a.csv:3: the line is empty (1 such line)"),
        ("\n0,1\n1,2\n", "its first line is empty"),
        ("cat,dog,emu\n0.5,0.25,0.25\n0,1,0\n1,0,NA\n", "a.csv:4: column emu is 'NA', which is no number"),
        ("\xff\xfe0,1\n", "damaged"),
    ],
)
def test_mistakes_in_a_csv(tmp_path, text, said):
    (tmp_path / "a.csv").write_bytes(text.encode("latin-1"))
    refused(lambda: read_predictions(tmp_path / "a.csv"), "a.csv", said)


def test_lines_are_counted_past_what_is_empty(tmp_path):
    """Empty lines at the end are none; one between would move all below it, and one of a single column is a cell."""
    (tmp_path / "y.csv").write_text("label\n1\n0\n2\n\n\n")
    assert read_labels(tmp_path / "y.csv")[0].tolist() == [1, 0, 2]
    (tmp_path / "y.csv").write_text("label\n1\n\n2\n")
    refused(lambda: read_labels(tmp_path / "y.csv"), "y.csv:3: the line is empty")
    (tmp_path / "z.csv").write_text("0,1\n1,2\n\n3,x\n")
    refused(lambda: read_predictions(tmp_path / "z.csv"), "z.csv:3: the line is empty")


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
    cents = [Decimal("0.25"), Decimal("0.5")]  # left out, the classes after it would be others
    refused(
        lambda: read_predictions(write(cat=[0.5, 0.25], dog=cents, emu=[0.25, 0.25])), "column dog has type decimal"
    )
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
