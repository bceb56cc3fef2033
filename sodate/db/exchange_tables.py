"""What was served, what people said of it, and what was made of that. Changed only together with a migration.

All text that a person wrote is scrubbed before it comes here; users and sessions are keyed hashes. `number` gives the
order: a clock can be set back.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Float, ForeignKey, Index, Text, false
from sqlalchemy.orm import Mapped, mapped_column

from sodate.db.tables import Table


class ExchangeRow(Table):
    """One served request and reply. `body` is a JSON text: messages, replies, passages, grades.

    `day` counts from 1970. `asked` and `said` are hashes of question and reply, by which one is known that was asked
    again. `lot` in [0, 1) is drawn by the id: those below p are a fair share p. `severity` is 0 where nothing
    `failed`.
    """

    __tablename__ = "exchanges"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(unique=True)
    project: Mapped[str]
    kind: Mapped[str]
    version: Mapped[str]
    created_at: Mapped[int]
    day: Mapped[int]
    user: Mapped[str | None]
    session: Mapped[str | None]
    latency_ms: Mapped[int | None]
    prompt_tokens: Mapped[int | None]
    reply_tokens: Mapped[int | None]
    confidence: Mapped[float | None] = mapped_column(Float)
    finish: Mapped[str]
    asked: Mapped[str]
    said: Mapped[str]
    lot: Mapped[float] = mapped_column(Float)
    severity: Mapped[float] = mapped_column(Float)
    failed: Mapped[bool] = mapped_column(server_default=false())
    body: Mapped[str] = mapped_column(Text)

    __table_args__ = (
        Index("exchanges_by_project", "project", "number"),
        Index("exchanges_by_user", "user", "number"),
        Index("exchanges_by_asked", "project", "asked"),
        Index("exchanges_by_day", "project", "day"),
        Index("exchanges_by_lot", "project", "lot", "day"),
        Index("exchanges_by_severity", "project", "severity", "number"),
        Index("exchanges_by_version", "project", "version", "number"),
        Index("exchanges_by_failed", "project", "failed", "number"),
    )


class FailureRow(Table):
    """A reason why an exchange counts as a failure, with how bad it is in (0, 1] and what was found."""

    __tablename__ = "exchange_failures"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    exchange: Mapped[int] = mapped_column(ForeignKey("exchanges.number", ondelete="CASCADE"))
    project: Mapped[str]
    reason: Mapped[str]
    severity: Mapped[float] = mapped_column(Float)
    detail: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (
        Index("exchange_failures_by_exchange", "exchange", "reason", unique=True),
        Index("exchange_failures_by_reason", "project", "reason", "severity", "exchange"),
    )


class FeedbackRow(Table):
    """What one person said of one reply; saying it again changes this row. `ranking` is a JSON text."""

    __tablename__ = "exchange_feedback"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    exchange: Mapped[int] = mapped_column(ForeignKey("exchanges.number", ondelete="CASCADE"))
    project: Mapped[str]
    giver: Mapped[str]
    thumb: Mapped[str | None]  # up or down
    correction: Mapped[str | None] = mapped_column(Text)
    label: Mapped[str | None]
    comment: Mapped[str | None] = mapped_column(Text)
    ranking: Mapped[str | None]
    weight: Mapped[float] = mapped_column(Float)
    created_at: Mapped[int]

    __table_args__ = (
        Index("exchange_feedback_by_exchange", "exchange", "giver", unique=True),
        Index("exchange_feedback_by_giver", "giver"),
    )


class GiverRow(Table):
    """How much one person has said, so that whoever says most does not decide alone."""

    __tablename__ = "exchange_givers"

    project: Mapped[str] = mapped_column(primary_key=True)
    giver: Mapped[str] = mapped_column(primary_key=True)
    up: Mapped[int]
    down: Mapped[int]
    corrections: Mapped[int]
    said: Mapped[int]

    __table_args__ = (Index("exchange_givers_by_said", "project", "said"),)


class ReviewRow(Table):
    """What one reviewer decided of one exchange. `drawn`: why it was shown; `proposed_by`: whose text a correction was.

    `sampled`: the exchange belongs to the fair share by which the failure rate is known.
    """

    __tablename__ = "exchange_reviews"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(unique=True)
    exchange: Mapped[int] = mapped_column(ForeignKey("exchanges.number", ondelete="CASCADE"))
    project: Mapped[str]
    reviewer: Mapped[str]
    decision: Mapped[str]
    correction: Mapped[str | None] = mapped_column(Text)
    note: Mapped[str | None] = mapped_column(Text)
    proposed_by: Mapped[str | None]
    drawn: Mapped[str]
    sampled: Mapped[bool]
    created_at: Mapped[int]

    __table_args__ = (
        Index("exchange_reviews_by_exchange", "exchange", "reviewer", unique=True),
        Index("exchange_reviews_by_project", "project", "number"),
    )


class TallyRow(Table):
    """How often something happened on a day: `all`, `failed`, a reason, or why an exchange was dropped. Stays when
    exchanges go: it holds nobody's words."""

    __tablename__ = "exchange_tallies"

    project: Mapped[str] = mapped_column(primary_key=True)
    day: Mapped[int] = mapped_column(primary_key=True)
    version: Mapped[str] = mapped_column(primary_key=True)
    what: Mapped[str] = mapped_column(primary_key=True)
    count: Mapped[int] = mapped_column(BigInteger)


class ClusteringRow(Table):
    """The last time a project's exchanges were clustered: how many there were, and the last of them."""

    __tablename__ = "exchange_clusterings"

    project: Mapped[str] = mapped_column(primary_key=True)
    created_at: Mapped[int]
    changes: Mapped[int] = mapped_column(BigInteger)
    exchanges: Mapped[int] = mapped_column(BigInteger)
    failures: Mapped[int] = mapped_column(BigInteger)
    seconds: Mapped[float] = mapped_column(Float)


class ClusterRow(Table):
    """Exchanges that are about the same thing. `about` is a JSON text: words, counts by week, reasons, what mends."""

    __tablename__ = "exchange_clusters"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(unique=True)
    project: Mapped[str]
    place: Mapped[int]
    name: Mapped[str]
    exchanges: Mapped[int] = mapped_column(BigInteger)
    failures: Mapped[int] = mapped_column(BigInteger)
    about: Mapped[str] = mapped_column(Text)

    __table_args__ = (Index("exchange_clusters_by_project", "project", "place", unique=True),)


class ClusterMemberRow(Table):
    """A failed exchange of a cluster."""

    __tablename__ = "exchange_cluster_members"

    cluster: Mapped[int] = mapped_column(ForeignKey("exchange_clusters.number", ondelete="CASCADE"), primary_key=True)
    exchange: Mapped[int] = mapped_column(ForeignKey("exchanges.number", ondelete="CASCADE"), primary_key=True)

    __table_args__ = (Index("exchange_cluster_members_by_exchange", "exchange"),)


class ExchangeUseRow(Table):
    """An exchange was made into a row of data, in the file or dataset that `into` names. Stays when the exchange goes:
    by it one knows where a person's words went."""

    __tablename__ = "exchange_uses"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    exchange: Mapped[str]
    project: Mapped[str]
    user: Mapped[str | None]
    into: Mapped[str]
    created_at: Mapped[int]

    __table_args__ = (
        Index("exchange_uses_by_exchange", "exchange", "into", unique=True),
        Index("exchange_uses_by_user", "user"),
    )


class RecordingRow(Table):
    """What a project keeps of what is served: off, sampled or on, and by which rules (a JSON text).

    `swept_at` and `steady_since` are when old exchanges were last looked for, and since when the clock has not jumped;
    `looked` is the last exchange that was compared with training.
    """

    __tablename__ = "exchange_recording"

    project: Mapped[str] = mapped_column(primary_key=True)
    mode: Mapped[str]
    share: Mapped[float] = mapped_column(Float)
    keep_days: Mapped[int | None]
    rules: Mapped[str] = mapped_column(Text)
    swept_at: Mapped[int | None]
    steady_since: Mapped[int | None]
    looked: Mapped[int]
