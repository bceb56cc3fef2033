"""The pages put together: their routes, their files, and how what goes wrong looks to a person."""

from __future__ import annotations

import functools
import gzip
import mimetypes
import re

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from sodate.core.errors import SodateError
from sodate.core.text import tr
from sodate.serve import errors
from sodate.serve.pages import (
    data,
    frame,
    gates,
    index,
    judge,
    keys,
    ladder,
    login,
    measure,
    overview,
    play,
    reports,
    review,
    runs,
    versions,
)
from sodate.serve.state import ServerState
from sodate.serve.who import Doorkeeper

_NAME = re.compile(r"[a-z0-9][a-z0-9.-]*\.(css|js|svg)")


def build(here: ServerState, doorkeeper: Doorkeeper, wire: FastAPI) -> FastAPI:
    """The pages' application; their JSON joins the wire's."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    app.state.server_state = here
    app.state.doorkeeper = doorkeeper
    _install(app)
    app.include_router(login.router)
    for room in (overview, data, runs, measure, reports, ladder, gates, versions, play, judge, review, index, keys):
        app.include_router(room.rooms.pages)
        wire.include_router(room.rooms.wire)

    @app.get("/static/{name}", response_model=None)
    def static(request: Request, name: str) -> Response:
        """A style sheet or script of ours, or one that was put here with its licence."""
        if not _NAME.fullmatch(name) or not (frame.HERE / "static" / name).is_file():
            raise HTTPException(404)
        plain, zipped, kind = _file(name)
        headers = {"cache-control": "public, max-age=31536000, immutable", "vary": "accept-encoding"}
        if "gzip" in request.headers.get("accept-encoding", ""):
            return Response(zipped, headers={**headers, "content-encoding": "gzip"}, media_type=kind)
        return Response(plain, headers=headers, media_type=kind)

    @app.get("/favicon.ico", response_model=None)
    def icon(request: Request) -> Response:
        """The mark of the house."""
        return static(request, "icon.svg")

    return app


@functools.cache
def _file(name: str) -> tuple[bytes, bytes, str]:
    """A file as it is, compressed, and its kind."""
    content = (frame.HERE / "static" / name).read_bytes()
    kind = mimetypes.types_map.get("." + name.rpartition(".")[2], "application/octet-stream")
    return content, gzip.compress(content, 9, mtime=0), kind


def _install(app: FastAPI) -> None:
    """Every exception that a page can raise becomes a page."""

    async def ours(request: Request, error: Exception) -> Response:
        assert isinstance(error, SodateError)
        return frame.error(request, error)

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return frame.error(request, SodateError(
            tr("The address or the form is not as it has to be.", "アドレスかフォームの内容が正しくありません。"),
            code="bad_value",
        ))  # fmt: skip

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        said = {
            404: tr("There is nothing at this address.", "このアドレスには何もありません。"),
            405: tr("That is not possible at this address.", "このアドレスではその操作はできません。"),
        }
        message = said.get(error.status_code, tr("This can't be read.", "読み取れません。"))
        return frame.render(request, "error.html.jinja", error.status_code, message=message,
                            status_code=error.status_code)  # fmt: skip

    async def fault(request: Request, error: Exception) -> Response:
        message = errors.unknown(error)["error"]["message"]
        return frame.render(request, "error.html.jinja", 500, message=message, status_code=500)

    app.add_exception_handler(SodateError, ours)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(Exception, fault)
