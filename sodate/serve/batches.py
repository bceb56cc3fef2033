"""/v1/batches: files of requests."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse

from sodate.db.connection import reading
from sodate.jobs import batches
from sodate.serve.files import checked_seconds
from sodate.serve.stored import page
from sodate.serve.wire import Body, Metadata, Wire

router = APIRouter(prefix="/v1/batches")


class Expiry(Wire):
    anchor: Literal["created_at"]
    seconds: int


class CreateBatch(Body):
    input_file_id: str
    endpoint: Literal[
        "/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses", "/v1/moderations"
    ]  # fmt: skip
    completion_window: Literal["24h"]
    metadata: Metadata | None = None
    output_expires_after: Expiry | None = None


@router.post("", response_model=None)
def created(request: Request, asked: CreateBatch) -> JSONResponse:
    """A new batch, which begins when it is its turn."""
    expiry = asked.output_expires_after
    seconds = None if expiry is None else checked_seconds(expiry.seconds, "output_expires_after")
    made = batches.create(
        request.state.project, request.state.actor, asked.input_file_id, asked.endpoint, asked.metadata or {}, seconds
    )
    return JSONResponse(made)


@router.get("", response_model=None)
def listed(
    request: Request,
    after: Annotated[str | None, Query(max_length=100)] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> JSONResponse:
    """The project's batches, the newest first."""
    return JSONResponse(page(*batches.listed(request.state.project, after=after, limit=limit)))


@router.get("/{id}", response_model=None)
def retrieved(request: Request, id: str) -> JSONResponse:
    """A batch as it stands."""
    with reading() as session:
        return JSONResponse(batches.shown(batches.get(session, id, request.state.project)))


@router.post("/{id}/cancel", response_model=None)
def cancelled(request: Request, id: str) -> JSONResponse:
    """Ends a batch. The body is empty, whatever its type says."""
    return JSONResponse(batches.cancel(id, request.state.project, request.state.actor))
