"""/v1/uploads: files larger than one request may be."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from sodate.db.connection import reading
from sodate.jobs import uploads
from sodate.serve import forms
from sodate.serve.files import LONGEST, SHORTEST
from sodate.serve.wire import Body, Wire

router = APIRouter(prefix="/v1/uploads")


class Expiry(Wire):
    anchor: Literal["created_at"]
    seconds: int = Field(ge=SHORTEST, le=LONGEST)


class UploadRequest(Body):
    """POST /v1/uploads"""

    filename: str = Field(min_length=1, max_length=1000)
    purpose: str
    bytes: int = Field(ge=1, le=uploads.MOST_BYTES)
    mime_type: str = Field(max_length=200)
    expires_after: Expiry | None = None


class CompleteRequest(Body):
    """POST /v1/uploads/{id}/complete"""

    part_ids: list[str] = Field(min_length=1, max_length=10_000)
    md5: str | None = Field(None, max_length=64)


@router.post("", response_model=None)
def created(request: Request, asked: UploadRequest) -> JSONResponse:
    """Begins an upload."""
    seconds = asked.expires_after.seconds if asked.expires_after else None
    return JSONResponse(uploads.create(request.state.project, request.state.actor, asked.filename, asked.purpose,
                                       asked.bytes, asked.mime_type, seconds))  # fmt: skip


@router.post("/{id}/parts", response_model=None)
async def part(request: Request, id: str) -> JSONResponse:
    """Adds a part: multipart with `data`."""
    project = request.state.project
    await run_in_threadpool(_known, id, project)
    _, _, made = await forms.read(request, frozenset(), "data", uploads.MOST_PART_BYTES, uploads.part)
    return JSONResponse(await run_in_threadpool(uploads.add, id, project, made))


def _known(id: str, project: str) -> None:
    with reading() as session:
        uploads.get(session, id, project)


@router.post("/{id}/complete", response_model=None)
def completed(request: Request, id: str, asked: CompleteRequest) -> JSONResponse:
    """Puts the parts together."""
    return JSONResponse(
        uploads.complete(id, request.state.project, request.state.actor, asked.part_ids, asked.md5)
    )  # fmt: skip


@router.post("/{id}/cancel", response_model=None)
def cancelled(request: Request, id: str) -> JSONResponse:
    """Gives an upload up."""
    return JSONResponse(uploads.cancel(id, request.state.project, request.state.actor))
