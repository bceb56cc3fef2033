"""Tensors that backward computes again, number for number, from others that are kept anyway or are smaller.

A tensor carries how it is computed, from the module that computed it to the one that would keep it for backward.
Whatever is computed from it on the way is another tensor, and carries nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Recompute(NamedTuple):
    """A tensor is `function(*inputs)`."""

    function: Callable[..., Tensor]
    inputs: tuple[Tensor, ...]

    def then(self, change: Callable[..., Tensor], *inputs: Tensor) -> Recompute:
        """How `change(tensor, *inputs)` is computed."""
        function, count = self.function, len(self.inputs)
        return Recompute(lambda *all_: change(function(*all_[:count]), *all_[count:]), (*self.inputs, *inputs))


def recomputable(x: Tensor, recompute: Recompute | None) -> Tensor:
    """x, which carries how it is computed again."""
    if recompute is not None and torch.is_grad_enabled():
        again = Recompute(recompute.function, tuple(t.detach() for t in recompute.inputs))
        x.recompute = again  # type: ignore[attr-defined]
    return x


def recompute_of(x: Tensor) -> Recompute | None:
    """How x is computed again, if it carries that."""
    return getattr(x, "recompute", None)


def save_for_backward(ctx: Any, recompute: Sequence[Recompute | None], *tensors: Tensor | None) -> None:
    """Saves tensors for backward. `recompute` says how the first of them are computed again: these are not kept."""
    whole = tensors[len(recompute) :]
    parts = [m.inputs if m else (t,) for m, t in zip(recompute, tensors, strict=False)]
    ctx.functions = [(m.function if m else None, len(part)) for m, part in zip(recompute, parts, strict=True)]
    ctx.save_for_backward(*(t for part in parts for t in part), *whole)


def saved_tensors(ctx: Any) -> list[Any]:
    """The tensors that `save_for_backward` was given."""
    saved, at, out = ctx.saved_tensors, 0, []
    for function, count in ctx.functions:
        part = saved[at : at + count]
        out.append(function(*part) if function else part[0])
        at += count
    return [*out, *saved[at:]]
