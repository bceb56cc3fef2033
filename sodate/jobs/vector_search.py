"""Searches in vector stores of a project, and the passages of a file there."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from sodate.core.errors import SodateError, UsageError
from sodate.core.text import tr
from sodate.db.connection import reading
from sodate.db.vector_tables import VectorFile
from sodate.jobs import vector_stores
from sodate.jobs.vector_files import of
from sodate.jobs.vector_stores import get, touch, usable
from sodate.jobs.vector_work import folder_of
from sodate.retrieve import segments
from sodate.retrieve.filters import check, fits
from sodate.retrieve.index import Found
from sodate.retrieve.passages import Passage
from sodate.retrieve.segments import Segment

TRIES = 3  # a segment may be merged away between the look into the table and that into the folder


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage of a file, and its score in [0, 1]."""

    file: str
    filename: str
    attributes: dict[str, Any]
    score: float
    passage: Passage


@lru_cache(maxsize=256)
def _segment(path: Path) -> Segment:
    return Segment(path)


def search(
    project: str, stores: Sequence[str], queries: Sequence[str], k: int, *,
    filters: Mapping[str, Any] | None = None, threshold: float = 0.0, where: str = "filters",
) -> list[Hit]:  # fmt: skip
    """The k best passages for any of the queries, in files whose attributes pass the filters. UsageError for a store
    that the project has not, and naming what is wrong of filters, which the request calls `where`."""
    if filters is not None:
        check(filters, where)
    for left in reversed(range(TRIES)):
        try:
            return _search(project, stores, queries, k, filters, threshold)
        except (FileNotFoundError, SodateError) as error:
            if getattr(error, "code", "file_missing") != "file_missing":
                raise
            if not left:
                for id in stores:
                    vector_stores.read_again(id, project)
                raise SodateError(
                    tr("Passages of the vector store are gone; its files are read again.",
                       "ベクトルストアの内容の一部が失われたため、ファイルを読み直しています。"),
                    tr("Try again in a moment.", "少し待ってからもう一度お試しください。"), code="in_use",
                ) from None  # fmt: skip
    raise AssertionError


def _search(
    project: str, stores: Sequence[str], queries: Sequence[str], k: int, filters: Mapping[str, Any] | None,
    threshold: float,
) -> list[Hit]:  # fmt: skip
    asked = list(dict.fromkeys(stores))
    with reading() as session:
        rows = [usable(session, id, project) for id in asked]
        parts = [_segment(folder_of(row.id) / name) for row in rows for name in json.loads(row.segments)]
        wanted = sa.select(VectorFile.number, VectorFile.attributes).where(
            VectorFile.store.in_(asked), VectorFile.status == "completed", VectorFile.deleted_at.is_(None)
        )
        among = {number for number, own in session.execute(wanted) if filters is None or fits(filters, json.loads(own))}
    touch(rows)
    best: dict[tuple[int, Passage], Found] = {}
    for query in queries:
        for number, found in segments.search(parts, query, k, among):
            key = (number, found.passage)
            if found.share >= threshold and (key not in best or found.share > best[key].share):
                best[key] = found
    ranked = sorted(best.items(), key=lambda one: -one[1].share)[:k]
    files = _files({number for (number, _), _ in ranked})
    return [
        Hit(row.file, row.filename, json.loads(row.attributes), found.share, passage)
        for (number, passage), found in ranked
        if (row := files.get(number)) is not None
    ]


def _files(numbers: Iterable[int]) -> dict[int, VectorFile]:
    with reading() as session:
        rows = session.scalars(sa.select(VectorFile).where(VectorFile.number.in_(list(numbers))))
        return {row.number: row for row in rows}


def content(project: str, store: str, file: str) -> list[Passage]:
    """The passages of a file, in order. UsageError where it was not read."""
    with reading() as session:
        row = of(session, store, file, project)
        names = json.loads(get(session, store, project).segments)
        if row.status != "completed":
            raise UsageError(
                tr(f"The file is {row.status}: it has no passages.",
                   f"このファイルは {row.status} で、内容がありません。"),
                code="invalid_status", param="file_id",
            )  # fmt: skip
    for name in names:
        for number, own in segments.merged([_segment(folder_of(store) / name)], {row.number}):
            if number == row.number:
                return own
    return []
