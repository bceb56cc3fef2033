"""Ladders that were measured: which there are, and what one says. To measure one: `sodate.api.ladder`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sodate.core import home
from sodate.core.errors import UsageError
from sodate.core.manifests import read_kept
from sodate.core.text import tr


def ladders() -> list[dict[str, Any]]:
    """Every task that was measured: its goal, how many rungs, and what is recommended."""
    root = home.ladders_dir()
    found = []
    for path in sorted(root.glob("*/result.json")) if root.exists() else []:
        about = read_kept(path)
        found.append({"task": about["task"], "goal": about["goal"], "rungs": len(about["rungs"]), "n": about["n"],
                      "recommended": about["recommended"], "reached": about["reached"]})  # fmt: skip
    return found


def measured_ladder(task: str) -> dict[str, Any]:
    """What `sodate ladder --json` printed of a task, its sentences in the reader's language. UsageError where it was
    not measured."""
    path = _path(task)
    if path is None or not path.exists():
        raise UsageError(
            tr(f"The task {task!r} was not measured.", f"タスク {task!r} はまだ測定されていません。"),
            "sodate ladder TASK.yaml",
            code="not_found", param="task",
        )  # fmt: skip
    about: dict[str, Any] = {key: value for key, value in read_kept(path).items() if key != "schema_version"}
    both = about.get("said") or {}  # not there in results of before

    def read(text: Any) -> Any:
        return tr(*both[text]) if text in both else text

    return about | {
        "rungs": [{**rung, "label": read(rung["label"])} for rung in about["rungs"]],
        "because": read(about["because"]), "advice": [read(one) for one in about.get("advice") or ()],
        "skipped": [{**one, "because": read(one["because"])} for one in about.get("skipped") or ()],
        "stopped": read(about.get("stopped")),
    }  # fmt: skip


def _path(task: str) -> Path | None:
    return home.ladders_dir() / task / "result.json" if home.NAME.fullmatch(task) else None
