"""The step time of every arm beside that of plain KD, in one process and in turn.

    python benchmarks/objectives.py [--model resnet8] [--batch 128] [--rounds 15] [--json FILE]

Students of one teacher make their steps on one batch, as they do in a run, one after the other, round after round; each
round gives a ratio to KD's step of that round, of which the median is printed. Random images: what is measured does not
depend on them. The teacher's forward pass, which all arms share, is not part of a step.
"""

import argparse
import json
import statistics
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kdstats.catalog import ARMS
from kdstats.datasets import Dataset
from kdstats.plan import Replicate, stream
from kdstats.protocol import Point, Recipe
from kdstats.training.architectures import build_model
from kdstats.training.data import batches, epoch_order, to_device
from kdstats.training.engine import Student, begin, eagerly, set_up
from kdstats.training.targets import Teacher


def students(model: str, batch: int, device: torch.device) -> tuple[list[Student], Any, Recipe]:
    numbers = np.random.default_rng(0)
    x, y = numbers.integers(0, 256, (4 * batch, 32, 32, 3), np.uint8), numbers.integers(0, 10, 4 * batch)
    images = to_device(Dataset("noise", x, y, x[:batch], y[:batch], 10), device)
    recipe = Recipe(optimiser="sgd", learning_rate=0.01, batch_size=batch, augmentation="crop-flip")
    teachers = {}
    for name in ("own", "other"):
        network = build_model(model, images.shape, 10, stream(name)).to(device).requires_grad_(False)
        teachers[name] = Teacher(model, network, images)
    made = []
    for kind, arm in ARMS.items():
        point = Point(kind, kind, tuple(sorted(arm.parameters().model_dump().items())), "fresh")
        other = "other" if arm.learns_from in ("other", "twin") else None
        one = Replicate(kind, "student", model, point, 0, 0, "own", other)
        made.append(begin(one, recipe, 0, images, teachers.__getitem__, partial(stream, "benchmark")))
    order = epoch_order(stream("order"), 0, len(y), batch)
    return made, next(batches(images, order, recipe, partial(stream, "benchmark"), 0)), recipe


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet8")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    set_up(device)
    made, batch, recipe = students(arguments.model, arguments.batch, device)
    advance = eagerly(made, recipe, batch)
    seconds: dict[str, list[float]] = {student.id: [] for student in made}
    for turn in range(arguments.rounds + 2):
        for student in made:
            start = time.perf_counter()
            (loss,) = advance([student], 0, 0, 0.01, batch)
            loss.item()
            if turn > 1:  # after what is made on the way
                seconds[student.id].append(time.perf_counter() - start)
    plain = seconds["kd"]
    found = {
        kind: {
            "ms": 1e3 * statistics.median(times),
            "ratio": statistics.median(one / kd for one, kd in zip(times, plain, strict=True)),
        }
        for kind, times in seconds.items()
    }
    print(
        f"{arguments.model}, batches of {arguments.batch}, {arguments.rounds} rounds\n{'arm':22}{'ms':>8}{'to KD':>8}"
    )
    for kind, row in found.items():
        print(f"{kind:22}{row['ms']:8.1f}{row['ratio']:8.3f}")
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
