"""`backup` and `restore`: all of SODATE_HOME that can't be made again, consistent while a job trains.

The database is copied first, by SQLite's own means, in one moment; what it names is on disk already and never changes.
What else is copied is whole by itself: versions and checkpoints appear by a rename, lines of a log are cut at the last
whole one by who reads them. A PostgreSQL server has backups of its own; its URL is not touched.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sodate.core import home
from sodate.core.errors import SodateError, UsageError
from sodate.core.files import CHUNK, atomic_folder, sha256_file, write_json, write_text
from sodate.core.manifests import SCHEMA_VERSION, read_manifest
from sodate.core.runs import now
from sodate.core.text import json_text, tr
from sodate.db.connection import database_file, reading

MANIFEST = "backup.json"
LEFT_OUT = ("cache", "answering")  # made again at any time, or of a process that runs
_PARTS = ("-wal", "-shm")  # of SQLite's database, which its copy holds


def backup(folder: Path) -> dict[str, Any]:
    """Copies what SODATE_HOME holds into a new folder; returns how much it is. UsageError where the folder is there."""
    if folder.exists():
        raise UsageError(tr(f"{folder} is there already.", f"{folder} はすでにあります。"),
                         tr("Name a folder that is not.", "まだないフォルダーを指定してください。"),
                         code="bad_value", param="folder")  # fmt: skip
    with reading():
        pass  # the database is there, and of this sodate
    root, database = home.home(), database_file()
    with atomic_folder(folder.absolute(), private=True) as stage:  # it holds what SODATE_HOME holds
        files: dict[str, str] = {}
        if database is not None:
            _copy_database(database, stage / "sodate.db")
            files["sodate.db"] = sha256_file(stage / "sodate.db")
        for file in _files(root):
            name = file.relative_to(root).as_posix()
            if file == database or name in files or (database and name in (database.name + part for part in _PARTS)):
                continue
            if _copy(file, stage / name):
                files[name] = sha256_file(stage / name)
        write_json(
            stage / MANIFEST, {"schema_version": SCHEMA_VERSION, "created_at": now(), "home": str(root), "files": files}
        )
    size = sum((folder / name).stat().st_size for name in files)
    return {"folder": str(folder.absolute()), "files": len(files), "bytes": size}


def restore(folder: Path) -> dict[str, Any]:
    """Makes SODATE_HOME what a backup holds, every file checked. Refused where SODATE_HOME holds something already."""
    manifest = _manifest(folder / MANIFEST)
    root = home.home()
    if root.exists() and any(root.iterdir()):
        raise UsageError(
            tr(f"{root} is not empty.", f"{root} は空ではありません。"),
            tr("Move it away, or set SODATE_HOME to a new folder.",
               "別の場所に移すか、SODATE_HOME に新しいフォルダーを指定してください。"),
            code="bad_value", param="folder",
        )  # fmt: skip
    if root.exists():
        root.rmdir()
    with atomic_folder(root) as stage:
        for name, sha256 in manifest["files"].items():
            source = folder / name
            inside = source.is_file() and source.resolve().is_relative_to(folder.resolve())
            if not inside or not _copy(source, stage / name) or sha256_file(stage / name) != sha256:
                raise _damaged(source)
        if manifest["home"] != str(root):
            try:
                _move(stage, f"{manifest['home']}/", f"{root}/")
            except (UnicodeDecodeError, sqlite3.Error):  # the bytes that were backed up, but not what their names say
                raise _damaged(folder) from None
    return {"home": str(root), "files": len(manifest["files"]), "created_at": manifest["created_at"]}


def _manifest(path: Path) -> dict[str, Any]:
    """What a backup says of itself. SodateError where it is not whole, or a name in it is none of a file inside."""
    manifest: dict[str, Any] = read_manifest(path)
    files = manifest.get("files")
    texts = [manifest.get("home"), manifest.get("created_at"), *(files.values() if isinstance(files, dict) else [None])]
    if not all(isinstance(text, str) for text in texts) or not all(map(_is_plain, files or ())):
        raise _damaged(path)
    return manifest


def _is_plain(name: str) -> bool:
    """Whether a name leads into a folder, whatever lies there: the folder that is restored lies elsewhere."""
    return "\0" not in name and not {"", ".", ".."} & set(name.split("/"))


def _move(stage: Path, before: str, after: str) -> None:
    """Recipes of runs and of jobs that wait name their files whole: they lie in another home now."""
    for file in stage.glob("runs/*/run.json"):
        write_text(file, file.read_text("utf-8").replace(json_text(before)[:-1], json_text(after)[:-1]))
    if (stage / "sodate.db").exists():
        with contextlib.closing(sqlite3.connect(stage / "sodate.db")) as database, database:
            moved = "UPDATE tuning_jobs SET recipe = replace(recipe, ?, ?)"
            database.execute(moved, (json.dumps(before)[:-1], json.dumps(after)[:-1]))


def _damaged(file: Path) -> SodateError:
    return SodateError(tr(f"{file} is not what was backed up.", f"{file} がバックアップ時の内容と違います。"),
                       tr("Nothing was changed.", "変更はしていません。"), code="damaged", file=file)  # fmt: skip


def _files(root: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(root):
        inside = Path(folder)
        folders[:] = sorted(
            name for name in folders if not (inside == root and name in LEFT_OUT) and not name.endswith(".tmp")
        )
        for name in sorted(names):
            if not name.endswith(".tmp") and not (inside == root and name in LEFT_OUT):
                yield inside / name


def _copy(source: Path, target: Path) -> bool:
    """Copies a file as it is now; False where it is gone, as an old checkpoint may be by now."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with source.open("rb") as read, target.open("wb") as write:
            shutil.copyfileobj(read, write, CHUNK)
    except FileNotFoundError:
        return False
    return True


def _copy_database(source: Path, target: Path) -> None:
    read, write = sqlite3.connect(f"file:{source}?mode=ro", uri=True), sqlite3.connect(target)
    try:
        read.backup(write)
    finally:
        read.close()
        write.close()
