"""Architectures whose rows can not be packed, or whose head does more: the same numbers as transformers alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from sodate.adapt import last_blocks, lora
from sodate.core.engine import Sampling
from sodate.core.errors import SodateError, UsageError
from sodate.generate.engine import generate
from sodate.model import fused
from sodate.model.difference import view
from sodate.model.forward import score
from sodate.model.load import load_base
from sodate.model.traits import Traits
from sodate.render.renderer import Rendered
from sodate.render.trie import build
from tests.close import assert_all_as_exact, assert_as_exact
from tests.families import VOCABULARY, doubled
from tests.model.test_forward import gradients, one_row_at_a_time, rows

BLOCKS: dict[str, Any] = {"num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
EXPERTS: dict[str, Any] = {"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
NARROW = {
    "num_key_value_heads": 4,
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
}
GROWING = {
    "rope_type": "default",
    "rope_theta": 1e4,
    "llama_4_scaling_beta": 0.5,
    "original_max_position_embeddings": 8,
}
KINDS: dict[str, tuple[dict[str, Any], Traits]] = {
    "Gemma2": (BLOCKS | {"num_key_value_heads": 2, "head_dim": 8, "sliding_window": 6}, Traits(False, 1.0)),
    "GptOss": (BLOCKS | {"num_key_value_heads": 2, "head_dim": 8, "num_local_experts": 4}, Traits(False, 1.0)),
    "Lfm2": (BLOCKS | {"num_key_value_heads": 2, "layer_types": ["conv", "full_attention"]}, Traits(False, 1.0)),
    "Bloom": ({"n_layer": 2, "n_head": 4}, Traits(False, 1.0)),
    "Granite": (BLOCKS | {"logits_scaling": 8.0}, Traits(True, 0.125)),
    "Nemotron": (BLOCKS | {"num_key_value_heads": 2}, Traits(False, 1.0)),  # an attention that no arguments reach
    "DiffLlama": (BLOCKS | {"num_key_value_heads": 2}, Traits(False, 1.0)),  # two attentions a layer
    "DeepseekV3": (  # values narrower than keys
        BLOCKS | EXPERTS | NARROW | {"n_group": 1, "topk_group": 1, "first_k_dense_replace": 1},
        Traits(True, 1.0),
    ),
    "Olmo2": (BLOCKS | {"num_key_value_heads": 2}, Traits(True, 1.0)),  # norms over all heads at once
    "Glm4Moe": (BLOCKS | EXPERTS | {"num_key_value_heads": 2, "head_dim": 8}, Traits(True, 1.0)),  # half a head turns
    "Ministral3": (  # queries grow with their position
        BLOCKS | {"num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 256, "rope_parameters": GROWING},
        Traits(True, 1.0),
    ),
    "Phimoe": (BLOCKS | {"num_local_experts": 4, "num_key_value_heads": 2}, Traits(True, 1.0)),
    "Falcon": ({"num_hidden_layers": 2, "num_attention_heads": 4}, Traits(False, 1.0)),  # adds in place
    "GPT2": ({"n_layer": 2, "n_head": 4, "n_embd": 32}, Traits(True, 1.0)),
}


def load(kind: str, folder: Path) -> tuple[Any, Any]:
    """A tiny random model of the architecture as sodate loads it, and as transformers does."""
    import transformers

    sizes = {"vocab_size": VOCABULARY, "hidden_size": 32, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
    config = getattr(transformers, f"{kind}Config")(**(sizes | KINDS[kind][0]))
    torch.manual_seed(0)
    model = getattr(transformers, f"{kind}LMHeadModel" if kind == "GPT2" else f"{kind}ForCausalLM")(config)
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
    judge = doubled(plain)
    exactly = one_row_at_a_time(judge, batch)
    scores = score(ours, build(batch, 1))
    assert_as_exact(scores.row_log_probabilities(), expected, exactly)
    found = gradients(ours, scores.weighted_sum())
    assert_all_as_exact(found, wanted, gradients(judge, -exactly.sum()))


@pytest.mark.parametrize("kind", ["Gemma2", "Granite"])  # a soft cap, a scale
def test_models_are_compared_by_the_logits_they_have(kind: str, tmp_path: Path) -> None:
    ours, plain = load(kind, tmp_path)
    ids = [3, 4, 5, 6, 7]
    with torch.inference_mode():
        own = plain(torch.tensor([ids])).logits[0, 1:4]
        exactly = doubled(plain)(torch.tensor([ids])).logits[0, 1:4]
        seen = view(ours, [Rendered(ids, [0.0, 0.0, 1.0, 1.0, 1.0])]).logits(slice(None))
    assert_as_exact(seen, own, exactly)


@pytest.mark.parametrize("kind", ["Gemma2", "Granite", "DiffLlama", "DeepseekV3"])
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
    assert fused.replace_modules(model, torch.bfloat16) == torch.float32
    before = score(model, build(rows(), 1)).weighted_sum()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    before.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    assert score(model, build(rows(), 1)).weighted_sum() < before


@pytest.mark.parametrize("kind", ["DeepseekV3", "Falcon", "Glm4Moe", "Ministral3", "Olmo2", "Phimoe"])
def test_a_fresh_adapter_trains_and_changes_nothing_where_parts_can_not_be_replaced(kind: str, tmp_path: Path) -> None:
    model, _ = load(kind, tmp_path)
    batch = build(rows(), 1)
    before = score(model, batch).weighted_sum().item()
    exactly = score(doubled(model), batch).weighted_sum().item()
    lora.add(model, lora.LoraConfig(2, 4.0, lora.all_targets(model)), seed=0)
    fused.replace_modules(model, torch.float32)
    loss = score(model, batch).weighted_sum()
    assert_as_exact(loss, before, exactly)
    found = gradients(model, loss)
    assert found and all(gradient.any() for name, gradient in found.items() if name.endswith("lora_B"))


def test_the_last_blocks_are_found_whatever_they_are_called_and_no_place_for_an_adapter_is_said(tmp_path: Path) -> None:
    model, _ = load("GPT2", tmp_path)
    with pytest.raises(UsageError, match=r"GPT2LMHeadModel has no linear layers(.|\n)*adapter=last"):
        lora.add(model, lora.LoraConfig(2, 4.0, lora.all_targets(model)), seed=0)
    last_blocks.train_blocks(model, 1)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained == {name for name, _ in model.named_parameters() if name.startswith("transformer.h.1.")}


@pytest.mark.parametrize("kind", ["longrope", "dynamic"])
def test_a_text_that_would_change_the_positions_of_its_neighbours_is_refused(kind: str, tmp_path: Path) -> None:
    import transformers

    rope: dict[str, Any] = {"rope_type": kind, "rope_theta": 10000.0, "factor": 4.0}
    if kind == "longrope":
        rope |= {"short_factor": [1.0] * 4, "long_factor": [9.0] * 4, "original_max_position_embeddings": 24}
    longest = 64 if kind == "longrope" else 24
    sizes = BLOCKS | {"vocab_size": VOCABULARY, "hidden_size": 32, "max_position_embeddings": longest}
    transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes, rope_parameters=rope)).save_pretrained(tmp_path)
    model = load_base(tmp_path, device=torch.device("cpu"), dtype=torch.float32)
    assert model.sodate_traits == Traits(True, 1.0)
    texts = [Rendered(list(range(3, 3 + n)), [0.0] + [1.0] * (n - 1)) for n in (9, 25, 26)]
    score(model, build(texts[:2], 1))  # the last token of a row is not computed: 24 are
    with pytest.raises(SodateError, match="texts of more than 24 tokens: one of 25"):
        score(model, build(texts, 1))
    model.sodate_traits = Traits(False, 1.0)
    with pytest.raises(SodateError, match="texts of more than 24 tokens: one of 25"):
        score(model, build(texts, 1))
    model.sodate_traits = Traits(True, 1.0)
    replies = generate(model, [texts[0].ids, [3, 4]], [], Sampling(max_new_tokens=18))
    assert [len(reply.ids) for reply in replies] == [24 - 9, 18]  # a reply ends where positions would change
    with pytest.raises(SodateError, match="The prompt has 25 tokens, and there is room for 24"):
        generate(model, [texts[1].ids, [3, 4]], [], Sampling(max_new_tokens=18))


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
    with pytest.raises(SodateError, match="LlamaForCausalLM does more after its decoder"):
        load_base(tmp_path, device=torch.device("cpu"), dtype=torch.float32)


@pytest.mark.parametrize("kind", ["llama4_text", "deepseek_v32"])
def test_an_architecture_that_cannot_be_run_here_is_refused_by_name(tmp_path: Path, kind: str) -> None:
    """Llama 4 has no decoder behind its head; attention over chosen tokens wants more of them than a short row has."""
    sizes: dict[str, Any] = {
        "vocab_size": 60, "hidden_size": 32, "intermediate_size": 32, "moe_intermediate_size": 16, "head_dim": 8,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "num_local_experts": 2,
        "intermediate_size_mlp": 32, "n_routed_experts": 4, "n_group": 1, "topk_group": 1, "num_experts_per_tok": 1,
        "q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8,
        "index_n_heads": 2, "index_head_dim": 16, "index_topk": 8, "pad_token_id": 0,
    }  # fmt: skip
    from transformers import CONFIG_MAPPING, MODEL_FOR_CAUSAL_LM_MAPPING

    described = CONFIG_MAPPING[kind](
        **{key: value for key, value in sizes.items() if hasattr(CONFIG_MAPPING[kind], key)}
    )
    architecture = MODEL_FOR_CAUSAL_LM_MAPPING[type(described)]
    architecture(described).save_pretrained(tmp_path)
    with pytest.raises(SodateError, match=f"{architecture.__name__} does not run on two short rows"):
        load_base(tmp_path, device=torch.device("cpu"), dtype=torch.float32)
