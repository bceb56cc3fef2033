"""Message lists as people write them (OpenAI, ShareGPT) into `Message`s, with a code for everything that is off."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

from sodate.core.text import en, ja, tr
from sodate.core.types import ROLES, Message, Role, ToolCall
from sodate.data.jsontext import kind
from sodate.data.ledger import RowError

Row = Mapping[str, Any]
Notes = list[tuple[str, tuple[str | int, ...]]]  # warnings found while parsing: (code, args)

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
_KNOWN = frozenset(("role", "content", "name", "weight", "tool_calls", "tool_call_id", "function_call", "refusal"))
_PLAIN = ("system", "user", "assistant")
_TEXT_PARTS = frozenset(("text", "input_text", "output_text"))


def nth(index: int) -> str:
    """How a message is called in a sentence, 1-based."""
    return tr(f"Message {index + 1}", f"{index + 1} 番目のメッセージ")


def openai_messages(items: object, notes: Notes) -> tuple[Message, ...]:
    """OpenAI chat messages. Raises RowError; what is odd but usable goes into `notes`."""
    if isinstance(items, str):
        items = json_text(items, "messages")
    if not isinstance(items, list):
        raise RowError("bad-type", "messages", tr("a list", "リスト"), kind(items))
    if not items:
        raise RowError("no-messages")
    messages: list[Message] = []
    open_calls: dict[str, str] = {}  # id → name of calls that no tool message has answered yet
    for index, item in enumerate(items):
        if type(item) is not dict:
            raise RowError("bad-type", nth(index), tr("an object", "オブジェクト"), kind(item))
        if len(item) == 2 and item.get("role") in _PLAIN and type(item.get("content")) is str:
            messages.append(Message(item["role"], item["content"]))  # nearly all messages, and nothing to ask of them
            continue
        role = _role(item, index)
        if not item.keys() <= _KNOWN:
            unknown = sorted(key for key in item.keys() - _KNOWN if item[key] not in (None, "", [], {}))
            if unknown:
                notes.append(("unknown-key", (nth(index), ", ".join(unknown))))
        calls: tuple[ToolCall, ...] = ()
        if role == "assistant":
            if "tool_calls" in item or "function_call" in item:
                calls = _tool_calls(item, index)
                open_calls.update((call.id, call.name) for call in calls)
        elif item.get("tool_calls") or item.get("function_call"):
            raise RowError(
                "tool-call-invalid",
                tr(
                    f"{en(nth(index))}: only assistant makes tool calls.",
                    f"{ja(nth(index))}: ツールを呼べるのは assistant だけです。",
                ),
            )
        messages.append(
            Message(
                role,
                _content(item, role, index, calls),
                calls,
                _answered(item, open_calls, index) if role == "tool" else None,
                name if isinstance(name := item.get("name"), str) else None,
                _weight(item, role, index) if "weight" in item else 1.0,
            )
        )
    return tuple(messages)


def sharegpt_messages(items: object, system: object, notes: Notes) -> tuple[Message, ...]:
    """`[{"from": "human", "value": …}]` (also with role/content keys), as OpenAI messages."""
    if isinstance(items, str):
        items = json_text(items, "conversations")
    if not isinstance(items, list):
        raise RowError("bad-type", "conversations", tr("a list", "リスト"), kind(items))
    converted: list[object] = [{"role": "system", "content": system}] if isinstance(system, str) and system else []
    for index, item in enumerate(items):
        if type(item) is not dict:
            raise RowError("bad-type", nth(index), tr("an object", "オブジェクト"), kind(item))
        who = item.get("from", item.get("role"))
        text = item.get("value", item.get("content"))
        if who in ("function_call", "tool_call") and isinstance(text, str):
            call = json_text(text, nth(index))
            calls = call if isinstance(call, list) else [call]
            functions = [
                {"id": f"call_{index}_{number}", "type": "function", "function": function}
                for number, function in enumerate(calls)
            ]
            converted.append({"role": "assistant", "content": None, "tool_calls": functions})
            continue
        role = SHAREGPT_ROLES.get(who.lower(), who) if isinstance(who, str) else who
        rest = {key: value for key, value in item.items() if key in ("weight", "name", "tool_calls", "tool_call_id")}
        converted.append({"role": role, "content": text, **rest})
    return openai_messages(converted, notes)


def tools_of(row: Row) -> tuple[Mapping[str, Any], ...]:
    """The row's `tools`, or its legacy `functions` as tools. JSON text is accepted, as hub sets carry it."""
    tools = row.get("tools")
    if isinstance(tools, str) and tools.strip():
        tools = json_text(tools, "tools")
    if not tools and row.get("functions"):
        functions = row["functions"]
        tools = [{"type": "function", "function": f} for f in functions] if isinstance(functions, list) else functions
    if not tools:
        return ()
    if not isinstance(tools, list) or not all(_is_tool(tool) for tool in tools):
        raise RowError(
            "tool-call-invalid",
            tr(
                'tools must be a list of {"type": "function", "function": {"name": …}}.',
                'tools は {"type": "function", "function": {"name": …}} のリストにしてください。',
            ),
        )
    return tuple(tools)


def json_text(text: str, what: str) -> Any:
    """The JSON value written inside a text field called `what`."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise RowError("bad-type", what, "JSON", tr("other text", "それ以外の文字列")) from None


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


def check_calls(messages: Sequence[Message], tools: Sequence[Mapping[str, Any]], notes: Notes) -> None:
    """Warns where a call names a tool that the row does not declare."""
    names = {tool["function"]["name"] for tool in tools}
    for index, message in enumerate(messages):
        for call in message.tool_calls:
            if call.name not in names:
                notes.append(("unknown-tool", (nth(index), call.name)))


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


def _content(item: Row, role: Role, index: int, calls: tuple[ToolCall, ...]) -> str:
    content = item.get("content")
    if type(content) is str:
        return content
    if content is None:
        if role == "assistant":
            refusal = item.get("refusal")
            return refusal if isinstance(refusal, str) else ""  # empty is judged later: a tool call needs no text
        raise RowError("missing-content", nth(index))
    if not isinstance(content, list):
        raise RowError("bad-type", nth(index) + " content", tr("text", "文字列"), kind(content))
    texts: list[str] = []
    for part in content:
        part_kind = part.get("type") if isinstance(part, dict) else kind(part)
        if isinstance(part_kind, str) and part_kind in _TEXT_PARTS and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif part_kind == "refusal" and isinstance(part.get("refusal"), str):
            texts.append(part["refusal"])
        else:
            raise RowError("not-text", nth(index), str(part_kind)[:40])
    return "".join(texts)


def _weight(item: Row, role: Role, index: int) -> float:
    weight = item["weight"]
    if weight is None:
        return 1.0
    if role != "assistant" or isinstance(weight, bool) or weight not in (0, 1):
        raise RowError("bad-weight", nth(index), json.dumps(weight, ensure_ascii=False)[:40])
    return float(weight)


def _tool_calls(item: Row, index: int) -> tuple[ToolCall, ...]:
    calls = item.get("tool_calls") or []
    if not calls and item.get("function_call"):
        calls = [{"id": f"call_{index}", "function": item["function_call"]}]
    if not isinstance(calls, list):
        raise RowError("bad-type", "tool_calls", tr("a list", "リスト"), kind(calls))
    return tuple(_tool_call(call, index, number) for number, call in enumerate(calls))


def _tool_call(call: object, index: int, number: int) -> ToolCall:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(call, dict) or not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise _bad_call(index, tr("a tool call needs function.name", "ツール呼び出しには function.name が必要です"))
    arguments = function.get("arguments", "{}")
    if isinstance(arguments, dict):  # Qwen-style sets and Parquet write the object itself
        arguments = json.dumps(arguments, ensure_ascii=False)
    try:
        parsed = json.loads(arguments) if isinstance(arguments, str) else None
    except (ValueError, RecursionError):
        parsed = None
    if not isinstance(parsed, dict):
        name = function["name"]
        raise _bad_call(
            index,
            tr(
                f"the arguments of {name} are not a JSON object",
                f"{name} の arguments が JSON オブジェクトではありません",
            ),
        )
    return ToolCall(str(call.get("id") or f"call_{index}_{number}"), function["name"], cast(str, arguments))


def _answered(item: Row, open_calls: dict[str, str], index: int) -> str:
    """The id of the call this tool message answers: the one it names, else the oldest one still open."""
    call_id = item.get("tool_call_id")
    if call_id is None and item.get("role") == "function":
        call_id = next((key for key, name in open_calls.items() if name == item.get("name")), None)
    elif call_id is None:
        call_id = next(iter(open_calls), None)
    if not isinstance(call_id, str) or call_id not in open_calls:
        raise _bad_call(
            index,
            tr(
                "this tool message answers no call made before it",
                "この tool メッセージに対応する呼び出しが前にありません",
            ),
        )
    del open_calls[call_id]
    return call_id


def _is_tool(tool: object) -> bool:
    function = tool.get("function") if isinstance(tool, dict) else None
    return isinstance(function, dict) and isinstance(function.get("name"), str)


def _bad_call(index: int, what: str) -> RowError:
    return RowError("tool-call-invalid", tr(f"{en(nth(index))}: {en(what)}.", f"{ja(nth(index))}: {ja(what)}。"))
