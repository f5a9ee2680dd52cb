"""A protocol trained by kdstats and by the loop that KD frameworks use, side by side: student-epochs an hour.

    python benchmarks/training.py [--data-dir DIR] [--cases NAME …] [--repeats 3] [--json FILE]
    python benchmarks/training.py --accuracy [--seeds 20]      # are the two loops' networks equally good?
    python benchmarks/training.py --share                      # of a CUDA card's bfloat16 matrix rate, ResNet-18

The opponent is written as such a framework would be: images through torchvision's transforms in a DataLoader with a
worker process a core, one network after the other, the teacher's forward pass for every student, eager torch in NCHW,
all cores for one network; in float32, or under autocast where the case says so. Both train the same networks of the
same protocol with the same recipe and batch; both times include the start of processes and the predictions at the end.
Cases on CIFAR-10 need --data-dir (or KDSTATS_DATA); without it they are left out, and that is said.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision.transforms as T
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from kdstats.datasets import Dataset, load_dataset
from kdstats.errors import UserError
from kdstats.plan import Plan, Replicate, make_plan, stream
from kdstats.protocol import Recipe, read_protocol
from kdstats.training.architectures import build_model
from kdstats.training.data import normalise, to_device
from kdstats.training.engine import choose_device, learning_rate, make_optimiser, set_up
from kdstats.training.objectives import OBJECTIVES
from kdstats.training.workers import Job, Progress, choose_engine, default_workers, device_name, train_missing


@dataclass(frozen=True)
class Case:
    """A protocol, small enough to be trained by both, large enough that starting a process does not count."""

    name: str
    dataset: str
    train: int
    test: int
    model: str
    recipe: str
    plain: str = "float32"  # the opponent's precision
    teachers: int = 2
    first: int = 0  # seed
    devices: tuple[str, ...] = ("cpu", "cuda")

    def protocol(self, folder: Path) -> Path:
        name = self.name.replace(" ", "-")
        file = folder / f"{name}.yaml"
        file.write_text(
            f"name: {name}\n"
            f"dataset: {{name: {self.dataset}, train: {self.train}, test: {self.test}}}\n"
            f"teacher: {{model: {self.model}, seeds: {[*range(self.first, self.first + self.teachers)]}}}\n"
            f"student: {{model: {self.model}, seeds: 1}}\n"
            f"recipe: {self.recipe}\n"
            "arms:\n  siddo:\n  kd: {alpha: [0.1, 0.5, 0.9]}\n  kd-other: {alpha: [0.1, 0.5, 0.9]}\n"
            "  rcd: {alpha: [0.1, 0.5, 0.9]}\n"
            "hypotheses:\n"
            "- {metric: accuracy, arm: kd, control: siddo, direction: greater, scope: these}\n"
        )
        return file


SGD = "optimiser: sgd, learning_rate: 0.1, augmentation: crop-flip, batch_size: 128"
BF16 = f"{SGD}, precision: bfloat16"
CASES = (
    Case("digits", "digits", 300, 1497, "cnn",
         "{optimiser: adamw, learning_rate: 0.01, epochs: 20, batch_size: 30, augmentation: crop}"),
    Case("resnet8 fp32", "cifar10", 5000, 1000, "resnet8", f"{{{SGD}, epochs: 1}}", devices=("cpu",)),
    Case("resnet8 bf16", "cifar10", 5000, 1000, "resnet8", f"{{{BF16}, epochs: 1}}", "bfloat16", devices=("cpu",)),
    Case("resnet8 bf16 against fp32", "cifar10", 5000, 1000, "resnet8", f"{{{BF16}, epochs: 1}}", devices=("cpu",)),
    Case("resnet20", "cifar10", 50000, 10000, "resnet20", f"{{{BF16}, epochs: 2}}", "bfloat16", devices=("cuda",)),
    Case("resnet18", "cifar10", 50000, 10000, "resnet18", f"{{{BF16}, epochs: 1}}", "bfloat16", devices=("cuda",)),
)  # fmt: skip
AS_SHIPPED = "nesterov: true, weight_decay: 0.0005, schedule: one-cycle, epochs: 5"  # protocols/cifar10_small.yaml
FULL = 6300  # epochs of a full protocol: 10 teachers, 10 arm settings, 2 seeds, 30 epochs


# The opponent ----------------------------------------------------------------------------------------------------


class Pictures(TorchDataset[tuple[Tensor, int, int]]):
    """As torchvision's datasets are: an image from the array, made PIL, transformed."""

    def __init__(self, x: np.ndarray, y: np.ndarray, transform: Callable[[Any], Tensor]) -> None:
        self.x, self.y, self.transform = x, y, transform

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, i: int) -> tuple[Tensor, int, int]:
        x = self.x[i]
        return self.transform(x[..., 0] if x.shape[-1] == 1 else x), int(self.y[i]), i


def loaders(dataset: Dataset, recipe: Recipe, device: torch.device) -> tuple[DataLoader[Any], DataLoader[Any]]:
    flat = dataset.x_train.reshape(-1, dataset.shape[2]) / 255.0
    plain = [T.ToPILImage(), T.ToTensor(), T.Normalize(flat.mean(0), flat.std(0))]
    crop = [T.RandomCrop(dataset.shape[0], padding=max(1, dataset.shape[0] // 8))]
    flip = [T.RandomHorizontalFlip()] if recipe.augmentation == "crop-flip" else []
    training = T.Compose([plain[0], *crop, *flip, *plain[1:]])
    options = {"num_workers": default_workers("cpu"), "persistent_workers": True, "pin_memory": device.type == "cuda"}
    return (
        DataLoader(Pictures(dataset.x_train, dataset.y_train, training), recipe.batch_size, shuffle=True,
                   drop_last=True, **options),
        DataLoader(Pictures(dataset.x_test, dataset.y_test, T.Compose(plain)), 512, **options),
    )  # fmt: skip


def plain_network(name: str, dataset: Dataset, *names: Any) -> nn.Module:
    model = build_model(name, dataset.shape, dataset.classes, stream("opponent", *names))
    return model.to(memory_format=torch.contiguous_format)


def opponents_loop(
    replicate: Replicate,
    recipe: Recipe,
    dataset: Dataset,
    loader: DataLoader[Any],
    teachers: dict[int, nn.Module],
    device: torch.device,
    seed: int = 0,
) -> nn.Module:
    """One network: as in the reference code of KD papers."""
    model = plain_network(replicate.model, dataset, replicate.teacher, seed).to(device)
    optimiser = make_optimiser(recipe, list(model.parameters()))
    steps, step = len(loader), 0
    parameters = dict(replicate.point.parameters) if replicate.point else {}
    kind = replicate.kind
    for _ in range(recipe.epochs):
        model.train()
        total = 0.0
        for views, labels, index in loader:
            views, labels = views.to(device, non_blocking=True), labels.to(device, non_blocking=True)
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(recipe, step, steps)
            with torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bfloat16"):
                logits = model(views)
                goal = None
                if kind in ("kd", "kd-other"):
                    teacher = teachers[replicate.teacher if kind == "kd" else 1 - replicate.teacher]
                    with torch.no_grad():
                        goal = teacher(views).float()
                elif kind == "rcd":
                    goal = torch.randn(len(index), dataset.classes, device=device)
            if goal is None:
                loss = OBJECTIVES["ce"](logits.float(), None, labels)
            else:
                of_kd = {key: parameters[key] for key in ("alpha", "temperature")}
                loss = OBJECTIVES["kd"](logits.float(), goal, labels, **of_kd)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += loss.item()  # the running loss that such loops print
            step += 1
    return model.eval()


@torch.no_grad()
def predictions(model: nn.Module, loader: DataLoader[Any], device: torch.device) -> np.ndarray:
    return np.concatenate([model(views.to(device)).float().cpu().numpy() for views, _, _ in loader])


def by_opponent(plan: Plan, precision: str, dataset: Dataset, device: torch.device) -> float:
    """Seconds for all networks of the plan."""
    torch.set_num_threads(default_workers("cpu"))
    start = time.perf_counter()
    recipe = plan.protocol.recipe.model_copy(update={"precision": precision})
    training, test = loaders(dataset, recipe, device)
    teachers: dict[int, nn.Module] = {}
    for replicate in plan.replicates:
        model = opponents_loop(replicate, recipe, dataset, training, teachers, device)
        predictions(model, test, device)
        if replicate.role == "teacher":
            teachers[replicate.teacher] = model
    return time.perf_counter() - start


def by_kdstats(plan: Plan, dataset: Dataset, load: Callable[[], Dataset], device: torch.device) -> float:
    """Seconds for all networks of the plan, by the workers that `kdstats run` starts."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        job = Job(plan, Path(folder), load, dataset.fingerprint, str(device), default_workers(device.type))
        job, _ = choose_engine(job, "auto", Path(folder) / "engine.json")
        train_missing(job, lambda progress: None, Progress(len(plan.replicates), plan.protocol.recipe.epochs))
        return time.perf_counter() - start


# Speed -----------------------------------------------------------------------------------------------------------


def measure(case: Case, data_dir: Path | None, device: torch.device, repeats: int) -> dict[str, Any]:
    """Both ways in turn, ``repeats`` times: medians."""
    load = partial(load_dataset, case.dataset, data_dir=data_dir, train=case.train, test=case.test)
    dataset = load()
    with tempfile.TemporaryDirectory() as folder:
        plan = make_plan(read_protocol(case.protocol(Path(folder))), dataset.fingerprint)
    epochs = len(plan.replicates) * plan.protocol.recipe.epochs
    rounds = [
        (by_opponent(plan, case.plain, dataset, device), by_kdstats(plan, dataset, load, device))
        for _ in range(repeats)
    ]
    theirs, ours = (statistics.median(side) for side in zip(*rounds, strict=True))
    ratios = sorted(a / b for a, b in rounds)
    return {
        "case": case.name, "device": device_name(device), "networks": len(plan.replicates),
        "images": case.train, "epochs": epochs, "opponent_s": theirs, "kdstats_s": ours,
        "opponent_epochs_per_hour": 3600 * epochs / theirs, "kdstats_epochs_per_hour": 3600 * epochs / ours,
        "full_protocol_h": FULL * ours / epochs / 3600,
        "ratio": statistics.median(ratios), "ratio_lowest": ratios[0], "ratio_highest": ratios[-1],
    }  # fmt: skip


# Accuracy --------------------------------------------------------------------------------------------------------


def accuracy(
    data_dir: Path | None, device: torch.device, seeds: int, first: int, margin: float = 0.005
) -> dict[str, Any]:
    """Test accuracy of ResNet-8 after 5 epochs of 20,000 CIFAR-10 images by both loops, and whether they are equal.

    kdstats in bfloat16, as its protocols are, the opponent in float32: all that is gained is held against it. Two
    one-sided Welch tests at the margin; seeds are the units, from ``first`` on. ``power``: of finding two equal loops
    equivalent, were the spread within them the one that was seen.
    """
    from scipy.stats import t
    from statsmodels.stats.weightstats import ttost_ind

    load = partial(load_dataset, "cifar10", data_dir=data_dir, train=20000)
    dataset = load()
    case = Case(
        "accuracy", "cifar10", 20000, 10000, "resnet8", f"{{{BF16}, {AS_SHIPPED}}}", teachers=seeds, first=first
    )
    with tempfile.TemporaryDirectory() as folder:
        plan = make_plan(read_protocol(case.protocol(Path(folder))), dataset.fingerprint)
        networks = tuple(replicate for replicate in plan.replicates if replicate.role == "teacher")
        plan = Plan(plan.protocol, plan.hash, networks, plan.floors)
        root = Path(folder) / "replicates"
        root.mkdir()
        job = Job(plan, root, load, dataset.fingerprint, str(device), default_workers(device.type))
        train_missing(job, lambda progress: None, Progress(len(networks), plan.protocol.recipe.epochs))
        from kdstats import store

        ours = [_right(store.read_replicate(root, replicate.id).logits, dataset) for replicate in networks]
    torch.set_num_threads(default_workers("cpu"))
    recipe = plan.protocol.recipe.model_copy(update={"precision": "float32"})
    training, test = loaders(dataset, recipe, device)
    theirs = []
    for i, replicate in enumerate(networks):
        seed = replicate.teacher
        torch.manual_seed(seed)
        model = opponents_loop(replicate, recipe, dataset, training, {}, device, seed)
        theirs.append(_right(predictions(model, test, device), dataset))
        print(f"seed {seed}: kdstats {ours[i]:.4f}, opponent {theirs[i]:.4f}", file=sys.stderr, flush=True)
    sd = float(np.sqrt((np.var(ours, ddof=1) + np.var(theirs, ddof=1)) / 2))
    reach = margin / (sd * np.sqrt(2 / seeds)) - t.ppf(0.95, 2 * seeds - 2)
    p = ttost_ind(np.array(ours), np.array(theirs), -margin, margin, usevar="unequal")[0]
    return {
        "seeds": seeds, "first_seed": first, "kdstats": float(np.mean(ours)), "opponent": float(np.mean(theirs)),
        "difference": float(np.mean(ours) - np.mean(theirs)), "sd_kdstats": float(np.std(ours, ddof=1)),
        "sd_opponent": float(np.std(theirs, ddof=1)), "margin": margin, "p_equivalence": float(p),
        "power": float(max(0.0, 2 * t.cdf(reach, 2 * seeds - 2) - 1)),
    }  # fmt: skip


# The card's rate -------------------------------------------------------------------------------------------------


def share(device: torch.device, batch: int = 512, size: int = 8192, steps: int = 50) -> dict[str, Any]:
    """Of the rate at which the card multiplies bfloat16 matrices, the share that a captured step of ResNet-18 reaches.

    Both are measured here; a step's operations are counted by torch, forward and backward, on 32×32 images.
    """
    from torch.utils.flop_counter import FlopCounterMode

    from kdstats.training.data import Batch
    from kdstats.training.engine import begin
    from kdstats.training.graphs import Seats

    if device.type != "cuda":
        raise SystemExit("--share: there is no CUDA card here")

    def seconds(act: Callable[[], object]) -> float:
        for _ in range(5):
            act()
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(steps):
            act()
        torch.cuda.synchronize()
        return (time.perf_counter() - start) / steps

    a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    rate = 2 * size**3 / seconds(lambda: a @ b)
    numbers = np.random.default_rng(0)
    x = numbers.integers(0, 256, (2 * batch, 32, 32, 3), np.uint8)
    y = numbers.integers(0, 10, 2 * batch)
    images = to_device(Dataset("noise", x, y, x, y, 10), device)
    recipe = Recipe(optimiser="sgd", learning_rate=0.1, batch_size=batch, precision="bfloat16")
    found: dict[str, Any] = {"device": device_name(device), "matrix_tflops": rate / 1e12}
    for fast in (False, True):
        set_up(device, fast)
        replicate = Replicate("s", "teacher", "resnet18", None, 0)
        student = begin(replicate, recipe, 0, images, {}.__getitem__, partial(stream, "share"))
        example = Batch(torch.arange(batch, device=device), normalise(images, images.x_train[:batch]),
                        images.y_train[:batch])  # fmt: skip
        with FlopCounterMode(display=False) as counted:
            torch.nn.functional.cross_entropy(student.model(example.views), example.labels).backward()
        advance = Seats(device, 1).seat([student], recipe, example)
        per_step = seconds(lambda: advance([student], 0, 0, 0.1, example))  # noqa: B023 -- called at once
        name = "fast" if fast else "deterministic"
        found |= {f"{name}_ms": 1e3 * per_step, f"{name}_share": counted.get_total_flops() / per_step / rate}
    return found


def _right(logits: np.ndarray | None, dataset: Dataset) -> float:
    assert logits is not None
    return float((logits.argmax(1) == dataset.y_test).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, default=os.environ.get("KDSTATS_DATA"))
    parser.add_argument("--cases", nargs="+", choices=[case.name for case in CASES])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--accuracy", action="store_true")
    parser.add_argument("--share", action="store_true")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    device = choose_device("auto")
    if arguments.accuracy or arguments.share:
        result: Any = (
            share(device)
            if arguments.share
            else accuracy(arguments.data_dir, device, arguments.seeds, arguments.first_seed)
        )
        print("\n".join(f"{key:14} {value:.4g}" for key, value in result.items()))
    else:
        result = list(speeds(arguments, device))
        if device.type == "cpu":
            print("cases of CUDA cards are left out: there is none here")
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


def speeds(arguments: argparse.Namespace, device: torch.device) -> Iterator[dict[str, Any]]:
    print(
        f"{'case':26}{'networks':>9}{'images':>8}{'opponent':>11}{'kdstats':>11}{'epochs/h':>20}{'ratio':>10}"
        f"{'':12}{FULL:,} such epochs"
    )
    for case in CASES:
        if device.type not in case.devices or (arguments.cases and case.name not in arguments.cases):
            continue
        try:
            row = measure(case, arguments.data_dir, device, arguments.repeats)
        except UserError as error:
            print(f"{case.name:26} left out: {error}")
            continue
        print(
            f"{row['case']:26}{row['networks']:9}{row['images']:8}{row['opponent_s']:10.1f}s{row['kdstats_s']:10.1f}s"
            f"{row['opponent_epochs_per_hour']:10,.0f} → {row['kdstats_epochs_per_hour']:7,.0f}"
            f"{row['ratio']:9.1f}× ({row['ratio_lowest']:.1f}–{row['ratio_highest']:.1f})"
            f"{row['full_protocol_h']:9.1f} h",
            flush=True,
        )
        yield row


if __name__ == "__main__":
    main()
