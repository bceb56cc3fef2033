"""/reports: evaluations with their verdicts, what was mended and what was spoiled, two of them side by side."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query, Request
from fastapi.responses import Response

from sodate.api import reports as api
from sodate.api.versions import find_version
from sodate.core.errors import UsageError
from sodate.core.text import tr
from sodate.jobs import measuring
from sodate.serve.pages import frame, sight
from sodate.serve.pages.frame import Rooms
from sodate.serve.who import Asker

rooms = Rooms()

A_PAGE = 50
ROWS = 10  # of flips at a time
_REACH = 0.1  # points of the axis of differences come in steps of this

Name = Annotated[str, Query(max_length=400)]


@rooms.shows("/reports", "reports.html.jinja")
def reports(request: Request, version: Name = "", page: Annotated[int, Query(ge=1, le=100_000)] = 1) -> dict[str, Any]:
    """Every report as `sodate reports list` has it, the newest first."""
    sight.check_house(request)
    known = [one for one in reversed(api.reports()) if not version or version in one["models"]]
    asker: Asker = request.state.asker
    return {"reports": known[(page - 1) * A_PAGE : page * A_PAGE], "page": page, "pages": -(-len(known) // A_PAGE),
            "total": len(known), "version": version, "running": measuring.listed(asker.project)}  # fmt: skip


@rooms.shows("/reports/compare", "reports_compared.html.jinja")
def compared(request: Request, report: Annotated[list[str], Query(max_length=8)]) -> dict[str, Any]:
    """Two reports side by side, as `sodate reports compare` has them."""
    sight.check_house(request)
    if len(report) != 2:
        raise UsageError(
            tr("Choose two reports to compare.", "比べるレポートを二つ選んでください。"),
            code="bad_value",
            param="report",
        )
    return api.compare_reports(*report)


@rooms.shows("/reports/{report}", "report.html.jinja")
def one_report(request: Request, report: str) -> dict[str, Any]:
    """A report's figures, as `sodate reports show` has them."""
    sight.check_house(request)
    about = api.report(report)
    ends = [abs(end) for one in about.get("comparisons", ()) for end in (one["ci"] or [one["diff"]])]
    reach = max(_REACH, _REACH * -(-max(ends, default=0) // _REACH))
    versions = [exact for exact in (about.get("measured") or {}).values() if find_version(exact) is not None]
    return {"report": about, "reach": min(1.0, reach), "versions": versions}


@rooms.shows("/reports/{report}/flips", "flips.html.jinja")
def flips(
    request: Request, report: str, candidate: Name, baseline: Name, grader: Name, kind: Name = "fixed",
    first: Annotated[int, Query(ge=0)] = 0,
) -> dict[str, Any]:  # fmt: skip
    """Rows that a candidate mended or spoiled, a few at a time."""
    sight.check_house(request)
    return {"first": first, "step": ROWS, "kinds": api.FLIPS,
            **api.flips(report, candidate, baseline, grader, kind, first, ROWS)}  # fmt: skip


@rooms.pages.get("/reports/{report}/page", response_model=None)
def own_page(request: Request, report: str) -> Response:
    """The report as the page that was written with it, to print or hand on. Nothing in it runs."""
    sight.check_house(request)
    answer = frame.zipped(request, api.page(report).read_bytes(), "text/html; charset=utf-8")
    answer.headers["content-security-policy"] = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    return answer
