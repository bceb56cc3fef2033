"""Exchanges on their way from the answer to the database: a bounded queue, and a thread behind it.

Whoever answers only puts something into the queue. What does not fit, can't be scrubbed or can't be written is dropped
and counted; nothing is ever kept as it came, and nobody waits.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Mapping

import sqlalchemy as sa

from sodate.core.text import tr
from sodate.learn import keeping, recording, retention
from sodate.learn.exchange import Exchange
from sodate.learn.keeping import Desk, Ready, Tally
from sodate.learn.recording import OFF, Rules
from sodate.learn.scrubbing import LONGEST

log = logging.getLogger("sodate.learn")

WAITING = 10_000  # exchanges in the queue, at most
CHARACTERS = 50_000_000  # … and characters in it
AT_ONCE = 200  # exchanges in one transaction
GATHER_SECONDS = 0.5  # for so long they come together: a transaction of one costs as much work as one of thirty
RULES_SECONDS = 2.0  # after so long rules are looked up again
SWEEP_SECONDS = 3600.0  # between two looks for exchanges that are old enough to go
PAUSE = 0.001  # after each exchange: whoever answers comes first
KEPT, QUEUE_FULL, TOO_LARGE, SCRUB_FAILED, DATABASE_FAILED = OUTCOMES = (
    "kept", "queue_full", "too_large", "scrub_failed", "database_failed",
)  # fmt: skip


class Recorder:
    """`put` takes an exchange and returns at once. `counted(outcome, how_many)` is told what became of them; `also` is
    called now and then, several times a second where nothing comes."""

    def __init__(
        self,
        counted: Callable[[str, int], None] = lambda outcome, number: None,
        also: Callable[[], None] = lambda: None,
    ) -> None:
        self._counted = counted
        self._also = also
        self._queue: queue.Queue[Exchange | None] = queue.Queue(WAITING)  # None: write what has come together
        self._characters = 0
        self._lock = threading.Lock()
        self._unsaid: Counter[Tally] = Counter()  # dropped, and not in the tallies yet
        self._rules: Mapping[str, Rules] = {}
        self._desks: dict[Rules, Desk] = {}
        self._looked = self._swept = self._complained = -RULES_SECONDS - SWEEP_SECONDS
        self._ending = threading.Event()
        self._look_up()
        self._thread = threading.Thread(target=self._run, name="exchanges", daemon=True)
        self._thread.start()

    def wants(self, project: str, id: str) -> bool:
        """Whether an exchange of that id is kept. Of sampled ones the id decides, and nobody who asks can choose it."""
        rules = self._rules.get(project, OFF)
        if rules.mode == "sampled":
            return zlib.crc32(id.encode()) < rules.share * 2**32
        return rules.mode == "on"

    def rules(self, project: str) -> Rules:
        """What a project keeps, as it was two seconds ago at most."""
        return self._rules.get(project, OFF)

    def put(self, told: Exchange) -> None:
        """Takes an exchange that is wanted; drops it where there is no room."""
        if not self.wants(told.project, told.id):
            return
        size = told.size
        if size > LONGEST:
            self._drop(told, TOO_LARGE)
            return
        try:
            with self._lock:
                if self._characters + size > CHARACTERS:
                    raise queue.Full
                self._queue.put_nowait(told)
                self._characters += size
        except queue.Full:
            self._drop(told, QUEUE_FULL)

    def flush(self, seconds: float) -> bool:
        """Has all that was put written or dropped now, and waits for it; False where that takes longer."""
        end = time.monotonic() + seconds
        with contextlib.suppress(queue.Full):
            self._queue.put_nowait(None)
        while self._queue.unfinished_tasks:
            if time.monotonic() > end:
                return False
            time.sleep(0.005)
        return True

    def close(self, seconds: float = 5.0) -> None:
        """Writes what is left, for so long at most, and ends."""
        self.flush(seconds)
        self._ending.set()
        self._thread.join(seconds)

    def _run(self) -> None:
        while not self._ending.is_set():
            try:
                first = self._queue.get(timeout=0.2)
            except queue.Empty:
                self._now_and_then()
                continue
            self._write(first)
            self._now_and_then()

    def _write(self, first: Exchange | None) -> None:
        """Scrubs and writes what comes within `GATHER_SECONDS`, or until somebody waits for it."""
        batch: list[Ready] = []
        told, taken, last = first, 1, time.monotonic() + GATHER_SECONDS
        try:
            while told is not None:
                self._scrub(told, batch)
                time.sleep(PAUSE)
                if len(batch) >= AT_ONCE:
                    break
                try:
                    told = self._queue.get(timeout=max(0.0, last - time.monotonic()))
                except queue.Empty:
                    break
                taken += 1
            if first is not None:
                self._keep(batch)
        finally:
            for _ in range(taken):
                self._queue.task_done()

    def _scrub(self, told: Exchange, batch: list[Ready]) -> None:
        with self._lock:
            self._characters -= told.size
        try:
            batch.append(keeping.ready(told, self._desk(told.project)))
        except Exception as error:  # never kept as it came, whatever it was
            self._drop(told, SCRUB_FAILED)
            self._complain(SCRUB_FAILED, error)

    def _keep(self, batch: list[Ready]) -> None:
        with self._lock:
            unsaid = dict(self._unsaid)
        try:
            keeping.keep(batch, unsaid)
        except sa.exc.IntegrityError as error:  # one of them is there already; the others are not lost by that
            if len(batch) == 1:
                self._lose(batch, error)
            else:
                for one in batch:
                    self._keep([one])
            return
        except Exception as error:
            self._lose(batch, error)
            return
        with self._lock:
            self._unsaid.subtract(unsaid)
            self._unsaid = +self._unsaid
        self._counted(KEPT, len(batch))

    def _lose(self, batch: list[Ready], error: Exception) -> None:
        for one in batch:
            self._note(one.row["project"], one.row["created_at"], one.row["version"], DATABASE_FAILED)
        self._complain(DATABASE_FAILED, error)

    def _drop(self, told: Exchange, why: str) -> None:
        self._note(told.project, told.created_at, told.version, why)

    def _note(self, project: str, created_at: int, version: str, why: str) -> None:
        with self._lock:
            self._unsaid[(project, created_at // keeping.DAY, version, why)] += 1
        self._counted(why, 1)

    def _desk(self, project: str) -> Desk:
        rules = self._rules[project]
        if rules not in self._desks:
            self._desks = {rules: Desk.of(rules), **dict(list(self._desks.items())[:100])}
        return self._desks[rules]

    def _now_and_then(self) -> None:
        self._also()
        now = time.monotonic()
        if now - self._looked > RULES_SECONDS:  # asked or not: nobody asks while nothing is kept
            self._look_up()
        if now - self._swept > SWEEP_SECONDS:
            self._swept = now
            try:
                retention.sweep()
            except Exception as error:
                self._complain(DATABASE_FAILED, error)

    def _look_up(self) -> None:
        """The rules as they are now; those that were known, where the database does not say."""
        self._looked = time.monotonic()
        try:
            self._rules = recording.of_all()
        except Exception as error:
            self._complain(DATABASE_FAILED, error)

    def _complain(self, why: str, error: Exception) -> None:
        """Says so in the log, once a minute at most, and without the error's text, which may quote what was asked."""
        now = time.monotonic()
        if now - self._complained > 60:
            self._complained = now
            log.warning("%s (%s)", tr(f"Exchanges are dropped: {why}.", f"やり取りを記録できません: {why}"),
                        type(error).__name__)  # fmt: skip
