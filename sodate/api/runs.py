"""Runs: which there are, how they stand, how one is stopped. To go on with one: `sodate.api.training.resume`."""

from __future__ import annotations

import os
import re
import signal
import time
from collections import deque
from pathlib import Path
from typing import Any

from sodate.core.errors import SodateError
from sodate.core.files import holds, process_name
from sodate.core.runs import RunFolder, list_runs
from sodate.core.text import tr

_RATE_LINES = 50  # the latest steps, whose seconds say how long the others will take
_EVENTS = 200  # of the latest ones that are told


def runs() -> list[dict[str, Any]]:
    """Every run, oldest first: its status, method, base, the version it made (None before it is done), its folder."""
    found = []
    for run in list_runs():
        about = run.kept
        found.append({
            "run": run.name,
            "status": run.status(),
            "method": about.get("recipe", {}).get("method"),
            "base": about.get("base"),
            "version": about.get("result", {}).get("version"),
            "created_at": about.get("created_at"),
            "run_dir": str(run.path),
        })  # fmt: skip
    return found


def run(name: str) -> dict[str, Any]:
    """Everything that is known of a run: how far it is, what `auto` became and why, what it warned of."""
    folder = RunFolder.find(name)
    about = folder.kept
    status, tail = folder.status(), _tail(folder.path / "metrics.jsonl")
    events = folder.events()[-_EVENTS:]
    return {
        "run": name, "status": status, "run_dir": str(folder.path), "progress": _progress(tail, status),
        "last": tail[-1] if tail else None, "warnings": [one for one in events if one.get("kind") == "warning"],
        "events": events,
        **{key: about.get(key) for key in ("created_at", "ended_at", "base", "recipe", "decisions", "data", "eval",
                                           "code", "error", "result")},
    }  # fmt: skip


def standing(name: str) -> dict[str, Any]:
    """How far a run is, for whoever watches it: `status`, `progress` and the `last` line of its metrics."""
    folder = RunFolder.find(name)
    status, tail = folder.status(), _tail(folder.path / "metrics.jsonl")
    return {"status": status, "progress": _progress(tail, status), "last": tail[-1] if tail else None}


def stamp(name: str) -> tuple[object, ...]:
    """Another one whenever the run has written something, or has ended."""
    folder = RunFolder.find(name)
    try:
        found = os.stat(folder.path / "metrics.jsonl")  # noqa: PTH116
        written: tuple[object, ...] = (found.st_ino, found.st_size, found.st_mtime_ns)
    except FileNotFoundError:
        written = ()
    return (str(folder.path), folder.status(), *written)


def curve(name: str, points: int = 1000, first: int | None = None, last: int | None = None) -> dict[str, Any]:
    """The metrics of a run by step, each with at most about `points` points between two steps, both included.

    Of every stretch the lowest and the highest value are kept: no spike is lost. Values that are not finite are named.
    """
    folder = RunFolder.find(name)
    from sodate.api import curves  # numpy, which a list of runs does without

    return {"run": name, "status": folder.status(), **curves.drawn(folder.path / "metrics.jsonl", points, first, last)}


def stop_run(name: str, wait: float = 0.0) -> dict[str, Any]:
    """Asks a run of this machine to end after its step, with a checkpoint, as Ctrl-C does; it can be resumed.

    Waits up to `wait` seconds for that, and says how the run stands then. SodateError `not_running` where none runs.
    """
    folder = RunFolder.find(name)
    lock = folder.path / "lock"
    owner = lock.read_text("utf-8") if lock.exists() else ""
    found = re.match(r"pid (\d+) on ", owner)
    if found is None or owner != process_name(int(found[1])):
        raise SodateError(
            tr(f"{name} is not run by a process of this machine.",
               f"{name} を実行しているプロセスは、このマシンにありません。"),
            "sodate runs list",
            code="not_running", param="run",
        )  # fmt: skip
    os.kill(int(found[1]), signal.SIGTERM)
    until = time.monotonic() + wait
    while holds(lock) and time.monotonic() < until:
        time.sleep(0.05)
    return {"run": name, "asked": "stop", "status": folder.status()}


def _progress(tail: list[dict[str, Any]], status: str) -> dict[str, Any] | None:
    """Steps done, steps planned, and the seconds that the others will take where it runs."""
    if not tail or "steps" not in tail[-1]:
        return None
    step, steps = int(tail[-1]["step"]), int(tail[-1]["steps"])
    seconds = [float(line["seconds"]) for line in tail if "seconds" in line]
    left = (steps - step) * sum(seconds) / len(seconds) if seconds and status == "running" else None
    return {"step": step, "steps": steps, "seconds_left": None if left is None else round(left, 1)}


def _tail(path: Path) -> list[dict[str, Any]]:
    """The last lines of the metrics, however long the file is."""
    from sodate.api.curves import last_lines

    return list(deque(last_lines(path, _RATE_LINES), _RATE_LINES))
