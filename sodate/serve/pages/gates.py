"""/versions/…/gate: what a version has to have shown before it is released, and whether it has."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Form, Request
from fastapi.responses import RedirectResponse

from sodate.api import gates as api
from sodate.api import releasing
from sodate.api import versions as known_versions
from sodate.api.models import models
from sodate.core import home
from sodate.core.errors import UsageError
from sodate.core.text import tr
from sodate.db.connection import reading, writing
from sodate.jobs import audit, files
from sodate.serve.pages import sight
from sodate.serve.pages.frame import Rooms, quoted
from sodate.serve.pages.measure import GRADERS, MOST_LISTED, held_out
from sodate.serve.who import Asker

rooms = Rooms()

ASKS = (
    ("", tr("is not asked about", "問わない")),
    ("target", tr("has to be better than the baseline", "基準より良いこと")),
    ("guard", tr("may not be worse than the baseline", "基準より悪くないこと")),
    ("blocking", tr("no row may fall short", "満点でない行がないこと")),
)


@rooms.shows("/versions/{version}/gate", "gate.html.jinja")
def gate(request: Request, version: str) -> dict[str, Any]:
    """The gates that are kept, and what a new one can ask."""
    sight.check_house(request)
    sight.check_version(sight.of(request), version)
    about = known_versions.version(version, check=False)
    released = [one["alias"] for one in releasing.releases()]
    see = sight.of(request)
    known = [one["version"] for one in known_versions.versions() if see.sees_version(one["version"])]
    others = [one for one in known if one != about["version"]]
    return {
        "version": about["version"], "gates": api.gates(), "asks": [{"tier": t, "says": s} for t, s in ASKS],
        "graders": [name for name, _ in GRADERS], "held_out": held_out(request),
        "measured": sorted({one["grader"] for one in about["quality"]}),
        "baselines": [about["base"], *released, *reversed(others), *(entry.id for entry in models())][:MOST_LISTED],
    }  # fmt: skip


@rooms.pages.post("/versions/{version}/gate", response_model=None)
def held(request: Request, version: str, gate: Annotated[str, Form(max_length=64)]) -> RedirectResponse:
    """Holds the version against a gate that is kept; the record stands on its page."""
    sight.check_house(request)
    sight.check_version(sight.of(request), version)
    home.checked_name(gate, tr("Gate", "ゲート"))
    try:
        record = releasing.check_gate(version, gate)
    except UsageError as error:
        if error.code != "file_missing":
            raise
        raise UsageError(
            tr(f"The held-out rows of the gate {gate} are not there any more.",
               f"ゲート {gate} の評価データがもうありません。"), code="not_found", param="gate",
        ) from None  # fmt: skip
    _note(request, "gate.checked", f"{gate} {record['version']}")
    return RedirectResponse(f"/versions/{quoted(record['version'])}", 303)


@rooms.pages.post("/versions/{version}/gate/new", response_model=None)
async def kept(request: Request, version: str) -> RedirectResponse:
    """Keeps a new gate."""
    sight.check_house(request)
    sight.check_version(sight.of(request), version)
    form = await request.form()
    given = {key: str(value)[:400] for key, value in form.items()}
    points = given.get("margin") or "2"
    try:
        margin = float(points) / 100
    except ValueError:
        raise UsageError(
            tr(f"{points} is not a number of points.", f"{points} は点数として読めません。"),
            code="bad_value", param="margin",
        ) from None  # fmt: skip
    asked: dict[str, list[str]] = {"target": [], "guard": [], "blocking": []}
    for grader, _ in GRADERS:
        asked.get(given.get(f"asks:{grader}", ""), []).append(grader)
    if not any(asked.values()):
        raise UsageError(
            tr("Choose what the gate asks.", "ゲートの条件を選んでください。"), code="bad_value", param="asks"
        )
    api.keep_gate(
        given.get("name", ""), data=_rows(request, given.get("data", "")), baseline=given.get("baseline", ""),
        blocking=asked["blocking"], target=asked["target"], guard=dict.fromkeys(asked["guard"], margin),
    )  # fmt: skip
    _note(request, "gate.kept", given.get("name", ""))
    return RedirectResponse(f"/versions/{quoted(version)}/gate", 303)


def _rows(request: Request, data: str) -> str:
    """Where held-out rows lie that a form names."""
    if home.dataset_rows(data) is not None:
        return data
    asker: Asker = request.state.asker
    with reading() as session:
        return str(files.path(files.get(session, data, asker.project)))


def _note(request: Request, action: str, what: str) -> None:
    asker: Asker = request.state.asker
    with writing() as session:
        audit.note(session, asker.project, asker.actor, action, what)
