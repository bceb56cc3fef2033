"""The database: its tables are those of the migrations, many writers lose nothing, a newer one is left alone."""

from __future__ import annotations

import gc
import os
import shutil
import sqlite3
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from sodate.core.errors import SodateError, UsageError
from sodate.db import connection
from sodate.db.tables import ApiKey, ReplyTag, StoredReply, Table


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, home: Path) -> Iterator[str]:
    """An empty database of either kind."""
    if request.param == "postgresql":
        request.getfixturevalue("postgres")
    yield request.param


@pytest.fixture
def postgres(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A PostgreSQL server of this test alone, reached by a socket in its folder. It does not run as root."""
    initdb, server = shutil.which("initdb"), shutil.which("pg_ctl")
    if initdb is None or server is None:
        pytest.skip("no PostgreSQL here")
    user = "nobody" if os.getuid() == 0 else None
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        if user:
            shutil.chown(folder, user)

        def run(*words: str) -> None:
            subprocess.run(words, check=True, stdout=subprocess.DEVNULL, user=user, cwd=folder)

        run(initdb, "-D", f"{folder}/data", "-U", "sodate", "-A", "trust", "--no-sync")
        options = f"-k {folder} -c listen_addresses='' -c fsync=off"
        run(server, "-D", f"{folder}/data", "-o", options, "-w", "-l", f"{folder}/log", "start")
        monkeypatch.setenv(connection.URL_VARIABLE, f"postgresql://sodate@/postgres?host={folder}")
        try:
            yield
        finally:
            for url in [url for url in connection._engines if url.startswith("postgresql")]:
                connection._engines.pop(url).dispose()
            gc.collect()  # what a thread still held, is let go of here and in no later test
            run(server, "-D", f"{folder}/data", "-m", "immediate", "stop")


def a_key(number: int) -> ApiKey:
    return ApiKey(id=f"k{number}", project="p", digest="", per_minute=1, created_at=0, revoked_at=None)


def test_the_tables_are_those_that_the_migrations_make(database: str) -> None:
    with connection.reading() as session:
        assert compare_metadata(MigrationContext.configure(session.connection()), Table.metadata) == []


def test_what_a_block_wrote_is_kept_whole_or_not_at_all(database: str) -> None:
    with pytest.raises(RuntimeError), connection.writing() as session:
        session.add(a_key(1))
        session.flush()
        raise RuntimeError
    with connection.writing() as session:
        session.add(a_key(2))
    with connection.reading() as session:
        assert [key.id for key in session.scalars(sa.select(ApiKey))] == ["k2"]


def test_writers_side_by_side_lose_nothing(database: str) -> None:
    def write(first: int) -> None:
        for number in range(first, first + 20):
            with connection.writing() as session:
                count = session.scalar(sa.select(sa.func.count()).select_from(ApiKey))
                session.add(a_key(1000 * (count or 0) + number))

    threads = [threading.Thread(target=write, args=(100 * n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with connection.reading() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(ApiKey)) == 80


def test_a_stored_reply_takes_its_metadata_with_it(database: str) -> None:
    with connection.writing() as session:
        reply = StoredReply(id="c1", kind="k", project="p", model="m", created_at=1, body="{}", asked="[]")
        reply.tags.append(ReplyTag(key="a", value="b"))
        session.add(reply)
    with connection.writing() as session:
        session.delete(session.scalars(sa.select(StoredReply)).one())
    with connection.reading() as session:
        assert session.scalars(sa.select(ReplyTag)).all() == []


def test_sqlite_lies_in_the_home_writes_ahead_and_is_its_owners_alone(home: Path) -> None:
    with connection.reading() as session:
        assert session.execute(sa.text("PRAGMA journal_mode")).scalar() == "wal"
    assert (home / "sodate.db").stat().st_mode & 0o077 == 0


def test_a_database_of_a_newer_sodate_is_refused_and_left_as_it_is(home: Path) -> None:
    home.mkdir(parents=True)
    with sqlite3.connect(home / "sodate.db") as raw:
        raw.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
        raw.execute("INSERT INTO alembic_version VALUES ('9999')")
    raw.close()
    with pytest.raises(SodateError, match="newer sodate"), connection.reading():
        pass
    raw = sqlite3.connect(home / "sodate.db")
    assert [name for (name,) in raw.execute("SELECT name FROM sqlite_master")] == ["alembic_version"]
    raw.close()


def test_an_address_of_another_kind_is_refused_without_repeating_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(connection.URL_VARIABLE, "carrier-pigeon://user:hunter2@example.com/x")
    with pytest.raises(UsageError) as refused, connection.reading():
        pass
    assert "hunter2" not in str(refused.value)
