"""Reading: the same rows from every kind of file, damage named with its line, never a garbled character."""

from __future__ import annotations

import gzip
import io
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sodate.core.errors import SodateError, UsageError
from sodate.data import RawRow, check, jsontext, read, read_rows
from sodate.data.formats import ROW_KEYS
from sodate.data.ledger import Problem

ROWS = [{"prompt": "質問, 一", "completion": '答え "1"\n二行目'}, {"prompt": "①髙橋～", "completion": "はい"}]


def rows_of(path: Path, encoding: str | None = None) -> list[dict[str, Any]]:
    return [item.data for item in read_rows(path, encoding) if isinstance(item, RawRow)]


def problems_of(path: Path, encoding: str | None = None) -> list[tuple[int, str]]:
    return [(item.line, item.code) for item in read_rows(path, encoding) if isinstance(item, Problem)]


def jsonl(rows: list[dict[str, str]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def table(delimiter: str) -> str:
    quoted = [[f'"{text.replace(chr(34), chr(34) * 2)}"' for text in row.values()] for row in ROWS]
    return "".join(delimiter.join(line) + "\r\n" for line in [["prompt", "completion"], *quoted])


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist(rows), path)


@pytest.mark.parametrize("kind", ["jsonl", "json", "csv", "tsv", "parquet"])
@pytest.mark.parametrize("zipped", [False, True])
def test_every_kind_of_file_gives_the_same_rows(kind: str, zipped: bool, tmp_path: Path) -> None:
    path = tmp_path / f"a.{kind}"
    if kind == "parquet":
        write_parquet(path, ROWS)
    else:
        texts = {"jsonl": jsonl(ROWS), "json": json.dumps(ROWS, indent=1), "csv": table(","), "tsv": table("\t")}
        path.write_bytes(texts[kind].encode())
    if zipped:
        path = Path(f"{path}.gz")
        path.write_bytes(gzip.compress(path.with_suffix("").read_bytes()))
    assert rows_of(path) == ROWS
    assert check([path]).format == "prompt-completion"


def test_lines_are_counted_as_an_editor_counts_them(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\n{"a": 1}\r\n\n  \n{"a": 2}')
    assert [(row.line, row.data["a"]) for row in read_rows(path) if isinstance(row, RawRow)] == [(2, 1), (5, 2)]
    path = tmp_path / "a.csv"
    path.write_bytes(b'a,b\n"x\ny",1\n\nz,2\nbad\n"un"quoted,3\nok,4\n')
    assert [(r.line, r.data["b"]) for r in read_rows(path) if isinstance(r, RawRow)] == [(2, "1"), (5, "2"), (8, "4")]
    assert problems_of(path) == [(6, "wrong-columns"), (7, "invalid-csv")]


@pytest.mark.parametrize(("kind", "delimiter"), [("csv", ";"), ("csv", "\t"), ("tsv", ";")])
def test_the_delimiter_of_the_header_is_used_and_said(kind: str, delimiter: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{kind}"
    path.write_bytes(("\n" + table(delimiter)).encode())
    assert rows_of(path) == ROWS
    assert problems_of(path) == [(1, "delimiter")]
    assert [row.line for row in read_rows(path) if isinstance(row, RawRow)] == [3, 5]


def test_a_semicolon_within_a_header_that_has_commas_or_quotes_is_text(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    for text, row in {"a;b,c\n1,2\n": {"a;b": "1", "c": "2"}, '"a;b"\n1;2\n': {"a;b": "1;2"}}.items():
        path.write_text(text)
        assert rows_of(path) == [row] and problems_of(path) == []


@pytest.mark.parametrize(("kind", "d"), [("csv", ","), ("tsv", "\t")])
def test_every_line_that_a_stray_quote_swallows_is_set_aside(kind: str, d: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{kind}"
    path.write_text(f'a{d}b\n1{d}ok\n2{d}"stray\n3{d}lost\n\n4{d}"end\n5{d}ok\n6{d}"open\n7{d}lost\n')
    assert [row["a"] for row in rows_of(path)] == ["1", "5"]
    assert problems_of(path) == [(n, "invalid-csv") for n in (3, 4, 6, 8, 9)]
    path.write_text(f'a{d}b\n"x\n1{d}2"\n3{d}4\n')  # closed again, but a column is missing
    assert [row["a"] for row in rows_of(path)] == ["3"]
    assert problems_of(path) == [(2, "wrong-columns"), (3, "invalid-csv")]
    assert "line 2" in [p.message for p in read_rows(path) if isinstance(p, Problem)][1]


@pytest.mark.parametrize(
    ("codec", "option"),
    [
        ("cp932", "shift_jis"),
        ("euc_jp", "euc-jp"),
        ("iso2022_jp", "iso-2022-jp"),
        ("utf-16", "utf-16"),
        ("utf-16-le", "utf-16-le"),
        ("utf-16-be", "utf-16-be"),
        ("utf-32", "utf-32"),
    ],
)
@pytest.mark.parametrize("kind", ["jsonl", "json", "csv"])
def test_another_encoding_is_named_set_aside_and_converted_on_request(
    codec: str, option: str, kind: str, tmp_path: Path
) -> None:
    rows = [
        {"prompt": "営業時間を教えてください。表示。", "completion": "十時から七時です。"},
        {"prompt": "ascii", "completion": "ok"},
    ]
    text = {"jsonl": jsonl(rows), "json": json.dumps(rows, ensure_ascii=False)}.get(kind) or "".join(
        f"{a},{b}\n" for a, b in [("prompt", "completion"), *(tuple(row.values()) for row in rows)]
    )
    path = tmp_path / f"a.{kind}"
    path.write_bytes(text.encode(codec))
    items = list(read_rows(path))
    assert [(type(item), getattr(item, "code", "")) for item in items] == [(Problem, "encoding")] * 2
    assert all(isinstance(item, Problem) and f"--encoding {option} " in item.message for item in items)
    assert rows_of(path, option) == rows


def test_windows_characters_of_shift_jis_survive_and_bad_bytes_cost_one_row(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(jsonl(ROWS).encode("cp932") + b'{"prompt": "\x81\xff", "completion": "x"}\n{"a": 1}\n')
    assert rows_of(path, "Shift-JIS") == [*ROWS, {"a": 1}]
    assert problems_of(path, "sjis") == [(3, "encoding")]


def test_half_width_kana_in_a_shift_jis_file_are_not_mistaken_for_utf8(tmp_path: Path) -> None:
    trap = "ﾃｱ".encode("cp932")
    assert trap.decode("utf-8") == "ñ"  # the bytes read as UTF-8 too
    path = tmp_path / "a.jsonl"
    path.write_bytes('{"a": "日本語の文章です"}\n{"a": "返品について"}\n'.encode("cp932") + b'{"a": "%s"}\n' % trap)
    assert rows_of(path) == []
    assert rows_of(path, "shift_jis")[2] == {"a": "ﾃｱ"}


def test_one_bad_line_of_a_utf8_file_is_set_aside_alone_and_its_encoding_guessed(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    good = [{"a": f"これは {n} 行目です"} for n in range(5)]
    path.write_bytes(jsonl(good).encode() + '{"a": "文字化け"}\n'.encode("cp932") + b'{"a": "\xff\xfe"}\n')
    assert rows_of(path) == good
    bad = [item for item in read_rows(path) if isinstance(item, Problem)]
    assert [(p.line, p.code) for p in bad] == [(6, "encoding"), (7, "encoding")]
    assert "Shift_JIS" in bad[0].message and "0xff" in bad[1].message


def test_a_byte_order_mark_is_named_and_left_out(tmp_path: Path) -> None:
    for kind, text in {"jsonl": '{"a": "1"}\n', "json": '[{"a": "1"}]', "csv": "a\n1\n"}.items():
        path = tmp_path / f"a.{kind}"
        path.write_bytes(b"\xef\xbb\xbf" + text.encode())
        assert rows_of(path) == [{"a": "1"}]
        assert problems_of(path) == [(1, "bom")]


def test_converting_a_file_that_is_utf8_already_is_refused_gently(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(jsonl(ROWS), "utf-8")
    assert rows_of(path, "shift_jis") == ROWS
    assert problems_of(path, "shift_jis") == [(1, "encoding-ignored")]
    with pytest.raises(UsageError, match="rot13"):
        rows_of(path, "rot13")


def test_utf16_is_read_by_its_first_bytes_and_asking_for_it_wrongly_garbles_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(jsonl(ROWS).encode("utf-16-be"))
    assert rows_of(path, "utf-16") == rows_of(path, "utf-16-le") == ROWS
    path.write_bytes(b'{"a": "ascii"}\n')
    assert rows_of(path, "utf-16-le") == [{"a": "ascii"}]
    path.write_bytes('{"a": "日本語の文章"}\n'.encode("cp932"))
    with pytest.raises(SodateError, match="--encoding shift_jis"):
        rows_of(path, "utf-16")


def test_bad_bytes_in_a_json_array_or_a_table_cost_their_row_only(tmp_path: Path) -> None:
    for kind, data in {"json": b'[{"a": "1"}, {"a": "\xff"}, {"a": "2"}]', "csv": b"a\n1\n\xff\n2\n"}.items():
        path = tmp_path / f"a.{kind}"
        path.write_bytes(data)
        assert [row["a"] for row in rows_of(path)] == ["1", "2"]
        assert problems_of(path) == [(2 if kind == "json" else 3, "encoding")]


def test_a_gz_cut_off_gives_its_whole_rows_and_says_where_it_breaks(tmp_path: Path) -> None:
    rows = [{"a": f"{n * 7919 % 10007} some text {n}"} for n in range(20_000)]
    whole = gzip.compress(jsonl(rows).encode())
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(whole[: len(whole) // 2])
    read, problems = rows_of(path), problems_of(path)
    assert 5000 < len(read) < 15_000 and read == rows[: len(read)]
    assert problems == [(len(read) + 1, "truncated-gzip")]
    path.write_bytes(b"no gzip at all")
    assert problems_of(path) == [(1, "truncated-gzip")]


def test_json_documents_in_all_the_shapes_people_have(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    cases: dict[str, tuple[list[object], list[tuple[int, str]]]] = {
        '{"version": "1", "data": [{"a": [1, {"b": "]"}]}, {"a": 2}], "n": 2}': ([[1, {"b": "]"}], 2], []),
        '{"a": 1}': ([1], []),
        '{"a": 1}\n{"a": 2}\n': ([1, 2], []),
        "[]": ([], []),
        '[{"a": 1},]': ([1], [(2, "invalid-json")]),
        '[{"a": 1},, {"a": 2}]': ([1, 2], [(2, "invalid-json")]),
        '[{"a": 1}, {"a": ': ([1], [(2, "invalid-json")]),
        '[{"a": 1}': ([1], [(2, "invalid-json")]),
        '[{"a": 1}, 3, {"a": 2}] trailing': ([1, 2], [(2, "not-an-object"), (4, "invalid-json")]),
        '{"a": [{"a": 1}], "b": [{"a": 2}]}': ([1], [(2, "not-an-object")]),
        '[{"a": 1}] [{"a": 2}]': ([1], [(2, "not-an-object")]),
        "{": ([], [(1, "invalid-json")]),
    }
    for text, (values, problems) in cases.items():
        path.write_text(text)
        assert ([row["a"] for row in rows_of(path)], problems_of(path)) == (values, problems), text
    path.write_text('{"messages": [{"role": "user", "content": "one row"}]}')
    assert len(rows_of(path)) == 1


@pytest.mark.parametrize(
    ("row", "name"),
    [
        ({"prompt": "p", "replies": ["a", "b"], "ranks": [1, 2]}, "preference-ranking"),
        ({"prompt": "p", "replies": [[{"role": "assistant", "content": c}] for c in "ab"], "ranks": [1, 2]}, ""),
        (
            {
                "input": {"messages": [{"role": "user", "content": "p"}]},
                "preferred_output": [{"role": "assistant", "content": "a"}],
                "non_preferred_output": [{"role": "assistant", "content": "b"}],
            },
            "preference-openai",
        ),
        (
            {
                "functions": [{"name": "f"}],
                "messages": [{"role": "user", "content": "p"}, {"role": "assistant", "content": "a"}],
            },
            "openai-chat",
        ),
        ({"history": [["p", "a"]], "instruction": "i", "output": "o"}, "alpaca"),
        ({"tags": ["x", {"y": 1}], "prompt": "p", "completion": "c", "seen": [[1], [2]]}, "prompt-completion"),
        ({"prompt": "p", "tests": [{"call": "f()", "returns": 1}], "answers": ["a", "b"]}, "task"),
    ],
)
@pytest.mark.parametrize("chunk", [1, 5, 1 << 18])
def test_a_document_that_is_one_row_with_lists_in_it_is_one_row(
    row: dict[str, Any], name: str, chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jsontext, "CHUNK", chunk)
    path = tmp_path / "a.json"
    path.write_text(json.dumps(row, indent=1))
    assert rows_of(path) == [row] and problems_of(path) == []
    assert check([path]).format == (name or "preference-ranking")


@pytest.mark.parametrize("chunk", [1, 5, 1 << 18])
def test_lists_of_words_beside_the_rows_are_not_taken_for_rows(
    chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jsontext, "CHUNK", chunk)
    path = tmp_path / "a.json"
    for text in (
        '{"labels": ["x", "y"], "data": [ {"a": 1}, {"a": 2}], "by": ["me", "you"], "none": []}',
        '{"sizes": [2, 3], "data": [{"a": 1}, {"a": 2}]}',
        '{"none": {"a": []}, "data": [\n{"a": 1}, {"a": 2}], "ids": [[1], [2]]}',
    ):
        path.write_text(text)
        assert [row["a"] for row in rows_of(path)] == [1, 2] and problems_of(path) == [], text
    for cut in ('{"data": [', '{"data": [  ', '{"data": ["x'):
        path.write_text(cut)
        assert problems_of(path) == [(1, "invalid-json")], cut


@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_json_lines_named_json_are_lines_in_every_encoding(codec: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(jsonl(ROWS).encode(codec))
    assert rows_of(path, None if codec.startswith("utf-8") else codec) == ROWS
    expected = {"utf-8": [], "utf-8-sig": [(1, "bom")]}.get(codec, [(1, "encoding"), (2, "encoding")])
    assert problems_of(path) == expected


_json = st.recursive(
    st.text(max_size=4) | st.integers(),
    lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=3), v, max_size=3),
    max_leaves=8,
)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.dictionaries(st.text('ab"\\[]{},', max_size=3), _json, max_size=3), max_size=5),
    st.integers(1, 7),
    st.booleans(),
)
@example([{"a": "\\"}], 1, False)
def test_array_elements_are_found_whatever_the_chunks(rows: list[Any], chunk: int, wrapped: bool) -> None:
    text = json.dumps({"n": 1, "rows": rows} if wrapped else rows, ensure_ascii=False)
    jsontext_chunk = jsontext.CHUNK
    jsontext.CHUNK = chunk
    try:
        found = [json.loads(element or b"") for element in jsontext.elements(io.BytesIO(text.encode()), ROW_KEYS)]
    finally:
        jsontext.CHUNK = jsontext_chunk
    assert found == rows


def test_parquet_values_become_json_values_and_damage_is_named(tmp_path: Path) -> None:
    from datetime import date

    path = tmp_path / "a.parquet"
    message = {"role": "user", "content": "u", "weight": None}
    write_parquet(path, [{"day": date(2026, 1, 31), "messages": [message, {**message, "weight": 1}]}])
    assert rows_of(path) == [
        {
            "day": "2026-01-31",
            "messages": [{"role": "user", "content": "u"}, {"role": "user", "content": "u", "weight": 1}],
        }
    ]
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(SodateError, match="Parquet"):
        rows_of(path)


def test_numbers_of_parquet_that_json_cannot_carry_are_named_as_in_json(tmp_path: Path) -> None:
    rows = [{"a": 1.5}, {"a": float("nan")}, {"a": None}, {"a": float("-inf")}]
    write_parquet(tmp_path / "a.parquet", rows)
    write_parquet(tmp_path / "nested.parquet", [{"a": {"b": [1.5]}}, {"a": {"b": [0.5, float("nan")]}}])
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name in ("a.parquet", "a.jsonl"):
        assert [row["a"] for row in rows_of(tmp_path / name) if row.get("a")] == [1.5]
        bad = [item for item in read_rows(tmp_path / name) if isinstance(item, Problem)]
        assert [(p.line, p.code, p.args) for p in bad] == [
            (2, "bad-number", ("NaN",)),
            (4, "bad-number", ("-Infinity",)),
        ]
    assert problems_of(tmp_path / "nested.parquet") == [(2, "bad-number")]


def test_a_file_that_is_missing_or_of_an_unknown_kind_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a file"):
        rows_of(tmp_path / "none.jsonl")
    (tmp_path / "a.xlsx").write_bytes(b"")
    with pytest.raises(UsageError, match="kind of file"):
        rows_of(tmp_path / "a.xlsx")


@pytest.mark.parametrize("kind", ["jsonl", "json", "csv"])
def test_a_gigantic_line_is_skipped_in_bounded_memory(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read, "MAX_ROW_BYTES", 1 << 18)
    monkeypatch.setattr(jsontext, "MAX_ROW_BYTES", 1 << 18)
    before, after = {
        "jsonl": ('{"a": "1"}\n{"a": "', '"}\n{"a": "2"}\n'),
        "json": ('[{"a": "1"}, {"a": "', '"}, {"a": "2"}]'),
        "csv": ("a\n1\n", "\n2\n"),
    }[kind]
    path = tmp_path / f"big.{kind}"
    path.write_bytes(before.encode() + b"x" * (32 << 20) + after.encode())
    list(read_rows(path))
    tracemalloc.start()
    items = [item.data["a"] if isinstance(item, RawRow) else item.code for item in read_rows(path)]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert items == ["1", "invalid-csv" if kind == "csv" else "line-too-long", "2"]
    assert peak < 12 << 20  # of the 32 MiB; the first MiB is read to find the encoding
