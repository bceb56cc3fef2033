"""Policy gradients over sampled replies: GRPO and its variants, RLOO, and what they share with PPO.

Shapes: T tokens of replies, flat or in any shape (the functions of tokens are elementwise); R replies; G groups of k
replies to one prompt. Log-probabilities are in nats, of the tokens that were sampled.

    GRPO     arXiv 2402.03300, eq. 3 and 4        clip, k3 to the reference, advantages over the group's deviation
    Dr. GRPO arXiv 2503.20783, sec. 3.2           no deviation, one constant in place of every reply's length
    DAPO     arXiv 2503.14476, eq. 8 to 12        wider clip upwards, one mean over all tokens, no constant group
    RLOO     arXiv 2402.14740, eq. 8              the baseline is the mean of the other replies, a reply counts whole
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Variant = Literal["grpo", "dr_grpo", "dapo", "rloo"]

# What keeps a group of nearly equal rewards from a division by zero; TRL's number.
EPSILON = 1e-4


def group_advantages(rewards: Tensor, variant: Variant) -> Tensor:
    """(G, k) rewards → (G, k) advantages. k ≥ 2.

    grpo, dapo: (r - mean) / (deviation + 1e-4), the deviation with k - 1 in its denominator (GRPO sec. 4.1.2);
    dr_grpo: r - mean; rloo: r - mean of the other k - 1.
    """
    centred = rewards - rewards.mean(1, keepdim=True)
    if variant == "dr_grpo":
        return centred
    if variant == "rloo":
        k = rewards.shape[1]
        return centred * (k / (k - 1))
    return centred / (rewards.std(1, keepdim=True) + EPSILON)


def zero_variance(rewards: Tensor) -> Tensor:
    """(G,) bool: groups whose k replies all have the same reward and so teach nothing (DAPO eq. 11)."""
    return (rewards.amax(1) - rewards.amin(1)) < 1e-8


def token_weights(lengths: Tensor, variant: Variant, max_length: int) -> Tensor:
    """(R,) what every token of a reply counts in the sum that is the loss, from the replies' lengths in tokens.

    grpo 1 / (R · length), a mean of means (eq. 3); dapo 1 / Σ lengths (eq. 8); dr_grpo 1 / (R · max_length);
    rloo 1 / R: a reply's log-probability is the sum over its tokens.
    """
    replies = len(lengths)
    if variant == "grpo":
        return 1.0 / (replies * lengths.clamp(min=1).double())
    totals = {"dapo": max(1, int(lengths.sum())), "dr_grpo": replies * max_length, "rloo": replies}
    return torch.full((replies,), 1.0 / totals[variant], dtype=torch.float64)


def clipped(log_p: Tensor, old: Tensor, advantage: Tensor, low: float, high: float) -> tuple[Tensor, Tensor]:
    """(loss, whether the clip holds the gradient back) per token: -min(ρA, clip(ρ, 1 - low, 1 + high)A), ρ = p / p_old.

    PPO (arXiv 1707.06347, eq. 7); DAPO's clip-higher is high > low (eq. 10).
    """
    ratio = torch.exp(log_p - old)
    loss = -torch.minimum(ratio * advantage, ratio.clamp(1 - low, 1 + high) * advantage)
    cut = ((ratio > 1 + high) & (advantage > 0)) | ((ratio < 1 - low) & (advantage < 0))
    return loss, cut


def k3(log_p: Tensor, reference: Tensor) -> Tensor:
    """Estimate of KL(policy ‖ reference) per sampled token, never negative: q/p - log(q/p) - 1 (GRPO eq. 4)."""
    log_ratio = reference - log_p
    return torch.exp(log_ratio) - log_ratio - 1


def entropy_bonus(log_p: Tensor, old: Tensor) -> Tensor:
    """Per token, a quantity whose gradient is an unbiased estimate of the policy entropy's gradient.

    ∇H = -E[log p · ∇ log p]; the tokens were drawn from `old`, so each counts p / p_old times. Its value is no entropy:
    that is estimated by the mean of -log p over what was sampled.
    """
    weight = torch.exp(log_p.detach() - old)
    return -weight * log_p.detach() * log_p
