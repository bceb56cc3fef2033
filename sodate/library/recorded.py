"""What was recorded of a folder is checked before it is used: that its files are those that were hashed.

Cheaply: files whose size and time are as at the last check on this machine were looked at then. All are read again
where either changed, and always within `verifying` (`sodate --verify`).
"""

from __future__ import annotations

import contextlib
import json
import platform
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from sodate.core.errors import SodateError
from sodate.core.files import sha256_file, sha256_json, write_json
from sodate.core.home import home
from sodate.core.text import tr

_ALWAYS: ContextVar[bool] = ContextVar("sodate_verifying", default=False)
BESIDE = "calibration/"  # added to a version later, and not part of what it is
READ = (".json", ".safetensors", ".jinja", ".model", ".bin")  # what a library would take up, if it lay there


@contextlib.contextmanager
def verifying() -> Iterator[None]:
    """Within, every file of a model or version that is loaded is hashed again: of this request or command alone."""
    before = _ALWAYS.set(True)
    try:
        yield
    finally:
        _ALWAYS.reset(before)


def check_recorded(folder: Path, sha256: Mapping[str, str], manifest: str) -> None:
    """SodateError naming the first file of `folder` that is not what `sha256` (relative path → hash) says: changed,
    gone, or added where it would be read. `manifest` is the file that holds the record, and is not in it; neither is
    what lies BESIDE.
    """
    files = [file for file in folder.rglob("*") if file.is_file()]
    there = {file.relative_to(folder).as_posix(): file for file in files}
    there = {name: file for name, file in there.items() if name != manifest and not name.startswith(BESIDE)}
    for name in sorted(set(there) ^ set(sha256)):
        if name in sha256 or name.endswith(READ):
            raise _changed(folder / name)
        there.pop(name)  # a licence or a note that somebody put there: nothing reads it
    if not _ALWAYS.get() and _read(_note(folder)) == _looks(there, sha256):
        return
    for name, file in there.items():
        if sha256_file(file) != sha256[name]:
            raise _changed(file)
    note_recorded(folder, sha256)


def note_recorded(folder: Path, sha256: Mapping[str, str]) -> None:
    """Remembers that the files of `folder`, as they lie there now, have these hashes."""
    with contextlib.suppress(OSError, SodateError):  # a full disk, or a home that may only be read
        write_json(_note(folder), _looks({name: folder / name for name in sha256}, sha256))


def _looks(files: Mapping[str, Path], sha256: Mapping[str, str]) -> dict[str, Any]:
    """What would be other if a file were."""
    stats = {name: [file.stat().st_size, file.stat().st_mtime_ns] for name, file in sorted(files.items())}
    return {"machine": platform.node(), "files": stats, "sha256": dict(sorted(sha256.items()))}


def _note(folder: Path) -> Path:
    return home() / "cache" / "checked" / f"{sha256_json(str(folder))[:32]}.json"


def _read(note: Path) -> Any:
    try:
        return json.loads(note.read_bytes())
    except (OSError, ValueError):
        return None


def _changed(file: Path) -> SodateError:
    return SodateError(
        tr(f"{file} is not what was recorded.", f"{file} が記録された内容と違います。"),
        tr("Pull the model again, or restore the file.", "モデルを取り込み直すか、ファイルを元に戻してください。"),
        code="damaged",
        file=file,
    )
