"""What runs inside the jail: reads a request from stdin, answers in JSON lines on stdout. A script; nothing imports it.

    python -I -S /inside.py STATUS

STATUS is the descriptor on which it says that the jail stands. It is closed before anything else is run.
Request: {"limits": {…}, "source": text, "jobs": […]}; a job is {"call": expression}, {"stdin": text} or
{"grade": [sample, item]}.
What the source prints goes to stderr; only this script's own lines go to stdout. A program with stdin has files as its
descriptors 0 and 1, so that it may read and write as it likes. `sys.exit(0)` is a way to end, not a mistake.
"""

from __future__ import annotations

import builtins
import json
import os
import resource
import sys
from typing import Any

PLAIN = (bool, int, float, str, bytes, type(None), complex)  # bool is an int too, so it comes first


def limit(limits: dict[str, int]) -> None:
    """Hard limits: they can't be raised again."""
    for name, value in (
        ("AS", limits["memory"]), ("CPU", limits["seconds"]), ("NPROC", limits["processes"]), ("CORE", 0),
        ("FSIZE", limits["file"]), ("NOFILE", 64), ("STACK", 8 << 20), ("MEMLOCK", 0), ("MSGQUEUE", 0),
    ):  # fmt: skip
        number = getattr(resource, f"RLIMIT_{name}")
        resource.setrlimit(number, (value, value))


def plain(value: Any) -> str:
    """The literal of a value made of built-in types, or of what derives from them: a Counter is its dict.

    The built-in's own methods read it, so that an object's own idea of itself doesn't count.
    """
    kind: Any = next((base for base in (*PLAIN, list, tuple, set, frozenset, dict) if isinstance(value, base)), None)
    if kind in PLAIN:
        return str(kind.__repr__(value))
    if kind in (list, tuple, set, frozenset):
        inner = [plain(one) for one in kind.__iter__(value)]
        if kind is list:
            return f"[{', '.join(inner)}]"
        if kind is tuple:
            return f"({', '.join(inner)}{',' if len(inner) == 1 else ''})"
        return f"{{{', '.join(sorted(inner))}}}" if inner else "set()"
    if kind is dict:
        pairs = (f"{plain(k)}: {plain(v)}" for k, v in kind.items(value))
        return f"{{{', '.join(pairs)}}}"
    raise TypeError(f"a {type(value).__name__} is not a plain value")


def execute(source: str, space: dict[str, object]) -> None:
    """Runs source text; it may end by sys.exit() or sys.exit(0)."""
    try:
        exec(compile(source, "reply.py", "exec"), space)
    except SystemExit as end:
        if end.code not in (None, 0):
            raise RuntimeError(f"the program ended with status {end.code!s:.80}") from None


def program(source: str, stdin: str) -> str:
    """What a program prints."""
    descriptors, streams = (os.dup(0), os.dup(1)), (sys.stdin, sys.stdout)
    files = [os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC) for path in ("/tmp/.stdin", "/tmp/.stdout")]
    with open(files[0], "wb", closefd=False) as given:
        given.write(stdin.encode())
    os.lseek(files[0], 0, os.SEEK_SET)
    for number, file in enumerate(files):
        os.dup2(file, number)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    try:
        execute(source, {"__name__": "__main__"})
        sys.stdout.flush()
        os.lseek(files[1], 0, os.SEEK_SET)
        with open(files[1], "rb", closefd=False) as printed:
            return printed.read().decode("utf-8", "replace")
    finally:
        sys.stdin, sys.stdout = streams
        for number, kept in enumerate(descriptors):
            os.dup2(kept, number)
        for descriptor in (*descriptors, *files):
            os.close(descriptor)


def run(source: str, job: dict[str, object], space: dict[str, object]) -> str:
    """The answer to one job, as the literal of a plain value."""
    if "call" in job:
        return plain(eval(str(job["call"]), space))
    if "grade" in job:
        return plain(space["grade"](*job["grade"]))  # type: ignore[operator,misc]
    return plain(program(source, str(job["stdin"])))


def main() -> None:
    status = int(sys.argv[1])
    os.write(status, b"ready")
    os.close(status)
    request = json.loads(sys.stdin.buffer.read())
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    limit(request["limits"])
    vars(builtins).update(exit=sys.exit, quit=sys.exit)  # as the site module has them
    source, jobs = request["source"], request["jobs"]
    space: dict[str, object] = {"__name__": "reply"}
    failed = None
    if any("stdin" not in job for job in jobs):
        try:
            execute(source, space)
        except BaseException as error:
            failed = f"{type(error).__name__}: {error}"
    for job in jobs:
        try:
            if failed is not None and "stdin" not in job:
                raise RuntimeError(failed)
            line = {"value": run(source, job, space)}
        except BaseException as error:
            line = {"error": failed or f"{type(error).__name__}: {error}"}
        channel.write(json.dumps(line)[:200_000] + "\n")
        channel.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
