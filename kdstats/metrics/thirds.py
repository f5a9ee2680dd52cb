"""Whether errors are held to more firmly than right answers: asked of answers that are neither (θ and θ₀).

On a split example (`kdstats.metrics.swaps`) an answer that is neither the true class nor the other teacher's comes
from no teacher of the pair. A student that follows its teacher with probability c, and itself otherwise, gives it with
probability (1 − c) P(neither): whatever it would say by itself cancels between right-taught and wrong-taught students,
and

    θ = log (third answers of right-taught / third answers of wrong-taught) = log ((1 − c_r) / (1 − c_w))

is above 0 where wrong answers are followed more. But a teacher is more confident where it is right, and a student that
merely blends its teacher's output with its own then breaks away less often from right answers: θ < 0 with no
preference at all. θ₀ is θ at equal confidence of the two teachers. It can show one thing only, that errors are held to
more firmly; its opposite looks like blending.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from kdstats.metrics._arrays import UndefinedMetric, Values
from kdstats.metrics.swaps import Swap

RIDGE = 0.05  # of θ₀'s regression, on θ₀ and β: without it no third answer on one side diverges
FEWEST_THIRD = 20  # third answers of all students, for a claim
FEWEST_EXAMPLES = 15  # distinct examples with one


@dataclass(frozen=True, eq=False)
class ThirdAnswers:
    """θ, and what students would share with their teachers if copying were all or nothing.

    Attributes
    ----------
    theta : log((R + ½) / (U + ½)), R and U the weighted numbers of third answers of right- and wrong-taught students
    values : (Q, N), θ + Q N (v − mean v), v = r^u / (R + ½) − w^u / (U + ½): linearised, their mean is θ
    right, wrong : R and U
    n_third, n_examples : third answers of all students, unweighted; distinct examples with one
    copied_right, copied_wrong : ĉ_r, ĉ_w = 1 − (third answers / answers) (1 + A + B), A and B the odds of y and of ℓ
        against a third answer among students that were not taught it
    favours_truth : whether untaught students say y more than ℓ on examples with a third answer, by these odds
    """

    theta: float
    values: Values
    right: float
    wrong: float
    n_third: float
    n_examples: int
    copied_right: float
    copied_wrong: float
    favours_truth: bool


def third_weights(of: Swap) -> Values:
    """ω (Q, N), of θ's counts: c h_q / n_A on half A, c h_q / n_B on half B; its mean over split examples is 1."""
    sizes = of.halves.sum(axis=2, keepdims=True).astype(float)  # (Q, 2, 1)
    both = (sizes > 0).all(axis=1, keepdims=True)
    h = np.where(both, sizes.prod(axis=1, keepdims=True) / np.maximum(sizes.sum(axis=1, keepdims=True), 1), 0.0)
    omega = (of.halves * h / np.maximum(sizes, 1)).sum(axis=1)
    if not omega.any():
        raise UndefinedMetric(
            "no pair of teachers has examples where the one alone is right and others where the other is"
        )
    return np.asarray(omega * of.split.sum() / omega.sum())


def _counts(of: Swap, omega: Values) -> tuple[Values, Values]:
    """Weighted third answers (Q, N) of right- and of wrong-taught students, in numbers of students."""
    students = of.students[:, None] * omega
    return of.right_third * students, of.wrong_third * students


def third_answers(of: Swap) -> ThirdAnswers:
    """θ over all pairs, with weights that balance the two halves of each pair.

    Parameters
    ----------
    of : Swap
        Of `kdstats.metrics.swap`. Where the sides of a pair have unequal numbers of students, a count is the share
        among a side times their mean number.

    Raises
    ------
    UndefinedMetric
        No pair has split examples in both halves.

    Examples
    --------
    Two examples, one in each half, three students a side: of the right-taught two, of the wrong-taught one give a third
    answer, so θ = log(2½ / 1½).

    >>> from kdstats.metrics import swap
    >>> teachers, y = [[0, 1], [1, 0]], [0, 0]
    >>> students = [[0, 2], [0, 1], [2, 1], [1, 2], [1, 0], [1, 0]]
    >>> found = third_answers(swap(teachers, students, y, [0, 0, 0, 1, 1, 1], [[0, 1]]))
    >>> found.right, found.wrong, round(found.theta, 6)
    (2.0, 1.0, 0.510826)
    """
    omega = third_weights(of)
    r, w = _counts(of, omega)
    right, wrong = float(r.sum()), float(w.sum())
    v = r / (right + 0.5) - w / (wrong + 0.5)
    theta = float(np.log((right + 0.5) / (wrong + 0.5)))
    plain = _counts(of, np.ones_like(omega))
    there = (plain[0] + plain[1]) > 1e-9
    weighted = of.students[:, None] * omega
    n = float(weighted.sum())

    def odds(where: Values) -> tuple[float, float]:
        """Of y among wrong-taught students, and of ℓ among right-taught ones, against a third answer."""
        says_y, says_other = (float((side * weighted * where).sum()) for side in (of.wrong_y, of.right_other))
        return (says_y + 0.5) / (wrong + 0.5), (says_other + 0.5) / (right + 0.5)

    a, b = odds(np.ones_like(omega))
    a_there, b_there = odds(there.astype(float))
    return ThirdAnswers(
        theta, theta + v.size * (v - v.mean()), right, wrong, float(plain[0].sum() + plain[1].sum()),
        int(there.any(axis=0).sum()), 1 - right / n * (1 + a + b), 1 - wrong / n * (1 + a + b), a_there > b_there,
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Firmness:
    """θ₀: θ at equal confidence of the two teachers.

    Attributes
    ----------
    estimate : θ₀
    slope : β, by standard deviations of the difference in confidence
    values : (Q, N), linearised, their mean is θ₀
    where_less_sure : θ on the examples where the teacher that is wrong is at least as confident; None without any
    """

    estimate: float
    slope: float
    values: Values
    where_less_sure: float | None


def firmness(of: Swap, margins: ArrayLike) -> Firmness:
    """Ridge logistic regression of who gives a third answer on the teachers' difference in confidence.

    With μ = log p(top) − log p(second) of a teacher and d = (μ_right − μ_wrong) / SD over all split (pair, example), a
    third answer is a wrong-taught student's with probability expit(−θ₀ + β d), by the weighted log-loss plus
    ½ · .05 (θ₀² + β²).

    Parameters
    ----------
    of : Swap
    margins : (Q, 2, N), μ of the first and of the second teacher of each pair

    Raises
    ------
    ValueError
        Another shape; margins that are negative or not finite.
    UndefinedMetric
        As `third_answers`.

    Examples
    --------
    Where all differences in confidence are one, d is 0 and the loss is the ridge's and the counts' alone:

    >>> from kdstats.metrics import swap
    >>> students = [[0, 2], [0, 1], [2, 1], [1, 2], [1, 0], [1, 0]]
    >>> of = swap([[0, 1], [1, 0]], students, [0, 0], [0, 0, 0, 1, 1, 1], [[0, 1]])
    >>> found = firmness(of, np.ones((1, 2, 2)))
    >>> round(found.estimate, 4), found.slope  # of R = 2 and U = 1: 1 − 3 expit(−θ₀) = −.05 θ₀
    (0.6451, 0.0)
    """
    mu = np.asarray(margins, np.float64)
    if mu.shape != of.halves.shape:
        raise ValueError(f"margins has shape {mu.shape}: one a pair, teacher and example is {of.halves.shape}")
    if not (np.isfinite(mu).all() and (mu >= 0).all()):
        raise ValueError("margins are differences of the two largest log-probabilities: finite and not negative")
    r, w = _counts(of, third_weights(of))
    d = np.where(of.halves[:, 0], mu[:, 0] - mu[:, 1], mu[:, 1] - mu[:, 0])
    spread = d[of.split].std()
    x = np.where(of.split, d / spread if spread > 0 else 0.0, 0.0)
    intercept, slope = _fit(x.ravel(), r.ravel(), w.ravel())
    p = _expit(intercept + slope * x)
    hessian = _information(x, r, w, p)
    residual = w * (1 - p) - r * p
    solved = np.linalg.solve(hessian, np.array([1.0, 0.0]))
    moved = (solved[0] + solved[1] * x) * residual  # of the intercept, which is −θ₀
    values = -intercept - moved.size * (moved - moved.mean())
    unsure = of.split & (d <= 0)
    there = None
    if unsure.any():
        there = float(np.log((r[unsure].sum() + 0.5) / (w[unsure].sum() + 0.5)))
    return Firmness(float(-intercept), float(slope), values, there)


def _expit(x: Values) -> Values:
    return np.asarray(0.5 * (1 + np.tanh(x / 2)))


def _information(x: Values, r: Values, w: Values, p: Values) -> Values:
    weight = (r + w) * p * (1 - p)
    cross = (weight * x).sum()
    return np.array([[weight.sum(), cross], [cross, (weight * x * x).sum()]]) + RIDGE * np.eye(2)


def _fit(x: Values, r: Values, w: Values) -> tuple[float, float]:
    """Newton's method with halved steps; the loss is strictly convex."""
    at = np.zeros(2)

    def loss(b: Values) -> float:
        eta = b[0] + b[1] * x
        return float((w * np.logaddexp(0, -eta) + r * np.logaddexp(0, eta)).sum() + RIDGE / 2 * (b @ b))

    for _ in range(100):
        p = _expit(at[0] + at[1] * x)
        residual = w * (1 - p) - r * p
        gradient = np.array([residual.sum(), (residual * x).sum()]) - RIDGE * at
        step = np.linalg.solve(_information(x, r, w, p), gradient)
        now, size = loss(at), 1.0
        while loss(at + size * step) > now + 1e-12 * abs(now) and size > 1e-8:
            size /= 2
        at = at + size * step
        if np.abs(step).max() < 1e-10:
            break
    return float(at[0]), float(at[1])


def confidence_margins(logits: ArrayLike) -> Values:
    """μ = log p(top) − log p(second), (..., N) from logits (..., N, C): the softmax's denominator cancels.

    Examples
    --------
    >>> confidence_margins([[3.0, 1.0, 0.5], [0.0, 0.0, -1.0]]).tolist()
    [2.0, 0.0]
    """
    two = np.partition(np.asarray(logits, np.float64), -2, axis=-1)[..., -2:]
    return np.asarray(two[..., 1] - two[..., 0])
