"""Opening the database: SQLite in SODATE_HOME, or the server that SODATE_DATABASE_URL names.

A transaction either reads (`reading`) or writes (`writing`). On SQLite a writer takes its lock at the start: one that
finds out halfway that another was first could only fail.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.orm import Session

from sodate.core import home
from sodate.core.errors import SodateError, UsageError
from sodate.core.text import tr

URL_VARIABLE = "SODATE_DATABASE_URL"
BUSY_SECONDS = 30
_MIGRATIONS_LOCK = 7_263_354  # a number of ours among PostgreSQL's advisory locks
_engines: dict[str, sa.Engine] = {}
_opening = threading.Lock()


@contextlib.contextmanager
def reading() -> Iterator[Session]:
    """A transaction that changes nothing."""
    with Session(_engine(_url())) as session:
        yield session


@contextlib.contextmanager
def writing() -> Iterator[Session]:
    """A transaction that is kept whole when the block ends, and not at all when it raises."""
    with Session(_engine(_url()).execution_options(writes=True), expire_on_commit=False) as session, session.begin():
        yield session


def _url() -> str:
    given = os.environ.get(URL_VARIABLE, "")
    if not given:
        return f"sqlite:///{home.home() / 'sodate.db'}"
    for short in ("postgresql://", "postgres://"):
        given = given.replace(short, "postgresql+psycopg://", 1) if given.startswith(short) else given
    return given


def database_file() -> Path | None:
    """Where the database lies, None where a server has it."""
    where = sa.engine.make_url(_url())
    return Path(where.database).absolute() if where.get_backend_name() == "sqlite" and where.database else None


def _engine(url: str) -> sa.Engine:
    """The pool of connections to `url`, its tables brought up to date. Kept as long as the process lives."""
    with _opening:  # or threads that come at once would open one each
        if url not in _engines:
            _engines[url] = _opened(url)
        return _engines[url]


def _opened(url: str) -> sa.Engine:
    try:
        where = sa.engine.make_url(url)
        if where.get_backend_name() == "sqlite" and where.database:
            home.make_folder(Path(where.database).parent)
            Path(where.database).touch(mode=0o600)
            engine = sa.create_engine(where, connect_args={"timeout": BUSY_SECONDS})
            sa.event.listen(engine, "connect", _prepare_sqlite)
            sa.event.listen(engine, "begin", _begin_sqlite)
        else:
            engine = sa.create_engine(where, pool_pre_ping=True)
        with engine.execution_options(writes=True).begin() as connection:
            _migrate(connection)
    except (sa.exc.ArgumentError, sa.exc.NoSuchModuleError, ImportError):
        raise UsageError(
            tr(f"{URL_VARIABLE} names no database that sodate can open.",
               f"{URL_VARIABLE} が指すデータベースは sodate では開けません。"),
            tr('Give postgresql://USER:PASSWORD@HOST/NAME and install "sodate[postgres]", or unset it for SQLite.',
               'postgresql://USER:PASSWORD@HOST/NAME の形で指定し、"sodate[postgres]" をインストールしてください。'
               "設定を外すと SQLite を使います。"),
            code="bad_value", param=URL_VARIABLE,
        ) from None  # fmt: skip
    except sa.exc.DBAPIError as error:  # its text may hold the password
        raise SodateError(
            tr(f"The database cannot be opened ({type(error.orig).__name__}).",
               f"データベースを開けません ({type(error.orig).__name__})。"),
            tr(f"Check that it runs and that {URL_VARIABLE} or SODATE_HOME is right.",
               f"データベースが動いているか、{URL_VARIABLE} や SODATE_HOME が正しいかを確認してください。"),
            code="database_unreachable",
        ) from None  # fmt: skip
    return engine


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions begin where `_begin_sqlite` says, not where the driver guesses
    for pragma in ("journal_mode=WAL", "foreign_keys=ON", "synchronous=FULL"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: sa.Connection) -> None:
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _migrate(connection: sa.Connection) -> None:
    """Brings the tables up to date inside the connection's transaction, or raises and leaves them as they are."""
    if connection.dialect.name == "postgresql":  # SQLite has let in one writer only
        connection.execute(sa.text(f"SELECT pg_advisory_xact_lock({_MIGRATIONS_LOCK})"))
    config = Config()
    config.set_main_option("script_location", "sodate.db:migrations")
    config.attributes["connection"] = connection
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    unknown = set(MigrationContext.configure(connection).get_current_heads()) - known
    if unknown:
        raise SodateError(
            tr(f"The database was made by a newer sodate ({', '.join(sorted(unknown))}).",
               f"データベースは、より新しい sodate で作られています ({', '.join(sorted(unknown))})。"),
            tr("Update sodate. Nothing was changed.", "sodate を更新してください。変更はしていません。"),
            code="too_new",
        )  # fmt: skip
    command.upgrade(config, "head")
