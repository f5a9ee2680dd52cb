"""Whether errors are held to more firmly than right answers: asked of answers that are neither (θ and θ₀).

On a split example (`kdstats.metrics.swaps`) an answer that is neither the true class nor the other teacher's comes
from no teacher of the pair. A student that follows its teacher with probability c, and itself otherwise, gives it with
probability (1 − c) P(neither): whatever it would say by itself cancels between right-taught and wrong-taught students,
and

    θ = log (third answers of right-taught / third answers of wrong-taught) = log ((1 − c_r) / (1 − c_w))

is above 0 where wrong answers are followed more. Two things that are no preference move it. A teacher is more confident
where it is right, so a student that merely blends its teacher's output with its own breaks away less often from right
answers: θ < 0. And a teacher that is wrong mostly has the true class second, so a student that learns its teacher's
whole output, second choices included, breaks away to the true class and gives fewer third answers: θ > 0. θ₀ is θ
where the two teachers are equally confident and leave equally little to third classes. It can show one thing only, that
errors are held to more firmly; its opposite looks like blending.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

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
    """ω (Q, N): c h_q / n_A on half A, c h_q / n_B on half B, its mean over split examples is 1."""
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
    slopes : β and γ, by standard deviations of the differences in margin and in lead
    values : (Q, N), linearised, their mean is θ₀
    where_less_sure : θ on the examples where the teacher that is wrong is at least as confident; None without any
    """

    estimate: float
    slopes: tuple[float, float]
    values: Values
    where_less_sure: float | None


def firmness(of: Swap, margins: ArrayLike, leads: ArrayLike) -> Firmness:
    """Ridge logistic regression of who gives a third answer on how the two teachers differ there.

    With μ = log p(top) − log p(second) and λ = log p(y or ℓ) − log p(any other class) of a teacher, d and e their
    differences, right teacher minus wrong, each over its SD over all split (pair, example): a third answer is a
    wrong-taught student's with probability expit(−θ₀ + β d + γ e), by the weighted log-loss plus
    ½ · .05 (θ₀² + β² + γ²).

    Parameters
    ----------
    of : Swap
    margins, leads : (Q, 2, N), μ and λ of the first and of the second teacher of each pair (`confidence`)

    Raises
    ------
    ValueError
        Another shape; values that are not finite; margins that are negative.
    UndefinedMetric
        As `third_answers`.

    Notes
    -----
    Without λ, students that draw their answers from their teacher's softmax, second choices included and nothing
    preferred, were "supported" in every simulated run; with it in none, and power is the same (kdstats validate).

    Examples
    --------
    Where all differences are one, d and e are 0 and the loss is the ridge's and the counts' alone:

    >>> from kdstats.metrics import swap
    >>> students = [[0, 2], [0, 1], [2, 1], [1, 2], [1, 0], [1, 0]]
    >>> of = swap([[0, 1], [1, 0]], students, [0, 0], [0, 0, 0, 1, 1, 1], [[0, 1]])
    >>> found = firmness(of, np.ones((1, 2, 2)), np.ones((1, 2, 2)))
    >>> round(found.estimate, 4), found.slopes  # of R = 2 and U = 1: 1 − 3 expit(−θ₀) = −.05 θ₀
    (0.6451, (0.0, 0.0))
    """
    mu, lead = np.asarray(margins, np.float64), np.asarray(leads, np.float64)
    for name, values in (("margins", mu), ("leads", lead)):
        if values.shape != of.halves.shape:
            raise ValueError(f"{name} has shape {values.shape}: one a pair, teacher and example is {of.halves.shape}")
        if not np.isfinite(values).all():
            raise ValueError(f"{name} are differences of log-probabilities: finite")
    if not (mu >= 0).all():
        raise ValueError("margins are differences of the two largest log-probabilities: not negative")
    r, w = _counts(of, third_weights(of))
    apart = [np.where(of.halves[:, 0], v[:, 0] - v[:, 1], v[:, 1] - v[:, 0]) for v in (mu, lead)]
    x = np.stack([of.split.astype(float), *(_scaled(each, of.split) for each in apart)], axis=-1)  # (Q, N, 3)
    at = _fit(x.reshape(-1, 3), r.ravel(), w.ravel())
    p = _expit(x @ at)
    of_intercept = np.linalg.solve(_information(x.reshape(-1, 3), r.ravel(), w.ravel(), p.ravel()), [1.0, 0.0, 0.0])
    moved = (x @ of_intercept) * (w * (1 - p) - r * p)  # of the intercept, which is −θ₀
    values = -at[0] - moved.size * (moved - moved.mean())
    unsure = of.split & (apart[0] <= 0)
    there = None
    if unsure.any():
        there = float(np.log((r[unsure].sum() + 0.5) / (w[unsure].sum() + 0.5)))
    return Firmness(float(-at[0]), (float(at[1]), float(at[2])), values, there)


def _scaled(apart: Values, split: NDArray[np.bool_]) -> Values:
    spread = apart[split].std()
    return np.where(split, apart / spread if spread > 0 else 0.0, 0.0)


def _expit(x: Values) -> Values:
    return np.asarray(0.5 * (1 + np.tanh(x / 2)))


def _information(x: Values, r: Values, w: Values, p: Values) -> Values:
    return np.asarray((x * ((r + w) * p * (1 - p))[:, None]).T @ x + RIDGE * np.eye(x.shape[1]))


def _fit(x: Values, r: Values, w: Values) -> Values:
    """Newton's method with halved steps; the loss is strictly convex."""
    counted = (r + w) > 0  # the others weigh nothing
    x, r, w = x[counted], r[counted], w[counted]
    at = np.zeros(x.shape[1])

    def loss(b: Values) -> float:
        eta = x @ b
        return float((w * np.logaddexp(0, -eta) + r * np.logaddexp(0, eta)).sum() + RIDGE / 2 * (b @ b))

    for _ in range(100):
        p = _expit(x @ at)
        gradient = x.T @ (w * (1 - p) - r * p) - RIDGE * at
        step = np.linalg.solve(_information(x, r, w, p), gradient)
        now, size = loss(at), 1.0
        while loss(at + size * step) > now + 1e-12 * abs(now) and size > 1e-8:
            size /= 2
        at = at + size * step
        if np.abs(step).max() < 1e-10:
            break
    return at


def confidence(logits: ArrayLike, labels: ArrayLike, pairs: ArrayLike) -> tuple[Values, Values]:
    """μ and λ of both teachers of each pair, (Q, 2, N): how sure each is, and how little it leaves to third classes.

        μ = log p(top) − log p(second),  λ = log p(y or ℓ) − log p(any other class)

    with ℓ what the teacher that is wrong says. The softmax's denominator cancels in both. λ is 0 where an example is
    not split.

    Parameters
    ----------
    logits : (T, N, C), C ≥ 3
    labels : (N,) int
    pairs : (Q, 2) int, rows of ``logits``

    Raises
    ------
    UndefinedMetric
        Two classes: there is no third.

    Examples
    --------
    The first teacher is right (class 0) with margin 2, the second says 1 with margin 1; class 2 has e⁻¹ of e² + 1 in
    the first:

    >>> mu, lead = confidence([[[2.0, 0.0, -1.0]], [[0.0, 1.0, 0.0]]], [0], [[0, 1]])
    >>> mu[0, :, 0].tolist(), lead[0, :, 0].round(4).tolist()
    ([2.0, 1.0], [3.1269, 1.3133])
    """
    z, y, pair = np.asarray(logits), np.asarray(labels), np.asarray(pairs)
    if z.shape[2] < 3:
        raise UndefinedMetric("with two classes there is no third answer: an asymmetry does not exist to be estimated")
    rows, said = np.arange(z.shape[1]), z.argmax(axis=2)
    mu, lead = np.zeros((2, len(pair), 2, z.shape[1]))
    for q, both in enumerate(pair):
        right = said[both] == y
        split = right[0] != right[1]
        other = np.where(right[0], said[both[1]], said[both[0]])
        for side, teacher in enumerate(both):
            own = z[teacher].astype(np.float64)
            two = np.partition(own, -2, axis=1)[:, -2:]
            mu[q, side] = two[:, 1] - two[:, 0]
            named = np.logaddexp(own[rows, y], own[rows, other])
            own[rows, y] = own[rows, other] = -np.inf
            top = own.max(axis=1)
            with np.errstate(invalid="ignore"):
                rest = top + np.log(np.exp(own - top[:, None]).sum(axis=1))
            lead[q, side] = np.where(split, named - np.where(split, rest, 0.0), 0.0)
    return mu, lead
