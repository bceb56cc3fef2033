"""What a project may take of the machine."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from sodate.core.errors import SodateError
from sodate.core.text import counted, tr
from sodate.db.connection import reading, writing
from sodate.db.tables import Quota, StoredFile, Upload, UploadPart, Work
from sodate.db.vector_tables import VectorFile, VectorStore


@dataclass(frozen=True, slots=True)
class Limits:
    """Bytes of files, jobs at once, jobs that wait."""

    disk_bytes: int = 100_000_000_000
    running: int = 4
    waiting: int = 1000


def of(session: Session, project: str) -> Limits:
    """What the project may take."""
    row = session.get(Quota, project)
    return Limits() if row is None else Limits(row.disk_bytes, row.running, row.waiting)


def change(project: str, **limits: int) -> Limits:
    """Sets some of a project's limits; the others stay."""
    with writing() as session:
        new = Limits(**{**asdict(of(session, project)), **limits})
        session.merge(Quota(project=project, **asdict(new)))
        return new


def used_bytes(session: Session, project: str) -> int:
    """Bytes of the project's files and of their passages in vector stores, with the parts of unfinished uploads."""
    files = sa.select(sa.func.coalesce(sa.func.sum(StoredFile.bytes), 0)).where(
        StoredFile.project == project, StoredFile.deleted_at.is_(None)
    )
    parts = (
        sa.select(sa.func.coalesce(sa.func.sum(UploadPart.bytes), 0))
        .join(Upload, Upload.id == UploadPart.upload)
        .where(Upload.project == project, Upload.status == "pending")
    )
    passages = (
        sa.select(sa.func.coalesce(sa.func.sum(VectorFile.usage_bytes), 0))
        .join(VectorStore, VectorStore.id == VectorFile.store)
        .where(VectorStore.project == project, VectorStore.deleted_at.is_(None), VectorFile.deleted_at.is_(None))
    )
    return sum(int(session.scalar(one) or 0) for one in (files, parts, passages))


def check_disk(session: Session, project: str, more: int) -> None:
    """SodateError (`quota_exceeded`) unless the project may store so many bytes more."""
    limit = of(session, project).disk_bytes
    if used_bytes(session, project) + more > limit:
        raise _exceeded(
            tr(f"The files of project {project} would take more than its {limit} bytes.",
               f"プロジェクト {project} のファイルが上限の {limit} バイトを超えます。"),
            tr("Delete files that are no longer needed.", "不要なファイルを削除してください。"),
        )  # fmt: skip


def check_waiting(session: Session, project: str) -> None:
    """SodateError (`quota_exceeded`) where as many jobs wait as the project may have."""
    limit = of(session, project).waiting
    waits = sa.select(sa.func.count()).where(Work.project == project, Work.owner.is_(None))
    if (session.scalar(waits) or 0) >= limit:
        raise _exceeded(
            tr(f"Project {project} has {counted(limit, 'job')} waiting already.",
               f"プロジェクト {project} の待機中のジョブはすでに {limit} 件あります。"),
            tr("Wait until some have begun, or cancel some.", "開始を待つか、いくつか取り消してください。"),
        )  # fmt: skip


def check_disk_of(project: str, more: int) -> None:
    """`check_disk` in a transaction of its own."""
    with reading() as session:
        check_disk(session, project, more)


def _exceeded(message: str, fix: str) -> SodateError:
    return SodateError(message, fix, code="quota_exceeded")
