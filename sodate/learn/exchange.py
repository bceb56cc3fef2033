"""An exchange as it was served, before anything was taken out of it: never written anywhere in this form."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sodate.core.types import Message

BROKEN = "schema_violation"  # how a reply ends that is not of its form, and was not sent


@dataclass(frozen=True, slots=True)
class Exchange:
    """What was asked and said. `messages` are without passages, which are named in `passages` (file and place).

    `formed`: a reply of a given form was asked for. `grounded`: the version looks for passages. `confidence` is the
    mean probability of the reply's tokens (geometric), None where the engine tells none. `user` and `session` are
    names as they were given. `created_at` in seconds since 1970.
    """

    id: str
    project: str
    kind: str
    version: str
    created_at: int
    messages: tuple[Message, ...]
    replies: tuple[Message, ...]
    finish: str
    tools: tuple[str, ...] = ()
    passages: tuple[Mapping[str, str], ...] = ()
    formed: bool = False
    grounded: bool = False
    latency_ms: int | None = None
    prompt_tokens: int | None = None
    reply_tokens: int | None = None
    confidence: float | None = None
    user: str | None = None
    session: str | None = None

    @property
    def size(self) -> int:
        """Characters of all that was said, about."""
        return 200 + sum(len(text) for message in (*self.messages, *self.replies) for text in texts(message))


def texts(message: Message) -> list[str]:
    """All text of a message that somebody wrote."""
    return [message.content, message.reasoning, *(call.arguments for call in message.tool_calls)]


def plain(message: Message, clean: Iterator[str]) -> dict[str, Any]:
    """A message as JSON has it, on the wire and in data, with the next of `clean` for its `texts`. Without the name of
    who wrote it."""
    told: dict[str, Any] = {"role": message.role, "content": next(clean)}
    if reasoning := next(clean):
        told["reasoning_content"] = reasoning
    if message.tool_calls:
        told["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": next(clean)}}
            for call in message.tool_calls
        ]
    if message.tool_call_id:
        told["tool_call_id"] = message.tool_call_id
    return told


def confidence(log_probabilities: Sequence[float | None]) -> float | None:
    """The geometric mean of the tokens' probabilities; None where one is not known, or there is none."""
    known = [one for one in log_probabilities if one is not None]
    if not known or len(known) < len(log_probabilities):
        return None
    return math.exp(min(0.0, sum(known) / len(known)))
