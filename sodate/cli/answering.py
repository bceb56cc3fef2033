"""Verbs that let models answer: on held-out rows, in a conversation, to a prompt or a file of them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from sodate.cli import app
from sodate.cli.failures import print_json
from sodate.cli.options import (
    Columns,
    Date,
    Encoding,
    Engine,
    Index,
    Json,
    Limit,
    Longest,
    Seed,
    Temperature,
    pairs,
)
from sodate.core.errors import UsageError
from sodate.core.text import tr


@app.command("eval", help=tr("Compare models on held-out rows.", "評価用の行でモデルを比べる。"))
def evaluate(
    data: Annotated[Path, typer.Option(help=tr("Held-out file.", "評価用ファイル。"))],
    grader: Annotated[list[str], typer.Option(help="exact, json_schema:FILE, fields, label, rules:FILE …")],
    models: Annotated[
        list[str] | None, typer.Argument(help=tr("Versions or base models.", "バージョンまたはベースモデル。"))
    ] = None,
    replies: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE[:NAME]", help=tr("Replies made elsewhere.", "ほかで作った返答のファイル。")),
    ] = None,
    baseline: Annotated[
        str | None, typer.Option(help=tr("Compared with (default: the first).", "比較の基準 (既定は先頭)。"))
    ] = None,
    shots: Annotated[
        Path | None,
        typer.Option(help=tr("A second baseline: these examples in the prompt.", "第二の基準: 例を入れたプロンプト。")),
    ] = None,
    prompt: Annotated[
        str | None,
        typer.Option(
            help=tr(
                "A baseline with this system prompt, or file of one.",
                "このシステムプロンプト (またはファイル) を付けた基準。",
            )
        ),
    ] = None,
    baselines: Annotated[
        bool | None,
        typer.Option(
            "--baselines/--no-baselines",
            help=tr(
                "Its base, alone and with examples; of one version by itself as a rule.",
                "ベースモデル単体と、例を入れたもの。バージョン一つだけのときは自動で加わる。",
            ),
        ),
    ] = None,
    columns: Columns = None,
    encoding: Encoding = None,
    cluster: Annotated[
        str | None,
        typer.Option(help=tr("Related rows share its value and count as one.", "関係する行を 1 件と数えるための列。")),
    ] = None,
    slice: Annotated[
        list[str] | None, typer.Option(help=tr("Columns to compare by, too.", "値ごとにも比べる列。"))
    ] = None,
    margin: Annotated[
        float, typer.Option(min=0, max=1, help=tr("Differences up to this count as none.", "差がないとみなす幅。"))
    ] = 0.03,
    index: Index = None,
    schema: Annotated[
        Path | None, typer.Option(help=tr("Hold replies to this JSON schema.", "返答をこの JSON スキーマに従わせる。"))
    ] = None,
    alone: Annotated[
        int, typer.Option(min=0, help=tr("Rows to time one at a time first.", "最初に 1 件ずつ時間を測る行数。"))
    ] = 0,
    retention: Annotated[
        bool, typer.Option("--retention", help=tr("Ask what was forgotten, too.", "忘れたことがないかも調べる。"))
    ] = False,
    prices: Annotated[
        Path | None, typer.Option(help=tr("YAML of what tokens and hours cost.", "トークンと時間の価格の YAML。"))
    ] = None,
    limit: Limit = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help=tr("Longest reply.", "返答の最大トークン数。"))] = None,
    batch_size: Annotated[int, typer.Option(min=1, help=tr("Replies written at once.", "同時に生成する数。"))] = 64,
    engine: Engine = "torch",
    examples: Annotated[int, typer.Option(min=0, help=tr("Before/after examples to print.", "表示する例の数。"))] = 3,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    import shlex

    import sodate
    from sodate import terminal
    from sodate.api.checks import refuse_measuring
    from sodate.cli.at_hand import at_hand

    named = [*(models or ()), *([baseline] if baseline else ())]

    def first() -> None:
        refuse_measuring(grader, () if engine.startswith("upstream:") else named, (data, shots))

    models = [at_hand(model, engine, quiet=as_json, first=first) for model in models or ()]
    baseline = at_hand(baseline, engine, quiet=as_json, first=first) if baseline else None
    with terminal.evaluating(quiet=as_json) as listen:
        done = sodate.evaluate(
            models, data, grader, replies=replies or (), baseline=baseline, limit=limit, shots=shots,
            prompt=prompt, baselines=baselines,
            columns=pairs(columns), encoding=encoding, cluster=cluster, slices=slice or (), margin=margin,
            index=index, schema=schema, alone=alone, max_new_tokens=max_tokens, batch_size=batch_size, seed=seed,
            engine=engine, replay=shlex.join(["sodate", *sys.argv[1:]]), retention=retention, prices=prices,
            on_event=listen,
        )  # fmt: skip
    if as_json:
        parts = [one.to_json() for one in done.slices]
        print_json(
            {
                **done.result.to_json(),
                "slices": parts,
                **done.aside.to_json(),
                "remarks": [str(one) for one in done.remarks],
                "report": str(done.report),
            }
        )
    else:
        from sodate.terminal.comparison import print_evaluation

        print_evaluation(done, examples)


@app.command(help=tr("Talk with a version or base model.", "バージョンやベースモデルと話す。"))
def chat(
    model: str,
    system: Annotated[str | None, typer.Option(help=tr("System prompt.", "システムプロンプト。"))] = None,
    temperature: Temperature = 0.0,
    max_tokens: Longest = 512,
    date: Date = "trained",
    engine: Engine = "torch",
    index: Index = None,
) -> None:
    import sodate
    from sodate.api.retrieval import of_version
    from sodate.cli.at_hand import at_hand
    from sodate.terminal.talk import chat as talk

    asking = of_version(model, index)
    loaded = sodate.load(at_hand(model, engine), date=date, engine=engine)
    talk(loaded, system, asking, temperature=temperature, max_new_tokens=max_tokens)


@app.command(help=tr("Replies to a prompt, or to every row of a file.", "プロンプトまたはファイルの各行への返答。"))
def generate(
    model: str,
    prompt: Annotated[str | None, typer.Option(help=tr("One user message.", "ユーザーの発言。"))] = None,
    system: Annotated[str | None, typer.Option(help=tr("System prompt.", "システムプロンプト。"))] = None,
    data: Annotated[
        Path | None, typer.Option(help=tr("File whose rows are answered, as JSON lines.", "各行に返答するファイル。"))
    ] = None,
    columns: Columns = None,
    encoding: Encoding = None,
    index: Index = None,
    samples: Annotated[int, typer.Option(min=1, help=tr("Replies per prompt.", "プロンプトごとの返答の数。"))] = 1,
    temperature: Temperature = 0.0,
    top_p: Annotated[
        float, typer.Option(min=0, max=1, help=tr("Sample from this much probability.", "候補にする確率の合計。"))
    ] = 1.0,
    max_tokens: Longest = 256,
    limit: Limit = None,
    seed: Seed = 0,
    date: Date = "trained",
    engine: Engine = "torch",
    as_json: Json = False,
) -> None:
    from sodate import terminal
    from sodate.api import replies
    from sodate.cli.at_hand import at_hand
    from sodate.terminal.talk import print_replies

    if (prompt is None) == (data is None):
        raise UsageError(
            tr("Give either --prompt or --data.", "--prompt か --data のどちらかを指定してください。"),
            code="bad_value",
            param="prompt",
        )
    if data is None:
        asked = [replies.prompt(prompt or "", system)]
    else:
        asked = replies.prompts(data, system=system, columns=pairs(columns), encoding=encoding, limit=limit,
                                on_problem=terminal.print_problem)  # fmt: skip
    asked = replies.with_index(asked, model, index)
    rows = replies.replies(
        at_hand(model, engine, quiet=as_json), asked, samples=samples, temperature=temperature, top_p=top_p,
        max_new_tokens=max_tokens, seed=seed, date=date, engine=engine,
    )  # fmt: skip
    print_json(rows) if as_json else print_replies(rows, alone=data is None and samples == 1)
