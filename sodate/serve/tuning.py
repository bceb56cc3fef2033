"""/v1/fine_tuning/jobs: jobs, their events and checkpoints, and the weights they made."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from sodate.api.grading import check_grader, settled
from sodate.core.errors import UsageError
from sodate.core.text import tr
from sodate.db.connection import reading
from sodate.db.tables import JobCheckpoint, JobEvent
from sodate.jobs import bases, tuning, weights
from sodate.serve.state import server_state
from sodate.serve.stored import page
from sodate.serve.tuning_wire import JobRequest

router = APIRouter(prefix="/v1/fine_tuning/jobs")
After = Annotated[str | None, Query(max_length=100)]
Limit = Annotated[int, Query(ge=1, le=100)]
_PAIR = re.compile(r"metadata\[(.*)\]")


@router.post("", response_model=None)
def created(request: Request, asked: JobRequest) -> JSONResponse:
    """Puts a job into the queue."""
    project, served = request.state.project, server_state(request).service.names
    if asked.method is not None and asked.method.reinforcement is not None:
        given = asked.method.reinforcement
        check_grader(given.grader, "tuning", "method.reinforcement.grader")
        # The process that trains knows models of this machine by their own names, and nobody's project.
        given.grader = settled(given.grader, lambda model: bases.find(model, project, served))
    base = bases.find(asked.model, project, served)
    return JSONResponse(tuning.create(project, request.state.actor, asked.plain(), base))


@router.get("", response_model=None)
def listed(request: Request, after: After = None, limit: Limit = 20, metadata: str | None = None) -> JSONResponse:
    """The project's jobs, the newest first. `metadata[KEY]=VALUE` chooses those with that pair, `metadata=null` those
    without any."""
    if metadata not in (None, "null"):
        said = tr("metadata is null, or metadata[KEY]=VALUE.", "metadata は null か metadata[KEY]=VALUE です。")
        raise UsageError(said, code="invalid_value", param="metadata")
    pairs = [(p[1], value) for name, value in request.query_params.multi_items() if (p := _PAIR.fullmatch(name))]
    data, more = tuning.listed(request.state.project, after, limit, pairs, metadata == "null")
    return JSONResponse(page(data, more))


@router.get("/{id}", response_model=None)
def retrieved(request: Request, id: str) -> JSONResponse:
    """How a job stands."""
    with reading() as session:
        return JSONResponse(tuning.shown(tuning.get(session, id, request.state.project)))


def _asked(request: Request, id: str, what: Callable[[str, str, str], dict[str, Any]]) -> JSONResponse:
    return JSONResponse(what(id, request.state.project, request.state.actor))


@router.post("/{id}/cancel", response_model=None)
def cancelled(request: Request, id: str) -> JSONResponse:
    """Ends a job."""
    return _asked(request, id, tuning.cancel)


@router.post("/{id}/pause", response_model=None)
def paused(request: Request, id: str) -> JSONResponse:
    """Stops a job; where it trained, a checkpoint of that moment can be used."""
    return _asked(request, id, tuning.pause)


@router.post("/{id}/resume", response_model=None)
def resumed(request: Request, id: str) -> JSONResponse:
    """Goes on with a paused job."""
    return _asked(request, id, tuning.resume)


@router.get("/{id}/events", response_model=None)
def events(request: Request, id: str, after: After = None, limit: Limit = 20) -> JSONResponse:
    """What happened to a job, the newest first."""
    rows, more = tuning.parts(JobEvent, id, request.state.project, after, limit)
    return JSONResponse(page([tuning.event_shown(row) for row in rows], more))


@router.get("/{id}/checkpoints", response_model=None)
def checkpoints(request: Request, id: str, after: After = None, limit: Limit = 10) -> JSONResponse:
    """The job's checkpoints, the newest first."""
    rows, more = tuning.parts(JobCheckpoint, id, request.state.project, after, limit)
    return JSONResponse(page([tuning.checkpoint_shown(row) for row in rows], more))


@router.get("/{id}/weights", response_model=None)
def weights_of(
    request: Request, id: str, form: Annotated[str, Query(pattern="^(adapter|merged)$")] = "adapter"
) -> Response:
    """What the job learnt, as safetensors in a .tar: the adapter, or with `form=merged` the whole model."""
    name, pieces = weights.archive(id, request.state.project, form)
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(pieces, media_type="application/x-tar", headers=headers)
