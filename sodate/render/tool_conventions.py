"""In which of several ways a template wants to be given tool calls and their results."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from hashlib import sha256

from sodate.core.types import Message, ToolCall


@dataclass(frozen=True, slots=True)
class ToolConventions:
    """How a template wants to be given calls and their results."""

    ids: str = "any"  # "nine": letters and digits, nine of them; "counted": functions.NAME:NUMBER
    arguments_as_text: bool = False
    empty_content: str | None = ""
    names_results: bool = False
    one_a_turn: bool = False

    def with_ids(self, messages: list[Message]) -> list[Message]:
        """The messages with ids as the template takes them, the same for a call and its result."""
        if self.ids == "any" and not self.names_results:
            return messages
        known: dict[str, tuple[str, str]] = {}  # id → the id given, the name called
        count = 0
        out: list[Message] = []
        for message in messages:
            calls = []
            for call in message.tool_calls:
                known[call.id] = self._id(call, count), call.name
                calls.append(replace(call, id=known[call.id][0]))
                count += 1
            if message.role == "tool":
                call_id, name = known.get(message.tool_call_id or "", (message.tool_call_id, message.name))
                message = replace(message, tool_call_id=call_id, name=name if self.names_results else message.name)
            out.append(replace(message, tool_calls=tuple(calls)) if calls else message)
        return out

    def _id(self, call: ToolCall, count: int) -> str:
        if self.ids == "counted":
            return f"functions.{call.name}:{count}"
        if self.ids == "any" or re.fullmatch(r"[A-Za-z0-9]{9}", call.id):
            return call.id
        return sha256(call.id.encode()).hexdigest()[:9]


CONVENTIONS = [
    ToolConventions(ids, as_text, empty, names)
    for ids in ("any", "nine", "counted")
    for names in (False, True)
    for empty in ("", None)
    for as_text in (False, True)
]
