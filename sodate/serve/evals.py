"""/v1/evals: definitions, runs, and what came of each item."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from sodate.api.evals import check_messages, checked_config, checked_criteria
from sodate.core.errors import UsageError
from sodate.core.text import tr
from sodate.db.connection import reading
from sodate.jobs import eval_runs, evals
from sodate.serve.stored import page
from sodate.serve.wire import (
    MAX_TOKENS,
    Body,
    Free,
    Metadata,
    ResponseFormat,
    ResponseTool,
    TextOptions,
    Tool,
    Wire,
)

router = APIRouter(prefix="/v1/evals")

After = Annotated[str | None, Query(max_length=100)]
Limit = Annotated[int, Query(ge=1, le=100)]
Order = Annotated[str, Query(pattern="^(asc|desc)$")]
Name = Annotated[str, Field(max_length=1000)]
Second = Annotated[int, Field(ge=-(2**63), lt=2**63)]  # a database knows no other numbers


class CreateEval(Body):
    data_source_config: Free
    testing_criteria: list[Any]
    name: Name | None = None
    metadata: Metadata | None = None


class UpdateEval(Body):
    name: Name | None = None
    metadata: Metadata | None = None


class Source(Wire):
    """Where items come from. Filters of stored replies that are not known here are refused, rather than left out."""

    type: Literal["file_content", "file_id", "stored_completions", "responses"]
    content: list[Free] | None = Field(default=None, min_length=1)
    id: str | None = None
    metadata: Metadata | None = None
    model: str | None = None
    created_after: Second | None = None
    created_before: Second | None = None
    limit: int | None = Field(default=None, ge=1)


class SamplingParams(Wire):
    """How replies are made: what a chat completion takes, under the platform's names for it of old and new."""

    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    max_completion_tokens: int | None = Field(None, ge=1, le=MAX_TOKENS)
    max_completions_tokens: int | None = Field(None, ge=1, le=MAX_TOKENS)
    reasoning_effort: str | None = None
    response_format: ResponseFormat | None = None
    text: TextOptions | None = None
    tools: list[Tool | ResponseTool] | None = Field(None, max_length=128)


class DataSource(Wire):
    type: Literal["jsonl", "completions", "responses"]
    source: Source
    input_messages: Free | None = None
    model: str | None = None
    sampling_params: SamplingParams | None = None


class CreateRun(Body):
    data_source: DataSource
    name: Name | None = None
    metadata: Metadata | None = None


@router.post("", response_model=None)
def created(request: Request, asked: CreateEval) -> JSONResponse:
    """A new definition."""
    config = checked_config(asked.data_source_config)
    criteria = checked_criteria(asked.testing_criteria)
    project, actor = request.state.project, request.state.actor
    made = evals.create(project, actor, asked.name or "", config, criteria, asked.metadata or {})
    return JSONResponse(made, 201)


@router.get("", response_model=None)
def listed(
    request: Request,
    after: After = None,
    limit: Limit = 20,
    order: Order = "asc",
    order_by: Annotated[str, Query(pattern="^(created_at|updated_at)$")] = "created_at",
) -> JSONResponse:
    """The project's definitions."""
    found = evals.listed(request.state.project, after=after, limit=limit, order=order, by=order_by)
    return JSONResponse(page(*found))


@router.get("/{id}", response_model=None)
def retrieved(request: Request, id: str) -> JSONResponse:
    """One definition."""
    with reading() as session:
        return JSONResponse(evals.shown(evals.get(session, id, request.state.project)))


@router.post("/{id}", response_model=None)
def updated(request: Request, id: str, asked: UpdateEval) -> JSONResponse:
    """Another name or other metadata."""
    return JSONResponse(evals.update(id, request.state.project, request.state.actor, asked.name, asked.metadata))


@router.delete("/{id}", response_model=None)
def deleted(request: Request, id: str) -> JSONResponse:
    """Deletes a definition with its runs."""
    evals.delete(id, request.state.project, request.state.actor)
    return JSONResponse({"object": "eval.deleted", "deleted": True, "eval_id": id})


@router.get("/{id}/report", response_model=None)
def reported(request: Request, id: str, run: Annotated[list[str], Query(max_length=8)]) -> JSONResponse:
    """Runs compared in pairs, the first one being the baseline. OpenAI has nothing of the kind."""
    return JSONResponse(evals.report(id, run, request.state.project))


# ── runs ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@router.post("/{id}/runs", response_model=None)
async def started(request: Request, id: str, asked: CreateRun) -> JSONResponse:
    """A new run, which begins when it is its turn."""
    return JSONResponse(await run_in_threadpool(_start, request, id, asked), 201)


def _start(request: Request, id: str, asked: CreateRun) -> dict[str, Any]:
    project, source = request.state.project, asked.data_source
    with reading() as session:
        config = evals.shown(evals.get(session, id, project))["data_source_config"]
    _check(source)
    told = source.model_dump(exclude_none=True, by_alias=True)
    eval_runs.check_source(told, config, project)
    return evals.start(id, project, request.state.actor, asked.name or "", told, asked.metadata or {})


def _check(data: DataSource) -> None:
    """UsageError for sources and settings that don't go together."""
    kinds = {
        "jsonl": ("file_content", "file_id"),
        "completions": ("file_content", "file_id", "stored_completions"),
        "responses": ("file_content", "file_id", "responses"),
    }[data.type]
    if data.source.type not in kinds:
        raise _wrong("source.type", tr(f"is one of {', '.join(kinds)}", f"は {', '.join(kinds)} のどれかです"))
    needed = {"file_content": "content", "file_id": "id"}.get(data.source.type)
    if needed is not None and getattr(data.source, needed) is None:
        raise _wrong(f"source.{needed}", tr("is missing", "がありません"))
    if data.type == "jsonl":
        if data.model is not None or data.input_messages is not None or data.sampling_params is not None:
            raise _wrong("type", tr("jsonl asks no model: use completions",
                                    "jsonl はモデルに問い合わせません。completions を使ってください"))  # fmt: skip
        return
    if data.input_messages is not None:
        check_messages(data.input_messages, "data_source.input_messages")
        if data.model is None:
            raise _wrong("model", tr("is missing", "がありません"))
    elif data.source.type in ("file_content", "file_id") and data.model is not None:
        raise _wrong("input_messages", tr("is missing: what is the model to be asked?",
                                          "がありません。モデルへの入力を指定してください"))  # fmt: skip


def _wrong(param: str, what: str) -> UsageError:
    name = f"data_source.{param}"
    return UsageError(tr(f"{name} ", f"{name} ") + what + tr(".", "。"), code="invalid_value", param=name)


@router.get("/{id}/runs", response_model=None)
def runs(
    request: Request,
    id: str,
    after: After = None,
    limit: Limit = 20,
    order: Order = "asc",
    status: Annotated[str | None, Query(pattern="^(queued|in_progress|completed|canceled|failed)$")] = None,
) -> JSONResponse:
    """The runs of a definition."""
    found = evals.runs_listed(id, request.state.project, after=after, limit=limit, order=order, status=status)
    return JSONResponse(page(*found))


@router.get("/{id}/runs/{run}", response_model=None)
def run(request: Request, id: str, run: str) -> JSONResponse:
    """One run, as it stands."""
    with reading() as session:
        return JSONResponse(evals.run_shown(session, evals.run_of(session, id, run, request.state.project)))


# Clients of different ages cancel at different addresses. The body is empty, whatever its type says.
@router.post("/{id}/runs/{run}", response_model=None)
@router.post("/{id}/runs/{run}/cancel", response_model=None)
def canceled(request: Request, id: str, run: str) -> JSONResponse:
    """Ends a run."""
    return JSONResponse(evals.cancel(id, run, request.state.project, request.state.actor))


@router.delete("/{id}/runs/{run}", response_model=None)
def run_deleted(request: Request, id: str, run: str) -> JSONResponse:
    """Deletes a run with its items."""
    evals.delete_run(id, run, request.state.project, request.state.actor)
    return JSONResponse({"object": "eval.run.deleted", "deleted": True, "run_id": run})


@router.get("/{id}/runs/{run}/output_items", response_model=None)
def outputs(
    request: Request,
    id: str,
    run: str,
    after: After = None,
    limit: Limit = 20,
    order: Order = "asc",
    status: Annotated[str | None, Query(pattern="^(pass|fail)$")] = None,
) -> JSONResponse:
    """What came of the items of a run."""
    found = evals.outputs(id, run, request.state.project, after=after, limit=limit, order=order, status=status)
    return JSONResponse(page(*found))


@router.get("/{id}/runs/{run}/output_items/{item}", response_model=None)
def output(request: Request, id: str, run: str, item: str) -> JSONResponse:
    """What came of one item."""
    return JSONResponse(evals.output(id, run, item, request.state.project))
