"""Replies that a client asked to store: without personal data on the disk, as they were sent in memory for an hour."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
import sqlalchemy as sa

from sodate.db.connection import reading
from sodate.db.tables import StoredReply
from sodate.learn import recording, retention, scrubbing
from sodate.learn.keeping import DAY
from sodate.serve import keys, originals, stored
from sodate.serve.originals import Originals
from tests.serve.running import Running, running, service_of
from tests.serve.test_exchanges import wait

PLANTED = ["田中太郎", "080-7731-7731", "canary.7731@example.jp", "０９０−１２３４−５６７８"]
SAID = f"{PLANTED[0]}様、電話 {PLANTED[1]} か {PLANTED[3]}、メール {PLANTED[2]}"
ASK: dict[str, Any] = {"model": "orders", "max_output_tokens": 4, "temperature": 0}
CHAT: dict[str, Any] = {"model": "orders", "max_tokens": 4, "temperature": 0, "store": True}


@pytest.fixture(scope="module")
def shop(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, openai.OpenAI]]:
    """A server, and a client of a project of which nobody has said anything."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SODATE_HOME", str(tmp_path_factory.mktemp("home")))
        secret = keys.create("shop")[0]
        with running(*service_of(tiny_folder), auth=True) as server:
            yield server, server.client(secret)


def on_the_disk(*planted: str) -> list[str]:
    """Which of these stand in a file of the home, as they are or as JSON has them."""
    found = []
    for file in (file for file in Path(os.environ["SODATE_HOME"]).rglob("*") if file.is_file()):
        data = file.read_bytes()
        found += [one for one in planted if one.encode() in data or json.dumps(one)[1:-1].encode() in data]
    return found


def row(id: str) -> StoredReply:
    with reading() as session:
        return session.scalars(sa.select(StoredReply).where(StoredReply.id == id)).one()


def counted(server: Running, outcome: str) -> float:
    with server.http() as http:
        lines = http.get("/metrics").text.splitlines()
    (line,) = (one for one in lines if one.startswith(f'sodate_stored_replies_total{{outcome="{outcome}"}}'))
    return float(line.split()[-1])


def test_the_disk_has_no_personal_data_and_the_client_what_it_sent(shop: tuple[Running, openai.OpenAI]) -> None:
    server, client = shop
    before = counted(server, "kept")
    told = {"customer": PLANTED[2], "order": "A-17"}
    first = client.responses.create(
        input=SAID, instructions=f"{PLANTED[0]}様の注文", metadata=told, user=PLANTED[2], **ASK
    )
    done = client.chat.completions.create(
        messages=[{"role": "user", "content": SAID, "name": "tanaka"}], metadata=told, logprobs=True, **CHAT
    )
    called = client.responses.create(input=[
        {"role": "user", "content": [{"type": "input_text", "text": "お届け先は"}]},
        {"type": "function_call", "call_id": "call_0901234567", "name": "find", "arguments": json.dumps({"q": SAID})},
        {"type": "function_call_output", "call_id": "call_0901234567", "output": SAID},
    ], **ASK)  # fmt: skip
    assert first.store is True and counted(server, "kept") == before + 3
    assert on_the_disk(*PLANTED) == []

    # What was sent is still there for who goes on.
    assert client.responses.retrieve(first.id).instructions == f"{PLANTED[0]}様の注文"
    (item,) = client.responses.input_items.list(first.id)
    assert item.content[0].text == SAID  # type: ignore[union-attr]
    (message,) = client.chat.completions.messages.list(done.id)
    assert message.content == SAID
    again = client.responses.create(input="もう一度", previous_response_id=first.id, **ASK)
    items = list(client.responses.input_items.list(again.id, order="asc"))
    assert items[0].content[0].text == SAID  # type: ignore[union-attr]
    assert on_the_disk(*PLANTED) == []

    # Calls and metadata of no person are as they were.
    kept = json.loads(row(called.id).asked)
    assert [one.get("call_id") for one in kept] == [None, "call_0901234567", "call_0901234567"]
    with reading() as session:
        tags = stored.tags(session.scalars(sa.select(StoredReply).where(StoredReply.id == first.id)).one())
    assert tags["order"] == "A-17" and tags["customer"] != PLANTED[2]


def test_after_an_hour_a_conversation_goes_on_from_the_disk(
    shop: tuple[Running, openai.OpenAI], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, client = shop
    first = client.responses.create(input=SAID, **ASK)
    monkeypatch.setattr(originals, "SECONDS", -1.0)
    client.responses.create(input="x", **ASK)  # whatever comes next lets the old ones go
    (item,) = client.responses.input_items.list(first.id)
    assert "顧客A様" in item.content[0].text and "PHONE_1" in item.content[0].text  # type: ignore[union-attr]
    again = client.responses.create(input="佐藤花子様は 03-1234-5678", previous_response_id=first.id, **ASK)
    texts = [one["content"][0]["text"] if isinstance(one["content"], list) else one["content"]
             for one in json.loads(row(again.id).asked)]  # fmt: skip
    assert "顧客A様" in texts[0] and "顧客B様" in texts[-1] and "PHONE_3" in texts[-1]  # nobody becomes somebody else


def test_what_cannot_be_scrubbed_is_answered_counted_and_not_stored(
    shop: tuple[Running, openai.OpenAI], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, client = shop

    def fails(*given: Any, **keys: Any) -> Any:
        raise RuntimeError(SAID)

    monkeypatch.setattr(scrubbing.mask, "mask_cells", fails)
    for stream in (False, True):
        before = counted(server, "scrub_failed")
        said: Any = client.responses.create(input=SAID, stream=stream, **ASK)
        said = list(said)[-1].response if stream else said
        assert said.status in ("completed", "incomplete") and said.store is False
        assert counted(server, "scrub_failed") == before + 1
        with pytest.raises(openai.NotFoundError):
            client.responses.retrieve(said.id)
    monkeypatch.undo()
    monkeypatch.setattr(stored, "put", fails)  # a database that is not there
    assert client.responses.create(input=SAID, **ASK).store is False
    assert client.chat.completions.create(messages=[{"role": "user", "content": SAID}], **CHAT).choices
    assert counted(server, "database_failed") == 2
    assert on_the_disk(*PLANTED) == []


def test_raw_is_kept_only_where_a_project_says_so(shop: tuple[Running, openai.OpenAI]) -> None:
    server, _ = shop
    client = server.client(keys.create("asked")[0])
    recording.change("asked", {"stored": "raw"})

    def stored_raw() -> bool:
        done = client.chat.completions.create(messages=[{"role": "user", "content": SAID}], **CHAT)
        return SAID in json.loads(row(done.id).asked)[0]["content"]

    wait(stored_raw)
    with pytest.raises(Exception, match="scrubbed, raw or off"):
        recording.change("asked", {"stored": "on"})


def test_stored_replies_are_found_by_the_name_that_was_asked_for(shop: tuple[Running, openai.OpenAI]) -> None:
    _, client = shop
    tag = {"by": "name"}
    ask = {**CHAT, "model": "gpt-4o-mini", "metadata": tag}
    done = client.chat.completions.create(messages=[{"role": "user", "content": "Hi"}], **ask)

    def found(name: str) -> list[str]:
        return [one.id for one in client.chat.completions.list(model=name, metadata=tag)]

    assert found("gpt-4o-mini") == found(done.model) == [done.id]
    assert found("orders") == found("nobody") == []


def test_deleted_is_gone_from_memory_too_and_other_tags_are_scrubbed(shop: tuple[Running, openai.OpenAI]) -> None:
    _, client = shop
    done = client.chat.completions.create(messages=[{"role": "user", "content": SAID}], **CHAT)
    client.chat.completions.update(done.id, metadata={"who": "late.5512@example.jp"})
    assert on_the_disk("late.5512@example.jp") == []
    client.chat.completions.delete(done.id)
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.retrieve(done.id)


def test_memory_is_bounded_by_age_and_size(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    held = Originals(clock=lambda: now[0])
    held.put("a", {"output": "x" * 100}, ["y"])
    now[0] = originals.SECONDS - 1
    found = held.get("a")
    assert found is not None and found.asked == ["y"]
    now[0] = originals.SECONDS + 1
    held.forget_old()
    assert held.get("a") is None and held._characters == 0
    monkeypatch.setattr(originals, "CHARACTERS", 1000)
    for number in range(20):
        held.put(str(number), {"output": "x" * 100}, [])
    assert held.get("0") is None and held.get("19") is not None and held._characters <= 1000
    held.drop("19")
    assert held.get("19") is None


def test_stored_replies_of_a_project_without_rules_go_after_the_usual_days(shop: tuple[Running, openai.OpenAI]) -> None:
    _, client = shop
    id = client.responses.create(input="Send a pear.", **ASK).id
    made = row(id).created_at
    retention.sweep(made)
    for days in range(1, recording.KEEP_DAYS + 1):
        retention.sweep(made + days * DAY)
    assert row(id).id == id
    retention.sweep(made + (recording.KEEP_DAYS + 1) * DAY)
    with reading() as session:
        assert session.scalar(sa.select(sa.func.count()).where(StoredReply.id == id)) == 0
