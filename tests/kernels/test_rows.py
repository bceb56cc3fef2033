"""Compiled steps of decoding give what torch and the blocks they stand for give, and refuse arrays that don't fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sodate.core.engine import Sampling
from sodate.generate import decoding
from sodate.generate.engine import generate
from sodate.kernels import rows
from sodate.model import fused, gradient_checkpointing
from sodate.model.forward import score
from sodate.model.fused import rotated
from sodate.render.renderer import Rendered
from sodate.render.trie import build
from tests.close import assert_as_exact
from tests.families import FAMILIES, VOCABULARY, pair

compiled = pytest.mark.skipif(rows.compiled is None, reason="installed without a C compiler")
avx512 = pytest.mark.skipif(not rows.multiplies(torch.ones(2, 2)), reason="no products for this processor")
COUNTS = st.sampled_from([1, 5, 16, 17, 64])
SEEDS = st.integers(0, 2**31)


def random(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@avx512
@given(count=COUNTS, width=st.integers(1, 70), out=st.integers(1, 37), bias=st.booleans(), seed=SEEDS)
def test_products_are_matrix_products(count: int, width: int, out: int, bias: bool, seed: int) -> None:
    x, weight, b = random(seed, count, width), random(seed + 1, out, width), random(seed + 2, out)
    found = rows.Product(weight, b if bias else None)(rows.side_by_side(x))
    theirs, exactly = (x.to(t) @ weight.to(t).t() + (b if bias else 0) for t in (torch.float32, torch.float64))
    assert_as_exact(rows.apart(found, count), theirs, exactly)
    assert not found[:, count:].any() or bias  # what fills up stays zero


@pytest.mark.skipif(not rows.multiplies(torch.ones(2, 2, dtype=torch.bfloat16)), reason="no bfloat16 instructions")
@given(count=st.sampled_from([1, 2, 3, 4, 5, 16, 17, 64]), width=st.integers(1, 70), out=st.integers(1, 20), seed=SEEDS)
def test_bfloat16_products_round_their_factors_only(count: int, width: int, out: int, seed: int) -> None:
    x, weight = random(seed, count, 2 * width), random(seed + 1, out, 2 * width).bfloat16()
    found = rows.apart(rows.Product(weight, None)(rows.side_by_side(x), count), count)
    theirs, exactly = (x.bfloat16().to(t) @ weight.to(t).t() for t in (torch.float32, torch.float64))
    assert_as_exact(found, theirs, exactly)
    assert not rows.multiplies(weight[:, :-1].contiguous())  # pairs only


@compiled
@given(count=COUNTS, heads=st.integers(1, 4), half=st.integers(1, 20), seed=SEEDS)
def test_norms_and_rotations_are_those_of_torch(count: int, heads: int, half: int, seed: int) -> None:
    x, weight, angles = random(seed, count, heads, 2 * half), random(seed + 1, 2 * half), random(seed + 2, count, half)
    cos, sin = angles.cos().repeat(1, 2), angles.sin().repeat(1, 2)
    flat = rows.side_by_side(x.flatten(1))
    wide = x.double(), weight.double(), cos[:, None].double(), sin[:, None].double()
    expected = torch.nn.functional.rms_norm(x, (2 * half,), weight, 1e-6)
    exactly = torch.nn.functional.rms_norm(wide[0], (2 * half,), wide[1], 1e-6)
    normed = rows.Norm(weight, 1e-6)(flat)
    assert_as_exact(rows.apart(normed, count).view_as(x), expected, exactly)
    rows.Norm(weight, 1e-6)(flat, flat)  # in place
    np.testing.assert_array_equal(flat, normed)
    rows.rotate(flat, rows.side_by_side(cos), rows.side_by_side(sin))
    turned = rotated(expected, cos[:, None], sin[:, None])
    assert_as_exact(rows.apart(flat, count).view_as(x), turned, rotated(exactly, *wide[2:]))


@compiled
def test_what_is_not_a_number_stays_so() -> None:
    """A broken weight must be seen in the logits, whatever is done on the way."""
    x = rows.side_by_side(torch.full((16, 4), float("nan")))
    assert np.isnan(rows.Norm(torch.ones(4), 1e-6)(x)).all()
    assert np.isnan(rows.gate(x, "silu")).all()
    for dtype in (torch.float32, torch.bfloat16):
        if rows.multiplies(torch.ones(2, 4, dtype=dtype)):
            assert np.isnan(rows.Product(torch.ones(2, 4, dtype=dtype), None)(x)).all()


def f32(*shape: int) -> Any:
    return np.zeros(shape, dtype=np.float32)


@compiled
@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("product", (f32(4, 16), f32(3, 5), f32(3, 16)), "shapes"),
        ("product", (f32(4, 15), f32(3, 4), f32(3, 15)), "shapes"),  # no whole vector
        ("product", (f32(4, 80), f32(3, 4), f32(3, 80)), "shapes"),  # more than there is room for
        ("product", (f32(4, 16), np.zeros((3, 4)), f32(3, 16)), "array 1 of product"),
        ("product", (f32(3, 16), np.zeros((3, 3), np.int16), f32(3, 16)), "shapes"),  # bfloat16 without its pair
        ("product", (f32(4, 16), f32(4, 3).T, f32(3, 16)), "contiguous"),
        ("product", (f32(4, 16), f32(3, 4)), "expected product"),
        ("norm", (f32(4, 16), f32(3), f32(4, 16), 1e-6), "shapes"),
        ("norm", (f32(4, 16), f32(4), f32(8, 16), 1e-6), "shapes"),
        ("norm", (f32(4, 16), f32(0), f32(4, 16), 1e-6), "shapes"),
        ("rotate", (f32(6, 16), f32(3, 16), f32(3, 16)), "shapes"),
        ("rotate", (f32(8, 16), f32(4, 16), f32(2, 16)), "shapes"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(name: str, arguments: tuple[Any, ...], said: str) -> None:
    with pytest.raises((ValueError, TypeError), match=said):
        getattr(rows.compiled, name)(*arguments)


def prompts(count: int) -> list[list[int]]:
    draw = torch.Generator().manual_seed(3)
    return [torch.randint(3, VOCABULARY, (4 + i % 9,), generator=draw).tolist() for i in range(count)]


@avx512
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("count", [1, 5, 16, 20])
def test_prepared_blocks_say_what_transformers_says(family: str, count: int, tmp_path: Path) -> None:
    ours, plain = pair(family, tmp_path)
    fused.replace_modules(ours, torch.float32)
    decoding.freeze(ours)
    assert all("forward" in vars(layer) for layer in ours.get_decoder().layers)  # the compiled step is what runs
    for prompt, reply in zip(prompts(count), generate(ours, prompts(count), [], Sampling(12)), strict=True):
        ids = torch.tensor([prompt])
        expected = plain.generate(ids, max_new_tokens=12, do_sample=False, eos_token_id=[-1], pad_token_id=2)
        assert reply.ids == expected[0, len(prompt) :].tolist()


@pytest.mark.parametrize("family", FAMILIES)
def test_replies_are_as_probable_as_the_blocks_themselves_say(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, _ = pair(family, tmp_path, torch.bfloat16)
    assert fused.replace_modules(ours, torch.bfloat16) == torch.bfloat16
    with decoding.frozen(ours):
        fast = generate(ours, prompts(9), [], Sampling(1))
        monkeypatch.setattr(rows, "FEW", 0)
        slow = generate(ours, prompts(9), [], Sampling(1))
    found, expected = (torch.tensor([r.log_probabilities[0] for r in replies]) for replies in (fast, slow))
    torch.testing.assert_close(found, expected, rtol=0.05, atol=0.05)


def test_a_block_that_does_more_keeps_its_own_forward(tmp_path: Path) -> None:
    """One that scales what it adds has the same parts; only what it computes tells it apart."""
    ours, _ = pair("llama", tmp_path)
    fused.replace_modules(ours, torch.float32)
    layer = ours.get_decoder().layers[0]
    own = type(layer).forward

    def scaled(x: torch.Tensor, **given: Any) -> Any:
        return x + 0.5 * (own(layer, x, **given) - x)

    layer.forward = scaled
    decoding.freeze(ours)
    assert layer.forward is scaled


def test_a_model_in_training_is_afterwards_as_before(tmp_path: Path) -> None:
    ours, _ = pair("gemma3", tmp_path)
    fused.replace_modules(ours, torch.float32)
    batch = build([Rendered(prompt, [1.0] * len(prompt)) for prompt in prompts(3)])
    before = score(ours, batch).weighted_sum()
    with decoding.frozen(ours):
        generate(ours, prompts(3), [], Sampling(3))
    assert torch.equal(score(ours, batch).weighted_sum(), before)
    assert not any("forward" in vars(module) for module in ours.modules())


def test_blocks_that_are_recomputed_in_backward_still_are_after_rollouts(tmp_path: Path) -> None:
    ours, _ = pair("llama", tmp_path)
    fused.replace_modules(ours, torch.float32)
    gradient_checkpointing.enable(ours)
    own = [vars(block)["forward"] for block in gradient_checkpointing.blocks(ours)]
    with decoding.frozen(ours):
        generate(ours, prompts(3), [], Sampling(3))
    assert [vars(block)["forward"] for block in gradient_checkpointing.blocks(ours)] == own
