"""A row as graders see it: the same in training on rewards and in evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sodate.api import evaluation
from sodate.core.types import Conversation, Message, Preference, TaskItem
from sodate.data import tasks
from sodate.data.examples import ParsedRow, read_examples
from sodate.grade import parse_grader
from sodate.train import rollout_setup
from tests.farm import write_rows

CALL = {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Ube"}'}}
ASKED = {"role": "user", "content": "Weather in Ube?"}


def read_one(row: dict[str, Any], tmp_path: Path) -> Any:
    (loaded,) = read_examples(write_rows(tmp_path / "rows.jsonl", [row]))[1]
    assert isinstance(loaded, ParsedRow)
    return loaded.example


def test_a_call_is_what_its_row_wants_not_silence(tmp_path: Path) -> None:
    example = read_one({"messages": [ASKED, {"role": "assistant", "tool_calls": [CALL]}]}, tmp_path)
    (task,) = rollout_setup.takes(example)
    assert isinstance(task, TaskItem)
    wanted = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Ube"}}\n</tool_call>'
    assert tasks.reference(task) == wanted
    (items, _) = evaluation.read_items(tmp_path / "rows.jsonl", None, None, None, None)
    assert items[0].reference == wanted and items[0].item == task.item
    exact = parse_grader("exact")
    assert [exact(reply, tasks.reference(task), task.item).score for reply in ("", wanted)] == [0.0, 1.0]


def test_a_row_s_other_columns_reach_its_grader(tmp_path: Path) -> None:
    tests = ["assert add(1, 2) == 3"]
    said = [{"role": "user", "content": "Write add."}, {"role": "assistant", "content": "def add(a, b): return a + b"}]
    example = read_one({"messages": said, "tests": tests, "level": 2}, tmp_path)
    assert isinstance(example, Conversation)
    (task,) = rollout_setup.takes(example)
    assert isinstance(task, TaskItem)
    assert task.item == {"tests": tests, "level": 2, "reference_answer": said[1]["content"]}
    pair = read_one({"prompt": "Write add.", "completion": "no", "tests": tests}, tmp_path)
    assert rollout_setup.takes(pair)[0].item["tests"] == tests  # type: ignore[union-attr]


def test_an_answer_that_is_no_text_is_compared_as_json() -> None:
    asked = (Message("user", "?"),)
    assert tasks.reference(TaskItem(asked, {"reference_answer": {"k": ["é"]}})) == '{"k": ["é"]}'
    assert tasks.reference(TaskItem(asked, {"reference_answer": ""})) == ""
    assert tasks.reference(TaskItem(asked, {"answer": "x"})) is None


@pytest.mark.parametrize(
    "example",
    [
        Preference((Message("user", "?"),), (Message("assistant", "a"),), (Message("assistant", "b"),)),
        Conversation((Message("assistant", "text"),)),
        Conversation((Message("user", "?"),)),
    ],
)
def test_where_no_reply_is_the_right_one_there_is_no_task(example: Any) -> None:
    assert tasks.as_task(example) is None and rollout_setup.takes(example) == ()
