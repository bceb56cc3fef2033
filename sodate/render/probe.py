"""What a template can express, learnt from what it renders; one that breaks a law is refused by the law's name."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sodate.core.text import tr
from sodate.core.types import Message, ToolCall
from sodate.render import reasoning, toolforms
from sodate.render.laws import BrokenTemplate
from sodate.render.reasoning import ReplyForm
from sodate.render.template import TemplateError
from sodate.render.texts import Texts
from sodate.render.tool_conventions import CONVENTIONS, ToolConventions
from sodate.render.toolcalls import arguments
from sodate.render.toolforms import ARGUMENTS, IDS, NAME, NINE_IDS

# Quotes, markup and Japanese, so that a template that escapes or rewrites text is caught.
PROBE = 'Zq7 "probe" <b> 日本'
_USER, _ANSWER, _AGAIN = (
    Message("user", "Q" + PROBE), Message("assistant", "A" + PROBE), Message("user", "R" + PROBE)
)  # fmt: skip
_THOUGHT = "T" + PROBE
_PROPERTIES = {key: {"type": "string"} for key in (*ARGUMENTS, "zq_text")} | {
    "zq_number": {"type": "integer"}, "zq_list": {"type": "array"}
}  # fmt: skip
TOOL = {
    "type": "function",
    "function": {
        "name": NAME, "description": "zq", "parameters": {"type": "object", "properties": _PROPERTIES, "required": []}
    },
}  # fmt: skip
_ONE, _TWO = (ToolCall(call_id, NAME, '{"zq_one": "zqva", "zq_two": "zqvb"}') for call_id in IDS)
_NINE = dict(zip(IDS, NINE_IDS, strict=True))
_NONE = tr("it writes no tool calls", "ツール呼び出しを書き出しません")
_MIXED = ToolCall(IDS[0], NAME, '{"zq_text": "a b\\n日本 <b>", "zq_number": -3, "zq_list": [1, {"k": "v"}]}')


@dataclass(frozen=True, slots=True)
class Controls:
    """The control tokens of a vocabulary, as a pattern, and which of them begins a text."""

    pattern: re.Pattern[str] | None
    bos: str

    def first(self, text: str) -> str | None:
        match = self.pattern.search(text) if self.pattern else None
        return match[0] if match else None

    def last(self, text: str) -> str | None:
        found = self.pattern.findall(text) if self.pattern else []
        return found[-1] if found else None


def probe(texts: Texts, controls: Controls) -> str:
    """Fills `texts`. Returns why tool calls can't be written in the template's own form, "" where they can."""
    tail = _learn_reply(texts, controls)
    _check_bos(texts, controls)
    system = Message("system", "S" + PROBE)
    try:
        texts.folds_system = system.content not in _text(texts, (system, _USER))
    except TemplateError:  # "System role not supported"
        texts.folds_system = True
    _learn_reasoning(texts, tail)
    why = _learn_tools(texts, controls)
    if texts.conventions is not None and not texts.form.close:
        _learn_reasoning_of_calls(texts, controls)
    return why


def _text(texts: Texts, messages: tuple[Message, ...], *, generation: bool = False) -> str:
    return texts.text(texts.turns(messages), None, generation=generation)


def _learn_reply(texts: Texts, controls: Controls) -> str:
    """The stop token and what stands around an answer. Returns what the template adds before one."""
    prompt, text = _text(texts, (_USER,), generation=True), _text(texts, (_USER, _ANSWER))
    if not text.startswith(prompt):
        at = next((i for i, (a, b) in enumerate(zip(prompt, text, strict=False)) if a != b), len(text))
        # "<think>" may share its "<" with what the template writes instead.
        at = prompt.rfind("<", 0, at + 1) if at < len(prompt) and not prompt[at:].lstrip().startswith("<") else at
        if not reasoning.are_tags(prompt[at:].lstrip()):
            detail = tr(
                "a reply does not start where its generation prompt ends.", "返答が生成プロンプトの直後に続きません。"
            )
            raise BrokenTemplate("prompt + reply = sequence", detail)
        texts.opening = prompt[at:]
    later = _text(texts, (_USER, _ANSWER, _AGAIN), generation=True)
    for message in (_USER, _ANSWER, _AGAIN):
        if later.count(message.content) != 1:
            detail = tr(
                f"a {message.role} message appears {later.count(message.content)} times, unchanged, in its text.",
                f"{message.role} のメッセージがそのままの形で {later.count(message.content)} 回現れます。",
            )
            raise BrokenTemplate("every message appears once", detail)
    plain, tail = text[len(prompt) - len(texts.opening) :].split(_ANSWER.content)
    stop = controls.first(tail)
    if stop is None:
        detail = tr(
            f"a reply is followed by {tail[:20]!r}, which has no control token: a model never learns to stop.",
            f"返答の後の {tail[:20]!r} に制御トークンがなく、モデルは止まることを学べません。",
        )
        raise BrokenTemplate("the stop token is supervised", detail)
    texts.stops = (stop,)
    texts.form = ReplyForm(plain, tail[: tail.index(stop)])
    return plain


def _check_bos(texts: Texts, controls: Controls) -> None:
    bos, text = controls.bos, _text(texts, (_USER, _ANSWER))
    if not bos or bos == texts.stops[0] or not text.startswith(bos):
        return
    # SmolLM2's BOS is <|im_start|>, which opens every turn; there the count means nothing.
    opens_turns = text.count(bos) == _text(texts, (Message("user", "Q"),)).count(bos) + 1
    if text.count(bos) != 1 and not opens_turns:
        raise BrokenTemplate("exactly one BOS", f"{bos} × {text.count(bos)}")


def _learn_reasoning(texts: Texts, plain: str) -> None:
    """Where the template writes a thought, so that it can be told from the answer again; it need not write one."""
    thinking = replace(_ANSWER, reasoning=_THOUGHT)
    end = texts.form.end
    keys = reasoning.KEYS if "</think>" in texts.source else reasoning.KEYS[:-1]
    if texts.opening and reasoning.are_tags(plain):
        texts.emptied, plain = plain, ""
    for key in keys:
        texts.reasoning_key = key
        found = _parts(texts, thinking)
        if found is not None and found[1].strip():
            opening, middle = found
            texts.form = ReplyForm.of(plain, end, opening, middle)
            texts.closing = middle if texts.opening else ""
            if key != reasoning.INLINE:
                texts.writes_empty = _also_empty(texts)
            if texts.form.read(f"{opening}{_THOUGHT}{middle}{_ANSWER.content}{end}") == (_THOUGHT, _ANSWER.content):
                return
    texts.reasoning_key, texts.writes_empty, texts.closing = None, False, ""
    texts.form = ReplyForm(plain, end)
    if closing := reasoning.left_open(texts.opening):
        texts.closing = closing
        texts.form = ReplyForm(plain, end, "", closing)


def _parts(texts: Texts, message: Message) -> tuple[str, str] | None:
    """The texts before a reply's thought and between it and the answer ("" and what is before it without a thought).

    None where the template does not write both of them once, in that order, after its generation prompt.
    """
    try:
        prompt, text = texts.reply(texts.turns((_USER, message)), 1, None)
    except (TemplateError, BrokenTemplate):
        return None
    reply = text[len(prompt) :]
    if reply.count(_ANSWER.content) != 1 or reply.count(_THOUGHT) != bool(message.reasoning):
        return None
    before = reply.split(_ANSWER.content)[0]
    if not message.reasoning:
        return "", before
    opening, thought, middle = before.partition(_THOUGHT)
    return (opening, middle) if thought else None


def _also_empty(texts: Texts) -> bool:
    """Whether an empty thought under the key gives what the template gives without the key."""
    without = _text(texts, (_USER, _ANSWER))
    texts.writes_empty = True
    try:
        return _text(texts, (_USER, _ANSWER)) == without
    except TemplateError:
        return False
    finally:
        texts.writes_empty = False


# ── tool calls ───────────────────────────────────────────────────────────────────────────────────────────────────


def _learn_tools(texts: Texts, controls: Controls) -> str:
    """Tries every way to give the template calls, until what it renders can be read back as it was given."""
    why: str = ""
    for way in CONVENTIONS:
        try:
            failed = _try(texts, controls, way)
        except (TemplateError, BrokenTemplate) as error:
            if not why or why == _NONE:
                why = error.message
            continue
        if failed is None:
            return ""
        # What is wrong with calls that it does write says most.
        why = failed if failed != _NONE else why or failed
    texts.conventions, texts.reader, texts.lists_tools, texts.stops = None, None, False, texts.stops[:1]
    return why


def _learn_reasoning_of_calls(texts: Texts, controls: Controls) -> None:
    """Gemma 4's templates write a thought before a call only; a model of that family has one before any answer."""
    form = texts.form
    call, _ = _call_text(texts, controls, _ONE)
    for key in reasoning.KEYS[:-1]:
        texts.reasoning_key = key
        messages, tools = texts.prepared((_USER, Message("assistant", "", (_ONE,), reasoning=_THOUGHT)), (TOOL,))
        with contextlib.suppress(TemplateError, BrokenTemplate):
            prompt, text = texts.reply(texts.turns(messages), len(messages) - 1, texts.tools(tools))
            opening, thought, rest = text[len(prompt) :].partition(_THOUGHT)
            close = rest[: max(rest.find(call), 0)]
            if thought and opening.strip() and close.strip():
                texts.form = replace(form, open=opening, close=close)
                return
    texts.reasoning_key, texts.form = None, form


def _try(texts: Texts, controls: Controls, way: ToolConventions) -> str | None:
    """Takes up one way; returns what is wrong with it, if anything. Raises what rendering raises."""
    texts.conventions, texts.reader, texts.lists_tools, texts.stops = way, None, True, texts.stops[:1]
    prompt = texts.text(texts.turns((_USER,)), texts.tools((TOOL,)), generation=True)
    texts.lists_tools = NAME in prompt
    one, after = _call_text(texts, controls, _ONE)
    if NAME not in one:
        return _NONE
    try:
        two, after_two = _call_text(texts, controls, _ONE, _TWO)
    except (TemplateError, BrokenTemplate):
        two, after_two = "", after
    several = two.count(NAME) > 1
    texts.reader = toolforms.learn(one, two if several else None)
    unread = tr("the calls it writes can't be read back", "書き出されたツール呼び出しを読み戻せません")
    if texts.reader is None:
        return unread
    texts.conventions = replace(way, one_a_turn=not several)
    if after is None or (several and after_two != after):  # DeepSeek-R1's forgets it after a single call
        return tr("a call is not followed by a stop token", "ツール呼び出しの後に終了トークンがありません")
    texts.stops = tuple(dict.fromkeys((texts.stops[0], after)))
    for calls in ((_ONE,), (_MIXED,), *([(_ONE, _TWO), (_MIXED, _ONE)] if several else [])):
        text, _ = _call_text(texts, controls, *calls)
        read = texts.reader(text, (TOOL,))
        if read is None or _plain(read[1]) != _plain(calls):
            return unread
    result = Message("tool", "zq_result", tool_call_id=IDS[0])
    messages, tools = texts.prepared((_USER, Message("assistant", "", (_ONE,)), result, _ANSWER), (TOOL,))
    prompt, text = texts.reply(texts.turns(messages), len(messages) - 1, texts.tools(tools))
    if "zq_result" not in prompt or _ANSWER.content not in text[len(prompt) :]:
        return tr("it does not write the results of calls", "ツールの結果を書き出しません")
    return None


def _plain(calls: Sequence[ToolCall]) -> list[tuple[str, Any]]:
    return [(call.name, arguments(call)) for call in calls]


def _call_text(texts: Texts, controls: Controls, *calls: ToolCall) -> tuple[str, str | None]:
    """The text of a reply that makes these calls, without its thought, and the control token that ends it."""
    if texts.conventions is not None and texts.conventions.ids == "nine":
        calls = tuple(replace(call, id=_NINE[call.id]) for call in calls)
    messages, tools = texts.prepared((_USER, Message("assistant", "", calls)), (TOOL,))
    prompt, text = texts.reply(texts.turns(messages), len(messages) - 1, texts.tools(tools))
    reply = text[len(prompt) :]
    at = reply.rfind(texts.stops[0])
    stop: str | None = texts.stops[0]
    if at < 0:
        stop = controls.last(reply)
        at = reply.rfind(stop) if stop else len(reply)
    return texts.form.read(reply[:at])[1], stop
