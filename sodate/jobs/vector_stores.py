"""Vector stores of a project: made, listed, changed and deleted. Their files are `vector_files.py`'s."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.orm import Session

from sodate.core.errors import UsageError
from sodate.core.ids import new_id
from sodate.core.text import tr
from sodate.db.connection import reading, writing
from sodate.db.tables import Work
from sodate.db.vector_tables import VectorFile, VectorStore
from sodate.jobs import audit, files, queue, quotas

KIND = "vector_store"  # of work
STATES = ("in_progress", "completed", "failed", "cancelled")
DAY = 86_400
_ID = re.compile("vs_[A-Za-z0-9]{24}")
Row = TypeVar("Row")


def create(
    project: str, actor: str, name: str, description: str | None, tags: Mapping[str, str], expires_days: int | None,
    also: Callable[[Session, VectorStore], object],
) -> dict[str, Any]:  # fmt: skip
    """A new store; `also` attaches its first files in the same transaction."""
    now = int(time.time())
    with writing() as session:
        row = VectorStore(id=new_id("vs_"), project=project, name=name, description=description, tags=json.dumps(tags),
                          expires_days=expires_days, segments="[]", created_at=now, last_active_at=now,
                          deleted_at=None)  # fmt: skip
        session.add(row)
        session.flush()
        also(session, row)
        audit.note(session, project, actor, "vector_store.created", row.id)
        session.flush()
        return _shown(session, [row])[0]


def get(session: Session, id: str, project: str) -> VectorStore:
    """The project's store of that id; for others it does not exist."""
    row = _named(session, id, project)
    if row is None or row.deleted_at is not None:
        raise UsageError(
            tr(f"No such vector store: {id[:100]}", f"ベクトルストア {id[:100]} はありません。"),
            code="not_found", param="vector_store_id",
        )  # fmt: skip
    return row


def usable(session: Session, id: str, project: str) -> VectorStore:
    """`get` of a store that can be added to and searched: UsageError where it has expired."""
    row = get(session, id, project)
    if expired(row):
        raise UsageError(
            tr(f"The vector store {row.id} has expired.", f"ベクトルストア {row.id} は期限切れです。"),
            tr("Give it another expires_after, or make a new one.",
               "expires_after を変更するか、新しく作成してください。"),
            code="invalid_status", param="vector_store_id",
        )  # fmt: skip
    return row


def _named(session: Session, id: str, project: str) -> VectorStore | None:
    if not _ID.fullmatch(id):
        return None
    return session.scalar(sa.select(VectorStore).where(VectorStore.id == id, VectorStore.project == project))


def expires_at(row: VectorStore) -> int | None:
    """When the store expires if nobody asks it, seconds since 1970."""
    return None if row.expires_days is None else row.last_active_at + DAY * row.expires_days


def expired(row: VectorStore) -> bool:
    """Whether nobody has asked the store for as long as it was to stay."""
    end = expires_at(row)
    return end is not None and end <= time.time()


def shown(id: str, project: str) -> dict[str, Any]:
    """A store as the wire has it."""
    with reading() as session:
        return _shown(session, [get(session, id, project)])[0]


def _shown(session: Session, rows: Sequence[VectorStore]) -> list[dict[str, Any]]:
    ids = [row.id for row in rows]
    counts = counted(session, VectorFile.store, ids)
    used = sa.select(VectorFile.store, sa.func.sum(VectorFile.usage_bytes)).where(
        VectorFile.store.in_(ids), VectorFile.deleted_at.is_(None)
    )
    sizes = {store: int(size) for store, size in session.execute(used.group_by(VectorFile.store))}
    return [
        {"id": row.id, "object": "vector_store", "created_at": row.created_at, "name": row.name,
         "description": row.description, "usage_bytes": sizes.get(row.id, 0), "file_counts": counts[row.id],
         "status": "expired" if expired(row) else "in_progress" if counts[row.id]["in_progress"] else "completed",
         "expires_after": row.expires_days and {"anchor": "last_active_at", "days": row.expires_days},
         "expires_at": expires_at(row), "last_active_at": row.last_active_at, "metadata": json.loads(row.tags)}
        for row in rows
    ]  # fmt: skip


def counted(session: Session, column: Any, values: Sequence[str]) -> dict[str, dict[str, int]]:
    """How many files of each value of a column (a store, a batch) are in which state."""
    found = {value: {**dict.fromkeys(STATES, 0), "total": 0} for value in values}
    wanted = sa.select(column, VectorFile.status, sa.func.count()).where(
        column.in_(values), VectorFile.deleted_at.is_(None)
    )
    for value, status, count in session.execute(wanted.group_by(column, VectorFile.status)):
        found[value][status] = count
        found[value]["total"] += count
    return found


def listed(
    project: str, *, after: str | None, before: str | None, limit: int, order: str
) -> tuple[list[dict[str, Any]], bool]:
    """A page of the project's stores, and whether there are more."""
    with reading() as session:

        def number(id: str) -> int | None:
            row = _named(session, id, project)
            return None if row is None else row.number

        wanted = sa.select(VectorStore).where(VectorStore.project == project, VectorStore.deleted_at.is_(None))
        rows, more = paged(session, wanted, VectorStore.number, number, after, before, limit, order)
        return _shown(session, rows), more


def paged(
    session: Session, wanted: sa.Select[Row], number: Any, number_of: Callable[[str], int | None],
    after: str | None, before: str | None, limit: int, order: str,
) -> tuple[list[Row], bool]:  # fmt: skip
    """A page of rows after one of them, or the last page before one, in the order asked for; and whether there are more
    in that direction. What was deleted meanwhile still has its place."""
    ascending = order == "asc"
    for cursor, behind in ((after, True), (before, False)):
        if cursor is not None:
            at = number_of(cursor)
            if at is None:
                raise files.no_cursor(cursor)
            wanted = wanted.where(number > at if ascending == behind else number < at)
    backwards = before is not None and after is None
    wanted = wanted.order_by(number if ascending != backwards else number.desc())
    rows = list(session.scalars(wanted.limit(limit + 1)))
    more, rows = len(rows) > limit, rows[:limit]
    return rows[::-1] if backwards else rows, more


def update(id: str, project: str, actor: str, **changes: Any) -> dict[str, Any]:
    """Another `name`, `tags` or `expires_days`: those that are given."""
    with writing() as session:
        row = get(session, id, project)
        for name, value in changes.items():
            setattr(row, name, json.dumps(value) if name == "tags" else value)
        if "expires_days" in changes:  # whoever changes it, asks for it
            row.last_active_at = int(time.time())
        audit.note(session, project, actor, "vector_store.updated", row.id)
        session.flush()
        return _shown(session, [row])[0]


def delete(id: str, project: str, actor: str) -> None:
    """Deletes a store; its passages are removed by whoever does its work next. The files stay."""
    with writing() as session:
        row = get(session, id, project)
        row.deleted_at = int(time.time())
        wake(session, row)
        audit.note(session, project, actor, "vector_store.deleted", row.id)


def wake(session: Session, store: VectorStore) -> None:
    """Sees to it that somebody brings the store's segments up to date after this transaction. Who is at it and would
    finish now waits for it, and looks again.

    Called before rows of the store's files are changed: the worker, too, locks its row first and those after it.
    """
    while session.scalar(sa.select(Work).where(Work.id == store.id).with_for_update()) is None:
        quotas.check_waiting(session, store.project)
        try:
            with session.begin_nested():
                queue.put(session, store.id, KIND, store.project)
        except sa.exc.IntegrityError:  # another transaction did, and is through
            continue


def read_again(id: str, project: str) -> None:
    """Has all files of a store read anew, as after a restored backup that was taken while segments were merged."""
    with writing() as session:
        row = get(session, id, project)
        wake(session, row)
        row.segments = "[]"
        done = VectorFile.store == id, VectorFile.status == "completed", VectorFile.deleted_at.is_(None)
        session.execute(sa.update(VectorFile).where(*done).values(status="in_progress"))


def touch(rows: Iterable[VectorStore]) -> None:
    """Notes that stores were asked, to the minute: one that is asked often is not written as often."""
    now = int(time.time())
    if stale := [row.id for row in rows if now - row.last_active_at >= 60]:
        with writing() as session:
            session.execute(sa.update(VectorStore).where(VectorStore.id.in_(stale)).values(last_active_at=now))
