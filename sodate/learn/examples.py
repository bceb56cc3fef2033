"""Reviewed exchanges as rows to learn from, each with where it came from."""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.orm import Session

from sodate.core.errors import SodateError
from sodate.core.files import write_text
from sodate.core.text import json_text, tr
from sodate.db.connection import reading, writing
from sodate.db.exchange_tables import ExchangeRow, ExchangeUseRow, ReviewRow
from sodate.learn import keeping

Kind = Literal["examples", "preferences"]
_AT_ONCE = 500


def write(
    out: str | Path, project: str = "default", *, kind: Kind = "examples", without: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Writes what reviewers accepted or corrected as rows for `sodate data add`; returns how many, and what was left.

    Examples end with the accepted reply or its correction. Preferences have the correction as chosen and the reply as
    rejected. An exchange about which reviewers disagree is left out, and so is what reviewers named in `without`
    decided alone. Raises SodateError `no_rows` where nothing is left.
    """
    rows: list[dict[str, Any]] = []
    left = {"disagreed": 0, "rejected": 0, "skipped": 0, "calls": 0}
    uses: list[dict[str, Any]] = []
    path = Path(out).absolute()
    with reading() as session:
        for row, decided in _decided(session, project, without):
            made, why = _row(row, decided, kind)
            if made is None:
                left[why] += why in left
                continue
            rows.append(made)
            uses.append({"exchange": row.id, "project": project, "user": row.user, "into": str(path),
                         "created_at": int(time.time())})  # fmt: skip
    if not rows:
        raise SodateError(
            tr("No reviewed exchange is left to learn from.", "学習に使える確認済みのやり取りがありません。"),
            "sodate learn review", code="no_rows",
        )  # fmt: skip
    # First the note of where a person's words go, then the file: never the other way round.
    with writing() as session:
        for start in range(0, len(uses), _AT_ONCE):
            noted = keeping.inserting(session, ExchangeUseRow).values(uses[start : start + _AT_ONCE])
            session.execute(noted.on_conflict_do_nothing())
    write_text(path, "".join(json_text(row) + "\n" for row in rows))
    return {"file": str(path), "rows": len(rows), "kind": kind, "left": left}


def rows(
    project: str = "default", *, kind: Kind = "examples", without: tuple[str, ...] = ()
) -> Iterator[dict[str, Any]]:
    """The rows that `write` would write; nobody notes that they were looked at."""
    with reading() as session:
        for row, decided in _decided(session, project, without):
            made, _ = _row(row, decided, kind)
            if made is not None:
                yield made


def _decided(session: Session, project: str, without: tuple[str, ...]) -> Iterator[tuple[ExchangeRow, list[ReviewRow]]]:
    """Every reviewed exchange with its reviews, in the order of the exchanges."""
    last = 0
    while True:
        reviewed = sa.exists().where(ReviewRow.exchange == ExchangeRow.number)
        wanted = sa.select(ExchangeRow).where(ExchangeRow.project == project, ExchangeRow.number > last, reviewed)
        page = session.scalars(wanted.order_by(ExchangeRow.number).limit(_AT_ONCE)).all()
        if not page:
            return
        last = page[-1].number
        numbers = [row.number for row in page]
        told: dict[int, list[ReviewRow]] = {}
        for one in session.scalars(
            sa.select(ReviewRow).where(ReviewRow.exchange.in_(numbers)).order_by(ReviewRow.number)
        ):
            if one.reviewer not in without:
                told.setdefault(one.exchange, []).append(one)
        yield from ((row, told[row.number]) for row in page if row.number in told)


def _row(row: ExchangeRow, reviews: list[ReviewRow], kind: Kind) -> tuple[dict[str, Any] | None, str]:
    """The row of an exchange, or None and why there is none."""
    said = [one for one in reviews if one.decision != "skip"]
    if not said:
        return None, "skipped"
    if len({one.decision for one in said}) > 1:
        return None, "disagreed"
    last = said[-1]
    body = json.loads(row.body)
    if last.decision not in ("accept", "correct"):
        return None, "rejected"
    if last.decision == "accept" and body["replies"][0].get("tool_calls"):
        return None, "calls"  # what the tools are is not kept
    # Earlier replies of the conversation are context: nobody has reviewed them.
    messages = [{**one, "weight": 0} if one["role"] == "assistant" else one for one in body["messages"]]
    reply = body["replies"][0]["content"]
    right = json.loads(last.correction) if last.correction else reply
    at = datetime.datetime.fromtimestamp(last.created_at, datetime.UTC).isoformat(timespec="seconds")
    origin = {
        "exchange": row.id, "reviewer": last.reviewer, "at": at, "decision": last.decision, "version": row.version,
        **({"proposed_by": last.proposed_by} if last.proposed_by else {}),
        **({"reviewers": sorted({one.reviewer for one in said})} if len(said) > 1 else {}),
    }  # fmt: skip
    if kind == "preferences":
        if last.decision != "correct":
            return None, "accepted"
        return {"prompt": messages, "chosen": right, "rejected": reply, "origin": origin}, ""
    return {"messages": [*messages, {"role": "assistant", "content": right}], "origin": origin}, ""
