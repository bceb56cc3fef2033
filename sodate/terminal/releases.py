"""Gates and moves of aliases in the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from sodate.core.text import tr
from sodate.terminal import out, shown


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


def print_move(move: Mapping[str, Any]) -> None:
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
        table.add_row(move["at"], str(kind), shown(move["version"]), shown(move.get("by", "")),
                      shown(move.get("reason", "")))  # fmt: skip
    out.print(table)
