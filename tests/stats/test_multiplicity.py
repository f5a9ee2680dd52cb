"""Values from R 4.2.2: p.adjust in tests/stats/reference.R."""

import timeit

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from kdstats.stats import adjust

P = [0.011, 0.2, 0.0004, 0.03, 0.03, 0.9]
families = st.lists(st.floats(0, 1), min_size=1, max_size=12)
methods = st.sampled_from(["holm", "bh", "by"])


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("holm", [0.055, 0.4, 0.0024, 0.12, 0.12, 0.9]),
        ("bh", [0.033, 0.24, 0.0024, 0.045, 0.045, 0.9]),
        ("by", [0.08085, 0.588, 0.00588, 0.11025, 0.11025, 1]),
    ],
)
def test_adjust_agrees_with_r(method, expected):
    assert adjust(P, method) == pytest.approx(expected, rel=1e-12)


def test_adjust_agrees_with_statsmodels():
    rng = np.random.default_rng(0)
    for k in (1, 2, 7, 200):
        for p in (rng.random(k), rng.random(k) ** 4, rng.integers(0, 5, k) / 4):
            for method, theirs in (("holm", "holm"), ("bh", "fdr_bh"), ("by", "fdr_by")):
                assert adjust(p, method) == pytest.approx(multipletests(p, method=theirs)[1], rel=1e-14, abs=0)


def test_adjust_is_quick():
    p = np.random.default_rng(0).random(200)
    for method in ("holm", "bh", "by"):
        assert min(timeit.repeat(lambda m=method: adjust(p, m), number=20, repeat=5)) / 20 < 1e-4


@given(families, methods)
def test_adjusted_p_values_are_larger_and_keep_their_order(p, method):
    adjusted = adjust(p, method)
    assert (adjusted >= np.array(p) * (1 - 1e-12)).all() and (adjusted <= 1).all()
    assert (np.diff(adjusted[np.argsort(p, kind="stable")]) >= 0).all()
    assert adjust(p[::-1], method)[::-1] == pytest.approx(adjusted)


@given(families, st.sampled_from([0.01, 0.05, 0.2]))
def test_holm_rejects_what_its_steps_reject(p, level):
    rejected = 0
    for step, value in enumerate(sorted(p)):
        if value * (len(p) - step) > level:
            break
        rejected += 1
    assert (adjust(p, "holm") <= level).sum() == rejected


def test_one_test_and_none():
    assert adjust([0.03], "holm").tolist() == adjust([0.03], "by").tolist() == [0.03]
    assert adjust([], "bh").shape == (0,)


@pytest.mark.parametrize("bad", [np.nan, -0.1, 1.1])
def test_what_is_no_p_value_is_refused(bad):
    with pytest.raises(ValueError, match=r"p_values\[1\] is .*: a p-value lies in \[0, 1\]"):
        adjust([0.1, bad], "holm")


def test_unknown_method():
    with pytest.raises(ValueError, match="method is 'bonferroni': it is one of holm, bh, by"):
        adjust([0.1], "bonferroni")
    with pytest.raises(ValueError, match="one list"):
        adjust(np.ones((2, 2)), "holm")
