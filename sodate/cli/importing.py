"""What others' platforms and trainers left behind, brought in: `sodate import`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sodate.cli import app
from sodate.cli.failures import print_json
from sodate.cli.options import Json
from sodate.cli.parser_words import Verbs
from sodate.core.text import tr

if TYPE_CHECKING:
    from sodate.api.imported import Imported

import_app = Verbs()
app.add_typer(
    import_app, name="import", help=tr("Bring in what others' tools left.", "ほかのツールのデータを取り込む。")
)

Out = Annotated[
    Path | None,
    typer.Option(help=tr("Folder to make (default: in SODATE_HOME).", "作るフォルダー (既定は SODATE_HOME)。")),
]


@import_app.command(
    "openai",
    help=tr("Training files, jobs, graders, evals, stored completions saved of OpenAI's platform.",
            "OpenAI から保存した学習ファイル、ジョブ、採点、評価、保存済み返答。"),
)  # fmt: skip
def import_openai(path: Path, out: Out = None, as_json: Json = False) -> None:
    from sodate.api.import_openai import import_openai as run

    _shown(run(path, out), as_json)


@import_app.command(
    "llama-factory",
    help=tr("A YAML or folder with dataset_info.json.", "YAML、または dataset_info.json のフォルダー。"),
)
def import_llama_factory(path: Path, out: Out = None, as_json: Json = False) -> None:
    from sodate.api.import_trainers import import_llama_factory as run

    _shown(run(path, out), as_json)


@import_app.command("axolotl", help=tr("A YAML, or a folder of them.", "YAML、またはそのフォルダー。"))
def import_axolotl(path: Path, out: Out = None, as_json: Json = False) -> None:
    from sodate.api.import_trainers import import_axolotl as run

    _shown(run(path, out), as_json)


def _shown(made: Imported, as_json: bool) -> None:
    if as_json:
        print_json(made.to_json())
        return
    from sodate import terminal

    terminal.print_imported(made)
