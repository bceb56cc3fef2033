"""What of the machine other programs take."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import NamedTuple

TICK = os.sysconf("SC_CLK_TCK")


class Look(NamedTuple):
    """Seconds: the clock's, of programs on the cores we may use, and our own among them."""

    clock: float
    busy: float
    own: float


def cores() -> set[int]:
    """Those this process may run on."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def look_around(stat: Path = Path("/proc/stat")) -> Look | None:
    """None where nobody tells what other programs take, as on systems other than Linux."""
    try:
        lines = [line.split() for line in stat.read_text().splitlines() if line.startswith("cpu")]
    except OSError:
        return None
    ours = {f"cpu{n}" for n in cores()}
    # user, nice, system, (idle, iowait,) irq, softirq; not what a hypervisor took: fewer threads would not help there
    ticks = sum(int(line[at]) for line in lines if line[0] in ours for at in (1, 2, 3, 6, 7))
    return Look(time.monotonic(), ticks / TICK, time.process_time())


def others(before: Look, now: Look) -> float:
    """How many cores other programs had between two looks; a little below 0 where there were none, as clocks differ."""
    passed = max(now.clock - before.clock, 1e-3)
    return ((now.busy - before.busy) - (now.own - before.own)) / passed
