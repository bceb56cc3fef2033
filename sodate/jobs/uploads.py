"""Files that come in parts: each part on disk by itself, put together in the order that its owner says."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import sqlalchemy as sa
from sqlalchemy.orm import Session

from sodate.core import home
from sodate.core.errors import UsageError
from sodate.core.files import CHUNK, atomic_file
from sodate.core.ids import new_id
from sodate.core.text import tr
from sodate.db.connection import reading, writing
from sodate.db.tables import StoredFile, Upload, UploadPart
from sodate.jobs import audit, files, quotas

MOST_BYTES = 8_000_000_000
MOST_PART_BYTES = 64 << 20
OPEN_SECONDS = 3600
_ID = re.compile(r"upload_[A-Za-z0-9]{24}")


def create(
    project: str, actor: str, filename: str, purpose: str, size: int, mime_type: str, keep_seconds: int | None
) -> dict[str, Any]:
    """Begins an upload of `size` bytes."""
    files.check_purpose(filename, purpose, 0)
    with writing() as session:
        quotas.check_disk(session, project, size)
        now = int(time.time())
        row = Upload(
            id=new_id("upload_"), project=project, filename=files.plain_name(filename), purpose=purpose, bytes=size,
            mime_type=mime_type, status="pending", created_at=now, expires_at=now + OPEN_SECONDS,
            keep_seconds=keep_seconds, file=None,
        )  # fmt: skip
        session.add(row)
        audit.note(session, project, actor, "upload.created", row.id)
        return shown(session, row)


def get(session: Session, id: str, project: str) -> Upload:
    """The project's upload of that id; for others it does not exist."""
    found = None
    if _ID.fullmatch(id):
        found = session.scalar(sa.select(Upload).where(Upload.id == id, Upload.project == project))
    if found is None:
        raise UsageError(tr(f"No such Upload object: {id[:100]}", f"アップロード {id[:100]} はありません。"),
                         code="not_found", param="id")  # fmt: skip
    return found


class Part:
    """A part that is being written."""

    def __init__(self, handle: BinaryIO, id: str) -> None:
        self.id = id
        self.bytes = 0
        self._handle = handle

    def write(self, piece: bytes) -> None:
        """Appends a piece."""
        self._handle.write(piece)
        self.bytes += len(piece)


@contextmanager
def part(_filename: str) -> Iterator[Part]:
    """A new part, which is on disk when the block ends; `add` makes it one of an upload."""
    id = new_id("part_")
    with atomic_file(_folder() / id) as handle:
        yield Part(handle, id)


def discard(made: Part) -> None:
    """Removes a part that belongs to nothing."""
    (_folder() / made.id).unlink(missing_ok=True)


def add(id: str, project: str, made: Part) -> dict[str, Any]:
    """Makes a written part one of the upload's, or removes it and says why not."""
    try:
        with writing() as session:
            upload = _open(session, id, project)
            quotas.check_disk(session, project, made.bytes)
            row = UploadPart(id=made.id, upload=upload.id, bytes=made.bytes, created_at=int(time.time()))
            session.add(row)
            return {"id": row.id, "object": "upload.part", "created_at": row.created_at, "upload_id": upload.id}
    except BaseException:
        discard(made)
        raise


def _open(session: Session, id: str, project: str) -> Upload:
    upload = get(session, id, project)
    if status(upload) != "pending":
        raise UsageError(
            tr(f"Upload {upload.id} has status {status(upload)}.",
               f"アップロード {upload.id} の状態は {status(upload)} です。"),
            code="invalid_status", param="upload_id",
        )  # fmt: skip
    return upload


def status(upload: Upload) -> str:
    """pending, completed, cancelled or expired."""
    return "expired" if upload.status == "pending" and time.time() >= upload.expires_at else upload.status


def complete(id: str, project: str, actor: str, part_ids: Sequence[str], md5: str | None) -> dict[str, Any]:
    """Puts the parts together in this order. UsageError for parts that are not the upload's, for other bytes than were
    announced, and for another MD5."""
    with reading() as session:
        upload = _open(session, id, project)
        known = {p.id: p.bytes for p in session.scalars(sa.select(UploadPart).where(UploadPart.upload == upload.id))}
    if len(set(part_ids)) != len(part_ids) or not set(part_ids) <= known.keys():
        raise _wrong(tr("part_ids must name parts of this upload, each once.",
                        "part_ids には、このアップロードの部分を 1 回ずつ指定してください。"), "part_ids")  # fmt: skip
    total = sum(known[one] for one in part_ids)
    if total != upload.bytes:
        said = tr(f"The parts have {total} bytes, and {upload.bytes} were announced.",
                  f"部分の合計は {total} バイトで、予定の {upload.bytes} バイトと異なります。")  # fmt: skip
        raise _wrong(said, "part_ids")
    digest = hashlib.md5(usedforsecurity=False)
    with files.written(upload.filename) as content:
        for one in part_ids:
            with (_folder() / one).open("rb") as stream:
                while piece := stream.read(CHUNK):
                    content.write(piece)
                    digest.update(piece)
    if md5 is not None and digest.hexdigest() != md5.lower():
        files.discard(content)
        raise _wrong(tr("The MD5 of the whole is another one.", "全体の MD5 が一致しません。"), "md5")

    def completed(session: Session, row: StoredFile) -> None:
        again = _open(session, id, project)
        again.status, again.file = "completed", row.id

    files.keep(content, project, actor, upload.filename, upload.purpose, upload.keep_seconds, also=completed)
    _remove(known)
    with reading() as session:
        return shown(session, get(session, id, project))


def cancel(id: str, project: str, actor: str) -> dict[str, Any]:
    """Gives an upload up."""
    with writing() as session:
        upload = _open(session, id, project)
        upload.status = "cancelled"
        parts = session.scalars(sa.select(UploadPart.id).where(UploadPart.upload == upload.id)).all()
        audit.note(session, project, actor, "upload.cancelled", upload.id)
        answer = shown(session, upload)
    _remove(parts)
    return answer


def shown(session: Session, upload: Upload) -> dict[str, Any]:
    """An upload as the wire has it."""
    row = session.scalar(sa.select(StoredFile).where(StoredFile.id == upload.file)) if upload.file else None
    return {
        "id": upload.id, "object": "upload", "bytes": upload.bytes, "created_at": upload.created_at,
        "expires_at": upload.expires_at, "filename": upload.filename, "purpose": upload.purpose,
        "status": status(upload), "file": files.shown(row) if row else None,
    }  # fmt: skip


def sweep() -> None:
    """Removes the parts of uploads that nobody can complete any more."""
    with reading() as session:
        pending = sa.select(Upload.id).where(Upload.status == "pending", Upload.expires_at > int(time.time()))
        wanted = set(session.scalars(sa.select(UploadPart.id).where(UploadPart.upload.in_(pending))))
    limit = time.time() - OPEN_SECONDS
    for file in _folder().iterdir() if _folder().exists() else ():
        if file.name not in wanted and file.stat().st_mtime < limit:
            file.unlink(missing_ok=True)


def _remove(parts: Sequence[str] | dict[str, int]) -> None:
    for one in parts:
        (_folder() / one).unlink(missing_ok=True)


def _wrong(message: str, param: str) -> UsageError:
    return UsageError(message, code="invalid_value", param=param)


def _folder() -> Path:
    return home.home() / "uploads"
