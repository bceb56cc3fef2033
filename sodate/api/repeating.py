"""Further replies to the same prompts, for graders of consistency: drawn anew, and greedily among other rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sodate.api import structured
from sodate.core.engine import Sampling
from sodate.core.types import Message
from sodate.data import tasks
from sodate.evaluate.grading import Again
from sodate.grade import Grader
from sodate.grade.base import Repeats


@dataclass(frozen=True, slots=True)
class Answers:
    """Who answers what: prompts that are `overlong` have no reply, `batch_size` is what the first ones had, `schema`
    what replies are held to."""

    model: Any
    prompts: Sequence[Sequence[Message]]
    tools: Sequence[Sequence[Mapping[str, Any]]]
    overlong: Mapping[int, str]
    max_new_tokens: int
    batch_size: int
    seed: int
    schema: Any = None


def wanted(graders: Sequence[Grader]) -> Repeats | None:
    """What all graders together want: the most times, at the temperature of the first that wants any."""
    found = [grader.repeats for grader in graders if grader.repeats is not None]
    if not found:
        return None
    warmth = next((one.temperature for one in found if one.times), 0.7)
    return Repeats(max(one.times for one in found), warmth, any(one.batch for one in found))


def again(answers: Answers, repeats: Repeats) -> list[Again]:
    """Of each prompt the further replies: `times` drawn ones, and `batch`, the greedy one with the rows the other way
    round and another number of them at once."""
    asked = [number for number in range(len(answers.prompts)) if number not in answers.overlong]
    found: list[dict[str, tuple[str, ...]]] = [{} for _ in answers.prompts]
    if repeats.batch:
        others = max(1, answers.batch_size // 2) if answers.batch_size > 1 else 2
        for number, text in _replies(answers, asked[::-1], Sampling(answers.max_new_tokens), others):
            found[number]["batch"] = (text,)
    if repeats.times:
        warm = Sampling(answers.max_new_tokens, repeats.temperature, seed=answers.seed)
        for number, text in _replies(answers, asked * repeats.times, warm, answers.batch_size):
            found[number]["times"] = (*found[number].get("times", ()), text)
    return list(found)


def _replies(answers: Answers, numbers: Sequence[int], sampling: Sampling, at_once: int) -> list[tuple[int, str]]:
    tools = [answers.tools[number] for number in numbers]
    renderer = answers.model.renderer
    held = None if answers.schema is None else structured.reply_constraint(answers.schema, "schema", renderer)
    replies = answers.model.replies(
        [answers.prompts[number] for number in numbers], sampling, tools=tools, constraint=held, batch_size=at_once
    )
    texts = [tasks.generated(renderer, one.ids, offered) for one, offered in zip(replies, tools, strict=True)]
    return list(zip(numbers, texts, strict=True))
