"""Where exchanges went: data files and datasets with rows of them, versions trained on those, reports about these."""

from __future__ import annotations

import json
from collections.abc import Iterator, Set
from pathlib import Path

from sodate.api.evaluation import reports_about
from sodate.api.versions import trained_on
from sodate.core import home

_MARK = '"exchange"'


def made_from(exchanges: Set[str], files: Set[str]) -> dict[str, list[str]]:
    """What was made of these exchanges. `files` are those that rows of them were written to before."""
    rows = {path for path in {*map(Path, files), *_dataset_files()} if _holds(path, exchanges)}
    sources = {str(path) for path in rows} | set(files)
    datasets = sorted({name for path in rows if (name := dataset_of(path))})
    versions = []
    for version, named in trained_on().items():
        used = set(named)
        if used & sources or used & set(datasets) or any(_holds(Path(one), exchanges) for one in used - sources):
            versions.append(version)
    reports = sorted({page for one in versions for page in reports_about(one)})
    return {"files": sorted(sources - {str(path) for path in rows if dataset_of(path)}), "datasets": datasets,
            "versions": versions, "reports": reports}  # fmt: skip


def _dataset_files() -> Iterator[Path]:
    return home.datasets_dir().glob("*/*/rows.jsonl")


def dataset_of(path: Path) -> str | None:
    """`name@N` where a file has the rows of that dataset."""
    name = f"{path.parent.parent.name}@{path.parent.name}"
    return name if home.dataset_rows(name) == path else None


def _holds(path: Path, exchanges: Set[str]) -> bool:
    """Whether a file of JSON lines has a row of one of the exchanges."""
    try:
        with path.open(encoding="utf-8") as lines:
            return any(_MARK in line and _of(line) in exchanges for line in lines)
    except (OSError, UnicodeDecodeError):
        return False


def _of(line: str) -> str | None:
    try:
        origin = json.loads(line).get("origin")
    except (ValueError, AttributeError, RecursionError):
        return None
    found = origin.get("exchange") if isinstance(origin, dict) else None
    return found if isinstance(found, str) else None
