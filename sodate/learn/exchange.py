"""An exchange as it was served, before anything was taken out of it: never written anywhere in this form."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
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
        return 200 + sum(_size(message) for message in (*self.messages, *self.replies))


def _size(message: Message) -> int:
    calls = sum(len(call.arguments) + len(call.name) for call in message.tool_calls)
    return len(message.content) + len(message.reasoning) + calls


def plain(message: Message) -> dict[str, Any]:
    """A message as JSON has it, on the wire and in data; without the name of who wrote it."""
    told: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.reasoning:
        told["reasoning_content"] = message.reasoning
    if message.tool_calls:
        told["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
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
