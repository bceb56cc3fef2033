"""Packing: token sequences become a prefix tree in depth-first order, so that a shared history is computed once.

In depth-first order a node's tokens are contiguous, its ancestors lie before it, and its subtree is an interval.
Positions are depths. Tokens behind the last trained one are dropped: nothing would read what they compute.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sodate.render.renderer import Rendered

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

# Splitting off a branch costs a kernel call a layer; sharing fewer tokens than this saves less than that.
MIN_SHARED = 8


@dataclass(frozen=True, slots=True)
class Segment:
    """A node: packed tokens [start, end), whose ancestors are the segments in `path`, root first."""

    start: int
    end: int
    path: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Trie:
    """A packed batch. N packed tokens, P distinct predictions, E (row, prediction) entries.

    A prediction is a pair: the logits at packed token `source[p]` score the token `target[p]`. Rows that share a
    prediction each have an entry for it, so a row's log-probability is a sum over its entries.
    """

    tokens: Ints  # (N,)
    positions: Ints  # (N,) depth of each token
    segments: tuple[Segment, ...]
    source: Ints  # (P,) index into tokens
    target: Ints  # (P,) token id
    weight: Floats  # (P,) summed over the rows that share the prediction
    entry_row: Ints  # (E,)
    entry_prediction: Ints  # (E,)
    entry_weight: Floats  # (E,)
    rows: int

    @property
    def computed(self) -> int:
        """Tokens the forward computes."""
        return len(self.tokens)


def build(sequences: Sequence[Rendered], min_shared: int = MIN_SHARED) -> Trie:
    """Packs sequences into one trie. `min_shared` = 1 shares everything; 10**9 gives plain block-diagonal packing."""
    inputs: list[Ints] = []
    weights: list[Floats] = []
    for sequence in sequences:
        weight = np.asarray(sequence.weights, dtype=np.float64)
        trained = np.flatnonzero(weight[1:])  # position t is predicted from t-1; token 0 has no predecessor
        last = int(trained[-1]) + 1 if len(trained) else 0
        inputs.append(np.asarray(sequence.ids[: last + 1], dtype=np.int64))
        weights.append(weight[: last + 1])

    segments: list[Segment] = []
    chunks: list[Ints] = []
    places: list[list[Ints]] = [[] for _ in sequences]  # per row: packed indices of its input tokens
    packed = 0

    def add(rows: list[int], depth: int, path: tuple[int, ...]) -> None:
        """Packs rows that agree on their first `depth` tokens; the last token of a row is only ever a target."""
        nonlocal packed
        rows = [r for r in rows if len(inputs[r]) - 1 > depth]
        if not rows:
            return
        end = _common(inputs, rows, depth)
        segments.append(Segment(packed, packed + end - depth, path))
        path = (*path, len(segments) - 1)
        chunks.append(inputs[rows[0]][depth:end])
        place = np.arange(packed, packed + end - depth)
        packed += end - depth
        for row in rows:
            places[row].append(place)
        for group in _groups(inputs, rows, end, min_shared):
            add(group, end, path)

    for group in _groups(inputs, list(range(len(sequences))), 0, min_shared):
        add(group, 0, ())

    sources, targets, owners, entry_weights = [], [], [], []
    for row, (ids, weight) in enumerate(zip(inputs, weights, strict=True)):
        at = np.flatnonzero(weight[1:]) + 1
        where = np.concatenate(places[row]) if places[row] else np.empty(0, dtype=np.int64)
        sources.append(where[at - 1])
        targets.append(ids[at])
        entry_weights.append(weight[at])
        owners.append(np.full(len(at), row))
    source, target = _cat(sources), _cat(targets)
    entry_weight = np.concatenate(entry_weights) if entry_weights else np.empty(0)
    # Distinct (source, target) pairs, in packed order: two rows meet in one prediction only while they share history.
    pairs, entry_prediction = np.unique(np.stack([source, target]), axis=1, return_inverse=True)
    entry_prediction = entry_prediction.reshape(-1)
    return Trie(
        tokens=_cat(chunks),
        positions=_positions(segments, packed),
        segments=tuple(segments),
        source=pairs[0],
        target=pairs[1],
        weight=np.bincount(entry_prediction, entry_weight, pairs.shape[1]).astype(np.float64),
        entry_row=_cat(owners),
        entry_prediction=entry_prediction.astype(np.int64),
        entry_weight=entry_weight,
        rows=len(sequences),
    )


def pack(sequences: Sequence[Rendered], budget: int, min_shared: int = MIN_SHARED) -> Iterator[list[int]]:
    """Groups row numbers so that each group computes at most `budget` tokens (a single longer row stands alone).

    Rows are taken in lexicographic order, which puts those with the longest shared history side by side.
    """
    return pack_rows([(sequence,) for sequence in sequences], budget, min_shared)


def pack_rows(rows: Sequence[Sequence[Rendered]], budget: int, min_shared: int = MIN_SHARED) -> Iterator[list[int]]:
    """As `pack`, for rows of several sequences (a chosen and a rejected reply) that must not be parted."""
    order = sorted(range(len(rows)), key=lambda r: [s.ids for s in rows[r]])
    group: list[int] = []
    size = 0
    for row in order:
        before = rows[group[-1]] if group else ()
        cost = _cost(before, rows[row], min_shared)
        if group and size + cost > budget:
            yield group
            group, size, cost = [], 0, _cost((), rows[row], min_shared)
        group.append(row)
        size += cost
    if group:
        yield group


def heaviest(steps: Iterable[Sequence[int]], rows: Sequence[Sequence[Rendered]], budget: int) -> tuple[int, list[int]]:
    """Of all groups that `pack_rows` makes of the rows of each step: the most computed tokens, and those rows."""
    groups = ([step[n] for n in numbers] for step in steps
              for numbers in pack_rows([rows[r] for r in step], budget))  # fmt: skip
    sized = ((build([s for r in group for s in rows[r]]).computed, group) for group in groups)
    return max(sized, key=lambda pair: pair[0])


def _cost(before: Sequence[Rendered], row: Sequence[Rendered], min_shared: int) -> int:
    """Tokens that `row` adds at most to a group whose last row is `before`."""
    cost = 0
    for number, sequence in enumerate(row):
        shared = max((_shared(s.ids, sequence.ids) for s in (*before, *row[:number])), default=0)
        # A later row may split a shared node just before its end, and fewer than `min_shared` tokens aren't shared.
        cost += len(sequence.ids) - max(0, shared - (min_shared - 1))
    return cost


def _shared(a: Sequence[int], b: Sequence[int]) -> int:
    n = 0
    for x, y in zip(a, b, strict=False):
        if x != y:
            break
        n += 1
    return n


def _common(inputs: list[Ints], rows: list[int], depth: int) -> int:
    """First depth at which the rows' inputs differ or one of them ends."""
    first = inputs[rows[0]]
    end = min(len(inputs[r]) - 1 for r in rows)
    for row in rows[1:]:
        differs = np.flatnonzero(first[depth:end] != inputs[row][depth:end])
        if len(differs):
            end = depth + int(differs[0])
    return end


def _groups(inputs: list[Ints], rows: list[int], depth: int, min_shared: int) -> list[list[int]]:
    """Rows that agree on their next `min_shared` tokens go together; a row with fewer left stands alone."""
    groups: dict[object, list[int]] = {}
    for row in rows:
        ahead = inputs[row][depth : depth + min_shared]
        whole = len(inputs[row]) - 1 - depth >= min_shared
        groups.setdefault(ahead.tobytes() if whole else row, []).append(row)
    return list(groups.values())


def _positions(segments: list[Segment], packed: int) -> Ints:
    positions = np.empty(packed, dtype=np.int64)
    for segment in segments:
        depth = sum(segments[a].end - segments[a].start for a in segment.path)
        positions[segment.start : segment.end] = np.arange(depth, depth + segment.end - segment.start)
    return positions


def _cat(arrays: Sequence[Ints]) -> Ints:
    return np.concatenate(arrays).astype(np.int64) if arrays else np.empty(0, dtype=np.int64)
