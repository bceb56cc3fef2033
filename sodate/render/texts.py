"""Messages as the text that a template makes of them, before any token: what it is given, and in which form."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sodate.core.text import tr
from sodate.core.types import Message
from sodate.render import reasoning, toolcalls
from sodate.render.fold import fold_system
from sodate.render.guard import Guard, guarded
from sodate.render.laws import BrokenTemplate
from sodate.render.reasoning import ReplyForm
from sodate.render.template import TemplateError, compile_template
from sodate.render.tool_conventions import ToolConventions
from sodate.render.toolcalls import Tools
from sodate.render.toolforms import Reader

_THOUGHT = "_thought"  # of a turn: not for the template, which would leave it out

Turn = dict[str, Any]
"""A message as templates expect it, every string from data guarded."""


class Texts:
    """A template with what was learnt of it (`sodate/render/probe.py`): how it wants to be given what messages hold."""

    def __init__(
        self, template: str, forgeable: Guard, special: Guard, tokens: Mapping[str, str], date: datetime.date
    ) -> None:
        self.source = template
        self.date = date
        self._template: Callable[..., str] = compile_template(template)
        self._forgeable = forgeable
        self._special = special
        self._tokens = tokens  # bos_token and eos_token
        self.form = ReplyForm("", "")
        self.stops: tuple[str, ...] = ()
        self.folds_system = False
        # Reasoning: the key a template reads it from; or the end of a thought that only the generation prompt begins.
        self.reasoning_key: str | None = None
        self.writes_empty = False  # the key may be given without a thought, and protects the content from being split
        self.opening = ""  # tags that the generation prompt has and a rendered reply has not
        self.emptied = ""  # tags that the reply has instead: an empty thought
        self.closing = ""
        # Tools: how calls are given, and read back; None where the template has no form that can be used.
        self.conventions: ToolConventions | None = None
        self.reader: Reader | None = None
        self.lists_tools = False

    def prepared(self, messages: Sequence[Message], tools: Tools) -> tuple[Sequence[Message], Tools]:
        """The conversation as this template can express it. What stands before an assistant turn does not depend on
        what comes after it."""
        apart = (self.reasoning_key or self.closing) and self.reasoning_key != reasoning.INLINE
        if apart and any("</think>" in m.content for m in messages):
            messages = [reasoning.apart(m) for m in messages]
        if tools or any(m.tool_calls or m.role == "tool" for m in messages):
            if self.conventions is None:
                messages, tools = toolcalls.as_text(messages, tools)
            else:
                if self.conventions.one_a_turn:
                    messages = toolcalls.in_turn(messages)
                    if any(len(m.tool_calls) > 1 for m in messages):
                        raise TemplateError(
                            tr("The chat template writes one tool call a turn.",
                               "このチャットテンプレートは 1 回の発言でツールを 1 つしか呼べません。")
                        )  # fmt: skip
                messages = self.conventions.with_ids(list(messages))
                if not self.lists_tools:
                    messages, tools = toolcalls.listed(messages, tools), ()
        return (fold_system(messages) if self.folds_system else messages), tools

    def turns(self, messages: Sequence[Message]) -> list[Turn]:
        return [self._turn(message) for message in messages]

    def tools(self, tools: Tools) -> list[Any] | None:
        return [guarded(tool, self._forgeable) for tool in tools] or None

    def text(self, turns: Sequence[Turn], tools: list[Any] | None, *, generation: bool = False) -> str:
        messages = [{k: v for k, v in turn.items() if k != _THOUGHT} for turn in turns] if self.closing else list(turns)
        return self._template(
            self.date, messages=messages, tools=tools, add_generation_prompt=generation, **self._tokens
        )

    def reply(self, turns: Sequence[Turn], at: int, tools: list[Any] | None, whole: str = "") -> tuple[str, str]:
        """(generation prompt, the same with the reply that is turn `at`). `whole` is its text where it is known.

        Raises BrokenTemplate when the reply does not follow its own generation prompt.
        """
        prompt = self.text(turns[:at], tools, generation=True)
        text = whole if whole.startswith(prompt) else self.text(turns[: at + 1], tools)
        if text.startswith(prompt):
            return prompt, text
        before = prompt.removesuffix(self.opening)
        if len(before) < len(prompt) and text.startswith(before):
            # The template leaves out what its generation prompt begins. Where it is served, replies begin there.
            thought = turns[at].get(_THOUGHT, "") + self.closing if self.closing else ""
            return prompt, prompt + thought + text[len(before) :].removeprefix(self.emptied)
        raise BrokenTemplate(
            "prompt + reply = sequence",
            tr(f"turn {at + 1} does not follow its generation prompt.",
               f"{at + 1} 番目の発言が生成プロンプトの直後に続きません。"),
        )  # fmt: skip

    def _turn(self, message: Message) -> Turn:
        if message.role != "assistant" and not message.tool_call_id and message.name is None:
            return {"role": message.role, "content": self._forgeable(message.content)[0]}
        # A reply may hold steering tokens the model itself writes (<think>), never special ones.
        guard = self._special if message.role == "assistant" else self._forgeable
        content = reasoning.inline(message) if self.reasoning_key == reasoning.INLINE else message.content
        out: Turn = {"role": message.role, "content": guard(content)[0]}
        if message.role == "assistant" and (message.reasoning or self.writes_empty):
            if self.reasoning_key not in (None, reasoning.INLINE):
                out[str(self.reasoning_key)] = guard(message.reasoning)[0]
            elif self.closing:
                out[_THOUGHT] = guard(message.reasoning)[0]
        if message.tool_calls:
            given = self.conventions or ToolConventions()
            if not content:
                out["content"] = given.empty_content
            out["tool_calls"] = [
                {
                    "type": "function",
                    "id": guard(call.id)[0],
                    "function": {
                        "name": guard(call.name)[0],
                        "arguments": guard(call.arguments)[0]
                        if given.arguments_as_text
                        else guarded(toolcalls.arguments(call), guard),
                    },
                }
                for call in message.tool_calls
            ]
        if message.tool_call_id is not None:
            out["tool_call_id"] = guard(message.tool_call_id)[0]
        if message.name is not None:
            out["name"] = guard(message.name)[0]
        return out
