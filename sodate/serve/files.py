"""/v1/files: a project's files, uploaded in flat memory and given back as they came."""

from __future__ import annotations

import re
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse, JSONResponse, Response
from pydantic_core import to_json
from starlette.concurrency import run_in_threadpool

from sodate.core.errors import UsageError
from sodate.core.text import tr
from sodate.db.connection import reading
from sodate.jobs import files, quotas, vector_files
from sodate.serve import forms
from sodate.serve.stored import page

router = APIRouter(prefix="/v1/files")
SHORTEST, LONGEST = 3600, 2_592_000  # seconds after which a file may be asked to go
_FIELDS = frozenset(("purpose", "expires_after[anchor]", "expires_after[seconds]"))


@router.post("", response_model=None)
async def created(request: Request) -> JSONResponse:
    """Uploads a file: multipart with `purpose` and `file`."""
    project, actor = request.state.project, request.state.actor
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and len(announced) < 19:
        await run_in_threadpool(quotas.check_disk_of, project, int(announced))
    fields, name, content = await forms.read(request, _FIELDS, "file", files.MOST_BYTES, files.written)
    kept = await run_in_threadpool(_kept, fields, name, content, project, actor)
    return JSONResponse(kept)


def _kept(fields: dict[str, str], name: str, content: files.Content, project: str, actor: str) -> dict[str, Any]:
    try:
        seconds = _seconds(fields)
        if "purpose" not in fields:
            raise UsageError(tr("Missing required parameter: purpose.", "必須の purpose がありません。"),
                             code="missing_parameter", param="purpose")  # fmt: skip
        files.check_purpose(name, fields["purpose"], content.bytes)
    except UsageError:
        files.discard(content)
        raise
    return files.keep(content, project, actor, name, fields["purpose"], seconds)


def _seconds(fields: dict[str, str]) -> int | None:
    """How long the file is to stay, None: for good."""
    anchor, seconds = (fields.get(f"expires_after[{what}]") for what in ("anchor", "seconds"))
    if anchor is None and seconds is None:
        return None
    if anchor != "created_at" or not re.fullmatch("[0-9]{1,9}", seconds or ""):
        raise _bad_expiry()
    return checked_seconds(int(seconds or 0))


def checked_seconds(seconds: int, param: str = "expires_after") -> int:
    """The seconds, if a file may be kept so long."""
    if not SHORTEST <= seconds <= LONGEST:
        raise _bad_expiry(param)
    return seconds


def _bad_expiry(param: str = "expires_after") -> UsageError:
    return UsageError(
        tr(f"{param} needs anchor 'created_at' and seconds from {SHORTEST} to {LONGEST}.",
           f"{param} には anchor 'created_at' と {SHORTEST}〜{LONGEST} の seconds が必要です。"),
        code="invalid_value", param=param,
    )  # fmt: skip


@router.get("", response_model=None)
def listed(
    request: Request,
    purpose: Annotated[str | None, Query(max_length=64)] = None,
    after: Annotated[str | None, Query(max_length=100)] = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 10_000,
    order: Annotated[str, Query(pattern="^(asc|desc)$")] = "desc",
) -> Response:
    """The project's files, the newest first."""
    found = files.listed(request.state.project, purpose=purpose, after=after, limit=limit, order=order)
    return Response(to_json(page(*found)), media_type="application/json")  # 10,000: three times as fast as json's


@router.get("/{id}", response_model=None)
def retrieved(request: Request, id: str) -> JSONResponse:
    """What is known of a file."""
    with reading() as session:
        return JSONResponse(files.shown(files.get(session, id, request.state.project)))


@router.get("/{id}/content", response_model=None)
def content(request: Request, id: str) -> FileResponse:
    """A file's bytes, as they came."""
    with reading() as session:
        row = files.get(session, id, request.state.project)
        return FileResponse(files.path(row), media_type="application/octet-stream", filename=row.filename)


@router.delete("/{id}", response_model=None)
def deleted(request: Request, id: str) -> JSONResponse:
    """Deletes a file, from every vector store too."""
    files.delete(id, request.state.project, request.state.actor, vector_files.forget)
    return JSONResponse({"id": id, "object": "file", "deleted": True})
