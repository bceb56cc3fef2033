"""Leaks from a held-out file into training rows, and how one row names another."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import ExitStack, closing
from pathlib import Path

from sodate.core.errors import SodateError
from sodate.core.text import tr
from sodate.data import examples
from sodate.data.compare import answered, asked, prompts, said
from sodate.data.ledger import Ledger, Problem
from sodate.data.similar import NearIndex, comparable

LONG = 40  # characters of an answer (with its role) that two rows don't share by chance
SHORTEST = 2  # letters and digits of a prompt that can be found in another one
CANDIDATES = 1000  # held-out rows looked at that have one answer
_NOT_A_LETTER = re.compile(r"[\W_]+")


def bare(text: str) -> str:
    """A text's letters and digits, folded: how polite words are put before it is all that may differ."""
    return _NOT_A_LETTER.sub("", comparable(text))


def place(file: str, line: int, here: str) -> str:
    if file == here:
        return tr(f"line {line}", f"{line} 行目")
    return tr(f"{file}, line {line}", f"{file} の {line} 行目")


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
        self._asking: dict[int, list[tuple[int, str]]] = {}  # hash of a long answer → lines and bare prompts
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
                if len(answer) >= LONG:
                    self._asking.setdefault(hash(answer), []).append((line, bare(prompt)))
                self._near.add(line, prompt)

    def judge(self, row: examples.ParsedRow) -> Problem | None:
        """`leak` (set aside), `near-leak` (warning) or None."""
        example = row.example
        for prompt in prompts(example):
            line = self._exact.get(hash(comparable(prompt)))
            if line is not None:
                return self._problem(row, "leak", line, tr("Has the prompt of", "と質問が同じです"))
        for prompt, answer in answered(example):
            if (line := self._contained(prompt, answer)) is not None:
                what = tr(
                    "Has the same long answer, and its prompt contains or is contained in that of",
                    "と長い答えが同じで、質問も一方が他方を含みます",
                )
                return self._problem(row, "leak", line, what)
        near = self._near.query(asked(example))
        if near is None:
            return None
        if self._answers[near] == hash(said(example)):
            what = tr("Has almost the prompt and the same answer as", "と質問がほとんど同じで、答えも同じです")
            return self._problem(row, "leak", near, what)
        return self._problem(row, "near-leak", near)

    def _contained(self, prompt: str, answer: str) -> int | None:
        """The held-out row with this very long answer whose prompt is within this one, or the other way round."""
        if len(answer) < LONG or not (alike := self._asking.get(hash(answer))):
            return None
        mine = bare(prompt)
        for line, other in alike[:CANDIDATES]:
            if min(len(mine), len(other)) >= SHORTEST and (other in mine or mine in other):
                return line
        return None

    def _problem(self, row: examples.ParsedRow, code: str, line: int, *more: str) -> Problem:
        return Problem(row.row.file, row.row.line, code, (place(self._file, line, ""), *more))
