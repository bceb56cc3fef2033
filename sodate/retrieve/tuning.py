"""How well an index finds what questions are about, and under which weights it finds most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sodate.retrieve.index import Index, Weights
from sodate.retrieve.passages import Passage
from sodate.retrieve.terms import folded

DEPTH = 100  # ranks that are looked at for the mean reciprocal rank
GRID = (
    Weights(), Weights(1.2, 0.75, 1), Weights(0.9, 0.4, 1), Weights(1.0, 0.6, 3), Weights(0.7, 0.6, 2),
    Weights(1.2, 0.8, 4), Weights(0.9, 0.75, 2),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Question:
    """A question and where its answer stands: in a file, or in a passage (its id, or its text)."""

    text: str
    file: str | None
    passage: str | None
    line: int

    def answered_by(self, found: Passage) -> bool:
        if self.passage is not None:
            wanted, text = folded(self.passage).strip(), folded(found.text).strip()
            if self.passage != found.id and wanted not in text and text not in wanted:
                return False
        return self.file is None or Path(self.file).name == Path(found.file).name


@dataclass(frozen=True, slots=True)
class Recall:
    """Shares of questions whose passage is the first, and of the first five; mean of 1 / rank (0 beyond DEPTH)."""

    questions: int
    first: float
    five: float
    mrr: float


def measure(index: Index, questions: Sequence[Question]) -> Recall:
    ranks = [rank(index, question) for question in questions]
    n = len(ranks)
    return Recall(
        n, sum(r == 1 for r in ranks) / n, sum(0 < r <= 5 for r in ranks) / n, sum(1 / r for r in ranks if r) / n
    )


def rank(index: Index, question: Question) -> int:
    """The rank of the first passage that answers, from 1; 0 if none of the first DEPTH does."""
    found = index.search(question.text, DEPTH)
    return next((at for at, one in enumerate(found, 1) if question.answered_by(one.passage)), 0)
