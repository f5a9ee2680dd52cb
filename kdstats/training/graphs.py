"""Steps captured once as CUDA graphs, and launched side by side on streams for every seed, arm and weight.

A step of a small network is hundreds of launches that the host cannot make as fast as the card runs them. Captured, it
is one. What differs between replicates of an architecture (initial weights, targets, alpha, temperature, learning rate)
lies in tensors that the graph reads, so nothing is captured twice.
"""

import copy
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from kdstats.protocol import Recipe
from kdstats.training.data import Batch
from kdstats.training.engine import Advance, Student, autocast, eagerly, make_optimiser, update
from kdstats.training.objectives import cs_kd
from kdstats.training.targets import PreviousEpoch

WARM_UP = 3  # steps before a capture: cuDNN chooses, optimisers make their state
TOLERANCE = {"float32": 1e-3, "bfloat16": 3e-2}  # relative, of losses that a captured and a plain step give


class Shared:
    """What all captured steps read: a batch, and the learning rate."""

    def __init__(self, batch: Batch) -> None:
        self.views, self.labels = batch.views.clone(), batch.labels.clone()
        self.rate = torch.zeros((), device=batch.views.device)

    def take(self, batch: Batch, rate: float) -> None:
        self.views.copy_(batch.views)
        self.labels.copy_(batch.labels)
        self.rate.fill_(rate)


class Seat:
    """A network with its optimiser, whose step is captured; one student after the other trains in it.

    Attributes
    ----------
    goal : (b, C), what its student is taught
    weights : the objective's numbers (alpha, temperature), one tensor each
    loss : of the last step
    """

    def __init__(self, student: Student, recipe: Recipe, shared: Shared, stream: torch.cuda.Stream | None) -> None:
        self.recipe, self.shared, self.stream = recipe, shared, stream
        device = shared.views.device
        self.model = copy.deepcopy(student.model).train()
        self.parameters = list(self.model.parameters())
        self.optimiser = make_optimiser(recipe, self.parameters, shared.rate)
        self.held = numbers(student, 0)
        self.weights = {key: torch.tensor(value, device=device) for key, value in self.held.items()}
        self.objective, self.constants = student.objective, constants(student)
        with torch.no_grad(), autocast(recipe, device):
            logits = self.model(shared.views)
        self.goal = torch.zeros_like(logits, dtype=torch.float32) if student.goal else None
        self.loss = torch.zeros((), device=device)
        self.graph = None if stream is None else self._capture(stream)

    def _step(self) -> None:
        self.optimiser.zero_grad(set_to_none=True)
        with autocast(self.recipe, self.shared.views.device):
            logits = self.model(self.shared.views)
        loss = self.objective(logits.float(), self.goal, self.shared.labels, **self.weights, **self.constants)
        update(self.parameters, self.optimiser, loss, self.recipe)
        self.loss = loss.detach()

    def _capture(self, stream: torch.cuda.Stream) -> torch.cuda.CUDAGraph:
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                self._step()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream):  # its own stream: streams that run together share no workspace
            self._step()
        return graph

    def give(self, student: Student) -> None:
        """Seat a student: its weights are copied in, the optimiser starts anew."""
        with torch.no_grad():
            own = self.model.state_dict()
            for key, value in student.model.state_dict().items():
                own[key].copy_(value)
            for state in self.optimiser.state.values():
                for tensor in state.values():
                    tensor.zero_()
        student.model, student.optimiser = self.model, self.optimiser

    def step(self, goal: Tensor | None, weights: dict[str, float]) -> Tensor:
        """One step on the shared batch, on the seat's stream; its loss."""
        if self.stream is not None:
            self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):  # None: nowhere else
            if goal is not None and self.goal is not None:
                self.goal.copy_(goal)
            if weights != self.held:
                self.held = weights
                for key, value in weights.items():
                    self.weights[key].fill_(value)
            self._step() if self.graph is None else self.graph.replay()
            return self.loss.clone()


def numbers(student: Student, epoch: int) -> dict[str, float]:
    """The loss's parameters that are numbers: not part of what is captured."""
    return {key: float(v) for key, v in student.weights(epoch).items() if isinstance(v, int | float)}


def constants(student: Student) -> dict[str, Any]:
    """Those that are words, and are captured."""
    return {key: v for key, v in student.weights(0).items() if not isinstance(v, int | float)}


def captured(student: Student) -> bool:
    """Whether its steps can be captured: not those that draw, average, or ask the network itself or its maps."""
    asks_itself = isinstance(student.goal, PreviousEpoch) or student.objective is cs_kd or student.hint is not None
    return student.averaged is None and student.draws is None and not asks_itself


class Seats:
    """All seats of a worker; ``seat`` takes the place of ``eagerly``.

    Parameters
    ----------
    most : students at a time, each on a stream of its own
    """

    def __init__(self, device: torch.device, most: int) -> None:
        self.streams = [torch.cuda.Stream(device) if device.type == "cuda" else None for _ in range(most)]
        self.shared: Shared | None = None
        self.seats: dict[tuple[Any, ...], Seat] = {}

    def seat(self, students: Sequence[Student], recipe: Recipe, batch: Batch) -> Advance:
        """Seat students before their first step; a seat that is not there yet is captured.

        Those whose steps cannot be captured stand, and step plainly.
        """
        shared = self.shared = self.shared or Shared(batch)
        plainly = eagerly(students, recipe, batch)
        taken: dict[str, Seat] = {}
        for i, student in enumerate(students):
            if not captured(student):
                continue
            key = (i, student.name, student.objective, tuple(constants(student).items()), student.goal is None)
            if key not in self.seats:
                self.seats[key] = Seat(student, recipe, shared, self.streams[i])
            self.seats[key].give(student)
            taken[student.id] = self.seats[key]

        def advance(students: Sequence[Student], epoch: int, step: int, rate: float, batch: Batch) -> list[Tensor]:
            shared.take(batch, rate)
            seated = [student for student in students if student.id in taken]
            with autocast(recipe, batch.views.device):
                goals = [s.goal(epoch, batch.index, batch.views) if s.goal else None for s in seated]
            losses = {
                student.id: taken[student.id].step(goal, numbers(student, epoch))
                for student, goal in zip(seated, goals, strict=True)
            }
            for student in seated:
                if stream := taken[student.id].stream:
                    torch.cuda.current_stream().wait_stream(stream)
            standing = [student for student in students if student.id not in taken]
            plain = plainly(standing, epoch, step, rate, batch)
            losses |= {student.id: loss for student, loss in zip(standing, plain, strict=True)}
            return [losses[student.id] for student in students]

        return advance


def captured_forward(model: nn.Module, recipe: Recipe) -> Callable[[Tensor], Tensor]:
    """A teacher's forward pass as a graph, captured when first asked; an answer holds until the next."""
    made: list[tuple[Tensor, Tensor, torch.cuda.CUDAGraph]] = []

    @torch.no_grad()
    def forward(views: Tensor) -> Tensor:
        if not made:
            held, graph, stream = views.clone(), torch.cuda.CUDAGraph(), torch.cuda.Stream(views.device)
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream), autocast(recipe, views.device):
                for _ in range(WARM_UP):
                    model(held)
            torch.cuda.synchronize()
            with torch.cuda.graph(graph, stream=stream), autocast(recipe, views.device):
                logits = model(held).float()
            made.append((held, logits, graph))
        held, logits, graph = made[0]
        held.copy_(views)
        graph.replay()
        return logits

    return forward


# Which way is quicker --------------------------------------------------------------------------------------------


def choose(
    make: Callable[[int], list[Student]], recipe: Recipe, batch: Batch, most: int, steps: int = 30
) -> dict[str, Any]:
    """Measure plain and captured steps of 1, 2, 4 … networks at a time, and take what is quickest.

    Captured steps must give the losses that plain ones give. Where they do not, or cannot be made, plain steps are
    taken, and it is said why.

    Parameters
    ----------
    make : that many networks before their first step, the same ones each time
    most : networks at a time, at most; fewer where the card's memory holds fewer

    Returns
    -------
    engine : "eager" or "graphs"
    side_by_side : networks at a time
    why : a sentence
    steps_per_second : what was measured, of all networks together
    """
    device = batch.views.device
    speeds: dict[str, float] = {}

    def run(advance: Advance, students: list[Student], n: int) -> Tensor:
        return torch.stack([advance(students, 0, i, recipe.learning_rate, batch)[0] for i in range(n)]).cpu()

    def speed(advance: Advance, students: list[Student]) -> float:
        run(advance, students, WARM_UP)
        start = time.perf_counter()
        run(advance, students, steps)
        return round(len(students) * steps / (time.perf_counter() - start), 1)

    def chosen(engine: str, side_by_side: int, why: str) -> dict[str, Any]:
        return {"engine": engine, "side_by_side": side_by_side, "why": why, "steps_per_second": speeds}

    plain = make(1)
    if not captured(plain[0]):
        return chosen("eager", most, "moving averages and dropout are not captured")
    expected = run(eagerly(plain, recipe, batch), plain, 5)
    speeds["eager"] = speed(eagerly(plain, recipe, batch), plain)
    before = _held(device)
    try:
        seats, students = Seats(device, most), make(1)
        found = run(seats.seat(students, recipe, batch), students, len(expected))
        apart = float(((found - expected).abs() / expected.abs()).max())
        if not apart <= TOLERANCE[recipe.precision]:
            return chosen("eager", most, f"captured steps gave losses {apart:.2g} apart from plain ones, relatively")
        most = min(most, 1 + int(0.8 * _free(device) / max(1, _held(device) - before)))
        for n in (1, 2, 4, 8, 16):
            if n <= most:
                students = make(n)
                speeds[f"graphs × {n}"] = speed(seats.seat(students, recipe, batch), students)
    except torch.OutOfMemoryError:  # of what was tried before, the best is taken
        pass
    except RuntimeError as error:
        return chosen("eager", most, f"steps could not be captured: {' '.join(str(error).split())[:200]}")
    best = max(speeds, key=lambda name: speeds[name])
    if best == "eager":
        return chosen("eager", most, "plain steps were quickest")
    return chosen("graphs", int(best.rpartition(" ")[2]), "captured steps were quickest")


def _held(device: torch.device) -> int:
    """Bytes that this process has taken of the card's memory."""
    return torch.cuda.memory_reserved(device) if device.type == "cuda" else 0


def _free(device: torch.device) -> int:
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0
