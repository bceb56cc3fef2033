"""/v1/fine_tuning/alpha/graders: whether a grader is one, and what it says about a reply."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from sodate.api.grading import check_grader, run_grader
from sodate.api.judging import ServedJudges
from sodate.serve.state import server_state
from sodate.serve.wire import Body, Free

router = APIRouter(prefix="/v1/fine_tuning/alpha/graders")


class Validate(Body):
    grader: Free


class Run(Body):
    grader: Free
    model_sample: str
    item: Free | None = None


@router.post("/validate", response_model=None)
def validated(asked: Validate) -> JSONResponse:
    """The grader as it was given, if it is one."""
    check_grader(asked.grader)
    return JSONResponse({"grader": asked.grader})


@router.post("/run", response_model=None)
async def ran(request: Request, asked: Run) -> JSONResponse:
    """The reward of one reply, and what went wrong where there is none."""
    judges = ServedJudges(server_state(request).service, request.state.project)
    answer = await asyncio.to_thread(run_grader, asked.grader, asked.model_sample, asked.item or {}, judges)
    return JSONResponse(answer)
