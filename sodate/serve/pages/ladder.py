"""/ladder: what each way costs and how good it is: prompt, retrieval, training."""

from __future__ import annotations

from typing import Any

from fastapi import Request

from sodate.api import ladders as api
from sodate.serve.pages import sight
from sodate.serve.pages.frame import Rooms

rooms = Rooms()


@rooms.shows("/ladder", "ladders.html.jinja")
def ladders(request: Request) -> dict[str, Any]:
    """Every task that was measured, as `sodate ladders` has them."""
    sight.check_house(request)
    return {"ladders": api.ladders()}


@rooms.shows("/ladder/{task}", "ladder.html.jinja")
def one_ladder(request: Request, task: str) -> dict[str, Any]:
    """A task's rungs, as `sodate ladder --json` has them."""
    sight.check_house(request)
    about = api.measured_ladder(task)
    most = max((rung["cost_per_month"] for rung in about["rungs"]), default=0) or 1
    return {"ladder": about, "most": most}
