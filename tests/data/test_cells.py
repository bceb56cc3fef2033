"""Text that is read a second time: as strictly as a row, for the same columns in every format and file."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from sodate.core.types import Conversation, Judgement, Message, Preference, Ranking, TaskItem
from sodate.data import Checked, check
from sodate.data.calls import tools_of
from sodate.data.cells import unfolded

U, A = {"role": "user", "content": "U"}, {"role": "assistant", "content": "A"}
B = {"role": "assistant", "content": "B"}
TOOL = {"type": "function", "function": {"name": "post", "parameters": {"type": "object"}}}


def jsonl(tmp_path: Path, *rows: Any) -> Checked:
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return check([path])


def table(tmp_path: Path, *rows: dict[str, Any]) -> Checked:
    """The rows as CSV, lists and objects as JSON text."""
    path = tmp_path / "a.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(
            {key: value if isinstance(value, str) else json.dumps(value) for key, value in row.items()} for row in rows
        )
    return check([path])


def codes(checked: Checked) -> list[str]:
    return [problem.code for problem in checked.ledger.set_aside]


def called(arguments: Any) -> list[dict[str, Any]]:
    call = {"id": "c1", "type": "function", "function": {"name": "post", "arguments": arguments}}
    return [U, {"role": "assistant", "content": None, "tool_calls": [call]}]


BROKEN = [
    (r'{"text": "hi \ud83d"}', "lone-surrogate"),
    (r'{"\udc00": 1}', "lone-surrogate"),
    (r'{"text": "a\u0000b"}', "nul"),
    ('{"n": NaN}', "bad-number"),
    ('{"n": [1, -Infinity]}', "bad-number"),
    ('{"n": 1e999}', "bad-number"),
    ('{"n": ' + "9" * 5000 + "}", "bad-number"),
    ('{"a": 1, "a": 2}', "duplicate-key"),
    ('{"a": {"b": 1, "b": 1}}', "duplicate-key"),
    ('{"a": ' + "[" * 200 + "]" * 200 + "}", "too-deep"),
]


@pytest.mark.parametrize(("text", "code"), BROKEN)
def test_what_a_row_may_not_hold_its_arguments_may_not_hold_either(tmp_path: Path, text: str, code: str) -> None:
    found = jsonl(tmp_path, {"messages": called(text)})
    assert codes(found) == [code]
    assert "arguments of post" in found.ledger.set_aside[0].message
    assert codes(table(tmp_path, {"messages": called(text)})) == [code]
    shared = [
        {"from": "human", "value": "U"},
        {"from": "function_call", "value": f'{{"name": "f", "arguments": {text}}}'},
    ]
    assert codes(jsonl(tmp_path, {"conversations": shared})) == [code]


@pytest.mark.parametrize(("text", "code"), BROKEN)
@pytest.mark.parametrize("column", ["tools", "functions", "history", "reference_answer", "tests"])
def test_nor_may_a_cell_that_holds_json(tmp_path: Path, text: str, code: str, column: str) -> None:
    row = {"reference_answer": {"prompt": "U"}, "tests": {"prompt": "U", "reference_answer": "x"}}.get(
        column, {"instruction": "U", "output": "A"}
    )
    for found in (table(tmp_path, {**row, column: text}), jsonl(tmp_path, {**row, column: text})):
        assert codes(found) == [code]
        assert column in found.ledger.set_aside[0].message


@pytest.mark.parametrize(
    ("column", "row"),
    [
        ("messages", {"messages": [U, A]}),
        ("conversations", {"conversations": [U, A]}),
        ("replies", {"prompt": "U", "replies": [[A], [B]], "ranks": [1, 2]}),
        ("prompt", {"prompt": [A, U], "completion": [A]}),
        ("completion", {"prompt": [U], "completion": [A]}),
        ("chosen", {"prompt": [U], "chosen": [A], "rejected": [B]}),
        ("rejected", {"prompt": [U], "chosen": [B], "rejected": [A]}),
    ],
)
@pytest.mark.parametrize(
    ("text", "code"),
    [("NaN", "bad-number"), (r'"\ud83d"', "lone-surrogate"), ('"x", "weight": 1, "weight": 1', "duplicate-key")],
)
def test_a_list_of_messages_in_any_column_is_read_strictly(
    tmp_path: Path, column: str, row: dict[str, Any], text: str, code: str
) -> None:
    cells = {key: json.dumps(value) for key, value in row.items()}
    found = jsonl(tmp_path, {**cells, column: cells[column].replace('"A"', text)})
    assert codes(found) == [code]
    assert column in found.ledger.set_aside[0].message


def test_the_place_of_a_broken_character_is_named(tmp_path: Path) -> None:
    (problem,) = jsonl(tmp_path, {"messages": [U, {**A, "content": "x\ud83d"}]}).ledger.set_aside
    assert problem.code == "lone-surrogate" and problem.message.startswith("messages[1].content: ")
    (problem,) = jsonl(tmp_path, {"messages": [U, {**A, "content": "x\0"}]}).ledger.set_aside
    assert problem.code == "nul" and problem.message.startswith("messages[1].content: ")


def test_what_the_ledger_quotes_can_be_printed_and_is_short(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    key = "k" * 5000
    path.write_text(f'{{"\\ud83d": 1, "\\ud83d": 2}}\n{{"{key}": 1, "{key}": 1}}\n', "utf-8")
    first, second = check([path]).ledger.set_aside
    assert [first.code, second.code] == ["duplicate-key"] * 2
    assert first.message.encode() and "\\ud83d" in first.message
    assert len(second.message) < 700


PAIR = {"prompt": [U], "chosen": [A], "rejected": [B]}


def test_message_lists_in_a_table_are_messages_in_every_format(tmp_path: Path) -> None:
    asked, good, bad = (Message("user", "U"),), (Message("assistant", "A"),), (Message("assistant", "B"),)
    (pair,) = table(tmp_path, PAIR).examples
    assert isinstance(pair, Preference) and (pair.prompt, pair.chosen, pair.rejected) == (asked, good, bad)
    (pair,) = table(tmp_path, {"chosen": [U, A], "rejected": [U, B]}).examples
    assert isinstance(pair, Preference) and (pair.prompt, pair.chosen, pair.rejected) == (asked, good, bad)
    (pair,) = table(tmp_path, {**PAIR, "prompt": "U", "chosen": A}).examples
    assert isinstance(pair, Preference) and (pair.prompt, pair.chosen) == (asked, good)
    row = {"input": {"messages": [U]}, "preferred_output": [A], "non_preferred_output": [B]}
    (pair,) = table(tmp_path, row).examples
    assert isinstance(pair, Preference) and (pair.prompt, pair.chosen, pair.rejected) == (asked, good, bad)
    for names in (("prompt", "completion"), ("question", "answer"), ("入力", "出力"), ("user", "assistant")):
        for reply in ([A], A, "A"):
            (row_,) = table(tmp_path, {names[0]: [U], names[1]: reply}).examples
            assert isinstance(row_, Conversation) and row_.messages == (*asked, *good)
    (ranking,) = table(tmp_path, {"prompt": [U], "replies": [[A], [B]], "ranks": [2, 1]}).examples
    assert isinstance(ranking, Ranking) and ranking.replies == (good, bad) and ranking.ranks == (2, 1)
    (judged,) = table(tmp_path, {"prompt": [U], "completion": [A], "label": "true"}).examples
    assert isinstance(judged, Judgement) and (judged.prompt, judged.reply) == (asked, good)
    (task,) = table(tmp_path, {"prompt": [U], "tests": ["assert f() == 1"]}).examples
    assert isinstance(task, TaskItem) and task.prompt == asked and task.item["tests"] == ["assert f() == 1"]
    (talk,) = table(
        tmp_path, {"conversations": [{"from": "human", "value": "U"}, {"from": "gpt", "value": "A"}]}
    ).examples
    assert isinstance(talk, Conversation) and talk.messages == (*asked, *good)


def test_the_same_cells_in_parquet_are_the_same_examples(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_pylist([{key: json.dumps(value) for key, value in PAIR.items()}]), path)
    (pair,) = check([path]).examples
    assert isinstance(pair, Preference) and pair.prompt == (Message("user", "U"),)
    assert (pair.chosen, pair.rejected) == ((Message("assistant", "A"),), (Message("assistant", "B"),))


@pytest.mark.parametrize(
    "text",
    [
        "[1] see above",
        "{not json",
        '{"role": "manager", "name": "Ito"}',
        '[{"role": "user"}]',
        "[]",
        '{"a": NaN}',
        "[{}]",
    ],
)
def test_a_reply_that_only_looks_like_json_stays_the_text_it_is(tmp_path: Path, text: str) -> None:
    for names in (("prompt", "completion"), ("question", "answer"), ("instruction", "output"), ("chosen", "rejected")):
        row = {names[0]: text, names[1]: "A"} if names[0] == "prompt" else {names[0]: "U", names[1]: text}
        assert unfolded(row) == row
    (row_,) = table(tmp_path, {"question": "U", "answer": text}).examples
    assert isinstance(row_, Conversation) and row_.messages[1].content == text


def test_messages_as_python_writes_them_are_no_reply_to_learn(tmp_path: Path) -> None:
    for broken in (str([A]), str([{"content": "x", "role": "assistant"}]), json.dumps([A])[:-4]):
        found = table(tmp_path, {"prompt": "U", "chosen": broken, "rejected": "B"})
        assert codes(found) == ["bad-type"] and "chosen" in found.ledger.set_aside[0].message


@pytest.mark.parametrize("nothing", [None, "", " ", "　", "\u200b", "[]", "null", " [] ", "{}", [], {}])
def test_blank_tools_are_no_tools(tmp_path: Path, nothing: Any) -> None:
    for column in ("tools", "functions"):
        assert tools_of(unfolded({column: nothing})) == ()
        for row in ({"messages": [U, A]}, {"prompt": "U", "completion": "A"}, {"instruction": "U", "output": "A"}):
            (example,) = jsonl(tmp_path, {**row, column: nothing}).examples
            assert example.tools == ()
    (example,) = jsonl(tmp_path, {"messages": [U, {**A, "tool_calls": nothing}], "tools": [TOOL]}).examples
    assert example.tools == (TOOL,) and example.messages[1].tool_calls == ()  # type: ignore[union-attr]


def test_tools_are_read_from_text_and_from_bare_functions(tmp_path: Path) -> None:
    bare = TOOL["function"]
    as_text = {"type": "function", "function": {**bare, "parameters": json.dumps(bare["parameters"])}}
    forms = (json.dumps([TOOL]), [bare], json.dumps([bare]), [{"type": "function", **bare}], [json.dumps(TOOL)])
    for tools in (*forms, [as_text], json.dumps([as_text])):
        (example,) = jsonl(tmp_path, {"messages": [U, A], "tools": tools}).examples
        assert example.tools == (TOOL,)


@pytest.mark.parametrize(("text", "code"), [BROKEN[0], BROKEN[3], BROKEN[7]])
def test_parameters_of_a_tool_that_are_text_are_read_strictly(tmp_path: Path, text: str, code: str) -> None:
    tool = {"type": "function", "function": {"name": "post", "parameters": text}}
    for tools in ([tool], json.dumps([tool])):
        found = jsonl(tmp_path, {"messages": [U, A], "tools": tools})
        assert codes(found) == [code] and "post" in found.ledger.set_aside[0].message


def test_messages_within_a_list_of_texts_are_messages(tmp_path: Path) -> None:
    texts = [json.dumps([A]), json.dumps([B])]
    ranked = {"prompt": "U", "replies": texts, "ranks": [1, 2]}
    for found in (jsonl(tmp_path, ranked), table(tmp_path, ranked)):
        (example,) = found.examples
        assert isinstance(example, Ranking)
        assert [reply[0].content for reply in example.replies] == ["A", "B"]
    (example,) = jsonl(tmp_path, {"messages": [json.dumps(U), json.dumps(A)]}).examples
    assert isinstance(example, Conversation) and [one.content for one in example.messages] == ["U", "A"]
    (example,) = jsonl(tmp_path, {**ranked, "replies": ['["a"]', "b"]}).examples
    assert isinstance(example, Ranking) and example.replies[0][0].content == '["a"]'


def test_turns_of_sharegpt_are_read_in_every_column(tmp_path: Path) -> None:
    asks, good, bad = ({"from": who, "value": text} for who, text in (("human", "U"), ("gpt", "A"), ("gpt", "B")))
    pairs: list[dict[str, Any]] = [
        {"prompt": [asks], "chosen": [good], "rejected": [bad]},
        {"conversations": [asks], "chosen": good, "rejected": bad},
        {"chosen": [asks, good], "rejected": [asks, bad]},
        {"input": "U", "wanted": [good], "unwanted": [bad]},
    ]
    for row in pairs:
        for found in (jsonl(tmp_path, row), table(tmp_path, row)):
            (pair,) = found.examples
            assert isinstance(pair, Preference)
            assert (pair.prompt[0].content, pair.chosen[0].content, pair.rejected[0].content) == ("U", "A", "B")
    (talk,) = jsonl(tmp_path, {"prompt": [asks, bad, asks], "completion": [good]}).examples
    assert isinstance(talk, Conversation) and [one.weight for one in talk.messages if one.role == "assistant"] == [0, 1]


@pytest.mark.parametrize(
    ("asks", "text"),
    [
        ({"instruction": "U", "input": ""}, "U"),
        ({"instruction": "U", "input": "X"}, "U\n\nX"),
        ({"question": "U"}, "U"),
        ({"質問": "U"}, "U"),
        ({"messages": [U]}, "U"),
    ],
)
def test_the_prompt_of_two_replies_may_have_another_name(tmp_path: Path, asks: dict[str, Any], text: str) -> None:
    (pair,) = jsonl(tmp_path, {"system": "S", **asks, "chosen": "A", "rejected": "B"}).examples
    assert isinstance(pair, Preference) and [one.content for one in pair.prompt] == ["S", text]


def test_blank_is_nothing_in_every_optional_column(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("prompt,chosen,rejected,margin,system,tools\nU,A,B,0.5,S,\nU,C,D, ,　,null\n", "utf-8")
    first, second = check([path]).examples
    assert isinstance(first, Preference) and isinstance(second, Preference)
    assert (first.margin, len(first.prompt)) == (0.5, 2) and (second.margin, len(second.prompt)) == (0.0, 1)
    (example,) = jsonl(tmp_path, {"instruction": "", "input": "X", "output": "A"}).examples
    assert example.messages[0].content == "X"  # type: ignore[union-attr]
    path.write_text("instruction,input,output,history\nU,　,A, \nU,X,B,[]\nU,X,C,null\n", "utf-8")
    assert [example.messages[0].content for example in check([path]).examples] == ["U", "U\n\nX", "U\n\nX"]  # type: ignore[union-attr]


def test_a_row_s_own_system_text_is_never_lost(tmp_path: Path) -> None:
    system = Message("system", "S")
    rows: list[dict[str, Any]] = [
        {"messages": [U, A]},
        {"messages": [{"role": "system", "content": "S"}, U, A]},
        {"conversations": [{"from": "human", "value": "U"}, {"from": "gpt", "value": "A"}]},
        {"prompt": [U], "completion": [A]},
        {"prompt": "U", "completion": "A"},
        {"user": "U", "assistant": "A"},
        {"instruction": "U", "output": "A"},
    ]
    for row in rows:
        (example,) = jsonl(tmp_path, {"system": "S", **row}).examples
        assert isinstance(example, Conversation) and example.messages[0] == system and len(example.messages) == 3, row
    of_openai = {"input": {"messages": [U]}, "preferred_output": [A], "non_preferred_output": [B]}
    (example,) = jsonl(tmp_path, {**of_openai, "tools": [TOOL]}).examples
    assert example.tools == (TOOL,)
    for row in (PAIR, of_openai, {"chosen": [U, A], "rejected": [U, B]}, {"prompt": [U], "reference_answer": "A"}):
        (example,) = jsonl(tmp_path, {"system": "S", **row}).examples
        assert example.prompt[0] == system and len(example.prompt) == 2
    assert codes(jsonl(tmp_path, {"system": ["S"], "prompt": "U", "completion": "A"})) == ["bad-type"]


def test_arguments_that_say_nothing_are_no_arguments(tmp_path: Path) -> None:
    for nothing in (None, "", " ", {}):
        (example,) = jsonl(tmp_path, {"messages": called(nothing)}).examples
        assert example.messages[1].tool_calls[0].arguments == "{}"  # type: ignore[union-attr]
