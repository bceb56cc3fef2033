"""Verbs that show the state of the house: the overview, a run, reports. The pages show the same."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sodate.cli import app, runs_app
from sodate.cli.failures import print_json
from sodate.cli.options import Json
from sodate.cli.parser_words import Verbs
from sodate.core.text import tr

reports_app = Verbs()
app.add_typer(reports_app, name="reports", help=tr("Evaluations that were kept.", "残っている評価レポート。"))


@app.command(
    help=tr("What is in production, what runs, what waits for a person.", "公開中のもの、実行中のもの、人を待つもの。")
)
def overview(as_json: Json = False) -> None:
    from sodate.api.overview import overview as told
    from sodate.terminal.overview import print_overview

    found = told()
    print_json(found) if as_json else print_overview(found)


@runs_app.command("show", help=tr("How far a run is, and what it decided.", "学習の進み具合と、決めたこと。"))
def runs_show(run: str, as_json: Json = False) -> None:
    from sodate.api.runs import run as told
    from sodate.terminal.runs import print_run

    found = told(run)
    print_json(found) if as_json else print_run(found)


@runs_app.command(
    "stop", help=tr("End a run after its step; it can be resumed.", "ステップの終わりで止める。後で再開できる。")
)
def runs_stop(
    run: str,
    wait: Annotated[float, typer.Option(min=0, help=tr("Seconds to wait for its end.", "終わるまで待つ秒数。"))] = 60.0,
    as_json: Json = False,
) -> None:
    from sodate import terminal
    from sodate.api.runs import stop_run

    done = stop_run(run, wait)
    print_json(done) if as_json else terminal.print_table([done])


@app.command(help=tr("Tasks whose ways were measured.", "方法を比較したタスクの一覧。"))
def ladders(
    task: Annotated[str | None, typer.Argument(help=tr("Shows this one.", "このタスクを表示する。"))] = None,
    as_json: Json = False,
) -> None:
    from sodate import terminal
    from sodate.api import ladders as kept

    if task is not None:
        from sodate.terminal.ladder import print_ladder

        found = kept.measured_ladder(task)
        print_json(found) if as_json else print_ladder(found)
        return
    rows = kept.ladders()
    print_json(rows) if as_json else terminal.print_table(rows)


@reports_app.command("list", help=tr("Every report, oldest first.", "評価レポートの一覧。"))
def reports_list(as_json: Json = False) -> None:
    from sodate import terminal
    from sodate.api.reports import reports
    from sodate.terminal.words import word

    rows = reports()
    if as_json:
        print_json(rows)
    else:
        terminal.print_table(
            [
                {"report": row["report"], "models": ", ".join(row["models"]), "graders": ", ".join(row["graders"]),
                 "n": row["n"], "verdict": ", ".join(str(word(one)) for one in row["verdicts"])}
                for row in rows
            ]
        )  # fmt: skip


@reports_app.command("show", help=tr("The figures of a report.", "レポートの数値。"))
def reports_show(report: str, as_json: Json = False) -> None:
    from sodate import terminal
    from sodate.api.reports import report as told

    found = told(report)
    print_json(found) if as_json else terminal.print_tree(found)


@reports_app.command("table", help=tr("The graded replies as CSV or xlsx.", "採点結果を CSV か xlsx に書き出す。"))
def reports_table(
    report: str,
    out: Annotated[Path, typer.Argument(help=tr("replies.csv or replies.xlsx", "replies.csv または replies.xlsx"))],
    encoding: Annotated[
        str, typer.Option(help=tr("Of a CSV: utf-8 or cp932.", "CSV の文字コード: utf-8 か cp932。"))
    ] = "utf-8",
    as_json: Json = False,
) -> None:
    from sodate import terminal
    from sodate.api.reports import write_report_table

    done = write_report_table(report, out, encoding=encoding)
    print_json(done) if as_json else terminal.print_table([done])


@reports_app.command("compare", help=tr("Two reports side by side.", "二つのレポートを並べる。"))
def reports_compare(first: str, second: str, as_json: Json = False) -> None:
    from sodate import terminal
    from sodate.api.reports import compare_reports

    found = compare_reports(first, second)
    print_json(found) if as_json else terminal.print_tree(found)
