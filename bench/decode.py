"""Milliseconds of one decoding step by torch.mm (x·Wᵀ) and by our products (W·xᵀ in oneDNN), in turn in one process.

python bench/decode.py [MODEL]
"""

from __future__ import annotations

import statistics
import sys
import time

import torch

import sodate
from sodate.api.loading import Model
from sodate.core.types import Message
from sodate.generate.cache import Cache
from sodate.generate.engine import _prefill
from sodate.losses import products
from sodate.model.attention import decode

STEPS = 21


@torch.inference_mode()
def measure(model: Model, replies: int) -> dict[str, float]:
    prompt = model.renderer.prompt((Message("user", "Please send twelve red apples to our office by Friday. " * 8),))
    cache = Cache(replies, len(prompt) + 2 * STEPS + 1)
    _prefill(model.model, cache, [prompt] * replies)
    tokens = torch.zeros(replies, dtype=torch.long)
    seconds: dict[str, list[float]] = {"mm": [], "ours": []}
    for _ in range(STEPS):
        for side, onednn in (("mm", False), ("ours", True)):
            products._ONEDNN = onednn
            cache.begin_step()
            started = time.perf_counter()
            decode(model.model, tokens, cache.lengths[:replies] - 1, cache)
            seconds[side].append(time.perf_counter() - started)
    return {side: statistics.median(values) for side, values in seconds.items()}


def main() -> None:
    model = sodate.load(sys.argv[1] if len(sys.argv) > 1 else "smollm2-135m")
    print("replies     mm ms  ours ms  ratio")
    for replies in (1, 16, 32, 64):
        one = measure(model, replies)
        print(f"{replies:7d}  {1e3 * one['mm']:8.1f}  {1e3 * one['ours']:7.1f}  {one['mm'] / one['ours']:5.2f}")


if __name__ == "__main__":
    main()
