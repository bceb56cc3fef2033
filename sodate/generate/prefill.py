"""A piece of some prompts that go on from the same blocks, packed as a trie: what they share is computed once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sodate.generate.paged_attention import PrefillAttention
from sodate.generate.pool import BLOCK
from sodate.generate.requests import Fresh, RunningRequest, RunningRequests
from sodate.model import attention
from sodate.render.renderer import Rendered
from sodate.render.trie import Ints, Trie, build, pack


def compute(
    model: Any, requests: RunningRequests, long: Sequence[RunningRequest], budget: int
) -> tuple[Tensor, dict[RunningRequest, int]]:
    """Computes at most about `budget` tokens of the first request and of others like it.

    Returns the hidden states (N, D), and for each request of which nothing is missing now the place of its last token.
    """
    first = long[0]
    alike = [one for one in long if one.root is first.root and one.nodes == first.nodes]
    # A dummy last target for each makes the packed input exactly the piece.
    pieces = [one.ids[one.computed :][:budget] for one in alike]
    rows = [Rendered([*piece, 0], [0.0] * len(piece) + [1.0]) for piece in pieces]
    group = sorted(next(group for group in pack(rows, budget) if 0 in group))
    depth, before = first.computed, [node.block for node in first.nodes]
    fresh: Fresh = {}
    taken = [
        n for n in group
        if alike[n].computed == depth and requests.reach_together(alike[n], len(pieces[n]), fresh) is not None
    ]  # fmt: skip
    if not taken:
        return torch.empty(0), {}
    batch = build([rows[n] for n in taken])
    places = [path_of(batch, row) for row in range(len(taken))]
    written = _written([alike[n] for n in taken], places, depth)
    device = model.device
    tokens, positions = (torch.as_tensor(a, device=device) for a in (batch.tokens, batch.positions + depth))
    hidden = attention.decode(model, tokens, positions, PrefillAttention(requests.pool, batch, before, depth, written))
    done: dict[RunningRequest, int] = {}
    for n, where in zip(taken, places, strict=True):
        alike[n].computed += len(pieces[n])
        requests.publish(alike[n])
        if not alike[n].missing:
            done[alike[n]] = int(where[-1])
    return hidden, done


def path_of(batch: Trie, row: int) -> Ints:
    """Where a row's tokens are packed."""
    last = int(batch.source[batch.entry_prediction[batch.entry_row == row][0]])
    segment = next(s for s in batch.segments if s.start <= last < s.end)
    parts = [np.arange(batch.segments[a].start, batch.segments[a].end) for a in segment.path]
    return np.concatenate([*parts, np.arange(segment.start, last + 1)])


def _written(taken: Sequence[RunningRequest], places: Sequence[Ints], depth: int) -> tuple[Ints, Ints, Ints]:
    """Packed places, and the block and the offset in it where each one's key and value go; shared blocks once."""
    seen: set[int] = set()
    found: list[tuple[Ints, Ints, Ints]] = []
    for one, where in zip(taken, places, strict=True):
        at = depth + np.arange(len(where))
        blocks = one.table[at // BLOCK]
        new = ~np.isin(blocks, list(seen))
        seen.update(blocks.tolist())
        found.append((where[new], blocks[new], (at % BLOCK)[new]))
    whole, blocks, offsets = (np.concatenate(column) for column in zip(*found, strict=True))
    return whole, blocks, offsets
