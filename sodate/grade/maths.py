"""The math grader: the reply's final answer against the reference, as numbers or as expressions.

The final answer is what stands in the last \\boxed{…}; else the first that can be read of: what follows the last
"answer is" or "答え", the last formula between dollar signs, the last line, what follows its last "=", the last number.
One answer counts, so that naming several earns nothing. Several values, as (1, 2) or "x = 1, 2", are compared one by
one; in any order, unless they stand in round or square brackets.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from sodate.core.errors import SodateError
from sodate.core.text import tr
from sodate.grade import algebra, numbers
from sodate.grade.base import Grade, GradeFunction
from sodate.grade.strings import clip

MAX_TEXT = 100_000
MAX_VALUES = 20
MAX_ANSWER = 2_000  # characters of a final answer
_ANSWER = re.compile(
    r"(?:final answer|answer|答え?|解答|解|正解)\s*(?:is|are|は|を|[:：=＝])+\s*+[:：=＝]?+\s*+([^\n。]+)",
    re.IGNORECASE,
)
_DOLLARS = re.compile(r"\$\$?([^$\n]{1,400})\$\$?|\\\(([^\n]{1,400}?)\\\)|\\\[([^\n]{1,400}?)\\\]")
_UNIT = re.compile(
    r"(?:\\(?:text|mathrm|mbox)\s*\{[^{}]*\}|\\circ|°|です|となる|である|になる|円|個|人|本|枚|通り|度|点|時間|分|秒|日|年|歳|"
    r"(?:cm|mm|km|kg|m|g|L|mL)(?:\^\{?[23]\}?|[²³])?|dollars?|units?|degrees?)[\s。.]*$"
)
_LEADING = re.compile(
    r"^(?:(?:so|thus|hence|therefore|then|we (?:get|have)|したがって|従って|よって|ゆえに|故に|つまり|すなわち|∴)"
    r"[\s,、]*)+",
    re.IGNORECASE,
)
_NAMED = re.compile(r"^\s*\\?[A-Za-z](?:_\{?\w+\}?)?(?:\([A-Za-z](?:, ?[A-Za-z])*\))?\s*(?:[=＝]|\\in\b)\s*")


def boxed(text: str) -> str | None:
    """What the last \\boxed{…} holds, braces within it counted."""
    at = text.rfind("\\boxed{")
    if at < 0:
        return None
    depth, begin = 1, at + len("\\boxed{")
    for place in range(begin, len(text)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if not depth:
            return text[begin:place]
    return None


def answers(text: str) -> list[str]:
    """Where the final answer may stand, the likeliest first."""
    if (inside := boxed(text)) is not None:
        return [inside]
    found = [one.strip() for one in _ANSWER.findall(text)[-1:]]
    formulas = [next(filter(None, groups)) for groups in _DOLLARS.findall(text)]
    found += [formula for one in found for formula in _formula(one)]
    found += formulas[-1:]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    found += lines[-1:]
    found += [one.rpartition("=")[2].strip() for one in list(found) if "=" in one]
    return list(dict.fromkeys(found))


def _formula(text: str) -> list[str]:
    return [next(filter(None, groups)) for groups in _DOLLARS.findall(text)][-1:]


def _bare(text: str) -> str:
    """Without dollars, units, and "x =" before it."""
    text = _LEADING.sub("", text.strip().strip("$").strip().rstrip("。．."))
    for _ in range(3):
        text = _UNIT.sub("", text).strip().strip("$").strip()
    return _NAMED.sub("", text).strip()


def values(text: str) -> tuple[list[algebra.Node], bool]:
    """The values of an answer and whether their order counts. NotAlgebraError where it is none."""
    bare = _bare(text)
    bare = re.sub(r"\\[{}]", lambda found: found[0][1], bare)
    whole = numbers.whole(bare)
    if whole is not None:
        return [algebra.Node("number", whole)], True
    brackets = bare[:1] + bare[-1:]
    ordered = brackets in ("()", "[]")
    inner = bare[1:-1] if brackets in ("()", "[]", "{}") and _closes_at_the_end(bare) else bare
    pieces = _apart(inner)
    if not 1 <= len(pieces) <= MAX_VALUES:
        raise algebra.NotAlgebraError("no value")
    return [_value(piece) for piece in pieces], ordered and len(pieces) > 1


def _value(piece: str) -> algebra.Node:
    bare = _bare(piece)
    whole = numbers.whole(bare)
    return algebra.read(bare) if whole is None else algebra.Node("number", whole)


def _closes_at_the_end(text: str) -> bool:
    depth = 0
    for place, character in enumerate(text):
        depth += 1 if character in "([{" else -1 if character in ")]}" else 0
        if not depth:
            return place == len(text) - 1
    return False


def _apart(text: str) -> list[str]:
    """Split at commas, "and", または outside brackets; a comma within a number (1,234) is none."""
    text = re.sub(r"(?<!\s)\s+(?:and|or)\s+|または|及び|、|;|；", " , ", text)
    pieces, depth, begin = [], 0, 0
    for place, character in enumerate(text):
        depth += 1 if character in "([{" else -1 if character in ")]}" else 0
        thousands = re.match(r",\d{3}(?!\d)", text[place:]) and text[place - 1 : place].isdigit()
        if character == "," and not depth and not thousands:
            pieces.append(text[begin:place])
            begin = place + 1
    return [piece for piece in [*pieces, text[begin:]] if piece.strip()]


def _equal(said: tuple[list[algebra.Node], bool], wanted: tuple[list[algebra.Node], bool], tolerance: float) -> bool:
    (found, ordered), (right, right_ordered) = said, wanted
    if len(found) != len(right):
        return False
    if ordered or right_ordered:
        return all(algebra.same(a, b, tolerance) for a, b in zip(found, right, strict=True))
    free = list(right)
    for one in found:
        match = next((other for other in free if algebra.same(one, other, tolerance)), None)
        if match is None:
            return False
        free.remove(match)
    return True


def final(text: str) -> tuple[str, tuple[list[algebra.Node], bool]] | None:
    """The final answer as it stands and as values; None where there is none to read."""
    for candidate in answers(text) if len(text) <= MAX_TEXT else ():
        if len(candidate) > MAX_ANSWER:
            continue
        try:
            return candidate, values(candidate)
        except (algebra.NotAlgebraError, RecursionError):
            continue
    number = numbers.last(text) if len(text) <= MAX_TEXT and boxed(text) is None else None
    if number is None or number.value is None:
        return None
    return number.text, ([algebra.Node("number", number.value)], True)


def same_answer(left: str, right: str) -> bool:
    """Whether two replies come to the same final answer; those without one have to be the same text."""
    said, wanted = final(left), final(right)
    if said is None or wanted is None:
        return left.strip() == right.strip()
    return _equal(said[1], wanted[1], 0.0)


def math(tolerance: float) -> GradeFunction:
    """1 where the final answers are equal; numbers may differ by `tolerance`, relative. SodateError where the reference
    is no number and no expression."""

    def grade(reply: str, reference: str | None, item: Mapping[str, Any]) -> Grade:
        wanted = final(reference or "")
        if wanted is None:
            raise SodateError(
                tr(f"math compares numbers and expressions, and the reference {clip(reference or '')!r} is neither.",
                   f"math は数や式を比べる採点ですが、正解 {clip(reference or '')!r} はどちらでもありません。"),
                code="bad_reference",
            )  # fmt: skip
        said = final(reply)
        if said is None:
            return Grade(0.0, tr("no number or expression in the reply", "返答に数も式もない"))
        got, right = clip(said[0]), clip(wanted[0])
        if _equal(said[1], wanted[1], tolerance):
            return Grade(1.0, tr(f"{got} is {right}", f"{got} は {right} に等しい"))
        return Grade(0.0, tr(f"expected {right}, got {got}", f"正解 {right}、返答 {got}"))

    return grade
