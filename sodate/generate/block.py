"""Decoder blocks whose decoding steps run through compiled code (rows.py). More rows, other devices and other kinds of
block run as before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from sodate.generate.frozen import FrozenAttention, FrozenMLP
from sodate.kernels import rows
from sodate.model.attention import Attend, TrieAttention
from sodate.model.fused import RMSNorm, same

# Norms before attention, after it, before the MLP, after it, as transformers calls them.
_LLAMA = ("input_layernorm", None, "post_attention_layernorm", None)
_GEMMA = ("input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm")
Parts = tuple[FrozenAttention, FrozenMLP, list[RMSNorm | None]]
BlockStep = Callable[[rows.Array, int, rows.Array, rows.Array, Attend], rows.Array]


def _norm(module: RMSNorm | None) -> rows.Norm | None:
    return None if module is None else rows.Norm((module.weight + module.plus).detach(), module.eps)


def _step(attention: FrozenAttention, mlp: FrozenMLP, norms: list[RMSNorm | None]) -> BlockStep:
    """x + attention(norm(x)), then x + MLP(norm(x)), each with or without a norm before the sum."""
    qkv, out, wide, down = (layer.side_by_side() for layer in (attention.qkv, attention.out, mlp.wide, mlp.down))
    before, after, before_mlp, after_mlp = map(_norm, norms)
    assert before is not None and before_mlp is not None
    q_norm, k_norm = _norm(attention.q_norm), _norm(attention.k_norm)
    dim, counts = attention.head_dim, attention.heads
    queries, turning = counts[0] * dim, (counts[0] + counts[1]) * dim

    def step(x: rows.Array, count: int, cos: rows.Array, sin: rows.Array, attend: Attend) -> rows.Array:
        projected = qkv(before(x), count)
        if q_norm is not None and k_norm is not None:
            q_norm(projected[:queries], projected[:queries])
            k_norm(projected[queries:turning], projected[queries:turning])
        rows.rotate(projected[:turning], cos, sin)
        heads = torch.from_numpy(projected).view(-1, dim, projected.shape[1])[None, :, :, :count].transpose(2, 3)
        query, key, value = heads.split(counts, 1)
        seen = attend(attention.layer, query, key, value, attention.scale, attention.window)
        y = out(rows.side_by_side(seen[0].transpose(0, 1).reshape(count, -1)), count)
        x = x + (y if after is None else after(y))
        y = down(rows.gate(wide(before_mlp(x), count), mlp.kind), count)
        return x + (y if after_mlp is None else after_mlp(y))

    return step


def parts(block: Any) -> Parts | None:
    """Attention, MLP and the four norms of a block that could be run so."""
    attention, mlp = getattr(block, "self_attn", None), getattr(block, "mlp", None)
    names = _GEMMA if hasattr(block, _GEMMA[2]) else _LLAMA
    norms = [getattr(block, name, None) if name else None for name in names]
    if not isinstance(attention, FrozenAttention) or not isinstance(mlp, FrozenMLP):
        return None
    needed = [norm for norm, name in zip(norms, names, strict=True) if name]
    if attention.q_norm is not None or attention.k_norm is not None:
        needed += [attention.q_norm, attention.k_norm]
    if not all(isinstance(norm, RMSNorm) and norm.weight.dtype == torch.float32 for norm in needed):
        return None
    weights = (attention.qkv.weight, attention.out.weight, mlp.wide.weight, mlp.down.weight)
    return (attention, mlp, norms) if all(map(rows.multiplies, weights)) else None


def _stepping(block: Any, step: BlockStep) -> Callable[..., Tensor]:
    """The block's forward, with `step` for few rows."""
    whole = block.forward

    def forward(
        hidden_states: Tensor, position_embeddings: Any = None, attend: Attend | None = None, **others: Any
    ) -> Tensor:
        count = hidden_states.shape[1]
        if attend is None or not rows.takes(count) or hidden_states.dtype != torch.float32:
            out: Tensor = whole(hidden_states, position_embeddings=position_embeddings, attend=attend, **others)
            return out
        cos, sin = (rows.side_by_side(t[0].float()) for t in position_embeddings)
        x = step(rows.side_by_side(hidden_states[0]), count, cos, sin, attend)
        return rows.apart(x, count)[None]

    return forward


@torch.no_grad()
def speed_up(block: nn.Module) -> Callable[[], None] | None:
    """Gives a block, whose parts are prepared for decoding, the faster step, if it is one that does the same.

    Returns what takes it away again, or None where the block stays as it is.
    """
    found = parts(block)
    if found is None:
        return None
    attention, mlp, norms = found
    forward = _stepping(block, _step(attention, mlp, norms))
    random = torch.Generator().manual_seed(0)
    x = torch.randn(1, 5, attention.qkv.weight.shape[1], generator=random)
    angles = torch.rand(1, 5, attention.head_dim // 2, generator=random).repeat(1, 1, 2)
    given = {"position_embeddings": (angles.cos(), angles.sin()), "attend": TrieAttention((5,), ((),))}
    expected = block(x, **given)
    if not isinstance(expected, Tensor) or not same(forward(x, **given), expected.to(attention.qkv.weight.dtype)):
        return None
    own = vars(block).get("forward")  # one that recomputes, say
    block.forward = forward

    def slow_down() -> None:
        del block.forward
        if own is not None:
            block.forward = own

    return slow_down
