"""GGUF files: the model they were made from comes out, and a file that lies is refused."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer

from sodate.core.errors import SodateError
from sodate.library import sources
from sodate.library.gguf_file import read_gguf
from tests.library.test_sources import TEXTS, leftovers, logits
from tests.tiny import CHATML, tokenizer

pytestmark = pytest.mark.usefixtures("home")


def write_gguf(
    source: Path,
    path: Path,
    *,
    template: str | None = CHATML,
    split: str = "smollm",
    architecture: str = "llama",
    extra: dict[str, str] | None = None,
) -> Path:
    """The tiny Llama as llama.cpp would store it: its tensor names, its order of the rotary halves, its vocabulary."""
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    config = model.config
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_name("tiny")
    writer.add_license("mit")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    writer.add_vocab_size(config.vocab_size)
    described = json.loads(tokenizer(gpt2=True).to_str())
    names = {**described["model"]["vocab"], **{t["content"]: t["id"] for t in described["added_tokens"]}}
    control = {t["content"] for t in described["added_tokens"] if t["special"]}
    ordered = sorted(names, key=lambda token: names[token])
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(split)
    writer.add_token_list(ordered)
    writer.add_token_types([3 if t in control else 4 if t == "<think>" else 1 for t in ordered])
    writer.add_token_merges([" ".join(pair) for pair in described["model"]["merges"]])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(names["<|im_end|>"])
    writer.add_pad_token_id(2)
    if template:
        writer.add_chat_template(template)
    for key, value in (extra or {}).items():
        writer.add_string(key, value)
    parts = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v"}
    parts |= {"self_attn.o_proj": "attn_output", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}
    parts |= {f"mlp.{name}_proj": f"ffn_{name}" for name in ("gate", "up", "down")}
    for name, tensor in model.state_dict().items():
        value = tensor.numpy()
        if name in ("model.embed_tokens.weight", "model.norm.weight"):
            writer.add_tensor("token_embd.weight" if "embed" in name else "output_norm.weight", value)
        elif name.startswith("model.layers."):
            layer, part = name.removeprefix("model.layers.").removesuffix(".weight").split(".", 1)
            if parts[part] in ("attn_q", "attn_k"):
                heads = config.num_attention_heads if parts[part] == "attn_q" else config.num_key_value_heads
                value = value.reshape(heads, 2, -1, value.shape[1]).swapaxes(1, 2).reshape(value.shape)
            writer.add_tensor(f"blk.{layer}.{parts[part]}.weight", np.ascontiguousarray(value))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="module")
def small_gguf(original: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gguf(original, tmp_path_factory.mktemp("gguf") / "tiny-chat.gguf")


def test_a_gguf_file_becomes_the_model_it_was_made_from(original: Path, small_gguf: Path) -> None:
    entry = sources.pull(str(small_gguf))
    assert entry.name == "tiny-chat" and entry.licence == "mit" and entry.chat_template
    assert torch.allclose(logits(entry.path), logits(original), atol=1e-5)
    model = AutoModelForCausalLM.from_pretrained(entry.path, local_files_only=True)
    assert model.lm_head.weight is model.model.embed_tokens.weight and model.dtype == torch.float32
    model.save_pretrained(entry.path.parent / "again")
    read = AutoTokenizer.from_pretrained(entry.path, local_files_only=True)
    assert read.eos_token == "<|im_end|>" and read.model_max_length == 512 and read.chat_template == CHATML
    for text in TEXTS:
        ids = read(text).input_ids
        assert read.decode(ids) == text
        assert ids == read(text, add_special_tokens=False).input_ids
    assert [read.convert_ids_to_tokens(i) for i in read("12345").input_ids] == list("12345")
    assert read("<|im_start|>").input_ids == [read.convert_tokens_to_ids("<|im_start|>")]
    assert sources.pull(str(small_gguf)) == entry


def test_a_gguf_file_without_template_says_so(original: Path, tmp_path: Path) -> None:
    assert sources.pull(str(write_gguf(original, tmp_path / "base.gguf", template=None))).chat_template is False


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ({"extra": {"llama.rope.scaling.type": "yarn"}}, "rotary"),
        ({"split": "split-of-next-year"}, "'split-of-next-year'"),
        ({"architecture": "bert"}, "architecture 'bert'.* cannot be converted"),
        ({"architecture": "t5"}, "t5 has no causal"),
    ],
)
def test_a_gguf_file_that_would_answer_wrongly_is_refused(
    original: Path, tmp_path: Path, home: Path, named: dict[str, Any], said: str
) -> None:
    with pytest.raises(SodateError, match=said):
        sources.pull(str(write_gguf(original, tmp_path / "odd.gguf", **named)))
    assert leftovers(home) == []


@settings(max_examples=60, deadline=None)
@given(share=st.floats(0, 0.9999))
def test_a_gguf_file_cut_anywhere_is_refused(small_gguf: Path, share: float) -> None:
    data = small_gguf.read_bytes()
    cut = small_gguf.with_name("cut.gguf")
    cut.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(SodateError, match="not a sound GGUF"):
        read_gguf(cut)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_a_gguf_header_with_a_changed_byte_is_read_or_refused_but_never_crashes(
    small_gguf: Path, data: st.DataObject
) -> None:
    raw = bytearray(small_gguf.read_bytes())
    end = read_gguf(small_gguf).data_start
    raw[data.draw(st.integers(0, end - 1))] = data.draw(st.integers(0, 255))
    changed = small_gguf.with_name("changed.gguf")
    changed.write_bytes(raw)
    try:
        found = read_gguf(changed)
    except SodateError:
        return
    assert all(tensor.start + tensor.size <= len(raw) for tensor in found.tensors)


def tiny_table(offset: int, count: int = 1, version: int = 3) -> bytes:
    """A GGUF file of one float32 vector of four, by hand. `offset` is what the table says."""

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    head = b"GGUF" + struct.pack("<IQQ", version, count, 1)
    head += text("general.architecture") + struct.pack("<I", 8) + text("llama")
    head += text("x") + struct.pack("<IQIQ", 1, 4, 0, offset)
    return head + b"\0" * (-len(head) % 32) + bytes(32)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (tiny_table(32), "beyond the end"),
        (tiny_table(1 << 62), "beyond the end"),
        (tiny_table(8), "broken shape"),
        (tiny_table(0, count=1 << 40), "ends early"),
        (tiny_table(0, count=0), "no tensors"),
        (tiny_table(0, version=9), "version 9"),
        (b"GGML" + bytes(64), "does not start"),
        (b"", "does not start"),
    ],
)
def test_a_gguf_file_that_lies_is_refused(tmp_path: Path, data: bytes, said: str) -> None:
    (tmp_path / "x.gguf").write_bytes(data)
    with pytest.raises(SodateError, match=said):
        read_gguf(tmp_path / "x.gguf")


def test_an_honest_hand_made_gguf_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(tiny_table(0))
    assert read_gguf(tmp_path / "x.gguf").tensors[0].shape == (4,)
