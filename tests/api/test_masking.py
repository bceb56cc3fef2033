"""Files masked and put back: tables in every encoding, workbooks, JSON lines, and the key that lies apart."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import openpyxl
import pytest

from sodate.api import masking, sheets
from sodate.core.errors import SodateError, UsageError

HEADER = "受付番号,氏名,電話番号,本文"
ROW = "10001,御手洗 潔,090-1234-5678,山田花子様へ。電話は０９０１２３４５６７８、番号は123456789018"
TABLE = f'{HEADER}\r\n{ROW}\r\n10002,未定,,"二行の\r\n本文、御手洗 潔より"\r\n'


@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "cp932"])
def test_a_table_keeps_its_encoding_and_comes_back_with_its_key(tmp_path: Path, codec: str) -> None:
    source, masked, back, key = (tmp_path / name for name in ("in.csv", "out.csv", "back.csv", "key.json"))
    source.write_bytes(TABLE.encode(codec))
    done = masking.mask(source, masked, key=key)
    assert done.to_json() == {
        "rows": 2,
        "masked": {"my-number": 1, "name": 3, "phone": 2},
        "kept": {},
    }
    text = masked.read_bytes().decode(codec)
    assert masked.read_bytes().startswith(b"\xef\xbb\xbf") == (codec == "utf-8-sig")
    assert text.startswith(
        f"{HEADER}\r\n10001,顧客A,PHONE_1,顧客B様へ。電話はPHONE_1、番号は[my-number]\r\n10002,未定,,"
    )
    assert "顧客Aより" in text and "御手洗" not in text
    assert stat.S_IMODE(key.stat().st_mode) == 0o600 and "9018" not in key.read_text("utf-8")
    assert masking.unmask(masked, back, key).rows == 2
    restored = back.read_bytes().decode(codec)
    # One number in two spellings comes back in the first one; a My Number does not come back.
    assert restored == TABLE.replace("０９０１２３４５６７８", "090-1234-5678").replace("123456789018", "[my-number]")


def test_pseudonyms_go_on_in_the_next_file_and_never_meet_what_stands_there(tmp_path: Path) -> None:
    key = tmp_path / "key.json"
    for number, text in enumerate(("田中様 a@example.com", "鈴木様と田中様、PHONE_1 は記号です。090-1234-5678")):
        (tmp_path / f"{number}.jsonl").write_text(json.dumps({"prompt": text}, ensure_ascii=False) + "\n", "utf-8")
        masking.mask(tmp_path / f"{number}.jsonl", tmp_path / f"{number}.out.jsonl", key=key)
    second = json.loads((tmp_path / "1.out.jsonl").read_text("utf-8"))
    assert second == {"prompt": "顧客B様と顧客A様、PHONE_1 は記号です。PHONE_2"}
    masking.unmask(tmp_path / "1.out.jsonl", tmp_path / "1.back.jsonl", key)
    assert (tmp_path / "1.back.jsonl").read_bytes() == (tmp_path / "1.jsonl").read_bytes()


def test_a_workbook_is_masked_in_cells_comments_titles_and_authors(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.title = "田中様"
    sheet.append(["問い合わせ一覧"])
    sheet.append(["氏名", "電話", "本文", "数量"])
    sheet.append(["ジョン・スミス", 9012345678, '=HYPERLINK("mailto:taro@example.com")', 3])
    sheet["C3"].comment = openpyxl.comments.Comment("佐藤様に確認", "佐藤")
    book.properties.creator = "山田太郎"
    book.save(tmp_path / "in.xlsx")
    done = masking.mask(tmp_path / "in.xlsx", tmp_path / "out.xlsx")
    after = openpyxl.load_workbook(tmp_path / "out.xlsx")
    cells = [[cell.value for cell in row] for row in after.active.iter_rows()]  # type: ignore[union-attr]
    assert cells[2] == ["顧客B", "PHONE_1", '=HYPERLINK("mailto:EMAIL_1")', 3] or cells[2][1] == "PHONE_1"
    everything = " ".join(str(part) for part in (cells, after.sheetnames, after.properties.creator))
    assert not any(word in everything for word in ("スミス", "9012345678", "taro", "田中", "山田"))
    assert "佐藤" not in str(after.active["C3"].comment)  # type: ignore[index]
    assert done.rows == 2
    masking.mask(tmp_path / "in.xlsx", tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_bytes().startswith(b"\xef\xbb\xbf")


def test_standins_look_real_and_the_key_is_for_one_style(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"phone": "090-1234-5678", "name": "田中 太郎"}\n', "utf-8")
    masking.mask(tmp_path / "in.jsonl", tmp_path / "out.jsonl", key=tmp_path / "key", style="standin")
    row = json.loads((tmp_path / "out.jsonl").read_text("utf-8"))
    assert row["phone"] != "090-1234-5678" and row["phone"].startswith("090-") and len(row["name"]) >= 3
    masking.unmask(tmp_path / "out.jsonl", tmp_path / "back.jsonl", tmp_path / "key")
    assert (tmp_path / "back.jsonl").read_bytes() == (tmp_path / "in.jsonl").read_bytes()
    with pytest.raises(UsageError, match="standin"):
        masking.mask(tmp_path / "in.jsonl", tmp_path / "out.jsonl", key=tmp_path / "key")


def test_what_cannot_be_read_leaves_neither_output_nor_key(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"a": "田中様"}\n{"a": \n', "utf-8")
    with pytest.raises(SodateError) as error:
        masking.mask(tmp_path / "in.jsonl", tmp_path / "out.jsonl", key=tmp_path / "key")
    assert error.value.line == 2
    assert not (tmp_path / "out.jsonl").exists() and not (tmp_path / "key").exists()
    with pytest.raises(UsageError):
        masking.mask(tmp_path / "in.jsonl", tmp_path / "in.jsonl")


def test_another_ending_is_refused_by_name_and_nothing_is_left_beside_a_key(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"a": "田中様"}\n', "utf-8")
    with pytest.raises(UsageError, match=r"out\.pdf") as error:
        masking.mask(tmp_path / "in.jsonl", tmp_path / "out.pdf", key=tmp_path / "key")
    assert error.value.param == "out" and ".xlsx" in str(error.value.fix)
    masking.mask(tmp_path / "in.jsonl", tmp_path / "out", key=tmp_path / "key")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "key", "out"]


def test_a_short_table_in_cp932_is_read_and_broken_utf8_is_not_taken_for_it(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_bytes("氏名,電話\r\n田中太郎,０９０－１２３４－５６７８\r\n".encode("cp932"))
    masking.mask(tmp_path / "in.csv", tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_bytes().decode("cp932") == "氏名,電話\r\n顧客A,PHONE_1\r\n"
    (tmp_path / "bad.csv").write_bytes("氏名,電話\r\n田中太郎様はこちらです,1\r\n".encode() + b"\x83\x41\r\n")
    with pytest.raises(SodateError) as error:
        masking.mask(tmp_path / "bad.csv", tmp_path / "out.csv")
    assert error.value.code == "bad_encoding"


def test_a_json_document_stays_one(tmp_path: Path) -> None:
    (tmp_path / "in.json").write_text('{"rows": [{"phone": "090-1234-5678"}]}', "utf-8")
    masking.mask(tmp_path / "in.json", tmp_path / "out.json")
    assert json.loads((tmp_path / "out.json").read_text("utf-8")) == {"rows": [{"phone": "PHONE_1"}]}


def test_a_workbook_is_as_large_as_it_is_and_not_as_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One cell in the last corner of a sheet makes it seventeen thousand million cells large; looked at one by one,
    they would all be made."""
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    for row in (["id", "note"], [], ["1", "山田太郎"]):
        sheet.append(row)
    book.save(tmp_path / "near.xlsx")
    assert sheets.table(tmp_path / "near.xlsx") == [["id", "note"], [], ["1", "山田太郎"]]
    sheet.row_dimensions[300_000].height = 20  # a format, and nothing in it
    book.save(tmp_path / "tall.xlsx")
    assert sheets.read(tmp_path / "tall.xlsx") == [(3, {"id": "1", "note": "山田太郎"})]
    sheet.cell(300_000, 16_384).value = "x"
    book.save(tmp_path / "far.xlsx")
    assert len(sheets.table(tmp_path / "far.xlsx")) == 300_000
    with pytest.raises(SodateError, match="more than 5,000,000 cells"):
        masking.mask(tmp_path / "far.xlsx", tmp_path / "out.xlsx")
    monkeypatch.setattr(sheets, "MAX_UNPACKED", 1000)
    for read in (sheets.table, sheets.read):
        with pytest.raises(SodateError, match="unpacked it would be"):
            read(tmp_path / "near.xlsx")
