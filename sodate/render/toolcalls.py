"""Tool calls as text: read from what models write, and written for templates that have no form of their own.

The form is Hermes', which Qwen and many others were trained on: <tool_call>{"name": …, "arguments": {…}}</tool_call>.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sodate.core.nesting import too_deep
from sodate.core.types import Message, ToolCall

Tools = Sequence[Mapping[str, Any]]

_OPENING, _CLOSING = "<tool_call>", "</tool_call>"
_CLOSINGS = 8  # within the arguments of a call, at most: they may quote one
_HOW = 'To call one, reply with <tool_call>{"name": …, "arguments": {…}}</tool_call>.\n'


def arguments(call: ToolCall) -> Any:
    """Arguments as a JSON value; text that is not JSON stays text (the data check has named it by then), and so does
    JSON nested deeper than what reads it can follow."""
    try:
        value = json.loads(call.arguments)
    except (ValueError, RecursionError):
        return call.arguments
    return call.arguments if too_deep(value) else value


def names_of(tools: Tools) -> set[Any]:
    return {tool.get("function", tool).get("name") for tool in tools}


def parse(text: str, tools: Tools = ()) -> tuple[str, tuple[ToolCall, ...]]:
    """(content, calls) of a reply: Hermes' tags, or Llama 3's bare JSON object if it names one of `tools`."""
    calls: list[ToolCall] = []
    content, before = "", 0
    for start, end, inner in _tagged(text):
        call = as_call(_json(inner), len(calls))
        if call is None:
            return text, ()
        calls.append(call)
        content, before = content + text[before:start].rstrip(), end
    if calls:
        return content + text[before:], tuple(calls)
    stripped = text.strip().removeprefix("<|python_tag|>")
    if stripped.startswith("{") and '"parameters"' in stripped:
        call = as_call(_json(stripped), 0)
        if call is not None and call.name in names_of(tools):
            return "", (call,)
    return text, ()


def _tagged(text: str) -> Iterator[tuple[int, int, str]]:
    """(start, end, inside) of each object between tags. No search begins twice at one place, however many tags."""
    at, last = 0, text.rfind(_CLOSING)
    while 0 <= (start := text.find(_OPENING, at)) < last:
        at = end = start + len(_OPENING)
        for _ in range(_CLOSINGS):
            closing = text.find(_CLOSING, end)
            if closing < 0:
                break
            end = closing + len(_CLOSING)
            if (inner := text[at:closing].strip())[:1] == "{" and inner[-1:] == "}":
                yield start, end, inner
                at = end
                break


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def as_call(value: Any, number: int) -> ToolCall | None:
    """The call a JSON value describes: `{"name", "arguments" or "parameters"}`, also inside `function`."""
    if not isinstance(value, dict):
        return None
    about = value["function"] if isinstance(value.get("function"), dict) else value
    name = about.get("name", about.get("tool_name"))
    given = about.get("arguments", about.get("parameters"))
    known = {"name", "tool_name", "arguments", "parameters", "id", "tool_call_id", "type", "function"}
    if not isinstance(name, str) or given is None or set(about) - known:
        return None
    written = value.get("id", value.get("tool_call_id"))
    return tool_call(name, given, number, written if isinstance(written, str) else "")


def tool_call(name: str, given: Any, number: int, written: str = "") -> ToolCall:
    """A call as read. Where the model writes no id, calls are numbered: stable, and unique within the message."""
    text = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)
    return ToolCall(written or f"call_{number}", name, text)


def as_text(messages: Sequence[Message], tools: Tools) -> tuple[Sequence[Message], Tools]:
    """The same conversation for a template that knows no tools: descriptions in the system turn, calls as tags.

    Results of several calls, and what the user says after them, are one user turn: templates want turns to alternate.
    """
    if not tools and not any(m.tool_calls or m.role == "tool" for m in messages):
        return messages, tools
    out: list[Message] = []
    after_result = False
    for message in messages:
        if message.role == "tool" or (after_result and message.role == "user"):
            result = message.role == "tool"
            text = f"<tool_response>\n{message.content}\n</tool_response>" if result else message.content
            if after_result or (out and out[-1].role == "user"):
                out[-1] = replace(out[-1], content=f"{out[-1].content}\n{text}")
            else:
                out.append(Message("user", text))
            after_result = True
            continue
        after_result = False
        if message.tool_calls:
            calls = "\n".join(_tag(call) for call in message.tool_calls)
            message = replace(message, content=f"{message.content}\n{calls}".lstrip("\n"), tool_calls=())
        out.append(message)
    return listed(out, tools, _HOW), ()


def listed(messages: Sequence[Message], tools: Tools, how: str = "") -> list[Message]:
    """The conversation with the tools described in its system turn."""
    out = list(messages)
    if tools:
        listing = "\n".join(json.dumps(tool, ensure_ascii=False) for tool in tools)
        note = "You can call these functions. " + how + "<tools>\n" + listing + "\n</tools>"
        if out and out[0].role == "system":
            out[0] = replace(out[0], content=f"{out[0].content}\n\n{note}")
        else:
            out.insert(0, Message("system", note))
    return out


def _tag(call: ToolCall) -> str:
    value = json.dumps({"name": call.name, "arguments": arguments(call)}, ensure_ascii=False)
    return f"<tool_call>\n{value}\n</tool_call>"


def in_turn(messages: Sequence[Message]) -> list[Message]:
    """Calls of one message as messages of one call each, with their results behind them: for templates that write one
    call a turn. The calls of a message that has not all its results stay together."""
    out: list[Message] = []
    at = 0
    while at < len(messages):
        message = messages[at]
        at += 1
        end = at
        while end < len(messages) and messages[end].role == "tool":
            end += 1
        results = {result.tool_call_id: result for result in messages[at:end]}
        if len(message.tool_calls) < 2 or any(call.id not in results for call in message.tool_calls):
            out.append(message)
            continue
        for number, call in enumerate(message.tool_calls):
            said = {} if number == 0 else {"content": "", "reasoning": ""}
            out += [replace(message, tool_calls=(call,), **said), results[call.id]]  # type: ignore[arg-type]
        at = end
    return out
