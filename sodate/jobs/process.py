"""A process beside this one, told what to do by its standard input, which says what happens on its standard output.

Lines of JSON, each with a `kind`. It ends when its input is closed: whoever started it is gone.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue as queues
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Say = Callable[..., None]
"""Writes a line: its kind, and what belongs to it."""


def told() -> tuple[dict[str, Any], Say]:
    """Within such a process: what it is told, and how it speaks. What else prints does not speak to its parent."""
    asked: dict[str, Any] = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def say(kind: str, **data: Any) -> None:
        out.write(json.dumps({"kind": kind, **data}) + "\n")
        out.flush()

    return asked, say


def _end_with_parent() -> None:
    while os.read(0, 1):  # not by sys.stdin, whose lock a thread may not hold when the interpreter ends
        pass
    os._exit(1)


class Process:
    """A process that does one thing: it ends when this object is left, or this process dies."""

    def __init__(self, command: Sequence[str], asked: Mapping[str, Any]) -> None:
        self._lines: queues.SimpleQueue[dict[str, Any] | None] = queues.SimpleQueue()
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.write(json.dumps(asked) + "\n")
            self._process.stdin.flush()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_error: object) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        self._process.wait()
        self._reader.join(10)
        self._process.stdout.close()

    @property
    def status(self) -> int:
        """How it ended; below 0: by that signal."""
        return self._process.wait()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with contextlib.suppress(ValueError):  # half a line of a process that was killed
            for line in self._process.stdout:
                self._lines.put(json.loads(line))
        self._lines.put(None)

    def said(self, seconds: float) -> tuple[list[dict[str, Any]], bool]:
        """What it said since it was last asked, waiting a little for the first line; and whether it has ended."""
        found: list[dict[str, Any]] = []
        with contextlib.suppress(queues.Empty):
            line = self._lines.get(timeout=seconds)
            while line is not None:
                found.append(line)
                line = self._lines.get_nowait()
            return found, True
        return found, False

    def stop(self) -> None:
        """Asks it to keep a checkpoint and end."""
        self._process.terminate()

    def kill(self) -> None:
        """Ends it at once; its run is as a crash leaves it."""
        self._process.kill()
