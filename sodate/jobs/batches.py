"""Batches: files of requests, each answered as the request it is, and a file of the answers.

An answer is written down as soon as it is there, so that a batch that was interrupted goes on where it stopped.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from sodate.api.uploaded import objects
from sodate.core import home
from sodate.core.errors import UsageError
from sodate.core.ids import new_id
from sodate.core.text import en, tr
from sodate.db.connection import reading, writing
from sodate.db.tables import Batch, Work
from sodate.jobs import audit, files, queue, quotas
from sodate.jobs.eval_runs import Answer

KIND = "batch"  # of work
ENDPOINTS = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses", "/v1/moderations")
MOST_LINES = 50_000
WINDOW_SECONDS = 86_400
AT_ONCE = 16
MOST_TRIES = 5  # servers that may end over a batch
DONE = ("completed", "failed", "expired", "cancelled")
_STATES = ("in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled")


def create(
    project: str, actor: str, file: str, endpoint: str, tags: Mapping[str, str], seconds: int | None
) -> dict[str, Any]:
    """A new batch of the requests in a file; their lines are looked at when it is its turn."""
    with writing() as session:
        try:
            row = files.get(session, file, project)
        except UsageError as error:
            raise UsageError(error.message, code="invalid_file", param="input_file_id") from None
        if row.purpose != "batch":
            raise UsageError(
                tr(f"The file's purpose is {row.purpose}, not batch.",
                   f"ファイルの purpose が batch ではなく {row.purpose} です。"),
                code="invalid_file", param="input_file_id",
            )  # fmt: skip
        quotas.check_waiting(session, project)
        batch = Batch(id=new_id("batch_"), project=project, endpoint=endpoint, status="validating", input_file=file,
                      output_file=None, error_file=None, keep_seconds=seconds, tags=json.dumps(tags), times="{}",
                      counts=json.dumps({"total": 0, "completed": 0, "failed": 0}), errors=None,
                      created_at=int(time.time()))  # fmt: skip
        session.add(batch)
        queue.put(session, batch.id, KIND, project)
        audit.note(session, project, actor, "batch.created", batch.id)
        return shown(batch)


def get(session: Session, id: str, project: str) -> Batch:
    """The project's batch of that id; for others it does not exist."""
    row = _named(session, id, project)
    if row is None:
        raise UsageError(
            tr(f"No such batch: {id[:100]}", f"バッチ {id[:100]} はありません。"), code="not_found", param="id"
        )
    return row


def _named(session: Session, id: str, project: str) -> Batch | None:
    if not re.fullmatch("batch_[A-Za-z0-9]{24}", id):
        return None
    return session.scalar(sa.select(Batch).where(Batch.id == id, Batch.project == project))


def listed(project: str, *, after: str | None, limit: int) -> tuple[list[dict[str, Any]], bool]:
    """A page of the project's batches, the newest first."""
    with reading() as session:
        wanted = sa.select(Batch).where(Batch.project == project)
        if after is not None:
            last = _named(session, after, project)
            if last is None:
                raise files.no_cursor(after)
            wanted = wanted.where(Batch.number < last.number)
        rows = session.scalars(wanted.order_by(Batch.number.desc()).limit(limit + 1)).all()
        return [shown(row) for row in rows[:limit]], len(rows) > limit


def cancel(id: str, project: str, actor: str) -> dict[str, Any]:
    """Ends a batch: at once where nobody is at it, else after the requests that are under way."""
    with writing() as session:
        row = get(session, id, project)
        if row.status in DONE:
            raise UsageError(
                tr(f"The batch is {row.status} already.", f"このバッチはすでに {row.status} です。"),
                code="invalid_status", param="batch_id",
            )  # fmt: skip
        work = session.scalar(sa.select(Work).where(Work.id == id))
        if row.status != "cancelling":
            _turn(row, "cancelling")
        if work is not None and work.owner is not None:
            work.wanted = "cancel"
        else:
            _turn(row, "cancelled")
            session.execute(sa.delete(Work).where(Work.id == id))
        audit.note(session, project, actor, "batch.cancelled", id)
        return shown(row)


def _turn(row: Batch, status: str) -> None:
    row.status = status
    row.times = json.dumps({**json.loads(row.times), status: int(time.time())})


def shown(row: Batch) -> dict[str, Any]:
    """A batch as the wire has it."""
    times = json.loads(row.times)
    errors = json.loads(row.errors) if row.errors else None
    return {
        "id": row.id, "object": "batch", "endpoint": row.endpoint, "status": row.status,
        "input_file_id": row.input_file, "completion_window": "24h", "output_file_id": row.output_file,
        "error_file_id": row.error_file, "created_at": row.created_at, "expires_at": row.created_at + WINDOW_SECONDS,
        **{f"{state}_at": times.get(state) for state in _STATES}, "request_counts": json.loads(row.counts),
        "errors": None if errors is None else {"object": "list", "data": errors}, "metadata": json.loads(row.tags),
    }  # fmt: skip


# ── doing it ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def run(claim: queue.Claim, answer: Answer) -> None:
    """Does a claimed batch to its end. queue.Lost where somebody else has it by now."""
    with reading() as session:
        batch = session.scalars(sa.select(Batch).where(Batch.id == claim.id)).one()
        endpoint, began = batch.endpoint, batch.created_at
        try:
            source: Path | None = files.path(files.get(session, batch.input_file, claim.project))
        except UsageError:
            source = None
    if claim.tries > MOST_TRIES:
        wrong = [_complaint("worker_crashed", f"The servers that did this batch ended {MOST_TRIES} times over it.")]
    elif source is None:
        wrong = [_complaint("file_missing", "The file is gone.")]
    else:
        wrong = _wrong_lines(source, endpoint)
    if wrong or source is None:
        _fail(claim, wrong)
        return
    kept = _kept(claim.id)
    done = _answered(kept)
    names = [one["custom_id"] for one in _requests(source)]
    _progress(claim, len(names), done)
    rest = (one for one in _requests(source) if one["custom_id"] not in done)
    ended = "completed"
    while few := list(itertools.islice(rest, AT_ONCE)):
        if time.time() > began + WINDOW_SECONDS:
            ended = "expired"
            break
        if queue.beat(claim) == "cancel":
            ended = "cancelled"
            break
        answers = asyncio.run(_answers(few, answer, claim.project))
        with os.fdopen(os.open(kept, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as handle:
            handle.write("".join(json.dumps(one) + "\n" for one in answers).encode())
            handle.flush()
        done |= {one["custom_id"]: _went_well(one) for one in answers}
        _progress(claim, len(names), done)
    _finish(claim, kept, ended, [name for name in names if name not in done])


async def _answers(requests: Sequence[Mapping[str, Any]], answer: Answer, project: str) -> list[dict[str, Any]]:
    async def one(request: Mapping[str, Any]) -> dict[str, Any]:
        status, body = await answer(request["url"], {**request["body"], "stream": False}
                                    if "stream" in request["body"] else request["body"], project)  # fmt: skip
        response = {"status_code": status, "request_id": new_id("req_"), "body": body}
        return {"id": new_id("batch_req_"), "custom_id": request["custom_id"], "response": response, "error": None}

    return await asyncio.gather(*(one(request) for request in requests))


def _went_well(answered: Mapping[str, Any]) -> bool:
    response = answered.get("response") or {}
    return response.get("status_code") == 200


def _kept(id: str) -> Path:
    folder = home.home() / "batches"
    home.make_folder(folder)
    return folder / f"{id}.jsonl"


def _answered(kept: Path) -> dict[str, bool]:
    """Which requests have an answer, and whether it went well. A line that was cut off is taken away."""
    done: dict[str, bool] = {}
    if not kept.exists():
        return done
    whole = b""
    for line in kept.read_bytes().splitlines(keepends=True):
        if not line.endswith(b"\n"):
            break
        one = json.loads(line)
        done[one["custom_id"]] = _went_well(one)
        whole += line
    kept.write_bytes(whole)
    return done


def _requests(source: Path) -> Iterator[dict[str, Any]]:
    yield from (request for _, request, _ in objects(source) if request is not None)


def _complaint(code: str, message: str, line: int | None = None, param: str | None = None) -> dict[str, Any]:
    return {"code": code, "message": message, "line": line, "param": param}


def _wrong_lines(source: Path, endpoint: str) -> list[dict[str, Any]]:
    """What is wrong with the lines of a file, the first ten of it."""
    wrong: list[dict[str, Any]] = []
    seen: set[str] = set()
    count = 0
    for number, request, why in objects(source):
        count += 1
        if request is None:
            message = f"This line is not parseable as a valid JSON object: {en(why)}."
            said: dict[str, Any] | None = _complaint("invalid_json_line", message)
        else:
            said = _wrong(request, endpoint, seen)
        if said is not None:
            wrong.append({**said, "line": number})
        if len(wrong) == 10:
            break
    if count > MOST_LINES:
        wrong = [_complaint("too_many_requests", f"A batch has {MOST_LINES} requests at most.")]
    if not count:
        wrong = [_complaint("empty_file", "The file has no requests.")]
    return wrong


def _wrong(request: Mapping[str, Any], endpoint: str, seen: set[str]) -> dict[str, Any] | None:
    name = request.get("custom_id")
    if not isinstance(name, str) or not name:
        return _complaint("missing_required_parameter", "custom_id is missing.", param="custom_id")
    if name in seen:
        return _complaint("duplicate_custom_id", f"The custom_id {name[:100]} is used twice.", param="custom_id")
    seen.add(name)
    if request.get("method") != "POST":
        return _complaint("invalid_method", "The method must be POST.", param="method")
    if request.get("url") != endpoint:
        return _complaint("mismatched_url", f"The url must be the batch's endpoint, {endpoint}.", param="url")
    if not isinstance(request.get("body"), dict):
        return _complaint("missing_required_parameter", "body is missing or not an object.", param="body")
    return None


def _progress(claim: queue.Claim, total: int, done: Mapping[str, bool]) -> None:
    with writing() as session:
        queue.owned(session, claim)
        row = session.scalars(sa.select(Batch).where(Batch.id == claim.id)).one()
        if row.status == "validating":
            _turn(row, "in_progress")
        well = sum(done.values())
        row.counts = json.dumps({"total": total, "completed": well, "failed": len(done) - well})


def _fail(claim: queue.Claim, wrong: Sequence[Mapping[str, Any]]) -> None:
    with writing() as session:
        queue.finish(session, claim)
        row = session.scalars(sa.select(Batch).where(Batch.id == claim.id)).one()
        row.errors = json.dumps(wrong)
        _turn(row, "failed")


def _finish(claim: queue.Claim, kept: Path, ended: str, unanswered: Sequence[str]) -> None:
    """The answers as files, and the batch at its end; expired requests are named in the file of errors."""
    lines = kept.read_bytes().splitlines(keepends=True) if kept.exists() else []
    well = [line for line in lines if _went_well(json.loads(line))]
    badly = [line for line in lines if not _went_well(json.loads(line))]
    if ended == "expired":
        error = {"code": "batch_expired", "message": "This request could not be answered before the batch expired."}
        badly += [
            (
                json.dumps({"id": new_id("batch_req_"), "custom_id": name, "response": None, "error": error}) + "\n"
            ).encode()
            for name in unanswered
        ]
    with writing() as session:
        queue.finish(session, claim)
        row = session.scalars(sa.select(Batch).where(Batch.id == claim.id)).one()
        if ended == "completed":
            _turn(row, "finalizing")
        for attribute, purpose, found in (("output_file", "output", well), ("error_file", "error", badly)):
            if found:
                made = files.make(claim.project, f"{claim.id}_{purpose}.jsonl", "batch_output", found, session=session)
                if row.keep_seconds is not None:
                    made.expires_at = int(time.time()) + row.keep_seconds
                setattr(row, attribute, made.id)
        _turn(row, ended)
    kept.unlink(missing_ok=True)
