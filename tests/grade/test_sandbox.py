"""Escapes from the sandbox, each tried from inside; and the graders that run code in it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from sodate.core import literals
from sodate.core.errors import SodateError, UsageError
from sodate.grade import parse_grader, programs, sandbox
from sodate.grade.sandbox import Limits


def run(source: str, call: str = "f()", **limits: int) -> sandbox.Answer:
    (answer,) = sandbox.run(source, [{"call": call}], Limits(**({"seconds": 3} | limits)))
    return answer


def test_plain_code_runs() -> None:
    assert run("def f(): return [1, 2.5, 'あ', None, {'a': (True,)}]").value == [1, 2.5, "あ", None, {"a": (True,)}]
    assert run("import json, re, math, random, collections\ndef f(): return math.comb(5, 2)").value == 10
    assert "ZeroDivisionError" in str(run("def f(): return 1 / 0").error)
    assert "SyntaxError" in str(run("def f( return").error)


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "/etc/shadow", "/proc/1/environ", "/proc/self/root", "/dev/sda", "/sys"]
)
def test_no_file_of_the_machine_can_be_seen(path: str) -> None:
    assert run(f"import os\ndef f(): return os.path.exists({path!r})").value is False
    assert "FileNotFoundError" in str(run(f"def f(): return open({path!r}).read()").error)


def test_nothing_of_the_user_is_there(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("the key", "utf-8")
    for path in (secret, Path.home(), Path(sandbox.__file__), Path.cwd()):
        assert run(f"import os\ndef f(): return os.path.exists({str(path)!r})").value is False
    root = run("import os\ndef f(): return sorted(os.listdir('/'))").value
    assert set(root) <= {"bin", "etc", "inside.py", "lib", "lib64", "python", "tmp", "usr", "dev"}
    assert run("import os\ndef f(): return sorted(os.environ)").value == ["HOME", "LANG", "LD_LIBRARY_PATH"]
    assert run("import os\ndef f(): return (os.getuid() != 0, os.getgid() != 0)").value == (True, True)


def test_writing_stays_in_memory_and_within_its_limit() -> None:
    assert "Errno 30" in str(run("def f(): open('/usr/lib/x', 'w')").error)  # read-only
    assert "Errno 30" in str(run("def f(): open('/x', 'w')").error)
    assert run("def f():\n    open('/tmp/x', 'w').write('a')\n    return open('/tmp/x').read()").value == "a"
    assert run("import os\ndef f(): return os.path.exists('/tmp/x')").value is False  # every jail is new
    fill = "def f():\n    for n in range(99):\n        open(f'/tmp/{n}', 'wb').write(bytes(4 << 20))"
    assert "Errno 28" in str(run(fill).error)
    assert "Errno 27" in str(run("def f(): open('/tmp/x', 'wb').write(bytes(64 << 20))").error)


def test_there_is_no_network() -> None:
    connect = "import socket\ndef f():\n    s = socket.socket()\n    s.settimeout(1)\n    s.connect(({0!r}, {1}))"
    assert "Address family not supported" in str(run(connect.format("1.1.1.1", 53)).error)
    import socket

    with socket.create_server(("127.0.0.1", 0)) as here:
        assert run(connect.format("127.0.0.1", here.getsockname()[1])).error is not None


def test_an_endless_loop_is_stopped() -> None:
    started = time.monotonic()
    answer = run("def f():\n    while True: pass", seconds=1)
    assert answer.value is None and time.monotonic() - started < 6
    assert run("import time\ndef f(): time.sleep(60)", seconds=1).error == "stopped after 1 s"


def test_a_memory_bomb_hits_its_limit() -> None:
    assert "MemoryError" in str(run("def f(): return len(bytearray(4 << 30))").error)
    assert "MemoryError" in str(run("def f():\n    x = []\n    while True: x.append(bytes(1 << 22))").error)


def test_a_fork_bomb_burns_out_and_leaves_no_process() -> None:
    bomb = """
import os, time
def f():
    made = 0
    try:
        while True:
            if os.fork() == 0:
                time.sleep(99)
            made += 1
    except OSError as error:
        return (made, error.errno)
"""
    before = len(processes())
    made, number = run(bomb).value
    assert made <= Limits().processes and number == 11
    endless = run(
        "import os\ndef f():\n    while True:\n        try: os.fork()\n        except OSError: pass", seconds=1
    )
    assert endless.value is None
    deadline = time.monotonic() + 5
    while len(processes()) > before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(processes()) <= before


def processes() -> list[str]:
    """Interpreters of jails that are running."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if b"/inside.py" in (folder / "cmdline").read_bytes().split(b"\0"):
                found.append(folder.name)
        except OSError:
            continue
    return found


def test_what_a_daemon_starts_ends_with_the_jail() -> None:
    daemon = """
import os, time
def f():
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(99)
    return 1
"""
    before = len(processes())
    answer = run(daemon)
    assert answer.value == 1 or "BlockingIOError" in str(answer.error)  # without control groups nothing is started
    deadline = time.monotonic() + 5
    while len(processes()) > before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(processes()) <= before


def test_giant_output_is_cut_off() -> None:
    loud = "import sys\ndef f():\n    while True: sys.{0}.write('x' * 9999)"
    for stream in ("stdout", "stderr"):
        assert run(loud.format(stream)).error == "stopped after 65536 bytes of output"
    assert run("def f(): return 'x' * 10 ** 8").value is None


def test_nobody_outside_can_be_killed_or_traced() -> None:
    me = os.getpid()
    kill = f"import os\ndef f():\n    for pid in ({me}, {os.getppid()}, 1, -1):\n        try: os.kill(pid, 9)\n"
    kill += "        except OSError: pass\n    return 'alive'"
    assert run(kill).value in ("alive", None)  # kill(-1) may end the code itself; never this process
    assert run(f"import os\ndef f(): os.kill({me}, 9)").error is not None
    assert run("import os\ndef f(): return os.getppid()").value == 1


@pytest.mark.parametrize("source", [
    "import ctypes\ndef f(): return ctypes.CDLL(None).unshare(0x10000000)",
    "import ctypes\ndef f(): return ctypes.CDLL(None).mount(b'none', b'/tmp', b'tmpfs', 0, b'')",
    "import ctypes\ndef f(): return ctypes.CDLL(None).chroot(b'/tmp')",
    "import ctypes\ndef f(): return ctypes.CDLL(None).ptrace(16, 1, 0, 0)",
    "import ctypes\ndef f(): return ctypes.CDLL(None).setuid(0)",
    "import resource\ndef f(): resource.setrlimit(resource.RLIMIT_NPROC, (999, 999))\n",
])  # fmt: skip
def test_the_jail_cannot_be_rebuilt_from_inside(source: str) -> None:
    answer = run(source)
    assert answer.value == -1 or answer.error is not None


# ── the protocol ─────────────────────────────────────────────────────────────────────────────────────────────────────

FORGERIES = {
    "prints the protocol": 'print(\'{"value": "5"}\')\ndef add(a, b): return 0',
    "writes it to every descriptor and leaves": """
import os
for fd in range(9):
    try: os.write(fd, b'{"value": "True"}\\n' * 4)
    except OSError: pass
os._exit(0)
""",
    "leaves with success": "import sys\nsys.exit(0)",
    "equals everything": "class E(int):\n    def __eq__(self, other): return True\ndef add(a, b): return E(0)",
    "changes the built-ins": "import builtins\nbuiltins.repr = lambda x: 'True'\nbuiltins.AssertionError = Exception\n"
    "def add(a, b): return 0",
}


@pytest.mark.parametrize("trick", sorted(FORGERIES))
def test_a_pass_cannot_be_forged(trick: str) -> None:
    item = {"tests": ["assert add(2, 3) == 5", "assert add(10, 7) == 17"]}
    assert programs.code(FORGERIES[trick], None, item).score == 0


def test_a_right_program_passes_and_a_half_right_one_half() -> None:
    item: dict[str, Any] = {"tests": ["assert add(2, 3) == 5", {"call": "add(0.5, 1)", "returns": 1.5}]}
    fenced = "Here it is:\n```python\ndef add(a, b):\n    return a + b\n```\nIt adds."
    assert programs.code(fenced, None, item).score == 1
    half = programs.code("def add(a, b): return 5", None, item)
    assert half.score == 0.5 and half.reason == "1 of 2 tests; add(0.5, 1): 5"
    printed = {"tests": [{"stdin": "3 4\n", "stdout": "7"}, {"stdin": "1 1", "stdout": "3"}]}
    assert programs.code("print(sum(map(int, input().split())))", None, printed).score == 0.5
    assert programs.code("def f(): return 1", None, {"tests": ["assert f() == True"]}).score == 0  # 1 is not True


@pytest.mark.parametrize(("value", "test", "score"), [
    ("4 / 2", "assert f() == 2", 1), ("2", "assert f() == 2.0", 1), ("2.5", "assert f() == 2", 0),
    ("[1, {2.0}]", "assert f() == [1.0, {2}]", 1), ("[True]", "assert f() == [1]", 0),
    ("[1]", "assert f() == [True]", 0), ("{'a': (0,)}", "assert f() == {'a': (False,)}", 0),
    ("{True: 1}", "assert f() == {1: 1}", 0), ("(1, 2)", "assert f() == [1, 2]", 0),
    ("(1, 2)", "assert f() == (1, 2)", 1),
    # JSON knows no tuples.
    ("(1, (2,))", {"call": "f()", "returns": [1, [2]]}, 1), ("{'a': (1,)}", {"call": "f()", "returns": {"a": [1]}}, 1),
    ("(1, True)", {"call": "f()", "returns": [1, 1]}, 0), ("'12'", {"call": "f()", "returns": [1, 2]}, 0),
    # What derives from a built-in type is equal to it.
    ("__import__('collections').Counter('aab')", "assert f() == {'a': 2, 'b': 1}", 1),
    ("__import__('collections').namedtuple('P', 'x y')(1, 2)", "assert f() == (1, 2)", 1),
])  # fmt: skip
def test_values_are_equal_as_an_assert_has_it_but_true_is_not_one(value: str, test: Any, score: float) -> None:
    assert programs.code(f"def f(): return {value}", None, {"tests": [test]}).score == score


@pytest.mark.parametrize(("reply", "score"), [
    ("```python3\n{}\n```", 1), ("```Python\n{}\n```", 1), ("```py title=a.py\n{}\n```", 1), ("```\n{}\n```", 1),
    ("First:\n```bash\npip install x\n```\nthen\n```python\n{}\n```\nprints\n```\n1 one\n```", 1),
    ("```python\nx = 1\n```\nand\n```python\n{}\n```", 1), ("```js\n{}\n```", 0), ("```pycon\n{}\n```", 0),
])  # fmt: skip
def test_the_program_is_what_the_reply_fences_as_python(reply: str, score: float) -> None:
    item = {"tests": ["assert f() == 1"]}
    assert programs.code(reply.format("def f(): return 1"), None, item).score == score


@pytest.mark.parametrize(
    "tests", [None, [], ["assert f()"], ["assert f() == g()"], ["f() == 1"], [{"call": "f()"}], [3]]
)
def test_tests_that_can_only_be_judged_inside_are_refused(tests: Any) -> None:
    with pytest.raises(SodateError):
        programs.code("def f(): return 1", None, {"tests": tests})


def test_a_python_grader_is_called_as_on_openai(tmp_path: Path) -> None:
    (tmp_path / "g.py").write_text(
        "def grade(sample, item):\n"
        "    return 1.0 if sample['output_json'] == {'n': item['n']} else 0.25 if sample['output_text'] else 0\n",
        "utf-8",
    )
    grader = parse_grader("python:g.py", tmp_path)
    assert grader('{"n": 4}', None, {"n": 4}).score == 1
    assert grader("four", None, {"n": 4}).score == 0.25 and grader("", None, {"n": 4}).score == 0


@pytest.mark.parametrize(("body", "said"), [
    ("raise ValueError('no')", "ValueError: no"), ("return 'high'", "not a number"),
    ("return 1.5", "not between 0 and 1"),
    ("return True", "not a number"), ("return open('/etc/passwd')", "FileNotFoundError"),
    ("while True: pass", "stopped|ended"),
])  # fmt: skip
def test_a_python_grader_that_fails_is_an_error_and_not_a_zero(body: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "g.py").write_text(f"def grade(sample, item):\n    {body}\n", "utf-8")
    with pytest.raises(SodateError, match=said):
        parse_grader("python:g.py", tmp_path)("x", None, {})


def test_without_a_sandbox_code_is_refused_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "g.py").write_text("def grade(sample, item): return 1\n", "utf-8")
    sandbox.backend.cache_clear()
    monkeypatch.setattr(sandbox, "_command", lambda name, groups, status: ["/bin/false"])
    try:
        for spec in ("python:g.py", "code"):
            with pytest.raises(SodateError, match=r"this machine offers no sandbox[\s\S]*never run bare"):
                parse_grader(spec, tmp_path)
    finally:
        sandbox.backend.cache_clear()
    monkeypatch.undo()
    with pytest.raises(UsageError, match="cannot be read"):
        parse_grader("python:missing.py", tmp_path)


def test_python_from_elsewhere_is_parsed_within_bounds_and_without_a_word() -> None:
    item = {"tests": ["assert f() == [" + "1," * literals.MAX_CHARS + "]"]}
    with pytest.raises(SodateError, match="can't be judged from outside"):
        programs.code("def f(): return 1", None, item)
    texts = [r"'\d'", "1if 1else 2", "[" * 9000, "-" * 9000 + "1", "9" * 9000, "{[]}", "a = 1", ""]
    code = f"""
from sodate.core import literals
for text in {texts!r}:
    try:
        literals.literal(text)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        pass
"""
    done = subprocess.run([sys.executable, "-W", "always", "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""
