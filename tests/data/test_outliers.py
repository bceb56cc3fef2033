"""What a careful person would notice at a glance, and what nobody thought of: named with file and line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sodate.core.errors import SodateError
from sodate.data import check, examples, pii
from sodate.data.measure import Measured
from sodate.data.split import split


def write(tmp_path: Path, rows: list[dict[str, Any]]) -> Path:
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def rows_of(count: int, chars: int = 500) -> list[dict[str, Any]]:
    return [{"prompt": f"{n} {chr(97 + n % 26) * (chars - len(str(n)) - 3)}", "completion": "A"} for n in range(count)]


def test_a_row_many_times_as_long_as_the_others_is_named_with_its_multiple(tmp_path: Path) -> None:
    rows = rows_of(30)
    rows[11]["completion"] = "b" * 1_000_000
    found = [p for p in check([write(tmp_path, rows)]).ledger.warnings if p.code == "outlier"]
    assert [p.line for p in found] == [12]
    # 498 of the prompt, a line break and the reply; the others have 498 + 1 + 1.
    assert "1000499 characters, 2000 times the median of 500" in found[0].message


def test_what_all_rows_share_or_few_rows_have_makes_no_outlier(tmp_path: Path) -> None:
    rows = rows_of(30)
    rows[3]["completion"] = "b" * 4000
    assert not [p for p in check([write(tmp_path, rows)]).ledger.warnings if p.code == "outlier"]
    rows = rows_of(5)
    rows[3]["completion"] = "b" * 1_000_000
    assert not [p for p in check([write(tmp_path, rows)]).ledger.warnings if p.code == "outlier"]


@pytest.mark.parametrize(
    "mark",
    [
        {"split": "test"},
        {"split": "Validation"},
        {"subset": "held-out"},
        {"metadata": {"split": "dev"}},
        {"用途": "評価用"},
        {"set": "dev_set"},
        {"Data Split": "test"},
        {"is_test": True},
        {"metadata": {"Holdout": "true"}},
    ],
)
def test_a_training_row_that_says_it_is_held_out_is_named(tmp_path: Path, mark: dict[str, Any]) -> None:
    rows = [{"prompt": "U", "completion": "A", **mark}, {"prompt": "V", "completion": "B", "split": "train"}]
    (warning,) = [p for p in check([write(tmp_path, rows)]).ledger.warnings if p.code == "says-held-out"]
    assert warning.line == 1


class Odd(Exception):
    """What nobody thought of."""


def test_whatever_happens_to_one_row_the_others_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, [{"prompt": f"U{n}", "completion": f"A{n}"} for n in range(4)])
    parse = examples.formats.parse

    def parse_or_not(row: Any, *more: Any) -> Any:
        if row["prompt"] == "U2":
            raise Odd("in parsing")
        return parse(row, *more)

    def measure(examples: Any) -> list[Measured]:
        if any(example.prompt[-1].content == "U1" for example in examples):
            raise Odd("in rendering")
        return [Measured(1, 1, 1) for _ in examples]

    monkeypatch.setattr(examples.formats, "parse", parse_or_not)
    found = check([path], measure=measure)
    assert sorted((p.line, p.code) for p in found.ledger.set_aside) == [(2, "unforeseen"), (3, "unforeseen")]
    assert {p.message.count("Odd: in") for p in found.ledger.set_aside} == {1}
    assert len(found.examples) == 2
    done = split([path], tmp_path / "t.jsonl", tmp_path / "h.jsonl", share=0.5)
    assert [(p.line, p.code) for p in done.ledger.set_aside] == [(3, "unforeseen")] and done.train + done.held_out == 3


def test_nor_does_a_row_end_it_that_breaks_a_look_for_personal_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = pii.find

    def find_or_not(text: str) -> list[pii.Finding]:
        if text == "an answer nobody foresaw":
            raise Odd
        return find(text)

    monkeypatch.setattr(pii, "find", find_or_not)
    rows = [{"prompt": "U", "completion": "an answer nobody foresaw"}, {"prompt": "V", "completion": "B"}]
    found = check([write(tmp_path, rows)])
    assert [(p.line, p.code) for p in found.ledger.set_aside] == [(1, "unforeseen")] and found.ledger.rows_used == 1


@pytest.mark.parametrize("error", [SodateError("the disk is full"), MemoryError(), KeyboardInterrupt()])
def test_what_is_not_about_the_row_still_ends_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def fails(*_: Any) -> Any:
        raise error

    monkeypatch.setattr(examples.formats, "parse", fails)
    with pytest.raises(type(error)):
        check([write(tmp_path, [{"prompt": "U", "completion": "A"}])])
