"""Verbs around the server: keys. What they need beside the base install comes with the extra `serve`."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import Annotated, Literal

import typer

from sodate.cli import app, keys_app
from sodate.cli.failures import print_json
from sodate.cli.options import Engine, Index, Json
from sodate.core.errors import SodateError, UsageError
from sodate.core.text import tr, visible

Role = Annotated[
    Literal["look", "judge", "steer", "own"],
    typer.Option(help=tr("What it allows on the pages.", "ページで許す操作。")),
]
_EXTRA = ("fastapi", "uvicorn", "prometheus_client", "sqlalchemy", "alembic", "python_multipart")


def need_extra() -> None:
    missing = [name for name in _EXTRA if find_spec(name) is None]
    if missing:
        raise SodateError(
            tr(f"Serving needs packages that are not installed: {', '.join(missing)}.",
               f"サーバー機能に必要なパッケージがありません: {', '.join(missing)}"),
            'pip install "sodate[serve]"',
            code="extra_missing",
        )  # fmt: skip


@app.command(help=tr("Serve versions over OpenAI's API.", "OpenAI 互換の API サーバーを動かす。"))
def serve(
    versions: Annotated[
        list[str] | None, typer.Argument(help=tr("Default: the newest of every name.", "既定は各名前の最新。"))
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help=tr("0: a free one.", "0 なら空いている番号。"))] = 8000,
    host: Annotated[str, typer.Option(help=tr("Address to listen on.", "待ち受けるアドレス。"))] = "127.0.0.1",
    alias: Annotated[
        list[str] | None, typer.Option(help=tr("NAME=VERSION, e.g. gpt-4o-mini=orders.", "名前=バージョン。"))
    ] = None,
    engine: Engine = "torch",
    no_auth: Annotated[
        bool, typer.Option("--no-auth", help=tr("No keys, this machine only.", "キーなしで、このマシンからだけ。"))
    ] = False,
    index: Index = None,
    allow_host: Annotated[
        list[str] | None, typer.Option(help=tr("Host name that requests may use.", "許可するホスト名。"))
    ] = None,
    database: Annotated[
        str | None, typer.Option(help=tr("Its URL, e.g. postgresql://HOST/NAME.", "データベースの URL。"))
    ] = None,
    workers: Annotated[int, typer.Option(min=0, help=tr("That train jobs.", "ジョブを学習するワーカーの数。"))] = 1,
) -> None:
    need_extra()
    if database is not None:
        os.environ["SODATE_DATABASE_URL"] = database
    import logging

    from sodate.api.serving import open_service
    from sodate.jobs import files, uploads
    from sodate.jobs.crew import Crew
    from sodate.serve import address, server
    from sodate.serve.settings import Settings

    logging.basicConfig(format="%(asctime)s %(message)s")
    logging.getLogger("sodate.serve").setLevel(logging.INFO)
    names = tuple(name.lower() for name in allow_host or ())
    settings = Settings(host=host, port=port, auth=not no_auth, allowed_hosts=names)
    server.check(settings)
    listening = server.bind(settings)
    where = address.of(host, listening.getsockname()[1])

    def ready(_server: server.Server) -> None:
        print(f"{where}/v1", flush=True)
        for one in service.served:
            asked = [name for name, known in service.names.items() if known is one and name != one.id]
            print(f"  {one.id}  {' '.join(asked)}".rstrip(), flush=True)
        if not no_auth:
            print(tr("A key: sodate keys create", "キーの作成: sodate keys create"), flush=True)
            print(tr("The pages: sodate link --role own", "ページへのリンク: sodate link --role own"), flush=True)

    files.sweep()
    uploads.sweep()
    crew = Crew(workers)  # begun before the models are read: a worker's start would slow down the first replies
    try:
        service = open_service(versions or (), alias or (), engine, index)
        with address.told(names[0] if names else host, listening.getsockname()[1]):
            server.run(service, settings, listening, ready)
    finally:
        listening.close()
        crew.end()


@app.command(
    help=tr("A one-time link to the pages, for a person.", "ページにログインするための、一度だけ使えるリンクを作る。")
)
def link(
    role: Role = "look",
    name: Annotated[str, typer.Option(help=tr("Who it is for; stands in logs.", "相手の名前。記録に残る。"))] = "",
    project: Annotated[
        str, typer.Option(help=tr("Whose runs are seen.", "どのプロジェクトのものを見せるか。"))
    ] = "default",
    url: Annotated[
        str, typer.Option(help=tr("The server (default: the one that runs here).", "サーバー (既定は稼働中のもの)。"))
    ] = "",
    as_json: Json = False,
) -> None:
    need_extra()
    from sodate.serve import logins
    from sodate.serve.address import address, running

    if url and not url.startswith(("http://", "https://")):
        raise UsageError(
            tr(f"A server's address begins with http:// or https://, not {visible(url)!r}.",
               f"サーバーのアドレスは http:// か https:// で始めてください: {visible(url)!r}"),
            code="bad_value", param="url",
        )  # fmt: skip
    secret, person = logins.new_link(role, name, project)
    full = f"{url.rstrip('/') or address()}/login/{secret}"
    if as_json:
        print_json({"url": full, "role": person.role, "name": person.name, "project": person.project,
                    "valid_seconds": logins.LINK_SECONDS})  # fmt: skip
    else:
        print(full)
        typer.echo(tr("It works once, within a day.", "一度だけ、1 日以内に使えます。"), err=True)
        if not url and not running():
            typer.echo(
                tr("No server runs here yet: sodate serve", "サーバーはまだ動いていません: sodate serve"), err=True
            )


@keys_app.command("create", help=tr("A new key; it is shown this once.", "新しいキー。表示されるのは一度だけ。"))
def keys_create(
    project: Annotated[
        str, typer.Option(help=tr("Whose requests these are.", "どのプロジェクトのキーか。"))
    ] = "default",
    per_minute: Annotated[int, typer.Option(min=1, help=tr("Requests a minute.", "1 分あたりのリクエスト数。"))] = 6000,
    role: Role = "steer",
    as_json: Json = False,
) -> None:
    need_extra()
    from sodate.serve import keys

    key, about = keys.create(project, per_minute, role)
    if as_json:
        print_json({"key": key, "id": about.id, "project": about.project})
    else:
        print(key)
        said = tr("Keep it now: only its hash is stored.", "今すぐ控えてください。保存されるのはハッシュだけです。")
        typer.echo(said, err=True)


@keys_app.command("list", help=tr("Every key, without its secret.", "キーの一覧 (秘密の部分は除く)。"))
def keys_list(as_json: Json = False) -> None:
    need_extra()
    from sodate import terminal
    from sodate.serve import keys

    rows = [key.to_json() for key in keys.listed()]
    print_json(rows) if as_json else terminal.print_table(rows)


@keys_app.command("revoke", help=tr("End a key for good.", "キーを無効にする。"))
def keys_revoke(id: str, as_json: Json = False) -> None:
    need_extra()
    from sodate.serve import keys

    key = keys.revoke(id)
    print_json(key.to_json()) if as_json else print(
        tr(f"Key {key.id} of {key.project} is revoked.", f"{key.project} のキー {key.id} を無効にしました。")
    )
