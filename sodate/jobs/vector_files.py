"""The files of a vector store: attached one by one or in batches, listed, detached. `vector_work.py` reads them."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from sodate.core.errors import UsageError
from sodate.core.ids import new_id
from sodate.core.text import tr
from sodate.db.connection import reading, writing
from sodate.db.vector_tables import VectorBatch, VectorFile, VectorStore
from sodate.jobs import audit, files, quotas
from sodate.jobs.vector_stores import counted, get, paged, usable, wake
from sodate.retrieve.passages import WIDTH

COLUMNS = 2  # that count as a token: one Japanese character, two Latin ones
AUTO = WIDTH // COLUMNS  # tokens of a passage that is cut by the document's own structure
_BATCH = re.compile("vsfb_[A-Za-z0-9]{24}")


@dataclass(frozen=True, slots=True)
class Attach:
    """A file to attach, what searches may filter it by, and how it is cut."""

    file: str
    attributes: Mapping[str, Any] = field(default_factory=dict)
    chunk_tokens: int = AUTO
    overlap_tokens: int = 0


def attach(
    session: Session, store: VectorStore, wanted: Sequence[Attach], actor: str, batch: str | None = None
) -> list[VectorFile]:
    """Attaches files to a store; one that is there already is read again. UsageError for one that the project has
    not."""
    rows = []
    if wanted:
        wake(session, store)
    for one in wanted:
        try:
            file = files.get(session, one.file, store.project)
        except UsageError as error:
            raise UsageError(error.message, code="not_found", param="file_id") from None
        quotas.check_disk(session, store.project, file.bytes)
        _let_go(session, store, one.file)
        row = VectorFile(
            store=store.id, file=file.id, filename=file.filename, batch=batch, status="in_progress", error=None,
            attributes=json.dumps(one.attributes), chunk_tokens=one.chunk_tokens, overlap_tokens=one.overlap_tokens,
            usage_bytes=0, created_at=int(time.time()), deleted_at=None,
        )  # fmt: skip
        session.add(row)
        rows.append(row)
        audit.note(session, store.project, actor, "vector_store.file_attached", file.id)
    session.flush()
    return rows


def _let_go(session: Session, store: VectorStore, file: str) -> None:
    same = VectorFile.store == store.id, VectorFile.file == file, VectorFile.deleted_at.is_(None)
    session.execute(sa.update(VectorFile).where(*same).values(deleted_at=int(time.time())))


def add(project: str, actor: str, store: str, wanted: Attach) -> dict[str, Any]:
    """Attaches one file."""
    with writing() as session:
        (row,) = attach(session, usable(session, store, project), [wanted], actor)
        return shown(row)


def shown(row: VectorFile) -> dict[str, Any]:
    """A file of a store as the wire has it."""
    return {
        "id": row.file, "object": "vector_store.file", "created_at": row.created_at, "usage_bytes": row.usage_bytes,
        "vector_store_id": row.store, "status": row.status, "last_error": row.error and json.loads(row.error),
        "attributes": json.loads(row.attributes),
        "chunking_strategy": {
            "type": "static",
            "static": {"max_chunk_size_tokens": row.chunk_tokens, "chunk_overlap_tokens": row.overlap_tokens},
        },
    }  # fmt: skip


def of(session: Session, store: str, file: str, project: str) -> VectorFile:
    """The file of a store of the project; UsageError where there is none."""
    get(session, store, project)
    row = _named(session, store, file)
    if row is None or row.deleted_at is not None:
        raise UsageError(
            tr(f"No file {file[:100]} in vector store {store}.",
               f"ベクトルストア {store} にファイル {file[:100]} はありません。"),
            code="not_found", param="file_id",
        )  # fmt: skip
    return row


def _named(session: Session, store: str, file: str) -> VectorFile | None:
    """The newest row of a file in a store, whether it was let go of or not."""
    wanted = sa.select(VectorFile).where(VectorFile.store == store, VectorFile.file == file[:100].replace("\0", ""))
    return session.scalar(wanted.order_by(VectorFile.number.desc()).limit(1))


def retrieved(project: str, store: str, file: str) -> dict[str, Any]:
    """A file of a store."""
    with reading() as session:
        return shown(of(session, store, file, project))


def listed(
    project: str, store: str, *, after: str | None, before: str | None, limit: int, order: str, status: str | None,
    batch: str | None = None,
) -> tuple[list[dict[str, Any]], bool]:  # fmt: skip
    """A page of a store's files, or of those of one batch; and whether there are more."""
    with reading() as session:
        get(session, store, project)
        wanted = sa.select(VectorFile).where(VectorFile.store == store, VectorFile.deleted_at.is_(None))
        if status is not None:
            wanted = wanted.where(VectorFile.status == status)
        if batch is not None:
            wanted = wanted.where(VectorFile.batch == _batch(session, store, batch).id)

        def number(file: str) -> int | None:
            row = _named(session, store, file)
            return None if row is None else row.number

        rows, more = paged(session, wanted, VectorFile.number, number, after, before, limit, order)
        return [shown(row) for row in rows], more


def update(project: str, actor: str, store: str, file: str, attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Other attributes for a file of a store."""
    with writing() as session:
        row = of(session, store, file, project)
        row.attributes = json.dumps(attributes)
        audit.note(session, project, actor, "vector_store.file_updated", row.file)
        return shown(row)


def detach(project: str, actor: str, store: str, file: str) -> None:
    """Takes a file out of a store. It is found no more from now on; its passages go when the store's work is done."""
    with writing() as session:
        wake(session, get(session, store, project))
        row = of(session, store, file, project)
        row.deleted_at = int(time.time())
        audit.note(session, project, actor, "vector_store.file_detached", row.file)


def forget(session: Session, file: str) -> None:
    """Takes a file that is deleted out of every store, in the transaction that deletes it."""
    there = VectorFile.file == file, VectorFile.deleted_at.is_(None)
    held = sa.select(VectorFile.store).where(*there)
    stores = sa.select(VectorStore).where(VectorStore.id.in_(held), VectorStore.deleted_at.is_(None))
    for store in session.scalars(stores.order_by(VectorStore.id)).all():
        wake(session, store)
    session.execute(sa.update(VectorFile).where(*there).values(deleted_at=int(time.time())))


# ── batches ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def add_batch(project: str, actor: str, store: str, wanted: Sequence[Attach]) -> dict[str, Any]:
    """Attaches several files as one batch."""
    with writing() as session:
        row = VectorBatch(id=new_id("vsfb_"), store=usable(session, store, project).id, created_at=int(time.time()),
                          cancelled_at=None)  # fmt: skip
        session.add(row)
        attach(session, get(session, store, project), wanted, actor, row.id)
        return _batch_shown(session, row)


def _batch(session: Session, store: str, id: str) -> VectorBatch:
    wanted = sa.select(VectorBatch).where(VectorBatch.id == id, VectorBatch.store == store)
    row = session.scalar(wanted) if _BATCH.fullmatch(id) else None
    if row is None:
        raise UsageError(
            tr(f"No such file batch: {id[:100]}", f"ファイルバッチ {id[:100]} はありません。"),
            code="not_found", param="batch_id",
        )  # fmt: skip
    return row


def _batch_shown(session: Session, row: VectorBatch) -> dict[str, Any]:
    counts = counted(session, VectorFile.batch, [row.id])[row.id]
    status = "cancelled" if row.cancelled_at else "in_progress" if counts["in_progress"] else "completed"
    return {"id": row.id, "object": "vector_store.files_batch", "created_at": row.created_at,
            "vector_store_id": row.store, "status": status, "file_counts": counts}  # fmt: skip


def batch(project: str, store: str, id: str) -> dict[str, Any]:
    """A batch as it stands."""
    with reading() as session:
        get(session, store, project)
        return _batch_shown(session, _batch(session, store, id))


def cancel_batch(project: str, actor: str, store: str, id: str) -> dict[str, Any]:
    """Leaves out the files of a batch that were not read yet."""
    with writing() as session:
        wake(session, get(session, store, project))
        row = _batch(session, store, id)
        waiting = sa.update(VectorFile).where(VectorFile.batch == id, VectorFile.status == "in_progress")
        if session.execute(waiting.values(status="cancelled")).rowcount:  # type: ignore[attr-defined]
            row.cancelled_at = int(time.time())
            audit.note(session, project, actor, "vector_store.batch_cancelled", id)
        session.flush()
        return _batch_shown(session, row)
