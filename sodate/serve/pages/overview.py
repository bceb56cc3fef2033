"""/ : what is in production, what runs, what waits for a person."""

from __future__ import annotations

from typing import Any

from fastapi import Request

from sodate.api.overview import overview as told
from sodate.serve.pages import sight
from sodate.serve.pages.frame import Rooms

rooms = Rooms()


@rooms.shows("/", "overview.html.jinja")
def overview(request: Request) -> dict[str, Any]:
    """The state of the house, as `sodate overview` prints it. Another project sees what is its own of that."""
    see, found = sight.of(request), told()
    waiting = [one for one in found["waiting"] if see.sees_house or "run" in one]
    return {
        "production": [one for one in found["production"] if see.sees_house or see.sees_version(one["version"])],
        "running": [one for one in found["running"] if see.sees_run(one["run"])],
        "waiting": [one for one in waiting if ("run" not in one or see.sees_run(one["run"]))
                    and ("version" not in one or see.sees_version(one["version"]))],
        "counts": found["counts"] if see.sees_house else {},
    }  # fmt: skip
