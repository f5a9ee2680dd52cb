"""Seats: a student in one learns what it learns alone, whoever sat there before. On the CPU nothing is captured."""

import re
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from kdstats.datasets import load_dataset
from kdstats.plan import Replicate, stream
from kdstats.protocol import Point, Recipe
from kdstats.training import graphs
from kdstats.training.data import batches, epoch_order, to_device
from kdstats.training.engine import begin, set_up, state_of, train_replicates
from kdstats.training.graphs import Seat, Seats, captured_forward, choose
from kdstats.training.targets import Teacher

CPU = torch.device("cpu")
RECIPE = Recipe(optimiser="sgd", learning_rate=0.05, nesterov=True, epochs=2, batch_size=25, augmentation="crop")
CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def setting(device):
    set_up(device)
    images = to_device(load_dataset("digits", train=100, test=50), device)
    trained = {}
    for seed in range(2):
        replicate = Replicate(f"t{seed}", "teacher", "cnn", None, seed)
        (done,) = train_replicates([replicate], RECIPE, 0, images, {}.__getitem__)
        trained[f"t{seed}"] = Teacher("cnn", done.model, images)
    return images, trained


@pytest.fixture(scope="module")
def on_cpu():
    return setting(CPU)


def point(kind, **parameters):
    if kind in ("kd", "kd-other", "rcd"):
        parameters |= {"temperature": 4.0}
    if kind == "rcd":
        parameters |= {"noise": "gaussian", "space": "logits", "redraw": False, "scale": "teacher"}
    return Point(kind, kind, tuple(sorted(parameters.items())), "teacher")


def group(seed):
    points = [point("siddo"), *(point(kind, alpha=a) for kind in ("kd", "kd-other", "rcd") for a in (0.1, 0.9))]
    return [
        Replicate(f"s{i}", "student", "cnn", one, 0, seed, "t0", "t1" if one.kind == "kd-other" else None)
        for i, one in enumerate(points)
    ]


def logits(trained):
    return np.stack([one.logits for one in trained])


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"optimiser": "adamw", "learning_rate": 0.01, "precision": "bfloat16"},
        {"optimiser": "adamax", "learning_rate": 0.01, "clip_norm": 0.5},
        {"label_smoothing": 0.1, "mixup": 0.5, "schedule": "cosine"},
    ],
)
def test_a_seat_changes_nothing_whoever_sat_there_before(on_cpu, changes):
    images, teachers = on_cpu
    recipe = RECIPE.model_copy(update=changes)
    seats = Seats(CPU, 7)
    for seed in (0, 1):  # the second time in seats that are warm
        alone = train_replicates(group(seed), recipe, 0, images, teachers.__getitem__)
        seated = train_replicates(group(seed), recipe, 0, images, teachers.__getitem__, stepping=seats.seat)
        exact = recipe.precision == "float32"
        assert np.allclose(logits(seated), logits(alone), atol=1e-4 if exact else 2e-3)
        assert np.allclose([one.losses for one in seated], [one.losses for one in alone], rtol=1e-5 if exact else 2e-4)
    assert len(seats.seats) == 7  # one for CE, six for the KD loss: no other for another alpha, target or seed


def test_a_seated_student_goes_on_from_where_it_was_kept(on_cpu):
    images, teachers = on_cpu
    recipe = RECIPE.model_copy(update={"optimiser": "adamw", "learning_rate": 0.01, "epochs": 3})
    kept = {}

    def keep(students):
        kept.update({s.id: state_of(s) for s in students if len(s.losses) == 1})

    seats = Seats(CPU, 7)
    whole = train_replicates(group(0), recipe, 0, images, teachers.__getitem__, keep, stepping=seats.seat)
    train_replicates(group(1), recipe, 0, images, teachers.__getitem__, stepping=seats.seat)
    rest = train_replicates(group(0), recipe, 0, images, teachers.__getitem__, states=kept, stepping=seats.seat)
    assert np.array_equal(logits(rest), logits(whole))


def test_one_that_fails_leaves_its_neighbours_and_its_seat_alone(on_cpu):
    images, teachers = on_cpu
    hot = [replace(one, point=point("kd", alpha=1e38)) if i == 2 else one for i, one in enumerate(group(0))]
    seats = Seats(CPU, 7)
    done = train_replicates(hot, RECIPE, 0, images, teachers.__getitem__, stepping=seats.seat)
    assert done[2].failed_at is not None and done[2].logits is None
    again = train_replicates(group(0), RECIPE, 0, images, teachers.__getitem__, stepping=seats.seat)
    alone = train_replicates(group(0), RECIPE, 0, images, teachers.__getitem__)
    assert np.allclose(logits(again), logits(alone), atol=1e-4)


# The choice ------------------------------------------------------------------------------------------------------


def chosen(images, recipe=RECIPE, name="cnn", **options):
    def make(n):
        probes = [Replicate(f"p{i}", "teacher", name, None, i) for i in range(n)]
        return [begin(p, recipe, 0, images, {}.__getitem__, partial(stream, p.id)) for p in probes]

    order = epoch_order(stream("probe"), 0, 100, recipe.batch_size)
    return choose(make, recipe, next(batches(images, order, recipe, partial(stream, "p"), 0)), 4, steps=2, **options)


def test_the_quickest_is_chosen(on_cpu, monkeypatch):
    clock = iter([0.0, 2.0, *[0.0, 1.0] * 2, 0.0, 2.1])  # seconds for eager; for 1, 2 and 4 captured at a time
    monkeypatch.setattr(graphs.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(graphs, "_free", lambda device: 10**12)
    found = chosen(on_cpu[0])
    assert (found["engine"], found["side_by_side"]) == ("graphs", 2)
    assert found["steps_per_second"] == {"eager": 1.0, "graphs × 1": 2.0, "graphs × 2": 4.0, "graphs × 4": 3.8}


def test_no_more_at_a_time_than_fit_into_memory(on_cpu, monkeypatch):
    held = iter([0, 100])  # one network takes 100
    monkeypatch.setattr(graphs, "_held", lambda device: next(held))
    monkeypatch.setattr(graphs, "_free", lambda device: 150)
    assert list(chosen(on_cpu[0])["steps_per_second"]) == ["eager", "graphs × 1", "graphs × 2"]


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        (RuntimeError("operation not permitted when stream is capturing"), "could not be captured: operation not"),
        (torch.OutOfMemoryError("CUDA out of memory"), "plain steps were quickest"),
        (0.1, r"gave losses 0\.1 apart from plain ones"),
    ],
)
def test_what_cannot_be_captured_is_trained_plainly_and_it_is_said_why(on_cpu, monkeypatch, fault, why):
    original = Seat.step

    def step(seat, goal, weights):
        if isinstance(fault, Exception):
            raise fault
        return original(seat, goal, weights) * (1 + fault)

    monkeypatch.setattr(Seat, "step", step)
    found = chosen(on_cpu[0])
    assert found["engine"] == "eager" and found["side_by_side"] == 4
    assert re.search(why, found["why"])


def test_moving_averages_and_dropout_are_not_captured(on_cpu):
    assert "not captured" in chosen(on_cpu[0], RECIPE.model_copy(update={"ema": 0.9}))["why"]


# On a card -------------------------------------------------------------------------------------------------------


@pytest.mark.gpu
@CUDA
@pytest.mark.parametrize("changes", [{}, {"optimiser": "adamw", "learning_rate": 0.01, "precision": "bfloat16"}])
def test_captured_steps_give_what_plain_ones_give(changes):
    card = torch.device("cuda")
    images, teachers = setting(card)
    recipe = RECIPE.model_copy(update=changes)
    captured = {key: Teacher("cnn", t.model, images, captured_forward(t.model, recipe)) for key, t in teachers.items()}
    seats = Seats(card, 7)
    for seed in (0, 1):
        alone = train_replicates(group(seed), recipe, 0, images, teachers.__getitem__)
        seated = train_replicates(group(seed), recipe, 0, images, captured.__getitem__, stepping=seats.seat)
        assert np.allclose(logits(seated), logits(alone), atol=0.05)


@pytest.mark.gpu
@CUDA
def test_a_choice_is_measured():
    images, _ = setting(torch.device("cuda"))
    found = chosen(images)
    assert found["engine"] == "graphs" and len(found["steps_per_second"]) >= 2
