"""What a server keeps of what it answers, and POST /v1/feedback, over the wire."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from openai import NotFoundError

from sodate.learn import logs, recording
from sodate.serve import keys
from tests.serve.running import Running, running, service_of

ASKED = [{"role": "system", "content": "You are a shop."}, {"role": "user", "content": "Send twelve red apples."}]
GREEDY = {"model": "orders", "temperature": 0, "max_tokens": 8}


@pytest.fixture(scope="module")
def keeping(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, dict[str, str]]]:
    """A server with keys of two projects that keep everything, and of one that keeps nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SODATE_HOME", str(tmp_path_factory.mktemp("home")))
        secrets = {project: keys.create(project)[0] for project in ("shop", "rival", "quiet")}
        for project in ("shop", "rival"):
            recording.change(project, {"mode": "on"})
        service, engine = service_of(tiny_folder)
        with running(service, engine, auth=True) as server:
            yield server, secrets


def kept(id: str, project: str = "shop") -> dict[str, Any]:
    """The exchange, once it has come to the disk."""
    end = time.monotonic() + 20
    while True:
        try:
            return logs.show(id, project)
        except Exception:
            if time.monotonic() > end:
                raise
            time.sleep(0.02)


@pytest.mark.parametrize(
    "way", ["chat", "chat stream", "response", "response stream", "completion", "completion stream"]
)
def test_every_way_of_asking_is_kept_with_what_was_said(keeping: tuple[Running, dict[str, str]], way: str) -> None:
    server, secrets = keeping
    client = server.client(secrets["shop"])
    stream = way.endswith("stream")
    if way.startswith("chat"):
        said = client.chat.completions.create(
            messages=ASKED, stream=stream, user="taro", metadata={"session_id": "s"}, **GREEDY
        )  # type: ignore[call-overload]
        chunks = list(said) if stream else []
        id = chunks[0].id if stream else said.id
        text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) or (
            said.choices[0].message.content if not stream else "")  # fmt: skip
    elif way.startswith("response"):
        said = client.responses.create(
            model="orders",
            input=ASKED,
            temperature=0,
            max_output_tokens=8,
            stream=stream,
            user="taro",
            metadata={"session_id": "s"},
        )  # type: ignore[call-overload]
        done = list(said)[-1].response if stream else said
        id, text = done.id, done.output_text
    else:
        said = client.completions.create(prompt="Twelve red", stream=stream, user="taro", **GREEDY)
        chunks = list(said) if stream else [said]
        id, text = chunks[0].id, "".join(c.choices[0].text for c in chunks if c.choices)
    told = kept(id)
    assert told["replies"][0]["content"] == text and told["version"] == "orders@1"
    assert told["reply_tokens"] == 8 and told["prompt_tokens"] > 0 and told["latency_ms"] >= 0
    assert told["user"] is not None and "taro" not in str(told)
    if way.startswith("completion"):
        assert told["messages"][0]["content"].endswith("Twelve red")
        assert told["confidence"] is None or 0 <= told["confidence"] <= 1
    else:
        assert [(one["role"], one["content"]) for one in told["messages"]] == [(m["role"], m["content"]) for m in ASKED]
        assert 0 < told["confidence"] <= 1 and told["session"] is not None


def ask(server: Running, key: str) -> str:
    return server.client(key).chat.completions.create(messages=ASKED, **GREEDY).id  # type: ignore[call-overload]


def test_feedback_that_comes_at_once_waits_for_its_exchange(keeping: tuple[Running, dict[str, str]]) -> None:
    server, secrets = keeping
    with server.http(headers={"authorization": f"Bearer {secrets['shop']}"}) as http:
        for thumb, spelt in (("up", "up"), ("down", -1), ("down", False), ("up", "👍")):
            id = ask(server, secrets["shop"])
            answer = http.post("/v1/feedback", json={"reply_id": id, "thumb": spelt, "correction": "Yes, twelve."})
            assert answer.status_code == 200, answer.text
            told = answer.json()
            assert (told["reply_id"], told["thumb"], told["correction"]) == (id, thumb, "Yes, twelve.")
            again = http.post("/v1/feedback", json={"reply_id": id, "thumb": spelt, "correction": "Yes, twelve."})
            assert again.json() == told and len(logs.show(id, "shop")["feedback"]) == 1


def test_feedback_finds_nothing_of_others_or_of_nobody(keeping: tuple[Running, dict[str, str]]) -> None:
    server, secrets = keeping
    mine, unkept = ask(server, secrets["shop"]), ask(server, secrets["quiet"])
    kept(mine)
    with server.http() as http:
        for key, id in (("rival", mine), ("quiet", unkept), ("shop", "chatcmpl-none"), ("shop", "../x"), ("shop", "")):
            head = {"authorization": f"Bearer {secrets[key]}"}
            answer = http.post("/v1/feedback", json={"reply_id": id, "thumb": "up"}, headers=head)
            assert answer.status_code == 404 and answer.json()["error"]["param"] == "reply_id", (key, id)
        assert http.post("/v1/feedback", json={"reply_id": mine, "thumb": "up"}).status_code == 401
    assert logs.show(mine, "shop")["feedback"] == []


@pytest.mark.parametrize(
    "body",
    [{"thumb": "up"}, {"reply_id": "x"}, {"reply_id": "x", "thumb": "sideways"}, {"reply_id": "x", "thumb": 7},
     {"reply_id": "x", "score": 3}, {"reply_id": ["x"], "thumb": "up"}, {"reply_id": "x", "ranking": [2]}],
)  # fmt: skip
def test_feedback_that_is_wrong_is_refused(keeping: tuple[Running, dict[str, str]], body: Any) -> None:
    server, secrets = keeping
    with server.http(headers={"authorization": f"Bearer {secrets['shop']}"}) as http:
        answer = http.post("/v1/feedback", json=body)
    assert answer.status_code == 400 and set(answer.json()["error"]) == {"message", "type", "param", "code"}


def test_the_counters_say_what_was_kept_and_what_was_dropped(keeping: tuple[Running, dict[str, str]]) -> None:
    server, secrets = keeping

    def counts() -> dict[str, float]:
        with server.http() as http:
            lines = http.get("/metrics").text.splitlines()
        return {
            line.split('"')[1]: float(line.split()[-1]) for line in lines if line.startswith("sodate_exchanges_total")
        }

    before = counts()
    kept(ask(server, secrets["shop"]))
    wait(lambda: counts()["kept"] == before["kept"] + 1)
    assert set(before) == {"kept", "queue_full", "too_large", "scrub_failed", "database_failed"}


def wait(done: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not done():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_serving_goes_on_while_nothing_can_be_kept(
    keeping: tuple[Running, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, secrets = keeping
    from sodate.learn import keeping as writing

    def broken(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(writing, "keep", broken)
        ids = [ask(server, secrets["shop"]) for _ in range(3)]
        wait(lambda: 'outcome="database_failed"} 3.0' in server.http().get("/metrics").text)
    later = ask(server, secrets["shop"])
    kept(later)
    assert logs.listed("shop")["dropped"]["database_failed"] == 3
    with server.http(headers={"authorization": f"Bearer {secrets['shop']}"}) as http:
        assert http.post("/v1/feedback", json={"reply_id": ids[0], "thumb": "up"}).status_code == 404


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("address", ["/v1/chat/completions", "/v1/responses"])
def test_a_reply_that_is_not_of_its_form_is_kept_though_it_was_not_sent(
    keeping: tuple[Running, dict[str, str]], monkeypatch: pytest.MonkeyPatch, address: str, stream: bool
) -> None:
    server, secrets = keeping
    monkeypatch.setattr("sodate.api.structured.violation", lambda text, schema: "made up")
    schema = {"type": "object", "properties": {"a": {"enum": [1]}}, "required": ["a"], "additionalProperties": False}
    form = {"type": "json_schema", "name": "x", "schema": schema}
    chat = {
        "messages": ASKED,
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}},
    }
    body = chat if address.endswith("completions") else {"input": ASKED, "text": {"format": form}}
    before = {one["id"] for one in logs.listed("shop", failed=True, limit=100)["exchanges"]}
    with server.http(headers={"authorization": f"Bearer {secrets['shop']}"}) as http:
        http.post(address, json={"model": "orders", "temperature": 0, "stream": stream, **body})

    def new() -> list[Any]:
        return [one for one in logs.listed("shop", failed=True, limit=100)["exchanges"] if one["id"] not in before]

    wait(lambda: bool(new()))
    (told,) = new()
    assert told["finish"] == "schema_violation" and told["reply"].startswith("{")
    assert "broken_schema" in [one["reason"] for one in told["reasons"]]


def test_a_project_can_keep_its_askers_from_storing_anything(keeping: tuple[Running, dict[str, str]]) -> None:
    server, secrets = keeping
    client = server.client(secrets["shop"])
    ask = {"model": "orders", "input": "Send one pear.", "max_output_tokens": 4, "temperature": 0}
    assert client.responses.create(**ask).store is True  # type: ignore[call-overload]
    recording.change("shop", {"stored": "off"})
    try:
        wait(lambda: client.responses.create(**ask).store is False)  # type: ignore[call-overload]
        said = client.responses.create(store=True, **ask)  # type: ignore[call-overload]
        with pytest.raises(NotFoundError):
            client.responses.retrieve(said.id)
        done = client.chat.completions.create(messages=ASKED, store=True, **GREEDY)  # type: ignore[call-overload]
        with pytest.raises(NotFoundError):
            client.chat.completions.retrieve(done.id)
    finally:
        recording.change("shop", {"stored": "scrubbed"})


def test_a_canary_of_personal_data_is_in_no_file_of_the_server(keeping: tuple[Running, dict[str, str]]) -> None:
    server, secrets = keeping
    planted = ["canary.7731@example.jp", "080-7731-7731", "田中太郎"]
    text = f"{planted[2]}様、電話 {planted[1]}、メール {planted[0]}"
    done = server.client(secrets["shop"]).chat.completions.create(
        messages=[{"role": "user", "content": text, "name": "canary"}], user=planted[0],
        metadata={"session_id": planted[1], "note": planted[0]}, **GREEDY,
    )  # type: ignore[call-overload]  # fmt: skip
    kept(done.id)
    with server.http(headers={"authorization": f"Bearer {secrets['shop']}"}) as http:
        said = {"reply_id": done.id, "correction": text, "comment": planted[0], "user": planted[0], "label": planted[1]}
        assert http.post("/v1/feedback", json=said).status_code == 200
    home = Path(os.environ["SODATE_HOME"])
    for file in (file for file in home.rglob("*") if file.is_file()):
        data = file.read_bytes()
        for one in (*planted, "canary.7731", "7731-7731"):
            assert one.encode() not in data and json.dumps(one).strip('"').encode() not in data, (file, one)
