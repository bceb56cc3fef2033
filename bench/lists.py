"""Milliseconds of list pages over a full database.

    python bench/lists.py [--files 10000] [--jobs 1000] [--replies 100000]

A server on SQLite (or what SODATE_DATABASE_URL names), asked over HTTP by one client; the median and the slowest of 20
requests of each page, the server's memory before and after.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]
from serve_sides import resident  # noqa: E402

ASKED = 20
PAGES = {
    "files, a page of all": "/v1/files",
    "files of a purpose, 100": "/v1/files?purpose=batch&limit=100",
    "files, the last page": "/v1/files?limit=100&order=asc&after=file-{files:024d}",
    "jobs, 100": "/v1/fine_tuning/jobs?limit=100",
    "jobs by metadata": "/v1/fine_tuning/jobs?metadata[n]=5",
    "events of a job, 100": "/v1/fine_tuning/jobs/ftjob-{job:024d}/events?limit=100",
    "stored completions, 100": "/v1/chat/completions?limit=100",
    "stored completions of a rare model": "/v1/chat/completions?model=rare",
    "stored completions of no such model": "/v1/chat/completions?model=none",
    "stored completions by metadata": "/v1/chat/completions?metadata[n]=77777",
    "stored completions by common metadata": "/v1/chat/completions?metadata[kind]=a&limit=100",
    "stored completions by metadata and model": "/v1/chat/completions?metadata[kind]=a&model=rare",
    "models": "/v1/models",
}


def fill(files: int, jobs: int, replies: int) -> None:
    """Rows of one project, as the server makes them."""
    import sqlalchemy as sa

    from sodate.db.connection import writing
    from sodate.db.tables import JobEvent, JobTag, ReplyTag, StoredFile, StoredReply, TuningJob

    now = int(time.time())
    message = {"index": 0, "message": {"role": "assistant", "content": "Twelve apples. " * 20}, "finish_reason": "stop"}
    with writing() as session:
        session.execute(sa.insert(StoredFile), [
            {"id": f"file-{n:024d}", "project": "default", "bytes": 2000, "created_at": now + n,
             "filename": f"rows-{n}.jsonl",
             "purpose": "batch" if n % 100 == 0 else "fine-tune", "sha256": "0" * 64} for n in range(1, files + 1)
        ])  # fmt: skip
        session.execute(sa.insert(TuningJob), [
            {"id": f"ftjob-{n:024d}", "project": "default", "old": False, "status": "succeeded", "created_at": now,
             "finished_at": now, "model": "tiny", "base": "tiny", "training_file": f"file-{n:024d}", "seed": 1,
             "asked": "{}", "method": json.dumps({"type": "supervised", "supervised": {"hyperparameters": {}}}),
             "recipe": "{}"} for n in range(1, jobs + 1)
        ])  # fmt: skip
        session.execute(sa.insert(JobTag), [
            {"job": n, "key": '"n"', "value": json.dumps(str(n))} for n in range(1, jobs + 1)
        ])  # fmt: skip
        session.execute(sa.insert(JobEvent), [
            {"id": f"ftevent-{n}", "job": f"ftjob-{1:024d}", "created_at": now, "level": "info", "type": "metrics",
             "message": f"Step {n}", "data": '{"step": 1}'} for n in range(10_000)
        ])  # fmt: skip
        body = json.dumps({"object": "chat.completion", "created": now, "choices": [message], "usage": {}})
        for start in range(0, replies, 10_000):
            numbers = range(start + 1, min(replies, start + 10_000) + 1)
            session.execute(sa.insert(StoredReply), [
                {"number": n, "id": f"chatcmpl-{n}", "kind": "chat.completion", "project": "default", "created_at": now,
                 "model": "rare" if n % 5000 == 7 else "tiny", "asked": "[]",
                 "body": body.replace("{", f'{{"id": "chatcmpl-{n}", ', 1)} for n in numbers
            ])  # fmt: skip
            session.execute(sa.insert(ReplyTag), [
                {"reply": n, "key": json.dumps(key), "value": json.dumps(value)}
                for n in numbers for key, value in (("n", str(n)), ("kind", "ab"[n % 2]))
            ])  # fmt: skip


@contextmanager
def serving() -> Iterator[tuple[str, int]]:
    """A server's URL and process."""
    command = [sys.executable, "-m", "sodate.cli", "serve", "tiny", "--port", "0", "--no-auth", "--workers", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert server.stdout is not None
    try:
        yield server.stdout.readline().split()[-1].removesuffix("/v1"), server.pid
    finally:
        server.terminate()
        server.wait()


def asked(url: str) -> tuple[float, Any]:
    began = time.perf_counter()
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            body = answer.read()
    except urllib.error.HTTPError as refused:
        raise SystemExit(f"{url}: {refused.read().decode()}") from None
    return 1e3 * (time.perf_counter() - began), json.loads(body)


def main() -> None:
    parser = argparse.ArgumentParser()
    for name, count in (("files", 10_000), ("jobs", 1_000), ("replies", 100_000)):
        parser.add_argument(f"--{name}", type=int, default=count)
    given = parser.parse_args()
    from tests.tiny import llama_folder

    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"SODATE_HOME": f"{folder}/home", "OMP_NUM_THREADS": "1"}
        from sodate.library.sources import pull

        pull(str(llama_folder(Path(folder) / "tiny")))
        fill(given.files, given.jobs, given.replies)
        with serving() as (url, pid):
            for path in PAGES.values():
                asked(url + path.format(files=given.files - 50, job=1))
            before = resident(pid)
            print(f"{'page':42s} rows  median ms  slowest")
            for name, path in PAGES.items():
                told = [asked(url + path.format(files=given.files - 50, job=1)) for _ in range(ASKED)]
                spent = [ms for ms, _ in told]
                print(f"{name:42s} {len(told[0][1]['data']):5d} {statistics.median(spent):9.1f} {max(spent):9.1f}")
            print(f"memory of the server: {before / 1e6:.0f} MB, after {resident(pid) / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
