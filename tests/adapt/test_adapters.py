"""DoRA, bottleneck adapters and LoRA on 4 bits: their formulas in float64, peft as oracle, and what can't be merged."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sodate.adapt import adapters, bottleneck, last_blocks, lora
from sodate.adapt import files as adapter_files
from sodate.adapt.bottleneck import BottleneckConfig, BottleneckLinear
from sodate.adapt.lora import DoraLinear, LoraConfig, LoraLinear
from sodate.adapt.quantise import NF4, NF4Linear
from sodate.core.errors import SodateError, UsageError
from sodate.model import fused, load, stream
from tests.adapt.test_lora import ALL, IDS, logits, peft_model
from tests.close import assert_all_as_exact, assert_as_exact
from tests.families import in_float64, make, pair

CPU = torch.device("cpu")
CONFIGS = {
    "lora": LoraConfig(4, 8.0, ALL),
    "rslora": LoraConfig(4, 8.0, ALL, rslora=True),
    "dora": LoraConfig(4, 8.0, ALL, dora=True),
    "houlsby": BottleneckConfig(6, "houlsby"),
    "pfeiffer": BottleneckConfig(6, "pfeiffer"),
}


def trained(model: Any, config: Any) -> Any:
    """The model with an adapter on it whose tensors are all away from where a fresh one's stand."""
    adapter_files.add_adapter(model, config, seed=0)
    draw = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for _, layer in adapters.layers(model):
            for parameter in layer.saved().values():
                parameter.add_(torch.randn(parameter.shape, generator=draw) * 0.1)
    return model


def frozen(bias: bool, draw: torch.Generator) -> nn.Linear:
    linear = nn.Linear(5, 4, bias=bias, dtype=torch.float64).requires_grad_(False)
    for parameter in linear.parameters():
        parameter.copy_(torch.randn(parameter.shape, dtype=torch.float64, generator=draw))
    return linear


def moved(layer: adapters.Adapted, draw: torch.Generator) -> list[nn.Parameter]:
    """The layer's trainable tensors, in float64 and with other values."""
    for parameter in layer.saved().values():
        parameter.data = torch.randn(parameter.shape, dtype=torch.float64, generator=draw)
    return list(layer.saved().values())


@pytest.mark.parametrize("bias", [False, True])
def test_dora_forward_and_backward_are_the_papers_formula_with_constant_norms(bias: bool) -> None:
    draw = torch.Generator().manual_seed(0)
    linear = frozen(bias, draw)
    layer = DoraLinear(linear, LoraConfig(2, 6.0, ("x",), dora=True), draw)
    a, b, m = moved(layer, draw)
    x = torch.randn(2, 3, 5, dtype=torch.float64, generator=draw).requires_grad_()
    dy = torch.randn(2, 3, 4, dtype=torch.float64, generator=draw)
    v = linear.weight + 3.0 * b @ a
    expected = x @ (v * (m / v.detach().norm(dim=1))[:, None]).t() + (linear.bias if bias else 0)
    y = layer(x)
    torch.testing.assert_close(y, expected, rtol=1e-12, atol=1e-12)
    got = torch.autograd.grad(y, (x, a, b, m), dy)
    for mine, other in zip(got, torch.autograd.grad(expected, (x, a, b, m), dy), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-12, atol=1e-12)


def test_a_bottlenecks_forward_is_its_formula_and_its_gradients_are_those_of_finite_differences() -> None:
    draw = torch.Generator().manual_seed(0)
    linear = frozen(True, draw)
    layer = BottleneckLinear(linear, 3, draw)
    down, down_bias, up, up_bias = leaves = moved(layer, draw)
    x = torch.randn(2, 5, dtype=torch.float64, generator=draw).requires_grad_()
    h = x @ linear.weight.t() + linear.bias
    low = h @ down.t() + down_bias
    torch.testing.assert_close(layer(x), h + (low * torch.sigmoid(low)) @ up.t() + up_bias, rtol=1e-12, atol=1e-12)
    assert torch.autograd.gradcheck(lambda x, *_: layer(x), (x, *leaves))


@pytest.mark.parametrize("name", ["lora", "dora", "pfeiffer"])
def test_an_adapter_over_4_bits_is_the_one_over_the_dequantised_weight(name: str) -> None:
    def made(linear: Any) -> Any:
        draw = torch.Generator().manual_seed(1)
        config: Any = CONFIGS[name]
        if name == "pfeiffer":
            layer: Any = BottleneckLinear(linear, 3, draw)
        else:
            layer = (DoraLinear if config.dora else LoraLinear)(linear, config, draw)
        for parameter in layer.saved().values():
            parameter.data = torch.randn(parameter.shape, generator=draw)
        return layer

    draw = torch.Generator().manual_seed(0)
    packed = NF4Linear(torch.randn(6, 64, generator=draw), torch.randn(6, generator=draw))
    dense = nn.Linear(64, 6)
    dense.weight = nn.Parameter(packed.weight.dense(torch.float32), requires_grad=False)
    dense.bias = packed.bias  # type: ignore[assignment]
    x = torch.randn(3, 64, generator=draw).requires_grad_()
    kept: list[Tensor] = []
    results = []
    for layer in (made(packed), made(dense), made(copy.deepcopy(dense)).double()):
        x = x.to(layer.bias.dtype).detach().requires_grad_()
        with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):  # type: ignore[func-returns-value]
            y = layer(x)
        results.append((y, *torch.autograd.grad(y.square().sum(), (x, *layer.saved().values()))))
        if layer.weight is packed.weight:
            assert not any(t.shape == (6, 64) for t in kept), "the dequantised weight is kept for backward"
    for mine, other, exact in zip(*results, strict=True):
        assert_as_exact(mine, other, exact)


@pytest.mark.parametrize("name", [*CONFIGS])
def test_a_fresh_adapter_changes_nothing_is_alone_trainable_and_can_be_switched_off(name: str) -> None:
    plain, model = make("llama"), make("llama")
    adapter_files.add_adapter(model, CONFIGS[name], seed=0)
    assert all(layer.adds_nothing() for _, layer in adapters.layers(model))
    assert_as_exact(logits(model), logits(plain), logits(in_float64(plain)))
    inside = {id(p) for _, layer in adapters.layers(model) for p in layer.saved().values()}
    assert {id(p) for p in model.parameters() if p.requires_grad} == inside
    trained(model := make("llama"), CONFIGS[name])
    assert not any(layer.adds_nothing() for _, layer in adapters.layers(model))
    assert not torch.allclose(logits(model), logits(plain), atol=1e-2)
    adapters.set_enabled(model, False)
    assert torch.equal(logits(model), logits(plain))


@pytest.mark.parametrize("name", [*CONFIGS])
def test_a_saved_adapter_loads_with_the_same_logits_after_fusing_too(name: str, tmp_path: Path) -> None:
    config = CONFIGS[name]
    one, _ = pair("llama", tmp_path / "base")
    two = load.load_base(tmp_path / "base", device=CPU, dtype=torch.float32)
    before = logits(trained(one, config))
    exact = logits(in_float64(one))
    fused.replace_modules(one, torch.float32)
    assert_as_exact(logits(one), before, exact)
    adapter_files.save_adapter(one, config, "tiny", tmp_path)
    assert adapter_files.load_adapter(two, tmp_path) == config
    assert adapter_files.adapter_kind(config) == (name if "lora" in name or name == "dora" else "bottleneck")
    assert_as_exact(logits(two), before, exact)


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")  # peft asks for it
@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_a_dora_adapter_gives_the_same_logits_and_gradients_here_and_in_plain_peft(family: str, tmp_path: Path) -> None:
    from peft import LoraConfig as PeftConfig
    from peft import get_peft_model

    changes = {"final_logit_softcapping": None} if family == "gemma3" else {}
    ours, plain = pair(family, tmp_path / "base", **changes)
    theirs = get_peft_model(plain, PeftConfig(r=4, lora_alpha=8, target_modules=list(ALL), use_dora=True,
                                              task_type="CAUSAL_LM", init_lora_weights=False)).eval()  # fmt: skip
    with torch.no_grad():
        for parameter_name, parameter in theirs.named_parameters():
            if "magnitude" in parameter_name:
                parameter.mul_(1.3)
    theirs.save_pretrained(tmp_path / "theirs")
    assert adapter_files.load_adapter(ours, tmp_path / "theirs") == CONFIGS["dora"]
    judge = in_float64(theirs)
    said, exact = theirs(IDS).logits[0], judge(IDS).logits[0]
    assert_as_exact(logits(ours), said, exact)

    weight = torch.randn(said.shape, generator=torch.Generator().manual_seed(1))
    (said * weight).sum().backward()
    (exact * weight).sum().backward()
    _differentiable(ours, weight)
    mine = {f"{n}.{k}": p.grad for n, layer in adapters.layers(ours) for k, p in layer.saved().items()}
    assert_all_as_exact(mine, _gradients(theirs), _gradients(judge))  # type: ignore[arg-type]

    adapter_files.save_adapter(ours, CONFIGS["dora"], "tiny", tmp_path)
    _, again = pair(family, tmp_path / "again", **changes)
    assert_as_exact(peft_model(again, tmp_path)(IDS).logits[0], said, exact)


def _gradients(theirs: Any) -> dict[str, Tensor | None]:
    """Of a peft model, under our names."""
    return {
        name.removeprefix(adapters.PREFIX).replace(".default", "").replace("_vector.weight", "_vector"): parameter.grad
        for name, parameter in theirs.named_parameters() if parameter.requires_grad
    }  # fmt: skip


def _differentiable(model: Any, weight: Tensor) -> None:
    """Backward of Σ weight · logits over the trie."""
    from sodate.model.forward import hidden_states
    from sodate.render.renderer import Rendered
    from sodate.render.trie import build

    ids = IDS[0].tolist()
    hidden = hidden_states(model, build([Rendered([*ids, 0], [0.0] * len(ids) + [1.0])]))
    (model.lm_head(hidden) * weight).sum().backward()


@pytest.mark.parametrize("name", ["lora", "rslora", "dora"])
def test_merging_keeps_the_logits_over_full_and_over_4_bit_weights(name: str, tmp_path: Path) -> None:
    make("llama").save_pretrained(tmp_path)
    for quantised in (False, True):
        model = load.load_base(tmp_path, device=CPU, dtype=torch.float32, quantised=quantised)
        before = logits(trained(model, CONFIGS[name]))
        plain = load.load_base(tmp_path, device=CPU, dtype=torch.float32)
        judge = in_float64(trained(dequantised(plain, quantised), CONFIGS[name]))
        adapters.merge(model)
        assert not list(adapters.layers(model)) and not any(isinstance(m, NF4Linear) for m in model.modules())
        assert_as_exact(logits(model), before, logits(judge))


def dequantised(model: Any, quantised: bool) -> Any:
    """The model whose weights are what 4 bits keep of them, in float32."""
    for name in lora.decoder_linears(model) if quantised else ():
        weight = model.get_submodule(name).weight
        weight.data = NF4(weight).dense(torch.float32)
    return model


@pytest.mark.parametrize("name", ["houlsby", "pfeiffer"])
def test_bottlenecks_stand_where_their_paper_puts_them_and_refuse_to_merge(name: str) -> None:
    model = trained(make("gemma3"), CONFIGS[name])
    where = {n.split("layers.0.")[1] for n, _ in adapters.layers(model) if "layers.0." in n}
    assert where == ({"mlp.down_proj", "self_attn.o_proj"} if name == "houlsby" else {"mlp.down_proj"})
    assert len(list(adapters.layers(model))) == 3 * len(where)
    with pytest.raises(SodateError, match="can't be merged"):
        adapters.merge(model)


def test_bottlenecks_refuse_a_model_whose_blocks_they_do_not_know() -> None:
    class Odd(nn.Sequential):
        def get_output_embeddings(self) -> None: ...

    with pytest.raises(UsageError, match="no place for bottlenecks"):
        bottleneck.add(Odd(nn.Linear(4, 4)), BottleneckConfig(2, "houlsby"), 0)


def test_a_model_loaded_in_4_bits_is_the_one_whose_weights_were_rounded_and_all_else_is_untouched(
    tmp_path: Path,
) -> None:
    ours, plain = pair("gemma3", tmp_path)
    packed = load.load_base(tmp_path, device=CPU, dtype=torch.float32, quantised=True)
    for name in lora.decoder_linears(ours):
        weight = packed.get_submodule(name).weight
        assert isinstance(weight, NF4)
    dequantised(ours, True)
    assert_as_exact(logits(packed), logits(ours), logits(in_float64(ours)))
    theirs = dict(plain.named_parameters())
    assert {n for n, _ in packed.named_parameters()} == {n for n in theirs if "_proj" not in n}
    assert all(torch.equal(p, theirs[n]) for n, p in packed.named_parameters())
    assert packed.get_output_embeddings().weight is packed.get_input_embeddings().weight
    assert torch.equal(packed.model.rotary_emb.full_attention_inv_freq, plain.model.rotary_emb.full_attention_inv_freq)


def test_tensors_are_read_one_by_one_as_safetensors_reads_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from safetensors.torch import load_file, save_file

    saved = {"a": torch.randn(3, 2), "b": torch.randn(5).bfloat16(), "ids": torch.arange(3), "empty": torch.zeros(0, 4)}
    save_file(saved, tmp_path / "m.safetensors")
    monkeypatch.setattr(stream, "PIECE", 4)  # "a" and "b" take two
    expected = load_file(tmp_path / "m.safetensors")
    for dtype in (None, torch.float32, torch.bfloat16):
        read = {name: tensor.read(dtype) for name, tensor in stream.tensors(tmp_path / "m.safetensors")}
        assert set(read) == {"a", "b", "empty"}
        assert all(torch.equal(read[name], expected[name].to(dtype or expected[name].dtype)) for name in read)


def test_a_tensor_of_another_kind_or_none_is_said_rather_than_drawn_at_random(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    make("qwen3").save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    whole = load_file(file)
    name = next(name for name in whole if name.endswith("up_proj.weight"))
    save_file(whole | {name: whole[name].to(torch.float8_e4m3fn)}, file)
    with pytest.raises(SodateError, match=f"{name} is kept as F8_E4M3"):
        load.load_base(tmp_path, device=CPU, dtype=torch.bfloat16)
    save_file({other: tensor for other, tensor in whole.items() if other != name}, file)
    with pytest.raises(SodateError, match=f"has no tensor '{name}'"):
        load.load_base(tmp_path, device=CPU, dtype=torch.bfloat16)


def test_4_bits_refuse_files_whose_tensors_have_other_names(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    make("qwen3").save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    save_file({f"old.{name}": tensor for name, tensor in load_file(file).items()}, file)
    with pytest.raises(SodateError, match="has no tensor 'model"):
        load.load_base(tmp_path, device=CPU, dtype=torch.float32, quantised=True)


def test_the_last_layers_train_alone_and_zero_means_all() -> None:
    model = make("gemma3")
    last_blocks.train_blocks(model, 1)
    trains = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trains and all(name.startswith("model.layers.2.") for name in trains)
    assert trains == {name for name, _ in model.named_parameters() if name.startswith("model.layers.2.")}
    last_blocks.train_blocks(model, 0)
    assert all(p.requires_grad for p in model.parameters())
    with pytest.raises(UsageError, match="last_layers = 4, but the model has 3 layers"):
        last_blocks.train_blocks(model, 4)
