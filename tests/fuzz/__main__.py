"""`python -m tests.fuzz [TARGET…] [--seconds N | --inputs N] [--seed N]`: mutated inputs for each parser.

Every input has to end in a value or in a SodateError, within a second of processor time and 1 GB. What does not is kept
in .fuzz/, said, and makes the exit status 1. Each target runs in a process of its own: one that dies or hangs is told
by the input it was given.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import mmap
import os
import random
import resource
import signal
import struct
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import NoReturn

from sodate.core.errors import SodateError
from sodate.render import template
from tests.fuzz.mutate import MAX_BYTES, mutated
from tests.fuzz.targets import TARGETS, Target

CPU_SECONDS = 1.0  # of one input
HANGS = 60.0  # seconds without the next input, until it is given up
MEMORY = 1 << 30  # bytes of address space beyond what the process has at first
FOUND = Path(".fuzz")
_HEAD = struct.Struct("<QQQ")  # inputs done, length of the present one, findings


def fuzz(name: str, inputs: int, seconds: float, seed: int) -> tuple[int, int]:
    """(inputs run, findings) of a target, in a child process."""
    shared = mmap.mmap(-1, _HEAD.size + MAX_BYTES)
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        _child(name, inputs, seconds, seed, shared)
    done, since, status = -1, time.monotonic(), 0
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        now = _HEAD.unpack_from(shared)[0]
        if ended:
            break
        if now != done:
            done, since = now, time.monotonic()
        elif time.monotonic() - since > HANGS:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.02)
    done, length, found = _HEAD.unpack_from(shared)
    if status != 0:
        _keep(name, shared[_HEAD.size : _HEAD.size + length], f"the process ended with status {status}")
        found += 1
    return done, found


def _child(name: str, inputs: int, seconds: float, seed: int, shared: mmap.mmap) -> NoReturn:
    status = 1
    try:
        target, rng, end = TARGETS[name], random.Random(f"{name} {seed}"), time.monotonic() + seconds
        template.MAX_SECONDS, template.MAX_MADE, template.MAX_CHARS = 1.0, 2_000_000, 200_000
        done = found = 0
        with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
            for data in target.corpus:  # what is imported or started late is not on the account of one input
                with contextlib.suppress(Exception):
                    target.run(data, Path(folder))
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            space = pages * resource.getpagesize() + MEMORY
            resource.setrlimit(resource.RLIMIT_AS, (space, space))
            while done < inputs and time.monotonic() < end:
                data = mutated(target.corpus, target.words, rng)
                shared[_HEAD.size : _HEAD.size + len(data)] = data
                _HEAD.pack_into(shared, 0, done, len(data), found)
                found += not _passes(name, target, data, Path(folder))
                done += 1
                if found > 20:
                    break
        _HEAD.pack_into(shared, 0, done, 0, found)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(status)


def _passes(name: str, target: Target, data: bytes, folder: Path) -> bool:
    started = time.process_time()
    try:
        target.run(data, folder)
    except SodateError as error:
        str(error)
    except BaseException as error:  # a panic in native code is no Exception
        last = traceback.extract_tb(error.__traceback__)[-1]
        return _keep(name, data, f"{type(error).__name__}: {error} ({Path(last.filename).name}:{last.lineno})"[:400])
    took = time.process_time() - started
    return took <= CPU_SECONDS or _keep(name, data, f"{took:.1f} s of processor time")


def _keep(name: str, data: bytes, why: str) -> bool:
    FOUND.mkdir(exist_ok=True)
    file = FOUND / f"{name}-{hashlib.sha256(data).hexdigest()[:12]}"
    file.write_bytes(data)
    print(f"{name}: {file}: {why}", flush=True)
    return False


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.partition("\n")[0])
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS), default=[])
    parser.add_argument("--seconds", type=float, default=float("inf"), help="of each target")
    parser.add_argument("--inputs", type=int, default=sys.maxsize, help="of each target")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if given.seconds == float("inf") and given.inputs == sys.maxsize:
        given.seconds = 10.0
    findings = 0
    for name in given.targets or TARGETS:
        started = time.monotonic()
        done, found = fuzz(name, given.inputs, given.seconds, given.seed)
        print(f"{name}: {done} inputs in {time.monotonic() - started:.0f} s, {found} findings", flush=True)
        findings += found
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
