"""One way to fold text before comparing it, and one tokeniser for text without spaces."""

from __future__ import annotations

import re
import unicodedata

# Characters nobody sees, Unicode's Default_Ignorable_Code_Point: soft hyphen, fillers, zero-width space and joiners,
# direction marks, byte order mark, tags, and variation selectors (an emoji or 葛 with one is the same without it).
INVISIBLE = dict.fromkeys([
    0x00AD, 0x034F, 0x061C, 0x115F, 0x1160, 0x17B4, 0x17B5, *range(0x180B, 0x1810), *range(0x200B, 0x2010),
    *range(0x202A, 0x202F), *range(0x2060, 0x2070), 0x3164, *range(0xFE00, 0xFE10), 0xFEFF, 0xFFA0,
    *range(0xFFF0, 0xFFF9), *range(0x1BCA0, 0x1BCA4), *range(0x1D173, 0x1D17B), *range(0xE0000, 0xE1000),
])  # fmt: skip
# NFKC leaves these variants apart, yet keyboards and mail programs mix them freely: dashes and the wave dash.
VARIANTS = {**dict.fromkeys([*range(0x2010, 0x2016), 0x2212], "-"), 0x301C: "~"}
KATAKANA_TO_HIRAGANA = {code: code - 0x60 for code in [*range(0x30A1, 0x30F7), 0x30FD, 0x30FE]}

# Kana, Han (with extensions A and later planes), iteration and long-vowel marks, CJK punctuation.
JAPANESE = "\u3001-\u303f\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_SPACE_BY_JAPANESE = re.compile(rf"(?<=[{JAPANESE}])\s+|\s+(?=[{JAPANESE}])")
_SPACE = re.compile(r"\s+")
_RAISED = re.compile(r"(?<=\d)[²³¹⁰⁴-⁹⁻]+")
_FRACTION = re.compile(r"(?<=\d)(?=[¼-¾⅐-⅟↉])")
_WIDTHS = re.compile(r"[\u3000\uff00-\uffef]+")
_TOKEN = re.compile(rf"[{JAPANESE}]|(?:(?![{JAPANESE}])\w)+|[^\w\s]")


def normalise(text: str) -> str:
    """NFKC (full-width → half-width, ｶﾞ → ガ), invisible characters out, dash variants to `-`, `〜` to `~`,
    white space folded to one space, and none beside a Japanese character (山田 太郎 = 山田太郎, A4 用紙 = A4用紙).
    Upper and lower case stay apart, and so do numbers: 10² is 10^2 and 2½ is 2 1⁄2, neither of them a longer number.
    """
    apart = _RAISED.sub(r"^\g<0>", _FRACTION.sub(" ", text.translate(INVISIBLE)))
    return spaced(unicodedata.normalize("NFKC", apart).translate(VARIANTS))


def spaced(text: str) -> str:
    """One space for white space, none beside a Japanese character or at the ends."""
    return _SPACE_BY_JAPANESE.sub("", _SPACE.sub(" ", text)).strip()


def halfwidth(text: str) -> str:
    """Full- and half-width forms as the usual ones (Ａ → A, ｶﾞ → ガ), and no other change: ① is not 1."""
    return unicodedata.normalize("NFC", _WIDTHS.sub(lambda run: unicodedata.normalize("NFKC", run[0]), text))


def fold(text: str) -> str:
    """`normalise`, then case and kana folded (ゼッタイ = ぜったい): for finding words however they are written."""
    return normalise(text).casefold().translate(KATAKANA_TO_HIRAGANA)


def tokens(text: str) -> list[str]:
    """Lower-case words for scripts with spaces, single characters for Japanese, punctuation marks alone."""
    return _TOKEN.findall(normalise(text).casefold())
