"""Two languages: every sentence a person reads is written twice, side by side, and chosen when it is read."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal, SupportsIndex

Language = Literal["en", "ja"]

_READER: ContextVar[Language | None] = ContextVar("sodate_reader", default=None)
# All but newline and tab; a carriage return only where no newline follows.
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]|\r(?!\n)")
# Nothing to see: white space, format characters, and the letters, marks and symbols that draw nothing.
_EMPTY = frozenset(("Cf", "Zs", "Zl", "Zp"))
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
        made = super().__new__(cls, ja if language() == "ja" else en)
        made.en, made.ja = en, ja
        return made

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
    """The text with its control characters and halves of surrogate pairs written out, so that what a model or a file
    says can neither steer a terminal nor fail to be printed."""
    whole = str(text).encode("utf-8", "backslashreplace").decode("utf-8")
    return _CONTROLS.sub(lambda found: f"\\x{ord(found[0]):02x}", whole)


def blank(text: str) -> bool:
    """Whether there is nothing to see: no character, or only white space of any script and invisible ones."""
    return all(c.isspace() or unicodedata.category(c) in _EMPTY or _UNSEEN.match(c) for c in text)
