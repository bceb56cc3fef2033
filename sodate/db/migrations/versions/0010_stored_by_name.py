"""Stored replies know the name that was asked for, which may be an alias, beside the version that answered, and are
found by both. Those from before are found by their version."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.add_column("stored_replies", sa.Column("name", sa.String, nullable=True))
    op.create_index("stored_replies_by_name", "stored_replies", ["project", "kind", "name", "number"])
