"""Verbs over what is kept: versions and base models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from sodate.cli import app, models_app, versions_app
from sodate.cli.failures import print_json
from sodate.cli.options import Json
from sodate.core.text import tr, visible


@versions_app.command("list", help=tr("Every version.", "バージョンの一覧。"))
def versions_list(as_json: Json = False) -> None:
    from sodate import terminal
    from sodate.api.versions import versions

    rows = versions()
    print_json(rows) if as_json else terminal.print_table(rows)


@versions_app.command("show", help=tr("Everything known about a version.", "バージョンの詳細。"))
def versions_show(version: str, as_json: Json = False) -> None:
    from sodate import terminal
    from sodate.api import versions

    about = versions.version(version)
    print_json(about) if as_json else terminal.print_tree(about)


@versions_app.command(
    "delete", help=tr("Delete NAME@N; its manifest stays.", "名前@番号 を削除する (マニフェストは残る)。")
)
def versions_delete(version: str, as_json: Json = False) -> None:
    from sodate.api.versions import delete_version

    gone = delete_version(version)
    print_json({"deleted": gone}) if as_json else print(tr(f"{gone} is deleted.", f"{gone} を削除しました。"))


@versions_app.command(
    "merge",
    help=tr("Whole weights of a version's adapter, and what changed.", "アダプターを重みに統合し、差を報告する。"),
)
def versions_merge(
    version: str,
    name: Annotated[
        str | None, typer.Option(help=tr("Name of the new version (default: the same).", "新しい名前 (既定は同じ)。"))
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help=tr("Rows to compare logits on.", "ロジットを比べる行のファイル。"))
    ] = None,
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16"], typer.Option(help=tr("Kept in (auto: as the base).", "保存する精度。"))
    ] = "auto",
    as_json: Json = False,
) -> None:
    import sodate
    from sodate import terminal

    done = sodate.merge(version, into=name, data=data, dtype=dtype)
    print_json(done) if as_json else terminal.print_tree(done)


@app.command(
    "export",
    help=tr(
        "A version as files for another engine, tried there.",
        "別のエンジンで使うファイルに書き出す。そのエンジンで確認してから置く。",
    ),
)
def export(
    version: str,
    to: Annotated[
        Literal["adapter", "merged", "gguf", "gguf-lora", "ollama"],
        typer.Option(
            help=tr("For peft, transformers, llama.cpp, Ollama.", "peft、transformers、llama.cpp、Ollama 用。")
        ),
    ],
    out: Annotated[Path, typer.Option(help=tr("A new folder.", "新しいフォルダー。"))],
    format: Annotated[str, typer.Option(help="f32, f16, bf16, q8_0, q5_1, q5_0, q4_1, q4_0")] = "auto",
    as_json: Json = False,
) -> None:
    import sodate
    from sodate import terminal
    from sodate.cli.at_hand import at_hand

    done = sodate.export(at_hand(version, quiet=as_json), to=to, out=out, format=format)
    print_json(done) if as_json else terminal.print_export(done)


@models_app.command(
    "pull",
    help=tr(
        "Fetch a base model: built-in name, hub id, folder or .gguf.",
        "ベースモデルを取り込む: 組み込み名、ハブ ID、フォルダー、.gguf。",
    ),
)
def models_pull(
    name: str,
    revision: Annotated[
        str | None, typer.Option(help=tr("Commit or tag on the hub.", "ハブのコミットかタグ。"))
    ] = None,
    as_json: Json = False,
) -> None:
    import sodate
    from sodate import terminal

    with terminal.pulling(quiet=as_json) as listen:
        entry = sodate.pull(name, revision, on_progress=listen)
    print_json(entry.to_json()) if as_json else terminal.print_model(entry)


@models_app.command("list", help=tr("Models that are here.", "手元のモデルの一覧。"))
def models_list(as_json: Json = False) -> None:
    from sodate import terminal
    from sodate.api.models import models

    entries = models()
    if as_json:
        print_json([e.to_json() for e in entries])
    else:
        terminal.print_models(entries)


@models_app.command("show", help=tr("Everything known about a model.", "モデルの詳細。"))
def models_show(name: str, as_json: Json = False) -> None:
    from sodate import terminal
    from sodate.api.models import model

    entry = model(name)
    print_json(entry.to_json()) if as_json else terminal.print_tree(entry.to_json())


@models_app.command("remove", help=tr("Delete a base model that nothing uses.", "使われていないモデルを削除する。"))
def models_remove(name: str, as_json: Json = False) -> None:
    from sodate.api.models import remove_model

    removed = remove_model(name)
    print_json({"removed": removed}) if as_json else print(
        tr(f"Removed {', '.join(removed)}.", f"{', '.join(removed)} を削除しました。")
    )


@app.command(help=tr("What is wrong with this setup, and what to do.", "セットアップの問題と対処を調べる。"))
def doctor(as_json: Json = False) -> None:
    from sodate.api.doctor import doctor as look

    found = look()
    if as_json:
        print_json([one.to_json() for one in found])
    for one in () if as_json else found:
        print(visible(f"{one.message}\n  {one.fix}"))
    if not found and not as_json:
        print(tr("All is well.", "問題はありません。"))
    if found:
        raise typer.Exit(1)
