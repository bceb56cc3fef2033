"""Rows that are to be decided: what is asked, and the right answer where the row has one."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sodate.core.errors import UsageError
from sodate.core.text import tr
from sodate.core.types import Message
from sodate.data.datasets import fill

if TYPE_CHECKING:
    from sodate.data.ledger import Problem


@dataclass(frozen=True, slots=True)
class Asked:
    """A row: what is asked, the line, the right answer where the row has one, and what else it says for graders."""

    prompt: tuple[Message, ...]
    tools: tuple[Mapping[str, Any], ...]
    line: int
    answer: str | None
    item: Mapping[str, Any] = field(default_factory=dict)


def read_rows(
    data: Path, columns: Mapping[str, str] | None = None, encoding: str | None = None, limit: int | None = None,
    on_problem: Callable[[Problem], None] = lambda problem: None,
) -> list[Asked]:  # fmt: skip
    """The rows of a file that can be asked; `on_problem` is told of the others. UsageError where there is none."""
    from sodate.data import tasks
    from sodate.data.examples import ParsedRow, read_examples

    found: list[Asked] = []
    for row in read_examples(data, columns, encoding)[1]:
        if limit is not None and len(found) >= limit:
            break
        if not isinstance(row, ParsedRow):
            on_problem(row)
            continue
        example = row.example
        task = tasks.as_task(example)
        answer = None if task is None else tasks.reference(task)
        prompt = example.prompt if task is None else task.prompt
        right = None if answer is None else plain(answer)
        found.append(Asked(tuple(prompt), tuple(example.tools), row.row.line, right, task.item if task else {}))
    if not found:
        raise UsageError(
            tr(f"{data} has no rows.", f"{data} に行がありません。"), fill(), code="no_rows", param="data", file=data
        )
    return found


def plain(text: str) -> str:
    """An answer as answers are compared: without space around it, each character in one form (NFC)."""
    return unicodedata.normalize("NFC", text.strip())
