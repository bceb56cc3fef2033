"""The command line in a process of its own that starts in milliseconds, forked from a server that did the imports.

The server has never computed anything, so its children start with the same threads as a fresh `sodate` would.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(["sodate.api.training", "sodate.train.loop", "tests.preloaded"])


@dataclass(frozen=True, slots=True)
class Ended:
    code: int  # negative: the signal that ended it
    out: str
    err: str


def run(
    *words: str,
    home: Path,
    stdin: str = "",
    language: str = "en",
    kill_at_write: int | None = None,
    interrupt_at_step: int | None = None,
    patience: float = 120,
) -> Ended:
    """`sodate WORDS`, ended. It can be told to end itself with SIGKILL at its Nth fsync, or SIGINT after a step."""
    (home / "stdin").write_text(stdin, "utf-8")
    process = context.Process(target=_child, args=(words, str(home), language, kill_at_write, interrupt_at_step))
    process.start()
    process.join(patience)
    assert process.exitcode is not None, "still running, and patience is at an end"
    texts = [(home / f"{process.pid}.{name}").read_text("utf-8") for name in ("out", "err")]
    return Ended(process.exitcode, *texts)


def _child(
    words: tuple[str, ...], home: str, language: str, kill_at_write: int | None, interrupt_at_step: int | None
) -> None:
    os.environ |= {"SODATE_HOME": home, "SODATE_LANG": language}
    os.dup2(os.open(f"{home}/stdin", os.O_RDONLY), 0)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 (multiprocessing had put /dev/null there)
    for name in ("out", "err"):
        fd = os.open(f"{home}/{os.getpid()}.{name}", os.O_WRONLY | os.O_CREAT, 0o644)
        os.dup2(fd, 1 if name == "out" else 2)
    if kill_at_write is not None:
        _kill_at_fsync(kill_at_write)
    if interrupt_at_step is not None:
        _interrupt_after(interrupt_at_step)
    from sodate import cli

    sys.argv = ["sodate", *words]
    try:
        cli.main()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def _kill_at_fsync(number: int) -> None:
    """A power cut between two steps of a write: the kernel ends this process without a word."""
    real, calls = os.fsync, 0

    def fsync(fd: int) -> None:
        nonlocal calls
        calls += 1
        if calls == number:
            os.kill(os.getpid(), signal.SIGKILL)
        real(fd)

    os.fsync = fsync


def _interrupt_after(step: int) -> None:
    """Ctrl-C while step `step` + 1 is under way: as soon as the line of `step` is in the metrics."""
    from sodate.core.runs import RunFolder

    real = RunFolder.metric

    def metric(self: RunFolder, line: dict[str, Any]) -> None:
        real(self, line)
        if line["step"] == step:
            os.kill(os.getpid(), signal.SIGINT)

    RunFolder.metric = metric  # type: ignore[method-assign]
