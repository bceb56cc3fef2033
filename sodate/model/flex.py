"""Attention over a packed trie by FlexAttention, for CUDA: one kernel for all segments instead of one call for each.

A trie is packed depth first, so that a segment's descendants follow it without a gap. A query at packed place q sees
a key at k when k ≤ q and q lies before the end of the subtree of k's segment: ancestry is an interval. FlexAttention
turns that test into blocks that are skipped, full or mixed. Its forward is tested on a CPU against TrieAttention; its
backward needs CUDA and has not been run.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

from sodate.render.trie import Trie


@dataclass(frozen=True, slots=True)
class FlexTrieAttention:
    """`ends` (N,): end of the subtree of each token's segment; `positions` (N,): its depth."""

    ends: Tensor
    positions: Tensor
    masks: dict[int | None, BlockMask]

    @classmethod
    def over(cls, trie: Trie, device: torch.device) -> FlexTrieAttention:
        subtree = [segment.end for segment in trie.segments]
        for segment in trie.segments:
            for ancestor in segment.path:
                subtree[ancestor] = max(subtree[ancestor], segment.end)
        lengths = [segment.end - segment.start for segment in trie.segments]
        ends = torch.as_tensor(np.repeat(subtree, lengths), device=device)
        return cls(ends, torch.as_tensor(trie.positions, device=device), {})

    def __call__(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float | None, window: int | None
    ) -> Tensor:
        grouped = query.shape[1] != key.shape[1]
        out: Tensor = _kernel(query.device.type)(
            query, key, value, block_mask=self._mask(window), scale=scale, enable_gqa=grouped
        )
        return out

    def _mask(self, window: int | None) -> BlockMask:
        if window not in self.masks:
            ends, positions = self.ends, self.positions

            def visible(_batch: Tensor, _head: Tensor, q: Tensor, k: Tensor) -> Tensor:
                seen = (k <= q) & (q < ends[k])
                return seen if window is None else seen & (positions[q] - positions[k] < window)

            size = len(ends)
            self.masks[window] = create_block_mask(visible, None, None, size, size, device=str(ends.device))
        return self.masks[window]


@functools.cache
def _kernel(device: str) -> Callable[..., Any]:
    """Compiled on CUDA, once for all lengths; elsewhere the definition it is compiled from."""
    kernel: Callable[..., Any] = flex_attention
    return torch.compile(kernel, dynamic=True) if device == "cuda" else kernel
