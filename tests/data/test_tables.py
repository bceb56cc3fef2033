"""Tables as spreadsheets write them: one harmless oddity costs a warning that says what was left out, not the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from sodate.core.errors import SodateError
from sodate.core.types import Conversation, Message
from sodate.data import Checked, RawRow, check, jsontext, read_rows, tables
from sodate.data.ledger import Problem

UA = (Message("user", "U"), Message("assistant", "A"))


def checked(tmp_path: Path, text: str, name: str = "a.csv") -> Checked:
    path = tmp_path / name
    path.write_text(text, "utf-8")
    return check([path])


def talks(found: Checked) -> list[tuple[str, ...]]:
    return [tuple(m.content for m in e.messages) for e in found.examples if isinstance(e, Conversation)]


def warned(found: Checked) -> list[tuple[int, str]]:
    return [(problem.line, problem.code) for problem in found.ledger.warnings]


def test_columns_without_a_name_are_left_out_and_said(tmp_path: Path) -> None:
    found = checked(tmp_path, "prompt,completion,,\nU,A,,\nV,B\nW,C,\n")
    assert talks(found) == [("U", "A"), ("V", "B"), ("W", "C")] and not found.ledger.set_aside
    assert warned(found) == [(1, "left-out"), (1, "left-out")]
    assert "Column 3" in found.ledger.warnings[0].message and "Column 4" in found.ledger.warnings[1].message


@pytest.mark.parametrize("nameless", ["", " ", "　", "\u200b", '""', "\ufeff"])
def test_a_first_column_without_a_name_is_an_index(tmp_path: Path, nameless: str) -> None:
    found = checked(tmp_path, f"{nameless},prompt,completion\n0,U,A\n1,V,B\n")
    assert talks(found) == [("U", "A"), ("V", "B")] and set(warned(found)) == {(1, "left-out")} | (
        {(1, "bom")} if nameless == "\ufeff" else set()
    )


def test_what_a_row_says_in_a_column_without_a_name_is_told(tmp_path: Path) -> None:
    found = checked(tmp_path, "prompt,completion,\nU,A,checked by Ito\n")
    assert talks(found) == [("U", "A")] and warned(found) == [(1, "left-out"), (2, "left-out")]
    assert "checked by Ito" in found.ledger.warnings[1].message


def test_empty_fields_beyond_the_header_are_cut_and_said_once(tmp_path: Path) -> None:
    found = checked(tmp_path, "prompt,completion\nU,A,,\nV,B,\n")
    assert talks(found) == [("U", "A"), ("V", "B")] and warned(found) == [(2, "left-out")]
    (problem,) = checked(tmp_path, "prompt,completion\nU,A\nHello, world,B\n").ledger.set_aside
    assert (problem.line, problem.code) == (3, "wrong-columns")
    (problem,) = checked(tmp_path, "prompt,completion\nU,A\nV\n").ledger.set_aside
    assert (problem.line, problem.code) == (3, "wrong-columns")


def test_a_name_given_twice_leaves_both_columns_out(tmp_path: Path) -> None:
    found = checked(tmp_path, "prompt,completion,note,note\nU,A,1,2\n")
    assert talks(found) == [("U", "A")]
    assert warned(found)[:2] == [(1, "left-out")] * 2 and "note" in found.ledger.warnings[0].message


@pytest.mark.parametrize("sign", [",", ";", "\t", "|", "，"])
@pytest.mark.parametrize("hint", ["", "sep={}\n", '"sep={}"\r\n', "\ufeffSEP={}\n"])
def test_any_sign_may_separate_and_excel_s_hint_is_no_row(tmp_path: Path, sign: str, hint: str) -> None:
    found = checked(tmp_path, hint.format(sign) + f'prompt{sign}completion\n"U{sign}"{sign}A\n')
    assert talks(found) == [(f"U{sign}", "A")] and not found.ledger.set_aside
    (line,) = [example.source.line for example in found.examples if example.source]
    assert line == (3 if hint else 2)


def test_the_sign_is_the_one_that_makes_names_of_the_header(tmp_path: Path) -> None:
    assert talks(checked(tmp_path, "prompt;completion;note, internal\nU;A;x\n")) == [("U", "A")]
    assert talks(checked(tmp_path, "質問\t回答\tメモ, 他\nU\tA\tx\n")) == [("U", "A")]


@pytest.mark.parametrize(
    "header",
    [
        "system,user,assistant",
        "System,User,Assistant",
        "システム,ユーザー,アシスタント",
        "Ｓｙｓｔｅｍ,ユーザ,assistant",
    ],
)
def test_a_column_for_each_turn_is_a_format(tmp_path: Path, header: str) -> None:
    found = checked(tmp_path, f"{header}\nS,U,A\n,V,B\n")
    assert found.format == "system-user-assistant" and not found.ledger.warnings
    assert talks(found) == [("S", "U", "A"), ("V", "B")]
    assert [m.role for m in found.examples[0].messages] == ["system", "user", "assistant"]  # type: ignore[union-attr]


def test_names_are_known_whatever_their_case_and_width(tmp_path: Path) -> None:
    for header in ("Prompt,Completion", "ＰＲＯＭＰＴ, completion ", "\u200bprompt,Completion"):
        assert talks(checked(tmp_path, f"{header}\nU,A\n")) == [("U", "A")]
    assert talks(checked(tmp_path, "Instruction,Input,Output\nU,X,A\n")) == [("U\n\nX", "A")]
    found = checked(tmp_path, "Prompt,Chosen,Rejected\nU,A,B\n")
    assert found.format == "preference-trl" and not found.ledger.set_aside


def test_wanted_and_unwanted_columns_are_read_from_a_table(tmp_path: Path) -> None:
    found = checked(tmp_path, "入力,望ましい出力,避けたい出力\nU,A,B\nV,C,\n")
    assert found.format == "preference-wanted" and found.ledger.rows_used == 2
    assert found.stats["kinds"] == {"preference": 1, "conversation": 1}


def test_lines_without_anything_to_see_are_no_rows(tmp_path: Path) -> None:
    found = checked(tmp_path, "　\n,\nprompt,completion\n　\nU,A\n,\n \u200b,　\n\n")
    assert talks(found) == [("U", "A")] and found.ledger.rows_in == 1


def test_a_header_that_is_no_utf8_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"prompt,compl\xe9tion\n" + "質問,答え\n".encode() * 50)
    with pytest.raises(SodateError, match="header"):
        check([path])


def test_one_open_quote_is_bounded_in_lines_and_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MAX_RECORD_LINES", 50)
    path = tmp_path / "a.csv"
    path.write_text('prompt,completion\nU,"A\n' + "V,B\n" * 200, "utf-8")
    items = list(read_rows(path))
    assert isinstance(items[0], Problem) and "50 lines" in items[0].message
    assert sum(isinstance(item, RawRow) for item in items) == 150 and len(items) == 201
    monkeypatch.setattr(jsontext, "MAX_ROW_BYTES", 100)
    path.write_text('prompt,completion\nU,"A\n' + "V,B\n" * 40, "utf-8")
    items = list(read_rows(path))
    assert isinstance(items[0], Problem) and "quote" in items[0].message
    assert len(items) == 41 and sum(isinstance(item, RawRow) for item in items) == 16
