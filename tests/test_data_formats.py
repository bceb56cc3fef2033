"""One example per format people have, and what each becomes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sodate.core.errors import SodateError
from sodate.core.types import Conversation, Example, Message, Preference, TaskItem, ToolCall
from sodate.data import check

U, A = Message("user", "U"), Message("assistant", "A")
UD, AD = {"role": "user", "content": "U"}, {"role": "assistant", "content": "A"}
WEATHER = {"type": "function", "function": {"name": "w", "parameters": {"type": "object"}}}


def read_one(row: dict[str, Any], tmp_path: Path, **more: Any) -> tuple[str, Example]:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(row, ensure_ascii=False), "utf-8")
    checked = check([path], **more)
    assert [p.message for p in checked.ledger.set_aside] == []
    return checked.format, checked.examples[0]


@pytest.mark.parametrize(
    ("row", "name", "messages"),
    [
        ({"messages": [UD, AD]}, "openai-chat", (U, A)),
        ({"messages": [{"role": "developer", "content": "S"}, UD, AD]}, "openai-chat", (Message("system", "S"), U, A)),
        (
            {"messages": [UD, {**AD, "weight": 0}, UD, {**AD, "weight": 1}]},
            "openai-chat",
            (U, Message("assistant", "A", weight=0.0), U, A),
        ),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "text", "text": "U"}, {"type": "text", "text": "2"}]},
                    AD,
                ]
            },
            "openai-chat",
            (Message("user", "U2"), A),
        ),
        ({"prompt": "U", "completion": "A"}, "prompt-completion", (U, A)),
        ({"prompt": "U", "completion": "A", "system": "S"}, "prompt-completion", (Message("system", "S"), U, A)),
        ({"prompt": [UD], "completion": [AD]}, "trl-conversational", (U, A)),
        ({"instruction": "U", "input": "", "output": "A"}, "alpaca", (U, A)),
        ({"instruction": "I", "input": "X", "output": "A"}, "alpaca", (Message("user", "I\n\nX"), A)),
        ({"conversations": [{"from": "human", "value": "U"}, {"from": "gpt", "value": "A"}]}, "sharegpt", (U, A)),
        (
            {"system": "S", "conversations": [{"from": "human", "value": "U"}, {"from": "gpt", "value": "A"}]},
            "sharegpt",
            (Message("system", "S"), U, A),
        ),
        ({"text": "A", "id": "7"}, "text", (A,)),
    ],
)
def test_supervised_formats(row: dict[str, Any], name: str, messages: tuple[Message, ...], tmp_path: Path) -> None:
    found, example = read_one(row, tmp_path)
    assert found == name
    assert isinstance(example, Conversation) and example.messages == messages
    assert example.source is not None and example.source.line == 1


def test_tool_calls_and_their_legacy_and_sharegpt_forms_are_the_same_conversation(tmp_path: Path) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "w", "arguments": '{"c": "SF"}'}}
    modern = {
        "messages": [
            UD,
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c", "content": "21"},
            AD,
        ],
        "tools": [WEATHER],
        "parallel_tool_calls": False,
    }
    legacy = {
        "messages": [
            UD,
            {"role": "assistant", "content": None, "function_call": call["function"]},
            {"role": "function", "name": "w", "content": "21"},
            AD,
        ],
        "functions": [WEATHER["function"]],
    }
    sharegpt = {
        "conversations": [
            {"from": "human", "value": "U"},
            {"from": "function_call", "value": '{"name": "w", "arguments": {"c": "SF"}}'},
            {"from": "observation", "value": "21"},
            {"from": "gpt", "value": "A"},
        ],
        "tools": json.dumps([WEATHER]),
    }
    for row in (modern, legacy, sharegpt):
        example = read_one(row, tmp_path)[1]
        assert isinstance(example, Conversation) and example.tools == (WEATHER,)
        asked, called, answered, said = example.messages
        assert (asked, said) == (U, A)
        (made,) = called.tool_calls
        assert made == ToolCall(made.id, "w", '{"c": "SF"}') and called.content == ""
        assert (answered.role, answered.content, answered.tool_call_id) == ("tool", "21", made.id)


@pytest.mark.parametrize(
    ("row", "name"),
    [
        (
            {
                "input": {"messages": [UD], "tools": []},
                "preferred_output": [AD],
                "non_preferred_output": [{**AD, "content": "B"}],
            },
            "openai",
        ),
        (
            {
                "input": {"messages": [UD]},
                "preferred_completion": [AD],
                "non_preferred_completion": [{**AD, "content": "B"}],
            },
            "openai",
        ),
        ({"prompt": "U", "chosen": "A", "rejected": "B"}, "trl"),
        ({"prompt": [UD], "chosen": [AD], "rejected": [{**AD, "content": "B"}]}, "trl"),
        ({"chosen": [UD, AD], "rejected": [UD, {**AD, "content": "B"}]}, "trl"),
        ({"prompt": "U", "chosen": [UD, AD], "rejected": [UD, {**AD, "content": "B"}]}, "trl"),
    ],
)
def test_preference_formats(row: dict[str, Any], name: str, tmp_path: Path) -> None:
    found, example = read_one(row, tmp_path)
    assert found == f"preference-{name}"
    assert isinstance(example, Preference)
    assert (example.prompt, example.chosen, example.rejected) == ((U,), (A,), (Message("assistant", "B"),))


@pytest.mark.parametrize(
    ("row", "item"),
    [
        ({"messages": [UD], "reference_answer": {"k": 5}}, {"reference_answer": {"k": 5}}),
        ({"messages": [UD], "solution": "5", "level": 2}, {"solution": "5", "level": 2}),
        ({"prompt": "U", "answers": ["a", "b"]}, {"answers": ["a", "b"]}),
    ],
)
def test_task_formats(row: dict[str, Any], item: dict[str, Any], tmp_path: Path) -> None:
    found, example = read_one(row, tmp_path)
    assert found == "task"
    assert isinstance(example, TaskItem) and (example.prompt, example.item) == ((U,), item)


def test_columns_map_any_other_format(tmp_path: Path) -> None:
    row = {"質問": "U", "回答": "A", "番号": 3}
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(row), "utf-8")
    with pytest.raises(SodateError) as failed:
        check([path])
    assert "質問, 回答, 番号" in failed.value.message
    assert "--columns prompt=質問,completion=回答" in failed.value.fix
    name, example = read_one(row, tmp_path, columns={"prompt": "質問", "completion": "回答"})
    assert isinstance(example, Conversation) and (name, example.messages) == ("prompt-completion", (U, A))
    name, example = read_one(row, tmp_path, columns={"prompt": "質問", "reference_answer": "番号"})
    assert isinstance(example, TaskItem) and example.item == {"回答": "A", "reference_answer": 3}
    name, example = read_one({"q": "U", "label": 1}, tmp_path, columns={"prompt": "q", "completion": "label"})
    assert isinstance(example, Conversation) and example.messages[-1].content == "1"
    with pytest.raises(SodateError, match=r"no column frage, antwort\. Columns found: q, label"):
        check([path], columns={"prompt": "frage", "completion": "antwort"})


def test_an_unpaired_preference_is_not_trained_as_if_it_were_good(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"prompt": "U", "completion": "A", "label": False}))
    assert [p.code for p in check([path]).ledger.set_aside] == ["unpaired-preference"]
