"""How far apart the next-token distributions of two models are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sodate.model.forward import head, prediction_states
from sodate.model.head import Head
from sodate.render.renderer import Rendered
from sodate.render.trie import build

AT_ONCE = 64  # predictions whose logits are held at once


class View(NamedTuple):
    """What a model's logits come from: hidden states (P, D), and the head in float32."""

    hidden: Tensor
    head: Head

    def logits(self, part: slice) -> Tensor:
        """(predictions, V) in float32."""
        return self.head.logits(self.hidden[part].float())


@torch.inference_mode()
def view(model: Any, sequences: Sequence[Rendered]) -> View:
    """Hidden states wherever these sequences have a supervised token to predict."""
    states = torch.cat([prediction_states(model, build([sequence])) for sequence in sequences])
    return View(states, head(model).wide())


@torch.inference_mode()
def difference(one: View, other: View) -> dict[str, float]:
    """|Δ logit| and KL(one ‖ other) in nats, largest and mean over all predictions; share of them with the same top."""
    largest = total = kl_largest = kl_total = same = 0.0
    count = len(one.hidden)
    for start in range(0, count, AT_ONCE):
        part = slice(start, start + AT_ONCE)
        a, b = one.logits(part), other.logits(part)
        gap = (a - b).abs()
        p, q = a.double().log_softmax(-1), b.double().log_softmax(-1)
        kl = (p.exp() * (p - q)).sum(-1)
        largest, kl_largest = max(largest, gap.max().item()), max(kl_largest, kl.max().item())
        total, kl_total = total + gap.mean(-1).sum().item(), kl_total + kl.sum().item()
        same += (a.argmax(-1) == b.argmax(-1)).sum().item()
    return {
        "predictions": count, "logit_max": largest, "logit_mean": total / count,
        "kl_max": kl_largest, "kl_mean": kl_total / count, "same_top": same / count,
    }  # fmt: skip
