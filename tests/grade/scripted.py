"""A model that answers as a test tells it, and OpenAI's graders in short."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sodate.core.types import Message
from sodate.grade import Case
from sodate.grade.outcome import How, Said, Turns, Usage
from sodate.grade.reading import read


class Scripted:
    """A model that gives the answers it was told, and remembers what it was asked."""

    def __init__(self, *answers: str) -> None:
        self.answers = answers
        self.asked: list[Sequence[Message]] = []
        self.schema: Any = None
        self.engine = ""

    def ask(self, model: str, prompts: Sequence[Sequence[Message]], how: How) -> Sequence[Said]:
        self.asked += prompts
        self.schema = how.schema
        self.engine = how.engine
        return [Said(self.answers[i % len(self.answers)], f"{model}@1", Usage(7, 3)) for i in range(len(prompts))]

    def scores(self, model: str, conversations: Sequence[Turns]) -> Sequence[float]:
        return [float(turns[-1].content) for turns in conversations]

    def likelihoods(self, model: str, conversations: Sequence[Turns]) -> Sequence[tuple[float, int]]:
        return [(-float(turns[-1].content), 2) for turns in conversations]


def check(operation: str = "eq", **more: Any) -> dict[str, Any]:
    return {"type": "string_check", "name": "same", "input": "{{sample.output_text}}",
            "reference": "{{item.reference_answer}}", "operation": operation, **more}  # fmt: skip


def value(grader: dict[str, Any], reply: str, item: dict[str, Any], judges: Any = None) -> float:
    (outcome,) = read(grader).judge([Case(reply, item=item)], judges)
    assert outcome.fault is None, outcome.reason
    return outcome.value


def scored(**more: Any) -> dict[str, Any]:
    return {"type": "score_model", "name": "judge", "model": "tiny", "input": [
        {"role": "developer", "content": "Grade."},
        {"type": "message", "role": "user",
         "content": {"type": "input_text", "text": "{{item.q}}: {{sample.output_text}}"}},
    ], **more}  # fmt: skip
