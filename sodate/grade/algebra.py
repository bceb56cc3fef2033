"""Mathematical expressions as people and models write them, read by a grammar of its own and compared.

Read: numbers (1,234.5, 2 1/2 is not), letters with an index (x, x_1), + - * / ^ and **, implied products (2x, 3(a+b)),
brackets, \\frac{a}{b}, \\sqrt[n]{a}, √2, π, e, i, %, 5!, \\binom{5}{2}, 0.\\overline{3}, and the functions of
_FUNCTIONS, also as \\sin^2 x and \\log_2 8. Nothing is evaluated as code.

Two expressions are the same when they are as quotients of polynomials over the rationals, exactly. Where one has a
root, a function or a constant such as π, they are when they agree to ten digits at _POINTS random places.
"""

from __future__ import annotations

import cmath
import math
import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction

from sodate.grade.numbers import normalise

MAX_CHARACTERS = 400
MAX_DEPTH = 40
MAX_TERMS = 400  # of a polynomial
MAX_EXPONENT = 60
MAX_BITS = 2_000  # of a coefficient
_POINTS = 6
_DIGITS = 1e-10
_MAX_FACTORIAL = 150
_REPEATING = re.compile(r"(\d{1,40})\.(\d{0,40})\\(?:overline|dot)\s*\{(\d{1,40})\}")  # 0.1\overline{6}


class NotAlgebraError(ValueError):
    """Text that is no expression of this grammar, or one that would be too large."""


@dataclass(frozen=True, slots=True)
class Node:
    """`kind`: number, name, call or one of + - * / ^; `parts` are its operands."""

    kind: str
    value: Fraction | str | None = None
    parts: tuple[Node, ...] = ()


_FUNCTIONS: Mapping[str, Callable[[complex], complex]] = {
    "sqrt": cmath.sqrt, "exp": cmath.exp, "ln": cmath.log, "log": cmath.log10, "sin": cmath.sin, "cos": cmath.cos,
    "tan": cmath.tan, "arcsin": cmath.asin, "arccos": cmath.acos, "arctan": cmath.atan, "abs": abs,
}  # fmt: skip
_CONSTANTS: Mapping[str, complex] = {"pi": math.pi, "e": math.e, "i": 1j}
_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d{1,3}(?:,\d{3})+(?:\.\d+)?(?!\d)|\d+(?:\.\d+)?|\.\d+)|(?P<command>\\[A-Za-z]+)"
    r"|(?P<name>arcsin|arccos|arctan|sqrt|exp|log|ln|sin|cos|tan|abs|pi|[A-Za-z](?:_(?:\d+|\{\d+\}))?)"
    r"|(?P<sign>\*\*|[-+*/^_(){}\[\]|%!,]))"
)
_WORDS = re.compile(
    "a|all|an|and|any|are|as|at|be|by|can|did|do|for|get|got|had|has|he|her|his|how|if|in|is|it|its|me|my|no|not|now|of|"
    "on|one|or|our|out|per|she|so|the|to|too|two|up|us|was|we|who|why|you", re.IGNORECASE
)  # fmt: skip
_SPELT = (
    ("−", "-"), ("×", "*"), ("·", "*"), ("÷", "/"), ("√", "\\sqrt "), ("π", "\\pi "), ("\\left", ""), ("\\right", ""),
    ("\\cdot", "*"), ("\\times", "*"), ("\\div", "/"), ("\\dfrac", "\\frac"), ("\\tfrac", "\\frac"), ("\\,", ""),
    ("\\!", ""), ("\\;", ""), ("\\%", "%"), ("\\ ", " "), ("\\tbinom", "\\binom"),
    ("\\dbinom", "\\binom"), ("∞", "\\infty "),
)  # fmt: skip


def read(text: str) -> Node:
    """The expression that all of `text` is. NotAlgebraError where it is none."""
    for written, instead in _SPELT:
        text = text.replace(written, instead)
    text = _REPEATING.sub(_repeating, normalise(text)).replace("×", "*").strip().rstrip(".")
    if not text or len(text) > MAX_CHARACTERS:
        raise NotAlgebraError("empty or too long")
    for run in re.findall(r"(?<![\\A-Za-z])[A-Za-z]{2,}", text):
        rest = re.sub("|".join([*_FUNCTIONS, "pi"]), "", run)
        if len(rest) > 3 or _WORDS.fullmatch(rest):
            raise NotAlgebraError(f"{run!r} is a word")
    tokens, at = [], 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise NotAlgebraError(f"{text[at]!r} is not understood")
        kind = found.lastgroup or ""
        tokens.append((kind, found[kind]))
        at = found.end()
    reader = _Reader(tokens)
    node = reader.sum(0)
    if reader.at < len(tokens):
        raise NotAlgebraError(f"{tokens[reader.at][1]!r} is not understood")
    return node


def _repeating(found: re.Match[str]) -> str:
    """0.1\\overline{6} as a quotient: (16 - 1) / 90."""
    ones, first, again = found.groups()
    below = (10 ** len(again) - 1) * 10 ** len(first)
    return f"({int(ones + first + again) - int(ones + first)}/{below})"


def _whole(node: Node) -> int:
    """A natural number that stands written out."""
    if node.kind != "number" or not isinstance(node.value, Fraction) or node.value.denominator != 1:
        raise NotAlgebraError("no natural number")
    if node.value > _MAX_FACTORIAL:
        raise NotAlgebraError("too large")
    return int(node.value)


class _Reader:
    """Recursive descent: sum, product, power, atom."""

    def __init__(self, tokens: list[tuple[str, str]]) -> None:
        self.tokens, self.at = tokens, 0

    def next(self) -> tuple[str, str]:
        return self.tokens[self.at] if self.at < len(self.tokens) else ("end", "")

    def take(self, *wanted: str) -> str:
        """The next token if it is one of these, else "" and nothing is taken."""
        text = self.next()[1]
        if text in wanted and text:
            self.at += 1
            return text
        return ""

    def need(self, wanted: str) -> None:
        if not self.take(wanted):
            raise NotAlgebraError(f"{wanted} is missing")

    def sum(self, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise NotAlgebraError("too deep")
        node = self.product(depth)
        while sign := self.take("+", "-"):
            node = Node(sign, parts=(node, self.product(depth)))
        return node

    def product(self, depth: int) -> Node:
        if self.take("-"):
            return Node("-", parts=(Node("number", Fraction(0)), self.product(depth + 1)))
        if self.take("+"):
            return self.product(depth + 1)
        if depth > MAX_DEPTH:
            raise NotAlgebraError("too deep")
        node = self.power(depth)
        while True:
            if sign := self.take("*", "/"):
                negative = bool(self.take("-"))
                right = self.power(depth)
                right = Node("-", parts=(Node("number", Fraction(0)), right)) if negative else right
                node = Node(sign, parts=(node, right))
            elif self.next()[0] in ("name", "command") or self.next()[1] in ("(", "["):
                node = Node("*", parts=(node, self.power(depth)))  # 2x, 3(a+b)
            else:
                return node

    def power(self, depth: int) -> Node:
        node = self.atom(depth)
        while self.take("%"):
            node = Node("/", parts=(node, Node("number", Fraction(100))))
        if self.take("!"):
            node = Node("number", Fraction(math.factorial(_whole(node))))
        if self.take("^", "**"):
            sign = self.take("-", "+")
            exponent = self.power(depth + 1)
            if sign == "-":
                exponent = Node("-", parts=(Node("number", Fraction(0)), exponent))
            node = Node("^", parts=(node, exponent))
        return node

    def atom(self, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise NotAlgebraError("too deep")
        kind, text = self.next()
        self.at += 1
        if kind == "number":
            return Node("number", Fraction(text.replace(",", "")))
        name = text.removeprefix("\\")
        if name == "frac":
            return Node("/", parts=(self.group(depth), self.group(depth)))
        if name == "sqrt" and self.take("["):
            degree = self.sum(depth + 1)
            self.need("]")
            inverse = Node("/", parts=(Node("number", Fraction(1)), degree))
            return Node("^", parts=(self.group(depth), inverse))
        if name == "binom":
            above, below = _whole(self.group(depth)), _whole(self.group(depth))
            return Node("number", Fraction(math.comb(above, below)))
        if name in _FUNCTIONS:
            return self.call(name, depth)
        if kind == "name" or (kind == "command" and len(name) > 1):
            return Node("name", re.sub(r"[{}]", "", name))
        if text in ("(", "{", "["):
            node = self.sum(depth + 1)
            self.need({"(": ")", "{": "}", "[": "]"}[text])
            return node
        if text == "|":
            node = self.sum(depth + 1)
            self.need("|")
            return Node("call", "abs", (node,))
        raise NotAlgebraError(f"{text or 'the end'} is not understood")

    def call(self, name: str, depth: int) -> Node:
        """A function with what stands between its name and its argument: \\sin^2 x, \\sin^{-1} x, \\log_2 8."""
        base = self.group(depth) if name == "log" and self.take("_") else None
        power = self.group(depth) if self.take("^") else None
        if name in ("sin", "cos", "tan") and power == Node(
            "-", parts=(Node("number", Fraction(0)), Node("number", Fraction(1)))
        ):
            name, power = f"arc{name}", None
        argument = self.argument(name, depth)
        node = Node("call", "ln" if base else name, (argument,))
        node = Node("/", parts=(node, Node("call", "ln", (base,)))) if base else node
        return Node("^", parts=(node, power)) if power else node

    def argument(self, name: str, depth: int) -> Node:
        """What a function takes: a bracket, or the factors up to the next sign or function (\\sin 2x)."""
        bracket = self.next()[1] in ("(", "{", "[")
        node = self.group(depth)
        while not bracket and name != "sqrt" and self.next()[0] in ("name", "command"):
            if self.next()[1].removeprefix("\\") in (*_FUNCTIONS, "frac"):
                break
            node = Node("*", parts=(node, self.power(depth + 1)))
        return node

    def group(self, depth: int) -> Node:
        """What a function takes: a bracket, or the next factor (√2, \\frac12)."""
        if self.next()[1] in ("(", "{", "["):
            return self.atom(depth + 1)
        if self.next()[0] == "number" and len(self.next()[1]) > 1 and self.tokens[self.at - 1][1] == "\\frac":
            _, digits = self.next()  # \frac12 is a half
            self.tokens[self.at : self.at + 1] = [("number", digits[0]), ("number", digits[1:])]
        return self.power(depth + 1)


# ── quotients of polynomials ─────────────────────────────────────────────────────────────────────────────────────────

Monomial = tuple[tuple[str, int], ...]
Polynomial = dict[Monomial, Fraction]


def _constant(value: Fraction) -> Polynomial:
    return {(): value} if value else {}


def _plus(left: Polynomial, right: Polynomial, sign: int = 1) -> Polynomial:
    result = dict(left)
    for term, factor in right.items():
        result[term] = result.get(term, Fraction(0)) + sign * factor
    return _bounded({term: factor for term, factor in result.items() if factor})


def _times(left: Polynomial, right: Polynomial) -> Polynomial:
    if len(left) * len(right) > MAX_TERMS**2:
        raise NotAlgebraError("too many terms")
    result: Polynomial = {}
    for a, x in left.items():
        for b, y in right.items():
            powers = dict(a)
            for name, power in b:
                powers[name] = powers.get(name, 0) + power
            term = tuple(sorted(powers.items()))
            result[term] = result.get(term, Fraction(0)) + x * y
    return _bounded({term: factor for term, factor in result.items() if factor})


def _bounded(one: Polynomial) -> Polynomial:
    large = any(f.numerator.bit_length() + f.denominator.bit_length() > MAX_BITS for f in one.values())
    if len(one) > MAX_TERMS or large:
        raise NotAlgebraError("too large")
    return one


def _quotient(node: Node) -> tuple[Polynomial, Polynomial] | None:
    """Numerator and denominator; None where something in it is not rational. NotAlgebraError for a division by 0."""
    if node.kind == "number":
        assert isinstance(node.value, Fraction)
        return _constant(node.value), _constant(Fraction(1))
    if node.kind == "name":
        if node.value in _CONSTANTS:
            return None
        return {((str(node.value), 1),): Fraction(1)}, _constant(Fraction(1))
    if node.kind == "call":
        return None
    found = [_quotient(part) for part in node.parts]
    if found[0] is None or found[1] is None:
        return None
    (a, b), (c, d) = found[0], found[1]
    if node.kind in "+-":
        return _plus(_times(a, d), _times(c, b), 1 if node.kind == "+" else -1), _times(b, d)
    if node.kind == "*":
        return _times(a, c), _times(b, d)
    if node.kind == "/":
        if not c:
            raise NotAlgebraError("a division by 0")
        return _times(a, d), _times(b, c)
    return _raised(a, b, c, d)


def _raised(a: Polynomial, b: Polynomial, c: Polynomial, d: Polynomial) -> tuple[Polynomial, Polynomial] | None:
    """(a / b) ^ (c / d) where that is a whole number."""
    if set(c) - {()} or set(d) - {()}:
        return None
    power = c.get((), Fraction(0)) / d[()]
    if power.denominator != 1:
        return None
    if abs(power) > MAX_EXPONENT:
        raise NotAlgebraError("too high a power")
    if power < 0:
        a, b = b, a
        if not b:
            raise NotAlgebraError("a division by 0")
    top, bottom = _constant(Fraction(1)), _constant(Fraction(1))
    for _ in range(abs(int(power))):
        top, bottom = _times(top, a), _times(bottom, b)
    return top, bottom


# ── at places ────────────────────────────────────────────────────────────────────────────────────────────────────────


def names(node: Node) -> set[str]:
    """The variables of an expression."""
    own = {str(node.value)} if node.kind == "name" and node.value not in _CONSTANTS else set()
    return own.union(*(names(part) for part in node.parts))


def value(node: Node, where: Mapping[str, complex]) -> complex:
    """The value at a place. ArithmeticError or ValueError where it has none."""
    if node.kind == "number":
        assert isinstance(node.value, Fraction)
        return complex(float(node.value))
    if node.kind == "name":
        return where.get(str(node.value), _CONSTANTS.get(str(node.value), 0j))
    inner = [value(part, where) for part in node.parts]
    if node.kind == "call":
        return _FUNCTIONS[str(node.value)](inner[0])
    left, right = inner
    if node.kind == "^":
        return complex(left**right)
    if node.kind == "/":
        return left / right
    return left * right if node.kind == "*" else left + right if node.kind == "+" else left - right


def same(left: Node, right: Node, tolerance: float = 0.0) -> bool:
    """Whether two expressions are equal; with a `tolerance`, relative, numbers may differ so far."""
    try:
        a, b = _quotient(left), _quotient(right)
    except NotAlgebraError:
        return False
    if a is not None and b is not None:
        try:
            if not _plus(_times(a[0], b[1]), _times(b[0], a[1]), -1):
                return True
        except NotAlgebraError:
            return False
        if not tolerance:
            return False
    variables = sorted(names(left) | names(right))
    if variables and a is not None and b is not None:
        return False
    return _alike(left, right, variables, max(tolerance, _DIGITS))


def proportional(left: Node, right: Node) -> bool:
    """Whether one expression is the other times a number other than 0, at random places."""
    variables = sorted(names(left) | names(right))
    rng, ratios = random.Random(0), list[complex]()
    for _ in range(4 * _POINTS):
        where = {name: complex(rng.uniform(0.2, 3.0)) for name in variables}
        try:
            ratios.append(value(left, where) / value(right, where))
        except (ArithmeticError, ValueError):
            continue
    ratios = [one for one in ratios if cmath.isfinite(one)]
    return len(ratios) >= _POINTS and abs(ratios[0]) > 0 and all(abs(one / ratios[0] - 1) < 1e-8 for one in ratios)


def _alike(left: Node, right: Node, variables: list[str], within: float) -> bool:
    rng, compared = random.Random(0), 0
    for _ in range(4 * _POINTS):
        where = {name: complex(rng.uniform(0.2, 3.0)) for name in variables}
        try:
            x, y = value(left, where), value(right, where)
        except (ArithmeticError, ValueError):
            if not variables:
                return False
            continue
        if not cmath.isfinite(x) or not cmath.isfinite(y):
            continue
        if abs(x - y) > within * max(abs(x), abs(y), 1e-9):
            return False
        compared += 1
        if compared == _POINTS or not variables:
            return True
    return False
