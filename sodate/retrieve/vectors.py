"""The vectors of an index's passages, and which of them are nearest to a question's.

Up to EXACT passages every vector is compared. Beyond, the signs of their numbers are compared first, which are 32 times
smaller, and of the nearest by those NEAR the vectors themselves (as in binary quantisation with rescoring).

    vectors.f32    passages × width, each of length 1        signs.u64    a bit for each number: whether it is above 0
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

EXACT = 100_000
NEAR = 2000
BLOCK = 65_536  # passages whose signs are compared at once
FILES = ("vectors.f32", "signs.u64")

Encode = Callable[[Sequence[str]], NDArray[np.float32]]
"""Texts to vectors of length 1, (texts, width)."""


def write(folder: Path, vectors: Iterable[NDArray[np.float32]]) -> int:
    """Writes vectors, some rows at a time; returns their width."""
    width = 0
    with (folder / FILES[0]).open("wb") as out, (folder / FILES[1]).open("wb") as signs:
        for some in vectors:
            width = some.shape[1]
            out.write(np.ascontiguousarray(some, np.float32).tobytes())
            signs.write(_signs(some).tobytes())
    return width


def _signs(vectors: NDArray[np.float32]) -> NDArray[np.uint64]:
    """(rows, width / 64 rounded up)"""
    bits = np.packbits(vectors > 0, axis=1)
    spare = -bits.shape[1] % 8
    return np.ascontiguousarray(np.pad(bits, ((0, 0), (0, spare)))).view(np.uint64)


@dataclass(frozen=True)
class Vectors:
    """The vectors of an index opened."""

    folder: Path
    count: int
    width: int

    @cached_property
    def rows(self) -> NDArray[np.float32]:
        return np.memmap(self.folder / FILES[0], np.float32, "r", shape=(self.count, self.width))

    @cached_property
    def _all_signs(self) -> NDArray[np.uint64]:
        return np.memmap(self.folder / FILES[1], np.uint64, "r").reshape(self.count, -1)

    def nearest(self, query: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        """The numbers of the k nearest passages, in no order."""
        near = self._by_signs(query, max(k, NEAR)) if self.count > EXACT else None
        cosines = self.cosines(query, near)
        k = min(k, len(cosines))
        best = np.argpartition(cosines, len(cosines) - k)[len(cosines) - k :]
        return best.astype(np.int64) if near is None else near[best]

    def cosines(self, query: NDArray[np.float32], numbers: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
        """The cosine of the question's vector with those of some passages, or of all."""
        rows = self.rows if numbers is None else self.rows[numbers]
        return np.asarray(rows @ query, np.float32)

    def _by_signs(self, query: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        own, signs = _signs(query[None]), self._all_signs
        differ = np.empty(self.count, np.uint16)
        for start in range(0, self.count, BLOCK):
            some = np.bitwise_count(signs[start : start + BLOCK] ^ own)
            differ[start : start + BLOCK] = some.sum(1, dtype=np.uint16)
        bound = np.partition(differ, k - 1)[k - 1]
        return np.flatnonzero(differ <= bound)
