"""Values so small or large that squares vanish or overflow: the same answers as in any other unit."""

import numpy as np
import pytest

from kdstats import stats as s
from kdstats.stats.groups import two_groups

D = np.array([0.3, -0.1, 0.4, 0.35, -0.2, 0.7])
POWERS = [-900, -600, 100, 300]  # 2^300 is 2e90: differences are refused beyond 1e100
MATRIX = np.random.default_rng(3).normal(0.4, 1, (4, 7))


def test_spreads_of_tiny_values():
    # R: t.test(c(1, 2))$p.value; mean 7/3 over sd √(7/3), in units of 2^-580
    assert s.paired_t([2.0**-600, 2.0**-599]).p_value == pytest.approx(0.2048327646991335, rel=1e-12)
    assert s.dz([2.0**-580, 2.0**-579, 2.0**-578]) == pytest.approx((7 / 3) ** 0.5, rel=1e-12)


@pytest.mark.parametrize("power", POWERS)
def test_one_sample_in_any_unit(power):
    d = np.ldexp(D, power)
    for found, expected in ((s.paired_t(d), s.paired_t(D)), (s.infer(d, test="paired-t"), s.infer(D, test="paired-t"))):
        assert (found.statistic, found.p_value) == (expected.statistic, expected.p_value)
    for measure in (s.dz, s.hedges_g, s.bayes_factor, s.rank_biserial):
        assert measure(d) == measure(D)
    assert s.dz_interval(d) == s.dz_interval(D) and s.hedges_g_interval(d) == s.hedges_g_interval(D)
    low, high = s.paired_t(d).confidence_interval()
    assert (low, high) == tuple(np.ldexp(s.paired_t(D).confidence_interval(), power))
    assert s.rope(d, margin=float(np.ldexp(0.1, power))).within == s.rope(D, margin=0.1).within
    strata = [0, 0, 0, 1, 1, 1]
    found, expected = (s.infer(v, strata=strata, test="paired-t") for v in (d, D))
    assert (found.p_value, found.dz, found.df) == (expected.p_value, expected.dz, expected.df)


@pytest.mark.parametrize("power", [*POWERS, 660])  # 2^660 is 5e198
def test_two_way_in_any_unit(power):
    for strata in (None, [0, 0, 1, 1]):
        found, expected = (s.two_way(m, strata) for m in (np.ldexp(MATRIX, power), MATRIX))
        assert found.p_value() == pytest.approx(expected.p_value(), rel=1e-12)
        assert found.df == pytest.approx(expected.df, rel=1e-12)
        assert found.standard_error == pytest.approx(np.ldexp(expected.standard_error, power), rel=1e-12)
        low, high = np.ldexp(found.confidence_interval(), -power)
        assert (low, high) == pytest.approx(expected.confidence_interval(), rel=1e-9)
    both = s.two_way(np.stack([MATRIX, np.ldexp(MATRIX, power)]))
    assert both.p_value() == pytest.approx([s.two_way(MATRIX).p_value()] * 2, rel=1e-12)
    x, y = MATRIX[:2], MATRIX[2:]
    found, expected = two_groups(np.ldexp(x, power), np.ldexp(y, power)), two_groups(x, y)
    assert found.p_value() == pytest.approx(expected.p_value(), rel=1e-12)
    assert found.standard_error == pytest.approx(np.ldexp(expected.standard_error, power), rel=1e-12)


@pytest.mark.parametrize("powers", [(-600, 0), (0, -600), (-600, -600), (300, -300), (300, 300)])
def test_ratios_in_any_units(powers):
    x, y = np.array([0.10, 0.14, 0.09, 0.13]), np.array([0.50, 0.61, 0.52, 0.57])
    of = s.fieller(np.ldexp(x, powers[0]), np.ldexp(y, powers[1]))
    expected = s.fieller(x, y)
    for name in ("estimate", "low", "high"):
        assert np.ldexp(getattr(of, name), powers[1] - powers[0]) == pytest.approx(getattr(expected, name), rel=1e-12)


def test_all_equal_is_still_said():
    with pytest.raises(ValueError, match="all differences are equal"):
        s.paired_t([2.0**-600] * 3)
    assert s.two_way(np.full((3, 4), 2.0**-600)).standard_error == 0
