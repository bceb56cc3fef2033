"""Time to the first token while a job trains on the same processors, and what that costs the job.

    python bench/beside_training.py [--requests 30] [--apart]

A server answers prompts of 100 new tokens, one a second: alone, then beside `sodate train` on the order mails, which
gives way. With --apart the job has a SODATE_HOME of its own and does not know of the server: what it would be like.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import serve_files
from serve import ORDERS, Prompts
from serve_files import MODEL
from serve_sides import Ours

ALONE = 4  # steps of the job that are looked at before anybody asks


def asked(ours: Ours, prompts: Prompts, count: int, first: int) -> list[float]:
    """Seconds to the first token of so many requests, the slowest last."""
    seconds = []
    for number in range(first, first + count):
        seconds.append(ours.ask(MODEL, prompts.noise(number, 100), 8).first)
        time.sleep(0.7)
    return sorted(seconds)


def steps(home: Path) -> list[float]:
    """Seconds of each step of the job so far."""
    files = list((home / "runs").glob("*/metrics.jsonl"))
    lines = files[0].read_text("utf-8").splitlines() if files else []
    return [json.loads(line)["seconds"] for line in lines]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=30)
    parser.add_argument("--apart", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        serve_files.own_home(Path(work))
        home = Path(os.environ["SODATE_HOME"])
        if given.apart:
            shutil.copytree(home, Path(work) / "apart")
        jobs = Path(work) / "apart" if given.apart else home
        prompts = Prompts()
        with closing(Ours([MODEL])) as ours:
            asked(ours, prompts, 3, 0)
            idle = asked(ours, prompts, given.requests, 100)
            command = [sys.executable, "-m", "sodate.cli", "train", str(ORDERS / "recipe.yaml")]
            job = subprocess.Popen(
                command, env={**os.environ, "SODATE_HOME": str(jobs)}, stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL, cwd=ORDERS,
            )  # fmt: skip
            try:
                while len(steps(jobs)) < ALONE and job.poll() is None:
                    time.sleep(0.2)
                before = len(steps(jobs))
                beside = asked(ours, prompts, given.requests, 1000)
                taken = steps(jobs)
            finally:
                job.kill()
                job.wait()
    p95 = [values[min(len(values) - 1, round(0.95 * len(values)) - 1)] for values in (idle, beside)]
    for name, values, tail in zip(("alone", "beside the job"), (idle, beside), p95, strict=True):
        print(f"{name}: first token after {1e3 * statistics.median(values):.0f} ms, 95 % within {1e3 * tail:.0f} ms")
    alone, while_asked = statistics.median(taken[1:before]), taken[before + 1 :]
    print(f"p95 beside the job: {p95[1] / p95[0]:.2f} times that alone")
    print(f"a step of the job: {alone:.2f} s, while it gives way {statistics.median(while_asked or [0]):.2f} s")


if __name__ == "__main__":
    main()
