"""Tokens per second of a server, and its processor time a token, while ten pages are open and while none is.

    python bench/open_pages.py [--rounds 5] [--seconds 20] [--streams 4]

A server over SmolLM2-135M, which has to be pulled, answers so many streams at once, by turns with and without ten open
pages that ask as their scripts do: four overviews, two pages of data, two of a run that has made 20,000 steps and two
of one that has made 300, both of which make a step a second. Each is told by a stream what changes; curves are fetched
when a pixel of 1,200 would change, every 2 s at most (sodate/serve/pages/static/curves.js).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT)]

MODEL = "smollm2-135m"
STEPS = (20_000, 300)  # of the runs that are looked at
PIXELS = 1200
TOKENS = 24  # of a reply
LINE = '{"step": %d, "steps": 100000, "loss": %.6f, "lr": 0.0004, "grad_norm": 1.25, "tokens": 4000, "seconds": 1.0}\n'


@contextlib.contextmanager
def training(steps: int) -> Iterator[str]:
    """A run of so many steps that makes one a second, as somebody sees it who watches."""
    from sodate.core.runs import RunFolder

    recipe = {"method": "sft", "model": MODEL, "data": ["mails.jsonl"], "name": "mails"}
    run = RunFolder.create({"recipe": recipe, "base": f"{MODEL}@0"})
    metrics = run.path / "metrics.jsonl"
    metrics.write_text("".join(LINE % (n, 2 / n) for n in range(1, steps + 1)))
    ending = threading.Event()

    def go_on() -> None:
        step = steps
        while not ending.wait(1.0):
            step += 1
            with metrics.open("a") as stream:
                stream.write(LINE % (step, 2 / step))

    thread = threading.Thread(target=go_on)
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


Page = Callable[[threading.Event], None]


_sockets: list[socket.socket] = []  # of the streams that are open


def told(client: httpx.Client, path: str, ending: threading.Event) -> Iterator[dict[str, Any]]:
    """What a stream says, until the page is closed."""
    with contextlib.suppress(httpx.TransportError), client.stream("GET", path, timeout=None) as stream:
        _sockets.append(stream.extensions["network_stream"].get_extra_info("socket"))
        for line in stream.iter_lines():
            if ending.is_set():
                return
            if line.startswith("data: "):
                yield json.loads(line[6:])
    assert ending.is_set(), f"{path} ended"


def part(client: httpx.Client, path: str, live: str) -> Page:
    """A page that fetches itself anew when what it shows has changed."""

    def look(ending: threading.Event) -> None:
        client.get(path).raise_for_status()
        seen = None
        for now in told(client, live, ending):
            if seen not in (None, now["seen"]):
                client.get(path).raise_for_status()
            seen = now["seen"]

    return look


def curves(client: httpx.Client, run: str) -> Page:
    """A page of a run."""

    def look(ending: threading.Event) -> None:
        client.get(f"/runs/{run}").raise_for_status()
        drawn, at = 0, float("-inf")
        for now in told(client, f"/runs/{run}/live", ending):
            since, step = time.monotonic() - at, now["progress"]["step"]
            if since >= 2 and ((step - drawn) * PIXELS >= drawn or since >= 30):
                found = client.get(f"/v1/sodate/runs/{run}/curve?points={PIXELS}").raise_for_status()
                drawn, at = found.json()["last_step"], time.monotonic()

    return look


@contextlib.contextmanager
def ten_pages(client: httpx.Client, runs: Sequence[str]) -> Iterator[None]:
    """Each in a thread."""
    ending = threading.Event()
    asked = [part(client, "/", "/live")] * 4 + [part(client, "/data", "/data/live")] * 2
    asked += [curves(client, run) for run in runs for _ in range(2)]
    with ThreadPoolExecutor(len(asked)) as pool:
        done = [pool.submit(one, ending) for one in asked]
        try:
            time.sleep(2)  # they have been opened, and are open from here on
            yield
        finally:
            ending.set()
            while _sockets:
                _sockets.pop().shutdown(socket.SHUT_RDWR)
    for one in done:
        one.result()


def worked(process: int) -> float:
    """Seconds of processor time that a process has had, to the nanosecond: /proc counts in ticks, and misses whoever
    works for less than one.
    """
    return time.clock_gettime(~process << 3 | 2)  # the clock of that process (clock_getcpuclockid(3))


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
            runs = [stack.enter_context(training(steps)) for steps in STEPS]
            url, process = stack.enter_context(served())
            asking, looking = (stack.enter_context(httpx.Client(base_url=url, timeout=120)) for _ in range(2))
            looking.get(f"/login/{logins.new_link('own')[0]}").raise_for_status()
            found: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
            rate(asking, key, 5, given.streams, process)
            for number in range(given.rounds):
                for opened in (bool(number % 2), not number % 2):
                    with ten_pages(looking, runs) if opened else contextlib.nullcontext():
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
