"""POST /v1/responses, and what is stored, by the official client and as raw events."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from sodate.serve import keys
from tests.serve.running import Running, running, service_of
from tests.serve.test_structure import CLOCK, ORDER, WEATHER

GREEDY = {"model": "orders", "temperature": 0, "max_output_tokens": 10}


def test_a_response_says_what_chat_says(served: Running) -> None:
    chat = served.client().chat.completions.create(
        model="orders", messages=[{"role": "user", "content": "apples"}], temperature=0, max_tokens=10
    )
    done = served.client().responses.create(input="apples", **GREEDY)
    assert done.output_text == chat.choices[0].message.content
    assert done.usage.input_tokens == chat.usage.prompt_tokens and done.model == "orders@1"
    assert done.status == "incomplete" and done.incomplete_details.reason == "max_output_tokens"
    assert served.client().responses.retrieve(done.id).output_text == done.output_text


def test_the_tokens_of_a_prompt_are_counted_before_it_is_asked(served: Running) -> None:
    """With instructions, tools and what was said before, which all stand in the prompt."""
    client = served.client()
    weather = {"type": "function", "name": "weather", "parameters": WEATHER["function"]["parameters"]}
    first = client.responses.create(input="apples", **GREEDY)
    for more in ({}, {"instructions": "Be short."}, {"tools": [weather]}, {"previous_response_id": first.id}):
        counted = client.responses.input_tokens.count(model="orders", input="apples and pears", **more)
        done = client.responses.create(input="apples and pears", **GREEDY, **more)
        assert (counted.object, counted.input_tokens) == ("response.input_tokens", done.usage.input_tokens)
    with served.http() as http:
        refused = http.post("/v1/responses/input_tokens", json={"model": "orders"})
    assert refused.status_code == 400 and refused.json()["error"]["param"] == "input"


def test_events_are_numbered_and_put_the_text_together(served: Running) -> None:
    with served.http() as http:
        answer = http.post("/v1/responses", json={"input": "apples", "stream": True, **GREEDY})
    blocks = [block.split("\n") for block in answer.text.split("\n\n") if block]
    events = [json.loads(data[6:]) for _, data in blocks]
    assert [name[7:] for name, _ in blocks] == [event["type"] for event in events]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    kinds = list(dict.fromkeys(event["type"] for event in events))
    assert kinds == [
        "response.created", "response.in_progress", "response.output_item.added", "response.content_part.added",
        "response.output_text.delta", "response.output_text.done", "response.content_part.done",
        "response.output_item.done", "response.incomplete",
    ]  # fmt: skip
    text = "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")
    last = events[-1]["response"]
    assert last["output"][0]["content"][0]["text"] == text == served.client().responses.create(
        input="apples", **GREEDY
    ).output_text  # fmt: skip
    assert {event["item_id"] for event in events if "item_id" in event} == {last["output"][0]["id"]}


def test_the_clients_own_stream_understands_it(served: Running) -> None:
    with served.client().responses.stream(input="apples", **GREEDY) as stream:
        events = [event.type for event in stream]
    assert "response.output_text.delta" in events


def test_a_schema_and_a_function(served: Running) -> None:
    form = {"format": {"type": "json_schema", "name": "order", "schema": ORDER, "strict": True}}
    done = served.client().responses.create(model="orders", input="order", text=form)
    assert json.loads(done.output_text)["product"] in ("apple", "pear") and done.status == "completed"
    tools = [{"type": "function", **tool["function"]} for tool in (WEATHER, CLOCK)]
    called = served.client().responses.create(
        model="orders", input="time?", tools=tools, tool_choice={"type": "function", "name": "clock"}
    )
    (call,) = called.output
    assert call.type == "function_call" and isinstance(json.loads(call.arguments)["utc"], bool)
    again = served.client().responses.create(
        model="orders", tools=tools, tool_choice="none", max_output_tokens=3, previous_response_id=called.id,
        input=[{"type": "function_call_output", "call_id": call.call_id, "output": "12:00"}],
    )  # fmt: skip
    assert again.usage.input_tokens > 50  # the call and its result are before it


def test_a_function_streams_its_arguments(served: Running) -> None:
    tools = [{"type": "function", **CLOCK["function"]}]
    events = list(
        served.client().responses.create(
            model="orders", input="time?", tools=tools, tool_choice="required", stream=True, parallel_tool_calls=False
        )
    )
    done = next(e for e in events if e.type == "response.function_call_arguments.done")
    assert isinstance(json.loads(done.arguments)["utc"], bool)
    assert events[-1].response.output[0].arguments == done.arguments


@pytest.mark.parametrize(("body", "param"), [
    ({"text": {"format": {"type": "json_schema", "schema": {}}}}, "text.format.name"),
    ({"text": {"format": {"type": "json_schema", "name": "x"}}}, "text.format.schema"),
    ({"text": {"format": {"type": "json_schema", "name": "x", "schema": {"not": {}}}}}, "text.format.schema"),
    ({"tools": [{"type": "function", "name": "f", "strict": True, "parameters": {"not": {}}}],
      "tool_choice": "required"}, "tools[0].parameters"),
    ({"max_output_tokens": 5000}, "max_output_tokens"), ({"input": "word " * 9000}, "input"),
    ({"stream_options": {"include_obfuscation": False}}, "stream_options"),
])  # fmt: skip
def test_what_cannot_be_done_is_refused_in_this_endpoints_own_words(
    served: Running, body: dict[str, Any], param: str
) -> None:
    with served.http() as http:
        answer = http.post("/v1/responses", json={"model": "orders", "input": "x", **body})
    assert answer.status_code == 400 and answer.json()["error"]["param"] == param


def test_log_probabilities_come_if_they_or_the_likeliest_are_asked_for(served: Running) -> None:
    asked = {"input": "apples", **GREEDY}
    chat = served.client().chat.completions.create(
        model="orders", messages=[{"role": "user", "content": "apples"}], temperature=0, max_tokens=10, logprobs=True
    )
    values = [entry.logprob for entry in chat.choices[0].logprobs.content]
    for more, likeliest in (({"include": ["message.output_text.logprobs"]}, 0), ({"top_logprobs": 2}, 2), ({}, None)):
        told = served.client().responses.create(**asked, **more).output[0].content[0].logprobs
        events = list(served.client().responses.create(**asked, **more, stream=True))
        streamed = [one for event in events if event.type == "response.output_text.delta" for one in event.logprobs]
        assert (
            [one.logprob for one in told]
            == [one.logprob for one in streamed]
            == ([] if likeliest is None else pytest.approx(values))
        )
        assert all(len(one.top_logprobs) == likeliest for one in told)


def test_the_input_is_told_again_in_parts_with_ids_and_page_by_page(served: Running) -> None:
    given = [
        {"role": "system", "content": "Be short."}, {"role": "user", "content": [{"type": "input_text", "text": "hi"}]},
        {"type": "message", "role": "assistant", "content": "Hello."}, {"role": "user", "content": "time?"},
    ]  # fmt: skip
    done = served.client().responses.create(model="orders", input=given, max_output_tokens=2)
    listed = served.client().responses.input_items
    items = list(listed.list(done.id, order="asc", limit=1))  # page after page
    assert [item.content[0].text for item in items] == ["Be short.", "hi", "Hello.", "time?"]
    assert [item.content[0].type for item in items] == ["input_text", "input_text", "output_text", "input_text"]
    assert len({item.id for item in items}) == 4
    with pytest.raises(openai.NotFoundError) as refused:
        listed.list(done.id, after="msg_none")
    assert refused.value.param == "after"


def test_an_earlier_response_that_is_not_there_is_named(served: Running) -> None:
    with pytest.raises(openai.NotFoundError) as refused:
        served.client().responses.create(model="orders", input="x", previous_response_id="resp_none")
    assert (refused.value.code, refused.value.param) == ("previous_response_not_found", "previous_response_id")
    assert "resp_none" in str(refused.value)


# ── what is stored ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def two(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, Any, Running]]:
    """The clients of two projects, A and B, and their server."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SODATE_HOME", str(tmp_path_factory.mktemp("two")))
        a, b = keys.create("a")[0], keys.create("b")[0]
        with running(*service_of(tiny_folder), auth=True) as one:
            yield one.client(a), one.client(b), one


def kept(client: openai.OpenAI, **metadata: str) -> Any:
    return client.chat.completions.create(
        model="orders", messages=[{"role": "user", "content": "secret plan"}], temperature=0, max_tokens=4, store=True,
        metadata=metadata,
    )  # fmt: skip


def test_a_stored_reply_is_listed_read_tagged_and_deleted(two: tuple[Any, Any, Running]) -> None:
    client = two[0]
    done = [kept(client, number=str(n), kind="x y") for n in range(3)]
    store = client.chat.completions
    assert [c.id for c in store.list(limit=2)] == [c.id for c in done]  # pages follow each other to the end
    assert [c.id for c in store.list(order="desc")] == [c.id for c in reversed(done)]
    assert [c.id for c in store.list(metadata={"number": "1", "kind": "x y"})] == [done[1].id]
    assert store.retrieve(done[0].id).choices[0].message.content == done[0].choices[0].message.content
    assert store.update(done[0].id, metadata={"new": "1"}).metadata == {"new": "1"}
    assert [c.id for c in store.list(metadata={"number": "0"})] == []
    (message,) = list(store.messages.list(done[0].id))
    assert message.content == "secret plan" and message.id
    assert store.delete(done[0].id).deleted
    with pytest.raises(openai.NotFoundError):
        store.retrieve(done[0].id)


def test_a_streamed_reply_is_stored_too(two: tuple[Any, Any, Running]) -> None:
    chunks = list(two[0].chat.completions.create(
        model="orders", messages=[{"role": "user", "content": "x"}], max_tokens=3, store=True, stream=True
    ))  # fmt: skip
    assert two[0].chat.completions.retrieve(chunks[0].id).id == chunks[0].id


def test_nobody_else_finds_reads_changes_or_deletes_it(two: tuple[Any, Any, Running]) -> None:
    a, b, _ = two
    mine, response = kept(a, owner="a"), a.responses.create(model="orders", input="x", max_output_tokens=3)
    assert [c.id for c in b.chat.completions.list()] == []
    attempts = [
        lambda: b.chat.completions.retrieve(mine.id), lambda: b.chat.completions.delete(mine.id),
        lambda: b.chat.completions.update(mine.id, metadata={"x": "y"}),
        lambda: list(b.chat.completions.messages.list(mine.id)), lambda: b.chat.completions.list(after=mine.id),
        lambda: b.responses.retrieve(response.id), lambda: b.responses.delete(response.id),
        lambda: list(b.responses.input_items.list(response.id)),
        lambda: b.responses.create(model="orders", input="go on", previous_response_id=response.id),
    ]  # fmt: skip
    for attempt in attempts:
        with pytest.raises(openai.NotFoundError):
            attempt()
    assert a.chat.completions.retrieve(mine.id).metadata == {"owner": "a"}
    assert a.responses.retrieve(response.id).id == response.id


def test_what_nobody_asked_to_keep_is_not_kept(two: tuple[Any, Any, Running], tmp_path: Path) -> None:
    import os

    canary = "canary-5f1c"
    two[0].chat.completions.create(model="orders", messages=[{"role": "user", "content": canary}], max_tokens=3)
    two[0].responses.create(model="orders", input=canary, max_output_tokens=3, store=False)
    for file in Path(os.environ["SODATE_HOME"]).rglob("*"):
        assert not file.is_file() or canary.encode() not in file.read_bytes()


@pytest.mark.parametrize("id", ["../../etc/passwd", "%252e%252e", "a\0b", "C:\\x", "．．／x", "chatcmpl-none"])
def test_an_id_is_an_id_and_never_a_path(two: tuple[Any, Any, Running], id: str) -> None:
    for ask in (two[0].chat.completions.retrieve, two[0].responses.retrieve, two[0].models.retrieve):
        with pytest.raises(openai.NotFoundError):
            ask(id)
