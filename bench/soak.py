"""Mixed traffic to a server of one's own, on 127.0.0.1: does it keep memory, handles or tasks?

    python bench/soak.py [--seconds 600] [--model smollm2-135m]

Askers by turns chat, stream, hold replies to a schema, embed, leave in the middle, and send what is refused. They draw
from a fixed set of prompts, so that the cache of prompts is full after the first minute. What the server says of itself
is printed then and at the end, when nobody asks any more. Exits with 1 if it has grown, or if an answer was a 500.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import json
import random
import re
import subprocess
import sys
import time
from typing import Any

import httpx

ASKERS = 6
KEPT = ("process_resident_memory_bytes", "process_open_fds", "sodate_tasks", "sodate_running_requests",
        "sodate_waiting_requests")  # fmt: skip
SCHEMA = {
    "type": "object", "properties": {"product": {"enum": ["apples", "pears"]}, "urgent": {"type": "boolean"}},
    "required": ["product", "urgent"], "additionalProperties": False,
}  # fmt: skip
BAD: list[tuple[str, bytes]] = [
    ("chat/completions", b"{"), ("chat/completions", b'{"model": "none", "messages": []}'),
    ("chat/completions", b"[" * 50_000), ("completions", b'{"model": "MODEL", "prompt": "a", "n": 999}'),
    ("embeddings", b'{"model": "MODEL", "input": [[1, 2]]}'), ("responses", b"\xff\xfe"),
    ("chat/completions", b'{"model": "MODEL", "messages": [{"role": "tool", "content": "x"}]}'),
    ("chat/completions", b'{"model": "MODEL", "messages": [{"role": "user", "content": "x"}], "max_tokens": 999999}'),
]  # fmt: skip


class Asker:
    """Somebody who asks one thing after another until the time is over."""

    def __init__(self, http: httpx.AsyncClient, model: str, seed: int, counts: collections.Counter[str]) -> None:
        self.http, self.model, self.counts = http, model, counts
        self.random = random.Random(seed)

    async def go_on(self, until: float) -> None:
        kinds = (self.chat, self.stream, self.schema, self.embed, self.leave, self.refused)
        while time.monotonic() < until:
            kind = self.random.choice(kinds)
            status: int | str
            try:
                status = await kind()
            except httpx.TransportError as error:
                status = type(error).__name__
            self.counts[f"{kind.__name__} {status}"] += 1

    def asked(self, **more: Any) -> dict[str, Any]:
        text = f"Please send {self.random.randrange(8)} boxes of apples to {self.random.choice(('Kyoto', 'Osaka'))}."
        messages = [{"role": "user", "content": text}]
        return {"model": self.model, "messages": messages, "temperature": 0, "max_tokens": 24, **more}

    async def chat(self) -> int:
        return (await self.http.post("chat/completions", json=self.asked())).status_code

    async def stream(self) -> int:
        options = {"stream": True, "stream_options": {"include_usage": True}}
        answer = await self.http.post("chat/completions", json=self.asked(**options))
        assert answer.text.endswith("data: [DONE]\n\n"), answer.text[-300:]
        return answer.status_code

    async def schema(self) -> int:
        form = {"type": "json_schema", "json_schema": {"name": "order", "strict": True, "schema": SCHEMA}}
        answer = await self.http.post("chat/completions", json=self.asked(response_format=form, max_tokens=60))
        choice = answer.json()["choices"][0]
        assert choice["finish_reason"] == "length" or json.loads(choice["message"]["content"])["product"]
        return answer.status_code

    async def embed(self) -> int:
        body = {"model": self.model, "input": [f"apples {n}" for n in range(4)]}
        return (await self.http.post("embeddings", json=body)).status_code

    async def leave(self) -> int:
        body = self.asked(stream=True, max_tokens=400)
        async with self.http.stream("POST", "chat/completions", json=body) as answer:
            async for _ in answer.aiter_lines():
                break
        return answer.status_code

    async def refused(self) -> int:
        path, body = self.random.choice(BAD)
        headers = {"content-type": "application/json"}
        content = body.replace(b"MODEL", self.model.encode())
        answer = await self.http.post(path, content=content, headers=headers)
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
        return answer.status_code


async def standing(http: httpx.AsyncClient, url: str) -> dict[str, float]:
    """What the server says of itself, once nothing is under way."""
    for _ in range(100):
        text = (await http.get(f"{url.removesuffix('/v1')}/metrics")).text
        found = {name: float(re.findall(rf"^{name} (\S+)$", text, re.M)[0]) for name in KEPT}
        if not found["sodate_running_requests"] + found["sodate_waiting_requests"]:
            break
        await asyncio.sleep(0.1)
    return found


async def soak(url: str, model: str, seconds: float) -> int:
    counts: collections.Counter[str] = collections.Counter()
    limits = httpx.Limits(max_connections=2 * ASKERS, max_keepalive_connections=ASKERS)
    async with httpx.AsyncClient(base_url=url, timeout=120, limits=limits) as http:
        rounds = [("after the first minute", min(60.0, seconds / 4)), ("at the end", seconds - min(60.0, seconds / 4))]
        seen: list[dict[str, float]] = []
        for name, length in rounds:
            until = time.monotonic() + length
            await asyncio.gather(*(Asker(http, model, len(seen) * 100 + n, counts).go_on(until) for n in range(ASKERS)))
            seen.append(await standing(http, url))
            values = ", ".join(f"{key} {value:,.0f}" for key, value in seen[-1].items())
            print(f"{name}: {values}", flush=True)
    for what, count in sorted(counts.items()):
        print(f"  {count:6} {what}")
    before, after = seen
    memory = KEPT[0]
    grown = [key for key in KEPT[1:] if after[key] > before[key] + (2 if key == "process_open_fds" else 0)]
    if after[memory] > 1.05 * before[memory] + 16e6:
        grown.append(memory)
    faults = [what for what in counts if what.split()[1].startswith("5")]
    print(f"{sum(counts.values())} requests; grown: {grown or 'nothing'}; faults: {faults or 'none'}")
    return 1 if grown or faults else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--model", default="smollm2-135m")
    given = parser.parse_args()
    command = [sys.executable, "-m", "sodate.cli", "serve", given.model, "--port", "0", "--no-auth"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert server.stdout is not None
    try:
        url = server.stdout.readline().strip()
        if not url:
            sys.exit("The server did not start.")
        sys.exit(asyncio.run(soak(url, given.model, given.seconds)))
    finally:
        server.terminate()
        server.wait(60)


if __name__ == "__main__":
    main()
