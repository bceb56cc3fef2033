"""Tool calls as text: read from what models write, and written for templates that have no form of their own.

The form is Hermes', which Qwen and many others were trained on: <tool_call>{"name": …, "arguments": {…}}</tool_call>.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sodate.core.types import Message, ToolCall

_CALL = re.compile(r"\s*<tool_call>\s*(\{.*?\})\s*</tool_call>", re.DOTALL)


def arguments(call: ToolCall) -> Any:
    """Arguments as a JSON value; text that is not JSON stays text (the data check has named it by then)."""
    try:
        return json.loads(call.arguments)
    except ValueError:
        return call.arguments


def parse(text: str, tools: Sequence[Mapping[str, Any]] = ()) -> tuple[str, tuple[ToolCall, ...]]:
    """(content, calls) of a reply: Hermes' tags, or Llama 3's bare JSON object if it names one of `tools`."""
    calls: list[ToolCall] = []
    for match in _CALL.finditer(text):
        call = _as_call(match[1], len(calls))
        if call is None:
            return text, ()
        calls.append(call)
    if calls:
        return _CALL.sub("", text), tuple(calls)
    stripped = text.strip()
    if stripped.startswith("{") and '"parameters"' in stripped:
        call = _as_call(stripped, 0)
        if call is not None and call.name in {tool.get("function", tool).get("name") for tool in tools}:
            return "", (call,)
    return text, ()


def _as_call(text: str, index: int) -> ToolCall | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        return None
    given = value.get("arguments", value.get("parameters"))
    if given is None or set(value) - {"name", "arguments", "parameters", "id", "type"}:
        return None
    # Ids are not tokens the model writes; numbering them is stable and unique within the message.
    return ToolCall(
        f"call_{index}", value["name"], given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)
    )


def as_text(
    messages: Sequence[Message], tools: Sequence[Mapping[str, Any]]
) -> tuple[Sequence[Message], Sequence[Mapping[str, Any]]]:
    """The same conversation for a template that knows no tools: descriptions in the system turn, calls as tags."""
    if not tools and not any(m.tool_calls or m.role == "tool" for m in messages):
        return messages, tools
    out: list[Message] = []
    for message in messages:
        if message.role == "tool":
            out.append(Message("user", f"<tool_response>\n{message.content}\n</tool_response>"))
        elif message.tool_calls:
            calls = "\n".join(_tag(call) for call in message.tool_calls)
            out.append(replace(message, content=f"{message.content}\n{calls}".lstrip("\n"), tool_calls=()))
        else:
            out.append(message)
    if tools:
        listing = "\n".join(json.dumps(tool, ensure_ascii=False) for tool in tools)
        note = (
            "You can call these functions. To call one, reply with "
            '<tool_call>{"name": …, "arguments": {…}}</tool_call>.\n<tools>\n' + listing + "\n</tools>"
        )
        if out and out[0].role == "system":
            out[0] = replace(out[0], content=f"{out[0].content}\n\n{note}")
        else:
            out.insert(0, Message("system", note))
    return out, ()


def _tag(call: ToolCall) -> str:
    value = json.dumps({"name": call.name, "arguments": arguments(call)}, ensure_ascii=False)
    return f"<tool_call>\n{value}\n</tool_call>"


def probe() -> Message:
    """A call that only a template with a tool form of its own renders and parses back."""
    return Message("assistant", "", tool_calls=(ToolCall("call_0", "zq_tool", '{"zq_key": "zq_value"}'),))
