import contextlib
import hashlib
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from functools import partialmethod
from pathlib import Path

import pandas as pd
import pytest

from kdstats.errors import UserError
from kdstats.reporting import Results, write_report
from kdstats.reporting.files import interrupts_later

EMPTY = pd.DataFrame()
NOTHING = Results({"name": "nothing"}, "0" * 64, {}, [], *[EMPTY] * 6)


def contents(folder):
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_the_files_of_a_report(report):
    tables = ("arms", "contrasts", "exploratory", "inheritance", "ladder", "transfers", "verdicts")
    figures = ("accuracy_agreement", "estimates", "ladder", "slopes", "training_curves", "inherited")
    assert set(contents(report)) == {
        "index.html", "figures/captions.md",
        *(f"tables/{name}.{kind}" for name in tables for kind in ("csv", "md", "tex")),
        *(f"figures/{name}.{kind}" for name in figures for kind in ("svg", "pdf")),
    }  # fmt: skip


AGAIN = """
import hashlib, runpy, sys
from pathlib import Path
from kdstats.reporting import write_report
make = runpy.run_path(sys.argv[1])["make_results"]
folder = write_report(make(), Path(sys.argv[2])).parent
for file in sorted(folder.rglob("*")):
    if file.is_file():
        print(file.relative_to(folder).as_posix(), hashlib.sha256(file.read_bytes()).hexdigest())
"""


def test_another_process_writes_the_same_bytes(report, tmp_path):
    conftest = Path(__file__).with_name("conftest.py")
    command = [sys.executable, "-c", AGAIN, str(conftest), str(tmp_path / "again")]
    environment = {"PYTHONHASHSEED": "12345", "MPLBACKEND": "svg", "SOURCE_DATE_EPOCH": "1", "TZ": "Asia/Tokyo"}
    lines = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.splitlines()
    assert dict(line.split() for line in lines) == {
        name: hashlib.sha256(data).hexdigest() for name, data in contents(report).items()
    }


def test_a_second_report_replaces_the_first_whole(digits, tmp_path):
    few = replace(digits, contrasts=digits.contrasts[:0], verdicts=digits.verdicts[:0], curves=EMPTY)
    few = replace(few, scores=digits.scores[digits.scores["metric"] == "capa"])
    folder = tmp_path / "report"
    (folder / "figures").mkdir(parents=True)
    page = write_report(NOTHING, tmp_path / "fresh")
    assert page == tmp_path / "fresh" / "index.html"
    assert "figures/slopes.svg" not in contents(page.parent)
    (page.parent / "figures" / "slopes.svg").write_text("stale")
    (page.parent / "notes.txt").write_text("mine")
    write_report(few, page.parent)
    there = contents(page.parent)
    assert there["notes.txt"] == b"mine"
    assert "figures/slopes.svg" not in there
    assert [one.name for one in tmp_path.iterdir() if one.name.startswith(".")] == []


def test_a_report_that_fails_leaves_the_old_one(tmp_path, monkeypatch):
    folder = write_report(NOTHING, tmp_path / "report").parent
    before = contents(folder)

    def fails(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fails)
    with pytest.raises(UserError, match=r"the report cannot be written \(No space left on device\)"):
        write_report(replace(NOTHING, protocol={"name": "new"}), folder)
    monkeypatch.setattr(Path, "write_bytes", fails)
    with pytest.raises(UserError, match="cannot be written"):
        write_report(replace(NOTHING, protocol={"name": "new"}), folder)
    assert contents(folder) == before
    assert list(tmp_path.iterdir()) == [folder]


def test_an_exception_leaves_the_old_one(tmp_path):
    folder = write_report(NOTHING, tmp_path / "report").parent
    before = contents(folder)
    with pytest.raises(ValueError, match="lacks the column"):
        write_report(replace(NOTHING, curves=pd.DataFrame({"arm": ["kd"]})), folder)
    assert contents(folder) == before


def test_what_a_killed_report_left_is_cleared(tmp_path):
    (tmp_path / ".report.part" / "new").mkdir(parents=True)
    write_report(NOTHING, tmp_path / "report")
    assert [one.name for one in tmp_path.iterdir()] == ["report"]


@pytest.mark.parametrize("last", range(1, 8))
def test_a_kill_at_any_step_leaves_no_page_beside_tables_of_another_report(tmp_path, monkeypatch, last):
    """Each rename in turn is the last that is done; then the report is made again, as after a kill."""

    class Killed(BaseException):
        pass

    folder, new = write_report(NOTHING, tmp_path / "report").parent, replace(NOTHING, protocol={"name": "new"})
    before, fresh = contents(folder), contents(write_report(new, tmp_path / "new").parent)
    real = {name: getattr(Path, name) for name in ("rename", "replace")}
    done = []

    def step(self, target, name):
        if len(done) == last:
            raise Killed
        done.append(name)
        return real[name](self, target)

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda *args, **named: None)  # a kill clears nothing away
        for name in real:
            patch.setattr(Path, name, partialmethod(step, name=name))
        with contextlib.suppress(Killed):
            write_report(new, folder)
    there = contents(folder)
    assert len(done) <= 6 and (there in (before, fresh) or "index.html" not in there)
    assert contents(write_report(new, folder).parent) == fresh
    assert {one.name for one in tmp_path.iterdir()} == {"report", "new"}


def test_a_link_to_a_folder_is_a_place_and_the_root_is_none(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there")
    assert write_report(NOTHING, tmp_path / "link").is_file() and (tmp_path / "there" / "index.html").is_file()
    for place, said in (("/", "is the root"), (tmp_path / ("x" * 300), "File name too long")):
        with pytest.raises(UserError, match=said):
            write_report(NOTHING, Path(place))


def test_an_interrupt_while_drawing_counts_afterwards():
    drawn = []
    with pytest.raises(KeyboardInterrupt), interrupts_later():
        signal.raise_signal(signal.SIGINT)
        drawn.append(1)
    assert drawn == [1]


@pytest.mark.parametrize("there", ["tables", "figures", "index.html"])
def test_other_peoples_files_are_not_replaced(tmp_path, there):
    mine = tmp_path / there
    if there == "index.html":
        mine.write_text("<title>mine</title>")
    else:
        mine.mkdir()
    with pytest.raises(UserError, match=f"{there}: is there and is no report of kdstats"):
        write_report(NOTHING, tmp_path)
    assert list(tmp_path.iterdir()) == [mine]


def test_a_place_that_is_no_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="not replaced"):
        write_report(NOTHING, tmp_path / "file")
    with pytest.raises(UserError, match="cannot be written"):
        write_report(NOTHING, tmp_path / "file" / "report")


def test_importing_results_imports_no_seaborn():
    code = "import sys, kdstats.reporting; print('seaborn' in sys.modules, 'matplotlib' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["False", "False"]
