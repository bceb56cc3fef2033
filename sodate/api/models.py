"""`pull`: the one act that brings a base model here. Every other verb takes the name of what is here."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sodate.library.store import ModelEntry


def pull(
    name: str,
    revision: str | None = None,
    *,
    on_progress: Callable[[float, str], None] | None = None,
    wait: bool = False,
) -> ModelEntry:
    """Fetches a base model into the store: a built-in name, a hub id (at a `revision`), a folder or a .gguf file.

    Its `name` or its `id` is what `train`, `evaluate` and `load` take afterwards. `on_progress` gets the fraction done
    in [0, 1] and a sentence. A model that is here already costs no work and no network. Where another process pulls
    the same model, this one is refused, or with `wait` waits for it. Raises SodateError; nothing is kept then.
    """
    from sodate.library import sources

    return sources.pull(name, revision, on_progress=on_progress, wait=wait)
