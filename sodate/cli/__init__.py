"""The command line: thin verbs over the Python API. Nothing heavy is imported before a verb runs."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from sodate.cli import failures, process
from sodate.cli.failures import print_json
from sodate.cli.lines import line_numbers
from sodate.cli.options import By, Columns, Encoding, Files, Json, Seed, pairs
from sodate.cli.parser_words import Verbs
from sodate.core.errors import UsageError
from sodate.core.text import tr

app = Verbs(pretty_exceptions_enable=False, add_completion=False, rich_markup_mode=None,
            help=tr("Raise a language model you own.", "自分のものになる言語モデルを育てる。"))  # fmt: skip
data_app, runs_app, versions_app, models_app, keys_app = (Verbs() for _ in range(5))
app.add_typer(data_app, name="data", help=tr("Check, show and split data.", "データの検査・表示・分割。"))
app.add_typer(
    runs_app, name="runs", help=tr("List, watch, stop and resume training runs.", "学習の一覧、様子、停止、再開。")
)
app.add_typer(versions_app, name="versions", help=tr("List and show versions.", "バージョンの一覧と表示。"))
app.add_typer(
    models_app, name="models", help=tr("Pull, list and remove base models.", "ベースモデルの取得・一覧・削除。")
)
app.add_typer(keys_app, name="keys", help=tr("API keys of the server.", "サーバーの API キー。"))


@app.callback()
def _root(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help=tr("Show tracebacks.", "トレースバックを表示。"))] = False,
    verify: Annotated[
        bool,
        typer.Option("--verify", help=tr("Hash models again before use.", "使う前にモデルのハッシュ値を計算し直す。")),
    ] = False,
) -> None:
    if debug:
        os.environ["SODATE_DEBUG"] = "1"
    if verify:
        from sodate.api.models import verifying

        context.with_resource(verifying())


def main() -> None:
    """Entry point: a failure is one clear message and an exit status, never a traceback unless --debug asks for it."""
    if os.environ.get("WORLD_SIZE", "1") != "1" and os.environ.get("RANK", "0") != "0":
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115 (one of several processes speaks)
    process.wait_briefly()
    with process.watched():
        status = failures.run(app, sys.argv[1:])
    if os.environ.get("WORLD_SIZE", "1") != "1":
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)  # torch's threads of a group now and then abort a process that ends in the usual way
    sys.exit(status)


# ── data ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@data_app.command(
    "check", help=tr("Every row used, or set aside with its reason.", "全行を検査し、使えない行を理由とともに示す。")
)
def data_check(
    files: Files,
    against: Annotated[
        Path | None, typer.Option(help=tr("Held-out file to keep unseen.", "学習に混ぜない評価用ファイル。"))
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help=tr("Count tokens, forecast time, memory.", "トークン数、時間とメモリの見込み。")),
    ] = None,
    columns: Columns = None,
    encoding: Encoding = None,
    max_length: Annotated[int | None, typer.Option(help=tr("Longest row in tokens.", "最大トークン数。"))] = None,
    method: Annotated[
        str | None,
        typer.Option(
            "--for",
            help=tr(
                "grpo | ppo: what can these tasks teach the model?", "grpo | ppo: この問題からモデルが学べるか調べる。"
            ),
        ),
    ] = None,
    rewards: Annotated[
        str, typer.Option(help=tr("Graders of --for, as in a recipe.", "--for の採点。レシピと同じ書き方。"))
    ] = "exact",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help=tr("Recipe key of --for.", "--for のレシピのキー。")),
    ] = None,
    as_json: Json = False,
) -> None:
    import sodate
    from sodate.api.checks import there
    from sodate.cli.at_hand import at_hand
    from sodate.core.recipe import given

    if method and not model:
        raise UsageError(
            tr("--for needs --model: the version that a run would begin with.",
               "--for には --model (学習を始めるバージョン) が必要です。"),
            code="missing_key", param="model",
        )  # fmt: skip
    named = at_hand(model, quiet=as_json, first=lambda: there(files)) if model else None
    checked = sodate.check(
        files,
        against=against,
        model=named,
        columns=pairs(columns),
        encoding=encoding,
        max_length=max_length,
    )
    if method and named:
        from sodate.api.teaching import teaching

        checked.stats["teaching"] = teaching(checked, named, method, rewards, given(settings or ()))
    if as_json:
        print_json(checked.to_json())
    else:
        from sodate.terminal.data import print_check

        print_check(checked, model)
    if checked.ledger.set_aside:
        raise typer.Exit(1)


@data_app.command(
    "show",
    help=tr("A dataset, or rows as the model sees them.", "データセットの詳細、またはモデルから見た行。"),
)
def data_show(
    file: Path,
    model: Annotated[
        str, typer.Option(help=tr("Model whose template is used.", "テンプレートを使うモデル。"))
    ] = "smollm2-135m",
    rows: Annotated[
        str | None, typer.Option(help=tr("Line numbers, e.g. 1-3,7; of a file 1-3.", "行番号。例: 1-3,7"))
    ] = None,
    template: Annotated[str | None, typer.Option(help="chatml, gemma, llama3, plain, FILE.jinja")] = None,
    columns: Columns = None,
    encoding: Encoding = None,
    as_json: Json = False,
) -> None:
    from dataclasses import asdict

    from sodate.api import data
    from sodate.api.checks import there
    from sodate.cli.at_hand import at_hand

    if rows is None and data.is_dataset(file):
        from sodate import terminal
        from sodate.api import datasets

        about = datasets.show(str(file))
        print_json(about) if as_json else terminal.print_tree(about)
        return
    lines = line_numbers(rows or "1-3")
    named = at_hand(model, quiet=as_json, first=lambda: there([file]))
    found = data.rows(file, lines, named, template=template, columns=pairs(columns), encoding=encoding)
    if as_json:
        print_json([asdict(row) for row in found])
        return
    from sodate.terminal.data import print_rows

    print_rows(found)


@data_app.command("split", help=tr("Split off held-out rows before anything else.", "最初に評価用の行を分けておく。"))
def data_split(
    files: Files,
    train: Annotated[Path, typer.Option(help=tr("Where training rows go.", "学習用の出力先。"))],
    held_out: Annotated[Path, typer.Option("--held-out", help=tr("Where held-out rows go.", "評価用の出力先。"))],
    by: By = "hash",
    share: Annotated[float, typer.Option(help=tr("Share held out.", "評価用の割合。"))] = 0.1,
    column: Annotated[
        str | None, typer.Option(help=tr("Column of the group or time.", "グループまたは時刻の列。"))
    ] = None,
    seed: Seed = 0,
    columns: Columns = None,
    encoding: Encoding = None,
    as_json: Json = False,
) -> None:
    from sodate.api import data

    done = data.split(files, train, held_out, by=by, share=share, column=column, seed=seed, columns=pairs(columns),
                      encoding=encoding)  # fmt: skip
    if as_json:
        print_json({"train": done.train, "held_out": done.held_out, "set_aside": done.ledger.rows_aside})
        return
    from sodate.terminal.data import print_split

    print_split(done, str(train), str(held_out))


# ── train ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@app.command(
    help=tr("Train by RECIPE.yaml or by --model and --data.", "RECIPE.yaml、または --model と --data で学習。")
)
def train(
    recipe: Annotated[list[str] | None, typer.Argument(metavar="[RECIPE.yaml] [KEY=VALUE]...")] = None,
    model: Annotated[
        str | None, typer.Option(help=tr("Base model or version.", "ベースモデルまたはバージョン。"))
    ] = None,
    data: Annotated[list[str] | None, typer.Option(help=tr("Training file(s).", "学習ファイル。"))] = None,
    held_out: Annotated[
        str | None, typer.Option("--eval", help=tr("File watched during training.", "学習中の検証に使うファイル。"))
    ] = None,
    name: Annotated[str | None, typer.Option(help=tr("Name of the version.", "バージョンの名前。"))] = None,
    method: Annotated[str | None, typer.Option(help="sft | dpo | kto | orpo | simpo | reward | ppo | grpo")] = None,
    adapter: Annotated[str | None, typer.Option(help="lora | rslora | dora | qlora | bottleneck | last | full")] = None,
    init_adapter: Annotated[
        str | None, typer.Option(help=tr("PEFT adapter to start from.", "初期値にする PEFT アダプター。"))
    ] = None,
    columns: Columns = None,
    encoding: Encoding = None,
    memory: Annotated[
        str | None, typer.Option(help=tr("Memory the run may take, e.g. 4GB.", "使ってよいメモリ。例: 4GB"))
    ] = None,
    seeds: Annotated[
        int, typer.Option(min=1, help=tr("Train with so many seeds, to see luck.", "運を見るための学習の回数。"))
    ] = 1,
    as_json: Json = False,
) -> None:
    import sodate
    from sodate import terminal
    from sodate.api.checks import refuse_recipe
    from sodate.api.models import is_built_in
    from sodate.api.seeds import train_seeds
    from sodate.cli.at_hand import at_hand
    from sodate.core.recipe import given, load_recipe

    words = recipe or []
    words = [w if "=" in w else w.replace("＝", "=", 1) for w in words]  # as a Japanese keyboard writes it
    files = [w for w in words if "=" not in w]
    if len(files) > 1:
        raise UsageError(
            tr(f"One recipe at a time: {', '.join(files)}.", f"レシピは 1 つだけ指定してください: {', '.join(files)}"),
            code="bad_value",
            param="recipe",
        )
    keys = given(w for w in words if "=" in w)
    options = {"model": model, "data": data, "eval": held_out, "name": name, "method": method, "adapter": adapter,
               "init_adapter": init_adapter, "columns": columns, "encoding": encoding, "memory": memory}  # fmt: skip
    options = {key: value for key, value in options.items() if value}
    if twice := keys.keys() & options.keys():
        key = min(twice)
        raise UsageError(
            tr(f"{key} is given twice: as an option and as {key}=…",
               f"{key} がオプションと {key}=… の両方で指定されています。"),
            code="bad_value", param=key,
        )  # fmt: skip
    keys |= options
    loaded = load_recipe(Path(files[0]) if files else None, keys)
    # A recipe file may come from anybody: of what it names, only a built-in model, pinned by its hash, is fetched.
    if "model" in keys or is_built_in(loaded.model):
        here = at_hand(loaded.model, quiet=as_json, first=lambda: refuse_recipe(loaded))
        loaded = loaded.model_copy(update={"model": here})
    with terminal.training(quiet=as_json) as listen:
        one = seeds == 1
        result = sodate.train(loaded, on_event=listen) if one else train_seeds(loaded, seeds=seeds, on_event=listen)
    print_json(result) if as_json else terminal.print_trained(result)


@app.command(help=tr("Estimate memory and speed on a cluster.", "クラスタでのメモリと速度の見積もり。"))
def plan(
    model: str,
    processes: Annotated[int, typer.Option(min=1, help=tr("One per GPU.", "GPU ごとに 1 つ。"))] = 1,
    tokens: Annotated[
        int, typer.Option(min=1, help=tr("Computed at once in each.", "一度に計算するトークン数。"))
    ] = 8192,
    run: Annotated[
        str | None, typer.Option(help=tr("Run of one process whose steps were timed.", "速度の基になる学習。"))
    ] = None,
    as_json: Json = False,
) -> None:
    from sodate import terminal
    from sodate.api.plan import plan as worked_out
    from sodate.cli.at_hand import at_hand

    rows = worked_out(at_hand(model, quiet=as_json), processes=processes, tokens=tokens, run=run)
    print_json(rows) if as_json else terminal.print_plan(rows)


@runs_app.command("list", help=tr("Every run, oldest first.", "学習の一覧。"))
def runs_list(as_json: Json = False) -> None:
    from sodate import terminal
    from sodate.api.runs import runs

    rows = runs()
    print_json(rows) if as_json else terminal.print_table(rows)


@runs_app.command("resume", help=tr("Go on with an interrupted run.", "中断した学習を続ける。"))
def runs_resume(run: str, as_json: Json = False) -> None:
    import sodate
    from sodate import terminal

    with terminal.training(quiet=as_json) as listen:
        result = sodate.resume(run, on_event=listen)
    print_json(result) if as_json else terminal.print_trained(result)


from sodate.cli import (  # noqa: E402 (the other verbs join the app here)
    answering,  # noqa: F401
    climbing,  # noqa: F401
    cycling,  # noqa: F401
    datasets,  # noqa: F401
    explaining,  # noqa: F401
    importing,  # noqa: F401
    indexing,  # noqa: F401
    jobs,  # noqa: F401
    judging,  # noqa: F401
    learning,  # noqa: F401
    masking,  # noqa: F401
    recording,  # noqa: F401
    releasing,  # noqa: F401
    serving,  # noqa: F401
    stored,  # noqa: F401
    watching,  # noqa: F401
)
