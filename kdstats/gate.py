"""Conditions on the numbers of an audit: ``inherits_errors.ci_high < 10pp and accuracy.difference > -0.5pp``.

    condition   = conjunction { "or" conjunction }
    conjunction = negation { "and" negation }
    negation    = "not" negation | comparison
    comparison  = sum { ("<" | "<=" | ">" | ">=" | "==" | "!=") sum }
    sum         = product { ("+" | "-") product }
    product     = signed { ("*" | "/") signed }
    signed      = "-" signed | number [ "pp" | "%" ] | name | "(" condition ")"
    name        = measure [ "." estimator ] [ "." field ]

A condition is computed while it is read, by one function a line of this grammar; Python never sees it.
"""

import math
import operator
import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Any, NoReturn

from kdstats.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

FIELDS = ("estimate", "ci_low", "ci_high", "p_value")
DEFAULT = "value"  # the estimator of a bare name, where a measure has it
LONGEST, DEEPEST = 1000, 20

COMPARISONS = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq, "!=": operator.ne,
}  # fmt: skip
SUMS = {"+": operator.add, "-": operator.sub, "−": operator.sub}
PRODUCTS = {"*": operator.mul, "×": operator.mul, "/": operator.truediv, "÷": operator.truediv}
WORDS = ("and", "or", "not")
NO_GATE = (
    "asymmetry bears no gate: h and the raw difference do not tell errors from knowledge"
    " (docs/errors-and-knowledge.md)."
    " Write such as inherits_errors.ci_high < 10pp, which needs the controls' teacher (--control-teacher), or"
    " repeated_errors.more < 20, or negative_transfer.excess.ci_high < 5pp"
)
MEANT = {"=": "==", "&": "and", "&&": "and", "|": "or", "||": "or", "!": "not", "≤": "<=", "≥": ">=", "≠": "!="}

TOKEN = re.compile(
    r"""\ *(?: (?P<points> [0-9]+\.?[0-9]*|\.[0-9]+ ) \ *(?:pp\b|%)
             | (?P<number> (?:[0-9]+\.?[0-9]*|\.[0-9]+) (?:e[+-]?[0-9]+)? )
             | (?P<name> [a-z_]\w* (?:\.\w+)* )
             | (?P<symbol> <=|>=|==|!=|&&|\|\||. )
             | (?P<end> $ ) )""",
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)


@dataclass(frozen=True)
class Outcome:
    """What a condition came to: whether the gate lets it pass, and the numbers that it read."""

    expression: str
    passed: bool
    reason: str


def check_syntax(expression: str) -> None:
    """Refuse what cannot be read as a condition, before there are measures: names are looked up later.

    Raises
    ------
    UserError
        As ``check``, but for names that do not exist.
    """
    reader = _Reader(expression, None)
    reader.whole()


def check(expression: str, measures: "pd.DataFrame", *, fail_if: bool = False) -> Outcome:
    """Check one condition of a release.

    Parameters
    ----------
    expression
        Comparisons, joined by ``and``, ``or``, ``not`` and parentheses, of numbers and names ``measure``,
        ``measure.estimator``, ``measure.field`` or ``measure.estimator.field``; the estimator is ``value`` where none is
        named and the measure has it; the field one of estimate (default), ci_low, ci_high, p_value. ``0.5pp`` and
        ``0.5%`` are 0.005. Sums, differences, products and quotients are allowed on both sides.
    measures
        One row a measure and estimator: columns measure, estimator, the four fields, note.
    fail_if
        The condition must *not* hold.

    Returns
    -------
    Outcome. A condition that reads a number which does not exist is not passed, whatever the rest of it says and
    with or without ``fail_if``.

    Raises
    ------
    UserError
        Where it cannot be read, with a caret at the place, or a name is wrong, with the right ones, the nearest first.

    Examples
    --------
    >>> import pandas as pd
    >>> measures = pd.DataFrame(
    ...     [("accuracy", "value", 0.9, 0.88, 0.92, ""), ("accuracy", "excess", float("nan"), 0, 0, "no controls")],
    ...     columns=["measure", "estimator", "estimate", "ci_low", "ci_high", "note"],
    ... ).assign(p_value=float("nan"))
    >>> check("accuracy.ci_low > 85% and not accuracy < 0.5", measures)
    Outcome(expression='accuracy.ci_low > 85% and not accuracy < 0.5', passed=True, reason='accuracy.ci_low is 0.88, accuracy is 0.9')
    >>> check("accuracy > 0.5 or accuracy.excess > 0", measures).reason
    'not measurable: accuracy.excess has no value (no controls)'
    """  # noqa: E501
    reader = _Reader(expression, _numbers(measures))
    holds = reader.whole()
    if reader.missing:
        return Outcome(expression, False, f"not measurable: {'; '.join(dict.fromkeys(reader.missing))}")
    numbers = ", ".join(f"{name} is {value:.6g}" for name, value in reader.found.items())
    return Outcome(expression, holds != fail_if, f"must not hold: {numbers}" if fail_if else numbers)


@dataclass(frozen=True)
class _Number:
    value: float
    note: str


def _numbers(measures: "pd.DataFrame") -> dict[str, dict[str, dict[str, _Number]]]:
    """Measure -> estimator -> field -> number."""
    found: dict[str, dict[str, dict[str, _Number]]] = {}
    for row in measures.to_dict("records"):
        estimators = found.setdefault(row["measure"], {})
        if row["estimator"] in estimators:
            raise ValueError(f"two rows of {row['measure']}.{row['estimator']}; the gate reads one")
        estimators[row["estimator"]] = {field: _Number(_float(row[field]), row["note"]) for field in FIELDS}
    return found


def _float(value: Any) -> float:
    return math.nan if value is None else float(value)


@dataclass(frozen=True)
class _Token:
    kind: str  # number | name | symbol | end
    text: str
    at: int
    value: float = math.nan


class _Reader:
    """Goes through the tokens once; ``found`` and ``missing`` collect what was looked up, so nothing is skipped."""

    def __init__(self, text: str, numbers: dict[str, dict[str, dict[str, _Number]]] | None) -> None:
        if len(text) > LONGEST:
            raise UserError(f"a condition has at most {LONGEST} characters, this one {len(text)}")
        self.text = "".join(c if c.isprintable() else " " for c in text)
        self.numbers = numbers
        self.found: dict[str, float] = {}
        self.missing: list[str] = []
        self.depth = 0
        self.place = 0
        self.next = self._token()

    # One function a rule of the grammar

    def whole(self) -> bool:
        start = self.next
        holds = self.condition()
        if self.next.kind != "end":
            self.refuse(self.next, _expected(self.next, "and, or, a comparison or the end"))
        holds = self._truth(holds, start, "")
        if not self.found and not self.missing:
            self.refuse(start, "this names no number of the audit, so it is always the same")
        return holds

    def condition(self) -> float | bool:
        start = self.next
        holds = self.conjunction()
        while self._took("or"):
            right = self.next
            other = self._truth(self.conjunction(), right, "or")
            holds = self._truth(holds, start, "or") or other
        return holds

    def conjunction(self) -> float | bool:
        start = self.next
        holds = self.negation()
        while self._took("and"):
            right = self.next
            other = self._truth(self.negation(), right, "and")
            holds = self._truth(holds, start, "and") and other
        return holds

    def negation(self) -> float | bool:
        if not self._took("not"):
            return self.comparison()
        start = self._deeper()
        holds = not self._truth(self.negation(), start, "not")
        self.depth -= 1
        return holds

    def comparison(self) -> float | bool:
        start = self.next
        left = self.sum()
        holds: bool | None = None
        while sign := self._took(*COMPARISONS):
            right_start = self.next
            right = self.sum()
            one = COMPARISONS[sign](self._number(left, start, sign), self._number(right, right_start, sign))
            holds = one if holds is None else holds and one  # 0 < x < 1 is both
            left, start = right, right_start
        return left if holds is None else holds

    def sum(self) -> float | bool:
        start = self.next
        left = self.product()
        while sign := self._took(*SUMS):
            right = self.next
            left = self._computed(SUMS[sign], left, start, sign, self.product(), right)
        return left

    def product(self) -> float | bool:
        start = self.next
        left = self.signed()
        while sign := self._took(*PRODUCTS):
            right = self.next
            left = self._computed(PRODUCTS[sign], left, start, sign, self.signed(), right)
        return left

    def signed(self) -> float | bool:
        if sign := self._took("-", "−"):
            start = self._deeper()
            value: float | bool = -self._number(self.signed(), start, sign)
            self.depth -= 1
            return value
        if self._took("("):
            self._deeper()
            value = self.condition()
            if not self._took(")"):
                self.refuse(self.next, _expected(self.next, "a closing )"))
            self.depth -= 1
            return value
        token = self.next
        if token.kind not in ("number", "name") or token.text in WORDS:
            self.refuse(token, _expected(token, "a number, a name or ("))
        self.next = self._token()
        return token.value if token.kind == "number" else self._named(token)

    # What the rules are made of

    def _token(self) -> _Token:
        match = TOKEN.match(self.text, self.place)
        assert match is not None and match.lastgroup is not None
        kind, text, at, self.place = match.lastgroup, match[match.lastgroup], match.start(match.lastgroup), match.end()
        if kind not in ("number", "points"):
            return _Token(kind, text, at)
        value = float(text if kind == "number" else text + "e-2")  # .7 / 100 would not be .007
        if math.isinf(value):
            self.refuse(_Token(kind, text, at), "this number is too large")
        return _Token("number", text, at, value)

    def _took(self, *texts: str) -> str:
        """The next token if it is one of these, and then on to the one after it; else nothing."""
        if self.next.text not in texts:
            return ""
        text, self.next = self.next.text, self._token()
        return text

    def _deeper(self) -> _Token:
        self.depth += 1
        if self.depth > DEEPEST:
            self.refuse(self.next, f"conditions are nested at most {DEEPEST} deep")
        return self.next

    def _truth(self, value: float | bool, at: _Token, word: str) -> bool:
        if not isinstance(value, bool):
            self.refuse(at, f"{word or 'a condition'} needs a comparison such as accuracy >= 0.9, this is a number")
        return value

    def _number(self, value: float | bool, at: _Token, sign: str) -> float:
        if isinstance(value, bool):
            self.refuse(at, f"{sign} needs numbers, this is a comparison")
        return value

    def _computed(
        self, compute: Any, left: float | bool, start: _Token, sign: str, right: float | bool, right_start: _Token
    ) -> float:
        a, b = self._number(left, start, sign), self._number(right, right_start, sign)
        try:
            value = float(compute(a, b))
        except ZeroDivisionError:
            value = math.nan
        known = not (math.isnan(a) or math.isnan(b))
        if known and not (math.isfinite(value) and math.isfinite(a) and math.isfinite(b)):
            self.missing.append(f"{a:.6g} {sign} {b:.6g} has no value")
        return value

    def _named(self, token: _Token) -> float:
        measure, *rest = token.text.split(".")
        if measure == "asymmetry":
            self.refuse(token, NO_GATE)
        if self.numbers is None:
            self.found[token.text] = math.nan
            return math.nan
        if measure not in self.numbers:
            others = self.numbers.keys() - {"asymmetry"}
            self.refuse(token, f"there is no measure {measure}; there are {_nearest_first(measure, others)}")
        estimators = self.numbers[measure]
        estimator = rest.pop(0) if rest and rest[0] in estimators else DEFAULT
        field = rest.pop(0) if rest and rest[0] in FIELDS else FIELDS[0]
        if rest:
            wrong = ".".join(rest)
            self.refuse(
                token,
                f"{token.text} is wrong from .{wrong} on: {measure} has the estimators"
                f" {_nearest_first(wrong, estimators)}, each with {_nearest_first(wrong, FIELDS)}",
            )
        if estimator not in estimators:
            choice = ", ".join(f"{measure}.{name}" for name in estimators)
            self.refuse(token, f"{measure} alone does not say which estimator: write one of {choice}")
        number = estimators[estimator][field]
        if not math.isnan(number.value):  # an interval's end may be infinite
            self.found[token.text] = number.value
        else:
            self.missing.append(f"{token.text} has no value" + (f" ({number.note})" if number.note else ""))
        return number.value

    def refuse(self, at: _Token, what: str) -> NoReturn:
        raise UserError(f"{what}\n  {self.text}\n  {' ' * at.at}^")


def _expected(token: _Token, what: str) -> str:
    if token.text in MEANT:
        return f"{token.text} has no meaning here; write {MEANT[token.text]}"
    found = "the condition ends" if token.kind == "end" else f"there is {token.text}"
    return f"here {what} is needed, and {found}"


def _nearest_first(wrong: str, names: Iterable[str]) -> str:
    return ", ".join(sorted(sorted(names), key=lambda name: -SequenceMatcher(None, wrong.lower(), name).ratio()))
