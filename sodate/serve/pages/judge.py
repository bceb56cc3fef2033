"""/judge: pairs of replies, blind, one after another, by touch or by keys. Neither names nor versions come here."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query, Request
from fastapi.responses import RedirectResponse

from sodate.api import ballots
from sodate.api.judged import judged
from sodate.core.errors import SodateError, UsageError
from sodate.core.text import tr
from sodate.serve.pages import sight
from sodate.serve.pages.frame import Rooms
from sodate.serve.who import Asker

rooms = Rooms()


@rooms.shows("/judge", "judge.html.jinja")
def studies(request: Request) -> dict[str, Any]:
    """The studies in which there is something to judge, and how far the asker is in each."""
    sight.check_house(request)
    rater = _rater(request)
    told = [{**one, "own": ballots.ballot(one["study"], rater)} for one in ballots.studies()]
    keys = ("study", "rows", "judged", "viewpoints")
    return {"studies": [{**{key: one[key] for key in keys}, "done": one["own"]["done"], "of": one["own"]["of"]}
                        for one in told]}  # fmt: skip


@rooms.shows("/judge/{study}", "ballot.html.jinja")
def ballot(request: Request, study: str, row: Annotated[str, Query(max_length=100)] = "") -> dict[str, Any]:
    """The next pair of a study, or one that was judged, to change it."""
    sight.check_house(request)
    rater = _rater(request)
    found = ballots.row(study, rater, row) if row else ballots.ballot(study, rater)
    return {"ballot": found, "before": ballots.last_judged(study, rater)}


@rooms.pages.post("/judge/{study}", response_model=None)
async def cast(request: Request, study: str) -> RedirectResponse:
    """Keeps a vote and goes on to the next pair."""
    sight.check_house(request)
    form = await request.form()
    votes = {key.removeprefix("vote:"): str(value) for key, value in form.items() if key.startswith("vote:")}
    if "skip" in form:
        votes = {}
    elif not votes:
        raise UsageError(tr("Nothing was chosen.", "どれも選ばれていません。"), code="bad_value", param="votes")
    ballots.cast(study, _rater(request), str(form.get("row", "")), votes)
    return RedirectResponse(f"/judge/{study}", 303)


@rooms.shows("/judge/{study}/result", "judged.html.jinja")
def result(request: Request, study: str) -> dict[str, Any]:
    """What the votes say, as `sodate judge report` has it. Not for judges: names stand in it."""
    sight.check_house(request)
    asker: Asker = request.state.asker
    if asker.role == "judge":
        raise SodateError(tr("There is nothing at this address.", "このアドレスには何もありません。"), code="not_found")
    try:
        return judged(study)
    except SodateError as error:
        if error.code != "no_rows":
            raise
        return {"study": study, "rows": 0, "raters": [], "viewpoints": []}


def _rater(request: Request) -> str:
    asker: Asker = request.state.asker
    return ballots.rater_name(asker.actor)
