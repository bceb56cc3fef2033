"""Frozen weights kept in bfloat16 under float32 products: half the memory, the same numbers."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import sodate
from sodate.kernels import products
from sodate.kernels.linear_cross_entropy import linear_nll
from sodate.model import fused, memory, stored_precision, stream
from sodate.model.load import load_base
from sodate.render.trie import build
from tests.adapt.test_adapters import CONFIGS, dequantised, trained
from tests.close import assert_all_as_exact, assert_as_exact
from tests.families import FAMILIES, doubled, in_float64, make
from tests.farm import plant
from tests.model import test_traits
from tests.model.test_forward import rows
from tests.model.test_fused import loss_and_gradients

CPU = torch.device("cpu")


def in_bfloat16(folder: Path) -> None:
    """The model in a folder, rounded, as most models are published."""
    file = folder / "model.safetensors"
    rounded = {name: t.bfloat16() if t.is_floating_point() else t for name, t in load_file(file).items()}
    save_file(rounded, file, {"format": "pt"})


def both(folder: Path, adapter: str, quantised: bool = False) -> tuple[Any, Any, Any]:
    """The model of a folder with an adapter, kept in float32 and as its file has it, and their judge in float64."""
    models = []
    for kept in (None, stored_precision.precision(folder, torch.float32)):
        model = load_base(folder, device=CPU, dtype=torch.float32, kept=kept, quantised=quantised)
        models.append(trained(model, CONFIGS[adapter]))
        assert fused.replace_modules(models[-1], torch.float32) == torch.float32
    judge = dequantised(load_base(folder, device=CPU, dtype=torch.float32), quantised)
    return models[0], models[1], in_float64(trained(judge, CONFIGS[adapter]))


def equal(wide: Any, kept: Any, judge: Any) -> None:
    batch = build(rows(), 8)
    expected, wanted = loss_and_gradients(wide, batch)
    loss, found = loss_and_gradients(kept, batch)
    exactly, gradient = loss_and_gradients(judge, batch)
    assert_as_exact(loss, expected, exactly)
    assert all(tensor.dtype == torch.float32 for tensor in found.values())
    assert_all_as_exact(found, wanted, gradient)


@pytest.mark.parametrize("quantised", [False, True], ids=["whole", "4-bits"])
@pytest.mark.parametrize("family", FAMILIES)
def test_frozen_weights_stay_as_their_file_has_them_and_losses_and_gradients_are_those_of_float32(
    family: str, quantised: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(products, "_WIDENED", 64)
    monkeypatch.setattr(products, "_BLOCK", 5)  # blocks end within matrices
    make(family).save_pretrained(tmp_path)
    in_bfloat16(tmp_path)
    wide, kept, judge = both(tmp_path, "lora", quantised)
    frozen = [p for p in kept.parameters() if not p.requires_grad and p.dim() == 2]
    assert frozen and all(p.dtype == torch.bfloat16 for p in frozen)
    assert all(p.dtype == torch.float32 for p in kept.parameters() if p.requires_grad)
    matrices = sum(p.numel() for p in {id(p): p for p in frozen}.values())
    assert memory.weight_bytes(wide)[0] - memory.weight_bytes(kept)[0] >= 2 * matrices
    equal(wide, kept, judge)


@pytest.mark.parametrize("adapter", ["dora", "houlsby"])
def test_a_model_with_layers_that_were_not_replaced_is_widened_whole(adapter: str, tmp_path: Path) -> None:
    make("gemma3").save_pretrained(tmp_path)
    in_bfloat16(tmp_path)
    for quantised in (False, True):
        wide, kept, judge = both(tmp_path, adapter, quantised)
        assert all(p.dtype == torch.float32 for p in kept.parameters())
        equal(wide, kept, judge)


def test_what_is_trained_stays_in_float32_where_products_are_in_bfloat16_and_a_layer_was_not_replaced(
    tmp_path: Path,
) -> None:
    make("llama").save_pretrained(tmp_path)
    in_bfloat16(tmp_path)
    model = trained(load_base(tmp_path, device=CPU, dtype=torch.bfloat16), CONFIGS["dora"])
    assert fused.replace_modules(model, torch.bfloat16) == torch.bfloat16
    assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}
    assert {p.dtype for p in model.parameters() if not p.requires_grad and p.dim() == 2} == {torch.bfloat16}


@pytest.mark.parametrize("kind", test_traits.KINDS)
def test_every_architecture_does_in_a_narrow_file_what_it_does_in_a_wide_one(kind: str, tmp_path: Path) -> None:
    test_traits.load(kind, tmp_path)
    in_bfloat16(tmp_path)
    wide = load_base(tmp_path, device=CPU, dtype=torch.float32)
    kept = load_base(tmp_path, device=CPU, dtype=torch.float32, kept=torch.bfloat16)
    assert kept.sodate_traits == wide.sodate_traits
    judge = doubled(load_base(tmp_path, device=CPU, dtype=torch.float32))
    for model in (wide, kept, judge):
        model.requires_grad_(False)
        assert model is judge or fused.replace_modules(model, torch.float32) == torch.float32
        model.get_decoder().get_submodule(_last_norm(model)).requires_grad_(True)
    equal(wide, kept, judge)


def _last_norm(model: Any) -> str:
    """The norm behind the last block: trained, so that there is a gradient to compare."""
    names = ("norm", "final_layernorm", "embedding_norm", "ln_f")
    return next(name for name in names if hasattr(model.get_decoder(), name))


def test_a_module_that_multiplies_by_the_weights_of_others_makes_a_model_be_widened_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers.models.llama.modeling_llama import LlamaMLP

    def forward(mlp: Any, x: torch.Tensor) -> torch.Tensor:
        wide = mlp.act_fn(x @ mlp.gate_proj.weight.t()) * (x @ mlp.up_proj.weight.t())
        return wide @ mlp.down_proj.weight.t()

    make("llama").save_pretrained(tmp_path)
    in_bfloat16(tmp_path)
    monkeypatch.setattr(LlamaMLP, "forward", forward)
    wide, kept, judge = both(tmp_path, "lora")
    assert all(p.dtype == torch.float32 for p in kept.parameters())
    equal(wide, kept, judge)


def test_what_a_file_holds_decides_and_mixed_files_lose_nothing(tmp_path: Path) -> None:
    make("llama").save_pretrained(tmp_path)
    assert stored_precision.precision(tmp_path, torch.float32) == torch.float32
    assert stored_precision.precision(tmp_path, torch.bfloat16) == torch.bfloat16
    in_bfloat16(tmp_path)
    assert stored_precision.precision(tmp_path, torch.float32) == torch.bfloat16
    file = tmp_path / "model.safetensors"
    whole = load_file(file)
    for other, together in ((torch.float32, torch.float32), (torch.float16, torch.float32)):
        save_file(whole | {"model.norm.weight": whole["model.norm.weight"].to(other)}, file, {"format": "pt"})
        assert stream.stored_dtype(tmp_path) == together


def test_products_with_a_narrow_weight_are_those_with_the_same_one_in_the_wider_precision() -> None:
    draw = torch.Generator().manual_seed(0)
    for shape in ((3, 7), (1500, 1500), (9000, 300)):
        weight = torch.randn(shape, generator=draw).bfloat16()
        x, dy = torch.randn(40, shape[1], generator=draw), torch.randn(40, shape[0], generator=draw)
        wide, exactly = weight.float(), weight.double()
        assert_as_exact(products.product(x, weight), x @ wide.t(), x.double() @ exactly.t())
        assert_as_exact(products.product_back(dy, weight), dy @ wide, dy.double() @ exactly)


@pytest.mark.parametrize("bias", [False, True])
def test_a_narrow_head_gives_the_losses_and_gradients_of_a_wide_one(bias: bool) -> None:
    draw = torch.Generator().manual_seed(0)
    head = torch.randn(2500, 24, generator=draw).bfloat16()
    target = torch.randint(0, 2500, (9,), generator=draw)
    found = []
    for weight in (head, head.float(), head.double()):
        wide = torch.float64 if weight.dtype == torch.float64 else torch.float32
        hidden = torch.randn(9, 24, generator=torch.Generator().manual_seed(1)).to(wide).requires_grad_()
        nll, right = linear_nll(hidden, weight, target, bias=torch.ones(2500, dtype=wide) if bias else None)
        nll.sum().backward()
        found.append((nll.detach(), hidden.grad))
        assert right.tolist() == (hidden @ weight.to(wide).t()).argmax(-1).eq(target).tolist()
    for mine, expected, exactly in zip(*found, strict=True):
        assert_as_exact(mine, expected, exactly)


def test_a_run_on_a_model_published_in_bfloat16_learns_as_on_the_same_one_in_float32(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    field = plant(tmp_path / "farm")
    narrowed = tmp_path / "narrow"
    shutil.copytree(field.folder, narrowed)
    in_bfloat16(narrowed)
    shutil.copytree(narrowed, tmp_path / "wide")
    file = tmp_path / "wide" / "model.safetensors"
    save_file({name: tensor.float() for name, tensor in load_file(file).items()}, file, {"format": "pt"})
    monkeypatch.setenv("SODATE_HOME", str(tmp_path / "home"))
    keys = {"data": str(field.train), "dtype": "float32", "max_steps": 3, "batch_size": 4}
    one, two = (
        sodate.train(model=sodate.pull(str(tmp_path / name)).id, name=f"of-{name}", **keys)
        for name in ("narrow", "wide")
    )
    assert one["first_loss"] == pytest.approx(two["first_loss"], rel=1e-5)  # rounding: the order of sums differs
    assert one["final_loss"] == pytest.approx(two["final_loss"], rel=1e-4)
    assert one["final_loss"] < one["first_loss"]
