"""`ladder`: from a task to the rung that is enough."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from sodate.cli import app
from sodate.cli.failures import print_json
from sodate.cli.options import Json
from sodate.core.text import tr


@app.command(
    help=tr("Prompt, retrieval or training: measure which is enough.", "プロンプト・検索・学習を測り、方法を選ぶ。")
)
def ladder(
    task: Annotated[Path, typer.Argument(help=tr("Task file.", "タスクのファイル。"))],
    new: Annotated[
        bool, typer.Option("--new", help=tr("Ask, and write the file.", "質問に答えてファイルを作る。"))
    ] = False,
    every: Annotated[
        bool, typer.Option("--every", help=tr("Measure every rung.", "十分な方法があっても、すべて測る。"))
    ] = False,
    as_json: Json = False,
) -> None:
    from sodate.api import ladder as climbed
    from sodate.api import ladder_task
    from sodate.api.models import is_built_in
    from sodate.cli.at_hand import at_hand
    from sodate.terminal import ladder as drawn

    if new or (not task.exists() and sys.stdin.isatty()):
        given = ladder_task.write_task(task, drawn.asked(task, lambda text, default: typer.prompt(
            text, default=default, show_default=bool(default), err=as_json)))  # fmt: skip
        said = ladder_task.advice(given.task)
        if as_json:
            print_json({"task": str(task), "advice": [str(one) for one in said]})
        else:
            drawn.print_advice(task, said)
        return
    model = ladder_task.load_task(task).task.model
    if is_built_in(model):  # of what a file names, only what is pinned by its hash is fetched
        at_hand(model, quiet=as_json)
    with drawn.climbing(quiet=as_json) as listen:
        result = climbed.ladder(task, every=every, on_event=listen)
    print_json(result) if as_json else drawn.print_ladder(result)
