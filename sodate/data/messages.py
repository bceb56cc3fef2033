"""Message lists as people write them (OpenAI, ShareGPT) into `Message`s, with a code for everything that is off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sodate.core.text import en, ja, tr
from sodate.core.types import ROLES, Message, Role, ToolCall
from sodate.data.calls import Calls, Notes, Row
from sodate.data.jsontext import json_text, kind, nothing
from sodate.data.ledger import RowError
from sodate.data.marks import MARKS, nth, reasoning_of, weight_of

# Other people's words for the four roles. `function` is OpenAI's old name for tool, `developer` its new one for system.
OPENAI_ROLES: Mapping[str, Role] = {role: role for role in ROLES} | {"developer": "system", "function": "tool"}
SHAREGPT_ROLES: Mapping[str, Role] = {
    **OPENAI_ROLES,
    "human": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "observation": "tool",
    "function_response": "tool",
    "tool_response": "tool",
    "function_call": "assistant",
    "tool_call": "assistant",
}
_KNOWN = frozenset(("role", "content", "name", "tool_calls", "tool_call_id", "function_call", "refusal"))
_PLAIN = ("system", "user", "assistant")
_TEXT_PARTS = frozenset(("text", "input_text", "output_text"))
# Parts that hold what was thought (Anthropic's, and what others call it), by the key of their text.
_THOUGHTS = {"thinking": "thinking", "reasoning": "text"}
_PART_KEYS = frozenset(("type", "text", "refusal", "thinking", "annotations"))


def openai_messages(items: object, notes: Notes, ids: bool = True) -> tuple[Message, ...]:
    """OpenAI chat messages, or ShareGPT's turns. Raises RowError; what is odd but usable goes into `notes`.

    `ids` is whether the format gives ids to tool calls: where it gives none, none is missed.
    """
    if isinstance(items, str):
        items = json_text(items, "messages")
    if not isinstance(items, list):
        raise RowError("bad-type", "messages", tr("a list", "リスト"), kind(items))
    if not items:
        raise RowError("no-messages")
    if isinstance(items[0], dict) and "from" in items[0] and "role" not in items[0]:
        return sharegpt_messages(items, notes)
    messages: list[Message] = []
    calls = Calls(notes, ids)
    for index, item in enumerate(items):
        if type(item) is not dict:
            raise RowError("bad-type", nth(index), tr("an object", "オブジェクト"), kind(item))
        if len(item) == 2 and item.get("role") in _PLAIN and type(item.get("content")) is str:
            messages.append(Message(item["role"], item["content"]))  # nearly all messages, and nothing to ask of them
            continue
        messages.append(_message(item, index, calls, notes))
    return tuple(messages)


def _message(item: Row, index: int, calls: Calls, notes: Notes) -> Message:
    role = _role(item, index)
    tool_calls: tuple[ToolCall, ...] = ()
    if role == "assistant":
        tool_calls = calls.of_message(item, index)
    elif not nothing(item.get("tool_calls")) or not nothing(item.get("function_call")):
        raise RowError(
            "tool-call-invalid",
            tr(
                f"{en(nth(index))}: only assistant makes tool calls.",
                f"{ja(nth(index))}: ツールを呼べるのは assistant だけです。",
            ),
        )
    content, reasoning, unknown = _content(item, role, index)
    known = _KNOWN | MARKS
    if role == "assistant":
        said, keys = reasoning_of(item)
        reasoning = reasoning or said
        known |= keys if said == reasoning else frozenset()
    unknown = [*(key for key in item if key not in known and not nothing(item[key])), *unknown]
    if unknown:
        notes.append(("unknown-key", (nth(index), ", ".join(sorted(set(unknown))))))
    return Message(
        role,
        content,
        tool_calls,
        calls.answered(item, index) if role == "tool" else None,
        name if isinstance(name := item.get("name"), str) else None,
        weight_of(item, role, index),
        reasoning,
    )


def sharegpt_messages(items: object, notes: Notes) -> tuple[Message, ...]:
    """`[{"from": "human", "value": …}]` (also with role/content keys), as OpenAI messages. All other keys are kept."""
    if isinstance(items, str):
        items = json_text(items, "conversations")
    if not isinstance(items, list):
        raise RowError("bad-type", "conversations", tr("a list", "リスト"), kind(items))
    converted: list[object] = []
    for index, item in enumerate(items):
        if type(item) is not dict:
            raise RowError("bad-type", nth(index), tr("an object", "オブジェクト"), kind(item))
        who, text = ("from" if "from" in item else "role"), ("value" if "value" in item else "content")
        role, said = item.get(who), item.get(text)
        rest = {key: value for key, value in item.items() if key not in (who, text)}
        twice = [key for key in ("role", "content") if not nothing(rest.pop(key, None))]
        if twice:
            notes.append(("unknown-key", (nth(index), ", ".join(twice))))
        if isinstance(role, str) and role.lower() in ("function_call", "tool_call") and not nothing(said):
            call = json_text(said, nth(index)) if isinstance(said, str) else said
            functions = [{"function": function} for function in (call if isinstance(call, list) else [call])]
            converted.append({**rest, "role": "assistant", "content": None, "tool_calls": functions})
            continue
        known = SHAREGPT_ROLES.get(role.lower(), role) if isinstance(role, str) else role
        converted.append({**rest, "role": known, "content": said})
    return openai_messages(converted, notes, ids=any("tool_calls" in item for item in items))


def is_reply(item: Row) -> bool:
    """Whether a message, of whichever form, is the assistant's."""
    role = item.get("role", item.get("from"))
    return isinstance(role, str) and SHAREGPT_ROLES.get(role.lower()) == "assistant"


def check_order(messages: Sequence[Message], notes: Notes) -> None:
    """Warns where turns do not alternate; templates differ in what they make of that."""
    previous: Message | None = None
    for index, message in enumerate(messages):
        if message.role == "system" and index:
            notes.append(_order(index, tr("the system message is not the first", "system が先頭にありません")))
        elif previous and message.role == previous.role and message.role in ("user", "assistant"):
            twice = tr(f"two {message.role} messages in a row", f"{message.role} が 2 つ続いています")
            notes.append(_order(index, twice))
        elif message.role == "assistant" and (previous is None or previous.role == "system"):
            notes.append(
                _order(
                    index, tr("an assistant message before any user message", "user より先に assistant が話しています")
                )
            )
        previous = message


def _order(index: int, what: str) -> tuple[str, tuple[str | int, ...]]:
    return "role-order", (tr(f"{en(nth(index))}: {en(what)}.", f"{ja(nth(index))}: {ja(what)}。"),)


def _role(item: Row, index: int) -> Role:
    role = item.get("role")
    if role is None or role == "":
        raise RowError("missing-role", nth(index))
    known = OPENAI_ROLES.get(role) if isinstance(role, str) else None
    if known is None:
        meant = SHAREGPT_ROLES.get(role.strip().lower()) if isinstance(role, str) else None
        raise RowError(
            "wrong-role",
            nth(index),
            str(role)[:40],
            tr(f" Is {meant} meant?", f"{meant} のことですか。") if meant else "",
        )
    return known


def _content(item: Row, role: Role, index: int) -> tuple[str, str, list[str]]:
    """(content, what was thought, keys of its parts that mean nothing here)."""
    content = item.get("content")
    if type(content) is str:
        return content, "", []
    if content is None:
        if role == "assistant":
            refusal = item.get("refusal")
            return refusal if isinstance(refusal, str) else "", "", []  # judged later: a tool call needs no text
        raise RowError("missing-content", nth(index))
    if not isinstance(content, list):
        raise RowError("bad-type", nth(index) + " content", tr("text", "文字列"), kind(content))
    texts: list[str] = []
    thoughts: list[str] = []
    unknown: list[str] = []
    for part in content:
        part_kind = part.get("type") if isinstance(part, dict) else kind(part)
        if not isinstance(part_kind, str):
            part_kind = kind(part_kind)
        if not isinstance(part, dict):
            raise RowError("not-text", nth(index), part_kind[:40])
        if part_kind in _TEXT_PARTS and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif part_kind == "refusal" and isinstance(part.get("refusal"), str):
            texts.append(part["refusal"])
        elif role == "assistant" and isinstance(part.get(_THOUGHTS.get(part_kind, "")), str):
            thoughts.append(part[_THOUGHTS[part_kind]])
        else:
            raise RowError("not-text", nth(index), part_kind[:40])
        unknown += [f"content.{key}" for key in part if key not in _PART_KEYS and not nothing(part[key])]
    return "".join(texts), "".join(thoughts), unknown


def message_list(row: Mapping[str, Any], key: str) -> list[Any]:
    value = row.get(key)
    if isinstance(value, dict):
        value = [value]
    if not isinstance(value, list):
        raise RowError("bad-type", f'"{key}"', tr("a list of messages", "メッセージのリスト"), kind(value))
    return value
