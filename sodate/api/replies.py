"""Replies to a prompt or to the rows of a file, several of each where they are to be ranked by a person."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sodate.api.loading import Date, load
from sodate.core.errors import UsageError
from sodate.core.text import tr
from sodate.core.types import Message
from sodate.data.datasets import located

if TYPE_CHECKING:
    from sodate.data.ledger import Problem


@dataclass(frozen=True, slots=True)
class Prompt:
    """What is replied to, and the line it stands on if it came from a file."""

    messages: tuple[Message, ...]
    tools: tuple[Mapping[str, Any], ...] = ()
    line: int | None = None


def prompt(text: str, system: str | None = None) -> Prompt:
    """One user message."""
    return Prompt((*((Message("system", system),) if system else ()), Message("user", text)))


def prompts(
    data: str | Path,
    *,
    system: str | None = None,
    columns: Mapping[str, str] | None = None,
    encoding: str | None = None,
    limit: int | None = None,
    on_problem: Callable[[Problem], None] = lambda problem: None,
) -> list[Prompt]:
    """The prompts of a file's first `limit` readable rows; `on_problem` gets each row that is not."""
    from sodate.data.examples import ParsedRow, read_examples

    head = (Message("system", system),) if system else ()
    found: list[Prompt] = []
    for row in read_examples(located(data), columns, encoding)[1]:
        if limit is not None and len(found) >= limit:
            break
        if isinstance(row, ParsedRow):
            found.append(Prompt((*head, *row.example.prompt), tuple(row.example.tools), row.row.line))
        else:
            on_problem(row)
    return found


def with_index(asked: Sequence[Prompt], model: str, index: str | None = None) -> list[Prompt]:
    """The prompts with passages before their questions: of an index, or else of the one that is part of the model."""
    from sodate.api.retrieval import of_version

    asking = of_version(model, index)
    if asking is None:
        return list(asked)
    return [replace(one, messages=tuple(asking.ask(one.messages))) for one in asked]


def replies(
    model: str, asked: Sequence[Prompt], *, samples: int = 1, date: Date = "trained", engine: str = "torch",
    **sampling: Any,
) -> list[dict[str, Any]]:  # fmt: skip
    """A row for each prompt; `sampling` is that of `Model.reply`, `date` and `engine` those of `load`.

    One reply is `{"prompt": its number, "replies": [text]}`, with its `line`. Several have the messages of the prompt
    and `ranks` null: filled in by a person, they are data of the format preference-ranking. What a model thought before
    its replies stands apart, as `reasoning`. Raises UsageError for several samples at temperature 0.
    """
    from sodate.core.engine import Sampling

    if samples > 1 and not sampling.get("temperature"):
        raise UsageError(
            tr("Several samples need a temperature above 0.", "複数の候補には 0 より大きい temperature が必要です。"),
            "--temperature 1",
            code="bad_value",
            param="temperature",
        )
    many = [one for one in asked for _ in range(samples)]
    loaded = load(model, date=date, engine=engine)
    answers = loaded.replies([p.messages for p in many], Sampling(**sampling), tools=[p.tools for p in many])
    read = [loaded.renderer.split(reply.ids) for reply in answers]
    return [_row(number, one, read[number * samples : (number + 1) * samples]) for number, one in enumerate(asked)]


def _row(number: int, prompt: Prompt, read: list[tuple[str, str]]) -> dict[str, Any]:
    """`read` are (reasoning, answer) of each reply."""
    texts = [answer for _, answer in read]
    thoughts = {"reasoning": [thought for thought, _ in read]} if any(thought for thought, _ in read) else {}
    if len(texts) == 1:
        return {"prompt": number, **({"line": prompt.line} if prompt.line else {}), "replies": texts, **thoughts}
    messages = [{"role": message.role, "content": message.content} for message in prompt.messages]
    return {"prompt": messages, "replies": texts, "ranks": None, **thoughts}
