"""Exchanges of a version, and those that failed, are found without a look at all the others."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.add_column("exchanges", sa.Column("failed", sa.Boolean, nullable=False, server_default=sa.false()))
    table = sa.table("exchanges", sa.column("failed", sa.Boolean), sa.column("severity", sa.Float))
    op.execute(table.update().where(table.c.severity > 0).values(failed=sa.true()))
    op.create_index("exchanges_by_version", "exchanges", ["project", "version", "number"])
    op.create_index("exchanges_by_failed", "exchanges", ["project", "failed", "number"])
