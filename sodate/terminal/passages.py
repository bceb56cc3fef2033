"""Passages that were found, each with where it stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sodate.core.text import tr, visible
from sodate.terminal import err, shown

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
