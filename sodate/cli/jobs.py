"""Verbs around jobs: workers, quotas, the audit log."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Annotated

import typer

from sodate.cli import app
from sodate.cli.failures import print_json
from sodate.cli.options import Json
from sodate.cli.parser_words import Verbs
from sodate.cli.serving import need_extra
from sodate.core.text import counted, tr

MOST_JOBS = 1_000_000  # of a quota
projects_app = Verbs()
app.add_typer(projects_app, name="projects", help=tr("Quotas and audit log.", "プロジェクトの上限と監査記録。"))
Database = Annotated[
    str | None,
    typer.Option(help=tr("postgresql://USER@HOST/NAME instead of SQLite.", "SQLite の代わりに使うデータベース。")),
]


@app.command(help=tr("Train the jobs that the server takes.", "サーバーが受け付けたジョブを学習する。"))
def worker(database: Database = None, tied: Annotated[bool, typer.Option(hidden=True)] = False) -> None:
    need_extra()
    import logging

    from sodate.jobs.worker import work

    logging.basicConfig(format="%(asctime)s %(message)s")
    logging.getLogger("sodate.jobs").setLevel(logging.INFO)
    use(database)
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    if tied:
        threading.Thread(target=_end_with_starter, daemon=True).start()
    work(stopping)


def use(database: str | None) -> None:
    """The database of this process and of those it starts."""
    if database is not None:
        os.environ["SODATE_DATABASE_URL"] = database


def _end_with_starter() -> None:
    # Not by sys.stdin: a thread that holds its lock when the interpreter ends makes that end a fatal error.
    while os.read(0, 1):
        pass
    os._exit(1)


@projects_app.command("quota", help=tr("What a project may take.", "プロジェクトの上限を見る・変える。"))
def quota(
    project: str,
    disk: Annotated[str | None, typer.Option(help=tr("Of its files, e.g. 10GB.", "ファイルの合計。例: 10GB"))] = None,
    running: Annotated[
        int | None, typer.Option(min=0, max=MOST_JOBS, help=tr("Jobs at once.", "同時に実行するジョブ。"))
    ] = None,
    waiting: Annotated[
        int | None, typer.Option(min=0, max=MOST_JOBS, help=tr("Jobs that wait.", "待機できるジョブ。"))
    ] = None,
    as_json: Json = False,
) -> None:
    need_extra()
    from dataclasses import asdict

    from sodate.core.recipe_values import amount_bytes
    from sodate.jobs import quotas

    given = {"disk_bytes": amount_bytes(disk), "running": running, "waiting": waiting}
    limits = quotas.change(project, **{key: value for key, value in given.items() if value is not None})
    if as_json:
        print_json({"project": project, **asdict(limits)})
    else:
        from sodate import terminal

        terminal.print_table([{"project": project, **asdict(limits)}])


@projects_app.command("audit", help=tr("Who did what.", "誰が何をしたかの記録。"))
def audit(
    project: Annotated[str | None, typer.Argument(help=tr("Default: all.", "既定はすべて。"))] = None,
    limit: Annotated[int, typer.Option(min=1, max=1_000_000)] = 1000,
    as_json: Json = False,
) -> None:
    need_extra()
    from sodate.jobs import audit as log

    rows = log.listed(project, limit)
    if as_json:
        print_json(rows)
    else:
        from sodate import terminal

        terminal.print_table(rows)


@app.command(help=tr("Copy everything to a new folder, also while jobs train.", "すべてを新しいフォルダーに控える。"))
def backup(folder: Path, as_json: Json = False) -> None:
    need_extra()
    from sodate.jobs import backup as backups

    made = backups.backup(folder)
    print_json(made) if as_json else print(
        tr(
            f"{counted(made['files'], 'file')} in {made['folder']}.",
            f"{made['files']} 個を {made['folder']} に控えました。",
        )
    )


@app.command(help=tr("Make an empty SODATE_HOME what a backup holds.", "控えから空の SODATE_HOME を元に戻す。"))
def restore(folder: Path, as_json: Json = False) -> None:
    need_extra()
    from sodate.jobs import backup as backups

    made = backups.restore(folder)
    print_json(made) if as_json else print(
        tr(
            f"{counted(made['files'], 'file')} in {made['home']}.",
            f"{made['files']} 個を {made['home']} に戻しました。",
        )
    )
