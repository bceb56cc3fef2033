"""The overview in the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sodate.core.text import tr
from sodate.terminal import out, shown


def print_overview(found: Mapping[str, Any]) -> None:
    """What is released and how good, what runs, what waits."""
    out.print(tr("In production", "公開中"), style="bold")
    for one in found["production"]:
        out.print(f"  {shown(one['alias'])} → {shown(one['version'])}  [dim]{one['since']} {shown(one['by'])}[/]")
        for q in one["quality"]:
            ends = f" ({100 * q['ci'][0]:.1f}–{100 * q['ci'][1]:.1f})" if q["ci"] else ""
            out.print(f"    {shown(q['grader'])}: {100 * q['mean']:.1f}{ends}, n = {q['n']}", soft_wrap=True)
    _nothing(found["production"])
    out.print(tr("Running", "実行中"), style="bold")
    for one in found["running"]:
        out.print(f"  {shown(one['run'])}  {one.get('step', '–')} / {one.get('steps', '–')}")
    _nothing(found["running"])
    out.print(tr("Waiting for a person", "人の対応待ち"), style="bold")
    for one in found["waiting"]:
        out.print(f"  {shown(str(one['what']))}", soft_wrap=True)
    _nothing(found["waiting"])


def _nothing(listed: Sequence[Any]) -> None:
    if not listed:
        out.print(tr("  nothing", "  なし"), style="dim")
