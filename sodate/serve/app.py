"""The routes put together, after the guard."""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from sodate.api.answering import Service
from sodate.core.errors import SodateError
from sodate.core.text import tr
from sodate.learn.recorder import Recorder
from sodate.serve import (
    batches,
    chat,
    completions,
    embeddings,
    errors,
    evals,
    feedback,
    files,
    graders,
    models,
    moderations,
    old_wire,
    permissions,
    responses,
    stored,
    tuning,
    uploads,
    vector_stores,
)
from sodate.serve.guard import Guard
from sodate.serve.metrics import Metrics
from sodate.serve.originals import Originals
from sodate.serve.pages import house
from sodate.serve.settings import Settings
from sodate.serve.state import ServerState
from sodate.serve.who import Doorkeeper


def build(service: Service, settings: Settings) -> tuple[Guard, ServerState]:
    """The application, and what its routes share."""
    counters = Metrics(service)
    originals = Originals()
    here = ServerState(service, settings, counters, Recorder(counters.recorded, originals.forget_old), originals)
    app = FastAPI(title="sodate", version="1", docs_url=None, redoc_url=None, redirect_slashes=False)
    app.state.server_state = here
    errors.install(app)

    @app.get("/healthz")
    def healthz() -> dict[str, str]:
        """The process runs."""
        return {"status": "ok"}

    @app.get("/readyz", response_model=None)
    def readyz() -> JSONResponse:
        """It takes requests."""
        if here.draining or not service.ready:
            raise SodateError(tr("Not ready.", "準備ができていません。"), code="shutting_down")
        return JSONResponse({"status": "ready", "versions": [one.id for one in service.served]})

    @app.get("/metrics", response_model=None)
    async def metrics(request: Request) -> Response:
        """Counters for Prometheus."""
        return Response(here.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    parts = (
        chat, stored, completions, embeddings, responses, models, files, uploads, tuning, permissions, graders,
        evals, batches, moderations, feedback, vector_stores, old_wire,
    )  # fmt: skip
    for room in parts:
        app.include_router(room.router)
    doorkeeper = Doorkeeper(settings)
    pages = house.build(here, doorkeeper, app)
    return Guard(app, pages, settings, here.metrics, doorkeeper), here
