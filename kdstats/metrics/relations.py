"""What a network says of the wrong classes: how distinct they are, in which order, which of them are alike.

logits are (N, C) of any real dtype, labels (N,) integers in [0, C); sums are in float64. Wrong are the C − 1 classes
that are not the label's, whatever the network predicts. Every function raises ValueError, naming the row, for logits
that are not finite, labels outside the classes, shapes that differ, no examples, and a temperature that is not
positive; but for the target's confidence at least three classes are needed, since one wrong class has nothing to
differ from. UndefinedMetric (a ValueError) where sound input has no value.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from kdstats.metrics._arrays import (
    Labels,
    Logits,
    UndefinedMetric,
    Values,
    blocks,
    by_example,
    check_labels,
    check_logits,
    mean_or_each,
    softmax,
)
from kdstats.metrics.similarity import _kendall

_COLDEST = 2.0**30  # range of the logits over temperature, beyond which nothing is searched
_SAME = 1e-12  # what rounding leaves of equal probabilities; of affinities, of the largest


class Distinctness(NamedTuple):
    """How much the probabilities of the wrong classes differ: floats, or arrays (N,) of single examples.

    Attributes
    ----------
    da : mean over wrong classes of their probability, (1 − p_y) / (C − 1)
    dv : standard deviation of the wrong classes' probabilities, over C − 1 (ddof 0)
    iv : variance of the softmax over the wrong classes alone, over C − 1 (ddof 0)
    """

    da: float | Values
    dv: float | Values
    iv: float | Values


def distinctness(
    logits: ArrayLike, labels: ArrayLike, temperature: float = 1.0, *, per_example: bool = False
) -> Distinctness:
    """DA, DV and IV of the wrong classes: their mean probability, its spread, and the spread among themselves.

    With q the C − 1 wrong-class probabilities of softmax(z / T) and r = q / (1 − p_y), the softmax of the wrong logits,

        DA = mean q,  DV = √var q,  IV = var r,  so that  DV² = (1 − p_y)² IV = (C − 1)² DA² IV

    of one example; then means over examples. Confidence alone flattens DV, without the wrong classes being less
    distinct among themselves: report all three, and at equal confidence (`matched_temperature`).

    Parameters
    ----------
    logits : (N, C), C ≥ 3
    labels : (N,)
    temperature : T > 0
    per_example : return (N,) arrays instead of their means

    Returns
    -------
    Distinctness
        DA in [0, 1 / (C − 1)], DV in [0, ½], IV in [0, (C − 2) / (C − 1)²]. 1 − p_y is made from the logits, so DA and
        DV keep their digits where p_y rounds to 1, and IV does where they underflow.

    Notes
    -----
    The identity is one of examples; of the means it does not hold. The paper speaks of variance and plots the standard
    deviation, which is what DV is here.

    References
    ----------
    Fan, Li & Zhan, arXiv 2405.13078 (DA, DV, IV).

    Examples
    --------
    >>> from math import log
    >>> found = distinctness([[log(6), log(3), log(1)]], [0])  # q = .3, .1; r = .75, .25
    >>> [round(value, 6) for value in found]
    [0.2, 0.1, 0.0625]
    """
    z, y = _three_classes(logits, labels)
    t = _checked_temperature(temperature)

    def spreads(z: Logits, y: Labels) -> Values:
        wrong = _wrong(z, y).astype(np.float64)
        largest = wrong.max(1)
        with np.errstate(over="ignore"):  # an infinite quotient has the limit's softmax
            target = (z[np.arange(len(y)), y].astype(np.float64) - largest) / t
            shares = np.exp((wrong - largest[:, None]) / t)
        total = shares.sum(1)
        shares /= total[:, None]
        all_wrong = np.exp(-np.logaddexp(0, target - np.log(total)))  # 1 − p_y
        iv = shares.var(1)
        return np.stack([all_wrong / shares.shape[1], all_wrong * np.sqrt(iv), iv])

    return Distinctness(*(mean_or_each(values, per_example) for values in by_example(spreads, z, y)))


def target_confidence(
    logits: ArrayLike, labels: ArrayLike, temperature: float = 1.0, *, per_example: bool = False
) -> float | Values:
    """Mean over examples of the label's probability, softmax(z_i / T)[y_i].

    Parameters
    ----------
    logits : (N, C)
    labels : (N,)
    temperature : T > 0
    per_example : return the (N,) values instead of their mean

    Returns
    -------
    float in [0, 1], or (N,) float64

    Examples
    --------
    >>> from math import log
    >>> [round(target_confidence([[log(9), 0.0]], [0], t), 6) for t in (1.0, 2.0)]  # 9/10, √9 / (√9 + 1)
    [0.9, 0.75]
    """
    (z,) = check_logits(logits=logits)
    y = check_labels(labels, z)
    return mean_or_each(_confidences(z, y, _checked_temperature(temperature)), per_example)


def matched_temperature(logits: ArrayLike, labels: ArrayLike, confidence: float) -> float:
    """The temperature at which the mean probability of the label is a given one.

    So that networks of different confidence are compared at one: ``distinctness(z, y, matched_temperature(z, y, .8))``.

    Parameters
    ----------
    logits : (N, C)
    labels : (N,)
    confidence : in (0, 1)

    Returns
    -------
    float > 0
        The largest of all such temperatures. Where every label has the largest logit, confidence falls from 1 to 1/C
        with T and there is one; wrong examples lose theirs as T → 0, so that confidence can rise first, and several
        temperatures may give the same. The largest is on the branch that begins at 1/C with T = ∞: to a higher
        confidence (above 1/C) belongs a lower temperature.

    Raises
    ------
    UndefinedMetric
        No temperature gives this confidence; the sentence says how far they go. Also 1/C itself, which is T = ∞.

    Notes
    -----
    Temperatures are searched downward from where confidence is proven to be nearer 1/C, in steps of √2, finer around
    the extreme where nothing was found; two crossings within one step can be missed. At most some 100 passes over the
    logits, .3 s for 10,000 × 100.

    Examples
    --------
    >>> from math import log
    >>> round(matched_temperature([[log(9), 0.0]], [0], 0.75), 9)  # √9 / (√9 + 1) = ¾
    2.0
    """
    (z,) = check_logits(logits=logits)
    y = check_labels(labels, z)
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}: a mean probability of the label lies between 0 and 1")
    chance = 1 / z.shape[1]
    gap = abs(confidence - chance)
    side = 1.0 if confidence > chance else -1.0
    spread = float((z.max(1).astype(np.float64) - z.min(1)).max())

    def above(x: float) -> float:  # where x = −log T; negative at T = ∞
        return side * (float(_confidences(z, y, float(np.exp(-x))).mean()) - confidence)

    extreme = chance
    if spread > 0 and gap > _SAME:
        # |dp_y / d(1/T)| = p_y (1 − p_y) |z_y − mean of the wrong| ≤ spread / 4: nothing is crossed at hotter ones
        xs = np.arange(np.log(2 * gap / spread), np.log(_COLDEST / spread), np.log(2) / 2)
        for _ in range(5):
            found: list[float] = []
            for i, x in enumerate(xs):
                found.append(above(x))
                if found[i] >= 0:
                    return float(np.exp(-_root(above, xs[i - 1], x, found[i - 1], found[i])))
            best = int(np.argmax(found))
            extreme = confidence + side * found[best]
            xs = np.linspace(xs[max(best - 1, 0)], xs[min(best + 1, len(xs) - 1)], 9)
    raise UndefinedMetric(
        f"no temperature gives the labels a mean probability of {confidence:g}: from 1/{z.shape[1]}, at an infinite"
        f" one, it goes {'up to' if side > 0 else 'down to'} {extreme:.6g}"
    )


def rank_consistency(
    one: ArrayLike, other: ArrayLike, labels: ArrayLike, *, per_example: bool = False
) -> float | Values:
    """Do two networks rank the wrong classes alike? Mean over examples of Kendall's τ_b of their non-target logits.

    Parameters
    ----------
    one, other : (N, C), C ≥ 3
    labels : (N,)
    per_example : return the (N,) values instead of their mean

    Returns
    -------
    float in [−1, 1], or (N,) float64: 1 the same order, 0 no association. A network that gives all wrong classes one
    logit has no order and τ_b is 0/0: as in `rank_disagreement` it counts as 0, or 1 where both networks do so.

    References
    ----------
    Kendall 1945, Biometrika 33(3) (τ_b); after the cognitive consistency of Fan, Li & Zhan, arXiv 2405.13078.

    Examples
    --------
    >>> one, other = [[9.0, 3.0, 2.0, 1.0]], [[0.0, 3.0, 1.0, 2.0]]  # one of three pairs is reversed
    >>> round(rank_consistency(one, other, [0]), 6)
    0.333333
    """
    a, b, y = _two_networks(one, other, labels)
    each = by_example(lambda a, b, y: 1 - 2 * _kendall(_wrong(a, y), _wrong(b, y)), a, b, y)
    return mean_or_each(each, per_example)


def top_overlap(
    one: ArrayLike, other: ArrayLike, labels: ArrayLike, k: int, *, per_example: bool = False
) -> float | Values:
    """Share of the k largest wrong classes that two networks have in common, averaged over examples.

    Of classes tied for the last places each counts with the probability of being drawn into them, in each network by
    itself: the overlap is that expected when ties are broken at random, so it depends on no order of the classes or
    networks, and a network that ties all of them overlaps by chance.

    Parameters
    ----------
    one, other : (N, C), C ≥ 3
    labels : (N,)
    k : 1 to C − 1
    per_example : return the (N,) values instead of their mean

    Returns
    -------
    float in [0, 1], or (N,) float64; k / (C − 1) is expected of unrelated orders (`top_overlap_by_chance`)

    Examples
    --------
    >>> one, other = [[9.0, 4.0, 3.0, 2.0, 1.0]], [[0.0, 4.0, 1.0, 2.0, 3.0]]  # classes 1, 2 and 1, 4
    >>> top_overlap(one, other, [0], 2), top_overlap_by_chance(2, 5)
    (0.5, 0.5)
    """
    a, b, y = _two_networks(one, other, labels)
    _check_k(k, a.shape[1])

    def shared(a: Logits, b: Logits, y: Labels) -> Values:
        return np.einsum("nk,nk->n", _among_largest(_wrong(a, y), k), _among_largest(_wrong(b, y), k)) / k

    return mean_or_each(by_example(shared, a, b, y), per_example)


def top_overlap_by_chance(k: int, classes: int) -> float:
    """The overlap expected of two unrelated orders of the wrong classes: k / (C − 1).

    Parameters
    ----------
    k : 1 to C − 1
    classes : C ≥ 3

    Examples
    --------
    >>> top_overlap_by_chance(5, 101)
    0.05
    """
    _check_classes(classes)
    _check_k(k, classes)
    return k / (classes - 1)


def class_affinity(logits: ArrayLike, labels: ArrayLike, temperature: float = 1.0) -> Values:
    """Which classes are alike: row y is the mean over examples of class y of the softmax over their wrong classes.

    Parameters
    ----------
    logits : (N, C), C ≥ 3
    labels : (N,), with every class
    temperature : T > 0

    Returns
    -------
    (C, C) float64; rows sum to 1, the diagonal is 0. Not symmetric.

    Raises
    ------
    UndefinedMetric
        a class without examples

    References
    ----------
    After the relative class affinity of Fan, Li & Zhan, arXiv 2405.13078.

    Examples
    --------
    >>> from math import log
    >>> class_affinity([[5.0, log(3), 0.0], [0.0, 5.0, 0.0], [log(4), 0.0, 5.0]], [0, 1, 2]).round(6).tolist()
    [[0.0, 0.75, 0.25], [0.5, 0.0, 0.5], [0.8, 0.2, 0.0]]
    """
    z, y = _three_classes(logits, labels)
    t = _checked_temperature(temperature)
    n, classes = z.shape
    counts = np.bincount(y, minlength=classes)
    if not counts.all():
        raise UndefinedMetric(f"class {np.argmin(counts)} has none of the {n} examples: its affinities do not exist")
    affinity = np.zeros((classes, classes))
    for label, rows in enumerate(np.split(np.argsort(y, kind="stable"), np.cumsum(counts)[:-1])):
        wrong = np.arange(classes) != label
        for block in blocks(len(rows), classes):
            affinity[label, wrong] += _tempered_softmax(z[rows[block]][:, wrong], t).sum(0)
    return affinity / counts[:, None]


def affinity_similarity(one: ArrayLike, other: ArrayLike) -> float:
    """How alike are two networks' class relations? Pearson's correlation over the off-diagonal cells.

    Rows of affinities all have the mean 1 / (C − 1), so centring them first would change nothing; of other matrices,
    such as counts of confusions, row sums count. The cells depend on each other: p comes from `kdstats.stats.mantel`.

    Parameters
    ----------
    one, other : (C, C), C ≥ 3; the diagonal is not used

    Returns
    -------
    float in [−1, 1]

    Raises
    ------
    ValueError
        matrices that are not square, of one shape and finite off the diagonal
    UndefinedMetric
        the off-diagonal cells of one of them are all equal

    Examples
    --------
    >>> one = [[0.0, 0.75, 0.25], [0.5, 0.0, 0.5], [0.8, 0.2, 0.0]]
    >>> other = [[0.0, 0.25, 0.75], [0.5, 0.0, 0.5], [0.2, 0.8, 0.0]]  # each row turned round
    >>> round(affinity_similarity(one, other), 6)
    -1.0
    """
    cells = [_off_diagonal(matrix, name) for name, matrix in (("one", one), ("other", other))]
    if len(cells[0]) != len(cells[1]):
        raise ValueError(f"one has shape {np.shape(one)}, other {np.shape(other)}: both need the same classes")
    a, b = cells
    return float(np.clip(a @ b, -1, 1))


def _three_classes(logits: ArrayLike, labels: ArrayLike) -> tuple[Logits, Labels]:
    (z,) = check_logits(logits=logits)
    _check_classes(z.shape[1])
    return z, check_labels(labels, z)


def _two_networks(one: ArrayLike, other: ArrayLike, labels: ArrayLike) -> tuple[Logits, Logits, Labels]:
    a, b = check_logits(one=one, other=other)
    _check_classes(a.shape[1])
    return a, b, check_labels(labels, a)


def _check_classes(classes: int) -> None:
    if classes < 3:
        raise UndefinedMetric(
            f"there are {classes} classes: a single wrong class has no distinctness, order or relations; three or more"
            " are needed"
        )


def _checked_temperature(temperature: float) -> float:
    if not (np.isfinite(temperature) and temperature > 0):
        raise ValueError(f"temperature is {temperature}: it is a positive, finite number")
    return float(temperature)


def _check_k(k: int, classes: int) -> None:
    if not (isinstance(k, int | np.integer) and 1 <= k < classes):
        raise ValueError(f"k is {k}: with {classes} classes there are 1 to {classes - 1} wrong ones to take")


def _wrong(z: Logits, y: Labels) -> Logits:
    """Logits of the wrong classes in their order, (n, C − 1)."""
    return z[np.arange(z.shape[1]) != y[:, None]].reshape(len(z), -1)


def _tempered_softmax(z: Logits, temperature: float) -> Values:
    z = z.astype(np.float64)
    with np.errstate(over="ignore"):
        return softmax((z - z.max(1, keepdims=True)) / temperature)


def _confidences(z: Logits, y: Labels, temperature: float) -> Values:
    """p_y = 1 / Σ_k exp((z_k − z_y) / T); a sum that overflows has the limit's 0."""

    def of_label(z: Logits, y: Labels) -> Values:
        gaps = z.astype(np.float64)
        gaps -= gaps[np.arange(len(y)), y][:, None]
        with np.errstate(over="ignore"):
            gaps /= temperature
            np.exp(gaps, out=gaps)
            return 1 / gaps.sum(1)

    return by_example(of_label, z, y)


def _root(function: Callable[[float], float], a: float, b: float, at_a: float, at_b: float) -> float:
    """Where a function changes sign between a and b: false position, with the Illinois rule."""
    for _ in range(60):
        if abs(at_b) < 1e-15 or abs(b - a) < 1e-14:
            break
        x = (a * at_b - b * at_a) / (at_b - at_a)
        at_x = function(x)
        if at_x * at_b < 0:
            a, at_a = b, at_b
        else:
            at_a /= 2
        b, at_b = x, at_x
    return b


def _among_largest(z: Logits, k: int) -> Values:
    """1 for the k largest of each row, 0 for the others; classes tied for the last places share these."""
    last = np.partition(z, -k, axis=1)[:, -k, None]
    larger, tied = z > last, z == last
    left = k - larger.sum(1, keepdims=True)
    return larger + tied * (left / tied.sum(1, keepdims=True))


def _off_diagonal(matrix: ArrayLike, name: str) -> Values:
    """The cells off the diagonal, centred and scaled to length 1."""
    cells = np.asarray(matrix, dtype=np.float64)
    if cells.ndim != 2 or cells.shape[0] != cells.shape[1]:
        raise ValueError(f"{name} has shape {cells.shape}: affinities are (C, C), a row and a column a class")
    _check_classes(len(cells))
    cells = cells[~np.eye(len(cells), dtype=bool)]
    if not np.isfinite(cells).all():
        raise ValueError(f"{name} holds values off its diagonal that are not finite")
    if np.ptp(cells) <= _SAME * np.abs(cells).max():
        raise UndefinedMetric(f"all classes are equally alike in {name}: its correlation with anything is 0/0")
    cells = cells - cells.mean()
    return cells / np.linalg.norm(cells)
