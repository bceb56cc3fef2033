"""What a question costs whose passages were asked about before: the time to its first token, and tokens found computed.

    python bench/grounded.py PASSAGES.jsonl QUESTIONS.jsonl [--model smollm2-135m] [--pairs 12] [--k 4]

Rows are as in JSQuAD. Pairs are two questions about one passage for which the search finds the same passages in the
same order, so that they stand before both. They are asked one after the other of an engine that knows neither, each for
one token; then come the next two. The median of the ratio of their times is printed, with the share of the second
prompt that is as the first one's beginning.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
from pathlib import Path

from sodate.api import retrieval
from sodate.api.loading import load
from sodate.core.engine import Sampling
from sodate.core.types import Message


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("passages", type=Path)
    parser.add_argument("questions", type=Path)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--pairs", type=int, default=12)
    parser.add_argument("--k", type=int, default=4)
    given = parser.parse_args()
    retrieval.build_index([given.passages], "bench-grounded")
    asking = retrieval.retriever("bench-grounded", given.k)
    rows = [json.loads(line) for line in given.questions.read_text().splitlines()]
    pairs = []
    for _, group in itertools.groupby(rows, key=lambda row: row["passage_id"]):
        asked = [[Message("user", row["question"])] for row in group]
        found = [[one.number for one in asking.found(one)] for one in asked]
        same = next(((a, b) for a, b in itertools.combinations(range(len(asked)), 2) if found[a] == found[b]), None)
        if same:
            pairs.append([asking.ask(asked[at]) for at in same])
        if len(pairs) == given.pairs:
            break
    model = load(given.model)
    ratios, firsts, shared, tokens = [], [], 0, 0
    for first, second in pairs:
        spent = []
        for messages in (first, second):
            began = time.perf_counter()
            model.replies([messages], Sampling(max_new_tokens=1))
            spent.append(time.perf_counter() - began)
        ratios.append(spent[1] / spent[0])
        firsts.append(spent[0])
        ids = [model.renderer.prompt(messages) for messages in (first, second)]
        shared += next(at for at, (a, b) in enumerate(zip(*ids, strict=False)) if a != b)
        tokens += len(ids[1])
    print(
        f"{len(pairs)} pairs, {given.model}, {given.k} passages, {tokens / len(pairs):.0f} tokens: first "
        f"{statistics.median(firsts):.2f} s, second {statistics.median(ratios):.3f} of it "
        f"({min(ratios):.3f} to {max(ratios):.3f}); {shared / tokens:.2f} of its tokens are the same"
    )


if __name__ == "__main__":
    main()
