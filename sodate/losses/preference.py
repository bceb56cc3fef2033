"""Losses of preference optimisation: log-probabilities of whole replies in, one loss per pair (or reply) out.

Every log-probability is a sum over a reply's tokens, in nats, shape (rows,); `tokens` are their numbers. "Reference" is
the model before training.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid


def dpo(
    chosen: Tensor,
    rejected: Tensor,
    reference_chosen: Tensor,
    reference_rejected: Tensor,
    *,
    beta: float,
    kind: str = "sigmoid",
    label_smoothing: float = 0.0,
    chosen_tokens: Tensor | None = None,
    rejected_tokens: Tensor | None = None,
) -> Tensor:
    """Direct preference optimisation (Rafailov et al., arXiv 2305.18290, eq. 7). Shapes (rows,) → (rows,).

        h = log π(c)/π_ref(c) - log π(r)/π_ref(r)

    `sigmoid`  -(1-ε) log σ(β h) - ε log σ(-β h); ε > 0 is conservative DPO (Mitchell, 2023): labels wrong at rate ε.
    `hinge`    max(0, 1 - β h), as in SLiC-HF (arXiv 2305.10425).
    `ipo`      (h' - 1/(2β))² with h' taken of the mean over each reply's tokens (arXiv 2310.12036, eq. 17; the mean is
               how its authors ran it). Needs both token counts.
    """
    up, down = chosen - reference_chosen, rejected - reference_rejected
    if kind == "ipo":
        assert chosen_tokens is not None and rejected_tokens is not None
        return (up / chosen_tokens - down / rejected_tokens - 1 / (2 * beta)) ** 2
    if kind == "hinge":
        return torch.relu(1 - beta * (up - down))
    return smoothed(beta * (up - down), label_smoothing)


def smoothed(logit: Tensor, epsilon: float) -> Tensor:
    """-(1-ε) log σ(x) - ε log σ(-x): cross-entropy of a label that is wrong with probability ε."""
    loss: Tensor = -(1 - epsilon) * logsigmoid(logit)
    return loss - epsilon * logsigmoid(-logit) if epsilon else loss


def kto(
    policy: Tensor,
    reference: Tensor,
    desirable: Tensor,
    divergence: Tensor,
    *,
    beta: float,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
) -> Tensor:
    """Kahneman-Tversky optimisation (arXiv 2402.01306, eq. 8). Shapes (rows,), `desirable` bool → (rows,).

        λ_D (1 - σ(β (log π/π_ref - z)))   for a desirable reply
        λ_U (1 - σ(β (z - log π/π_ref)))   for an undesirable one

    z is `divergence`, a scalar: an estimate of KL(π ‖ π_ref), not below 0, through which no gradient flows.
    """
    gain = beta * (policy - reference - divergence)
    value = torch.where(desirable, torch.sigmoid(gain), torch.sigmoid(-gain))
    weight = torch.where(desirable, desirable_weight, undesirable_weight).to(value.dtype)
    return weight * (1 - value)


def kto_divergence(policy: Tensor, reference: Tensor) -> Tensor:
    """z of KTO (arXiv 2402.01306, § 4.1): max(0, mean log π/π_ref) over replies beside a prompt that is not theirs."""
    return (policy - reference).mean().clamp(min=0).detach()


def orpo(chosen: Tensor, rejected: Tensor, chosen_tokens: Tensor, rejected_tokens: Tensor) -> Tensor:
    """Odds ratio term of ORPO (arXiv 2403.07691, eq. 7), without its weight λ and the likelihood term → (rows,).

    -log σ(log odds(c) - log odds(r)),   odds = p / (1 - p),   p = exp(mean log-probability of a token)
    """
    up, down = chosen / chosen_tokens, rejected / rejected_tokens
    return -logsigmoid(_log_odds(up) - _log_odds(down))


def _log_odds(log_p: Tensor) -> Tensor:
    """log p - log(1 - p); p is kept below 1, where the odds are infinite."""
    log_p = log_p.clamp(max=-1e-6)
    return log_p - torch.log(-torch.expm1(log_p))


def simpo(
    chosen: Tensor, rejected: Tensor, chosen_tokens: Tensor, rejected_tokens: Tensor, *, beta: float, gamma: float
) -> Tensor:
    """SimPO (Meng et al., arXiv 2405.14734, eq. 6): no reference, mean log-probabilities, a target margin γ → (rows,).

    -log σ(β mean(c) - β mean(r) - γ)
    """
    return -logsigmoid(beta * (chosen / chosen_tokens - rejected / rejected_tokens) - gamma)
