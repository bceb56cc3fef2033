"""Milliseconds of one decoding step by torch.mm (x Wᵀ), by oneDNN (W xᵀ) and by compiled blocks, in turn.

python bench/decode.py [MODEL] [DTYPE]
"""

from __future__ import annotations

import statistics
import sys
import time

import torch

import sodate
from sodate.api.loading import Model
from sodate.cli.at_hand import at_hand
from sodate.core.engine import Request, Sampling
from sodate.core.types import Message
from sodate.generate.torch_engine import TorchEngine
from sodate.kernels import products, rows

STEPS = 21


@torch.inference_mode()
def measure(model: Model, replies: int) -> dict[str, float]:
    prompt = model.renderer.prompt((Message("user", "Please send twelve red apples to our office by Friday. " * 8),))
    engine = TorchEngine(model.model, slots=replies)
    engine.drafts = False
    for number in range(replies):
        engine.admit(Request(number, prompt, [], Sampling(3 * STEPS + 9)))
    while any(one.missing > 1 for one in engine.requests.running):
        engine.step()
    seconds: dict[str, list[float]] = {"mm": [], "onednn": [], "compiled": []}
    for _ in range(STEPS):
        for side in seconds:
            products.ONEDNN, rows.FEW = side != "mm", 64 if side == "compiled" else 0
            started = time.perf_counter()
            engine.step()
            seconds[side].append(time.perf_counter() - started)
    return {side: statistics.median(values) for side, values in seconds.items()}


def main() -> None:
    named = dict(enumerate(sys.argv))
    model = sodate.load(at_hand(named.get(1, "smollm2-135m")), dtype=named.get(2, "float32"), device="cpu")
    print("replies     mm ms  onednn ms  compiled ms")
    for replies in (1, 4, 16, 32, 48, 64):
        one = {side: 1e3 * seconds for side, seconds in measure(model, replies).items()}
        print(f"{replies:7d}  {one['mm']:8.1f}  {one['onednn']:9.1f}  {one['compiled']:11.1f}")


if __name__ == "__main__":
    main()
