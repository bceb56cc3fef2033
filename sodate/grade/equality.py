"""Two values that are the same however they are written, and which way of writing was folded to see it.

    era        令和6年4月1日, R6.4.1, 令和元年         2024年4月1日, 2019年
    date       2024/4/1, 2024-04-01, 2024年4月1日     one date
    numerals   三千円, 1.5万円, 1億2,000万            3000円, 15000円, 120000000
    currency   ¥3,000, 金3,000円也                   3,000円
    company    ㈱, (株), ㈲                          株式会社, 有限会社
    variants   髙, 﨑, 邊                            高, 崎, 辺
    width      Ａ１, ｶﾞ, －                           A1, ガ, -
    space      山田　太郎                            山田太郎

Only what was needed is named: a folding without which the two are still equal is left out.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

from sodate.core import variants
from sodate.core.text import Sentence, tr
from sodate.grade import kanji, numbers
from sodate.grade.base import Grade, GradeFunction
from sodate.grade.normalise import INVISIBLE, VARIANTS, spaced
from sodate.grade.strings import clip

MAX_TEXT = 10_000  # characters that are folded; a longer text only equals itself

_ERAS = {"明治": 1867, "大正": 1911, "昭和": 1925, "平成": 1988, "令和": 2018}  # the year before the first
_LETTERS = {"M": "明治", "T": "大正", "S": "昭和", "H": "平成", "R": "令和"}
_SIGNS = {"㍾": "明治", "㍽": "大正", "㍼": "昭和", "㍻": "平成", "㋿": "令和"}
_UP_TO_99 = r"[0-9]{1,2}|[〇零一二三四五六七八九十]{1,3}"
_ERA = re.compile(rf"(明治|大正|昭和|平成|令和)\s*({_UP_TO_99}|元)\s*年")
_LETTER_ERA = re.compile(r"(?<![A-Za-z0-9])([MTSHR])\s?([0-9]{1,2}|元)\s?年")
_SHORT_ERA = re.compile(r"(?<![A-Za-z0-9])([MTSHR])\s?([0-9]{1,2}|元)([./-])([0-9]{1,2})\3([0-9]{1,2})(?![0-9])")
_DATE = re.compile(r"(?<![0-9./-])([0-9]{4})([./-])([0-9]{1,2})\2([0-9]{1,2})(?![0-9]|[./-][0-9])")
_SPELT_DATE = re.compile(
    rf"(?<![0-9〇一二三四五六七八九十百千])([0-9]{{4}}|[一二][〇一二三四五六七八九十百千]{{3,8}})\s*年\s*({_UP_TO_99})\s*月\s*({_UP_TO_99})\s*日"
)
_COMPANIES = tuple(
    (re.compile(rf"[(（]{short}[)）]" + (f"|[{signs}]" if signs else "")), full)
    for short, signs, full in (
        ("株", "㈱㍿", "株式会社"), ("有", "㈲", "有限会社"), ("資", "㈾", "合資会社"), ("名", "㈴", "合名会社"),
        ("同", "", "合同会社"), ("社", "㈳", "社団法人"), ("財", "㈶", "財団法人"), ("学", "㈻", "学校法人"),
        ("一社", "", "一般社団法人"), ("一財", "", "一般財団法人"), ("公社", "", "公益社団法人"),
        ("公財", "", "公益財団法人"), ("医", "", "医療法人"), ("福", "", "社会福祉法人"),
    )
)  # fmt: skip
_AMOUNT = rf"[0-9{kanji.NUMERALS},]+(?:\.[0-9]+)?"
_YEN = (
    (re.compile(rf"(?:[¥￥\\]|\bJPY)\s*({_AMOUNT})(?:\s*\.?[-ー]|\s*円)?", re.IGNORECASE), r"\1円"),
    (re.compile(rf"金\s*({_AMOUNT})\s*円(?:也|なり)?"), r"\1円"),
    (re.compile(r"円(?:也|なり)"), "円"),
    (re.compile(r"(?<=[0-9])\s*(?:JPY|yen)\b", re.IGNORECASE), "円"),
)
# A single kanji before what counts things is a number here also where it may be part of a word: 大人二名, 一日.
_COUNTED = re.compile(
    rf"(?<![0-9.,・{kanji.NUMERALS}])[一二三四五六七八九](?=[つ人名個枚点本台件室回日年月週時分秒円歳部番丁階冊箱泊組杯])"
)


def _small(text: str) -> int | None:
    """A whole number in digits or kanji, or 元 for the first year."""
    if text == "元":
        return 1
    found = kanji.value(text, numbers.arabic)
    return int(found) if found is not None and found.denominator == 1 else None


def _era(text: str) -> str:
    def western(found: re.Match[str]) -> str:
        year = _small(found[2])
        return f"{_ERAS[found[1]] + year}年" if year else found[0]

    def letter(found: re.Match[str]) -> str:
        year = _small(found[2])
        return f"{_ERAS[_LETTERS[found[1]]] + year}年" if year else found[0]

    def short(found: re.Match[str]) -> str:
        year = _small(found[2])
        return f"{_ERAS[_LETTERS[found[1]]] + year}{found[3]}{found[4]}{found[3]}{found[5]}" if year else found[0]

    for sign, name in _SIGNS.items():
        text = text.replace(sign, name)
    return _SHORT_ERA.sub(short, _LETTER_ERA.sub(letter, _ERA.sub(western, text)))


def _date(text: str) -> str:
    def one(found: re.Match[str]) -> str:
        year, month, day = map(_small, (found[1], found[found.re.groups - 1], found[found.re.groups]))
        if not year or not month or not day or month > 12 or day > 31:
            return found[0]
        return f"{year:04d}-{month:02d}-{day:02d}"

    return _DATE.sub(one, _SPELT_DATE.sub(one, text))


def _numerals(text: str) -> str:
    """Every number as its value. Codes with a zero in front (007), dates and what may be part of a word stay."""
    text = _COUNTED.sub(lambda found: str(kanji.DIGITS[found[0]]), text)
    pieces, at = [], 0
    for one in numbers.find(text):
        written = text[one.start : one.end].lstrip("-+")
        if one.value is None or one.weak or re.match(r"0[0-9]", written):
            continue
        pieces += [text[at : one.start], _written(one.value if one.figure is None else one.value * 100)]
        pieces += ["%"] if one.figure is not None else []
        at = one.end
    return "".join([*pieces, text[at:]])


def _written(value: Fraction) -> str:
    return str(value.numerator) if value.denominator == 1 else f"{value.numerator}/{value.denominator}"


def _currency(text: str) -> str:
    for pattern, instead in _YEN:
        text = pattern.sub(instead, text)
    return text


def _company(text: str) -> str:
    for pattern, full in _COMPANIES:
        text = pattern.sub(full, text)
    return text


def _width(text: str) -> str:
    return unicodedata.normalize("NFKC", text.translate(INVISIBLE)).translate(VARIANTS)


# In the order in which they are applied: what reads a form comes before what rewrites it.
FOLDINGS: Mapping[str, tuple[Callable[[str], str], Sentence]] = {
    "width": (_width, tr("full and half width", "全角・半角")),
    "company": (_company, tr("㈱ written out", "㈱などの略記")),
    "currency": (_currency, tr("ways to write yen", "円の書き方")),
    "era": (_era, tr("Japanese era", "和暦")),
    "date": (_date, tr("ways to write a date", "日付の書き方")),
    "numerals": (_numerals, tr("ways to write a number", "数の書き方")),
    "variants": (variants.folded, tr("variants of kanji", "異体字")),
    "space": (spaced, tr("white space", "空白")),
}


def folded(text: str, foldings: Sequence[str]) -> str:
    """The text with these foldings applied, in their order."""
    for name, (fold, _) in FOLDINGS.items():
        if name in foldings:
            text = fold(text)
    return text.strip()


def equal(left: str, right: str, foldings: Sequence[str] = tuple(FOLDINGS)) -> tuple[str, ...] | None:
    """The foldings that two texts need to be equal, () where they are as they stand; None where they differ."""
    left, right = left.strip(), right.strip()
    if left == right:
        return ()
    if max(len(left), len(right)) > MAX_TEXT or folded(left, foldings) != folded(right, foldings):
        return None
    needed = [name for name in FOLDINGS if name in foldings]
    for name in list(needed):
        without = [other for other in needed if other != name]
        if folded(left, without) == folded(right, without):
            needed = without
    return tuple(needed)


def said(foldings: Sequence[str]) -> Sentence:
    """Their names, for a reason."""
    return tr(", ", "・").join(FOLDINGS[name][1] for name in foldings)


def equality(foldings: Sequence[str]) -> GradeFunction:
    """1 where the reply is the reference, however either is written. Part `as_written`: without any folding."""

    def grade(reply: str, reference: str | None, item: Mapping[str, Any]) -> Grade:
        wanted = reference or ""
        needed = equal(reply, wanted, foldings)
        if needed is None:
            why = tr(f"expected “{clip(wanted)}”, got “{clip(reply)}”",
                     f"正解「{clip(wanted)}」、返答「{clip(reply)}」")  # fmt: skip
            return Grade(0.0, why, {"as_written": 0.0})
        if not needed:
            return Grade(1.0, tr("equal as written", "表記も一致"), {"as_written": 1.0})
        return Grade(1.0, tr("equal after folding: ", "表記の違いを除けば一致: ") + said(needed), {"as_written": 0.0})

    return grade
