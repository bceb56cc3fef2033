"""Sections cut into passages: long enough to answer from, short enough that several fit into a prompt."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sodate.retrieve.sections import Section

WIDTH = 1000  # columns of a passage at most, a wide character counting two: 500 Japanese ones, or 180 English words
_ENDED = re.compile(r"[。！？.!?][」』）)\"”]{0,2}$")
_END = re.compile(r"[。！？]+[」』）]*|(?<![!?])[!?]+(?=\s)|(?<=[a-z0-9)])\.(?=\s+[A-Z])|\n+")  # of a sentence


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of a document: its file, the place where it begins, and the headings above it, outermost first."""

    file: str
    place: str
    titles: tuple[str, ...]
    text: str
    id: str = ""


class _Columns(dict[str, int]):
    """The columns of each character that was met."""

    def __missing__(self, char: str) -> int:
        self[char] = columns = 2 if unicodedata.east_asian_width(char) in "WF" else 1
        return columns


_COLUMNS = _Columns()


def width(text: str) -> int:
    """Columns: 2 for a wide character, 1 for others."""
    return len(text) if text.isascii() else sum(map(_COLUMNS.__getitem__, text))


def passages(file: str, sections: Iterable[Section], most: int = WIDTH, overlap: int = 0) -> Iterator[Passage]:
    """The passages of a document, of `most` columns. Sections under the same headings are joined while they fit, but
    not over the end of a page that ends with a sentence, so that a citation leads to the page of what it says. Where
    one is cut, the sentences before the cut stand in the next passage too, up to `overlap` columns of them."""
    waiting: list[Section] = []
    held = 0  # columns of what waits
    for section in sections:
        own = 0 if section.id else width(section.text) + 1  # what has an id is joined to nothing
        alike = waiting and not (section.id or waiting[-1].id) and section.titles == waiting[-1].titles
        if alike and held + own <= most and not (section.whole or _turned(waiting[-1], section)):
            waiting.append(section)
            held += own
            continue
        yield from _cut(file, waiting, most, overlap)
        waiting, held = [section], own
    yield from _cut(file, waiting, most, overlap)


def _turned(last: Section, section: Section) -> bool:
    """Whether a page begins with this section, and the page before ended with a whole sentence."""
    paged = section.place.startswith("page ") and section.place != last.place
    return paged and _ENDED.search(last.text.rstrip()[-3:]) is not None


def _cut(file: str, sections: list[Section], most: int, overlap: int) -> Iterator[Passage]:
    if not sections:
        return
    first = sections[0]
    text = "\n".join(section.text.strip("\n") for section in sections)
    starts: list[int] = []  # of the lines of the text, and the place of each: made where there is more than one piece
    places: list[str] = []
    for at, piece in _rows(text, most) if first.whole else _sentences(text, most, overlap):
        if at and not starts:
            starts, places = _places(sections)
        place = places[bisect_right(starts, at) - 1] if at else first.place
        yield Passage(file, place, first.titles, piece, first.id)


def _places(sections: list[Section]) -> tuple[list[int], list[str]]:
    """Where each line of the sections' text begins, and its place; all of a section where that is all one knows."""
    starts: list[int] = []
    places: list[str] = []
    at = 0
    for section in sections:
        above = len(section.text) - len(section.text.lstrip("\n"))
        for number, line in enumerate(section.text.strip("\n").split("\n"), above):
            starts.append(at)
            places.append(f"line {section.lines[number]}" if section.lines else section.place)
            at += len(line) + 1
    return starts, places


def _rows(text: str, most: int) -> Iterator[tuple[int, str]]:
    """A table whole, or where it is too long its rows, each part under the header; with where its rows begin."""
    header, *rows = text.split("\n")
    part: list[str] = []
    began, at = 0, len(header) + 1
    for row in rows:
        if part and width("\n".join([header, *part, row])) > most:
            yield began, "\n".join([header, *part])
            part, began = [], at
        part.append(row)
        at += len(row) + 1
    yield began, "\n".join([header, *part])


def _sentences(text: str, most: int, overlap: int) -> Iterator[tuple[int, str]]:
    """Whole sentences, as many as fit, with where they begin; one that is too long alone is cut where it is."""
    if 2 * len(text) <= most or width(text) <= most:
        if whole := text.strip():
            yield 0, whole
        return
    part: list[tuple[str, int]] = []  # sentences with their columns
    held, new = 0, False  # columns of the part, and whether it has more than what the one before it has
    end = 0  # of the part within the text

    def made() -> tuple[int, str]:
        whole = "".join(some for some, _ in part)
        return end - len(whole.lstrip()), whole.strip()

    for sentence in _split(text):
        for piece in _too_long(sentence, most):
            own = width(piece)
            if new and held + (own if piece == piece.rstrip() else width(piece.rstrip())) > most:
                yield made()
                part = _end(part, min(overlap, most - own))
                held, new = sum(columns for _, columns in part), False
            part.append((piece, own))
            end += len(piece)
            held += own
            new = new or bool(piece.strip())
    if new:
        yield made()


def _split(text: str) -> Iterator[str]:
    """Its sentences; together they are the text."""
    at = 0
    for end in _END.finditer(text):
        yield text[at : end.end()]
        at = end.end()
    if at < len(text):
        yield text[at:]


def _end(part: list[tuple[str, int]], columns: int) -> list[tuple[str, int]]:
    """The last sentences that have no more columns together."""
    at = len(part)
    while at and part[at - 1][1] <= columns:
        at -= 1
        columns -= part[at][1]
    return part[at:]


def _too_long(sentence: str, most: int) -> Iterator[str]:
    """The sentence in pieces of so many columns at most. A character has one at least, so that only what is left at the
    end has to be counted."""
    at = 0
    while len(sentence) - at > most or width(sentence[at:]) > most:
        yield sentence[at : at + most // 2]
        at += most // 2
    yield sentence[at:]
