"""How far a student's distribution over the next token is from its teacher's.

    generalised Jensen-Shannon divergence, arXiv 2306.13649 (GKD), eq. 1, P the teacher's, Q the student's:
        D_β(P ‖ Q) = β KL(P ‖ M) + (1 - β) KL(Q ‖ M),  M = β P + (1 - β) Q

β → 0 goes to KL(P ‖ Q), which covers all that the teacher might say, β → 1 to KL(Q ‖ P), which keeps to what it is sure
of, both after division by β and 1 - β; at 0 and 1 these limits are taken.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def generalised_jsd(student: Tensor, teacher: Tensor, beta: float) -> Tensor:
    """(…) nats, of log-probabilities (…, V) of student and teacher; 0 ≤ beta ≤ 1. The gradient is the student's."""
    if beta == 0:
        return _kl(teacher, student)
    if beta == 1:
        return _kl(student, teacher)
    mixed = torch.logaddexp(teacher + math.log(beta), student + math.log1p(-beta))
    return beta * _kl(teacher, mixed) + (1 - beta) * _kl(student, mixed)


def _kl(one: Tensor, other: Tensor) -> Tensor:
    """KL of log-probabilities, in nats; what one never says adds nothing."""
    probability = one.exp()
    return torch.where(probability > 0, probability * (one - other), 0.0).sum(-1)
