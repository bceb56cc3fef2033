"""Logins of people: one-time links, sessions, and the role of a key."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("api_keys", sa.Column("role", sa.String, nullable=False, server_default="steer"))
    op.create_table(
        "logins",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("digest", sa.String, nullable=False),
        sa.Column("role", sa.String, nullable=False),
        sa.Column("project", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("key", sa.String, sa.ForeignKey("api_keys.id"), nullable=True),
        sa.Column("created_at", sa.Integer, nullable=False),
        sa.Column("expires_at", sa.Integer, nullable=False),
        sa.Column("ended_at", sa.Integer, nullable=True),
    )
    op.create_index("logins_by_kind", "logins", ["kind", "created_at"])


def downgrade() -> None:
    op.drop_table("logins")
    op.drop_column("api_keys", "role")
