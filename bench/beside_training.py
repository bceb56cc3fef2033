"""Time to the first token while a job trains on the same processors, and what that costs the job.

    python bench/beside_training.py [--requests 20]

A server answers prompts of 100 new tokens. Two jobs train on the order mails: one gives way to the server, the other
has a SODATE_HOME of its own and does not know of it. Request by request, in turn, both jobs stand still or one of them
runs, so that whatever else the machine does is in all three. At the end the first job alone: its steps, and its steps
while somebody asks again and again with a second between.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, closing
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import serve_files
from serve import ORDERS, Prompts
from serve_files import MODEL
from serve_sides import Ours


class Job:
    """`sodate train` on the order mails, in a SODATE_HOME; it stands still between `runs` and `stands`."""

    def __init__(self, home: Path) -> None:
        self.home = home
        command = [sys.executable, "-m", "sodate.cli", "train", str(ORDERS / "recipe.yaml"), "--name", "bench-job"]
        self.process = subprocess.Popen(
            command, env={**os.environ, "SODATE_HOME": str(home)}, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, cwd=ORDERS,
        )  # fmt: skip

    def runs(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def stands(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    @property
    def steps(self) -> list[float]:
        """Seconds of each step so far."""
        files = list((self.home / "runs").glob("sft-*/metrics.jsonl"))
        lines = files[0].read_text("utf-8").splitlines() if files else []
        return [json.loads(line)["seconds"] for line in lines]

    def reach(self, steps: int) -> None:
        while len(self.steps) < steps and self.process.poll() is None:
            time.sleep(0.2)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


def p95(values: list[float]) -> float:
    return sorted(values)[max(0, round(0.95 * len(values)) - 1)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=20, help="of each kind")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as work, ExitStack() as ending:
        serve_files.own_home(Path(work))
        home = Path(os.environ["SODATE_HOME"])
        apart = Path(shutil.copytree(home, Path(work) / "apart"))
        prompts = Prompts()
        jobs = {}
        for name, where in (("gives way", home), ("does not know", apart)):
            jobs[name] = ending.enter_context(closing(Job(where)))
            jobs[name].reach(2)
            jobs[name].stands()
        ours = ending.enter_context(closing(Ours([MODEL])))
        seconds: dict[str, list[float]] = {"alone": [], **{name: [] for name in jobs}}
        for number in range(-1, given.requests):
            for kind, values in seconds.items():
                if kind in jobs:
                    jobs[kind].runs()
                    time.sleep(0.7)
                told = ours.ask(MODEL, prompts.noise(1000 * len(kind) + number, 100), 8)
                if kind in jobs:
                    jobs[kind].stands()
                if number >= 0:
                    values.append(told.first)
        for kind, values in seconds.items():
            ratio = p95(values) / p95(seconds["alone"])
            print(f"{kind}: first token after {1e3 * statistics.median(values):.0f} ms, 95 % within "
                  f"{1e3 * p95(values):.0f} ms, {ratio:.2f} times that alone")  # fmt: skip
        job = jobs["gives way"]
        job.runs()
        begun = len(job.steps)
        job.reach(begun + 4)
        quiet, until = job.steps[begun + 1 :], time.monotonic() + 30
        begun = len(job.steps)
        asked = 0
        while time.monotonic() < until:
            ours.ask(MODEL, prompts.noise(50_000 + asked, 100), 8)
            asked += 1
            time.sleep(1)
        busy = job.steps[begun + 1 :] or [float("nan")]
        print(f"a step of the job: {statistics.mean(quiet):.2f} s; with {asked} requests in 30 s "
              f"{statistics.mean(busy):.2f} s")  # fmt: skip


if __name__ == "__main__":
    main()
