"""The four traps of the asymmetry, walked into on simulated networks whose truth is planted; and who escapes them.

The world of the simulations: the label of every item is 0, and item i has a difficulty z ~ N(0, 1). A network of
accuracy a is right on it with probability 1 / (1 + exp(spread · z − b)), b such that the mean over items is a. A wrong
network says 1, the item's attractive wrong class, with probability ``attraction``, else one of eight others at random.
Given the item, networks are independent, unless one copies another. The teacher is one of the networks.

Where a rate is expected of many items, it is computed by quadrature over z, not by the code under test.
"""

from dataclasses import dataclass

import numpy as np
import pytest
from scipy import optimize, special, stats
from statsmodels.stats.contingency_tables import StratifiedTable

from kdstats.metrics import UndefinedMetric
from kdstats.metrics.transfers import (
    asymmetry_score,
    headroom_gains,
    held_out_agreements,
    matched_asymmetry,
    matched_counts,
    matched_score,
)
from kdstats.stats.ratios import fieller

NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(80)
WEIGHTS = WEIGHTS / WEIGHTS.sum()
OTHERS = 8


@dataclass(frozen=True)
class World:
    spread: float
    attraction: float

    def right(self, accuracy, z):
        """Probability that a network is right on items of difficulty z."""
        b = optimize.brentq(lambda b: WEIGHTS @ special.expit(b - self.spread * NODES) - accuracy, -40, 40)
        return special.expit(b - self.spread * z)

    def says(self, accuracy, z, classes):
        """Probability that a network says the classes that another said."""
        right = self.right(accuracy, z)
        wrong = np.where(classes == 1, self.attraction, (1 - self.attraction) / OTHERS)
        return np.where(classes == 0, right, (1 - right) * wrong)

    def network(self, accuracy, z, rng):
        """Classes that a network predicts."""
        wrong = rng.random(z.shape) >= self.right(accuracy, z)
        return wrong * np.where(rng.random(z.shape) < self.attraction, 1, rng.integers(2, 2 + OTHERS, z.shape))

    def rates(self, accuracy, teacher):
        """A⁺ and A⁻ of a network against a teacher, both of given accuracies, over all items."""
        student, taught = self.right(accuracy, NODES), self.right(teacher, NODES)
        same_wrong = self.attraction**2 + (1 - self.attraction) ** 2 / OTHERS
        return (
            WEIGHTS @ (student * taught) / teacher,
            same_wrong * (WEIGHTS @ ((1 - student) * (1 - taught))) / (1 - teacher),
        )


STEEP = World(spread=4.0, attraction=0.835)  # accuracy .932: A⁺ .97, A⁻ .39
MILD = World(spread=3.0, attraction=0.75)  # accuracy .932: A⁺ .96, A⁻ .26
ACCURACY, BETTER, COPIED = 0.932, 0.948, 0.3


def drawn(probability, students, rng):
    """(…, N) probabilities -> (…, students, N) bool."""
    shape = (*probability.shape[:-1], students, probability.shape[-1])
    return rng.random(shape, dtype=np.float32) < probability[..., None, :].astype(np.float32)


def counts(right, agrees):
    """Per student: agreements where the teacher is right, how often it is, the same where it is wrong; each (…, S)."""
    right = right[..., None, :]
    ones = np.ones(agrees.shape[:-1])
    n = right.sum(-1)
    return (agrees & right).sum(-1), n * ones, (agrees & ~right).sum(-1), (right.shape[-1] - n) * ones


def apart(arm, control, estimator="headroom"):
    return asymmetry_score(*arm, estimator) - asymmetry_score(*control, estimator)


def rejected(values, alternative="two-sided", null=0.0):
    """Share of rows, one a protocol, in which a t test over seeds rejects at .05."""
    return (stats.ttest_1samp(values, null, axis=-1, alternative=alternative).pvalue <= 0.05).mean()


def near(mean, values):
    """Whether a mean of independent values is its expectation within 4 Monte Carlo standard errors."""
    return abs(values.mean() - mean) <= 4 * stats.sem(values, axis=None)


# Trap 1, the ceiling ---------------------------------------------------------------------------------------------


def taught(world, protocols, students, examples, rng, *, control=ACCURACY, arm=ACCURACY, copied=0.0):
    """Counts of arm and control: students of a teacher of accuracy .932, each protocol with its own teacher and items.

    The arm's students copy the teacher with probability ``copied``, on whatever item, and are networks of accuracy
    ``arm`` otherwise; controls have nothing of the teacher.
    """
    z = rng.standard_normal((protocols, examples))
    teacher = world.network(ACCURACY, z, rng)
    right = teacher == 0
    alone = drawn(world.says(arm, z, teacher), students, rng)
    copies = rng.random(alone.shape, dtype=np.float32) < copied
    beside = drawn(world.says(control, z, teacher), students, rng)
    return counts(right, alone | copies), counts(right, beside)


def test_one_pure_copying_is_an_asymmetry_by_raw_and_log_odds_and_none_by_headroom():
    a_plus, a_minus = STEEP.rates(ACCURACY, ACCURACY)
    assert (a_plus, a_minus) == pytest.approx((0.97, 0.39), abs=0.005)
    arm, control = taught(STEEP, 1_000, 10, 1_000, np.random.default_rng(1), copied=COPIED)
    raw, log_odds, h = (apart(arm, control, estimator) for estimator in ("raw", "log_odds", "headroom"))
    assert raw.mean() == pytest.approx(COPIED * (a_plus - a_minus), abs=0.005)
    assert log_odds.mean() == pytest.approx(0.36, abs=0.03)
    assert h.mean() == pytest.approx(0, abs=0.015)  # the ½ leaves .005 at 68 errors of a teacher
    assert rejected(raw) > 0.99
    assert rejected(log_odds) > 0.65
    for alternative in ("two-sided", "greater", "less"):
        assert rejected(h, alternative) == pytest.approx(0.05, abs=4 * 0.0069)  # √(.05 · .95 / 1,000)


def test_one_escaping_is_not_blindness():
    """Errors copied with probability .5, knowledge with .2: h is log(.8 / .5), and found."""
    rng = np.random.default_rng(2)
    z = rng.standard_normal((400, 1_000))
    teacher = STEEP.network(ACCURACY, z, rng)
    right = teacher == 0
    arm, control = (drawn(STEEP.says(ACCURACY, z, teacher), 10, rng) for _ in range(2))
    arm |= rng.random(arm.shape) < np.where(right, 0.2, 0.5)[:, None]
    h = apart(counts(right, arm), counts(right, control))
    assert h.mean() == pytest.approx(np.log(0.8 / 0.5), abs=0.03)
    assert rejected(h, "greater") > 0.9


# Trap 2, accuracy ------------------------------------------------------------------------------------------------


def shares(arm, control):
    """g⁺ and g⁻ as ratios of means, negative ones too."""
    return [float((arm[i] - control[i]).sum() / (control[i + 1] - control[i]).sum()) for i in (0, 2)]


def test_two_accuracy_without_a_teacher_looks_like_selective_transfer_of_knowledge():
    (plus, minus), (better_plus, better_minus) = (MILD.rates(of, ACCURACY) for of in (ACCURACY, BETTER))
    expected = [(better_plus - plus) / (1 - plus), (better_minus - minus) / (1 - minus)]
    assert expected == pytest.approx([0.30, -0.06], abs=0.006)
    arm, ce = taught(MILD, 1_000, 10, 1_000, np.random.default_rng(3), arm=BETTER)
    assert shares(arm, ce) == pytest.approx(expected, abs=0.01)
    h = apart(arm, ce)
    assert h.mean() == pytest.approx(np.log(1 - expected[0]) - np.log(1 - expected[1]), abs=0.02)  # −.40
    assert rejected(h) > 0.9
    with pytest.raises(UndefinedMetric, match=r"agrees less than its control .* a loss is no share"):
        headroom_gains(arm[2].mean(-1), ce[2].mean(-1), ce[3].mean(-1), "wrong")


@pytest.mark.parametrize("copied", [0.0, COPIED])
def test_two_a_control_that_shares_the_accuracy_escapes(copied):
    """kd-other: as accurate as the arm, by the same loss, without this teacher's targets."""
    arm, other = taught(MILD, 1_000, 10, 1_000, np.random.default_rng(4), arm=BETTER, control=BETTER, copied=copied)
    h = apart(arm, other)
    assert h.mean() == pytest.approx(0, abs=0.02)
    assert rejected(h) == pytest.approx(0.05, abs=4 * 0.0069)
    assert shares(arm, other) == pytest.approx([copied, copied], abs=0.02)


def test_two_no_estimator_escapes_it_against_ce():
    """Pure copying by a student that is also more accurate: h against ce says what it says without copying."""
    arm, ce = taught(MILD, 1_000, 10, 1_000, np.random.default_rng(5), arm=BETTER, copied=COPIED)
    assert apart(arm, ce).mean() == pytest.approx(-0.40, abs=0.03)
    for estimator in ("raw", "log_odds"):  # trap 1 is stronger here than trap 2, and has the other sign
        assert apart(arm, ce, estimator).mean() > 0.1


# Trap 3, double use of controls ----------------------------------------------------------------------------------

MATCHED = World(spread=3.5, attraction=0.8)  # accuracy .932: A⁺ .96, A⁻ .33


def several(n_networks, rng, n=20_000):
    """One teacher on n items: where it is right, and where each of several networks agrees with it; the chances too."""
    z = rng.standard_normal(n)
    teacher = MATCHED.network(ACCURACY, z, rng)
    chance = MATCHED.says(ACCURACY, z, teacher)
    return teacher == 0, drawn(chance, n_networks, rng), chance


def log_odds_matched(right, arm, stratum, n_strata):
    """Mantel–Haenszel log odds ratio of the arm's agreement, teacher wrong against right, by statsmodels."""
    tables = [
        [[(arm & side & at).sum(), (~arm & side & at).sum()] for side in (~right, right)]
        for at in (stratum == k for k in range(n_strata))
        if at.any()
    ]
    return StratifiedTable([np.array(table) for table in tables]).logodds_pooled


@pytest.mark.parametrize(("m", "bias"), [(4, -1.25), (8, -0.69), (20, -0.36)])
def test_three_strata_from_the_controls_that_are_compared_with_make_an_asymmetry_of_nothing(m, bias):
    """The arm is one more control: nothing is there to be found."""
    rng = np.random.default_rng(6)
    found = []
    for _ in range(20):
        right, (arm, *controls), _ = several(m + 1, rng)
        found.append(log_odds_matched(right, arm, np.sum(controls, axis=0), m + 1))
    assert np.mean(found) == pytest.approx(bias, abs=0.12)  # measured: −1.2, −.7, −.3


@pytest.mark.parametrize("copied", [0.0, COPIED])
@pytest.mark.parametrize("m", [5, 8, 20])
def test_three_held_out_strata_escape(m, copied):
    rng = np.random.default_rng(7)
    held_out, doubly = [], []
    for _ in range(20):
        right, (arm, control, *others), _ = several(m + 2, rng)
        arm |= rng.random(len(arm)) < copied
        held_out.append(matched_score(matched_counts(right, arm, control, np.sum(others, axis=0), m)))
        again = np.sum([control, *others[1:]], axis=0)
        doubly.append(matched_score(matched_counts(right, arm, control, again, m)))
    assert near(0, np.array(held_out))
    assert np.mean(held_out) == pytest.approx(0, abs=0.06)
    assert np.mean(doubly) < -0.1  # the control in its own stratum


def test_three_cross_fitted_strata_of_a_unit_escape():
    """Six students of a teacher, 1,000 items: the strata of each are the other five controls, the counts are pooled."""
    rng = np.random.default_rng(8)
    found = []
    for _ in range(400):
        right, agrees, _ = several(12, rng, n=1_000)
        arm, control = agrees[:6] | (rng.random((6, 1_000)) < COPIED), agrees[6:]
        each = matched_counts(np.tile(right, (6, 1)), arm, control, held_out_agreements(control), 5)
        found.append(matched_score(each.mean(0)))
    found = np.array(found)
    assert found.mean() == pytest.approx(0, abs=4 * 0.008)
    assert rejected(found.reshape(40, 10)) <= 0.05 + 4 * 0.034  # ten teachers a protocol


def test_three_what_matching_is_for():
    """Copied the more, the less likely a control is to agree, whether the teacher is right or wrong: h takes that for
    selective transfer of errors. Held-out controls remove two thirds of it where there are 5, nearly all with 40."""
    rng = np.random.default_rng(9)
    crude, few, many = [], [], []
    for _ in range(20):
        right, (arm, control, *others), chance = several(42, rng)
        arm |= rng.random(len(arm)) < 0.6 * (1 - chance)
        crude.append(apart(counts(right, arm[None]), counts(right, control[None])))
        few.append(matched_score(matched_counts(right, arm, control, np.sum(others[:5], axis=0), 5)))
        many.append(matched_score(matched_counts(right, arm, control, np.sum(others, axis=0), 40)))
    assert np.mean(crude) > 0.35  # measured: .42, .14, .02
    assert np.mean(few) < 0.2
    assert np.mean(many) == pytest.approx(0.02, abs=0.06)


def test_three_fewer_than_five_held_out_controls_are_refused():
    right, (arm, control, *others), _ = several(6, np.random.default_rng(10), n=500)
    with pytest.raises(UndefinedMetric, match="4 held-out controls: at least 5"):
        matched_counts(right, arm, control, np.sum(others, axis=0), 4)
    with pytest.raises(UndefinedMetric, match="4 held-out controls: at least 5"):
        held_out_agreements(np.array([control, *others]))
    t = right.astype(int)
    with pytest.raises(UndefinedMetric, match="4 held-out controls: at least 5"):
        matched_asymmetry(t, t, t, [t] * 4, t)


# Trap 4, ratios --------------------------------------------------------------------------------------------------


def test_four_a_ratio_per_seed_errs_and_a_ratio_of_means_and_h_hold():
    """Pure copying, 30 seeds, 500 items: control and student disagree on 15 and 10 items where the teacher is right."""
    arm, control = taught(STEEP, 4_000, 30, 500, np.random.default_rng(11), copied=COPIED)
    parts = [
        [part.reshape(control[0].shape) for part in headroom_gains(*(of.ravel() for of in each), side)]
        for *each, side in ((arm[0], control[0], control[1], "right"), (arm[2], control[2], control[3], "wrong"))
    ]
    exists = np.all([(room > 0).all(-1) for _, room in parts], axis=0)  # else the ratio is not even defined
    plus, minus = ((gain / np.where(room > 0, room, 1))[exists] for gain, room in parts)
    within = 4 * np.sqrt(0.05 * 0.95 / 4_000)
    assert exists.mean() > 0.99
    assert plus.mean() < COPIED - 0.02  # biased, where disagreements are few
    assert 0.05 + within < rejected(minus - plus, "greater") < 0.13  # "errors are taken over more"
    assert 0.05 + within < rejected(plus, "less", null=COPIED) < 0.16
    for gain, room in parts:
        intervals = [fieller(*units) for units in zip(gain[:2_000], room[:2_000], strict=True)]
        missed = np.mean([not each.low <= COPIED <= each.high for each in intervals])
        assert missed == pytest.approx(0.05, abs=within * np.sqrt(2))
        assert rejected(gain - COPIED * room) == pytest.approx(0.05, abs=within)  # all of them, by Fieller's definition
        assert gain.mean() / room.mean() == pytest.approx(COPIED, abs=0.01)
    for alternative in ("two-sided", "greater", "less"):
        assert rejected(apart(arm, control), alternative) == pytest.approx(0.05, abs=within)
