"""Replies that are kept because their asker said `store`: listed, read, tagged and deleted by the same project only.

On the disk they are without personal data, unless the project says `raw`; as they were sent they stay in memory for an
hour, so that a conversation goes on from what was said (`originals.py`). What can't be scrubbed or written is not
stored, and counted.
"""

from __future__ import annotations

import functools
import json
import logging
import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse
from sqlalchemy.orm import Session

from sodate.core.errors import UsageError
from sodate.core.text import tr
from sodate.db.connection import reading, writing
from sodate.db.tables import ReplyTag, StoredReply
from sodate.learn import names, scrubbing
from sodate.learn.recorder import DATABASE_FAILED, KEPT, SCRUB_FAILED, TOO_LARGE
from sodate.learn.scrubbing import LONGEST
from sodate.serve.originals import Original
from sodate.serve.state import ServerState, server_state
from sodate.serve.wire import Body, ChatRequest, Metadata

router = APIRouter(prefix="/v1/chat/completions")
log = logging.getLogger("sodate.serve")
CHAT = "chat.completion"
_TAG = re.compile(r"metadata\[(.*)\]")

After = Annotated[str | None, Query(max_length=100)]
Limit = Annotated[int, Query(ge=1, le=100)]
Order = Annotated[str, Query(pattern="^(asc|desc)$")]


class Update(Body):
    metadata: Metadata | None


def keep_chat(here: ServerState, body: dict[str, Any], asked: ChatRequest, project: str) -> None:
    """Stores a chat reply with what was asked."""
    turns = [turn.model_dump(exclude_none=True) for turn in asked.messages]
    who = asked.safety_identifier or asked.user
    keep(here, CHAT, body, turns, asked.metadata or {}, project, who, asked.model)


def keep(
    here: ServerState,
    kind: str,
    body: dict[str, Any],
    asked: Sequence[Any],
    tags: dict[str, str],
    project: str,
    user: str | None,
    name: str,
) -> bool:
    """Stores a reply as its project says; False where it does not, or it can't be: the answer goes out all the same.
    `name` is the model that was asked for."""
    rules = here.recorder.rules(project)
    if rules.stored == "off":
        return False
    outcome = KEPT
    try:
        if rules.stored == "raw":
            put(kind, body["id"], body, asked, tags, project, user, name)
        elif len(json.dumps([body, asked], ensure_ascii=False)) > LONGEST:
            outcome = TOO_LARGE
        else:
            outcome = SCRUB_FAILED  # until it is
            clean = _scrubbed(rules.words, body, asked, tags, names.user(project, user))
            outcome = DATABASE_FAILED
            put(kind, body["id"], *clean, project, user, name)
            here.originals.put(body["id"], body, asked)
            outcome = KEPT
    except Exception as error:  # by its name alone: its text may quote what was asked
        outcome = DATABASE_FAILED if outcome == KEPT else outcome
        log.warning("%s (%s)", tr(f"A reply is not stored: {outcome}.", f"返答を保存できません: {outcome}"),
                    type(error).__name__)  # fmt: skip
    here.metrics.stored.labels(outcome).inc()
    return outcome == KEPT


@functools.lru_cache(maxsize=100)
def _scrub(words: tuple[str, ...]) -> Callable[[Any], Any]:
    return scrubbing.document_scrubber(words)


_SAID = ("choices", "output", "instructions")  # of a body: all that somebody wrote


def _scrubbed(
    words: tuple[str, ...], body: dict[str, Any], asked: Sequence[Any], tags: dict[str, str], user: str | None
) -> tuple[dict[str, Any], list[Any], dict[str, str]]:
    """Body, what was asked, and metadata without personal data; one pseudonym for one person in all of them. Pieces of
    tokens are left out where something was found: put together they would say it."""
    said = {key: body[key] for key in _SAID if body.get(key) is not None}
    given = {"said": _without_tokens(said), "asked": list(asked), "tags": tags}
    clean = _scrub(words)(given)
    if clean["said"] == given["said"]:
        clean["said"] = said
    told = {**body, **clean["said"]}
    if "metadata" in body:
        told["metadata"] = clean["tags"]
    if body.get("user") is not None:
        told["user"] = user
    return told, clean["asked"], clean["tags"]


def _without_tokens(value: Any) -> Any:
    if isinstance(value, dict):
        told = {key: _without_tokens(item) for key, item in value.items() if key != "logprobs"}
        if "logprobs" in value:
            told["logprobs"] = [] if isinstance(value["logprobs"], list) else None
        return told
    return [_without_tokens(item) for item in value] if isinstance(value, list) else value


def put(
    kind: str,
    id: str,
    body: dict[str, Any],
    asked: Sequence[Any],
    tags: dict[str, str],
    project: str,
    user: str | None,
    name: str | None = None,
) -> None:
    """Writes a stored reply. JSON keeps its escapes: PostgreSQL's text cannot hold a NUL."""
    created = int(body.get("created") or body.get("created_at") or 0)
    row = StoredReply(id=id, kind=kind, project=project, model=body["model"], name=name, created_at=created,
                      body=json.dumps(body), asked=json.dumps(asked), user=names.user(project, user))  # fmt: skip
    row.tags = [ReplyTag(key=json.dumps(key), value=json.dumps(value)) for key, value in tags.items()]
    with writing() as session:
        session.add(row)


def get(session: Session, kind: str, id: str, project: str, param: str = "id") -> StoredReply:
    """The reply of that id, if it is this project's; for others it does not exist. `param` is where the id came."""
    wanted = sa.select(StoredReply).where(
        StoredReply.id == id, StoredReply.kind == kind, StoredReply.project == project
    )
    found = session.scalar(wanted) if re.fullmatch(r"[A-Za-z0-9_-]{1,64}", id) else None
    if found is None:
        raise UsageError(
            tr("There is no stored reply of that id.", "その ID の保存済み返答はありません。"),
            code="not_found", param=param,
        )  # fmt: skip
    return found


def tags(row: StoredReply) -> dict[str, str]:
    return {json.loads(tag.key): json.loads(tag.value) for tag in row.tags}


def _shown(row: StoredReply, original: Original | None = None) -> dict[str, Any]:
    return {**(original.body if original else json.loads(row.body)), "metadata": tags(row)}


def page(items: Sequence[dict[str, Any]], more: bool) -> dict[str, Any]:
    ids = [item["id"] for item in items] or [None]
    return {"object": "list", "data": list(items), "first_id": ids[0], "last_id": ids[-1], "has_more": more}


def paged(items: Sequence[dict[str, Any]], after: str | None, limit: int, order: str) -> JSONResponse:
    """The page of `items` that comes after the one of that id; UsageError where there is none of it."""
    items = items if order == "asc" else items[::-1]
    start = 0
    if after is not None:
        start = next((n + 1 for n, item in enumerate(items) if item["id"] == after), 0)
        if not start:  # the first page once more would go on for ever
            raise UsageError(
                tr("There is nothing of that id to go on after.", "その ID の項目はありません。"),
                code="not_found", param="after",
            )  # fmt: skip
    return JSONResponse(page(items[start : start + limit], start + limit < len(items)))


@router.get("", response_model=None)
def listed(
    request: Request,
    model: str | None = None,
    after: After = None,
    limit: Limit = 20,
    order: Order = "asc",
) -> JSONResponse:
    """The project's stored replies. `model` is the one that was asked for or the version that answered;
    `metadata[KEY]=VALUE` chooses those with that pair."""
    project = request.state.project
    number = StoredReply.number
    with reading() as session:
        wanted = sa.select(StoredReply).where(StoredReply.project == project, StoredReply.kind == CHAT)
        if model is not None:
            called = model.replace("\0", "\ufffd")
            wanted = wanted.where((StoredReply.model == called) | (StoredReply.name == called))
        for name, value in request.query_params.multi_items():
            if pair := _TAG.fullmatch(name):
                same = (ReplyTag.key == json.dumps(pair[1])) & (ReplyTag.value == json.dumps(value))
                wanted = wanted.where(number.in_(sa.select(ReplyTag.reply).where(same)))
        if after is not None:
            last = get(session, CHAT, after, project, "after").number
            wanted = wanted.where(number > last if order == "asc" else number < last)
        wanted = wanted.order_by(number if order == "asc" else number.desc()).limit(limit + 1)
        rows = session.scalars(wanted.options(sa.orm.selectinload(StoredReply.tags))).all()
        return JSONResponse(page([_shown(row) for row in rows[:limit]], len(rows) > limit))


@router.get("/{id}", response_model=None)
def retrieved(request: Request, id: str) -> JSONResponse:
    """One stored reply."""
    with reading() as session:
        row = get(session, CHAT, id, request.state.project)
        return JSONResponse(_shown(row, server_state(request).originals.get(id)))


@router.post("/{id}", response_model=None)
def updated(request: Request, id: str, update: Update) -> JSONResponse:
    """Other metadata for a stored reply."""
    rules, given = server_state(request).recorder.rules(request.state.project), update.metadata or {}
    clean = given if rules.stored == "raw" else _scrub(rules.words)(given)
    with writing() as session:
        row = get(session, CHAT, id, request.state.project)
        row.tags = [ReplyTag(key=json.dumps(key), value=json.dumps(value)) for key, value in clean.items()]
        session.flush()
        return JSONResponse(_shown(row))


@router.delete("/{id}", response_model=None)
def deleted(request: Request, id: str) -> JSONResponse:
    """Forgets a stored reply."""
    with writing() as session:
        session.delete(get(session, CHAT, id, request.state.project))
    server_state(request).originals.drop(id)
    return JSONResponse({"id": id, "object": "chat.completion.deleted", "deleted": True})


@router.get("/{id}/messages", response_model=None)
def asked(request: Request, id: str, after: After = None, limit: Limit = 20, order: Order = "asc") -> JSONResponse:
    """The messages that a stored reply answers."""
    with reading() as session:
        row = get(session, CHAT, id, request.state.project)
        original = server_state(request).originals.get(id)
        turns = original.asked if original else json.loads(row.asked)
    return paged([_message(turn, f"{id}-{number}") for number, turn in enumerate(turns)], after, limit, order)


def _message(turn: dict[str, Any], id: str) -> dict[str, Any]:
    parts = turn.get("content")
    text = "".join(part.get("text") or "" for part in parts) if isinstance(parts, list) else parts
    return {**turn, "id": id, "content": text, "content_parts": parts if isinstance(parts, list) else None}
