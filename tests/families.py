"""Tiny models of four families, with what makes each of them different: windows, query norms, soft caps, scales."""

from __future__ import annotations

import copy
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
        if type(module).__name__.endswith("RMSNorm") and not isinstance(module, torch.nn.RMSNorm):
            plus = 1.0 if "Gemma" in type(module).__name__ else 0.0
            eps = module.eps if hasattr(module, "eps") else module.variance_epsilon

            def forward(x: Tensor, weight: Tensor = module.weight, plus: float = plus, eps: float = eps) -> Tensor:
                return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps) * (plus + weight)

            module.forward = forward
    return model


def in_float64(model: Any) -> Any:
    """A copy of a model of transformers or peft that computes in float64 throughout: the judge of float32 results."""
    twin = exact(doubled(model))
    for module in twin.modules():
        if getattr(getattr(module, "config", None), "_attn_implementation", None) == "eager":
            module.config._attn_implementation = _precise()
    return twin


def doubled(model: Any) -> Any:
    """A copy in float64, but for the steps that a model takes in float32 whatever it is given."""
    twin = copy.deepcopy(model).double()
    for module in twin.modules():
        if getattr(getattr(module, "config", None), "_experts_implementation", None) is not None:
            module.config._experts_implementation = "eager"  # grouped products know no float64
    return twin


def _precise() -> str:
    """The name of transformers' eager attention without its softmax in float32."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import eager_mask

    AttentionInterface.register("precise", precise_attention)
    AttentionMaskInterface.register("precise", eager_mask)
    return "precise"


def precise_attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scaling: float, **_: Any
) -> tuple[Tensor, None]:
    """Scores, softmax and sums in the precision that is given."""
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    weights = (query @ key.transpose(2, 3) * scaling + mask).softmax(-1)
    return (weights @ value).transpose(1, 2).contiguous(), None
