"""Whole audits, timed: 10,000 × 10 after imports, and 50,000 × 1,000 in float16 files as a command of its own.

    python benchmarks/audits.py [--json FILE] [--repeats 3]

The large one writes 1.2 GB of simulated outputs into a temporary folder: teacher, student, 10 controls.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from kdstats.auditing import audit


def write(folder: Path, n: int, classes: int, dtype: type) -> list[str]:
    """Labels and twelve networks that share what makes an example hard; the options that name them."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, classes, n)
    np.save(folder / "y.npy", y)
    shared = rng.standard_normal((n, classes), np.float32)
    shared[np.arange(n), y] += 4
    options = ["--labels", str(folder / "y.npy"), "--margin", "0.5pp"]
    for i in range(12):
        file = folder / f"n{i}.npy"
        np.save(file, (shared + rng.standard_normal((n, classes), np.float32)).astype(dtype))
        options += [("--teacher", "--student", "--control")[min(i, 2)], str(file)]
    return options


def small(folder: Path, repeats: int) -> float:
    files = [folder / f"n{i}.npy" for i in range(12)]
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        audit(files[0], files[1], folder / "y.npy", files[2:], margin=0.005)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def large(options: list[str], out: Path, repeats: int) -> tuple[float, float]:
    """Seconds of the command with its report, and its peak memory in GB."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "kdstats", "audit", *options, "--out", str(out)],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write(folder, 10_000, 10, np.float32)
        quick = small(folder, asked.repeats)
        whole, memory = large(write(folder, 50_000, 1_000, np.float16), folder / "report", asked.repeats)
    rows = [
        ("10,000 × 10, 10 controls, after imports, s", quick, 5.0),
        ("50,000 × 1,000 float16, 10 controls, report included, s", whole, 60.0),
        ("its peak memory, GB", memory, 6.0),
    ]
    print(f"medians of {asked.repeats}\n{'':58}{'measured':>10}{'at most':>10}")
    for name, measured, most in rows:
        print(f"{name:58}{measured:10.2f}{most:10.0f}")
    if asked.json is not None:
        asked.json.write_text(json.dumps([dict(zip(("name", "measured", "target"), row, strict=True)) for row in rows]))


if __name__ == "__main__":
    main()
