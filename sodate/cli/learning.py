"""Verbs that learn from exchanges: failures, clusters, review, examples, replay."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from sodate.cli import app
from sodate.cli.failures import print_json
from sodate.cli.options import Engine, Json, Longest
from sodate.cli.parser_words import Verbs
from sodate.cli.recording import Page, Project
from sodate.cli.serving import need_extra
from sodate.core.text import tr

learn_app = Verbs()
app.add_typer(learn_app, name="learn", help=tr("Failures, clusters, review.", "失敗の分析と、人による確認。"))
Days = Annotated[int | None, typer.Option(min=1, max=100_000, help=tr("Of the last N days.", "直近の日数。"))]


def _since(days: int | None) -> int | None:
    import time

    return None if days is None else int(time.time()) // 86_400 - days + 1


@learn_app.command("failures", help=tr("Failures with reasons, worst first.", "失敗と理由。悪い順。"))
def learn_failures(
    project: Project = "default",
    reason: Annotated[str | None, typer.Option(help="broken_schema, thumbs_down …")] = None,
    after: Annotated[str | None, typer.Option(help=tr("Where a page ended.", "前のページの終わり。"))] = None,
    days: Days = None,
    limit: Page = 20,
    as_json: Json = False,
) -> None:
    need_extra()
    from sodate.learn.failures import failures

    told = failures(project, reason=reason, after=after, limit=limit, since=_since(days))
    if as_json:
        print_json(told)
    else:
        from sodate.terminal import learning

        learning.print_failures(told)


@learn_app.command("clusters", help=tr("Failures by what they are about.", "失敗を話題ごとにまとめる。"))
def learn_clusters(
    project: Project = "default",
    again: Annotated[bool, typer.Option("--again", help=tr("Make them anew.", "作り直す。"))] = False,
    as_json: Json = False,
) -> None:
    need_extra()
    from sodate.learn.clusters import clusters

    told = clusters(project, again=again)
    if as_json:
        print_json(told)
    else:
        from sodate.terminal import learning

        learning.print_clusters(told)


@learn_app.command("review", help=tr("Decide of exchanges, one after another.", "やり取りを 1 件ずつ確認する。"))
def learn_review(
    project: Project = "default",
    reviewer: Annotated[
        str, typer.Option(envvar="USER", show_envvar=False, help=tr("Who decides.", "確認する人。"))
    ] = "reviewer",
    draw: Annotated[
        Literal["both", "failures", "random"], typer.Option(help=tr("Which come.", "どれを出すか。"))
    ] = "both",
    cluster: Annotated[str | None, typer.Option(help=tr("Failures of one.", "このクラスタの失敗だけ。"))] = None,
    overlap: Annotated[float, typer.Option(min=0, max=1, help=tr("Share two people see.", "2 人で見る割合。"))] = 0.2,
    propose: Annotated[
        str | None, typer.Option(help=tr("Model that proposes corrections.", "修正案を出すモデル。"))
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--export", help=tr("Write them: .jsonl .csv .xlsx .json", "書き出すファイル。")),
    ] = None,
    given: Annotated[
        Path | None, typer.Option("--import", help=tr("Take decisions from a file.", "判定をファイルから取り込む。"))
    ] = None,
    days: Days = None,
    limit: Page = 20,
    as_json: Json = False,
) -> None:
    need_extra()
    from sodate import terminal
    from sodate.cli.at_hand import at_hand
    from sodate.learn import handing, proposing, review
    from sodate.terminal import learning
    from sodate.terminal.reviewing import one_after_another

    model = at_hand(propose, quiet=as_json) if propose else None

    def queue() -> list[dict[str, Any]]:
        return review.queue(reviewer, project, draw=draw, limit=limit, overlap=overlap, cluster=cluster,
                            since=_since(days))  # fmt: skip

    def proposed(items: Sequence[Any]) -> Sequence[Any]:
        return proposing.proposed(items, model) if model else items

    if given is not None:
        told = handing.import_decisions(given, reviewer, project)
    elif out is not None:
        told = handing.export(proposed(queue()), out)
    elif as_json:
        told = {**review.progress(project, _since(days)), "reviewer": reviewer, "queue": proposed(queue())}
    else:
        one_after_another(
            queue, lambda id, **decided: review.decide(id, reviewer, project=project, **decided), proposed
        )
        learning.print_progress(review.progress(project, _since(days)))
        return
    print_json(told) if as_json else terminal.print_tree(told)


@learn_app.command("examples", help=tr("Write what was reviewed as data.", "確認済みのやり取りをデータにする。"))
def learn_examples(
    out: Annotated[Path, typer.Argument(help=tr("FILE.jsonl for sodate data add.", "data add 用の FILE.jsonl。"))],
    project: Project = "default",
    kind: Annotated[
        Literal["examples", "preferences"], typer.Option("--as", help=tr("What rows are.", "行の種類。"))
    ] = "examples",
    without: Annotated[
        list[str] | None, typer.Option(help=tr("Leave out this reviewer.", "この確認者の判定を除く。"))
    ] = None,
    as_json: Json = False,
) -> None:
    need_extra()
    from sodate import terminal
    from sodate.learn import examples

    told = examples.write(out, project, kind=kind, without=tuple(without or ()))
    print_json(told) if as_json else terminal.print_tree(told)


@learn_app.command("replay", help=tr("Ask a candidate what was asked before.", "過去の質問を候補に答えさせる。"))
def learn_replay(
    candidate: Annotated[str, typer.Argument(help=tr("A version.", "バージョン。"))],
    project: Project = "default",
    grader: Annotated[
        list[str] | None, typer.Option(help=tr("Default: the project's.", "既定はプロジェクトの採点。"))
    ] = None,
    days: Days = None,
    limit: Page = 100,
    max_new_tokens: Longest = 256,
    engine: Engine = "torch",
    as_json: Json = False,
) -> None:
    need_extra()
    from sodate.cli.at_hand import at_hand
    from sodate.learn import replay

    named = at_hand(candidate, quiet=as_json)
    told = replay.replay(named, project, graders=grader, since=_since(days), limit=limit,
                         max_new_tokens=max_new_tokens, engine=engine)  # fmt: skip
    if as_json:
        print_json(told)
    else:
        from sodate.terminal import learning

        learning.print_replay(told)
