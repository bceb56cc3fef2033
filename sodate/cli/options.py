"""Options that several verbs have, each with its sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from sodate.core.text import tr

Json = Annotated[bool, typer.Option("--json", help=tr("One JSON document on stdout.", "標準出力に JSON を 1 つ出す。"))]
Files = Annotated[list[Path], typer.Argument(help=tr("Data files.", "データファイル。"))]
Columns = Annotated[str | None, typer.Option(help="prompt=質問,completion=回答")]
By = Annotated[Literal["hash", "group", "time"], typer.Option(help=tr("How rows are assigned.", "分け方。"))]
Index = Annotated[
    str | None, typer.Option(help=tr("Put passages of NAME before questions.", "質問の前に索引の資料を入れる。"))
]
Encoding = Annotated[str | None, typer.Option(help="shift_jis, euc_jp, utf-16 …")]
Date = Annotated[Literal["trained", "today"], typer.Option(help=tr("Date in prompts.", "プロンプトの日付。"))]
Engine = Annotated[str, typer.Option(help="torch | llamacpp | upstream:URL")]
Limit = Annotated[int | None, typer.Option(min=1, help=tr("First N rows.", "先頭の N 行。"))]
Longest = Annotated[int, typer.Option(min=1, help=tr("Longest reply in tokens.", "返答の最大トークン数。"))]
Seed = Annotated[int, typer.Option(help=tr("Random seed.", "乱数のシード。"))]
Temperature = Annotated[
    float, typer.Option(min=0, help=tr("0 takes the likeliest token.", "0 なら確率最大のトークン。"))
]


def pairs(columns: str | None) -> dict[str, str] | None:
    """What --columns says, as names by name."""
    from sodate.core.recipe_values import column_pairs

    return column_pairs(columns) if columns else None
