"""What `decide` costs beside generating the answer with the same version, and what its probabilities are worth.

    python bench/decide.py VERSION --data held.jsonl --calibrate calibration.jsonl [--options 77] [--rows 64] [--json]

Both see the same prompts with nothing remembered of them, 64 at once, in turn, three times; the fastest of each counts,
by the clock and, for busy machines, in CPU time (`ratio_cpu`).
`--options N` adds labels of banking77 to those of the calibration file until there are N. How often the two are right
is counted over all rows of the data. Generated replies are held to nothing: what is no option counts as wrong. Then
decisions of all rows with a calibration: ECE before and after, and the promise.

`--splits N` is for the calibration alone, which few rows say little about: of all rows of both files as many as the
calibration file has are drawn N times, the others decided with what they say; means over the drawings.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sodate.api import deciding
from sodate.api.asked import read_rows
from sodate.api.loading import load
from sodate.core.engine import Sampling
from sodate.evaluate import stats
from sodate.evaluate.calibration import calibration_error, calibration_error_by_chance, probabilities

LABELS = (Path(__file__).parent / "banking77_labels.txt").read_text("utf-8").split()


def sampling(longest: int) -> Sampling:
    """Greedy, with room for the longest label."""
    return Sampling(max_new_tokens=longest + 2)


def over_splits(version: str, files: Sequence[str], labels: Sequence[str], known: int, splits: int) -> dict[str, Any]:
    """Means over drawings of `known` calibration rows, and of the others before, after and by chance alone."""
    rows = [row for file in files for row in read_rows(Path(file))]
    logp, _ = deciding.log_probabilities(load(version), rows, labels)
    right = np.array([labels.index(row.answer) if row.answer in labels else -1 for row in rows])
    hits, rng = logp.argmax(axis=1) == right, np.random.default_rng(0)
    before, after, chance, temperatures = [], [], [], []
    for _ in range(splits):
        order = rng.permutation(len(rows))
        own, others = order[:known], order[known:]
        found = deciding.calibrated(logp[own], right[own], 0.8)
        sure = found.map(probabilities(logp[others]).max(axis=1).tolist())
        before.append(calibration_error(probabilities(logp[others]).max(axis=1).tolist(), hits[others]))
        after.append(calibration_error(sure, hits[others]))
        chance.append(calibration_error_by_chance(sure))
        temperatures.append(found.temperature)
    return {
        "options": len(labels), "accuracy": float(hits.mean()), "calibration_rows": known,
        "decided_rows": len(rows) - known, "splits": splits, "temperature": statistics.median(temperatures),
        "ece_before": statistics.fmean(before), "ece": statistics.fmean(after),
        "ece_by_chance": statistics.fmean(chance),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("version")
    parser.add_argument("--data", required=True)
    parser.add_argument("--calibrate", required=True)
    parser.add_argument("--options", type=int, default=0)
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--splits", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    rows = read_rows(Path(given.data))
    asked = rows[: given.rows]
    labels = sorted({row.answer for row in read_rows(Path(given.calibrate)) if row.answer})
    labels += [label for label in LABELS if label not in labels][: max(0, given.options - len(labels))]
    if given.splits:
        known = len(read_rows(Path(given.calibrate)))
        printed(over_splits(given.version, [given.calibrate, given.data], labels, known, given.splits), given.json)
        return
    longest, decided, generated = 0, [], []
    decided_cpu, generated_cpu = [], []
    for _ in range(3):
        model = load(given.version)  # a new one: nothing is remembered
        longest = max(model.renderer.token_count(label) for label in labels)
        began, used = time.perf_counter(), time.process_time()
        logp, exact = deciding.log_probabilities(model, asked, labels)
        decided.append(time.perf_counter() - began)
        decided_cpu.append(time.process_time() - used)
        model = load(given.version)  # what a first forward prepares, both prepare
        began, used = time.perf_counter(), time.process_time()
        model.replies([row.prompt for row in asked], sampling(longest), batch_size=64)
        generated.append(time.perf_counter() - began)
        generated_cpu.append(time.process_time() - used)
    logp, exact = deciding.log_probabilities(model, rows, labels)
    replies = model.replies([row.prompt for row in rows], sampling(longest), batch_size=64)
    said = [model.renderer.text(reply.ids).strip() for reply in replies]
    raw = probabilities(logp)
    hits = [labels[n] == row.answer for n, row in zip(raw.argmax(axis=1), rows, strict=True)]
    right = [(hit, one == row.answer) for hit, one, row in zip(hits, said, rows, strict=True)]
    fixed, broken = sum(a and not b for a, b in right), sum(b and not a for a, b in right)
    done = deciding.decide(given.version, given.data, options=labels, calibrate=given.calibrate)
    kept = sum(not one["handed_over"] for one in done["results"])
    result = {
        "rows": len(rows), "timed": len(asked), "options": len(labels), "decide_seconds": min(decided),
        "generate_seconds": min(generated),
        "ratio": min(decided) / min(generated), "ratio_cpu": min(decided_cpu) / min(generated_cpu),
        "exact": float(exact.mean()),
        "unresolved": float((raw * ~exact).sum(axis=1).mean()),
        "unresolved_most": float((raw * ~exact).sum(axis=1).max()),
        "accuracy": sum(a for a, _ in right) / len(right), "generated_accuracy": sum(b for _, b in right) / len(right),
        "fixed": fixed, "broken": broken, "p": stats.mcnemar_exact(fixed, broken),
        "ece_before": calibration_error(raw.max(axis=1).tolist(), hits),
        "ece": done["ece"], "ece_ci": done["ece_ci"], "brier": done["brier"], "temperature": done["temperature"],
        "threshold": done["threshold"], "coverage": done["coverage"], "answered": kept,
        "answered_right": done["answered_right"], "answered_right_ci": done["answered_right_ci"],
    }  # fmt: skip
    printed(result, given.json)


def printed(result: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(result))
        return
    for key, value in result.items():
        print(f"{key:<20}{value if not isinstance(value, float) else round(value, 4)}")


if __name__ == "__main__":
    main()
