"""What people said of replies, as read from files: single verdicts, margins, rankings with ties and \"both bad\"."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sodate.core.types import Judgement, Message, Preference, Ranking
from sodate.data.check import Checked, check

U = Message("user", "U")
A, B, C = (Message("assistant", text) for text in "ABC")


def checked(tmp_path: Path, *rows: dict[str, Any]) -> Checked:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return check([path])


def one(tmp_path: Path, row: dict[str, Any]) -> Any:
    (example,) = checked(tmp_path, row).examples
    return example


@pytest.mark.parametrize("prompt", ["U", [{"role": "user", "content": "U"}]])
@pytest.mark.parametrize("completion", ["A", [{"role": "assistant", "content": "A"}]])
def test_a_reply_with_a_label_is_a_judgement(tmp_path: Path, prompt: Any, completion: Any) -> None:
    example = one(tmp_path, {"prompt": prompt, "completion": completion, "label": False})
    assert isinstance(example, Judgement)
    assert (example.prompt, example.reply, example.desirable) == ((U,), (A,), False)


def test_the_same_reply_with_two_verdicts_is_two_rows(tmp_path: Path) -> None:
    row = {"prompt": "U", "completion": "A"}
    found = checked(tmp_path, {**row, "label": True}, {**row, "label": False}, {**row, "label": True})
    assert found.format == "preference-unpaired" and found.ledger.rows_used == 2
    assert [p.code for p in found.ledger.set_aside] == ["exact-duplicate"]
    assert found.stats["verdicts"] == {"desirable": 1, "undesirable": 1}
    mixed = checked(tmp_path, {**row, "label": True}, {**row, "prompt": "V", "label": "yes"})
    assert [p.code for p in mixed.ledger.set_aside] == ["bad-type"]


@pytest.mark.parametrize(
    ("good", "bad"), [("true", "false"), ("True", "FALSE"), (" 1", "0"), (1, 0), (1.0, 0.0), ("1.0", "0.0")]
)
def test_a_verdict_is_read_however_it_is_written(tmp_path: Path, good: Any, bad: Any) -> None:
    rows = [{"prompt": f"U{n}", "completion": "A", "label": label} for n, label in enumerate([good, bad, "perhaps"])]
    found = checked(tmp_path, *rows)
    assert found.format == "preference-unpaired"
    assert [getattr(example, "desirable", None) for example in found.examples] == [True, False]
    assert [(p.code, p.line) for p in found.ledger.set_aside] == [("bad-type", 3)]


def test_verdicts_from_a_table_are_verdicts(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("prompt,completion,label\nU,A,true\nU,B,false\nV,C,True\nW,D,\n", "utf-8")
    found = check([path])
    assert found.format == "preference-unpaired"
    assert [getattr(example, "desirable", None) for example in found.examples] == [True, False, True]
    assert [(p.code, p.line) for p in found.ledger.set_aside] == [("bad-type", 5)]
    path.write_text("frage,antwort,gut\nU,A,1\nU,B,0\n", "utf-8")
    found = check([path], columns={"prompt": "frage", "completion": "antwort", "label": "gut"})
    assert [getattr(example, "desirable", None) for example in found.examples] == [True, False]


def test_a_margin_is_kept_and_a_wrong_one_named(tmp_path: Path) -> None:
    row = {"prompt": "U", "chosen": "A", "rejected": "B"}
    assert one(tmp_path, {**row, "margin": 2}).margin == 2.0
    assert isinstance(one(tmp_path, row), Preference) and one(tmp_path, row).margin == 0.0
    for wrong in (-1, "much", True):
        (aside,) = checked(tmp_path, {**row, "margin": wrong}).ledger.set_aside
        assert aside.code == "bad-type" and '"margin"' in aside.message


@pytest.mark.parametrize(
    ("given", "ranks", "all_bad", "pairs"),
    [
        ([2, 1, 3], (2, 1, 3), False, ["BA", "AC", "BC"]),
        ([1, 1, 2], (1, 1, 2), False, ["AC", "BC"]),
        ([1, None, 2], (1, None, 2), False, ["AC"]),
        ("tie", (1, 1, 1), False, []),
        ("all_bad", (1, 1, 1), True, []),
        ("both_bad", (1, 1, 1), True, []),
    ],
)
def test_a_ranking_is_kept_as_it_was_given(
    tmp_path: Path, given: Any, ranks: tuple[int | None, ...], all_bad: bool, pairs: list[str]
) -> None:
    example = one(tmp_path, {"prompt": "U", "replies": ["A", "B", "C"], "ranks": given})
    assert isinstance(example, Ranking)
    assert (example.prompt, example.replies) == ((U,), ((A,), (B,), (C,)))
    assert (example.ranks, example.all_bad) == (ranks, all_bad)
    assert sorted(p.chosen[0].content + p.rejected[0].content for p in example.pairs()) == sorted(pairs)


def test_the_ledger_counts_ties_and_what_was_all_bad(tmp_path: Path) -> None:
    def row(prompt: str, ranks: Any, **more: Any) -> dict[str, Any]:
        return {"prompt": prompt, "replies": ["A", "B", "C"], "ranks": ranks, **more}

    found = checked(
        tmp_path, row("one", [1, 1, 2]), row("two", "tie"), row("three", [1, 2, None], all_bad=True), row("four", None)
    )
    assert found.format == "preference-ranking"
    assert found.stats["verdicts"] == {"pairs": 3, "ties": 4, "all_bad": 1, "unranked_replies": 1}
    assert [(p.code, p.line) for p in found.ledger.set_aside] == [("not-ranked", 4)]
    assert [(p.code, p.line) for p in found.ledger.warnings] == [("no-order", 2)]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"ranks": [1, 2]}, "bad-type"),
        ({"ranks": [0, 1, 2]}, "bad-type"),
        ({"ranks": "first"}, "bad-type"),
        ({"ranks": [1, None, None]}, "not-ranked"),
        ({"replies": ["A"]}, "bad-type"),
        ({"replies": ["A", "", "C"]}, "empty-reply"),
        ({"prompt": " "}, "missing-prompt"),
    ],
)
def test_a_broken_ranking_is_set_aside_with_its_reason(tmp_path: Path, change: dict[str, Any], code: str) -> None:
    row = {"prompt": "U", "replies": ["A", "B", "C"], "ranks": [1, 2, 3], **change}
    assert [p.code for p in checked(tmp_path, row).ledger.set_aside] == [code]
