"""Each architecture that is written as GGUF is run by llama.cpp as transformers runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from sodate.api.agreement import divergence
from sodate.library import gguf_write
from sodate.library.store import ModelEntry
from sodate.library.weights import read_tensors
from sodate.release.references import REFERENCES
from sodate.render.renderer import Renderer
from tests import tiny

SIZES = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4, "head_dim": 16,
    "num_key_value_heads": 2, "max_position_embeddings": 256, "initializer_range": 0.2, "bos_token_id": 0,
    "eos_token_id": 1, "pad_token_id": 2,
}  # fmt: skip
LLAMA3 = {"rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 64}  # fmt: skip
GEMMA3 = {"full_attention": {"rope_type": "default", "rope_theta": 1e6},
          "sliding_attention": {"rope_type": "default", "rope_theta": 1e4}}  # fmt: skip
KINDS = [f"{'full' if layer % 6 == 5 else 'sliding'}_attention" for layer in range(7)]
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {"tie_word_embeddings": False}),
    "llama-linear": ("Llama", {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0}}),
    "llama-3": ("Llama", {"rope_parameters": LLAMA3}),
    "mistral": ("Mistral", {"sliding_window": None}),
    "qwen2": ("Qwen2", {"tie_word_embeddings": True}),
    "qwen3": ("Qwen3", {"tie_word_embeddings": True}),
    "gemma": ("Gemma", {}),
    "gemma2": ("Gemma2", {"sliding_window": 32, "query_pre_attn_scalar": 16}),
    "gemma3": ("Gemma3", {"sliding_window": 32, "query_pre_attn_scalar": 16, "num_hidden_layers": 7,
                          "layer_types": KINDS, "rope_parameters": GEMMA3}),
}  # fmt: skip


def model(name: str, folder: Path) -> Any:
    """A model of the family with random weights, norms and biases too, saved with a tokenizer."""
    family, more = FAMILIES[name]
    text = "Text" if family == "Gemma3" else ""
    made = getattr(transformers, f"{family}{text}Config")(vocab_size=424, **SIZES | more)
    torch.manual_seed(0)
    network = getattr(transformers, f"{family}ForCausalLM")(made).eval()
    for key, value in network.named_parameters():
        if value.dim() == 1:
            torch.nn.init.normal_(value, mean=0.0 if "bias" in key or family.startswith("Gemma") else 1.0, std=0.2)
    network.save_pretrained(folder)
    tiny.oracle(tiny.CHATML, gpt2=True).save_pretrained(folder)
    return network


def asked(folder: Path, vocabulary: int, given: list[Any], rows: list[list[int]], stops: list[int]) -> Any:
    """What llama.cpp says of the file in the folder: its answers, and log-probabilities behind each of the rows."""
    job = {"gguf": str(folder / "model.gguf"), "lora": None, "exact": True, "context": 256, "threads": 1, "texts": [],
           "asked": given, "prompts": rows[:1], "limit": 2, "stops": stops, "positions": rows, "whole": 40,
           "vocabulary": vocabulary}  # fmt: skip
    (folder / "job.json").write_text(json.dumps(job))
    reader = [sys.executable, "-m", "sodate.api.reader_llamacpp", str(folder / "job.json")]
    subprocess.run(reader, check=True, stdin=subprocess.DEVNULL)
    found = np.fromfile(folder / "answers.f32", np.float32).reshape(len(rows), vocabulary)
    return json.loads((folder / "answers.json").read_text()), found


@pytest.mark.parametrize("name", list(FAMILIES))
def test_llama_cpp_gives_the_distributions_of_transformers(name: str, tmp_path: Path) -> None:
    network = model(name, tmp_path / "model")
    gguf_write.write_model(
        network.state_dict(), tmp_path / "model", tmp_path / "model.gguf", format="f32", template=tiny.CHATML, stops=[4]
    )
    rows = [[0, *range(30, 30 + count)] for count in (3, 20, 90)]  # the last is longer than any sliding window
    with torch.inference_mode():
        own = torch.stack([network(input_ids=torch.tensor([row])).logits[0, -1].log_softmax(-1) for row in rows])
    _, there = asked(tmp_path, 424, [], rows, [4])
    assert divergence(own.numpy(), there).max() < 1e-6  # GELU is a table of 16-bit numbers there


@pytest.mark.real
def test_llama_cpp_reads_and_runs_smollm2_as_it_is(smollm2: ModelEntry, tmp_path: Path) -> None:
    """The ids of all twenty conversations by its own template and tokenizer, and a distribution."""
    renderer = Renderer.from_folder(smollm2.path)
    given = [list(renderer.given(one.messages, one.tools)) for one in REFERENCES]
    prompts = [renderer.prompt(one.messages, one.tools) for one in REFERENCES]
    tensors = read_tensors(smollm2.path / "model.safetensors")
    gguf_write.write_model(tensors, smollm2.path, tmp_path / "model.gguf", format="f32", template=renderer.template,
                           stops=renderer.stop_ids)  # fmt: skip
    network = transformers.AutoModelForCausalLM.from_pretrained(smollm2.path, dtype=torch.float32).eval()
    with torch.inference_mode():
        own = network(input_ids=torch.tensor([prompts[0]])).logits[0, -1:].log_softmax(-1)
    answers, there = asked(tmp_path, 49_152, given, prompts[:1], list(renderer.stop_ids))
    assert answers["ids"] == prompts and answers["stops"] == [True]
    assert divergence(own.numpy(), there).max() < 1e-8
