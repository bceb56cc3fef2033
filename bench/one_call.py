"""Milliseconds of a step of one reply, with all blocks in one compiled call and block by block, in one process.

    python bench/one_call.py [--model smollm2-135m] [--tokens 128]

Both ways must say the same tokens.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import sodate
from sodate.core.engine import Done, Request, Sampling, Token
from sodate.generate.torch_engine import TorchEngine

PROMPT = list(range(100, 140))


def reply(model: Any, tokens: int) -> tuple[list[int], float]:
    """The tokens, and the milliseconds of each after those of the first step, which reads the prompt."""
    engine = TorchEngine(model, tokens=2 * tokens + len(PROMPT))
    engine.drafts = False
    engine.admit(Request(0, PROMPT, (), Sampling(tokens)))
    said = [event.id for event in engine.step() if isinstance(event, Token)]
    before = len(said)
    began = time.perf_counter()
    while True:
        events = engine.step()
        said += [event.id for event in events if isinstance(event, Token)]
        if any(isinstance(event, Done) for event in events):
            return said, 1e3 * (time.perf_counter() - began) / (len(said) - before)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--tokens", type=int, default=128)
    given = parser.parse_args()
    loaded: Any = sodate.load(given.model, dtype="float32", device="cpu")
    model = loaded.model
    step = model.sodate_step
    assert step is not None, "this model has no step of one call"
    for round_ in range(3):
        model.sodate_step = step
        ours, seconds = reply(model, given.tokens)
        model.sodate_step = None
        theirs, before = reply(model, given.tokens)
        assert ours == theirs
        print(f"round {round_ + 1}: {seconds:.2f} ms a step in one call, {before:.2f} block by block")


if __name__ == "__main__":
    main()
