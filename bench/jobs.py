"""What a job costs beside `sodate train`, and an upload beside a copy on the disk.

    python bench/jobs.py [--rounds 3] [--megabytes 500]

Seconds from the request (from the command) to the first step, the same rows and settings, in turn, the model in the
file cache. Then one file through /v1/files, and the same bytes written and flushed by this process; and the most memory
that the server held meanwhile.
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
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from serve_sides import resident

from sodate.cli.at_hand import at_hand
from sodate.library.store import find

ROWS = Path(__file__).parents[1] / "examples" / "orders" / "train.jsonl"
SODATE = [sys.executable, "-m", "sodate.cli"]
SETTINGS = {"n_epochs": 1, "batch_size": 4}


@contextmanager
def serving(model: str) -> Iterator[tuple[str, int]]:
    """A server's URL and process."""
    server = subprocess.Popen([*SODATE, "serve", model, "--port", "0", "--no-auth"], stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, text=True)  # fmt: skip
    assert server.stdout is not None
    try:
        yield server.stdout.readline().split()[-1], server.pid
    finally:
        server.terminate()
        server.wait()


def asked(url: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=600) as answer:
        return json.loads(answer.read())


def upload(url: str, file: Path, purpose: str) -> Any:
    """By curl, which sends from the disk."""
    command = ["curl", "-sf", f"{url}/files", "-F", f"purpose={purpose}", "-F", f"file=@{file}"]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


def first_step(home: Path, before: set[Path]) -> float:
    """When the first line of a new run's metrics is there."""
    while True:
        for folder in set((home / "runs").glob("*")) - before:
            metrics = folder / "metrics.jsonl"
            if metrics.exists() and metrics.stat().st_size:
                return time.perf_counter()
        time.sleep(0.01)


def by_command(home: Path, model: str) -> float:
    before, began = set((home / "runs").glob("*")), time.perf_counter()
    command = [*SODATE, "train", "--model", model, "--data", str(ROWS), "--name", "direct", "epochs=1", "batch_size=4"]
    training = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    spent = first_step(home, before) - began
    training.kill()
    training.wait()
    return spent


def by_request(home: Path, url: str, model: str, file: str) -> float:
    before, began = set((home / "runs").glob("*")), time.perf_counter()
    method = {"type": "supervised", "supervised": {"hyperparameters": SETTINGS}}
    job = asked(f"{url}/fine_tuning/jobs", {"model": model, "training_file": file, "method": method})
    spent = first_step(home, before) - began
    asked(f"{url}/fine_tuning/jobs/{job['id']}/cancel", {})
    return spent


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--megabytes", type=int, default=500)
    given = parser.parse_args()
    entry = find(at_hand(given.model))
    assert entry is not None
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        shutil.copytree(entry.path, home / "models" / entry.path.name, copy_function=os.link)
        os.environ["SODATE_HOME"] = str(home)
        with serving(given.model) as (url, pid):
            file = upload(url, ROWS, "fine-tune")["id"]
            by_command(home, given.model)  # what is cached afterwards is cached for both
            sides: dict[str, list[float]] = {"command": [], "request": []}
            for _ in range(given.rounds):
                sides["command"].append(by_command(home, given.model))
                sides["request"].append(by_request(home, url, given.model, file))
            ratios = [b / a for a, b in zip(sides["command"], sides["request"], strict=True)]
            medians = {name: statistics.median(values) for name, values in sides.items()}
            print(f"to the first step: sodate train {medians['command']:.2f} s, a job {medians['request']:.2f} s, "
                  f"{statistics.median(ratios):.2f} times ({', '.join(f'{r:.2f}' for r in ratios)}), target ≤ 1.2",
                  flush=True)  # fmt: skip
            sizes(url, pid, Path(folder), given.megabytes)


def sizes(url: str, pid: int, folder: Path, megabytes: int) -> None:
    turns = ({"role": "user", "content": "x" * 500}, {"role": "assistant", "content": "y" * 400})
    line = json.dumps({"messages": turns})
    large = folder / "large.jsonl"
    block = (line + "\n").encode() * 1000
    count = megabytes * 1_000_000 // len(block)
    began = time.perf_counter()
    with large.open("wb") as file:
        for _ in range(count):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
    disk = time.perf_counter() - began
    before, most, watching = resident(pid), 0, True

    def watch() -> None:
        nonlocal most
        while watching:
            most = max(most, resident(pid))
            time.sleep(0.02)

    watcher = threading.Thread(target=watch)
    watcher.start()
    began = time.perf_counter()
    upload(url, large, "fine-tune")
    spent = time.perf_counter() - began
    watching = False
    watcher.join()
    size = large.stat().st_size / 1e6
    print(f"{size:.0f} MB: written and flushed in {disk:.2f} s ({size / disk:.0f} MB/s), uploaded in {spent:.2f} s "
          f"({size / spent:.0f} MB/s), memory of the server + {(most - before) / 1e6:.0f} MB")  # fmt: skip


if __name__ == "__main__":
    main()
