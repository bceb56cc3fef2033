"""The gradients of several rows by themselves, of one backward over all of them: where an adapter is LoRA, those of A
and B are products over tokens, and the tokens of a row are taken out of what backward has at hand anyway."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sodate.adapt import lora
from sodate.adapt.adapters import layers
from sodate.model import traits
from sodate.model.forward import score
from sodate.render import trie
from sodate.render.renderer import Rendered
from sodate.train import checkpoint

APART = 10**9  # tokens that rows would have to share to be computed together
TOKENS, ROWS = 1024, 16  # of one backward
NUMBERS = 1 << 26  # of all gradients of one backward


def at_once(model: Any) -> int:
    """How many rows' gradients are made together; 1 where something else than LoRA is trained, or rows can't be
    packed."""
    trained = checkpoint.trainable(model)
    known = sum(2 for _, layer in layers(model) if type(layer) is lora.LoraLinear)
    if known != len(trained) or not traits.of(model).shares:
        return 1
    return max(1, min(ROWS, NUMBERS // sum(p.numel() for p in trained.values())))


def groups(rows: Sequence[list[Rendered]], most: int) -> Iterator[range]:
    """The numbers of rows that are computed together: `most` at most, of TOKENS tokens where they are not long."""
    start, tokens = 0, 0
    for number, row in enumerate(rows):
        own = sum(len(sequence.ids) for sequence in row)
        if number > start and (number - start == most or tokens + own > TOKENS):
            yield range(start, number)
            start, tokens = number, 0
        tokens += own
    yield range(start, len(rows))


def gradients(model: Any, rows: Sequence[list[Rendered]]) -> Tensor:
    """(rows, weights) float32: of each row the gradient of its summed loss, flat, in the order of what is trained."""
    trained = checkpoint.trainable(model)
    starts = dict(zip(trained, np.cumsum([0, *(p.numel() for p in trained.values())]).tolist(), strict=False))
    places = {_key(layer.weight): (starts[f"{name}.lora_A"], starts[f"{name}.lora_B"]) for name, layer in layers(model)}
    sequences = [sequence for row in rows for sequence in row]
    owner = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
    packed = trie.build(sequences, min_shared=APART)
    ends = np.array([segment.end for segment in packed.segments])
    of_entry = np.searchsorted(ends, packed.source[packed.entry_prediction], side="right")
    whose = {int(segment): int(owner[row]) for segment, row in zip(of_entry, packed.entry_row, strict=True)}
    spans = [(whose[n], segment.start, segment.end) for n, segment in enumerate(packed.segments) if n in whose]
    found = torch.zeros(len(rows), sum(p.numel() for p in trained.values()), device=model.device)

    def seen(weight: Any, dy: Tensor, low: Tensor, back_low: Tensor, x: Tensor) -> None:
        dy, low, back_low, x = dy.float(), low.float(), back_low.float(), x.float()
        a, b = places[_key(weight)]
        rank, wide, out = low.shape[1], x.shape[1], dy.shape[1]
        for row, start, end in spans:
            da, db = found[row, a : a + rank * wide].view(rank, wide), found[row, b : b + out * rank].view(out, rank)
            da.addmm_(back_low[start:end].t(), x[start:end])
            db.addmm_(dy[start:end].t(), low[start:end])

    loss = score(model, packed).weighted_sum()
    with lora.seeing(seen):
        torch.autograd.grad(loss, list(trained.values()))
    return found


def _key(weight: Any) -> int:
    return int(weight.data_ptr()) if isinstance(weight, Tensor) else id(weight)
