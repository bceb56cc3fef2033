"""The people of the loop, as scripts: users who ask a real server and say what they think, and a reviewer who knows."""

from __future__ import annotations

import json
import random
import signal
import socket
import subprocess
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

CANARY = "PS: I am Taro Yamada, taro.canary@example.jp, phone ０９０－４８２１－７７３３, My Number 123456789018."
SECRETS = ("taro.canary", "taro yamada", "48217733", "4821-7733", "４８２１－７７３３", "123456789018")
SECONDS_TO_START = 300
Row = dict[str, Any]  # a conversation: system, user, and the right answer


def serve(out: Path, alias: str, rows: list[Row], rng: random.Random, longest: int) -> dict[str, str]:
    """Users send what they ask to a server and say what they think; the right answers by the ids of the replies."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = (out / "server.log").open("a")
    server = subprocess.Popen(["sodate", "serve", alias, "--port", str(port), "--no-auth"], stdout=log, stderr=log)
    base = f"http://127.0.0.1:{port}"
    try:
        wait_for(base + "/readyz", server)
        moods = [rng.random() for _ in rows]
        with ThreadPoolExecutor(4) as users:
            asked = enumerate(zip(rows, moods, strict=True))
            found = list(users.map(lambda one: ask(base, alias, longest, *one), asked))
        kept_all(base, len(rows))
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(60)
        log.close()
    wrong = sum(not right for _, _, right in found)
    print(f"   {wrong} of {len(found)} replies are wrong", flush=True)
    return {name: answer for name, answer, _ in found}


def wait_for(address: str, server: subprocess.Popen[bytes]) -> None:
    for _ in range(SECONDS_TO_START):
        try:
            with urllib.request.urlopen(address, timeout=5) as answer:
                if answer.status == 200:
                    return
        except OSError:
            pass
        if server.poll() is not None:
            break
        time.sleep(1)
    raise SystemExit("The server did not start; see server.log.")


def kept_all(base: str, number: int) -> None:
    """Waits until what is written behind the answers is written."""
    for _ in range(60):
        with urllib.request.urlopen(base + "/metrics", timeout=60) as answer:
            lines = answer.read().decode().splitlines()
        kept = [line for line in lines if line.startswith("sodate_exchanges_total") and '"kept"' in line]
        if kept and float(kept[0].split()[-1]) >= number:
            return
        time.sleep(0.5)
    raise SystemExit("Exchanges were dropped; see /metrics and server.log.")


def ask(base: str, alias: str, longest: int, number: int, one: tuple[Row, float]) -> tuple[str, str, bool]:
    """What one user asks, and says of the reply: its id, the right answer, whether it was right."""
    (row, mood) = one
    system, mail, answer = row["messages"]
    text = mail["content"] + (f"\n\n{CANARY}" if number % 8 == 3 else "")
    body = {"model": alias, "messages": [system, {"role": "user", "content": text}], "temperature": 0,
            "max_tokens": longest, "user": f"user-{number % 12}"}  # fmt: skip
    reply = post(f"{base}/v1/chat/completions", body)
    right = same(reply["choices"][0]["message"]["content"], answer["content"])
    if not right and mood < 0.7:
        post(f"{base}/v1/feedback", {"reply_id": reply["id"], "thumb": "down"})
    elif right and mood < 0.2:
        post(f"{base}/v1/feedback", {"reply_id": reply["id"], "thumb": "up"})
    return reply["id"], answer["content"], right


def post(address: str, body: dict[str, Any]) -> dict[str, Any]:
    request = urllib.request.Request(address, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=600) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def same(reply: str, answer: str) -> bool:
    """Whether a reply is right: the same text, or the same JSON."""
    if reply.strip() == answer:
        return True
    try:
        return bool(json.loads(reply) == json.loads(answer))
    except ValueError:
        return False


def review(answers: dict[str, str]) -> None:
    """Everything that the queue shows is accepted where it is right, and corrected where it is not."""
    from sodate.learn import review

    decided = {"accept": 0, "correct": 0}
    while items := [one for one in review.queue("aoki", limit=20, overlap=0) if one["id"] in answers]:
        for item in items:
            answer = answers[item["id"]]
            decision = "accept" if same(item["reply"], answer) else "correct"
            decided[decision] += 1
            review.decide(item["id"], "aoki", decision, drawn=item["drawn"],  # type: ignore[arg-type]
                          correction=None if decision == "accept" else answer)  # fmt: skip
    print(f"   the reviewer accepted {decided['accept']} and corrected {decided['correct']}", flush=True)
