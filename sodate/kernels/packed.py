"""Weights that fit 4 or 8 bits exactly, because they were published so: the same numbers in a sixth or a quarter of the
bytes, in GGUF's layout (Q4_1, Q8_0), for decoding steps that read nothing but weights."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sodate.kernels import compiled

BLOCK = 32
Bytes = NDArray[np.uint8]
GLANCE = 8  # rows that are looked at before all are


def pack(weight: Tensor) -> Bytes | None:
    """The weight (out, in) as bytes (out, in / 32 · 20 or 34) that stand for the very same numbers; None if it has
    others."""
    plain = weight.dtype == torch.float32 and weight.device.type == "cpu" and weight.is_contiguous()
    if compiled is None or not compiled.FEW or not plain or weight.dim() != 2 or weight.shape[1] % BLOCK:
        return None
    for way in (_four_bits, _eight_bits):
        if way(weight[:GLANCE]) is not None:
            return way(weight)
    return None


def _four_bits(weight: Tensor) -> Bytes | None:
    """w = d · q + m, q from 0 to 15, d and m of half precision: the smallest is m, and d a fifteenth of the width."""
    parts = weight.view(-1, BLOCK)
    low, high = parts.aminmax(dim=1)
    m = low.half()
    found = _fitted(parts, ((high - low) / 15).half(), m, 0, 15) if torch.equal(m.float(), low) else None
    if found is None:
        return None
    d, q = found[0], found[1].to(torch.uint8)
    return _laid(weight, d.view(torch.uint8), m.view(torch.uint8), q[:, :16] | q[:, 16:] << 4)


def _eight_bits(weight: Tensor) -> Bytes | None:
    """w = d · q, q from -127 to 127, d of half precision."""
    parts = weight.view(-1, BLOCK)
    d = (parts.abs().amax(1) / 127).half()
    found = _fitted(parts, d, torch.zeros_like(d), -127, 127)
    return None if found is None else _laid(weight, found[0].view(torch.uint8), found[1].to(torch.int8))


def _fitted(parts: Tensor, guess: Tensor, m: Tensor, lowest: int, highest: int) -> tuple[Tensor, Tensor] | None:
    """d (blocks,) and q (blocks, 32) with d · q + m = parts, for d near the guess, which was rounded as the numbers
    were; None if some block has none."""
    d, q, left = guess.clone(), torch.empty(parts.shape, dtype=torch.int16), torch.arange(len(parts))
    for step in (0, 1, -1, 2, -2):  # in units of d's last place
        part = parts if len(left) == len(parts) else parts[left]
        near = (guess[left].view(torch.int16) + step).view(torch.half)
        scale, least = near.float()[:, None], m[left].float()[:, None]
        own = (part - least).div_(scale).nan_to_num_(0, 0, 0).round_().clamp_(lowest, highest)
        right = own.mul(scale).add_(least).eq(part).all(1)
        d[left[right]], q[left[right]] = near[right], own[right].to(torch.int16)
        left = left[~right]
        if not len(left):
            return d, q
    return None


def _laid(weight: Tensor, *columns: Tensor) -> Bytes:
    """Each block's bytes in a row, each row of the weight in one."""
    blocks = weight.numel() // BLOCK
    whole = torch.cat([column.view(torch.uint8).reshape(blocks, -1) for column in columns], 1)
    packed_rows: Bytes = whole.view(len(weight), -1).numpy()
    return packed_rows
