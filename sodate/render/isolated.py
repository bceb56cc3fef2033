"""Templates rendered by another process, with limits: whatever they do, this one goes on.

A worker renders one template at a time, each with a processor time and a deadline of its own; two renders never share
one. Whoever finds none idle starts another. A worker that outruns its limits is killed, and another is started in its
place at once, so that the next render need not wait for its beginning. What goes over the pipes is JSON, a line each
way.
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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MEMORY = 1 << 30  # bytes of address space beyond what a worker has when it starts
LATE = 1.15  # times its deadline: from then on a worker is killed
KEPT = 4  # workers that wait for the next render
STARTING = 60  # seconds
ANSWER = 1 << 28  # bytes: more than the longest text has, written as JSON


@dataclass(slots=True)
class Worker:
    """A process, who started it (a fork has to start its own), and whether it has said that it is there."""

    process: subprocess.Popen[bytes]
    owner: int
    ready: bool = False


_idle: list[Worker] = []
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
    except BaseException as error:
        _end(worker)
        if isinstance(error, Ended):
            _keep(_started())
        raise
    _keep(worker)
    return answered


def _take() -> Worker:
    """A worker that is ready: its start is on no template's account."""
    with _lock:
        mine = [one for one in _idle if one.owner == os.getpid()]
        alive = [one for one in mine if one.process.poll() is None]
        worker = max(alive, key=lambda one: one.ready, default=None)
        _idle[:] = [one for one in alive if one is not worker]
    for dead in mine:
        if dead not in alive:
            _end(dead)
    worker = worker or _started()
    if not worker.ready:
        try:
            _line(worker, b"", time.monotonic() + STARTING)
        except BaseException:
            _end(worker)
            raise
        worker.ready = True
    return worker


def _started() -> Worker:
    root = str(Path(__file__).parents[2])
    process = subprocess.Popen(
        [sys.executable, "-m", "sodate.render.worker", str(MEMORY)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, env={"PYTHONPATH": os.pathsep.join([root, *filter(None, sys.path)])},
    )  # fmt: skip
    return Worker(process, os.getpid())


def _keep(worker: Worker) -> None:
    with _lock:
        if len(_idle) < KEPT:
            _idle.append(worker)
            return
    _end(worker)


def _line(worker: Worker, request: bytes, deadline: float) -> bytes:
    """Writes a request and reads a line, both without waiting past the deadline."""
    assert worker.process.stdin is not None and worker.process.stdout is not None
    source, target = worker.process.stdout.fileno(), worker.process.stdin.fileno()
    os.set_blocking(target, False)
    waiting = select.poll()  # select.select knows no descriptor above 1023
    waiting.register(source, select.POLLIN)
    if request:
        waiting.register(target, select.POLLOUT)
    answer = bytearray()
    while (left := deadline - time.monotonic()) > 0:
        for descriptor, _ in waiting.poll(1000 * left):
            if descriptor == target:
                try:
                    request = request[os.write(target, request[: 1 << 16]) :]
                except OSError:
                    raise Ended(late=False) from None
                if not request:
                    waiting.unregister(target)
                continue
            part = os.read(source, 1 << 20)
            answer += part
            if not part or len(answer) > ANSWER:
                raise Ended(late=False)
            if part.endswith(b"\n"):
                return bytes(answer)
    raise Ended(late=True)


def _end(worker: Worker) -> None:
    worker.process.kill()
    worker.process.wait()
    for pipe in (worker.process.stdin, worker.process.stdout):
        if pipe is not None:
            pipe.close()


@atexit.register
def _end_all() -> None:
    for worker in _idle:
        if worker.owner == os.getpid():
            _end(worker)
