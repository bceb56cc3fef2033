"""Which training rows moved a reply, and which harm held-out rows, in the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from sodate.core.text import tr
from sodate.terminal import out, shown

LONGEST = 60  # characters of a row's text


def print_why(done: Mapping[str, Any]) -> None:
    out.print(f"[bold]{shown(done['reply'])}[/]", soft_wrap=True)
    _rows(tr("Made it likelier:", "この返答の確率を上げた行:"), done["up"], tr("nats", "ナット"))
    _rows(tr("Made it less likely:", "この返答の確率を下げた行:"), done["down"], tr("nats", "ナット"))
    _noise(done)


def print_harmful(done: Mapping[str, Any]) -> None:
    file = shown(done["against"])
    title = tr(f"Training rows that pull away from {file} most; look at these first:",
               f"{file} と逆の向きに学習を引っぱる行。まずこれらを確かめてください:")  # fmt: skip
    _rows(title, done["rows"], tr("reach", "強さ"))
    _noise(done)


def _rows(title: str, rows: Sequence[Mapping[str, Any]], unit: str) -> None:
    out.print(title, soft_wrap=True)
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0), pad_edge=False)
    for column in (
        tr("row", "行"),
        unit,
        tr("prompt", "質問"),
        tr("reply", "返答"),
    ):
        table.add_column(column, overflow="fold")
    for one in rows:
        place = f"{Path(one['file']).name}:{one['line']}"
        table.add_row(shown(place), f"{one['score']:+.2g}", _short(one["prompt"]), _short(one["reply"]))
    out.print(table)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return shown(line if len(line) <= LONGEST else line[: LONGEST - 1] + "…")


def _noise(done: Mapping[str, Any]) -> None:
    steps = ", ".join(str(step) for step in done["checkpoints"])
    out.print(tr(f"Of {done['training_rows']} rows, by their gradients at steps {steps}; scores within "
                 f"±{done['noise']:.1g} are noise.",
                 f"学習データ {done['training_rows']} 行、ステップ {steps} での勾配による推定。"
                 f"±{done['noise']:.1g} 以内の値は誤差です。"), style="dim", soft_wrap=True)  # fmt: skip
