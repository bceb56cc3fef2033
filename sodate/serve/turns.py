"""The messages of a chat request as turns of the house."""

from __future__ import annotations

from collections.abc import Sequence

from sodate.core.errors import UsageError
from sodate.core.text import tr
from sodate.core.types import Message, Role, ToolCall
from sodate.serve.asking import missing
from sodate.serve.wire import ChatMessage, Part

TEXTS = ("text", "input_text", "output_text", "refusal")  # types of parts that are read


def messages(given: Sequence[ChatMessage]) -> tuple[Message, ...]:
    """The turns as the house knows them. UsageError for a part that is not text, or a tool result nobody called for."""
    out: list[Message] = []
    open_calls: dict[str, str] = {}
    called: dict[str, str] = {}  # functions of the older form that the message before called, and the ids they get here
    for number, turn in enumerate(given):
        where = f"messages[{number}]"
        answers = turn.tool_call_id
        if open_calls and turn.role != "tool":
            raise _wrong(
                tr(f"These tool calls have no result yet: {', '.join(open_calls)}.",
                   f"結果のないツール呼び出しがあります: {', '.join(open_calls)}"),
                f"{where}.role",
            )  # fmt: skip
        calls: tuple[ToolCall, ...] = ()
        if turn.role == "tool":
            if turn.tool_call_id is None or turn.tool_call_id not in open_calls:
                raise _wrong(
                    tr("A message with role 'tool' must answer a tool call of the message before it.",
                       "role が 'tool' のメッセージは、直前のメッセージのツール呼び出しに応えるものにしてください。"),
                    f"{where}.tool_call_id",
                )  # fmt: skip
            del open_calls[turn.tool_call_id]
        elif turn.role == "function":
            answers = called.pop(turn.name or "", None)
            if answers is None:
                raise _wrong(
                    tr("A message with role 'function' must name the function that the message before it calls.",
                       "role が 'function' のメッセージの name は、直前のメッセージが呼んだ関数の名前にしてください。"),
                    f"{where}.name",
                )  # fmt: skip
        elif turn.function_call and turn.role == "assistant" and not turn.tool_calls:
            calls = (ToolCall(f"call{number:05}", turn.function_call.name, turn.function_call.arguments),)
        elif turn.tool_calls:
            if turn.role != "assistant":
                raise _wrong(tr("Only the assistant calls tools.", "ツールを呼べるのは assistant だけです。"),
                             f"{where}.tool_calls")  # fmt: skip
            calls = tuple(ToolCall(c.id, c.function.name, c.function.arguments) for c in turn.tool_calls)
            open_calls = {call.id: call.name for call in calls}
        refused = turn.refusal if turn.role == "assistant" else None  # what an earlier reply said instead of content
        if turn.content is None and not (turn.role == "assistant" and (calls or turn.reasoning_content or refused)):
            raise _wrong(tr("A message needs content.", "content が必要です。"), f"{where}.content")
        called = {call.name: call.id for call in calls} if turn.function_call and not turn.tool_calls else {}
        role: Role = "system" if turn.role == "developer" else "tool" if turn.role == "function" else turn.role
        content = text(turn.content, f"{where}.content") or refused or ""
        thought = turn.reasoning_content or "" if role == "assistant" else ""
        out.append(Message(role, content, calls, answers, turn.name, reasoning=thought))
    if open_calls:
        raise _wrong(
            tr(f"These tool calls have no result yet: {', '.join(open_calls)}.",
               f"結果のないツール呼び出しがあります: {', '.join(open_calls)}"),
            "messages",
        )  # fmt: skip
    return tuple(out)


def text(content: str | list[Part] | None, where: str) -> str:
    """The text of a content; UsageError for a part that is none."""
    if content is None or isinstance(content, str):
        return content or ""
    for number, part in enumerate(content):
        if part.type in TEXTS and _of(part) is None:
            raise missing(f"{where}[{number}].{'refusal' if part.type == 'refusal' else 'text'}")
        if part.type not in TEXTS:
            raise _wrong(
                tr(f"Content of type {part.type!r} cannot be read: this server's models read text.",
                   f"種類 {part.type!r} の内容は扱えません。このサーバーのモデルが読めるのはテキストだけです。"),
                f"{where}[{number}].type",
            )  # fmt: skip
    return "".join(_of(part) or "" for part in content)


def _of(part: Part) -> str | None:
    return part.refusal if part.type == "refusal" and part.text is None else part.text


def _wrong(message: str, param: str) -> UsageError:
    return UsageError(message, code="invalid_value", param=param)
