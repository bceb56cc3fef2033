"""The queue: rows of `work`, each done by one worker at a time, whatever becomes of workers, machines and clocks.

A worker owns a row by its name in it, and counts `beat` up while it lives. A row whose owner is known to be dead, or
whose beat stands still for STILL_SECONDS of the onlooker's own monotonic clock, is taken over. Whatever a worker writes
about a row it writes within `owned`, in the transaction that finds its name still there.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from sodate.core.files import lives, process_name
from sodate.core.ids import new_id
from sodate.db.connection import writing
from sodate.db.tables import Quota, Work
from sodate.jobs.quotas import Limits

STILL_SECONDS = 30.0


class Lost(Exception):
    """The row is somebody else's by now, or gone."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A row that is ours. `tries` counts the claims since it last came further."""

    id: str
    kind: str
    project: str
    owner: str
    tries: int


def put(session: Session, id: str, kind: str, project: str) -> None:
    """Adds work to the queue, within the transaction that makes what it is about."""
    session.add(Work(id=id, kind=kind, project=project, owner=None, beat=0, tries=0, wanted=""))


class Worker:
    """One that claims: its name, and what it has seen of the others."""

    def __init__(self, kinds: Collection[str], still_seconds: float = STILL_SECONDS) -> None:
        self.name = f"{process_name(os.getpid())} {new_id('', 8)}"
        self._kinds = tuple(kinds)
        self._still = still_seconds
        self._seen: dict[str, tuple[str, int, float]] = {}  # owner and beat of a row, and since when they are these

    def claim(self) -> Claim | None:
        """The oldest row that is free, or whose owner is dead; None where there is none for us."""
        with writing() as session:
            row = self._free(session) or self._abandoned(session)
            if row is None:
                return None
            row.owner, row.beat, row.tries = self.name, row.beat + 1, row.tries + 1
            return Claim(row.id, row.kind, row.project, self.name, row.tries)

    def _free(self, session: Session) -> Work | None:
        owners = sa.select(Work.project, sa.func.count()).where(Work.owner.is_not(None)).group_by(Work.project)
        running = {row[0]: row[1] for row in session.execute(owners)}
        limits = {row[0]: row[1] for row in session.execute(sa.select(Quota.project, Quota.running))}
        full = [project for project, count in running.items() if count >= limits.get(project, Limits().running)]
        wanted = sa.select(Work).where(Work.owner.is_(None), Work.wanted == "", Work.kind.in_(self._kinds))
        wanted = wanted.where(Work.project.not_in(full)).order_by(Work.number).limit(1)
        return session.scalar(wanted.with_for_update(skip_locked=True))

    def _abandoned(self, session: Session) -> Work | None:
        wanted = sa.select(Work).where(Work.owner.is_not(None), Work.kind.in_(self._kinds)).order_by(Work.number)
        now = time.monotonic()
        found = None
        seen: dict[str, tuple[str, int, float]] = {}
        for row in session.scalars(wanted.with_for_update(skip_locked=True)):
            assert row.owner is not None
            owner, beat, since = self._seen.get(row.id, ("", -1, now))
            since = since if (owner, beat) == (row.owner, row.beat) else now
            seen[row.id] = (row.owner, row.beat, since)
            ours = row.owner == self.name  # and nobody is at it: who claims does nothing else
            dead = not lives(row.owner.rpartition(" ")[0]) or now - since > self._still
            if found is None and (ours or dead):
                found = row
        self._seen = seen
        return found


def owned(session: Session, claim: Claim) -> Work:
    """The row, if it is still ours; Lost otherwise. Held for the transaction, so that nobody takes it meanwhile."""
    wanted = sa.select(Work).where(Work.id == claim.id, Work.owner == claim.owner)
    row = session.scalar(wanted.with_for_update())
    if row is None:
        raise Lost
    return row


def beat(claim: Claim) -> str:
    """Shows that the owner lives; returns what is wanted of it. Lost where it is not the owner any more."""
    with writing() as session:
        row = owned(session, claim)
        row.beat += 1
        return row.wanted


def release(claim: Claim) -> None:
    """Gives the row back, to be claimed again by anybody."""
    with writing() as session:
        row = owned(session, claim)
        row.owner, row.tries = None, max(0, row.tries - 1)


def finish(session: Session, claim: Claim) -> None:
    """Removes the row within the transaction that says how it ended."""
    session.delete(owned(session, claim))
