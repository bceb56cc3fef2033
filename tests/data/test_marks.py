"""Marks of other people's formats: obeyed where their meaning is known, named where it is not, alike in all formats."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sodate.api import contestants, evaluation
from sodate.core.types import Conversation, Message, Preference, TaskItem
from sodate.data import Checked, check, tasks
from sodate.data.compare import all_messages, said
from sodate.train import dpo, rollout_setup, sft

A, A0 = Message("assistant", "A"), Message("assistant", "A", weight=0.0)
Make = Callable[[dict[str, Any]], dict[str, Any]]

# A conversation of two turns in each format that has turns; the keys go to the first reply.
TALKS: dict[str, Make] = {
    "openai-chat": lambda keys: {
        "messages": [
            {"role": "user", "content": "U"},
            {"role": "assistant", "content": "A", **keys},
            {"role": "user", "content": "V"},
            {"role": "assistant", "content": "B"},
        ]
    },
    "sharegpt": lambda keys: {
        "conversations": [
            {"from": "human", "value": "U"},
            {"from": "gpt", "value": "A", **keys},
            {"from": "human", "value": "V"},
            {"from": "gpt", "value": "B"},
        ]
    },
    "trl-conversational": lambda keys: {
        "prompt": [{"role": "user", "content": "U"}],
        "completion": [
            {"role": "assistant", "content": "A", **keys},
            {"role": "user", "content": "V"},
            {"role": "assistant", "content": "B"},
        ],
    },
    "prompt-completion (question, answer)": lambda keys: {
        "question": "U",
        "answer": [
            {"role": "assistant", "content": "A", **keys},
            {"role": "user", "content": "V"},
            {"role": "assistant", "content": "B"},
        ],
    },
}


def checked(tmp_path: Path, *rows: dict[str, Any]) -> Checked:
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return check([path])


def first_reply(found: Checked) -> Message:
    (example,) = found.examples
    assert isinstance(example, Conversation)
    return example.messages[1]


LEFT_OUT = [("weight", 0), ("train", False), ("train", 0), ("training", False), ("trainable", False), ("loss", False)]
LEFT_OUT += [("loss_mask", 0), ("loss_mask", False), ("loss_weight", 0.0), ("masked", True), ("train", "false")]


@pytest.mark.parametrize("name", TALKS)
@pytest.mark.parametrize(("key", "value"), LEFT_OUT)
def test_a_turn_marked_as_not_trained_is_context_in_every_format(
    tmp_path: Path, name: str, key: str, value: Any
) -> None:
    found = checked(tmp_path, TALKS[name]({key: value}))
    assert found.format == name and first_reply(found) == A0 and not found.ledger.warnings
    trained = "true" if isinstance(value, str) else type(value)(1 - value)
    assert first_reply(checked(tmp_path, TALKS[name]({key: trained}))) == A
    assert first_reply(checked(tmp_path, TALKS[name]({key: None}))) == A


@pytest.mark.parametrize("name", TALKS)
@pytest.mark.parametrize(
    "keys", [{"weight": 2}, {"train": "perhaps"}, {"loss_mask": 0.5}, {"weight": 1, "train": False}]
)
def test_a_mark_that_cannot_be_obeyed_is_no_training_row(tmp_path: Path, name: str, keys: dict[str, Any]) -> None:
    (problem,) = checked(tmp_path, TALKS[name](keys)).ledger.set_aside
    assert problem.code == "bad-weight" and next(iter(keys)) in problem.message


@pytest.mark.parametrize("name", TALKS)
@pytest.mark.parametrize("key", ["mask", "train_detail", "colour", "weigth"])
def test_a_key_of_unknown_meaning_is_named_in_every_format(tmp_path: Path, name: str, key: str) -> None:
    (warning,) = checked(tmp_path, TALKS[name]({key: 1})).ledger.warnings
    assert warning.code == "unknown-key" and key in warning.message


@pytest.mark.parametrize("name", TALKS)
@pytest.mark.parametrize("key", ["reasoning_content", "reasoning", "thinking"])
def test_what_was_thought_is_a_part_of_its_own_in_every_format(tmp_path: Path, name: str, key: str) -> None:
    found = checked(tmp_path, TALKS[name]({key: "hm"}))
    assert first_reply(found) == Message("assistant", "A", reasoning="hm") and not found.ledger.warnings
    second = "reasoning" if key != "reasoning" else "thinking"
    assert first_reply(checked(tmp_path, TALKS[name]({key: "hm", second: "hm"}))).reasoning == "hm"
    both = checked(tmp_path, TALKS[name]({key: "hm", second: "no"}))
    assert [p.code for p in both.ledger.warnings] == ["unknown-key"]


def test_what_was_thought_stands_apart_in_parts_and_in_columns_too(tmp_path: Path) -> None:
    parts = [{"type": "thinking", "thinking": "hm", "signature": ""}, {"type": "text", "text": "A"}]
    chat = {"messages": [{"role": "user", "content": "U"}, {"role": "assistant", "content": parts}]}
    for row in (
        chat,
        {"prompt": "U", "completion": "A", "reasoning": "hm"},
        {"質問": "U", "回答": "A", "reasoning_content": "hm"},
        {"instruction": "U", "output": "A", "thinking": "hm"},
        {"user": "U", "assistant": "A", "reasoning": "hm"},
    ):
        assert first_reply(checked(tmp_path, row)) == Message("assistant", "A", reasoning="hm"), row
    thinks = {"role": "assistant", "content": "A", "reasoning": "hm"}
    (pair,) = checked(tmp_path, {"prompt": "U", "chosen": [thinks], "rejected": "B"}).examples
    assert isinstance(pair, Preference) and pair.chosen == (Message("assistant", "A", reasoning="hm"),)


COLUMNS: list[dict[str, Any]] = [
    {"prompt": "U", "completion": "A"}, {"question": "U", "answer": "A"}, {"instruction": "U", "output": "A"},
    {"user": "U", "assistant": "A"}, {"input": "U", "wanted": "A", "unwanted": ""},
    {"prompt": "U", "completion": "A", "label": True},
]  # fmt: skip
OTHERS: list[dict[str, Any]] = [
    {"prompt": "U", "chosen": "A", "rejected": "B"}, {"input": "U", "wanted": "A", "unwanted": "B"},
    {"prompt": "U", "replies": ["A", "B"], "ranks": [1, 2]},
    {"messages": [{"role": "user", "content": "U"}, {"role": "assistant", "content": "A"}]},
    {"conversations": [{"from": "human", "value": "U"}, {"from": "gpt", "value": "A"}]},
]  # fmt: skip


def test_a_column_of_thoughts_is_read_or_named_in_every_format(tmp_path: Path) -> None:
    for row in COLUMNS:
        found = checked(tmp_path, {**row, "thinking": "hm"})
        assert [one.reasoning for one in all_messages(found.examples[0])] == ["", "hm"] and not found.ledger.warnings
    for row in OTHERS:
        (warning,) = checked(tmp_path, {**row, "thinking": "hm"}).ledger.warnings
        assert warning.code == "unknown-key" and "thinking" in warning.message


def test_a_history_is_context_or_named_in_every_format(tmp_path: Path) -> None:
    for row in (*COLUMNS, *OTHERS[:3]):
        for history in ([["H", "I"]], '[["H", "I"]]'):
            found = checked(tmp_path, {**row, "history": history})
            said = [one.content for one in all_messages(found.examples[0])]
            assert said[:4] == ["H", "I", "U", "A"] and not found.ledger.warnings
    for row in OTHERS[3:]:
        (warning,) = checked(tmp_path, {**row, "history": [["H", "I"]]}).ledger.warnings
        assert warning.code == "unknown-key" and "history" in warning.message
    (warning,) = checked(tmp_path, {**COLUMNS[0], "history": "a customer since 2010"}).ledger.warnings
    assert "history" in warning.message


@pytest.mark.parametrize("good", [True, False, "true", 1])
def test_a_verdict_under_another_name_is_never_trained_as_if_it_were_good(tmp_path: Path, good: Any) -> None:
    for row in (*COLUMNS[:4], *OTHERS[3:]):
        assert [p.code for p in checked(tmp_path, {**row, "kto_tag": good}).ledger.set_aside] == ["unpaired-preference"]


def test_a_mark_on_a_turn_that_is_never_trained_may_only_say_so(tmp_path: Path) -> None:
    def row(keys: dict[str, Any]) -> dict[str, Any]:
        said = [{"from": "human", "value": "U", **keys}, {"from": "gpt", "value": "A"}]
        return {"conversations": said}

    assert first_reply(checked(tmp_path, row({"train": False}))) == A
    for keys in ({"train": True}, {"weight": 0}, {"masked": False}):
        assert [p.code for p in checked(tmp_path, row(keys)).ledger.set_aside] == ["bad-weight"]


def test_a_call_keeps_the_mark_of_its_turn(tmp_path: Path) -> None:
    turns = [
        {"from": "human", "value": "U"},
        {"from": "function_call", "value": '{"name": "f", "arguments": {}}', "train": False},
        {"from": "observation", "value": "1"},
        {"from": "gpt", "value": "A"},
    ]
    assert first_reply(checked(tmp_path, {"conversations": turns})).weight == 0.0


@pytest.mark.parametrize(("key", "value"), [("weight", 0), ("train", False), ("loss_mask", 0), ("masked", True)])
def test_a_row_marked_as_not_trained_is_set_aside_in_every_format(tmp_path: Path, key: str, value: Any) -> None:
    for row in (
        {"prompt": "U", "completion": "A"},
        {"question": "U", "answer": "A"},
        {"instruction": "U", "output": "A"},
        {"text": "A"},
        {"prompt": "U", "chosen": "A", "rejected": "B"},
        {"prompt": "U", "completion": "A", "label": True},
        {"input": "U", "wanted": "A", "unwanted": "B"},
        TALKS["openai-chat"]({}),
        TALKS["sharegpt"]({}),
    ):
        found = checked(tmp_path, {**row, key: value})
        assert [p.code for p in found.ledger.set_aside] == ["all-weights-zero"], row
    (kept,) = checked(tmp_path, {"prompt": "U", "completion": "A", "weight": 0.5}).ledger.warnings
    assert kept.code == "unknown-key"


def chat_left_out(keys: dict[str, Any]) -> dict[str, Any]:
    row = TALKS["openai-chat"]({})
    row["messages"][3].update(keys)
    return row


def sharegpt_left_out(keys: dict[str, Any]) -> dict[str, Any]:
    row = TALKS["sharegpt"]({})
    row["conversations"][3].update(keys)
    return row


@pytest.mark.parametrize("make", [chat_left_out, sharegpt_left_out])
@pytest.mark.parametrize("keys", [{"weight": 0}, {"train": False}])
def test_a_reply_left_out_of_training_is_no_reference_task_or_example(
    tmp_path: Path, make: Make, keys: dict[str, Any]
) -> None:
    found = checked(tmp_path, make(keys))
    (example,) = found.examples
    assert isinstance(example, Conversation)
    asked = (Message("user", "U"),)
    assert (example.prompt, example.reply) == (asked, A)
    (task,) = rollout_setup.takes(example)
    assert isinstance(task, TaskItem) and (task.prompt, tasks.reference(task)) == (asked, "A")
    assert said(example) == said(Conversation((*asked, A)))
    (item,), _ = evaluation.read_items(tmp_path / "a.jsonl", None, None, None, None)
    assert (item.prompt, item.reference) == (asked, "A")
    assert contestants.examples_in(tmp_path / "a.jsonl", None, None) == (*asked, A)
    assert found.stats["reply_chars"]["total"] == 1


def test_a_left_out_reply_of_a_pair_teaches_nothing(tmp_path: Path) -> None:
    for side in ("chosen", "rejected"):
        row = {
            "prompt": "U",
            "chosen": "A",
            "rejected": "B",
            side: [{"role": "assistant", "content": "C", "weight": 0}],
        }
        assert [p.code for p in checked(tmp_path, row).ledger.set_aside] == ["all-weights-zero"]


WANTED = {"入力": "U", "望ましい出力": "A", "避けたい出力": "B"}


@pytest.mark.parametrize(
    "row", [WANTED, {"input": "U", "wanted": "A", "unwanted": "B"}, {"Prompt": "U", "Wanted": "A", "UNWANTED": "B"}]
)
def test_one_file_of_wanted_and_unwanted_replies_serves_sft_and_dpo(tmp_path: Path, row: dict[str, str]) -> None:
    alone = dict(zip(row, ("V", "C", ""), strict=True))
    found = checked(tmp_path, row, alone)
    assert found.format == "preference-wanted" and not found.ledger.set_aside
    lessons = [lesson for example in found.examples for lesson in sft.METHOD.takes(example)]
    assert [lesson.messages for lesson in lessons] == [  # type: ignore[union-attr]
        (Message("user", "U"), A),
        (Message("user", "V"), Message("assistant", "C")),
    ]
    pairs = [pair for example in found.examples for pair in dpo.METHOD.takes(example)]
    assert [(p.chosen, p.rejected) for p in pairs] == [((A,), (Message("assistant", "B"),))]  # type: ignore[union-attr]
    assert [tasks.reference(task) for e in found.examples if (task := tasks.as_task(e))] == ["A", "C"]


def test_a_pair_of_which_one_is_only_better_is_nothing_for_sft(tmp_path: Path) -> None:
    (pair,) = checked(tmp_path, {"prompt": "U", "chosen": "A", "rejected": "B"}).examples
    assert sft.METHOD.takes(pair) == () and tasks.as_task(pair) is None


def test_a_missing_wanted_reply_is_named(tmp_path: Path) -> None:
    (problem,) = checked(tmp_path, WANTED, {**WANTED, "望ましい出力": "　"}).ledger.set_aside
    assert problem.code == "missing-column" and "望ましい出力" in problem.message
