"""Conversations for templates without a system role."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sodate.core.types import Message


def fold_system(messages: Sequence[Message]) -> list[Message]:
    """System text at the head of the next user turn, for templates without a system role.

    Where no user turn follows it goes to the end of the one before, so that turns still alternate.
    """
    out: list[Message] = []
    pending = ""

    def settle() -> None:
        if pending and out and out[-1].role == "user":
            out[-1] = replace(out[-1], content=f"{out[-1].content}\n\n{pending.strip()}")
        elif pending:  # no user turn to stand in: it becomes one, rather than vanish
            out.append(Message("user", pending.strip()))

    for message in messages:
        if message.role == "system":
            pending += message.content + "\n\n"
            continue
        if message.role == "user":
            message = replace(message, content=pending + message.content)
        else:
            settle()
        pending = ""
        out.append(message)
    settle()
    return out
