"""POST /v1/responses, and the stored ones. Functions and file_search are the tools; nothing runs in the background."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from sodate.api.answering import Ask
from sodate.api.conversation import (
    BrokenForm,
    Delta,
    Finished,
    Params,
    Turn,
    converse,
    grounded,
    grounded_on,
    looked_for,
    prepared,
)
from sodate.core.errors import UsageError
from sodate.core.ids import new_id
from sodate.core.text import tr
from sodate.core.types import Message, ToolCall
from sodate.db.connection import reading, writing
from sodate.serve import asked_model, file_search, kept, stored
from sodate.serve.asking import check_stream_options, check_tools, missing, no_scores, sampling
from sodate.serve.file_search import Searched
from sodate.serve.sending import EventStream, confidence_headers, primed, reply_headers, unless_gone
from sodate.serve.spelling import Spelling, input_item, message_item, output
from sodate.serve.state import ServerState, server_state
from sodate.serve.turns import text
from sodate.serve.wire import (
    HostedChoice,
    ResponseAllowed,
    ResponseItem,
    ResponseNamed,
    ResponseRequest,
    ResponseTool,
)

router = APIRouter(prefix="/v1/responses")
KIND = "response"
PARAMS = Params("input", "max_output_tokens", "text.format.schema", "tools[{}].parameters")
Mode = Literal["none", "auto", "required"]
_SCORES = "message.output_text.logprobs"  # what `include` may ask for; top_logprobs asks for it, too


@dataclass(frozen=True, slots=True)
class Job:
    """A checked request."""

    id: str
    created: int
    request: ResponseRequest
    turn: Turn
    ask: Ask
    items: list[dict[str, Any]]  # the whole input, that of earlier responses among it
    messages: tuple[Message, ...]  # the same, without passages
    started: float  # of the monotonic clock
    stored: bool
    searched: Searched | None = None

    @property
    def results(self) -> bool:
        """Whether what a search found was asked for."""
        return file_search.RESULTS in (self.request.include or ())

    @property
    def scores(self) -> bool:
        """Whether the text's log-probabilities were asked for."""
        return bool(self.request.top_logprobs) or _SCORES in (self.request.include or ())

    def keep(self, here: ServerState, done: Sequence[Finished], broken: str | None = None) -> None:
        """Hands the exchange on; `broken` is a reply that was not sent."""
        kept.keep(here, KIND, self.id, self.turn, self.messages, done, self.started, self.request, broken)

    def body(
        self, status: str, items: list[dict[str, Any]], done: Finished | None, error: Any = None
    ) -> dict[str, Any]:
        """The response object."""
        asked = self.request
        cut = {"reason": "max_output_tokens"} if status == "incomplete" else None
        form = asked.text.format if asked.text and asked.text.format else None
        return {
            "id": self.id, "object": "response", "created_at": self.created, "status": status, "background": False,
            "completed_at": int(time.time()) if status == "completed" else None,
            "error": error, "incomplete_details": cut, "instructions": asked.instructions,
            "max_output_tokens": asked.max_output_tokens, "metadata": asked.metadata or {},
            "model": self.turn.served.id, "output": items, "parallel_tool_calls": self.turn.parallel,
            "previous_response_id": asked.previous_response_id, "reasoning": {"effort": None, "summary": None},
            "service_tier": "default", "store": self.stored, "system_fingerprint": self.turn.served.id,
            "temperature": self.turn.sampling.temperature, "top_p": self.turn.sampling.top_p,
            "text": {"format": form.model_dump(exclude_none=True, by_alias=True) if form else {"type": "text"}},
            "tool_choice": _plain(asked.tool_choice) or "auto",
            "tools": [tool.model_dump() for tool in asked.tools or ()],
            "top_logprobs": asked.top_logprobs or 0, "truncation": "disabled", "user": asked.user,
            "usage": _usage(done) if done else None,
            **({"confidence": done.confidence} if done and done.confidence else {}),
        }  # fmt: skip


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, str) else value.model_dump(exclude_none=True)


def _usage(done: Finished) -> dict[str, Any]:
    return {
        "input_tokens": done.prompt_tokens,
        "input_tokens_details": {"cached_tokens": done.cached, "cache_write_tokens": 0},
        "output_tokens": done.reply_tokens, "output_tokens_details": {"reasoning_tokens": done.reasoning_tokens},
        "total_tokens": done.prompt_tokens + done.reply_tokens,
    }  # fmt: skip


@router.post("", response_model=None)
async def respond(request: Request, asked: ResponseRequest) -> Response:
    """The assistant's next message, as output items."""
    here, project = server_state(request), request.state.project
    job = await asyncio.to_thread(_checked, here, asked, project)
    headers = reply_headers(job.turn.served.id, job.turn.passages)
    if asked.stream:
        deltas = await primed(request, converse(here.service, job.turn, job.ask))
        return EventStream(_events(here, deltas, job, project), here.settings.send_seconds, headers)
    with kept.broken_too(lambda reply: job.keep(here, (), reply)):
        body = await unless_gone(request, lambda: _whole(here, job))
    await asyncio.to_thread(_keep, here, job, body, project)
    return JSONResponse(body, headers=headers | confidence_headers(body.get("confidence")))


@router.post("/input_tokens", response_model=None)
async def counted(request: Request, asked: ResponseRequest) -> JSONResponse:
    """How many tokens the request's prompt has. Nothing is generated, and nothing kept."""
    job = await asyncio.to_thread(_checked, server_state(request), asked, request.state.project)
    return JSONResponse({"object": "response.input_tokens", "input_tokens": len(job.ask.prompt)})


def _checked(here: ServerState, asked: ResponseRequest, project: str) -> Job:
    started = time.monotonic()
    given = [ResponseItem(role="user", content=asked.input)] if isinstance(asked.input, str) else asked.input
    items = [
        *_earlier(here, asked.previous_response_id, project),
        *(item.model_dump(exclude_none=True) for item in given),
    ]
    begins = next((item.get("content") for item in items if item.get("role") == "user"), None)
    who = asked_model.asker(asked.safety_identifier, asked.user, begins)
    served = asked_model.find(here, asked.model, project, who)
    check_stream_options(asked)
    if served.text and _SCORES in (asked.include or ()):
        raise no_scores("include")
    searching = file_search.tool(asked.tools or ())
    tools = tuple(tool.plain() for tool in asked.tools or () if isinstance(tool, ResponseTool))
    mode, chosen, search = _choice(asked.tool_choice, searching is not None)
    if mode == "required" and search and not (tools and chosen is None):
        mode = "auto"  # the search is the tool that is required
    check_tools(tools, mode, chosen)
    turns = _turns([ResponseItem.model_validate(item) for item in items])
    if asked.instructions:
        turns = (Message("system", asked.instructions), *turns)
    turn = Turn(
        served, turns, sampling(asked, served, asked.max_output_tokens, asked.top_logprobs or 0), tools, chosen,
        isinstance(asked.tool_choice, ResponseNamed), mode, asked.parallel_tool_calls is not False, _schema(asked),
        tenant=project, params=PARAMS, options=bool(asked.top_logprobs) or _SCORES in (asked.include or ()),
    )  # fmt: skip
    searched = None
    if search and searching is not None:
        searched = file_search.search(searching, looked_for(turn), project)
        turn = grounded_on(turn, [hit.passage for hit in searched.hits])
        searched = replace(searched, shown=len(turn.passages))
    else:
        turn = grounded(turn)
    keep = asked.store is not False and here.recorder.rules(project).stored != "off"
    return Job(new_id("resp_"), int(time.time()), asked, turn, prepared(turn), items, turns, started, keep, searched)


def _choice(choice: Any, searching: bool) -> tuple[Mode, tuple[str, ...] | None, bool]:
    """(mode of functions, those that may be called, whether files are searched). A model is not asked whether to
    search: where the tool is there and may be used, it is."""
    if isinstance(choice, ResponseNamed):
        return "required", (choice.name,), False
    if isinstance(choice, ResponseAllowed):
        named = tuple(tool.name for tool in choice.tools if isinstance(tool, ResponseNamed))
        return choice.mode, named, len(named) < len(choice.tools)
    if isinstance(choice, HostedChoice):
        if not searching:
            raise _wrong(tr("tool_choice asks for a tool that is not in tools.",
                            "tool_choice のツールが tools にありません。"), "tool_choice")  # fmt: skip
        return "auto", None, True
    mode: Mode = choice or "auto"
    return mode, None, searching and mode != "none"


def _earlier(here: ServerState, id: str | None, project: str) -> list[dict[str, Any]]:
    """What an earlier response was asked and what it said, as input items."""
    if id is None:
        return []
    try:
        with reading() as session:
            row = stored.get(session, KIND, id, project)
        if original := here.originals.get(id):
            return [*original.asked, *original.body["output"]]
        return [*json.loads(row.asked), *json.loads(row.body)["output"]]
    except UsageError:
        raise UsageError(
            tr(f"Previous response with id {id[:64]!r} not found.", f"以前の応答 {id[:64]!r} はありません。"),
            code="previous_response_not_found", param="previous_response_id",
        ) from None  # fmt: skip


def _turns(items: list[ResponseItem]) -> tuple[Message, ...]:
    turns: list[Message] = []
    waiting: set[str] = set()  # ids of calls without a result
    for number, item in enumerate(items):
        where = f"input[{number}]"
        if item.type in ("reasoning", "file_search_call"):
            continue
        if item.type in (None, "message"):
            _check_answered(waiting)
        if item.type == "function_call":
            if item.call_id is None or item.name is None or item.arguments is None:
                raise _wrong(tr("A call needs call_id, name and arguments.",
                                "function_call には call_id、name、arguments が必要です。"), where)  # fmt: skip
            call = ToolCall(item.call_id, item.name, item.arguments)
            waiting.add(call.id)
            if turns and turns[-1].role == "assistant":
                last = turns.pop()
                turns.append(Message("assistant", last.content, (*last.tool_calls, call)))
            else:
                turns.append(Message("assistant", "", (call,)))
        elif item.type == "function_call_output":
            known = {call.id for turn in turns for call in turn.tool_calls}
            if item.call_id not in known:
                raise _wrong(tr("This result answers no call before it.", "対応する呼び出しがありません。"),
                             f"{where}.call_id")  # fmt: skip
            if item.output is None:
                raise missing(f"{where}.output")
            turns.append(Message("tool", text(item.output, f"{where}.output"), tool_call_id=item.call_id))
            waiting.discard(item.call_id or "")
        else:
            if item.role is None or item.content is None:
                raise _wrong(tr("A message needs role and content.", "role と content が必要です。"), where)
            role = "system" if item.role == "developer" else item.role
            turns.append(Message(role, text(item.content, f"{where}.content")))
    if not turns:
        raise _wrong(tr("There is no message.", "メッセージがありません。"), "input")
    _check_answered(waiting)
    return tuple(turns)


def _check_answered(waiting: set[str]) -> None:
    if waiting:
        some = ", ".join(sorted(waiting)[:3])
        raise _wrong(tr(f"No tool output found for function call {some}.",
                        f"関数呼び出し {some} の結果がありません。"), "input")  # fmt: skip


def _schema(asked: ResponseRequest) -> Any:
    form = asked.text.format if asked.text else None
    if form is None or form.type == "text":
        return None
    if form.type == "json_object":
        return {"type": "object"}
    for part, given in (("name", form.name), ("schema", form.json_schema)):
        if given is None:
            raise missing(f"text.format.{part}")
    return form.json_schema


async def _whole(here: ServerState, job: Job) -> dict[str, Any]:
    async with contextlib.aclosing(converse(here.service, job.turn, job.ask)) as deltas:
        async for delta in deltas:
            if isinstance(delta, Finished):
                job.keep(here, [delta])
                status = "incomplete" if delta.finish == "length" else "completed"
                return job.body(status, output(delta, status, job.scores, job.searched, job.results), delta)
    raise AssertionError("a reply has an end")


async def _events(
    here: ServerState, deltas: AsyncGenerator[Delta | Finished, None], job: Job, project: str
) -> AsyncGenerator[bytes, None]:
    """The events of a response, numbered from 0."""
    spelling = Spelling(job.scores, job.searched)
    yield spelling.event("response.created", response=job.body("in_progress", [], None))
    yield spelling.event("response.in_progress", response=job.body("in_progress", [], None))
    for line in spelling.search(job.results):
        yield line
    before = len(spelling.items)
    try:
        async with contextlib.aclosing(deltas):
            async for delta in deltas:
                if not isinstance(delta, Finished):
                    for line in spelling.added(delta):
                        yield line
                    continue
                job.keep(here, [delta])
                status = "incomplete" if delta.finish == "length" else "completed"
                for line in spelling.ended(status):
                    yield line
                empty = [] if len(spelling.items) > before else [message_item("", (), status)]
                body = job.body(status, [*spelling.items, *empty], delta)
                await asyncio.to_thread(_keep, here, job, body, project)
                yield spelling.event(f"response.{status}", response=body)
    except Exception as error:
        if isinstance(error, BrokenForm):
            job.keep(here, (), error.reply)
        said = spelling.failure(error)
        yield spelling.event("response.failed", response=job.body("failed", spelling.items, None, said))


def _keep(here: ServerState, job: Job, body: dict[str, Any], project: str) -> None:
    """Stores the response where it may be; `store` then says whether it was."""
    asked = job.request
    if job.stored:
        who = asked.safety_identifier or asked.user
        tags = asked.metadata or {}
        body["store"] = stored.keep(here, KIND, body, job.items, tags, project, who, asked.model)


@router.get("/{id}", response_model=None)
def retrieved(request: Request, id: str) -> JSONResponse:
    """A stored response."""
    with reading() as session:
        row = stored.get(session, KIND, id, request.state.project)
    original = server_state(request).originals.get(id)
    return JSONResponse(original.body if original else json.loads(row.body))


@router.delete("/{id}", response_model=None)
def deleted(request: Request, id: str) -> JSONResponse:
    """Forgets a stored response."""
    with writing() as session:
        session.delete(stored.get(session, KIND, id, request.state.project))
    server_state(request).originals.drop(id)
    return JSONResponse({"id": id, "object": "response", "deleted": True})


@router.post("/{id}/cancel", response_model=None)
def cancelled(request: Request, id: str) -> JSONResponse:
    """There is nothing to cancel: no response is made in the background."""
    with reading() as session:
        stored.get(session, KIND, id, request.state.project)
    raise UsageError(tr("Cannot cancel a synchronous response.", "同期の応答は取り消せません。"),
                     code="invalid_status", param="response_id")  # fmt: skip


@router.get("/{id}/input_items", response_model=None)
def input_items(
    request: Request, id: str, after: stored.After = None, limit: stored.Limit = 20, order: stored.Order = "desc"
) -> JSONResponse:
    """What a stored response was asked."""
    with reading() as session:
        row = stored.get(session, KIND, id, request.state.project)
    original = server_state(request).originals.get(id)
    asked = original.asked if original else json.loads(row.asked)
    return stored.paged([input_item(item, f"{id}-{n}") for n, item in enumerate(asked)], after, limit, order)


def _wrong(message: str, param: str) -> UsageError:
    return UsageError(message, code="invalid_value", param=param)
