"""A model proposes what a reply should have been; a person decides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sodate.api.replies import Prompt, replies
from sodate.core.types import Message, ToolCall


def proposed(items: Sequence[Mapping[str, Any]], model: str, *, max_new_tokens: int = 512) -> list[dict[str, Any]]:
    """The items of a review queue, each with `proposal` and `proposed_by`."""
    asked = [Prompt(messages_of(item["messages"])) for item in items]
    rows = replies(model, asked, max_new_tokens=max_new_tokens) if asked else []
    return [{**item, "proposal": row["replies"][0], "proposed_by": model}
            for item, row in zip(items, rows, strict=True)]  # fmt: skip


def messages_of(given: Sequence[Mapping[str, Any]]) -> tuple[Message, ...]:
    """Kept messages as the house knows them."""
    return tuple(
        Message(
            one["role"], one["content"] or "",
            tuple(ToolCall(call["id"], call["function"]["name"], call["function"]["arguments"])
                  for call in one.get("tool_calls", ())),
            one.get("tool_call_id"), one.get("name"),
        )
        for one in given
    )  # fmt: skip
