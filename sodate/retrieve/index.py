"""An index on disk: an immutable folder `indexes/<name>/<N>` of passages, their postings, and index.json, which says
what they are."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from sodate.core.manifests import IndexManifest, read_manifest
from sodate.retrieve import postings, store
from sodate.retrieve.passages import Passage
from sodate.retrieve.terms import folded, terms

CANDIDATES = 200  # of which a quoted phrase is looked for
_PHRASE = re.compile(r"[\"“「『]([^\"”」』]{2,})[\"”」』]")


@dataclass(frozen=True, slots=True)
class Weights:
    """BM25's k₁ and b, and how many times a word of a heading counts."""

    k1: float = 0.9
    b: float = 0.6
    titles: int = 2


@dataclass(frozen=True, slots=True)
class Found:
    """A passage and its score; `number` is the passage's own within the index."""

    number: int
    score: float
    passage: Passage


@dataclass(frozen=True)
class Index:
    """One `name@N` on disk."""

    name: str
    number: int
    path: Path

    @property
    def id(self) -> str:
        return f"{self.name}@{self.number}"

    @cached_property
    def manifest(self) -> IndexManifest:
        value: IndexManifest = read_manifest(self.path / "index.json")
        return value

    @cached_property
    def passages(self) -> store.Passages:
        return store.Passages(self.path, self.manifest["passages"])

    @cached_property
    def _postings(self) -> postings.Postings:
        return postings.Postings(self.path, self.manifest["passages"], self.manifest["weights"]["k1"])

    def search(self, query: str, k: int = 5) -> list[Found]:
        """The k best passages; where part of the query is quoted, those that hold it word for word come first."""
        held, scores = self.passages, self._postings.scores(terms(query))
        phrases = [folded(phrase) for phrase in _PHRASE.findall(query)]
        ranked = postings.best(scores, max(k, CANDIDATES) if phrases else k)
        if phrases:
            ranked.sort(key=lambda number: -sum(phrase in folded(held[number].text) for phrase in phrases))
        return [Found(number, float(scores[number]), held[number]) for number in ranked[:k]]
