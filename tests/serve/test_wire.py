"""Every answer as raw JSON, validated by the types that OpenAI's client has from its specification: the client itself
forgives."""

from __future__ import annotations

import json
import socket
from typing import Any

import httpx
import pytest
from openai.types import Completion, CreateEmbeddingResponse, Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent, response_item
from pydantic import TypeAdapter

from sodate.serve import server
from sodate.serve.settings import Settings
from tests.serve.running import Running

SAID = [{"role": "user", "content": "hi"}]
TOOL = {"name": "clock", "parameters": {"type": "object", "properties": {"utc": {"type": "boolean"}},
                                         "required": ["utc"], "additionalProperties": False}}  # fmt: skip
SCHEMA = {"type": "object", "properties": {"utc": {"type": "boolean"}}, "required": ["utc"],
          "additionalProperties": False}  # fmt: skip


def post(served: Running, path: str, **body: Any) -> httpx.Response:
    with served.http() as http:
        answer = http.post(f"/v1/{path}", json={"model": "orders", "temperature": 0, **body})
    assert answer.status_code == 200, answer.text
    return answer


def events(answer: httpx.Response) -> list[dict[str, Any]]:
    lines = [line for line in answer.text.splitlines() if line.startswith("data: ")]
    return [json.loads(line[6:]) for line in lines if line != "data: [DONE]"]


@pytest.mark.parametrize("more", [
    {"logprobs": True, "top_logprobs": 2}, {"n": 2},
    {"tools": [{"type": "function", "function": TOOL}], "tool_choice": "required", "max_tokens": 60},
])  # fmt: skip
def test_chat(served: Running, more: dict[str, Any]) -> None:
    given = {"messages": SAID, "max_tokens": 5, **more}
    ChatCompletion.model_validate_json(post(served, "chat/completions", **given).content)
    chunks = events(post(served, "chat/completions", **given, stream=True, stream_options={"include_usage": True}))
    for chunk in chunks:
        ChatCompletionChunk.model_validate(chunk)
    assert chunks[-1]["choices"] == []


def test_completions_and_embeddings_and_models(served: Running) -> None:
    Completion.model_validate_json(post(served, "completions", prompt="hi", max_tokens=3, logprobs=2).content)
    for chunk in events(post(served, "completions", prompt="hi", max_tokens=3, logprobs=2, stream=True)):
        (choice,) = chunk["choices"]
        choice["finish_reason"] = choice["finish_reason"] or "stop"  # null until the last, which the types don't know
        Completion.model_validate(chunk)
    with served.http() as http:
        vectors = http.post("/v1/embeddings", json={"model": "orders", "input": ["a", "b"]})
        CreateEmbeddingResponse.model_validate_json(vectors.content)
        for model in http.get("/v1/models").json()["data"]:
            Model.model_validate(model)


FUNCTION = {"type": "function", **TOOL}


@pytest.mark.parametrize("more", [
    {"top_logprobs": 2}, {"instructions": "Be short.", "metadata": {"k": "v"}},
    {"text": {"format": {"type": "json_schema", "name": "clock", "schema": SCHEMA}}, "max_output_tokens": 60},
    {"tools": [FUNCTION], "tool_choice": "required", "max_output_tokens": 60},
    {"tools": [FUNCTION], "tool_choice": {"type": "function", "name": "clock"}, "max_output_tokens": 60},
])  # fmt: skip
def test_responses(served: Running, more: dict[str, Any]) -> None:
    given = {"input": "hi", "max_output_tokens": 5, **more}
    body = post(served, "responses", **given).json()
    Response.model_validate(body)
    one = TypeAdapter(ResponseStreamEvent)
    for number, event in enumerate(events(post(served, "responses", **given, stream=True))):
        one.validate_python(event)
        assert event["sequence_number"] == number
    with served.http() as http:
        assert http.get(f"/v1/responses/{body['id']}").json() == body
        items = http.get(f"/v1/responses/{body['id']}/input_items").json()
    for item in items["data"]:
        TypeAdapter(response_item.ResponseItem).validate_python(item)


def test_no_part_of_an_answer_waits_for_the_one_before_to_be_acknowledged() -> None:
    listening = server.bind(Settings(port=0))
    listening.listen()
    with listening, socket.create_connection(listening.getsockname()):
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


def test_a_body_that_is_not_sent_as_json_is_refused_with_the_header_to_send(served: Running) -> None:
    body = json.dumps({"model": "orders", "messages": SAID})
    for kind in ("text/plain", "application/x-www-form-urlencoded"):  # the second is what curl -d sends by itself
        with served.http() as http:
            answer = http.post("/v1/chat/completions", content=body, headers={"content-type": kind})
        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (400, "invalid_json")
        assert "Content-Type: application/json" in error["message"]


def test_a_null_asks_for_nothing_under_any_name(served: Running) -> None:
    """Clients of other ages write out what they leave unset, at the top and further in."""
    tool = {"type": "function", "function": {**TOOL, "cache_control": None}}
    unset = {"audio": None, "functions": None, "web_search_options": None, "tools": [tool], "stream_options": None}
    post(served, "chat/completions", messages=SAID, max_tokens=1, **unset)
    post(served, "completions", prompt="hi", max_tokens=1, use_beam_search=None)
    own = {"type": "function", **TOOL, "defer_loading": None}
    post(served, "responses", input="hi", max_output_tokens=1, conversation=None, prompt=None, tools=[own])
    with served.http() as http:
        refused = http.post("/v1/chat/completions", json={"model": "orders", "messages": SAID, "audio": {}})
    assert refused.json()["error"]["code"] == "unknown_parameter"


def test_head_is_answered_as_get_without_a_body(served: Running) -> None:
    with served.http() as http:
        for path in ("/healthz", "/readyz", "/v1/models", "/v1/models/orders"):
            seen, same = http.head(path), http.get(path)
            assert (seen.status_code, seen.content) == (200, b"")
            assert seen.headers["content-length"] == str(len(same.content))
        assert http.head("/v1/models/nobody").status_code == 404
        counted = http.get("/metrics").text
    assert 'method="HEAD",route="/v1/models",status="200"' in counted


def test_numbers_that_are_not_json_are_refused_wherever_they_stand(served: Running) -> None:
    grader = '{"type": "score_model", "name": "s", "model": "orders", "input": [], "range": [0, %s]}'
    for number in ("NaN", "Infinity", "1e999"):
        with served.http() as http:
            answer = http.post(
                "/v1/fine_tuning/alpha/graders/validate", content=f'{{"grader": {grader % number}}}',
                headers={"content-type": "application/json"},
            )  # fmt: skip
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_value")


@pytest.mark.parametrize("depth", [120, 400, 900, 5_000])
def test_a_body_that_is_nested_too_deep_is_refused_wherever_it_is(served: Running, depth: int) -> None:
    deep = '{"a":' * depth + "1" + "}" * depth
    tool = f'{{"type": "function", "function": {{"name": "f", "parameters": {deep}}}}}'
    body = f'{{"model": "orders", "messages": {json.dumps(SAID)}, "tools": [{tool}]}}'
    with served.http() as http:
        answer = http.post("/v1/chat/completions", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400, answer.text


def test_a_reply_that_was_a_refusal_may_be_sent_back(served: Running) -> None:
    refusal = {"role": "assistant", "content": None, "refusal": "No."}
    part = {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}
    for turn in (refusal, part):
        post(served, "chat/completions", messages=[*SAID, turn, *SAID], max_tokens=1)


def test_the_longest_reply_is_named_in_an_error_as_the_request_names_it(served: Running) -> None:
    for name in ("max_tokens", "max_completion_tokens"):
        with served.http() as http:
            answer = http.post("/v1/chat/completions", json={"model": "orders", "messages": SAID, name: 100_000})
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, name)


def test_a_call_without_a_result_is_refused_by_the_responses_endpoint_too(served: Running) -> None:
    call = {"type": "function_call", "call_id": "c1", "name": "clock", "arguments": "{}"}
    given = {"model": "orders", "max_output_tokens": 16}
    with served.http() as http:
        for items in ([*SAID, call], [*SAID, call, *SAID]):
            answer = http.post("/v1/responses", json={**given, "input": items})
            assert (answer.status_code, answer.json()["error"]["param"]) == (400, "input")
            assert "c1" in answer.json()["error"]["message"]
        empty = [*SAID, call, {"type": "function_call_output", "call_id": "c1"}]
        error = http.post("/v1/responses", json={**given, "input": empty}).json()["error"]
        assert (error["code"], error["param"]) == ("missing_parameter", f"input[{len(empty) - 1}].output")
        made = http.post("/v1/responses", json={**given, "input": "hi"}).json()
        answer = http.post(f"/v1/responses/{made['id']}/cancel")
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_status")
