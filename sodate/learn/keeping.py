"""From an exchange as it was served to rows: scrubbed first, then written, many in one transaction."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from sodate.api import grading
from sodate.core.text import json_text
from sodate.data.similar import comparable
from sodate.db.connection import writing
from sodate.db.exchange_tables import ExchangeRow, FailureRow, TallyRow
from sodate.learn import names
from sodate.learn.exchange import BROKEN, Exchange, plain, texts
from sodate.learn.reasons import Reason, reason, together, when_served
from sodate.learn.recording import Rules
from sodate.learn.scrubbing import Scrub, scrubber

DAY = 86_400
Tally = tuple[str, int, str, str]  # project, day, version, what


@dataclass(frozen=True, slots=True)
class Desk:
    """What a project's exchanges pass through."""

    rules: Rules
    scrub: Scrub
    graders: Sequence[Any]

    @classmethod
    def of(cls, rules: Rules) -> Desk:
        return cls(rules, scrubber(rules.words), grading.by_rule(rules.graders))


@dataclass(slots=True)
class Ready:
    """A row to be, and why it counts as a failure. All text in it is scrubbed."""

    row: dict[str, Any]
    reasons: list[Reason] = field(default_factory=list)


def ready(told: Exchange, desk: Desk) -> Ready:
    """The exchange scrubbed, with all that is known of it by itself. Raises whatever the scrubber does."""
    every = (*told.messages, *told.replies)
    clean = iter(desk.scrub([text for message in every for text in texts(message)]))
    messages, replies = ([plain(message, clean) for message in part] for part in (told.messages, told.replies))
    reasons, grades = when_served(told, told.replies[0].content if told.replies else "", desk.rules, desk.graders)
    named = {"tools": list(told.tools), "passages": [dict(one) for one in told.passages], "grades": grades}
    more = {key: value for key, value in named.items() if value}
    said = [[message["content"], *(call["function"] for call in message.get("tool_calls", ()))] for message in replies]
    return Ready(
        {
            "id": told.id, "project": told.project, "kind": told.kind, "version": told.version,
            "created_at": told.created_at, "day": told.created_at // DAY,
            "user": names.user(told.project, told.user), "session": names.session(told.project, told.session),
            "latency_ms": told.latency_ms, "prompt_tokens": told.prompt_tokens, "reply_tokens": told.reply_tokens,
            "confidence": told.confidence, "finish": told.finish, "asked": _known(messages), "said": _known(said[:1]),
            "lot": names.lot(told.id), "severity": 0.0,
            # Escapes stay: PostgreSQL's text cannot hold a NUL.
            "body": json.dumps({"messages": messages, "replies": replies, **more}),
        },
        reasons,
    )  # fmt: skip


def _known(value: Any) -> str:
    return names.digest(comparable(json_text(value, sort_keys=True)))


def keep(batch: Sequence[Ready], dropped: Mapping[Tally, int]) -> None:
    """Writes exchanges with their failures, and counts them and what was dropped. All of it, or nothing."""
    with writing() as session:
        _asked_again(session, batch)
        for one in batch:
            one.row["severity"] = together([found.severity for found in one.reasons])
            one.row["failed"] = bool(one.reasons)
        tallies = Counter(dict(dropped))
        if batch:
            made = sa.insert(ExchangeRow).returning(ExchangeRow.number, sort_by_parameter_order=True)
            numbers = session.scalars(made, [one.row for one in batch]).all()
            failures = [
                _failure(number, one.row["project"], found)
                for number, one in zip(numbers, batch, strict=True)
                for found in one.reasons
            ]
            if failures:
                session.execute(sa.insert(FailureRow), failures)
            for one in batch:
                tallies.update(_counted(one.row, ["all", *(("failed",) if one.reasons else ()),
                                                  *(found.reason for found in one.reasons)]))  # fmt: skip
        count(session, tallies)


def _asked_again(session: Session, batch: Sequence[Ready]) -> None:
    """Adds the reason where the same version was asked the same before and said something else."""
    before: dict[tuple[str, str, str], set[str]] = {}
    row = ExchangeRow
    for project in {one.row["project"] for one in batch}:
        asked = [one.row["asked"] for one in batch if one.row["project"] == project]
        wanted = sa.select(row.asked, row.version, row.said).where(row.project == project, row.asked.in_(asked))
        for question, version, said in session.execute(wanted.limit(10_000)):
            before.setdefault((project, version, question), set()).add(said)
    for one in batch:
        told = before.setdefault((one.row["project"], one.row["version"], one.row["asked"]), set())
        if told and one.row["said"] not in told and one.row["finish"] != BROKEN:
            one.reasons.append(reason("answered_differently"))
        told.add(one.row["said"])


def _failure(exchange: int, project: str, found: Reason) -> dict[str, Any]:
    return {"exchange": exchange, "project": project, "reason": found.reason, "severity": found.severity,
            "detail": found.detail}  # fmt: skip


def _counted(row: Mapping[str, Any], what: Iterable[str]) -> list[Tally]:
    return [(row["project"], row["day"], row["version"], one) for one in what]


def count(session: Session, tallies: Mapping[Tally, int]) -> None:
    """Adds to the tallies."""
    if not tallies:
        return
    rows = [{"project": project, "day": day, "version": version, "what": what, "count": number}
            for (project, day, version, what), number in sorted(tallies.items())]  # fmt: skip
    made = inserting(session, TallyRow).values(rows)
    session.execute(
        made.on_conflict_do_update(
            index_elements=[TallyRow.project, TallyRow.day, TallyRow.version, TallyRow.what],
            set_={"count": TallyRow.count + made.excluded["count"]},
        )
    )


def inserting(session: Session, table: type) -> Any:
    """An insert that may say what happens where the row is there already: both databases spell it alike."""
    dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    return dialect.insert(table)


def refresh(session: Session, row: ExchangeRow, reasons: Mapping[str, Reason | None]) -> None:
    """Sets or takes away (None) reasons of an exchange, with its severity and the tallies."""
    kept = {one.reason: one for one in session.scalars(sa.select(FailureRow).where(FailureRow.exchange == row.number))}
    failed, tallies = bool(kept), Counter[Tally]()
    where = (row.project, row.day, row.version)
    for name, found in reasons.items():
        old = kept.pop(name, None)
        if old is not None and found is not None:
            old.severity, old.detail = found.severity, found.detail
            kept[name] = old
        elif old is not None:
            session.delete(old)
            tallies[(*where, name)] -= 1
        elif found is not None:
            kept[name] = FailureRow(**_failure(row.number, row.project, found))
            session.add(kept[name])
            tallies[(*where, name)] += 1
    row.severity = together([one.severity for one in kept.values()])
    row.failed = bool(kept)
    tallies[(*where, "failed")] += row.failed - failed
    count(session, {key: number for key, number in tallies.items() if number})
