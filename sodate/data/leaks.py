"""Leaks from a held-out file into training rows, and how one row names another."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack, closing
from pathlib import Path

from sodate.core.errors import SodateError
from sodate.core.text import tr
from sodate.data import load
from sodate.data.compare import asked, prompts, said
from sodate.data.ledger import Ledger, Problem
from sodate.data.similar import NearIndex, comparable


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
        self._near = stack.enter_context(closing(NearIndex()))
        name, items = load.load(path, columns, encoding)
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
                self._answers[line] = hash(said(item.example))
                self._near.add(line, prompt)

    def judge(self, row: load.Loaded) -> Problem | None:
        """`leak` (set aside), `near-leak` (warning) or None."""
        example = row.example
        for prompt in prompts(example):
            line = self._exact.get(hash(comparable(prompt)))
            if line is not None:
                return self._problem(row, "leak", line, tr("Has the prompt of", "と質問が同じです"))
        near = self._near.query(asked(example))
        if near is None:
            return None
        if self._answers[near] == hash(said(example)):
            what = tr("Has almost the prompt and the same answer as", "と質問がほとんど同じで、答えも同じです")
            return self._problem(row, "leak", near, what)
        return self._problem(row, "near-leak", near)

    def _problem(self, row: load.Loaded, code: str, line: int, *more: str) -> Problem:
        return Problem(row.row.file, row.row.line, code, (place(self._file, line, ""), *more))
