"""`why`: which training rows a reply, or the loss on held-out rows, comes from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sodate.cli import app
from sodate.cli.failures import print_json
from sodate.cli.options import Columns, Encoding, Json, pairs
from sodate.core.errors import UsageError
from sodate.core.text import tr


@app.command(help=tr("The training rows that moved a reply most.", "返答を最も動かした学習データの行を示す。"))
def why(
    version: str,
    prompt: Annotated[str | None, typer.Option(help=tr("What was asked.", "質問の文。"))] = None,
    reply: Annotated[
        str | None, typer.Option(help=tr("What was answered (default: ask it).", "返答 (既定は今の返答)。"))
    ] = None,
    system: Annotated[str, typer.Option(help=tr("System message before it.", "その前のシステムメッセージ。"))] = "",
    harmful: Annotated[
        bool,
        typer.Option("--harmful", help=tr("Rows that harm the rows of --against.", "--against の行に有害な行。")),
    ] = False,
    against: Annotated[
        Path | None, typer.Option(help=tr("Held-out file, for --harmful.", "評価用ファイル (--harmful 用)。"))
    ] = None,
    top: Annotated[int, typer.Option(min=1, help=tr("How many rows.", "表示する行数。"))] = 10,
    columns: Columns = None,
    encoding: Encoding = None,
    as_json: Json = False,
) -> None:
    import sodate
    from sodate.terminal.explaining import print_harmful, print_why

    if harmful != (against is not None) or harmful == (prompt is not None) or (harmful and (reply or system)):
        raise UsageError(
            tr("Give --prompt, or --harmful with --against FILE.",
               "--prompt か、--harmful と --against ファイル を指定してください。"),
            "sodate why --help",
            code="bad_value", param="prompt",
        )  # fmt: skip
    if against is not None:
        done = sodate.harmful(version, against, columns=pairs(columns), encoding=encoding, top=top)
    else:
        done = sodate.why(version, prompt or "", reply=reply, system=system, top=top)
    if as_json:
        print_json(done)
    elif harmful:
        print_harmful(done)
    else:
        print_why(done)
