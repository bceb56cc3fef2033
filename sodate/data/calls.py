"""Tools, the calls an assistant makes of them, and which message answers which call."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from sodate.core.text import en, ja, tr
from sodate.core.types import Message, ToolCall
from sodate.data.jsontext import json_text, kind, nothing
from sodate.data.ledger import RowError
from sodate.data.marks import nth

Row = Mapping[str, Any]
Notes = list[tuple[str, tuple[str | int, ...]]]  # warnings found while parsing: (code, args)
_KNOWN = frozenset(("id", "type", "function", "index"))


def tools_of(row: Row) -> tuple[Mapping[str, Any], ...]:
    """The row's `tools`, or its legacy `functions` as tools. JSON text is accepted, as hub sets carry it."""
    tools = _listed(row.get("tools"), "tools") or _listed(row.get("functions"), "functions")
    if isinstance(tools, list):
        tools = [_wrapped(tool) for tool in tools]
    if nothing(tools):
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


def _listed(value: object, key: str) -> object:
    if isinstance(value, str) and not nothing(value):
        value = json_text(value, key)
    return None if nothing(value) else value


def _wrapped(tool: object) -> object:
    """A tool: a bare function (`{"name": …, "parameters": …}`) becomes one, and parameters that are text are read."""
    if isinstance(tool, dict) and "function" not in tool and isinstance(tool.get("name"), str):
        tool = {"type": "function", "function": {key: value for key, value in tool.items() if key != "type"}}
    function = tool.get("function") if isinstance(tool, dict) else None
    if not isinstance(tool, dict) or not isinstance(function, dict) or not isinstance(function.get("parameters"), str):
        return tool
    name, text = function.get("name"), function["parameters"]
    read = {} if nothing(text) else {"parameters": json_text(text, tr(f"tools, {name}", f"tools の {name}"))}
    return {**tool, "function": {**{key: function[key] for key in function if key != "parameters"}, **read}}


def _is_tool(tool: object) -> bool:
    function = tool.get("function") if isinstance(tool, dict) else None
    return isinstance(function, dict) and isinstance(function.get("name"), str)


def check_calls(messages: Sequence[Message], tools: Sequence[Mapping[str, Any]], notes: Notes) -> None:
    """Warns where a call names a tool that the row does not declare."""
    names = {tool["function"]["name"] for tool in tools}
    for index, message in enumerate(messages):
        for call in message.tool_calls:
            if call.name not in names:
                notes.append(("unknown-tool", (nth(index), call.name)))


@dataclass(frozen=True, slots=True)
class _Open:
    given: str | None  # the id as the row gives it
    id: str
    name: str


class Calls:
    """The calls of one row that no message has answered yet. `ids` is whether the row's format gives ids to calls."""

    def __init__(self, notes: Notes, ids: bool = True) -> None:
        self._notes = notes
        self._ids = ids
        self._open: list[_Open] = []  # those of the latest message first
        self._numbers_said = False

    def of_message(self, item: Row, index: int) -> tuple[ToolCall, ...]:
        """The calls of an assistant message. Ids that are missing or given twice are made up."""
        calls = item.get("tool_calls")
        if isinstance(calls, str) and not nothing(calls):
            calls = json_text(calls, nth(index) + ", tool_calls")
        if nothing(calls):
            called = item.get("function_call")
            if isinstance(called, str) and not nothing(called):
                called = json_text(called, nth(index) + ", function_call")
            calls = None if nothing(called) else [{"function": called}]
        if nothing(calls):
            return ()
        if not isinstance(calls, list):
            raise RowError("bad-type", "tool_calls", tr("a list", "リスト"), kind(calls))
        parsed: list[ToolCall] = []
        taken = {call.id for call in self._open}
        opened: list[_Open] = []
        for number, call in enumerate(calls):
            name, arguments = self._function(call, index)
            given = self._id(call.get("id"), index)
            free = given if given and given not in taken else f"call_{index}_{number}"
            while free in taken:
                free += "_"
            taken.add(free)
            parsed.append(ToolCall(free, name, arguments))
            opened.append(_Open(given, free, name))
        self._open[:0] = opened
        return tuple(parsed)

    def _function(self, call: Any, index: int) -> tuple[str, str]:
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str) or nothing(function["name"]):
            raise _bad_call(index, tr("a tool call needs function.name", "ツール呼び出しには function.name が必要です"))
        key = "arguments" if "arguments" in function else "parameters"  # as Llama's models call them
        if unknown := [*(call.keys() - _KNOWN), *(function.keys() - {"name", key})]:
            where = tr(f"{en(nth(index))}, tool call", f"{ja(nth(index))}のツール呼び出し")
            self._notes.append(("unknown-key", (where, ", ".join(sorted(unknown)))))
        name, arguments = function["name"], function.get(key)
        if nothing(arguments):
            return name, "{}"
        if isinstance(arguments, dict):  # Qwen-style sets and Parquet write the object itself
            return name, json.dumps(arguments, ensure_ascii=False)
        try:
            parsed = json_text(
                arguments, tr(f"{en(nth(index))}, arguments of {name}", f"{ja(nth(index))}、{name} の arguments")
            )
        except RowError as error:
            if error.code != "bad-type":
                raise
            parsed = None
        if not isinstance(parsed, dict):
            raise _bad_call(
                index,
                tr(
                    f"the arguments of {name} are not a JSON object",
                    f"{name} の arguments が JSON オブジェクトではありません",
                ),
            )
        return name, cast(str, arguments)

    def answered(self, item: Row, index: int) -> str:
        """The id of the call this tool message answers: the one it names, or by order where no id tells."""
        if not self._open:
            raise _bad_call(
                index,
                tr(
                    "this tool message answers no call made before it",
                    "この tool メッセージに対応する呼び出しが前にありません",
                ),
            )
        given, name = self._id(item.get("tool_call_id"), index), item.get("name")
        meant = [call for call in self._open if given is not None and call.given == given]
        if not meant and item.get("role") == "function" and not nothing(name):
            meant = [call for call in self._open if call.name == name][:1]
            if not meant:
                raise _bad_call(index, tr(f"no open call is one of {name}", f"{name} の呼び出しが前にありません"))
        if len(meant) != 1:
            nameless = [call for call in self._open if call.given is None]
            if given is not None and not meant and not nameless:
                raise _bad_call(
                    index,
                    tr(
                        f"its tool_call_id {given} is of no call that waits for an answer",
                        f"tool_call_id が {given} の、返答を待つ呼び出しがありません",
                    ),
                )
            among = meant or nameless or self._open
            meant = [next((call for call in among if call.name == name), among[0])]
            if self._ids and item.get("role") != "function":
                taken = tr(
                    f"{en(nth(index))}: no id says which call it answers; by order it is {meant[0].name}.",
                    f"{ja(nth(index))}: どの呼び出しへの返答か id では分かりません。"
                    f"順番から {meant[0].name} への返答とみなします。",
                )
                self._notes.append(("tool-ids", (taken,)))
        self._open.remove(meant[0])
        return meant[0].id

    def _id(self, value: object, index: int) -> str | None:
        """An id as text; None for one that is missing, blank or no id at all."""
        if isinstance(value, bool) or not isinstance(value, str | int | float) or nothing(value):
            return None
        if isinstance(value, float) and value.is_integer():  # a whole number in a column that has gaps
            value = int(value)
        if not isinstance(value, str) and not self._numbers_said:
            self._numbers_said = True
            number = tr(
                f"{en(nth(index))}: the id {value} is a number; it is read as text.",
                f"{ja(nth(index))}: id の {value} が数値です。文字列として読みます。",
            )
            self._notes.append(("tool-ids", (number,)))
        return str(value)


def _bad_call(index: int, what: str) -> RowError:
    return RowError("tool-call-invalid", tr(f"{en(nth(index))}: {en(what)}.", f"{ja(nth(index))}: {ja(what)}。"))
