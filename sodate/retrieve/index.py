"""An index on disk: an immutable folder `indexes/<name>/<N>` of passages, their postings, and index.json, which says
what they are."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from sodate.core.errors import SodateError
from sodate.core.manifests import IndexManifest, read_manifest
from sodate.core.text import tr
from sodate.retrieve import postings, store
from sodate.retrieve.passages import Passage
from sodate.retrieve.terms import folded, pairs, terms
from sodate.retrieve.vectors import Encode, Vectors

Hit = TypeVar("Hit")
POOL = 100  # passages that are looked at by words, and as many by vectors
_PHRASE = re.compile(r"[\"“「『]([^\"”」』]{2,200})[\"”」』]")


@dataclass(frozen=True, slots=True)
class Weights:
    """BM25's k₁ and b, and how many times a word of a heading counts."""

    k1: float = 0.9
    b: float = 0.6
    titles: int = 2

    def terms_of(self, passage: Passage) -> Counter[str]:
        """The terms that a passage is found by, and how often each counts."""
        found = terms(passage.text)
        for term, count in terms("\n".join(passage.titles)).items() if passage.titles else ():
            found[term] += self.titles * count
        return found


@dataclass(frozen=True, slots=True)
class Found:
    """A passage and its score; `number` is the passage's own within the index. `share` is the score in [0, 1]."""

    number: int
    score: float
    passage: Passage
    share: float = 0.0


@dataclass(frozen=True, slots=True)
class Candidate:
    """A passage that may be the best: its number, its BM25 score, that as a share in [0, 1], and its cosine."""

    number: int
    score: float
    share: float
    cosine: float = 0.0


def _describes_index(value: Mapping[str, Any]) -> bool:
    """Whether every part of an index.json that is read is of its kind: the file may have been edited by hand."""
    kinds = {"reader": int, "sources": list, "passages": int, "weights": dict, "files": dict}
    if any(not isinstance(value.get(key), kind) for key, kind in kinds.items()):
        return False
    aside, personal = value.get("set_aside", []), value.get("personal", {})
    encoder = value.get("encoder", {"width": 1, "text": 1, "vector": 1})
    return (
        {one.name for one in fields(Weights)} == value["weights"].keys()
        and all(
            isinstance(one, int | float) and 0 <= one <= 100
            for one in (*value["weights"].values(), value.get("sure", 0))
        )
        and isinstance(personal, dict)
        and all(isinstance(count, int) for count in personal.values())
        and all(isinstance(one, dict) and {"file", "sha256", "passages"} <= one.keys() for one in value["sources"])
        and isinstance(aside, list)
        and all(isinstance(one, dict) and {"file", "code", "message"} <= one.keys() for one in aside)
        and isinstance(encoder, dict)
        and all(isinstance(encoder.get(key), int | float) for key in ("width", "text", "vector"))
    )


@dataclass(frozen=True)
class Index:
    """One `name@N` on disk. `encode` makes the vectors of questions, where the index ranks by vectors too."""

    name: str
    number: int
    path: Path
    encode: Encode | None = field(default=None, compare=False)

    @property
    def id(self) -> str:
        return f"{self.name}@{self.number}"

    @cached_property
    def manifest(self) -> IndexManifest:
        """SodateError where it is gone, or not as it was written."""
        path = self.path / "index.json"
        value: IndexManifest | None = None
        try:
            value = read_manifest(path)
        except SodateError as error:
            if error.code != "damaged":
                raise
        if value is None or not _describes_index(value):
            raise SodateError(
                tr(f"{path} was changed: it does not describe an index.",
                   f"{path} が変更されていて、索引の情報として読めません。"),
                tr("Build it again from its documents.", "文書から作り直してください。"), code="damaged", file=path,
            )  # fmt: skip
        return value

    @cached_property
    def passages(self) -> store.Passages:
        return store.Passages(self.path, self.manifest["passages"])

    @cached_property
    def vectors(self) -> Vectors | None:
        """None where it has none."""
        encoder = self.manifest.get("encoder")
        return Vectors(self.path, self.manifest["passages"], encoder["width"]) if encoder else None

    @cached_property
    def _postings(self) -> postings.Postings:
        return postings.Postings(self.path, self.manifest["passages"], self.manifest["weights"]["k1"])

    def search(self, query: str, k: int = 5) -> list[Found]:
        """The k best passages; where part of the query is quoted, those that hold it word for word come first."""
        encoder = self.manifest.get("encoder")
        if encoder is None or self.vectors is None:
            found = self.candidates(query, k)
        else:
            assert self.encode is not None, "an index with vectors is opened with what encodes its questions"
            pool = self.pool(query, self.encode([query])[0])
            found = self._word_for_word(fused(pool, encoder["text"], encoder["vector"]), query, k)
        return [Found(one.number, one.score, self.passages[one.number], one.share) for one in found]

    def candidates(self, query: str, k: int) -> list[Candidate]:
        """The k best by BM25, those that hold what is quoted first."""
        return self._word_for_word(self._by_words(query, k), query, k)

    def _by_words(self, query: str, k: int) -> list[Candidate]:
        together = [pairs(phrase) for phrase in phrases_of(query)]
        hits, whole = postings.search([self._postings], terms(query), k, together=together)
        return [Candidate(hit.number, hit.score, share(hit.score, whole)) for hit in hits]

    def pool(self, query: str, vector: NDArray[np.float32], vectors: Vectors | None = None) -> list[Candidate]:
        """The POOL best by BM25 and the POOL nearest, with both of their scores."""
        held = vectors or self.vectors
        assert held is not None
        (spans,), whole = postings.weighed([self._postings], terms(query))
        best = [one.number for one in self._by_words(query, POOL)]
        numbers = np.unique(np.concatenate([np.array(best, np.int64), held.nearest(vector, POOL)]))
        scores = self._postings.scores_of(spans, numbers)
        cosines = held.cosines(vector, numbers)
        return [
            Candidate(int(number), score, share(score, whole), float(cosine))
            for number, score, cosine in zip(numbers, scores, cosines, strict=True)
        ]

    def _word_for_word(self, found: list[Candidate], query: str, k: int) -> list[Candidate]:
        return word_for_word(found, phrases_of(query), k, lambda one: self.passages[one.number])


def fused(pool: Sequence[Candidate], text: float, vector: float) -> list[Candidate]:
    """Candidates by the weighed mean of their share and cosine, which is their share then, the best first."""
    mean = [(text * one.share + vector * max(0.0, one.cosine)) / (text + vector) for one in pool]
    weighed = [replace(one, share=value) for one, value in zip(pool, mean, strict=True)]
    return sorted(weighed, key=lambda one: (-one.share, one.number))


def share(score: float, whole: float) -> float:
    """A score as a share in [0, 1] of what a passage would have that holds all that was asked for."""
    return min(1.0, score / whole) if whole else 0.0


def phrases_of(query: str) -> list[str]:
    """The parts of a query that stand in quotation marks."""
    return [folded(phrase) for phrase in _PHRASE.findall(query)]


def word_for_word(
    found: Sequence[Hit], phrases: Sequence[str], k: int, passage: Callable[[Hit], Passage]
) -> list[Hit]:  # fmt: skip
    """The first k, those ahead that hold most of the phrases. None overtakes one that holds all of them, so that no
    passage is read beyond the k-th such one."""
    if not phrases:
        return list(found[:k])
    read: list[tuple[int, Hit]] = []
    whole = 0  # passages with all of them
    for one in found:
        if whole >= k:
            break
        text = folded(passage(one).text)
        read.append((sum(phrase in text for phrase in phrases), one))
        whole += read[-1][0] == len(phrases)
    return [one for _, one in sorted(read, key=lambda held: -held[0])[:k]]
