"""Training rows and held-out rows kept apart: which row of the other side one is, or is almost.

What is compared is what rows ask, every turn of them, without system messages: the same after normalisation, or near by
character 5-grams (`similar.py`). Almost the same question with other numbers in it and another answer is another
question: rows made from one template with other values.
"""

from __future__ import annotations

import re
from contextlib import ExitStack, closing
from dataclasses import dataclass

from sodate.core.text import Sentence, tr
from sodate.core.types import Example
from sodate.data.compare import answered, prompts, said
from sodate.data.leaks import LongAnswers, bare
from sodate.data.similar import NearIndex, jaccard, shingles

NEAR = 0.6  # Jaccard of letters and digits: すみません、 before a short question leaves it the same one
_GROUP = 1000  # questions with the same numbers that are looked at one by one
_NUMBERS = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class Alike:
    """A row of the other side: of which dataset, its id, and how it is alike."""

    dataset: str
    row: str
    how: Sentence


class OtherSide:
    """The rows of some datasets, to be compared with."""

    def __init__(self, stack: ExitStack) -> None:
        self._rows: list[tuple[str, str]] = []
        self._exact: dict[int, int] = {}  # hash of a question → row
        self._asked: list[tuple[int, int]] = []  # row and hash of its answer, by question
        self._without = stack.enter_context(closing(NearIndex(NEAR)))  # questions without a number
        self._with = stack.enter_context(closing(NearIndex(NEAR)))
        self._by_numbers: dict[int, list[tuple[int, str]]] = {}  # of those with: question and its text
        self._long = LongAnswers()
        self._answered: list[int] = []  # rows of the answers in `_long`

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, dataset: str, row: str, example: Example) -> None:
        """A row of the other side."""
        number, answer = len(self._rows), hash(said(example))
        self._rows.append((dataset, row))
        for prompt in dict.fromkeys(map(bare, prompts(example))):
            self._exact.setdefault(hash(prompt), number)
            question = len(self._asked)
            self._asked.append((number, answer))
            numbers = _NUMBERS.findall(prompt)
            (self._with if numbers else self._without).add(question, prompt)
            if numbers and len(group := self._by_numbers.setdefault(hash(tuple(numbers)), [])) < _GROUP:
                group.append((question, prompt))
        for prompt, given in dict.fromkeys(answered(example)):
            self._long.add(len(self._answered), prompt, given)
            self._answered.append(number)

    def like(self, example: Example) -> Alike | None:
        """The row of the other side that this one is, or is almost; None where there is none."""
        answer = hash(said(example))
        for prompt in dict.fromkeys(map(bare, prompts(example))):
            if (row := self._exact.get(hash(prompt))) is not None:
                return Alike(*self._rows[row], tr("the same question", "同じ質問"))
            if (question := self._nearly(prompt, answer)) is not None:
                return Alike(*self._rows[self._asked[question][0]], tr("almost the same question", "ほぼ同じ質問"))
        for prompt, given in answered(example):
            if (place := self._long.same(prompt, given)) is not None:
                what = tr(
                    "the same long answer to a question within another", "長い答えが同じで、質問も一方が他方を含む"
                )
                return Alike(*self._rows[self._answered[place]], what)
        return None

    def _nearly(self, prompt: str, answer: int) -> int | None:
        numbers = _NUMBERS.findall(prompt)
        if not numbers:
            return self._without.query(prompt)
        grams = shingles(prompt)
        for question, other in self._by_numbers.get(hash(tuple(numbers)), ()):
            if jaccard(grams, shingles(other)) >= NEAR:
                return question
        near = self._with.query(prompt)
        return near if near is not None and self._asked[near][1] == answer else None
