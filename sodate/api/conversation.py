"""A chat turn: messages in, the assistant's next message out, its reasoning and its tool calls apart from its text."""

from __future__ import annotations

import asyncio
import bisect
import contextlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from sodate.api import enum_options, generated, structured
from sodate.api.answering import Ask, End, Piece, Served, Service
from sodate.api.text_stream import Scored, StopStrings
from sodate.core.engine import Sampling
from sodate.core.errors import SodateError, UsageError
from sodate.core.ids import new_id
from sodate.core.text import tr
from sodate.core.types import Message, ToolCall
from sodate.render.reasoning import Part, ReplyForm, ReplyStream
from sodate.retrieve.context import question, with_passages
from sodate.retrieve.passages import Passage

_CALL_BEGINS = "<[{"  # how a call may begin in templates whose form is not known


@dataclass(frozen=True, slots=True)
class Params:
    """What errors call the parts of a request, which every endpoint has under other names."""

    prompt: str = "messages"
    reply: str = "max_completion_tokens"
    schema: str = "response_format.json_schema.schema"
    tool: str = "tools[{}].function.parameters"


@dataclass(frozen=True, slots=True)
class Turn:
    """What is asked for. `tools` may be called, `call` says whether one must be; `schema` is the content's."""

    served: Served
    messages: tuple[Message, ...]
    sampling: Sampling
    tools: tuple[Mapping[str, Any], ...] = ()
    callable: tuple[str, ...] | None = None  # of `tools`, by name; None: all of them
    named: bool = False  # the asker chose the one tool: its reply ends with "stop"
    call: Literal["none", "auto", "required"] = "auto"
    parallel: bool = True
    schema: Any = None
    stop: tuple[str, ...] = ()
    tenant: str = ""
    params: Params = Params()
    passages: tuple[Mapping[str, str], ...] = ()  # that stand before the question: their file and place
    options: bool = False  # whether it is told how likely the options of the schema's enum fields were


@dataclass(frozen=True, slots=True)
class Delta:
    """Something was added to the message: to its content or reasoning, or a whole call."""

    kind: Literal["content", "reasoning", "call"]
    text: str = ""
    tokens: tuple[Scored, ...] = ()
    call: ToolCall | None = None


@dataclass(frozen=True, slots=True)
class Finished:
    """The message is complete: `tokens` are those of its content."""

    message: Message
    finish: Literal["stop", "length", "tool_calls"]
    tokens: tuple[Scored, ...]
    prompt_tokens: int
    reply_tokens: int
    reasoning_tokens: int = 0
    cached: int = 0
    confidence: Mapping[str, Any] | None = None  # of the content, as `generated.told` says it


class BrokenForm(SodateError):
    """The reply is not of the form that was asked for."""

    code = "schema_violation"

    def __init__(self, reply: str, wrong: str) -> None:
        super().__init__(tr(f"The reply does not fit its schema ({wrong}).", f"返答がスキーマに合いません ({wrong})。"))
        self.reply = reply


@dataclass(slots=True)
class _Said:
    """What has been given of a message so far."""

    content: str = ""
    reasoning: str = ""
    tokens: list[Scored] = field(default_factory=list)
    reasoning_tokens: int = 0

    def add(self, delta: Delta) -> Delta:
        """Counts a delta in, and hands it on."""
        if delta.kind == "reasoning":
            self.reasoning += delta.text
            self.reasoning_tokens += len(delta.tokens)
        else:
            self.content += delta.text
            self.tokens += delta.tokens
        return delta


def grounded(turn: Turn) -> Turn:
    """The turn with passages before its question, where its version answers from an index."""
    retriever = turn.served.retriever
    if retriever is None:
        return turn
    found = retriever.found(turn.messages)
    named = tuple({"file": one.passage.file, "place": one.passage.place} for one in found)
    return replace(turn, messages=tuple(retriever.ask(turn.messages, found)), passages=named)


def looked_for(turn: Turn) -> str:
    """What a search for the turn looks for."""
    return question(turn.messages)


def grounded_on(turn: Turn, found: Sequence[Passage]) -> Turn:
    """The turn with passages that were found for it before its question: the first of them, as many as leave room for
    the reply."""
    tools = turn.tools if turn.call != "none" else ()
    room = turn.served.context - (turn.sampling.max_new_tokens or turn.served.context // 4)

    def too_long(count: int) -> bool:
        asked = with_passages(turn.messages, found[:count])
        return bool(turn.served.context) and len(turn.served.renderer.prompt(asked, tools)) > room

    shown = found[: bisect.bisect_left(range(1, len(found) + 1), True, key=too_long)]
    named = tuple({"file": one.file, "place": one.place} for one in shown)
    return replace(turn, messages=tuple(with_passages(turn.messages, shown)), passages=named)


def prepared(turn: Turn) -> Ask:
    """The turn as a request to its engine. UsageError where it cannot be kept: too long, a schema, a tool."""
    renderer, tools = turn.served.renderer, turn.tools if turn.call != "none" else ()
    prompt = renderer.prompt(turn.messages, tools)
    constraint = None
    if turn.schema is not None:
        constraint = structured.reply_constraint(turn.schema, turn.params.schema, renderer)
    if turn.served.text and (turn.call == "required" or turn.callable is not None):
        raise UsageError(
            tr("A server upstream that answers in text is not told which tool it has to call.",
               "テキストで応答する上流サーバーには、呼ぶツールを指定できません。"),
            code="engine_refused", param=turn.params.tool,
        )  # fmt: skip
    if tools and not turn.served.text and (turn.schema is None or turn.call == "required"):
        form = structured.form_of(renderer)
        offered = [t for t in tools if turn.callable is None or t["function"]["name"] in turn.callable]
        if form is not None or turn.call == "required":
            constraint = structured.calls_constraint(
                form or structured.CallForm(),
                offered,
                required=turn.call == "required",
                parallel=turn.parallel and not turn.named,
                param=turn.params.tool,
            )
    fits = within_context(turn.served, len(prompt), turn.sampling, turn.params)
    return Ask(turn.served, prompt, fits, turn.stop, constraint, turn.tenant)


def within_context(served: Served, prompt_tokens: int, sampling: Sampling, params: Params) -> Sampling:
    """`sampling` with its longest reply worked out where that is 0; UsageError where prompt and reply do not fit."""
    if not served.context:  # the engine itself says so when it is too long
        return sampling
    room = served.context - prompt_tokens
    if room < max(1, sampling.max_new_tokens):
        wanted = sampling.max_new_tokens
        raise UsageError(
            tr(f"This model's maximum context length is {served.context} tokens. {prompt_tokens + wanted} were asked "
               f"for: {prompt_tokens} in the prompt, {wanted} for the reply.",
               f"このモデルが扱えるのは {served.context} トークンまでです。プロンプト {prompt_tokens}、返答 {wanted}、"
               f"合計 {prompt_tokens + wanted} トークンが求められています。"),
            tr("Shorten the prompt or ask for fewer tokens.",
               "プロンプトを短くするか、最大トークン数を減らしてください。"),
            code="context_length_exceeded", param=params.reply if room >= 1 else params.prompt,
        )  # fmt: skip
    return sampling if sampling.max_new_tokens else replace(sampling, max_new_tokens=room)


async def converse(service: Service, turn: Turn, ask: Ask) -> AsyncGenerator[Delta | Finished, None]:
    """The message as it comes, Finished last. `ask` is the turn, `prepared`."""
    tools = turn.tools if turn.call != "none" else ()
    form = structured.form_of(turn.served.renderer) if tools else None
    marks = ([form.opening.strip()] if form and form.opening.strip() else _CALL_BEGINS) if tools else ()
    sorter = _Sorter(turn.served.renderer.form, marks, turn.call == "required")
    said = _Said()
    end: End | None = None
    async with contextlib.aclosing(service.reply(ask)) as pieces:
        async for piece in pieces:
            if isinstance(piece, End):
                end = piece
                continue
            for delta in sorter.push(piece):
                yield said.add(delta)
    assert end is not None
    for delta in sorter.close():
        yield said.add(delta)
    content, calls = await asyncio.to_thread(_calls, turn, sorter.held, end) if tools else (sorter.held, ())
    if content:
        yield said.add(Delta("content", content))
    for call in calls:
        yield Delta("call", call=call)
    if turn.schema is not None and not calls and end.finish == "stop" and not end.cut:
        await asyncio.to_thread(_check, said.content, turn.schema)
    sure = None if calls else await _confidence(service, turn, ask, said, end)
    yield Finished(
        Message("assistant", said.content, calls, reasoning=said.reasoning.rstrip()),
        "tool_calls" if calls and not turn.named else end.finish,
        tuple(said.tokens), *(end.counted or (len(ask.prompt), len(end.ids))),
        0 if end.counted else said.reasoning_tokens, end.cached, sure,
    )  # fmt: skip


async def _confidence(service: Service, turn: Turn, ask: Ask, said: _Said, end: End) -> dict[str, Any] | None:
    """How sure the reply is, and of fields that were one of a few how likely each option was, where that was asked."""
    tokens = said.tokens
    sure = generated.told(
        turn.served.id, [one.bytes for one in tokens], [one.log_probability for one in tokens], ask.sampling,
        turn.schema,
    )  # fmt: skip
    if sure is None or not turn.options or turn.schema is None or turn.served.model is None:
        return sure
    own = tuple(one.id for one in tokens)
    body = end.ids if end.stop is None else end.ids[:-1]
    stop = end.stop.id if end.stop else None
    found = enum_options.choices(turn.schema, tokens, stop, turn.served.tokens)
    if not found or body[len(body) - len(own) :] != own:  # the latter where a stop string cut the reply
        return sure
    before = [*ask.prompt, *body[: len(body) - len(own)]]
    for name, likely in (await service.likely(turn.served, before, found)).items():
        (sure["fields"][name] if name else sure)["logprobs"] = likely
    return sure


def _calls(turn: Turn, held: str, end: End) -> tuple[str, tuple[ToolCall, ...]]:
    """(text, calls) of what was held back. A call that was cut off or names no tool stays text."""
    named = {tool["function"]["name"]: tool for tool in turn.tools}
    found = turn.served.renderer.parse(end.ids, turn.tools).tool_calls
    calls = tuple(replace(call, id=new_id("call_")) for call in found if call.name in named)
    for call in calls:
        if named[call.name]["function"].get("strict"):
            _check(call.arguments, structured.parameters(named[call.name]))
    return ("", calls) if calls else (held, ())


def _check(text: str, schema: Any) -> None:
    wrong = structured.violation(text, schema)
    if wrong is not None:
        raise BrokenForm(text, wrong)


class _Sorter:
    """Text into reasoning, content, and what may be a tool call and is held back until the end."""

    def __init__(self, form: ReplyForm, marks: Sequence[str], hold: bool) -> None:
        """A call begins with one of `marks`; `hold`: all there is will be calls."""
        self._stream = ReplyStream(form)
        self._call = StopStrings(marks)
        self._hold = hold
        self._tokens: tuple[Scored, ...] = ()  # of text whose kind is not known yet
        self.held = ""  # what may be calls

    def push(self, piece: Piece) -> list[Delta]:
        """What a piece adds to the message. Its tokens are of the kind that it begins with."""
        before, parts = self._stream.kind, self._stream.push(piece.text)
        self._tokens += piece.tokens
        kind = before or self._stream.kind
        if kind is None:
            return []
        deltas = [delta for part, text in parts for delta in self._given(part, text)]
        tokens, self._tokens = self._tokens, ()
        if not tokens or (kind == "content" and (self.held or self._hold)):
            return deltas
        if deltas and deltas[0].kind == kind:
            return [replace(deltas[0], tokens=tokens), *deltas[1:]]
        return [Delta(kind, "", tokens), *deltas]

    def _given(self, kind: Part, text: str) -> list[Delta]:
        if kind == "reasoning":
            return [Delta(kind, text)]
        if self.held or self._hold:
            self.held += text
            return []
        given = self._call.push(text)
        if self._call.hit is not None:
            self.held = self._call.rest
        return [Delta(kind, given)] if given else []

    def close(self) -> list[Delta]:
        """What had not been given yet of text that is not a call."""
        deltas = [delta for part, text in self._stream.flush() for delta in self._given(part, text)]
        if rest := self._call.flush():
            deltas.append(Delta("content", rest))
        if self._tokens and deltas:
            deltas[0] = replace(deltas[0], tokens=self._tokens)
        return deltas
