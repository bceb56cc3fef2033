"""/index: documents that answers come from; a search shows what would stand before a question, and why."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query, Request

from sodate.api import retrieval
from sodate.api.matching import pieces
from sodate.serve.pages import sight
from sodate.serve.pages.frame import Rooms

rooms = Rooms()


@rooms.shows("/index", "index.html.jinja")
def indexes(request: Request) -> dict[str, Any]:
    """Every index, as `sodate index list` has it."""
    sight.check_house(request)
    return {"indexes": list(reversed(retrieval.indexes()))}


@rooms.shows("/index/{index}", "one_index.html.jinja")
def one_index(
    request: Request,
    index: str,
    q: Annotated[str, Query(max_length=2000)] = "",
    k: Annotated[int, Query(ge=1, le=50)] = 5,
) -> dict[str, Any]:
    """An index, and what it finds for a question, as `sodate index search` has it."""
    sight.check_house(request)
    about = retrieval.show_index(index)
    found = retrieval.search_index(index, q, k) if q.strip() else []
    return {"index": about, "q": q, "k": k, "found": [{**one, "pieces": pieces(one["text"], q)} for one in found]}
