"""Content is looked at before a file's name is believed, and every row of a document is counted."""

from __future__ import annotations

import gzip
import json
import sqlite3
import zipfile
from pathlib import Path
from typing import Any

import pytest

from sodate.core.errors import SodateError, UsageError
from sodate.data import RawRow, check, ledger, read_rows, unpack
from sodate.data.ledger import Ledger, Problem

ROWS = [{"prompt": f"U{n}", "completion": f"A{n}"} for n in range(3)]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
DOCUMENT = json.dumps(ROWS, indent=1).encode()
TABLE = b"prompt,completion\n" + b"".join(f"U{n},A{n}\n".encode() for n in range(3))


def parquet(path: Path, rows: list[dict[str, Any]]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist(rows), path)
    return path.read_bytes()


def content(what: str, tmp_path: Path) -> bytes:
    plain = {"lines": LINES, "document": DOCUMENT, "array": json.dumps(ROWS).encode(), "table": TABLE}
    return parquet(tmp_path / "made", ROWS) if what == "parquet" else plain[what]


RIGHT = {"lines": {"jsonl", "json"}, "document": {"json", "jsonl"}, "array": {"json", "jsonl"}, "table": {"csv", "tsv"}}


@pytest.mark.parametrize("what", ["lines", "document", "array", "table", "parquet"])
@pytest.mark.parametrize("suffix", ["jsonl", "json", "csv", "tsv", "parquet", "txt", ""])
@pytest.mark.parametrize("packed", [False, True])
def test_the_same_rows_are_read_under_any_name_and_a_wrong_one_is_said(
    what: str, suffix: str, packed: bool, tmp_path: Path
) -> None:
    data = content(what, tmp_path)
    path = tmp_path / (f"a.{suffix}" if suffix else "a")
    path.write_bytes(gzip.compress(data) if packed else data)
    items = list(read_rows(path))
    assert [item.data for item in items if isinstance(item, RawRow)] == ROWS
    said = [item.code for item in items if isinstance(item, Problem)]
    wrong = suffix not in RIGHT.get(what, {"parquet"})
    assert said.count("file-kind") == wrong + packed and set(said) <= {"file-kind", "delimiter"}


def test_a_name_that_says_gz_is_not_believed_either(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(LINES)
    first, *rest = read_rows(path)
    assert isinstance(first, Problem) and first.code == "file-kind" and "not packed" in first.message
    assert len(rest) == 3


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet", "a.txt"])
def test_a_file_that_holds_no_rows_is_named_for_what_it_is(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("[Content_Types].xml", "<x/>")
    for data, what in (
        (path.read_bytes(), "xlsx"),
        (b"%PDF-1.7\n", "PDF"),
        (b"version https://" + b"git-lfs\noid sha256:0\n", "LFS"),
        (b"\n<!DOCTYPE html><html>", "web page"),
        (gzip.compress(gzip.compress(LINES)), "twice"),
    ):
        path.write_bytes(data)
        with pytest.raises(SodateError, match=what):
            list(read_rows(path))
    path.unlink()
    sqlite3.connect(path).execute("create table t (a)").connection.close()
    with pytest.raises(SodateError, match="SQLite"):
        list(read_rows(path))


def test_neither_name_nor_content_may_tell(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("Dear all,\n")
    with pytest.raises(UsageError, match="cannot tell"):
        list(read_rows(path))
    path = tmp_path / "a.parquet"
    path.write_text("Dear all,\n")
    with pytest.raises(SodateError, match="not a Parquet file"):
        list(read_rows(path))


def counted(tmp_path: Path, text: str, name: str) -> tuple[int, int]:
    path = tmp_path / name
    path.write_text(text, "utf-8")
    found = check([path]).ledger
    assert found.rows_in == found.rows_used + found.rows_aside
    return found.rows_in, found.rows_used


def many(count: int) -> list[dict[str, str]]:
    return [{"prompt": f"question number {n}", "completion": f"A{n}"} for n in range(count)]


def test_every_row_of_a_second_list_is_counted_and_the_choice_named(tmp_path: Path) -> None:
    text = json.dumps({"train": many(3), "test": many(500)})
    assert counted(tmp_path, text, "a.json") == (503, 3)
    aside = check([tmp_path / "a.json"]).ledger.set_aside
    assert len(aside) == 500 and "train" in aside[0].message and "test" in aside[0].message
    assert counted(tmp_path, json.dumps({"train": many(3), "test": many(500)}, indent=2), "a.json") == (503, 3)
    assert counted(tmp_path, json.dumps({"train": [], "test": many(5)}), "a.json") == (5, 5)
    assert counted(tmp_path, json.dumps({"a": many(2), "b": many(3), "c": many(4)}), "a.json") == (9, 2)
    assert counted(tmp_path, json.dumps(many(2)) + json.dumps(many(3)), "a.json") == (5, 2)


def test_an_array_on_one_line_is_as_many_rows_as_it_has(tmp_path: Path) -> None:
    assert counted(tmp_path, json.dumps(many(500)), "a.jsonl") == (500, 500)
    assert counted(tmp_path, json.dumps(many(500)) + "\n\n", "a.jsonl") == (500, 500)
    assert counted(tmp_path, json.dumps(many(500), indent=1), "a.jsonl") == (500, 500)
    lines = "".join(json.dumps(row) + "\n" for row in many(3))
    assert counted(tmp_path, lines + json.dumps(many(500)) + "\n", "a.jsonl") == (503, 3)
    assert counted(tmp_path, json.dumps(many(5)) + "\n" + lines, "a.jsonl") == (8, 3)
    assert counted(tmp_path, json.dumps([many(4), *many(2)]), "a.json") == (6, 2)


@pytest.mark.parametrize(
    ("document", "what"),
    [
        ({"prompt": ["U", "V"], "completion": ["A", "B"]}, "2 rows as columns"),
        ({"prompt": {"0": "U", "1": "V"}, "completion": {"0": "A", "1": "B"}}, "2 rows as columns"),
        ({"0": ROWS[0], "1": ROWS[1]}, "2 rows under names"),
        ({"columns": ["prompt", "completion"], "data": [["U", "A"], ["V", "B"]]}, "2 rows as lists"),
        ({"version": "1", "data": {"train": ROWS, "test": ROWS[:1]}}, r"data.train \(3\), data.test \(1\)"),
    ],
)
def test_rows_in_another_shape_are_never_one_row(document: Any, what: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(document), "utf-8")
    with pytest.raises(SodateError, match=what):
        check([path])


def test_objects_that_share_a_line_are_as_many_rows_lost(tmp_path: Path) -> None:
    row = json.dumps(ROWS[0])
    for between in ("", " ", ", "):
        assert counted(tmp_path, f"{between.join([row] * 500)}\n{row}\n", "a.jsonl") == (501, 1)
    assert counted(tmp_path, f"{row} and so on\n{row}\n", "a.jsonl") == (2, 1)


def test_a_packed_file_may_not_unpack_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpack, "FREE", 1 << 16)
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(b"x\n" * (4 << 20)))
    problems = [item for item in read_rows(path) if isinstance(item, Problem)]
    assert problems[-1].code == "packed-too-tight" and len(problems) < 2 << 20
    repeated = LINES + b"".join(
        json.dumps({"prompt": f"V{n}", "completion": "B" * 100}).encode() + b"\n" for n in range(5000)
    )
    path.write_bytes(gzip.compress(repeated))
    assert sum(isinstance(item, RawRow) for item in read_rows(path)) == 5003
    path = tmp_path / "a.parquet.gz"
    path.write_bytes(gzip.compress(parquet(tmp_path / "made", ROWS) + bytes(4 << 20)))
    with pytest.raises(SodateError, match="250 times"):
        list(read_rows(path))


def test_one_long_text_in_many_rows_of_parquet_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow as pa

    monkeypatch.setattr(unpack, "FREE", 16 << 20)
    path = tmp_path / "a.parquet"
    parquet(path, [{"prompt": "x" * (1 << 20), "completion": str(n)} for n in range(100)])
    assert path.stat().st_size < 1 << 18
    before = pa.total_allocated_bytes()
    rows = read_rows(path)
    next(rows)
    assert pa.total_allocated_bytes() - before < 32 << 20
    monkeypatch.setattr("sodate.data.parquet.RATIO", 1)
    with pytest.raises(SodateError, match="times its size"):
        list(read_rows(path))


def test_the_ledger_lists_so_many_of_a_code_and_counts_them_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "MAX_ENTRIES", 10)
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"{\n" * 25 + LINES + b"[]\n")
    found = check([path])
    assert (found.ledger.rows_in, found.ledger.rows_used, found.ledger.rows_aside) == (29, 3, 26)
    assert len(found.ledger.set_aside) == 11 and found.stats["codes"]["invalid-json"] == 25
    assert found.stats["unlisted"] == {"invalid-json": 15}
    assert len(found.examples) == 3


def test_lines_are_remembered_by_a_bit_each() -> None:
    found = Ledger()
    for line in (1, 8, 4095, 100_000):
        found.add(Problem("f", line, "nul"))
    assert [line for line in range(1, 200_000) if found.is_aside("f", line)] == [1, 8, 4095, 100_000]
    assert not found.is_aside("g", 1)
    again = ledger.Lines(bytes(found.lines_aside["f"]))
    assert 4095 in again and 4096 not in again and 10**9 not in again


def test_parquet_of_harmless_oddities_is_read_and_they_are_said(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "a.parquet"
    pq.write_table(
        pa.Table.from_arrays(
            [
                pa.array(["U"]),
                pa.array(["A"]),
                pa.array([b"\xff"]),
                pa.array(["x"]),
                pa.array(["y"]),
                pa.array([2**62], pa.timestamp("us")),
                pa.array([1], pa.timestamp("ns")),
                pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int32())),
            ],
            names=["prompt", "completion", "image", "twice", "twice", "late", "fine", "map"],
        ),
        path,
    )
    found = check([path])
    assert found.ledger.rows_used == 1 and not found.ledger.set_aside
    assert [p.code for p in found.ledger.warnings] == ["left-out"] * 3
    assert found.examples[0].item["map"] == {"k": 1}  # type: ignore[union-attr]
    pq.write_table(
        pa.table(
            {
                "prompt": ["U"],
                "completion": ["A"],
                "map": pa.array([[("k", 1), ("k", 2)]], pa.map_(pa.string(), pa.int32())),
            }
        ),
        path,
    )
    assert [p.code for p in check([path]).ledger.set_aside] == ["duplicate-key"]
