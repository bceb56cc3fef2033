"""Coming in by a key or a one-time link, and leaving."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from sodate.core.errors import SodateError
from sodate.core.text import tr
from sodate.serve import logins
from sodate.serve.pages import door, frame
from sodate.serve.who import COOKIE, Doorkeeper

router = APIRouter(include_in_schema=False)


@router.get("/login", response_model=None)
def form(request: Request, next: str = "/") -> Response:
    """Where a key is typed in."""
    return frame.render(request, "login.html.jinja", next=_within(next), problem="")


@router.post("/login", response_model=None)
async def by_key(
    request: Request,
    key: Annotated[str, Form(max_length=200)] = "",
    name: Annotated[str, Form(max_length=200)] = "",
    next: Annotated[str, Form(max_length=2000)] = "/",
) -> Response:
    """A session for whoever knows a key."""
    doorkeeper: Doorkeeper = request.app.state.doorkeeper
    try:
        known = await doorkeeper.key(key.strip(), request.scope)
    except SodateError as error:
        wrong = tr("This key is not valid.", "このキーは無効です。")
        said = wrong if error.code == "invalid_api_key" else error.message
        return frame.render(request, "login.html.jinja", 401, next=_within(next), problem=said)
    secret, person = await run_in_threadpool(logins.enter_by_key, known, name)
    answer = RedirectResponse("/judge" if person.role == "judge" else _within(next), 303)
    return keep(request, answer, secret)


@router.get("/login/{link}", response_model=None)
async def by_link(request: Request, link: str) -> Response:
    """A session for whoever has a link that was not used yet."""
    doorkeeper: Doorkeeper = request.app.state.doorkeeper
    doorkeeper.check_tired(request.scope)
    try:
        secret, person = await run_in_threadpool(logins.enter_by_link, link)
    except SodateError:
        doorkeeper.failed(request.scope)
        raise
    # Not a redirect: a browser that comes from a mail holds the cookie back until a page of ours leads on.
    return keep(request, frame.hop(request, "/judge" if person.role == "judge" else "/"), secret)


@router.post("/logout", response_model=None)
def leave(request: Request) -> Response:
    """Ends the session."""
    logins.leave(request.state.asker.secret)
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return answer


def keep(request: Request, answer: Response, secret: str) -> Response:
    """The answer with the cookie of a session. Scripts can't read it, and other sites' pages don't send it."""
    answer.set_cookie(
        COOKIE, secret, max_age=logins.SESSION_SECONDS, httponly=True, samesite="strict",
        secure=request.url.scheme == "https",
    )  # fmt: skip
    return answer


def _within(next: str) -> str:
    """Where to go on: a page of this server, whatever the address says."""
    path = next.partition("?")[0]
    return next if door.is_page(path) and not path.startswith(("/login", "/logout", "/static", "//")) else "/"
