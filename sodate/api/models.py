"""Base models. `pull` is the one act that brings one here; every other verb takes the name of what is here."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from sodate.core.errors import SodateError
from sodate.core.text import tr
from sodate.library.recorded import verifying as verifying

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


def models() -> list[ModelEntry]:
    """The base models that are here."""
    from sodate.library.store import list_models

    return list_models()


def model(name: str) -> ModelEntry:
    """Everything known of a base model that is here; SodateError where it is not."""
    from sodate.library.store import show_model

    return show_model(name)


def remove_model(name: str) -> list[str]:
    """Deletes what `name` means, all its revisions unless it says which, and returns their ids.

    Raises SodateError where there is none, and where a version's adapter needs it.
    """
    from sodate.library import store
    from sodate.release.registry import list_versions

    going = {entry.id for entry in store.list_models() if name in (entry.name, entry.id)}
    users = [v.id for v in list_versions() if v.manifest["base"] in going and v.adapter is not None]
    if users:
        raise SodateError(
            tr(f"{name} is the base of {', '.join(users)}.", f"{name} は {', '.join(users)} のベースモデルです。"),
            tr("Without it they could not be loaded any more.", "削除するとこれらを読み込めなくなります。"),
            code="in_use",
            param="name",
        )
    return [entry.id for entry in store.remove_model(name)]


def is_built_in(name: str) -> bool:
    """Whether `pull` knows the model by this name, pinned by its hash."""
    from sodate.library.wheels import BUILT_IN

    return name in BUILT_IN


def is_here(name: str) -> bool:
    """Whether the name means a version or a base model that is here."""
    from sodate.release.lookup import is_known

    return is_known(name)


def may_come(name: str) -> bool:
    """Whether a person may name on the command line what is not here: it is built in, a folder or a .gguf file."""
    return is_built_in(name) or Path(name).expanduser().exists()


def refuse_unknown(names: Iterable[str]) -> None:
    """UsageError for a name that is neither here nor can come."""
    from sodate.release.lookup import look_up

    for name in names:
        if not is_here(name) and not may_come(name):
            look_up(name)


def name_of(entry: ModelEntry) -> str:
    """What the other verbs call it: its name where that means this revision, else its id."""
    from sodate.library.store import find

    return entry.name if find(entry.name) == entry else entry.id
