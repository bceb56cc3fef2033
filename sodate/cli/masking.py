"""Verbs that replace personal data in files, and put it back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from sodate.cli import data_app
from sodate.cli.failures import print_json
from sodate.cli.options import Json
from sodate.core.text import counted, tr, visible

DataFile = Annotated[
    Path, typer.Argument(help=tr("xlsx, CSV, TSV, JSON lines or JSON.", "xlsx、CSV、TSV、JSONL、JSON。"))
]
Out = Annotated[Path, typer.Option(help=tr("Where the result goes.", "出力先。"))]


@data_app.command("mask", help=tr("Replace personal data by pseudonyms.", "個人情報を仮名に置き換える。"))
def data_mask(
    file: DataFile,
    out: Out = ...,  # type: ignore[assignment]
    key: Annotated[
        Path | None,
        typer.Option(help=tr("Keep what undoes it, apart from the data.", "元に戻す鍵。データとは別に保管する。")),
    ] = None,
    style: Annotated[
        Literal["pseudonym", "standin"],
        typer.Option(help=tr("PHONE_1, or what looks real.", "PHONE_1 か、実在風の値。")),
    ] = "pseudonym",
    words: Annotated[
        Path | None, typer.Option(help=tr("More words to mask, one a line.", "ほかに隠す語。1 行に 1 つ。"))
    ] = None,
    as_json: Json = False,
) -> None:
    from sodate.api import masking
    from sodate.learn.recording import word_list

    listed = [line.strip() for line in word_list(words)] if words else []
    done = masking.mask(file, out, key=key, style=style, words=[word for word in listed if word])
    if as_json:
        print_json({**done.to_json(), "out": str(out), "key": None if key is None else str(key)})
        return
    found = ", ".join(f"{kind} {count}" for kind, count in sorted(done.masked.items())) or "-"
    print(
        visible(
            tr(f"{counted(done.rows, 'row')} to {out}: {found}", f"{out} に {done.rows} 行を書き出しました: {found}")
        )
    )
    if key is not None:
        said = tr(f"Keep {key} apart from the data: it undoes this.",
                  f"{key} で元に戻せます。データとは別の場所に保管してください。")  # fmt: skip
        print(visible(said))


@data_app.command("unmask", help=tr("Put back what was masked, with its key.", "鍵を使って仮名を元に戻す。"))
def data_unmask(
    file: DataFile,
    out: Out = ...,  # type: ignore[assignment]
    key: Annotated[Path, typer.Option(help=tr("The key of `data mask`.", "data mask の鍵。"))] = ...,  # type: ignore[assignment]
    as_json: Json = False,
) -> None:
    from sodate.api import masking

    done = masking.unmask(file, out, key)
    if as_json:
        print_json({"rows": done.rows, "out": str(out)})
    else:
        print(visible(tr(f"{counted(done.rows, 'row')} to {out}.", f"{out} に {done.rows} 行を書き出しました。")))
