"""One example per format people have, and what each becomes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import sodate
from sodate.cli import app
from sodate.core.errors import SodateError, UsageError
from sodate.core.recipe import load_recipe
from sodate.core.types import Conversation, Example, Message, Preference, TaskItem, ToolCall
from sodate.data import check
from sodate.data.examples import read_examples
from sodate.data.formats import NoFormatError

U, A, A0 = Message("user", "U"), Message("assistant", "A"), Message("assistant", "A", weight=0.0)
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
        ({"prompt": "U", "response": "A", "score": 1}, "prompt-completion (prompt, response)", (U, A)),
        ({"Question": "U", "Answer": "A"}, "prompt-completion (Question, Answer)", (U, A)),
        ({"質問": "U", "回答": "A", "system": "S"}, "prompt-completion (質問, 回答)", (Message("system", "S"), U, A)),
        ({"input": "U", "output": "A"}, "prompt-completion (input, output)", (U, A)),
        ({"text": "U", "label": "A"}, "prompt-completion (text, label)", (U, A)),
        ({"prompt": [UD], "completion": [AD]}, "trl-conversational", (U, A)),
        ({"prompt": [UD, AD, UD], "completion": [AD]}, "trl-conversational", (U, A0, U, A)),
        ({"prompt": [UD, {**AD, "weight": 1}, UD], "completion": [AD]}, "trl-conversational", (U, A, U, A)),
        ({"instruction": "U", "input": "", "output": "A"}, "alpaca", (U, A)),
        ({"instruction": "I", "input": "X", "output": "A"}, "alpaca", (Message("user", "I\n\nX"), A)),
        ({"instruction": "U", "output": "A", "history": [["U", "A"]]}, "alpaca", (U, A0, U, A)),
        ({"instruction": "U", "output": "A", "history": "[]", "system": "S"}, "alpaca", (Message("system", "S"), U, A)),
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
        ({"prompt": "U", "answer": "5", "reference_answer": 5}, {"answer": "5", "reference_answer": 5}),
        ({"messages": [UD], "answer": "5"}, {"answer": "5"}),
        ({"prompt": [UD], "answer": "5"}, {"answer": "5"}),
    ],
)
def test_task_formats(row: dict[str, Any], item: dict[str, Any], tmp_path: Path) -> None:
    found, example = read_one(row, tmp_path)
    assert found == "task"
    assert isinstance(example, TaskItem) and (example.prompt, example.item) == ((U,), item)


@pytest.mark.parametrize("row", [{"prompt": "U"}, {"prompt": [UD], "id": 7}])
def test_prompts_alone_are_tasks_for_rewards_that_need_nothing_else(row: dict[str, Any], tmp_path: Path) -> None:
    found, example = read_one(row, tmp_path)
    assert found == "prompts"
    assert isinstance(example, TaskItem) and example.prompt == (U,)


def test_columns_map_any_other_format(tmp_path: Path) -> None:
    row = {"質問文": "U", "回答文": "A", "番号": 3}
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(row), "utf-8")
    (aside,) = check([path]).ledger.set_aside
    assert aside.code == "unknown-format" and "質問文, 回答文, 番号" in aside.message
    assert "--columns prompt=質問文,completion=回答文" in aside.message
    with pytest.raises(NoFormatError, match="質問文, 回答文, 番号"):
        read_examples(path)
    name, example = read_one(row, tmp_path, columns={"prompt": "質問文", "completion": "回答文"})
    assert isinstance(example, Conversation) and (name, example.messages) == ("prompt-completion", (U, A))
    name, example = read_one(row, tmp_path, columns={"prompt": "質問文", "reference_answer": "番号"})
    assert isinstance(example, TaskItem) and example.item == {"回答文": "A", "reference_answer": 3}
    where = {"file": "a.md", "passage": "A is."}  # what answers it is kept for `data with-context`, also by a ladder
    name, example = read_one({**row, **where}, tmp_path, columns={"prompt": "質問文", "completion": "回答文"})
    assert isinstance(example, Conversation) and where.items() <= example.item.items()
    name, example = read_one({"file": "U", "q": "A"}, tmp_path, columns={"prompt": "file", "completion": "q"})
    assert isinstance(example, Conversation) and (example.messages, "file" in example.item) == ((U, A), False)
    name, example = read_one({"q": "U", "label": 1}, tmp_path, columns={"prompt": "q", "completion": "label"})
    assert isinstance(example, Conversation) and example.messages[-1].content == "1"
    with pytest.raises(SodateError, match=r"no column frage, antwort\. Columns found: q, label"):
        check([path], columns={"prompt": "frage", "completion": "antwort"})


def test_conversations_may_stand_beside_a_table_whose_columns_are_named(tmp_path: Path) -> None:
    named = {"system": "指示", "prompt": "質問文", "completion": "回答文"}
    table, chats = tmp_path / "a.csv", tmp_path / "b.jsonl"
    table.write_text("指示,質問文,回答文\nS,U,A\nS,U2,A2\n", "utf-8")
    row = {"messages": [{"role": "user", "content": "U"}, {"role": "assistant", "content": "A"}]}
    chats.write_text(json.dumps(row), "utf-8")
    _, example = read_one(row, tmp_path, columns=named)
    assert isinstance(example, Conversation) and example.messages == (U, A)
    checked = check([table], against=chats, columns=named)
    assert checked.ledger.rows_used == 1 and checked.ledger.rows_aside == 1
    chats.write_text(json.dumps({**row, "質問文": "U"}), "utf-8")
    with pytest.raises(SodateError, match="no column 指示, 回答文"):
        read_examples(chats, named)


def test_an_unpaired_preference_is_not_trained_as_if_it_were_good(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"prompt": "U", "response": "A", "label": False}))
    assert [p.code for p in check([path]).ledger.set_aside] == ["unpaired-preference"]


def formats_and_codes(tmp_path: Path, rows: list[dict[str, Any]]) -> tuple[str, list[tuple[int, str]]]:
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    checked = check([path])
    return checked.format, [(p.line, p.code) for p in checked.ledger.set_aside]


def test_a_verdict_in_a_file_without_verdicts_is_not_trained_as_if_it_were_good(tmp_path: Path) -> None:
    texts: list[dict[str, Any]] = [{"prompt": f"U{n}", "completion": "A"} for n in range(5)]
    lists = [
        {"prompt": [{"role": "user", "content": row["prompt"]}], "completion": [{"role": "assistant", "content": "A"}]}
        for row in texts
    ]
    for rows, name in ((texts, "prompt-completion"), (lists, "trl-conversational")):
        rows[3]["label"], rows[4]["label"] = 0, "False"
        expected = [(4, "unpaired-preference"), (5, "unpaired-preference")]
        assert formats_and_codes(tmp_path, rows) == (name, expected)


@pytest.mark.parametrize(
    "labels", [["billing", "returns", "yes"], [0, 1, 2], ["0", "1", "7"], [0.0, 1.0, 2.0], [None, "", "billing"]]
)
def test_labels_that_sort_rows_judge_no_reply(labels: list[Any], tmp_path: Path) -> None:
    rows = [{"prompt": f"U{n}", "completion": "A", "label": label} for n, label in enumerate(labels)]
    assert formats_and_codes(tmp_path, rows) == ("prompt-completion", [])
    # A plain true or false stays a verdict also there.
    rows.append({"prompt": "V", "completion": "A", "label": "true"})
    assert formats_and_codes(tmp_path, rows) == ("prompt-completion", [(4, "unpaired-preference")])


def test_a_label_alone_with_its_text_is_the_reply_whatever_it_says(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"text": f"U{n}", "label": label} for n, label in enumerate(("0", "1", "true"))]
    assert formats_and_codes(tmp_path, rows) == ("prompt-completion (text, label)", [])


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("openai-chat", {"messages": [{"role": "user", "content": "U"}, {"role": "assistant", "content": "A"}]}),
        ("sharegpt", {"conversations": [{"from": "human", "value": "U"}, {"from": "gpt", "value": "A"}]}),
        ("alpaca", {"instruction": "U", "output": "A"}),
    ],
)
def test_a_verdict_beside_a_conversation_is_not_trained_as_if_it_were_good(
    name: str, row: dict[str, Any], tmp_path: Path
) -> None:
    # 0 and 1 may be classes here. As they are the same text, all that may be trained is the first.
    rows = [{**row, "label": label} for label in ("spam", 0, 1.0, True, "False", None)]
    found, codes = formats_and_codes(tmp_path, rows)
    assert found == name
    assert [code for _, code in codes] == [
        *("exact-duplicate", "exact-duplicate", "unpaired-preference", "unpaired-preference", "exact-duplicate")
    ]


def test_the_columns_suggested_keep_a_verdict(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    for label, more in (("0", ",label=label"), (1, ",label=label"), ("billing", "")):
        path.write_text(json.dumps({"prompt": "U", "response": "A", "label": label}))
        with pytest.raises(NoFormatError) as caught:
            read_examples(path)
        assert (caught.value.fix or "").endswith(f"--columns prompt=prompt,completion=response{more}")


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "U", "response": "A", "answer": "B"},  # two replies
        {"prompt": "U", "question": "V", "response": "A"},  # two prompts
        {"context": "C", "question": "U", "answer": "A"},  # the context would be lost
        {"instruction": "I", "input": None, "response": "A"},
        {"question": "U", "answer": ["A"]},
    ],
)
def test_an_ambiguous_pair_is_not_guessed(row: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(row) + "\n" + json.dumps(row) + "\n{\n")
    checked = check([path])
    problems = [(p.line, p.code) for p in checked.ledger.set_aside]
    assert problems == [(1, "unknown-format"), (2, "unknown-format"), (3, "invalid-json")]
    assert "--columns prompt=" in checked.ledger.set_aside[0].message
    document = checked.to_json()
    assert (document["format"], document["rows_in"], document["rows_used"]) == ("", 3, 0)
    assert json.dumps(document) and checked.examples == []


def test_a_broken_history_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    for history in ("no JSON", "x", [["q"]], [["q", 1]], {"q": "a"}):
        path.write_text(json.dumps({"instruction": "U", "output": "A", "history": history}))
        assert [p.code for p in check([path]).ledger.set_aside] == ["bad-type"], history


def test_a_recipe_names_columns_as_the_command_line_does(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("番号,質問文,回答文\n1,営業時間は?,十時からです。\n", "utf-8")
    written = tmp_path / "r.yaml"
    written.write_text("model: m\ndata: a.csv\ncolumns: 'prompt=質問文, completion=回答文'\n", "utf-8")
    recipe = load_recipe(written, {})
    assert recipe.columns == {"prompt": "質問文", "completion": "回答文"}
    assert recipe == load_recipe(written, {"columns": recipe.columns})
    (example,) = check([Path(p) for p in recipe.data], columns=recipe.columns).examples
    assert isinstance(example, Conversation)
    assert [m.content for m in example.messages] == ["営業時間は?", "十時からです。"]
    with pytest.raises(UsageError, match="prompt=COLUMN,completion=COLUMN"):
        load_recipe(written, {"columns": "prompt"})


def test_train_takes_columns_and_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []

    def fake(recipe: Any, on_event: Any) -> dict[str, Any]:
        given.append((recipe.columns, recipe.encoding))
        return {}

    monkeypatch.setattr(sodate, "train", fake)
    words = ["train", "--model", "m", "--data", "a.csv", "--json", "--columns", "prompt=質問,completion=回答"]
    done = CliRunner().invoke(app, [*words, "--encoding", "shift_jis"])
    assert done.exit_code == 0 and given == [({"prompt": "質問", "completion": "回答"}, "shift_jis")]


def test_json_is_printed_when_no_format_fits(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": "x", "b": "y"}\n')
    done = CliRunner().invoke(app, ["data", "check", str(path), "--json"])
    document = json.loads(done.stdout)
    assert done.exit_code == 1 and [p["code"] for p in document["set_aside"]] == ["unknown-format"]
    assert CliRunner().invoke(app, ["data", "check", str(path)]).exit_code == 1


@pytest.mark.parametrize("name", ["system_prompt", "System", "system message", "システム", "ｼｽﾃﾑプロンプト"])
@pytest.mark.parametrize(
    "row",
    [
        {"messages": [UD, AD]},
        {"conversations": [{"from": "human", "value": "U"}, {"from": "gpt", "value": "A"}]},
        {"prompt": "U", "completion": "A"},
        {"prompt": [UD], "completion": [AD]},
        {"質問": "U", "回答": "A"},
        {"プロンプト": "U", "応答": "A"},
        {"instruction": "U", "output": "A"},
        {"user": "U", "assistant": "A"},
    ],
)
def test_a_system_text_is_not_lost_under_another_of_its_names(row: dict[str, Any], name: str, tmp_path: Path) -> None:
    _, example = read_one({**row, name: "S"}, tmp_path)
    assert isinstance(example, Conversation)
    assert example.messages == (Message("system", "S"), U, A)
    _, task = read_one({"prompt": "U", "reference_answer": "A", name: "S"}, tmp_path)
    assert isinstance(task, TaskItem) and task.prompt == (Message("system", "S"), U)
    _, pair = read_one({"prompt": "U", "chosen": "A", "rejected": "B", name: "S"}, tmp_path)
    assert isinstance(pair, Preference) and pair.prompt == (Message("system", "S"), U)
