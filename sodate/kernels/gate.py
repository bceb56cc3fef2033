"""The gated activation of a Llama-like MLP, act(gate) · up, and its gradients; on a CPU in one pass each (_gate.c)."""

from __future__ import annotations

import torch
from torch import Tensor

from sodate.kernels import compiled

KINDS = {"silu": 0, "gelu_tanh": 1}


def activate(kind: str, gate: Tensor) -> Tensor:
    return torch.nn.functional.silu(gate) if kind == "silu" else torch.nn.functional.gelu(gate, approximate="tanh")


def gated(kind: str, gate: Tensor, up: Tensor) -> Tensor:
    """act(gate) · up, of one shape."""
    if compiled is None or not _plain(gate, up):
        return activate(kind, gate).mul_(up)
    out = torch.empty_like(gate)
    compiled.gate(gate.numpy(), up.numpy(), out.numpy(), KINDS[kind])
    return out


def gated_back(kind: str, gate: Tensor, up: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients of gate and up from that of `gated`, whose memory they may take."""
    if compiled is None or not _plain(gate, up, grad):
        d_up = activate(kind, gate).mul_(grad)
        return _activate_back(kind, grad.mul_(up), gate), d_up
    d_gate = torch.empty_like(gate)
    compiled.gate_back(gate.numpy(), up.numpy(), grad.numpy(), d_gate.numpy(), KINDS[kind])
    return d_gate, grad


def _plain(*tensors: Tensor) -> bool:
    return all(t.dtype == torch.float32 and t.device.type == "cpu" and t.is_contiguous() for t in tensors)


def _activate_back(kind: str, grad: Tensor, gate: Tensor) -> Tensor:
    if kind == "silu":
        out: Tensor = torch.ops.aten.silu_backward(grad, gate)
        return out
    back: Tensor = torch.ops.aten.gelu_backward(grad, gate, approximate="tanh")
    return back
