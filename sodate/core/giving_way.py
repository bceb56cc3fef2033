"""A job on the same machine gives way to a server: while replies are being made it waits, between two layers.

A server writes the time into the file `answering` of SODATE_HOME before each of its steps; a job reads it. Niceness
would not do: systems share processors between sessions before they look at it, and there is no way back from it.
"""

from __future__ import annotations

import contextlib
import os
import struct
import time
from collections.abc import Iterator
from io import FileIO

from sodate.core.home import home, make_folder

LASTS = 5.0  # seconds that the time written counts: a step may take so long, and a server that was killed leaves it
PATIENCE = 1.0  # seconds a job waits at a time: it goes on by a layer then, however busy the server is
LOOKS = 0.002  # seconds between two looks while it waits

_TIME = struct.Struct("d")
_watched: list[FileIO] = []  # the file that a job of this process watches


def _open() -> FileIO:
    make_folder(home())
    return FileIO(os.open(home() / "answering", os.O_RDWR | os.O_CREAT, 0o600), "r+")


class Sign:
    """A server's sign that it is answering, for the jobs of its SODATE_HOME. One thread may show what another hides."""

    def __init__(self) -> None:
        self._file = _open()

    def show(self) -> None:
        # The clock is one for all processes, since the machine started.
        os.pwrite(self._file.fileno(), _TIME.pack(time.monotonic()), 0)

    def hide(self) -> None:
        os.pwrite(self._file.fileno(), _TIME.pack(0.0), 0)

    def close(self) -> None:
        self.hide()
        self._file.close()


@contextlib.contextmanager
def watching() -> Iterator[None]:
    """While this lasts, `give_way` waits for servers."""
    _watched.append(_open())
    try:
        yield
    finally:
        _watched.pop().close()


def give_way() -> None:
    """Waits while a server answers, `PATIENCE` at most; costs a microsecond where none does."""
    if not _watched:
        return
    until = time.monotonic() + PATIENCE
    while (now := time.monotonic()) < until:
        written = os.pread(_watched[-1].fileno(), _TIME.size, 0)
        if len(written) < _TIME.size or not 0 <= now - _TIME.unpack(written)[0] < LASTS:
            return
        time.sleep(LOOKS)
