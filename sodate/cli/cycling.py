"""The verb that improves a version from its own use, once a month."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from sodate.cli import app
from sodate.cli.failures import print_json
from sodate.cli.options import Json
from sodate.core.text import tr, visible


@app.command(
    help=tr(
        "From reviewed use to a better version, a month at a time.", "確認済みの利用記録から、月ごとに改善版を作る。"
    )
)
def cycle(
    file: Annotated[Path, typer.Argument(help="CYCLE.yaml")],
    plan: Annotated[bool, typer.Option("--plan", help=tr("Only say what would be done.", "予定を示すだけ。"))] = False,
    month: Annotated[
        str | None, typer.Option(help=tr("YYYY-MM (default: now).", "年月 YYYY-MM (既定は今月)。"))
    ] = None,
    as_json: Json = False,
) -> None:
    from sodate.learn.cycle import cycle as go

    def heard(kind: str, data: Any) -> None:
        if kind == "step" and isinstance(data, str):
            print(visible(tr(f"… {data}", f"… {data}")), file=sys.stderr, flush=True)

    done = go(file, plan=plan, month=month, on_event=heard)
    if as_json:
        print_json(done)
        return
    for one in done["steps"]:
        print(visible(f"{one['name']:<10} {one['status']:<8} {one['why']}"))
    if done["page"]:
        print(visible(str(done["page"])))
