"""What must not break: askers who leave, read slowly, send letter by letter, too much, or nothing that makes sense."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from sodate.serve import keys
from tests import farm
from tests.serve.running import Running, running, service_of

ASKED = {"model": "orders", "messages": [{"role": "user", "content": "hi"}], "temperature": 1, "seed": 1}
LONG = {**ASKED, "max_tokens": 900, "logit_bias": {"4": -100, "1": -100}}  # no stop token: <|im_end|> and <eos>


@pytest.fixture
def slow(tiny_folder: Path, home: Path) -> Iterator[Running]:
    """A server of one slot that takes its time, and has little patience."""
    service, engine = service_of(tiny_folder, slots=1, pause=0.02)
    settings = {"send_seconds": 1.0, "header_seconds": 1.0, "body_seconds": 1.0, "body_bytes": 100_000}
    with running(service, engine, **settings) as one:
        yield one


def until(true: Any, seconds: float = 10.0) -> float:
    """Seconds until `true()` holds."""
    start = time.monotonic()
    while not true():
        assert time.monotonic() - start < seconds
        time.sleep(0.01)
    return time.monotonic() - start


@pytest.mark.parametrize("stream", [True, False])
def test_when_the_asker_leaves_the_slot_is_free_within_a_second(slow: Running, stream: bool) -> None:
    with slow.http() as http:
        if stream:
            with http.stream("POST", "/v1/chat/completions", json={**LONG, "stream": True}) as answer:
                next(answer.iter_lines())
        else:
            with pytest.raises(httpx.ReadTimeout):
                http.post("/v1/chat/completions", json=LONG, timeout=0.5)
    assert until(lambda: not slow.engine.rows) < 1
    assert len(slow.engine.cancelled) == 1


def test_a_waiting_request_whose_asker_leaves_is_never_begun(slow: Running) -> None:
    with slow.http() as http, http.stream("POST", "/v1/chat/completions", json={**LONG, "stream": True}) as answer:
        next(answer.iter_lines())
        with pytest.raises(httpx.ReadTimeout):
            http.post("/v1/chat/completions", json=LONG, timeout=0.3)
        (thread,) = slow.service.engines
        until(lambda: thread.waiting == 0)
        assert len(slow.engine.rows) <= 1  # the first may have ended by now


def test_a_reader_who_does_not_read_loses_the_slot(tiny_folder: Path, home: Path) -> None:
    body = json.dumps({**LONG, "stream": True, "logprobs": True, "top_logprobs": 20}).encode()
    service, engine = service_of(tiny_folder, slots=1)
    with running(service, engine, buffer=8192, send_seconds=1.0) as one, socket.socket() as reader:
        host, port = one.url.removeprefix("http://").split(":")
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        reader.connect((host, int(port)))
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n"
        reader.sendall(head.encode() + f"content-length: {len(body)}\r\n\r\n".encode() + body)
        until(lambda: engine.cancelled, 60)
        with one.http() as http:
            assert http.post("/v1/chat/completions", json={**ASKED, "max_tokens": 2}).status_code == 200


@pytest.mark.parametrize("sent", [b"", b"GET /hea", b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\nx: "])
def test_whoever_sends_letter_by_letter_is_hung_up_on(slow: Running, sent: bytes) -> None:
    host, port = slow.url.removeprefix("http://").split(":")
    with socket.socket() as one:
        one.connect((host, int(port)))
        one.sendall(sent)
        one.settimeout(5)
        assert one.recv(100) == b""


def test_a_body_that_never_ends_is_given_up_and_a_large_one_refused(slow: Running) -> None:
    def letters() -> Iterator[bytes]:
        yield b'{"model":'
        time.sleep(2)
        yield b'"x"}'

    with slow.http() as http:
        late = http.post("/v1/chat/completions", content=letters(), headers={"content-type": "application/json"})
        assert late.status_code == 408 and late.headers["x-should-retry"] == "false"
        for content in (b"x" * 200_000, iter([b"x" * 60_000] * 3)):
            large = http.post("/v1/chat/completions", content=content, headers={"content-type": "application/json"})
            assert large.status_code == 413 and large.json()["error"]["code"] == "request_too_large"
            assert large.headers["x-request-id"]


def test_a_thousand_connections_at_once_harm_nobody(slow: Running) -> None:
    host, port = slow.url.removeprefix("http://").split(":")
    idle = [socket.create_connection((host, int(port))) for _ in range(1000)]
    try:
        with slow.http() as http:
            assert http.get("/healthz").status_code == 200
    finally:
        for one in idle:
            one.close()


def test_a_body_of_100_mb_is_refused_and_not_kept(served: Running) -> None:
    with served.http() as http:
        content = (b"x" * 1_000_000 for _ in range(100))
        large = http.post("/v1/chat/completions", content=content, headers={"content-type": "application/json"})
    assert large.status_code == 413 and large.json()["error"]["code"] == "request_too_large"


@pytest.mark.parametrize("head", [
    "".join(f"x-{n}: {'y' * 100}\r\n" for n in range(5000)), "x: " + "y" * 500_000 + "\r\n",
    "range: bytes=" + ",".join(f"{n}-" for n in range(5000)) + "\r\n",
])  # fmt: skip
def test_a_flood_of_headers_or_ranges_is_answered_or_hung_up_on_and_the_next_one_answered(
    served: Running, head: str
) -> None:
    host, port = served.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as one:
        one.settimeout(10)
        with contextlib.suppress(ConnectionError):
            one.sendall(f"GET /v1/models HTTP/1.1\r\nhost: {host}\r\n{head}\r\n".encode())
            assert one.recv(100)[:10] in (b"", b"HTTP/1.1 2", b"HTTP/1.1 4")
    with served.http() as http:
        assert http.get("/healthz").status_code == 200


def test_more_requests_than_may_wait_are_told_to_come_again(slow: Running) -> None:
    (thread,) = slow.service.engines
    thread.room = 0
    with slow.http() as http:
        answer = http.post("/v1/chat/completions", json={**ASKED, "stream": True})
    assert answer.status_code == 429 and answer.headers["retry-after"] and answer.headers["x-should-retry"] == "true"


@pytest.mark.parametrize("changes", [
    {"n": 129}, {"n": 128, "max_tokens": 1000}, {"max_tokens": 10**12}, {"max_tokens": 5000}, {"top_logprobs": 21},
    {"top_logprobs": 3}, {"messages": [{"role": "user", "content": "word " * 9000}]}, {"stop": ["x"] * 99},
    {"stop": "x" * 1001},
    {"logit_bias": {str(n): 1 for n in range(2000)}}, {"temperature": 9}, {"metadata": {"k" * 65: "v"}}, {"n": True},
    {"seed": "7"}, {"messages": "hi"}, {"model": 7}, {"stream_options": {"x": 1}},
    {"stream_options": {"include_usage": True}},
])  # fmt: skip
def test_what_is_too_much_or_no_sense_is_refused_before_the_engine_hears_of_it(
    served: Running, changes: dict[str, Any]
) -> None:
    steps = served.engine.steps
    with served.http() as http:
        answer = http.post("/v1/chat/completions", json={**ASKED, **changes})
    error = answer.json()["error"]
    assert answer.status_code == 400 and set(error) == {"message", "type", "param", "code"} and error["message"]
    assert served.engine.steps == steps


@pytest.mark.parametrize("content", [
    b"", b"{", b"[]", b"\xff\xfe", b'{"model": "\\ud83d", "messages": []}', b"[" * 100_000, b"NaN",
    b'{"model":"orders","messages":[{"role":"user","content":"\\ud83d"}]}',
    b'{"model":"orders","temperature":1e400,"messages":[{"role":"user","content":"x"}]}',
    b'{"model":"orders","messages":[{"role":"user","content":"x"}],"tools":[{"type":"function","function":'
    b'{"name":"f","parameters":{"title":"\\udc00"}}}]}',
])  # fmt: skip
def test_bodies_that_are_no_request_are_400_in_the_envelope(served: Running, content: bytes) -> None:
    with served.http() as http:
        for path in ("/v1/chat/completions", "/v1/responses", "/v1/completions", "/v1/embeddings"):
            answer = http.post(path, content=content, headers={"content-type": "application/json"})
            assert answer.status_code == 400 and answer.json()["error"]["message"]


def test_unknown_addresses_and_methods_have_the_envelope_too(served: Running) -> None:
    with served.http() as http:
        for answer, status in ((http.get("/v2/x"), 404), (http.put("/v1/models"), 405), (http.get("/docs"), 404)):
            assert answer.status_code == status and answer.json()["error"]["code"] and answer.headers["x-request-id"]
            assert answer.headers["x-content-type-options"] == "nosniff"


def test_sentences_are_in_the_askers_language(served: Running) -> None:
    with served.http() as http:
        for wanted, said in (
            ("ja", "ありません"),
            ("en;q=0.5, ja-JP", "ありません"),
            ("en", "does not exist"),
            ("", ""),
        ):
            answer = http.get("/v1/models/none", headers={"accept-language": wanted})
            assert said in answer.json()["error"]["message"]


def test_a_fault_says_nothing_of_the_request_to_the_asker_or_the_log(
    served: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(self: Any, messages: Any, tools: Any = ()) -> list[int]:
        raise ValueError(f"{messages} in {os.environ['SODATE_HOME']}")

    version = served.service.find("orders")
    monkeypatch.setattr(type(version.renderer), "prompt", broken)
    with served.http() as http, caplog.at_level(logging.INFO):
        answer = http.post(
            "/v1/chat/completions?key=canary-1",
            json={**ASKED, "messages": [{"role": "user", "content": "canary-2"}]},
            headers={"authorization": "Bearer canary-3"},
        )
    assert answer.status_code == 500 and answer.json()["error"]["code"] == "internal_error"
    assert answer.headers["x-should-retry"] == "false"
    logged = "\n".join(r.getMessage() for r in caplog.records if not r.name.startswith("http"))
    for text in (answer.text, logged):
        assert "canary" not in text and os.environ["SODATE_HOME"] not in text
    assert "ValueError" in logged


def test_keys_and_prompts_are_in_no_log_of_an_ordinary_request(
    tiny_folder: Path, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    key = keys.create("shop")[0]
    with running(*service_of(tiny_folder), auth=True) as one, caplog.at_level(logging.DEBUG, "sodate.serve"):
        one.client(key).chat.completions.create(
            model="orders", messages=[{"role": "user", "content": "canary-2"}], max_tokens=2
        )
        with pytest.raises(Exception, match="key"):
            one.client("sk-canary-3").models.list()
        metrics = httpx.get(f"{one.url}/metrics").text
    logged = "\n".join(r.getMessage() for r in caplog.records if not r.name.startswith(("http", "openai")))
    assert "/v1/chat/completions" in logged
    assert 'sodate_tokens_total{kind="reply",version="orders@1"} 2.0' in metrics
    for text in (logged, metrics):
        assert key not in text and key[-16:] not in text and "canary" not in text


def test_sigterm_lets_replies_end_and_the_process_ends_with_status_0(tmp_path: Path) -> None:
    """The whole command, on the real engine."""
    planted = farm.plant(tmp_path)
    environment = {**os.environ, "SODATE_HOME": str(planted.home), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "sodate.cli", "serve", planted.model, "--port", "0", "--no-auth"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    try:
        url = process.stdout.readline().strip()
        body = {"model": planted.model, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 200,
                "stream": True, "temperature": 0}  # fmt: skip
        with httpx.stream("POST", f"{url}/chat/completions", json=body, timeout=60) as answer:
            lines = answer.iter_lines()
            next(lines)
            process.send_signal(signal.SIGTERM)
            rest = [line for line in lines if line]
        assert rest[-1] == "data: [DONE]"
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
