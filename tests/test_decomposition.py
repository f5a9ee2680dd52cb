"""The ladder: additions that sum to the whole, shares, and sentences, on planted scores."""

import re

import numpy as np
import pandas as pd
import pytest

from kdstats.catalog import ARMS
from kdstats.decomposition import decompose
from kdstats.errors import UserError
from kdstats.protocol import Point, Protocol, ladders, parameters_text, protocol_hash, read_protocol
from kdstats.verdicts import Evidence

KINDS = ("siddo", "label-smoothing", "class-mean", "dkpp", "kd-other", "kd")
TEACHERS, SEEDS = range(6), range(2)


def point(kind):
    parameters = (
        () if kind == "siddo" else tuple(sorted(ARMS[kind].parameters(alpha=0.9, temperature=4.0).model_dump().items()))
    )
    return Point(kind, kind, parameters, "teacher")


def evidence(added, *, spread=0.001, metric="accuracy", lost=(), seed=0):
    """Scores in which each rung adds so much to the one below, with a little noise of network and teacher."""
    rng = np.random.default_rng(seed)
    rows = []
    level = 0.8 + rng.normal(0, 0.01, (len(TEACHERS), len(SEEDS)))
    for kind, more in zip(KINDS, (0.0, *added), strict=True):
        level = level + more + rng.normal(0, spread, level.shape)
        for t in TEACHERS:
            for s in SEEDS:
                value = np.nan if (kind, t, s) in lost else level[t, s]
                params = parameters_text(point(kind).parameters)
                rows.append({"arm": kind, "arm_params": params, "teacher": t, "seed": s, "metric": metric,
                             "value": value, "n": 100, "note": ""})  # fmt: skip
    pairs = tuple((t, s) for t in TEACHERS for s in SEEDS)
    return Evidence(pd.DataFrame(rows), pairs, {t: t - t % 2 for t in TEACHERS})


def ladder_of(found, metric="accuracy"):
    rows = decompose(found, [("", [point(kind) for kind in KINDS])], [metric], 0.05)
    return {part: rows[rows["part"] == part].set_index("rung") for part in ("step", "reached", "whole")}


def test_additions_are_what_was_planted_and_sum_to_the_whole():
    planted = (0.01, 0.0, -0.02, 0.03, 0.01)
    parts = ladder_of(evidence(planted))
    assert np.allclose(parts["step"]["estimate"], planted, atol=0.002)
    whole = parts["whole"]["estimate"].item()
    assert parts["step"]["estimate"].sum() == pytest.approx(whole, abs=1e-12)
    assert np.allclose(parts["step"]["estimate"].cumsum()[:-1], parts["reached"]["estimate"], atol=1e-12)
    assert list(parts["step"]["n_units"]) == [6, 6, 6, 3, 3]  # pairs of teachers where one side is taught by the other
    assert parts["whole"]["n_units"].item() == 6
    shares = parts["step"]["share"]
    assert shares.sum() == pytest.approx(1) and shares[3] == pytest.approx(-0.02 / 0.03, abs=0.1)
    assert (parts["step"]["share_low"] <= shares).all() and (shares <= parts["step"]["share_high"]).all()


def test_a_pair_without_every_rung_is_left_out_of_all_of_them():
    parts = ladder_of(evidence((0.01, 0.0, -0.02, 0.03, 0.01), lost={("dkpp", 2, 1)}))
    assert set(parts["step"]["n_pairs"]) == set(parts["whole"]["n_pairs"]) == {11}
    assert all("1 of 12 pairs are left out" in note for note in parts["whole"]["note"])
    # the teacher's mean is of its other student, so that additions still sum to the whole
    assert parts["step"]["estimate"].sum() == pytest.approx(parts["whole"]["estimate"].item(), abs=1e-12)


def test_a_teacher_without_a_rung_takes_its_partner_along():
    parts = ladder_of(evidence((0.01, 0.0, -0.02, 0.03, 0.01), lost={("dkpp", 2, 0), ("dkpp", 2, 1)}, spread=0.01))
    assert set(parts["step"]["n_pairs"]) == {8} and all("4 of 12 pairs" in note for note in parts["whole"]["note"])
    assert parts["step"]["estimate"].sum() == pytest.approx(parts["whole"]["estimate"].item(), abs=1e-12)


def test_shares_are_bounded_or_left_out():
    for seed in range(40):
        parts = ladder_of(evidence((0.004, 0.0, 0.0, 0.0, 0.002), spread=0.002, seed=seed))
        assert np.isfinite(parts["step"][["share_low", "share_high"]].dropna()).all(axis=None)
        if parts["step"]["share"].isna().any() and parts["whole"]["ci_low"].item() > 0:
            assert parts["step"]["note"].str.contains("no share").any()


def test_sentences_say_from_which_rung_on_it_is_there():
    def said(added, spread=0.001):
        return ladder_of(evidence(added, spread=spread, seed=3))["whole"]["sentence"].item()

    early = said((0.02, 0.0, 0.0, 0.0, 0.01))
    assert re.search(r"Accuracy of kd minus siddo: 0\.0(29|3)", early)
    assert "With label-smoothing (distilled from smoothed labels) it is 0.0" in early
    assert re.search(r"\], already; the rungs above add 0\.0", early)
    lost_again = said((0.003, 0.0, -0.02, 0.0, 0.05))  # what the first rung adds does not stay
    assert "No rung below kd shows a part of it that stays" in lost_again
    later = said((0.01, 0.0, -0.02, 0.03, 0.02))
    assert "With kd-other (distilled from another teacher, scored against its own) it is 0.0" in later
    assert "No rung below kd shows a part of it" in said((0.0, 0.0, 0.0, 0.0, 0.05))
    assert "nothing to take apart" in said((0.0, 0.0, 0.0, 0.0, 0.0), spread=0.02)
    opposite = said((-0.05, 0.0, 0.0, 0.0, 0.08))
    assert "No rung below kd" in opposite  # what goes the other way is no part of it


def test_no_shares_where_the_whole_may_be_nothing():
    parts = ladder_of(evidence((0.02, 0.0, -0.02, 0.0, 0.0), spread=0.003))
    assert parts["whole"]["ci_low"].item() < 0 < parts["whole"]["ci_high"].item()
    assert parts["step"]["share"].isna().all()


# Declared --------------------------------------------------------------------------------------------------------

BASE = """
name: p
dataset: digits
teacher: {model: cnn, seeds: 6}
arms:
  siddo:
  ce:
  kd: {alpha: [0.5, 0.9]}
  kd-other: {alpha: [0.5, 0.9]}
  dkpp: {alpha: 0.9}
  rcd: {alpha: [0.5, 0.9], noise: [gaussian, uniform]}
  dist:
hypotheses:
  - {metric: agreement, arm: kd, control: siddo, direction: greater}
"""


def declared(tmp_path, line):
    file = tmp_path / "p.yaml"
    file.write_text(f"{BASE}{line}\n")
    return read_protocol(file)


def test_a_ladder_stands_at_every_point_of_its_top(tmp_path):
    found = ladders(declared(tmp_path, "ladder: [siddo, kd-other, kd]"))
    assert [(setting, [str(p) for p in points]) for setting, points in found] == [
        (f"alpha={a}", ["siddo", f"kd-other[alpha={a} temperature=4]", f"kd[alpha={a} temperature=4]"])
        for a in ("0.5", "0.9")
    ]


def test_a_protocol_without_a_ladder_has_the_hash_that_it_had(tmp_path):
    plain, with_one = (declared(tmp_path, line) for line in ("", "ladder: [siddo, kd]"))
    assert protocol_hash(plain) != protocol_hash(with_one) and isinstance(plain, Protocol)
    assert ladders(plain) == []


@pytest.mark.parametrize(
    ("ladder", "said"),
    [
        ("[siddo]", "a ladder of one rung"),
        ("[siddo, kdd]", "'kdd' is no arm here"),
        ("[siddo, kd, siddo]", "is here twice"),
        ("[kd, kd-other]", "kd is no plain control"),
        ("[siddo, dist, kd]", "dist has another loss than kd"),
        ("[ce, kd]", "starts from other initial weights than ce"),
        ("[siddo, dkpp, kd]", "dkpp has no point at alpha=0.5"),
        ("[siddo, rcd, kd]", "or has several"),
        ("[]", "an empty list"),
    ],
)
def test_ladders_that_do_not_stand(tmp_path, ladder, said):
    with pytest.raises(UserError, match=r"p.yaml:\d+: ladder") as refused:
        declared(tmp_path, f"ladder: {ladder}")
    assert said in str(refused.value)
