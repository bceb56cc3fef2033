"""Parts of a row that several formats share."""

from __future__ import annotations

from sodate.core.text import blank, tr
from sodate.core.types import Message
from sodate.data.calls import Notes, Row
from sodate.data.jsontext import kind, nothing
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


def asked(row: Row, key: str, notes: Notes) -> tuple[Message, ...]:
    """A prompt after the row's system text: text is one user message. It may be empty."""
    value = row.get(key)
    if isinstance(value, list | dict):
        return with_system(row, openai_messages(message_list(row, key), notes))
    return (*system_of(row), Message("user", text_of(row, key)))


def is_asked(messages: tuple[Message, ...]) -> bool:
    """Whether any message but a system one says something."""
    return any(message.role != "system" and not blank(message.content) for message in messages)
