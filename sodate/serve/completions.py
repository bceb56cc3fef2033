"""POST /v1/completions: text goes on as the model would. Harnesses read the log-probabilities of their own text."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from sodate.api.answering import Ask, End, Served
from sodate.api.conversation import Params, within_context
from sodate.api.text_stream import Scored
from sodate.core.engine import Sampling
from sodate.core.errors import UsageError
from sodate.core.ids import new_id
from sodate.core.text import tr
from sodate.core.types import Message
from sodate.jobs import naming
from sodate.learn.exchange import Exchange, confidence
from sodate.serve import asked_model
from sodate.serve.asking import check_stream_options, check_width, no_scores, numbered, sampling
from sodate.serve.sending import EventStream, event, primed, told_apart, unless_gone
from sodate.serve.state import ServerState, server_state
from sodate.serve.wire import CompletionRequest

router = APIRouter()
PARAMS = Params(prompt="prompt", reply="max_tokens")
AT_ONCE = 32  # replies of one request before the engine together


@dataclass(frozen=True, slots=True)
class Job:
    """A checked request: prompts as ids, and how each of them is gone on with."""

    id: str
    created: int
    request: CompletionRequest
    served: Served
    prompts: tuple[tuple[int, ...], ...]
    samplings: tuple[Sampling, ...]  # one for each prompt
    tenant: str
    started: float  # of the monotonic clock

    @property
    def head(self) -> dict[str, Any]:
        version = self.served.id
        return {"id": self.id, "object": "text_completion", "created": self.created, "model": version,
                "system_fingerprint": version}  # fmt: skip

    @property
    def n(self) -> int:
        return self.request.n or 1


@dataclass(frozen=True, slots=True)
class Written:
    """What was written after a prompt."""

    text: str
    tokens: tuple[Scored, ...]
    finish: str
    count: int
    cached: int = 0
    ids: tuple[int, ...] = ()

    @property
    def mean(self) -> float:
        """Log-probability per token."""
        return sum(token.log_probability or 0.0 for token in self.tokens) / max(1, len(self.tokens))


@router.post("/v1/completions", response_model=None)
async def complete(request: Request, asked: CompletionRequest) -> Response:
    """The prompt's continuation; of several prompts, each one's."""
    here = server_state(request)
    job = await asyncio.to_thread(_checked, here, asked, request.state.project)
    headers = {"x-sodate-version": job.served.id}
    if asked.stream:
        events = told_apart(await primed(request, _events(here, job)), event)
        return EventStream(events, here.settings.send_seconds, headers)
    body = await unless_gone(request, lambda: _all(here, job))
    return JSONResponse(body, headers=headers)


def _checked(here: ServerState, asked: CompletionRequest, project: str) -> Job:
    started = time.monotonic()
    served = asked_model.find(here, asked.model, project, asked_model.asker(asked.user, asked.prompt))
    check_stream_options(asked)
    if served.text:
        raise no_scores("prompt")
    if asked.suffix:
        raise _wrong(tr("suffix is not supported: the models here only go on with a text.",
                        "suffix には対応していません。ここのモデルは文章の続きだけを書きます。"), "suffix")  # fmt: skip
    n, longest = asked.n or 1, 16 if asked.max_tokens is None else asked.max_tokens
    if asked.best_of is not None and (asked.best_of < n or (asked.stream and asked.best_of > n)):
        raise _wrong(tr("best_of must be at least n, and no more than n in a stream.",
                        "best_of は n 以上にしてください。ストリームでは n と同じ値だけです。"), "best_of")  # fmt: skip
    prompts = _prompts(asked, served)
    check_width(len(prompts) * max(n, asked.best_of or 1), longest, served)
    # The chosen token's own log-probability is always told, so one is asked for even where none were.
    base = sampling(asked, served, longest, asked.logprobs or 0)
    if longest == 0:
        fits = [within_context(served, len(prompt), replace(base, max_new_tokens=1), PARAMS) for prompt in prompts]
        fits = [replace(one, max_new_tokens=0) for one in fits]
    else:
        fits = [within_context(served, len(prompt), base, PARAMS) for prompt in prompts]
    return Job(new_id("cmpl-"), int(time.time()), asked, served, prompts, tuple(fits), project, started)


def _prompts(asked: CompletionRequest, served: Served) -> tuple[tuple[int, ...], ...]:
    """Each prompt's ids. Text may hold control tokens here: who sends it writes the whole of it, template included."""
    given = asked.prompt if asked.prompt is not None else ""
    if isinstance(given, str):
        listed: list[Any] = [given]
    else:
        listed = [given] if given and isinstance(given[0], int) else list(given)
    tokenizer, renderer = served.renderer.tokenizer, served.renderer
    vocabulary = tokenizer.get_vocab_size()
    out = []
    for one in listed or [""]:
        if isinstance(one, str) and naming.is_old(asked.model):
            # It was trained on pairs of a prompt and its completion: what it saw then is what it sees now.
            ids = renderer.prompt((Message("user", one),))
        elif isinstance(one, str):
            starts = bool(renderer.bos_token) and one.startswith(renderer.bos_token)
            ids = tokenizer.encode(one, add_special_tokens=not starts).ids
        else:
            ids = one
        if not all(id < vocabulary for id in ids):
            raise _wrong(
                tr(f"prompt has an id that is not a token of this model (0 to {vocabulary - 1}).",
                   f"prompt に、このモデルのトークン ID (0 から {vocabulary - 1}) でない値があります。"),
                "prompt",
            )  # fmt: skip
        out.append(tuple(ids) or (renderer.stop_ids[-1],))  # a model starts from something: the end of another text
    return tuple(out)


async def _all(here: ServerState, job: Job) -> dict[str, Any]:
    gate = asyncio.Semaphore(AT_ONCE)
    scores = await _prompt_scores(here, job)
    most = job.request.best_of or job.n
    tasks: list[asyncio.Task[list[Written]]] = []

    async def one(number: int) -> list[Written]:
        if scores is not None and _only_scored(job):
            return [_next(job, scores[number])] * job.n
        out = []
        for choice in range(most):
            async with gate:
                out.append(await _written(here, job, number, choice))
        return sorted(out, key=lambda w: -w.mean)[: job.n] if most > job.n else out

    try:
        tasks = [asyncio.create_task(one(number)) for number in range(len(job.prompts))]
        written = [await task for task in tasks]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    choices = [
        _choice(job, number, choice, own, scores[number] if scores else None)
        for number, mine in enumerate(written)
        for choice, own in enumerate(mine)
    ]
    for number, mine in enumerate(written):
        _keep(here, job, number, mine)
    return {**job.head, "choices": choices, "usage": _usage(job, [own for mine in written for own in mine])}


def _keep(here: ServerState, job: Job, number: int, written: Sequence[Written]) -> None:
    """Hands on what was written after a prompt; several prompts are several exchanges. Nothing was said by scoring."""
    id = job.id if not number else f"{job.id}-{number}"
    if job.samplings[number].max_new_tokens == 0 or not here.recorder.wants(job.tenant, id):
        return
    first, prompt = written[0], job.prompts[number]
    here.recorder.put(
        Exchange(
            id, job.tenant, "text_completion", job.served.id, int(time.time()),
            (Message("user", job.served.renderer.decode(prompt)),),
            tuple(Message("assistant", own.text) for own in written), first.finish,
            latency_ms=int(1000 * (time.monotonic() - job.started)), prompt_tokens=len(prompt),
            reply_tokens=sum(own.count for own in written), user=job.request.user,
            confidence=confidence([token.log_probability for token in first.tokens]),
        )
    )  # fmt: skip


def _only_scored(job: Job) -> bool:
    """Whether at most one greedy token is wanted: the forward that scored the prompt has found it already."""
    one = job.samplings[0]
    return one.max_new_tokens <= 1 and one.temperature == 0 and not one.bias and not job.request.stops()


async def _prompt_scores(here: ServerState, job: Job) -> list[list[Scored]] | None:
    """The prompts' own log-probabilities, a few at a time so that others' replies go on meanwhile."""
    if not (job.request.echo and job.request.logprobs is not None):
        return None
    found: list[list[Scored]] = []
    for start in range(0, len(job.prompts), AT_ONCE):
        part = job.prompts[start : start + AT_ONCE]
        found += await here.service.score(job.served, part, job.request.logprobs)
    return found


def _next(job: Job, scores: Sequence[Scored]) -> Written:
    if job.samplings[0].max_new_tokens == 0:
        return Written("", (), "length", 0)
    token = scores[-1]
    stopped = token.id in job.served.renderer.stop_ids
    return Written(
        "" if stopped else job.served.renderer.decode([token.id]), (token,), "stop" if stopped else "length", 1
    )


async def _written(here: ServerState, job: Job, number: int, choice: int) -> Written:
    if job.samplings[number].max_new_tokens == 0:
        return Written("", (), "length", 0)
    text, tokens = "", list[Scored]()
    async with contextlib.aclosing(here.service.reply(_ask(job, number, choice))) as pieces:
        async for piece in pieces:
            if isinstance(piece, End):
                # A reply of nothing but its end still has one entry: harnesses count on it.
                tokens += [piece.stop] if piece.stop is not None and not tokens else []
                return Written(text, tuple(tokens), piece.finish, len(piece.ids), piece.cached, piece.ids)
            text += piece.text
            tokens += piece.tokens
    raise AssertionError("a reply has an end")


def _ask(job: Job, number: int, choice: int) -> Ask:
    return Ask(job.served, job.prompts[number], numbered(job.samplings[number], choice), job.request.stops(),
               tenant=job.tenant)  # fmt: skip


def _choice(job: Job, number: int, choice: int, own: Written, scores: Sequence[Scored] | None) -> dict[str, Any]:
    prompt = job.served.renderer.decode(job.prompts[number]) if job.request.echo else ""
    told = None
    if job.request.logprobs is not None:
        before = [job.served.tokens.scored(job.prompts[number][0], None), *scores[:-1]] if scores else []
        offsets = _Offsets(0 if scores else len(prompt))
        told = _logprobs([*before, *own.tokens], job, offsets)
    made = {"text": prompt + own.text, "index": number * job.n + choice, "logprobs": told, "finish_reason": own.finish}
    ids = {"token_ids": own.ids, "prompt_token_ids": job.prompts[number]}
    return made | (ids if job.request.return_token_ids else {})


class _Offsets:
    """Where each token's text begins, in characters; one that goes on with half a character begins where that does."""

    def __init__(self, start: int) -> None:
        self._at = start
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def of(self, token: Scored) -> int:
        at = self._at
        self._at += len(self._decoder.decode(token.bytes))
        return at


def _logprobs(tokens: Sequence[Scored], job: Job, offsets: _Offsets) -> dict[str, Any]:
    """The old form: parallel lists. The chosen token is among the likeliest always."""
    top, name = job.request.logprobs or 0, _id if job.request.return_tokens_as_token_ids else _name
    likeliest = [
        None if t.log_probability is None
        else {name(o): o.log_probability for o in t.top[:top]} | {name(t): t.log_probability}
        for t in tokens
    ]  # fmt: skip
    return {
        "tokens": [name(t) for t in tokens], "token_logprobs": [t.log_probability for t in tokens],
        "top_logprobs": likeliest, "text_offset": [offsets.of(t) for t in tokens],
    }  # fmt: skip


def _id(token: Scored) -> str:
    return f"token_id:{token.id}"


def _name(token: Scored) -> str:
    text = token.text
    return f"bytes:{text}" if text.startswith("\\x") and text.encode() != token.bytes else text


def _usage(job: Job, written: Sequence[Written]) -> dict[str, Any]:
    prompt, reply = sum(map(len, job.prompts)), sum(own.count for own in written)
    return {"prompt_tokens": prompt, "completion_tokens": reply, "total_tokens": prompt + reply,
            "prompt_tokens_details": {"cached_tokens": sum(own.cached for own in written)}}  # fmt: skip


async def _events(here: ServerState, job: Job) -> AsyncGenerator[bytes, None]:
    """Chunks, choice after choice: who wants them side by side asks for them one by one."""
    options = job.request.stream_options
    with_usage = {"usage": None} if options and options.include_usage else {}
    scores = await _prompt_scores(here, job)
    done: list[Written] = []
    wants = job.request.logprobs is not None

    def chunk(index: int, text: str, told: Any, finish: str | None = None, ids: Sequence[int] = ()) -> bytes:
        choice = {"text": text, "index": index, "logprobs": told, "finish_reason": finish}
        choice |= {"token_ids": ids} if job.request.return_token_ids else {}
        return event({**job.head, "choices": [choice], **with_usage})

    for number in range(len(job.prompts)):
        for choice in range(job.n):
            index = number * job.n + choice
            if job.request.echo:
                first = _choice(job, number, choice, Written("", (), "", 0), scores[number] if scores else None)
                yield chunk(index, first["text"], first["logprobs"])
            if job.samplings[number].max_new_tokens == 0:
                done.append(Written("", (), "length", 0))
                yield chunk(index, "", None, "length")
                continue
            prompt = job.served.renderer.decode(job.prompts[number]) if job.request.echo else ""
            offsets, given, said = _Offsets(len(prompt)), 0, ""
            async with contextlib.aclosing(here.service.reply(_ask(job, number, choice))) as pieces:
                async for piece in pieces:
                    if isinstance(piece, End):
                        done.append(Written(said, (), piece.finish, len(piece.ids), piece.cached))
                        last = [piece.stop] if piece.stop and job.request.return_token_ids and wants else []
                        told = _logprobs(last, job, offsets) if last else None
                        yield chunk(index, "", told, piece.finish, piece.ids[given:])
                        continue
                    given += len(piece.tokens)
                    said += piece.text
                    told = _logprobs(piece.tokens, job, offsets) if wants else None
                    yield chunk(index, piece.text, told, ids=[token.id for token in piece.tokens])
    for number in range(len(job.prompts)):
        _keep(here, job, number, done[number * job.n : (number + 1) * job.n])
    if with_usage:
        yield event({**job.head, "choices": [], "usage": _usage(job, done)})
    yield event("[DONE]")


def _wrong(message: str, param: str) -> UsageError:
    return UsageError(message, code="invalid_value", param=param)
