"""Tiny models of four families, with what makes each of them different: windows, query norms, soft caps, scales."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

FAMILIES = ("llama", "qwen3", "gemma3", "mistral")
WINDOW = 6  # tokens a sliding layer of gemma3 and mistral sees, shorter than the tests' rows
VOCABULARY = 48


def make(family: str, seed: int = 0, **changes: Any) -> Any:
    """A model of the family with random weights, in float32."""
    import transformers

    sizes: dict[str, Any] = {
        "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 256,
        "tie_word_embeddings": True, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2,
    }  # fmt: skip
    kind, own = {
        "llama": ("Llama", {"attention_bias": True, "tie_word_embeddings": False}),
        "qwen3": ("Qwen3", {}),
        "gemma3": ("Gemma3", {
            "sliding_window": WINDOW, "num_hidden_layers": 3, "final_logit_softcapping": 5.0,
            "query_pre_attn_scalar": 8,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        }),
        "mistral": ("Mistral", {"sliding_window": WINDOW}),
        "granite": ("Granite", {"logits_scaling": 4.0}),
    }[family]  # fmt: skip
    configs = {"Gemma3": "Gemma3TextConfig"}
    config = getattr(transformers, configs.get(kind, f"{kind}Config"))(**(sizes | own | changes))
    torch.manual_seed(seed)
    model = getattr(transformers, f"{kind}ForCausalLM")(config)
    with torch.no_grad():
        # Larger than a fresh initialisation, so that attention and the soft cap are far from uniform and linear.
        for name, parameter in model.named_parameters():
            parameter.normal_(1.0 if "norm" in name else 0.0, 0.3)
    return model.eval()


def pair(family: str, folder: Path, dtype: torch.dtype = torch.float32, **changes: Any) -> tuple[Any, Any]:
    """The same model twice: over tries as sodate loads it, and as transformers alone loads it."""
    from transformers import AutoModelForCausalLM

    from sodate.model.load import load_base

    make(family, **changes).save_pretrained(folder)
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="eager").eval()
    ours = load_base(folder, device=torch.device("cpu"), dtype=dtype)
    return ours, plain


def exact(model: Any) -> Any:
    """The same model without the float32 steps that transformers' norms take even in float64."""
    for module in model.modules():
        if type(module).__name__.endswith("RMSNorm"):
            plus = 1.0 if "Gemma" in type(module).__name__ else 0.0
            eps = module.eps if hasattr(module, "eps") else module.variance_epsilon

            def forward(x: Tensor, weight: Tensor = module.weight, plus: float = plus, eps: float = eps) -> Tensor:
                return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps) * (plus + weight)

            module.forward = forward
    return model
