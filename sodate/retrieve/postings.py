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
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEVELS = 255
BATCH = 4096  # passages whose postings are held in memory while an index is made
LONG = 4096  # postings of a term from which it pays to ask whether they can still change what is best …
SHARE = 32  # … or, where that is more, as many as this part of all passages
LOOKED_UP = 16  # postings that are read in the time that one passage takes to be looked up among them
SURE = 1.00001  # of what can be added: sums of float32 are rounded
CANDIDATES = 200  # passages of which a phrase is looked for that has no terms to look it up by …
SPARE = 20  # … and those beyond what was asked for where it has: they may hold its terms and not the phrase
FILES = ("terms.u64", "starts.i64", "passages.i32", "weights.u8")


def code(term: str) -> int:
    return int.from_bytes(hashlib.blake2b(term.encode(), digest_size=8).digest(), "little")


class _Numbers(dict[str, int]):
    """Numbers of terms, in the order they came."""

    def __missing__(self, term: str) -> int:
        self[term] = number = len(self)
        return number


def write(folder: Path, passages: Iterable[Mapping[str, int]], *, k1: float, b: float) -> int:
    """Writes the index of passages, each given as its terms with how often they occur; returns their number. Memory
    does not grow with it, except for the different terms."""
    numbers = _Numbers()
    counts = np.zeros(0, np.int64)
    lengths: list[NDArray[np.int32]] = []
    parts = folder / "parts"
    parts.mkdir()

    def batch(found: list[Mapping[str, int]]) -> None:
        nonlocal counts
        sizes = np.array([len(one) for one in found], np.int64)
        own = np.repeat(np.arange(len(found), dtype=np.int32), sizes)
        owner = own + np.int32(sum(map(len, lengths)))
        term = np.fromiter(map(numbers.__getitem__, chain.from_iterable(found)), np.int32, sizes.sum())
        times = np.fromiter(chain.from_iterable(one.values() for one in found), np.int32, sizes.sum())
        often = np.minimum(times, 255).astype(np.uint8)
        order = np.argsort(term, kind="stable")
        np.savez(parts / f"{len(lengths):06d}.npz", term=term[order], owner=owner[order], often=often[order])
        counts = np.pad(counts, (0, len(numbers) - len(counts))) + np.bincount(term, minlength=len(numbers))
        lengths.append(np.bincount(own, times, len(found)).astype(np.int32))

    waiting: list[Mapping[str, int]] = []
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


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage: its part among those that were searched, its number there, its score."""

    part: int
    number: int
    score: float


@dataclass(frozen=True, slots=True)
class Span:
    """The postings of a term within a part, and what a level of theirs adds to a score."""

    start: int
    end: int
    factor: float


@dataclass(frozen=True)
class Postings:
    """An index opened: nothing is read before it is needed."""

    folder: Path
    count: int  # of passages
    k1: float

    def _file(self, name: str, kind: Any) -> NDArray[Any]:
        file = self.folder / name
        # As a plain array: every slice of a memmap is one again, which costs as much as a short list of postings.
        return np.asarray(np.memmap(file, kind, "r")) if file.stat().st_size else np.zeros(0, kind)

    @cached_property
    def _arrays(self) -> tuple[NDArray[Any], ...]:
        kinds = (np.uint64, np.int64, np.int32, np.uint8)
        return tuple(self._file(name, kind) for name, kind in zip(FILES, kinds, strict=True))

    def spans(self, terms: Sequence[str]) -> list[tuple[int, int]]:
        """Where the postings of each term begin and end; (0, 0) of one that no passage holds."""
        codes, starts, _, _ = self._arrays
        asked = np.array([code(term) for term in terms], np.uint64)
        places = np.searchsorted(codes, asked)
        there = [int(at) if at < len(codes) and codes[at] == one else -1 for at, one in zip(places, asked, strict=True)]
        return [(0, 0) if at < 0 else (int(starts[at]), int(starts[at + 1])) for at in there]

    def best(
        self, spans: Sequence[Span], k: int, allowed: NDArray[np.bool_] | None,
        beside: Sequence[tuple[NDArray[np.int64], int]] = (),
    ) -> list[tuple[int, float]]:  # fmt: skip
        """(number, score) of the k best passages above 0, among those that are allowed; of equal ones the first. Then
        for each of `beside`, passages in order and how many of them are wanted, the best of these.

        Rare terms come first. Once the k best so far are further ahead than all that is left can add, the postings that
        are left are looked up for those that are still in reach alone, and not read (MaxScore: Turtle & Flood 1995).
        """
        _, _, owners, levels = self._arrays
        scores = np.zeros(self.count, np.float32)
        ordered = sorted((one for one in spans if one.end > one.start), key=lambda one: one.end - one.start)
        tops = [one.factor * float(levels[one.start : one.end].max()) for one in ordered]
        long = max(LONG, self.count // SHARE)
        for at, span in enumerate(ordered):
            left = sum(tops[at:])
            if span.end - span.start >= long and (near := self._in_reach(scores, k, left, allowed)) is not None:
                sets = [(near, k), *((_within(numbers, scores, most, left), most) for numbers, most in beside)]
                if LOOKED_UP * sum(len(numbers) for numbers, _ in sets) <= span.end - span.start:
                    rest = list(zip(ordered[at:], tops[at:], strict=True))
                    return [one for numbers, most in sets for one in self._finished(scores, numbers, most, rest)]
            scores[owners[span.start : span.end]] += np.float32(span.factor) * levels[span.start : span.end]
        near = np.flatnonzero(scores if allowed is None else np.where(allowed, scores, 0))
        return [one for numbers, most in ((near, k), *beside) for one in _ranked(numbers, scores[numbers], most)]

    def _finished(
        self, scores: NDArray[np.float32], numbers: NDArray[np.int64], k: int, rest: Sequence[tuple[Span, float]]
    ) -> list[tuple[int, float]]:
        """The k best of some passages, whose scores have all but the rest of the terms, each with the most it can add.
        What can add most is looked up first: after it fewer are in reach."""
        totals, left = scores[numbers], sum(top for _, top in rest)
        for span, top in sorted(rest, key=lambda one: -one[1]):
            totals = totals + self._added([span], numbers)
            left -= top
            if len(numbers) > 2 * k:
                kept = _reaching(totals, k, left)
                numbers, totals = numbers[kept], totals[kept]
        return _ranked(numbers, totals, k)

    def _in_reach(
        self, scores: NDArray[np.float32], k: int, left: float, allowed: NDArray[np.bool_] | None
    ) -> NDArray[np.int64] | None:
        """Which passages can still be among the k best, where no score grows by more than `left`; None: any."""
        # Most often none is far enough ahead yet, which counting says ten times sooner than finding the k-th best.
        ahead = scores > left
        if allowed is not None:
            ahead &= allowed
        if np.count_nonzero(ahead) < k:
            return None
        best = scores[ahead]
        bound = np.partition(best, len(best) - k)[len(best) - k]
        near = np.flatnonzero(scores >= max(bound - SURE * left, np.finfo(np.float32).tiny))
        return near if allowed is None else near[allowed[near]]

    def _added(self, spans: Sequence[Span], numbers: NDArray[np.int64]) -> NDArray[np.float32]:
        """What terms add to the scores of some passages, in order of their numbers."""
        _, _, owners, levels = self._arrays
        added = np.zeros(len(numbers), np.float32)
        wanted = numbers.astype(owners.dtype)  # of another type, the postings would be copied to be compared
        for span in spans:
            own = owners[span.start : span.end]
            if not len(own):
                continue
            places = np.searchsorted(own, wanted)
            held = np.flatnonzero(own[np.minimum(places, len(own) - 1)] == wanted)
            added[held] += np.float32(span.factor) * levels[span.start + places[held]]
        return added

    def holding(self, terms: Sequence[str]) -> NDArray[np.int64]:
        """The numbers of the passages that hold every one of the terms, in order; of no terms, none."""
        _, _, owners, _ = self._arrays
        spans = sorted(self.spans(terms), key=lambda span: span[1] - span[0])
        found = owners[slice(*spans[0])] if spans else owners[:0]
        for start, end in spans[1:]:
            if not len(found):
                break
            own = owners[start:end]
            places = np.searchsorted(own, found)
            found = found[own[np.minimum(places, len(own) - 1)] == found]
        return found.astype(np.int64)

    def scores_of(self, spans: Sequence[Span], numbers: NDArray[np.int64]) -> list[float]:
        """The scores of the passages of these numbers, which are in order."""
        return [float(score) for score in self._added(spans, numbers)]


def _reaching(totals: NDArray[np.float32], k: int, left: float) -> NDArray[np.bool_]:
    """Which of more than k can still be among the k best, where none grows by more than `left`."""
    bound = np.partition(totals, len(totals) - k)[len(totals) - k]
    kept: NDArray[np.bool_] = totals >= bound - SURE * left
    return kept


def _within(numbers: NDArray[np.int64], scores: NDArray[np.float32], k: int, left: float) -> NDArray[np.int64]:
    """Those of some passages that can still be among the k best of them."""
    return numbers[_reaching(scores[numbers], k, left)] if len(numbers) > k else numbers


def _ranked(numbers: NDArray[np.int64], scores: NDArray[np.float32], k: int) -> list[tuple[int, float]]:
    if k <= 0 or not len(numbers):
        return []
    if len(scores) > k:
        bound = np.partition(scores, len(scores) - k)[len(scores) - k]
        numbers, scores = numbers[scores >= bound], scores[scores >= bound]
    order = np.argsort(-scores, kind="stable")[:k]
    return [(int(numbers[at]), float(scores[at])) for at in order]


def weighed(parts: Sequence[Postings], terms: Iterable[str]) -> tuple[list[list[Span]], float]:
    """The postings of a question's terms in each part, and what a passage of mean length scores that holds each of them
    once. A term counts once, however often it is asked for, and is as rare as it is in all parts together."""
    asked = list(dict.fromkeys(terms))
    held = [part.spans(asked) for part in parts]
    total = sum(part.count for part in parts)
    often = [sum(end - start for start, end in spans) for spans in zip(*held, strict=True)]
    idf = [math.log(1 + (total - n + 0.5) / (n + 0.5)) for n in often]
    found = [
        [Span(start, end, rare * (part.k1 + 1) / LEVELS) for (start, end), rare in zip(spans, idf, strict=True)]
        for part, spans in zip(parts, held, strict=True)
    ]
    return found, sum(idf)


def search(
    parts: Sequence[Postings], terms: Iterable[str], k: int, allowed: Sequence[NDArray[np.bool_] | None] | None = None,
    together: Sequence[Sequence[str]] = (),
) -> tuple[list[Hit], float]:  # fmt: skip
    """The k best passages of all parts, and the score of one that holds every term (`weighed`). `allowed` are, for each
    part, the passages that are looked among, None: all. For each of `together` come those beside them that hold all
    terms of it, the k best with SPARE more, or where it has none the CANDIDATES best of all."""
    spans, whole = weighed(parts, terms)
    found: dict[tuple[int, int], float] = {}
    for at, (part, own) in enumerate(zip(parts, spans, strict=True)):
        among = allowed[at] if allowed else None
        first = k if all(together) else max(k, CANDIDATES)
        holding = [part.holding(wanted) for wanted in together]
        beside = [(some if among is None else some[among[some]], k + SPARE) for some in holding]
        found |= {(at, number): score for number, score in part.best(own, first, among, beside)}
    hits = sorted((Hit(at, number, score) for (at, number), score in found.items()), key=_first)
    return hits if together else hits[:k], whole


def _first(hit: Hit) -> tuple[float, int, int]:
    return -hit.score, hit.part, hit.number
