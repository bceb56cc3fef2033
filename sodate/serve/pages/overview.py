"""/ : what is in production, what runs, what waits for a person."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from sodate.api.overview import overview as told
from sodate.jobs.belonging import Belonging
from sodate.serve.pages import sight
from sodate.serve.pages.frame import Rooms, digest
from sodate.serve.sending import EventStream, event
from sodate.serve.state import server_state
from sodate.serve.watching import Seen

rooms = Rooms()

LOOK_SECONDS = 5.0  # between two looks at what is shown


def _kind(running: Mapping[str, Any]) -> tuple[str, bool]:
    """A run, and whether it has made a step: then there is a bar, whose length is told apart."""
    return running["run"], "steps" in running


def _mark(shown: Mapping[str, Any]) -> str:
    return digest({**shown, "running": [_kind(one) for one in shown["running"]]})


@rooms.shows("/", "overview.html.jinja", _mark)
def overview(request: Request) -> dict[str, Any]:
    """The state of the house, as `sodate overview` prints it. Another project sees what is its own of that."""
    return _shown(sight.of(request))


@rooms.pages.get("/live", response_model=None)
async def live(request: Request) -> EventStream:
    """How far what runs is, and the mark of all the rest of the page; whenever one of them changes."""
    see = await run_in_threadpool(sight.of, request)
    here = server_state(request)

    def look() -> Seen:
        shown = _shown(sight.again(see))
        return Seen(event({"seen": _mark(shown), "running": shown["running"]}, "state"))

    name = ("overview", see.project, see.everything)
    watched = here.watches.told(name, lambda: look, LOOK_SECONDS, lambda: here.draining)
    return EventStream(watched, here.settings.send_seconds, {})


def _shown(see: Belonging) -> dict[str, Any]:
    found = told()
    waiting = [one for one in found["waiting"] if see.sees_house or "run" in one]
    return {
        "production": [one for one in found["production"] if see.sees_house or see.sees_version(one["version"])],
        "running": [one for one in found["running"] if see.sees_run(one["run"])],
        "waiting": [one for one in waiting if ("run" not in one or see.sees_run(one["run"]))
                    and ("version" not in one or see.sees_version(one["version"]))],
        "counts": found["counts"] if see.sees_house else {},
    }  # fmt: skip
