"""What an index holds, how well it finds, and passages that were found, each with where it stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sodate.core.text import tr, visible
from sodate.terminal import err, out, print_table, shown

SOME = 10  # rows that are named one by one


def print_found(found: Sequence[Mapping[str, Any]]) -> None:
    if not found:
        err.print(tr("Nothing was found.", "見つかりませんでした。"))
    for one in found:
        where = " / ".join((one["file"], *one["titles"]))
        print(f"[{one['rank']}] {visible(where)} ({visible(one['place'])}, {one['score']:.2f})")
        print(visible(one["text"]), end="\n\n")


def print_unknown(questions: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows of a file of questions that are not counted, as the index does not hold what answers them."""
    for row in rows[:SOME]:
        where, named = f"{questions}:{row['line']}", row["file"] or row["passage"]
        said = tr(f"{where} is not counted: {named} is not in the index.",
                  f"{where} は数えません。{named} は索引にありません。")  # fmt: skip
        err.print(f"[yellow]{shown(said)}[/]", soft_wrap=True)
    if len(rows) > SOME:
        more = tr(f"{len(rows) - SOME} more rows are not counted.", f"ほかに {len(rows) - SOME} 行を数えません。")
        err.print(f"[yellow]{shown(more)}[/]")


def print_built(built: Mapping[str, Any]) -> None:
    """What an index holds now, and each document that is not in it, with the reason."""
    personal = ", ".join(f"{kind} {count}" for kind, count in built["personal"].items())
    aside, same = built["set_aside"], built["unchanged"]
    told = [
        (tr("documents", "文書"), built["files"]),
        (tr("passages", "文章"), built["chunks"]),
        (tr("documents taken over from before", "前の索引から引き継いだ文書"), 0 if same else built["reused"]),
        (tr("duplicates left out", "除いた重複"), built["duplicates"]),
        (tr("personal data, kept", "個人情報（残したまま）"), personal),
        (tr("documents or pages not read", "読めなかった文書やページ"), len(aside)),
    ]
    out.print(f"[bold]{built['index']}[/]  {tr('nothing has changed', '変更なし') if same else ''}".rstrip())
    for said, value in told:
        if value:
            out.print(f"  {said}: {shown(str(value))}", soft_wrap=True)
    for one in aside:
        out.print(f"    [yellow]{shown(one['message'])}[/]", soft_wrap=True)


def print_tuned(found: Mapping[str, Any]) -> None:
    """The ways that were compared, which one is kept, and what it finds of questions that did not choose it."""
    columns = ("name", "recall@1", "recall@5", "mrr")
    ways = {one["name"]: {key: one[key] for key in columns} for one in found["compared"]}
    print_table(list(ways.values()))
    held = found["held_out"]
    out.print(
        tr(f"[bold]{found['index']}[/] keeps {shown(found['kept'])}.",
           f"[bold]{found['index']}[/] は {shown(found['kept'])} を使います。"), soft_wrap=True,
    )  # fmt: skip
    out.print(
        tr(f"Of the half of {found['questions']} questions that chose nothing, the right passage comes first for "
           f"{held['recall@1']:.1%} and among the first five for {held['recall@5']:.1%}.",
           f"質問 {found['questions']} 件のうち、選ぶのに使わなかった半分では、正しい文章が 1 位に来たのは "
           f"{held['recall@1']:.1%}、5 位までに入ったのは {held['recall@5']:.1%} です。"), soft_wrap=True,
    )  # fmt: skip
    if (sure := found["threshold"]) is not None:
        out.print(
            tr(f"A best score below {sure['share']:.2f} counts as no answer: {sure['passed']:.1%} of questions with an "
               f"answer pass, {sure['refused']:.1%} of those without are stopped.",
               f"最高点が {sure['share']:.2f} 未満なら答えなしとみなします。答えのある質問の {sure['passed']:.1%} が"
               f"通り、答えのない質問の {sure['refused']:.1%} が止まります。"), soft_wrap=True,
        )  # fmt: skip


def print_changes(found: Mapping[str, Sequence[str]]) -> None:
    """Files that one index has and another has not, or has otherwise."""
    signs = {"added": "[green]+", "removed": "[red]-", "changed": "[yellow]~"}
    for kind, files in found.items():
        for file in files:
            out.print(f"{signs[kind]} {shown(file)}[/]", soft_wrap=True)
    if not any(found.values()):
        out.print(tr("Nothing has changed.", "変更はありません。"))


def print_attached(done: Mapping[str, Any]) -> None:
    """How many rows have passages now."""
    out.print(
        tr(f"[bold]{shown(done['out'])}[/]: rows {done['rows']}, with the answer in the passages {done['answerable']}",
           f"[bold]{shown(done['out'])}[/]: {done['rows']} 行、うち資料に答えがあるもの {done['answerable']} 行"),
        soft_wrap=True,
    )  # fmt: skip
