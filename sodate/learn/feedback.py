"""What people say of replies: thumbs, corrections, labels, comments, rankings. Said twice, it counts once.

Whoever says very much does not decide alone: of one person `FULL` thumbs count fully, the k-th counts FULL / k. Thumbs
down that count less than LEAST together make no failure: one person makes as many as forty, and not 100,000.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.orm import Session

from sodate.core.errors import SodateError, UsageError
from sodate.core.text import tr
from sodate.data.similar import comparable
from sodate.db.connection import reading, writing
from sodate.db.exchange_tables import ExchangeRow, FeedbackRow, GiverRow
from sodate.learn import keeping, names, recording
from sodate.learn.reasons import Reason, reason
from sodate.learn.scrubbing import LONGEST, scrubber

FULL = 20  # thumbs of one person that count fully
LEAST = 0.5  # that thumbs down of an exchange have to count, all together, for it to have failed
ID = re.compile(r"[A-Za-z0-9_-]{1,80}")
Thumb = Literal["up", "down"]
_CONTENT = ("thumb", "correction", "label", "comment", "ranking")


def give(
    reply_id: str,
    *,
    thumb: Thumb | None = None,
    correction: str | None = None,
    sent: str | None = None,
    label: str | None = None,
    comment: str | None = None,
    ranking: Sequence[int] | None = None,
    user: str | None = None,
    project: str = "default",
    actor: str = "nobody",
    waiting: Callable[[], object] = lambda: None,
) -> dict[str, Any]:
    """What somebody says of a reply; what is left out stays as it was said before.

    `correction` is the reply as it should have been. `sent` is what the person sent in the end: the reply itself, which
    counts as a thumb up, or another text, which counts as a correction. `ranking` are numbers of the choices, the best
    first. `user` is who says it (the asker, or the key `actor`, where nobody does). `waiting` is called once where the
    reply is not there: it may be on its way.

    Raises UsageError `not_found` for a reply that is unknown, deleted or another project's; SodateError `scrub_failed`
    where personal data could not be taken out of what was said: nothing is kept then.
    """
    said = {"thumb": thumb, "correction": correction, "sent": sent, "label": label, "comment": comment,
            "ranking": ranking}  # fmt: skip
    given = {key: value for key, value in said.items() if value is not None}
    _check(given)
    if not _there(reply_id, project):
        waiting()
    clean = _scrubbed(given, recording.of(project).words)
    with writing() as session:
        row = found(session, reply_id, project, to_change=True)
        if "sent" in clean:
            text = clean.pop("sent")
            same = comparable(text) == comparable(reply_of(row))
            clean.setdefault(*(("thumb", "up") if same else ("correction", text)))
        giver = names.given(project, user) if user else row.user or names.given(project, f"key {actor}")
        return _kept(session, row, giver, clean)


def found(session: Session, id: str, project: str, *, to_change: bool = False) -> ExchangeRow:
    """The exchange of that reply, if it is this project's; for others it does not exist. Who wants it `to_change` it
    waits for others who do."""
    wanted = sa.select(ExchangeRow).where(ExchangeRow.id == id, ExchangeRow.project == project)
    wanted = wanted.with_for_update() if to_change else wanted
    row = session.scalar(wanted) if ID.fullmatch(id) else None
    if row is None:
        raise UsageError(
            tr("No reply of this id is kept.", "その ID の返答は記録されていません。"),
            tr("It is kept where the project records what is served (sodate logs set), until it is old or forgotten.",
               "返答の記録は sodate logs set で有効にします。保存期間を過ぎたものや削除したものは残りません。"),
            code="not_found", param="reply_id",
        )  # fmt: skip
    return row


def reply_of(row: ExchangeRow) -> str:
    """The text of an exchange's first reply."""
    replies = json.loads(row.body)["replies"]
    return replies[0]["content"] or "" if replies else ""


def shown(row: FeedbackRow) -> dict[str, Any]:
    """Feedback as it is told."""
    return {
        "thumb": row.thumb, "correction": json.loads(row.correction) if row.correction else None,
        "label": json.loads(row.label) if row.label else None,
        "comment": json.loads(row.comment) if row.comment else None,
        "ranking": json.loads(row.ranking) if row.ranking else None, "giver": row.giver, "weight": row.weight,
        "created_at": row.created_at,
    }  # fmt: skip


def weight(said: int) -> float:
    """How far the thumb of a person counts who has given so many."""
    return min(1.0, FULL / max(said, 1))


def of(session: Session, exchange: int) -> list[FeedbackRow]:
    return list(session.scalars(sa.select(FeedbackRow).where(FeedbackRow.exchange == exchange)))


def _there(id: str, project: str) -> bool:
    with reading() as session:
        return session.scalar(
            sa.select(ExchangeRow.number).where(ExchangeRow.id == id, ExchangeRow.project == project)
        ) is not None  # fmt: skip


def _check(given: Mapping[str, Any]) -> None:
    if not given:
        every = "thumb, correction, sent, label, comment, ranking"
        raise _wrong("thumb", tr(f"Nothing is said. Give one of: {every}.",
                                 f"次のどれかを指定してください: {every}"))  # fmt: skip
    if given.get("thumb", "up") not in ("up", "down"):
        raise _wrong("thumb", tr("A thumb is up or down.", "thumb は up か down にしてください。"))
    for key in ("correction", "sent", "comment", "label"):
        if len(given.get(key, "")) > (
            LONGEST if key in ("correction", "sent") else 10_000 if key == "comment" else 200
        ):
            raise _wrong(key, tr("It is too long.", "長すぎます。"))
    ranking = given.get("ranking")
    if ranking is not None and sorted(ranking) != list(range(len(ranking))):
        raise _wrong("ranking", tr("A ranking has every choice's number once, from 0.",
                                   "ranking には 0 から始まる候補の番号を 1 回ずつ並べてください。"))  # fmt: skip


def _scrubbed(given: Mapping[str, Any], words: Sequence[str]) -> dict[str, Any]:
    try:
        texts = {key: value for key, value in given.items() if isinstance(value, str) and key != "thumb"}
        return {**given, **dict(zip(texts, scrubber(words)(list(texts.values())), strict=True))}
    except Exception as error:
        raise SodateError(
            tr("Personal data could not be taken out of this, so it is not kept.",
               "個人情報を取り除けなかったため、保存していません。"),
            code="scrub_failed",
        ) from error  # fmt: skip


def _kept(session: Session, exchange: ExchangeRow, giver: str, clean: Mapping[str, Any]) -> dict[str, Any]:
    own = (FeedbackRow.exchange == exchange.number) & (FeedbackRow.giver == giver)
    row = session.scalar(sa.select(FeedbackRow).where(own))
    if "correction" in clean and comparable(clean["correction"]) == comparable(reply_of(exchange)):
        clean = {"thumb": "up", **{key: value for key, value in clean.items() if key != "correction"}}
    new = row is None
    if row is None:
        row = FeedbackRow(exchange=exchange.number, project=exchange.project, giver=giver, weight=1.0,
                          created_at=int(time.time()))  # fmt: skip
        session.add(row)
    before = (row.thumb, bool(row.correction))
    for key in _CONTENT:
        if key in clean:
            # Escapes stay: PostgreSQL's text cannot hold a NUL.
            setattr(row, key, clean[key] if key == "thumb" else json.dumps(clean[key]))
    row.weight = _counted(session, row, before, new)
    session.flush()
    keeping.refresh(session, exchange, reasons_of(of(session, exchange.number)))
    return {"object": "feedback", "reply_id": exchange.id, **shown(row)}


def _counted(session: Session, row: FeedbackRow, before: tuple[str | None, bool], new: bool) -> float:
    """Counts what a person has said so far; the weight of what is said now."""
    own = {"project": row.project, "giver": row.giver}
    nothing = keeping.inserting(session, GiverRow).values(**own, up=0, down=0, corrections=0, said=0)
    session.execute(nothing.on_conflict_do_nothing())
    giver = session.get_one(GiverRow, own, with_for_update=True)
    for thumb, sign in ((before[0], -1), (row.thumb, 1)):
        giver.up += sign * (thumb == "up")
        giver.down += sign * (thumb == "down")
    giver.corrections += bool(row.correction) - before[1]
    giver.said += new
    return weight(giver.said) if new else row.weight


def reasons_of(said: Sequence[FeedbackRow]) -> dict[str, Reason | None]:
    """What feedback makes of an exchange: those who say the same are summed up by their weights, up to 1."""
    down = min(1.0, sum(row.weight for row in said if row.thumb == "down"))
    corrected = min(1.0, sum(row.weight for row in said if row.correction))
    return {
        "thumbs_down": reason("thumbs_down", weight=down) if down >= LEAST else None,
        "corrected": reason("corrected", weight=corrected) if corrected else None,
    }


def givers(session: Session, project: str, most: int = 5) -> dict[str, Any]:
    """Who says most, what share of all thumbs that is, and the share of thumbs down with and without weights."""
    row = GiverRow
    top = session.scalars(sa.select(row).where(row.project == project).order_by(row.said.desc()).limit(most)).all()
    thumbs = row.up + row.down
    factor = sa.case((row.said <= FULL, 1.0), else_=sa.literal(float(FULL)) / row.said)
    sums = sa.select(sa.func.count(), sa.func.sum(thumbs), sa.func.sum(row.down), sa.func.sum(factor * thumbs),
                     sa.func.sum(factor * row.down)).where(row.project == project)  # fmt: skip
    people, everything, down, weighed, weighed_down = session.execute(sums).one()
    total = everything or 0
    return {
        "people": people, "thumbs": total, "down": down or 0,
        "down_share": down / total if total else None,
        "down_share_weighed": float(weighed_down / weighed) if weighed else None,
        "most": [{"giver": one.giver, "said": one.said, "up": one.up, "down": one.down, "corrections": one.corrections,
                  "share": (one.up + one.down) / total if total else 0.0, "weight": weight(one.said)}
                 for one in top],
    }  # fmt: skip


def _wrong(param: str, said: str) -> UsageError:
    return UsageError(said, code="invalid_value", param=param)
