"""Two languages: every sentence a person reads is written twice, side by side, and chosen when it is read."""

from __future__ import annotations

import json
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal, SupportsIndex

Language = Literal["en", "ja"]

_READER: ContextVar[Language | None] = ContextVar("sodate_reader", default=None)
# Characters that steer a terminal or are not seen: C0 (but newline and tab), DEL, C1, soft hyphen, marks and overrides
# of writing direction, separators of lines, invisible operators, tags, and halves of surrogates, as bytes of file names
# that are not UTF-8 arrive. The joiners of emoji, Persian and Hindi stay. A carriage return only where no newline
# follows.
_STEERING = (
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\ufff9-\ufffb\ud800-\udfff\U0001d173-\U0001d17a\U000e0000-\U000e007f]"
)
_CONTROLS = re.compile(_STEERING + r"|\r(?!\n)")
_IN_JSON = re.compile(_STEERING)  # all others of C0 are escaped by the json module already
# Nothing to see: white space, control and format characters, and the letters, marks and symbols that draw nothing.
_EMPTY = frozenset(("Cc", "Cf", "Zs", "Zl", "Zp"))
_UNSEEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0000-\U000e0fff]"
)


def language() -> Language:
    """The reader's: of `reading_in` first, then SODATE_LANG, then the locale variables in their POSIX order."""
    if (reader := _READER.get()) is not None:
        return reader
    for name in ("SODATE_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        value = os.environ.get(name, "")
        if value:
            return "ja" if value.lower().startswith("ja") else "en"
    return "en"


@contextmanager
def reading_in(reader: Language) -> Iterator[None]:
    """Within, sentences are read in this language, whatever the process's: for one request or one report."""
    before = _READER.set(reader)
    try:
        yield
    finally:
        _READER.reset(before)


class Sentence(str):
    """Both languages of one sentence. `str()`, f-strings, `print` and `visible` read it in the reader's.

    It is a str, so that it goes wherever text goes; code that looks past `str()`, such as the json module, sees the
    language of the moment it was made. Adding, `join` and `format` keep both languages. An f-string does not: within
    another `tr`, write `tr(f"the {en(part)}", f"{ja(part)} の")`.
    """

    __slots__ = ("en", "ja")
    en: str
    ja: str

    def __new__(cls, en: str, ja: str) -> Sentence:
        sentence = super().__new__(cls, ja if language() == "ja" else en)
        sentence.en, sentence.ja = en, ja
        return sentence

    def __str__(self) -> str:
        return self.ja if language() == "ja" else self.en

    def __repr__(self) -> str:
        return repr(str(self))

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)

    def __getnewargs__(self) -> tuple[str, str]:  # type: ignore[override]  # str's own has one
        return self.en, self.ja

    def __add__(self, other: str) -> Sentence:
        return Sentence(self.en + en(other), self.ja + ja(other))

    def __radd__(self, other: str) -> Sentence:
        return Sentence(en(other) + self.en, ja(other) + self.ja)

    def __mul__(self, times: SupportsIndex) -> Sentence:
        return Sentence(self.en * times, self.ja * times)

    def format(self, *args: object, **kwargs: object) -> Sentence:
        """Both languages filled in, each with its own side of what is a Sentence itself."""
        sides = ((self.en, en), (self.ja, ja))
        return Sentence(*(text.format(*map(side, args), **_mapped(kwargs, side)) for text, side in sides))

    def join(self, parts: Iterable[str]) -> Sentence:
        """`tr(", ", "、").join(parts)`."""
        listed = list(parts)
        return Sentence(self.en.join(map(en, listed)), self.ja.join(map(ja, listed)))


def tr(english: str, japanese: str) -> Sentence:
    """A sentence in both languages, read in the reader's."""
    return Sentence(english, japanese)


def counted(number: int, noun: str) -> str:
    """`1 row`, `2 rows`: English, of a noun whose plural only has an s more."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def shortened(text: str, most: int) -> str:
    """A text, in both languages if it has two, of no more than `most` characters and a mark."""
    if len(en(text)) <= most and len(ja(text)) <= most:
        return text
    sides = [side if len(side) <= most else side[:most] + "…" for side in (str(en(text)), str(ja(text)))]
    return tr(*sides)


def en(part: Any) -> Any:
    """The English of a sentence; anything else as it is."""
    return part.en if isinstance(part, Sentence) else part


def ja(part: Any) -> Any:
    """The Japanese of a sentence; anything else as it is."""
    return part.ja if isinstance(part, Sentence) else part


def said_by(error: Exception) -> str:
    """What an exception says, in both languages where it was raised with a Sentence."""
    first = error.args[0] if error.args else ""
    return first if isinstance(first, Sentence) else str(error)


def _mapped(values: dict[str, object], side: Any) -> dict[str, object]:
    return {key: side(value) for key, value in values.items()}


def size(count: int) -> str:
    """Bytes as a person says them."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def visible(text: str) -> str:
    """The text with characters that are not seen written out: what a model, a name or a file says can't steer a
    terminal, or look like something else. Every such text that a person sees passes through here.
    """
    return _CONTROLS.sub(_written, str(text))


def _written(found: re.Match[str]) -> str:
    number = ord(found[0])
    if 0xDC80 <= number <= 0xDCFF:  # a byte of a file name that is not UTF-8
        number -= 0xDC00
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def seen(text: str) -> str:
    """The text without the characters that are not seen: two that differ in those alone look the same to a reader."""
    return _UNSEEN.sub("", _CONTROLS.sub("", text))


def json_text(value: Any, **options: Any) -> str:
    """A JSON document, of the same value, in which characters that `visible` writes out are escaped."""
    return _IN_JSON.sub(lambda found: json.dumps(found[0])[1:-1], json.dumps(value, ensure_ascii=False, **options))


def written(text: str) -> str:
    r"""A text that any file and any wire takes: halves of surrogate pairs are written out, as `\ud83d`."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def json_lines(text: str) -> list[str]:
    """The lines of JSON lines. A text in them may hold U+2028 and its like as they are, where `splitlines` cuts."""
    return text.removesuffix("\n").split("\n") if text else []


def blank(text: str) -> bool:
    """Whether there is nothing to see: no character, or only white space of any script and invisible ones."""
    return all(c.isspace() or unicodedata.category(c) in _EMPTY or _UNSEEN.match(c) for c in text)
