"""Tokens per second of a server, and its processor time a token, while ten pages are open and while none is.

    python bench/open_pages.py [--rounds 5] [--seconds 20] [--streams 4]

A server over SmolLM2-135M, which has to be pulled, answers so many streams at once, by turns with and without ten open
pages that ask as their scripts do: four overviews (every 5 s), four pages of a run that trains (its events, and its
curves of 20,000 steps every 2 s), two pages of data while a job waits (every 3 s).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT)]

MODEL = "smollm2-135m"
STEPS = 20_000
TOKENS = 24  # of a reply
LINE = '{"step": %d, "steps": 100000, "loss": %.6f, "lr": 0.0004, "grad_norm": 1.25, "tokens": 4000, "seconds": 1.0}\n'


@contextlib.contextmanager
def training() -> Iterator[str]:
    """A run that makes a step a second, as somebody sees it who watches."""
    from sodate.core.runs import RunFolder

    recipe = {"method": "sft", "model": MODEL, "data": ["mails.jsonl"], "name": "mails"}
    run = RunFolder.create({"recipe": recipe, "base": f"{MODEL}@0"})
    metrics = run.path / "metrics.jsonl"
    metrics.write_text("".join(LINE % (n, 2 / n) for n in range(1, STEPS + 1)))
    ending = threading.Event()

    def steps() -> None:
        step = STEPS
        while not ending.wait(1.0):
            step += 1
            with metrics.open("a") as stream:
                stream.write(LINE % (step, 2 / step))

    thread = threading.Thread(target=steps)
    with run.locked():
        thread.start()
        try:
            yield run.name
        finally:
            ending.set()
            thread.join()


@contextlib.contextmanager
def served() -> Iterator[tuple[str, int]]:
    """The address of `sodate serve` and its process."""
    words = [sys.executable, "-m", "sodate.cli", "serve", MODEL, "--port", "0", "--workers", "0"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip().removesuffix("/v1"), process.pid
        finally:
            process.terminate()


def every(seconds: float, client: httpx.Client, path: str) -> Callable[[threading.Event], None]:
    def ask(ending: threading.Event) -> None:
        client.get(path).raise_for_status()
        while not ending.wait(seconds):
            client.get(path).raise_for_status()

    return ask


def events(client: httpx.Client, run: str) -> Callable[[threading.Event], None]:
    def listen(ending: threading.Event) -> None:
        client.get(f"/runs/{run}").raise_for_status()
        with client.stream("GET", f"/runs/{run}/live") as stream:
            for _ in stream.iter_lines():
                if ending.is_set():
                    return

    return listen


@contextlib.contextmanager
def ten_pages(client: httpx.Client, run: str) -> Iterator[None]:
    """Each in a thread."""
    ending = threading.Event()
    curve = f"/v1/sodate/runs/{run}/curve?points=1200"
    asked = [every(5, client, "/") for _ in range(4)] + [every(3, client, "/data") for _ in range(2)]
    asked += [events(client, run) for _ in range(4)] + [every(2, client, curve) for _ in range(4)]
    with ThreadPoolExecutor(len(asked)) as pool:
        done = [pool.submit(one, ending) for one in asked]
        try:
            yield
        finally:
            ending.set()
    for one in done:
        one.result()


def worked(process: int) -> float:
    """Seconds of processor time that a process has had."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rate(client: httpx.Client, key: str, seconds: float, streams: int, process: int) -> tuple[float, float]:
    """Tokens per second that reach so many askers at once, and the server's milliseconds of processor time a token."""
    end, before = time.perf_counter() + seconds, worked(process)

    def ask(number: int) -> int:
        tokens = 0
        while time.perf_counter() < end:
            said = f"Tell me about the number {number} and about {tokens}."
            body = {"model": MODEL, "messages": [{"role": "user", "content": said}], "temperature": 0,
                    "max_tokens": TOKENS, "stream": True, "stream_options": {"include_usage": True}}  # fmt: skip
            with client.stream("POST", "/v1/chat/completions", json=body,
                               headers={"authorization": f"Bearer {key}"}) as stream:  # fmt: skip
                for line in stream.iter_lines():
                    if line.startswith("data: {") and (usage := json.loads(line[6:]).get("usage")):
                        tokens += usage["completion_tokens"]
        return tokens

    began = time.perf_counter()
    with ThreadPoolExecutor(streams) as pool:
        told = sum(pool.map(ask, range(streams)))
    return told / (time.perf_counter() - began), 1000 * (worked(process) - before) / told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--streams", type=int, default=4)
    given = parser.parse_args()
    models = Path(os.environ.get("SODATE_HOME") or Path.home() / ".sodate") / "models"
    with tempfile.TemporaryDirectory() as home:
        (Path(home) / "models").symlink_to(models.absolute())
        os.environ["SODATE_HOME"] = home
        from sodate.serve import keys, logins

        key, _ = keys.create("default", 1_000_000, "own")
        with contextlib.ExitStack() as stack:
            run = stack.enter_context(training())
            url, process = stack.enter_context(served())
            asking, looking = (stack.enter_context(httpx.Client(base_url=url, timeout=120)) for _ in range(2))
            looking.get(f"/login/{logins.new_link('own')[0]}").raise_for_status()
            found: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
            rate(asking, key, 5, given.streams, process)
            for number in range(given.rounds):
                for opened in (bool(number % 2), not number % 2):
                    with ten_pages(looking, run) if opened else contextlib.nullcontext():
                        found[opened].append(rate(asking, key, given.seconds, given.streams, process))
                    tokens, spent = found[opened][-1]
                    said = "ten pages" if opened else "no page"
                    print(f"  round {number + 1}, {said}: {tokens:.1f} tokens/s, {spent:.2f} ms a token", flush=True)
    for place, what in enumerate(("tokens/s (target 0.97)", "processor time a token")):
        ratios = [with_[place] / without[place] for with_, without in zip(found[True], found[False], strict=True)]
        span = f"from {min(ratios):.3f} to {max(ratios):.3f}"
        print(f"{what}, with ten pages against without: {statistics.median(ratios):.3f} ({span})")
    print(f"n = {given.rounds} rounds of {given.seconds:g} s, {given.streams} streams")


if __name__ == "__main__":
    main()
