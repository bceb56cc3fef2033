"""`sodate eval --replies`: answers made elsewhere, graded and compared without any model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import sodate
from sodate.api import recorded
from sodate.core.errors import SodateError, UsageError
from sodate.core.types import Message, Source, ToolCall
from sodate.data.tasks import reply_text
from sodate.evaluate.items import EvalItem
from tests import tiny


@pytest.fixture(autouse=True)
def _place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SODATE_LANG", "en")
    monkeypatch.setenv("SODATE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


def written(path: str, rows: list[dict[str, Any]]) -> str:
    Path(path).write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


def held_out(count: int = 20) -> str:
    return written("held.jsonl", [{"prompt": f"{i} + 1?", "completion": str(i + 1)} for i in range(count)])


def test_two_files_of_replies_are_compared_pairwise_without_a_model() -> None:
    data = held_out()
    old = written("old.jsonl", [{"reply": str(i + 1) if i < 4 else "?"} for i in range(20)])
    new = written("new.jsonl", [{"line": i + 1, "reply": i + 1} for i in reversed(range(20))])
    done = sodate.evaluate([], data, "exact", replies=[f"{old}:last year", new])
    document = done.result.to_json()
    assert [(row["model"], row["mean"]) for row in document["results"]] == [("last year", 0.2), ("new", 1.0)]
    (row,) = document["comparisons"]
    assert (row["candidate"], row["baseline"], row["fixed"], row["broken"]) == ("new", "last year", 16, 0)
    assert row["verdict"] == "better"
    lines = (done.report.parent / "replies.jsonl").read_text("utf-8").splitlines()
    assert json.loads(lines[20]) == {"model": "new", "item": 0, "reply": "1", "scores": {"exact": 1.0}}
    assert "sha256" in done.report.read_text("utf-8")


def test_replies_stand_beside_a_model_and_may_be_its_baseline(tmp_path: Path) -> None:
    sodate.pull(str(tiny.llama_folder(tmp_path / "tiny")))
    held_out(4)
    old = written("old.jsonl", [{"reply": str(i + 1)} for i in range(4)])
    done = sodate.evaluate(["tiny"], "held.jsonl", "exact", replies=old, max_new_tokens=2)
    assert [(one.candidate, one.baseline) for one in done.result.comparisons] == [("old", "tiny")]
    done = sodate.evaluate(["tiny"], "held.jsonl", "exact", replies=old, baseline="old", max_new_tokens=2)
    assert [(one.candidate, one.baseline) for one in done.result.comparisons] == [("tiny", "old")]
    with pytest.raises(UsageError, match="needs a model"):
        sodate.evaluate(["tiny"], "held.jsonl", "exact", replies=old, baseline="old", shots="held.jsonl")
    with pytest.raises(UsageError, match="called 'tiny'"):
        sodate.evaluate(["tiny"], "held.jsonl", "exact", replies=f"{old}:tiny")


def test_nobody_to_evaluate_is_said() -> None:
    with pytest.raises(UsageError, match="no model to evaluate"):
        sodate.evaluate([], held_out(), "exact")


ITEMS = [EvalItem((), "a", Source("held.jsonl", line)) for line in (1, 2, 4)]


@pytest.mark.parametrize(
    ("rows", "line", "said"),
    [
        ([{"reply": "a"}], None, "replies: 1, for 3 items"),
        ([{"reply": "a"}] * 4, None, "replies: 4, for 3 items"),
        ([{"line": 1, "reply": "a"}, {"line": 3, "reply": "a"}], 2, "no item on line 3"),
        ([{"line": 1, "reply": "a"}, {"line": 1, "reply": "b"}], 2, "answered twice"),
        ([{"line": 1, "reply": "a"}, {"line": 4, "reply": "a"}], None, "the first is held.jsonl:2"),
        ([{"line": 1, "reply": "a"}, {"reply": "a"}], 2, "not a line number"),
        ([{"line": True, "reply": "a"}], 1, "not a line number"),
        ([{"answer": "a"}], 1, "has no reply"),
        ([{"reply": None}], 1, "has no reply"),
    ],
)  # fmt: skip
def test_a_row_that_fits_no_item_is_named(rows: list[dict[str, Any]], line: int | None, said: str) -> None:
    path = Path(written("old.jsonl", rows))
    with pytest.raises(SodateError, match=said) as refused:
        recorded.read(path, ITEMS, None)
    assert (refused.value.code, refused.value.file, refused.value.line) == ("wrong_rows", str(path), line)


def test_the_first_items_take_the_first_replies_or_those_of_their_lines() -> None:
    rows = [{"reply": text} for text in "abcde"]
    assert recorded.read(Path(written("a.jsonl", rows)), ITEMS, None, some=True) == ["a", "b", "c"]
    rows = [{"line": str(n), "reply": {"role": "assistant", "content": f"r{n}"}} for n in (9, 4, 2, 1)]
    assert recorded.read(Path(written("b.jsonl", rows)), ITEMS, None, some=True) == ["r1", "r2", "r4"]


def read_one(reply: Any) -> str:
    (text,) = recorded.read(Path(written("r.jsonl", [{"reply": reply}])), ITEMS[:1], None)
    return text


@pytest.mark.parametrize(
    "reply",
    [
        "<think>\nhm\n</think>\n\nbilling",
        "hm\n</think>\n\nbilling",  # the generation prompt had the first mark
        "<thinking>hm</thinking>billing",
        "[THINK]hm[/THINK]billing",
        "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>billing",
        {"role": "assistant", "content": "billing", "reasoning_content": "hm"},
        {"role": "assistant", "content": "<think>hm</think>billing"},
    ],
)
def test_the_answer_is_graded_and_not_what_was_thought_before_it(reply: Any) -> None:
    assert read_one(reply) == "billing"


def test_a_thought_without_an_end_has_no_answer_and_marks_within_an_answer_stay() -> None:
    for reply, answer in (("<think>hm", ""), ("Write <think> first.", "Write <think> first."), (" a < b", " a < b")):
        assert read_one(reply) == answer


def test_a_recorded_call_is_graded_as_references_have_it() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "post", "arguments": '{"text": "hi"}'}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    assert read_one(message) == reply_text(Message("assistant", "", (ToolCall("c", "post", '{"text": "hi"}'),)))


def test_a_name_is_what_follows_the_last_colon_unless_that_is_the_file(tmp_path: Path) -> None:
    (tmp_path / "a:b.jsonl").write_text("", "utf-8")
    assert recorded.named("a:b.jsonl") == (Path("a:b.jsonl"), "a:b")
    assert recorded.named("a:b.jsonl:c") == (Path("a:b.jsonl"), "c")
    assert recorded.named("gpt-4o.csv") == (Path("gpt-4o.csv"), "gpt-4o")
    assert recorded.named("x.csv:gpt-4o") == (Path("x.csv"), "gpt-4o")


def test_ten_thousand_replies_are_graded_in_one_pass_and_not_asked_of_anyone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time it takes stands in docs/graders.md; here, that nothing is loaded for it."""
    monkeypatch.setattr("sodate.api.evaluation.load", lambda name: pytest.fail("a model was loaded"))
    done = sodate.evaluate([], held_out(200), ["exact", "string_check:op=like"],
                           replies=written("r.jsonl", [{"reply": str(i)} for i in range(200)]))  # fmt: skip
    assert done.result.n == 200
