"""`kdstats audit` from the outside: files in, sentences, a report and an exit code out."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.audits import world


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Teacher, student that copies .3, four controls; ids in another order in the teacher's file."""
    place = tmp_path_factory.mktemp("audit")
    w = world(np.random.default_rng(0), 1200)
    teacher = w.network()
    ids, order = np.array([f"img{i}" for i in range(1200)]), np.random.default_rng(1).permutation(1200)
    np.savez(place / "teacher.npz", labels=teacher[order], ids=ids[order])
    np.savez(place / "student.npz", labels=w.network(copied=teacher, right=0.3), ids=ids)
    for i in range(4):
        np.savez(place / f"c{i}.npz", labels=w.network(), ids=ids)
    np.savez(place / "y.npz", labels=w.labels, ids=ids)
    (place / "groups.csv").write_text("id,half\n" + "".join(f"{name},{i % 2}\n" for i, name in enumerate(ids)))
    return place


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "kdstats", "audit", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
    )


NETWORKS = ("--teacher", "teacher.npz", "--student", "student.npz", "--labels", "y.npz")
CONTROLS = tuple(text for i in range(4) for text in ("--control", f"c{i}.npz"))


def test_an_audit_leaves_a_report_and_the_same_one_again(folder: Path) -> None:
    asked = (*NETWORKS, *CONTROLS, "--margin", "1pp", "--groups", "groups.csv:half", "--out", "report")
    done = run(folder, *asked)
    assert done.returncode == 0, done.stderr
    assert "The student makes more of its teacher's errors than its controls do" in done.stdout
    files = {file: file.read_bytes() for file in sorted((folder / "report").rglob("*")) if file.is_file()}
    assert {"index.html", "measures.csv", "position.svg"} <= {file.name for file in files}
    assert run(folder, *asked).returncode == 0
    assert {file: file.read_bytes() for file in files} == files


def test_the_gate_ends_with_3_and_names_what_failed(folder: Path) -> None:
    done = run(folder, *NETWORKS, *CONTROLS, "--require", "agreement > 0.99", "--fail-if", "agreement < 0.1")
    assert done.returncode == 3
    assert done.stderr.startswith("failed: agreement > 0.99: agreement is 0.")
    assert "passed: agreement < 0.1" in done.stdout
    missing = run(folder, *NETWORKS, "--fail-if", "inherits_errors.ci_low > 0")
    assert missing.returncode == 3 and "not measurable" in missing.stderr


def test_json_is_json_and_github_is_markdown(folder: Path) -> None:
    whole = json.loads(run(folder, *NETWORKS, *CONTROLS, "--format", "json", "--require", "agreement > 0").stdout)
    assert whole["gate"] == [{"expression": "agreement > 0", "passed": True, "reason": whole["gate"][0]["reason"]}]
    assert {row["measure"] for row in whole["measures"]} >= {"agreement", "asymmetry", "accuracy"}
    assert set(whole["provenance"]["sha256"]) == {
        "teacher.npz",
        "student.npz",
        "y.npz",
        *(f"c{i}.npz" for i in range(4)),
    }
    assert "| " in run(folder, *NETWORKS, *CONTROLS, "--format", "github").stdout


def test_a_file_asks_the_same_as_options(folder: Path) -> None:
    controls = ", ".join(f"c{i}.npz" for i in range(4))
    (folder / "audit.yaml").write_text(
        f"teacher: teacher.npz\nstudent: student.npz\nlabels: y.npz\ncontrols: [{controls}]\nmargin: 1pp\n"
    )
    by_file = run(folder.parent, str(folder / "audit.yaml"))
    assert by_file.returncode == 0 and by_file.stdout == run(folder, *NETWORKS, *CONTROLS, "--margin", "0.01").stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--teacher", "teacher.npz"), "an audit needs --teacher FILE and --student FILE"),
        ((*NETWORKS, "--control", "c9.npz"), "c9.npz: there is no such file"),
        ((*NETWORKS, "--control", "student.npz"), "student.npz: labels: is given twice"),
        ((*NETWORKS, "--margin", "5"), "--margin: '5' is no margin (500 points; 20pp is the widest)"),
        ((*NETWORKS, "--primary", "acuracy"), "'acuracy' is not allowed"),
        ((*NETWORKS, "--primary", "agreement"), "primary names the measure of the rank test"),
        ((*NETWORKS, "--control-kind", "kd-other"), "control-kind speaks of controls, and none are given"),
        ((*NETWORKS, "--controls-exchangeable"), "controls-exchangeable speaks of controls, and none are given"),
        ((*NETWORKS, "--mean", "0.5"), "mean: belongs to --data"),
        ((*NETWORKS, "--std", "a,b"), "'a,b': a number a channel, separated by commas"),
        ((*NETWORKS, "--data", "digits", "--std", "0.5,0.5"), "mean, std: each needs 1 numbers, one a channel"),
        ((*NETWORKS, "--require", "accuracy >"), "a number, a name or ( is needed, and the condition ends"),
        ((*NETWORKS, "--require", "agrement > 0"), "there is no measure agrement; there are agreement"),
        ((*NETWORKS, "--control", "m.safetensors:cnn"), "is a checkpoint, which needs images to predict"),
        (("--teacher", "teacher.npz", "--student", "student.npz"), "no labels: give --labels FILE"),
        ((*NETWORKS, "--groups", "groups.csv:sex"), "has no column sex"),
    ],
)
def test_mistakes_end_with_2_and_leave_nothing(folder: Path, arguments: tuple[str, ...], sentence: str) -> None:
    done = run(folder, *arguments, "--out", "nothing")
    assert done.returncode == 2 and sentence in done.stderr and "Traceback" not in done.stderr
    assert not (folder / "nothing").exists()


def test_what_holds_layers_is_a_checkpoint_that_lacks_its_architecture(folder: Path) -> None:
    import safetensors.numpy

    safetensors.numpy.save_file({"0.weight": np.zeros((2, 2))}, folder / "layers.safetensors")
    (folder / "net.pth").write_bytes(b"?")
    (folder / "program.pt2").write_bytes(b"?")
    for source in ("layers.safetensors", "net.pth"):
        refused = run(folder, "--teacher", source, *NETWORKS[2:])
        assert (
            refused.returncode == 2 and f"write its architecture after it, such as {source}:resnet18" in refused.stderr
        )
    refused = run(folder, "--teacher", "program.pt2", *NETWORKS[2:])
    assert refused.returncode == 2 and "is an exported program, which is code" in refused.stderr
    for out, said in (("", "--out: an empty name"), ("/", "choose another --out")):
        refused = run(folder, *NETWORKS, "--out", out)
        assert refused.returncode == 2 and said in refused.stderr and "report-dir" not in refused.stderr
    refused = run(folder, "--teacher", "program.pt2:resnet18", *NETWORKS[2:], "--data", "digits")
    assert refused.returncode == 2 and "program.pt2: a checkpoint is .safetensors" in refused.stderr
    assert "numpy.savez(FILE, logits" in refused.stderr


def test_checkpoints_say_what_they_were_and_on_what_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Class names of a folder, the data's fingerprint and the resolved architecture are on the page."""
    import torch
    from PIL import Image

    from kdstats.training.models import cnn

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    for name in ("frog", "toad"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for i in range(12):
            picture = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
            picture.save(tmp_path / "images" / name / f"{i}.png")
    for name in "tsab":
        torch.save(cnn((8, 8, 3), 2).state_dict(), tmp_path / f"{name}.pth")
    roles = {"t": "teacher", "s": "student", "a": "control", "b": "control"}
    asked = [f"--{role}={name}.pth:cnn" for name, role in roles.items()]
    done = run(tmp_path, *asked, "--data", "images", "--out", "out")
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "out" / "index.html").read_text()
    for said in ("kdstats:cnn, predicted by torch", "24 images of 8×8×3, fingerprint", "t.pth", "frog"):
        assert said in page, said
    assert "an array" not in page
    other = run(tmp_path, *asked, "--data", "images", "--mean", ".5,.5,.5", "--std", ".25,.25,.25", "--out", "other")
    assert (
        other.returncode == 0 and "mean 0.5, 0.5, 0.5 and std 0.25" in (tmp_path / "other" / "index.html").read_text()
    )
    for file in (tmp_path / "cache").rglob("*.safetensors"):
        file.write_bytes(file.read_bytes()[:200])
    again = run(tmp_path, *asked, "--data", "images", "--out", "again")
    assert again.returncode == 0 and (tmp_path / "again" / "index.html").read_bytes() == page.encode()
