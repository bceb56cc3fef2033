"""What an import makes: files in a folder of their own, and a list of what was left and why."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from sodate.core import home
from sodate.core.errors import UsageError
from sodate.core.files import write_bytes, write_text
from sodate.core.text import json_text, tr

MANY = 20  # equal complaints about one file, of which the first are listed


@dataclass(slots=True)
class Imported:
    """`made` are files by kind and path, `left` what did not carry over; each names what it comes from."""

    folder: Path
    made: list[dict[str, str]] = field(default_factory=list)
    left: list[dict[str, str]] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """The document `sodate import --json` prints."""
        return {"folder": str(self.folder), "made": self.made,
                "left": [{name: str(value) for name, value in one.items()} for one in self.left]}  # fmt: skip

    def leave(self, source: str, why: str) -> None:
        """Names something that has no counterpart."""
        if sum(one["from"].partition(":")[0] == source.partition(":")[0] for one in self.left) < MANY:
            self.left.append({"from": source, "why": why})

    def unmatched(self, place: str, key: str, value: Any) -> None:
        """Names a key of a configuration that has no counterpart here."""
        shown = f"{key} = {str(value)[:100]}"
        self.leave(f"{place} {key}", tr(f"{shown} has no counterpart.", f"{shown} に対応するものはありません。"))

    def rows(self, kind: str, name: str, rows: Iterable[Mapping[str, Any]], source: str) -> Path:
        """A JSONL file of `rows`."""
        text = "".join(json_text(row) + "\n" for row in rows)
        return self._write(kind, name, ".jsonl", text.encode(), source)

    def copied(self, kind: str, name: str, path: Path, source: str) -> Path:
        """A file as it is."""
        return self._write(kind, name, path.suffix.lower(), path.read_bytes(), source)

    def document(self, kind: str, name: str, value: Any, source: str) -> Path:
        """A JSON file."""
        return self._write(kind, name, ".json", (json_text(value, indent=1) + "\n").encode(), source)

    def recipe(self, name: str, keys: Mapping[str, Any], source: str) -> Path:
        """A recipe, whose files are named from where it lies."""
        text = yaml.safe_dump(dict(keys), allow_unicode=True, sort_keys=False)
        return self._write("recipe", name, ".yaml", text.encode(), source)

    def _write(self, kind: str, name: str, suffix: str, content: bytes, source: str) -> Path:
        path = self.folder / f"{kind}s" / f"{slug(name)}{suffix}"
        number = 2
        while path.exists():
            path = path.with_name(f"{slug(name)}-{number}{suffix}")
            number += 1
        write_bytes(path, content)
        self.made.append({"kind": kind, "name": str(path), "from": source})
        return path

    def note(self) -> None:
        """Keeps the list beside what was made."""
        write_text(self.folder / "import.json", json_text(self.to_json(), indent=1) + "\n")


def begin(what: str, source: Path, out: Path | None) -> Imported:
    """An import into `out`, or into a folder of SODATE_HOME that is named after what is imported.

    UsageError where `source` is not there, or the folder holds something already.
    """
    if not source.exists():
        raise UsageError(
            tr(f"{source} is not there.", f"{source} がありません。"), code="file_missing", param="path", file=source
        )
    folder = out
    if folder is None:
        base = home.home() / "imports"
        stem = f"{what}-{slug(source.resolve().name.partition('.')[0])}"
        folder, number = base / stem, 2
        while folder.exists():
            folder, number = base / f"{stem}-{number}", number + 1
    elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(
            tr(f"{folder} is not empty.", f"{folder} は空ではありません。"),
            tr("Name a new folder.", "新しいフォルダーを指定してください。"), code="bad_value", param="out",
        )  # fmt: skip
    return Imported(folder)


def slug(name: str) -> str:
    """A name that is safe as a file's, whatever it was."""
    plain = re.sub(r"[^\w.-]+", "-", name).strip(".-_")[:80]
    return plain or "unnamed"
