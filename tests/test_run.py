"""End to end through the real command line: bits, resumption, kills, damage, amendments, mistakes."""

import json
import random
import re
import shutil
import signal
import time
from pathlib import Path

import pandas as pd
import pytest
import torch

from tests.conftest import SMALL, descendants, end_soon, interrupt, kdstats, predictions, start


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One undisturbed run with one worker: what every other run must give."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "small.yaml").write_text(SMALL)
    done = kdstats("run", "small.yaml", "--workers", "1", "--device", "cpu", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_a_run_leaves_tables_figures_and_a_page(finished):
    folder, said = finished
    assert "report: reports/small/index.html" in said and "agrees-more[alpha=0.5]:" in said
    report = folder / "reports" / "small"
    assert (report / "index.html").read_text().startswith("<!DOCTYPE html>")
    for kind in ("csv", "md", "tex"):
        assert list((report / "tables").glob(f"*.{kind}"))
    assert {f.stem for f in (report / "figures").glob("*.svg")} == {f.stem for f in (report / "figures").glob("*.pdf")}
    run = folder / "runs" / "small"
    assert len(predictions(run)) == 6 + 6 * 2 * 7
    scores = pd.read_csv(run / "scores.csv")
    assert not scores.duplicated(["arm", "alpha", "temperature", "teacher", "seed", "metric"]).any()
    assert set(scores["protocol_hash"]) == {json.loads((run / "environment.json").read_text())["protocol_hash"]}
    verdicts = pd.read_csv(run / "verdicts.csv")
    assert len(verdicts) == 4 and set(verdicts["verdict"]) <= {"supported", "refuted", "inconclusive", "not shown"}


def test_the_same_command_again_changes_nothing(finished):
    folder, _ = finished
    before = {file: file.stat().st_mtime_ns for file in folder.rglob("*") if file.is_file() and "lock" not in file.name}
    again = kdstats("run", "small.yaml", cwd=folder)
    assert again.returncode == 0 and "nothing to do" in again.stdout
    assert before == {file: file.stat().st_mtime_ns for file in before}


def test_a_second_report_leaves_no_diff(finished):
    folder, _ = finished
    again = kdstats("report", "runs/small", "--report-dir", "again", cwd=folder)
    assert again.returncode == 0, again.stderr
    one, two = folder / "reports" / "small", folder / "again"
    files = sorted(file.relative_to(one) for file in one.rglob("*") if file.is_file())
    assert "tested and reported" in kdstats("status", "runs/small", cwd=folder).stdout
    assert files == sorted(file.relative_to(two) for file in two.rglob("*") if file.is_file())
    assert [file for file in files if (one / file).read_bytes() != (two / file).read_bytes()] == []


def test_two_workers_give_the_same_bits_and_an_added_arm_changes_no_replicate(finished, tmp_path):
    more = SMALL.replace("  siddo:\n", "  siddo:\n  late: {kind: kd, alpha: 0.3, temperature: 2}\n")
    (tmp_path / "small.yaml").write_text(more)
    done = kdstats("train", "small.yaml", "--workers", "2", "--device", "cpu", "--run-dir", "mine", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    one, two = predictions(finished[0] / "runs" / "small"), predictions(tmp_path / "mine")
    assert len(two) == len(one) + 12 and {id: two[id] for id in one} == one


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="looks at processes through /proc")
def test_a_killed_run_leaves_no_worker_and_continues_to_the_same_bits(finished, small):
    moments = random.Random(20261121)
    expected = predictions(finished[0] / "runs" / "small")
    run = small.parent / "runs" / "small"
    workers: set[int] = set()
    for _ in range(3):
        process = start("train", small, "--workers", "2", "--device", "cpu", cwd=small.parent)
        deadline = time.monotonic() + moments.uniform(0.5, 7)
        while time.monotonic() < deadline and process.poll() is None:
            workers |= descendants(process.pid)
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        seen = predictions(run)
        assert {id: expected[id] for id in seen} == seen
    assert end_soon(workers)
    done = kdstats("train", small, "--device", "cpu", cwd=small.parent)
    assert done.returncode == 0, done.stderr
    assert predictions(run) == expected
    assert not [p for p in (run / "replicates").iterdir() if p.name.startswith(".") and p.name != ".locks"]


def test_an_interrupt_says_that_the_same_command_continues(finished, small):
    process = start("run", small, "--device", "cpu", cwd=small.parent)
    while not list(small.parent.glob("runs/small/replicates/*/SHA256SUMS")):
        assert process.poll() is None
        time.sleep(0.02)
    workers = descendants(process.pid)
    interrupt(process)
    said, complained = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "the same command continues: kdstats run" in complained and "Traceback" not in said + complained
    assert end_soon(workers)


def test_damage_is_named_and_mended(finished, tmp_path):
    (tmp_path / "small.yaml").write_text(SMALL)
    link = ("--store", finished[0] / "runs" / "small" / "replicates")
    assert kdstats("train", "small.yaml", *link, cwd=tmp_path).returncode == 0  # all from the store: nothing trains
    run = tmp_path / "runs" / "small"
    expected = predictions(run)
    victims = sorted(run.glob("replicates/*/predictions.safetensors"))[:2]
    for victim, content in zip(victims, (victims[0].read_bytes()[:100], b"\0" * 5000), strict=True):
        victim.unlink()  # a hard link: the store keeps its own
        victim.write_bytes(content)
    refused = kdstats("test", run, cwd=tmp_path)
    assert refused.returncode == 2 and all(victim.parent.name in refused.stderr for victim in victims)
    assert "truncated or altered" in refused.stderr and "Traceback" not in refused.stderr
    assert "damaged" in kdstats("status", run, cwd=tmp_path).stdout
    mended = kdstats("train", "small.yaml", "--device", "cpu", cwd=tmp_path)
    assert mended.returncode == 0, mended.stderr
    assert all(victim.parent.name in mended.stdout for victim in victims) and "training 2 of 90" in mended.stdout
    assert predictions(run) == expected


def test_students_teach_students(tmp_path):
    teach = "arms:\n  siddo:\n  tf-kd-self:\n  born-again: {generation: [1, 2]}\nhypotheses: []\n"
    text = SMALL[: SMALL.index("arms:")].replace("seeds: 6", "seeds: 2").replace("epochs: 6", "epochs: 2")
    (tmp_path / "small.yaml").write_text(text + teach)
    done = kdstats("run", "small.yaml", "--device", "cpu", "--workers", "2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    run = tmp_path / "runs" / "small"
    metas = {file.parent.name: json.loads(file.read_text()) for file in run.glob("replicates/*/meta.json")}
    kinds = {id: (meta["kind"], meta["parameters"].get("generation")) for id, meta in metas.items()}
    teach = {("teacher", None), ("siddo", None), ("born-again", 1)}
    assert {file.parent.name for file in run.glob("replicates/*/weights.safetensors")} == {
        id for id, kind in kinds.items() if kind in teach
    }
    taught_by = {(kinds[id], kinds[meta["other"]]) for id, meta in metas.items() if meta["other"]}
    assert taught_by == {(("tf-kd-self", None), ("siddo", None)), (("born-again", 2), ("born-again", 1))}
    expected = predictions(run)
    for id, kind in kinds.items():
        if kind in {("siddo", None), ("born-again", 1), ("born-again", 2)}:  # their teachers' weights are there
            shutil.rmtree(run / "replicates" / id)
    again = kdstats("run", "small.yaml", "--device", "cpu", "--workers", "1", cwd=tmp_path)
    assert again.returncode == 0 and "training 12 of 18" in again.stdout, again.stdout + again.stderr
    assert predictions(run) == expected


def test_two_processes_on_one_run_directory_train_nothing_twice(finished, small):
    processes = [start("run", small, "--workers", "1", "--device", "cpu", cwd=small.parent) for _ in range(2)]
    for process in processes:
        _, complained = process.communicate(timeout=240)
        assert process.returncode == 0, complained
    run = small.parent / "runs" / "small"
    assert predictions(run) == predictions(finished[0] / "runs" / "small")
    assert len(pd.read_csv(run / "verdicts.csv")) == 4


def test_amendments_are_recorded_and_marked(finished, tmp_path):
    (tmp_path / "small.yaml").write_text(SMALL)
    shutil.copytree(finished[0] / "runs", tmp_path / "runs")
    assert kdstats("run", "small.yaml", cwd=tmp_path).returncode == 0
    before = pd.read_csv(tmp_path / "runs" / "small" / "verdicts.csv")
    late = "  - {name: late, metric: accuracy, arm: kd, control: siddo, direction: two-sided, test: paired-t}\n"
    (tmp_path / "small.yaml").write_text(SMALL.rstrip("\n") + "\n" + late)
    done = kdstats("run", "small.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (amendment,) = json.loads((tmp_path / "runs" / "small" / "amendments.json").read_text())
    assert amendment["added"]["hypotheses"] == ["late[alpha=0.5]", "late[alpha=0.9]"]
    assert amendment["replicates_existed"] and amendment["scores_existed"]
    after = pd.read_csv(tmp_path / "runs" / "small" / "verdicts.csv")
    assert (after["declared"][:4] == "before training").all()
    assert (after["declared"][4:] == "after training: hypothesis").all()
    assert before["p_adjusted"].equals(after["p_adjusted"][:4])  # the declared family is as it was
    assert "declared after training" in (tmp_path / "reports" / "small" / "index.html").read_text()
    for change, said in [
        (("level", "level: 0.04\nname: small"), "level was 0.05, is 0.04"),
        (("epochs: 6", "epochs: 7"), "recipe.epochs was 6, is 7"),
        (("train: 100", "train: 101"), "dataset.train was 100, is 101"),
        (("seeds: 6", "seeds: [6, 7, 8, 9, 10, 11]"), "teacher.seeds"),
    ]:
        text = SMALL.replace("name: small", change[1]) if change[0] == "level" else SMALL.replace(*change)
        (tmp_path / "small.yaml").write_text(text)
        refused = kdstats("run", "small.yaml", cwd=tmp_path)
        assert refused.returncode == 2 and said in refused.stderr, refused.stderr
        assert "another protocol" in refused.stderr


def test_the_frozen_protocol_cannot_be_edited(finished, tmp_path):
    (tmp_path / "small.yaml").write_text(SMALL)
    link = ("--store", finished[0] / "runs" / "small" / "replicates")
    assert kdstats("train", "small.yaml", *link, cwd=tmp_path).returncode == 0
    frozen = tmp_path / "runs" / "small" / "protocol.yaml"
    frozen.write_text(frozen.read_text().replace("level: 0.05", "level: 0.04"))
    refused = kdstats("report", "runs/small", cwd=tmp_path)
    assert refused.returncode == 2 and "was changed after it was frozen" in refused.stderr


def test_training_that_diverges_is_counted_and_supports_nothing(tmp_path):
    text = SMALL.replace("kd: {alpha: [0.5, 0.9], temperature: 4}", "kd: {alpha: 0.5, temperature: 1.0e+25}", 1)
    text = text.replace("alpha: [0.5, 0.9]", "alpha: 0.5").replace("  kd-other: {alpha: 0.5, temperature: 4}\n", "")
    text = text[: text.index("  - {name: errors")].replace("[siddo, rcd]", "siddo")
    (tmp_path / "small.yaml").write_text(text)
    done = kdstats("run", "small.yaml", "--device", "cpu", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    run = tmp_path / "runs" / "small"
    failures = pd.read_csv(run / "failures.csv")
    assert len(failures) == 12 and set(failures["arm"]) == {"kd"} and (failures["step"] >= 1).all()
    verdicts = pd.read_csv(run / "verdicts.csv")
    assert list(verdicts["verdict"]) == ["inconclusive"]
    assert "12" in (tmp_path / "reports" / "small" / "index.html").read_text()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("alpha: [0.5, 0.9], temperature: 4}\n  kd-other", "alpha: [0.5, 1.5], temperature: 4}\n  kd-other"), "1.5"),
        (("temperature: 4}\n  kd-other", "temperature: 0}\n  kd-other"), "temperature"),
        (("model: mlp, seeds: 6", "model: mlpp, seeds: 6"), "mlp"),
        (("model: mlp, seeds: 6", "model: mlp, seeds: 0"), "seeds"),
        (("metric: agreement", "metric: agrement"), "agreement"),
        (("arm: kd, controls: [siddo, rcd]", "arm: kdd, controls: [siddo, rcd]"), "kd"),
        (("arm: kd, controls: [siddo, rcd]", "arm: kd, controls: [kd]"), "control is another arm"),
        (("name: digits", "name: digitz"), "digits"),
        (("batch_size: 25", "batch_size: 101"), "more than the 100 training images"),
        (("name: digits, train: 100", "name: digits, train: 5000"), "5000"),
        (("seeds: 6", "seeds: 4"), "teacher: {seeds: 6} would do"),
        (("recipe:", "recipie:"), "recipe"),
    ],
)
def test_a_mistake_in_the_protocol_is_a_sentence(tmp_path, change, said):
    assert change[0] in SMALL
    (tmp_path / "bad.yaml").write_text(SMALL.replace(*change))
    refused = kdstats("plan", "bad.yaml", cwd=tmp_path)
    assert refused.returncode == 2 and said in refused.stderr and "Traceback" not in refused.stderr
    assert re.match(r"error: bad\.yaml:[0-9]+: ", refused.stderr)


def test_files_that_are_not_there(tmp_path):
    for command in (["run", "no.yaml"], ["plan", "no.yaml"], ["status", "no"], ["report", "no"], ["test", "no.csv"]):
        refused = kdstats(*command, cwd=tmp_path)
        assert refused.returncode == 2 and "no" in refused.stderr and "Traceback" not in refused.stderr


def test_cuda_where_there_is_none(small):
    if torch.cuda.is_available():
        pytest.skip("there is one")
    refused = kdstats("run", small, "--device", "cuda", cwd=small.parent)
    assert refused.returncode == 2 and "--device cuda" in refused.stderr and "available: cpu" in refused.stderr


def test_the_engine_is_written_down_before_the_first_replicate_and_kept(finished, small):
    kept = finished[0] / "runs" / "small" / "engine.json"
    said = json.loads(kept.read_text())
    assert said["engine"] == "eager" and said["device"].startswith("cpu") and "CUDA only" in said["why"]
    run = small.parent / "runs" / "small"
    run.mkdir(parents=True)
    (run / "engine.json").write_text(json.dumps(said | {"why": "as in the run before"}))
    assert kdstats("train", small, "--device", "cpu", cwd=small.parent).returncode == 0
    assert json.loads((run / "engine.json").read_text())["why"] == "as in the run before"
    (run / "engine.json").write_text("{")
    shutil.rmtree(next((run / "replicates").glob("[0-9a-f]*")))
    refused = kdstats("train", small, "--device", "cpu", cwd=small.parent)
    assert refused.returncode == 2 and "engine.json: cannot be read" in refused.stderr


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_deterministic_and_fast_kernels_give_the_same_conclusions(small):
    tables = []
    for mode in ([], ["--fast"], ["--engine", "eager"]):
        where = ["--run-dir", f"run{len(tables)}", "--report-dir", f"report{len(tables)}"]
        done = kdstats("run", small, "--device", "cuda", *mode, *where, cwd=small.parent)
        assert done.returncode == 0, done.stderr
        tables.append(pd.read_csv(small.parent / where[1] / "verdicts.csv"))
        metas = [json.loads(f.read_text()) for f in (small.parent / where[1] / "replicates").glob("*/meta.json")]
        assert {"fast kernels" in meta["device"] for meta in metas} == {mode == ["--fast"]}
    for other in tables[1:]:
        assert list(other["verdict"]) == list(tables[0]["verdict"])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that cannot be written")
def test_a_run_directory_that_cannot_be_made(small):
    refused = kdstats("run", small, "--run-dir", "/dev/full/run", cwd=small.parent)
    assert refused.returncode == 2 and "cannot be written" in refused.stderr and "Traceback" not in refused.stderr


def test_hypotheses_written_when_the_students_existed_say_so(finished, tmp_path):
    """A new name or another run directory is no way to declare a hypothesis after the fact unseen."""
    (tmp_path / "hark.yaml").write_text(
        SMALL.replace("name: small", "name: hark").replace("rcd], direction: greater", "rcd], direction: less")
    )
    store = finished[0] / "runs" / "small" / "replicates"
    done = kdstats("run", "hark.yaml", "--store", store, cwd=tmp_path)
    assert done.returncode == 0 and "existed before it was frozen" in done.stdout, done.stderr
    assert set(pd.read_csv(tmp_path / "runs" / "hark" / "verdicts.csv")["declared"]) == {
        "after training: networks existed"
    }
    run = tmp_path / "runs" / "hark"
    (run / "protocol.yaml").unlink()
    (tmp_path / "hark.yaml").write_text(SMALL.replace("name: small", "name: hark"))
    refused = kdstats("run", "hark.yaml", cwd=tmp_path)
    assert refused.returncode == 2 and "missing or damaged" in refused.stderr


def test_records_that_are_damaged_are_named_and_the_stamp_is_made_again(finished, tmp_path):
    (tmp_path / "small.yaml").write_text(SMALL)
    shutil.copytree(finished[0] / "runs", tmp_path / "runs")
    run = tmp_path / "runs" / "small"
    (run / "results.json").write_text('{"inp')
    assert "not tested yet" in kdstats("status", run, cwd=tmp_path).stdout
    assert kdstats("run", "small.yaml", cwd=tmp_path).returncode == 0
    (run / "protocol.yaml").write_text("name: small\n")
    damaged = kdstats("report", run, cwd=tmp_path)
    assert damaged.returncode == 2 and "frozen protocol is missing or damaged; `kdstats run`" in damaged.stderr
    assert kdstats("run", "small.yaml", cwd=tmp_path).returncode == 0  # the same protocol writes it again
    good = (run / "environment.json").read_text()
    for name, content in [("environment.json", "{}"), ("environment.json", "[]"), ("amendments.json", "[1]")]:
        (run / name).write_text(content)
        for command in (["status", run], ["report", run], ["run", "small.yaml"]):
            refused = kdstats(*command, cwd=tmp_path)
            assert refused.returncode == 2 and f"{name}: is damaged" in refused.stderr, refused.stderr
        (run / "environment.json").write_text(good)


def test_a_run_in_which_everything_fails_still_has_a_report(tmp_path):
    text = SMALL.replace("optimiser: adamw, learning_rate: 0.01", "optimiser: sgd, learning_rate: 1.0e+30")
    (tmp_path / "small.yaml").write_text(text)
    done = kdstats("run", "small.yaml", "--device", "cpu", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    run = tmp_path / "runs" / "small"
    assert len(pd.read_csv(run / "failures.csv")) == 90
    assert set(pd.read_csv(run / "verdicts.csv")["verdict"]) == {"inconclusive", "not shown"}
