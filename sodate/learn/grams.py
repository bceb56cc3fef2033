"""Texts as hashed character n-grams, many at once: Japanese has no spaces, so that words are no unit here.

Grams of two and three characters fall into `COLUMNS` columns by a hash. A gram of nothing but hiragana counts less:
what a question is about stands in kanji, katakana and Latin letters. Weights are (1 + log count) · idf, and rows have
length 1.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sodate.data.similar import comparable
from sodate.learn.naming import EMPTY

COLUMNS = 1 << 14
LONGEST = 300  # characters of a text that are looked at
HIRAGANA = 0.25  # how far a gram of hiragana alone counts
_DIGITS = re.compile("[0-9]+")
_LATIN = re.compile(r"(?<![a-z])[a-z][a-z'’]*")

_U64 = npt.NDArray[np.uint64]
_I64 = npt.NDArray[np.int64]
_F32 = npt.NDArray[np.float32]
M1, M2 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93)


@dataclass(frozen=True, slots=True)
class Rows:
    """Sparse rows: `columns[starts[i] : starts[i + 1]]` and `values` there are row i."""

    starts: _I64
    columns: _I64
    values: _F32

    def __len__(self) -> int:
        return len(self.starts) - 1

    def times(self, dense: _F32) -> _F32:
        """The product with a matrix [COLUMNS, k], shape [rows, k]."""
        out = np.zeros((len(self), dense.shape[1]), np.float32)
        for first in range(0, len(self), 256):
            last = min(first + 256, len(self))
            begin, end = self.starts[first], self.starts[last]
            if begin == end:
                continue
            products = dense[self.columns[begin:end]] * self.values[begin:end, None]
            starts = self.starts[first:last] - begin
            full = self.starts[first + 1 : last + 1] - begin > starts  # reduceat has no empty sums
            out[first:last][full] = np.add.reduceat(products, starts[full])
        return out

    def summed(self, groups: _I64, count: int) -> _F32:
        """The rows of each group added up, shape [COLUMNS, count]; rows of group -1 are left out."""
        owner = np.repeat(groups, np.diff(self.starts))
        kept = owner >= 0
        flat = self.columns[kept] * count + owner[kept]
        total = np.bincount(flat, self.values[kept], COLUMNS * count)
        return total.reshape(COLUMNS, count).astype(np.float32)

    def pick(self, which: _I64) -> Rows:
        """Some of the rows, in that order."""
        lengths = np.diff(self.starts)[which]
        starts = np.concatenate([[0], np.cumsum(lengths)])
        places = np.repeat(self.starts[which] - starts[:-1], lengths) + np.arange(starts[-1])
        return Rows(starts, self.columns[places], self.values[places])


def plain(text: str) -> str:
    """A text as its grams are taken: folded, cut, every number the same, without the commonest English words."""
    return _LATIN.sub(_told, _DIGITS.sub("0", comparable(text[:LONGEST])))


def _told(word: re.Match[str]) -> str:
    return "" if word[0] in EMPTY else word[0]


def counted(texts: Sequence[str]) -> Rows:
    """How often each column comes in each text; `values` are 1 + log count, times what kind of grams they are."""
    folded = [plain(text) for text in texts]
    codes = np.frombuffer("\0".join(folded).encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.uint64)
    lengths = np.fromiter((len(text) for text in folded), np.int64, len(folded))
    owner = np.repeat(np.arange(len(folded)), lengths + 1)[: len(codes)]
    inside = codes != 0
    hiragana = (codes >= 0x3041) & (codes <= 0x309F) | (codes == 0x3001) | (codes == 0x3002) | (codes == 0x20)
    keys, weights = [], []
    for size in (2, 3):
        many = len(codes) - size + 1
        if many <= 0:
            continue
        mixed = np.full(many, M2 >> np.uint64(size))
        whole, light = np.ones(many, bool), np.ones(many, bool)
        for place in range(size):
            mixed = (mixed ^ codes[place : place + many]) * M1
            mixed ^= mixed >> np.uint64(29)
            whole &= inside[place : place + many]
            light &= hiragana[place : place + many]
        column = (mixed >> np.uint64(40)).astype(np.int64) % COLUMNS
        keys.append((owner[:many] * COLUMNS + column)[whole])
        weights.append(np.where(light, np.float32(HIRAGANA), np.float32(1))[whole])
    if not keys or not sum(map(len, keys)):
        return Rows(np.zeros(len(folded) + 1, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))
    every, weight = np.concatenate(keys), np.concatenate(weights)
    order = np.argsort(every, kind="stable")
    every, weight = every[order], weight[order]
    first = np.concatenate([[True], every[1:] != every[:-1]])
    places = np.flatnonzero(first)
    counts = np.diff(np.concatenate([places, [len(every)]]))
    values = (1 + np.log(counts)).astype(np.float32) * np.maximum.reduceat(weight, places)
    rows, columns = np.divmod(every[places], COLUMNS)
    return Rows(np.searchsorted(rows, np.arange(len(folded) + 1)), columns, values)


def frequencies(rows: Rows) -> _I64:
    """In how many rows each column is, shape [COLUMNS]."""
    return np.bincount(rows.columns, minlength=COLUMNS)


def inverse(frequency: _I64, texts: int) -> _F32:
    """idf = log((1 + texts) / (1 + frequency)); 0 for what is in very many of them, and says nothing of any."""
    most = (0.25 if texts >= 200 else 0.5) * texts
    idf = np.log((1 + texts) / (1 + frequency)) + (0.05 if texts < 200 else 0)
    return np.where((frequency <= most) | (texts < 20), idf, 0).astype(np.float32)


def weighed(rows: Rows, idf: _F32) -> Rows:
    """The rows by their idf, each of length 1; a row of nothing else stays 0."""
    values = rows.values * idf[rows.columns]
    owner = np.repeat(np.arange(len(rows)), np.diff(rows.starts))
    norm = np.sqrt(np.bincount(owner, values**2, len(rows)))
    return Rows(rows.starts, rows.columns, (values / np.maximum(norm, 1e-9)[owner]).astype(np.float32))
