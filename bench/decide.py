"""What `decide` costs beside generating the answer with the same version, and what its probabilities are worth.

    python bench/decide.py VERSION --data held.jsonl --calibrate calibration.jsonl [--options 77] [--rows 64] [--json]

Both see the same prompts with nothing remembered of them, 64 at once, in turn, three times; the fastest of each counts,
by the clock and, for busy machines, in CPU time (`ratio_cpu`).
`--options N` adds made-up labels beside those of the data until there are N. Generated replies are held to nothing:
what is no option counts as wrong. Then decisions of all rows with a calibration: ECE before and after, and the promise.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from sodate.api import deciding
from sodate.api.asked import read_rows
from sodate.api.loading import load
from sodate.core.engine import Sampling
from sodate.evaluate import stats
from sodate.evaluate.calibration import calibration_error, probabilities

WORDS = (
    "card",
    "cash",
    "limit",
    "top_up",
    "transfer",
    "pin",
    "country",
    "refund",
    "fee",
    "order",
    "exchange",
    "account",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("version")
    parser.add_argument("--data", required=True)
    parser.add_argument("--calibrate", required=True)
    parser.add_argument("--options", type=int, default=0)
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    asked = read_rows(Path(given.data), limit=given.rows)
    labels = sorted({row.answer for row in read_rows(Path(given.calibrate)) if row.answer})
    labels += [f"{a}_{b}" for a in WORDS for b in WORDS if a != b][: max(0, given.options - len(labels))]
    longest, decided, generated = 0, [], []
    decided_cpu, generated_cpu = [], []
    for _ in range(3):
        model = load(given.version)  # a new one: nothing is remembered
        longest = max(model.renderer.token_count(label) for label in labels)
        began, used = time.perf_counter(), time.process_time()
        logp, exact = deciding.log_probabilities(model, asked, labels)
        decided.append(time.perf_counter() - began)
        decided_cpu.append(time.process_time() - used)
        began, used = time.perf_counter(), time.process_time()
        replies = model.replies([row.prompt for row in asked], Sampling(max_new_tokens=longest + 2), batch_size=64)
        generated.append(time.perf_counter() - began)
        generated_cpu.append(time.process_time() - used)
    said = [model.renderer.text(reply.ids).strip() for reply in replies]
    chosen = [labels[n] for n in logp.argmax(axis=1)]
    right = [(one == row.answer, two == row.answer) for one, two, row in zip(chosen, said, asked, strict=True)]
    fixed, broken = sum(a and not b for a, b in right), sum(b and not a for a, b in right)
    done = deciding.decide(given.version, given.data, options=labels, calibrate=given.calibrate)
    raw = probabilities(deciding.log_probabilities(model, read_rows(Path(given.data)), labels)[0])
    answers = [row.answer for row in read_rows(Path(given.data))]
    hits = [labels[n] == answer for n, answer in zip(raw.argmax(axis=1), answers, strict=True)]
    result = {
        "rows": len(asked), "options": len(labels), "decide_seconds": min(decided), "generate_seconds": min(generated),
        "ratio": min(decided) / min(generated), "ratio_cpu": min(decided_cpu) / min(generated_cpu),
        "exact": float(exact.mean()),
        "unresolved": float((probabilities(logp) * ~exact).sum(axis=1).max()),
        "accuracy": sum(a for a, _ in right) / len(right), "generated_accuracy": sum(b for _, b in right) / len(right),
        "p": stats.mcnemar_exact(fixed, broken), "ece_before": calibration_error(raw.max(axis=1).tolist(), hits),
        "ece": done["ece"], "ece_ci": done["ece_ci"], "brier": done["brier"], "temperature": done["temperature"],
        "threshold": done["threshold"], "coverage": done["coverage"], "answered_right": done["answered_right"],
    }  # fmt: skip
    if given.json:
        print(json.dumps(result))
        return
    for key, value in result.items():
        print(f"{key:<20}{value if not isinstance(value, float) else round(value, 4)}")


if __name__ == "__main__":
    main()
