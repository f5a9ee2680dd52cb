"""Time of the metrics of class relations and of Mantel's test beside a plain loop; what `stability` holds.

    python benchmarks/relations.py [--repeats 3] [--json FILE]
    python benchmarks/relations.py --ladders 2000

The loop takes numpy.corrcoef of the moved off-diagonal cells, pair after pair and permutation after permutation; it is
timed on 200 permutations and multiplied. With --ladders, instead: coverage of the 95 % interval of `stability`, and how
often it claims stability at level .05 where the difference is just the margin, over that many simulated ladders of each
kind and size; some three minutes for 2,000 on one core. Beside it what t tests of pairs and of teachers' differences
cover, which take what is dependent for units.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats as scipy_stats

from kdstats.metrics.relations import (
    class_affinity,
    distinctness,
    matched_temperature,
    rank_consistency,
    top_overlap,
)
from kdstats.stats.relations import mantel, stability

CLASSES, TEACHERS, PERMUTATIONS, TIMED = 100, 6, 10_000, 200
LADDERS = ((3, 3, 3), (5, 5, 5), (6, 6, 6), (5, 5, 5, 5), (3, 3, 3, 3, 3), (3, 4, 6))
MARGIN = 1.0
RNG = np.random.default_rng(0)


def median_seconds(run: Callable[[], object], repeats: int) -> float:
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def plain_mantel(matrices: np.ndarray, permutations: int) -> list[float]:
    outside = ~np.eye(matrices.shape[1], dtype=bool)
    found = []
    for i in range(len(matrices)):
        for j in range(i + 1, len(matrices)):
            x = matrices[i][outside]
            observed = np.corrcoef(x, matrices[j][outside])[0, 1]
            reached = 0
            for _ in range(permutations):
                order = RNG.permutation(matrices.shape[1])
                reached += np.corrcoef(x, matrices[j][np.ix_(order, order)][outside])[0, 1] >= observed
            found.append((reached + 1) / (permutations + 1))
    return found


def timed(repeats: int) -> Iterator[tuple[str, float, float | None, float | None]]:
    """What, seconds, seconds of the plain loop, at most."""
    matrices = RNG.random((TEACHERS, CLASSES, CLASSES))
    loop = median_seconds(lambda: plain_mantel(matrices, TIMED), 1) * PERMUTATIONS / TIMED
    ours = median_seconds(lambda: mantel(matrices, permutations=PERMUTATIONS), repeats)
    yield f"mantel, {PERMUTATIONS:,} × {CLASSES} classes × 15 pairs", ours, loop, 5.0
    yield (
        "  one pair",
        median_seconds(lambda: mantel(*matrices[:2], permutations=PERMUTATIONS), repeats),
        loop / 15,
        None,
    )
    for n, classes in ((10_000, 100), (10_000, 1_000)):
        y = RNG.integers(0, classes, n)
        y[:classes] = np.arange(classes)
        one = RNG.standard_normal((n, classes), np.float32)
        one[np.arange(n), y] += 4
        other = one + RNG.standard_normal((n, classes), np.float32)
        metrics: dict[str, Callable[[], Any]] = {
            "distinctness": lambda z=one, y=y: distinctness(z, y, 4.0),  # type: ignore[misc]
            "matched_temperature": lambda z=one, y=y: matched_temperature(z, y, 0.2),  # type: ignore[misc]
            "rank_consistency": lambda z=one, w=other, y=y: rank_consistency(z, w, y),  # type: ignore[misc]
            "top_overlap, k = 5": lambda z=one, w=other, y=y: top_overlap(z, w, y, 5),  # type: ignore[misc]
            "class_affinity": lambda z=one, y=y: class_affinity(z, y),  # type: ignore[misc]
        }
        for name, run in metrics.items():
            yield f"{name}, {n:,} × {classes:,}", median_seconds(run, repeats), None, None


# Ladders ---------------------------------------------------------------------------------------------------------


def added(n: int, group: np.ndarray, own: float, by_group: float, pair: float, draw: Any) -> np.ndarray:
    """Similarities that a teacher raises with all, with a group, and a pair by itself: (n, K, K)."""
    k = len(group)
    adds = own * draw((n, k, 1)) + by_group * draw((n, k, group.max() + 1))
    residual = np.triu(pair * draw((n, k, k)), 1)
    return adds[:, :, group] + adds[:, :, group].swapaxes(1, 2) + residual + residual.swapaxes(1, 2)


def correlated(n: int, group: np.ndarray, apart: float, noise: float, uneven: float, growing: float) -> np.ndarray:
    """Correlations of 90 cells: a relation, what a capacity changes in it, and each teacher's noise."""
    steps = np.random.default_rng(5)  # the same capacities for all ladders
    relation, changes = steps.normal(size=90), np.cumsum(steps.normal(size=(group.max() + 1, 90)), axis=0)
    scale = noise * np.exp(uneven * RNG.normal(size=(n, len(group), 1))) * (1 + growing * group[:, None])
    cells = relation + apart * changes[group] + scale * RNG.normal(size=(n, len(group), 90))
    cells -= cells.mean(axis=2, keepdims=True)
    cells /= np.linalg.norm(cells, axis=2, keepdims=True)
    return cells @ cells.swapaxes(1, 2)


def skewed(shape: tuple[int, ...]) -> np.ndarray:
    return RNG.exponential(size=shape) - 1


TRUTHS: dict[str, Callable[[int, np.ndarray], np.ndarray]] = {
    "pairs vary": lambda n, g: added(n, g, 0, 0, 1, RNG.standard_normal),
    "teachers, alike to all": lambda n, g: added(n, g, 1, 0, 0.5, RNG.standard_normal),
    "teachers, a little by group": lambda n, g: added(n, g, 1, 0.5, 1, RNG.standard_normal),
    "teachers, much by group": lambda n, g: added(n, g, 1, 1, 0.3, RNG.standard_normal),
    "  exponential": lambda n, g: added(n, g, 1, 1, 0.5, skewed),
    "correlations, one relation": lambda n, g: correlated(n, g, 0, 0.5, 0, 0),
    "  groups differ": lambda n, g: correlated(n, g, 0.4, 0.5, 0, 0),
    "  and noise grows": lambda n, g: correlated(n, g, 0.4, 0.2, 0.2, 1),
}


def held(truth: Callable[[int, np.ndarray], np.ndarray], sizes: tuple[int, ...], ladders: int) -> tuple[float, ...]:
    """Coverage, size at .05 and at .01; coverage of t over pairs, and over teachers' differences."""
    group = np.repeat(np.arange(len(sizes)), sizes)
    k, across, number = len(group), group[:, None] != group, np.array(sizes)[group]
    pairs = len(sizes) * (len(sizes) - 1) * number * number[:, None]
    weights = np.where(across, 1 / pairs, -1 / (len(sizes) * number * (number - 1))) * ~np.eye(k, dtype=bool)
    difference = np.sum(truth(8_000, group) * weights, axis=(1, 2)).mean()
    samples = truth(ladders, group) - (difference + MARGIN) * across  # so that -MARGIN is true
    p = np.array([stability(s, group, margin=MARGIN).p_value for s in samples])
    upper = np.triu(np.ones((k, k), dtype=bool), 1)
    by_pair = scipy_stats.ttest_ind(
        samples[:, upper & across] + MARGIN, samples[:, upper & ~across], axis=1, equal_var=False
    )
    own = number * len(sizes) * np.sum(samples * weights, axis=2)  # their mean over teachers, then groups, estimates
    parts = [own[:, group == g] for g in range(len(sizes))]
    error = np.sqrt(sum(part.var(axis=1, ddof=1) / part.shape[1] for part in parts)) / len(sizes)
    by_teacher = (np.mean([part.mean(axis=1) for part in parts], axis=0) + MARGIN) / error
    return (
        float(np.mean((p >= 0.025) & (p <= 0.975))),
        float(np.mean(p <= 0.05)),
        float(np.mean(p <= 0.01)),
        float(np.mean(by_pair.pvalue >= 0.05)),
        float(np.mean(np.abs(by_teacher) <= scipy_stats.t.ppf(0.975, k - len(sizes)))),
    )


def ladder_rows(ladders: int) -> Iterator[dict[str, Any]]:
    print(f"{ladders:,} ladders of each size {', '.join('-'.join(map(str, sizes)) for sizes in LADDERS)}: from, to")
    print(f"{'':30}{'coverage':>16}{'size at .05':>16}{'size at .01':>16}{'t of pairs':>16}{'of teachers':>16}")
    for name, truth in TRUTHS.items():
        found = np.array([held(truth, sizes, ladders) for sizes in LADDERS])
        ends = list(zip(found.min(axis=0), found.max(axis=0), strict=True))
        print(f"{name:30}" + "".join(f"{low:9.3f}, {high:.3f}" for low, high in ends), flush=True)
        yield {"truth": name, "found": found.tolist()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--ladders", type=int)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    rows: list[dict[str, Any]] = []
    if asked.ladders:
        rows += ladder_rows(asked.ladders)
    else:
        print(f"{os.cpu_count()} cores, medians of {asked.repeats}\n{'':45}{'s':>9}{'loop, s':>10}{'at most':>9}")
        for name, ours, loop, most in timed(asked.repeats):
            print(
                f"{name:45}{ours:9.2f}{f'{loop:.1f}' if loop else '':>10}{f'{most:g}' if most else '':>9}", flush=True
            )
            rows.append({"what": name, "seconds": ours, "loop": loop, "target": most})
    if asked.json:
        asked.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
