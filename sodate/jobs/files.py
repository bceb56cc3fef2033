"""Files of a project: a row in the database, and content in SODATE_HOME/files that is there whole or not at all.

The id that a file is asked by finds its row, and only the row's own id becomes a name on disk.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import sqlalchemy as sa
from sqlalchemy.orm import Session

from sodate.api.uploaded import examine
from sodate.core import home
from sodate.core.errors import SodateError, UsageError
from sodate.core.files import atomic_file
from sodate.core.ids import new_id
from sodate.core.text import tr
from sodate.db.connection import reading, writing
from sodate.db.tables import StoredFile
from sodate.jobs import audit, quotas

TRAINING = "fine-tune"
PURPOSES = ("assistants", "batch", TRAINING, "vision", "user_data", "evals")
MADE = ("fine-tune-results", "batch_output", "assistants_output")
MOST_BYTES = 512_000_000
MOST_BATCH_BYTES = 200_000_000
_ID = re.compile(r"file-[A-Za-z0-9]{24}")


class Content:
    """What is being written: counted and hashed on its way to the disk."""

    def __init__(self, id: str, suffix: str, handle: BinaryIO) -> None:
        self.id = id
        self.suffix = suffix
        self.bytes = 0
        self._handle = handle
        self._digest = hashlib.sha256()

    def write(self, piece: bytes) -> None:
        """Appends a piece."""
        self._handle.write(piece)
        self._digest.update(piece)
        self.bytes += len(piece)

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()


@contextmanager
def written(filename: str) -> Iterator[Content]:
    """A new content, which is on disk when the block ends. Without `keep` nobody sees it, and it is swept away."""
    id, suffix = new_id("file-"), ".jsonl" if _may_be_lines(filename) else ""
    with atomic_file(_folder() / f"{id}{suffix}") as handle:
        yield Content(id, suffix, handle)


def keep(
    content: Content, project: str, actor: str, filename: str, purpose: str, seconds: int | None = None,
    also: Callable[[Session, StoredFile], None] = lambda session, row: None,
) -> dict[str, Any]:  # fmt: skip
    """Makes a written content the project's file, or removes it and raises what is wrong with it.

    `also` is done in the same transaction.
    """
    path = _folder() / f"{content.id}{content.suffix}"
    try:
        details = _checked(path, content.bytes, filename, purpose)
        with writing() as session:
            quotas.check_disk(session, project, content.bytes)
            row = _row(content, project, filename, purpose, seconds, details)
            session.add(row)
            also(session, row)
            audit.note(session, project, actor, "file.created", row.id)
            return shown(row)
    except BaseException:
        discard(content)
        raise


def make(project: str, filename: str, purpose: str, pieces: Iterable[bytes], *, session: Session) -> StoredFile:
    """A file that was made here, such as a result, added to the session; `purpose` may be one of MADE."""
    with written(filename) as content:
        for piece in pieces:
            content.write(piece)
    row = _row(content, project, filename, purpose, None, None)
    session.add(row)
    return row


def discard(content: Content) -> None:
    """Removes a written content that nobody is to see."""
    (_folder() / f"{content.id}{content.suffix}").unlink(missing_ok=True)


def _row(
    content: Content, project: str, filename: str, purpose: str, seconds: int | None, details: str | None
) -> StoredFile:
    now = int(time.time())
    return StoredFile(
        id=content.id, project=project, filename=plain_name(filename), purpose=purpose, bytes=content.bytes,
        sha256=content.sha256, details=details, created_at=now, expires_at=None if seconds is None else now + seconds,
        deleted_at=None,
    )  # fmt: skip


def plain_name(filename: str) -> str:
    """The last part of a path of any system; it is shown and never opened."""
    name = re.split(r"[/\\]", filename)[-1].encode("utf-8", "replace").decode()
    return re.sub(r"[\x00-\x1f\x7f]", "", name)[:255] or "upload"


def check_purpose(filename: str, purpose: str, size: int) -> None:
    """UsageError where a file of that name and size can't have the purpose."""
    if purpose not in PURPOSES:
        raise UsageError(
            tr(f"'{purpose[:60]}' is not one of {list(PURPOSES)} - 'purpose'",
               f"purpose は {list(PURPOSES)} のどれかにしてください: '{purpose[:60]}'"),
            code="invalid_value", param="purpose",
        )  # fmt: skip
    if purpose == TRAINING and not _may_be_lines(filename):
        raise UsageError(
            tr("Invalid file format for Fine-Tuning API. Must be .jsonl",
               "ファインチューニング用のファイルは .jsonl にしてください。"),
            code="invalid_file_format", param="file",
        )  # fmt: skip
    most = MOST_BATCH_BYTES if purpose == "batch" else MOST_BYTES
    if size > most:
        raise SodateError(
            tr(f"The file is larger than {most} bytes.", f"ファイルが {most} バイトを超えています。"),
            tr("Larger ones come in parts: POST /v1/uploads.", "大きなファイルは /v1/uploads で分割してください。"),
            code="request_too_large", param="file",
        )  # fmt: skip


def _may_be_lines(filename: str) -> bool:
    """Whether the name says JSONL, or nothing: the client of 2023 calls every file `file`."""
    name = plain_name(filename)
    return name.lower().endswith(".jsonl") or "." not in name


def _checked(path: Path, size: int, filename: str, purpose: str) -> str | None:
    """What is wrong with single rows of a training file; raises where it is none."""
    if not size:
        raise UsageError(tr("The file is empty.", "ファイルが空です。"), code="empty_file", param="file")
    if purpose != TRAINING:
        return None
    found = examine(path)
    if found.line is None:
        return None
    return str(tr(f"Line {found.line}: {found.complaint}", f"{found.line} 行目: {found.complaint}"))


def get(session: Session, id: str, project: str) -> StoredFile:
    """The project's file of that id; for others it does not exist."""
    row = _named(session, id, project)
    now = time.time()
    if row is None or row.deleted_at is not None or (row.expires_at is not None and row.expires_at <= now):
        raise UsageError(
            tr(f"No such File object: {id[:100]}", f"ファイル {id[:100]} はありません。"), code="not_found", param="id"
        )
    return row


def _named(session: Session, id: str, project: str) -> StoredFile | None:
    if not _ID.fullmatch(id):
        return None
    return session.scalar(sa.select(StoredFile).where(StoredFile.id == id, StoredFile.project == project))


def path(row: StoredFile) -> Path:
    """Where the content lies."""
    whole = _folder() / f"{row.id}.jsonl"
    return whole if whole.exists() else _folder() / row.id


def called(text: str) -> str:
    """`text` with the names that people gave to uploaded files where it has the paths under which they lie."""
    parts, done = [], 0
    for found in _LYING.finditer(text) if "file-" in text else ():
        start = found.start()
        in_folder = text.endswith("/files/", done, start)
        if (in_folder or found[2]) and (name := _name_of(found[1])) is not None:
            while in_folder and start > done and text[start - 1] not in _NO_PATH:
                start -= 1
            parts += [text[done:start], name]
            done = found.end()
    return "".join([*parts, text[done:]])


_LYING = re.compile(r"(?<![0-9A-Za-z-])(file-[0-9A-Za-z]{24})(?![0-9A-Za-z])(\.jsonl)?")
_NO_PATH = " \t\n,;:'\"()[]"  # what stands before a path, as we write it
_names: dict[str, str] = {}  # by id; a file never gets another


def _name_of(id: str) -> str | None:
    if id not in _names:
        with reading() as session:
            name = session.scalar(sa.select(StoredFile.filename).where(StoredFile.id == id))
        if name is None:
            return None
        if len(_names) >= 10_000:
            _names.clear()
        _names[id] = name
    return _names.get(id)


_SHOWN = (
    StoredFile.id, StoredFile.bytes, StoredFile.created_at, StoredFile.expires_at, StoredFile.filename,
    StoredFile.purpose, StoredFile.details,
)  # fmt: skip


def shown(row: Any) -> dict[str, Any]:
    """A file as the wire has it."""
    return _object(row.id, row.bytes, row.created_at, row.expires_at, row.filename, row.purpose, row.details)


def _object(
    id: str, bytes: int, created_at: int, expires_at: int | None, filename: str, purpose: str, details: str | None
) -> dict[str, Any]:
    return {
        "id": id, "object": "file", "bytes": bytes, "created_at": created_at, "expires_at": expires_at,
        "filename": filename, "purpose": purpose, "status": "processed", "status_details": details,
    }  # fmt: skip


def listed(
    project: str, *, purpose: str | None, after: str | None, limit: int, order: str
) -> tuple[list[dict[str, Any]], bool]:
    """A page of the project's files, and whether there are more. `after` may be a file that was deleted meanwhile."""
    number, now = StoredFile.number, int(time.time())
    with reading() as session:
        wanted = sa.select(*_SHOWN).where(  # a page may have 10,000, and objects of the session would be slower
            StoredFile.project == project, StoredFile.deleted_at.is_(None),
            sa.or_(StoredFile.expires_at.is_(None), StoredFile.expires_at > now),
        )  # fmt: skip
        if purpose is not None:
            wanted = wanted.where(StoredFile.purpose == purpose)
        if after is not None:
            last = _named(session, after, project)
            if last is None:
                raise no_cursor(after)
            wanted = wanted.where(number > last.number if order == "asc" else number < last.number)
        wanted = wanted.order_by(number if order == "asc" else number.desc()).limit(limit + 1)
        rows = session.execute(wanted).all()
        return [_object(*row) for row in rows[:limit]], len(rows) > limit


def no_cursor(after: str) -> UsageError:
    """There is nothing that a page could begin after."""
    return UsageError(
        tr(f"There is nothing of the id {after[:100]!r} to go on after.",
           f"after に指定された ID {after[:100]!r} はありません。"),
        code="invalid_value", param="after",
    )  # fmt: skip


def delete(id: str, project: str, actor: str, also: Callable[[Session, str], None] = lambda session, id: None) -> None:
    """Removes the content; a job that is at it reads on from the file it has open, or fails with a reason. `also` is
    done in the same transaction."""
    with writing() as session:
        row = get(session, id, project)
        row.deleted_at = int(time.time())
        also(session, row.id)
        audit.note(session, project, actor, "file.deleted", row.id)
        gone = path(row)
    gone.unlink(missing_ok=True)


def sweep(older_seconds: float = 86_400) -> None:
    """Removes content that no row knows: what a killed process left behind, older than any upload takes."""
    with reading() as session:
        known = set(session.scalars(sa.select(StoredFile.id).where(StoredFile.deleted_at.is_(None))))
    limit = time.time() - older_seconds
    for file in _folder().iterdir() if _folder().exists() else ():
        if file.stem not in known and file.stat().st_mtime < limit:
            file.unlink(missing_ok=True)


def _folder() -> Path:
    return home.home() / "files"
