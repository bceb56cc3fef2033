"""`functions` and `function_call`, as programs had them before `tools`: the same calls in their older words."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from tests.serve.running import Running

ASKED = [{"role": "user", "content": "Weather?"}]
WEATHER = {
    "name": "weather",
    "parameters": {
        "type": "object", "properties": {"city": {"enum": ["Tokyo", "Osaka"]}}, "required": ["city"],
        "additionalProperties": False,
    },
}  # fmt: skip
CALLED = {"role": "assistant", "content": None, "function_call": {"name": "weather", "arguments": '{"city": "Tokyo"}'}}
RESULT = {"role": "function", "name": "weather", "content": "21 C"}
NAMED = {"functions": [WEATHER], "function_call": {"name": "weather"}}


def post(served: Running, **body: Any) -> Any:
    with served.http() as http:
        return http.post("/v1/chat/completions", json={"model": "orders", "messages": ASKED, "seed": 3, **body})


def test_a_function_that_is_named_is_called_in_the_words_of_the_request(served: Running) -> None:
    answer = post(served, **NAMED)
    assert answer.status_code == 200, answer.text
    ChatCompletion.model_validate_json(answer.content)
    (choice,) = answer.json()["choices"]
    message = choice["message"]
    assert choice["finish_reason"] == "stop"  # as of a tool that is named
    assert message["content"] is None and "tool_calls" not in message
    assert message["function_call"]["name"] == "weather"
    assert json.loads(message["function_call"]["arguments"])["city"] in ("Tokyo", "Osaka")


def test_a_streamed_call_is_the_same_one(served: Running) -> None:
    whole = post(served, **NAMED).json()["choices"][0]
    lines = post(served, stream=True, **NAMED).text.splitlines()
    chunks = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
    for chunk in chunks:
        ChatCompletionChunk.model_validate(chunk)
    choices = [chunk["choices"][0] for chunk in chunks]
    told = [choice["delta"]["function_call"] for choice in choices if "function_call" in choice["delta"]]
    assert told == [whole["message"]["function_call"]]
    assert choices[-1]["finish_reason"] == whole["finish_reason"]


def test_a_call_that_the_model_chose_ends_with_function_call() -> None:
    from sodate.serve import functions
    from sodate.serve.wire import ChatRequest

    old = ChatRequest.model_validate({"model": "m", "messages": ASKED, "functions": [WEATHER]})
    new = ChatRequest.model_validate({"model": "m", "messages": ASKED})
    assert [functions.finish(one, "tool_calls") for one in (old, new)] == ["function_call", "tool_calls"]
    assert functions.finish(old, "length") == "length"
    asked = functions.as_tools(old)
    assert asked.parallel_tool_calls is False and asked.tools is not None
    assert [tool.function.name for tool in asked.tools] == ["weather"]


def test_the_conversation_with_its_result_is_what_tools_make_of_it(served: Running) -> None:
    call = {"id": "call00001", "type": "function", "function": CALLED["function_call"]}
    new = [*ASKED, {"role": "assistant", "content": None, "tool_calls": [call]},
           {"role": "tool", "tool_call_id": "call00001", "content": "21 C"}]  # fmt: skip
    answers = [
        post(served, messages=[*ASKED, CALLED, RESULT], functions=[WEATHER], max_tokens=3, temperature=0).json(),
        post(served, messages=new, tools=[{"type": "function", "function": WEATHER}], max_tokens=3, temperature=0,
             parallel_tool_calls=False).json(),
    ]  # fmt: skip
    assert answers[0]["usage"]["prompt_tokens"] == answers[1]["usage"]["prompt_tokens"]
    assert answers[0]["choices"][0]["message"]["content"] == answers[1]["choices"][0]["message"]["content"]


@pytest.mark.parametrize(("body", "param"), [
    ({**NAMED, "function_call": {"name": "clock"}}, "function_call"),
    ({**NAMED, "tools": [{"type": "function", "function": WEATHER}]}, "functions"), ({"functions": []}, "functions"),
    ({**NAMED, "function_call": "required"}, "function_call"),
    ({"messages": [*ASKED, RESULT]}, "messages[1].name"),
    ({"messages": [*ASKED, CALLED, {**RESULT, "name": "clock"}]}, "messages[2].name"),
    ({"messages": [*ASKED, CALLED, RESULT, RESULT]}, "messages[3].name"),
])  # fmt: skip
def test_what_does_not_go_together_is_refused_by_name(served: Running, body: dict[str, Any], param: str) -> None:
    answer = post(served, **body)
    assert answer.status_code == 400 and answer.json()["error"]["param"] == param, answer.text
