"""A run as a person looks at it: how far it is, what it is made of, what it decided and warned of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sodate.core.text import tr
from sodate.terminal import decision_line, out, shown
from sodate.terminal.lines import duration
from sodate.terminal.words import cell, word


def print_run(found: Mapping[str, Any]) -> None:
    """What `sodate runs show` has found, but for what only a program wants."""
    recipe, result = found["recipe"] or {}, found["result"] or {}
    out.print(f"[bold]{shown(found['run'])}[/]  {shown(cell('status', found['status']))}{_progress(found)}")
    facts = {
        "method": recipe.get("method"), "base": found["base"], "data": ", ".join(map(str, recipe.get("data") or ())),
        "rows": (found["data"] or {}).get("rows_used"), "version": result.get("version"),
        "created_at": found["created_at"], "run_dir": found["run_dir"],
    }  # fmt: skip
    for key, value in facts.items():
        if value not in (None, ""):
            out.print(f"  [dim]{shown(str(word(key)))}[/] {shown(cell(key, value))}", soft_wrap=True)
    for one in found["decisions"] or ():
        out.print(decision_line(one["key"], one["value"], one["reason"]), soft_wrap=True)
    for one in found["warnings"]:
        out.print(f"[yellow]{shown(str(one.get('text', '')))}[/]", soft_wrap=True)
    if found["error"]:
        out.print(f"[red]{shown(found['error'])}[/]", soft_wrap=True)
    if result.get("said"):
        out.print(shown(str(result["said"])), soft_wrap=True)
    out.print(tr(f"[dim]All of it: sodate runs show {found['run']} --json[/]",
                 f"[dim]すべて見るには: sodate runs show {found['run']} --json[/]"), soft_wrap=True)  # fmt: skip


def _progress(found: Mapping[str, Any]) -> str:
    """Steps done of all, the latest loss or reward, and the time left where it runs."""
    progress, last = found["progress"], found["last"] or {}
    if progress is None:
        return ""
    said = tr(f", step {progress['step']} of {progress['steps']}",
              f"、ステップ {progress['step']}/{progress['steps']}")  # fmt: skip
    for key, english, japanese in (("loss", "loss", "損失"), ("reward_mean", "reward", "報酬")):
        if isinstance(last.get(key), float):
            said += tr(f", {english} {last[key]:.4f}", f"、{japanese} {last[key]:.4f}")
    if progress["seconds_left"] is not None:
        left = duration(progress["seconds_left"])
        said += tr(f", {left} left", f"、残り {left}")
    return str(said)
