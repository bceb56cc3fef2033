"""POST /v1/chat/completions."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from sodate.api.answering import Ask, Served
from sodate.api.conversation import Delta, Finished, Params, Turn, converse, grounded, prepared
from sodate.api.text_stream import Scored
from sodate.core.errors import UsageError
from sodate.core.ids import new_id
from sodate.core.text import tr
from sodate.core.types import Message
from sodate.serve import asked_model, functions, kept, stored
from sodate.serve.asking import check_stream_options, check_tools, check_width, no_scores, numbered, sampling
from sodate.serve.sending import (
    EventStream,
    confidence_headers,
    event,
    primed,
    reply_headers,
    told_apart,
    unless_gone,
)
from sodate.serve.state import ServerState, server_state
from sodate.serve.turns import messages
from sodate.serve.wire import AllowedChoice, ChatRequest, NamedTool

router = APIRouter()


@dataclass(frozen=True, slots=True)
class Job:
    """A checked request: one turn and its `asks`, one for each choice."""

    id: str
    created: int
    request: ChatRequest
    turn: Turn
    asks: tuple[Ask, ...]
    messages: tuple[Message, ...]  # that were asked, without passages
    started: float  # of the monotonic clock

    @property
    def head(self) -> dict[str, Any]:
        version = self.turn.served.id
        return {"id": self.id, "created": self.created, "model": version, "system_fingerprint": version}

    def keep(self, here: ServerState, done: Sequence[Finished], broken: str | None = None) -> None:
        """Hands the exchange on; `broken` is a reply that was not sent."""
        kept.keep(here, stored.CHAT, self.id, self.turn, self.messages, done, self.started, self.request, broken)


@router.post("/v1/chat/completions", response_model=None)
async def chat(request: Request, asked: ChatRequest) -> Response:
    """The assistant's next message."""
    here = server_state(request)
    job = await asyncio.to_thread(_checked, here, functions.as_tools(asked), request.state.project)
    headers = reply_headers(job.turn.served.id, job.turn.passages)
    if asked.stream:
        deltas = await primed(request, _merged(here, job))
        events = told_apart(_events(here, deltas, job, request.state.project), event)
        return EventStream(events, here.settings.send_seconds, headers)
    with kept.broken_too(lambda reply: job.keep(here, (), reply)):
        done = await unless_gone(request, lambda: _all(here, job))
    job.keep(here, done)
    body = _body(job, done)
    if asked.store:
        await asyncio.to_thread(stored.keep_chat, here, body, asked, request.state.project)
    return JSONResponse(body, headers=headers | confidence_headers(done[0].confidence))


def _checked(here: ServerState, asked: ChatRequest, project: str) -> Job:
    """Everything that can be refused is, before anything is put before the engine."""
    started = time.monotonic()
    begins = next((turn.content for turn in asked.messages if turn.role == "user"), None)
    who = asked_model.asker(asked.safety_identifier, asked.user, begins)
    served = asked_model.find(here, asked.model, project, who)
    check_stream_options(asked)
    if asked.top_logprobs is not None and not asked.logprobs:
        raise UsageError(
            tr("top_logprobs needs logprobs.", "top_logprobs には logprobs: true が必要です。"),
            code="invalid_value", param="top_logprobs",
        )  # fmt: skip
    if asked.logprobs and served.text:
        raise no_scores("logprobs")
    longest = asked.max_completion_tokens or asked.max_tokens
    if asked.max_tokens is not None and asked.max_tokens < 1:
        raise UsageError(
            tr("max_tokens must be at least 1.", "max_tokens は 1 以上にしてください。"),
            code="invalid_value", param="max_tokens",
        )  # fmt: skip
    check_width(asked.n or 1, longest, served)
    plain = _turn(asked, served)
    turn = replace(
        grounded(plain),
        sampling=sampling(asked, served, longest, (asked.top_logprobs or 0) if asked.logprobs else 0),
        tenant=project,
    )
    ask = prepared(turn)
    asks = tuple(replace(ask, sampling=numbered(ask.sampling, choice)) for choice in range(asked.n or 1))
    return Job(new_id("chatcmpl-"), int(time.time()), asked, turn, asks, plain.messages, started)


def _turn(asked: ChatRequest, served: Served) -> Turn:
    choice = asked.tool_choice
    chosen: tuple[str, ...] | None = None
    mode = choice if isinstance(choice, str) else "auto"
    if isinstance(choice, NamedTool):
        mode, chosen = "required", (choice.function.name,)
    elif isinstance(choice, AllowedChoice):
        mode, chosen = choice.allowed_tools.mode, tuple(t.function.name for t in choice.allowed_tools.tools)
    tools = tuple(tool.plain() for tool in asked.tools or ())
    check_tools(tools, mode, chosen)
    return Turn(
        served, messages(asked.messages), sampling(asked, served, None, 0), tools, chosen,
        isinstance(choice, NamedTool), mode, asked.parallel_tool_calls is not False, _schema(asked), asked.stops(),
        options=bool(asked.logprobs),
        params=Params() if asked.max_completion_tokens or not asked.max_tokens else Params(reply="max_tokens"),
    )  # fmt: skip


def _schema(asked: ChatRequest) -> Any:
    form = asked.response_format
    if form is None or form.type == "text":
        return None
    if form.type == "json_object":
        return {"type": "object"}
    if form.json_schema is None:
        raise UsageError(
            tr("response_format of type json_schema needs json_schema.", "json_schema を指定してください。"),
            code="missing_parameter", param="response_format.json_schema",
        )  # fmt: skip
    return form.json_schema.json_schema or {"type": "object"}


async def _all(here: ServerState, job: Job) -> list[Finished]:
    """Every choice, made side by side; if one fails, none goes on."""

    async def one(ask: Ask) -> Finished:
        async with contextlib.aclosing(converse(here.service, job.turn, ask)) as deltas:
            async for delta in deltas:
                if isinstance(delta, Finished):
                    return delta
        raise AssertionError("a reply has an end")

    tasks: list[asyncio.Task[Finished]] = []
    start = time.monotonic()
    try:
        tasks = [asyncio.create_task(one(ask)) for ask in job.asks]
        done = [await task for task in tasks]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    here.metrics.first_token.labels(job.turn.served.id).observe(time.monotonic() - start)
    return done


def _body(job: Job, done: Sequence[Finished]) -> dict[str, Any]:
    return {
        **job.head, "object": "chat.completion", "service_tier": "default",
        "choices": [_choice(job, number, one) for number, one in enumerate(done)], "usage": usage(done),
    }  # fmt: skip


def _choice(job: Job, number: int, done: Finished) -> dict[str, Any]:
    message: dict[str, Any] = {
        "role": "assistant", "content": done.message.content or (None if done.message.tool_calls else ""),
        "refusal": None, "annotations": [],
    }  # fmt: skip
    if done.message.reasoning:
        message["reasoning_content"] = done.message.reasoning
    if done.message.tool_calls:
        message |= functions.told(job.request, done.message.tool_calls)
    scores = logprobs(done.tokens, job) if job.request.logprobs else None
    sure = {"confidence": done.confidence} if done.confidence else {}
    reason = functions.finish(job.request, done.finish)
    return {"index": number, "message": message, "logprobs": scores, "finish_reason": reason, **sure}


def logprobs(tokens: Sequence[Scored], job: Job) -> dict[str, Any]:
    """Tokens with their bytes and, where asked for, the likeliest."""

    def one(token: Scored) -> dict[str, Any]:
        return {"token": token.text, "logprob": token.log_probability, "bytes": list(token.bytes)}

    return {"content": [{**one(t), "top_logprobs": [one(o) for o in t.top]} for t in tokens], "refusal": None}


def usage(done: Sequence[Finished]) -> dict[str, Any]:
    """The prompt counts once, however many replies it got."""
    prompt, reply = done[0].prompt_tokens, sum(one.reply_tokens for one in done)
    return {
        "prompt_tokens": prompt, "completion_tokens": reply, "total_tokens": prompt + reply,
        "prompt_tokens_details": {"cached_tokens": done[0].cached, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": sum(one.reasoning_tokens for one in done), "audio_tokens": 0,
            "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0,
        },
    }  # fmt: skip


async def _events(
    here: ServerState, deltas: AsyncGenerator[tuple[int, Delta | Finished], None], job: Job, project: str
) -> AsyncGenerator[bytes, None]:
    """Chunks of all choices as they come, usage last where it was asked for."""
    options = job.request.stream_options
    with_usage = bool(options and options.include_usage)
    done: dict[int, Finished] = {}

    def chunk(
        number: int, delta: dict[str, Any], finish: str | None = None, scores: Any = None, sure: Any = None
    ) -> bytes:
        choice = {"index": number, "delta": delta, "logprobs": scores, "finish_reason": finish}
        choice |= {"confidence": sure} if sure else {}
        extra = {"usage": None} if with_usage else {}
        return event({**job.head, "object": "chat.completion.chunk", "service_tier": "default", "choices": [choice],
                      **extra})  # fmt: skip

    for number in range(len(job.asks)):
        yield chunk(number, {"role": "assistant", "content": "", "refusal": None})
    calls = [0] * len(job.asks)
    with kept.broken_too(lambda reply: job.keep(here, (), reply)):
        async with contextlib.aclosing(deltas):
            async for number, delta in deltas:
                if isinstance(delta, Finished):
                    done[number] = delta
                    yield chunk(number, {}, functions.finish(job.request, delta.finish), sure=delta.confidence)
                elif delta.call is not None:
                    yield chunk(number, functions.told(job.request, [delta.call], calls[number]))
                    calls[number] += 1
                else:
                    name = "content" if delta.kind == "content" else "reasoning_content"
                    scores = logprobs(delta.tokens, job) if job.request.logprobs and delta.kind == "content" else None
                    yield chunk(number, {name: delta.text}, scores=scores)
    finished = [done[number] for number in range(len(job.asks))]
    job.keep(here, finished)
    if job.request.store:
        await asyncio.to_thread(stored.keep_chat, here, _body(job, finished), job.request, project)
    if with_usage:
        yield event({**job.head, "object": "chat.completion.chunk", "service_tier": "default", "choices": [],
                     "usage": usage(finished)})  # fmt: skip
    yield event("[DONE]")


async def _merged(here: ServerState, job: Job) -> AsyncGenerator[tuple[int, Delta | Finished], None]:
    """What all choices say, in the order it comes."""
    start = time.monotonic()
    queue: asyncio.Queue[tuple[int, Delta | Finished | BaseException]] = asyncio.Queue(maxsize=64)

    async def one(number: int, ask: Ask) -> None:
        try:
            async with contextlib.aclosing(converse(here.service, job.turn, ask)) as deltas:
                async for delta in deltas:
                    await queue.put((number, delta))
        except Exception as error:
            await queue.put((number, error))

    tasks = [asyncio.create_task(one(number, ask)) for number, ask in enumerate(job.asks)]
    try:
        left, first = len(tasks), True
        while left:
            number, delta = await queue.get()
            if isinstance(delta, BaseException):
                raise delta
            if first:
                here.metrics.first_token.labels(job.turn.served.id).observe(time.monotonic() - start)
                first = False
            left -= isinstance(delta, Finished)
            yield number, delta
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
