"""A candidate answers what was asked before, offline, and its replies are graded beside those that were served.

Nothing is sent anywhere, and no traffic moves: only scrubbed exchanges are asked.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from sodate.api import grading
from sodate.api.replies import Prompt, replies
from sodate.core.errors import SodateError
from sodate.core.intervals import paired_proportion_ci
from sodate.core.text import tr
from sodate.data.similar import comparable, jaccard, shingles
from sodate.db.connection import reading
from sodate.db.exchange_tables import ExchangeRow, FeedbackRow, ReviewRow
from sodate.learn import feedback, logs, recording
from sodate.learn.proposing import messages_of

SHOWN = 20  # differences that are told, the widest first
_CORRECTED = "corrected"  # the grader that asks whether a reply is nearer to what a person wrote


def replay(
    candidate: str,
    project: str = "default",
    *,
    graders: Sequence[str] | None = None,
    since: int | None = None,
    limit: int = 100,
    max_new_tokens: int = 256,
    engine: str = "torch",
) -> dict[str, Any]:
    """Differences between a candidate's greedy replies and those that were served, on a fair share of exchanges.

    Each grader says how often the candidate is better or worse, with the 95 % interval of the difference. "abstained"
    counts replies that say they do not know; "corrected" compares both replies with what people wrote instead.
    """
    named = tuple(recording.of(project).graders if graders is None else graders)
    rules = grading.by_rule(named)
    rows = _share(project, since, limit)
    if not rows:
        raise SodateError(
            tr("There is no exchange to ask again.", "再生できるやり取りがありません。"),
            "sodate logs list",
            code="no_rows",
        )
    asked = [Prompt(messages_of(body["messages"])) for _, body, _ in rows]
    new = [one["replies"][0] for one in replies(candidate, asked, engine=engine, max_new_tokens=max_new_tokens)]
    old = [body["replies"][0]["content"] or "" for _, body, _ in rows]
    scores: dict[str, list[tuple[float, float]]] = {grader.name: [] for grader in rules}
    scores |= {"abstained": [], _CORRECTED: []}
    told = []
    for (row, body, right), before, after in zip(rows, old, new, strict=True):
        mine = {grader.name: (grader(before, None, {}).score, grader(after, None, {}).score) for grader in rules}
        mine["abstained"] = (1.0 - grading.abstains(before), 1.0 - grading.abstains(after))
        if right is not None:
            mine[_CORRECTED] = (_likeness(before, right), _likeness(after, right))
        for name, pair in mine.items():
            scores[name].append(pair)
        told.append({
            "id": row.id, "question": logs.question(body)[:200], "version": row.version, "served": before,
            "candidate": after, "likeness": round(_likeness(before, after), 3), "scores": mine,
        })  # fmt: skip
    changed = [one for one in told if comparable(one["served"]) != comparable(one["candidate"])]
    return {
        "project": project, "candidate": candidate, "n": len(told), "same": len(told) - len(changed),
        "changed": len(changed), "graders": {name: _compared(pairs) for name, pairs in scores.items() if pairs},
        "differences": sorted(changed, key=_how_bad)[:SHOWN],
    }  # fmt: skip


def _share(project: str, since: int | None, limit: int) -> list[tuple[ExchangeRow, dict[str, Any], str | None]]:
    """Exchanges with a reply, by their lots, each with what it should have been where a person wrote that."""
    row = ExchangeRow
    wanted = sa.select(row).where(row.project == project, row.kind != "text_completion")
    if since is not None:
        wanted = wanted.where(row.day >= since)
    with reading() as session:
        found = session.scalars(wanted.order_by(row.lot).limit(limit)).all()
        numbers = [one.number for one in found]
        right: dict[int, str] = {}
        for table in (FeedbackRow, ReviewRow):  # a reviewer's word comes last, and stands
            said = sa.select(table.exchange, table.correction).where(table.exchange.in_(numbers))
            right |= {exchange: json.loads(text or "null") for exchange, text in session.execute(
                said.where(table.correction.is_not(None)))}  # fmt: skip
        return [(one, json.loads(one.body), right.get(one.number)) for one in found if feedback.reply_of(one)]


def _likeness(one: str, other: str) -> float:
    return jaccard(shingles(comparable(one)), shingles(comparable(other)))


def _compared(pairs: Sequence[tuple[float, float]]) -> dict[str, Any]:
    better = sum(after > before for before, after in pairs)
    worse = sum(after < before for before, after in pairs)
    n = len(pairs)
    return {
        "n": n, "served": sum(before for before, _ in pairs) / n, "candidate": sum(after for _, after in pairs) / n,
        "better": better, "worse": worse, "ci": list(paired_proportion_ci(better, worse, n)),
    }  # fmt: skip


def _how_bad(one: dict[str, Any]) -> tuple[float, float]:
    """What got worse comes first, then what is least like before."""
    return (sum(after - before for before, after in one["scores"].values()), one["likeness"])
