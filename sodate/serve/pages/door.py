"""At the door of the pages: which paths are theirs, in which language, and what a visitor without a login is told."""

from __future__ import annotations

import re

from jinja2.utils import url_quote
from starlette.datastructures import Headers, QueryParams
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import Receive, Scope, Send

from sodate.core.errors import SodateError
from sodate.core.text import Language
from sodate.serve.pages import frame
from sodate.serve.who import cookie

NAMES = ("data", "runs", "reports", "ladder", "versions", "play", "judge", "review", "index", "keys")

_PAGES = re.compile(rf"/|/live|/({'|'.join(NAMES)}|login|logout|static)(/.*)?|/favicon\.ico")
_OPEN = re.compile(r"/login(/.*)?|/static/.*|/favicon\.ico")  # where nobody has to be known


def is_page(path: str) -> bool:
    """Whether a path is a page's; all others are the wire's."""
    return _PAGES.fullmatch(path) is not None


def is_open(path: str) -> bool:
    """Whether a page is there for whoever comes."""
    return _OPEN.fullmatch(path) is not None


def chosen_language(scope: Scope, headers: Headers) -> Language | None:
    """The language that the reader of a page chose, now or before; None where he has not."""
    if not is_page(scope["path"]):
        return None
    for said in (QueryParams(scope.get("query_string", b"")).get("lang", ""), cookie(headers, frame.LANGUAGE_COOKIE)):
        if said == "ja":
            return "ja"
        if said == "en":
            return "en"
    return None


async def refuse(error: SodateError, scope: Scope, receive: Receive, send: Send) -> None:
    """What a person sees instead of a page: the way to log in, or what is wrong."""
    request = Request(scope, receive)
    answer: Response
    if error.code != "invalid_api_key":
        answer = frame.error(request, error)
    elif "hx-request" in request.headers:  # the whole page goes there, not the part that was asked for
        answer = Response(status_code=401, headers={"hx-redirect": "/login"})
    elif request.method in ("GET", "HEAD"):
        here = scope["path"] + (f"?{scope['query_string'].decode()}" if scope.get("query_string") else "")
        if request.headers.get("sec-fetch-site") == "cross-site" and "cookie" not in request.headers:
            # A link on another site: the browser held the cookie back. From here on it is our own link.
            answer = frame.hop(request, here)
        else:
            answer = RedirectResponse(f"/login?next={url_quote(here, for_qs=True)}", 303)
    else:
        answer = frame.error(request, error)
    await answer(scope, receive, send)
