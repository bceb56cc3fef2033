"""/versions: what there is to release, how it came to be, and the moves of aliases, each with its reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import Form, Query, Request
from fastapi.responses import RedirectResponse
from starlette.concurrency import run_in_threadpool

from sodate.api import releasing
from sodate.api import versions as api
from sodate.core.errors import UsageError
from sodate.core.text import tr
from sodate.db.connection import writing
from sodate.jobs import audit
from sodate.serve.pages import sight
from sodate.serve.pages.frame import Rooms, digest, quoted
from sodate.serve.sending import EventStream, event
from sodate.serve.state import server_state
from sodate.serve.watching import Seen
from sodate.serve.who import Asker

rooms = Rooms()

A_PAGE = 50
LOOK_SECONDS = 3.0  # between two looks at the figures of a canary that somebody watches
Words = Annotated[str, Form(max_length=2000)]


@rooms.shows("/versions", "versions.html.jinja")
def versions(request: Request, page: Annotated[int, Query(ge=1, le=100_000)] = 1) -> dict[str, Any]:
    """The versions as `sodate versions list` has them, the newest first, a page of them; and every alias with what it
    means."""
    see = sight.of(request)
    known = [one for one in api.versions() if see.sees_version(one["version"])]
    known.sort(key=lambda one: str(one["created_at"]), reverse=True)
    released = [one for one in releasing.releases() if see.sees_house or see.sees_version(one["version"])]
    meant: dict[str, list[str]] = {}
    for one in released:
        meant.setdefault(one["version"], []).append(one["alias"])
    shown = known[(page - 1) * A_PAGE : page * A_PAGE]
    released = [{**one, "figures": _figures(request, one)} for one in released]
    return {"versions": [{**one, "aliases": meant.get(one["version"], [])} for one in shown], "releases": released,
            "page": page, "pages": -(-len(known) // A_PAGE), "total": len(known)}  # fmt: skip


@rooms.pages.get("/versions/live", response_model=None)
async def live(request: Request, alias: Annotated[str, Query(max_length=200)]) -> EventStream:
    """The mark of a canary's figures, whenever they change; `gone` once it has ended."""
    await run_in_threadpool(sight.check_house, request)
    here = server_state(request)

    def look() -> Seen:
        found = [one for one in releasing.releases() if one["alias"] == alias and one["canary"] is not None]
        if not found:
            return Seen(event({"seen": "", "gone": True}, "state"), last=True)
        return Seen(event({"seen": _mark(_figures(request, found[0]))}, "state"))

    watched = here.watches.told(("canary", alias), lambda: look, LOOK_SECONDS, lambda: here.draining)
    return EventStream(watched, here.settings.send_seconds, {})


def _figures(request: Request, release: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the alias's canary did in this server, with its mark; None where it has none, or none is counted here."""
    told = server_state(request).service.canary_figures(release["alias"]) if release["canary"] else None
    return None if told is None else {**told, "mark": _mark(told)}


def _mark(figures: Mapping[str, Any] | None) -> str:
    """The seconds alone are no news."""
    return digest({key: value for key, value in (figures or {}).items() if key not in ("seconds", "mark")})


@rooms.shows("/versions/{version}", "version.html.jinja")
def one_version(request: Request, version: str) -> dict[str, Any]:
    """A version from its rows to its release, as `sodate versions show` has it."""
    see = sight.of(request)
    sight.check_version(see, version)
    about = api.version(version, check=False)
    released = [one for one in releasing.releases() if see.sees_house or see.sees_version(one["version"])]
    logs = {one["alias"]: releasing.release_log(one["alias"]) for one in released if one["alias"] in about["aliases"]}
    return {"version": about, "releases": released, "logs": logs, "house": see.sees_house}


@rooms.pages.post("/versions/{version}/promote", response_model=None)
def promoted(
    request: Request, version: str, alias: Annotated[str, Form(max_length=200)], reason: Words = "",
    seen: Annotated[list[str] | None, Form(max_length=1000)] = None,
    override: Annotated[str, Form(max_length=5)] = "",
) -> RedirectResponse:  # fmt: skip
    """Makes an alias mean the version. Without a passed gate it takes `override`, and the reason stands in the log."""
    sight.check_house(request)  # aliases are the house's: what one means, every project's requests get
    sight.check_version(sight.of(request), version)
    _check_reason(reason)
    releasing.promote(
        version, alias, override=reason if override else "", reason=reason, by=_asker(request).actor,
        seen=_seen(alias, seen or []),
    )  # fmt: skip
    _note(request, "alias.promoted", f"{alias} {version}")
    return RedirectResponse(f"/versions/{quoted(version)}", 303)


@rooms.pages.post("/versions/{version}/canary", response_model=None)
def begun(
    request: Request, version: str, alias: Annotated[str, Form(max_length=200)],
    percent: Annotated[float, Form(gt=0, lt=100)], reason: Words = "",
    seen: Annotated[list[str] | None, Form(max_length=1000)] = None,
    override: Annotated[str, Form(max_length=5)] = "",
) -> RedirectResponse:  # fmt: skip
    """Lets the version answer a share of the alias's users; where it does so already, another share, by the same
    limits."""
    sight.check_house(request)
    sight.check_version(sight.of(request), version)
    _check_reason(reason)
    running = next((one["canary"] for one in releasing.releases() if one["alias"] == alias), None)
    limits = dict(running["canary"]) if running is not None and running["version"] == version else {}
    releasing.start_canary(
        version, alias, **{**limits, "share": percent / 100}, override=reason if override else "", reason=reason,
        by=_asker(request).actor, seen=_seen(alias, seen or []),
    )  # fmt: skip
    _note(request, "canary.started", f"{alias} {version} {percent:g} %")
    return RedirectResponse("/versions", 303)


@rooms.pages.post("/versions/abort", response_model=None)
def aborted(
    request: Request, alias: Annotated[str, Form(max_length=200)], seen: Annotated[int, Form()], reason: Words = ""
) -> RedirectResponse:
    """Ends the alias's canary."""
    sight.check_house(request)
    _check_reason(reason)
    releasing.abort_canary(alias, reason=reason, by=_asker(request).actor, seen=seen)
    _note(request, "canary.aborted", alias)
    return RedirectResponse("/versions", 303)


@rooms.pages.post("/versions/rollback", response_model=None)
def rolled_back(
    request: Request, alias: Annotated[str, Form(max_length=200)], seen: Annotated[int, Form()], reason: Words = ""
) -> RedirectResponse:
    """Makes an alias mean what it meant before."""
    sight.check_house(request)
    _check_reason(reason)
    move = releasing.rollback(alias, reason=reason, by=_asker(request).actor, seen=seen)
    _note(request, "alias.rolled_back", f"{alias} {move['version']}")
    return RedirectResponse(f"/versions/{quoted(move['version'])}", 303)


def _seen(alias: str, shown: list[str]) -> int:
    """How many moves of `alias` the page showed, which says so of each: `3:support@production`."""
    counts = {of: count for count, _, of in (one.partition(":") for one in shown)}
    count = counts.get(alias, "0")
    return int(count) if count.isdecimal() and len(count) < 10 else 0


def _check_reason(reason: str) -> None:
    if not reason.strip():
        raise UsageError(
            tr("A move needs a reason: it stands in the log.", "理由を書いてください。記録に残ります。"),
            code="bad_value", param="reason",
        )  # fmt: skip


def _note(request: Request, action: str, what: str) -> None:
    asker = _asker(request)
    with writing() as session:
        audit.note(session, asker.project, asker.actor, action, what)


def _asker(request: Request) -> Asker:
    found: Asker = request.state.asker
    return found
