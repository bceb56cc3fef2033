"""Answered × right, from the replies that `sodate eval` kept.

    sodate eval … --data heldout.jsonl --grader honest --json > result.json
    python table.py result.json [--data heldout.jsonl]

A point is 1 for a right reply, 0.3 for "I don't know" where the FAQ has the answer, -1 for a wrong or made-up one.
The `honest` grader keeps scores in [0, 1]; a point is 2 * score - 1.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from sodate.evaluate.stats import mean_ci, paired_bootstrap
from sodate.grade import parse_grader

CELLS = ("right", "wrong", "over-refused", "rightly unsure", "made up")


def judge(reply: str, reference: str) -> tuple[str, float]:
    """The cell of the table a reply falls in, and its score in [0, 1]."""
    grade = parse_grader("honest")(reply, reference, {})
    if reference:
        cell = "over-refused" if grade.parts["abstained"] else "right" if grade.score == 1 else "wrong"
    else:
        cell = "rightly unsure" if grade.parts["abstained"] else "made up"
    return cell, grade.score


def points(score: float) -> float:
    return 2 * score - 1


def table(replies: dict[str, list[str]], references: list[str]) -> str:
    """A Markdown table, a row per model; intervals are 95 %, the gain is over the row above on the same questions."""
    answerable = sum(bool(reference) for reference in references)
    unanswerable = len(references) - answerable
    lines = [
        f"| n = {answerable} + {unanswerable} | {' | '.join(CELLS)} | mean point | gain over the row above |",
        "|---|" + "---:|" * len(CELLS) + "---|---|",
    ]
    above: list[float] = []
    for model, texts in replies.items():
        judged = [judge(*both) for both in zip(texts, references, strict=True)]
        cells, scores = [cell for cell, _ in judged], [score for _, score in judged]
        interval = mean_ci(scores)
        assert interval is not None
        mean = f"{points(sum(scores) / len(scores)):+.2f} ({points(interval[0]):+.2f} to {points(interval[1]):+.2f})"
        gain = ""
        if above:
            diffs = [now - before for now, before in zip(scores, above, strict=True)]
            low, high = paired_bootstrap(diffs, seed=0) or (-1.0, 1.0)
            gain = f"{2 * sum(diffs) / len(diffs):+.2f} ({2 * low:+.2f} to {2 * high:+.2f})"
        above = scores
        lines.append(f"| {model} | {' | '.join(str(cells.count(cell)) for cell in CELLS)} | {mean} | {gain} |")
    return "\n".join(lines)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description="Answered × right from a kept evaluation.")
    parser.add_argument("result", type=Path)
    parser.add_argument("--data", type=Path, default=Path(__file__).parent / "heldout.jsonl")
    given = parser.parse_args()
    rows = [json.loads(line) for line in given.data.read_text("utf-8").splitlines()]
    kept = Path(json.loads(given.result.read_text("utf-8"))["report"]).with_name("replies.jsonl")
    replies: dict[str, list[str]] = {}
    for line in kept.read_text("utf-8").splitlines():
        one = json.loads(line)
        replies.setdefault(one["model"], []).append(one["reply"])
    print(table(replies, [row["reference_answer"] for row in rows]))


if __name__ == "__main__":
    main()
