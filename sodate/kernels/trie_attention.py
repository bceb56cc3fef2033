"""Attention over a packed trie in one compiled call a layer, with its gradients: _trie.c, float32, AVX2 or AVX-512."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sodate.kernels import compiled
from sodate.kernels.recomputed import Recompute, recompute_of, save_for_backward, saved_tensors

Plan = tuple[NDArray[np.int64], ...]


def plan(lengths: Sequence[int], paths: Sequence[Sequence[int]]) -> Plan:
    """Starts, ends, ancestors and positions of packed segments, as _trie.c reads them."""
    ends = np.cumsum(lengths, dtype=np.int64)
    starts = ends - np.asarray(lengths)
    path_at = np.cumsum([0, *map(len, paths)], dtype=np.int64)
    path = np.asarray([ancestor for path in paths for ancestor in path], dtype=np.int64)
    depths = [sum(lengths[ancestor] for ancestor in path) for path in paths]
    positions = np.concatenate([depth + np.arange(n) for depth, n in zip(depths, lengths, strict=True)])
    return starts, ends, path_at, path, positions


def usable(query: Tensor, value: Tensor) -> bool:
    """Whether there is code for such queries (1, H, N, D) and values here."""
    if compiled is None or not compiled.WIDE or query.device.type != "cpu":
        return False
    return query.dtype == torch.float32 and query.shape[-1] % 16 == 0 and value.shape[-1] == query.shape[-1]


def _dense(x: Tensor) -> Tensor:
    """(N, H, D) of (1, H, N, D): a view where a head's numbers lie densely."""
    x = x[0].transpose(0, 1)
    return x if x.stride(-1) == 1 else x.contiguous()


class _Attended(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, recompute: Sequence[Recompute | None], segments: Plan,
        scale: float,
        window: int,
    ) -> Tensor:  # fmt: skip
        q, k, v = map(_dense, (query, key, value))
        out = torch.empty(q.shape)
        lse = torch.empty(q.shape[1], q.shape[0])
        assert compiled is not None
        compiled.trie(segments, *(t.detach().numpy() for t in (q, k, v, out, lse)), scale, window, compiled.WIDE)
        save_for_backward(ctx, recompute, q, k, v, out, lse)
        ctx.others = segments, scale, window
        return out.transpose(0, 1)[None]

    @staticmethod
    def backward(ctx: Any, dout: Tensor) -> tuple[Tensor | None, ...]:
        saved = saved_tensors(ctx)
        segments, scale, window = ctx.others
        grads = [torch.empty(t.shape) for t in saved[:3]]
        assert compiled is not None
        compiled.trie_back(segments, *(t.numpy() for t in (*saved, _dense(dout), *grads)), scale, window, compiled.WIDE)
        return (*(grad.transpose(0, 1)[None] for grad in grads), None, None, None, None)


def attend(
    query: Tensor, key: Tensor, value: Tensor, segments: Plan, scale: float | None, window: int | None
) -> Tensor:
    """As attention.Attend, for packed segments. What q, k and v (N, H, D) are made of may be kept in their place."""
    factor = query.shape[-1] ** -0.5 if scale is None else scale
    recompute = tuple(map(recompute_of, (query, key, value)))
    out: Tensor = _Attended.apply(query, key, value, recompute, segments, factor, window or 0)  # type: ignore[no-untyped-call]
    return out
