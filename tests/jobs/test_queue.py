"""The queue: no row is ever two workers', whoever dies, and no clock of the day is asked."""

from __future__ import annotations

import collections
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import sqlalchemy as sa

from sodate.core.errors import SodateError
from sodate.core.files import process_name
from sodate.db.connection import writing
from sodate.db.tables import Work
from sodate.jobs import queue, quotas
from tests.db.test_connection import database, postgres  # noqa: F401 (fixtures)

KIND = "test"


def fill(count: int, project: str = "p", first: int = 0) -> None:
    with writing() as session:
        for number in range(first, first + count):
            queue.put(session, f"job-{number:05d}", KIND, project)


def drain(owned: list[tuple[str, str]]) -> None:
    """Claims and finishes until nothing is left; notes who had what."""
    worker = queue.Worker([KIND])
    while (claim := worker.claim()) is not None:
        with writing() as session:
            queue.finish(session, claim)
        owned.append((claim.id, worker.name))


def test_a_thousand_claims_by_threads_at_once_are_a_thousand_rows(database: str) -> None:  # noqa: F811
    quotas.change("p", running=1000)
    fill(500)
    fill(500, first=500)
    owned: list[tuple[str, str]] = []
    threads = [threading.Thread(target=drain, args=(owned,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(id for id, _ in owned) == [f"job-{number:05d}" for number in range(1000)]


def _claims(out: Path) -> None:
    owned: list[tuple[str, str]] = []
    drain(owned)
    out.write_text("\n".join(id for id, _ in owned))


def test_processes_at_once_share_the_rows_out(home: Path, tmp_path: Path) -> None:
    quotas.change("p", running=1000)
    fill(300)
    start = multiprocessing.get_context("spawn")
    outs = [tmp_path / f"{number}" for number in range(3)]
    processes = [start.Process(target=_claims, args=(out,)) for out in outs]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    claimed = collections.Counter(id for out in outs for id in out.read_text().split())
    assert len(claimed) == 300 and set(claimed.values()) == {1}


def test_the_oldest_comes_first_and_a_project_has_no_more_at_once_than_it_may(database: str) -> None:  # noqa: F811
    quotas.change("greedy", running=2)
    fill(5, "greedy")
    fill(1, "other", first=9)
    worker = queue.Worker([KIND])
    claims = [worker.claim() for _ in range(3)]
    assert [claim.id for claim in claims] == ["job-00000", "job-00001", "job-00009"]
    mine = queue.Worker([KIND])
    assert mine.claim() is None
    with writing() as session:
        queue.finish(session, claims[0])
    assert mine.claim().id == "job-00002"


def test_what_is_wanted_otherwise_is_not_claimed(home: Path) -> None:
    fill(1)
    with writing() as session:
        session.scalars(sa.select(Work)).one().wanted = "pause"
    assert queue.Worker([KIND]).claim() is None
    assert queue.Worker(["another kind"]).claim() is None


def owned_by(owner: str) -> None:
    with writing() as session:
        session.scalars(sa.select(Work)).one().owner = owner


def test_a_dead_process_loses_its_row_at_once_and_hears_of_it(home: Path) -> None:
    fill(1)
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True,
                          check=True)  # fmt: skip
    owner = process_name(os.getpid()).replace(f"pid {os.getpid()} ", f"pid {int(dead.stdout)} ") + " abcdefgh"
    owned_by(owner)
    taken = queue.Worker([KIND]).claim()
    assert taken is not None and taken.id == "job-00000"
    old = queue.Claim("job-00000", KIND, "p", owner, 1)
    for late in (lambda: queue.beat(old), lambda: queue.release(old)):
        with pytest.raises(queue.Lost):
            late()
    assert queue.beat(taken) == ""


def test_another_machines_row_is_taken_when_its_beat_stands_still_by_our_own_watch(
    database: str, monkeypatch: pytest.MonkeyPatch  # noqa: F811
) -> None:  # fmt: skip
    fill(1)
    owned_by("pid 1 on elsewhere since x abcdefgh")
    seconds = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: seconds[0])
    worker = queue.Worker([KIND])
    assert worker.claim() is None  # seen for the first time
    for jump in (-1e9, 1e9):  # the clock of the day may do what it likes
        monkeypatch.setattr(time, "time", lambda jump=jump: 1.8e9 + jump)
        assert worker.claim() is None
    seconds[0] += 29
    with writing() as session:
        session.scalars(sa.select(Work)).one().beat += 1  # it lives
    assert worker.claim() is None
    seconds[0] += 29
    assert worker.claim() is None
    seconds[0] += 2
    assert worker.claim() is not None


def test_a_worker_that_lost_the_database_in_the_middle_comes_back_to_its_own_row(home: Path) -> None:
    fill(1)
    worker = queue.Worker([KIND])
    first = worker.claim()
    again = worker.claim()
    assert again is not None and again.id == first.id and again.tries == 2


def test_no_more_jobs_wait_than_the_project_may_have(home: Path) -> None:
    quotas.change("p", waiting=3)
    fill(3)
    with writing() as session, pytest.raises(SodateError) as full:
        quotas.check_waiting(session, "p")
    assert full.value.code == "quota_exceeded"
