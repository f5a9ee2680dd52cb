"""What a test found: one small object for every test of the room."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

Alternative = Literal["two-sided", "greater", "less"]
Array = NDArray[np.float64]
Number = Any  # float for one sample, Array for many
Interval = tuple[Number, Number]
LARGEST = 1e100  # of a score; squares of much larger ones overflow


@dataclass(frozen=True)
class TestResult:
    """What a test found.

    Attributes
    ----------
    test : str
        The test's exact name, with how its p-value was made: ``sign-flip, exact``, ``sign-flip, 99,999 draws``, …
    statistic, p_value : float or array
    estimate : float or array
        What the test is about, x minus y: each test says which.
    n : int
        Units: pairs, or all replicates of an unpaired table.
    alternative : str
        ``two-sided``, ``greater``, ``less``, ``equivalence`` or ``non-inferiority``.
    interval : callable, optional
        level -> (low, high) of the estimate; asked through ``confidence_interval``.
    details : mapping
        Further numbers of this test, each a column of ``to_frame``: ``standard_error``, ``df``, … Read as attributes.
    note : str
        What the data leave undecided, such as ties that rounding may hide; mostly empty.
    """

    __test__ = False  # not a test case, whatever pytest thinks of the name

    test: str
    statistic: Number
    p_value: Number
    estimate: Number
    n: int
    alternative: str
    interval: Callable[[float], Interval] | None = field(default=None, repr=False, compare=False)
    details: Mapping[str, Number] = field(default_factory=dict)
    note: str = field(default="", repr=False)

    def __getattr__(self, name: str) -> Number:
        details = self.__dict__.get("details", {})
        if name in details:
            return details[name]
        known = ", ".join(details)
        raise AttributeError(
            f"a result of {self.__dict__.get('test')} has no {name}{f'; it has {known}' * bool(known)}"
        )

    def confidence_interval(self, level: float = 0.95) -> Interval:
        """Two-sided interval of the estimate at this level, made when asked.

        An end that no data of this size can bound is -inf or inf.

        Raises
        ------
        ValueError
            A level outside (0, 1); a test that has no interval.
        """
        check_level(level)
        if self.interval is None:
            raise ValueError(f"{self.test}: there is no interval for its estimate")
        return self.interval(level)

    def to_frame(self, level: float = 0.95) -> pd.DataFrame:
        """One row a sample (leading axes in C order): test, statistic, p_value, estimate, n, alternative, the details,
        and ci_low, ci_high, ci_level where the test has an interval; note where an end of it is infinite, or where the
        result has one.
        """
        names = ("test", "statistic", "p_value", "estimate", "n", "alternative")
        columns = {name: getattr(self, name) for name in names} | dict(self.details)
        if self.interval is not None:
            low, high = self.confidence_interval(level)
            columns |= {"ci_low": low, "ci_high": high, "ci_level": level}
            infinite = np.isinf(low) | np.isinf(high)
            if np.any(infinite):
                why = (
                    f"an end of the interval is infinite: these data (n = {self.n}) do not bound it at level {level:g}"
                )
                both = f"{why}; {self.note}" if self.note else why
                columns["note"] = np.where(infinite, both, self.note)
        if self.note and "note" not in columns:
            columns["note"] = self.note
        arrays = np.broadcast_arrays(*columns.values())
        return pd.DataFrame({name: array.ravel() for name, array in zip(columns, arrays, strict=True)})


def numbers(values: Any, name: str) -> Array:
    """Values as float64, refused where they could not be taken for what they are.

    Raises
    ------
    ValueError
        Text, ragged lists, complex numbers; masked values; single and half precision, whose rounding hides ties; finite
        numbers beyond ±1e100.
    """
    try:
        array = np.asarray(values)
        if array.dtype.kind == "O":
            if any(isinstance(each, np.floating) and each.dtype.itemsize < 8 for each in array.flat):
                array = array.astype(np.float32)
            else:
                array = array.astype(np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name} is no array of numbers, with as many on every row: {str(values)[:60]}") from None
    if array.dtype.kind not in "buif":
        raise ValueError(f"{name} has type {array.dtype}: scores are real numbers")
    if np.ma.is_masked(values):
        raise ValueError(f"{name} has masked values: leave these replicates out on both sides")
    refuse_single(array.dtype, name)
    found = array.astype(np.float64, copy=False)
    if found.size and LARGEST < (largest := max(found.max(), -found.min())) < np.inf:
        raise ValueError(f"{name} has ±{largest:g}: beyond ±{LARGEST:g} squares overflow")
    return found


def refuse_single(dtype: Any, name: str) -> None:
    """Refuse float32 and float16: differences that are equal come out unequal, and an exact p with them too small."""
    if dtype.kind == "f" and dtype.itemsize < 8:
        digits = {2: 3, 4: 6}.get(dtype.itemsize, 6)
        raise ValueError(
            f"{name} is {str(dtype).lower()}, which keeps {digits} digits: differences that are equal come out unequal,"
            " and an exact p-value with them too small. Average in float64, or round to the digits that count and"
            " convert, such as values.astype(float).round(6)"
        )


def plain(array: Any) -> Number:
    """A float for one sample, a float64 array for many."""
    return float(array) if np.ndim(array) == 0 else np.asarray(array, dtype=np.float64)


def binary_scale(values: Array, axis: int | tuple[int, ...] | None = -1) -> Array:
    """The power of two next to the largest size, axes kept: divided by it squares neither overflow nor vanish.

    Dividing by a power of two rounds nothing, so that results of ordinary sizes stay what they are to the last bit.

    Examples
    --------
    >>> binary_scale(np.array([0.75, -5.0])).tolist(), binary_scale(np.zeros(2)).tolist()
    ([8.0], [1.0])
    """
    exponent = np.frexp(np.abs(values).max(axis=axis, keepdims=True))[1]
    return np.ldexp(1.0, np.clip(exponent, -1000, 1000))


def extreme_scale(values: Array, axis: int | tuple[int, ...] | None = -1) -> Array:
    """``binary_scale`` where values are beyond 1e±30, and 1 elsewhere: for mean squares that are shown.

    Examples
    --------
    >>> extreme_scale(np.array([[3.0, 1.0], [2e-200, 0.0]])).ravel().tolist()[0]
    1.0
    """
    scale = binary_scale(values, axis)
    return np.where(np.abs(np.log2(scale)) < 100, 1.0, scale)


def standard_deviation(values: Array, ddof: int = 1) -> Array:
    """On the last axis, also where squares would overflow or vanish.

    Examples
    --------
    >>> standard_deviation(np.array([1e-200, 3e-200])).item() > 0
    True
    """
    scale = binary_scale(values)
    return np.asarray((values / scale).std(axis=-1, ddof=ddof) * scale[..., 0])


def check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"level is {level}: an interval's level lies between 0 and 1, such as 0.95")


def check_alternative(alternative: str) -> None:
    if alternative not in get_args(Alternative):
        raise ValueError(f"alternative is {alternative!r}: it is one of {', '.join(get_args(Alternative))}")


def check_margin(margin: float) -> None:
    if not (np.isfinite(margin) and margin > 0):
        raise ValueError(f"margin is {margin}: equivalence needs a positive one, in the unit of the scores")


def t_p_value(t: Number, df: Number, alternative: str) -> Number:
    """p-value of t on df degrees of freedom; df = inf is the normal distribution."""
    if alternative == "two-sided":
        return 2 * stats.t.sf(np.abs(t), df)
    return stats.t.sf(t if alternative == "greater" else np.negative(t), df)


def t_interval(estimate: Number, standard_error: Number, df: Number, level: float) -> Interval:
    """estimate ∓ t(½ + level/2; df) · standard_error, NaN where the standard error is 0 or NaN."""
    check_level(level)
    error = np.asarray(standard_error, dtype=np.float64)
    half = stats.t.ppf(0.5 + level / 2, df) * np.where(error > 0, error, np.nan)
    return plain(estimate - half), plain(estimate + half)
