"""Graders of answers: the number that was asked for, a length, and an honest "I don't know"."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any

from sodate.core.errors import SodateError
from sodate.core.text import blank, tr
from sodate.grade import numbers
from sodate.grade.base import Aggregate, Grade, GradeFunction
from sodate.grade.normalise import fold, normalise
from sodate.grade.strings import clip

_WORD = re.compile(r"\w", re.ASCII)

# What counts as not knowing, unless the grader is given phrases of its own. 返品はいたしかねます is an answer, so that
# what one is unable to do is only to answer or judge.
ABSTAINING = (
    "I don't know", "I do not know", "I'm not sure", "I am not sure", "no idea", "no information",
    "no mention of", "not have that information", "don't have information", "not have enough information",
    "don't have enough information", "cannot answer", "can't answer", "unable to answer",
    "find any information", "find that information", "find this information", "not mentioned in",
    "do not mention", "does not mention", "don't mention", "doesn't mention", "documents do not say",
    "documents don't say", "passages do not say", "passages don't say", "not contain that information",
    "not contain this information", "not contain any information", "わかりません", "分かりません", "わからない",
    "分からない", "不明です", "存じません", "存じ上げません", "把握しておりません", "把握していません",
    "情報がありません", "情報はありません", "情報がございません", "情報はございません", "情報が見つかりません",
    "情報は見つかりません", "記載が見つかりません", "お答えできません", "回答できません",
    "答えすることができません", "答えすることはできません", "分かりかねます", "わかりかねます",
    "答えいたしかねます", "答えできかねます", "答え致しかねます", "回答いたしかねます", "回答できかねます",
    "判断いたしかねます", "判断できかねます", "案内いたしかねます", "案内できかねます", "記載がございません",
    "記載はございません", "記載がありません", "記載はありません", "記載されていません", "記載されておりません",
    "書かれていません", "書かれておりません", "資料にありません", "資料にはありません",
    "資料では確認できません", "資料からは確認できません",
)  # fmt: skip
_IF = r"(?!(?:でし)?たら|場合|とき|時|方|お客|こと|ところ|点|ようでしたら)"  # 分からない場合はお電話ください


def number(reply: str, reference: str | None, item: Mapping[str, Any]) -> Grade:
    """1 when the last number of the reply is the reference's (`sodate/grade/numbers.py` says what a number is).

    SodateError when the reference holds no number.
    """
    wanted = numbers.last(reference or "")
    if wanted is None:
        raise SodateError(
            tr(f"number compares numbers, and the reference {clip(reference or '')!r} has none.",
               f"number は数を比べる採点ですが、正解 {clip(reference or '')!r} に数がありません。"),
            code="bad_reference",
        )  # fmt: skip
    found = numbers.last(reply, wanted)
    if found is None:
        return Grade(0.0, tr("no number in the reply", "返答に数がない"))
    said, right = clip(found.text), clip(wanted.text)
    return Grade(float(found.same(wanted)), tr(f"{said} for {right}", f"{right} に対し {said}"))


def length(low: int, high: int) -> GradeFunction:
    """Characters without white space, after NFKC: 1 inside [low, high], falling in proportion outside."""

    def grade(reply: str, reference: str | None, item: Mapping[str, Any]) -> Grade:
        n = len("".join(normalise(reply).split()))
        score = n / low if n < low else high / n if n > high else 1.0
        return Grade(score, tr(f"{n} characters ({low}–{high})", f"{n} 文字 ({low}〜{high})"))

    return grade


def abstained(reply: str, phrases: Sequence[str] = ABSTAINING) -> bool:
    """Whether the reply says that it does not know, in any of the phrases."""
    return _phrased(tuple(phrases)).search(fold(reply.replace("’", "'"))) is not None


@functools.cache
def _phrased(phrases: tuple[str, ...]) -> re.Pattern[str]:
    """Any of the phrases, but not as a condition."""
    return re.compile(f"(?:{'|'.join(re.escape(fold(phrase)) for phrase in phrases)}){fold(_IF)}")


def abstention(phrases: Sequence[str]) -> GradeFunction:
    """1 where the reply says that it does not know and the reference is empty, or neither. What else it says is not
    looked at. A row without a reference says nothing of the kind, and is refused."""

    def grade(reply: str, reference: str | None, item: Mapping[str, Any]) -> Grade:
        says, ought = abstained(reply, phrases), blank(reference or "")
        if says == ought:
            why = (
                tr("rightly says that it does not know", "分からないと正しく答えた")
                if says
                else tr("answers", "答えている")
            )
            return Grade(1.0, why)
        if says:
            return Grade(0.0, tr("refuses where there is an answer", "答えられるのに断っている (過剰拒否)"))
        return Grade(
            0.0, tr(f"answers what nobody knows: “{clip(reply)}”", f"根拠がないのに答えている:「{clip(reply)}」")
        )

    return grade


def abstentions(phrases: Sequence[str]) -> Aggregate:
    """Of rows without an answer the share that was left open, and of the others the share that was refused."""

    def figures(replies: Sequence[str], references: Sequence[str | None]) -> Mapping[str, float]:
        told = [
            (abstained(reply, phrases), blank(right or "")) for reply, right in zip(replies, references, strict=True)
        ]
        found = {}
        for name, ought in (("abstained", True), ("over_refusal", False)):
            rows = [says for says, unknown in told if unknown == ought]
            if rows:
                found[name] = sum(rows) / len(rows)
        return found

    return figures


def _holds(text: str, wanted: str) -> bool:
    """Whether `wanted` stands in `text` as itself: no part of a number, nor of a word in Latin letters.

    Where all of `wanted` is a number, whether `text` has that number, however it is written.
    """
    found, sought = list(numbers.find(text)), list(numbers.find(wanted))
    if len(sought) == 1 and (sought[0].start, sought[0].end) == (0, len(wanted)):
        clear = [one for one in found if not one.weak] or found
        return any(one.same(sought[0]) for one in clear)
    before = r"(?<!\w)" if _WORD.match(wanted[0]) else ""
    after = r"(?!\w)" if _WORD.match(wanted[-1]) else ""
    at = 0  # the first number that ends behind the place: places and numbers come in order
    for match in re.finditer(before + re.escape(wanted) + after, text, re.ASCII):
        start, end = match.span()
        while at < len(found) and found[at].end <= start:
            at += 1
        near = found[at : at + len(wanted) + 1]
        if not any(one.start < end and (one.start < start or end < one.end) for one in near):
            return True
    return False


def honest(idk: float, phrases: Sequence[str] = ABSTAINING) -> GradeFunction:
    """Right 1, "I don't know" `idk`, wrong -1; as a score in [0, 1] that is (value + 1) / 2.

    Right: the reply holds the reference, whatever stands around it, but not inside a longer number or Latin word
    ("4 days" is not in "14 days"); a number may be written in another way. Where the reference is empty nobody knows
    the answer: every reply but "I don't know" is wrong, and that one counts as right. A row without a reference says
    nothing of the kind, and is refused.
    """

    def grade(reply: str, reference: str | None, item: Mapping[str, Any]) -> Grade:
        wanted = fold(numbers.normalise(reference or ""))
        if abstained(reply, phrases):
            value = idk if wanted else 1.0
            said = tr("says that it does not know", "分からないと答えた")
        elif wanted and _holds(fold(numbers.normalise(reply)), wanted):
            value, said = 1.0, tr("right", "正しい")
        else:
            value, said = -1.0, tr(f"wrong: “{clip(reply)}”", f"誤り: 「{clip(reply)}」")
        return Grade((value + 1) / 2, said, {"abstained": float(abstained(reply, phrases))})

    return grade
