"""`folder_of`: the files of a version's weights, as they are or merged into one model."""

from __future__ import annotations

from pathlib import Path

from sodate.api.loading import with_adapter
from sodate.core import home
from sodate.core.errors import SodateError
from sodate.core.files import atomic_folder
from sodate.core.text import tr
from sodate.release.lookup import look_up
from sodate.release.registry import OF_A_JOB as OF_A_JOB


def exact_name(name: str) -> str:
    """The version or base model that a name means now. Raises as `look_up` does."""
    files = look_up(name)
    return files.name if files.template is not None else files.base


def folder_of(name: str, *, merged: bool) -> Path:
    """Where a version's adapter lies (its model, if it has none); `merged`: its whole weights, made the first time.

    SodateError (`version_alone`) for an adapter that can't become part of the weights.
    """
    from sodate.adapt import adapters
    from sodate.adapt import files as adapter_files
    from sodate.model import load, stream

    files = look_up(name)
    if files.adapter is None or not merged:
        return files.adapter or files.folder
    if not adapter_files.merges(adapter_files.read_adapter(files.adapter)):
        raise SodateError(
            tr(f"The adapter of {name} can't become part of the weights.", f"{name} のアダプターは統合できません。"),
            tr("Take the adapter.", "アダプターのまま使ってください。"),
            code="version_alone",
        )  # fmt: skip
    made = home.cache_dir() / "merged" / files.name.replace("@", "-")
    if made.exists():
        return made
    kept = stream.stored_dtype(files.folder)
    model, _ = with_adapter(files, "cpu", "float32")
    adapters.merge(model)
    load.round_weights(model, kept)
    try:
        with atomic_folder(made) as stage:
            load.save_full(model, files.folder, stage, kept)
    except FileExistsError:
        pass  # another request was first
    return made
