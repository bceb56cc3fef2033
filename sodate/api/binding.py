"""`index bind`: a version that answers from an index, so that knowledge is released and rolled back as weights are."""

from __future__ import annotations

import shutil
from pathlib import Path

from sodate.core.errors import UsageError
from sodate.core.text import tr
from sodate.release.registry import Version, find_version, register
from sodate.retrieve import catalogue

_OWN = ("schema_version", "version", "created_at", "code", "files")


def bind_index(name: str, index: str) -> dict[str, str]:
    """Makes the next version of a name: the weights of one, answering from an index. What an alias means changes when
    it is promoted. UsageError for a name that is no version."""
    version = find_version(name)
    if version is None:
        raise UsageError(
            tr(f"{name} is not a version.", f"{name} はバージョンではありません。"),
            tr("`sodate versions list` shows them all.", "`sodate versions list` で一覧を見られます。"),
            code="wrong_model", param="version",
        )  # fmt: skip
    found = catalogue.find(index)
    catalogue.verify(found)
    about = {key: value for key, value in version.manifest.items() if key not in _OWN}
    template = (version.path / "template.jinja").read_text("utf-8")
    made = register(version.name, about | {"index": found.id}, template, lambda folder: _weights(version, folder))
    return {"version": made.id, "of": version.id, "index": found.id, "path": str(made.path)}


def _weights(version: Version, folder: Path) -> None:
    for part in ("adapter", "model"):
        if (version.path / part).is_dir():
            shutil.copytree(version.path / part, folder / part)
    if version.head is not None:
        shutil.copyfile(version.head, folder / version.head.name)
