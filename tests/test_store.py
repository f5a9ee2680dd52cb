"""Replicates appear whole, verified and once; the frozen protocol is not changed behind anybody's back."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from kdstats import store
from kdstats.documents import read_document, validated
from kdstats.errors import UserError
from kdstats.protocol import Protocol, dump

LABELS = np.arange(5)
LOGITS = np.arange(15, dtype=np.float32).reshape(5, 3)


def put(root, id="a", **more):
    store.write_replicate(root, id, {"status": "trained", **more}, LABELS, LOGITS, {"w": np.ones(2, np.float32)})


def test_round_trip(tmp_path):
    put(tmp_path)
    stored = store.read_replicate(tmp_path, "a")
    assert np.array_equal(stored.logits, LOGITS) and np.array_equal(stored.labels, LABELS)
    assert stored.meta == {"status": "trained"} and store.complete(tmp_path, "a")
    assert np.array_equal(store.read_weights(tmp_path, "a")["w"], np.ones(2))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a"]


def test_a_failed_replicate_has_no_logits(tmp_path):
    store.write_replicate(tmp_path, "f", {"status": "failed", "step": 3}, LABELS, None)
    assert store.read_replicate(tmp_path, "f").logits is None


def test_the_sums_are_what_sha256sum_prints(tmp_path):
    put(tmp_path)
    check = os.system(f"cd {tmp_path}/a && sha256sum --quiet -c SHA256SUMS")
    assert check == 0


@pytest.mark.parametrize("name", ["meta.json", "predictions.safetensors", "weights.safetensors", "SHA256SUMS"])
@pytest.mark.parametrize("harm", ["truncate", "flip", "remove"])
def test_damage_is_named(tmp_path, name, harm):
    put(tmp_path)
    file = tmp_path / "a" / name
    content = bytearray(file.read_bytes())
    if harm == "remove":
        file.unlink()
    else:
        content[len(content) // 2] ^= 1
        file.write_bytes(content[: len(content) // 3] if harm == "truncate" else content)
    with pytest.raises(store.Damaged, match=name.replace(".", r"\.") if name != "SHA256SUMS" else None):
        store.read_replicate(tmp_path, "a")


def test_the_same_content_gives_the_same_bytes(tmp_path):
    for where in ("one", "two"):
        (tmp_path / where).mkdir()
        put(tmp_path / where)
    files = [sorted((tmp_path / where / "a").iterdir()) for where in ("one", "two")]
    assert [f.read_bytes() for f in files[0]] == [f.read_bytes() for f in files[1]]


HOLD = """
import sys
from pathlib import Path
from kdstats import store
with store.locked(Path(sys.argv[1]), "a") as ours:
    print(ours, flush=True)
    sys.stdin.readline()
"""


def test_a_lock_is_exclusive_and_dies_with_its_holder(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "True\n"
        with store.locked(tmp_path, "a") as ours:
            assert not ours
        with store.locked(tmp_path, "b") as ours:
            assert ours
        process.kill()
        process.wait()
        with store.locked(tmp_path, "a") as ours:
            assert ours


def test_what_a_killed_writer_left_is_swept_away(tmp_path):
    (tmp_path / ".a-x1y2").mkdir()
    (tmp_path / ".a-x1y2" / "meta.json").write_text("half")
    put(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a"]


def test_a_shared_store_is_linked_into_the_run(tmp_path):
    shared, run = tmp_path / "shared", tmp_path / "run"
    shared.mkdir(), run.mkdir()
    put(shared)
    store.link_replicates(shared, run, ["a", "absent"])
    assert np.array_equal(store.read_replicate(run, "a").logits, LOGITS)
    assert (run / "a" / "predictions.safetensors").samefile(shared / "a" / "predictions.safetensors")


def test_a_disk_that_cannot_be_written_is_a_sentence(tmp_path):
    said = r"cannot be written \(.*\); free space or choose another place"
    with pytest.raises(UserError, match=said), store.disk_errors(tmp_path):
        (tmp_path / "file").write_text("")
        (tmp_path / "file" / "below").mkdir()


def test_json_that_is_not_there_or_broken(tmp_path):
    with pytest.raises(UserError, match=r"environment\.json: is missing"):
        store.read_json(tmp_path / "environment.json")
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(UserError, match=r"x\.json: cannot be read"):
        store.read_json(tmp_path / "x.json")
    store.write_json(tmp_path / "y.json", {"a": [1]})
    assert json.loads((tmp_path / "y.json").read_text()) == {"a": [1]}


PROTOCOL = """
name: p
dataset: digits
arms: {siddo: , kd: {alpha: 0.5}}
hypotheses: [{metric: agreement, arm: kd, control: siddo, direction: greater}]
"""


def protocol(text=PROTOCOL):
    return validated(Protocol, parse_document(text))


def parse_document(text):
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "p.yaml"
        file.write_text(text)
        return read_document(file)


def test_an_amendment_that_was_killed_between_its_two_files_is_finished(tmp_path):
    first = store.freeze(tmp_path, protocol(), "f", {})
    more = protocol(PROTOCOL.replace("siddo: ,", "siddo: , rcd: {alpha: 0.5},"))
    second = store.freeze(tmp_path, more, "f", {})
    assert second.amendments[0]["added"] == {
        "points": [["rcd", "alpha=0.5 noise=gaussian redraw=false scale=teacher space=logits temperature=4"]]
    }
    (tmp_path / "protocol.yaml").write_text(dump(first.protocol))  # as if killed before the second file
    with pytest.raises(UserError, match="changed after it was frozen"):
        store.read_frozen(tmp_path)
    assert store.freeze(tmp_path, more, "f", {}).hash == second.hash
    assert store.read_frozen(tmp_path).amendments == second.amendments


def test_other_data_are_refused(tmp_path):
    store.freeze(tmp_path, protocol(), "one", {})
    with pytest.raises(UserError, match=r"fingerprint one, the data found now have two"):
        store.freeze(tmp_path, protocol(), "two", {})
