"""Workers: what they check before they train."""

import pytest

from kdstats.datasets import load_dataset
from kdstats.errors import UserError
from kdstats.training.workers import Job, Progress, _Room


def test_data_that_changed_since_the_plan_are_refused(tmp_path):
    room = _Room(Job(None, tmp_path, lambda: load_dataset("digits"), "another fingerprint", "cpu"))
    with pytest.raises(UserError, match="dataset digits: its files changed since the run began"):
        _ = room.images


def test_progress_counts_epochs_of_what_is_in_training():
    assert Progress(10, 4, {"a", "b"}, {"c": 1, "d": 2}).completed == 2.75
