"""Parts of a row that several formats share."""

from __future__ import annotations

from sodate.core.text import blank, tr
from sodate.core.types import Message
from sodate.data.calls import Notes, Row
from sodate.data.jsontext import json_text, kind, nothing
from sodate.data.ledger import RowError
from sodate.data.messages import message_list, openai_messages


def text_of(row: Row, key: str) -> str:
    value = row.get(key)
    if isinstance(value, str):
        return value
    if value is None:
        raise RowError("missing-column", key)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise RowError("bad-type", f'"{key}"', tr("text", "文字列"), kind(value))


def system_of(row: Row) -> tuple[Message, ...]:
    """The row's own system text, if it has any."""
    return () if nothing(row.get("system")) else (Message("system", text_of(row, "system")),)


def with_system(row: Row, messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """The messages after the row's system text, unless they begin with it themselves."""
    system = system_of(row)
    return messages if messages[:1] == system else (*system, *messages)


def history_of(row: Row) -> tuple[Message, ...]:
    """Earlier turns, [question, answer] each: context, so that the row trains its own answer only."""
    history = row.get("history")
    if nothing(history):
        return ()
    if isinstance(history, str):
        history = json_text(history, "history")
    turns: list[Message] = []
    for turn in history if isinstance(history, list) else [history]:
        if not isinstance(turn, list) or len(turn) != 2 or not all(isinstance(text, str) for text in turn):
            pairs = tr("a list of [question, answer] pairs", "[質問, 答え] の組のリスト")
            raise RowError("bad-type", '"history"', pairs, kind(turn))
        turns += [Message("user", turn[0]), Message("assistant", turn[1], weight=0.0)]
    return tuple(turns)


def has_history(row: Row) -> bool:
    """Whether the row's `history` is earlier turns, and no column that happens to be called so."""
    history = row.get("history")
    return isinstance(history, list) and bool(history) and all(isinstance(turn, list) for turn in history)


def asked(row: Row, key: str, notes: Notes) -> tuple[Message, ...]:
    """A prompt after the row's system text and its history: text is one user message. It may be empty."""
    value = row.get(key)
    if isinstance(value, list | dict):
        return with_system(row, openai_messages(message_list(row, key), notes))
    before = history_of(row) if has_history(row) else ()
    return (*system_of(row), *before, Message("user", text_of(row, key)))


def instructed(row: Row) -> tuple[Message, ...]:
    """The prompt of an instruction with its input, after system text and history."""
    parts = [text_of(row, key) for key in ("instruction", "input") if not nothing(row.get(key))]
    return (*system_of(row), *history_of(row), Message("user", "\n\n".join(parts)))


def is_asked(messages: tuple[Message, ...]) -> bool:
    """Whether any message but a system one says something."""
    return any(message.role != "system" and not blank(message.content) for message in messages)
