"""Splitting: every row on exactly one side, the same question never on both, bytes unchanged."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sodate.core.errors import SodateError, UsageError
from sodate.data import check
from sodate.data import split as module
from sodate.data.prompt_groups import LAST, PromptGroups
from sodate.data.split import split


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


def lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines()


def test_a_split_by_hash_keeps_bytes_and_puts_the_same_question_on_one_side(tmp_path: Path) -> None:
    rows = [
        {"prompt": f"question {n // 2}" if n % 2 else f"ＱＵＥＳＴＩＯＮ {n // 2} ", "completion": str(n)}
        for n in range(2000)
    ]
    source = write(tmp_path / "all.jsonl", rows)
    odd = b'{"completion" :"x",  "prompt":"\\u3042"}'
    source.write_bytes(source.read_bytes() + odd + b"\r\nbroken\n")
    train, held = tmp_path / "train.jsonl", tmp_path / "eval.jsonl"
    result = split([source], train, held, share=0.2)
    assert (result.train, result.held_out) == (len(lines(train)), len(lines(held)))
    assert sorted(lines(train) + lines(held)) == sorted(line for line in lines(source) if line != b"broken")
    assert odd in lines(train) + lines(held)
    assert [(p.line, p.code) for p in result.ledger.set_aside] == [(2002, "invalid-json")]
    assert result.ledger.rows_in == 2002 == result.train + result.held_out + 1
    # 1000 questions at 0.2: the standard deviation of the share is 0.013.
    assert 0.15 < result.held_out / 2001 < 0.25
    sides = [{json.loads(line)["completion"] for line in lines(path)} for path in (train, held)]
    for n in range(0, 2000, 2):
        assert (str(n) in sides[0]) == (str(n + 1) in sides[0])


def test_rows_added_later_move_nobody_and_a_seed_shuffles_anew(tmp_path: Path) -> None:
    rows = [{"prompt": f"q{n}", "completion": "a"} for n in range(400)]
    first, second = write(tmp_path / "a.jsonl", rows[:300]), write(tmp_path / "b.jsonl", rows)
    train, held = tmp_path / "train.jsonl", tmp_path / "eval.jsonl"
    split([first], train, held)
    before = set(lines(held))
    split([second], train, held)
    after = set(lines(held))
    assert before == after & set(lines(first))
    split([second], train, held, seed=1)
    assert set(lines(held)) != after


def chat(*texts: str) -> dict[str, Any]:
    """A conversation: the texts of user and assistant in turn, under the system prompt that all share."""
    turns = [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(texts)]
    return {"messages": [{"role": "system", "content": "Be brief."}, *turns]}


def leaks(train: Path, held: Path) -> list[str]:
    return [problem.code for problem in check([train], against=held).ledger.set_aside]


def test_a_conversation_goes_with_the_row_that_asks_its_beginning(tmp_path: Path) -> None:
    rows = []
    for n in range(40):
        turns = [f"{n}?", f"A{n}", f"More of {n}?", f"B{n}", f"And {n}?", f"C{n}"]
        rows += [chat(*turns[:4]), chat(*turns[:2])]
    train, held = tmp_path / "train.jsonl", tmp_path / "eval.jsonl"
    result = split([write(tmp_path / "a.jsonl", rows)], train, held, share=0.2)
    # 40 conversations at 0.2: the standard deviation is 2.5 conversations.
    assert 4 <= result.held_out <= 28 and result.train + result.held_out == 80
    before = set(lines(held))
    for first, second in zip(rows[::2], rows[1::2], strict=True):
        assert (json.dumps(first).encode() in before) == (json.dumps(second).encode() in before)
    assert leaks(train, held) == []
    # A conversation that goes on from there joins it, and moves nobody.
    rows += [chat(f"{n}?", f"A{n}", f"More of {n}?", f"B{n}", f"And {n}?", f"C{n}") for n in range(40)]
    result = split([write(tmp_path / "a.jsonl", rows)], train, held, share=0.2)
    assert len(lines(held)) == len(before) * 3 // 2 and before < set(lines(held))
    assert leaks(train, held) == []


@pytest.mark.parametrize("seed", range(8))
def test_a_common_greeting_does_not_pull_all_conversations_to_one_side(seed: int, tmp_path: Path) -> None:
    rows = [chat("Hello", "Hello!", f"question {n}", f"answer {n}") for n in range(300)]
    rows += [chat("hello", "Good day!"), chat("Hello ", "Hi.", "how are you", "fine")]
    rows += [chat("HELLO", "Hi.", "How are you", "fine", f"and question {n}", f"x{n}") for n in range(300)]
    train, held = tmp_path / "train.jsonl", tmp_path / "eval.jsonl"
    result = split([write(tmp_path / "a.jsonl", rows)], train, held, seed=seed)
    # 600 conversations at 0.1: the standard deviation of the share is 0.012.
    assert 0.04 < result.held_out / len(rows) < 0.16
    # What is no more than the beginning of all others is not held out: then they would all be leaks.
    assert {json.dumps(row).encode() for row in rows[300:302]} <= set(lines(train))
    assert leaks(train, held) == []


def test_keys_and_their_spread_by_hand() -> None:
    prompts = PromptGroups()
    for turns in ((5,), (5, 7), (4, 5, 8), (6, 9), (5, 7, 9), (3,)):
        prompts.add(turns)
    # 4 and 6 are asked by no row. 5 is the beginning of three longer rows, 7 of one.
    assert prompts.keys(3).tolist() == [5, 5, 5, 9, 5, 3]
    assert prompts.keys(2).tolist() == [LAST, 7, 8, 9, 7, 3]
    assert prompts.keys(0).tolist() == [LAST, LAST, 8, 9, 9, 3]
    # The fourth row asks 9, which the fifth has too; the second asks 7, which the fifth has, and that asks 9.
    for first, rows in ((3, [3, 4]), (1, [1, 3, 4]), (5, [5]), (0, [0, 1, 2, 3, 4])):
        held = prompts.spread(np.arange(6) == first)
        assert np.flatnonzero(held).tolist() == rows


def test_turns_without_text_begin_nothing_longer() -> None:
    prompts = PromptGroups()
    for turns in ((5, 5), (7, 7), (8, 8, 9)):
        prompts.add(turns)
    assert prompts.keys(0.3).tolist() == [5, 7, 9]
    crossed = PromptGroups()
    for turns in ((5, 7), (7, 5)):  # no texts are like this
        crossed.add(turns)
    assert crossed.keys(0).tolist() == [LAST, LAST]


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_one_text_cut_into_turns_in_two_ways_stands_on_one_side(share: float, tmp_path: Path) -> None:
    rows = []
    for n in range(60):
        rows += [chat(f"{n} a", "x"), chat(f"{n} a", "b", f"{n} c", "y"), chat(f"{n} a\nb\n{n} c", "z")]
    train, held = tmp_path / "train.jsonl", tmp_path / "eval.jsonl"
    split([write(tmp_path / "a.jsonl", rows)], train, held, share=share)
    assert leaks(train, held) == []


def test_a_file_that_changes_while_it_is_split_gives_no_halves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.jsonl", [{"prompt": f"q{n}", "completion": "a"} for n in range(50)])
    real = module._by_prompt

    def and_then_changed(*given: Any) -> Any:
        found = real(*given)
        with path.open("a") as file:
            file.write('{"prompt": "new", "completion": "row"}\n')
        return found

    monkeypatch.setattr(module, "_by_prompt", and_then_changed)
    with pytest.raises(SodateError, match="changed"):
        split([path], tmp_path / "train.jsonl", tmp_path / "eval.jsonl")
    assert [file.name for file in tmp_path.iterdir()] == ["a.jsonl"]


def test_a_split_by_group_never_parts_a_group(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"text": str(n), "customer": n % 17} for n in range(170)]
    rows.append({"text": "nobody's"})
    train, held = tmp_path / "train.jsonl", tmp_path / "eval.jsonl"
    result = split([write(tmp_path / "a.jsonl", rows)], train, held, by="group", column="customer", share=0.3)
    groups = [{json.loads(line)["customer"] for line in lines(path)} for path in (train, held)]
    assert not groups[0] & groups[1] and groups[0] | groups[1] == set(range(17))
    assert [(p.line, p.code) for p in result.ledger.set_aside] == [(171, "missing-column")]


def test_a_split_by_time_holds_out_the_latest_and_keeps_a_moment_together(tmp_path: Path) -> None:
    times = ["2026-01-01", "2026/1/3", "2026年1月2日", "2026-01-04T00:00:00+09:00", "2026-01-03", "yesterday"]
    path = tmp_path / "a.csv"
    path.write_text("n,at\n" + "".join(f"{n},{at}\n" for n, at in enumerate(times)), "utf-8")
    train, held = tmp_path / "train.jsonl", tmp_path / "eval.jsonl"
    # In order: 0, 2, then 1 and 4 at the same moment, then 3 (its zone makes it 15:00 UTC on the 3rd).
    result = split([path], train, held, by="time", column="at", share=0.4)
    assert [json.loads(line)["n"] for line in lines(held)] == ["1", "3", "4"]
    assert [json.loads(line)["n"] for line in lines(train)] == ["0", "2"]
    assert [(p.line, p.code) for p in result.ledger.set_aside] == [(7, "bad-time")]


@pytest.mark.parametrize(
    ("times", "latest"),
    [
        # The latest also reads as 23:45 on 15 January 1712, the others do not.
        ([1712011489999, "1712011512345", "1712011499999"], "1712011512345"),
        ([1712011489999.5, "1712011499999", "1712011512345.5"], "1712011512345.5"),
        (["1712011512", "1712011599.5", 1712011580], "1712011599.5"),
        ([20260131, "20260201", "２０２６０２０２", "2026-01-30"], "２０２６０２０２"),
    ],
)
def test_numbers_are_times_and_eight_digits_a_date(times: list[Any], latest: Any, tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"at": at} for at in [*times, "nan", "Infinity", "1e999", True, 10**400]]
    train, held = tmp_path / "train.jsonl", tmp_path / "eval.jsonl"
    result = split([write(tmp_path / "a.jsonl", rows)], train, held, by="time", column="at", share=0.1)
    assert [json.loads(line)["at"] for line in lines(held)] == [latest]
    first = len(times) + 1
    assert [(p.line, p.code) for p in result.ledger.set_aside] == [(first + n, "bad-time") for n in range(5)]


def test_neither_side_is_ever_empty_and_one_question_cannot_be_split(tmp_path: Path) -> None:
    train, held = tmp_path / "train.jsonl", tmp_path / "eval.jsonl"
    rows = [{"prompt": p, "completion": "a"} for p in ("one", "two", "three")]
    for share in (0.001, 0.999):
        result = split([write(tmp_path / "a.jsonl", rows)], train, held, share=share)
        assert result.train >= 1 and result.held_out >= 1
    with pytest.raises(SodateError, match="only one prompt"):
        split([write(tmp_path / "a.jsonl", rows[:1] * 5)], tmp_path / "x.jsonl", tmp_path / "y.jsonl")
    assert not (tmp_path / "x.jsonl").exists()


def test_wrong_split_commands_are_usage_errors(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [{"prompt": "p", "completion": "c"}])
    other = tmp_path / "b.jsonl"
    for wrong in ({"share": 1.5}, {"by": "group"}, {"column": "x"}):
        with pytest.raises(UsageError):
            split([path], other, tmp_path / "c.jsonl", **wrong)
    with pytest.raises(UsageError, match=re.escape(f"{path.resolve()} is named twice")):
        split([path], path, other)


def test_a_split_of_nothing_says_why_and_one_side_can_not_be_called_csv(tmp_path: Path) -> None:
    table = tmp_path / "mails.csv"
    table.write_bytes("件名,返信文\r\nリンゴ?,はい\r\n梨?,はい\r\n".encode("shift_jis"))
    columns = {"prompt": "件名", "completion": "返信文"}
    train, held = tmp_path / "train.jsonl", tmp_path / "held.jsonl"
    for how in ({"by": "hash"}, {"by": "group", "column": "件名"}):
        with pytest.raises(SodateError, match=r"mails\.csv:2(.|\n)*--encoding shift_jis"):
            split([table], train, held, columns=columns, **how)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"held\.csv: both sides are written as JSON lines(.|\n)*held\.jsonl"):
        split([table], train, held.with_suffix(".csv"), columns=columns, encoding="shift_jis")
    assert not train.exists() and not held.exists()
