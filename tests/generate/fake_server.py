"""A server that speaks OpenAI's wire as far as a test says, on a free port of this machine."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[["Handler", dict[str, Any]], None]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    fake: Fake

    def do_GET(self) -> None:
        self.reply(200, {"data": [{"id": one} for one in self.fake.models]}) if self.fake.models else self.reply(
            404, {}
        )

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.fake.asked.append((self.path, body, dict(self.headers)))
        self.fake.answer(self, body)

    def reply(self, status: int, body: Any, **headers: str) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"content-type": "application/json", "content-length": str(len(data)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    def begin(self) -> None:
        """An answer in events; the connection ends with it."""
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        self.close_connection = True

    def event(self, event: Any) -> None:
        self.wfile.write(b"data: " + (event if isinstance(event, bytes) else json.dumps(event).encode()) + b"\n\n")
        self.wfile.flush()

    def log_message(self, *_: Any) -> None:
        pass


@dataclass
class Fake:
    url: str
    answer: Answer
    models: list[str] = field(default_factory=list)
    asked: list[tuple[str, dict[str, Any], dict[str, str]]] = field(default_factory=list)


@contextlib.contextmanager
def fake(answer: Answer, models: list[str]) -> Iterator[Fake]:
    made = Fake("", answer, models)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Own", (Handler,), {"fake": made}))
    server.daemon_threads = True
    made.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=lambda: server.serve_forever(0.01))
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def chat(*deltas: dict[str, Any], finish: str = "stop", usage: tuple[int, int] = (11, 7)) -> Answer:
    """Says these deltas, one an event."""

    def answer(handler: Handler, body: dict[str, Any]) -> None:
        handler.begin()
        for delta in deltas:
            handler.event({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
        handler.event({"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
        handler.event({"choices": [], "usage": {"prompt_tokens": usage[0], "completion_tokens": usage[1]}})
        handler.event(b"[DONE]")

    return answer
