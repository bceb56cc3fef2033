"""Verbs over versions of datasets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sodate.cli import data_app
from sodate.cli.failures import print_json
from sodate.cli.options import Columns, Encoding, Engine, Json, Limit, Longest, pairs
from sodate.core.text import tr, visible

Name = Annotated[str, typer.Argument(help=tr("NAME or NAME@N.", "名前、または 名前@番号。"))]
By = Annotated[str, typer.Option(help=tr("Who does it (default: you).", "実行者 (既定は利用者名)。"))]


@data_app.command("add", help=tr("Add rows: the next version of a dataset.", "行を加え、次のバージョンを作る。"))
def data_add(
    files: Annotated[list[Path], typer.Argument(help=tr("Data files.", "データファイル。"))],
    name: Annotated[str, typer.Option(help=tr("The dataset.", "データセットの名前。"))] = ...,  # type: ignore[assignment]
    held_out: Annotated[
        bool, typer.Option("--held-out", help=tr("It is to measure with, never to train on.", "評価専用にする。"))
    ] = False,
    licence: Annotated[str | None, typer.Option(help=tr("Of these rows.", "これらの行のライセンス。"))] = None,
    consent: Annotated[str | None, typer.Option(help=tr("Whose consent there is.", "誰の同意があるか。"))] = None,
    note: Annotated[str | None, typer.Option(help=tr("Why they are added.", "加える理由。"))] = None,
    by: By = "",
    reviewer: Annotated[
        str | None, typer.Option(help=tr("Who reviewed rows that a machine wrote.", "機械が書いた行を確認した人。"))
    ] = None,
    unreviewed: Annotated[
        bool, typer.Option("--unreviewed", help=tr("Also what no person reviewed.", "人が確認していない行も加える。"))
    ] = False,
    columns: Columns = None,
    encoding: Encoding = None,
    as_json: Json = False,
) -> None:
    from sodate.api import datasets

    done = datasets.add(files, name, role="held-out" if held_out else None, by=by, licence=licence, consent=consent,
                        note=note, reviewer=reviewer, unreviewed=unreviewed, columns=pairs(columns),
                        encoding=encoding)  # fmt: skip
    if as_json:
        print_json(done.to_json())
        return
    from sodate.terminal.data import print_added

    print_added(done)


@data_app.command("list", help=tr("Versions of datasets.", "データセットのバージョンの一覧。"))
def data_list(as_json: Json = False) -> None:
    from sodate import terminal
    from sodate.api import datasets

    rows = datasets.list_datasets()
    print_json(rows) if as_json else terminal.print_table(rows)


@data_app.command("diff", help=tr("What came, went and changed.", "増えた行、減った行、変わった行。"))
def data_diff(
    dataset: Name,
    other: Annotated[
        str | None, typer.Argument(help=tr("The later one (default: since the one before).", "後のほう。"))
    ] = None,
    as_json: Json = False,
) -> None:
    from sodate import terminal
    from sodate.api import datasets

    found = datasets.diff(dataset, other)
    print_json(found) if as_json else terminal.print_tree(found)


@data_app.command("log", help=tr("Where its rows are from, and its uses.", "行の由来と、使われた記録。"))
def data_log(dataset: Name, as_json: Json = False) -> None:
    from sodate import terminal
    from sodate.api import datasets

    found = datasets.log(dataset)
    print_json(found) if as_json else terminal.print_tree(found)


@data_app.command("remove", help=tr("The next version without some rows.", "一部の行を除いた次のバージョンを作る。"))
def data_remove(
    name: Name,
    row: Annotated[list[str] | None, typer.Option(help=tr("Id of a row.", "行の ID。"))] = None,
    exchange: Annotated[list[str] | None, typer.Option(help=tr("Id of an exchange.", "やり取りの ID。"))] = None,
    by: By = "",
    note: Annotated[str, typer.Option(help=tr("Why.", "理由。"))] = "",
    as_json: Json = False,
) -> None:
    from sodate.api import datasets
    from sodate.terminal.data import print_added

    done = datasets.remove(name, rows=row or (), exchanges=exchange or (), by=by, note=note)
    print_json(done.to_json()) if as_json else print_added(done)


@data_app.command("delete", help=tr("Delete the rows of NAME@N.", "名前@番号 の行を削除する。"))
def data_delete(dataset: Name, as_json: Json = False) -> None:
    from sodate.api import datasets

    gone = datasets.delete(dataset)
    print_json({"deleted": gone}) if as_json else print(
        visible(tr(f"The rows of {gone} are deleted.", f"{gone} の行を削除しました。"))
    )


@data_app.command("teach", help=tr("Rows of another model's replies.", "別のモデルの返答から行を作る。"))
def data_teach(
    data: Annotated[Path, typer.Argument(help=tr("Prompts.", "プロンプトのファイル。"))],
    teacher: Annotated[str, typer.Option(help=tr("Whose replies they are.", "返答するモデル。"))] = ...,  # type: ignore[assignment]
    terms: Annotated[str, typer.Option(help=tr("What its terms of use allow.", "利用規約で許される使い方。"))] = ...,  # type: ignore[assignment]
    out: Annotated[Path, typer.Option(help=tr("Where the rows go.", "出力先。"))] = ...,  # type: ignore[assignment]
    replies: Annotated[Path | None, typer.Option(help=tr("Recorded replies.", "記録済みの返答。"))] = None,
    grader: Annotated[
        list[str] | None, typer.Option(help=tr("Which replies are taken.", "採用する返答の条件。"))
    ] = None,
    engine: Engine = "torch",
    max_tokens: Longest = 512,
    limit: Limit = None,
    columns: Columns = None,
    encoding: Encoding = None,
    as_json: Json = False,
) -> None:
    from sodate import terminal
    from sodate.api.distilling import teach

    done = teach(data, out, teacher=teacher, terms=terms, replies=replies, graders=grader or (), engine=engine,
                 max_new_tokens=max_tokens, limit=limit, columns=pairs(columns), encoding=encoding)  # fmt: skip
    print_json(done) if as_json else terminal.print_tree(done)
