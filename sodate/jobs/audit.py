"""Who did what, in the order it was done. The table refuses changes; nothing that was asked or said stands in it."""

from __future__ import annotations

import time
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from sodate.db.connection import reading
from sodate.db.tables import AuditEntry


def note(session: Session, project: str, actor: str, action: str, object: str) -> None:
    """Adds a line within the transaction of what it tells: both are kept, or neither."""
    session.add(AuditEntry(at=int(time.time()), project=project, actor=actor, action=action, object=object))


def listed(project: str | None = None, limit: int = 1000) -> list[dict[str, Any]]:
    """The newest lines, oldest of them first; of one project, or of all."""
    with reading() as session:
        wanted = sa.select(AuditEntry).order_by(AuditEntry.number.desc()).limit(limit)
        if project is not None:
            wanted = wanted.where(AuditEntry.project == project)
        return [
            {"number": e.number, "at": e.at, "project": e.project, "actor": e.actor, "action": e.action,
             "object": e.object}
            for e in reversed(session.scalars(wanted).all())
        ]  # fmt: skip
