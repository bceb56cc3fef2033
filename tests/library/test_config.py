"""config.json: older readers get the same numbers. (They were compared by loss with transformers 4.57.6.)"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from sodate.library.config import for_older_readers
from sodate.model import load

SIZES: dict[str, Any] = {
    "vocab_size": 50, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 2, "dtype": "bfloat16",
}  # fmt: skip
LLAMA3 = {
    "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}  # fmt: skip
FACTORS = {"short_factor": [1.5] * 8, "long_factor": [2.5] * 8}


@pytest.mark.parametrize(
    ("kind", "rope", "older"),
    [
        ("llama", {"rope_theta": 1e5, "rope_type": "default"}, {"rope_theta": 1e5, "rope_scaling": None}),
        ("llama", {"rope_theta": 5e5, **LLAMA3}, {"rope_theta": 5e5, "rope_scaling": LLAMA3}),
        (
            "gemma3_text",
            {
                "full_attention": {"rope_theta": 1e6, "rope_type": "linear", "factor": 8.0},
                "sliding_attention": {"rope_theta": 2e4, "rope_type": "default"},
            },
            {
                "rope_theta": 1e6,
                "rope_local_base_freq": 2e4,
                "rope_scaling": {"rope_type": "linear", "factor": 8.0},
            },
        ),
        (
            "gpt_neox",
            {"rope_theta": 2e4, "rope_type": "default", "partial_rotary_factor": 0.5},
            {"rotary_emb_base": 2e4, "rotary_pct": 0.5, "rope_scaling": None},
        ),
        (
            "phi3",
            {
                "rope_theta": 3e4,
                "rope_type": "longrope",
                "partial_rotary_factor": 1.0,
                "original_max_position_embeddings": 4096,
                **FACTORS,
            },
            {
                "rope_theta": 3e4,
                "partial_rotary_factor": 1.0,
                "original_max_position_embeddings": 4096,
                "rope_scaling": {"type": "longrope", **FACTORS},
            },
        ),
    ],
)
def test_rotary_settings_also_stand_where_transformers_4_reads_them(
    kind: str, rope: dict[str, Any], older: dict[str, Any]
) -> None:
    from transformers import AutoConfig

    config = {"model_type": kind, **SIZES, "rope_parameters": rope}
    made = for_older_readers(config)
    assert {key: value for key, value in made.items() if key not in config} == older | {"torch_dtype": "bfloat16"}
    assert {key: made[key] for key in config} == config

    def read(values: dict[str, Any]) -> tuple[Any, Any]:
        values = json.loads(json.dumps(values))
        found = AutoConfig.for_model(values.pop("model_type"), **values)
        parameters = dict(found.rope_parameters)
        parameters.pop("type", None)
        return parameters, found.dtype

    assert read(made) == read(config)


def test_a_model_without_rotary_positions_gets_only_the_older_word_for_its_precision() -> None:
    made = for_older_readers({"model_type": "gpt2", "n_layer": 1, "dtype": "float32"})
    assert made == {"model_type": "gpt2", "n_layer": 1, "dtype": "float32", "torch_dtype": "float32"}


def test_all_weights_that_are_saved_carry_them(folder: Path, tmp_path: Path) -> None:
    about = json.loads((folder / "config.json").read_text())
    about["rope_parameters"] = {"rope_theta": 1e5, "rope_type": "default"}
    (folder / "config.json").write_text(json.dumps(about))
    model = load.load_base(folder, device=torch.device("cpu"), dtype=torch.float32)
    (tmp_path / "out").mkdir()
    load.save_full(model, folder, tmp_path / "out", torch.bfloat16)
    saved = json.loads((tmp_path / "out" / "config.json").read_text())
    assert (saved["rope_theta"], saved["rope_scaling"]) == (1e5, None)
    assert saved["dtype"] == saved["torch_dtype"] == "bfloat16"
    again = load.load_base(tmp_path / "out", device=torch.device("cpu"), dtype=torch.float32)
    assert again.config.rope_parameters["rope_theta"] == 1e5
