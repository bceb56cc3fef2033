"""Answered × right, from the replies that `sodate eval` kept.

    sodate eval … --data heldout.jsonl --grader honest --json > result.json
    python table.py result.json [--data heldout.jsonl]

A point is 1 for a right reply, 0.3 for "I don't know" where the FAQ has the answer, -1 for a wrong or made-up one.
The `honest` grader keeps scores in [0, 1]; a point is 2 * score - 1.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from sodate.evaluate.stats import mean_ci, paired_interval
from sodate.grade import parse_grader

CELLS = ("right", "wrong", "over-refused", "rightly unsure", "made up")
GAINS = ("right", "over-refused", "rightly unsure")


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
    """Two Markdown tables: a row per model, then what each gained on the row above, on the same questions, 95 %."""
    answerable = sum(bool(reference) for reference in references)
    head = f"n = {answerable} + {len(references) - answerable}"
    counted, gained = [_row(head, *CELLS, "mean point")], [_row("gain over the row above", *GAINS, "mean point")]
    counted.append(_row("---", *["---:"] * len(CELLS), "---"))
    gained.append(_row("---", *["---"] * len(GAINS), "---"))
    above: list[tuple[str, float]] = []
    for model, texts in replies.items():
        judged = [judge(*both) for both in zip(texts, references, strict=True)]
        cells = [cell for cell, _ in judged]
        interval = mean_ci([score for _, score in judged])
        assert interval is not None
        mean = points(sum(score for _, score in judged) / len(judged))
        low, high = map(points, interval)
        counted.append(_row(model, *map(cells.count, CELLS), f"{mean:+.2f} ({low:+.2f} to {high:+.2f})"))
        if above:
            pairs = list(zip(judged, above, strict=True))
            moved = [_gain([(now == cell) - (was == cell) for (now, _), (was, _) in pairs], len(pairs), "+.0f")
                     for cell in GAINS]  # fmt: skip
            gained.append(_row(model, *moved, _gain([now - was for (_, now), (_, was) in pairs], 2, "+.2f")))
        above = judged
    return "\n".join([*counted, "", *gained])


def _gain(diffs: Sequence[float], scale: int, form: str) -> str:
    """The mean difference with its interval, times `scale`: 2 makes points of scores, the number of rows counts."""
    low, high = paired_interval(diffs) or (-1.0, 1.0)
    mean = sum(diffs) / len(diffs)
    return f"{scale * mean:{form}} ({scale * low:{form}} to {scale * high:{form}})"


def _row(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"


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
