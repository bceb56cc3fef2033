"""Where everything lives: SODATE_HOME (default ~/.sodate), and names that can never become paths."""

from __future__ import annotations

import os
import re
from contextvars import ContextVar
from pathlib import Path

from sodate.core.errors import UsageError
from sodate.core.text import en, ja, tr

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def home() -> Path:
    return Path(os.environ.get("SODATE_HOME") or Path.home() / ".sodate").expanduser().absolute()


def make_folder(path: Path) -> None:
    """`path` with its parents. What is made under SODATE_HOME is its owner's alone, SODATE_HOME included: prompts and
    replies lie there.
    """
    if is_private(path):
        missing = [folder for folder in (path, *path.parents) if is_private(folder) and not folder.exists()]
        for folder in reversed(missing):
            folder.parent.mkdir(parents=True, exist_ok=True)
            folder.mkdir(mode=0o700, exist_ok=True)
    path.mkdir(parents=True, exist_ok=True)


def is_private(path: Path) -> bool:
    """Whether a path lies in SODATE_HOME."""
    return path.absolute().is_relative_to(home())


def models_dir() -> Path:
    return home() / "models"


def runs_dir() -> Path:
    return home() / "runs"


def versions_dir() -> Path:
    return home() / "versions"


def prompts_dir() -> Path:
    return home() / "prompts"


def reports_dir() -> Path:
    return home() / "reports"


def evaluations_dir() -> Path:
    return home() / "evaluations"


def aliases_dir() -> Path:
    return home() / "aliases"


def judgements_dir() -> Path:
    return home() / "judgements"


def gates_dir() -> Path:
    return home() / "gates"


def datasets_dir() -> Path:
    return home() / "datasets"


def cycles_dir() -> Path:
    return home() / "cycles"


DATASET = re.compile(rf"({NAME.pattern})@([1-9][0-9]{{0,8}})")


def dataset_rows(reference: str) -> Path | None:
    """Where the rows of the dataset `name@N` lie; None for what is no such name, or is that of a file."""
    named = DATASET.fullmatch(reference)
    if named is None or Path(reference).exists():
        return None
    return datasets_dir() / named[1] / named[2] / "rows.jsonl"


def dataset_of(rows: Path) -> str | None:
    """The dataset version NAME@N whose rows these are, None for another file."""
    named = f"{rows.parent.parent.name}@{rows.parent.name}"
    return named if dataset_rows(named) == rows else None


def beside(file: Path, name: str) -> str:
    """What a name of rows in `file` means: a dataset's stays, another is a file from there."""
    return name if dataset_rows(name) is not None else str(file.parent / name)


def ladders_dir() -> Path:
    return home() / "ladders"


def indexes_dir() -> Path:
    return home() / "indexes"


_PROJECT: ContextVar[str | None] = ContextVar("sodate_project", default=None)


def work_for(project: str) -> None:
    """From here on in this context, caches are this project's own: what another has made is not found."""
    _PROJECT.set(checked_name(project, tr("The project", "プロジェクト")))


def cache_dir() -> Path:
    """What can be made again at any time; deleting it loses nothing. A project that is worked for has its own."""
    project = _PROJECT.get()
    return home() / "cache" if project is None else home() / "cache" / "of-projects" / project


def checked_name(name: str, what: str) -> str:
    """`name` if it is safe as one path component: no slash, no leading dot, at most 64 plain characters."""
    if not NAME.fullmatch(name):
        raise UsageError(
            tr(f"{en(what)} {name!r} is not a usable name.", f"{ja(what)} {name!r} は名前として使えません。"),
            tr(
                "Use up to 64 letters, digits, '.', '_' or '-', starting with a letter or digit.",
                "英数字で始まる、英数字・'.'・'_'・'-' の 64 文字以内にしてください。",
            ),
            code="bad_name",
        )
    return name
