"""Held-out items: what is asked, what would be right, which belong together, and what so many of them can show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sodate.core.text import en, ja, tr
from sodate.core.types import Message, Source
from sodate.evaluate import stats


@dataclass(frozen=True, slots=True)
class EvalItem:
    """One held-out item. `reference` is the reply to grade against; items of one `cluster` are not independent."""

    prompt: tuple[Message, ...]
    reference: str | None = None
    source: Source | None = None
    item: Mapping[str, Any] = field(default_factory=dict)
    cluster: str | None = None


def independent(items: Sequence[EvalItem]) -> int:
    """How many items there are, those of one cluster counted once."""
    return len(set(clusters_of(items) or range(len(items))))


def can_show(independent: int) -> str:
    """What so many items can show, in a sentence: said before a run and in its report."""
    smallest = stats.smallest_difference(independent)
    points = f"{100 * smallest:.0f}"
    if smallest == 1:
        return tr(f"{independent} independent items are too few to show any difference; it takes six at least.",
                  f"独立な {independent} 件では、どんな差も示せません。最低でも 6 件必要です。")  # fmt: skip
    flips = tr("if one item in five flips", "5 件に 1 件で正誤が入れ替わる場合")
    flips = tr("if all flips go one way", "入れ替わりがすべて同じ向きの場合") if smallest > 0.2 else flips
    return tr(
        f"These {independent} independent items can show a difference of {points} points or more (four times in five, "
        f"{en(flips)}).",
        f"独立な {independent} 件で示せる差は、{points} ポイント以上です (検出力 80 %、{ja(flips)})。",
    )


def where(item: EvalItem, index: int) -> str:
    """An item as a person finds it: `file:line`, or its number."""
    return f"{item.source.file}:{item.source.line}" if item.source else tr(f"item {index + 1}", f"{index + 1} 件目")


def clusters_of(items: Sequence[EvalItem]) -> list[str] | None:
    """A cluster id an item, or None when no item has one. An item without an id stands alone."""
    if all(item.cluster is None for item in items):
        return None
    return [f"#{index}" if item.cluster is None else f"={item.cluster}" for index, item in enumerate(items)]
