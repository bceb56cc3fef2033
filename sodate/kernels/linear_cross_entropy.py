"""Negative log-likelihood straight from hidden states, without ever holding all the logits.

The head is a matrix product with a vocabulary of 49k to 262k rows: its logits would be the largest tensor of a small
model's step. They are made for some tokens of the vocabulary at a time and summed up at once, together with the
gradient of the hidden state, which is the mean of the head's rows by probability: what FlashAttention (arXiv
2205.14135) does with keys and values, where both are the head. (Cut Cross-Entropy, arXiv 2411.09009, makes the logits
twice instead, and leaves small gradients out; nothing here is approximate.)

With o = log Σ exp z over all tokens but the target t, and w̄ the mean of their rows w by exp z:

    nll = log(1 + e^(o - z_t))        d nll / dh = (1 - p_t) · (w̄ - w_t)        1 - p_t = 1 - e^-nll

so that nothing cancels where p_t is nearly 1, in bfloat16 products either.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sodate.core.giving_way import give_way
from sodate.kernels.products import add_product_back, product, product_weight

# A tile has this many logits, or this many tokens where rows are many: it stays in reach of a CPU's caches, and its
# products are not thin. Elsewhere one has four times the tokens, as each starts a dozen kernels.
TILE, THINNEST, ELSEWHERE = 1 << 20, 512, 4


def _width(rows: int) -> int:
    return max(THINNEST, TILE // max(1, rows))


def peak_logits(rows: int) -> int:
    """Logits held at once at most, on any device: those of a tile, of the one before, and a copy in half precision."""
    return 3 * ELSEWHERE * rows * _width(rows)


class _Tile(NamedTuple):
    """Logits (R, T) of some tokens, the head's rows (T, D) they came from, and their slope under a softcap (R, T)."""

    tokens: slice
    rows: Tensor
    logits: Tensor
    slope: Tensor | None

    def at(self, target: Tensor) -> tuple[Tensor, Tensor]:
        """Whether a row's target is in this tile, and its column (0 or the last where it is not): both (R, 1)."""
        column = target[:, None] - self.tokens.start
        last = self.logits.shape[1] - 1
        return (column >= 0) & (column <= last), column.clamp(0, last)


def _tiles(hidden: Tensor, head: Tensor, bias: Tensor | None, softcap: float | None) -> Iterator[_Tile]:
    """The vocabulary tile by tile. Logits are at least float32: half precision is summed in it; float64 stays, so that
    tests can see the algebra without rounding."""
    width = _width(len(hidden)) * (1 if hidden.device.type == "cpu" else ELSEWHERE)
    dtype = torch.promote_types(hidden.dtype, torch.float32)
    for start in range(0, len(head), width):
        give_way()
        tokens = slice(start, min(start + width, len(head)))
        rows = head[tokens].to(hidden.dtype)
        logits = product(hidden, rows).to(dtype)
        if bias is not None:
            logits += bias[tokens]
        slope = None
        if softcap is not None:
            logits = logits.div_(softcap).tanh_()
            slope = 1 - logits.square()
            logits.mul_(softcap)
        yield _Tile(tokens, rows, logits, slope)


class _LinearNLL(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, head: Tensor, bias: Tensor | None, target: Tensor, softcap: float | None
    ) -> tuple[Tensor, Tensor]:
        needs_hidden, needs_head = ctx.needs_input_grad[:2]
        dtype = torch.promote_types(hidden.dtype, torch.float32)
        top = hidden.new_full((len(target), 1), torch.finfo(dtype).min, dtype=dtype)  # of all but the target, so far
        total = torch.zeros_like(top)  # Σ e^(z - top)
        own = torch.zeros_like(top)  # z_t
        mean = hidden.new_zeros(hidden.shape, dtype=dtype) if needs_hidden else None  # Σ e^(z - top) · w
        for tile in _tiles(hidden, head, bias, softcap):
            logits = tile.logits
            inside, column = tile.at(target)
            found = logits.gather(1, column)
            own = torch.where(inside, found, own)
            logits.scatter_(1, column, found.masked_fill(inside, -torch.inf))
            higher = torch.maximum(top, logits.amax(1, keepdim=True))
            weight = logits.sub_(higher).exp_()
            shrink = top.sub_(higher).exp_()
            total.mul_(shrink).add_(weight.sum(1, keepdim=True))
            if mean is not None:
                if tile.slope is not None:
                    weight.mul_(tile.slope)
                add_product_back(mean.mul_(shrink), weight.to(hidden.dtype), tile.rows)
            top = higher
        others = top + total.log()
        # own - own: an infinite logit makes the loss NaN, which stops a run, and not 0
        nll = torch.logaddexp(others - own, torch.zeros_like(own)).add_(own - own)
        d_hidden = None
        if mean is not None:
            at_target = head[target].to(hidden.dtype).to(dtype)
            if softcap is not None:
                at_target.mul_(1 - (own / softcap).square())
            d_hidden = mean.div_(total).sub_(at_target).mul_(-torch.expm1(-nll)).to(hidden.dtype)
        ctx.save_for_backward(d_hidden, *((hidden, head, bias, target, own + nll, nll) if needs_head else ()))
        ctx.softcap = softcap
        right = own >= top
        ctx.mark_non_differentiable(right)
        return nll[:, 0], right[:, 0]

    @staticmethod
    def backward(ctx: Any, d_nll: Tensor, _d_right: Tensor | None) -> tuple[Tensor | None, ...]:
        d_hidden, *kept = ctx.saved_tensors
        d_nll = d_nll[:, None]
        d_head = d_bias = None
        if d_hidden is not None:
            d_hidden = d_hidden * d_nll.to(d_hidden.dtype)
        if kept:  # the head's gradient mixes rows, so it had to wait for theirs
            hidden, head, bias, target, log_sum, nll = kept
            d_head = torch.empty_like(head)
            d_bias = torch.empty_like(bias) if bias is not None else None
            for tile in _tiles(hidden, head, bias, ctx.softcap):
                d_logits = tile.logits.sub_(log_sum).exp_()
                inside, column = tile.at(target)
                d_logits.scatter_(1, column, torch.where(inside, torch.expm1(-nll), d_logits.gather(1, column)))
                if tile.slope is not None:
                    d_logits.mul_(tile.slope)
                d_logits.mul_(d_nll)
                d_head[tile.tokens] = product_weight(d_logits.to(hidden.dtype), hidden)
                if d_bias is not None:
                    d_bias[tile.tokens] = d_logits.sum(0)
        return d_hidden, d_head, d_bias, None, None


def linear_nll(
    hidden: Tensor, head: Tensor, target: Tensor, *, bias: Tensor | None = None, softcap: float | None = None
) -> tuple[Tensor, Tensor]:
    """-log softmax(hidden @ headᵀ + bias)[target] per row, and whether no token is likelier than the target.

    Shapes: hidden (P, D), head (V, D), target (P,) → nll (P,) in nats, at least float32, right (P,) bool. `softcap`
    c applies c·tanh(logits / c) first (Gemma 2). The gradient of `hidden` is exact; that of `head` is made only when
    asked for.
    """
    nll, right = _LinearNLL.apply(hidden, head, bias, target, softcap)  # type: ignore[no-untyped-call]
    return nll, right
