"""Memory that grows with the rows, kept in unnamed temporary files that are mapped: the system may take its pages away.

The files lie where `tempfile` puts them (TMPDIR) and vanish with the process, however it ends.
"""

from __future__ import annotations

import mmap
import os
import struct
import tempfile
import weakref
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sodate.core.files import full_disk_said

_FIRST = 1 << 12  # bytes of a new column
_BLOCK = 1 << 18  # words merged at once
_ZEROS = bytes(1 << 20)
_Words = NDArray[np.uint64]
Code = Literal["B", "H", "I", "Q", "q"]  # as in `array`


class Column:
    """Integers, appended and read by position: an array outside the process's heap.

    Raises SodateError when the disk is full.
    """

    def __init__(self, code: Code, zeros: int = 0) -> None:
        self._code: Code = code
        self._size = struct.calcsize(code)
        self._file = tempfile.TemporaryFile(prefix="sodate-", buffering=0)  # noqa: SIM115 - lives with the column
        self.close = weakref.finalize(self, self._file.close)
        self._length = zeros
        self._room = 0
        self._grow(max(zeros * self._size, _FIRST))

    def _grow(self, size: int) -> None:
        # Written, not only made longer: a page of a hole that a full disk can't fill kills the process that touches it.
        with full_disk_said(Path(tempfile.gettempdir())):
            self._file.seek(0, os.SEEK_END)
            missing = size - self._file.tell()
            while missing > 0:
                missing -= self._file.write(_ZEROS[:missing])
        self._map = mmap.mmap(self._file.fileno(), size)
        self._view = memoryview(self._map).cast(self._code)
        self._room = len(self._view)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> int:
        if not 0 <= index < self._length:
            raise IndexError(index)
        return self._view[index]

    def __setitem__(self, index: int, value: int) -> None:
        self._view[index] = value

    def append(self, value: int) -> None:
        if self._length == self._room:
            self._grow(2 * len(self._map))
        self._view[self._length] = value
        self._length += 1

    def extend(self, values: bytes) -> None:
        """Appends numbers given as their bytes."""
        count = len(values) // self._size
        while self._length + count > self._room:
            self._grow(2 * len(self._map))
        self._view[self._length : self._length + count] = memoryview(values).cast(self._code)
        self._length += count

    def numpy(self) -> NDArray[Any]:
        """The numbers so far, not copied."""
        return np.frombuffer(self._map, dtype=np.dtype(self._code), count=self._length)


class Spool:
    """Texts by number, in a temporary file."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="sodate-", buffering=1 << 20)  # noqa: SIM115 - lives with the spool
        self.close = weakref.finalize(self, self._file.close)
        self._ends = Column("Q", 1)
        self._on_disk = 0

    def __len__(self) -> int:
        return len(self._ends) - 1

    def append(self, text: str) -> int:
        data = text.encode("utf-8", "surrogatepass")
        with full_disk_said(Path(tempfile.gettempdir())):
            self._file.write(data)
        self._ends.append(self._ends[len(self)] + len(data))
        return len(self) - 1

    def __getitem__(self, row: int) -> str:
        start, end = self._ends[row], self._ends[row + 1]
        if end > self._on_disk:
            self._file.flush()
            self._on_disk = self._ends[len(self)]
        return os.pread(self._file.fileno(), end - start, start).decode("utf-8", "surrogatepass")


def merged(a: _Words, b: _Words) -> _Words:
    """Two sorted arrays as one, in a temporary file; neither is ever held as a whole."""
    with tempfile.TemporaryFile(prefix="sodate-") as file, full_disk_said(Path(tempfile.gettempdir())):
        i = j = 0
        while i < len(a) or j < len(b):
            x, y = a[i : i + _BLOCK], b[j : j + _BLOCK]
            if len(x) and len(y):
                last = min(x[-1], y[-1])  # what follows in either array is not smaller
                x, y = x[: x.searchsorted(last, "right")], y[: y.searchsorted(last, "right")]
            block = np.concatenate((x, y))
            block.sort(kind="stable")  # merges the two sorted runs
            file.write(block.data)
            i, j = i + len(x), j + len(y)
        file.flush()
        return np.asarray(np.memmap(file, dtype=np.uint64, mode="r"))
