"""Nothing half-written, nothing lost: temp file → fsync → rename → fsync of the folder (ALICE, OSDI'14)."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import socket
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from sodate.core.errors import SodateError
from sodate.core.home import is_private, make_folder
from sodate.core.text import en, ja, json_text, tr

CHUNK = 1 << 20
_POLL = 0.05  # seconds between two looks whether a lock is free


def fsync_dir(folder: Path) -> None:
    """Makes a rename inside `folder` survive a power cut."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextlib.contextmanager
def full_disk_said(path: Path) -> Iterator[None]:
    """Writing `path`: an error of a full disk becomes the sentence that says so; others pass."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise full_disk(path) from error
        raise


def full_disk(path: Path) -> SodateError:
    return SodateError(
        tr(f"Not enough disk space to write {path}.", f"空き容量が足りず、{path} を書けません。"),
        tr(
            "Free some space, or set SODATE_HOME to a larger disk.",
            "空きを作るか、SODATE_HOME を大きなディスクに向けてください。",
        ),
        code="disk_full",
        file=path,
    )


def _opened(path: Path, mode: str) -> Any:
    """A new file in SODATE_HOME is its owner's alone from the start; elsewhere the umask decides."""
    return open(path, mode, opener=lambda name, flags: os.open(name, flags, 0o600 if is_private(path) else 0o666))


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Write-binary handle whose content appears at `path` complete or not at all."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    temp = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with full_disk_said(path):
            make_folder(path.parent)
            with _opened(temp, "wb") as handle:
                yield handle
                handle.flush()
                os.fsync(handle.fileno())
            temp.replace(path)
            fsync_dir(path.parent)
    except BaseException:
        temp.unlink(missing_ok=True)
        raise


def write_bytes(path: Path, data: bytes) -> None:
    with atomic_file(path) as handle:
        handle.write(data)


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    write_text(path, json_text(value, indent=2) + "\n")


def read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise SodateError(tr(f"{path} is missing.", f"{path} がありません。"), code="file_missing", file=path) from None
    except (ValueError, RecursionError) as error:
        raise SodateError(
            tr(f"{path} is damaged: {error}.", f"{path} が壊れています: {error}"),
            code="damaged",
            file=path,
            line=getattr(error, "lineno", None),
        ) from None


@contextlib.contextmanager
def atomic_folder(path: Path, private: bool = False) -> Iterator[Path]:
    """A staging folder that becomes `path` in one rename. If `path` exists already, FileExistsError and no change.

    It is its owner's alone in SODATE_HOME, and elsewhere where `private` says so.
    """
    stage = path.parent / f".{path.name}.{uuid.uuid4().hex[:8]}.tmp"
    private = private or is_private(path)  # of SODATE_HOME itself the stage lies beside it
    try:
        with full_disk_said(path):
            make_folder(stage.parent)
            stage.mkdir(mode=0o700 if private else 0o777)
            yield stage
            for file in stage.rglob("*"):
                if private and not file.is_symlink():
                    file.chmod(0o700 if file.is_dir() else 0o600)
                if file.is_file():
                    with file.open("rb") as handle:
                        os.fsync(handle.fileno())
            fsync_dir(stage)
            if path.exists():
                raise FileExistsError(path)
            try:
                stage.rename(path)
            except OSError as error:
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                    raise
                raise FileExistsError(path) from error  # another writer was first
            fsync_dir(path.parent)
    except BaseException:
        shutil.rmtree(stage, ignore_errors=True)
        raise


def sweep_temporaries(folder: Path) -> None:
    """Removes what a killed writer left behind. Call only while holding the folder's lock."""
    for leftover in folder.glob(".*.tmp"):
        shutil.rmtree(leftover, ignore_errors=True) if leftover.is_dir() else leftover.unlink(missing_ok=True)


def sha256_file(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while chunk := handle.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def sha256_json(value: Any) -> str:
    """Content address of a JSON value: keys sorted, no spaces, UTF-8."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


@contextlib.contextmanager
def lock(path: Path, what: str, *, wait: bool = False, seconds: float = 0, leave: bool = True) -> Iterator[None]:
    """One writer; a second one is refused, waits for so many `seconds`, or for as long as it takes (`wait`). The kernel
    drops the lock with its process, so that a kill -9 leaves nothing stale behind.

    The file holds the last owner's pid, for the sentence a second process gets. It stays, unless a person would find it
    beside files of their own (`leave=False`): then whoever comes looks whether what was locked is still there, or two
    processes would lock two different files of the same name.
    """
    make_folder(path.parent)
    end = time.monotonic() + seconds
    while True:
        with _opened(path, "a+") as handle:
            if not _taken(handle, wait):
                if time.monotonic() > end:
                    raise _in_use(path, what, handle)
                time.sleep(_POLL)
                continue
            if not leave and not _is_at(handle, path):
                continue
            # Past the buffer, which a full disk would make fail a second time when the file is closed.
            with full_disk_said(path):
                os.ftruncate(handle.fileno(), 0)
                os.write(handle.fileno(), process_name(os.getpid()).encode())
            try:
                yield
            finally:
                os.ftruncate(handle.fileno(), 0)
                if not leave:
                    path.unlink(missing_ok=True)
            return


def _taken(handle: Any, wait: bool) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


def _is_at(handle: Any, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _in_use(path: Path, what: str, handle: Any) -> SodateError:
    handle.seek(0)
    holder = handle.read().partition(" since ")[0] or "?"
    return SodateError(
        tr(f"{en(what)} is in use by another process ({holder}).",
           f"{ja(what)} は別のプロセス ({holder}) が使用中です。"),
        tr("Wait until it ends, or stop it first.", "終了を待つか、先にそちらを止めてください。"),
        code="in_use", file=path,
    )  # fmt: skip


def holds(path: Path) -> bool:
    """Whether a process that is alive holds the lock at `path`.

    Read from what its owner wrote there; taking the lock to see whether it is free would refuse a writer who comes
    just then. Of another host's process nobody here knows whether it lives: it counts as alive.
    """
    try:
        written = path.read_text("utf-8")
    except FileNotFoundError:
        return False
    return lives(written)


def lives(owner: str) -> bool:
    """Whether the process that `process_name` named may be alive. Of another host's nobody here knows: it counts so."""
    found = re.match(r"pid (\d+) on (\S+)", owner)
    if found is None:
        return False
    return found[2] != socket.gethostname() or owner == process_name(int(found[1]))


def process_name(pid: int) -> str:
    """The process by number, host, and when it began: numbers come again. Empty for one that is not there."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
        if state in "ZX":  # it has ended, and nobody has asked how
            return ""
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("utf-8").strip()
        since = f" since {boot}+{fields[18]}"
    except FileNotFoundError:
        if Path("/proc/self/stat").exists():
            return ""
        since = ""  # no /proc here: the number has to do
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return ""
        except PermissionError:
            pass
    return f"pid {pid} on {socket.gethostname()}{since}"
