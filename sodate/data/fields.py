"""Parts of a row that several formats share."""

from __future__ import annotations

from typing import Any

from sodate.core.text import tr
from sodate.core.types import Message
from sodate.data.jsontext import kind
from sodate.data.ledger import RowError
from sodate.data.messages import Row, json_text

# True and false as JSON, Python and pandas write them, and as the 0 and 1 that many sets have instead.
_VERDICTS = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}


def text_of(row: Row, key: str) -> str:
    value = row.get(key)
    if isinstance(value, str):
        return value
    if value is None:
        raise RowError("missing-column", key)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise RowError("bad-type", f'"{key}"', tr("text", "文字列"), kind(value))


def verdict(label: object) -> bool | None:
    """Whether a `label` calls the reply beside it good, in whatever spelling; None if it is no true or false."""
    return _VERDICTS.get(str(label).strip().casefold()) if isinstance(label, str | int | float) else None


def system_of(row: Row) -> tuple[Message, ...]:
    system = row.get("system")
    return (Message("system", system),) if isinstance(system, str) and system.strip() else ()


def message_list(row: Row, key: str) -> list[Any]:
    value = row.get(key)
    if isinstance(value, str) and value.lstrip().startswith("["):
        value = json_text(value, key)
    if isinstance(value, dict):
        value = [value]
    if not isinstance(value, list):
        raise RowError("bad-type", f'"{key}"', tr("a list of messages", "メッセージのリスト"), kind(value))
    return value
