"""Time and memory of the digits protocol, first and second run, and of the light commands.

    python benchmarks/digits.py [--repeats 3] [--json FILE]

Runs the real command line in new folders. Memory is the largest sum, over all processes of the run, of resident
memory (shared pages counted in each) sampled ten times a second; Linux only. Prints medians and ranges.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROTOCOL = Path(__file__).resolve().parent.parent / "protocols" / "digits.yaml"
KDSTATS = [sys.executable, "-m", "kdstats"]


def resident(root: int) -> float:
    """MB of a process and all its descendants."""
    parents, memory = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
            pages = int((folder / "statm").read_text().split()[1])
        except (OSError, IndexError):
            continue  # it ended meanwhile
        parents[int(folder.name)], memory[int(folder.name)] = int(fields[1]), pages
    mine = {root}
    while more := {pid for pid, parent in parents.items() if parent in mine} - mine:
        mine |= more
    return sum(memory.get(pid, 0) for pid in mine) * os.sysconf("SC_PAGE_SIZE") / 1e6


def measure(command: list[str]) -> tuple[float, float]:
    """Wall seconds and peak MB of one command."""
    start, peak = time.perf_counter(), 0.0
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    while process.poll() is None:
        peak = max(peak, resident(process.pid))
        time.sleep(0.1)
    seconds = time.perf_counter() - start
    if process.returncode:
        assert process.stderr is not None
        raise SystemExit(f"{' '.join(command)}: exit {process.returncode}\n{process.stderr.read().decode()}")
    return seconds, peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    rows: dict[str, list[tuple[float, float]]] = {}
    for _ in range(arguments.repeats):
        with tempfile.TemporaryDirectory() as folder:
            where = ["--run-dir", f"{folder}/run", "--report-dir", f"{folder}/report"]
            run = [*KDSTATS, "run", str(PROTOCOL), *where]
            rows.setdefault("first run (target 120 s, 3000 MB)", []).append(measure(run))
            rows.setdefault("second run (target 5 s)", []).append(measure(run))
            rows.setdefault("report again", []).append(measure([*KDSTATS, "report", f"{folder}/run", *where[2:]]))
        for name, code in {"kdstats --help": "-m kdstats --help", "import kdstats": "-c import\tkdstats"}.items():
            command = [sys.executable, *(part.replace("\t", " ") for part in code.split(" "))]
            rows.setdefault(f"{name} (target 0.5 s)", []).append(measure(command))
    print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}, {arguments.repeats} repeats")
    print(f"{'':36} {'median s':>9} {'min':>7} {'max':>7} {'peak MB':>8}")
    for name, runs in rows.items():
        seconds = [run[0] for run in runs]
        peak = f"{max(run[1] for run in runs):8.0f}" if min(seconds) > 1 else f"{'':8}"  # too short to be sampled
        print(f"{name:36} {statistics.median(seconds):9.2f} {min(seconds):7.2f} {max(seconds):7.2f} {peak}")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
