"""Work over something that a stranger made, in a child process that may take so much time and memory and no more.

For libraries that allocate what a file claims, or end in ways that `except Exception` does not catch.
"""

from __future__ import annotations

import json
import os
import re
import resource
import select
import signal
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from sodate.core.errors import SodateError, UsageError
from sodate.core.text import en, ja, tr

OUTPUT_BYTES = 1 << 24  # of what the work returns, as JSON
SPARE_SECONDS = 0.5  # for the child's own start and end
RESERVE = 128 << 20  # bytes of address space; the C library reserves 64 MiB at once


def limited(work: Callable[[], Any], what: str, *, seconds: float, memory: int, output: int = OUTPUT_BYTES) -> Any:
    """What `work` returns, as JSON carries it, from a forked child: at most `seconds` and `memory` bytes beyond what
    this process has, `output` bytes of JSON. What it needs should be imported before.

    A SodateError of `work` is raised here. Whatever else ends it (a limit, a signal, any exception) is a SodateError
    that names `what`.
    """
    read, write = os.pipe()
    with warnings.catch_warnings():
        # Python 3.12 warns of forking beside other threads. The child only computes, on its own, and is watched.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        os.close(read)
        _work(work, write, seconds, memory)
    os.close(write)
    try:
        raw = _read(read, time.monotonic() + seconds + SPARE_SECONDS, output)
    finally:
        os.close(read)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    kind: str
    value: Any
    try:
        kind, value = ("slow", None) if raw is None else json.loads(raw)
    except (ValueError, TypeError, RecursionError):  # cut off in the middle, or no answer of ours
        kind, value = "died", None
    if kind == "done":
        return value
    if kind == "refused":
        message, fix, usage, more = value
        raise (UsageError if usage else SodateError)(tr(*message), tr(*fix), **more)
    why = {
        "slow": tr(f"it takes more than {seconds:g} s", f"{seconds:g} 秒を超えました"),
        "memory": tr(f"it takes more than {memory / 1e9:.1f} GB", f"{memory / 1e9:.1f} GB を超えるメモリが必要です"),
        "died": tr("the library that reads it crashed, or ran out of memory",
                   "読み込むライブラリーが異常終了したか、メモリが足りません"),
    }  # fmt: skip
    said = why.get(kind) or tr(str(value), str(value))
    raise SodateError(
        tr(f"{en(what)} cannot be read: {en(said)}.", f"{ja(what)} を読めません: {ja(said)}"), code="damaged"
    )


def _read(handle: int, deadline: float, most: int) -> bytes | None:
    """All that the child says before it closes its end; None when the deadline comes first."""
    said = bytearray()
    waiting = select.poll()  # select.select knows no descriptor above 1023
    waiting.register(handle, select.POLLIN)
    while (left := deadline - time.monotonic()) > 0:
        if waiting.poll(1000 * left):
            part = os.read(handle, 1 << 16)
            if not part or len(said) > most:
                return bytes(said)
            said += part
    return None


def _limit_memory(memory: int) -> None:
    """At most so many bytes more that may be written to. The address space, which also counts files that are mapped,
    gets RESERVE beyond: a limit on data holds only as long as the address space has not reached its own, since the
    kernel lets what other threads had reserved become writable then (mprotect_fixup in Linux's mm/mprotect.c).
    """
    # statm counts pages, the address space first; status says in kB how much of it can be written to.
    space = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + memory + RESERVE
    resource.setrlimit(resource.RLIMIT_AS, (space, space))
    found = re.search(r"^VmData:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    if found is not None:
        data = (int(found[1]) << 10) + memory
        resource.setrlimit(resource.RLIMIT_DATA, (data, data))


def _work(work: Callable[[], Any], write: int, seconds: float, memory: int) -> NoReturn:
    """The child's whole life. It leaves by _exit: nothing of the parent's is flushed or cleaned up twice."""
    try:
        silence = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1, 2):
            os.dup2(silence, standard)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        cpu = int(seconds) + 2
        resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu))
        _limit_memory(memory)
        answer: tuple[str, Any] = ("done", work())
    except SodateError as error:
        more = {"code": error.code, "param": error.param, "file": error.file, "line": error.line}
        sentences = [(en(text), ja(text)) for text in (error.message, error.fix)]
        answer = ("refused", [*sentences, isinstance(error, UsageError), more])
    except MemoryError:
        answer = ("memory", None)
    except BaseException as error:  # a panic in native code is no Exception
        first = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
        answer = ("raised", first)
    try:
        data = json.dumps(answer).encode()
        while data:
            data = data[os.write(write, data) :]
    finally:
        os._exit(0)
