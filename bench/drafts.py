"""Where the time of a reply under a schema goes: order mails to JSON after three examples, by SmolLM2-135M alone.

    python bench/drafts.py [--mails 10]

Of every step the rows (tokens that were missing, and drafts) and the milliseconds; of all, how many tokens came from
how many steps, how many the schema forced, how many drafts were right, and what the steps spent their time on.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import pstats
import statistics
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import sodate
from sodate.core.engine import Constraint, Done, Request, Sampling, Token
from sodate.core.types import Message
from sodate.generate.drafts import PromptLookup, StepTimes

ORDERS = Path(__file__).parents[1] / "examples" / "orders"
SHOWN = 6  # functions of the profile


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mails", type=int, default=10)
    given = parser.parse_args()
    model: Any = sodate.load("smollm2-135m", dtype="float32", device="cpu")
    schema = (ORDERS / "schema.json").read_text("utf-8")
    shots = [turn for line in (ORDERS / "fewshot.jsonl").read_text("utf-8").splitlines()
             for turn in json.loads(line)["messages"] if turn["role"] != "system"]  # fmt: skip
    lines = (ORDERS / "heldout.jsonl").read_text("utf-8").splitlines()[: given.mails]
    mails = [json.loads(line)["messages"] for line in lines]
    prompts = []
    for mail in mails:
        turns = [mail[0], *shots, mail[1]]
        prompts.append(model.renderer.prompt(tuple(Message(turn["role"], turn["content"]) for turn in turns)))

    milliseconds, right = defaultdict[int, list[float]](list), list[bool]()
    took, saw = StepTimes.took, PromptLookup.saw

    def kept(self: StepTimes, rows: int, seconds: float) -> None:
        milliseconds[rows].append(1e3 * seconds)
        took(self, rows, seconds)

    def seen(self: PromptLookup, was: bool) -> None:
        right.append(was)
        saw(self, was)

    for owner, name, method in ((StepTimes, "took", kept), (PromptLookup, "saw", seen)):
        setattr(owner, name, method)

    profile, first, tokens, forced, steps = cProfile.Profile(), list[float](), 0, 0, 0
    for number, prompt in enumerate(prompts):
        constraint = Constraint("json_schema", schema)
        model.engine.admit(Request(number, prompt, model.renderer.stop_ids, Sampling(200), constraint=constraint))
        ended, began, before = False, time.perf_counter(), steps
        while not ended:
            if number and steps > before:
                profile.enable()
            events = model.engine.step()
            profile.disable()
            steps += 1
            if steps == before + 1:
                first.append(1e3 * (time.perf_counter() - began))
            said = [event for event in events if isinstance(event, Token)]
            tokens, forced = tokens + len(said), forced + sum(token.log_probability == 0 for token in said)
            ended = any(isinstance(event, Done) for event in events)
    print(f"{len(prompts)} mails: {tokens} tokens in {steps} steps, {forced} of them forced; "
          f"{sum(right)} of {len(right)} drafts right; "
          f"first step {statistics.median(first[1:] or first):.0f} ms, of the first mail {first[0]:.0f}")  # fmt: skip
    for rows, each in sorted(milliseconds.items()):
        print(f"  {rows:2} rows: {len(each):4} steps, {statistics.median(each):.1f} ms (median)")
    stats: Any = pstats.Stats(profile)
    spent = sorted(stats.stats.items(), key=lambda item: -item[1][2])[:SHOWN]
    for (file, _, name), (_, calls, own, *_) in spent:
        print(f"  {own / stats.total_tt:4.0%} {Path(file).name} {name.split('.')[-1]}, {calls} calls")


if __name__ == "__main__":
    main()
