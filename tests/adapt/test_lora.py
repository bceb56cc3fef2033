"""LoRA against plain autograd and against `peft` itself, in both directions through the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sodate.adapt import adapters, lora
from sodate.adapt import files as adapter_files
from sodate.adapt.lora import LoraConfig, LoraLinear
from sodate.core.errors import SodateError, UsageError
from sodate.render.renderer import Rendered
from sodate.render.trie import build
from tests.close import assert_as_exact
from tests.families import VOCABULARY, in_float64, make, pair

ALL = ("down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj")
IDS = torch.randint(0, VOCABULARY, (1, 19), generator=torch.Generator().manual_seed(9))


def randomised(model: Any) -> Any:
    """A fresh adapter's B is zero; a trained one's is not."""
    draw = torch.Generator().manual_seed(4)
    for _, layer in adapters.layers(model):
        with torch.no_grad():
            layer.lora_B.copy_(torch.randn(layer.lora_B.shape, generator=draw) * 0.2)
    return model


def logits(model: Any) -> Tensor:
    """(positions, vocabulary) of a whole forward, through the trie where the model runs on one."""
    from sodate.model.forward import hidden_states

    with torch.no_grad():
        if model.config._attn_implementation == "sodate_trie":
            ids = IDS[0].tolist()
            hidden = hidden_states(model, build([Rendered([*ids, 0], [0.0] * len(ids) + [1.0])]))
            return model.lm_head(hidden)
        return model(IDS).logits[0]


def peft_model(base: Any, folder: Path) -> Any:
    from peft import PeftModel

    return PeftModel.from_pretrained(base, folder).eval()


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("rslora", [False, True])
@pytest.mark.parametrize("shape", [(5,), (2, 3, 5)])
def test_forward_and_backward_are_the_formula(bias: bool, rslora: bool, shape: tuple[int, ...]) -> None:
    draw = torch.Generator().manual_seed(0)
    linear = nn.Linear(5, 4, bias=bias, dtype=torch.float64)
    linear.requires_grad_(False)
    layer = LoraLinear(linear, LoraConfig(rank=2, alpha=6.0, targets=("x",), rslora=rslora), draw)
    scale = 6.0 / 2**0.5 if rslora else 3.0
    with torch.no_grad():
        layer.lora_A.data = torch.randn(2, 5, dtype=torch.float64, generator=draw)
        layer.lora_B.data = torch.randn(4, 2, dtype=torch.float64, generator=draw)
    x = torch.randn(shape, dtype=torch.float64, generator=draw).requires_grad_()
    dy = torch.randn(*shape[:-1], 4, dtype=torch.float64, generator=draw)
    leaves = (x, layer.lora_A, layer.lora_B)

    expected = x @ linear.weight.t() + (linear.bias if bias else 0)
    expected = expected + scale * (x @ layer.lora_A.t()) @ layer.lora_B.t()
    wanted = torch.autograd.grad(expected, leaves, dy)
    y = layer(x)
    torch.testing.assert_close(y, expected, rtol=1e-12, atol=1e-12)
    for mine, other in zip(torch.autograd.grad(y, leaves, dy), wanted, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-12, atol=1e-12)


def test_the_backward_of_an_input_without_gradient_still_trains_the_adapter() -> None:
    layer = LoraLinear(nn.Linear(3, 2), LoraConfig(1, 1.0, ("x",)), torch.Generator().manual_seed(0))
    layer(torch.ones(4, 3)).sum().backward()
    assert layer.lora_B.grad is not None and layer.lora_B.grad.abs().sum() > 0


@pytest.mark.parametrize("dora", [False, True])
def test_what_follows_may_add_to_the_output_in_place(dora: bool) -> None:
    kind = lora.DoraLinear if dora else LoraLinear
    layer = kind(nn.Linear(3, 2), LoraConfig(1, 1.0, ("x",), dora=dora), torch.Generator().manual_seed(0))
    layer.double()
    x = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(1)).double()
    expected = torch.autograd.grad((layer(x) + x[..., :2]).square().sum(), layer.lora_B)[0]
    y = layer(x)
    y += x[..., :2]
    torch.testing.assert_close(torch.autograd.grad(y.square().sum(), layer.lora_B)[0], expected)


def test_a_fresh_adapter_changes_nothing_and_the_same_seed_makes_the_same_one() -> None:
    plain, first, second, other = (make("llama") for _ in range(4))
    config = LoraConfig(4, 8.0, lora.all_targets(first))
    assert config.targets == ALL
    for model, seed in ((first, 1), (second, 1), (other, 2)):
        lora.add(model, config, seed)
    assert torch.equal(logits(plain), logits(first))
    one, two, three = (adapters.state(m) for m in (first, second, other))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert any(not torch.equal(one[name], three[name]) for name in one)


def test_only_the_adapter_is_trainable_and_switching_it_off_gives_the_base() -> None:
    plain, model = make("llama"), make("llama")
    lora.add(model, LoraConfig(4, 8.0, ("q_proj", "v_proj")), seed=0)
    names = {name for name, p in model.named_parameters() if p.requires_grad}
    assert names == {f"model.layers.{i}.self_attn.{p}_proj.lora_{ab}" for i in (0, 1) for p in "qv" for ab in "AB"}
    randomised(model)
    changed = logits(model)
    assert not torch.allclose(changed, logits(plain), atol=1e-3)
    adapters.set_enabled(model, False)
    assert torch.equal(logits(model), logits(plain))
    adapters.set_enabled(model, True)
    assert torch.equal(logits(model), changed)


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")  # peft asks for it
@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_an_adapter_we_save_gives_the_same_logits_in_plain_peft(family: str, tmp_path: Path) -> None:
    ours, plain = pair(family, tmp_path / "base")
    config = LoraConfig(4, 8.0, lora.all_targets(ours))
    lora.add(ours, config, seed=0)
    (tmp_path / "adapter").mkdir()
    adapter_files.save_adapter(randomised(ours), config, "tiny", tmp_path / "adapter")
    theirs = peft_model(plain, tmp_path / "adapter")
    cap = getattr(plain.config, "final_logit_softcapping", None)
    mine = logits(ours) if cap is None else cap * torch.tanh(logits(ours) / cap)
    assert_as_exact(mine, theirs(IDS).logits[0], in_float64(theirs)(IDS).logits[0])


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")  # peft asks for it
@pytest.mark.parametrize("rslora", [False, True])
def test_an_adapter_peft_saves_gives_the_same_logits_here(rslora: bool, tmp_path: Path) -> None:
    from peft import LoraConfig as PeftConfig
    from peft import get_peft_model

    ours, plain = pair("qwen3", tmp_path / "base")
    config = PeftConfig(
        r=4, lora_alpha=12, use_rslora=rslora, task_type="CAUSAL_LM", init_lora_weights=False,
        target_modules=["q_proj", "down_proj", "c_attn"],  # other models have that one
    )  # fmt: skip
    theirs = get_peft_model(plain, config).eval()
    theirs.save_pretrained(tmp_path / "adapter")
    read = adapter_files.load_adapter(ours, tmp_path / "adapter")
    assert read == LoraConfig(4, 12, ("down_proj", "q_proj"), rslora)
    assert_as_exact(logits(ours), theirs(IDS).logits[0], in_float64(theirs)(IDS).logits[0])


def test_a_merged_model_gives_the_same_logits_without_the_adapter() -> None:
    model = make("llama")
    lora.add(model, LoraConfig(4, 8.0, ALL), seed=0)
    before = logits(randomised(model))
    exact = logits(in_float64(model))
    adapters.merge(model)
    assert not list(adapters.layers(model)) and not any("lora" in name for name in model.state_dict())
    assert_as_exact(logits(model), before, exact)


def test_a_target_that_is_no_layer_is_refused_with_the_layers_there_are() -> None:
    with pytest.raises(UsageError, match=r"No layer is called query(.|\n)*down_proj, gate_proj"):
        lora.add(make("llama"), LoraConfig(4, 8.0, ("query",)), seed=0)
    with pytest.raises(UsageError, match=r"No layer is called v_porj, proj\."):
        lora.add(make("llama"), LoraConfig(4, 8.0, ("q_proj", "v_porj", "proj")), seed=0)
    with pytest.raises(UsageError, match="lora_targets is empty"):
        lora.add(make("llama"), LoraConfig(4, 8.0, ()), seed=0)


def test_a_target_may_name_more_of_the_path() -> None:
    model = make("llama")
    lora.add(model, LoraConfig(4, 8.0, ("0.mlp.up_proj", "self_attn.q_proj")), seed=0)
    ends = {name.removeprefix("model.layers.") for name, _ in adapters.layers(model)}
    assert ends == {"0.mlp.up_proj", "0.self_attn.q_proj", "1.self_attn.q_proj"}


def test_only_layers_that_are_linear_are_taken_whatever_their_class() -> None:
    class Same(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return x @ self.weight.t() + self.bias

    class Router(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).softmax(-1)

    for device in ("cpu", "meta"):
        model = make("llama").to(device)
        model.model.layers[0].mlp.up_proj = Same(32, 48, device=device)
        assert len(lora.decoder_linears(model)) == 14
    model = make("llama")
    model.model.layers[0].mlp.up_proj = Router(32, 48)
    assert len(lora.decoder_linears(model)) == 13


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"peft_type": "IA3"}, "peft_type IA3"),
        ({"use_qalora": True}, "use_qalora"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"rank_pattern": {"q_proj": 2}}, "rank_pattern"),
        ({"alpha_pattern": {"q_proj": 2}}, "alpha_pattern"),
        ({"layers_to_transform": [0]}, "layers_to_transform"),
        ({"bias": "all"}, "bias all"),
        ({"target_modules": ".*q_proj"}, "target_modules is a pattern"),
    ],
)
def test_kinds_of_adapter_that_would_answer_differently_are_refused(
    change: dict[str, Any], said: str, tmp_path: Path
) -> None:
    config = lora.config_json(LoraConfig(4, 8.0, ("q_proj",)), "tiny") | change
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(SodateError, match=said):
        adapter_files.read_adapter(tmp_path)


@pytest.mark.parametrize("change", [
    {"r": 1_000_000_000}, {"r": "4"}, {"r": 4.0}, {"r": True}, {"r": 0}, {"r": None}, {"r": 5},
    {"lora_alpha": float("nan")}, {"lora_alpha": None}, {"lora_alpha": "8"}, {"lora_alpha": 1e300},
    {"target_modules": None}, {"target_modules": [5]},
    {"target_modules": {"q_proj": 1}}, {"target_modules": ["q_proj"] * 20_000},
])  # fmt: skip
def test_an_adapter_that_lies_about_itself_is_refused_before_anything_is_made(
    change: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = LoraConfig(4, 8.0, ("q_proj",))
    model = make("llama")
    lora.add(model, config, seed=0)
    adapter_files.save_adapter(model, config, "tiny", tmp_path)
    assert adapter_files.read_adapter(tmp_path) == config
    (tmp_path / "adapter_config.json").write_text(json.dumps(lora.config_json(config, "tiny") | change))
    monkeypatch.setattr(adapter_files, "add_adapter", lambda *_: pytest.fail("it was made"))
    with pytest.raises(SodateError, match="is damaged"):
        adapter_files.load_adapter(make("llama"), tmp_path)


@pytest.mark.parametrize("text", ["[1]", "[" * 50_000, "{", ""])
def test_what_is_no_adapter_config_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(text)
    with pytest.raises(SodateError, match=r"adapter_config\.json"):
        adapter_files.read_adapter(tmp_path)


def test_an_adapter_of_few_weights_for_many_layers_is_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, config = make("llama"), LoraConfig(4, 8.0, ("layers.0.self_attn.q_proj",))
    lora.add(one, config, seed=0)
    adapter_files.save_adapter(one, config, "tiny", tmp_path)
    about = lora.config_json(config, "tiny") | {"target_modules": list(lora.all_targets(make("llama")))}
    (tmp_path / "adapter_config.json").write_text(json.dumps(about))
    monkeypatch.setattr(adapter_files, "SPARE_WEIGHTS", 1000)
    with pytest.raises(SodateError, match=r"it would have [\d,]+ weights on this model"):
        adapter_files.load_adapter(make("llama"), tmp_path)


def test_weights_of_an_adapter_that_lie_elsewhere_are_not_read(tmp_path: Path) -> None:
    model, config = make("llama"), LoraConfig(4, 8.0, ("q_proj",))
    lora.add(model, config, seed=0)
    adapter_files.save_adapter(model, config, "tiny", tmp_path / "a")
    (tmp_path / "b").mkdir()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (tmp_path / "b" / name).symlink_to(tmp_path / "a" / name)
    with pytest.raises(SodateError, match="leads out of the folder"):
        adapter_files.read_adapter(tmp_path / "b")


def test_an_adapter_of_another_model_is_refused_by_name(tmp_path: Path) -> None:
    small, wide = make("llama"), make("llama", intermediate_size=64)
    config = LoraConfig(4, 8.0, ("down_proj",))
    lora.add(small, config, seed=0)
    adapter_files.save_adapter(small, config, "tiny", tmp_path)
    with pytest.raises(SodateError, match=r"is not for this model: .*down_proj\.lora_A\.weight has shape \(4, 48\)"):
        adapter_files.load_adapter(wide, tmp_path)
    with pytest.raises(SodateError, match=r"is not for this model: .*layers\.2\..* does not match"):
        adapter_files.load_adapter(make("llama", num_hidden_layers=3), tmp_path)


def test_a_damaged_adapter_is_named(tmp_path: Path) -> None:
    config = LoraConfig(4, 8.0, ("q_proj",))
    model = make("llama")
    lora.add(model, config, seed=0)
    adapter_files.save_adapter(model, config, "tiny", tmp_path)
    file = tmp_path / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-8])
    with pytest.raises(SodateError, match=r"adapter_model\.safetensors is not a sound"):
        adapter_files.load_adapter(make("llama"), tmp_path)
    file.unlink()
    with pytest.raises(SodateError, match=r"adapter_model\.safetensors is missing"):
        adapter_files.load_adapter(make("llama"), tmp_path)
