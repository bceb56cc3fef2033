"""Tuned models: listed, deleted, and shared with other projects."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from sodate.api.versions import delete_version
from sodate.core.errors import SodateError, UsageError
from sodate.core.ids import new_id
from sodate.core.text import tr
from sodate.db.connection import reading, writing
from sodate.db.tables import Permission, TunedModel, TuningJob
from sodate.jobs import audit, files, naming


def models(project: str) -> list[dict[str, Any]]:
    """The project's models, and those shared with it, the oldest first."""
    shared = sa.select(Permission.model).where(Permission.project == project)
    wanted = sa.select(TunedModel).where((TunedModel.project == project) | TunedModel.name.in_(shared))
    with reading() as session:
        rows = session.scalars(wanted.order_by(TunedModel.created_at, TunedModel.name)).all()
        return [model_shown(session, row) for row in rows]


def model(name: str, project: str) -> dict[str, Any]:
    """One of them."""
    with reading() as session:
        return model_shown(session, naming.find(session, name, project))


def model_shown(session: Session, row: TunedModel) -> dict[str, Any]:
    """A tuned model as the wire has it."""
    job = session.scalar(sa.select(TuningJob).where(TuningJob.id == row.job))
    return {
        "id": row.name, "object": "model", "created": row.created_at, "owned_by": row.project, "version": row.version,
        "base": job.base if job else None,
    }  # fmt: skip


def delete(name: str, project: str, actor: str) -> None:
    """Takes a model's name away, and its weights where no server holds them. Only its own project can."""
    with writing() as session:
        row = _own(session, name, project)
        version = row.version
        session.delete(row)
        audit.note(session, project, actor, "model.deleted", name)
    with contextlib.suppress(SodateError):  # a server answers with it until it ends
        delete_version(version)


def _own(session: Session, name: str, project: str) -> TunedModel:
    row = naming.find(session, name, project)
    if row.project != project:
        raise UsageError(
            tr(f"The model '{name[:150]}' belongs to another project.",
               f"モデル '{name[:150]}' は別のプロジェクトのものです。"),
            code="forbidden", param="model",
        )  # fmt: skip
    return row


def share(name: str, project: str, actor: str, others: Sequence[str]) -> list[dict[str, Any]]:
    """Lets other projects use a model of this one; who may already keeps the permission that there is."""
    with writing() as session:
        row = _own(session, name, project)
        made = []
        for other in dict.fromkeys(others):
            wanted = sa.select(Permission).where(Permission.model == row.name, Permission.project == other)
            permission = session.scalar(wanted)
            if permission is None:
                permission = Permission(id=new_id("cp_"), model=row.name, project=other, created_at=int(time.time()))
                session.add(permission)
                audit.note(session, project, actor, f"model.shared with {other}", row.name)
            session.flush()
            made.append(_shown(permission))
        return made


def _shown(permission: Permission) -> dict[str, Any]:
    return {"id": permission.id, "object": "checkpoint.permission", "created_at": permission.created_at,
            "project_id": permission.project}  # fmt: skip


def shared(
    name: str, project: str, with_project: str | None, after: str | None, limit: int, order: str
) -> tuple[list[dict[str, Any]], bool]:
    """A page of a model's permissions, and whether there are more."""
    number = Permission.number
    with reading() as session:
        row = _own(session, name, project)
        wanted = sa.select(Permission).where(Permission.model == row.name)
        if with_project is not None:
            wanted = wanted.where(Permission.project == with_project)
        if after is not None:
            last = session.scalar(sa.select(Permission).where(Permission.id == after, Permission.model == row.name))
            if last is None:
                raise files.no_cursor(after)
            wanted = wanted.where(number > last.number if order == "ascending" else number < last.number)
        wanted = wanted.order_by(number if order == "ascending" else number.desc()).limit(limit + 1)
        rows = session.scalars(wanted).all()
        return [_shown(one) for one in rows[:limit]], len(rows) > limit


def unshare(name: str, project: str, actor: str, id: str) -> None:
    """Takes a permission back."""
    with writing() as session:
        row = _own(session, name, project)
        found = session.scalar(sa.select(Permission).where(Permission.id == id, Permission.model == row.name))
        if found is None:
            raise UsageError(tr(f"There is no permission {id[:100]}.", f"許可 {id[:100]} はありません。"),
                             code="not_found", param="permission_id")  # fmt: skip
        session.delete(found)
        audit.note(session, project, actor, f"model.unshared with {found.project}", row.name)
