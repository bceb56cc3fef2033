"""An inverted index of passages by BM25, on disk and read in place: for each term the passages that hold it, and what
it adds to their scores.

score(q, d) = Σ_t idf(t) tf (k₁ + 1) / (tf + k₁ (1 - b + b |d| / mean |d|)), idf(t) = ln(1 + (N - n_t + ½) / (n_t + ½))
(Robertson & Zaragoza 2009, eq. 3.15, with the idf that is never negative.) What does not depend on the question is kept
as one of 255 levels of its largest possible value. A term is known by 64 bits of its hash: two of ten million terms are
the same with a probability of 3 in a million, and a score is then a little too high.

    terms.u64      hashes, in order            starts.i64    where each one's postings begin, and the end of the last
    passages.i32   postings: passage numbers   weights.u8    and levels
"""

from __future__ import annotations

import hashlib
import math
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEVELS = 255
BATCH = 20_000  # passages whose postings are held in memory while an index is made
FILES = ("terms.u64", "starts.i64", "passages.i32", "weights.u8")


def code(term: str) -> int:
    return int.from_bytes(hashlib.blake2b(term.encode(), digest_size=8).digest(), "little")


def write(folder: Path, passages: Iterable[Sequence[str]], *, k1: float, b: float) -> int:
    """Writes the index of passages, each given as its terms; returns their number. Memory does not grow with it, except
    for the different terms."""
    numbers: dict[str, int] = {}  # of terms, in the order they came
    counts = np.zeros(0, np.int64)
    lengths: list[NDArray[np.int32]] = []
    parts = folder / "parts"
    parts.mkdir()

    def batch(texts: list[Sequence[str]]) -> None:
        nonlocal counts
        found = [Counter(text) for text in texts]
        sizes = np.array([len(one) for one in found], np.int64)
        owner = np.repeat(np.arange(len(texts), dtype=np.int32), sizes) + np.int32(sum(map(len, lengths)))
        term = np.fromiter((numbers.setdefault(t, len(numbers)) for one in found for t in one), np.int32, sizes.sum())
        often = np.fromiter((min(n, 255) for one in found for n in one.values()), np.uint8, sizes.sum())
        order = np.argsort(term, kind="stable")
        np.savez(parts / f"{len(lengths):06d}.npz", term=term[order], owner=owner[order], often=often[order])
        counts = np.pad(counts, (0, len(numbers) - len(counts))) + np.bincount(term, minlength=len(numbers))
        lengths.append(np.array([len(text) for text in texts], np.int32))

    waiting: list[Sequence[str]] = []
    for text in passages:
        waiting.append(text)
        if len(waiting) == BATCH:
            batch(waiting)
            waiting = []
    if waiting:
        batch(waiting)
    size = np.concatenate(lengths) if lengths else np.zeros(0, np.int32)
    damping = (k1 * (1 - b + b * size / max(size.mean() if len(size) else 0, 1e-9))).astype(np.float32)

    codes = np.fromiter((code(term) for term in numbers), np.uint64, len(numbers))
    order = np.argsort(codes, kind="stable")
    starts = np.zeros(len(order) + 1, np.int64)
    np.cumsum(counts[order], out=starts[1:])
    cursor = np.empty(len(order), np.int64)
    cursor[order] = starts[:-1]
    codes[order].tofile(folder / "terms.u64")
    starts.tofile(folder / "starts.i64")
    if total := int(starts[-1]):
        owners = np.memmap(folder / "passages.i32", np.int32, "w+", shape=(total,))
        weights = np.memmap(folder / "weights.u8", np.uint8, "w+", shape=(total,))
        for file in sorted(parts.iterdir()):
            with np.load(file) as part:
                term, owner, often = part["term"], part["owner"], part["often"].astype(np.float32)
            first = np.flatnonzero(np.diff(term, prepend=-1))
            runs = np.diff(first, append=len(term))
            place = np.repeat(cursor[term[first]] - first, runs) + np.arange(len(term))
            owners[place] = owner
            weights[place] = np.rint(LEVELS * often / (often + damping[owner])).astype(np.uint8)
            cursor[term[first]] += runs
        owners.flush()
        weights.flush()
    else:
        for name in FILES[2:]:
            (folder / name).touch()
    shutil.rmtree(parts)
    return len(size)


@dataclass(frozen=True)
class Postings:
    """An index opened: nothing is read before it is needed."""

    folder: Path
    count: int  # of passages
    k1: float

    def _file(self, name: str, kind: Any) -> NDArray[Any]:
        file = self.folder / name
        return np.memmap(file, kind, "r") if file.stat().st_size else np.zeros(0, kind)

    @cached_property
    def _arrays(self) -> tuple[NDArray[Any], ...]:
        kinds = (np.uint64, np.int64, np.int32, np.uint8)
        return tuple(self._file(name, kind) for name, kind in zip(FILES, kinds, strict=True))

    def scores(self, terms: Iterable[str]) -> NDArray[np.float32]:
        """(passages,), the BM25 score of each; a term counts once, however often it is asked for."""
        codes, starts, owners, weights = self._arrays
        scores = np.zeros(self.count, np.float32)
        for term in dict.fromkeys(terms):
            asked = np.uint64(code(term))
            at = int(np.searchsorted(codes, asked))
            if at == len(codes) or codes[at] != asked:
                continue
            start, end = int(starts[at]), int(starts[at + 1])
            idf = math.log(1 + (self.count - (end - start) + 0.5) / (end - start + 0.5))
            scores[owners[start:end]] += np.float32(idf * (self.k1 + 1) / LEVELS) * weights[start:end]
        return scores


def best(scores: NDArray[np.float32], k: int) -> list[int]:
    """Numbers of the k highest scores above 0, highest first; of equal ones the first."""
    k = min(k, len(scores))
    if k <= 0:
        return []
    bound = np.partition(scores, len(scores) - k)[len(scores) - k]
    above = np.flatnonzero(scores >= max(bound, np.float32(1e-9)))
    ordered = above[np.argsort(-scores[above], kind="stable")]
    return [int(number) for number in ordered[:k]]
