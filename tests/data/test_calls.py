"""Which message answers which call: by id, or by order where no id tells, and never without a word."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sodate.core.types import Conversation
from sodate.data import Checked, check

QUESTION = {"role": "user", "content": "q"}


def two_calls(ids: list[Any], answers: list[Any]) -> dict[str, Any]:
    """Calls of f and g with these ids, answered by messages with those; `...` leaves the key out."""
    calls = [
        {"id": i, "type": "function", "function": {"name": n, "arguments": "{}"}}
        for i, n in zip(ids, "fg", strict=True)
    ]
    said = [{"role": "tool", "content": n, "tool_call_id": i} for i, n in zip(answers, "12", strict=True)]
    for item in (*calls, *said):
        for key in ("id", "tool_call_id"):
            if item.get(key) is ...:
                del item[key]
    return {
        "messages": [
            {"role": "user", "content": "U"},
            {"role": "assistant", "content": None, "tool_calls": calls},
            *said,
            {"role": "assistant", "content": "A"},
        ]
    }


def checked(tmp_path: Path, row: dict[str, Any]) -> Checked:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(row), "utf-8")
    return check([path])


def answered(found: Checked) -> list[str]:
    """The names of the calls in the order in which they were answered."""
    (example,) = found.examples
    assert isinstance(example, Conversation)
    calls = example.messages[1].tool_calls
    ids = [call.id for call in calls]
    assert len(set(ids)) == len(ids) and all(ids)
    names = {call.id: call.name for call in calls}
    return [names[message.tool_call_id or ""] for message in example.messages if message.role == "tool"]


@pytest.mark.parametrize(
    ("ids", "answers"),
    [
        (["", ""], ["", ""]),
        ([" ", "　"], ["", None]),
        ([None, None], [..., ...]),
        ([..., ...], [..., ...]),
        ([..., ...], ["x", "y"]),
        (["a", "b"], [..., ...]),
        (["a", "b"], ["", ""]),
        (["a", "a"], ["a", "a"]),
        (["a", "a"], [..., ...]),
        ([True, {}], [[], False]),
        (["a", ""], ["a", ""]),
    ],
)
def test_where_no_id_tells_the_order_does_and_it_is_said(tmp_path: Path, ids: list[Any], answers: list[Any]) -> None:
    found = checked(tmp_path, two_calls(ids, answers))
    assert answered(found) == ["f", "g"]
    assert {p.code for p in found.ledger.warnings} == {"tool-ids"}


@pytest.mark.parametrize(
    ("ids", "answers"), [([7, 8], [8, 7]), ([7, 8], ["8", "7"]), (["7", "8"], [8, 7]), ([7.0, 8.0], [8, "7"])]
)
def test_numbers_are_ids_too_and_it_is_said(tmp_path: Path, ids: list[Any], answers: list[Any]) -> None:
    found = checked(tmp_path, two_calls(ids, answers))
    assert answered(found) == ["g", "f"]
    assert [p.code for p in found.ledger.warnings] == ["tool-ids"]


def test_ids_that_fit_are_followed_without_a_word(tmp_path: Path) -> None:
    found = checked(tmp_path, two_calls(["a", "b"], ["b", "a"]))
    assert answered(found) == ["g", "f"] and not found.ledger.warnings


def test_an_id_of_no_call_is_told_apart_from_an_answer_to_none(tmp_path: Path) -> None:
    (problem,) = checked(tmp_path, two_calls(["a", "b"], ["a", "z"])).ledger.set_aside
    assert problem.code == "tool-call-invalid" and "z" in problem.message
    row = two_calls(["a", "b"], ["a", "b"])
    row["messages"].insert(4, {"role": "tool", "content": "3"})
    (problem,) = checked(tmp_path, row).ledger.set_aside
    assert problem.code == "tool-call-invalid" and "no call" in problem.message


def test_an_id_used_again_in_a_later_turn_means_the_later_call(tmp_path: Path) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    turn = [{"role": "assistant", "tool_calls": [call]}, {"role": "tool", "content": "1", "tool_call_id": "c"}]
    row = {"messages": [{"role": "user", "content": "U"}, *turn, *turn, {"role": "assistant", "content": "A"}]}
    found = checked(tmp_path, row)
    assert found.ledger.rows_used == 1 and not found.ledger.warnings


def test_formats_without_ids_miss_none(tmp_path: Path) -> None:
    turns = [
        {"from": "human", "value": "U"},
        {"from": "function_call", "value": '[{"name": "f", "arguments": {}}, {"name": "g", "arguments": {}}]'},
        {"from": "observation", "value": "1"},
        {"from": "observation", "value": "2"},
        {"from": "gpt", "value": "A"},
    ]
    found = checked(tmp_path, {"conversations": turns})
    assert answered(found) == ["f", "g"] and not found.ledger.warnings
    legacy = [
        {"role": "user", "content": "U"},
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": "1"},
        {"role": "assistant", "content": "A"},
    ]
    found = checked(tmp_path, {"messages": legacy})
    assert answered(found) == ["f"] and not found.ledger.warnings


def test_a_key_within_a_call_is_named(tmp_path: Path) -> None:
    row = two_calls(["a", "b"], ["a", "b"])
    row["messages"][1]["tool_calls"][0]["function"]["argumnets"] = "{}"
    (warning,) = checked(tmp_path, row).ledger.warnings
    assert warning.code == "unknown-key" and "argumnets" in warning.message


def test_arguments_may_be_called_parameters_and_a_call_may_be_text(tmp_path: Path) -> None:
    given = {"name": "f", "parameters": {"a": 1}}
    for message in (
        {"role": "assistant", "content": None, "tool_calls": [{"id": "x", "function": given}]},
        {"role": "assistant", "content": None, "function_call": given},
        {"role": "assistant", "content": None, "function_call": json.dumps(given)},
        {"from": "function_call", "value": json.dumps(given)},
    ):
        path = tmp_path / "a.jsonl"
        key, asks = ("conversations", {"from": "human", "value": "q"}) if "from" in message else ("messages", QUESTION)
        path.write_text(json.dumps({key: [asks, message]}) + "\n", "utf-8")
        found = check([path])
        (example,) = found.examples
        (made,) = example.messages[1].tool_calls  # type: ignore[union-attr]
        assert (made.name, json.loads(made.arguments)) == ("f", {"a": 1}) and not found.ledger.warnings


@pytest.mark.parametrize("blank", ["null", "[]", "", " ", None])
def test_a_blank_function_call_is_none(tmp_path: Path, blank: Any) -> None:
    path = tmp_path / "a.jsonl"
    reply = {"role": "assistant", "content": "a", "function_call": blank}
    path.write_text(json.dumps({"messages": [QUESTION, reply]}) + "\n", "utf-8")
    found = check([path])
    assert found.examples[0].messages[1].tool_calls == ()  # type: ignore[union-attr]
