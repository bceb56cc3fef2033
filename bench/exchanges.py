"""What a million exchanges cost: every list and page, clustering, memory; and what recording costs a server.

    python bench/exchanges.py [--exchanges 1000000] [--part queries|clusters|recording|served] [--rounds 3]

The exchanges are made up of Japanese and English questions on 33 topics, an eighth of them failures, and lie in a
temporary SODATE_HOME. Each query is run 5 times after the first; what is printed is the slowest. `recording` is what
keeping exchanges costs who answers, `served` what it costs a server over SmolLM2-135M, which has to be pulled: in
processor time per request, requests/s and p99, `--rounds` pairs of rounds of `--requests`, the same ones each time.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import random
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx

JA = "返品 領収書 送料 ログイン 配送 在庫 支払い 解約 保証 修理 会員登録 クーポン ポイント 請求書 見積もり 予約 変更"
EN = "refund invoice shipping password delivery stock payment contract warranty repair account coupon points bill quote"
TOPICS = [*JA.split(), *EN.split()]
JAPANESE = (
    "{0}について教えてください", "{0}の手続きはどうすればよいですか", "{0}ができません。至急お願いします",
    "{0}はいつになりますか", "先日お願いした{0}の件ですが、まだ連絡がありません",
)  # fmt: skip
ENGLISH = ("How do I get a {0}?", "My {0} does not work, please help", "When will the {0} be ready?",
           "I have a question about the {0} of my order")  # fmt: skip
ASKED = "お世話になっております。田中太郎です。先日の注文の件、電話 03-1234-5678 までご連絡ください。"
SYSTEM = "あなたは店のサポート担当です。丁寧な日本語で、三文以内で答えてください。" * 5
RATE = 50  # exchanges a second
RULES = {"words": [], "slow_ms": 20_000, "confidence": 0.5, "graders": []}
DAYS = 365
LIMIT_MS = 300


def rows(count: int) -> Iterator[dict[str, Any]]:
    """Rows of exchanges as the recorder writes them."""
    rng = random.Random(0)
    for number in range(count):
        topic = rng.choice(TOPICS)
        question = rng.choice(ENGLISH if topic.isascii() else JAPANESE).format(topic) + f" ({rng.randrange(10_000)})"
        reply = f"お問い合わせの{topic}については、担当者が確認してご連絡いたします。" * 3
        failed = rng.random() < 0.125
        day = 20_000 + number * DAYS // count
        yield {
            "id": f"chatcmpl-{number:024d}", "project": "default", "kind": "chat.completion",
            "version": f"orders@{1 + number * 12 // count}", "created_at": day * 86_400, "day": day,
            "user": f"u_{rng.randrange(20_000):032x}", "session": None, "latency_ms": 900, "prompt_tokens": 60,
            "reply_tokens": 40, "confidence": 0.3 if failed else 0.8, "finish": "stop",
            "asked": f"{rng.getrandbits(128):032x}", "said": f"{rng.getrandbits(128):032x}", "lot": rng.random(),
            "severity": rng.choice((0.35, 0.7, 0.81, 0.9)) if failed else 0.0, "failed": failed,
            "body": json.dumps({"messages": [{"role": "system", "content": "あなたは店のサポート担当です。"},
                                             {"role": "user", "content": question}],
                                "replies": [{"role": "assistant", "content": reply}]}),
        }  # fmt: skip


def fill(count: int) -> None:
    """Writes the exchanges with their failures, feedback of 50,000 and the tallies."""
    import sqlalchemy as sa

    from sodate.db.connection import writing
    from sodate.db.exchange_tables import ExchangeRow, FailureRow, FeedbackRow, GiverRow, RecordingRow
    from sodate.learn import keeping

    with writing() as session:
        session.add(RecordingRow(project="default", mode="on", share=1.0, keep_days=None, swept_at=None,
                                 steady_since=None, looked=count,
                                 rules=json.dumps(RULES)))  # fmt: skip
    batch: list[dict[str, Any]] = []
    first = 1
    row: dict[str, Any] | None
    for row in itertools.chain(rows(count), [None]):
        if row is not None:
            batch.append(row)
        if batch and (row is None or len(batch) == 20_000):
            with writing() as session:
                session.execute(sa.insert(ExchangeRow), batch)
                failed = [(first + n, one) for n, one in enumerate(batch) if one["severity"]]
                reason = ["low_confidence", "thumbs_down", "corrected"]
                session.execute(sa.insert(FailureRow), [
                    {"exchange": number, "project": "default", "reason": reason[number % 3],
                     "severity": one["severity"], "detail": None} for number, one in failed])  # fmt: skip
                session.execute(sa.insert(FeedbackRow), [
                    {"exchange": number, "project": "default", "giver": one["user"], "thumb": "down", "weight": 1.0,
                     "created_at": one["created_at"]} for number, one in failed[::3]])  # fmt: skip
                tallies: dict[keeping.Tally, int] = {}
                for one in batch:
                    for what in ("all", *(("failed", "low_confidence") if one["severity"] else ())):
                        place = ("default", one["day"], one["version"], what)
                        tallies[place] = tallies.get(place, 0) + 1
                keeping.count(session, tallies)
            first += len(batch)
            batch = []
    with writing() as session:
        session.execute(sa.insert(GiverRow), [
            {"project": "default", "giver": f"u_{n:032x}", "up": n % 7, "down": n % 3, "corrections": 0,
             "said": n % 7 + n % 3} for n in range(20_000)])  # fmt: skip


def queries(count: int) -> dict[str, Callable[[], Any]]:
    """Everything that a person or a page asks for."""
    from sodate.learn import feedback, logs, review
    from sodate.learn.failures import by_week, failures

    middle = f"chatcmpl-{count // 2:024d}"
    user = f"u_{7:032x}"
    deep = failures(limit=1000)["next"]
    return {
        "logs list": lambda: logs.listed(),
        "logs list, in the middle": lambda: logs.listed(before=count // 2),
        "logs list of a user": lambda: logs.listed(user=user),
        "logs list of a user without any": lambda: logs.listed(user=f"u_{2**100:032x}"),
        "logs list of failures": lambda: logs.listed(failed=True),
        "logs list of a version, the oldest": lambda: logs.listed(version="orders@1"),
        "logs list of a version that is not": lambda: logs.listed(version="orders@99"),
        "logs show": lambda: logs.show(middle),
        "learn failures": lambda: failures(),
        "learn failures, a later page": lambda: failures(after=deep),
        "learn failures of a reason": lambda: failures(reason="corrected"),
        "learn failures of a month": lambda: failures(since=20_000 + DAYS - 30),
        "failures by week": lambda: by_week(),
        "learn review, both queues": lambda: review.queue("aoki"),
        "learn review of a month": lambda: review.queue("aoki", since=20_000 + DAYS - 30),
        "learn review of a day": lambda: review.queue("aoki", since=20_000 + DAYS - 1),
        "review progress": lambda: review.progress(),
        "a decision": lambda: review.decide(middle, "aoki", "reject"),
        "feedback": lambda: feedback.give(middle, thumb="down", user="someone"),
    }


def clustered() -> None:
    from sodate.learn.clusters import clusters

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start, processor = time.perf_counter(), time.process_time()
    told = clusters(again=True)
    seconds, processor = time.perf_counter() - start, time.process_time() - processor
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    named = ", ".join(one["name"] for one in told["clusters"][:8])
    print(f"clusters of {told['exchanges']:,} exchanges, {told['failures']:,} failures: {seconds:.0f} s (target 300), "
          f"{processor:.0f} s of the processor, "
          f"{len(told['clusters'])} clusters, memory grew by {grown:.0f} MB; the largest: {named}")  # fmt: skip
    timed("learn clusters, as they are", lambda: clusters())
    from sodate.learn import review

    first = told["clusters"][0]["id"]
    timed("learn review of a cluster", lambda: review.queue("aoki", cluster=first))


def timed(name: str, query: Callable[[], Any]) -> None:
    query()
    spent, worked = [], []
    for _ in range(5):
        start, processor = time.perf_counter(), time.process_time()
        query()
        spent.append(1000 * (time.perf_counter() - start))
        worked.append(1000 * (time.process_time() - processor))
    late = "" if max(spent) <= LIMIT_MS else "  OVER"
    print(f"{name}: {max(spent):.1f} ms (median {statistics.median(spent):.1f}, of the processor "
          f"{statistics.median(worked):.1f}){late}", flush=True)  # fmt: skip


def recording(seconds: float, rounds: int) -> float:
    """Milliseconds of the processor that an exchange takes behind its answer; and what recording costs who answers: the
    call itself, and how much later the event loop wakes up while exchanges are scrubbed and written behind it; `RATE` a
    second, by turns with and without."""
    from sodate.core.types import Message
    from sodate.learn import recording as rules
    from sodate.learn.exchange import Exchange
    from sodate.learn.recorder import Recorder
    from sodate.serve.server import SWITCH_SECONDS

    sys.setswitchinterval(SWITCH_SECONDS)  # as in a server
    rules.change("default", {"mode": "on"})
    recorder = Recorder()
    numbers = itertools.count()

    def told() -> Exchange:
        number = next(numbers)
        asked = (Message("system", SYSTEM), Message("user", f"{ASKED} 受付 {number}"))
        return Exchange(
            f"chatcmpl-r{number}",
            "default",
            "chat.completion",
            "orders@1",
            int(time.time()),
            asked,
            (Message("assistant", f"田中様、ご連絡ありがとうございます。{number} 番の件、確認いたします。"),),
            "stop",
        )

    async def lags(on: bool) -> tuple[list[float], list[float]]:
        late, spent = [], []
        end, due = time.perf_counter() + seconds, time.perf_counter()
        while time.perf_counter() < end:
            start = time.perf_counter()
            await asyncio.sleep(0.001)
            late.append(1000 * (time.perf_counter() - start) - 1)
            if on and time.perf_counter() > due:
                due += 1 / RATE
                one = told()
                start = time.perf_counter()
                recorder.put(one)
                spent.append(1000 * (time.perf_counter() - start))
        return late, spent

    found: dict[bool, list[float]] = {True: [], False: []}
    calls: list[float] = []
    for number in range(rounds):
        for on in (bool(number % 2), not number % 2):
            late, spent = asyncio.run(lags(on))
            recorder.flush(60)
            found[on] += late
            calls += spent
    behind = next(thread for thread in threading.enumerate() if thread.name == "exchanges")
    assert behind.ident is not None
    processor = 1000 * time.clock_gettime(time.pthread_getcpuclockid(behind.ident)) / len(calls)
    recorder.close()
    with_it, without = (sorted(found[on]) for on in (True, False))
    print(f"recording {RATE} exchanges/s: the call takes {p99(sorted(calls)):.3f} ms at p99 (target 1); scrubbing and "
          f"writing one takes {processor:.2f} ms of the processor behind the answer")  # fmt: skip
    print(f"the event loop wakes {p99(with_it):.2f} ms late at p99 with recording, {p99(without):.2f} ms without "
          f"({p99(with_it) - p99(without):+.2f}); at p50 {statistics.median(with_it):.2f} and "
          f"{statistics.median(without):.2f}")  # fmt: skip
    return processor


def p99(values: list[float]) -> float:
    """Of sorted values."""
    return values[int(0.99 * len(values))]


def served(requests: int, rounds: int, behind: float) -> None:
    """What recording costs a server over SmolLM2-135M, 8 requests at a time, in short rounds by turns. `behind` are the
    milliseconds that an exchange takes by itself.

    The server is a process of its own: what it worked (user and system time) per request does not depend on who else
    uses the machine, as requests/s do. One round without and one with recording are a pair; what is told is the median
    of the pairs' differences with its interval, for processor time, requests/s and p99.
    """
    home = os.environ["SODATE_HOME"]
    command = [sys.executable, "-m", "sodate.cli", "serve", "smollm2-135m", "--port", "0", "--no-auth"]
    with (Path(home) / "log").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "SODATE_LANG": "en"})
        try:
            _served(process, _url(Path(home) / "log", process), requests, rounds, behind)
        finally:
            process.terminate()
            process.wait(60)


def _url(log: Path, process: subprocess.Popen[bytes]) -> str:
    while process.poll() is None:
        if found := re.search(r"http://127\.0\.0\.1:[0-9]+", log.read_text("utf-8")):
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{found[0]}/readyz").status_code == 200:
                    return found[0]
        time.sleep(0.2)
    raise SystemExit(log.read_text("utf-8"))


def _worked(process: subprocess.Popen[bytes]) -> float:
    """Seconds of the processor that the server has used, in all its threads."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _served(process: subprocess.Popen[bytes], url: str, requests: int, rounds: int, behind: float) -> None:
    from sodate.learn import recording as rules

    def load(numbers: range) -> list[float]:
        took = []
        with httpx.Client(base_url=url, timeout=120) as client:
            for number in numbers:
                messages = [
                    {"role": "system", "content": SYSTEM},
                    {"role": "user", "content": f"{ASKED} {number}"},
                ]
                asked = {"model": "smollm2-135m", "messages": messages, "max_tokens": 48, "temperature": 0}
                start = time.perf_counter()
                client.post("/v1/chat/completions", json=asked).raise_for_status()
                took.append(1000 * (time.perf_counter() - start))
        return took

    def turn(mode: str) -> tuple[float, float, float]:
        """Milliseconds of the processor per request, requests/s, and milliseconds at p99."""
        rules.change("default", {"mode": mode})
        httpx.get(f"{url}/v1/models")  # a request tells the server to look at the rules
        time.sleep(3)
        start, before = time.perf_counter(), _worked(process)
        with ThreadPoolExecutor(8) as pool:
            took = sorted(itertools.chain(*pool.map(load, [range(n, requests, 8) for n in range(8)])))
        lasted = time.perf_counter() - start
        time.sleep(1)  # what is written behind the answers belongs to them
        return 1000 * (_worked(process) - before) / len(took), len(took) / lasted, p99(took)

    turn("off")  # warms, and fills the cache of prompts: every turn finds the same there
    pairs: list[tuple[tuple[float, float, float], tuple[float, float, float]]] = []
    for number in range(rounds):
        found = {mode: turn(mode) for mode in (("off", "on") if number % 2 else ("on", "off"))}
        pairs.append((found["off"], found["on"]))
        said = "; ".join(f"{mode} {work:.1f} ms, {rate:.2f}/s, p99 {late:.0f} ms" for mode, (work, rate, late)
                         in found.items())  # fmt: skip
        print(f"  pair {number + 1}: {said}", flush=True)
    alone = statistics.median(off[0] for off, _ in pairs)
    print(f"an exchange's {behind:.2f} ms are {100 * behind / alone:.2f} % of the {alone:.0f} ms of a request here")
    told = (
        ("of the processor, each request", [100 * (on[0] / off[0] - 1) for off, on in pairs], "%", "+1"),
        ("requests/s", [100 * (on[1] / off[1] - 1) for off, on in pairs], "%", "-1"),
        ("p99", [on[2] - off[2] for off, on in pairs], "ms", "+1"),
    )
    for name, changes, unit, target in told:
        low, high = _interval(changes)
        print(f"{name} with recording against without: median {statistics.median(changes):+.2f} {unit} "
              f"({low:+.2f} to {high:+.2f}, n = {len(changes)} pairs; target {target} {unit})")  # fmt: skip


def _interval(changes: list[float]) -> tuple[float, float]:
    """95 % of the median, by the bootstrap."""
    rng = random.Random(0)
    medians = sorted(statistics.median(rng.choices(changes, k=len(changes))) for _ in range(2000))
    return medians[50], medians[1949]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--exchanges", type=int, default=1_000_000)
    parser.add_argument("--part", choices=["queries", "clusters", "recording", "served"], action="append")
    parser.add_argument("--seconds", type=float, default=10, help="of a round of recording")
    parser.add_argument("--requests", type=int, default=64, help="of a round of served")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    parts = given.part or ["queries", "clusters", "recording"]
    with tempfile.TemporaryDirectory() as home:
        if "served" in parts:  # the model is where it was pulled
            models = Path(os.environ.get("SODATE_HOME") or Path.home() / ".sodate") / "models"
            (Path(home) / "models").symlink_to(models.absolute())
        os.environ["SODATE_HOME"] = home
        if {"queries", "clusters"} & set(parts):
            start = time.perf_counter()
            fill(given.exchanges)
            size = sum(file.stat().st_size for file in Path(home).glob("sodate.db*")) / 1e9
            print(
                f"{given.exchanges:,} exchanges made in {time.perf_counter() - start:.0f} s, {size:.2f} GB", flush=True
            )
        if "queries" in parts:
            for name, query in queries(given.exchanges).items():
                timed(name, query)
        if "clusters" in parts:
            clustered()
        behind = recording(given.seconds, given.rounds) if {"recording", "served"} & set(parts) else 0.0
        if "served" in parts:
            served(given.requests, given.rounds, behind)


if __name__ == "__main__":
    main()
