"""What runs inside the jail: reads a request from stdin, answers in JSON lines on stdout. A script; nothing imports it.

Request: {"limits": {…}, "source": text, "jobs": […]}; a job is {"call": expression}, {"stdin": text} or
{"grade": [sample, item]}.
What the source prints goes to stderr; only this script's own lines go to stdout.
"""

from __future__ import annotations

import io
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
    raise TypeError(f"a {type(value).__name__} is no plain value")


def run(source: str, job: dict[str, object], space: dict[str, object]) -> str:
    """The answer to one job, as the literal of a plain value."""
    if "call" in job:
        return plain(eval(str(job["call"]), space))
    if "grade" in job:
        return plain(space["grade"](*job["grade"]))  # type: ignore[operator,misc]
    stdin, stdout = sys.stdin, sys.stdout
    sys.stdin, sys.stdout = io.StringIO(str(job["stdin"])), io.StringIO()
    try:
        exec(compile(source, "reply.py", "exec"), {"__name__": "__main__"})
        return plain(sys.stdout.getvalue())
    finally:
        sys.stdin, sys.stdout = stdin, stdout


def main() -> None:
    request = json.loads(sys.stdin.buffer.read())
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    limit(request["limits"])
    source, jobs = request["source"], request["jobs"]
    space: dict[str, object] = {"__name__": "reply"}
    failed = None
    if any("stdin" not in job for job in jobs):
        try:
            exec(compile(source, "reply.py", "exec"), space)
        except BaseException as error:
            failed = f"{type(error).__name__}: {error}"
    for job in jobs:
        try:
            if failed is not None:
                raise RuntimeError(failed)
            line = {"value": run(source, job, space)}
        except BaseException as error:
            line = {"error": failed or f"{type(error).__name__}: {error}"}
        channel.write(json.dumps(line)[:200_000] + "\n")
        channel.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
