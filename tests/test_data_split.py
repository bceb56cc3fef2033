"""Splitting: every row on exactly one side, the same question never on both, bytes unchanged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sodate.core.errors import SodateError, UsageError
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
    with pytest.raises(UsageError, match="different file"):
        split([path], path, other)
