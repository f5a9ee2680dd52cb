"""Processes that train what is missing. They share nothing but the run directory: a lock decides who trains what."""

import contextlib
import multiprocessing
import os
import platform
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from kdstats import store
from kdstats.errors import UserError
from kdstats.plan import Plan, Replicate, stream


@dataclass(frozen=True)
class Job:
    """What a worker is told: the plan, where replicates go, where the data come from, the device."""

    plan: Plan
    root: Path
    load: Callable[[], Any]
    fingerprint: str
    device: str


@dataclass
class Progress:
    """What is done, for whoever shows it."""

    total: int
    epochs: int  # of one replicate
    done: set[str] = field(default_factory=set)
    begun: dict[str, int] = field(default_factory=dict)  # epochs of replicates that are being trained

    @property
    def completed(self) -> float:
        """Replicates, those in training by their share of epochs."""
        return len(self.done) + sum(self.begun.values()) / self.epochs


def default_workers(device: str) -> int:
    """One worker a core on the CPU, one on an accelerator."""
    if device != "cpu":
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def train_missing(job: Job, workers: int, show: Callable[[Progress], None], progress: Progress) -> None:
    """Run workers until every replicate of the plan is there.

    Raises
    ------
    UserError
        What a worker could not do (a disk that is full, data that changed), or that all were killed.
    RuntimeError
        A worker's own fault, with its traceback.
    """
    context = multiprocessing.get_context("spawn")
    pairs = []
    with _ignoring_interrupts():  # children inherit it: an interrupt is for the parent to handle
        for _ in range(workers):
            receiver, sender = context.Pipe(duplex=False)
            process = context.Process(target=work, args=(job, sender), daemon=True)
            process.start()
            sender.close()
            pairs.append((process, receiver))
    open_pipes = {receiver for _, receiver in pairs}
    try:
        while open_pipes:
            for ready in wait(list(open_pipes), timeout=0.5):
                assert isinstance(ready, Connection)
                try:
                    kind, *content = ready.recv()
                except EOFError:
                    open_pipes.discard(ready)
                    continue
                _note(progress, kind, content)
            show(progress)
    finally:
        for process, _ in pairs:
            process.terminate()
        for process, receiver in pairs:
            process.join()
            receiver.close()
    if len(progress.done) < progress.total:
        codes = sorted({str(process.exitcode) for process, _ in pairs})
        raise UserError(
            f"{progress.total - len(progress.done)} replicates are left: all workers ended early (exit codes"
            f" {', '.join(codes)}; -9 is often too little memory). The same command continues, perhaps with --workers 1"
        )


def _note(progress: Progress, kind: str, content: list[Any]) -> None:
    if kind == "epoch":
        progress.begun[content[0]] = content[1]
    elif kind == "done":
        progress.done.add(content[0])
        progress.begun.pop(content[0], None)
    elif kind == "user error":
        raise UserError(content[0])
    else:
        raise RuntimeError(f"a worker failed:\n{content[0]}")


@contextlib.contextmanager
def _ignoring_interrupts() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def work(job: Job, pipe: Connection) -> None:
    """A worker's life: walk the plan, train what is neither there nor locked by somebody else, until all is there."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # deterministic matrix products on CUDA
    try:
        _walk(job, pipe)
    except UserError as error:
        pipe.send(("user error", str(error)))
    except BaseException:
        pipe.send(("error", traceback.format_exc()))


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _walk(job: Job, pipe: Connection) -> None:
    from kdstats.training.engine import be_deterministic

    room = _Room(job)
    be_deterministic(room.device)
    left = list(job.plan.replicates)
    while left:
        waiting: list[Replicate] = []
        for replicate in left:
            if not store.complete(job.root, replicate.id):
                ready = all(store.complete(job.root, id) for id in replicate.needs)
                with store.locked(job.root, replicate.id) if ready else contextlib.nullcontext(False) as ours:
                    if ours and not store.complete(job.root, replicate.id):
                        _train(replicate, room, pipe)
            if store.complete(job.root, replicate.id):
                pipe.send(("done", replicate.id))
            else:
                waiting.append(replicate)
        if len(waiting) == len(left):
            time.sleep(0.05)  # others are training what is needed
        left = waiting


class _Room:
    """What a worker keeps between replicates: the images, and the teachers that it used last."""

    def __init__(self, job: Job) -> None:
        import torch

        self.job = job
        self.device = torch.device(job.device)
        self.teachers: dict[str, Any] = {}

    @cached_property
    def images(self) -> Any:
        from kdstats.training.data import to_device

        dataset = self.job.load()
        if dataset.fingerprint != self.job.fingerprint:
            raise UserError(
                f"dataset {dataset.name}: its files changed since the run began; start again with them at rest"
            )
        return to_device(dataset, self.device)

    def teacher(self, id: str) -> Any:
        """A trained teacher on the device. Students come by teacher and need two, so four are kept."""
        import torch

        from kdstats.training.models import build_model

        if id not in self.teachers:
            while len(self.teachers) >= 4:
                del self.teachers[next(iter(self.teachers))]
            name = self.job.plan.protocol.teacher.model
            model = build_model(name, self.images.shape, self.images.classes, stream("overwritten"))
            weights = store.read_weights(self.job.root, id)
            model.load_state_dict({key: torch.from_numpy(value) for key, value in weights.items()})
            self.teachers[id] = model.to(self.device).eval().requires_grad_(False)
        return self.teachers[id]


def _train(replicate: Replicate, room: _Room, pipe: Connection) -> None:
    """Train one replicate, whose lock we hold, and write what came of it, failure included."""
    from kdstats.training.engine import train_replicate

    job = room.job
    start = time.perf_counter()
    logits, weights = None, None
    meta = _describe(replicate, room.device)
    sick = next((id for id in replicate.needs if store.read_replicate(job.root, id).logits is None), None)
    if sick:
        meta |= {"status": "failed", "reason": "its teacher failed", "step": 0, "losses": []}
    else:
        recipe, seed = job.plan.protocol.recipe, job.plan.protocol.seed
        trained = train_replicate(
            replicate, recipe, seed, room.images, room.teacher, lambda epoch: pipe.send(("epoch", replicate.id, epoch))
        )
        logits = trained.logits
        meta |= {"status": "trained", "losses": list(trained.losses)}
        if trained.failed_at is not None:
            meta |= {"status": "failed", "reason": "the loss was not a finite number", "step": trained.failed_at}
        elif replicate.role == "teacher":
            weights = {key: value.cpu().contiguous().numpy() for key, value in trained.model.state_dict().items()}
    meta["seconds"] = round(time.perf_counter() - start, 3)
    with store.disk_errors(job.root):
        store.write_replicate(job.root, replicate.id, meta, room.images.y_test.cpu().numpy(), logits, weights)


def _describe(replicate: Replicate, device: Any) -> dict[str, Any]:
    """What meta.json says of a replicate: what it is, and on what it was made."""
    import torch

    point = replicate.point
    return {
        "id": replicate.id,
        "role": replicate.role,
        "model": replicate.model,
        "kind": replicate.kind,
        "parameters": dict(point.parameters) if point else {},
        "initialisation": point.initialisation if point else "fresh",
        "teacher": replicate.teacher,
        "seed": replicate.seed,
        "own": replicate.own,
        "other": replicate.other,
        "device": device_name(device),
        "versions": {"torch": torch.__version__.split("+")[0], "python": platform.python_version()},
    }


def device_name(device: Any) -> str:
    """cpu with its instruction set, or the card's name."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu {torch.backends.cpu.get_cpu_capability()}" if device.type == "cpu" else str(device.type)
