"""What students inherit from the teacher that taught them: its errors (W) and its right answers (K).

Teachers are swapped in disjoint pairs: each student of a pair was taught by one of its two teachers. An example is
*split* for a pair where exactly one of the two says the true class y; ℓ is what the other says. There, students of the
teacher that is right are *right-taught*, those of the other *wrong-taught*. Both kinds of student answer the same
examples, so an answer that a student would give anyway cancels:

    W = P(ℓ | wrong-taught) − P(ℓ | right-taught),  K = P(y | right-taught) − P(y | wrong-taught)

each the mean of two halves, one for each teacher that may be the right one. Without the halves a teacher that is better
than its partner, and hands over nothing but its quality, gives W > 0.

What W and K cannot tell (docs/errors-and-knowledge.md): W − K = u_r − u_w, the shares of answers that are neither. So
they are two views of one swap, and with two classes they are equal. Whether errors are held to *more firmly* is asked
of those third answers, in `kdstats.metrics.thirds`.

References
----------
Stanton et al. 2021, arXiv 2106.05945, for students of another teacher as the control. The balanced estimators are
kdstats' own.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kdstats.metrics._arrays import UndefinedMetric, Values

Mask = NDArray[np.bool_]
FEWEST_SPLIT = 20  # distinct split examples, in pairs with both halves, for a claim
FEWEST_PAIRS = 3  # swapped pairs of teachers for a claim about the recipe


@dataclass(frozen=True, eq=False)
class Swap:
    """Who answered what where exactly one teacher of a pair is right. Off these examples all shares are 0.

    Attributes
    ----------
    halves : (Q, 2, N) bool; [q, 0] is where the first teacher of pair q alone is right, [q, 1] where the second is
    right_y, right_other : (Q, N), shares of right-taught students that say y, ℓ
    wrong_y, wrong_other : (Q, N), the same of wrong-taught students
    labels : (N,) the true classes
    students : (Q,) students a side, the mean of the two sides
    """

    halves: Mask
    right_y: Values
    right_other: Values
    wrong_y: Values
    wrong_other: Values
    labels: NDArray[np.intp]
    students: Values

    @property
    def split(self) -> Mask:
        """(Q, N): exactly one of the two teachers is right."""
        return np.asarray(self.halves.any(axis=1))

    @property
    def right_third(self) -> Values:
        """(Q, N): shares of right-taught students whose answer is neither y nor ℓ."""
        return np.where(self.split, 1 - self.right_y - self.right_other, 0.0).clip(0, 1)

    @property
    def wrong_third(self) -> Values:
        """(Q, N): the same of wrong-taught students."""
        return np.where(self.split, 1 - self.wrong_y - self.wrong_other, 0.0).clip(0, 1)

    @property
    def errors(self) -> Values:
        """(Q, N): what W is the mean of, the share of ℓ among wrong-taught minus that among right-taught."""
        return self.wrong_other - self.right_other

    @property
    def knowledge(self) -> Values:
        """(Q, N): what K is the mean of, the share of y among right-taught minus that among wrong-taught."""
        return self.right_y - self.wrong_y

    @property
    def n_usable(self) -> int:
        """Distinct examples that are split in a pair both of whose halves have examples."""
        both = np.asarray(self.halves.any(axis=2)).all(axis=1)
        return int(self.split[both].any(axis=0).sum())


@dataclass(frozen=True, eq=False)
class Balanced:
    """W or K, with what its inference is made of.

    Attributes
    ----------
    estimate : Σ_q h_q W_q / Σ h
    by_pair : (Q,) W_q, the mean of the pair's two halves; NaN where a half is empty
    weights : (Q,) h_q = n_A n_B / (n_A + n_B), summed over classes where they are apart; 0 where a half is empty
    values : (Q, N), x_qi = W + Q (h_q / Σh) {W_q − W + (N/2) [1_A (g − a_q) / n_A + 1_B (g − b_q) / n_B]}: the delta
        method's linearisation, whose mean is the estimate and whose spread over pairs and examples is the estimate's
    """

    estimate: float
    by_pair: Values
    weights: Values
    values: Values


def swap(
    teachers: ArrayLike,
    students: ArrayLike,
    labels: ArrayLike,
    taught_by: ArrayLike,
    pairs: ArrayLike,
    *,
    started_from: ArrayLike | None = None,
    start: str = "",
) -> Swap:
    """Count who says what on the split examples.

    Parameters
    ----------
    teachers : (T, N) int, classes that teachers say
    students : (M, N) int, classes that students say
    labels : (N,) int, true classes
    taught_by : (M,) int, the row of ``teachers`` that taught each student
    pairs : (Q, 2) int, rows of ``teachers``: disjoint pairs that were swapped
    started_from : (M,) int, the teacher whose initial weights each student began with; with ``start`` alone
    start : "right" or "wrong": only students that began with the initial weights of the teacher that is right, wrong,
        on the example; empty for all

    Returns
    -------
    Swap

    Raises
    ------
    ValueError
        Shapes or indices that do not fit, pairs that are not disjoint, a teacher of a pair that taught nobody.

    Examples
    --------
    >>> y = np.zeros(6, int)
    >>> teachers = np.array([[0, 0, 1, 0, 1, 2], [0, 1, 0, 2, 1, 0]])
    >>> found = swap(teachers, [[0, 0, 3, 2, 1, 0], [0, 1, 0, 2, 1, 0]], y, [0, 1], [[0, 1]])
    >>> np.flatnonzero(found.split[0]).tolist(), found.errors[0].tolist()
    ([1, 2, 3, 5], [0.0, 1.0, 0.0, 0.0, 0.0, 0.0])
    """
    t, s, y, by, pair = checked(teachers, students, labels, taught_by, pairs)
    began = None
    if start:
        if start not in ("right", "wrong") or started_from is None:
            raise ValueError(f'start is {start!r}: it is "right" or "wrong", and needs started_from')
        began = np.asarray(started_from)
        if began.shape != by.shape:
            raise ValueError(f"started_from has shape {began.shape}, taught_by {by.shape}: one teacher a student")
    n_pairs, n = len(pair), len(y)
    halves = np.zeros((n_pairs, 2, n), bool)
    shares = np.zeros((4, n_pairs, n))  # right-taught y, ℓ; wrong-taught y, ℓ
    sizes = np.zeros(n_pairs)
    for q, both in enumerate(pair):
        right = t[both] == y
        sides = []
        for half, (better, worse) in enumerate((both, both[::-1])):
            here = halves[q, half] = right[half] & ~right[1 - half]
            other = t[worse]
            for side, teacher in enumerate((better, worse)):  # right-taught, then wrong-taught
                of = by == teacher
                if began is not None:
                    of &= began == (better if start == "right" else worse)
                if not of.any():
                    raise ValueError(_nobody(teacher, start))
                sides.append(np.count_nonzero(of))
                said = s[of][:, here]
                shares[2 * side, q, here] = (said == y[here]).mean(axis=0)
                shares[2 * side + 1, q, here] = (said == other[here]).mean(axis=0)
        sizes[q] = np.mean(sides)
    return Swap(halves, shares[0], shares[1], shares[2], shares[3], y, sizes)


def _nobody(teacher: int, start: str) -> str:
    where = f" among those that began with the {start} teacher's initial weights" if start else ""
    return f"teacher {teacher} taught no student{where}: a pair needs students of both its teachers"


def checked(
    teachers: ArrayLike, students: ArrayLike, labels: ArrayLike, taught_by: ArrayLike, pairs: ArrayLike
) -> tuple[NDArray[np.intp], ...]:
    """The five arrays of `swap`, or a ValueError that names the one that does not fit."""
    arrays = {"teachers": teachers, "students": students, "labels": labels, "taught_by": taught_by, "pairs": pairs}
    found = {name: np.asarray(value) for name, value in arrays.items()}
    for (name, array), dimensions in zip(found.items(), (2, 2, 1, 1, 2), strict=True):
        if array.ndim != dimensions or array.dtype.kind not in "iu" or array.size == 0:
            shape = {"teachers": "(T, N)", "students": "(M, N)", "labels": "(N,)", "taught_by": "(M,)"}.get(
                name, "(Q, 2)"
            )
            raise ValueError(f"{name} has shape {array.shape} and type {array.dtype}: whole numbers {shape} are needed")
    t, s, y, by, pair = found.values()
    if not t.shape[1] == s.shape[1] == len(y):
        raise ValueError(
            f"teachers answer {t.shape[1]} examples, students {s.shape[1]}, and there are {len(y)} labels:"
            " all need the same examples, in one order"
        )
    if len(by) != len(s):
        raise ValueError(f"taught_by names {len(by)} teachers for {len(s)} students: one a student is needed")
    if pair.shape[1] != 2:
        raise ValueError(f"pairs has shape {pair.shape}: two teachers a row")
    for name, rows in (("taught_by", by), ("pairs", pair)):
        if rows.min() < 0 or rows.max() >= len(t):
            raise ValueError(
                f"{name} names teacher {rows.max() if rows.min() >= 0 else rows.min()}; there are {len(t)}"
            )
    if len(np.unique(pair)) < pair.size:
        raise ValueError("pairs share a teacher: teachers are swapped in disjoint pairs, so each is in one")
    return tuple(array.astype(np.intp) for array in (t, s, y, by, pair))


def balanced(differences: Values, halves: Mask, classes: NDArray[np.intp] | None = None) -> Balanced:
    """W from ``Swap.errors``, K from ``Swap.knowledge``: averaged over which teacher of a pair is right.

        W_q = (a_q + b_q) / 2,  h_q = n_A n_B / (n_A + n_B),  W = Σ h_q W_q / Σ h

    a_q, b_q are the means of g over the n_A examples where teacher A alone is right and the n_B where B is.

    Parameters
    ----------
    differences : (Q, N), g; 0 where an example is not split
    halves : (Q, 2, N) bool, as `Swap` has them
    classes : (N,) int, the true classes: the same within each class, Σ_qc h_qc W_qc / Σ h. It takes away quality that
        is passed on class by class, though no leaning to a class

    Returns
    -------
    Balanced

    Raises
    ------
    UndefinedMetric
        No pair (and class) has split examples in both halves.

    Examples
    --------
    By hand: teacher A is right on two examples, with g 1 and 0, B on one, with g 0, so W = (½ + 0) / 2.

    >>> halves = np.array([[[True, True, False, False], [False, False, True, False]]])
    >>> found = balanced(np.array([[1.0, 0.0, 0.0, 0.0]]), halves)
    >>> found.estimate, found.weights.round(6).tolist(), found.values.tolist()
    (0.25, [0.666667], [[0.75, -0.25, 0.25, 0.25]])
    """
    g = np.asarray(differences, np.float64)
    n_pairs, n = g.shape
    codes = np.zeros(n, np.intp) if classes is None else np.unique(classes, return_inverse=True)[1]
    k = int(codes.max()) + 1
    where = [np.array([np.bincount(codes[of], minlength=k) for of in halves[:, half]], float) for half in (0, 1)]
    sums = [
        np.array([np.bincount(codes[of], row[of], minlength=k) for row, of in zip(g, halves[:, half], strict=True)])
        for half in (0, 1)
    ]
    both = (where[0] > 0) & (where[1] > 0)
    size = [np.where(both, count, 1.0) for count in where]
    weight = np.where(both, size[0] * size[1] / (size[0] + size[1]), 0.0)  # h_qc
    if not weight.any():
        raise UndefinedMetric(_no_halves(classes is not None))
    means = [np.where(both, total / count, 0.0) for total, count in zip(sums, size, strict=True)]  # a_qc, b_qc
    of_cell = (means[0] + means[1]) / 2
    share = weight / weight.sum()
    estimate = float((share * of_cell).sum())
    values = np.full((n_pairs, n), estimate)
    values += n_pairs * (share * (of_cell - estimate)).sum(axis=1, keepdims=True)
    for half in (0, 1):
        slope = share / size[half]
        moved = slope[:, codes] * (g - means[half][:, codes])
        values += np.where(halves[:, half], n_pairs * n / 2 * moved, 0.0)
    of_pair = weight.sum(axis=1)
    by_pair = np.divide((weight * of_cell).sum(axis=1), of_pair, out=np.full(n_pairs, np.nan), where=of_pair > 0)
    return Balanced(estimate, by_pair, of_pair, values)


def of_students(
    teachers: ArrayLike,
    students: ArrayLike,
    labels: ArrayLike,
    taught_by: ArrayLike,
    pairs: ArrayLike,
    *,
    knowledge: bool = False,
    classes: NDArray[np.intp] | None = None,
) -> tuple[Values, NDArray[np.intp]]:
    """What each student adds to W (or K), for claims about these teachers, whose units are students.

        e_j = share of ℓ where its own teacher is wrong − share of ℓ where its own teacher is right

    For K the shares are of y, where it is right minus where it is wrong. W_q is half the mean e of the one teacher's
    students plus half that of the other's.

    Parameters
    ----------
    knowledge : K rather than W
    classes : as `balanced` has it

    Returns
    -------
    (M', N) per-example values of the students of pairs with both halves, multiplied by T h_q / (2 Σh) with T the number
    of those teachers, such that the mean over teachers of their students' means is W; and (M',) their teachers. The
    e_j themselves are row means over that factor.

    Raises
    ------
    ValueError, UndefinedMetric
        As `swap` and `balanced`.

    Examples
    --------
    >>> y, teachers = np.zeros(6, int), np.array([[0, 0, 1, 0, 1, 2], [0, 1, 0, 2, 1, 0]])
    >>> rows, of = of_students(teachers, [[0, 0, 3, 2, 1, 0], [0, 1, 0, 2, 1, 0]], y, [0, 1], [[0, 1]])
    >>> rows.mean(axis=1).tolist(), of.tolist()  # −½: says ℓ once where its teacher is right; 1: where it is wrong
    ([-0.5, 1.0], [0, 1])
    """
    t, s, y, by, pair = checked(teachers, students, labels, taught_by, pairs)
    codes = np.zeros(len(y), np.intp) if classes is None else np.unique(classes, return_inverse=True)[1]
    k = int(codes.max()) + 1
    rows, owners, total = [], [], 0.0
    for both in pair:
        right = t[both] == y
        halves = [right[0] & ~right[1], right[1] & ~right[0]]
        sizes = np.array([np.bincount(codes[half], minlength=k) for half in halves], float)
        there = (sizes > 0).all(axis=0)
        if not there.any():
            continue
        sizes = np.maximum(sizes, 1)
        weight = np.where(there, sizes.prod(axis=0) / sizes.sum(axis=0), 0.0)  # h_qc
        total += weight.sum()
        for side, teacher in enumerate(both):
            other = np.where(halves[side], t[both[1 - side]], t[teacher])
            up, down = (side, 1 - side) if knowledge else (1 - side, side)
            for said in s[by == teacher]:
                hit = (said == (y if knowledge else other)).astype(float)
                row = np.zeros(len(y))
                for sign, at in ((1, up), (-1, down)):
                    where = halves[at]
                    mean = np.bincount(codes[where], hit[where], minlength=k) / sizes[at]
                    row += sign * (
                        (weight * mean).sum() + len(y) * where * (weight / sizes[at])[codes] * (hit - mean[codes])
                    )
                rows.append(row)
                owners.append(int(teacher))
    if not rows:
        raise UndefinedMetric(_no_halves(classes is not None))
    return np.array(rows) * len(set(owners)) / (2 * total), np.array(owners)


def _no_halves(by_class: bool) -> str:
    what = "pair of teachers and class" if by_class else "pair of teachers"
    return (
        f"no {what} has examples where the one teacher alone is right and others where the other is: what is inherited"
        " cannot be told from how good the teachers are"
    )


def repeated_errors(
    teachers: ArrayLike,
    students: ArrayLike,
    labels: ArrayLike,
    taught_by: ArrayLike,
    pairs: ArrayLike,
    *,
    started_from: ArrayLike | None = None,
) -> tuple[Values, Values, Values]:
    """Of a teacher's errors, how many its students repeat, and how many students of the other teacher of its pair do.

    Parameters
    ----------
    started_from : (M,) int: students of the other teacher count where they began with *this* teacher's initial weights

    Returns
    -------
    errors, own, other : (Q, N) each, numbers of errors: means over rows are means over the pair's two teachers and
        their students, N · 1[t ≠ y], N · 1[t ≠ y, s = t] of own students, of the other's

    Examples
    --------
    >>> y, teachers = np.zeros(6, int), np.array([[0, 0, 1, 0, 1, 2], [0, 1, 0, 2, 1, 0]])
    >>> counts = repeated_errors(teachers, [[0, 0, 3, 2, 1, 0], [0, 1, 0, 2, 1, 0]], y, [0, 1], [[0, 1]])
    >>> [float(each.mean().round(6)) for each in counts]  # of 3 errors each: own 1 and 3, the other's 1 and 2
    [3.0, 2.0, 1.5]
    """
    t, s, y, by, pair = checked(teachers, students, labels, taught_by, pairs)
    began = None if started_from is None else np.asarray(started_from)
    shape = len(pair), len(y)
    errors, own, other = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    for q, both in enumerate(pair):
        for side, teacher in enumerate(both):
            wrong = t[teacher] != y
            mine, theirs = by == teacher, by == both[1 - side]
            if began is not None:
                mine, theirs = mine & (began == teacher), theirs & (began == teacher)
            if not (mine.any() and theirs.any()):
                raise ValueError(_nobody(teacher if not mine.any() else both[1 - side], ""))
            errors[q] += len(y) / 2 * wrong
            own[q] += len(y) / 2 * (wrong & (s[mine] == t[teacher])).mean(axis=0)
            other[q] += len(y) / 2 * (wrong & (s[theirs] == t[teacher])).mean(axis=0)
    return errors, own, other
