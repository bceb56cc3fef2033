"""Evaluations that were asked for on the pages: they wait in the queue, and a worker has each made, by the function
that `sodate eval` calls, in a process of its own.

    evaluations/20260131-093000-3f2a/
      asked.json       by whom, of what
      progress.json    how far it is, while it is made
      ended.json       its report, or why there is none
"""

from __future__ import annotations

import datetime
import os
import secrets
import shlex
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from sodate.core import home
from sodate.core.errors import SodateError, UsageError
from sodate.core.files import read_json, write_json
from sodate.core.manifests import SCHEMA_VERSION, read_kept
from sodate.core.progress import Progress, told_to
from sodate.core.runs import now
from sodate.core.text import en, ja, language, tr
from sodate.db.connection import reading, writing
from sodate.db.tables import Work
from sodate.jobs import audit, files, queue, quotas
from sodate.jobs.apart import apart

KIND = "evaluation"
MOST_TRIES = 5  # workers that may end over one
SHOWN = 20  # the newest are listed
TELL_SECONDS = 0.5  # between two looks at how far it is


class _Cancelled(Exception):
    """Nobody wants it any more."""


class _Stopped(Exception):
    """The worker ends; another goes on."""


def ask(
    project: str, actor: str, models: Sequence[str], data: str, graders: Sequence[str], limit: int | None = None
) -> str:
    """Puts an evaluation into the queue and returns its name. `data` is a file of the project, by its id, or a dataset.

    UsageError where there is no such file.
    """
    with writing() as session:
        rows = home.dataset_rows(data)
        if rows is not None and not rows.exists():
            raise UsageError(
                tr(f"There is no dataset {data}.", f"データセット {data} はありません。"),
                code="dataset_not_found", param="data",
            )  # fmt: skip
        shown = data if rows is not None else files.get(session, data, project).filename
        quotas.check_waiting(session, project)
        stamp = datetime.datetime.now(datetime.UTC).strftime("%Y%m%d-%H%M%S")
        name = f"{stamp}-{secrets.token_hex(4)}"
        asked = {
            "schema_version": SCHEMA_VERSION, "evaluation": name, "project": project, "by": actor, "at": now(),
            "models": list(models), "data": data, "file": shown, "graders": list(graders), "limit": limit,
            "language": language(),
        }  # fmt: skip
        write_json(_folder(name) / "asked.json", asked)
        queue.put(session, name, KIND, project)
        audit.note(session, project, actor, "evaluation.asked", name)
    return name


def one(name: str, project: str) -> dict[str, Any]:
    """What was asked, and how it stands: queued, running with its `progress`, succeeded with its `report`, failed with
    its `error`, or cancelled. Another project's is not there."""
    asked = _asked(name)
    if asked is None or asked["project"] != project:
        raise UsageError(
            tr(f"There is no evaluation {name[:100]!r}.", f"評価 {name[:100]!r} はありません。"),
            code="not_found", param="evaluation",
        )  # fmt: skip
    with reading() as session:
        owners = _owners(session, Work.id == name)
    return _shown(asked, owners)


def listed(project: str) -> list[dict[str, Any]]:
    """The newest evaluations of a project that did not come to a report, the newest first."""
    root = home.evaluations_dir()
    names = sorted(os.listdir(root), reverse=True) if root.exists() else []  # noqa: PTH208
    with reading() as session:
        owners = _owners(session, Work.kind == KIND)
    asked = [about for name in names[:SHOWN] if (about := _asked(name)) is not None and about["project"] == project]
    return [told for about in asked if (told := _shown(about, owners))["status"] not in ("succeeded", "cancelled")]


def cancel(name: str, project: str, actor: str) -> None:
    """Ends an evaluation. One that has ended stays as it is."""
    one(name, project)
    with writing() as session:
        row = session.scalar(sa.select(Work).where(Work.id == name).with_for_update())
        if row is None:
            return
        if row.owner is None:
            session.delete(row)
            _end(name, {"status": "cancelled"})
        else:
            row.wanted = "cancel"
        audit.note(session, project, actor, "evaluation.cancelled", name)


def run(claim: queue.Claim, stopping: threading.Event) -> None:
    """Makes a claimed evaluation, or gives it back where the worker ends."""
    try:
        ended = _made(claim, stopping)
    except _Stopped:
        queue.release(claim)
        return
    except _Cancelled:
        ended = {"status": "cancelled"}
    except SodateError as error:
        said = {"message": [en(error.message), ja(error.message)], "fix": [en(error.fix), ja(error.fix)]}
        ended = {"status": "failed", "error": {"code": error.code, **said}}
    _end(claim.id, ended)
    with writing() as session:
        queue.finish(session, claim)


def _made(claim: queue.Claim, stopping: threading.Event) -> dict[str, Any]:
    if claim.tries > MOST_TRIES:
        raise SodateError(
            tr(f"{MOST_TRIES} workers ended over this evaluation.",
               f"この評価の途中でワーカーが {MOST_TRIES} 回終了しました。"), code="worker_crashed",
        )  # fmt: skip
    asked = read_json(_folder(claim.id) / "asked.json")
    data = asked["data"]
    if home.dataset_rows(data) is None:
        with reading() as session:
            data = str(files.path(files.get(session, data, claim.project)))
    last = 0.0

    def look() -> None:
        if queue.beat(claim) == "cancel":
            raise _Cancelled
        if stopping.is_set():
            raise _Stopped

    def tell(progress: Progress) -> None:
        nonlocal last
        if progress.at - last >= TELL_SECONDS or progress.done == progress.total:
            last = progress.at
            about = {"work": progress.work, "done": progress.done, "total": progress.total, "of": progress.of}
            write_json(_folder(claim.id) / "progress.json", about)

    graders = [word for grader in asked["graders"] for word in ("--grader", grader)]
    replay = shlex.join(["sodate", "eval", *asked["models"], "--data", asked["file"], *graders])
    with told_to(tell):
        done = apart(
            "evaluate", look, language=asked["language"], models=asked["models"], data=data, graders=asked["graders"],
            limit=asked["limit"], title=f"{', '.join(asked['models'])}: {asked['file']}", replay=replay,
        )  # fmt: skip
    return {"status": "succeeded", "report": done["report"]}


def _end(name: str, ended: Mapping[str, Any]) -> None:
    write_json(_folder(name) / "ended.json", {"schema_version": SCHEMA_VERSION, "at": now(), **ended})


def _shown(asked: Mapping[str, Any], owners: Mapping[str, str | None]) -> dict[str, Any]:
    folder = _folder(asked["evaluation"])
    about = {key: value for key, value in asked.items() if key not in ("schema_version", "language")}
    told: dict[str, Any] = {**about, "progress": None, "report": None, "error": None}
    if (folder / "ended.json").exists():
        ended = read_kept(folder / "ended.json")
        error = ended.get("error")
        told |= {"status": ended["status"], "report": ended.get("report")}
        if error is not None:
            told["error"] = {"code": error["code"], "message": tr(*error["message"]), "fix": tr(*error["fix"])}
        return told
    running = owners.get(asked["evaluation"]) is not None
    if running and (folder / "progress.json").exists():
        told["progress"] = read_json(folder / "progress.json")
    return {**told, "status": "running" if running else "queued"}


def _owners(session: Session, which: sa.ColumnElement[bool]) -> dict[str, str | None]:
    return {row.id: row.owner for row in session.execute(sa.select(Work.id, Work.owner).where(which))}


def _asked(name: str) -> dict[str, Any] | None:
    path = _folder(name) / "asked.json" if home.NAME.fullmatch(name) else None
    if path is None or not path.exists():
        return None
    asked: dict[str, Any] = read_kept(path)
    return asked


def _folder(name: str) -> Path:
    return home.evaluations_dir() / name
