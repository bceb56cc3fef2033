"""From a name to files: a version (`orders@1`, or `orders` for its newest) or a base model (`smollm2-135m`, a hub id, a
folder)."""

from __future__ import annotations

from sodate.core.errors import SodateError
from sodate.core.text import tr
from sodate.core.types import ModelFiles
from sodate.library.store import find
from sodate.release.registry import find_version


def look_up(name: str) -> ModelFiles:
    """Resolves a reference; raises SodateError or UsageError saying what is known."""
    version = find_version(name)
    if version is None:
        from sodate.library.sources import resolve

        model = resolve(name)
        return ModelFiles(name, model.id, model.path, None, None)
    base = version.manifest["base"]
    template = (version.path / "template.jinja").read_text("utf-8")
    if version.adapter is None:
        return ModelFiles(version.id, version.id, version.path / "model", None, template)
    quantised = version.manifest.get("adapter") == "qlora"
    entry = find(base)
    if entry is not None:
        return ModelFiles(version.id, base, entry.path, version.adapter, template, quantised)
    if find_version(base) is not None:  # an adapter over a version with all weights
        return ModelFiles(version.id, base, look_up(base).folder, version.adapter, template, quantised)
    raise SodateError(
        tr(f"{version.id} needs the base model {base}, which is not here.",
           f"{version.id} に必要な基盤モデル {base} がありません。"),
        f"sodate models pull {base.rpartition('@')[0]}",
    )  # fmt: skip
