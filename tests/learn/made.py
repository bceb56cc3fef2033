"""Exchanges that were never served, for tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sodate.core.types import Message
from sodate.learn import keeping, recording
from sodate.learn.exchange import Exchange
from sodate.learn.keeping import DAY, Desk

TODAY = 20_000 * DAY  # 2024-10-04


def exchange(
    id: str, question: str = "How long does delivery take?", reply: str = "Two days.", **changes: Any
) -> Exchange:
    """One of the project `default`, by `orders@1`, unless it is said otherwise."""
    asked = {"project": "default", "kind": "chat.completion", "version": "orders@1", "created_at": TODAY,
             "messages": (Message("user", question),), "replies": (Message("assistant", reply),), "finish": "stop",
             "confidence": 0.9, "latency_ms": 100, "prompt_tokens": 9, "reply_tokens": 3}  # fmt: skip
    return Exchange(id=id, **{**asked, **changes})


def keep(*told: Exchange, rules: Mapping[str, Any] | None = None) -> None:
    """Writes exchanges as the recorder does, by these rules."""
    given = recording.Rules(**{"mode": "on", **(rules or {})})
    keeping.keep([keeping.ready(one, Desk.of(given)) for one in told], {})


def many(questions: Sequence[str], **changes: Any) -> None:
    keep(*(exchange(f"chatcmpl-{number}", question, f"Reply {number}.", **changes)
           for number, question in enumerate(questions)))  # fmt: skip
