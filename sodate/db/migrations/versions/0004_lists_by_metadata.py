"""Indexes for lists of stored replies and jobs that are chosen by their metadata or model."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_index("stored_replies_by_model", "stored_replies", ["project", "kind", "model", "number"])
    op.create_index("reply_tags_by_pair", "reply_tags", ["key", "value", "reply"])
    op.create_index("job_tags_by_pair", "job_tags", ["key", "value", "job"])
