"""/v1/fine_tuning/checkpoints/{model}/permissions: a tuned model, used by other projects."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse

from sodate.jobs import sharing
from sodate.serve.stored import page
from sodate.serve.tuning_wire import PermissionRequest

router = APIRouter(prefix="/v1/fine_tuning/checkpoints")


@router.post("/{model:path}/permissions", response_model=None)
def created(request: Request, model: str, asked: PermissionRequest) -> JSONResponse:
    """Lets projects use the model."""
    return JSONResponse(
        page(sharing.share(model, request.state.project, request.state.actor, asked.project_ids), False)
    )


@router.get("/{model:path}/permissions", response_model=None)
def listed(
    request: Request,
    model: str,
    project_id: Annotated[str | None, Query(max_length=64)] = None,
    after: Annotated[str | None, Query(max_length=100)] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 10,
    order: Annotated[str, Query(pattern="^(ascending|descending)$")] = "descending",
) -> JSONResponse:
    """Who may use the model."""
    return JSONResponse(page(*sharing.shared(model, request.state.project, project_id, after, limit, order)))


@router.delete("/{model:path}/permissions/{id}", response_model=None)
def deleted(request: Request, model: str, id: str) -> JSONResponse:
    """Takes a permission back."""
    sharing.unshare(model, request.state.project, request.state.actor, id)
    return JSONResponse({"id": id, "object": "checkpoint.permission", "deleted": True})
