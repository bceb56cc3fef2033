"""Every table. Changed only together with a migration; a test holds the two side by side."""

from __future__ import annotations

from sqlalchemy import ForeignKey, Index, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship


class Table(DeclarativeBase):
    """What all tables have in common: one schema. Times are UTC, in seconds since 1970."""


class ApiKey(Table):
    """A key as it may be told: `digest` is the SHA-256 of its secret (hex), the secret itself is nowhere."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(primary_key=True)
    project: Mapped[str] = mapped_column(index=True)
    digest: Mapped[str]
    per_minute: Mapped[int]
    created_at: Mapped[int]
    revoked_at: Mapped[int | None]


class StoredReply(Table):
    """A reply its asker wanted kept: `body` is the object that was sent, `asked` its messages, both JSON texts.

    `number` gives the order: a clock can be set back.
    """

    __tablename__ = "stored_replies"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(unique=True)
    kind: Mapped[str]  # chat.completion or response
    project: Mapped[str]
    model: Mapped[str]
    created_at: Mapped[int]
    body: Mapped[str] = mapped_column(Text)
    asked: Mapped[str] = mapped_column(Text)
    tags: Mapped[list[ReplyTag]] = relationship(cascade="all, delete-orphan", order_by="ReplyTag.number")

    __table_args__ = (Index("stored_replies_by_project", "project", "kind", "number"),)


class ReplyTag(Table):
    """One pair of a stored reply's `metadata`."""

    __tablename__ = "reply_tags"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    reply: Mapped[int] = mapped_column(ForeignKey("stored_replies.number", ondelete="CASCADE"), index=True)
    key: Mapped[str]
    value: Mapped[str]
