"""Interaction tensors at the size of the paper: seconds, memory, and the greedy clustering against a plain loop.

    python benchmarks/features.py [--networks 60] [--examples 10000] [--dimensions 512] [--components 50] [--json FILE]
    python benchmarks/features.py --planted      # how much of a planted truth each mode finds, over noise
    python benchmarks/features.py --sizes        # how often arms with equally many features are found to differ

Activations are those of networks that each see a part of one world of features, in a rotation of their own, and noise.
The loop is the released algorithm as one would write it down, entry by entry; both get the same similarities, and their
clusters are held equal.
"""

import argparse
import json
import resource
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from kdstats import stats
from kdstats.metrics import features

COUNTS = ("n_features", "mean_frequency", "features_per_datum")


def networks(count: int, examples: int, dimensions: int, world: int = 128, seed: int = 0) -> list[np.ndarray]:
    """Float16 activations, as they lie on disk."""
    rng = np.random.default_rng(seed)
    truth = rng.exponential(size=(examples, world)).astype(np.float32)
    found = []
    for _ in range(count):
        seen = rng.permutation(world)[: world // 2]
        rotation = rng.standard_normal((len(seen), dimensions), np.float32) * np.geomspace(1, 0.05, len(seen))[:, None]
        noise = 0.3 * rng.standard_normal((examples, dimensions), np.float32)
        found.append((truth[:, seen] @ rotation.astype(np.float32) / 8 + noise).astype(np.float16))
    return found


def by_loops(sizes: np.ndarray, threshold: float) -> np.ndarray:
    """Greedy clusters with similarities kept as integers, entry by entry: what is in a cluster opens none."""
    n = len(sizes)
    clusters, best, t = np.full(n, -1), np.zeros(n, np.int32), 0
    for i in range(n):
        if clusters[i] < 0:
            for j in range(n):
                if sizes[i, j] > threshold and sizes[i, j] > best[j]:
                    clusters[j] = t
                    best[j] = sizes[i, j]
            t += 1
    return clusters


def timed(act: Callable[[], Any], repeats: int = 1) -> tuple[float, Any]:
    """The median of the seconds, and what came out last."""
    taken, found = [], None
    for _ in range(repeats):
        start = time.perf_counter()
        found = act()
        taken.append(time.perf_counter() - start)
    return float(np.median(taken)), found


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    k = arguments.components
    activations = networks(arguments.networks, arguments.examples, arguments.dimensions)
    found: dict[str, Any] = {}
    found["components_s"], scores = timed(lambda: [features.principal_components(x, k) for x in activations])
    activations.clear()
    for mode in ("robust", "released", "jiang"):
        found[f"{mode}_s"], tensor = timed(partial(features.interaction_tensor, scores, k=None, mode=mode))
        found[f"{mode}_features"] = tensor.n_features
        if mode == "released":
            found |= clustering(np.abs(tensor.correlation), tensor.threshold)
        del tensor
    found["peak_gb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return found | permutations()


def clustering(sizes: np.ndarray, threshold: float) -> dict[str, Any]:
    order = np.arange(len(sizes))
    ours, (clusters, _) = timed(lambda: features._greedy(sizes, order, threshold, whole=True), repeats=5)
    loops, plain = timed(lambda: by_loops(sizes, threshold))
    identical = bool(np.array_equal(clusters, plain))
    return {"clustering_s": ours, "loops_s": loops, "clustering_ratio": loops / ours, "identical": identical}


def permutations() -> dict[str, Any]:
    """1,000 exchanges of labels, each of which joins both groups anew."""
    small = features.interaction_tensor(networks(20, 1000, 64, world=60), k=20)

    def fewer(first: np.ndarray, second: np.ndarray) -> float:
        return small.recluster(first).n_features - small.recluster(second).n_features

    sides = np.arange(0, 20, 2), np.arange(1, 20, 2)
    return {"permutations_s": timed(lambda: stats.swap_labels(fewer, *sides, permutations=1000))[0]}


def planted(noise: float, mode: str, seed: int) -> tuple[float, float]:
    """Precision and recall of pairs of components that are said to be one feature, where the truth is known.

    Twenty networks each see 12 of 24 features in a rotation of their own, with strengths from 4 to 1 and noise of the
    same size everywhere. A component's truth is the feature that it correlates most with.
    """
    rng = np.random.default_rng(seed)
    truth = rng.exponential(size=(2000, 24)) - 1
    activations, own = [], []
    for _ in range(20):
        seen = rng.permutation(24)[:12]
        rotation = np.linalg.qr(rng.standard_normal((12, 12)))[0]
        x = (truth[:, seen] * np.geomspace(4, 1, 12) + noise * rng.standard_normal((2000, 12))) @ rotation
        scores = features.principal_components(x, 12)
        own.append(np.abs(np.corrcoef(scores.T, truth.T)[:12, 12:]).argmax(1))
        activations.append(scores)
    found = features.interaction_tensor(activations, k=None, mode=mode, seed=seed).assignment  # type: ignore[arg-type]
    network = np.repeat(np.arange(20), 12)
    pairs = np.triu(network[:, None] != network)
    same = np.equal.outer(np.ravel(own), np.ravel(own)) & pairs
    flat = np.where(found.ravel() < 0, -1 - np.arange(240), found.ravel())  # what is unmatched is alone
    said = np.equal.outer(flat, flat) & pairs
    return (same & said).sum() / max(1, said.sum()), (same & said).sum() / same.sum()


def recovery(worlds: int = 10) -> list[dict[str, Any]]:
    """Means over worlds, by noise and mode."""
    rows = []
    for noise in (0.0, 0.3, 0.6, 1.0, 1.5):
        for mode in ("robust", "released", "jiang"):
            precision, recall = np.mean([planted(noise, mode, seed) for seed in range(worlds)], axis=0)
            rows.append({"noise": noise, "mode": mode, "precision": float(precision), "recall": float(recall)})
    return rows


def found_to_differ(apart: int, seed: int, pairs: int = 8, examples: int = 300) -> dict[str, float]:
    """Two-sided p of two arms that use equally many features, the control other ones by ``apart`` of 12.

    Each network sees 8 of its arm's 12 features, of strengths that are drawn for the world, in a rotation of its own.
    """
    rng = np.random.default_rng(seed)
    truth = (rng.exponential(size=(examples, 24)) - 1) * rng.uniform(1, 4, 24)
    activations = []
    for arm in range(2):
        for _ in range(pairs):
            seen = arm * apart + rng.permutation(12)[:8]
            rotation = np.linalg.qr(rng.standard_normal((8, 8)))[0]
            x = (truth[:, seen] + 0.5 * rng.standard_normal((examples, 8))) @ rotation
            activations.append(features.principal_components(x, 8))
    tensor = features.interaction_tensor(activations, k=None, seed=seed)

    def differences(first: np.ndarray, second: np.ndarray) -> list[float]:
        a, b = tensor.group(first), tensor.group(second)
        return [getattr(a, name) - getattr(b, name) for name in COUNTS]

    found = stats.swap_labels(differences, np.arange(pairs), np.arange(pairs, 2 * pairs))
    return dict(zip(COUNTS, map(float, found.p_value), strict=True))


def sizes(worlds: int = 300) -> list[dict[str, Any]]:
    """How often p is at most .05, by how far the arms' features lie apart."""
    rows = []
    for apart in (0, 6, 12):
        p = [found_to_differ(apart, seed) for seed in range(worlds)]
        shares = {name: float(np.mean([each[name] <= 0.05 for each in p])) for name in COUNTS}
        rows.append({"others": apart / 12, **shares})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=int, default=60)
    parser.add_argument("--examples", type=int, default=10_000)
    parser.add_argument("--dimensions", type=int, default=512)
    parser.add_argument("--components", type=int, default=50)
    parser.add_argument("--planted", action="store_true")
    parser.add_argument("--sizes", action="store_true")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    found: Any
    if arguments.planted:
        found = recovery()
        print("\n".join(f"noise {r['noise']:<5}{r['mode']:10}{r['precision']:.2f} {r['recall']:.2f}" for r in found))
    elif arguments.sizes:
        found = sizes()
        print("\n".join("  ".join(f"{key} {value:.3f}" for key, value in row.items()) for row in found))
    else:
        found = measure(arguments)
        print("\n".join(f"{key:20} {value:.4g}" for key, value in found.items()))
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
