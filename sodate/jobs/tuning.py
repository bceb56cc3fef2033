"""Fine-tuning jobs as their project sees them: made, looked at, cancelled, paused, resumed.

validating_files → queued → running → succeeded | failed | cancelled;  queued, running → paused → queued
"""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.orm import Session

from sodate.core.errors import UsageError
from sodate.core.ids import new_id
from sodate.core.text import en, ja, tr
from sodate.db.connection import reading, writing
from sodate.db.tables import JobCheckpoint, JobEvent, JobTag, TuningJob, Work
from sodate.jobs import audit, files, queue, quotas

CHECK, TRAIN = "tuning.check", "tuning.train"  # kinds of work
ENDED = ("succeeded", "failed", "cancelled")
PAUSED = "paused"
_ID = re.compile(r"(ftjob-|ft-)[A-Za-z0-9]{24}")


def create(
    project: str, actor: str, asked: Mapping[str, Any], base: str, *, old: bool = False, version: str = ""
) -> dict[str, Any]:
    """Puts a job into the queue. `asked` is its request, checked; `base` the exact model that its `model` means.

    `version` is the name under which the weights are registered; without it they get one that is the job's alone.
    UsageError for files that are not the project's, `quota_exceeded` where too many jobs wait.
    """
    with writing() as session:
        for key in ("training_file", "validation_file"):
            _check_file(session, asked.get(key), project, key)
        quotas.check_waiting(session, project)
        seed = asked.get("seed")
        job = TuningJob(
            id=new_id("ft-" if old else "ftjob-"), project=project, old=old, status="validating_files",
            created_at=int(time.time()), finished_at=None, model=asked["model"], base=base,
            training_file=asked["training_file"], validation_file=asked.get("validation_file"),
            suffix=asked.get("suffix"), seed=secrets.randbelow(2**31) if seed is None else seed,
            asked=json.dumps({**asked, "version": version}), method=json.dumps(asked["method"]), recipe="{}", run=None,
            version=None, tuned_model=None, result_file=None, trained_tokens=None, error=None,
        )  # fmt: skip
        job.tags = [JobTag(key=json.dumps(k), value=json.dumps(v)) for k, v in (asked.get("metadata") or {}).items()]
        session.add(job)
        session.flush()
        tell(session, job, f"Created fine-tuning job: {job.id}")
        queue.put(session, job.id, CHECK, project)
        audit.note(session, project, actor, "job.created", job.id)
        return shown(job)


def _check_file(session: Session, id: str | None, project: str, key: str) -> None:
    if id is None:
        return
    try:
        row = files.get(session, id, project)
    except UsageError:
        row = None
    if row is None or row.purpose != files.TRAINING:
        raise UsageError(tr(f"invalid {key}: {id[:100]}", f"{key} が正しくありません: {id[:100]}"),
                         code="invalid_file", param=key)  # fmt: skip


def get(session: Session, id: str, project: str) -> TuningJob:
    """The project's job of that id; for others it does not exist."""
    found = None
    if _ID.fullmatch(id):
        found = session.scalar(sa.select(TuningJob).where(TuningJob.id == id, TuningJob.project == project))
    if found is None:
        raise UsageError(
            tr(f"Could not find fine tune: {id[:100]}", f"ファインチューニングのジョブ {id[:100]} はありません。"),
            code="fine_tune_not_found", param="fine_tune_id",
        )  # fmt: skip
    return found


def tell(
    session: Session, job: TuningJob, message: str, *, level: str = "info", data: Any = None, step: int | None = None
) -> None:
    """Adds an event; with `step` it is one of metrics."""
    session.add(
        JobEvent(
            id=new_id("ftevent-"), job=job.id, created_at=int(time.time()), level=level,
            type="message" if step is None else "metrics", message=message,
            data=None if data is None else json.dumps(data), step=step,
        )
    )  # fmt: skip


def tell_once(session: Session, job: TuningJob, message: str) -> None:
    """Adds an event unless the job has it: a worker that takes over says nothing twice."""
    known = sa.select(JobEvent.id).where(JobEvent.job == job.id, JobEvent.message == message)
    if session.scalar(known.limit(1)) is None:
        tell(session, job, message)


def end(session: Session, job: TuningJob, status: str, message: str, error: Mapping[str, Any] | None = None) -> None:
    """The job's last status and event."""
    job.status, job.finished_at = status, int(time.time())
    job.error = None if error is None else json.dumps(error)
    tell(session, job, message, level="error" if error else "info")


def failure(code: str, message: str, param: str | None = None) -> dict[str, Any]:
    """A job's `error`."""
    return {"code": code, "message": message, "param": param}


# ── what may be asked of a job ───────────────────────────────────────────────────────────────────────────────────────


def cancel(id: str, project: str, actor: str) -> dict[str, Any]:
    """Ends a job. Nothing is trained any more within a second or two of this."""
    with writing() as session:
        job = get(session, id, project)
        if job.status in ENDED:
            raise _conflict(job, tr("cancelled", "取り消す"))
        work = _work(session, job)
        if work is not None and work.owner is None:
            session.delete(work)
        elif work is not None:
            work.wanted = "cancel"
        end(session, job, "cancelled", "The job has been cancelled")
        audit.note(session, project, actor, "job.cancelled", job.id)
        return shown(job)


def pause(id: str, project: str, actor: str) -> dict[str, Any]:
    """Stops a job so that it can be resumed; one that trains leaves a model of where it was."""
    with writing() as session:
        job = get(session, id, project)
        work = _work(session, job)
        if job.status in (*ENDED, PAUSED) or work is None:
            raise _conflict(job, tr("paused", "一時停止する"))
        work.wanted = "pause"
        job.status = PAUSED
        tell(session, job, "Fine-tuning job paused")
        audit.note(session, project, actor, "job.paused", job.id)
        return shown(job)


def resume(id: str, project: str, actor: str) -> dict[str, Any]:
    """Puts a paused job back into the queue."""
    with writing() as session:
        job = get(session, id, project)
        work = _work(session, job)
        if job.status != PAUSED or work is None:
            raise _conflict(job, tr("resumed", "再開する"))
        work.wanted = "" if work.owner is None else "requeue"
        job.status = "queued"
        tell(session, job, "Fine-tuning job resumed")
        audit.note(session, project, actor, "job.resumed", job.id)
        return shown(job)


def _work(session: Session, job: TuningJob) -> Work | None:
    return session.scalar(sa.select(Work).where(Work.id == job.id).with_for_update())


def _conflict(job: TuningJob, what: str) -> UsageError:
    return UsageError(
        tr(f"Job {job.id} has status {job.status} and cannot be {en(what)}.",
           f"ジョブ {job.id} の状態は {job.status} なので、{ja(what)}ことはできません。"),
        code="invalid_status", param="fine_tune_id",
    )  # fmt: skip


# ── as the wire has them ─────────────────────────────────────────────────────────────────────────────────────────────


def shown(job: TuningJob) -> dict[str, Any]:
    """A job as the wire has it."""
    asked, method = json.loads(job.asked), json.loads(job.method)
    supervised = method["type"] == "supervised"
    return {
        "id": job.id, "object": "fine_tuning.job", "created_at": job.created_at, "finished_at": job.finished_at,
        "model": job.model, "fine_tuned_model": job.tuned_model, "organization_id": f"org-{job.project}",
        "status": job.status, "training_file": job.training_file, "validation_file": job.validation_file,
        "hyperparameters": method["supervised"]["hyperparameters"] if supervised else None, "method": method,
        "result_files": [job.result_file] if job.result_file else [], "trained_tokens": job.trained_tokens,
        "error": json.loads(job.error) if job.error else {"code": None, "message": None, "param": None},
        "seed": job.seed, "user_provided_suffix": job.suffix, "estimated_finish": None,
        "integrations": [_echoed(one, job.id) for one in asked.get("integrations") or []],
        "metadata": {json.loads(tag.key): json.loads(tag.value) for tag in job.tags} or None,
        "usage_metrics": None, "shared_with_openai": False, "eval_id": None,
    }  # fmt: skip


def _echoed(integration: Mapping[str, Any], job: str) -> dict[str, Any]:
    return {**integration, "wandb": {**integration["wandb"], "run_id": job}}


def event_shown(event: JobEvent) -> dict[str, Any]:
    """An event as the wire has it."""
    return {
        "id": event.id, "object": "fine_tuning.job.event", "created_at": event.created_at, "level": event.level,
        "message": event.message, "type": event.type, "data": json.loads(event.data) if event.data else {},
    }  # fmt: skip


def checkpoint_shown(checkpoint: JobCheckpoint) -> dict[str, Any]:
    """A checkpoint as the wire has it."""
    return {
        "id": checkpoint.id, "object": "fine_tuning.job.checkpoint", "created_at": checkpoint.created_at,
        "fine_tuned_model_checkpoint": checkpoint.model, "fine_tuning_job_id": checkpoint.job,
        "step_number": checkpoint.step, "metrics": json.loads(checkpoint.metrics),
    }  # fmt: skip


Page = tuple[list[dict[str, Any]], bool]
"""What a page shows, and whether there are more."""


def listed(
    project: str, after: str | None, limit: int, metadata: Sequence[tuple[str, str]], bare: bool, old: bool = False
) -> Page:
    """A page of the project's jobs, the newest first, that have all pairs of `metadata`; `bare`: that have none."""
    with reading() as session:
        wanted = sa.select(TuningJob).where(TuningJob.project == project, TuningJob.old == old)
        if bare:
            wanted = wanted.where(~TuningJob.tags.any())
        for key, value in metadata:
            pair = (JobTag.key == json.dumps(key)) & (JobTag.value == json.dumps(value))
            wanted = wanted.where(TuningJob.number.in_(sa.select(JobTag.job).where(pair)))
        if after is not None:
            last = session.scalar(sa.select(TuningJob).where(TuningJob.id == after, TuningJob.project == project))
            if last is None:
                raise files.no_cursor(after)
            wanted = wanted.where(TuningJob.number < last.number)
        wanted = wanted.options(sa.orm.selectinload(TuningJob.tags))
        rows = session.scalars(wanted.order_by(TuningJob.number.desc()).limit(limit + 1)).all()
        return [shown(row) for row in rows[:limit]], len(rows) > limit


P = TypeVar("P", JobEvent, JobCheckpoint)


def parts(kind: type[P], id: str, project: str, after: str | None, limit: int) -> tuple[Sequence[P], bool]:
    """A page of a job's events or checkpoints, the newest first, and whether there are more."""
    with reading() as session:
        job = get(session, id, project)
        wanted = sa.select(kind).where(kind.job == job.id)
        if after is not None:
            last = session.scalar(sa.select(kind).where(kind.id == after, kind.job == job.id))
            if last is None:
                raise files.no_cursor(after)
            wanted = wanted.where(kind.number < last.number)
        rows = session.scalars(wanted.order_by(kind.number.desc()).limit(limit + 1)).all()
        return rows[:limit], len(rows) > limit
