"""Time of the inference beside what scipy and pingouin need for the same, and the bootstrap's memory.

    python benchmarks/inference.py [--repeats 3] [--json FILE]

Both sides run in turn in one process, on the same data; printed are medians. What would take minutes is timed in part
and multiplied, and its row says what part. Memory is the peak of a process of its own, with its data. Half of the
metrics are counts over 10,000 examples, as accuracy is, half are floats, as KL is.

scipy runs with the batch that is quickest here. Its bootstrap resamples examples alone: of the matrix, or of its mean
over seeds, which is less work and less said. pingouin has no sign-flip test: one row of a protocol is what both have,
the other has sign flips as well, on scipy's side by permutation_test.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pingouin
from scipy import stats as scipy_stats

from kdstats import stats

SEEDS, EXAMPLES, ARMS, METRICS, CONTROLS, DRAWS = 30, 10_000, 8, 12, 2, 10_000
MARGIN = 0.005
RNG = np.random.default_rng(0)
MEMORY = f"""
import resource
import numpy as np
from kdstats import stats
stats.bootstrap(np.random.default_rng(0).normal(size=({ARMS}, 6, {SEEDS}, {EXAMPLES})), draws={DRAWS})
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def scores(contrasts: int, seeds: int) -> tuple[np.ndarray, np.ndarray]:
    """Arm and control, (contrasts, seeds); every second row is a share of the examples."""
    control = RNG.normal(0.9, 0.004, (contrasts, seeds))
    arm = control + RNG.normal(0.002, 0.003, control.shape)
    for side in (arm, control):
        side[::2] = np.round(side[::2] * EXAMPLES) / EXAMPLES
    return arm, control


def seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def mean_difference(a: np.ndarray, b: np.ndarray, axis: int) -> np.ndarray:
    return np.mean(a - b, axis=axis)


def permuted(arm: np.ndarray, control: np.ndarray, draws: int, batch: int | None = 1000) -> object:
    return scipy_stats.permutation_test(
        (arm, control), mean_difference, permutation_type="samples", vectorized=True, axis=-1, n_resamples=draws - 1,
        batch=batch, rng=np.random.default_rng(0),
    )  # fmt: skip


def what_pingouin_has(arm: np.ndarray, control: np.ndarray) -> None:
    """Paired t with interval and Bayes factor, signed ranks, TOST, effect sizes, corrections: all rows at once."""
    t = stats.paired_t(arm, control)
    t.confidence_interval(0.95)
    stats.bayes_factor(arm, control)
    ranks = stats.wilcoxon(arm, control)
    stats.tost(arm, control, margin=MARGIN, test=stats.paired_t)
    for effect in (stats.dz, stats.hedges_g, stats.rank_biserial, stats.paired_cles):
        effect(arm, control)
    for p in (t.p_value, ranks.p_value):
        for method in ("holm", "by"):
            stats.adjust(p, method)


def pingouins(arm: np.ndarray, control: np.ndarray) -> None:
    p: tuple[list[float], list[float]] = ([], [])
    for x, y in zip(arm, control, strict=True):
        p[0].append(float(pingouin.ttest(x, y, paired=True)["p_val"].iloc[0]))  # with interval, d and Bayes factor
        p[1].append(float(pingouin.wilcoxon(x, y)["p_val"].iloc[0]))  # with rank-biserial and CLES
        pingouin.tost(x, y, bound=MARGIN, paired=True)
        pingouin.compute_effsize(x, y, paired=True, eftype="hedges")
    for values in p:
        for method in ("holm", "fdr_by"):
            pingouin.multicomp(values, method=method)


def all_tests(arm: np.ndarray, control: np.ndarray) -> None:
    """What pingouin has, and sign flips in both directions, for equivalence and jointly for the family."""
    what_pingouin_has(arm, control)
    stats.sign_flip(arm, control)
    stats.tost(arm, control, margin=MARGIN)
    stats.tost(arm, control, margin=MARGIN, test=stats.wilcoxon)
    stats.max_t(stats.differences(arm, control))


def their_tests(arm: np.ndarray, control: np.ndarray) -> None:
    """pingouin's loop, and permutation_test for the difference and both bounds of equivalence."""
    pingouins(arm, control)
    for shift in (0.0, MARGIN, -MARGIN):
        permuted(arm + shift, control, DRAWS)


def inferences(arm: np.ndarray, control: np.ndarray) -> None:
    """What ``kdstats run`` asks of each contrast, by its one declared test, and Holm."""
    d = stats.differences(arm, control)
    stats.adjust([stats.infer(row, alternative="greater", margin=MARGIN).p_value for row in d], "holm")


def compared(repeats: int) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []

    def compare(
        name: str, ours: Callable[[], object], theirs: Callable[[], object] | None, target: str, times: float = 1
    ) -> None:
        for side in (ours, theirs):
            if side:
                side()  # imports, caches
        pairs = [(seconds(ours), times * seconds(theirs) if theirs else None) for _ in range(repeats)]
        mine, others = statistics.median(a for a, _ in pairs), [b for _, b in pairs if b is not None]
        other = statistics.median(others) if others else None
        rows.append({
            "what": name, "seconds": mine, "opponent": other, "ratio": other / mine if other else None,
            "target": target, "opponent_times": times,
        })  # fmt: skip
        print_row(rows[-1])

    twenty = scores(20, SEEDS)
    counts, floats = (tuple(side[start::2] for side in scores(40, SEEDS)) for start in (0, 1))
    compare(
        f"sign-flip, {SEEDS} seeds × 20 metrics: {DRAWS:,} draws",
        lambda: stats.sign_flip(*twenty, method="sampled", draws=DRAWS),
        lambda: permuted(*twenty, DRAWS, None), "≥ 100×",
    )  # fmt: skip
    compare(
        "  against permutation_test with batch=1000",
        lambda: stats.sign_flip(*twenty, method="sampled", draws=DRAWS), lambda: permuted(*twenty, DRAWS), "",
    )  # fmt: skip
    for name, (arm, control) in {"counts": counts, "counts and floats": twenty, "floats": floats}.items():
        compare(
            f"  exact, {name}", lambda a=arm, c=control: stats.sign_flip(a, c),  # type: ignore[misc]
            lambda a=arm, c=control: permuted(a, c, DRAWS, None), "≥ 100×" if name == "counts" else "",  # type: ignore[misc]
        )  # fmt: skip

    matrix = RNG.normal(size=(ARMS, 6, SEEDS, EXAMPLES)) + RNG.normal(0, 0.5, EXAMPLES)
    whole = f"{ARMS} arms × 6 metrics × {SEEDS} × {EXAMPLES:,}"
    compare(
        f"two-way intervals, {whole}", lambda: stats.two_way(matrix).confidence_interval(0.95), None, "≤ 2 s",
    )  # fmt: skip

    def bootstrap_of(x: np.ndarray, method: str, draws: int, batch: int) -> object:
        return scipy_stats.bootstrap(
            (x,), np.mean, axis=-1, n_resamples=draws, batch=batch, method=method, rng=np.random.default_rng(0)
        )

    for name, method, theirs, target, times in (
        ("percentile; theirs of the matrix", "percentile", (matrix[0, 0], "percentile", DRAWS // 10, 50), "≥ 20×", 480),
        ("percentile; of its mean", "percentile", (matrix[0, 0].mean(axis=0), "percentile", DRAWS, 100), "", 48),
        ("bca; of its mean", "bca", (matrix[0, 0].mean(axis=0), "BCa", DRAWS, 100), "", 48),
    ):
        compare(
            f"  bootstrap, {name}", lambda m=method: stats.bootstrap(matrix, method=m, draws=DRAWS),  # type: ignore[misc]
            lambda t=theirs: bootstrap_of(*t), f"≤ 10 s, {target}".rstrip(", "), times,  # type: ignore[misc]
        )  # fmt: skip
    compare("  bootstrap, t, one of the 48", lambda: stats.bootstrap(matrix[0, 0], method="t", draws=DRAWS), None, "")

    for seeds in (10, 20, SEEDS):
        arm, control = scores(ARMS * METRICS * CONTROLS, seeds)
        name = f"protocol, {len(arm)} contrasts, {seeds} seeds"
        part = slice(0, len(arm) // 8)
        compare(
            f"{name}: what pingouin has", lambda a=arm, c=control: what_pingouin_has(a, c),  # type: ignore[misc]
            lambda a=arm, c=control: pingouins(a, c), "≥ 10×",  # type: ignore[misc]
        )  # fmt: skip
        compare(
            "  and sign flips, max-T", lambda a=arm, c=control: all_tests(a, c),  # type: ignore[misc]
            lambda a=arm[part], c=control[part]: their_tests(a, c), "≤ 2 s, ≥ 10×", 8,  # type: ignore[misc]
        )  # fmt: skip
        compare("  infer, one by one", lambda a=arm, c=control: inferences(a, c), None, "")  # type: ignore[misc]
    p = RNG.random(200)
    compare("adjust, 200 p-values, 100 calls", lambda: [stats.adjust(p, "holm") for _ in range(100)], None, "≤ .01 s")
    return rows


def print_row(row: dict[str, object]) -> None:
    def number(value: object, form: str) -> str:
        return format(value, form) if value is not None else ""

    scaled = f"(timed on 1/{row['opponent_times']:.0f})" if row["opponent_times"] != 1 and row["opponent"] else ""
    print(
        f"{row['what']:55} {number(row['seconds'], '9.4f')} {number(row['opponent'], '9.3f'):>9}"
        f" {number(row['ratio'], '7.0f'):>7} {row['target']:14} {scaled}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # pingouin's, of ties
    print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}, {arguments.repeats} repeats, medians")
    print(f"{'':55} {'ours, s':>9} {'theirs, s':>9} {'ratio':>7} target")
    rows = compared(arguments.repeats)
    peak = float(subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True).stdout)
    print(f"{'two-way bootstrap, peak memory':55} {peak:6.0f} MB {'':17} ≤ 2048 MB")
    if arguments.json:
        arguments.json.write_text(json.dumps({"rows": rows, "bootstrap_peak_mb": peak}, indent=1) + "\n")


if __name__ == "__main__":
    main()
