"""Log-probabilities under the reference: the model as it stands before the first step.

They are computed once, before training, while the model still is the reference: no second model is ever in memory. A
resumed run is built from the same start before its checkpoint is read, so it finds the same reference. What was
computed is kept under SODATE_HOME/cache/reference by content: base and adapter it started from, precision, token ids.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sodate.core import home, progress
from sodate.core.errors import SodateError
from sodate.core.files import sha256_json
from sodate.library import weights
from sodate.model.forward import score
from sodate.render import trie
from sodate.render.renderer import Rendered

# Recipe keys that change neither the start of the model nor how a row is computed. Any other one makes a new entry.
_NO_MATTER = {
    *("method", "data", "eval", "name", "encoding", "columns", "epochs", "max_steps", "batch_size", "shuffle", "seed"),
    *("lr", "schedule", "warmup_steps", "weight_decay", "max_grad_norm", "eval_every", "early_stop", "save_every"),
    *("beta", "loss", "label_smoothing", "sft_weight", "desirable_weight", "undesirable_weight", "max_length"),
    *("hold_out", "on_alarm", "register_no_gain"),
}


def start_of(manifest: Mapping[str, Any]) -> Any:
    """What decides the model that a run starts from, out of its manifest."""
    kept = {key: value for key, value in manifest["recipe"].items() if key not in _NO_MATTER}
    return [manifest["base"], manifest["start"], manifest["renderer"], manifest["dtype"], kept]


def log_probabilities(model: Any, rows: Sequence[Sequence[Rendered]], start: Any, micro_tokens: int) -> Tensor:
    """(rows, k) Σ log p over the supervised tokens of each of a row's k sequences, on the CPU. Read back if known."""
    if not rows:
        return torch.empty(0, 0)
    weight = next(iter(model.parameters()))
    key = sha256_json([start, str(weight.dtype), weight.device.type, micro_tokens, _digest(rows)])
    path = home.cache_dir() / "reference" / f"{key}.safetensors"
    if path.exists():
        try:
            return weights.read_tensors(path)["log_probabilities"]
        except (SodateError, KeyError):
            path.unlink()  # damaged: made again
    found = compute(model, rows, micro_tokens)
    weights.write_tensors(path, {"log_probabilities": found})
    return found


def compute(model: Any, rows: Sequence[Sequence[Rendered]], micro_tokens: int) -> Tensor:
    """(rows, k) as in `log_probabilities`, from the model as it is now."""
    found = torch.empty(len(rows), len(rows[0]))
    with torch.inference_mode():
        done = 0
        for numbers in trie.pack_rows(rows, micro_tokens):
            progress.report("reference", done, len(rows))
            done += len(numbers)
            batch = trie.build([s for n in numbers for s in rows[n]])
            found[numbers] = score(model, batch).row_log_probabilities().view(len(numbers), -1).float().cpu()
    return found


def _digest(rows: Sequence[Sequence[Rendered]]) -> str:
    """SHA-256 of every id and weight in order."""
    digest = hashlib.sha256()
    for row in rows:
        for sequence in row:
            digest.update(np.asarray([len(sequence.ids), *sequence.ids], dtype=np.int64).tobytes())
            digest.update(np.asarray(sequence.weights, dtype=np.float64).tobytes())
    return digest.hexdigest()
