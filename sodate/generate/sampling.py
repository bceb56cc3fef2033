"""From logits to a token: bias, penalties and constraint, then temperature and top_p, then one uniform number.

Each row is chosen for by its own settings and its own random stream, so that nothing depends on who else is running.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sodate.core.engine import Sampling

BLOCK = 256  # ids whose probabilities are summed together when one is drawn
COLDEST = 1e-30  # logits over less are beyond float32, and one such row would fail all rows of its step


class ChosenToken(NamedTuple):
    """A token, its log-probability (nats), and the likeliest ids with theirs."""

    id: int
    log_probability: float
    top: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class TokenChoice:
    """What decides one row's token beside its logits: `uniform` in [0, 1), `said` the ids that count as said before,
    `allowed` the bits of the ids that a constraint allows (V / 32 words, the lowest bit first)."""

    sampling: Sampling
    uniform: float
    said: Sequence[int] = ()
    allowed: NDArray[np.int32] | None = None


class Stream:
    """The uniform numbers of one reply: number i decides its token i, however often it is asked for."""

    def __init__(self, seed: int, stream: int) -> None:
        self._random = np.random.Generator(np.random.Philox([seed, stream]))
        self._drawn: list[float] = []

    def __getitem__(self, i: int) -> float:
        while len(self._drawn) <= i:
            self._drawn.append(self._random.random())
        return self._drawn[i]


def choose(logits: Tensor, choices: Sequence[TokenChoice]) -> list[ChosenToken]:
    """The token of each row of logits (n, V), which are changed in place. Where these are not numbers, its
    log-probability is none either."""
    for row, choice in zip(logits, choices, strict=True):
        _adjust(row, choice)
    heat = [max(c.sampling.temperature, COLDEST) if c.sampling.temperature else 1.0 for c in choices]
    if any(one != 1 for one in heat):
        logits /= torch.tensor(heat, device=logits.device)[:, None]
    logp = torch.log_softmax(logits, -1)  # logsumexp would take twenty times as long
    ids = _likeliest(logp)
    values = logp.gather(1, ids[:, None])[:, 0].tolist()
    drawn = [i for i, c in enumerate(choices) if c.sampling.temperature > 0 and not math.isnan(values[i])]
    if drawn:
        nucleus = [i for i in drawn if choices[i].sampling.top_p < 1]
        if nucleus:
            logp[nucleus] = _nucleus(logp[nucleus], [choices[i].sampling.top_p for i in nucleus])
        uniform = torch.tensor([choices[i].uniform for i in drawn], dtype=torch.float64, device=logits.device)
        ids[drawn] = _drawn((logp if len(drawn) == len(choices) else logp[drawn]).exp(), uniform)
        values = logp.gather(1, ids[:, None])[:, 0].tolist()
    return [ChosenToken(token, value, _top(logp[i], choices[i].sampling.top_logprobs))
            for i, (token, value) in enumerate(zip(ids.tolist(), values, strict=True))]  # fmt: skip


def _likeliest(logp: Tensor) -> Tensor:
    """(n,) of logp (n, V); on a CPU by numpy, which takes a tenth of torch's time."""
    return torch.from_numpy(logp.numpy().argmax(-1)) if logp.device.type == "cpu" else logp.argmax(-1)


def _adjust(row: Tensor, choice: TokenChoice) -> None:
    one = choice.sampling
    if one.bias:
        at = torch.tensor(list(one.bias), device=row.device)
        row[at] += torch.tensor(list(one.bias.values()), device=row.device, dtype=row.dtype)
    if choice.said and (one.presence_penalty or one.frequency_penalty):
        at, count = torch.tensor(choice.said, device=row.device).unique(return_counts=True)
        row[at] -= one.presence_penalty + one.frequency_penalty * count.to(row.dtype)
    if choice.allowed is not None:
        bits = np.unpackbits(choice.allowed.view(np.uint8), bitorder="little")[: len(row)]
        hidden = torch.ones(len(row), dtype=torch.bool)
        hidden[: len(bits)] = torch.from_numpy(bits == 0)  # a head may be wider than the tokenizer
        row.masked_fill_(hidden.to(row.device), float("-inf"))


def _nucleus(logp: Tensor, top_p: Sequence[float]) -> Tensor:
    """Log-probabilities within the smallest set of ids that has `top_p` of the mass, for each row of logp (n, V)."""
    ordered, index = logp.sort(-1, descending=True)
    before = ordered.exp().cumsum(-1) - ordered.exp()
    hidden = before >= torch.tensor(top_p, device=logp.device)[:, None]
    hidden[:, 0] = False  # top_p = 0 means the likeliest token, not none
    ordered = ordered.masked_fill(hidden, float("-inf"))
    return torch.log_softmax(torch.empty_like(logp).scatter_(1, index, ordered), -1)


def _top(logp: Tensor, count: int) -> tuple[tuple[int, float], ...]:
    if not count:
        return ()
    values, ids = logp.topk(min(count, len(logp)))
    return tuple(pair for pair in zip(ids.tolist(), values.tolist(), strict=True) if pair[1] > float("-inf"))


def _drawn(p: Tensor, uniform: Tensor) -> Tensor:
    """(n,) ids by inverse transform of probabilities p (n, V): first the block of ids, then the id in it.

    One uniform number a row decides. Sums are of float64, over a block and over blocks: a running sum of the whole
    vocabulary would take longer than the softmax.
    """
    blocks = torch.nn.functional.pad(p, (0, -p.shape[1] % BLOCK)).view(len(p), -1, BLOCK)
    ends = blocks.sum(-1, dtype=torch.float64).cumsum(-1)
    aim = (uniform * ends[:, -1])[:, None]
    # At most the block where the sum is complete: rounding must not lead to one without any probability.
    block = torch.searchsorted(ends, aim, right=True).minimum(torch.searchsorted(ends, ends[:, -1:].contiguous()))
    begin = torch.where(block > 0, ends.gather(1, (block - 1).clamp(min=0)), 0.0)
    inside = blocks[torch.arange(len(p), device=p.device), block[:, 0]].double()
    place = torch.searchsorted(inside.cumsum(-1), aim - begin, right=True)
    # Nor to an id without any.
    last = (inside > 0).long().mul(torch.arange(1, BLOCK + 1, device=p.device)).amax(-1, keepdim=True) - 1
    return (block * BLOCK + torch.minimum(place, last.clamp(min=0)))[:, 0]
