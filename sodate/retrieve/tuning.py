"""How well an index finds what questions are about, and in which way it finds most."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from sodate.retrieve.index import Candidate, Index, Weights
from sodate.retrieve.passages import Passage
from sodate.retrieve.terms import folded

DEPTH = 100  # ranks that are looked at for the mean reciprocal rank
GRID = (
    Weights(), Weights(1.2, 0.75, 1), Weights(0.9, 0.4, 1), Weights(1.0, 0.6, 3), Weights(0.7, 0.6, 2),
    Weights(1.2, 0.8, 4), Weights(0.9, 0.75, 2),
)  # fmt: skip
FUSIONS = ((0.0, 1.0), (1.0, 0.25), (1.0, 0.5), (1.0, 1.0), (1.0, 2.0), (1.0, 4.0), (1.0, 8.0))  # text, vector
KEPT = 0.95  # of the questions that have an answer, those that a threshold lets pass
ENOUGH = 40  # questions that a threshold is learnt from

Ranking = Callable[[str], Sequence[Candidate]]
"""What an index finds for a question, best first."""


@dataclass(frozen=True, slots=True)
class Question:
    """A question and where its answer stands: in a file, or in a passage (its id, or its text)."""

    text: str
    file: str | None
    passage: str | None
    line: int
    paraphrased: bool = False

    def answered_by(self, found: Passage) -> bool:
        if self.passage is not None:
            wanted, text = _plain(self.passage), _plain(found.text)
            if self.passage != found.id and wanted not in text and text not in wanted:
                return False
        return self.file is None or Path(self.file).name == Path(found.file).name


@lru_cache(maxsize=8192)
def _plain(text: str) -> str:
    return folded(text).strip()


@dataclass(frozen=True, slots=True)
class Recall:
    """Shares of questions whose passage is the first, and of the first five; mean of 1 / rank (0 beyond DEPTH)."""

    questions: int
    first: float
    five: float
    mrr: float


def recall(ranks: Sequence[int]) -> Recall:
    """Of ranks from 1, 0 being none."""
    n = max(len(ranks), 1)
    return Recall(
        len(ranks),
        sum(r == 1 for r in ranks) / n,
        sum(0 < r <= 5 for r in ranks) / n,
        sum(1 / r for r in ranks if r) / n,
    )


def goodness(ranks: Sequence[int], questions: Sequence[Question]) -> tuple[float, float]:
    """(recall@5, mean reciprocal rank), each the mean over questions as they were asked and over paraphrases, so that
    one kind can't outvote the other by number."""
    kinds = [
        recall([rank for rank, one in zip(ranks, questions, strict=True) if one.paraphrased == kind])
        for kind in {one.paraphrased for one in questions}
    ]
    return sum(one.five for one in kinds) / len(kinds), sum(one.mrr for one in kinds) / len(kinds)


def ranks(index: Index, ranking: Ranking, questions: Sequence[Question]) -> list[int]:
    """The rank of the first passage that answers each question, from 1; 0 if none of the first DEPTH does."""
    held = index.passages
    return [
        next((at for at, one in enumerate(ranking(q.text)[:DEPTH], 1) if q.answered_by(held[one.number])), 0)
        for q in questions
    ]


def by_words(index: Index) -> Ranking:
    """By BM25 alone."""
    return lambda question: index.candidates(question, DEPTH)


@dataclass(frozen=True, slots=True)
class Threshold:
    """Below `sure` the best passage is taken for no answer. `kept` are the questions that pass whose answer is there,
    `refused` those that do not pass once it is taken away."""

    sure: float
    kept: float
    refused: float


def threshold(pairs: Sequence[tuple[float, float]], held_out: Sequence[tuple[float, float]]) -> Threshold:
    """From pairs of the best share with the answer and without it: the highest threshold that keeps KEPT of the first.
    What it does is measured on `held_out`."""
    own = sorted(share for share, _ in pairs)
    sure = own[int((1 - KEPT) * len(own))]
    n = max(len(held_out), 1)
    kept = sum(share >= sure for share, _ in held_out) / n
    return Threshold(sure, kept, sum(share < sure for _, share in held_out) / n)


def with_and_without(index: Index, ranking: Ranking, questions: Sequence[Question]) -> list[tuple[float, float]]:
    """For each question the share of the best passage, and of the best that does not answer it; only of questions whose
    answer was found."""
    pairs = []
    for question in questions:
        found = ranking(question.text)[:DEPTH]
        right = [question.answered_by(index.passages[one.number]) for one in found]
        if any(right):
            others = [one.share for one, answers in zip(found, right, strict=True) if not answers]
            pairs.append((found[0].share, max(others, default=0.0)))
    return pairs
