"""Workers as processes of whoever starts them: begun again when they die, and gone when their starter is."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0  # seconds before a worker that died is begun again
GRACE_SECONDS = 130.0  # for a worker to give its job back


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
