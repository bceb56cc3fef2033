"""Addresses of the platform at which nothing answers yet: 501 in the envelope, so that a client says why."""

from __future__ import annotations

from typing import NoReturn

from fastapi import APIRouter

from sodate.core.errors import SodateError
from sodate.core.text import tr

router = APIRouter()
METHODS = ["GET", "POST", "DELETE"]


@router.api_route("/v1/vector_stores", methods=METHODS, include_in_schema=False, response_model=None)
@router.api_route("/v1/vector_stores/{rest:path}", methods=METHODS, include_in_schema=False, response_model=None)
def vector_stores(rest: str = "") -> NoReturn:
    """Retrieval is not there yet."""
    raise SodateError(
        tr("Vector stores are not implemented yet.", "ベクトルストアにはまだ対応していません。"),
        tr("Put the passages into the messages.", "参照する文章はメッセージに入れてください。"),
        code="not_implemented",
    )
