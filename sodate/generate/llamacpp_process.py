"""llama.cpp in a process of its own: started, watched, and ended with us. What it says goes to a log."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sodate.core.errors import SodateError
from sodate.core.home import home, make_folder
from sodate.core.text import tr

START = 660.0  # seconds until it has to be ready; the child's own limit is a little shorter
SILENCE = 120.0  # seconds without a word about a request after which the process hangs
LOG_BYTES = 10 << 20
_KEPT = ("HOME", "PATH", "LANG", "LD_LIBRARY_PATH", "OMP_NUM_THREADS", "TMPDIR", "VIRTUAL_ENV")  # no keys among them


def log_file() -> Path:
    """What llama.cpp writes to its standard error."""
    return home() / "logs" / "llamacpp.log"


class Process:
    """One child, ready to answer on a socket that only this user reaches. SodateError where it does not start."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        folder = tempfile.mkdtemp(prefix="sodate-")  # its owner's alone
        self.socket = f"{folder}/llama.sock"
        root = str(Path(__file__).parents[2])
        environment = {name: value for name, value in os.environ.items() if name in _KEPT}
        environment["PYTHONPATH"] = os.pathsep.join([root, *filter(None, sys.path)])
        make_folder(log_file().parent)
        begun = log_file().stat().st_size if log_file().exists() else 0
        begun = 0 if begun > LOG_BYTES else begun
        opener = lambda path, flags: os.open(path, flags, 0o600)  # noqa: E731
        with open(log_file(), "ab" if begun else "wb", opener=opener) as log:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "sodate.generate.llamacpp_child"], stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, stderr=log, env=environment, cwd=folder,
                start_new_session=True,  # Ctrl-C is for us: we end it
            )  # fmt: skip
        self._end = weakref.finalize(self, _end, self._child, folder)
        try:
            self._tell({**settings, "socket": self.socket})
            self._wait_until_ready()
        except BaseException as error:
            self.close()
            if isinstance(error, OSError | ValueError):
                raise not_started(_last_words(begun)) from None
            raise

    def _tell(self, settings: Mapping[str, Any]) -> None:
        assert self._child.stdin is not None
        self._child.stdin.write(json.dumps(settings).encode() + b"\n")
        self._child.stdin.flush()

    def _wait_until_ready(self) -> None:
        assert self._child.stdout is not None
        waiting = select.poll()  # select.select knows no descriptor above 1023
        waiting.register(self._child.stdout, select.POLLIN)
        readable = waiting.poll(1000 * START)
        json.loads(self._child.stdout.readline() if readable else b"")

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def alive(self) -> bool:
        return self._child.poll() is None

    def connection(self) -> http.client.HTTPConnection:
        """A connection to it that ends when it has been silent for too long."""
        return _Local(self.socket, SILENCE)

    def ending(self) -> None:
        """Waits a moment for one that has broken off its connections: it is about to end."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(1.0)

    def kill(self) -> None:
        """Ends it at once; everybody who waits for it finds the connection closed."""
        self._child.kill()
        self._child.wait()

    def close(self) -> None:
        """Ends it and removes its socket."""
        self._end()


class _Local(http.client.HTTPConnection):
    """Over a socket in a folder instead of the network."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _end(child: subprocess.Popen[bytes], folder: str) -> None:
    child.kill()
    child.wait()
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
    shutil.rmtree(folder, ignore_errors=True)


def _last_words(begun: int) -> str:
    """What the child wrote last of what could be an error, without the time in front."""
    with log_file().open("rb") as log:
        log.seek(begun)
        lines = [line.strip() for line in log.read(1 << 20).decode("utf-8", "replace").splitlines() if line.strip()]
    said = next((line for line in reversed(lines) if "error" in line.lower()), lines[-1] if lines else "")
    return said.split(" E ", 1)[-1][:300]


def not_started(why: str) -> SodateError:
    return SodateError(
        tr(f"llama.cpp did not start: {why or 'it said nothing'}", f"llama.cpp を起動できません: {why or '出力なし'}"),
        tr(f"Its log is {log_file()}.", f"ログは {log_file()} にあります。"),
        code="engine_failed",
    )  # fmt: skip
