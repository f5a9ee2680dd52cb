"""Workers: what they check before they train."""

from functools import partial

import numpy as np
import pytest
import torch

from kdstats import store
from kdstats.datasets import load_dataset
from kdstats.errors import UserError
from kdstats.plan import make_plan
from kdstats.protocol import read_protocol
from kdstats.training import engine
from kdstats.training.workers import Job, Progress, _Room, _walk


def test_data_that_changed_since_the_plan_are_refused(tmp_path):
    room = _Room(Job(None, tmp_path, lambda: load_dataset("digits"), "another fingerprint", "cpu"))
    with pytest.raises(UserError, match="dataset digits: its files changed since the run began"):
        _ = room.images


def test_progress_counts_epochs_of_what_is_in_training():
    assert Progress(10, 4, {"a", "b"}, {"c": 1, "d": 2}).completed == 2.75


def a_job(tmp_path, **options):
    dataset = load_dataset("digits", train=100, test=50)
    arms = "[siddo, {kd: {alpha: [0.1, 0.5, 0.9]}}, rcd]"
    file = tmp_path / "p.yaml"
    file.write_text(
        "name: p\ndataset: {name: digits, train: 100, test: 50}\nteacher: {model: cnn, seeds: 1}\n"
        "student: {model: cnn, seeds: 1}\nrecipe: {epochs: 3, batch_size: 25}\n"
        f"arms: {arms}\nhypotheses:\n"
        "- {metric: agreement, arm: kd, control: siddo, direction: greater, scope: these}\n"
    )
    plan = make_plan(read_protocol(file), dataset.fingerprint)
    (tmp_path / "replicates").mkdir()
    load = partial(load_dataset, "digits", train=100, test=50)
    return Job(plan, tmp_path / "replicates", load, dataset.fingerprint, "cpu", **options)


class Pipe:
    def __init__(self):
        self.sent = []

    def send(self, message):
        self.sent.append(message)


def trained(job):
    return {r.id: store.read_replicate(job.root, r.id).logits for r in job.plan.replicates}


def test_too_little_memory_halves_how_many_are_trained_at_a_time(tmp_path, monkeypatch):
    sizes = []
    original = engine.train_replicates

    def limited(replicates, *arguments):
        sizes.append(len(replicates))
        if len(replicates) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return original(replicates, *arguments)

    job = a_job(tmp_path)
    monkeypatch.setattr(engine, "train_replicates", limited)
    _walk(job, Pipe())
    assert sizes == [1, 2, 1, 1, 1, 1, 1]  # the teacher; half of what is left is two; then one by one

    def none(replicates, *arguments):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(engine, "train_replicates", none)
    (tmp_path / "again").mkdir()
    with pytest.raises(UserError, match=r"teacher 0: there is too little memory on cpu .*smaller batch_size"):
        _walk(a_job(tmp_path / "again"), Pipe())


def test_a_worker_that_is_killed_in_an_epoch_goes_on_from_the_last_one(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole, cut = a_job(tmp_path / "a"), a_job(tmp_path / "b", keep_every=0.0)
    _walk(whole, Pipe())

    class Killed(BaseException):
        pass

    class Dying(Pipe):
        def send(self, message):
            super().send(message)
            if message[0] == "epoch" and message[2] == 2 and len({m[1] for m in self.sent}) > 2:
                raise Killed

    with pytest.raises(Killed):
        _walk(cut, Dying())
    kept = list((cut.root / store.UNFINISHED).iterdir())
    assert len(kept) == 2 and not any(store.complete(cut.root, file.name) for file in kept)  # at epoch 1
    kept[1].write_bytes(kept[1].read_bytes()[:-1] + b"?")  # damaged: begins anew
    began = []
    original = engine.restore
    monkeypatch.setattr(engine, "restore", lambda student, state: began.append(student.id) or original(student, state))
    _walk(cut, Pipe())
    assert began == [kept[0].name]
    assert not list((cut.root / store.UNFINISHED).iterdir())
    first, second = trained(whole), trained(cut)
    assert all(np.array_equal(first[id], second[id]) for id in first)


def test_a_state_of_another_machine_is_not_gone_on_with(tmp_path):
    store.write_state(tmp_path, "a", "cpu AVX2 2.13", {"losses": np.array([1.0])})
    assert store.read_state(tmp_path, "a", "cpu AVX2 2.13")["losses"].tolist() == [1.0]
    assert store.read_state(tmp_path, "a", "cpu AVX512 2.13") is None
    assert store.read_state(tmp_path, "b", "cpu AVX2 2.13") is None
