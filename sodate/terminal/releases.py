"""Decisions, gates and moves of aliases in the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from sodate.core.text import tr
from sodate.terminal import out, shown
from sodate.terminal.words import cell


def print_gate(record: Mapping[str, Any]) -> None:
    """A line a metric, the verdict last."""
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0), pad_edge=False)
    for title in ("", tr("tier", "段階"), tr("metric", "採点"), tr("why", "理由")):
        table.add_column(title, overflow="fold")
    for row in record["tiers"]:
        mark = Text("✓", "green") if row["passes"] else Text("✗", "bold red")
        table.add_row(mark, row["tier"], shown(row["metric"]), shown(row["why"]))
    out.print(table)
    looks = record["looks"]
    if looks > 1:
        said = tr(f"These held-out rows were looked at {looks} times; each look makes luck likelier.",
                  f"この評価データが使われたのは {looks} 回目です。回数が増えるほど偶然の合格が増えます。")  # fmt: skip
        out.print(said, style="dim", soft_wrap=True)
    passes = record["passes"]
    verdict = tr("passes", "合格") if passes else tr("does not pass", "不合格")
    out.print(f"{shown(record['version'])}: {verdict}", style="bold green" if passes else "bold red", soft_wrap=True)
    if record.get("measure"):
        out.print(tr("Measure it: ", "測定するには: ") + shown(record["measure"]), soft_wrap=True)


def print_move(move: Mapping[str, Any]) -> None:
    if move["kind"] == "canary":
        share = f"{100 * move['canary']['share']:g}"
        out.print(tr(f"{shown(move['version'])} answers {share} % of the users of {shown(move['alias'])}; the others "
                     f"stay with {shown(move['before'])}.",
                     f"{shown(move['alias'])} の利用者の {share}% に {shown(move['version'])} が応答します。"
                     f"ほかの利用者は {shown(move['before'])} のままです。"), soft_wrap=True)  # fmt: skip
        return
    before = f" ({tr('before', '以前')}: {shown(move['before'])})" if move["before"] else ""
    out.print(f"{shown(move['alias'])} → {shown(move['version'])}{before}", soft_wrap=True)


def print_moves(moves: Sequence[Mapping[str, Any]]) -> None:
    """Oldest first; an override is marked, with its reason."""
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0), pad_edge=False)
    for title in (
        tr("at", "日時"),
        tr("move", "操作"),
        tr("version", "バージョン"),
        tr("by", "実行者"),
        tr("why", "理由"),
    ):
        table.add_column(title, overflow="fold")
    for move in moves:
        kind = tr("override", "例外承認") if move.get("override") else move["kind"]
        table.add_row(cell("moved_at", move["at"]), str(kind), shown(move["version"]), shown(move.get("by", "")),
                      shown(move.get("reason", "")))  # fmt: skip
    out.print(table)


def print_decisions(done: Mapping[str, Any]) -> None:
    """A line a row, then what may be relied on."""
    for one in done["results"]:
        mark = f"  [yellow]{tr('handed over', '人に渡す')}[/]" if one["handed_over"] else ""
        out.print(f"{one['line']}  {shown(one['answer'])}  {100 * one['confidence']:.1f} %{mark}", soft_wrap=True)
    n, share, promise = done["n"], f"{100 * done['coverage']:.0f}", done["promise"]
    if promise is None:
        said = tr("Nothing is promised: give rows with answers by --calibrate FILE.",
                  "正しさの約束はありません。--calibrate FILE で正解つきの行を渡してください。")  # fmt: skip
    elif done["threshold"] is None:
        said = tr(f"{100 * promise:g} % right can't be promised anywhere: all {n} rows are handed over.",
                  f"{100 * promise:g}% の正しさはどこでも約束できません。{n} 行すべてを人に渡します。")  # fmt: skip
    else:
        least = f"{100 * done['threshold']:.1f}"
        said = tr(f"Answered {share} % of {n} rows, those with {least} % or more: at least {100 * promise:g} % of such "
                  "answers are right (in 19 of 20 calibrations).",
                  f"{n} 行の {share}% に回答 (確信度 {least}% 以上)。そのうち少なくとも {100 * promise:g}% が正解です "
                  "(20 回の較正のうち 19 回で成り立ちます)。")  # fmt: skip
    out.print(said, style="bold", soft_wrap=True)
    if done["ece"] is not None:
        out.print(f"ECE {done['ece']:.3f}{_by_chance(done)}  Brier {done['brier']:.3f}", style="dim")


def _by_chance(done: Mapping[str, Any]) -> str:
    """What exact confidences would show on so few rows."""
    chance = done.get("ece_by_chance")
    if chance is None:
        return ""
    return str(tr(f" ({chance:.3f} by chance alone)", f" (偶然だけでも {chance:.3f})"))
