"""From the tables of every earlier sodate to today's, with what was in them."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from sodate.db import connection
from sodate.db.tables import Table
from tests.db.test_connection import database, postgres  # noqa: F401 (fixtures)

CONFIG = Config()
CONFIG.set_main_option("script_location", "sodate.db:migrations")
REVISIONS = [script.revision for script in ScriptDirectory.from_config(CONFIG).walk_revisions()]


def as_of(revision: str) -> None:
    """The database as that sodate left it, with a key in it."""
    connection.home.make_folder(connection.home.home())
    engine = sa.create_engine(connection._url())
    with engine.begin() as opened:
        CONFIG.attributes["connection"] = opened
        command.upgrade(CONFIG, revision)
        opened.execute(
            sa.text("INSERT INTO api_keys (id, project, digest, per_minute, created_at) VALUES ('k', 'p', 'd', 5, 7)")
        )
    engine.dispose()


@pytest.mark.parametrize("revision", REVISIONS)
def test_an_old_database_becomes_todays_and_keeps_what_it_holds(database: str, revision: str) -> None:  # noqa: F811
    as_of(revision)
    with connection.reading() as session:
        assert compare_metadata(MigrationContext.configure(session.connection()), Table.metadata) == []
        keys = session.execute(sa.text("SELECT id, project, digest, per_minute FROM api_keys")).all()
    assert [tuple(row) for row in keys] == [("k", "p", "d", 5)]
