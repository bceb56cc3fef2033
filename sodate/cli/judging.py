"""Verbs by which people judge: sheets to hand out, votes that come back, what they say."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sodate.cli import app
from sodate.cli.failures import print_json
from sodate.cli.options import Columns, Encoding, Json
from sodate.cli.parser_words import Verbs
from sodate.core.text import tr

judge_app = Verbs()
app.add_typer(judge_app, name="judge", help=tr("People judge replies, blind.", "人が返答をブラインドで評価する。"))


@judge_app.command("make", help=tr("Sheets with two replies side by side.", "二つの返答を並べたシートを作る。"))
def judge_make(
    models: Annotated[
        list[str] | None, typer.Argument(help=tr("Versions or base models.", "バージョンまたはモデル。"))
    ] = None,
    data: Annotated[Path, typer.Option(help=tr("Held-out file.", "評価用ファイル。"))] = ...,  # type: ignore[assignment]
    out: Annotated[Path, typer.Option(help=tr("sheet.csv or sheet.xlsx", "sheet.csv または sheet.xlsx"))] = Path(
        "sheet.csv"
    ),
    replies: Annotated[
        list[str] | None, typer.Option(metavar="FILE:NAME", help=tr("Replies made elsewhere.", "ほかで作られた返答。"))
    ] = None,
    viewpoint: Annotated[
        list[str] | None,
        typer.Option(help=tr("Default: correct, polite, reproducible.", "既定: 正確性、丁寧さ、再現性。")),
    ] = None,
    raters: Annotated[int, typer.Option(min=1, help=tr("A sheet for each.", "人数分のシートを作る。"))] = 1,
    overlap: Annotated[
        float, typer.Option(min=0, max=1, help=tr("Share that everybody judges.", "全員が評価する割合。"))
    ] = 0.2,
    limit: Annotated[int | None, typer.Option(min=1, help=tr("First N rows.", "先頭の N 行。"))] = None,
    seed: int = 0,
    columns: Columns = None,
    encoding: Encoding = None,
    as_json: Json = False,
) -> None:
    from sodate import terminal
    from sodate.api import people
    from sodate.cli.at_hand import at_hand
    from sodate.cli.options import pairs

    named = [at_hand(model, quiet=as_json) for model in models or ()]
    done = people.make_sheets(named, data, out, replies=replies or (), viewpoints=viewpoint or (), raters=raters,
                              overlap=overlap, limit=limit, seed=seed, columns=pairs(columns),
                              encoding=encoding)  # fmt: skip
    print_json(done) if as_json else terminal.print_tree(done)


@judge_app.command("import", help=tr("Read a sheet as it comes back.", "記入済みのシートを取り込む。"))
def judge_import(
    sheets: Annotated[list[Path], typer.Argument(help=tr("CSV or xlsx.", "CSV または xlsx。"))],
    by: Annotated[
        str, typer.Option(help=tr("Who judged (default: the file's name).", "評価した人 (既定はファイル名)。"))
    ] = "",
    as_json: Json = False,
) -> None:
    from sodate import terminal
    from sodate.api import people

    rows = [people.import_sheet(sheet, by=by) for sheet in sheets]
    print_json(rows[0] if len(rows) == 1 else rows) if as_json else terminal.print_table(rows)


@judge_app.command(
    "report", help=tr("Who is preferred, and how far raters agree.", "どちらが好まれ、どれだけ一致するか。")
)
def judge_report(
    study: str,
    preferences: Annotated[
        Path | None,
        typer.Option(help=tr("Write the votes as pairs to train on.", "票を学習用の選好データとして書く。")),
    ] = None,
    as_json: Json = False,
) -> None:
    from sodate import terminal
    from sodate.api import people

    found = people.judged(study, preferences=preferences)
    print_json(found) if as_json else terminal.print_tree(found)
