"""A real server on a free port over a tiny model, computed by the slow engine."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai
import torch

from sodate.api.answering import Served, Service
from sodate.api.text_stream import TokenBytes
from sodate.api.worker import EngineThread
from sodate.model.load import load_base
from sodate.render.renderer import Renderer
from sodate.serve import server
from sodate.serve.settings import Settings
from tests.serve.naive import NaiveEngine

CREATED = 1_700_000_000


@dataclass
class Running:
    """A server that runs. The clients it hands out are closed when it ends."""

    url: str
    service: Service
    engine: NaiveEngine
    clients: contextlib.ExitStack

    def client(self, key: str = "none", **options: Any) -> openai.OpenAI:
        made = openai.OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0, **options)
        return self.clients.enter_context(contextlib.closing(made))

    def http(self, **options: Any) -> httpx.Client:
        return self.clients.enter_context(contextlib.closing(httpx.Client(base_url=self.url, timeout=60, **options)))


def service_of(folder: Path, *, template: str | None = None, **engine: Any) -> tuple[Service, NaiveEngine]:
    """`orders@1` over the model in `folder`, also known as `orders` and `gpt-4o-mini`."""
    from llguidance import LLTokenizer
    from transformers import AutoModelForCausalLM

    renderer = Renderer.from_folder(folder, template)
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    vocabulary = model.config.vocab_size
    guide = LLTokenizer(renderer.tokenizer.to_str(), n_vocab=vocabulary, eos_token=list(renderer.stop_ids))
    naive = NaiveEngine({"orders@1": model}, guide, **engine)
    context = model.config.max_position_embeddings
    thread = EngineThread(naive)
    scoring = load_base(folder, device=torch.device("cpu"), dtype=torch.float32)
    served = Served(
        "orders@1", "tiny@0", renderer, TokenBytes(renderer), thread, "orders@1", context, CREATED, model=scoring
    )
    return Service([served], {"orders": served, "gpt-4o-mini": served}), naive


@contextlib.contextmanager
def running(service: Service, engine: NaiveEngine, buffer: int | None = None, **settings: Any) -> Iterator[Running]:
    """Serves in a thread of its own until the block ends; the system keeps `buffer` bytes for a slow reader."""
    chosen = Settings(port=0, **{"auth": False, **settings})
    listening = server.bind(chosen)
    if buffer is not None:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
    port = listening.getsockname()[1]
    ready = threading.Event()
    servers: list[Any] = []
    thread = threading.Thread(target=_serve, args=(service, chosen, listening, ready, servers))
    thread.start()
    assert ready.wait(30)
    try:
        with contextlib.ExitStack() as clients:
            yield Running(f"http://127.0.0.1:{port}", service, engine, clients)
    finally:
        servers[0].should_exit = True
        thread.join(30)
        assert not thread.is_alive()


def _serve(
    service: Service, settings: Settings, listening: socket.socket, ready: threading.Event, servers: list[Any]
) -> None:
    server.run(service, settings, listening, lambda made: (servers.append(made), ready.set()))
