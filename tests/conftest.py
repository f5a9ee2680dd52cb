"""A small protocol and the real command line, for the tests that go all the way."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Machines are shared and slow at times: no example has a time limit. CI draws the same examples every time.
slow = [HealthCheck.too_slow]
settings.register_profile("here", deadline=None, suppress_health_check=slow)
settings.register_profile("ci", deadline=None, suppress_health_check=slow, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")

SMALL = """
name: small
dataset: {name: digits, train: 100, test: 200}
teacher: {model: mlp, seeds: 6}
student: {model: mlp, seeds: 2}
recipe: {optimiser: adamw, learning_rate: 0.01, epochs: 6, batch_size: 25}
arms:
  siddo:
  kd: {alpha: [0.5, 0.9], temperature: 4}
  kd-other: {alpha: [0.5, 0.9], temperature: 4}
  rcd: {alpha: [0.5, 0.9], temperature: 4}
hypotheses:
  - {name: agrees-more, metric: agreement, arm: kd, controls: [siddo, rcd], direction: greater, scope: recipe}
  - {name: errors-transfer-more, metric: asymmetry, arm: kd, control: kd-other, direction: greater}
"""


@pytest.fixture(autouse=True)
def _no_data_folder(monkeypatch):
    monkeypatch.delenv("KDSTATS_DATA", raising=False)


@pytest.fixture
def small(tmp_path):
    """The small protocol's file, in a folder of its own."""
    file = tmp_path / "small.yaml"
    file.write_text(SMALL)
    return file


def environment():
    return {key: value for key, value in os.environ.items() if key not in ("KDSTATS_DATA", "PYTHONPATH")}


def kdstats(*arguments, cwd, timeout=240) -> subprocess.CompletedProcess[str]:
    """Run the command line in a folder, with warnings shown."""
    command = [sys.executable, "-W", "error::RuntimeWarning", "-m", "kdstats", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=environment(), capture_output=True, text=True, timeout=timeout)


def start(*arguments, cwd) -> subprocess.Popen[str]:
    """Start the command line as the leader of a process group, as a shell does."""
    command = [sys.executable, "-m", "kdstats", *map(str, arguments)]
    return subprocess.Popen(
        command, cwd=cwd, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip


def predictions(run: Path) -> dict[str, bytes]:
    """All predictions of a run directory, by replicate."""
    return {file.parent.name: file.read_bytes() for file in run.glob("replicates/*/predictions.safetensors")}


def descendants(root: int) -> set[int]:
    """Processes that stem from one, on Linux."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
        except (OSError, IndexError):
            continue
    found: set[int] = set()
    while more := {pid for pid, parent in parents.items() if parent in found | {root}} - found:
        found |= more
    return found


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (OSError, IndexError):
        return False


def end_soon(pids: set[int]) -> bool:
    """Whether all of them end within ten seconds."""
    limit = time.monotonic() + 10
    while any(map(alive, pids)) and time.monotonic() < limit:
        time.sleep(0.05)
    return not any(map(alive, pids))


def interrupt(process: subprocess.Popen[str]) -> None:
    """Ctrl-C: the signal goes to the whole group."""
    os.killpg(process.pid, signal.SIGINT)
