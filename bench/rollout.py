"""Greedy rollouts beside transformers' `generate`: batch 16, 64 new tokens, the same prompts, the same tokens.

    python bench/rollout.py [--model smollm2-135m] [--rounds 3] [--batch 16] [--tokens 64]

Both run in this process, in turn; the ratio is taken round by round. Fails when a token differs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch

import sodate
from sodate.cli.at_hand import at_hand
from sodate.core.engine import Sampling
from sodate.generate.engine import generate
from sodate.release.lookup import look_up

ROWS = Path(__file__).parents[1] / "examples" / "orders" / "heldout.jsonl"


def prompts(model: Any, count: int) -> list[list[int]]:
    from sodate.data.examples import ParsedRow, read_examples

    rows = [row.example for row in read_examples(ROWS, None, None)[1] if isinstance(row, ParsedRow)]
    return [model.renderer.prompt(row.prompt) for row in rows[:count]]


def theirs(plain: Any, ids: list[list[int]], tokens: int) -> list[list[int]]:
    """transformers' generate on the padded batch, without a stop token, as ours."""
    longest = max(len(p) for p in ids)
    padded = torch.tensor([[0] * (longest - len(p)) + p for p in ids])
    mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in ids])
    out = plain.generate(padded, attention_mask=mask, max_new_tokens=tokens, do_sample=False, eos_token_id=None)
    return [[int(t) for t in row] for row in out[:, longest:]]


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=64)
    args = parser.parse_args()
    from transformers import AutoModelForCausalLM

    ours = sodate.load(at_hand(args.model), dtype="float32", device="cpu")
    plain = AutoModelForCausalLM.from_pretrained(look_up(args.model).folder, dtype=torch.float32).eval()
    plain.generation_config.eos_token_id = None
    plain.generation_config.pad_token_id = 0
    ids = prompts(ours, args.batch)
    ratios: list[float] = []
    seconds: dict[str, list[float]] = {"sodate": [], "transformers": []}
    same = True
    for _ in range(args.rounds):
        started = time.perf_counter()
        mine = [r.ids for r in generate(ours.model, ids, [], Sampling(args.tokens), batch_size=args.batch)]
        middle = time.perf_counter()
        other = theirs(plain, ids, args.tokens)
        seconds["sodate"].append(middle - started)
        seconds["transformers"].append(time.perf_counter() - middle)
        ratios.append(seconds["transformers"][-1] / seconds["sodate"][-1])
        same &= mine == other
    total = args.batch * args.tokens
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    print(json.dumps({
        "ratio": statistics.median(ratios), "same_tokens": same,
        **{f"{name}_tokens_per_second": total / value for name, value in medians.items()},
    }, indent=2))  # fmt: skip
    return 0 if same else 1


if __name__ == "__main__":
    raise SystemExit(main())
