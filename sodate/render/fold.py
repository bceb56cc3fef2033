"""Conversations for templates without a system role."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sodate.core.types import Message


def fold_system(messages: Sequence[Message]) -> list[Message]:
    """System text at the head of the next user turn, for templates without a system role."""
    out: list[Message] = []
    pending = ""
    for message in messages:
        if message.role == "system":
            pending += message.content + "\n\n"
        elif message.role == "user":
            out.append(replace(message, content=pending + message.content))
            pending = ""
        else:
            if pending:  # no user turn to stand in: it becomes one, rather than vanish
                out.append(Message("user", pending.strip()))
                pending = ""
            out.append(message)
    return [*out, Message("user", pending.strip())] if pending else out
