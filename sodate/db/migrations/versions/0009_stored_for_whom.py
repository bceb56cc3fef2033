"""Stored replies know for whom they were, by a keyed hash, so that they are forgotten with that person; and are found
by age. Those from before belong to nobody."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.add_column("stored_replies", sa.Column("user", sa.String, nullable=True))
    op.create_index("stored_replies_by_user", "stored_replies", ["user", "number"])
    op.create_index("stored_replies_by_age", "stored_replies", ["project", "created_at"])
