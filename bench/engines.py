"""How far the engines torch and llamacpp agree on the same weights: greedy replies token for token, and
log-probabilities of the tokens they share. `python bench/engines.py [MODEL] [--rows N] [--tokens N]`

Beside what `--engine llamacpp` reads (a base's own GGUF file), the same weights in float32.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from sodate.api.engine_files import weights_file
from sodate.api.loading import Model, load
from sodate.core.engine import Sampling
from sodate.core.types import Message
from sodate.generate.llamacpp import LlamaCpp
from sodate.library.gguf_write import write_model
from sodate.library.weights import read_tensors

TEXT = Path(__file__).parents[1] / "examples" / "orders" / "heldout.jsonl"


def shared(mine: list[int], other: list[int]) -> int:
    """Tokens up to the first that differs."""
    return next((i for i, (a, b) in enumerate(zip(mine, other, strict=False)) if a != b), min(len(mine), len(other)))


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("model", nargs="?", default="smollm2-135m")
    options.add_argument("--rows", type=int, default=20)
    options.add_argument("--tokens", type=int, default=48)
    given = options.parse_args()
    lines = TEXT.read_text("utf-8").splitlines()[: given.rows]
    prompts = [[Message("user", json.loads(line)["messages"][0]["content"])] for line in lines]
    torch = load(given.model)

    def answered(model: Model) -> tuple[list[Any], float]:
        began = time.perf_counter()
        replies = model.replies(prompts, Sampling(given.tokens))
        return replies, sum(len(reply.ids) for reply in replies) / (time.perf_counter() - began)

    theirs, speed = answered(torch)
    print(f"torch: {speed:.1f} tokens/s ({torch.engine.details})")
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "f32.gguf"
        tensors = read_tensors(torch.files.folder / "model.safetensors")
        write_model(tensors, torch.files.folder, whole, format="f32", template=None)
        for file in (whole, weights_file(torch.files)):
            engine = LlamaCpp(file)
            mine, speed = answered(Model(torch.files, torch.renderer, None, engine))
            same = sum(a.ids == b.ids for a, b in zip(mine, theirs, strict=True))
            counts = [shared(a.ids, b.ids) for a, b in zip(mine, theirs, strict=True)]
            gaps = [abs(x - y) for a, b, n in zip(mine, theirs, counts, strict=True)
                    for x, y in zip(a.log_probabilities[:n], b.log_probabilities[:n], strict=True)]  # fmt: skip
            total = sum(len(reply.ids) for reply in theirs)
            print(f"{engine.details}: {same} of {len(mine)} replies equal, {sum(counts)} of {total} tokens before the "
                  f"first that differs, log-probability off by {sum(gaps) / max(1, len(gaps)):.4f} in the mean and "
                  f"{max(gaps, default=0):.3f} at most, {speed:.1f} tokens/s")  # fmt: skip
            engine.close()


if __name__ == "__main__":
    main()
