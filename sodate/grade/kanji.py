"""Numbers in kanji, alone (三千五百) or mixed with digits (1億2,000万); and kanji that are only part of a word."""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction

DIGITS = dict(zip("〇零一二三四五六七八九", (0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9), strict=True))
FORMAL = dict(zip("壱弐参肆伍陸漆捌玖", range(1, 10), strict=True))  # as on bills; 参加 and 陸 are words
SMALL = {"十": 10, "百": 100, "千": 1000, "拾": 10, "佰": 100, "仟": 1000}
BIG = {"万": 10**4, "萬": 10**4, "億": 10**8, "兆": 10**12, "京": 10**16}
_WRITTEN: dict[str, int | str] = {**DIGITS, **FORMAL, "・": "."}
NUMERALS = "".join([*DIGITS, *FORMAL, *SMALL, *BIG])

# What may follow a single kanji that is a number (三個), and what may precede it (約三個, 午後三時).
# In 三菱 or 統一 it is none.
_COUNTERS = (
    "円圓銭個箇人名件年月日時分秒週度回本枚冊台歳才点匹頭羽階番号位倍割厘店校組席章節条項頁巻曲杯皿袋箱区町畳坪里升斤貫"
    "問題語文行段枠種類票勝敗対色軒戸棟室床泊食膳足着株輪世帯余以前後"
)
_BEFORE = "第約計全残満前後年月日時分"
_HAN = re.compile(r"[\u3400-\u9fff々]")
_IDIOM = re.compile(
    r"一(?!$|[^\w]|です|だ(?!け)|とな|にな)|十分|二度|千人|万人"
)  # 一つ, 一度, 一緒に: seldom the answer


def value(text: str, arabic: Callable[[str], Fraction | None]) -> Fraction | None:
    """What `text`, of kanji numerals and digits, says; None if that is no well-formed number. `arabic` reads digits.

    Units fall from left to right (億, 万 and, inside each, 千, 百, 十); 万 and above need a number before them.
    """
    total, rest, bound = Fraction(0), text, float("inf")
    while match := re.search(f"[{''.join(BIG)}]", rest):
        unit, section = BIG[match[0]], _section(rest[: match.start()], arabic)
        if section is None or unit >= bound:
            return None
        total, rest, bound = total + section * unit, rest[match.end() :], unit
    if not rest:
        return total
    section = _section(rest, arabic)
    return None if section is None or section >= bound else total + section


def _section(text: str, arabic: Callable[[str], Fraction | None]) -> Fraction | None:
    """A number below 万: 三千五百, 3千5百, 二〇二六, 三・一四."""
    total, bound = Fraction(0), float("inf")
    *coefficients, last = re.split(f"[{''.join(SMALL)}]", text)
    for coefficient, sign in zip(coefficients, re.findall(f"[{''.join(SMALL)}]", text), strict=True):
        times = _plain(coefficient, arabic) if coefficient else Fraction(1)
        if times is None or (len(coefficient) > 1 and coefficient[0] in _WRITTEN) or SMALL[sign] >= bound:
            return None
        bound = SMALL[sign]
        total += times * bound
    if not last:
        return total if coefficients else None
    ones = _plain(last, arabic)
    return None if ones is None or ones >= bound else total + ones


def _plain(text: str, arabic: Callable[[str], Fraction | None]) -> Fraction | None:
    """Digits without units, in kanji (one by one) or not."""
    if text[0] not in _WRITTEN:
        return arabic(text)
    return arabic("".join(str(_WRITTEN.get(character, "?")) for character in text))


def standing(text: str, start: int, end: int) -> str:
    """How the kanji number at text[start:end] stands in its sentence: "number", "weak" or "word".

    "weak" may be part of an idiom (一度, 十分) or of a name (五十嵐); "word" is certainly no number (一般, 数百).
    """
    before, after, token = text[start - 1 : start], text[end : end + 1], text[start:end]
    in_word = _HAN.match(after) and after not in _COUNTERS
    if (before and before in "数何幾") or set(token) <= {"〇"} or token in FORMAL:
        return "word"
    if after == "割":  # 打率三割: tenths, whatever stands before them
        return "number"
    if len(token) == 1 and (in_word or (_HAN.match(before) and before not in _BEFORE)):
        return "word"
    return "weak" if in_word or (len(token) == 1 and _IDIOM.match(text, start)) else "number"
