"""Exchanges listed, shown and forgotten."""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from sodate.core.errors import UsageError
from sodate.core.text import tr
from sodate.db.connection import reading, writing
from sodate.db.exchange_tables import (
    ExchangeRow,
    ExchangeUseRow,
    FailureRow,
    FeedbackRow,
    GiverRow,
    ReviewRow,
    TallyRow,
)
from sodate.db.tables import StoredReply
from sodate.learn import feedback, keeping, lineage, names, recording, retention
from sodate.learn.recorder import KEPT, OUTCOMES

READ = 1000  # characters of each of many questions
AT_ONCE = 20  # exchanges whose bodies are in memory together, where many are read: one may be megabytes long
DROPPED = tuple(one for one in OUTCOMES if one != KEPT)


def listed(
    project: str = "default",
    *,
    user: str | None = None,
    version: str | None = None,
    failed: bool = False,
    before: int | None = None,
    limit: int = 20,
) -> dict[str, Any]:
    """The newest exchanges of a project, those before number `before`: the next page begins at `next`.

    `user` is a name or its hash. `dropped` says how many are not there, and why.
    """
    row = ExchangeRow
    wanted = sa.select(row).where(row.project == project)
    if user is not None:
        wanted = wanted.where(row.user == names.given(project, user))
    if version is not None:
        wanted = wanted.where(row.version == version)
    if failed:
        wanted = wanted.where(row.failed)
    if before is not None:
        wanted = wanted.where(row.number < before)
    with reading() as session:
        rows = session.scalars(wanted.order_by(row.number.desc()).limit(limit + 1)).all()
        page = rows[:limit]
        reasons = reasons_of(session, [one.number for one in page])
        sums = tallies(session, project)
        return {
            "project": project, "mode": recording.of(project).mode,
            "exchanges": [{**short(one), "reasons": reasons.get(one.number, [])} for one in page],
            "next": page[-1].number if len(rows) > limit else None,
            "served": sums.get("all", 0), "failed": sums.get("failed", 0),
            "dropped": {why: sums[why] for why in DROPPED if why in sums},
        }  # fmt: skip


def short(row: ExchangeRow, most: int = 200) -> dict[str, Any]:
    """An exchange in a list: its last question and its reply, cut."""
    body = json.loads(row.body)
    replies = [one["content"] or "" for one in body["replies"]]
    return {
        "number": row.number, "id": row.id, "created_at": row.created_at, "version": row.version, "user": row.user,
        "session": row.session, "finish": row.finish, "severity": round(row.severity, 4),
        "confidence": row.confidence, "latency_ms": row.latency_ms, "question": question(body)[:most],
        "reply": (replies[0] if replies else "")[:most],
    }  # fmt: skip


def question_of(body: str) -> str:
    """What was asked last, of a row's body, as far as anybody who looks at thousands of them reads it."""
    return question(json.loads(body))[:READ]


def question(body: dict[str, Any]) -> str:
    """What was asked last."""
    asked = [one["content"] or "" for one in body["messages"] if one["role"] == "user"]
    return asked[-1] if asked else ""


def reasons_of(session: Session, numbers: list[int]) -> dict[int, list[dict[str, Any]]]:
    """The reasons of exchanges by their numbers, the worst first."""
    row, found = FailureRow, dict[int, list[dict[str, Any]]]()
    for one in session.scalars(sa.select(row).where(row.exchange.in_(numbers)).order_by(row.severity.desc())):
        told = {"reason": one.reason, "severity": round(one.severity, 4), "detail": one.detail}
        found.setdefault(one.exchange, []).append(told)
    return found


def tallies(session: Session, project: str) -> dict[str, int]:
    """How often everything happened in a project so far."""
    row = TallyRow
    sums = sa.select(row.what, sa.func.sum(row.count)).where(row.project == project).group_by(row.what)
    return {what: int(number) for what, number in session.execute(sums)}


def show(id: str, project: str = "default") -> dict[str, Any]:
    """Everything that is kept of an exchange. UsageError where the project has none of that id."""
    with reading() as session:
        row = feedback.found(session, id, project)
        wanted = sa.select(ReviewRow).where(ReviewRow.exchange == row.number).order_by(ReviewRow.number)
        about = short(row)
        del about["question"], about["reply"]
        return {
            **about, "project": project, "kind": row.kind, "prompt_tokens": row.prompt_tokens,
            "reply_tokens": row.reply_tokens, **json.loads(row.body),
            "reasons": reasons_of(session, [row.number]).get(row.number, []),
            "feedback": [feedback.shown(one) for one in feedback.of(session, row.number)],
            "reviews": [{"id": one.id, "reviewer": one.reviewer, "decision": one.decision,
                         "correction": json.loads(one.correction) if one.correction else None, "drawn": one.drawn,
                         "proposed_by": one.proposed_by, "created_at": one.created_at}
                        for one in session.scalars(wanted)],
        }  # fmt: skip


def forget(user: str, project: str | None = None) -> dict[str, Any]:
    """Deletes all exchanges and stored replies of a person, and all the person said of others; names what was made of
    them before.

    `user` is a hash, as lists show it, or in a named project the name itself. What was made stays: whoever reads this
    decides what becomes of datasets, versions and reports.
    """
    if project is None and not names.HASHED.fullmatch(user):
        raise UsageError(
            tr("Give the hash that lists show (u_…), or a name with its --project.",
               "一覧に表示されるハッシュ (u_…) か、--project とともに名前を指定してください。"),
            code="bad_value", param="user",
        )  # fmt: skip
    hashed = names.given(project or "", user)
    row = ExchangeRow
    own: list[sa.ColumnElement[bool]] = [row.user == hashed, *([row.project == project] if project else [])]
    with reading() as session:
        ids = session.scalars(sa.select(row.id).where(*own)).all()
        use = ExchangeUseRow
        theirs = [use.user == hashed, *([use.project == project] if project else [])]
        used = session.execute(sa.select(use.exchange, use.into).where(*theirs)).all()
    made = lineage.made_from({*ids, *(exchange for exchange, _ in used)}, {into for _, into in used})
    said = _unsay(hashed, project)
    gone = retention.delete(row, own)
    kept = StoredReply
    stored = retention.delete(kept, [kept.user == hashed, *([kept.project == project] if project else [])])
    return {"user": hashed, "exchanges": gone, "stored_replies": stored, "feedback": said, **made}


def _unsay(giver: str, project: str | None) -> int:
    """Deletes what a person said of others' replies; returns how often that was."""
    own = [FeedbackRow.giver == giver, *([FeedbackRow.project == project] if project else [])]
    gone = 0
    while True:
        with writing() as session:
            rows = session.scalars(sa.select(FeedbackRow).where(*own).limit(retention.AT_ONCE)).all()
            for one in rows:
                exchange = session.get_one(ExchangeRow, one.exchange)
                session.delete(one)
                session.flush()
                feedback_left = feedback.reasons_of(feedback.of(session, exchange.number))
                keeping.refresh(session, exchange, feedback_left)
            gone += len(rows)
            if not rows:
                session.execute(sa.delete(GiverRow).where(
                    GiverRow.giver == giver, *([GiverRow.project == project] if project else [])))  # fmt: skip
                return gone
