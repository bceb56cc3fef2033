"""The model store: SODATE_HOME/models/<name>@<revision>/, each an ordinary safetensors folder with a manifest."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sodate.core.errors import SodateError, UsageError
from sodate.core.files import atomic_folder, lock, sha256_file, sha256_json, write_json
from sodate.core.home import make_folder, models_dir
from sodate.core.manifests import SCHEMA_VERSION, ModelManifest, read_manifest
from sodate.core.text import tr
from sodate.library.recorded import note_recorded

MANIFEST = "sodate-model.json"


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A model in the store. `path` loads in transformers as it is; `revision` is a commit, a version or a content hash.

    `context_length` is in tokens; `vocabulary` counts the tokenizer's ids; `sha256` is per file; `fingerprint` is the
    content of a local source, so that an unchanged one is not taken again.
    """

    name: str
    path: Path
    source: str
    revision: str
    architecture: str
    parameters: int
    context_length: int | None
    vocabulary: int
    licence: str | None
    chat_template: bool
    pulled_at: str
    sha256: Mapping[str, str] = field(repr=False)
    requested_revision: str | None = None
    fingerprint: str | None = field(default=None, repr=False)

    @property
    def id(self) -> str:
        """`name@revision`: exactly this one, as a folder name of the store."""
        return self.path.name

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "path": str(self.path), "sha256": dict(self.sha256)}


def safe_name(name: str) -> str:
    """`name` as one plain path component of at most 64 characters; not reversible."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name.replace("/", "--")).lstrip("._-")[:64]
    return plain or "model"


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def list_models() -> list[ModelEntry]:
    """Every model in the store, by name and then by time of pulling."""
    folders = sorted(models_dir().glob(f"[!.]*/{MANIFEST}"))
    return sorted((_read(manifest.parent) for manifest in folders), key=lambda e: (e.name, e.pulled_at, e.id))


def _read(folder: Path) -> ModelEntry:
    manifest: ModelManifest = read_manifest(folder / MANIFEST)
    facts: dict[str, Any] = {key: value for key, value in manifest.items() if key != "schema_version"}
    try:
        return ModelEntry(**{**facts, "path": folder})
    except TypeError:
        raise SodateError(
            tr(f"{folder / MANIFEST} is damaged.", f"{folder / MANIFEST} が壊れています。"),
            tr(f"Delete {folder} and pull the model again.", f"{folder} を消して、取り込み直してください。"),
            code="damaged",
            file=folder / MANIFEST,
        ) from None


def find(name: str) -> ModelEntry | None:
    """The model pulled last under this name, or exactly `name@revision`; None if there is none."""
    return next((entry for entry in reversed(list_models()) if name in (entry.name, entry.id)), None)


def show_model(name: str) -> ModelEntry:
    """As `find`, but SodateError where there is none."""
    entry = find(name)
    if entry is None:
        names = sorted({entry.name for entry in list_models()})
        raise SodateError(
            tr(f"No pulled model is called {name!r}.", f"{name!r} という取り込み済みモデルはありません。"),
            tr(f"Pulled: {', '.join(names) or 'none yet'}.", f"取り込み済み: {', '.join(names) or 'まだありません'}。"),
            code="model_not_found",
            param="name",
        )
    return entry


def remove_model(name: str) -> list[ModelEntry]:
    """Deletes one `name@revision`, or every revision of `name`. Returns what was deleted."""
    show_model(name)
    gone = [entry for entry in list_models() if name in (entry.name, entry.id)]
    for entry in gone:
        with model_lock(entry.name):
            # Out of sight in one step, so that nobody finds half a model; then the slow part.
            hidden = entry.path.with_name(f".{entry.path.name}.removed.tmp")
            entry.path.rename(hidden)
            shutil.rmtree(hidden)
    return gone


def model_lock(name: str, *, wait: bool = False) -> AbstractContextManager[None]:
    """One process pulls or removes a given model at a time; a second one is refused, or waits."""
    label = tr(f"The model {name}", f"モデル {name}")
    return lock(models_dir() / f".{safe_name(name)}.lock", label, wait=wait)


def sweep(name: str) -> None:
    """Deletes what killed pulls of this model left behind. Call only while holding its lock."""
    for leftover in models_dir().glob(f".{safe_name(name)}@*.tmp"):
        shutil.rmtree(leftover, ignore_errors=True)


def require_space(needed: int) -> None:
    """SodateError unless the store's disk has `needed` bytes free."""
    make_folder(models_dir())
    free = shutil.disk_usage(models_dir()).free
    if free < needed:
        raise no_space(needed, free)


def no_space(needed: int | None = None, free: int | None = None) -> SodateError:
    sizes = ("", "")
    if needed is not None and free is not None:
        sizes = (
            f": {needed / 1e9:.2f} GB needed, {free / 1e9:.2f} GB free",
            f": 必要 {needed / 1e9:.2f} GB、空き {free / 1e9:.2f} GB",
        )
    return SodateError(
        tr(f"Not enough disk space in {models_dir()}{sizes[0]}.", f"{models_dir()} の空き容量が足りません{sizes[1]}。"),
        tr(
            "Free some space, or set SODATE_HOME to a larger disk.",
            "空きを作るか、SODATE_HOME を大きなディスクに向けてください。",
        ),
        code="disk_full",
        file=models_dir(),
    )


def keep(prepared: Path, revision: str | None, facts: Mapping[str, Any]) -> ModelEntry:
    """Moves the checked folder `prepared` (on the same disk) into the store as `name@revision` with its manifest.

    Without a revision the content names itself: 12 hex digits over the hashes of all files. If that model is there
    already, it stays as it is and is returned.
    """
    hashes = {file.name: sha256_file(file) for file in sorted(prepared.iterdir())}
    revision = revision or sha256_json(hashes)[:12]
    if not re.fullmatch(r"[A-Za-z0-9._+-]{1,64}", revision):
        raise UsageError(
            tr(f"{revision!r} is not a usable revision.", f"{revision!r} は版として使えません。"),
            code="bad_value",
            param="revision",
        )
    path = models_dir() / f"{safe_name(facts['name'])}@{revision[:12]}"
    entry = ModelEntry(**facts, path=path, revision=revision, sha256=hashes, pulled_at=now())
    try:
        with atomic_folder(path) as stage:
            for file in prepared.iterdir():
                file.replace(stage / file.name)
            # Without the path, so that SODATE_HOME can be moved.
            manifest = {key: value for key, value in entry.to_json().items() if key != "path"}
            write_json(stage / MANIFEST, {"schema_version": SCHEMA_VERSION, **manifest})
    except FileExistsError:
        return _read(path)
    note_recorded(path, hashes)
    return entry
