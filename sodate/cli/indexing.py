"""Verbs over documents: build an index, search it, measure it, and put its passages before questions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sodate.cli import app, data_app
from sodate.cli.failures import print_json
from sodate.cli.options import Columns, Encoding, Json
from sodate.cli.parser_words import Verbs
from sodate.core.text import tr

index_app = Verbs()
app.add_typer(
    index_app, name="index", help=tr("Documents that answers are looked up in.", "回答の根拠になる文書の索引。")
)

Passages = Annotated[int, typer.Option("--k", min=1, max=100, help=tr("Passages.", "文章の数。"))]


@index_app.command(
    "build", help=tr("Documents and folders of them become an index.", "文書やフォルダーから索引を作る。")
)
def index_build(
    paths: Annotated[list[Path], typer.Argument(help=tr("Documents or folders.", "文書またはフォルダー。"))],
    name: Annotated[str, typer.Option(help=tr("Name of the index.", "索引の名前。"))],
    as_json: Json = False,
) -> None:
    from sodate.api import retrieval
    from sodate.terminal.passages import print_built

    built = retrieval.build_index(list(paths), name)
    print_json(built) if as_json else print_built(built)


@index_app.command("list", help=tr("Every index.", "索引の一覧。"))
def index_list(as_json: Json = False) -> None:
    from sodate import terminal
    from sodate.api import retrieval

    rows = retrieval.indexes()
    print_json(rows) if as_json else terminal.print_table(rows)


@index_app.command("show", help=tr("What an index holds; its files are checked.", "索引の詳細。ファイルも検証する。"))
def index_show(index: str, as_json: Json = False) -> None:
    from sodate import terminal
    from sodate.api import retrieval

    about = retrieval.show_index(index)
    print_json(about) if as_json else terminal.print_tree(about)


@index_app.command("diff", help=tr("Files added, removed and changed.", "追加・削除・変更されたファイル。"))
def index_diff(old: str, new: str, as_json: Json = False) -> None:
    from sodate.api import retrieval
    from sodate.terminal.passages import print_changes

    found = retrieval.diff_indexes(old, new)
    print_json(found) if as_json else print_changes(found)


@index_app.command("search", help=tr("The best passages for a query.", "問い合わせに合う文章。"))
def index_search(
    index: str,
    query: str,
    k: Passages = 5,
    rerank: Annotated[
        str | None,
        typer.Option(help=tr("A model that puts them in order.", "並べ直しに使うモデル。")),
    ] = None,
    as_json: Json = False,
) -> None:
    from sodate.api import retrieval
    from sodate.terminal.passages import print_found

    found = retrieval.search_index(index, query, k, rerank)
    print_json({"results": found}) if as_json else print_found(found)


@index_app.command(
    "tune", help=tr("Measure on questions, and keep what finds most.", "質問で測り、最も良い重みを残す。")
)
def index_tune(
    index: str,
    questions: Annotated[
        Path,
        typer.Option(help=tr("Rows with question, and file or passage.", "question と file か passage を持つ行。")),
    ],
    encoder: Annotated[
        str | None, typer.Option(help=tr("Measure vectors too: e5, model:NAME or URL#MODEL.",
                                         "ベクトルも測る: e5、model:名前、URL#モデル。")),
    ] = None,
    as_json: Json = False,
) -> None:  # fmt: skip
    from sodate.api import index_tuning
    from sodate.terminal.passages import print_tuned, print_unknown

    found = index_tuning.tune_index(index, questions, encoder)
    print_unknown(questions, found["unknown"])
    print_json(found) if as_json else print_tuned(found)


@index_app.command("bind", help=tr("A version that answers from an index.", "索引を使って答えるバージョンを作る。"))
def index_bind(version: str, index: str, as_json: Json = False) -> None:
    from sodate import terminal
    from sodate.api import binding

    made = binding.bind_index(version, index)
    print_json(made) if as_json else terminal.print_tree(made)


@data_app.command("with-context", help=tr("Rows with passages before each question.", "各行の質問の前に資料を入れる。"))
def data_with_context(
    file: Annotated[Path, typer.Argument(help=tr("Conversations.", "会話のファイル。"))],
    index: Annotated[str, typer.Option(help=tr("NAME or NAME@N.", "名前 または 名前@番号。"))],
    out: Annotated[Path, typer.Option(help=tr("File to write.", "書き出すファイル。"))],
    k: Passages = 4,
    answerable: Annotated[
        float,
        typer.Option(min=0, max=1, help=tr("Share of rows with their answer.", "資料に答えがある行の割合。")),
    ] = 1.0,
    abstention: Annotated[
        str | None, typer.Option(help=tr("Reply where they don't.", "資料に答えがないときの返答。"))
    ] = None,
    columns: Columns = None,
    encoding: Encoding = None,
    seed: int = 0,
    as_json: Json = False,
) -> None:
    from sodate.api import grounding
    from sodate.core.recipe_values import column_pairs
    from sodate.terminal.passages import print_attached

    done = grounding.with_context(
        file, index, out, k=k, columns=column_pairs(columns) if columns else None, encoding=encoding,
        answerable=answerable, abstention=abstention, seed=seed,
    )  # fmt: skip
    print_json(done) if as_json else print_attached(done)
