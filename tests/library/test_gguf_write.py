"""GGUF files written here are read back by transformers' own reader, and say what llama.cpp needs to know."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch

from sodate.core.errors import SodateError, UsageError
from sodate.library import gguf_architectures, gguf_write
from sodate.library.convert import convert_gguf
from sodate.library.gguf_file import read_gguf
from sodate.library.gguf_tokenizer import tokenizer_metadata
from sodate.library.weights import read_tensors, write_tensors
from tests import tiny

TEMPLATE = tiny.CHATML


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama whose tokenizer splits text as GPT-2 does, which llama.cpp knows by name."""
    folder = tiny.llama_folder(tmp_path_factory.mktemp("gguf") / "llama", eos_token_id=4)
    tiny.tokenizer(gpt2=True).save(str(folder / "tokenizer.json"))
    return folder


def written(folder: Path, target: Path, format: str = "f32") -> dict[str, str]:
    tensors = read_tensors(folder / "model.safetensors")
    return gguf_write.write_model(tensors, folder, target, format=format, template=TEMPLATE, stops=[4], about={})


def test_what_is_written_is_what_transformers_reads(llama: Path, tmp_path: Path) -> None:
    """Weights bit for bit, so that rows of q and k come back from their other order; ids of every kind of text."""
    from tokenizers import Tokenizer

    written(llama, tmp_path / "model.gguf")
    back, work = tmp_path / "back", tmp_path / "work"
    back.mkdir()
    work.mkdir()
    convert_gguf(tmp_path / "model.gguf", back, work, lambda share, said: None)
    before, after = (read_tensors(folder / "model.safetensors") for folder in (llama, back))
    assert set(before) == set(after)
    assert all(torch.equal(before[name], after[name]) for name in before)
    ours, theirs = (Tokenizer.from_file(str(folder / "tokenizer.json")) for folder in (llama, back))
    for text in (*tiny.TEXT, "<|im_start|>user\nご注文 12,345 🍎<|im_end|>\n", "a  b\n\n c", "<think>x</think>"):
        assert ours.encode(text).ids == theirs.encode(text).ids
    assert (back / "chat_template.jinja").read_text() == TEMPLATE


@pytest.mark.parametrize(("format", "bound"), [("f16", 1e-4), ("bf16", 4e-4), ("q8_0", 1e-3), ("q4_0", 2e-2)])
def test_numbers_are_kept_as_closely_as_their_format_can(
    llama: Path, tmp_path: Path, format: str, bound: float
) -> None:
    others = written(llama, tmp_path / "model.gguf", format)
    kept = {tensor.name: tensor for tensor in gguf.GGUFReader(tmp_path / "model.gguf").tensors}
    original = read_tensors(llama / "model.safetensors")["model.layers.0.mlp.up_proj.weight"].numpy()
    there = kept["blk.0.ffn_up.weight"]
    assert there.tensor_type.name.lower() == format
    assert np.abs(gguf.dequantize(there.data, there.tensor_type) - original).max() <= bound
    assert kept["blk.0.attn_norm.weight"].tensor_type.name == "F32"
    # In few bits the embedding, which is also the head here, is kept in eight: said, not done in silence.
    assert others == ({"token_embd.weight": "q8_0"} if format == "q4_0" else {})


def test_rows_that_do_not_divide_into_blocks_are_kept_whole_and_named(tmp_path: Path) -> None:
    folder = tiny.llama_folder(tmp_path / "odd", hidden_size=40, head_dim=16, num_attention_heads=2)
    tiny.tokenizer(gpt2=True).save(str(folder / "tokenizer.json"))
    others = written(folder, tmp_path / "model.gguf", "q8_0")
    assert others["blk.0.attn_q.weight"] == "f16" and "blk.0.ffn_down.weight" not in others


def test_the_file_says_where_a_reply_ends_and_how_text_is_split(llama: Path, tmp_path: Path) -> None:
    written(llama, tmp_path / "model.gguf")
    meta = read_gguf(tmp_path / "model.gguf").metadata
    said = {key: meta[f"tokenizer.ggml.{key}"] for key in ("pre", "bos_token_id", "eos_token_id", "eot_token_id")}
    # The folder names <eos>, its template ends a turn by <|im_end|>: both end a reply.
    assert said == {"pre": "gpt-2", "bos_token_id": 0, "eos_token_id": 1, "eot_token_id": 4}
    assert meta["tokenizer.ggml.add_bos_token"] is False and meta["tokenizer.chat_template"] == TEMPLATE
    kinds = dict(zip(meta["tokenizer.ggml.tokens"], meta["tokenizer.ggml.token_type"], strict=True))
    assert (kinds["<|im_end|>"], kinds["<think>"], kinds["a"]) == (3, 4, 1)


def test_a_splitting_that_llama_cpp_cannot_name_is_refused(tmp_path: Path) -> None:
    """Tokens would be others, and nothing would say so."""
    folder = tiny.llama_folder(tmp_path / "own")
    with pytest.raises(SodateError, match="no tokenizer that splits text as this one does") as caught:
        written(folder, tmp_path / "model.gguf")
    assert caught.value.code == "export_unsupported" and not (tmp_path / "model.gguf").exists()


def test_a_tokenizer_with_less_in_it_than_most_is_refused_or_written(tmp_path: Path) -> None:
    """No step of splitting, no added tokens, no token for a letter, and an unknown token without a row: all may be."""
    folder = tiny.llama_folder(tmp_path / "own")
    file = folder / "tokenizer.json"
    described = json.loads(file.read_text("utf-8"))
    file.write_text(json.dumps(described | {"pre_tokenizer": {"type": "Sequence", "pretokenizers": []}}), "utf-8")
    with pytest.raises(SodateError, match="no tokenizer that splits text as this one does"):
        tokenizer_metadata(folder, 8, TEMPLATE, [4])
    del described["added_tokens"], described["pre_tokenizer"]
    described["normalizer"] = {"type": "Replace", "pattern": {"String": "a"}, "content": ""}
    described["model"] |= {"byte_fallback": True, "unk_token": "<unk>"}
    described["model"]["vocab"]["<unk>"] = 5000
    file.write_text(json.dumps(described), "utf-8")
    found = tokenizer_metadata(folder, 8, TEMPLATE, [4])
    assert len(found["ggml.tokens"]) == 8 and found["ggml.add_space_prefix"] is False


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model_type": "gpt_neox"}, "gpt_neox models can't be written"),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4}}, "positions are scaled this way"),
        ({"hidden_act": "relu"}, "another activation"),
        ({"model_type": "mistral", "sliding_window": 4096}, "with such windows"),
        ({"model_type": "qwen2", "layer_types": ["full_attention", "sliding_attention"]}, "with such windows"),
        ({"model_type": "gemma3_text", "layer_types": ["sliding_attention", "full_attention"]}, "with such windows"),
    ],
)
def test_models_that_llama_cpp_would_run_otherwise_are_refused(llama: Path, change: Any, said: str) -> None:
    config = json.loads((llama / "config.json").read_text())
    with pytest.raises(SodateError, match=said):
        gguf_architectures.architecture(config | change)


def test_k_types_are_refused_with_what_they_would_come_to() -> None:
    with pytest.raises(UsageError, match=r"rows have 576: llama[.]cpp itself would write q5_0"):
        gguf_write.checked_format("q4_k_m", 576)
    with pytest.raises(UsageError, match="own quantiser alone"):
        gguf_write.checked_format("Q6_K", 2048)
    with pytest.raises(UsageError, match="There is no format 'q3'"):
        gguf_write.checked_format("q3", 2048)


def adapter(folder: Path, **about: Any) -> Path:
    """A LoRA of rank 4 on q and down of block 1, in PEFT's form."""
    folder.mkdir()
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "down_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(config | about))
    torch.manual_seed(0)
    shapes = {"self_attn.q_proj": (32, 32), "mlp.down_proj": (32, 64)}
    tensors = {}
    for name, (out, into) in shapes.items():
        tensors[f"base_model.model.model.layers.1.{name}.lora_A.weight"] = torch.randn(4, into)
        tensors[f"base_model.model.model.layers.1.{name}.lora_B.weight"] = torch.randn(out, 4)
    write_tensors(folder / "adapter_model.safetensors", tensors)
    return folder


def test_a_lora_file_adds_what_the_adapter_adds(llama: Path, tmp_path: Path) -> None:
    """Its product, put back into transformers' order by hand, is that of the PEFT file."""
    folder = adapter(tmp_path / "adapter")
    config = json.loads((llama / "config.json").read_text())
    gguf_write.write_lora(folder, config, tmp_path / "lora.gguf")
    meta = read_gguf(tmp_path / "lora.gguf").metadata
    assert (meta["general.type"], meta["adapter.type"], meta["adapter.lora.alpha"]) == ("adapter", "lora", 8.0)
    there = {tensor.name: tensor.data for tensor in gguf.GGUFReader(tmp_path / "lora.gguf").tensors}
    own = read_tensors(folder / "adapter_model.safetensors")
    for name, short in (("self_attn.q_proj", "attn_q"), ("mlp.down_proj", "ffn_down")):
        a, b = (own[f"base_model.model.model.layers.1.{name}.lora_{side}.weight"].numpy() for side in "AB")
        product = there[f"blk.1.{short}.weight.lora_b"] @ there[f"blk.1.{short}.weight.lora_a"]
        if short == "attn_q":  # 4 heads of 8 rows: 0 4 1 5 2 6 3 7 there, 0 … 7 here
            order = [head * 8 + row for head in range(4) for row in (0, 2, 4, 6, 1, 3, 5, 7)]
            product = product[order]
        assert np.allclose(product, b @ a, atol=1e-5)


def test_rank_stabilised_adapters_keep_their_strength_and_dora_is_refused(llama: Path, tmp_path: Path) -> None:
    config = json.loads((llama / "config.json").read_text())
    gguf_write.write_lora(adapter(tmp_path / "rs", use_rslora=True), config, tmp_path / "rs.gguf")
    # llama.cpp divides by r = 4 where rsLoRA divides by 2: alpha is doubled.
    assert read_gguf(tmp_path / "rs.gguf").metadata["adapter.lora.alpha"] == 16.0
    with pytest.raises(SodateError, match="Only LoRA and rsLoRA"):
        gguf_write.write_lora(adapter(tmp_path / "dora", use_dora=True), config, tmp_path / "dora.gguf")
    assert not (tmp_path / "dora.gguf").exists()


def test_llama_3_slows_its_low_frequencies_as_transformers_does() -> None:
    from transformers import LlamaConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    rope = {"rope_type": "llama3", "rope_theta": 500_000.0, "factor": 8.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 512}  # fmt: skip
    config = LlamaConfig(hidden_size=64, num_attention_heads=4, max_position_embeddings=4096, rope_parameters=rope)
    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](config, "cpu")
    plain = 1 / 500_000.0 ** (np.arange(0, 16, 2) / 16)
    factors = gguf_architectures.rope_factors(config.to_dict())
    assert factors is not None
    assert np.allclose(plain / factors, scaled.numpy(), rtol=1e-5)
