"""`calculate_output` of a multi grader: + - * / ^, min max abs floor ceil exp sqrt log, brackets, numbers, keys.

Read by hand, never evaluated as a program. `^` binds from the right and more tightly than a sign before it, as on
paper: -2^2 is -4.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence

from sodate.core.text import tr

MAX_CHARS = 4096
MAX_DEPTH = 50
_TOKEN = re.compile(r"\s*(?:(\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?)|([^\W\d]\w*)|([-+*/^(),]))")

Values = Mapping[str, float]
Formula = Callable[[Values], float]
"""A number from the values of the graders. ArithmeticError where there is none, such as a division by 0."""


class BadFormulaError(ValueError):
    """The text is no formula; the message says what is wrong."""


def _one(function: Callable[[float], float]) -> Callable[[Sequence[float]], float]:
    return lambda values: function(values[0])


_FUNCTIONS: Mapping[str, Callable[[Sequence[float]], float]] = {
    "min": min, "max": max, "abs": _one(abs), "floor": _one(math.floor), "ceil": _one(math.ceil),
    "exp": _one(math.exp), "sqrt": _one(math.sqrt), "log": _one(math.log),
}  # fmt: skip


def read(text: str, names: Collection[str]) -> Formula:
    """The formula over graders called `names`. BadFormulaError for anything else."""
    if len(text) > MAX_CHARS:
        raise BadFormulaError(tr(f"more than {MAX_CHARS} characters", f"{MAX_CHARS} 文字を超えています"))
    made = _Reader(text, names)
    formula = made.sum()
    made.end()

    def calculated(values: Values) -> float:
        try:
            result = formula(values)
        except (ValueError, TypeError) as error:  # sqrt and log of what has none; a root of a negative number
            raise ArithmeticError(str(error)) from None
        if isinstance(result, complex) or not math.isfinite(result):
            raise ArithmeticError(str(tr("the result is not a finite number", "結果が有限の数になりません")))
        return float(result)

    return calculated


class _Reader:
    """Recursive descent: a method for each level of binding."""

    def __init__(self, text: str, names: Collection[str]) -> None:
        self._names = names
        self._tokens: list[tuple[str, int]] = []
        self._next = 0
        self._depth = 0
        at = 0
        while text[at:].strip():
            token = _TOKEN.match(text, at)
            if token is None:
                start = at + len(text[at:]) - len(text[at:].lstrip())
                raise BadFormulaError(tr(f"“{text[start]}” at character {start + 1} is not understood",
                                         f"{start + 1} 文字目の「{text[start]}」を解釈できません"))  # fmt: skip
            self._tokens.append((token[0].strip(), token.end() - len(token[0].strip()) + 1))
            at = token.end()

    def _take(self, *wanted: str) -> str | None:
        if self._next < len(self._tokens) and self._tokens[self._next][0] in wanted:
            self._next += 1
            return self._tokens[self._next - 1][0]
        return None

    def _unexpected(self) -> BadFormulaError:
        if self._next >= len(self._tokens):
            return BadFormulaError(tr("it ends too early", "途中で終わっています"))
        token, place = self._tokens[self._next]
        return BadFormulaError(tr(f"“{token}” at character {place} does not belong there",
                                  f"{place} 文字目の「{token}」は、そこには置けません"))  # fmt: skip

    def end(self) -> None:
        if self._next < len(self._tokens):
            raise self._unexpected()

    def sum(self) -> Formula:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise BadFormulaError(tr(f"nested more than {MAX_DEPTH} deep", f"入れ子が {MAX_DEPTH} 段を超えています"))
        left = self._product()
        while sign := self._take("+", "-"):
            left = _both(left, self._product(), sign)
        self._depth -= 1
        return left

    def _product(self) -> Formula:
        left = self._signed()
        while sign := self._take("*", "/"):
            left = _both(left, self._signed(), sign)
        return left

    def _signed(self) -> Formula:
        negative = False
        while sign := self._take("-", "+"):
            negative ^= sign == "-"
        value = self._power()
        return (lambda values: -value(values)) if negative else value

    def _power(self) -> Formula:
        base = self._atom()
        if self._take("^") is None:
            return base
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise BadFormulaError(tr(f"nested more than {MAX_DEPTH} deep", f"入れ子が {MAX_DEPTH} 段を超えています"))
        exponent = self._signed()
        self._depth -= 1
        return _both(base, exponent, "^")

    def _atom(self) -> Formula:
        if self._take("("):
            inner = self.sum()
            if self._take(")") is None:
                raise self._unexpected()
            return inner
        if self._next >= len(self._tokens):
            raise self._unexpected()
        token, place = self._tokens[self._next]
        if token[0].isdigit() or token[0] == ".":
            self._next += 1
            number = float(token)
            return lambda values: number
        if not (token[0].isalpha() or token[0] == "_"):
            raise self._unexpected()
        self._next += 1
        if self._take("("):
            return self._call(token, place)
        if token not in self._names:
            raise BadFormulaError(tr(f"there is no grader “{token}” (there are: {', '.join(self._names)})",
                                     f"採点「{token}」がありません (あるもの: {', '.join(self._names)})"))  # fmt: skip
        return lambda values: values[token]

    def _call(self, name: str, place: int) -> Formula:
        function = _FUNCTIONS.get(name)
        if function is None:
            known = ", ".join(_FUNCTIONS)
            raise BadFormulaError(tr(f"there is no function “{name}” (there are: {known})",
                                     f"関数「{name}」はありません (使えるもの: {known})"))  # fmt: skip
        given = [self.sum()]
        while self._take(","):
            given.append(self.sum())
        if self._take(")") is None:
            raise self._unexpected()
        if len(given) > 1 and name not in ("min", "max"):
            raise BadFormulaError(tr(f"“{name}” at character {place} takes one value",
                                     f"{place} 文字目の「{name}」が取る値は 1 つです"))  # fmt: skip
        return lambda values: function([one(values) for one in given])


def _both(left: Formula, right: Formula, sign: str) -> Formula:
    operation: Callable[[float, float], float] = {
        "+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b, "/": lambda a, b: a / b,
        "^": lambda a, b: a**b,
    }[sign]  # fmt: skip
    return lambda values: operation(left(values), right(values))
