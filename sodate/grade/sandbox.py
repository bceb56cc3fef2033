"""Runs code that nobody has read: in its own namespaces (jail.py, or bubblewrap where the system allows only that),
without network, keys or files, under a filter of system calls (seccomp.py) and one ceiling of memory and processes
(cgroup.py), with limits on time and output. Where neither works, it is not run.
"""

from __future__ import annotations

import base64
import functools
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sodate.core import literals
from sodate.core.errors import SodateError
from sodate.core.text import tr, written
from sodate.grade import seccomp
from sodate.grade.cgroup import resource_group

HERE = Path(__file__).parent
NOBODY = 65534
TMPFS = 16 << 20  # bytes of files the code may write, in memory
LAUNCHERS = 4  # processes that build the jail and wait for it
BUILDING = 30  # seconds, for a machine that has other work
PYTHON = "/python/bin/python"
ENVIRONMENT = {"HOME": "/tmp", "LANG": "C.UTF-8", "LD_LIBRARY_PATH": "/python/lib"}


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds on the clock and of CPU; bytes of memory, of a file, of output; processes.

    Memory and processes are those of the whole jail where there are control groups. Elsewhere each process has that
    memory, and may not start another.
    """

    seconds: int = 5
    memory: int = 512 << 20
    processes: int = 8
    file: int = 8 << 20
    output: int = 64 << 10


@dataclass(frozen=True, slots=True)
class Answer:
    """What one job gave: the value, or the reason why there is none."""

    value: Any = None
    error: str | None = None


def run(source: str, jobs: Sequence[Mapping[str, Any]], limits: Limits | None = None) -> list[Answer]:
    """An answer per job (see inside.py): expressions, programs with their stdin, or a call of `grade`.

    SodateError where this machine offers no sandbox. Time, memory or output beyond the limits is an answer too.
    """
    return _run(backend(), source, jobs, limits or Limits())


@functools.cache
def backend() -> str:
    """`namespaces` or `bubblewrap`: the first that passes its trial here. SodateError with the reasons if none does."""
    reasons = []
    for name in ("namespaces", "bubblewrap"):
        try:
            (found,) = _run(name, _TRIAL, [{"call": "trial()"}], Limits())
        except SodateError as error:
            found = Answer(error=error.message)
        if found.value == "jailed":
            return name
        reasons.append(f"{name}: " + str(found.error or found.value))
    raise SodateError(
        tr(f"Code can't be run as a grader: this machine offers no sandbox ({'; '.join(reasons)}).",
           f"このマシンではサンドボックスが使えないため、コードによる採点はできません ({'; '.join(reasons)})。"),
        tr("Install bubblewrap, allow user namespaces, or leave graders out that run code. It is never run bare.",
           "bubblewrap を入れるか、ユーザー名前空間を許可するか、コードを実行する採点を外してください。"),
        code="no_sandbox", param="grader",
    )  # fmt: skip


# What must not be possible in a place that is called a jail.
_TRIAL = """
import os, socket
def trial():
    for path in ("/etc/passwd", "/proc/1", "/root", "/home"):
        if os.path.exists(path):
            return f"{path} can be seen"
    if os.getuid() == 0 or os.getppid() > 2:
        return "not a process of its own"
    try:
        socket.create_connection(("192.0.2.1", 9), 0.2)
        return "the network can be reached"
    except TimeoutError:
        return "the network can be reached"
    except OSError:
        return "jailed"
"""


@functools.cache
def binds() -> dict[str, str]:
    """Path in the jail → path here: the interpreter and its library as /python, and the system's libraries."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    wanted = {path: path for path in ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache")}
    wanted |= {PYTHON: str(_executable()), f"/python/lib/{version}": sysconfig.get_path("stdlib")}
    wanted |= {f"/python/lib/{p.name}": str(p) for p in Path(sys.base_prefix, "lib").glob("libpython*.so*")}
    return {target: source for target, source in wanted.items() if os.path.lexists(source)}


def _executable() -> Path:
    return Path(os.path.realpath(getattr(sys, "_base_executable", sys.executable)))


@functools.cache
def empty() -> list[str]:
    """Folders of packages in what `binds` shows: the code sees them, with nothing in them."""
    found = []
    for target, source in binds().items():
        if Path(source).is_dir() and not (target == source and Path(source).is_symlink()):
            pattern = "*-packages" if target.startswith("/python/") else "python*/*-packages"
            found += [f"{target}/{path.relative_to(source)}" for path in sorted(Path(source).glob(pattern))]
    return found


def _command(name: str, groups: Sequence[str], status: int) -> list[str]:
    """The call of jail.py that builds a jail by `name` under the control `groups`, reporting on `status`."""
    program = [PYTHON, "-I", "-S", "-B", "/inside.py", str(status)]
    about = {
        "program": program, "binds": binds(), "empty": empty(), "inside": str(HERE / "inside.py"), "env": ENVIRONMENT,
        "tmpfs_bytes": TMPFS, "groups": list(groups), "status": status,
        "filter": base64.b64encode(seccomp.program(one_process=not groups)).decode(),
        "bubblewrap": _bubblewrap(program) if name == "bubblewrap" else None,
    }  # fmt: skip
    return [str(_executable()), "-I", "-S", "-B", str(HERE / "jail.py"), json.dumps(about)]


def _bubblewrap(program: Sequence[str]) -> list[str]:
    tool = shutil.which("bwrap")
    if tool is None:
        raise SodateError(
            tr("bubblewrap is not installed", "bubblewrap がインストールされていません"), code="no_sandbox"
        )
    words = [tool, "--unshare-all", "--unshare-user", "--die-with-parent", "--new-session", "--clearenv"]
    words += ["--cap-drop", "ALL", "--uid", str(NOBODY), "--gid", str(NOBODY), "--hostname", "jail"]
    if _knows_disable_userns(tool):
        words += ["--disable-userns"]
    for target, source in binds().items():
        link = Path(source).is_symlink() and target == source
        words += ["--symlink", str(Path(source).readlink()), target] if link else ["--ro-bind", source, target]
    for target in empty():
        words += ["--size", "4096", "--tmpfs", target, "--remount-ro", target]
    for key, value in ENVIRONMENT.items():
        words += ["--setenv", key, value]
    words += ["--ro-bind", str(HERE / "inside.py"), "/inside.py", "--size", str(TMPFS), "--tmpfs", "/tmp"]
    return [*words, "--remount-ro", "/", "--chdir", "/tmp", "--", *program]


@functools.cache
def _knows_disable_userns(tool: str) -> bool:
    """Whether this bubblewrap is 0.8 or newer; the filter of system calls denies nested namespaces to any."""
    return b"--disable-userns" in subprocess.run([tool, "--help"], capture_output=True, check=False).stdout


def _run(name: str, source: str, jobs: Sequence[Mapping[str, Any]], limits: Limits) -> list[Answer]:
    """An answer per job. SodateError only where the jail could not be built: nothing that runs in it can cause one."""
    request = json.dumps({"limits": asdict(limits), "source": source, "jobs": list(jobs)}).encode()
    with resource_group(limits.memory, limits.processes + LAUNCHERS) as groups:
        status, told = os.pipe()
        try:
            process = subprocess.Popen(
                _command(name, groups, told), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                start_new_session=True, env={"LANG": "C.UTF-8"}, cwd="/", pass_fds=[told],
            )  # fmt: skip
        except (OSError, KeyError) as error:
            os.close(status)
            raise SodateError(str(error), code="no_sandbox") from error
        finally:
            os.close(told)
        try:
            begun = _begun(process, status)
            out, stopped = _talk(process, request, limits) if begun else (b"", None)
        finally:
            os.close(status)
            _end(process)
    answers = [_answer(line) for line in out.splitlines()][: len(jobs)]
    why = stopped or tr(f"the process ended (status {process.returncode})",
                        f"プロセスが終了しました (状態 {process.returncode})")  # fmt: skip
    return answers + [Answer(error=why)] * (len(jobs) - len(answers))


def _begun(process: subprocess.Popen[bytes], status: int) -> bool:
    """Waits until the jail stands. SodateError, saying why, when it doesn't."""
    assert process.stderr
    said = b""
    deadline = time.monotonic() + BUILDING
    waiting = select.poll()  # select.select knows no descriptor above 1023
    waiting.register(status, select.POLLIN)
    while (left := deadline - time.monotonic()) > 0 and waiting.poll(1000 * left):
        piece = os.read(status, 65536)
        said += piece
        if said == b"ready":
            return True
        if not piece:
            break
    _kill(process)
    heard = (said or process.stderr.read(65536)).decode("utf-8", "replace").strip().rpartition("\n")[2]
    raise SodateError(
        heard or tr(f"the jail was not built in {BUILDING} s", f"{BUILDING} 秒以内に準備できませんでした"),
        code="no_sandbox",
    )


def _talk(process: subprocess.Popen[bytes], request: bytes, limits: Limits) -> tuple[bytes, str | None]:
    """(stdout, why it was stopped or None), within the limits of time and output. stderr counts, and is not kept."""
    assert process.stdin and process.stdout and process.stderr
    deadline = time.monotonic() + limits.seconds
    out = bytearray()
    target, reading = process.stdin.fileno(), {process.stdout.fileno(), process.stderr.fileno()}
    os.set_blocking(target, False)
    waiting = select.poll()
    waiting.register(target, select.POLLOUT)
    for fd in reading:
        waiting.register(fd, select.POLLIN)
    stopped, sent, loud = None, 0, 0
    while reading and stopped is None:
        left = deadline - time.monotonic()
        if left <= 0:
            stopped = tr(f"stopped after {limits.seconds} s", f"{limits.seconds} 秒で打ち切りました")
            break
        for fd, _ in waiting.poll(1000 * left):
            if fd == target:
                try:
                    sent += os.write(fd, request[sent : sent + 65536])
                except BrokenPipeError:
                    sent = len(request)
                if sent == len(request):
                    waiting.unregister(fd)
                    process.stdin.close()
                continue
            data = os.read(fd, 65536)
            if fd == process.stdout.fileno():
                out += data
            loud += len(data)
            if not data:
                reading.discard(fd)
                waiting.unregister(fd)
            if loud > limits.output:
                stopped = tr(
                    f"stopped after {limits.output} bytes of output", f"出力が {limits.output} バイトを超えました"
                )
    return bytes(out), stopped


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kills the launcher if it still runs; with it the kernel kills the jail."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)


def _end(process: subprocess.Popen[bytes]) -> None:
    _kill(process)
    process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None and not stream.closed:
            stream.close()


def _answer(line: bytes) -> Answer:
    """One line of inside.py; whatever else the code managed to write there is no answer."""
    try:
        said = json.loads(line)
        if "error" in said:
            # A message may hold half a surrogate pair, which no file and no answer over a wire can.
            return Answer(error=written(str(said["error"])[:500]))
        value = literals.literal(said["value"])
        repr(value)  # what can't be written can't be compared or told: a number of many thousand digits
        return Answer(value)
    except (ValueError, TypeError, AttributeError, KeyError, SyntaxError, RecursionError, MemoryError, OverflowError):
        return Answer(error=tr("an answer that can't be read", "読めない応答"))
