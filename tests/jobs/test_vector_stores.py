"""Vector stores on either database: whatever comes at once, every file is read and found, and nothing stays behind."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa

from sodate.core.errors import SodateError, UsageError
from sodate.db.connection import reading
from sodate.db.tables import Work
from sodate.jobs import files, queue, quotas, vector_files, vector_search, vector_stores, vector_work
from sodate.jobs.vector_files import Attach
from tests.db.test_connection import database, postgres  # noqa: F401 (fixtures)


def upload(name: str, text: str, project: str = "p") -> str:
    with files.written(name) as content:
        content.write(text.encode())
    return str(files.keep(content, project, "k", name, "assistants")["id"])


def store(*wanted: Attach) -> str:
    made = vector_stores.create("p", "k", "", None, {}, None, lambda s, row: vector_files.attach(s, row, wanted, "k"))
    return str(made["id"])


def work() -> int:
    """Does all there is to do; returns how many claims it took."""
    worker, count = queue.Worker([vector_stores.KIND]), 0
    while (claim := worker.claim()) is not None:
        assert vector_work.run(claim, lambda: False)
        count += 1
    return count


def found(id: str, query: str) -> list[str]:
    return [hit.filename for hit in vector_search.search("p", [id], [query], 10)]


def test_what_is_attached_is_found_until_it_is_gone(database: str) -> None:  # noqa: F811
    a, b = upload("a.md", "# 返品\n\n30日以内です。"), upload("b.txt", "送料は無料です。\0")
    id = store(Attach(a, {"region": "jp"}), Attach(b))
    assert vector_stores.shown(id, "p")["status"] == "in_progress" and found(id, "返品") == []
    assert work() == 1 and vector_stores.shown(id, "p")["status"] == "completed"
    assert found(id, "返品") == ["a.md"] and found(id, "送料") == ["b.txt"]
    vector_files.detach("p", "k", id, a)
    files.delete(b, "p", "k", vector_files.forget)
    assert found(id, "返品") == found(id, "送料") == []
    work()
    assert list(vector_work.folder_of(id).iterdir()) == []
    vector_stores.delete(id, "p", "k")
    work()
    assert not vector_work.folder_of(id).exists()
    with reading() as session:
        assert session.scalars(sa.select(Work)).all() == []


def test_files_that_come_while_others_are_read_are_all_read(database: str) -> None:  # noqa: F811
    id = store()
    ids = [upload(f"{n}.txt", f"文書その{n} 番号{n}番") for n in range(24)]
    stop = threading.Event()

    def working() -> None:
        while not stop.is_set():
            work()

    def attaching(some: list[str]) -> None:
        for file in some:
            vector_files.add("p", "k", id, Attach(file))
            vector_files.add("p", "k", id, Attach(file))  # once more, while the first may be read

    threads = [threading.Thread(target=attaching, args=(ids[n::4],)) for n in range(4)]
    worker = threading.Thread(target=working)
    worker.start()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stop.set()
    worker.join()
    work()
    counts = vector_stores.shown(id, "p")["file_counts"]
    assert (counts["completed"], counts["total"]) == (24, 24)
    assert len(vector_search.search("p", [id], ["文書"], 50)) == 24
    assert len(list(vector_work.folder_of(id).iterdir())) <= 6  # few segments, however many came one by one


def test_a_batch_that_is_cancelled_leaves_out_what_was_not_read(database: str) -> None:  # noqa: F811
    id, file = store(), upload("a.txt", "送料は無料です。")
    batch = vector_files.add_batch("p", "k", id, [Attach(file)])
    done = vector_files.cancel_batch("p", "k", id, batch["id"])
    assert (done["status"], done["file_counts"]["cancelled"]) == ("cancelled", 1)
    work()
    assert found(id, "送料") == [] and vector_files.batch("p", id, batch["id"])["status"] == "cancelled"


def test_a_document_that_takes_the_reader_with_it_fails_alone(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = vector_work.read_document

    def reading_(path: Path, note: object) -> object:
        if "毒" in path.read_text():
            os._exit(3)
        return real(path, note)  # type: ignore[arg-type]

    monkeypatch.setattr(vector_work, "read_document", reading_)
    id = store(Attach(upload("good.txt", "送料は無料です。")), Attach(upload("bad.txt", "毒です。")))
    work()
    listed, _ = vector_files.listed("p", id, after=None, before=None, limit=9, order="asc", status=None)
    assert [one["status"] for one in listed] == ["completed", "failed"] and found(id, "送料") == ["good.txt"]
    assert listed[1]["last_error"]["code"] == "invalid_file"


def test_passages_that_are_gone_are_made_again_from_their_files(home: Path) -> None:
    id = store(Attach(upload("a.txt", "送料は無料です。")))
    work()
    (segment,) = vector_work.folder_of(id).iterdir()
    shutil.rmtree(segment)
    vector_search._segment.cache_clear()
    with pytest.raises(SodateError) as refused:
        found(id, "送料")
    assert refused.value.code == "in_use" and vector_stores.shown(id, "p")["status"] == "in_progress"
    work()
    assert found(id, "送料") == ["a.txt"]


def test_passages_count_for_the_projects_quota(home: Path) -> None:
    file = upload("a.txt", "あ" * 1000)
    store(Attach(file))
    work()
    with reading() as session:
        assert quotas.used_bytes(session, "p") == 6000
    quotas.change("p", disk_bytes=6500)
    with pytest.raises(SodateError) as refused:
        store(Attach(file))
    assert refused.value.code == "quota_exceeded"


def test_a_file_of_another_project_cannot_be_attached(home: Path) -> None:
    other = upload("a.txt", "秘密", "q")
    with pytest.raises(UsageError) as refused:
        store(Attach(other))
    assert (refused.value.code, refused.value.param) == ("not_found", "file_id")
