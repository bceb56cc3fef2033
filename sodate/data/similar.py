"""Near duplicates among many texts, one text at a time, on one core.

Two texts are near duplicates when the Jaccard similarity of their character 5-grams reaches a threshold (Japanese has
no spaces, so words are no unit here). Nothing is reported that the exact similarity of the two texts does not confirm.

Candidates come from MinHash signatures cut into bands (Broder 1997; Leskovec, Rajaraman & Ullman, ch. 3): `BANDS` bands
of r values, r the largest for which a pair exactly at the threshold is missed with probability (1 - t^r)^BANDS <= 0.001
(at t = 0.8: r = 5, 0.00035; such an index misses a pair at 0.85 with 8e-6 and at 0.9 with 1e-8). An exact prefix
filter (recall 1) was tried first: rows of one domain share nearly all their 5-grams, the lists behind single shingles
grow with the number of rows, and 20 000 rows went through at 70 a second instead of many thousands.

Of the rows behind one band only the `POSTINGS` first are looked at: rows made from one template would otherwise cost
quadratic time. Pairs can be lost there, when more rows than that share everything a band looks at.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from sodate.core.errors import UsageError
from sodate.core.text import tr
from sodate.data.ondisk import Column, Spool, merged

SHINGLE = 5  # characters
BANDS = 20  # keys in the index for one text
POSTINGS = 16  # rows looked at behind one key, at most: the first added
_MISS = 0.001  # accepted probability of missing a pair that lies exactly at the threshold
_ROWS = 8  # values in a band, at most
_BUFFER = 4096  # rows kept in a dictionary before they are sorted into an array
_SKIM = 64  # bytes of signature kept per text, to dismiss most candidates without reading them
_CELLS = 1 << 20  # hash values computed at once, so that a book does not need a matrix of gigabytes

_U64 = npt.NDArray[np.uint64]
_U8 = npt.NDArray[np.uint8]
_U32 = npt.NDArray[np.uint32]
_LOW = np.uint64(0xFFFFFFFF)
_32 = np.uint64(32)
_INVISIBLE = re.compile("[\u00ad\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufe00-\ufe0f\ufeff]")
# Odd 64-bit constants: fractional parts of square roots, as good as any.
_M1, _M2, _M3, _M4 = (
    np.uint64(m) for m in (0x6A09E667F3BCC909, 0xBB67AE8584CAA73B, 0x3C6EF372FE94F82B, 0xA54FF53A5F1D36F1)
)

_PLACE: _U64 = np.arange(1, BANDS + 1, dtype=np.uint64) * _M1  # the same values in another band are another key


def comparable(text: str) -> str:
    """The form in which texts are compared: NFKC, case folded, without invisible characters, single spaces."""
    if not text.isascii():
        folded = unicodedata.normalize("NFKC", text).casefold()
        text = _INVISIBLE.sub("", unicodedata.normalize("NFKC", folded))
    return " ".join(text.lower().split())


def shingles(text: str) -> frozenset[str]:
    """The character 5-grams of a normalised text; a shorter text is its own single shingle."""
    if len(text) < SHINGLE:
        return frozenset((text,))
    return frozenset([text[i : i + SHINGLE] for i in range(len(text) - SHINGLE + 1)])


def jaccard(a: frozenset[str], b: frozenset[str]) -> float:
    """|a ∩ b| / |a ∪ b| of two sets that are not both empty."""
    both = len(a & b)
    return both / (len(a) + len(b) - both)


def _codes(text: str) -> _U64:
    """Code points, shape [len(text)]."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32).astype(np.uint64)


def _mix(h: _U64) -> _U64:
    """Spreads every bit over the whole word, in place."""
    h ^= h >> _32
    h *= _M4
    h ^= h >> np.uint64(29)
    return h


def _hashes(text: str) -> _U64:
    """One 64-bit hash per 5-gram of a text of five characters or more, shape [len(text) - 4], repeats included."""
    c = _codes(text)
    pairs = c[:-1] * _M1 + c[1:]
    fours = pairs[:-2] * _M2 + pairs[2:]
    return _mix(fours[:-1] * _M3 + c[4:])


class _Postings:
    """32-bit hash → rows, in insertion order. 8 bytes an entry: hash and row share a word in a few sorted arrays.

    New entries wait in a dictionary. A full dictionary is sorted into the first array, an array eight times its
    intended size into the next: at most four arrays to search, each entry moved a few dozen times.
    """

    def __init__(self) -> None:
        self._new: dict[int, int | list[int]] = {}  # most hashes are in one row only: no list for those
        self._waiting: list[_U32] = []  # the same as in the dictionary, row by row from `_from` on
        self._from = 0
        self._sorted: list[_U64] = []

    def add(self, hashes: _U32) -> None:
        """Files the next row, numbered from 0, under these hashes."""
        row = self._from + len(self._waiting)
        new = self._new
        for h in hashes.tolist():
            rows = new.setdefault(h, row)
            if isinstance(rows, list):
                rows.append(row)
            elif rows != row:
                new[h] = [rows, row]
        self._waiting.append(hashes)

    def settle(self) -> None:
        """Sorts the dictionary away when it is full. Not while results of `settled` are still to be used."""
        if len(self._waiting) >= _BUFFER:
            self._flush()

    def _flush(self) -> None:
        rows = np.arange(self._from, self._from + len(self._waiting), dtype=np.uint64)
        words = np.concatenate(self._waiting).astype(np.uint64) << _32
        words |= np.repeat(rows, [hashes.size for hashes in self._waiting])
        self._from += len(self._waiting)
        self._new, self._waiting = {}, []
        if not words.size:
            return
        words.sort()
        while self._sorted and self._sorted[-1].size < 8 * words.size:
            words = merged(self._sorted.pop(), words)
        self._sorted.append(words)

    def settled(self, hashes: _U32) -> list[set[int]]:
        """For each row of hashes, shape [n, m], the rows behind any of them in the sorted arrays.

        Of the rows behind one hash in one array, the first `POSTINGS`.
        """
        found: list[set[int]] = [set() for _ in hashes]
        flat = hashes.ravel().astype(np.uint64)
        order = flat.argsort()  # neighbours in the arrays are looked up one after the other: the cache likes it
        wanted = flat[order]
        for words in self._sorted:
            at = words.searchsorted(wanted << _32)
            hit = np.flatnonzero((words.take(at, mode="clip") >> _32) == wanted)
            for i, asker in zip(at[hit].tolist(), (order[hit] // hashes.shape[1]).tolist(), strict=True):
                run = words[i : i + POSTINGS]
                found[asker].update((run[(run >> _32) == (run[0] >> _32)] & _LOW).tolist())
        return found

    def fresh(self, hashes: Iterable[int]) -> set[int]:
        """The rows behind any of these hashes in the dictionary; of those behind one hash, the first `POSTINGS`."""
        found: set[int] = set()
        get = self._new.get
        for h in hashes:
            rows = get(h)
            if isinstance(rows, list):
                found.update(rows[:POSTINGS])
            elif rows is not None:
                found.add(rows)
        return found


class NearIndex:
    """Finds, among the texts added so far, the first whose Jaccard similarity with a new text is at least `threshold`.

    8 * BANDS + _SKIM + 16 = 240 bytes a text, and the texts themselves, which are needed to confirm a candidate, lie in
    temporary files that are mapped; memory of its own is a fixed part of about 30 MB.
    """

    def __init__(self, threshold: float = 0.8) -> None:
        if not 0.5 <= threshold <= 1.0:
            raise UsageError(
                tr(
                    f"near-duplicate threshold {threshold} is out of range",
                    f"類似重複のしきい値 {threshold} は範囲外です",
                ),
                tr("Choose a value from 0.5 to 1.0; 0.8 is usual.", "0.5 から 1.0 の値にしてください(通常は 0.8)。"),
                code="bad_value",
                param="threshold",
            )
        self._threshold = threshold
        self._sketch = _Sketch(max(r for r in range(1, _ROWS + 1) if (1 - threshold**r) ** BANDS <= _MISS))
        self._spool = Spool()
        self._keys = Column("q")
        self._postings = _Postings()
        self._skims = Column("B")  # one byte of each of the first signature values
        spread = math.sqrt(_SKIM * threshold * (1 - threshold))
        self._agree = int(_SKIM * threshold - 5 * spread)  # fewer equal bytes: five standard deviations below threshold
        self._last = "", self._sketch([""])  # a text is often queried and then added

    def __len__(self) -> int:
        return len(self._keys)

    def close(self) -> None:
        """Lets go of the temporary files now; otherwise they go with the index."""
        for file in (self._spool, self._keys, self._skims):
            file.close()

    def add(self, key: int, text: str) -> None:
        """Adds a text under a number of the caller's, such as its row number."""
        text = comparable(text)
        bands, skim = self._signature(text)
        self._insert(key, text, bands[0], skim[0])
        self._postings.settle()

    def query(self, text: str) -> int | None:
        """The key of the first added text that is a near duplicate, or None."""
        text = comparable(text)
        bands, skim = self._signature(text)
        return self._first(text, skim[0], self._postings.settled(bands)[0] | self._postings.fresh(bands[0].tolist()))

    def query_all(self, text: str) -> Iterator[int]:
        """The keys of all added texts that are near duplicates, as far as `POSTINGS` lets them be found."""
        text = comparable(text)
        bands, skim = self._signature(text)
        return self._found(text, skim[0], self._postings.settled(bands)[0] | self._postings.fresh(bands[0].tolist()))

    def query_add(self, keys: Sequence[int], texts: Sequence[str]) -> list[int | None]:
        """Queries each text and adds those without a near duplicate, in turn: as one by one, but quicker.

        Give some hundred texts at a time; ten thousand at once would only take memory.
        """
        texts = [comparable(text) for text in texts]
        bands, skims = self._sketch(texts)
        self._postings.settle()
        answers = []
        for i, settled in enumerate(self._postings.settled(bands)):
            first = self._first(texts[i], skims[i], settled | self._postings.fresh(bands[i].tolist()))
            if first is None:
                self._insert(keys[i], texts[i], bands[i], skims[i])
            answers.append(first)
        return answers

    def _signature(self, text: str) -> tuple[_U32, _U8]:
        if text != self._last[0]:
            self._last = text, self._sketch([text])
        return self._last[1]

    def _insert(self, key: int, text: str, bands: _U32, skim: _U8) -> None:
        self._spool.append(text)
        self._skims.extend(skim.tobytes())
        self._postings.add(bands)
        self._keys.append(key)

    def _first(self, text: str, skim: _U8, candidates: set[int]) -> int | None:
        """The key of the first candidate that the exact similarity confirms."""
        return next(self._found(text, skim, candidates), None)

    def _found(self, text: str, skim: _U8, candidates: set[int]) -> Iterator[int]:
        """The keys of the candidates that the exact similarity confirms, in order."""
        if not candidates:
            return
        rows = np.array(sorted(candidates))
        alike = (self._skims.numpy().reshape(-1, _SKIM)[rows] == skim).sum(axis=1) >= self._agree
        mine: frozenset[str] | None = None
        for row in rows[alike].tolist():
            other = self._spool[row]
            key: int = self._keys[row]
            if other != text:
                mine = mine or shingles(text)
                if jaccard(mine, shingles(other)) < self._threshold:
                    continue
            yield key


class _Sketch:
    """Normalised texts → 32-bit band keys, shape [n, BANDS], and a byte of each of `_SKIM` values, shape [n, _SKIM]."""

    def __init__(self, rows: int) -> None:
        rng = np.random.default_rng(5)
        odd = rng.integers(0, 1 << 31, size=(max(BANDS * rows, _SKIM), 1), dtype=np.uint32) * np.uint32(2) + np.uint32(
            1
        )
        self._odd: _U32 = odd
        self._used = BANDS * rows
        self._fold: _U64 = rng.integers(0, 1 << 63, size=rows, dtype=np.uint64) * np.uint64(2) + np.uint64(1)

    def __call__(self, texts: Sequence[str]) -> tuple[_U32, _U8]:
        padded = [text if len(text) >= SHINGLE else text.ljust(SHINGLE, "\0") for text in texts]
        h = (_hashes("".join(padded)) >> _32).astype(np.uint32)
        ends = np.cumsum([len(text) for text in padded])
        # Segments in turn: the 5-grams of a text, then the four that run into the next text, which are thrown away.
        cuts = np.stack((np.concatenate(([0], ends[:-1])), ends - SHINGLE + 1), axis=1).ravel()[:-1]
        low = np.empty((len(self._odd), len(texts)), dtype=np.uint32)
        step = max(1, _CELLS // h.size)
        for i in range(0, len(self._odd), step):
            low[i : i + step] = np.minimum.reduceat(h * self._odd[i : i + step], cuts, axis=1)[:, ::2]
        values = low[: self._used].T.astype(np.uint64).reshape(len(texts), BANDS, -1)
        bands = _mix((values * self._fold).sum(axis=2) + _PLACE) & _LOW
        return bands.astype(np.uint32), low[:_SKIM].T.astype(np.uint8)
