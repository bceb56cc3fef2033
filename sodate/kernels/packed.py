"""Weights that fit 4, 8 or 16 bits exactly, because they were published so: the same numbers in a sixth, a quarter or a
half of the bytes (as GGUF's Q4_1 and Q8_0, and bfloat16), for decoding steps that read nothing but weights."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sodate.kernels import compiled

BLOCK = 32
ROWS = 16  # of a panel
Bytes = NDArray[np.uint8]
GLANCE = 8  # rows that are looked at before all are


def pack(weight: Tensor) -> Bytes | None:
    """The weight (out, in) as bytes that stand for the very same numbers, None if it has others: panels of 16 rows
    (_panels.c), (out / 16 rounded up, in / 32 · 320) of 4 bits or (…, in / 32 · 544) of 8."""
    plain = weight.dtype == torch.float32 and weight.device.type == "cpu" and weight.is_contiguous()
    if compiled is None or not compiled.FEW or not plain or weight.dim() != 2 or weight.shape[1] % BLOCK:
        return None
    for way in (_four_bits, _eight_bits):
        if way(weight[:GLANCE]) is not None:
            return way(weight)
    return None


def narrowed(weight: Tensor) -> NDArray[np.uint16] | None:
    """The weight as the bits of bfloat16; None if that rounds some of its numbers."""
    if compiled is None or not compiled.FEW or weight.dtype != torch.float32 or weight.device.type != "cpu":
        return None
    if (
        weight.dim() != 2
        or not weight.is_contiguous()
        or not _fits_bfloat16(weight[:GLANCE])
        or not _fits_bfloat16(weight)
    ):
        return None
    bits: NDArray[np.uint16] = weight.bfloat16().view(torch.int16).numpy().view(np.uint16)
    return bits


def _fits_bfloat16(weight: Tensor) -> bool:
    return not bool((weight.view(torch.int32) & 0xFFFF).any())


def _four_bits(weight: Tensor) -> Bytes | None:
    """w = d · q + m, q from 0 to 15, d and m of half precision: the smallest is m, and d a fifteenth of the width."""
    parts = weight.view(-1, BLOCK)
    low, high = parts.aminmax(dim=1)
    m = low.half()
    found = _fitted(parts, ((high - low) / 15).half(), m, 0, 15) if torch.equal(m.float(), low) else None
    if found is None:
        return None
    nibbles = found[1].view(-1, 4, 8).to(torch.int32) << 4 * torch.arange(8, dtype=torch.int32)
    return _in_panels(weight, found[0], m, nibbles.sum(-1, dtype=torch.int32))


def _eight_bits(weight: Tensor) -> Bytes | None:
    """w = d · q, q from -127 to 127, d of half precision."""
    parts = weight.view(-1, BLOCK)
    d = (parts.abs().amax(1) / 127).half()
    found = _fitted(parts, d, torch.zeros_like(d), -127, 127)
    return None if found is None else _in_panels(weight, found[0], found[1].to(torch.int8))


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


def _in_panels(weight: Tensor, *columns: Tensor) -> Bytes:
    """What the blocks of a weight have in each column, (blocks, …), with rows of zeros that fill the last panel."""
    wide = weight.shape[1] // BLOCK
    pieces = []
    for column in columns:
        rows = column.view(len(weight), wide, -1)
        filled = torch.cat([rows, rows.new_zeros(-len(rows) % ROWS, *rows.shape[1:])])
        panels = filled.view(-1, ROWS, *rows.shape[1:]).permute(0, 2, 3, 1)  # (panels, wide, …, 16)
        pieces.append(panels.contiguous().view(torch.uint8).flatten(2))
    laid: Bytes = torch.cat(pieces, 2).flatten(1).numpy()
    return laid
