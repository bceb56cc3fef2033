"""Verbs by which people judge: sheets to hand out, votes that come back, what they say, and graders beside them."""

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


@judge_app.command("make", help=tr("Sheets with replies side by side.", "返答を並べたシートを作る。"))
def judge_make(
    models: Annotated[
        list[str] | None, typer.Argument(help=tr("Versions or base models.", "バージョンまたはモデル。"))
    ] = None,
    data: Annotated[Path, typer.Option(help=tr("Held-out file.", "評価用ファイル。"))] = ...,  # type: ignore[assignment]
    out: Annotated[
        Path,
        typer.Option(help=tr("sheet.csv, sheet.xlsx, or tasks.json for Label Studio",
                             "sheet.csv、sheet.xlsx、Label Studio 用の tasks.json")),
    ] = Path("sheet.csv"),
    replies: Annotated[
        list[str] | None, typer.Option(metavar="FILE:NAME", help=tr("Replies made elsewhere.", "ほかで作られた返答。"))
    ] = None,
    ranking: Annotated[
        bool,
        typer.Option("--ranking", help=tr("All versions on every row, to be put in order.",
                                          "全バージョンを並べ、順位を付けてもらう。")),
    ] = False,
    viewpoint: Annotated[
        list[str] | None,
        typer.Option(help=tr("Default: correct, polite, reproducible.", "既定: 正確性、丁寧さ、再現性。")),
    ] = None,
    raters: Annotated[int, typer.Option(min=1, help=tr("A sheet for each.", "人数分のシートを作る。"))] = 1,
    overlap: Annotated[
        float, typer.Option(min=0, max=1, help=tr("Share that everybody judges.", "全員が評価する割合。"))
    ] = 0.2,
    sheet_encoding: Annotated[
        str, typer.Option(help=tr("Of a CSV sheet: utf-8 or cp932.", "CSV の文字コード: utf-8 か cp932。"))
    ] = "utf-8",
    limit: Annotated[int | None, typer.Option(min=1, help=tr("First N rows.", "先頭の N 行。"))] = None,
    seed: int = 0,
    columns: Columns = None,
    encoding: Encoding = None,
    as_json: Json = False,
) -> None:  # fmt: skip
    from sodate.api import people, sheets
    from sodate.cli.at_hand import at_hand
    from sodate.cli.options import pairs
    from sodate.terminal.judging import print_made

    named = [at_hand(model, quiet=as_json) for model in models or ()]
    done = people.make_sheets(named, data, out, replies=replies or (), ranking=ranking, viewpoints=viewpoint or (),
                              raters=raters, overlap=overlap, limit=limit, seed=seed, columns=pairs(columns),
                              encoding=encoding, sheet_encoding=sheets.named(sheet_encoding))  # fmt: skip
    print_json(done) if as_json else print_made(done)


@judge_app.command("import", help=tr("Read a sheet as it comes back.", "記入済みのシートを取り込む。"))
def judge_import(
    sheets: Annotated[
        list[Path],
        typer.Argument(help=tr("CSV, xlsx or Label Studio's JSON.", "CSV、xlsx、Label Studio の JSON。")),
    ],
    by: Annotated[
        str, typer.Option(help=tr("Who judged (default: the file's name).", "評価した人 (既定はファイル名)。"))
    ] = "",
    partial: Annotated[
        bool, typer.Option("--partial", help=tr("Rows may be missing.", "行が足りなくてもよい。"))
    ] = False,
    as_json: Json = False,
) -> None:
    from sodate import terminal
    from sodate.api import votes

    rows = [votes.import_sheet(sheet, by=by, partial=partial) for sheet in sheets]
    print_json(rows[0] if len(rows) == 1 else rows) if as_json else terminal.print_table(rows)


@judge_app.command("vote", help=tr("Judge here, one row after the other.", "ここで 1 行ずつ評価する。"))
def judge_vote(
    study: str,
    by: Annotated[str, typer.Option(help=tr("Who judges.", "評価する人。"))] = ...,  # type: ignore[assignment]
    sheet: Annotated[int, typer.Option(min=1, help=tr("Which of the sheets.", "何枚目のシートか。"))] = 1,
    as_json: Json = False,
) -> None:
    from sodate.api import votes
    from sodate.terminal.voting import vote

    booth = votes.booth(study, by, sheet=sheet)
    vote(booth, quiet=as_json)
    done = {"study": study, "rater": booth.rater, "rows": booth.total - len(booth.rows), "left": len(booth.rows)}
    if as_json:
        print_json(done)


@judge_app.command(
    "report", help=tr("Who is preferred, and how far raters agree.", "どちらが好まれ、どれだけ一致するか。")
)
def judge_report(
    study: str,
    preferences: Annotated[
        Path | None,
        typer.Option(help=tr("Write the votes as data to train on.", "票を学習用の選好データとして書く。")),
    ] = None,
    as_json: Json = False,
) -> None:
    from sodate.api import judged
    from sodate.terminal.judging import print_judged

    found = judged.judged(study, preferences=preferences)
    print_json(found) if as_json else print_judged(found)


@judge_app.command("agree", help=tr("How far a grader agrees with people.", "採点方法が人とどれだけ一致するか。"))
def judge_agree(
    study: str,
    grader: Annotated[str, typer.Option(help=tr("As for sodate eval.", "sodate eval と同じ書き方。"))],
    viewpoint: Annotated[str, typer.Option(help=tr("Default: the first.", "既定は最初の観点。"))] = "",
    as_json: Json = False,
) -> None:
    from sodate.api import judged
    from sodate.terminal.judging import print_agreement

    found = judged.grader_agreement(study, grader, viewpoint=viewpoint)
    print_json(found) if as_json else print_agreement(found)
