"""Failures with their reasons, the worst first, and how many there are."""

from __future__ import annotations

import base64
import json
from typing import Any

import sqlalchemy as sa

from sodate.core.errors import UsageError
from sodate.core.intervals import wilson
from sodate.core.text import tr
from sodate.db.connection import reading
from sodate.db.exchange_tables import ExchangeRow, FailureRow, TallyRow
from sodate.learn import feedback, logs, review
from sodate.learn.logs import DROPPED
from sodate.learn.reasons import REASONS

_LAST = 2**63 - 1  # a database knows no number beyond


def failures(
    project: str = "default",
    *,
    reason: str | None = None,
    after: str | None = None,
    limit: int = 20,
    since: int | None = None,
) -> dict[str, Any]:
    """The failures of a project, those of a `reason` where one is named, after the page that ended at `after`.

    `shown` is the share of exchanges that failed by what shows by itself or by feedback, with its 95 % interval.
    `reviewed` is the rate by the fair share that people looked at. `since` is a day from 1970 for the counts.
    """
    if reason is not None and reason not in REASONS:
        raise UsageError(
            tr(f"There is no reason {reason!r}.", f"{reason!r} という理由はありません。"),
            ", ".join(REASONS), code="bad_value", param="reason",
        )  # fmt: skip
    with reading() as session:
        counts = _counts(session, project, since)
        found = _page(session, project, reason, _read(after), limit + 1)
        page = found[:limit]
        reasons = logs.reasons_of(session, [row.number for row, _ in page])
        rows = [{**logs.short(row), "reasons": reasons.get(row.number, [])} for row, _ in page]
        people = feedback.givers(session, project)
    served, failed = counts.get("all", 0), counts.get("failed", 0)
    return {
        "project": project, "exchanges": served, "failed": failed,
        "shown": {"rate": failed / served, "ci": list(wilson(failed, served))} if served else None,
        "reviewed": review.progress(project, since)["failure_rate"],
        "reasons": [{"reason": name, "count": counts.get(name, 0), "severity": severity, "says": str(says)}
                    for name, (severity, says) in REASONS.items() if counts.get(name)],
        "failures": rows, "next": _written(*page[-1]) if len(found) > limit else None,
        "dropped": {why: counts[why] for why in DROPPED if why in counts}, "feedback": people,
    }  # fmt: skip


def by_week(project: str = "default") -> list[dict[str, Any]]:
    """How many exchanges there were in each week, and how many failed; `week` is its Monday, in days from 1970."""
    row = TallyRow
    week = row.day - (row.day + 3) % 7  # a Monday: 1970 began on a Thursday
    wanted = sa.select(week, row.what, sa.func.sum(row.count)).where(
        row.project == project, row.what.in_(("all", "failed"))).group_by(week, row.what)  # fmt: skip
    with reading() as session:
        found: dict[int, dict[str, int]] = {}
        for first, what, number in session.execute(wanted):
            found.setdefault(int(first), {})[what] = int(number)
    return [{"week": first, "exchanges": told.get("all", 0), "failures": told.get("failed", 0)}
            for first, told in sorted(found.items())]  # fmt: skip


def _counts(session: Any, project: str, since: int | None) -> dict[str, int]:
    row = TallyRow
    wanted = sa.select(row.what, sa.func.sum(row.count)).where(row.project == project)
    if since is not None:
        wanted = wanted.where(row.day >= since)
    return {what: int(number) for what, number in session.execute(wanted.group_by(row.what)) if number}


def _page(
    session: Any, project: str, reason: str | None, after: tuple[float, int] | None, limit: int
) -> list[tuple[ExchangeRow, float]]:
    """(exchange, its severity) in order; of one reason, the severity is that reason's."""
    row, why = ExchangeRow, FailureRow
    if reason is None:
        order, key = row.severity, row.number
        wanted = sa.select(row, row.severity).where(row.project == project, row.severity > 0)
    else:
        order, key = why.severity, why.exchange
        wanted = sa.select(row, why.severity).join(why, why.exchange == row.number)
        wanted = wanted.where(why.project == project, why.reason == reason)
    if after is not None:  # spelled out: not every planner uses an index for a comparison of pairs
        wanted = wanted.where(order <= after[0], sa.or_(order < after[0], key < after[1]))
    found = session.execute(wanted.order_by(order.desc(), key.desc()).limit(limit))
    return [(one, severity) for one, severity in found]


def _written(row: ExchangeRow, severity: float) -> str:
    """Where a page ends, as a word that goes back."""
    return base64.urlsafe_b64encode(json.dumps([severity, row.number]).encode()).decode().rstrip("=")


def _read(after: str | None) -> tuple[float, int] | None:
    if after is None:
        return None
    try:
        severity, number = json.loads(base64.urlsafe_b64decode(after + "=" * (-len(after) % 4)))
        number = int(number)
        if not 0 <= number <= _LAST:
            raise ValueError
        return float(severity), number
    except (ValueError, TypeError, OverflowError, RecursionError):
        raise UsageError(
            tr("That is not where a page ended.", "ページの続きを示す値ではありません。"),
            code="bad_value",
            param="after",
        ) from None
