"""Sections cut into passages: long enough to answer from, short enough that several fit into a prompt."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sodate.retrieve.documents import Section

WIDTH = 1000  # columns of a passage at most, a wide character counting two: 500 Japanese ones, or 180 English words
_SENTENCE = re.compile(r"[^。！？!?\n]*(?:[。！？]+[」』）]*|[!?]+(?=\s)|(?<=[a-z0-9)])\.(?=\s+[A-Z])|\n+|$)")


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of a document: its file, the place where it begins, and the headings above it, outermost first."""

    file: str
    place: str
    titles: tuple[str, ...]
    text: str
    id: str = ""


def width(text: str) -> int:
    """Columns: 2 for a wide character, 1 for others."""
    return len(text) + sum(unicodedata.east_asian_width(char) in "WF" for char in text)


def passages(file: str, sections: Iterable[Section]) -> Iterator[Passage]:
    """The passages of a document. Sections under the same headings are joined while they fit."""
    waiting: list[Section] = []
    for section in sections:
        joined = [*waiting, section]
        fits = sum(width(one.text) + 1 for one in joined) <= WIDTH
        alike = waiting and not (section.id or waiting[-1].id) and section.titles == waiting[-1].titles
        if alike and fits and not section.whole:
            waiting = joined
            continue
        yield from _cut(file, waiting)
        waiting = [section]
    yield from _cut(file, waiting)


def _cut(file: str, sections: list[Section]) -> Iterator[Passage]:
    if not sections:
        return
    first = sections[0]
    text = "\n".join(section.text.strip("\n") for section in sections)
    for piece in _rows(text) if first.whole else _sentences(text):
        yield Passage(file, first.place, first.titles, piece, first.id)


def _rows(text: str) -> Iterator[str]:
    """A table whole, or where it is too long its rows, each part under the header."""
    header, *rows = text.split("\n")
    part: list[str] = []
    for row in rows:
        if part and width("\n".join([header, *part, row])) > WIDTH:
            yield "\n".join([header, *part])
            part = []
        part.append(row)
    yield "\n".join([header, *part])


def _sentences(text: str) -> Iterator[str]:
    """Whole sentences, as many as fit; one that is too long alone is cut where it is."""
    part = ""
    for sentence in filter(None, _SENTENCE.findall(text)):
        for piece in _too_long(sentence):
            if part.strip() and width(part + piece.rstrip()) > WIDTH:
                yield part.strip()
                part = ""
            part += piece
    if part.strip():
        yield part.strip()


def _too_long(sentence: str) -> Iterator[str]:
    while width(sentence) > WIDTH:
        yield sentence[: WIDTH // 2]
        sentence = sentence[WIDTH // 2 :]
    yield sentence
