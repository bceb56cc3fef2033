"""The head: from a decoder's last hidden state to logits, and to the loss of a target. Whatever reads logits, in
training, decoding or comparing, comes by here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from sodate.kernels import rows
from sodate.kernels.linear_cross_entropy import linear_nll


@dataclass(frozen=True, slots=True)
class Head:
    """z = scale · W h + b for W (V, D), b (V,); then cap · tanh(z / cap) where the model caps its logits (Gemma 2)."""

    weight: Tensor
    bias: Tensor | None
    scale: float  # Granite divides its logits
    cap: float | None

    @classmethod
    def of(cls, model: Any, scale: float) -> Head:
        """A model's own head. Its `scale` stands in no configuration that all agree on: traits.py measures it."""
        linear = model.get_output_embeddings()
        return cls(linear.weight, linear.bias, scale, getattr(model.config, "final_logit_softcapping", None))

    def logits(self, hidden: Tensor) -> Tensor:
        """(…, V), at least float32, of hidden (…, D); without a gradient."""
        logits = rows.linear(self._scaled(hidden), self.weight, self.bias)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32)).contiguous()
        return logits if self.cap is None else self.cap * torch.tanh(logits / self.cap)

    def differentiable(self, hidden: Tensor) -> Tensor:
        """(P, V) logits in float32, of few hidden (P, D), with a gradient."""
        bias = None if self.bias is None else self.bias.float()
        logits = torch.nn.functional.linear(self._scaled(hidden).float(), self.weight.float(), bias)
        return logits if self.cap is None else self.cap * torch.tanh(logits / self.cap)

    def nll(self, hidden: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """-log p(target) in nats, differentiable, and whether no token is likelier, each (P,), of hidden (P, D)."""
        return linear_nll(self._scaled(hidden), self.weight, target, bias=self.bias, softcap=self.cap)

    def wide(self) -> Head:
        """The same head in float32."""
        return replace(self, weight=self.weight.float(), bias=None if self.bias is None else self.bias.float())

    def _scaled(self, hidden: Tensor) -> Tensor:
        return hidden if self.scale == 1 else hidden * self.scale
