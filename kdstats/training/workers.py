"""Processes that train what is missing. They share nothing but the run directory: a lock decides who trains what."""

import contextlib
import ctypes
import multiprocessing
import os
import platform
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdstats import store
from kdstats.errors import UserError
from kdstats.plan import Plan, Replicate, stream, teaching

TOGETHER = 16  # replicates that a worker trains side by side


@dataclass(frozen=True)
class Job:
    """What a worker is told: the plan, where replicates go, where the data come from, the device.

    Attributes
    ----------
    keep_every : seconds after which networks in training are kept, so that a run that is killed goes on from there
    engine : "eager" or "graphs" (``kdstats.training.graphs``)
    side_by_side : replicates that a worker trains at a time, at most
    fast : kernels that are quicker than deterministic ones, where the device has such
    """

    plan: Plan
    root: Path
    load: Callable[[], Any]
    fingerprint: str
    device: str
    workers: int = 1
    keep_every: float = 60.0
    engine: str = "eager"
    side_by_side: int = TOGETHER
    fast: bool = False


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


def choose_engine(job: Job, asked: str, record: Path) -> tuple[Job, str]:
    """The job with its engine, and why: what the run began with on this device, else what is quickest now.

    It is measured in a process of its own, so that a card on which nothing can be captured is left in order.

    Parameters
    ----------
    asked : "auto" or "eager"
    record : file of the choice and of what was measured
    """
    import torch

    made_on = device_name(torch.device(job.device), job.fast)
    choice: dict[str, Any] = store.read_json(record) if record.exists() else {}
    if not isinstance(choice, dict) or (choice.get("device"), choice.get("asked")) != (made_on, asked):
        if asked == "eager":
            found = {"engine": "eager", "side_by_side": TOGETHER, "why": "asked for"}
        elif torch.device(job.device).type == "cuda":
            found = _measured(job)
        else:
            found = {"engine": "eager", "side_by_side": TOGETHER, "why": "graphs can be captured on CUDA only"}
        choice = {"device": made_on, "asked": asked} | found
        with store.disk_errors(record.parent):
            store.write_json(record, choice)
    return replace(job, engine=choice["engine"], side_by_side=choice["side_by_side"]), choice["why"]


def _measured(job: Job) -> dict[str, Any]:
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_measure, args=(job, sender), daemon=True)
    process.start()
    sender.close()
    try:
        kind, found = receiver.recv()
    except EOFError:
        process.join()
        why = f"the measurement of captured steps ended early (exit code {process.exitcode})"
        return {"engine": "eager", "side_by_side": TOGETHER, "why": why}
    finally:
        process.terminate()
        process.join()
    if kind == "user error":
        raise UserError(found)
    return dict(found)


def _measure(job: Job, pipe: Connection) -> None:
    """In its own process: which way of stepping is quickest for the students of this protocol."""
    from kdstats.training.data import batches, epoch_order
    from kdstats.training.engine import Student, begin, set_up
    from kdstats.training.graphs import choose

    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    protocol, room = job.plan.protocol, _Room(job)
    set_up(room.device, job.fast)

    def make(n: int) -> list[Student]:
        probes = [Replicate(f"probe {i}", "teacher", protocol.student.model, None, i) for i in range(n)]
        return [
            begin(probe, protocol.recipe, protocol.seed, room.images, room.teacher, partial(stream, probe.id))
            for probe in probes
        ]

    try:
        order = epoch_order(stream("probe"), 0, len(room.images.y_train), protocol.recipe.batch_size)
        batch = next(batches(room.images, order, protocol.recipe, partial(stream, "probe"), 0))
        pipe.send(("found", choose(make, protocol.recipe, batch, TOGETHER)))
    except UserError as error:
        pipe.send(("user error", str(error)))
    except Exception as error:  # whatever a card may say: plain steps remain
        why = f"captured steps could not be measured: {' '.join(str(error).split())[:200]}"
        pipe.send(("found", {"engine": "eager", "side_by_side": TOGETHER, "why": why}))


def train_missing(job: Job, show: Callable[[Progress], None], progress: Progress) -> None:
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
        for _ in range(job.workers):
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
    _keep_freed_memory()
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


def _keep_freed_memory() -> None:
    """Have glibc keep what is freed: else each step maps its large tensors anew, a tenth of its time on a CPU."""
    with contextlib.suppress(OSError, AttributeError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(-3, 2**25)  # M_MMAP_THRESHOLD, as large as may be
        mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD


def _walk(job: Job, pipe: Connection) -> None:
    from kdstats.training.engine import set_up

    room = _Room(job)
    set_up(room.device, job.fast)
    left = list(job.plan.replicates)
    while left:
        waiting = []
        for replicate in left:
            if store.complete(job.root, replicate.id):
                pipe.send(("done", replicate.id))
            else:
                waiting.append(replicate)
        left = waiting
        with contextlib.ExitStack() as locks:
            group = _claim(left, room, locks)
            if group:
                _train(group, room, pipe)
            elif left:
                time.sleep(0.05)  # others are training what is needed


def _claim(left: Sequence[Replicate], room: "_Room", locks: contextlib.ExitStack) -> list[Replicate]:
    """Lock replicates that can be trained now and share a teacher and a seed, and so all but their targets.

    Half of what would be this worker's part if all that is left were shared evenly, so that none waits for long in the
    end; never more than fit into memory.
    """
    most = min(room.most, max(1, len(left) // (2 * room.job.workers)))
    group: list[Replicate] = []
    for replicate in left:
        if len(group) == most or (group and _kin(replicate) != _kin(group[0])):
            break
        root = room.job.root
        ready = not store.complete(root, replicate.id) and all(store.complete(root, id) for id in replicate.needs)
        ours = ready and locks.enter_context(store.locked(root, replicate.id))
        if ours and not store.complete(root, replicate.id):  # not finished by another meanwhile
            group.append(replicate)
    return group


def _kin(replicate: Replicate) -> tuple[str, int, int | None]:
    return replicate.role, replicate.teacher, replicate.seed


class _Room:
    """What a worker keeps between replicates: the images, the teachers that it used last, how many fit into memory."""

    def __init__(self, job: Job) -> None:
        import torch

        self.job = job
        self.device = torch.device(job.device)
        self.teachers: dict[str, Any] = {}
        self.most = job.side_by_side
        self.seats: Any = None

    @cached_property
    def images(self) -> Any:
        from kdstats.training.data import to_device

        dataset = self.job.load()
        if dataset.fingerprint != self.job.fingerprint:
            raise UserError(
                f"dataset {dataset.name}: its files changed since the run began; start again with them at rest"
            )
        return to_device(dataset, self.device)

    @cached_property
    def models(self) -> dict[str, str]:
        """Architectures, by replicate ID."""
        return {replicate.id: replicate.model for replicate in self.job.plan.replicates}

    @cached_property
    def teaching(self) -> frozenset[str]:
        """IDs of the networks whose weights are kept: teachers, and students that teach."""
        return teaching(self.job.plan)

    @property
    def stepping(self) -> Any:
        from kdstats.training.engine import eagerly
        from kdstats.training.graphs import Seats

        if self.job.engine == "eager":
            return eagerly
        self.seats = self.seats or Seats(self.device, self.job.side_by_side)
        return self.seats.seat

    def less(self, most: int) -> None:
        """After an out-of-memory error: fewer at a time, and nothing is held."""
        import torch

        self.most, self.seats = most, None
        self.teachers.clear()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def teacher(self, id: str) -> Any:
        """A trained network that teaches, on the device. Students come by teacher and need two, so four are kept."""
        import torch

        from kdstats.training.architectures import build_model
        from kdstats.training.graphs import captured_forward
        from kdstats.training.targets import Teacher

        if id not in self.teachers:
            while len(self.teachers) >= 4:
                del self.teachers[next(iter(self.teachers))]
            name = self.models[id]
            model = build_model(name, self.images.shape, self.images.classes, stream("overwritten"))
            weights = store.read_weights(self.job.root, id)
            model.load_state_dict({key: torch.from_numpy(value) for key, value in weights.items()})
            model = model.to(self.device).requires_grad_(False)
            captured = self.job.engine == "graphs"
            forward = captured_forward(model, self.job.plan.protocol.recipe) if captured else None
            self.teachers[id] = Teacher(name, model, self.images, forward)
        return self.teachers[id]


def _train(group: Sequence[Replicate], room: _Room, pipe: Connection) -> None:
    """Train replicates, whose locks we hold, and write what came of them, failure included."""
    import torch

    root = room.job.root
    sick = [r for r in group if any(store.read_replicate(root, id).logits is None for id in r.needs)]
    for replicate in sick:
        why = {"status": "failed", "reason": "its teacher failed", "step": 0, "losses": [], "seconds": 0.0}
        _write(replicate, room, why)
    well = [replicate for replicate in group if replicate not in sick]
    try:
        _train_together(well, room, pipe) if well else None
    except (torch.OutOfMemoryError, MemoryError) as error:
        if len(well) == 1:
            raise UserError(
                f"{well[0]}: there is too little memory on {device_name(room.device)} to train it"
                f" ({' '.join(str(error).split())[:200]}). Choose a smaller batch_size or model"
            ) from None
        room.less(len(well) // 2)  # what was kept of them is gone on with
    except RuntimeError as error:
        if "deterministic" not in str(error):
            raise
        said = str(error).partition(".")[0]
        raise UserError(f"{well[0].model}: {said}. Add --fast, which does without, or choose another model") from None


def _train_together(group: Sequence[Replicate], room: _Room, pipe: Connection) -> None:
    from kdstats.training.engine import Student, state_of, train_replicates

    job, made_on = room.job, f"{device_name(room.device, room.job.fast)} {_torch_version()}"
    start = kept = time.perf_counter()

    def after_epoch(students: Sequence[Student]) -> None:
        nonlocal kept
        for student in students:
            pipe.send(("epoch", student.id, len(student.losses)))
        if time.perf_counter() - kept >= job.keep_every:
            with store.disk_errors(job.root):
                for student in students:
                    store.write_state(job.root, student.id, made_on, state_of(student))
            kept = time.perf_counter()

    protocol = job.plan.protocol
    states = {r.id: state for r in group if (state := store.read_state(job.root, r.id, made_on)) is not None}
    trained = train_replicates(
        group, protocol.recipe, protocol.seed, room.images, room.teacher, after_epoch, states, room.stepping,
        protocol.features.layer if protocol.features else None,
    )  # fmt: skip
    seconds = (time.perf_counter() - start) / len(group)
    for replicate, one in zip(group, trained, strict=True):
        meta = {"status": "trained", "losses": list(one.losses), "seconds": round(seconds, 3)}
        weights = None
        if one.failed_at is not None:
            meta |= {"status": "failed", "reason": "the loss was not a finite number", "step": one.failed_at}
        elif replicate.id in room.teaching:
            weights = {key: value.cpu().contiguous().numpy() for key, value in one.model.state_dict().items()}
        _write(replicate, room, meta, one.logits, weights, one.features)


def _write(
    replicate: Replicate,
    room: _Room,
    meta: dict[str, Any],
    logits: NDArray[np.float32] | None = None,
    weights: dict[str, NDArray[Any]] | None = None,
    features: NDArray[Any] | None = None,
) -> None:
    root, labels = room.job.root, room.images.y_test.cpu().numpy()
    with store.disk_errors(root):
        store.write_replicate(root, replicate.id, _describe(replicate, room) | meta, labels, logits, weights, features)
        store.remove_state(root, replicate.id)


def _torch_version() -> str:
    import torch

    return torch.__version__.split("+")[0]


def _describe(replicate: Replicate, room: _Room) -> dict[str, Any]:
    """What meta.json says of a replicate: what it is, and on what it was made."""
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
        "device": device_name(room.device, room.job.fast),
        "versions": {"torch": _torch_version(), "python": platform.python_version()},
    }


def device_name(device: Any, fast: bool = False) -> str:
    """cpu with its instruction set, or the card's name; with what makes its numbers others."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device) + (", fast kernels" if fast else "")
    return f"cpu {torch.backends.cpu.get_cpu_capability()}" if device.type == "cpu" else str(device.type)
