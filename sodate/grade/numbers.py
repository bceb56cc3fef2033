"""Numbers in text, however people write them. A number is read as a whole or not at all, never cut in the middle.

Read: 1,234.5 and 1.234,5 and 1 234,5; 1,5 (no thousands, so a decimal comma); 1e-1, 6.02×10^23, 10²; ½, 2 1/2, 3/4;
十二, 三千五百, 1億2,000万, 三分の一; 50 %, 3割5分; minus signs of every kind, マイナス, ▲; without the unit.
Dates, times, versions and the like (2026-03-02, 12:30, 1.2.3) are not numbers: they only equal each other.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

from sodate.grade import kanji
from sodate.grade.normalise import INVISIBLE

MAX_CHARACTERS = 400  # of a number; a longer one only equals itself
MAX_EXPONENT = 400


@dataclass(frozen=True, slots=True)
class Number:
    """`value` is None for a date and the like. With a percent sign or 割, `figure` is the number before it.

    `weak`: a kanji that may be part of an ordinary word (一度, 十分). `start` and `end` are places in `prepare`d text.
    """

    start: int
    end: int
    text: str
    value: Fraction | None
    figure: Fraction | None = None
    weak: bool = False

    def same(self, other: Number) -> bool:
        """Equal numbers. 50 % is 0.5 and, where the other side names no scale, also 50."""
        if self.value is None or other.value is None:
            return self.value is other.value and _canonical(self.text) == _canonical(other.text)
        if self.value == other.value:
            return True
        figures = [one.figure for one in (self, other) if one.figure is not None]
        return len(figures) == 1 and figures[0] in (self.value, other.value)


def last(text: str, like: Number | None = None) -> Number | None:
    """The last number of `text`, or None; with `like` the last of its kind (a plain number, or a date and the like)."""
    found = list(find(normalise(text)))
    plain = any(one.value is not None for one in found) if like is None else like.value is not None
    found = [one for one in found if (one.value is not None) == plain]
    return next((one for one in reversed(found) if not one.weak), found[-1] if found else None)


def whole(text: str) -> Fraction | None:
    """The plain number, without a scale such as %, that all of `text` is; or None."""
    ready = normalise(text).strip().removeprefix("+")
    found = list(find(ready))
    if len(found) != 1 or found[0].figure is not None or (found[0].start, found[0].end) != (0, len(ready)):
        return None
    return found[0].value


# ── the text that numbers are looked for in ──────────────────────────────────────────────────────────────────────────

_RAISED = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "0123456789-+", strict=True))
_LOWERED = dict(zip("₀₁₂₃₄₅₆₇₈₉", "0123456789", strict=True))
# U+2212 stays apart from "-": it is a minus even where a space follows.
_MARKS = {
    **dict.fromkeys(map(ord, "‐‑‒–"), "-"), ord("―"): "—", **dict.fromkeys(map(ord, "⁄∕"), "/"),
    **dict.fromkeys(map(ord, "’ʼ"), "'"), **dict.fromkeys(map(ord, "·⋅∙•∗✕"), "×"),
    ord("٫"): ".", ord("٬"): ",", ord("٪"): "%",
}  # fmt: skip
_LATEX = (
    (re.compile(r"\\[dt]?frac\s?\{(\d{1,40})\}\s?\{(\d{1,40})\}"), r" \1/\2"),
    (re.compile(r"\\(?:times|cdot)(?![A-Za-z])"), "×"),
    (re.compile(r"\{,\}"), ","),
    (re.compile(r"\\%"), "%"),
)


def normalise(text: str) -> str:
    """NFKC and digits of every script as 0 to 9, but 10² becomes 10^2, H₂O H_2O, and 2½ 2 1/2."""
    pieces: list[str] = []
    kind, text = "", text.translate(INVISIBLE)
    if text.isascii():  # which is all of this already
        pieces, text = [text], ""
    for character in text:
        before, kind = kind, "^" if character in _RAISED else "_" if character in _LOWERED else ""
        if kind:
            pieces.append(("" if before == kind else kind) + (_RAISED | _LOWERED)[character])
            continue
        plain, vulgar = _plain(character)
        pieces.append(" " + plain if vulgar and pieces and pieces[-1].isdigit() else plain)
    result = "".join(pieces)
    for pattern, instead in _LATEX:
        result = pattern.sub(instead, result)
    return result


@functools.lru_cache(maxsize=8192)
def _plain(character: str) -> tuple[str, bool]:
    """A character by itself, and whether it is a fraction of its own (½)."""
    if unicodedata.category(character) == "Nd":
        return str(unicodedata.decimal(character)), False
    plain = unicodedata.normalize("NFKC", character)
    return plain.translate(_MARKS), "⁄" in plain and len(plain) > 1


# ── where a number begins and ends ───────────────────────────────────────────────────────────────────────────────────

_K = kanji.NUMERALS
_TOKEN = re.compile(
    r"(?P<word>(?<![A-Za-z0-9_])[A-Za-z_]++\d[A-Za-z0-9_]*+(?:[.:-]\d++)*+)"  # v1.2.3, A4, CO2
    r"|(?P<hexadecimal>0[xX][0-9a-fA-F]++)"
    r"|(?P<chain>\d++(?:(?::\d++)++(?:\.\d++)?+|(?:-\d++){2,}+|(?:/\d++){2,}+))"  # 12:30, 2026-03-02
    r"|(?P<mixed>(?P<ones>\d{1,3})(?:[ ]|と)(?P<over>\d{1,40})/(?P<under>\d{1,40})(?![\d/]))"  # 2 1/2
    rf"|(?P<kanji>(?:\d++(?:[.,]\d++)*+)?[{_K}](?:[{_K}・]|\d++(?:[.,]\d++)*+)*+)"
    r"|(?P<digits>\d++(?:[.,'_]\d++|[ ]\d{3}(?!\d))*+|(?<!(?u:[\w.]))\.\d++)",
    re.ASCII,
)
_SIGNED = r"[-+−]?\d{1,9}"
_EXPONENT = rf"\s?(?:\(\s?{_SIGNED}\s?\)|\{{\s?{_SIGNED}\s?\}}|{_SIGNED})"
_SUFFIX = re.compile(
    rf"(?P<e>[eE]{_SIGNED})(?!\d)"
    rf"|\s?[×xX*]\s?10\s?(?:\^|\*\*)(?P<times>{_EXPONENT})(?!\d)"
    rf"|\s?(?:\^|\*\*)(?P<power>{_EXPONENT})(?!\d)"
    r"|(?P<odd>(?:\s?\^|_|\*\*)\S{1,40})"
    r"|\s?/\s?(?P<under>\d{1,40})(?![\d/]|[.,]\d)"
    rf"|分の\s?(?P<over>\d{{1,40}}|[{_K}]{{1,40}})",
    re.ASCII,
)
_SCALE = re.compile(
    rf"\s?(?P<percent>%|パーセント|ぱーせんと|per\s?cent|pct(?![a-z]))|\s?(?P<mille>‰)"
    r"|\s?(?P<times>thousand|million|billion|trillion)s?(?![a-z])|(?P<kilo>k)(?![a-z0-9])"
    rf"|(?P<tenth>割)(?:(?P<b>[\d{_K}])分)?(?:(?P<c>[\d{_K}])厘)?|分(?P<d>[\d{_K}])厘",
    re.IGNORECASE,
)
_TIMES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_AND = re.compile(rf"\s?と\s?(?P<under>\d{{1,40}}|[{_K}]{{1,40}})分の\s?(?P<over>\d{{1,40}}|[{_K}]{{1,40}})", re.ASCII)
_MINUS = re.compile(
    r"(?:(?<![A-Za-z0-9_)\]}%.])-|(?:^|(?<=[\s(\[{=:、。「]))[—ー]|(?<![A-Za-z0-9_)\]}%])(?<![A-Za-z0-9_)\]}%]\s)−\s?"
    r"|(?<==)-\s|(?<==\s)-\s|(?:マイナス|まいなす)\s?|\b(?:minus|negative)\s|負の|[△▲]\s?)(?:US)?[$€£¥₩₹]?$",
    re.IGNORECASE,
)


def find(text: str) -> Iterator[Number]:
    """The numbers of a `prepare`d text, in order."""
    place = 0
    while match := _TOKEN.search(text, place):
        place = match.end()
        if match["word"] is None and text[match.start() - 1 : match.start()] not in ("^", "_"):
            for number in _read(text, match):
                place = max(place, number.end)
                yield number


def _read(text: str, match: re.Match[str]) -> Iterator[Number]:
    start, end = match.span()
    if match["chain"] or end - start > MAX_CHARACTERS:
        yield Number(start, end, match[0], None)
    elif match["hexadecimal"]:
        yield _signed(text, Number(start, end, match[0], Fraction(int(match[0], 16))))
    elif match["mixed"] and int(match["over"]) < int(match["under"]):
        fraction = Fraction(int(match["over"]), int(match["under"]))
        yield _complete(text, Number(start, end, match[0], int(match["ones"]) + fraction))
    elif match["kanji"]:
        standing = kanji.standing(text, start, end) if set(match[0]) <= set(_K) else "number"
        number = kanji.value(match[0], arabic)
        if standing != "word" and (number is not None or any(c.isdigit() for c in match[0])):
            yield _complete(text, Number(start, end, match[0], number, weak=standing == "weak"))
    else:
        end = match.end("ones") if match["mixed"] else end
        for piece, value in _split(text[start:end]):
            here = Number(start, start + len(piece), piece, value)
            start = here.end + 1
            yield _complete(text, here) if here.end == end else _signed(text, here)


_PLAIN = re.compile(r"\d*(?:\.\d+)?")
# A first group that begins with 0 holds no thousands: 0,500 is a half.
_GROUPED = [
    re.compile(rf"(?!0)(?P<whole>{groups})(?:{point}(?P<decimals>\d+))?")
    for groups, point in (
        (r"\d{1,3}(?:,\d{3})+", r"\."), (r"\d{1,2}(?:,\d{2})+,\d{3}", r"\."), (r"\d{1,3}(?: \d{3})+", "[.,]"),
        (r"\d{1,3}(?:'\d{3})+", "[.,]"), (r"\d{1,3}(?:_\d{3})+", r"\."), (r"\d{1,3}(?:\.\d{3}){2,}", ","),
    )
] + [re.compile(r"(?P<whole>\d+|(?!0)\d{1,3}(?:\.\d{3})+),(?P<decimals>\d+)")]  # fmt: skip


def arabic(written: str) -> Fraction | None:
    """The value of digits with separators and a decimal point or comma; None if they make no number (1.2.3)."""
    if len(written) > MAX_CHARACTERS:
        return None
    if written and _PLAIN.fullmatch(written):
        return Fraction(written)
    match = next(filter(None, (pattern.fullmatch(written) for pattern in _GROUPED)), None)
    return Fraction(re.sub(r"\D", "", match["whole"]) + "." + (match["decimals"] or "0")) if match else None


def _split(run: str) -> list[tuple[str, Fraction | None]]:
    """`run` and its value, or those of each number of a list (1,2,3), one character apart."""
    value = arabic(run)
    if value is None:
        pieces = re.split(r"[ ',]", run)
        if all(_PLAIN.fullmatch(piece) for piece in pieces):
            return [(piece, arabic(piece)) for piece in pieces]
    return [(run, value)]


def _canonical(text: str) -> str:
    """A date or version without leading zeros, slashes as hyphens."""
    return re.sub(r"(?<!\d)0+(?=\d)", "", text).replace("/", "-")


def _signed(text: str, number: Number) -> Number:
    if number.value is None or not (match := _MINUS.search(text[max(0, number.start - 16) : number.start])):
        return number
    start, figure = number.start - len(match[0]), None if number.figure is None else -number.figure
    return replace(number, start=start, text=f"-{number.text}", value=-number.value, figure=figure)


def _complete(text: str, number: Number) -> Number:
    """With the fraction, exponent, divisor or scale after the number, and its sign."""
    if number.value is not None and (match := _AND.match(text, number.end)):  # 二と三分の一
        over, under = (kanji.value(match[part], arabic) for part in ("over", "under"))
        value = number.value + over / under if over is not None and under else None
        number = replace(number, end=match.end(), text=text[number.start : match.end()], value=value)
    match = _SUFFIX.match(text, number.end)
    if match and number.value is not None:
        number = replace(
            number, end=match.end(), text=text[number.start : match.end()], value=_with(number.value, match)
        )
    match = _SCALE.match(text, number.end)
    if match and number.value is not None:
        value, written = _scaled(number.value, match), text[number.start : match.end()]
        number = replace(number, end=match.end(), text=written, value=value, figure=number.value)
    return _signed(text, number)


def _scaled(value: Fraction, match: re.Match[str]) -> Fraction:
    """`value` in the scale that `_SCALE` found after it: 3割5分2厘 is 0.352, 1.5 million 1500000."""
    if match["times"] or match["kilo"]:
        return value * _TIMES[(match["times"] or "thousand").lower()]
    value /= 1000 if match["mille"] else 10 if match["tenth"] else 100
    for part, share in (("b", 100), ("c", 1000), ("d", 1000)):
        value += (kanji.value(match[part], arabic) or 0) * Fraction(1, share) if match[part] else 0
    return value


def _with(value: Fraction, match: re.Match[str]) -> Fraction | None:
    """`value` with what `_SUFFIX` found after it; None where that is not a number."""
    if under := match["under"]:
        return value / int(under) if int(under) else None
    if over := match["over"]:
        above = kanji.value(over, arabic) or arabic(over)
        return above / value if above is not None and value else None
    written = match["power"] or match["times"] or (match["e"] or "")[1:]
    exponent = int(re.sub(r"[^\d-]", "", written.replace("−", "-")) or MAX_EXPONENT + 1)
    base = value if match["power"] else Fraction(10)
    small = base.numerator.bit_length() + base.denominator.bit_length() <= 64
    if abs(exponent) > MAX_EXPONENT or not small or (not base and exponent < 0):
        return None
    return base**exponent if match["power"] else value * base**exponent
