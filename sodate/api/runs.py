"""Runs: which there are, and how they stand. To go on with one: `sodate.api.training.resume`."""

from __future__ import annotations

from typing import Any

from sodate.core.runs import list_runs


def runs() -> list[dict[str, Any]]:
    """Every run, oldest first: its status, the version it made (None before it is done) and its folder."""
    return [
        {
            "run": run.name,
            "status": run.status(),
            "version": run.manifest.get("result", {}).get("version"),
            "run_dir": str(run.path),
        }
        for run in list_runs()
    ]
