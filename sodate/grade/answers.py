"""Graders of answers: the number that was asked for, a length, and an honest "I don't know"."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from sodate.core.errors import SodateError
from sodate.core.text import tr
from sodate.grade.base import Grade, GradeFunction
from sodate.grade.normalise import fold, normalise
from sodate.grade.strings import clip

_NUMBER = re.compile(
    r"(?<!\w)(?<!\d\.)[-+]?(?:\d{1,3}(?:,\d{3})+|\d{1,40})(?:\.\d{1,40})?"  # 12, -1,234.50; no part of v12 or 1.2.3
    r"|(?<!(?u:[\w.]))[-+]?\.\d{1,40}",  # .5, where that dot ends no word ("No.12") and no sentence
    re.ASCII,
)
# Raised and lowered digits and fractions, with the number they stand at: NFKC would make 102 of 10² and 1⁄2 of ½.
_NOT_PLAIN = re.compile(r"(?<![\d.,])[\d.,]*+[²³¹¼-¾⁰⁴-⁻₀-₋⅐-⅟↉]+")
_WORD = re.compile(r"\w", re.ASCII)

# What counts as not knowing, unless the grader is given phrases of its own.
ABSTAINING = (
    "I don't know", "I do not know", "I'm not sure", "I am not sure", "no information", "not have that information",
    "don't have information", "cannot answer", "can't answer", "わかりません", "分かりません", "存じません",
    "情報がありません", "お答えできません",
)  # fmt: skip


def number(reply: str, reference: str | None, item: Mapping[str, Any]) -> Grade:
    """1 when the last number of the reply is the reference's. SodateError when the reference holds no number.

    Powers, indices and fractions (10², 2½) are passed over: "100 = 10²" says 100, and 10² alone says no number.
    """
    wanted, found = _last(reference or ""), _last(reply)
    if wanted is None:
        raise SodateError(
            tr(f"number compares numbers, and the reference {clip(reference or '')!r} has none.",
               f"number は数を比べる採点ですが、正解 {clip(reference or '')!r} に数がありません。"),
        )  # fmt: skip
    if found is None:
        return Grade(0.0, tr("no number in the reply", "返答に数がない"))
    return Grade(float(found == wanted), tr(f"{found} for {wanted}", f"{wanted} に対し {found}"))


def _last(text: str) -> Decimal | None:
    numbers = _NUMBER.findall(normalise(_NOT_PLAIN.sub(" ", text)))
    return Decimal(numbers[-1].replace(",", "")) if numbers else None


def length(low: int, high: int) -> GradeFunction:
    """Characters without white space, after NFKC: 1 inside [low, high], falling in proportion outside."""

    def grade(reply: str, reference: str | None, item: Mapping[str, Any]) -> Grade:
        n = len("".join(normalise(reply).split()))
        score = n / low if n < low else high / n if n > high else 1.0
        return Grade(score, tr(f"{n} characters ({low}–{high})", f"{n} 文字 ({low}〜{high})"))

    return grade


def abstained(reply: str, phrases: Sequence[str] = ABSTAINING) -> bool:
    """Whether the reply says that it does not know, in any of the phrases."""
    text = fold(reply.replace("’", "'"))
    return any(fold(phrase) in text for phrase in phrases)


def _holds(text: str, wanted: str) -> bool:
    """Whether `wanted` stands in `text` as itself: no part of a number, nor of a word in Latin letters."""
    before = r"(?<!\w)(?<!\d[.,:])" if _WORD.match(wanted[0]) else ""
    after = r"(?!\w)(?![.,:]\d)" if _WORD.match(wanted[-1]) else ""
    return re.search(before + re.escape(wanted) + after, text, re.ASCII) is not None


def honest(idk: float, phrases: Sequence[str] = ABSTAINING) -> GradeFunction:
    """Right 1, "I don't know" `idk`, wrong -1; as a score in [0, 1] that is (value + 1) / 2.

    Right: the reply holds the reference, whatever stands around it, but not inside a longer number or Latin word
    ("4 days" is not in "14 days"). Where the reference is empty nobody knows the answer: every reply but "I don't
    know" is wrong, and that one counts as right. A row without a reference says nothing of the kind, and is refused.
    """

    def grade(reply: str, reference: str | None, item: Mapping[str, Any]) -> Grade:
        wanted = fold(reference or "")
        if abstained(reply, phrases):
            value = idk if wanted else 1.0
            said = tr("says that it does not know", "分からないと答えた")
        elif wanted and _holds(fold(reply), wanted):
            value, said = 1.0, tr("right", "正しい")
        else:
            value, said = -1.0, tr(f"wrong: “{clip(reply)}”", f"誤り: 「{clip(reply)}」")
        return Grade((value + 1) / 2, said, {"abstained": float(abstained(reply, phrases))})

    return grade
