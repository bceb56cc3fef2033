"""Weights that were published in 4 or 8 bits: found by their numbers, kept as GGUF keeps them, multiplied exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Kind
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from sodate.core.engine import Sampling
from sodate.generate import decoding
from sodate.generate.engine import generate
from sodate.kernels import compiled, packed, rows
from sodate.model import fused
from sodate.model.load import load_base
from tests.families import VOCABULARY, make

pytestmark = pytest.mark.skipif(compiled is None or not compiled.FEW, reason="no code for this processor")
KINDS = (Kind.Q4_1, Kind.Q8_0)


def published(kind: Kind, out: int, wide: int, seed: int) -> torch.Tensor:
    """A weight as gguf's own quantiser leaves it."""
    weight = np.random.default_rng(seed).standard_normal((out, wide)).astype(np.float32)
    weight[0] = 0  # a block of one number
    return torch.from_numpy(gguf.quants.dequantize(gguf.quants.quantize(weight, kind), kind))


@pytest.mark.parametrize("kind", KINDS)
@given(out=st.integers(1, 40), blocks=st.integers(1, 5), seed=st.integers(0, 2**31))
def test_a_published_weight_is_packed_without_changing_a_number(kind: Kind, out: int, blocks: int, seed: int) -> None:
    weight = published(kind, out, 32 * blocks, seed)
    made = packed.pack(weight)
    assert made is not None and made.nbytes <= -(-out // 16) * 16 * 32 * blocks * 34 / 32
    # One of a single number in each block fits either way.
    read = in_four_bits(made) if made.shape[1] == 320 * blocks else in_eight_bits(made)
    np.testing.assert_array_equal(read[:out], weight.numpy())


def in_four_bits(made: packed.Bytes) -> NDArray[np.float32]:
    """The numbers of panels of 16 rows: for each 32 columns 16 d, 16 m, and 16 times 4 bits of column after column."""
    panels = made.reshape(len(made), -1, 320)
    d, m = (panels[:, :, at : at + 32].copy().view(np.float16).astype(np.float64) for at in (0, 32))
    words = panels[:, :, 64:].copy().view(np.uint32).reshape(*panels.shape[:2], 4, 16)
    columns = [d * (words[:, :, i // 8] >> 4 * (i % 8) & 15) + m for i in range(32)]  # each (panels, wide, 16)
    numbers = np.stack(columns, -1).astype(np.float32)
    return numbers.transpose(0, 2, 1, 3).reshape(16 * len(made), -1)


def in_eight_bits(made: packed.Bytes) -> NDArray[np.float32]:
    """The same of 8 bits: for each 32 columns 16 d, and 16 bytes of each column."""
    panels = made.reshape(len(made), -1, 544)
    d = panels[:, :, :32].copy().view(np.float16).astype(np.float32)
    q = panels[:, :, 32:].view(np.int8).reshape(*panels.shape[:2], 32, 16)
    return (d[:, :, None] * q).transpose(0, 3, 1, 2).reshape(16 * len(made), -1)


@given(out=st.integers(1, 40), wide=st.integers(1, 70), seed=st.integers(0, 2**31))
def test_bfloat16_is_found_by_its_numbers(out: int, wide: int, seed: int) -> None:
    weight = torch.randn(out, wide, generator=torch.Generator().manual_seed(seed)).bfloat16().float()
    bits = packed.narrowed(weight)
    assert bits is not None
    np.testing.assert_array_equal((bits.astype(np.uint32) << 16).view(np.float32), weight.numpy())
    weight[-1, -1] += weight[-1, -1].abs() / 1000 + 1e-30
    assert packed.narrowed(weight) is None


@given(seed=st.integers(0, 2**31), kind=st.sampled_from(KINDS))
def test_a_weight_with_one_other_number_is_not(seed: int, kind: Kind) -> None:
    weight = published(kind, 12, 64, seed)
    weight[11, 40] += weight.abs().max() / 1000
    assert packed.pack(weight) is None


@pytest.mark.parametrize(
    "weight",
    [torch.randn(4, 64), torch.randn(4, 33), torch.randn(64), torch.zeros(4, 64).bfloat16(), torch.zeros(64, 8).t()],
)
def test_what_is_not_so_published_stays_as_it_is(weight: torch.Tensor) -> None:
    assert packed.pack(weight) is None


@pytest.mark.parametrize("kind", [None, *KINDS])
@given(count=st.sampled_from([1, 2, 3, 4, 5, 16, 17, 64]), out=st.integers(1, 21), blocks=st.integers(1, 4),
       rest=st.integers(0, 31), seed=st.integers(0, 2**31))  # fmt: skip
def test_products_are_those_of_the_weights_numbers(
    kind: Kind | None, count: int, out: int, blocks: int, rest: int, seed: int
) -> None:
    random = torch.Generator().manual_seed(seed)
    wide = 32 * blocks + (rest if kind is None else 0)
    weight: Any = torch.randn(out, wide, generator=random) if kind is None else published(kind, out, wide, seed)
    weight.packed = packed.pack(weight)
    assert (weight.packed is None) == (kind is None)
    x = torch.randn(count, wide, generator=random)
    made = rows.Product(weight, None)(rows.side_by_side(x), count)
    exact = x.double() @ weight.double().t()
    bound = 1e-5 * float((x.abs() @ weight.abs().t()).max())
    assert float((rows.apart(made, count) - exact).abs().max()) <= bound
    assert float((rows.linear(x, weight, None) - exact).abs().max()) <= bound
    assert not made[:, count:].any()  # what fills up stays zero


def test_what_is_not_a_number_stays_so() -> None:
    every_bit = torch.tensor(0x7FFFFFFF, dtype=torch.int32).view(torch.float32)
    for weight in (torch.ones(3, 32), torch.ones(3, 32).bfloat16(), published(Kind.Q4_1, 3, 32, 1)):
        x = torch.ones(1, 32)
        x[0, 5] = every_bit
        made: Any = weight
        made.packed = packed.pack(weight)
        assert np.isnan(rows.Product(made, None)(rows.side_by_side(x), 1)[1:, 0]).all()


@pytest.mark.parametrize(
    ("shapes", "count"),
    [
        (((32, 16), (3, 33), (3, 16)), 1),
        (((32, 15), (3, 32), (3, 15)), 1),
        (((32, 80), (3, 32), (3, 80)), 1),
        (((32, 16), (3, 32), (4, 16)), 1),
        (((32, 16), (3, 32), (3, 16)), 5),  # float32 is for few rows
        (((32, 16), (3, 32), (3, 16)), 0),
    ],
)
def test_arrays_that_do_not_fit_are_refused(shapes: tuple[tuple[int, int], ...], count: int) -> None:
    assert compiled is not None
    x, weight, out = (np.zeros(shape, dtype=np.float32) for shape in shapes)
    with pytest.raises(ValueError, match="fit"):
        compiled.few(x, weight, out, count)


@pytest.mark.parametrize(
    ("blocks", "bytes_", "count"), [(1, 21, 1), (2, 320, 1), (1, 20, 1), (1, 544, 17), (1, 34, 1), (0, 0, 1)]
)
def test_bytes_that_do_not_fit_are_refused(blocks: int, bytes_: int, count: int) -> None:
    assert compiled is not None
    x, out = (np.zeros((n, 16), dtype=np.float32) for n in (32 * blocks, 3))
    with pytest.raises(ValueError, match="fit"):
        compiled.few(x, np.zeros((3, bytes_), dtype=np.uint8), out, count)


@pytest.mark.parametrize("count", [1, 3, 6])
def test_a_model_published_in_4_bits_says_what_its_float32_numbers_say(count: int, tmp_path: Path) -> None:
    plain = make("llama", hidden_size=64, intermediate_size=96, head_dim=16)
    with torch.no_grad():
        for name, parameter in plain.named_parameters():
            if parameter.dim() == 2:
                kind = Kind.Q8_0 if "embed" in name or "lm_head" in name else Kind.Q4_1
                numbers = gguf.quants.dequantize(gguf.quants.quantize(parameter.numpy(), kind), kind)
                parameter.copy_(torch.from_numpy(numbers))
    plain.save_pretrained(tmp_path)
    ours = load_base(tmp_path, device=torch.device("cpu"), dtype=torch.float32)
    fused.replace_modules(ours, torch.float32)
    decoding.freeze(ours)
    assert ours.get_output_embeddings().weight.packed.shape == (-(-VOCABULARY // 16), 2 * 544)
    assert ours.get_decoder().layers[0].self_attn.qkv.weight.packed is not None
    prompts = [[5 + i, 9, 11, 3 + i] for i in range(count)]
    for prompt, reply in zip(prompts, generate(ours, prompts, [], Sampling(14)), strict=True):
        ids = torch.tensor([prompt])
        expected = plain.generate(ids, max_new_tokens=14, do_sample=False, eos_token_id=[-1], pad_token_id=2)
        assert reply.ids == expected[0, len(prompt) :].tolist()
