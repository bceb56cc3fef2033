"""Write the sums: warmup.jsonl with answers to copy; train, valid and heldout.jsonl with the number a grader compares.

    python make.py [--out FOLDER]

Same seed, same bytes. No sum of one set is in another, nor is its mirror (3 + 8 and 8 + 3 are one sum).
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

SEED = 20260418
ROWS = {"warmup": 40, "train": 240, "valid": 46, "heldout": 250}
LARGEST = 25
SYSTEM = "You are a careful calculator. Answer with the number only."


def sums() -> list[tuple[int, int, str]]:
    """Every a + b with a ≤ b and every a - b with a > b, shuffled."""
    numbers = range(2, LARGEST + 1)
    made = [(a, b, "+") for a in numbers for b in numbers if a <= b]
    made += [(a, b, "-") for a in numbers for b in numbers if a > b]
    random.Random(SEED).shuffle(made)
    return made


def row(a: int, b: int, sign: str, shown: bool) -> dict[str, object]:
    asked = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": f"{a} {sign} {b} ="}]
    answer = str(a + b if sign == "+" else a - b)
    if shown:
        return {"messages": [*asked, {"role": "assistant", "content": answer}]}
    return {"messages": asked, "reference_answer": answer}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    folder = parser.parse_args().out
    rest = sums()
    for name, count in ROWS.items():
        lines = [json.dumps(row(*one, name == "warmup")) + "\n" for one in rest[:count]]
        (folder / f"{name}.jsonl").write_text("".join(lines), "utf-8")
        rest = rest[count:]


if __name__ == "__main__":
    main()
