"""Keys, and the replies that are kept."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("project", sa.String, nullable=False, index=True),
        sa.Column("digest", sa.String, nullable=False),
        sa.Column("per_minute", sa.Integer, nullable=False),
        sa.Column("created_at", sa.Integer, nullable=False),
        sa.Column("revoked_at", sa.Integer),
    )
    op.create_table(
        "stored_replies",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("id", sa.String, nullable=False, unique=True),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("project", sa.String, nullable=False),
        sa.Column("model", sa.String, nullable=False),
        sa.Column("created_at", sa.Integer, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("asked", sa.Text, nullable=False),
    )
    op.create_index("stored_replies_by_project", "stored_replies", ["project", "kind", "number"])
    op.create_table(
        "reply_tags",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("reply", sa.Integer, sa.ForeignKey("stored_replies.number", ondelete="CASCADE"),
                  nullable=False, index=True),
        sa.Column("key", sa.String, nullable=False),
        sa.Column("value", sa.String, nullable=False),
    )  # fmt: skip


def downgrade() -> None:
    for table in ("reply_tags", "stored_replies", "api_keys"):
        op.drop_table(table)
