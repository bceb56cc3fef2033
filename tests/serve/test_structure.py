"""Replies of a given form: schemas and tool calls hold for a model of random weights, or are refused by name."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sodate.api import structured
from sodate.api.conversation import Turn, prepared
from sodate.api.enum_options import fields
from sodate.api.structured import CallForm
from sodate.core.engine import Sampling
from sodate.core.types import Message
from sodate.render import toolcalls
from tests.serve.running import Running

ASKED = [{"role": "user", "content": "Please order."}]
ORDER = {
    "type": "object",
    "properties": {"product": {"enum": ["apple", "pear"]}, "urgent": {"type": "boolean"}},
    "required": ["product", "urgent"], "additionalProperties": False,
}  # fmt: skip
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather", "description": "of a city",
        "parameters": {
            "type": "object", "properties": {"city": {"$ref": "#/$defs/city"}}, "required": ["city"],
            "additionalProperties": False, "$defs": {"city": {"enum": ["Tokyo", "Osaka"]}},
        },
    },
}  # fmt: skip
CLOCK = {"type": "function", "function": {"name": "clock", "parameters": {
    "type": "object", "properties": {"utc": {"type": "boolean"}}, "required": ["utc"], "additionalProperties": False,
}}}  # fmt: skip


def chat(served: Running, **body: Any) -> dict[str, Any]:
    with served.http() as http:
        answer = http.post(
            "/v1/chat/completions", json={"model": "orders", "messages": ASKED, "temperature": 1, "seed": 3, **body}
        )
    assert answer.status_code == 200, answer.text
    return answer.json()


def form(schema: Any, **more: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "order", "schema": schema, **more}}


@pytest.mark.parametrize("seed", range(4))
def test_a_schema_holds_whatever_the_model_would_have_said(served: Running, seed: int) -> None:
    body = chat(served, response_format=form(ORDER, strict=True), seed=seed)
    said = json.loads(body["choices"][0]["message"]["content"])
    assert said["product"] in ("apple", "pear") and isinstance(said["urgent"], bool) and len(said) == 2
    assert body["choices"][0]["finish_reason"] == "stop"


def test_the_options_of_enum_fields_are_told_with_their_probabilities(served: Running) -> None:
    """The oracle: transformers' own scores of the whole texts, with each option in the value's place."""
    import torch

    body = chat(served, response_format=form(ORDER, strict=True), logprobs=True)
    choice = body["choices"][0]
    said = choice["message"]["content"]
    told = {name: one["logprobs"] for name, one in choice["confidence"]["fields"].items()}
    assert set(told["product"]) == {"apple", "pear"} and set(told["urgent"]) == {"true", "false"}
    version = served.service.find("orders")
    asked = list(prepared(Turn(version, (Message("user", "Please order."),), Sampling(max_new_tokens=9))).prompt)

    def score(text: str) -> float:
        ids = version.tokens.ids(text)
        with torch.no_grad():
            logits = served.engine.models["orders@1"](torch.tensor([asked + ids])).logits[0]
        logp = logits.log_softmax(-1)[len(asked) - 1 : -1]
        return float(logp.gather(1, torch.tensor(ids)[:, None]).sum())

    product = json.loads(said)["product"]
    until = said[: said.index(",") + 1]
    alone = {one: score(until.replace(product, one)) for one in ("apple", "pear")}
    whole = {one: score(said.replace(said[said.rindex(":") + 1 :].strip(" }"), one)) for one in ("true", "false")}
    for name, scores in (("product", alone), ("urgent", whole)):
        total = math.log(sum(map(math.exp, scores.values())))
        assert told[name] == pytest.approx({key: value - total for key, value in scores.items()}, abs=2e-3)
    plain = chat(served, response_format=form(ORDER, strict=True))["choices"][0]["confidence"]
    assert "logprobs" not in plain["fields"]["product"]  # it takes a forward more, and comes where it was asked for
    with served.http() as http:
        asking = {"model": "orders", "input": "Please order.", "include": ["message.output_text.logprobs"]}
        label = {"enum": ["refund", "refund later", 3]}
        text = {"format": {"type": "json_schema", "name": "label", "schema": label}}
        answer = http.post("/v1/responses", json={**asking, "text": text}).json()
    assert set(answer["confidence"]["logprobs"]) == {"refund", "refund later", "3"}
    assert sum(map(math.exp, answer["confidence"]["logprobs"].values())) == pytest.approx(1)


def test_what_may_be_one_of_a_few_is_found_through_references_and_unions() -> None:
    schema = {
        "type": "object", "$defs": {"Queue": {"enum": ["a", "b"], "type": "string"}, "loop": {"$ref": "#/$defs/loop"}},
        "properties": {
            "queue": {"$ref": "#/$defs/Queue"}, "maybe": {"anyOf": [{"$ref": "#/$defs/Queue"}, {"type": "null"}]},
            "text": {"type": "string"}, "either": {"anyOf": [{"enum": [1]}, {"type": "string"}]}, "one": {"const": 1},
            "inner": {"type": "object", "properties": {"yes": {"type": "boolean"}}}, "loop": {"$ref": "#/$defs/loop"},
        },
    }  # fmt: skip
    assert fields(schema) == {"queue": ["a", "b"], "maybe": ["a", "b", None], "inner.yes": [True, False]}
    assert fields({"enum": ["x", "x"]}) == {} and fields(True) == {} and fields({"enum": [1, True]}) == {"": [1, True]}


def test_json_object_is_an_object_or_was_cut_off(served: Running) -> None:
    choice = chat(served, response_format={"type": "json_object"}, max_tokens=200)["choices"][0]
    assert choice["message"]["content"].lstrip().startswith("{")
    if choice["finish_reason"] == "stop":
        assert isinstance(json.loads(choice["message"]["content"]), dict)


@pytest.mark.parametrize("stream", [False, True])
def test_a_stop_string_ends_a_reply_of_a_form_before_the_form_does(served: Running, stream: bool) -> None:
    body = {
        "model": "orders",
        "messages": ASKED,
        "response_format": form(ORDER),
        "stop": ['"urgent"'],
        "stream": stream,
    }
    with served.http() as http:
        answer = http.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200, answer.text
    if stream:
        chunks = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
        choices = [chunk["choices"][0] for chunk in chunks]
        text = "".join(choice["delta"].get("content", "") for choice in choices)
        assert answer.text.rstrip().endswith("data: [DONE]")
    else:
        choices = answer.json()["choices"]
        text = choices[0]["message"]["content"]
    assert choices[-1]["finish_reason"] == "stop"
    assert text.startswith('{"product"') and "urgent" not in text


def test_the_client_parses_into_its_own_model(served: Running) -> None:
    from typing import Literal

    from pydantic import BaseModel

    class Order(BaseModel):
        product: Literal["apple", "pear"]
        urgent: bool

    done = served.client().chat.completions.parse(model="orders", messages=ASKED, response_format=Order)
    assert isinstance(done.choices[0].message.parsed, Order)


@pytest.mark.parametrize(("schema", "named"), [
    ({"type": "array", "uniqueItems": True}, "uniqueItems"), ({"not": {"type": "string"}}, "not"),
    ({"type": "object", "properties": {"a": {"type": "array", "contains": {"type": "null"}}}}, "contains"),
    ({"$ref": "http://example.com/schema"}, "example.com"), ({"type": "strin"}, "strin"),
    ({"type": "string", "format": "colour"}, "colour"), ({"const": 2**53 + 1}, "2^53"),
    ({"type": "string", "pattern": "[a-z&&x]"}, "&&"), ({"type": "string", "pattern": "^(?=a)b$"}, "look-ahead"),
    ({"oneOf": [{"const": 1}, {"const": 2}]}, "oneOf constraints are not supported."),
])  # fmt: skip
def test_a_schema_that_cannot_be_enforced_is_refused_naming_why(served: Running, schema: Any, named: str) -> None:
    with served.http() as http:
        answer = http.post(
            "/v1/chat/completions", json={"model": "orders", "messages": ASKED, "response_format": form(schema)}
        )
    assert answer.status_code == 400 and named in answer.json()["error"]["message"]
    assert answer.json()["error"]["param"] == "response_format.json_schema.schema"


def test_a_schema_ten_thousand_levels_deep_or_cyclic_does_no_harm(served: Running) -> None:
    deep = '{"type":"array","items":' * 10_000 + "{}" + "}" * 10_000
    body = '{"model":"orders","messages":[{"role":"user","content":"x"}],"response_format":{"type":"json_schema",'
    body += f'"json_schema":{{"name":"x","schema":{deep}}}}}}}'
    with served.http() as http:
        answer = http.post("/v1/chat/completions", content=body, headers={"content-type": "application/json"})
        assert answer.status_code == 400 and "error" in answer.json()
    cyclic = {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}
    with served.http() as http:
        given = {"model": "orders", "messages": ASKED, "max_tokens": 3, "response_format": form(cyclic)}
        assert http.post("/v1/chat/completions", json=given).status_code in (200, 400)


# ── tools ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "weather"}}])
@pytest.mark.parametrize("stream", [False, True])
def test_a_call_that_must_be_made_is_made_and_its_arguments_fit(served: Running, choice: Any, stream: bool) -> None:
    tools = {"model": "orders", "messages": ASKED, "tools": [WEATHER, CLOCK], "tool_choice": choice, "seed": 1,
             "parallel_tool_calls": False}  # fmt: skip
    if stream:
        chunks = list(served.client().chat.completions.create(**tools, stream=True))
        (delta,) = [c.choices[0].delta for c in chunks if c.choices[0].delta.tool_calls]
        (call,), finish = delta.tool_calls, chunks[-1].choices[0].finish_reason
        assert call.index == 0
    else:
        done = served.client().chat.completions.create(**tools).choices[0]
        assert done.message.content is None
        (call,), finish = done.message.tool_calls, done.finish_reason
    assert call.type == "function" and call.id.startswith("call_") and len(call.id) > 9
    arguments = json.loads(call.function.arguments)
    if call.function.name == "weather":
        assert arguments["city"] in ("Tokyo", "Osaka")
    else:
        assert isinstance(arguments["utc"], bool) and choice == "required"
    assert finish == ("tool_calls" if choice == "required" else "stop")


def test_only_allowed_tools_are_called(served: Running) -> None:
    allowed = {"type": "allowed_tools", "allowed_tools": {
        "mode": "required", "tools": [{"type": "function", "function": {"name": "clock"}}],
    }}  # fmt: skip
    for seed in range(3):
        body = chat(served, tools=[WEATHER, CLOCK], tool_choice=allowed, seed=seed, parallel_tool_calls=False)
        names = {call["function"]["name"] for call in body["choices"][0]["message"]["tool_calls"]}
        assert names == {"clock"} and body["choices"][0]["finish_reason"] == "tool_calls"


def test_without_a_choice_the_model_may_just_talk(served: Running) -> None:
    body = chat(served, tools=[WEATHER], temperature=0, max_tokens=8)
    assert body["choices"][0]["message"]["content"] and "tool_calls" not in body["choices"][0]["message"]
    none = chat(served, tools=[WEATHER], tool_choice="none", temperature=0, max_tokens=8)
    plain = chat(served, temperature=0, max_tokens=8)
    assert none["choices"][0]["message"]["content"] == plain["choices"][0]["message"]["content"]


def test_a_call_that_the_model_begins_can_only_go_on_as_one(served: Running) -> None:
    """The grammar of `auto`, fed by hand: free text, then a call, whose name and arguments are forced."""
    from llguidance import LLMatcher

    constraint = structured.calls_constraint(
        CallForm("<tool_call>\n", "\n</tool_call>"), [WEATHER, CLOCK], required=False, parallel=True
    )
    tokenizer = served.service.find("orders").renderer.tokenizer

    def fits(text: str) -> bool:
        matcher = LLMatcher(served.engine.tokenizer, LLMatcher.grammar_from_lark(constraint.value))
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        return matcher.try_consume_tokens(ids) == len(ids) and matcher.is_accepting()

    call = '<tool_call>\n{"name": "weather", "arguments": {"city": "Tokyo"}}\n</tool_call>'
    other = '<tool_call>\n{"name": "clock", "arguments": {"utc": true}}\n</tool_call>'
    assert fits("") and fits("Hello, <b>!") and fits(call) and fits(f"Let me see. {call}") and fits(f"{call}\n{other}")
    assert not fits("<tool_call>\n") and not fits(call.replace("Tokyo", "Paris")) and not fits(call.replace("we", "xx"))
    assert [c.name for c in toolcalls.parse(f"{call}\n{other}", [WEATHER, CLOCK])[1]] == ["weather", "clock"]


@pytest.mark.parametrize(("messages", "param"), [
    ([*ASKED, {"role": "tool", "tool_call_id": "c1", "content": "21"}], "messages[1].tool_call_id"),
    ([*ASKED, {"role": "assistant", "content": None}], "messages[1].content"),
    ([*ASKED, {"role": "assistant", "tool_calls": [
        {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}], "messages"),
    ([{"role": "user", "content": "x", "tool_calls": [
        {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}], "messages[0].tool_calls"),
    ([{"role": "robot", "content": "x"}], "messages[0].role"), ([], "messages"),
    ([{"role": "user", "content": 5}], "messages[0].content"),
    ([{"role": "user", "content": [{"type": "text", "text": 5}]}], "messages[0].content[0].text"),
])  # fmt: skip
def test_turns_that_do_not_fit_together_are_refused_where_they_stand(
    served: Running, messages: Any, param: str
) -> None:
    with served.http() as http:
        answer = http.post("/v1/chat/completions", json={"model": "orders", "messages": messages})
    assert answer.status_code == 400 and answer.json()["error"]["param"] == param


def test_a_result_goes_back_to_the_model(served: Running) -> None:
    call = {"id": "call_123456789", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    turns = [
        *ASKED, {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_123456789", "content": "21 C"},
    ]  # fmt: skip
    assert chat(served, messages=turns, tools=[WEATHER], max_tokens=2)["usage"]["prompt_tokens"] > 20


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda s: st.lists(s) | st.dictionaries(
    st.text(), s), max_leaves=20))  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_any_value_as_a_schema_is_a_constraint_or_a_refusal(value: Any) -> None:
    from sodate.core.errors import UsageError

    try:
        structured.json_constraint(value, "x")
    except UsageError as error:
        assert error.code in ("invalid_schema", "unsupported_schema") and error.param == "x"


def test_a_schema_whose_references_double_is_refused_before_anything_is_checked_by_it(served: Running) -> None:
    level = {f"d{n}": {"anyOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(40)}
    schema = {"type": "object", "properties": {"a": {"$ref": "#/$defs/d0"}}, "$defs": {**level, "d40": {}}}
    with served.http() as http:
        wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
        answer = http.post(
            "/v1/chat/completions", json={"model": "orders", "messages": ASKED, "response_format": wanted}
        )
    error = answer.json()["error"]
    assert answer.status_code == 400 and error["code"] == "invalid_schema" and "multiply" in error["message"]


def test_a_pattern_that_looks_back_without_end_ends() -> None:
    """Python's own patterns would look at 2⁵⁰ ways."""
    schema = {"anyOf": [{"pattern": "^(a|a)*$"}, {"const": "a" * 50 + "b"}]}
    assert structured.violation(json.dumps("a" * 50 + "b"), schema) is None
    assert "$" in str(structured.violation(json.dumps("a" * 50 + "c"), schema))
