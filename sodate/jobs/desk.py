"""Work that asks the models of a server, done by the server itself: runs of evals, and batches; and vector stores.

They wait in the same queue as training; what a server that ended had begun is gone on with by the next one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import sqlalchemy as sa

from sodate.api.judging import Judges
from sodate.core.errors import SodateError, fault
from sodate.db.connection import reading
from sodate.db.tables import Work
from sodate.jobs import batches, eval_runs, evals, queue, vector_stores, vector_work

log = logging.getLogger("sodate.jobs")

KINDS = (evals.KIND, batches.KIND, vector_stores.KIND)
POLL_SECONDS = 0.2
BEAT_SECONDS = 2.0
AGAIN_SECONDS = 0.5  # before a request is tried again that found no room
FAULTS = (SodateError, sa.exc.SQLAlchemyError, OSError)  # of the database and the disk, that may pass


class _Stopped(Exception):
    """The server ends; the work is given back."""


class Desk:
    """A thread for each of KINDS, that takes one piece of work after the other until `close`."""

    def __init__(self, answer: eval_runs.Answer, judges: Callable[[str], Judges]) -> None:
        self._answer = answer
        self._judges = judges
        self._stopping = threading.Event()
        self._looking = threading.Lock()
        self._looked, self._waiting = float("-inf"), frozenset[str]()
        self._threads = [threading.Thread(target=self._loop, args=(kind,), daemon=True) for kind in KINDS]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Takes nothing more; what is under way is given back at its next step."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(30)

    def _loop(self, kind: str) -> None:
        worker = queue.Worker([kind])
        while not self._stopping.is_set():
            try:
                claim = worker.claim() if self._waits(kind) else None
                if claim is None:
                    self._stopping.wait(POLL_SECONDS)
                    continue
                self._do(claim)
            except queue.Lost:
                log.info("work was taken away")
            except FAULTS as error:
                log.error("%s: %s", type(error).__name__, getattr(error, "code", ""))
                self._stopping.wait(2.0)
            except BaseException as error:  # what nobody foresaw, a panic of native code too: the others wait
                log.error("work failed: %s", fault(error))
                self._stopping.wait(2.0)

    def _waits(self, kind: str) -> bool:
        """Whether there is any work of the kind: looked at before a claim, which would keep other writers waiting; and
        once for all kinds."""
        with self._looking:
            if time.monotonic() - self._looked >= POLL_SECONDS:
                with reading() as session:
                    wanted = sa.select(Work.kind).where(Work.kind.in_(KINDS)).distinct()
                    self._waiting = frozenset(session.scalars(wanted))
                self._looked = time.monotonic()
            return kind in self._waiting

    def _do(self, claim: queue.Claim) -> None:
        with _beating(claim):
            try:
                if claim.kind == evals.KIND:
                    eval_runs.run(claim, self._patient, self._judges(claim.project))
                elif claim.kind == vector_stores.KIND:
                    if not vector_work.run(claim, self._stopping.is_set):
                        raise _Stopped
                else:
                    batches.run(claim, self._patient)
            except _Stopped:
                queue.release(claim)
            except SodateError as error:
                if error.code != "shutting_down":
                    raise
                queue.release(claim)

    async def _patient(self, path: str, body: Mapping[str, Any], project: str) -> tuple[int, dict[str, Any]]:
        """The answer, asked for again while there is no room for it."""
        while True:
            if self._stopping.is_set():
                raise _Stopped
            status, said = await self._answer(path, body, project)
            if status not in (429, 503):
                return status, said
            await asyncio.sleep(AGAIN_SECONDS)


@contextlib.contextmanager
def _beating(claim: queue.Claim) -> Iterator[None]:
    """Shows that the owner lives, as long as the block takes."""
    done = threading.Event()

    def beats() -> None:
        while not done.wait(BEAT_SECONDS):
            with contextlib.suppress(queue.Lost, *FAULTS):
                queue.beat(claim)

    thread = threading.Thread(target=beats, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
