"""/v1/fine-tunes: jobs as the client of 2023 (openai 0.28) and the articles of that time know them.

They are the same jobs in the same queue; rows are pairs of a prompt and its completion.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import Field, ValidationError
from sqlalchemy.orm import Session

from sodate.core.errors import UsageError
from sodate.db.connection import reading
from sodate.db.tables import JobEvent, StoredFile, TuningJob
from sodate.jobs import bases, files, tuning
from sodate.serve import completions
from sodate.serve.sending import EventStream, event
from sodate.serve.state import server_state
from sodate.serve.tuning_wire import Batch, Epochs, Multiplier
from sodate.serve.wire import Body, CompletionRequest

router = APIRouter()
FINE_TUNES = "/v1/fine-tunes"
LOOK_SECONDS = 0.5  # between two looks for new events
_STATUS = {"validating_files": "pending", "queued": "pending", "paused": "pending"}


class FineTuneRequest(Body):
    """POST /v1/fine-tunes. What only made sense for OpenAI's classification metrics is taken and changes nothing."""

    training_file: str = Field(max_length=100)
    validation_file: str | None = Field(None, max_length=100)
    model: str = Field("curie", max_length=300)
    n_epochs: Epochs | None = None
    batch_size: Batch | None = None
    learning_rate_multiplier: Multiplier | None = None
    suffix: str | None = Field(None, min_length=1, max_length=40)
    prompt_loss_weight: float | None = None
    compute_classification_metrics: bool | None = None
    classification_n_classes: int | None = None
    classification_positive_class: str | None = None
    classification_betas: list[float] | None = None

    def plain(self) -> dict[str, Any]:
        """The request as a job keeps it."""
        settings = {key: getattr(self, key) or "auto"
                    for key in ("n_epochs", "batch_size", "learning_rate_multiplier")}  # fmt: skip
        return {
            "model": self.model, "training_file": self.training_file, "validation_file": self.validation_file,
            "suffix": self.suffix, "method": {"type": "supervised", "supervised": {"hyperparameters": settings}},
        }  # fmt: skip


@router.post(FINE_TUNES, response_model=None)
def created(request: Request, asked: FineTuneRequest) -> JSONResponse:
    """Puts a job into the queue."""
    project = request.state.project
    base = bases.find(asked.model, project, server_state(request).service.names)
    id = tuning.create(project, request.state.actor, asked.plain(), base, old=True)["id"]
    return JSONResponse(_one(id, project))


@router.get(FINE_TUNES, response_model=None)
def listed(request: Request) -> JSONResponse:
    """The project's jobs, the oldest first, as they were listed then: all at once, without events."""
    project, data = request.state.project, []
    with reading() as session:
        wanted = sa.select(TuningJob).where(TuningJob.project == project, TuningJob.old).order_by(TuningJob.number)
        data = [_shown(session, job) for job in session.scalars(wanted)]
    return JSONResponse({"object": "list", "data": data})


@router.get(FINE_TUNES + "/{id}", response_model=None)
def retrieved(request: Request, id: str) -> JSONResponse:
    """How a job stands, with its events."""
    return JSONResponse(_one(id, request.state.project))


@router.post(FINE_TUNES + "/{id}/cancel", response_model=None)
def cancelled(request: Request, id: str) -> JSONResponse:
    """Ends a job."""
    tuning.cancel(id, request.state.project, request.state.actor)
    return JSONResponse(_one(id, request.state.project))


@router.get(FINE_TUNES + "/{id}/events", response_model=None)
async def events(request: Request, id: str, stream: Annotated[bool, Query()] = False) -> Response:
    """What happened to a job, the oldest first; `stream`: until it has ended."""
    project = request.state.project
    told, ended = await asyncio.to_thread(_events, id, project, 0)
    if not stream:
        return JSONResponse({"object": "list", "data": [_event(one) for one in told]})

    async def following() -> AsyncGenerator[bytes, None]:
        new, over, last = told, ended, 0
        while True:
            for one in new:
                last = one.number
                yield event(_event(one))
            if over:
                yield event("[DONE]")
                return
            await asyncio.sleep(LOOK_SECONDS)
            new, over = await asyncio.to_thread(_events, id, project, last)

    return EventStream(following(), server_state(request).settings.send_seconds, {})


def _events(id: str, project: str, after: int) -> tuple[list[JobEvent], bool]:
    with reading() as session:
        job = tuning.get(session, id, project)
        wanted = sa.select(JobEvent).where(JobEvent.job == job.id, JobEvent.number > after).order_by(JobEvent.number)
        return list(session.scalars(wanted)), job.status in tuning.ENDED


def _one(id: str, project: str) -> dict[str, Any]:
    with reading() as session:
        job = tuning.get(session, id, project)
        wanted = sa.select(JobEvent).where(JobEvent.job == job.id).order_by(JobEvent.number)
        return {**_shown(session, job), "events": [_event(one) for one in session.scalars(wanted)]}


def _event(one: JobEvent) -> dict[str, Any]:
    return {"object": "fine-tune-event", "created_at": one.created_at, "level": one.level, "message": one.message}


def _shown(session: Session, job: TuningJob) -> dict[str, Any]:
    settings = json.loads(job.method)["supervised"]["hyperparameters"]
    return {
        "id": job.id, "object": "fine-tune", "created_at": job.created_at,
        "updated_at": job.finished_at or job.created_at, "model": job.model, "fine_tuned_model": job.tuned_model,
        "organization_id": f"org-{job.project}", "status": _STATUS.get(job.status, job.status),
        "hyperparams": {**settings, "prompt_loss_weight": 0.0},
        "training_files": _files(session, job, job.training_file),
        "validation_files": _files(session, job, job.validation_file),
        "result_files": _files(session, job, job.result_file),
    }  # fmt: skip


def _files(session: Session, job: TuningJob, id: str | None) -> list[dict[str, Any]]:
    """The file, where it has not been deleted."""
    row: StoredFile | None = None
    if id is not None:
        try:
            row = files.get(session, id, job.project)
        except UsageError:
            row = None
    return [files.shown(row)] if row is not None else []


@router.post("/v1/engines/{engine:path}/completions", response_model=None)
async def completed(request: Request, engine: str, asked: dict[str, Any]) -> Response:
    """A completion whose model is in the address, as `Completion.create(engine=…)` asks for it."""
    try:
        whole = CompletionRequest.model_validate({**asked, "model": engine})
    except ValidationError as error:
        raise RequestValidationError(
            [{**one, "loc": ("body", *one["loc"])} for one in error.errors()], body=asked
        ) from None
    return await completions.complete(request, whole)
