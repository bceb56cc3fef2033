"""Vector stores: collections of files that are searched."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def _text(name: str, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.String, nullable=nullable)


def _long(name: str, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=nullable)


def _whole(name: str, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.Integer, nullable=nullable)


def _number() -> sa.Column[int]:
    return sa.Column("number", sa.Integer, primary_key=True, autoincrement=True)


def _id() -> sa.Column[str]:
    return sa.Column("id", sa.String, nullable=False, unique=True)


def _store() -> sa.Column[str]:
    return sa.Column("store", sa.String, sa.ForeignKey("vector_stores.id", ondelete="CASCADE"), nullable=False)


def upgrade() -> None:
    op.create_table(
        "vector_stores", _number(), _id(), _text("project"), _text("name"), _text("description", nullable=True),
        _long("tags"), _whole("expires_days", nullable=True), _long("segments"), _whole("created_at"),
        _whole("last_active_at"), _whole("deleted_at", nullable=True),
    )  # fmt: skip
    op.create_index("vector_stores_by_project", "vector_stores", ["project", "number"])
    op.create_table(
        "vector_batches", _number(), _id(), _store(), _whole("created_at"), _whole("cancelled_at", nullable=True)
    )
    op.create_index("ix_vector_batches_store", "vector_batches", ["store"])
    op.create_table(
        "vector_files", _number(), _store(), _text("file"), _text("filename"), _text("batch", nullable=True),
        _text("status"), _long("error", nullable=True), _long("attributes"), _whole("chunk_tokens"),
        _whole("overlap_tokens"), sa.Column("usage_bytes", sa.BigInteger, nullable=False), _whole("created_at"),
        _whole("deleted_at", nullable=True),
    )  # fmt: skip
    op.create_index("ix_vector_files_file", "vector_files", ["file"])
    op.create_index("ix_vector_files_batch", "vector_files", ["batch"])
    op.create_index("vector_files_by_store", "vector_files", ["store", "number"])
    op.create_index("vector_files_by_status", "vector_files", ["store", "status"])
