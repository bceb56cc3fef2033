"""The parts of a decoder's block that are never trained: layers that read the same input stacked into one product."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sodate.adapt.adapters import Adapted
from sodate.generate.multi_lora import MultiLora
from sodate.kernels import rows
from sodate.kernels.gate import gated
from sodate.model.attention import Attend
from sodate.model.fused import Attention, GatedMLP, attention_precision, rotated


class FrozenLinear(nn.Module):
    """Linear layers, one or several with the same input, as one that is never trained: outputs lie side by side."""

    def __init__(self, layers: Sequence[Any]) -> None:
        super().__init__()
        weights = [layer.merged() if isinstance(layer, Adapted) else layer.weight for layer in layers]
        self.weight = torch.cat(weights).detach() if len(weights) > 1 else weights[0].detach()
        self.sizes = [len(weight) for weight in weights]
        self.multi_lora: MultiLora | None = None  # what versions over this base add
        self.bias: Tensor | None = None
        if any(layer.bias is not None for layer in layers):
            biases = (weights[i].new_zeros(len(weights[i])) if layer.bias is None else layer.bias
                      for i, layer in enumerate(layers))  # fmt: skip
            self.bias = torch.cat(list(biases)).detach()

    def forward(self, x: Tensor) -> Tensor:
        y = rows.linear(x, self.weight, self.bias)
        if self.multi_lora is not None:
            self.multi_lora.add(x.reshape(-1, x.shape[-1]), y.view(-1, y.shape[-1]))
        return y

    def side_by_side(self) -> Callable[[rows.Array, int], rows.Array]:
        """The same for rows that lie side by side, and how many they are."""
        product = rows.Product(self.weight, self.bias)

        def both(x: rows.Array, count: int) -> rows.Array:
            y = product(x, count)
            if self.multi_lora is not None:
                self.multi_lora.add_side_by_side(x, y, count)
            return y

        return both


class FrozenMLP(nn.Module):
    """fused.GatedMLP that is never trained: gate and up are one product."""

    def __init__(self, mlp: GatedMLP) -> None:
        super().__init__()
        self.wide, self.down = FrozenLinear((mlp.gate_proj, mlp.up_proj)), FrozenLinear((mlp.down_proj,))
        self.kind = mlp.kind

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.wide(x).chunk(2, -1)
        y: Tensor = self.down(gated(self.kind, gate, up))
        return y


class FrozenAttention(nn.Module):
    """fused.Attention that is never trained: query, key and value are one product, query and key one rotation."""

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        self.head_dim, self.layer = attention.head_dim, attention.layer
        self.scale, self.window = attention.scale, attention.window
        self.q_norm, self.k_norm = attention.q_norm, attention.k_norm
        layers = (attention.q_proj, attention.k_proj, attention.v_proj)
        self.heads = [len(layer.weight) // self.head_dim for layer in layers]
        self.qkv, self.out = FrozenLinear(layers), FrozenLinear((attention.o_proj,))

    def forward(
        self, hidden_states: Tensor, position_embeddings: tuple[Tensor, Tensor], attend: Attend, **_: Any
    ) -> tuple[Tensor, None]:
        """As fused.Attention."""
        x = hidden_states[0]
        heads = self.qkv(x).view(len(x), -1, self.head_dim)
        turning, v = heads.split([self.heads[0] + self.heads[1], self.heads[2]], 1)
        if self.q_norm is not None and self.k_norm is not None:
            q, k = turning.split(self.heads[:2], 1)
            turning = torch.cat([self.q_norm(q), self.k_norm(k)], 1)
        precision = attention_precision(x.dtype, x.device)
        cos, sin = (t[0, :, None].to(precision) for t in position_embeddings)
        q, k = rotated(turning.to(precision), cos, sin).split(self.heads[:2], 1)
        q, k, v = (t.transpose(0, 1)[None] for t in (q, k, v.to(precision)))
        out = attend(self.layer, q, k, v, self.scale, self.window)
        return self.out(out[0].transpose(0, 1).reshape(len(x), -1).to(x.dtype))[None], None
