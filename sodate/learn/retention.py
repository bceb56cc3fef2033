"""Exchanges and stored replies go when they are old enough. A clock that jumps takes none of them along."""

from __future__ import annotations

import time

import sqlalchemy as sa

from sodate.db.connection import reading, writing
from sodate.db.exchange_tables import ExchangeRow, RecordingRow
from sodate.db.tables import StoredReply
from sodate.learn import recording
from sodate.learn.keeping import DAY

STEADY = DAY  # seconds for which the clock has to have gone on without a jump
JUMP = 2 * DAY  # between two looks, this is one; so is a step back
AT_ONCE = 500  # rows of one transaction, so that nobody waits long for it


def sweep(now: int | None = None) -> int:
    """Deletes what is older than its project keeps it; returns how many. `now` is the clock's time.

    Where the clock has jumped since the last look, forwards or back, or nobody has looked for days, nothing goes for a
    day: a wrong clock is mended until then.
    """
    now = int(time.time()) if now is None else now
    gone = 0
    for project, days in _due(now):
        gone += older_than(project, now - days * DAY)
    return gone


def _due(now: int) -> list[tuple[str, int]]:
    with writing() as session:
        known, theirs = sa.select(RecordingRow.project), StoredReply.project
        for project in session.scalars(sa.select(theirs).distinct().where(theirs.not_in(known))).all():
            session.add(recording.row_of(project))  # nobody has said anything of it: the usual age is for it, too
        session.flush()
        found = []
        for row in session.scalars(sa.select(RecordingRow)):
            if row.swept_at is None or row.steady_since is None or not 0 <= now - row.swept_at <= JUMP:
                row.steady_since = now
            row.swept_at = now
            if row.keep_days is not None and now - row.steady_since >= STEADY:
                found.append((row.project, row.keep_days))
        return found


def older_than(project: str, second: int) -> int:
    """Deletes the exchanges and the stored replies of a project that were made before that second; returns how many."""
    row, kept = ExchangeRow, StoredReply
    gone = delete(row, [row.project == project, row.day <= second // DAY, row.created_at < second])
    return gone + delete(kept, [kept.project == project, kept.created_at < second])


def delete(table: type[ExchangeRow] | type[StoredReply], which: list[sa.ColumnElement[bool]]) -> int:
    """Deletes exchanges, or stored replies, with all that was said of them, a few at a time; returns how many."""
    gone = 0
    while True:
        with reading() as session:
            numbers = session.scalars(sa.select(table.number).where(*which).limit(AT_ONCE)).all()
        if not numbers:
            return gone
        with writing() as session:
            session.execute(sa.delete(table).where(table.number.in_(numbers)))
        gone += len(numbers)
