"""Verbs that act on what was measured: decisions, gates, and the moves of aliases."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sodate.cli import app
from sodate.cli.failures import print_json
from sodate.cli.options import Columns, Encoding, Json, Limit
from sodate.cli.parser_words import Verbs
from sodate.core.text import tr

gate_app, release_app = Verbs(), Verbs()
app.add_typer(gate_app, name="gate", help=tr("Hold a version against a gate.", "バージョンをゲートで確認する。"))
app.add_typer(release_app, name="release", help=tr("Move an alias, and move it back.", "エイリアスを移す、戻す。"))

By = Annotated[str, typer.Option(help=tr("Who decided (default: the login name).", "決めた人 (既定はログイン名)。"))]
Alias = Annotated[str, typer.Argument(help=tr("For example support@production.", "例: support@production"))]
CheckedGate = Annotated[
    Path | None, typer.Option(help=tr("Checked now (default: its last check).", "今確認する (既定は前回の確認)。"))
]
Reason = Annotated[str, typer.Option(help=tr("Kept in the log.", "記録に残す理由。"))]
Override = Annotated[
    str, typer.Option(metavar="REASON", help=tr("Why it is released all the same.", "合格なしで公開する理由。"))
]


@app.command(help=tr("Choose between options, and only where it is sure.", "選択肢から選ぶ。確かなときだけ答える。"))
def decide(
    version: str,
    data: Annotated[Path, typer.Option(help=tr("Rows to decide.", "判断する行のファイル。"))],
    options: Annotated[
        str | None,
        typer.Option(metavar="FILE|A,B,C", help=tr("Default: the answers that occur.", "既定は現れる正解。")),
    ] = None,
    calibrate: Annotated[
        Path | None,
        typer.Option(help=tr("Rows with answers it did not learn from.", "学習に使っていない正解つきの行。")),
    ] = None,
    promise: Annotated[
        float | None,
        typer.Option(help=tr("Share of answers to be right (0.95).", "正しいと約束する割合 (0.95)。")),
    ] = None,
    generate: Annotated[
        bool, typer.Option("--generate", help=tr("No options: write the reply.", "選択肢なしで返答を書く。"))
    ] = False,
    grader: Annotated[str, typer.Option(help=tr("What a right reply is.", "正しい返答の採点方法。"))] = "exact",
    schema: Annotated[
        Path | None, typer.Option(help=tr("JSON Schema of generated replies.", "生成する返答の JSON Schema。"))
    ] = None,
    columns: Columns = None,
    encoding: Encoding = None,
    limit: Limit = None,
    as_json: Json = False,
) -> None:
    import sodate
    from sodate import terminal
    from sodate.cli.at_hand import at_hand
    from sodate.cli.options import pairs

    done = sodate.decide(at_hand(version, quiet=as_json), data, options=options, calibrate=calibrate, promise=promise,
                         columns=pairs(columns), encoding=encoding, limit=limit,
                         on_problem=terminal.print_problem, generate=generate, grader=grader,
                         schema=schema)  # fmt: skip
    if as_json:
        print_json(done)
    else:
        from sodate.terminal.releases import print_decisions

        print_decisions(done)


@gate_app.command("check", help=tr("Whether a version passes, by its reports.", "評価の記録から合否を出す。"))
def gate_check(
    version: str,
    gate: Annotated[
        Path,
        typer.Option(help=tr("gate.yaml, or the name of one that is kept.", "gate.yaml、または保存したゲート名。")),
    ],
    as_json: Json = False,
) -> None:
    from sodate.api.releasing import check_gate

    record = check_gate(version, gate)
    if as_json:
        print_json(record)
    else:
        from sodate.terminal.releases import print_gate

        print_gate(record)
    if not record["passes"]:
        raise typer.Exit(1)


@release_app.command(
    "promote", help=tr("Make an alias mean a version that passed.", "合格したバージョンにエイリアスを移す。")
)
def release_promote(
    version: str,
    alias: Alias,
    gate: CheckedGate = None,
    override: Override = "",
    reason: Reason = "",
    by: By = "",
    as_json: Json = False,
) -> None:
    from sodate.api.releasing import promote

    _show(promote(version, alias, gate=gate, override=override, by=by, reason=reason), as_json)


@release_app.command(
    "canary", help=tr("Let a version answer a share of users.", "一部の利用者にだけ新しいバージョンで応答する。")
)
def release_canary(
    version: str,
    alias: Alias,
    share: Annotated[float, typer.Option(help=tr("Of users, 0 to 1.", "利用者の割合、0 から 1。"))] = 0.1,
    max_errors: Annotated[
        float, typer.Option(help=tr("Share of its requests that may fail.", "許す失敗の割合。"))
    ] = 0.02,
    max_slower: Annotated[
        float, typer.Option(help=tr("Times as long that a token may take.", "許す遅さ (1 トークンの時間の倍率)。"))
    ] = 2.0,
    patience: Annotated[
        float, typer.Option(help=tr("Seconds without figures until it ends.", "数値がないまま待つ秒数。"))
    ] = 600.0,
    gate: CheckedGate = None,
    override: Override = "",
    reason: Reason = "",
    by: By = "",
    as_json: Json = False,
) -> None:
    from sodate.api.releasing import start_canary

    _show(start_canary(version, alias, share=share, max_errors=max_errors, max_slower=max_slower, patience=patience,
                       gate=gate, override=override, by=by, reason=reason), as_json)  # fmt: skip


@release_app.command("abort", help=tr("End an alias's canary.", "カナリアを中止する。"))
def release_abort(
    alias: str,
    reason: Reason = "",
    by: By = "",
    as_json: Json = False,
) -> None:
    from sodate.api.releasing import abort_canary

    _show(abort_canary(alias, reason=reason, by=by), as_json)


@release_app.command(
    "rollback", help=tr("Make an alias mean what it meant before.", "エイリアスを前のバージョンに戻す。")
)
def release_rollback(
    alias: str,
    reason: Reason = "",
    by: By = "",
    as_json: Json = False,
) -> None:
    from sodate.api.releasing import rollback

    _show(rollback(alias, reason=reason, by=by), as_json)


@release_app.command("log", help=tr("Every move of an alias.", "エイリアスの全履歴。"))
def release_log(alias: str, as_json: Json = False) -> None:
    from sodate.api import releasing

    moves = releasing.release_log(alias)
    if as_json:
        print_json({"alias": alias, **releasing.meaning(alias), "moves": moves})
    else:
        from sodate.terminal.releases import print_moves

        print_moves(moves)


def _show(move: dict[str, object], as_json: bool) -> None:
    if as_json:
        print_json(move)
    else:
        from sodate.terminal.releases import print_move

        print_move(move)
