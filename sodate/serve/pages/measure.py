"""/reports/new: an evaluation is asked for, by the function that `sodate eval` calls, and watched until its report is
there."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Form, Query, Request
from fastapi.responses import RedirectResponse

from sodate.api import versions as api
from sodate.api.datasets import list_datasets
from sodate.api.models import models
from sodate.core.errors import UsageError
from sodate.core.text import tr
from sodate.jobs import files, measuring
from sodate.serve.pages import sight
from sodate.serve.pages.frame import Rooms
from sodate.serve.who import Asker

rooms = Rooms()

Name = Annotated[str, Query(max_length=400)]
MOST_MODELS = 6  # of one evaluation
MOST_LISTED = 200

# Those that need no file, each with what it asks of a reply.
GRADERS = (
    ("exact", tr("the very text of the right reply", "正解と同じ文")),
    ("label", tr("the right label, and nothing else", "正しいラベルだけ")),
    ("text_similarity", tr("how alike it is to the right reply", "正解との近さ")),
    ("fields", tr("the fields of the right JSON", "正解の JSON の項目")),
    ("json", tr("valid JSON", "JSON として正しいか")),
    ("number", tr("the right number", "正しい数値")),
    ("math", tr("the same result of a calculation", "計算結果の一致")),
    ("tone_ja", tr("polite Japanese (です・ます)", "丁寧な日本語（です・ます）")),
    ("abstention", tr("says that it does not know where it should", "分からないときに「分からない」と言うか")),
)


@rooms.shows("/reports/new", "measure.html.jinja")
def measure(request: Request, version: Name = "") -> dict[str, Any]:
    """What can be evaluated, on which held-out rows, and how replies are graded."""
    sight.check_house(request)
    see = sight.of(request)
    made = sorted(api.versions(), key=lambda one: str(one["created_at"]), reverse=True)
    known = [one["version"] for one in made if see.sees_version(one["version"])]
    bases = [entry.id for entry in models()]
    base = ""
    if version:
        sight.check_version(see, version)
        base = str(api.version(version, check=False)["base"])
    against = base if base in (*known, *bases) else next(iter(bases), "")
    return {"version": version, "versions": known[:MOST_LISTED], "bases": bases, "against": against,
            "held_out": held_out(request), "graders": [{"name": n, "says": s} for n, s in GRADERS]}  # fmt: skip


@rooms.pages.post("/reports/new", response_model=None)
def begun(
    request: Request, version: Annotated[str, Form(max_length=400)],
    data: Annotated[str, Form(max_length=140)],
    against: Annotated[list[str] | None, Form(max_length=MOST_MODELS)] = None,
    grader: Annotated[list[str] | None, Form(max_length=len(GRADERS))] = None,
    limit: Annotated[str, Form(pattern="^([0-9]{1,6}|)$")] = "",
) -> RedirectResponse:  # fmt: skip
    """Puts the evaluation into the queue."""
    sight.check_house(request)
    asker = _asker(request)
    see = sight.of(request)
    known = {one["version"] for one in api.versions() if see.sees_version(one["version"])}
    known |= {entry.id for entry in models()}
    asked = list(dict.fromkeys([*(one for one in against or [] if one), version]))
    if wrong := next((one for one in asked if one not in known), None):
        raise UsageError(
            tr(f"There is no model {wrong!r}.", f"モデル {wrong!r} はありません。"),
            code="model_not_found", param="model",
        )  # fmt: skip
    chosen = [name for name, _ in GRADERS if name in (grader or [])]
    if not chosen:
        raise UsageError(
            tr("Choose how replies are graded.", "採点方法を選んでください。"), code="bad_value", param="grader"
        )
    name = measuring.ask(asker.project, asker.actor, asked, data, chosen, int(limit or 0) or None)
    return RedirectResponse(f"/reports/running/{name}", 303)


@rooms.shows("/reports/running/{name}", "measuring.html.jinja")
def running(request: Request, name: str) -> dict[str, Any]:
    """How far an evaluation is, and its report once it is there."""
    sight.check_house(request)
    return {"one": measuring.one(name, _asker(request).project)}


@rooms.pages.post("/reports/running/{name}/cancel", response_model=None)
def cancelled(request: Request, name: str) -> RedirectResponse:
    """Ends an evaluation; what it has answered so far is not kept."""
    sight.check_house(request)
    asker = _asker(request)
    measuring.cancel(name, asker.project, asker.actor)
    return RedirectResponse("/reports", 303)


def held_out(request: Request) -> list[dict[str, str]]:
    """What can be measured on: held-out datasets, and files of the project, the newest first."""
    known, _ = files.listed(
        _asker(request).project, purpose=files.TRAINING, after=None, limit=MOST_LISTED, order="desc"
    )
    sets = [one["dataset"] for one in reversed(list_datasets()) if one["role"] == "held-out"]
    return [*({"id": one, "name": one} for one in sets), *({"id": one["id"], "name": one["filename"]} for one in known)]


def _asker(request: Request) -> Asker:
    found: Asker = request.state.asker
    return found
