"""Parquet: what a few bytes of a file may become is bounded before it is made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sodate.core.errors import SodateError
from sodate.data import RawRow, parquet, read_rows


def test_lists_of_equal_numbers_in_parquet_are_counted_before_they_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few kilobytes on disk may be millions of values, of one row or of one among many."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path, many = tmp_path / "a.parquet", parquet.MAX_ITEMS + 1
    numbers = pa.array([0] * many, pa.int32())

    def write(*lengths: int, deep: bool = False) -> None:
        places = [0]
        for length in lengths:
            places.append(places[-1] + length)
        lists: Any = pa.ListArray.from_arrays(pa.array(places, pa.int32()), numbers)
        if deep:
            lists = pa.StructArray.from_arrays([lists], ["b"])
        pq.write_table(pa.table({"prompt": ["a"] * len(lengths), "a": lists}), path)

    write(many)
    with pytest.raises(SodateError, match="lists of"):
        list(read_rows(path))
    for deep in (False, True):
        write(many - 100, 100, deep=deep)
        assert [isinstance(row, RawRow) for row in read_rows(path)] == [True, True]
        write(100, many - 100, 0, deep=deep)
        with monkeypatch.context() as smaller:
            smaller.setattr(parquet, "MAX_ROW_BYTES", parquet.MAX_ROW_BYTES // 2)
            assert [getattr(row, "code", "") for row in read_rows(path)] == ["", "line-too-long", ""]
