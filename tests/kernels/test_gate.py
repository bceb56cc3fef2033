"""The gated activation in one compiled pass, and its gradients, against torch's in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sodate.kernels import gate

compiled = pytest.mark.skipif(gate.compiled is None, reason="no compiled gate here")
FLOAT64 = {"silu": torch.nn.functional.silu, "gelu_tanh": lambda x: torch.nn.functional.gelu(x, approximate="tanh")}


def numbers(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def expected(kind: str, x: Tensor, up: Tensor, grad: Tensor) -> tuple[Tensor, ...]:
    x, up = x.double().requires_grad_(), up.double().requires_grad_()
    out = FLOAT64[kind](x) * up
    return out.detach(), *torch.autograd.grad(out, (x, up), grad.double())


@pytest.mark.parametrize("how", ["compiled", "torch", "strided"])
@pytest.mark.parametrize("kind", gate.KINDS)
@pytest.mark.parametrize("shape", [(1, 1), (3, 1367), (67, 256)])
def test_gates_and_gradients_are_those_of_torch_even_where_exponentials_end(
    shape: tuple[int, int], kind: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if how == "torch":
        monkeypatch.setattr(gate, "compiled", None)
    ends = torch.tensor([0.0, -0.0, 1e-30, 88, -88, 200, -200, 1e10, -1e10, 1e15, -1e15])
    x = numbers(0, *shape) * 10
    x.view(-1)[: len(ends)] = ends[: x.numel()]
    up, grad = numbers(1, *shape), numbers(2, *shape)
    out, d_gate, d_up = expected(kind, x, up, grad)
    if how == "strided":
        x = x.t().contiguous().t()
    torch.testing.assert_close(gate.gated(kind, x, up).double(), out, rtol=1e-5, atol=1e-6)
    kept = x.clone(), up.clone()
    found = gate.gated_back(kind, x, up, grad)
    torch.testing.assert_close(found[0].double(), d_gate, rtol=1e-5, atol=5e-6)
    torch.testing.assert_close(found[1].double(), d_up, rtol=1e-5, atol=1e-6)
    assert torch.equal(x, kept[0]) and torch.equal(up, kept[1])  # they are saved for backward, maybe for another one


@compiled
@pytest.mark.parametrize("kind", gate.KINDS)
@pytest.mark.parametrize("which", [0, 1, 2])
def test_what_is_not_a_number_stays_so(which: int, kind: str) -> None:
    """A broken weight must be seen in the loss, whatever is done on the way."""
    given = [numbers(i, 2, 40) for i in range(3)]
    given[which][:] = torch.nan
    x, up, grad = given
    if which < 2:
        assert gate.gated(kind, x, up).isnan().all()
    d_gate, d_up = gate.gated_back(kind, x, up, grad)
    assert d_gate.isnan().all() and (d_up.isnan().all() or which == 1)


def f32(*shape: int) -> Any:
    return np.zeros(shape, dtype=np.float32)


@compiled
@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("gate", (f32(4, 16), f32(4, 16), f32(4, 8), 0), "one size"),
        ("gate", (f32(4, 16), np.zeros((4, 16)), f32(4, 16), 0), "float32"),
        ("gate", (f32(4, 16), f32(4, 16), f32(4, 16), 2), "kind 0 or 1"),
        ("gate", (f32(4, 16), f32(4, 16), f32(4, 16), "silu"), "int"),
        ("gate", (f32(4, 16), f32(4, 16), f32(16, 4).T, 0), "contiguous"),
        ("gate", (f32(4, 16), f32(4, 16), 0), "3 arrays"),
        ("gate_back", (f32(4, 16), f32(4, 16), f32(4, 16), f32(3, 16), 0), "one size"),
        ("gate_back", (f32(4, 16), f32(4, 16), f32(4, 16), 0), "4 arrays"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(name: str, arguments: tuple[Any, ...], said: str) -> None:
    with pytest.raises((ValueError, TypeError), match=said):
        getattr(gate.compiled, name)(*arguments)
