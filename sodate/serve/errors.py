"""Every error on the wire: OpenAI's envelope, with a request id, and without what is nobody's business."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from sodate.core import home
from sodate.core.complaints import complaint
from sodate.core.errors import SodateError
from sodate.core.text import tr

log = logging.getLogger("sodate.serve")

# Where a code is not about what was asked; all others are 400.
STATUS: Mapping[str, int] = {
    "model_not_found": 404,
    "not_found": 404,
    "run_not_found": 404,
    "report_not_found": 404,
    "version_not_found": 404,
    "alias_not_found": 404,
    "study_not_found": 404,
    "fine_tune_not_found": 404,
    "previous_response_not_found": 404,
    "method_not_allowed": 405,
    "request_timeout": 408,
    "in_use": 409,
    "moved_meanwhile": 409,
    "model_in_use": 409,
    "request_too_large": 413,
    "invalid_api_key": 401,
    "forbidden": 403,
    "rate_limit_exceeded": 429,
    "quota_exceeded": 429,
    "engine_failed": 500,
    "internal_error": 500,
    "schema_violation": 500,
    "not_implemented": 501,
    "upstream_failed": 502,
    "upstream_key": 502,
    "shutting_down": 503,
}
_TYPES = {403: "permission_error", 429: "rate_limit_error"}
_WITHOUT_CODE = {"invalid_file"}  # clients were told by the sentence alone
_WORTH_RETRYING = {429, 503}


class Gone(Exception):
    """The asker has left; there is nobody to answer."""


def body(status: int, message: str, code: str | None, param: str | None = None) -> dict[str, Any]:
    """OpenAI's envelope."""
    kind = _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    shown = None if code in _WITHOUT_CODE else code
    return {"error": {"message": str(message), "type": kind, "param": param, "code": shown}}


def headers(status: int, code: str | None = None) -> dict[str, str]:
    """Clients retry 408, 409, 429 and everything from 500 on, unless they are told that it is useless."""
    if status in _WORTH_RETRYING and code != "quota_exceeded":
        return {"retry-after": "1", "x-should-retry": "true"}
    return {"x-should-retry": "false"}


def response(status: int, message: str, code: str | None, param: str | None = None) -> JSONResponse:
    return JSONResponse(body(status, message, code, param), status, headers(status))


def known(error: SodateError) -> tuple[int, dict[str, Any]]:
    """(status, envelope) of an error of ours. One that names a file of this machine is told to the log alone."""
    status = STATUS.get(error.code, 400)
    sentence = error.in_one_line()
    if error.file is not None or str(home.home()) in sentence:
        log.error("%s", error)
        return 500, body(500, _unknown(), "internal_error")
    return status, body(status, sentence, error.code, error.param)


def unknown(error: BaseException) -> dict[str, Any]:
    """The envelope of a fault. The log gets its kind and place, not its text, which may quote the request."""
    frames = traceback.extract_tb(error.__traceback__)[-5:]
    log.error("%s at %s", type(error).__name__, " ← ".join(f"{f.filename}:{f.lineno}" for f in reversed(frames)))
    return body(500, _unknown(), "internal_error")


def _unknown() -> str:
    return tr("Something failed in the server. Its log says more under this request id.",
              "サーバー内でエラーが起きました。詳しくは、このリクエスト ID でログを確認してください。")  # fmt: skip


def install(app: FastAPI) -> None:
    """Every exception that a route can raise becomes an envelope."""

    async def ours(_request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, SodateError)
        status, content = known(error)
        return JSONResponse(content, status, headers(status, error.code))

    async def invalid(_request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        # FastAPI names first where it looked: the body, the query, the path.
        found = [{**one, "loc": one["loc"][1:]} for one in error.errors()]
        in_body = error.errors()[0]["loc"][:1] == ("body",)
        return response(400, *complaint(found, error.body if in_body else None))

    async def http(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        answer = response(error.status_code, *_plain(request, error))
        answer.headers.update(error.headers or {})
        return answer

    async def gone(_request: Request, _error: Exception) -> Response:
        return Response(status_code=499)

    async def fault(_request: Request, error: Exception) -> JSONResponse:
        return JSONResponse(unknown(error), 500, headers(500))

    app.add_exception_handler(SodateError, ours)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(Gone, gone)
    app.add_exception_handler(Exception, fault)


def _plain(request: Request, error: HTTPException) -> tuple[str, str]:
    if error.status_code == 404:
        return tr("There is nothing at this address.", "このアドレスには何もありません。"), "not_found"
    if error.status_code == 405:
        return tr(f"{request.method} is not possible at this address.",
                  f"このアドレスでは {request.method} は使えません。"), "method_not_allowed"  # fmt: skip
    return tr("The body cannot be read.", "本文を読み取れません。"), "invalid_request"
