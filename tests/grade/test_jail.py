"""What a jail keeps in, with harmless code, by both ways to build one."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import resource
import shutil
from pathlib import Path
from typing import Any

import pytest

from sodate.core.errors import SodateError
from sodate.core.limited import limited
from sodate.grade import Case, cgroup, parse_grader, programs, sandbox, seccomp
from sodate.grade.cgroup import resource_group
from sodate.grade.sandbox import Limits


@pytest.fixture(autouse=True, params=["namespaces", "bubblewrap"])
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    name = str(request.param)
    if name == "bubblewrap" and shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed")
    monkeypatch.setattr(sandbox, "backend", lambda: name)
    return name


def run(source: str, *calls: str, **limits: int) -> list[sandbox.Answer]:
    return sandbox.run(source, [{"call": call} for call in calls or ("f()",)], Limits(**({"seconds": 10} | limits)))


NUMBERS = seccomp._DENIED[platform.machine()]
ASK = """
import ctypes, os, socket, threading
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *words):
    return ctypes.get_errno() if libc.syscall(number, *words) < 0 else 0
def family(number):
    try:
        socket.socket(number, socket.SOCK_STREAM).close()
        return 0
    except OSError as error:
        return error.errno
def unix():
    a, b = socket.socketpair()
    a.send(b"x")
    return b.recv(1)
def thread():
    said = []
    one = threading.Thread(target=said.append, args=(1,))
    one.start()
    one.join()
    return said
def exists(path): return os.path.exists(path)
"""


def test_system_calls_that_no_grader_needs_are_denied() -> None:
    names = ("shmget", "memfd_create", "keyctl", "add_key", "request_key", "userfaultfd", "io_uring_setup", "bpf",
             "ptrace", "perf_event_open", "unshare", "setns", "mount", "mq_open", "msgget", "semget",
             "io_setup", "move_pages")  # fmt: skip
    clone3, clone = seccomp._CALLS[platform.machine()]["clone3"], seccomp._CALLS[platform.machine()]["clone"]
    calls = [f"call({NUMBERS[name]}, 0, 0, 0, 0, 0)" for name in names]
    calls += [f"call({clone3}, 0, 0)", f"call({clone}, 0x10000000 | 17, 0, 0, 0, 0)"]
    assert [answer.value for answer in run(ASK, *calls)] == [1] * len(names) + [38, 1]  # EPERM, ENOSYS, EPERM


def test_calls_that_were_not_known_when_the_filter_was_written_are_not_there() -> None:
    """listmount and statmount tell the host's paths, by numbers 458 and 457."""
    calls = [f"call({number}, 0, 0, 0, 0, 0)" for number in (453, 457, 458, 500, 0x40000000, 0x40000000 + 39)]
    assert [answer.value for answer in run(ASK, *calls)] == [38] * len(calls)


def test_a_jail_is_built_however_many_files_are_open() -> None:
    """select(2) knows no descriptor above 1023."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    held = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        assert run("def f(): return 1")[0].value == 1
        assert limited(lambda: 5, "this", seconds=20, memory=1 << 30) == 5
    finally:
        for descriptor in held:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_there_are_no_sockets_but_unix() -> None:
    calls = [f"family({number})" for number in (2, 10, 16, 17, 40)]  # INET, INET6, NETLINK, PACKET, VSOCK
    answers = run(ASK, *calls, "family(1)", "unix()", "thread()")
    assert [one.value for one in answers] == [97] * 5 + [0, b"x", [1]]  # EAFNOSUPPORT


READ_KEY = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
def f(number, key):
    room = ctypes.create_string_buffer(9)
    return room.raw[:6] if libc.syscall(number, 11, key, room, 9) > 0 else ctypes.get_errno()
"""


@pytest.mark.parametrize("filtered", [True, False])
def test_no_key_of_ours_can_be_read(filtered: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall(NUMBERS["keyctl"], 1, None)  # a session keyring for this test
    key = libc.syscall(NUMBERS["add_key"], b"user", b"sodate-test", b"secret", 6, -3)
    if key < 0:
        pytest.skip("this kernel keeps no keys for us")
    here: dict[str, Any] = {}
    exec(READ_KEY, here)
    assert here["f"](NUMBERS["keyctl"], key) == b"secret"
    if not filtered:  # then the keyring alone keeps it
        allow_all = seccomp._step(seccomp._RETURN, seccomp._ALLOW)
        monkeypatch.setattr(seccomp, "program", lambda one_process: allow_all)
    assert run(READ_KEY, f"f({NUMBERS['keyctl']}, {key})")[0].value in ({1} if filtered else {1, 13, 126})


def test_no_package_of_the_machine_can_be_read() -> None:
    for folder in sandbox.empty():
        assert run(f"import os\ndef f(): return os.listdir({folder!r})")[0].value == []
    assert any(folder.startswith("/python/lib/") for folder in sandbox.empty()) or not list(
        Path(os.__file__).parent.glob("*-packages")
    )
    assert "ModuleNotFoundError" in str(run("import pytest\ndef f(): return 1")[0].error)


def test_only_tmp_can_be_written_and_little_of_it() -> None:
    fill = "def f():\n    for n in range(99):\n        open(f'/tmp/{n}', 'wb').write(bytes(4 << 20))"
    write = "def g(path): open(path, 'w').write('a')\n"
    said = [str(one.error) for one in run(write + fill, "g('/x')", "g('/python/x')", "g('/usr/lib/x')", "f()")]
    assert ["Errno 30" in one for one in said[:3]] == [True] * 3 and "Errno 28" in said[3]


MEMORY = """
import os, time, mmap
def f():
    started = 0
    for _ in range(6):
        try:
            if os.fork() == 0:
                held = bytearray(90 << 20)
                time.sleep(3)
                os._exit(0)
            started += 1
        except OSError:
            break
    held, ended = bytearray(40 << 20), 0
    for _ in range(started):
        ended += os.wait()[1] == 0
    return started, ended
def shared():
    try:
        return len(mmap.mmap(-1, 512 << 20))
    except (OSError, MemoryError):
        return None
"""


@pytest.mark.parametrize("grouped", [True, False])
def test_all_processes_together_have_one_ceiling(grouped: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not grouped:
        monkeypatch.setattr(sandbox, "resource_group", lambda memory, processes: contextlib.nullcontext([]))
    with sandbox.resource_group(1 << 20, 1) as groups:
        if grouped and not groups:
            pytest.skip("no control group can be made here")
    (answer,) = run(MEMORY, memory=200 << 20)
    # In a group some of the processes are ended at the ceiling; without one there is only the first.
    assert answer.value == (0, 0) if not grouped else answer.value is None or answer.value[1] <= 2
    assert run(MEMORY, "shared()", memory=200 << 20)[0].value is None


@pytest.mark.parametrize("joins", [True, False])
def test_a_group_of_version_2_is_made_only_where_a_process_may_be_moved_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, joins: bool
) -> None:
    """As systemd lays them out: what runs is in a scope, beside which a group can be made. Joining it takes the right
    to write where both meet."""
    session = tmp_path / "user.slice" / "app.slice"
    (session / "here.scope").mkdir(parents=True)
    (session / "cgroup.subtree_control").write_text("cpu memory pids\n")
    (session / "here.scope" / "cgroup.subtree_control").write_text("\n")
    (session / "cgroup.procs").touch()
    monkeypatch.setattr(cgroup, "ROOT", tmp_path)
    monkeypatch.setattr(cgroup, "_own", lambda: ["0::/user.slice/app.slice/here.scope"])
    monkeypatch.setattr(cgroup.os, "access", lambda path, mode: joins or path.name != "cgroup.procs")
    with resource_group(64 << 20, 8) as groups:
        if not joins:
            assert groups == []
            return
        (procs,) = map(Path, groups)
        assert procs.parent.parent == session
        limits = {file.name: file.read_text() for file in procs.parent.iterdir()}
        for file in procs.parent.iterdir():
            file.unlink()  # files of a real group go with it
    assert limits == {"memory.max": str(64 << 20), "pids.max": "8"}
    assert not procs.parent.exists()


def test_a_group_is_gone_with_its_jail() -> None:
    with resource_group(64 << 20, 8) as groups:
        folders = [Path(one).parent for one in groups]
        assert all(folder.is_dir() for folder in folders)
    assert not any(folder.exists() for folder in folders)


# ── what a reply may do without stopping a run ───────────────────────────────────────────────────────────────────────

HEXADECIMALS = """
import os
for n in range(12):
    try:
        os.write(n, b'{"value": "0x' + b"f" * 9000 + b'"}\\n')
    except OSError:
        pass
os._exit(0)
"""
DEEP = """
def f():
    x = []
    for _ in range(9000):
        x = [x]
    return x
"""
ENDS = {
    "with a status of old": "import os\nos._exit(97)",
    "with a signal": "import os\nos.kill(os.getpid(), 9)",
    "with words on stderr": "import os, sys\nsys.stderr.write('bwrap: no\\nOSError: unshare')\nos._exit(1)",
    "with a great number": "def f(): return 1 << 400_000",
    "with a great number on the pipe": HEXADECIMALS,
    "with infinity": "def f(): return float('inf')",
    "with nan": "def f(): return float('nan')",
    "with what json can't write": "def f(): return {b'a': {1j, (2,)}}",
    "with depth": DEEP,
    "by raising": "raise BaseException('no')",
    "by raising half a character": "def f(): raise ValueError('\\ud800')",
    "with a status": "import sys\nsys.exit(3)",
    "by closing all": "import os\nos.closerange(0, 64)",
    "with nothing": "",
}


@pytest.mark.parametrize("how", sorted(ENDS))
def test_however_a_reply_ends_it_scores_zero_and_the_next_is_graded(how: str) -> None:
    item = {"tests": ["assert f() == 1"]}
    cases = [Case(ENDS[how], (), item), Case("def f(): return 1", (), item)]
    grader = parse_grader("code")
    bad, good = grader.grade(cases)
    assert (bad.score, good.score) == (0, 1) and bad.reason.encode()


@pytest.mark.parametrize("ends", [
    "sys.exit(0)", "sys.exit()", "exit()", "quit()", "raise SystemExit", "raise SystemExit(0)", "pass",
])  # fmt: skip
def test_a_program_with_the_right_output_is_right_however_it_ends_well(ends: str) -> None:
    tests: dict[str, Any] = {"tests": [{"stdin": "3\n", "stdout": "4"}, {"stdin": "5\n", "stdout": "6"}]}
    assert programs.code(f"import sys\nprint(int(input()) + 1)\n{ends}", None, tests).score == 1
    assert programs.code(f"import sys\ndef f(): return 1\n{ends}", None, {"tests": ["assert f() == 1"]}).score == 1


@pytest.mark.parametrize("source", [
    "import sys\nprint(int(sys.stdin.readline()) + 1)", "print(int(open(0).read()) + 1)",
    "import sys\nsys.stdout.buffer.write(b'%d' % (int(sys.stdin.buffer.read()) + 1))",
    "import os\nos.write(1, str(int(os.read(0, 9)) + 1).encode())",
    "for line in __import__('sys').stdin: print(int(line) + 1)",
])  # fmt: skip
def test_a_program_reads_and_writes_as_it_likes(source: str) -> None:
    tests: dict[str, Any] = {"tests": [{"stdin": "3\n", "stdout": "4"}, {"stdin": "5\n", "stdout": "6"}]}
    assert programs.code(source, None, tests).score == 1
    assert programs.code("import sys\nprint(4)\nsys.exit(1)", None, tests).score == 0


def test_a_jail_that_cannot_be_built_is_told_with_its_reason(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "binds", lambda: {"/python": "/nowhere/at/all"})
    with pytest.raises(SodateError, match="nowhere"):
        run("def f(): return 1")
