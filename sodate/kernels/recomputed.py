"""Tensors that backward makes again, number for number, out of what is kept anyway, or smaller: in a pass or two.

A tensor carries how it was made from the module that made it to the one that would keep it. Whatever is computed from
it on the way is another tensor, and carries nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Made(NamedTuple):
    """A tensor is `make(*of)`."""

    make: Callable[..., Tensor]
    of: tuple[Tensor, ...]

    def then(self, change: Callable[..., Tensor], *of: Tensor) -> Made:
        """How `change` of the tensor and `of` is made."""
        make, count = self.make, len(self.of)
        return Made(lambda *all_: change(make(*all_[:count]), *all_[count:]), (*self.of, *of))


def tell(x: Tensor, made: Made | None) -> Tensor:
    """x, with how it was made."""
    if made is not None and torch.is_grad_enabled():
        x.made = Made(made.make, tuple(t.detach() for t in made.of))  # type: ignore[attr-defined]
    return x


def how(x: Tensor) -> Made | None:
    """How x was made, if that was told."""
    return getattr(x, "made", None)


def keep(ctx: Any, made: Sequence[Made | None], *tensors: Tensor | None) -> None:
    """Saves tensors for backward. `made` says how the first of them can be made again: these are not kept."""
    whole = tensors[len(made) :]
    parts = [m.of if m else (t,) for m, t in zip(made, tensors, strict=False)]
    ctx.makes = [(m.make if m else None, len(part)) for m, part in zip(made, parts, strict=True)]
    ctx.save_for_backward(*(t for part in parts for t in part), *whole)


def kept(ctx: Any) -> list[Any]:
    """The tensors that `keep` was given."""
    saved, at, out = ctx.saved_tensors, 0, []
    for make, count in ctx.makes:
        part = saved[at : at + count]
        out.append(make(*part) if make else part[0])
        at += count
    return [*out, *saved[at:]]
