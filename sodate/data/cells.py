"""JSON within text: a table's cells, and what hub sets carry as text. Decided here, for every column, format and file.

A column whose name says that it holds a list is read as JSON where its text begins like one. Any other text is read as
JSON only where it is a list of messages, or one message: a reply that happens to be JSON stays the text it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from sodate.data.calls import Row
from sodate.data.jsontext import json_text, nothing
from sodate.data.ledger import RowError
from sodate.data.messages import SHAREGPT_ROLES

LISTS = frozenset(("messages", "conversations", "tools", "functions", "history", "replies", "ranks"))
_OF_OBJECTS = frozenset(("tools", "functions"))
# What graders read, as JSON or as any other text. A reference stays text: how it is written may count.
_FOR_GRADERS = frozenset(("tests", "reference_answer"))
_ROLE = re.compile(rf"""["'](?:role|from)["']\s*:\s*["'](?:{"|".join(SHAREGPT_ROLES)})["']""", re.IGNORECASE)
_OPENING = re.compile(r"""\s*(?:\[\s*)?\{\s*["'](?:role|from|content|value)["']\s*:""")
_MESSAGE = frozenset(("role", "from", "content", "value", "name", "weight", "tool_calls", "tool_call_id"))


def unfolded(row: Row, *, strict: bool = True) -> Row:
    """The row with JSON text as what it says. Where it is broken, RowError, or it stays text if not `strict`."""
    found: dict[str, Any] = {}
    for key, value in row.items():
        try:
            if isinstance(value, str) and value and (value[0] in "[{n" or value[0].isspace()):
                found[key] = value = _unfolded(key, value, isinstance(row.get("preferred_output"), str | list))
            if isinstance(value, list) and value and isinstance(value[0], str):
                found[key] = [_inner(key, item) if isinstance(item, str) else item for item in value]
        except RowError:
            if strict:
                raise
    return {**row, **found} if found else row


def _inner(key: str, text: str) -> Any:
    """One of a list of texts: a tool, or what it would be as a column of no name that is known."""
    return _unfolded(key if key in _OF_OBJECTS else "", text, False)


def _unfolded(key: str, text: str, preference: bool) -> Any:
    begins = text.lstrip()[:1]
    if key in LISTS and text.strip() == "null":
        return None
    if begins not in ("[", "{"):
        return text
    if key in LISTS:
        return json_text(text, key)
    if key in _FOR_GRADERS:
        try:
            value = json_text(text, key)
        except RowError as error:
            if error.code != "bad-type":  # JSON, but with two values for one key and the like
                raise
            return text
        return value if key == "tests" else text
    if key == "input" and preference and begins == "{":
        return json_text(text, key)
    if not _ROLE.search(text):
        return text
    try:
        value = json_text(text, key)
    except RowError:
        if _OPENING.match(text):
            raise
        return text
    return value if _are_messages(value) else text


def _are_messages(value: Any) -> bool:
    if isinstance(value, dict):
        return value.keys() <= _MESSAGE and _is_message(value)
    return bool(value) and isinstance(value, list) and all(_is_message(item) for item in value)


def _is_message(item: object) -> bool:
    if not isinstance(item, Mapping):
        return False
    role = item.get("role", item.get("from"))
    says = any(not nothing(item.get(key)) for key in ("content", "value", "tool_calls", "function_call"))
    return says and isinstance(role, str) and role.lower() in SHAREGPT_ROLES
