"""`data with-context`: rows with passages before each question, as they will be asked.

Conversations, tasks and preferences alike, so that every method learns from prompts as answering makes them.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sodate.api.retrieval import PASSAGES, Retriever, answering, openai, openai_line, retriever
from sodate.core.errors import SodateError, UsageError
from sodate.core.files import atomic_file
from sodate.core.text import tr
from sodate.core.types import Conversation, Example, Message, Preference, TaskItem
from sodate.data.datasets import located
from sodate.data.examples import ParsedRow, read_examples
from sodate.retrieve.context import cited, question
from sodate.retrieve.passages import Passage
from sodate.retrieve.tuning import Question


@dataclass(frozen=True, slots=True)
class Ground:
    """What stands before a question: the passages, the number of the one that answers, whether it was put in for want
    of it, and whether the answer is to be looked for there at all."""

    shown: list[Passage]
    number: int | None
    given: bool
    answerable: bool


def with_context(
    data: str | Path, index: str, out: str | Path, *, k: int = PASSAGES, columns: Mapping[str, str] | None = None,
    encoding: str | None = None, answerable: float = 1.0, abstention: str | None = None, seed: int = 0,
) -> dict[str, Any]:  # fmt: skip
    """Writes the rows of a file with passages before each question, as they will be asked.

    A passage that the row names (`passage` or `file`) is among them if the search found another, at a place drawn from
    `seed`, and [*] in a reply becomes its number. A share of 1 - `answerable` of the rows gets passages without the one
    that answers, and `abstention` as its reply; of a pair it is the chosen reply then, and the other is the one that
    answers all the same.
    """
    asking, draw = retriever(index, k), random.Random(seed)
    if answerable < 1 and not abstention:
        raise UsageError(
            tr("Rows without an answer in their passages need a reply that says so.",
               "資料に答えのない行には、その旨を述べる返答が必要です。"),
            tr("Give --abstention TEXT.", "--abstention 文 を指定してください。"), code="bad_value", param="abstention",
        )  # fmt: skip
    counts = {"rows": 0, "answerable": 0, "given": 0}
    with atomic_file(Path(out)) as stream:
        for row in read_examples(located(data), columns, encoding)[1]:
            if not isinstance(row, ParsedRow):
                if row.severity == "warning":
                    continue
                raise SodateError(f"{row.file}:{row.line}: {row.message}", code=row.code, file=row.file, line=row.line)
            example = row.example
            if not isinstance(example, Conversation | TaskItem | Preference):
                raise UsageError(
                    tr(f"{row.row.file}:{row.row.line} is no conversation, task or pair.",
                       f"{row.row.file}:{row.row.line} は、会話・課題・選好の組のいずれでもありません。"),
                    code="wrong_rows", param="data", file=row.row.file, line=row.row.line,
                )  # fmt: skip
            ground = _ground(asking, example, _known(row.row.data), draw, answerable)
            counts["rows"] += 1
            counts["answerable"] += ground.answerable
            counts["given"] += ground.given
            stream.write(_line(asking, example, ground, None if ground.answerable else abstention))
    return {"out": str(out), **counts}


def _known(row: Mapping[str, Any]) -> Question | None:
    """What the row says of where its answer stands."""
    file, passage = row.get("file"), row.get("passage")
    return Question("", file and str(file), passage and str(passage), 0) if file or passage else None


def _ground(
    asking: Retriever, example: Conversation | TaskItem | Preference, known: Question | None, draw: random.Random,
    answerable: float,
) -> Ground:  # fmt: skip
    k, sure = asking.k, asking.index.manifest.get("sure", 0.0)
    hits = asking.index.search(question(example.prompt), k + 1)
    right = [known is not None and known.answered_by(one.passage) for one in hits]
    is_answerable, given = draw.random() < answerable, False
    if not is_answerable:
        hits = [one for one, answers in zip(hits, right, strict=True) if not answers]
    shown = [one.passage for one in hits[:k]]
    if is_answerable and known is not None:
        if not any(right[:k]) and (named := answering(asking.index, known)) is not None:
            shown, given = shown[: k - 1], True
            shown.insert(draw.randrange(len(shown) + 1), named)
    elif not hits or hits[0].share < sure:  # as when it is asked
        shown = []
    number = next((n for n, one in enumerate(shown, 1) if known is not None and known.answered_by(one)), None)
    return Ground(shown, number, given, is_answerable)


def _line(asking: Retriever, example: Example, ground: Ground, abstention: str | None) -> bytes:
    """The row as a line of JSON; with an `abstention` that is its right reply."""

    def shown(messages: Sequence[Message]) -> list[Message]:
        return asking.shown(_cited(messages, ground.number), ground.shown)

    instead = None if abstention is None else (Message("assistant", abstention),)
    if isinstance(example, Conversation):
        whole = example.messages if instead is None else (*example.prompt, *instead)
        return openai_line(shown(whole), example)
    if isinstance(example, TaskItem):
        item = {key: cited(value, ground.number) if isinstance(value, str) else value
                for key, value in example.item.items()}  # fmt: skip
        if abstention is not None and "reference_answer" in item:
            item["reference_answer"] = abstention
        return openai_line(shown(example.prompt), replace(example, item=item))
    assert isinstance(example, Preference)
    chosen, rejected = (example.chosen, example.rejected) if instead is None else (instead, example.chosen)
    row: dict[str, Any] = {
        key: [openai(message) for message in messages]
        for key, messages in (
            ("prompt", shown(example.prompt)), ("chosen", _cited(chosen, ground.number)),
            ("rejected", _cited(rejected, ground.number)),
        )
    }  # fmt: skip
    if example.margin:
        row["margin"] = example.margin
    if example.tools:
        row["tools"] = list(example.tools)
    return json.dumps(row, ensure_ascii=False).encode() + b"\n"


def _cited(messages: Sequence[Message], number: int | None) -> list[Message]:
    return [replace(one, content=cited(one.content, number)) if one.role == "assistant" else one for one in messages]
