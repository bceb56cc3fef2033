"""The math grader: the reply's final answer against the reference, as numbers or as expressions.

The final answer is what stands in the last \\boxed{…}; else the first that can be read of: what follows the last
"answer is" or "答え", the last formula between dollar signs, the last line, what follows its last "=", the last number.
One answer counts, so that naming several earns nothing. Several values, as (1, 2) or "x = 1, 2", are compared one by
one; in any order, unless they stand in round or square brackets. Inequalities (1 < x ≤ 3), intervals ((0, 1]), ratios
(3 : 4) and equations (2x + 3y = 6) are compared as such, and 解なし with itself. A number is never cut out of a formula
that cannot be read: where the reference is one, a matrix or a word, the answers have to be written alike.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sodate.core.errors import SodateError
from sodate.core.text import Sentence, tr
from sodate.grade import algebra, numbers
from sodate.grade.base import Grade, GradeFunction
from sodate.grade.strings import clip

MAX_TEXT = 100_000
MAX_VALUES = 20
MAX_ANSWER = 2_000  # characters of a final answer
MAX_WRITTEN = 200  # and of one that is compared as it is written: more is a text
_ANSWER = re.compile(
    r"(?:final answer|answer|答え?|解答|解|正解)\s*(?:is|are|は|を|[:：=＝])+\s*+[:：=＝]?+\s*+([^\n。]+)",
    re.IGNORECASE,
)
_RELATIONS = (
    (re.compile(r"\\(?:leqslant|leq|le)(?![a-z])|<=|≦"), "≤"),
    (re.compile(r"\\(?:geqslant|geq|ge)(?![a-z])|>=|≧"), "≥"),
    (re.compile(r"\\lt(?![a-z])"), "<"), (re.compile(r"\\gt(?![a-z])"), ">"), (re.compile(r"\\pm(?![a-z])"), "±"),
)  # fmt: skip
_NO_ANSWER = re.compile(
    r"解(?:は?なし|無し|は存在しない)|no (?:real )?solutions?|does not exist|dne|undefined|\\emptyset|\\varnothing|∅",
    re.IGNORECASE,
)
_DEGREES = re.compile(r"(\d+(?:\.\d+)?)\s*(?:°|\^\s*\{?\s*\\circ\s*\}?)")
# What makes a number part of something else: x < 3, 3!, 3 : 4; and all that a formula may have, where text is one.
_CUT = re.compile(r"[<>≤≥|]|\\(?:leq?|geq?|overline|log|binom)(?![a-z])|\d!|\d\s?[:：]\s?\d")
_FORMULA = re.compile(rf"{_CUT.pattern}|\\(?!(?:text|mathrm|mbox|quad)\b)[A-Za-z]+|[≠±√∞=]|[\^_][\d{{]")
_DOLLARS = re.compile(r"\$\$?([^$\n]{1,400})\$\$?|\\\(([^\n]{1,400}?)\\\)|\\\[([^\n]{1,400}?)\\\]")
_UNIT = re.compile(
    r"(?:\\(?:text|mathrm|mbox)\s*\{[^{}]*\}|\^?\s?\{?\\circ\}?|°|です|となる|である|になる|円|個|人|本|枚|通り|度|点|時間|分|秒|日|年|歳|"
    r"(?:cm|mm|km|kg|m|g|L|mL)(?:\^\{?[23]\}?|[²³])?|dollars?|units?|degrees?)[\s。.]*$"
)
_LEADING = re.compile(
    r"^(?:(?:so|thus|hence|therefore|then|we (?:get|have)|したがって|従って|よって|ゆえに|故に|つまり|すなわち|∴)"
    r"[\s,、]*)+",
    re.IGNORECASE,
)
_NAMED = re.compile(r"^\s*\\?[A-Za-z](?:_\{?\w+\}?)?(?:\([A-Za-z](?:, ?[A-Za-z])*\))?\s*(?:[=＝]|\\in\b)\s*")


@dataclass(frozen=True, slots=True)
class Values:
    """What an answer names. `form`: the brackets around several ("()", "[)"), the signs between the sides of an
    inequality ("<≤"), ":" of a ratio, whose values are divided by its first; "" where their order does not count."""

    nodes: tuple[algebra.Node, ...]
    form: str = ""

    def loose(self, other: Values) -> bool:
        """Whether one of two names its values without the brackets of the other: "1, 2" for (1, 2)."""
        return not (self.form and other.form) and {*self.form, *other.form} <= set("()[]")


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
    if re.search("sin|cos|tan", text):
        text = _DEGREES.sub(r"(\1\\pi/180)", text)
    for _ in range(3):
        text = _UNIT.sub("", text).strip().strip("$").strip()
    return _NAMED.sub("", text).strip()


def values(text: str) -> Values:
    """The values of an answer. NotAlgebraError where it is none."""
    for pattern, sign in _RELATIONS:
        text = pattern.sub(sign, text)
    bare = _bare(text)
    bare = re.sub(r"\\[{}]", lambda found: found[0][1], bare)
    whole = numbers.whole(bare)
    if whole is not None:
        return Values((algebra.Node("number", whole),))
    if _NO_ANSWER.fullmatch(re.sub(r"\\text\s*\{([^{}]*)\}", r"\1", text.strip().strip("$。. "))):
        return Values((algebra.Node("name", "no solution"),))
    if len(parts := _parts(bare)) > 1:
        return _together([values(part) for part in parts])
    if signs := re.findall("[<>≤≥]", bare):
        return _ordered(re.split("[<>≤≥]", bare), "".join(signs))
    if re.fullmatch(r"[^:：]+(?:[:：][^:：]+){1,5}", bare):
        first, *rest = [_value(piece) for piece in re.split("[:：]", bare)]
        return Values(tuple(algebra.Node("/", parts=(one, first)) for one in rest), ":")
    brackets = bare[:1] + bare[-1:]
    closed = brackets in ("()", "[]", "{}", "(]", "[)") and _closes_at_the_end(bare)
    pieces = [way for piece in _apart(bare[1:-1] if closed else bare) for way in _ways(piece)]
    if not 1 <= len(pieces) <= MAX_VALUES:
        raise algebra.NotAlgebraError("no value")
    ordered = closed and brackets != "{}" and len(pieces) > 1
    return Values(tuple(_value(piece) for piece in pieces), brackets if ordered else "")


def _parts(text: str) -> list[str]:
    """The intervals of a union and the inequalities of a list: x < -1, 2 < x."""
    pieces = re.split(r"∪|\\cup(?![a-z])", text)
    listed = _apart(text)
    return listed if len(pieces) == 1 and all(re.search("[<>≤≥]", one) for one in listed) else pieces


def _together(parts: list[Values]) -> Values:
    """Several as one, in an order of their own."""
    if len(parts) > MAX_VALUES or not all(part.form for part in parts):
        raise algebra.NotAlgebraError("no intervals and no inequalities")
    parts = sorted(parts, key=lambda part: (part.form, [str(node.value or node.kind) for node in part.nodes]))
    return Values(tuple(node for part in parts for node in part.nodes), " ".join(part.form for part in parts))


def _ordered(pieces: list[str], signs: str) -> Values:
    """A chain of inequalities, the smallest first: x > 2 is 2 < x."""
    found = tuple(_value(piece) for piece in pieces)
    if set(signs) <= set(">≥"):
        return Values(found[::-1], signs[::-1].translate(str.maketrans(">≥", "<≤")))
    if set(signs) <= set("<≤"):
        return Values(found, signs)
    raise algebra.NotAlgebraError("inequalities of both directions")


def _ways(piece: str) -> list[str]:
    """±3 is 3 and -3."""
    return [piece.replace("±", sign) for sign in "+-"] if piece.count("±") == 1 else [piece]


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


_THOUSANDS = re.compile(r"(?<=\d),\d{3}(?!\d)")


def _apart(text: str) -> list[str]:
    """Split at commas, "and", または, と outside brackets; a comma within a number (1,234) is none."""
    text = re.sub(r"(?<!\s)\s+(?:and|or)\s+|または|及び|と(?!な)|、|;|；", " , ", text)
    pieces, depth, begin = [], 0, 0
    for place, character in enumerate(text):
        depth += 1 if character in "([{" else -1 if character in ")]}" else 0
        if character == "," and not depth and not _THOUSANDS.match(text, place):
            pieces.append(text[begin:place])
            begin = place + 1
    return [piece for piece in [*pieces, text[begin:]] if piece.strip()]


def _equal(said: Values, wanted: Values, tolerance: float) -> bool:
    if len(said.nodes) != len(wanted.nodes) or (said.form != wanted.form and not said.loose(wanted)):
        return False
    if said.form or wanted.form:
        return all(algebra.same(a, b, tolerance) for a, b in zip(said.nodes, wanted.nodes, strict=True))
    free = list(wanted.nodes)
    for one in said.nodes:
        match = next((other for other in free if algebra.same(one, other, tolerance)), None)
        if match is None:
            return False
        free.remove(match)
    return True


def _equation(text: str) -> algebra.Node | None:
    """The difference of the sides of the equation that the answer is; None where it is none."""
    for candidate in answers(text) if len(text) <= MAX_TEXT else ():
        bare = _LEADING.sub("", candidate.strip().strip("$。. "))
        left, sign, right = bare.partition("=")
        if not sign or "=" in right or len(bare) > MAX_ANSWER:
            continue
        try:
            sides = algebra.read(left), algebra.read(_bare(right))
        except (algebra.NotAlgebraError, RecursionError):
            continue
        if algebra.names(sides[0]):
            return algebra.Node("-", parts=sides)
    return None


def final(text: str, right: bool = False) -> tuple[str, Values] | None:
    """The final answer as it stands and as values; None where there is none to read. Of a `right` answer no number is
    taken that stands in a formula."""
    for candidate in answers(text) if len(text) <= MAX_TEXT else ():
        if len(candidate) > MAX_ANSWER:
            continue
        try:
            return candidate, values(candidate)
        except (algebra.NotAlgebraError, RecursionError):
            continue
    cut = _FORMULA if right else _CUT
    number = numbers.last(text) if len(text) <= MAX_TEXT and boxed(text) is None else None
    if number is None or number.value is None or any(cut.search(one) for one in answers(text)[-1:]):
        return None
    return number.text, Values((algebra.Node("number", number.value),))


def _wanted(reference: str) -> tuple[str, Values] | None:
    """The final answer of a reference. Short ones are remembered: each is read for every model that is compared."""
    return _of_short(reference) if len(reference) <= MAX_ANSWER else final(reference, right=True)


@functools.lru_cache(maxsize=1 << 14)
def _of_short(reference: str) -> tuple[str, Values] | None:
    return final(reference, right=True)


def same_answer(left: str, right: str) -> bool:
    """Whether two replies come to the same final answer; those without one have to be the same text."""
    said, wanted = final(left), final(right)
    if said is None or wanted is None:
        return left.strip() == right.strip()
    return _equal(said[1], wanted[1], 0.0)


def _same_equation(reply: str, reference: str) -> bool:
    """Whether both are one equation: 2x + 3y = 6 is 4x + 6y = 12, and y = 2x is 2x = y."""
    said, wanted = _equation(reply), _equation(reference)
    return said is not None and wanted is not None and algebra.proportional(said, wanted)


_LOOKS = re.compile(
    r"\\(?:left|right|displaystyle|limits|[bB]ig[lr]?)(?![A-Za-z])|\\(?:text|mathrm|mathbf|mbox|textbf)(?=\s*\{)"
    r"|(?<!\\)\\[,;:!> ]|[\s{}]"
)


def _written(text: str) -> str:
    """An answer without what changes its looks alone: spaces, sizes, typefaces; (B) is B."""
    bare = unicodedata.normalize("NFKC", text).strip().strip("$").rstrip(".。")
    bare = _LOOKS.sub("", re.sub(r"\\[dt]frac(?![A-Za-z])", r"\\frac", bare))
    return re.sub(r"^\(([A-Za-z])\)$", r"\1", bare).casefold()


def _as_written(reply: str, reference: str) -> Grade | None:
    """Whether the final answers are written alike; None where the reference is a text rather than an answer."""
    wanted = (answers(reference) or [""])[0] if len(reference) <= MAX_ANSWER else ""
    if not _written(wanted) or len(wanted) > MAX_WRITTEN or (boxed(reference) is None and "\n" in reference.strip()):
        return None
    said = answers(reply) if len(reply) <= MAX_TEXT else []
    if _written(wanted) in map(_written, said):
        return Grade(1.0, tr(f"written as {clip(wanted)}", f"表記が {clip(wanted)} と同じ"))
    return Grade(0.0, _differ(clip(wanted), clip(said[0] if said else reply.strip())))


def _differ(right: str, got: str) -> Sentence:
    return tr(f"expected {right}, got {got}", f"正解 {right}、返答 {got}")


def math(tolerance: float) -> GradeFunction:
    """1 where the final answers are equal; numbers may differ by `tolerance`, relative. SodateError where the reference
    is a text and not an answer."""

    def grade(reply: str, reference: str | None, item: Mapping[str, Any]) -> Grade:
        wanted = _wanted(reference or "")
        lone = _NAMED.match((reference or "").strip().strip("$"))
        if reference and not lone and _equation(reference) is not None and "\n" not in reference.strip():
            same = _same_equation(reply, reference)
            got, right = clip(reply.strip()), clip(reference)
            why = tr(f"{got} is {right}", f"{got} は {right} に等しい") if same else _differ(right, got)
            return Grade(float(same), why)
        if wanted is None:
            if (grade := _as_written(reply, reference or "")) is not None:
                return grade
            raise SodateError(
                tr(f"math compares final answers, and the reference {clip(reference or '')!r} has none.",
                   f"math は最終的な答えを比べる採点ですが、正解 {clip(reference or '')!r} には答えがありません。"),
                code="bad_reference",
            )  # fmt: skip
        said = final(reply)
        if said is None:
            return Grade(0.0, tr("no number or expression in the reply", "返答に数も式もない"))
        got, right = clip(said[0]), clip(wanted[0])
        if _equal(said[1], wanted[1], tolerance) or _same_equation(reply, reference or ""):
            return Grade(1.0, tr(f"{got} is {right}", f"{got} は {right} に等しい"))
        return Grade(0.0, _differ(right, got))

    return grade
