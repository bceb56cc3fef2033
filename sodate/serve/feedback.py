"""POST /v1/feedback: what people say of replies that were kept."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import Field, field_validator

from sodate.learn import feedback
from sodate.serve.state import server_state
from sodate.serve.wire import Body

router = APIRouter()
ARRIVAL = 5.0  # seconds for an exchange to come to the disk before its feedback is refused


class FeedbackRequest(Body):
    """What is left out stays as it was said before. A thumb is up or down; true and false, 1 and -1 are read, too."""

    reply_id: str = Field(max_length=100)
    thumb: Literal["up", "down"] | None = None
    correction: str | None = None
    sent: str | None = None
    label: str | None = None
    comment: str | None = None
    ranking: list[int] | None = Field(None, max_length=128)
    user: str | None = Field(None, max_length=512)

    @field_validator("thumb", mode="before")
    @classmethod
    def _spelt(cls, value: Any) -> Any:
        if isinstance(value, bool | int):
            return (
                {1: "up", 0: "down", -1: "down"}.get(int(value), value) if isinstance(value, bool) or value else value
            )
        return {"👍": "up", "👎": "down"}.get(value, value) if isinstance(value, str) else value


@router.post("/v1/feedback", response_model=None)
def given(request: Request, asked: FeedbackRequest) -> JSONResponse:
    """Keeps what somebody says of a reply. The same once more changes nothing."""
    here = server_state(request)
    told = feedback.give(
        **asked.model_dump(), project=request.state.project, actor=request.state.actor,
        waiting=lambda: here.recorder.flush(ARRIVAL),
    )  # fmt: skip
    return JSONResponse(told)
