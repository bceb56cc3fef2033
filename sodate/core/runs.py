"""The run folder: one execution of a recipe, complete enough to be continued, replayed and trusted.

run.json        recipe as given and as resolved, decisions, data hash, code version, status
metrics.jsonl   one line per step
events.jsonl    what happened, in order
checkpoints/    see sodate.train.checkpoint
"""

from __future__ import annotations

import datetime
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sodate.core import home
from sodate.core.errors import SodateError, UsageError
from sodate.core.files import full_disk, full_disk_said, holds, lock, sweep_temporaries, write_json, write_text
from sodate.core.manifests import SCHEMA_VERSION, RunManifest, Status, read_kept, read_manifest
from sodate.core.text import json_lines, json_text, tr


def now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


class RunFolder:
    """A run on disk. Everything but reading needs `locked()`: one writer."""

    def __init__(self, path: Path, kept: RunManifest | None = None) -> None:
        """`kept` is the manifest where it has just been read."""
        self.path = path
        self.name = path.name
        self._kept = kept

    @classmethod
    def create(cls, manifest: dict[str, Any]) -> RunFolder:
        stamp = datetime.datetime.now(datetime.UTC).strftime("%Y%m%d-%H%M%S")
        path = home.runs_dir() / f"{manifest['recipe']['method']}-{stamp}-{secrets.token_hex(2)}"
        home.make_folder(path)
        own = {"schema_version": SCHEMA_VERSION, "run": path.name, "created_at": now(), "status": "running"}
        write_json(path / "run.json", manifest | own)
        return cls(path)

    @classmethod
    def find(cls, name: str) -> RunFolder:
        """A run by name; raises UsageError naming the nearest ones."""
        path = home.runs_dir() / home.checked_name(name, tr("Run", "実行"))
        if not (path / "run.json").exists():
            known = ", ".join(r.name for r in list_runs()[-5:])
            latest = tr(f"The latest are: {known}.", f"最近の実行: {known}")
            raise UsageError(
                tr(f"There is no run {name!r}.", f"実行 {name!r} はありません。"),
                latest if known else tr("There is no run yet.", "実行はまだありません。"),
                code="run_not_found",
                param="run",
            )
        return cls(path)

    @property
    def manifest(self) -> RunManifest:
        value: RunManifest = read_manifest(self.path / "run.json")
        return value

    @property
    def kept(self) -> RunManifest:
        """The manifest as of the list that this came from, or read again where it has changed. Do not change it."""
        value: RunManifest = self._kept or read_kept(self.path / "run.json")
        return value

    def status(self) -> Status:
        """A run whose process is gone is interrupted, whatever it wrote last. Asking never takes the run's lock."""
        written = self.kept["status"]
        return "interrupted" if written == "running" and not holds(self.path / "lock") else written

    def update(self, **changes: Any) -> None:
        write_json(self.path / "run.json", {**self.manifest, **changes})

    @contextmanager
    def locked(self) -> Iterator[None]:
        with lock(self.path / "lock", tr(f"Run {self.name}", f"実行 {self.name}")):
            sweep_temporaries(self.path)
            yield

    def event(self, kind: str, **data: Any) -> None:
        _append(self.path / "events.jsonl", {"schema_version": SCHEMA_VERSION, "at": now(), "kind": kind, **data})

    def metric(self, line: dict[str, Any]) -> None:
        _append(self.path / "metrics.jsonl", line)

    def events(self) -> list[dict[str, Any]]:
        """What happened, in order."""
        return _lines(self.path / "events.jsonl")

    def metrics(self) -> list[dict[str, Any]]:
        return _lines(self.path / "metrics.jsonl")

    def rewind_metrics(self, step: int) -> None:
        """Drops lines after `step`, and a half-written last line: they will be made again, the same."""
        path = self.path / "metrics.jsonl"
        kept = [line for line in _lines(path) if line["step"] <= step]
        text = "".join(json.dumps(line) + "\n" for line in kept)
        write_text(path, text)


class ReadOnlyRun(RunFolder):
    """The same run as seen by a process beside the one that writes it."""

    def update(self, **changes: Any) -> None: ...

    @contextmanager
    def locked(self) -> Iterator[None]:
        yield

    def event(self, kind: str, **data: Any) -> None: ...

    def metric(self, line: dict[str, Any]) -> None: ...

    def rewind_metrics(self, step: int) -> None: ...


def list_runs() -> list[RunFolder]:
    """Every run, oldest first."""
    root = home.runs_dir()
    found = []
    for name in os.listdir(root) if root.exists() else []:  # noqa: PTH208
        try:
            found.append(RunFolder(root / name, read_kept(f"{root}/{name}/run.json")))
        except NotADirectoryError:
            continue
        except SodateError as error:
            if error.code != "file_missing":
                raise
    return sorted(found, key=lambda run: str(run.kept.get("created_at")) + run.name)


def _append(path: Path, value: dict[str, Any]) -> None:
    """One line in one write, so that a reader or a crash never sees two lines mixed."""
    data = (json_text(value) + "\n").encode()
    with full_disk_said(path):
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            written = os.write(fd, data)
            if written != len(data):
                # What did fit goes again, or the next line would be glued to it.
                os.ftruncate(fd, os.fstat(fd).st_size - written)
                raise full_disk(path)
        finally:
            os.close(fd)


def _lines(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    out = []
    for line in json_lines(path.read_text("utf-8")):
        try:
            out.append(json.loads(line))
        except ValueError:
            break  # the tail a crash left
    return out
