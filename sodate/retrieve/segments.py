"""A collection of documents that come and go: segments, each an index that never changes, searched as one.

A document becomes a segment of its own or together with others. Segments are merged two by two as they grow, so that
there are few of them and each passage is written again a few times only. A document that is gone is left out of what is
looked among, until the segment that holds it is written anew without it.

    segment.json   its documents, by the numbers that its owner gave them, with how many passages each has
    beside it      passages and postings, as in an index
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sodate.core.files import read_json, write_json
from sodate.core.manifests import SCHEMA_VERSION
from sodate.retrieve import postings, store
from sodate.retrieve.index import Found, Weights, phrases_of, share, word_for_word
from sodate.retrieve.passages import Passage
from sodate.retrieve.terms import pairs, terms

MANIFEST = "segment.json"
WEIGHTS = Weights()


@dataclass(frozen=True)
class Segment:
    """One segment on disk."""

    path: Path

    @cached_property
    def documents(self) -> list[tuple[int, int]]:
        """(number, passages) of each document, in the order of their passages."""
        return [(number, count) for number, count in read_json(self.path / MANIFEST)["documents"]]

    @property
    def count(self) -> int:
        return sum(count for _, count in self.documents)

    @cached_property
    def passages(self) -> store.Passages:
        return store.Passages(self.path, self.count)

    @cached_property
    def postings(self) -> postings.Postings:
        return postings.Postings(self.path, self.count, WEIGHTS.k1)

    def among(self, numbers: Collection[int]) -> NDArray[np.bool_]:
        """(passages,), whether each is of one of these documents."""
        own = [number in numbers for number, _ in self.documents]
        return np.repeat(np.array(own, bool), [count for _, count in self.documents])

    def document(self, passage: int) -> int:
        """The number of the document that a passage is of."""
        ends = np.cumsum([count for _, count in self.documents])
        return self.documents[int(np.searchsorted(ends, passage, side="right"))][0]


def write(folder: Path, documents: Iterable[tuple[int, Sequence[Passage]]]) -> None:
    """Writes documents, each with its number, as a segment into a folder that is there."""
    held: list[tuple[int, int]] = []

    def passages() -> Iterator[Passage]:
        for number, own in documents:
            held.append((number, len(own)))
            yield from own

    texts = (WEIGHTS.terms_of(passage) for passage in store.write(folder, passages()))
    postings.write(folder, texts, k1=WEIGHTS.k1, b=WEIGHTS.b)
    write_json(folder / MANIFEST, {"schema_version": SCHEMA_VERSION, "documents": held})


def merged(segments: Sequence[Segment], keep: Collection[int]) -> Iterator[tuple[int, list[Passage]]]:
    """The documents of several segments that are to be kept."""
    for segment in segments:
        passages = iter(segment.passages)
        for number, count in segment.documents:
            own = [next(passages) for _ in range(count)]
            if number in keep:
                yield number, own


def due(segments: Sequence[Segment], keep: Collection[int]) -> list[Segment]:
    """Which segments should become one: one that holds what is gone, or else the last ones while the one before them is
    not more than twice as large. None: they are well as they are."""
    for segment in segments:
        if any(number not in keep for number, _ in segment.documents):
            return [segment]
    at, together = len(segments) - 1, segments[-1].count if segments else 0
    while at > 0 and segments[at - 1].count <= 2 * together:
        at -= 1
        together += segments[at].count
    return list(segments[at:]) if len(segments) - at > 1 else []


def search(segments: Sequence[Segment], query: str, k: int, among: Collection[int]) -> list[tuple[int, Found]]:
    """The k best passages, each with the number of its document, of documents whose numbers are `among`."""
    phrases = phrases_of(query)
    allowed = [segment.among(among) for segment in segments]
    together = [pairs(phrase) for phrase in phrases]
    hits, whole = postings.search([one.postings for one in segments], terms(query), k, allowed, together)

    def passage(hit: postings.Hit) -> Passage:
        return segments[hit.part].passages[hit.number]

    return [
        (segments[hit.part].document(hit.number), Found(n, hit.score, passage(hit), share(hit.score, whole)))
        for n, hit in enumerate(word_for_word(hits, phrases, k, passage))
    ]
