"""People look at exchanges, one after another, and decide: accept, correct, reject, both bad, skip.

Two queues take turns. One has failures, the worst first. The other is a fair share of everything, by which the failure
rate is known with an interval: exchanges in the order of their lots. What was reviewed in the first queue already joins
the share when its turn comes, and is not asked about again.
"""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import sqlalchemy as sa
from sqlalchemy.orm import Session

from sodate.core.errors import UsageError
from sodate.core.ids import new_id
from sodate.core.intervals import wilson
from sodate.core.text import tr
from sodate.db.connection import reading, writing
from sodate.db.exchange_tables import ExchangeRow, FailureRow, FeedbackRow, ReviewRow
from sodate.learn import feedback, keeping, logs, recording
from sodate.learn.reasons import reason
from sodate.learn.scrubbing import scrubber

Decision = Literal["accept", "correct", "reject", "both_bad", "skip"]
DECISIONS: tuple[Decision, ...] = get_args(Decision)
Draw = Literal["both", "failures", "random"]
OVERLAP = 0.2  # of exchanges that a second reviewer sees, too
RANDOM = "random"  # how an exchange of the fair share is drawn
BY_REVIEW = "review"  # what a failure says that a reviewer found
_VOTE = {"accept": "right", "correct": "wrong", "reject": "wrong", "both_bad": "wrong"}


def queue(
    reviewer: str,
    project: str = "default",
    *,
    draw: Draw = "both",
    limit: int = 20,
    overlap: float = OVERLAP,
    cluster: str | None = None,
    since: int | None = None,
) -> list[dict[str, Any]]:
    """What this reviewer is to look at next: exchanges whole, each with `drawn`, which goes back with its decision.

    `cluster` is the id of one whose failures come; `since` a day from 1970, before which nothing comes.
    """
    name(reviewer)
    with writing() as session:
        second = _second(session, reviewer, project, overlap, limit)
        found = [] if draw == "random" else _failures(session, project, limit, cluster, since)
        share = [] if draw == "failures" or cluster else _share(session, project, limit, since)
        turns = [one for pair in zip(_padded(share, limit), _padded(found, limit), strict=True) for one in pair if one]
        rows: dict[int, tuple[ExchangeRow, str]] = {}
        for row, drawn in [*second, *turns]:
            if row.number not in rows or drawn == RANDOM:
                rows[row.number] = (row, drawn)
        chosen = list(rows.values())[:limit]
        reasons = logs.reasons_of(session, [row.number for row, _ in chosen])
        return [shown(session, row, drawn, reasons.get(row.number, [])) for row, drawn in chosen]


def shown(session: Session, row: ExchangeRow, drawn: str, reasons: list[dict[str, Any]]) -> dict[str, Any]:
    """An exchange as a reviewer sees it."""
    body = json.loads(row.body)
    corrections = [told["correction"] for one in feedback.of(session, row.number)
                   if (told := feedback.shown(one))["correction"]]  # fmt: skip
    return {
        "id": row.id, "drawn": drawn, "version": row.version, "created_at": row.created_at,
        "messages": body["messages"], "replies": [one["content"] for one in body["replies"]],
        "question": logs.question(body), "reply": feedback.reply_of(row), "reasons": reasons,
        "corrections": corrections,
    }  # fmt: skip


def decide(
    id: str,
    reviewer: str,
    decision: Decision,
    *,
    correction: str | None = None,
    note: str | None = None,
    proposed_by: str | None = None,
    drawn: str = "",
    project: str = "default",
) -> dict[str, Any]:
    """Keeps what a reviewer decided of an exchange; deciding again changes it. UsageError where the project has none of
    that id, the decision is none, or a correction is missing."""
    check(reviewer, decision, correction, note)
    clean, noted = scrubber(recording.of(project).words)([correction or "", note or ""])
    with writing() as session:
        row = feedback.found(session, id, project, to_change=True)
        own = (ReviewRow.exchange == row.number) & (ReviewRow.reviewer == reviewer)
        found = session.scalar(sa.select(ReviewRow).where(own))
        if found is None:
            found = ReviewRow(id=new_id("review_"), exchange=row.number, project=project, reviewer=reviewer,
                              drawn=drawn or "asked", sampled=drawn == RANDOM)  # fmt: skip
            session.add(found)
        found.decision, found.proposed_by, found.created_at = decision, proposed_by, int(time.time())
        found.correction, found.note = (json.dumps(text) if text else None for text in (clean, noted))
        session.flush()
        _mark(session, row)
        return {"id": found.id, "exchange": row.id, "reviewer": reviewer, "decision": decision,
                "correction": clean or None, "drawn": found.drawn}  # fmt: skip


def check(reviewer: str, decision: str, correction: str | None, note: str | None) -> None:
    """UsageError where a decision can't be kept as it is said."""
    name(reviewer)
    if decision not in DECISIONS:
        raise UsageError(
            tr(f"{decision!r} is no decision.", f"{decision!r} という判定はありません。"),
            ", ".join(DECISIONS), code="bad_value", param="decision",
        )  # fmt: skip
    if (decision == "correct") != bool(correction and correction.strip()):
        raise UsageError(
            tr("To correct is to write another reply, and only that does.",
               "correct のときだけ、修正した返答を書いてください。"),
            code="bad_value", param="correction",
        )  # fmt: skip
    for param, text in (("correction", correction), ("note", note)):
        if any("\ud800" <= character <= "\udfff" for character in text or ""):
            raise UsageError(
                tr("The text holds half a surrogate pair.", "文字列に片方だけのサロゲートが含まれています。"),
                code="bad_value", param=param,
            )  # fmt: skip


def _mark(session: Session, row: ExchangeRow) -> None:
    """The reviewers' verdict as a reason of the exchange: it failed where as many say so as not."""
    votes = [_VOTE[one] for one in session.scalars(sa.select(ReviewRow.decision).where(
        ReviewRow.exchange == row.number)) if one in _VOTE]  # fmt: skip
    old = session.scalar(sa.select(FailureRow).where(FailureRow.exchange == row.number,
                                                    FailureRow.reason == "judged_wrong"))  # fmt: skip
    if old is not None and old.detail != BY_REVIEW:
        return  # a grader has said so already
    wrong = votes.count("wrong") * 2 >= len(votes) > 0
    keeping.refresh(session, row, {"judged_wrong": reason("judged_wrong", BY_REVIEW) if wrong else None})


def name(reviewer: str) -> str:
    """A reviewer's name, if it can stand beside a decision. UsageError where it can't."""
    if not reviewer.strip() or len(reviewer) > 64 or not reviewer.isprintable():
        raise UsageError(
            tr("A reviewer needs a name of up to 64 characters.", "確認者の名前を 64 文字以内で指定してください。"),
            code="bad_name", param="reviewer",
        )  # fmt: skip
    return reviewer


def progress(project: str = "default", since: int | None = None) -> dict[str, Any]:
    """How far review is: decisions, the failure rate by the fair share with its 95 % interval, how far people agree."""
    row = ReviewRow
    wanted = sa.select(row.exchange, row.reviewer, row.decision, row.sampled).where(row.project == project)
    if since is not None:
        wanted = wanted.join(ExchangeRow, ExchangeRow.number == row.exchange).where(ExchangeRow.day >= since)
    with reading() as session:
        said = session.execute(wanted.order_by(row.number)).all()
        votes = _votes(session, said)
    decisions = dict.fromkeys(map(str, DECISIONS), 0)
    for _, _, decision, _ in said:
        decisions[decision] += 1
    return {
        "project": project, "reviews": len(said), "exchanges": len({one for one, *_ in said}),
        "decisions": decisions, "failure_rate": rate(said), "agreement": agreement(votes),
    }  # fmt: skip


def rate(said: Sequence[Any]) -> dict[str, Any]:
    """The share of failures in the fair share; an exchange of which reviewers say different things counts in part."""
    votes: dict[int, list[str]] = {}
    skipped = set()
    for exchange, _, decision, sampled in said:
        if sampled and decision in _VOTE:
            votes.setdefault(exchange, []).append(_VOTE[decision])
        elif sampled:
            skipped.add(exchange)
    failed = sum(told.count("wrong") / len(told) for told in votes.values())
    n = len(votes)
    return {"n": n, "failed": failed, "rate": failed / n if n else None, "ci": list(wilson(failed, n)) if n else None,
            "skipped": len(skipped - votes.keys())}  # fmt: skip


def agreement(votes: Mapping[str, Mapping[int, str]]) -> dict[str, Any]:
    """How far reviewers agree with one another, with people's thumbs and with what shows by itself; who is at odds."""
    from sodate.api.judged import agreement_of

    return agreement_of({rater: {str(one): vote for one, vote in told.items()} for rater, told in votes.items()})


def _votes(session: Session, said: Sequence[Any]) -> dict[str, dict[int, str]]:
    votes: dict[str, dict[int, str]] = {}
    for exchange, reviewer, decision, _ in said:
        if decision in _VOTE:
            votes.setdefault(reviewer, {})[exchange] = _VOTE[decision]
    if not votes:
        return {}
    numbers = sorted({one for told in votes.values() for one in told})
    thumbs: dict[int, float] = {}
    shows = set()
    for start in range(0, len(numbers), 5000):
        part = numbers[start : start + 5000]
        row = FeedbackRow
        for exchange, thumb, weight in session.execute(
            sa.select(row.exchange, row.thumb, row.weight).where(row.exchange.in_(part), row.thumb.is_not(None))
        ):
            thumbs[exchange] = thumbs.get(exchange, 0.0) + (weight if thumb == "up" else -weight)
        found = (FailureRow.exchange.in_(part), FailureRow.reason.in_(("banned_words", "broken_schema")))
        shows |= set(session.scalars(sa.select(FailureRow.exchange).where(*found)))
    liked = {one: "right" if much > 0 else "wrong" for one, much in thumbs.items() if much}
    return (
        votes | ({"(thumbs)": liked} if liked else {}) | ({"(checks)": dict.fromkeys(shows, "wrong")} if shows else {})
    )


def _second(session: Session, reviewer: str, project: str, overlap: float, limit: int) -> list[tuple[ExchangeRow, str]]:
    """Exchanges that one other person has reviewed, and that two are to see."""
    row = ReviewRow
    once = (
        sa.select(row.exchange).where(row.project == project).group_by(row.exchange)
        .having(sa.func.count() == 1, sa.func.max(row.reviewer) != reviewer).order_by(row.exchange.desc()).limit(2000)
    )  # fmt: skip
    wanted = sa.select(ExchangeRow, row.drawn).join(row, row.exchange == ExchangeRow.number)
    found = session.execute(wanted.where(ExchangeRow.number.in_(once)).order_by(ExchangeRow.lot)).all()
    return [(one, drawn) for one, drawn in found if twice(one.id, overlap)][:limit]


def twice(id: str, overlap: float) -> bool:
    """Whether two people are to see an exchange: its id says so, by another draw than its lot."""
    return zlib.crc32(id.encode()) < overlap * 2**32


def _unseen() -> sa.ColumnElement[bool]:
    return ~sa.exists().where(ReviewRow.exchange == ExchangeRow.number)


def _failures(
    session: Session, project: str, limit: int, cluster: str | None, since: int | None
) -> list[tuple[ExchangeRow, str]]:
    row = ExchangeRow
    wanted = sa.select(row).where(row.project == project, row.severity > 0, _unseen())
    if cluster is not None:
        from sodate.learn.clusters import members

        wanted = wanted.where(row.number.in_(members(cluster, project)))
    if since is not None:
        wanted = wanted.where(row.day >= since)
    found = session.scalars(wanted.order_by(row.severity.desc(), row.number.desc()).limit(limit))
    return [(one, f"cluster {cluster}" if cluster else "failure") for one in found]


def _share(session: Session, project: str, limit: int, since: int | None) -> list[tuple[ExchangeRow, str]]:
    """The next of the fair share. Those that were reviewed already join it here."""
    row, found = ExchangeRow, list[tuple[ExchangeRow, str]]()
    last = -1.0
    while len(found) < limit:
        drawn = sa.exists().where(ReviewRow.exchange == row.number, ReviewRow.sampled)
        wanted = sa.select(row).where(row.project == project, row.lot > last, ~drawn)
        if since is not None:
            wanted = wanted.where(row.day >= since)
        page = session.scalars(wanted.order_by(row.lot).limit(limit - len(found))).all()
        if not page:
            break
        last = page[-1].lot
        known = set(session.scalars(sa.select(ReviewRow.exchange).where(
            ReviewRow.exchange.in_([one.number for one in page]))))  # fmt: skip
        found += [(one, RANDOM) for one in page if one.number not in known]
        # Never past what is still to be looked at: the share is all exchanges up to a lot.
        before = {one.number for one in page if not found or one.lot < found[0][0].lot}
        session.execute(sa.update(ReviewRow).where(ReviewRow.exchange.in_(known & before)).values(sampled=True))
    return found


def _padded(rows: list[tuple[ExchangeRow, str]], length: int) -> list[tuple[ExchangeRow, str] | None]:
    return [*rows, *[None] * (length - len(rows))]
