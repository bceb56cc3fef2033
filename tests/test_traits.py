"""Architectures whose rows can not be packed, or whose head does more: the same numbers as transformers alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from sodate.core.errors import SodateError
from sodate.generate.engine import Sampling, generate
from sodate.model import fused, lora
from sodate.model.difference import view
from sodate.model.forward import score
from sodate.model.load import load_base
from sodate.model.traits import Traits
from sodate.render.renderer import Rendered
from sodate.render.trie import build
from tests.families import VOCABULARY
from tests.test_forward import difference, gradients, one_row_at_a_time, rows

BLOCKS: dict[str, Any] = {"num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
KINDS: dict[str, tuple[dict[str, Any], Traits]] = {
    "Gemma2": (BLOCKS | {"num_key_value_heads": 2, "head_dim": 8, "sliding_window": 6}, Traits(False, 1.0)),
    "GptOss": (BLOCKS | {"num_key_value_heads": 2, "head_dim": 8, "num_local_experts": 4}, Traits(False, 1.0)),
    "Lfm2": (BLOCKS | {"num_key_value_heads": 2, "layer_types": ["conv", "full_attention"]}, Traits(False, 1.0)),
    "Bloom": ({"n_layer": 2, "n_head": 4}, Traits(False, 1.0)),
    "Granite": (BLOCKS | {"logits_scaling": 8.0}, Traits(True, 0.125)),
}


def load(kind: str, folder: Path) -> tuple[Any, Any]:
    """A tiny random model of the architecture as sodate loads it, and as transformers does."""
    import transformers

    sizes = {"vocab_size": VOCABULARY, "hidden_size": 32, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
    config = getattr(transformers, f"{kind}Config")(**(sizes | KINDS[kind][0]))
    torch.manual_seed(0)
    model = getattr(transformers, f"{kind}ForCausalLM")(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(1.0 if "norm" in name else 0.0, 0.3)
    model.save_pretrained(folder)
    plain = type(model).from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    return load_base(folder, device=torch.device("cpu"), dtype=torch.float32), plain


@pytest.mark.parametrize("kind", KINDS)
def test_losses_and_gradients_are_those_of_transformers(kind: str, tmp_path: Path) -> None:
    ours, plain = load(kind, tmp_path)
    assert ours.sodate_traits == KINDS[kind][1]
    batch = rows()
    expected = one_row_at_a_time(plain, batch)
    wanted = gradients(plain, -expected.sum())
    scores = score(ours, build(batch, 1))
    assert difference(scores.row_log_probabilities(), expected) < 1e-5
    found = gradients(ours, scores.weighted_sum())
    for name, gradient in wanted.items():
        assert difference(found[name], gradient) < 1e-4, name


@pytest.mark.parametrize("kind", ["Gemma2", "Granite"])  # a soft cap, a scale
def test_models_are_compared_by_the_logits_they_have(kind: str, tmp_path: Path) -> None:
    ours, plain = load(kind, tmp_path)
    ids = [3, 4, 5, 6, 7]
    with torch.inference_mode():
        own = plain(torch.tensor([ids])).logits[0, 1:4]
        seen = view(ours, [Rendered(ids, [0.0, 0.0, 1.0, 1.0, 1.0])]).logits(slice(None))
    torch.testing.assert_close(seen, own, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["Gemma2", "Granite"])
def test_greedy_replies_are_those_of_transformers(kind: str, tmp_path: Path) -> None:
    ours, plain = load(kind, tmp_path)
    prompts = [[3, 4, 5, 6, 7], [3, 4, 9], [11, 12, 13, 14]]
    replies = generate(ours, prompts, [], Sampling(max_new_tokens=8), batch_size=2)
    for prompt, reply in zip(prompts, replies, strict=True):
        ids = torch.tensor([prompt])
        whole = plain.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=8, do_sample=False,
                               eos_token_id=None)  # fmt: skip
        assert reply.ids == whole[0, len(prompt) :].tolist()


def test_an_adapter_trains_where_rows_are_computed_alone(tmp_path: Path) -> None:
    model, _ = load("Gemma2", tmp_path)
    lora.add(model, lora.LoraConfig(2, 4.0, lora.all_targets(model)), seed=0)
    assert fused.prepare(model, torch.bfloat16) == torch.float32
    before = score(model, build(rows(), 1)).weighted_sum()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    before.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    assert score(model, build(rows(), 1)).weighted_sum() < before


def test_a_head_that_is_no_linear_layer_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import LlamaForCausalLM

    from tests.families import make

    make("llama").save_pretrained(tmp_path)
    forward = LlamaForCausalLM.forward

    def squared(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        output = forward(self, *args, **kwargs)
        output.logits = output.logits**2
        return output

    monkeypatch.setattr(LlamaForCausalLM, "forward", squared)
    with pytest.raises(SodateError, match="LlamaForCausalLM does more behind its decoder"):
        load_base(tmp_path, device=torch.device("cpu"), dtype=torch.float32)
