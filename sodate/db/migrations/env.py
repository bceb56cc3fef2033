"""What Alembic runs: the steps, on the connection and in the transaction that sodate/db/connection.py opened."""

from __future__ import annotations

from alembic import context

from sodate.db import exchange_tables, vector_tables  # noqa: F401 (their tables join the others)
from sodate.db.tables import Table

context.configure(connection=context.config.attributes["connection"], target_metadata=Table.metadata)
context.run_migrations()
