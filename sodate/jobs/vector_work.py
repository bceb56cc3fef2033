"""What is done for a vector store: its new files are read into segments, what is gone is removed, segments are merged.

Documents are strangers' work, read in a child process that may take so much time and memory and no more. The server
goes on answering beside it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from sodate.core import home
from sodate.core.errors import SodateError, UsageError
from sodate.core.files import atomic_folder
from sodate.core.ids import new_id
from sodate.core.limited import limited
from sodate.core.text import en
from sodate.db.connection import reading, writing
from sodate.db.vector_tables import VectorFile, VectorStore
from sodate.jobs import files, queue, vector_stores
from sodate.jobs.vector_files import COLUMNS
from sodate.retrieve import segments
from sodate.retrieve.documents import KINDS, MEMORY, SECONDS, SOURCES, import_readers, read_document
from sodate.retrieve.passages import passages
from sodate.retrieve.segments import Segment

TOGETHER = 32  # files that are read by one child
MOST_TRIES = 5  # servers that may end over a store


@dataclass(frozen=True, slots=True)
class _Source:
    """A file to read."""

    number: int
    path: Path
    filename: str
    chunk_tokens: int
    overlap_tokens: int


def folder_of(store: str) -> Path:
    """Where the segments of a store lie."""
    return home.home() / "vector_stores" / store


def run(claim: queue.Claim, stopping: Callable[[], bool]) -> bool:
    """Brings a store up to date, step by step; False where it stopped before the end. queue.Lost where somebody else
    has it by now."""
    if claim.tries > MOST_TRIES:
        _give_up(claim)
    while not stopping():
        if not _step(claim):
            return True
    return False


def _step(claim: queue.Claim) -> bool:
    """The next thing to do; False where there is nothing, and the work is finished."""
    with reading() as session:
        store = session.scalars(sa.select(VectorStore).where(VectorStore.id == claim.id)).one()
        names, gone = json.loads(store.segments), store.deleted_at is not None
        waiting = session.scalars(_waiting(claim.id).order_by(VectorFile.number).limit(TOGETHER)).all()
        keep = _kept(session, claim.id)
    if gone:
        shutil.rmtree(folder_of(claim.id), ignore_errors=True)
        with writing() as session:
            queue.finish(session, claim)
        return False
    if not all((folder_of(claim.id) / name / segments.MANIFEST).exists() for name in names):
        vector_stores.read_again(claim.id, claim.project)
        return True
    if waiting:
        _read(claim, waiting)
        return True
    if merging := segments.due([Segment(folder_of(claim.id) / name) for name in names], keep):
        _merge(claim, merging, keep)
        return True
    _sweep(claim.id, names)
    with writing() as session:
        queue.owned(session, claim)  # whoever attaches a file now waits for this row, and makes a new one
        if session.scalar(_waiting(claim.id).limit(1)) is None:
            queue.finish(session, claim)
            return False
    return True


def _waiting(store: str) -> sa.Select[VectorFile]:
    return sa.select(VectorFile).where(
        VectorFile.store == store, VectorFile.status == "in_progress", VectorFile.deleted_at.is_(None)
    )


def _kept(session: Session, store: str) -> set[int]:
    wanted = sa.select(VectorFile.number).where(VectorFile.store == store, VectorFile.status == "completed")
    return set(session.scalars(wanted.where(VectorFile.deleted_at.is_(None))))


def _read(claim: queue.Claim, rows: Sequence[VectorFile]) -> None:
    """Reads some files into a new segment, together or, where that fails, one by one."""
    found: dict[int, dict[str, Any]] = {}
    sources = []
    with reading() as session:
        for row in rows:
            try:
                path = files.path(files.get(session, row.file, claim.project))
                sources.append(_Source(row.number, path, row.filename, row.chunk_tokens, row.overlap_tokens))
            except UsageError as error:
                found[row.number] = _failed("invalid_file", en(error.message))
    name, target = _new(claim.id)
    made = False
    if sources:
        import_readers()
        with atomic_folder(target) as stage:
            outcomes = _limited(sources, stage)
            if outcomes is None:  # one of them took the child with it
                good = {}
                for source in sources:
                    alone = stage / "alone"
                    alone.mkdir()
                    good[source.number] = _alone(source, alone)
                    shutil.rmtree(alone)
                sources = [one for one in sources if "error" not in good[one.number]]
                outcomes = good | (_limited(sources, stage) or {} if sources else {})
            found |= outcomes
            made = any("error" not in one for one in outcomes.values())
        if not made:
            shutil.rmtree(target)
    with writing() as session:
        queue.owned(session, claim).tries = 0
        wanted = sa.select(VectorFile).where(VectorFile.number.in_(found)).with_for_update()
        for row in session.scalars(wanted):
            if row.status == "in_progress":  # not cancelled meanwhile
                own = found[row.number]
                row.status = "failed" if "error" in own else "completed"
                row.error = json.dumps(own["error"]) if "error" in own else None
                row.usage_bytes = own.get("bytes", 0)
        if made:
            store = session.scalars(sa.select(VectorStore).where(VectorStore.id == claim.id)).one()
            store.segments = json.dumps([*json.loads(store.segments), name])


def _failed(code: str, message: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": message}}


def _limited(sources: Sequence[_Source], stage: Path) -> dict[int, dict[str, Any]] | None:
    """What came of each file, with the segment of those that were read in `stage`; None where it took too much."""
    try:
        done = limited(lambda: _segment(sources, stage), "documents", seconds=SECONDS * len(sources), memory=MEMORY)
    except SodateError:
        for file in stage.iterdir():
            shutil.rmtree(file) if file.is_dir() else file.unlink()
        return None
    return {int(number): own for number, own in done.items()}


def _alone(source: _Source, stage: Path) -> dict[str, Any]:
    found = _limited([source], stage)
    return found[source.number] if found else _failed("invalid_file", "The file takes too long to read, or too much.")


def _segment(sources: Sequence[_Source], stage: Path) -> dict[int, dict[str, Any]]:
    """Reads files and writes the segment; runs in the child."""
    found: dict[int, dict[str, Any]] = {}
    documents = []
    for source in sources:
        suffix = Path(source.filename).suffix.lower()
        named = stage / f"document{suffix if suffix in (*KINDS, *SOURCES) else ''}"  # readers go by the suffix
        named.symlink_to(source.path)
        try:
            sections = read_document(named, lambda code, message: None)
        except SodateError as error:
            kind = "unsupported_file" if error.code == "unknown_document" else "invalid_file"
            found[source.number] = _failed(kind, en(error.message).replace(named.name, source.filename))
            continue
        finally:
            named.unlink()
        own = list(
            passages(source.filename, sections, COLUMNS * source.chunk_tokens, COLUMNS * source.overlap_tokens)
        )  # fmt: skip
        found[source.number] = {"bytes": sum(len(one.text.encode()) for one in own)}
        documents.append((source.number, own))
    if documents:
        segments.write(stage, documents)
    return found


def _merge(claim: queue.Claim, merging: Sequence[Segment], keep: Collection[int]) -> None:
    """Makes one segment of several, or writes one anew, without the documents that are gone."""
    name, target = _new(claim.id)
    left = any(number in keep for segment in merging for number, _ in segment.documents)
    if left:
        with atomic_folder(target) as stage:
            limited(
                lambda: segments.write(stage, segments.merged(merging, keep)), "segments", seconds=10 * SECONDS,
                memory=MEMORY,
            )  # fmt: skip
    with writing() as session:
        queue.owned(session, claim)
        store = session.scalars(sa.select(VectorStore).where(VectorStore.id == claim.id)).one()
        old = {segment.path.name for segment in merging}
        names: list[str] = json.loads(store.segments)
        at = min(names.index(one) for one in old)
        rest = [one for one in names if one not in old]
        store.segments = json.dumps([*rest[:at], *([name] if left else []), *rest[at:]])


def _new(store: str) -> tuple[str, Path]:
    home.make_folder(folder_of(store))
    name = new_id("", 12)
    return name, folder_of(store) / name


def _sweep(store: str, names: Collection[str]) -> None:
    """Removes folders that are no segment of the store any more. Who has one open reads on."""
    for folder in folder_of(store).iterdir() if folder_of(store).exists() else ():
        if folder.name not in names:
            shutil.rmtree(folder, ignore_errors=True)


def _give_up(claim: queue.Claim) -> None:
    """After so many servers that ended over this store, its waiting files are failed."""
    error = {"code": "server_error", "message": f"The servers that read it ended {MOST_TRIES} times over it."}
    with writing() as session:
        queue.owned(session, claim)
        waiting = sa.update(VectorFile).where(VectorFile.store == claim.id, VectorFile.status == "in_progress")
        session.execute(waiting.values(status="failed", error=json.dumps(error)))
