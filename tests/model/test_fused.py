"""The fused modules against transformers' own, in float64, and bfloat16 products against float32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sodate.adapt import adapters, lora
from sodate.kernels import compiled, trie_attention
from sodate.kernels.products import product, product_back, product_weight
from sodate.library.store import ModelEntry
from sodate.model import fused
from sodate.model.forward import hidden_states, score
from sodate.model.load import load_base
from sodate.render.trie import Trie, build
from tests.close import assert_as_exact
from tests.families import FAMILIES, exact, in_float64, make
from tests.model.test_forward import difference, gradients, rows

CPU = torch.device("cpu")


def load(family: str, folder: Path, dtype: torch.dtype, adapter: bool) -> Any:
    """A tiny model with every weight trainable, or with an adapter that already changes the output."""
    if not folder.exists():
        make(family).save_pretrained(folder)
    model = load_base(folder, device=CPU, dtype=dtype)
    if dtype == torch.float64:
        exact(model)
    if adapter:
        lora.add(model, lora.LoraConfig(3, 6.0, lora.all_targets(model)), seed=0)
        draw = torch.Generator().manual_seed(1)
        for _, layer in adapters.layers(model):
            layer.lora_A.data = layer.lora_A.data.to(dtype)
            layer.lora_B.data = torch.randn(layer.lora_B.shape, generator=draw).to(dtype) * 0.1
    return model


def loss_and_gradients(model: Any, batch: Trie) -> tuple[Tensor, dict[str, Tensor]]:
    loss = score(model, batch).weighted_sum()
    return loss, gradients(model, loss)


@pytest.mark.parametrize("adapter", [True, False], ids=["lora", "full"])
@pytest.mark.parametrize("family", FAMILIES)
def test_fused_modules_give_the_losses_and_gradients_of_those_they_replace(
    family: str, adapter: bool, tmp_path: Path
) -> None:
    batch = build(rows(), 8)
    wanted_loss, wanted = loss_and_gradients(load(family, tmp_path / "m", torch.float64, adapter), batch)
    model = load(family, tmp_path / "m", torch.float64, adapter)
    assert fused.replace_modules(model, torch.float64) == torch.float64
    kinds = {type(m) for m in model.get_decoder().modules()}
    assert {fused.Attention, fused.GatedMLP, fused.RMSNorm} <= kinds
    assert not any(type(m).__name__.endswith("RMSNorm") and type(m) is not fused.RMSNorm for m in model.modules())
    loss, found = loss_and_gradients(model, batch)
    assert loss.item() == pytest.approx(wanted_loss.item(), rel=1e-10)
    assert set(found) == set(wanted)
    for name, gradient in wanted.items():
        assert difference(found[name], gradient) < 1e-9, name


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_made_again_in_backward_is_what_was_there_to_the_last_bit_and_need_not_be_kept(
    family: str, dtype: torch.dtype, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(family, head_dim=16).save_pretrained(tmp_path)  # heads that compiled attention takes
    batch = build(rows(), 8)

    def run() -> tuple[dict[str, Tensor], int]:
        model = load_base(tmp_path, device=CPU, dtype=dtype)
        lora.add(model, lora.LoraConfig(4, 8.0, lora.all_targets(model)), 0)
        fused.replace_modules(model, dtype)
        kept: dict[int, int] = {}

        def note(tensor: Tensor) -> Tensor:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda t: t):
            loss = score(model, batch).weighted_sum()
        loss.backward()  # type: ignore[no-untyped-call]
        grads = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
        return grads, sum(size for at, size in kept.items() if at not in weights)

    found, less = run()
    for module in (fused, trie_attention):
        monkeypatch.setattr(module, "recompute_of", lambda _: None)
    expected, more = run()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    # torch's attention keeps more of its own, most of all where none of it is made for the processor.
    assert less < (0.92 if compiled is not None else 0.98) * more


@pytest.mark.parametrize("adapter", [True, False], ids=["lora", "full"])
@pytest.mark.parametrize("family", FAMILIES)
def test_bfloat16_products_stay_near_float32_with_gradients_in_the_weights_own_precision(
    family: str, adapter: bool, tmp_path: Path
) -> None:
    batch = build(rows(), 8)
    wanted_loss, wanted = loss_and_gradients(load(family, tmp_path / "m", torch.float32, adapter), batch)
    model = load(family, tmp_path / "m", torch.bfloat16 if adapter else torch.float32, adapter)
    if adapter:
        for _, layer in adapters.layers(model):
            layer.lora_A.data, layer.lora_B.data = layer.lora_A.data.float(), layer.lora_B.data.float()
    assert fused.replace_modules(model, torch.bfloat16) == torch.bfloat16
    loss, found = loss_and_gradients(model, batch)
    assert loss.item() == pytest.approx(wanted_loss.item(), rel=0.05) and loss.item() != wanted_loss.item()
    flat = [torch.cat([g[name].flatten() for name in wanted]) for g in (found, wanted)]
    assert nn.functional.cosine_similarity(*flat, dim=0) > 0.95
    assert all(g.dtype == torch.float32 for g in found.values())


def test_norms_with_large_weights_are_still_told_apart_in_bfloat16() -> None:
    """y = x̂·w or x̂·(1 + w): at w = 40 they differ by 2.4 %, and bfloat16 alone by up to 0.4 %."""
    for family, plus in (("llama", 0.0), ("gemma3", 1.0)):
        norm: Any = make(family).bfloat16().get_decoder().norm
        with torch.no_grad():
            norm.weight.fill_(40.0)
            found = fused._like_rms_norm(norm, torch.bfloat16)
        assert found is not None and found.plus == plus


@pytest.mark.real
def test_real_weights_in_bfloat16_compute_what_they_do_in_float32(smollm2: ModelEntry) -> None:
    hidden = []
    for dtype in (torch.float32, torch.bfloat16):
        loaded = load_base(smollm2.path, device=CPU, dtype=dtype)
        assert fused.replace_modules(loaded, dtype) == dtype
        with torch.inference_mode():
            hidden.append(hidden_states(loaded, build(rows(), 8)).float())
    assert difference(hidden[1], hidden[0]) < 0.03


def test_a_part_that_can_not_be_replaced_keeps_the_products_in_the_weights_precision(tmp_path: Path) -> None:
    make("llama").save_pretrained(tmp_path / "m")
    model = load_base(tmp_path / "m", device=CPU, dtype=torch.float32)
    model.get_decoder().layers[1].mlp.act_fn = nn.Tanh()
    batch = build(rows(), 8)
    before = score(model, batch).weighted_sum().item()
    exactly = score(in_float64(model), batch).weighted_sum().item()
    assert fused.replace_modules(model, torch.bfloat16) == torch.float32
    assert type(model.get_decoder().layers[0].mlp) is fused.GatedMLP
    assert type(model.get_decoder().layers[1].mlp) is not fused.GatedMLP
    assert_as_exact(score(model, batch).weighted_sum().item(), before, exactly)


def test_an_adapter_that_is_switched_off_leaves_the_base(tmp_path: Path) -> None:
    model = load("qwen3", tmp_path / "m", torch.float32, adapter=True)
    plain = load_base(tmp_path / "m", device=CPU, dtype=torch.float32)
    fused.replace_modules(model, torch.float32)
    batch = build(rows(), 8)
    base, exactly = (score(m, batch).weighted_sum().item() for m in (plain, in_float64(plain)))
    assert score(model, batch).weighted_sum().item() != pytest.approx(base, rel=1e-4)
    adapters.set_enabled(model, False)
    assert_as_exact(score(model, batch).weighted_sum().item(), base, exactly)


@pytest.mark.parametrize("shape", [(5, 7, 9), (80, 96, 64), (65, 64, 200), (1, 640, 64), (200, 96, 8), (70, 64, 8200)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_products_are_matrix_products_however_the_matrices_lie(shape: tuple[int, int, int], dtype: torch.dtype) -> None:
    n, width, out = shape
    draw = torch.Generator().manual_seed(0)
    x, weight, dy = (torch.randn(s, generator=draw).to(dtype) for s in ((n, width), (out, width), (n, out)))

    def by_torch(t: torch.dtype) -> tuple[Tensor, ...]:
        return x.to(t) @ weight.to(t).t(), dy.to(t) @ weight.to(t), dy.to(t).t() @ x.to(t)

    for a in (x, x.t().contiguous().t()):
        for w in (weight, weight.t().contiguous().t()):
            found = product(a, w), product_back(dy, w), product_weight(dy, x)
            for mine, other, exactly in zip(found, by_torch(dtype), by_torch(torch.float64), strict=True):
                assert_as_exact(mine, other, exactly, floor={torch.float64: 1e-14}.get(dtype, 2e-6))


def test_logits_of_few_rows_lie_row_by_row_for_the_passes_that_follow() -> None:
    assert product(torch.randn(64, 96), torch.randn(9000, 96)).is_contiguous()
