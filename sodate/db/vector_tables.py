"""Tables of vector stores: collections of a project's files that are searched. Their passages lie in segments in
SODATE_HOME/vector_stores, with whichever database."""

from __future__ import annotations

from sqlalchemy import BigInteger, ForeignKey, Index, Text
from sqlalchemy.orm import Mapped, mapped_column

from sodate.db.tables import Table


class VectorStore(Table):
    """A vector store. `tags` is its metadata, `segments` the names of its folders of passages, in order: JSON texts.

    It expires so many days after it was last asked; rows of deleted ones stay, as those of files do.
    """

    __tablename__ = "vector_stores"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(unique=True)
    project: Mapped[str]
    name: Mapped[str]
    description: Mapped[str | None]
    tags: Mapped[str] = mapped_column(Text)
    expires_days: Mapped[int | None]
    segments: Mapped[str] = mapped_column(Text)
    created_at: Mapped[int]
    last_active_at: Mapped[int]
    deleted_at: Mapped[int | None]

    __table_args__ = (Index("vector_stores_by_project", "project", "number"),)


class VectorBatch(Table):
    """Files that were attached together."""

    __tablename__ = "vector_batches"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(unique=True)
    store: Mapped[str] = mapped_column(ForeignKey("vector_stores.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[int]
    cancelled_at: Mapped[int | None]


class VectorFile(Table):
    """A file in a vector store. Its `number` is the one that its passages have in the segments.

    `status`: in_progress, completed, failed, cancelled. `error` is why it failed, `attributes` what searches filter by:
    JSON texts. `usage_bytes` are those of its passages.
    """

    __tablename__ = "vector_files"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    store: Mapped[str] = mapped_column(ForeignKey("vector_stores.id", ondelete="CASCADE"))
    file: Mapped[str] = mapped_column(index=True)
    filename: Mapped[str]
    batch: Mapped[str | None] = mapped_column(index=True)
    status: Mapped[str]
    error: Mapped[str | None] = mapped_column(Text)
    attributes: Mapped[str] = mapped_column(Text)
    chunk_tokens: Mapped[int]
    overlap_tokens: Mapped[int]
    usage_bytes: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[int]
    deleted_at: Mapped[int | None]

    __table_args__ = (
        Index("vector_files_by_store", "store", "number"),
        Index("vector_files_by_status", "store", "status"),
    )
