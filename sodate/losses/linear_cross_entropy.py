"""Negative log-likelihood straight from hidden states, without ever holding all the logits.

The head is a matrix product with a vocabulary of 49k to 262k rows: its logits are the largest tensor of a small model's
step. They are made in chunks of rows, reduced to a loss and to the gradient of the hidden state at once, and dropped
(the idea of Cut Cross-Entropy, arXiv 2411.09009, without its gradient filtering: nothing here is approximate).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sodate.losses.products import operand, product, product_back, product_weight

# Logits held at once. The head's weight is read for every chunk, so thin chunks of a large vocabulary are slow ones.
CHUNK_BYTES = 64 * 1024 * 1024
# Of those, what is reduced at once, in elements: 8 MiB of float32 stays in reach of a CPU's caches.
BLOCK_ELEMENTS = 2 * 1024 * 1024


class _LinearNLL(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, head: Tensor, bias: Tensor | None, target: Tensor, softcap: float | None
    ) -> tuple[Tensor, Tensor]:
        needs_hidden, needs_head = ctx.needs_input_grad[:2]
        # A narrower head is widened anew for each chunk: fewer and thicker ones, of what that saves.
        rows = max(1, CHUNK_BYTES // (len(head) * min(head.dtype.itemsize, hidden.dtype.itemsize)))
        # Half precision is summed in float32; float64 stays, so that tests can see the algebra without rounding.
        dtype = torch.promote_types(hidden.dtype, torch.float32)
        nll = torch.empty(len(target), dtype=dtype, device=hidden.device)
        right = torch.empty(len(target), dtype=torch.bool, device=hidden.device)
        # d nll / d hidden per row; the head's gradient mixes rows, so it must wait for the incoming gradient.
        d_hidden = torch.empty_like(hidden) if needs_hidden else None
        weight = operand(head, hidden.dtype)
        for start in range(0, len(target), rows):
            part = slice(start, start + rows)
            logits = _logits(hidden[part], weight, bias)
            _reduce(logits, target[part], softcap, nll[part], right[part], needs_hidden)
            if d_hidden is not None:
                d_hidden[part] = product_back(logits, weight)
            del logits  # before the next chunk is made
        ctx.save_for_backward(
            *(t for t in (d_hidden, hidden if needs_head else None, head, bias, target) if t is not None)
        )
        ctx.present = (d_hidden is not None, needs_head, bias is not None)
        ctx.softcap, ctx.rows = softcap, rows
        ctx.mark_non_differentiable(right)
        return nll, right

    @staticmethod
    def backward(ctx: Any, d_nll: Tensor, _d_right: Tensor | None) -> tuple[Tensor | None, ...]:
        saved = list(ctx.saved_tensors)
        has_d_hidden, needs_head, has_bias = ctx.present
        d_hidden = saved.pop(0) if has_d_hidden else None
        hidden = saved.pop(0) if needs_head else None
        head = saved.pop(0)
        bias = saved.pop(0) if has_bias else None
        target = saved.pop(0)
        d_head = d_bias = None
        if d_hidden is not None:
            d_hidden = d_hidden * d_nll.to(d_hidden.dtype)[:, None]
        if hidden is not None:
            d_head = torch.zeros_like(head)
            d_bias = torch.zeros_like(bias) if bias is not None else None
            weight = head.to(hidden.dtype)
            for start in range(0, len(target), ctx.rows):
                part = slice(start, start + ctx.rows)
                d_logits = _logits(hidden[part], weight, bias)
                _reduce(d_logits, target[part], ctx.softcap, torch.empty_like(d_nll[part]), None, True)
                d_logits.mul_(d_nll[part, None])
                d_head += product_weight(d_logits, hidden[part])
                if d_bias is not None:
                    d_bias += d_logits.sum(0)
                del d_logits
        return d_hidden, d_head, d_bias, None, None


def _logits(hidden: Tensor, head: Tensor, bias: Tensor | None) -> Tensor:
    logits = product(hidden, head)
    return logits if bias is None else logits.add_(bias)


def _reduce(
    logits: Tensor, target: Tensor, softcap: float | None, nll: Tensor, right: Tensor | None, keep: bool
) -> None:
    """Fills nll and right from logits (R, V), and turns the logits into d nll / d logits in place if `keep`."""
    step = max(1, BLOCK_ELEMENTS // logits.shape[1])
    for start in range(0, len(logits), step):
        block = slice(start, start + step)
        scores = logits[block].to(nll.dtype)
        if softcap is not None:
            scores = softcap * torch.tanh(scores / softcap)
        column = target[block, None]
        at_target, top = scores.gather(1, column)[:, 0], scores.amax(-1)
        p = torch.softmax(scores, -1)
        # -log p[target], by way of the likeliest token: p[target] itself may be too small for a float. softmax divided
        # by a running sum that lost what was too small to be added to it; the sum of p says how much.
        nll[block] = top - at_target - p.amax(-1).log() + p.sum(-1).log()
        if right is not None:
            right[block] = at_target >= top
        if keep:
            p.scatter_add_(1, column, p.new_full(column.shape, -1.0))
            if softcap is not None:
                p.mul_(1 - (scores / softcap) ** 2)
            logits[block] = p


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
