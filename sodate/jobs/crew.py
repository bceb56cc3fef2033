"""Workers as processes of whoever starts them: begun again when they die, and gone when their starter is."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import threading
import time

from sodate.core.errors import SodateError
from sodate.core.files import holds
from sodate.core.runs import RunFolder
from sodate.core.text import tr

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0  # seconds before a worker that died is begun again
GRACE_SECONDS = 130.0  # for a worker to give its job back
RESUME_SECONDS = 20.0  # that a resumed run may take to load before whoever asked is answered


class Crew:
    """`count` worker processes. Their standard input is a pipe of ours, so that they end with us however we end."""

    def __init__(self, count: int) -> None:
        self._ending = threading.Event()
        self._threads = [threading.Thread(target=self._keep, daemon=True) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def _keep(self) -> None:
        pause = FIRST_PAUSE
        while not self._ending.is_set():
            began = time.monotonic()
            process = subprocess.Popen([sys.executable, "-m", "sodate.cli", "worker", "--tied"], stdin=subprocess.PIPE)
            while process.poll() is None and not self._ending.wait(0.5):
                pass
            if process.poll() is None:
                process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(GRACE_SECONDS)
                process.kill()
            process.wait()
            assert process.stdin is not None
            process.stdin.close()
            pause = FIRST_PAUSE if time.monotonic() - began > LONGEST_PAUSE else min(2 * pause, LONGEST_PAUSE)
            self._ending.wait(pause)

    def end(self) -> None:
        """Stops all of them; what they train goes on when there are workers again."""
        self._ending.set()
        for thread in self._threads:
            thread.join()


_resumed: list[subprocess.Popen[bytes]] = []


def resume(run: str) -> None:
    """Goes on with a run in a process of its own, as `sodate runs resume` does. Returns once it has the run.

    SodateError with what it said where it ended before that.
    """
    folder = RunFolder.find(run)
    if folder.status() not in ("interrupted", "failed"):
        raise SodateError(
            tr(f"{run} can't be resumed: it is {folder.status()}.",
               f"{run} は再開できません (状態: {folder.status()})。"),
            code="invalid_status", param="run",
        )  # fmt: skip
    _resumed[:] = [one for one in _resumed if one.poll() is None]
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen([sys.executable, "-m", "sodate.cli", "runs", "resume", run, "--json"],
                                   stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.DEVNULL)  # fmt: skip
        _resumed.append(process)
        until = time.monotonic() + RESUME_SECONDS
        while process.poll() is None and time.monotonic() < until and not holds(folder.path / "lock"):
            time.sleep(0.1)
        if process.poll():
            said.seek(0)
            error = json.loads(said.read() or b"{}").get("error", {})
            message = error.get("message") or tr("It could not be resumed.", "再開できませんでした。")
            raise SodateError(message, error.get("fix", ""), code=error.get("code", "failed"), param="run")
