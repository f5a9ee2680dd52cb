"""What the pipeline decides: which controls an arm has, and what may be compared."""

from types import SimpleNamespace

import pytest

from kdstats.errors import UserError
from kdstats.pipeline import _devices, controls_of
from kdstats.protocol import Point

ALPHA, OTHER = (("alpha", 0.1), ("temperature", 4.0)), (("alpha", 0.9), ("temperature", 4.0))
NOISE = (*ALPHA[:1], ("noise", "gaussian"), *ALPHA[1:])


def test_controls_stand_at_the_same_point_lower_on_the_ladder_with_equal_initialisation():
    points = [
        Point("siddo", "siddo", (), "teacher"), Point("ce", "ce", (), "fresh"), Point("kd", "kd", ALPHA, "teacher"),
        Point("kd", "kd", OTHER, "teacher"), Point("kd-other", "kd-other", ALPHA, "teacher"),
        Point("rcd", "rcd", NOISE, "teacher"),
    ]  # fmt: skip
    found = {(str(arm), control.arm) for arm, control in controls_of(points)}
    assert found == {
        ("kd[alpha=0.1 temperature=4]", "siddo"), ("kd[alpha=0.1 temperature=4]", "rcd"),
        ("kd[alpha=0.1 temperature=4]", "kd-other"), ("kd[alpha=0.9 temperature=4]", "siddo"),
        ("kd-other[alpha=0.1 temperature=4]", "siddo"), ("kd-other[alpha=0.1 temperature=4]", "rcd"),
        ("rcd[alpha=0.1 noise=gaussian temperature=4]", "siddo"),
    }  # fmt: skip


def networks(*made):
    """Two students of one teacher and seed, made on what is given; the teacher on something else."""
    metas = {
        str(i): SimpleNamespace(meta={"device": device, "versions": {"torch": torch}})
        for i, (device, torch) in enumerate(made)
    }
    keys = {("teacher", "", 0, None): SimpleNamespace(id="0")}
    keys |= {(arm, "", 0, 1): SimpleNamespace(id=str(i)) for i, arm in ((1, "kd"), (2, "ce"))}
    return SimpleNamespace(stored=metas, by_key=keys)


def test_pairs_of_different_devices_or_versions_are_refused_unless_allowed():
    cpu, card, newer = ("cpu AVX2", "2.11"), ("NVIDIA H200", "2.11"), ("cpu AVX2", "2.12")
    assert _devices(networks(card, cpu, cpu), allow_mixed=False) == ["NVIDIA H200, torch 2.11", "cpu AVX2, torch 2.11"]
    for other in (card, newer):
        with pytest.raises(UserError, match="students of teacher 0, seed 1 were made on different devices or versions"):
            _devices(networks(cpu, cpu, other), allow_mixed=False)
        assert len(_devices(networks(cpu, cpu, other), allow_mixed=True)) == 2
