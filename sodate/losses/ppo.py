"""PPO (arXiv 1707.06347) as in RLHF (arXiv 1909.08593, 2203.02155): a token is an action, a reply an episode.

Shapes: R replies of at most T tokens, padded on the right, `mask` (R, T) true where there is a token. V(s_t) is the
value before token t is chosen. Log-probabilities are in nats.
"""

from __future__ import annotations

import torch
from torch import Tensor


def kl_rewards(scores: Tensor, log_p: Tensor, reference: Tensor, mask: Tensor, coefficient: float) -> Tensor:
    """(R, T): -coefficient · log(p / p_ref) at every token, a reply's score (R,) on its last (1909.08593, eq. 2)."""
    rewards = -coefficient * (log_p - reference) * mask
    last = mask.sum(1).long() - 1
    return rewards.scatter_add(1, last[:, None], scores[:, None].to(rewards.dtype))


def gae(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    """Advantages and returns, (R, T), by generalised advantage estimation (arXiv 1506.02438, eq. 16).

    δ_t = r_t + γ V_{t+1} - V_t,  A_t = δ_t + γ λ A_{t+1},  return = A + V. Behind the last token everything is 0.
    """
    values = values * mask
    advantages = torch.zeros_like(values)
    following = torch.zeros_like(values[:, 0])
    for t in range(values.shape[1] - 1, -1, -1):
        after = values[:, t + 1] if t + 1 < values.shape[1] else torch.zeros_like(following)
        delta = rewards[:, t] + gamma * after - values[:, t]
        following = (delta + gamma * lam * following) * mask[:, t]
        advantages[:, t] = following
    return advantages, (advantages + values) * mask


def whiten(values: Tensor, mask: Tensor) -> Tensor:
    """Values less their mean over the mask, divided by their deviation over it (variance + 1e-8); 0 elsewhere."""
    masked = values[mask.bool()]
    deviation = (masked.var(unbiased=False) + 1e-8).sqrt()
    return (values - masked.mean()) / deviation * mask


def value_loss(values: Tensor, old: Tensor, returns: Tensor, clip: float) -> tuple[Tensor, Tensor]:
    """(loss, whether the clipped error is the larger one) per token: ½ max((V - G)², (clip(V, V_old ± clip) - G)²).

    The value function's clip of OpenAI's baselines; see "The 37 implementation details of PPO", number 9.
    """
    free = (values - returns).square()
    near = (torch.clamp(values, old - clip, old + clip) - returns).square()
    return 0.5 * torch.maximum(free, near), near > free


def adapted(coefficient: float, kl: float, target: float, replies: int, horizon: int) -> float:
    """The KL coefficient after a step (1909.08593, eq. 4 of sec. 2.2).

    coefficient · (1 + clip(kl / target - 1, ±0.2) · replies / horizon), `kl` summed over a reply's tokens.
    """
    error = min(max(kl / target - 1, -0.2), 0.2)
    return coefficient * (1 + error * replies / horizon)
