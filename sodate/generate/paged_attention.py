"""Attention of a forward whose keys and values live in a pool of blocks: the `attend` of few rows, and of a prefill."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sodate.generate.pool import BLOCK, Pool, Shape
from sodate.kernels import compiled
from sodate.model.attention import TrieAttention
from sodate.render.trie import Ints, Trie


class Holds(Protocol):
    """What holds keys and values in blocks, by layer as a Pool does."""

    @property
    def keys(self) -> dict[int, Tensor]: ...
    @property
    def values(self) -> dict[int, Tensor]: ...


class DecodeAttention:
    """Few rows: tokens of several replies, of each one or some that follow each other. Their keys and values are put in
    the pool, and each sees its reply's tokens up to itself."""

    def __init__(self, pool: Holds, table: Ints, owner: Ints, lengths: Ints) -> None:
        """`table` (replies, most): the blocks of each reply; `owner` (n,): whose row it is; `lengths` (n,): how many
        tokens it sees, itself included."""
        self.pool, self.table, self.owner, self.lengths = pool, table, owner, lengths
        self._masks: dict[int, Tensor] = {}

    def __call__(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float | None, window: int | None
    ) -> Tensor:
        keys, values = self.pool.keys[layer], self.pool.values[layer]
        n, heads, dim = len(self.lengths), query.shape[1], query.shape[3]
        plain = query.device.type == "cpu" and query.dtype == torch.float32
        if compiled is not None and plain and value.shape[3] == dim:  # for values as wide as keys
            attended = query.new_empty(n, heads, dim)
            given = [t.numpy() for t in (query[0], key[0], value[0], keys, values)]
            factor = dim**-0.5 if scale is None else scale
            compiled.attend(*given, self.table, self.owner, self.lengths, attended.numpy(), factor, window or 0)
            return attended.transpose(0, 1)[None]
        return self._by_torch(keys, values, query, key, value, scale, window or 0)

    def _by_torch(
        self, keys: Tensor, values: Tensor, query: Tensor, key: Tensor, value: Tensor, scale: float | None, window: int
    ) -> Tensor:
        n, heads, groups = len(self.lengths), query.shape[1], key.shape[1]
        last = self.lengths - 1
        put(keys, values, self.table[self.owner, last // BLOCK], last % BLOCK, key[0], value[0])
        blocks = torch.as_tensor(self.table[:, : int(self.lengths.max() - 1) // BLOCK + 1], device=query.device)
        owner = torch.as_tensor(self.owner, device=query.device)
        seen_keys, seen_values = (t[blocks].transpose(1, 2).flatten(2, 3)[owner] for t in (keys, values))
        # Query heads that share a key head become rows of one product: nothing is repeated in memory.
        rows = query[0].transpose(0, 1).reshape(n, groups, heads // groups, -1)
        longest = seen_keys.shape[2]
        mask = self._mask(window, longest, query).expand(n, 1, heads // groups, longest)
        out = F.scaled_dot_product_attention(rows, seen_keys, seen_values, attn_mask=mask, scale=scale)
        return out.reshape(n, heads, -1).transpose(0, 1)[None]

    def _mask(self, window: int, longest: int, like: Tensor) -> Tensor:
        """(n, 1, 1, longest) additive: each row sees its reply's tokens so far, within the sliding window."""
        if window not in self._masks:
            lengths = torch.as_tensor(self.lengths)[:, None]
            cols = torch.arange(longest)[None, :]
            hidden = cols >= lengths
            if window:
                hidden |= cols < lengths - window
            mask = torch.zeros(hidden.shape, dtype=like.dtype).masked_fill_(hidden, float("-inf"))
            self._masks[window] = mask[:, None, None, :].to(like.device)
        return self._masks[window]


class PrefillAttention:
    """A trie of prompts below a beginning that is in the pool already (`depth` tokens in `blocks`, maybe none)."""

    def __init__(
        self, pool: Pool, batch: Trie, blocks: Sequence[int], depth: int, written: tuple[Ints, Ints, Ints]
    ) -> None:
        """`written`: packed places, and the block and the offset in it that each one's key and value go to."""
        self.pool, self.blocks, self.depth = pool, list(blocks), depth
        self.places, self.to_block, self.to_offset = written
        lengths, paths = [s.end - s.start for s in batch.segments], [s.path for s in batch.segments]
        # A beginning is the root of all: segment 0, whose queries nobody asks for.
        below = [(0, *(a + 1 for a in path)) for path in paths]
        self.inner = TrieAttention([depth, *lengths], [(), *below]) if depth else TrieAttention.over(batch)

    def __call__(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float | None, window: int | None
    ) -> Tensor:
        keys, values = self.pool.keys[layer], self.pool.values[layer]
        places = torch.as_tensor(self.places, device=key.device)
        put(keys, values, self.to_block, self.to_offset, *(t[0].index_select(1, places) for t in (key, value)))
        if not self.depth:
            return self.inner(layer, query, key, value, scale, window)
        known_keys, known_values = (
            t[self.blocks].transpose(0, 1).flatten(1, 2)[None, :, : self.depth] for t in (keys, values)
        )
        key, value = torch.cat([known_keys, key], 2), torch.cat([known_values, value], 2)
        return self.inner.below(query, key, value, scale, window)


class ShapeProbe:
    """The `attend` of a probe: what every layer would keep of a token."""

    def __init__(self) -> None:
        self.shapes: dict[int, Shape] = {}

    def __call__(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float | None, window: int | None
    ) -> Tensor:
        self.shapes[layer] = Shape(key.shape[1], key.shape[3], value.shape[3], key.dtype)
        return value.repeat_interleave(query.shape[1] // value.shape[1], 1)  # one token sees itself


def put(keys: Tensor, values: Tensor, blocks: Ints, offsets: Ints, key: Tensor, value: Tensor) -> None:
    """Writes key and value (K, n, D) to their places in a layer's blocks."""
    at, inside = (torch.as_tensor(np.asarray(a), device=key.device) for a in (blocks, offsets))
    keys[at, :, inside] = key.transpose(0, 1)
    values[at, :, inside] = value.transpose(0, 1)
