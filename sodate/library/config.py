"""config.json: what a model folder says of its architecture."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

# transformers 5 keeps rotary settings in `rope_parameters`, by kind of layer where they differ; 4 reads these names.
GLOBAL_LAYERS, LOCAL_LAYERS = "full_attention", "sliding_attention"
# Architectures whose rotary settings go by another name at the top level in transformers 4.
OLDER_NAMES = {
    "gpt_neox": {"rope_theta": "rotary_emb_base", "partial_rotary_factor": "rotary_pct"},
    "gpt_neox_japanese": {"rope_theta": "rotary_emb_base", "partial_rotary_factor": "rotary_pct"},
    "modernbert-decoder": {"rope_theta": "global_rope_theta", "rope_local_base_freq": "local_rope_theta"},
}


def for_older_readers(config: Mapping[str, Any]) -> dict[str, Any]:
    """`config` with what transformers 4 looks for at the top level: `rope_theta`, `rope_scaling`, `torch_dtype`.

    Without them it takes the base 10,000 and no scaling, and says nothing. Version 5 reads the same as before: a key
    that would change that is left out.
    """
    older: dict[str, Any] = {}
    if config.get("dtype") is not None:
        older["torch_dtype"] = config["dtype"]
    rope = config.get("rope_parameters")
    if isinstance(rope, Mapping) and rope:
        whole, local = rope.get(GLOBAL_LAYERS, rope), rope.get(LOCAL_LAYERS)
        if isinstance(whole, Mapping):
            older |= {key: whole[key] for key in ("rope_theta", "partial_rotary_factor") if key in whole}
            older["rope_scaling"] = _scaling(whole)
            if whole.get("rope_type") == "longrope" and "original_max_position_embeddings" in whole:
                older["original_max_position_embeddings"] = whole["original_max_position_embeddings"]
        if isinstance(local, Mapping) and "rope_theta" in local:
            older["rope_local_base_freq"] = local["rope_theta"]
    names = OLDER_NAMES.get(str(config.get("model_type")), {})
    older = {names.get(key, key): value for key, value in older.items()}
    both = {**config, **older}
    before, after = _as_read(config), _as_read(both)
    (after.get("rope_parameters") or {}).pop("type", None)  # the older word for rope_type, kept beside it
    unchanged = all(after.get(key) == value for key, value in before.items() if key != "torch_dtype")
    return both if unchanged else {**both, "rope_scaling": None}


def _scaling(rope: Mapping[str, Any]) -> dict[str, Any] | None:
    """The scaling alone, as transformers 4 has it; None where positions are not scaled."""
    if rope.get("rope_type", "default") == "default":
        return None
    if rope["rope_type"] == "longrope":  # Phi-3, which wants these three and no other
        return {"type": "longrope", **{key: rope[key] for key in ("short_factor", "long_factor")}}
    return {key: value for key, value in rope.items() if key not in ("rope_theta", "partial_rotary_factor")}


def _as_read(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration as the installed transformers understands it."""
    from transformers import AutoConfig

    values = copy.deepcopy({key: value for key, value in config.items() if key != "model_type"})
    read: dict[str, Any] = AutoConfig.for_model(config["model_type"], **values).to_dict()
    return read
