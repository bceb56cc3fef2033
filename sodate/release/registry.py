"""Versions are immutable folders `versions/<name>/<N>`: what answers, and how it came to be.

version.json     base, template source, data hash, recipe, run, code version, hashes of the files below
adapter/         PEFT format, or model/ with all weights
head.safetensors the scalar head, of a reward model only
template.jinja   the chat template it was trained with
calibration/     how sure it has to be, by options; added later by `sodate decide`

Of a deleted version version.json stays, as deleted.json: its number is never given to another one.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from sodate.core import home
from sodate.core.errors import SodateError, UsageError
from sodate.core.files import atomic_folder, fsync_dir, sha256_file, write_json, write_text
from sodate.core.manifests import SCHEMA_VERSION, VersionManifest, read_manifest
from sodate.core.runs import now
from sodate.core.text import en, ja, tr
from sodate.library.recorded import BESIDE, note_recorded
from sodate.release import aliases

OF_A_JOB = "ft-"
"""What the names of versions begin with that are a project's own: they are asked for by the names of their jobs."""


@dataclass(frozen=True, slots=True)
class Version:
    """An immutable `name@N` on disk."""

    name: str
    number: int
    path: Path

    @property
    def id(self) -> str:
        return f"{self.name}@{self.number}"

    @property
    def manifest(self) -> VersionManifest:
        value: VersionManifest = read_manifest(self.path / "version.json")
        return value

    @property
    def adapter(self) -> Path | None:
        folder = self.path / "adapter"
        return folder if folder.exists() else None

    @property
    def head(self) -> Path | None:
        """The scalar head of a reward model."""
        file = self.path / "head.safetensors"
        return file if file.exists() else None


def register(name: str, manifest: dict[str, Any], template: str, write_weights: Callable[[Path], None]) -> Version:
    """Makes the next version of `name`; `write_weights(folder)` puts adapter/ or model/ inside. All or nothing."""
    home.checked_name(name, tr("Version name", "バージョン名"))
    if aliases.moves(name):
        raise UsageError(
            tr(f"{name} is an alias; a version needs another name.",
               f"{name} はエイリアスです。バージョンには別の名前を付けてください。"),
            code="bad_name", param="name",
        )  # fmt: skip
    while True:
        number = max((number for number, _ in _numbers(home.versions_dir() / name)), default=0) + 1
        path = home.versions_dir() / name / str(number)
        try:
            with atomic_folder(path) as stage:
                write_weights(stage)
                write_text(stage / "template.jinja", template)
                files = {str(f.relative_to(stage)): sha256_file(f) for f in sorted(stage.rglob("*")) if f.is_file()}
                own = {"schema_version": SCHEMA_VERSION, "version": f"{name}@{number}", "created_at": now()}
                about = {**own, "code": code_version(), **manifest, "files": files}
                write_json(stage / "version.json", about)
            note_recorded(path, files)
            return Version(name, number, path)
        except FileExistsError:
            continue  # another process took this number


def list_versions(name: str | None = None) -> list[Version]:
    """All versions, by name and number."""
    root = home.versions_dir()
    names = [root / name] if name else sorted(root.iterdir()) if root.exists() else []
    found = [
        Version(folder.name, number, path)
        for folder in names
        for number, path in _numbers(folder)
        if (path / "version.json").exists()
    ]
    return sorted(found, key=lambda v: (v.name, v.number))


def _numbers(folder: Path) -> list[tuple[int, Path]]:
    """The numbers of a name that are given, to versions that were deleted since, too."""
    return [(int(p.name), p) for p in folder.iterdir() if p.name.isdigit()] if folder.is_dir() else []


@contextlib.contextmanager
def held(version: Version) -> Iterator[None]:
    """While this lasts, no process can delete the version. SodateError if it has just been deleted.

    The kernel lets go with the process, however that ends.
    """
    with _opened(version) as folder:
        fcntl.flock(folder, fcntl.LOCK_SH)
        if not (version.path / "version.json").exists():
            raise _gone(version)
        yield


def delete(version: Version) -> None:
    """Deletes a version for good, in one rename; what is left is its manifest, as deleted.json.

    SodateError `in_use` while it is `held`, where another version is an adapter over it, or where an alias means it or
    would after a rollback.
    """
    above = [v.id for v in list_versions() if v.adapter is not None and v.manifest["base"] == version.id]
    above += aliases.leading_to(version.id)
    with _opened(version) as folder:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            above = above or [tr("a server, or another process", "サーバーなどのプロセス")]
        if above:
            raise SodateError(
                tr(f"{version.id} is in use: {en(', '.join(above))}.",
                   f"{version.id} は使用中です: {ja(', '.join(above))}"),
                tr("Stop that first, delete the versions over it, or move the alias.",
                   "先にそれを止める、その上のバージョンを削除する、エイリアスを移す、のいずれかを行ってください。"),
                code="in_use", param="version",
            )  # fmt: skip
        try:
            (version.path / "version.json").rename(version.path / "deleted.json")
        except FileNotFoundError:
            raise _gone(version) from None
        fsync_dir(version.path)
        for part in version.path.iterdir():
            if part.name != "deleted.json":
                shutil.rmtree(part) if part.is_dir() else part.unlink()


@contextlib.contextmanager
def _opened(version: Version) -> Iterator[int]:
    try:
        folder = os.open(version.path, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        raise _gone(version) from None
    try:
        yield folder
    finally:
        os.close(folder)


def _gone(version: Version) -> SodateError:
    return UsageError(
        tr(f"There is no version {version.id} any more.", f"バージョン {version.id} はもうありません。"),
        code="version_not_found",
        param="version",
    )


def find_version(reference: str) -> Version | None:
    """`name@N`, `name` for its newest, or what an alias means; None when no version has that name. UsageError when only
    N is wrong.
    """
    reference = aliases.target(reference) or reference
    name, _, number = reference.partition("@")
    if not home.NAME.fullmatch(name):
        return None
    versions = list_versions(name)
    if not versions or not number:
        return versions[-1] if versions else None
    found = next((v for v in versions if str(v.number) == number), None)
    if found is None:
        raise UsageError(
            tr(f"There is no version {reference}.", f"バージョン {reference} はありません。"),
            tr(
                f"{name} has {', '.join(v.id for v in versions)}.",
                f"{name} には {', '.join(v.id for v in versions)} があります。",
            ),
            code="version_not_found",
            param="version",
        )
    return found


def verify(version: Version) -> None:
    """Raises SodateError naming the first file that is not what was registered: changed, gone or added."""
    registered = version.manifest["files"]
    there = {f.relative_to(version.path).as_posix() for f in version.path.rglob("*") if f.is_file()} - {"version.json"}
    there = {name for name in there if not name.startswith(BESIDE)}
    for file in sorted(there | set(registered)):
        path = version.path / file
        if file not in there or file not in registered or sha256_file(path) != registered[file]:
            raise SodateError(
                tr(f"{path} is not what was registered.", f"{path} が登録時の内容と違います。"),
                code="damaged",
                file=path,
            )


@functools.cache
def code_version() -> str:
    """Package version, with commit and a `dirty` flag when running from a git checkout."""
    version = metadata.version("sodate")
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return version
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty"], cwd=root, capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return version
    return f"{version}+{described.stdout.strip()}"
