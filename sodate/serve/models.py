"""GET and DELETE /v1/models: the names under which something answers."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from sodate.api.versions import delete_version
from sodate.api.weights import OF_A_JOB
from sodate.core.errors import SodateError
from sodate.core.text import tr
from sodate.jobs import naming, sharing
from sodate.serve.settings import DEFAULT_PROJECT
from sodate.serve.state import ServerState, server_state

router = APIRouter(prefix="/v1/models")


def _shown(here: ServerState, name: str) -> dict[str, Any]:
    served = here.service.find(name)
    return {
        "id": name, "object": "model", "created": served.created, "owned_by": "sodate", "version": served.id,
        "base": served.base, "context_length": served.context,
    }  # fmt: skip


@router.get("", response_model=None)
def listed(request: Request) -> JSONResponse:
    """Every name that can be asked: versions, the aliases given to them, tuned models of the project."""
    here = server_state(request)
    tuned = sharing.models(request.state.project)
    return JSONResponse({"object": "list", "data": [_shown(here, name) for name in here.service.names] + tuned})


@router.get("/{model:path}", response_model=None)
def retrieved(request: Request, model: str) -> JSONResponse:
    """One of them; `/` and `:` may be in its name."""
    if naming.is_tuned(model):
        return JSONResponse(sharing.model(model, request.state.project))
    return JSONResponse(_shown(server_state(request), model))


@router.delete("/{model:path}", response_model=None)
def deleted(request: Request, model: str) -> JSONResponse:
    """Deletes a version that nothing serves. One that answers can't be: replies may be on their way."""
    if naming.is_tuned(model):
        sharing.delete(model, request.state.project, request.state.actor)
        return JSONResponse({"id": model, "object": "model", "deleted": True})
    service = server_state(request).service
    if model in service.names:
        served = service.find(model)
        raise SodateError(
            tr(f"{served.id} is being served and cannot be deleted.", f"{served.id} は提供中のため削除できません。"),
            tr("Start the server without it first.", "先に、このバージョンを外してサーバーを起動してください。"),
            code="model_in_use", param="model",
        )  # fmt: skip
    # Versions belong to the machine, not to a project: others are not even told which there are.
    if "@" not in model or request.state.project != DEFAULT_PROJECT or model.startswith(OF_A_JOB):
        service.find(model)
    try:
        return JSONResponse({"id": delete_version(model), "object": "model", "deleted": True})
    except SodateError as error:
        if error.code == "version_not_found":
            service.find(model)
        raise
