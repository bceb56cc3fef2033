"""The servers that bench/serve.py asks: each a process on 127.0.0.1, asked over HTTP, its tokens counted by itself."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LLAMA = """
import json, sys, xllamacpp
asked = json.loads(sys.argv[1])
params = xllamacpp.CommonParams()
params.model.path, params.hostnames, params.port = asked["model"], ["127.0.0.1"], asked["port"]
params.n_parallel, params.n_ctx = asked["slots"], asked["slots"] * asked["context"]
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = asked["threads"]
params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(path, 0.0) for path in asked["adapters"]]
params.lora_init_without_apply, params.fit_params, params.verbosity = True, False, 1
if asked["full"]:
    params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
if asked["lookup"]:
    params.speculative.types = [getattr(xllamacpp.common_speculative_type, asked["lookup"])]
server = xllamacpp.Server(params)
print("ready", flush=True)
sys.stdin.read()
import os; os._exit(0)
"""


@dataclass(frozen=True, slots=True)
class Told:
    """A reply: its text, its tokens, seconds to the first of them and to the end."""

    text: str
    count: int
    first: float
    seconds: float


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def resident(pid: int) -> int:
    """Bytes of memory that a process holds now."""
    return int(re.findall(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[0]) * 1024


class Side:
    """A server, until `close`."""

    port = 0
    process: subprocess.Popen[str]

    def close(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def started(self, command: Sequence[str], **environment: str) -> None:
        self.process = subprocess.Popen(
            command, env={**os.environ, **environment}, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True, cwd=ROOT,
        )  # fmt: skip

    def events(self, path: str, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The data of a stream's events."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        with contextlib.closing(connection):
            connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
            answer = connection.getresponse()
            if answer.status != 200:
                raise RuntimeError(f"{path}: {answer.status} {answer.read()[:500]!r}")
            for line in answer:
                if line.startswith(b"data: ") and line.strip() != b"data: [DONE]":
                    yield json.loads(line[6:])


class Ours(Side):
    """`sodate serve NAMES`, of this working tree."""

    def __init__(self, names: Sequence[str]) -> None:
        self.started([sys.executable, "-m", "sodate.cli", "serve", *names, "--port", "0", "--no-auth"])
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline().strip().split(":")[2].split("/")[0])

    def ask(self, model: str, prompt: Sequence[int], tokens: int) -> Told:
        """Goes on greedily after the ids."""
        body = {"model": model, "prompt": list(prompt), "max_tokens": tokens, "temperature": 0, "stream": True,
                "stream_options": {"include_usage": True}}  # fmt: skip
        return self._told("/v1/completions", body, lambda choice: str(choice["text"]))

    def held(self, model: str, messages: list[dict[str, str]], schema: dict[str, Any], tokens: int) -> Told:
        """A greedy chat reply held to a schema."""
        form = {"type": "json_schema", "json_schema": {"name": "held", "schema": schema, "strict": True}}
        body = {"model": model, "messages": messages, "max_tokens": tokens, "temperature": 0, "stream": True,
                "stream_options": {"include_usage": True}, "response_format": form}  # fmt: skip
        return self._told("/v1/chat/completions", body, lambda choice: choice["delta"].get("content") or "")

    def _told(self, path: str, body: dict[str, Any], text_of: Any) -> Told:
        start, first, text, count = time.perf_counter(), 0.0, "", 0
        for event in self.events(path, body):
            for choice in event["choices"]:
                text += text_of(choice)
                first = first or (time.perf_counter() - start if text else 0.0)
            count = (event.get("usage") or {}).get("completion_tokens", count)
        return Told(text, count, first, time.perf_counter() - start)


class Llama(Side):
    """llama.cpp's server out of the xllamacpp wheel."""

    def __init__(
        self, model: Path, *, slots: int = 1, context: int = 2048, adapters: Sequence[Path] = (), lookup: str = "",
        full: bool = False,
    ) -> None:  # fmt: skip
        """`lookup` is a kind of speculation; with `full` keys and values are kept in float32 instead of float16."""
        self.port = free_port()
        asked = {"model": str(model), "port": self.port, "slots": slots, "context": context, "lookup": lookup,
                 "full": full, "threads": os.cpu_count(), "adapters": [str(path) for path in adapters]}  # fmt: skip
        self.started([sys.executable, "-c", LLAMA, json.dumps(asked)])
        assert self.process.stdout is not None
        if self.process.stdout.readline().strip() != "ready":
            raise RuntimeError("llama.cpp's server did not start")

    def ask(self, prompt: Sequence[int], tokens: int, adapter: int | None = None, **more: Any) -> Told:
        """Goes on greedily after the ids."""
        body = {"prompt": list(prompt), "n_predict": tokens, "temperature": 0, "stream": True, **more}
        if adapter is not None:
            body["lora"] = [{"id": adapter, "scale": 1.0}]
        start, first, text, count = time.perf_counter(), 0.0, "", 0
        for event in self.events("/completion", body):
            text += event["content"]
            first = first or (time.perf_counter() - start if text else 0.0)
            count = event.get("tokens_predicted", count)
        return Told(text, count, first, time.perf_counter() - start)


class Transformers(Side):
    """`transformers serve` with continuous batching."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        command = [sys.executable, "-c", "from transformers.cli.transformers import main; main()", "serve", str(folder),
                   "--host", "127.0.0.1", "--port", str(self.port), "--continuous-batching", "--device", "cpu",
                   "--dtype", "float32"]  # fmt: skip
        self.folder = folder
        self.started(command, HF_HUB_OFFLINE="1")
        for _ in range(120):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            if self.process.poll() is not None:
                break
            time.sleep(1)
        raise RuntimeError("transformers serve did not start")

    def chat(self, messages: list[dict[str, str]], tokens: int) -> Told:
        config = json.dumps({"do_sample": False, "max_new_tokens": tokens})
        body = {"model": str(self.folder), "messages": messages, "max_tokens": tokens, "temperature": 0, "stream": True,
                "generation_config": config}  # fmt: skip
        start, first, text, count = time.perf_counter(), 0.0, "", 0
        for event in self.events("/v1/chat/completions", body):
            for choice in event.get("choices") or ():
                text += choice["delta"].get("content") or ""
                first = first or (time.perf_counter() - start if text else 0.0)
            count = (event.get("usage") or {}).get("completion_tokens", count)
        return Told(text, count, first, time.perf_counter() - start)
