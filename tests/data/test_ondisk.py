"""Columns and merges on disk behave as the arrays in memory that they replace."""

from __future__ import annotations

import errno
import tempfile
from array import array
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sodate.core.errors import SodateError
from sodate.data import ondisk
from sodate.data.ondisk import Column, Spool, merged

words = st.lists(st.integers(0, 40) | st.integers(0, 2**64 - 1), max_size=60).map(sorted)


@given(st.lists(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=700), max_size=4))
def test_a_column_is_an_array(parts: list[list[int]]) -> None:
    column, expected = Column("q"), array("q")
    for number, part in enumerate(parts):
        if number % 2:
            column.extend(array("q", part).tobytes())
        else:
            for value in part:
                column.append(value)
        expected.extend(part)
    assert [column[i] for i in range(len(column))] == list(expected) == column.numpy().tolist()
    for outside in (-1, len(expected)):
        with pytest.raises(IndexError):
            column[outside]
    if expected:
        column[len(expected) // 2] = 7
        assert column[len(expected) // 2] == 7
    column.close()


def test_a_column_of_zeros_has_them_all() -> None:
    column = Column("I", zeros=5000)
    assert column[4999] == 0 and not column.numpy().any()
    column[4999] = 2**32 - 1
    column.append(3)
    assert column[4999] == 2**32 - 1 and column[5000] == 3


@given(words, words, st.sampled_from([1, 3, 1 << 18]))
def test_merging_two_sorted_arrays_is_sorting_both(a: list[int], b: list[int], block: int) -> None:
    if a or b:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ondisk, "_BLOCK", block)
            found = merged(np.array(a, dtype=np.uint64), np.array(b, dtype=np.uint64))
        assert found.tolist() == sorted(a + b)


def test_texts_come_back_and_no_file_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    spool = Spool()
    texts = ["", "りんご", "a\ud800b", "x" * 3_000_000]
    assert [spool.append(text) for text in texts] == [0, 1, 2, 3]
    assert [spool[i] for i in (3, 1, 2, 0)] == [texts[i] for i in (3, 1, 2, 0)]
    assert len(spool) == 4
    assert list(tmp_path.iterdir()) == []
    spool.close()


def test_a_full_disk_is_said_where_a_mapped_hole_would_kill_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    column = Column("q")

    class Full:
        def seek(self, *_: int) -> None: ...
        def tell(self) -> int:
            return 0

        def write(self, _: bytes) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(column, "_file", Full())
    with pytest.raises(SodateError, match="Not enough disk space"):
        for value in range(1000):
            column.append(value)
