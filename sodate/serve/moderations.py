"""POST /v1/moderations: by rules, and it says so."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from pydantic import Field

from sodate.api.moderation import MODEL, moderate
from sodate.core.errors import UsageError
from sodate.core.ids import new_id
from sodate.core.text import tr
from sodate.serve.wire import Body, Part

router = APIRouter()


class Asked(Body):
    input: str | Annotated[list[str] | list[Part], Field(min_length=1, max_length=2048)]
    model: str | None = None  # whatever is asked for, the rules answer


@router.post("/v1/moderations", response_model=None)
def moderated(asked: Asked) -> JSONResponse:
    """A result for each text, or one for all parts of a message. `found` names the phrases, which OpenAI's has not."""
    given = asked.input if isinstance(asked.input, list) else [asked.input]
    parts = [part for part in given if isinstance(part, Part)]
    if any(part.type != "text" or part.text is None for part in parts):
        raise UsageError(
            tr("Only text is moderated here.", "ここで判定できるのはテキストだけです。"),
            code="invalid_value", param="input",
        )  # fmt: skip
    texts = ["\n".join(part.text or "" for part in parts)] if parts else [str(text) for text in given]
    return JSONResponse({"id": new_id("modr-"), "model": MODEL, "results": [_result(text) for text in texts]})


def _result(text: str) -> dict[str, Any]:
    found = moderate(text)
    return {
        "flagged": any(found.values()),
        "categories": {category: bool(phrases) for category, phrases in found.items()},
        "category_scores": {category: float(bool(phrases)) for category, phrases in found.items()},
        "category_applied_input_types": {category: ["text"] for category in found},
        "found": {category: phrases for category, phrases in found.items() if phrases},
    }
