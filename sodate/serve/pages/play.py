"""/play: a question to two versions at once, as they answer it: how likely each token was, and the rows it is from."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Form, Request
from fastapi.responses import Response

from sodate.jobs import sharing
from sodate.jobs.apart import apart
from sodate.serve.pages import frame, sight
from sodate.serve.pages.frame import Rooms
from sodate.serve.pages.waiting import waiting
from sodate.serve.state import server_state
from sodate.serve.who import Asker

rooms = Rooms()

Words = Annotated[str, Form(max_length=100_000)]


@rooms.shows("/play", "play.html.jinja")
def play(request: Request) -> dict[str, Any]:
    """What can be asked: what is served, and tuned models of the project. Questions go to /v1/chat/completions."""
    here, asker = server_state(request), request.state.asker
    served = [
        {"name": name, "version": one.id, "tokens": not one.text, "context": one.context}
        for name, one in here.service.names.items()
    ]
    tuned = [
        {"name": one["id"], "version": one.get("version", one["id"]), "tokens": True, "context": None}
        for one in sharing.models(_asker(request).project)
    ]
    return {"models": [*served, *tuned], "role": asker.role}


@rooms.pages.post("/play/why", response_model=None)
def told_why(
    request: Request, version: Annotated[str, Form(max_length=300)], prompt: Words, reply: Words, system: Words = ""
) -> Response:
    """The training rows that a reply comes from, as `sodate why` tells them; the first question of a version takes as
    long as its training did, and the page says how far that is."""
    sight.check_version(sight.of(request), version)
    name = ("why", version, prompt, reply, system)
    done = waiting.work(name, lambda: apart("why", version=version, prompt=prompt, reply=reply, system=system, top=5))
    about = {"version": version, "prompt": prompt, "reply": reply, "system": system}
    if not done.ready():
        return frame.render(request, "why.html.jinja", why=None, share=done.share, about=about)
    return frame.render(request, "why.html.jinja", why=done.result, share=1.0, about=about)


def _asker(request: Request) -> Asker:
    found: Asker = request.state.asker
    return found
