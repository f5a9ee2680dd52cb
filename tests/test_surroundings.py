"""Commands under a notebook's MPLBACKEND, and on streams that cannot show − × ±, from outside."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BACKENDS = ("module://matplotlib_inline.backend_inline", "nonsense")
COMMANDS = ("run", "plan", "train", "status", "test", "power", "validate", "audit", "report")
SCORES = "arm,seed,metric,value\n" + "".join(
    f"{arm},{seed},accuracy × ½,{base + step * seed}\n"
    for arm, base, step in (("größer−α", 0.8, 0.01), ("plain", 0.79, 0.005))
    for seed in range(6)
)
OF_SCORES = ("--arm", "größer−α", "--control", "plain", "--metric", "accuracy × ½", "--margin", "0.1")


def python(*arguments, cwd, **environment):
    own = {name: value for name, value in os.environ.items() if name not in ("MPLBACKEND", "PYTHONIOENCODING")}
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=own | {"PYTHONPATH": str(ROOT)} | environment, capture_output=True
    )


def kdstats(*arguments, cwd, **environment):
    return python("-m", "kdstats", *map(str, arguments), cwd=cwd, **environment)


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_ends_in_a_traceback(command, tmp_path):
    told = "--help" if command == "validate" else "−×±.yaml"  # validate takes no file
    done = kdstats(command, told, cwd=tmp_path, MPLBACKEND="nonsense", PYTHONIOENCODING="ascii")
    assert done.returncode == (0 if told == "--help" else 2) and b"Traceback" not in done.stderr
    (done.stdout + done.stderr).decode("ascii")


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_sentences_are_shown_in_what_the_stream_can_show(encoding, tmp_path):
    (tmp_path / "scores.csv").write_text(SCORES, encoding="utf-8")
    done = kdstats("test", "scores.csv", *OF_SCORES, cwd=tmp_path, PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stderr
    found = done.stdout.decode(encoding)
    assert ("gro?er-alpha" if encoding == "ascii" else "größer-alpha") in found
    assert ("accuracy x 1/2" if encoding == "ascii" else "accuracy × ½") in found


@pytest.mark.parametrize("backend", BACKENDS[:1])
def test_power_is_drawn_whatever_the_backend(backend, tmp_path):
    protocol = ROOT / "protocols" / "digits.yaml"
    options = ("--effect", "0.02", "--teacher-sd", "0.01", "--student-sd", "0.01", "--out", "out")
    done = kdstats("power", protocol, *options, cwd=tmp_path, MPLBACKEND=backend, PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    done.stdout.decode("ascii")
    assert (tmp_path / "out" / "power.svg").stat().st_size > 1000


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_function_that_takes_pingouin_needs_no_backend(backend, tmp_path):
    code = (
        "from kdstats import stats; import os; print(round(stats.bayes_factor([0.03, 0.04, 0.01, 0.05, 0.02]), 3));"
        " print(os.environ['MPLBACKEND'])"
    )
    done = python("-c", code, cwd=tmp_path, MPLBACKEND=backend)
    assert done.stdout.decode().split() == ["5.757", backend], done.stderr  # as under any other backend
    code = (
        "from kdstats import stats; stats.bayes_factor([0.03, 0.04, 0.01, 0.05]);"
        " import matplotlib; print(matplotlib.rcParams['backend'])"
    )
    assert python("-c", code, cwd=tmp_path, MPLBACKEND="svg").stdout.decode().strip() == "svg"  # the user's own choice


def test_text_that_no_encoding_holds_is_shown(tmp_path):
    name = b"caf\xe9.csv"  # a file name that is no UTF-8
    done = python("-m", "kdstats", "test", name, cwd=tmp_path)
    assert done.returncode == 2 and b"Traceback" not in done.stderr and b"no such" in done.stderr
