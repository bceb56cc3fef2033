"""Whether the guards keep what they promise: each probe's time against its deadline, its memory against its cap, and
what the guards cost: grading programs, and looking at a model before it is loaded.

    python bench/guards.py [--programs 1000] [--model smollm2-135m]

Grading before the guards: the same from another checkout, with PYTHONPATH set to it and `--only programs`.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

SECONDS, MEMORY = 2, 200 << 20
LATE, LARGE = 1.2, 1.1  # what the targets allow

SPIN = "def f():\n    while True: pass"
SLEEP = "import time\ndef f(): time.sleep(60)"
FORKS = """
import os, time
def f():
    for _ in range(40):
        try:
            if os.fork() == 0: time.sleep(60)
        except OSError: pass
    time.sleep(60)
"""
LOUD = "import os\ndef f():\n    while True: os.write(2, b'x' * 60000)"
HOLD = "def f():\n    held = []\n    for _ in range(1000): held.append(bytearray(1 << 20))"
FILES = "def f():\n    for n in range(99): open(f'/tmp/{n}', 'wb').write(bytes(4 << 20))"
MANY = """
import os, time
def f():
    for _ in range(7):
        try:
            if os.fork() == 0:
                held = bytearray(150 << 20); time.sleep(60)
        except OSError: break
    held = bytearray(150 << 20); time.sleep(60)
"""
SHARED = (
    "{% set a = namespace(x=[1]) %}{% set b = namespace(x=[1]) %}{% for i in range(40) %}"
    "{% set a.x = [a.x, a.x] %}{% set b.x = [b.x, b.x] %}{% endfor %}{{ a.x == b.x }}"
)
LOOP = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
PLAIN = "{% for a in l %}{% for b in l %}{% if b in l %}{% endif %}{% endfor %}{% endfor %}"
SUM = "{{ " + "+".join(["x"] * 400) + " }}"


@contextmanager
def watched() -> Iterator[list[int]]:
    """The most memory of all that this process started, in bytes, looked at every 10 ms: what the kernel counted for
    its control groups where there are any, else what its processes hold.
    """
    most, ended = [0], threading.Event()

    def look() -> None:
        while not ended.wait(0.01):
            most[0] = max(most[0], _grouped() or sum(_own(pid) for pid in _below(os.getpid())))

    watching = threading.Thread(target=look)
    watching.start()
    try:
        yield most
    finally:
        ended.set()
        watching.join()


def _grouped() -> int:
    """The peak of the jails' control groups, of either version; 0 where there is none."""
    found = 0
    for name in ("memory.max_usage_in_bytes", "memory.peak"):
        with suppress(OSError, ValueError):  # it goes while it is looked at
            for file in Path("/sys/fs/cgroup").glob(f"**/sodate-{os.getpid()}-*/{name}"):
                found = max(found, int(file.read_text()))
    return found


def _below(pid: int) -> list[int]:
    found, waiting = [], [pid]
    while waiting:
        try:
            tasks = list(Path(f"/proc/{waiting.pop()}/task").iterdir())
            children = [int(one) for task in tasks for one in (task / "children").read_text().split()]
        except OSError:
            continue
        found += children
        waiting += children
    return found


def _own(pid: int) -> int:
    """Memory that no file stands behind, files in memory among it; what several share is divided among them."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith(("Pss_Anon", "Pss_Shmem")))


def probe(name: str, run: Callable[[], Any], seconds: float, memory: int) -> bool:
    with watched() as most:
        before = sum(_own(pid) for pid in _below(os.getpid()))
        started = time.monotonic()
        try:
            said = run()
        except Exception as error:
            said = error
        took = time.monotonic() - started
    held = max(0, most[0] - before)
    kept = took <= LATE * seconds and held <= LARGE * memory
    first = (str(said).splitlines() or [""])[0][:60]
    word = "kept" if kept else "BROKEN"
    print(f"{name:40} {took:5.2f} of {seconds:.1f} s {held >> 20:5} of {memory >> 20} MiB  {word}  {first}", flush=True)
    return kept


def jails() -> bool:
    from sodate.grade import sandbox

    kept = True
    limits = sandbox.Limits(seconds=SECONDS, memory=MEMORY)

    def run(backend: str, source: str, call: str) -> Any:
        (answer,) = sandbox._run(backend, source, [{"call": call}], limits)
        return answer.error or answer.value

    for backend in ("namespaces", "bubblewrap"):
        try:
            run(backend, "", "1")
        except Exception as error:
            print(f"{backend}: {str(error).splitlines()[0]}")
            continue
        for name, source in (("spins", SPIN), ("sleeps", SLEEP), ("forks", FORKS), ("writes", LOUD), ("holds", HOLD),
                             ("fills /tmp", FILES), ("holds in many processes", MANY)):  # fmt: skip
            kept &= probe(f"{backend}: {name}", partial(run, backend, source, "f()"), SECONDS, MEMORY)
            kept &= run(backend, "", "1 + 1") == 2
    return kept


def renders() -> bool:
    from sodate.render import isolated, template

    template.compile_template("{{ [[1]] }}")()  # a worker is there
    template.MAX_SECONDS, template.MAX_MADE = float(SECONDS), 50_000_000
    kept = True
    made = {"compares shared lists": SHARED, "loops": LOOP, "loops, plain": PLAIN, "adds, plain": SUM}
    for name, source in made.items():
        render = partial(template.compile_template(source), l=["a"] * 5_000, x="x" * 1_000_000)
        kept &= probe(f"template: {name}", render, SECONDS, isolated.MEMORY)
        kept &= template.compile_template("{{ [[2]] }}")() == "[[2]]"
    return kept


def children() -> bool:
    from sodate.core.limited import SPARE_SECONDS, limited

    def hold() -> int:
        return len([bytearray(1 << 20) for _ in range(2000)])

    def sleep() -> None:
        time.sleep(60)

    kept = True
    for name, work in (("sleeps", sleep), ("holds", hold)):
        run = partial(limited, work, "it", seconds=SECONDS, memory=5 * MEMORY)
        kept &= probe(f"child process: {name}", run, SECONDS + SPARE_SECONDS, 5 * MEMORY + _own(os.getpid()))
    return kept


def programs(count: int) -> None:
    """Programs graded a second: each has its own jail."""
    from sodate.grade import programs as graders

    item = {"tests": ["assert f(1) == 2", "assert f(5) == 6", {"stdin": "3\n", "stdout": "4"}]}
    reply = "def f(x): return x + 1\nif __name__ == '__main__': print(f(int(input())))"
    graders.code(reply, None, item)
    started = time.monotonic()
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        scores = [grade.score for grade in pool.map(lambda _: graders.code(reply, None, item), range(count))]
    took = time.monotonic() - started
    assert scores == [1.0] * count
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    busy = used.ru_utime + used.ru_stime
    print(f"{count} programs: {took:.1f} s, {count / took:.0f} a second; {busy:.1f} s of processor time in jails")


def loading(name: str) -> None:
    """What looking at a model costs, beside loading it: medians of five."""
    import torch

    from sodate.model.load import load_base
    from sodate.release.lookup import look_up

    looks, loads = [], []
    for _ in range(6):
        started = time.monotonic()
        files = look_up(name)
        looks.append(time.monotonic() - started)
        started = time.monotonic()
        load_base(files.folder, device=torch.device("cpu"), dtype=torch.float32)
        loads.append(time.monotonic() - started)
    look, load = statistics.median(looks[1:]), statistics.median(loads[1:])
    print(f"{name}: looked at in {1000 * look:.1f} ms, loaded in {1000 * load:.0f} ms: {100 * look / load:.1f} % more")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--programs", type=int, default=1000)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--only", choices=("probes", "programs", "loading"))
    given = parser.parse_args()
    kept = True
    if given.only in (None, "probes"):
        kept = all([jails(), renders(), children()])
    if given.only in (None, "programs"):
        programs(given.programs)
    if given.only in (None, "loading"):
        loading(given.model)
    return 0 if kept else 1


if __name__ == "__main__":
    raise SystemExit(main())
