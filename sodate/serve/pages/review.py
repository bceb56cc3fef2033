"""/review: where the model fails, what the failures are about, and exchanges one after another to decide about."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Form, Query, Request
from fastapi.responses import RedirectResponse

from sodate.core.errors import UsageError
from sodate.core.text import tr
from sodate.learn import clusters
from sodate.learn import review as people
from sodate.learn.failures import by_week, failures
from sodate.learn.reasons import REASONS
from sodate.serve.pages.frame import Rooms, quoted
from sodate.serve.pages.grouping import grouped
from sodate.serve.pages.waiting import waiting
from sodate.serve.who import Asker

rooms = Rooms()

A_PAGE = 20
FRESH = 60  # seconds before clusters are made again, however many exchanges have come

Words = Annotated[str, Form(max_length=20_000)]


@rooms.shows("/review", "review.html.jinja")
def failing(
    request: Request,
    reason: Annotated[str, Query(max_length=60)] = "",
    after: Annotated[str, Query(max_length=200)] = "",
) -> dict[str, Any]:
    """Failures as `sodate learn failures` has them, and what they are about, as `sodate learn clusters` has it."""
    project = _asker(request).project
    told = failures(project, reason=reason or None, after=after or None, limit=A_PAGE)
    return {"failing": told, "weeks": by_week(project)[-12:], "reason": reason, "says": _says(),
            **_grouped(project)}  # fmt: skip


def _grouped(project: str) -> dict[str, Any]:
    """`grouped`: the clusters as they were made last, None before that; `read`: while they are made anew beside the
    server, how many exchanges were read for it."""
    read = None
    if not clusters.fresh(project):
        work = waiting.work(("clusters", project), lambda: grouped(project), FRESH)
        read = None if work.ready(0) else int(work.last.done) if work.last else 0
    return {"grouped": clusters.as_made(project), "read": read}


@rooms.shows("/review/next", "review_one.html.jinja")
def next_one(
    request: Request,
    cluster: Annotated[str, Query(max_length=100)] = "",
    draw: Annotated[str, Query(pattern="^(both|failures|random)$")] = "both",
) -> dict[str, Any]:
    """The exchange that the asker is to look at next, from `sodate learn review`'s queue."""
    asker = _asker(request)
    drawn: people.Draw = "failures" if draw == "failures" else "random" if draw == "random" else "both"
    found = people.queue(asker.actor, asker.project, draw=drawn, limit=1, cluster=cluster or None)
    return {"one": found[0] if found else None, "cluster": cluster, "draw": draw, "says": _says(),
            "progress": people.progress(asker.project)}  # fmt: skip


@rooms.pages.post("/review/decide", response_model=None)
def decided(
    request: Request,
    id: Annotated[str, Form(max_length=100)],
    decision: Annotated[str, Form(max_length=20)],
    correction: Words = "",
    note: Words = "",
    drawn: Annotated[str, Form(max_length=60)] = "",
    cluster: Annotated[str, Form(max_length=100)] = "",
    draw: Annotated[str, Form(max_length=10)] = "both",
) -> RedirectResponse:
    """Keeps a decision, and goes on to the next exchange."""
    asker = _asker(request)
    chosen = next((one for one in people.DECISIONS if one == decision), None)
    if chosen is None:
        raise UsageError(tr("Nothing was decided.", "判定が選ばれていません。"), code="bad_value", param="decision")
    people.decide(id, asker.actor, chosen, correction=correction if chosen == "correct" else None, note=note or None,
                  drawn=drawn, project=asker.project)  # fmt: skip
    return RedirectResponse(f"/review/next?cluster={quoted(cluster)}&draw={quoted(draw)}", 303)


def _says() -> dict[str, str]:
    """What each reason of a failure means."""
    return {name: says for name, (_, says) in REASONS.items()}


def _asker(request: Request) -> Asker:
    found: Asker = request.state.asker
    return found
