"""Losses of a reward model: one score per reply in, one loss per comparison out."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid


def bradley_terry(chosen: Tensor, rejected: Tensor, margin: Tensor | float = 0.0) -> Tensor:
    """-log σ(r_chosen - r_rejected - m), shapes (pairs,) → (pairs,).

    P(chosen beats rejected) = σ(r_chosen - r_rejected) (Bradley and Terry, 1952; arXiv 2203.02155, eq. 1); a margin
    m > 0 asks for more where people were surer (Llama 2, arXiv 2307.09288, eq. 2).
    """
    return -logsigmoid(chosen - rejected - margin)


def plackett_luce(scores: Tensor, ranks: Tensor) -> Tensor:
    """-log P(ranking), a scalar. Shapes (k,), (k,): rank 1 is best, equal ranks are ties.

        P = Π over replies i that some reply ranks below of  exp(r_i) / Σ_j exp(r_j),  j over i and what ranks below i

    (Plackett, 1975; Luce, 1959.) Tied replies are never compared with each other: each is set against those below.
    """
    total = scores.new_zeros(())
    for score, rank in zip(scores, ranks, strict=True):
        below = scores[ranks > rank]
        if len(below):
            total = total + torch.logsumexp(torch.cat([score[None], below]), 0) - score
    return total
