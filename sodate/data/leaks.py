"""Leaks from a held-out file into training rows, and how one row names another."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from sodate.core.errors import SodateError
from sodate.core.text import tr
from sodate.data import examples
from sodate.data.compare import answered, asked, prompts, said
from sodate.data.ledger import Ledger, Problem
from sodate.data.similar import NearIndex, comparable

LONG = 40  # characters of an answer (with its role) that two rows don't share by chance
ALMOST = 0.6  # Jaccard of two long answers: a word or two in one of a sentence or two may differ
SHORTEST = 2  # letters and digits of a prompt that can be found in another one
CANDIDATES = 1000  # held-out rows looked at that have one answer
_NOT_A_LETTER = re.compile(r"[\W_]+")
_NUMBERS = re.compile(r"\d+")


def bare(text: str) -> str:
    """A text's letters and digits, folded: how polite words are put before it is all that may differ."""
    return _NOT_A_LETTER.sub("", comparable(text))


def place(file: str, line: int, here: str) -> str:
    if file == here:
        return tr(f"line {line}", f"{line} 行目")
    return tr(f"{file}, line {line}", f"{file} の {line} 行目")


class LongAnswers:
    """Rows with long answers, to find one that has the answer of another row while one of their prompts is within the
    other: a few polite words before a short question make it unlike, whatever the share of its characters is."""

    def __init__(self, near: NearIndex | None = None) -> None:
        """`near` is an empty index, for `nearly`; who asks for the same answers alone needs none."""
        self._same: dict[int, list[int]] = {}  # hash of an answer without white space → rows
        self._prompts: dict[int, str] = {}
        self._answers: dict[int, str] = {}
        self._near = near

    def add(self, row: int, prompt: str, answer: str) -> None:
        """A row with what it asks and its answer as `said` gives it; a short answer is passed over."""
        if len(answer) >= LONG:
            self._same.setdefault(_hash(answer), []).append(row)
            self._prompts[row] = bare(prompt)
            if self._near is not None:
                self._answers[row] = bare(answer)
                self._near.add(row, self._answers[row])

    def same(self, prompt: str, answer: str) -> int | None:
        """The row with this very answer, white space aside, whose prompt is within this one or has it within."""
        if len(answer) < LONG:
            return None
        return self._asking(bare(prompt), self._same.get(_hash(answer), [])[:CANDIDATES])

    def nearly(self, prompt: str, answer: str) -> int | None:
        """The same of a row with almost this answer, and with the same numbers in it: others are another answer."""
        if len(answer) < LONG or not self._answers or self._near is None:
            return None
        plain = bare(answer)
        numbers = _NUMBERS.findall(plain)
        rows = [row for row in self._near.query_all(plain) if _NUMBERS.findall(self._answers[row]) == numbers]
        return self._asking(bare(prompt), rows)

    def _asking(self, mine: str, rows: Sequence[int]) -> int | None:
        for row in rows:
            other = self._prompts[row]
            if min(len(mine), len(other)) >= SHORTEST and (other in mine or mine in other):
                return row
        return None


def _hash(answer: str) -> int:
    return hash("".join(answer.split()))


class HeldOut:
    """The held-out file's prompts, to find training rows that give them away."""

    def __init__(
        self,
        path: Path,
        columns: Mapping[str, str] | None,
        encoding: str | None,
        ledger: Ledger,
        stack: ExitStack,
    ) -> None:
        self._file = str(path)
        self._exact: dict[int, int] = {}  # hash of the normalised prompt → line
        self._answers: dict[int, int] = {}  # line → hash of the answer
        self._long = LongAnswers(stack.enter_context(closing(NearIndex(ALMOST))))
        self._near = stack.enter_context(closing(NearIndex()))
        name, items = examples.read_examples(path, columns, encoding)
        if not name:
            raise SodateError(
                tr(f"{path} has no readable rows.", f"{path} に読める行がありません。"),
                code="no_rows",
                param="against",
                file=path,
            )
        for item in items:
            if isinstance(item, Problem):
                if item.severity == "set-aside":
                    ledger.add(Problem(item.file, item.line, "held-out-unreadable", (item.message,)))
                continue
            prompt = asked(item.example)
            line = item.row.line
            if self._exact.setdefault(hash(comparable(prompt)), line) == line:
                answer = said(item.example)
                self._answers[line] = hash(answer)
                self._long.add(line, prompt, answer)
                self._near.add(line, prompt)

    def judge(self, row: examples.ParsedRow) -> Problem | None:
        """`leak` (set aside), `near-leak` (warning) or None."""
        example = row.example
        for prompt in prompts(example):
            line = self._exact.get(hash(comparable(prompt)))
            if line is not None:
                return self._problem(row, "leak", line, tr("Has the prompt of", "と質問が同じです"))
        for prompt, answer in answered(example):
            if (line := self._long.same(prompt, answer)) is not None:
                what = tr(
                    "Has the same long answer, and its prompt contains or is contained in that of",
                    "と長い答えが同じで、質問も一方が他方を含みます",
                )
                return self._problem(row, "leak", line, what)
        near = self._near.query(asked(example))
        if near is None:
            for prompt, answer in answered(example):
                if (line := self._long.nearly(prompt, answer)) is not None:
                    return self._problem(row, "near-leak", line)
            return None
        if self._answers[near] == hash(said(example)):
            what = tr("Has almost the prompt and the same answer as", "と質問がほとんど同じで、答えも同じです")
            return self._problem(row, "leak", near, what)
        return self._problem(row, "near-leak", near)

    def _problem(self, row: examples.ParsedRow, code: str, line: int, *more: str) -> Problem:
        return Problem(row.row.file, row.row.line, code, (place(self._file, line, ""), *more))
