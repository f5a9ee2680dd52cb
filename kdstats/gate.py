"""Conditions of a release: comparisons over the numbers of an audit, and nothing that could run code.

    asymmetry.headroom.ci_high < 0.1 and negative_flip_rate <= 2%

A name is ``measure[.estimator][.field]``: the estimator is ``value`` unless it is told, the field ``estimate`` unless
it is ``ci_low``, ``ci_high`` or ``p_value``. Numbers may end in ``%`` or ``pp``. There are + - * /, parentheses,
< <= > >= == !=, ``and``, ``or``, ``not``. An expression that touches a number which does not exist is not measurable,
and fails, whatever the rest of it says: a release must not pass because a file was too small to tell.
"""

import math
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from kdstats.documents import nearest
from kdstats.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")
FIELDS = ("estimate", "ci_low", "ci_high", "p_value")
TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*(?P<unit>%|pp)?"
    r"|(?P<name>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)|(?P<sign><=|>=|==|!=|<|>|[-+*/()]))"
)
COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq, "!=": operator.ne,
}  # fmt: skip
ARITHMETIC: dict[str, Callable[[float, float], float]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv,
}  # fmt: skip
DEEPEST = 50


@dataclass(frozen=True)
class Outcome:
    """What a condition came to: ``reason`` has the numbers it was about."""

    expression: str
    passed: bool
    reason: str


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    value: float
    place: int


def check(expression: str, measures: "pd.DataFrame", *, fail_if: bool = False) -> Outcome:
    """Whether a condition holds; with ``fail_if`` whether it does not.

    Parameters
    ----------
    expression : as the module says
    measures : a row a (measure, estimator), with estimate, ci_low, ci_high, p_value and note

    Raises
    ------
    UserError
        A name that there is not, with those that there are; a mistake in the expression, with its place.

    Examples
    --------
    >>> import pandas as pd
    >>> row = {"measure": "accuracy", "estimator": "difference", "estimate": -0.004, "ci_low": -0.012, "note": ""}
    >>> measures = pd.DataFrame([row | {"ci_high": 0.004, "p_value": 0.3}])
    >>> check("accuracy.difference.ci_low > -1pp", measures)
    Outcome(expression='accuracy.difference.ci_low > -1pp', passed=False, reason='accuracy.difference.ci_low is -0.012')
    >>> check("accuracy.difference < -1pp", measures, fail_if=True).passed
    True
    """
    parser = _Parser(expression, measures)
    holds = parser.condition()
    parser.end()
    if parser.missing:
        return Outcome(expression, False, f"not measurable: {'; '.join(dict.fromkeys(parser.missing))}")
    return Outcome(expression, holds != fail_if, ", ".join(dict.fromkeys(parser.seen)))


class _Parser:
    """Recursive descent: or, and, not, comparison, sum, product, sign, atom. Every part is looked at."""

    def __init__(self, expression: str, measures: "pd.DataFrame") -> None:
        self.expression, self.measures = expression, measures
        self.seen: list[str] = []
        self.missing: list[str] = []
        self.depth = 0
        self.tokens = list(self._tokens())

    def _tokens(self) -> list[_Token]:
        found, place = [], 0
        text = self.expression.rstrip()
        while place < len(text):
            match = TOKEN.match(text, place)
            if match is None:
                raise self.mistake("is not understood", len(text) - len(text[place:].lstrip()))
            kind = str(match.lastgroup if match.lastgroup != "unit" else "number")
            start = match.start(kind)
            value = float(match["number"]) / (100 if match["unit"] else 1) if match["number"] else 0.0
            if kind == "name" and match[kind] in ("and", "or", "not"):
                kind = "word"
            found.append(_Token(kind, text[start : match.end(match.lastgroup or 0)], value, start))
            place = match.end()
        if not found:
            raise UserError("an empty condition: write one such as negative_flip_rate <= 0.02")
        return found

    def mistake(self, what: str, place: int | None = None) -> UserError:
        if place is None:
            place = self.tokens[0].place if self.tokens else len(self.expression)
        return UserError(f"condition: {what}:\n  {self.expression}\n  {' ' * place}^")

    def at(self, *texts: str) -> bool:
        return bool(self.tokens) and self.tokens[0].kind in ("sign", "word") and self.tokens[0].text in texts

    def take(self) -> _Token:
        return self.tokens.pop(0)

    def end(self) -> None:
        if self.tokens:
            raise self.mistake("something is left over here")

    def condition(self) -> bool:
        holds = self.conjunction()
        while self.at("or"):
            self.take()
            holds = self.conjunction() or holds
        return holds

    def conjunction(self) -> bool:
        holds = self.negation()
        while self.at("and"):
            self.take()
            holds = self.negation() and holds
        return holds

    def negation(self) -> bool:
        if self.at("not"):
            self.take()
            return not self.negation()
        if self.at("(") and self._is_condition():
            return self.inside(self.condition)
        return self.comparison()

    def _is_condition(self) -> bool:
        """Whether the parenthesis that opens here holds a comparison, and not a sum."""
        depth = 0
        for token in self.tokens:
            if token.kind == "sign" and token.text in "()":
                depth += 1 if token.text == "(" else -1
                if depth == 0:
                    return False
            elif token.text in COMPARISONS or token.kind == "word":
                return True
        return False

    def inside(self, parse: Callable[[], T]) -> T:
        self.take()
        self.depth += 1
        if self.depth > DEEPEST:
            raise self.mistake(f"more than {DEEPEST} parentheses within each other")
        value = parse()
        if not self.at(")"):
            raise self.mistake("a ) is missing here", self._here())
        self.take()
        self.depth -= 1
        return value

    def comparison(self) -> bool:
        left = self.sum()
        if not self.at(*COMPARISONS):
            raise self.mistake(f"a comparison is needed here ({' '.join(COMPARISONS)})", self._here())
        compare = COMPARISONS[self.take().text]
        right = self.sum()
        if self.at(*COMPARISONS):
            raise self.mistake("one comparison at a time; join two by and")
        return compare(left, right)

    def _here(self) -> int:
        return self.tokens[0].place if self.tokens else len(self.expression)

    def sum(self) -> float:
        value = self.product()
        while self.at("+", "-"):
            value = ARITHMETIC[self.take().text](value, self.product())
        return value

    def product(self) -> float:
        value = self.signed()
        while self.at("*", "/"):
            sign = self.take()
            other = self.signed()
            if sign.text == "/" and other == 0:
                self.missing.append("a division by 0")
                return math.nan
            value = ARITHMETIC[sign.text](value, other)
        return value

    def signed(self) -> float:
        sign = 1.0
        while self.at("-", "+"):
            sign = -sign if self.take().text == "-" else sign
        return sign * self.atom()

    def atom(self) -> float:
        if self.at("("):
            return self.inside(self.sum)
        if not self.tokens or self.tokens[0].kind not in ("number", "name"):
            raise self.mistake("a number or a name is needed here", self._here())
        token = self.take()
        return token.value if token.kind == "number" else self.looked_up(token)

    def looked_up(self, token: _Token) -> float:
        measure, *rest = token.text.split(".")
        rows = self.measures[self.measures["measure"] == measure]
        if rows.empty:
            there = list(dict.fromkeys(self.measures["measure"]))
            raise self.mistake(
                f"there is no {measure}{nearest(measure, there)}; there are {', '.join(there)}", token.place
            )
        field = rest.pop() if rest and rest[-1] in FIELDS else "estimate"
        estimators = list(rows["estimator"])
        if len(rest) > 1 or (rest and rest[0] not in estimators):
            raise self.mistake(
                f"{measure} has no {'.'.join(rest)}; it has {', '.join(estimators)}, each with {', '.join(FIELDS)}",
                token.place,
            )
        if not rest and "value" not in estimators:
            names = ", ".join(f"{measure}.{name}" for name in estimators)
            raise self.mistake(f"{measure} has several estimators; name one of {names}", token.place)
        row = rows[rows["estimator"] == (rest[0] if rest else "value")].iloc[0]
        value = float(row[field])
        if math.isnan(value):
            self.missing.append(f"{token.text} ({row['note'] or f'there is no {field}'})")
        else:
            self.seen.append(f"{token.text} is {value:.6g}")
        return value
