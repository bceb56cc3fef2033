"""A worker: claims jobs, looks at their files, and has a process of its own train each; evaluations likewise."""

from __future__ import annotations

import json
import logging
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from sodate.core.errors import SodateError, fault
from sodate.db.connection import reading, writing
from sodate.db.tables import TuningJob
from sodate.jobs import checking, measuring, queue, results, tuning
from sodate.jobs.process import Process

log = logging.getLogger("sodate.jobs")

COMMAND = [sys.executable, "-m", "sodate.jobs.training"]
POLL_SECONDS = 0.3
BEAT_SECONDS = 1.0
STOP_SECONDS = 120.0  # a training process may take to the end of its step
MOST_TRIES = 20  # workers that may die over a job without a step between them
MOST_CRASHES = 6  # of training processes, likewise
ENOUGH_CRASHES, CRASH_SECONDS = 3, 30.0  # so many are enough where they took so long
MOST_BUSY = 60  # seconds that a run's last process may take to end
FAULTS = (SodateError, sa.exc.SQLAlchemyError, OSError)  # of the database and the disk, that may pass


def work(stopping: threading.Event) -> None:
    """Does what there is to do until `stopping` is set; a job that is under way is then stopped and given back."""
    with reading():
        pass  # a database that can't be opened is said now
    checker = threading.Thread(target=_loop, args=([tuning.CHECK], lambda claim: checking.check(claim), stopping))
    checker.start()
    _loop([tuning.TRAIN, measuring.KIND], lambda claim: _compute(claim, stopping), stopping)
    checker.join()


def _compute(claim: queue.Claim, stopping: threading.Event) -> None:
    """Trains or evaluates: one at a time, for each may need the memory that there is."""
    if claim.kind == measuring.KIND:
        measuring.run(claim, stopping)
    else:
        Training(claim, stopping).run()


def _loop(kinds: list[str], do: Callable[[queue.Claim], None], stopping: threading.Event) -> None:
    worker = queue.Worker(kinds)
    while not stopping.is_set():
        try:
            claim = worker.claim()
            if claim is None:
                stopping.wait(POLL_SECONDS)
            else:
                do(claim)
        except queue.Lost:
            log.info("a job was taken over")
        except FAULTS as error:  # the database may come back; until then the job waits, and others may take it over
            log.error("%s: %s", type(error).__name__, getattr(error, "code", ""))
            stopping.wait(2.0)
        except Exception as error:  # what nobody foresaw is one job's: the others wait
            log.error("a job failed: %s", fault(error))
            stopping.wait(2.0)


class Training:
    """One claimed job and the process that trains it."""

    def __init__(self, claim: queue.Claim, stopping: threading.Event) -> None:
        self._claim = claim
        self._stopping = stopping
        self._busy = 0
        self._crashes: list[float] = []  # when processes ended that should not have, since the last new step

    def run(self) -> None:
        """Trains to the job's end, or until it is wanted otherwise."""
        if self._claim.tries > MOST_TRIES:
            self._end(lambda session, job: results.failed(session, job, "worker_crashed", "The workers that trained "
                      f"this job ended {MOST_TRIES} times before it came any further."))  # fmt: skip
            return
        while self._once():
            time.sleep(1.0)

    def _once(self) -> bool:
        """One process from begin to end. Returns whether another one should try."""
        asked = self._begin()
        if asked is None:
            return False
        with Process(COMMAND, asked) as process:
            try:
                last = self._watch(process)
            except BaseException:
                process.kill()
                raise
        if last is None:
            return False
        if last["kind"] == "done":
            self._end(lambda session, job: results.succeeded(session, job, last))
            return False
        if last["kind"] == "failed" and last["code"] != "in_use":
            message = f"{last['message']} {last['fix']}".rstrip()
            self._end(lambda session, job: results.failed(session, job, last["code"], message))
            return False
        if last["kind"] != "crashed":  # `in_use`: the process before has not ended yet
            self._busy += 1
            return self._busy < MOST_BUSY
        self._crashes.append(time.monotonic())
        count, seconds = len(self._crashes), self._crashes[-1] - self._crashes[0]
        if count >= MOST_CRASHES or (count >= ENOUGH_CRASHES and seconds > CRASH_SECONDS):
            why = "It may have run out of memory." if last["status"] == -signal.SIGKILL else ""
            text = f"The training process ended with status {last['status']}, {count} times in a row. {why}"
            self._end(lambda session, job: results.failed(session, job, "worker_crashed", text.rstrip()))
            return False
        return True

    def _begin(self) -> dict[str, Any] | None:
        """What the process is to be told, None where the job is not to be trained now."""
        with writing() as session:
            row = queue.owned(session, self._claim)
            job = _job(session, self._claim)
            if row.wanted == "cancel":
                session.delete(row)
                return None
            if row.wanted == "pause" or self._stopping.is_set():
                row.owner = None
                return None
            row.wanted = ""
            job.status = "running"
            tuning.tell_once(session, job, "Fine-tuning job started")
            return {"recipe": json.loads(job.recipe), "run": job.run, "job": job.id, "project": job.project}

    def _watch(self, process: Process) -> dict[str, Any] | None:
        """Keeps what the process says until it ends; returns how it did, None where that is of no interest."""
        beaten, asked_to_stop = 0.0, 0.0
        last: dict[str, Any] | None = None
        while True:
            lines, ended = process.said(POLL_SECONDS)
            for line in lines:
                last = line if line["kind"] in ("done", "stopped", "failed") else last
            self._keep([line for line in lines if line["kind"] in results.HEARD])
            if ended:
                break
            now = time.monotonic()
            if now - beaten < BEAT_SECONDS:
                continue
            beaten = now
            wanted = queue.beat(self._claim)
            if wanted == "cancel":
                process.kill()
            elif wanted or self._stopping.is_set():
                if not asked_to_stop:
                    process.stop()
                    asked_to_stop = now
                elif now - asked_to_stop > STOP_SECONDS:
                    process.kill()
        stopped = asked_to_stop > 0 and (last is None or last["kind"] == "stopped")
        if self._given_back(stopped) is None:
            return None
        return last or {"kind": "crashed", "status": process.status}

    def _given_back(self, stopped: bool) -> str | None:
        """The row after the process: gone if the job was cancelled, free if it was stopped; else what is wanted."""
        with writing() as session:
            row = queue.owned(session, self._claim)
            if row.wanted == "cancel":
                session.delete(row)
                return None
            if stopped:
                row.owner, row.tries = None, 0
                row.wanted = "pause" if row.wanted == "pause" else ""
                if not row.wanted:
                    _job(session, self._claim).status = "queued"
                return None
            return row.wanted

    def _keep(self, lines: list[dict[str, Any]]) -> None:
        """Writes what was said, unless the job was cancelled, and forgets checkpoints that are too many."""
        if not lines:
            return
        gone: list[str] = []
        with writing() as session:
            row = queue.owned(session, self._claim)
            if row.wanted == "cancel":
                return
            job = _job(session, self._claim)
            for line in lines:
                further = line["kind"] == "step" and results.is_new(session, job, line)
                results.HEARD[line["kind"]](session, job, line)
                session.flush()
                if further:  # what is told again after a crash is none
                    row.tries, self._crashes = 0, []
            if any(line["kind"] == "weights" for line in lines):
                gone = results.forgotten(session, job)
        results.remove(gone)

    def _end(self, tell: Callable[[Any, TuningJob], None]) -> None:
        gone: list[str] = []
        with writing() as session:
            row = queue.owned(session, self._claim)
            job = _job(session, self._claim)
            if row.wanted != "cancel":
                tell(session, job)
                session.flush()
                gone = results.forgotten(session, job)
            session.delete(row)
        results.remove(gone)


def _job(session: Any, claim: queue.Claim) -> TuningJob:
    found: TuningJob = session.scalars(sa.select(TuningJob).where(TuningJob.id == claim.id)).one()
    return found
