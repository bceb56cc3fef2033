"""/runs: every run, one with its curves as they grow, several laid over each other; stop, pause and resume."""

from __future__ import annotations

import functools
import json
from typing import Annotated, Any

from fastapi import Query, Request
from fastapi.responses import RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from sodate.api import runs as api
from sodate.core.text import tr
from sodate.jobs import crew, tuning
from sodate.serve.pages import sight
from sodate.serve.pages.frame import Rooms, plain, render
from sodate.serve.sending import EventStream, event
from sodate.serve.state import server_state
from sodate.serve.watching import Look, Seen
from sodate.serve.who import Asker

rooms = Rooms()

A_PAGE = 50
MOST_TOGETHER = 8  # runs in one picture
LOOK_SECONDS = 1.0  # between two looks at a run that somebody watches
STOP_SECONDS = 5.0  # that a page waits for a run to end its step

# What is drawn, each with the metrics in it. Others get a picture of their own at the end.
CHARTS = (
    ("loss", tr("Loss", "損失"), ("loss", "eval_loss")),
    ("reward", tr("Reward", "報酬"), ("reward_mean", "eval_reward", "rewards/chosen", "rewards/rejected", "margin",
                                     "eval_margin")),
    ("accuracy", tr("Accuracy", "正答率"), ("accuracy", "eval_accuracy")),
    ("kl", tr("Distance from the reference (KL)", "参照モデルからの距離 (KL)"), ("kl", "kl_reply", "engine_kl")),
    ("entropy", tr("Entropy", "エントロピー"), ("entropy",)),
    ("lr", tr("Learning rate", "学習率"), ("lr",)),
    ("grad", tr("Gradient norm", "勾配ノルム"), ("grad_norm",)),
)  # fmt: skip


@rooms.shows("/runs", "runs.html.jinja")
def runs(
    request: Request,
    status: Annotated[str, Query(max_length=20)] = "",
    page: Annotated[int, Query(ge=1, le=100_000)] = 1,
) -> dict[str, Any]:
    """The runs, the newest first, as `sodate runs list` has them; a page of them."""
    see = sight.of(request)
    known = [one for one in reversed(api.runs()) if see.sees_run(one["run"])]
    found = [one for one in known if not status or one["status"] == status]
    rows = [{**one, "job": see.job_of(one["run"])} for one in found[(page - 1) * A_PAGE : page * A_PAGE]]
    states = sorted({one["status"] for one in known})
    return {"runs": rows, "total": len(found), "page": page, "pages": -(-len(found) // A_PAGE), "status": status,
            "states": states}  # fmt: skip


@rooms.wire.get("/runs/{run}/curve", response_model=None)
def curve(
    request: Request,
    run: str,
    points: Annotated[int, Query(ge=2, le=10_000)] = 1000,
    first: Annotated[int | None, Query(ge=0)] = None,
    last: Annotated[int | None, Query(ge=0)] = None,
) -> Response:
    """The curves of a run, thinned so that no spike is lost."""
    sight.check_run(sight.of(request), run)
    return Response(_curve(run, points, first, last, api.stamp(run)), media_type="application/json")


@functools.lru_cache(maxsize=32)
def _curve(run: str, points: int, first: int | None, last: int | None, _stamp: tuple[object, ...]) -> bytes:
    """The curves as JSON, made once for all who look at the same part of a run that has not gone on."""
    return json.dumps(api.curve(run, points, first, last), separators=(",", ":")).encode()


@rooms.pages.get("/runs/compare", response_model=None)
def compared(request: Request, run: Annotated[list[str], Query(max_length=MOST_TOGETHER)]) -> Response:
    """Several runs in the same pictures."""
    see = sight.of(request)
    for one in run:
        sight.check_run(see, one)
    return render(request, "compare.html.jinja", runs=[api.run(one) for one in dict.fromkeys(run)], charts=CHARTS)


@rooms.shows("/runs/{run}", "run.html.jinja")
def one_run(request: Request, run: str) -> dict[str, Any]:
    """A run, as `sodate runs show` has it, with the job that asked for it."""
    see = sight.of(request)
    sight.check_run(see, run)
    return {"run": api.run(run), "job": see.job_of(run), "charts": CHARTS}


@rooms.pages.get("/runs/{run}/live", response_model=None)
async def live(request: Request, run: str) -> EventStream:
    """How far the run is, as often as that changes, until it does not run any more."""
    await run_in_threadpool(lambda: sight.check_run(sight.of(request), run))
    here = server_state(request)
    told = here.watches.told(("run", run), lambda: _look(run), LOOK_SECONDS, lambda: here.draining)
    return EventStream(told, here.settings.send_seconds, {})


def _look(run: str) -> Look:
    """Reads what a run has written only where it has written something."""
    before: tuple[object, ...] = ()

    def look() -> Seen | None:
        nonlocal before
        if (now := api.stamp(run)) == before:
            return None
        before = now
        about = api.standing(run)
        return Seen(event(json.dumps(plain(about)), "state"), last=about["status"] != "running")

    return look


@rooms.pages.post("/runs/{run}/stop", response_model=None)
def stopped(request: Request, run: str) -> RedirectResponse:
    """Ends the run after its step, with a checkpoint; a job is paused."""
    see, asker = sight.of(request), _asker(request)
    sight.check_run(see, run)
    if (job := see.job_of(run)) is not None:
        tuning.pause(job, see.runs[run][0], asker.actor)
    else:
        api.stop_run(run, STOP_SECONDS)
    return RedirectResponse(f"/runs/{run}", 303)


@rooms.pages.post("/runs/{run}/resume", response_model=None)
def resumed(request: Request, run: str) -> RedirectResponse:
    """Goes on with the run from its last checkpoint."""
    see, asker = sight.of(request), _asker(request)
    sight.check_run(see, run)
    if (job := see.job_of(run)) is not None:
        tuning.resume(job, see.runs[run][0], asker.actor)
    else:
        crew.resume(run)
    return RedirectResponse(f"/runs/{run}", 303)


def _asker(request: Request) -> Asker:
    found: Asker = request.state.asker
    return found
