"""What a busy machine costs: a training step, an evaluation and a decoding step, alone and beside busy processes.

    python bench/shared.py [--rows 4] [--replies 32]

Each line is a process of its own, started with another way of waiting for the slowest thread (the environment is read
when OpenMP is loaded) and another number of threads. It measures alone, beside one and beside two busy processes, which
are started in sessions of their own, as other people's are: the scheduler shares cores between sessions. Where the
number of threads is "follows", it is sodate's own way: as many as cores are free, looked at while it works.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

POLICIES: dict[str, dict[str, str]] = {
    "default": {},
    "passive": {"OMP_WAIT_POLICY": "passive"},
    "spin 1000": {"GOMP_SPINCOUNT": "1000"},
    "spin 10000": {"GOMP_SPINCOUNT": "10000"},
}
WORKS = ("training step", "evaluation", "decoding, 1 row", "decoding, 16 rows")
BESIDE = (0, 1, 2)


@contextmanager
def busy(count: int) -> Iterator[None]:
    """So many processes that do nothing but work, each in its own session."""
    started = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"], start_new_session=True) for _ in range(count)
    ]
    try:
        time.sleep(0.3 * bool(count))
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


def seconds(work: Callable[[], Any], times: int) -> float:
    """The median of so many runs."""
    spent = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        spent.append(time.perf_counter() - started)
    return statistics.median(spent)


def measure(rows: int, replies: int, beside: tuple[int, ...], follows: bool) -> dict[str, list[float]]:
    """Seconds of each work beside so many busy processes, in this process. `follows`: threads follow the machine."""
    import torch
    from step import setup
    from work import WORKS as TRAINED
    from work import conversations

    import sodate
    from sodate.cli.at_hand import at_hand
    from sodate.core.engine import Sampling
    from sodate.core.types import Message
    from sodate.kernels import threads
    from sodate.model.forward import score

    model, trie = setup(TRAINED["orders"], torch.float32, rows=rows)
    talker = sodate.load(at_hand("smollm2-135m"), dtype="float32", device="cpu")
    asked = [[Message(m["role"], m["content"]) for m in row["messages"][:-1]]
             for row in conversations(TRAINED["orders"], "heldout")[:replies]]  # fmt: skip

    def step() -> None:
        model.zero_grad()
        score(model, trie).weighted_sum().backward()

    def decode(count: int, tokens: int) -> Callable[[], Any]:
        return lambda: talker.replies(asked[:count], Sampling(tokens), batch_size=32)

    def kept(work: Callable[[], Any]) -> Callable[[], None]:
        watch = threads.Watch(torch.get_num_threads()) if follows else None

        def run() -> None:
            with threads.adapting(watch):
                work()

        return run

    plain = (step, decode(replies, 8), decode(1, 16), decode(16, 16))
    works = tuple(map(kept, plain))
    for work in works:
        work()  # buffers, caches of primitives
    found: dict[str, list[float]] = {name: [] for name in WORKS}
    for count in beside:
        with busy(count):
            for name, work in zip(WORKS, works, strict=True):
                found[name].append(seconds(work, 3))
    return found


def child(policy: str, threads: int, follows: bool, args: argparse.Namespace) -> dict[str, list[float]]:
    own = {k: v for k, v in os.environ.items() if k not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    own |= POLICIES[policy] | {"OMP_NUM_THREADS": str(threads)}
    words = [sys.executable, __file__, "--child", "--rows", str(args.rows), "--replies", str(args.replies)]
    words += ["--follows"] if follows else []
    done = subprocess.run(words, env=own, stdout=subprocess.PIPE, check=True, text=True)
    found: dict[str, list[float]] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=4, help="of the training step")
    parser.add_argument("--replies", type=int, default=32, help="of the evaluation")
    parser.add_argument("--policies", nargs="*", choices=POLICIES, default=list(POLICIES))
    parser.add_argument("--threads", nargs="*", type=int, default=[os.cpu_count() or 1, 1])
    parser.add_argument("--follows", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(measure(args.rows, args.replies, BESIDE, args.follows)))
        return
    most = max(args.threads)
    ways = [("spin 10000", most, True)]
    ways += [(policy, n, False) for n in args.threads for policy in (args.policies if n > 1 else args.policies[:1])]
    print(f"{'seconds':18}  {'waiting':10}  threads   alone  beside 1  beside 2")
    for policy, count, follows in ways:
        for name, (alone, *others) in child(policy, count, follows, args).items():
            times = "  ".join(f"{one:6.2f}" for one in (alone, *others))
            slower = ", ".join(f"{one / alone:.1f}×" for one in others)
            shown = "follows" if follows else str(count)
            print(f"{name:18}  {policy:10}  {shown:>7}  {times}   {slower}", flush=True)


if __name__ == "__main__":
    main()
