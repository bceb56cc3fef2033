"""NF4 against its definition worked in plain Python, and products with it against the dequantised weight."""

from __future__ import annotations

from pathlib import Path
from statistics import NormalDist

import pytest
import torch
from torch import Tensor

from sodate.adapt.quantise import NF4, NF4Linear, dense
from sodate.model import load
from tests.close import assert_as_exact
from tests.families import make


def levels() -> list[float]:
    """The 16 values of NF4 (arXiv 2305.14314, appendix E): quantiles of N(0, 1), 8 positive, 7 negative and 0."""
    offset = 0.9677083
    ppf = NormalDist().inv_cdf
    up = [ppf(offset + (0.5 - offset) * i / 8) for i in range(8)]
    down = [-ppf(offset + (0.5 - offset) * i / 7) for i in range(7)]
    return sorted(v / max(up) for v in [*up, *down, 0.0])


def drawn(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(3)).to(dtype) * 0.05


@pytest.mark.parametrize("shape", [(48, 128), (3, 40)])  # the second does not fill its last block
def test_every_number_becomes_the_nearest_level_times_its_blocks_scale(shape: tuple[int, int]) -> None:
    weight = drawn(*shape)
    got = NF4(weight).dense(torch.float32).flatten()
    for start in range(0, weight.numel(), 64):
        block = weight.flatten()[start : start + 64]
        scale = block.abs().max()
        nearest = torch.tensor(levels())[(block[:, None] / scale - torch.tensor(levels())).abs().argmin(1)]
        # The scale is itself kept in 8 bits: that is the rest of the difference.
        torch.testing.assert_close(got[start : start + 64], nearest * scale, rtol=0.02, atol=1e-6)


def test_a_quantised_weight_takes_an_eighth_of_float32_and_its_scales_half_a_bit_less_than_unquantised_ones() -> None:
    weight = drawn(512, 256)
    count = weight.numel()
    assert NF4(weight).nbytes == count // 2 + count // 64 + 4 * count // 64 // 256
    assert NF4(weight).nbytes * 8 / count == pytest.approx(4.127, abs=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dense_hands_a_tensor_through_and_makes_one_of_a_quantised_weight(dtype: torch.dtype) -> None:
    weight = drawn(8, 64, dtype=dtype)
    assert dense(weight, dtype) is weight
    packed = NF4(weight)
    assert dense(packed, dtype).dtype == dtype and dense(packed, torch.float32).dtype == torch.float32
    assert packed.shape == weight.shape and packed.dtype == dtype
    assert torch.equal(dense(packed, dtype), dense(NF4(weight), dtype))  # the same each time
    assert torch.equal(dense(packed, dtype), dense(packed, torch.float32).to(dtype))


@pytest.mark.parametrize("bias", [False, True])
def test_a_product_with_a_quantised_weight_and_its_gradient_are_those_of_the_dense_weight(bias: bool) -> None:
    weight, offset = drawn(6, 64), drawn(6) if bias else None
    layer = NF4Linear(weight, offset)
    x = drawn(2, 5, 64).requires_grad_()
    dy = drawn(2, 5, 6)

    def unpacked(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        weight = layer.weight.dense(torch.float32).to(dtype)
        y = x.to(dtype) @ weight.t() + (offset.to(dtype) if offset is not None else 0)
        return y, dy.to(dtype) @ weight

    y = layer(x)
    found = y, torch.autograd.grad(y, x, dy)[0]
    for mine, other, exact in zip(found, unpacked(torch.float32), unpacked(torch.float64), strict=True):
        assert_as_exact(mine, other, exact)


def test_the_dense_weight_is_not_kept_for_backward() -> None:
    layer = NF4Linear(drawn(64, 64), None)
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):  # type: ignore[func-returns-value]
        layer(drawn(5, 64).requires_grad_()).sum()
    assert not any(t.shape == (64, 64) for t in kept)


def test_a_model_read_into_another_precision_is_the_one_transformers_reads(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    make("gemma3").save_pretrained(tmp_path)
    ours = load.load_base(tmp_path, device=torch.device("cpu"), dtype=torch.bfloat16)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert ours.get_output_embeddings().weight is ours.get_input_embeddings().weight  # still tied
    for kind in ("named_parameters", "named_buffers"):
        found, expected = (dict(getattr(model, kind)()) for model in (ours, theirs))
        assert found.keys() == expected.keys()
        assert all(found[n].dtype == expected[n].dtype and torch.equal(found[n], expected[n]) for n in expected)
