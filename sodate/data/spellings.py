"""Personal data as people hide or dictate it: `taro [at] example [dot] com`, 〇九〇の一二三四の…, digits as words.

`plain` writes such spellings as the rules of `pii` read them, and says where in the text each of its characters is.
"""

from __future__ import annotations

import re
import unicodedata

Edit = tuple[int, int, str]

# Seen by nobody, put between digits and letters: zero-width spaces and joiners, soft hyphens, marks of direction.
_INVISIBLE = re.compile("[\u00ad\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]+")

_OPEN, _SHUT = r"[\[({<【〔「『〈]", r"[\])}>】〕」』〉]"
_AT_WORD = r"(?:at|@|a|アットマーク|アット|あっとまーく|あっと)"
_DOT_WORD = r"(?:dot|\.|ドット|どっと)"
# What stands for @: `sure` needs a domain after it, `word` one whose dots are words, too.
_AT = re.compile(
    rf"(?P<sure> {{0,2}}{_OPEN} {{0,2}}{_AT_WORD} {{0,2}}{_SHUT} {{0,2}}"
    r"| {0,2}(?:アットマーク|あっとまーく|アット|あっと) {0,2}"
    r"|&#64;|&#x40;|&commat;|%40|[★☆●◎◆■♪]|[_-]at[_-]| {0,2}@ {0,2})"
    r"|(?P<word> {1,2}at {1,2})",
    re.IGNORECASE,
)
_DOT = re.compile(
    rf" {{0,2}}{_OPEN} {{0,2}}{_DOT_WORD} {{0,2}}{_SHUT} {{0,2}}"
    r"| {1,2}dot {1,2}| {0,2}(?:ドット|どっと) {0,2}|&#46;|%2e|[.。]",
    re.IGNORECASE,
)
_HAS_AT = re.compile(
    r" @|@ |[\[({<【〔「『〈] {0,2}(?:at|@|a|ア|あ)|アット|あっと|&#|&com|%40|[★☆●◎◆■♪]|[_-]at[_-]| dot "
    r"|@[^ ]{0,80}[\[({<【。ド]",
    re.IGNORECASE,
)
_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,62})")
_LOCAL_END = re.compile(r"[A-Za-z0-9._%+-]")

_DIGIT_FORMS = ("〇零○◯", "一壱", "二弐", "三参", "四", "五", "六", "七", "八", "九")
_KANJI_DIGITS = {ord(form): str(digit) for digit, forms in enumerate(_DIGIT_FORMS) for form in forms}
# `?` and the sign of a lost letter: a dash that a file's encoding did not have.
SEPARATOR = r"(?:[-ー.・/_~〜|,、の()?\ufffd\t ]{0,3}|-\n)"
_D = "[\\d〇零○◯一壱二弐三参四五六七八九\u2460-\u2468\u24ea\u2776-\u277e\u24ff]"
_DIGIT_RUN = re.compile(rf"{_D}(?:{SEPARATOR}{_D}){{8,40}}")
_UNUSUAL = re.compile("[^\\x00-\\x7f]")
_LOOKALIKE = re.compile(rf"(?<![A-Za-z0-9])[0Oo][5789][0Oo](?:{SEPARATOR}[0-9OolI]){{8}}(?![A-Za-z0-9])")
_LOOKS = str.maketrans("OolI", "0011")

_SAID = {
    "0": "ゼロ ぜろ レイ れい マル まる zero oh", "1": "イチ いち one", "2": "ニー ニ にー に two",
    "3": "サン さん three", "4": "ヨン よん four", "5": "ゴー ゴ ごー ご five", "6": "ロク ろく six",
    "7": "ナナ なな シチ しち seven", "8": "ハチ はち eight", "9": "キュウ きゅう キュー nine",
}  # fmt: skip
_BY_WORD = {word: digit for digit, said in _SAID.items() for word in said.split()}
_ONE_WORD = "|".join(sorted(_BY_WORD, key=len, reverse=True))
_WORDS = re.compile(rf"(?<![A-Za-z])(?:(?:{_ONE_WORD})[-ー、,のー ]{{0,2}}){{9,40}}", re.IGNORECASE)
_WORD = re.compile(_ONE_WORD, re.IGNORECASE)
_ZERO = re.compile("ゼロ|ぜろ|レイ|れい|マル|まる|[zZ][eE][rR][oO]|[oO][hH][ -]")  # a number that is dictated begins so


def plain(text: str) -> tuple[str, list[int]] | None:
    """The text with what is hidden or spelt out written plainly, and where in `text` each character and the end are.

    None where nothing had to be written otherwise. `text` is width-folded (`pii.same_width`).
    """
    if not text.isascii() and _INVISIBLE.search(text):
        shown, places = _edited(text, [(*m.span(), "") for m in _INVISIBLE.finditer(text)])
        again = plain(shown)
        return (shown, places) if again is None else (again[0], [places[at] for at in again[1]])
    edits = [*_mail(text), *(_dictated(text) if _ZERO.search(text) else ())]
    return _edited(text, sorted(edits)) if edits else None


def digits(text: str) -> str:
    """The text with long runs of digits in other forms (kanji, circles, letters that look like 0) as 0-9, length
    unchanged."""
    if "O" in text or "o" in text:
        text = _LOOKALIKE.sub(lambda found: found[0].translate(_LOOKS), text)
    return text if text.isascii() else _DIGIT_RUN.sub(_as_ascii, text)


def _as_ascii(found: re.Match[str]) -> str:
    run = found[0]
    if not _UNUSUAL.search(run):
        return run
    return "".join(_digit(char) for char in run.translate(_KANJI_DIGITS))


def _digit(char: str) -> str:
    value = None if char.isascii() else unicodedata.digit(char, None)
    return char if value is None else str(value)


def _mail(text: str) -> list[Edit]:
    """Where an @ or the dots of a domain are written otherwise."""
    edits: list[Edit] = []
    if not _HAS_AT.search(text):
        return edits
    done = 0
    for at in _AT.finditer(text):
        if at.start() < done or not at.start() or not _LOCAL_END.match(text, at.start() - 1):
            continue
        found = _domain(text, at.end())
        if found is None or (at["word"] and not any(end - start > 1 for start, end, _ in found[1])):
            continue
        done = found[0]
        edits += [edit for edit in ((*at.span(), "@"), *found[1]) if text[edit[0] : edit[1]] != edit[2]]
    return edits


def _domain(text: str, at: int) -> tuple[int, list[Edit]] | None:
    """Where a domain that begins here ends, and its dots; None where there is none."""
    dots: list[Edit] = []
    label = _LABEL.match(text, at)
    while label and len(dots) < 8:
        dot = _DOT.match(text, label.end())
        after = _LABEL.match(text, dot.end()) if dot else None
        if dot is None or after is None or after[0].lower() == "dot":
            break
        dots.append((*dot.span(), "."))
        label = after
    return (label.end(), dots) if label and dots and re.fullmatch("[A-Za-z]{2,24}", label[0]) else None


def _dictated(text: str) -> list[Edit]:
    """Nine and more digits said as words, with what is between them."""
    return [
        (run.start() + word.start(), run.start() + word.end(), _BY_WORD[word[0].lower()])
        for run in _WORDS.finditer(text)
        for word in _WORD.finditer(run[0])
    ]


def _edited(text: str, edits: list[Edit]) -> tuple[str, list[int]]:
    parts: list[str] = []
    places: list[int] = []
    done = 0
    for start, end, instead in edits:
        parts += [text[done:start], instead]
        places += [*range(done, start), *[start] * len(instead)]
        done = end
    parts.append(text[done:])
    places += range(done, len(text) + 1)
    return "".join(parts), places
