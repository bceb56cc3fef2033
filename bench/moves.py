"""Promotions and rollbacks under load: whether a request fails, and whether each reply is that of the version it names.

    python bench/moves.py [--moves 500] [--clients 4] [--json]

Two versions of SmolLM2-135M, trained for a few steps, in a SODATE_HOME of their own; a real server follows the alias
between them while `--clients` ask it by HTTP, every other request as a stream. A reply counts as mixed where header,
body and text are not all of one version: the text is compared with what that version says alone, greedily.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

import sodate
from sodate.api.loading import load
from sodate.api.releasing import promote, rollback
from sodate.api.serving import open_service
from sodate.cli.at_hand import at_hand
from sodate.core.engine import Sampling
from sodate.core.types import Message
from sodate.serve import server
from sodate.serve.settings import Settings

ROOT = Path(__file__).parents[1]
ASKED, TOKENS = "Send 3 boxes of pears to Delta Logistics.", 8


def alone(version: str) -> str:
    model = load(version)
    (reply,) = model.replies([[Message("user", ASKED)]], Sampling(max_new_tokens=TOKENS))
    model.engine.close()
    return model.renderer.text(reply.ids)


def ask(client: httpx.Client, stream: bool) -> tuple[int, str, str, str]:
    """(status, version of the header, version of the body, text)"""
    asked = {"model": "live", "messages": [{"role": "user", "content": ASKED}], "temperature": 0,
             "max_tokens": TOKENS, "stream": stream}  # fmt: skip
    answer = client.post("/v1/chat/completions", json=asked)
    header = answer.headers.get("x-sodate-version", "")
    if answer.status_code != 200 or not stream:
        body = answer.json()
        text = body["choices"][0]["message"]["content"] if answer.status_code == 200 else ""
        return answer.status_code, header, body.get("model", ""), text
    lines = [line[6:] for line in answer.text.splitlines() if line.startswith("data: ") and line != "data: [DONE]"]
    chunks = [json.loads(line) for line in lines]
    versions = {chunk["model"] for chunk in chunks}
    text = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks if chunk["choices"])
    return 200, header, " ".join(versions), text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moves", type=int, default=500)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    model = at_hand("smollm2-135m")
    home = Path(os.environ.get("SODATE_HOME") or Path.home() / ".sodate")
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "models").symlink_to(home / "models")
        os.environ["SODATE_HOME"] = name
        data = [str(ROOT / "examples" / "orders" / "train.jsonl")]
        versions = [
            sodate.train(model=model, data=data, name="orders", max_steps=2 * n, batch_size=2, lr=1e-3, seed=n)[
                "version"
            ]
            for n in (1, 2)
        ]
        said = {version: alone(version) for version in versions}
        assert len(set(said.values())) == 2, "both versions say the same: nothing could be told apart"
        promote(versions[0], "live", override="begin", by="bench")
        with serving(["live"]) as port:
            result = under_load(given, port, versions, said)
    print(json.dumps(result) if given.json else "\n".join(f"{key:<16}{value}" for key, value in result.items()))


@contextlib.contextmanager
def serving(names: list[str]) -> Iterator[int]:
    """The port of a real server of these versions and aliases, in a thread."""
    service, settings = open_service(names), Settings(port=0, auth=False)
    listening = server.bind(settings)
    ready = threading.Event()
    servers: list[server.Server] = []

    def begun(made: server.Server) -> None:
        servers.append(made)
        ready.set()

    thread = threading.Thread(target=server.run, args=(service, settings, listening, begun))
    thread.start()
    ready.wait(60)
    try:
        yield listening.getsockname()[1]
    finally:
        servers[0].should_exit = True
        thread.join(60)


def under_load(given: argparse.Namespace, port: int, versions: list[str], said: dict[str, str]) -> dict[str, Any]:
    going = threading.Event()
    going.set()
    seen: list[tuple[int, str, str, str]] = []

    def client() -> None:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as http:
            while going.is_set():
                seen.append(ask(http, len(seen) % 2 == 0))

    clients = [threading.Thread(target=client) for _ in range(given.clients)]
    for one in clients:
        one.start()
    times = []
    began = time.perf_counter()
    for n in range(given.moves):
        start = time.perf_counter()
        if n % 2:
            rollback("live")
        else:
            promote(versions[1], "live", override="bench", by="bench")
        times.append(time.perf_counter() - start)
        time.sleep(0.15)  # longer than a server takes to look
    took = time.perf_counter() - began
    going.clear()
    for one in clients:
        one.join()
    mixed = sum(
        status == 200 and not (header == body and text == said.get(header)) for status, header, body, text in seen
    )
    return {
        "moves": given.moves, "seconds": took, "requests": len(seen),
        "failed": sum(status != 200 for status, *_ in seen), "mixed": mixed,
        "of each version": {version: sum(header == version for _, header, *_ in seen) for version in versions},
        "seconds of a move (median)": statistics.median(times), "longest": max(times),
    }  # fmt: skip


if __name__ == "__main__":
    main()
