"""Verbs over exchanges: what is kept, listed, shown, said of and forgotten."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from sodate.cli import app
from sodate.cli.failures import print_json
from sodate.cli.options import Json
from sodate.cli.parser_words import Verbs
from sodate.cli.serving import need_extra
from sodate.core.text import tr

logs_app = Verbs()
app.add_typer(logs_app, name="logs", help=tr("Exchanges: what was served and kept.", "記録したやり取り。"))
Project = Annotated[str, typer.Option(help=tr("Whose exchanges.", "どのプロジェクトか。"))]
Exchange = Annotated[str, typer.Argument(help=tr("The id of a reply.", "返答の ID。"))]
Page = Annotated[int, typer.Option(min=1, max=1000, help=tr("Rows of a page.", "1 ページの件数。"))]


@logs_app.command("set", help=tr("What a project keeps, and how.", "プロジェクトで何をどう記録するか。"))
def logs_set(
    mode: Annotated[
        Literal["off", "sampled", "on"] | None, typer.Argument(help=tr("Default: as it is.", "省略時は変えない。"))
    ] = None,
    project: Project = "default",
    share: Annotated[
        float | None, typer.Option(min=0, max=1, help=tr("Of exchanges, where sampled.", "sampled のときの割合。"))
    ] = None,
    keep_days: Annotated[
        int | None, typer.Option(min=0, help=tr("Until exchanges go; 0: never.", "保存する日数。0 なら無期限。"))
    ] = None,
    words: Annotated[
        Path | None, typer.Option(help=tr("File of own words to scrub.", "伏せる語を 1 行に 1 つ書いたファイル。"))
    ] = None,
    grader: Annotated[
        list[str] | None,
        typer.Option(help=tr("Held against every reply, e.g. json.", "すべての返答に使う採点。例: json")),
    ] = None,
    stored: Annotated[
        Literal["scrubbed", "raw", "off"] | None,
        typer.Option(help=tr("How `store` keeps replies.", "store の返答をどう保存するか。")),
    ] = None,
    slow_ms: Annotated[
        int | None, typer.Option(min=1, help=tr("Slower counts as a failure.", "これより遅ければ失敗。"))
    ] = None,
    confidence: Annotated[
        float | None, typer.Option(min=0, max=1, help=tr("Lower counts as a failure.", "これより低ければ失敗。"))
    ] = None,
    as_json: Json = False,
) -> None:
    need_extra()
    from dataclasses import asdict

    from sodate.learn import recording

    given: dict[str, Any] = {
        "mode": mode,
        "share": share,
        "slow_ms": slow_ms,
        "confidence": confidence,
        "stored": stored,
    }
    changes = {key: value for key, value in given.items() if value is not None}
    if keep_days is not None:
        changes["keep_days"] = keep_days or None
    if words is not None:
        changes["words"] = recording.word_list(words)
    if grader is not None:
        changes["graders"] = tuple(one for one in grader if one)
    rules = recording.change(project, changes) if changes else recording.of(project)
    told = {"project": project, **asdict(rules)}
    if as_json:
        print_json(told)
    else:
        from sodate.terminal import learning

        learning.print_rules(told)


@logs_app.command("list", help=tr("The newest exchanges.", "新しい順の一覧。"))
def logs_list(
    project: Project = "default",
    user: Annotated[str | None, typer.Option(help=tr("A name or its hash.", "利用者の名前かハッシュ。"))] = None,
    version: Annotated[str | None, typer.Option(help=tr("NAME@N", "名前@番号"))] = None,
    failed: Annotated[bool, typer.Option("--failed", help=tr("Failures only.", "失敗だけ。"))] = False,
    before: Annotated[
        int | None, typer.Option(min=0, max=2**63 - 1, help=tr("Where a page ended.", "前のページの終わり。"))
    ] = None,
    limit: Page = 20,
    as_json: Json = False,
) -> None:
    need_extra()
    from sodate.learn import logs

    told = logs.listed(project, user=user, version=version, failed=failed, before=before, limit=limit)
    if as_json:
        print_json(told)
    else:
        from sodate.terminal import learning

        learning.print_exchanges(told)


@logs_app.command("show", help=tr("Everything kept of an exchange.", "1 件のすべて。"))
def logs_show(id: Exchange, project: Project = "default", as_json: Json = False) -> None:
    need_extra()
    from sodate import terminal
    from sodate.learn import logs

    told = logs.show(id, project)
    print_json(told) if as_json else terminal.print_tree(told)


@logs_app.command(
    "forget", help=tr("Delete a person's exchanges; name what came of them.", "ある人の記録を消し、派生物を示す。")
)
def logs_forget(
    user: Annotated[
        str, typer.Option(help=tr("A hash, or with --project a name.", "ハッシュか、--project 付きの名前。"))
    ],
    project: Annotated[str | None, typer.Option(help=tr("Default: all.", "既定はすべて。"))] = None,
    as_json: Json = False,
) -> None:
    need_extra()
    from sodate import terminal
    from sodate.learn import logs

    told = logs.forget(user, project)
    print_json(told) if as_json else terminal.print_tree(told)


@logs_app.command("sweep", help=tr("Delete what is older than it is kept.", "保存期間を過ぎた記録を消す。"))
def logs_sweep(
    older_than: Annotated[
        int | None,
        typer.Option(min=0, max=100_000, help=tr("Days, whatever is set; needs --project.", "日数。設定より優先。")),
    ] = None,
    project: Annotated[str | None, typer.Option(help=tr("Whose, with --older-than.", "--older-than の対象。"))] = None,
    as_json: Json = False,
) -> None:
    need_extra()
    import time

    from sodate.core.errors import UsageError
    from sodate.learn import keeping, retention

    if (older_than is None) != (project is None):
        raise UsageError(tr("--older-than and --project go together.", "--older-than には --project も必要です。"),
                         code="bad_value", param="project")  # fmt: skip
    if older_than is None or project is None:
        gone = retention.sweep()
    else:
        gone = retention.older_than(project, int(time.time()) - older_than * keeping.DAY)
    print_json({"deleted": gone}) if as_json else print(tr(f"{gone} deleted.", f"{gone} 件を削除しました。"))


@logs_app.command("feedback", help=tr("Say what you think of a reply.", "返答に評価を付ける。"))
def logs_feedback(
    id: Exchange,
    thumb: Annotated[Literal["up", "down"] | None, typer.Option(help=tr("Good or not.", "良いか悪いか。"))] = None,
    correction: Annotated[str | None, typer.Option(help=tr("As it should be.", "あるべき返答。"))] = None,
    sent: Annotated[str | None, typer.Option(help=tr("What was sent in the end.", "実際に送った文章。"))] = None,
    label: Annotated[str | None, typer.Option(help=tr("Any word.", "任意のラベル。"))] = None,
    comment: Annotated[str | None, typer.Option(help=tr("Free text.", "自由記述。"))] = None,
    user: Annotated[str | None, typer.Option(help=tr("Who says it.", "評価した人。"))] = None,
    project: Project = "default",
    as_json: Json = False,
) -> None:
    need_extra()
    from sodate import terminal
    from sodate.learn import feedback

    told = feedback.give(id, thumb=thumb, correction=correction, sent=sent, label=label, comment=comment, user=user,
                         project=project, actor="terminal")  # fmt: skip
    print_json(told) if as_json else terminal.print_tree(told)
