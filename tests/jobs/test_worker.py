"""Whatever dies while a job trains, the job ends with the same bytes, or says why not; backups are whole meanwhile."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from sodate.core.errors import SodateError
from sodate.core.files import sha256_file
from sodate.core.home import home as sodate_home
from sodate.db.connection import reading, writing
from sodate.db.tables import JobEvent, StoredFile, TuningJob, Work
from sodate.jobs import backup, checking, files, queue, tuning
from sodate.jobs import worker as worker_module
from sodate.library.sources import pull
from sodate.release.registry import find_version
from tests.core.test_private import modes
from tests.db.test_connection import postgres  # noqa: F401 (a fixture)
from tests.tiny import llama_folder

TURNS = '{{"messages": [{{"role": "user", "content": "Order {n}"}}, {{"role": "assistant", "content": "Done {n}"}}]}}\n'
ROWS = "".join(TURNS.format(n=n) for n in range(12)).encode()


@pytest.fixture
def place(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with a tiny model, and one thread a process, so that bytes can be compared."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    pull(str(llama_folder(tmp_path / "tiny")))
    return home


def put_job(epochs: int, **more: object) -> str:
    with files.written("t.jsonl") as content:
        content.write(ROWS)
    file = files.keep(content, "p", "test", "t.jsonl", "fine-tune")["id"]
    settings = {"n_epochs": epochs, "batch_size": 2, "learning_rate_multiplier": "auto"}
    method = {"type": "supervised", "supervised": {"hyperparameters": settings}}
    asked = {"model": "tiny", "training_file": file, "validation_file": None, "seed": 1, "method": method, **more}
    return tuning.create("p", "test", asked, "tiny")["id"]


@contextmanager
def worker() -> Iterator[subprocess.Popen[bytes]]:
    """`sodate worker`, and an end for it and what it started."""
    process = subprocess.Popen([sys.executable, "-m", "sodate.cli", "worker"])
    try:
        yield process
    finally:
        kill_all(process)


def kill_all(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def job(id: str) -> TuningJob:
    with reading() as session:
        return session.scalars(sa.select(TuningJob).where(TuningJob.id == id)).one()


def steps(id: str) -> list[int]:
    with reading() as session:
        wanted = sa.select(JobEvent.step).where(JobEvent.job == id, JobEvent.step.is_not(None))
        return list(session.scalars(wanted.order_by(JobEvent.number)))


def until(true: Callable[[], object], seconds: float = 150) -> None:
    for _ in range(int(seconds / 0.1)):
        if true():
            return
        time.sleep(0.1)
    raise AssertionError("it did not come to that")


def trainer(process: subprocess.Popen[bytes]) -> int:
    """The process that trains for a worker."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    until(lambda: children.read_text().split())
    return int(children.read_text().split()[0])


def test_a_job_that_loses_worker_and_trainer_ends_as_if_nothing_had_been(place: Path) -> None:
    undisturbed, disturbed = put_job(20), put_job(20)
    with worker():
        until(lambda: job(undisturbed).status in tuning.ENDED)
        until(lambda: len(steps(disturbed)) > 15)
    # The worker was killed; what trained for it ends by itself, and everything is as it lies there.
    copied = place.parent / "copy"
    made = backup.backup(copied)
    assert made["files"] > 10
    with worker() as second:
        until(lambda: len(steps(disturbed)) > 40)
        os.kill(trainer(second), signal.SIGKILL)
        until(lambda: job(disturbed).status in tuning.ENDED)
    one, other = job(undisturbed), job(disturbed)
    assert (one.status, other.status) == ("succeeded", "succeeded"), other.error
    assert steps(disturbed) == steps(undisturbed) == list(range(1, 121))
    adapters = [find_version(of.version).adapter / "adapter_model.safetensors" for of in (one, other)]
    assert sha256_file(adapters[0]) == sha256_file(adapters[1])
    with reading() as session:
        assert session.scalars(sa.select(Work)).all() == []
        tables = [
            files.path(session.scalars(sa.select(StoredFile).where(StoredFile.id == of.result_file)).one()).read_text()
            for of in (one, other)
        ]
    assert tables[0] == tables[1]
    the_copy_goes_on(place, copied, disturbed, adapters[0])


def the_copy_goes_on(place: Path, copied: Path, id: str, adapter: Path) -> None:
    """The backup that was taken in the middle is restored elsewhere, and its job ends with the same bytes."""
    wanted = sha256_file(adapter)
    place.rename(place.parent / "before")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SODATE_HOME", str(place.parent / "after"))
        backup.restore(copied)
        assert job(id).status == "running"
        with worker():
            until(lambda: job(id).status in tuning.ENDED)
        assert job(id).status == "succeeded", job(id).error
        assert steps(id) == list(range(1, 121))
        assert sha256_file(find_version(job(id).version).adapter / "adapter_model.safetensors") == wanted


def test_a_job_is_trained_from_a_queue_in_postgresql(place: Path, postgres: None) -> None:  # noqa: F811
    id = put_job(1)
    with worker():
        until(lambda: job(id).status in tuning.ENDED)
    assert job(id).status == "succeeded", job(id).error
    assert steps(id) == list(range(1, 7))


def test_a_trainer_that_always_dies_fails_its_job_with_a_reason(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    from threading import Event

    from sodate.jobs import worker as workers

    id = put_job(1)
    monkeypatch.setattr(workers, "COMMAND", [sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"])
    stopping = Event()
    monkeypatch.setattr(workers.results, "failed", lambda *a, real=workers.results.failed: (stopping.set(), real(*a)))
    workers.work(stopping)
    failed = job(id)
    assert failed.status == "failed" and json.loads(failed.error)["code"] == "worker_crashed"
    assert "memory" in json.loads(failed.error)["message"]


def test_a_file_that_is_gone_fails_its_job_with_a_reason(place: Path) -> None:
    from sodate.jobs import checking, queue

    id = put_job(1)
    files.delete(job(id).training_file, "p", "test")
    checking.check(queue.Worker([tuning.CHECK]).claim())
    assert job(id).status == "failed" and json.loads(job(id).error)["code"] == "invalid_training_file"


def test_a_backup_that_was_changed_is_not_restored(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_job(1)
    copied = place.parent / "copy"
    backup.backup(copied)
    (file,) = (copied / "files").iterdir()
    file.write_bytes(b"x")
    monkeypatch.setenv("SODATE_HOME", str(place.parent / "after"))
    with pytest.raises(Exception, match="not what was backed up"):
        backup.restore(copied)
    assert not sodate_home().exists()
    monkeypatch.setenv("SODATE_HOME", str(place))
    with pytest.raises(Exception, match="is not empty"):
        backup.restore(copied)
    assert list(place.iterdir())


def _leave_by_a_link(copied: Path, about: dict[str, Any]) -> None:
    (copied / "deep" / "er").mkdir(parents=True)
    (copied / "link").symlink_to(copied / "deep" / "er")
    (copied / "note").write_bytes(b"hi")
    about["files"] = {"link/../../note": hashlib.sha256(b"hi").hexdigest()}


@pytest.mark.parametrize(
    "change",
    [
        _leave_by_a_link,
        lambda copied, about: about.update(files={f"../{copied.name}/sodate.db": about["files"]["sodate.db"]}),
        lambda copied, about: about.update(files={str(copied / "sodate.db"): about["files"]["sodate.db"]}),
        lambda copied, about: about.update(files={"a\0b": "x"}),
        lambda copied, about: about.update(files=["sodate.db"]),
        lambda copied, about: about.pop("files"),
        lambda copied, about: about.pop("home"),
        lambda copied, about: (
            (copied / "sodate.db").write_bytes(b"hi"),
            about.update(files={"sodate.db": hashlib.sha256(b"hi").hexdigest()}, home="/elsewhere"),
        ),
    ],
)
def test_a_backup_that_names_files_elsewhere_or_is_not_whole_is_refused_and_stays_as_it_is(
    place: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path, dict[str, Any]], object]
) -> None:
    copied = place.parent / "copy"
    backup.backup(copied)
    about = json.loads((copied / "backup.json").read_text("utf-8"))
    change(copied, about)
    (copied / "backup.json").write_text(json.dumps(about), "utf-8")
    (place.parent / "under").mkdir()
    monkeypatch.setenv("SODATE_HOME", str(place.parent / "under" / "after"))
    before = (copied / "sodate.db").read_bytes()
    with pytest.raises(SodateError) as refused:
        backup.restore(copied)
    assert refused.value.code == "damaged" and not any((place.parent / "under").iterdir())
    assert (copied / "sodate.db").read_bytes() == before


def test_jobs_that_are_cancelled_or_paused_before_they_begin_need_no_worker(place: Path) -> None:
    first, second = put_job(1), put_job(1)
    assert tuning.cancel(first, "p", "test")["status"] == "cancelled"
    assert tuning.pause(second, "p", "test")["status"] == "paused"
    assert tuning.resume(second, "p", "test")["status"] == "queued"
    with writing() as session:
        assert [row.id for row in session.scalars(sa.select(Work))] == [second]


def test_a_job_that_meets_what_nobody_foresaw_leaves_the_worker_to_the_others(place: Path) -> None:
    put_job(1)
    stopping, tries = threading.Event(), []

    def check(claim: queue.Claim) -> None:
        tries.append(claim.tries)
        if len(tries) == 1:
            raise ZeroDivisionError
        stopping.set()

    worker_module._loop([tuning.CHECK], check, stopping)
    assert tries == [1, 2]


def test_files_that_workers_end_over_fail_their_job(place: Path) -> None:
    id = put_job(1)
    claim = queue.Worker([tuning.CHECK]).claim()
    assert claim is not None
    checking.check(dataclasses.replace(claim, tries=checking.MOST_TRIES + 1))
    assert json.loads(job(id).error or "")["code"] == "worker_crashed"


def test_a_backup_and_the_home_that_it_becomes_are_their_owners_alone(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = os.umask(0)
    try:
        put_job(1)
        backup.backup(place.parent / "copied")
        monkeypatch.setenv("SODATE_HOME", str(place.parent / "restored"))
        backup.restore(place.parent / "copied")
        assert modes(place.parent / "copied") == modes(place.parent / "restored") == {"700", "600"}
    finally:
        os.umask(before)
