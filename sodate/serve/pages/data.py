"""/data: files of a project, what a check says of their rows, the rows as people and models see them; training begins
here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from fastapi import Form, Query, Request
from fastapi.responses import RedirectResponse
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool

from sodate.api import data as api
from sodate.api import datasets, looking
from sodate.api.checks import check_name
from sodate.api.datasets import list_datasets
from sodate.api.models import models
from sodate.core.errors import SodateError, UsageError
from sodate.core.text import tr
from sodate.db.connection import reading
from sodate.jobs import bases, files, sharing, tuning
from sodate.jobs.belonging import Belonging
from sodate.serve.pages import sight
from sodate.serve.pages.frame import Rooms, digest
from sodate.serve.pages.waiting import waiting
from sodate.serve.sending import EventStream, event
from sodate.serve.settings import DEFAULT_PROJECT
from sodate.serve.state import server_state
from sodate.serve.tuning_wire import JobRequest
from sodate.serve.watching import Seen
from sodate.serve.who import Asker

rooms = Rooms()

A_PAGE = 50
ROWS = 10
LOOK_SECONDS = 3.0  # between two looks at the jobs of a project that somebody watches
MOST_FILES = 500  # of a project, the newest, that are listed


def _mark(shown: Mapping[str, Any]) -> str:
    return digest(shown["jobs"])


@rooms.pages.get("/data/live", response_model=None)
async def live(request: Request) -> EventStream:
    """The mark of the list of jobs, whenever it changes."""
    see = await run_in_threadpool(sight.of, request)
    project, here = _asker(request).project, server_state(request)

    def look() -> Seen:
        return Seen(event({"seen": _mark({"jobs": _jobs(project, sight.again(see))})}, "state"))

    watched = here.watches.told(("jobs", project), lambda: look, LOOK_SECONDS, lambda: here.draining)
    return EventStream(watched, here.settings.send_seconds, {})


@rooms.shows("/data", "data.html.jinja", _mark)
def data(request: Request) -> dict[str, Any]:
    """The files of the project that can be trained on, the newest first, and its jobs that have not ended."""
    project = _asker(request).project
    known, more = files.listed(project, purpose=files.TRAINING, after=None, limit=MOST_FILES, order="desc")
    see = sight.of(request)
    sets, jobs = list_datasets() if see.sees_house else [], _jobs(project, see)
    return {"files": known, "more": more, "datasets": list(reversed(sets)), "jobs": jobs}


def _jobs(project: str, see: Belonging) -> list[dict[str, Any]]:
    """Those that have not ended, each with its run if it has one."""
    jobs, _ = tuning.listed(project, None, 20, (), False)
    runs = {job: run for run, (_, job) in see.runs.items()}
    return [{**job, "run": runs.get(job["id"])} for job in jobs if job["status"] not in tuning.ENDED]


@rooms.shows("/data/sets/{dataset}", "dataset.html.jinja")
def one_dataset(
    request: Request,
    dataset: str,
    old: Annotated[str, Query(max_length=140)] = "",
    first: Annotated[int, Query(ge=1)] = 1,
    only: Annotated[str, Query(pattern="^(all|added|changed)$")] = "all",
) -> dict[str, Any]:
    """A version of a dataset as `sodate data show|log|diff` have it: where its rows are from, and what is new in it."""
    sight.check_house(request)
    about, history = datasets.show(dataset), datasets.log(dataset)
    before = old or about.get("parent")
    change = datasets.diff(before, history["dataset"]) if before else None
    path = Path(about["file"])
    wanted = list(range(first, first + ROWS))
    if change is not None and only != "all":
        new = set(change[only])
        lines = [line for line, row in enumerate(datasets.row_ids(history["dataset"]), 1) if row in new]
        wanted = [line for line in lines if line >= first][:ROWS]
    rows = looking.look(path, wanted) if wanted else []
    return {"dataset": history["dataset"], "about": about, "log": history, "change": change, "rows": rows,
            "first": first, "step": ROWS, "only": only, "old": old}  # fmt: skip


@rooms.shows("/data/{id}", "file.html.jinja")
def one_file(
    request: Request, id: str, code: Annotated[str, Query(max_length=60)] = "", first: Annotated[int, Query(ge=0)] = 0
) -> dict[str, Any]:
    """What `sodate data check` says of a file: its ledger, by code, and its figures."""
    about, path = _file(request, id)
    done = waiting.work(("check", path), lambda: api.check(path))
    told: dict[str, Any] = {"file": about, "models": _models(request), "others": _others(request, id)}
    if not done.ready():
        return {**told, "check": None, "share": done.share}
    return {**told, "check": looking.checked(done.result, code, first, A_PAGE), "share": 1.0}


@rooms.shows("/data/{id}/rows", "rows.html.jinja")
def rows(
    request: Request,
    id: str,
    first: Annotated[int, Query(ge=1)] = 1,
    line: Annotated[list[int] | None, Query(max_length=ROWS)] = None,
    model: Annotated[str, Query(max_length=200)] = "",
) -> dict[str, Any]:
    """Rows of a file, ten at a time or those of the given lines; with a model, what it is trained on is marked."""
    about, path = _file(request, id)
    names = _bases()
    if model and model not in names:
        raise UsageError(
            tr(f"There is no model {model!r}.", f"モデル {model!r} はありません。"),
            code="model_not_found",
            param="model",
        )
    wanted = line or list(range(first, first + ROWS))
    found = looking.look(path, wanted, model or None)
    return {"file": about, "rows": found, "first": first, "step": ROWS, "lines": line, "model": model, "models": names}


@rooms.pages.post("/data/{id}/train", response_model=None)
def train(
    request: Request,
    id: str,
    model: Annotated[str, Form(max_length=200)],
    held_out: Annotated[str, Form(max_length=100)] = "",
    name: Annotated[str, Form(max_length=40)] = "",
    method: Annotated[str, Form(pattern="^(supervised|dpo)$")] = "supervised",
    epochs: Annotated[str, Form(pattern="^(auto|[0-9]{1,2}|)$")] = "auto",
) -> RedirectResponse:
    """Asks for a fine-tuning job, as `POST /v1/fine_tuning/jobs` does; a worker trains it.

    Where it is the house's own, `name` is that of its versions, so that the next one is NAME@2."""
    asker = _asker(request)
    own = bool(name) and asker.project == DEFAULT_PROJECT
    if own:
        check_name(name)
    chosen = {"n_epochs": int(epochs) if epochs.isdecimal() else "auto"}
    try:
        asked = JobRequest.model_validate({
            "model": model, "training_file": id, "validation_file": held_out or None, "suffix": name or None,
            "method": {"type": method, method: {"hyperparameters": chosen}},
        })  # fmt: skip
    except ValidationError:
        raise UsageError(
            tr("These settings can't be used.", "この設定では学習できません。"), code="bad_value", param="epochs"
        ) from None
    base = bases.find(asked.model, asker.project, server_state(request).service.names)
    tuning.create(asker.project, asker.actor, asked.plain(), base, version=name if own else "")
    return RedirectResponse("/data", 303)


@rooms.pages.post("/data/jobs/{job}/{what}", response_model=None)
def asked_of_a_job(request: Request, job: str, what: str) -> RedirectResponse:
    """Cancels, pauses or resumes a job that has no run yet to look at."""
    asker = _asker(request)
    known = {"cancel": tuning.cancel, "pause": tuning.pause, "resume": tuning.resume}
    if what not in known:
        raise SodateError(tr("There is nothing at this address.", "このアドレスには何もありません。"), code="not_found")
    known[what](job, asker.project, asker.actor)
    return RedirectResponse("/data", 303)


def _file(request: Request, id: str) -> tuple[dict[str, Any], Any]:
    with reading() as session:
        row = files.get(session, id, _asker(request).project)
        return files.shown(row), files.path(row)


def _others(request: Request, id: str) -> list[dict[str, Any]]:
    known, _ = files.listed(_asker(request).project, purpose=files.TRAINING, after=None, limit=100, order="desc")
    return [one for one in known if one["id"] != id]


def _models(request: Request) -> list[str]:
    """What can be trained further: base models of this machine, and tuned models of the project."""
    return [*_bases(), *(one["id"] for one in sharing.models(_asker(request).project))]


def _bases() -> list[str]:
    return [entry.id for entry in models()]


def _asker(request: Request) -> Asker:
    found: Asker = request.state.asker
    return found
