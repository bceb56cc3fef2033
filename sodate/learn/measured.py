"""Candidates of a cycle beside what is in production: on all held-out rows, on the old ones, and on the new ones."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sodate.core.text import tr
from sodate.learn.cycle_file import CycleFile


def measured_by(
    asked: CycleFile,
    candidates: Sequence[str],
    baseline: str,
    file: Path,
    side: str,
    on_event: Callable[[str, Any], None],
) -> dict[str, Any]:
    """The figures of one evaluation, and the `best` candidate under the first grader (a tie goes to the first).

    `sides` has its paired difference to `baseline` on rows whose field `side` says old or new: what was forgotten, and
    what was learnt.
    """
    from sodate.api.evaluation import evaluate

    metrics = list(
        dict.fromkeys((*asked.graders, *asked.gate["blocking"], *asked.gate["target"], *asked.gate["guard"]))
    )
    found = evaluate(
        list(candidates), file, metrics, baseline=baseline, slices=[side], prices=asked.prices,
        title=f"{asked.name} {file.parent.name}", on_event=on_event,
    )  # fmt: skip
    result = json.loads((found.report.parent / "result.json").read_text("utf-8"))
    first = result["results"][0]["grader"]
    means = {row["model"]: row for row in result["results"] if row["grader"] == first}
    best = max(candidates, key=lambda name: means[name]["mean"])
    pair = {"candidate": best, "baseline": baseline, "grader": first}
    whole = _of(result["comparisons"], pair)
    sides = {one["value"]: {"n": one["n"], **_of(one["comparisons"], pair)} for one in result.get("slices", [])}
    sure = {(row["model"], row["grader"]): row for row in result.get("confidence", [])}
    costs = result.get("costs", {})
    about = {
        name: {
            "mean": means[name]["mean"], "ci": means[name]["ci"], "failures": means[name]["failures"],
            "coverage": (sure.get((name, first)) or {}).get("coverage"),
            "cost": (costs.get(name) or {}).get("per_request"), "currency": (costs.get(name) or {}).get("currency"),
        }
        for name in (*candidates, baseline)
    }  # fmt: skip
    points = f"{100 * whole['diff']:+.1f}"
    why = tr(f"{best} beside {baseline}: {points} points of {first}, {whole['verdict']}",
             f"{best} と {baseline} の差: {first} で {points} ポイント、{whole['verdict']}")  # fmt: skip
    return {
        "best": best, "baseline": baseline, "grader": first, "n": result["n"], "models": about, "whole": whole,
        "sides": sides, "verdict": whole["verdict"], "report": str(found.report), "why": why,
    }  # fmt: skip


def _of(comparisons: Sequence[dict[str, Any]], pair: dict[str, str]) -> dict[str, Any]:
    row = next(one for one in comparisons if all(one[key] == value for key, value in pair.items()))
    return {key: row[key] for key in ("diff", "ci", "verdict", "fixed", "broken")}
