"""Templates rendered by another process, with limits: whatever they do, this one goes on.

A worker renders one template at a time, each with a processor time and a deadline of its own; two renders never share
one. Whoever finds none idle starts another. A worker that outruns its limits is killed, and the next render has a new
one. What goes over the pipes is JSON, a line each way.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

MEMORY = 1 << 30  # bytes of address space beyond what a worker has when it starts
LATE = 1.15  # times its deadline: from then on a worker is killed

_idle: list[tuple[int, subprocess.Popen[bytes]]] = []  # with the process that started it: a fork has to start its own
_lock = threading.Lock()


class Ended(Exception):
    """A worker died, of memory it was refused if of anything; `late` where it had to be killed at its deadline."""

    def __init__(self, late: bool) -> None:
        super().__init__(late)
        self.late = late


def ask(request: dict[str, Any], seconds: float) -> dict[str, Any]:
    """A worker's answer. Raises Ended where there is none within `LATE * seconds`."""
    worker = _take()
    try:
        answer = _line(worker, json.dumps(request).encode() + b"\n", time.monotonic() + LATE * seconds)
        answered: dict[str, Any] = json.loads(answer)
    except BaseException:
        _end(worker)
        raise
    with _lock:
        _idle.append((os.getpid(), worker))
    return answered


def _take() -> subprocess.Popen[bytes]:
    with _lock:
        while _idle:
            owner, worker = _idle.pop()
            if owner == os.getpid() and worker.poll() is None:
                return worker
    root = str(Path(__file__).parents[2])
    worker = subprocess.Popen(
        [sys.executable, "-m", "sodate.render.worker", str(MEMORY)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, env={"PYTHONPATH": os.pathsep.join([root, *filter(None, sys.path)])},
    )  # fmt: skip
    try:
        _line(worker, b"", time.monotonic() + 60)  # it is ready: its start is not on any template's account
    except BaseException:
        _end(worker)
        raise
    return worker


def _line(worker: subprocess.Popen[bytes], request: bytes, deadline: float) -> bytes:
    """Writes a request and reads a line, both without waiting past the deadline."""
    assert worker.stdin is not None and worker.stdout is not None
    source, target = worker.stdout.fileno(), worker.stdin.fileno()
    os.set_blocking(target, False)
    parts: list[bytes] = []
    while (left := deadline - time.monotonic()) > 0:
        readable, writable, _ = select.select([source], [target] if request else [], [], left)
        if writable:
            try:
                request = request[os.write(target, request[: 1 << 16]) :]
            except OSError:
                raise Ended(late=False) from None
        if readable:
            part = os.read(source, 1 << 20)
            if not part:
                raise Ended(late=False)
            parts.append(part)
            if part.endswith(b"\n"):
                return b"".join(parts)
    raise Ended(late=True)


def _end(worker: subprocess.Popen[bytes]) -> None:
    worker.kill()
    worker.wait()
    for pipe in (worker.stdin, worker.stdout):
        if pipe is not None:
            pipe.close()


@atexit.register
def _end_all() -> None:
    for owner, worker in _idle:
        if owner == os.getpid():
            _end(worker)
