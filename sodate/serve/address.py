"""Where the server of this SODATE_HOME is reached, for whoever makes a link to it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from sodate.core import home
from sodate.core.files import lives, process_name, read_json, write_json

DEFAULT = "http://127.0.0.1:8000"
_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # where one listens, but nobody can be asked to go


def of(host: str, port: int) -> str:
    """The address of a server."""
    name = _ANYWHERE.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{name}:{port}"


def address() -> str:
    """That of the server that runs now, or of one with default settings."""
    return running() or DEFAULT


def running() -> str | None:
    """That of the server that runs now; None where none does."""
    if not _file().exists():
        return None
    known = read_json(_file())
    return str(known["url"]) if lives(known["process"]) else None


@contextlib.contextmanager
def told(host: str, port: int) -> Iterator[None]:
    """While this lasts, `address` says this one."""
    write_json(_file(), {"url": of(host, port), "process": process_name(os.getpid())})
    try:
        yield
    finally:
        _file().unlink(missing_ok=True)


def _file() -> Path:
    return home.home() / "serving.json"
