"""Exchanges, what people said of them, reviews, clusters, and what each project keeps."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def _number() -> sa.Column[int]:
    return sa.Column("number", sa.Integer, primary_key=True, autoincrement=True)


def _text(name: str, **options: bool) -> sa.Column[str]:
    return sa.Column(name, sa.String, **{"nullable": False, **options})  # type: ignore[arg-type]


def _long(name: str, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=nullable)


def _whole(name: str, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.Integer, nullable=nullable)


def _count(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=False)


def _real(name: str, nullable: bool = False) -> sa.Column[float]:
    return sa.Column(name, sa.Float, nullable=nullable)


def _of(name: str, table: str, primary_key: bool = False) -> sa.Column[int]:
    key = sa.ForeignKey(f"{table}.number", ondelete="CASCADE")
    return sa.Column(name, sa.Integer, key, nullable=False, primary_key=primary_key)


def _indexes(table: str, *indexes: tuple[str, list[str], bool]) -> None:
    for name, columns, unique in indexes:
        op.create_index(f"{table}_by_{name}", table, columns, unique=unique)


def upgrade() -> None:
    op.create_table(
        "exchanges", _number(), _text("id", unique=True), _text("project"), _text("kind"), _text("version"),
        _whole("created_at"), _whole("day"), _text("user", nullable=True), _text("session", nullable=True),
        _whole("latency_ms", True), _whole("prompt_tokens", True), _whole("reply_tokens", True),
        _real("confidence", True), _text("finish"), _text("asked"), _text("said"), _real("lot"), _real("severity"),
        _long("body"),
    )  # fmt: skip
    _indexes("exchanges", ("project", ["project", "number"], False), ("user", ["user", "number"], False),
             ("asked", ["project", "asked"], False), ("day", ["project", "day"], False),
             ("lot", ["project", "lot", "day"], False),
             ("severity", ["project", "severity", "number"], False))  # fmt: skip
    op.create_table(
        "exchange_failures", _number(), _of("exchange", "exchanges"), _text("project"), _text("reason"),
        _real("severity"), _long("detail", True),
    )  # fmt: skip
    _indexes("exchange_failures", ("exchange", ["exchange", "reason"], True),
             ("reason", ["project", "reason", "severity", "exchange"], False))  # fmt: skip
    op.create_table(
        "exchange_feedback", _number(), _of("exchange", "exchanges"), _text("project"), _text("giver"),
        _text("thumb", nullable=True), _long("correction", True), _text("label", nullable=True),
        _long("comment", True), _text("ranking", nullable=True), _real("weight"), _whole("created_at"),
    )  # fmt: skip
    _indexes("exchange_feedback", ("exchange", ["exchange", "giver"], True), ("giver", ["giver"], False))
    op.create_table(
        "exchange_givers", _text("project", primary_key=True), _text("giver", primary_key=True), _whole("up"),
        _whole("down"), _whole("corrections"), _whole("said"),
    )  # fmt: skip
    _indexes("exchange_givers", ("said", ["project", "said"], False))
    op.create_table(
        "exchange_reviews", _number(), _text("id", unique=True), _of("exchange", "exchanges"), _text("project"),
        _text("reviewer"), _text("decision"), _long("correction", True), _long("note", True),
        _text("proposed_by", nullable=True), _text("drawn"),
        sa.Column("sampled", sa.Boolean, nullable=False), _whole("created_at"),
    )  # fmt: skip
    _indexes(
        "exchange_reviews", ("exchange", ["exchange", "reviewer"], True), ("project", ["project", "number"], False)
    )
    op.create_table(
        "exchange_tallies", _text("project", primary_key=True),
        sa.Column("day", sa.Integer, primary_key=True, autoincrement=False), _text("version", primary_key=True),
        _text("what", primary_key=True), _count("count"),
    )  # fmt: skip
    op.create_table(
        "exchange_clusterings", _text("project", primary_key=True), _whole("created_at"), _count("changes"),
        _count("exchanges"), _count("failures"), _real("seconds"),
    )  # fmt: skip
    op.create_table(
        "exchange_clusters", _number(), _text("id", unique=True), _text("project"), _whole("place"), _text("name"),
        _count("exchanges"), _count("failures"), _long("about"),
    )  # fmt: skip
    _indexes("exchange_clusters", ("project", ["project", "place"], True))
    op.create_table(
        "exchange_cluster_members", _of("cluster", "exchange_clusters", True), _of("exchange", "exchanges", True)
    )
    _indexes("exchange_cluster_members", ("exchange", ["exchange"], False))
    op.create_table(
        "exchange_uses", _number(), _text("exchange"), _text("project"), _text("user", nullable=True), _text("into"),
        _whole("created_at"),
    )  # fmt: skip
    _indexes("exchange_uses", ("exchange", ["exchange", "into"], True), ("user", ["user"], False))
    op.create_table(
        "exchange_recording", _text("project", primary_key=True), _text("mode"), _real("share"),
        _whole("keep_days", True), _long("rules"), _whole("swept_at", True), _whole("steady_since", True),
        _whole("looked"),
    )  # fmt: skip
