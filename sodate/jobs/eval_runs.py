"""A run of an evaluation: its items, a reply to each where a model is asked, the grades. Nothing kept is done again."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from sodate.api.evals import Graded, Item, asked_params, check_item, grade, messages_for, sample_of, with_json
from sodate.api.judging import Judges
from sodate.api.uploaded import objects
from sodate.core.errors import SodateError, UsageError
from sodate.core.ids import new_id
from sodate.core.text import en, ja, tr
from sodate.db.connection import reading, writing
from sodate.db.tables import Eval, EvalOutput, EvalRun, StoredFile, StoredReply
from sodate.jobs import files, queue

AT_ONCE = 16  # items asked and graded together, and kept together
MOST_ITEMS = 100_000
MOST_TRIES = 5  # servers that may end over a run

Answer = Callable[[str, Mapping[str, Any], str], Awaitable[tuple[int, dict[str, Any]]]]
"""The wire's answer to a body sent to a path by a project: its status and what it says."""


def run(claim: queue.Claim, answer: Answer, judges: Judges) -> None:
    """Does a claimed run to its end. queue.Lost where it was canceled, or somebody else has it by now."""
    try:
        if claim.tries > MOST_TRIES:
            raise SodateError(
                tr(f"The servers that did this run ended {MOST_TRIES} times over it.",
                   f"この実行の途中でサーバーが {MOST_TRIES} 回終了しました。"), code="worker_crashed",
            )  # fmt: skip
        config, criteria, source, name = _begin(claim)
        items = _looked_at(source, config, claim.project)
        with reading() as session:
            done = set(session.scalars(sa.select(EvalOutput.item).where(EvalOutput.run == claim.id)))
        rest = (item for item in items if item.number not in done)
        while few := list(itertools.islice(rest, AT_ONCE)):
            _chunk(claim, name, source, criteria, few, answer, judges)
    except SodateError as error:
        if error.code == "shutting_down":
            raise
        _end(claim, "failed", {"code": error.code, "message": error.in_one_line()})
    else:
        _end(claim, "completed", None)


def _begin(claim: queue.Claim) -> tuple[dict[str, Any], list[dict[str, Any]], dict[str, Any], str]:
    with writing() as session:
        queue.owned(session, claim)
        row = _row(session, claim)
        row.status = "in_progress"
        definition = session.scalars(sa.select(Eval).where(Eval.id == row.eval)).one()
        return json.loads(definition.config), json.loads(definition.criteria), json.loads(row.source), row.eval


def _row(session: Session, claim: queue.Claim) -> EvalRun:
    row: EvalRun = session.scalars(sa.select(EvalRun).where(EvalRun.id == claim.id)).one()
    return row


def _end(claim: queue.Claim, status: str, error: Mapping[str, Any] | None) -> None:
    with writing() as session:
        queue.finish(session, claim)
        row = _row(session, claim)
        row.status = status
        row.error = None if error is None else json.dumps(error)


# ── items ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def check_source(source: Mapping[str, Any], config: Mapping[str, Any], project: str) -> None:
    """UsageError for items that are written out in the request, or a file that is not there, before a run is made."""
    inner = source["source"]
    if inner["type"] == "file_content":
        for item in _items(source, config, project):
            assert item is not None
    elif inner["type"] == "file_id":
        with reading() as session:
            _file(session, inner["id"], project)


def _file(session: Session, id: str, project: str) -> StoredFile:
    try:
        return files.get(session, id, project)
    except UsageError as error:
        raise UsageError(error.message, code="invalid_file", param="data_source.source.id") from None


def _items(source: Mapping[str, Any], config: Mapping[str, Any], project: str) -> Iterator[Item]:
    """The items of a run, counted from 0. UsageError naming the first that is not one."""
    inner = source["source"]
    kind = inner["type"]
    if kind in ("file_content", "file_id"):
        written = kind == "file_content"
        rows = inner["content"] if written else _lines(inner["id"], project)
        for number, row in enumerate(rows):
            where = f"item {number}" if written else f"line {number + 1}"
            param = f"data_source.source.content[{number}]" if written else "data_source.source.id"
            if number >= MOST_ITEMS:
                raise _too_many()
            if not isinstance(row, Mapping) or "item" not in row:
                raise UsageError(
                    tr(f"{where} has no `item`.", f"{where} に item がありません。"), code="invalid_value", param=param,
                )  # fmt: skip
            sample = row.get("sample")
            sample = with_json(sample) if isinstance(sample, Mapping) else None
            yield Item(number, check_item(config, row["item"], where, param), sample)
        return
    for number, (asked, sample) in enumerate(_stored(inner, kind, project)):
        yield Item(number, {"input": asked}, sample)


def _looked_at(source: Mapping[str, Any], config: Mapping[str, Any], project: str) -> Iterable[Item]:
    """The items, once all have been looked at. Those of a file are read again, a few at a time; stored replies, of
    which more come meanwhile, are those that there are now."""
    if source["source"]["type"] not in ("file_content", "file_id"):
        return list(_items(source, config, project))
    for _ in _items(source, config, project):
        pass
    return _items(source, config, project)


def _too_many() -> UsageError:
    return UsageError(
        tr(f"A run has {MOST_ITEMS} items at most.", f"1 回の実行で扱えるのは {MOST_ITEMS} 件までです。"),
        code="invalid_value", param="data_source.source",
    )  # fmt: skip


def _lines(id: str, project: str) -> Iterator[Any]:
    with reading() as session:
        path = files.path(_file(session, id, project))
    for number, row, why in objects(path):
        if row is None:
            raise UsageError(
                tr(f"Line {number} is not a JSON object as it has to be: {en(why)}.",
                   f"{number} 行目が正しい JSON オブジェクトではありません: {ja(why)}。"),
                code="invalid_file", param="data_source.source.id",
            )  # fmt: skip
        yield row


def _stored(inner: Mapping[str, Any], kind: str, project: str) -> Iterator[tuple[list[Any], dict[str, Any]]]:
    """(messages, sample) of stored replies, the oldest first, as the source filters them."""
    wanted = sa.select(StoredReply).where(
        StoredReply.project == project,
        StoredReply.kind == ("response" if kind == "responses" else "chat.completion"),
    )
    if inner.get("model"):
        wanted = wanted.where((StoredReply.model == inner["model"]) | (StoredReply.name == inner["model"]))
    if inner.get("created_after") is not None:
        wanted = wanted.where(StoredReply.created_at > inner["created_after"])
    if inner.get("created_before") is not None:
        wanted = wanted.where(StoredReply.created_at < inner["created_before"])
    tags = {json.dumps(key): json.dumps(value) for key, value in (inner.get("metadata") or {}).items()}
    with reading() as session:
        rows = session.scalars(wanted.order_by(StoredReply.number))
        left = inner.get("limit") or MOST_ITEMS
        for row in rows:
            have = {tag.key: tag.value for tag in row.tags}
            if any(have.get(key) != value for key, value in tags.items()):
                continue
            if not left:
                return
            left -= 1
            body = json.loads(row.body)
            yield json.loads(row.asked), _response_sample(body) if kind == "responses" else sample_of(body)


def _response_sample(body: Mapping[str, Any]) -> dict[str, Any]:
    """A response as graders see it: as the chat completion that says the same."""
    parts = [part for item in body.get("output") or [] if item.get("type") == "message" for part in item["content"]]
    calls = [
        {"id": item.get("call_id"), "type": "function",
         "function": {"name": item.get("name"), "arguments": item.get("arguments")}}
        for item in body.get("output") or [] if item.get("type") == "function_call"
    ]  # fmt: skip
    text = "".join(part.get("text") or "" for part in parts)
    message = {"role": "assistant", "content": text, "tool_calls": calls}
    return sample_of({"model": body.get("model"), "choices": [{"index": 0, "message": message}]})


# ── a few items at a time ────────────────────────────────────────────────────────────────────────────────────────────


def _chunk(
    claim: queue.Claim, eval: str, source: Mapping[str, Any], criteria: Sequence[Mapping[str, Any]],
    items: Sequence[Item], answer: Answer, judges: Judges,
) -> None:  # fmt: skip
    if source.get("input_messages") is not None:
        told = asyncio.run(_asked(source, items, answer, claim.project))
    else:
        told = [_told(one.columns.get("input"), one.sample) for one in items]
    ready = [Item(one.number, one.columns, own["graded"]) for one, own in zip(items, told, strict=True)]
    graded = grade(criteria, ready, judges)
    for own, marks in zip(told, graded, strict=True):
        if own["sample"]["error"] is not None:
            marks.fault = own["sample"]["error"]["message"]
        elif marks.fault is not None:
            own["sample"]["error"] = {"code": "grader_failed", "message": marks.fault}
    _keep(claim, ready, [own["sample"] for own in told], graded)


async def _asked(
    source: Mapping[str, Any], items: Sequence[Item], answer: Answer, project: str
) -> list[dict[str, Any]]:
    """What the model says to each item. SodateError where no such model answers."""
    return await asyncio.gather(*(_ask(source, one, answer, project) for one in items))


async def _ask(source: Mapping[str, Any], item: Item, answer: Answer, project: str) -> dict[str, Any]:
    params = asked_params(source.get("sampling_params") or {})
    try:
        messages = messages_for(source["input_messages"], item.columns)
    except SodateError as error:
        return _told(None, None, {"code": error.code, "message": str(error.message)}, params)
    status, body = await answer(
        "/v1/chat/completions", {"model": source["model"], "messages": messages, **params}, project
    )
    if status != 200:
        said = body.get("error") or {}
        if said.get("code") == "model_not_found":
            raise SodateError(str(said.get("message")), code="model_not_found", param="model")
        return _told(messages, None, {"code": str(said.get("code")), "message": str(said.get("message"))}, params)
    return _told(messages, sample_of(body), None, params, body.get("usage"))


def _told(
    asked: Any, sample: Mapping[str, Any] | None, error: Mapping[str, Any] | None = None,
    params: Mapping[str, Any] | None = None, usage: Mapping[str, Any] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """A reply for graders, and as an output item tells it."""
    sample = sample or {}
    choices = sample.get("choices")
    first = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], Mapping) else {}
    spent = usage or {}
    told = {
        "input": asked if isinstance(asked, list) else [],
        "output": [{"role": "assistant", "content": sample["output_text"]}] if "output_text" in sample else [],
        "finish_reason": first.get("finish_reason"),
        "model": sample.get("model"),
        "usage": {
            "prompt_tokens": spent.get("prompt_tokens", 0),
            "completion_tokens": spent.get("completion_tokens", 0),
            "total_tokens": spent.get("total_tokens", 0),
            "cached_tokens": (spent.get("prompt_tokens_details") or {}).get("cached_tokens", 0),
        },
        "error": error,
        **{name: (params or {}).get(name) for name in ("temperature", "max_completion_tokens", "top_p", "seed")},
    }
    return {"sample": told, "graded": sample or None}


def _keep(
    claim: queue.Claim, items: Sequence[Item], samples: Sequence[Mapping[str, Any]], graded: Sequence[Graded]
) -> None:
    now = int(time.time())
    with writing() as session:
        queue.owned(session, claim)
        row = _row(session, claim)
        usage = json.loads(row.usage)
        tally = usage.setdefault("", {})
        for item, sample, marks in zip(items, samples, graded, strict=True):
            body = {"created_at": now, "datasource_item": item.columns, "results": marks.results, "sample": sample}
            session.add(EvalOutput(id=new_id("outputitem_"), run=claim.id, item=item.number, status=marks.status,
                                   body=json.dumps(body)))  # fmt: skip
            for one in marks.results:
                own = tally.setdefault(one["name"], {"passed": 0, "failed": 0})
                own["passed" if one["passed"] else "failed"] += 1
            if sample["usage"]["total_tokens"]:
                _spend(usage, str(sample["model"]), **sample["usage"])
            for model, cost in marks.usage.items():
                _spend(usage, model, prompt_tokens=cost.prompt, completion_tokens=cost.reply,
                       total_tokens=cost.prompt + cost.reply, cached_tokens=cost.cached)  # fmt: skip
        row.usage = json.dumps(usage)


def _spend(usage: dict[str, Any], model: str, **tokens: int) -> None:
    own = usage.setdefault(model, {"invocation_count": 0})
    own["invocation_count"] += 1
    for name, count in tokens.items():
        own[name] = own.get(name, 0) + count
