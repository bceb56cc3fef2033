"""Failures by what they are about: clusters named by their own words, counted over time, with what would mend each.

Two passes over the exchanges, a page at a time, so that memory does not grow with them. The groups are found among a
fair share of the failures; then every exchange is put beside the nearest, so that a cluster says how many of its kind
failed, and of how many.
"""

from __future__ import annotations

import json
import time
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy.orm import Session

from sodate.core.errors import UsageError
from sodate.core.ids import new_id
from sodate.core.intervals import wilson
from sodate.core.progress import report
from sodate.core.text import tr
from sodate.db.connection import reading, writing
from sodate.db.exchange_tables import ClusteringRow, ClusterMemberRow, ClusterRow, ExchangeRow, FailureRow
from sodate.learn import drift, grams, grouping, logs, mending, naming

SAMPLE = 6000  # failures, and as many exchanges, by which the groups are found
PAGE = 2000
SMALL = 20_000  # exchanges that are clustered again whenever there are new ones
NEW = 0.1  # … and of more, when so large a share is new
SHOWN = 3  # examples of a cluster


@dataclass(slots=True)
class _Group:
    """What is counted of a cluster."""

    exchanges: int = 0
    failures: int = 0
    weeks: dict[int, list[int]] = field(default_factory=dict)  # Monday → [exchanges, failures]
    reasons: Counter[str] = field(default_factory=Counter)
    versions: Counter[str] = field(default_factory=Counter)
    worst: list[tuple[float, str, str]] = field(default_factory=list)  # severity, id, question


@dataclass(frozen=True, slots=True)
class _Page:
    """Some exchanges, in columns."""

    numbers: list[int]
    ids: list[str]
    days: list[int]
    severities: list[float]
    versions: list[str]
    questions: list[str]


def clusters(project: str = "default", *, again: bool = False) -> dict[str, Any]:
    """The clusters of a project's failures, those with most failures first. They are made anew where the exchanges have
    changed, or `again` says so; of very many only when a tenth has."""
    if again or not fresh(project):
        _make(project)
    found = as_made(project)
    assert found is not None
    return found


def fresh(project: str) -> bool:
    """Whether the clusters are there, and of the exchanges that there are now."""
    with reading() as session:
        row = session.get(ClusteringRow, project)
        return row is not None and not _stale(row, sum(logs.tallies(session, project).values()))


def as_made(project: str) -> dict[str, Any] | None:
    """The clusters as they were made last, None before that."""
    with reading() as session:
        made = session.get(ClusteringRow, project)
        if made is None:
            return None
        rows = session.scalars(
            sa.select(ClusterRow).where(ClusterRow.project == project).order_by(ClusterRow.place)
        ).all()
        return {
            "project": project, "made_at": made.created_at, "seconds": made.seconds, "exchanges": made.exchanges,
            "failures": made.failures, "scattered": made.failures - sum(one.failures for one in rows),
            "clusters": [_shown(one) for one in rows],
        }  # fmt: skip


def members(cluster: str, project: str) -> sa.Select[int]:
    """The numbers of the failed exchanges of a cluster. UsageError where the project has none of that id."""
    with reading() as session:
        row = session.scalar(sa.select(ClusterRow).where(ClusterRow.id == cluster, ClusterRow.project == project))
    if row is None:
        raise UsageError(
            tr(f"There is no cluster {cluster!r}.", f"クラスタ {cluster!r} はありません。"),
            "sodate learn clusters", code="not_found", param="cluster",
        )  # fmt: skip
    return sa.select(ClusterMemberRow.exchange).where(ClusterMemberRow.cluster == row.number)


def _stale(row: ClusteringRow, changes: int) -> bool:
    return changes != row.changes if changes <= 2 * SMALL else abs(changes - row.changes) > NEW * row.changes


def _shown(row: ClusterRow) -> dict[str, Any]:
    rate = row.failures / row.exchanges
    return {
        "id": row.id, "name": row.name, "exchanges": row.exchanges, "failures": row.failures, "rate": rate,
        "ci": list(wilson(row.failures, row.exchanges)), **json.loads(row.about),
    }  # fmt: skip


def _make(project: str) -> None:
    start = time.monotonic()
    drift.look(project)
    with reading() as session:
        changes = sum(logs.tallies(session, project).values())
    failed = _sample(project, failed=True)
    idf, common = _background(failed, _sample(project, failed=False))
    centres = grouping.means(grams.weighed(grams.counted(failed), idf))
    groups = [_Group() for _ in range(centres.shape[1])]
    members = [array("q") for _ in groups]
    total = failures = 0
    for page in _pages(project):
        near, _ = grouping.nearest(grams.weighed(grams.counted(page.questions), idf), centres)
        reasons = _reasons([number for number, bad in zip(page.numbers, page.severities, strict=True) if bad])
        for place, group in enumerate(near.tolist()):
            bad = page.severities[place] > 0
            failures += bad
            if group < 0:
                continue
            _count(groups[group], page, place, reasons.get(page.numbers[place], ()))
            if bad:
                members[group].append(page.numbers[place])
        total += len(page.numbers)
        report("exchanges", total)
    words = _words(failed, centres, idf)
    _write(project, ClusteringRow(
        project=project, created_at=int(time.time()), changes=changes, exchanges=total, failures=failures,
        seconds=round(time.monotonic() - start, 3)), groups, members, words, common)  # fmt: skip


def _sample(project: str, failed: bool) -> list[str]:
    """Questions of a fair share, by their lots: as many as the groups are found by."""
    row = ExchangeRow
    wanted = sa.select(row.body).where(row.project == project)
    if failed:
        wanted = wanted.where(row.severity > 0)
    with reading() as session:
        bodies = session.scalars(wanted.order_by(row.lot).limit(SAMPLE).execution_options(yield_per=logs.AT_ONCE))
        return [logs.question_of(body) for body in bodies]


def _background(failed: Sequence[str], share: Sequence[str]) -> tuple[Any, tuple[naming.Counts, int]]:
    """(idf of the grams, how common words are) in failures and everything else."""
    texts = [*failed, *share]
    frequency = np.zeros(grams.COLUMNS, np.int64)
    for start in range(0, len(texts), PAGE):
        frequency += grams.frequencies(grams.counted(texts[start : start + PAGE]))
    return grams.inverse(frequency, len(texts)), (naming.counted(texts), len(texts))


def _pages(project: str) -> Iterator[_Page]:
    row, last = ExchangeRow, 0
    while True:
        wanted = sa.select(row.number, row.id, row.day, row.severity, row.version, row.body)
        with reading() as session:
            page = wanted.where(row.project == project, row.number > last).order_by(row.number).limit(PAGE)
            rows: list[tuple[Any, ...]] = [
                (*about, logs.question_of(body))
                for *about, body in session.execute(page.execution_options(yield_per=logs.AT_ONCE))
            ]
        if not rows:
            return
        last = rows[-1][0]
        yield _Page(*map(list, zip(*rows, strict=True)))


def _reasons(numbers: Sequence[int]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    if numbers:
        with reading() as session:
            wanted = sa.select(FailureRow.exchange, FailureRow.reason).where(FailureRow.exchange.in_(numbers))
            for exchange, reason in session.execute(wanted):
                found.setdefault(exchange, []).append(reason)
    return found


def _count(group: _Group, page: _Page, place: int, reasons: Sequence[str]) -> None:
    bad = page.severities[place] > 0
    day = page.days[place]
    week = group.weeks.setdefault(day - (day + 3) % 7, [0, 0])
    week[0] += 1
    week[1] += bad
    group.exchanges += 1
    group.failures += bad
    if bad:
        group.reasons.update(reasons)
        group.versions[page.versions[place]] += 1
        entry = (page.severities[place], page.ids[place], page.questions[place][:200])
        if len(group.worst) < SHOWN or entry > group.worst[-1]:
            group.worst = sorted([*group.worst, entry], reverse=True)[:SHOWN]


def _words(failed: Sequence[str], centres: Any, idf: Any) -> list[tuple[naming.Counts, int]]:
    """The words of the sample's texts in each group, and how many texts there are."""
    near, _ = grouping.nearest(grams.weighed(grams.counted(failed), idf), centres)
    texts: list[list[str]] = [[] for _ in range(centres.shape[1])]
    for text, group in zip(failed, near.tolist(), strict=True):
        if group >= 0:
            texts[group].append(text)
    return [(naming.counted(own), len(own)) for own in texts]


def _write(
    project: str, made: ClusteringRow, groups: Sequence[_Group], members: Sequence[Sequence[int]],
    words: Sequence[tuple[naming.Counts, int]], common: tuple[naming.Counts, int],
) -> None:  # fmt: skip
    order = sorted((n for n, group in enumerate(groups) if group.failures), key=lambda n: (-groups[n].failures, n))
    with writing() as session:
        session.execute(sa.delete(ClusterRow).where(ClusterRow.project == project))
        session.merge(made)
        for place, number in enumerate(order):
            group = groups[number]
            own = naming.named(*words[number], *common) if words[number][1] else []
            about = {"words": own, **_about(group)}
            # The name is JSON's text, whose escapes both databases can hold.
            row = ClusterRow(id=new_id("cluster_", 12), project=project, place=place,
                             name=" · ".join(own) or group.worst[0][2][:40], exchanges=group.exchanges,
                             failures=group.failures, about=json.dumps(about))  # fmt: skip
            session.add(row)
            session.flush()
            _add(session, row.number, members[number])


def _add(session: Session, cluster: int, numbers: Sequence[int]) -> None:
    """Notes the members, except exchanges that went meanwhile."""
    for start in range(0, len(numbers), PAGE):
        there = session.scalars(
            sa.select(ExchangeRow.number).where(ExchangeRow.number.in_(numbers[start : start + PAGE]))
        )
        rows = [{"cluster": cluster, "exchange": number} for number in there]
        if rows:
            session.execute(sa.insert(ClusterMemberRow), rows)


def _about(group: _Group) -> Mapping[str, Any]:
    mend = mending.of(group.reasons, group.failures, group.exchanges)
    return {
        "by_week": [{"week": week, "exchanges": told[0], "failures": told[1]}
                    for week, told in sorted(group.weeks.items())],
        "reasons": dict(group.reasons.most_common()), "versions": dict(group.versions.most_common(5)),
        "mend": mend, "examples": [{"id": id, "question": question} for _, id, question in group.worst],
    }  # fmt: skip
