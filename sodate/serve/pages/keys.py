"""/keys: keys, links and who is logged in, and the log of who did what. For the owner alone."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Form, Query, Request
from fastapi.responses import RedirectResponse, Response

from sodate.db.connection import writing
from sodate.jobs import audit
from sodate.serve import address, keys, logins
from sodate.serve.pages.frame import Rooms, render
from sodate.serve.roles import ROLES

rooms = Rooms()

A_PAGE = 100
Short = Annotated[str, Form(max_length=200)]


@rooms.shows("/keys", "keys.html.jinja")
def all_keys(
    request: Request,
    page: Annotated[int, Query(ge=1, le=10_000)] = 1,
    project: Annotated[str, Query(max_length=64)] = "",
) -> dict[str, Any]:
    """Keys as `sodate keys list` has them, sessions, and a page of the audit log, the newest first."""
    told = audit.listed(project or None, page * A_PAGE)
    lines = list(reversed(told))[(page - 1) * A_PAGE :]
    return {"keys": [key.to_json() for key in keys.listed()], "sessions": logins.sessions(), "audit": lines,
            "page": page, "pages": page + (len(told) == page * A_PAGE), "roles": ROLES, "project": project}  # fmt: skip


@rooms.pages.post("/keys/create", response_model=None)
def created(
    request: Request, project: Short = "default", role: Short = "steer", per_minute: Annotated[int, Form(ge=1)] = 6000
) -> Response:
    """A new key, shown this once."""
    secret, about = keys.create(project, per_minute, role)
    _note(request, about.project, "key.created", about.id)
    return render(request, "secret.html.jinja", secret=secret, link=False, about=about.to_json())


@rooms.pages.post("/keys/link", response_model=None)
def linked(request: Request, project: Short = "default", role: Short = "look", name: Short = "") -> Response:
    """A one-time link, shown this once."""
    secret, person = logins.new_link(role, name, project)
    where = f"{request.url.scheme}://{request.headers.get('host') or address.address().partition('//')[2]}"
    about = {"role": person.role, "name": person.name, "project": person.project}
    return render(request, "secret.html.jinja", secret=f"{where}/login/{secret}", link=True, about=about)


@rooms.pages.post("/keys/revoke", response_model=None)
def revoked(request: Request, id: Short) -> RedirectResponse:
    """Ends a key, and with it the sessions that it began."""
    key = keys.revoke(id)
    _note(request, key.project, "key.revoked", key.id)
    return RedirectResponse("/keys", 303)


@rooms.pages.post("/keys/end", response_model=None)
def ended(request: Request, id: Short) -> RedirectResponse:
    """Logs somebody out."""
    logins.end(id)
    _note(request, "default", "login.ended", id)
    return RedirectResponse("/keys", 303)


def _note(request: Request, project: str, action: str, what: str) -> None:
    with writing() as session:
        audit.note(session, project, request.state.asker.actor, action, what)
