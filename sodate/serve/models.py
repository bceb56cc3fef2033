"""GET and DELETE /v1/models: the names under which something answers."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from sodate.core.errors import UsageError
from sodate.core.text import tr
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
    """Every name that can be asked: versions, and the aliases given to them."""
    here = server_state(request)
    return JSONResponse({"object": "list", "data": [_shown(here, name) for name in here.service.names]})


@router.get("/{model:path}", response_model=None)
def retrieved(request: Request, model: str) -> JSONResponse:
    """One of them; `/` and `:` may be in its name."""
    return JSONResponse(_shown(server_state(request), model))


@router.delete("/{model:path}", response_model=None)
def deleted(request: Request, model: str) -> JSONResponse:
    """A version that answers is not deleted: replies may be on their way, and the next start would miss it."""
    served = server_state(request).service.find(model)
    raise UsageError(
        tr(f"{served.id} is being served and cannot be deleted.", f"{served.id} は提供中のため削除できません。"),
        tr("Start the server without it first.", "先に、このバージョンを外してサーバーを起動してください。"),
        code="model_in_use", param="model",
    )  # fmt: skip
