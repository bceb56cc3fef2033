"""Calls as requests had them before `tools`: `functions` and `function_call`. At most one is made, and it has no id."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sodate.core.errors import UsageError
from sodate.core.text import tr
from sodate.core.types import ToolCall
from sodate.serve.wire import ChatRequest, Named, NamedTool, Tool


def as_tools(asked: ChatRequest) -> ChatRequest:
    """The request with its functions as tools; UsageError where it has both, or names a function that is not there."""
    if asked.functions is None and asked.function_call is None:
        return asked
    if asked.tools is not None or asked.tool_choice is not None:
        raise _wrong(
            tr("functions and function_call can't be used together with tools and tool_choice.",
               "functions や function_call は、tools や tool_choice と同時には使えません。"),
            "functions",
        )  # fmt: skip
    choice, names = asked.function_call, [one.name for one in asked.functions or ()]
    if isinstance(choice, Named) and choice.name not in names:
        raise _wrong(
            tr(f"function_call asks for a function that is not in functions. Known: {', '.join(names) or '-'}.",
               f"function_call の関数が functions にありません。使えるもの: {', '.join(names) or '-'}"),
            "function_call",
        )  # fmt: skip
    tools = [Tool(type="function", function=one) for one in asked.functions or ()]
    chosen = NamedTool(function=choice) if isinstance(choice, Named) else choice
    return asked.model_copy(update={"tools": tools, "tool_choice": chosen, "parallel_tool_calls": False})


def told(asked: ChatRequest, calls: Sequence[ToolCall], first: int | None = None) -> dict[str, Any]:
    """What a message says of its calls, in the words of the request; those of a stream are numbered from `first`."""
    if asked.functions is not None:
        return {"function_call": {"name": calls[0].name, "arguments": calls[0].arguments}}
    listed: list[dict[str, Any]] = [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in calls
    ]
    if first is not None:
        listed = [{"index": number, **one} for number, one in enumerate(listed, first)]
    return {"tool_calls": listed}


def finish(asked: ChatRequest, reason: str) -> str:
    """The reason for a message's end, in the words of the request."""
    return "function_call" if reason == "tool_calls" and asked.functions is not None else reason


def _wrong(message: str, param: str) -> UsageError:
    return UsageError(message, code="invalid_value", param=param)
