"""One ceiling of memory and processes for all of a jail: a control group (cgroups(7)) of its own, where possible."""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
_COUNT = itertools.count()


@contextlib.contextmanager
def resource_group(memory: int, processes: int) -> Iterator[list[str]]:
    """The `cgroup.procs` files that a process of the jail writes itself into; none where no group can be made.

    `memory` in bytes, shared by all processes, files in memory and the kernel's own tables. All processes must have
    ended when the block does.
    """
    groups: list[Path] = []
    try:
        try:
            for parent, limits in _places(memory, processes):
                group = parent / f"sodate-{os.getpid()}-{next(_COUNT)}"
                group.mkdir()
                groups.append(group)
                for name, value, needed in limits:
                    if needed or (group / name).exists():
                        (group / name).write_text(str(value))
        except OSError:
            _remove(groups)
        yield [str(group / "cgroup.procs") for group in groups]
    finally:
        _remove(groups)


Limits = list[tuple[str, int, bool]]  # file, value, and whether there is no ceiling without it


def _places(memory: int, processes: int) -> Iterator[tuple[Path, Limits]]:
    """(folder to make a group in, what it has to say) for each hierarchy; OSError where one is missing."""
    mine = {names: path for _, names, path in (line.split(":", 2) for line in _own())}
    old = {one: path for names, path in mine.items() for one in names.split(",")}
    if "memory" in old and "pids" in old:  # version 1: a hierarchy for each
        yield _folder(ROOT / "memory", old["memory"]), [
            ("memory.limit_in_bytes", memory, True), ("memory.memsw.limit_in_bytes", memory, False),
        ]  # fmt: skip
        yield _folder(ROOT / "pids", old["pids"]), [("pids.max", processes, True)]
        return
    here = _folder(ROOT, mine.get("", "/"))
    for parent in (here, here.parent):  # a group that has processes of its own hands nothing down: a sibling, then
        controlled = (parent / "cgroup.subtree_control").read_text().split()
        # Who moves a process may write where both groups meet, too: else the jail would stand outside its group.
        allowed = os.access(parent, os.W_OK) and os.access(parent / "cgroup.procs", os.W_OK)
        if {"memory", "pids"} <= set(controlled) and allowed:
            yield parent, [("memory.max", memory, True), ("memory.swap.max", 0, False), ("pids.max", processes, True)]
            return
    raise OSError("no group hands memory and pids down")


def _own() -> list[str]:
    return Path("/proc/self/cgroup").read_text().splitlines()


def _folder(root: Path, path: str) -> Path:
    return root / path.lstrip("/")


def _remove(groups: list[Path]) -> None:
    """A group can go when the last of its processes is gone, which may take a moment after it was killed."""
    while groups:
        group = groups.pop()
        for _ in range(100):
            try:
                group.rmdir()
                break
            except FileNotFoundError:
                break
            except OSError:
                time.sleep(0.01)
