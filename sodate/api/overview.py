"""The state of the house on one page: what is in production and how good, what runs, what waits for a person."""

from __future__ import annotations

import datetime
from typing import Any

from sodate.api import ballots, reports
from sodate.api.releasing import last_record, releases
from sodate.api.runs import run, runs
from sodate.core.text import tr
from sodate.release import aliases
from sodate.release.registry import Version, list_versions

RECENT = 7  # days that a run which did not come to its end waits for somebody


def overview() -> dict[str, Any]:
    """`production`: every alias with its version, since when, by whom, and how good by the newest report of each
    grader. `running`: runs with what is left. `waiting`: what a person has to decide. `counts` of everything.
    """
    known = runs()
    versions = list_versions()
    quality = reports.every_measured()
    return {
        "production": [_alias(one, quality.get(one["version"], [])) for one in releases()],
        "running": [_running(one["run"]) for one in known if one["status"] == "running"],
        "waiting": [*_passed(versions), *_to_judge(), *_ended(known)],
        "counts": {"runs": len(known), "versions": len(versions), "reports": len(reports.reports())},
    }


def _alias(one: dict[str, Any], quality: list[dict[str, Any]]) -> dict[str, Any]:
    last = one["last"]
    return {
        "alias": one["alias"], "version": one["version"], "since": last["at"], "by": last.get("by", ""),
        "override": bool(last.get("override")), "reason": last.get("reason", ""),
        "canary": one["canary"] and one["canary"]["version"], "quality": quality,
    }  # fmt: skip


def _running(name: str) -> dict[str, Any]:
    about = run(name)
    return {"run": name, "base": about["base"], "created_at": about["created_at"], **(about["progress"] or {})}


def _passed(versions: list[Version]) -> list[dict[str, Any]]:
    """The newest version of every name that passed its gate and that no alias means or meant yet."""
    released = {move["version"] for name in aliases.list_aliases() for move in aliases.moves(name)}
    newest = {one.name: one for one in versions}
    found = []
    for one in newest.values():
        record = None if one.id in released else last_record(one)
        if record is not None and record["passes"]:
            what = tr(f"{one.id} passed its gate.", f"{one.id} はゲートに合格しています。")
            found.append({"kind": "promote", "what": what, "version": one.id})
    return found


def _to_judge() -> list[dict[str, Any]]:
    found = []
    for one in ballots.studies():
        if left := max(0, one["rows"] - one["judged"]):
            what = tr("1 pair is to be judged." if left == 1 else f"{left} pairs are to be judged.",
                      f"{left} 組の評価が残っています。")  # fmt: skip
            found.append({"kind": "judge", "study": one["study"], "left": left, "what": what})
    return found


def _ended(known: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Runs that failed or were interrupted in the last days, and that no later one of the same kind made good."""
    since = (datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=RECENT)).isoformat(timespec="seconds")
    words = {"failed": tr("failed", "失敗しました"), "interrupted": tr("was interrupted", "中断しています")}
    return [
        {"kind": one["status"], "run": one["run"],
         "what": tr(f"{one['run']} {words[one['status']].en}.", f"{one['run']} は{words[one['status']].ja}。")}
        for one in known if one["status"] in words and str(one["created_at"]) >= since
    ][-20:]  # fmt: skip
